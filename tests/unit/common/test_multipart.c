#include "common/multipart.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * A form's events are written down as text, so that a table can say what must
 * come out and two ways of cutting can be compared:
 *
 *   <name>data</>   <name:filename:type>data</>   .     !413   $ or ?
 *   a field         a file                        END   BAD    finish: 0 or -1
 */
struct script {
	size_t len;
	char text[200 * 1024];
};

static void put(struct script *s, struct span bytes)
{
	ck_assert_uint_le(bytes.len, sizeof(s->text) - s->len);
	if (bytes.len > 0)
		memcpy(s->text + s->len, bytes.ptr, bytes.len);
	s->len += bytes.len;
}

static void put_part(struct script *s, const struct multipart *m)
{
	put(s, SPAN_LIT("<"));
	put(s, span_of(m->part_name));
	if (m->part_is_file) {
		put(s, SPAN_LIT(":"));
		put(s, span_of(m->part_filename));
		put(s, SPAN_LIT(":"));
		put(s, span_of(m->part_content_type));
	}
	put(s, SPAN_LIT(">"));
}

static void put_bad(struct script *s, const struct err *err)
{
	char text[8];

	snprintf(text, sizeof(text), "!%d", err_http_status(err));
	put(s, span_of(text));
}

/* Feed one piece; false once the form is refused. */
static bool feed(struct multipart *m, struct span in, struct script *s)
{
	struct err err = ERR_INIT;
	struct span data;

	for (;;) {
		switch (multipart_next(m, &in, &data, &err)) {
		case MULTIPART_MORE:
			ck_assert_uint_eq(in.len, 0);
			return true;
		case MULTIPART_PART:
			put_part(s, m);
			break;
		case MULTIPART_DATA:
			ck_assert_uint_gt(data.len, 0);
			put(s, data);
			break;
		case MULTIPART_PART_END:
			put(s, SPAN_LIT("</>"));
			break;
		case MULTIPART_END:
			put(s, SPAN_LIT("."));
			break;
		case MULTIPART_BAD:
			put_bad(s, &err);
			return false;
		}
	}
}

static struct multipart parser;

static void begin(const char *boundary)
{
	struct err err = ERR_INIT;
	char type[128];

	snprintf(type, sizeof(type), "multipart/form-data; boundary=%s",
		 boundary);
	ck_assert_int_eq(multipart_init(&parser, span_of(type), &err), 0);
}

static void finish(struct script *s)
{
	struct err err = ERR_INIT;

	if (multipart_finish(&parser, &err) == 0)
		put(s, SPAN_LIT("$"));
	else
		put(s, SPAN_LIT("?"));
}

/* The script of `form`, cut into `first` bytes and then `step` at a time. */
static void play(struct script *s, struct span form, size_t first, size_t step)
{
	size_t at = 0, n = first;

	s->len = 0;
	begin("XYZ");
	while (at < form.len) {
		if (n > form.len - at)
			n = form.len - at;
		if (!feed(&parser, span_make(form.ptr + at, n), s))
			return;
		at += n;
		n = step;
	}
	finish(s);
}

static struct script whole, pieces;

static void expect(const char *what, struct span form, struct span events)
{
	play(&whole, form, form.len, form.len);
	ck_assert_msg(span_eq(span_make(whole.text, whole.len), events),
		      "%s: %.*s", what, (int)whole.len, whole.text);
}

/* All cuts in two, then pieces of 1, 2, 3 … bytes. */
static void expect_same_in_pieces(const char *what, struct span form)
{
	for (size_t n = 1; n <= form.len; n++) {
		play(&pieces, form, n, form.len);
		ck_assert_msg(span_eq(span_make(pieces.text, pieces.len),
				      span_make(whole.text, whole.len)),
			      "%s, cut at %zu: %.*s", what, n,
			      (int)pieces.len, pieces.text);
		play(&pieces, form, n, n);
		ck_assert_msg(span_eq(span_make(pieces.text, pieces.len),
				      span_make(whole.text, whole.len)),
			      "%s, in pieces of %zu: %.*s", what, n,
			      (int)pieces.len, pieces.text);
	}
}

