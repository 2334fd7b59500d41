/*
 * s3_signer.h - AWS Signature Version 4, in header fields
 *
 * A request is signed over its method, path, query, some of its fields and the
 * SHA-256 of its body (AWS: "Signature Version 4", "Authenticating Requests:
 * Using the Authorization Header"). What is signed has to be sent byte for byte:
 * so paths and queries are encoded here, and handed on as they are.
 *
 * libcurl 7.88 has a signer of its own that S3 does not accept: it leaves the
 * "=" out of "?uploads=", sorts nothing, and signs fields it does not send.
 *
 * Pure but for OpenSSL's SHA-256; no clock, no allocation.
 */
#ifndef READER_S3_SIGNER_H
#define READER_S3_SIGNER_H

#include "common/digest.h"
#include "common/span.h"

#include <stdint.h>

#define S3_DATE_SIZE 17			/* "20130524T000000Z" and a NUL */
#define S3_AUTHORIZATION_SIZE 1024
#define S3_MAX_SIGNED 24		/* fields of one request */

/* The SHA-256 of no bytes. */
#define S3_EMPTY_SHA256 \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* Who signs; the strings are borrowed. */
struct s3_keys {
	const char *access_key;
	const char *secret_key;
	const char *region;
	const char *service;	/* "s3" */
};

struct s3_field {
	const char *name;	/* lower case */
	const char *value;	/* no two blanks in a row */
};

/* What is signed; all of it is borrowed during the call. */
struct s3_to_sign {
	const char *method;
	const char *path;	/* encoded, begins with "/" */
	const char *query;	/* encoded and sorted: "a=1&b="; "" for none */
	const struct s3_field *fields;	/* Host and X-Amz-Date among them */
	size_t n_fields;	/* at most S3_MAX_SIGNED */
	const char *sha256;	/* of the body, hexadecimal */
	const char *date;	/* the value of X-Amz-Date */
};

/* "20130524T000000Z" of a wall clock in milliseconds. */
void s3_format_date(uint64_t wall_ms, char date[S3_DATE_SIZE]);

/* The value of the Authorization field, into `out`. */
void s3_sign(const struct s3_keys *keys, const struct s3_to_sign *request,
	     char out[S3_AUTHORIZATION_SIZE]);

/*
 * Percent-encode as S3 wants it: all but letters, digits, "-", ".", "_", "~"
 * and, with `keep_slash`, "/"; upper-case digits. Returns the length that `out`
 * would have to hold without its NUL; when that is not less than `size`, what is
 * in `out` is cut.
 */
size_t s3_encode(struct span text, bool keep_slash, char *out, size_t size);

#endif
