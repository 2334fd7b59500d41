/*
 * The store in PostgreSQL, and the beginning of each object.
 *
 *   open      a row of `object`, state receiving
 *   write     rows of `chunk` through COPY, in slices           pg_slice.c
 *   stage     the last, shorter row; the slice ends; state staged: the one commit
 *             that is flushed to disk, and with it all before it
 *   commit    state committed: visible                          pg_commit.c
 *   abort     state deleting; chunks and row go in the background   pg_house.c
 */
#include "reader/pg_sink.h"

#include <malloc.h>
#include <stdlib.h>

/* ---- the beginning of an object ------------------------------------------- */

/* The pool of the operation's loop; false: the operation has ended. */
bool pg_sink_choose_pool(struct pg_sink *sink)
{
	struct pg_local local = pg_store_local(
		sink->base.store, sink->base.loop, &sink->base.err);

	CHECK(!local.pool || !sink->bound || sink->pool == local.pool);
	sink->pool = local.pool;
	sink->flush = local.flush;
	if (local.pool)
		return true;
	sink_end(&sink->base);
	return false;
}

static void on_opened(void *arg, PGresult *result, const struct err *err)
{
	struct pg_sink *sink = arg;

	if (err)
		sink->base.err = *err;
	else
		sink->key = pg_number(result, 0, 0);
	sink->maybe_opened = err != NULL;
	sink->rows.object = sink->key;
	PQclear(result);
	sink_end(&sink->base);
}

static void bind_open(void *arg, struct pg_link *link)
{
	struct pg_sink *sink = arg;

	pg_link_number(link, 0, pg_house_instance(pg_sink_store(sink)->house));
	pg_link_text(link, 1, sink->base.object.id);
	pg_link_text(link, 2, sink->base.object.name);
	pg_link_text(link, 3, sink->base.object.content_type);
}

static void postgres_open(struct sink *base)
{
	struct pg_sink *sink = pg_sink_of(base);

	timer_init(&sink->timer, base->loop, pg_slice_on_idle, sink);
	if (pg_house_is_replica(pg_sink_store(sink)->house)) {
		err_set(&base->err, ERR_LIMIT,
			"the database is a read-only replica");
		sink_end(base);
	} else if (pg_sink_choose_pool(sink)) {
		pg_call_run(&sink->call, sink->pool, PG_OPEN, bind_open,
			    on_opened, sink);
	}
}

/* ---- life ---------------------------------------------------------------- */

static struct sink *postgres_sink_new(struct store *store)
{
	struct pg_sink *sink = calloc(1, sizeof(*sink));

	(void)store;
	if (!sink)
		return NULL;
	sink->chore = malloc(sizeof(*sink->chore));
	if (sink->chore)
		return &sink->base;
	free(sink);
	return NULL;
}

static void postgres_sink_free(struct sink *base)
{
	struct pg_sink *sink = pg_sink_of(base);

	timer_stop(&sink->timer);
	pg_call_cancel(&sink->call);
	free(sink->chore);
	free(sink);
}

/* ---- store --------------------------------------------------------------- */

static struct pg_store *pg_store_of(struct store *store)
{
	return (struct pg_store *)(void *)store;
}

static struct pg_local *find_local(const struct pg_store *store,
				   const struct loop *loop)
{
	for (size_t i = 0; i < store->n_locals; i++)
		if (pg_pool_loop(store->locals[i].pool) == loop)
			return &store->locals[i];
	return NULL;
}

static void free_local(struct pg_local *local)
{
	pg_flush_free(&local->flush);
	pg_pool_free(&local->pool);
}

/* NULL when out of memory. */
static struct pg_local *add_local(struct pg_store *store, struct loop *loop)
{
	size_t size = (store->n_locals + 1) * sizeof(*store->locals);
	struct pg_local *locals = realloc(store->locals, size), *local;

	if (!locals)
		return NULL;
	store->locals = locals;
	local = &locals[store->n_locals];
	local->flush = NULL;
	local->pool = pg_pool_new(loop, store->settings, store->workers);
	if (local->pool)
		local->flush = pg_flush_new(loop, store->settings,
					    store->workers);
	if (!local->flush) {
		free_local(local);
		return NULL;
	}
	store->n_locals++;
	return local;
}

