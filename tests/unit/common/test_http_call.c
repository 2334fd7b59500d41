#include "http_client_fixture.h"

#include <poll.h>
#include <sched.h>

/* ---- an owner of a call ------------------------------------------------- */

struct owner {
	struct http_call *call;
	unsigned int n_told;
	bool told;
	int status;
	bool is_repeated;
	size_t body_len;
	char body[65537];
	char header[64];
	struct err err;
	bool cancel_in_callback;
	struct owner *cancel_too;
	struct http_origin *call_again; /* from the callback, once */
};

static bool owner_takes_no_body; /* it is too long for it */

static const struct http_call_request get_hello = {
	.method = "GET", .path = "/hello", .timeout_ms = 3000};

static http_call_fn on_result;

static void start(struct owner *owner, struct http_origin *origin,
		  const struct http_call_request *request)
{
	unsigned int n_told = owner->n_told;

	owner->call = http_call_start(origin, request, on_result, owner);
	ck_assert_ptr_nonnull(owner->call);
	ck_assert_uint_eq(owner->n_told, n_told);
}

static void on_result(void *arg, struct http_call *call,
		      const struct http_call_result *result)
{
	struct owner *owner = arg;
	const char *header = http_call_header(call, "x-test");
	struct http_origin *again = owner->call_again;

	ck_assert_ptr_eq(call, owner->call);
	owner->n_told++;
	owner->told = !again;
	owner->status = result->status;
	owner->is_repeated = result->is_repeated;
	owner->err = result->err;
	owner->body_len = result->body.len;
	if (!owner_takes_no_body) {
		memcpy(owner->body, result->body.ptr ? result->body.ptr : "",
		       result->body.len);
		owner->body[result->body.len] = '\0';
	}
	snprintf(owner->header, sizeof(owner->header), "%s",
		 header ? header : "(none)");
	if (owner->cancel_in_callback)
		http_call_cancel(&owner->call);
	if (owner->cancel_too)
		http_call_cancel(&owner->cancel_too->call);
	owner->call_again = NULL;
	if (again)
		start(owner, again, &get_hello);
}

/* Make a request and wait for what it comes to. */
static void call(struct owner *owner, const char *url,
		 const struct http_call_request *request)
{
	struct http_origin *origin = origin_of(url);

	memset(owner, 0, sizeof(*owner));
	start(owner, origin, request);
	run_until(&owner->told);
	ck_assert_uint_eq(owner->n_told, 1);
	http_origin_free(&origin);
}

/* The same, with a client of its own; for one-call tests. */
static void call_alone(struct owner *owner, const char *url,
		       const struct http_call_request *request)
{
	start_plain_client();
	call(owner, url, request);
	stop_client();
}

static void call_nginx(struct owner *owner, const char *method,
		       const char *path)
{
	struct http_call_request request = {
		.method = method, .path = path, .timeout_ms = 3000};

	call_alone(owner, local_url("http", "127.0.0.1", plain_port), &request);
}

/* ---- what peers do ------------------------------------------------------ */

/* Send the request back, head and body, as the body of the answer. */
static void mirror(int fd, unsigned int nth)
{
	char head[4096], body[4096] = "", *length;
	size_t len = 0;

	(void)nth;
	while (peer_read_to(fd, "\r\n\r\n", head, sizeof(head))) {
		char answer[9000];

		length = strcasestr(head, "content-length: ");
		if (length)
			len = strtoul(length + 16, NULL, 10);
		for (size_t at = 0; at < len; at++)
			if (read(fd, body + at, 1) != 1)
				return;
		snprintf(answer, sizeof(answer),
			 "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s%s",
			 strlen(head) + strlen(body), head, body);
		peer_say(fd, answer);
	}
}

