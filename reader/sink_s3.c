/*
 * The store in a bucket; s3_sink.h draws its files, s3_names.h its keys. This one
 * opens and closes it and hands sinks' operations to the engine's thread.
 */
#include "common/log.h"

#include "reader/s3_sink.h"
#include "reader/s3_sweep.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the bucket at the start ---------------------------------------------- */

/* Requests one after the other, before the engine has a thread. */
struct start {
	struct s3_engine *engine;
	struct s3_request request;
	bool ended;
	char key[S3_KEY_SIZE];
};

static void on_ended(void *arg, struct s3_request *r)
{
	struct start *start = arg;

	(void)r;
	start->ended = true;
}

static const struct s3_request *wait_for(struct start *start)
{
	start->ended = false;
	start->request.max_tries = 1;
	s3_request_start(&start->request, on_ended, start);
	while (!start->ended)
		loop_run_once(start->engine->loop);
	return &start->request;
}

static struct s3_request *ask(struct start *start, const char *method)
{
	s3_request_init(&start->request, start->engine, method, start->key);
	return &start->request;
}

static struct s3_request *ask_to_put(struct start *start)
{
	struct s3_request *r = ask(start, "PUT");

	s3_encryption_fields(r);
	return r;
}

/*
 * Does the server refuse to put what is there already? Many take the field and
 * do not honour it, some take no such field.
 */
static bool probe_create_once(struct start *start)
{
	s3_request_field(ask_to_put(start), "if-none-match", "*");
	return wait_for(start)->status == 412;
}

/*
 * Does the server compare a body with its x-amz-content-sha256? It has to, but
 * some only sign with it. Where it does, a part's MD5 says nothing new.
 */
static bool probe_body_check(struct start *start)
{
	struct s3_request *r = ask_to_put(start);
	struct span other = span_of("another body");
	unsigned char bytes[DIGEST_SHA256_BYTES];
	char sha256[DIGEST_HEX_SIZE];

	digest_once(&other, 1, bytes);
	digest_to_hex(bytes, sizeof(bytes), sha256);
	r->body = span_of("the body");
	r->sha256 = sha256;
	return wait_for(start)->status == 400;
}

static void probe(struct start *start)
{
	struct s3_engine *engine = start->engine;

	snprintf(start->key, sizeof(start->key), "%sstream-broadcast.probe",
		 engine->config.prefix);
	ask_to_put(start);
	if (err_is_set(&wait_for(start)->err))
		return;
	engine->has_create_once = probe_create_once(start);
	engine->checks_bodies = probe_body_check(start);
	ask(start, "DELETE");
	(void)wait_for(start);
}

/*
 * What is wrong is said at once, and by /readyz as long as it is so; it does not
 * stop the start, for a bucket, a key and a clock are put right without us.
 */
static void look_at_bucket(struct start *start)
{
	const struct s3_config *config = &start->engine->config;
	struct s3_request *r = &start->request;
	struct err err;

	s3_request_init(r, start->engine, "GET", NULL);
	s3_request_param(r, "list-type", "2");
	s3_request_param(r, "max-keys", "1");
	s3_request_param(r, "prefix", config->prefix);
	err = wait_for(start)->err;
	if (!err_is_set(&err))
		probe(start);
	log_line(err_is_set(&err) ? LOG_ERROR : LOG_INFO, "s3_store",
		 LOG_STR("url", config->url), LOG_STR("bucket", config->bucket),
		 LOG_STR("result", err_is_set(&err) ? "unusable" : "ready"),
		 LOG_STR("create_once",
			 start->engine->has_create_once ? "yes" : "no"),
		 LOG_STR("checks_bodies",
			 start->engine->checks_bodies ? "yes" : "no"),
		 LOG_STR("reason", err.text));
}

static int check_bucket(struct s3_engine *engine, struct err *err)
{
	struct start *start = calloc(1, sizeof(*start));

	if (!start)
		return err_set(err, ERR_MEMORY, "out of memory for the store");
	start->engine = engine;
	look_at_bucket(start);
	free(start);
	return 0;
}

/* ---- store ---------------------------------------------------------------- */

