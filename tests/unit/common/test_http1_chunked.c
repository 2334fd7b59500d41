#include "common/http1.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define NL "\r\n"
#define END "0" NL NL
#define N(array) (sizeof(array) / sizeof((array)[0]))

/* Verdicts beside the status of a refusal. */
enum { INCOMPLETE = 0, GOOD = 200 };

struct decoded {
	int verdict;
	size_t unused;		/* bytes behind a body that is complete */
	size_t len;
	char data[256 * 1024];
	struct http1_chunked c;
};

static struct decoded whole, pieces;

static void take_data(struct decoded *d, struct span *in)
{
	size_t n = d->c.left < in->len ? (size_t)d->c.left : in->len;

	ck_assert_uint_le(n, sizeof(d->data) - d->len);
	memcpy(d->data + d->len, in->ptr, n);
	d->len += n;
	in->ptr += n;
	in->len -= n;
	http1_chunked_took(&d->c, n);
}

/* One piece; its verdict. */
static int feed(struct decoded *d, struct span *in, uint64_t max)
{
	struct err err = ERR_INIT;

	for (;;) {
		switch (http1_chunked_framing(&d->c, in, max, &err)) {
		case HTTP1_DONE:
			return GOOD;
		case HTTP1_BAD:
			return err_http_status(&err);
		case HTTP1_MORE:
			break;
		}
		if (in->len == 0)
			return INCOMPLETE;
		ck_assert_uint_gt(d->c.left, 0);
		take_data(d, in);
	}
}

/* Decode with `first` bytes at once, then `step` at a time. */
static void decode(struct decoded *d, struct span in, size_t first, size_t step,
		   uint64_t max)
{
	size_t at = 0, n = first;

	d->len = 0;
	d->verdict = INCOMPLETE;
	http1_chunked_init(&d->c);
	while (at < in.len && d->verdict == INCOMPLETE) {
		struct span piece;

		if (n > in.len - at)
			n = in.len - at;
		piece = span_make(in.ptr + at, n);
		d->verdict = feed(d, &piece, max);
		at += n - piece.len;
		n = step;
	}
	d->unused = in.len - at;
}

static void expect_same(struct span in, size_t first, size_t step, uint64_t max)
{
	decode(&pieces, in, first, step, max);
	ck_assert_msg(pieces.verdict == whole.verdict &&
			      pieces.len == whole.len &&
			      !memcmp(pieces.data, whole.data, whole.len) &&
			      (whole.verdict != GOOD ||
			       pieces.unused == whole.unused) &&
			      !memcmp(&pieces.c.trailers, &whole.c.trailers,
				      sizeof(whole.c.trailers)),
		      "%d, but %d in pieces of %zu, %zu …: %.100s",
		      whole.verdict, pieces.verdict, first, step, in.ptr);
}

/* What comes out whole, in two pieces and in many. */
static void expect_max(struct span in, int verdict, struct span data,
		       uint64_t max)
{
	decode(&whole, in, in.len, in.len, max);
	ck_assert_msg(whole.verdict == verdict, "%d instead of %d: %.100s",
		      whole.verdict, verdict, in.ptr);
	ck_assert_msg(span_eq(span_make(whole.data, whole.len), data),
		      "%.*s instead of %.*s", (int)whole.len, whole.data,
		      SPAN_ARG(data));
	for (size_t n = 1; n < in.len && n < 300; n++) {
		expect_same(in, n, in.len, max);
		expect_same(in, n, n, max);
	}
}

static void expect(const char *body, int verdict, const char *data)
{
	expect_max(span_of(body), verdict, span_of(data), UINT64_MAX);
}

/* ---- chunks (RFC 9112, 7.1) ---------------------------------------------- */

START_TEST(chunks_become_their_data)
{
	expect(END, GOOD, "");
	expect("3" NL "abc" NL END, GOOD, "abc");
	expect("3" NL "abc" NL "2" NL "\r\n" NL "1" NL "0" NL END, GOOD,
	       "abc\r\n0");
	ck_assert_uint_eq(whole.c.total, 6);
}
END_TEST

START_TEST(a_size_is_hexadecimal_in_either_case)
{
	expect("a" NL "0123456789" NL END, GOOD, "0123456789");
	expect("0A" NL "0123456789" NL END, GOOD, "0123456789");
	expect("000000000000000A" NL "0123456789" NL END, GOOD, "0123456789");
	expect("1F" NL "0123456789012345678901234567890" NL END, GOOD,
	       "0123456789012345678901234567890");
	expect("0000000000000000" NL NL, GOOD, "");
}
END_TEST

