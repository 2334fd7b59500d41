/*
 * Each function does one step and hands the next one to the operation it
 * starts. A store may end an operation within the call that starts it; chains
 * are six steps long, so that is no deep recursion.
 */
#include "reader/control.h"

#include "common/clock.h"
#include "common/log.h"

#include "reader/answers.h"
#include "reader/details.h"

#include <stdio.h>
#include <stdlib.h>

struct control {
	struct operation op;
	char id[UUID_TEXT_SIZE];
	char sha256[DIGEST_HEX_SIZE];	/* of Repr-Digest */
	struct metadata *metadata;	/* of Upload-Metadata, or NULL */
	struct staged *entry;		/* held, or NULL */
	struct staging_waiter waiter;
	struct store_lookup lookup;
	struct object object;		/* what was committed */
	struct err err;
};

static struct staging *table_of(const struct control *c)
{
	return c->op.thread->reader->staging;
}

static struct store *store_of(const struct control *c)
{
	return c->op.thread->reader->store;
}

static struct control *control_new(struct reader_thread *thread,
				   struct http_exchange *x, const char *id)
{
	struct control *c = operation_new(thread, sizeof(*c));
	struct err err = ERR_INIT;

	if (!c) {
		err_set(&err, ERR_MEMORY, "out of memory for a request");
		http_reply_problem(x, &err);
		return NULL;
	}
	CHECK(span_to_string(span_of(id), c->id, sizeof(c->id)));
	memcpy(c->lookup.id, c->id, sizeof(c->id));
	operation_attach(&c->op, x, &operation_ops);
	return c;
}

/*
 * Take the entry from rest for `state`. False when somebody holds it: then
 * `again` is called once it was let go.
 */
static bool take_or_wait(struct control *c, enum staged_state state,
			 bool give_up, loop_fn *again)
{
	struct staging_holder nobody = { 0 };

	c->waiter.loop = c->op.thread->loop;
	c->waiter.fn = again;
	c->waiter.arg = c;
	do {
		if (staging_take(table_of(c), c->id, state, &nobody,
				 &c->entry) != STAGING_HELD)
			return true;
	} while (!staging_wait(table_of(c), c->id, &c->waiter, give_up));
	return false;
}

/* The entry has no sink any more. */
static void drop_entry(struct control *c)
{
	c->entry->sink = NULL;
	staging_drop(&c->entry);
}

/* ---- commit -------------------------------------------------------------- */

static void report_commit(struct control *c, enum commit_result result)
{
	struct reader_metrics *metrics = &c->op.thread->reader->metrics;

	metric_add(metrics->commits[result], 1);
	if (result == COMMIT_DONE)
		metric_observe_ms(metrics->commit_seconds,
				  operation_ms(&c->op));
	log_line(result == COMMIT_FAILED ? LOG_WARN : LOG_INFO, "commit",
		 LOG_STR("id", c->id),
		 LOG_STR("result", commit_result_name(result)),
		 LOG_U64("bytes", c->object.size),
		 LOG_U64("ms", operation_ms(&c->op)),
		 LOG_STR("peer", c->op.peer), LOG_STR("reason", c->err.text));
}

static void end_commit(struct control *c, enum commit_result result)
{
	report_commit(c, result);
	if (c->op.x) {
		if (result == COMMIT_DONE || result == COMMIT_AGAIN)
			answer_committed(c->op.x,
					 result == COMMIT_DONE ? 201 : 200,
					 &c->object);
		else
			http_reply_problem(c->op.x, &c->err);
	}
	free(c->metadata);
	operation_finish(&c->op);
}

static void refuse_digest(struct control *c, const char *stored)
{
	err_set(&c->err, ERR_CONFLICT,
		"the object's sha-256 is %s, not %s as Repr-Digest says",
		stored, c->sha256);
	end_commit(c, COMMIT_REFUSED);
}

/* Of a commit that found no sink, for this reason. */
static enum commit_result result_without_sink(const struct err *err)
{
	return err->code == ERR_NOT_FOUND ? COMMIT_REFUSED : COMMIT_FAILED;
}

static void resume(struct control *c);

static void on_commit_looked_up(void *arg, const struct err *err)
{
	struct control *c = arg;

	if (err && err->code == ERR_NOT_FOUND && store_can_resume(store_of(c))) {
		resume(c);
		return;
	}
	if (err) {
		c->err = *err;
		end_commit(c, result_without_sink(err));
		return;
	}
	c->object = c->lookup.object;
	if (strcmp(c->object.sha256, c->sha256) != 0)
		refuse_digest(c, c->object.sha256);
	else
		end_commit(c, COMMIT_AGAIN);
}

