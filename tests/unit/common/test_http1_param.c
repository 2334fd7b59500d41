#include "common/http1.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

struct answer {
	const char *value;
	int found;
	const char *text;
};

static void expect_params(const struct answer *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char buf[32] = "x";
		int found = http1_param(span_of(cases[i].value), "name", buf,
					sizeof(buf));

		ck_assert_msg(found == cases[i].found, "%d: %s", found,
			      cases[i].value);
		ck_assert_str_eq(buf, cases[i].text);
	}
}

/* ---- parameters (RFC 9110, 5.6.6) ---------------------------------------- */

START_TEST(a_parameter_is_a_token_or_a_quoted_string)
{
	static const struct answer cases[] = {
		{"a;name=b", 1, "b"},
		{"a; name=b; c=d", 1, "b"},
		{"a ;\tc=\"name=d\" ; NAME=\"b c\"", 1, "b c"},
		{"a; name=\"\"", 1, ""},
		{"a; name=\"b\\\"c\\\\d\\e\"", 1, "b\"c\\de"},
		{"a; name=\"\xc3\xa4\"", 1, "\xc3\xa4"},
		{"a; name=\"b;c,d\"", 1, "b;c,d"},
		{"a;;; name=b;", 1, "b"},
		{"a/b; name=b ", 1, "b"},
		{"; name=b", 1, "b"},
	};

	expect_params(cases, N(cases));
}
END_TEST

START_TEST(an_absent_parameter_is_no_error)
{
	static const struct answer cases[] = {
		{"", 0, ""}, {"a", 0, ""}, {"name=b", 0, ""}, {"a;", 0, ""},
		{"a; names=b", 0, ""}, {"a; nam=b", 0, ""},
		{"a; b=\"; name=c\"", 0, ""}, {"a; name*=b", 0, ""},
	};

	expect_params(cases, N(cases));
}
END_TEST

START_TEST(malformed_parameters_are_refused)
{
	static const struct answer cases[] = {
		{"a; name", -1, ""}, {"a; name=", -1, ""}, {"a; =b", -1, ""},
		{"a; name =b", -1, ""}, {"a; name= b", -1, ""},
		{"a; name=\"b", -1, ""}, {"a; name=\"b\\", -1, ""},
		{"a; name=\"b\\\"", -1, ""}, {"a; name=\"b\"c", -1, ""},
		{"a; name=b c", -1, ""}, {"a; name=\"\x01\"", -1, ""},
		{"a; name=\"\\\x01\"", -1, ""}, {"a; name=\"\n\"", -1, ""},
		{"a; name=\xc3\xa4", -1, ""}, {"a; name=b, c=d", -1, ""},
		{"a; name=b; c", -1, ""}, {"a; c; name=b", -1, ""},
	};

	expect_params(cases, N(cases));
}
END_TEST

START_TEST(a_parameter_that_stands_twice_is_refused)
{
	static const struct answer cases[] = {
		{"a; name=b; name=b", -1, ""},
		{"a; name=b; NAME=\"c\"", -1, ""},
		{"a; c=d; c=e; name=b", 1, "b"},
	};

	expect_params(cases, N(cases));
}
END_TEST

START_TEST(a_parameter_has_to_fit_with_its_nul)
{
	struct span value = SPAN_LIT("a; name=\"b\\c\\d\"");
	char buf[4] = "x";

	ck_assert_int_eq(http1_param(value, "name", buf, 4), 1);
	ck_assert_str_eq(buf, "bcd");
	ck_assert_int_eq(http1_param(value, "name", buf, 3), -1);
	ck_assert_str_eq(buf, "");
	ck_assert_int_eq(http1_param(value, "name", buf, 1), -1);
}
END_TEST

START_TEST(a_nul_in_a_parameter_is_refused)
{
	char buf[8];

	ck_assert_int_eq(http1_param(SPAN_LIT("a; name=\"b\0c\""), "name", buf,
				     sizeof(buf)), -1);
	ck_assert_int_eq(http1_param(SPAN_LIT("a; name=b\0c"), "name", buf,
				     sizeof(buf)), -1);
}
END_TEST

/* ---- media types (RFC 9110, 8.3.1) --------------------------------------- */

