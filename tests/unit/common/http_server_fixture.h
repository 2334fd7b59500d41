/*
 * http_server_fixture.h - a server and its raw clients in one loop, for tests
 *
 * The clients' sockets do not block; whoever waits for one runs turns of the
 * loop meanwhile, for at most WAIT_MS. A test sets `settings` and `handler`,
 * calls serve(), and then speaks by dial(), say(), hear().
 */
#ifndef TESTS_UNIT_COMMON_HTTP_SERVER_FIXTURE_H
#define TESTS_UNIT_COMMON_HTTP_SERVER_FIXTURE_H

#include "common/clock.h"
#include "common/http_server.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 5000
#define HEARD_BYTES (16u << 20)
#define BODY_BYTES (16u << 20)

static struct loop *loop;
static struct http_server *server;
static struct http_server_settings settings;
static struct timer tick;

/* What the application saw. */
static struct app {
	struct http_exchange *x;	/* of the last request; NULL when over */
	int n_requests;
	int n_body;			/* calls of on_body */
	int n_writable;
	int n_end;
	char *body;			/* content that collect() has read */
	size_t body_len;
	size_t most_a_turn;		/* most content in one on_body */
	size_t room;			/* of one http_body_read(); 0 = 64 KiB */
	enum http_body result;		/* of the last read */
	struct err err;
} app;

static char *heard;			/* by the last hear_*() */
static size_t heard_len;

/* ---- the application ----------------------------------------------------- */

static inline void on_body_counted(void *owner)
{
	(void)owner;
	app.n_body++;
}

static inline void on_writable_counted(void *owner)
{
	(void)owner;
	app.n_writable++;
}

static inline void on_end_counted(void *owner)
{
	(void)owner;
	app.n_end++;
	app.x = NULL;
}

static inline void hello(void *arg, struct http_exchange *x)
{
	struct http_reply reply = { .status = 200,
				    .content_type = "text/plain" };

	(void)arg;
	app.n_requests++;
	http_reply(x, &reply, SPAN_LIT("hello\n"));
}

/* Take the exchange and do nothing: the test goes on by itself. */
static inline void hold(void *arg, struct http_exchange *x)
{
	static const struct http_exchange_ops ops = {
		on_body_counted, on_writable_counted, on_end_counted
	};

	(void)arg;
	app.n_requests++;
	app.x = x;
	http_exchange_attach(x, &ops, &app);
}

/* One read into the collected content; the caller looks at app.result. */
static inline size_t read_once(void)
{
	size_t room = app.room ? app.room : 65536, n;

	if (!app.body)
		app.body = malloc(BODY_BYTES);
	ck_assert_ptr_nonnull(app.body);
	ck_assert_uint_lt(app.body_len + room, BODY_BYTES);
	app.err = ERR_INIT;
	app.body[app.body_len + room] = '#';
	app.result = http_body_read(app.x, app.body + app.body_len, room, &n,
				    &app.err);
	ck_assert_int_eq(app.body[app.body_len + room], '#');
	app.body_len += n;
	return n;
}

static inline void answer_collected(void)
{
	struct http_reply reply = { .status = 200 };
	char text[40];

	snprintf(text, sizeof(text), "got %zu\n", app.body_len);
	http_reply(app.x, &reply, span_of(text));
}

static inline void on_body_collected(void *owner)
{
	size_t before = app.body_len;

	(void)owner;
	app.n_body++;
	do
		read_once();
	while (app.result == HTTP_BODY_DATA);
	if (app.body_len - before > app.most_a_turn)
		app.most_a_turn = app.body_len - before;
	if (app.result == HTTP_BODY_END)
		answer_collected();
	else if (app.result == HTTP_BODY_BAD && app.err.status == 0)
		http_abort(app.x);
	else if (app.result == HTTP_BODY_BAD)
		http_reply_problem(app.x, &app.err);
}

/* Read the content to its end, then say how much it was. */
static inline void collect(void *arg, struct http_exchange *x)
{
	static const struct http_exchange_ops ops = {
		on_body_collected, on_writable_counted, on_end_counted
	};

	(void)arg;
	app.n_requests++;
	app.body_len = 0;
	app.x = x;
	http_exchange_attach(x, &ops, &app);
	http_continue(x);
	if (!http_has_body(x))
		answer_collected();
}

/* ---- the loop ------------------------------------------------------------ */

static inline void on_tick(void *arg)
{
	(void)arg;
}

/* One turn, which ends after `ms` at the latest. */
static inline void turn(uint64_t ms)
{
	timer_start(&tick, ms);
	loop_run_once(loop);
}

/* Turns until nothing has happened for some milliseconds. */
static inline void settle(void)
{
	for (int i = 0; i < 12; i++)
		turn(1);
}

/* Turns for about `ms` of real time. */
static inline void pass(uint64_t ms)
{
	uint64_t end = clock_monotonic_ms() + ms;

	while (clock_monotonic_ms() < end)
		turn(5);
}

