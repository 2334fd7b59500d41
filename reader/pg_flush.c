#include "reader/pg_flush.h"

#include <stdlib.h>

struct pg_flush {
	struct pg_pool *pool;
	struct pg_call call;
	size_t bytes;			/* since the last flush began */
	bool running;
};

static void on_flushed(void *arg, PGresult *result, const struct err *err)
{
	struct pg_flush *flush = arg;

	(void)err;	/* then the COPY flushes for itself */
	PQclear(result);
	flush->running = false;
}

void pg_flush_add(struct pg_flush *flush, size_t n)
{
	flush->bytes += n;
	if (flush->running || flush->bytes < PG_FLUSH_BYTES ||
	    !pg_pool_can_spare(flush->pool))
		return;
	flush->bytes = 0;
	flush->running = true;
	pg_call_run(&flush->call, flush->pool, PG_FLUSH, NULL, on_flushed,
		    flush);
}

struct pg_flush *pg_flush_new(struct pg_pool *pool)
{
	struct pg_flush *flush = calloc(1, sizeof(*flush));

	if (!flush)
		return NULL;
	flush->pool = pool;
	flush->call.taker.is_optional = true;
	return flush;
}

void pg_flush_free(struct pg_flush **flushp)
{
	struct pg_flush *flush = *flushp;

	*flushp = NULL;
	if (!flush)
		return;
	pg_call_cancel(&flush->call);
	free(flush);
}
