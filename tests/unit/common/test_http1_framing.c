#include "tests/unit/common/http1_heads.h"

#include <stdlib.h>

/* ---- framing (RFC 9112, 6) ----------------------------------------------- */

START_TEST(a_content_length_is_digits_only)
{
	static const char *const bad[] = {
		"", "+1", "-1", "0x1", "1 2", "1,1", "1, 1", "1.0", "1e3",
		"1;a",
		"\"1\"", "a", "18446744073709551616", "99999999999999999999",
		"100000000000000000000",
	};

	for (size_t i = 0; i < N(bad); i++)
		expect_value("Content-Length", bad[i], 400);
	expect_head(SPAN_LIT(GET("Content-Length: 1\0" NL)), 400, true);
}
END_TEST

START_TEST(a_content_length_is_the_size_of_the_body)
{
	static const uint64_t sizes[] = {0, 1, 4096, UINT64_MAX};

	for (size_t i = 0; i < N(sizes); i++) {
		char value[32];

		snprintf(value, sizeof(value), "\t%llu ",
			 (unsigned long long)sizes[i]);
		expect_value("Content-Length", value, GOOD);
		ck_assert_int_eq(head.framing, HTTP1_IDENTITY);
		ck_assert_uint_eq(head.length, sizes[i]);
		ck_assert(head.has_length);
	}
	expect_value("Content-Length", "007", GOOD);
	ck_assert_uint_eq(head.length, 7);
}
END_TEST

START_TEST(a_second_content_length_is_refused)
{
	expect_request(GET("Content-Length: 1" NL "Content-Length: 1" NL), 400);
	expect_request(GET("Content-Length: 1" NL "content-length: 2" NL), 400);
}
END_TEST

START_TEST(transfer_encoding_and_content_length_exclude_each_other)
{
	expect_request(GET("Transfer-Encoding: chunked" NL
			   "Content-Length: 1" NL), 400);
	expect_request(GET("Content-Length: 0" NL
			   "Transfer-Encoding: chunked" NL), 400);
	expect_request(GET("Content-Length: 0" NL
			   "Transfer-Encoding: gzip" NL), 400);
}
END_TEST

START_TEST(transfer_encoding_is_refused_in_1_0)
{
	expect_request("POST / HTTP/1.0" NL "Transfer-Encoding: chunked" NL NL,
		       400);
}
END_TEST

START_TEST(a_transfer_coding_is_chunked_alone)
{
	static const char *const good[] = {"chunked", "Chunked", " CHUNKED\t"};
	static const char *const bad[] = {
		"", ",", "chunked,", ",chunked", "chunked, chunked",
		"chunked;a",
		"chunked, gzip", "chunked, identity", "\"chunked\"", "chunked a",
		"\vchunked", "gzip;q=1",
	};
	static const char *const unknown[] = {
		"gzip", "identity", "gzip, chunked", "xchunked", "chunkedx",
		"gzip,deflate",
	};

	for (size_t i = 0; i < N(good); i++) {
		expect_value("Transfer-Encoding", good[i], GOOD);
		ck_assert_int_eq(head.framing, HTTP1_CHUNKED);
	}
	for (size_t i = 0; i < N(bad); i++)
		expect_value("Transfer-Encoding", bad[i], 400);
	for (size_t i = 0; i < N(unknown); i++)
		expect_value("Transfer-Encoding", unknown[i], 501);
}
END_TEST

START_TEST(a_second_transfer_encoding_is_refused)
{
	expect_request(GET("Transfer-Encoding: chunked" NL
			   "Transfer-Encoding: chunked" NL), 400);
	expect_request(GET("Transfer-Encoding: gzip" NL
			   "Transfer-Encoding: chunked" NL), 400);
}
END_TEST

START_TEST(without_framing_there_is_no_body)
{
	expect_request("POST / HTTP/1.1" NL HOST NL, GOOD);
	ck_assert_int_eq(head.framing, HTTP1_NO_BODY);
	ck_assert(!head.has_length);
}
END_TEST

START_TEST(framing_is_told_for_methods_without_content_too)
{
	static const char *const methods[] = {"GET", "HEAD", "DELETE",
					      "OPTIONS"};

	for (size_t i = 0; i < N(methods); i++) {
		char r[100];

		snprintf(r, sizeof(r), "%s / HTTP/1.1" NL HOST
			 "Content-Length: 3" NL NL, methods[i]);
		expect_request(r, GOOD);
		ck_assert_int_eq(head.framing, HTTP1_IDENTITY);
		ck_assert_uint_eq(head.length, 3);
	}
}
END_TEST

START_TEST(bytes_behind_a_head_are_not_looked_at)
{
	expect_request(GET("") "\0\x01 nonsense", GOOD);
	ck_assert_uint_eq(head.size, strlen(GET("")));
	expect_request(GET("") GET(""), GOOD);
	ck_assert_uint_eq(head.size, strlen(GET("")));
}
END_TEST

/* ---- expectations (RFC 9110, 10.1.1) ------------------------------------- */

START_TEST(continue_is_expected_in_1_1_with_a_body)
{
	static const struct {
		const char *request;
		bool expected;
	} cases[] = {
		{GET("Expect: 100-continue" NL "Content-Length: 1" NL), true},
		{GET("Expect: 100-Continue" NL "Transfer-Encoding: chunked" NL),
		 true},
		{GET("Expect: 100-continue" NL "Content-Length: 0" NL), false},
		{GET("Expect: 100-continue" NL), false},
		{GET("Content-Length: 1" NL), false},
		{"PUT / HTTP/1.0" NL "Expect: 100-continue" NL
		 "Content-Length: 1" NL NL, false},
	};

	for (size_t i = 0; i < N(cases); i++) {
		expect_request(cases[i].request, GOOD);
		ck_assert_msg(head.expect_continue == cases[i].expected, "%s",
			      cases[i].request);
	}
}
END_TEST

