#include "tests/unit/common/http1_heads.h"

#include <stdlib.h>

/* ---- request line (RFC 9112, 2.2 and 3) ---------------------------------- */

START_TEST(a_request_is_taken_apart)
{
	const char *r = "PUT /a/b?c=d HTTP/1.1" NL "Host: h:80" NL
			"Content-Length: 12" NL "X-Odd:\t v w \t" NL NL;

	expect_request(r, GOOD);
	ck_assert_int_eq(head.method, HTTP1_PUT);
	ck_assert_int_eq(head.minor_version, 1);
	assert_slice(r, head.path, "/a/b");
	assert_slice(r, head.query, "c=d");
	assert_slice(r, head.host, "h:80");
	assert_slice(r, head.fields[2].name, "X-Odd");
	assert_slice(r, head.fields[2].value, "v w");
	ck_assert_uint_eq(head.n_fields, 3);
	ck_assert_uint_eq(head.size, strlen(r));
}
END_TEST

START_TEST(two_empty_lines_before_a_request_are_skipped)
{
	expect_request(NL GET(""), GOOD);
	expect_request(NL NL GET(""), GOOD);
	ck_assert_uint_eq(head.size, strlen(NL NL GET("")));
	expect_request(NL NL NL GET(""), 400);
}
END_TEST

START_TEST(nothing_else_may_stand_before_a_request)
{
	static const struct known_verdict cases[] = {
		CASE(400, " " GET("")),	   CASE(400, "\t" GET("")),
		CASE(400, "\n" GET("")),   CASE(400, "\r" GET("")),
		CASE(400, "\0" GET("")),   CASE(400, NL " " GET("")),
		CASE(400, "\r\r\n" GET("")), CASE(400, "\xef\xbb\xbf" GET("")),
	};

	expect_all(cases, N(cases));
}
END_TEST

START_TEST(only_crlf_ends_a_line)
{
	static const struct known_verdict cases[] = {
		CASE(400, "GET / HTTP/1.1\n" HOST NL),
		CASE(400, START "Host: a\n" NL),
		CASE(400, START HOST "\n"),
		CASE(400, "GET / HTTP/1.1\r" HOST NL),
		CASE(400, "GET / HTTP/1.1\r\r\n" HOST NL),
		CASE(400, START "Host: a\r" NL NL),
		CASE(400, START HOST "A: b\rC: d" NL NL),
		CASE(400, START HOST "\r\r\n"),
	};

	expect_all(cases, N(cases));
}
END_TEST

START_TEST(a_request_line_has_exactly_two_spaces)
{
	static const struct known_verdict cases[] = {
		CASE(400, "GET  / HTTP/1.1" NL HOST NL),
		CASE(400, "GET /  HTTP/1.1" NL HOST NL),
		CASE(400, "GET / HTTP/1.1 " NL HOST NL),
		CASE(400, "GET\t/ HTTP/1.1" NL HOST NL),
		CASE(400, "GET /\tHTTP/1.1" NL HOST NL),
		CASE(400, "GET / a HTTP/1.1" NL HOST NL),
		CASE(400, "GET /" NL HOST NL),
		CASE(400, " / HTTP/1.1" NL HOST NL),
		CASE(400, "GET" NL HOST NL),
		CASE(400, "GET " NL HOST NL),
		CASE(400, "GET / " NL HOST NL),
	};

	expect_all(cases, N(cases));
}
END_TEST

START_TEST(the_implemented_methods_are_told_apart)
{
	for (int m = HTTP1_GET; m <= HTTP1_OPTIONS; m++) {
		char request[64];

		snprintf(request, sizeof(request), "%s / HTTP/1.1" NL HOST NL,
			 http1_method_name((enum http1_method)m));
		expect_request(request, GOOD);
		ck_assert_int_eq((int)head.method, m);
	}
}
END_TEST

START_TEST(a_method_is_a_token)
{
	static const struct known_verdict cases[] = {
		CASE(400, "G\"T / HTTP/1.1" NL HOST NL),
		CASE(400, "G(T / HTTP/1.1" NL HOST NL),
		CASE(400, "G\0T / HTTP/1.1" NL HOST NL),
		CASE(400, "G\xc3\xa4T / HTTP/1.1" NL HOST NL),
		CASE(400, "GET: / HTTP/1.1" NL HOST NL),
	};

	expect_all(cases, N(cases));
}
END_TEST

