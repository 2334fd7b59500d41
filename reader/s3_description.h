/*
 * s3_description.h - what is known of an object, as it lies in the bucket
 *
 * One line of JSON: id, name, content_type, size, sha256, created_at (RFC 3339),
 * title, creator, metadata, the key of the content, and a UUID of the commit. It
 * is an object of its own because S3 fixes the metadata of an upload at its
 * beginning, when the digest and the size are not known yet; see docs/design/0009.
 */
#ifndef READER_S3_DESCRIPTION_H
#define READER_S3_DESCRIPTION_H

#include "reader/s3_names.h"
#include "reader/sink.h"

/* No description is longer: every byte of its texts escaped, and the rest. */
#define S3_DESCRIPTION_MAX 32768u

/* Its text, malloc'ed; NULL when out of memory. `commit`: of no other commit. */
char *s3_description_print(const struct object *object, const char *key,
			   const char *commit, size_t *len);

/* Was this one put by that commit? Another's may say the same of the object. */
bool s3_description_is_of(struct span text, const char *commit);

/*
 * Read it; its key is for people, and s3_key_of_content() says the same. -1 with
 * ERR_STORE when it is damaged or of another object than `id`.
 */
int s3_description_read(struct span text, const char *id, struct object *object,
			struct err *err) MUST_CHECK;

#endif
