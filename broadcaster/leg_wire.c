#include "broadcaster/leg_wire.h"

#include "common/json.h"

#include <stdio.h>
#include <stdlib.h>

#define HEAD_SIZE 12288u	/* a name of 1 KiB, encoded twice, and a token */

void outbox_clear(struct outbox *out)
{
	if (out->ptr != out->small)
		free(out->ptr);
	out->ptr = NULL;
	out->len = 0;
	out->sent = 0;
}

/* Append to the outbox what could not be sent at once. */
static int outbox_add(struct outbox *out, struct span bytes, struct err *err)
{
	size_t left = out->len - out->sent;
	char *ptr = out->small;

	if (left + bytes.len > sizeof(out->small)) {
		ptr = malloc(left + bytes.len);
		if (!ptr)
			return err_set(err, ERR_MEMORY, "out of memory");
	}
	if (left > 0)
		memmove(ptr, out->ptr + out->sent, left);
	memcpy(ptr + left, bytes.ptr, bytes.len);
	if (out->ptr != ptr && out->ptr != out->small)
		free(out->ptr);
	out->ptr = ptr;
	out->len = left + bytes.len;
	out->sent = 0;
	return 0;
}

/* link_send() that remembers "would block" until the link is writable. */
static ssize_t send_some(struct leg *leg, struct span bytes, struct err *err)
{
	ssize_t n;

	if (leg->is_blocked)
		return 0;
	n = link_send(leg->link, bytes, err);
	if (n == 0 || (n > 0 && (size_t)n < bytes.len && !leg->outlet->is_tls))
		leg->is_blocked = true;
	return n;
}

int wire_flush(struct leg *leg, struct err *err)
{
	struct outbox *out = &leg->out;

	while (out->sent < out->len) {
		ssize_t n = send_some(leg,
				      span_make(out->ptr + out->sent,
						out->len - out->sent),
				      err);

		if (n <= 0)
			return (int)n;
		out->sent += (size_t)n;
	}
	outbox_clear(out);
	return 1;
}

/*
 * Send control bytes now, or as soon as the socket takes them. Over TLS a write
 * that was refused must be repeated from the same address (SSL_write(3)), so
 * there they are sent from the outbox only, by the next wire_flush().
 */
static int put(struct leg *leg, struct span bytes, struct err *err)
{
	ssize_t n = 0;

	if (leg->out.len == 0 && !leg->outlet->is_tls) {
		n = send_some(leg, bytes, err);
		if (n < 0)
			return -1;
	}
	if ((size_t)n == bytes.len)
		return 0;
	bytes.ptr += n;
	bytes.len -= (size_t)n;
	return outbox_add(&leg->out, bytes, err);
}

/* ---- heads --------------------------------------------------------------- */

/* Text being built in a fixed buffer; too long is noted, not overrun. */
struct text {
	char buf[HEAD_SIZE];
	size_t len;
	bool is_cut;
};

/* Only the counters: the buffer need not be cleared. */
static void text_init(struct text *t)
{
	t->len = 0;
	t->is_cut = false;
}

static void PRINTF_LIKE(2, 3) add(struct text *t, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(t->buf + t->len, sizeof(t->buf) - t->len, fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(t->buf) - t->len)
		t->is_cut = true;
	else
		t->len += (size_t)n;
}

static int put_text(struct leg *leg, const struct text *t, struct err *err)
{
	if (t->is_cut)
		return err_set(err, ERR_TARGET, "the request's head is too long");
	return put(leg, span_make(t->buf, t->len), err);
}

static void add_common(struct text *t, const struct leg *leg)
{
	const struct front *front = leg->ctx->front;

	add(t, "Host: %s\r\nVia: 1.1 %s\r\nUser-Agent: stream-broadcast\r\n",
	    http_origin_host(leg->outlet->origin), front->shared->instance);
}

static void add_token(struct text *t, const struct leg *leg)
{
	const char *token = leg->ctx->front->settings->reader_token;

	if (leg->outlet->target->kind == TARGET_READER && *token)
		add(t, "Authorization: Bearer %s\r\n", token);
}

static void add_name(struct text *t, const struct leg *leg)
{
	char value[4 * OBJECT_NAME_SIZE + 64];

	if (!*leg->ctx->info->name)
		return;
	http1_content_disposition("attachment", leg->ctx->info->name, value,
				  sizeof(value));
	add(t, "Content-Disposition: %s\r\n", value);
}