START_TEST(an_unknown_method_is_not_implemented)
{
	static const struct known_verdict cases[] = {
		CASE(501, "get / HTTP/1.1" NL HOST NL),
		CASE(501, "Get / HTTP/1.1" NL HOST NL),
		CASE(501, "GETT / HTTP/1.1" NL HOST NL),
		CASE(501, "GE / HTTP/1.1" NL HOST NL),
		CASE(501, "PROPFIND / HTTP/1.1" NL HOST NL),
		CASE(501, "TRACE / HTTP/1.1" NL HOST NL),
		CASE(501, "CONNECT a:443 HTTP/1.1" NL HOST NL),
		CASE(501, "ABCDEFGHIJKLMNOPQRSTUVWXYZ / HTTP/1.1" NL HOST NL),
	};

	expect_all(cases, N(cases));
}
END_TEST

START_TEST(a_target_has_one_of_the_forms_of_its_method)
{
	static const struct known_verdict cases[] = {
		CASE(GOOD, "OPTIONS * HTTP/1.1" NL HOST NL),
		CASE(400, "GET * HTTP/1.1" NL HOST NL),
		CASE(400, "OPTIONS *?a HTTP/1.1" NL HOST NL),
		CASE(400, "GET a HTTP/1.1" NL HOST NL),
		CASE(400, "GET a:443 HTTP/1.1" NL HOST NL),
		CASE(400, "GET ?a HTTP/1.1" NL HOST NL),
		CASE(400, "GET ftp://a/ HTTP/1.1" NL HOST NL),
		CASE(400, "GET http:/a/ HTTP/1.1" NL HOST NL),
		CASE(400, "GET http:// HTTP/1.1" NL HOST NL),
		CASE(400, "GET http:///b HTTP/1.1" NL HOST NL),
		CASE(400, "GET http://a@b/ HTTP/1.1" NL HOST NL),
		CASE(400, "GET http://a:b/ HTTP/1.1" NL HOST NL),
	};

	expect_all(cases, N(cases));
}
END_TEST

START_TEST(a_target_is_visible_ascii_without_fragment)
{
	static const struct known_verdict cases[] = {
		CASE(400, "GET /\x01 HTTP/1.1" NL HOST NL),
		CASE(400, "GET /\0 HTTP/1.1" NL HOST NL),
		CASE(400, "GET /\x7f HTTP/1.1" NL HOST NL),
		CASE(400, "GET /\x80 HTTP/1.1" NL HOST NL),
		CASE(400, "GET /\xc3\xa4 HTTP/1.1" NL HOST NL),
		CASE(400, "GET /a#b HTTP/1.1" NL HOST NL),
		CASE(GOOD, "GET /%00~!$&'()*+,;=:@|{}\"<>\\^` HTTP/1.1" NL
		     HOST NL),
	};

	expect_all(cases, N(cases));
}
END_TEST

START_TEST(an_absolute_target_overrides_host)
{
	const char *r = "GET HTTP://b:8/c?d HTTP/1.1" NL HOST NL;

	expect_request(r, GOOD);
	assert_slice(r, head.host, "b:8");
	assert_slice(r, head.path, "/c");
	assert_slice(r, head.query, "d");
}
END_TEST

START_TEST(an_absolute_target_without_path_means_the_root)
{
	const char *r = "GET https://b?d HTTP/1.1" NL HOST NL;

	expect_request(r, GOOD);
	assert_slice(r, head.path, "/");
	assert_slice(r, head.query, "d");
	r = "GET http://b HTTP/1.1" NL HOST NL;
	expect_request(r, GOOD);
	assert_slice(r, head.path, "/");
	assert_slice(r, head.query, "");
}
END_TEST

START_TEST(a_query_begins_at_the_first_question_mark)
{
	const char *r = "GET /a?b?c HTTP/1.1" NL HOST NL;

	expect_request(r, GOOD);
	assert_slice(r, head.path, "/a");
	assert_slice(r, head.query, "b?c");
}
END_TEST

START_TEST(only_versions_1_0_and_1_1_are_spoken)
{
	static const struct known_verdict cases[] = {
		CASE(GOOD, "GET / HTTP/1.0" NL HOST NL),
		CASE(505, "GET / HTTP/1.2" NL HOST NL),
		CASE(505, "GET / HTTP/0.9" NL HOST NL),
		CASE(505, "GET / HTTP/2.0" NL HOST NL),
		CASE(505, "GET / HTTP/3.1" NL HOST NL),
		CASE(400, "GET / HTTP/1" NL HOST NL),
		CASE(400, "GET / HTTP/1.10" NL HOST NL),
		CASE(400, "GET / HTTP/01.1" NL HOST NL),
		CASE(400, "GET / http/1.1" NL HOST NL),
		CASE(400, "GET / HTTP/1,1" NL HOST NL),
		CASE(400, "GET / HTTP/a.1" NL HOST NL),
		CASE(400, "GET / HTTP 1.1" NL HOST NL),
		CASE(400, "GET / HTTQ/1.1" NL HOST NL),
	};

	expect_all(cases, N(cases));
}
END_TEST

