/*
 * One pump over the sequence that intake.h tells: OBJECT opens a sink,
 * OBJECT_END stages it, END commits them all. See receive.c for how a pump
 * works.
 */
#include "reader/form_upload.h"

#include "common/clock.h"
#include "common/intake.h"
#include "common/json.h"
#include "common/log.h"

#include "reader/answers.h"
#include "reader/details.h"
#include "reader/feed.h"
#include "reader/upload_head.h"

#define FORM_STATES(X)                                      \
	X(READING, "the form arrives")                      \
	X(OPENING, "does the store accept the next object?") \
	X(STAGING, "the store completes an object")         \
	X(COMMITTING, "all are complete: one by one visible") \
	X(ABORTING, "one by one removed")                   \
	X(ENDED, "answered, if there is still somebody")

#define FORM_STATE_NAME(name, meaning) FORM_##name,
enum form_state { FORM_STATES(FORM_STATE_NAME) };
#undef FORM_STATE_NAME

struct form {
	struct operation op;
	enum form_state state;
	bool busy;			/* the state's operation runs */
	bool part_ended;
	bool form_ended;
	bool client_gone;
	bool pumping, again;
	struct intake intake;
	struct feed feed;
	size_t n_sinks;
	size_t next;			/* to be committed or aborted */
	struct sink *sinks[MULTIPART_MAX_PARTS];
	struct err err;			/* why it fails; the first wins */
	struct err op_err;		/* of the operation that ended last */
};

static void form_pump(struct form *f);

/* ---- the answer ---------------------------------------------------------- */

static void answer_envelope(struct http_exchange *x, int status,
			    const char *message, uint64_t ms, json_t *objects)
{
	json_t *data = json_pack("{s:I}", "duration", (json_int_t)ms);

	if (objects)
		json_object_set_new(data, "objects", objects);
	answer_json(x, status,
		    json_pack("{s:i, s:o, s:o}", "status", status, "message",
			      json_text(span_of(message)), "data", data));
}

/* The envelope of an error. */
static void answer_error(struct http_exchange *x, const struct err *err,
			 uint64_t ms)
{
	answer_envelope(x, err_http_status(err), err->text, ms, NULL);
}

static json_t *objects_of(const struct form *f)
{
	json_t *objects = json_array();

	for (size_t i = 0; i < f->n_sinks; i++)
		json_add(&objects, object_to_json(sink_object(f->sinks[i])));
	return objects;
}

static void answer(const struct form *f)
{
	if (f->client_gone)
		http_abort(f->op.x);
	else if (err_is_set(&f->err))
		answer_error(f->op.x, &f->err, operation_ms(&f->op));
	else
		answer_envelope(f->op.x, 200, "file uploaded with success",
				operation_ms(&f->op), objects_of(f));
}

static void report(const struct form *f, size_t n_objects)
{
	struct metric *const *uploads = f->op.thread->reader->metrics.uploads;
	enum upload_result result = UPLOAD_COMMITTED;

	if (err_is_set(&f->err))
		result = f->client_gone ? UPLOAD_ABORTED : UPLOAD_FAILED;
	metric_add(uploads[result], n_objects ? (int64_t)n_objects : 1);
	log_line(result == UPLOAD_FAILED ? LOG_WARN : LOG_INFO, "form_upload",
		 LOG_STR("result", upload_result_name(result)),
		 LOG_U64("objects", n_objects),
		 LOG_U64("bytes", f->intake.received),
		 LOG_U64("ms", operation_ms(&f->op)),
		 LOG_STR("peer", f->op.peer), LOG_STR("reason", f->err.text));
}

static void report_objects(const struct form *f)
{
	for (size_t i = 0; i < f->n_sinks; i++)
		log_line(LOG_INFO, "upload",
			 LOG_STR("id", sink_object(f->sinks[i])->id),
			 LOG_STR("result", "committed"),
			 LOG_STR("name", sink_object(f->sinks[i])->name),
			 LOG_U64("bytes", sink_object(f->sinks[i])->size),
			 LOG_STR("peer", f->op.peer));
}

/* ---- states -------------------------------------------------------------- */

#define BIT(state) (1u << FORM_##state)

static const struct {
	const char *name;
	unsigned int next;
} states[] = {
	[FORM_READING] = { "reading", BIT(OPENING) | BIT(STAGING) |
					      BIT(COMMITTING) | BIT(ABORTING) },
	[FORM_OPENING] = { "opening", BIT(READING) | BIT(ABORTING) },
	[FORM_STAGING] = { "staging", BIT(READING) | BIT(ABORTING) },
	[FORM_COMMITTING] = { "committing", BIT(ABORTING) | BIT(ENDED) },
	[FORM_ABORTING] = { "aborting", BIT(ENDED) },
	[FORM_ENDED] = { "ended", 0 },
};

