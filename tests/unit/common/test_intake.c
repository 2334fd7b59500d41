#include "common/intake.h"

#include <check.h>
#include <stdlib.h>

#include "tests/unit/random.h"

/* ---- a request that delivers its body in scripted pieces -------------- */

struct http_exchange {
	struct span content_type;
	struct span metadata;	/* Upload-Metadata */
	struct span body;
	size_t at;
	size_t piece;		/* bytes until the next AGAIN */
	size_t step;		/* size of the pieces after the first */
	bool lost;		/* the client goes away instead of an end */
	char *read_to;		/* where the last bytes were put */
};

struct span http_request_field(const struct http_exchange *x, const char *name)
{
	if (span_eq_nocase(span_of(name), SPAN_LIT("upload-metadata")))
		return x->metadata;
	ck_assert(span_eq_nocase(span_of(name), SPAN_LIT("content-type")));
	return x->content_type;
}

static enum http_body fake_end(const struct http_exchange *x, struct err *err)
{
	if (!x->lost)
		return HTTP_BODY_END;
	err_set(err, ERR_CLIENT, "the client closed the connection");
	return HTTP_BODY_BAD;
}

enum http_body http_body_read(struct http_exchange *x, char *buf, size_t room,
			      size_t *n, struct err *err)
{
	size_t left = x->body.len - x->at;

	ck_assert_uint_gt(room, 0);
	if (left == 0)
		return fake_end(x, err);
	if (x->piece == 0) {
		x->piece = x->step;
		return HTTP_BODY_AGAIN;
	}
	*n = x->piece < room ? x->piece : room;
	if (*n > left)
		*n = left;
	memcpy(buf, x->body.ptr + x->at, *n);
	x->read_to = buf;
	x->at += *n;
	x->piece -= *n;
	return HTTP_BODY_DATA;
}

/* ---- an application that drains the ring and writes down what it sees - */

enum drain {
	DRAIN_RANDOM,	/* any amount after each event */
	DRAIN_LATE,	/* one byte, and only when the ring is full */
};

struct run {
	struct http_exchange x;
	struct intake intake;
	struct ring *ring;
	struct ring_cursor cursor;
	enum drain drain;
	bool reset;		/* the ring between objects */
	unsigned int n_full;
	size_t len;
	char seen[16 * 1024];
};

static void see(struct run *run, struct span bytes)
{
	ck_assert_uint_le(bytes.len, sizeof(run->seen) - run->len);
	if (bytes.len > 0)
		memcpy(run->seen + run->len, bytes.ptr, bytes.len);
	run->len += bytes.len;
}

static void take(struct run *run, size_t n)
{
	while (n > 0) {
		struct span bytes = ring_peek(run->ring, &run->cursor);

		if (bytes.len > n)
			bytes.len = n;
		ck_assert_uint_gt(bytes.len, 0);
		see(run, bytes);
		ring_advance(run->ring, &run->cursor, bytes.len);
		n -= bytes.len;
	}
}

static void on_object(struct run *run)
{
	see(run, SPAN_LIT("<"));
	see(run, span_of(run->intake.name));
	see(run, SPAN_LIT(":"));
	see(run, span_of(run->intake.content_type));
	see(run, SPAN_LIT(">"));
}

static void on_data(struct run *run)
{
	size_t lag = ring_lag(run->ring, &run->cursor);

	ck_assert_uint_gt(lag, 0);
	if (run->drain == DRAIN_RANDOM)
		take(run, random_below(lag + 1));
}

static void on_full(struct run *run)
{
	size_t lag = ring_lag(run->ring, &run->cursor);

	ck_assert_uint_gt(lag, 0);
	run->n_full++;
	take(run, run->drain == DRAIN_RANDOM ? 1 + random_below(lag) : 1);
}

static void on_object_end(struct run *run)
{
	take(run, ring_lag(run->ring, &run->cursor));
	see(run, SPAN_LIT("</>"));
	if (!run->reset)
		return;
	ring_detach(run->ring, &run->cursor);
	ring_reset(run->ring);
	ring_attach(run->ring, &run->cursor);
}

static void on_bad(struct run *run, const struct err *err)
{
	char text[8];

	snprintf(text, sizeof(text), "!%d", err->status);
	take(run, ring_lag(run->ring, &run->cursor));
	see(run, span_of(text));
}

