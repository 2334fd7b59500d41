/* Bytes as rows of binary COPY, against a naive reader of that format. */
#include "reader/pg_rows.h"

#include "tests/unit/random.h"

#include <check.h>
#include <endian.h>
#include <stdint.h>
#include <stdlib.h>

#define BUF_BYTES 40000u

static struct pg_rows rows;
static char *content, *there;
static size_t n_there, n_rows;
static char buf[BUF_BYTES];

static void set_up(void)
{
	rows = (struct pg_rows){ .object = 0x1122334455667788 };
	content = malloc(200000);
	there = malloc(200000);
	for (size_t i = 0; i < 200000; i++)
		content[i] = (char)((i * 2654435761u) >> 13);
	n_there = n_rows = 0;
}

static void tear_down(void)
{
	free(content);
	free(there);
}

static uint32_t take_u32(const char **at)
{
	uint32_t value;

	memcpy(&value, *at, sizeof(value));
	*at += sizeof(value);
	return be32toh(value);
}

/* One row, whose number has to be `n_rows`; its bytes go behind the others. */
static const char *read_row(const char *at)
{
	uint64_t object;
	uint32_t len;

	ck_assert_mem_eq(at, "\0\3", 2);
	at += 2;
	ck_assert_uint_eq(take_u32(&at), 8);
	memcpy(&object, at, sizeof(object));
	at += sizeof(object);
	ck_assert_uint_eq(be64toh(object), 0x1122334455667788);
	ck_assert_uint_eq(take_u32(&at), 4);
	ck_assert_uint_eq(take_u32(&at), n_rows++);
	len = take_u32(&at);
	ck_assert_uint_le(len, PG_CHUNK_BYTES);
	memcpy(there + n_there, at, len);
	n_there += len;
	return at + len;
}

static void read_rows(size_t n)
{
	const char *at = buf;

	while (at < buf + n)
		at = read_row(at);
	ck_assert_ptr_eq(at, buf + n);
}

/* Give bytes in, read what comes out. */
static void feed(const char *bytes, size_t len)
{
	struct span in = span_make(bytes, len);
	size_t n;

	while ((n = pg_rows_cut(&rows, &in, buf, sizeof(buf))) > 0)
		read_rows(n);
	ck_assert_uint_eq(in.len, 0);
}

static void expect_content(size_t len)
{
	ck_assert_uint_eq(n_there, len);
	ck_assert_mem_eq(there, content, len);
}

START_TEST(copy_begins_with_its_signature)
{
	ck_assert_uint_eq(pg_copy_header.len, 19);
	ck_assert_mem_eq(pg_copy_header.ptr, "PGCOPY\n\377\r\n\0", 11);
	ck_assert_mem_eq(pg_copy_header.ptr + 11, "\0\0\0\0\0\0\0\0", 8);
}
END_TEST

START_TEST(less_than_a_row_makes_none)
{
	feed(content, PG_CHUNK_BYTES - 1);
	ck_assert_uint_eq(n_rows, 0);
	ck_assert_uint_eq(rows.tail_len, PG_CHUNK_BYTES - 1);
	ck_assert(!pg_rows_fill(&rows, 0));
	ck_assert(pg_rows_fill(&rows, 1));
}
END_TEST

START_TEST(a_whole_row_comes_at_once)
{
	feed(content, PG_CHUNK_BYTES);
	ck_assert_uint_eq(n_rows, 1);
	ck_assert_uint_eq(rows.tail_len, 0);
	expect_content(PG_CHUNK_BYTES);
}
END_TEST

START_TEST(the_end_is_a_shorter_row)
{
	feed(content, PG_CHUNK_BYTES + 5);
	read_rows(pg_rows_end(&rows, buf, sizeof(buf)));
	ck_assert_uint_eq(n_rows, 2);
	expect_content(PG_CHUNK_BYTES + 5);
}
END_TEST

START_TEST(no_tail_no_row_at_the_end)
{
	feed(content, 2 * PG_CHUNK_BYTES);
	ck_assert_uint_eq(pg_rows_end(&rows, buf, sizeof(buf)), 0);
}
END_TEST

START_TEST(after_an_end_more_may_come)
{
	feed(content, 10);
	ck_assert_uint_gt(pg_rows_end(&rows, buf, sizeof(buf)), 0);
	feed(content + 10, PG_CHUNK_BYTES);
	ck_assert_uint_eq(n_rows, 1);
	read_rows(pg_rows_end(&rows, buf, sizeof(buf)));
	expect_content(PG_CHUNK_BYTES + 10);
}
END_TEST

START_TEST(rows_do_not_depend_on_how_bytes_were_cut)
{
	size_t total, at = 0;

	random_state += (uint64_t)_i << 32;	/* each test is a process */
	total = 1 + random_below(199999);

	while (at < total) {
		size_t n = 1 + random_below(3 * PG_CHUNK_BYTES);

		if (n > total - at)
			n = total - at;
		feed(content + at, n);
		at += n;
	}
	read_rows(pg_rows_end(&rows, buf, sizeof(buf)));
	ck_assert_uint_eq(n_rows, (total + PG_CHUNK_BYTES - 1) /
					  PG_CHUNK_BYTES);
	expect_content(total);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rows of COPY");
	TCase *tc = tcase_create("rows");
	SRunner *sr;
	int failed;

	random_begin("pg_rows");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, copy_begins_with_its_signature);
	tcase_add_test(tc, less_than_a_row_makes_none);
	tcase_add_test(tc, a_whole_row_comes_at_once);
	tcase_add_test(tc, the_end_is_a_shorter_row);
	tcase_add_test(tc, no_tail_no_row_at_the_end);
	tcase_add_test(tc, after_an_end_more_may_come);
	tcase_add_loop_test(tc, rows_do_not_depend_on_how_bytes_were_cut, 0,
			    50);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
