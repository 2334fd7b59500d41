#include "reader/pg_schema.h"

#include "common/log.h"

#include "reader/pg_exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The schema may have been made for us, who may not make one: then CREATE SCHEMA
 * is refused, with IF NOT EXISTS too. `migration` may be all that is left of a
 * first start that failed.
 */
#define CREATE_SCHEMA                                                       \
	"DO $$ BEGIN IF to_regnamespace('stream_broadcast') IS NULL THEN " \
	"CREATE SCHEMA stream_broadcast; END IF; END $$;"                  \
	"CREATE TABLE IF NOT EXISTS migration ("                           \
	" number integer PRIMARY KEY,"                                     \
	" applied_at timestamptz NOT NULL DEFAULT now());"

/*
 * Never change one that was released: append the next. Each runs in a
 * transaction with search_path stream_broadcast, public.
 *
 * 1: objects and their chunks. autovacuum looks at `chunk` early, because what
 *    an aborted upload leaves is as large as the upload.
 */
static const char *const migrations[] = {
	CREATE_SCHEMA
	"CREATE EXTENSION IF NOT EXISTS pg_trgm;"
	"CREATE TABLE instance ("
	" id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
	" started_at timestamptz NOT NULL DEFAULT now());"
	"CREATE TABLE object ("
	" key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
	" id uuid NOT NULL,"
	" state smallint NOT NULL CHECK (state BETWEEN 1 AND 4),"
	" owner integer NOT NULL,"
	" name text NOT NULL,"
	" content_type text NOT NULL,"
	" n_slices integer NOT NULL DEFAULT 0,"
	" size bigint NOT NULL DEFAULT 0,"
	" sha256 text NOT NULL DEFAULT '',"
	" created_at timestamptz NOT NULL DEFAULT now(),"
	" title text NOT NULL DEFAULT '',"
	" creator text NOT NULL DEFAULT '',"
	" metadata json NOT NULL DEFAULT '{}',"
	" withdrawn_at timestamptz,"
	" search text GENERATED ALWAYS AS"
	"  (lower(title || ' ' || creator || ' ' || name)) STORED);"
	"CREATE UNIQUE INDEX object_id ON object (id) WHERE state = 3;"
	"CREATE INDEX object_name ON object (name COLLATE \"C\", id)"
	" WHERE state = 3;"
	"CREATE INDEX object_size ON object (size, id) WHERE state = 3;"
	"CREATE INDEX object_search ON object USING gin"
	" (search gin_trgm_ops) WITH (fastupdate = off) WHERE state = 3;"
	"CREATE INDEX object_unfinished ON object (owner) WHERE state <> 3;"
	"CREATE TABLE chunk ("
	" object bigint NOT NULL,"
	" seq integer NOT NULL,"
	" data bytea NOT NULL,"
	" PRIMARY KEY (object, seq));"
	"ALTER TABLE chunk ALTER data SET STORAGE PLAIN;"
	"ALTER TABLE chunk SET (autovacuum_vacuum_scale_factor = 0.02,"
	" autovacuum_vacuum_insert_scale_factor = 0.1);",
};

#define N_MIGRATIONS ((int)(sizeof(migrations) / sizeof(migrations[0])))

/* ---- migrations ---------------------------------------------------------- */

static int run(PGconn *conn, uint64_t limit_ms, const char *sql, struct err *err)
{
	PGresult *result = pg_exec(conn, limit_ms, sql, 0, NULL, err);

	PQclear(result);
	return result ? 0 : -1;
}

/* The first column of the first row as a number; -1 when there is none. */
static int read_number(PGconn *conn, uint64_t limit_ms, const char *sql,
		       int *number, struct err *err)
{
	PGresult *result = pg_exec(conn, limit_ms, sql, 0, NULL, err);

	if (!result)
		return -1;
	*number = PQntuples(result) > 0 && !PQgetisnull(result, 0, 0)
			  ? (int)strtol(PQgetvalue(result, 0, 0), NULL, 10)
			  : -1;
	PQclear(result);
	return 0;
}

#define TABLES                                                              \
	"ARRAY[to_regclass('stream_broadcast.instance'), "                  \
	"to_regclass('stream_broadcast.object'), "                          \
	"to_regclass('stream_broadcast.chunk')]"
#define N_KEYS 4	/* the primary ones, and that of identifiers */

/*
 * pg_restore makes the tables, fills one after the other, `chunk` first, and makes keys
 * and indices in the end: until then objects without chunks or chunks without objects
 * are seen, nothing keeps two objects from having one identifier, and a row of ours
 * would keep it from making its key.
 */
