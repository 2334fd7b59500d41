#include "reader/pg_error.h"

#include "common/span.h"

#include <stdio.h>
#include <string.h>

#define SQLSTATE_SIZE 6u	/* five characters and a NUL */

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
	{ "55P03", ERR_LIMIT, 0 },	/* lock_not_available: lock_timeout */
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

/*
 * libpq tells no SQLSTATE of a connection, but with PQERRORS_VERBOSE its text
 * does, behind the severity: "…FATAL:  28P01: words". The words are in the
 * server's language. "" when there is none: the text is libpq's own.
 */
static void find_state(const char *text, char state[SQLSTATE_SIZE])
{
	static const char capitals[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	const size_t len = SQLSTATE_SIZE - 1;

	state[0] = '\0';
	while (!state[0] && (text = strstr(text, ":  "))) {
		text += 3;
		if (strspn(text, capitals) == len && text[len] == ':')
			snprintf(state, SQLSTATE_SIZE, "%s", text);
	}
}

int pg_conn_err(struct err *err, const PGconn *conn, const char *what)
{
	const char *text = conn ? PQerrorMessage(conn) : "out of memory";
	char state[SQLSTATE_SIZE];

	find_state(text, state);
	return set(err, state, what, *text ? text : "the connection was lost");
}

bool pg_conn_is_hopeless(const PGconn *conn)
{
	static const char *const prefixes[] = {
		"28",		/* invalid authorization: password, role, pg_hba */
		"3D000",	/* no such database */
		"42501",	/* no privilege to connect */
		"42704",	/* options: no such parameter */
		"22023",	/* options: no such value */
	};
	const char *text = PQerrorMessage(conn);
	char state[SQLSTATE_SIZE];

	find_state(text, state);
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(state, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return strstr(text, "no password supplied") ||
	       strstr(text, "invalid connection option");
}