START_TEST(a_size_has_1_to_16_digits)
{
	expect(NL, 400, "");
	expect(";a" NL, 400, "");
	expect("00000000000000000" NL NL, 400, "");
	expect("00000000000000001" NL "a" NL END, 400, "");
	expect("10000000000000000" NL, 400, "");
}
END_TEST

START_TEST(a_size_is_nothing_but_digits)
{
	static const char *const bad[] = {
		"0x1", "+1", "-1", " 1", "1 ", "\t1", "1\t", "g", "1g", "1,1",
		"1.", "\"1\"", "1_0", "\xef\xbc\x91", "1 ;a", "1; a", "1;\ta",
	};

	for (size_t i = 0; i < N(bad); i++) {
		char body[40];

		snprintf(body, sizeof(body), "%s" NL "a" NL END, bad[i]);
		expect(body, 400, "");
	}
	expect_max(SPAN_LIT("1\0" NL "a" NL END), 400, SPAN_LIT(""), 9);
}
END_TEST

START_TEST(the_total_of_all_sizes_must_not_overflow)
{
	expect("1" NL "a" NL "FFFFFFFFFFFFFFFE" NL, INCOMPLETE, "a");
	ck_assert_uint_eq(whole.c.total, UINT64_MAX);
	expect("1" NL "a" NL "FFFFFFFFFFFFFFFF" NL, 400, "a");
	expect("2" NL "ab" NL "FFFFFFFFFFFFFFFE" NL, 400, "ab");
}
END_TEST

START_TEST(too_large_a_body_is_refused_before_its_data)
{
	struct span body = SPAN_LIT("3" NL "abc" NL "3" NL "def" NL END);

	expect_max(body, GOOD, SPAN_LIT("abcdef"), 6);
	expect_max(body, 413, SPAN_LIT("abc"), 5);
	expect_max(body, 413, SPAN_LIT(""), 2);
	expect_max(SPAN_LIT("FFFFFFFFFFFFFFFF" NL), 413, SPAN_LIT(""), 99);
}
END_TEST

START_TEST(only_crlf_ends_a_line)
{
	expect("1\n" "a" NL END, 400, "");
	expect("1\r" "a" NL END, 400, "");
	expect("1\r\r\n" "a" NL END, 400, "");
	expect("1;a\n" "a" NL END, 400, "");
	expect("0\n\n", 400, "");
	expect("0" NL "\n", 400, "");
	expect("0" NL "\r\r\n", 400, "");
	expect("0" NL "A: b\n" NL, 400, "");
	expect("0" NL "A: b\rc" NL NL, 400, "");
}
END_TEST

START_TEST(crlf_follows_the_data_at_once)
{
	expect("1" NL "a\n" END, 400, "a");
	expect("1" NL "a\r" END, 400, "a");
	expect("1" NL "ab" NL END, 400, "a");
	expect("1" NL "a" END, 400, "a");
	expect("1" NL "a " NL END, 400, "a");
	expect("3" NL "a" NL END, 400, "a" NL);
}
END_TEST

START_TEST(data_come_out_before_their_chunk_is_complete)
{
	expect("ff" NL "abc", INCOMPLETE, "abc");
	ck_assert_uint_eq(whole.c.left, 0xff - 3);
	expect("FFFFFFFFFFFFFFFF" NL "abc", INCOMPLETE, "abc");
}
END_TEST

START_TEST(no_data_are_due_while_a_size_is_incomplete)
{
	struct span in = SPAN_LIT("12;a=b\r");
	struct http1_chunked c;
	struct err err = ERR_INIT;

	http1_chunked_init(&c);
	ck_assert_int_eq(http1_chunked_framing(&c, &in, 99, &err), HTTP1_MORE);
	ck_assert_uint_eq(in.len, 0);
	ck_assert_uint_eq(c.left, 0);
	in = SPAN_LIT("\nx");
	ck_assert_int_eq(http1_chunked_framing(&c, &in, 99, &err), HTTP1_MORE);
	ck_assert_uint_eq(in.len, 1);
	ck_assert_uint_eq(c.left, 0x12);
}
END_TEST

START_TEST(framing_waits_until_data_are_taken)
{
	struct span in = SPAN_LIT("2" NL "ab" NL END);
	struct http1_chunked c;
	struct err err = ERR_INIT;

	http1_chunked_init(&c);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(http1_chunked_framing(&c, &in, 99, &err),
				 HTTP1_MORE);
		ck_assert(span_starts_with(in, SPAN_LIT("ab")));
	}
	http1_chunked_took(&c, 2);
	in = span_make(in.ptr + 2, in.len - 2);
	ck_assert_int_eq(http1_chunked_framing(&c, &in, 99, &err), HTTP1_DONE);
}
END_TEST

