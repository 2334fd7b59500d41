/*
 * One pump, level-triggered: events note facts and call it; it looks at the
 * state and does what is possible. A store may end an operation within the call
 * that starts it, which then comes back here as `again`, not as recursion.
 */
#include "reader/receive.h"

#include "common/clock.h"
#include "common/log.h"

#include "reader/answers.h"
#include "reader/feed.h"
#include "reader/upload_head.h"

#include <inttypes.h>

/* A staged object that was touched this recently is not replaced. */
#define FRESH_MS 30000u

#define RECEIVE_STATES(X)                                           \
	X(STARTING, "admitted")                                     \
	X(CLEARING, "a forgotten object of this id is removed")     \
	X(LOOKING, "has the store committed this id already?")      \
	X(RESUMING, "did another process leave a part of it?")      \
	X(DROPPING, "it did not")                                   \
	X(OPENING, "does the store accept the object?")             \
	X(BODY, "bytes flow")                                       \
	X(STAGING, "the store completes the object")                \
	X(SUSPENDING, "the store keeps what came, for a later PATCH") \
	X(ABORTING, "the store forgets all of it")                  \
	X(ENDED, "answered, if there is still somebody")

#define RECEIVE_STATE_NAME(name, meaning) RECEIVE_##name,
enum receive_state { RECEIVE_STATES(RECEIVE_STATE_NAME) };
#undef RECEIVE_STATE_NAME

struct receive {
	struct operation op;
	enum receive_state state;
	bool append;			/* PATCH */
	bool counted;			/* reader_upload_began() */
	bool busy;			/* the state's operation runs */
	bool body_ended;
	bool client_gone;
	bool deleted;			/* somebody wants it aborted */
	bool committed_before;		/* lookup.object is what is there */
	bool elsewhere;			/* Upload-Offset is not its end */
	bool pumping, again;
	uint64_t received;
	uint64_t stage_began_us;
	struct staged *entry;		/* held, or NULL */
	struct sink *sink;		/* of the entry, while it is held */
	struct feed feed;
	struct err err;			/* why it fails; the first wins */
	struct err op_err;		/* of the operation that ended last */
	struct upload_head head;
	struct store_lookup lookup;
};

static void receive_pump(struct receive *r);

/* ---- how it ends --------------------------------------------------------- */

static enum upload_result result_of(const struct receive *r, bool kept)
{
	if (!err_is_set(&r->err))
		return r->append ? UPLOAD_PARTIAL : UPLOAD_STAGED;
	if (kept)
		return UPLOAD_PARTIAL;
	if (r->client_gone || r->deleted)
		return UPLOAD_ABORTED;
	return r->feed.thread || r->err.code == ERR_STORE ? UPLOAD_FAILED
							  : UPLOAD_REFUSED;
}

static void report(const struct receive *r, enum upload_result result)
{
	struct reader *reader = r->op.thread->reader;

	metric_add(reader->metrics.uploads[result], 1);
	log_line(result == UPLOAD_FAILED ? LOG_WARN : LOG_INFO, "upload",
		 LOG_STR("id", r->head.object.id),
		 LOG_STR("result", upload_result_name(result)),
		 LOG_STR("name", r->head.object.name),
		 LOG_U64("bytes", r->received),
		 LOG_U64("ms", operation_ms(&r->op)),
		 LOG_STR("peer", r->op.peer), LOG_STR("reason", r->err.text));
}

static void answer(const struct receive *r)
{
	struct http_exchange *x = r->op.x;

	if (!x)
		return;
	if (r->client_gone)
		http_abort(x);
	else if (r->committed_before)
		answer_exists(x, &r->lookup.object);
	else if (r->elsewhere)
		answer_wrong_offset(x, r->head.object.size);
	else if (err_is_set(&r->err))
		http_reply_problem(x, &r->err);
	else if (r->append)
		answer_appended(x, r->head.object.size);
	else
		answer_staged(x, &r->head.object);
}

