#include "reader/pg_exec.h"

#include "common/clock.h"
#include "common/tls.h"

#include "reader/pg_error.h"

#include <poll.h>
#include <sys/socket.h>

bool pg_consume_input(PGconn *conn)
{
	void *ssl = PQsslStruct(conn, "OpenSSL");

	do {
		if (!PQconsumeInput(conn))
			return false;
	} while (tls_is_pending(ssl));
	return true;
}

/* Until PQgetResult() does not wait, for the connection may be lost; false: too long. */
static bool wait_for_result(PGconn *conn, uint64_t limit_ms)
{
	uint64_t end = clock_monotonic_ms() + limit_ms, now;
	struct pollfd fd = { .fd = PQsocket(conn), .events = POLLIN };

	while (PQisBusy(conn)) {
		now = clock_monotonic_ms();
		if (limit_ms && now >= end)
			return false;
		if (poll(&fd, 1, limit_ms ? (int)(end - now) : -1) > 0 &&
		    !pg_consume_input(conn))
			break;
	}
	return true;
}

/* The server is not heard of any more: who holds the connection makes another. */
static void cut(PGconn *conn)
{
	shutdown(PQsocket(conn), SHUT_RDWR);
	while (PQconsumeInput(conn))
		;
}

static bool send_query(PGconn *conn, const char *sql, int n_params,
		       const char *const *params)
{
	return n_params > 0 ? PQsendQueryParams(conn, sql, n_params, NULL,
						params, NULL, NULL, 0)
			    : PQsendQuery(conn, sql);
}

/* The last result, or the first bad one, as PQexec() has it. */
static PGresult *take_results(PGconn *conn, uint64_t limit_ms, bool *in_time)
{
	PGresult *result = NULL, *next;

	while ((*in_time = wait_for_result(conn, limit_ms)) &&
	       (next = PQgetResult(conn))) {
		if (result && !pg_result_is_good(result)) {
			PQclear(next);
			continue;
		}
		PQclear(result);
		result = next;
	}
	return result;
}

PGresult *pg_exec(PGconn *conn, uint64_t limit_ms, const char *sql, int n_params,
		  const char *const *params, struct err *err)
{
	bool in_time = true;
	PGresult *result = NULL;

	if (send_query(conn, sql, n_params, params))
		result = take_results(conn, limit_ms, &in_time);
	if (!in_time) {
		PQclear(result);
		cut(conn);
		err_set(err, ERR_STORE, "the database did not answer in time");
		return NULL;
	}
	if (result && pg_result_is_good(result))
		return result;
	if (PQstatus(conn) == CONNECTION_BAD)
		pg_conn_err(err, conn, "the database's connection broke");
	else
		pg_result_err(err, result, "the database refused");
	PQclear(result);
	return NULL;
}
