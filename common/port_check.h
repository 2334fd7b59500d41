/*
 * port_check.h - does somebody else listen here already?
 *
 * Our listeners share their port among the threads (SO_REUSEPORT), so the kernel
 * would also share it with a second process of the same user, and each would get
 * half of the connections. Asked once, before the first of them listens.
 */
#ifndef COMMON_PORT_CHECK_H
#define COMMON_PORT_CHECK_H

#include "common/address.h"

/*
 * 0 when nobody accepts connections on the address, else -1 with ERR_CONFIG. An
 * address that is not a literal or "localhost" and port 0 are not checked. May
 * block for the time of one connection to this machine.
 */
int port_check_free(const struct address *address, struct err *err) MUST_CHECK;

#endif
