/*
 * access.h - who may ask for what
 *
 * BROADCASTER_TOKEN guards everything but the probes and the page, which has
 * nothing to hide. Players cannot send a token: the list gives them URLs with a
 * ticket (ticket.h), and BROADCASTER_PUBLIC_MEDIA lets everybody list, search and
 * play.
 */
#ifndef BROADCASTER_ACCESS_H
#define BROADCASTER_ACCESS_H

#include "broadcaster/front.h"

/*
 * May this request go on? Otherwise it has been answered with 401. `is_reading`:
 * it lists, searches or plays and changes nothing.
 */
bool access_check(struct front *front, struct http_exchange *x,
		  bool is_reading) MUST_CHECK;

/* The same for playing the object `id`: a ticket in the query will do. */
bool access_check_play(struct front *front, struct http_exchange *x,
		       struct span id) MUST_CHECK;

/* Does playing need a token, or a ticket? */
bool access_is_private(const struct broadcaster_settings *settings);

/* Answer 405 and what is allowed, "GET, HEAD". */
void access_refuse_method(struct http_exchange *x, const char *allow);

#endif
