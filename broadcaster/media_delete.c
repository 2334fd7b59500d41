#include "broadcaster/media_delete.h"

#include "broadcaster/media_conditions.h"
#include "broadcaster/media_job.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>

struct deletion;

/* One reader. */
struct seat {
	struct deletion *deletion;
	struct outlet *outlet;
	struct http_call *call;		/* NULL when it has answered */
	const char *state;
	struct err err;
};

struct deletion {
	struct media_job job;		/* first */
	struct deferred finish;
	char id[UUID_TEXT_SIZE];
	bool is_answered;
	bool is_conditional, has_match;	/* preconditions; If-Match among them */
	unsigned int n_open, n, n_deleted, n_unmatched;
	struct seat seats[];
};

/* ---- the answer ------------------------------------------------------------- */

static json_t *seat_to_json(const struct seat *seat)
{
	return json_pack("{s:o, s:s, s:o}", "name",
			 json_text(span_of(seat->outlet->target->name)),
			 "state", seat->state, "error",
			 err_is_set(&seat->err) ?
				 json_text(span_of(seat->err.text)) :
				 json_null());
}

static json_t *readers_to_json(const struct deletion *d)
{
	json_t *readers = json_array();

	for (unsigned int i = 0; i < d->n; i++)
		json_add(&readers, seat_to_json(&d->seats[i]));
	return readers;
}

/* How many may still hold a copy. */
static unsigned int count_left(const struct deletion *d)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < d->n; i++)
		if (err_is_set(&d->seats[i].err))
			n++;
	return n;
}

/*
 * By If-Match a reader is meant that holds that content, so that some do not is no
 * matter; the other conditions are meant for all of them.
 */
static bool is_refused(const struct deletion *d)
{
	return d->n_unmatched > 0 && (d->n_deleted == 0 || !d->has_match);
}

static void answer(struct deletion *d, unsigned int n_left)
{
	if (n_left == 0 && is_refused(d))
		media_reply_problem(d->job.x, 412,
				    "the object is not what the preconditions "
				    "name",
				    readers_to_json(d));
	else
		media_reply_json(d->job.x, n_left ? 502 : 200,
				 json_pack("{s:s, s:o}", "id", d->id, "readers",
					   readers_to_json(d)));
}

static void finish(void *arg)
{
	struct deletion *d = arg;
	unsigned int n_left = count_left(d);

	log_line(n_left ? LOG_WARN : LOG_INFO, "delete", LOG_STR("id", d->id),
		 LOG_U64("readers", d->n), LOG_U64("failed", n_left));
	if (!d->job.x) {
		media_job_end(&d->job);
	} else if (!d->is_answered) {
		d->is_answered = true;
		answer(d, n_left);
	}
}

/* ---- the readers -------------------------------------------------------------- */

static void set_state(struct seat *seat, const struct http_call_result *result)
{
	struct deletion *d = seat->deletion;
	char text[sizeof(seat->err.text)];

	if (err_is_set(&result->err)) {
		seat->state = "unreachable";
		seat->err = result->err;
	} else if (result->status / 100 == 2 || result->status == 404) {
		seat->state = "deleted";
		d->n_deleted++;
	} else if (result->status == 412 && d->is_conditional &&
		   !result->is_repeated) {
		seat->state = "unmatched";
		d->n_unmatched++;
	} else {
		seat->state = "failed";
		reply_reason_of(result->status, result->body, text,
				sizeof(text));
		err_set(&seat->err, ERR_TARGET, "%s", text);
	}
	if (err_is_set(&seat->err))
		log_line(LOG_WARN, "delete_target",
			 LOG_STR("id", d->id),
			 LOG_STR("target", seat->outlet->target->name),
			 LOG_STR("state", seat->state),
			 LOG_STR("error", seat->err.text));
}

static void answered(struct deletion *d)
{
	if (--d->n_open == 0)
		loop_defer(d->job.front->loop, &d->finish, finish, d);
}

