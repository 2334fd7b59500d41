/*
 * pg_pool.h - the few database connections of one loop
 *
 * Who needs a connection takes one, for one statement or one slice of an object,
 * and gives it back; so thousands of uploads and players share a few. Takers
 * wait in order. A failed attempt to connect starts a back-off (100 ms, doubled up
 * to 5 s, with jitter) without further attempts, so that nobody hammers a database
 * that is down. Connections that work go on serving all: a server that allows
 * fewer than we may have is shared. When there is none, all who wait, and all who
 * come in the back-off, fail with the attempt's reason, as ERR_LIMIT: later it may go
 * well, as nothing that was asked for has begun.
 *
 * A search may run for seconds. Takers that say so get a quarter of the links, at
 * least one, and wait for each other's: with two connections and more everybody
 * else always finds one.
 *
 * Bounds: at most `db_connections` links; those idle for a minute are closed.
 */
#ifndef READER_PG_POOL_H
#define READER_PG_POOL_H

#include "reader/pg_link.h"

struct pg_pool;

/* A link (to be given back), or NULL and why not. */
typedef void pg_taken_fn(void *arg, struct pg_link *link,
			 const struct err *err);

/* One that waits; embedded in its owner until it is called or cancelled. */
struct pg_taker {
	struct pg_taker *next;
	struct pg_pool *pool;		/* NULL: does not wait */
	pg_taken_fn *fn;
	void *arg;
	bool is_long;			/* set before: it may run for seconds */
};

/* An empty pool on `loop`, or NULL when out of memory. */
struct pg_pool *pg_pool_new(struct loop *loop,
			    const struct reader_settings *settings,
			    struct workers *workers);

/* Close all links that are not taken, free *pool and null it; nobody waits. */
void pg_pool_free(struct pg_pool **pool);

/* The loop it belongs to. */
struct loop *pg_pool_loop(const struct pg_pool *pool);

/* Take a link, now (then `fn` is called within) or when there is one. */
void pg_pool_take(struct pg_pool *pool, struct pg_taker *taker,
		  pg_taken_fn *fn, void *arg);

/* It need not be called any more. Idempotent, also on zeroes. */
void pg_pool_cancel(struct pg_taker *taker);

/*
 * Give a link back, and null it. One that is not ready for a request (lost, in
 * the middle of something) is closed.
 */
void pg_pool_give(struct pg_pool *pool, struct pg_link **link);

/* Does somebody wait for a link, and not only for his turn? */
bool pg_pool_is_wanted(const struct pg_pool *pool);

/* Is a connect under way? Whoever waits may be served by it. */
bool pg_pool_is_connecting(const struct pg_pool *pool);

/*
 * Let somebody keep links busy ahead of his need, with memory for it. As many may as
 * there can be links, which they keep busy together; false: later. Each true is
 * given back by pg_pool_leave_busy().
 */
bool pg_pool_join_busy(struct pg_pool *pool);

/* He does not any more. */
void pg_pool_leave_busy(struct pg_pool *pool);

#define PG_SCRATCH_BYTES (128u * 1024u)

/* Memory for rows in the making, PG_SCRATCH_BYTES; for use within one callback. */
char *pg_pool_scratch(struct pg_pool *pool);

#endif
