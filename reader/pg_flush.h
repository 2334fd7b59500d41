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
 * One for each loop, with a connection of its own while large uploads come: it is
 * made when it is first needed, and closed 2 s after the last flush. Optional work:
 * its failure is logged, is nobody's, and nothing is tried for a minute then.
 */
#ifndef READER_PG_FLUSH_H
#define READER_PG_FLUSH_H

#include "reader/pg_link.h"

/* Bytes after which the next flush begins, if the last one has ended. */
#define PG_FLUSH_BYTES (4u << 20)

struct pg_flush;

/* NULL when out of memory. With db_flush off it does nothing. */
struct pg_flush *pg_flush_new(struct loop *loop,
			      const struct reader_settings *settings,
			      struct workers *workers);

/* A flush that runs is broken off. Nulls; may be NULL already. */
void pg_flush_free(struct pg_flush **flush);

/*
 * `n` bytes more were handed to COPY by a connection of this loop: begin a flush
 * if it is time. Never calls back.
 */
void pg_flush_add(struct pg_flush *flush, size_t n);

/* Is one under way? */
bool pg_flush_is_running(const struct pg_flush *flush);

#endif
