/*
 * media_conditions.h - what a client asks of an object only under conditions,
 * passed on to readers
 *
 * Ranges and preconditions (RFC 9110, 13 and 14) are decided by the readers, who
 * have the facts. Lines of a list stay lines, as they came: as one they could be
 * longer than a line may be.
 */
#ifndef BROADCASTER_MEDIA_CONDITIONS_H
#define BROADCASTER_MEDIA_CONDITIONS_H

#include "common/http_client.h"
#include "common/http_server.h"

/* What a reader takes in one head beside the fields of the broadcaster's own. */
#define MEDIA_MAX_CONDITIONS 64u
#define MEDIA_CONDITIONS_BYTES (HTTP1_MAX_HEAD - 4096u)

struct media_conditions {
	size_t n;
	struct http_call_header lines[MEDIA_MAX_CONDITIONS];
	size_t used;
	char text[MEDIA_CONDITIONS_BYTES];	/* the values */
};

/*
 * Copy those of a request; to be freed by free(). NULL with 431 when they are more
 * or longer than a reader would take, or with ERR_MEMORY.
 */
struct media_conditions *media_conditions_new(const struct http_exchange *x,
					      struct err *err);

/*
 * As lines of a head, each with its CRLF; to be freed by free(). NULL when out of
 * memory.
 */
char *media_conditions_print(const struct media_conditions *conditions);

#endif
