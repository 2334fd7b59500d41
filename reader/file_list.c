#include "reader/file_list.h"

#include "common/log.h"

#include "reader/file_meta.h"
#include "reader/sink_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The smallest names of a directory that are >= `from`, sorted. */
struct batch {
	size_t n;
	bool more;	/* the directory has further ones */
	char names[FILE_BATCH][UUID_TEXT_SIZE];
};

struct scan {
	struct file_layout *layout;
	struct store_list *list;
	struct batch shards;
	struct batch ids;	/* of one shard */
};

static bool is_shard(const char *name)
{
	size_t len = strspn(name, "0123456789abcdef");

	return len == FILE_SHARD_SIZE - 1 && name[len] == '\0';
}

static bool is_id(const char *name)
{
	return uuid_is_valid(span_of(name));
}

/* Where `name` belongs among the names. */
static size_t place_of(const struct batch *batch, const char *name)
{
	size_t low = 0, high = batch->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(batch->names[mid], name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void insert(struct batch *batch, const char *name)
{
	size_t at = place_of(batch, name), after;

	if (batch->n == FILE_BATCH) {
		batch->more = true;
		if (at == FILE_BATCH)
			return;
		batch->n--;
	}
	after = batch->n - at;
	memmove(batch->names[at + 1], batch->names[at],
		after * sizeof(batch->names[0]));
	CHECK(span_to_string(span_of(name), batch->names[at],
			     sizeof(batch->names[at])));
	batch->n++;
}

/* Fill the batch with names >= `from`, not counting `from` if `beyond`. */
static int read_batch(struct batch *batch, int dir_fd, const char *path,
		      bool (*is_name)(const char *), const char *from,
		      bool beyond)
{
	int fd = file_open(dir_fd, path, O_RDONLY | O_DIRECTORY, 0);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	batch->n = 0;
	batch->more = false;
	if (fd >= 0 && !dir)
		close(fd);
	if (!dir)
		return errno;
	while ((errno = 0, entry = readdir(dir)))
		if (is_name(entry->d_name) &&
		    strcmp(entry->d_name, from) >= (beyond ? 1 : 0))
			insert(batch, entry->d_name);
	fd = errno;
	closedir(dir);
	return fd;
}

/* ---- one object ---------------------------------------------------------- */

/* Ours, and over in a moment: no reason to leave an object out. */
static bool is_shortage(const struct err *err)
{
	return err->code == ERR_MEMORY || err->code == ERR_LIMIT;
}

/*
 * An object that cannot be read must not hide all the others: it is left out,
 * and the log says so. One that was deleted meanwhile is no news. A shortage
 * fails the list.
 */
static bool read_row(struct scan *scan, const char *id, struct object *row)
{
	char path[FILE_PATH_SIZE], meta[FILE_PATH_SIZE + sizeof(FILE_META)];
	struct err err = ERR_INIT;

	file_object_path(id, path);
	snprintf(meta, sizeof(meta), "%s/" FILE_META, path);
	if (file_meta_read(scan->layout->objects_fd, meta, id, row, &err) == 0)
		return true;
	if (is_shortage(&err))
		scan->list->err = err;
	else if (err.code != ERR_NOT_FOUND)
		log_line(LOG_WARN, "object_unreadable", LOG_STR("id", id),
			 LOG_STR("reason", err.text));
	return false;
}

static void take_ids(struct scan *scan)
{
	struct store_list *list = scan->list;

	for (size_t i = 0; i < scan->ids.n; i++) {
		struct object *row = &list->rows[list->n_rows];

		if (list->n_rows == list->limit || err_is_set(&list->err)) {
			list->more = true;
			return;
		}
		if (read_row(scan, scan->ids.names[i], row) &&
		    object_matches(row, list->query))
			list->n_rows++;
	}
}

/* ---- shards -------------------------------------------------------------- */

/* 0 or errno. A shard that has gone is an empty one. */
static int scan_shard(struct scan *scan, const char *shard)
{
	char after[UUID_TEXT_SIZE];
	int errnum;

	snprintf(after, sizeof(after), "%s", scan->list->after);
	do {
		errnum = read_batch(&scan->ids, scan->layout->objects_fd, shard,
				    is_id, after, true);
		if (errnum)
			return errnum == ENOENT ? 0 : errnum;
		take_ids(scan);
		if (scan->ids.n > 0)
			memcpy(after, scan->ids.names[scan->ids.n - 1],
			       sizeof(after));
	} while (scan->ids.more && !scan->list->more);
	return 0;
}

static int scan_shards(struct scan *scan)
{
	char from[UUID_TEXT_SIZE];
	bool beyond = false;
	int errnum;

	/* The shard that `after` lies in, if it is an id. */
	snprintf(from, sizeof(from), "%.5s", scan->list->after);
	do {
		errnum = read_batch(&scan->shards, scan->layout->objects_fd,
				    ".", is_shard, from, beyond);
		for (size_t i = 0; errnum == 0 && i < scan->shards.n; i++) {
			errnum = scan_shard(scan, scan->shards.names[i]);
			if (scan->list->more)
				return errnum;
		}
		if (scan->shards.n > 0)
			memcpy(from, scan->shards.names[scan->shards.n - 1],
			       sizeof(from));
		beyond = true;
	} while (errnum == 0 && scan->shards.more);
	return errnum;
}

void file_list(struct file_layout *layout, struct store_list *list)
{
	struct scan *scan = malloc(sizeof(*scan));
	int errnum;

	list->rows = calloc(list->limit, sizeof(*list->rows));
	if (!scan || !list->rows) {
		err_set(&list->err, ERR_MEMORY, "out of memory for a list");
		free(scan);
		return;
	}
	scan->layout = layout;
	scan->list = list;
	errnum = scan_shards(scan);
	if (errnum)
		file_err(&list->err, errnum, "cannot read the objects");
	free(scan);
}
