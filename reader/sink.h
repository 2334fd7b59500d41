/*
 * sink.h - the one interface between the reader and its kinds of store
 *
 * Three nouns: a *type* is code (file, discard, exec …), a *store* is one
 * configured destination of that type and lives as long as the process, a
 * *sink* is one object on its way into the store.
 *
 *     sink_open ──▶ OPEN ──write*──▶ OPEN ──stage──▶ STAGED ──commit──▶ COMMITTED
 *                    ▲                │ ▲              │
 *                    └──── suspended ─┘ └─ append ─────┘     any ──abort──▶ gone
 *
 * Every operation is asynchronous and there is at most one at a time: it ends
 * with exactly one call of its `done`, on the loop it was started from, maybe
 * before the starting call returns. `err` is NULL for success; the first error
 * makes the sink FAILED and from then on only sink_abort() is allowed. The
 * wrappers below check this sequence; types are only called through them.
 *
 * A sink belongs to whoever holds it, one thread at a time. It may be handed to
 * another thread after open, suspend, stage or commit; from a write to the next
 * of these it stays with one loop, where its store may be at work in between.
 *
 * The wrapper counts the bytes and the type computes SHA-256 over what it really
 * stored, wherever it runs (a file's worker thread; the loop for discard).
 */
#ifndef READER_SINK_H
#define READER_SINK_H

#include "common/digest.h"
#include "common/err.h"
#include "common/loop.h"
#include "common/span.h"
#include "common/uuid.h"
#include "common/workers.h"

#include <jansson.h>
#include <stdint.h>

struct store;
struct sink;
struct reader_settings;

#define OBJECT_NAME_SIZE 1025		/* UTF-8 and a NUL; data, never a path */
#define OBJECT_TYPE_SIZE 256
#define OBJECT_TITLE_SIZE 512
#define OBJECT_METADATA_SIZE 2048	/* JSON text and a NUL */
#define OBJECT_SIZE_UNKNOWN UINT64_MAX

/*
 * What people say about an object besides its name; known at the latest when
 * it is committed. Each "" when it was not given.
 */
struct object_details {
	char title[OBJECT_TITLE_SIZE];		/* UTF-8, for search */
	char creator[OBJECT_TITLE_SIZE];	/* UTF-8, for search */
	char metadata[OBJECT_METADATA_SIZE];	/* a JSON object of strings */
};

/* What is known of an object; plain data, copied freely. */
struct object {
	char id[UUID_TEXT_SIZE];
	char name[OBJECT_NAME_SIZE];
	char content_type[OBJECT_TYPE_SIZE];
	uint64_t size;			/* OBJECT_SIZE_UNKNOWN until staged */
	char sha256[DIGEST_HEX_SIZE];	/* "" until staged */
	uint64_t created_ms;		/* the id's time if it has one, or the stage's */
	struct object_details details;
};

/* Ends an operation; `err` is NULL for success and valid during the call only. */
typedef void sink_done_fn(void *arg, const struct err *err);

/* ---- stores -------------------------------------------------------------- */

/*
 * Open the store of type `kind` ("file" …) with the program's settings; removes
 * what a killed process left half-written. May block: called at start, before
 * the loops run. NULL with ERR_CONFIG (unknown kind, bad setting) or ERR_STORE.
 */
struct store *store_open(const char *kind, const struct reader_settings *settings,
			 struct workers *workers, struct err *err);

/* Close *store and null it; no sink may be left. */
void store_close(struct store **store);

/*
 * `loop` is about to be freed, and its thread has ended: give up what the store
 * keeps there. No sink, source or request may be left on it.
 */
void store_leave(struct store *store, struct loop *loop);

/* The kind's name, "file". */
const char *store_kind(const struct store *store);

/* NULL-terminated names of all kinds, for the configuration table. */
extern const char *const store_kinds[];

/*
 * Is the store usable now (directory writable …)? Asynchronous, on `loop`;
 * done(arg, NULL) or the reason. For /readyz. At most one at a time for each
 * `probe`, which the caller embeds and keeps until done.
 */
struct store_probe {
	struct store *store;
	struct job job;
	sink_done_fn *done;
	void *arg;
	struct err err;
};
void store_check(struct store *store, struct store_probe *probe,
		 struct loop *loop, sink_done_fn *done, void *arg);

/* ---- sinks --------------------------------------------------------------- */

