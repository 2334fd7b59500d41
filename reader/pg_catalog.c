/*
 * Committed objects: looked up, listed, searched, removed.
 *
 * A list's SQL is put together from fragments that are written here; what was
 * asked for goes into parameters, always. Parameters are numbered in the order in
 * which the fragments are added.
 */
#include "reader/list_order.h"
#include "reader/pg_schema.h"
#include "reader/pg_store.h"

#include "common/utf8.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- rows ---------------------------------------------------------------- */

static void take_text(const PGresult *result, int row, int column, char *buf,
		      size_t size)
{
	snprintf(buf, size, "%s", PQgetvalue(result, row, column));
}

void pg_row_object(const PGresult *result, int row, struct object *object,
		   uint64_t *key)
{
	*object = (struct object){ .size = 0 };
	*key = (uint64_t)pg_number(result, row, 0);
	take_text(result, row, 1, object->id, sizeof(object->id));
	take_text(result, row, 2, object->name, sizeof(object->name));
	take_text(result, row, 3, object->content_type,
		  sizeof(object->content_type));
	object->size = (uint64_t)pg_number(result, row, 4);
	take_text(result, row, 5, object->sha256, sizeof(object->sha256));
	object->created_ms = (uint64_t)pg_number(result, row, 6);
	take_text(result, row, 7, object->details.title,
		  sizeof(object->details.title));
	take_text(result, row, 8, object->details.creator,
		  sizeof(object->details.creator));
	take_text(result, row, 9, object->details.metadata,
		  sizeof(object->details.metadata));
	if (strcmp(object->details.metadata, "{}") == 0)
		object->details.metadata[0] = '\0';
}

/* ---- look-ups ------------------------------------------------------------ */

struct lookup {
	struct store_lookup *wanted;
	struct pg_call call;
	struct pg_pool *pool;
};

static void end_lookup(struct lookup *l)
{
	struct store_lookup *wanted = l->wanted;

	free(l);
	store_lookup_end(wanted);
}

/* NULL: the look-up has ended with an error. */
static struct lookup *lookup_new(struct store_lookup *wanted, struct loop *loop)
{
	struct lookup *l = calloc(1, sizeof(*l));

	if (l)
		l->pool = pg_store_pool(wanted->store, loop, &wanted->err);
	else
		err_set(&wanted->err, ERR_MEMORY, "out of memory");
	if (l && l->pool) {
		l->wanted = wanted;
		return l;
	}
	free(l);
	store_lookup_end(wanted);
	return NULL;
}

static void bind_id(void *arg, struct pg_link *link)
{
	struct lookup *l = arg;

	pg_link_text(link, 0, l->wanted->id);
}

static void on_found(void *arg, PGresult *result, const struct err *err)
{
	struct lookup *l = arg;
	struct store_lookup *wanted = l->wanted;

	if (err)
		wanted->err = *err;
	else if (PQntuples(result) == 0)
		err_set(&wanted->err, ERR_NOT_FOUND, "there is no such object");
	else
		pg_row_object(result, 0, &wanted->object, &wanted->handle);
	if (!err_is_set(&wanted->err) && wanted->want_bytes &&
	    !PQgetisnull(result, 0, PG_FIRST_CHUNK_COLUMN))
		wanted->content = result;
	else
		PQclear(result);
	end_lookup(l);
}

/* With the chunk that will be read first, to save its player a round trip. */
static void bind_place(void *arg, struct pg_link *link)
{
	struct lookup *l = arg;
	uint64_t chunk = l->wanted->hint / PG_CHUNK_BYTES;

	pg_link_text(link, 0, l->wanted->id);
	pg_link_number(link, 1,
		       chunk < INT32_MAX ? (int64_t)chunk : INT32_MAX);
}

void pg_find(struct store_lookup *wanted, struct loop *loop)
{
	struct lookup *l = lookup_new(wanted, loop);

	if (l && wanted->want_bytes)
		pg_call_run(&l->call, l->pool, PG_FIND_CHUNK, bind_place,
			    on_found, l);
	else if (l)
		pg_call_run(&l->call, l->pool, PG_FIND, bind_id, on_found, l);
}

/* ---- removal ------------------------------------------------------------- */

static struct pg_house *house_of(const struct lookup *l)
{
	return ((struct pg_store *)(void *)l->wanted->store)->house;
}

/* It is gone for everybody; its bytes are the house's, however many. */
static void on_removed(void *arg, PGresult *result, const struct err *err)
{
	struct lookup *l = arg;

	if (err)
		l->wanted->err = *err;	/* it may have been done all the same */
	if (err || pg_changed(result) > 0)
		pg_house_tidy(house_of(l));
	PQclear(result);
	end_lookup(l);
}

