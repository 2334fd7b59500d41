/*
 * pg_flush.h - the database's log goes to disk beside a COPY, not within it
 *
 * COPY writes through a ring of 16 MiB of the server's buffers (PostgreSQL source,
 * src/backend/storage/buffer/README, "Buffer Ring Replacement Strategy"). Each time
 * round, the server process that takes the rows has to write the pages it made,
 * and first flush the log (WAL) behind them: it waits for the disk and takes no
 * rows meanwhile. When another connection flushes the log in time, it finds the
 * work done: docs/design/0012-the-log-goes-to-disk-beside-the-copy.md.
 *
 * One for each loop; optional work: it uses a connection that nobody needs, and
 * its failure is nobody's.
 */
#ifndef READER_PG_FLUSH_H
#define READER_PG_FLUSH_H

#include "reader/pg_call.h"

/* Bytes after which the next flush begins, if the last one has ended. */
#define PG_FLUSH_BYTES (4u << 20)

struct pg_flush;

/* NULL when out of memory. `pool` outlives it. */
struct pg_flush *pg_flush_new(struct pg_pool *pool);

/* A flush that runs is broken off. Nulls; may be NULL already. */
void pg_flush_free(struct pg_flush **flush);

/*
 * `n` bytes more were handed to COPY on a connection of the pool: begin a flush if
 * it is time and the pool has links to spare. Never calls back.
 */
void pg_flush_add(struct pg_flush *flush, size_t n);

#endif
