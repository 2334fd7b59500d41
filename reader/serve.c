#include "reader/serve.h"

#include "common/clock.h"
#include "common/json.h"

#include "reader/answers.h"
#include "reader/deliver.h"
#include "reader/list_query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct serve {
	struct operation op;
	struct store_lookup lookup;
	struct delivery delivery;
	bool is_staged;			/* HEAD: as `staged` says */
	struct staging_view staged;
};

/* ---- the fields that describe a committed object ------------------------- */

/* An escaped name of OBJECT_NAME_SIZE grows by up to three, plus a fallback. */
#define DISPOSITION_SIZE (4 * OBJECT_NAME_SIZE + 64)
#define ETAG_SIZE (DIGEST_HEX_SIZE + 2)
#define MAX_FIELDS 8

struct description {
	struct http_header fields[MAX_FIELDS];
	size_t n;
	const char *content_type;
	char etag[ETAG_SIZE];
	char digest[DIGEST_FIELD_SIZE];
	char modified[CLOCK_HTTP_DATE_SIZE];
	char disposition[DISPOSITION_SIZE];
	char range[80];
};

static void add_field(struct description *d, const char *name,
		      const char *value)
{
	CHECK(d->n < MAX_FIELDS);
	d->fields[d->n++] = (struct http_header){ name, value };
}

static void describe(struct description *d, const struct object *object)
{
	d->n = 0;
	snprintf(d->etag, sizeof(d->etag), "\"%s\"", object->sha256);
	digest_format_field(object->sha256, d->digest);
	clock_format_http_date(object->created_ms, d->modified);
	snprintf(d->disposition, sizeof(d->disposition), "attachment");
	if (object->name[0])
		http1_content_disposition("attachment", object->name,
					  d->disposition,
					  sizeof(d->disposition));
	/* Older releases and other programs may have stored anything. */
	d->content_type = http1_is_media_type(span_of(object->content_type))
				  ? object->content_type
				  : "application/octet-stream";
	add_field(d, "ETag", d->etag);
	add_field(d, "Repr-Digest", d->digest);
	add_field(d, "Last-Modified", d->modified);
	add_field(d, "Accept-Ranges", "bytes");
	add_field(d, "Content-Disposition", d->disposition);
	add_field(d, "X-Content-Type-Options", "nosniff");
}

static struct http_reply reply_of(const struct description *d, int status)
{
	return (struct http_reply){ .status = status,
				    .content_type = d->content_type,
				    .headers = d->fields,
				    .n_headers = d->n };
}

/* ---- content ------------------------------------------------------------- */

/* 0, 304 or 412. */
static int check_conditions(const struct http_exchange *x,
			    const struct description *d,
			    const struct object *object)
{
	struct http1_conditions conditions = http_request_conditions(x);

	return http1_check_conditions(&conditions, d->etag,
				      object->created_ms);
}

/* A Range that counts: If-Range has to name this very content (13.1.5). */
static enum http1_range range_of(const struct http_exchange *x,
				 const char *etag, uint64_t size,
				 uint64_t *first, uint64_t *last)
{
	struct span range = http_request_field(x, "Range");
	struct span if_range = http_request_field(x, "If-Range");

	if (!range.ptr || (if_range.ptr && !span_eq(if_range, span_of(etag))))
		return HTTP1_RANGE_NONE;
	return http1_parse_range(range, size, first, last);
}

static void reply_without_content(struct http_exchange *x,
				  struct description *d, int status)
{
	struct http_reply reply = reply_of(d, status);

	reply.content_type = NULL;
	http_reply(x, &reply, span_make(NULL, 0));
}

/* From here on it is a file's or the store's own affair. */
static void send_content(struct serve *s, const struct http_reply *reply,
			 uint64_t first, uint64_t length)
{
	int fd = s->lookup.fd;

	if (fd < 0) {
		delivery_start(&s->delivery, &s->op, reply, &s->lookup, first,
			       length);
		store_release(&s->lookup);
		return;
	}
	s->lookup.fd = -1;
	http_reply_file(s->op.x, reply, fd, first, length);
	operation_finish(&s->op);
}

static void refuse_content(struct serve *s, struct description *d, int status)
{
	store_release(&s->lookup);
	reply_without_content(s->op.x, d, status);
	operation_finish(&s->op);
}

