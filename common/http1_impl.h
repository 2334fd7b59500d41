/*
 * http1_impl.h - what the files of the HTTP/1.1 parser share
 *
 * Classes of bytes from the grammars of RFC 9110, 3986 and 8187, looked up in
 * one table, and the steps of a head's parser that live in different files:
 *
 *   http1_head.c     lines, fields      http1_target.c   target, host
 *   http1_framing.c  what fields mean   http1_chunked.c  chunked bodies
 *
 * Private to common/http1_*.c and their tests.
 */
#ifndef COMMON_HTTP1_IMPL_H
#define COMMON_HTTP1_IMPL_H

#include "common/http1.h"

enum http1_class {
	HTTP1_TCHAR = 0x01,	/* of a token (RFC 9110, 5.6.2) */
	HTTP1_VALUE = 0x02,	/* of a field value, SP and HTAB too (5.5) */
	HTTP1_TARGET = 0x04,	/* visible ASCII but '#' */
	HTTP1_REG_NAME = 0x08,	/* of a reg-name, but '%' (RFC 3986, 3.2.2) */
	HTTP1_ATTR = 0x10,	/* attr-char (RFC 8187, 3.2.1) */
	HTTP1_QDTEXT = 0x20,	/* of a quoted-string (RFC 9110, 5.6.4) */
	HTTP1_HEX = 0x40,	/* HEXDIG, either case */
	HTTP1_ETAG = 0x80,	/* etagc (RFC 9110, 8.8.3) */
};

/* The classes of each byte. */
extern const unsigned char http1_classes[256];

/* Is `c` in the class? */
static inline bool http1_is(char c, enum http1_class class)
{
	return http1_classes[(unsigned char)c] & class;
}

/* Is `c` one of 0 to 9? */
static inline bool http1_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* 0 to 15, of a byte in HTTP1_HEX. */
static inline unsigned int http1_hex_value(char c)
{
	return (unsigned int)(c & 0x0f) + (c > '9' ? 9 : 0);
}

/* How many bytes at the beginning of `s` are in the class. */
static inline size_t http1_run(struct span s, enum http1_class class)
{
	size_t n = 0;

	while (n < s.len && http1_is(s.ptr[n], class))
		n++;
	return n;
}

/* Take `n` <= s->len bytes off the beginning; they are returned. */
static inline struct span http1_take(struct span *s, size_t n)
{
	struct span taken = span_make(s->ptr, n);

	if (n > 0)
		*s = span_make(s->ptr + n, s->len - n);
	return taken;
}

/* Take SP and HTAB off the beginning. */
static inline void http1_skip_ows(struct span *s)
{
	while (s->len > 0 && (s->ptr[0] == ' ' || s->ptr[0] == '\t'))
		http1_take(s, 1);
}

/*
 * Take one byte, or the three of a percent-encoded one (RFC 3986, 2.1), off the
 * beginning of `s`, which is not empty. Its value; -1 for a bad escape.
 */
int http1_take_byte(struct span *s);

/* A parameter's value within its field: without quotes, escapes still there. */
struct http1_raw {
	struct span text;
	bool is_quoted;
};

/*
 * As http1_param(), but pointing into `value`: 1 found, 0 absent, -1 malformed
 * or there twice.
 */
int http1_param_raw(struct span value, const char *name, struct http1_raw *raw);

/* What a backslash in quotes escapes. */
enum http1_escapes {
	HTTP1_ESCAPES_ALL,	/* any character (RFC 9110, 5.6.4) */
	HTTP1_ESCAPES_QUOTES,	/* quotes and backslashes, as in forms */
};

/* Copy without escapes and NUL-terminate; false when it does not fit. */
bool http1_unquote(struct http1_raw raw, enum http1_escapes escapes, char *buf,
		   size_t size);

/* A head being parsed. */
struct http1_parse {
	struct http1_head *head;
	const char *buf;
	bool is_response;
	bool to_head;		/* responses: to a HEAD request */
	struct err *err;
};

/*
 * Refuse a head; always -1. `status` answers a request; of a response it is the
 * target's error, whatever the status.
 */
int http1_refuse(const struct http1_parse *p, int status, const char *text);

/* The slice of a span that lies in p->buf. */
static inline struct http1_slice http1_slice_of(const struct http1_parse *p,
						struct span s)
{
	return (struct http1_slice){ (uint16_t)(s.ptr - p->buf),
				     (uint16_t)s.len };
}

/*
 * Read a request target, RFC 9112, 3.2, into path, query and maybe host. The
 * method is known. -1 when it is none of the forms that this method may have.
 */
int http1_read_target(struct http1_parse *p, struct span target);

/* Is it uri-host [ ":" port ] with a host (RFC 9110, 7.2)? */
bool http1_is_authority(struct span host);

/* When all fields are read: their meaning for host, body and connection. */
int http1_read_meaning(struct http1_parse *p);

#endif
