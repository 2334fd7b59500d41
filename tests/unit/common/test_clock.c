#include "common/clock.h"

#include <check.h>
#include <stdlib.h>

static const char *rfc3339(uint64_t ms)
{
	static char buf[CLOCK_RFC3339_SIZE];

	clock_format_rfc3339(ms, buf);
	return buf;
}

static const char *http_date(uint64_t ms)
{
	static char buf[CLOCK_HTTP_DATE_SIZE];

	clock_format_http_date(ms, buf);
	return buf;
}

START_TEST(the_monotonic_clock_never_goes_back)
{
	uint64_t last = clock_monotonic_us();

	for (int i = 0; i < 1000; i++) {
		uint64_t now = clock_monotonic_us();

		ck_assert_uint_ge(now, last);
		last = now;
	}
	ck_assert_uint_ge(clock_monotonic_ms(), last / 1000);
}
END_TEST

START_TEST(the_wall_clock_is_in_this_century)
{
	ck_assert_uint_gt(clock_wall_ms(), UINT64_C(1577836800000));
	ck_assert_uint_lt(clock_wall_ms(), UINT64_C(4102444800000));
}
END_TEST

START_TEST(fake_clocks_stand_still)
{
	clock_fake(5, 7);
	ck_assert_uint_eq(clock_monotonic_ms(), 5);
	ck_assert_uint_eq(clock_monotonic_us(), 5000);
	ck_assert_uint_eq(clock_wall_ms(), 7);
	clock_fake_stop();
	ck_assert_uint_gt(clock_wall_ms(), 7);
}
END_TEST

START_TEST(a_time_has_milliseconds_and_a_z)
{
	ck_assert_str_eq(rfc3339(0), "1970-01-01T00:00:00.000Z");
	ck_assert_str_eq(rfc3339(UINT64_C(1769903999123)),
			 "2026-01-31T23:59:59.123Z");
	ck_assert_str_eq(rfc3339(UINT64_C(1709164800007)),
			 "2024-02-29T00:00:00.007Z");
}
END_TEST

START_TEST(a_time_after_the_year_9999_is_its_last_moment)
{
	ck_assert_str_eq(rfc3339(UINT64_MAX), "9999-12-31T23:59:59.999Z");
	ck_assert_str_eq(http_date(UINT64_MAX),
			 "Fri, 31 Dec 9999 23:59:59 GMT");
}
END_TEST

START_TEST(a_date_reads_as_in_rfc_9110)
{
	ck_assert_str_eq(http_date(UINT64_C(784111777000)),
			 "Sun, 06 Nov 1994 08:49:37 GMT");
	ck_assert_str_eq(http_date(999), "Thu, 01 Jan 1970 00:00:00 GMT");
}
END_TEST

START_TEST(every_month_and_weekday_has_its_name)
{
	static const char *const starts[] = {
		"Thu, 01 Jan", "Sun, 01 Feb", "Sun, 01 Mar", "Wed, 01 Apr",
		"Fri, 01 May", "Mon, 01 Jun", "Wed, 01 Jul", "Sat, 01 Aug",
		"Tue, 01 Sep", "Thu, 01 Oct", "Sun, 01 Nov", "Tue, 01 Dec"};
	static const int days[] = {0,	31,  59,  90,  120, 151,
				   181, 212, 243, 273, 304, 334};

	for (int i = 0; i < 12; i++) {
		uint64_t ms = (uint64_t)days[i] * 86400 * 1000;

		ck_assert_int_eq(strncmp(http_date(ms), starts[i], 11), 0);
	}
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, the_monotonic_clock_never_goes_back);
	tcase_add_test(tc, the_wall_clock_is_in_this_century);
	tcase_add_test(tc, fake_clocks_stand_still);
	tcase_add_test(tc, a_time_has_milliseconds_and_a_z);
	tcase_add_test(tc, a_time_after_the_year_9999_is_its_last_moment);
	tcase_add_test(tc, a_date_reads_as_in_rfc_9110);
	tcase_add_test(tc, every_month_and_weekday_has_its_name);
}

int main(void)
{
	Suite *suite = suite_create("clock");
	TCase *tc = tcase_create("clock");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
