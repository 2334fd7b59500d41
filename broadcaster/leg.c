#include "broadcaster/leg.h"

#include "broadcaster/leg_impl.h"
#include "broadcaster/leg_wire.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define PLAIN_EXPECT_MS 1000u	/* a plain endpoint may ignore Expect */

const char *leg_state_name(enum leg_state state)
{
	static const char *const names[] = {
#define X(name, text) [LEG_##name] = text,
		LEG_STATES(X)
#undef X
	};

	return names[state];
}

#define TO(s) (1u << LEG_##s)
#define ENDED (TO(FAILED) | TO(DETACHED) | TO(ABORTED))

/* Where each state may lead. */
static const unsigned int transitions[] = {
	[LEG_IDLE] = TO(CONNECTING) | TO(COMMITTED) | ENDED,
	[LEG_CONNECTING] = TO(CONNECTED) | ENDED,
	[LEG_CONNECTED] = TO(OFFERED) | TO(ANSWERING) | TO(HELD) |
			  TO(CONNECTING) | ENDED,
	[LEG_OFFERED] = TO(SENDING) | TO(CONNECTING) | ENDED,
	[LEG_SENDING] = TO(HELD) | TO(ANSWERING) | ENDED,
	[LEG_HELD] = TO(COMMITTING) | ENDED,
	[LEG_ANSWERING] = TO(STAGED) | TO(WITHDRAWING) | ENDED,
	[LEG_STAGED] = TO(COMMITTING) | TO(WITHDRAWING) | ENDED,
	[LEG_COMMITTING] = TO(COMMITTED) | TO(WITHDRAWING) | ENDED,
	[LEG_COMMITTED] = TO(WITHDRAWING),
	[LEG_WITHDRAWING] = ENDED,
	[LEG_FAILED] = TO(WITHDRAWING),
	[LEG_DETACHED] = TO(WITHDRAWING),
	[LEG_ABORTED] = 0,
};

static uint64_t now_of(const struct leg *leg)
{
	return loop_now_ms(leg->ctx->front->loop);
}

static bool is_end(enum leg_state state)
{
	return (1u << state & ENDED) != 0 || state == LEG_COMMITTED;
}

/* The one place where the state changes. */
void leg_enter(struct leg *leg, enum leg_state state, uint64_t timeout_ms)
{
	CHECK(transitions[leg->state] & 1u << state);
	leg->state = state;
	leg->deadline_ms = timeout_ms == LEG_NO_DEADLINE ? LEG_NO_DEADLINE :
						 now_of(leg) + timeout_ms;
	if (is_end(state)) {
		leg->ended_ms = now_of(leg);
		ring_detach(leg->ctx->ring, &leg->cursor);
	}
}

const struct broadcaster_settings *leg_settings(const struct leg *leg)
{
	return leg->ctx->front->settings;
}

bool leg_is_plain(const struct leg *leg)
{
	return leg->outlet->target->kind != TARGET_READER;
}

void leg_init(struct leg *leg, struct leg_context *ctx,
	      const struct outlet *outlet, struct lag *lag)
{
	*leg = (struct leg){ .ctx = ctx,
			     .outlet = outlet,
			     .lag = lag,
			     .state = LEG_IDLE,
			     .deadline_ms = LEG_NO_DEADLINE,
			     .err = ERR_INIT };
	leg->started_ms = now_of(leg);
	lag_init(lag, leg->started_ms);
	ring_attach(ctx->ring, &leg->cursor);
}

/* Let go of the connection: kept for others when it is clean. */
void leg_drop_link(struct leg *leg, bool clean)
{
	outbox_clear(&leg->out);
	reply_give(&leg->ctx->front->replies, &leg->reply);
	if (!leg->link)
		return;
	if (clean)
		link_release(&leg->link);
	else
		link_close(&leg->link);
}

void leg_release(struct leg *leg)
{
	if (!leg->ctx)
		return;
	if (leg->call)
		http_call_cancel(&leg->call);
	leg_drop_link(leg, leg->state == LEG_CONNECTED);
	ring_detach(leg->ctx->ring, &leg->cursor);
	leg->ctx = NULL;
}