static const char *const media_types[] = {
	"a/b", "Video/MP4", "application/vnd.x+json", "text/plain;charset=utf-8",
	"text/plain ; charset=\"utf-8\"", "a/b;", "a/b; ;c=d;", "a/b ",
	"video/mp4; codecs=\"avc1.42E01E, mp4a.40.2\"", "a/b;c=\"\\\"\"",
	"a/b; c=\"\xc3\xa4\"",
};

START_TEST(a_media_type_has_two_tokens_and_parameters)
{
	ck_assert(http1_is_media_type(span_of(media_types[_i])));
}
END_TEST

static const char *const no_media_types[] = {
	"", "audio", "/", "audio/", "/x", " a/b", "a /b", "a/ b", "a/b/c",
	"audio/x, text/html", "audio/x,text/html", "video/mp4;,text/html",
	"image/png; a=b,text/html", "image/png; a=\"b\",text/html",
	"video/\"x", "audio/\xc3\xa4", "a/b c/d", "a/b; c", "a/b; c=",
	"a/b; c=\"d", "a/b; c=\"\xe4\"", "a/b;c=\xc3\xa4", "a/b;c=d e",
};

START_TEST(what_is_not_exactly_one_media_type_is_none)
{
	ck_assert_msg(!http1_is_media_type(span_of(no_media_types[_i])), "%s",
		      no_media_types[_i]);
}
END_TEST

START_TEST(a_nul_is_in_no_media_type)
{
	ck_assert(!http1_is_media_type(SPAN_LIT("a/b\0")));
	ck_assert(!http1_is_media_type(SPAN_LIT("a/b; c=\"\0\"")));
	ck_assert(!http1_is_media_type(span_make(NULL, 0)));
}
END_TEST

/* ---- file names (RFC 6266, RFC 8187) ------------------------------------- */

static void expect_names(const struct answer *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char buf[40] = "x";
		int found = http1_disposition_filename(
			span_of(cases[i].value), buf, sizeof(buf));

		ck_assert_msg(found == cases[i].found, "%d: %s", found,
			      cases[i].value);
		ck_assert_str_eq(buf, cases[i].text);
	}
}

START_TEST(a_file_name_is_plain_or_extended)
{
	static const struct answer cases[] = {
		{"form-data; name=\"f\"; filename=\"a b.txt\"", 1, "a b.txt"},
		{"attachment; FILENAME=a.txt", 1, "a.txt"},
		{"a; filename=\"\"", 1, ""},
		{"a; filename*=UTF-8''%e2%82%ac%20rates", 1,
		 "\xe2\x82\xac rates"},
		{"a; filename*=utf-8'en-GB'a.txt", 1, "a.txt"},
		{"a; filename*=ISO-8859-1'en'%A3%20rates", 1, "\xc2\xa3 rates"},
		{"a; filename*=UTF-8''a%22%5C%2Fb%27", 1, "a\"\\/b'"},
		{"attachment", 0, ""},
		{"form-data; name=\"filename=x\"", 0, ""},
	};

	expect_names(cases, N(cases));
}
END_TEST

START_TEST(a_backslash_in_a_form_escapes_quotes_and_backslashes_only)
{
	static const struct answer cases[] = {
		{"f; filename=\"C:\\Users\\new song.mp3\"", 1,
		 "C:\\Users\\new song.mp3"},
		{"f; filename=\"C:\\\\Users\\\\x\"", 1, "C:\\Users\\x"},
		{"f; filename=\"a\\\"b\"", 1, "a\"b"},
		{"f; filename=\"a\\\"", -1, ""},
	};
	char buf[40];

	for (size_t i = 0; i < N(cases); i++) {
		ck_assert_int_eq(http1_form_filename(span_of(cases[i].value),
						     buf, sizeof(buf)),
				 cases[i].found);
		ck_assert_str_eq(buf, cases[i].text);
	}
	ck_assert_int_eq(http1_form_param(SPAN_LIT("f; name=\"a\\b\\\"c\""),
					  "name", buf, sizeof(buf)), 1);
	ck_assert_str_eq(buf, "a\\b\"c");
}
END_TEST