/* The entry was put to rest (`kept`), or there is no sink any more. */
static void end(struct receive *r, bool kept)
{
	if (r->entry)
		staging_drop(&r->entry);
	feed_release(&r->feed);
	if (r->counted)
		reader_upload_ended(r->op.thread->reader);
	report(r, result_of(r, kept));
	answer(r);
	operation_finish(&r->op);
}

/* ---- states -------------------------------------------------------------- */

static void on_operation_ended(void *arg, const struct err *err)
{
	struct receive *r = arg;

	r->busy = false;
	r->op_err = err ? *err : ERR_INIT;
	receive_pump(r);
}

static void on_feed_progress(void *arg)
{
	receive_pump(arg);
}

static void start_clearing(struct receive *r)
{
	struct sink *old = r->entry->sink;

	r->entry->sink = NULL;
	r->entry->sha256[0] = '\0';
	atomic_store(&r->entry->offset, 0);
	r->busy = true;
	sink_abort(old, r->op.thread->loop, on_operation_ended, r);
}

static void start_looking(struct receive *r)
{
	memcpy(r->lookup.id, r->head.object.id, sizeof(r->lookup.id));
	r->busy = true;
	store_find(r->op.thread->reader->store, &r->lookup, r->op.thread->loop,
		   on_operation_ended, r);
}

static void start_opening(struct receive *r)
{
	struct store *store = r->op.thread->reader->store;

	r->busy = true;
	if (r->state == RECEIVE_RESUMING)
		r->sink = sink_resume(store, r->head.object.id,
				      r->op.thread->loop, on_operation_ended,
				      r);
	else
		r->sink = sink_open(store, &r->head.object, r->op.thread->loop,
				    on_operation_ended, r);
	r->entry->sink = r->sink;
	if (r->sink)
		return;
	r->busy = false;
	err_set(&r->err, ERR_MEMORY, "out of memory for an object");
	r->again = true;
}

static void start_body(struct receive *r)
{
	r->again = true;
	if (r->append && sink_offset(r->sink) == 0)
		sink_expect_more(r->sink);
	if (feed_init(&r->feed, r->op.thread, on_feed_progress, r, &r->err) < 0)
		return;
	r->feed.sink = r->sink;
	if (r->op.x)
		http_continue(r->op.x);
}

static void start_ending(struct receive *r)
{
	struct loop *loop = r->op.thread->loop;

	r->busy = true;
	r->stage_began_us = clock_monotonic_us();
	if (r->state == RECEIVE_STAGING)
		sink_stage(r->sink, loop, on_operation_ended, r);
	else if (r->state == RECEIVE_SUSPENDING)
		sink_suspend(r->sink, loop, on_operation_ended, r);
	else
		sink_abort(r->sink, loop, on_operation_ended, r);
}

#define BIT(state) (1u << RECEIVE_##state)

static const struct {
	const char *name;
	unsigned int next;
} states[] = {
	[RECEIVE_STARTING] = { "starting", BIT(CLEARING) | BIT(LOOKING) |
						   BIT(BODY) },
	[RECEIVE_CLEARING] = { "clearing", BIT(LOOKING) | BIT(ENDED) },
	[RECEIVE_LOOKING] = { "looking",
			      BIT(RESUMING) | BIT(OPENING) | BIT(ENDED) },
	[RECEIVE_RESUMING] = { "resuming", BIT(DROPPING) | BIT(BODY) |
						   BIT(SUSPENDING) |
						   BIT(ABORTING) | BIT(ENDED) },
	[RECEIVE_DROPPING] = { "dropping", BIT(OPENING) | BIT(ENDED) },
	[RECEIVE_OPENING] = { "opening",
			      BIT(BODY) | BIT(ABORTING) | BIT(ENDED) },
	[RECEIVE_BODY] = { "body", BIT(STAGING) | BIT(SUSPENDING) |
					   BIT(ABORTING) },
	[RECEIVE_STAGING] = { "staging", BIT(ABORTING) | BIT(ENDED) },
	[RECEIVE_SUSPENDING] = { "suspending", BIT(ABORTING) | BIT(ENDED) },
	[RECEIVE_ABORTING] = { "aborting", BIT(ENDED) },
	[RECEIVE_ENDED] = { "ended", 0 },
};

