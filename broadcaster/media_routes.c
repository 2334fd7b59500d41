#include "broadcaster/media_routes.h"

#include "broadcaster/access.h"
#include "broadcaster/media_delete.h"
#include "broadcaster/media_job.h"
#include "broadcaster/media_list.h"
#include "broadcaster/media_play.h"

static bool is_get(const struct http_exchange *x)
{
	enum http1_method method = http_request(x)->method;

	return method == HTTP1_GET || method == HTTP1_HEAD;
}

static void refuse(struct http_exchange *x, int status, const char *text)
{
	struct err err = ERR_INIT;

	err_set_status(&err, status, "%s", text);
	http_reply_problem(x, &err);
}

/* Only readers keep what can be asked for again. */
static bool has_readers(struct front *front, struct http_exchange *x)
{
	if (media_count_readers(front) > 0)
		return true;
	refuse(x, 501, "no target of this broadcaster is a reader");
	return false;
}

static void serve_object(struct front *front, struct http_exchange *x,
			 struct span rest)
{
	char id[UUID_TEXT_SIZE];
	bool is_delete = http_request(x)->method == HTTP1_DELETE;

	if (!is_get(x) && !is_delete) {
		access_refuse_method(x, "GET, HEAD, DELETE");
		return;
	}
	if (is_delete ? !access_check(front, x, false) :
			!access_check_play(front, x, rest))
		return;
	if (!has_readers(front, x))
		return;
	if (!uuid_is_valid(rest) || !span_to_string(rest, id, sizeof(id)))
		refuse(x, 400, "an object's id is a UUID in lower case");
	else if (is_delete)
		media_delete(front, x, id);
	else
		media_play(front, x, id);
}

static void serve_list(struct front *front, struct http_exchange *x,
		       void (*list)(struct front *, struct http_exchange *))
{
	if (!is_get(x))
		access_refuse_method(x, "GET, HEAD");
	else if (access_check(front, x, true) && has_readers(front, x))
		list(front, x);
}

bool media_routes(struct front *front, struct http_exchange *x,
		  struct span path)
{
	struct span below = SPAN_LIT("/media/");

	if (span_eq(path, SPAN_LIT("/media")))
		serve_list(front, x, media_list);
	else if (span_eq(path, SPAN_LIT("/api/songs")))
		serve_list(front, x, media_songs);
	else if (span_starts_with(path, below))
		serve_object(front, x, span_make(path.ptr + below.len,
						 path.len - below.len));
	else
		return false;
	return true;
}
