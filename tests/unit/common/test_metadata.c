#include "common/metadata.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct metadata m;
static struct err err;
static char field[METADATA_FIELD_SIZE], json[METADATA_JSON_SIZE];

static void set_up(void)
{
	metadata_init(&m);
	err = ERR_INIT;
}

static int add_span(const char *key, struct span value)
{
	if (metadata_begin(&m, span_of(key), &err) < 0 ||
	    metadata_append(&m, value, &err) < 0)
		return -1;
	return metadata_end(&m, &err);
}

static int add(const char *key, const char *value)
{
	return add_span(key, span_of(value));
}

static const char *json_of(void)
{
	metadata_to_json(&m, json);
	return json;
}

static const char *field_of(void)
{
	metadata_format(&m, field);
	return field;
}

static char *many(char c, size_t n)
{
	static char text[4096];

	memset(text, c, n);
	text[n] = '\0';
	return text;
}

static void expect_refusal(int rc, const char *part)
{
	ck_assert_int_eq(rc, -1);
	ck_assert_int_eq(err.status, 400);
	ck_assert_msg(strstr(err.text, part), "%s", err.text);
	set_up();
}

START_TEST(an_empty_set_says_nothing)
{
	ck_assert_str_eq(json_of(), "");
	ck_assert_str_eq(field_of(), "");
	ck_assert_str_eq(metadata_get(&m, "title"), "");
}
END_TEST

START_TEST(title_and_creator_stand_apart)
{
	ck_assert_int_eq(add("title", "T"), 0);
	ck_assert_int_eq(add("year", "1959"), 0);
	ck_assert_int_eq(add("creator", "C"), 0);
	ck_assert_int_eq(add("Title", "other"), 0);
	ck_assert_str_eq(metadata_get(&m, "title"), "T");
	ck_assert_str_eq(metadata_get(&m, "creator"), "C");
	ck_assert_str_eq(json_of(), "{\"year\":\"1959\",\"Title\":\"other\"}");
	ck_assert_str_eq(field_of(),
			 "title VA==,year MTk1OQ==,creator Qw==,Title b3RoZXI=");
}
END_TEST

START_TEST(a_value_may_come_in_pieces)
{
	ck_assert_int_eq(metadata_begin(&m, SPAN_LIT("k"), &err), 0);
	ck_assert_int_eq(metadata_append(&m, SPAN_LIT("\xc3"), &err), 0);
	ck_assert_int_eq(metadata_append(&m, SPAN_LIT("\xb6!"), &err), 0);
	ck_assert_int_eq(metadata_end(&m, &err), 0);
	ck_assert_str_eq(metadata_get(&m, "k"), "ö!");
}
END_TEST

START_TEST(a_key_keeps_its_first_value)
{
	ck_assert_int_eq(add("k", "1"), 0);
	ck_assert_int_eq(add("k", many('x', 4000)), 0);
	ck_assert_int_eq(add("l", ""), 0);
	ck_assert_str_eq(json_of(), "{\"k\":\"1\",\"l\":\"\"}");
}
END_TEST

START_TEST(names_and_types_of_files_are_dropped)
{
	ck_assert_int_eq(add("filename", many('x', 4000)), 0);
	ck_assert_int_eq(add("filetype", "\xff"), 0);
	ck_assert_str_eq(field_of(), "");
}
END_TEST

START_TEST(json_has_its_escapes)
{
	ck_assert_int_eq(add("a\"\\", "\"\\/\b\f\n\r\t\x01\x1f\x7fö"), 0);
	ck_assert_str_eq(json_of(), "{\"a\\\"\\\\\":\"\\\"\\\\/\\b\\f\\n\\r\\t"
				    "\\u0001\\u001F\x7fö\"}");
}
END_TEST

START_TEST(keys_are_visible_ascii_without_commas)
{
	expect_refusal(add("", "v"), "1 to 64");
	expect_refusal(add("a b", "v"), "1 to 64");
	expect_refusal(add("a,b", "v"), "1 to 64");
	expect_refusal(add("a\x7f", "v"), "1 to 64");
	expect_refusal(add("ö", "v"), "1 to 64");
	expect_refusal(add(many('k', 65), "v"), "1 to 64");
	ck_assert_int_eq(add(many('k', 64), "v"), 0);
	ck_assert_int_eq(add("!~", "v"), 0);
}
END_TEST

