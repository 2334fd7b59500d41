#include "broadcaster/reply.h"

#include "common/json.h"

#include <stdio.h>
#include <stdlib.h>

static void begin(struct reply *r)
{
	r->status = 0;
	r->keep_alive = false;
	r->kept_len = 0;
	r->to_head = false;
	r->in_body = false;
	r->body_bytes = 0;
	r->n_interim = 0;
	r->used = 0;
	r->len = 0;
	http1_head_init(&r->head);
}

struct reply *reply_take(struct reply_pool *pool)
{
	struct reply *r = pool->first;

	if (r)
		pool->first = r->next_free;
	else
		r = malloc(sizeof(*r));
	if (r)
		begin(r);
	return r;
}

void reply_give(struct reply_pool *pool, struct reply **reply)
{
	if (!*reply)
		return;
	(*reply)->next_free = pool->first;
	pool->first = *reply;
	*reply = NULL;
}

void reply_pool_release(struct reply_pool *pool)
{
	struct reply *r;

	while ((r = pool->first)) {
		pool->first = r->next_free;
		free(r);
	}
}

static void drop_used(struct reply *r)
{
	memmove(r->buf, r->buf + r->used, r->len - r->used);
	r->len -= r->used;
	r->used = 0;
}

/* An informational answer has ended: make ready for the next head. */
static enum reply_result end_interim(struct reply *r, struct err *err)
{
	int status = r->head.status;

	if (++r->n_interim > REPLY_MAX_INTERIM) {
		err_set(err, ERR_TARGET, "sent more than %u interim answers",
			REPLY_MAX_INTERIM);
		return REPLY_BAD;
	}
	r->used = r->head.size;
	drop_used(r);
	http1_head_init(&r->head);
	return status == 100 ? REPLY_CONTINUE : REPLY_MORE;
}

static enum reply_result finish(struct reply *r)
{
	r->keep_alive = r->head.keep_alive && r->used == r->len &&
			r->head.framing != HTTP1_UNTIL_CLOSE;
	return REPLY_DONE;
}

static enum reply_result begin_body(struct reply *r)
{
	r->status = r->head.status;
	r->used = r->head.size;
	r->in_body = true;
	if (r->head.framing == HTTP1_CHUNKED) {
		http1_chunked_init(&r->chunked);
		r->chunked.is_response = true;
	}
	return REPLY_MORE;
}

static enum reply_result parse_head(struct reply *r, struct err *err)
{
	switch (http1_parse_response(&r->head, r->buf, r->len, r->to_head, err)) {
	case HTTP1_BAD:
		return REPLY_BAD;
	case HTTP1_DONE:
		if (r->head.status >= 200)
			return begin_body(r);
		return end_interim(r, err);
	case HTTP1_MORE:
		break;
	}
	if (r->len < sizeof(r->buf))
		return REPLY_MORE;
	err_set(err, ERR_TARGET, "sent an answer whose head is over %u bytes",
		REPLY_BUFFER);
	return REPLY_BAD;
}

/* Take `n` body bytes from the buffer, keeping the first ones. */
static enum reply_result take_body(struct reply *r, uint64_t n, struct err *err)
{
	size_t keep = sizeof(r->kept) - r->kept_len;

	if (keep > n)
		keep = (size_t)n;
	memcpy(r->kept + r->kept_len, r->buf + r->used, keep);
	r->kept_len += keep;
	r->used += (size_t)n;
	r->body_bytes += n;
	if (r->body_bytes <= REPLY_MAX_BODY)
		return REPLY_MORE;
	err_set(err, ERR_TARGET, "sent an answer of more than %u bytes",
		REPLY_MAX_BODY);
	return REPLY_BAD;
}

static enum reply_result parse_chunked(struct reply *r, struct err *err)
{
	for (;;) {
		struct span in = span_make(r->buf + r->used, r->len - r->used);
		enum http1_result result = http1_chunked_framing(
			&r->chunked, &in, UINT64_MAX, err);
		uint64_t n;

		r->used = r->len - in.len;
		if (result == HTTP1_BAD)
			return REPLY_BAD;
		if (result == HTTP1_DONE)
			return finish(r);
		n = r->chunked.left < in.len ? r->chunked.left : in.len;
		if (n == 0)
			return REPLY_MORE;
		http1_chunked_took(&r->chunked, n);
		if (take_body(r, n, err) == REPLY_BAD)
			return REPLY_BAD;
	}
}

static enum reply_result parse_body(struct reply *r, struct err *err)
{
	uint64_t n = r->len - r->used;

	switch (r->head.framing) {
	case HTTP1_NO_BODY:
		return finish(r);
	case HTTP1_CHUNKED:
		return parse_chunked(r, err);
	case HTTP1_IDENTITY:
		if (n > r->head.length - r->body_bytes)
			n = r->head.length - r->body_bytes;
		if (take_body(r, n, err) == REPLY_BAD)
			return REPLY_BAD;
		return r->body_bytes == r->head.length ? finish(r) : REPLY_MORE;
	case HTTP1_UNTIL_CLOSE:
		return take_body(r, n, err);
	}
	return REPLY_BAD;
}