/* The only place where the state is assigned. */
static void set_state(struct form *f, enum form_state state)
{
	CHECK(!f->busy && (states[f->state].next & (1u << state)));
	if (log_enabled(LOG_DEBUG))
		log_line(LOG_DEBUG, "form_state",
			 LOG_STR("peer", f->op.peer),
			 LOG_STR("from", states[f->state].name),
			 LOG_STR("to", states[state].name));
	f->state = state;
	f->next = 0;
	f->again = true;
}

static void on_operation_ended(void *arg, const struct err *err)
{
	struct form *f = arg;

	f->busy = false;
	f->op_err = err ? *err : ERR_INIT;
	form_pump(f);
}

static void on_feed_progress(void *arg)
{
	form_pump(arg);
}

/* Take over the operation's error, if it had one: true. */
static bool op_failed(struct form *f)
{
	if (err_is_set(&f->op_err) && !err_is_set(&f->err))
		f->err = f->op_err;
	return err_is_set(&f->err);
}

static void end(struct form *f)
{
	size_t n_objects = f->n_sinks;

	set_state(f, FORM_ENDED);
	report(f, n_objects);
	if (!err_is_set(&f->err))
		report_objects(f);
	feed_release(&f->feed);
	intake_release(&f->intake);
	reader_upload_ended(f->op.thread->reader);
	if (f->op.x)
		answer(f);
	for (size_t i = 0; i < f->n_sinks; i++)
		sink_close(&f->sinks[i]);
	operation_finish(&f->op);
}

static int describe_part(const struct form *f, struct object *object,
			 struct err *err)
{
	*object = (struct object){ .size = OBJECT_SIZE_UNKNOWN };
	uuid_v7(clock_wall_ms(), object->id);
	if (!span_to_string(span_of(f->intake.name), object->name,
			    sizeof(object->name)))
		return err_set(err, ERR_CLIENT, "a file name is too long");
	object_set_type(object, span_of(f->intake.content_type));
	return 0;
}

/* A part's sink is noted first, so that it is aborted if it fails. */
static void enter_opening(struct form *f)
{
	struct reader_thread *thread = f->op.thread;
	struct object object;

	if (describe_part(f, &object, &f->err) < 0)
		return;
	set_state(f, FORM_OPENING);
	f->busy = true;
	CHECK(f->n_sinks < MULTIPART_MAX_PARTS);
	f->feed.sink = sink_open(thread->reader->store, &object, thread->loop,
				 on_operation_ended, f);
	if (f->feed.sink) {
		f->sinks[f->n_sinks++] = f->feed.sink;
		return;
	}
	f->busy = false;
	err_set(&f->err, ERR_MEMORY, "out of memory for an object");
}

static void enter_staging(struct form *f)
{
	set_state(f, FORM_STAGING);
	f->part_ended = false;
	f->busy = true;
	sink_stage(f->feed.sink, f->op.thread->loop, on_operation_ended, f);
}

/* Fields may stand behind the files: only now are all of them known. */
static void describe_all(struct form *f)
{
	struct object_details details;

	if (!f->intake.metadata)
		return;
	details_from_metadata(&details, f->intake.metadata);
	for (size_t i = 0; i < f->n_sinks; i++)
		sink_describe(f->sinks[i], &details);
}

static void enter_committing(struct form *f)
{
	if (f->n_sinks > 0) {
		describe_all(f);
		set_state(f, FORM_COMMITTING);
		return;
	}
	err_set(&f->err, ERR_CLIENT, "the form has no file");
	set_state(f, FORM_ABORTING);
}

/* ---- reading ------------------------------------------------------------- */

/* One event; false when there is nothing to read, or another state. */
static bool read_once(struct form *f)
{
	switch (intake_next(&f->intake, f->feed.ring, &f->err)) {
	case INTAKE_DATA:
		return true;
	case INTAKE_OBJECT:
		enter_opening(f);
		return false;
	case INTAKE_OBJECT_END:
		f->part_ended = true;
		return false;
	case INTAKE_END:
		f->form_ended = true;
		return false;
	case INTAKE_BAD:
		f->client_gone = f->err.status == 0 &&
				 f->err.code == ERR_CLIENT;
		return false;
	case INTAKE_AGAIN:
	case INTAKE_FULL:
		break;
	}
	return false;
}

static void move_bytes(struct form *f)
{
	uint64_t before = f->intake.received;
	bool more = true;

	while (more && f->state == FORM_READING) {
		more = !f->part_ended && !f->form_ended &&
		       !err_is_set(&f->err) && read_once(f);
		if (f->state == FORM_READING)
			feed_pump(&f->feed);
	}
	metric_add(f->op.thread->reader->metrics.bytes_received,
		   (int64_t)(f->intake.received - before));
}

