#include "broadcaster/ingest.h"

#include "broadcaster/lookup.h"
#include "broadcaster/progress.h"
#include "broadcaster/receipt.h"
#include "common/clock.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>

#define TICK_MS 250u
#define ROUNDS_PER_TURN 8u	/* ring fillings before others get their turn */

const char *ingest_state_name(enum ingest_state state)
{
	static const char *const names[] = {
#define X(name, text) [INGEST_##name] = text,
		INGEST_STATES(X)
#undef X
	};

	return names[state];
}

#define TO(s) (1u << INGEST_##s)

static const unsigned int transitions[] = {
	[INGEST_LOOKING] = TO(OPENING) | TO(ABORTING) | TO(ANSWERED),
	[INGEST_OPENING] = TO(READING) | TO(ABORTING),
	[INGEST_READING] = TO(COMMITTING) | TO(ABORTING),
	[INGEST_COMMITTING] = TO(ABORTING) | TO(ANSWERED),
	[INGEST_ABORTING] = TO(ANSWERED),
	[INGEST_ANSWERED] = 0,
};

static void pump(void *arg);

static struct front_shared *shared_of(const struct ingest *in)
{
	return in->front->shared;
}

/* The one place where the state changes. */
static void enter(struct ingest *in, enum ingest_state state)
{
	CHECK(transitions[in->state] & 1u << state);
	if (log_enabled(LOG_DEBUG))
		log_line(LOG_DEBUG, "upload_state", LOG_STR("id", in->id),
			 LOG_STR("from", ingest_state_name(in->state)),
			 LOG_STR("to", ingest_state_name(state)));
	in->state = state;
}

static void wake(void *arg)
{
	struct ingest *in = arg;

	loop_defer(in->front->loop, &in->pump, pump, in);
}

/* ---- end ----------------------------------------------------------------- */

static void free_ingest(void *arg)
{
	free(arg);
}

static void leave_list(struct ingest *in)
{
	*in->link = in->next;
	if (in->next)
		in->next->link = in->link;
	atomic_fetch_sub(&shared_of(in)->n_uploads, 1);
	metric_add(shared_of(in)->uploads_active, -1);
}

/* The exchange is over and nothing is under way: give everything back. */
static void release(struct ingest *in)
{
	leave_list(in);
	timer_stop(&in->tick);
	loop_undefer(in->front->loop, &in->pump);
	lookup_cancel(&in->lookup);
	for (unsigned int i = 0; i < in->n_objects; i++)
		broadcast_free(&in->objects[i]);
	intake_release(&in->intake);
	front_give_ring(in->front, &in->ring);
	loop_bury(in->front->loop, &in->grave, free_ingest, in);
}

static struct metric *result_metric(const struct ingest *in, int status)
{
	const struct front_shared *s = shared_of(in);

	if (status == 499)
		return s->uploads_client_aborted;
	if (status >= 300)
		return s->uploads_failed;
	for (unsigned int i = 0; i < in->n_objects; i++)
		if (receipt_is_degraded(in->objects[i]))
			return s->uploads_degraded;
	return s->uploads_created;
}

static void log_targets(const struct broadcast *b)
{
	for (unsigned int i = 0; i < b->front->n_outlets; i++) {
		const struct leg *leg = &b->legs[i];
		bool is_good = leg->state == LEG_COMMITTED;

		log_line(is_good ? LOG_DEBUG : LOG_WARN, "target",
			 LOG_STR("id", b->info.id),
			 LOG_STR("target", leg->outlet->target->name),
			 LOG_STR("state", leg_state_name(leg->state)),
			 LOG_U64("bytes", leg->cursor.position),
			 LOG_U64("ms", leg_duration_ms(leg)),
			 LOG_STR("error", leg->err.text));
	}
}

