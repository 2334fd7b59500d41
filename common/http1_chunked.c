#include "common/http1_impl.h"

/*
 * One byte of framing at a time:
 *
 *   1000 ;name=value CRLF data CRLF ... 0 CRLF Field: value CRLF CRLF
 *   SIZE EXT_...     LF   DATA LF       SIZE   TRAILER_...         END_LF
 *
 * There is little of it beside the data, and no state but struct http1_chunked,
 * so the verdict cannot depend on the cuts.
 */
enum state {
	SIZE,
	EXT_NAME_START,		/* after ";" */
	EXT_NAME,
	EXT_VALUE_START,	/* after "=" */
	EXT_VALUE,
	EXT_QUOTED,
	EXT_ESCAPE,		/* after "\" in quotes */
	EXT_END,		/* after the second quote */
	SIZE_LF,
	DATA,
	DATA_LF,
	TRAILER_START,
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	END_LF,
	DONE,
	FAILED,
};

#define MAX_DIGITS 16u
#define MAX_FREE_OVERHEAD (100u * 1024)

void http1_chunked_init(struct http1_chunked *c)
{
	memset(c, 0, sizeof(*c));
}

static int refuse(const struct http1_chunked *c, struct err *err, int status,
		  const char *text)
{
	if (c->is_response)
		return err_set(err, ERR_TARGET, "sent an answer in which %s",
			       text);
	return err_set_status(err, status, "%s", text);
}

/* ---- size and extensions ------------------------------------------------- */

static int refuse_size_line(const struct http1_chunked *c, struct err *err)
{
	return refuse(c, err, 400, "a chunk's size line is malformed");
}

/* What may follow the size, an extension's name or its value. */
static int after_size(const struct http1_chunked *c, char byte, struct err *err)
{
	if (byte == ';')
		return EXT_NAME_START;
	return byte == '\r' ? SIZE_LF : refuse_size_line(c, err);
}

static int step_size(struct http1_chunked *c, char byte, struct err *err)
{
	if (!http1_is(byte, HTTP1_HEX)) {
		if (c->digits == 0)
			return refuse_size_line(c, err);
		return after_size(c, byte, err);
	}
	if (c->digits == MAX_DIGITS)
		return refuse(c, err, 400, "a chunk's size is too long");
	c->digits++;
	c->size = c->size << 4 | http1_hex_value(byte);
	return SIZE;
}

/* Counted are the bytes from ";" to before CR: those behind the one, and CR. */
static int count_extension(struct http1_chunked *c, struct err *err)
{
	if (++c->ext_bytes <= HTTP1_MAX_CHUNK_EXT)
		return 0;
	return refuse(c, err, 400, "chunk extensions are too long");
}

static int step_name(struct http1_chunked *c, char byte, struct err *err)
{
	if (count_extension(c, err) < 0)
		return -1;
	if (http1_is(byte, HTTP1_TCHAR))
		return EXT_NAME;
	if (c->state == EXT_NAME_START)
		return refuse_size_line(c, err);
	return byte == '=' ? EXT_VALUE_START : after_size(c, byte, err);
}

static int step_value(struct http1_chunked *c, char byte, struct err *err)
{
	if (count_extension(c, err) < 0)
		return -1;
	if (c->state == EXT_END)
		return after_size(c, byte, err);
	if (http1_is(byte, HTTP1_TCHAR))
		return EXT_VALUE;
	if (c->state == EXT_VALUE)
		return after_size(c, byte, err);
	return byte == '"' ? EXT_QUOTED : refuse_size_line(c, err);
}

static int step_quoted(struct http1_chunked *c, char byte, struct err *err)
{
	if (count_extension(c, err) < 0)
		return -1;
	if (c->state == EXT_QUOTED && byte == '"')
		return EXT_END;
	if (c->state == EXT_QUOTED && byte == '\\')
		return EXT_ESCAPE;
	return http1_is(byte, HTTP1_VALUE) ? EXT_QUOTED :
					     refuse_size_line(c, err);
}

/* ---- chunks -------------------------------------------------------------- */

/*
 * Each byte of a flood of tiny chunks costs us many of framing: no more than
 * four in five, but for what an honest sender's first chunks may take.
 */
static bool is_flood(const struct http1_chunked *c)
{
	return c->overhead > MAX_FREE_OVERHEAD && c->overhead / 4 > c->total;
}

static int begin_chunk(struct http1_chunked *c, uint64_t max_total,
		       struct err *err)
{
	uint64_t size = c->size;

	c->size = 0;
	c->digits = 0;
	if (size == 0)
		return TRAILER_START;
	if (size > UINT64_MAX - c->total)
		return refuse(c, err, 400, "the chunks' sizes overflow");
	c->total += size;
	if (c->total > max_total)
		return refuse(c, err, 413, "the body is too large");
	if (is_flood(c))
		return refuse(c, err, 400, "the chunks are too small");
	c->left = size;
	return DATA;
}

static int expect(const struct http1_chunked *c, char byte, char wanted,
		  int next, struct err *err)
{
	if (byte == wanted)
		return next;
	return refuse(c, err, 400, "a chunk does not end with CRLF");
}

/* ---- trailers ------------------------------------------------------------ */

static int refuse_trailer(const struct http1_chunked *c, struct err *err)
{
	return refuse(c, err, 400, "a trailer field is malformed");
}

/* The beginning of the line is enough: all fields that are kept are short. */
static int keep_byte(struct http1_chunked *c, char byte, int next)
{
	if (c->line_len < sizeof(c->line))
		c->line[c->line_len] = byte;
	c->line_len++;
	return next;
}

