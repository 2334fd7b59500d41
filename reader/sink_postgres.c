/*
 * Objects on their way into PostgreSQL.
 *
 *   open      a row of `object`, state receiving
 *   write     rows of `chunk` through COPY, in *slices*: a transaction each
 *   stage     the last, shorter row; the slice ends; state staged: the one commit
 *             that is flushed to disk, and with it all before it
 *   commit    state committed: visible; asked again when its answer was lost
 *   abort     state deleting, then the chunks in batches, then the row
 *
 * The state of the slice, apart from the operation that runs:
 *
 *   NONE ─▶ TAKING ─▶ (CLEANING ─▶) BEGINNING ─▶ OPEN ─▶ ENDING ─▶ NONE
 *
 * A slice ends when it has db_slice_bytes, and soon when no bytes come: an upload
 * that waits for its client holds neither a connection nor a transaction. While
 * the database takes rows a worker digests the same bytes; a write has ended when
 * both have.
 */
#include "reader/pg_error.h"
#include "reader/pg_rows.h"
#include "reader/pg_schema.h"
#include "reader/pg_store.h"

#include "common/clock.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define IDLE_MS 1000u		/* an open slice without bytes */
#define HASH_INLINE 32768u	/* fewer bytes are not worth a worker */
#define COMMIT_RETRY_MS 200u

#define SLICE_STATES(X)                                                   \
	X(NONE, "no transaction")                                         \
	X(TAKING, "waits for a connection")                               \
	X(CLEANING, "the short row of a stage before is removed")         \
	X(BEGINNING, "the server is asked to take rows")                  \
	X(OPEN, "rows flow")                                              \
	X(ENDING, "the server is asked to keep them")

#define SLICE_STATE_NAME(name, meaning) SLICE_##name,
enum slice_state { SLICE_STATES(SLICE_STATE_NAME) };
#undef SLICE_STATE_NAME

struct pg_sink {
	struct sink base;
	int64_t key;			/* of its row; 0: there is none */
	struct pg_pool *pool;		/* of the loop of the slice, the call */
	struct pg_call call;
	struct pg_purge purge;
	/* the slice */
	enum slice_state slice;
	struct pg_taker taker;
	struct pg_link *link;
	uint64_t slice_bytes;
	bool header_sent;
	bool wants_end;
	bool tail_stored;		/* the tail is a row of the table, too */
	uint32_t slice_seq;		/* the slice's first row */
	bool blocked;			/* on_room will come */
	bool bound;			/* a write has left the slice open */
	struct err slice_err;		/* it failed, maybe between operations */
	struct timer timer;		/* of an idle slice; of the next try */
	/* the running write */
	struct span bytes;		/* not yet in rows */
	bool moving;			/* rows, or what follows them, under way */
	bool hashing;
	struct span to_hash;
	struct job job;
	uint64_t deadline_ms;		/* of a commit's tries */
	struct pg_rows rows;
};

static struct pg_sink *of(struct sink *sink)
{
	return (struct pg_sink *)(void *)sink;
}

static struct pg_store *store_of(const struct pg_sink *sink)
{
	return (struct pg_store *)(void *)sink->base.store;
}

static void advance(struct pg_sink *sink);

/* ---- ends of operations -------------------------------------------------- */

/* The write, stage or suspend has ended when the digest has, too. */
static void end_if_done(struct pg_sink *sink)
{
	if (!sink->moving && !sink->hashing)
		sink_end(&sink->base);
}

static void end_moving(struct pg_sink *sink)
{
	CHECK(sink->moving);
	sink->moving = false;
	sink->bound = sink->slice != SLICE_NONE;
	end_if_done(sink);
}

static void note_failure(struct pg_sink *sink, const struct err *err)
{
	if (sink->base.op != SINK_IDLE && !err_is_set(&sink->base.err))
		sink->base.err = *err;
	if (!err_is_set(&sink->slice_err))
		sink->slice_err = *err;
}

/* ---- the digest ---------------------------------------------------------- */

static void run_hash(void *arg)
{
	struct pg_sink *sink = arg;

	digest_update(sink->base.digest, sink->to_hash.ptr, sink->to_hash.len);
}

static void on_hashed(void *arg)
{
	struct pg_sink *sink = arg;

	sink->hashing = false;
	end_if_done(sink);
}