static void on_commit_aborted(void *arg, const struct err *err)
{
	struct control *c = arg;

	(void)err;	/* the commit's own failure is what counts */
	drop_entry(c);
	end_commit(c, COMMIT_FAILED);
}

static void fail_commit(struct control *c, const struct err *err)
{
	c->err = *err;
	sink_abort(c->entry->sink, c->op.thread->loop, on_commit_aborted, c);
}

static void on_committed(void *arg, const struct err *err)
{
	struct control *c = arg;

	if (err) {
		fail_commit(c, err);
		return;
	}
	c->object = *sink_object(c->entry->sink);
	sink_close(&c->entry->sink);
	staging_drop(&c->entry);
	end_commit(c, COMMIT_DONE);
}

static void put_back(struct control *c)
{
	const struct sink *sink = c->entry->sink;

	memcpy(c->entry->sha256, sink_object(sink)->sha256, DIGEST_HEX_SIZE);
	/* Its holder cannot be asked, so nobody can have. */
	CHECK(staging_rest(c->entry, STAGED_COMPLETE, clock_monotonic_ms()));
	c->entry = NULL;
}

static void describe(struct control *c)
{
	struct object_details details;

	if (!c->metadata)
		return;
	details_from_metadata(&details, c->metadata);
	sink_describe(c->entry->sink, &details);
}

static void on_commit_staged(void *arg, const struct err *err)
{
	struct control *c = arg;
	struct sink *sink = c->entry->sink;

	if (err) {
		fail_commit(c, err);
		return;
	}
	c->object = *sink_object(sink);
	if (strcmp(c->object.sha256, c->sha256) == 0) {
		describe(c);
		sink_commit(sink, c->op.thread->loop, on_committed, c);
		return;
	}
	put_back(c);
	refuse_digest(c, c->object.sha256);
}

static void on_resume_dropped(void *arg, const struct err *err)
{
	struct control *c = arg;

	(void)err;	/* there was nothing to remove */
	drop_entry(c);
	end_commit(c, result_without_sink(&c->err));
}

static void on_resumed(void *arg, const struct err *err)
{
	struct control *c = arg;
	struct sink *sink = c->entry->sink;

	if (err) {
		c->err = *err;
		sink_abort(sink, c->op.thread->loop, on_resume_dropped, c);
		return;
	}
	atomic_store(&c->entry->offset, sink_offset(sink));
	sink_stage(sink, c->op.thread->loop, on_commit_staged, c);
}

static void refuse_held(struct control *c)
{
	err_set(&c->err, ERR_CONFLICT, "object %s is being received", c->id);
	report_commit(c, COMMIT_REFUSED);
	if (c->op.x)
		answer_held(c->op.x, c->id, 1);
	free(c->metadata);
	operation_finish(&c->op);
}

/* A paused object rests in the store only: go on with it, to its commit. */
static void resume(struct control *c)
{
	struct staging_holder nobody = { 0 };
	enum staging_answer answer;
	uint64_t touched_ms;

	answer = staging_create(table_of(c), c->id, &nobody, 0, &c->entry,
				&touched_ms);
	if (answer == STAGING_FULL) {
		err_set(&c->err, ERR_LIMIT,
			"too many objects wait for their commit");
		end_commit(c, COMMIT_REFUSED);
		return;
	}
	if (answer != STAGING_NEW) {
		refuse_held(c);		/* somebody came in between */
		return;
	}
	c->entry->sink = sink_resume(store_of(c), c->id, c->op.thread->loop,
				     on_resumed, c);
	if (c->entry->sink)
		return;
	staging_drop(&c->entry);
	err_set(&c->err, ERR_MEMORY, "out of memory for a commit");
	end_commit(c, COMMIT_FAILED);
}

/* Is it being received? Then there is nothing to commit yet. */
static bool is_receiving(struct control *c)
{
	struct staging_view view;

	return staging_look(table_of(c), c->id, &view) &&
	       view.state == STAGED_RECEIVING;
}

