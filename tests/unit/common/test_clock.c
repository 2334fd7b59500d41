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

START_TEST(a_date_that_was_written_is_read_again)
{
	static const char *const wrong[] = { "", "soon", "31 Feb", "\t",
					     "Sun, 06 Nov 1994 08:49:37 GMT+1",
					     "Sun, 06 Nov 1994 08:49:37" };
	uint64_t ms;

	ck_assert(clock_parse_http_date(
		span_of(http_date(UINT64_C(784111777999))), &ms));
	ck_assert_uint_eq(ms, UINT64_C(784111777000));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_msg(!clock_parse_http_date(span_of(wrong[i]), &ms),
			      "%s", wrong[i]);
}
END_TEST

START_TEST(a_date_before_1970_is_the_first_moment)
{
	static const char *const texts[] = { "Wed, 31 Dec 1969 23:59:59 GMT",
					     "Sun, 06 Nov 1949 08:49:37 GMT",
					     "Sat, 01 Jan 0001 00:00:00 GMT" };
	uint64_t ms = 1;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		ck_assert_msg(clock_parse_http_date(span_of(texts[i]), &ms),
			      "%s", texts[i]);
		ck_assert_uint_eq(ms, 0);
	}
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

static const struct {
	const char *text;
	uint64_t ms;
} times[] = {
	{ "1970-01-01", 0 },
	{ "1970-01-01T00:00:00Z", 0 },
	{ "2026-01-31T23:59:59.123Z", UINT64_C(1769903999123) },
	{ "2026-01-31t23:59:59.1239z", UINT64_C(1769903999123) },
	{ "2026-01-31 23:59:59.1Z", UINT64_C(1769903999100) },
	{ "2026-02-01T01:59:59.123+02:00", UINT64_C(1769903999123) },
	{ "2026-01-31T18:29:59.123-05:30", UINT64_C(1769903999123) },
	{ "2024-02-29", UINT64_C(1709164800000) },
	{ "2000-02-29", UINT64_C(951782400000) },
	{ "2016-12-31T23:59:60Z", UINT64_C(1483228800000) },
	{ "9999-12-31T23:59:59.999Z", UINT64_C(253402300799999) },
};

START_TEST(times_and_dates_are_read)
{
	uint64_t ms = 1;

	ck_assert_msg(clock_parse_rfc3339(span_of(times[_i].text), &ms), "%s",
		      times[_i].text);
	ck_assert_uint_eq(ms, times[_i].ms);
}
END_TEST

static const char *const no_times[] = {
	"", "2026", "2026-01", "2026-1-01", "2026-00-01", "2026-13-01",
	"2026-01-00", "2026-01-32", "2026-02-29", "2100-02-29", "1969-12-31",
	"1970-01-01T00:00:00+00:01", "2026-01-01T", "2026-01-01T00:00:00",
	"2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z",
	"2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+24:00",
	"2026-01-01T00:00:00+0200", "2026-01-01T00:00:00Zx", "2026-01-01x",
	"02026-01-01", "2026-01-01Z", "+026-01-01", "2026-01-01T00:00:00,5Z",
};

START_TEST(what_is_no_time_is_refused)
{
	uint64_t ms;

	ck_assert_msg(!clock_parse_rfc3339(span_of(no_times[_i]), &ms), "%s",
		      no_times[_i]);
}
END_TEST

START_TEST(what_is_written_is_read_again)
{
	char text[CLOCK_RFC3339_SIZE];
	uint64_t ms, again;

	/* steps that are no divisor of anything in a calendar */
	for (ms = 0; ms < UINT64_C(253402300799999);
	     ms += UINT64_C(86399999) * 97) {
		clock_format_rfc3339(ms, text);
		ck_assert(clock_parse_rfc3339(span_of(text), &again));
		ck_assert_uint_eq(again, ms);
	}
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_loop_test(tc, times_and_dates_are_read, 0,
			    sizeof(times) / sizeof(*times));
	tcase_add_loop_test(tc, what_is_no_time_is_refused, 0,
			    sizeof(no_times) / sizeof(*no_times));
	tcase_add_test(tc, what_is_written_is_read_again);
	tcase_add_test(tc, the_monotonic_clock_never_goes_back);
	tcase_add_test(tc, the_wall_clock_is_in_this_century);
	tcase_add_test(tc, fake_clocks_stand_still);
	tcase_add_test(tc, a_time_has_milliseconds_and_a_z);
	tcase_add_test(tc, a_time_after_the_year_9999_is_its_last_moment);
	tcase_add_test(tc, a_date_reads_as_in_rfc_9110);
	tcase_add_test(tc, a_date_that_was_written_is_read_again);
	tcase_add_test(tc, a_date_before_1970_is_the_first_moment);
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
