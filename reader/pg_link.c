#include "reader/pg_link.h"

#include "common/log.h"

#include "reader/pg_error.h"
#include "reader/pg_exec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define UNIX_SEND_BYTES (2 << 20)	/* the kernel takes twice as many */

#define CHECK_CLIENT "5000"	/* ms between two looks of a backend */

#define BIT(state) (1u << PG_LINK_##state)

static const struct {
	const char *name;
	unsigned int next;
} states[] = {
	[PG_LINK_DOWN] = { "down", BIT(RESOLVING) },
	[PG_LINK_RESOLVING] = { "resolving", BIT(CONNECTING) | BIT(DOWN) },
	[PG_LINK_CONNECTING] = { "connecting",
				 BIT(SETTING) | BIT(IDLE) | BIT(DOWN) },
	[PG_LINK_SETTING] = { "setting", BIT(IDLE) | BIT(DOWN) },
	[PG_LINK_IDLE] = { "idle", BIT(PREPARING) | BIT(RUNNING) |
					   BIT(COPY_BEGIN) | BIT(DOWN) },
	[PG_LINK_PREPARING] = { "preparing",
				BIT(RUNNING) | BIT(IDLE) | BIT(DOWN) },
	[PG_LINK_RUNNING] = { "running", BIT(IDLE) | BIT(DOWN) },
	[PG_LINK_COPY_BEGIN] = { "copy-begin",
				 BIT(COPY) | BIT(IDLE) | BIT(DOWN) },
	[PG_LINK_COPY] = { "copy", BIT(COPY_END) | BIT(DOWN) },
	[PG_LINK_COPY_END] = { "copy-end", BIT(IDLE) | BIT(DOWN) },
};

/* The only place where the state is assigned. */
static void set_state(struct pg_link *link, enum pg_link_state state)
{
	CHECK(states[link->state].next & (1u << state));
	if (log_enabled(LOG_DEBUG))
		log_line(LOG_DEBUG, "database_link",
			 LOG_STR("from", states[link->state].name),
			 LOG_STR("to", states[state].name));
	link->state = state;
}

/* ---- ends ---------------------------------------------------------------- */

static void stop_watching(struct pg_link *link)
{
	watch_stop(&link->reading);
	watch_stop(&link->writing);
}

void pg_link_reset(struct pg_link *link)
{
	stop_watching(link);
	timer_stop(&link->timer);
	loop_undefer(link->loop, &link->tell);
	PQclear(link->result);
	link->result = NULL;
	PQfinish(link->conn);
	link->conn = NULL;
	link->prepared = 0;
	link->done = NULL;
	link->on_room = NULL;
	if (link->state != PG_LINK_DOWN)
		set_state(link, PG_LINK_DOWN);
}

/* The request is over. The function may do anything to the link. */
static void complete(struct pg_link *link, PGresult *result,
		     const struct err *err)
{
	pg_done_fn *done = link->done;

	timer_stop(&link->timer);
	/* read_later() may have been overtaken by an event. */
	loop_undefer(link->loop, &link->tell);
	link->done = NULL;
	link->result = NULL;
	done(link->arg, result, err);
}

static void tell_failure(void *arg)
{
	struct pg_link *link = arg;
	struct err err = link->err;

	complete(link, NULL, &err);
}

/*
 * The connection is lost: `link->err` says why. Whoever waits for a request is
 * told after this turn's callbacks; who waits for room finds out by its next put.
 */
static void lose(struct pg_link *link)
{
	pg_done_fn *done = link->done;
	loop_fn *on_room = link->on_room;

	pg_link_reset(link);
	link->done = done;
	if (done)
		loop_defer(link->loop, &link->tell, tell_failure, link);
	else if (on_room)
		on_room(link->room_arg);
}

/*
 * A statement that was not answered may be asked for again, on another connection,
 * and a COPY that has not begun, too: 503. Rows that were on their way are lost.
 */
static bool may_be_repeated(const struct pg_link *link)
{
	return link->state == PG_LINK_PREPARING ||
	       link->state == PG_LINK_RUNNING ||
	       link->state == PG_LINK_COPY_BEGIN;
}

static void lose_connection(struct pg_link *link, const char *what)
{
	link->err = ERR_INIT;
	pg_conn_err(&link->err, link->conn, what);
	if (may_be_repeated(link))
		link->err.code = ERR_LIMIT;
	lose(link);
}

