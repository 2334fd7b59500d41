/* What only the s3 store does; the contract is in test_sink_contract.c. */
#include "reader/s3_sink.h"
#include "tests/unit/reader/store_fixture.h"

#define PART ((size_t)5 << 20)
#define TIB (UINT64_C(1) << 40)

/* ---- sizes of parts -------------------------------------------------------- */

/* Parts of one object after the other; how many there are, the largest in *max. */
static unsigned int count_parts(uint64_t setting, uint64_t hint, uint64_t size,
				uint64_t *max)
{
	unsigned int n = 0;
	uint64_t bytes;

	*max = 0;
	for (uint64_t sent = 0; sent < size; sent += bytes, n++) {
		bytes = s3_part_bytes(setting, hint, sent);
		ck_assert_uint_ge(bytes, setting);
		*max = bytes > *max ? bytes : *max;
	}
	return n;
}

START_TEST(five_tib_of_unknown_length_are_10000_parts_at_most)
{
	uint64_t max;

	ck_assert_uint_le(count_parts(5 << 20, OBJECT_SIZE_UNKNOWN, 5 * TIB,
				      &max), S3_MAX_PARTS);
	ck_assert_uint_le(count_parts(8 << 20, OBJECT_SIZE_UNKNOWN, 5 * TIB,
				      &max), S3_MAX_PARTS);
	ck_assert_uint_lt(max, UINT64_C(5) << 30);
}
END_TEST

START_TEST(parts_of_a_known_length_are_as_small_as_can_be)
{
	uint64_t max;

	ck_assert_uint_eq(count_parts(8 << 20, 1 << 30, 1 << 30, &max), 128);
	ck_assert_uint_le(count_parts(8 << 20, 5 * TIB, 5 * TIB, &max),
			  S3_MAX_PARTS);
	ck_assert_uint_le(max, UINT64_C(525) << 20);
}
END_TEST

START_TEST(ten_gib_do_not_make_parts_grow)
{
	uint64_t max;

	count_parts(8 << 20, OBJECT_SIZE_UNKNOWN, UINT64_C(9) << 30, &max);
	ck_assert_uint_eq(max, 8 << 20);
}
END_TEST

START_TEST(more_than_was_announced_still_fits_into_10000_parts)
{
	uint64_t max;

	ck_assert_uint_le(count_parts(5 << 20, 6 << 20, 5 * TIB, &max),
			  S3_MAX_PARTS);
	ck_assert_uint_lt(max, UINT64_C(5) << 30);
}
END_TEST

/* ---- another process ------------------------------------------------------- */

static struct sink *resume(unsigned int number)
{
	struct sink *sink;

	ended = false;
	sink = sink_resume(store, make_object(number).id, loop, on_ended,
			   &last);
	wait_end();
	return sink;
}

static void open_s3(void)
{
	ck_assert_msg(open_store("s3") == ERR_NONE, "%s", last.text);
}

/* Write in pieces, then pause and let go, as a process does at its end. */
static void leave_object(unsigned int number, const char *content, size_t len)
{
	struct sink *sink = open_sink(number);

	for (size_t at = 0; at < len; at += 256 << 10)
		MUST(write_bytes(sink, content + at,
				 len - at < 256 << 10 ? len - at : 256 << 10));
	MUST(CALL(sink_suspend, sink));
	sink_leave(&sink);
	reopen_store();
}

static void go_on(size_t first, size_t whole)
{
	char *content = make_content(whole);
	struct sink *sink;

	open_s3();
	leave_object(1, content, first);
	sink = resume(1);
	ck_assert_msg(last.code == ERR_NONE, "%s", last.text);
	ck_assert_uint_eq(sink_offset(sink), first);
	ck_assert_str_eq(sink_object(sink)->name, "Object 1");
	if (whole > first)
		MUST(write_bytes(sink, content + first, whole - first));
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
	MUST(find(1, true));
	expect_bytes(content, whole);
	expect_nothing_staged();
	free(content);
}

START_TEST(a_paused_object_is_gone_on_with_by_another_process)
{
	static const size_t sizes[][2] = {
		{ 0, 7 },		{ 7, 7 },
		{ 7, 100000 },		{ PART - 1, PART + 1 },
		{ PART, PART },		{ PART, 2 * PART },
		{ 2 * PART + 9, 2 * PART + 9 }, { 3 * PART + 9, 4 * PART + 1 },
	};

	go_on(sizes[_i][0], sizes[_i][1]);
}
END_TEST

START_TEST(a_process_with_smaller_parts_goes_on_too)
{
	const size_t first = PART + (2 << 20), whole = 3 * PART;
	char *content = make_content(whole);
	struct sink *sink;

	settings.s3_part_bytes = 8 << 20;
	open_s3();
	leave_object(1, content, first);
	store_close(&store);
	settings.s3_part_bytes = PART;
	open_s3();
	sink = resume(1);
	ck_assert_msg(last.code == ERR_NONE, "%s", last.text);
	MUST(write_bytes(sink, content + first, whole - first));
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
	MUST(find(1, true));
	expect_bytes(content, whole);
	free(content);
}
END_TEST