/* ---- the table -------------------------------------------------------- */

#define CR "\r"
#define NL "\r\n"
#define B "--XYZ" NL
#define D NL "--XYZ" NL
#define CLOSE NL "--XYZ--" NL
#define DISPOSITION "Content-Disposition: form-data; "
#define FIELD(name) DISPOSITION "name=" name NL NL
#define FILE_ DISPOSITION "name=f; filename=x" NL NL

struct row {
	const char *says;
	const char *form;
	size_t form_len;
	const char *events;
};

#define ROW(says, form, events) { says, form, sizeof(form) - 1, events }

static const struct row rows[] = {
	/* what is well-formed */
	ROW("one field", B FIELD("a") "1" CLOSE, "<a>1</>.$"),
	ROW("one file", B FILE_ "data" CLOSE, "<f:x:>data</>.$"),
	ROW("fields and files keep their order",
	    B FIELD("a") "1" D FILE_ "two" D FIELD("b") "3" D FILE_ "4" CLOSE,
	    "<a>1</><f:x:>two</><b>3</><f:x:>4</>.$"),
	ROW("an empty file", B FILE_ CLOSE, "<f:x:></>.$"),
	ROW("an empty file name is a file",
	    B DISPOSITION "name=f; filename=\"\"" NL NL CLOSE, "<f::></>.$"),
	ROW("a part without a body", B FILE_ "--XYZ" NL FIELD("a") "--XYZ--",
	    "<f:x:></><a></>.$"),
	ROW("no parts at all", "--XYZ--" NL, ".$"),
	ROW("no line end after the close", B FIELD("a") "1" NL "--XYZ--",
	    "<a>1</>.$"),
	ROW("a preamble", "This is" NL "MIME." NL B FIELD("a") "1" CLOSE,
	    "<a>1</>.$"),
	ROW("an empty preamble", NL B FIELD("a") "1" CLOSE, "<a>1</>.$"),
	ROW("a preamble with the boundary inside a line",
	    "x--XYZ" NL NL B FIELD("a") "1" CLOSE, "<a>1</>.$"),
	ROW("an epilogue", B FIELD("a") "1" CLOSE "bye" D FIELD("b"),
	    "<a>1</>.$"),
	ROW("padding after a boundary",
	    "--XYZ \t " NL FIELD("a") "1" NL "--XYZ\t" NL FIELD("b") "2" NL
	    "--XYZ-- \t" NL, "<a>1</><b>2</>.$"),
	ROW("names of fields in any case",
	    B "cONTENT-dISPOSITION:form-data;name=a" NL NL "1" CLOSE,
	    "<a>1</>.$"),
	ROW("a part's type",
	    B "Content-Type: text/plain; charset=utf-8" NL FILE_ "1" CLOSE,
	    "<f:x:text/plain; charset=utf-8>1</>.$"),
	ROW("other fields are ignored", B "X-Any: thing" NL FIELD("a") CLOSE,
	    "<a></>.$"),
	ROW("binary, 8bit and 7bit",
	    B "Content-Transfer-Encoding: binary" NL FIELD("a") D
	    "Content-Transfer-Encoding: 8BIT" NL FIELD("b") D
	    "content-transfer-encoding: 7bit" NL FIELD("c") CLOSE,
	    "<a></><b></><c></>.$"),
	ROW("names in quotes and UTF-8",
	    B DISPOSITION "name=\"Ä b\"; filename=\"ü €.txt\"" NL NL CLOSE,
	    "<Ä b:ü €.txt:></>.$"),
	ROW("filename* before filename",
	    B DISPOSITION "name=f; filename=no; filename*=UTF-8''%e2%82%ac" NL
	    NL CLOSE, "<f:€:></>.$"),
	ROW("a file name is no path but data",
	    B DISPOSITION "name=f; filename=\"../../x\"" NL NL CLOSE,
	    "<f:../../x:></>.$"),
	ROW("a nested form is data",
	    B FILE_ "--in" NL NL "1" NL "--in--" NL CLOSE,
	    "<f:x:>--in" NL NL "1" NL "--in--" NL "</>.$"),

	/* what looks like a boundary and is none */
	ROW("a CR", B FILE_ "a" CR "b" CLOSE, "<f:x:>a" CR "b</>.$"),
	ROW("a CR at the end", B FILE_ "a" CR CLOSE, "<f:x:>a" CR "</>.$"),
	ROW("a final line end", B FILE_ "a" NL CLOSE, "<f:x:>a" NL "</>.$"),
	ROW("nothing but line ends", B FILE_ NL NL NL CLOSE,
	    "<f:x:>" NL NL NL "</>.$"),
	ROW("two CRs before the LF", B FILE_ CR NL CR NL "--XYZ--",
	    "<f:x:>" CR NL CR "</>.$"),
	ROW("half a boundary", B FILE_ NL "--XY" CLOSE,
	    "<f:x:>" NL "--XY</>.$"),
	ROW("every beginning of one",
	    B FILE_ CR CR NL NL "-" NL "--" NL "--X" NL "--XY" CLOSE,
	    "<f:x:>" CR CR NL NL "-" NL "--" NL "--X" NL "--XY</>.$"),
	ROW("one that breaks off into another",
	    B FILE_ NL "--X" NL "--XYz" CR CLOSE,
	    "<f:x:>" NL "--X" NL "--XYz" CR "</>.$"),
	ROW("a boundary inside a line", B FILE_ "a--XYZ--" NL "b" CLOSE,
	    "<f:x:>a--XYZ--" NL "b</>.$"),
	ROW("a boundary after a bare LF", B FILE_ "a\n--XYZ\nb" CLOSE,
	    "<f:x:>a\n--XYZ\nb</>.$"),
	ROW("a boundary after a bare CR", B FILE_ CR "--XYZ" CR CLOSE,
	    "<f:x:>" CR "--XYZ" CR "</>.$"),
	ROW("a boundary in another case", B FILE_ NL "--xyz" NL CLOSE,
	    "<f:x:>" NL "--xyz" NL "</>.$"),
	ROW("a body that begins like one", B FILE_ "--XY" CLOSE,
	    "<f:x:>--XY</>.$"),
	ROW("a body of one dash", B FILE_ "-" CLOSE, "<f:x:>-</>.$"),
	ROW("a preamble of beginnings",
	    "--XY" NL "--" NL NL CR NL B FIELD("a") CLOSE, "<a></>.$"),

	/* what is refused */
	ROW("a boundary that goes on", B FILE_ "1" NL "--XYZA" NL,
	    "<f:x:>1!400"),
	ROW("a close boundary that goes on", B FILE_ "1" NL "--XYZ--A" NL,
	    "<f:x:>1</>.!400"),
	ROW("one dash", B FILE_ "1" NL "--XYZ-" NL, "<f:x:>1!400"),
	ROW("dashes after padding", B FILE_ "1" NL "--XYZ --" NL,
	    "<f:x:>1!400"),
	ROW("a boundary line without CR", "--XYZ\n" FIELD("a"), "!400"),
	ROW("a boundary line without LF", "--XYZ\r" FIELD("a"), "!400"),
	ROW("a close line without LF", "--XYZ--\rx", ".!400"),
	ROW("another transfer encoding",
	    B "Content-Transfer-Encoding: base64" NL FIELD("a"), "!415"),
	ROW("no head", B NL "1" CLOSE, "!400"),
	ROW("no disposition", B "Content-Type: text/plain" NL NL, "!400"),
	ROW("a disposition that is not form-data",
	    B "Content-Disposition: attachment; name=a" NL NL, "!400"),
	ROW("no name", B DISPOSITION "filename=a" NL NL, "!400"),
	ROW("a name that is not UTF-8",
	    B DISPOSITION "name=\"\xff\"" NL NL, "!400"),
	ROW("a file name that is not UTF-8",
	    B DISPOSITION "name=a; filename=\"\xff\"" NL NL, "!400"),
	ROW("two dispositions",
	    B "Content-Disposition: form-data; name=a" NL FIELD("b"), "!400"),
	ROW("two types",
	    B "Content-Type: a/b" NL "content-type: a/b" NL FIELD("b"), "!400"),
	ROW("a field without a colon", B "nothing" NL FIELD("a"), "!400"),
	ROW("a field without a name", B ": nothing" NL FIELD("a"), "!400"),
	ROW("a blank before the colon", B "A : b" NL FIELD("a"), "!400"),
	ROW("a folded field", B "A: b" NL " c" NL FIELD("a"), "!400"),
	ROW("a bare LF in a head", B "A: b\nB: c" NL FIELD("a"), "!400"),
	ROW("a bare CR in a head", B "A: b\rB: c" NL FIELD("a"), "!400"),
	ROW("a NUL in a head", B "A: b\0c" NL FIELD("a"), "!400"),
	ROW("a control character in a head", B "A: \x01" NL FIELD("a"), "!400"),

	/* what is incomplete */
	ROW("nothing", "", "?"),
	ROW("only a preamble", "hello", "?"),
	ROW("no close boundary", B FILE_ "1", "<f:x:>1?"),
	ROW("half a close boundary", B FILE_ "1" NL "--XYZ", "<f:x:>1?"),
	ROW("a dash is missing", B FILE_ "1" NL "--XYZ-", "<f:x:>1?"),
	ROW("a head breaks off", B "Content-Dispo", "?"),
	ROW("a next part is missing", B FILE_ "1" D, "<f:x:>1</>?"),
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

START_TEST(a_form_becomes_events)
{
	for (size_t i = 0; i < N_ROWS; i++)
		expect(rows[i].says,
		       span_make(rows[i].form, rows[i].form_len),
		       span_of(rows[i].events));
}
END_TEST

START_TEST(events_do_not_depend_on_the_cut)
{
	for (size_t i = 0; i < N_ROWS; i++) {
		struct span form = span_make(rows[i].form, rows[i].form_len);

		expect(rows[i].says, form, span_of(rows[i].events));
		expect_same_in_pieces(rows[i].says, form);
	}
}
END_TEST

START_TEST(every_beginning_of_a_form_is_incomplete)
{
	struct span form = SPAN_LIT("pre" NL B FIELD("a") "1" NL "2" D FILE_
				    "3" NL "--XYZ--");

	for (size_t len = 0; len < form.len; len++) {
		play(&whole, span_make(form.ptr, len), len, len);
		ck_assert_int_eq(whole.text[whole.len - 1], '?');
	}
	expect("all", form, SPAN_LIT("<a>1" NL "2</><f:x:>3</>.$"));
}
END_TEST

START_TEST(all_bytes_pass_as_data)
{
	char form[600] = B FILE_, events[600] = "<f:x:>";
	size_t len = strlen(form), n = strlen(events);

	for (int c = 0; c < 256; c++)
		form[len++] = events[n++] = (char)c;
	memcpy(form + len, CLOSE, strlen(CLOSE));
	memcpy(events + n, "</>.$", 5);
	expect("all bytes", span_make(form, len + strlen(CLOSE)),
	       span_make(events, n + 5));
	expect_same_in_pieces("all bytes",
			      span_make(form, len + strlen(CLOSE)));
}
END_TEST

/* ---- where data lies -------------------------------------------------- */

static struct err test_err;

static void enter_file(const char *boundary)
{
	char form[256];
	struct span in, data;

	test_err = ERR_INIT;
	begin(boundary);
	snprintf(form, sizeof(form), "--%s" NL FILE_, boundary);
	in = span_of(form);
	ck_assert_int_eq(multipart_next(&parser, &in, &data, &test_err),
			 MULTIPART_PART);
	ck_assert_uint_eq(in.len, 0);
}

START_TEST(data_is_not_copied)
{
	struct span form = SPAN_LIT("some\rdata\r\n-- of a file");
	struct span in = form, data;

	enter_file("XYZ");
	ck_assert_int_eq(multipart_next(&parser, &in, &data, &test_err),
			 MULTIPART_DATA);
	ck_assert_ptr_eq(data.ptr, form.ptr);
	ck_assert_uint_eq(data.len, form.len);
}
END_TEST

START_TEST(only_what_may_be_a_boundary_is_withheld)
{
	struct span in = SPAN_LIT("some data" NL "--X"), data;

	enter_file("XYZ");
	ck_assert_int_eq(multipart_next(&parser, &in, &data, &test_err),
			 MULTIPART_DATA);
	ck_assert(span_eq(data, SPAN_LIT("some data")));
	ck_assert_uint_eq(multipart_withheld(&parser), 0);
	ck_assert_int_eq(multipart_next(&parser, &in, &data, &test_err),
			 MULTIPART_MORE);
	ck_assert_uint_eq(multipart_withheld(&parser), 5);
	in = SPAN_LIT("!");
	ck_assert_int_eq(multipart_next(&parser, &in, &data, &test_err),
			 MULTIPART_DATA);
	ck_assert(span_eq(data, SPAN_LIT(NL "--X")));
	ck_assert_uint_eq(multipart_withheld(&parser), 0);
}
END_TEST

START_TEST(a_body_that_begins_like_a_boundary_withholds_its_own)
{
	struct span in = SPAN_LIT("--XY"), data;

	enter_file("XYZ");
	ck_assert_uint_eq(multipart_withheld(&parser), 0);
	ck_assert_int_eq(multipart_next(&parser, &in, &data, &test_err),
			 MULTIPART_MORE);
	ck_assert_uint_eq(multipart_withheld(&parser), 4);
}
END_TEST

START_TEST(nothing_is_withheld_outside_of_a_body)
{
	struct span in = SPAN_LIT("preamble" NL "--"), data;

	begin("XYZ");
	ck_assert_uint_eq(multipart_withheld(&parser), 0);
	ck_assert_int_eq(multipart_next(&parser, &in, &data, &test_err),
			 MULTIPART_MORE);
	ck_assert_uint_eq(multipart_withheld(&parser), 0);
}
END_TEST

START_TEST(no_more_is_read_than_the_event_needs)
{
	struct span in = SPAN_LIT(FILE_ "data" CLOSE "rest"), data;
	struct span first = SPAN_LIT(B);

	begin("XYZ");
	ck_assert_int_eq(multipart_next(&parser, &first, &data, &test_err),
			 MULTIPART_MORE);
	multipart_next(&parser, &in, &data, &test_err);
	ck_assert(span_eq(in, SPAN_LIT("data" CLOSE "rest")));
	multipart_next(&parser, &in, &data, &test_err);
	ck_assert(span_eq(in, SPAN_LIT(CLOSE "rest")));
	multipart_next(&parser, &in, &data, &test_err);
	ck_assert_int_eq(multipart_next(&parser, &in, &data, &test_err),
			 MULTIPART_END);
	ck_assert(span_eq(in, SPAN_LIT(NL "rest")));
}
END_TEST

START_TEST(a_refused_form_stays_refused)
{
	struct span in = SPAN_LIT("--XYZ?" B FILE_), data;
	struct err err = ERR_INIT, again = ERR_INIT;

	begin("XYZ");
	ck_assert_int_eq(multipart_next(&parser, &in, &data, &err),
			 MULTIPART_BAD);
	ck_assert_int_eq(multipart_next(&parser, &in, &data, &again),
			 MULTIPART_BAD);
	ck_assert_int_eq(err_http_status(&again), 400);
	ck_assert_int_eq(multipart_finish(&parser, &again), -1);
}
END_TEST

/* ---- limits ----------------------------------------------------------- */

static char big[256 * 1024];

static size_t fill(size_t at, const char *text)
{
	size_t len = strlen(text);

	memcpy(big + at, text, len);
	return at + len;
}

static size_t fill_with(size_t at, char c, size_t n)
{
	memset(big + at, c, n);
	return at + n;
}

/* What `len` bytes of big end with, the same for some ways to cut them. */
static void big_ends_with(size_t len, const char *events)
{
	static const size_t steps[] = { 1, 2, 7, 1024, sizeof(big) };
	size_t n = strlen(events);

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		play(&pieces, span_make(big, len), steps[i], steps[i]);
		ck_assert_uint_ge(pieces.len, n);
		ck_assert_mem_eq(pieces.text + pieces.len - n, events, n);
		if (i == 0)
			whole = pieces;
		ck_assert_uint_eq(pieces.len, whole.len);
		ck_assert_mem_eq(pieces.text, whole.text, whole.len);
	}
}

