/* Answers: full ones, problems, streams, files; slow and lost clients. */
#include "common/http_server_impl.h"

#include "tests/unit/common/http_server_fixture.h"

#include <signal.h>
#include <sys/mman.h>

static struct workers *workers;

static void set_up_workers(void)
{
	struct err err = ERR_INIT;

	set_up();
	workers = workers_new(2, &err);
	ck_assert_ptr_nonnull(workers);
	settings.workers = workers;
}

static void tear_down_workers(void)
{
	tear_down();
	workers_free(&workers);
}

/* A client that asks for `request`, whose exchange is held. */
static int ask(const char *request)
{
	int fd;

	if (!server)
		serve(hold);
	fd = dial();
	say(fd, request);
	wait_for(app.x);
	return fd;
}

#define GET_REQUEST "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define HEAD_REQUEST "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"

static const struct http_reply ok = { .status = 200 };

/* ---- full answers -------------------------------------------------------- */

START_TEST(fields_of_the_application_are_sent)
{
	static const struct http_header headers[] = { { "ETag", "\"1\"" },
						      { "X-B", "" } };
	struct http_reply reply = { 201, "text/html", headers, 2, false };
	int fd = ask(GET_REQUEST);

	http_reply(app.x, &reply, SPAN_LIT("x"));
	hear(fd, "\r\n\r\nx");
	ck_assert_int_eq(strncmp(heard, "HTTP/1.1 201 Created\r\n", 22), 0);
	ck_assert_ptr_nonnull(strstr(heard, "\r\nContent-Type: text/html\r\n"));
	ck_assert_ptr_nonnull(strstr(heard, "\r\nETag: \"1\"\r\n"));
	ck_assert_ptr_nonnull(strstr(heard, "\r\nX-B: \r\n"));
	close(fd);
}
END_TEST

START_TEST(an_answer_to_head_has_a_length_and_no_content)
{
	int fd = ask(HEAD_REQUEST);

	http_reply(app.x, &ok, SPAN_LIT("12345"));
	hear(fd, "\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(heard, "Content-Length: 5\r\n"));
	ck_assert_ptr_null(strstr(heard, "12345"));
	say(fd, HEAD_REQUEST);
	wait_for(app.n_requests == 2);
	http_reply_head_only(app.x, &ok, 1234567890123);
	hear(fd, "\r\n\r\n");
	ck_assert_ptr_nonnull(
		strstr(heard, "Content-Length: 1234567890123\r\n"));
	close(fd);
}
END_TEST

START_TEST(statuses_without_content_have_neither_length_nor_content)
{
	static const int statuses[] = { 204, 304 };

	for (int i = 0; i < 2; i++) {
		struct http_reply reply = { .status = statuses[i] };
		int fd = ask(GET_REQUEST);

		http_reply(app.x, &reply, SPAN_LIT("never"));
		hear(fd, "\r\n\r\n");
		settle();
		hear_once(fd, 100);
		ck_assert_ptr_null(strstr(heard, "Content-Length"));
		ck_assert_ptr_null(strstr(heard, "never"));
		close(fd);
	}
}
END_TEST

START_TEST(the_application_may_ask_to_close)
{
	struct http_reply reply = { .status = 200, .close = true };
	int fd = ask(GET_REQUEST);

	http_reply(app.x, &reply, SPAN_LIT(""));
	ck_assert_int_eq(hear_end(fd), HEARD_END);
	ck_assert_ptr_nonnull(strstr(heard, "Connection: close\r\n"));
	close(fd);
}
END_TEST

START_TEST(a_large_answer_reaches_a_slow_reader_whole)
{
	size_t len = 9 << 20;
	char *data = malloc(len);
	const char *content;
	int fd = ask(GET_REQUEST);

	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i * 2654435761u >> 15);
	http_reply(app.x, &ok, span_make(data, len));
	ck_assert_int_eq(app.n_end, 0);
	settle();
	ck_assert_int_eq(app.n_end, 0);
	content = hear_content(fd, len);
	ck_assert_mem_eq(content, data, len);
	wait_for(app.n_end == 1);
	SAY_GET(fd, "/");
	wait_for(app.n_requests == 2);
	free(data);
	close(fd);
}
END_TEST