static void start_hash(struct pg_sink *sink, struct span bytes)
{
	sink->to_hash = bytes;
	if (bytes.len < HASH_INLINE) {
		run_hash(sink);
		return;
	}
	sink->hashing = true;
	workers_submit(store_of(sink)->workers, &sink->job, sink->base.loop,
		       run_hash, on_hashed, sink);
}

/* ---- the slice ----------------------------------------------------------- */

#define BIT(state) (1u << SLICE_##state)

/* The only place where the slice's state is assigned. */
static void set_slice(struct pg_sink *sink, enum slice_state state)
{
	static const unsigned int next[] = {
		[SLICE_NONE] = BIT(TAKING),
		[SLICE_TAKING] = BIT(CLEANING) | BIT(BEGINNING) | BIT(NONE),
		[SLICE_CLEANING] = BIT(BEGINNING) | BIT(NONE),
		[SLICE_BEGINNING] = BIT(OPEN) | BIT(NONE),
		[SLICE_OPEN] = BIT(ENDING) | BIT(NONE),
		[SLICE_ENDING] = BIT(NONE),
	};

	CHECK(next[sink->slice] & (1u << state));
	sink->slice = state;
}

static void close_slice(struct pg_sink *sink)
{
	timer_stop(&sink->timer);
	sink->wants_end = false;
	sink->blocked = false;
	set_slice(sink, SLICE_NONE);
	if (sink->link)
		pg_pool_give(sink->pool, &sink->link);
}

static void fail_slice(struct pg_sink *sink, const struct err *err)
{
	struct err copy = *err;

	note_failure(sink, &copy);
	close_slice(sink);
	advance(sink);
}

static void on_slice_ended(void *arg, PGresult *result, const struct err *err)
{
	struct pg_sink *sink = arg;

	PQclear(result);
	if (err) {
		fail_slice(sink, err);
		return;
	}
	close_slice(sink);
	advance(sink);
}

static void end_slice(struct pg_sink *sink)
{
	timer_stop(&sink->timer);
	set_slice(sink, SLICE_ENDING);
	pg_link_copy_end(sink->link, on_slice_ended, sink);
}

static void fail_for_loss(struct pg_sink *sink)
{
	struct err err = ERR_INIT;

	err_set(&err, ERR_STORE,
		"the object, or a part of it, is gone from the database");
	fail_slice(sink, &err);
}

static void on_copy_begun(void *arg, PGresult *result, const struct err *err)
{
	struct pg_sink *sink = arg;

	PQclear(result);
	if (err) {
		fail_slice(sink, err);
		return;
	}
	if (sink->link->changed != 1) {
		fail_for_loss(sink);
		return;
	}
	set_slice(sink, SLICE_OPEN);
	sink->slice_seq = sink->rows.seq;
	sink->slice_bytes = 0;
	sink->header_sent = false;
	advance(sink);
}

/*
 * A slice need not be flushed to disk: the commit that stages the object flushes
 * all before it. But a server that crashes may lose the last slices and go on
 * without them. So each one notes in the object's row where it begins, and
 * refuses when the one before is not noted there; the stage asks the same.
 */
static void begin_copy(struct pg_sink *sink)
{
	char sql[300];

	snprintf(sql, sizeof(sql),
		 "SET LOCAL synchronous_commit TO off; "
		 "UPDATE object SET n_chunks = %" PRIu32
		 " WHERE key = %" PRId64 " AND n_chunks = %" PRIu32
		 " AND state IN (1, 2); "
		 "COPY chunk (object, seq, data) FROM STDIN BINARY",
		 sink->rows.seq, sink->key, sink->slice_seq);
	set_slice(sink, SLICE_BEGINNING);
	pg_link_copy_begin(sink->link, sql, on_copy_begun, sink);
}

static void on_cleaned(void *arg, PGresult *result, const struct err *err)
{
	struct pg_sink *sink = arg;

	PQclear(result);
	if (err) {
		fail_slice(sink, err);
		return;
	}
	sink->tail_stored = false;
	begin_copy(sink);
}

