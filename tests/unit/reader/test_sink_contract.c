/* What every kind of store must do: each test runs once for each kind. */
#include "tests/unit/reader/store_fixture.h"

#include "common/clock.h"

#include <signal.h>

/* The committed object has this content, as far as the kind can tell. */
static void expect_content(unsigned int number, const char *bytes, size_t len)
{
	char hex[DIGEST_HEX_SIZE];

	MUST(find(number, is_kept));
	hash(bytes, len, hex);
	ck_assert_str_eq(lookup.object.sha256, hex);
	ck_assert_uint_eq(lookup.object.size, len);
	if (is_kept)
		expect_bytes(bytes, len);
}

static void expect_text(unsigned int number, const char *text)
{
	expect_content(number, text, strlen(text));
}

static void expect_nothing(unsigned int number)
{
	ck_assert_int_eq(find(number, false), ERR_NOT_FOUND);
	ck_assert_int_eq(lookup.fd, -1);
	MUST(list_page("", "", 10));
	ck_assert_uint_eq(list.n_rows, 0);
	expect_nothing_staged();
}

/* Through all steps, in pieces of `piece` bytes. */
static void store_content(unsigned int number, const char *bytes, size_t len,
			  size_t piece)
{
	struct sink *sink = open_sink(number);

	for (size_t at = 0; at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece;

		MUST(write_bytes(sink, bytes + at, n));
		ck_assert_uint_eq(sink_offset(sink), at + n);
	}
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
	ck_assert_ptr_null(sink);
}

/* ---- stores -------------------------------------------------------------- */

START_TEST(a_store_knows_its_kind)
{
	use(_i);
	ck_assert_str_eq(store_kind(store), kinds[_i]);
}
END_TEST

START_TEST(a_store_that_works_says_so)
{
	struct store_probe probe;

	use(_i);
	for (int i = 0; i < 3; i++) {
		ended = false;
		store_check(store, &probe, loop, on_ended, &last);
		MUST(wait_end());
	}
	expect_nothing(1);
}
END_TEST

/* ---- one object ---------------------------------------------------------- */

START_TEST(an_object_is_visible_only_after_its_commit)
{
	struct sink *sink;

	use(_i);
	sink = open_sink(1);
	ck_assert_int_eq(find(1, false), ERR_NOT_FOUND);
	MUST(write_text(sink, "content"));
	ck_assert_int_eq(find(1, false), ERR_NOT_FOUND);
	MUST(CALL(sink_stage, sink));
	ck_assert_int_eq(find(1, false), ERR_NOT_FOUND);
	MUST(list_page("", "", 10));
	ck_assert_uint_eq(list.n_rows, 0);
	MUST(CALL(sink_commit, sink));
	expect_text(1, "content");
	sink_close(&sink);
}
END_TEST

START_TEST(a_staged_object_knows_its_size_and_digest)
{
	struct sink *sink;
	char hex[DIGEST_HEX_SIZE];

	use(_i);
	sink = open_sink(1);
	MUST(write_text(sink, "con"));
	ck_assert_uint_eq(sink_object(sink)->size, 3);
	ck_assert_str_eq(sink_object(sink)->sha256, "");
	MUST(write_text(sink, "tent"));
	ck_assert(!sink_is_staged(sink));
	MUST(CALL(sink_stage, sink));
	ck_assert(sink_is_staged(sink));
	hash("content", 7, hex);
	ck_assert_str_eq(sink_object(sink)->sha256, hex);
	ck_assert_uint_eq(sink_object(sink)->size, 7);
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(a_description_comes_back_as_it_was_given)
{
	struct object object = make_object(1);
	struct sink *sink;

	use(_i);
	memset(object.name, 'n', sizeof(object.name) - 1);
	memcpy(object.name, "../\"\\\x01 \xc3\xa4\n", 10);
	memset(object.content_type, '"', sizeof(object.content_type) - 1);
	sink = open_object(&object);
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	MUST(find(1, false));
	ck_assert_str_eq(lookup.object.id, object.id);
	ck_assert_str_eq(lookup.object.name, object.name);
	ck_assert_str_eq(lookup.object.content_type, object.content_type);
	ck_assert_uint_eq(lookup.object.created_ms,
			  sink_object(sink)->created_ms);
	ck_assert_uint_gt(lookup.object.created_ms, 0);
	sink_close(&sink);
}
END_TEST

/* What a store says of the time of an object of this identifier. */
static uint64_t time_of(const char *id)
{
	struct object object = make_object(1);

	snprintf(object.id, sizeof(object.id), "%s", id);
	store_empty(&object);
	MUST(find_id(id, false));
	return lookup.object.created_ms;
}

/* So that it is the same at every reader. */
START_TEST(the_time_of_an_object_is_its_identifier_s)
{
	use(_i);
	ck_assert_uint_eq(time_of("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"),
			  UINT64_C(0x017f22e279b0));
}
END_TEST

START_TEST(an_identifier_without_a_likely_time_has_that_of_its_stage)
{
	static const char *const ids[] = {
		"017f22e2-79b0-8cc3-98c4-dc0c0c07398f",	/* version 8 */
		"00000000-0000-7cc3-98c4-dc0c0c07398f",	/* in 1970 */
		"ffffffff-ffff-7cc3-98c4-dc0c0c07398f",	/* in 10889 */
	};
	uint64_t before = clock_wall_ms(), ms;

	use(_i);
	for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
		ms = time_of(ids[i]);
		ck_assert_uint_ge(ms, before);
		ck_assert_uint_le(ms, clock_wall_ms());
	}
}
END_TEST