/* Turns until the condition holds, which is looked at once a turn. */
#define wait_for(condition)                                           \
	do {                                                          \
		uint64_t end_ = clock_monotonic_ms() + WAIT_MS;       \
		bool holds_ = (condition);                            \
		while (!holds_ && clock_monotonic_ms() < end_) {      \
			turn(5);                                      \
			holds_ = (condition);                         \
		}                                                     \
		ck_assert_msg(holds_, "waited in vain for %s", #condition); \
	} while (0)

/* ---- fixture ------------------------------------------------------------- */

static inline void set_up(void)
{
	struct err err = ERR_INIT;

	loop = loop_new(&err);
	ck_assert_ptr_nonnull(loop);
	timer_init(&tick, loop, on_tick, NULL);
	settings = (struct http_server_settings){
		.address = { "127.0.0.1", 0 },
		.max_connections = 8000,
		.head_timeout_ms = WAIT_MS,
		.idle_timeout_ms = WAIT_MS,
		.grace_ms = WAIT_MS,
		.write_timeout_ms = WAIT_MS,
		.linger_ms = 500,
		.linger_bytes = 64 << 20,
		.max_body = 1 << 30,
	};
}

static inline void tear_down(void)
{
	if (server)
		http_server_free(&server);
	settle();
	timer_stop(&tick);
	loop_free(&loop);
	free(app.body);
	free(heard);
}

static inline void serve(http_request_fn *handler)
{
	struct err err = ERR_INIT;

	server = http_server_new(loop, &settings, handler, NULL, &err);
	ck_assert_msg(server != NULL, "%s", err.text);
	ck_assert_uint_ne(http_server_port(server), 0);
}

/* ---- clients ------------------------------------------------------------- */

static inline int dial_from(const char *source)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(http_server_port(server)),
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr_in from = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	inet_pton(AF_INET, source, &from.sin_addr);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static inline int dial(void)
{
	return dial_from("127.0.0.1");
}

/* Send all; false when the connection is gone before. */
static inline bool try_say(int fd, const char *data, size_t len)
{
	uint64_t end = clock_monotonic_ms() + WAIT_MS;
	ssize_t n;

	while (len > 0 && clock_monotonic_ms() < end) {
		n = send(fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n < 0) {
			turn(5);
			continue;
		}
		data += n;
		len -= (size_t)n;
	}
	return len == 0;
}

static inline void say_bytes(int fd, const char *data, size_t len)
{
	ck_assert(try_say(fd, data, len));
}

static inline void say(int fd, const char *text)
{
	say_bytes(fd, text, strlen(text));
}

enum hearing { HEARD_BYTES_NOW, HEARD_NOTHING, HEARD_END, HEARD_RESET };

static inline enum hearing hear_once(int fd, size_t at_most)
{
	size_t room = HEARD_BYTES - heard_len;
	ssize_t n;

	n = recv(fd, heard + heard_len, room < at_most ? room : at_most, 0);
	if (n > 0) {
		heard_len += (size_t)n;
		heard[heard_len] = '\0';
		return HEARD_BYTES_NOW;
	}
	if (n == 0)
		return HEARD_END;
	return errno == EAGAIN ? HEARD_NOTHING : HEARD_RESET;
}

static inline void forget(void)
{
	if (!heard)
		heard = malloc(HEARD_BYTES + 1);
	ck_assert_ptr_nonnull(heard);
	heard_len = 0;
	heard[0] = '\0';
}

/* Listen until `text` was heard. */
static inline void hear(int fd, const char *text)
{
	uint64_t end = clock_monotonic_ms() + WAIT_MS;

	forget();
	while (!strstr(heard, text) && clock_monotonic_ms() < end) {
		enum hearing what = hear_once(fd, HEARD_BYTES);

		if (what == HEARD_NOTHING)
			turn(5);
		else if (what != HEARD_BYTES_NOW)
			break;
	}
	ck_assert_msg(strstr(heard, text) != NULL, "wanted %s, heard: %.400s",
		      text, heard);
}

/* Listen until the server closes; how it ended. */
static inline enum hearing hear_end(int fd)
{
	uint64_t end = clock_monotonic_ms() + WAIT_MS;
	enum hearing what = HEARD_NOTHING;

	forget();
	while (clock_monotonic_ms() < end) {
		what = hear_once(fd, HEARD_BYTES);
		if (what == HEARD_NOTHING)
			turn(5);
		else if (what != HEARD_BYTES_NOW)
			break;
	}
	return what;
}

/* Listen until `len` bytes of content have followed the head; where they are. */
static inline const char *hear_content(int fd, size_t len)
{
	uint64_t end = clock_monotonic_ms() + WAIT_MS;
	const char *content = NULL;

	forget();
	while (clock_monotonic_ms() < end) {
		content = strstr(heard, "\r\n\r\n");
		if (content && heard + heard_len - (content + 4) >=
				       (ptrdiff_t)len)
			return content + 4;
		if (hear_once(fd, 20000) == HEARD_NOTHING)
			turn(5);
	}
	ck_abort_msg("only %zu bytes heard", heard_len);
	return NULL;
}

/* Nothing is heard and the connection stays. */
static inline void hear_nothing(int fd)
{
	forget();
	settle();
	ck_assert_int_eq(hear_once(fd, HEARD_BYTES), HEARD_NOTHING);
}

/* Close with a reset instead of an orderly end. */
static inline void reset_client(int fd)
{
	struct linger now = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

#define SAY_GET(fd, path) \
	say((fd), "GET " path " HTTP/1.1\r\nHost: test\r\n\r\n")

#endif