/* Heads up to the final one; REPLY_MORE may mean that it is there: in_body. */
static enum reply_result parse_heads(struct reply *r, struct err *err)
{
	while (!r->in_body) {
		unsigned int n_interim = r->n_interim;
		enum reply_result result = parse_head(r, err);

		if (result != REPLY_MORE)
			return result;
		if (!r->in_body && n_interim == r->n_interim)
			return REPLY_MORE;
	}
	return REPLY_MORE;
}

/* Parse what is buffered. REPLY_MORE: nothing more can be told from it. */
static enum reply_result parse(struct reply *r, struct err *err)
{
	enum reply_result result = parse_heads(r, err);

	if (result != REPLY_MORE || !r->in_body)
		return result;
	result = parse_body(r, err);
	if (result == REPLY_MORE)
		drop_used(r);
	return result;
}

static enum reply_result on_eof(struct reply *r, struct err *err)
{
	if (r->in_body && r->head.framing == HTTP1_UNTIL_CLOSE)
		return finish(r);
	err_set(err, ERR_TARGET, "closed the connection %s",
		r->in_body || r->len > 0 ? "in the middle of its answer" :
					   "without an answer");
	return REPLY_BAD;
}

bool reply_is_empty(const struct reply *r)
{
	return r->len == 0 && !r->in_body;
}

/*
 * Receive as much as there is room for. When something came, *more says so and it
 * is to be parsed; otherwise the result is the answer's.
 */
static enum reply_result receive(struct reply *r, struct http_link *link,
				 bool *more, struct err *err)
{
	ssize_t n = link_recv(link, r->buf + r->len, sizeof(r->buf) - r->len,
			      err);

	*more = n > 0;
	if (n > 0)
		r->len += (size_t)n;
	if (n >= 0)
		return REPLY_MORE;
	return n == LINK_EOF ? on_eof(r, err) : REPLY_BAD;
}

enum reply_result reply_read(struct reply *r, struct http_link *link,
			     struct err *err)
{
	enum reply_result result = r->len > 0 ? parse(r, err) : REPLY_MORE;
	bool more = true;

	while (result == REPLY_MORE && more) {
		result = receive(r, link, &more, err);
		if (more)
			result = parse(r, err);
	}
	return result;
}

enum reply_result reply_read_head(struct reply *r, struct http_link *link,
				  bool to_head, struct err *err)
{
	enum reply_result result = REPLY_MORE;
	bool more;

	r->to_head = to_head;
	while (!r->in_body && result == REPLY_MORE) {
		result = receive(r, link, &more, err);
		if (!more)
			return result;
		do	/* 100 Continue, which nobody asked for, is passed over */
			result = parse_heads(r, err);
		while (result == REPLY_CONTINUE);
	}
	return r->in_body ? REPLY_DONE : REPLY_BAD;
}

struct span reply_field(const struct reply *r, const char *name)
{
	return http1_field(&r->head, r->buf, name);
}

struct span reply_body(const struct reply *r)
{
	return span_make(r->buf + r->used, r->len - r->used);
}

/* The sentence of a problem or of an envelope, or NULL. Borrowed from `root`. */
static const char *sentence_of(json_t *root)
{
	static const char *const keys[] = { "detail", "message", "title" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *text =
			json_string_value(json_object_get(root, keys[i]));

		if (text)
			return text;
	}
	return NULL;
}

/* The first line of a body that is plain text, or nothing. */
static struct span first_line(struct span body)
{
	struct span line = span_trim(span_cut(&body, '\n'));

	if (line.len > 0 && line.ptr[line.len - 1] == '\r')
		line.len--;
	if (line.len > 100)
		line.len = 100;
	if (!http1_is_utf8(line) || !http1_is_field_value(line) ||
	    (line.len > 0 && (line.ptr[0] == '<' || line.ptr[0] == '{')))
		line.len = 0;
	return line;
}

bool reply_sentence(struct span body, char *buf, size_t size)
{
	struct err ignored = ERR_INIT;
	json_t *root = json_parse_object(body, &ignored);
	const char *text = root ? sentence_of(root) : NULL;
	struct span line = first_line(body);

	snprintf(buf, size, "%.*s", SPAN_ARG(line));
	if (text)
		snprintf(buf, size, "%s", text);
	json_decref(root);
	return *buf;
}

void reply_reason_of(int status, struct span body, char *buf, size_t size)
{
	const char *phrase = http1_reason(status);
	char text[300];

	if (reply_sentence(body, text, sizeof(text)))
		snprintf(buf, size, "answered %d: %s", status, text);
	else
		snprintf(buf, size, "answered %d%s%s", status,
			 *phrase ? " " : "", phrase);
}

void reply_reason(const struct reply *r, char *buf, size_t size)
{
	reply_reason_of(r->status, span_make(r->kept, r->kept_len), buf, size);
}
