/*
 * http1.h - HTTP/1.1 messages: a strict, incremental, pure parser and writer
 *
 * Heads of requests and responses, their framing, and chunked bodies with
 * trailers (RFC 9110, RFC 9112). No library, socket, clock, log or allocation.
 * The verdict never depends on how the bytes were cut into pieces.
 *
 *   head:    bytes pile up in the caller's buffer; http1_parse_request() or
 *            http1_parse_response() is called again after each arrival, with
 *            all bytes so far, until it no longer says HTTP1_MORE.
 *   body:    framing says how: none, identity of `length` bytes, chunked
 *            (struct http1_chunked), or until close (responses only).
 *
 * A refusal is an err with the HTTP status to answer; after one, never parse
 * further bytes of the connection.
 */
#ifndef COMMON_HTTP1_H
#define COMMON_HTTP1_H

#include "common/err.h"
#include "common/span.h"

#include <stdint.h>

#define HTTP1_MAX_HEAD 32768u		/* bytes, start line to empty line: 431 */
#define HTTP1_MAX_LINE 8192u		/* one field line: 431; the target: 414 */
#define HTTP1_MAX_FIELDS 100u		/* 431 */
#define HTTP1_MAX_METHOD 16u
#define HTTP1_MAX_TRAILER 8192u		/* bytes of a trailer section: 431 */
#define HTTP1_MAX_CHUNK_EXT 4096u	/* bytes of chunk extensions a body: 400 */

enum http1_method {
	HTTP1_GET, HTTP1_HEAD, HTTP1_POST, HTTP1_PUT, HTTP1_PATCH,
	HTTP1_DELETE, HTTP1_OPTIONS,
};

enum http1_framing {
	HTTP1_NO_BODY,		/* length 0, or a status that has none */
	HTTP1_IDENTITY,		/* exactly `length` bytes, also 0 */
	HTTP1_CHUNKED,
	HTTP1_UNTIL_CLOSE,	/* responses only (RFC 9112, 6.3 rule 8) */
};

/* Where a piece of the head lies, relative to its first byte. */
struct http1_slice {
	uint16_t at;
	uint16_t len;
};

struct http1_field {
	struct http1_slice name;
	struct http1_slice value;	/* OWS trimmed */
};

/*
 * A parsed head. Slices are offsets into the bytes it was parsed from, so the
 * buffer may move, but must be kept while the head is asked. Zero it before
 * the first call of a message (http1_head_init); it also carries the state
 * between calls.
 */
struct http1_head {
	/* requests */
	enum http1_method method;
	struct http1_slice path;	/* raw, starts with '/', or is "*" */
	struct http1_slice query;	/* after '?', without it; maybe empty */
	struct http1_slice host;	/* Host, or the authority of the target */
	/* responses */
	int status;			/* 100 … 599 */
	struct http1_slice reason;
	/* both */
	int minor_version;		/* HTTP/1.x */
	enum http1_framing framing;
	uint64_t length;		/* HTTP1_IDENTITY: Content-Length */
	bool has_length;		/* a Content-Length stood in the head */
	bool keep_alive;		/* version and Connection say so */
	bool expect_continue;		/* Expect: 100-continue, 1.1, has a body */
	uint16_t n_fields;
	struct http1_field fields[HTTP1_MAX_FIELDS];
	size_t size;			/* bytes of the whole head, when done */
	/* the parser's own between calls */
	size_t scanned;
	size_t start;
	int stage;
};

enum http1_result {
	HTTP1_MORE,	/* not complete: call again when there are more bytes */
	HTTP1_DONE,
	HTTP1_BAD,	/* err says why, with the status to answer */
};

/* Make ready for the first bytes of a message. */
void http1_head_init(struct http1_head *head);

/*
 * Parse a request head from all `len` bytes that arrived so far, RFC 9112, 2 to
 * 6, refusing what a strict server must (no obs-fold, no bare CR or LF, one
 * Host, one Content-Length, chunked alone …). Unknown method or transfer
 * coding: 501; version: 505; CONNECT: 501; too long: 414, 431; the rest: 400.
 * Expect other than 100-continue: 417. At most two leading empty lines skipped
 * (they count in `size`). A request without Content-Length and
 * Transfer-Encoding is HTTP1_NO_BODY with has_length false. Fields that say how
 * a body is to be understood, Authorization, and those of tus may stand once.
 */
enum http1_result http1_parse_request(struct http1_head *head, const char *buf,
				      size_t len, struct err *err);

/*
 * Parse a response head. `to_head`: it answers a HEAD request and so has no
 * body. 1xx, 204 and 304 have none either (RFC 9112, 6.3). Errors are
 * ERR_TARGET: the peer is a server.
 */
