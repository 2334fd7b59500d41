#include "reader/pg_flush.h"

#include "common/log.h"

#include <stdlib.h>

#define IDLE_MS 2000u
#define PAUSE_MS 60000u		/* after a failure */

struct pg_flush {
	struct loop *loop;
	struct pg_link *link;
	struct timer idle;		/* closes the link */
	bool is_on;
	bool running;			/* connects, or flushes */
	size_t bytes;			/* since the last flush began */
	uint64_t not_before_ms;		/* by the loop's clock */
};

static void rest(struct pg_flush *flush, const struct err *err)
{
	log_line(LOG_INFO, "database_flush", LOG_STR("result", "failed"),
		 LOG_STR("reason", err->text));
	pg_link_reset(flush->link);
	flush->not_before_ms = loop_now_ms(flush->loop) + PAUSE_MS;
}

static void on_flushed(void *arg, PGresult *result, const struct err *err)
{
	struct pg_flush *flush = arg;

	PQclear(result);
	flush->running = false;
	if (err)
		rest(flush, err);
	else
		timer_start(&flush->idle, IDLE_MS);
}

static void on_connected(void *arg, PGresult *result, const struct err *err)
{
	struct pg_flush *flush = arg;

	if (err)
		on_flushed(flush, result, err);
	else
		pg_link_run(flush->link, PG_FLUSH, on_flushed, flush);
}

void pg_flush_add(struct pg_flush *flush, size_t n)
{
	flush->bytes += n;
	if (!flush->is_on || flush->running ||
	    flush->bytes < PG_FLUSH_BYTES ||
	    loop_now_ms(flush->loop) < flush->not_before_ms)
		return;
	flush->bytes = 0;
	flush->running = true;
	timer_stop(&flush->idle);
	if (pg_link_is_usable(flush->link))
		pg_link_run(flush->link, PG_FLUSH, on_flushed, flush);
	else
		pg_link_connect(flush->link, on_connected, flush);
}

bool pg_flush_is_running(const struct pg_flush *flush)
{
	return flush->running;
}

static void on_idle(void *arg)
{
	struct pg_flush *flush = arg;

	pg_link_reset(flush->link);
}

struct pg_flush *pg_flush_new(struct loop *loop,
			      const struct reader_settings *settings,
			      struct workers *workers)
{
	struct pg_flush *flush = calloc(1, sizeof(*flush));

	if (!flush)
		return NULL;
	flush->loop = loop;
	flush->is_on = settings->db_flush;
	timer_init(&flush->idle, loop, on_idle, flush);
	flush->link = pg_link_new(loop, settings, workers);
	if (!flush->link)
		pg_flush_free(&flush);
	return flush;
}

void pg_flush_free(struct pg_flush **flushp)
{
	struct pg_flush *flush = *flushp;

	*flushp = NULL;
	if (!flush)
		return;
	timer_stop(&flush->idle);
	pg_link_free(&flush->link);
	free(flush);
}
