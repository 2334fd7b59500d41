#include "common/log.h"

#include "common/clock.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WALL_MS UINT64_C(1769903999123)
#define HEAD "time=2026-01-31T23:59:59.123Z level=info event=upload"
#define JSON_HEAD                                                              \
	"{\"time\":\"2026-01-31T23:59:59.123Z\",\"level\":\"info\","           \
	"\"event\":\"upload\""

static int from_log = -1; /* what standard error is written to */
static int saved_stderr = -1;
static char text[1 << 20];
static size_t text_len;

/* Standard error becomes a file that take_text() reads, in each test. */
static void catch_stderr(void)
{
	char path[] = "/tmp/test_log.XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	from_log = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(unlink(path), 0);
	saved_stderr = dup(STDERR_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
	clock_fake(0, WALL_MS);
}

static void release_stderr(void)
{
	log_exit();
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(from_log);
	clock_fake_stop();
}

static void start(enum log_level level, const char *format)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(log_init(level, format, &err), 0);
}

/* All that was written up to now, or since the last time. */
static const char *take_text(void)
{
	ssize_t n;

	text_len = 0;
	while ((n = read(from_log, text + text_len,
			 sizeof(text) - 1 - text_len)) > 0)
		text_len += (size_t)n;
	text[text_len] = '\0';
	return text;
}

START_TEST(a_line_has_time_level_event_and_fields)
{
	start(LOG_INFO, "logfmt");
	log_line(LOG_INFO, "upload", LOG_STR("id", "abc"),
		 LOG_U64("bytes", UINT64_MAX));
	log_exit();
	ck_assert_str_eq(take_text(),
			 HEAD " id=abc bytes=18446744073709551615\n");
}
END_TEST

START_TEST(a_json_line_has_them_too)
{
	start(LOG_INFO, "json");
	log_line(LOG_INFO, "upload", LOG_STR("id", "abc"),
		 LOG_U64("bytes", UINT64_MAX));
	log_exit();
	ck_assert_str_eq(take_text(), JSON_HEAD ",\"id\":\"abc\",\"bytes\":"
						"18446744073709551615}\n");
}
END_TEST

START_TEST(a_line_needs_no_fields)
{
	start(LOG_INFO, "logfmt");
	log_fields(LOG_INFO, "upload", NULL, 0);
	log_exit();
	ck_assert_str_eq(take_text(), HEAD "\n");
}
END_TEST

START_TEST(each_level_has_its_name)
{
	start(LOG_DEBUG, "logfmt");
	log_fields(LOG_DEBUG, "a", NULL, 0);
	log_fields(LOG_WARN, "b", NULL, 0);
	log_fields(LOG_ERROR, "c", NULL, 0);
	log_exit();
	take_text();
	ck_assert_ptr_nonnull(strstr(text, "level=debug event=a\n"));
	ck_assert_ptr_nonnull(strstr(text, "level=warn event=b\n"));
	ck_assert_ptr_nonnull(strstr(text, "level=error event=c\n"));
}
END_TEST

START_TEST(lines_below_the_level_are_not_written)
{
	start(LOG_WARN, "logfmt");
	ck_assert(!log_enabled(LOG_INFO));
	ck_assert(log_enabled(LOG_WARN));
	log_fields(LOG_INFO, "quiet", NULL, 0);
	log_fields(LOG_WARN, "loud", NULL, 0);
	log_exit();
	ck_assert_ptr_null(strstr(take_text(), "quiet"));
	ck_assert_ptr_nonnull(strstr(text, "loud"));
}
END_TEST

START_TEST(without_a_start_lines_are_written_directly)
{
	log_line(LOG_INFO, "upload", LOG_STR("a", "b"));
	ck_assert_str_eq(take_text(), HEAD " a=b\n");
	start(LOG_INFO, "logfmt");
	log_exit();
	log_line(LOG_INFO, "upload", LOG_STR("a", "c"));
	ck_assert_str_eq(take_text(), HEAD " a=c\n");
}
END_TEST

START_TEST(an_unknown_format_is_refused)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(log_init(LOG_INFO, "xml", &err), -1);
	ck_assert_int_eq(err.code, ERR_CONFIG);
}
END_TEST

