/* What every kind of store must list: each test runs once for each kind. */
#include "tests/unit/reader/store_fixture.h"

static void store_many(unsigned int n)
{
	/* in no order: 7 and 50 have no common factor */
	for (unsigned int i = 0; i < n; i++)
		store_text(i * 7 % n, "x");
}

START_TEST(an_empty_store_has_an_empty_list)
{
	use(_i);
	MUST(list_page("", "", STORE_LIST_MAX));
	ck_assert_uint_eq(list.n_rows, 0);
	ck_assert(!list.more);
	ck_assert_ptr_nonnull(list.rows);
}
END_TEST

START_TEST(pages_follow_each_other_by_identifier)
{
	char after[UUID_TEXT_SIZE] = "";
	unsigned int number = 0;

	use(_i);
	store_many(50);
	do {
		MUST(list_page("", after, 7));
		for (size_t i = 0; i < list.n_rows; i++, number++)
			ck_assert_str_eq(list.rows[i].id,
					 make_object(number).id);
		memcpy(after, list.rows[list.n_rows - 1].id, sizeof(after));
	} while (list.more);
	ck_assert_uint_eq(number, 50);
}
END_TEST

START_TEST(a_page_that_takes_all_has_no_more)
{
	use(_i);
	store_many(20);
	MUST(list_page("", "", 20));
	ck_assert_uint_eq(list.n_rows, 20);
	ck_assert(!list.more);
	MUST(list_page("", "", 19));
	ck_assert(list.more);
}
END_TEST

START_TEST(a_query_selects_by_name_without_case)
{
	use(_i);
	store_many(20);
	list_sort = STORE_BY_RELEVANCE;
	MUST(list_page("oBJECT 1", "", 100));
	/* Behind those that have it a database finds some that nearly do. */
	if (!list.ranked)
		ck_assert_uint_eq(list.n_rows, 11);
	ck_assert_uint_ge(list.n_rows, 11);
	ck_assert_str_eq(list.rows[0].name, "Object 1");
	ck_assert_str_eq(list.rows[1].name, "Object 10");
	ck_assert_str_eq(list.rows[10].name, "Object 19");
	MUST(list_page("no such", "", 100));
	ck_assert_uint_eq(list.n_rows, 0);
}
END_TEST

START_TEST(a_query_goes_on_after_a_page)
{
	use(_i);
	store_many(20);
	MUST(list_page("object 1", make_object(10).id, 3));
	ck_assert_uint_eq(list.n_rows, 3);
	ck_assert_str_eq(list.rows[0].id, make_object(11).id);
	ck_assert(list.more);
}
END_TEST

START_TEST(a_query_goes_on_behind_a_row_of_another_store)
{
	static const struct {
		const char *key;
		unsigned int n_rows;
	} cases[] = { { "-1", 9 }, { "-0.5", 0 }, { "-0.99999999", 0 } };

	use(_i);
	store_many(20);
	for (size_t i = 0; i < 3; i++) {
		free(list.rows);
		free(list.scores);
		list = (struct store_list){ .limit = 100,
					    .sort = STORE_BY_RELEVANCE,
					    .query = "object 1" };
		memcpy(list.after, make_object(10).id, sizeof(list.after));
		snprintf(list.after_key, sizeof(list.after_key), "%s",
			 cases[i].key);
		ended = false;
		store_list(store, &list, loop, on_ended, &last);
		MUST(wait_end());
		if (!list.ranked)
			ck_assert_uint_eq(list.n_rows, cases[i].n_rows);
	}
}
END_TEST

START_TEST(a_query_that_matches_says_where_it_ends)
{
	use(_i);
	store_many(20);
	list_sort = STORE_BY_RELEVANCE;
	MUST(list_page("object 1", "", 3));
	ck_assert_str_eq(list.last_key, "-1");
}
END_TEST

START_TEST(a_query_looks_in_title_and_creator_too)
{
	struct object_details details = { .title = "Blue in Green",
					  .creator = "Davis" };
	struct sink *sink;

	use(_i);
	store_many(3);
	sink = open_sink(7);
	MUST(CALL(sink_stage, sink));
	sink_describe(sink, &details);
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
	MUST(list_page("blue", "", 10));
	ck_assert_uint_eq(list.n_rows, 1);
	ck_assert_str_eq(list.rows[0].details.title, "Blue in Green");
	MUST(list_page("DAVIS", "", 10));
	ck_assert_uint_eq(list.n_rows, 1);
}
END_TEST

static void store_named(unsigned int number, const char *name)
{
	struct object object = make_object(number);

	snprintf(object.name, sizeof(object.name), "%s", name);
	store_empty(&object);
}

