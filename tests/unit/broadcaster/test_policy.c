#include "broadcaster/policy.h"

#include <check.h>
#include <stdlib.h>

static struct target_list list;
static struct policy policy;

static void setup(void)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(targets_parse(&list, SPAN_LIT("a:1;b:2;scan=c:3;d:4"),
				       SPAN_LIT("scan"), &err),
			 0);
}

static void teardown(void)
{
	targets_release(&list);
}

static int parse(const char *quorum)
{
	struct err err = ERR_INIT;

	return policy_parse(&policy, span_of(quorum), &list, &err);
}

START_TEST(all_demands_every_target)
{
	ck_assert_int_eq(parse("all"), 0);
	ck_assert(policy_is_met(&policy, 0xf));
	ck_assert(!policy_is_met(&policy, 0x7));
}
END_TEST

START_TEST(majority_demands_more_than_half)
{
	ck_assert_int_eq(parse("majority"), 0);
	ck_assert_uint_eq(policy.copies, 3);
	ck_assert(policy_is_met(&policy, 0x7));
	ck_assert(!policy_is_met(&policy, 0x6));
}
END_TEST

START_TEST(a_number_demands_that_many)
{
	ck_assert_int_eq(parse("2"), 0);
	ck_assert(policy_is_met(&policy, 0x5));
	ck_assert(!policy_is_met(&policy, 0x4));
}
END_TEST

START_TEST(without_a_required_target_nothing_suffices)
{
	ck_assert_int_eq(parse("1"), 0);
	ck_assert(!policy_is_met(&policy, 0xb));
	ck_assert(policy_is_met(&policy, 0x4));
}
END_TEST

static const char *const bad[] = { "", "0", "5", "-1", "ALL", "2x", "two" };

START_TEST(other_quorums_are_refused)
{
	ck_assert_int_eq(parse(bad[_i]), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy");
	TCase *tc = tcase_create("policy");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, all_demands_every_target);
	tcase_add_test(tc, majority_demands_more_than_half);
	tcase_add_test(tc, a_number_demands_that_many);
	tcase_add_test(tc, without_a_required_target_nothing_suffices);
	tcase_add_loop_test(tc, other_quorums_are_refused, 0,
			    sizeof(bad) / sizeof(bad[0]));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