START_TEST(a_reader_that_takes_nothing_is_cut_off)
{
	size_t len = 16 << 20;
	char *data = calloc(1, len);
	int fd;

	settings.write_timeout_ms = 50;
	fd = ask(GET_REQUEST);
	http_reply(app.x, &ok, span_make(data, len));
	wait_for(app.n_end == 1);
	ck_assert_uint_eq(http_server_connections(server), 0);
	free(data);
	close(fd);
}
END_TEST

START_TEST(a_reader_that_takes_a_little_is_cut_off_too)
{
	size_t len = 32 << 20;
	char *data = calloc(1, len);
	int fd;

	settings.write_timeout_ms = 100;
	settings.min_rate = 1 << 30;
	fd = ask(GET_REQUEST);
	http_reply(app.x, &ok, span_make(data, len));
	forget();
	for (int i = 0; i < 400 && app.n_end == 0; i++) {
		hear_once(fd, 30000);
		turn(1);
	}
	ck_assert_int_eq(app.n_end, 1);
	free(data);
	close(fd);
}
END_TEST

static void reply_with(const char *name, const char *value)
{
	struct http_header header = { name, value };
	struct http_reply reply = { 200, NULL, &header, 1, false };

	ask(GET_REQUEST);
	http_reply(app.x, &reply, SPAN_LIT(""));
}

START_TEST(a_line_break_in_a_value_is_a_bug)
{
	reply_with("X-A", "a\r\nX-B: b");
}
END_TEST

START_TEST(a_space_in_a_name_is_a_bug)
{
	reply_with("X A", "a");
}
END_TEST

START_TEST(answering_twice_is_a_bug)
{
	ask(GET_REQUEST);
	http_reply(app.x, &ok, SPAN_LIT(""));
	http_reply(app.x, &ok, SPAN_LIT(""));
}
END_TEST

/* ---- problems ------------------------------------------------------------ */

START_TEST(a_problem_is_json_whatever_the_text)
{
	struct err err = ERR_INIT;
	int fd = ask(GET_REQUEST);

	err_set(&err, ERR_LIMIT, "a \"b\" \\ \n \xff");
	http_reply_problem(app.x, &err);
	hear(fd, "}\n");
	ck_assert_ptr_nonnull(
		strstr(heard, "Content-Type: application/problem+json\r\n"));
	ck_assert_ptr_nonnull(strstr(heard, "Retry-After: 1\r\n"));
	ck_assert_ptr_nonnull(
		strstr(heard, "{\"type\":\"about:blank\","
			      "\"title\":\"Service Unavailable\","
			      "\"status\":503,"
			      "\"detail\":\"a \\\"b\\\" \\\\ \\u000a ?\"}\n"));
	close(fd);
}
END_TEST

/* ---- streams ------------------------------------------------------------- */

START_TEST(a_stream_is_chunked_and_the_connection_kept)
{
	int fd = ask(GET_REQUEST);

	http_stream_begin(app.x, &ok);
	ck_assert(http_stream_write(app.x, SPAN_LIT("hello")));
	ck_assert(http_stream_write(app.x, SPAN_LIT("")));
	ck_assert(http_stream_write(app.x, SPAN_LIT(" world")));
	hear(fd, "\r\n\r\n5\r\nhello\r\n6\r\n world\r\n");
	ck_assert_ptr_nonnull(strstr(heard, "Transfer-Encoding: chunked\r\n"));
	ck_assert_int_eq(app.n_end, 0);
	http_stream_end(app.x);
	hear(fd, "0\r\n\r\n");
	wait_for(app.n_end == 1);
	SAY_GET(fd, "/");
	wait_for(app.n_requests == 2);
	close(fd);
}
END_TEST

