#include "reader/pg_store.h"

static void next_batch(struct pg_purge *purge);

static void bind_key(void *arg, struct pg_link *link)
{
	struct pg_purge *purge = arg;

	pg_link_number(link, 0, purge->key);
}

static void on_forgotten(void *arg, PGresult *result, const struct err *err)
{
	struct pg_purge *purge = arg;

	PQclear(result);
	purge->done(purge->arg, err);
}

static void on_batch(void *arg, PGresult *result, const struct err *err)
{
	struct pg_purge *purge = arg;
	bool more = result && pg_changed(result) > 0;

	PQclear(result);
	if (err)
		purge->done(purge->arg, err);
	else if (more)
		next_batch(purge);
	else
		pg_call_run(&purge->call, purge->pool, PG_FORGET, bind_key,
			    on_forgotten, purge);
}

static void next_batch(struct pg_purge *purge)
{
	pg_call_run(&purge->call, purge->pool, PG_PURGE, bind_key, on_batch,
		    purge);
}

void pg_purge_start(struct pg_purge *purge, struct pg_pool *pool, int64_t key,
		    sink_done_fn *done, void *arg)
{
	purge->pool = pool;
	purge->key = key;
	purge->done = done;
	purge->arg = arg;
	next_batch(purge);
}
