#include "reader/s3_engine.h"

#include "common/clock.h"

#include <signal.h>
#include <stdlib.h>

#define BACKOFF_FIRST_MS 200u

static int open_client(struct s3_engine *e, struct err *err)
{
	struct http_client_settings settings = { .ca_file =
							 e->config.ca_file };

	if (http_client_global_init(err) < 0)
		return -1;
	e->loop = loop_new(err);
	if (!e->loop)
		return -1;
	e->client = http_client_new(e->loop, &settings, err);
	if (!e->client)
		return -1;
	e->origin = http_origin_new(e->client, e->config.url, err);
	return e->origin ? 0 : -1;
}

static void register_metrics(struct s3_engine *e)
{
	e->n_requests = metrics_counter("reader_s3_requests_total",
					"Requests to the S3 server, retries "
					"included.",
					NULL, NULL);
	e->n_retries = metrics_counter("reader_s3_retries_total",
				       "Requests to the S3 server that were "
				       "sent again.",
				       NULL, NULL);
	e->n_bytes = metrics_counter("reader_s3_sent_bytes_total",
				     "Bytes of bodies sent to the S3 server.",
				     NULL, NULL);
}

struct s3_engine *s3_engine_new(const struct reader_settings *settings,
				struct workers *workers, struct err *err)
{
	struct s3_engine *e = calloc(1, sizeof(*e));

	if (!e) {
		err_set(err, ERR_MEMORY, "out of memory for the store");
		return NULL;
	}
	e->workers = workers;
	e->random = clock_monotonic_us() | 1;
	register_metrics(e);
	if (s3_config_make(&e->config, settings, err) == 0 &&
	    open_client(e, err) == 0)
		return e;
	s3_engine_free(&e);
	return NULL;
}

static void *run(void *arg)
{
	struct s3_engine *e = arg;

	loop_run(e->loop);
	return NULL;
}

int s3_engine_start(struct s3_engine *e, struct err *err)
{
	sigset_t all, before;

	/* Signals are for the reader's first thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	e->running = pthread_create(&e->thread, NULL, run, e) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (e->running)
		return 0;
	return err_set(err, ERR_MEMORY, "cannot start a thread for S3");
}

static void on_stop(void *arg)
{
	struct s3_engine *e = arg;

	loop_stop(e->loop);
}

void s3_engine_stop(struct s3_engine *e)
{
	if (!e->running)
		return;
	loop_post(e->loop, &e->stop, on_stop, e);
	CHECK(pthread_join(e->thread, NULL) == 0);
	e->running = false;
}

static void do_nothing(void *arg)
{
	(void)arg;
}

void s3_engine_free(struct s3_engine **ep)
{
	struct s3_engine *e = *ep;

	if (!e)
		return;
	*ep = NULL;
	CHECK(!e->running);
	if (e->loop) {
		/* burials of the last turn */
		loop_post(e->loop, &e->stop, do_nothing, NULL);
		loop_run_once(e->loop);
	}
	http_origin_free(&e->origin);
	http_client_free(&e->client);
	loop_free(&e->loop);
	free(e);
}

/* xorshift64: no secret, only different on each machine. */
static uint64_t next_random(struct s3_engine *e)
{
	e->random ^= e->random << 13;
	e->random ^= e->random >> 7;
	e->random ^= e->random << 17;
	return e->random;
}

uint64_t s3_engine_backoff_ms(struct s3_engine *e, unsigned int n)
{
	uint64_t ms = BACKOFF_FIRST_MS;

	while (--n > 0 && ms < S3_BACKOFF_MAX_MS)
		ms *= 2;
	if (ms > S3_BACKOFF_MAX_MS)
		ms = S3_BACKOFF_MAX_MS;
	return ms / 2 + next_random(e) % (ms / 2 + 1);
}