static const struct {
	struct span value;
	const char *logfmt;
	const char *json;
} values[] = {
	{{"plain-1.2/3:4", 13}, "plain-1.2/3:4", "\"plain-1.2/3:4\""},
	{{"", 0}, "\"\"", "\"\""},
	{{NULL, 0}, "\"\"", "\"\""},
	{{"a b", 3}, "\"a b\"", "\"a b\""},
	{{"a=b", 3}, "\"a=b\"", "\"a=b\""},
	{{"a\"b", 3}, "\"a\\\"b\"", "\"a\\\"b\""},
	{{"a\\b", 3}, "\"a\\\\b\"", "\"a\\\\b\""},
	{{"\n\r\t", 3}, "\"\\n\\r\\t\"", "\"\\n\\r\\t\""},
	{{"\0\x1b\x7f", 3},
	 "\"\\u0000\\u001b\\u007f\"",
	 "\"\\u0000\\u001b\\u007f\""},
	{{"\xc2\x9b", 2}, "\"\\u009b\"", "\"\\u009b\""},
	{{"\xc3\xa4", 2}, "\"\xc3\xa4\"", "\"\xc3\xa4\""},
	{{"\xff\xe2\x82", 3},
	 "\"\\ufffd\\ufffd\\ufffd\"",
	 "\"\\ufffd\\ufffd\\ufffd\""},
	{{"x\nlevel=error", 13}, "\"x\\nlevel=error\"", "\"x\\nlevel=error\""},
};

START_TEST(a_value_is_quoted_and_escaped)
{
	char expected[200];

	start(LOG_INFO, "logfmt");
	log_line(LOG_INFO, "upload", LOG_SPAN("v", values[_i].value));
	log_exit();
	snprintf(expected, sizeof(expected), HEAD " v=%s\n", values[_i].logfmt);
	ck_assert_str_eq(take_text(), expected);
	start(LOG_INFO, "json");
	log_line(LOG_INFO, "upload", LOG_SPAN("v", values[_i].value));
	log_exit();
	snprintf(expected, sizeof(expected), JSON_HEAD ",\"v\":%s}\n",
		 values[_i].json);
	ck_assert_str_eq(take_text(), expected);
}
END_TEST

START_TEST(any_byte_makes_one_line_of_valid_json)
{
	start(LOG_INFO, "json");
	for (int i = 0; i < 256; i++) {
		char bytes[3] = {'a', (char)i, 'b'};
		json_t *line;

		log_line(LOG_INFO, "upload",
			 LOG_SPAN("v", span_make(bytes, 3)));
		log_exit();
		take_text();
		ck_assert_ptr_eq(strchr(text, '\n'), text + text_len - 1);
		line = json_loadb(text, text_len, JSON_ALLOW_NUL, NULL);
		ck_assert_msg(line != NULL, "%s", text);
		json_decref(line);
		start(LOG_INFO, "json");
	}
}
END_TEST

START_TEST(a_long_value_is_cut_between_characters)
{
	static char value[2000];
	json_t *line;

	start(LOG_INFO, "json");
	for (size_t i = 0; i < sizeof(value); i += 2)
		memcpy(value + i, i ? "\xc3\xa4" : "xx", 2);
	log_line(LOG_INFO, "upload",
		 LOG_SPAN("v", span_make(value + 1, sizeof(value) - 1)));
	log_exit();
	line = json_loads(take_text(), 0, NULL);
	ck_assert_uint_eq(json_string_length(json_object_get(line, "v")),
			  1023 + 3);
	ck_assert_ptr_null(strstr(text, "ufffd"));
	ck_assert_ptr_nonnull(strstr(text, "...\"}\n"));
	json_decref(line);
}
END_TEST

