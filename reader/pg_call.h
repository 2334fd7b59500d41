/*
 * pg_call.h - one statement on a connection of the pool
 *
 *   pg_call_run ─ take a link ─ bind ─ run ─ give it back ─▶ done
 *
 * Embedded in its owner, who keeps it until done or pg_call_cancel(). At most one
 * at a time.
 */
#ifndef READER_PG_CALL_H
#define READER_PG_CALL_H

#include "reader/pg_pool.h"

struct pg_call {
	struct pg_pool *pool;
	struct pg_taker taker;
	struct pg_link *link;		/* while it runs on one */
	enum pg_statement statement;
	void (*bind)(void *arg, struct pg_link *link);
	pg_done_fn *done;
	void *arg;
};

/*
 * Run a statement. bind(arg, link) sets its parameters (NULL: there are none);
 * done as pg_done_fn says, maybe within this call.
 */
void pg_call_run(struct pg_call *call, struct pg_pool *pool,
		 enum pg_statement statement,
		 void (*bind)(void *arg, struct pg_link *link),
		 pg_done_fn *done, void *arg);

/*
 * Forget it: done will not be called. A statement that runs is broken off with
 * its connection. Idempotent, also on zeroes.
 */
void pg_call_cancel(struct pg_call *call);

/* A bigint, an integer: column `column` of a binary result. */
int64_t pg_number(const PGresult *result, int row, int column);

/* Rows that the statement changed. */
int64_t pg_changed(const PGresult *result);

#endif
