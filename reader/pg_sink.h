/*
 * pg_sink.h - one object on its way into PostgreSQL; only for the files below
 *
 *   sink_postgres.c  open, and the store it goes into
 *   pg_slice.c       write, suspend, stage: rows in slices
 *   pg_commit.c      commit and abort
 *
 * The state of the slice, apart from the operation that runs:
 *
 *   NONE ─▶ TAKING ─▶ (CLEANING ─▶) BEGINNING ─▶ OPEN ─▶ ENDING ─▶ NONE
 */
#ifndef READER_PG_SINK_H
#define READER_PG_SINK_H

#include "reader/pg_rows.h"
#include "reader/pg_store.h"

#define SLICE_STATES(X)                                                   \
	X(NONE, "no transaction")                                         \
	X(TAKING, "waits for a connection")                               \
	X(CLEANING, "the short row of a stage before is removed")         \
	X(BEGINNING, "the server is asked to take rows")                  \
	X(OPEN, "rows flow")                                              \
	X(ENDING, "the server is asked to keep them")

#define SLICE_STATE_NAME(name, meaning) SLICE_##name,
/* Of the slice of an object: the picture above. */
enum slice_state { SLICE_STATES(SLICE_STATE_NAME) };
#undef SLICE_STATE_NAME

struct pg_sink {
	struct sink base;
	int64_t key;			/* of its row; 0: there is none, or … */
	bool maybe_opened;		/* … nobody knows */
	struct pg_pool *pool;		/* of the loop of the slice, the call */
	struct pg_flush *flush;		/* of the same loop */
	struct pg_call call;
	struct pg_chore *chore;		/* if its withdrawal fails */
	/* the slice */
	enum slice_state slice;
	struct pg_taker taker;
	struct pg_link *link;
	uint64_t slice_bytes;
	uint64_t slice_began_ms;	/* by the loop's clock */
	bool begins_anew;		/* the connection of the last try broke */
	bool header_sent;
	bool wants_end;
	bool tail_stored;		/* the tail is a row of the table, too */
	uint32_t n_slices;		/* begun so far; the object's row says so too */
	bool blocked;			/* on_room will come */
	bool bound;			/* a write has left the slice open */
	struct err slice_err;		/* it failed, maybe between operations */
	struct timer timer;		/* of an idle slice; of the next try */
	/* the running write */
	struct span bytes;		/* not yet in rows */
	bool moving;			/* rows, or what follows them, under way */
	uint64_t deadline_ms;		/* of a commit's tries */
	struct pg_rows rows;
};

/* The sink that `sink` is the base of. */
static inline struct pg_sink *pg_sink_of(struct sink *sink)
{
	return (struct pg_sink *)(void *)sink;
}

/* The store that it goes into. */
static inline struct pg_store *pg_sink_store(const struct pg_sink *sink)
{
	return (struct pg_store *)(void *)sink->base.store;
}

/* The pool of the operation's loop; false: the operation has ended, failed. */
bool pg_sink_choose_pool(struct pg_sink *sink) MUST_CHECK;

/* As sink_type's `write`. */
void pg_sink_write(struct sink *sink, struct span bytes);

/* As its `stage` and its `suspend`: the sink's operation says which. */
void pg_sink_complete(struct sink *sink);

/* As its `commit`: asked for again when the answer was lost. */
void pg_sink_commit(struct sink *sink);

/* As its `abort`: out of sight, which is the answer; the house removes the bytes. */
void pg_sink_abort(struct sink *sink);

/* Whatever the slice is doing, its connection ends, and its transaction too. */
void pg_slice_drop(struct pg_sink *sink);

/* The timer's function while a slice is open. */
timer_fn pg_slice_on_idle;

#endif