START_TEST(a_line_too_long_leaves_fields_out_and_says_so)
{
	static char zeros[1024];
	struct log_field fields[] = {
		LOG_SPAN("a", span_make(zeros, sizeof(zeros))),
		LOG_SPAN("b", span_make(zeros, sizeof(zeros))),
		LOG_U64("c", 1),
	};
	json_t *line;

	start(LOG_INFO, "json");
	log_fields(LOG_INFO, "upload", fields, 3);
	log_exit();
	line = json_loads(take_text(), JSON_ALLOW_NUL, NULL);
	ck_assert_ptr_nonnull(json_object_get(line, "a"));
	ck_assert_ptr_null(json_object_get(line, "b"));
	ck_assert_ptr_null(json_object_get(line, "c"));
	ck_assert(json_is_true(json_object_get(line, "cut")));
	json_decref(line);
}
END_TEST

#define LINES 2000
#define THREADS 4

static void *log_many(void *name)
{
	for (uint64_t i = 0; i < LINES; i++)
		log_line(LOG_INFO, "upload", LOG_STR("thread", name),
			 LOG_U64("i", i));
	return NULL;
}

static size_t count_lines(void)
{
	size_t n = 0;

	take_text();
	for (size_t i = 0; i < text_len; i++)
		n += text[i] == '\n';
	return n;
}

START_TEST(lines_of_many_threads_stay_whole_or_are_counted)
{
	static char names[THREADS][2] = {"0", "1", "2", "3"};
	pthread_t threads[THREADS];
	char *line, *rest = text;

	start(LOG_INFO, "logfmt");
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, log_many, names[i]);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	log_exit();
	ck_assert_uint_eq(count_lines() + log_dropped(), THREADS * LINES);
	while ((line = strsep(&rest, "\n")) && *line)
		ck_assert_msg(span_starts_with(span_of(line),
					       SPAN_LIT(HEAD " thread=")),
			      "%s", line);
}
END_TEST

/* A pipe that takes no byte more; from_log is its other end. */
static void block_stderr(void)
{
	static const char zeros[4096];
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	while (write(fds[1], zeros, sizeof(zeros)) > 0)
		;
	ck_assert_int_eq(errno, EAGAIN);
	fcntl(fds[1], F_SETFL, 0);
	fcntl(fds[0], F_SETFL, 0);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	close(from_log);
	from_log = fds[0];
}

/* Log until lines are dropped: it returns, so it does not block. */
static uint64_t fill_queue(void)
{
	uint64_t n = 0;

	while (log_dropped() < 10) {
		log_line(LOG_INFO, "upload", LOG_U64("i", n++));
		ck_assert_uint_lt(n, 100000);
	}
	return n;
}

static void *read_pipe(void *arg)
{
	take_text();
	return arg;
}

static void unblock_stderr(pthread_t *reader)
{
	ck_assert_int_eq(pthread_create(reader, NULL, read_pipe, NULL), 0);
}

static void expect_text_of(uint64_t n_lines)
{
	char last[120];
	const char *at = text + text_len;

	snprintf(last, sizeof(last), HEAD " i=%llu\n",
		 (unsigned long long)(n_lines - 1));
	at -= strlen(last);
	ck_assert_str_eq(at, last);
}

START_TEST(a_blocked_pipe_blocks_no_caller_and_drops_are_counted)
{
	pthread_t reader;
	uint64_t n;

	block_stderr();
	start(LOG_INFO, "logfmt");
	n = fill_queue();
	ck_assert_uint_eq(log_dropped(), 10);
	unblock_stderr(&reader);
	log_exit();
	dup2(saved_stderr, STDERR_FILENO); /* the pipe's last writer: its end */
	pthread_join(reader, NULL);
	expect_text_of(n - 10);
}
END_TEST

/* Wait for room by trying, as the reader of the pipe makes it. */
static void log_until_taken(void)
{
	uint64_t before;

	do {
		before = log_dropped();
		log_line(LOG_INFO, "late", LOG_STR("a", "b"));
		sched_yield();
	} while (log_dropped() > before);
}

/* Does the text end in these two lines, the second one telling nothing? */
static void expect_late_then_last(uint64_t n_dropped)
{
	char expected[200];
	size_t len;

	snprintf(expected, sizeof(expected),
		 "event=late a=b log_dropped=%llu\n%.29s level=info event=last "
		 "a=b\n",
		 (unsigned long long)n_dropped, HEAD);
	len = strlen(expected);
	ck_assert_uint_gt(text_len, len);
	ck_assert_str_eq(text + text_len - len, expected);
}