static size_t fill_preamble(size_t bytes)
{
	return fill(fill_with(0, 'p', bytes), D FIELD("a") CLOSE);
}

START_TEST(a_preamble_is_bounded)
{
	big_ends_with(fill_preamble(MULTIPART_MAX_PREAMBLE - 2), ".$");
	big_ends_with(fill_preamble(MULTIPART_MAX_PREAMBLE + 1), "!400");
}
END_TEST

START_TEST(an_epilogue_is_bounded)
{
	size_t at = fill(0, B FIELD("a") CLOSE);

	big_ends_with(fill_with(at, 'e', MULTIPART_MAX_PREAMBLE - 2), ".$");
	big_ends_with(fill_with(at, 'e', MULTIPART_MAX_PREAMBLE), ".!400");
}
END_TEST

START_TEST(padding_is_bounded)
{
	size_t at = fill(0, "--XYZ");

	big_ends_with(fill_with(at, ' ', MULTIPART_MAX_PREAMBLE), "?");
	big_ends_with(fill_with(at, ' ', MULTIPART_MAX_PREAMBLE + 1), "!400");
	at = fill(0, "--XYZ--");
	big_ends_with(fill_with(at, ' ', MULTIPART_MAX_PREAMBLE + 1), ".!400");
}
END_TEST