/* Take the whole request, then say whether it asked to be invited. */
static void tell_expect(int fd, unsigned int nth)
{
	char head[4096], buf[65536];
	size_t len;

	(void)nth;
	if (!peer_read_to(fd, "\r\n\r\n", head, sizeof(head)))
		return;
	len = strtoul(strcasestr(head, "content-length: ") + 16, NULL, 10);
	while (len > 0) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n <= 0)
			return;
		len -= (size_t)n;
	}
	peer_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
	peer_say(fd, strcasestr(head, "expect") ? "yes" : "no!");
}

static void read_head(int fd)
{
	char head[4096];

	peer_read_to(fd, "\r\n\r\n", head, sizeof(head));
}

static void tell_number(int fd, unsigned int nth)
{
	char head[4096], answer[64];

	snprintf(answer, sizeof(answer),
		 "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%u", nth);
	while (peer_read_to(fd, "\r\n\r\n", head, sizeof(head)))
		peer_say(fd, answer);
}

/* Answer once, then hang up over the next request. */
static void tell_number_once(int fd, unsigned int nth)
{
	char head[4096], answer[64];

	snprintf(answer, sizeof(answer),
		 "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%u", nth);
	if (!peer_read_to(fd, "\r\n\r\n", head, sizeof(head)))
		return;
	peer_say(fd, answer);
	peer_read_to(fd, "\r\n\r\n", head, sizeof(head));
}

static void say_garbage(int fd, unsigned int nth)
{
	(void)nth;
	read_head(fd);
	peer_say(fd, "not at all HTTP\r\n\r\n");
}

static void hang_up(int fd, unsigned int nth)
{
	(void)nth;
	read_head(fd);
}

static void break_off(int fd, unsigned int nth)
{
	(void)nth;
	read_head(fd);
	peer_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
}

static void say_nothing(int fd, unsigned int nth)
{
	(void)nth;
	peer_drain(fd);
}

/* Until the client has had enough; tells the test that it had. */
static void repeat(int fd, const char *text)
{
	while (write(fd, text, strlen(text)) > 0)
		;
	peer_note();
}

static void endless_body(int fd, unsigned int nth)
{
	(void)nth;
	read_head(fd);
	peer_say(fd, "HTTP/1.1 200 OK\r\n\r\n");
	repeat(fd, "and so on, ");
}

static void endless_head(int fd, unsigned int nth)
{
	(void)nth;
	read_head(fd);
	peer_say(fd, "HTTP/1.1 200 OK\r\n");
	repeat(fd, "X-Header: and so on\r\n");
}

static void endless_line(int fd, unsigned int nth)
{
	(void)nth;
	read_head(fd);
	peer_say(fd, "HTTP/1.1 200 OK\r\nX-Header: ");
	repeat(fd, "and so on ");
}

static void endless_1xx(int fd, unsigned int nth)
{
	(void)nth;
	read_head(fd);
	repeat(fd, "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n");
}

static void answer_early(int fd, unsigned int nth)
{
	(void)nth;
	read_head(fd);
	peer_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
		     "Connection: close\r\n\r\n");
	shutdown(fd, SHUT_WR);
	sleep(60); /* takes no more, and hangs up no more */
}

/* ---- answers ------------------------------------------------------------ */

START_TEST(a_get_gives_status_header_and_body)
{
	struct owner owner;

	call_nginx(&owner, "GET", "/hello");
	ck_assert_msg(!err_is_set(&owner.err), "%s", owner.err.text);
	ck_assert_int_eq(owner.status, 200);
	ck_assert_str_eq(owner.body, "hello");
	ck_assert_str_eq(owner.header, "a-value");
}
END_TEST

START_TEST(a_head_has_no_body)
{
	struct owner owner;

	call_nginx(&owner, "HEAD", "/hello");
	ck_assert_msg(!err_is_set(&owner.err), "%s", owner.err.text);
	ck_assert_int_eq(owner.status, 200);
	ck_assert_str_eq(owner.header, "a-value");
	ck_assert_uint_eq(owner.body_len, 0);
}
END_TEST

