/*
 * pg_error.h - what libpq and PostgreSQL say, as our errors
 *
 * The code says who must act: a database that breaks off, is full or misbehaves
 * is the operator's of the store (ERR_STORE; 507 when out of space), one that is
 * busy, starting or out of connections is ERR_LIMIT (503, try again). For who waits
 * for a connection, one that cannot be reached at all is, too (pg_pool.h).
 */
#ifndef READER_PG_ERROR_H
#define READER_PG_ERROR_H

#include "common/err.h"

#include <libpq-fe.h>

/* SQLSTATEs that are treated apart (PostgreSQL manual, appendix A). */
#define PG_UNIQUE_VIOLATION "23505"

/* Did the statement do what it should: a command, rows, or COPY? */
bool pg_result_is_good(const PGresult *result);

/* Has the failed result this SQLSTATE? */
bool pg_result_has_state(const PGresult *result, const char *sqlstate);

/* `err` from a failed result, beginning with `what`. Always -1. */
int pg_result_err(struct err *err, const PGresult *result, const char *what);

/*
 * `err` for a connection that could not be made or broke, beginning with `what`.
 * Always -1. The connection has PQERRORS_VERBOSE, or it cannot be told what a
 * server meant.
 */
int pg_conn_err(struct err *err, const PGconn *conn, const char *what);

/*
 * Will the same attempt to connect fail for ever (wrong password, no such
 * database or user)? False for a server that is down or still starting. As
 * pg_conn_err().
 */
bool pg_conn_is_hopeless(const PGconn *conn);

#endif