static int step_trailer_start(struct http1_chunked *c, char byte,
			      struct err *err)
{
	c->line_len = 0;
	if (byte == '\r')
		return END_LF;
	if (!http1_is(byte, HTTP1_TCHAR))
		return refuse_trailer(c, err);
	if (++c->n_trailers > HTTP1_MAX_FIELDS)
		return refuse(c, err, 431, "there are too many trailer fields");
	return keep_byte(c, byte, TRAILER_NAME);
}

static int step_trailer(struct http1_chunked *c, char byte, struct err *err)
{
	if (c->state == TRAILER_NAME) {
		if (http1_is(byte, HTTP1_TCHAR))
			return keep_byte(c, byte, TRAILER_NAME);
		if (byte == ':')
			return keep_byte(c, byte, TRAILER_VALUE);
		return refuse_trailer(c, err);
	}
	if (http1_is(byte, HTTP1_VALUE))
		return keep_byte(c, byte, TRAILER_VALUE);
	return byte == '\r' ? TRAILER_LF : refuse_trailer(c, err);
}

static char *slot(struct http1_chunked *c, struct span name)
{
	if (span_eq_nocase(name, SPAN_LIT("Repr-Digest")))
		return c->trailers.repr_digest;
	if (span_eq_nocase(name, SPAN_LIT("Content-Digest")))
		return c->trailers.content_digest;
	return NULL;
}

/* Several lines of a list field are one list (RFC 9110, 5.3). */
static bool append(char *list, size_t size, struct span value)
{
	size_t used = strlen(list);

	if (used > 0) {
		if (used + 2 >= size)
			return false;
		memcpy(list + used, ", ", 2);
		used += 2;
	}
	return span_to_string(value, list + used, size - used);
}

/* Keep a digest. A claim that is too long to keep must not look like none. */
static int end_trailer(struct http1_chunked *c, struct err *err)
{
	bool is_whole = c->line_len <= sizeof(c->line);
	struct span value = span_make(c->line, is_whole ? c->line_len :
							  sizeof(c->line));
	char *kept = slot(c, span_cut(&value, ':'));

	value = span_trim(value);
	if (!kept || value.len == 0)
		return TRAILER_START;
	if (is_whole && append(kept, sizeof(c->trailers.repr_digest), value))
		return TRAILER_START;
	return refuse(c, err, 431, "a digest in the trailer is too long");
}

static int trailer_lf(struct http1_chunked *c, char byte, struct err *err)
{
	return byte == '\n' ? end_trailer(c, err) : refuse_trailer(c, err);
}

static int count_trailer(struct http1_chunked *c, struct err *err)
{
	if (++c->trailer_bytes <= HTTP1_MAX_TRAILER)
		return 0;
	return refuse(c, err, 431, "the trailer section is too long");
}

/* ---- all of it ----------------------------------------------------------- */

/* The state after `byte`, or -1. */
static int step(struct http1_chunked *c, char byte, uint64_t max_total,
		struct err *err)
{
	enum state state = (enum state)c->state;

	c->overhead++;
	if (state >= TRAILER_START && count_trailer(c, err) < 0)
		return -1;
	switch (state) {
	case SIZE:
		return step_size(c, byte, err);
	case EXT_NAME_START:
	case EXT_NAME:
		return step_name(c, byte, err);
	case EXT_VALUE_START:
	case EXT_VALUE:
	case EXT_END:
		return step_value(c, byte, err);
	case EXT_QUOTED:
	case EXT_ESCAPE:
		return step_quoted(c, byte, err);
	case SIZE_LF:
		return byte == '\n' ? begin_chunk(c, max_total, err) :
				      refuse_size_line(c, err);
	case DATA:
		return expect(c, byte, '\r', DATA_LF, err);
	case DATA_LF:
		return expect(c, byte, '\n', SIZE, err);
	case TRAILER_START:
		return step_trailer_start(c, byte, err);
	case TRAILER_NAME:
	case TRAILER_VALUE:
		return step_trailer(c, byte, err);
	case TRAILER_LF:
		return trailer_lf(c, byte, err);
	case END_LF:
		return byte == '\n' ? DONE : refuse_trailer(c, err);
	case DONE:
	case FAILED:
		break;
	}
	return -1;
}

enum http1_result http1_chunked_framing(struct http1_chunked *c,
					struct span *in, uint64_t max_total,
					struct err *err)
{
	while (c->state < DONE && c->left == 0 && in->len > 0) {
		int next = step(c, http1_take(in, 1).ptr[0], max_total, err);

		c->state = next < 0 ? FAILED : next;
	}
	if (c->state < DONE)
		return HTTP1_MORE;
	if (c->state == DONE)
		return HTTP1_DONE;
	refuse(c, err, 400, "an error was found before");
	return HTTP1_BAD;
}

void http1_chunked_took(struct http1_chunked *c, uint64_t n)
{
	CHECK(n <= c->left);
	c->left -= n;
}

size_t http1_chunk_header(uint64_t n, char *buf)
{
	static const char hex[] = "0123456789abcdef";
	size_t len = 1;

	CHECK(n > 0);
	for (uint64_t rest = n >> 4; rest > 0; rest >>= 4)
		len++;
	for (size_t i = len; i > 0; i--, n >>= 4)
		buf[i - 1] = hex[n & 0x0f];
	memcpy(buf + len, "\r\n", 2);
	return len + 2;
}