/* One event; false when there will be none after it. */
static bool turn(struct run *run)
{
	struct err err = ERR_INIT;

	switch (intake_next(&run->intake, run->ring, &err)) {
	case INTAKE_AGAIN:
		break;
	case INTAKE_FULL:
		on_full(run);
		break;
	case INTAKE_OBJECT:
		on_object(run);
		break;
	case INTAKE_DATA:
		on_data(run);
		break;
	case INTAKE_OBJECT_END:
		on_object_end(run);
		break;
	case INTAKE_END:
		see(run, SPAN_LIT("."));
		return false;
	case INTAKE_BAD:
		on_bad(run, &err);
		return false;
	}
	return true;
}

static struct run run;

static void set_up(void)
{
	memset(&run, 0, sizeof(run));
	run.ring = ring_new(RING_MIN_CAPACITY);
	ring_attach(run.ring, &run.cursor);
}

static void tear_down(void)
{
	intake_release(&run.intake);
	ring_detach(run.ring, &run.cursor);
	ring_free(&run.ring);
}

/* Begin with a body that comes in pieces: `first` bytes, then `step` each. */
static void begin(bool as_form, struct span body, size_t first, size_t step)
{
	struct err err = ERR_INIT;

	intake_release(&run.intake);
	run.len = 0;
	run.x = (struct http_exchange){
		.content_type = SPAN_LIT("multipart/form-data; boundary=XYZ"),
		.body = body, .piece = first, .step = step,
	};
	ck_assert_int_eq(intake_init(&run.intake, &run.x, as_form, &err), 0);
	ck_assert_int_eq(run.intake.form != NULL, as_form);
}

static bool run_saw(struct span expected)
{
	return span_eq(span_make(run.seen, run.len), expected);
}

static void play(bool as_form, struct span body, size_t first, size_t step)
{
	begin(as_form, body, first, step);
	while (turn(&run))
		;
}

/* ---- raw bodies ------------------------------------------------------- */

START_TEST(a_raw_body_is_one_object)
{
	play(false, SPAN_LIT("hello world"), 5, 2);
	ck_assert(run_saw(SPAN_LIT("<:>hello world</>.")));
	ck_assert_uint_eq(run.intake.received, 11);
}
END_TEST

START_TEST(an_empty_raw_body_is_an_empty_object)
{
	play(false, SPAN_LIT(""), 1, 1);
	ck_assert(run_saw(SPAN_LIT("<:></>.")));
}
END_TEST

START_TEST(a_raw_body_that_breaks_off_never_ends)
{
	begin(false, SPAN_LIT("hello"), 5, 5);
	run.x.lost = true;
	while (turn(&run))
		;
	ck_assert(run_saw(SPAN_LIT("<:>hello!0")));
}
END_TEST

START_TEST(a_full_ring_stops_a_raw_body_and_loses_nothing)
{
	char body[5000];

	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (char)random_below(256);
	run.drain = DRAIN_LATE;
	play(false, span_make(body, sizeof(body)), 5000, 1);
	ck_assert_uint_eq(run.n_full, sizeof(body) - RING_MIN_CAPACITY + 1);
	ck_assert_mem_eq(run.seen + 3, body, sizeof(body));
}
END_TEST

START_TEST(the_end_is_told_again)
{
	struct err err = ERR_INIT;

	play(false, SPAN_LIT("a"), 1, 1);
	ck_assert_int_eq(intake_next(&run.intake, run.ring, &err), INTAKE_END);
}
END_TEST

/* ---- forms ------------------------------------------------------------ */

#define NL "\r\n"
#define D NL "--XYZ" NL
#define FIELD(name) "Content-Disposition: form-data; name=" name NL NL
#define FILE_(name) "Content-Disposition: form-data; name=f; filename=" name NL
#define TYPE(type) "Content-Type: " type NL
#define CLOSE NL "--XYZ--" NL

START_TEST(each_file_of_a_form_is_an_object)
{
	play(true, SPAN_LIT("--XYZ" NL FILE_("a.txt") TYPE("text/plain") NL
			    "one" D FILE_("b") NL D FILE_("c") NL "three"
			    CLOSE), 1000, 1);
	ck_assert(run_saw(SPAN_LIT("<a.txt:text/plain>one</><b:></>"
				   "<c:>three</>.")));
	ck_assert_uint_eq(run.intake.received, 8);
}
END_TEST

