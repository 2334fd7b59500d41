#include "common/http1.h"

#include <check.h>
#include <stdlib.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

struct wanted {
	const char *value;
	uint64_t size;
	enum http1_range range;
	uint64_t first, last;
};

static void expect_ranges(const struct wanted *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t first = 0, last = 0;
		enum http1_range range = http1_parse_range(
			span_of(cases[i].value), cases[i].size, &first, &last);

		ck_assert_msg(range == cases[i].range, "%d: %s", (int)range,
			      cases[i].value);
		ck_assert_uint_eq(first, cases[i].first);
		ck_assert_uint_eq(last, cases[i].last);
	}
}

/* ---- Range (RFC 9110, 14) ------------------------------------------------ */

START_TEST(one_range_of_bytes_is_honoured)
{
	static const struct wanted cases[] = {
		{"bytes=0-0", 10, HTTP1_RANGE_ONE, 0, 0},
		{"bytes=2-5", 10, HTTP1_RANGE_ONE, 2, 5},
		{"bytes=9-9", 10, HTTP1_RANGE_ONE, 9, 9},
		{"bytes=4-", 10, HTTP1_RANGE_ONE, 4, 9},
		{"bytes=-3", 10, HTTP1_RANGE_ONE, 7, 9},
		{"Bytes=2-5", 10, HTTP1_RANGE_ONE, 2, 5},
		{"bytes= 2-5 ,, ", 10, HTTP1_RANGE_ONE, 2, 5},
		{"bytes=0-18446744073709551614", UINT64_MAX, HTTP1_RANGE_ONE, 0,
		 UINT64_MAX - 1},
	};

	expect_ranges(cases, N(cases));
}
END_TEST

START_TEST(a_range_ends_where_the_object_ends)
{
	static const struct wanted cases[] = {
		{"bytes=2-10", 10, HTTP1_RANGE_ONE, 2, 9},
		{"bytes=2-99999999999999999999999", 10, HTTP1_RANGE_ONE, 2, 9},
		{"bytes=-10", 10, HTTP1_RANGE_ONE, 0, 9},
		{"bytes=-11", 10, HTTP1_RANGE_ONE, 0, 9},
		{"bytes=-99999999999999999999999", 10, HTTP1_RANGE_ONE, 0, 9},
	};

	expect_ranges(cases, N(cases));
}
END_TEST

START_TEST(a_range_outside_the_object_is_not_satisfiable)
{
	static const struct wanted cases[] = {
		{"bytes=10-", 10, HTTP1_RANGE_BAD, 0, 0},
		{"bytes=10-20", 10, HTTP1_RANGE_BAD, 0, 0},
		{"bytes=0-", 0, HTTP1_RANGE_BAD, 0, 0},
		{"bytes=0-0", 0, HTTP1_RANGE_BAD, 0, 0},
		{"bytes=-0", 10, HTTP1_RANGE_BAD, 0, 0},
		{"bytes=99999999999999999999999-", UINT64_MAX, HTTP1_RANGE_BAD,
		 0, 0},
	};

	expect_ranges(cases, N(cases));
}
END_TEST

START_TEST(the_end_of_nothing_is_all_of_it)
{
	static const struct wanted cases[] = {
		{"bytes=-5", 0, HTTP1_RANGE_NONE, 0, 0},
	};

	expect_ranges(cases, N(cases));
}
END_TEST

START_TEST(what_is_not_one_range_of_bytes_is_ignored)
{
	static const char *const ignored[] = {
		"", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=1-2,4-5",
		"bytes=1-2, -1", "bytes=,", "lines=1-2", "bytes 1-2",
		"bytes =1-2",
		"bytes=a-b", "bytes=1", "bytes=1-2-3", "bytes=1 -2", "bytes=+1-2",
		"bytes=1-2;a", "bytes=--1", "bytes=0x1-2", " bytes=1-2",
	};

	for (size_t i = 0; i < N(ignored); i++) {
		struct wanted none = {ignored[i], 10, HTTP1_RANGE_NONE, 0, 0};

		expect_ranges(&none, 1);
	}
}
END_TEST

/* ---- the suite ----------------------------------------------------------- */

int main(void)
{
	Suite *suite = suite_create("http1 ranges");
	TCase *tc = tcase_create("ranges");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_test(tc, one_range_of_bytes_is_honoured);
	tcase_add_test(tc, a_range_ends_where_the_object_ends);
	tcase_add_test(tc, a_range_outside_the_object_is_not_satisfiable);
	tcase_add_test(tc, the_end_of_nothing_is_all_of_it);
	tcase_add_test(tc, what_is_not_one_range_of_bytes_is_ignored);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
