#include "reader/list_query.h"

#include "common/clock.h"
#include "common/http1.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Every store can count so far. */
#define MAX_NUMBER ((uint64_t)INT64_MAX)

/* In the order in which they are read: `after` is of a sort and an order. */
#define PARAMETERS(X) \
	X(q) X(type) X(from) X(until) X(min_size) X(max_size) X(sort) \
	X(order) X(limit) X(after)

#define PARAMETER_NAME(name) PARAMETER_##name,
enum parameter { PARAMETERS(PARAMETER_NAME) N_PARAMETERS };
#undef PARAMETER_NAME

static const char *const names[] = {
#define PARAMETER_TEXT(name) #name,
	PARAMETERS(PARAMETER_TEXT)
#undef PARAMETER_TEXT
};

/* Values as they stand in the query; ptr NULL: not given. */
struct values {
	struct span of[N_PARAMETERS];
};

/* ---- the query string ---------------------------------------------------- */

static int refuse_name(struct span name, struct err *err)
{
	return err_set(err, ERR_CLIENT,
		       "%.*s is no parameter; allowed are q, type, from, until, "
		       "min_size, max_size, sort, order, limit and after",
		       name.len < 40 ? (int)name.len : 40,
		       name.len ? name.ptr : "");
}

static int take_pair(struct values *values, struct span pair, struct err *err)
{
	struct span value = pair;
	struct span name = span_cut(&value, '=');

	for (size_t i = 0; i < N_PARAMETERS; i++) {
		if (!span_eq(name, span_of(names[i])))
			continue;
		if (values->of[i].ptr)
			return err_set(err, ERR_CLIENT, "%s stands twice",
				       names[i]);
		values->of[i] = value.ptr ? value : SPAN_LIT("");
		return 0;
	}
	return refuse_name(name, err);
}

static int split(struct values *values, struct span query, struct err *err)
{
	while (query.ptr) {
		struct span pair = span_cut(&query, '&');

		if (pair.len > 0 && take_pair(values, pair, err) < 0)
			return -1;
	}
	return 0;
}

/* Decode to `buf`: 1, or 0 when it is not given or empty, or -1. */
static int decode(const struct values *values, enum parameter which,
		  bool plus_is_space, char *buf, size_t size, struct err *err)
{
	struct err why = ERR_INIT;

	buf[0] = '\0';
	if (values->of[which].len == 0)
		return 0;
	if (http1_decode(values->of[which], plus_is_space, buf, size, &why) < 0)
		return err_set(err, ERR_CLIENT, "%s: %s", names[which],
			       why.text);
	return 1;
}

/* ---- filters ------------------------------------------------------------- */

static bool is_type(struct span type)
{
	struct span rest = type;
	struct span main_type = span_cut(&rest, '/');

	return http1_is_token(main_type) && http1_is_token(rest) &&
	       !span_eq(main_type, SPAN_LIT("*"));
}

static int read_type(struct store_list *list, const struct values *values,
		     struct err *err)
{
	char *type = list->content_type;
	int given = decode(values, PARAMETER_type, false, type,
			   sizeof(list->content_type), err);

	if (given <= 0)
		return given;
	if (!is_type(span_of(type)))
		return err_set(err, ERR_CLIENT,
			       "type has to be a media type without parameters, "
			       "such as audio/mpeg or audio/*");
	if (strcmp(strchr(type, '/'), "/*") == 0)
		type[strlen(type) - 1] = '\0';
	return 0;
}

static int read_time(const struct values *values, enum parameter which,
		     uint64_t *wall_ms, struct err *err)
{
	char text[64];
	/* A plus is the sign of an offset here. */
	int given = decode(values, which, false, text, sizeof(text), err);

	if (given <= 0)
		return given;
	if (clock_parse_rfc3339(span_of(text), wall_ms))
		return 0;
	return err_set(err, ERR_CLIENT,
		       "%s has to be a date, 2026-01-31, or a time of RFC 3339, "
		       "2026-01-31T23:59:59Z, from 1970 on", names[which]);
}

static int read_times(struct store_list *list, const struct values *values,
		      struct err *err)
{
	if (read_time(values, PARAMETER_from, &list->from_ms, err) < 0 ||
	    read_time(values, PARAMETER_until, &list->until_ms, err) < 0)
		return -1;
	/* 0 would be no bound at all; there is nothing before either. */
	if (values->of[PARAMETER_until].len > 0 && list->until_ms == 0)
		list->until_ms = 1;
	return 0;
}

static int read_number(const struct values *values, enum parameter which,
		       uint64_t min, uint64_t max, uint64_t *number,
		       struct err *err)
{
	char text[32];
	int given = decode(values, which, false, text, sizeof(text), err);

	if (given <= 0)
		return given;
	if (http1_parse_u64(span_of(text), number) && *number >= min &&
	    *number <= max)
		return 0;
	return err_set(err, ERR_CLIENT,
		       "%s has to be a number from %llu to %llu", names[which],
		       (unsigned long long)min, (unsigned long long)max);
}

/* ---- order --------------------------------------------------------------- */

/* The index of the value among `words`, `fallback` when it is not given. */
static int read_word(const struct values *values, enum parameter which,
		     const char *const *words, int fallback, const char *allowed,
		     struct err *err)
{
	struct span value = values->of[which];

	if (value.len == 0)
		return fallback;
	for (int i = 0; words[i]; i++)
		if (span_eq(value, span_of(words[i])))
			return i;
	return err_set(err, ERR_CLIENT, "%s has to be %s", names[which],
		       allowed);
}