START_TEST(a_status_of_refusal_is_no_error)
{
	struct owner owner;

	call_nginx(&owner, "GET", "/nothing/here");
	ck_assert(!err_is_set(&owner.err));
	ck_assert_int_eq(owner.status, 404);
	ck_assert_str_eq(owner.header, "(none)");
}
END_TEST

START_TEST(a_redirect_is_not_followed)
{
	struct owner owner;

	call_nginx(&owner, "GET", "/moved");
	ck_assert(!err_is_set(&owner.err));
	ck_assert_int_eq(owner.status, 302);
}
END_TEST

START_TEST(what_was_put_can_be_got_and_deleted)
{
	struct http_call_request put = {.method = "PUT",
					.path = "/put/small",
					.timeout_ms = 3000,
					.body = SPAN_LIT("some bytes")};
	struct owner owner;

	call_alone(&owner, local_url("http", "127.0.0.1", plain_port), &put);
	ck_assert_int_eq(owner.status, 201);
	call_nginx(&owner, "GET", "/put/small");
	ck_assert_str_eq(owner.body, "some bytes");
	call_nginx(&owner, "DELETE", "/put/small");
	ck_assert_int_eq(owner.status, 204);
	call_nginx(&owner, "GET", "/put/small");
	ck_assert_int_eq(owner.status, 404);
}
END_TEST

START_TEST(https_is_verified)
{
	struct http_client_settings settings = {.max_idle = 0};
	struct owner owner;

	settings.ca_file = scratch_path("ca.pem");
	start_client(&settings);
	call(&owner, local_url("https", "127.0.0.1", tls_port), &get_hello);
	ck_assert_str_eq(owner.body, "hello");
	stop_client();

	settings.ca_file = scratch_path("other.pem");
	start_client(&settings);
	call(&owner, local_url("https", "127.0.0.1", tls_port), &get_hello);
	ck_assert_int_eq(owner.status, 0);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "certificate"));
	stop_client();
}
END_TEST

/* ---- requests ----------------------------------------------------------- */

START_TEST(a_request_has_what_was_asked_for_and_nothing_made_up)
{
	static const struct http_call_header headers[] = {
		{"Authorization", "Bearer abc"}, {"X-Empty", ""}};
	struct http_call_request request = {.method = "POST",
					    .path = "/a/../b%20c?d=e",
					    .headers = headers,
					    .n_headers = 2,
					    .body = SPAN_LIT("the body"),
					    .timeout_ms = 3000};
	struct peer peer = peer_start(mirror);
	char expected[512];
	struct owner owner;

	call_alone(&owner, peer.url, &request);
	snprintf(expected, sizeof(expected),
		 "POST /a/../b%%20c?d=e HTTP/1.1\r\nHost: %s\r\n"
		 "Accept: */*\r\nAuthorization: Bearer abc\r\nX-Empty:\r\n"
		 "Content-Length: 8\r\n\r\nthe body",
		 peer.url + strlen("http://"));
	ck_assert_str_eq(owner.body, expected);
	peer_stop(&peer);
}
END_TEST

START_TEST(a_borrowed_body_is_sent_as_it_is)
{
	struct http_call_request request = {.method = "PUT",
					    .path = "/",
					    .body = SPAN_LIT("not copied"),
					    .body_is_borrowed = true,
					    .timeout_ms = 3000};
	struct peer peer = peer_start(mirror);
	struct owner owner;

	call_alone(&owner, peer.url, &request);
	ck_assert_ptr_nonnull(strstr(owner.body, "Content-Length: 10\r\n"));
	ck_assert_ptr_nonnull(strstr(owner.body, "\r\n\r\nnot copied"));
	peer_stop(&peer);
}
END_TEST