/* `extra`: bytes that the framing of a form adds to the object's. */
static void add_framing(struct text *t, const struct leg *leg, size_t extra)
{
	uint64_t size = leg->ctx->info->size;

	if (leg->is_chunked)
		add(t, "Transfer-Encoding: chunked\r\n");
	else
		add(t, "Content-Length: %llu\r\n",
		    (unsigned long long)(size + extra));
	if (leg->is_chunked || size + extra > 0)
		add(t, "Expect: 100-continue\r\n");
	add(t, "\r\n");
}

static void build_put(struct text *t, const struct leg *leg)
{
	const struct target *target = leg->outlet->target;

	if (target->kind == TARGET_READER)
		add(t, "PUT /objects/%s HTTP/1.1\r\n", leg->ctx->info->id);
	else
		add(t, "PUT %s HTTP/1.1\r\n", target->path);
	add_common(t, leg);
	add_token(t, leg);
	add(t, "Content-Type: %s\r\n", leg->ctx->info->content_type);
	add_name(t, leg);
	add_framing(t, leg, 0);
}

/* ---- forms, for plain endpoints that want one ---------------------------- */

/* A name inside quotes in a part's head (RFC 7578, 2; WHATWG's escapes). */
static void add_quoted(struct text *t, const char *name)
{
	for (; *name; name++) {
		if (*name == '"')
			add(t, "%%22");
		else
			add(t, "%c", *name);
	}
}

static void build_form_prefix(struct text *t, const struct leg *leg)
{
	const struct object_info *info = leg->ctx->info;

	add(t, "--%s\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"",
	    info->id, leg->outlet->target->field);
	add_quoted(t, *info->name ? info->name : info->id);
	add(t, "\"\r\nContent-Type: %s\r\n\r\n", info->content_type);
}

static void build_form_suffix(struct text *t, const struct leg *leg)
{
	add(t, "\r\n--%s--\r\n", leg->ctx->info->id);
}

static void build_form_head(struct text *t, const struct leg *leg)
{
	struct text prefix, suffix;

	text_init(&prefix);
	text_init(&suffix);
	build_form_prefix(&prefix, leg);
	build_form_suffix(&suffix, leg);
	add(t, "POST %s HTTP/1.1\r\n", leg->outlet->target->path);
	add_common(t, leg);
	add(t, "Content-Type: multipart/form-data; boundary=%s\r\n",
	    leg->ctx->info->id);
	add_framing(t, leg, prefix.len + suffix.len);
}

int wire_offer(struct leg *leg, struct err *err)
{
	struct text t;

	text_init(&t);
	if (leg->outlet->target->kind == TARGET_FORM)
		build_form_head(&t, leg);
	else
		build_put(&t, leg);
	return put_text(leg, &t, err);
}

/* ---- body ---------------------------------------------------------------- */

/* Control text as part of the body: in a chunk of its own when chunked. */
static int put_in_body(struct leg *leg, const struct text *body, struct err *err)
{
	struct text t;
	char header[HTTP1_CHUNK_HEADER_SIZE];

	text_init(&t);
	if (!leg->is_chunked)
		return put_text(leg, body, err);
	header[http1_chunk_header(body->len, header)] = '\0';
	add(&t, "%s%s%.*s", leg->has_chunk ? "\r\n" : "", header,
	    (int)body->len, body->buf);
	leg->has_chunk = true;
	return put_text(leg, &t, err);
}

static int start_body(struct leg *leg, struct err *err)
{
	struct text prefix;

	text_init(&prefix);
	if (leg->is_started)
		return 0;
	leg->is_started = true;
	if (leg->outlet->target->kind != TARGET_FORM)
		return 0;
	build_form_prefix(&prefix, leg);
	return put_in_body(leg, &prefix, err);
}

/* Announce the contiguous bytes at the cursor as the next chunk. */
static int start_chunk(struct leg *leg, struct err *err)
{
	struct span next = ring_peek(leg->ctx->ring, &leg->cursor);
	char text[2 + HTTP1_CHUNK_HEADER_SIZE] = "\r\n";
	size_t skip = leg->has_chunk ? 0 : 2;
	size_t len = 2 + http1_chunk_header(next.len, text + 2);

	leg->chunk_left = next.len;
	leg->has_chunk = true;
	return put(leg, span_make(text + skip, len - skip), err);
}

