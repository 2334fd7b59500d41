/*
 * ticket.h - lets whoever has it play one object for a while, without the token
 *
 *   /media/{id}?ticket=EXPIRES.MAC
 *
 *   EXPIRES  seconds since 1970
 *   MAC      HMAC-SHA256 with BROADCASTER_TOKEN as its key, over "play", the id
 *            and EXPIRES; in base64 for URLs
 *
 * Players and <video> cannot send a token, but they take any URL. Every instance
 * with the same token makes and knows the same tickets; nothing is kept. A ticket
 * allows GET and HEAD of its object, and nothing else. Pure.
 */
#ifndef BROADCASTER_TICKET_H
#define BROADCASTER_TICKET_H

#include "common/base64.h"
#include "common/digest.h"
#include "common/uuid.h"

/* Good for 12 to 13 hours; the same one for an hour, so that caches know its URL. */
#define TICKET_STEP_S 3600u
#define TICKET_STEPS 13u

/* With a NUL: a number, a dot, a MAC. */
#define TICKET_SIZE (20 + 1 + BASE64_TEXT_SIZE(DIGEST_SHA256_BYTES))

/* Write a ticket for the object `id`, at the time `wall_ms`. */
void ticket_write(const char *token, const char *id, uint64_t wall_ms,
		  char ticket[TICKET_SIZE]);

/* Is it one for `id` that has not expired? In time that does not tell how near. */
bool ticket_is_valid(const char *token, struct span id, uint64_t wall_ms,
		     struct span ticket);

#endif
