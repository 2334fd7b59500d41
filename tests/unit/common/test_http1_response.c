#include "tests/unit/common/http1_heads.h"

#include <stdlib.h>

#define OK(fields) "HTTP/1.1 200 OK" NL fields NL

static void expect_response(const char *response, int verdict)
{
	expect_head(span_of(response), verdict, false);
}

START_TEST(a_response_is_taken_apart)
{
	const char *r = "HTTP/1.1 404 Not  Found\t" NL
			"Content-Length: 3" NL NL;

	expect_response(r, GOOD);
	ck_assert_int_eq(head.status, 404);
	ck_assert_int_eq(head.minor_version, 1);
	assert_slice(r, head.reason, "Not  Found\t");
	ck_assert_int_eq(head.framing, HTTP1_IDENTITY);
	ck_assert_uint_eq(head.length, 3);
	ck_assert_uint_eq(head.size, strlen(r));
}
END_TEST

START_TEST(a_reason_may_be_empty_or_missing)
{
	expect_response("HTTP/1.1 200 " NL NL, GOOD);
	ck_assert_uint_eq(head.reason.len, 0);
	expect_response("HTTP/1.1 200" NL NL, GOOD);
	ck_assert_uint_eq(head.reason.len, 0);
	expect_response("HTTP/1.0 200 \xc3\xa4" NL NL, GOOD);
}
END_TEST

START_TEST(a_status_line_is_strict)
{
	static const struct known_verdict cases[] = {
		CASE(502, "HTTP/1.1 99 A" NL NL),
		CASE(502, "HTTP/1.1 099 A" NL NL),
		CASE(502, "HTTP/1.1 600 A" NL NL),
		CASE(502, "HTTP/1.1 2000 A" NL NL),
		CASE(502, "HTTP/1.1 2 A" NL NL),
		CASE(502, "HTTP/1.1 -20 A" NL NL),
		CASE(502, "HTTP/1.1  200 A" NL NL),
		CASE(502, "HTTP/1.1 200\tA" NL NL),
		CASE(502, "HTTP/1.1 200 A\0B" NL NL),
		CASE(502, "HTTP/1.1 200 A\rB" NL NL),
		CASE(502, "HTTP/1.1 200 A\n" NL),
		CASE(502, "HTTP/1.1" NL NL),
		CASE(502, "HTTP/2.0 200 A" NL NL),
		CASE(502, "HTTP/1.2 200 A" NL NL),
		CASE(502, "HTTP/1 200 A" NL NL),
		CASE(502, "ICY 200 OK" NL NL),
		CASE(502, " HTTP/1.1 200 A" NL NL),
		CASE(502, NL "HTTP/1.1 200 A" NL NL),
		CASE(502, "<html>" NL NL),
	};

	for (size_t i = 0; i < N(cases); i++)
		expect_head(cases[i].request, cases[i].verdict, false);
}
END_TEST

START_TEST(a_responses_fields_are_checked_like_a_requests)
{
	expect_response(OK("A : b" NL), 502);
	expect_response(OK("A: b" NL " c" NL), 502);
	expect_response(OK("A: \x01" NL), 502);
	expect_response(OK("A: b\n"), 502);
}
END_TEST

START_TEST(a_response_may_repeat_all_but_its_framing)
{
	expect_response(OK("Content-Type: a" NL "Content-Type: b" NL), GOOD);
	expect_response(OK("Content-Length: 1" NL "Content-Length: 1" NL), 502);
	expect_response(OK("Transfer-Encoding: chunked" NL
			   "Transfer-Encoding: chunked" NL), 502);
}
END_TEST

START_TEST(a_response_is_framed_by_its_fields_or_ends_with_the_connection)
{
	expect_response(OK("Content-Length: 0" NL), GOOD);
	ck_assert_int_eq(head.framing, HTTP1_IDENTITY);
	expect_response(OK("Transfer-Encoding: chunked" NL), GOOD);
	ck_assert_int_eq(head.framing, HTTP1_CHUNKED);
	expect_response(OK(""), GOOD);
	ck_assert_int_eq(head.framing, HTTP1_UNTIL_CLOSE);
	ck_assert(!head.keep_alive);
}
END_TEST