static void reply_content(struct serve *s, struct description *d)
{
	uint64_t first = 0, last = 0, size = s->lookup.object.size;
	struct http_reply reply;

	switch (range_of(s->op.x, d->etag, size, &first, &last)) {
	case HTTP1_RANGE_NONE:
		reply = reply_of(d, 200);
		send_content(s, &reply, 0, size);
		return;
	case HTTP1_RANGE_ONE:
		snprintf(d->range, sizeof(d->range),
			 "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first, last,
			 size);
		add_field(d, "Content-Range", d->range);
		reply = reply_of(d, 206);
		send_content(s, &reply, first, last - first + 1);
		return;
	case HTTP1_RANGE_BAD:
		break;
	}
	snprintf(d->range, sizeof(d->range), "bytes */%" PRIu64, size);
	add_field(d, "Content-Range", d->range);
	refuse_content(s, d, 416);
}

static void on_content_found(void *arg, const struct err *err)
{
	struct serve *s = arg;
	struct description d;
	int status;

	if (!s->op.x || err) {
		store_release(&s->lookup);
		if (s->op.x)
			http_reply_problem(s->op.x, err);
		operation_finish(&s->op);
		return;
	}
	describe(&d, &s->lookup.object);
	status = check_conditions(s->op.x, &d, &s->lookup.object);
	if (status == 0)
		reply_content(s, &d);
	else
		refuse_content(s, &d, status);
}

/* Before the delivery has begun, on_content_found() sees that x is gone. */
static void on_gone(void *arg)
{
	struct serve *s = arg;

	delivery_on_gone(&s->delivery);
}

static void on_body(void *arg)
{
	(void)arg;	/* a GET has none */
}

static void on_writable(void *arg)
{
	struct serve *s = arg;

	delivery_on_writable(&s->delivery);
}

static const struct http_exchange_ops serve_ops = {
	.on_body = on_body,
	.on_writable = on_writable,
	.on_end = operation_on_end,
};

/* Where reading will begin, as far as can be told before the size is known. */
static uint64_t first_byte_of(const struct http_exchange *x)
{
	struct span range = http_request_field(x, "Range");
	uint64_t first = 0, last;

	if (!range.ptr || http1_parse_range(range, OBJECT_SIZE_UNKNOWN, &first,
					    &last) != HTTP1_RANGE_ONE)
		return 0;
	return first;
}

/* NULL: it was answered. */
static struct serve *serve_new(struct reader_thread *thread,
			       struct http_exchange *x, const char *id)
{
	struct serve *s = operation_new(thread, sizeof(*s));
	struct err err = ERR_INIT;

	if (!s) {
		err_set(&err, ERR_MEMORY, "out of memory for a request");
		http_reply_problem(x, &err);
		return NULL;
	}
	s->op.on_gone = on_gone;
	operation_attach(&s->op, x, &serve_ops);
	CHECK(span_to_string(span_of(id), s->lookup.id, sizeof(s->lookup.id)));
	return s;
}

static void find(struct serve *s, sink_done_fn *done)
{
	store_find(s->op.thread->reader->store, &s->lookup, s->op.thread->loop,
		   done, s);
}

void serve_object(struct reader_thread *thread, struct http_exchange *x,
		  const char *id)
{
	struct serve *s = serve_new(thread, x, id);

	if (!s)
		return;
	s->lookup.want_bytes = true;
	s->lookup.hint = first_byte_of(x);
	find(s, on_content_found);
}

/* ---- description --------------------------------------------------------- */

static void reply_description(struct http_exchange *x, struct description *d,
			      const struct object *object)
{
	struct http_reply reply = reply_of(d, 200);
	int status = check_conditions(x, d, object);

	if (status != 0)
		reply_without_content(x, d, status);
	else
		http_reply_head_only(x, &reply, object->size);
}

static void describe_staged(struct http_exchange *x,
			    const struct staging_view *view);

/* One that another process has begun, and that a PATCH would go on with. */
static void on_suspended_found(void *arg, const struct err *err)
{
	struct serve *s = arg;
	struct staging_view view = { .offset = s->lookup.object.size };

	if (s->op.x && err)
		http_reply_problem(s->op.x, err);
	else if (s->op.x)
		describe_staged(s->op.x, &view);
	operation_finish(&s->op);
}

