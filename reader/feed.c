#include "reader/feed.h"

int feed_init(struct feed *feed, struct reader_thread *thread,
	      loop_fn *on_progress, void *arg, struct err *err)
{
	feed->ring = thread_take_ring(thread);
	if (!feed->ring)
		return err_set(err, ERR_MEMORY, "out of memory for a ring");
	feed->thread = thread;
	feed->on_progress = on_progress;
	feed->arg = arg;
	ring_attach(feed->ring, &feed->cursor);
	return 0;
}

void feed_release(struct feed *feed)
{
	if (!feed->ring)
		return;
	CHECK(feed->writing == 0);
	ring_detach(feed->ring, &feed->cursor);
	thread_return_ring(feed->thread, &feed->ring);
}

static void on_written(void *arg, const struct err *err)
{
	struct feed *feed = arg;

	if (err)
		feed->err = *err;
	else
		ring_advance(feed->ring, &feed->cursor, feed->writing);
	feed->writing = 0;
	feed->on_progress(feed->arg);
}

void feed_pump(struct feed *feed)
{
	struct span bytes;

	if (!feed->ring || feed->writing > 0 || err_is_set(&feed->err))
		return;
	bytes = ring_peek(feed->ring, &feed->cursor);
	if (bytes.len == 0)
		return;
	feed->writing = bytes.len;
	sink_write(feed->sink, feed->thread->loop, bytes, on_written, feed);
}

bool feed_is_busy(const struct feed *feed)
{
	return feed->writing > 0;
}

bool feed_is_drained(const struct feed *feed)
{
	return feed->writing == 0 &&
	       (!feed->ring || ring_lag(feed->ring, &feed->cursor) == 0);
}