/*
 * Begin an object at offset 0. done once the store has accepted it (directory
 * writable, program started …): only then is 100 Continue sent. Returns the
 * sink, to be ended by sink_abort() or sink_close() in any case, or NULL when
 * out of memory (done is not called). Copies *object. One sink an id: while
 * there is another, ERR_CONFLICT; ERR_CLIENT when the id is no UUID.
 */
struct sink *sink_open(struct store *store, const struct object *object,
		       struct loop *loop, sink_done_fn *done, void *arg);

/*
 * Go on with an object that a sink of another process, which has ended, was
 * suspended with: as sink_open(), and done when its offset is known. Two that go
 * on with the same one disturb each other. ERR_NOT_FOUND when there is none: the
 * sink is to be aborted in that case, too, which then does nothing.
 */
struct sink *sink_resume(struct store *store, const char *id, struct loop *loop,
			 sink_done_fn *done, void *arg);

/*
 * After sink_open(), before its first byte: the object may be gone on with
 * (PATCH), so that the store may note, while bytes come, how far it has got.
 */
void sink_expect_more(struct sink *sink);

/* Do suspended objects survive the process? */
bool store_can_resume(const struct store *store);

/*
 * Store the next bytes: `bytes` (1 … INT32_MAX) are borrowed until done. In
 * order, without gaps.
 */
void sink_write(struct sink *sink, struct loop *loop, struct span bytes,
		sink_done_fn *done, void *arg);

/*
 * The object is complete: flush, verify what can be verified, make durable
 * where the store can, but keep it invisible. After done, sink_object() has
 * size and sha256, and the content type that its first bytes tell when it came as
 * application/octet-stream (sniff.h). Staging what is STAGED already succeeds and
 * does nothing.
 */
void sink_stage(struct sink *sink, struct loop *loop, sink_done_fn *done,
		void *arg);

/*
 * From STAGED or between writes: nothing to do now, more bytes may be appended
 * later (PATCH). The type releases what it need not hold (descriptors) and must
 * have stored all bytes written so far. A STAGED sink stays so, and may be
 * committed, until more is written. Types that cannot append (exec) refuse with
 * ERR_CONFLICT and fail the sink, as they do a write to a STAGED sink.
 */
void sink_suspend(struct sink *sink, struct loop *loop, sink_done_fn *done,
		  void *arg);

/*
 * Say what the details of the object are, from OPEN or STAGED; nothing is stored
 * before the commit. Copies *details.
 */
void sink_describe(struct sink *sink, const struct object_details *details);

/*
 * Durable and visible when done says success. From STAGED. Success too when an
 * object of the same id, size and digest was committed before; ERR_CONFLICT
 * when another one of that id was.
 */
void sink_commit(struct sink *sink, struct loop *loop, sink_done_fn *done,
		 void *arg);

/*
 * Undo everything and free the sink: nothing of the object is left after done
 * (`err` tells what could not be removed). From any state, but not during
 * another operation; from COMMITTED it takes back what this sink published. A
 * program that was being fed is killed before its standard input is closed, so
 * that it never takes a part for the whole.
 */
void sink_abort(struct sink *sink, struct loop *loop, sink_done_fn *done,
		void *arg);

/*
 * Free a suspended *sink of a store that can resume, and null it: what it stored
 * stays, for sink_resume().
 */
void sink_leave(struct sink **sink);

/* Free *sink after a commit, and null it. */
void sink_close(struct sink **sink);

/* What is known so far; size counts the bytes written until it is staged. */
const struct object *sink_object(const struct sink *sink);

/* Bytes taken so far: the Upload-Offset. */
uint64_t sink_offset(const struct sink *sink);

/* Is it STAGED? FAILED? */
bool sink_is_staged(const struct sink *sink);
bool sink_is_failed(const struct sink *sink);

/* Can this type append after a suspend? */
bool store_can_append(const struct store *store);

/* May another process have committed what is staged here? */
bool store_is_shared(const struct store *store);

/* ---- committed objects --------------------------------------------------- */

/*
 * The operations below run their blocking part on a worker thread or
 * asynchronously and then call done on `loop`. The caller embeds the request
 * and keeps it until done.
 */