/* Is this the byte that a plain endpoint must not get before the verdict? */
static uint64_t withheld_bytes(const struct leg *leg)
{
	return leg->outlet->target->kind == TARGET_PUT && !leg->is_chunked;
}

/* The bytes at the cursor that may be sent now. */
static struct span sendable(struct leg *leg)
{
	struct span bytes = ring_peek(leg->ctx->ring, &leg->cursor);
	uint64_t end = leg->ctx->info->size - withheld_bytes(leg);

	if (leg->is_chunked)
		end = leg->cursor.position + leg->chunk_left;
	if (bytes.len > end - leg->cursor.position)
		bytes.len = (size_t)(end - leg->cursor.position);
	return bytes;
}

static void took(struct leg *leg, size_t n)
{
	ring_advance(leg->ctx->ring, &leg->cursor, n);
	if (leg->is_chunked)
		leg->chunk_left -= n;
	lag_sent(leg->lag, ring_lag(leg->ctx->ring, &leg->cursor),
		 loop_now_ms(leg->ctx->front->loop));
	metric_add(leg->outlet->sent_bytes, (int64_t)n);
}

/* 1: all that may be sent is sent; 0 blocked; -1 err. */
static int send_ring(struct leg *leg, struct err *err)
{
	for (;;) {
		struct span bytes;
		ssize_t n;
		int flushed = wire_flush(leg, err);

		if (flushed <= 0)
			return flushed;
		if (leg->is_chunked && leg->chunk_left == 0 &&
		    ring_lag(leg->ctx->ring, &leg->cursor) > 0) {
			if (start_chunk(leg, err) < 0)
				return -1;
			continue;
		}
		bytes = sendable(leg);
		if (bytes.len == 0)
			return 1;
		n = send_some(leg, bytes, err);
		if (n <= 0)
			return (int)n;
		took(leg, (size_t)n);
	}
}

/* Keep the withheld byte, so that the ring is free for the next object. */
static void hold_last_byte(struct leg *leg)
{
	struct span last = ring_peek(leg->ctx->ring, &leg->cursor);

	if (withheld_bytes(leg) == 0)
		return;
	CHECK(last.len == 1);
	leg->held = last.ptr[0];
	leg->has_held = true;
	took(leg, 1);
}

/* Queue the end of the body: the CRLF of the last chunk, and the last chunk. */
static int end_chunks(struct leg *leg, struct err *err)
{
	struct text t;

	text_init(&t);
	add(&t, "%s%s", leg->has_chunk ? "\r\n" : "", HTTP1_LAST_CHUNK);
	return put_text(leg, &t, err);
}

/* Is the ring's content up to the cursor the whole object? */
static bool is_all_sent(const struct leg *leg)
{
	return leg->ctx->is_complete ||
	       (!leg->is_chunked &&
		leg->cursor.position + withheld_bytes(leg) ==
			leg->ctx->info->size);
}

enum wire_result wire_send_body(struct leg *leg, struct err *err)
{
	int sent = wire_flush(leg, err);

	if (sent == 0)
		return WIRE_BLOCKED;
	if (sent < 0 || start_body(leg, err) < 0)
		return WIRE_BAD;
	sent = send_ring(leg, err);
	if (sent < 0)
		return WIRE_BAD;
	if (sent == 0 || !is_all_sent(leg))
		return WIRE_BLOCKED;
	if (leg->outlet->target->kind != TARGET_READER) {
		if (!leg->ctx->is_complete)
			return WIRE_BLOCKED;
		hold_last_byte(leg);
		return WIRE_HELD;
	}
	leg->is_terminated = true;
	if (leg->is_chunked && end_chunks(leg, err) < 0)
		return WIRE_BAD;
	return WIRE_SENT;
}

/* What a plain endpoint still lacks, into the outbox. */
static int queue_rest(struct leg *leg, struct err *err)
{
	struct text t;

	text_init(&t);
	if (!leg->is_started && leg->outlet->target->kind == TARGET_PUT)
		return wire_offer(leg, err);
	if (leg->has_held && put(leg, span_make(&leg->held, 1), err) < 0)
		return -1;
	if (leg->outlet->target->kind == TARGET_FORM) {
		build_form_suffix(&t, leg);
		if (put_in_body(leg, &t, err) < 0)
			return -1;
	}
	return leg->is_chunked ? end_chunks(leg, err) : 0;
}

