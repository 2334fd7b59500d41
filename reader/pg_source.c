/*
 * A range is fetched in slices of rows, each one statement: while one slice is
 * on its way to the client the next one is fetched, and a client that takes its
 * time holds neither a connection nor a transaction. The spans are libpq's own
 * memory of the result. The first slice is small, so that a player's first byte
 * comes soon.
 */
#include "reader/pg_store.h"

#include "reader/pg_schema.h"

#include <stdlib.h>

#define FIRST_ROWS 8u
#define ROWS HTTP_CONTENT_PIECES	/* 507 KiB */

/* Rows from `first` of the object's chunks. */
struct slice {
	uint64_t first;
	size_t n_rows;
	PGresult *result;	/* NULL: not there (yet) */
};

struct pg_source {
	struct source base;
	struct pg_pool *pool;
	struct pg_call call;
	int64_t key;
	uint64_t size;		/* of the whole object */
	struct slice now;	/* what the consumer has */
	struct slice ahead;	/* what comes next */
	bool fetching;
	bool waiting;		/* the consumer waits for `ahead` */
	struct err err;		/* of the fetch ahead */
};

static struct pg_source *of(struct source *source)
{
	return (struct pg_source *)(void *)source;
}

struct source *pg_source_new(const struct store_lookup *found)
{
	struct pg_source *source = calloc(1, sizeof(*source));

	if (!source)
		return NULL;
	source->key = (int64_t)found->handle;
	source->size = found->object.size;
	return &source->base;
}

static void drop(struct slice *slice)
{
	PQclear(slice->result);
	slice->result = NULL;
}

void pg_source_free(struct source *base)
{
	struct pg_source *source = of(base);

	pg_call_cancel(&source->call);
	drop(&source->now);
	drop(&source->ahead);
	free(source);
}

/* ---- rows ---------------------------------------------------------------- */

static size_t row_length(const struct pg_source *source, uint64_t row)
{
	uint64_t left = source->size - row * PG_CHUNK_BYTES;

	return left < PG_CHUNK_BYTES ? (size_t)left : PG_CHUNK_BYTES;
}

/* All rows have to be there and whole: an object has no holes. */
static int check_slice(const struct pg_source *source,
		       const struct slice *slice, struct err *err)
{
	bool good = (size_t)PQntuples(slice->result) == slice->n_rows;

	for (size_t i = 0; good && i < slice->n_rows; i++)
		good = (size_t)PQgetlength(slice->result, (int)i, 0) ==
		       row_length(source, slice->first + i);
	if (good)
		return 0;
	return err_set(err, ERR_STORE,
		       "the object's bytes are not all there (any more)");
}

/* The part of row `i` that lies within the range. */
static struct span piece_of(const struct source *base,
			    const struct slice *slice, size_t i)
{
	uint64_t begins = (slice->first + i) * PG_CHUNK_BYTES;
	size_t len = (size_t)PQgetlength(slice->result, (int)i, 0), skip = 0;

	if (begins < base->at)
		skip = (size_t)(base->at - begins);
	if (begins + len > base->end)
		len = (size_t)(base->end - begins);
	return span_make(PQgetvalue(slice->result, (int)i, 0) + skip,
			 len - skip);
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

/* ---- slices -------------------------------------------------------------- */

static void on_fetched(void *arg, PGresult *result, const struct err *err);

static void bind_slice(void *arg, struct pg_link *link)
{
	struct pg_source *source = arg;

	pg_link_number(link, 0, source->key);
	pg_link_number(link, 1, (int64_t)source->ahead.first);
	pg_link_number(link, 2, (int64_t)(source->ahead.first +
					  source->ahead.n_rows));
}

/* Fetch the rows from `first`, when the range has any. */
static void fetch(struct pg_source *source, uint64_t first, size_t n_rows)
{
	uint64_t behind = (source->base.end + PG_CHUNK_BYTES - 1) /
			  PG_CHUNK_BYTES;

	if (first >= behind)
		return;
	if (n_rows > behind - first)
		n_rows = (size_t)(behind - first);
	source->ahead.first = first;
	source->ahead.n_rows = n_rows;
	source->fetching = true;
	pg_call_run(&source->call, source->pool, PG_CHUNKS, bind_slice,
		    on_fetched, source);
}

static size_t next_length(size_t n_rows)
{
	return 4 * n_rows < ROWS ? 4 * n_rows : ROWS;
}

/* Hand over the slice that was fetched, and fetch the one behind it. */
static void turn_over(struct pg_source *source)
{
	struct source *base = &source->base;

	source->waiting = false;
	drop(&source->now);
	if (err_is_set(&source->err)) {
		base->err = source->err;
		source_end(base);
		return;
	}
	source->now = source->ahead;
	source->ahead.result = NULL;
	fill_pieces(source);
	fetch(source, source->now.first + source->now.n_rows,
	      next_length(source->now.n_rows));
	source_end(base);
}

static void on_fetched(void *arg, PGresult *result, const struct err *err)
{
	struct pg_source *source = arg;

	source->fetching = false;
	source->ahead.result = result;
	if (err)
		source->err = *err;
	else if (check_slice(source, &source->ahead, &source->err) < 0)
		drop(&source->ahead);
	if (source->waiting)
		turn_over(source);
}

void pg_source_next(struct source *base)
{
	struct pg_source *source = of(base);

	if (!source->pool)
		source->pool = pg_store_pool(base->store, base->loop,
					     &base->err);
	if (!source->pool) {
		source_end(base);
		return;
	}
	if (source->ahead.result || err_is_set(&source->err)) {
		turn_over(source);
		return;
	}
	source->waiting = true;
	if (!source->fetching)
		fetch(source, base->at / PG_CHUNK_BYTES, FIRST_ROWS);
}
