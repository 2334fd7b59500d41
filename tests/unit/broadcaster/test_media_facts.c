#include "broadcaster/media_facts.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define OTHER "0000000000000000000000000000000000000000000000000000000000000000"
#define ETAG "ETag: \"" SHA256 "\"\r\n"
#define LENGTH(n) "Content-Length: " #n "\r\n"
#define RANGE(r) "Content-Range: " r "\r\n"

static struct reply reply;
static struct media_facts facts;
static struct media_wish wish;

/* What is said to an answer with this status and these lines. */
static enum media_verdict read_head(int status, const char *lines)
{
	struct err err = ERR_INIT;
	int len = snprintf(reply.buf, sizeof(reply.buf),
			   "HTTP/1.1 %d x\r\n%s\r\n", status, lines);

	http1_head_init(&reply.head);
	ck_assert_int_eq(http1_parse_response(&reply.head, reply.buf,
					      (size_t)len, wish.is_head, &err),
			 HTTP1_DONE);
	reply.status = status;
	return media_facts_read(&reply, &wish, &facts, &err);
}

static void setup(void)
{
	memset(&wish, 0, sizeof(wish));
}

START_TEST(a_whole_content_says_its_length_and_digest)
{
	ck_assert_int_eq(read_head(200, ETAG LENGTH(10)), MEDIA_GOOD);
	ck_assert_uint_eq(facts.size, 10);
	ck_assert_uint_eq(facts.length, 10);
	ck_assert_str_eq(facts.sha256, SHA256);
	ck_assert_str_eq(facts.content_type, "application/octet-stream");
}
END_TEST

static const char *const bad_wholes[] = {
	ETAG,				/* until close */
	ETAG "Transfer-Encoding: chunked\r\n",
	LENGTH(10),
	"ETag: W/\"" SHA256 "\"\r\n" LENGTH(10),
	"ETag: \"" SHA256 "0\"\r\n" LENGTH(10),
	"ETag: \"x\"\r\n" LENGTH(10),
	ETAG LENGTH(10) "Repr-Digest: sha-256=:AAAA:\r\n",
	ETAG LENGTH(10) "Repr-Digest: "
	"sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\r\n",
};

START_TEST(a_whole_content_without_proof_or_length_is_refused)
{
	ck_assert_int_eq(read_head(200, bad_wholes[_i]), MEDIA_BAD);
}
END_TEST

START_TEST(a_part_has_to_be_the_part_that_was_asked_for)
{
	wish.range = SPAN_LIT("bytes=2-5");
	ck_assert_int_eq(read_head(206, ETAG LENGTH(4) RANGE("bytes 2-5/10")),
			 MEDIA_GOOD);
	ck_assert_uint_eq(facts.first, 2);
	ck_assert_uint_eq(facts.length, 4);
	ck_assert_uint_eq(facts.size, 10);
}
END_TEST

static const char *const bad_parts[] = {
	ETAG LENGTH(4),
	ETAG LENGTH(4) RANGE("bytes 3-6/10"),
	ETAG LENGTH(5) RANGE("bytes 2-5/10"),
	ETAG LENGTH(3) RANGE("bytes 2-4/10"),
	ETAG LENGTH(4) RANGE("bytes 2-5/5"),
	ETAG LENGTH(4) RANGE("bytes 2-5/*"),
	ETAG LENGTH(4) RANGE("bytes 5-2/10"),
	ETAG LENGTH(4) RANGE("bytes 2-5"),
	ETAG LENGTH(4) RANGE("lines 2-5/10"),
	ETAG LENGTH(4) RANGE("bytes */10"),
	ETAG LENGTH(4) RANGE("bytes -2-5/10"),
	ETAG LENGTH(4) RANGE("bytes 2-99999999999999999999/10"),
};

START_TEST(another_part_is_refused)
{
	wish.range = SPAN_LIT("bytes=2-5");
	ck_assert_int_eq(read_head(206, bad_parts[_i]), MEDIA_BAD);
}
END_TEST

