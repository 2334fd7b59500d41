#include "http_link_fixture.h"

#include <poll.h>

static struct http_origin *start_tls(const char *ca, const char *host,
				     unsigned int port)
{
	struct http_client_settings settings = {.max_idle = 8,
						.idle_ms = 60000};

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
		 "PUT /put/big HTTP/1.1\r\nHost: x\r\nContent-Length: "
		 "%zu\r\n\r\n",
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

static int connect_to(unsigned int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_port = htons((uint16_t)port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		_exit(1);
	return fd;
}

static bool relay(int from, int to)
{
	char buf[4096];
	ssize_t n = read(from, buf, sizeof(buf));

	return n > 0 && write(to, buf, (size_t)n) == n;
}

/* A wire to nginx that is cut after half a second of silence. */
static void relay_then_reset(int fd, unsigned int nth)
{
	struct linger hard = {1, 0};
	struct pollfd ends[] = {{.fd = fd, .events = POLLIN},
				{.fd = connect_to(tls_port), .events = POLLIN}};

	(void)nth;
	while (poll(ends, 2, 500) > 0)
		for (int i = 0; i < 2; i++)
			if (ends[i].revents &&
			    !relay(ends[i].fd, ends[1 - i].fd))
				_exit(1);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

/*
 * What libcurl finds dead when it clears up, it closes; here a link that was
 * never used and has been reset.
 */
START_TEST(a_dead_tls_link_that_libcurl_closes_is_told)
{
	struct http_origin *origin = start_tls("ca.pem", "127.0.0.1", tls_port);
	struct peer wire = peer_start(relay_then_reset);
	struct http_origin *cut;
	struct err err = ERR_INIT;
	struct owner dead, other;
	char url[80], byte;

	snprintf(url, sizeof(url), "https%s", wire.url + strlen("http"));
	cut = origin_of(url);
	get_link(&dead, cut);
	run_for(1100);
	dead.is_ready = false;
	get_link(&other, origin);
	run_until(&dead.is_ready);
	expect_hello(&other);
	ck_assert_int_eq(link_recv(dead.link, &byte, 1, &err), -1);
	ck_assert_int_eq(err.code, ERR_TARGET);
	link_close(&dead.link);
	expect_hello(&other); /* its descriptor may have the same number */
	link_close(&other.link);
	http_origin_free(&cut);
	http_origin_free(&origin);
	stop_client();
	peer_stop(&wire);
}
END_TEST

START_TEST(the_orderly_end_of_tls_is_an_end_of_file)
{
	struct http_origin *origin = start_tls("ca.pem", "127.0.0.1", tls_port);
	struct err err = ERR_INIT;
	struct owner owner;
	char head[1024];

	get_link(&owner, origin);
	say(&owner, "GET /bye HTTP/1.1\r\nHost: x\r\n\r\n");
	expect_head(&owner, head, sizeof(head));
	expect(&owner, "bye");
	ck_assert_int_eq(receive(&owner, head, 1, &err), LINK_EOF);
	link_close(&owner.link);
	http_origin_free(&origin);
	stop_client();
}
END_TEST

/* ---- the suite ---------------------------------------------------------- */

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
	tcase_add_test(tc, the_orderly_end_of_tls_is_an_end_of_file);
	return tc;
}

int main(void)
{
	Suite *suite = suite_create("http_link_tls");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, tls());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
