#include "broadcaster/media_merge.h"

#include "common/digest.h"

#include <stdlib.h>

/* ---- rows ----------------------------------------------------------------- */

static const char *text_of(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));

	return text ? text : "";
}

static bool is_row(const json_t *row, enum media_sort sort)
{
	const json_t *size = json_object_get(row, "size");

	return json_is_object(row) && uuid_is_valid(span_of(text_of(row, "id"))) &&
	       digest_is_hex(span_of(text_of(row, "sha256"))) &&
	       json_is_string(json_object_get(row, "name")) &&
	       json_is_integer(size) && json_integer_value(size) >= 0 &&
	       (sort != MEDIA_BY_SCORE ||
		json_is_number(json_object_get(row, "score")));
}

static int compare_numbers(double a, double b)
{
	return a < b ? -1 : a > b;
}

static int compare_sizes(const json_t *a, const json_t *b)
{
	json_int_t m = json_integer_value(json_object_get(a, "size"));
	json_int_t n = json_integer_value(json_object_get(b, "size"));

	return m < n ? -1 : m > n;
}

static int compare_keys(const json_t *a, const json_t *b, enum media_sort sort)
{
	switch (sort) {
	case MEDIA_BY_ID:
		break;
	case MEDIA_BY_NAME:
		return strcmp(text_of(a, "name"), text_of(b, "name"));
	case MEDIA_BY_SIZE:
		return compare_sizes(a, b);
	case MEDIA_BY_SCORE:
		return compare_numbers(
			json_number_value(json_object_get(b, "score")),
			json_number_value(json_object_get(a, "score")));
	}
	return 0;
}

/* The order of rows: by the key, then by the id; descending turns both. */
static int compare(const json_t *a, const json_t *b, struct media_order_by by)
{
	int order = compare_keys(a, b, by.sort);

	if (order == 0)
		order = strcmp(text_of(a, "id"), text_of(b, "id"));
	return by.descending ? -order : order;
}

/* ---- pages ---------------------------------------------------------------- */

static int compare_rows(const void *a, const void *b, void *arg)
{
	const struct media_order_by *by = arg;
	const json_t *const *row_a = a, *const *row_b = b;

	return compare(*row_a, *row_b, *by);
}

static bool is_in_order(const struct media_page *page, struct media_order_by by)
{
	for (size_t i = 1; i < page->n; i++)
		if (compare(page->rows[i - 1], page->rows[i], by) > 0)
			return false;
	return true;
}

static int take_rows(struct media_page *page, json_t *rows, enum media_sort sort,
		     struct err *err)
{
	page->n = json_array_size(rows);
	page->rows = calloc(page->n ? page->n : 1, sizeof(*page->rows));
	if (!page->rows)
		return err_set(err, ERR_MEMORY, "out of memory for a list");
	for (size_t i = 0; i < page->n; i++) {
		page->rows[i] = json_array_get(rows, i);
		if (!is_row(page->rows[i], sort))
			return err_set(err, ERR_TARGET,
				       "sent a list with a malformed entry");
	}
	return 0;
}

static int read_page(struct media_page *page, struct media_order_by by,
		     struct err *err)
{
	json_t *rows = json_object_get(page->root, "objects");

	page->next = json_string_value(json_object_get(page->root, "next"));
	page->ranked = json_is_true(json_object_get(page->root, "ranked"));
	if (by.sort == MEDIA_BY_SCORE && !page->ranked)
		by.sort = MEDIA_BY_ID;
	if (!json_is_array(rows))
		return err_set(err, ERR_TARGET,
			       "sent no list of objects: is it a reader?");
	if (take_rows(page, rows, by.sort, err) < 0)
		return -1;
	if (page->next && page->n == 0)
		return err_set(err, ERR_TARGET, "sent an empty page of a list");
	if (is_in_order(page, by))
		return 0;
	if (page->next)
		return err_set(err, ERR_TARGET,
			       "sent a list that is not in the order asked for");
	qsort_r(page->rows, page->n, sizeof(*page->rows), compare_rows, &by);
	return 0;
}