/* Bytes that the socket holds for the server (tcp(7), SIOCOUTQ; unix(7)). */
static int count_queued(const struct pg_link *link)
{
	int n = 0;

	if (ioctl(PQsocket(link->conn), SIOCOUTQ, &n) < 0)
		return 0;
	return n;
}

static bool is_copying(const struct pg_link *link)
{
	return link->state == PG_LINK_COPY || link->state == PG_LINK_COPY_END;
}

static void start_timer(struct pg_link *link)
{
	timer_start(&link->timer, link->settings->db_timeout_ms);
	if (is_copying(link))
		link->queued = count_queued(link);
}

/* The socket is large: before there is room in it, a slow server may take long. */
static bool takes_rows_slowly(const struct pg_link *link)
{
	return is_copying(link) && count_queued(link) < link->queued;
}

static void open_connection(struct pg_link *link);

/* Another address may answer; each has its time. */
static bool try_next_address(struct pg_link *link)
{
	if (link->state != PG_LINK_CONNECTING ||
	    !pg_addresses_skip(&link->addresses, link->conn))
		return false;
	stop_watching(link);
	PQfinish(link->conn);
	link->conn = NULL;
	timer_start(&link->timer, link->settings->db_connect_timeout_ms);
	open_connection(link);
	return true;
}

static void on_timeout(void *arg)
{
	struct pg_link *link = arg;

	if (takes_rows_slowly(link)) {
		start_timer(link);
		return;
	}
	if (try_next_address(link))
		return;
	link->err = ERR_INIT;
	err_set(&link->err, ERR_STORE,
		"the database did not answer in time (%s)",
		states[link->state].name);
	lose(link);
}

/* ---- sending ------------------------------------------------------------- */

static void on_writable(void *arg, unsigned int ready);

static bool watch_for_room(struct pg_link *link)
{
	struct err err = ERR_INIT;

	return link->writing.active ||
	       watch_start_level_write(&link->writing, link->loop,
				       PQsocket(link->conn), on_writable, link,
				       &err) == 0;
}

/* Send what the socket takes: 1 all, 0 wait, -1 the connection is lost. */
static int flush(struct pg_link *link)
{
	int rc = PQflush(link->conn);

	if (rc == 0)
		watch_stop(&link->writing);
	if (rc > 0 && !watch_for_room(link))
		return -1;
	return rc < 0 ? -1 : rc == 0;
}

static void on_writable(void *arg, unsigned int ready)
{
	struct pg_link *link = arg;
	loop_fn *on_room = link->on_room;
	int rc = flush(link);

	(void)ready;
	if (rc < 0) {
		lose_connection(link, "the database's connection broke");
		return;
	}
	if (link->state == PG_LINK_COPY)
		start_timer(link);	/* it takes bytes: alive */
	if (rc == 0 || !on_room)
		return;
	timer_stop(&link->timer);
	link->on_room = NULL;
	on_room(link->room_arg);
}

/* ---- receiving ----------------------------------------------------------- */

static void run_prepared(struct pg_link *link);

/* Keep the first error, otherwise the last result. */
static void keep_result(struct pg_link *link, PGresult *result)
{
	if (strncmp(PQcmdStatus(result), "UPDATE ", 7) == 0)
		link->changed = strtoll(PQcmdTuples(result), NULL, 10);
	if (link->result && !pg_result_is_good(link->result)) {
		PQclear(result);
		return;
	}
	PQclear(link->result);
	link->result = result;
}

static void end_request(struct pg_link *link, const struct err *err)
{
	set_state(link, PG_LINK_IDLE);
	complete(link, link->result, err);
}

/*
 * A statement that could not be prepared may be there all the same: out of memory
 * here, libpq tells of a failure. Its name would be taken for ever.
 */
static void give_up(struct pg_link *link, const struct err *err)
{
	PGresult *result = link->result;
	pg_done_fn *done = link->done;

	link->result = NULL;
	pg_link_reset(link);
	link->done = done;
	complete(link, result, err);
}

/* Whether it worked: a server that cannot look does not. */
static void on_set(struct pg_link *link)
{
	PQclear(link->result);
	link->result = NULL;
	end_request(link, NULL);
}

