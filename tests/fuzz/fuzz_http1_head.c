/*
 * fuzz_http1_head - whatever the head and however it is cut: the same verdict,
 * and what a head that is accepted says lies within it and fits together
 *
 * Input: one byte of options, which also seeds the cuts, then a head. By option
 * each '~' stands for 1000 bytes, so that small inputs reach the limits.
 */
#include "common/http1.h"

#include <stdint.h>
#include <stdlib.h>

enum option { RESPONSE = 0x01, TO_HEAD = 0x02, STRETCHED = 0x04 };

#define STRETCH 1000u
#define MAX_INPUT (2u * HTTP1_MAX_HEAD)

struct verdict {
	enum http1_result result;
	struct http1_head head;
	struct err err;
};

static void parse(struct verdict *v, struct span in, unsigned int options)
{
	v->err = ERR_INIT;
	v->result = options & RESPONSE ?
			    http1_parse_response(&v->head, in.ptr, in.len,
						 options & TO_HEAD, &v->err) :
			    http1_parse_request(&v->head, in.ptr, in.len,
						&v->err);
}

static void parse_whole(struct verdict *v, struct span in, unsigned int options)
{
	http1_head_init(&v->head);
	parse(v, in, options);
}

/* Pieces of up to `longest` bytes, each time in memory that ends with them. */
static void parse_pieces(struct verdict *v, struct span in,
			 unsigned int options, uint32_t random, size_t longest)
{
	size_t n = 0;

	http1_head_init(&v->head);
	do {
		char *copy;

		random = random * 1664525u + 1013904223u;
		n += 1 + (random >> 8) % longest;
		if (n > in.len)
			n = in.len;
		copy = malloc(n + 1);
		CHECK(copy);
		memcpy(copy, in.ptr, n);
		parse(v, span_make(n ? copy : copy + 1, n), options);
		free(copy);
	} while (v->result == HTTP1_MORE && n < in.len);
}

static void parse_bytes(struct verdict *v, struct span in, unsigned int options)
{
	size_t n = 0;

	http1_head_init(&v->head);
	do
		parse(v, span_make(in.ptr, n), options);
	while (v->result == HTTP1_MORE && n++ < in.len);
}

static void check_same(const struct verdict *a, const struct verdict *b)
{
	const struct http1_head *x = &a->head, *y = &b->head;

	CHECK(a->result == b->result);
	CHECK(a->err.code == b->err.code && a->err.status == b->err.status);
	CHECK(!strcmp(a->err.text, b->err.text));
	CHECK(x->n_fields == y->n_fields);
	CHECK(!memcmp(x->fields, y->fields,
		      x->n_fields * sizeof(x->fields[0])));
	CHECK(x->method == y->method && x->status == y->status);
	CHECK(x->path.at == y->path.at && x->path.len == y->path.len);
	CHECK(x->query.at == y->query.at && x->query.len == y->query.len);
	CHECK(x->host.at == y->host.at && x->host.len == y->host.len);
	CHECK(x->framing == y->framing && x->length == y->length);
	CHECK(x->keep_alive == y->keep_alive && x->size == y->size);
	CHECK(x->expect_continue == y->expect_continue);
}

static void check_slice(const struct http1_head *head, struct http1_slice s)
{
	CHECK((size_t)s.at + s.len <= head->size);
}

static void check_fields(const struct http1_head *head, const char *buf)
{
	CHECK(head->n_fields <= HTTP1_MAX_FIELDS);
	for (unsigned int i = 0; i < head->n_fields; i++) {
		struct span value = http1_span(buf, head->fields[i].value);

		check_slice(head, head->fields[i].name);
		check_slice(head, head->fields[i].value);
		CHECK(http1_is_token(http1_span(buf, head->fields[i].name)));
		CHECK(http1_is_field_value(value));
		CHECK(value.len == span_trim(value).len);
	}
}

static bool stands_once(const struct http1_head *head, const char *buf,
			const char *name)
{
	return http1_field(head, buf, name).ptr &&
	       !http1_field_nth(head, buf, name, 1).ptr;
}

static void check_request(const struct http1_head *head, const char *buf)
{
	struct span path = http1_span(buf, head->path);

	CHECK(path.ptr[0] == '/' || span_eq(path, SPAN_LIT("*")));
	CHECK(head->minor_version == 0 ||
	      (head->host.len > 0 && stands_once(head, buf, "Host")));
	CHECK(head->framing != HTTP1_UNTIL_CLOSE);
	CHECK(!head->expect_continue ||
	      (head->minor_version == 1 && head->framing != HTTP1_NO_BODY));
}

static void check_done(const struct http1_head *head, struct span in,
		       unsigned int options)
{
	CHECK(head->size <= in.len && head->size <= HTTP1_MAX_HEAD);
	CHECK(!memcmp(in.ptr + head->size - 4, "\r\n\r\n", 4));
	check_slice(head, head->path);
	check_slice(head, head->query);
	check_slice(head, head->host);
	check_slice(head, head->reason);
	check_fields(head, in.ptr);
	if (!(options & RESPONSE))
		check_request(head, in.ptr);
	CHECK(head->framing != HTTP1_IDENTITY ||
	      stands_once(head, in.ptr, "Content-Length"));
	CHECK(head->framing != HTTP1_CHUNKED ||
	      (head->minor_version == 1 && !head->has_length &&
	       stands_once(head, in.ptr, "Transfer-Encoding")));
}

static void check_verdict(const struct verdict *v, struct span in,
			  unsigned int options)
{
	static struct verdict shorter;

	CHECK(err_is_set(&v->err) == (v->result == HTTP1_BAD));
	if (v->result == HTTP1_MORE)
		CHECK(in.len < HTTP1_MAX_HEAD);
	if (v->result != HTTP1_DONE)
		return;
	check_done(&v->head, in, options);
	parse_whole(&shorter, span_make(in.ptr, v->head.size), options);
	CHECK(shorter.result == HTTP1_DONE);
	parse_whole(&shorter, span_make(in.ptr, v->head.size - 1), options);
	CHECK(shorter.result == HTTP1_MORE);
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
	static struct verdict whole, other;
	struct span in;

	if (size == 0)
		return 0;
	in = span_make((const char *)bytes + 1, size - 1);
	if (bytes[0] & STRETCHED)
		in = stretch(in);
	parse_whole(&whole, in, bytes[0]);
	check_verdict(&whole, in, bytes[0]);
	if (in.len < 2048) {
		parse_bytes(&other, in, bytes[0]);
		check_same(&whole, &other);
	}
	for (uint32_t i = 0; i < 3; i++) {
		parse_pieces(&other, in, bytes[0], bytes[0] * 3u + i,
			     in.len / 4 + 1);
		check_same(&whole, &other);
	}
	return 0;
}
