#include "common/http1_impl.h"

#include <check.h>
#include <stdlib.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* ---- classes of bytes ---------------------------------------------------- */

/* The bytes of each class as its RFC writes them, beside the table. */
#define ALNUM \
	"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static bool is_one_of(int c, const char *set)
{
	return c > 0 && strchr(set, c);
}

START_TEST(the_table_of_bytes_is_what_the_rfcs_say)
{
	for (int c = 0; c < 256; c++) {
		bool visible = c > 32 && c < 127, obs = c > 127;
		bool blank = c == ' ' || c == '\t';
		unsigned int classes = http1_classes[c];

		ck_assert_int_eq(!!(classes & HTTP1_TCHAR),
				 is_one_of(c, ALNUM "!#$%&'*+-.^_`|~"));
		ck_assert_int_eq(!!(classes & HTTP1_VALUE),
				 visible || obs || blank);
		ck_assert_int_eq(!!(classes & HTTP1_TARGET),
				 visible && c != '#');
		ck_assert_int_eq(!!(classes & HTTP1_REG_NAME),
				 is_one_of(c, ALNUM "-._~!$&'()*+,;="));
		ck_assert_int_eq(!!(classes & HTTP1_ATTR),
				 is_one_of(c, ALNUM "!#$&+-.^_`|~"));
		ck_assert_int_eq(!!(classes & HTTP1_QDTEXT),
				 (visible || obs || blank) && c != '"' &&
					 c != '\\');
		ck_assert_int_eq(!!(classes & HTTP1_HEX),
				 is_one_of(c, "0123456789abcdefABCDEF"));
		ck_assert_int_eq(!!(classes & HTTP1_ETAG),
				 (visible || obs) && c != '"');
	}
}
END_TEST

START_TEST(a_token_has_at_least_one_byte)
{
	ck_assert(http1_is_token(SPAN_LIT("a!")));
	ck_assert(!http1_is_token(SPAN_LIT("")));
	ck_assert(!http1_is_token(SPAN_LIT("a b")));
	ck_assert(!http1_is_token(SPAN_LIT("a\0")));
}
END_TEST

START_TEST(nothing_that_would_split_a_head_is_a_field_value)
{
	ck_assert(http1_is_field_value(SPAN_LIT("")));
	ck_assert(http1_is_field_value(SPAN_LIT("a\tb \xc3\xa4")));
	ck_assert(!http1_is_field_value(SPAN_LIT("a\r\nSet-Cookie: b")));
	ck_assert(!http1_is_field_value(SPAN_LIT("a\n")));
	ck_assert(!http1_is_field_value(SPAN_LIT("\r")));
	ck_assert(!http1_is_field_value(SPAN_LIT("a\0b")));
	ck_assert(!http1_is_field_value(SPAN_LIT("\x7f")));
}
END_TEST

START_TEST(text_is_utf8_without_nul)
{
	ck_assert(http1_is_utf8(SPAN_LIT("")));
	ck_assert(http1_is_utf8(SPAN_LIT("a\xe2\x82\xac\xf0\x9f\x98\x80")));
	ck_assert(!http1_is_utf8(SPAN_LIT("a\0b")));
	ck_assert(!http1_is_utf8(SPAN_LIT("\xc0\x80")));
	ck_assert(!http1_is_utf8(SPAN_LIT("\xed\xa0\x80")));
	ck_assert(!http1_is_utf8(SPAN_LIT("\xf4\x90\x80\x80")));
	ck_assert(!http1_is_utf8(SPAN_LIT("a\xc3")));
}
END_TEST

/* ---- numbers, names, lists ----------------------------------------------- */