static void bind_removal(void *arg, struct pg_link *link)
{
	struct lookup *l = arg;

	pg_link_number(link, 0, pg_house_instance(house_of(l)));
	pg_link_text(link, 1, l->wanted->id);
}

void pg_remove(struct store_lookup *wanted, struct loop *loop)
{
	struct lookup *l = lookup_new(wanted, loop);

	if (l)
		pg_call_run(&l->call, l->pool, PG_REMOVE, bind_removal,
			    on_removed, l);
}

/* ---- lists --------------------------------------------------------------- */

#define SQL_SIZE 2048

struct listing {
	struct store_list *list;
	struct pg_pool *pool;
	struct pg_taker taker;
	struct pg_link *link;		/* while it runs on one */
	struct timer patience;		/* until it has one */
	char sql[SQL_SIZE];
	size_t len;
	int n_params;
	const char *texts[PG_MAX_PARAMS];	/* NULL: a number */
	int64_t numbers[PG_MAX_PARAMS];
	/* the query in lower case; as a pattern of LIKE, its own signs escaped */
	char query[OBJECT_NAME_SIZE];
	char pattern[2 * OBJECT_NAME_SIZE + 2];
	char type[OBJECT_TYPE_SIZE + 1];
};

static void add(struct listing *l, const char *fragment)
{
	size_t n = strlen(fragment);

	CHECK(l->len + n < SQL_SIZE);
	memcpy(l->sql + l->len, fragment, n + 1);
	l->len += n;
}

/* A fragment in which one "$?" stands for a parameter. */
static void add_param(struct listing *l, const char *fragment)
{
	const char *at = strstr(fragment, "$?");
	char number[16];

	CHECK(at && l->n_params < PG_MAX_PARAMS &&
	      l->len + (size_t)(at - fragment) < SQL_SIZE);
	memcpy(l->sql + l->len, fragment, (size_t)(at - fragment));
	l->len += (size_t)(at - fragment);
	snprintf(number, sizeof(number), "$%d", ++l->n_params);
	add(l, number);
	add(l, at + 2);
}

static void add_text(struct listing *l, const char *fragment, const char *text)
{
	add_param(l, fragment);
	l->texts[l->n_params - 1] = text;
}

static void add_number(struct listing *l, const char *fragment, int64_t number)
{
	add_param(l, fragment);
	l->numbers[l->n_params - 1] = number;
}

/* ---- the query ----------------------------------------------------------- */

static void make_pattern(struct listing *l)
{
	char *at = l->pattern;

	*at++ = '%';
	for (const char *s = l->query; *s; s++) {
		if (*s == '%' || *s == '_' || *s == '\\')
			*at++ = '\\';
		*at++ = *s;
	}
	*at++ = '%';
	*at = '\0';
}

/*
 * Parameters 1 and 2 are the query and its pattern. lower() is the database's, as
 * for the column.
 */
#define QUERY "lower($1::text)"
#define PATTERN "lower($2::text)"

/*
 * What contains the query. Three letters or digits in a row are a trigram, and
 * the index finds rows by it; what has none is compared with one row after the
 * other, in the order of the page until that is full.
 */
#define CONTAINS "search LIKE " PATTERN

/*
 * What is similar to it: words with mistakes, through the index. Not asked of
 * what the index cannot serve, as each row would take ten times as long as
 * CONTAINS. What a letter is depends on the locale, so that the database says it,
 * while it plans: then IS_WORDY is a constant.
 */
#define IS_WORDY QUERY " ~ '[[:alnum:]]{3}' AND show_trgm(" QUERY ") <> '{}'"
#define SIMILAR IS_WORDY " AND search %> " QUERY

static void add_query(struct listing *l)
{
	l->texts[l->n_params++] = l->query;
	l->texts[l->n_params++] = l->pattern;
}

/* Without its parameters and the blanks before them. */
#define MEDIA_TYPE "lower(btrim(split_part(content_type, ';', 1), E' \\t'))"

static void add_filters(struct listing *l)
{
	struct store_list *list = l->list;
	size_t n = strlen(list->content_type);

	if (n > 0 && list->content_type[n - 1] == '/')
		add_text(l, " AND starts_with(" MEDIA_TYPE ", "
			    "lower($?::text))", list->content_type);
	else if (n > 0)
		add_text(l, " AND " MEDIA_TYPE " = lower($?::text)",
			 list->content_type);
	if (list->from_ms)
		add_number(l, " AND created_at >= to_timestamp($?::bigint / "
			      "1000.0)", (int64_t)list->from_ms);
	if (list->until_ms)
		add_number(l, " AND created_at < to_timestamp($?::bigint / "
			      "1000.0)", (int64_t)list->until_ms);
	if (list->min_size)
		add_number(l, " AND size >= $?::bigint",
			   (int64_t)list->min_size);
	if (list->max_size)
		add_number(l, " AND size <= $?::bigint",
			   (int64_t)list->max_size);
}