START_TEST(fields_do_not_reach_the_ring)
{
	play(true, SPAN_LIT("--XYZ" NL FIELD("a") "no" D FILE_("f") NL "yes"
			    D FIELD("b") "no" CLOSE "epilogue"), 1000, 1);
	ck_assert(run_saw(SPAN_LIT("<f:>yes</>.")));
	ck_assert_uint_eq(ring_head(run.ring), 3);
}
END_TEST

static void play_keeping_fields(struct span body, size_t first, size_t step)
{
	begin(true, body, first, step);
	intake_keep_fields(&run.intake);
	while (turn(&run))
		;
}

static const char *kept(const char *key)
{
	ck_assert_ptr_nonnull(run.intake.metadata);
	return metadata_get(run.intake.metadata, key);
}

START_TEST(fields_are_kept_only_when_they_are_asked_for)
{
	play(true, SPAN_LIT("--XYZ" NL FIELD("a") "no" CLOSE), 9, 9);
	ck_assert_ptr_null(run.intake.metadata);
	play_keeping_fields(SPAN_LIT("--XYZ" NL FILE_("f") NL "x" CLOSE), 9, 9);
	ck_assert_ptr_null(run.intake.metadata);
}
END_TEST

START_TEST(fields_before_and_after_files_are_kept_however_they_are_cut)
{
	static const char body[] =
		"--XYZ" NL FIELD("title") "one" NL "--XY" D FILE_("f") NL
		"yes" D FIELD("\"a b\"; x=y") "no" CLOSE;
	static const char good[] =
		"--XYZ" NL FIELD("title") "one" NL "--XY" D FILE_("f") NL
		"yes" D FIELD("ab") "\xc3\xa4" NL D FIELD("empty") CLOSE;

	for (size_t first = 1; first < sizeof(good); first++) {
		play_keeping_fields(span_of(good), first, 1 + first % 7);
		ck_assert(run_saw(SPAN_LIT("<f:>yes</>.")));
		ck_assert_str_eq(kept("title"), "one" NL "--XY");
		ck_assert_str_eq(kept("ab"), "\xc3\xa4" NL);
	}
	play_keeping_fields(span_of(body), 5, 5);
	ck_assert(run_saw(SPAN_LIT("<f:>yes</>!400")));
}
END_TEST

START_TEST(a_file_input_without_a_file_is_no_field)
{
	play_keeping_fields(SPAN_LIT("--XYZ" NL FILE_("\"\"") NL CLOSE), 9, 9);
	ck_assert(run_saw(SPAN_LIT(".")));
	ck_assert_ptr_null(run.intake.metadata);
}
END_TEST

START_TEST(a_bad_field_is_bad_at_once)
{
	play_keeping_fields(SPAN_LIT("--XYZ" NL FIELD("title") "\xff" D
				     FILE_("f") NL "yes" CLOSE), 9, 9);
	ck_assert(run_saw(SPAN_LIT("!400")));
}
END_TEST

START_TEST(upload_metadata_comes_first)
{
	struct err err = ERR_INIT;

	begin(true, SPAN_LIT("--XYZ" NL FIELD("title") "form" D FIELD("k")
			     "v" CLOSE), 9, 9);
	run.x.metadata = SPAN_LIT("title aGVhZA==");
	intake_keep_fields(&run.intake);
	ck_assert_int_eq(intake_take_metadata(&run.intake, &err), 0);
	while (turn(&run))
		;
	ck_assert_str_eq(kept("title"), "head");
	ck_assert_str_eq(kept("k"), "v");
	run.x.metadata = SPAN_LIT("title !");
	ck_assert_int_eq(intake_take_metadata(&run.intake, &err), -1);
	ck_assert_int_eq(err.status, 400);
}
END_TEST

START_TEST(a_form_without_files_has_no_objects)
{
	play(true, SPAN_LIT("--XYZ" NL FIELD("a") "no" CLOSE), 9, 9);
	ck_assert(run_saw(SPAN_LIT(".")));
}
END_TEST

START_TEST(a_form_without_a_close_boundary_is_bad)
{
	play(true, SPAN_LIT("--XYZ" NL FILE_("f") NL "data" NL "--XYZ"), 9, 9);
	ck_assert(run_saw(SPAN_LIT("<f:>data!400")));
}
END_TEST

START_TEST(a_form_that_is_refused_says_why)
{
	play(true, SPAN_LIT("--XYZ" NL "Content-Transfer-Encoding: base64" NL
			    FILE_("f") NL), 9, 9);
	ck_assert(run_saw(SPAN_LIT("!415")));
}
END_TEST

