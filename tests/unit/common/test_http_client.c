#include "http_client_fixture.h"

#include <dlfcn.h>
#include <malloc.h>
#include <netdb.h>

/* ---- an owner of a link ------------------------------------------------------- */

struct owner {
	struct http_link *link;
	bool opened;		/* on_open has come, well or ill */
	bool is_ready;		/* on_ready has come since it was set false */
	unsigned int ready;
	struct err err;
	bool close_on_open;
	bool close_on_ready;
};

static void on_open(void *arg, const struct err *err)
{
	struct owner *owner = arg;

	owner->opened = true;
	if (err)
		owner->err = *err;
	if (owner->close_on_open)
		link_close(&owner->link);
}

static void on_ready(void *arg, unsigned int ready)
{
	struct owner *owner = arg;

	ck_assert(owner->opened);
	owner->is_ready = true;
	owner->ready |= ready;
	if (owner->close_on_ready)
		link_close(&owner->link);
}

static const struct http_link_ops ops = { on_open, on_ready };

static void dial(struct owner *owner, struct http_origin *origin,
		 uint64_t timeout_ms)
{
	owner->link = link_open(origin, timeout_ms, &ops, owner);
	ck_assert_ptr_nonnull(owner->link);
	ck_assert(!owner->opened);
}

/* Open and wait for it; the test fails when it does. */
static void get_link(struct owner *owner, struct http_origin *origin)
{
	*owner = (struct owner){ .link = NULL };
	dial(owner, origin, 3000);
	run_until(&owner->opened);
	ck_assert_msg(!err_is_set(&owner->err), "%s", owner->err.text);
}

/* Open and wait for it to fail. */
static void get_failure(struct owner *owner, struct http_origin *origin,
			uint64_t timeout_ms)
{
	*owner = (struct owner){ .link = NULL };
	dial(owner, origin, timeout_ms);
	run_until(&owner->opened);
	ck_assert_int_eq(owner->err.code, ERR_TARGET);
}

static void send_all(struct owner *owner, const char *bytes, size_t len)
{
	struct err err = ERR_INIT;

	while (len > 0) {
		ssize_t n;

		owner->is_ready = false;
		n = link_send(owner->link, span_make(bytes, len), &err);
		ck_assert_msg(n >= 0, "%s", err.text);
		if (n == 0)
			run_until(&owner->is_ready);
		bytes += n;
		len -= (size_t)n;
	}
}

static void say(struct owner *owner, const char *text)
{
	send_all(owner, text, strlen(text));
}

/* What link_recv says once it does not block: bytes, -1 or LINK_EOF. */
static ssize_t receive(struct owner *owner, char *buf, size_t room,
		       struct err *err)
{
	ssize_t n;

	for (;;) {
		owner->is_ready = false;
		n = link_recv(owner->link, buf, room, err);
		if (n != 0)
			return n;
		run_until(&owner->is_ready);
	}
}

static void expect(struct owner *owner, const char *text)
{
	size_t len = 0, want = strlen(text);
	char buf[8192] = "";

	while (len < want) {
		struct err err = ERR_INIT;
		ssize_t n = receive(owner, buf + len, want - len, &err);

		ck_assert_msg(n > 0, "%s after \"%s\"", err.text, buf);
		len += (size_t)n;
	}
	ck_assert_str_eq(buf, text);
}

/* ---- what peers do ---------------------------------------------------------------- */

static void echo(int fd, unsigned int nth)
{
	char buf[4096];
	ssize_t n;

	(void)nth;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (write(fd, buf, (size_t)n) != n)
			return;
}

/* Answer each line with the number of the connection. */
static void tell_number(int fd, unsigned int nth)
{
	char line[64], number[16];

	snprintf(number, sizeof(number), "%u\n", nth);
	while (peer_read_to(fd, "\n", line, sizeof(line)))
		peer_say(fd, number);
}

/* Answer the first line, then close, and report that it is done. */
static void answer_once(int fd, unsigned int nth)
{
	char line[64];

	(void)nth;
	if (!peer_read_to(fd, "\n", line, sizeof(line)))
		return;
	peer_say(fd, "once\n");
	shutdown(fd, SHUT_RDWR);
	peer_note();
}

