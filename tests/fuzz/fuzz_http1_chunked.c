/*
 * fuzz_http1_chunked - whatever the body and however it is cut: the same
 * verdict, the same data, the same trailers, and no byte behind it is taken
 *
 * Input: one byte that seeds the cuts, one with the largest total (0: any), then
 * a chunked body. Each '~' stands for 1000 bytes, so that small
 * inputs reach the limits.
 */
#include "common/http1.h"

#include <stdint.h>
#include <stdlib.h>

#define STRETCH 1000u
#define MAX_INPUT (64u * 1024)

enum how { WHOLE, BYTES, RANDOM };

struct decoded {
	enum http1_result result;
	struct http1_chunked c;
	struct err err;
	size_t unused;
	size_t len;
	char data[MAX_INPUT];
};

static void take_data(struct decoded *d, struct span *in)
{
	size_t n = d->c.left < in->len ? (size_t)d->c.left : in->len;

	memcpy(d->data + d->len, in->ptr, n);
	d->len += n;
	*in = span_make(in->ptr + n, in->len - n);
	http1_chunked_took(&d->c, n);
}

/* Feed one piece; false when there is a verdict. */
static bool feed(struct decoded *d, struct span *in, uint64_t max)
{
	for (;;) {
		d->result = http1_chunked_framing(&d->c, in, max, &d->err);
		if (d->result != HTTP1_MORE)
			return false;
		CHECK(in->len == 0 || d->c.left > 0);
		if (in->len == 0)
			return true;
		take_data(d, in);
	}
}

static size_t next_piece(enum how how, size_t left, uint32_t *random)
{
	size_t n;

	if (how == WHOLE)
		return left;
	*random = *random * 1664525u + 1013904223u;
	n = how == BYTES ? 1 : 1 + (*random >> 8) % (left / 4 + 2);
	return n < left ? n : left;
}

/* Each piece is in memory that ends with it. */
static void decode(struct decoded *d, struct span in, enum how how,
		   uint32_t random, uint64_t max)
{
	bool good = true;

	d->len = 0;
	d->err = ERR_INIT;
	d->result = HTTP1_MORE;
	http1_chunked_init(&d->c);
	while (good && in.len > 0) {
		size_t n = next_piece(how, in.len, &random);
		char *copy = malloc(n);
		struct span piece = span_make(copy, n);

		CHECK(copy);
		memcpy(copy, in.ptr, n);
		good = feed(d, &piece, max);
		in = span_make(in.ptr + (n - piece.len),
			       in.len - (n - piece.len));
		free(copy);
	}
	d->unused = in.len;
}

static void check_same(const struct decoded *a, const struct decoded *b)
{
	CHECK(a->result == b->result && a->unused == b->unused);
	CHECK(a->err.status == b->err.status);
	CHECK(!strcmp(a->err.text, b->err.text));
	CHECK(a->len == b->len && !memcmp(a->data, b->data, a->len));
	CHECK(a->c.total == b->c.total && a->c.left == b->c.left);
	CHECK(a->c.overhead == b->c.overhead);
	CHECK(!memcmp(&a->c.trailers, &b->c.trailers,
		      sizeof(a->c.trailers)));
}

static void check_decoded(const struct decoded *d, struct span in, uint64_t max)
{
	CHECK(err_is_set(&d->err) == (d->result == HTTP1_BAD));
	CHECK(d->result == HTTP1_BAD || d->c.total <= max);
	CHECK(d->result == HTTP1_BAD || d->c.total == d->len + d->c.left);
	CHECK(in.len == d->len + d->c.overhead + d->unused);
	CHECK(d->result != HTTP1_DONE ||
	      in.ptr[in.len - d->unused - 1] == '\n');
	CHECK(http1_is_field_value(span_of(d->c.trailers.repr_digest)));
	CHECK(http1_is_field_value(span_of(d->c.trailers.content_digest)));
}

static struct span stretch(struct span in)
{
	static char out[MAX_INPUT];
	size_t used = 0;

	for (size_t i = 0; i < in.len && used + STRETCH < sizeof(out); i++) {
		size_t n = in.ptr[i] == '~' ? STRETCH : 1;

		memset(out + used, n > 1 ? 'x' : in.ptr[i], n);
		used += n;
	}
	return span_make(out, used);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct decoded whole, other;
	struct span in;
	uint64_t max;

	if (size < 2)
		return 0;
	max = bytes[1] ? bytes[1] : UINT64_MAX;
	in = stretch(span_make((const char *)bytes + 2, size - 2));
	decode(&whole, in, WHOLE, 0, max);
	check_decoded(&whole, in, max);
	if (in.len < 2048) {
		decode(&other, in, BYTES, 0, max);
		check_same(&whole, &other);
	}
	for (uint32_t i = 0; i < 3; i++) {
		decode(&other, in, RANDOM, bytes[0] * 3u + i, max);
		check_same(&whole, &other);
	}
	return 0;
}
