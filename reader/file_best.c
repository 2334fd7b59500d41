#include "reader/file_best.h"

#include "reader/file_list.h"
#include "reader/list_order.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct heap {
	struct file_layout *layout;
	struct store_list *list;
	size_t *slots;		/* indices of list->rows; the root stands last */
	struct object row;	/* the one in hand */
};

/* ---- the heap ------------------------------------------------------------ */

/* Does slot `i` stand behind slot `j` in the list? */
static bool is_behind(const struct heap *heap, size_t i, size_t j)
{
	const struct object *rows = heap->list->rows;

	return list_compare(heap->list, &rows[heap->slots[i]],
			    &rows[heap->slots[j]]) > 0;
}

static void swap(struct heap *heap, size_t i, size_t j)
{
	size_t slot = heap->slots[i];

	heap->slots[i] = heap->slots[j];
	heap->slots[j] = slot;
}

static void sift_up(struct heap *heap, size_t i)
{
	for (; i > 0 && is_behind(heap, i, (i - 1) / 2); i = (i - 1) / 2)
		swap(heap, i, (i - 1) / 2);
}

static void sift_down(struct heap *heap, size_t n)
{
	size_t i = 0, child;

	while ((child = 2 * i + 1) < n) {
		if (child + 1 < n && is_behind(heap, child + 1, child))
			child++;
		if (!is_behind(heap, child, i))
			return;
		swap(heap, i, child);
		i = child;
	}
}

/* Keep the row in hand, unless `limit` better ones are there. */
static void offer(struct heap *heap)
{
	struct store_list *list = heap->list;
	size_t n = list->n_rows;

	if (n < list->limit) {
		heap->slots[n] = n;
		list->rows[n] = heap->row;
		list->n_rows++;
		sift_up(heap, n);
		return;
	}
	list->more = true;
	if (list_compare(list, &heap->row, &list->rows[heap->slots[0]]) > 0)
		return;
	list->rows[heap->slots[0]] = heap->row;
	sift_down(heap, n);
}

/* Slots in the order of the list: the root goes behind the rest, n times. */
static void sort_slots(struct heap *heap)
{
	for (size_t n = heap->list->n_rows; n > 1; n--) {
		swap(heap, 0, n - 1);
		sift_down(heap, n - 1);
	}
}

/* Rows to where the slots say, around each cycle of them. */
static void move_rows(struct heap *heap)
{
	struct object *rows = heap->list->rows;

	for (size_t start = 0; start < heap->list->n_rows; start++) {
		size_t at = start, from;

		heap->row = rows[start];
		while ((from = heap->slots[at]) != start) {
			rows[at] = rows[from];
			heap->slots[at] = at;
			at = from;
		}
		rows[at] = heap->row;
		heap->slots[at] = at;
	}
}

/* ---- the directories ----------------------------------------------------- */

typedef int entry_fn(struct heap *heap, const char *name);

/* Call fn for every entry; 0 or errno. A directory that has gone is empty. */
static int each_entry(struct heap *heap, const char *path, entry_fn *fn)
{
	int fd = file_open(heap->layout->objects_fd, path,
			   O_RDONLY | O_DIRECTORY, 0);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int errnum = dir ? 0 : errno;
	struct dirent *entry;

	if (!dir && fd >= 0)
		close(fd);
	if (!dir)
		return errnum == ENOENT ? 0 : errnum;
	while (errnum == 0 && !err_is_set(&heap->list->err)) {
		errno = 0;
		entry = readdir(dir);
		errnum = entry ? fn(heap, entry->d_name) : errno;
		if (!entry)
			break;
	}
	closedir(dir);
	return errnum;
}

static int take_id(struct heap *heap, const char *name)
{
	if (file_is_id(name) &&
	    file_list_read(heap->layout, heap->list, name, &heap->row) &&
	    list_is_behind(heap->list, &heap->row))
		offer(heap);
	return 0;
}

static int take_shard(struct heap *heap, const char *name)
{
	return file_is_shard(name) ? each_entry(heap, name, take_id) : 0;
}

int file_best(struct file_layout *layout, struct store_list *list)
{
	struct heap *heap = malloc(sizeof(*heap));
	int errnum;

	if (!heap)
		return ENOMEM;
	heap->layout = layout;
	heap->list = list;
	heap->slots = calloc(list->limit, sizeof(*heap->slots));
	errnum = heap->slots ? each_entry(heap, ".", take_shard) : ENOMEM;
	if (errnum == 0) {
		sort_slots(heap);
		move_rows(heap);
	}
	free(heap->slots);
	free(heap);
	return errnum;
}
