#include "common/port_check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* The place to knock at; its length, 0 when the host is no literal. */
static socklen_t place_of(const struct address *address,
			  struct sockaddr_storage *out)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET,
				  .sin_port = htons(address->port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
				   .sin6_port = htons(address->port) };
	const char *host = address->host;

	if (!*host || !strcmp(host, "localhost") || !strcmp(host, "0.0.0.0"))
		host = "127.0.0.1";
	if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
		memcpy(out, &v4, sizeof(v4));
		return sizeof(v4);
	}
	if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
		memcpy(out, &v6, sizeof(v6));
		return sizeof(v6);
	}
	return 0;
}

int port_check_free(const struct address *address, struct err *err)
{
	struct sockaddr_storage place;
	socklen_t len = place_of(address, &place);
	int fd, rc;

	if (len == 0 || address->port == 0)
		return 0;
	fd = socket(place.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	rc = connect(fd, (struct sockaddr *)&place, len);
	close(fd);
	if (rc != 0)
		return 0;
	return err_set(err, ERR_CONFIG,
		       "port %u is taken: another program listens there",
		       address->port);
}