static int check_whole(PGconn *conn, uint64_t limit_ms, int version,
		       struct err *err)
{
	int n_tables, n_keys;

	if (read_number(conn, limit_ms,
			"SELECT count(t) FROM unnest(" TABLES ") AS t",
			&n_tables, err) < 0 ||
	    read_number(conn, limit_ms,
			"SELECT count(*) FROM pg_index WHERE indisunique AND "
			"indisvalid AND indrelid = ANY(" TABLES ") AND "
			"(indisprimary OR indexrelid = "
			"to_regclass('stream_broadcast.object_id'))",
			&n_keys, err) < 0)
		return -1;
	if (version > 0 ? n_keys == N_KEYS : n_tables == 0)
		return 0;
	return err_set(err, ERR_LIMIT,
		       "the database's schema has %d of %d keys: it is being "
		       "restored, or was not restored whole", n_keys, N_KEYS);
}

/* 0 = there is no schema yet. */
static int read_version(PGconn *conn, uint64_t limit_ms, int *version,
			struct err *err)
{
	int there;

	if (read_number(conn, limit_ms,
			"SELECT (to_regclass('stream_broadcast.migration') IS "
			"NOT NULL)::integer", &there, err) < 0)
		return -1;
	*version = 0;
	if (there && read_number(conn, limit_ms,
				 "SELECT coalesce(max(number), 0) FROM "
				 "stream_broadcast.migration", version, err) < 0)
		return -1;
	if (*version > N_MIGRATIONS)
		return 0;	/* whatever it has */
	return check_whole(conn, limit_ms, *version, err);
}

static int check_version(int version, struct err *err)
{
	if (version <= N_MIGRATIONS)
		return 0;
	return err_set(err, ERR_CONFIG,
		       "the database's schema has version %d, this program "
		       "knows up to %d: use a newer reader", version,
		       N_MIGRATIONS);
}

static int apply(PGconn *conn, int number, struct err *err)
{
	char note[120];

	snprintf(note, sizeof(note),
		 "INSERT INTO migration (number) VALUES (%d)", number);
	if (run(conn, 0, "BEGIN", err) < 0 ||
	    run(conn, 0, migrations[number - 1], err) < 0 ||
	    run(conn, 0, note, err) < 0 || run(conn, 0, "COMMIT", err) < 0) {
		PQclear(PQexec(conn, "ROLLBACK"));
		/* A restore that was one transaction has made the schema. */
		if (err->code == ERR_CONFLICT)
			err->code = ERR_LIMIT;
		return -1;
	}
	log_line(LOG_INFO, "migration", LOG_U64("number", (uint64_t)number));
	return 0;
}

static int apply_missing(PGconn *conn, uint64_t limit_ms, struct err *err)
{
	int version;

	if (read_version(conn, limit_ms, &version, err) < 0 ||
	    check_version(version, err) < 0)
		return -1;
	while (version < N_MIGRATIONS)
		if (apply(conn, ++version, err) < 0)
			return -1;
	return 0;
}

/* One reader at a time; the others then find nothing to do. */
static int migrate(PGconn *conn, uint64_t limit_ms, struct err *err)
{
	char lock[100], unlock[100];
	int rc;

	snprintf(lock, sizeof(lock), "SELECT pg_advisory_lock(%d, %d)",
		 PG_LOCK_CLASS, PG_LOCK_MIGRATION);
	snprintf(unlock, sizeof(unlock), "SELECT pg_advisory_unlock(%d, %d)",
		 PG_LOCK_CLASS, PG_LOCK_MIGRATION);
	if (run(conn, limit_ms, lock, err) < 0)
		return -1;
	rc = apply_missing(conn, limit_ms, err);
	if (rc == 0)
		return run(conn, limit_ms, unlock, err);
	PQclear(PQexec(conn, unlock));
	return -1;
}

static int check_replica(PGconn *conn, uint64_t limit_ms, struct err *err)
{
	int version;

	if (read_version(conn, limit_ms, &version, err) < 0 ||
	    check_version(version, err) < 0)
		return -1;
	if (version == N_MIGRATIONS)
		return 0;
	return err_set(err, ERR_CONFIG,
		       "the replica's schema has version %d, this program "
		       "needs %d: start a reader on the primary first",
		       version, N_MIGRATIONS);
}

int pg_schema_migrate(PGconn *conn, uint64_t limit_ms, bool *is_replica,
		      struct err *err)
{
	int recovering;

	if (read_number(conn, limit_ms, "SELECT pg_is_in_recovery()::integer",
			&recovering, err) < 0)
		return -1;
	*is_replica = recovering == 1;
	return *is_replica ? check_replica(conn, limit_ms, err)
			   : migrate(conn, limit_ms, err);
}
