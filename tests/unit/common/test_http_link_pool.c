#include "http_link_fixture.h"

/* ---- what peers do ------------------------------------------------------ */

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

/* ---- the pool ----------------------------------------------------------- */

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
	owner = (struct owner){.link = NULL};
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
	struct http_client_settings settings = {.max_idle = 2,
						.idle_ms = 60000};
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
	struct http_client_settings settings = {.max_idle = 2, .idle_ms = 100};
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

/* ---- many --------------------------------------------------------------- */

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

/* ---- the suite ---------------------------------------------------------- */

static TCase *pool(void)
{
	TCase *tc = tcase_create("pool");

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

int main(void)
{
	Suite *suite = suite_create("http_link_pool");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, pool());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