static void on_forgotten(void *owner, struct http_call *call,
			 const struct http_call_result *result)
{
	struct leg *leg = owner;

	(void)call;
	leg->call = NULL;
	if (result->status / 100 == 2 || result->status == 404)
		leg->has_staged = false;
}

/*
 * Nobody waits for this: it only saves the reader from keeping, until it
 * expires, what will not be committed. An abort makes sure.
 */
static void forget_copy(struct leg *leg)
{
	leg->call = wire_call(leg, "DELETE", "", on_forgotten);
}

void leg_fail_with(struct leg *leg, const struct err *why)
{
	struct metric *failed = leg->outlet->failed;
	bool is_useless = leg->has_staged && leg->state != LEG_COMMITTING;

	if (!err_is_set(&leg->err))
		leg->err = *why;
	leg_drop_link(leg, false);
	leg_enter(leg, LEG_FAILED, LEG_NO_DEADLINE);
	metric_add(failed, 1);
	if (is_useless)
		forget_copy(leg);
}

void leg_fail(struct leg *leg, enum err_code code, const char *fmt, ...)
{
	struct err why = { .code = code };
	va_list args;

	va_start(args, fmt);
	vsnprintf(why.text, sizeof(why.text), fmt, args);
	va_end(args);
	leg_fail_with(leg, &why);
}

/* ---- connecting ---------------------------------------------------------- */

static void on_open(void *owner, const struct err *err)
{
	struct leg *leg = owner;

	if (err)
		leg->link_err = *err;
	else
		leg->is_opened = true;
	leg->ctx->wake(leg->ctx->owner);
}

static void on_ready(void *owner, unsigned int ready)
{
	struct leg *leg = owner;

	if (ready & LOOP_READABLE)
		leg->is_readable = true;
	if (ready & LOOP_WRITABLE)
		leg->is_blocked = false;
	leg->ctx->wake(leg->ctx->owner);
}

static const struct http_link_ops link_ops = { on_open, on_ready };

static void connect_link(struct leg *leg)
{
	uint64_t timeout = leg_settings(leg)->connect_timeout_ms;

	leg->is_opened = false;
	leg->has_idled = false;
	leg->is_readable = false;
	leg->is_blocked = false;
	leg->link_err = ERR_INIT;
	leg->link = link_open(leg->outlet->origin, timeout, &link_ops, leg);
	if (!leg->link)
		leg_fail(leg, ERR_MEMORY, "out of memory for a connection");
	else
		leg_enter(leg, LEG_CONNECTING, timeout);
}

void leg_open(struct leg *leg)
{
	leg->started_ms = now_of(leg);
	connect_link(leg);
}

void leg_adopt(struct leg *leg, uint64_t size, const char *sha256)
{
	leg->size = size;
	snprintf(leg->sha256, sizeof(leg->sha256), "%s", sha256);
	leg_enter(leg, LEG_COMMITTED, LEG_NO_DEADLINE);
}

/*
 * A connection that was idle and that the target has closed meanwhile is no
 * fault of the target: try again while it cannot have taken anything. False: it
 * was no such connection, the failure stands.
 */
static bool reconnect(struct leg *leg)
{
	if (!leg->link || leg->cursor.position > 0 ||
	    !(link_is_reused(leg->link) || leg->has_idled))
		return false;
	leg_drop_link(leg, false);
	connect_link(leg);
	return true;
}

static void send_offer(struct leg *leg)
{
	struct err err = ERR_INIT;
	uint64_t timeout = leg_settings(leg)->connect_timeout_ms;
	bool is_whole = !leg_is_plain(leg) && leg->ctx->info->size == 0;

	if (wire_offer(leg, &err) < 0) {
		leg_fail_with(leg, &err);
		return;
	}
	if (is_whole) {
		leg->has_staged = true;
		leg_enter(leg, LEG_ANSWERING, leg_settings(leg)->stage_timeout_ms);
		return;
	}
	if (leg_is_plain(leg) && timeout > PLAIN_EXPECT_MS)
		timeout = PLAIN_EXPECT_MS;
	leg_enter(leg, LEG_OFFERED, timeout);
}