/* One line an upload, one line a target. */
static void log_upload(const struct ingest *in, int status)
{
	log_line(status < 300 ? LOG_INFO : LOG_WARN, "upload",
		 LOG_STR("id", in->id),
		 LOG_STR("client", in->x ? http_peer(in->x) : "gone"),
		 LOG_U64("status", (uint64_t)status),
		 LOG_U64("objects", in->n_objects),
		 LOG_U64("bytes", in->intake.received),
		 LOG_U64("ms", loop_now_ms(in->front->loop) - in->started_ms),
		 LOG_STR("error", in->err.text));
	for (unsigned int i = 0; i < in->n_objects; i++)
		log_targets(in->objects[i]);
}

/* Everything is decided: tell the client, when it is still there. */
static void answer(struct ingest *in)
{
	int status = in->x ? receipt_status(in) : 499;

	if (!in->x && in->state == INGEST_COMMITTING)
		status = receipt_status(in);
	log_upload(in, status);
	metric_add(result_metric(in, status), 1);
	metric_observe_ms(shared_of(in)->upload_seconds,
			  loop_now_ms(in->front->loop) - in->started_ms);
	enter(in, INGEST_ANSWERED);
	timer_stop(&in->tick);
	progress_finish(in);
	if (in->x)
		receipt_send(in);
	else
		release(in);
}

static void on_end(void *owner)
{
	struct ingest *in = owner;

	in->x = NULL;
	in->intake.x = NULL;
	if (in->state == INGEST_ANSWERED)
		release(in);
	else
		wake(in);
}

/* ---- failing ------------------------------------------------------------- */

static void fail(struct ingest *in, const struct err *why)
{
	if (in->state == INGEST_ABORTING || in->state == INGEST_ANSWERED)
		return;
	if (!err_is_set(&in->err))
		in->err = *why;
	lookup_cancel(&in->lookup);
	enter(in, INGEST_ABORTING);
	for (unsigned int i = 0; i < in->n_objects; i++)
		broadcast_undo(in->objects[i], why);
	wake(in);
}

void ingest_abort(struct ingest *in, const struct err *why)
{
	fail(in, why);
}

void ingest_drop(struct ingest *in)
{
	CHECK(!in->x);
	progress_finish(in);
	release(in);
}

static void client_is_gone(struct ingest *in, const char *how)
{
	struct err why = ERR_INIT;

	err_set(&why, ERR_CLIENT, "client_aborted: %s", how);
	fail(in, &why);
}

/* ---- objects ------------------------------------------------------------- */

/* C0, DEL, and C1: U+0080 to U+009F, which in UTF-8 begin with C2. */
static bool has_control(struct span name)
{
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.ptr[i];

		if (c < 0x20 || c == 0x7f ||
		    (c == 0xc2 && i + 1 < name.len &&
		     (unsigned char)name.ptr[i + 1] < 0xa0))
			return true;
	}
	return false;
}

int object_name_check(const char *name, struct err *err)
{
	struct span s = span_of(name);

	if (s.len >= OBJECT_NAME_SIZE || !http1_is_utf8(s))
		return err_set(err, ERR_CLIENT,
			       "a name is UTF-8 of at most %d bytes",
			       OBJECT_NAME_SIZE - 1);
	if (has_control(s))
		return err_set(err, ERR_CLIENT,
			       "a name holds no control characters");
	if (memchr(name, '/', s.len) || memchr(name, '\\', s.len) ||
	    !strcmp(name, ".") || !strcmp(name, ".."))
		return err_set(err, ERR_CLIENT,
			       "a name holds no / and no \\, and is not . or ..");
	return 0;
}

/* What a browser of old sends as a file name may be a whole path (RFC 7578, 4.2). */
static const char *last_component(const char *name)
{
	const char *last = name;

	for (; *name; name++)
		if (*name == '/' || *name == '\\')
			last = name + 1;
	return last;
}

/*
 * Without a media type the readers look at the content. curl --data-binary says
 * form-urlencoded of anything: that is none.
 */
