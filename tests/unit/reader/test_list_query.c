#include "reader/list_query.h"

#include "common/clock.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* SPAN_LIT() is no constant initializer. */
#define LIT(s) { (s), sizeof(s) - 1 }

#define ID "0189abcd-0000-7000-8000-000000000001"

static struct store_list list;
static struct err err;

static int read_query(const char *query)
{
	list = (struct store_list){ 0 };
	err = ERR_INIT;
	return list_query_read(&list, span_of(query), &err);
}

static void must_read(const char *query)
{
	ck_assert_msg(read_query(query) == 0, "%s: %s", query, err.text);
}

static uint64_t ms_of(const char *time)
{
	uint64_t ms;

	ck_assert(clock_parse_rfc3339(span_of(time), &ms));
	return ms;
}

START_TEST(without_parameters_everything_is_listed_by_id)
{
	must_read("");
	ck_assert_int_eq(list.sort, STORE_BY_ID);
	ck_assert(!list.descending);
	ck_assert_uint_eq(list.limit, 100);
	ck_assert_str_eq(list.query, "");
	ck_assert_str_eq(list.after, "");
	ck_assert_uint_eq(list.max_size + list.until_ms, 0);
	ck_assert_int_eq(list_query_read(&list, span_make(NULL, 0), &err), 0);
}
END_TEST

START_TEST(a_query_is_decoded_and_makes_relevance_the_order)
{
	must_read("q=K%C3%B6ln+am%2BRhein");
	ck_assert_str_eq(list.query, "Köln am+Rhein");
	ck_assert_int_eq(list.sort, STORE_BY_RELEVANCE);
	must_read("sort=name&order=desc&q=x");
	ck_assert_int_eq(list.sort, STORE_BY_NAME);
	ck_assert(list.descending);
}
END_TEST

START_TEST(types_are_whole_or_end_in_a_star)
{
	must_read("type=audio/mpeg");
	ck_assert_str_eq(list.content_type, "audio/mpeg");
	must_read("type=audio%2F*");
	ck_assert_str_eq(list.content_type, "audio/");
	must_read("type=image/svg+xml");
	ck_assert_str_eq(list.content_type, "image/svg+xml");
}
END_TEST

START_TEST(times_are_moments_or_days)
{
	must_read("from=2026-01-31&until=2026-02-01T00:00:00%2B02:00");
	ck_assert_uint_eq(list.from_ms, ms_of("2026-01-31T00:00:00Z"));
	ck_assert_uint_eq(list.until_ms, ms_of("2026-01-31T22:00:00Z"));
	must_read("until=2026-02-01T00:00:00+02:00");
	ck_assert_uint_eq(list.until_ms, ms_of("2026-01-31T22:00:00Z"));
	must_read("until=1970-01-01");
	ck_assert_uint_eq(list.until_ms, 1);
}
END_TEST

START_TEST(sizes_and_limits_are_numbers)
{
	must_read("min_size=0&max_size=9223372036854775807&limit=1000");
	ck_assert_uint_eq(list.max_size, INT64_MAX);
	ck_assert_uint_eq(list.limit, 1000);
}
END_TEST

static const struct {
	const char *query, *reason;
} bad[] = {
	{ "foo=1", "foo is no parameter" },
	{ "Q=1", "Q is no parameter" },
	{ "limit=1&limit=1", "limit stands twice" },
	{ "limit=0", "limit has to be a number from 1 to 1000" },
	{ "limit=1001", "1000" },
	{ "limit=+1", "limit" },
	{ "min_size=9223372036854775808", "min_size" },
	{ "max_size=0", "max_size has to be a number from 1" },
	{ "from=2026-13-01", "from has to be a date" },
	{ "until=2026-01-01T00:00", "until has to be a date" },
	{ "from=1969-12-31", "from" },
	{ "type=audio", "type has to be a media type" },
	{ "type=*/*", "type" },
	{ "type=/x", "type" },
	{ "type=a/", "type" },
	{ "sort=date", "sort has to be id, name, size or relevance" },
	{ "order=down", "order has to be asc or desc" },
	{ "sort=relevance", "needs a q" },
	{ "q=x&order=asc", "order goes with" },
	{ "q=%zz", "q: " },
	{ "after=1", "after has to be" },
	{ "sort=size&after=" ID, "after has to be" },
};

START_TEST(what_is_wrong_is_named)
{
	ck_assert_int_eq(read_query(bad[_i].query), -1);
	ck_assert_int_eq(err_http_status(&err), 400);
	ck_assert_msg(strstr(err.text, bad[_i].reason), "%s", err.text);
}
END_TEST

/* ---- cursors ------------------------------------------------------------- */

static char cursor[LIST_CURSOR_SIZE];