START_TEST(a_part_that_nobody_asked_for_is_refused)
{
	ck_assert_int_eq(read_head(206, ETAG LENGTH(4) RANGE("bytes 2-5/10")),
			 MEDIA_BAD);
}
END_TEST

/* The client's request has these lines. */
static void ask_with(const char *lines)
{
	static struct http1_head head;
	static char text[512];
	struct err err = ERR_INIT;
	int len = snprintf(text, sizeof(text),
			   "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", lines);

	http1_head_init(&head);
	ck_assert_int_eq(http1_parse_request(&head, text, (size_t)len, &err),
			 HTTP1_DONE);
	wish.conditions = (struct http1_conditions){ &head, text };
}

START_TEST(conditions_are_answered_only_if_they_were_asked)
{
	ck_assert_int_eq(read_head(304, ETAG), MEDIA_BAD);
	ck_assert_int_eq(read_head(412, ETAG), MEDIA_BAD);
	ck_assert_int_eq(read_head(416, ETAG RANGE("bytes */3")), MEDIA_BAD);
	wish.range = SPAN_LIT("bytes=3-");
	ask_with("If-None-Match: \"" SHA256 "\"\r\n");
	ck_assert_int_eq(read_head(304, ETAG), MEDIA_GOOD);
	ck_assert_int_eq(read_head(412, ETAG), MEDIA_BAD);
	ask_with("If-Match: \"x\"\r\n");
	ck_assert_int_eq(read_head(412, ETAG), MEDIA_GOOD);
	ck_assert_int_eq(read_head(412, ""), MEDIA_BAD);
	ck_assert_int_eq(read_head(416, ETAG RANGE("bytes */3")), MEDIA_GOOD);
	ck_assert_uint_eq(facts.size, 3);
}
END_TEST

