/*
 * multipart.h - streaming multipart/form-data (RFC 7578, RFC 2046 5.1)
 *
 * Pure and incremental: bytes in, events out, in bounded memory (one part's
 * head). Nothing is lost or invented however the input is cut: bytes that might
 * begin a delimiter are withheld until the next bytes decide, and then come out
 * of the parser's own copy of the delimiter.
 *
 * Calling sequence: multipart_init() with the Content-Type; then call
 * multipart_next() in a loop with a span that it advances; MULTIPART_MORE asks
 * for more input; after the last byte of the request multipart_finish().
 */
#ifndef COMMON_MULTIPART_H
#define COMMON_MULTIPART_H

#include "common/err.h"
#include "common/span.h"

#include <stdint.h>

#define MULTIPART_MAX_BOUNDARY 70u	/* RFC 2046, 5.1.1 */
#define MULTIPART_MAX_PART_HEAD 8192u	/* bytes: 431 */
#define MULTIPART_MAX_PART_FIELDS 16u	/* fields of a part's head: 431 */
#define MULTIPART_MAX_PARTS 64u		/* 400 */
#define MULTIPART_MAX_FIELD_BYTES 65536u /* all parts that are no files: 413 */
#define MULTIPART_MAX_PREAMBLE 65536u	/* with padding and epilogue: 400 */
#define MULTIPART_MAX_NAME 1024u	/* bytes, of name and file name: 400 */

enum multipart_event {
	MULTIPART_MORE,		/* *in is used up */
	MULTIPART_PART,		/* a part begins: see the part_* members */
	MULTIPART_DATA,		/* *data: bytes of the current part's body */
	MULTIPART_PART_END,	/* the current part is complete */
	MULTIPART_END,		/* close delimiter seen; epilogue may follow */
	MULTIPART_BAD,		/* err: malformed or over a limit */
};

struct multipart {
	/* the current part; from MULTIPART_PART to MULTIPART_PART_END */
	char part_name[MULTIPART_MAX_NAME + 1];	/* form field, UTF-8 */
	char part_filename[MULTIPART_MAX_NAME + 1];	/* "" when it has none */
	char part_content_type[256];	/* "" when not given or longer */
	bool part_is_file;	/* a filename parameter stood there */
	/* the parser's own */
	int state;
	char delimiter[MULTIPART_MAX_BOUNDARY + 5];	/* CRLF--boundary */
	size_t delimiter_len;
	size_t matched;			/* bytes of the delimiter seen so far */
	size_t borrowed;		/* of them, a CRLF that is no data */
	unsigned int n_parts;
	uint64_t field_bytes;
	uint64_t outside_bytes;		/* preamble, padding and epilogue */
	size_t head_len;
	char head[MULTIPART_MAX_PART_HEAD + 2];	/* after a delimiter's CRLF */
};

/*
 * Begin, with the request's Content-Type: multipart/form-data and a boundary of
 * 1 … 70 bchars, quoted or not. -1 with 400 (boundary missing or malformed).
 */
int multipart_init(struct multipart *m, struct span content_type,
		   struct err *err) MUST_CHECK;

/* Is this Content-Type multipart/form-data (any case, any parameters)? */
bool multipart_is_form(struct span content_type);

/*
 * The next event from *in, advancing *in past what it used. A MULTIPART_DATA
 * span lies in *in's bytes or in `m` (withheld bytes), is never empty, and is
 * valid until the next call. Never reads more of *in than the event needed.
 * A nested multipart/mixed part is an ordinary part. Content-Transfer-Encoding
 * other than binary, 8bit, 7bit: 415. A line that begins with the boundary and
 * goes on with anything but padding or "--" is refused, for nobody can say
 * whether it is data. After MULTIPART_BAD every further call says the same.
 */
enum multipart_event multipart_next(struct multipart *m, struct span *in,
				    struct span *data, struct err *err);

/*
 * How many bytes before *in are withheld as a possible delimiter. A caller that
 * reads the input into the place where the data shall end up leaves this much
 * room in front, so that nothing has to be moved in the common case.
 */
size_t multipart_withheld(const struct multipart *m);

/*
 * The request's last byte has been fed: 0 when the close delimiter was seen,
 * else -1 with 400: the form is incomplete and must fail.
 */
int multipart_finish(const struct multipart *m, struct err *err) MUST_CHECK;

#endif
