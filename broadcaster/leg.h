/*
 * leg.h - one object on its way to one target
 *
 *               open                offer              100 Continue
 *   IDLE ──▶ CONNECTING ──▶ CONNECTED ──▶ OFFERED ──▶ SENDING ──▶ ANSWERING ──▶ STAGED
 *                                                        │                        │ commit
 *                                          plain endpoint └──▶ HELD ─ commit ─┐   ▼
 *                                                                   COMMITTING ──▶ COMMITTED
 *   any ──▶ FAILED, DETACHED, ABORTED (through WITHDRAWING when a copy must go)
 *
 * A leg sends straight from the upload's ring at its own cursor. It never says
 * end-of-body unless the object is complete: giving up closes the connection in
 * the middle. A plain endpoint cannot stage, so its last bytes are held back
 * until the verdict (HELD), and its 2xx then counts as committed.
 *
 * Callbacks only note facts and call ctx->wake; everything else happens in
 * leg_pump(), which may be called at any time, once too often as well.
 */
#ifndef BROADCASTER_LEG_H
#define BROADCASTER_LEG_H

#include "broadcaster/front.h"
#include "broadcaster/lag.h"
#include "common/digest.h"
#include "common/metadata.h"

#define OBJECT_NAME_SIZE 1025		/* UTF-8 and a NUL */
#define OBJECT_TYPE_SIZE 256
#define OBJECT_SIZE_UNKNOWN UINT64_MAX

/* What an object is to become. */
struct object_info {
	char id[UUID_TEXT_SIZE];
	char name[OBJECT_NAME_SIZE];
	char content_type[OBJECT_TYPE_SIZE];
	uint64_t size;			/* or OBJECT_SIZE_UNKNOWN */
};

#define LEG_STATES(X) \
	X(IDLE, "idle")			/* nothing done yet */ \
	X(CONNECTING, "connecting")	/* waiting for a connection */ \
	X(CONNECTED, "connected")	/* waiting for the object's name */ \
	X(OFFERED, "offered")		/* waiting for 100 Continue */ \
	X(SENDING, "sending")		/* body under way */ \
	X(HELD, "held")			/* all but the end sent, plain endpoint */ \
	X(ANSWERING, "answering")	/* all sent, waiting for the answer */ \
	X(STAGED, "staged")		/* complete and verified, invisible */ \
	X(COMMITTING, "committing")	/* commit sent, waiting for the answer */ \
	X(COMMITTED, "committed")	/* durable and visible */ \
	X(WITHDRAWING, "withdrawing")	/* telling the target to remove its copy */ \
	X(FAILED, "failed")		/* err says why */ \
	X(DETACHED, "detached")		/* too far behind; the upload goes on */ \
	X(ABORTED, "aborted")		/* nothing left there, by our decision */

enum leg_state {
#define X(name, text) LEG_##name,
	LEG_STATES(X)
#undef X
};

struct leg;

/* What all legs of one object share. Owned by the broadcast. */
struct leg_context {
	struct front *front;
	struct ring *ring;
	const struct object_info *info;
	bool is_offered;	/* info is complete: the head may be sent */
	bool is_complete;	/* the ring's head is the object's end */
	const struct leg *first; /* offered before all others; or NULL */
	char sha256[DIGEST_HEX_SIZE];	/* what is to be committed */
	const struct metadata *metadata; /* goes with the commit; or NULL */
	void (*wake)(void *owner);	/* a fact was noted: pump soon */
	void *owner;
};

/* Control bytes on their way out: heads, chunk framing. */
struct outbox {
	char *ptr;		/* small, or malloc'ed */
	size_t len, sent;
	char small[64];
};

struct leg {
	struct leg_context *ctx;
	const struct outlet *outlet;
	enum leg_state state;
	struct ring_cursor cursor;	/* position = body bytes sent */
	struct lag *lag;		/* its account; the broadcast's */
	struct http_link *link;
	struct http_call *call;
	struct reply *reply;		/* while an answer is being read */
	unsigned int n_interim;		/* interim answers seen before it */
	struct outbox out;
	uint64_t chunk_left;		/* of the chunk being sent */
	bool is_chunked;
	bool is_started;		/* the body's first bytes are on their way */
	bool has_chunk;			/* a chunk was sent and lacks its CRLF */
	bool is_terminated;		/* the body's last bytes were queued */
	char held;			/* last byte of an identity body, HELD */
	bool has_held;
	bool is_opened;			/* fact: the link is connected */
	bool has_idled;			/* the link, before the offer */
	bool is_readable, is_blocked;	/* facts: of the link */
	bool is_early;			/* a 2xx came before the end */
	bool has_staged;		/* the target may hold our copy */
	unsigned int tries;		/* of the running call */
	uint64_t started_ms, ended_ms;
	uint64_t deadline_ms;		/* of the state; UINT64_MAX = none */
	struct err link_err;		/* fact: opening failed */
	enum leg_state after_withdrawal;
	/* what the target says it has */
	uint64_t size;
	char sha256[DIGEST_HEX_SIZE];
	struct err err;
};

/* The state's word, as in receipts and progress. */
const char *leg_state_name(enum leg_state state);

/* Begin, IDLE, with the cursor attached to the ring. `ctx` outlives the leg. */
void leg_init(struct leg *leg, struct leg_context *ctx,
	      const struct outlet *outlet, struct lag *lag);

/* Close, cancel and free whatever it holds, from any state; idempotent. */
void leg_release(struct leg *leg);

/* Start connecting. */
void leg_open(struct leg *leg);

/*
 * The target has the object already, committed (a repeated Idempotency-Key):
 * nothing is sent.
 */
void leg_adopt(struct leg *leg, uint64_t size, const char *sha256);

/* Do all that is possible now. */
void leg_pump(struct leg *leg);

/* Fail it when its time is up. Call it every now and then. */
void leg_check_time(struct leg *leg);

/* Move its deadlines on by `ms` in which this process itself did not run. */
void leg_forgive(struct leg *leg, uint64_t ms);

/* Make the staged or held copy visible; ctx->sha256 says which. */
void leg_commit(struct leg *leg);

/*
 * Give up: close in the middle of the body, or withdraw a copy that exists.
 * Ends ABORTED. No effect on a leg that has ended without a copy.
 */
void leg_abort(struct leg *leg);

/*
 * Fail it for a reason found outside (digest differs, policy …). What is staged
 * there is deleted, while the upload goes on.
 */
void leg_fail(struct leg *leg, enum err_code code, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

/* Too far behind: the upload goes on without it. */
void leg_detach(struct leg *leg, uint64_t behind_ms);

/* Has the target accepted the object (or already more)? */
bool leg_is_accepted(const struct leg *leg);

/* Does it have, or may it still get, a copy? */
bool leg_is_alive(const struct leg *leg);

/* Is a complete copy there, waiting for the verdict (or committed)? */
bool leg_is_ready(const struct leg *leg);

/* Is nothing under way any more: ready, committed or ended? */
bool leg_is_settled(const struct leg *leg);

/* Milliseconds from leg_open() to its end, or until now. */
uint64_t leg_duration_ms(const struct leg *leg);

#endif
