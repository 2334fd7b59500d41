#include "common/ring.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/unit/random.h"

static struct ring *ring;

static void make_ring(void)
{
	ring = ring_new(RING_MIN_CAPACITY);
	ck_assert_ptr_nonnull(ring);
}

static void drop_ring(void)
{
	ring_free(&ring);
	ck_assert_ptr_null(ring);
}

/* Commit `len` bytes of value `fill`, in as many pieces as the wrap needs. */
static void put(int fill, size_t len)
{
	while (len > 0) {
		struct ring_room room = ring_reserve(ring, 0);
		size_t n = room.len < len ? room.len : len;

		ck_assert_uint_gt(n, 0);
		memset(room.ptr, fill, n);
		ring_commit(ring, n);
		len -= n;
	}
}

START_TEST(a_new_ring_is_empty)
{
	ck_assert_uint_eq(ring_capacity(ring), RING_MIN_CAPACITY);
	ck_assert_uint_eq(ring_head(ring), 0);
	ck_assert_uint_eq(ring_tail(ring), 0);
	ck_assert_uint_eq(ring_used(ring), 0);
	ck_assert_uint_eq(ring_space(ring), RING_MIN_CAPACITY);
}
END_TEST

START_TEST(memory_begins_on_a_page)
{
	static const size_t capacities[] = { 1024, 5000, 128 * 1024 - 1,
					     128 * 1024, 1000003 };

	for (size_t i = 0; i < sizeof(capacities) / sizeof(size_t); i++) {
		struct ring *other = ring_new(capacities[i]);
		struct ring_room room = ring_reserve(other, 0);

		ck_assert_uint_eq((uintptr_t)room.ptr % 4096, 0);
		ck_assert_uint_eq(room.len, capacities[i]);
		memset(room.ptr, 'x', room.len);
		ring_free(&other);
	}
}
END_TEST

START_TEST(memory_that_is_not_written_is_not_resident)
{
	enum { PAGES = 1024 };
	struct ring *big = ring_new((size_t)PAGES * 4096);
	static unsigned char resident[PAGES];
	size_t n = 0;

	ck_assert_int_eq(mincore(ring_reserve(big, 0).ptr, (size_t)PAGES * 4096,
				 resident), 0);
	for (size_t i = 0; i < PAGES; i++)
		n += resident[i] & 1;
	ck_assert_uint_eq(n, 0);
	ring_free(&big);
}
END_TEST

START_TEST(committed_bytes_reach_the_cursor)
{
	struct ring_cursor c = { 0 };

	ring_attach(ring, &c);
	memcpy(ring_reserve(ring, 0).ptr, "hello", 5);
	ring_commit(ring, 5);
	ck_assert_uint_eq(ring_lag(ring, &c), 5);
	ck_assert(span_eq(ring_peek(ring, &c), SPAN_LIT("hello")));
	ring_advance(ring, &c, 2);
	ck_assert(span_eq(ring_peek(ring, &c), SPAN_LIT("llo")));
	ring_detach(ring, &c);
}
END_TEST

START_TEST(a_cursor_that_caught_up_peeks_nothing)
{
	struct ring_cursor c = { 0 };

	ring_attach(ring, &c);
	put('a', 10);
	ring_advance(ring, &c, 10);
	ck_assert_uint_eq(ring_lag(ring, &c), 0);
	ck_assert_uint_eq(ring_peek(ring, &c).len, 0);
	ring_detach(ring, &c);
}
END_TEST

START_TEST(a_full_ring_grants_no_space)
{
	struct ring_cursor c = { 0 };

	ring_attach(ring, &c);
	put('a', RING_MIN_CAPACITY);
	ck_assert_uint_eq(ring_space(ring), 0);
	ck_assert_uint_eq(ring_reserve(ring, 0).len, 0);
	ck_assert_uint_eq(ring_used(ring), RING_MIN_CAPACITY);
	ring_advance(ring, &c, 1);
	ck_assert_uint_eq(ring_reserve(ring, 0).len, 1);
	ring_detach(ring, &c);
}
END_TEST

START_TEST(a_ring_that_nobody_reads_takes_everything)
{
	put('a', 10 * RING_MIN_CAPACITY + 7);
	ck_assert_uint_eq(ring_head(ring), 10 * RING_MIN_CAPACITY + 7);
	ck_assert_uint_eq(ring_tail(ring), ring_head(ring));
	ck_assert_uint_eq(ring_space(ring), RING_MIN_CAPACITY);
}
END_TEST

