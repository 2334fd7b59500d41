/*
 * ingest.h - one request: from its admission to its receipt
 *
 *   LOOKING ─▶ OPENING ─▶ READING ─▶ COMMITTING ─▶ ANSWERED
 *      │          │          │            │
 *      │          └──────────┴─ ABORTING ─┴─▶ ANSWERED
 *      └─▶ ANSWERED (a repeated Idempotency-Key)
 *
 * An ingest owns its ring and its broadcasts: one for a raw body, one for each
 * file of a form. A form is stored whole or not at all: its objects are staged
 * one after the other through the same ring and committed together at its end,
 * with what its other fields and Upload-Metadata say (intake.metadata).
 *
 * All facts (body bytes, targets, time) end in one deferred, level-triggered
 * pump; reading from the client is on while the mask of holds is 0.
 */
#ifndef BROADCASTER_INGEST_H
#define BROADCASTER_INGEST_H

#include "broadcaster/broadcast.h"
#include "common/intake.h"

#define INGEST_MAX_OBJECTS MULTIPART_MAX_PARTS

#define INGEST_STATES(X) \
	X(LOOKING, "looking")		/* has the key been stored before? */ \
	X(OPENING, "opening")		/* not a body byte read yet */ \
	X(READING, "receiving")		/* body under way, or verified */ \
	X(COMMITTING, "committing")	/* all objects are ready */ \
	X(ABORTING, "aborting")		/* copies are being withdrawn */ \
	X(ANSWERED, "done")		/* the receipt is out */

enum ingest_state {
#define X(name, text) INGEST_##name,
	INGEST_STATES(X)
#undef X
};

/* Why the client is not read from; 0 = it is. */
#define HOLD_OPENING 1u		/* the object's targets have not accepted yet */
#define HOLD_RING_FULL 2u	/* resumes when the ring is half empty */
#define HOLD_STAGING 4u		/* the object is complete, not yet verified */

struct lookup;
struct watcher;

struct ingest {
	struct grave grave;		/* first: freed after the turn */
	struct front *front;
	struct http_exchange *x;	/* NULL once it has ended */
	struct intake intake;
	struct ring *ring;
	struct broadcast *objects[INGEST_MAX_OBJECTS];
	unsigned int n_objects;
	struct broadcast *current;	/* the one being received, or NULL */
	enum ingest_state state;
	unsigned int holds;
	bool is_form;
	bool body_ended;
	bool is_repeated;		/* answered from an earlier upload */
	bool shows_id;			/* the answer has the id at its top */
	struct deferred pump;
	struct timer tick;
	struct lookup *lookup;
	struct watcher *watchers;	/* of its progress, on this thread */
	struct ingest *next, **link;	/* in front->uploads */
	char id[UUID_TEXT_SIZE];	/* of its first object */
	char key[256];			/* Idempotency-Key, or "" */
	char name[OBJECT_NAME_SIZE];	/* of a raw body */
	uint64_t started_ms, rate_ms;
	uint64_t rate, rate_bytes;	/* bytes a second, recently */
	struct err err;			/* why it failed */
};

/* The state's word. */
const char *ingest_state_name(enum ingest_state state);

/*
 * Take an admitted upload request: attaches to `x` and goes on by itself until
 * the receipt is sent. `name`: of a raw body, decoded, maybe "". `shows_id`: the
 * answer has the (first) object's id beside its status. A refusal (bad form or
 * metadata, out of memory, too many uploads) is answered here as well.
 */
void ingest_start(struct front *front, struct http_exchange *x,
		  const char *name, const char *key, bool shows_id);

/* Abort it: `why` goes into the receipt (drain deadline, second signal). */
void ingest_abort(struct ingest *ingest, const struct err *why);

/* End it at once and tell nobody, when the exchange and the loop have ended. */
void ingest_drop(struct ingest *ingest);

/*
 * Is this a name that an object may have: UTF-8, no control characters, at most
 * 1024 bytes, no separator, not "." or ".."? "" is. For error texts: `err`.
 */
int object_name_check(const char *name, struct err *err) MUST_CHECK;

#endif