START_TEST(a_stream_to_http_1_0_ends_by_closing)
{
	int fd = ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");

	http_stream_begin(app.x, &ok);
	http_stream_write(app.x, SPAN_LIT("hello"));
	http_stream_end(app.x);
	ck_assert_int_eq(hear_end(fd), HEARD_END);
	ck_assert_ptr_nonnull(strstr(heard, "\r\n\r\nhello"));
	ck_assert_ptr_null(strstr(heard, "chunked"));
	ck_assert_ptr_nonnull(strstr(heard, "Connection: close\r\n"));
	close(fd);
}
END_TEST

START_TEST(a_stream_to_head_has_no_content)
{
	int fd = ask(HEAD_REQUEST);

	http_stream_begin(app.x, &ok);
	ck_assert(http_stream_write(app.x, SPAN_LIT("hello")));
	http_stream_end(app.x);
	wait_for(app.n_end == 1);
	hear(fd, "\r\n\r\n");
	ck_assert_ptr_null(strstr(heard, "hello"));
	close(fd);
}
END_TEST

START_TEST(a_slow_stream_refuses_a_second_write_until_it_is_empty)
{
	static char block[HTTP_STREAM_WRITE_MAX];
	size_t taken = 0;
	int fd = ask(GET_REQUEST);

	http_stream_begin(app.x, &ok);
	while (http_stream_write(app.x, span_make(block, sizeof(block))))
		taken++;
	ck_assert_uint_gt(taken, 0);
	settle();
	ck_assert(!http_stream_write(app.x, SPAN_LIT("x")));
	ck_assert_int_eq(app.n_writable, 0);
	forget();
	while (app.n_writable == 0 && heard_len < HEARD_BYTES) {
		hear_once(fd, 65536);
		turn(1);
	}
	ck_assert_int_eq(app.n_writable, 1);
	ck_assert(http_stream_write(app.x, SPAN_LIT("x")));
	close(fd);
}
END_TEST

START_TEST(an_end_behind_an_unsent_write_is_not_lost)
{
	static char block[HTTP_STREAM_WRITE_MAX];
	int fd = ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");

	http_stream_begin(app.x, &ok);
	while (http_stream_write(app.x, span_make(block, sizeof(block))))
		;
	http_stream_end(app.x);
	ck_assert_int_eq(app.n_end, 0);
	ck_assert_int_eq(hear_end(fd), HEARD_END);
	ck_assert_mem_eq(heard + heard_len - 7, "\r\n0\r\n\r\n", 7);
	ck_assert_int_eq(app.n_end, 1);
	close(fd);
}
END_TEST

/* Below the answers: bytes sent while others are kept come behind them. */
START_TEST(bytes_behind_partly_sent_ones_come_in_their_place)
{
	size_t len = 12 << 20;
	char *data = malloc(len);
	struct iovec all = { data, len }, tail = { data, 1000 };
	int fd = ask(GET_REQUEST);

	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i * 2654435761u >> 15);
	connection_send(app.x->c, &all, 1, false);
	forget();
	while (app.x->c->out_sent == 0 && heard_len < len) {
		hear_once(fd, 65536);
		turn(1);
	}
	ck_assert(connection_has_output(app.x->c));
	connection_send(app.x->c, &tail, 1, false);
	while (heard_len < len + 1000)
		if (hear_once(fd, 65536) == HEARD_NOTHING)
			turn(5);
	ck_assert_mem_eq(heard, data, len);
	ck_assert_mem_eq(heard + len, data, 1000);
	free(data);
	close(fd);
}
END_TEST

START_TEST(a_reset_ends_a_silent_stream)
{
	int fd = ask(GET_REQUEST);

	http_stream_begin(app.x, &ok);
	http_stream_write(app.x, SPAN_LIT("hello"));
	hear(fd, "hello");
	reset_client(fd);
	wait_for(app.n_end == 1);
}
END_TEST

