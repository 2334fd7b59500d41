#include "broadcaster/media_merge.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/random.h"

#define DIGEST "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define N_READERS 4u
#define N_ROWS 40u
#define PLACES 300u

static struct media_page pages[N_READERS];

static void teardown(void)
{
	for (unsigned int i = 0; i < N_READERS; i++)
		media_page_release(&pages[i]);
}

static int read_page(struct media_page *page, struct media_order_by by,
		     const char *text)
{
	struct err err = ERR_INIT;

	memset(page, 0, sizeof(*page));
	page->reader = "r";
	return media_page_read(page, span_of(text), by, &err);
}

/* Rows of numbers: the id, and a size that repeats. */
static json_t *row_of(unsigned int number)
{
	char id[UUID_TEXT_SIZE];

	snprintf(id, sizeof(id), "0190a000-0000-7000-8000-%012x", number);
	return json_pack("{s:s, s:s, s:s, s:i}", "id", id, "sha256", DIGEST,
			 "name", "n", "size", (int)(number % 5));
}

static unsigned int number_of(const json_t *row)
{
	const char *id = json_string_value(json_object_get(row, "id"));

	return (unsigned int)strtoul(id + 24, NULL, 16);
}

/* Where a row stands by size and id; down: the other way round. */
static unsigned int place_of(unsigned int number, bool down)
{
	unsigned int place = 1 + number % 5 * 50 + number;

	return down ? PLACES - place : place;
}

/* A reader's page of at most `limit` of the numbers in `held`, behind `after`. */
static void answer(struct media_page *page, uint64_t held, unsigned int after,
		   size_t limit, struct media_order_by by)
{
	json_t *rows = json_array(), *root;
	bool more = false;
	size_t len;
	char *text;

	for (unsigned int place = after + 1; place < PLACES; place++)
		for (unsigned int n = 0; n < N_ROWS; n++) {
			if (!(held >> n & 1) ||
			    place_of(n, by.descending) != place)
				continue;
			if (json_array_size(rows) == limit)
				more = true;
			else
				json_array_append_new(rows, row_of(n));
		}
	root = json_pack("{s:o, s:o}", "objects", rows, "next",
			 more ? json_string("more") : json_null());
	text = json_print(root, &len);
	ck_assert_int_eq(read_page(page, by, text), 0);
	free(text);
}

/* All pages of random sets, against the union that is known. */
static void walk(bool down)
{
	struct media_order_by by = { MEDIA_BY_SIZE, down };
	uint64_t held[N_READERS], all = 0, seen = 0;
	unsigned int after = 0;	/* no row stands there: see place_of() */
	struct media_end end = { .more = true };

	for (unsigned int i = 0; i < N_READERS; i++) {
		held[i] = random_below(UINT64_C(1) << N_ROWS) &
			  random_below(UINT64_C(1) << N_ROWS);
		all |= held[i];
	}
	while (end.more) {
		size_t limit = 1 + random_below(7), i;
		json_t *merged, *row;

		for (i = 0; i < N_READERS; i++)
			answer(&pages[i], held[i], after,
			       1 + random_below(limit), by);
		merged = media_merge(pages, N_READERS, by, limit, &end);
		ck_assert_uint_le(json_array_size(merged), limit);
		json_array_foreach(merged, i, row) {
			ck_assert_uint_gt(place_of(number_of(row), down), after);
			after = place_of(number_of(row), down);
			seen |= UINT64_C(1) << number_of(row);
		}
		ck_assert(!end.more || json_array_size(merged) > 0);
		json_decref(merged);
		teardown();
	}
	ck_assert_uint_eq(seen, all);
}

START_TEST(all_rows_come_once_and_in_order_whatever_readers_hold)
{
	for (int i = 0; i < 300; i++)
		walk(i % 2);
}
END_TEST

static json_t *merge_two(const char *a, const char *b, struct media_order_by by,
			 size_t limit, struct media_end *end)
{
	ck_assert_int_eq(read_page(&pages[0], by, a), 0);
	ck_assert_int_eq(read_page(&pages[1], by, b), 0);
	pages[0].reader = "a";
	pages[1].reader = "b";
	return media_merge(pages, 2, by, limit, end);
}

#define ROW(n, more) \
	"{\"id\":\"0190a000-0000-7000-8000-00000000000" n "\",\"name\":\"x" n \
	"\",\"sha256\":\"" DIGEST "\",\"size\":1" n more "}"
#define PAGE(rows, next) "{\"objects\":[" rows "],\"next\":" next "}"

