/*
 * thread.h - what the requests of one thread share, and what all threads share
 *
 * A reader has one store, one table of staged objects and one set of metrics
 * for all its threads; each thread has a loop, a server, and idle rings to use
 * again.
 *
 * An *operation* is what a request started and what may outlive its exchange: a
 * client that goes away does not stop a commit. It is freed when both its work
 * and its exchange are over, whichever comes last.
 */
#ifndef READER_THREAD_H
#define READER_THREAD_H

#include "common/http_server.h"
#include "common/metrics.h"
#include "common/ring.h"

#include "reader/settings.h"
#include "reader/sink.h"
#include "reader/staging.h"

#include <stdatomic.h>

#define THREAD_IDLE_RINGS 16u

/* How an upload, or a commit, ended; the label `result` of the metrics. */
#define UPLOAD_RESULTS(X)                                                  \
	X(STAGED, "staged", "complete and ready for its commit")           \
	X(PARTIAL, "partial", "bytes kept, more may be appended")          \
	X(COMMITTED, "committed", "complete and visible (POST /upload)")   \
	X(REFUSED, "refused", "not begun: a limit, a conflict, a mistake") \
	X(FAILED, "failed", "the store or the content failed it")          \
	X(ABORTED, "aborted", "the client went away or deleted it")

#define UPLOAD_RESULT_NAME(name, text, meaning) UPLOAD_##name,
enum upload_result { UPLOAD_RESULTS(UPLOAD_RESULT_NAME) UPLOAD_N_RESULTS };
#undef UPLOAD_RESULT_NAME

#define COMMIT_RESULTS(X)                                             \
	X(DONE, "committed", "visible now")                           \
	X(AGAIN, "again", "it was committed before, with this digest") \
	X(REFUSED, "refused", "another digest, unknown, or busy")     \
	X(FAILED, "failed", "the store could not")

#define COMMIT_RESULT_NAME(name, text, meaning) COMMIT_##name,
enum commit_result { COMMIT_RESULTS(COMMIT_RESULT_NAME) COMMIT_N_RESULTS };
#undef COMMIT_RESULT_NAME

struct reader_metrics {
	struct metric *uploads[UPLOAD_N_RESULTS];
	struct metric *commits[COMMIT_N_RESULTS];
	struct metric *deletes;
	struct metric *expired;
	struct metric *bytes_received;
	struct metric *uploads_active;
	struct metric *staged_objects;
	struct metric *stage_seconds;
	struct metric *commit_seconds;
};

struct reader {
	const struct reader_settings *settings;
	struct store *store;
	struct workers *workers;
	struct staging *staging;
	struct reader_metrics metrics;
	atomic_bool draining;		/* no new uploads */
	atomic_uint_fast64_t n_uploads;
};

struct reader_thread {
	struct reader *reader;
	struct loop *loop;
	struct http_server *server;
	size_t n_operations;		/* not yet freed */
	struct ring *rings[THREAD_IDLE_RINGS];
	size_t n_rings;
};

/* Register the metrics of a reader. */
void reader_metrics_init(struct reader_metrics *metrics);

/* The texts of the results, for logs. */
const char *upload_result_name(enum upload_result result);
const char *commit_result_name(enum commit_result result);

/*
 * Count one more upload; -1 with ERR_LIMIT when there are max_uploads or the
 * reader is being stopped. Each success needs a reader_upload_ended().
 */
int reader_upload_began(struct reader *reader, struct err *err) MUST_CHECK;
void reader_upload_ended(struct reader *reader);

/* An empty ring of buffer_size, or NULL when out of memory. */
struct ring *thread_take_ring(struct reader_thread *thread);

/* The ring back, with no cursor attached, and null it. */
void thread_return_ring(struct reader_thread *thread, struct ring **ring);

/* Free what is kept for further use; the loop is about to be freed. */
void thread_release(struct reader_thread *thread);

/* Embedded first in what a request started. */
struct operation {
	struct grave grave;
	struct reader_thread *thread;
	struct http_exchange *x;	/* NULL once it is over */
	void (*on_gone)(void *operation);	/* the exchange ended early */
	bool finished;
	uint64_t began_us;		/* clock_monotonic_us() */
	char peer[64];			/* for the log, also when x is over */
};

/*
 * An operation of `size` zeroed bytes that begins with struct operation, for
 * `x`; NULL when out of memory (then x is not attached). operation_attach()
 * makes x its own; `ops` have operation_on_end(). on_gone may be NULL.
 */
void *operation_new(struct reader_thread *thread, size_t size);
void operation_attach(struct operation *op, struct http_exchange *x,
		      const struct http_exchange_ops *ops);

/* For the ops of all operations: on_end, and the ops of one without a body. */
void operation_on_end(void *operation);
extern const struct http_exchange_ops operation_ops;

/*
 * The work is done, the answer (if any) has been given to x: freed after this
 * turn, or when x is over. Also frees one that was never attached.
 */
void operation_finish(struct operation *op);

/* Milliseconds since it began. */
uint64_t operation_ms(const struct operation *op);

#endif
