/* The log goes to disk beside a COPY. */
#include "tests/unit/reader/store_fixture.h"

#include "reader/pg_flush.h"

static struct pg_flush *flush;
static struct pg_link *other;	/* as if COPY ran there */
static char value[100];

static void on_asked(void *arg, PGresult *result, const struct err *err)
{
	(void)arg;
	ended = true;
	last = err ? *err : ERR_INIT;
	if (result && PQntuples(result) > 0)
		snprintf(value, sizeof(value), "%.*s",
			 PQgetlength(result, 0, 0), PQgetvalue(result, 0, 0));
	PQclear(result);
}

/* The first value, where it is text. */
static const char *ask(const char *sql)
{
	ended = false;
	pg_link_run_sql(other, sql, 0, on_asked, NULL);
	MUST(wait_end());
	return value;
}

static void start(void)
{
	make_loop();
	use_database();
	settings.db_flush = true;
	flush = pg_flush_new(loop, &settings, workers);
	other = pg_link_new(loop, &settings, workers);
	ck_assert(flush && other);
	ended = false;
	pg_link_connect(other, on_asked, NULL);
	MUST(wait_end());
}

static void stop(void)
{
	pg_flush_free(&flush);
	ck_assert_ptr_null(flush);
	pg_link_free(&other);
	drop_loop();
}

static void wait_for_flush(void)
{
	while (pg_flush_is_running(flush))
		loop_run_once(loop);
}

static void run_flush(void)
{
	pg_flush_add(flush, PG_FLUSH_BYTES);
	ck_assert(pg_flush_is_running(flush));
	wait_for_flush();
}

/* Sessions that have flushed. */
#define SESSIONS "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND " \
	"query LIKE '%pg_logical_emit_message%' AND datname = "             \
	"current_database()"

static bool is_connected(void)
{
	return strcmp(ask("SELECT count(*)::text " SESSIONS), "0") != 0;
}

START_TEST(it_begins_when_enough_was_written)
{
	start();
	for (int i = 0; i < 3; i++) {	/* it counts anew */
		pg_flush_add(flush, PG_FLUSH_BYTES - 1);
		ck_assert(!pg_flush_is_running(flush));
		pg_flush_add(flush, 1);
		ck_assert(pg_flush_is_running(flush));
		pg_flush_add(flush, PG_FLUSH_BYTES);	/* not another one … */
		wait_for_flush();
		pg_flush_add(flush, 1);			/* … but the next one */
		ck_assert(pg_flush_is_running(flush));
		wait_for_flush();
	}
	ck_assert_str_eq(ask("SELECT count(*)::text " SESSIONS), "1");
	stop();
}
END_TEST

START_TEST(what_was_written_before_is_on_disk)
{
	char sql[200];

	start();
	ask("SET synchronous_commit = off");
	ask("CREATE TABLE IF NOT EXISTS flush_test (n integer)");
	for (int i = 0; i < 20; i++) {
		ask("INSERT INTO flush_test VALUES (1)");
		snprintf(sql, sizeof(sql),
			 "SELECT (pg_current_wal_flush_lsn() >= '%s')::text",
			 ask("SELECT pg_current_wal_insert_lsn()::text"));
		run_flush();
		ck_assert_str_eq(ask(sql), "true");
	}
	ask("DROP TABLE flush_test");
	stop();
}
END_TEST

START_TEST(its_connection_is_closed_soon)
{
	start();
	run_flush();
	ck_assert(is_connected());
	for (int i = 0; is_connected(); i++) {
		ck_assert_int_lt(i, 1000);
		ask("SELECT pg_sleep(0.01)");
	}
	run_flush();	/* and made anew */
	ck_assert(is_connected());
	stop();
}
END_TEST

START_TEST(turned_off_it_does_nothing)
{
	start();
	pg_flush_free(&flush);
	settings.db_flush = false;
	flush = pg_flush_new(loop, &settings, workers);
	pg_flush_add(flush, 10 * PG_FLUSH_BYTES);
	ck_assert(!pg_flush_is_running(flush));
	stop();
}
END_TEST

START_TEST(after_a_connection_that_is_refused_it_rests)
{
	start();
	snprintf(settings.db_port, sizeof(settings.db_port), "1");
	run_flush();
	pg_flush_add(flush, 10 * PG_FLUSH_BYTES);
	ck_assert(!pg_flush_is_running(flush));
	stop();
}
END_TEST

START_TEST(it_may_be_freed_at_any_time)
{
	start();
	pg_flush_add(flush, PG_FLUSH_BYTES);	/* connects */
	pg_flush_free(&flush);
	pg_flush_free(&flush);			/* NULL already */
	flush = pg_flush_new(loop, &settings, workers);
	run_flush();
	pg_flush_add(flush, PG_FLUSH_BYTES);	/* flushes */
	ck_assert(pg_flush_is_running(flush));
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
	tcase_add_test(tc, what_was_written_before_is_on_disk);
	tcase_add_test(tc, its_connection_is_closed_soon);
	tcase_add_test(tc, turned_off_it_does_nothing);
	tcase_add_test(tc, after_a_connection_that_is_refused_it_rests);
	tcase_add_test(tc, it_may_be_freed_at_any_time);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
