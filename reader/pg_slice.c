/*
 * An object's bytes on their way into PostgreSQL: rows of `chunk` through COPY, in
 * *slices*, a transaction each. A slice ends when it has db_slice_bytes, when it is
 * PG_SLICE_MS old, and soon when no bytes come: an upload that waits for its client
 * holds neither a connection nor a transaction, and one whose client drips holds
 * none for long. Bytes are digested right after they are handed over, while the
 * database works on them.
 */
#include "reader/pg_sink.h"

#include "reader/pg_schema.h"

#include <inttypes.h>
#include <stdio.h>

#define IDLE_MS 1000u		/* an open slice without bytes */

static void advance(struct pg_sink *sink);

/* ---- ends of operations -------------------------------------------------- */

static void end_moving(struct pg_sink *sink)
{
	CHECK(sink->moving);
	sink->moving = false;
	sink->bound = sink->slice != SLICE_NONE;
	sink_end(&sink->base);
}

static void note_failure(struct pg_sink *sink, const struct err *err)
{
	if (sink->base.op != SINK_IDLE && !err_is_set(&sink->base.err))
		sink->base.err = *err;
	if (!err_is_set(&sink->slice_err))
		sink->slice_err = *err;
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

/*
 * A connection that breaks before it has taken a row leaves nothing of the slice: a
 * COPY without its end is undone. So it begins once more, on another connection.
 */
static void fail_beginning(struct pg_sink *sink, const struct err *err)
{
	if (sink->begins_anew || err->code != ERR_LIMIT ||
	    pg_link_is_usable(sink->link)) {
		fail_slice(sink, err);
		return;
	}
	sink->begins_anew = true;
	close_slice(sink);
	advance(sink);
}

static void on_copy_begun(void *arg, PGresult *result, const struct err *err)
{
	struct pg_sink *sink = arg;

	PQclear(result);
	if (err) {
		fail_beginning(sink, err);
		return;
	}
	sink->begins_anew = false;
	if (sink->link->changed != 1) {
		fail_for_loss(sink);
		return;
	}
	set_slice(sink, SLICE_OPEN);
	sink->n_slices++;
	sink->slice_bytes = 0;
	sink->header_sent = false;
	advance(sink);
}

/*
 * A slice need not be flushed to disk: the commit that stages the object flushes
 * all before it. But a server that crashes may lose the last slices and go on
 * without them. So the object's row counts them, and each one refuses when the one
 * before is not counted there; the stage asks the same. The first row of a slice
 * would not do: two may begin at the same one (a short row, written anew).
 */
static void begin_copy(struct pg_sink *sink)
{
	char sql[300];

	snprintf(sql, sizeof(sql),
		 "SET LOCAL synchronous_commit TO off; "
		 "UPDATE object SET n_slices = %" PRIu32
		 " WHERE key = %" PRId64 " AND n_slices = %" PRIu32
		 " AND state IN (1, 2); "
		 "COPY chunk (object, seq, data) FROM STDIN BINARY",
		 sink->n_slices + 1, sink->key, sink->n_slices);
	set_slice(sink, SLICE_BEGINNING);
	sink->slice_began_ms = loop_now_ms(sink->base.loop);
	pg_link_copy_begin(sink->link, sql, on_copy_begun, sink);
}

static void on_cleaned(void *arg, PGresult *result, const struct err *err)
{
	struct pg_sink *sink = arg;

	PQclear(result);
	if (err) {
		fail_beginning(sink, err);
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

/*
 * Bytes of the write as rows of up to `size` bytes, which go to the database if
 * there are any; then they are digested. False when it has to wait, or to end.
 */
static bool move(struct pg_sink *sink, char *rows, size_t size)
{
	const char *from = sink->bytes.ptr;
	size_t left = sink->bytes.len;
	size_t n = pg_rows_cut(&sink->rows, &sink->bytes, rows, size);
	bool goes_on = n == 0 || put(sink, span_make(rows, n));

	digest_update(sink->base.digest, from, left - sink->bytes.len);
	sink->slice_bytes += n;
	if (sink->slice == SLICE_OPEN)	/* and not lost meanwhile */
		pg_flush_add(sink->flush, n);
	return goes_on;
}

static bool put_rows(struct pg_sink *sink)
{
	char *scratch = pg_pool_scratch(sink->pool);

	while (sink->bytes.len > 0)
		if (!move(sink, scratch, PG_SCRATCH_BYTES))
			return false;
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
	if (sink->base.op == SINK_STAGING) {
		start_stage(sink);
		return;
	}
	/* What fills no row waits in the tail. */
	if (sink->bytes.len > 0)
		CHECK(move(sink, NULL, 0));
	end_moving(sink);
}

void pg_slice_on_idle(void *arg)
{
	struct pg_sink *sink = arg;

	sink->wants_end = true;
	advance(sink);
}

static bool is_full(const struct pg_sink *sink)
{
	return sink->slice_bytes >= pg_sink_store(sink)->settings->db_slice_bytes;
}

/* Its transaction holds back VACUUM in the whole database. */
static bool is_old(const struct pg_sink *sink)
{
	return loop_now_ms(sink->base.loop) - sink->slice_began_ms >=
	       pg_sink_store(sink)->slice_ms;
}

/* Rows of this operation are in; it ends now or with the slice. */
static void after_put(struct pg_sink *sink)
{
	if (is_completing(sink) || is_full(sink) || is_old(sink) ||
	    sink->wants_end) {
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

void pg_slice_drop(struct pg_sink *sink)
{
	pg_pool_cancel(&sink->taker);
	if (sink->link)
		pg_link_reset(sink->link);
	if (sink->slice != SLICE_NONE)
		close_slice(sink);
}

/* ---- operations ---------------------------------------------------------- */

static void start_moving(struct pg_sink *sink, struct span bytes)
{
	if (sink->slice == SLICE_NONE)
		timer_init(&sink->timer, sink->base.loop, pg_slice_on_idle, sink);
	sink->bytes = bytes;
	sink->moving = true;
	/* Its end is another one's business: this operation goes first. */
	sink->wants_end = false;
	advance(sink);
}

void pg_sink_write(struct sink *base, struct span bytes)
{
	struct pg_sink *sink = pg_sink_of(base);

	if (base->offset + bytes.len > PG_MAX_BYTES) {
		err_set_status(&base->err, 413,
			       "an object in this store may have %" PRIu64
			       " bytes", PG_MAX_BYTES);
		sink_end(base);
		return;
	}
	if (!pg_sink_choose_pool(sink))
		return;
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
	pg_link_number(link, 5, sink->n_slices);
}

static void start_stage(struct pg_sink *sink)
{
	pg_call_run(&sink->call, sink->pool, PG_STAGE, bind_stage, on_staged,
		    sink);
}

/* Stage and suspend: the tail goes in, the slice ends. */
void pg_sink_complete(struct sink *base)
{
	struct pg_sink *sink = pg_sink_of(base);

	if (pg_sink_choose_pool(sink))
		start_moving(sink, span_make(NULL, 0));
}
