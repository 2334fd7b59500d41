/*
 * file_meta.h - meta.json: what the file store knows of an object
 *
 * One line of JSON with the members id, name, content_type, size, sha256 and
 * created_at (RFC 3339), and if there are such: title, creator and metadata (an
 * object of strings). Written while the object is staged, and once more before
 * it is published when details came with the commit; never changed after. Blocks.
 */
#ifndef READER_FILE_META_H
#define READER_FILE_META_H

#include "reader/sink.h"

/* Write it, durably, to `path` beneath `dir_fd`. -1 with ERR_STORE. */
int file_meta_write(int dir_fd, const char *path, const struct object *object,
		    struct err *err) MUST_CHECK;

/*
 * Read it. -1 with ERR_NOT_FOUND when there is none, or ERR_STORE when it is
 * unreadable, incomplete or of another object than `id`.
 */
int file_meta_read(int dir_fd, const char *path, const char *id,
		   struct object *object, struct err *err) MUST_CHECK;

#endif