START_TEST(every_beginning_of_a_body_is_incomplete)
{
	const char *body = "1;a=\"b\"" NL "x" NL "0" NL "A: b" NL NL;

	for (size_t n = 0; n < strlen(body); n++)
		expect_max(span_make(body, n), INCOMPLETE,
			   span_make("x", n > 9), 9);
}
END_TEST

START_TEST(bytes_behind_the_body_are_left)
{
	expect("1" NL "a" NL END "GET", GOOD, "a");
	ck_assert_uint_eq(whole.unused, 3);
}
END_TEST

START_TEST(a_verdict_stays)
{
	struct span more = SPAN_LIT(END);
	struct err err = ERR_INIT;

	expect("x", 400, "");
	ck_assert_int_eq(http1_chunked_framing(&whole.c, &more, 99, &err),
			 HTTP1_BAD);
	ck_assert(err_is_set(&err));
	expect(END, GOOD, "");
	ck_assert_int_eq(http1_chunked_framing(&whole.c, &more, 99, &err),
			 HTTP1_DONE);
	ck_assert_uint_eq(more.len, strlen(END));
}
END_TEST

START_TEST(an_answers_fault_is_the_targets)
{
	struct span in = SPAN_LIT("x");
	struct http1_chunked c;
	struct err err = ERR_INIT;

	http1_chunked_init(&c);
	c.is_response = true;
	ck_assert_int_eq(http1_chunked_framing(&c, &in, 99, &err), HTTP1_BAD);
	ck_assert_int_eq(err.code, ERR_TARGET);
	ck_assert_int_eq(err_http_status(&err), 502);
}
END_TEST

/* ---- extensions ---------------------------------------------------------- */

START_TEST(extensions_are_checked_and_dropped)
{
	static const char *const good[] = {
		";a", ";a=b", ";a;b", ";a=b;c=d;e", ";a=\"b\"", ";a=\"\"",
		";a=\"b;c=\\\"d\\\\\";e", ";a=\"\t \xc3\xa4\"",
	};
	static const char *const bad[] = {
		";", ";;", ";=", ";a=", ";a;", ";a =b", ";a= b", ";a b", "; a",
		";a=\"b\"c", ";a=\"b", ";a=\"\x01\"", ";a=\"\x7f\"", ";a=\x01",
		";a=\"\\\x01\"", ";a=b=c", ";a\xc3\xa4", ";a=\"b\rc\"", ";a,b",
		";a=\"\nb\"", ";a=\"\\\nb\"",
	};

	for (size_t i = 0; i < N(good) + N(bad); i++) {
		bool is_good = i < N(good);
		char body[80];

		snprintf(body, sizeof(body), "1%s" NL "x" NL "0%s" NL NL,
			 is_good ? good[i] : bad[i - N(good)],
			 is_good ? good[i] : "");
		expect(body, is_good ? GOOD : 400, is_good ? "x" : "");
	}
}
END_TEST

static char big[600 * 1024];

START_TEST(extensions_have_at_most_4096_bytes_in_a_body)
{
	size_t n = HTTP1_MAX_CHUNK_EXT;
	int len = snprintf(big, sizeof(big), "1;%0*d" NL "x" NL END,
			   (int)n - 1, 0);

	expect_max(span_make(big, (size_t)len), GOOD, SPAN_LIT("x"), 9);
	len = snprintf(big, sizeof(big), "1;%0*d" NL "x" NL END, (int)n, 0);
	expect_max(span_make(big, (size_t)len), 400, SPAN_LIT(""), 9);
	len = snprintf(big, sizeof(big), "1;%0*d" NL "x" NL "0;a" NL NL,
		       (int)n - 2, 0);
	expect_max(span_make(big, (size_t)len), 400, SPAN_LIT("x"), 9);
}
END_TEST

/* A body of `n` chunks, each like `chunk`. */
static struct span repeated(const char *chunk, size_t n)
{
	size_t len = strlen(chunk);

	ck_assert_uint_le(n * len + strlen(END), sizeof(big));
	for (size_t i = 0; i < n; i++)
		memcpy(big + i * len, chunk, len);
	memcpy(big + n * len, END, strlen(END));
	return span_make(big, n * len + strlen(END));
}

static int verdict_of(struct span body)
{
	decode(&whole, body, body.len, body.len, UINT64_MAX);
	for (size_t n = 1; n < 10; n++)
		expect_same(body, n * n, n * n, UINT64_MAX);
	return whole.verdict;
}

