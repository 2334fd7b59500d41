/*
 * upload_head.h - what the head of a PUT or PATCH says about its object
 */
#ifndef READER_UPLOAD_HEAD_H
#define READER_UPLOAD_HEAD_H

#include "common/http_server.h"

#include "reader/sink.h"

struct upload_head {
	struct object object;		/* size maybe OBJECT_SIZE_UNKNOWN */
	char sha256[DIGEST_HEX_SIZE];	/* promised by the client, or "" */
	uint64_t offset;		/* Upload-Offset; 0 for PUT */
};

/*
 * Read a PUT's head: name from Content-Disposition, type from Content-Type
 * (see object_set_type()), the digest of Repr-Digest or
 * Content-Digest (RFC 9530). -1: 400, 411 without a framing, 413 over
 * `max_bytes`.
 */
int upload_head_of_put(struct upload_head *head, struct http_exchange *x,
		       const char *id, uint64_t max_bytes,
		       struct err *err) MUST_CHECK;

/*
 * Read a PATCH's head: Content-Type has to be application/offset+octet-stream
 * (415), Upload-Offset a number (400); the object's own type is
 * Upload-Content-Type. Digests are not read: the commit proves the whole.
 */
int upload_head_of_patch(struct upload_head *head, struct http_exchange *x,
			 const char *id, uint64_t max_bytes,
			 struct err *err) MUST_CHECK;

/*
 * The digest after the body: adds what a trailer promises to head->sha256. -1
 * with 400 when malformed, or when head and trailer differ.
 */
int upload_head_add_trailers(struct upload_head *head,
			     const struct http1_trailers *trailers,
			     struct err *err) MUST_CHECK;

/*
 * Copy a content type. What is not a media type (http1_is_media_type()) of less
 * than OBJECT_TYPE_SIZE bytes counts as none: application/octet-stream.
 */
void object_set_type(struct object *object, struct span type);

#endif