START_TEST(values_are_utf8_without_nul)
{
	expect_refusal(add("k", "\xff"), "\"k\" is not UTF-8");
	expect_refusal(add("title", "\xc3"), "\"title\" is not UTF-8");
	expect_refusal(add_span("k", SPAN_LIT("a\0b")), "\"k\" is not UTF-8");
}
END_TEST

START_TEST(texts_have_less_than_512_bytes)
{
	ck_assert_int_eq(add("title", many('x', 511)), 0);
	expect_refusal(add("creator", many('x', 512)), "511");
}
END_TEST

START_TEST(the_json_has_less_than_2048_bytes)
{
	/* {"k":""} are eight */
	ck_assert_int_eq(add("k", many('x', 2047 - 8)), 0);
	ck_assert_uint_eq(strlen(json_of()), 2047);
	expect_refusal(add("l", ""), "2047");
	expect_refusal(add("k", many('x', 2048 - 8)), "2047");
	expect_refusal(add("k", many('"', 1020)), "2047");
	expect_refusal(add("k", many('x', 4000)), "2047");
}
END_TEST

START_TEST(the_fullest_set_still_fits_everywhere)
{
	char key[16];
	int n = 0;

	do
		snprintf(key, sizeof(key), "%d", ++n);
	while (add(key, "") == 0);
	err = ERR_INIT;
	ck_assert_int_gt(n, 200);
	ck_assert_int_eq(add("title", many('x', 511)), 0);
	ck_assert_int_eq(add("creator", many('x', 511)), 0);
	ck_assert_uint_lt(strlen(json_of()), METADATA_JSON_SIZE);
	ck_assert_uint_lt(strlen(field_of()), METADATA_FIELD_SIZE);
}
END_TEST

START_TEST(what_was_written_reads_the_same)
{
	struct metadata again;
	char other[METADATA_FIELD_SIZE];

	ck_assert_int_eq(add("title", "Größe ☃"), 0);
	ck_assert_int_eq(add("flag", ""), 0);
	ck_assert_int_eq(add("k", many('\n', 900)), 0);
	metadata_init(&again);
	ck_assert_int_eq(metadata_parse(&again, span_of(field_of()), &err), 0);
	metadata_format(&again, other);
	ck_assert_str_eq(other, field);
}
END_TEST

START_TEST(blanks_around_pairs_do_not_count)
{
	ck_assert_int_eq(metadata_parse(&m, SPAN_LIT(" a YQ== , b, c  Yw== "),
					&err), 0);
	ck_assert_str_eq(json_of(), "{\"a\":\"a\",\"b\":\"\",\"c\":\"c\"}");
	ck_assert_int_eq(metadata_parse(&m, SPAN_LIT("  "), &err), 0);
}
END_TEST

static const struct {
	const char *field, *reason;
} malformed[] = {
	{ ",", "1 to 64" },
	{ "a YQ==,", "1 to 64" },
	{ "a YQ", "base64" },
	{ "a YQ== YQ==", "base64" },
	{ "a YQ==,a YQ==", "twice" },
	{ "title YQ==,title", "twice" },
	{ "a /w==", "UTF-8" },
	{ "a AA==", "UTF-8" },
	{ "ö YQ==", "1 to 64" },
};

START_TEST(a_malformed_field_is_refused)
{
	expect_refusal(metadata_parse(&m, span_of(malformed[_i].field), &err),
		       malformed[_i].reason);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_checked_fixture(tc, set_up, NULL);
	tcase_add_test(tc, an_empty_set_says_nothing);
	tcase_add_test(tc, title_and_creator_stand_apart);
	tcase_add_test(tc, a_value_may_come_in_pieces);
	tcase_add_test(tc, a_key_keeps_its_first_value);
	tcase_add_test(tc, names_and_types_of_files_are_dropped);
	tcase_add_test(tc, json_has_its_escapes);
	tcase_add_test(tc, keys_are_visible_ascii_without_commas);
	tcase_add_test(tc, values_are_utf8_without_nul);
	tcase_add_test(tc, texts_have_less_than_512_bytes);
	tcase_add_test(tc, the_json_has_less_than_2048_bytes);
	tcase_add_test(tc, the_fullest_set_still_fits_everywhere);
	tcase_add_test(tc, what_was_written_reads_the_same);
	tcase_add_test(tc, blanks_around_pairs_do_not_count);
	tcase_add_loop_test(tc, a_malformed_field_is_refused, 0,
			    sizeof(malformed) / sizeof(*malformed));
}

int main(void)
{
	Suite *suite = suite_create("metadata");
	TCase *tc = tcase_create("metadata");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