START_TEST(the_body_of_a_success_goes_to_the_callers_room)
{
	char room[8] = "unused";
	struct http_call_request request = {.method = "GET",
					    .path = "/hello",
					    .timeout_ms = 3000,
					    .room = room,
					    .room_size = 5};
	struct owner owner;

	call_alone(&owner, local_url("http", "127.0.0.1", plain_port),
		   &request);
	ck_assert_str_eq(owner.body, "hello");
	ck_assert_mem_eq(room, "hellod", 6);
	request.path = "/nothing/here";
	call_alone(&owner, local_url("http", "127.0.0.1", plain_port),
		   &request);
	ck_assert_int_eq(owner.status, 404);
	ck_assert_uint_gt(owner.body_len, 5);
	ck_assert_mem_eq(room, "hellod", 6);
}
END_TEST

START_TEST(what_does_not_fit_into_the_room_is_a_failure)
{
	char room[5] = "unus";
	struct http_call_request request = {.method = "GET",
					    .path = "/hello",
					    .timeout_ms = 3000,
					    .room = room,
					    .room_size = 4};
	struct owner owner;

	call_alone(&owner, local_url("http", "127.0.0.1", plain_port),
		   &request);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "is over 4 bytes"));
	ck_assert_mem_eq(room, "hell", 5);
}
END_TEST

START_TEST(the_cap_of_an_answer_is_the_callers)
{
	static char body[100000];
	struct http_call_request request = {.method = "PUT",
					    .path = "/put/large",
					    .timeout_ms = 3000,
					    .body = {body, sizeof(body)}};
	struct owner owner;

	memset(body, 'x', sizeof(body));
	call_alone(&owner, local_url("http", "127.0.0.1", plain_port),
		   &request);
	request = (struct http_call_request){.method = "GET",
					     .path = "/put/large",
					     .timeout_ms = 3000,
					     .max_answer = 1000};
	call_alone(&owner, local_url("http", "127.0.0.1", plain_port),
		   &request);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "is over 1000 bytes"));
	request.max_answer = sizeof(body);
	request.room = body;
	request.room_size = sizeof(body);
	memset(body, 'y', sizeof(body));
	owner_takes_no_body = true;
	call_alone(&owner, local_url("http", "127.0.0.1", plain_port),
		   &request);
	owner_takes_no_body = false;
	ck_assert_uint_eq(owner.body_len, sizeof(body));
	ck_assert(body[0] == 'x' && body[sizeof(body) - 1] == 'x');
}
END_TEST

START_TEST(a_transfer_that_stands_still_ends_before_its_deadline)
{
	struct http_call_request request = {.method = "PUT",
					    .path = "/",
					    .timeout_ms = 60000,
					    .stall_ms = 100};
	struct peer peer = peer_start(say_nothing);
	struct owner owner;

	call_alone(&owner, peer.url, &request);
	ck_assert_msg(strstr(owner.err.text, "no byte to or from") &&
			      strstr(owner.err.text, "for 100 ms"),
		      "%s", owner.err.text);
	peer_stop(&peer);
}
END_TEST

START_TEST(an_empty_post_says_so)
{
	static const struct http_call_header type = {"content-type", "a/b"};
	struct http_call_request request = {.method = "POST",
					    .path = "/commit",
					    .headers = &type,
					    .n_headers = 1,
					    .timeout_ms = 3000};
	struct peer peer = peer_start(mirror);
	struct owner owner;

	call_alone(&owner, peer.url, &request);
	ck_assert_ptr_nonnull(strstr(owner.body, "Content-Length: 0\r\n"));
	ck_assert_ptr_nonnull(strstr(owner.body, "content-type: a/b\r\n"));
	ck_assert_ptr_null(strstr(owner.body, "form"));
	peer_stop(&peer);
}
END_TEST

START_TEST(a_large_body_is_sent_without_asking)
{
	static char body[2 << 20];
	struct http_call_request request = {.method = "POST",
					    .path = "/",
					    .timeout_ms = 3000,
					    .body = {body, sizeof(body)}};
	struct peer peer = peer_start(tell_expect);
	struct owner owner;

	call_alone(&owner, peer.url, &request);
	ck_assert_str_eq(owner.body, "no!");
	peer_stop(&peer);
}
END_TEST

