/* leg_end.c - how a leg ends: commit, withdrawal, abort, detachment */
#include "broadcaster/leg_impl.h"
#include "broadcaster/leg_wire.h"

#define CALL_TRIES 3u

/* ---- commit -------------------------------------------------------------- */

static void on_committed(struct leg *leg)
{
	metric_add(leg->outlet->committed, 1);
	leg_enter(leg, LEG_COMMITTED, LEG_NO_DEADLINE);
}

/* A 4xx says that what it holds, if anything, is not our copy. */
static void on_commit_refused(struct leg *leg,
			      const struct http_call_result *result)
{
	if (result->status / 100 == 4)
		leg->has_staged = false;
	if (result->status == 0)
		leg_fail(leg, ERR_TARGET, "outcome of the commit unknown: %s",
			 result->err.text);
	else
		leg_fail(leg, ERR_TARGET, "answered %d to the commit",
			 result->status);
}

static void start_commit_call(struct leg *leg);

static void on_commit_result(void *owner, struct http_call *call,
			     const struct http_call_result *result)
{
	struct leg *leg = owner;

	(void)call;
	leg->call = NULL;
	if (result->status == 200 || result->status == 201)
		on_committed(leg);
	else if (result->status == 0 && ++leg->tries < CALL_TRIES)
		start_commit_call(leg);
	else
		on_commit_refused(leg, result);
	leg->ctx->wake(leg->ctx->owner);
}

static void start_commit_call(struct leg *leg)
{
	leg->call = wire_call(leg, "POST", "/commit", on_commit_result);
	if (!leg->call)
		leg_fail(leg, ERR_MEMORY, "out of memory for the commit");
}

/* Over the body's own connection when it is still there: one round trip. */
void leg_commit(struct leg *leg)
{
	struct err ignored = ERR_INIT;
	uint64_t timeout = leg_settings(leg)->stage_timeout_ms;

	leg_enter(leg, LEG_COMMITTING, timeout);
	leg->tries = 0;
	if (leg_is_plain(leg))
		return;
	if (leg->link && wire_commit(leg, &ignored) == 0)
		return;
	leg_drop_link(leg, false);
	start_commit_call(leg);
}

/* The end of a plain endpoint's body, held back until now. */
static bool send_rest(struct leg *leg)
{
	struct err err = ERR_INIT;

	switch (wire_send_rest(leg, &err)) {
	case WIRE_SENT:
		return true;
	case WIRE_BLOCKED:
	case WIRE_HELD:
		return false;
	case WIRE_BAD:
		leg_fail_with(leg, &err);
		return false;
	}
	return false;
}

static void on_commit_answer(struct leg *leg)
{
	int status = leg->reply->status;
	bool is_committed = leg_is_plain(leg) ? status / 100 == 2 :
					    status == 200 || status == 201;

	if (!is_committed) {
		leg_refuse(leg, leg_is_plain(leg) ? "" : " to the commit");
		return;
	}
	leg_drop_link(leg, leg->reply->keep_alive);
	on_committed(leg);
}

/* The connection was lost: a reader is asked again, a commit is idempotent. */
static void on_commit_lost(struct leg *leg, const struct err *err)
{
	if (leg_is_plain(leg)) {
		leg_fail_with(leg, err);
		return;
	}
	leg_drop_link(leg, false);
	start_commit_call(leg);
}

void leg_pump_committing(struct leg *leg)
{
	struct err err = ERR_INIT;
	enum reply_result result;

	if (!leg->link)
		return;
	if (leg_is_plain(leg) && !send_rest(leg))
		return;
	if (leg->is_early) {
		leg_drop_link(leg, true);
		on_committed(leg);
		return;
	}
	result = wire_flush(leg, &err) < 0 ? REPLY_BAD : leg_read_reply(leg, &err);
	if (result == REPLY_DONE)
		on_commit_answer(leg);
	else if (result == REPLY_BAD)
		on_commit_lost(leg, &err);
}

/* ---- giving up ----------------------------------------------------------- */

static void start_withdrawal(struct leg *leg);

void leg_end_withdrawal(struct leg *leg)
{
	leg_enter(leg, leg->after_withdrawal, LEG_NO_DEADLINE);
}

static void on_withdrawn(void *owner, struct http_call *call,
			 const struct http_call_result *result)
{
	struct leg *leg = owner;

	(void)call;
	leg->call = NULL;
	if (result->status / 100 != 2 && result->status != 404) {
		if (result->status == 0 && ++leg->tries < CALL_TRIES) {
			start_withdrawal(leg);
			return;
		}
		err_set(&leg->err, ERR_TARGET,
			"could not be told to discard its copy: %s",
			result->status ? http1_reason(result->status) :
					 result->err.text);
	}
	leg_end_withdrawal(leg);
	leg->ctx->wake(leg->ctx->owner);
}

static void start_withdrawal(struct leg *leg)
{
	leg->call = wire_call(leg, "DELETE", "", on_withdrawn);
	if (leg->call)
		return;
	err_set(&leg->err, ERR_MEMORY, "out of memory for the withdrawal");
	leg_end_withdrawal(leg);
}

/* Remove a copy, committed or not; ends `after`. */
static void withdraw(struct leg *leg, enum leg_state after)
{
	if (leg->call)
		http_call_cancel(&leg->call);
	leg_drop_link(leg, false);
	ring_detach(leg->ctx->ring, &leg->cursor);
	leg->after_withdrawal = after;
	leg->has_staged = false;
	leg->tries = 0;
	leg_enter(leg, LEG_WITHDRAWING, leg_settings(leg)->connect_timeout_ms);
	start_withdrawal(leg);
}

void leg_abort(struct leg *leg)
{
	bool may_have_copy = leg->has_staged && !leg_is_plain(leg);

	switch (leg->state) {
	case LEG_ABORTED:
	case LEG_WITHDRAWING:
		return;
	case LEG_FAILED:
	case LEG_DETACHED:
		if (may_have_copy)
			withdraw(leg, leg->state);
		return;
	case LEG_COMMITTED:
		if (may_have_copy)
			withdraw(leg, LEG_ABORTED);
		return;
	case LEG_ANSWERING:
	case LEG_STAGED:
	case LEG_COMMITTING:
		if (may_have_copy) {
			withdraw(leg, LEG_ABORTED);
			return;
		}
		break;
	case LEG_IDLE:
	case LEG_CONNECTING:
	case LEG_CONNECTED:
	case LEG_OFFERED:
	case LEG_SENDING:
	case LEG_HELD:
		break;
	}
	leg_drop_link(leg, leg->state == LEG_CONNECTED);
	leg_enter(leg, LEG_ABORTED, LEG_NO_DEADLINE);
}

void leg_detach(struct leg *leg, uint64_t behind_ms)
{
	err_set(&leg->err, ERR_TARGET,
		"too slow: held the upload up for %llu ms, %zu bytes behind",
		(unsigned long long)behind_ms,
		ring_lag(leg->ctx->ring, &leg->cursor));
	leg_drop_link(leg, false);
	leg_enter(leg, LEG_DETACHED, LEG_NO_DEADLINE);
	metric_add(leg->outlet->detached, 1);
}