/* ---- order and position -------------------------------------------------- */

/* An order: its key as SQL, and the key of a position. */
static const struct {
	const char *key;	/* NULL: the id alone */
	const char *text;	/* the key as text, for last_key */
	const char *after;	/* with "$?": a position's key */
} orders[] = {
	[STORE_BY_ID] = { NULL, "''", NULL },
	[STORE_BY_NAME] = { "o.name COLLATE \"C\"", "o.name", "$?::text" },
	[STORE_BY_SIZE] = { "o.size", "o.size::text", "$?::text::bigint" },
	/* best first: the key grows as the score falls */
	[STORE_BY_RELEVANCE] = { "-o.score", "(-o.score)::text", "$?::text::real" },
};

static enum store_sort order_of(const struct store_list *list)
{
	return list->sort == STORE_BY_RELEVANCE && !list->query[0]
		       ? STORE_BY_ID : list->sort;
}

static bool is_descending(const struct store_list *list)
{
	return list->descending && order_of(list) != STORE_BY_RELEVANCE;
}

/* One more than the page takes: then there is a next one. */
static void add_limit(struct listing *l)
{
	add_number(l, " LIMIT $?::bigint", (int64_t)l->list->limit + 1);
}

/* Behind the last row of the page before. */
static void add_position(struct listing *l)
{
	struct store_list *list = l->list;
	enum store_sort order = order_of(list);

	if (!list->after[0])
		return;
	add(l, " AND (");
	if (orders[order].key) {
		add(l, orders[order].key);
		add(l, ", ");
	}
	add(l, is_descending(list) ? "o.id) < (" : "o.id) > (");
	if (orders[order].key) {
		add_text(l, orders[order].after, list->after_key);
		add(l, ", ");
	}
	add_text(l, "$?::uuid)", list->after);
}

static void add_order(struct listing *l)
{
	enum store_sort order = order_of(l->list);
	const char *direction = is_descending(l->list) ? " DESC" : "";

	add(l, " ORDER BY ");
	if (orders[order].key) {
		add(l, orders[order].key);
		add(l, direction);
		add(l, ", ");
	}
	add(l, "o.id");
	add(l, direction);
	add_limit(l);
}

/*
 * All rows in some order; those that fit the query, if there is one. How well
 * they do is not asked: it takes as long as finding them.
 */
static void add_rows(struct listing *l)
{
	add(l, "SELECT *, 1::real AS score FROM object WHERE state = 3");
	if (l->n_params > 0)
		add(l, " AND (" CONTAINS " OR (" SIMILAR "))");
	add_filters(l);
}

/*
 * How many rows that are merely similar are looked at for one page: a query of
 * common words is similar to a large part of a catalogue, and the similarity of a
 * row takes ten microseconds.
 */
#define SIMILAR_MAX "20000"

/*
 * Never 1, whatever pg_trgm says: to it the order of the words and what stands
 * between them is nothing, but only what contains the query has the score 1, and
 * no page looks for that behind something similar.
 */
#define SIMILARITY "least(word_similarity(" QUERY ", search), 0.99::real)"

/*
 * A page of what contains the query. Its position is that of the id alone, so
 * that the index by id begins there.
 */
static void add_exact_rows(struct listing *l)
{
	add(l, "SELECT *, 1::real AS score FROM fit WHERE " CONTAINS);
	if (list_is_over(l->list))
		add(l, " AND false");
	else if (l->list->after[0])
		add_text(l, " AND id > $?::uuid", l->list->after);
	add(l, " ORDER BY id");
	add_limit(l);
}

/*
 * The same by relevance. What contains the query comes first, and often is all
 * that a page needs; only then is the question asked what is similar.
 */
static void add_ranked_rows(struct listing *l)
{
	add(l, "WITH fit AS NOT MATERIALIZED (SELECT * FROM object WHERE state = 3");
	add_filters(l);
	add(l, "), exact AS MATERIALIZED (");
	add_exact_rows(l);
	add(l, "), alike AS (SELECT *, " SIMILARITY " AS score FROM fit WHERE "
	       SIMILAR " AND NOT " CONTAINS);
	add_number(l, " AND (SELECT count(*) FROM exact) < $?::bigint",
		   (int64_t)l->list->limit + 1);
	add(l, " LIMIT " SIMILAR_MAX
	       ") SELECT * FROM exact UNION ALL SELECT * FROM alike");
}

/*
 * SELECT columns, score, key FROM (rows with their score) WHERE position ORDER
 * BY … LIMIT …
 */