START_TEST(a_form_that_breaks_off_never_ends)
{
	begin(true, SPAN_LIT("--XYZ" NL FILE_("f") NL "data" NL "--X"), 50, 50);
	run.x.lost = true;
	while (turn(&run))
		;
	ck_assert(run_saw(SPAN_LIT("<f:>data!0")));
}
END_TEST

START_TEST(a_form_needs_a_boundary)
{
	struct http_exchange x = { .content_type =
					   SPAN_LIT("multipart/form-data") };
	struct err err = ERR_INIT;

	ck_assert_int_eq(intake_init(&run.intake, &x, true, &err), -1);
	ck_assert_int_eq(err_http_status(&err), 400);
	ck_assert_ptr_null(run.intake.form);
}
END_TEST

START_TEST(a_files_bytes_stay_where_they_were_received)
{
	struct span head = SPAN_LIT("--XYZ" NL FILE_("f") NL);

	run.drain = DRAIN_LATE;
	begin(true, SPAN_LIT("--XYZ" NL FILE_("f") NL "some data\r and more"),
	      head.len, 9);
	turn(&run);
	ck_assert_uint_eq(run.x.at, head.len);
	turn(&run);
	turn(&run);
	ck_assert_uint_eq(run.x.at, head.len + 9);
	ck_assert_ptr_eq(ring_peek(run.ring, &run.cursor).ptr, run.x.read_to);
	ck_assert(span_eq(ring_peek(run.ring, &run.cursor),
			  SPAN_LIT("some data")));
}
END_TEST

/* Withheld bytes are not in the ring yet, but need their place in it. */
START_TEST(a_ring_with_room_for_withheld_bytes_only_is_full)
{
	struct err err = ERR_INIT;

	ring_commit(run.ring, RING_MIN_CAPACITY - 6);
	begin(true, SPAN_LIT("--XYZ" NL FILE_("f") NL NL "--XYz"), 1000, 1);
	turn(&run);
	ck_assert_uint_eq(ring_space(run.ring), 6);
	ck_assert_int_eq(intake_next(&run.intake, run.ring, &err),
			 INTAKE_FULL);
	ring_advance(run.ring, &run.cursor, RING_MIN_CAPACITY - 6);
	run.x.lost = true;
	while (turn(&run))
		;
	ck_assert(run_saw(SPAN_LIT("<f:>" NL "--XYz!0")));
}
END_TEST

/* ---- a form larger than the ring, cut everywhere ---------------------- */

static char form[8192], expected[8192];
static size_t form_len, expected_len;

static void add(struct span s)
{
	memcpy(form + form_len, s.ptr, s.len);
	form_len += s.len;
}

static void add_expected(struct span s)
{
	memcpy(expected + expected_len, s.ptr, s.len);
	expected_len += s.len;
}

/* Bytes that a boundary is made of, in an order that is no boundary. */
static void add_content(size_t n)
{
	static const char pieces[] = "\r\r\n\r\n-\r\n--\r\n--X\r\n--XY\0abc";

	for (size_t i = 0; i < n; i++) {
		char c = pieces[(i + i / 31) % (sizeof(pieces) - 1)];

		add(span_make(&c, 1));
		add_expected(span_make(&c, 1));
	}
}

static void add_file(size_t n)
{
	add(SPAN_LIT(D FILE_("name") NL));
	add_expected(SPAN_LIT("<name:>"));
	add_content(n);
	add_expected(SPAN_LIT("</>"));
}

static void make_form(void)
{
	form_len = expected_len = 0;
	add_file(300);
	add_file(0);
	add(SPAN_LIT(D FIELD("a") "\r\n--X dropped \r\n--X"));
	add_file(1);
	add_file(1100);
	add_file(200);
	add(SPAN_LIT(CLOSE "epilogue"));
	add_expected(SPAN_LIT("."));
}

static void check_run(const char *how, size_t a, size_t b)
{
	play(true, span_make(form, form_len), a, b);
	ck_assert_msg(run_saw(span_make(expected, expected_len)),
		      "%s: %zu, %zu", how, a, b);
}

static void check_all_cuts(void)
{
	make_form();
	for (size_t n = 1; n <= form_len; n++) {
		check_run("cut", n, 1 + random_below(form_len));
		if (n < 100)
			check_run("in pieces", n, n);
	}
}

