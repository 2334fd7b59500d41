/*
 * pg_exec.h - asking the database and waiting, for the start and for keeping house;
 * and taking what it says
 */
#ifndef READER_PG_EXEC_H
#define READER_PG_EXEC_H

#include "common/err.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Run SQL and return its result, to be PQclear()ed; NULL with `err`. Blocks, for
 * `limit_ms` between two results at most (0: as long as it takes), after which the
 * connection is CONNECTION_BAD. Of several results the first bad one, or the last.
 */
PGresult *pg_exec(PGconn *conn, uint64_t limit_ms, const char *sql, int n_params,
		  const char *const *params, struct err *err) MUST_CHECK;

/*
 * PQconsumeInput(), until OpenSSL holds nothing any more, since no socket becomes
 * readable by that: libpq takes from a TLS record what it has room for (8 KiB at least),
 * and a record has up to 16 (RFC 8446, 5.1) when a pooler or a tunnel stands before the
 * server. False: the connection is lost.
 */
bool pg_consume_input(PGconn *conn) MUST_CHECK;

#endif