START_TEST(copies_name_the_readers)
{
	struct media_order_by by = { MEDIA_BY_ID, false };
	struct media_end end;
	json_t *merged = merge_two(PAGE(ROW("1", ""), "null"),
				   PAGE(ROW("1", ""), "null"), by, 9, &end);
	json_t *copies = json_object_get(json_array_get(merged, 0), "copies");

	ck_assert_uint_eq(json_array_size(merged), 1);
	ck_assert_str_eq(json_string_value(json_array_get(copies, 0)), "a");
	ck_assert_str_eq(json_string_value(json_array_get(copies, 1)), "b");
	ck_assert(!end.more);
	json_decref(merged);
}
END_TEST

START_TEST(nothing_behind_the_end_of_a_page_is_passed_on)
{
	struct media_order_by by = { MEDIA_BY_ID, false };
	struct media_end end;
	json_t *merged = merge_two(PAGE(ROW("2", ""), "\"c\""),
				   PAGE(ROW("1", "") "," ROW("3", ""), "null"),
				   by, 9, &end);

	ck_assert_uint_eq(json_array_size(merged), 2);
	ck_assert(end.more);
	ck_assert_str_eq(end.cursor, "c");
	json_decref(merged);
}
END_TEST

/* The row "1" is the last that is taken; "0" and "2" stand around it. */
static const struct {
	struct media_order_by by;
	size_t limit;
	const char *plain;
} cursors[] = {
	{ { MEDIA_BY_NAME, true }, 2,
	  "nd0190a000-0000-7000-8000-000000000001x1" },
	{ { MEDIA_BY_SIZE, false }, 2,
	  "sa0190a000-0000-7000-8000-00000000000111" },
	{ { MEDIA_BY_SCORE, false }, 1,
	  "ra0190a000-0000-7000-8000-000000000001-0.5" },
	{ { MEDIA_BY_ID, false }, 2,
	  "0190a000-0000-7000-8000-000000000001" },
};

START_TEST(cursors_are_written_as_readers_write_them)
{
	char wanted[MEDIA_CURSOR_SIZE];
	struct media_end end;
	json_t *merged = merge_two(PAGE(ROW("1", ",\"score\":0.5"), "null"),
				   PAGE(ROW("0", ",\"score\":0.25") ","
					ROW("2", ",\"score\":0.25"), "null"),
				   cursors[_i].by, cursors[_i].limit, &end);

	if (cursors[_i].by.sort == MEDIA_BY_ID)
		snprintf(wanted, sizeof(wanted), "%s", cursors[_i].plain);
	else
		base64_encode(BASE64_URL, span_of(cursors[_i].plain), wanted);
	ck_assert(end.more);
	ck_assert_str_eq(end.cursor, wanted);
	json_decref(merged);
}
END_TEST

START_TEST(a_page_in_disorder_is_put_in_order_only_if_it_is_all)
{
	struct media_order_by by = { MEDIA_BY_ID, false };

	ck_assert_int_eq(read_page(&pages[0], by,
				   PAGE(ROW("2", "") "," ROW("1", ""), "null")),
			 0);
	ck_assert_uint_eq(number_of(pages[0].rows[0]), 1);
	ck_assert_int_eq(read_page(&pages[1], by,
				   PAGE(ROW("2", "") "," ROW("1", ""), "\"c\"")),
			 -1);
}
END_TEST

static const char *const bad[] = {
	"",
	"[]",
	"{}",
	"{\"objects\":{}}",
	PAGE("", "\"c\""),
	PAGE("1", "null"),
	PAGE("{\"id\":\"x\"}", "null"),
};

START_TEST(what_is_no_page_is_refused)
{
	struct media_order_by by = { MEDIA_BY_ID, false };

	ck_assert_int_eq(read_page(&pages[0], by, bad[_i]), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("media_merge");
	TCase *tc = tcase_create("media_merge");
	SRunner *runner = srunner_create(suite);
	int failed;

	random_begin("media_merge");
	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_test(tc, all_rows_come_once_and_in_order_whatever_readers_hold);
	tcase_add_test(tc, copies_name_the_readers);
	tcase_add_test(tc, nothing_behind_the_end_of_a_page_is_passed_on);
	tcase_add_loop_test(tc, cursors_are_written_as_readers_write_them, 0,
			    sizeof(cursors) / sizeof(cursors[0]));
	tcase_add_test(tc, a_page_in_disorder_is_put_in_order_only_if_it_is_all);
	tcase_add_loop_test(tc, what_is_no_page_is_refused, 0,
			    sizeof(bad) / sizeof(bad[0]));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
