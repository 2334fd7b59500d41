#include "reader/list_order.h"

#include "common/http1.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The key of every match by relevance: it grows as the score falls. */
#define MATCH_KEY "-1"

/* In the "C" locale, which we never leave, strcasestr(3) folds ASCII only. */
static bool has_query(const struct object *object, const char *query)
{
	return strcasestr(object->name, query) ||
	       strcasestr(object->details.title, query) ||
	       strcasestr(object->details.creator, query);
}

/* "audio/" stands for all that begins with it; parameters do not count. */
static bool has_type(const struct object *object, const char *wanted)
{
	struct span rest = span_of(object->content_type);
	struct span type = span_trim(span_cut(&rest, ';'));
	struct span want = span_of(wanted);

	if (want.len == 0)
		return true;
	if (want.ptr[want.len - 1] == '/' && type.len > want.len)
		type.len = want.len;
	return span_eq_nocase(type, want);
}

bool list_wants(const struct store_list *list, const struct object *object)
{
	return object->created_ms >= list->from_ms &&
	       (!list->until_ms || object->created_ms < list->until_ms) &&
	       object->size >= list->min_size &&
	       (!list->max_size || object->size <= list->max_size) &&
	       has_type(object, list->content_type) &&
	       has_query(object, list->query);
}

bool list_is_by_id(const struct store_list *list)
{
	return list->sort == STORE_BY_ID || list->sort == STORE_BY_RELEVANCE;
}

static int compare_sizes(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* Of two rows that may be given by their keys only. */
struct row_key {
	const char *name;
	uint64_t size;
	const char *id;
};

static int compare_keys(const struct store_list *list, const struct row_key *a,
			const struct row_key *b)
{
	int order = 0;

	if (list->sort == STORE_BY_NAME)
		order = strcmp(a->name, b->name);
	else if (list->sort == STORE_BY_SIZE)
		order = compare_sizes(a->size, b->size);
	if (order == 0)
		order = strcmp(a->id, b->id);
	return list->descending ? -order : order;
}

static struct row_key key_of(const struct object *object)
{
	return (struct row_key){ object->name, object->size, object->id };
}

int list_compare(const struct store_list *list, const struct object *a,
		 const struct object *b)
{
	struct row_key left = key_of(a), right = key_of(b);

	return compare_keys(list, &left, &right);
}

bool list_is_over(const struct store_list *list)
{
	return list->sort == STORE_BY_RELEVANCE && list->after[0] &&
	       strtod(list->after_key, NULL) > strtod(MATCH_KEY, NULL);
}

bool list_is_behind(const struct store_list *list, const struct object *object)
{
	struct row_key cursor = { list->after_key, 0, list->after };
	struct row_key row = key_of(object);

	if (!list->after[0])
		return true;
	if (list_is_over(list))
		return false;
	if (list->sort == STORE_BY_SIZE &&
	    !http1_parse_u64(span_of(list->after_key), &cursor.size))
		return false;
	return compare_keys(list, &row, &cursor) > 0;
}

void list_finish(struct store_list *list)
{
	const struct object *last;

	if (list->n_rows == 0)
		return;
	last = &list->rows[list->n_rows - 1];
	if (list->sort == STORE_BY_NAME)
		snprintf(list->last_key, sizeof(list->last_key), "%s",
			 last->name);
	else if (list->sort == STORE_BY_SIZE)
		snprintf(list->last_key, sizeof(list->last_key), "%" PRIu64,
			 last->size);
	else if (list->sort == STORE_BY_RELEVANCE)
		snprintf(list->last_key, sizeof(list->last_key), MATCH_KEY);
}
