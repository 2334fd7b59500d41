#include "reader/staging.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define ID "01234567-89ab-4cde-8f01-23456789abcd"
#define OTHER "01234567-89ab-4cde-8f01-23456789abce"

static struct loop *loop;
static struct staging *table;
static struct staged *entry, *second;
static uint64_t touched;
static int n_asked, n_woken;

static void on_asked(void *arg)
{
	(void)arg;
	n_asked++;
}

static void on_woken(void *arg)
{
	(void)arg;
	n_woken++;
}

static struct staging_holder deaf;
static struct staging_holder holder = { .on_abort = on_asked };

/* The table never looks into a sink. */
static struct sink *a_sink(void)
{
	return (struct sink *)&n_asked;
}

static void set_up(void)
{
	struct err err = ERR_INIT;

	loop = loop_new(&err);
	table = staging_new(2);
	holder.loop = loop;
	n_asked = n_woken = 0;
	ck_assert_ptr_nonnull(loop);
	ck_assert_ptr_nonnull(table);
}

static void tear_down(void)
{
	staging_free(&table);
	loop_free(&loop);
}

static enum staging_answer create(const char *id, uint64_t stale_ms,
				  struct staged **out)
{
	return staging_create(table, id, &holder, stale_ms, out, &touched);
}

static enum staging_answer take(enum staged_state state)
{
	return staging_take(table, ID, state, &deaf, &entry);
}

/* An object that rests since `ms`, with 5 bytes. */
static void rest(enum staged_state state, uint64_t ms)
{
	ck_assert_int_eq(create(ID, 0, &entry), STAGING_NEW);
	entry->sink = a_sink();
	atomic_store(&entry->offset, 5);
	memset(entry->sha256, 'a', DIGEST_HEX_SIZE - 1);
	ck_assert(staging_rest(entry, state, ms));
	entry = NULL;
}

static void remove_it(void)
{
	if (!entry)
		ck_assert_int_eq(take(STAGED_ABORTING), STAGING_TAKEN);
	staging_drop(&entry);
	ck_assert_ptr_null(entry);
}

START_TEST(a_new_id_is_held_by_who_created_it)
{
	ck_assert_int_eq(create(ID, 0, &entry), STAGING_NEW);
	ck_assert_str_eq(entry->id, ID);
	ck_assert_ptr_null(entry->sink);
	ck_assert_int_eq(create(ID, UINT64_MAX, &second), STAGING_HELD);
	ck_assert_ptr_null(second);
	remove_it();
}
END_TEST

START_TEST(ids_do_not_disturb_each_other)
{
	ck_assert_int_eq(create(ID, 0, &entry), STAGING_NEW);
	ck_assert_int_eq(create(OTHER, 0, &second), STAGING_NEW);
	staging_drop(&second);
	remove_it();
}
END_TEST

START_TEST(a_full_table_takes_no_more)
{
	struct staged *third;

	ck_assert_int_eq(create(ID, 0, &entry), STAGING_NEW);
	ck_assert_int_eq(create(OTHER, 0, &second), STAGING_NEW);
	ck_assert_int_eq(create("x", 0, &third), STAGING_FULL);
	ck_assert_ptr_null(third);
	staging_drop(&second);
	ck_assert_int_eq(create("x", 0, &third), STAGING_NEW);
	staging_drop(&third);
	remove_it();
}
END_TEST

START_TEST(a_held_entry_cannot_be_taken)
{
	ck_assert_int_eq(create(ID, 0, &second), STAGING_NEW);
	ck_assert_int_eq(take(STAGED_COMMITTING), STAGING_HELD);
	ck_assert_ptr_null(entry);
	staging_drop(&second);
	ck_assert_int_eq(take(STAGED_COMMITTING), STAGING_UNKNOWN);
}
END_TEST

START_TEST(an_entry_at_rest_is_taken_once)
{
	rest(STAGED_COMPLETE, 1000);
	ck_assert_int_eq(take(STAGED_COMMITTING), STAGING_TAKEN);
	ck_assert_ptr_eq(entry->sink, a_sink());
	ck_assert_int_eq(staging_take(table, ID, STAGED_ABORTING, &deaf,
				      &second), STAGING_HELD);
	remove_it();
}
END_TEST

START_TEST(what_was_touched_a_moment_ago_is_not_replaced)
{
	rest(STAGED_COMPLETE, 1000);
	ck_assert_int_eq(create(ID, 999, &entry), STAGING_FRESH);
	ck_assert_uint_eq(touched, 1000);
	ck_assert_ptr_null(entry);
	remove_it();
}
END_TEST

START_TEST(what_was_forgotten_is_replaced_with_its_sink)
{
	rest(STAGED_COMPLETE, 1000);
	ck_assert_int_eq(create(ID, 1000, &entry), STAGING_TAKEN);
	ck_assert_ptr_eq(entry->sink, a_sink());
	remove_it();
}
END_TEST

