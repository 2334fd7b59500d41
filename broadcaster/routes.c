#include "broadcaster/routes.h"

#include "broadcaster/access.h"
#include "broadcaster/ingest.h"
#include "broadcaster/media_routes.h"
#include "broadcaster/page.h"
#include "broadcaster/progress.h"
#include "broadcaster/receipt.h"

#include <stdio.h>
#include <stdlib.h>

static void reply_text(struct http_exchange *x, int status, const char *text)
{
	struct http_reply reply = { .status = status,
				    .content_type = "text/plain; charset=utf-8" };

	http_reply(x, &reply, span_of(text));
}

static void refuse(struct http_exchange *x, int status, const char *text)
{
	struct err err = ERR_INIT;

	err_set_status(&err, status, "%s", text);
	receipt_refuse(x, &err);
}

/* ---- probes -------------------------------------------------------------- */

static void serve_healthz(struct front *front, struct http_exchange *x)
{
	(void)front;
	reply_text(x, 200, "ok\n");
}

static void serve_readyz(struct front *front, struct http_exchange *x)
{
	if (atomic_load(&front->shared->draining))
		reply_text(x, 503, "draining\n");
	else
		reply_text(x, 200, "ready\n");
}

static void serve_metrics(struct front *front, struct http_exchange *x)
{
	struct http_reply reply = {
		.status = 200,
		.content_type = "text/plain; version=0.0.4; charset=utf-8"
	};
	size_t len = 0;
	char *text = metrics_render(&len);

	(void)front;
	if (!text)
		reply.status = 503;
	http_reply(x, &reply, span_make(text ? text : "", len));
	free(text);
}

/* ---- uploads ------------------------------------------------------------- */

/* Did this very process send the request, directly or through others? */
static bool is_loop(const struct front *front, struct http_exchange *x)
{
	const char *own = front->shared->instance;
	struct span via;

	for (unsigned int i = 0;
	     (via = http_request_field_nth(x, "Via", i)).ptr; i++)
		if (memmem(via.ptr, via.len, own, strlen(own)))
			return true;
	return false;
}

static int read_key(struct http_exchange *x, char *key, size_t size,
		    struct err *err)
{
	struct span field = http_request_field(x, "Idempotency-Key");

	*key = '\0';
	if (!field.ptr)
		return 0;
	if (field.len >= 2 && field.ptr[0] == '"' &&
	    field.ptr[field.len - 1] == '"')
		field = span_make(field.ptr + 1, field.len - 2);
	if (field.len == 0 || !span_to_string(field, key, size) ||
	    !http1_is_utf8(field))
		return err_set(err, ERR_CLIENT,
			       "an Idempotency-Key is 1 to %zu bytes of UTF-8",
			       size - 1);
	return 0;
}

/* The name of a raw body: from the URL, else from Content-Disposition. */
static int read_name(struct http_exchange *x, struct span in_path, char *name,
		     size_t size, struct err *err)
{
	struct span field = http_request_field(x, "Content-Disposition");

	*name = '\0';
	if (in_path.len > 0) {
		if (http1_decode(in_path, false, name, size, err) < 0)
			return -1;
	} else if (field.ptr &&
		   http1_disposition_filename(field, name, size) < 0) {
		return err_set(err, ERR_CLIENT,
			       "the file name in Content-Disposition is "
			       "malformed or over %zu bytes",
			       size - 1);
	}
	return object_name_check(name, err);
}

static bool has_framing(struct http_exchange *x)
{
	const struct http1_head *head = http_request(x);

	return head->has_length || head->framing == HTTP1_CHUNKED;
}

static void serve_upload(struct front *front, struct http_exchange *x,
			 struct span in_path, bool shows_id)
{
	struct err err = ERR_INIT;
	char name[OBJECT_NAME_SIZE], key[200];

	if (atomic_load(&front->shared->draining)) {
		refuse(x, 503, "shutting down: no new uploads");
	} else if (is_loop(front, x)) {
		refuse(x, 508, "this broadcaster is one of its own targets");
	} else if (!has_framing(x)) {
		refuse(x, 411,
		       "an upload needs Content-Length or "
		       "Transfer-Encoding: chunked");
	} else if (http_request(x)->has_length &&
		   http_request(x)->length >
			   front->settings->max_upload_bytes) {
		refuse(x, 413, "the body is larger than this server allows");
	} else if (read_key(x, key, sizeof(key), &err) < 0 ||
		   read_name(x, in_path, name, sizeof(name), &err) < 0) {
		receipt_refuse(x, &err);
	} else {
		ingest_start(front, x, name, key, shows_id);
	}
}