START_TEST(a_date_is_a_condition_of_what_has_one)
{
	ask_with("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
	ck_assert_int_eq(read_head(304, ETAG), MEDIA_BAD);
	ck_assert_int_eq(read_head(304, ETAG "Last-Modified: Sun, 06 Nov 1994 "
						  "08:49:38 GMT\r\n"),
			 MEDIA_BAD);
	ck_assert_int_eq(read_head(304, ETAG "Last-Modified: Sun, 06 Nov 1994 "
						  "08:49:37 GMT\r\n"),
			 MEDIA_GOOD);
}
END_TEST

START_TEST(what_is_not_there_or_only_staged_is_absent)
{
	ck_assert_int_eq(read_head(404, LENGTH(0)), MEDIA_ABSENT);
	wish.is_head = true;
	ck_assert_int_eq(read_head(200, "Upload-Offset: 5\r\n" LENGTH(0)),
			 MEDIA_ABSENT);
}
END_TEST

START_TEST(errors_of_a_reader_are_no_absence)
{
	static const int statuses[] = { 302, 400, 401, 403, 429, 500, 503 };

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		ck_assert_int_eq(read_head(statuses[i], LENGTH(0)), MEDIA_BAD);
}
END_TEST

/* Bytes 4 … 9 of an object of ten bytes are missing. */
static void resume(struct media_facts *known)
{
	*known = (struct media_facts){ .size = 10, .sha256 = SHA256 };
	wish = (struct media_wish){ .is_resuming = true,
				    .known = known,
				    .first = 4,
				    .last = 9 };
}

START_TEST(going_on_takes_exactly_the_missing_bytes)
{
	struct media_facts known;

	resume(&known);
	ck_assert_int_eq(read_head(206, ETAG LENGTH(6) RANGE("bytes 4-9/10")),
			 MEDIA_GOOD);
	ck_assert_int_eq(read_head(206, ETAG LENGTH(5) RANGE("bytes 5-9/10")),
			 MEDIA_BAD);
	ck_assert_int_eq(read_head(206, ETAG LENGTH(5) RANGE("bytes 4-8/10")),
			 MEDIA_BAD);
	ck_assert_int_eq(read_head(206, ETAG LENGTH(6) RANGE("bytes 4-9/11")),
			 MEDIA_BAD);
	ck_assert_int_eq(read_head(200, ETAG LENGTH(10)), MEDIA_BAD);
	ck_assert_int_eq(read_head(206, LENGTH(6) RANGE("bytes 4-9/10")),
			 MEDIA_BAD);
}
END_TEST

START_TEST(going_on_never_takes_another_content)
{
	struct media_facts known;

	resume(&known);
	ck_assert_int_eq(read_head(206, "ETag: \"" OTHER "\"\r\n" LENGTH(6)
				   RANGE("bytes 4-9/10")),
			 MEDIA_ABSENT);
	ck_assert_int_eq(read_head(412, LENGTH(0)), MEDIA_ABSENT);
}
END_TEST

START_TEST(what_is_no_media_type_is_bytes)
{
	ck_assert_int_eq(read_head(200, ETAG LENGTH(1) "Content-Type: "
						       "audio/x, text/html\r\n"),
			 MEDIA_GOOD);
	ck_assert_str_eq(facts.content_type, "application/octet-stream");
	ck_assert_int_eq(read_head(200, ETAG LENGTH(1) "Content-Type: audio/x\r\n"),
			 MEDIA_GOOD);
	ck_assert_str_eq(facts.content_type, "audio/x");
}
END_TEST

START_TEST(only_what_cannot_run_scripts_is_shown)
{
	ck_assert(media_is_inline("video/mp4"));
	ck_assert(media_is_inline("AUDIO/flac; x=y"));
	ck_assert(media_is_inline("image/png"));
	ck_assert(!media_is_inline("image/svg+xml"));
	ck_assert(!media_is_inline("text/html"));
	ck_assert(!media_is_inline("text/html; video/mp4"));
	ck_assert(!media_is_inline("video"));
	ck_assert(!media_is_inline("audio/x, text/html"));
	ck_assert(!media_is_inline("video/mp4;,text/html"));
	ck_assert(!media_is_inline("image/png;,text/html"));
	ck_assert(!media_is_inline("video/"));
	ck_assert(!media_is_inline("video/\"x"));
	ck_assert(media_is_inline("video/mp4; codecs=\"avc1.42E01E, mp4a\""));
	ck_assert(!media_is_inline("video/mp4; a='b; c=\"',text/html\""));
	ck_assert(!media_is_inline("video/mp4; a=\"\\\",text/html,\""));
	ck_assert(!media_is_inline(""));
	ck_assert(!media_is_inline("application/octet-stream"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("media_facts");
	TCase *tc = tcase_create("media_facts");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, a_whole_content_says_its_length_and_digest);
	tcase_add_loop_test(tc, a_whole_content_without_proof_or_length_is_refused,
			    0, sizeof(bad_wholes) / sizeof(bad_wholes[0]));
	tcase_add_test(tc, a_part_has_to_be_the_part_that_was_asked_for);
	tcase_add_loop_test(tc, another_part_is_refused, 0,
			    sizeof(bad_parts) / sizeof(bad_parts[0]));
	tcase_add_test(tc, a_part_that_nobody_asked_for_is_refused);
	tcase_add_test(tc, conditions_are_answered_only_if_they_were_asked);
	tcase_add_test(tc, a_date_is_a_condition_of_what_has_one);
	tcase_add_test(tc, what_is_not_there_or_only_staged_is_absent);
	tcase_add_test(tc, errors_of_a_reader_are_no_absence);
	tcase_add_test(tc, going_on_takes_exactly_the_missing_bytes);
	tcase_add_test(tc, going_on_never_takes_another_content);
	tcase_add_test(tc, what_is_no_media_type_is_bytes);
	tcase_add_test(tc, only_what_cannot_run_scripts_is_shown);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
