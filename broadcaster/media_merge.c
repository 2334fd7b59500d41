#include "broadcaster/media_merge.h"

#include "common/digest.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- rows ----------------------------------------------------------------- */

static const char *text_of(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));

	return text ? text : "";
}

static bool is_row(const json_t *row)
{
	const json_t *size = json_object_get(row, "size");

	return json_is_object(row) && uuid_is_valid(span_of(text_of(row, "id"))) &&
	       digest_is_hex(span_of(text_of(row, "sha256"))) &&
	       strlen(text_of(row, "name")) < MEDIA_NAME_SIZE &&
	       json_is_integer(size) && json_integer_value(size) >= 0;
}

/* Stores that cannot tell how well a row matches find all the same. */
static double score_of(const json_t *row)
{
	const json_t *score = json_object_get(row, "score");

	return json_is_number(score) ? json_number_value(score) : 1.0;
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
		return compare_numbers(score_of(b), score_of(a));
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

static int take_rows(struct media_page *page, json_t *rows, struct err *err)
{
	page->n = json_array_size(rows);
	page->rows = calloc(page->n ? page->n : 1, sizeof(*page->rows));
	if (!page->rows)
		return err_set(err, ERR_MEMORY, "out of memory for a list");
	for (size_t i = 0; i < page->n; i++) {
		page->rows[i] = json_array_get(rows, i);
		if (!is_row(page->rows[i]))
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
	if (!json_is_array(rows))
		return err_set(err, ERR_TARGET,
			       "sent no list of objects: is it a reader?");
	if (take_rows(page, rows, err) < 0)
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

/* Take the row off all pages that begin with it: the row, and who holds it. */
static json_t *take(struct media_page *pages, size_t n, json_t *row)
{
	/* Shallow: from now on the members belong to both. */
	json_t *merged = json_object(), *copies = json_array();

	if (merged && json_object_update(merged, row) < 0) {
		json_decref(merged);
		merged = NULL;
	}
	for (size_t i = 0; i < n; i++) {
		json_t *head = head_of(&pages[i]);

		if (!head || !is_same(head, row))
			continue;
		json_add(&copies, json_text(span_of(pages[i].reader)));
		pages[i].at++;
	}
	json_put(&merged, "copies", copies);
	return merged;
}

/* A page that is used up although there are more: nobody may go past its end. */
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

static void write_cursor(const json_t *last, struct media_order_by by,
			 char cursor[MEDIA_CURSOR_SIZE])
{
	static const char letters[] = {
		[MEDIA_BY_ID] = 'i',
		[MEDIA_BY_NAME] = 'n',
		[MEDIA_BY_SIZE] = 's',
		[MEDIA_BY_SCORE] = 'r',
	};
	char plain[2 + UUID_TEXT_SIZE + MEDIA_NAME_SIZE];
	int len = snprintf(plain, sizeof(plain), "%c%c%s", letters[by.sort],
			   by.descending ? 'd' : 'a', text_of(last, "id"));
	char *key = plain + len;
	size_t room = sizeof(plain) - (size_t)len;

	switch (by.sort) {
	case MEDIA_BY_ID:
		snprintf(cursor, MEDIA_CURSOR_SIZE, "%s", text_of(last, "id"));
		return;
	case MEDIA_BY_NAME:
		len += snprintf(key, room, "%s", text_of(last, "name"));
		break;
	case MEDIA_BY_SIZE:
		len += snprintf(key, room, "%" JSON_INTEGER_FORMAT,
				json_integer_value(json_object_get(last, "size")));
		break;
	case MEDIA_BY_SCORE:
		/* a key that grows, as the others do, while the score falls */
		len += snprintf(key, room, "%.17g", -score_of(last));
		break;
	}
	base64_encode(BASE64_URL, span_make(plain, (size_t)len), cursor);
}

json_t *media_merge(struct media_page *pages, size_t n_pages,
		    struct media_order_by by, size_t limit,
		    struct media_end *end)
{
	json_t *merged = json_array(), *first, *last = NULL;
	const struct media_page *ended;

	while (merged && (first = first_of(pages, n_pages, by))) {
		/* What differs under one id stays together: a cursor is an id. */
		bool is_twin = last && !strcmp(text_of(first, "id"),
					       text_of(last, "id"));

		if (!is_twin && (json_array_size(merged) >= limit ||
				 ended_page(pages, n_pages)))
			break;
		json_add(&merged, take(pages, n_pages, first));
		last = first;
	}
	end->more = last && has_more(pages, n_pages);
	/* Merging stops with the last row of a page: its reader's own word. */
	ended = ended_page(pages, n_pages);
	if (end->more && (!ended || !span_to_string(span_of(ended->next),
						    end->cursor,
						    sizeof(end->cursor))))
		write_cursor(last, by, end->cursor);
	return merged;
}
