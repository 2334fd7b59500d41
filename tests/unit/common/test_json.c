#include "common/json.h"

#include <check.h>
#include <stdlib.h>

static struct err err;

static void make_err(void)
{
	err = ERR_INIT;
}

static void expect_text(struct span text, const char *printed)
{
	size_t len;
	char *out = json_print(json_text(text), &len);

	ck_assert_str_eq(out, printed);
	ck_assert_uint_eq(len, strlen(printed));
	free(out);
}

static void expect_refused(struct span text, const char *reason)
{
	ck_assert_ptr_null(json_parse_object(text, &err));
	ck_assert_int_eq(err.code, ERR_CLIENT);
	ck_assert_msg(strstr(err.text, reason) != NULL, "%s", err.text);
}

START_TEST(text_is_printed_as_it_is)
{
	expect_text(SPAN_LIT("h\xc3\xa4 \"\n"), "\"h\xc3\xa4 \\\"\\n\"\n");
	expect_text(span_make(NULL, 0), "\"\"\n");
	expect_text(SPAN_LIT("a\0b"), "\"a\\u0000b\"\n");
}
END_TEST

START_TEST(bytes_that_are_not_utf8_are_replaced)
{
	expect_text(SPAN_LIT("a\xff\xed\xa0\x80z"),
		    "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\"\n");
}
END_TEST

START_TEST(any_single_byte_is_a_text)
{
	for (int i = 0; i < 256; i++) {
		char byte = (char)i;
		json_t *text = json_text(span_make(&byte, 1));

		ck_assert_ptr_nonnull(text);
		json_decref(text);
	}
}
END_TEST

START_TEST(an_object_is_parsed)
{
	json_t *object =
		json_parse_object(SPAN_LIT(" {\"a\":1,\"b\":[true]}\n"), &err);

	ck_assert_ptr_nonnull(object);
	ck_assert_int_eq(json_integer_value(json_object_get(object, "a")), 1);
	json_decref(object);
}
END_TEST

START_TEST(members_are_printed_in_the_order_they_came)
{
	json_t *object = json_parse_object(
		SPAN_LIT("{\"z\": 1, \"a\": \"\xc3\xa4\", \"m\": {}}"), &err);
	size_t len;
	char *out = json_print(object, &len);

	ck_assert_str_eq(out, "{\"z\":1,\"a\":\"\xc3\xa4\",\"m\":{}}\n");
	ck_assert_uint_eq(len, strlen(out));
	free(out);
}
END_TEST

START_TEST(printing_steals_the_reference)
{
	json_t *object = json_object();
	size_t len;

	json_incref(object);
	free(json_print(object, &len));
	ck_assert_uint_eq(object->refcount, 1);
	json_decref(object);
}
END_TEST

START_TEST(printing_nothing_gives_nothing)
{
	size_t len;

	ck_assert_ptr_null(json_print(NULL, &len));
}
END_TEST

START_TEST(what_is_malformed_is_refused_with_its_place)
{
	expect_refused(SPAN_LIT("{\n\"a\": }"), "line 2, column 6");
}
END_TEST

START_TEST(only_an_object_will_do)
{
	expect_refused(SPAN_LIT("[1]"), "object is expected");
	make_err();
	expect_refused(SPAN_LIT("1"), "malformed JSON");
	make_err();
	expect_refused(span_make(NULL, 0), "malformed JSON");
	make_err();
	expect_refused(SPAN_LIT("{} {}"), "malformed JSON");
}
END_TEST

START_TEST(a_member_given_twice_is_refused)
{
	expect_refused(SPAN_LIT("{\"a\":1,\"a\":2}"), "duplicate");
}
END_TEST

START_TEST(bytes_that_are_not_utf8_are_refused)
{
	expect_refused(SPAN_LIT("{\"a\":\"\xff\"}"), "0xff");
}
END_TEST

START_TEST(text_may_have_64_kib_and_no_more)
{
	static char text[64 * 1024 + 1];
	json_t *object;

	memset(text, ' ', sizeof(text));
	memcpy(text, "{}", 2);
	object = json_parse_object(span_make(text, sizeof(text) - 1), &err);
	ck_assert_ptr_nonnull(object);
	json_decref(object);
	expect_refused(span_make(text, sizeof(text)), "too long");
	ck_assert_int_eq(err_http_status(&err), 413);
}
END_TEST

START_TEST(deep_nesting_is_refused)
{
	static char text[64 * 1024];

	memset(text, '[', sizeof(text));
	memcpy(text, "{\"a\":", 5);
	expect_refused(span_make(text, sizeof(text)), "depth");
}
END_TEST

START_TEST(a_value_that_found_no_memory_takes_the_whole_with_it)
{
	json_t *object = json_object(), *array = json_array();

	json_put(&object, "a", json_integer(1));
	json_add(&array, json_integer(1));
	ck_assert_uint_eq(json_object_size(object), 1);
	ck_assert_uint_eq(json_array_size(array), 1);
	json_put(&object, "b", NULL);
	json_add(&array, NULL);
	ck_assert_ptr_null(object);
	ck_assert_ptr_null(array);
}
END_TEST

START_TEST(what_is_not_there_any_more_stays_so)
{
	json_t *object = NULL, *array = NULL;
	size_t len;

	json_put(&object, "a", json_integer(1));
	json_add(&array, json_integer(1));
	ck_assert_ptr_null(object);
	ck_assert_ptr_null(array);
	ck_assert_ptr_null(json_print(object, &len));
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, text_is_printed_as_it_is);
	tcase_add_test(tc, bytes_that_are_not_utf8_are_replaced);
	tcase_add_test(tc, any_single_byte_is_a_text);
	tcase_add_test(tc, an_object_is_parsed);
	tcase_add_test(tc, members_are_printed_in_the_order_they_came);
	tcase_add_test(tc, printing_steals_the_reference);
	tcase_add_test(tc, printing_nothing_gives_nothing);
	tcase_add_test(tc, what_is_malformed_is_refused_with_its_place);
	tcase_add_test(tc, only_an_object_will_do);
	tcase_add_test(tc, a_member_given_twice_is_refused);
	tcase_add_test(tc, bytes_that_are_not_utf8_are_refused);
	tcase_add_test(tc, text_may_have_64_kib_and_no_more);
	tcase_add_test(tc, deep_nesting_is_refused);
	tcase_add_test(tc,
		       a_value_that_found_no_memory_takes_the_whole_with_it);
	tcase_add_test(tc, what_is_not_there_any_more_stays_so);
}

int main(void)
{
	Suite *suite = suite_create("json");
	TCase *tc = tcase_create("json");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, make_err, NULL);
	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