static void set_type(struct broadcast *b, struct span type)
{
	struct span rest = type;
	struct span essence = span_trim(span_cut(&rest, ';'));

	if (!http1_is_media_type(type) ||
	    span_eq_nocase(essence,
			   SPAN_LIT("application/x-www-form-urlencoded")) ||
	    !span_to_string(type, b->info.content_type,
			    sizeof(b->info.content_type)))
		snprintf(b->info.content_type, sizeof(b->info.content_type),
			 "application/octet-stream");
}

/* The n-th object's id: new, or from the key, so that any instance finds it. */
static void make_id(const struct ingest *in, unsigned int n, char *id)
{
	char name[sizeof(in->key) + 16];

	if (!*in->key) {
		uuid_v7(clock_wall_ms(), id);
		return;
	}
	snprintf(name, sizeof(name), "%u %s", n, in->key);
	uuid_from_name("idempotency-key", span_of(name), id);
}

static struct broadcast *add_object(struct ingest *in)
{
	struct err why = ERR_INIT;
	struct broadcast *b = broadcast_new(in->front, in->ring, wake, in);

	if (!b) {
		err_set(&why, ERR_MEMORY, "out of memory for an object");
		fail(in, &why);
		return NULL;
	}
	make_id(in, in->n_objects, b->info.id);
	b->is_keyed = *in->key != '\0';
	if (in->n_objects == 0)
		memcpy(in->id, b->info.id, sizeof(in->id));
	in->objects[in->n_objects++] = b;
	in->current = b;
	return b;
}

/* A part of a form begins: its name and type are known only now. */
static void begin_part(struct ingest *in)
{
	struct err why = ERR_INIT;
	const char *name = last_component(in->intake.name);
	struct broadcast *b = in->current;

	if (!b) {
		b = add_object(in);
		if (!b)
			return;
		broadcast_open(b);
	}
	if (object_name_check(name, &why) < 0) {
		fail(in, &why);
		return;
	}
	snprintf(b->info.name, sizeof(b->info.name), "%s", name);
	set_type(b, span_of(in->intake.content_type));
	broadcast_offer(b);
	in->holds |= HOLD_OPENING;
}

/* ---- reading ------------------------------------------------------------- */

static void take_trailer_digest(struct ingest *in)
{
	const struct http1_trailers *trailers = http_trailers(in->x);
	struct err why = ERR_INIT;
	const char *field = *trailers->repr_digest ? trailers->repr_digest :
						     trailers->content_digest;

	if (in->is_form || !*field || *in->current->claimed)
		return;
	if (digest_parse_field(span_of(field), in->current->claimed, &why) < 0)
		fail(in, &why);
}

static void on_object_end(struct ingest *in)
{
	take_trailer_digest(in);
	broadcast_complete(in->current);
	in->holds |= HOLD_STAGING;
}

static void on_bad_body(struct ingest *in, const struct err *err)
{
	if (err->status == 0 && err->code == ERR_CLIENT)
		client_is_gone(in, err->text);
	else
		fail(in, err);
}

/* Read one event; false when there is nothing more to read now. */
static bool read_some(struct ingest *in)
{
	struct err err = ERR_INIT;
	uint64_t before = in->intake.received;
	enum intake_event event = intake_next(&in->intake, in->ring, &err);
	uint64_t n = in->intake.received - before;

	if (n > 0) {
		broadcast_feed(in->current, n);
		metric_add(shared_of(in)->received_bytes, (int64_t)n);
	}
	switch (event) {
	case INTAKE_DATA:
		return true;
	case INTAKE_AGAIN:
		return false;
	case INTAKE_FULL:
		in->holds |= HOLD_RING_FULL;
		if (in->current)
			broadcast_hold(in->current, true);
		return false;
	case INTAKE_OBJECT:
		if (in->is_form)
			begin_part(in);
		return true;
	case INTAKE_OBJECT_END:
		on_object_end(in);
		return true;
	case INTAKE_END:
		in->body_ended = true;
		return false;
	case INTAKE_BAD:
		on_bad_body(in, &err);
		return false;
	}
	return false;
}

static bool may_read(const struct ingest *in)
{
	return in->holds == 0 && in->x && !in->body_ended &&
	       in->state == INGEST_READING;
}

