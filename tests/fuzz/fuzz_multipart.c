/*
 * fuzz_multipart - whatever the form and however it is cut: the same events,
 * and each part's data is one piece of the input, no byte more or less
 *
 * Input: one byte that seeds the cuts, then a form with the boundary "b".
 */
#include "common/multipart.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_EVENTS 512		/* well over three for each part */

enum how { WHOLE, BYTES, RANDOM };

struct seen {
	unsigned int n;
	struct seen_event {
		enum multipart_event event;
		size_t at;		/* offset in the input behind it */
		size_t data_len;	/* of the part that ended */
		char name[16];		/* of the part that began */
		bool is_file;
	} events[MAX_EVENTS];
	struct err err;
	int finish;
};

struct feeder {
	struct multipart m;
	struct span input;
	size_t at;		/* bytes given to the parser and taken */
	size_t body_at;		/* where the current part's body begins */
	size_t body_len;	/* how much of it came out */
	struct seen *seen;
};

/* The current part's next data must be the input's next bytes. */
static void check_data(struct feeder *f, struct span data)
{
	CHECK(data.len > 0);
	CHECK(f->body_at + f->body_len + data.len <= f->input.len);
	CHECK(!memcmp(data.ptr, f->input.ptr + f->body_at + f->body_len,
		      data.len));
	f->body_len += data.len;
}

/* Behind the data stands a delimiter, and none stands in it. */
static void check_part_end(const struct feeder *f)
{
	const char *body = f->input.ptr + f->body_at;
	struct span rest = span_make(body + f->body_len, f->input.len -
				     f->body_at - f->body_len);

	CHECK(span_starts_with(rest, SPAN_LIT("\r\n--b")) ||
	      (f->body_len == 0 && span_starts_with(rest, SPAN_LIT("--b"))));
	CHECK(f->body_len == 0 ||
	      !memmem(body - 2, f->body_len + 2, "\r\n--b", 5));
}

static void see(struct feeder *f, enum multipart_event event)
{
	struct seen_event *e = &f->seen->events[f->seen->n++];

	CHECK(f->seen->n <= MAX_EVENTS);
	memset(e, 0, sizeof(*e));
	e->event = event;
	if (event != MULTIPART_BAD)
		e->at = f->at;
	if (event == MULTIPART_PART_END)
		e->data_len = f->body_len;
	if (event == MULTIPART_PART) {
		snprintf(e->name, sizeof(e->name), "%s", f->m.part_name);
		e->is_file = f->m.part_is_file;
	}
}

static void on_event(struct feeder *f, enum multipart_event event,
		     struct span data)
{
	if (event == MULTIPART_DATA) {
		check_data(f, data);
		return;
	}
	if (event == MULTIPART_PART) {
		f->body_at = f->at;
		f->body_len = 0;
	}
	if (event == MULTIPART_PART_END)
		check_part_end(f);
	see(f, event);
}

static bool feed(struct feeder *f, size_t n)
{
	struct span piece = span_make(f->input.ptr + f->at, n);
	size_t end = f->at + n;
	enum multipart_event event;
	struct span data;

	do {
		event = multipart_next(&f->m, &piece, &data, &f->seen->err);
		f->at = end - piece.len;
		CHECK(multipart_withheld(&f->m) <= f->m.delimiter_len);
		if (event != MULTIPART_MORE)
			on_event(f, event, data);
	} while (event != MULTIPART_MORE && event != MULTIPART_BAD);
	CHECK(event == MULTIPART_BAD || piece.len == 0);
	return event == MULTIPART_MORE;
}

static size_t next_piece(enum how how, size_t left, uint32_t *random)
{
	size_t n;

	if (how == WHOLE)
		return left;
	*random = *random * 1664525u + 1013904223u;
	n = how == BYTES ? 1 : 1 + (*random >> 16) % 40;
	return n < left ? n : left;
}

static void play(struct span input, enum how how, uint32_t random,
		 struct seen *seen)
{
	static struct feeder f;
	bool good = true;

	f.input = input;
	f.at = f.body_at = f.body_len = 0;
	f.seen = seen;
	seen->n = 0;
	seen->err = ERR_INIT;
	CHECK(multipart_init(&f.m, SPAN_LIT("multipart/form-data; boundary=b"),
			     &seen->err) == 0);
	while (good && f.at < input.len)
		good = feed(&f, next_piece(how, input.len - f.at, &random));
	seen->finish = multipart_finish(&f.m, &seen->err);
}

static void check_same(const struct seen *a, const struct seen *b)
{
	CHECK(a->n == b->n);
	CHECK(!memcmp(a->events, b->events, a->n * sizeof(a->events[0])));
	CHECK(a->finish == b->finish);
	CHECK(a->err.status == b->err.status);
	CHECK(!strcmp(a->err.text, b->err.text));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct seen whole, other;
	struct span input;

	if (size == 0)
		return 0;
	input = span_make((const char *)bytes + 1, size - 1);
	play(input, WHOLE, 0, &whole);
	play(input, BYTES, 0, &other);
	check_same(&whole, &other);
	for (uint32_t i = 0; i < 4; i++) {
		play(input, RANDOM, bytes[0] * 4u + i, &other);
		check_same(&whole, &other);
	}
	return 0;
}