/* All results are there. */
static void on_results(struct pg_link *link)
{
	bool is_good = link->result && pg_result_is_good(link->result);
	bool was_preparing = link->state == PG_LINK_PREPARING;
	struct err err = ERR_INIT;

	if (link->state == PG_LINK_SETTING) {
		on_set(link);
		return;
	}
	if (was_preparing && is_good) {
		PQclear(link->result);
		link->result = NULL;
		link->prepared |= 1u << link->statement;
		run_prepared(link);
		return;
	}
	if (!is_good)
		pg_result_err(&err, link->result, "the database refused");
	if (was_preparing)
		give_up(link, &err);
	else
		end_request(link, is_good ? NULL : &err);
}

static void on_copy_begun(struct pg_link *link, PGresult *result)
{
	set_state(link, PG_LINK_COPY);
	complete(link, result, NULL);
}

/* Take results until libpq waits for more. */
static void read_results(struct pg_link *link)
{
	PGresult *result;

	while (!PQisBusy(link->conn)) {
		result = PQgetResult(link->conn);
		if (!result) {
			on_results(link);
			return;
		}
		if (PQresultStatus(result) == PGRES_COPY_IN) {
			PQclear(link->result);
			on_copy_begun(link, result);
			return;
		}
		keep_result(link, result);
	}
}

/*
 * In COPY the server speaks only to refuse, or a notice, which libpq does not
 * tell apart before the end: pg_link_takes_rows() says that it is time to end the
 * COPY.
 */
static void on_copy_input(struct pg_link *link)
{
	loop_fn *on_room = link->on_room;

	set_state(link, PG_LINK_COPY_END);
	watch_stop(&link->writing);
	timer_stop(&link->timer);
	link->on_room = NULL;
	if (on_room)
		on_room(link->room_arg);
}

static void on_readable(void *arg, unsigned int ready)
{
	struct pg_link *link = arg;

	(void)ready;
	if (!pg_consume_input(link->conn)) {
		lose_connection(link, "the database's connection broke");
		return;
	}
	switch (link->state) {
	case PG_LINK_SETTING:
	case PG_LINK_PREPARING:
	case PG_LINK_RUNNING:
	case PG_LINK_COPY_BEGIN:
	case PG_LINK_COPY_END:
		if (link->done)
			read_results(link);
		break;
	case PG_LINK_COPY:
		on_copy_input(link);
		break;
	case PG_LINK_IDLE:
		(void)PQisBusy(link->conn);	/* lets it parse a notice */
		break;
	case PG_LINK_DOWN:
	case PG_LINK_RESOLVING:
	case PG_LINK_CONNECTING:
		break;
	}
}

/* ---- connecting ---------------------------------------------------------- */

static void on_connectable(void *arg, unsigned int ready);

static void on_notice(void *arg, const PGresult *result)
{
	const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	(void)arg;
	log_line(LOG_DEBUG, "database_notice", LOG_STR("text", text));
}

/*
 * A Unix socket has 208 KiB, and says that it has room when three quarters of them
 * are free (Linux, net/unix/af_unix.c): the server would run out of rows before we
 * are on the CPU again. The system may allow less: net.core.wmem_max.
 */
static void enlarge_unix_socket(int fd)
{
	int domain = 0, bytes = UNIX_SEND_BYTES;
	socklen_t len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
	    domain == AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes,
				 sizeof(bytes));
}

static void sent(struct pg_link *link, int ok);

/*
 * A backend that runs something does not notice that who asked has gone, unless it is
 * told to look. The options of the connect would be refused by PostgreSQL 13.
 */
static void set_up_session(struct pg_link *link)
{
	if (PQserverVersion(link->conn) < 140000) {
		set_state(link, PG_LINK_IDLE);
		complete(link, NULL, NULL);
		return;
	}
	set_state(link, PG_LINK_SETTING);
	sent(link, PQsendQuery(link->conn, "SET client_connection_check_interval = "
			       CHECK_CLIENT));
}

static void on_connected(struct pg_link *link)
{
	struct err err = ERR_INIT;

	stop_watching(link);
	enlarge_unix_socket(PQsocket(link->conn));
	if (PQsetnonblocking(link->conn, 1) < 0 ||
	    watch_start_level(&link->reading, link->loop, PQsocket(link->conn),
			      on_readable, link, &err) < 0) {
		lose_connection(link, "cannot use the database's connection");
		return;
	}
	set_up_session(link);
}

