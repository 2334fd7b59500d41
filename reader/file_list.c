#include "reader/file_list.h"

#include "common/log.h"

#include "reader/file_best.h"
#include "reader/file_meta.h"
#include "reader/list_order.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The first names of a directory from a certain one on, in order. */
struct batch {
	size_t n;
	bool more;	/* the directory has further ones */
	bool descending;
	char names[FILE_BATCH][UUID_TEXT_SIZE];
};

struct scan {
	struct file_layout *layout;
	struct store_list *list;
	struct batch shards;
	struct batch ids;	/* of one shard */
};

bool file_is_shard(const char *name)
{
	size_t len = strspn(name, "0123456789abcdef");

	return len == FILE_SHARD_SIZE - 1 && name[len] == '\0';
}

bool file_is_id(const char *name)
{
	return uuid_is_valid(span_of(name));
}

/* Below 0: `a` comes before `b`. */
static int compare(const struct batch *batch, const char *a, const char *b)
{
	return batch->descending ? strcmp(b, a) : strcmp(a, b);
}

/* Where `name` belongs among the names. */
static size_t place_of(const struct batch *batch, const char *name)
{
	size_t low = 0, high = batch->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (compare(batch, batch->names[mid], name) < 0)
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

/*
 * Fill the batch with names from `from` on ("" = all), not counting `from` if
 * `beyond`.
 */
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
		    (!*from ||
		     compare(batch, entry->d_name, from) >= (beyond ? 1 : 0)))
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

bool file_list_read(struct file_layout *layout, struct store_list *list,
		    const char *id, struct object *row)
{
	char path[FILE_PATH_SIZE], meta[FILE_PATH_SIZE + sizeof(FILE_META)];
	struct err err = ERR_INIT;

	file_object_path(id, path);
	snprintf(meta, sizeof(meta), "%s/" FILE_META, path);
	if (file_meta_read(layout->objects_fd, meta, id, row, &err) == 0)
		return list_wants(list, row);
	if (is_shortage(&err))
		list->err = err;
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
		if (file_list_read(scan->layout, list, scan->ids.names[i],
				   row))
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
				    file_is_id, after, true);
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
				    ".", file_is_shard, from, beyond);
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

/* 0 or errno. */
static int list_by_id(struct file_layout *layout, struct store_list *list)
{
	struct scan *scan = malloc(sizeof(*scan));
	int errnum;

	if (!scan)
		return ENOMEM;
	scan->layout = layout;
	scan->list = list;
	scan->shards.descending = scan->ids.descending = list->descending;
	errnum = scan_shards(scan);
	free(scan);
	return errnum;
}

void file_list(struct file_layout *layout, struct store_list *list)
{
	int errnum = 0;

	list->rows = calloc(list->limit, sizeof(*list->rows));
	if (!list->rows)
		errnum = ENOMEM;
	else if (list_is_over(list))
		list->n_rows = 0;
	else if (list_is_by_id(list))
		errnum = list_by_id(layout, list);
	else
		errnum = file_best(layout, list);
	if (errnum)
		file_err(&list->err, errnum, "cannot read the objects");
	else
		list_finish(list);
}