static size_t fill_head(size_t bytes)
{
	static const char field[] = FIELD("a");
	size_t at = fill(0, B "X: ");

	at = fill_with(at, 'x', bytes - strlen("X: " NL) - strlen(field));
	return fill(at, NL FIELD("a") CLOSE);
}

START_TEST(a_head_is_bounded)
{
	big_ends_with(fill_head(MULTIPART_MAX_PART_HEAD), "<a></>.$");
	big_ends_with(fill_head(MULTIPART_MAX_PART_HEAD + 1), "!431");
}
END_TEST

START_TEST(a_head_without_an_end_is_refused)
{
	big_ends_with(fill_with(fill(0, B), 'h', 100000), "!431");
}
END_TEST

static size_t fill_fields(unsigned int n)
{
	size_t at = fill(0, B);

	while (--n > 0)
		at = fill(at, "X: y" NL);
	return fill(at, FIELD("a") CLOSE);
}

START_TEST(the_number_of_fields_is_bounded)
{
	big_ends_with(fill_fields(MULTIPART_MAX_PART_FIELDS), "<a></>.$");
	big_ends_with(fill_fields(MULTIPART_MAX_PART_FIELDS + 1), "!431");
}
END_TEST

static size_t fill_parts(unsigned int n)
{
	size_t at = fill(0, B FILE_);

	while (--n > 0)
		at = fill(at, D FILE_);
	return fill(at, CLOSE);
}