struct pg_local pg_store_local(struct store *base, struct loop *loop,
			       struct err *err)
{
	struct pg_store *store = pg_store_of(base);
	struct pg_local copy = { NULL, NULL }, *local;

	pthread_mutex_lock(&store->lock);
	local = find_local(store, loop);
	if (!local)
		local = add_local(store, loop);
	if (local)
		copy = *local;
	pthread_mutex_unlock(&store->lock);
	if (!local)
		err_set(err, ERR_MEMORY,
			"out of memory for database connections");
	return copy;
}

struct pg_pool *pg_store_pool(struct store *store, struct loop *loop,
			      struct err *err)
{
	return pg_store_local(store, loop, err).pool;
}

static void postgres_leave(struct store *base, struct loop *loop)
{
	struct pg_store *store = pg_store_of(base);
	struct pg_local *local;

	pthread_mutex_lock(&store->lock);
	local = find_local(store, loop);
	if (local) {
		free_local(local);
		*local = store->locals[--store->n_locals];
	}
	pthread_mutex_unlock(&store->lock);
}

static void postgres_store_close(struct store *base)
{
	struct pg_store *store = pg_store_of(base);

	while (store->n_locals > 0)
		free_local(&store->locals[--store->n_locals]);
	free(store->locals);
	pg_house_free(&store->house);
	pthread_mutex_destroy(&store->lock);
	free(store);
}

/*
 * Slices for players are taken and freed by libpq all the time. By default glibc
 * gives what is free at the end of its heap back beyond 128 KiB, and takes it
 * again, page by page: a tenth of the time of a playback (mallopt(3)).
 */
static void keep_freed_memory(void)
{
	mallopt(M_TRIM_THRESHOLD, 4 << 20);
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
}

static struct store *postgres_store_open(const struct reader_settings *settings,
					 struct workers *workers,
					 struct err *err)
{
	struct pg_store *store = calloc(1, sizeof(*store));

	if (!store) {
		err_set(err, ERR_MEMORY, "out of memory for the store");
		return NULL;
	}
	store->settings = settings;
	store->workers = workers;
	store->slice_ms = PG_SLICE_MS;
	keep_freed_memory();
	pthread_mutex_init(&store->lock, NULL);
	store->house = pg_house_new(settings, err);
	if (store->house)
		return &store->base;
	postgres_store_close(&store->base);
	return NULL;
}

/* ---- probe --------------------------------------------------------------- */

struct ping {
	struct pg_call call;
	struct store_probe *probe;
};

static void on_pong(void *arg, PGresult *result, const struct err *err)
{
	struct ping *ping = arg;
	struct store_probe *probe = ping->probe;

	PQclear(result);
	free(ping);
	if (err)
		probe->err = *err;
	store_probe_end(probe);
}

static void postgres_check(struct store_probe *probe, struct loop *loop)
{
	struct ping *ping = calloc(1, sizeof(*ping));
	struct pg_pool *pool = pg_store_pool(probe->store, loop, &probe->err);

	if (!ping)
		err_set(&probe->err, ERR_MEMORY, "out of memory");
	if (!ping || !pool) {
		free(ping);
		store_probe_end(probe);
		return;
	}
	ping->probe = probe;
	pg_call_run(&ping->call, pool, PG_PING, NULL, on_pong, ping);
}

const struct sink_type sink_type_postgres = {
	.kind = "postgres",
	.can_append = true,
	.is_shared = true,
	.store_open = postgres_store_open,
	.store_close = postgres_store_close,
	.leave = postgres_leave,
	.check = postgres_check,
	.find = pg_find,
	.remove = pg_remove,
	.list = pg_list,
	.release = pg_release,
	.source_new = pg_source_new,
	.source_next = pg_source_next,
	.source_free = pg_source_free,
	.sink_new = postgres_sink_new,
	.sink_free = postgres_sink_free,
	.open = postgres_open,
	.write = pg_sink_write,
	.stage = pg_sink_complete,
	.suspend = pg_sink_complete,
	.commit = pg_sink_commit,
	.abort = pg_sink_abort,
};
