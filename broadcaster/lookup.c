#include "broadcaster/lookup.h"

#include <stdio.h>
#include <stdlib.h>

struct question {
	struct lookup *lookup;
	struct leg *leg;
	struct http_call *call;
};

struct lookup {
	struct loop *loop;
	loop_fn *done;
	void *owner;
	struct deferred finished;
	unsigned int n_questions;
	unsigned int n_open;
	struct question questions[];
};

/* Take a committed copy as it stands: a staged one answers without a length. */
static void adopt(struct question *q, struct http_call *call)
{
	struct err ignored = ERR_INIT;
	const char *length = http_call_header(call, "Content-Length");
	const char *digest = http_call_header(call, "Repr-Digest");
	char hex[DIGEST_HEX_SIZE];
	uint64_t size;

	if (!length || !digest || http_call_header(call, "Upload-Offset") ||
	    !http1_parse_u64(span_of(length), &size) ||
	    digest_parse_field(span_of(digest), hex, &ignored) != 1)
		return;
	leg_adopt(q->leg, size, hex);
}

static void finish(void *arg)
{
	struct lookup *lookup = arg;

	lookup->done(lookup->owner);
}

static void answered(struct lookup *lookup)
{
	if (--lookup->n_open == 0)
		loop_defer(lookup->loop, &lookup->finished, finish, lookup);
}

static void on_answer(void *owner, struct http_call *call,
		      const struct http_call_result *result)
{
	struct question *q = owner;

	q->call = NULL;
	if (result->status == 200)
		adopt(q, call);
	answered(q->lookup);
}

static void ask(struct lookup *lookup, struct question *q, struct leg *leg)
{
	const struct broadcaster_settings *s = leg->ctx->front->settings;
	char path[80], bearer[600];
	struct http_call_header header = { "Authorization", bearer };
	struct http_call_request request = {
		.method = "HEAD",
		.path = path,
		.headers = &header,
		.n_headers = *s->reader_token ? 1 : 0,
		.timeout_ms = s->connect_timeout_ms,
	};

	q->lookup = lookup;
	q->leg = leg;
	lookup->n_questions++;
	lookup->n_open++;
	snprintf(path, sizeof(path), "/objects/%s", leg->ctx->info->id);
	snprintf(bearer, sizeof(bearer), "Bearer %s", s->reader_token);
	q->call = http_call_start(leg->outlet->origin, &request, on_answer, q);
	if (!q->call)
		answered(lookup);
}

struct lookup *lookup_start(struct broadcast *b, loop_fn *done, void *owner)
{
	unsigned int n = b->front->n_outlets;
	struct lookup *lookup =
		calloc(1, sizeof(*lookup) + n * sizeof(struct question));

	if (!lookup)
		return NULL;
	lookup->loop = b->front->loop;
	lookup->done = done;
	lookup->owner = owner;
	lookup->n_open = 1;
	for (unsigned int i = 0; i < n; i++)
		if (b->legs[i].outlet->target->kind == TARGET_READER)
			ask(lookup, &lookup->questions[lookup->n_questions],
			    &b->legs[i]);
	answered(lookup);
	return lookup;
}

void lookup_cancel(struct lookup **lookupp)
{
	struct lookup *lookup = *lookupp;

	if (!lookup)
		return;
	*lookupp = NULL;
	loop_undefer(lookup->loop, &lookup->finished);
	for (unsigned int i = 0; i < lookup->n_questions; i++)
		if (lookup->questions[i].call)
			http_call_cancel(&lookup->questions[i].call);
	free(lookup);
}