START_TEST(bytes_are_appended_where_they_end)
{
	uint64_t end = 0;

	rest(STAGED_PARTIAL, 1000);
	ck_assert_int_eq(staging_append(table, ID, 4, &holder, &entry, &end),
			 STAGING_ELSEWHERE);
	ck_assert_uint_eq(end, 5);
	ck_assert_ptr_null(entry);
	ck_assert_int_eq(staging_append(table, ID, 5, &holder, &entry, &end),
			 STAGING_TAKEN);
	ck_assert_int_eq(staging_append(table, ID, 5, &holder, &second, &end),
			 STAGING_HELD);
	remove_it();
	ck_assert_int_eq(staging_append(table, ID, 5, &holder, &entry, &end),
			 STAGING_UNKNOWN);
}
END_TEST

START_TEST(a_holder_is_asked_once_on_its_own_loop)
{
	struct staging_waiter a = { .loop = loop, .fn = on_woken };
	struct staging_waiter b = a;

	ck_assert_int_eq(create(ID, 0, &entry), STAGING_NEW);
	ck_assert(staging_wait(table, ID, &a, true));
	ck_assert(staging_wait(table, ID, &b, true));
	ck_assert_int_eq(n_asked, 0);
	loop_run_once(loop);
	ck_assert_int_eq(n_asked, 1);
	ck_assert_int_eq(n_woken, 0);
	remove_it();
	loop_run_once(loop);
	ck_assert_int_eq(n_woken, 2);
}
END_TEST

START_TEST(who_was_asked_to_give_up_cannot_put_to_rest)
{
	struct staging_waiter waiter = { .loop = loop, .fn = on_woken };

	ck_assert_int_eq(create(ID, 0, &entry), STAGING_NEW);
	entry->sink = a_sink();
	ck_assert(staging_wait(table, ID, &waiter, true));
	ck_assert(!staging_rest(entry, STAGED_COMPLETE, 1000));
	remove_it();
	loop_run_once(loop);
	ck_assert_int_eq(n_asked, 0);
	ck_assert_int_eq(n_woken, 1);
}
END_TEST

START_TEST(waiting_alone_asks_nobody)
{
	struct staging_waiter waiter = { .loop = loop, .fn = on_woken };

	ck_assert_int_eq(create(ID, 0, &entry), STAGING_NEW);
	entry->sink = a_sink();
	ck_assert(staging_wait(table, ID, &waiter, false));
	ck_assert(staging_rest(entry, STAGED_COMPLETE, 1000));
	loop_run_once(loop);
	ck_assert_int_eq(n_asked, 0);
	ck_assert_int_eq(n_woken, 1);
	entry = NULL;
	remove_it();
}
END_TEST

START_TEST(a_commit_is_waited_for_but_not_interrupted)
{
	struct staging_waiter waiter = { .loop = loop, .fn = on_woken };

	rest(STAGED_COMPLETE, 1000);
	ck_assert_int_eq(take(STAGED_COMMITTING), STAGING_TAKEN);
	ck_assert(staging_wait(table, ID, &waiter, true));
	ck_assert(staging_rest(entry, STAGED_COMPLETE, 2000));
	loop_run_once(loop);
	ck_assert_int_eq(n_woken, 1);
	entry = NULL;
	remove_it();
}
END_TEST

START_TEST(nobody_waits_for_what_is_not_held)
{
	struct staging_waiter waiter = { .loop = loop, .fn = on_woken };

	ck_assert(!staging_wait(table, ID, &waiter, true));
	rest(STAGED_PARTIAL, 1000);
	ck_assert(!staging_wait(table, ID, &waiter, true));
	remove_it();
}
END_TEST

START_TEST(only_old_entries_at_rest_expire)
{
	rest(STAGED_PARTIAL, 1000);
	ck_assert_int_eq(create(OTHER, 0, &second), STAGING_NEW);
	ck_assert_ptr_null(staging_take_old(table, 999, &deaf));
	entry = staging_take_old(table, 1000, &deaf);
	ck_assert_ptr_nonnull(entry);
	ck_assert_str_eq(entry->id, ID);
	ck_assert_ptr_null(staging_take_old(table, UINT64_MAX, &deaf));
	remove_it();
	staging_drop(&second);
}
END_TEST

START_TEST(a_look_tells_the_digest_of_complete_objects_only)
{
	struct staging_view view;

	ck_assert(!staging_look(table, ID, &view));
	rest(STAGED_COMPLETE, 1000);
	ck_assert(staging_look(table, ID, &view));
	ck_assert_uint_eq(view.offset, 5);
	ck_assert_uint_eq(strlen(view.sha256), DIGEST_HEX_SIZE - 1);
	ck_assert_int_eq(take(STAGED_COMMITTING), STAGING_TAKEN);
	ck_assert(staging_look(table, ID, &view));
	ck_assert_str_eq(view.sha256, "");
	ck_assert_int_eq(view.state, STAGED_COMMITTING);
	remove_it();
}
END_TEST