/* An empty object for a plain endpoint is nothing but its head: held back. */
static bool must_hold_head(const struct leg *leg)
{
	return leg->outlet->target->kind == TARGET_PUT &&
	       leg->ctx->info->size == 0;
}

/* All but the end is sent: what is left does not need the ring any more. */
static void hold(struct leg *leg)
{
	ring_detach(leg->ctx->ring, &leg->cursor);
	leg_enter(leg, LEG_HELD, LEG_NO_DEADLINE);
}

static void pump_connecting(struct leg *leg)
{
	if (err_is_set(&leg->link_err))
		leg_fail_with(leg, &leg->link_err);
	else if (leg->is_opened)
		leg_enter(leg, LEG_CONNECTED, LEG_NO_DEADLINE);
}

static void pump_connected(struct leg *leg)
{
	const struct leg_context *ctx = leg->ctx;

	if (!ctx->is_offered || (ctx->first && ctx->first != leg)) {
		leg->has_idled = true;
		return;
	}
	/* Closed, or told that it will be; TLS may have had to say more. */
	if (leg->is_readable && !leg->outlet->is_tls && reconnect(leg))
		return;
	leg->is_chunked = leg->ctx->info->size == OBJECT_SIZE_UNKNOWN;
	if (must_hold_head(leg))
		hold(leg);
	else
		send_offer(leg);
}

/* ---- answers ------------------------------------------------------------- */

static struct reply *take_reply(struct leg *leg)
{
	if (!leg->reply) {
		leg->reply = reply_take(&leg->ctx->front->replies);
		if (leg->reply)
			leg->reply->n_interim = leg->n_interim;
	}
	return leg->reply;
}

/*
 * Nothing of an answer is here, and none may come for hours: do without the
 * memory for it, which is more than all the rest of a leg.
 */
static void rest_reply(struct leg *leg)
{
	leg->n_interim = leg->reply->n_interim;
	reply_give(&leg->ctx->front->replies, &leg->reply);
}

/* The next fact of the answer, when there may be one. */
enum reply_result leg_read_reply(struct leg *leg, struct err *err)
{
	enum reply_result result;

	if (!leg->is_readable)
		return REPLY_MORE;
	if (!take_reply(leg)) {
		err_set(err, ERR_MEMORY, "out of memory for an answer");
		return REPLY_BAD;
	}
	result = reply_read(leg->reply, leg->link, err);
	/* Plain sockets report what comes later; TLS may hold more already. */
	if (result == REPLY_MORE || !leg->outlet->is_tls)
		leg->is_readable = false;
	if (result == REPLY_DONE || result == REPLY_BAD)
		return result;
	if (reply_is_empty(leg->reply))
		rest_reply(leg);
	else if (result == REPLY_CONTINUE)
		leg->is_readable = true; /* the next answer came along */
	return result;
}

/* The target said no: the code tells who must act. */
void leg_refuse(struct leg *leg, const char *when)
{
	char reason[120];
	struct err why = ERR_INIT;
	enum err_code code = ERR_TARGET;

	reply_reason(leg->reply, reason, sizeof(reason));
	if (leg->reply->status == 422 &&
	    (leg->state != LEG_COMMITTING || leg_is_plain(leg)))
		code = ERR_REFUSED;
	if (leg->reply->status == 409 && leg->state != LEG_COMMITTING)
		code = ERR_CONFLICT;
	/* What it holds under this id, if anything, is not ours to delete. */
	if (leg->state != LEG_COMMITTING || leg->reply->status / 100 == 4)
		leg->has_staged = false;
	err_set(&why, code, "%s%s", reason, when);
	leg_fail_with(leg, &why);
}