START_TEST(the_number_of_parts_is_bounded)
{
	big_ends_with(fill_parts(MULTIPART_MAX_PARTS), "<f:x:></>.$");
	big_ends_with(fill_parts(MULTIPART_MAX_PARTS + 1), "<f:x:></>!400");
}
END_TEST

/* Two fields of `bytes` together, and a file that must not count. */
static size_t fill_field_bytes(size_t bytes)
{
	size_t at = fill(0, B FIELD("a") "1" D FILE_);

	at = fill_with(at, 'f', 1000);
	at = fill(at, D FIELD("b"));
	at = fill_with(at, '\r', bytes - 1);
	return fill(at, CLOSE);
}

START_TEST(bytes_that_are_no_file_are_bounded)
{
	big_ends_with(fill_field_bytes(MULTIPART_MAX_FIELD_BYTES), "</>.$");
	big_ends_with(fill_field_bytes(MULTIPART_MAX_FIELD_BYTES + 1), "!413");
	big_ends_with(fill_field_bytes(MULTIPART_MAX_FIELD_BYTES + 9), "!413");
}
END_TEST

START_TEST(a_file_is_not_bounded)
{
	size_t at = fill_with(fill(0, B FILE_), 'f', 150 * 1024);

	big_ends_with(fill(at, CLOSE), "</>.$");
}
END_TEST