static void say_bye(int fd, unsigned int nth)
{
	(void)nth;
	peer_say(fd, "bye");
}

static void reset(int fd, unsigned int nth)
{
	struct linger hard = { 1, 0 };
	char byte;

	(void)nth;
	(void)!read(fd, &byte, 1);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

static void drain(int fd, unsigned int nth)
{
	(void)nth;
	peer_drain(fd);
}

/* A proxy that tunnels to itself: it echoes what comes after CONNECT. */
static void tunnel(int fd, unsigned int nth)
{
	char head[1024];

	if (!peer_read_to(fd, "\r\n\r\n", head, sizeof(head)))
		return;
	if (strncmp(head, "CONNECT store.test:80 ", 22) != 0)
		return;
	peer_say(fd, "HTTP/1.1 200 OK\r\n\r\n");
	echo(fd, nth);
}

/* ---- a resolver that never answers for one name ------------------------------------- */

static int (*libc_getaddrinfo)(const char *, const char *,
			       const struct addrinfo *, struct addrinfo **);

/* Takes the C library's place for libcurl's resolver thread too. */
int getaddrinfo(const char *node, const char *service,
		const struct addrinfo *hints, struct addrinfo **result)
{
	if (node && strcmp(node, "blackhole.test") == 0)
		for (;;)
			pause();
	return libc_getaddrinfo(node, service, hints, result);
}

static void find_resolver(void)
{
	void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");

	memcpy(&libc_getaddrinfo, &symbol, sizeof(symbol));
}

/* ---- origins ----------------------------------------------------------------------- */

START_TEST(an_origin_knows_what_to_put_into_host)
{
	static const char *const cases[][2] = {
		{ "http://example.test", "example.test" },
		{ "http://example.test:80/a/path", "example.test" },
		{ "HTTP://example.test:7001", "example.test:7001" },
		{ "https://example.test:443", "example.test" },
		{ "https://example.test:80", "example.test:80" },
		{ "http://[::1]:8080", "[::1]:8080" },
	};

	start_plain_client();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_origin *origin = origin_of(cases[i][0]);

		ck_assert_str_eq(http_origin_host(origin), cases[i][1]);
		http_origin_free(&origin);
		ck_assert_ptr_null(origin);
	}
	stop_client();
}
END_TEST

START_TEST(what_is_no_http_server_is_refused)
{
	static const char *const urls[] = {
		"", "localhost:7001", "localhost", "http://", "http://:80",
		"ftp://example.test", "file:///etc/passwd",
		"gopher://example.test", "http://user@example.test",
		"http://example.test:99999", "http://exa mple.test",
	};

	start_plain_client();
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct err err = ERR_INIT;

		ck_assert_msg(!http_origin_new(client, urls[i], &err), "%s",
			      urls[i]);
		ck_assert_int_eq(err.code, ERR_CONFIG);
	}
	stop_client();
}
END_TEST

START_TEST(a_proxy_reached_by_tls_is_refused)
{
	struct http_client_settings settings = { .proxy = "https://p:1" };
	struct err err = ERR_INIT;

	loop = loop_new(&err);
	ck_assert_ptr_null(http_client_new(loop, &settings, &err));
	ck_assert_int_eq(err.code, ERR_CONFIG);
	loop_free(&loop);
}
END_TEST

/* ---- connecting ---------------------------------------------------------------------- */

START_TEST(a_link_carries_bytes_both_ways)
{
	struct peer peer = peer_start(echo);
	struct http_origin *origin;
	struct owner owner;

	start_plain_client();
	origin = origin_of(peer.url);
	get_link(&owner, origin);
	ck_assert(!link_is_reused(owner.link));
	say(&owner, "hello");
	expect(&owner, "hello");
	link_close(&owner.link);
	ck_assert_ptr_null(owner.link);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

START_TEST(a_refused_connection_fails_with_the_reason)
{
	struct http_origin *origin;
	struct owner owner;
	int n;

	start_plain_client();
	n = count_sockets(NULL);
	origin = origin_of(local_url("http", "127.0.0.1", free_port()));
	get_failure(&owner, origin, 3000);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "Connection refused"));
	ck_assert_int_eq(count_sockets(NULL), n);
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