static void serve_progress(struct front *front, struct http_exchange *x,
			   struct span encoded)
{
	struct err err = ERR_INIT;
	char id[200];

	if (http1_decode(encoded, false, id, sizeof(id), &err) < 0)
		http_reply_problem(x, &err);
	else
		progress_watch(front, x, id);
}

/* ---- dispatch ------------------------------------------------------------ */

/* StreamX's upload: a form with title, creator and media. */
static void serve_api_upload(struct front *front, struct http_exchange *x)
{
	if (!access_check(front, x, false))
		return;
	if (http_request(x)->method != HTTP1_POST)
		access_refuse_method(x, "POST");
	else if (!multipart_is_form(http_request_field(x, "Content-Type")))
		refuse(x, 400, "a form is expected (multipart/form-data) with "
			       "title, creator and the file media");
	else
		serve_upload(front, x, span_make(NULL, 0), true);
}

/* What stands behind /broadcast in the path, without the slash. */
static void serve_broadcast(struct front *front, struct http_exchange *x,
			    struct span rest)
{
	struct span suffix = SPAN_LIT("/progress");
	enum http1_method method = http_request(x)->method;
	bool is_progress = rest.len > suffix.len &&
			   span_eq(span_make(rest.ptr + rest.len - suffix.len,
					     suffix.len),
				   suffix);

	if (!access_check(front, x, false))
		return;
	if (method == HTTP1_PUT || (method == HTTP1_POST && rest.len == 0))
		serve_upload(front, x, rest, false);
	else if (method == HTTP1_GET && rest.len == 0)
		progress_list(front, x);
	else if (method == HTTP1_GET && is_progress)
		serve_progress(front, x,
			       span_make(rest.ptr, rest.len - suffix.len));
	else if (rest.len == 0)
		access_refuse_method(x, "GET, POST, PUT");
	else
		access_refuse_method(x, "PUT");
}

static bool serve_probe(struct front *front, struct http_exchange *x,
			struct span path)
{
	static const struct {
		const char *path;
		void (*serve)(struct front *front, struct http_exchange *x);
	} probes[] = {
		{ "/healthz", serve_healthz },
		{ "/readyz", serve_readyz },
		{ "/metrics", serve_metrics },
	};
	enum http1_method method = http_request(x)->method;

	for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
		if (!span_eq(path, span_of(probes[i].path)))
			continue;
		if (method == HTTP1_GET || method == HTTP1_HEAD)
			probes[i].serve(front, x);
		else
			access_refuse_method(x, "GET, HEAD");
		return true;
	}
	return false;
}

/* Is it `root` or something below? */
static bool is_below(struct span path, const char *root)
{
	struct span prefix = span_of(root);

	return span_starts_with(path, prefix) &&
	       (path.len == prefix.len || path.ptr[prefix.len] == '/');
}

/* What scripts of other sites may be told; true when it was only asked that. */
static bool serve_cors(struct front *front, struct http_exchange *x,
		       struct span path)
{
	const struct cors *cors = &front->settings->cors;
	const struct http_header *fields;
	size_t n;

	if (!is_below(path, "/broadcast") && !is_below(path, "/media") &&
	    !is_below(path, "/api"))
		return false;
	n = cors_fields(cors, http_request_field(x, "Origin"), &fields);
	http_exchange_fields(x, fields, n);
	if (!cors_is_preflight(cors, x))
		return false;
	cors_reply_preflight(x);
	return true;
}

void routes_on_request(void *arg, struct http_exchange *x)
{
	struct front *front = arg;
	struct span path = http_request_path(x);
	struct span prefix = SPAN_LIT("/broadcast");
	struct err err = ERR_INIT;

	if (serve_probe(front, x, path) || serve_cors(front, x, path) ||
	    media_routes(front, x, path) || page_serve(x, path))
		return;
	if (span_eq(path, SPAN_LIT("/api/upload"))) {
		serve_api_upload(front, x);
		return;
	}
	if (span_eq(path, prefix)) {
		serve_broadcast(front, x, span_make(NULL, 0));
		return;
	}
	if (span_starts_with(path, SPAN_LIT("/broadcast/"))) {
		serve_broadcast(front, x,
				span_make(path.ptr + prefix.len + 1,
					  path.len - prefix.len - 1));
		return;
	}
	err_set(&err, ERR_NOT_FOUND,
		"nothing here; uploads go to /broadcast/NAME, "
		"what is stored is at /media");
	http_reply_problem(x, &err);
}
