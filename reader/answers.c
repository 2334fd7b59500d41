#include "reader/answers.h"

#include "common/clock.h"
#include "common/json.h"

#include "reader/details.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Identifiers, digests and dates need no escapes: no tree for these. */
static void answer_object(struct http_exchange *x, int status,
			  const struct object *object, const char *rest)
{
	char body[320], digest[DIGEST_FIELD_SIZE];
	struct http_header field = { "Repr-Digest", digest };
	struct http_reply reply = { .status = status,
				    .content_type = "application/json",
				    .headers = &field,
				    .n_headers = 1 };
	int n;

	digest_format_field(object->sha256, digest);
	n = snprintf(body, sizeof(body),
		     "{\"id\":\"%s\",\"size\":%" PRIu64
		     ",\"sha256\":\"%s\",%s}\n",
		     object->id, object->size, object->sha256, rest);
	CHECK(n > 0 && (size_t)n < sizeof(body));
	http_reply(x, &reply, span_make(body, (size_t)n));
}

void answer_staged(struct http_exchange *x, const struct object *object)
{
	answer_object(x, 200, object, "\"state\":\"staged\"");
}

void answer_committed(struct http_exchange *x, int status,
		      const struct object *object)
{
	char rest[80], date[CLOCK_RFC3339_SIZE];

	clock_format_rfc3339(object->created_ms, date);
	snprintf(rest, sizeof(rest),
		 "\"state\":\"committed\",\"created_at\":\"%s\"", date);
	answer_object(x, status, object, rest);
}

static json_t *problem_json(const struct err *err)
{
	int status = err_http_status(err);

	return json_pack("{s:s, s:s, s:i, s:o}", "type", "about:blank",
			 "title", http1_reason(status), "status", status,
			 "detail", json_text(span_of(err->text)));
}

/* Steals the reference to `problem`. */
static void send_problem(struct http_exchange *x, const struct err *err,
			 json_t *problem, struct http_header field)
{
	struct http_reply reply = { .status = err_http_status(err),
				    .content_type = "application/problem+json",
				    .headers = &field,
				    .n_headers = field.name ? 1 : 0 };
	size_t len = 0;
	char *text = problem ? json_print(problem, &len) : NULL;

	http_reply(x, &reply, span_make(text, len));
	free(text);
}

void answer_problem(struct http_exchange *x, const struct err *err,
		    struct http_header field)
{
	if (field.name)
		send_problem(x, err, problem_json(err), field);
	else
		http_reply_problem(x, err);
}

void answer_held(struct http_exchange *x, const char *id, uint64_t seconds)
{
	struct err err = ERR_INIT;
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, seconds);
	err_set(&err, ERR_CONFLICT,
		"object %s is in use by another request", id);
	answer_problem(x, &err, (struct http_header){ "Retry-After", text });
}

void answer_exists(struct http_exchange *x, const struct object *object)
{
	char digest[DIGEST_FIELD_SIZE];
	struct err err = ERR_INIT;
	json_t *problem;

	digest_format_field(object->sha256, digest);
	err_set(&err, ERR_CONFLICT, "object %s is committed already",
		object->id);
	problem = problem_json(&err);
	if (problem) {
		json_object_set_new(problem, "sha256",
				    json_string(object->sha256));
		json_object_set_new(problem, "size",
				    json_integer((json_int_t)object->size));
	}
	send_problem(x, &err, problem,
		     (struct http_header){ "Repr-Digest", digest });
}

void answer_wrong_offset(struct http_exchange *x, uint64_t offset)
{
	struct err err = ERR_INIT;
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, offset);
	err_set(&err, ERR_CONFLICT,
		"Upload-Offset is not where the object ends: %s", text);
	answer_problem(x, &err, (struct http_header){ "Upload-Offset", text });
}

void answer_appended(struct http_exchange *x, uint64_t offset)
{
	char text[24];
	struct http_header field = { "Upload-Offset", text };
	struct http_reply reply = { .status = 204,
				    .headers = &field,
				    .n_headers = 1 };

	snprintf(text, sizeof(text), "%" PRIu64, offset);
	http_reply(x, &reply, span_make(NULL, 0));
}

void answer_gone(struct http_exchange *x)
{
	http_reply(x, &(struct http_reply){ .status = 204 },
		   span_make(NULL, 0));
}

json_t *object_to_json(const struct object *object)
{
	char date[CLOCK_RFC3339_SIZE];
	json_t *json = json_object();

	clock_format_rfc3339(object->created_ms, date);
	json_put(&json, "id", json_string(object->id));
	json_put(&json, "name", json_text(span_of(object->name)));
	json_put(&json, "title", json_text(span_of(object->details.title)));
	json_put(&json, "creator", json_text(span_of(object->details.creator)));
	json_put(&json, "content_type",
		 json_text(span_of(object->content_type)));
	json_put(&json, "size", json_integer((json_int_t)object->size));
	json_put(&json, "sha256", json_string(object->sha256));
	json_put(&json, "created_at", json_string(date));
	json_put(&json, "metadata", details_metadata_json(&object->details));
	return json;
}

void answer_json(struct http_exchange *x, int status, json_t *value)
{
	struct http_header retry = { "Retry-After", "1" };
	struct http_reply reply = { .status = status,
				    .content_type = "application/json",
				    .headers = &retry,
				    .n_headers = status == 503 };
	struct err err = ERR_INIT;
	size_t len;
	char *text = value ? json_print(value, &len) : NULL;

	if (text) {
		http_reply(x, &reply, span_make(text, len));
		free(text);
		return;
	}
	err_set(&err, ERR_MEMORY, "out of memory for an answer");
	http_reply_problem(x, &err);
}