/*
 * A final answer before the end of the body. From a plain endpoint a 2xx may
 * count later, if it goes on taking all bytes; anything else is a failure.
 */
static void on_early_answer(struct leg *leg)
{
	if (leg_is_plain(leg) && leg->reply->status / 100 == 2 &&
	    leg->reply->keep_alive)
		leg->is_early = true;
	else
		leg_refuse(leg, leg->reply->status / 100 == 2 ?
				    " before the upload's end" : "");
}

/* Look for an answer while sending. False: the leg has ended. */
static bool watch_answer(struct leg *leg)
{
	struct err err = ERR_INIT;
	enum reply_result result =
		leg->is_early ? REPLY_MORE : leg_read_reply(leg, &err);

	if (result == REPLY_BAD)
		leg_fail_with(leg, &err);
	else if (result == REPLY_DONE)
		on_early_answer(leg);
	return leg->state == LEG_SENDING || leg->state == LEG_HELD;
}

static void pump_offered(struct leg *leg)
{
	struct err err = ERR_INIT;

	if (wire_flush(leg, &err) < 0) {
		if (!reconnect(leg))
			leg_fail_with(leg, &err);
		return;
	}
	switch (leg_read_reply(leg, &err)) {
	case REPLY_MORE:
		break;
	case REPLY_CONTINUE:
		leg_enter(leg, LEG_SENDING, LEG_NO_DEADLINE);
		break;
	case REPLY_DONE:
		leg_refuse(leg, "");
		break;
	case REPLY_BAD:
		if (!reconnect(leg))
			leg_fail_with(leg, &err);
		break;
	}
}

static void finish_sending(struct leg *leg)
{
	leg->has_staged = true;
	leg_enter(leg, LEG_ANSWERING, leg_settings(leg)->stage_timeout_ms);
}

static void pump_sending(struct leg *leg)
{
	struct err err = ERR_INIT;

	if (!watch_answer(leg))
		return;
	switch (wire_send_body(leg, &err)) {
	case WIRE_BLOCKED:
		break;
	case WIRE_HELD:
		hold(leg);
		break;
	case WIRE_SENT:
		finish_sending(leg);
		break;
	case WIRE_BAD:
		/* Prefer what the target said over "connection reset". */
		leg->is_readable = true;
		if (watch_answer(leg))
			leg_fail_with(leg, &err);
		break;
	}
}

/* The reader's {"size","sha256"}: what it has really stored. */
static void on_staged(struct leg *leg)
{
	struct err err = ERR_INIT;

	if (wire_parse_staged(leg, &err) < 0) {
		leg_fail_with(leg, &err);
		return;
	}
	if (leg->reply->keep_alive)
		reply_give(&leg->ctx->front->replies, &leg->reply);
	else
		leg_drop_link(leg, false);
	ring_detach(leg->ctx->ring, &leg->cursor);
	leg_enter(leg, LEG_STAGED, LEG_NO_DEADLINE);
}

static void on_answer(struct leg *leg)
{
	if (leg->reply->status / 100 != 2)
		leg_refuse(leg, "");
	else
		on_staged(leg);
}

static void pump_answering(struct leg *leg)
{
	struct err err = ERR_INIT;

	if (wire_flush(leg, &err) < 0) {
		leg_fail_with(leg, &err);
		return;
	}
	switch (leg_read_reply(leg, &err)) {
	case REPLY_MORE:
	case REPLY_CONTINUE:
		break;
	case REPLY_DONE:
		on_answer(leg);
		break;
	case REPLY_BAD:
		leg_fail_with(leg, &err);
		break;
	}
}

/* ---- time ---------------------------------------------------------------- */

