/*
 * pg_statements.h - every statement the postgres store runs from its loops
 *
 * Prepared on a connection when it is first used there. Parameters are text in
 * the given order, results are binary. Values never become part of a statement.
 * The tables are explained in pg_schema.h.
 */
#ifndef READER_PG_STATEMENTS_H
#define READER_PG_STATEMENTS_H

#include "reader/sink.h"

/* The column behind those, in FIND_CHUNK. */
#define PG_FIRST_CHUNK_COLUMN 10

/* The columns of CHUNKS. */
#define PG_CHUNKS_SEQ 0
#define PG_CHUNKS_DATA 1

/* States of a row of `object`; the column `state`. */
enum pg_state {
	PG_RECEIVING = 1,	/* chunks arrive */
	PG_STAGED = 2,		/* complete, waits for its commit */
	PG_COMMITTED = 3,	/* visible; everything else is not */
	PG_DELETING = 4,	/* chunks are being removed, then the row */
};

/* The columns that describe an object, in the order pg_row_object() takes. */
#define PG_OBJECT_COLUMNS                                                    \
	"key, id::text, name, content_type, size, sha256, "                  \
	"(extract(epoch FROM created_at) * 1000)::bigint, title, creator, " \
	"metadata::text"

/*
 * A key that nobody else had or will have. A crash may take the row of an object
 * whose sink lives on, and with it the number from the sequence, which then is
 * given again; the 24 random bits behind it are not.
 */
#define PG_NEW_KEY                                                      \
	"(nextval(pg_get_serial_sequence('object', 'key')) << 24) + " \
	"floor(random() * 16777216)::bigint"

/*
 * What is answered has to be durable, whatever the server was told: off becomes
 * on, anything else is the administrator's choice. In a transaction's own FROM, or
 * with "false" for a session.
 */
#define PG_DURABLY(is_local)                                              \
	"set_config('synchronous_commit', replace(current_setting("      \
	"'synchronous_commit'), 'off', 'on'), " is_local ")"

#define PG_STATEMENTS(X)                                                       \
	/* owner, id, name, content type: a new row */                        \
	X(OPEN, 4,                                                             \
	  "INSERT INTO object (key, owner, id, state, name, content_type) "    \
	  "OVERRIDING SYSTEM VALUE "                                           \
	  "SELECT " PG_NEW_KEY ", $1::integer, $2::uuid, 1, $3::text, $4::text " \
	  "FROM set_config('synchronous_commit', 'off', true) RETURNING key") \
	/* owner, id: a row that open did not hear of; one sink has the id */ \
	X(UNOPEN, 2,                                                           \
	  "DELETE FROM object WHERE owner = $1::integer AND id = $2::uuid "    \
	  "AND state = 1")                                                     \
	/* key, size, sha256, created_ms, content type, n_slices */           \
	X(STAGE, 6,                                                            \
	  "UPDATE object SET state = 2, size = $2::bigint, sha256 = $3::text, " \
	  "created_at = to_timestamp($4::bigint / 1000.0), "                   \
	  "content_type = $5::text FROM " PG_DURABLY("true") " "               \
	  "WHERE key = $1::bigint AND state IN (1, 2) "                        \
	  "AND n_slices = $6::integer")                                        \
	/* key, title, creator, metadata; idempotent */                       \
	X(COMMIT, 4,                                                           \
	  "UPDATE object SET state = 3, title = $2::text, creator = $3::text, " \
	  "metadata = coalesce(nullif($4::text, ''), '{}')::json "            \
	  "FROM " PG_DURABLY("true") " "                                       \
	  "WHERE key = $1::bigint AND state IN (2, 3)")                        \
	/* owner, key: out of sight; the owner's house removes it */          \
	X(WITHDRAW, 2,                                                         \
	  "UPDATE object SET state = 4, owner = $1::integer, "                 \
	  "withdrawn_at = now() FROM " PG_DURABLY("true") " "                  \
	  "WHERE key = $2::bigint")                                            \
	/* owner, id: the same for what is committed */                       \
	X(REMOVE, 2,                                                           \
	  "UPDATE object SET state = 4, owner = $1::integer, "                 \
	  "withdrawn_at = now() FROM " PG_DURABLY("true") " "                  \
	  "WHERE id = $2::uuid AND state = 3")                                 \
	/* key, sequence number: one chunk, which will be written anew */     \
	X(REMOVE_CHUNK, 2,                                                     \
	  "DELETE FROM chunk WHERE object = $1::bigint "                       \
	  "AND seq = $2::integer")                                             \
	X(FIND, 1,                                                             \
	  "SELECT " PG_OBJECT_COLUMNS " FROM object "                          \
	  "WHERE id = $1::uuid AND state = 3")                                 \
	/* id, sequence number: the object, and that chunk if it has it */    \
	X(FIND_CHUNK, 2,                                                       \
	  "SELECT " PG_OBJECT_COLUMNS ", data FROM object LEFT JOIN chunk ON " \
	  "chunk.object = object.key AND seq = $2::integer "                   \
	  "WHERE id = $1::uuid AND state = 3")                                 \
	/* key, first sequence number, and behind the last; in any order */   \
	X(CHUNKS, 3,                                                           \
	  "SELECT seq, data FROM chunk WHERE object = $1::bigint "             \
	  "AND seq >= $2::integer AND seq < $3::integer")                      \
	/* all that was written is on this server's disk: pg_flush.h */      \
	X(FLUSH, 0,                                                            \
	  "SELECT pg_logical_emit_message(true, 'stream-broadcast', '') "      \
	  "FROM set_config('synchronous_commit', 'local', true)")              \
	X(PING, 0, "SELECT pg_is_in_recovery()")

#define PG_STATEMENT_NAME(name, n_params, sql) PG_##name,
/* Numbers of the statements: PG_OPEN … */
enum pg_statement { PG_STATEMENTS(PG_STATEMENT_NAME) PG_N_STATEMENTS };
#undef PG_STATEMENT_NAME

#define PG_MAX_PARAMS 16

/* SQL text and number of parameters of a statement. */
struct pg_statement_text {
	const char *name;
	const char *sql;
	int n_params;
};
extern const struct pg_statement_text pg_statements[PG_N_STATEMENTS];

#endif