START_TEST(the_extended_file_name_comes_first)
{
	static const struct answer cases[] = {
		{"a; filename=\"b\"; filename*=UTF-8''c", 1, "c"},
		{"a; filename*=UTF-8''c; filename=\"b\"", 1, "c"},
		{"a; filename*=UTF-8''c; filename=\"\xe4\"", 1, "c"},
	};

	expect_names(cases, N(cases));
}
END_TEST

START_TEST(what_browsers_send_in_forms_is_accepted)
{
	static const struct answer cases[] = {
		{"form-data; filename=\"\xc3\xa4\xe2\x82\xac\"", 1,
		 "\xc3\xa4\xe2\x82\xac"},
		{"form-data; filename=\"a%22b%0D.txt\"", 1, "a%22b%0D.txt"},
		{"form-data; filename=\"../../etc/passwd\"", 1,
		 "../../etc/passwd"},
	};

	expect_names(cases, N(cases));
}
END_TEST

START_TEST(a_file_name_that_is_no_text_is_refused)
{
	static const struct answer cases[] = {
		{"a; filename=\"\xe4\"", -1, ""},
		{"a; filename=\"\xc0\xaf\"", -1, ""},
		{"a; filename=\"b\tc\"", -1, ""},
		{"a; filename=\"b\xc2\x85" "c\"", -1, ""},
		{"a; filename*=UTF-8''%00", -1, ""},
		{"a; filename*=UTF-8''a%0d%0ab", -1, ""},
		{"a; filename*=UTF-8''%7f", -1, ""},
		{"a; filename*=UTF-8''%e4", -1, ""},
		{"a; filename*=UTF-8''%ed%a0%80", -1, ""},
		{"a; filename*=ISO-8859-1''%85", -1, ""},
	};

	expect_names(cases, N(cases));
}
END_TEST

START_TEST(a_malformed_file_name_is_refused)
{
	static const struct answer cases[] = {
		{"a; filename", -1, ""},
		{"a; filename=b; filename=c", -1, ""},
		{"a; filename*=UTF-8''b; filename*=UTF-8''c", -1, ""},
		{"a; filename=b; filename*=UTF-8'c", -1, ""},
		{"a; filename*=UTF-8", -1, ""},
		{"a; filename*=''b", -1, ""},
		{"a; filename*=koi8-r''b", -1, ""},
		{"a; filename*=\"UTF-8''b\"", -1, ""},
		{"a; filename*=UTF-8''b%2", -1, ""},
		{"a; filename*=UTF-8''b%zz", -1, ""},
		{"a; filename*=UTF-8''b'c", -1, ""},
		{"a; filename*=UTF-8''b*c", -1, ""},
		{"a; filename=b c", -1, ""},
	};

	expect_names(cases, N(cases));
}
END_TEST

START_TEST(a_file_name_has_to_fit_with_its_nul)
{
	static const char *const values[] = {
		"a; filename=bcd", "a; filename*=UTF-8''b%63d",
		"a; filename*=ISO-8859-1''b%e4",
	};
	char buf[4];

	for (size_t i = 0; i < N(values); i++) {
		struct span value = span_of(values[i]);

		ck_assert_int_eq(http1_disposition_filename(value, buf, 4), 1);
		ck_assert_uint_eq(strlen(buf), 3);
		ck_assert_int_eq(http1_disposition_filename(value, buf, 3), -1);
		ck_assert_str_eq(buf, "");
	}
}
END_TEST

/* ---- writing ------------------------------------------------------------- */

static void expect_written(const char *name, const char *value)
{
	char buf[256];

	http1_content_disposition("attachment", name, buf, sizeof(buf));
	ck_assert_str_eq(buf, value);
	ck_assert(http1_is_field_value(span_of(buf)));
}

START_TEST(a_file_name_is_written_twice)
{
	expect_written("a.txt", "attachment; filename=\"a.txt\"; "
				"filename*=UTF-8''a.txt");
	expect_written("\xe2\x82\xac b", "attachment; filename=\"_ b\"; "
					 "filename*=UTF-8''%E2%82%AC%20b");
	expect_written("", "attachment; filename=\"\"; filename*=UTF-8''");
}
END_TEST

