/*
 * media_play.h - one player gets one object, from whichever readers hold it
 *
 *   reader A ──recv──▶ ring (fixed) ──send──▶ client
 *   reader B ─ ─ ─ ─ ─ ─ ┘  goes on at the next byte when A dies
 *
 *   asking ──▶ playing ◀──▶ resuming ──▶ over
 *      └──▶ answered without content ─────▲
 *
 * Asking: readers in the order of media_order.h; one that has not begun its
 * answer within BROADCASTER_MEDIA_ASK_MS is not given up, but the next one is
 * asked as well, and the first good answer wins. Playing: content goes straight
 * from the reader's socket into a ring and from there to the client's; when the
 * ring is full the reader is not read from until it is half empty. Resuming: the
 * source has failed or stalled; what the ring still holds goes on flowing while
 * others are asked for exactly the bytes that are missing, of the same digest.
 * When all were asked and none has brought a byte, they are asked once more a
 * little later, for BROADCASTER_CONNECT_TIMEOUT_MS in all and while the client is
 * there; then the connection is cut, before the promised length.
 */
#ifndef BROADCASTER_MEDIA_PLAY_H
#define BROADCASTER_MEDIA_PLAY_H

#include "broadcaster/front.h"

/* Answer GET or HEAD for the object `id`, a valid UUID. Attaches to `x`. */
void media_play(struct front *front, struct http_exchange *x, const char *id);

#endif
