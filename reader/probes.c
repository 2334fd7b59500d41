#include "reader/probes.h"

#include <stdlib.h>

static void reply_text(struct http_exchange *x, struct span text)
{
	struct http_reply reply = { .status = 200,
				    .content_type = "text/plain" };

	http_reply(x, &reply, text);
}

void probe_health(struct reader_thread *thread, struct http_exchange *x)
{
	(void)thread;
	reply_text(x, SPAN_LIT("ok\n"));
}

struct readiness {
	struct operation op;
	struct store_probe probe;
};

static void reply_unready(struct http_exchange *x, const char *reason)
{
	struct err err = ERR_INIT;

	err_set(&err, ERR_LIMIT, "%s", reason);
	http_reply_problem(x, &err);
}

static void on_checked(void *arg, const struct err *err)
{
	struct readiness *r = arg;

	if (r->op.x && err)
		reply_unready(r->op.x, err->text);
	else if (r->op.x)
		reply_text(r->op.x, SPAN_LIT("ready\n"));
	operation_finish(&r->op);
}

void probe_ready(struct reader_thread *thread, struct http_exchange *x)
{
	struct readiness *r;

	if (atomic_load(&thread->reader->draining)) {
		reply_unready(x, "this reader is being stopped");
		return;
	}
	r = operation_new(thread, sizeof(*r));
	if (!r) {
		reply_unready(x, "out of memory");
		return;
	}
	operation_attach(&r->op, x, &operation_ops);
	store_check(thread->reader->store, &r->probe, thread->loop, on_checked,
		    r);
}

void probe_metrics(struct reader_thread *thread, struct http_exchange *x)
{
	struct http_reply reply = {
		.status = 200,
		.content_type = "text/plain; version=0.0.4; charset=utf-8",
	};
	struct reader *reader = thread->reader;
	size_t len;
	char *text;

	metric_set(reader->metrics.staged_objects,
		   (int64_t)staging_at_rest(reader->staging));
	text = metrics_render(&len);
	if (!text) {
		reply_unready(x, "out of memory");
		return;
	}
	http_reply(x, &reply, span_make(text, len));
	free(text);
}
