/* Connections: who gets one when there are too few, or none. */
#include "tests/unit/reader/store_fixture.h"

#include "reader/pg_pool.h"

#define N_TAKERS 8

static struct pg_pool *pool;
static struct pg_taker takers[N_TAKERS];
static struct pg_link *links[N_TAKERS];
static bool was_called[N_TAKERS], has_failed[N_TAKERS];
static int order[N_TAKERS], n_called;
static struct err why;
static int takes_again = -1;	/* who, when it fails, takes another one */

static void start(uint64_t n_connections)
{
	make_loop();
	use_database();
	settings.db_connections = n_connections;
	pool = pg_pool_new(loop, &settings, workers);
	ck_assert_ptr_nonnull(pool);
	memset(takers, 0, sizeof(takers));
	memset(links, 0, sizeof(links));
	memset(was_called, 0, sizeof(was_called));
	memset(has_failed, 0, sizeof(has_failed));
	n_called = 0;
	why = ERR_INIT;
}

static void take(int i);

static void on_taken(void *arg, struct pg_link *link, const struct err *err)
{
	int i = (int)((struct pg_taker *)arg - takers);

	ck_assert(!was_called[i]);
	ck_assert_int_eq(link == NULL, err != NULL);
	was_called[i] = true;
	has_failed[i] = err != NULL;
	links[i] = link;
	order[n_called++ % N_TAKERS] = i;
	if (err)
		why = *err;
	if (err && takes_again == i) {
		takes_again = -1;
		take(N_TAKERS - 1);
	}
}

static void take(int i)
{
	was_called[i] = has_failed[i] = false;
	pg_pool_take(pool, &takers[i], on_taken, &takers[i]);
}

static void give(int i)
{
	pg_pool_give(pool, &links[i]);
	ck_assert_ptr_null(links[i]);
}

static void wait_for(int i)
{
	while (!was_called[i])
		loop_run_once(loop);
}

static void stop(void)
{
	for (int i = 0; i < N_TAKERS; i++) {
		pg_pool_cancel(&takers[i]);
		if (links[i])
			give(i);
	}
	pg_pool_free(&pool);
	ck_assert_ptr_null(pool);
	drop_loop();
}

static void on_asked(void *arg, PGresult *result, const struct err *err)
{
	(void)arg;
	ended = true;
	last = err ? *err : ERR_INIT;
	PQclear(result);
}

/* One statement on a link that was taken. */
static enum err_code run(int i, const char *sql)
{
	ended = false;
	pg_link_run_sql(links[i], sql, 0, on_asked, NULL);
	return wait_end();
}

START_TEST(a_link_is_given_to_those_who_wait_in_order)
{
	start(1);
	for (int i = 0; i < 4; i++)
		take(i);
	for (int i = 0; i < 4; i++) {
		wait_for(i);
		ck_assert_int_eq(n_called, i + 1);
		ck_assert_int_eq(pg_pool_is_wanted(pool), i < 3);
		ck_assert_int_eq(run(i, "SELECT 1"), ERR_NONE);
		give(i);
		ck_assert_int_eq(order[i], i);
	}
	stop();
}
END_TEST

START_TEST(who_cancels_is_passed_over)
{
	start(1);
	for (int i = 0; i < 4; i++)
		take(i);
	wait_for(0);
	pg_pool_cancel(&takers[3]);
	pg_pool_cancel(&takers[1]);
	pg_pool_cancel(&takers[1]);
	take(4);
	give(0);
	ck_assert(was_called[2] && !was_called[1]);
	give(2);
	ck_assert(was_called[4] && !was_called[3]);
	stop();
}
END_TEST

static void take_long(int i)
{
	takers[i].is_long = true;
	take(i);
}

START_TEST(who_takes_long_leaves_links_to_others)
{
	start(8);
	for (int i = 0; i < 4; i++)
		take_long(i);
	wait_for(0);
	wait_for(1);
	ck_assert(!pg_pool_is_wanted(pool));
	for (int i = 4; i < N_TAKERS; i++) {
		take(i);
		wait_for(i);
	}
	ck_assert(!was_called[2] && !was_called[3]);
	give(4);	/* not theirs */
	ck_assert(!was_called[2]);
	give(1);
	ck_assert(was_called[2] && !was_called[3]);
	pg_pool_cancel(&takers[3]);
	give(0);
	take_long(0);
	ck_assert(was_called[0]);
	stop();
}
END_TEST

START_TEST(who_takes_long_gets_the_only_link_in_his_turn)
{
	start(1);
	for (int i = 0; i < 3; i++)
		take_long(i);
	wait_for(0);
	take(3);
	give(0);
	wait_for(1);
	ck_assert(!was_called[3]);
	give(1);
	wait_for(2);
	give(2);
	wait_for(3);
	stop();
}
END_TEST