START_TEST(a_header_with_a_line_break_is_not_sent)
{
	static const struct http_call_header bad[] = {
		{"X-Name", "a\r\nX-Evil: b"},
		{"X-Name", "a\nb"},
		{"X\r\nY", "a"},
		{"X:Y", "a"},
	};
	struct http_call_request request = get_hello;
	struct http_origin *origin;
	struct owner owner;

	start_plain_client();
	origin = origin_of("http://127.0.0.1:1");
	request.n_headers = 1;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		request.headers = &bad[i];
		ck_assert_ptr_null(
			http_call_start(origin, &request, on_result, &owner));
	}
	http_origin_free(&origin);
	stop_client();
}
END_TEST

START_TEST(what_is_in_the_environment_is_not_used)
{
	struct peer peer = peer_start(mirror);
	struct owner owner;

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	call_alone(&owner, peer.url, &get_hello);
	ck_assert_msg(!err_is_set(&owner.err), "%s", owner.err.text);
	ck_assert_ptr_nonnull(strstr(owner.body, "GET /hello HTTP/1.1"));
	peer_stop(&peer);
}
END_TEST

START_TEST(calls_one_after_the_other_use_one_connection)
{
	struct peer peer = peer_start(tell_number);
	struct owner owner;

	start_plain_client();
	for (int i = 0; i < 3; i++) {
		call(&owner, peer.url, &get_hello);
		ck_assert_str_eq(owner.body, "1");
	}
	stop_client();
	peer_stop(&peer);
}
END_TEST

START_TEST(a_request_that_had_to_be_sent_twice_is_known_to_be)
{
	struct peer peer = peer_start(tell_number_once);
	struct owner owner;

	start_plain_client();
	call(&owner, peer.url, &get_hello);
	ck_assert_str_eq(owner.body, "1");
	ck_assert(!owner.is_repeated);
	call(&owner, peer.url, &get_hello);
	ck_assert_str_eq(owner.body, "2");
	ck_assert(owner.is_repeated);
	stop_client();
	peer_stop(&peer);
}
END_TEST

/* ---- failures ----------------------------------------------------------- */

/* A call to a peer that behaves so fails, with `text` in the reason. */
static void expect_failure(peer_fn *behaviour, uint64_t timeout_ms,
			   const char *text)
{
	struct http_call_request request = get_hello;
	struct peer peer = peer_start(behaviour);
	struct owner owner;

	request.timeout_ms = timeout_ms;
	call_alone(&owner, peer.url, &request);
	ck_assert_int_eq(owner.err.code, ERR_TARGET);
	ck_assert_msg(strstr(owner.err.text, text) != NULL, "%s",
		      owner.err.text);
	ck_assert_int_eq(owner.status, 0);
	ck_assert_uint_eq(owner.body_len, 0);
	peer_stop(&peer);
}

START_TEST(a_refused_connection_is_no_answer)
{
	struct owner owner;

	call_alone(&owner, local_url("http", "127.0.0.1", free_port()),
		   &get_hello);
	ck_assert_int_eq(owner.err.code, ERR_TARGET);
	ck_assert_int_eq(owner.status, 0);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "no answer from 127."));
}
END_TEST

START_TEST(a_broken_answer_is_no_answer)
{
	expect_failure(say_garbage, 3000, "HTTP/0.9");
	expect_failure(hang_up, 3000, "no answer from");
	expect_failure(break_off, 3000, "answer 200 of");
}
END_TEST

START_TEST(silence_ends_in_the_timeout)
{
	uint64_t before = clock_monotonic_ms();

	expect_failure(say_nothing, 150, "within 150 ms");
	ck_assert_uint_ge(clock_monotonic_ms() - before, 140);
}
END_TEST