static void on_taken(void *arg, struct pg_link *link, const struct err *err)
{
	struct pg_sink *sink = arg;

	sink->link = link;
	if (!link) {
		fail_slice(sink, err);
		return;
	}
	if (!sink->tail_stored) {
		begin_copy(sink);
		return;
	}
	set_slice(sink, SLICE_CLEANING);
	pg_link_number(link, 0, sink->key);
	pg_link_number(link, 1, sink->rows.seq);
	pg_link_run(link, PG_REMOVE_CHUNK, on_cleaned, sink);
}

static void take_link(struct pg_sink *sink)
{
	set_slice(sink, SLICE_TAKING);
	pg_pool_take(sink->pool, &sink->taker, on_taken, sink);
}

/* ---- rows ---------------------------------------------------------------- */

static void on_room(void *arg)
{
	struct pg_sink *sink = arg;

	sink->blocked = false;
	advance(sink);
}

/* Hand bytes to the database. False when the slice has to wait, or is lost. */
static bool put(struct pg_sink *sink, struct span bytes)
{
	int rc = pg_link_copy_put(sink->link, bytes, on_room, sink);

	if (rc == 0)
		sink->blocked = true;
	if (rc < 0)
		end_slice(sink);
	return rc > 0;
}

static bool put_header(struct pg_sink *sink)
{
	if (sink->header_sent)
		return true;
	sink->header_sent = true;
	return put(sink, pg_copy_header);
}

/* All bytes of the write, as rows; false when it has to wait, or to end. */
static bool put_rows(struct pg_sink *sink)
{
	char *scratch = pg_pool_scratch(sink->pool);
	size_t n;

	while ((n = pg_rows_cut(&sink->rows, &sink->bytes, scratch,
				PG_SCRATCH_BYTES)) > 0) {
		sink->slice_bytes += n;
		if (!put(sink, span_make(scratch, n)))
			return false;
	}
	return true;
}

static bool put_tail(struct pg_sink *sink)
{
	char *scratch = pg_pool_scratch(sink->pool);
	size_t n = pg_rows_end(&sink->rows, scratch, PG_SCRATCH_BYTES);

	sink->tail_stored = n > 0;
	return n == 0 || put(sink, span_make(scratch, n));
}

/* ---- what an operation wants of the slice -------------------------------- */

static bool is_completing(const struct pg_sink *sink)
{
	return sink->base.op == SINK_STAGING ||
	       sink->base.op == SINK_SUSPENDING;
}

/* Is there a row to be made that no slice has taken yet? */
static bool has_rows(const struct pg_sink *sink)
{
	if (is_completing(sink))
		return sink->rows.tail_len > 0 && !sink->tail_stored;
	return sink->base.op == SINK_WRITING &&
	       (sink->tail_stored ||
		pg_rows_fill(&sink->rows, sink->bytes.len));
}

static void start_stage(struct pg_sink *sink);

/* No slice is open, and none is needed. */
static void after_rows(struct pg_sink *sink)
{
	struct span none = span_make(NULL, 0);

	if (sink->base.op == SINK_STAGING) {
		start_stage(sink);
		return;
	}
	/* What fills no row waits in the tail. */
	if (sink->bytes.len > 0)
		CHECK(pg_rows_cut(&sink->rows, &sink->bytes, NULL, 0) == 0);
	sink->bytes = none;
	end_moving(sink);
}

static void on_idle(void *arg)
{
	struct pg_sink *sink = arg;

	sink->wants_end = true;
	advance(sink);
}

static bool is_full(const struct pg_sink *sink)
{
	return sink->slice_bytes >= store_of(sink)->settings->db_slice_bytes;
}

/* Rows of this operation are in; it ends now or with the slice. */
static void after_put(struct pg_sink *sink)
{
	if (is_completing(sink) || is_full(sink) || sink->wants_end) {
		end_slice(sink);
		return;
	}
	if (!sink->moving)
		return;
	/* Somebody else may need the connection more. */
	timer_start(&sink->timer,
		    pg_pool_is_wanted(sink->pool) ? 0 : IDLE_MS);
	end_moving(sink);
}

static void step_open(struct pg_sink *sink)
{
	timer_stop(&sink->timer);
	if (!pg_link_takes_rows(sink->link)) {
		end_slice(sink);
		return;
	}
	if (!put_header(sink))
		return;
	if (sink->base.op == SINK_WRITING && !put_rows(sink))
		return;
	if (is_completing(sink) && !sink->tail_stored && !put_tail(sink))
		return;
	after_put(sink);
}

