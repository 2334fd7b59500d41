/*
 * A range is fetched in slices of rows, each one statement: while one slice is on
 * its way to the client the next ones are fetched, on connections of their own,
 * so that the database works while we send; and a client that takes its time
 * holds neither a connection nor a transaction. The spans are libpq's own memory
 * of the results. The first row comes with the look-up, and slices grow from
 * there, so that a player's first byte comes soon. For a client that stays faster
 * than the database they grow further, and there is one more of them: fewer
 * statements for it, no pause for it while a slice is sent, more memory for us. Only
 * as many clients of a loop as the pool has links are served like that: they keep all
 * of them busy.
 *
 *    now        ahead[0]      ahead[1]
 *   |sending|   |there|       |fetching|      next_row ─▶
 */
#include "reader/pg_store.h"

#include "reader/pg_schema.h"

#include <stdlib.h>

#define FIRST_ROWS 8u
#define ROWS 32u	/* 254 KiB */
#define AHEAD 2u
#define FAST_ROWS 64u	/* for who is faster than the database … */
#define FAST_AHEAD 3u
#define FAST_SLICES 32u	/* … for longer than it takes to fill his sockets */
#define SLOW_SLICES 8u	/* in a row that he need not wait for: he is not */
_Static_assert(FAST_ROWS <= HTTP_CONTENT_PIECES, "a slice is one piece a row");
_Static_assert(FAST_ROWS <= UINT8_MAX + 1,
	       "struct slice numbers its tuples in bytes");

/*
 * Rows from `first` of the object's chunks. They come in any order: putting them
 * into theirs is for free here, while a database that sorts copies each of them.
 */
struct slice {
	uint64_t first;
	size_t n_rows;
	int column;		/* of the bytes in the result */
	uint8_t tuple[FAST_ROWS];	/* the one of each row */
	PGresult *result;	/* NULL: not there (yet) */
};

struct pg_source;

/* A slice that is fetched, or waits for its turn. */
struct fetch {
	struct pg_source *source;
	struct pg_call call;
	struct slice slice;
	bool running;
};

struct pg_source {
	struct source base;
	struct pg_pool *pool;
	int64_t key;
	uint64_t size;		/* of the whole object */
	struct slice now;	/* what the consumer has */
	struct fetch ahead[FAST_AHEAD];
	size_t turn;		/* ahead[turn] comes next */
	size_t n_ahead;		/* of them in use */
	uint64_t next_row;	/* the first one that was not asked for */
	size_t n_rows;		/* of the next slice */
	bool waiting;		/* the consumer waits for ahead[turn] */
	uint64_t n_there;	/* slices in a row that he need not wait for */
	uint64_t n_fast;	/* slices since there were SLOW_SLICES of these */
	bool has_place;		/* of the pool's: he may have more than others */
	struct err err;		/* the first fetch that failed */
	struct deferred refill;
};

static struct pg_source *of(struct source *source)
{
	return (struct pg_source *)(void *)source;
}

/* ---- what the look-up brought along --------------------------------------- */

void pg_release(struct store_lookup *found)
{
	PQclear(found->content);
	found->content = NULL;
}

struct source *pg_source_new(struct store_lookup *found)
{
	struct pg_source *source = calloc(1, sizeof(*source));

	if (!source)
		return NULL;
	source->key = (int64_t)found->handle;
	source->size = found->object.size;
	source->n_rows = FIRST_ROWS;
	if (found->content) {
		source->now = (struct slice){ .first = found->hint /
						       PG_CHUNK_BYTES,
					      .n_rows = 1,
					      .column = PG_FIRST_CHUNK_COLUMN,
					      .result = found->content };
		found->content = NULL;
	}
	return &source->base;
}

static void drop(struct slice *slice)
{
	PQclear(slice->result);
	slice->result = NULL;
}

static void leave_place(struct pg_source *source)
{
	if (source->has_place)
		pg_pool_leave_busy(source->pool);
	source->has_place = false;
}

