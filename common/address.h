/*
 * address.h - host and port as people write them
 *
 * Listening: `8080`, `:8080`, `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`.
 * Targets: `host:port`, `[::1]:port`. Pure: no look-ups.
 */
#ifndef COMMON_ADDRESS_H
#define COMMON_ADDRESS_H

#include "common/err.h"
#include "common/span.h"

#include <stdint.h>

struct address {
	char host[256];		/* without brackets; "" = not given */
	uint16_t port;
};

/*
 * Parse a listening address; host may be missing (host ""), the port must be 1
 * to 65535, or 0 for "any free port". -1 with ERR_CONFIG saying what is allowed.
 */
int address_parse_listen(struct span text, struct address *out,
			 struct err *err) MUST_CHECK;

/* The same as a check of a configuration row: 0, or -1 with what is allowed. */
int address_check_listen(const char *text, struct err *err) MUST_CHECK;

/* As that, but "" is fine as well. */
int address_check_listen_if_any(const char *text, struct err *err) MUST_CHECK;

/* Parse `host:port` of a peer; both must be given, port 1 to 65535. */
int address_parse_peer(struct span text, struct address *out,
		       struct err *err) MUST_CHECK;

/* "host:port", with brackets around an IPv6 host; truncates to `size`. */
void address_format(const struct address *address, char *buf, size_t size);

/* Is the host a loopback literal (127.0.0.0/8, ::1) or "localhost"? */
bool address_is_loopback(const struct address *address);

#endif