/* The only place where the state is assigned. */
static void set_state(struct receive *r, enum receive_state state)
{
	CHECK(!r->busy && (states[r->state].next & (1u << state)));
	if (log_enabled(LOG_DEBUG))
		log_line(LOG_DEBUG, "receive_state",
			 LOG_STR("id", r->head.object.id),
			 LOG_STR("from", states[r->state].name),
			 LOG_STR("to", states[state].name));
	r->state = state;
}

/* Enter a state and start what belongs to it. */
static void enter(struct receive *r, enum receive_state state)
{
	set_state(r, state);
	switch (state) {
	case RECEIVE_CLEARING:
		start_clearing(r);
		break;
	case RECEIVE_LOOKING:
		start_looking(r);
		break;
	case RECEIVE_RESUMING:
	case RECEIVE_OPENING:
		start_opening(r);
		break;
	case RECEIVE_BODY:
		start_body(r);
		break;
	case RECEIVE_DROPPING:
	case RECEIVE_STAGING:
	case RECEIVE_SUSPENDING:
	case RECEIVE_ABORTING:
		start_ending(r);
		break;
	case RECEIVE_STARTING:
	case RECEIVE_ENDED:
		break;
	}
}

static void enter_end(struct receive *r, bool kept)
{
	set_state(r, RECEIVE_ENDED);
	end(r, kept);
}

/* It failed: undo what there is. */
static void give_up(struct receive *r)
{
	CHECK(err_is_set(&r->err));
	if (r->sink)
		enter(r, RECEIVE_ABORTING);
	else
		enter_end(r, false);
}

/* ---- the body ------------------------------------------------------------ */

static void note_body_end(struct receive *r)
{
	r->body_ended = true;
	if (!r->append &&
	    upload_head_add_trailers(&r->head, http_trailers(r->op.x),
				     &r->err) < 0)
		CHECK(err_is_set(&r->err));	/* step_body() sees it */
}

static void take_bytes(struct receive *r, size_t n)
{
	uint64_t max = r->op.thread->reader->settings->max_upload_bytes;

	ring_commit(r->feed.ring, n);
	r->received += n;
	metric_add(r->op.thread->reader->metrics.bytes_received, (int64_t)n);
	if (r->head.offset + r->received > max)
		err_set_status(&r->err, 413,
			       "an object may have %" PRIu64 " bytes", max);
}

/* One read into the ring; false when there is no more for now. */
static bool read_once(struct receive *r)
{
	struct ring_room room = ring_reserve(r->feed.ring, 0);
	size_t n = 0;

	if (room.len == 0)
		return false;
	switch (http_body_read(r->op.x, room.ptr, room.len, &n, &r->err)) {
	case HTTP_BODY_DATA:
		take_bytes(r, n);
		return true;
	case HTTP_BODY_AGAIN:
		return false;
	case HTTP_BODY_END:
		note_body_end(r);
		return false;
	case HTTP_BODY_BAD:
		r->client_gone = r->err.status == 0;
		return false;
	}
	return false;
}

/* Receive and write until one of the two has to wait. */
static void move_bytes(struct receive *r)
{
	bool more = true;

	while (more) {
		more = !r->body_ended && !err_is_set(&r->err) && read_once(r);
		feed_pump(&r->feed);
	}
	atomic_store(&r->entry->offset, sink_offset(r->sink));
}

/* A PATCH that fails keeps what arrived, if the store could take it. */
static bool keeps_bytes(const struct receive *r)
{
	return r->append && !r->deleted && !err_is_set(&r->feed.err);
}