/* Objects whose names and sizes come in another order than their ids. */
static void store_mixed(unsigned int n)
{
	static const char *const types[] = { "Audio/Y; a=b", "audio/x",
					     "Audio/Y \t;a=b", "audio/x" };

	for (unsigned int i = 0; i < n; i++) {
		struct object object = make_object(i);
		struct sink *sink;

		snprintf(object.name, sizeof(object.name), "n%u", i * 7 % 5);
		snprintf(object.content_type, sizeof(object.content_type),
			 "%s", types[i % 4]);
		sink = open_object(&object);
		MUST(write_bytes(sink, "0123456789", 1 + i * 3 % 10));
		MUST(CALL(sink_stage, sink));
		MUST(CALL(sink_commit, sink));
		sink_close(&sink);
	}
}

static enum err_code next_page(void)
{
	struct store_list next = { .sort = list.sort,
				   .descending = list.descending,
				   .limit = list.limit };

	memcpy(next.query, list.query, sizeof(next.query));
	if (list.n_rows > 0) {
		memcpy(next.after, list.rows[list.n_rows - 1].id,
		       sizeof(next.after));
		memcpy(next.after_key, list.last_key, sizeof(next.after_key));
	}
	free(list.rows);
	free(list.scores);
	list = next;
	ended = false;
	store_list(store, &list, loop, on_ended, &last);
	return wait_end();
}

static int compare_rows(const struct object *a, const struct object *b)
{
	int order = 0;

	if (list.sort == STORE_BY_NAME)
		order = strcmp(a->name, b->name);
	else if (list.sort == STORE_BY_SIZE)
		order = a->size < b->size ? -1 : a->size > b->size;
	if (order == 0)
		order = strcmp(a->id, b->id);
	return list.descending ? -order : order;
}

/* Every object once, each behind the one before. */
static void walk(unsigned int n)
{
	struct object before;
	unsigned int seen = 0;

	do {
		MUST(next_page());
		ck_assert_uint_le(list.n_rows, list.limit);
		for (size_t i = 0; i < list.n_rows; i++, seen++) {
			if (seen > 0)
				ck_assert_int_lt(compare_rows(&before,
							      &list.rows[i]),
						 0);
			before = list.rows[i];
		}
	} while (list.more);
	ck_assert_uint_eq(seen, n);
}

START_TEST(every_order_has_its_pages_in_both_directions)
{
	static const size_t limits[] = { 1, 4, 23, 24 };

	use(_i);
	store_mixed(23);
	for (int sort = STORE_BY_ID; sort <= STORE_BY_SIZE; sort++)
		for (size_t i = 0; i < 8; i++) {
			free(list.rows);
			free(list.scores);
			list = (struct store_list){
				.sort = (enum store_sort)sort,
				.descending = i % 2,
				.limit = limits[i / 2],
			};
			walk(23);
		}
}
END_TEST

/* Pages of every size say what the whole list does, in its order. */
static void walk_by_relevance(const char *query, size_t n)
{
	char wanted[16][UUID_TEXT_SIZE];
	size_t seen;

	list_sort = STORE_BY_RELEVANCE;
	MUST(list_page(query, "", STORE_LIST_MAX));
	ck_assert_uint_eq(list.n_rows, n);
	for (size_t i = 0; i < n; i++)
		memcpy(wanted[i], list.rows[i].id, sizeof(wanted[i]));
	for (size_t limit = 1; limit <= n; limit++) {
		MUST(list_page(query, "", limit));
		for (seen = 0;; MUST(next_page())) {
			for (size_t i = 0; i < list.n_rows; i++)
				ck_assert_str_eq(list.rows[i].id,
						 wanted[seen++]);
			if (!list.more)
				break;
		}
		ck_assert_uint_eq(seen, n);
	}
}

/* To pg_trgm all of these have the same words. */
START_TEST(what_contains_the_query_comes_before_other_orders_of_its_words)
{
	static const char *const names[] = {
		"Davis, Miles", "Miles Davis 1", "Miles Davis 2", "miles davis",
		"MILES DAVIS",	"Davis Miles",
	};
	size_t n;

	use(_i);
	for (unsigned int i = 0; i < 6; i++)
		store_named(i, names[i]);
	list_sort = STORE_BY_RELEVANCE;
	MUST(list_page("Miles Davis", "", 10));
	n = list.ranked ? 6 : 4;
	ck_assert_uint_eq(list.n_rows, n);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(!list.scores || list.scores[i] == 1.0, i < 4);
	walk_by_relevance("Miles Davis", n);
}
END_TEST

