/*
 * deliver.h - from a store that keeps content in no file to a client
 *
 *   source_next … pieces ──▶ http_content_send() … on_writable
 *
 * One piece is on its way at a time, straight from the store's memory. While the
 * client takes its time nothing is asked of the store; while the store takes its
 * time the client is not blamed. A store that fails in the middle closes the
 * connection before the promised length, so that nobody takes a part for the
 * whole.
 *
 * A delivery is embedded in the operation that found the object, and finishes
 * it. The operation's ops pass on_writable on, its on_gone too.
 */
#ifndef READER_DELIVER_H
#define READER_DELIVER_H

#include "reader/thread.h"

struct delivery {
	struct operation *op;
	struct source *source;
	struct span pieces[HTTP_CONTENT_PIECES];
	size_t n_pieces, next;		/* pieces[next …] are still to be sent */
	bool reading;			/* source_next() runs */
	bool pumping, again;
};

/*
 * Answer the operation's exchange with `length` bytes from `first` of what
 * `found` says, then operation_finish(). 503 when out of memory. `d` is zeroed;
 * reply is used during the call only.
 */
void delivery_start(struct delivery *d, struct operation *op,
		    const struct http_reply *reply,
		    struct store_lookup *found, uint64_t first,
		    uint64_t length);

/* The exchange's on_writable; also before the delivery has started. */
void delivery_on_writable(struct delivery *d);

/* The exchange is over; before the delivery has started: no effect. */
void delivery_on_gone(struct delivery *d);

#endif
