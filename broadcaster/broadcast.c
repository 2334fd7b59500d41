#include "broadcaster/broadcast.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"

#define SLEEP_GAP_MS 2000u	/* we did not run this long: nobody's fault */

static const char *phase_name(enum broadcast_phase phase)
{
	static const char *const names[] = {
#define X(name, text) [BROADCAST_##name] = text,
		BROADCAST_PHASES(X)
#undef X
	};

	return names[phase];
}

#define TO(p) (1u << BROADCAST_##p)

static const unsigned int transitions[] = {
	[BROADCAST_OPENING] = TO(STREAMING) | TO(ABORTING) | TO(COMMITTED),
	[BROADCAST_STREAMING] = TO(STAGING) | TO(ABORTING),
	[BROADCAST_STAGING] = TO(READY) | TO(ABORTING),
	[BROADCAST_READY] = TO(COMMITTING) | TO(ABORTING),
	[BROADCAST_COMMITTING] = TO(FINISHING) | TO(ABORTING),
	[BROADCAST_FINISHING] = TO(COMMITTED) | TO(ABORTING),
	[BROADCAST_COMMITTED] = TO(ABORTING),
	[BROADCAST_ABORTING] = TO(ABORTED),
	[BROADCAST_ABORTED] = 0,
};

static uint64_t now_of(const struct broadcast *b)
{
	return loop_now_ms(b->front->loop);
}

/* The one place where the phase changes. */
static void enter(struct broadcast *b, enum broadcast_phase phase)
{
	CHECK(transitions[b->phase] & 1u << phase);
	if (log_enabled(LOG_DEBUG))
		log_line(LOG_DEBUG, "object_phase", LOG_STR("id", b->info.id),
			 LOG_STR("from", phase_name(b->phase)),
			 LOG_STR("to", phase_name(phase)));
	b->phase = phase;
	if (broadcast_is_done(b))
		b->ended_ms = now_of(b);
}

static unsigned int n_legs(const struct broadcast *b)
{
	return b->front->n_outlets;
}

static void init_legs(struct broadcast *b)
{
	for (unsigned int i = 0; i < n_legs(b); i++)
		leg_init(&b->legs[i], &b->context, &b->front->outlets[i],
			 &b->lags[i]);
}

struct broadcast *broadcast_new(struct front *front, struct ring *ring,
				void (*wake)(void *owner), void *owner)
{
	size_t n = front->n_outlets;
	struct broadcast *b = calloc(1, sizeof(*b) + n * (sizeof(struct leg) +
							  sizeof(struct lag)));

	if (!b)
		return NULL;
	b->front = front;
	b->ring = ring;
	b->legs = (struct leg *)(b + 1);
	b->lags = (struct lag *)(b->legs + n);
	b->info.size = OBJECT_SIZE_UNKNOWN;
	b->context = (struct leg_context){ .front = front,
					   .ring = ring,
					   .info = &b->info,
					   .wake = wake,
					   .owner = owner };
	b->started_ms = now_of(b);
	b->checked_ms = b->started_ms;
	lag_clock_init(&b->lag_clock, b->started_ms);
	init_legs(b);
	return b;
}

void broadcast_free(struct broadcast **bp)
{
	struct broadcast *b = *bp;

	if (!b)
		return;
	*bp = NULL;
	for (unsigned int i = 0; i < n_legs(b); i++)
		leg_release(&b->legs[i]);
	free(b);
}

/* May this reader decide which of several uploads gets a keyed id? */
static bool may_be_first(const struct leg *leg)
{
	return leg->outlet->target->kind == TARGET_READER &&
	       leg->state != LEG_COMMITTED && leg_is_alive(leg);
}

/* An empty object is offered and sent in one: only its answer tells. */
static bool has_decided(const struct broadcast *b, const struct leg *leg)
{
	return b->info.size == 0 ? leg_is_ready(leg) : leg_is_accepted(leg);
}

static bool comes_before(const struct leg *a, const struct leg *b)
{
	return !b || strcmp(a->outlet->target->address,
			    b->outlet->target->address) < 0;
}