/* Look up a committed object. ERR_NOT_FOUND when there is none. */
struct store_lookup {
	struct store *store;
	char id[UUID_TEXT_SIZE];
	bool want_bytes;	/* also open the content for reading */
	struct object object;	/* result */
	/*
	 * The content when want_bytes: a file, which the caller may take (then
	 * it sets -1 here), or -1: source_open() reads it. To be given back by
	 * store_release() in any case.
	 */
	int fd;
	uint64_t hint;		/* the first byte that will be read, probably */
	uint64_t handle;	/* the store's own number of the object */
	void *content;		/* the store's own: read ahead */
	struct job job;
	sink_done_fn *done;
	void *arg;
	struct err err;
};
void store_find(struct store *store, struct store_lookup *lookup,
		struct loop *loop, sink_done_fn *done, void *arg);

/*
 * Look for a suspended object that sink_resume() could go on with: its offset is
 * lookup->object.size. ERR_NOT_FOUND when there is none.
 */
void store_find_suspended(struct store *store, struct store_lookup *lookup,
			  struct loop *loop, sink_done_fn *done, void *arg);

/*
 * Give back the content of a look-up that has ended, if it is still there.
 * Idempotent.
 */
void store_release(struct store_lookup *lookup);

/*
 * Content of a store that keeps it in no file: one range, piece by piece. The
 * store reads ahead by a bounded amount, and holds no transaction and no
 * connection while the consumer takes its time.
 *
 *   source_open ─▶ source_next … done ─▶ source_pieces ─▶ source_next … ─▶ source_close
 */
struct source;

/*
 * Read `length` bytes from `first` of what store_find() found with want_bytes
 * and no fd; within the object. Takes what was read ahead. Used on `loop` only.
 * NULL when out of memory.
 */
struct source *source_open(struct store_lookup *found, uint64_t first,
			   uint64_t length, struct loop *loop);

/*
 * Get the next piece: done(arg, NULL) once there is one, or the range has ended
 * (then source_pieces() is empty), maybe within this call; or the reason. One at
 * a time. Ends the validity of the piece before.
 */
void source_next(struct source *source, sink_done_fn *done, void *arg);

/*
 * The piece: *n spans (at most HTTP_CONTENT_PIECES) that follow each other,
 * valid until source_next() or source_close().
 */
const struct span *source_pieces(const struct source *source, size_t *n);

/* End it, at any time: a source_next() that runs is forgotten. Nulls *source. */
void source_close(struct source **source);

/* Delete a committed object; success also when there is none. Uses lookup->id. */
void store_delete(struct store *store, struct store_lookup *lookup,
		  struct loop *loop, sink_done_fn *done, void *arg);

#define STORE_LIST_MAX 1000u

/*
 * Orders of a list; equal keys are in the order of ids. Descending is the same
 * order from its end, ids too.
 */
enum store_sort {
	STORE_BY_ID,		/* by id, which begins with the time */
	STORE_BY_NAME,		/* by the bytes of the name */
	STORE_BY_SIZE,
	STORE_BY_RELEVANCE,	/* best match of the query first */
};

/*
 * One page of committed objects that match everything asked for. A query ("" =
 * all) is looked for in name, title and creator; how exactly is the store's
 * affair: a plain one wants it to be part of one of them (ASCII letters without
 * case) and finds all equally relevant, a database also finds words with
 * mistakes.
 *
 * Keyset paging: the page begins behind the row that has the key `after_key` and
 * the id `after` ("" = at the beginning); both are of the last row of the page
 * before, the key as its `last_key` said. `rows` and `scores` are malloc'ed by
 * the type, freed by the caller with free(); more is true when a further page may
 * have rows.
 */
struct store_list {
	struct store *store;
	char query[OBJECT_NAME_SIZE];
	char content_type[OBJECT_TYPE_SIZE];	/* whole, "audio/" or ""; no case */
	uint64_t from_ms, until_ms;	/* created in [from, until); 0 = open */
	uint64_t min_size, max_size;	/* bytes, both inclusive; max 0 = open */
	enum store_sort sort;
	bool descending;		/* not for relevance */
	char after[UUID_TEXT_SIZE];
	char after_key[OBJECT_NAME_SIZE];	/* "" when sorted by id */
	size_t limit;			/* 1 … STORE_LIST_MAX */
	struct object *rows;	/* result */
	double *scores;		/* by relevance: of each row; NULL = all 1 */
	size_t n_rows;
	bool more;
	bool ranked;		/* the store tells better matches from worse */
	char last_key[OBJECT_NAME_SIZE];	/* of the last row, as text */
	struct job job;
	sink_done_fn *done;
	void *arg;
	struct err err;
};
void store_list(struct store *store, struct store_list *list, struct loop *loop,
		sink_done_fn *done, void *arg);

#endif