/* Its look-up never comes back: what waited for it would hang for ever. */
START_TEST(a_dead_resolver_blocks_no_call)
{
	struct http_call_request request = get_hello;
	struct owner owner;

	request.timeout_ms = 150;
	call_alone(&owner, "http://blackhole.test:7001", &request);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "within 150 ms"));
}
END_TEST

START_TEST(an_endless_body_is_cut_at_64_kib)
{
	struct peer peer = peer_start(endless_body);
	struct owner owner;

	start_plain_client();
	call(&owner, peer.url, &get_hello);
	peer_wait_note(&peer); /* it was hung up on */
	ck_assert_int_eq(owner.err.code, ERR_TARGET);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "65536"));
	ck_assert_int_eq(owner.status, 200);
	ck_assert_uint_eq(owner.body_len, 65536);
	stop_client();
	peer_stop(&peer);
}
END_TEST

/* A peer whose head never ends is hung up on, for this reason. */
static void expect_hang_up(peer_fn *behaviour, const char *text)
{
	struct peer peer = peer_start(behaviour);
	struct owner owner;

	start_plain_client();
	call(&owner, peer.url, &get_hello);
	peer_wait_note(&peer);
	ck_assert_int_eq(owner.err.code, ERR_TARGET);
	ck_assert_msg(strstr(owner.err.text, text) != NULL, "%s",
		      owner.err.text);
	ck_assert_uint_eq(owner.body_len, 0);
	stop_client();
	peer_stop(&peer);
}

START_TEST(an_endless_head_is_cut_off)
{
	expect_hang_up(endless_head, "65536");
	expect_hang_up(endless_line, "endless");
	expect_hang_up(endless_1xx, "65536");
}
END_TEST

START_TEST(a_success_before_the_whole_request_is_a_failure)
{
	static char body[16 << 20];
	struct http_call_request request = {.method = "PUT",
					    .path = "/",
					    .timeout_ms = 3000,
					    .body = {body, sizeof(body)}};
	struct peer peer = peer_start(answer_early);
	struct owner owner;

	call_alone(&owner, peer.url, &request);
	ck_assert_int_eq(owner.err.code, ERR_TARGET);
	ck_assert_int_eq(owner.status, 0);
	peer_stop(&peer);
}
END_TEST

/* ---- ending calls ------------------------------------------------------- */