START_TEST(no_file_name_breaks_out_of_its_quotes)
{
	expect_written("a\"; b=\\%", "attachment; filename=\"a_; b=__\"; "
				     "filename*=UTF-8''a%22%3B%20b%3D%5C%25");
	expect_written("../a", "attachment; filename=\".._a\"; "
			       "filename*=UTF-8''..%2Fa");
}
END_TEST

START_TEST(what_is_no_text_is_replaced_in_a_file_name)
{
	expect_written("a\r\nb", "attachment; filename=\"a__b\"; "
				 "filename*=UTF-8''a%EF%BF%BD%EF%BF%BDb");
	expect_written("\xff\x7f", "attachment; filename=\"__\"; "
				   "filename*=UTF-8''%EF%BF%BD%EF%BF%BD");
}
END_TEST

/* "a", U+20AC, "b" … "h": written, they take 2, 10, and 2 each of seven. */
static size_t length_in(size_t room)
{
	if (room < 2)
		return 0;
	if (room < 12)
		return 1;
	return room < 26 ? 4 + (room - 12) / 2 : 11;
}

START_TEST(a_long_file_name_is_cut_between_characters)
{
	const char *fixed = "inline; filename=\"\"; filename*=UTF-8''";
	char buf[256], back[64];

	for (size_t room = 0; room < 40; room++) {
		size_t size = strlen(fixed) + room + 1;

		http1_content_disposition("inline", "a\xe2\x82\xac" "bcdefgh",
					  buf, size);
		ck_assert_uint_lt(strlen(buf), size);
		ck_assert_int_eq(http1_disposition_filename(span_of(buf), back,
							    sizeof(back)), 1);
		ck_assert_uint_eq(strlen(back), length_in(room));
	}
}
END_TEST

START_TEST(a_written_file_name_is_read_back)
{
	static const char *const names[] = {
		"a", "a b", "\"\\'%;=,/", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
		"..", "%41", "a*b", "CON", " ", "~`!@#$^&()[]{}|<>?",
	};

	for (size_t i = 0; i < N(names); i++) {
		char buf[256], back[64];

		http1_content_disposition("attachment", names[i], buf,
					  sizeof(buf));
		ck_assert_int_eq(http1_disposition_filename(span_of(buf), back,
							    sizeof(back)), 1);
		ck_assert_str_eq(back, names[i]);
	}
}
END_TEST

/* ---- the suite ----------------------------------------------------------- */

int main(void)
{
	Suite *suite = suite_create("http1 parameters");
	TCase *tc = tcase_create("parameters");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_test(tc, a_parameter_is_a_token_or_a_quoted_string);
	tcase_add_test(tc, an_absent_parameter_is_no_error);
	tcase_add_test(tc, malformed_parameters_are_refused);
	tcase_add_test(tc, a_parameter_that_stands_twice_is_refused);
	tcase_add_test(tc, a_parameter_has_to_fit_with_its_nul);
	tcase_add_test(tc, a_nul_in_a_parameter_is_refused);
	tcase_add_loop_test(tc, a_media_type_has_two_tokens_and_parameters, 0,
			    N(media_types));
	tcase_add_loop_test(tc, what_is_not_exactly_one_media_type_is_none, 0,
			    N(no_media_types));
	tcase_add_test(tc, a_nul_is_in_no_media_type);
	tcase_add_test(tc, a_file_name_is_plain_or_extended);
	tcase_add_test(tc,
		       a_backslash_in_a_form_escapes_quotes_and_backslashes_only);
	tcase_add_test(tc, the_extended_file_name_comes_first);
	tcase_add_test(tc, what_browsers_send_in_forms_is_accepted);
	tcase_add_test(tc, a_file_name_that_is_no_text_is_refused);
	tcase_add_test(tc, a_malformed_file_name_is_refused);
	tcase_add_test(tc, a_file_name_has_to_fit_with_its_nul);
	tcase_add_test(tc, a_file_name_is_written_twice);
	tcase_add_test(tc, no_file_name_breaks_out_of_its_quotes);
	tcase_add_test(tc, what_is_no_text_is_replaced_in_a_file_name);
	tcase_add_test(tc, a_long_file_name_is_cut_between_characters);
	tcase_add_test(tc, a_written_file_name_is_read_back);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
