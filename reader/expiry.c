#include "reader/expiry.h"

#include "common/clock.h"
#include "common/log.h"

#define ROUND_MIN_MS 100u
#define ROUND_MAX_MS 60000u

static void abort_next(void *arg);

static void wait_for_round(struct expiry *e)
{
	uint64_t ms = e->ttl_ms / 8;

	if (ms < ROUND_MIN_MS)
		ms = ROUND_MIN_MS;
	timer_start(&e->timer, ms < ROUND_MAX_MS ? ms : ROUND_MAX_MS);
}

static void on_aborted(void *arg, const struct err *err)
{
	struct expiry *e = arg;

	log_line(err ? LOG_WARN : LOG_INFO, "expired",
		 LOG_STR("id", e->entry->id),
		 LOG_STR("cause", e->on_flushed ? "shutdown" : "age"),
		 LOG_STR("reason", err ? err->text : ""));
	if (!e->on_flushed)
		metric_add(e->thread->reader->metrics.expired, 1);
	e->entry->sink = NULL;
	staging_drop(&e->entry);
	loop_defer(e->thread->loop, &e->next, abort_next, e);
}

static void end_round(struct expiry *e)
{
	e->running = false;
	if (e->on_flushed)
		e->on_flushed(e->arg);
	else
		wait_for_round(e);
}

static void abort_next(void *arg)
{
	struct expiry *e = arg;
	struct staging_holder nobody = { 0 };

	e->entry = staging_take_old(e->thread->reader->staging, e->until_ms,
				    &nobody);
	if (e->entry)
		sink_abort(e->entry->sink, e->thread->loop, on_aborted, e);
	else
		end_round(e);
}

static void on_timer(void *arg)
{
	struct expiry *e = arg;
	uint64_t now = clock_monotonic_ms();

	e->running = true;
	e->until_ms = now > e->ttl_ms ? now - e->ttl_ms : 0;
	abort_next(e);
}

void expiry_start(struct expiry *e, struct reader_thread *thread,
		  uint64_t ttl_ms)
{
	*e = (struct expiry){ .thread = thread, .ttl_ms = ttl_ms };
	timer_init(&e->timer, thread->loop, on_timer, e);
	wait_for_round(e);
}

void expiry_flush(struct expiry *e, loop_fn *on_flushed, void *arg)
{
	timer_stop(&e->timer);
	e->on_flushed = on_flushed;
	e->arg = arg;
	e->until_ms = UINT64_MAX;
	if (e->running)
		return;
	e->running = true;
	loop_defer(e->thread->loop, &e->next, abort_next, e);
}