/* The queue may have had room for one line only: the last waits for the end. */
START_TEST(the_next_line_says_how_many_were_dropped)
{
	pthread_t reader;
	uint64_t n_dropped;

	block_stderr();
	start(LOG_INFO, "logfmt");
	fill_queue();
	unblock_stderr(&reader);
	log_until_taken();
	n_dropped = log_dropped();
	log_exit();
	log_line(LOG_INFO, "last", LOG_STR("a", "b"));
	dup2(saved_stderr, STDERR_FILENO);
	pthread_join(reader, NULL);
	expect_late_then_last(n_dropped);
}
END_TEST

START_TEST(a_blocked_pipe_holds_up_the_end_for_two_seconds_at_most)
{
	uint64_t before;

	block_stderr();
	start(LOG_INFO, "logfmt");
	log_line(LOG_INFO, "upload", LOG_U64("i", 1));
	clock_fake_stop();
	before = clock_monotonic_ms();
	log_exit();
	/* otherwise it would be for ever, which Check ends */
	ck_assert_uint_ge(clock_monotonic_ms() - before, 2000);
	log_line(LOG_INFO, "too late", LOG_U64("i", 2));
	ck_assert_uint_eq(log_dropped(), 1);
}
END_TEST

START_TEST(a_closed_pipe_loses_lines_and_counts_them)
{
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	dup2(fds[1], STDERR_FILENO);
	close(fds[0]);
	close(fds[1]);
	start(LOG_INFO, "logfmt");
	log_line(LOG_INFO, "upload", LOG_U64("i", 1));
	log_line(LOG_INFO, "upload", LOG_U64("i", 2));
	log_exit();
	ck_assert_uint_eq(log_dropped(), 2);
}
END_TEST

START_TEST(a_full_disk_loses_lines_and_counts_them)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	dup2(fd, STDERR_FILENO);
	close(fd);
	start(LOG_INFO, "logfmt");
	log_line(LOG_INFO, "upload", LOG_U64("i", 1));
	log_exit();
	ck_assert_uint_eq(log_dropped(), 1);
}
END_TEST

START_TEST(ending_without_a_start_is_harmless)
{
	log_exit();
	log_exit();
	ck_assert_uint_eq(log_dropped(), 0);
}
END_TEST

START_TEST(starting_twice_is_a_bug)
{
	start(LOG_INFO, "logfmt");
	start(LOG_INFO, "logfmt");
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, a_line_has_time_level_event_and_fields);
	tcase_add_test(tc, a_json_line_has_them_too);
	tcase_add_test(tc, a_line_needs_no_fields);
	tcase_add_test(tc, each_level_has_its_name);
	tcase_add_test(tc, lines_below_the_level_are_not_written);
	tcase_add_test(tc, without_a_start_lines_are_written_directly);
	tcase_add_test(tc, an_unknown_format_is_refused);
	tcase_add_loop_test(tc, a_value_is_quoted_and_escaped, 0,
			    sizeof(values) / sizeof(*values));
	tcase_add_test(tc, any_byte_makes_one_line_of_valid_json);
	tcase_add_test(tc, a_long_value_is_cut_between_characters);
	tcase_add_test(tc, a_line_too_long_leaves_fields_out_and_says_so);
	tcase_add_test(tc, lines_of_many_threads_stay_whole_or_are_counted);
	tcase_add_test(tc,
		       a_blocked_pipe_blocks_no_caller_and_drops_are_counted);
	tcase_add_test(tc, the_next_line_says_how_many_were_dropped);
	tcase_add_test(tc,
		       a_blocked_pipe_holds_up_the_end_for_two_seconds_at_most);
	tcase_add_test(tc, a_closed_pipe_loses_lines_and_counts_them);
	tcase_add_test(tc, a_full_disk_loses_lines_and_counts_them);
	tcase_add_test(tc, ending_without_a_start_is_harmless);
	tcase_add_test_raise_signal(tc, starting_twice_is_a_bug, SIGABRT);
}

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tc = tcase_create("log");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, catch_stderr, release_stderr);
	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