void pg_source_free(struct source *base)
{
	struct pg_source *source = of(base);

	loop_undefer(base->loop, &source->refill);
	leave_place(source);
	for (size_t i = 0; i < FAST_AHEAD; i++) {
		pg_call_cancel(&source->ahead[i].call);
		drop(&source->ahead[i].slice);
	}
	drop(&source->now);
	free(source);
}

/* ---- rows ---------------------------------------------------------------- */

static size_t row_length(const struct pg_source *source, uint64_t row)
{
	uint64_t left = source->size - row * PG_CHUNK_BYTES;

	return left < PG_CHUNK_BYTES ? (size_t)left : PG_CHUNK_BYTES;
}

static size_t bytes_of(const struct slice *slice, size_t i)
{
	return (size_t)PQgetlength(slice->result, slice->tuple[i],
				   slice->column);
}

/*
 * Find each row's tuple. No two have the same sequence number, which the primary
 * key sees to, so it is enough that there are as many as there should be, and
 * none from elsewhere.
 */
static bool sort_rows(struct slice *slice)
{
	size_t n = (size_t)PQntuples(slice->result);
	uint64_t row;

	for (size_t i = 0; i < n; i++) {
		row = (uint64_t)pg_number(slice->result, (int)i, PG_CHUNKS_SEQ) -
		      slice->first;
		if (row >= slice->n_rows)
			return false;
		slice->tuple[row] = (uint8_t)i;
	}
	return n == slice->n_rows;
}

/* All rows have to be there and whole: an object has no holes. */
static bool is_whole(const struct pg_source *source, const struct slice *slice)
{
	for (size_t i = 0; i < slice->n_rows; i++)
		if (bytes_of(slice, i) != row_length(source, slice->first + i))
			return false;
	return true;
}

/* The part of row `i` that lies within the range. */
static struct span piece_of(const struct source *base,
			    const struct slice *slice, size_t i)
{
	uint64_t begins = (slice->first + i) * PG_CHUNK_BYTES;
	size_t len = bytes_of(slice, i), skip = 0;

	if (begins < base->at)
		skip = (size_t)(base->at - begins);
	if (begins + len > base->end)
		len = (size_t)(base->end - begins);
	return span_make(PQgetvalue(slice->result, slice->tuple[i],
				    slice->column) + skip, len - skip);
}

static void fill_pieces(struct pg_source *source)
{
	struct source *base = &source->base;
	uint64_t at = base->at;

	for (size_t i = 0; i < source->now.n_rows; i++) {
		base->pieces[i] = piece_of(base, &source->now, i);
		at += base->pieces[i].len;
	}
	base->n_pieces = source->now.n_rows;
	base->at = at;
}

/* ---- fetching ------------------------------------------------------------ */

static void turn_over(struct pg_source *source);

static void on_fetched(void *arg, PGresult *result, const struct err *err)
{
	struct fetch *fetch = arg;
	struct pg_source *source = fetch->source;

	fetch->running = false;
	fetch->slice.result = result;
	if (err && !err_is_set(&source->err))
		source->err = *err;
	else if (!err && (!sort_rows(&fetch->slice) ||
			  !is_whole(source, &fetch->slice)))
		err_set(&source->err, ERR_STORE,
			"the object's bytes are not all there (any more)");
	if (source->waiting && fetch == &source->ahead[source->turn])
		turn_over(source);
}

static void bind_slice(void *arg, struct pg_link *link)
{
	struct fetch *fetch = arg;
	uint64_t first = fetch->slice.first;

	pg_link_number(link, 0, fetch->source->key);
	pg_link_number(link, 1, (int64_t)first);
	pg_link_number(link, 2, (int64_t)(first + fetch->slice.n_rows));
}

/*
 * Slices that are fetched side by side come side by side: who waited for one finds
 * the next ones there, and is faster than the database all the same.
 */
static void count_late(struct pg_source *source, bool is_late)
{
	source->n_there = is_late ? 0 : source->n_there + 1;
	source->n_fast = source->n_there < SLOW_SLICES ? source->n_fast + 1 : 0;
}

static bool is_fast(const struct pg_source *source)
{
	return source->n_fast >= FAST_SLICES;
}

