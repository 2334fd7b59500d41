#include "common/loop.h"

#include "common/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_SIGNALS 8
#define RESERVED_TIMERS 8192

struct signal_watch {
	struct event event;
	signal_fn *fn;
	void *arg;
};

struct loop {
	struct event_base *base;
	uint64_t now_ms;
	bool now_is_known;
	atomic_bool stopping;
	/* calls of this turn, and what is freed after it */
	struct deferred *first_call;
	struct deferred **last_call;
	unsigned int turn;
	struct grave *graves;
	/* messages from other threads */
	pthread_mutex_t lock;
	struct post *first_post;
	struct post **last_post;
	int wake_fd;
	struct watch wake_watch;
	struct signal_watch signals[MAX_SIGNALS];
	unsigned int n_signals;
};

static void wake(struct loop *loop)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(loop->wake_fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
}

static struct post *take_posts(struct loop *loop)
{
	struct post *first;

	pthread_mutex_lock(&loop->lock);
	first = loop->first_post;
	loop->first_post = NULL;
	loop->last_post = &loop->first_post;
	pthread_mutex_unlock(&loop->lock);
	return first;
}

static void on_wake(void *arg, unsigned int ready)
{
	struct loop *loop = arg;
	struct post *post, *next;
	uint64_t count;

	(void)ready;
	while (read(loop->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	for (post = take_posts(loop); post; post = next) {
		next = post->next;
		post->fn(post->arg);
	}
}

static int init_wake(struct loop *loop, struct err *err)
{
	loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (loop->wake_fd < 0)
		return err_set_errno(err, ERR_LIMIT, errno,
				     "cannot create an eventfd");
	return watch_start_level(&loop->wake_watch, loop, loop->wake_fd,
				 on_wake, loop, err);
}

/*
 * libevent's heap of timers grows when needed and never shrinks. Growing it now
 * means that starting a timer later cannot run out of memory. The timers for it
 * come from mmap(2): freeing as much memory of malloc's would make it keep more
 * for ever after (mallopt(3), M_MMAP_THRESHOLD).
 */
static int reserve_timers(struct loop *loop, struct err *err)
{
	size_t size = RESERVED_TIMERS * sizeof(struct timer);
	struct timer *timers = mmap(NULL, size, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct timeval hour = { 3600, 0 };
	bool fits = timers != MAP_FAILED;

	for (size_t i = 0; fits && i < RESERVED_TIMERS; i++) {
		timer_init(&timers[i], loop, NULL, NULL);
		fits = evtimer_add(&timers[i].event, &hour) == 0;
	}
	for (size_t i = 0; timers != MAP_FAILED && i < RESERVED_TIMERS; i++)
		timer_stop(&timers[i]);
	if (timers != MAP_FAILED)
		munmap(timers, size);
	return fits ? 0 : err_set(err, ERR_MEMORY, "out of memory for timers");
}

struct loop *loop_new(struct err *err)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop) {
		err_set(err, ERR_MEMORY, "out of memory for an event loop");
		return NULL;
	}
	pthread_mutex_init(&loop->lock, NULL);
	loop->last_call = &loop->first_call;
	loop->last_post = &loop->first_post;
	loop->wake_fd = -1;
	loop->base = event_base_new();
	if (!loop->base)
		err_set(err, ERR_MEMORY, "cannot create an event loop");
	if (!loop->base || reserve_timers(loop, err) < 0 ||
	    init_wake(loop, err) < 0)
		loop_free(&loop);
	return loop;
}

static void free_graves(struct loop *loop)
{
	struct grave *grave;

	while ((grave = loop->graves)) {
		loop->graves = grave->next;
		grave->free_fn(grave->owner);
	}
}

void loop_free(struct loop **loopp)
{
	struct loop *loop = *loopp;

	if (!loop)
		return;
	*loopp = NULL;
	free_graves(loop);
	for (unsigned int i = 0; i < loop->n_signals; i++)
		event_del(&loop->signals[i].event);
	watch_stop(&loop->wake_watch);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	if (loop->base)
		event_base_free(loop->base);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

/* Only the calls that were queued when it began; see the header on turns. */
static void run_deferred(struct loop *loop)
{
	struct deferred *call;

	loop->turn++;
	while ((call = loop->first_call) && call->turn != loop->turn) {
		loop->first_call = call->next;
		if (!loop->first_call)
			loop->last_call = &loop->first_call;
		call->queued = false;
		call->fn(call->arg);
	}
}

void loop_run_once(struct loop *loop)
{
	bool busy = loop->first_call || loop->graves;

	loop->now_is_known = false;
	event_base_loop(loop->base,
			busy ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE);
	run_deferred(loop);
	free_graves(loop);
}

void loop_run(struct loop *loop)
{
	while (!atomic_load_explicit(&loop->stopping, memory_order_acquire))
		loop_run_once(loop);
	atomic_store(&loop->stopping, false);
}

void loop_stop(struct loop *loop)
{
	atomic_store_explicit(&loop->stopping, true, memory_order_release);
	wake(loop);
}

uint64_t loop_now_ms(struct loop *loop)
{
	if (!loop->now_is_known) {
		loop->now_ms = clock_monotonic_ms();
		loop->now_is_known = true;
	}
	return loop->now_ms;
}

struct event_base *loop_base(struct loop *loop)
{
	return loop->base;
}

/* ---- descriptors --------------------------------------------------------- */

static void on_watch_event(evutil_socket_t fd, short what, void *arg)
{
	struct watch *watch = arg;
	unsigned int ready = 0;

	(void)fd;
	if (what & EV_READ)
		ready |= LOOP_READABLE;
	if (what & EV_WRITE)
		ready |= LOOP_WRITABLE;
	watch->fn(watch->arg, ready);
}

static int start_watch(struct watch *watch, struct loop *loop, int fd,
		       short what, watch_fn *fn, void *arg, struct err *err)
{
	CHECK(!watch->active);
	watch->fn = fn;
	watch->arg = arg;
	if (event_assign(&watch->event, loop->base, fd, what, on_watch_event,
			 watch) < 0 ||
	    event_add(&watch->event, NULL) < 0)
		return err_set_errno(err, ERR_LIMIT, errno,
				     "cannot watch descriptor %d", fd);
	watch->active = true;
	return 0;
}

int watch_start(struct watch *watch, struct loop *loop, int fd, watch_fn *fn,
		void *arg, struct err *err)
{
	return start_watch(watch, loop, fd,
			   EV_READ | EV_WRITE | EV_ET | EV_PERSIST, fn, arg,
			   err);
}

int watch_start_level(struct watch *watch, struct loop *loop, int fd,
		      watch_fn *fn, void *arg, struct err *err)
{
	return start_watch(watch, loop, fd, EV_READ | EV_PERSIST, fn, arg, err);
}

int watch_start_level_write(struct watch *watch, struct loop *loop, int fd,
			    watch_fn *fn, void *arg, struct err *err)
{
	return start_watch(watch, loop, fd, EV_WRITE | EV_PERSIST, fn, arg,
			   err);
}

void watch_stop(struct watch *watch)
{
	if (!watch->active)
		return;
	watch->active = false;
	event_del(&watch->event);
}

/* ---- timers -------------------------------------------------------------- */

static void on_timer_event(evutil_socket_t fd, short what, void *arg)
{
	struct timer *timer = arg;

	(void)fd;
	(void)what;
	timer->fn(timer->arg);
}

void timer_init(struct timer *timer, struct loop *loop, timer_fn *fn, void *arg)
{
	timer->fn = fn;
	timer->arg = arg;
	CHECK(evtimer_assign(&timer->event, loop->base, on_timer_event,
			     timer) == 0);
	timer->ready = true;
}

void timer_start(struct timer *timer, uint64_t ms)
{
	struct timeval after = { (time_t)(ms / 1000),
				 (suseconds_t)(ms % 1000 * 1000) };

	CHECK(timer->ready);
	CHECK(evtimer_add(&timer->event, &after) == 0);
}

void timer_stop(struct timer *timer)
{
	if (timer->ready)
		evtimer_del(&timer->event);
}

bool timer_is_running(const struct timer *timer)
{
	return timer->ready && evtimer_pending(&timer->event, NULL);
}

/* ---- after this turn ----------------------------------------------------- */

void loop_defer(struct loop *loop, struct deferred *call, loop_fn *fn, void *arg)
{
	if (call->queued)
		return;
	*call = (struct deferred){
		.fn = fn, .arg = arg, .turn = loop->turn, .queued = true
	};
	*loop->last_call = call;
	loop->last_call = &call->next;
}

void loop_undefer(struct loop *loop, struct deferred *call)
{
	struct deferred **at = &loop->first_call;

	if (!call->queued)
		return;
	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
	if (loop->last_call == &call->next)
		loop->last_call = at;
	call->queued = false;
}

void loop_bury(struct loop *loop, struct grave *grave, loop_fn *free_fn,
	       void *owner)
{
	grave->free_fn = free_fn;
	grave->owner = owner;
	grave->next = loop->graves;
	loop->graves = grave;
}

/* ---- from other threads -------------------------------------------------- */

void loop_post(struct loop *loop, struct post *post, loop_fn *fn, void *arg)
{
	bool was_empty;

	*post = (struct post){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&loop->lock);
	was_empty = !loop->first_post;
	*loop->last_post = post;
	loop->last_post = &post->next;
	pthread_mutex_unlock(&loop->lock);
	if (was_empty)
		wake(loop);
}

/* ---- signals ------------------------------------------------------------- */

static void on_signal_event(evutil_socket_t signum, short what, void *arg)
{
	struct signal_watch *watch = arg;

	(void)what;
	watch->fn(watch->arg, (int)signum);
}

int loop_on_signal(struct loop *loop, int signum, signal_fn *fn, void *arg,
		   struct err *err)
{
	struct signal_watch *watch = &loop->signals[loop->n_signals];

	CHECK(loop->n_signals < MAX_SIGNALS);
	watch->fn = fn;
	watch->arg = arg;
	if (evsignal_assign(&watch->event, loop->base, signum, on_signal_event,
			    watch) < 0 ||
	    evsignal_add(&watch->event, NULL) < 0)
		return err_set(err, ERR_LIMIT, "cannot handle signal %d",
			       signum);
	loop->n_signals++;
	return 0;
}