enum http1_result http1_parse_response(struct http1_head *head, const char *buf,
				       size_t len, bool to_head,
				       struct err *err);

/* The bytes of a slice; `buf` as given to the parser. Valid as long as `buf`. */
static inline struct span http1_span(const char *buf, struct http1_slice s)
{
	return span_make(buf + s.at, s.len);
}

/*
 * Value of the first field called `name` (any case), ptr NULL when there is
 * none.
 */
struct span http1_field(const struct http1_head *head, const char *buf,
			const char *name);

/* That of the one behind `n` others of this name. */
struct span http1_field_nth(const struct http1_head *head, const char *buf,
			    const char *name, unsigned int n);

/*
 * Is `token` (any case) an element of a comma-separated list, parameters after
 * ';' left aside? For Connection, Accept and the like (RFC 9110, 5.6.1).
 */
bool http1_list_has(struct span list, const char *token);

/* The method's name, "GET". */
const char *http1_method_name(enum http1_method method);

/* The standard reason phrase of a status, "" when unknown. */
const char *http1_reason(int status);

/* ---- chunked bodies (RFC 9112, 7.1) -------------------------------------- */

/* Trailer fields that are kept; all others are checked and dropped. */
struct http1_trailers {
	char repr_digest[200];		/* NUL-terminated, "" when not sent */
	char content_digest[200];
};

/*
 * Decoder of one chunked body. http1_chunked_init(), then feed bytes; state is
 * small and fixed. Refuses sizes over 16 hex digits or past UINT64_MAX in
 * total, extensions over HTTP1_MAX_CHUNK_EXT, anything but CRLF, forbidden
 * trailer syntax, and bodies whose framing outweighs their data (more than
 * 80 % overhead once 100 KiB of framing have passed). Errors are ERR_CLIENT,
 * unless is_response is set. A digest that is too long for its trailer: 431.
 */
struct http1_chunked {
	int state;
	bool is_response;	/* set it after init: errors are ERR_TARGET */
	uint64_t size;		/* of the chunk, while its header is read */
	uint64_t left;		/* data bytes still to come in this chunk */
	uint64_t total;		/* data bytes announced so far, this chunk included */
	uint64_t overhead;	/* framing bytes so far */
	uint32_t digits;
	uint32_t ext_bytes;
	uint32_t trailer_bytes;
	uint32_t line_len;
	uint32_t n_trailers;
	char line[256];		/* start of the trailer line being read */
	struct http1_trailers trailers;
};

/* Make ready for the first framing byte of a body. */
void http1_chunked_init(struct http1_chunked *c);

/*
 * Take framing bytes, up to the next data or the end. Reads *in and advances it
 * past what was consumed. HTTP1_DONE: the body is complete. HTTP1_MORE with
 * c->left > 0: the next min(c->left, …) bytes are data: take them, from *in or
 * straight from the socket, and tell http1_chunked_took(). HTTP1_MORE with
 * c->left == 0: *in is used up. `max_total` bounds the data bytes, checked when
 * a chunk is announced: 413.
 */
enum http1_result http1_chunked_framing(struct http1_chunked *c, struct span *in,
					uint64_t max_total, struct err *err);

/* `n` <= c->left data bytes were taken. */
void http1_chunked_took(struct http1_chunked *c, uint64_t n);

#define HTTP1_CHUNK_HEADER_SIZE 20
#define HTTP1_LAST_CHUNK "0\r\n\r\n"

/*
 * Chunk header for `n` > 0 data bytes, "1000\r\n", into buf; returns its
 * length. The data must be followed by CRLF. The last chunk is HTTP1_LAST_CHUNK.
 */
size_t http1_chunk_header(uint64_t n, char *buf);

/* ---- pieces of a head ---------------------------------------------------- */

/*
 * Percent-decode a path segment or query component (RFC 3986, 2.1) into `buf`
 * of `size` bytes, NUL-terminated. `plus_is_space` for form-encoded queries.
 * -1 (ERR_CLIENT) for bad escapes, %00, invalid UTF-8 (RFC 3629), or too long.
 */
int http1_decode(struct span in, bool plus_is_space, char *buf, size_t size,
		 struct err *err) MUST_CHECK;

/*
 * Value of `name` in a query string "a=1&b=2", still encoded; ptr NULL when
 * absent.
 */
struct span http1_query_get(struct span query, const char *name);

/*
 * Parse an unsigned decimal of 1*DIGIT, no sign, no space, no overflow.
 * True when well-formed.
 */
bool http1_parse_u64(struct span in, uint64_t *value);

