/*
 * The store in a directory; file_layout.h draws it. All of it runs on worker
 * threads; the loop only submits and hears of the end.
 *
 *   open     staging/{id}/data is made
 *   write    pwrite, digest; write-back is begun every WRITE_BACK_BYTES
 *   stage    fdatasync data; meta.json written and fsynced; directory fsynced
 *   commit   meta.json written again if details came; renamed to
 *            objects/{shard}/{id}, shard fsynced
 *
 * A sync that fails says that pages may be gone for good, and asking again may
 * say success (fsync(2)): it fails the object, always.
 */
#include "reader/file_layout.h"
#include "reader/file_list.h"
#include "reader/file_meta.h"
#include "reader/settings.h"
#include "reader/sink_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITE_BACK_BYTES (UINT64_C(8) << 20)
#define DIR_MODE 0750
#define FILE_MODE 0640

struct file_store {
	struct store base;
	struct file_layout layout;
};

struct file_sink {
	struct sink base;
	struct job job;
	struct span bytes;	/* of the running write */
	int fd;			/* data, while bytes come in; else -1 */
	uint64_t written_back;	/* offset up to which write-back was begun */
	bool has_dir;		/* staging/{id} is ours */
};

static struct file_layout *layout_of(struct store *store)
{
	return &((struct file_store *)store)->layout;
}

/* ---- store --------------------------------------------------------------- */

static struct store *file_store_open(const struct reader_settings *settings,
				     struct workers *workers, struct err *err)
{
	struct file_store *store = calloc(1, sizeof(*store));

	(void)workers;
	if (!store) {
		err_set(err, ERR_MEMORY, "out of memory for the store");
		return NULL;
	}
	/* A file over the process's size limit is EFBIG, not our end. */
	signal(SIGXFSZ, SIG_IGN);
	if (file_layout_open(&store->layout, settings->file_dir, err) == 0)
		return &store->base;
	free(store);
	return NULL;
}

static void file_store_close(struct store *base)
{
	file_layout_close(layout_of(base));
	free((struct file_store *)base);
}

/* ---- sinks, on a worker thread ------------------------------------------- */

static struct file_layout *layout_of_sink(struct file_sink *sink)
{
	return layout_of(sink->base.store);
}

static void fail(struct file_sink *sink, const char *what)
{
	file_err(&sink->base.err, errno, what);
}

static int open_data(struct file_sink *sink, int flags)
{
	char path[FILE_PATH_SIZE];

	file_staging_path(sink->base.object.id, FILE_DATA, path);
	sink->fd = file_open(layout_of_sink(sink)->staging_fd, path,
			     O_WRONLY | flags, FILE_MODE);
	if (sink->fd < 0)
		fail(sink, "cannot open data");
	return sink->fd < 0 ? -1 : 0;
}

/*
 * The descriptor's errors are heard once more here (NFS, quotas). After EINTR
 * it is closed all the same (close(2)).
 */
static int close_data(struct file_sink *sink)
{
	int rc = sink->fd < 0 ? 0 : close(sink->fd);

	sink->fd = -1;
	if (rc < 0 && errno != EINTR) {
		fail(sink, "cannot close data");
		return -1;
	}
	return 0;
}

static void run_open(void *arg)
{
	struct file_sink *sink = arg;
	const char *id = sink->base.object.id;

	if (mkdirat(layout_of_sink(sink)->staging_fd, id, DIR_MODE) == 0) {
		sink->has_dir = true;
		open_data(sink, O_CREAT | O_EXCL);
	} else if (errno == EEXIST) {
		err_set(&sink->base.err, ERR_CONFLICT,
			"staging has an object of this identifier");
	} else {
		fail(sink, "cannot make a directory in staging");
	}
}

/*
 * Begin write-back of what has gathered, so that the sync at the end finds
 * little to do. With this flag alone nothing waits, and a later fdatasync still
 * reports every error (sync_file_range(2)); where the call is not supported
 * there is simply no head start.
 */
static void write_back(struct file_sink *sink, uint64_t end)
{
	uint64_t len = end - sink->written_back;
	int rc;

	if (len < WRITE_BACK_BYTES)
		return;
	rc = sync_file_range(sink->fd, (off_t)sink->written_back, (off_t)len,
			     SYNC_FILE_RANGE_WRITE);
	if (rc < 0 && (errno == EIO || errno == ENOSPC || errno == EDQUOT))
		fail(sink, "cannot write back data");
	sink->written_back = end;
}

