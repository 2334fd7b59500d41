/*
 * {id}.part: a line of JSON, then the bytes that are no part yet. It is one
 * object, so that what it says and what it holds belong together. While bytes come
 * it has none of these: it says behind which part another process may go on.
 */
#include "common/json.h"

#include "reader/s3_sink.h"

#include <stdio.h>
#include <stdlib.h>

/* It is less than a part (S3: 5 GiB). */
#define MAX_TAIL (UINT64_C(5) << 30)

/* ---- put ------------------------------------------------------------------ */

/* After `parts` of the upload, and `tail_bytes` that are none. */
static json_t *print_head(struct s3_sink *sink, uint64_t offset,
			  unsigned int parts, size_t tail_bytes,
			  const char *state)
{
	const struct object *object = &sink->base.object;
	json_t *json = json_object();

	json_put(&json, "id", json_string(object->id));
	json_put(&json, "name", json_text(span_of(object->name)));
	json_put(&json, "content_type",
		 json_text(span_of(object->content_type)));
	json_put(&json, "upload_id",
		 json_string(sink->upload.id ? sink->upload.id : ""));
	json_put(&json, "offset", json_integer((json_int_t)offset));
	json_put(&json, "parts", json_integer(parts));
	json_put(&json, "tail", json_integer((json_int_t)tail_bytes));
	json_put(&json, "sha256_state", json_string(state));
	return json;
}

static void on_put(void *arg, struct s3_request *r)
{
	struct s3_sink *sink = arg;

	if (err_is_set(&r->err))
		sink->base.err = r->err;
	memcpy(sink->tail_etag, r->etag, sizeof(sink->tail_etag));
	sink->next(sink);
}

/* The rest of the upload, with `head` in the room before it. */
static struct span body_of(struct s3_sink *sink, struct span head)
{
	struct span rest = s3_upload_rest(&sink->upload);
	char *room;

	if (rest.ptr) {
		room = s3_upload_rest_start(&sink->upload) - head.len;
		memcpy(room, head.ptr, head.len);
		return span_make(room, head.len + rest.len);
	}
	return head;
}

/* It may be as large as a part: on a worker. */
static void run_hash(void *arg)
{
	struct s3_sink *sink = arg;
	unsigned char bytes[DIGEST_SHA256_BYTES];

	digest_once(&sink->request.body, 1, bytes);
	digest_to_hex(bytes, sizeof(bytes), sink->sha256);
}

static void on_hashed(void *arg)
{
	struct s3_sink *sink = arg;

	sink->request.sha256 = sink->sha256;
	s3_request_start(&sink->request, on_put, sink);
}

static void put(struct s3_sink *sink, struct span head)
{
	struct s3_request *r = &sink->request;

	CHECK(head.len <= S3_HEAD_ROOM);
	sink->tail_head = head.len;
	sink->tail_bytes = s3_upload_rest(&sink->upload).len;
	sink->has_tail = true;
	s3_key_of_tail(sink->engine->config.prefix, sink->base.object.id,
		       sink->key);
	s3_request_init(r, sink->engine, "PUT", sink->key);
	s3_encryption_fields(r);
	r->body = body_of(sink, head);
	workers_submit(sink->engine->workers, &sink->job, sink->engine->loop,
		       run_hash, on_hashed, sink);
}

void s3_tail_put(struct s3_sink *sink, s3_sink_fn *next)
{
	char state[DIGEST_STATE_SIZE];
	size_t len = 0;

	sink->next = next;
	s3_upload_clear_mark(&sink->upload);
	digest_export(sink->base.digest, state);
	sink->text = json_print(print_head(sink, sink->base.offset,
					   sink->upload.n_parts,
					   s3_upload_rest(&sink->upload).len,
					   state), &len);
	if (sink->text) {
		put(sink, span_make(sink->text, len));
		return;
	}
	err_set(&sink->base.err, ERR_MEMORY, "out of memory for an upload");
	next(sink);
}

/* ---- while bytes come ------------------------------------------------------ */

static void on_checkpoint(void *arg, struct s3_request *r)
{
	struct s3_sink *sink = arg;
	struct s3_checkpoint *c = &sink->checkpoint;
	s3_sink_fn *next = c->next;

	(void)r;	/* the one before it is still there */
	free(c->text);
	c->text = NULL;
	c->next = NULL;
	s3_upload_clear_mark(&sink->upload);
	if (next)
		next(sink);
}