/* The sweep looks at the base, so it ends first. */
static void s3_store_stop(struct store *base)
{
	struct s3_store *store = (struct s3_store *)base;

	if (!store->engine->running)
		return;
	loop_post(store->engine->loop, &store->stop, s3_sweep_stop,
		  store->sweep);
	s3_engine_stop(store->engine);
}

static void s3_store_close(struct store *base)
{
	struct s3_store *store = (struct s3_store *)base;

	if (store->sweep)
		s3_sweep_stop(store->sweep);
	s3_sweep_free(&store->sweep);
	s3_engine_free(&store->engine);
	free(store);
}

static int open_all(struct s3_store *store,
		    const struct reader_settings *settings,
		    struct workers *workers, struct err *err)
{
	store->engine = s3_engine_new(settings, workers, err);
	if (!store->engine || check_bucket(store->engine, err) < 0)
		return -1;
	store->sweep = s3_sweep_new(store);
	if (!store->sweep)
		return err_set(err, ERR_MEMORY, "out of memory for the store");
	return 0;
}

static struct store *s3_store_open(const struct reader_settings *settings,
				   struct workers *workers, struct err *err)
{
	struct s3_store *store = calloc(1, sizeof(*store));

	if (!store) {
		err_set(err, ERR_MEMORY, "out of memory for the store");
		return NULL;
	}
	if (open_all(store, settings, workers, err) == 0)
		return &store->base;
	s3_store_close(&store->base);
	return NULL;
}

static int s3_store_start(struct store *store, struct err *err)
{
	return s3_engine_start(s3_engine_of(store), err);
}

/* ---- sinks ---------------------------------------------------------------- */

static struct sink *s3_sink_new(struct store *store)
{
	struct s3_sink *sink = calloc(1, sizeof(*sink));

	if (!sink)
		return NULL;
	sink->engine = s3_engine_of(store);
	return &sink->base;
}

static void s3_sink_free(struct sink *base)
{
	struct s3_sink *sink = (struct s3_sink *)base;

	if (sink->upload.engine)
		s3_upload_free(&sink->upload);
	CHECK(!sink->checkpoint.text);
	free(sink->held);
	free(sink->text);
	free(sink);
}

static void s3_open_sink(struct sink *sink)
{
	s3_sink_post((struct s3_sink *)sink, s3_open_run);
}

static void s3_resume(struct sink *sink)
{
	s3_sink_post((struct s3_sink *)sink, s3_resume_run);
}

static void on_copied(void *sink)
{
	sink_end(sink);
}

/* Most writes are a copy; the engine is needed where a part begins or ends. */
static void s3_write(struct sink *base, struct span bytes)
{
	struct s3_sink *sink = (struct s3_sink *)base;

	if (s3_upload_copy(&sink->upload, bytes, base->loop, on_copied))
		return;
	sink->bytes = bytes;
	s3_sink_post(sink, s3_write_run);
}

static void s3_stage(struct sink *sink)
{
	s3_sink_post((struct s3_sink *)sink, s3_stage_run);
}

static void s3_suspend(struct sink *sink)
{
	s3_sink_post((struct s3_sink *)sink, s3_suspend_run);
}

static void s3_commit(struct sink *sink)
{
	s3_sink_post((struct s3_sink *)sink, s3_commit_run);
}

static void s3_abort(struct sink *sink)
{
	s3_sink_post((struct s3_sink *)sink, s3_abort_run);
}

const struct sink_type sink_type_s3 = {
	.kind = "s3",
	.can_append = true,
	.store_open = s3_store_open,
	.start = s3_store_start,
	.stop = s3_store_stop,
	.store_close = s3_store_close,
	.check = s3_check,
	.find = s3_find,
	.remove = s3_remove,
	.list = s3_list,
	.source_new = s3_source_new,
	.source_next = s3_source_next,
	.source_free = s3_source_free,
	.sink_new = s3_sink_new,
	.sink_free = s3_sink_free,
	.find_suspended = s3_find_suspended,
	.open = s3_open_sink,
	.resume = s3_resume,
	.write = s3_write,
	.stage = s3_stage,
	.suspend = s3_suspend,
	.commit = s3_commit,
	.abort = s3_abort,
};