/*
 * A keyed object is offered to one reader first, the same one by everybody, and
 * to the others when that one has accepted it: so of several uploads with one
 * key at the same time exactly one gets on. True when it is another one now.
 */
static bool choose_first(struct broadcast *b)
{
	const struct leg *before = b->context.first, *first = NULL;

	for (unsigned int i = 0; i < n_legs(b) && b->is_keyed; i++)
		if (may_be_first(&b->legs[i]) &&
		    comes_before(&b->legs[i], first))
			first = &b->legs[i];
	if (first && has_decided(b, first))
		first = NULL;
	b->context.first = first;
	return first != before;
}

void broadcast_open(struct broadcast *b)
{
	for (unsigned int i = 0; i < n_legs(b); i++)
		if (b->legs[i].state == LEG_IDLE)
			leg_open(&b->legs[i]);
	choose_first(b);
}

void broadcast_offer(struct broadcast *b)
{
	b->context.is_offered = true;
}

/* ---- questions about all legs -------------------------------------------- */

typedef bool leg_question_fn(const struct leg *leg);

static uint64_t legs_that(const struct broadcast *b, leg_question_fn *question)
{
	uint64_t bits = 0;

	for (unsigned int i = 0; i < n_legs(b); i++)
		if (question(&b->legs[i]))
			bits |= UINT64_C(1) << i;
	return bits;
}

static bool all_legs(const struct broadcast *b, leg_question_fn *question)
{
	for (unsigned int i = 0; i < n_legs(b); i++)
		if (!question(&b->legs[i]))
			return false;
	return true;
}

static bool is_met(const struct broadcast *b, leg_question_fn *question)
{
	return policy_is_met(&b->front->settings->policy,
			     legs_that(b, question));
}

static bool leg_is_connected(const struct leg *leg)
{
	return leg->state == LEG_CONNECTED || leg->state == LEG_OFFERED ||
	       leg_is_accepted(leg);
}

static bool leg_is_committed(const struct leg *leg)
{
	return leg->state == LEG_COMMITTED;
}

static bool leg_is_committed_or_held(const struct leg *leg)
{
	return leg->state == LEG_COMMITTED || leg->state == LEG_HELD;
}

static bool leg_is_not_committing(const struct leg *leg)
{
	return leg->state != LEG_COMMITTING && leg->state != LEG_STAGED;
}

static bool leg_is_over(const struct leg *leg)
{
	return leg_is_settled(leg) && leg->state != LEG_STAGED &&
	       leg->state != LEG_HELD;
}

bool broadcast_is_connected(const struct broadcast *b)
{
	return is_met(b, leg_is_connected);
}

bool broadcast_is_done(const struct broadcast *b)
{
	return b->phase == BROADCAST_COMMITTED || b->phase == BROADCAST_ABORTED;
}

unsigned int broadcast_copies(const struct broadcast *b)
{
	return (unsigned int)__builtin_popcountll(
		legs_that(b, leg_is_committed));
}

bool broadcast_adopt(struct broadcast *b)
{
	if (!is_met(b, leg_is_committed))
		return false;
	for (unsigned int i = 0; i < n_legs(b); i++) {
		const struct leg *leg = &b->legs[i];

		if (leg->state != LEG_COMMITTED)
			continue;
		b->bytes = leg->size;
		memcpy(b->context.sha256, leg->sha256, sizeof(leg->sha256));
	}
	enter(b, BROADCAST_COMMITTED);
	return true;
}

/* ---- verdict ------------------------------------------------------------- */

/* Did a target refuse the content, so that sending it again is no use? */
static const struct leg *leg_with_error(const struct broadcast *b,
					enum err_code code)
{
	for (unsigned int i = 0; i < n_legs(b); i++)
		if (b->legs[i].err.code == code)
			return &b->legs[i];
	return NULL;
}