START_TEST(a_reservation_stops_at_the_end_of_memory)
{
	struct ring_cursor c = { 0 };
	char *start = ring_reserve(ring, 0).ptr;

	ring_attach(ring, &c);
	put('a', 1000);
	ring_advance(ring, &c, 900);
	ck_assert_uint_eq(ring_reserve(ring, 0).len, 24);
	ck_assert_ptr_eq(ring_reserve(ring, 24).ptr, start);
	ck_assert_uint_eq(ring_reserve(ring, 24).len, 900);
	ring_detach(ring, &c);
}
END_TEST

START_TEST(an_empty_ring_rewinds_to_the_start_of_memory)
{
	struct ring_cursor cursor = { 0 };
	char *start = ring_reserve(ring, 0).ptr;

	ring_attach(ring, &cursor);
	put('a', 700);
	ring_advance(ring, &cursor, 700);
	ring_rewind(ring);
	ck_assert_ptr_eq(ring_reserve(ring, 0).ptr, start);
	ck_assert_uint_eq(ring_reserve(ring, 0).len, RING_MIN_CAPACITY);
	ck_assert_uint_eq(ring_head(ring), 700);
	put('b', 1);
	ck_assert_ptr_eq(ring_peek(ring, &cursor).ptr, start);
	ring_detach(ring, &cursor);
}
END_TEST

START_TEST(a_ring_with_unread_bytes_does_not_rewind)
{
	struct ring_cursor cursor = { 0 };
	char *start = ring_reserve(ring, 0).ptr;

	ring_attach(ring, &cursor);
	put('a', 700);
	ring_advance(ring, &cursor, 699);
	ring_rewind(ring);
	ck_assert_ptr_eq(ring_reserve(ring, 0).ptr, start + 700);
	ck_assert_ptr_eq(ring_peek(ring, &cursor).ptr, start + 699);
	ring_detach(ring, &cursor);
}
END_TEST

START_TEST(skipping_leaves_room_in_front)
{
	char *start = ring_reserve(ring, 0).ptr;

	ck_assert_ptr_eq(ring_reserve(ring, 10).ptr, start + 10);
	ck_assert_uint_eq(ring_reserve(ring, 10).len, RING_MIN_CAPACITY - 10);
	ck_assert_uint_eq(ring_reserve(ring, RING_MIN_CAPACITY).len, 0);
	ck_assert_uint_eq(ring_reserve(ring, SIZE_MAX).len, 0);
}
END_TEST

START_TEST(a_peek_stops_at_the_end_of_memory)
{
	struct ring_cursor c = { 0 };

	put('a', 1000);
	ring_attach(ring, &c);
	put('b', 100);
	ck_assert_uint_eq(ring_peek(ring, &c).len, 24);
	ring_advance(ring, &c, 24);
	ck_assert_uint_eq(ring_peek(ring, &c).len, 76);
	ring_detach(ring, &c);
}
END_TEST

START_TEST(the_slowest_cursor_is_the_tail)
{
	struct ring_cursor a = { 0 }, b = { 0 };

	ring_attach(ring, &a);
	ring_attach(ring, &b);
	put('x', 100);
	ring_advance(ring, &a, 60);
	ring_advance(ring, &b, 40);
	ck_assert_uint_eq(ring_tail(ring), 40);
	ck_assert_uint_eq(ring_used(ring), 60);
	ring_detach(ring, &b);
	ck_assert_uint_eq(ring_tail(ring), 60);
	ring_detach(ring, &a);
}
END_TEST

START_TEST(detaching_the_laggard_frees_a_full_ring)
{
	struct ring_cursor quick = { 0 }, slow = { 0 };

	ring_attach(ring, &quick);
	ring_attach(ring, &slow);
	put('x', RING_MIN_CAPACITY);
	ring_advance(ring, &quick, RING_MIN_CAPACITY);
	ck_assert_uint_eq(ring_space(ring), 0);
	ring_detach(ring, &slow);
	ck_assert_uint_eq(ring_space(ring), RING_MIN_CAPACITY);
	ring_detach(ring, &quick);
}
END_TEST

START_TEST(a_late_cursor_begins_at_the_tail)
{
	struct ring_cursor first = { 0 }, late = { 0 };

	ring_attach(ring, &first);
	put('x', 100);
	ring_advance(ring, &first, 30);
	ring_attach(ring, &late);
	ck_assert_uint_eq(late.position, 30);
	ring_detach(ring, &first);
	ring_detach(ring, &late);
	put('x', 5);
	ring_attach(ring, &late);
	ck_assert_uint_eq(late.position, 105);
	ring_detach(ring, &late);
}
END_TEST