static void on_deadline(struct leg *leg)
{
	switch (leg->state) {
	case LEG_CONNECTING:
		leg_fail(leg, ERR_TARGET, "could not be connected in %llu ms",
			 (unsigned long long)leg_settings(leg)
				 ->connect_timeout_ms);
		break;
	case LEG_OFFERED:
		if (leg_is_plain(leg))
			leg_enter(leg, LEG_SENDING, LEG_NO_DEADLINE);
		else
			leg_fail(leg, ERR_TARGET,
				 "did not accept the object in %llu ms",
				 (unsigned long long)leg_settings(leg)
					 ->connect_timeout_ms);
		break;
	case LEG_ANSWERING:
		leg_fail(leg, ERR_TARGET, "did not answer in %llu ms",
			 (unsigned long long)leg_settings(leg)->stage_timeout_ms);
		break;
	case LEG_COMMITTING:
		if (leg->call)
			http_call_cancel(&leg->call);
		leg_fail(leg, ERR_TARGET,
			 "outcome of the commit unknown: no answer in %llu ms",
			 (unsigned long long)leg_settings(leg)->stage_timeout_ms);
		break;
	case LEG_WITHDRAWING:
		if (leg->call)
			http_call_cancel(&leg->call);
		err_set(&leg->err, ERR_TARGET,
			"could not be told to discard its copy in time");
		leg_end_withdrawal(leg);
		break;
	case LEG_IDLE:
	case LEG_CONNECTED:
	case LEG_SENDING:
	case LEG_HELD:
	case LEG_STAGED:
	case LEG_COMMITTED:
	case LEG_FAILED:
	case LEG_DETACHED:
	case LEG_ABORTED:
		break;
	}
}

void leg_check_time(struct leg *leg)
{
	uint64_t now = now_of(leg);
	uint64_t limit = leg_settings(leg)->stall_timeout_ms;

	if (now >= leg->deadline_ms)
		on_deadline(leg);
	else if (leg->state == LEG_SENDING &&
		 lag_is_stalled(leg->lag, limit, now))
		leg_fail(leg, ERR_TARGET, "took no byte for %llu ms",
			 (unsigned long long)limit);
}

void leg_forgive(struct leg *leg, uint64_t ms)
{
	if (leg->deadline_ms != LEG_NO_DEADLINE)
		leg->deadline_ms += ms;
	lag_forgive(leg->lag, ms);
}

/* ---- the pump ------------------------------------------------------------ */

void leg_pump(struct leg *leg)
{
	enum leg_state before;

	do {
		before = leg->state;
		switch (before) {
		case LEG_CONNECTING:
			pump_connecting(leg);
			break;
		case LEG_CONNECTED:
			pump_connected(leg);
			break;
		case LEG_OFFERED:
			pump_offered(leg);
			break;
		case LEG_SENDING:
			pump_sending(leg);
			break;
		case LEG_HELD:
			watch_answer(leg);
			break;
		case LEG_ANSWERING:
			pump_answering(leg);
			break;
		case LEG_COMMITTING:
			leg_pump_committing(leg);
			break;
		case LEG_IDLE:
		case LEG_STAGED:
		case LEG_COMMITTED:
		case LEG_WITHDRAWING:
		case LEG_FAILED:
		case LEG_DETACHED:
		case LEG_ABORTED:
			break;
		}
	} while (leg->state != before);
}

/* ---- questions ----------------------------------------------------------- */

#define ACCEPTED \
	(TO(SENDING) | TO(HELD) | TO(ANSWERING) | TO(STAGED) | \
	 TO(COMMITTING) | TO(COMMITTED))

bool leg_is_accepted(const struct leg *leg)
{
	return (1u << leg->state & ACCEPTED) != 0;
}

bool leg_is_alive(const struct leg *leg)
{
	return (1u << leg->state & (ENDED | TO(WITHDRAWING))) == 0;
}

bool leg_is_ready(const struct leg *leg)
{
	return (1u << leg->state &
		(TO(STAGED) | TO(HELD) | TO(COMMITTED))) != 0;
}

bool leg_is_settled(const struct leg *leg)
{
	return leg_is_ready(leg) || (1u << leg->state & ENDED) != 0;
}

uint64_t leg_duration_ms(const struct leg *leg)
{
	return (leg->ended_ms ? leg->ended_ms : now_of(leg)) - leg->started_ms;
}