START_TEST(a_number_is_digits_that_fit)
{
	static const char *const bad[] = {
		"", " 1", "1 ", "+1", "-1", "0x1", "1a", "18446744073709551616",
		"20000000000000000000",
	};
	uint64_t n = 7;

	for (size_t i = 0; i < N(bad); i++)
		ck_assert_msg(!http1_parse_u64(span_of(bad[i]), &n), "%s",
			      bad[i]);
	ck_assert_uint_eq(n, 7);
	ck_assert(http1_parse_u64(SPAN_LIT("18446744073709551615"), &n));
	ck_assert_uint_eq(n, UINT64_MAX);
	ck_assert(http1_parse_u64(SPAN_LIT("000"), &n));
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(reasons_are_the_registered_ones)
{
	ck_assert_str_eq(http1_reason(100), "Continue");
	ck_assert_str_eq(http1_reason(201), "Created");
	ck_assert_str_eq(http1_reason(413), "Content Too Large");
	ck_assert_str_eq(http1_reason(511), "Network Authentication Required");
	ck_assert_str_eq(http1_reason(299), "");
	ck_assert_str_eq(http1_reason(0), "");
	ck_assert_str_eq(http1_reason(999), "");
}
END_TEST

START_TEST(every_status_we_answer_with_has_a_reason)
{
	static const int statuses[] = {
		100, 200, 201, 204, 206, 304, 400, 401, 403, 404, 405, 406,
		408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 422, 423,
		429, 431, 460, 500, 501, 502, 503, 504, 505, 507,
	};

	for (size_t i = 0; i < N(statuses); i++)
		ck_assert_str_ne(http1_reason(statuses[i]), "");
}
END_TEST

START_TEST(a_list_has_its_elements_in_any_case)
{
	static const char *const with[] = {
		"close", "CLOSE", " close ", "a,close", "a ,\tClose , b",
		",,close",
		"close;q=1", "a;b=\"c,d\", close", "a=\"\\\",\", close",
	};
	static const char *const without[] = {
		"", ",", "closed", "a close", "a;close", "\"close\"",
		"a=\"x,close,y\"", "a=\"x\\\",close,\"", "clos", "close=1",
	};

	for (size_t i = 0; i < N(with); i++)
		ck_assert_msg(http1_list_has(span_of(with[i]), "close"), "%s",
			      with[i]);
	for (size_t i = 0; i < N(without); i++)
		ck_assert_msg(!http1_list_has(span_of(without[i]), "close"),
			      "%s", without[i]);
	ck_assert(!http1_list_has(span_make(NULL, 0), "close"));
}
END_TEST

/* ---- targets ------------------------------------------------------------- */

static int decode(struct span in, bool plus_is_space, char *buf, size_t size)
{
	struct err err = ERR_INIT;
	int result = http1_decode(in, plus_is_space, buf, size, &err);

	ck_assert_int_eq(err_is_set(&err), result < 0);
	ck_assert(result == 0 || err_http_status(&err) == 400);
	return result;
}

START_TEST(escapes_are_decoded)
{
	char buf[32];

	ck_assert_int_eq(decode(SPAN_LIT("a%20b%2fc+%C3%a4"), false, buf, 32),
			 0);
	ck_assert_str_eq(buf, "a b/c+\xc3\xa4");
	ck_assert_int_eq(decode(SPAN_LIT("a+b%2B"), true, buf, 32), 0);
	ck_assert_str_eq(buf, "a b+");
	ck_assert_int_eq(decode(SPAN_LIT("%2520"), true, buf, 32), 0);
	ck_assert_str_eq(buf, "%20");
	ck_assert_int_eq(decode(SPAN_LIT(""), false, buf, 1), 0);
	ck_assert_str_eq(buf, "");
}
END_TEST

START_TEST(what_decodes_to_no_text_is_refused)
{
	static const struct span bad[] = {
		{"%", 1}, {"%4", 2}, {"a%4", 3}, {"%zz", 3}, {"%4g", 3},
		{"%%41", 4}, {"%00", 3}, {"a\0b", 3}, {"%c3", 3}, {"%ff", 3},
		{"%c0%af", 6}, {"%ed%a0%80", 9}, {"\xff", 1}, {"% 41", 4},
	};
	char buf[32];

	for (size_t i = 0; i < N(bad); i++) {
		ck_assert_msg(decode(bad[i], false, buf, 32) < 0, "%s",
			      bad[i].ptr);
		ck_assert_str_eq(buf, "");
	}
}
END_TEST

START_TEST(what_decodes_to_too_much_is_refused)
{
	char buf[4];

	ck_assert_int_eq(decode(SPAN_LIT("%41bc"), false, buf, 4), 0);
	ck_assert_str_eq(buf, "Abc");
	ck_assert_int_eq(decode(SPAN_LIT("abcd"), false, buf, 4), -1);
	ck_assert_int_eq(decode(SPAN_LIT("a"), false, buf, 1), -1);
	ck_assert_str_eq(buf, "");
}
END_TEST

START_TEST(a_query_gives_the_value_of_a_name)
{
	static const struct {
		const char *query, *value;
	} cases[] = {
		{"a=1", "1"}, {"b=2&a=1", "1"}, {"a=1&a=2", "1"}, {"a=", ""},
		{"a", ""}, {"b&a&c", ""}, {"a=1=2", "1=2"}, {"a=%26&", "%26"},
		{"", NULL}, {"A=1", NULL}, {"aa=1", NULL}, {"b=a", NULL},
		{"&&", NULL}, {"=a", NULL},
	};

	for (size_t i = 0; i < N(cases); i++) {
		struct span value = http1_query_get(span_of(cases[i].query),
						    "a");

		ck_assert_msg(!value.ptr == !cases[i].value, "%s",
			      cases[i].query);
		ck_assert_msg(span_eq(value, span_of(cases[i].value)), "%s",
			      cases[i].query);
	}
}
END_TEST

/* ---- the suite ----------------------------------------------------------- */

int main(void)
{
	Suite *suite = suite_create("http1 pieces");
	TCase *tc = tcase_create("pieces");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_test(tc, the_table_of_bytes_is_what_the_rfcs_say);
	tcase_add_test(tc, a_token_has_at_least_one_byte);
	tcase_add_test(tc, nothing_that_would_split_a_head_is_a_field_value);
	tcase_add_test(tc, text_is_utf8_without_nul);
	tcase_add_test(tc, a_number_is_digits_that_fit);
	tcase_add_test(tc, reasons_are_the_registered_ones);
	tcase_add_test(tc, every_status_we_answer_with_has_a_reason);
	tcase_add_test(tc, a_list_has_its_elements_in_any_case);
	tcase_add_test(tc, escapes_are_decoded);
	tcase_add_test(tc, what_decodes_to_no_text_is_refused);
	tcase_add_test(tc, what_decodes_to_too_much_is_refused);
	tcase_add_test(tc, a_query_gives_the_value_of_a_name);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
