#include "common/tls.h"

#include <openssl/ssl.h>

bool tls_is_pending(void *ssl)
{
	return ssl && SSL_pending(ssl) > 0;
}