/* Why the policy cannot be met any more, with the status that follows. */
static void explain_failure(struct broadcast *b, struct err *why)
{
	const struct policy *policy = &b->front->settings->policy;
	const struct leg *leg = leg_with_error(b, ERR_REFUSED);
	unsigned int left = (unsigned int)__builtin_popcountll(
		legs_that(b, leg_is_alive));

	if (leg) {
		err_set(why, ERR_REFUSED, "%s refused the content",
			leg->outlet->target->name);
		return;
	}
	leg = leg_with_error(b, ERR_CONFLICT);
	if (leg) {
		err_set(why, ERR_CONFLICT, "%s: %.120s",
			leg->outlet->target->name, leg->err.text);
		return;
	}
	if (left >= policy->copies)
		err_set(why, ERR_TARGET, "a required target failed");
	else
		err_set(why, ERR_TARGET,
			"%u of %u targets can hold a copy, %u are demanded",
			left, n_legs(b), policy->copies);
	why->status = b->phase == BROADCAST_OPENING ? 503 : 502;
}

/* Bit set of the ready legs whose copy has this digest. */
static uint64_t copies_of(const struct broadcast *b, const char *sha256)
{
	uint64_t bits = 0;

	for (unsigned int i = 0; i < n_legs(b); i++)
		if (leg_is_ready(&b->legs[i]) &&
		    (!strcmp(b->legs[i].sha256, sha256) ||
		     b->legs[i].state == LEG_HELD))
			bits |= UINT64_C(1) << i;
	return bits;
}

/* Of the copies that existed before (leg_adopt); "" when there are none. */
static const char *adopted_digest(const struct broadcast *b)
{
	for (unsigned int i = 0; i < n_legs(b); i++)
		if (b->legs[i].state == LEG_COMMITTED)
			return b->legs[i].sha256;
	return "";
}

/*
 * The digest that enough verified copies share, the most common one where
 * several would do; "" when there is none, or two are equally common.
 */
static const char *agreed_digest(const struct broadcast *b)
{
	const struct policy *policy = &b->front->settings->policy;
	const char *adopted = adopted_digest(b), *best = "";
	int most = 0;

	for (unsigned int i = 0; i < n_legs(b); i++) {
		const struct leg *leg = &b->legs[i];
		uint64_t copies = copies_of(b, leg->sha256);
		int n = __builtin_popcountll(copies);

		if (!leg_is_ready(leg) || !*leg->sha256 ||
		    !strcmp(leg->sha256, best))
			continue;
		if ((*b->claimed && strcmp(b->claimed, leg->sha256) != 0) ||
		    (*adopted && strcmp(adopted, leg->sha256) != 0))
			continue;
		if (n >= most && policy_is_met(policy, copies))
			best = n == most ? "" : leg->sha256;
		most = n > most ? n : most;
	}
	return best;
}

static bool no_leg_has_digest(const struct broadcast *b)
{
	for (unsigned int i = 0; i < n_legs(b); i++)
		if (leg_is_ready(&b->legs[i]) && *b->legs[i].sha256)
			return false;
	return true;
}

static const char *first_digest(const struct broadcast *b)
{
	for (unsigned int i = 0; i < n_legs(b); i++)
		if (leg_is_ready(&b->legs[i]) && *b->legs[i].sha256)
			return b->legs[i].sha256;
	return "";
}

static void explain_disagreement(struct broadcast *b, struct err *why)
{
	if (no_leg_has_digest(b))
		err_set(why, ERR_TARGET,
			"no target is left that could verify the digest");
	else if (*adopted_digest(b) && !*b->claimed)
		err_set_status(why, 422,
			       "this Idempotency-Key stands for another "
			       "content");
	else if (*b->claimed)
		err_set_status(why, 400,
			       "the digest is wrong: sent as %.16s…, "
			       "stored as %.16s…",
			       b->claimed, first_digest(b));
	else
		err_set(why, ERR_TARGET,
			"the targets' copies differ from each other");
}

/* Copies that are not what is going to be committed must go. */
static void drop_other_copies(struct broadcast *b)
{
	for (unsigned int i = 0; i < n_legs(b); i++) {
		struct leg *leg = &b->legs[i];

		if (leg->state != LEG_STAGED ||
		    !strcmp(leg->sha256, b->context.sha256))
			continue;
		leg_fail(leg, ERR_TARGET, "its copy's SHA-256 differs: %.16s…",
			 leg->sha256);
	}
}

