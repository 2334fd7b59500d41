/*
 * file_layout.h - the file store's directory: places, opening, cleaning
 *
 *   READER_FILE_DIR/
 *     lock                        held by the one process that uses it
 *     staging/{id}/data           on its way: invisible
 *                  meta.json      once staged
 *     objects/{shard}/{id}/data   committed
 *                          meta.json
 *
 * One rename of a directory publishes content and description together, and
 * one rename back takes them away; so objects/ never holds half an object, and
 * what is in staging/ at start is rubbish. The shard is the first five digits
 * of the id: about three days of identifiers of version 7, so that sorted
 * shards of sorted ids are sorted ids. Names come from ids only, and every path
 * is opened beneath a directory descriptor without following symbolic links.
 *
 * Everything here blocks: for worker threads and the start.
 */
#ifndef READER_FILE_LAYOUT_H
#define READER_FILE_LAYOUT_H

#include "common/err.h"
#include "common/span.h"
#include "common/uuid.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#define FILE_SHARD_SIZE 6	/* five digits and a NUL */
#define FILE_PATH_SIZE 128	/* any path below the root */
#define FILE_DATA "data"
#define FILE_META "meta.json"

struct file_layout {
	int root_fd, lock_fd, staging_fd, objects_fd;
	atomic_uint n_removed;	/* makes names in staging/ unique */
	pthread_mutex_t lock;
	char durable_shard[FILE_SHARD_SIZE];	/* is in objects/ on disk */
};

/*
 * Open the directory `dir`, made when missing (mode 0750, its parent must
 * exist), lock it against other processes and empty staging/. -1 with
 * ERR_CONFIG (no directory, not ours, locked) or ERR_STORE; then nothing is
 * open.
 */
int file_layout_open(struct file_layout *layout, const char *dir,
		     struct err *err) MUST_CHECK;

/* Close all descriptors; the lock goes with them. */
void file_layout_close(struct file_layout *layout);

/*
 * open(2) of `path` beneath `dir_fd`, through no symbolic link and never
 * leaving it (openat2(2)); O_CLOEXEC is added. -1 with errno.
 */
int file_open(int dir_fd, const char *path, int flags, mode_t mode);

/* "{id}/{name}", the path in staging/; `buf` holds FILE_PATH_SIZE bytes. */
void file_staging_path(const char *id, const char *name, char *buf);

/* "{shard}/{id}", the path in objects/; `buf` holds FILE_PATH_SIZE bytes. */
void file_object_path(const char *id, char *buf);

/*
 * Write all of `bytes` at `offset`, through short writes and interruptions. -1
 * with errno.
 */
int file_write(int fd, struct span bytes, uint64_t offset);

/* fsync(2), through interruptions. -1 with errno: what was written is lost. */
int file_sync(int fd);

/*
 * The shard of `id`, made when missing and durable in objects/, opened for
 * renames into it and fsync. -1 with `err`.
 */
int file_open_shard(struct file_layout *layout, const char *id,
		    struct err *err) MUST_CHECK;

/*
 * Rename staging/{id} to {id} in `shard_fd`. 0, 1 when there is an object
 * of this id (nothing changed), or -1 with `err`.
 */
int file_publish(struct file_layout *layout, int shard_fd, const char *id,
		 struct err *err) MUST_CHECK;

/*
 * Take objects/{shard}/{id} away durably by a rename into staging/, then free
 * its space. Success when there is none. -1 with `err`: may still be there.
 */
int file_unpublish(struct file_layout *layout, const char *id,
		   struct err *err) MUST_CHECK;

/* Remove the directory staging/{name} with the files in it; none is fine. */
int file_remove_staged(struct file_layout *layout, const char *name,
		       struct err *err) MUST_CHECK;

/* Can a file be made, and is there space? -1 with ERR_STORE. */
int file_layout_check(struct file_layout *layout, struct err *err) MUST_CHECK;

/*
 * err_set_errno() that knows what the number means for an object: ERR_MEMORY,
 * ERR_LIMIT when out of descriptors, ERR_STORE with 507 (RFC 4918, 11.5) when out of
 * space, else ERR_STORE.
 */
int file_err(struct err *err, int errnum, const char *what);

#endif
