/*
 * s3_names.h - which keys an object has in its bucket
 *
 *   {prefix}{id}.json      its description, one line of JSON
 *   {prefix}{id}.part      what a pause left (PATCH): bytes of no part yet
 *   {prefix}{id}/{name}    its content, byte for byte
 *
 * "." sorts before "/", so a listing gives a description right before its
 * content, and objects in the order of their ids, which begin with the time.
 *
 * A name is put into the key as it is, so that people find it there, but for
 * what gets lost on the way: control characters, the names "." and "..", empty
 * segments and bytes that are not UTF-8 are written as %XX, and what would make
 * the key longer than 960 bytes is cut off between two characters: S3 allows
 * 1,024, Swift needs some of them for the parts of an upload. No name is ever read
 * back from a key: the description has it whole. Pure.
 */
#ifndef READER_S3_NAMES_H
#define READER_S3_NAMES_H

#include "common/span.h"
#include "common/uuid.h"

#define S3_KEY_SIZE 1025	/* 1,024 bytes and a NUL */
#define S3_PREFIX_SIZE 983	/* leaves room for an id and a short name */

/* What a key is. */
enum s3_key_kind {
	S3_KEY_FOREIGN,		/* not ours */
	S3_KEY_DESCRIPTION,
	S3_KEY_TAIL,		/* .part */
	S3_KEY_CONTENT,
};

/* The keys of an object; `prefix` is shorter than S3_PREFIX_SIZE. */
void s3_key_of_content(const char *prefix, const char *id, const char *name,
		       char key[S3_KEY_SIZE]);
void s3_key_of_description(const char *prefix, const char *id,
			   char key[S3_KEY_SIZE]);
void s3_key_of_tail(const char *prefix, const char *id, char key[S3_KEY_SIZE]);

/* Of what a reader tries the server with; to s3_key_read() it is foreign. */
void s3_key_of_probe(const char *prefix, const char *id, char key[S3_KEY_SIZE]);

/* What `key` is, and of which object: "" for a foreign one. */
enum s3_key_kind s3_key_read(const char *prefix, struct span key,
			     char id[UUID_TEXT_SIZE]);

/*
 * A key of `encoding-type=url` as it was (S3 writes a blank as "+"), into `key`.
 * False when it is malformed or longer than a key may be.
 */
bool s3_key_decode(struct span text, char key[S3_KEY_SIZE]);

#endif
