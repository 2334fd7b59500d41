#include "reader/routes.h"

#include "reader/answers.h"
#include "reader/control.h"
#include "reader/form_upload.h"
#include "reader/probes.h"
#include "reader/receive.h"
#include "reader/serve.h"

typedef void plain_fn(struct reader_thread *thread, struct http_exchange *x);
typedef void object_fn(struct reader_thread *thread, struct http_exchange *x,
		       const char *id);

/* GET stands for HEAD too: http_reply() leaves the content out. */
static const struct resource {
	const char *path;
	plain_fn *get, *post;
	bool open;	/* needs no token */
} resources[] = {
	{ "/objects", serve_list, NULL, false },
	{ "/upload", NULL, form_upload, false },
	{ "/healthz", probe_health, NULL, true },
	{ "/readyz", probe_ready, NULL, true },
	{ "/metrics", probe_metrics, NULL, true },
};

#define N_METHODS (HTTP1_OPTIONS + 1)

static object_fn *const object_methods[N_METHODS] = {
	[HTTP1_GET] = serve_object,	[HTTP1_HEAD] = serve_description,
	[HTTP1_PUT] = receive_put,	[HTTP1_PATCH] = receive_patch,
	[HTTP1_DELETE] = control_delete,
};

static void refuse_method(struct http_exchange *x, const char *allow)
{
	enum http1_method method = http_request(x)->method;
	struct err err = ERR_INIT;

	err_set_status(&err, 405, "%s is not allowed here (allowed: %s)",
		       http1_method_name(method), allow);
	answer_problem(x, &err, (struct http_header){ "Allow", allow });
}

static void refuse(struct http_exchange *x, int status, const char *text)
{
	struct err err = ERR_INIT;

	err_set_status(&err, status, "%s", text);
	http_reply_problem(x, &err);
}

static const struct resource *find_resource(struct span path)
{
	for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++)
		if (span_eq(path, span_of(resources[i].path)))
			return &resources[i];
	return NULL;
}

static void call_resource(const struct resource *resource,
			  struct reader_thread *thread,
			  struct http_exchange *x)
{
	enum http1_method method = http_request(x)->method;

	if (resource->get && (method == HTTP1_GET || method == HTTP1_HEAD))
		resource->get(thread, x);
	else if (resource->post && method == HTTP1_POST)
		resource->post(thread, x);
	else
		refuse_method(x, resource->get ? "GET, HEAD" : "POST");
}

static void call_object(struct reader_thread *thread, struct http_exchange *x,
			const char *id)
{
	enum http1_method method = http_request(x)->method;
	bool appends = store_can_append(thread->reader->store);

	if (object_methods[method] && (appends || method != HTTP1_PATCH))
		object_methods[method](thread, x, id);
	else
		refuse_method(x, appends ? "GET, HEAD, PUT, PATCH, DELETE"
					 : "GET, HEAD, PUT, DELETE");
}

static void call_commit(struct reader_thread *thread, struct http_exchange *x,
			const char *id)
{
	if (http_request(x)->method == HTTP1_POST)
		control_commit(thread, x, id);
	else
		refuse_method(x, "POST");
}

/* "{id}" or "{id}/commit". */
static void call_below_objects(struct reader_thread *thread,
			       struct http_exchange *x, struct span rest)
{
	char id[UUID_TEXT_SIZE];
	struct span first = span_cut(&rest, '/');

	if (!uuid_is_valid(first) || !span_to_string(first, id, sizeof(id)))
		refuse(x, 400, "an object's id is a UUID in lower case");
	else if (!rest.ptr)
		call_object(thread, x, id);
	else if (span_eq(rest, SPAN_LIT("commit")))
		call_commit(thread, x, id);
	else
		refuse(x, 404, "there is no such resource");
}

static bool is_authorized(const struct reader_thread *thread,
			  const struct http_exchange *x)
{
	const char *token = thread->reader->settings->token;

	return !token[0] || http_is_authorized(x, token);
}

void route_request(void *arg, struct http_exchange *x)
{
	const struct span below = SPAN_LIT("/objects/");
	struct reader_thread *thread = arg;
	struct span path = http_request_path(x);
	const struct resource *resource = find_resource(path);

	if (!(resource && resource->open) && !is_authorized(thread, x))
		refuse(x, 401, "a Bearer token is needed (RFC 6750)");
	else if (resource)
		call_resource(resource, thread, x);
	else if (span_starts_with(path, below))
		call_below_objects(thread, x,
				   span_make(path.ptr + below.len,
					     path.len - below.len));
	else
		refuse(x, 404, "there is no such resource");
}