START_TEST(detaching_twice_is_harmless)
{
	struct ring_cursor a = { 0 }, b = { 0 }, c = { 0 };

	ring_attach(ring, &a);
	ring_attach(ring, &b);
	ring_attach(ring, &c);
	ring_detach(ring, &b);
	ring_detach(ring, &b);
	put('x', 3);
	ring_advance(ring, &a, 3);
	ck_assert_uint_eq(ring_tail(ring), 0);
	ring_detach(ring, &c);
	ring_detach(ring, &a);
}
END_TEST

START_TEST(a_reset_ring_counts_from_0_at_the_start_of_memory)
{
	char *start = ring_reserve(ring, 0).ptr;

	put('x', 1500);
	ring_reset(ring);
	ck_assert_uint_eq(ring_head(ring), 0);
	ck_assert_ptr_eq(ring_reserve(ring, 0).ptr, start);
	ck_assert_uint_eq(ring_space(ring), RING_MIN_CAPACITY);
}
END_TEST

START_TEST(freeing_nothing_is_harmless)
{
	struct ring *none = NULL;

	ring_free(&none);
	ck_assert_ptr_null(none);
}
END_TEST

START_TEST(committing_more_than_the_space_is_a_bug)
{
	ring_commit(ring, RING_MIN_CAPACITY + 1);
}
END_TEST

START_TEST(overtaking_the_head_is_a_bug)
{
	struct ring_cursor c = { 0 };

	ring_attach(ring, &c);
	ring_advance(ring, &c, 1);
}
END_TEST

START_TEST(attaching_twice_is_a_bug)
{
	struct ring_cursor c = { 0 };

	ring_attach(ring, &c);
	ring_attach(ring, &c);
}
END_TEST

START_TEST(resetting_under_a_reader_is_a_bug)
{
	struct ring_cursor c = { 0 };

	ring_attach(ring, &c);
	ring_reset(ring);
}
END_TEST

START_TEST(freeing_under_a_reader_is_a_bug)
{
	struct ring_cursor c = { 0 };

	ring_attach(ring, &c);
	ring_free(&ring);
}
END_TEST

/* ---- the model: a ring is a view of all bytes ever written -------------- */

#define MODEL_CURSORS 7
#define MODEL_BYTES (256u * 1024)

struct model {
	char bytes[MODEL_BYTES];	/* everything written, never wrapped */
	size_t head;
	size_t positions[MODEL_CURSORS];
	bool attached[MODEL_CURSORS];
	struct ring_cursor cursors[MODEL_CURSORS];
};

static size_t model_tail(const struct model *m)
{
	size_t tail = m->head;

	for (size_t i = 0; i < MODEL_CURSORS; i++)
		if (m->attached[i] && m->positions[i] < tail)
			tail = m->positions[i];
	return tail;
}

/* Bytes may be written behind a gap and the gap filled after: see `skip`. */
static void model_write(struct model *m, struct ring *r)
{
	size_t space = ring_capacity(r) - (m->head - model_tail(m));
	size_t skip = random_below(8) ? 0 : random_below(space + 2);
	struct ring_room room = ring_reserve(r, skip);
	size_t n;

	ck_assert_uint_eq(room.len > 0, skip < space);
	if (skip > 0) {
		memset(room.ptr, 'G', room.len);
		return;
	}
	n = random_below(room.len + 1);
	if (n > MODEL_BYTES - m->head)
		n = MODEL_BYTES - m->head;
	for (size_t i = 0; i < n; i++)
		room.ptr[i] = m->bytes[m->head++] = (char)random_below(256);
	ring_commit(r, n);
}

static void model_read(struct model *m, struct ring *r, size_t i)
{
	struct span unread;
	size_t n;

	if (!m->attached[i])
		return;
	unread = ring_peek(r, &m->cursors[i]);
	ck_assert_uint_eq(unread.len > 0, m->positions[i] < m->head);
	ck_assert_uint_le(unread.len, m->head - m->positions[i]);
	if (unread.len > 0)
		ck_assert_mem_eq(unread.ptr, m->bytes + m->positions[i],
				 unread.len);
	n = random_below(unread.len + 1);
	ring_advance(r, &m->cursors[i], n);
	m->positions[i] += n;
}

static void model_switch(struct model *m, struct ring *r, size_t i)
{
	if (m->attached[i]) {
		ring_detach(r, &m->cursors[i]);
	} else {
		m->positions[i] = model_tail(m);
		ring_attach(r, &m->cursors[i]);
		ck_assert_uint_eq(m->cursors[i].position, m->positions[i]);
	}
	m->attached[i] = !m->attached[i];
}

