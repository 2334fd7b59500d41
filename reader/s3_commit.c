/*
 * Commit: the description first, then the content. An object is there when both
 * are, so the server's answer to the second is what publishes it, for this
 * reader as for everybody else.
 *
 *   is there one of this id? ─no─▶ {id}.json ─▶ content (PUT or Complete) ─▶ done
 *          └─yes: the same? success, and nothing of ours is left; else 409
 *
 * Two may commit one id at a time. Each description names its commit, so that nobody
 * takes the other's for its own. Where the server has create-once, the second is
 * refused; elsewhere it finds out when its content is there, and says 409.
 *
 * Abort: whatever of that may have come about, and is ours, is removed.
 */
#include "common/clock.h"

#include "reader/s3_description.h"
#include "reader/s3_sink.h"

#include <stdio.h>
#include <stdlib.h>

static struct s3_request *prepare(struct s3_sink *sink, const char *method)
{
	s3_request_init(&sink->request, sink->engine, method, sink->key);
	return &sink->request;
}

static const char *id_of(const struct s3_sink *sink)
{
	return sink->base.object.id;
}

static void use_description_key(struct s3_sink *sink)
{
	s3_key_of_description(sink->engine->config.prefix, id_of(sink),
			      sink->key);
}

static void fail(struct s3_sink *sink, const struct err *err)
{
	if (!err_is_set(&sink->base.err))
		sink->base.err = *err;
	s3_sink_end(sink);
}

/* ---- the last steps ------------------------------------------------------- */

/* Not worth the object: a sweep takes what is left of the tail. */
static void on_tail_removed(void *arg, struct s3_request *r)
{
	struct s3_sink *sink = arg;

	(void)r;
	sink->has_tail = false;
	s3_sink_end(sink);
}

static void remove_tail(struct s3_sink *sink)
{
	if (!sink->has_tail) {
		s3_sink_end(sink);
		return;
	}
	s3_key_of_tail(sink->engine->config.prefix, id_of(sink), sink->key);
	prepare(sink, "DELETE")->max_tries = S3_TRIES_OF_ABORT;
	s3_request_start(&sink->request, on_tail_removed, sink);
}

static void on_needless_aborted(struct s3_sink *sink)
{
	/* The object is there; the sweep tries again to remove the upload. */
	sink->base.err = sink->upload.err = ERR_INIT;
	s3_strays_abort(sink, remove_tail);
}

/* The object is visible; an upload that was created for it may be left. */
static void finish(struct s3_sink *sink)
{
	free(sink->held);
	sink->held = NULL;
	if (!sink->upload.id) {
		s3_strays_abort(sink, remove_tail);
		return;
	}
	sink->next = on_needless_aborted;
	s3_upload_abort(&sink->upload);
}

/* What is there is another's, and so is what becomes of it. */
static void refuse_another(struct s3_sink *sink)
{
	sink->is_described = sink->is_put = sink->base.published = false;
	err_set(&sink->base.err, ERR_CONFLICT,
		"another object has this identifier");
	s3_sink_end(sink);
}

static void on_confirmed(void *arg, struct s3_request *r)
{
	struct s3_sink *sink = arg;

	if (err_is_set(&r->err)) {
		fail(sink, &r->err);
	} else if (s3_description_is_of(r->answer, sink->commit)) {
		sink->base.published = true;
		finish(sink);
	} else {
		refuse_another(sink);
	}
}

/* Where two may describe one object at a time, whose description has stayed? */
static void publish(struct s3_sink *sink)
{
	if (sink->engine->has_create_once) {
		sink->base.published = true;
		finish(sink);
		return;
	}
	use_description_key(sink);
	s3_request_start(prepare(sink, "GET"), on_confirmed, sink);
}

/* ---- the content ---------------------------------------------------------- */

static void on_completed(struct s3_sink *sink)
{
	sink->is_put = sink->upload.is_unknown ||
		       !err_is_set(&sink->upload.err);
	if (s3_sink_failed(sink))
		s3_sink_end(sink);
	else
		publish(sink);
}

/* True when the server has what was sent. */
static bool is_etag_right(struct s3_sink *sink, const struct s3_request *r)
{
	char md5[DIGEST_MD5_HEX_SIZE];

	digest_md5_hex(r->body, md5);
	if (!r->etag_is_md5 || !s3_etag_contradicts(r->etag, md5))
		return true;
	err_set(&sink->base.err, ERR_STORE,
		"the object is damaged on the S3 server: its ETag is %.80s, "
		"not \"%s\"",
		r->etag, md5);
	return false;
}