START_TEST(another_expectation_is_answered_417)
{
	expect_value("Expect", "", 417);
	expect_value("Expect", "200-ok", 417);
	expect_value("Expect", "100-continue, 100-continue", 417);
	expect_value("Expect", "100-continue;a=b", 417);
	expect_request(GET("Expect: 100-continue" NL
			   "Expect: 100-continue" NL), 400);
}
END_TEST

/* ---- connection (RFC 9112, 9) -------------------------------------------- */

START_TEST(version_and_connection_decide_what_is_kept_alive)
{
	static const struct {
		const char *request;
		bool kept;
	} cases[] = {
		{GET(""), true},
		{GET("Connection: close" NL), false},
		{GET("Connection: CLOSE" NL), false},
		{GET("Connection: foo , close" NL), false},
		{GET("Connection: foo" NL "Connection: close" NL), false},
		{GET("Connection: keep-alive, close" NL), false},
		{GET("Connection: closed" NL), true},
		{"GET / HTTP/1.0" NL NL, false},
		{"GET / HTTP/1.0" NL "Connection: keep-alive" NL NL, true},
		{"GET / HTTP/1.0" NL "Connection: a" NL
		 "connection: b,Keep-Alive" NL NL, true},
		{"GET / HTTP/1.0" NL "Connection: keep-alive, close" NL NL,
		 false},
	};

	for (size_t i = 0; i < N(cases); i++) {
		expect_request(cases[i].request, GOOD);
		ck_assert_msg(head.keep_alive == cases[i].kept, "%s",
			      cases[i].request);
	}
}
END_TEST

START_TEST(an_offer_to_upgrade_is_ignored)
{
	expect_request(GET("Connection: Upgrade, HTTP2-Settings" NL
			   "Upgrade: h2c" NL "HTTP2-Settings: AAMA" NL), GOOD);
	ck_assert(head.keep_alive);
	ck_assert_int_eq(head.framing, HTTP1_NO_BODY);
}
END_TEST

/* ---- verdicts ------------------------------------------------------------ */

START_TEST(every_beginning_of_a_head_is_incomplete)
{
	struct span r = SPAN_LIT(NL GET("Content-Length: 1" NL));

	for (size_t n = 0; n < r.len; n++)
		expect_head(span_make(r.ptr, n), INCOMPLETE, true);
}
END_TEST

START_TEST(a_refused_head_stays_refused)
{
	const char *r = "GET / HTTP/3.0" NL HOST NL;
	struct err err = ERR_INIT;

	expect_request(r, 505);
	ck_assert_int_eq(http1_parse_request(&head, r, strlen(r), &err),
			 HTTP1_BAD);
	ck_assert(err_is_set(&err));
}
END_TEST

START_TEST(a_complete_head_stays_complete)
{
	const char *r = GET("");
	struct err err = ERR_INIT;

	expect_request(r, GOOD);
	ck_assert_int_eq(http1_parse_request(&head, r, strlen(r), &err),
			 HTTP1_DONE);
	ck_assert_uint_eq(head.n_fields, 1);
}
END_TEST

START_TEST(the_buffer_may_move_between_calls)
{
	struct span r = SPAN_LIT(GET("Content-Length: 12" NL "A: b" NL));
	struct http1_head moved;
	struct err err = ERR_INIT;
	enum http1_result result = HTTP1_MORE;

	expect_head(r, GOOD, true);
	http1_head_init(&moved);
	for (size_t n = 1; n <= r.len; n++) {
		char *copy = malloc(n);

		ck_assert_ptr_nonnull(copy);
		memcpy(copy, r.ptr, n);
		result = http1_parse_request(&moved, copy, n, &err);
		free(copy);
	}
	ck_assert_int_eq(result, HTTP1_DONE);
	ck_assert(same_head(&moved, &head));
}
END_TEST

/* ---- the suite ----------------------------------------------------------- */

static void add_framing(Suite *suite)
{
	TCase *tc = tcase_create("framing");

	tcase_add_test(tc, a_content_length_is_digits_only);
	tcase_add_test(tc, a_content_length_is_the_size_of_the_body);
	tcase_add_test(tc, a_second_content_length_is_refused);
	tcase_add_test(tc,
		       transfer_encoding_and_content_length_exclude_each_other);
	tcase_add_test(tc, transfer_encoding_is_refused_in_1_0);
	tcase_add_test(tc, a_transfer_coding_is_chunked_alone);
	tcase_add_test(tc, a_second_transfer_encoding_is_refused);
	tcase_add_test(tc, without_framing_there_is_no_body);
	tcase_add_test(tc, framing_is_told_for_methods_without_content_too);
	tcase_add_test(tc, bytes_behind_a_head_are_not_looked_at);
	suite_add_tcase(suite, tc);
}

static void add_rest(Suite *suite)
{
	TCase *tc = tcase_create("expectation, connection, verdict");

	tcase_add_test(tc, continue_is_expected_in_1_1_with_a_body);
	tcase_add_test(tc, another_expectation_is_answered_417);
	tcase_add_test(tc, version_and_connection_decide_what_is_kept_alive);
	tcase_add_test(tc, an_offer_to_upgrade_is_ignored);
	tcase_add_test(tc, every_beginning_of_a_head_is_incomplete);
	tcase_add_test(tc, a_refused_head_stays_refused);
	tcase_add_test(tc, a_complete_head_stays_complete);
	tcase_add_test(tc, the_buffer_may_move_between_calls);
	suite_add_tcase(suite, tc);
}

int main(void)
{
	Suite *suite = suite_create("http1 framing");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_framing(suite);
	add_rest(suite);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