/* Fill the ring at most once. */
static void read_body(struct ingest *in)
{
	uint64_t limit = in->intake.received + ring_capacity(in->ring);

	while (may_read(in) && in->intake.received < limit && read_some(in))
		;
}

/* ---- the pump ------------------------------------------------------------ */

/* The object in hand is verified: the ring is free for the next one. */
static void put_aside(struct ingest *in)
{
	in->current = NULL;
	ring_reset(in->ring);
	in->holds &= ~(HOLD_STAGING | HOLD_RING_FULL);
}

static void update_holds(struct ingest *in)
{
	struct broadcast *b = in->current;

	if (!b)
		return;
	if (b->phase != BROADCAST_OPENING)
		in->holds &= ~HOLD_OPENING;
	if ((in->holds & HOLD_RING_FULL) &&
	    ring_used(in->ring) <= ring_capacity(in->ring) / 2) {
		in->holds &= ~HOLD_RING_FULL;
		broadcast_hold(b, false);
	}
	if (b->phase == BROADCAST_READY)
		put_aside(in);
}

static bool pump_objects(struct ingest *in)
{
	bool all_done = true;

	for (unsigned int i = 0; i < in->n_objects; i++) {
		struct broadcast *b = in->objects[i];

		if (!broadcast_is_done(b))
			broadcast_pump(b);
		all_done &= broadcast_is_done(b);
		if (b->phase == BROADCAST_ABORTING ||
		    b->phase == BROADCAST_ABORTED)
			fail(in, &b->err);
	}
	return all_done;
}

static void start_reading(struct ingest *in)
{
	enter(in, INGEST_READING);
	if (in->x)
		http_continue(in->x);
}

static void pump_opening(struct ingest *in)
{
	pump_objects(in);
	if (in->state != INGEST_OPENING)
		return;
	if (!in->is_form && in->current->phase == BROADCAST_STREAMING)
		start_reading(in);
	else if (in->is_form && broadcast_is_connected(in->current))
		start_reading(in);
}

/* A form without a file, or all objects verified: the end of reading. */
static void end_reading(struct ingest *in)
{
	struct err why = ERR_INIT;

	if (in->current && in->is_form && !in->current->context.is_offered) {
		err_set(&why, ERR_CLIENT, "the form holds no file");
		fail(in, &why);
		return;
	}
	if (in->current)
		return;
	enter(in, INGEST_COMMITTING);
	for (unsigned int i = 1; i < in->n_objects; i++)
		broadcast_commit(in->objects[i], in->intake.metadata);
}

/* Tee: read, send, read on, as long as it moves, up to a turn's share. */
static void pump_reading(struct ingest *in)
{
	unsigned int rounds = 0, held;
	uint64_t before;

	do {
		before = in->intake.received;
		held = in->holds;
		read_body(in);
		held |= in->holds;
		pump_objects(in);
		update_holds(in);
		if (in->body_ended && in->state == INGEST_READING)
			end_reading(in);
	} while (may_read(in) &&
		 (in->intake.received > before || held != in->holds) &&
		 ++rounds < ROUNDS_PER_TURN);
	if (rounds == ROUNDS_PER_TURN)
		wake(in);
}

/*
 * The first file of a form is committed when all others are: whoever finds it
 * by its Idempotency-Key may rely on the whole form, whatever happens meanwhile.
 */
static void pump_committing(struct ingest *in)
{
	pump_objects(in);
	for (unsigned int i = 1; i < in->n_objects; i++)
		if (!broadcast_is_done(in->objects[i]))
			return;
	if (in->state == INGEST_COMMITTING &&
	    in->objects[0]->phase == BROADCAST_READY) {
		broadcast_commit(in->objects[0], in->intake.metadata);
		pump_objects(in);
	}
	if (in->state == INGEST_COMMITTING &&
	    broadcast_is_done(in->objects[0]))
		answer(in);
}

