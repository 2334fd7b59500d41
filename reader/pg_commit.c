/*
 * An object becomes visible by one UPDATE, which is asked for again when its
 * answer was lost; or it is taken back: out of sight, which is the answer; the house
 * then removes chunks and row.
 */
#include "reader/pg_sink.h"

#include "common/clock.h"

#include "reader/pg_error.h"

#define COMMIT_RETRY_MS 200u

/* ---- commit -------------------------------------------------------------- */

static void try_commit(void *arg);

/* It was told to go out of sight. Nobody knows whether it did: keep trying. */
static void end_withdrawal(struct pg_sink *sink, const struct err *err)
{
	struct pg_house *house = pg_sink_store(sink)->house;

	if (err)
		pg_house_withdraw_later(house, &sink->chore, sink->key);
	else
		pg_house_tidy(house);
}

static void end_commit(struct pg_sink *sink, const struct err *err)
{
	if (err)
		sink->base.err = *err;
	sink_end(&sink->base);
}

static void on_duplicate_withdrawn(void *arg, PGresult *result,
				   const struct err *err)
{
	struct pg_sink *sink = arg;

	PQclear(result);
	end_withdrawal(sink, err);
	end_commit(sink, NULL);
}

static void bind_withdrawal(void *arg, struct pg_link *link)
{
	struct pg_sink *sink = arg;

	pg_link_number(link, 0, pg_house_instance(pg_sink_store(sink)->house));
	pg_link_number(link, 1, sink->key);
}

static bool has_time(const struct pg_sink *sink)
{
	return clock_monotonic_ms() < sink->deadline_ms;
}

/*
 * Is it worth another try? After a lost connection nobody knows whether the
 * commit was done; asking again is harmless and tells.
 */
static bool may_retry(const struct pg_sink *sink, const PGresult *result,
		      const struct err *err)
{
	return (!result || err->code == ERR_LIMIT) && has_time(sink);
}

static void retry_commit(struct pg_sink *sink)
{
	timer_init(&sink->timer, sink->base.loop, try_commit, sink);
	timer_start(&sink->timer, COMMIT_RETRY_MS);
}

/* Another row is the committed object of this id, or was: is it the same? */
static void on_other_found(void *arg, PGresult *result, const struct err *err)
{
	struct pg_sink *sink = arg;
	bool retry = err ? may_retry(sink, result, err)
			 : PQntuples(result) == 0 && has_time(sink);
	struct err why = ERR_INIT;
	struct object other;
	uint64_t key;
	bool same = false;

	if (PQntuples(result) > 0) {
		pg_row_object(result, 0, &other, &key);
		same = object_is_same(&other, &sink->base.object);
	}
	PQclear(result);
	if (same) {
		pg_call_run(&sink->call, sink->pool, PG_WITHDRAW,
			    bind_withdrawal, on_duplicate_withdrawn, sink);
	} else if (retry) {
		retry_commit(sink);
	} else {
		err_set(&why, ERR_CONFLICT,
			"another object of this identifier is committed");
		end_commit(sink, err ? err : &why);
	}
}

static void bind_id(void *arg, struct pg_link *link)
{
	struct pg_sink *sink = arg;

	pg_link_text(link, 0, sink->base.object.id);
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
		retry_commit(sink);
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

void pg_sink_commit(struct sink *base)
{
	struct pg_sink *sink = pg_sink_of(base);

	sink->deadline_ms = clock_monotonic_ms() +
			    pg_sink_store(sink)->settings->db_timeout_ms;
	if (pg_sink_choose_pool(sink))
		try_commit(sink);
}

/* ---- abort --------------------------------------------------------------- */

static void on_withdrawn(void *arg, PGresult *result, const struct err *err)
{
	struct pg_sink *sink = arg;

	PQclear(result);
	if (err)
		sink->base.err = *err;	/* it may be visible still */
	end_withdrawal(sink, err);
	sink_end(&sink->base);
}

/* Nobody knows whether there is a row: the answer to open was lost. */
static void on_unopened(void *arg, PGresult *result, const struct err *err)
{
	(void)err;	/* the next start removes it */
	PQclear(result);
	sink_end(arg);
}

static void bind_unopen(void *arg, struct pg_link *link)
{
	struct pg_sink *sink = arg;

	pg_link_number(link, 0, pg_house_instance(pg_sink_store(sink)->house));
	pg_link_text(link, 1, sink->base.object.id);
}

void pg_sink_abort(struct sink *base)
{
	struct pg_sink *sink = pg_sink_of(base);

	if (!pg_sink_choose_pool(sink))
		return;
	pg_slice_drop(sink);
	if (sink->key == 0 && !sink->maybe_opened)
		sink_end(base);
	else if (sink->key == 0)
		pg_call_run(&sink->call, sink->pool, PG_UNOPEN, bind_unopen,
			    on_unopened, sink);
	else
		pg_call_run(&sink->call, sink->pool, PG_WITHDRAW,
			    bind_withdrawal, on_withdrawn, sink);
}
