#include "broadcaster/media_order.h"

#include <check.h>
#include <stdlib.h>

static unsigned char order[64];
static bool is_shy[64];

static void assert_order(unsigned int n, unsigned int start, unsigned int failed,
			 const char *wanted)
{
	media_order(n, start, is_shy, failed, order);
	for (unsigned int i = 0; i < n; i++)
		ck_assert_int_eq(order[i], wanted[i] - '0');
}

START_TEST(everybody_has_a_turn_to_be_first)
{
	assert_order(3, 0, MEDIA_ORDER_NOBODY, "012");
	assert_order(3, 1, MEDIA_ORDER_NOBODY, "120");
	assert_order(3, 2, MEDIA_ORDER_NOBODY, "201");
	assert_order(3, 3, MEDIA_ORDER_NOBODY, "012");
}
END_TEST

START_TEST(the_turns_go_on_when_the_number_overflows)
{
	assert_order(2, UINT_MAX, MEDIA_ORDER_NOBODY, "10");
}
END_TEST

START_TEST(who_did_not_answer_lately_comes_after_the_others)
{
	is_shy[1] = is_shy[2] = true;
	assert_order(4, 1, MEDIA_ORDER_NOBODY, "3012");
	is_shy[1] = is_shy[2] = false;
}
END_TEST

START_TEST(who_has_just_failed_comes_last_of_all)
{
	is_shy[2] = true;
	assert_order(4, 0, 0, "1320");
	is_shy[2] = false;
}
END_TEST

START_TEST(everybody_stands_in_it_once)
{
	for (unsigned int start = 0; start < 70; start++) {
		uint64_t seen = 0;

		is_shy[start % 64] = true;
		media_order(64, start, is_shy, (start * 7) % 64, order);
		for (unsigned int i = 0; i < 64; i++)
			seen |= UINT64_C(1) << order[i];
		ck_assert_uint_eq(seen, UINT64_MAX);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("media_order");
	TCase *tc = tcase_create("media_order");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, everybody_has_a_turn_to_be_first);
	tcase_add_test(tc, the_turns_go_on_when_the_number_overflows);
	tcase_add_test(tc, who_did_not_answer_lately_comes_after_the_others);
	tcase_add_test(tc, who_has_just_failed_comes_last_of_all);
	tcase_add_test(tc, everybody_stands_in_it_once);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
