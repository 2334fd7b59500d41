/*
 * broadcast.h - one object to all targets: opening, tee, verdict, commit
 *
 *   OPENING ─▶ STREAMING ─▶ STAGING ─▶ READY ─▶ COMMITTING ─▶ FINISHING ─▶ COMMITTED
 *      │           │           │         │           │            │
 *      └───────────┴───────────┴─────────┴── ABORTING ◀───────────┘──▶ ABORTED
 *
 * A broadcast owns its legs. It borrows the ring from the upload, who writes to
 * it while the phase allows reading, and lends the ring to the next object when
 * this one is READY. It never reads the client and never answers it: the upload
 * (ingest.h) pumps it, looks at the phase, and decides to commit or abort.
 */
#ifndef BROADCASTER_BROADCAST_H
#define BROADCASTER_BROADCAST_H

#include "broadcaster/leg.h"

#define BROADCAST_PHASES(X) \
	X(OPENING, "opening")		/* until enough targets accepted */ \
	X(STREAMING, "streaming")	/* bytes flow */ \
	X(STAGING, "staging")		/* all bytes in, targets verify */ \
	X(READY, "ready")		/* verdict good: commit when you like */ \
	X(COMMITTING, "committing")	/* readers commit */ \
	X(FINISHING, "finishing")	/* plain endpoints get their last bytes */ \
	X(COMMITTED, "committed")	/* policy met, visible; done */ \
	X(ABORTING, "aborting")		/* copies are being withdrawn */ \
	X(ABORTED, "aborted")		/* nothing left anywhere; done */

enum broadcast_phase {
#define X(name, text) BROADCAST_##name,
	BROADCAST_PHASES(X)
#undef X
};

struct broadcast {
	struct front *front;
	struct ring *ring;
	struct object_info info;
	struct leg_context context;
	enum broadcast_phase phase;
	struct leg *legs;		/* front->n_outlets of them */
	struct lag *lags;
	struct lag_clock lag_clock;
	char claimed[DIGEST_HEX_SIZE];	/* what the client says, or "" */
	bool is_keyed;			/* others may be at this id as well */
	uint64_t bytes;			/* of the object so far */
	bool is_complete;
	bool reading_held;		/* the client waits because the ring is full */
	uint64_t started_ms, ended_ms;
	uint64_t checked_ms;		/* when the time was last looked at */
	struct err err;			/* why it was aborted */
};

/*
 * A new object in phase OPENING, legs idle; `ring` is empty and at position 0.
 * wake(owner) is called when there is something to pump. NULL: out of memory.
 */
struct broadcast *broadcast_new(struct front *front, struct ring *ring,
				void (*wake)(void *owner), void *owner);

/* Close and free everything at once, without telling targets; nulls. */
void broadcast_free(struct broadcast **broadcast);

/*
 * Connect to all targets that do not have the object yet (legs in state IDLE).
 */
void broadcast_open(struct broadcast *b);

/* Name, type, size and id are known now (b->info): the heads may be sent. */
void broadcast_offer(struct broadcast *b);

/*
 * Copies that were found already (leg_adopt) satisfy the policy: the object is
 * COMMITTED, nothing is to be sent. False: they do not, nothing has changed.
 */
bool broadcast_adopt(struct broadcast *b);

/* Are enough targets connected (or further) for the policy? */
bool broadcast_is_connected(const struct broadcast *b);

/* Is it over, for good or bad? */
bool broadcast_is_done(const struct broadcast *b);

/* Bytes were committed to the ring. */
void broadcast_feed(struct broadcast *b, size_t n);

/* The object is complete: its last byte is in the ring. */
void broadcast_complete(struct broadcast *b);

/* Reading is held (or not) because the ring is full: for the bottleneck. */
void broadcast_hold(struct broadcast *b, bool held);

/*
 * Commit what is READY; `metadata` (or NULL) goes with it to every reader and
 * outlives the broadcast.
 */
void broadcast_commit(struct broadcast *b, const struct metadata *metadata);

/* Undo a commit of this form when a later object of it fails. */
void broadcast_undo(struct broadcast *b, const struct err *why);

/* Do all that is possible now; may change the phase. */
void broadcast_pump(struct broadcast *b);

/* Look at the clock: timeouts, lag. Every now and then (250 ms). */
void broadcast_tick(struct broadcast *b);

/* Index of the leg that holds the upload up, or LAG_NOBODY. */
int broadcast_bottleneck(const struct broadcast *b);

/* Copies committed now. */
unsigned int broadcast_copies(const struct broadcast *b);

#endif
