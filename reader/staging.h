/*
 * staging.h - the objects that are being received or wait for their commit
 *
 * One table for all threads, under one mutex that is held for a few
 * instructions. An entry is either *held* by one operation (which alone may use
 * its sink) or *at rest* (its sink belongs to the table). Who wants an entry
 * takes it, from rest only; who finds it held goes away or waits until it is
 * let go.
 *
 *   create ─▶ RECEIVING ─rest─▶ PARTIAL, COMPLETE ─take─▶ RECEIVING,
 *                 │                                       COMMITTING, ABORTING
 *                 └────────────── drop ──▶ gone ◀── drop ──────┘
 *
 * A holder that said where to reach it can be asked to give up: its on_abort is
 * called on its own loop, and from then on the entry cannot be put to rest any
 * more, so that the holder has to abort the sink and drop the entry.
 *
 * Bounds: at most `max` entries. The table never calls a sink.
 */
#ifndef READER_STAGING_H
#define READER_STAGING_H

#include "common/digest.h"
#include "common/loop.h"
#include "common/uuid.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define STAGED_STATES(X)                                               \
	X(RECEIVING, "receiving", "held: bytes arrive")                \
	X(PARTIAL, "partial", "at rest: more bytes may be appended")   \
	X(COMPLETE, "staged", "at rest: waits for its commit")         \
	X(COMMITTING, "committing", "held: becomes visible")           \
	X(ABORTING, "aborting", "held: is being removed")              \
	X(GONE, "gone", "out of the table")

#define STAGED_STATE_NAME(name, text, meaning) STAGED_##name,
enum staged_state { STAGED_STATES(STAGED_STATE_NAME) };
#undef STAGED_STATE_NAME

struct sink;
struct staging;

/* Where to ask a holder to give up; on_abort NULL: it cannot be asked. */
struct staging_holder {
	struct loop *loop;
	loop_fn *on_abort;
	void *arg;
};

/* Told once that an entry was let go; embedded in its owner until then. */
struct staging_waiter {
	struct staging_waiter *next;
	struct loop *loop;
	loop_fn *fn;
	void *arg;
	struct post post;
};

/* An entry. Pointers to it are valid for its holder until staging_drop(). */
struct staged {
	char id[UUID_TEXT_SIZE];
	/* the holder's; read by others only at rest */
	struct sink *sink;
	char sha256[DIGEST_HEX_SIZE];	/* "" until complete */
	atomic_uint_fast64_t offset;	/* bytes stored; read at any time */
	/* the table's, under its mutex */
	struct staged *next;
	enum staged_state state;
	struct staging_holder holder;
	struct staging_waiter *waiters;
	uint64_t touched_ms;
	bool abort_wanted;
	bool posted;			/* `post` is on its way */
	struct post post;
	struct staging *table;
};

/* A table for at most `max` entries, or NULL when out of memory. */
struct staging *staging_new(size_t max);

/* Free *table and null it; it must be empty. */
void staging_free(struct staging **table);

enum staging_answer {
	STAGING_NEW,		/* created: held, RECEIVING, without a sink */
	STAGING_TAKEN,		/* was at rest: held now */
	STAGING_UNKNOWN,	/* there is none of this id */
	STAGING_HELD,		/* somebody holds it */
	STAGING_FRESH,		/* at rest, but touched a moment ago */
	STAGING_ELSEWHERE,	/* at rest, but does not end at this offset */
	STAGING_FULL,		/* `max` entries, or out of memory */
};

/*
 * For an object from its first byte: create the entry, or take one at rest that
 * nobody touched since `stale_ms` (monotonic), whose sink has to be aborted
 * first. FRESH: *touched_ms says since when it rests.
 */
enum staging_answer staging_create(struct staging *table, const char *id,
				   const struct staging_holder *holder,
				   uint64_t stale_ms, struct staged **entry,
				   uint64_t *touched_ms);

/*
 * Take the entry from rest to RECEIVING, if it ends at `offset`; ELSEWHERE:
 * *end says where it does. TAKEN, UNKNOWN, HELD or ELSEWHERE.
 */
enum staging_answer staging_append(struct staging *table, const char *id,
				   uint64_t offset,
				   const struct staging_holder *holder,
				   struct staged **entry, uint64_t *end);

/* Take the entry from rest into a held state: TAKEN, UNKNOWN or HELD. */
enum staging_answer staging_take(struct staging *table, const char *id,
				 enum staged_state state,
				 const struct staging_holder *holder,
				 struct staged **entry);

/*
 * Take any entry at rest that nobody touched after `until_ms`, for ABORTING;
 * NULL when there is none.
 */
struct staged *staging_take_old(struct staging *table, uint64_t until_ms,
				const struct staging_holder *holder);

/*
 * Let a held entry go to rest, PARTIAL or COMPLETE, touched at `now_ms`; the
 * entry is not the caller's any more. False when its holder was asked to give
 * up: it stays held, and has to be aborted and dropped.
 */
bool staging_rest(struct staged *entry, enum staged_state state,
		  uint64_t now_ms) MUST_CHECK;

/* Its holder has no sink left: out of the table, and nulled. */
void staging_drop(struct staged **entry);

/*
 * The same for a sink that another process may go on with, which need not rest here.
 * False when its holder was asked to give up: it stays held, as by staging_rest().
 */
bool staging_leave(struct staged **entry) MUST_CHECK;

/*
 * Wait until the entry is let go (rests, or is gone): waiter->fn(arg) is posted
 * to its loop once; fill these three before. `give_up` asks its holder to abort
 * it. False when nobody holds it (any more): not queued.
 */
bool staging_wait(struct staging *table, const char *id,
		  struct staging_waiter *waiter, bool give_up) MUST_CHECK;

/* What can be told about an entry without holding it. */
struct staging_view {
	enum staged_state state;
	uint64_t offset;
	char sha256[DIGEST_HEX_SIZE];	/* "" unless COMPLETE */
};

/* Look at an entry; false when there is none. */
bool staging_look(struct staging *table, const char *id,
		  struct staging_view *view);

/*
 * Entries that somebody is at work on: held ones, and complete ones that came
 * to rest after `since_ms`, whose commit may be under way.
 */
size_t staging_busy(struct staging *table, uint64_t since_ms);

/* Entries at rest. */
size_t staging_at_rest(struct staging *table);

#endif