static void watch_connecting(struct pg_link *link, PostgresPollingStatusType on)
{
	int fd = PQsocket(link->conn), rc;
	struct err err = ERR_INIT;

	/* It may be another one each time: libpq tries several addresses. */
	stop_watching(link);
	if (on == PGRES_POLLING_READING)
		rc = watch_start_level(&link->reading, link->loop, fd,
				       on_connectable, link, &err);
	else
		rc = watch_start_level_write(&link->writing, link->loop, fd,
					     on_connectable, link, &err);
	if (rc < 0)
		lose_connection(link, "cannot watch the database's connection");
}

static void on_connectable(void *arg, unsigned int ready)
{
	struct pg_link *link = arg;
	PostgresPollingStatusType status;

	(void)ready;
	/* The watches must not outlive a socket that libpq closes in there. */
	stop_watching(link);
	status = PQconnectPoll(link->conn);
	if (pg_place_changes(&link->place, link->conn))
		timer_start(&link->timer, link->settings->db_connect_timeout_ms);
	if (status == PGRES_POLLING_OK)
		on_connected(link);
	else if (status == PGRES_POLLING_FAILED)
		lose_connection(link, "cannot connect to the database");
	else
		watch_connecting(link, status);
}

static void open_connection(struct pg_link *link)
{
	struct pg_conninfo info;

	pg_conninfo_init(&info, link->settings, &link->addresses);
	link->conn = PQconnectStartParams(info.keywords, info.values, 0);
	if (!link->conn || PQstatus(link->conn) == CONNECTION_BAD) {
		lose_connection(link, "cannot connect to the database");
		return;
	}
	PQsetErrorVerbosity(link->conn, PQERRORS_VERBOSE);	/* pg_error.h */
	PQsetNoticeReceiver(link->conn, on_notice, NULL);
	watch_connecting(link, PGRES_POLLING_WRITING);
}

static void run_resolve(void *arg)
{
	struct pg_link *link = arg;

	if (pg_resolve(link->settings, &link->addresses, &link->resolve_err) <
	    0)
		CHECK(err_is_set(&link->resolve_err));
}

static void on_resolved(void *arg)
{
	struct pg_link *link = arg;

	link->resolving = false;
	if (link->freed) {
		free(link);
		return;
	}
	if (link->state != PG_LINK_RESOLVING)
		return;	/* given up meanwhile */
	if (err_is_set(&link->resolve_err)) {
		link->err = link->resolve_err;
		lose(link);
		return;
	}
	set_state(link, PG_LINK_CONNECTING);
	open_connection(link);
}

void pg_link_connect(struct pg_link *link, pg_done_fn *done, void *arg)
{
	set_state(link, PG_LINK_RESOLVING);
	link->done = done;
	link->arg = arg;
	timer_start(&link->timer, link->settings->db_connect_timeout_ms);
	if (link->resolving) {
		/* one that was given up; its worker may be stuck */
		link->err = ERR_INIT;
		err_set(&link->err, ERR_STORE,
			"the database's host is still being looked up");
		lose(link);
		return;
	}
	link->resolving = true;
	link->resolve_err = ERR_INIT;
	workers_submit(link->workers, &link->job, link->loop, run_resolve,
		       on_resolved, link);
}

/* ---- life ---------------------------------------------------------------- */

struct pg_link *pg_link_new(struct loop *loop,
			    const struct reader_settings *settings,
			    struct workers *workers)
{
	struct pg_link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->loop = loop;
	link->settings = settings;
	link->workers = workers;
	timer_init(&link->timer, loop, on_timeout, link);
	return link;
}

void pg_link_free(struct pg_link **linkp)
{
	struct pg_link *link = *linkp;

	*linkp = NULL;
	if (!link)
		return;
	pg_link_reset(link);
	link->freed = true;
	if (!link->resolving)
		loop_bury(link->loop, &link->grave, free, link);
}

bool pg_link_is_usable(const struct pg_link *link)
{
	return link->state == PG_LINK_IDLE;
}

/* ---- statements ---------------------------------------------------------- */

void pg_link_text(struct pg_link *link, int index, const char *text)
{
	CHECK(index < PG_MAX_PARAMS);
	link->params[index] = text;
}