START_TEST(the_preface_of_http_2_is_answered_505)
{
	expect_request("PRI * HTTP/2.0" NL NL "SM" NL NL, 505);
}
END_TEST

START_TEST(a_tls_handshake_is_refused)
{
	static const struct known_verdict cases[] = {
		CASE(400, "\x16\x03\x01\x02\x00\x01\x00\r\n"),
		CASE(400, "\x16\x03\x01\x02\x00\x01\x00\n"),
	};

	expect_all(cases, N(cases));
}
END_TEST

/* ---- fields (RFC 9112, 5) ------------------------------------------------ */

START_TEST(a_blank_or_nothing_before_the_first_field_is_refused)
{
	static const struct known_verdict cases[] = {
		CASE(400, START " " HOST NL),
		CASE(400, START "\t" HOST NL),
		CASE(400, START " " NL HOST NL),
		CASE(400, START ": b" NL HOST NL),
	};

	expect_all(cases, N(cases));
}
END_TEST

START_TEST(a_field_name_is_a_token_next_to_its_colon)
{
	static const struct known_verdict cases[] = {
		CASE(400, GET("A : b" NL)),
		CASE(400, GET("A\t: b" NL)),
		CASE(400, GET("A B: c" NL)),
		CASE(400, GET("A" NL)),
		CASE(400, GET(":" NL)),
		CASE(400, GET("A\0: b" NL)),
		CASE(400, GET("A(b): c" NL)),
		CASE(400, GET("\xc3\xa4: c" NL)),
		CASE(GOOD, GET("!#$%&'*+-.^_`|~0aZ: c" NL)),
		CASE(GOOD, GET("A:b" NL)),
		CASE(GOOD, GET("A:" NL)),
	};

	expect_all(cases, N(cases));
}
END_TEST

START_TEST(a_folded_field_is_refused)
{
	static const struct known_verdict cases[] = {
		CASE(400, GET("A: b" NL " c" NL)),
		CASE(400, GET("A: b" NL "\tc" NL)),
		CASE(400, GET("A: b" NL " " NL)),
	};

	expect_all(cases, N(cases));
}
END_TEST

START_TEST(a_field_value_has_no_control_characters_but_tabs)
{
	for (int c = 0; c < 256; c++) {
		char request[] = GET("A: b?c" NL);
		bool is_control = (c < 32 && c != '\t') || c == 127;

		*strchr(request, '?') = (char)c;
		expect_head(span_make(request, sizeof(request) - 1),
			    is_control ? 400 : GOOD, true);
	}
}
END_TEST

START_TEST(only_spaces_and_tabs_are_trimmed_off_a_value)
{
	const char *r = GET("A:\t  b c\t " NL);

	expect_request(r, GOOD);
	assert_slice(r, head.fields[1].value, "b c");
	expect_request(GET("A: \vb" NL), 400);
	expect_request(GET("A: b\f" NL), 400);
}
END_TEST

START_TEST(fields_are_found_by_name_in_any_case)
{
	const char *r = GET("Cookie: a" NL "COOKIE: b" NL);

	expect_request(r, GOOD);
	ck_assert(span_eq(http1_field(&head, r, "cookie"), SPAN_LIT("a")));
	ck_assert(span_eq(http1_field_nth(&head, r, "cookie", 1),
			  SPAN_LIT("b")));
	ck_assert_ptr_null(http1_field_nth(&head, r, "cookie", 2).ptr);
	ck_assert_ptr_null(http1_field(&head, r, "cooki").ptr);
}
END_TEST

/* ---- limits -------------------------------------------------------------- */

static char big[3 * HTTP1_MAX_HEAD];

/* `before`, then `n` times "x", then `after`. */
static struct span grown(const char *before, size_t n, const char *after)
{
	size_t at = strlen(before);

	ck_assert_uint_lt(at + n + strlen(after), sizeof(big));
	memcpy(big, before, at);
	memset(big + at, 'x', n);
	snprintf(big + at + n, sizeof(big) - at - n, "%s", after);
	return span_of(big);
}

START_TEST(a_target_has_at_most_8192_bytes)
{
	const char *rest = " HTTP/1.1" NL HOST NL;

	expect_head(grown("GET /", HTTP1_MAX_LINE - 1, rest), GOOD, true);
	expect_head(grown("GET /", HTTP1_MAX_LINE, rest), 414, true);
	expect_head(grown("OPTIONS /", HTTP1_MAX_LINE, rest), 414, true);
	expect_head(grown("GET /", 2 * HTTP1_MAX_LINE, rest), 414, true);
}
END_TEST