static void on_described(void *arg, const struct err *err)
{
	struct serve *s = arg;
	struct http_exchange *x = s->op.x;
	struct store *store = s->op.thread->reader->store;
	bool is_absent = err && err->code == ERR_NOT_FOUND;
	struct description d;

	if (is_absent && !s->is_staged && store_can_resume(store)) {
		store_find_suspended(store, &s->lookup, s->op.thread->loop,
				     on_suspended_found, s);
		return;
	}
	if (x && is_absent && s->is_staged) {
		describe_staged(x, &s->staged);
	} else if (x && err) {
		http_reply_problem(x, err);
	} else if (x) {
		describe(&d, &s->lookup.object);
		reply_description(x, &d, &s->lookup.object);
	}
	operation_finish(&s->op);
}

/* Its offset, for a client that wants to go on with PATCH. */
static void describe_staged(struct http_exchange *x,
			    const struct staging_view *view)
{
	char offset[24], digest[DIGEST_FIELD_SIZE];
	struct http_header fields[3] = {
		{ "Cache-Control", "no-store" },
		{ "Upload-Offset", offset },
		{ "Repr-Digest", digest },
	};
	struct http_reply reply = { .status = 200,
				    .headers = fields,
				    .n_headers = 2 };

	snprintf(offset, sizeof(offset), "%" PRIu64, view->offset);
	if (view->sha256[0]) {
		digest_format_field(view->sha256, digest);
		reply.n_headers = 3;
	}
	http_reply(x, &reply, span_make(NULL, 0));
}

void serve_description(struct reader_thread *thread, struct http_exchange *x,
		       const char *id)
{
	struct reader *reader = thread->reader;
	struct staging_view view;
	bool is_staged = staging_look(reader->staging, id, &view);
	struct serve *s;

	/* What is committed counts; of our own nothing can be, besides. */
	if (is_staged && !store_is_shared(reader->store)) {
		describe_staged(x, &view);
		return;
	}
	s = serve_new(thread, x, id);
	if (!s)
		return;
	s->is_staged = is_staged;
	if (is_staged)
		s->staged = view;
	find(s, on_described);
}

/* ---- list ---------------------------------------------------------------- */

struct listing {
	struct operation op;
	struct store_list list;
};

/* How well a row answers the query; stores that cannot tell find all the same. */
static json_t *score_of(const struct store_list *list, size_t i)
{
	return json_real(list->scores ? list->scores[i] : 1.0);
}

static json_t *rows_to_json(const struct store_list *list)
{
	json_t *objects = json_array();

	for (size_t i = 0; i < list->n_rows; i++) {
		json_t *row = object_to_json(&list->rows[i]);

		if (list->sort == STORE_BY_RELEVANCE)
			json_put(&row, "score", score_of(list, i));
		json_add(&objects, row);
	}
	return objects;
}

static json_t *page_to_json(const struct store_list *list)
{
	json_t *page = json_object();
	char cursor[LIST_CURSOR_SIZE];
	bool has_next = list->more && list->n_rows > 0;

	if (has_next)
		list_cursor_write(list, cursor);
	json_put(&page, "objects", rows_to_json(list));
	json_put(&page, "next", has_next ? json_string(cursor) : json_null());
	json_put(&page, "ranked", json_boolean(list->ranked));
	return page;
}

static void on_listed(void *arg, const struct err *err)
{
	struct listing *l = arg;

	if (l->op.x && err)
		http_reply_problem(l->op.x, err);
	else if (l->op.x)
		answer_json(l->op.x, 200, page_to_json(&l->list));
	free(l->list.rows);
	free(l->list.scores);
	operation_finish(&l->op);
}

void serve_list(struct reader_thread *thread, struct http_exchange *x)
{
	struct listing *l = operation_new(thread, sizeof(*l));
	struct err err = ERR_INIT;

	if (!l)
		err_set(&err, ERR_MEMORY, "out of memory for a request");
	if (!l || list_query_read(&l->list, http_request_query(x), &err) < 0) {
		http_reply_problem(x, &err);
		if (l)
			operation_finish(&l->op);
		return;
	}
	operation_attach(&l->op, x, &operation_ops);
	store_list(thread->reader->store, &l->list, thread->loop, on_listed, l);
}
