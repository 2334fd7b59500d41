/* When a slice of an object on its way into a database ends. */
#include "tests/unit/reader/store_fixture.h"

#include "reader/pg_schema.h"
#include "reader/pg_store.h"

static void start(uint64_t slice_ms)
{
	make_loop();
	ck_assert_msg(open_store("postgres") == ERR_NONE, "%s", last.text);
	((struct pg_store *)(void *)store)->slice_ms = slice_ms;
}

/* A row and a bit, so that some bytes wait for the next one. */
static void write_row(struct sink *sink)
{
	static char bytes[PG_CHUNK_BYTES + 10];

	MUST(write_bytes(sink, bytes, sizeof(bytes)));
}

static int count_slices(void)
{
	return atoi(query_database("SELECT n_slices FROM object"));
}

START_TEST(a_slice_that_is_young_takes_more_rows)
{
	struct sink *sink;

	start(1000000);
	sink = open_sink(1);
	write_row(sink);
	write_row(sink);
	ck_assert_int_eq(count_slices(), 0);	/* begun, not committed */
	MUST(CALL(sink_stage, sink));
	ck_assert_int_eq(count_slices(), 1);
	MUST(CALL(sink_abort, sink));
	drop_loop();
}
END_TEST

START_TEST(a_slice_that_is_old_ends_with_the_write)
{
	struct sink *sink;

	start(0);
	sink = open_sink(1);
	for (int i = 1; i <= 3; i++) {
		write_row(sink);
		ck_assert_int_eq(count_slices(), i);
	}
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
	MUST(find(1, false));
	ck_assert_uint_eq(lookup.object.size, 3 * (PG_CHUNK_BYTES + 10));
	drop_loop();
}
END_TEST

START_TEST(bytes_without_a_row_end_an_old_slice_too)
{
	struct sink *sink;

	start(1000000);
	sink = open_sink(1);
	write_row(sink);
	((struct pg_store *)(void *)store)->slice_ms = 0;
	MUST(write_text(sink, "drip"));
	ck_assert_int_eq(count_slices(), 1);
	MUST(CALL(sink_abort, sink));
	drop_loop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pg slice");
	TCase *tc = tcase_create("slice");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, a_slice_that_is_young_takes_more_rows);
	tcase_add_test(tc, a_slice_that_is_old_ends_with_the_write);
	tcase_add_test(tc, bytes_without_a_row_end_an_old_slice_too);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
