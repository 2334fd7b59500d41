#include "common/span.h"

#include <check.h>
#include <stdlib.h>

START_TEST(spans_are_equal_by_their_bytes)
{
	ck_assert(span_eq(SPAN_LIT("abc"), span_make("abcd", 3)));
	ck_assert(!span_eq(SPAN_LIT("abc"), SPAN_LIT("abd")));
	ck_assert(!span_eq(SPAN_LIT("abc"), SPAN_LIT("ab")));
	ck_assert(!span_eq(SPAN_LIT("a\0b"), SPAN_LIT("a\0c")));
	ck_assert(!span_eq(SPAN_LIT("abc"), SPAN_LIT("Abc")));
}
END_TEST

START_TEST(nothing_equals_nothing)
{
	ck_assert(span_eq(span_make(NULL, 0), SPAN_LIT("")));
	ck_assert(span_eq_nocase(SPAN_LIT(""), span_of(NULL)));
	ck_assert(!span_eq(span_of(NULL), SPAN_LIT("a")));
}
END_TEST

START_TEST(letters_may_be_compared_without_case)
{
	ck_assert(span_eq_nocase(SPAN_LIT("Content-Length"),
				 SPAN_LIT("cONTENT-lENGTH")));
	ck_assert(!span_eq_nocase(SPAN_LIT("a-"), SPAN_LIT("a_")));
	ck_assert(!span_eq_nocase(SPAN_LIT("[@"), SPAN_LIT("{`")));
}
END_TEST

START_TEST(a_prefix_is_no_longer_than_its_text)
{
	ck_assert(
		span_starts_with(SPAN_LIT("READER_PORT"), SPAN_LIT("READER_")));
	ck_assert(span_starts_with(SPAN_LIT("a"), SPAN_LIT("a")));
	ck_assert(span_starts_with(SPAN_LIT("a"), span_of(NULL)));
	ck_assert(!span_starts_with(span_make("abc", 2), SPAN_LIT("abc")));
	ck_assert(!span_starts_with(SPAN_LIT("xab"), SPAN_LIT("ab")));
}
END_TEST

START_TEST(trimming_takes_spaces_and_tabs_and_nothing_else)
{
	ck_assert(span_eq(span_trim(SPAN_LIT(" \t a b\t ")), SPAN_LIT("a b")));
	ck_assert(span_eq(span_trim(SPAN_LIT("\na\r")), SPAN_LIT("\na\r")));
	ck_assert_uint_eq(span_trim(SPAN_LIT(" \t ")).len, 0);
	ck_assert_uint_eq(span_trim(span_make(NULL, 0)).len, 0);
}
END_TEST

START_TEST(cutting_takes_one_piece_after_the_other)
{
	struct span rest = SPAN_LIT("a,,b");

	ck_assert(span_eq(span_cut(&rest, ','), SPAN_LIT("a")));
	ck_assert(span_eq(span_cut(&rest, ','), SPAN_LIT("")));
	ck_assert_ptr_nonnull(rest.ptr);
	ck_assert(span_eq(span_cut(&rest, ','), SPAN_LIT("b")));
	ck_assert_ptr_null(rest.ptr);
	ck_assert_uint_eq(rest.len, 0);
}
END_TEST

START_TEST(a_separator_at_the_end_leaves_an_empty_rest)
{
	struct span rest = SPAN_LIT("a,");

	ck_assert(span_eq(span_cut(&rest, ','), SPAN_LIT("a")));
	ck_assert_uint_eq(rest.len, 0);
	ck_assert_ptr_nonnull(rest.ptr);
}
END_TEST

START_TEST(cutting_nothing_gives_nothing)
{
	struct span rest = span_make(NULL, 0);

	ck_assert_uint_eq(span_cut(&rest, ',').len, 0);
	ck_assert_ptr_null(rest.ptr);
}
END_TEST

START_TEST(a_string_needs_room_for_its_nul)
{
	char buf[4] = "zzz";

	ck_assert(span_to_string(SPAN_LIT("abc"), buf, sizeof(buf)));
	ck_assert_str_eq(buf, "abc");
	ck_assert(!span_to_string(SPAN_LIT("abcd"), buf, sizeof(buf)));
	ck_assert_str_eq(buf, "");
	ck_assert(span_to_string(span_make(NULL, 0), buf, sizeof(buf)));
	ck_assert_str_eq(buf, "");
}
END_TEST

START_TEST(a_string_holds_no_nul)
{
	char buf[8] = "zzz";

	ck_assert(!span_to_string(SPAN_LIT("a\0b"), buf, sizeof(buf)));
	ck_assert_str_eq(buf, "");
}
END_TEST

START_TEST(a_span_of_a_string_ends_before_its_nul)
{
	ck_assert_uint_eq(span_of("abc").len, 3);
	ck_assert_uint_eq(span_of(NULL).len, 0);
	ck_assert_uint_eq(SPAN_LIT("a\0b").len, 3);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, spans_are_equal_by_their_bytes);
	tcase_add_test(tc, nothing_equals_nothing);
	tcase_add_test(tc, letters_may_be_compared_without_case);
	tcase_add_test(tc, a_prefix_is_no_longer_than_its_text);
	tcase_add_test(tc, trimming_takes_spaces_and_tabs_and_nothing_else);
	tcase_add_test(tc, cutting_takes_one_piece_after_the_other);
	tcase_add_test(tc, a_separator_at_the_end_leaves_an_empty_rest);
	tcase_add_test(tc, cutting_nothing_gives_nothing);
	tcase_add_test(tc, a_string_needs_room_for_its_nul);
	tcase_add_test(tc, a_string_holds_no_nul);
	tcase_add_test(tc, a_span_of_a_string_ends_before_its_nul);
}

int main(void)
{
	Suite *suite = suite_create("span");
	TCase *tc = tcase_create("span");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
