#include "http_link_fixture.h"

/* ---- what peers do ------------------------------------------------------ */

static void say_bye(int fd, unsigned int nth)
{
	(void)nth;
	peer_say(fd, "bye");
}

static void reset(int fd, unsigned int nth)
{
	struct linger hard = {1, 0};
	char byte;

	(void)nth;
	(void)!read(fd, &byte, 1);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
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

/* ---- a kernel that refuses to send -------------------------------------- */

static int refuse_send_with; /* errno of the next one; 0: none */

/* Takes the C library's place. */
ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
	if (refuse_send_with != 0) {
		errno = refuse_send_with;
		refuse_send_with = 0;
		return -1;
	}
	return sendto(fd, bytes, len, flags, NULL, 0);
}

/* ---- origins ------------------------------------------------------------ */

START_TEST(an_origin_knows_what_to_put_into_host)
{
	static const char *const cases[][2] = {
		{"http://example.test", "example.test"},
		{"http://example.test:80/a/path", "example.test"},
		{"HTTP://example.test:7001", "example.test:7001"},
		{"https://example.test:443", "example.test"},
		{"https://example.test:80", "example.test:80"},
		{"http://[::1]:8080", "[::1]:8080"},
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
		"",
		"localhost:7001",
		"localhost",
		"http://",
		"http://:80",
		"ftp://example.test",
		"file:///etc/passwd",
		"gopher://example.test",
		"http://user@example.test",
		"http://example.test:99999",
		"http://exa mple.test",
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
	struct http_client_settings settings = {.proxy = "https://p:1"};
	struct err err = ERR_INIT;

	loop = loop_new(&err);
	ck_assert_ptr_null(http_client_new(loop, &settings, &err));
	ck_assert_int_eq(err.code, ERR_CONFIG);
	loop_free(&loop);
}
END_TEST

/* ---- connecting --------------------------------------------------------- */

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
		struct sockaddr_in address = {.sin_family = AF_INET};

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
	ck_assert_uint_ge(took, 140);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "within 150 ms"));
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
	for (int i = 0; i < 3; i++)
		close(fillers[i]);
	close(listener);
}
END_TEST

/* 40 links to a peer that lets none connect; how many sockets there are. */
START_TEST(only_so_many_links_of_an_origin_connect_at_a_time)
{
	static struct owner owners[40];
	struct http_origin *origin;
	unsigned int port;
	int n, fillers[3], listener = fill_backlog(&port, fillers);

	start_plain_client();
	n = count_sockets(NULL);
	origin = origin_of(local_url("http", "127.0.0.1", port));
	for (int i = 0; i < 40; i++)
		dial(&owners[i], origin, 3000);
	run_for(20);
	ck_assert_int_eq(count_sockets(NULL), n + 32);
	link_close(&owners[39].link); /* waits */
	for (int i = 0; i < 10; i++)
		link_close(&owners[i].link); /* connect */
	run_for(20);
	ck_assert_int_eq(count_sockets(NULL), n + 40 - 11);
	for (int i = 10; i < 39; i++)
		link_close(&owners[i].link);
	http_origin_free(&origin);
	stop_client();
	for (int i = 0; i < 3; i++)
		close(fillers[i]);
	close(listener);
}
END_TEST

START_TEST(a_link_that_waits_for_its_turn_times_out)
{
	static struct owner owners[33];
	struct http_origin *origin;
	unsigned int port;
	int fillers[3], listener = fill_backlog(&port, fillers);

	start_plain_client();
	origin = origin_of(local_url("http", "127.0.0.1", port));
	for (int i = 0; i < 32; i++)
		dial(&owners[i], origin, 3000);
	get_failure(&owners[32], origin, 50);
	ck_assert_ptr_nonnull(strstr(owners[32].err.text, "within 50 ms"));
	for (int i = 0; i < 33; i++)
		link_close(&owners[i].link);
	http_origin_free(&origin);
	stop_client();
	for (int i = 0; i < 3; i++)
		close(fillers[i]);
	close(listener);
}
END_TEST

static void count_tick(void *arg)
{
	(*(int *)arg)++;
}