static void step_body(struct receive *r)
{
	bool failed;

	move_bytes(r);
	if (err_is_set(&r->feed.err) && !err_is_set(&r->err))
		r->err = r->feed.err;
	failed = err_is_set(&r->err);
	if (feed_is_busy(&r->feed))
		return;
	if (failed && !keeps_bytes(r))
		enter(r, RECEIVE_ABORTING);
	else if (feed_is_drained(&r->feed) && (failed || r->body_ended))
		enter(r, r->append ? RECEIVE_SUSPENDING : RECEIVE_STAGING);
}

/* ---- what follows each operation ----------------------------------------- */

/* Take over the operation's error, if it had one: true. */
static bool op_failed(struct receive *r)
{
	if (err_is_set(&r->op_err) && !err_is_set(&r->err))
		r->err = r->op_err;
	return err_is_set(&r->err);
}

static void after_looking(struct receive *r)
{
	bool found = !err_is_set(&r->op_err);

	if (found) {
		r->committed_before = !err_is_set(&r->err);
		err_set(&r->err, ERR_CONFLICT, "it is committed already");
	} else if (r->op_err.code != ERR_NOT_FOUND || !r->entry) {
		op_failed(r);
	}
	if (err_is_set(&r->err))
		give_up(r);
	else if (r->append && store_can_resume(r->op.thread->reader->store))
		enter(r, RECEIVE_RESUMING);
	else
		enter(r, RECEIVE_OPENING);
}

/* There is something to go on with, maybe not where the client thinks. */
static void after_resuming(struct receive *r)
{
	bool found = !err_is_set(&r->op_err);

	if (!found && r->op_err.code == ERR_NOT_FOUND && r->sink) {
		enter(r, RECEIVE_DROPPING);
	} else if (op_failed(r)) {
		give_up(r);
	} else if (sink_offset(r->sink) == r->head.offset) {
		enter(r, RECEIVE_BODY);
	} else {
		r->elsewhere = true;
		err_set(&r->err, ERR_CONFLICT,
			"Upload-Offset is not where the object ends");
		enter(r, RECEIVE_SUSPENDING);
	}
}

/* Nothing to go on with: then it may only begin. */
static void after_dropping(struct receive *r)
{
	r->sink = r->entry->sink = NULL;
	if (r->head.offset > 0)
		err_set(&r->err, ERR_NOT_FOUND, "there is no such object");
	if (err_is_set(&r->err))
		give_up(r);
	else
		enter(r, RECEIVE_OPENING);
}

static void check_digest(struct receive *r)
{
	const char *stored = sink_object(r->sink)->sha256;

	if (r->head.sha256[0] && strcmp(r->head.sha256, stored) != 0)
		err_set(&r->err, ERR_CLIENT,
			"the content's sha-256 is %s, not %s as promised",
			stored, r->head.sha256);
}

static void note_deleted(struct receive *r)
{
	r->deleted = true;
	err_set(&r->err, ERR_CONFLICT,
		"the object was deleted while it was received");
}

/*
 * Nothing of a paused object rests here whose store keeps all of it: another
 * process may go on with it, and what this one knew would be out of date then.
 */
static bool can_be_left(const struct receive *r)
{
	return !sink_is_staged(r->sink) &&
	       store_can_resume(r->op.thread->reader->store);
}

static bool leave(struct receive *r)
{
	if (!staging_leave(&r->entry))
		return false;
	sink_leave(&r->sink);
	return true;
}

static bool rest(struct receive *r)
{
	struct staged *entry = r->entry;
	bool complete = sink_is_staged(r->sink);

	memcpy(entry->sha256, r->head.object.sha256, DIGEST_HEX_SIZE);
	atomic_store(&entry->offset, r->head.object.size);
	if (!staging_rest(entry, complete ? STAGED_COMPLETE : STAGED_PARTIAL,
			  clock_monotonic_ms()))
		return false;
	r->entry = NULL;
	r->sink = NULL;
	return true;
}

