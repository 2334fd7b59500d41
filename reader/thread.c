#include "reader/thread.h"

#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

const char *upload_result_name(enum upload_result result)
{
#define UPLOAD_RESULT_TEXT(name, text, meaning) text,
	static const char *const names[] = {
		UPLOAD_RESULTS(UPLOAD_RESULT_TEXT)
	};
#undef UPLOAD_RESULT_TEXT

	return names[result];
}

const char *commit_result_name(enum commit_result result)
{
#define COMMIT_RESULT_TEXT(name, text, meaning) text,
	static const char *const names[] = {
		COMMIT_RESULTS(COMMIT_RESULT_TEXT)
	};
#undef COMMIT_RESULT_TEXT

	return names[result];
}

void reader_metrics_init(struct reader_metrics *m)
{
	static const double bounds[] = { 0.001, 0.005, 0.01, 0.05, 0.1,
					 0.5,	1,     5,    10,   60 };
	const size_t n = sizeof(bounds) / sizeof(bounds[0]);

	for (int i = 0; i < UPLOAD_N_RESULTS; i++)
		m->uploads[i] = metrics_counter(
			"reader_uploads_total", "Uploads, by how they ended.",
			"result", upload_result_name((enum upload_result)i));
	for (int i = 0; i < COMMIT_N_RESULTS; i++)
		m->commits[i] = metrics_counter(
			"reader_commits_total", "Commits, by how they ended.",
			"result", commit_result_name((enum commit_result)i));
	m->deletes = metrics_counter("reader_deletes_total",
				     "Objects deleted or aborted on request.",
				     NULL, NULL);
	m->expired = metrics_counter("reader_expired_total",
				     "Staged objects removed for their age.",
				     NULL, NULL);
	m->bytes_received = metrics_counter("reader_bytes_received_total",
					    "Content bytes of uploads.", NULL,
					    NULL);
	m->uploads_active = metrics_gauge("reader_uploads_active",
					  "Uploads at this moment.", NULL,
					  NULL);
	m->staged_objects = metrics_gauge("reader_staged_objects",
					  "Objects that wait for a commit.",
					  NULL, NULL);
	m->stage_seconds = metrics_histogram(
		"reader_stage_seconds", "From the last byte to staged.", NULL,
		NULL, bounds, n);
	m->commit_seconds = metrics_histogram(
		"reader_commit_seconds", "From the request to committed.", NULL,
		NULL, bounds, n);
}

/* ---- limits -------------------------------------------------------------- */

int reader_upload_began(struct reader *reader, struct err *err)
{
	if (atomic_load(&reader->draining))
		return err_set(err, ERR_LIMIT, "this reader is being stopped");
	if (atomic_fetch_add(&reader->n_uploads, 1) <
	    reader->settings->max_uploads) {
		metric_add(reader->metrics.uploads_active, 1);
		return 0;
	}
	atomic_fetch_sub(&reader->n_uploads, 1);
	return err_set(err, ERR_LIMIT, "%llu uploads are running, try later",
		       (unsigned long long)reader->settings->max_uploads);
}

void reader_upload_ended(struct reader *reader)
{
	CHECK(atomic_fetch_sub(&reader->n_uploads, 1) > 0);
	metric_add(reader->metrics.uploads_active, -1);
}

/* ---- rings --------------------------------------------------------------- */

struct ring *thread_take_ring(struct reader_thread *thread)
{
	if (thread->n_rings > 0)
		return thread->rings[--thread->n_rings];
	return ring_new(thread->reader->settings->buffer_size);
}

void thread_return_ring(struct reader_thread *thread, struct ring **ring)
{
	if (!*ring)
		return;
	if (thread->n_rings == THREAD_IDLE_RINGS) {
		ring_free(ring);
		return;
	}
	ring_reset(*ring);
	thread->rings[thread->n_rings++] = *ring;
	*ring = NULL;
}

void thread_release(struct reader_thread *thread)
{
	while (thread->n_rings > 0)
		ring_free(&thread->rings[--thread->n_rings]);
}

/* ---- operations ---------------------------------------------------------- */

/* A body nobody asked for: the server drops it with the answer. */
static void on_unwanted_body(void *operation)
{
	(void)operation;
}

const struct http_exchange_ops operation_ops = { .on_body = on_unwanted_body,
						 .on_end = operation_on_end };

void *operation_new(struct reader_thread *thread, size_t size)
{
	struct operation *op = calloc(1, size);

	if (!op)
		return NULL;
	op->thread = thread;
	op->began_us = clock_monotonic_us();
	thread->n_operations++;
	return op;
}

void operation_attach(struct operation *op, struct http_exchange *x,
		      const struct http_exchange_ops *ops)
{
	op->x = x;
	(void)span_to_string(span_of(http_peer(x)), op->peer, sizeof(op->peer));
	http_exchange_attach(x, ops, op);
}

static void delete_operation(void *owner)
{
	struct operation *op = owner;

	op->thread->n_operations--;
	free(op);
}

static void bury(struct operation *op)
{
	loop_bury(op->thread->loop, &op->grave, delete_operation, op);
}

void operation_on_end(void *owner)
{
	struct operation *op = owner;

	op->x = NULL;
	if (op->finished)
		bury(op);
	else if (op->on_gone)
		op->on_gone(op);
}

void operation_finish(struct operation *op)
{
	CHECK(!op->finished);
	op->finished = true;
	if (!op->x)
		bury(op);
}

uint64_t operation_ms(const struct operation *op)
{
	return (clock_monotonic_us() - op->began_us) / 1000;
}