/* Do what the operation that runs needs; nothing when none does. */
static void step_none(struct pg_sink *sink)
{
	if (!sink->moving)
		return;
	if (err_is_set(&sink->slice_err)) {
		if (!err_is_set(&sink->base.err))
			sink->base.err = sink->slice_err;
		end_moving(sink);
	} else if (has_rows(sink)) {
		take_link(sink);
	} else {
		after_rows(sink);
	}
}

static void advance(struct pg_sink *sink)
{
	switch (sink->slice) {
	case SLICE_NONE:
		step_none(sink);
		break;
	case SLICE_OPEN:
		if (!sink->blocked)
			step_open(sink);
		break;
	case SLICE_TAKING:
	case SLICE_CLEANING:
	case SLICE_BEGINNING:
	case SLICE_ENDING:
		break;
	}
}

/* ---- operations ---------------------------------------------------------- */

/* The pool of the operation's loop; false: the operation has ended. */
static bool choose_pool(struct pg_sink *sink)
{
	struct pg_pool *pool = pg_store_pool(sink->base.store, sink->base.loop,
					     &sink->base.err);

	CHECK(!pool || !sink->bound || sink->pool == pool);
	sink->pool = pool;
	if (pool)
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
	sink->rows.object = sink->key;
	PQclear(result);
	sink_end(&sink->base);
}

static void bind_open(void *arg, struct pg_link *link)
{
	struct pg_sink *sink = arg;

	pg_link_number(link, 0, pg_house_instance(store_of(sink)->house));
	pg_link_text(link, 1, sink->base.object.id);
	pg_link_text(link, 2, sink->base.object.name);
	pg_link_text(link, 3, sink->base.object.content_type);
}

static void postgres_open(struct sink *base)
{
	struct pg_sink *sink = of(base);

	timer_init(&sink->timer, base->loop, on_idle, sink);
	if (pg_house_is_replica(store_of(sink)->house)) {
		err_set(&base->err, ERR_LIMIT,
			"the database is a read-only replica");
		sink_end(base);
	} else if (choose_pool(sink)) {
		pg_call_run(&sink->call, sink->pool, PG_OPEN, bind_open,
			    on_opened, sink);
	}
}

static void start_moving(struct pg_sink *sink, struct span bytes)
{
	if (sink->slice == SLICE_NONE)
		timer_init(&sink->timer, sink->base.loop, on_idle, sink);
	sink->bytes = bytes;
	sink->moving = true;
	/* Its end is another one's business: this operation goes first. */
	sink->wants_end = false;
	advance(sink);
}

static void postgres_write(struct sink *base, struct span bytes)
{
	struct pg_sink *sink = of(base);

	if (!choose_pool(sink))
		return;
	sink->moving = true;	/* until start_moving(): not done yet */
	start_hash(sink, bytes);
	start_moving(sink, bytes);
}

static void on_staged(void *arg, PGresult *result, const struct err *err)
{
	struct pg_sink *sink = arg;

	if (err)
		sink->base.err = *err;
	else if (pg_changed(result) != 1)
		err_set(&sink->base.err, ERR_STORE,
			"the object, or a part of it, is gone from the "
			"database");
	PQclear(result);
	end_moving(sink);
}

static void bind_stage(void *arg, struct pg_link *link)
{
	struct pg_sink *sink = arg;
	const struct object *object = &sink->base.object;

	pg_link_number(link, 0, sink->key);
	pg_link_number(link, 1, (int64_t)object->size);
	pg_link_text(link, 2, object->sha256);
	pg_link_number(link, 3, (int64_t)object->created_ms);
	pg_link_text(link, 4, object->content_type);
	pg_link_number(link, 5, sink->slice_seq);
}

static void start_stage(struct pg_sink *sink)
{
	pg_call_run(&sink->call, sink->pool, PG_STAGE, bind_stage, on_staged,
		    sink);
}

/* Stage and suspend: the tail goes in, the slice ends. */
static void postgres_complete(struct sink *base)
{
	struct pg_sink *sink = of(base);

	if (choose_pool(sink))
		start_moving(sink, span_make(NULL, 0));
}

/* ---- commit -------------------------------------------------------------- */