START_TEST(a_flood_of_tiny_chunks_is_refused)
{
	ck_assert_int_eq(verdict_of(repeated("1" NL "x" NL, 20000)), GOOD);
	ck_assert_int_eq(verdict_of(repeated("1" NL "x" NL, 100000)), 400);
	ck_assert_uint_le(whole.len, 100 * 1024 / 5 + 1);
	ck_assert_int_eq(verdict_of(repeated("0000000000000003" NL "xxx" NL,
					     20000)), 400);
}
END_TEST

START_TEST(small_chunks_are_not_a_flood)
{
	ck_assert_int_eq(verdict_of(repeated("2" NL "xx" NL, 80000)), GOOD);
	ck_assert_int_eq(verdict_of(repeated("10" NL "0123456789abcdef" NL,
					     15000)), GOOD);
}
END_TEST

/* ---- trailers (RFC 9112, 7.1.2) ------------------------------------------ */

START_TEST(digests_in_the_trailer_are_kept)
{
	expect("0" NL "Repr-Digest: sha-256=:abc=:" NL "Via: x" NL
	       "content-DIGEST:\tsha-512=:d: " NL NL, GOOD, "");
	ck_assert_str_eq(whole.c.trailers.repr_digest, "sha-256=:abc=:");
	ck_assert_str_eq(whole.c.trailers.content_digest, "sha-512=:d:");
}
END_TEST

START_TEST(several_lines_of_a_digest_are_one_list)
{
	expect("0" NL "Repr-Digest: a=:b:" NL "Repr-Digest:" NL
	       "Repr-Digest: c=:d:" NL NL, GOOD, "");
	ck_assert_str_eq(whole.c.trailers.repr_digest, "a=:b:, c=:d:");
}
END_TEST

START_TEST(a_digest_too_long_to_keep_is_refused)
{
	char body[600];

	snprintf(body, sizeof(body), "0" NL "Repr-Digest: %0199d" NL NL, 0);
	expect(body, GOOD, "");
	ck_assert_uint_eq(strlen(whole.c.trailers.repr_digest), 199);
	snprintf(body, sizeof(body), "0" NL "Repr-Digest: %0200d" NL NL, 0);
	expect(body, 431, "");
	snprintf(body, sizeof(body), "0" NL "Repr-Digest: %0400d" NL NL, 0);
	expect(body, 431, "");
	snprintf(body, sizeof(body), "0" NL "Repr-Digest: %0198d" NL
		 "Repr-Digest: a" NL NL, 0);
	expect(body, 431, "");
}
END_TEST

START_TEST(other_trailer_fields_are_dropped)
{
	expect("0" NL "Content-Length: 5" NL "Transfer-Encoding: chunked" NL
	       "Host: a" NL "Authorization: b" NL "Repr-Digests: c" NL NL,
	       GOOD, "");
	ck_assert_str_eq(whole.c.trailers.repr_digest, "");
	ck_assert_str_eq(whole.c.trailers.content_digest, "");
}
END_TEST

START_TEST(a_trailer_field_is_checked_like_any_field)
{
	static const char *const bad[] = {
		" A: b", "\tA: b", ": b", "A", "A : b", "A B: c",
		"A\xc3\xa4: b",
		"A: b" NL " c", "A: \x01", "A: \x7f", "A: b\nc", "A(: b",
	};

	for (size_t i = 0; i < N(bad); i++) {
		char body[40];

		snprintf(body, sizeof(body), "0" NL "%s" NL NL, bad[i]);
		expect(body, 400, "");
	}
	expect_max(SPAN_LIT("0" NL "A: \0" NL NL), 400, SPAN_LIT(""), 9);
	expect("0" NL "!#$%&'*+-.^_`|~0aZ:\t\xc3\xa4 " NL "A:" NL NL, GOOD, "");
}
END_TEST

START_TEST(a_trailer_section_has_at_most_8192_bytes)
{
	int n = (int)HTTP1_MAX_TRAILER - (int)strlen("A:" NL NL);
	int len = snprintf(big, sizeof(big), "0" NL "A:%0*d" NL NL, n, 0);

	expect_max(span_make(big, (size_t)len), GOOD, SPAN_LIT(""), 9);
	len = snprintf(big, sizeof(big), "0" NL "A:%0*d" NL NL, n + 1, 0);
	expect_max(span_make(big, (size_t)len), 431, SPAN_LIT(""), 9);
	len = snprintf(big, sizeof(big), "0" NL "A:%0*d", 2 * n, 0);
	expect_max(span_make(big, (size_t)len), 431, SPAN_LIT(""), 9);
}
END_TEST