static void run_write(void *arg)
{
	struct file_sink *sink = arg;
	struct span bytes = sink->bytes;
	uint64_t offset = sink->base.offset;

	if (sink->fd < 0 && open_data(sink, 0) < 0)
		return;
	if (file_write(sink->fd, bytes, offset) < 0) {
		fail(sink, "cannot write data");
		return;
	}
	digest_update(sink->base.digest, bytes.ptr, bytes.len);
	write_back(sink, offset + bytes.len);
}

/* Data is on disk and closed; closed already means synced already. */
static int settle_data(struct file_sink *sink)
{
	int rc;

	if (sink->fd < 0)
		return 0;
	do
		rc = fdatasync(sink->fd);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		fail(sink, "cannot sync data");
	return close_data(sink) < 0 || rc < 0 ? -1 : 0;
}

static void sync_dir(struct file_sink *sink)
{
	int fd = file_open(layout_of_sink(sink)->staging_fd,
			   sink->base.object.id, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0 || file_sync(fd) < 0)
		fail(sink, "cannot sync a directory in staging");
	if (fd >= 0)
		close(fd);
}

static void run_stage(void *arg)
{
	struct file_sink *sink = arg;
	char path[FILE_PATH_SIZE];

	if (settle_data(sink) < 0)
		return;
	file_staging_path(sink->base.object.id, FILE_META, path);
	if (file_meta_write(layout_of_sink(sink)->staging_fd, path,
			    &sink->base.object, &sink->base.err) == 0)
		sync_dir(sink);
}

static void run_suspend(void *arg)
{
	settle_data(arg);
}

/* An object of this id is there: the same, which is success, or another. */
static void settle_duplicate(struct file_sink *sink)
{
	struct file_layout *layout = layout_of_sink(sink);
	const struct object *object = &sink->base.object;
	struct err *err = &sink->base.err;
	char path[FILE_PATH_SIZE], meta[FILE_PATH_SIZE + sizeof(FILE_META)];
	struct object there;

	file_object_path(object->id, path);
	snprintf(meta, sizeof(meta), "%s/" FILE_META, path);
	if (file_meta_read(layout->objects_fd, meta, object->id, &there, err) <
	    0)
		return;
	if (!object_is_same(&there, object))
		err_set(err, ERR_CONFLICT,
			"another object has this identifier");
	else if (file_remove_staged(layout, object->id, err) == 0)
		sink->has_dir = false;
}

/* The rename must be on disk before anyone is told, or must be undone. */
static void publish(struct file_sink *sink, int shard_fd)
{
	struct file_layout *layout = layout_of_sink(sink);
	const char *id = sink->base.object.id;
	struct err ignored = ERR_INIT;
	int rc = file_publish(layout, shard_fd, id, &sink->base.err);

	if (rc < 0)
		return;
	if (rc == 0) {
		sink->has_dir = false;
		sink->base.published = true;
	}
	if (file_sync(shard_fd) < 0) {
		fail(sink, "cannot sync a shard");
		if (rc == 0 && file_unpublish(layout, id, &ignored) == 0)
			sink->base.published = false;
	} else if (rc == 1) {
		settle_duplicate(sink);
	}
}

/*
 * In place: until it is published nobody reads it, and a start removes it. Its
 * entry in the directory is durable already.
 */
static int store_details(struct file_sink *sink)
{
	char path[FILE_PATH_SIZE];

	if (!sink->base.described)
		return 0;
	file_staging_path(sink->base.object.id, FILE_META, path);
	return file_meta_write(layout_of_sink(sink)->staging_fd, path,
			       &sink->base.object, &sink->base.err);
}

static void run_commit(void *arg)
{
	struct file_sink *sink = arg;
	int shard_fd;

	if (store_details(sink) < 0)
		return;
	shard_fd = file_open_shard(layout_of_sink(sink), sink->base.object.id,
				   &sink->base.err);
	if (shard_fd < 0)
		return;
	publish(sink, shard_fd);
	close(shard_fd);
}

static void run_abort(void *arg)
{
	struct file_sink *sink = arg;
	struct file_layout *layout = layout_of_sink(sink);
	const char *id = sink->base.object.id;
	struct err *err = &sink->base.err;

	close_data(sink);
	if (sink->has_dir && file_remove_staged(layout, id, err) == 0)
		sink->has_dir = false;
	if (sink->base.published && file_unpublish(layout, id, err) == 0)
		sink->base.published = false;
}

/* ---- sinks, on the loop -------------------------------------------------- */

static struct sink *file_sink_new(struct store *store)
{
	struct file_sink *sink = calloc(1, sizeof(*sink));

