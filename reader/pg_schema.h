/*
 * pg_schema.h - the tables of the postgres store, and how they come to be
 *
 *   schema stream_broadcast
 *     object    one row an object: state, owner, what is known of it
 *     chunk     its bytes: (object, seq) -> data, PG_CHUNK_BYTES a row, the last
 *               row shorter; seq counts from 0, so a byte range is arithmetic
 *     instance  the running readers: owners of what is not committed
 *     migration the numbers of the migrations that were applied
 *
 * Rows of `chunk` fill a page of 8 KiB and stay in it (STORAGE PLAIN):
 * docs/design/0007. Only rows of `object` in state 3 are visible to anybody; one
 * UPDATE makes an object visible with all its bytes. `object.key` is never given
 * twice, which is more than its sequence alone can promise (pg_statements.h).
 * `object.search` is what the trigram index is over.
 *
 * Migrations are numbered, each one transaction, applied at start under an
 * advisory lock, so that several readers may start at once on an empty database.
 * A schema that is newer than this program stops the start. Everything here
 * blocks: for the start.
 */
#ifndef READER_PG_SCHEMA_H
#define READER_PG_SCHEMA_H

#include "common/err.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

/* A tuple of 24 + 8 + 4 + 4 + 8112 = 8152 bytes; a page takes one of 8160. */
#define PG_CHUNK_BYTES 8112u
#define PG_MAX_BYTES ((uint64_t)INT32_MAX * PG_CHUNK_BYTES)	/* 15.8 TiB */

/* The advisory locks of ours: first key of the two-key form. */
#define PG_LOCK_CLASS 1396786499	/* "SBSC" */
#define PG_LOCK_MIGRATION 0		/* second key; instances are 1 … */

/*
 * Apply the migrations that are missing; a database in recovery (a replica) is
 * only checked, and sets *is_replica. -1: ERR_CONFIG when the schema is newer, or
 * missing on a replica; ERR_LIMIT when it is being restored, or another reader
 * migrates it for longer than lock_timeout; else ERR_STORE. `limit_ms` as pg_exec(), but
 * a migration may take what it takes.
 */
int pg_schema_migrate(PGconn *conn, uint64_t limit_ms, bool *is_replica,
		      struct err *err) MUST_CHECK;

#endif
