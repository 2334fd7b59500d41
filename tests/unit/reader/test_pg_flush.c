/* The log goes to disk beside a COPY, by connections that nobody needs. */
#include "tests/unit/reader/store_fixture.h"

#include "reader/pg_flush.h"

static struct pg_pool *pool;
static struct pg_flush *flush;
static struct pg_taker takers[4];
static struct pg_link *links[4];
static struct pg_link *link0;	/* as if COPY ran there */

static void on_taken(void *arg, struct pg_link *link, const struct err *err)
{
	struct pg_link **taken = arg;

	ck_assert_ptr_null(err);
	*taken = link;
}

static void take(struct pg_taker *taker, struct pg_link **link)
{
	*link = NULL;
	pg_pool_take(pool, taker, on_taken, link);
	while (!*link)
		loop_run_once(loop);
}

/* `n_links` are there, of `n_connections`; one is in use. */
static void start(size_t n_links, uint64_t n_connections)
{
	make_loop();
	use_database();
	settings.db_connections = n_connections;
	pool = pg_pool_new(loop, &settings, workers);
	ck_assert_ptr_nonnull(pool);
	flush = pg_flush_new(pool);
	ck_assert_ptr_nonnull(flush);
	for (size_t i = 0; i < n_links; i++)
		take(&takers[i], &links[i]);
	link0 = links[0];
	for (size_t i = 1; i < n_links; i++)
		pg_pool_give(pool, &links[i]);
}

static void stop(void)
{
	pg_flush_free(&flush);
	ck_assert_ptr_null(flush);
	if (link0)
		pg_pool_give(pool, &link0);
	pg_pool_free(&pool);
	drop_loop();
}

static char value[100];

static void on_asked(void *arg, PGresult *result, const struct err *err)
{
	(void)arg;
	ended = true;
	last = err ? *err : ERR_INIT;
	if (!err && PQntuples(result) > 0)
		snprintf(value, sizeof(value), "%.*s",
			 PQgetlength(result, 0, 0), PQgetvalue(result, 0, 0));
	PQclear(result);
}

/* The first value, where it is text. */
static const char *ask(const char *sql)
{
	ended = false;
	pg_link_run_sql(link0, sql, 0, on_asked, NULL);
	MUST(wait_end());
	return value;
}

/* Of three links one is in use: another one that is leaves none to spare. */
static bool is_flushing(void)
{
	return !pg_pool_can_spare(pool);
}

static void wait_for_flush(void)
{
	while (is_flushing())
		loop_run_once(loop);
}

START_TEST(it_begins_when_enough_was_written)
{
	start(3, 3);
	ck_assert(!is_flushing());
	pg_flush_add(flush, PG_FLUSH_BYTES - 1);
	ck_assert(!is_flushing());
	pg_flush_add(flush, 1);
	ck_assert(is_flushing());
	wait_for_flush();
	/* It counts anew. */
	pg_flush_add(flush, PG_FLUSH_BYTES - 1);
	ck_assert(!is_flushing());
	pg_flush_add(flush, 1);
	ck_assert(is_flushing());
	wait_for_flush();
	stop();
}
END_TEST

START_TEST(one_runs_at_a_time)
{
	start(4, 4);
	pg_flush_add(flush, PG_FLUSH_BYTES);
	pg_flush_add(flush, PG_FLUSH_BYTES);
	/* Two of four are in use, not three. */
	ck_assert(pg_pool_can_spare(pool));
	stop();
}
END_TEST

START_TEST(what_was_written_before_is_on_disk)
{
	char sql[200];

	start(3, 3);
	ask("SET synchronous_commit = off");
	ask("CREATE TABLE IF NOT EXISTS flush_test (n integer)");
	for (int i = 0; i < 20; i++) {
		ask("INSERT INTO flush_test VALUES (1)");
		snprintf(sql, sizeof(sql),
			 "SELECT (pg_current_wal_flush_lsn() >= '%s')::text",
			 ask("SELECT pg_current_wal_insert_lsn()::text"));
		pg_flush_add(flush, PG_FLUSH_BYTES);
		wait_for_flush();
		ck_assert_str_eq(ask(sql), "true");
	}
	ask("DROP TABLE flush_test");
	stop();
}
END_TEST

START_TEST(the_last_link_is_left_to_others)
{
	start(2, 2);
	pg_flush_add(flush, PG_FLUSH_BYTES);
	pg_flush_add(flush, PG_FLUSH_BYTES);
	pg_pool_give(pool, &link0);
	ck_assert(pg_pool_can_spare(pool));	/* both are free */
	stop();
}
END_TEST

START_TEST(one_that_fails_is_not_tried_again_and_again)
{
	start(1, 4);
	snprintf(settings.db_port, sizeof(settings.db_port), "1");
	pg_flush_add(flush, PG_FLUSH_BYTES);
	for (int i = 0; i < 20; i++)
		ask("SELECT pg_sleep(0.005)");
	ck_assert(!pg_pool_can_spare(pool));	/* in the back-off */
	ck_assert(!pg_pool_is_wanted(pool));	/* it does not wait */
	pg_flush_add(flush, PG_FLUSH_BYTES);
	/* Those who need a link and find one are served all the same. */
	pg_pool_give(pool, &link0);
	pg_pool_take(pool, &takers[1], on_taken, &link0);
	ck_assert_ptr_nonnull(link0);
	ask("SELECT 'still'");
	stop();
}
END_TEST

START_TEST(while_it_connects_nobody_is_told_that_he_is_in_the_way)
{
	start(1, 4);
	pg_flush_add(flush, PG_FLUSH_BYTES);
	ck_assert(is_flushing());
	ck_assert(!pg_pool_is_wanted(pool));
	wait_for_flush();
	stop();
}
END_TEST

START_TEST(it_may_be_freed_while_it_runs)
{
	start(3, 3);
	pg_flush_add(flush, PG_FLUSH_BYTES);
	ck_assert(is_flushing());
	pg_flush_free(&flush);
	ck_assert(!is_flushing());
	pg_flush_free(&flush);	/* NULL already */
	stop();
}
END_TEST

START_TEST(it_may_be_freed_while_it_connects)
{
	start(1, 3);
	pg_flush_add(flush, PG_FLUSH_BYTES);
	ck_assert(is_flushing());
	pg_flush_free(&flush);
	wait_for_flush();	/* the link goes on connecting, for others */
	stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pg flush");
	TCase *tc = tcase_create("flush");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, it_begins_when_enough_was_written);
	tcase_add_test(tc, one_runs_at_a_time);
	tcase_add_test(tc, what_was_written_before_is_on_disk);
	tcase_add_test(tc, the_last_link_is_left_to_others);
	tcase_add_test(tc, one_that_fails_is_not_tried_again_and_again);
	tcase_add_test(tc, while_it_connects_nobody_is_told_that_he_is_in_the_way);
	tcase_add_test(tc, it_may_be_freed_while_it_runs);
	tcase_add_test(tc, it_may_be_freed_while_it_connects);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
