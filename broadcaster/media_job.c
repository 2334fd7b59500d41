#include "broadcaster/media_job.h"

#include <stdio.h>
#include <stdlib.h>

void media_job_begin(struct media_job *job, struct front *front,
		     struct http_exchange *x)
{
	job->front = front;
	job->x = x;
	job->next = front->media;
	job->link = &front->media;
	if (job->next)
		job->next->link = &job->next;
	front->media = job;
	atomic_fetch_add(&front->shared->n_media, 1);
}

void media_job_end(struct media_job *job)
{
	job->release(job);
	*job->link = job->next;
	if (job->next)
		job->next->link = job->link;
	atomic_fetch_sub(&job->front->shared->n_media, 1);
	loop_bury(job->front->loop, &job->grave, free, job);
}

void media_job_abort_all(struct front *front, const struct err *why)
{
	struct media_job *job, *next;

	for (job = front->media; job; job = next) {
		next = job->next;
		job->abort(job, why);
	}
}

void media_job_drop_all(struct front *front)
{
	while (front->media)
		media_job_end(front->media);
}

struct http_call *media_call(struct front *front, struct outlet *outlet,
			     const struct http_call_request *request,
			     http_call_fn *fn, void *owner)
{
	const char *token = front->settings->reader_token;
	struct http_call_header headers[MEDIA_MAX_CALL_FIELDS + 1];
	struct http_call_request ours = *request;
	char bearer[600];

	CHECK(request->n_headers <= MEDIA_MAX_CALL_FIELDS);
	for (size_t i = 0; i < request->n_headers; i++)
		headers[i] = request->headers[i];
	ours.headers = headers;
	snprintf(bearer, sizeof(bearer), "Bearer %s", token);
	if (*token)
		headers[ours.n_headers++] =
			(struct http_call_header){ "Authorization", bearer };
	return http_call_start(outlet->origin, &ours, fn, owner);
}

unsigned int media_count_readers(const struct front *front)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < front->n_outlets; i++)
		if (front->outlets[i].target->kind == TARGET_READER)
			n++;
	return n;
}

static void reply_json(struct http_exchange *x, int status,
		       const char *content_type, json_t *value)
{
	struct http_header fields[] = { { "Cache-Control", "no-store" },
					{ "Retry-After", "1" } };
	struct http_reply reply = { .status = status,
				    .content_type = content_type,
				    .headers = fields,
				    .n_headers = status == 503 ? 2 : 1 };
	struct err err = ERR_INIT;
	size_t len;
	char *text = json_print(value, &len);

	if (text) {
		http_reply(x, &reply, span_make(text, len));
		free(text);
		return;
	}
	err_set(&err, ERR_MEMORY, "out of memory for an answer");
	http_reply_problem(x, &err);
}

void media_reply_json(struct http_exchange *x, int status, json_t *value)
{
	reply_json(x, status, "application/json", value);
}

void media_reply_problem(struct http_exchange *x, int status,
			 const char *detail, json_t *readers)
{
	json_t *problem = json_pack("{s:s, s:s, s:i, s:s}", "type",
				    "about:blank", "title",
				    http1_reason(status), "status", status,
				    "detail", detail);

	json_put(&problem, "readers", readers);
	reply_json(x, status, "application/problem+json", problem);
}