static size_t fill_name(const char *parameter, size_t bytes)
{
	size_t at = fill(fill(0, B DISPOSITION), parameter);

	return fill(fill_with(at, 'n', bytes), "\"" NL NL CLOSE);
}

START_TEST(names_are_bounded)
{
	size_t max = MULTIPART_MAX_NAME;

	big_ends_with(fill_name("name=\"", max), "nn></>.$");
	big_ends_with(fill_name("name=\"", max + 1), "!400");
	big_ends_with(fill_name("name=f; filename=\"", max), "nn:></>.$");
	big_ends_with(fill_name("name=f; filename=\"", max + 1), "!400");
}
END_TEST

static size_t fill_type(size_t bytes)
{
	size_t at = fill_with(fill(0, B "Content-Type: "), 't', bytes);

	return fill(at, NL FILE_ CLOSE);
}

START_TEST(a_parts_type_that_is_too_long_counts_as_none)
{
	size_t max = sizeof(parser.part_content_type) - 1;

	big_ends_with(fill_type(max), "tt></>.$");
	big_ends_with(fill_type(max + 1), ":></>.$");
}
END_TEST

/* ---- the boundary ----------------------------------------------------- */

static int init(const char *content_type)
{
	struct err err = ERR_INIT;
	int result = multipart_init(&parser, span_of(content_type), &err);

	ck_assert_int_eq(err_http_status(&err), result < 0 ? 400 : 200);
	return result;
}

