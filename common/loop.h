/*
 * loop.h - one event loop, one thread: I/O, timers, deferred and posted calls
 *
 * A thin skin over libevent's core; nobody else needs libevent's headers. One
 * *turn* is: wait for events, run their callbacks, then run the calls that they
 * deferred, then free what was buried. A call deferred by a deferred call runs in
 * the next turn, which then does not wait; so a chain of them cannot keep I/O
 * waiting. A callback may give up an object that a caller further up the stack
 * still uses: bury it.
 *
 * Everything but loop_post() and loop_stop() belongs to the loop's own thread.
 * Watches and timers are embedded in their owner, who must stop them before it
 * goes away; none of the calls below allocates, except loop_new() and growth of
 * libevent's own tables when a descriptor number is seen for the first time.
 */
#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

#include "common/err.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;

/* A loop of its own event_base, or NULL with `err`. */
struct loop *loop_new(struct err *err);

/* Free *loop and null it; every watch and timer must be stopped. */
void loop_free(struct loop **loop);

/* Run turns on the calling thread until loop_stop(). */
void loop_run(struct loop *loop);

/* Run one turn that waits at most for the first event (tests). */
void loop_run_once(struct loop *loop);

/* End loop_run() after the current turn. Any thread. */
void loop_stop(struct loop *loop);

/* Monotonic milliseconds, read once a turn: cheap, and equal within a turn. */
uint64_t loop_now_ms(struct loop *loop);

/* The event_base, for the files that must speak libevent themselves. */
struct event_base *loop_base(struct loop *loop);

/* ---- descriptors: edge-triggered ------------------------------------- */

/*
 * Facts of one descriptor. Edge-triggered: a bit is reported when it becomes
 * true, so note it and read (write) until "would block" before relying on the
 * next report. Nothing has to be re-armed to pause: just do not read.
 */
#define LOOP_READABLE 1u
#define LOOP_WRITABLE 2u
typedef void watch_fn(void *arg, unsigned int ready);

struct watch {
	struct event event;
	watch_fn *fn;
	void *arg;
	bool active;
};

/* Watch `fd` for both facts. The first report may come in the next turn. */
int watch_start(struct watch *watch, struct loop *loop, int fd, watch_fn *fn,
		void *arg, struct err *err) MUST_CHECK;

/* As watch_start(), level-triggered and for reading only: for listeners. */
int watch_start_level(struct watch *watch, struct loop *loop, int fd,
		      watch_fn *fn, void *arg, struct err *err) MUST_CHECK;

/*
 * The same for writing only: for libraries that say when they wait for room. It
 * reports every turn while there is room, so stop it when nothing is to be sent.
 */
int watch_start_level_write(struct watch *watch, struct loop *loop, int fd,
			    watch_fn *fn, void *arg,
			    struct err *err) MUST_CHECK;

/* Stop; before the descriptor is closed. Idempotent on a zeroed watch. */
void watch_stop(struct watch *watch);

/* ---- timers ------------------------------------------------------------ */

typedef void timer_fn(void *arg);

struct timer {
	struct event event;
	timer_fn *fn;
	void *arg;
	bool ready;	/* initialised */
};

/* Tie the timer to its loop and function; not running yet. */
void timer_init(struct timer *timer, struct loop *loop, timer_fn *fn, void *arg);

/*
 * (Re)start: fn(arg) once, in `ms` milliseconds. Memory for 8192 running timers
 * is taken with the loop; running out of it beyond them is fatal.
 */
void timer_start(struct timer *timer, uint64_t ms);

/* Stop. Idempotent on a zeroed or stopped timer. */
void timer_stop(struct timer *timer);

/* Is it running? */
bool timer_is_running(const struct timer *timer);

/* ---- after this turn ---------------------------------------------------- */

typedef void loop_fn(void *arg);

/* A call to be made at the end of the turn; embedded in its owner. */
struct deferred {
	struct deferred *next;
	loop_fn *fn;
	void *arg;
	unsigned int turn;
	bool queued;
};

/* Call fn(arg) after the callbacks of this turn. Queued already: no effect. */
void loop_defer(struct loop *loop, struct deferred *call, loop_fn *fn, void *arg);

/* Take a deferred call back. Idempotent. */
void loop_undefer(struct loop *loop, struct deferred *call);

/*
 * Something to be freed when the turn is over; embedded first in its owner.
 * free_fn(owner) runs when no callback of this turn can see the object any
 * more. Its watches, timers and deferred calls must be stopped before.
 */
struct grave {
	struct grave *next;
	loop_fn *free_fn;
	void *owner;
};
void loop_bury(struct loop *loop, struct grave *grave, loop_fn *free_fn,
	       void *owner);

/* ---- from other threads -------------------------------------------------- */

/* A message between threads; embedded in its owner, in one queue at a time. */
struct post {
	struct post *next;
	loop_fn *fn;
	void *arg;
};

/*
 * Run fn(arg) on the loop's thread, in the order of posting. Any thread; takes
 * a mutex for a few instructions, wakes the loop by an eventfd when it was
 * empty. The post may be used again as soon as fn has been entered.
 */
void loop_post(struct loop *loop, struct post *post, loop_fn *fn, void *arg);

/* ---- signals ------------------------------------------------------------- */

typedef void signal_fn(void *arg, int signum);

/* Call fn on this loop for each `signum`; one loop of the process only. */
int loop_on_signal(struct loop *loop, int signum, signal_fn *fn, void *arg,
		   struct err *err) MUST_CHECK;

#endif