static void fill_details(struct object_details *details, const char *title)
{
	snprintf(details->title, sizeof(details->title), "%s", title);
	memset(details->creator, 'c', sizeof(details->creator) - 1);
	details->creator[sizeof(details->creator) - 1] = '\0';
	snprintf(details->metadata, sizeof(details->metadata),
		 "{\"k\":\"\\\"\\\\\\n'; --\",\"ö\":\"%0*d\"}", 2000, 0);
}

/* A staged object of a content, described; the caller commits. */
static struct sink *stage_described(unsigned int number, const char *title)
{
	struct object_details details;
	struct sink *sink = open_sink(number);

	MUST(write_text(sink, "content"));
	MUST(CALL(sink_stage, sink));
	fill_details(&details, title);
	sink_describe(sink, &details);
	return sink;
}

START_TEST(details_that_came_after_the_stage_come_back)
{
	struct object_details details;
	struct sink *sink;

	use(_i);
	sink = stage_described(1, "Größe \"x\"");
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
	MUST(find(1, false));
	fill_details(&details, "Größe \"x\"");
	ck_assert_str_eq(lookup.object.details.title, details.title);
	ck_assert_str_eq(lookup.object.details.creator, details.creator);
	ck_assert_str_eq(lookup.object.details.metadata, details.metadata);
	expect_text(1, "content");
}
END_TEST

START_TEST(the_last_details_before_the_commit_count)
{
	struct object_details none = { .title = "" };
	struct sink *sink;

	use(_i);
	sink = stage_described(1, "first");
	sink_describe(sink, &none);
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
	MUST(find(1, false));
	ck_assert_str_eq(lookup.object.details.title, "");
	ck_assert_str_eq(lookup.object.details.metadata, "");
}
END_TEST

START_TEST(a_repeated_commit_changes_no_details)
{
	struct sink *sink;

	use(_i);
	for (int i = 0; i < 2; i++) {
		sink = stage_described(1, i ? "second" : "first");
		MUST(CALL(sink_commit, sink));
		sink_close(&sink);
	}
	MUST(find(1, false));
	ck_assert_str_eq(lookup.object.details.title, "first");
}
END_TEST

START_TEST(an_aborted_description_leaves_nothing)
{
	struct sink *sink;

	use(_i);
	sink = stage_described(1, "title");
	MUST(CALL(sink_abort, sink));
	expect_nothing(1);
}
END_TEST

START_TEST(an_unknown_type_is_told_from_the_first_bytes)
{
	struct object object = make_object(1);
	struct sink *sink;

	settings.sniff = true;
	use(_i);
	snprintf(object.content_type, sizeof(object.content_type),
		 "application/octet-stream");
	sink = open_object(&object);
	MUST(write_text(sink, "%PD"));
	MUST(write_text(sink, "F-1.4\n"));
	MUST(CALL(sink_stage, sink));
	ck_assert_str_eq(sink_object(sink)->content_type, "application/pdf");
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
	MUST(find(1, false));
	ck_assert_str_eq(lookup.object.content_type, "application/pdf");
}
END_TEST