START_TEST(a_boundary_may_stand_in_quotes)
{
	ck_assert_int_eq(init("multipart/form-data; boundary=abc"), 0);
	ck_assert_str_eq(parser.delimiter, "\r\n--abc");
	ck_assert_int_eq(init("Multipart/Form-Data; a=b; "
			      "boundary=\"a b'()+_,-./:=?c\""), 0);
	ck_assert_str_eq(parser.delimiter, "\r\n--a b'()+_,-./:=?c");
}
END_TEST

START_TEST(a_boundary_must_be_there)
{
	ck_assert_int_eq(init("multipart/form-data"), -1);
	ck_assert_int_eq(init("multipart/form-data; bound=a"), -1);
	ck_assert_int_eq(init("multipart/form-data; boundary="), -1);
	ck_assert_int_eq(init("multipart/form-data; boundary=\"\""), -1);
	ck_assert_int_eq(init("multipart/mixed; boundary=a"), -1);
	ck_assert_int_eq(init(""), -1);
}
END_TEST

START_TEST(a_boundary_is_made_of_bchars)
{
	ck_assert_int_eq(init("multipart/form-data; boundary=\"a@b\""), -1);
	ck_assert_int_eq(init("multipart/form-data; boundary=\"a;b\""), -1);
	ck_assert_int_eq(init("multipart/form-data; boundary=\"a\\\\b\""), -1);
	ck_assert_int_eq(init("multipart/form-data; boundary=\"a\tb\""), -1);
	ck_assert_int_eq(init("multipart/form-data; boundary=\"a \""), -1);
	ck_assert_int_eq(init("multipart/form-data; boundary=\"\xc3\xa4\""),
			 -1);
}
END_TEST