static void on_put(void *arg, struct s3_request *r)
{
	struct s3_sink *sink = arg;

	if (err_is_set(&r->err))
		fail(sink, &r->err);
	else if (is_etag_right(sink, r))
		publish(sink);
	else
		s3_sink_end(sink);
}

static void put_content(struct s3_sink *sink)
{
	struct s3_request *r;

	free(sink->text);
	sink->text = malloc(S3_FIELDS_ROOM);
	if (!sink->text) {
		err_set(&sink->base.err, ERR_MEMORY,
			"out of memory for a commit");
		s3_sink_end(sink);
		return;
	}
	memcpy(sink->key, sink->upload.key, sizeof(sink->key));
	r = prepare(sink, "PUT");
	s3_object_fields(r, &sink->base.object, sink->text);
	s3_request_field(r, "x-amz-meta-sha256", sink->base.object.sha256);
	r->body = span_make(sink->held, (size_t)sink->base.offset);
	sink->is_put = true;
	s3_request_start(r, on_put, sink);
}

static void store_content(struct s3_sink *sink)
{
	if (sink->held) {
		put_content(sink);
		return;
	}
	sink->next = on_completed;
	s3_upload_complete(&sink->upload);
}

/* ---- the description ------------------------------------------------------ */

static void look_first(struct s3_sink *sink);

/* Another commit was first: maybe of the same content. That is looked at once. */
static void give_way(struct s3_sink *sink)
{
	sink->is_described = false;
	if (sink->was_refused) {
		refuse_another(sink);
		return;
	}
	sink->was_refused = true;
	look_first(sink);
}

/* Is the one that is there ours? Then a try whose answer was lost put it. */
static void on_refused_looked_up(void *arg, struct s3_request *r)
{
	struct s3_sink *sink = arg;

	if (err_is_set(&r->err))
		fail(sink, &r->err);
	else if (s3_description_is_of(r->answer, sink->commit))
		store_content(sink);
	else
		give_way(sink);
}

static void on_described(void *arg, struct s3_request *r)
{
	struct s3_sink *sink = arg;

	if (!err_is_set(&r->err)) {
		store_content(sink);
	} else if (r->status != 412) {
		/* Refused for certain, there is none of ours. */
		sink->is_described = s3_request_is_unknown(r);
		fail(sink, &r->err);
	} else if (s3_request_is_unknown(r)) {
		s3_request_start(prepare(sink, "GET"), on_refused_looked_up,
				 sink);
	} else {
		give_way(sink);
	}
}

static void describe(struct s3_sink *sink, bool is_new)
{
	size_t len = 0;
	struct s3_request *r;

	free(sink->text);
	uuid_v7(clock_wall_ms(), sink->commit);
	sink->text = s3_description_print(&sink->base.object, sink->upload.key,
					  sink->commit, &len);
	if (!sink->text) {
		err_set(&sink->base.err, ERR_MEMORY,
			"out of memory for a commit");
		s3_sink_end(sink);
		return;
	}
	use_description_key(sink);
	r = prepare(sink, "PUT");
	r->body = span_make(sink->text, len);
	s3_request_field(r, "content-type", "application/json");
	s3_encryption_fields(r);
	if (is_new && sink->engine->has_create_once)
		s3_request_field(r, "if-none-match", "*");
	sink->is_described = true;
	s3_request_start(r, on_described, sink);
}

/* ---- is there one already? ------------------------------------------------ */

static void on_content_looked_up(void *arg, struct s3_request *r)
{
	struct s3_sink *sink = arg;

	if (r->status == 404 && (sink->was_there || !sink->is_young)) {
		describe(sink, false);	/* of a commit that came to nothing */
	} else if (err_is_set(&r->err) && r->status != 404) {
		fail(sink, &r->err);
	} else if (sink->was_there) {
		finish(sink);		/* the same: nothing more to do */
	} else {
		refuse_another(sink);
	}
}

/* The longest from a description to its content, and the looks around it. */
static uint64_t longest_commit_ms(const struct s3_engine *engine)
{
	return s3_request_longest_ms(engine, true) +
	       4 * s3_request_longest_ms(engine, false);
}