static void try_commit(void *arg);

static void end_commit(struct pg_sink *sink, const struct err *err)
{
	if (err)
		sink->base.err = *err;
	sink_end(&sink->base);
}

static void on_duplicate_purged(void *arg, const struct err *err)
{
	(void)err;	/* the house finishes it */
	end_commit(arg, NULL);
}

static void on_duplicate_withdrawn(void *arg, PGresult *result,
				   const struct err *err)
{
	struct pg_sink *sink = arg;

	PQclear(result);
	if (err)
		end_commit(sink, NULL);
	else
		pg_purge_start(&sink->purge, sink->pool, sink->key,
			       on_duplicate_purged, sink);
}

static void bind_withdrawal(void *arg, struct pg_link *link)
{
	struct pg_sink *sink = arg;

	pg_link_number(link, 0, pg_house_instance(store_of(sink)->house));
	pg_link_number(link, 1, sink->key);
}

/* Another row is the committed object of this id: is it the same content? */
static void on_other_found(void *arg, PGresult *result, const struct err *err)
{
	struct pg_sink *sink = arg;
	struct err why = ERR_INIT;
	struct object other;
	uint64_t key;
	bool same = false;

	if (!err && PQntuples(result) > 0) {
		pg_row_object(result, 0, &other, &key);
		same = object_is_same(&other, &sink->base.object);
	}
	PQclear(result);
	if (same) {
		pg_call_run(&sink->call, sink->pool, PG_WITHDRAW,
			    bind_withdrawal, on_duplicate_withdrawn, sink);
		return;
	}
	err_set(&why, ERR_CONFLICT,
		"another object of this identifier is committed");
	end_commit(sink, err ? err : &why);
}

static void bind_id(void *arg, struct pg_link *link)
{
	struct pg_sink *sink = arg;

	pg_link_text(link, 0, sink->base.object.id);
}

/*
 * Is it worth another try? After a lost connection nobody knows whether the
 * commit was done; asking again is harmless and tells.
 */
static bool may_retry(const struct pg_sink *sink, const PGresult *result,
		      const struct err *err)
{
	return (!result || err->code == ERR_LIMIT) &&
	       clock_monotonic_ms() < sink->deadline_ms;
}

static void on_committed(void *arg, PGresult *result, const struct err *err)
{
	struct pg_sink *sink = arg;
	bool is_unique = result && pg_result_has_state(result,
						       PG_UNIQUE_VIOLATION);
	struct err why = ERR_INIT;

	if (err && is_unique) {
		pg_call_run(&sink->call, sink->pool, PG_FIND, bind_id,
			    on_other_found, sink);
	} else if (err && may_retry(sink, result, err)) {
		timer_init(&sink->timer, sink->base.loop, try_commit, sink);
		timer_start(&sink->timer, COMMIT_RETRY_MS);
	} else if (err) {
		end_commit(sink, err);
	} else if (pg_changed(result) == 1) {
		sink->base.published = true;
		end_commit(sink, NULL);
	} else {
		err_set(&why, ERR_STORE,
			"the staged object is gone from the database");
		end_commit(sink, &why);
	}
	PQclear(result);
}

static void bind_commit(void *arg, struct pg_link *link)
{
	struct pg_sink *sink = arg;
	const struct object_details *details = &sink->base.object.details;

	pg_link_number(link, 0, sink->key);
	pg_link_text(link, 1, details->title);
	pg_link_text(link, 2, details->creator);
	pg_link_text(link, 3, details->metadata);
}

static void try_commit(void *arg)
{
	struct pg_sink *sink = arg;

	pg_call_run(&sink->call, sink->pool, PG_COMMIT, bind_commit,
		    on_committed, sink);
}

static void postgres_commit(struct sink *base)
{
	struct pg_sink *sink = of(base);

	sink->deadline_ms = clock_monotonic_ms() +
			    store_of(sink)->settings->db_timeout_ms;
	if (choose_pool(sink))
		try_commit(sink);
}

/* ---- abort --------------------------------------------------------------- */

static void on_purged(void *arg, const struct err *err)
{
	struct pg_sink *sink = arg;

	if (err)
		pg_house_remove_later(store_of(sink)->house, sink->key);
	sink_end(&sink->base);
}