static void build(struct listing *l)
{
	enum store_sort order = order_of(l->list);

	if (l->list->query[0])
		add_query(l);
	add(l, "SELECT " PG_OBJECT_COLUMNS ", score, ");
	add(l, orders[order].text);
	add(l, " FROM (");
	if (order == STORE_BY_RELEVANCE)
		add_ranked_rows(l);
	else
		add_rows(l);
	add(l, ") AS o WHERE true");
	add_position(l);
	add_order(l);
}

static void bind_list(struct listing *l)
{
	for (int i = 0; i < l->n_params; i++) {
		if (l->texts[i])
			pg_link_text(l->link, i, l->texts[i]);
		else
			pg_link_number(l->link, i, l->numbers[i]);
	}
}

/* ---- the answer ---------------------------------------------------------- */

#define SCORE_COLUMN 10
#define KEY_COLUMN 11

/* A real, in binary: IEEE 754, most significant byte first. */
static double score_of(const PGresult *result, int row)
{
	uint32_t bits;
	float score;

	CHECK(PQgetlength(result, row, SCORE_COLUMN) == sizeof(bits));
	memcpy(&bits, PQgetvalue(result, row, SCORE_COLUMN), sizeof(bits));
	bits = be32toh(bits);
	memcpy(&score, &bits, sizeof(score));
	return (double)score;
}

static void take_rows(struct store_list *list, const PGresult *result)
{
	size_t n = (size_t)PQntuples(result);
	uint64_t key;

	list->more = n > list->limit;
	if (list->more)
		n = list->limit;
	list->rows = calloc(n ? n : 1, sizeof(*list->rows));
	list->scores = calloc(n ? n : 1, sizeof(*list->scores));
	list->ranked = true;
	if (!list->rows || !list->scores) {
		err_set(&list->err, ERR_MEMORY, "out of memory for a list");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		pg_row_object(result, (int)i, &list->rows[i], &key);
		list->scores[i] = score_of(result, (int)i);
	}
	list->n_rows = n;
	if (n > 0)
		take_text(result, (int)n - 1, KEY_COLUMN, list->last_key,
			  sizeof(list->last_key));
}

static void end_list(struct listing *l)
{
	struct store_list *list = l->list;

	free(l);
	store_list_end(list);
}

static void on_listed(void *arg, PGresult *result, const struct err *err)
{
	struct listing *l = arg;

	if (err)
		l->list->err = *err;
	else
		take_rows(l->list, result);
	PQclear(result);
	pg_pool_give(l->pool, &l->link);
	end_list(l);
}

static void on_turn(void *arg, struct pg_link *link, const struct err *err)
{
	struct listing *l = arg;

	timer_stop(&l->patience);
	l->link = link;
	if (link) {
		bind_list(l);
		pg_link_run_sql(link, l->sql, l->n_params, on_listed, l);
	} else {
		l->list->err = *err;
		end_list(l);
	}
}

/* Most who wait so long have gone, which is not heard of before the answer. */
static void on_patience_end(void *arg)
{
	struct listing *l = arg;
	const struct pg_store *store = (struct pg_store *)(void *)l->list->store;

	if (pg_pool_is_connecting(l->pool)) {
		/* the addresses of several hosts may take longer */
		timer_start(&l->patience,
			    store->settings->db_connect_timeout_ms);
		return;
	}
	pg_pool_cancel(&l->taker);
	err_set(&l->list->err, ERR_LIMIT,
		"other lists keep the database's connections busy, try later");
	end_list(l);
}

static void wait_for_turn(struct listing *l, const struct pg_store *store,
			  struct loop *loop)
{
	timer_init(&l->patience, loop, on_patience_end, l);
	timer_start(&l->patience, store->settings->db_connect_timeout_ms);
	l->taker.is_long = true;
	pg_pool_take(l->pool, &l->taker, on_turn, l);
}

/* NULL: it has ended with an error. */
static struct listing *listing_new(struct store_list *list, struct loop *loop)
{
	struct listing *l = calloc(1, sizeof(*l));

	if (l)
		l->pool = pg_store_pool(list->store, loop, &list->err);
	else
		err_set(&list->err, ERR_MEMORY, "out of memory for a list");
	if (l && l->pool) {
		l->list = list;
		return l;
	}
	free(l);
	store_list_end(list);
	return NULL;
}

void pg_list(struct store_list *list, struct loop *loop)
{
	struct listing *l = listing_new(list, loop);

	if (!l)
		return;
	snprintf(l->query, sizeof(l->query), "%s", list->query);
	make_pattern(l);
	build(l);
	wait_for_turn(l, (struct pg_store *)(void *)list->store, loop);
}