static void start_abort(struct broadcast *b, const struct err *why)
{
	if (why && !err_is_set(&b->err))
		b->err = *why;
	enter(b, BROADCAST_ABORTING);
	for (unsigned int i = 0; i < n_legs(b); i++)
		leg_abort(&b->legs[i]);
}

/* `why` becomes b->err unless it has one. No effect once done or aborting. */
static void abort_once(struct broadcast *b, const struct err *why)
{
	if (!broadcast_is_done(b) && b->phase != BROADCAST_ABORTING)
		start_abort(b, why);
}

static void judge(struct broadcast *b)
{
	struct err why = ERR_INIT;
	const char *sha256 = agreed_digest(b);

	if (!is_met(b, leg_is_ready)) {
		explain_failure(b, &why);
		abort_once(b, &why);
		return;
	}
	if (!*sha256 && (*b->claimed || !no_leg_has_digest(b))) {
		explain_disagreement(b, &why);
		abort_once(b, &why);
		return;
	}
	snprintf(b->context.sha256, sizeof(b->context.sha256), "%s", sha256);
	drop_other_copies(b);
	enter(b, BROADCAST_READY);
}

/* ---- steps --------------------------------------------------------------- */

static void check_policy(struct broadcast *b)
{
	struct err why = ERR_INIT;

	if (is_met(b, leg_is_alive))
		return;
	explain_failure(b, &why);
	abort_once(b, &why);
}

void broadcast_feed(struct broadcast *b, size_t n)
{
	uint64_t now = now_of(b);

	b->bytes += n;
	for (unsigned int i = 0; i < n_legs(b); i++)
		if (b->legs[i].cursor.attached)
			lag_queued(&b->lags[i], now);
}

void broadcast_complete(struct broadcast *b)
{
	b->is_complete = true;
	b->context.is_complete = true;
	b->reading_held = false;
}

void broadcast_commit(struct broadcast *b, const struct metadata *metadata)
{
	b->context.metadata = metadata;
	enter(b, BROADCAST_COMMITTING);
	for (unsigned int i = 0; i < n_legs(b); i++)
		if (b->legs[i].state == LEG_STAGED)
			leg_commit(&b->legs[i]);
}

/* Readers have committed: now the plain endpoints, which cannot be undone. */
static void finish(struct broadcast *b)
{
	struct err why = ERR_INIT;

	if (!is_met(b, leg_is_committed_or_held)) {
		explain_failure(b, &why);
		abort_once(b, &why);
		return;
	}
	enter(b, BROADCAST_FINISHING);
	for (unsigned int i = 0; i < n_legs(b); i++)
		if (b->legs[i].state == LEG_HELD)
			leg_commit(&b->legs[i]);
}

static void conclude(struct broadcast *b)
{
	struct err why = ERR_INIT;

	if (is_met(b, leg_is_committed)) {
		enter(b, BROADCAST_COMMITTED);
		return;
	}
	explain_failure(b, &why);
	abort_once(b, &why);
}

void broadcast_undo(struct broadcast *b, const struct err *why)
{
	if (b->phase == BROADCAST_COMMITTED)
		start_abort(b, why);
	else
		abort_once(b, why);
}

/* Another upload has this id at the reader that decides. */
static void check_taken(struct broadcast *b)
{
	const struct leg *first = b->context.first;
	struct err why = ERR_INIT;

	if (!first || first->err.code != ERR_CONFLICT)
		return;
	explain_failure(b, &why);
	abort_once(b, &why);
}

/* True when other legs may be offered now. */
static bool step_opening(struct broadcast *b)
{
	bool has_changed;

	check_policy(b);
	check_taken(b);
	if (b->phase != BROADCAST_OPENING || !b->context.is_offered)
		return false;
	has_changed = choose_first(b);
	if (!b->context.first && is_met(b, leg_is_accepted))
		enter(b, BROADCAST_STREAMING);
	return has_changed;
}