static void pump(void *arg)
{
	struct ingest *in = arg;

	if (!in->x && !in->body_ended)
		client_is_gone(in, "closed the connection");
	if (in->state == INGEST_OPENING)
		pump_opening(in);
	if (in->state == INGEST_READING)
		pump_reading(in);
	if (in->state == INGEST_COMMITTING)
		pump_committing(in);
	if (in->state == INGEST_ABORTING && pump_objects(in))
		answer(in);
}

static void update_rate(struct ingest *in)
{
	uint64_t now = loop_now_ms(in->front->loop);
	uint64_t ms = now - in->rate_ms;

	if (ms < 1000)
		return;
	in->rate = (in->intake.received - in->rate_bytes) * 1000 / ms;
	in->rate_bytes = in->intake.received;
	in->rate_ms = now;
}

static void on_tick(void *arg)
{
	struct ingest *in = arg;

	timer_start(&in->tick, TICK_MS);
	update_rate(in);
	for (unsigned int i = 0; i < in->n_objects; i++)
		broadcast_tick(in->objects[i]);
	progress_publish(in);
	wake(in);
}

/* ---- start --------------------------------------------------------------- */

static const struct http_exchange_ops exchange_ops = {
	.on_body = wake,
	.on_end = on_end,
};

static void open_targets(struct ingest *in)
{
	enter(in, INGEST_OPENING);
	broadcast_open(in->current);
	if (!in->is_form)
		broadcast_offer(in->current);
	wake(in);
}

/* The same key again must mean the same content (where the client says so). */
static bool contradicts(const struct broadcast *b, const struct leg *leg)
{
	return (*b->claimed && strcmp(b->claimed, leg->sha256) != 0) ||
	       (b->info.size != OBJECT_SIZE_UNKNOWN && !b->context.is_offered &&
		b->info.size != leg->size);
}

static const struct leg *adopted_leg(const struct broadcast *b)
{
	for (unsigned int i = 0; i < b->front->n_outlets; i++)
		if (b->legs[i].state == LEG_COMMITTED)
			return &b->legs[i];
	return NULL;
}

static void answer_repeated(struct ingest *in)
{
	in->is_repeated = true;
	in->body_ended = true;
	answer(in);
}

static void look_up(struct ingest *in);

/* All targets have said whether they hold an object of this key. */
static void on_looked_up(void *arg)
{
	struct ingest *in = arg;
	struct broadcast *b = in->current;
	const struct leg *leg = adopted_leg(b);
	struct err why = ERR_INIT;

	lookup_cancel(&in->lookup);
	if (leg && !in->is_form && contradicts(b, leg)) {
		err_set_status(&why, 422,
			       "this Idempotency-Key stands for another content");
		fail(in, &why);
	} else if (leg && broadcast_adopt(b)) {
		if (in->is_form && in->n_objects < INGEST_MAX_OBJECTS &&
		    add_object(in))
			look_up(in);
		else
			answer_repeated(in);
	} else if (in->is_form && in->n_objects > 1) {
		in->current = NULL;
		broadcast_free(&in->objects[--in->n_objects]);
		answer_repeated(in);
	} else if (leg && in->is_form) {
		err_set(&why, ERR_CONFLICT,
			"too few targets hold what this Idempotency-Key "
			"stands for");
		fail(in, &why);
	} else {
		open_targets(in);
	}
}

static void look_up(struct ingest *in)
{
	struct err why = ERR_INIT;

	in->lookup = lookup_start(in->current, on_looked_up, in);
	if (in->lookup)
		return;
	err_set(&why, ERR_MEMORY, "out of memory for a look-up");
	fail(in, &why);
}

/* Only readers say what they have stored. */
static bool has_reader(const struct front *front)
{
	for (unsigned int i = 0; i < front->n_outlets; i++)
		if (front->outlets[i].target->kind == TARGET_READER)
			return true;
	return false;
}

