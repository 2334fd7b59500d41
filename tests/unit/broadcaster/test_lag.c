#include "broadcaster/lag.h"

#include <check.h>
#include <stdlib.h>

static struct lag_clock watch;
static struct lag lags[2];

static void setup(void)
{
	lag_clock_init(&watch, 1000);
	lag_init(&lags[0], 1000);
	lag_init(&lags[1], 1000);
}

START_TEST(time_without_a_holder_is_nobodys)
{
	lag_charge(&watch, lags, LAG_NOBODY, 61000);
	ck_assert_uint_eq(lags[0].total_ms, 0);
	ck_assert_uint_eq(lags[1].total_ms, 0);
}
END_TEST

START_TEST(time_is_charged_to_the_holder_alone)
{
	lag_charge(&watch, lags, 1, 2000);
	lag_charge(&watch, lags, 0, 5000);
	lag_charge(&watch, lags, LAG_NOBODY, 5500);
	ck_assert_uint_eq(lags[1].total_ms, 3000);
	ck_assert_uint_eq(lags[0].total_ms, 500);
}
END_TEST

START_TEST(a_target_that_never_catches_up_is_behind_after_the_limit)
{
	lag_queued(&lags[0], 1000);
	lag_charge(&watch, lags, 0, 1000);
	lag_charge(&watch, lags, 0, 10999);
	ck_assert(!lag_is_behind(&lags[0], 10000));
	lag_charge(&watch, lags, 0, 11000);
	ck_assert(lag_is_behind(&lags[0], 10000));
}
END_TEST

START_TEST(catching_up_clears_what_was_held_against_it)
{
	lag_charge(&watch, lags, 0, 1000);
	lag_charge(&watch, lags, LAG_NOBODY, 9000);
	lag_sent(&lags[0], 0, 9000);
	lag_charge(&watch, lags, 0, 9000);
	lag_charge(&watch, lags, 0, 12000);
	ck_assert(!lag_is_behind(&lags[0], 10000));
	ck_assert_uint_eq(lags[0].total_ms, 11000);
}
END_TEST

START_TEST(a_limit_of_zero_means_never)
{
	lag_charge(&watch, lags, 0, 1000);
	lag_charge(&watch, lags, 0, 999999);
	ck_assert(!lag_is_behind(&lags[0], 0));
}
END_TEST

START_TEST(a_target_with_nothing_to_send_never_stalls)
{
	ck_assert(!lag_is_stalled(&lags[0], 1, 999999));
}
END_TEST

START_TEST(a_stall_counts_from_the_first_unsent_byte_or_the_last_progress)
{
	lag_queued(&lags[0], 50000);
	ck_assert(!lag_is_stalled(&lags[0], 30000, 79999));
	ck_assert(lag_is_stalled(&lags[0], 30000, 80000));
	lag_sent(&lags[0], 10, 79000);
	ck_assert(!lag_is_stalled(&lags[0], 30000, 80000));
	ck_assert(lag_is_stalled(&lags[0], 30000, 109000));
}
END_TEST

START_TEST(time_that_is_forgiven_makes_no_stall)
{
	lag_queued(&lags[0], 5000);
	lag_forgive(&lags[0], 60000);
	ck_assert(!lag_is_stalled(&lags[0], 1000, 65500));
	ck_assert(lag_is_stalled(&lags[0], 1000, 66000));
}
END_TEST

START_TEST(progress_ahead_of_the_clock_is_no_stall)
{
	lag_queued(&lags[0], 5000);
	lag_forgive(&lags[0], 60000);
	ck_assert(!lag_is_stalled(&lags[0], 1000, 6000));
}
END_TEST

START_TEST(the_recent_window_forgets_after_ten_seconds)
{
	lag_charge(&watch, lags, 0, 1000);
	lag_charge(&watch, lags, LAG_NOBODY, 3500);
	ck_assert_uint_eq(lag_recent_ms(&lags[0], 3500), 2500);
	ck_assert_uint_eq(lag_recent_ms(&lags[0], 10500), 2500);
	ck_assert_uint_eq(lag_recent_ms(&lags[0], 11500), 1500);
	ck_assert_uint_eq(lag_recent_ms(&lags[0], 60000), 0);
}
END_TEST

START_TEST(the_recent_window_never_exceeds_its_length)
{
	lag_charge(&watch, lags, 0, 1000);
	lag_charge(&watch, lags, LAG_NOBODY, 500000);
	ck_assert_uint_le(lag_recent_ms(&lags[0], 500000), 10000);
	ck_assert_uint_ge(lag_recent_ms(&lags[0], 500000), 9000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lag");
	TCase *tc = tcase_create("lag");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, time_without_a_holder_is_nobodys);
	tcase_add_test(tc, time_is_charged_to_the_holder_alone);
	tcase_add_test(tc,
		       a_target_that_never_catches_up_is_behind_after_the_limit);
	tcase_add_test(tc, catching_up_clears_what_was_held_against_it);
	tcase_add_test(tc, a_limit_of_zero_means_never);
	tcase_add_test(tc, a_target_with_nothing_to_send_never_stalls);
	tcase_add_test(
		tc,
		a_stall_counts_from_the_first_unsent_byte_or_the_last_progress);
	tcase_add_test(tc, time_that_is_forgiven_makes_no_stall);
	tcase_add_test(tc, progress_ahead_of_the_clock_is_no_stall);
	tcase_add_test(tc, the_recent_window_forgets_after_ten_seconds);
	tcase_add_test(tc, the_recent_window_never_exceeds_its_length);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