enum wire_result wire_send_rest(struct leg *leg, struct err *err)
{
	int flushed;

	if (!leg->is_terminated) {
		leg->is_terminated = true;
		if (queue_rest(leg, err) < 0)
			return WIRE_BAD;
	}
	flushed = wire_flush(leg, err);
	if (flushed < 0)
		return WIRE_BAD;
	return flushed ? WIRE_SENT : WIRE_BLOCKED;
}

/* ---- commit and other requests ------------------------------------------- */

static void add_metadata(struct text *t, const struct leg *leg)
{
	char value[METADATA_FIELD_SIZE];

	if (!leg->ctx->metadata)
		return;
	metadata_format(leg->ctx->metadata, value);
	if (*value)
		add(t, "Upload-Metadata: %s\r\n", value);
}

int wire_commit(struct leg *leg, struct err *err)
{
	struct text t;
	char digest[DIGEST_FIELD_SIZE];

	text_init(&t);
	digest_format_field(leg->ctx->sha256, digest);
	add(&t, "POST /objects/%s/commit HTTP/1.1\r\n", leg->ctx->info->id);
	add_common(&t, leg);
	add_token(&t, leg);
	add_metadata(&t, leg);
	add(&t, "Repr-Digest: %s\r\nContent-Length: 0\r\n\r\n", digest);
	return put_text(leg, &t, err);
}

/* Room for what belongs to a commit beside its path. */
struct commit_fields {
	char digest[DIGEST_FIELD_SIZE];
	char metadata[METADATA_FIELD_SIZE];
};

static void add_commit_fields(struct http_call_request *request,
			      struct http_call_header *headers,
			      const struct leg_context *ctx,
			      struct commit_fields *fields)
{
	digest_format_field(ctx->sha256, fields->digest);
	headers[request->n_headers++] =
		(struct http_call_header){ "Repr-Digest", fields->digest };
	if (!ctx->metadata)
		return;
	metadata_format(ctx->metadata, fields->metadata);
	if (*fields->metadata)
		headers[request->n_headers++] = (struct http_call_header){
			"Upload-Metadata", fields->metadata
		};
}

struct http_call *wire_call(struct leg *leg, const char *method,
			    const char *suffix, http_call_fn *fn)
{
	const struct broadcaster_settings *s = leg->ctx->front->settings;
	char path[80], bearer[600];
	struct commit_fields fields;
	struct http_call_header headers[3];
	struct http_call_request request = { .method = method,
					     .path = path,
					     .headers = headers,
					     .timeout_ms =
						     s->connect_timeout_ms };

	snprintf(path, sizeof(path), "/objects/%s%s", leg->ctx->info->id,
		 suffix);
	if (!strcmp(method, "POST")) {
		add_commit_fields(&request, headers, leg->ctx, &fields);
		request.timeout_ms = s->stage_timeout_ms;
	}
	if (*s->reader_token) {
		snprintf(bearer, sizeof(bearer), "Bearer %s", s->reader_token);
		headers[request.n_headers++] =
			(struct http_call_header){ "Authorization", bearer };
	}
	return http_call_start(leg->outlet->origin, &request, fn, leg);
}

int wire_parse_staged(struct leg *leg, struct err *err)
{
	struct err why = ERR_INIT;
	struct span body = span_make(leg->reply->kept, leg->reply->kept_len);
	json_t *root = json_parse_object(body, &why);
	const char *sha256 =
		root ? json_string_value(json_object_get(root, "sha256")) : NULL;
	json_t *size = root ? json_object_get(root, "size") : NULL;
	int rc = 0;

	if (!sha256 || !digest_is_hex(span_of(sha256)) || !json_is_integer(size))
		rc = err_set(err, ERR_TARGET,
			     "its answer names no size and digest: is it a "
			     "reader?");
	else if ((uint64_t)json_integer_value(size) != leg->cursor.position)
		rc = err_set(err, ERR_TARGET,
			     "stored %lld bytes of %llu",
			     (long long)json_integer_value(size),
			     (unsigned long long)leg->cursor.position);
	if (rc == 0) {
		leg->size = leg->cursor.position;
		memcpy(leg->sha256, sha256, sizeof(leg->sha256));
	}
	json_decref(root);
	return rc;
}
