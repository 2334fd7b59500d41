/* A playback out of a database whose consumer goes away at any moment. */
#include "tests/unit/reader/store_fixture.h"

#include "reader/pg_schema.h"

#include <malloc.h>

#define N_BYTES ((size_t)100 * PG_CHUNK_BYTES)

static struct source *source;

static void start(void)
{
	static char bytes[N_BYTES];
	struct sink *sink;

	make_loop();
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
	start();
	lose_database();
	MUST(next());	/* the row that came with the look-up */
	ck_assert_int_ne(next(), ERR_NONE);
	ck_assert_ptr_null(source);
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
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
