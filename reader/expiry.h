/*
 * expiry.h - staged objects that nobody touches are removed
 *
 * Now and then the objects at rest that are too old are aborted, one after the
 * other, on one thread's loop. At the program's end the same removes all of
 * them. Embedded in its owner.
 */
#ifndef READER_EXPIRY_H
#define READER_EXPIRY_H

#include "reader/thread.h"

struct expiry {
	struct reader_thread *thread;
	uint64_t ttl_ms;
	uint64_t until_ms;		/* of this round: touched before */
	struct staged *entry;		/* being aborted */
	bool running;			/* a round is under way */
	struct timer timer;
	struct deferred next;
	loop_fn *on_flushed;		/* NULL: not flushing */
	void *arg;
};

/* Begin: rounds every ttl / 8, but every 100 ms to 60 s. */
void expiry_start(struct expiry *expiry, struct reader_thread *thread,
		  uint64_t ttl_ms);

/*
 * Remove all that rests, then stop; on_flushed(arg) once, later. The objects
 * may not become more meanwhile.
 */
void expiry_flush(struct expiry *expiry, loop_fn *on_flushed, void *arg);

#endif