/* One step of the phase; true when another may be possible at once. */
static bool step(struct broadcast *b)
{
	enum broadcast_phase before = b->phase;

	switch (before) {
	case BROADCAST_OPENING:
		if (step_opening(b))
			return true;
		break;
	case BROADCAST_STREAMING:
		check_policy(b);
		if (b->phase == BROADCAST_STREAMING && b->is_complete)
			enter(b, BROADCAST_STAGING);
		break;
	case BROADCAST_STAGING:
		check_policy(b);
		if (b->phase == BROADCAST_STAGING &&
		    all_legs(b, leg_is_settled))
			judge(b);
		break;
	case BROADCAST_READY:
		check_policy(b);
		break;
	case BROADCAST_COMMITTING:
		if (all_legs(b, leg_is_not_committing))
			finish(b);
		break;
	case BROADCAST_FINISHING:
		if (all_legs(b, leg_is_over))
			conclude(b);
		break;
	case BROADCAST_ABORTING:
		if (all_legs(b, leg_is_over))
			enter(b, BROADCAST_ABORTED);
		break;
	case BROADCAST_COMMITTED:
	case BROADCAST_ABORTED:
		break;
	}
	return b->phase != before;
}

static void charge_lag(struct broadcast *b)
{
	int holder = broadcast_bottleneck(b);

	if (holder != b->lag_clock.holder)
		lag_charge(&b->lag_clock, b->lags, holder, now_of(b));
}

void broadcast_pump(struct broadcast *b)
{
	do {
		for (unsigned int i = 0; i < n_legs(b); i++)
			leg_pump(&b->legs[i]);
	} while (step(b));
	charge_lag(b);
}

/* ---- time ---------------------------------------------------------------- */

void broadcast_hold(struct broadcast *b, bool held)
{
	b->reading_held = held;
}

/*
 * The slowest target, while the client waits for it: because the ring is full,
 * or because everything is in the ring and it is the one that still takes it.
 */
int broadcast_bottleneck(const struct broadcast *b)
{
	uint64_t tail = ring_tail(b->ring);

	if (b->phase != BROADCAST_STREAMING && b->phase != BROADCAST_STAGING)
		return LAG_NOBODY;
	if (!b->reading_held && !b->is_complete)
		return LAG_NOBODY;
	if (tail == ring_head(b->ring))
		return LAG_NOBODY;
	for (unsigned int i = 0; i < n_legs(b); i++)
		if (b->legs[i].cursor.attached &&
		    b->legs[i].cursor.position == tail)
			return (int)i;
	return LAG_NOBODY;
}

/* Detach the bottleneck when it is too far behind and can be done without. */
static void check_lag(struct broadcast *b)
{
	uint64_t limit = b->front->settings->lag_timeout_ms;
	int holder = broadcast_bottleneck(b);
	uint64_t without;
	struct leg *leg;

	lag_charge(&b->lag_clock, b->lags, holder, now_of(b));
	if (holder == LAG_NOBODY || !lag_is_behind(&b->lags[holder], limit))
		return;
	leg = &b->legs[holder];
	without = legs_that(b, leg_is_alive) & ~(UINT64_C(1) << holder);
	if (leg->state == LEG_SENDING &&
	    policy_is_met(&b->front->settings->policy, without))
		leg_detach(leg, b->lags[holder].since_caught_up_ms);
}

/* This process was stopped or starved: do not blame the targets for it. */
static void forgive_own_sleep(struct broadcast *b)
{
	uint64_t gap = now_of(b) - b->checked_ms;

	b->checked_ms = now_of(b);
	if (gap < SLEEP_GAP_MS)
		return;
	b->lag_clock.since_ms += gap;
	for (unsigned int i = 0; i < n_legs(b); i++)
		leg_forgive(&b->legs[i], gap);
}

void broadcast_tick(struct broadcast *b)
{
	forgive_own_sleep(b);
	check_lag(b);
	for (unsigned int i = 0; i < n_legs(b); i++)
		leg_check_time(&b->legs[i]);
	broadcast_pump(b);
}