START_TEST(a_boundary_has_at_most_70_bytes)
{
	char type[200] = "multipart/form-data; boundary=";
	size_t at = strlen(type);

	memset(type + at, 'b', 70);
	ck_assert_int_eq(init(type), 0);
	type[at + 70] = 'b';
	ck_assert_int_eq(init(type), -1);
}
END_TEST

START_TEST(forms_are_told_by_their_type)
{
	ck_assert(multipart_is_form(SPAN_LIT("multipart/form-data")));
	ck_assert(multipart_is_form(SPAN_LIT("MULTIPART/form-data ;a=b")));
	ck_assert(!multipart_is_form(SPAN_LIT("multipart/form-datax")));
	ck_assert(!multipart_is_form(SPAN_LIT("multipart/mixed; boundary=a")));
	ck_assert(!multipart_is_form(SPAN_LIT("a/b; multipart/form-data")));
	ck_assert(!multipart_is_form(span_make(NULL, 0)));
}
END_TEST

static void add_forms(Suite *suite)
{
	TCase *tc = tcase_create("forms");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_form_becomes_events);
	tcase_add_test(tc, events_do_not_depend_on_the_cut);
	tcase_add_test(tc, every_beginning_of_a_form_is_incomplete);
	tcase_add_test(tc, all_bytes_pass_as_data);
	tcase_add_test(tc, data_is_not_copied);
	tcase_add_test(tc, only_what_may_be_a_boundary_is_withheld);
	tcase_add_test(tc,
		       a_body_that_begins_like_a_boundary_withholds_its_own);
	tcase_add_test(tc, nothing_is_withheld_outside_of_a_body);
	tcase_add_test(tc, no_more_is_read_than_the_event_needs);
	tcase_add_test(tc, a_refused_form_stays_refused);
	suite_add_tcase(suite, tc);
}

static void add_limits(Suite *suite)
{
	TCase *tc = tcase_create("limits");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_preamble_is_bounded);
	tcase_add_test(tc, an_epilogue_is_bounded);
	tcase_add_test(tc, padding_is_bounded);
	tcase_add_test(tc, a_head_is_bounded);
	tcase_add_test(tc, a_head_without_an_end_is_refused);
	tcase_add_test(tc, the_number_of_fields_is_bounded);
	tcase_add_test(tc, the_number_of_parts_is_bounded);
	tcase_add_test(tc, bytes_that_are_no_file_are_bounded);
	tcase_add_test(tc, a_file_is_not_bounded);
	tcase_add_test(tc, names_are_bounded);
	tcase_add_test(tc, a_parts_type_that_is_too_long_counts_as_none);
	suite_add_tcase(suite, tc);
}

static void add_boundary(Suite *suite)
{
	TCase *tc = tcase_create("boundary");

	tcase_add_test(tc, a_boundary_may_stand_in_quotes);
	tcase_add_test(tc, a_boundary_must_be_there);
	tcase_add_test(tc, a_boundary_is_made_of_bchars);
	tcase_add_test(tc, a_boundary_has_at_most_70_bytes);
	tcase_add_test(tc, forms_are_told_by_their_type);
	suite_add_tcase(suite, tc);
}

int main(void)
{
	Suite *suite = suite_create("multipart");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_forms(suite);
	add_limits(suite);
	add_boundary(suite);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
