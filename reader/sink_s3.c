/*
 * The store in a bucket; s3_sink.h draws its files, s3_names.h its keys. This one
 * opens and closes it and hands sinks' operations to the engine's thread.
 */
#include "reader/s3_probe.h"
#include "reader/s3_sink.h"
#include "reader/s3_sweep.h"

#include <stdlib.h>

/* ---- store ---------------------------------------------------------------- */

static void stop_all(void *arg)
{
	struct s3_store *store = arg;

	if (store->sweep)
		s3_sweep_stop(store->sweep);
	if (store->probe)
		s3_probe_stop(store->probe);
}

/* The sweep looks at the base, so it ends first. */
static void s3_store_stop(struct store *base)
{
	struct s3_store *store = (struct s3_store *)base;

	if (!store->engine->running)
		return;
	loop_post(store->engine->loop, &store->stop, stop_all, store);
	s3_engine_stop(store->engine);
}

static void s3_store_close(struct store *base)
{
	struct s3_store *store = (struct s3_store *)base;

	stop_all(store);
	s3_sweep_free(&store->sweep);
	s3_probe_free(&store->probe);
	s3_engine_free(&store->engine);
	free(store);
}

static int open_all(struct s3_store *store,
		    const struct reader_settings *settings,
		    struct workers *workers, struct err *err)
{
	store->engine = s3_engine_new(settings, workers, err);
	if (!store->engine)
		return -1;
	store->probe = s3_probe_new(store->engine);
	store->sweep = s3_sweep_new(store);
	if (!store->probe || !store->sweep)
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
	.is_shared = true,
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