START_TEST(an_empty_object_is_an_object)
{
	use(_i);
	store_content(1, "", 0, 1);
	expect_text(1, "");
}
END_TEST

START_TEST(objects_of_all_sizes_are_stored)
{
	static const size_t sizes[] = { 1, 2, 4095, 4096, 4097, 65535, 65537,
					1000003 };
	char *content = make_content(1000003);

	use(_i);
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		store_content(i, content, sizes[i], 65521);
		expect_content(i, content, sizes[i]);
	}
	free(content);
}
END_TEST

START_TEST(one_byte_at_a_time_is_stored)
{
	use(_i);
	store_content(1, "a byte at a time", 16, 1);
	expect_text(1, "a byte at a time");
}
END_TEST

START_TEST(a_large_object_is_stored)
{
	size_t len = (24 << 20) + 13;
	char *content = make_content(len);

	use(_i);
	store_content(1, content, len, 256 << 10);
	expect_content(1, content, len);
	free(content);
}
END_TEST

START_TEST(sinks_side_by_side_do_not_mix)
{
	struct sink *sinks[8];
	char text[16];

	use(_i);
	for (unsigned int i = 0; i < 8; i++)
		sinks[i] = open_sink(i);
	for (unsigned int round = 0; round < 3; round++)
		for (unsigned int i = 0; i < 8; i++) {
			snprintf(text, sizeof(text), "%u.%u ", i, round);
			MUST(write_text(sinks[i], text));
		}
	for (unsigned int i = 0; i < 8; i++) {
		MUST(CALL(sink_stage, sinks[i]));
		MUST(CALL(sink_commit, sinks[i]));
		sink_close(&sinks[i]);
		snprintf(text, sizeof(text), "%u.0 %u.1 %u.2 ", i, i, i);
		expect_text(i, text);
	}
}
END_TEST

START_TEST(a_sink_may_change_loops_between_operations)
{
	struct err err = ERR_INIT;
	struct loop *first, *other;
	struct sink *sink;

	use(_i);
	first = loop;
	other = loop_new(&err);
	sink = open_sink(1);
	loop = other;
	MUST(write_text(sink, "content"));
	loop = first;
	MUST(CALL(sink_stage, sink));
	loop = other;
	MUST(CALL(sink_commit, sink));
	loop = first;
	store_leave(store, other);
	loop_free(&other);
	expect_text(1, "content");
	sink_close(&sink);
}
END_TEST

/* ---- abort --------------------------------------------------------------- */

static void bring_to(struct sink *sink, int step)
{
	if (step >= 1)
		MUST(write_text(sink, "content"));
	if (step == 2 && store_can_append(store))
		MUST(CALL(sink_suspend, sink));
	if (step >= 3)
		MUST(CALL(sink_stage, sink));
	if (step == 4 && store_can_append(store))
		MUST(CALL(sink_suspend, sink));
	if (step >= 5)
		MUST(CALL(sink_commit, sink));
}

START_TEST(an_abort_leaves_nothing_whenever_it_comes)
{
	struct sink *sink;

	use(_i);
	for (int step = 0; step <= 5; step++) {
		sink = open_sink(1);
		bring_to(sink, step);
		MUST(CALL(sink_abort, sink));
		expect_nothing(1);
	}
}
END_TEST

START_TEST(an_aborted_object_can_be_stored_again)
{
	struct sink *sink;

	use(_i);
	sink = open_sink(1);
	MUST(write_text(sink, "first"));
	MUST(CALL(sink_abort, sink));
	store_text(1, "second");
	expect_text(1, "second");
}
END_TEST

/* ---- append -------------------------------------------------------------- */

START_TEST(a_suspended_object_goes_on_where_it_was)
{
	struct sink *sink;

	use(_i);
	if (!store_can_append(store))
		return;
	sink = open_sink(1);
	MUST(write_text(sink, "first, "));
	MUST(CALL(sink_suspend, sink));
	MUST(CALL(sink_suspend, sink));
	ck_assert_uint_eq(sink_offset(sink), 7);
	MUST(write_text(sink, "second"));
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	expect_text(1, "first, second");
	sink_close(&sink);
}
END_TEST

