#include "reader/pg_call.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

static void on_done(void *arg, PGresult *result, const struct err *err)
{
	struct pg_call *call = arg;
	struct err copy = err ? *err : ERR_INIT;

	pg_pool_give(call->pool, &call->link);
	call->done(call->arg, result, err ? &copy : NULL);
}

static void on_taken(void *arg, struct pg_link *link, const struct err *err)
{
	struct pg_call *call = arg;

	if (!link) {
		call->done(call->arg, NULL, err);
		return;
	}
	call->link = link;
	if (call->bind)
		call->bind(call->arg, link);
	pg_link_run(link, call->statement, on_done, call);
}

void pg_call_run(struct pg_call *call, struct pg_pool *pool,
		 enum pg_statement statement,
		 void (*bind)(void *arg, struct pg_link *link),
		 pg_done_fn *done, void *arg)
{
	CHECK(!call->link && !call->taker.pool);
	call->pool = pool;
	call->statement = statement;
	call->bind = bind;
	call->done = done;
	call->arg = arg;
	pg_pool_take(pool, &call->taker, on_taken, call);
}

void pg_call_cancel(struct pg_call *call)
{
	pg_pool_cancel(&call->taker);
	if (call->link) {
		pg_link_reset(call->link);
		pg_pool_give(call->pool, &call->link);
	}
}

int64_t pg_number(const PGresult *result, int row, int column)
{
	const char *value = PQgetvalue(result, row, column);
	uint64_t big;
	uint32_t small;

	if (PQgetlength(result, row, column) == sizeof(big)) {
		memcpy(&big, value, sizeof(big));
		return (int64_t)be64toh(big);
	}
	CHECK(PQgetlength(result, row, column) == sizeof(small));
	memcpy(&small, value, sizeof(small));
	return (int32_t)be32toh(small);
}

int64_t pg_changed(const PGresult *result)
{
	/* PQcmdTuples() has no const, but changes nothing. */
	return strtoll(PQcmdTuples((PGresult *)(uintptr_t)result), NULL, 10);
}
