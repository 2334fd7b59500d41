#include "broadcaster/receipt.h"

#include "common/json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool receipt_is_degraded(const struct broadcast *b)
{
	return b->phase == BROADCAST_COMMITTED &&
	       broadcast_copies(b) < b->front->n_outlets;
}

int receipt_status(const struct ingest *in)
{
	if (err_is_set(&in->err))
		return err_http_status(&in->err);
	return in->is_repeated ? 200 : 201;
}

/* The word for a target's state that receipts use. */
static const char *state_word(const struct leg *leg)
{
	switch (leg->state) {
	case LEG_COMMITTED:
		return "committed";
	case LEG_STAGED:
	case LEG_HELD:
		return "staged";
	case LEG_FAILED:
		return "failed";
	case LEG_DETACHED:
		return "detached";
	case LEG_IDLE:
	case LEG_CONNECTING:
	case LEG_CONNECTED:
	case LEG_OFFERED:
	case LEG_SENDING:
	case LEG_ANSWERING:
	case LEG_COMMITTING:
	case LEG_WITHDRAWING:
	case LEG_ABORTED:
		return "aborted";
	}
	return "aborted";
}

/* A repeated upload's target that has no copy was not asked to take one. */
static bool lacks_copy(const struct leg *leg)
{
	return leg->state == LEG_IDLE;
}

static json_t *text_or_null(const char *text)
{
	return *text ? json_text(span_of(text)) : json_null();
}

static uint64_t leg_bytes(const struct leg *leg)
{
	return leg->size ? leg->size : leg->cursor.position;
}

static json_t *target_entry(const struct leg *leg)
{
	json_t *entry = json_object();
	const char *error = lacks_copy(leg) ? "does not hold the object" :
					      leg->err.text;

	json_put(&entry, "name", json_text(span_of(leg->outlet->target->name)));
	json_put(&entry, "state",
		 json_string(lacks_copy(leg) ? "failed" : state_word(leg)));
	json_put(&entry, "bytes", json_integer((json_int_t)leg_bytes(leg)));
	json_put(&entry, "sha256", text_or_null(leg->sha256));
	json_put(&entry, "duration",
		 json_integer((json_int_t)leg_duration_ms(leg)));
	json_put(&entry, "error", text_or_null(error));
	if (leg->outlet->target->kind != TARGET_READER)
		json_put(&entry, "note",
			 json_string("plain endpoint: not staged, "
				     "not verified, not healed"));
	return entry;
}

static uint64_t duration_of(const struct broadcast *b)
{
	uint64_t end = b->ended_ms ? b->ended_ms : loop_now_ms(b->front->loop);

	return end - b->started_ms;
}

static void add_targets(json_t **data, const struct broadcast *b)
{
	json_t *targets = json_array();

	for (unsigned int i = 0; i < b->front->n_outlets; i++)
		json_add(&targets, target_entry(&b->legs[i]));
	json_put(data, "targets", json_incref(targets));
	for (unsigned int i = 0; i < b->front->n_outlets; i++)
		json_put(data, b->front->outlets[i].target->address,
			 json_incref(json_array_get(targets, i)));
	json_decref(targets);
}

/* What went with the commit; a repeated upload's was not looked at. */
static void add_details(json_t **data, const struct metadata *metadata)
{
	static const char *const keys[] = { "title", "creator" };

	for (size_t i = 0; metadata && i < 2; i++)
		if (*metadata_get(metadata, keys[i]))
			json_put(data, keys[i],
				 json_text(span_of(metadata_get(metadata,
								keys[i]))));
}

static json_t *object_data(const struct broadcast *b)
{
	json_t *data = json_object();

	json_put(&data, "id", json_string(b->info.id));
	json_put(&data, "name", json_text(span_of(b->info.name)));
	add_details(&data, b->context.metadata);
	json_put(&data, "content_type", text_or_null(b->info.content_type));
	json_put(&data, "size", json_integer((json_int_t)b->bytes));
	json_put(&data, "sha256", text_or_null(b->context.sha256));
	json_put(&data, "duration", json_integer((json_int_t)duration_of(b)));
	json_put(&data, "degraded", json_boolean(receipt_is_degraded(b)));
	add_targets(&data, b);
	return data;
}

static json_t *form_data(const struct ingest *in)
{
	json_t *data = json_object(), *objects = json_array();
	uint64_t now = loop_now_ms(in->front->loop);

	for (unsigned int i = 0; i < in->n_objects; i++)
		json_add(&objects, object_data(in->objects[i]));
	json_put(&data, "duration",
		 json_integer((json_int_t)(now - in->started_ms)));
	json_put(&data, "objects", objects);
	return data;
}

/* How many targets hold a copy, at the worst of the objects. */
static unsigned int fewest_copies(const struct ingest *in)
{
	unsigned int fewest = in->front->n_outlets;

	for (unsigned int i = 0; i < in->n_objects; i++) {
		unsigned int copies = broadcast_copies(in->objects[i]);

		fewest = copies < fewest ? copies : fewest;
	}
	return fewest;
}

static void make_message(const struct ingest *in, char *buf, size_t size)
{
	unsigned int n = in->front->n_outlets, copies = fewest_copies(in);

	if (err_is_set(&in->err))
		snprintf(buf, size, "%s", in->err.text);
	else if (in->is_repeated)
		snprintf(buf, size,
			 "stored before under this Idempotency-Key, on %u of "
			 "%u targets",
			 copies, n);
	else if (copies == n)
		snprintf(buf, size, "stored on all %u targets", n);
	else
		snprintf(buf, size, "stored on %u of %u targets", copies, n);
}