START_TEST(what_nobody_has_begun_cannot_be_gone_on_with)
{
	struct sink *sink;

	open_s3();
	sink = resume(1);
	ck_assert_int_eq(last.code, ERR_NOT_FOUND);
	MUST(CALL(sink_abort, sink));
	store_text(1, "committed");
	sink = resume(1);
	ck_assert_int_eq(last.code, ERR_NOT_FOUND);
	MUST(CALL(sink_abort, sink));
	MUST(find(1, true));
	expect_bytes("committed", 9);
}
END_TEST

START_TEST(the_offset_of_a_paused_object_is_known_to_all)
{
	char *content = make_content(PART + 5);

	open_s3();
	leave_object(1, content, PART + 5);
	lookup = (struct store_lookup){ .want_bytes = false };
	snprintf(lookup.id, sizeof(lookup.id), "%s", make_object(1).id);
	ended = false;
	store_find_suspended(store, &lookup, loop, on_ended, &last);
	MUST(wait_end());
	ck_assert_uint_eq(lookup.object.size, PART + 5);
	free(content);
}
END_TEST

START_TEST(an_object_that_is_gone_on_with_can_be_aborted)
{
	char *content = make_content(PART + 5);
	struct sink *sink;

	open_s3();
	leave_object(1, content, PART + 5);
	sink = resume(1);
	MUST(CALL(sink_abort, sink));
	expect_nothing_staged();
	ck_assert_int_eq(find(1, false), ERR_NOT_FOUND);
	free(content);
}
END_TEST

/* ---- sweeps ---------------------------------------------------------------- */

static char uploads[8192];	/* their keys, as they were counted last */

static size_t count_uploads(void)
{
	return s3_keys(&settings, workers, true, uploads, sizeof(uploads));
}

static void wait_for_uploads(size_t n)
{
	for (int i = 0; i < 200 && count_uploads() != n; i++)
		usleep(50000);	/* a sweep has its own time */
	ck_assert_uint_eq(count_uploads(), n);
}

/* The one that goes shows that the sweep has been there. */
START_TEST(what_is_young_is_not_swept)
{
	const uint64_t ttl_ms = 10000;
	char *content = make_content(PART + 5);

	open_s3();
	leave_object(1, content, PART + 5);
	usleep((unsigned int)(ttl_ms + 1000) * 1000);
	leave_object(2, content, PART + 5);
	store_close(&store);
	settings.staged_ttl_ms = ttl_ms;
	open_s3();
	wait_for_uploads(1);
	ck_assert_ptr_nonnull(strstr(uploads, make_object(2).id));
	free(content);
}
END_TEST

START_TEST(what_is_stale_is_swept_with_all_it_left)
{
	char *content = make_content(PART + 5);

	open_s3();
	leave_object(1, content, PART + 5);
	store_close(&store);
	settings.staged_ttl_ms = 1000;
	open_s3();
	wait_for_uploads(0);
	expect_nothing_staged();
	free(content);
}
END_TEST

START_TEST(an_exclusive_reader_sweeps_all_at_its_start_but_its_own)
{
	char *content = make_content(PART + 5);
	struct sink *sink;

	open_s3();
	leave_object(1, content, PART + 5);
	store_close(&store);
	settings.s3_exclusive = true;
	open_s3();
	sink = open_sink(2);
	wait_for_uploads(1);
	MUST(write_bytes(sink, content, PART + 5));
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
	free(content);
}
END_TEST

/* ---- appending to what was complete ---------------------------------------- */

START_TEST(a_short_last_part_is_the_end)
{
	char *content = make_content(PART + 5);
	struct sink *sink;

	open_s3();
	sink = open_sink(1);
	MUST(write_bytes(sink, content, PART + 5));
	MUST(CALL(sink_stage, sink));
	ck_assert_int_eq(write_text(sink, "more"), ERR_CONFLICT);
	MUST(CALL(sink_abort, sink));
	expect_nothing_staged();
	free(content);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_loop_test(tc,
			    a_paused_object_is_gone_on_with_by_another_process,
			    0, 8);
	tcase_add_test(tc, a_process_with_smaller_parts_goes_on_too);
	tcase_add_test(tc, what_nobody_has_begun_cannot_be_gone_on_with);
	tcase_add_test(tc, the_offset_of_a_paused_object_is_known_to_all);
	tcase_add_test(tc, an_object_that_is_gone_on_with_can_be_aborted);
	tcase_add_test(tc, what_is_young_is_not_swept);
	tcase_add_test(tc, what_is_stale_is_swept_with_all_it_left);
	tcase_add_test(tc,
		       an_exclusive_reader_sweeps_all_at_its_start_but_its_own);
	tcase_add_test(tc, a_short_last_part_is_the_end);
}

int main(void)
{
	Suite *suite = suite_create("sink s3");
	TCase *sizes = tcase_create("sizes"), *tc = tcase_create("bucket");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_test(sizes,
		       five_tib_of_unknown_length_are_10000_parts_at_most);
	tcase_add_test(sizes, parts_of_a_known_length_are_as_small_as_can_be);
	tcase_add_test(sizes,
		       more_than_was_announced_still_fits_into_10000_parts);
	tcase_add_test(sizes, ten_gib_do_not_make_parts_grow);
	suite_add_tcase(suite, sizes);
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, make_loop, drop_loop);
	if (store_kind_is_there("s3"))
		add_tests(tc);
	else
		printf("skipped: what needs TEST_S3_ENDPOINT\n");
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