START_TEST(a_suspended_object_can_be_staged_as_it_is)
{
	struct sink *sink;

	use(_i);
	if (!store_can_append(store))
		return;
	sink = open_sink(1);
	MUST(write_text(sink, "content"));
	MUST(CALL(sink_suspend, sink));
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_suspend, sink));
	ck_assert(sink_is_staged(sink));
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	expect_text(1, "content");
	sink_close(&sink);
}
END_TEST

START_TEST(a_staged_object_can_grow)
{
	struct sink *sink;

	use(_i);
	if (!store_can_append(store))
		return;
	sink = open_sink(1);
	MUST(write_text(sink, "first, "));
	MUST(CALL(sink_stage, sink));
	MUST(write_text(sink, "second"));
	ck_assert(!sink_is_staged(sink));
	ck_assert_str_eq(sink_object(sink)->sha256, "");
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	expect_text(1, "first, second");
	sink_close(&sink);
}
END_TEST

START_TEST(a_store_that_cannot_append_refuses_to_suspend)
{
	struct sink *sink;

	use(_i);
	if (store_can_append(store))
		return;
	sink = open_sink(1);
	MUST(write_text(sink, "content"));
	ck_assert_int_eq(CALL(sink_suspend, sink), ERR_CONFLICT);
	ck_assert(sink_is_failed(sink));
	MUST(CALL(sink_abort, sink));
	expect_nothing(1);
}
END_TEST

START_TEST(a_store_that_cannot_append_refuses_more_after_stage)
{
	struct sink *sink;

	use(_i);
	if (store_can_append(store))
		return;
	sink = open_sink(1);
	MUST(CALL(sink_stage, sink));
	ck_assert_int_eq(write_text(sink, "more"), ERR_CONFLICT);
	MUST(CALL(sink_abort, sink));
	expect_nothing(1);
}
END_TEST

/* ---- identifiers --------------------------------------------------------- */

START_TEST(an_identifier_has_one_sink_at_a_time)
{
	struct object object = make_object(1);
	struct sink *first, *second;

	use(_i);
	first = open_sink(1);
	second = open_object(&object);
	ck_assert_int_eq(last.code, ERR_CONFLICT);
	ck_assert(sink_is_failed(second));
	MUST(CALL(sink_abort, second));
	MUST(write_text(first, "first"));
	MUST(CALL(sink_stage, first));
	MUST(CALL(sink_commit, first));
	sink_close(&first);
	expect_text(1, "first");
}
END_TEST

START_TEST(the_same_object_may_be_committed_again)
{
	use(_i);
	store_text(1, "content");
	store_text(1, "content");
	expect_text(1, "content");
	MUST(list_page("", "", 10));
	ck_assert_uint_eq(list.n_rows, 1);
	expect_nothing_staged();
}
END_TEST

START_TEST(aborting_a_repetition_leaves_the_first)
{
	struct sink *sink;

	use(_i);
	store_text(1, "content");
	sink = open_sink(1);
	MUST(write_text(sink, "content"));
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	MUST(CALL(sink_abort, sink));
	expect_text(1, "content");
}
END_TEST

START_TEST(another_object_of_the_same_identifier_conflicts)
{
	struct sink *sink;

	use(_i);
	store_text(1, "first");
	sink = open_sink(1);
	MUST(write_text(sink, "other"));
	MUST(CALL(sink_stage, sink));
	ck_assert_int_eq(CALL(sink_commit, sink), ERR_CONFLICT);
	ck_assert(sink_is_failed(sink));
	MUST(CALL(sink_abort, sink));
	expect_text(1, "first");
}
END_TEST

START_TEST(only_a_uuid_is_an_identifier)
{
	static const char *const ids[] = {
		"",
		"..",
		"../../etc/passwd",
		"01890000-0000-7000-8000-00000000000",
		"01890000-0000-7000-8000-00000000000G",
		"01890000-0000-7000-8000/00000000000a",
	};
	struct object object = make_object(1);
	struct sink *sink;

	use(_i);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		snprintf(object.id, sizeof(object.id), "%s", ids[i]);
		sink = open_object(&object);
		ck_assert_int_eq(last.code, ERR_CLIENT);
		MUST(CALL(sink_abort, sink));
		ck_assert_int_eq(find_id(ids[i], false), ERR_NOT_FOUND);
	}
}
END_TEST

/* ---- delete -------------------------------------------------------------- */

START_TEST(a_deleted_object_is_gone)
{
	use(_i);
	store_text(1, "content");
	MUST(delete_object(1));
	expect_nothing(1);
}
END_TEST