/* Too short for a database's index of trigrams, or no letters at all. */
START_TEST(whatever_contains_the_query_is_found)
{
	static const char *const names[] = {
		"Blue in Green",     "Rain", "50% off", "snake_case",
		"C++ Primer",	     "back\\slash", "It's (3)", "日本の歌",
		"\xf0\x9f\x8e\xb5 !!! Größe",
	};
	static const struct {
		const char *query;
		size_t n;
	} cases[] = {
		{ "in", 2 }, { "UE", 1 },  { "e i", 1 },  { "0% o", 1 },
		{ "%", 1 },  { "_", 1 },   { "++", 1 },   { "\\", 1 },
		{ "'", 1 },  { "(", 1 },   { "3", 1 },    { "!!!", 1 },
		{ "r", 4 },  { "日本", 1 }, { "öß", 1 },   { "zz", 0 },
		{ "?", 0 },  { "\xf0\x9f\x8e\xb5", 1 },
	};

	use(_i);
	for (unsigned int i = 0; i < 9; i++)
		store_named(i, names[i]);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		list_sort = STORE_BY_NAME;
		MUST(list_page(cases[i].query, "", 10));
		ck_assert_msg(list.n_rows == cases[i].n, "%s: %zu",
			      cases[i].query, list.n_rows);
		walk_by_relevance(cases[i].query, cases[i].n);
	}
}
END_TEST

static size_t count_found(struct store_list wanted)
{
	free(list.rows);
	free(list.scores);
	list = wanted;
	list.limit = STORE_LIST_MAX;
	ended = false;
	store_list(store, &list, loop, on_ended, &last);
	MUST(wait_end());
	return list.n_rows;
}

START_TEST(filters_select_by_type_size_and_time)
{
	uint64_t at;

	use(_i);
	store_mixed(10);
	MUST(find(5, false));
	at = lookup.object.created_ms;
	ck_assert_uint_eq(count_found((struct store_list){
				  .content_type = "audio/" }), 10);
	ck_assert_uint_eq(count_found((struct store_list){
				  .content_type = "AUDIO/y" }), 5);
	ck_assert_uint_eq(count_found((struct store_list){
				  .content_type = "audio" }), 0);
	ck_assert_uint_eq(count_found((struct store_list){ .min_size = 2,
							   .max_size = 4 }), 3);
	ck_assert_uint_eq(count_found((struct store_list){ .from_ms = at }),
			  10);
	ck_assert_uint_eq(count_found((struct store_list){ .until_ms = at }),
			  0);
}
END_TEST

/* Sixteen objects of the fixture have one time. */
START_TEST(times_are_from_the_first_until_before_the_second)
{
	uint64_t at, later;

	use(_i);
	store_mixed(40);
	MUST(find(16, false));
	at = lookup.object.created_ms;
	MUST(find(32, false));
	later = lookup.object.created_ms;
	ck_assert_uint_eq(count_found((struct store_list){ .from_ms = at }),
			  24);
	ck_assert_uint_eq(count_found((struct store_list){ .from_ms = at + 1 }),
			  8);
	ck_assert_uint_eq(count_found((struct store_list){ .until_ms = at }),
			  16);
	ck_assert_uint_eq(count_found((struct store_list){ .from_ms = at,
							   .until_ms = later }),
			  16);
	ck_assert_uint_eq(count_found((struct store_list){ .from_ms = at,
							   .until_ms = at }),
			  0);
}
END_TEST

#define CASES(X) \
	X(an_empty_store_has_an_empty_list) \
	X(pages_follow_each_other_by_identifier) \
	X(a_page_that_takes_all_has_no_more) \
	X(a_query_selects_by_name_without_case) \
	X(a_query_goes_on_after_a_page) \
	X(a_query_goes_on_behind_a_row_of_another_store) \
	X(a_query_that_matches_says_where_it_ends) \
	X(a_query_looks_in_title_and_creator_too) \
	X(what_contains_the_query_comes_before_other_orders_of_its_words) \
	X(whatever_contains_the_query_is_found) \
	X(every_order_has_its_pages_in_both_directions) \
	X(filters_select_by_type_size_and_time) \
	X(times_are_from_the_first_until_before_the_second)

int main(void)
{
	Suite *suite = suite_create("list contract");
	TCase *tc = tcase_create("lists");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, make_loop, drop_loop);
	tcase_add_checked_fixture(tc, NULL, free_list);
#define ADD(name) tcase_add_loop_test(tc, name, 0, count_kinds());
	CASES(ADD)
#undef ADD
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
