/* Connections: heads, keep-alive, deadlines, admission, drain, the end. */
#include "common/http_server_impl.h"

#include "tests/unit/common/http_server_fixture.h"
#include "tests/unit/random.h"

#include <netinet/tcp.h>
#include <sys/resource.h>

/* ---- heads and keep-alive ------------------------------------------------ */

START_TEST(a_request_is_answered_and_the_connection_kept)
{
	int fd;

	serve(hello);
	fd = dial();
	for (int i = 0; i < 3; i++) {
		SAY_GET(fd, "/");
		hear(fd, "\r\n\r\nhello\n");
		ck_assert_ptr_nonnull(strstr(heard, "HTTP/1.1 200 OK\r\n"));
		ck_assert_ptr_nonnull(strstr(heard, "Content-Length: 6\r\n"));
		ck_assert_ptr_nonnull(strstr(heard, " GMT\r\n"));
		ck_assert_ptr_nonnull(
			strstr(heard, "Server: stream-broadcast\r\n"));
		ck_assert_ptr_null(strstr(heard, "Connection:"));
	}
	ck_assert_int_eq(app.n_requests, 3);
	ck_assert_uint_eq(http_server_connections(server), 1);
	close(fd);
	wait_for(http_server_connections(server) == 0);
}
END_TEST

START_TEST(a_head_may_arrive_byte_by_byte)
{
	static const char head[] = "GET /a?b=c HTTP/1.1\r\nHost: test\r\n\r\n";
	int fd;

	serve(hello);
	fd = dial();
	for (size_t i = 0; i < sizeof(head) - 1; i++) {
		ck_assert_int_eq(app.n_requests, 0);
		say_bytes(fd, head + i, 1);
		turn(2);
	}
	hear(fd, "hello\n");
	close(fd);
}
END_TEST

START_TEST(a_head_may_be_as_long_as_the_parser_allows)
{
	char line[4000];
	int fd;

	serve(hello);
	fd = dial();
	memset(line, 'a', sizeof(line));
	say(fd, "GET / HTTP/1.1\r\nHost: test\r\n");
	for (int i = 0; i < 7; i++) {
		say(fd, "X-Long: ");
		say_bytes(fd, line, sizeof(line));
		say(fd, "\r\n");
		turn(2);
	}
	say(fd, "\r\n");
	hear(fd, "hello\n");
	close(fd);
}
END_TEST