START_TEST(a_failed_link_neither_sends_nor_receives)
{
	struct err err = ERR_INIT, again = ERR_INIT;
	struct http_origin *origin;
	struct owner owner;
	char byte;

	start_plain_client();
	origin = origin_of(local_url("http", "127.0.0.1", free_port()));
	get_failure(&owner, origin, 3000);
	ck_assert_int_eq(link_send(owner.link, SPAN_LIT("x"), &err), -1);
	ck_assert_str_eq(err.text, owner.err.text);
	ck_assert_int_eq(link_recv(owner.link, &byte, 1, &again), -1);
	link_release(&owner.link);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

/* Fill a backlog, so that the kernel drops further SYNs. */
static int fill_backlog(unsigned int *port, int fillers[3])
{
	int listener = listen_anywhere(0, port);

	for (int i = 0; i < 3; i++) {
		struct sockaddr_in address = { .sin_family = AF_INET };

		address.sin_port = htons((uint16_t)*port);
		address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(fillers[i], (struct sockaddr *)&address,
			      sizeof(address));
	}
	return listener;
}

START_TEST(a_full_backlog_ends_in_the_timeout)
{
	uint64_t before = clock_monotonic_ms(), took;
	struct http_origin *origin;
	struct owner owner;
	unsigned int port;
	int fillers[3], listener = fill_backlog(&port, fillers);

	start_plain_client();
	origin = origin_of(local_url("http", "127.0.0.1", port));
	get_failure(&owner, origin, 150);
	took = clock_monotonic_ms() - before;
	ck_assert(took >= 140 && took < 1000);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "within 150 ms"));
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
	for (int i = 0; i < 3; i++)
		close(fillers[i]);
	close(listener);
}
END_TEST

static void note_tick(void *arg)
{
	uint64_t *last = arg;

	*last = clock_monotonic_ms();
}

START_TEST(a_dead_resolver_blocks_nothing)
{
	uint64_t start = clock_monotonic_ms(), tick = 0;
	struct timer timer = { .ready = false };
	struct http_origin *origin;
	struct owner owner;

	find_resolver();
	start_plain_client();
	timer_init(&timer, loop, note_tick, &tick);
	timer_start(&timer, 50);
	origin = origin_of("http://blackhole.test:7001");
	get_failure(&owner, origin, 150);
	ck_assert(tick != 0 && tick - start < 140);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "within 150 ms"));
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
	ck_assert_uint_lt(clock_monotonic_ms() - start, 1000);
}
END_TEST