void pg_link_number(struct pg_link *link, int index, int64_t number)
{
	CHECK(index < PG_MAX_PARAMS);
	snprintf(link->params_text[index], sizeof(link->params_text[index]),
		 "%" PRId64, number);
	link->params[index] = link->params_text[index];
}

static void begin(struct pg_link *link, enum pg_link_state state,
		  pg_done_fn *done, void *arg)
{
	CHECK(!link->done);
	set_state(link, state);
	link->done = done;
	link->arg = arg;
	start_timer(link);
}

/* What was to be sent is in libpq's hands, or could not be. */
static void sent(struct pg_link *link, int ok)
{
	if (!ok || flush(link) < 0)
		lose_connection(link, "cannot ask the database");
}

static void run_prepared(struct pg_link *link)
{
	const struct pg_statement_text *st = &pg_statements[link->statement];

	set_state(link, PG_LINK_RUNNING);
	sent(link, PQsendQueryPrepared(link->conn, st->name, st->n_params,
				       link->params, NULL, NULL, 1));
}

void pg_link_run(struct pg_link *link, enum pg_statement statement,
		 pg_done_fn *done, void *arg)
{
	const struct pg_statement_text *st = &pg_statements[statement];

	link->statement = statement;
	if (link->prepared & (1u << statement)) {
		begin(link, PG_LINK_RUNNING, done, arg);
		sent(link, PQsendQueryPrepared(link->conn, st->name,
					       st->n_params, link->params,
					       NULL, NULL, 1));
		return;
	}
	begin(link, PG_LINK_PREPARING, done, arg);
	sent(link, PQsendPrepare(link->conn, st->name, st->sql, 0, NULL));
}

void pg_link_run_sql(struct pg_link *link, const char *sql, int n_params,
		     pg_done_fn *done, void *arg)
{
	begin(link, PG_LINK_RUNNING, done, arg);
	sent(link, PQsendQueryParams(link->conn, sql, n_params, NULL,
				     link->params, NULL, NULL, 1));
}

/* ---- COPY ---------------------------------------------------------------- */

void pg_link_copy_begin(struct pg_link *link, const char *sql,
			pg_done_fn *done, void *arg)
{
	begin(link, PG_LINK_COPY_BEGIN, done, arg);
	link->changed = 0;
	sent(link, PQsendQuery(link->conn, sql));
}

bool pg_link_takes_rows(const struct pg_link *link)
{
	return link->state == PG_LINK_COPY;
}

int pg_link_copy_put(struct pg_link *link, struct span bytes,
		     loop_fn *on_room, void *arg)
{
	int rc;

	CHECK(link->state == PG_LINK_COPY && !link->on_room);
	rc = PQputCopyData(link->conn, bytes.ptr, (int)bytes.len) == 1
		     ? flush(link) : -1;
	if (rc < 0) {
		lose_connection(link, "the database's connection broke");
		return -1;
	}
	if (rc == 0) {
		link->on_room = on_room;
		link->room_arg = arg;
		start_timer(link);
	}
	return rc;
}

static void read_later(void *arg)
{
	read_results(arg);
}

static void tell_lost(struct pg_link *link, pg_done_fn *done, void *arg)
{
	link->done = done;
	link->arg = arg;
	if (!err_is_set(&link->err))
		err_set(&link->err, ERR_STORE, "the database's connection broke");
	loop_defer(link->loop, &link->tell, tell_failure, link);
}

void pg_link_copy_end(struct pg_link *link, pg_done_fn *done, void *arg)
{
	CHECK(!link->done);
	if (link->state == PG_LINK_DOWN) {
		tell_lost(link, done, arg);
		return;
	}
	if (link->state == PG_LINK_COPY)
		set_state(link, PG_LINK_COPY_END);
	CHECK(link->state == PG_LINK_COPY_END);
	link->on_room = NULL;
	link->done = done;
	link->arg = arg;
	sent(link, PQputCopyEnd(link->conn, NULL) == 1);
	if (link->state == PG_LINK_COPY_END)
		start_timer(link);
	/* What the server said before is read already: no event will come. */
	if (link->state == PG_LINK_COPY_END && link->done &&
	    !PQisBusy(link->conn))
		loop_defer(link->loop, &link->tell, read_later, link);
}