START_TEST(held_and_freshly_complete_objects_are_busy)
{
	ck_assert_uint_eq(staging_busy(table, 0), 0);
	rest(STAGED_COMPLETE, 1000);
	ck_assert_uint_eq(staging_at_rest(table), 1);
	ck_assert_uint_eq(staging_busy(table, 999), 1);
	ck_assert_uint_eq(staging_busy(table, 1000), 0);
	ck_assert_int_eq(take(STAGED_COMMITTING), STAGING_TAKEN);
	ck_assert_uint_eq(staging_at_rest(table), 0);
	ck_assert_uint_eq(staging_busy(table, 1000), 1);
	remove_it();
}
END_TEST

START_TEST(a_partial_object_keeps_nobody_waiting)
{
	rest(STAGED_PARTIAL, 1000);
	ck_assert_uint_eq(staging_busy(table, 0), 0);
	remove_it();
}
END_TEST

START_TEST(an_object_that_rests_cannot_be_dropped)
{
	struct staged *stolen;

	ck_assert_int_eq(create(ID, 0, &stolen), STAGING_NEW);
	stolen->sink = a_sink();
	ck_assert(staging_rest(stolen, STAGED_COMPLETE, 1000));
	staging_drop(&stolen);
}
END_TEST

/* ---- two threads ---------------------------------------------------- */

#define ROUNDS 2000

static struct loop *loops[2];
static atomic_int n_left;

/* Asked to give up: like a receiving exchange, drop on the own loop. */
static void drop_mine(void *arg)
{
	staging_drop(arg);
}

static void put_and_wait_until_dropped(void *arg)
{
	struct staged *mine = NULL;
	struct staging_holder self = { arg, drop_mine, &mine };

	for (int i = 0; i < ROUNDS; i++) {
		while (staging_create(table, ID, &self, 0, &mine, &touched) !=
		       STAGING_NEW)
			;
		while (mine)
			loop_run_once(arg);
	}
	atomic_fetch_sub(&n_left, 1);
}

static void delete_until_done(void *arg)
{
	struct staging_waiter waiter = { .loop = arg, .fn = on_woken };

	while (atomic_load(&n_left) > 0) {
		int before = n_woken;

		if (!staging_wait(table, ID, &waiter, true))
			continue;
		while (n_woken == before)
			loop_run_once(arg);
	}
}

static void *run_putter(void *arg)
{
	put_and_wait_until_dropped(arg);
	return NULL;
}

START_TEST(uploads_and_deletes_meet_on_two_threads)
{
	struct err err = ERR_INIT;
	pthread_t thread;

	for (int i = 0; i < 2; i++)
		ck_assert_ptr_nonnull(loops[i] = loop_new(&err));
	atomic_store(&n_left, 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, run_putter, loops[0]),
			 0);
	delete_until_done(loops[1]);
	pthread_join(thread, NULL);
	ck_assert_int_eq(n_woken, ROUNDS);
	for (int i = 0; i < 2; i++)
		loop_free(&loops[i]);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_new_id_is_held_by_who_created_it);
	tcase_add_test(tc, ids_do_not_disturb_each_other);
	tcase_add_test(tc, a_full_table_takes_no_more);
	tcase_add_test(tc, a_held_entry_cannot_be_taken);
	tcase_add_test(tc, an_entry_at_rest_is_taken_once);
	tcase_add_test(tc, what_was_touched_a_moment_ago_is_not_replaced);
	tcase_add_test(tc, what_was_forgotten_is_replaced_with_its_sink);
	tcase_add_test(tc, bytes_are_appended_where_they_end);
	tcase_add_test(tc, a_holder_is_asked_once_on_its_own_loop);
	tcase_add_test(tc, who_was_asked_to_give_up_cannot_put_to_rest);
	tcase_add_test(tc, waiting_alone_asks_nobody);
	tcase_add_test(tc, a_commit_is_waited_for_but_not_interrupted);
	tcase_add_test(tc, nobody_waits_for_what_is_not_held);
	tcase_add_test(tc, only_old_entries_at_rest_expire);
	tcase_add_test(tc, a_look_tells_the_digest_of_complete_objects_only);
	tcase_add_test(tc, held_and_freshly_complete_objects_are_busy);
	tcase_add_test(tc, a_partial_object_keeps_nobody_waiting);
	tcase_add_test_raise_signal(tc, an_object_that_rests_cannot_be_dropped,
				    SIGABRT);
	tcase_add_test(tc, uploads_and_deletes_meet_on_two_threads);
}

int main(void)
{
	Suite *suite = suite_create("staging");
	TCase *tc = tcase_create("staging");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