/* Its look-up never comes back: what waited for it would hang for ever. */
START_TEST(a_dead_resolver_blocks_nothing)
{
	int n_ticks = 0;
	struct timer timer = {.ready = false};
	struct http_origin *origin;
	struct owner owner;

	start_plain_client();
	timer_init(&timer, loop, count_tick, &n_ticks);
	timer_start(&timer, 50);
	origin = origin_of("http://blackhole.test:7001");
	get_failure(&owner, origin, 150);
	ck_assert_int_eq(n_ticks, 1);
	ck_assert_ptr_nonnull(strstr(owner.err.text, "within 150 ms"));
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

START_TEST(a_name_that_does_not_exist_fails)
{
	struct http_origin *origin;
	struct owner owner;

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
	struct owner early = {.link = NULL}, late = {.link = NULL};
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
	struct owner first = {.close_on_open = true};
	struct owner second = {.close_on_ready = true};
	struct owner failing = {.close_on_open = true};
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
	struct http_client_settings settings = {.proxy = peer.url};
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

/* ---- bytes -------------------------------------------------------------- */

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

START_TEST(a_kernel_short_of_memory_is_asked_again_soon)
{
	struct peer peer = peer_start(echo);
	struct err err = ERR_INIT;
	struct http_origin *origin;
	struct owner owner;

	start_plain_client();
	origin = origin_of(peer.url);
	get_link(&owner, origin);
	run_for(5); /* first facts of the descriptor */
	owner.is_ready = false;
	refuse_send_with = ENOBUFS;
	ck_assert_int_eq(link_send(owner.link, SPAN_LIT("abc"), &err), 0);
	run_until(&owner.is_ready);
	refuse_send_with = EINTR;
	ck_assert_int_eq(link_send(owner.link, SPAN_LIT("abc"), &err), 3);
	expect(&owner, "abc");
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
	struct http_client_settings settings = {.send_buffer = SEND_BUFFER};
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

/* ---- the suite ---------------------------------------------------------- */

static TCase *origins(void)
{
	TCase *tc = tcase_create("origins");

	tcase_add_test(tc, an_origin_knows_what_to_put_into_host);
	tcase_add_test(tc, what_is_no_http_server_is_refused);
	tcase_add_test(tc, a_proxy_reached_by_tls_is_refused);
	return tc;
}

static TCase *connecting(void)
{
	TCase *tc = tcase_create("connecting");

	tcase_add_test(tc, a_link_carries_bytes_both_ways);
	tcase_add_test(tc, a_refused_connection_fails_with_the_reason);
	tcase_add_test(tc, a_failed_link_neither_sends_nor_receives);
	tcase_add_test(tc, a_full_backlog_ends_in_the_timeout);
	tcase_add_test(tc, only_so_many_links_of_an_origin_connect_at_a_time);
	tcase_add_test(tc, a_link_that_waits_for_its_turn_times_out);
	tcase_add_test(tc, a_dead_resolver_blocks_nothing);
	tcase_add_test(tc, a_name_that_does_not_exist_fails);
	tcase_add_test(tc, a_link_closed_while_connecting_calls_nobody);
	tcase_add_test(tc, a_link_may_be_closed_in_its_callbacks);
	tcase_add_test(tc, proxies_and_netrc_of_the_environment_are_ignored);
	tcase_add_test(tc, a_link_through_a_proxy_is_a_tunnel);
	return tc;
}

static TCase *bytes(void)
{
	TCase *tc = tcase_create("bytes");

	tcase_add_test(tc, the_last_bytes_of_a_peer_come_before_its_end);
	tcase_add_test(tc, a_reset_is_an_error_of_the_target);
	tcase_add_test(tc, a_kernel_short_of_memory_is_asked_again_soon);
	tcase_add_test(tc, a_stopped_peer_blocks_and_room_is_told);
	tcase_add_test(tc,
		       descriptors_have_their_buffer_and_are_closed_on_exec);
	return tc;
}

int main(void)
{
	Suite *suite = suite_create("http_client");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, origins());
	suite_add_tcase(suite, connecting());
	suite_add_tcase(suite, bytes());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