	(void)store;
	if (!sink)
		return NULL;
	sink->fd = -1;
	return &sink->base;
}

static void file_sink_free(struct sink *base)
{
	struct file_sink *sink = (struct file_sink *)base;

	CHECK(sink->fd < 0);
	free(sink);
}

static void on_job_done(void *arg)
{
	sink_end(arg);
}

static void submit(struct sink *base, job_fn *run)
{
	struct file_sink *sink = (struct file_sink *)base;

	workers_submit(base->store->workers, &sink->job, base->loop, run,
		       on_job_done, sink);
}

static void file_open_sink(struct sink *sink)
{
	submit(sink, run_open);
}

static void file_write_sink(struct sink *sink, struct span bytes)
{
	((struct file_sink *)sink)->bytes = bytes;
	submit(sink, run_write);
}

static void file_stage(struct sink *sink)
{
	submit(sink, run_stage);
}

static void file_suspend(struct sink *sink)
{
	submit(sink, run_suspend);
}

static void file_commit(struct sink *sink)
{
	submit(sink, run_commit);
}

static void file_abort(struct sink *sink)
{
	submit(sink, run_abort);
}

/* ---- requests of the store ----------------------------------------------- */

static void run_check(void *arg)
{
	struct store_probe *probe = arg;

	if (file_layout_check(layout_of(probe->store), &probe->err) < 0)
		CHECK(err_is_set(&probe->err));
}

static void file_check(struct store_probe *probe, struct loop *loop)
{
	workers_submit(probe->store->workers, &probe->job, loop, run_check,
		       store_probe_end, probe);
}

/* Open the content, and see that it is all there. */
static void open_content(struct store_lookup *lookup, int dir_fd)
{
	struct stat st;

	lookup->fd = file_open(dir_fd, FILE_DATA, O_RDONLY, 0);
	if (lookup->fd < 0 || fstat(lookup->fd, &st) < 0)
		file_err(&lookup->err, errno, "cannot open data");
	else if ((uint64_t)st.st_size != lookup->object.size)
		err_set(&lookup->err, ERR_STORE, "data of %s is damaged",
			lookup->id);
	if (err_is_set(&lookup->err) && lookup->fd >= 0) {
		close(lookup->fd);
		lookup->fd = -1;
	}
}

/*
 * The directory is opened first and everything through it: a delete and a new
 * commit of the same id meanwhile cannot mix two objects.
 */
static void run_find(void *arg)
{
	struct store_lookup *lookup = arg;
	struct file_layout *layout = layout_of(lookup->store);
	char path[FILE_PATH_SIZE];
	int fd;

	file_object_path(lookup->id, path);
	fd = file_open(layout->objects_fd, path, O_PATH | O_DIRECTORY, 0);
	if (fd < 0 && errno == ENOENT)
		err_set(&lookup->err, ERR_NOT_FOUND, "there is no such object");
	else if (fd < 0)
		file_err(&lookup->err, errno, "cannot open the object");
	else if (file_meta_read(fd, FILE_META, lookup->id, &lookup->object,
				&lookup->err) == 0 &&
		 lookup->want_bytes)
		open_content(lookup, fd);
	if (fd >= 0)
		close(fd);
}

static void file_find(struct store_lookup *lookup, struct loop *loop)
{
	workers_submit(lookup->store->workers, &lookup->job, loop, run_find,
		       store_lookup_end, lookup);
}

static void run_remove(void *arg)
{
	struct store_lookup *lookup = arg;

	if (file_unpublish(layout_of(lookup->store), lookup->id, &lookup->err) <
	    0)
		CHECK(err_is_set(&lookup->err));
}

static void file_remove(struct store_lookup *lookup, struct loop *loop)
{
	workers_submit(lookup->store->workers, &lookup->job, loop, run_remove,
		       store_lookup_end, lookup);
}

static void run_list(void *arg)
{
	struct store_list *list = arg;

	file_list(layout_of(list->store), list);
}

static void file_list_objects(struct store_list *list, struct loop *loop)
{
	workers_submit(list->store->workers, &list->job, loop, run_list,
		       store_list_end, list);
}

const struct sink_type sink_type_file = {
	.kind = "file",
	.can_append = true,
	.store_open = file_store_open,
	.store_close = file_store_close,
	.check = file_check,
	.find = file_find,
	.remove = file_remove,
	.list = file_list_objects,
	.sink_new = file_sink_new,
	.sink_free = file_sink_free,
	.open = file_open_sink,
	.write = file_write_sink,
	.stage = file_stage,
	.suspend = file_suspend,
	.commit = file_commit,
	.abort = file_abort,
};