/* Is it free of CR, LF, NUL and other control characters except HTAB? */
bool http1_is_field_value(struct span value);

/* Is it 1*tchar (RFC 9110, 5.6.2)? */
bool http1_is_token(struct span value);

/* Is it well-formed UTF-8 without NUL (RFC 3629)? */
bool http1_is_utf8(struct span text);

/*
 * One parameter of a field value such as `form-data; name="a\"b"; size=3`
 * (RFC 9110, 5.6.6): the value of `name`, unquoted into buf, NUL-terminated.
 * 1 found, 0 absent, -1 malformed, there twice or too long for `size`.
 */
int http1_param(struct span value, const char *name, char *buf, size_t size);

/*
 * The same as forms have it: browsers escape by "%22", old ones not at all, so a
 * backslash is one unless a quote or another one follows (RFC 7578, 4.2; HTML,
 * 4.10.21.8).
 */
int http1_form_param(struct span value, const char *name, char *buf,
		     size_t size);

/*
 * Is it one media type, `type "/" subtype` and parameters (RFC 9110, 8.3.1), in
 * UTF-8? A list is none: browsers would take the last one of it.
 */
bool http1_is_media_type(struct span value);

#define HTTP1_DISPOSITION_SIZE 48

/*
 * Content-Disposition value for a file name (RFC 6266, RFC 8187): an ASCII
 * fallback and filename*=UTF-8''…, safe for any name. `disposition` is
 * "attachment" or "inline". Truncates the name rather than overflow; `size` is
 * at least HTTP1_DISPOSITION_SIZE. Control characters and what is not UTF-8 are
 * replaced. A name of n bytes takes at most 10 * n more.
 */
void http1_content_disposition(const char *disposition, const char *name,
			       char *buf, size_t size);

/*
 * The file name of a Content-Disposition value, decoded to UTF-8 into buf:
 * filename* (RFC 8187, UTF-8 or ISO-8859-1) before filename. Also accepts raw
 * UTF-8 in quotes; %22 is left as it is.
 * 1 found, 0 absent, -1 malformed, not UTF-8, with control characters, or too
 * long for `size`. A name is data: it may hold "/" and "..", never use it as a
 * path.
 */
int http1_disposition_filename(struct span value, char *buf, size_t size);

/* The same of a form's part, with backslashes as by http1_form_param(). */
int http1_form_filename(struct span value, char *buf, size_t size);

/* What a Range field asks of a representation of known size (RFC 9110, 14). */
enum http1_range {
	HTTP1_RANGE_NONE,	/* no or ignorable Range: send all, 200 */
	HTTP1_RANGE_ONE,	/* *first … *last inclusive, 206 */
	HTTP1_RANGE_BAD,	/* unsatisfiable: 416 */
};

/*
 * Read a Range field value. Only `bytes` with exactly one range is honoured;
 * several ranges, other units and malformed values are ignored (14.2 allows).
 */
enum http1_range http1_parse_range(struct span value, uint64_t size,
				   uint64_t *first, uint64_t *last);

/*
 * Does a list of entity tags contain `etag` (with its quotes)? "*" matches. By
 * weak comparison, as If-None-Match has it (RFC 9110, 8.8.3.2) …
 */
bool http1_etag_matches(struct span list, const char *etag);

/* … and by strong comparison, as If-Match has it: a weak tag is never equal. */
bool http1_etag_matches_strongly(struct span list, const char *etag);

/*
 * Where the preconditions of a request stand: its head, and the bytes that it was
 * parsed from. Both are borrowed; without a head there are none.
 */
struct http1_conditions {
	const struct http1_head *head;
	const char *buf;
};

/*
 * What a GET or HEAD has to answer because of its preconditions, in the order of
 * RFC 9110, 13.2.2: 304, 412, or 0 when they let it pass. `etag` (with its quotes)
 * and the time of the last modification in milliseconds since 1970 (0: not known)
 * are those of the content. All lines of If-Match and of If-None-Match are one
 * list (5.3); of several dates the first counts, and one that cannot be read is
 * no condition.
 */
int http1_check_conditions(const struct http1_conditions *c, const char *etag,
			   uint64_t modified_ms);

/* Has a request that changes something, such as DELETE, preconditions at all? */
bool http1_is_conditional_change(const struct http1_conditions *c);

/*
 * Do they let it pass? Otherwise it is to be answered with 412, and nothing done.
 * `etag` and `modified_ms` as above; `etag` NULL when there is no content, which
 * If-Match never lets pass. If-Modified-Since is not for changes.
 */
bool http1_may_change(const struct http1_conditions *c, const char *etag,
		      uint64_t modified_ms);

#endif
