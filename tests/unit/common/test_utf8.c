#include "common/utf8.h"

#include <check.h>
#include <stdlib.h>

static const struct {
	struct span text;
	uint32_t code;
} characters[] = {
	{{"\0", 1}, 0},
	{{"a", 1}, 'a'},
	{{"\x7f", 1}, 0x7f},
	{{"\xc2\x80", 2}, 0x80},
	{{"\xdf\xbf", 2}, 0x7ff},
	{{"\xe0\xa0\x80", 3}, 0x800},
	{{"\xed\x9f\xbf", 3}, 0xd7ff},
	{{"\xee\x80\x80", 3}, 0xe000},
	{{"\xef\xbf\xbf", 3}, 0xffff},
	{{"\xf0\x90\x80\x80", 4}, 0x10000},
	{{"\xf4\x8f\xbf\xbf", 4}, 0x10ffff},
};

static const struct span invalid[] = {
	{"", 0},
	{"\x80", 1},
	{"\xbf", 1},
	{"\xc0\x80", 2},
	{"\xc1\xbf", 2},
	{"\xc2", 1},
	{"\xc2\x41", 2},
	{"\xc2\xc2", 2},
	{"\xe0\x9f\xbf", 3},
	{"\xe2\x82", 2},
	{"\xe2\x82\xac", 2}, /* the third byte is not part of it */
	{"\xed\xa0\x80", 3},
	{"\xed\xbf\xbf", 3},
	{"\xf0\x8f\xbf\xbf", 4},
	{"\xf0\x90\x80", 3},
	{"\xf4\x90\x80\x80", 4},
	{"\xf5\x80\x80\x80", 4},
	{"\xff", 1},
};

START_TEST(a_character_has_its_length_and_number)
{
	uint32_t code = 1;

	ck_assert_uint_eq(utf8_next(characters[_i].text, &code),
			  characters[_i].text.len);
	ck_assert_uint_eq(code, characters[_i].code);
	ck_assert(utf8_is_valid(characters[_i].text));
}
END_TEST

START_TEST(what_is_no_character_has_no_length)
{
	uint32_t code;

	ck_assert_uint_eq(utf8_next(invalid[_i], &code), 0);
	ck_assert_int_eq(utf8_is_valid(invalid[_i]), invalid[_i].len == 0);
}
END_TEST

START_TEST(one_bad_byte_spoils_a_text)
{
	ck_assert(utf8_is_valid(SPAN_LIT("h\xc3\xa4 \xe2\x82\xac")));
	ck_assert(!utf8_is_valid(SPAN_LIT("h\xc3\xa4 \xe2\x82\xac\xff")));
	ck_assert(utf8_is_valid(span_make(NULL, 0)));
}
END_TEST

START_TEST(bad_bytes_are_replaced_one_by_one)
{
	struct span text = SPAN_LIT("a\xff\xe2\x82z\xc3\xa4");
	char out[32];
	size_t len = utf8_repair(text, out);

	ck_assert(span_eq(
		span_make(out, len),
		SPAN_LIT("a" UTF8_REPLACEMENT UTF8_REPLACEMENT UTF8_REPLACEMENT
			 "z\xc3\xa4")));
	ck_assert_uint_eq(utf8_repair(span_make(NULL, 0), out), 0);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_loop_test(tc, a_character_has_its_length_and_number, 0,
			    sizeof(characters) / sizeof(*characters));
	tcase_add_loop_test(tc, what_is_no_character_has_no_length, 0,
			    sizeof(invalid) / sizeof(*invalid));
	tcase_add_test(tc, one_bad_byte_spoils_a_text);
	tcase_add_test(tc, bad_bytes_are_replaced_one_by_one);
}

int main(void)
{
	Suite *suite = suite_create("utf8");
	TCase *tc = tcase_create("utf8");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