START_TEST(a_stream_whose_client_takes_nothing_is_cut_off)
{
	static char block[HTTP_STREAM_WRITE_MAX];
	int fd;

	settings.write_timeout_ms = 50;
	fd = ask(GET_REQUEST);
	http_stream_begin(app.x, &ok);
	pass(150); /* nothing is unsent, nobody is too slow */
	ck_assert_int_eq(app.n_end, 0);
	while (http_stream_write(app.x, span_make(block, sizeof(block))))
		;
	wait_for(app.n_end == 1);
	close(fd);
}
END_TEST

/* ---- files --------------------------------------------------------------- */

static size_t file_len;

/* A file in memory, of bytes that show where they belong. */
static int make_file(size_t len)
{
	int fd = memfd_create("answer", MFD_CLOEXEC);
	char *map;

	ck_assert_int_eq(ftruncate(fd, (off_t)len), 0);
	map = mmap(NULL, len, PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert(map != MAP_FAILED);
	for (size_t i = 0; i < len; i++)
		map[i] = (char)(i * 2654435761u >> 15);
	munmap(map, len);
	file_len = len;
	return fd;
}

static void check_file_bytes(const char *content, size_t from, size_t len)
{
	size_t i = 0;

	while (i < len &&
	       content[i] == (char)((from + i) * 2654435761u >> 15))
		i++;
	ck_assert_uint_eq(i, len);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

START_TEST(a_file_reaches_a_slow_reader_whole)
{
	int file = make_file((15 << 20) + 7), fd = ask(GET_REQUEST);
	const char *content;

	http_reply_file(app.x, &ok, file, 0, file_len);
	settle();
	ck_assert_int_eq(app.n_end, 0);
	content = hear_content(fd, file_len);
	ck_assert_ptr_nonnull(strstr(heard, "Content-Length: 15728647\r\n"));
	check_file_bytes(content, 0, file_len);
	wait_for(app.n_end == 1);
	ck_assert(!is_open(file));
	SAY_GET(fd, "/");
	wait_for(app.n_requests == 2);
	close(fd);
}
END_TEST

START_TEST(part_of_a_file_can_be_sent)
{
	struct http_reply reply = { .status = 206 };
	int file = make_file(100000), fd = ask(GET_REQUEST);

	http_reply_file(app.x, &reply, file, 5000, 1000);
	check_file_bytes(hear_content(fd, 1000), 5000, 1000);
	settle();
	ck_assert_int_eq(hear_once(fd, 100), HEARD_NOTHING);
	close(fd);
}
END_TEST

START_TEST(an_empty_file_is_an_empty_answer)
{
	int file = make_file(1), fd = ask(GET_REQUEST);

	http_reply_file(app.x, &ok, file, 0, 0);
	wait_for(app.n_end == 1);
	hear(fd, "Content-Length: 0\r\n");
	ck_assert(!is_open(file));
	close(fd);
}
END_TEST

START_TEST(a_file_to_head_is_its_head_only)
{
	int file = make_file(1000), fd = ask(HEAD_REQUEST);

	http_reply_file(app.x, &ok, file, 0, file_len);
	wait_for(app.n_end == 1);
	hear(fd, "\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(heard, "Content-Length: 1000\r\n"));
	ck_assert_int_eq(memcmp(heard + heard_len - 4, "\r\n\r\n", 4), 0);
	ck_assert(!is_open(file));
	close(fd);
}
END_TEST

START_TEST(a_file_shorter_than_promised_ends_the_connection)
{
	int file = make_file(1000), fd = ask(GET_REQUEST);

	http_reply_file(app.x, &ok, file, 0, 2000);
	ck_assert_int_ne(hear_end(fd), HEARD_NOTHING);
	ck_assert_int_eq(app.n_end, 1);
	ck_assert(!is_open(file));
	close(fd);
}
END_TEST

START_TEST(a_file_whose_reader_takes_nothing_is_cut_off)
{
	int file = make_file(32 << 20), fd;

	settings.write_timeout_ms = 50;
	fd = ask(GET_REQUEST);
	http_reply_file(app.x, &ok, file, 0, file_len);
	wait_for(app.n_end == 1);
	ck_assert_uint_eq(http_server_connections(server), 0);
	wait_for(!is_open(file));
	close(fd);
}
END_TEST

START_TEST(giving_up_amid_a_file_waits_for_the_worker)
{
	int file = make_file(32 << 20), fd = ask(GET_REQUEST);
	int socket = app.x->c->fd;

	http_reply_file(app.x, &ok, file, 0, file_len);
	http_abort(app.x); /* its job is queued or running */
	ck_assert_int_eq(app.n_end, 1);
	ck_assert(is_open(file) && is_open(socket));
	wait_for(!is_open(file) && !is_open(socket));
	close(fd);
}
END_TEST

START_TEST(the_server_may_be_freed_amid_a_file)
{
	int file = make_file(32 << 20), fd = ask(GET_REQUEST);

	http_reply_file(app.x, &ok, file, 0, file_len);
	http_server_free(&server);
	ck_assert_int_eq(app.n_end, 1);
	wait_for(!is_open(file));
	close(fd);
}
END_TEST

static void add_full_answers(Suite *s)
{
	TCase *tc = tcase_create("full");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, fields_of_the_application_are_sent);
	tcase_add_test(tc, an_answer_to_head_has_a_length_and_no_content);
	tcase_add_test(
		tc, statuses_without_content_have_neither_length_nor_content);
	tcase_add_test(tc, the_application_may_ask_to_close);
	tcase_add_test(tc, a_large_answer_reaches_a_slow_reader_whole);
	tcase_add_test(tc, a_reader_that_takes_nothing_is_cut_off);
	tcase_add_test(tc, a_reader_that_takes_a_little_is_cut_off_too);
	tcase_add_test_raise_signal(tc, a_line_break_in_a_value_is_a_bug,
				    SIGABRT);
	tcase_add_test_raise_signal(tc, a_space_in_a_name_is_a_bug, SIGABRT);
	tcase_add_test_raise_signal(tc, answering_twice_is_a_bug, SIGABRT);
	tcase_add_test(tc, a_problem_is_json_whatever_the_text);
	suite_add_tcase(s, tc);
}

static void add_streams(Suite *s)
{
	TCase *tc = tcase_create("streams");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, a_stream_is_chunked_and_the_connection_kept);
	tcase_add_test(tc, a_stream_to_http_1_0_ends_by_closing);
	tcase_add_test(tc, a_stream_to_head_has_no_content);
	tcase_add_test(
		tc, a_slow_stream_refuses_a_second_write_until_it_is_empty);
	tcase_add_test(tc, an_end_behind_an_unsent_write_is_not_lost);
	tcase_add_test(tc,
		       bytes_behind_partly_sent_ones_come_in_their_place);
	tcase_add_test(tc, a_reset_ends_a_silent_stream);
	tcase_add_test(tc, a_stream_whose_client_takes_nothing_is_cut_off);
	suite_add_tcase(s, tc);
}

static void add_files(Suite *s)
{
	TCase *tc = tcase_create("files");

	tcase_add_checked_fixture(tc, set_up_workers, tear_down_workers);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, a_file_reaches_a_slow_reader_whole);
	tcase_add_test(tc, part_of_a_file_can_be_sent);
	tcase_add_test(tc, an_empty_file_is_an_empty_answer);
	tcase_add_test(tc, a_file_to_head_is_its_head_only);
	tcase_add_test(tc, a_file_shorter_than_promised_ends_the_connection);
	tcase_add_test(tc, a_file_whose_reader_takes_nothing_is_cut_off);
	tcase_add_test(tc, giving_up_amid_a_file_waits_for_the_worker);
	tcase_add_test(tc, the_server_may_be_freed_amid_a_file);
	suite_add_tcase(s, tc);
}

int main(void)
{
	Suite *s = suite_create("http_reply");
	SRunner *sr;
	int failed;

	add_full_answers(s);
	add_streams(s);
	add_files(s);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
