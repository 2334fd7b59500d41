/* Contents of requests: framing, hand-over, the rate clock, lost clients. */
#include "common/http_server_impl.h"

#include "tests/unit/common/http_server_fixture.h"
#include "tests/unit/random.h"

#define PUT_HEAD "PUT / HTTP/1.1\r\nHost: a\r\n"

/* Bytes that show where they belong. */
static char *pattern(size_t len)
{
	char *data = malloc(len);

	ck_assert_ptr_nonnull(data);
	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i * 2654435761u >> 13);
	return data;
}

static void say_put_head(int fd, size_t len)
{
	char text[100];

	snprintf(text, sizeof(text), PUT_HEAD "Content-Length: %zu\r\n\r\n",
		 len);
	say(fd, text);
}

static void hold_with_content(int *fd, const char *request)
{
	serve(hold);
	*fd = dial();
	say(*fd, request);
	wait_for(app.x);
}

/* ---- identity ------------------------------------------------------------ */

START_TEST(a_large_body_arrives_whole)
{
	size_t len = 5000000;
	char *data = pattern(len);
	int fd;

	serve(collect);
	fd = dial();
	say_put_head(fd, len);
	say_bytes(fd, data, len);
	hear(fd, "got 5000000\n");
	ck_assert_mem_eq(app.body, data, len);
	wait_for(app.n_end == 1);
	free(data);
	close(fd);
}
END_TEST

START_TEST(room_of_one_byte_is_enough)
{
	int fd;

	app.room = 1;
	serve(collect);
	fd = dial();
	say_put_head(fd, 10000);
	for (int i = 0; i < 1000; i++)
		say(fd, "0123456789");
	hear(fd, "got 10000\n");
	close(fd);
}
END_TEST