/* Let the object rest; false when it has to be deleted instead. */
static bool put_to_rest(struct receive *r)
{
	const struct object *object = sink_object(r->sink);

	r->head.object.size = sink_offset(r->sink);
	memcpy(r->head.object.sha256, object->sha256, DIGEST_HEX_SIZE);
	if (can_be_left(r) ? leave(r) : rest(r))
		return true;
	note_deleted(r);	/* on_abort() is still on its way */
	return false;
}

static void after_staging(struct receive *r)
{
	if (!op_failed(r))
		check_digest(r);
	metric_observe_ms(r->op.thread->reader->metrics.stage_seconds,
			  (clock_monotonic_us() - r->stage_began_us) / 1000);
	if (err_is_set(&r->err) || !put_to_rest(r))
		give_up(r);
	else
		enter_end(r, true);
}

static void after_suspending(struct receive *r)
{
	bool failed = err_is_set(&r->op_err);

	op_failed(r);
	if (failed || !put_to_rest(r))
		give_up(r);
	else
		enter_end(r, true);
}

static void step(struct receive *r)
{
	if (r->busy)
		return;
	switch (r->state) {
	case RECEIVE_CLEARING:
		if (err_is_set(&r->err))
			give_up(r);
		else
			enter(r, RECEIVE_LOOKING);
		break;
	case RECEIVE_LOOKING:
		after_looking(r);
		break;
	case RECEIVE_RESUMING:
		after_resuming(r);
		break;
	case RECEIVE_DROPPING:
		after_dropping(r);
		break;
	case RECEIVE_OPENING:
		if (op_failed(r))
			give_up(r);
		else
			enter(r, RECEIVE_BODY);
		break;
	case RECEIVE_BODY:
		step_body(r);
		break;
	case RECEIVE_STAGING:
		after_staging(r);
		break;
	case RECEIVE_SUSPENDING:
		after_suspending(r);
		break;
	case RECEIVE_ABORTING:
		r->sink = r->entry->sink = NULL;
		enter_end(r, false);
		break;
	case RECEIVE_STARTING:
	case RECEIVE_ENDED:
		break;
	}
}

static void receive_pump(struct receive *r)
{
	r->again = true;
	if (r->pumping)
		return;
	r->pumping = true;
	while (r->again) {
		r->again = false;
		step(r);
	}
	r->pumping = false;
}

/* ---- events -------------------------------------------------------------- */

static void on_body(void *arg)
{
	receive_pump(arg);
}

/* The exchange ended while we were at work. */
static void on_gone(void *arg)
{
	struct receive *r = arg;

	if (!r->body_ended) {
		r->client_gone = true;
		err_set(&r->err, ERR_CLIENT,
			"the client went away before the end of the body");
	}
	receive_pump(r);
}

/* Another request deletes the object; see staging.h. */
static void on_abort(void *arg)
{
	struct receive *r = arg;

	note_deleted(r);
	receive_pump(r);
}

static const struct http_exchange_ops receive_ops = {
	.on_body = on_body,
	.on_end = operation_on_end,
};

/* ---- admission ----------------------------------------------------------- */

static void start(struct receive *r, struct http_exchange *x,
		  enum receive_state state)
{
	r->op.on_gone = on_gone;
	operation_attach(&r->op, x, &receive_ops);
	r->sink = r->entry ? r->entry->sink : NULL;
	if (state == RECEIVE_CLEARING)
		r->sink = NULL;
	r->pumping = true;
	enter(r, state);
	r->pumping = false;
	receive_pump(r);
}

/* Not begun, and not attached: the caller answers. */
static void refuse(struct receive *r, struct http_exchange *x,
		   const char *reason)
{
	(void)span_to_string(span_of(http_peer(x)), r->op.peer,
			     sizeof(r->op.peer));
	err_set(&r->err, ERR_CONFLICT, "%s", reason);
	end(r, false);
}

static void refuse_held(struct receive *r, struct http_exchange *x,
			uint64_t seconds)
{
	refuse(r, x, "in use by another request");
	answer_held(x, r->head.object.id, seconds);
}