int media_page_read(struct media_page *page, struct span body,
		    struct media_order_by by, struct err *err)
{
	json_error_t error;

	page->root = json_loadb(body.len ? body.ptr : "", body.len,
				JSON_REJECT_DUPLICATES, &error);
	if (!page->root)
		return err_set(err, ERR_TARGET,
			       "sent malformed JSON at line %d, column %d",
			       error.line, error.column);
	if (read_page(page, by, err) == 0)
		return 0;
	media_page_release(page);
	return -1;
}

void media_page_release(struct media_page *page)
{
	json_decref(page->root);
	free(page->rows);
	page->root = NULL;
	page->rows = NULL;
	page->next = NULL;
	page->n = page->at = 0;
}

/* ---- merging ---------------------------------------------------------------- */

static json_t *head_of(const struct media_page *page)
{
	return page->at < page->n ? page->rows[page->at] : NULL;
}

static bool is_same(const json_t *a, const json_t *b)
{
	return !strcmp(text_of(a, "id"), text_of(b, "id")) &&
	       !strcmp(text_of(a, "sha256"), text_of(b, "sha256"));
}

/* The first row that is left on any page; NULL: none. */
static json_t *first_of(const struct media_page *pages, size_t n,
			struct media_order_by by)
{
	json_t *first = NULL;

	for (size_t i = 0; i < n; i++) {
		json_t *head = head_of(&pages[i]);

		if (head && (!first || compare(head, first, by) < 0))
			first = head;
	}
	return first;
}

/*
 * Take the row off all pages that begin with it, noting where it was last. A
 * shallow copy: the row's members belong to both from now on.
 */
static json_t *take(struct media_page *pages, size_t n, json_t *row,
		    struct media_end *end)
{
	json_t *merged = json_copy(row), *copies = json_array();

	(void)span_to_string(span_of(text_of(row, "id")), end->last_id,
			     sizeof(end->last_id));
	for (size_t i = 0; i < n; i++) {
		json_t *head = head_of(&pages[i]);

		if (!head || !is_same(head, row))
			continue;
		json_add(&copies, json_text(span_of(pages[i].reader)));
		end->page = i;
		end->taken = ++pages[i].at;
	}
	json_put(&merged, "copies", copies);
	return merged;
}

/* A page that is used up although there are more: nobody may go past it. */
static const struct media_page *ended_page(const struct media_page *pages,
					   size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (pages[i].next && !head_of(&pages[i]))
			return &pages[i];
	return NULL;
}

static bool has_more(const struct media_page *pages, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (head_of(&pages[i]) || pages[i].next)
			return true;
	return false;
}

/* Contents that differ under one id are told together: a cursor is an id. */
static bool is_full(const json_t *merged, const json_t *first, size_t limit,
		    const struct media_end *end)
{
	return json_array_size(merged) >= limit &&
	       strcmp(text_of(first, "id"), end->last_id) != 0;
}

json_t *media_merge(struct media_page *pages, size_t n_pages,
		    struct media_order_by by, size_t limit,
		    struct media_end *end)
{
	json_t *merged = json_array(), *first;
	const struct media_page *ended;

	*end = (struct media_end){ .more = false };
	while (merged && (first = first_of(pages, n_pages, by))) {
		ended = ended_page(pages, n_pages);
		if (is_full(merged, first, limit, end) ||
		    (ended && strcmp(text_of(first, "id"), end->last_id) != 0))
			break;
		json_add(&merged, take(pages, n_pages, first, end));
	}
	ended = ended_page(pages, n_pages);
	end->more = has_more(pages, n_pages);
	end->cursor = ended ? ended->next : NULL;
	if (end->more && !end->cursor && by.sort == MEDIA_BY_ID)
		end->cursor = end->last_id;
	return merged;
}
