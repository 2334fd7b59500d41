/*
 * media_facts.h - what a reader's answer says of an object, checked; and how
 * that is told to a client
 *
 * A reader is not believed: an answer that contradicts itself (a digest that is
 * not the ETag's, a range that is not as long as the content) or the request (an
 * other range, an object that has become another one) is refused, and the next
 * reader is asked.
 *
 * Pure but for the types of the HTTP server: no socket, no clock, no log.
 */
#ifndef BROADCASTER_MEDIA_FACTS_H
#define BROADCASTER_MEDIA_FACTS_H

#include "broadcaster/leg.h"
#include "broadcaster/reply.h"
#include "common/clock.h"
#include "common/http_server.h"

/* An answer with 200, 206, 304, 412 or 416. */
struct media_facts {
	int status;
	char sha256[DIGEST_HEX_SIZE];	/* "" only with 304, 412 and 416 */
	uint64_t size;			/* of the object; 0 with 304 and 412 */
	uint64_t first, length;		/* of the content that follows */
	char content_type[OBJECT_TYPE_SIZE];	/* always a media type */
	char modified[CLOCK_HTTP_DATE_SIZE];
	char name[OBJECT_NAME_SIZE];
};

/* What was asked for. */
struct media_wish {
	bool is_head;
	struct span range;		/* the client's Range; ptr NULL: none */
	struct http1_conditions conditions;
	/* Going on in the middle: exactly first … last of this very content. */
	bool is_resuming;
	const struct media_facts *known;
	uint64_t first, last;
};

enum media_verdict {
	MEDIA_GOOD,	/* the facts may be told and the content passed on */
	MEDIA_ABSENT,	/* the reader does not hold it, or not this content */
	MEDIA_BAD,	/* err: not an answer to this */
};

/*
 * Read the head that reply_read_head() found. With MEDIA_BAD for a status that
 * is an error of the reader's own, err only has the number: reply_reason() knows
 * more when the body was read.
 */
enum media_verdict media_facts_read(const struct reply *reply,
				    const struct media_wish *wish,
				    struct media_facts *facts, struct err *err);

/* ---- telling -------------------------------------------------------------- */

#define MEDIA_MAX_FIELDS 9u

/* Fields of an answer, and the text they point to. */
struct media_fields {
	struct http_header fields[MEDIA_MAX_FIELDS];
	size_t n;
	char etag[DIGEST_HEX_SIZE + 2];
	char digest[DIGEST_FIELD_SIZE];
	char disposition[4 * OBJECT_NAME_SIZE + 64];
	char range[80];
};

/*
 * What browsers may show on their own: audio, video, raster images, PDF. The
 * rest, and what is not clearly one media type, is to be saved, and put in a
 * sandbox as it could run scripts.
 */
bool media_is_inline(const char *content_type);

/*
 * Fields for these facts. `download`: always as an attachment. `is_private`: only
 * for the client that sent the token, no shared cache may keep it.
 */
void media_fields_init(struct media_fields *f, const struct media_facts *facts,
		       bool download, bool is_private);

#endif