/*
 * Was it put only just now, by the server's clock? Then whoever did it may be
 * about to put the content.
 */
static bool is_young(const struct s3_engine *engine,
		     const struct s3_request *r)
{
	uint64_t put_ms, now_ms;

	return clock_parse_http_date(span_of(r->modified), &put_ms) &&
	       clock_parse_http_date(span_of(r->refusal.date), &now_ms) &&
	       now_ms < put_ms + longest_commit_ms(engine);
}

static void look_at(struct s3_sink *sink, const struct object *there)
{
	sink->was_there = object_is_same(there, &sink->base.object);
	s3_key_of_content(sink->engine->config.prefix, id_of(sink), there->name,
			  sink->key);
	s3_request_start(prepare(sink, "HEAD"), on_content_looked_up, sink);
}

static void on_description(void *arg, struct s3_request *r)
{
	struct s3_sink *sink = arg;
	struct object *there;

	if (r->status == 404) {
		describe(sink, true);
		return;
	}
	if (err_is_set(&r->err)) {
		fail(sink, &r->err);
		return;
	}
	sink->is_young = is_young(sink->engine, r);
	there = malloc(sizeof(*there));
	if (!there)
		err_set(&sink->base.err, ERR_MEMORY,
			"out of memory for a commit");
	if (!there || s3_description_read(r->answer, id_of(sink), there,
					  &sink->base.err) < 0)
		s3_sink_end(sink);
	else
		look_at(sink, there);
	free(there);
}

static void look_first(struct s3_sink *sink)
{
	use_description_key(sink);
	s3_request_start(prepare(sink, "GET"), on_description, sink);
}

void s3_commit_run(void *arg)
{
	s3_checkpoint_wait(arg, look_first);
}

/* ---- abort ---------------------------------------------------------------- */

static void remove_next(struct s3_sink *sink);

static void on_removed(void *arg, struct s3_request *r)
{
	struct s3_sink *sink = arg;

	if (err_is_set(&r->err) && r->status != 404 &&
	    !err_is_set(&sink->base.err))
		sink->base.err = r->err;
	remove_next(sink);
}

/* One after the other; each only once, whatever comes of it. */
static void remove_next(struct s3_sink *sink)
{
	const char *prefix = sink->engine->config.prefix;

	if (sink->is_put || sink->base.published) {
		sink->is_put = sink->base.published = false;
		memcpy(sink->key, sink->upload.key, sizeof(sink->key));
	} else if (sink->is_described) {
		sink->is_described = false;
		use_description_key(sink);
	} else if (sink->has_tail) {
		sink->has_tail = false;
		s3_key_of_tail(prefix, id_of(sink), sink->key);
	} else {
		s3_sink_end(sink);
		return;
	}
	prepare(sink, "DELETE")->max_tries = S3_TRIES_OF_ABORT;
	s3_request_start(&sink->request, on_removed, sink);
}

/* Nothing of a commit is removed that another one has taken the place of. */
static void on_whose(void *arg, struct s3_request *r)
{
	struct s3_sink *sink = arg;
	bool is_ours = r->status == 404 ||
		       (!err_is_set(&r->err) &&
			s3_description_is_of(r->answer, sink->commit));

	if (err_is_set(&r->err) && r->status != 404)
		err_set(&sink->base.err, r->err.code, "%s", r->err.text);
	if (!is_ours)
		sink->is_described = sink->is_put = sink->base.published =
			false;
	remove_next(sink);
}

static void remove_all(struct s3_sink *sink)
{
	if (!sink->is_described) {
		remove_next(sink);
		return;
	}
	use_description_key(sink);
	prepare(sink, "GET")->max_tries = S3_TRIES_OF_ABORT;
	s3_request_start(&sink->request, on_whose, sink);
}

static void wait_to_remove(struct s3_sink *sink)
{
	s3_checkpoint_wait(sink, remove_all);
}

static void on_upload_aborted(struct s3_sink *sink)
{
	s3_upload_release(&sink->upload);
	free(sink->held);
	sink->held = NULL;
	s3_strays_abort(sink, wait_to_remove);
}

void s3_abort_run(void *arg)
{
	struct s3_sink *sink = arg;

	CHECK(!s3_request_is_running(&sink->request));
	sink->next = on_upload_aborted;
	s3_upload_abort(&sink->upload);
}
