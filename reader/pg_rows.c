#include "reader/pg_rows.h"

#include "common/check.h"

#include <endian.h>
#include <string.h>

const struct span pg_copy_header = {
	"PGCOPY\n\377\r\n\0"	/* signature */
	"\0\0\0\0"		/* flags */
	"\0\0\0\0", 19		/* length of the header's extension */
};

static char *put(char *at, const void *bytes, size_t n)
{
	memcpy(at, bytes, n);
	return at + n;
}

static char *put_u16(char *at, uint16_t value)
{
	value = htobe16(value);
	return put(at, &value, sizeof(value));
}

static char *put_u32(char *at, uint32_t value)
{
	value = htobe32(value);
	return put(at, &value, sizeof(value));
}

static char *put_u64(char *at, uint64_t value)
{
	value = htobe64(value);
	return put(at, &value, sizeof(value));
}

static char *put_head(char *at, const struct pg_rows *rows, size_t n_bytes)
{
	at = put_u16(at, 3);
	at = put_u32(at, sizeof(rows->object));
	at = put_u64(at, (uint64_t)rows->object);
	at = put_u32(at, sizeof(rows->seq));
	at = put_u32(at, rows->seq);
	return put_u32(at, (uint32_t)n_bytes);
}

bool pg_rows_fill(const struct pg_rows *rows, size_t n_bytes)
{
	return n_bytes >= PG_CHUNK_BYTES - rows->tail_len;
}

static void keep(struct pg_rows *rows, struct span *in)
{
	if (in->len > 0)
		memcpy(rows->tail + rows->tail_len, in->ptr, in->len);
	rows->tail_len += in->len;
	*in = span_make(NULL, 0);
}

size_t pg_rows_cut(struct pg_rows *rows, struct span *in, char *buf,
		   size_t size)
{
	char *at = buf;
	size_t n;

	while (pg_rows_fill(rows, in->len)) {
		if (size - (size_t)(at - buf) <
		    PG_ROW_HEAD_BYTES + PG_CHUNK_BYTES)
			return (size_t)(at - buf);
		n = PG_CHUNK_BYTES - rows->tail_len;
		at = put_head(at, rows, PG_CHUNK_BYTES);
		at = put(at, rows->tail, rows->tail_len);
		at = put(at, in->ptr, n);
		in->ptr += n;
		in->len -= n;
		rows->tail_len = 0;
		rows->seq++;
	}
	keep(rows, in);
	return (size_t)(at - buf);
}

size_t pg_rows_end(const struct pg_rows *rows, char *buf, size_t size)
{
	char *at = buf;

	if (rows->tail_len == 0)
		return 0;
	CHECK(size >= PG_ROW_HEAD_BYTES + rows->tail_len);
	at = put_head(at, rows, rows->tail_len);
	at = put(at, rows->tail, rows->tail_len);
	return (size_t)(at - buf);
}