START_TEST(deleting_what_is_not_there_succeeds)
{
	use(_i);
	MUST(delete_object(1));
	store_text(1, "content");
	MUST(delete_object(1));
	MUST(delete_object(1));
	store_text(1, "content");
	expect_text(1, "content");
}
END_TEST

START_TEST(a_deleted_identifier_may_have_other_content)
{
	use(_i);
	store_text(1, "first");
	MUST(delete_object(1));
	store_text(1, "second");
	expect_text(1, "second");
}
END_TEST

/* ---- bugs of the caller -------------------------------------------------- */

START_TEST(commit_before_stage_is_a_bug)
{
	struct sink *sink;

	use(_i);
	sink = open_sink(1);
	drop_scratch();
	CALL(sink_commit, sink);
}
END_TEST

START_TEST(a_write_after_a_failure_is_a_bug)
{
	struct object object = make_object(1);
	struct sink *sink;

	use(_i);
	open_sink(1);
	sink = open_object(&object);
	drop_scratch();
	write_text(sink, "more");
}
END_TEST

START_TEST(closing_before_commit_is_a_bug)
{
	struct sink *sink;

	use(_i);
	sink = open_sink(1);
	drop_scratch();
	sink_close(&sink);
}
END_TEST

#define CASES(X) \
	X(a_store_knows_its_kind) \
	X(a_store_that_works_says_so) \
	X(an_object_is_visible_only_after_its_commit) \
	X(a_staged_object_knows_its_size_and_digest) \
	X(a_description_comes_back_as_it_was_given) \
	X(the_time_of_an_object_is_its_identifier_s) \
	X(an_identifier_without_a_likely_time_has_that_of_its_stage) \
	X(details_that_came_after_the_stage_come_back) \
	X(the_last_details_before_the_commit_count) \
	X(a_repeated_commit_changes_no_details) \
	X(an_aborted_description_leaves_nothing) \
	X(an_unknown_type_is_told_from_the_first_bytes) \
	X(an_empty_object_is_an_object) \
	X(objects_of_all_sizes_are_stored) \
	X(one_byte_at_a_time_is_stored) \
	X(a_large_object_is_stored) \
	X(sinks_side_by_side_do_not_mix) \
	X(a_sink_may_change_loops_between_operations) \
	X(an_abort_leaves_nothing_whenever_it_comes) \
	X(an_aborted_object_can_be_stored_again) \
	X(a_suspended_object_goes_on_where_it_was) \
	X(a_suspended_object_can_be_staged_as_it_is) \
	X(a_staged_object_can_grow) \
	X(a_store_that_cannot_append_refuses_to_suspend) \
	X(a_store_that_cannot_append_refuses_more_after_stage) \
	X(an_identifier_has_one_sink_at_a_time) \
	X(the_same_object_may_be_committed_again) \
	X(aborting_a_repetition_leaves_the_first) \
	X(another_object_of_the_same_identifier_conflicts) \
	X(only_a_uuid_is_an_identifier) \
	X(a_deleted_object_is_gone) \
	X(deleting_what_is_not_there_succeeds) \
	X(a_deleted_identifier_may_have_other_content)

static void add_cases(Suite *suite)
{
	TCase *tc = tcase_create("contract");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, make_loop, drop_loop);
	tcase_add_checked_fixture(tc, NULL, free_list);
#define ADD(name) tcase_add_loop_test(tc, name, 0, count_kinds());
	CASES(ADD)
#undef ADD
	suite_add_tcase(suite, tc);
}

static void add_bugs(Suite *suite)
{
	TCase *tc = tcase_create("bugs");

	tcase_add_checked_fixture(tc, make_loop, drop_loop);
	tcase_add_loop_test_raise_signal(tc, commit_before_stage_is_a_bug,
					 SIGABRT, 0, count_kinds());
	tcase_add_loop_test_raise_signal(tc, a_write_after_a_failure_is_a_bug,
					 SIGABRT, 0, count_kinds());
	tcase_add_loop_test_raise_signal(tc, closing_before_commit_is_a_bug,
					 SIGABRT, 0, count_kinds());
	suite_add_tcase(suite, tc);
}

int main(void)
{
	Suite *suite = suite_create("sink contract");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_cases(suite);
	add_bugs(suite);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