START_TEST(a_trailer_section_has_at_most_100_fields)
{
	for (unsigned int n = 100; n <= 101; n++) {
		size_t at = 3;

		memcpy(big, "0" NL, 3);
		for (unsigned int i = 0; i < n; i++, at += 4)
			memcpy(big + at, "a:" NL, 4);
		memcpy(big + at, NL, 2);
		expect_max(span_make(big, at + 2), n > 100 ? 431 : GOOD,
			   SPAN_LIT(""), 9);
	}
}
END_TEST

/* ---- writing ------------------------------------------------------------- */

static void expect_header(uint64_t n, const char *header)
{
	char buf[HTTP1_CHUNK_HEADER_SIZE];
	size_t len = http1_chunk_header(n, buf);

	ck_assert(span_eq(span_make(buf, len), span_of(header)));
}

START_TEST(a_chunk_header_is_its_size_in_hex)
{
	expect_header(1, "1" NL);
	expect_header(15, "f" NL);
	expect_header(16, "10" NL);
	expect_header(4096, "1000" NL);
	expect_header(UINT64_MAX, "ffffffffffffffff" NL);
}
END_TEST

START_TEST(what_is_written_can_be_read)
{
	static const size_t sizes[] = {1, 9, 10, 4095, 4096, 65536};
	size_t at = 0, total = 0;

	for (size_t i = 0; i < N(sizes); i++) {
		at += http1_chunk_header(sizes[i], big + at);
		memset(big + at, 'x', sizes[i]);
		at += sizes[i];
		memcpy(big + at, NL, 2);
		at += 2;
		total += sizes[i];
	}
	memcpy(big + at, HTTP1_LAST_CHUNK, strlen(HTTP1_LAST_CHUNK));
	at += strlen(HTTP1_LAST_CHUNK);
	ck_assert_int_eq(verdict_of(span_make(big, at)), GOOD);
	ck_assert_uint_eq(whole.len, total);
}
END_TEST

/* ---- the suite ----------------------------------------------------------- */

static void add_chunks(Suite *suite)
{
	TCase *tc = tcase_create("chunks");

	tcase_add_test(tc, chunks_become_their_data);
	tcase_add_test(tc, a_size_is_hexadecimal_in_either_case);
	tcase_add_test(tc, a_size_has_1_to_16_digits);
	tcase_add_test(tc, a_size_is_nothing_but_digits);
	tcase_add_test(tc, the_total_of_all_sizes_must_not_overflow);
	tcase_add_test(tc, too_large_a_body_is_refused_before_its_data);
	tcase_add_test(tc, only_crlf_ends_a_line);
	tcase_add_test(tc, crlf_follows_the_data_at_once);
	tcase_add_test(tc, data_come_out_before_their_chunk_is_complete);
	tcase_add_test(tc, no_data_are_due_while_a_size_is_incomplete);
	tcase_add_test(tc, framing_waits_until_data_are_taken);
	tcase_add_test(tc, every_beginning_of_a_body_is_incomplete);
	tcase_add_test(tc, bytes_behind_the_body_are_left);
	tcase_add_test(tc, a_verdict_stays);
	tcase_add_test(tc, an_answers_fault_is_the_targets);
	suite_add_tcase(suite, tc);
}

static void add_rest(Suite *suite)
{
	TCase *tc = tcase_create("extensions, trailers, writing");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, extensions_are_checked_and_dropped);
	tcase_add_test(tc, extensions_have_at_most_4096_bytes_in_a_body);
	tcase_add_test(tc, a_flood_of_tiny_chunks_is_refused);
	tcase_add_test(tc, small_chunks_are_not_a_flood);
	tcase_add_test(tc, digests_in_the_trailer_are_kept);
	tcase_add_test(tc, several_lines_of_a_digest_are_one_list);
	tcase_add_test(tc, a_digest_too_long_to_keep_is_refused);
	tcase_add_test(tc, other_trailer_fields_are_dropped);
	tcase_add_test(tc, a_trailer_field_is_checked_like_any_field);
	tcase_add_test(tc, a_trailer_section_has_at_most_8192_bytes);
	tcase_add_test(tc, a_trailer_section_has_at_most_100_fields);
	tcase_add_test(tc, a_chunk_header_is_its_size_in_hex);
	tcase_add_test(tc, what_is_written_can_be_read);
	suite_add_tcase(suite, tc);
}

int main(void)
{
	Suite *suite = suite_create("http1 chunked");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_chunks(suite);
	add_rest(suite);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
