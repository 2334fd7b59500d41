#include "common/uuid.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define WALL_MS UINT64_C(0x017f22e279b0)

static char last[UUID_TEXT_SIZE], next[UUID_TEXT_SIZE];

START_TEST(an_identifier_begins_with_its_time)
{
	uuid_v7(WALL_MS, next);
	ck_assert(uuid_is_valid(span_of(next)));
	ck_assert_int_eq(strncmp(next, "017f22e2-79b0-7", 15), 0);
	ck_assert_ptr_nonnull(strchr("89ab", next[19]));
}
END_TEST

START_TEST(identifiers_of_one_millisecond_ascend)
{
	uuid_v7(WALL_MS, last);
	for (int i = 0; i < 20000; i++) {
		uuid_v7(WALL_MS, next);
		ck_assert_str_lt(last, next);
		strcpy(last, next);
	}
}
END_TEST

START_TEST(a_full_counter_runs_ahead_of_the_clock)
{
	for (int i = 0; i < 0x1000; i++)
		uuid_v7(WALL_MS, next);
	ck_assert_int_eq(strncmp(next, "017f22e2-79b1", 13), 0);
}
END_TEST

START_TEST(a_clock_set_back_a_little_keeps_the_order)
{
	uuid_v7(WALL_MS, last);
	uuid_v7(WALL_MS - 1000, next);
	ck_assert_str_lt(last, next);
}
END_TEST

START_TEST(a_clock_set_back_far_is_followed)
{
	uuid_v7(WALL_MS, last);
	uuid_v7(WALL_MS - 0x100000, next);
	ck_assert_int_eq(strncmp(next, "017f22d2-79b0", 13), 0);
}
END_TEST

START_TEST(a_new_millisecond_starts_below_half_of_the_counter)
{
	for (uint64_t i = 0; i < 200; i++) {
		uuid_v7(WALL_MS + i, next);
		ck_assert_int_lt(next[15], '8');
	}
}
END_TEST

START_TEST(the_random_part_differs)
{
	for (int i = 0; i < 1000; i++) {
		uuid_v7(WALL_MS, next);
		ck_assert_str_ne(next + 19, last + 19);
		strcpy(last, next);
	}
}
END_TEST

static void *make_one(void *text)
{
	uuid_v7(WALL_MS, text);
	return NULL;
}

START_TEST(two_threads_make_different_ones)
{
	pthread_t thread;

	uuid_v7(WALL_MS, last);
	ck_assert_int_eq(pthread_create(&thread, NULL, make_one, next), 0);
	pthread_join(thread, NULL);
	ck_assert(uuid_is_valid(span_of(next)));
	ck_assert_str_ne(last + 19, next + 19);
}
END_TEST

/* printf 'tus\0report.pdf' | sha256sum, with version and variant set */
START_TEST(a_name_gives_the_same_identifier_everywhere)
{
	uuid_from_name("tus", SPAN_LIT("report.pdf"), next);
	ck_assert_str_eq(next, "369e707b-2836-875f-a507-5b981ce0f57a");
}
END_TEST

START_TEST(names_of_different_spaces_differ)
{
	uuid_from_name("a", SPAN_LIT("bc"), last);
	uuid_from_name("ab", SPAN_LIT("c"), next);
	ck_assert_str_ne(last, next);
}
END_TEST

START_TEST(an_empty_name_has_an_identifier_too)
{
	uuid_from_name("tus", span_make(NULL, 0), next);
	ck_assert(uuid_is_valid(span_of(next)));
	ck_assert_int_eq(next[14], '8');
}
END_TEST

START_TEST(only_the_canonical_form_is_valid)
{
	static const char *const wrong[] = {
		"",
		"017f22e2-79b0-7cc3-98c4-dc0c0c07398",
		"017f22e2-79b0-7cc3-98c4-dc0c0c07398f0",
		"017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
		"017f22e279b0-7cc3-98c4-dc0c0c07398f00",
		"017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
		"017f22e2079b0-7cc3-98c4-dc0c0c07398f",
		"{17f22e2-79b0-7cc3-98c4-dc0c0c07398}",
		"../../..-79b0-7cc3-98c4-dc0c0c07398f"};

	ck_assert(uuid_is_valid(
		SPAN_LIT("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		ck_assert_msg(!uuid_is_valid(span_of(wrong[i])), "%s",
			      wrong[i]);
}
END_TEST

START_TEST(the_time_of_an_identifier_comes_back)
{
	static const uint64_t times[] = { 0, 1, WALL_MS,
					  UINT64_C(0xffffffffffff) };
	uint64_t ms;

	ck_assert(uuid_time_ms(
		SPAN_LIT("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"), &ms));
	ck_assert_uint_eq(ms, WALL_MS);
	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
		snprintf(next, sizeof(next), "%08x-%04x-7000-8000-%012x",
			 (unsigned int)(times[i] >> 16),
			 (unsigned int)(times[i] & 0xffff), 0u);
		ck_assert(uuid_time_ms(span_of(next), &ms));
		ck_assert_uint_eq(ms, times[i]);
	}
}
END_TEST

START_TEST(only_version_7_has_a_time)
{
	static const char *const others[] = {
		"",
		"017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
		"017f22e2-79b0-8cc3-98c4-dc0c0c07398f",
		"017f22e2-79b0-7cc3-78c4-dc0c0c07398f",
		"017f22e2-79b0-7cc3-c8c4-dc0c0c07398f",
		"017F22E2-79B0-7CC3-98C4-DC0C0C07398F"};
	uint64_t ms;

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		ck_assert_msg(!uuid_time_ms(span_of(others[i]), &ms), "%s",
			      others[i]);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, an_identifier_begins_with_its_time);
	tcase_add_test(tc, identifiers_of_one_millisecond_ascend);
	tcase_add_test(tc, a_full_counter_runs_ahead_of_the_clock);
	tcase_add_test(tc, a_clock_set_back_a_little_keeps_the_order);
	tcase_add_test(tc, a_clock_set_back_far_is_followed);
	tcase_add_test(tc, a_new_millisecond_starts_below_half_of_the_counter);
	tcase_add_test(tc, the_random_part_differs);
	tcase_add_test(tc, two_threads_make_different_ones);
	tcase_add_test(tc, a_name_gives_the_same_identifier_everywhere);
	tcase_add_test(tc, names_of_different_spaces_differ);
	tcase_add_test(tc, an_empty_name_has_an_identifier_too);
	tcase_add_test(tc, only_the_canonical_form_is_valid);
	tcase_add_test(tc, the_time_of_an_identifier_comes_back);
	tcase_add_test(tc, only_version_7_has_a_time);
}

int main(void)
{
	Suite *suite = suite_create("uuid");
	TCase *tc = tcase_create("uuid");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