START_TEST(a_request_line_without_end_is_refused)
{
	size_t longest = HTTP1_MAX_METHOD + HTTP1_MAX_LINE + 10;

	expect_head(grown("", longest + 1, ""), INCOMPLETE, true);
	expect_head(grown("", longest + 2, ""), 414, true);
}
END_TEST

START_TEST(a_field_line_has_at_most_8192_bytes)
{
	const char *start = START HOST "A:";

	expect_head(grown(start, HTTP1_MAX_LINE - 2, NL NL), GOOD, true);
	expect_head(grown(start, HTTP1_MAX_LINE - 1, NL NL), 431, true);
	expect_head(grown(start, 2 * HTTP1_MAX_LINE, NL NL), 431, true);
}
END_TEST

START_TEST(a_field_line_without_end_is_refused)
{
	const char *start = START HOST "A:";

	expect_head(grown(start, HTTP1_MAX_LINE - 1, ""), INCOMPLETE, true);
	expect_head(grown(start, HTTP1_MAX_LINE, ""), 431, true);
}
END_TEST

/* A head of `size` bytes whose lines are all short. */
static struct span head_of_size(size_t size)
{
	size_t at = strlen(START HOST), line;

	memcpy(big, START HOST, at);
	for (; at < size - 2; at += line) {
		line = size - 2 - at;
		if (line > 4100)
			line = 4000;
		memset(big + at, 'x', line);
		big[at + 1] = ':';
		memcpy(big + at + line - 2, NL, 2);
	}
	memcpy(big + at, NL, 2);
	return span_make(big, size);
}

START_TEST(a_head_has_at_most_32_kib)
{
	expect_head(head_of_size(HTTP1_MAX_HEAD), GOOD, true);
	ck_assert_uint_eq(head.size, HTTP1_MAX_HEAD);
	expect_head(head_of_size(HTTP1_MAX_HEAD + 1), 431, true);
	expect_head(head_of_size(2 * HTTP1_MAX_HEAD), 431, true);
}
END_TEST

START_TEST(a_head_without_end_is_refused)
{
	struct span in = head_of_size(2 * HTTP1_MAX_HEAD);

	in.len = HTTP1_MAX_HEAD - 1;
	expect_head(in, INCOMPLETE, true);
	in.len = HTTP1_MAX_HEAD;
	expect_head(in, 431, true);
}
END_TEST

static struct span head_with_fields(unsigned int n)
{
	size_t at = strlen(START HOST);

	memcpy(big, START HOST, at);
	for (unsigned int i = 1; i < n; i++, at += 4)
		memcpy(big + at, "a:" NL, 4);
	memcpy(big + at, NL, 2);
	return span_make(big, at + 2);
}

START_TEST(a_head_has_at_most_100_fields)
{
	expect_head(head_with_fields(HTTP1_MAX_FIELDS), GOOD, true);
	ck_assert_uint_eq(head.n_fields, HTTP1_MAX_FIELDS);
	expect_head(head_with_fields(HTTP1_MAX_FIELDS + 1), 431, true);
	expect_head(head_with_fields(1000), 431, true);
}
END_TEST

/* ---- host (RFC 9112, 3.2) ------------------------------------------------ */

START_TEST(a_1_1_request_has_exactly_one_host)
{
	static const struct known_verdict cases[] = {
		CASE(400, START NL),
		CASE(400, START HOST HOST NL),
		CASE(400, START HOST "hOST: b" NL NL),
		CASE(400, "GET http://a/ HTTP/1.1" NL NL),
		CASE(400, "GET / HTTP/1.0" NL HOST HOST NL),
		CASE(GOOD, "GET / HTTP/1.0" NL NL),
	};

	expect_all(cases, N(cases));
}
END_TEST

START_TEST(a_host_is_a_name_or_an_address_and_maybe_a_port)
{
	static const char *const good[] = {
		"a", "a.b-c.example", "127.0.0.1:80", "[::1]",
		"[2001:db8::1]:8",
		"a:", "a:0", "a:65535", "a%41b", "a_b", "xn--bcher-kva.example",
	};
	static const char *const bad[] = {
		"", " ", ":80", "a b", "a:b", "a:65536", "a:-1", "a:+1", "a:1:2",
		"a/b", "a@b", "a\\b", "a%4", "a%zz", "[::1", "[]", "[g]",
		"[::1]a", "::1", "http://a", "a?b", "a#b", "\xc3\xa4",
	};

	for (size_t i = 0; i < N(good) + N(bad); i++) {
		char r[128];

		snprintf(r, sizeof(r), START "Host: %s" NL NL,
			 i < N(good) ? good[i] : bad[i - N(good)]);
		expect_request(r, i < N(good) ? GOOD : 400);
	}
}
END_TEST

