/*
 * s3_engine.h - the thread that talks to the S3 server
 *
 *   threads of the reader ──post──▶ engine: loop, HTTP client ──▶ S3 server
 *                         ◀──post──
 *
 * Parts of an upload go on being sent while nobody waits for them, a sink may
 * be handed from one thread of the reader to another, and stale uploads are to be
 * removed when nothing else happens: so none of it can live on the loop of a
 * request. One thread does it all; what is heavy, digests, goes to the workers.
 */
#ifndef READER_S3_ENGINE_H
#define READER_S3_ENGINE_H

#include "common/http_client.h"
#include "common/metrics.h"
#include "common/workers.h"

#include "reader/s3_config.h"

#include <pthread.h>
#include <stdatomic.h>

struct s3_engine {
	struct loop *loop;
	struct workers *workers;
	struct http_client *client;
	struct http_origin *origin;
	struct metric *n_requests;
	struct metric *n_retries;
	struct metric *n_bytes;
	uint64_t random;	/* state, for back-off */
	/* only after s3_engine_start() */
	pthread_t thread;
	bool running;
	struct post stop;
	struct s3_config config;
	/* Does the server honour If-None-Match for PUT? s3_probe finds out. */
	bool has_create_once;
	/* Does it refuse a body of another SHA-256? Workers look at this one. */
	atomic_bool checks_bodies;
};

/*
 * An engine for the settings, whose loop does not run yet: the caller may run
 * it, to look at the bucket. NULL with ERR_CONFIG or ERR_MEMORY.
 */
struct s3_engine *s3_engine_new(const struct reader_settings *settings,
				struct workers *workers, struct err *err);

/* Run the loop on a thread of its own. -1 with ERR_MEMORY. */
int s3_engine_start(struct s3_engine *engine, struct err *err) MUST_CHECK;

/* End the thread; nothing may be on its way. Then the loop is the caller's. */
void s3_engine_stop(struct s3_engine *engine);

/* Free *engine, which does not run, and null it. */
void s3_engine_free(struct s3_engine **engine);

/* Milliseconds to wait before try number `n` (1 …): jittered. */
#define S3_BACKOFF_MAX_MS 10000u
uint64_t s3_engine_backoff_ms(struct s3_engine *engine, unsigned int n);

#endif