static void refuse_full(struct receive *r, struct http_exchange *x)
{
	err_set(&r->err, ERR_LIMIT, "too many objects wait for their commit");
	refuse(r, x, "");
	http_reply_problem(x, &r->err);
}

/* Whole seconds until an object that rests since `touched_ms` is replaced. */
static uint64_t seconds_fresh(uint64_t touched_ms, uint64_t now_ms)
{
	uint64_t until = touched_ms + FRESH_MS;

	return until > now_ms ? (until - now_ms + 999) / 1000 : 1;
}

/* Claim the object from its first byte. */
static void create(struct receive *r, struct http_exchange *x)
{
	struct reader_thread *thread = r->op.thread;
	struct staging_holder holder = { thread->loop, on_abort, r };
	uint64_t now = clock_monotonic_ms(), touched = 0;

	switch (staging_create(thread->reader->staging, r->head.object.id,
			       &holder, now > FRESH_MS ? now - FRESH_MS : 0,
			       &r->entry, &touched)) {
	case STAGING_NEW:
		atomic_store(&r->entry->offset, r->head.offset);
		start(r, x, RECEIVE_LOOKING);
		break;
	case STAGING_TAKEN:
		start(r, x, RECEIVE_CLEARING);
		break;
	case STAGING_FRESH:
		refuse_held(r, x, seconds_fresh(touched, now));
		break;
	case STAGING_FULL:
		refuse_full(r, x);
		break;
	case STAGING_HELD:
	case STAGING_UNKNOWN:
	case STAGING_ELSEWHERE:
		refuse_held(r, x, 1);
		break;
	}
}

/* Claim the object where its bytes end, or from its first byte. */
static void append(struct receive *r, struct http_exchange *x)
{
	struct reader_thread *thread = r->op.thread;
	struct staging_holder holder = { thread->loop, on_abort, r };
	uint64_t end_offset = 0;

	switch (staging_append(thread->reader->staging, r->head.object.id,
			       r->head.offset, &holder, &r->entry,
			       &end_offset)) {
	case STAGING_TAKEN:
		start(r, x, RECEIVE_BODY);
		break;
	case STAGING_ELSEWHERE:
		refuse(r, x, "Upload-Offset is not where the object ends");
		answer_wrong_offset(x, end_offset);
		break;
	case STAGING_UNKNOWN:
		if (r->head.offset == 0 ||
		    store_can_resume(thread->reader->store))
			create(r, x);
		else
			start(r, x, RECEIVE_LOOKING);
		break;
	case STAGING_HELD:
	case STAGING_NEW:
	case STAGING_FRESH:
	case STAGING_FULL:
		refuse_held(r, x, 1);
		break;
	}
}

typedef int read_head_fn(struct upload_head *head, struct http_exchange *x,
			 const char *id, uint64_t max_bytes, struct err *err);

/* An operation whose head is understood and within the limits, or NULL. */
static struct receive *admit(struct reader_thread *thread,
			     struct http_exchange *x, const char *id,
			     read_head_fn *read_head)
{
	struct receive *r = operation_new(thread, sizeof(*r));
	struct reader *reader = thread->reader;
	struct err err = ERR_INIT;

	if (!r) {
		err_set(&err, ERR_MEMORY, "out of memory for an upload");
		http_reply_problem(x, &err);
		return NULL;
	}
	if (read_head(&r->head, x, id, reader->settings->max_upload_bytes,
		      &r->err) == 0)
		r->counted = reader_upload_began(reader, &r->err) == 0;
	if (r->counted)
		return r;
	refuse(r, x, "");
	http_reply_problem(x, &r->err);
	return NULL;
}

void receive_put(struct reader_thread *thread, struct http_exchange *x,
		 const char *id)
{
	struct receive *r = admit(thread, x, id, upload_head_of_put);

	if (r)
		create(r, x);
}

void receive_patch(struct reader_thread *thread, struct http_exchange *x,
		   const char *id)
{
	struct receive *r = admit(thread, x, id, upload_head_of_patch);

	if (!r)
		return;
	r->append = true;
	append(r, x);
}
