/*
 * media_list.h - what all readers hold, as one list: GET /media, GET /api/songs
 *
 * All readers are asked at once for a page of the same size behind the same
 * cursor; their pages are merged (media_merge.h). One that did not answer within
 * BROADCASTER_CONNECT_TIMEOUT_MS has for some seconds only BROADCASTER_MEDIA_ASK_MS.
 * Memory is bounded: an answer
 * may be 1 MiB, a reader whose page is longer is asked for half as many rows;
 * and 16 lists are made at a time, more get 503.
 */
#ifndef BROADCASTER_MEDIA_LIST_H
#define BROADCASTER_MEDIA_LIST_H

#include "broadcaster/front.h"

/* Answer GET /media, the parameters in the query. Attaches to `x`. */
void media_list(struct front *front, struct http_exchange *x);

/* The same in StreamX's form, one page of at most 1000: GET /api/songs?q=. */
void media_songs(struct front *front, struct http_exchange *x);

#endif