static void model_compare(const struct model *m, const struct ring *r)
{
	size_t used = m->head - model_tail(m);

	ck_assert_uint_eq(ring_head(r), m->head);
	ck_assert_uint_eq(ring_tail(r), model_tail(m));
	ck_assert_uint_eq(ring_used(r), used);
	ck_assert_uint_eq(ring_space(r), ring_capacity(r) - used);
	for (size_t i = 0; i < MODEL_CURSORS; i++)
		if (m->attached[i])
			ck_assert_uint_eq(ring_lag(r, &m->cursors[i]),
					  m->head - m->positions[i]);
}

static void model_step(struct model *m, struct ring *r)
{
	size_t i = random_below(MODEL_CURSORS);

	switch (random_below(16)) {
	case 0:
		model_switch(m, r, i);
		break;
	case 1: case 2: case 3: case 4: case 5:
		model_write(m, r);
		break;
	case 6:
		ring_rewind(r);
		break;
	default:
		model_read(m, r, i);
	}
	model_compare(m, r);
}

static void model_end(struct model *m, struct ring **r)
{
	for (size_t i = 0; i < MODEL_CURSORS; i++)
		ring_detach(*r, &m->cursors[i]);
	ring_reset(*r);
	ck_assert_uint_eq(ring_head(*r), 0);
	ring_free(r);
}

static void model_run(struct model *m)
{
	size_t capacity = 1024 + random_below(5000 - 1024 + 1);
	struct ring *r = ring_new(capacity);

	memset(m, 0, sizeof(*m));
	for (int step = 0; step < 4000 && m->head < MODEL_BYTES; step++)
		model_step(m, r);
	ck_assert_uint_gt(m->head, 2 * capacity);
	model_end(m, &r);
}

START_TEST(the_ring_behaves_like_an_endless_array)
{
	static struct model m;

	for (int run = 0; run < 50; run++)
		model_run(&m);
}
END_TEST

static void add_bugs(Suite *suite)
{
	TCase *tc = tcase_create("bugs");

	tcase_add_checked_fixture(tc, make_ring, NULL);
	tcase_add_test_raise_signal(tc, committing_more_than_the_space_is_a_bug,
				    SIGABRT);
	tcase_add_test_raise_signal(tc, overtaking_the_head_is_a_bug, SIGABRT);
	tcase_add_test_raise_signal(tc, attaching_twice_is_a_bug, SIGABRT);
	tcase_add_test_raise_signal(tc, resetting_under_a_reader_is_a_bug,
				    SIGABRT);
	tcase_add_test_raise_signal(tc, freeing_under_a_reader_is_a_bug,
				    SIGABRT);
	suite_add_tcase(suite, tc);
}

static void add_cases(Suite *suite)
{
	TCase *tc = tcase_create("ring");

	tcase_add_checked_fixture(tc, make_ring, drop_ring);
	tcase_add_test(tc, a_new_ring_is_empty);
	tcase_add_test(tc, memory_begins_on_a_page);
	tcase_add_test(tc, memory_that_is_not_written_is_not_resident);
	tcase_add_test(tc, committed_bytes_reach_the_cursor);
	tcase_add_test(tc, a_cursor_that_caught_up_peeks_nothing);
	tcase_add_test(tc, a_full_ring_grants_no_space);
	tcase_add_test(tc, a_ring_that_nobody_reads_takes_everything);
	tcase_add_test(tc, a_reservation_stops_at_the_end_of_memory);
	tcase_add_test(tc, an_empty_ring_rewinds_to_the_start_of_memory);
	tcase_add_test(tc, a_ring_with_unread_bytes_does_not_rewind);
	tcase_add_test(tc, skipping_leaves_room_in_front);
	tcase_add_test(tc, a_peek_stops_at_the_end_of_memory);
	tcase_add_test(tc, the_slowest_cursor_is_the_tail);
	tcase_add_test(tc, detaching_the_laggard_frees_a_full_ring);
	tcase_add_test(tc, a_late_cursor_begins_at_the_tail);
	tcase_add_test(tc, detaching_twice_is_harmless);
	tcase_add_test(tc, a_reset_ring_counts_from_0_at_the_start_of_memory);
	tcase_add_test(tc, freeing_nothing_is_harmless);
	suite_add_tcase(suite, tc);
}

static void add_model(Suite *suite)
{
	TCase *tc = tcase_create("model");

	random_begin("ring");
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, the_ring_behaves_like_an_endless_array);
	suite_add_tcase(suite, tc);
}

int main(void)
{
	Suite *suite = suite_create("ring");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_cases(suite);
	add_bugs(suite);
	add_model(suite);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
