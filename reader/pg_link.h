/*
 * pg_link.h - one database connection on one loop, never blocking
 *
 *   DOWN ─connect─▶ RESOLVING ─▶ CONNECTING ─▶ (SETTING ─▶) IDLE ◀─▶ PREPARING, RUNNING
 *    ▲                                                       │
 *    │                               IDLE ◀─ COPY_END ◀─ COPY ◀─ COPY_BEGIN ◀┘
 *    └──── link_reset: any failure of the connection, a time limit, an error of ours
 *
 * One request at a time; each ends with exactly one call of its function, never
 * from inside the call that started it. An error of the database leaves the
 * connection usable, a lost connection makes it DOWN; pg_link_is_usable() tells.
 *
 * libpq 15: reading is level-triggered, because PQconsumeInput() may leave bytes
 * in the socket; the back-pressure of COPY is PQflush() == 1, because
 * PQputCopyData() takes any amount. The socket may change while connecting.
 */
#ifndef READER_PG_LINK_H
#define READER_PG_LINK_H

#include "common/loop.h"
#include "common/span.h"
#include "common/workers.h"

#include "reader/pg_conninfo.h"
#include "reader/pg_statements.h"

#define PG_LINK_STATES(X)                                                 \
	X(DOWN, "down", "no connection")                                  \
	X(RESOLVING, "resolving", "a worker looks the name up")           \
	X(CONNECTING, "connecting", "libpq shakes hands")                 \
	X(SETTING, "setting", "the session is told what 13 does not know") \
	X(IDLE, "idle", "ready for a request")                            \
	X(PREPARING, "preparing", "the statement is sent ahead")          \
	X(RUNNING, "running", "the answer is awaited")                    \
	X(COPY_BEGIN, "copy-begin", "the server is asked to take rows")   \
	X(COPY, "copy", "rows flow")                                      \
	X(COPY_END, "copy-end", "the server is asked whether it has them")

#define PG_LINK_STATE_NAME(name, text, meaning) PG_LINK_##name,
/* What the connection does now: the picture above. */
enum pg_link_state { PG_LINK_STATES(PG_LINK_STATE_NAME) };
#undef PG_LINK_STATE_NAME

/*
 * A request has ended: `result` is the receiver's, to be PQclear()ed (NULL unless
 * the database answered), `err` is NULL for success. The link may be used again,
 * or freed, from within.
 */
typedef void pg_done_fn(void *arg, PGresult *result, const struct err *err);

struct pg_link {
	struct grave grave;
	struct loop *loop;
	const struct reader_settings *settings;
	struct workers *workers;
	enum pg_link_state state;
	PGconn *conn;
	struct watch reading, writing;
	struct timer timer;		/* the time limit of what runs */
	int queued;			/* COPY: bytes in the socket when it was started */
	uint32_t prepared;		/* bits: statements this session knows */
	/* the request that runs */
	pg_done_fn *done;
	void *arg;
	enum pg_statement statement;
	int64_t changed;		/* by an UPDATE before COPY */
	char params_text[PG_MAX_PARAMS][24];	/* numbers */
	const char *params[PG_MAX_PARAMS];
	PGresult *result;		/* the last one so far */
	loop_fn *on_room;		/* COPY: flushed, or failed */
	void *room_arg;
	bool freed;
	/* resolving, on a worker */
	bool resolving;
	struct job job;
	struct pg_addresses addresses;
	struct pg_place place;	/* of these */
	struct err resolve_err;
	struct err err;			/* of the request, to be told */
	struct deferred tell;
};

/*
 * A link that is DOWN, or NULL when out of memory; `settings` and `workers`
 * outlive it.
 */
struct pg_link *pg_link_new(struct loop *loop,
			    const struct reader_settings *settings,
			    struct workers *workers);

/*
 * Close at once and free after the turn; a request that runs is forgotten. If a
 * worker looks a name up for it, the memory is freed when it comes back. Nulls.
 */
void pg_link_free(struct pg_link **link);

/* Connect, within db_connect_timeout_ms for each address; from DOWN. */
void pg_link_connect(struct pg_link *link, pg_done_fn *done, void *arg);

/* IDLE, and nothing has been heard of the connection's end. */
bool pg_link_is_usable(const struct pg_link *link);

/* Parameter `index` (from 0) of the next statement; borrowed until its end. */
void pg_link_text(struct pg_link *link, int index, const char *text);

/* The same, a number: copied. */
void pg_link_number(struct pg_link *link, int index, int64_t number);

/* Run a statement with the parameters that were set; from IDLE. */
void pg_link_run(struct pg_link *link, enum pg_statement statement,
		 pg_done_fn *done, void *arg);

/*
 * Run SQL text of our own making with `n_params` parameters, unprepared; from
 * IDLE. `sql` is borrowed until its end.
 */
void pg_link_run_sql(struct pg_link *link, const char *sql, int n_params,
		     pg_done_fn *done, void *arg);

/*
 * Run SQL text of our own making that ends with COPY … FROM STDIN; its statements
 * are one transaction (manual, 55.2.2.1). From IDLE; done without error: COPY,
 * and `changed` is the number of rows that an UPDATE in it has changed.
 */
void pg_link_copy_begin(struct pg_link *link, const char *sql,
			pg_done_fn *done, void *arg);

/*
 * Does the server take rows still? It may have ended the COPY, or the connection
 * may be lost: pg_link_copy_end() tells. Ask before making rows.
 */
bool pg_link_takes_rows(const struct pg_link *link);

/*
 * Hand `bytes` to libpq, which copies them, and send what the socket takes.
 * 1: go on; 0: wait until on_room(arg), called once, before the next put; -1:
 * the connection is lost, as pg_link_copy_end() will tell. While the server takes
 * rows only. At most 256 KiB a call, so that libpq's buffer stays about as small.
 */
int pg_link_copy_put(struct pg_link *link, struct span bytes,
		     loop_fn *on_room, void *arg) MUST_CHECK;

/* End the COPY: done says whether the rows are there. From COPY. */
void pg_link_copy_end(struct pg_link *link, pg_done_fn *done, void *arg);

/* Give the connection up at once; from any state, without calling anything. */
void pg_link_reset(struct pg_link *link);

#endif