/* read_once() has a byte behind the room that must not change. */
START_TEST(bytes_of_the_next_request_stay_out_of_the_callers_memory)
{
	int fd;

	hold_with_content(&fd, PUT_HEAD "Content-Length: 3\r\n\r\nabc"
				"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	ck_assert_uint_eq(read_once(), 3);
	ck_assert_mem_eq(app.body, "abc", 3);
	ck_assert_uint_eq(read_once(), 0);
	ck_assert_int_eq(app.result, HTTP_BODY_END);
	answer_collected();
	wait_for(app.n_requests == 2);
	close(fd);
}
END_TEST

START_TEST(without_content_the_body_is_at_its_end)
{
	int fd;

	hold_with_content(&fd, PUT_HEAD "Content-Length: 0\r\n\r\n");
	ck_assert(!http_has_body(app.x));
	read_once();
	ck_assert_int_eq(app.result, HTTP_BODY_END);
	close(fd);
}
END_TEST

START_TEST(not_reading_stops_the_client)
{
	size_t len = 64 << 20, sent = 0;
	char *data = calloc(1, len);
	ssize_t n;
	int fd;

	settings.receive_buffer = 65536;
	serve(hold);
	fd = dial();
	say_put_head(fd, len);
	for (int i = 0; i < 50; i++) {
		n = send(fd, data, len - sent, MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		turn(1);
	}
	ck_assert_uint_lt(sent, 8 << 20);
	ck_assert_int_eq(app.n_end, 0);
	free(data);
	close(fd);
}
END_TEST

START_TEST(a_body_over_the_limit_is_413)
{
	int fd;

	settings.max_body = 100;
	serve(hello);
	fd = dial();
	say_put_head(fd, 101);
	hear(fd, "HTTP/1.1 413 ");
	ck_assert_int_eq(app.n_requests, 0);
	close(fd);
}
END_TEST

/* ---- chunked ------------------------------------------------------------- */

/* `len` bytes of `data` in chunks of random sizes; malloc'ed, *n its length. */
static char *chunked(const char *data, size_t len, size_t max, size_t *n)
{
	char *out = malloc(len * 8 + 100), *at = out;

	ck_assert_ptr_nonnull(out);
	while (len > 0) {
		size_t some = 1 + random_below(max);

		if (some > len)
			some = len;
		at += sprintf(at, "%zx\r\n", some);
		memcpy(at, data, some);
		at += some;
		at += sprintf(at, "\r\n");
		data += some;
		len -= some;
	}
	at += sprintf(at, "0\r\n\r\n");
	*n = (size_t)(at - out);
	return out;
}

/* Random chunks, random cuts of the sending, random room of the reading. */
START_TEST(a_chunked_body_arrives_whole_however_it_is_cut)
{
	static const size_t max_chunk[] = { 20, 700, 5000, 100000 };
	char *data = pattern(300000), *wire;
	size_t n, done, len, some;
	char text[40];
	int fd;

	random_begin("chunked");
	serve(collect);
	for (int round = 0; round < 40; round++) {
		len = 1 + random_below(300000);
		app.room = 1 + random_below(round % 2 ? 100000 : 300);
		wire = chunked(data, len, max_chunk[random_below(4)], &n);
		fd = dial();
		say(fd, PUT_HEAD "Transfer-Encoding: chunked\r\n\r\n");
		for (done = 0; done < n; done += some) {
			some = 1 + random_below(round % 3 ? 60000 : 2000);
			some = some < n - done ? some : n - done;
			say_bytes(fd, wire + done, some);
			if (random_below(2))
				turn(1);
		}
		snprintf(text, sizeof(text), "got %zu\n", len);
		hear(fd, text);
		ck_assert_mem_eq(app.body, data, len);
		free(wire);
		close(fd);
	}
	free(data);
}
END_TEST

START_TEST(part_of_a_chunk_is_handed_over_at_once)
{
	int fd;

	hold_with_content(&fd,
			  PUT_HEAD "Transfer-Encoding: chunked\r\n\r\n"
				   "1000\r\nabc");
	ck_assert_uint_eq(read_once(), 3);
	read_once();
	ck_assert_int_eq(app.result, HTTP_BODY_AGAIN);
	say(fd, "de");
	wait_for(app.n_body > 1);
	ck_assert_uint_eq(read_once(), 2);
	ck_assert_mem_eq(app.body, "abcde", 5);
	close(fd);
}
END_TEST

START_TEST(what_follows_a_chunked_body_is_the_next_request)
{
	int fd;

	serve(collect);
	fd = dial();
	say(fd, PUT_HEAD "Transfer-Encoding: chunked\r\n\r\n");
	settle();
	say(fd, "5\r\nabcde\r\n0\r\n\r\nPUT /2 HTTP/1.1\r\nHost: a\r\n"
		"Content-Length: 2\r\n\r\nxy");
	hear(fd, "got 2\n");
	ck_assert_ptr_nonnull(strstr(heard, "got 5\n"));
	close(fd);
}
END_TEST

START_TEST(trailer_digests_are_known_at_the_end)
{
	int fd;

	hold_with_content(&fd, PUT_HEAD "Transfer-Encoding: chunked\r\n\r\n"
				"1\r\na\r\n0\r\n"
				"Repr-Digest: sha-256=:x=:\r\n\r\n");
	ck_assert_str_eq(http_trailers(app.x)->repr_digest, "");
	while (app.result != HTTP_BODY_END)
		read_once();
	ck_assert_str_eq(http_trailers(app.x)->repr_digest, "sha-256=:x=:");
	close(fd);
}
END_TEST

START_TEST(bad_framing_is_400_after_the_good_data)
{
	int fd;

	hold_with_content(&fd, PUT_HEAD "Transfer-Encoding: chunked\r\n\r\n"
				"3\r\nabc\r\nxyz\r\n");
	ck_assert_uint_eq(read_once(), 3);
	for (int i = 0; i < 2; i++) {
		read_once();
		ck_assert_int_eq(app.result, HTTP_BODY_BAD);
		ck_assert_int_eq(app.err.status, 400);
	}
	http_reply_problem(app.x, &app.err);
	hear(fd, "HTTP/1.1 400 ");
	ck_assert_ptr_nonnull(strstr(heard, "Connection: close\r\n"));
	close(fd);
}
END_TEST

START_TEST(chunks_over_the_limit_are_413)
{
	int fd;

	settings.max_body = 10;
	serve(collect);
	fd = dial();
	say(fd, PUT_HEAD "Transfer-Encoding: chunked\r\n\r\n"
		"8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n");
	hear(fd, "HTTP/1.1 413 ");
	close(fd);
}
END_TEST

START_TEST(a_flood_of_tiny_chunks_is_refused)
{
	size_t n = 0, len = 300000;
	char *flood = malloc(len);

	for (; n + 6 <= len; n += 6)
		memcpy(flood + n, "1\r\na\r\n", 6);
	serve(collect);
	int fd = dial();
	say(fd, PUT_HEAD "Transfer-Encoding: chunked\r\n\r\n");
	say_bytes(fd, flood, n);
	hear(fd, "HTTP/1.1 400 ");
	free(flood);
	close(fd);
}
END_TEST

/* ---- fairness ------------------------------------------------------------ */

START_TEST(one_turn_takes_a_bounded_part_of_a_body)
{
	size_t len = 6 << 20;
	char *data = pattern(len);
	int fd;

	settings.receive_buffer = 4 << 20;
	serve(hold);
	fd = dial();
	say_put_head(fd, len);
	try_say(fd, data, 3 << 20);
	wait_for(app.x);
	do
		read_once();
	while (app.result == HTTP_BODY_DATA);
	ck_assert_uint_lt(app.body_len, TURN_BYTES + 65536);
	ck_assert_uint_ge(app.body_len, TURN_BYTES / 2);
	app.n_body = 0;
	settle();
	ck_assert_int_gt(app.n_body, 0);
	ck_assert_uint_gt(read_once(), 0);
	free(data);
	close(fd);
}
END_TEST

START_TEST(on_body_comes_without_the_application_having_read)
{
	int fd;

	hold_with_content(&fd, PUT_HEAD "Content-Length: 9\r\n\r\nabc");
	wait_for(app.n_body == 1);
	say(fd, "def");
	wait_for(app.n_body == 2);
	close(fd);
}
END_TEST

static void read_to_the_end(void *arg, struct http_exchange *x)
{
	hold(arg, x);
	while (app.result != HTTP_BODY_END)
		read_once();
}

START_TEST(on_body_does_not_come_after_the_end)
{
	int fd;

	app.result = HTTP_BODY_AGAIN;
	serve(read_to_the_end);
	fd = dial();
	say(fd, PUT_HEAD "Content-Length: 3\r\n\r\nabc");
	wait_for(app.x);
	say(fd, "GET /next HTTP/1.1\r\n");
	settle();
	ck_assert_int_eq(app.n_body, 0);
	close(fd);
}
END_TEST

/* ---- Expect: 100-continue (RFC 9110, 10.1.1) ----------------------------- */

#define EXPECTING PUT_HEAD "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"

START_TEST(the_application_says_when_to_go_on)
{
	int fd;

	hold_with_content(&fd, EXPECTING);
	hear_nothing(fd);
	http_continue(app.x);
	http_continue(app.x);
	hear(fd, "HTTP/1.1 100 Continue\r\n\r\n");
	ck_assert_uint_eq(heard_len, 25);
	say(fd, "abc");
	wait_for(read_once() == 3);
	answer_collected();
	hear(fd, "got 3\n");
	ck_assert_ptr_null(strstr(heard, "100 Continue"));
	close(fd);
}
END_TEST

START_TEST(a_client_that_does_not_wait_is_not_told_to_go_on)
{
	int fd;

	serve(collect);
	fd = dial();
	say(fd, EXPECTING "abc");
	hear(fd, "got 3\n");
	ck_assert_ptr_null(strstr(heard, "100 Continue"));
	close(fd);
}
END_TEST

START_TEST(an_answer_instead_of_100_closes)
{
	struct err err = ERR_INIT;
	int fd;

	hold_with_content(&fd, EXPECTING);
	err_set_status(&err, 401, "no");
	http_reply_problem(app.x, &err);
	hear(fd, "HTTP/1.1 401 ");
	ck_assert_ptr_nonnull(strstr(heard, "Connection: close\r\n"));
	ck_assert_ptr_nonnull(strstr(heard, "WWW-Authenticate: Bearer\r\n"));
	ck_assert_ptr_null(strstr(heard, "100 Continue"));
	ck_assert_int_eq(hear_end(fd), HEARD_END);
	close(fd);
}
END_TEST

/* ---- answers before the body's end --------------------------------------- */

START_TEST(a_small_unread_body_does_not_cost_the_connection)
{
	int fd;

	serve(hello);
	fd = dial();
	say(fd, PUT_HEAD "Content-Length: 3\r\n\r\nabc");
	hear(fd, "hello\n");
	say(fd, PUT_HEAD "Transfer-Encoding: chunked\r\n\r\n"
		"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
	hear(fd, "hello\n");
	ck_assert_ptr_null(strstr(heard, "Connection: close"));
	SAY_GET(fd, "/");
	hear(fd, "hello\n");
	ck_assert_int_eq(app.n_requests, 3);
	close(fd);
}
END_TEST

/* More than one read's worth, all of it there before the first read. */
START_TEST(a_request_behind_an_unread_body_may_be_long)
{
	char text[6000] = PUT_HEAD "Transfer-Encoding: chunked\r\n\r\n"
				   "3\r\nabc\r\n0\r\n\r\n"
				   "GET / HTTP/1.1\r\nHost: a\r\nX-Long: ";
	size_t len = strlen(text);
	int fd;

	memset(text + len, 'x', 5000);
	strcpy(text + len + 5000, "\r\n\r\n");
	serve(hello);
	fd = dial();
	say(fd, text);
	wait_for(app.n_requests == 2);
	close(fd);
}
END_TEST

START_TEST(an_early_answer_is_readable_after_sending_everything)
{
	size_t len = 20 << 20;
	char *data = calloc(1, len);
	int fd;

	serve(hello);
	fd = dial();
	say_put_head(fd, len);
	say_bytes(fd, data, len);
	ck_assert_int_eq(hear_end(fd), HEARD_END);
	ck_assert_ptr_nonnull(strstr(heard, "Connection: close\r\n"));
	ck_assert_ptr_nonnull(strstr(heard, "hello\n"));
	ck_assert_int_eq(app.n_requests, 1);
	free(data);
	close(fd);
}
END_TEST

START_TEST(a_lingering_server_has_ended_its_side)
{
	int fd;

	settings.linger_ms = 2 * WAIT_MS;
	serve(hello);
	fd = dial();
	say_put_head(fd, 1 << 20);
	ck_assert_int_eq(hear_end(fd), HEARD_END);
	ck_assert_uint_eq(http_server_connections(server), 1);
	close(fd);
	wait_for(http_server_connections(server) == 0);
}
END_TEST

START_TEST(lingering_ends_after_its_bytes_or_its_time)
{
	char *data = calloc(1, 8 << 20);
	int fd;

	settings.linger_bytes = 1 << 20;
	settings.linger_ms = 60;
	serve(hello);
	fd = dial();
	say_put_head(fd, 1 << 30);
	for (int i = 0; i < 100 && try_say(fd, data, 8 << 20); i++)
		;
	wait_for(http_server_connections(server) == 0);
	close(fd);
	fd = dial();
	say_put_head(fd, 1 << 30);
	hear(fd, "hello\n");
	ck_assert_uint_eq(http_server_connections(server), 1);
	wait_for(http_server_connections(server) == 0);
	free(data);
	close(fd);
}
END_TEST

/* ---- the rate clock ------------------------------------------------------ */

START_TEST(a_body_that_stalls_is_408)
{
	int fd;

	settings.grace_ms = 50;
	serve(collect);
	fd = dial();
	say_put_head(fd, 100);
	say(fd, "abc");
	hear(fd, "HTTP/1.1 408 ");
	ck_assert_uint_eq(app.body_len, 3);
	ck_assert_int_eq(app.result, HTTP_BODY_BAD);
	wait_for(app.n_end == 1);
	close(fd);
}
END_TEST

START_TEST(a_body_that_drips_is_408_also_after_a_fast_start)
{
	uint64_t start;
	char *data = calloc(1, 1 << 20);
	int fd;

	settings.grace_ms = 100;
	settings.min_rate = 10000;
	serve(collect);
	fd = dial();
	say_put_head(fd, 1 << 30);
	say_bytes(fd, data, 1 << 20);
	start = clock_monotonic_ms();
	while (app.n_end == 0 && clock_monotonic_ms() < start + WAIT_MS) {
		try_say(fd, "x", 1);
		pass(10);
	}
	ck_assert_int_eq(app.err.status, 408);
	free(data);
	close(fd);
}
END_TEST

START_TEST(a_slow_but_legal_body_is_accepted)
{
	int fd;

	settings.grace_ms = 60;
	settings.min_rate = 1000;
	serve(collect);
	fd = dial();
	say_put_head(fd, 3000);
	for (int i = 0; i < 30; i++) {
		for (int j = 0; j < 10; j++)
			say(fd, "0123456789");
		pass(10);
	}
	hear(fd, "got 3000\n");
	close(fd);
}
END_TEST

START_TEST(a_paused_application_costs_the_client_nothing)
{
	int fd;

	settings.grace_ms = 30;
	settings.min_rate = 1000000;
	hold_with_content(&fd, PUT_HEAD "Content-Length: 9\r\n\r\nabc");
	ck_assert_uint_eq(read_once(), 3);
	pass(120); /* never asked again since */
	read_once();
	ck_assert_int_eq(app.result, HTTP_BODY_AGAIN);
	say(fd, "def");
	pass(120); /* asked, and the bytes have come */
	ck_assert_uint_eq(read_once(), 3);
	say(fd, "ghi");
	wait_for(read_once() == 3);
	read_once();
	ck_assert_int_eq(app.result, HTTP_BODY_END);
	close(fd);
}
END_TEST

/* ---- many at once ---------------------------------------------------------- */

struct small {
	struct http_exchange *x;
	size_t got;
};

static void on_small_body(void *owner)
{
	struct small *small = owner;
	struct http_reply reply = { .status = 201 };
	struct err err = ERR_INIT;
	enum http_body result;
	char buf[500];
	size_t n;

	do {
		result = http_body_read(small->x, buf, sizeof(buf), &n, &err);
		small->got += n;
	} while (result == HTTP_BODY_DATA);
	if (result == HTTP_BODY_END)
		http_reply(small->x, &reply, SPAN_LIT(""));
}

static void on_small_end(void *owner)
{
	struct small *small = owner;

	app.n_end++;
	app.body_len += small->got;
	free(small);
}

static void take_small(void *arg, struct http_exchange *x)
{
	static const struct http_exchange_ops ops = { on_small_body, NULL,
						      on_small_end };
	struct small *small = calloc(1, sizeof(*small));

	(void)arg;
	small->x = x;
	http_exchange_attach(x, &ops, small);
}

START_TEST(many_small_uploads_at_once_leave_nothing_behind)
{
	enum { N = 300 };
	static const char body[1024];
	int fds[N], free_fd;

	serve(take_small);
	free_fd = dup(0);
	close(free_fd);
	for (int i = 0; i < N; i++) {
		fds[i] = dial();
		say_put_head(fds[i], sizeof(body));
		if (i % 64 == 63)
			settle();
	}
	for (int i = 0; i < N; i++)
		say_bytes(fds[i], body, sizeof(body));
	for (int i = 0; i < N; i++) {
		hear(fds[i], "HTTP/1.1 201 ");
		close(fds[i]);
	}
	wait_for(http_server_connections(server) == 0);
	ck_assert_int_eq(app.n_end, N);
	ck_assert_uint_eq(app.body_len, N * sizeof(body));
	ck_assert_int_eq(dup(0), free_fd);
}
END_TEST

/* ---- lost clients -------------------------------------------------------- */

START_TEST(the_end_in_mid_body_is_a_lost_client)
{
	int fd;

	hold_with_content(&fd, PUT_HEAD "Content-Length: 9\r\n\r\nabc");
	close(fd);
	wait_for(app.n_body > 0);
	ck_assert_uint_eq(read_once(), 3);
	wait_for(read_once() == 0 && app.result != HTTP_BODY_AGAIN);
	ck_assert_int_eq(app.result, HTTP_BODY_BAD);
	ck_assert_int_eq(app.err.code, ERR_CLIENT);
	ck_assert_int_eq(app.err.status, 0);
	ck_assert_int_eq(app.n_end, 0);
	http_abort(app.x);
	ck_assert_int_eq(app.n_end, 1);
}
END_TEST

START_TEST(the_end_in_mid_chunk_is_a_lost_client)
{
	int fd;

	serve(collect);
	fd = dial();
	say(fd, PUT_HEAD "Transfer-Encoding: chunked\r\n\r\n"
		"5\r\nabcde\r\n");
	close(fd);
	wait_for(app.n_end == 1);
	ck_assert_int_eq(app.result, HTTP_BODY_BAD);
	ck_assert_int_eq(app.err.status, 0);
	ck_assert_uint_eq(app.body_len, 5);
}
END_TEST

START_TEST(a_reset_in_mid_body_is_a_lost_client)
{
	int fd;

	serve(collect);
	fd = dial();
	say_put_head(fd, 100);
	wait_for(app.x);
	reset_client(fd);
	wait_for(app.n_end == 1);
	ck_assert_int_eq(app.result, HTTP_BODY_BAD);
	ck_assert_int_eq(app.err.status, 0);
}
END_TEST

START_TEST(half_closing_after_the_body_still_gets_the_answer)
{
	int fd;

	serve(collect);
	fd = dial();
	say(fd, PUT_HEAD "Content-Length: 3\r\n\r\nabc");
	shutdown(fd, SHUT_WR);
	ck_assert_int_eq(hear_end(fd), HEARD_END);
	ck_assert_ptr_nonnull(strstr(heard, "got 3\n"));
	ck_assert_uint_eq(http_server_connections(server), 0);
	close(fd);
}
END_TEST

START_TEST(a_client_lost_after_its_body_does_not_stop_the_application)
{
	int fd;

	hold_with_content(&fd, PUT_HEAD "Content-Length: 3\r\n\r\nabc");
	ck_assert_uint_eq(read_once(), 3);
	reset_client(fd);
	settle();
	ck_assert_int_eq(app.n_end, 0);
	read_once();
	ck_assert_int_eq(app.result, HTTP_BODY_END);
	answer_collected();
	wait_for(app.n_end == 1);
	ck_assert_uint_eq(http_server_connections(server), 0);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("http_body");
	TCase *tc = tcase_create("contents");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, a_large_body_arrives_whole);
	tcase_add_test(tc, room_of_one_byte_is_enough);
	tcase_add_test(
		tc, bytes_of_the_next_request_stay_out_of_the_callers_memory);
	tcase_add_test(tc, without_content_the_body_is_at_its_end);
	tcase_add_test(tc, not_reading_stops_the_client);
	tcase_add_test(tc, a_body_over_the_limit_is_413);
	tcase_add_test(tc, a_chunked_body_arrives_whole_however_it_is_cut);
	tcase_add_test(tc, part_of_a_chunk_is_handed_over_at_once);
	tcase_add_test(tc, what_follows_a_chunked_body_is_the_next_request);
	tcase_add_test(tc, trailer_digests_are_known_at_the_end);
	tcase_add_test(tc, bad_framing_is_400_after_the_good_data);
	tcase_add_test(tc, chunks_over_the_limit_are_413);
	tcase_add_test(tc, a_flood_of_tiny_chunks_is_refused);
	tcase_add_test(tc, one_turn_takes_a_bounded_part_of_a_body);
	tcase_add_test(tc, on_body_comes_without_the_application_having_read);
	tcase_add_test(tc, on_body_does_not_come_after_the_end);
	tcase_add_test(tc, the_application_says_when_to_go_on);
	tcase_add_test(tc, a_client_that_does_not_wait_is_not_told_to_go_on);
	tcase_add_test(tc, an_answer_instead_of_100_closes);
	tcase_add_test(tc, a_small_unread_body_does_not_cost_the_connection);
	tcase_add_test(tc, a_request_behind_an_unread_body_may_be_long);
	tcase_add_test(tc,
		       an_early_answer_is_readable_after_sending_everything);
	tcase_add_test(tc, a_lingering_server_has_ended_its_side);
	tcase_add_test(tc, lingering_ends_after_its_bytes_or_its_time);
	tcase_add_test(tc, a_body_that_stalls_is_408);
	tcase_add_test(tc, a_body_that_drips_is_408_also_after_a_fast_start);
	tcase_add_test(tc, a_slow_but_legal_body_is_accepted);
	tcase_add_test(tc, a_paused_application_costs_the_client_nothing);
	tcase_add_test(tc, many_small_uploads_at_once_leave_nothing_behind);
	tcase_add_test(tc, the_end_in_mid_body_is_a_lost_client);
	tcase_add_test(tc, the_end_in_mid_chunk_is_a_lost_client);
	tcase_add_test(tc, a_reset_in_mid_body_is_a_lost_client);
	tcase_add_test(tc, half_closing_after_the_body_still_gets_the_answer);
	tcase_add_test(
		tc,
		a_client_lost_after_its_body_does_not_stop_the_application);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *sr = srunner_create(make_suite());
	int failed;

	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
