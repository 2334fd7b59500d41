/*
 * feed.h - from one ring into one sink, one write at a time
 *
 *   http_body_read() ──▶ ring ──▶ sink_write() … done ──▶ on_progress
 *
 * While the store is busy with a write, more bytes may arrive in the ring; the
 * next write takes all of them that lie in one piece. The store's slowness
 * fills the ring, and a full ring is what stops the client.
 */
#ifndef READER_FEED_H
#define READER_FEED_H

#include "reader/thread.h"

struct feed {
	struct reader_thread *thread;
	struct ring *ring;
	struct ring_cursor cursor;
	struct sink *sink;		/* set by the owner, while it has one */
	loop_fn *on_progress;
	void *arg;
	size_t writing;			/* bytes of the write that runs, or 0 */
	struct err err;			/* the write that failed */
};

/*
 * Get a ring; on_progress(arg) is called when a write has ended, maybe within
 * feed_pump(). -1 with ERR_MEMORY.
 */
int feed_init(struct feed *feed, struct reader_thread *thread,
	      loop_fn *on_progress, void *arg, struct err *err) MUST_CHECK;

/* Give the ring back; no write may be running. Idempotent, also on zeroes. */
void feed_release(struct feed *feed);

/* Start a write when none runs, none failed, and there are bytes (a ring). */
void feed_pump(struct feed *feed);

/* Is a write running? */
bool feed_is_busy(const struct feed *feed);

/* Is everything written, and no write running? */
bool feed_is_drained(const struct feed *feed);

#endif