void s3_checkpoint(struct s3_sink *sink)
{
	struct s3_checkpoint *c = &sink->checkpoint;
	const struct s3_mark *mark = &sink->upload.mark;
	size_t len = 0;

	/* A PUT that breaks off is not gone on with. */
	if (sink->base.expects_more || sink->has_tail)
		c->text = json_print(print_head(sink, mark->sent, mark->parts,
						0, mark->digest_state), &len);
	if (!c->text) {
		s3_upload_clear_mark(&sink->upload);
		return;
	}
	sink->has_tail = true;
	s3_key_of_tail(sink->engine->config.prefix, sink->base.object.id,
		       c->key);
	s3_request_init(&c->request, sink->engine, "PUT", c->key);
	s3_encryption_fields(&c->request);
	c->request.body = span_make(c->text, len);
	c->request.max_tries = 1;
	s3_request_start(&c->request, on_checkpoint, sink);
}

void s3_checkpoint_wait(struct s3_sink *sink, s3_sink_fn *next)
{
	if (sink->checkpoint.text)
		sink->checkpoint.next = next;
	else
		next(sink);
}

/* ---- get ------------------------------------------------------------------ */

/* Another process may have gone on, and its tail may be as long. */
static bool is_the_same(const struct s3_sink *sink, const struct s3_request *r)
{
	return r->answer.len == sink->tail_head + sink->tail_bytes &&
	       strcmp(r->etag, sink->tail_etag) == 0;
}

static void on_got(void *arg, struct s3_request *r)
{
	struct s3_sink *sink = arg;

	if (err_is_set(&r->err))
		sink->base.err = r->err;
	else if (!is_the_same(sink, r))
		err_set(&sink->base.err, ERR_CONFLICT,
			"another reader goes on with %s at the same time",
			sink->base.object.id);
	else
		s3_upload_put_rest(&sink->upload, sink->tail_bytes);
	sink->is_suspended = err_is_set(&sink->base.err);
	if (sink->is_suspended)
		s3_sink_disown(sink);
	sink->next(sink);
}

void s3_tail_get(struct s3_sink *sink, s3_sink_fn *next)
{
	struct s3_request *r = &sink->request;
	char *room = s3_upload_rest_room(&sink->upload, sink->tail_bytes);

	sink->next = next;
	if (!room) {
		err_set(&sink->base.err, ERR_MEMORY, "out of memory for a part");
		next(sink);
		return;
	}
	s3_key_of_tail(sink->engine->config.prefix, sink->base.object.id,
		       sink->key);
	s3_request_init(r, sink->engine, "GET", sink->key);
	r->room = room - sink->tail_head;
	r->room_size = sink->tail_head + sink->tail_bytes;
	s3_request_start(r, on_got, sink);
}

/* ---- read ----------------------------------------------------------------- */

static bool take_text(json_t *json, const char *name, char *buf, size_t size)
{
	const char *text = json_string_value(json_object_get(json, name));

	return text && span_to_string(span_of(text), buf, size);
}

static bool take_number(json_t *json, const char *name, uint64_t max,
			uint64_t *number)
{
	json_t *value = json_object_get(json, name);
	json_int_t n = json_integer_value(value);

	*number = (uint64_t)n;
	return json_is_integer(value) && n >= 0 && (uint64_t)n <= max;
}

static bool take_members(json_t *json, const char *id,
			 struct s3_tail_head *head)
{
	char text[UUID_TEXT_SIZE];
	uint64_t parts = 0;
	bool good;

	good = take_text(json, "id", text, sizeof(text)) &&
	       strcmp(text, id) == 0 &&
	       take_text(json, "name", head->name, sizeof(head->name)) &&
	       take_text(json, "content_type", head->content_type,
			 sizeof(head->content_type)) &&
	       take_text(json, "upload_id", head->upload_id,
			 sizeof(head->upload_id)) &&
	       take_text(json, "sha256_state", head->digest_state,
			 sizeof(head->digest_state)) &&
	       take_number(json, "offset", INT64_MAX, &head->offset) &&
	       take_number(json, "tail", head->offset, &head->tail) &&
	       take_number(json, "parts", S3_MAX_PARTS, &parts);
	head->parts = (unsigned int)parts;
	return good && head->tail <= MAX_TAIL &&
	       (parts > 0 ? head->upload_id[0] : head->tail == head->offset);
}

int s3_tail_read(struct span bytes, const char *id, struct s3_tail_head *head,
		 struct err *err)
{
	struct span line = span_cut(&bytes, '\n');
	struct err reason = ERR_INIT;
	json_t *json = json_parse_object(line, &reason);
	bool good;

	memset(head, 0, sizeof(*head));
	good = json && take_members(json, id, head);
	head->len = line.len + 1;
	json_decref(json);
	if (good)
		return 0;
	if (reason.code == ERR_MEMORY)
		return err_set(err, ERR_MEMORY, "%s", reason.text);
	return err_set(err, ERR_STORE, "%s.part is damaged", id);
}