/* ---- for people ---------------------------------------------------------- */

/* Text that grows; out of memory cuts it short. */
struct page {
	char *ptr;
	size_t len, size;
};

static void PRINTF_LIKE(2, 3) print(struct page *page, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(page->ptr + page->len, page->size - page->len, fmt, args);
	va_end(args);
	if (n > 0)
		page->len += (size_t)n;
	if (page->len >= page->size)
		page->len = page->size - 1;
}

static void print_target(struct page *page, const struct leg *leg, int width)
{
	const char *error = lacks_copy(leg) ? "does not hold the object" :
					      leg->err.text;

	print(page, "  %-*s  %-9s  %14" PRIu64 "  %-16.16s  %7" PRIu64 " ms%s%s\n",
	      width, leg->outlet->target->name,
	      lacks_copy(leg) ? "failed" : state_word(leg), leg_bytes(leg),
	      *leg->sha256 ? leg->sha256 : "-", leg_duration_ms(leg),
	      *error ? "  " : "", error);
}

static int name_width(const struct front *front)
{
	size_t width = 6;

	for (unsigned int i = 0; i < front->n_outlets; i++) {
		size_t len = strlen(front->outlets[i].target->name);

		width = len > width ? len : width;
	}
	return (int)width;
}

static void print_object(struct page *page, const struct broadcast *b)
{
	int width = name_width(b->front);

	print(page, "\nid      %s\nname    %s\nsize    %" PRIu64 "\nsha256  %s\n",
	      b->info.id, *b->info.name ? b->info.name : "-", b->bytes,
	      *b->context.sha256 ? b->context.sha256 : "-");
	print(page, "time    %" PRIu64 " ms%s\n\n", duration_of(b),
	      receipt_is_degraded(b) ? "  (degraded)" : "");
	print(page, "  %-*s  %-9s  %14s  %-16s  %10s  error\n", width, "target",
	      "state", "bytes", "sha256", "time");
	for (unsigned int i = 0; i < b->front->n_outlets; i++)
		print_target(page, &b->legs[i], width);
}

static char *print_receipt(const struct ingest *in, int status,
			   const char *message, size_t *len)
{
	size_t per_target = 700, per_object = 1600;
	struct page page = { .size = 400 + in->n_objects *
						   (per_object +
						    in->front->n_outlets *
							    per_target) };

	page.ptr = malloc(page.size);
	if (!page.ptr)
		return NULL;
	print(&page, "%d %s\n", status, message);
	for (unsigned int i = 0; i < in->n_objects; i++)
		print_object(&page, in->objects[i]);
	*len = page.len;
	return page.ptr;
}

/* ---- sending ------------------------------------------------------------- */

static char *json_receipt(const struct ingest *in, int status,
			  const char *message, size_t *len)
{
	json_t *root = json_object();
	bool several = in->is_form && in->n_objects != 1;

	json_put(&root, "status", json_integer(status));
	json_put(&root, "message", json_text(span_of(message)));
	if (in->shows_id && status < 300)
		json_put(&root, "id", json_string(in->id));
	json_put(&root, "data",
		 several ? form_data(in) : object_data(in->objects[0]));
	return json_print(root, len);
}

/* Without memory for more the status is still the truth. */
static void send_bare(struct http_exchange *x, struct http_reply *reply)
{
	char body[100];
	int len = snprintf(body, sizeof(body),
			   "{\"status\":%d,\"message\":\"%s\"}\n",
			   reply->status, "out of memory for the receipt");

	reply->content_type = "application/json";
	http_reply(x, reply, span_make(body, (size_t)len));
}

static void send_text(struct http_exchange *x, int status, const char *type,
		      char *text, size_t len, const char *id)
{
	struct http_header headers[2];
	struct http_reply reply = {
		.status = status, .content_type = type, .headers = headers};

	if (status == 503 || status == 409)
		headers[reply.n_headers++] =
			(struct http_header){ "Retry-After", "5" };
	if (id)
		headers[reply.n_headers++] =
			(struct http_header){ "Object-Id", id };
	if (text)
		http_reply(x, &reply, span_make(text, len));
	else
		send_bare(x, &reply);
	free(text);
}

void receipt_send(struct ingest *in)
{
	int status = receipt_status(in);
	bool wants_text = http1_list_has(http_request_field(in->x, "Accept"),
					 "text/plain");
	char message[256];
	char *text = NULL;
	size_t len = 0;

	make_message(in, message, sizeof(message));
	if (in->n_objects == 0) {
		receipt_refuse(in->x, &in->err);
		return;
	}
	if (wants_text)
		text = print_receipt(in, status, message, &len);
	else
		text = json_receipt(in, status, message, &len);
	send_text(in->x, status,
		  wants_text ? "text/plain; charset=utf-8" : "application/json",
		  text, len, in->id);
}

void receipt_refuse(struct http_exchange *x, const struct err *err)
{
	int status = err_http_status(err);
	json_t *root = json_pack("{s:i, s:o, s:{s:i}}", "status", status,
				 "message", json_text(span_of(err->text)),
				 "data", "duration", 0);
	char *text;
	size_t len = 0;

	text = json_print(root, &len);
	send_text(x, status, "application/json", text, len, NULL);
}