START_TEST(a_name_that_does_not_exist_fails)
{
	struct http_origin *origin;
	struct owner owner;

	find_resolver();
	start_plain_client();
	origin = origin_of("http://no.such.host.invalid:7001");
	get_failure(&owner, origin, 3000);
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

START_TEST(a_link_closed_while_connecting_calls_nobody)
{
	struct owner early = { .link = NULL }, late = { .link = NULL };
	struct peer peer = peer_start(echo);
	struct http_origin *origin;
	int n;

	start_plain_client();
	n = count_sockets(NULL);
	origin = origin_of(peer.url);
	dial(&early, origin, 3000);
	link_close(&early.link);
	dial(&late, origin, 3000);
	loop_run_once(loop);
	link_close(&late.link);
	run_for(20);
	ck_assert(!early.opened && !late.opened);
	ck_assert_int_eq(count_sockets(NULL), n);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

START_TEST(a_link_may_be_closed_in_its_callbacks)
{
	struct owner first = { .close_on_open = true };
	struct owner second = { .close_on_ready = true };
	struct owner failing = { .close_on_open = true };
	struct peer peer = peer_start(echo);
	struct http_origin *origin, *nobody;

	start_plain_client();
	origin = origin_of(peer.url);
	nobody = origin_of(local_url("http", "127.0.0.1", free_port()));
	dial(&first, origin, 3000);
	dial(&second, origin, 3000);
	dial(&failing, nobody, 3000);
	run_until(&first.opened);
	run_until(&second.is_ready);
	run_until(&failing.opened);
	ck_assert(!first.link && !second.link && !failing.link);
	ck_assert(!first.is_ready);
	http_origin_free(&origin);
	http_origin_free(&nobody);
	stop_client();
	peer_stop(&peer);
}
END_TEST

START_TEST(proxies_and_netrc_of_the_environment_are_ignored)
{
	struct peer peer = peer_start(echo);
	struct http_origin *origin;
	struct owner owner;

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("all_proxy", "http://127.0.0.1:1", 1);
	start_plain_client();
	origin = origin_of(peer.url);
	get_link(&owner, origin);
	say(&owner, "direct");
	expect(&owner, "direct");
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

START_TEST(a_link_through_a_proxy_is_a_tunnel)
{
	struct peer peer = peer_start(tunnel);
	struct http_client_settings settings = { .proxy = peer.url };
	struct http_origin *origin;
	struct owner owner;

	setenv("no_proxy", "*", 1);
	start_client(&settings);
	origin = origin_of("http://store.test");
	get_link(&owner, origin);
	say(&owner, "PUT / HTTP/1.1\r\n");
	expect(&owner, "PUT / HTTP/1.1\r\n");
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

/* ---- bytes ---------------------------------------------------------------------------- */

START_TEST(the_last_bytes_of_a_peer_come_before_its_end)
{
	struct peer peer = peer_start(say_bye);
	struct err err = ERR_INIT;
	struct http_origin *origin;
	struct owner owner;
	char byte;

	start_plain_client();
	origin = origin_of(peer.url);
	get_link(&owner, origin);
	expect(&owner, "bye");
	ck_assert_int_eq(receive(&owner, &byte, 1, &err), LINK_EOF);
	ck_assert(!err_is_set(&err));
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

START_TEST(a_reset_is_an_error_of_the_target)
{
	struct peer peer = peer_start(reset);
	struct err err = ERR_INIT, later = ERR_INIT;
	struct http_origin *origin;
	struct owner owner;
	char byte;

	start_plain_client();
	origin = origin_of(peer.url);
	get_link(&owner, origin);
	say(&owner, "x");
	ck_assert_int_eq(receive(&owner, &byte, 1, &err), -1);
	ck_assert_int_eq(err.code, ERR_TARGET);
	ck_assert_ptr_nonnull(strstr(err.text, "reset"));
	ck_assert_int_eq(link_send(owner.link, SPAN_LIT("x"), &later), -1);
	ck_assert_int_eq(later.code, ERR_TARGET);
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

/* Send until it would block; how much that took. */
static size_t fill(struct owner *owner)
{
	static const char block[65536];
	struct err err = ERR_INIT;
	size_t sent = 0;
	ssize_t n;

	while ((n = link_send(owner->link, span_make(block, sizeof(block)),
			      &err)) > 0)
		sent += (size_t)n;
	ck_assert_int_eq(n, 0);
	return sent;
}

START_TEST(a_stopped_peer_blocks_and_room_is_told)
{
	struct peer peer = peer_start(drain);
	struct http_origin *origin;
	struct owner owner;

	start_plain_client();
	origin = origin_of(peer.url);
	get_link(&owner, origin);
	kill(peer.pid, SIGSTOP);
	ck_assert_uint_gt(fill(&owner), 0);
	run_for(20);
	fill(&owner);
	owner.is_ready = false;
	owner.ready = 0;
	kill(peer.pid, SIGCONT);
	run_until(&owner.is_ready);
	ck_assert(owner.ready & LOOP_WRITABLE);
	ck_assert_uint_gt(fill(&owner), 0);
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

#define SEND_BUFFER 40000

static int has_send_buffer(int fd)
{
	socklen_t size = sizeof(int);
	int bytes = 0;

	getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size);
	return bytes == 2 * SEND_BUFFER; /* the kernel doubles it: socket(7) */
}

static int is_closed_on_exec(int fd)
{
	return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

START_TEST(descriptors_have_their_buffer_and_are_closed_on_exec)
{
	struct http_client_settings settings = { .send_buffer = SEND_BUFFER };
	struct peer peer = peer_start(echo);
	struct http_origin *origin;
	struct owner owner;
	int n;

	start_client(&settings);
	n = count_sockets(is_closed_on_exec);
	origin = origin_of(peer.url);
	get_link(&owner, origin);
	ck_assert_int_eq(count_sockets(has_send_buffer), 1);
	ck_assert_int_eq(count_sockets(is_closed_on_exec), n + 1);
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

/* ---- the pool --------------------------------------------------------------------------- */

START_TEST(the_link_released_last_is_used_first)
{
	struct peer peer = peer_start(tell_number);
	struct owner first, second;
	struct http_origin *origin;

	start_plain_client();
	origin = origin_of(peer.url);
	get_link(&first, origin);
	get_link(&second, origin);
	link_release(&first.link);
	ck_assert_ptr_null(first.link);
	link_release(&second.link);
	get_link(&first, origin);
	get_link(&second, origin);
	ck_assert(link_is_reused(first.link) && link_is_reused(second.link));
	say(&first, "?\n");
	expect(&first, "2\n");
	say(&second, "?\n");
	expect(&second, "1\n");
	link_release(&first.link);
	link_close(&second.link);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

START_TEST(a_pooled_link_opens_later_too)
{
	struct peer peer = peer_start(tell_number);
	struct owner owner;
	struct http_origin *origin;

	start_plain_client();
	origin = origin_of(peer.url);
	get_link(&owner, origin);
	link_release(&owner.link);
	owner.opened = false;
	dial(&owner, origin, 3000); /* asserts that on_open has not come */
	link_close(&owner.link);
	run_for(5);
	ck_assert(!owner.opened);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

START_TEST(a_pooled_link_that_is_dead_is_not_handed_out)
{
	struct peer peer = peer_start(echo);
	struct owner owner;
	struct http_origin *origin;

	start_plain_client();
	origin = origin_of(peer.url);
	get_link(&owner, origin);
	link_release(&owner.link);
	peer_stop(&peer);
	get_failure(&owner, origin, 3000);
	ck_assert(!link_is_reused(owner.link));
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

START_TEST(a_link_that_dies_in_the_pool_is_closed_at_once)
{
	struct peer peer = peer_start(echo);
	struct http_origin *origin;
	struct owner owner;
	int n;

	start_plain_client();
	n = count_sockets(NULL);
	origin = origin_of(peer.url);
	get_link(&owner, origin);
	link_release(&owner.link);
	ck_assert_int_eq(count_sockets(NULL), n + 1);
	peer_stop(&peer);
	while (count_sockets(NULL) > n)
		loop_run_once(loop);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

START_TEST(a_link_whose_peer_has_hung_up_is_not_pooled)
{
	struct peer peer = peer_start(answer_once);
	struct http_origin *origin;
	struct owner owner;
	int n;

	start_plain_client();
	n = count_sockets(NULL);
	origin = origin_of(peer.url);
	get_link(&owner, origin);
	say(&owner, "?\n");
	expect(&owner, "once\n");
	peer_wait_note(&peer);
	link_release(&owner.link);
	ck_assert_int_eq(count_sockets(NULL), n);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

START_TEST(a_link_that_dies_between_pool_and_owner_is_told)
{
	struct peer peer = peer_start(tell_number);
	struct err err = ERR_INIT;
	struct http_origin *origin;
	struct owner owner;
	char byte;

	start_plain_client();
	origin = origin_of(peer.url);
	get_link(&owner, origin);
	link_release(&owner.link);
	owner = (struct owner){ .link = NULL };
	dial(&owner, origin, 3000);
	peer_stop(&peer); /* after it was found alive, before on_open */
	run_until(&owner.is_ready);
	ck_assert(owner.ready & LOOP_READABLE);
	ck_assert_int_ne(link_recv(owner.link, &byte, 1, &err), 0);
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

START_TEST(a_full_pool_closes_what_comes_back)
{
	struct http_client_settings settings = { .max_idle = 2,
						 .idle_ms = 60000 };
	struct peer peer = peer_start(echo);
	struct owner owners[4];
	struct http_origin *origin;
	int n;

	start_client(&settings);
	n = count_sockets(NULL);
	origin = origin_of(peer.url);
	for (int i = 0; i < 4; i++)
		get_link(&owners[i], origin);
	ck_assert_int_eq(count_sockets(NULL), n + 4);
	for (int i = 0; i < 4; i++)
		link_release(&owners[i].link);
	ck_assert_int_eq(count_sockets(NULL), n + 2);
	http_origin_free(&origin);
	ck_assert_int_eq(count_sockets(NULL), n);
	stop_client();
	peer_stop(&peer);
}
END_TEST

START_TEST(idle_links_expire_each_in_its_time)
{
	struct http_client_settings settings = { .max_idle = 2,
						 .idle_ms = 100 };
	struct peer peer = peer_start(echo);
	struct owner first, second;
	struct http_origin *origin;
	int n;

	start_client(&settings);
	n = count_sockets(NULL);
	origin = origin_of(peer.url);
	get_link(&first, origin);
	get_link(&second, origin);
	link_release(&first.link);
	run_for(60);
	link_release(&second.link);
	run_for(60);
	ck_assert_int_eq(count_sockets(NULL), n + 1);
	run_for(60);
	ck_assert_int_eq(count_sockets(NULL), n);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

/* ---- many ------------------------------------------------------------------------------- */

#define MANY 300

static void open_many(struct owner *owners, struct http_origin *origin)
{
	memset(owners, 0, MANY * sizeof(*owners));
	for (int i = 0; i < MANY; i++)
		dial(&owners[i], origin, 5000);
	for (int i = 0; i < MANY; i++) {
		run_until(&owners[i].opened);
		ck_assert_msg(!err_is_set(&owners[i].err), "%s",
			      owners[i].err.text);
	}
}

static void close_many(struct owner *owners)
{
	for (int i = 0; i < MANY; i++)
		link_close(&owners[i].link);
}

/* Bytes of heap for each of many open links; 0 below a sanitizer's malloc. */
static size_t heap_per_link(struct owner *owners, struct http_origin *origin)
{
	size_t before, after;

	open_many(owners, origin); /* tables grow once */
	close_many(owners);
	run_for(1);
	before = mallinfo2().uordblks;
	open_many(owners, origin);
	run_for(1);
	after = mallinfo2().uordblks;
	return after > before ? (after - before) / MANY : 0;
}

START_TEST(three_hundred_links_are_open_at_once)
{
	static struct owner owners[MANY];
	struct peer peer = peer_start(echo);
	struct http_origin *origin;
	size_t bytes;

	start_plain_client();
	origin = origin_of(peer.url);
	bytes = heap_per_link(owners, origin);
	printf("heap of a plain link: %zu bytes\n", bytes);
	ck_assert_uint_le(bytes, 1536);
	for (int i = 0; i < MANY; i++)
		say(&owners[i], "alive");
	for (int i = 0; i < MANY; i++)
		expect(&owners[i], "alive");
	close_many(owners);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

/* ---- TLS ---------------------------------------------------------------------------------- */

static struct http_origin *start_tls(const char *ca, const char *host,
				     unsigned int port)
{
	struct http_client_settings settings = { .max_idle = 8,
						 .idle_ms = 60000 };

	settings.ca_file = scratch_path(ca);
	start_client(&settings);
	return origin_of(local_url("https", host, port));
}

/* Read an answer's head, up to the empty line. */
static void expect_head(struct owner *owner, char *head, size_t size)
{
	size_t len = 0;

	do {
		struct err err = ERR_INIT;

		ck_assert_uint_lt(len + 1, size);
		ck_assert_int_eq(receive(owner, head + len, 1, &err), 1);
		head[++len] = '\0';
	} while (len < 4 || strcmp(head + len - 4, "\r\n\r\n") != 0);
}

static void expect_hello(struct owner *owner)
{
	char head[1024];

	say(owner, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	expect_head(owner, head, sizeof(head));
	ck_assert_int_eq(strncmp(head, "HTTP/1.1 200 ", 13), 0);
	expect(owner, "hello");
}

START_TEST(a_tls_link_is_used_again_and_again)
{
	struct http_origin *origin = start_tls("ca.pem", "127.0.0.1", tls_port);
	struct owner owner;

	for (int i = 0; i < 3; i++) {
		get_link(&owner, origin);
		ck_assert_int_eq(link_is_reused(owner.link), i > 0);
		expect_hello(&owner);
		link_release(&owner.link);
	}
	http_origin_free(&origin);
	stop_client();
}
END_TEST

START_TEST(an_unknown_ca_is_refused)
{
	struct http_origin *origin =
		start_tls("other.pem", "127.0.0.1", tls_port);
	struct owner owner;

	get_failure(&owner, origin, 3000);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "certificate"));
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

START_TEST(a_certificate_for_another_host_is_refused)
{
	struct http_origin *origin;
	struct owner owner;

	find_resolver();
	origin = start_tls("ca.pem", "localhost", tls_port);
	get_failure(&owner, origin, 3000);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "localhost"));
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

START_TEST(a_stalled_handshake_ends_in_the_timeout)
{
	struct peer peer = peer_start(drain);
	struct http_origin *origin;
	struct owner owner;
	char url[80];

	snprintf(url, sizeof(url), "https%s", peer.url + strlen("http"));
	start_plain_client();
	origin = origin_of(url);
	get_failure(&owner, origin, 100);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "within 100 ms"));
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&peer);
}
END_TEST

#define BIG ((size_t)8 << 20)

/* Bytes that are unlike their neighbours, so that nothing can be swapped. */
static char *make_bytes(void)
{
	char *bytes = malloc(BIG);
	uint32_t x = 1;

	for (size_t i = 0; i < BIG; i++) {
		x = x * 1664525 + 1013904223;
		bytes[i] = (char)(x >> 24);
	}
	return bytes;
}

static void put_bytes(struct owner *owner, const char *bytes)
{
	char head[1024];

	snprintf(head, sizeof(head),
		 "PUT /put/big HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
		 BIG);
	say(owner, head);
	send_all(owner, bytes, BIG);
	expect_head(owner, head, sizeof(head));
	ck_assert_int_eq(strncmp(head, "HTTP/1.1 20", 11), 0);
}

static void get_bytes(struct owner *owner, char *bytes)
{
	char head[1024];
	size_t len = 0;

	say(owner, "GET /put/big HTTP/1.1\r\nHost: x\r\n\r\n");
	expect_head(owner, head, sizeof(head));
	while (len < BIG) {
		struct err err = ERR_INIT;
		ssize_t n = receive(owner, bytes + len, BIG - len, &err);

		ck_assert_msg(n > 0, "%s", err.text);
		len += (size_t)n;
	}
}

START_TEST(tls_carries_megabytes_both_ways)
{
	struct http_origin *origin = start_tls("ca.pem", "127.0.0.1", tls_port);
	char *sent = make_bytes(), *received = calloc(1, BIG);
	struct owner owner;

	get_link(&owner, origin);
	put_bytes(&owner, sent);
	link_close(&owner.link);
	get_link(&owner, origin);
	get_bytes(&owner, received);
	ck_assert_int_eq(memcmp(sent, received, BIG), 0);
	link_close(&owner.link);
	free(sent);
	free(received);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

START_TEST(a_tls_link_that_dies_in_the_pool_is_closed_at_once)
{
	struct http_origin *origin = start_tls("ca.pem", "127.0.0.1", tls_port);
	int n = count_sockets(NULL);
	struct owner owner;
	char head[1024];

	get_link(&owner, origin);
	say(&owner, "GET /bye HTTP/1.1\r\nHost: x\r\n\r\n");
	expect_head(&owner, head, sizeof(head));
	expect(&owner, "bye");
	link_release(&owner.link);
	while (count_sockets(NULL) > n)
		loop_run_once(loop);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

/*
 * libcurl looks over the connections it holds when it opens another one, once a
 * second at most; open links must come through that.
 */
START_TEST(three_hundred_tls_links_survive_libcurls_clearing_up)
{
	static struct owner owners[MANY];
	struct http_origin *origin = start_tls("ca.pem", "127.0.0.1", tls_port);
	struct owner another;
	size_t bytes = heap_per_link(owners, origin);

	printf("heap of a TLS link: %zu bytes\n", bytes);
	ck_assert_uint_le(bytes, 65536);
	run_for(1100);
	get_link(&another, origin);
	for (int i = 0; i < MANY; i++)
		expect_hello(&owners[i]);
	link_close(&another.link);
	close_many(owners);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

START_TEST(a_dead_tls_link_that_libcurl_closes_is_told)
{
	struct http_origin *hasty =
		start_tls("ca.pem", "127.0.0.1", hasty_port);
	struct http_origin *origin =
		origin_of(local_url("https", "127.0.0.1", tls_port));
	struct err err = ERR_INIT;
	struct owner dead, other;
	char byte;

	get_link(&dead, hasty);
	run_for(1100); /* nginx has hung up; nobody has asked */
	dead.is_ready = false;
	get_link(&other, origin);
	expect_hello(&other);
	ck_assert_int_lt(link_recv(dead.link, &byte, 1, &err), 0);
	link_close(&dead.link);
	expect_hello(&other); /* its descriptor may have the same number */
	link_close(&other.link);
	http_origin_free(&hasty);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

/* ---- the suite -------------------------------------------------------------------------------- */

static TCase *connecting(void)
{
	TCase *tc = tcase_create("connecting");

	tcase_add_test(tc, an_origin_knows_what_to_put_into_host);
	tcase_add_test(tc, what_is_no_http_server_is_refused);
	tcase_add_test(tc, a_proxy_reached_by_tls_is_refused);
	tcase_add_test(tc, a_link_carries_bytes_both_ways);
	tcase_add_test(tc, a_refused_connection_fails_with_the_reason);
	tcase_add_test(tc, a_failed_link_neither_sends_nor_receives);
	tcase_add_test(tc, a_full_backlog_ends_in_the_timeout);
	tcase_add_test(tc, a_dead_resolver_blocks_nothing);
	tcase_add_test(tc, a_name_that_does_not_exist_fails);
	tcase_add_test(tc, a_link_closed_while_connecting_calls_nobody);
	tcase_add_test(tc, a_link_may_be_closed_in_its_callbacks);
	tcase_add_test(tc, proxies_and_netrc_of_the_environment_are_ignored);
	tcase_add_test(tc, a_link_through_a_proxy_is_a_tunnel);
	return tc;
}

static TCase *bytes_and_pool(void)
{
	TCase *tc = tcase_create("bytes and pool");

	tcase_add_test(tc, the_last_bytes_of_a_peer_come_before_its_end);
	tcase_add_test(tc, a_reset_is_an_error_of_the_target);
	tcase_add_test(tc, a_stopped_peer_blocks_and_room_is_told);
	tcase_add_test(tc,
		       descriptors_have_their_buffer_and_are_closed_on_exec);
	tcase_add_test(tc, the_link_released_last_is_used_first);
	tcase_add_test(tc, a_pooled_link_opens_later_too);
	tcase_add_test(tc, a_pooled_link_that_is_dead_is_not_handed_out);
	tcase_add_test(tc, a_link_that_dies_in_the_pool_is_closed_at_once);
	tcase_add_test(tc, a_link_whose_peer_has_hung_up_is_not_pooled);
	tcase_add_test(tc, a_link_that_dies_between_pool_and_owner_is_told);
	tcase_add_test(tc, a_full_pool_closes_what_comes_back);
	tcase_add_test(tc, idle_links_expire_each_in_its_time);
	tcase_add_test(tc, three_hundred_links_are_open_at_once);
	return tc;
}

static TCase *tls(void)
{
	TCase *tc = tcase_create("TLS");

	tcase_set_timeout(tc, 15);
	tcase_add_unchecked_fixture(tc, start_nginx, stop_nginx);
	tcase_add_test(tc, a_tls_link_is_used_again_and_again);
	tcase_add_test(tc, an_unknown_ca_is_refused);
	tcase_add_test(tc, a_certificate_for_another_host_is_refused);
	tcase_add_test(tc, a_stalled_handshake_ends_in_the_timeout);
	tcase_add_test(tc, tls_carries_megabytes_both_ways);
	tcase_add_test(tc, a_tls_link_that_dies_in_the_pool_is_closed_at_once);
	tcase_add_test(tc,
		       three_hundred_tls_links_survive_libcurls_clearing_up);
	tcase_add_test(tc, a_dead_tls_link_that_libcurl_closes_is_told);
	return tc;
}

int main(void)
{
	Suite *suite = suite_create("http_client");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, connecting());
	suite_add_tcase(suite, bytes_and_pool());
	suite_add_tcase(suite, tls());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