START_TEST(a_form_may_be_cut_anywhere)
{
	check_all_cuts();
}
END_TEST

START_TEST(a_form_may_be_cut_anywhere_and_the_ring_be_reset)
{
	run.reset = true;
	check_all_cuts();
}
END_TEST

START_TEST(a_form_may_be_cut_anywhere_with_a_slow_reader)
{
	run.drain = DRAIN_LATE;
	check_all_cuts();
	ck_assert_uint_gt(run.n_full, 0);
}
END_TEST

/* The end of the ring's memory falls on every byte of the form. */
START_TEST(a_form_may_wrap_anywhere)
{
	make_form();
	run.drain = _i & 1 ? DRAIN_LATE : DRAIN_RANDOM;
	for (size_t start = 0; start < RING_MIN_CAPACITY; start++) {
		ring_detach(run.ring, &run.cursor);
		ring_reset(run.ring);
		ring_commit(run.ring, start);
		ring_attach(run.ring, &run.cursor);
		check_run("wrap", _i < 2 ? form_len : 1 + random_below(99),
			  _i < 2 ? form_len : 1 + random_below(99));
	}
}
END_TEST

START_TEST(a_ring_that_nobody_reads_takes_the_whole_form)
{
	struct err err = ERR_INIT;
	enum intake_event event = INTAKE_AGAIN;

	make_form();
	ring_detach(run.ring, &run.cursor);
	begin(true, span_make(form, form_len), 7, 7);
	while (event != INTAKE_END) {
		event = intake_next(&run.intake, run.ring, &err);
		ck_assert_int_ne(event, INTAKE_FULL);
		ck_assert_int_ne(event, INTAKE_BAD);
	}
	ck_assert_uint_eq(run.intake.received, 300 + 0 + 1 + 1100 + 200);
	ck_assert_uint_eq(ring_head(run.ring), run.intake.received);
}
END_TEST

static void add_raw(Suite *suite)
{
	TCase *tc = tcase_create("raw");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, a_raw_body_is_one_object);
	tcase_add_test(tc, an_empty_raw_body_is_an_empty_object);
	tcase_add_test(tc, a_raw_body_that_breaks_off_never_ends);
	tcase_add_test(tc, a_full_ring_stops_a_raw_body_and_loses_nothing);
	tcase_add_test(tc, the_end_is_told_again);
	suite_add_tcase(suite, tc);
}

static void add_forms(Suite *suite)
{
	TCase *tc = tcase_create("forms");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, each_file_of_a_form_is_an_object);
	tcase_add_test(tc, fields_do_not_reach_the_ring);
	tcase_add_test(tc, fields_are_kept_only_when_they_are_asked_for);
	tcase_add_test(
		tc,
		fields_before_and_after_files_are_kept_however_they_are_cut);
	tcase_add_test(tc, a_file_input_without_a_file_is_no_field);
	tcase_add_test(tc, a_bad_field_is_bad_at_once);
	tcase_add_test(tc, upload_metadata_comes_first);
	tcase_add_test(tc, a_form_without_files_has_no_objects);
	tcase_add_test(tc, a_form_without_a_close_boundary_is_bad);
	tcase_add_test(tc, a_form_that_is_refused_says_why);
	tcase_add_test(tc, a_form_that_breaks_off_never_ends);
	tcase_add_test(tc, a_form_needs_a_boundary);
	tcase_add_test(tc, a_files_bytes_stay_where_they_were_received);
	tcase_add_test(tc, a_ring_with_room_for_withheld_bytes_only_is_full);
	suite_add_tcase(suite, tc);
}

static void add_cuts(Suite *suite)
{
	TCase *tc = tcase_create("cuts");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, a_form_may_be_cut_anywhere);
	tcase_add_test(tc, a_form_may_be_cut_anywhere_and_the_ring_be_reset);
	tcase_add_test(tc, a_form_may_be_cut_anywhere_with_a_slow_reader);
	tcase_add_loop_test(tc, a_form_may_wrap_anywhere, 0, 4);
	tcase_add_test(tc, a_ring_that_nobody_reads_takes_the_whole_form);
	suite_add_tcase(suite, tc);
}

int main(void)
{
	Suite *suite = suite_create("intake");
	SRunner *sr = srunner_create(suite);
	int failed;

	random_begin("intake");
	add_raw(suite);
	add_forms(suite);
	add_cuts(suite);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