/* ---- what may stand once ------------------------------------------------- */

START_TEST(a_field_that_may_stand_once_is_refused_twice)
{
	static const char *const names[] = {
		"Authorization", "Content-Range", "Content-Type", "Range",
		"Content-Disposition", "Tus-Resumable", "Upload-Offset",
		"Upload-Length", "Upload-Metadata", "Upload-Checksum",
		"Upload-Defer-Length", "Upload-Concat", "Upload-Expires",
		"Upload-Complete", "Upload-Limit",
		"Upload-Draft-Interop-Version",
	};

	for (size_t i = 0; i < N(names); i++) {
		char r[200];

		snprintf(r, sizeof(r), START HOST "%s: 1" NL NL, names[i]);
		expect_request(r, GOOD);
		snprintf(r, sizeof(r), START HOST "%s: 1" NL "%s: 1" NL NL,
			 names[i], names[i]);
		expect_request(r, 400);
	}
}
END_TEST

START_TEST(other_fields_may_stand_twice)
{
	expect_request(GET("Via: a" NL "Via: b" NL), GOOD);
	expect_request(GET("If-Match: \"a\"" NL "If-Match: \"b\"" NL), GOOD);
}
END_TEST

/* ---- the suite ----------------------------------------------------------- */

static void add_request_line(Suite *suite)
{
	TCase *tc = tcase_create("request line");

	tcase_add_test(tc, a_request_is_taken_apart);
	tcase_add_test(tc, two_empty_lines_before_a_request_are_skipped);
	tcase_add_test(tc, nothing_else_may_stand_before_a_request);
	tcase_add_test(tc, only_crlf_ends_a_line);
	tcase_add_test(tc, a_request_line_has_exactly_two_spaces);
	tcase_add_test(tc, the_implemented_methods_are_told_apart);
	tcase_add_test(tc, a_method_is_a_token);
	tcase_add_test(tc, an_unknown_method_is_not_implemented);
	tcase_add_test(tc, a_target_has_one_of_the_forms_of_its_method);
	tcase_add_test(tc, a_target_is_visible_ascii_without_fragment);
	tcase_add_test(tc, an_absolute_target_overrides_host);
	tcase_add_test(tc, an_absolute_target_without_path_means_the_root);
	tcase_add_test(tc, a_query_begins_at_the_first_question_mark);
	tcase_add_test(tc, only_versions_1_0_and_1_1_are_spoken);
	tcase_add_test(tc, the_preface_of_http_2_is_answered_505);
	tcase_add_test(tc, a_tls_handshake_is_refused);
	suite_add_tcase(suite, tc);
}

static void add_fields(Suite *suite)
{
	TCase *tc = tcase_create("fields");

	tcase_add_test(tc,
		       a_blank_or_nothing_before_the_first_field_is_refused);
	tcase_add_test(tc, a_field_name_is_a_token_next_to_its_colon);
	tcase_add_test(tc, a_folded_field_is_refused);
	tcase_add_test(tc, a_field_value_has_no_control_characters_but_tabs);
	tcase_add_test(tc, only_spaces_and_tabs_are_trimmed_off_a_value);
	tcase_add_test(tc, fields_are_found_by_name_in_any_case);
	tcase_add_test(tc, a_1_1_request_has_exactly_one_host);
	tcase_add_test(tc, a_host_is_a_name_or_an_address_and_maybe_a_port);
	tcase_add_test(tc, a_field_that_may_stand_once_is_refused_twice);
	tcase_add_test(tc, other_fields_may_stand_twice);
	suite_add_tcase(suite, tc);
}

static void add_limits(Suite *suite)
{
	TCase *tc = tcase_create("limits");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_target_has_at_most_8192_bytes);
	tcase_add_test(tc, a_request_line_without_end_is_refused);
	tcase_add_test(tc, a_field_line_has_at_most_8192_bytes);
	tcase_add_test(tc, a_field_line_without_end_is_refused);
	tcase_add_test(tc, a_head_has_at_most_32_kib);
	tcase_add_test(tc, a_head_without_end_is_refused);
	tcase_add_test(tc, a_head_has_at_most_100_fields);
	suite_add_tcase(suite, tc);
}

int main(void)
{
	Suite *suite = suite_create("http1 requests");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_request_line(suite);
	add_fields(suite);
	add_limits(suite);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
