/*
 * http1_heads.h - heads for tests, each parsed whole and in all pieces
 *
 * expect_*() say what must become of a head, and that it becomes the same of it
 * cut in two at every byte and in pieces of 1, 2, 3 … bytes. The parsed head is
 * in `head`, for further questions.
 */
#ifndef TESTS_UNIT_COMMON_HTTP1_HEADS_H
#define TESTS_UNIT_COMMON_HTTP1_HEADS_H

#include "common/http1.h"

#include <check.h>
#include <stdio.h>

#define NL "\r\n"
#define START "GET / HTTP/1.1" NL
#define HOST "Host: a" NL
#define GET(fields) START HOST fields NL

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* Verdicts beside the status of a refusal. */
enum { INCOMPLETE = 0, GOOD = 200 };

static struct http1_head head;
static struct err last_err;

static inline int parse_so_far(struct http1_head *h, struct span in,
			       bool is_request)
{
	last_err = ERR_INIT;
	switch (is_request ? http1_parse_request(h, in.ptr, in.len, &last_err) :
			     http1_parse_response(h, in.ptr, in.len, false,
						  &last_err)) {
	case HTTP1_MORE:
		return INCOMPLETE;
	case HTTP1_DONE:
		return GOOD;
	case HTTP1_BAD:
		ck_assert_int_eq(last_err.code,
				 is_request ? ERR_CLIENT : ERR_TARGET);
		return err_http_status(&last_err);
	}
	ck_abort_msg("no such result");
}

/* The verdict when `first` bytes arrive, then `step` more at a time. */
static inline int parse_pieces(struct http1_head *h, struct span in,
			       size_t first, size_t step, bool is_request)
{
	int verdict = INCOMPLETE;
	size_t n = first;

	http1_head_init(h);
	for (;;) {
		verdict = parse_so_far(h, span_make(in.ptr, n), is_request);
		if (verdict != INCOMPLETE || n == in.len)
			return verdict;
		n = in.len - n > step ? n + step : in.len;
	}
}

static inline bool same_slice(struct http1_slice a, struct http1_slice b)
{
	return a.at == b.at && a.len == b.len;
}

static inline bool same_head(const struct http1_head *a,
			     const struct http1_head *b)
{
	return a->method == b->method && same_slice(a->path, b->path) &&
	       same_slice(a->query, b->query) && same_slice(a->host, b->host) &&
	       a->status == b->status && same_slice(a->reason, b->reason) &&
	       a->minor_version == b->minor_version &&
	       a->framing == b->framing && a->length == b->length &&
	       a->has_length == b->has_length &&
	       a->keep_alive == b->keep_alive &&
	       a->expect_continue == b->expect_continue &&
	       a->n_fields == b->n_fields &&
	       !memcmp(a->fields, b->fields,
		       a->n_fields * sizeof(a->fields[0])) &&
	       a->size == b->size;
}

static inline void expect_same(struct span in, size_t first, size_t step,
			       int verdict, bool is_request)
{
	static struct http1_head pieces;
	int other = parse_pieces(&pieces, in, first, step, is_request);

	ck_assert_msg(other == verdict && same_head(&pieces, &head),
		      "%d, but %d in pieces of %zu, %zu …: %.200s", verdict,
		      other, first, step, in.ptr);
}

static inline void expect_head(struct span in, int verdict, bool is_request)
{
	int whole = parse_pieces(&head, in, in.len, in.len, is_request);

	ck_assert_msg(whole == verdict, "%d instead of %d (%s): %.200s", whole,
		      verdict, last_err.text, in.ptr);
	for (size_t n = 1; n < in.len; n++)
		expect_same(in, n, in.len, verdict, is_request);
	for (size_t n = 1; n < in.len && n < 100; n++)
		expect_same(in, n, n, verdict, is_request);
}

struct known_verdict {
	int verdict;
	struct span request;
};

#define CASE(verdict, s) {verdict, {"" s, sizeof(s) - 1}}

static inline void expect_all(const struct known_verdict *cases, size_t n)
{
	for (size_t i = 0; i < n; i++)
		expect_head(cases[i].request, cases[i].verdict, true);
}

static inline void expect_request(const char *request, int verdict)
{
	expect_head(span_of(request), verdict, true);
}

/* A request whose one field has this value; is it refused with `verdict`? */
static inline void expect_value(const char *name, const char *value,
				int verdict)
{
	char request[512];

	snprintf(request, sizeof(request),
		 "POST / HTTP/1.1" NL HOST "%s:%s" NL NL, name, value);
	expect_request(request, verdict);
}

static inline void assert_slice(const char *request, struct http1_slice slice,
				const char *text)
{
	struct span span = http1_span(request, slice);

	ck_assert_msg(span_eq(span, span_of(text)), "%.*s instead of %s",
		      SPAN_ARG(span), text);
}

#endif