START_TEST(a_cancelled_call_tells_nobody)
{
	struct owner owner = {.call = NULL};
	struct peer peer = peer_start(say_nothing);
	struct http_origin *origin;
	int n;

	start_plain_client();
	n = count_sockets(NULL);
	origin = origin_of(peer.url);
	start(&owner, origin, &get_hello);
	http_call_cancel(&owner.call);
	ck_assert_ptr_null(owner.call);
	start(&owner, origin, &get_hello);
	run_for(20);
	ck_assert_int_eq(count_sockets(NULL), n + 1);
	http_call_cancel(&owner.call);
	run_for(5);
	ck_assert_int_eq(count_sockets(NULL), n);
	ck_assert_uint_eq(owner.n_told, 0);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

static int is_readable(int fd)
{
	struct pollfd one = {.fd = fd, .events = POLLIN};

	return poll(&one, 1, 0) == 1;
}

/*
 * Both answers are there when the loop looks, so that both results are known
 * when the first is told.
 */
START_TEST(a_callback_may_cancel_a_call_whose_result_is_there)
{
	static struct owner first, second;
	int n = count_sockets(is_readable);
	struct http_origin *origin;

	first.cancel_too = &second;
	second.cancel_too = &first;
	start_plain_client();
	origin = origin_of(local_url("http", "127.0.0.1", plain_port));
	kill(nginx_pid, SIGSTOP);
	start(&first, origin, &get_hello);
	start(&second, origin, &get_hello);
	run_for(50);
	kill(nginx_pid, SIGCONT);
	while (count_sockets(is_readable) < n + 2)
		sched_yield();
	run_for(5);
	ck_assert_uint_eq(first.n_told + second.n_told, 1);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

START_TEST(a_callback_may_cancel_its_call_and_start_another)
{
	struct owner owner = {.cancel_in_callback = true};
	struct http_origin *origin;

	start_plain_client();
	origin = origin_of(local_url("http", "127.0.0.1", plain_port));
	owner.call_again = origin;
	start(&owner, origin, &get_hello);
	run_until(&owner.told);
	ck_assert_uint_eq(owner.n_told, 2);
	ck_assert_str_eq(owner.body, "hello");
	ck_assert_ptr_null(owner.call);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

#define MANY 100

START_TEST(a_hundred_calls_at_once_are_all_answered)
{
	static struct owner owners[MANY];
	struct http_origin *origin;

	start_plain_client();
	origin = origin_of(local_url("http", "127.0.0.1", plain_port));
	for (int i = 0; i < MANY; i++)
		start(&owners[i], origin, &get_hello);
	for (int i = 0; i < MANY; i++) {
		run_until(&owners[i].told);
		ck_assert_str_eq(owners[i].body, "hello");
	}
	http_origin_free(&origin);
	stop_client();
}
END_TEST

/* ---- the suite ---------------------------------------------------------- */

static TCase *answers(void)
{
	TCase *tc = tcase_create("answers");

	tcase_add_unchecked_fixture(tc, start_nginx, stop_nginx);
	tcase_add_test(tc, a_get_gives_status_header_and_body);
	tcase_add_test(tc, a_head_has_no_body);
	tcase_add_test(tc, a_status_of_refusal_is_no_error);
	tcase_add_test(tc, a_redirect_is_not_followed);
	tcase_add_test(tc, what_was_put_can_be_got_and_deleted);
	tcase_add_test(tc, https_is_verified);
	tcase_add_test(tc, the_body_of_a_success_goes_to_the_callers_room);
	tcase_add_test(tc, what_does_not_fit_into_the_room_is_a_failure);
	tcase_add_test(tc, the_cap_of_an_answer_is_the_callers);
	tcase_add_test(tc, a_callback_may_cancel_a_call_whose_result_is_there);
	tcase_add_test(tc, a_callback_may_cancel_its_call_and_start_another);
	tcase_add_test(tc, a_hundred_calls_at_once_are_all_answered);
	return tc;
}

static TCase *requests(void)
{
	TCase *tc = tcase_create("requests");

	tcase_add_test(tc,
		       a_request_has_what_was_asked_for_and_nothing_made_up);
	tcase_add_test(tc, a_borrowed_body_is_sent_as_it_is);
	tcase_add_test(tc, an_empty_post_says_so);
	tcase_add_test(tc, a_large_body_is_sent_without_asking);
	tcase_add_test(tc, a_header_with_a_line_break_is_not_sent);
	tcase_add_test(tc, what_is_in_the_environment_is_not_used);
	tcase_add_test(tc, calls_one_after_the_other_use_one_connection);
	tcase_add_test(tc, a_request_that_had_to_be_sent_twice_is_known_to_be);
	return tc;
}

static TCase *failures(void)
{
	TCase *tc = tcase_create("failures");

	tcase_add_test(tc, a_refused_connection_is_no_answer);
	tcase_add_test(tc, a_broken_answer_is_no_answer);
	tcase_add_test(tc, silence_ends_in_the_timeout);
	tcase_add_test(tc,
		       a_transfer_that_stands_still_ends_before_its_deadline);
	tcase_add_test(tc, a_dead_resolver_blocks_no_call);
	tcase_add_test(tc, an_endless_body_is_cut_at_64_kib);
	tcase_add_test(tc, an_endless_head_is_cut_off);
	tcase_add_test(tc, a_success_before_the_whole_request_is_a_failure);
	tcase_add_test(tc, a_cancelled_call_tells_nobody);
	return tc;
}

int main(void)
{
	Suite *suite = suite_create("http_call");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, answers());
	suite_add_tcase(suite, requests());
	suite_add_tcase(suite, failures());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
