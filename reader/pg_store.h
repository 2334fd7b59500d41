/*
 * pg_store.h - what the files of the postgres store share; only for them
 *
 *   sink_postgres.c  the store, and objects on their way in (pg_sink.h)
 *   pg_rows.c        bytes as rows of COPY
 *   pg_source.c      committed objects on their way out
 *   pg_catalog.c     find, list, search
 *   pg_house.c       migrations, dead instances, removal in batches
 *   pg_flush.c       the database's log goes to disk beside a COPY
 *   pg_pool, pg_link, pg_call, pg_statements, pg_error, pg_conninfo: the database
 */
#ifndef READER_PG_STORE_H
#define READER_PG_STORE_H

#include "reader/pg_call.h"
#include "reader/pg_flush.h"
#include "reader/pg_house.h"
#include "reader/sink_impl.h"

/* A slice that is older ends with the write that finds out. */
#define PG_SLICE_MS 30000u

/* What each loop has of its own. */
struct pg_local {
	struct pg_pool *pool;
	struct pg_flush *flush;
};

struct pg_store {
	struct store base;
	const struct reader_settings *settings;
	struct workers *workers;
	struct pg_house *house;
	uint64_t slice_ms;		/* PG_SLICE_MS; less in tests */
	pthread_mutex_t lock;		/* guards `locals` */
	struct pg_local *locals;
	size_t n_locals;
};

/*
 * What `loop` has, made when it is used for the first time; both are NULL with
 * ERR_MEMORY. To be called on that loop's thread.
 */
struct pg_local pg_store_local(struct store *store, struct loop *loop,
			       struct err *err);

/* The pool of it. */
struct pg_pool *pg_store_pool(struct store *store, struct loop *loop,
			      struct err *err);

/* ---- pg_catalog.c -------------------------------------------------------- */

/* As sink_type's `find`. */
void pg_find(struct store_lookup *lookup, struct loop *loop);

/* As its `remove`: out of sight, which is the answer; the house removes the bytes. */
void pg_remove(struct store_lookup *lookup, struct loop *loop);

/* As its `list`; waits for its turn, as lists have a part of the links only. */
void pg_list(struct store_list *list, struct loop *loop);

/*
 * The object in row `row`, whose columns are PG_OBJECT_COLUMNS; its key into
 * *key.
 */
void pg_row_object(const PGresult *result, int row, struct object *object,
		   uint64_t *key);

/* ---- pg_source.c --------------------------------------------------------- */

/* As sink_type's `source_new`. */
struct source *pg_source_new(struct store_lookup *found);

/* As its `source_next`. */
void pg_source_next(struct source *source);

/* As its `source_free`: a statement that runs is broken off. */
void pg_source_free(struct source *source);

/* As its `release`. */
void pg_release(struct store_lookup *found);

#endif