static void on_withdrawn(void *arg, PGresult *result, const struct err *err)
{
	struct pg_sink *sink = arg;

	PQclear(result);
	if (err) {
		/* It may be visible still; the house goes on trying. */
		sink->base.err = *err;
		pg_house_remove_later(store_of(sink)->house, sink->key);
		sink_end(&sink->base);
		return;
	}
	pg_purge_start(&sink->purge, sink->pool, sink->key, on_purged, sink);
}

/* Whatever the slice is doing, its connection ends, and its transaction too. */
static void drop_slice(struct pg_sink *sink)
{
	pg_pool_cancel(&sink->taker);
	if (sink->link)
		pg_link_reset(sink->link);
	if (sink->slice != SLICE_NONE)
		close_slice(sink);
}

static void postgres_abort(struct sink *base)
{
	struct pg_sink *sink = of(base);

	if (!choose_pool(sink))
		return;
	drop_slice(sink);
	if (sink->key == 0)
		sink_end(base);
	else
		pg_call_run(&sink->call, sink->pool, PG_WITHDRAW,
			    bind_withdrawal, on_withdrawn, sink);
}

/* ---- life ---------------------------------------------------------------- */

static struct sink *postgres_sink_new(struct store *store)
{
	struct pg_sink *sink = calloc(1, sizeof(*sink));

	(void)store;
	return sink ? &sink->base : NULL;
}

static void postgres_sink_free(struct sink *base)
{
	struct pg_sink *sink = of(base);

	timer_stop(&sink->timer);
	pg_call_cancel(&sink->call);
	free(sink);
}

/* ---- store --------------------------------------------------------------- */

static struct pg_store *pg_store_of(struct store *store)
{
	return (struct pg_store *)(void *)store;
}

static struct pg_pool *find_pool(const struct pg_store *store,
				 const struct loop *loop)
{
	for (size_t i = 0; i < store->n_pools; i++)
		if (pg_pool_loop(store->pools[i]) == loop)
			return store->pools[i];
	return NULL;
}

static struct pg_pool *add_pool(struct pg_store *store, struct loop *loop)
{
	size_t size = (store->n_pools + 1) * sizeof(*store->pools);
	struct pg_pool **pools = realloc(store->pools, size);
	struct pg_pool *pool;

	if (!pools)
		return NULL;
	store->pools = pools;
	pool = pg_pool_new(loop, store->settings, store->workers);
	if (pool)
		store->pools[store->n_pools++] = pool;
	return pool;
}

struct pg_pool *pg_store_pool(struct store *base, struct loop *loop,
			      struct err *err)
{
	struct pg_store *store = pg_store_of(base);
	struct pg_pool *pool;

	pthread_mutex_lock(&store->lock);
	pool = find_pool(store, loop);
	if (!pool)
		pool = add_pool(store, loop);
	pthread_mutex_unlock(&store->lock);
	if (!pool)
		err_set(err, ERR_MEMORY,
			"out of memory for database connections");
	return pool;
}

static void postgres_leave(struct store *base, struct loop *loop)
{
	struct pg_store *store = pg_store_of(base);

	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < store->n_pools; i++) {
		if (pg_pool_loop(store->pools[i]) != loop)
			continue;
		pg_pool_free(&store->pools[i]);
		store->pools[i] = store->pools[--store->n_pools];
		break;
	}
	pthread_mutex_unlock(&store->lock);
}

static void postgres_store_close(struct store *base)
{
	struct pg_store *store = pg_store_of(base);

	while (store->n_pools > 0)
		pg_pool_free(&store->pools[--store->n_pools]);
	free(store->pools);
	pg_house_free(&store->house);
	pthread_mutex_destroy(&store->lock);
	free(store);
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
	.store_open = postgres_store_open,
	.store_close = postgres_store_close,
	.leave = postgres_leave,
	.check = postgres_check,
	.find = pg_find,
	.remove = pg_remove,
	.list = pg_list,
	.source_new = pg_source_new,
	.source_next = pg_source_next,
	.source_free = pg_source_free,
	.sink_new = postgres_sink_new,
	.sink_free = postgres_sink_free,
	.open = postgres_open,
	.write = postgres_write,
	.stage = postgres_complete,
	.suspend = postgres_complete,
	.commit = postgres_commit,
	.abort = postgres_abort,
};