/* The cursor behind a row of this key, in the order that the query asks for. */
static void write_cursor(const char *query, const char *key)
{
	struct object row = { .id = ID };

	must_read(query);
	list.rows = &row;
	list.n_rows = 1;
	snprintf(list.last_key, sizeof(list.last_key), "%s", key);
	list_cursor_write(&list, cursor);
}

static int read_cursor(const char *query)
{
	char text[sizeof(cursor) + 64];

	snprintf(text, sizeof(text), "%s&after=%s", query, cursor);
	return read_query(text);
}

static const struct {
	const char *query, *key;
} orders[] = {
	{ "sort=name", "a name" },
	{ "sort=name", "" },
	{ "sort=name&order=desc", "größe\n\x01" },
	{ "sort=size", "18014398509481984" },
	{ "sort=size&order=desc", "0" },
	{ "q=x", "0.8333333134651184" },
	{ "q=x&sort=relevance", "1e-05" },
};

START_TEST(a_cursor_comes_back_as_it_was)
{
	write_cursor(orders[_i].query, orders[_i].key);
	ck_assert_uint_eq(strspn(cursor, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
				 "abcdefghijklmnopqrstuvwxyz0123456789"),
			  strlen(cursor));
	ck_assert_msg(read_cursor(orders[_i].query) == 0, "%s", err.text);
	ck_assert_str_eq(list.after, ID);
	ck_assert_str_eq(list.after_key, orders[_i].key);
}
END_TEST

START_TEST(by_id_it_is_the_id)
{
	write_cursor("order=desc", "");
	ck_assert_str_eq(cursor, ID);
	ck_assert_int_eq(read_cursor("order=desc"), 0);
	ck_assert_str_eq(list.after, ID);
	ck_assert_str_eq(list.after_key, "");
}
END_TEST

START_TEST(the_longest_name_fits)
{
	char name[OBJECT_NAME_SIZE];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	write_cursor("sort=name", name);
	ck_assert_int_eq(read_cursor("sort=name"), 0);
	ck_assert_str_eq(list.after_key, name);
}
END_TEST

START_TEST(a_cursor_is_of_one_order)
{
	write_cursor("sort=name", "1");
	ck_assert_int_eq(read_cursor("sort=name&order=desc"), -1);
	ck_assert_int_eq(read_cursor("sort=size"), -1);
	ck_assert_int_eq(read_cursor("q=x"), -1);
	ck_assert_int_eq(read_cursor("sort=id"), -1);
	ck_assert_int_eq(read_cursor("sort=name&q=x"), 0);
}
END_TEST

static const struct {
	const char *query;
	struct span plain;
} forged[] = {
	{ "sort=name", LIT("na") },
	{ "sort=name", LIT("na0189ABCD-0000-7000-8000-000000000001") },
	{ "sort=name", LIT("na" ID "\xff") },
	{ "sort=name", LIT("na" ID "a\0b") },
	{ "sort=size", LIT("sa" ID "1x") },
	{ "sort=size", LIT("sa" ID) },
	{ "sort=size", LIT("sa" ID "9223372036854775808") },
	{ "q=x", LIT("ra" ID "inf") },
	{ "q=x", LIT("ra" ID "1e999") },
	{ "q=x", LIT("ra" ID "1e300") },
	{ "q=x", LIT("ra" ID "-1e-300") },
	{ "q=x", LIT("ra" ID "0x1") },
	{ "q=x", LIT("ra" ID "1 ") },
	{ "q=x", LIT("ra" ID) },
};

START_TEST(a_forged_cursor_is_refused)
{
	base64_encode(BASE64_URL, forged[_i].plain, cursor);
	ck_assert_int_eq(read_cursor(forged[_i].query), -1);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, without_parameters_everything_is_listed_by_id);
	tcase_add_test(tc, a_query_is_decoded_and_makes_relevance_the_order);
	tcase_add_test(tc, types_are_whole_or_end_in_a_star);
	tcase_add_test(tc, times_are_moments_or_days);
	tcase_add_test(tc, sizes_and_limits_are_numbers);
	tcase_add_loop_test(tc, what_is_wrong_is_named, 0,
			    sizeof(bad) / sizeof(*bad));
	tcase_add_loop_test(tc, a_cursor_comes_back_as_it_was, 0,
			    sizeof(orders) / sizeof(*orders));
	tcase_add_test(tc, by_id_it_is_the_id);
	tcase_add_test(tc, the_longest_name_fits);
	tcase_add_test(tc, a_cursor_is_of_one_order);
	tcase_add_loop_test(tc, a_forged_cursor_is_refused, 0,
			    sizeof(forged) / sizeof(*forged));
}

int main(void)
{
	Suite *suite = suite_create("list query");
	TCase *tc = tcase_create("list query");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