START_TEST(links_are_not_more_than_allowed_and_used_again)
{
	start(3);
	for (int i = 0; i < 5; i++)
		take(i);
	for (int i = 0; i < 3; i++)
		wait_for(i);
	ck_assert(links[0] != links[1] && links[1] != links[2]);
	ck_assert(!was_called[3] && !was_called[4]);
	give(1);
	ck_assert(was_called[3]);
	ck_assert(!was_called[4]);
	stop();
}
END_TEST

START_TEST(one_that_is_in_the_middle_of_something_is_not_used_again)
{
	struct pg_link *link;

	start(1);
	take(0);
	wait_for(0);
	pg_link_run_sql(links[0], "SELECT pg_sleep(60)", 0, on_asked, NULL);
	link = links[0];
	give(0);
	ck_assert(!pg_link_is_usable(link));
	take(1);
	wait_for(1);
	ck_assert_int_eq(run(1, "SELECT 1"), ERR_NONE);
	stop();
}
END_TEST

START_TEST(nobody_listens_and_all_who_wait_are_told)
{
	start(4);
	snprintf(settings.db_port, sizeof(settings.db_port), "1");
	for (int i = 0; i < 3; i++)
		take(i);
	for (int i = 0; i < 3; i++) {
		wait_for(i);
		ck_assert(has_failed[i]);
	}
	ck_assert_int_eq(err_http_status(&why), 503);
	take(3);	/* in the back-off: at once */
	ck_assert(has_failed[3]);
	ck_assert_int_eq(err_http_status(&why), 503);
	stop();
}
END_TEST

START_TEST(who_takes_another_one_when_told_is_told_again)
{
	start(4);
	snprintf(settings.db_port, sizeof(settings.db_port), "1");
	takes_again = 0;
	for (int i = 0; i < 3; i++)
		take(i);
	wait_for(N_TAKERS - 1);
	for (int i = 0; i < 3; i++)
		ck_assert(was_called[i] && has_failed[i]);
	ck_assert_int_eq(n_called, 4);
	stop();
}
END_TEST

START_TEST(after_the_back_off_it_is_tried_again)
{
	start(4);
	snprintf(settings.db_port, sizeof(settings.db_port), "1");
	take(0);
	wait_for(0);
	ck_assert(has_failed[0]);
	use_database();
	do {
		nap();
		take(0);
		if (!was_called[0])
			wait_for(0);
	} while (has_failed[0]);
	ck_assert_int_eq(run(0, "SELECT 1"), ERR_NONE);
	stop();
}
END_TEST

/* A database that takes one connection; the settings use it. */
static void use_narrow_database(void)
{
	query_database("DROP DATABASE IF EXISTS pool_test WITH (FORCE)");
	query_database("CREATE DATABASE pool_test CONNECTION LIMIT 1");
	snprintf(settings.db_name, sizeof(settings.db_name), "pool_test");
}

/* Long enough for connects that are refused. */
static void ask_often(int i)
{
	for (int n = 0; n < 20; n++)
		ck_assert_int_eq(run(i, "SELECT pg_sleep(0.005)"), ERR_NONE);
}

START_TEST(a_server_that_allows_fewer_is_shared)
{
	start(4);
	use_narrow_database();
	take(0);
	wait_for(0);
	ck_assert(!has_failed[0]);
	for (int i = 1; i < 4; i++)
		take(i);
	/* Those who cannot connect wait for the one who could. */
	for (int i = 0; i < 3; i++) {
		ask_often(i);
		ck_assert(!was_called[i + 1]);
		give(i);
		ck_assert(was_called[i + 1] && !has_failed[i + 1]);
	}
	stop();
}
END_TEST

START_TEST(who_waits_for_a_link_that_breaks_does_not_wait_for_ever)
{
	start(4);
	use_narrow_database();
	take(0);
	wait_for(0);
	take(1);
	ask_often(0);
	ck_assert(!was_called[1]);
	ck_assert_int_ne(run(0, "SELECT pg_terminate_backend(pg_backend_pid())"),
			 ERR_NONE);
	give(0);
	wait_for(1);
	stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pg pool");
	TCase *tc = tcase_create("pool");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, a_link_is_given_to_those_who_wait_in_order);
	tcase_add_test(tc, who_cancels_is_passed_over);
	tcase_add_test(tc, links_are_not_more_than_allowed_and_used_again);
	tcase_add_test(tc, who_takes_long_leaves_links_to_others);
	tcase_add_test(tc, who_takes_long_gets_the_only_link_in_his_turn);
	tcase_add_test(tc, one_that_is_in_the_middle_of_something_is_not_used_again);
	tcase_add_test(tc, nobody_listens_and_all_who_wait_are_told);
	tcase_add_test(tc, who_takes_another_one_when_told_is_told_again);
	tcase_add_test(tc, after_the_back_off_it_is_tried_again);
	tcase_add_test(tc, a_server_that_allows_fewer_is_shared);
	tcase_add_test(tc, who_waits_for_a_link_that_breaks_does_not_wait_for_ever);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