static int read_order(struct store_list *list, const struct values *values,
		      struct err *err)
{
	static const char *const sorts[] = {
		[STORE_BY_ID] = "id",
		[STORE_BY_NAME] = "name",
		[STORE_BY_SIZE] = "size",
		[STORE_BY_RELEVANCE] = "relevance",
		NULL,
	};
	static const char *const orders[] = { "asc", "desc", NULL };
	int fallback = list->query[0] ? STORE_BY_RELEVANCE : STORE_BY_ID;
	int sort = read_word(values, PARAMETER_sort, sorts, fallback,
			     "id, name, size or relevance", err);
	int order = read_word(values, PARAMETER_order, orders, 0, "asc or desc",
			      err);

	if (sort < 0 || order < 0)
		return -1;
	list->sort = (enum store_sort)sort;
	list->descending = order == 1;
	if (list->sort != STORE_BY_RELEVANCE)
		return 0;
	if (!list->query[0])
		return err_set(err, ERR_CLIENT, "sort=relevance needs a q");
	if (values->of[PARAMETER_order].len > 0)
		return err_set(err, ERR_CLIENT,
			       "order goes with sort=id, name or size: relevance "
			       "is best first");
	return 0;
}

/* ---- cursors ------------------------------------------------------------- */

static char sort_letter(const struct store_list *list)
{
	static const char letters[] = {
		[STORE_BY_ID] = 'i',
		[STORE_BY_NAME] = 'n',
		[STORE_BY_SIZE] = 's',
		[STORE_BY_RELEVANCE] = 'r',
	};

	return letters[list->sort];
}

static char order_letter(const struct store_list *list)
{
	return list->descending ? 'd' : 'a';
}

void list_cursor_write(const struct store_list *list,
		       char cursor[LIST_CURSOR_SIZE])
{
	char plain[2 + UUID_TEXT_SIZE + OBJECT_NAME_SIZE];
	const char *id = list->rows[list->n_rows - 1].id;
	int len;

	if (list->sort == STORE_BY_ID) {
		snprintf(cursor, LIST_CURSOR_SIZE, "%s", id);
		return;
	}
	len = snprintf(plain, sizeof(plain), "%c%c%s%s", sort_letter(list),
		       order_letter(list), id, list->last_key);
	CHECK(len > 0 && (size_t)len < sizeof(plain));
	base64_encode(BASE64_URL, span_make(plain, (size_t)len), cursor);
}

/* As SQL's real takes it, which refuses what becomes 0 or infinite. */
static bool is_score(const char *text)
{
	float score;
	char *end;

	if (strspn(text, "0123456789.e-") != strlen(text))
		return false;
	errno = 0;
	score = strtof(text, &end);
	return end > text && !*end && errno == 0 && isfinite(score);
}

/* Cursors come from outside: no store need expect anything else as a key. */
static bool is_key(const struct store_list *list)
{
	uint64_t size;

	switch (list->sort) {
	case STORE_BY_ID:
		return !list->after_key[0];
	case STORE_BY_NAME:
		return http1_is_utf8(span_of(list->after_key));
	case STORE_BY_SIZE:
		return http1_parse_u64(span_of(list->after_key), &size) &&
		       size <= MAX_NUMBER;
	case STORE_BY_RELEVANCE:
		return is_score(list->after_key);
	}
	return false;
}

static bool read_cursor(struct store_list *list, struct span cursor)
{
	char plain[BASE64_BYTES_SIZE(LIST_CURSOR_SIZE)];
	const size_t id_len = UUID_TEXT_SIZE - 1;
	struct span id, key;
	size_t len;

	if (list->sort == STORE_BY_ID)
		return uuid_is_valid(cursor) &&
		       span_to_string(cursor, list->after, sizeof(list->after));
	if (cursor.len >= LIST_CURSOR_SIZE ||
	    !base64_decode(BASE64_URL, cursor, plain, &len) ||
	    len < 2 + id_len || plain[0] != sort_letter(list) ||
	    plain[1] != order_letter(list))
		return false;
	id = span_make(plain + 2, id_len);
	key = span_make(plain + 2 + id_len, len - 2 - id_len);
	return uuid_is_valid(id) &&
	       span_to_string(id, list->after, sizeof(list->after)) &&
	       span_to_string(key, list->after_key, sizeof(list->after_key)) &&
	       is_key(list);
}

static int read_after(struct store_list *list, const struct values *values,
		      struct err *err)
{
	struct span after = values->of[PARAMETER_after];

	if (after.len == 0 || read_cursor(list, after))
		return 0;
	return err_set(err, ERR_CLIENT,
		       "after has to be the \"next\" of a page before, of the "
		       "same sort and order");
}

/* ---- all of it ----------------------------------------------------------- */

int list_query_read(struct store_list *list, struct span query, struct err *err)
{
	struct values values = { 0 };
	uint64_t limit = LIST_DEFAULT;

	if (split(&values, query, err) < 0 ||
	    decode(&values, PARAMETER_q, true, list->query,
		   sizeof(list->query), err) < 0 ||
	    read_type(list, &values, err) < 0 ||
	    read_times(list, &values, err) < 0 ||
	    read_number(&values, PARAMETER_min_size, 0, MAX_NUMBER,
			&list->min_size, err) < 0 ||
	    read_number(&values, PARAMETER_max_size, 1, MAX_NUMBER,
			&list->max_size, err) < 0 ||
	    read_number(&values, PARAMETER_limit, 1, STORE_LIST_MAX, &limit,
			err) < 0)
		return -1;
	list->limit = (size_t)limit;
	if (read_order(list, &values, err) < 0)
		return -1;
	return read_after(list, &values, err);
}
