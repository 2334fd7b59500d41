/*
 * answers.h - the reader's answers: objects as JSON, problems with their fields
 *
 * Everything here ends the exchange with exactly one http_reply(). Problems are
 * application/problem+json (RFC 9457) with the fields a client can act on.
 */
#ifndef READER_ANSWERS_H
#define READER_ANSWERS_H

#include "common/http_server.h"

#include "reader/sink.h"

/*
 * A 200 or 201 that describes the object, with Repr-Digest (RFC 9530):
 * {"id","size","sha256","state":"staged"}, and created_at if committed.
 */
void answer_staged(struct http_exchange *x, const struct object *object);
void answer_committed(struct http_exchange *x, int status,
		      const struct object *object);

/* A problem with one more field, such as Allow; with its name NULL: none. */
void answer_problem(struct http_exchange *x, const struct err *err,
		    struct http_header field);

/* 409: the object is held by another request; `seconds` for Retry-After. */
void answer_held(struct http_exchange *x, const char *id, uint64_t seconds);

/* 409: it is committed already, with its digest. */
void answer_exists(struct http_exchange *x, const struct object *object);

/* 409: this is the offset to go on from (Upload-Offset). */
void answer_wrong_offset(struct http_exchange *x, uint64_t offset);

/* 204, with Upload-Offset. */
void answer_appended(struct http_exchange *x, uint64_t offset);

/* 204. */
void answer_gone(struct http_exchange *x);

/*
 * {"id","name","title","creator","content_type","size","sha256","created_at",
 * "metadata"}, all always there; NULL when out of memory.
 */
json_t *object_to_json(const struct object *object);

/*
 * `value` printed, with `status`; steals the reference; 503 when NULL. A 503
 * has Retry-After.
 */
void answer_json(struct http_exchange *x, int status, json_t *value);

#endif
