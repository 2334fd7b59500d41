/*
 * tls.h - what OpenSSL holds of a connection that a library has opened
 */
#ifndef COMMON_TLS_H
#define COMMON_TLS_H

#include <stdbool.h>

/*
 * Has a record been decrypted, and not been read to its end? No event of the socket
 * tells of what is left (SSL_pending(3)). `ssl`: an SSL *, as libraries give it away
 * (PQsslStruct()); NULL: the connection has none, false.
 */
bool tls_is_pending(void *ssl);

#endif