START_TEST(an_endless_head_is_refused_at_the_limit)
{
	char line[4000];
	int fd;

	serve(hello);
	fd = dial();
	memset(line, 'a', sizeof(line));
	say(fd, "GET / HTTP/1.1\r\nHost: test\r\n");
	for (int i = 0; i < 10; i++) {
		say(fd, "X-Long: ");
		say_bytes(fd, line, sizeof(line));
		say(fd, "\r\n");
	}
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	ck_assert_int_eq(hear_end(fd), HEARD_END);
	ck_assert_int_eq(strncmp(heard, "HTTP/1.1 431 ", 13), 0);
	ck_assert_int_eq(app.n_requests, 0);
	close(fd);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
	int fd;

	serve(collect);
	fd = dial();
	say(fd, "PUT /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1"
		"PUT /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n12"
		"PUT /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
		"\r\n3\r\n123\r\n0\r\n\r\n"
		"GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
	ck_assert_int_eq(hear_end(fd), HEARD_END);
	ck_assert_int_eq(app.n_requests, 4);
	ck_assert_int_eq(app.n_end, 4);
	for (int i = 1; i < 4; i++) {
		char wanted[] = "got 0\n";

		wanted[4] = (char)('0' + i);
		ck_assert_ptr_nonnull(strstr(heard, wanted));
		ck_assert(strstr(heard, wanted) < strstr(heard, "got 0\n"));
	}
	close(fd);
}
END_TEST

START_TEST(the_next_request_waits_for_the_answer)
{
	struct http_reply reply = { .status = 204 };
	int fd;

	serve(hold);
	fd = dial();
	SAY_GET(fd, "/1");
	SAY_GET(fd, "/2");
	hear_nothing(fd);
	ck_assert_int_eq(app.n_requests, 1);
	http_reply(app.x, &reply, SPAN_LIT(""));
	ck_assert_int_eq(app.n_end, 0);
	wait_for(app.n_requests == 2);
	ck_assert_int_eq(app.n_end, 1);
	close(fd);
}
END_TEST

/* One from the event, one from the deferred call that ended the last. */
START_TEST(one_connection_gets_two_requests_a_turn_at_most)
{
	int fd;

	serve(hello);
	fd = dial();
	for (int i = 0; i < 20; i++)
		SAY_GET(fd, "/");
	for (int i = 0, before; i < 30; i++) {
		before = app.n_requests;
		turn(1);
		ck_assert_int_le(app.n_requests, before + 2);
	}
	ck_assert_int_eq(app.n_requests, 20);
	close(fd);
}
END_TEST

START_TEST(the_client_may_ask_to_close)
{
	int fd;

	serve(hello);
	fd = dial();
	say(fd, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
	ck_assert_int_eq(hear_end(fd), HEARD_END);
	ck_assert_ptr_nonnull(strstr(heard, "Connection: close\r\n"));
	ck_assert_uint_eq(http_server_connections(server), 0);
	close(fd);
}
END_TEST

START_TEST(http_1_0_closes_unless_it_asks_to_keep)
{
	int fd;

	serve(hello);
	fd = dial();
	say(fd, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	hear(fd, "hello\n");
	ck_assert_ptr_nonnull(strstr(heard, "Connection: keep-alive\r\n"));
	say(fd, "GET / HTTP/1.0\r\n\r\n");
	ck_assert_int_eq(hear_end(fd), HEARD_END);
	ck_assert_ptr_nonnull(strstr(heard, "Connection: close\r\n"));
	close(fd);
}
END_TEST

START_TEST(a_malformed_head_gets_its_status_and_the_end)
{
	static const char *const bad[][2] = {
		{ "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 " },
		{ "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 " },
		{ "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 501 " },
		{ "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "HTTP/1.1 505 " },
		{ "PUT / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n"
		  "Content-Length: 1\r\n\r\n", "HTTP/1.1 417 " },
	};

	serve(hello);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd = dial();

		say(fd, bad[i][0]);
		SAY_GET(fd, "/never");
		shutdown(fd, SHUT_WR);
		ck_assert_int_eq(hear_end(fd), HEARD_END);
		ck_assert_msg(strncmp(heard, bad[i][1], 13) == 0, "%s: %s",
			      bad[i][0], heard);
		ck_assert_ptr_nonnull(strstr(heard, "problem+json"));
		ck_assert_ptr_nonnull(strstr(heard, "Connection: close\r\n"));
		close(fd);
	}
	ck_assert_int_eq(app.n_requests, 0);
}
END_TEST

START_TEST(a_tls_handshake_is_closed_without_a_word)
{
	int fd;

	serve(hello);
	fd = dial();
	say(fd, "\x16\x03\x01\x02");
	ck_assert_int_ne(hear_end(fd), HEARD_NOTHING);
	ck_assert_uint_eq(heard_len, 0);
	close(fd);
}
END_TEST

START_TEST(content_of_a_request_that_has_none_is_refused)
{
	static const char *const methods[] = { "GET", "DELETE", "OPTIONS" };
	char text[200];

	serve(hello);
	for (size_t i = 0; i < 6; i++) {
		int fd = dial();

		snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nHost: a\r\n%s",
			 methods[i / 2],
			 i % 2 ? "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
			       : "Content-Length: 1\r\n\r\nx");
		say(fd, text);
		shutdown(fd, SHUT_WR);
		ck_assert_int_eq(hear_end(fd), HEARD_END);
		ck_assert_int_eq(strncmp(heard, "HTTP/1.1 400 ", 13), 0);
		close(fd);
	}
	ck_assert_int_eq(app.n_requests, 0);
}
END_TEST

/* ---- deadlines ----------------------------------------------------------- */

START_TEST(an_unfinished_head_is_408)
{
	int fd;

	settings.head_timeout_ms = 40;
	serve(hello);
	fd = dial();
	say(fd, "GET / HTTP/1.1\r\nHo");
	hear(fd, "HTTP/1.1 408 ");
	shutdown(fd, SHUT_WR);
	hear_end(fd);
	close(fd);
	ck_assert_int_eq(app.n_requests, 0);
}
END_TEST

START_TEST(dripping_does_not_prolong_a_head)
{
	uint64_t start;
	int fd;

	settings.head_timeout_ms = 60;
	serve(hello);
	fd = dial();
	start = clock_monotonic_ms();
	forget();
	while (try_say(fd, "G", 1) && heard_len == 0 &&
	       clock_monotonic_ms() < start + WAIT_MS) {
		turn(5);
		hear_once(fd, HEARD_BYTES);
	}
	ck_assert_ptr_nonnull(strstr(heard, "HTTP/1.1 "));
	close(fd);
}
END_TEST

START_TEST(an_idle_connection_is_closed)
{
	int new, used;

	settings.idle_timeout_ms = 50;
	serve(hello);
	new = dial();
	used = dial();
	SAY_GET(used, "/");
	hear(used, "hello\n");
	ck_assert_int_eq(hear_end(new), HEARD_END);
	ck_assert_int_eq(hear_end(used), HEARD_END);
	ck_assert_uint_eq(http_server_connections(server), 0);
	close(new);
	close(used);
}
END_TEST

START_TEST(waiting_for_the_application_is_not_idling)
{
	int fd;

	settings.idle_timeout_ms = settings.head_timeout_ms = 30;
	settings.grace_ms = settings.write_timeout_ms = 30;
	settings.min_rate = 1000;
	serve(hold);
	fd = dial();
	SAY_GET(fd, "/");
	pass(120);
	hear_nothing(fd);
	ck_assert_int_eq(app.n_end, 0);
	close(fd);
}
END_TEST

/* After a stop of the process clients get a second to show their bytes. */
START_TEST(a_stopped_process_does_not_blame_its_clients)
{
	int fd;

	settings.idle_timeout_ms = 20;
	serve(hello);
	fd = dial();
	wait_for(http_server_connections(server) == 1);
	clock_fake(clock_monotonic_ms() + 5000, clock_wall_ms());
	for (int i = 0; i < 60; i++)
		turn(1);
	clock_fake_stop();
	ck_assert_uint_eq(http_server_connections(server), 1);
	SAY_GET(fd, "/");
	hear(fd, "hello\n");
	close(fd);
}
END_TEST

/* ---- admission ----------------------------------------------------------- */

START_TEST(options_of_the_listener_are_inherited)
{
	int fd, value = 0;
	socklen_t len = sizeof(value);

	settings.receive_buffer = 65536;
	serve(hold);
	fd = dial();
	SAY_GET(fd, "/");
	wait_for(app.x);
	getsockopt(app.x->c->fd, IPPROTO_TCP, TCP_NODELAY, &value, &len);
	ck_assert_int_eq(value, 1);
	getsockopt(app.x->c->fd, SOL_SOCKET, SO_RCVBUF, &value, &len);
	ck_assert_int_eq(value, 2 * 65536); /* socket(7): doubled */
	close(fd);
}
END_TEST

START_TEST(connections_over_the_limit_get_503)
{
	int kept, more;

	settings.max_connections = 1;
	serve(hello);
	kept = dial();
	wait_for(http_server_connections(server) == 1);
	more = dial();
	hear_end(more);
	ck_assert_int_eq(strncmp(heard, "HTTP/1.1 503 ", 13), 0);
	ck_assert_ptr_nonnull(strstr(heard, "Retry-After: "));
	SAY_GET(kept, "/");
	hear(kept, "hello\n");
	close(kept);
	close(more);
}
END_TEST

START_TEST(each_address_has_its_own_limit)
{
	int first, second, third, other;

	settings.max_per_ip = 2;
	serve(hello);
	first = dial();
	second = dial();
	third = dial();
	other = dial_from("127.0.0.2");
	hear_end(third);
	ck_assert_int_eq(strncmp(heard, "HTTP/1.1 503 ", 13), 0);
	SAY_GET(other, "/");
	hear(other, "hello\n");
	close(first);
	wait_for(http_server_connections(server) == 2);
	first = dial();
	SAY_GET(first, "/");
	hear(first, "hello\n");
	close(first);
	close(second);
	close(third);
	close(other);
}
END_TEST

/* Random additions and removals against a plain array of counts. */
START_TEST(addresses_are_counted_like_an_array_would)
{
	enum { N = 64, LIMIT = 3 };
	struct per_ip *table = per_ip_new(N);
	unsigned int counts[200] = { 0 };
	size_t total = 0;

	random_begin("per_ip");
	for (int round = 0; round < 200000; round++) {
		size_t i = random_below(200);
		struct in6_addr ip = { 0 };

		ip.s6_addr[15] = (uint8_t)i;
		if (random_below(2) && total < N) {
			bool added = per_ip_add(table, &ip, LIMIT);

			ck_assert_int_eq(added, counts[i] < LIMIT);
			counts[i] += added;
			total += added;
		} else if (counts[i]) {
			per_ip_remove(table, &ip);
			counts[i]--;
			total--;
		}
	}
	per_ip_free(&table);
	ck_assert_ptr_null(table);
}
END_TEST

/* How many lines standard error got while `fn` ran. */
static int count_log_lines(void (*fn)(void))
{
	char buf[4096];
	int saved = dup(2), fds[2], lines = 0;
	ssize_t n;

	ck_assert_int_eq(pipe2(fds, O_NONBLOCK), 0);
	dup2(fds[1], 2);
	fn();
	dup2(saved, 2);
	while ((n = read(fds[0], buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			lines += buf[i] == '\n';
	close(saved);
	close(fds[0]);
	close(fds[1]);
	return lines;
}

static int starved_turns;

static void starve(void)
{
	uint64_t end = clock_monotonic_ms() + 350;

	timer_start(&tick, 400);
	for (starved_turns = 0; clock_monotonic_ms() < end; starved_turns++)
		loop_run_once(loop);
}

START_TEST(without_descriptors_accepting_pauses_quietly)
{
	struct rlimit limit;
	int fd, next, lines;

	serve(hello);
	fd = dial();
	next = dup(fd);
	close(next);
	getrlimit(RLIMIT_NOFILE, &limit);
	/* room for what counting lines needs, not for one connection */
	limit.rlim_cur = (rlim_t)next + 3;
	setrlimit(RLIMIT_NOFILE, &limit);
	lines = count_log_lines(starve);
	ck_assert_int_eq(lines, 1);
	ck_assert_int_lt(starved_turns, 20);
	ck_assert_uint_eq(http_server_connections(server), 0);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	SAY_GET(fd, "/");
	hear(fd, "hello\n");
	close(fd);
}
END_TEST

static size_t resident_bytes(void)
{
	size_t size = 0, pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%zu %zu", &size, &pages), 2);
	fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* A sanitizer's own memory says nothing about ours. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
	__has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Each has had a request before, so that nothing of it may stay behind. */
START_TEST(thousands_of_idle_connections_cost_less_than_2_kib_each)
{
	enum { N = 5000 };
	struct rlimit limit;
	static int fds[N];
	size_t before, each;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < 2 * N + 100)
		return;
	settings.idle_timeout_ms = settings.head_timeout_ms = 60000;
	serve(hello);
	forget();
	before = resident_bytes();
	for (int i = 0; i < N; i++) {
		fds[i] = dial();
		SAY_GET(fds[i], "/");
		if (i % 64 == 63)
			turn(1);
	}
	wait_for(app.n_requests == N);
	settle();
	ck_assert_uint_eq(http_server_connections(server), N);
	each = (resident_bytes() - before) / N;
	printf("an idle connection costs %zu bytes\n", each);
	if (!SANITIZED)
		ck_assert_uint_lt(each, 2048);
	for (int i = 0; i < N; i++)
		close(fds[i]);
	wait_for(http_server_connections(server) == 0);
}
END_TEST

START_TEST(a_taken_address_is_a_configuration_error)
{
	struct err err = ERR_INIT;

	strcpy(settings.address.host, "192.0.2.1"); /* RFC 5737: nobody's */
	ck_assert_ptr_null(
		http_server_new(loop, &settings, hello, NULL, &err));
	ck_assert_int_eq(err.code, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "192.0.2.1:0"));
}
END_TEST

START_TEST(without_a_host_every_address_is_served)
{
	int fd;

	settings.address.host[0] = '\0';
	serve(hold);
	fd = dial_from("127.0.0.3");
	SAY_GET(fd, "/");
	wait_for(app.x);
	ck_assert_int_eq(strncmp(http_peer(app.x), "127.0.0.3:", 10), 0);
	close(fd);
}
END_TEST

/* ---- drain and end ------------------------------------------------------- */

START_TEST(draining_ends_idle_connections_and_lets_the_others_finish)
{
	struct http_reply reply = { .status = 204 };
	int idle, busy;

	serve(hold);
	idle = dial();
	busy = dial();
	SAY_GET(busy, "/");
	wait_for(app.x && http_server_connections(server) == 2);
	http_server_drain(server);
	ck_assert_int_eq(hear_end(idle), HEARD_END);
	ck_assert_uint_eq(http_server_connections(server), 1);
	http_reply(app.x, &reply, SPAN_LIT(""));
	ck_assert_int_eq(hear_end(busy), HEARD_END);
	ck_assert_ptr_nonnull(strstr(heard, "Connection: close\r\n"));
	wait_for(http_server_connections(server) == 0);
	close(idle);
	close(busy);
}
END_TEST

START_TEST(draining_still_serves_what_was_sent_before)
{
	int queued, idle;

	serve(hello);
	idle = dial();
	wait_for(http_server_connections(server) == 1);
	SAY_GET(idle, "/");
	queued = dial(); /* not accepted yet */
	SAY_GET(queued, "/");
	http_server_drain(server);
	hear(idle, "hello\n");
	hear(queued, "hello\n");
	ck_assert_ptr_nonnull(strstr(heard, "Connection: close\r\n"));
	close(idle);
	close(queued);
}
END_TEST

START_TEST(draining_refuses_new_connections)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	serve(hello);
	to.sin_port = htons(http_server_port(server));
	http_server_drain(server);
	http_server_drain(server);
	ck_assert_int_lt(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	close(fd);
}
END_TEST

START_TEST(freeing_ends_attached_exchanges_once)
{
	int fd, other;

	serve(hold);
	fd = dial();
	other = dial();
	SAY_GET(fd, "/");
	wait_for(app.x && http_server_connections(server) == 2);
	http_server_free(&server);
	ck_assert_ptr_null(server);
	ck_assert_int_eq(app.n_end, 1);
	hear_end(fd);
	hear_end(other);
	ck_assert_int_eq(app.n_end, 1);
	close(fd);
	close(other);
}
END_TEST

static void free_server_within(void *arg, struct http_exchange *x)
{
	hold(arg, x);
	http_server_free(&server);
}

START_TEST(the_server_may_be_freed_from_its_own_callback)
{
	int fd;

	serve(free_server_within);
	fd = dial();
	SAY_GET(fd, "/");
	hear_end(fd);
	ck_assert_int_eq(app.n_end, 1);
	ck_assert_ptr_null(server);
	close(fd);
}
END_TEST

START_TEST(giving_up_ends_the_exchange_before_it_returns)
{
	int fd;

	serve(hold);
	fd = dial();
	SAY_GET(fd, "/");
	wait_for(app.x);
	http_abort(app.x);
	ck_assert_int_eq(app.n_end, 1);
	hear_end(fd);
	ck_assert_uint_eq(heard_len, 0);
	ck_assert_int_eq(app.n_end, 1);
	close(fd);
}
END_TEST

/* ---- questions ----------------------------------------------------------- */

START_TEST(a_request_can_be_asked)
{
	int fd;

	serve(hold);
	fd = dial();
	say(fd, "PUT /a/b?c=d HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-A: 2\r\n"
		"Content-Length: 3\r\n\r\n");
	wait_for(app.x);
	ck_assert(span_eq(http_request_path(app.x), SPAN_LIT("/a/b")));
	ck_assert(span_eq(http_request_query(app.x), SPAN_LIT("c=d")));
	ck_assert(span_eq(http_request_field(app.x, "x-a"), SPAN_LIT("1")));
	ck_assert(span_eq(http_request_field_nth(app.x, "x-a", 1),
			  SPAN_LIT("2")));
	ck_assert_ptr_null(http_request_field(app.x, "X-B").ptr);
	ck_assert_int_eq(http_request(app.x)->method, HTTP1_PUT);
	ck_assert(http_has_body(app.x));
	ck_assert_str_eq(http_trailers(app.x)->repr_digest, "");
	ck_assert_int_eq(strncmp(http_peer(app.x), "127.0.0.1:", 10), 0);
	close(fd);
}
END_TEST

START_TEST(only_the_exact_bearer_token_is_authorized)
{
	static const struct {
		const char *value;
		bool authorized;
	} cases[] = {
		{ "Bearer secret", true },   { "bearer  secret", true },
		{ "Bearer secret2", false }, { "Bearer secre", false },
		{ "Bearer Secret", false },  { "Bearer ", false },
		{ "Basic secret", false },   { "secret", false },
	};
	char text[100];

	serve(hold);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = dial();

		snprintf(text, sizeof(text),
			 "GET / HTTP/1.1\r\nHost: h\r\n"
			 "Authorization: %s\r\n\r\n", cases[i].value);
		say(fd, text);
		wait_for(app.x);
		ck_assert_msg(http_is_authorized(app.x, "secret") ==
				      cases[i].authorized,
			      "%s", cases[i].value);
		ck_assert(!http_is_authorized(app.x, ""));
		http_abort(app.x);
		close(fd);
	}
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("http_server");
	TCase *tc = tcase_create("connections");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, a_request_is_answered_and_the_connection_kept);
	tcase_add_test(tc, a_head_may_arrive_byte_by_byte);
	tcase_add_test(tc, a_head_may_be_as_long_as_the_parser_allows);
	tcase_add_test(tc, an_endless_head_is_refused_at_the_limit);
	tcase_add_test(tc, pipelined_requests_are_answered_in_order);
	tcase_add_test(tc, the_next_request_waits_for_the_answer);
	tcase_add_test(tc, one_connection_gets_two_requests_a_turn_at_most);
	tcase_add_test(tc, the_client_may_ask_to_close);
	tcase_add_test(tc, http_1_0_closes_unless_it_asks_to_keep);
	tcase_add_test(tc, a_malformed_head_gets_its_status_and_the_end);
	tcase_add_test(tc, a_tls_handshake_is_closed_without_a_word);
	tcase_add_test(tc, content_of_a_request_that_has_none_is_refused);
	tcase_add_test(tc, an_unfinished_head_is_408);
	tcase_add_test(tc, dripping_does_not_prolong_a_head);
	tcase_add_test(tc, an_idle_connection_is_closed);
	tcase_add_test(tc, waiting_for_the_application_is_not_idling);
	tcase_add_test(tc, a_stopped_process_does_not_blame_its_clients);
	tcase_add_test(tc, options_of_the_listener_are_inherited);
	tcase_add_test(tc, connections_over_the_limit_get_503);
	tcase_add_test(tc, each_address_has_its_own_limit);
	tcase_add_test(tc, addresses_are_counted_like_an_array_would);
	tcase_add_test(tc, without_descriptors_accepting_pauses_quietly);
	tcase_add_test(
		tc, thousands_of_idle_connections_cost_less_than_2_kib_each);
	tcase_add_test(tc, a_taken_address_is_a_configuration_error);
	tcase_add_test(tc, without_a_host_every_address_is_served);
	tcase_add_test(
		tc,
		draining_ends_idle_connections_and_lets_the_others_finish);
	tcase_add_test(tc, draining_still_serves_what_was_sent_before);
	tcase_add_test(tc, draining_refuses_new_connections);
	tcase_add_test(tc, freeing_ends_attached_exchanges_once);
	tcase_add_test(tc, the_server_may_be_freed_from_its_own_callback);
	tcase_add_test(tc, giving_up_ends_the_exchange_before_it_returns);
	tcase_add_test(tc, a_request_can_be_asked);
	tcase_add_test(tc, only_the_exact_bearer_token_is_authorized);
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
