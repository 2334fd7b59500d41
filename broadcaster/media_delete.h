/*
 * media_delete.h - an object is removed from all readers: DELETE /media/{id}
 *
 * All are asked at once. What was begun is ended also when the client has gone:
 * half of the copies would be the worst answer. Only readers can be asked to
 * delete; what a plain endpoint was sent stays there. Preconditions (RFC 9110, 13)
 * are passed on: each reader decides by what it holds.
 */
#ifndef BROADCASTER_MEDIA_DELETE_H
#define BROADCASTER_MEDIA_DELETE_H

#include "broadcaster/front.h"

/* Delete the object `id`, a valid UUID, and answer. Attaches to `x`. */
void media_delete(struct front *front, struct http_exchange *x, const char *id);

#endif
