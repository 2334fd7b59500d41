#include "reader/s3_sink.h"

#include <stdlib.h>

void s3_sink_post(struct s3_sink *sink, loop_fn *run)
{
	loop_post(sink->engine->loop, &sink->there, run, sink);
}

static void on_back(void *arg)
{
	struct s3_sink *sink = arg;

	sink_end(&sink->base);
}

/* From here on it may be freed by its own thread. */
static void hand_back(void *arg)
{
	struct s3_sink *sink = arg;

	loop_post(sink->base.loop, &sink->back, on_back, sink);
}

void s3_sink_end(struct s3_sink *sink)
{
	free(sink->text);
	sink->text = NULL;
	loop_defer(sink->engine->loop, &sink->end, hand_back, sink);
}

void s3_sink_disown(struct s3_sink *sink)
{
	free(sink->upload.id);
	sink->upload.id = NULL;
	sink->has_tail = false;
}

bool s3_sink_failed(struct s3_sink *sink)
{
	if (err_is_set(&sink->upload.err) && !err_is_set(&sink->base.err))
		sink->base.err = sink->upload.err;
	return err_is_set(&sink->base.err);
}

static void on_upload_done(void *arg)
{
	struct s3_sink *sink = arg;

	s3_sink_failed(sink);
	sink->next(sink);
}

static void on_mark(void *arg)
{
	s3_checkpoint(arg);
}

/* ---- open ----------------------------------------------------------------- */

/* A small object is no multipart upload, and known to be small only if told. */
static bool will_be_held(const struct s3_sink *sink)
{
	return sink->base.promised != OBJECT_SIZE_UNKNOWN &&
	       sink->base.promised <= S3_HELD_BYTES;
}

void s3_sink_init_upload(struct s3_sink *sink)
{
	s3_upload_init(&sink->upload, sink->engine, &sink->base.object,
		       sink->base.digest, on_upload_done, sink);
	sink->upload.size_hint = sink->base.promised;
	sink->upload.on_mark = on_mark;
}

void s3_open_run(void *arg)
{
	struct s3_sink *sink = arg;

	s3_sink_init_upload(sink);
	sink->next = s3_sink_end;
	if (will_be_held(sink))
		s3_sink_end(sink);
	else
		s3_upload_create(&sink->upload);
}

/* ---- the rest comes back --------------------------------------------------- */

/* What was held becomes the rest of the upload again. */
static bool put_back_held(struct s3_sink *sink)
{
	size_t len = (size_t)sink->base.offset;
	char *room = s3_upload_rest_room(&sink->upload, len);

	if (!room) {
		err_set(&sink->base.err, ERR_MEMORY, "out of memory for a part");
		return false;
	}
	memcpy(room, sink->held, len);
	s3_upload_put_rest(&sink->upload, len);
	free(sink->held);
	sink->held = NULL;
	return true;
}

/* Then next(sink), also with an error. */
static void bring_back(struct s3_sink *sink, s3_sink_fn *next)
{
	if (sink->held && !put_back_held(sink))
		next(sink);
	else if (sink->is_suspended)
		s3_tail_get(sink, next);
	else
		next(sink);
}

/* ---- write ---------------------------------------------------------------- */

static void on_written(struct s3_sink *sink)
{
	s3_sink_end(sink);
}

static void write_bytes(struct s3_sink *sink)
{
	if (s3_sink_failed(sink)) {
		s3_sink_end(sink);
		return;
	}
	sink->next = on_written;
	s3_upload_write(&sink->upload, sink->bytes);
}

/*
 * All parts but the last one have 5 MiB (S3), and a part cannot be read back.
 */
static bool ends_for_good(const struct s3_sink *sink)
{
	return sink->is_flushed && sink->upload.last_part < S3_MIN_PART;
}

void s3_write_run(void *arg)
{
	struct s3_sink *sink = arg;

	if (s3_sink_failed(sink)) {
		s3_sink_end(sink);
		return;
	}
	if (ends_for_good(sink)) {
		err_set(&sink->base.err, ERR_CONFLICT,
			"an s3 store cannot append to an object that was "
			"complete and whose last part has less than 5 MiB");
		s3_sink_end(sink);
		return;
	}
	sink->is_flushed = false;
	bring_back(sink, write_bytes);
}

/* ---- stage ---------------------------------------------------------------- */

static void end_stage(struct s3_sink *sink)
{
	s3_upload_release(&sink->upload);
	s3_sink_end(sink);
}

static void on_flushed(struct s3_sink *sink)
{
	sink->is_flushed = true;
	end_stage(sink);
}

/* Its few bytes stay in memory of just their size. */
static void hold(struct s3_sink *sink)
{
	struct span rest = s3_upload_rest(&sink->upload);

	CHECK(rest.len == sink->base.offset);
	sink->held = malloc(rest.len + 1);
	if (!sink->held)
		err_set(&sink->base.err, ERR_MEMORY,
			"out of memory for an object");
	else if (rest.len > 0)
		memcpy(sink->held, rest.ptr, rest.len);
	end_stage(sink);
}

static void stage(struct s3_sink *sink)
{
	if (s3_sink_failed(sink)) {
		s3_sink_end(sink);	/* parts may still be on their way */
	} else if (sink->base.offset <= S3_HELD_BYTES) {
		hold(sink);
	} else {
		sink->next = on_flushed;
		s3_upload_flush(&sink->upload);
	}
}

void s3_stage_run(void *arg)
{
	struct s3_sink *sink = arg;

	if (sink->base.offset > S3_HELD_BYTES && sink->is_suspended &&
	    sink->tail_bytes == 0)
		sink->is_suspended = false;	/* nothing to bring back */
	bring_back(sink, stage);
}

/* ---- suspend -------------------------------------------------------------- */

static void end_suspend(struct s3_sink *sink)
{
	sink->is_suspended = !err_is_set(&sink->base.err);
	s3_upload_release(&sink->upload);
	s3_sink_end(sink);
}

static void put_tail(struct s3_sink *sink)
{
	s3_tail_put(sink, end_suspend);
}

static void on_settled(struct s3_sink *sink)
{
	if (err_is_set(&sink->base.err))
		s3_sink_end(sink);
	else
		s3_checkpoint_wait(sink, put_tail);
}

void s3_suspend_run(void *arg)
{
	struct s3_sink *sink = arg;

	if (sink->base.state == SINK_STAGED || sink->is_suspended) {
		s3_sink_end(sink);
		return;
	}
	sink->next = on_settled;
	s3_upload_settle(&sink->upload);
}