static void on_answer(void *owner, struct http_call *call,
		      const struct http_call_result *result)
{
	struct seat *seat = owner;

	(void)call;
	seat->call = NULL;
	set_state(seat, result);
	answered(seat->deletion);
}

static void ask(struct deletion *d, struct seat *seat,
		const struct media_conditions *conditions)
{
	struct front *front = d->job.front;
	char path[sizeof("/objects/") + UUID_TEXT_SIZE];
	struct http_call_request request = {
		.method = "DELETE",
		.path = path,
		.headers = conditions->lines,
		.n_headers = conditions->n,
		.timeout_ms = front->settings->stall_timeout_ms,
	};

	snprintf(path, sizeof(path), "/objects/%s", d->id);
	d->n_open++;
	seat->call = media_call(front, seat->outlet, &request, on_answer, seat);
	if (seat->call)
		return;
	seat->state = "unreachable";
	err_set(&seat->err, ERR_MEMORY, "out of memory for a request");
	answered(d);
}

/* ---- life --------------------------------------------------------------------- */

static void release(struct media_job *job)
{
	struct deletion *d = (struct deletion *)job;

	loop_undefer(job->front->loop, &d->finish);
	for (unsigned int i = 0; i < d->n; i++)
		if (d->seats[i].call)
			http_call_cancel(&d->seats[i].call);
}

/* Whoever has not answered by now may hold a copy: the client is told so. */
static void on_abort(struct media_job *job, const struct err *why)
{
	struct deletion *d = (struct deletion *)job;

	for (unsigned int i = 0; i < d->n; i++) {
		if (!d->seats[i].call)
			continue;
		http_call_cancel(&d->seats[i].call);
		d->seats[i].state = "unreachable";
		d->seats[i].err = *why;
		answered(d);
	}
}

static void on_body(void *owner)
{
	(void)owner;	/* a DELETE has none */
}

static void on_end(void *owner)
{
	struct deletion *d = owner;

	d->job.x = NULL;
	if (d->is_answered)
		media_job_end(&d->job);
}

static const struct http_exchange_ops ops = { on_body, NULL, on_end };

static struct deletion *deletion_new(struct front *front,
				     struct http_exchange *x, const char *id)
{
	unsigned int n = media_count_readers(front);
	struct deletion *d = calloc(1, sizeof(*d) + n * sizeof(d->seats[0]));

	if (!d)
		return NULL;
	d->job.front = front;
	d->job.x = x;
	CHECK(span_to_string(span_of(id), d->id, sizeof(d->id)));
	for (unsigned int i = 0; i < front->n_outlets; i++)
		if (front->outlets[i].target->kind == TARGET_READER)
			d->seats[d->n++] =
				(struct seat){ .deletion = d,
					       .outlet = &front->outlets[i] };
	return d;
}

static void start(struct deletion *d, const struct media_conditions *conditions)
{
	struct http1_conditions ours = http_request_conditions(d->job.x);

	d->is_conditional = http1_is_conditional_change(&ours);
	d->has_match = http_request_field(d->job.x, "If-Match").ptr;
	d->job.abort = on_abort;
	d->job.release = release;
	media_job_begin(&d->job, d->job.front, d->job.x);
	http_exchange_attach(d->job.x, &ops, d);
	d->n_open = 1;	/* until all have been asked */
	for (unsigned int i = 0; i < d->n; i++)
		ask(d, &d->seats[i], conditions);
	answered(d);
}

void media_delete(struct front *front, struct http_exchange *x, const char *id)
{
	struct err err = ERR_INIT;
	struct media_conditions *conditions = media_conditions_new(x, &err);
	struct deletion *d = conditions ? deletion_new(front, x, id) : NULL;

	if (d) {
		start(d, conditions);
	} else {
		err_set(&err, ERR_MEMORY, "out of memory for a request");
		http_reply_problem(x, &err);
	}
	free(conditions);
}