/* Does it hold, or wait for, what only those with a place may have? */
static bool holds_more(const struct pg_source *source)
{
	bool more = source->n_ahead > AHEAD || source->now.n_rows > ROWS;

	for (size_t i = 0; i < source->n_ahead; i++)
		more |= source->ahead[(source->turn + i) % FAST_AHEAD]
				.slice.n_rows > ROWS;
	return more;
}

/* A place is kept until its memory is given back. */
static void update_place(struct pg_source *source)
{
	if (is_fast(source) && !source->has_place)
		source->has_place = pg_pool_join_busy(source->pool);
	else if (!is_fast(source) && !holds_more(source))
		leave_place(source);
}

static bool may_have_more(const struct pg_source *source)
{
	return source->has_place && is_fast(source);
}

static size_t most_rows(const struct pg_source *source)
{
	return may_have_more(source) ? FAST_ROWS : ROWS;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The next rows of the range, into a free place. */
static void start_fetch(struct pg_source *source, uint64_t n_left)
{
	size_t place = (source->turn + source->n_ahead) % FAST_AHEAD;
	struct fetch *fetch = &source->ahead[place];
	size_t n_rows = smaller(source->n_rows, most_rows(source));

	if (n_left < n_rows)
		n_rows = (size_t)n_left;
	fetch->source = source;
	fetch->slice = (struct slice){ .first = source->next_row,
				       .n_rows = n_rows,
				       .column = PG_CHUNKS_DATA };
	fetch->running = true;
	source->n_ahead++;
	source->next_row += n_rows;
	source->n_rows = smaller(4 * n_rows, FAST_ROWS);
	pg_call_run(&fetch->call, source->pool, PG_CHUNKS, bind_slice,
		    on_fetched, fetch);
}

/* Fetch as far ahead as is allowed. */
static void refill(void *arg)
{
	struct pg_source *source = arg;
	uint64_t behind = (source->base.end + PG_CHUNK_BYTES - 1) /
			  PG_CHUNK_BYTES;
	size_t n_ahead = may_have_more(source) ? FAST_AHEAD : AHEAD;

	while (source->n_ahead < n_ahead && source->next_row < behind &&
	       !err_is_set(&source->err))
		start_fetch(source, behind - source->next_row);
}

/* ---- handing over -------------------------------------------------------- */

/* What is `now` goes to the consumer, before anything more is asked for. */
static void hand_over(struct pg_source *source)
{
	fill_pieces(source);
	loop_defer(source->base.loop, &source->refill, refill, source);
	source_end(&source->base);
}

static void turn_over(struct pg_source *source)
{
	struct fetch *fetch = &source->ahead[source->turn];

	source->waiting = false;
	drop(&source->now);
	if (err_is_set(&source->err)) {
		source->base.err = source->err;
		source_end(&source->base);
		return;
	}
	source->now = fetch->slice;
	fetch->slice.result = NULL;
	source->turn = (source->turn + 1) % FAST_AHEAD;
	source->n_ahead--;
	hand_over(source);
}

/* The row of the look-up, if it is where the range begins. */
static bool begin_with_lookup(struct pg_source *source)
{
	struct slice *now = &source->now;

	source->next_row = source->base.at / PG_CHUNK_BYTES;
	if (!now->result)
		return false;
	if (now->first != source->next_row || !is_whole(source, now)) {
		drop(now);
		return false;
	}
	source->next_row++;
	hand_over(source);
	return true;
}

static bool begin(struct pg_source *source)
{
	struct source *base = &source->base;

	source->pool = pg_store_pool(base->store, base->loop, &base->err);
	if (!source->pool)
		source_end(base);
	return !source->pool || begin_with_lookup(source);
}

void pg_source_next(struct source *base)
{
	struct pg_source *source = of(base);

	if (!source->pool && begin(source))
		return;
	count_late(source, source->n_ahead == 0 ||
			   source->ahead[source->turn].running);
	update_place(source);
	/*
	 * A fetch that fails at once must not hand over from in there: the
	 * consumer may free the source.
	 */
	refill(source);
	source->waiting = true;
	if (err_is_set(&source->err) || !source->ahead[source->turn].running)
		turn_over(source);
}
