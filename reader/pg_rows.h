/*
 * pg_rows.h - an object's bytes as rows of binary COPY
 *
 *   bytes ──▶ [tail ‖ bytes] cut every PG_CHUNK_BYTES ──▶ row, row, …   tail
 *
 * A row says its length first, so the last bytes wait in the tail until a row is
 * full or the object ends. Format: PostgreSQL manual, COPY, Binary Format. Pure
 * but for the constants of pg_schema.h.
 */
#ifndef READER_PG_ROWS_H
#define READER_PG_ROWS_H

#include "common/span.h"

#include "reader/pg_schema.h"

#include <stdint.h>

/* Field count, three lengths, object, seq. */
#define PG_ROW_HEAD_BYTES 26u

/* What COPY begins with. */
extern const struct span pg_copy_header;

struct pg_rows {
	int64_t object;
	uint32_t seq;			/* of the next row */
	size_t tail_len;
	char tail[PG_CHUNK_BYTES];
};

/* Will these bytes fill a row? */
bool pg_rows_fill(const struct pg_rows *rows, size_t n_bytes);

/*
 * Make rows of what is in the tail and *in, as many whole ones as fit in `buf`;
 * advances *in. When less than a row is left of it, that goes to the tail and *in
 * becomes empty. Bytes in `buf`; 0 = no further row.
 */
size_t pg_rows_cut(struct pg_rows *rows, struct span *in, char *buf,
		   size_t size);

/*
 * The tail as a last row, which is shorter; it stays in the tail, for the case
 * that more comes: then the row has to be removed from the table, and a whole one
 * will take its place. Bytes in `buf`; 0 = the tail is empty.
 */
size_t pg_rows_end(const struct pg_rows *rows, char *buf, size_t size);

#endif
