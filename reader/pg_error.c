#include "reader/pg_error.h"

#include "common/span.h"

#include <string.h>

/* What a class of SQLSTATEs, or one of them, means; the first match counts. */
static const struct {
	const char *prefix;
	enum err_code code;
	int status;	/* 0: the code's */
} meanings[] = {
	{ "53100", ERR_STORE, 507 },	/* disk_full (RFC 4918, 11.5) */
	{ "53", ERR_LIMIT, 0 },		/* insufficient resources */
	{ "57P", ERR_LIMIT, 0 },	/* shutting down, starting, crashed */
	{ "40", ERR_LIMIT, 0 },		/* serialization, deadlock: again */
	{ "25006", ERR_LIMIT, 0 },	/* read_only_sql_transaction: a replica */
	{ "23505", ERR_CONFLICT, 0 },	/* unique_violation */
	{ "", ERR_STORE, 0 },
};

/* The first line of `text`, without its end. */
static struct span first_line(const char *text)
{
	return span_make(text, strcspn(text, "\n"));
}

static int set(struct err *err, const char *sqlstate, const char *what,
	       const char *text)
{
	struct span line = first_line(text);
	size_t i = 0;
	bool was_set = err_is_set(err);

	while (strncmp(sqlstate, meanings[i].prefix,
		       strlen(meanings[i].prefix)) != 0)
		i++;
	err_set(err, meanings[i].code, "%s: %.*s", what, SPAN_ARG(line));
	if (!was_set && meanings[i].status)
		err->status = meanings[i].status;
	return -1;
}

bool pg_result_is_good(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ||
	       status == PGRES_COPY_IN;
}

bool pg_result_has_state(const PGresult *result, const char *sqlstate)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return state && strcmp(state, sqlstate) == 0;
}

int pg_result_err(struct err *err, const PGresult *result, const char *what)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	if (!result)
		return err_set(err, ERR_MEMORY, "%s: out of memory", what);
	if (!text || !*text)
		text = PQresultErrorMessage(result);
	return set(err, state ? state : "", what, *text ? text : "no answer");
}

int pg_conn_err(struct err *err, const PGconn *conn, const char *what)
{
	const char *text = conn ? PQerrorMessage(conn) : "out of memory";

	if (strstr(text, "too many clients") ||
	    strstr(text, "remaining connection slots") ||
	    strstr(text, "is starting up") || strstr(text, "shutting down"))
		return set(err, "53300", what, text);
	return set(err, "", what, *text ? text : "the connection was lost");
}

/*
 * libpq tells no SQLSTATE of a failed start. A server that speaks another
 * language is asked again until the time is up.
 */
bool pg_conn_is_hopeless(const PGconn *conn)
{
	const char *text = PQerrorMessage(conn);

	return strstr(text, "authentication failed") ||
	       strstr(text, "no password supplied") ||
	       strstr(text, "does not exist") ||
	       strstr(text, "no pg_hba.conf entry") ||
	       strstr(text, "invalid connection option") ||
	       strstr(text, "permission denied for database");
}