static void commit(void *arg)
{
	struct control *c = arg;
	struct loop *loop = c->op.thread->loop;

	if (is_receiving(c)) {
		refuse_held(c);
		return;
	}
	if (!take_or_wait(c, STAGED_COMMITTING, false, commit))
		return;
	if (c->entry)
		sink_stage(c->entry->sink, loop, on_commit_staged, c);
	else
		store_find(store_of(c), &c->lookup, loop, on_commit_looked_up,
			   c);
}

static int read_digest(struct control *c, struct http_exchange *x)
{
	struct span field = http_request_field(x, "Repr-Digest");
	int found = field.len > 0 ? digest_parse_field(field, c->sha256,
						       &c->err) : 0;

	if (found > 0)
		return 0;
	return err_set(&c->err, ERR_CLIENT,
		       "a commit needs Repr-Digest with sha-256 (RFC 9530)");
}

static int read_metadata(struct control *c, struct http_exchange *x)
{
	struct span field = http_request_field(x, "Upload-Metadata");

	if (field.len == 0)
		return 0;
	c->metadata = malloc(sizeof(*c->metadata));
	if (!c->metadata)
		return err_set(&c->err, ERR_MEMORY,
			       "out of memory for Upload-Metadata");
	metadata_init(c->metadata);
	return metadata_parse(c->metadata, field, &c->err);
}

void control_commit(struct reader_thread *thread, struct http_exchange *x,
		    const char *id)
{
	struct control *c = control_new(thread, x, id);

	if (!c)
		return;
	if (read_digest(c, x) < 0 || read_metadata(c, x) < 0)
		end_commit(c, COMMIT_REFUSED);
	else
		commit(c);
}

/* ---- delete -------------------------------------------------------------- */

static void end_delete(struct control *c, const char *result)
{
	bool failed = err_is_set(&c->err);
	bool is_refused = c->err.status == 412;

	metric_add(c->op.thread->reader->metrics.deletes, !failed);
	log_line(failed && !is_refused ? LOG_WARN : LOG_INFO, "delete",
		 LOG_STR("id", c->id), LOG_STR("result", result),
		 LOG_U64("ms", operation_ms(&c->op)),
		 LOG_STR("peer", c->op.peer), LOG_STR("reason", c->err.text));
	if (c->op.x && failed)
		http_reply_problem(c->op.x, &c->err);
	else if (c->op.x)
		answer_gone(c->op.x);
	operation_finish(&c->op);
}

static void on_removed(void *arg, const struct err *err)
{
	struct control *c = arg;

	if (err)
		c->err = *err;
	end_delete(c, err ? "failed" : "gone");
}

static void on_aborted(void *arg, const struct err *err)
{
	struct control *c = arg;

	drop_entry(c);
	on_removed(c, err);
}

/* What was staged has never been committed, and the other way round. */
static void delete_object(void *arg)
{
	struct control *c = arg;
	struct loop *loop = c->op.thread->loop;

	if (!take_or_wait(c, STAGED_ABORTING, true, delete_object))
		return;
	if (c->entry)
		sink_abort(c->entry->sink, loop, on_aborted, c);
	else
		store_delete(store_of(c), &c->lookup, loop, on_removed, c);
}

/* Of what was found, or `is_there` is false. */
static bool may_delete(const struct control *c, bool is_there)
{
	struct http1_conditions conditions = http_request_conditions(c->op.x);
	const struct object *object = &c->lookup.object;
	char etag[DIGEST_HEX_SIZE + 2];

	snprintf(etag, sizeof(etag), "\"%s\"", object->sha256);
	return http1_may_change(&conditions, is_there ? etag : NULL,
				object->created_ms);
}

static void on_delete_looked_up(void *arg, const struct err *err)
{
	struct control *c = arg;

	if (err && err->code != ERR_NOT_FOUND) {
		on_removed(c, err);
	} else if (!c->op.x) {
		err_set(&c->err, ERR_CLIENT, "the client went away");
		end_delete(c, "failed");
	} else if (may_delete(c, !err)) {
		delete_object(c);
	} else {
		err_set_status(&c->err, 412,
			       "the object is not what the preconditions name");
		end_delete(c, "refused");
	}
}

void control_delete(struct reader_thread *thread, struct http_exchange *x,
		    const char *id)
{
	struct http1_conditions conditions = http_request_conditions(x);
	struct control *c = control_new(thread, x, id);

	if (!c)
		return;
	if (http1_is_conditional_change(&conditions))
		store_find(store_of(c), &c->lookup, thread->loop,
			   on_delete_looked_up, c);
	else
		delete_object(c);
}