/* A digest that the client claims for a raw body, from its head. */
static int take_claim(struct ingest *in, struct err *err)
{
	struct span field = http_request_field(in->x, "Repr-Digest");
	int found;

	if (!field.ptr)
		field = http_request_field(in->x, "Content-Digest");
	if (!field.ptr && http_request_field(in->x, "Content-MD5").ptr)
		return err_set(err, ERR_CLIENT,
			       "Content-MD5 cannot be verified here; send "
			       "Repr-Digest: sha-256=:…:");
	if (!field.ptr)
		return 0;
	if (!has_reader(in->front))
		return err_set(err, ERR_CLIENT,
			       "no target here is a reader, which could verify "
			       "a digest");
	found = digest_parse_field(field, in->current->claimed, err);
	if (found == 0)
		return err_set(err, ERR_CLIENT,
			       "only sha-256 can be verified here; send "
			       "Repr-Digest: sha-256=:…:");
	return found < 0 ? -1 : 0;
}

static int describe_raw(struct ingest *in, struct err *err)
{
	const struct http1_head *head = http_request(in->x);
	struct broadcast *b = in->current;

	snprintf(b->info.name, sizeof(b->info.name), "%s", in->name);
	set_type(b, http_request_field(in->x, "Content-Type"));
	b->info.size = head->framing == HTTP1_CHUNKED ? OBJECT_SIZE_UNKNOWN :
							head->length;
	return take_claim(in, err);
}

static void enlist(struct ingest *in)
{
	struct front *front = in->front;

	in->next = front->uploads;
	in->link = &front->uploads;
	if (in->next)
		in->next->link = &in->next;
	front->uploads = in;
	metric_add(front->shared->uploads_active, 1);
}

static struct ingest *new_ingest(struct front *front, struct http_exchange *x,
				 const char *name, const char *key,
				 bool shows_id)
{
	struct ingest *in = calloc(1, sizeof(*in));

	if (!in)
		return NULL;
	in->ring = front_take_ring(front);
	if (!in->ring) {
		free(in);
		return NULL;
	}
	in->front = front;
	in->x = x;
	in->started_ms = loop_now_ms(front->loop);
	in->rate_ms = in->started_ms;
	in->is_form =
		multipart_is_form(http_request_field(x, "Content-Type"));
	in->shows_id = shows_id;
	snprintf(in->name, sizeof(in->name), "%s", name);
	snprintf(in->key, sizeof(in->key), "%s", key);
	timer_init(&in->tick, front->loop, on_tick, in);
	return in;
}

static void begin(struct ingest *in)
{
	struct err why = ERR_INIT;

	if (intake_init(&in->intake, in->x, in->is_form, &why) < 0 ||
	    intake_take_metadata(&in->intake, &why) < 0 || !add_object(in) ||
	    (!in->is_form && describe_raw(in, &why) < 0)) {
		fail(in, &why);
		return;
	}
	intake_keep_fields(&in->intake);
	timer_start(&in->tick, TICK_MS);
	if (*in->key)
		look_up(in);
	else
		open_targets(in);
}

/* Count it in, unless there are too many already. */
static bool admit(struct front *front)
{
	struct front_shared *shared = front->shared;

	if (atomic_fetch_add(&shared->n_uploads, 1) <
	    front->settings->max_uploads)
		return true;
	atomic_fetch_sub(&shared->n_uploads, 1);
	return false;
}

void ingest_start(struct front *front, struct http_exchange *x,
		  const char *name, const char *key, bool shows_id)
{
	struct err why = ERR_INIT;
	struct ingest *in = NULL;

	if (!admit(front)) {
		err_set(&why, ERR_LIMIT, "too many uploads; try again later");
		receipt_refuse(x, &why);
		metric_add(front->shared->uploads_rejected, 1);
		return;
	}
	in = new_ingest(front, x, name, key, shows_id);
	if (!in) {
		atomic_fetch_sub(&front->shared->n_uploads, 1);
		err_set(&why, ERR_MEMORY, "out of memory; try again later");
		receipt_refuse(x, &why);
		return;
	}
	enlist(in);
	http_exchange_attach(x, &exchange_ops, in);
	begin(in);
}