static void step_reading(struct form *f)
{
	move_bytes(f);
	if (f->state != FORM_READING || feed_is_busy(&f->feed))
		return;
	if (err_is_set(&f->feed.err) && !err_is_set(&f->err))
		f->err = f->feed.err;
	if (err_is_set(&f->err))
		set_state(f, FORM_ABORTING);
	else if (f->part_ended && feed_is_drained(&f->feed))
		enter_staging(f);
	else if (f->form_ended)
		enter_committing(f);
}

/* ---- one after the other ------------------------------------------------- */

static void step_committing(struct form *f)
{
	if (f->next > 0 && op_failed(f)) {
		set_state(f, FORM_ABORTING);
		return;
	}
	if (f->next == f->n_sinks) {
		end(f);
		return;
	}
	f->busy = true;
	sink_commit(f->sinks[f->next++], f->op.thread->loop,
		    on_operation_ended, f);
}

/* Also those that are committed already: nobody was told of them. */
static void step_aborting(struct form *f)
{
	if (f->next == f->n_sinks) {
		f->n_sinks = 0;
		end(f);
		return;
	}
	f->busy = true;
	sink_abort(f->sinks[f->next++], f->op.thread->loop,
		   on_operation_ended, f);
}

static void step(struct form *f)
{
	if (f->busy)
		return;
	switch (f->state) {
	case FORM_READING:
		step_reading(f);
		break;
	case FORM_OPENING:
	case FORM_STAGING:
		set_state(f, op_failed(f) ? FORM_ABORTING : FORM_READING);
		break;
	case FORM_COMMITTING:
		step_committing(f);
		break;
	case FORM_ABORTING:
		step_aborting(f);
		break;
	case FORM_ENDED:
		break;
	}
}

static void form_pump(struct form *f)
{
	f->again = true;
	if (f->pumping)
		return;
	f->pumping = true;
	while (f->again) {
		f->again = false;
		step(f);
	}
	f->pumping = false;
}

/* ---- events -------------------------------------------------------------- */

static void on_body(void *arg)
{
	form_pump(arg);
}

static void on_gone(void *arg)
{
	struct form *f = arg;

	if (!f->form_ended) {
		f->client_gone = true;
		err_set(&f->err, ERR_CLIENT,
			"the client went away before the end of the form");
	}
	form_pump(f);
}

static const struct http_exchange_ops form_ops = {
	.on_body = on_body,
	.on_end = operation_on_end,
};

/* ---- admission ----------------------------------------------------------- */

static int check_head(struct http_exchange *x, struct err *err)
{
	struct span type = http_request_field(x, "Content-Type");

	if (!multipart_is_form(type))
		return err_set(err, ERR_CLIENT,
			       "Request is not multipart, ignoring: %.*s",
			       type.len < 100 ? (int)type.len : 100,
			       type.ptr ? type.ptr : "");
	if (!http_has_body(x))
		return err_set_status(err, 411, "a form needs a body");
	return 0;
}

/* Everything a form needs, or the reason. */
static int prepare(struct form *f, struct http_exchange *x)
{
	struct reader_thread *thread = f->op.thread;

	if (check_head(x, &f->err) < 0 ||
	    intake_init(&f->intake, x, true, &f->err) < 0)
		return -1;
	intake_keep_fields(&f->intake);
	if (intake_take_metadata(&f->intake, &f->err) < 0 ||
	    feed_init(&f->feed, thread, on_feed_progress, f, &f->err) < 0)
		return -1;
	return reader_upload_began(thread->reader, &f->err);
}

static void refuse(struct form *f, struct http_exchange *x)
{
	metric_add(f->op.thread->reader->metrics.uploads[UPLOAD_REFUSED], 1);
	log_line(LOG_INFO, "form_upload", LOG_STR("result", "refused"),
		 LOG_STR("peer", http_peer(x)), LOG_STR("reason", f->err.text));
	answer_error(x, &f->err, operation_ms(&f->op));
	feed_release(&f->feed);
	intake_release(&f->intake);
	operation_finish(&f->op);
}

void form_upload(struct reader_thread *thread, struct http_exchange *x)
{
	struct form *f = operation_new(thread, sizeof(*f));
	struct err err = ERR_INIT;

	if (!f) {
		err_set(&err, ERR_MEMORY, "out of memory for a form");
		answer_error(x, &err, 0);
		return;
	}
	if (prepare(f, x) < 0) {
		refuse(f, x);
		return;
	}
	f->op.on_gone = on_gone;
	operation_attach(&f->op, x, &form_ops);
	http_continue(x);
	form_pump(f);
}