START_TEST(a_response_with_doubtful_framing_is_refused)
{
	expect_response(OK("Transfer-Encoding: chunked" NL
			   "Content-Length: 1" NL), 502);
	expect_response(OK("Transfer-Encoding: gzip" NL), 502);
	expect_response(OK("Transfer-Encoding: gzip, chunked" NL), 502);
	expect_response(OK("Content-Length: 1, 1" NL), 502);
	expect_response("HTTP/1.0 200 OK" NL "Transfer-Encoding: chunked" NL NL,
			502);
}
END_TEST

START_TEST(some_statuses_have_no_body)
{
	static const char *const none[] = {"100", "101", "103", "204", "304"};

	for (size_t i = 0; i < N(none); i++) {
		char r[100];

		snprintf(r, sizeof(r), "HTTP/1.1 %s A" NL
			 "Content-Length: 5" NL NL, none[i]);
		expect_response(r, GOOD);
		ck_assert_int_eq(head.framing, HTTP1_NO_BODY);
		snprintf(r, sizeof(r), "HTTP/1.1 %s A" NL NL, none[i]);
		expect_response(r, GOOD);
		ck_assert_int_eq(head.framing, HTTP1_NO_BODY);
		ck_assert(head.keep_alive);
	}
}
END_TEST

START_TEST(an_answer_to_head_has_no_body_but_tells_its_length)
{
	struct span r = SPAN_LIT(OK("Content-Length: 5" NL));
	struct err err = ERR_INIT;

	http1_head_init(&head);
	ck_assert_int_eq(http1_parse_response(&head, r.ptr, r.len, true, &err),
			 HTTP1_DONE);
	ck_assert_int_eq(head.framing, HTTP1_NO_BODY);
	ck_assert(head.has_length);
	ck_assert_uint_eq(head.length, 5);
	ck_assert(head.keep_alive);
}
END_TEST

START_TEST(version_and_connection_decide_what_is_kept_alive)
{
	expect_response(OK("Content-Length: 0" NL), GOOD);
	ck_assert(head.keep_alive);
	expect_response(OK("Content-Length: 0" NL "Connection: close" NL),
			GOOD);
	ck_assert(!head.keep_alive);
	expect_response("HTTP/1.0 200 OK" NL "Content-Length: 0" NL NL, GOOD);
	ck_assert(!head.keep_alive);
	expect_response("HTTP/1.0 200 OK" NL "Content-Length: 0" NL
			"Connection: keep-alive" NL NL, GOOD);
	ck_assert(head.keep_alive);
}
END_TEST

START_TEST(a_response_without_end_is_refused)
{
	static char big[HTTP1_MAX_LINE + 100];

	memset(big, 'x', sizeof(big));
	expect_head(span_make(big, HTTP1_MAX_LINE + 1), INCOMPLETE, false);
	expect_head(span_make(big, HTTP1_MAX_LINE + 2), 502, false);
}
END_TEST

START_TEST(what_requests_need_does_not_matter)
{
	expect_response(OK("Host: a" NL "Host: b c" NL "Expect: x" NL), GOOD);
	ck_assert(!head.expect_continue);
	ck_assert_uint_eq(head.host.len, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("http1 responses");
	TCase *tc = tcase_create("responses");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_test(tc, a_response_is_taken_apart);
	tcase_add_test(tc, a_reason_may_be_empty_or_missing);
	tcase_add_test(tc, a_status_line_is_strict);
	tcase_add_test(tc, a_responses_fields_are_checked_like_a_requests);
	tcase_add_test(tc, a_response_may_repeat_all_but_its_framing);
	tcase_add_test(
		tc,
		a_response_is_framed_by_its_fields_or_ends_with_the_connection);
	tcase_add_test(tc, a_response_with_doubtful_framing_is_refused);
	tcase_add_test(tc, some_statuses_have_no_body);
	tcase_add_test(tc, an_answer_to_head_has_no_body_but_tells_its_length);
	tcase_add_test(tc, version_and_connection_decide_what_is_kept_alive);
	tcase_add_test(tc, a_response_without_end_is_refused);
	tcase_add_test(tc, what_requests_need_does_not_matter);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
