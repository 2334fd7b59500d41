/* A playback out of a database whose consumer goes away at any moment. */
#include "tests/unit/reader/store_fixture.h"

#include "reader/pg_schema.h"

#include <malloc.h>

#define N_ROWS 2000
#define N_BYTES ((size_t)N_ROWS * PG_CHUNK_BYTES)

static struct source *source;

static void start(uint64_t n_connections)
{
	static char bytes[N_BYTES];
	struct sink *sink;

	make_loop();
	settings.db_connections = n_connections;
	ck_assert_msg(open_store("postgres") == ERR_NONE, "%s", last.text);
	sink = open_sink(1);
	MUST(write_bytes(sink, bytes, sizeof(bytes)));
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
	MUST(find(1, true));
	source = source_open(&lookup, 0, N_BYTES, loop);
	ck_assert_ptr_nonnull(source);
}

static void stop(void)
{
	store_release(&lookup);
	drop_loop();
}

/*
 * Nobody listens any more, and that is known: who wants a connection fails at
 * once. The house, which reads the settings too, keeps its own.
 */
static void lose_database(void)
{
	query_database("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
		       "WHERE pid <> pg_backend_pid() AND usename = "
		       "current_user AND pid NOT IN (SELECT pid FROM pg_locks "
		       "WHERE locktype = 'advisory')");
	snprintf(settings.db_port, sizeof(settings.db_port), "1");
	do
		find(1, false);
	while (!strstr(last.text, "cannot connect"));
}

static void on_next(void *arg, const struct err *err)
{
	on_ended(arg, err);
	if (err)
		source_close(&source);
}

static enum err_code next(void)
{
	ended = false;
	source_next(source, on_next, &last);
	return wait_end();
}

/* What is freed is not zero: whoever looks at it goes wrong. */
START_TEST(a_consumer_may_close_it_when_it_fails_at_once)
{
	mallopt(M_PERTURB, 0x5a);
	start(4);
	lose_database();
	MUST(next());	/* the row that came with the look-up */
	ck_assert_int_ne(next(), ERR_NONE);
	ck_assert_ptr_null(source);
	stop();
}
END_TEST

/* Read on to row `end`, or until `n` rows came at a time: the most that did. */
static size_t read_on(size_t *at, size_t end, size_t n, void (*before_each)(void))
{
	size_t n_rows, most = 0;

	while (*at < end && most < n) {
		before_each();
		MUST(next());
		(void)source_pieces(source, &n_rows);
		*at += n_rows;
		if (n_rows > most)
			most = n_rows;
	}
	return most;
}

/* Read all of it; the most rows that came at a time. */
static size_t read_all(void (*before_each)(void))
{
	size_t at = 0, most = read_on(&at, N_ROWS, SIZE_MAX, before_each);

	ck_assert_uint_eq(at, N_ROWS);
	source_close(&source);
	return most;
}

static void be_fast(void)
{
}

/* The one connection there is serves in turn: what was asked for before is there. */
static void take_time(void)
{
	for (int i = 0; i < 3; i++) {
		MUST(find(1, false));
		store_release(&lookup);
	}
}

START_TEST(who_is_faster_than_the_database_gets_larger_slices)
{
	/* On one connection the next slice is never there yet. */
	start(1);
	ck_assert_uint_eq(read_all(be_fast), 64);
	stop();
}
END_TEST

START_TEST(who_takes_time_gets_small_ones)
{
	start(1);
	ck_assert_uint_eq(read_all(take_time), 32);
	stop();
}
END_TEST

START_TEST(who_is_not_faster_any_more_gets_small_ones_again)
{
	size_t at = 0, n_rows;

	start(1);
	ck_assert_uint_eq(read_on(&at, N_ROWS, 64, be_fast), 64);
	/* It takes some slices to be sure of it, and some are under way. */
	(void)read_on(&at, at + 800, SIZE_MAX, take_time);
	for (int i = 0; i < 2; i++) {
		take_time();
		MUST(next());
		(void)source_pieces(source, &n_rows);
		ck_assert_uint_eq(n_rows, 32);
	}
	source_close(&source);
	stop();
}
END_TEST

/* Each slice takes 5 ms, so that no client can be slower than the database. */
static void slow_database(void)
{
	query_database("ALTER TABLE chunk RENAME TO chunk_itself");
	query_database("CREATE VIEW chunk AS SELECT * FROM chunk_itself "
		       "WHERE (SELECT pg_sleep(0.005)) IS NOT NULL");
}

static int count_links_that_fetched(void)
{
	return atoi(query_database(
		"SELECT count(*) FROM pg_stat_activity WHERE usename = "
		"current_user AND datname = current_database() AND "
		"query LIKE 'SELECT seq, data FROM chunk %'"));
}

START_TEST(who_is_faster_than_the_database_gets_one_slice_more_ahead)
{
	size_t at = 0;

	start(4);
	slow_database();
	(void)read_on(&at, 500, SIZE_MAX, be_fast);
	ck_assert_int_eq(count_links_that_fetched(), 2);
	(void)read_on(&at, N_ROWS, SIZE_MAX, be_fast);
	ck_assert_int_eq(count_links_that_fetched(), 3);
	source_close(&source);
	stop();
}
END_TEST

START_TEST(no_more_clients_than_links_get_more_than_others)
{
	struct source *first;
	size_t at = 0;

	start(1);
	ck_assert_uint_eq(read_on(&at, N_ROWS, 64, be_fast), 64);
	first = source;
	MUST(find(1, true));
	source = source_open(&lookup, 0, N_BYTES, loop);
	at = 0;
	ck_assert_uint_eq(read_on(&at, N_ROWS / 2 + 500, SIZE_MAX, be_fast), 32);
	source_close(&first);
	ck_assert_uint_eq(read_on(&at, N_ROWS, SIZE_MAX, be_fast), 64);
	source_close(&source);
	stop();
}
END_TEST

static void read_slowly(int n_slices)
{
	for (int i = 0; i < n_slices; i++) {
		take_time();
		MUST(next());
	}
}

START_TEST(who_is_not_faster_any_more_keeps_his_place_until_its_memory_is_back)
{
	struct source *first, *second;
	size_t at = 0;

	start(1);
	ck_assert_uint_eq(read_on(&at, N_ROWS, 64, be_fast), 64);
	read_slowly(9);
	first = source;
	MUST(find(1, true));
	second = source = source_open(&lookup, 0, N_BYTES, loop);
	at = 0;
	ck_assert_uint_eq(read_on(&at, N_ROWS / 2 + 500, SIZE_MAX, be_fast), 32);
	source = first;
	read_slowly(6);
	source = second;
	ck_assert_uint_eq(read_on(&at, N_ROWS, SIZE_MAX, be_fast), 64);
	source_close(&first);
	source_close(&second);
	stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pg source");
	TCase *tc = tcase_create("source");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, a_consumer_may_close_it_when_it_fails_at_once);
	tcase_add_test(tc, who_is_faster_than_the_database_gets_larger_slices);
	tcase_add_test(tc, who_takes_time_gets_small_ones);
	tcase_add_test(tc, who_is_not_faster_any_more_gets_small_ones_again);
	tcase_add_test(tc, who_is_faster_than_the_database_gets_one_slice_more_ahead);
	tcase_add_test(tc, no_more_clients_than_links_get_more_than_others);
	tcase_add_test(tc, who_is_not_faster_any_more_keeps_his_place_until_its_memory_is_back);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
