/*
 * sink_impl.h - what a kind of store implements; only for reader/sink*.c
 *
 * A kind is one constant struct sink_type of functions and one row in
 * SINK_TYPES. Its own store and sink structs begin with struct store and
 * struct sink. Functions are only called by the wrappers in sink.c, which check
 * the sequence, copy the object, keep the digest and count the bytes, so a type
 * never asks whether it may.
 *
 *   wrapper ──▶ type->write(sink, bytes) ── … ──▶ sink_end(sink) ──▶ done
 *
 * Each operation ends with exactly one sink_end() (store_*_end()) on the loop
 * it was begun on, with sink->err set or not, before or after the type's
 * function has returned. After it the sink may be gone: touch nothing more.
 */
#ifndef READER_SINK_IMPL_H
#define READER_SINK_IMPL_H

#include "common/http_server.h"

#include "reader/sink.h"
#include "reader/sniff.h"

#include <pthread.h>

/* All kinds; the first is what people use. */
#define SINK_TYPES(X) \
	X(file) \
	X(postgres) \
	X(s3) \
	X(exec) \
	X(discard)

struct sink_type {
	const char *kind;
	bool can_append;	/* write after stage or suspend; else refused */
	bool is_shared;		/* other processes store and commit there, too */

	/* As store_open(): NULL with `err`. The base is filled in after. */
	struct store *(*store_open)(const struct reader_settings *settings,
				    struct workers *workers, struct err *err);
	/*
	 * The base is filled in: threads of the store's own may begin. -1 with
	 * `err`, and store_close() follows. NULL when it has none.
	 */
	int (*start)(struct store *store, struct err *err);
	/* End them: the base is about to go. NULL as start. */
	void (*stop)(struct store *store);
	void (*store_close)(struct store *store);
	/* As store_leave(); NULL when it keeps nothing on loops. */
	void (*leave)(struct store *store, struct loop *loop);
	void (*check)(struct store_probe *probe, struct loop *loop);
	void (*find)(struct store_lookup *lookup, struct loop *loop);
	void (*remove)(struct store_lookup *lookup, struct loop *loop);
	void (*list)(struct store_list *list, struct loop *loop);
	/* As store_find_suspended(); NULL when nothing survives the process. */
	void (*find_suspended)(struct store_lookup *lookup, struct loop *loop);

	/*
	 * NULL in types whose lookups give an fd, or no content. Zeroed but for
	 * the type's own members; NULL when out of memory.
	 */
	struct source *(*source_new)(struct store_lookup *found);
	/* Free lookup->content; NULL in types that have none. */
	void (*release)(struct store_lookup *lookup);
	/* Fill pieces from `at`, advance it, then source_end(). */
	void (*source_next)(struct source *source);
	/* Free it, also while source_next runs: no source_end() then. */
	void (*source_free)(struct source *source);

	/* Zeroed but for the type's own members; NULL when out of memory. */
	struct sink *(*sink_new)(struct store *store);
	/* Free the memory; after abort or commit, or when open never ran. */
	void (*sink_free)(struct sink *sink);
	void (*open)(struct sink *sink);
	/*
	 * As sink_resume(): fill in object, offset and digest. Of what is found
	 * to be there, abort removes everything. NULL as find_suspended.
	 */
	void (*resume)(struct sink *sink);
	/* Digests `bytes` itself, on the thread where it handles them. */
	void (*write)(struct sink *sink, struct span bytes);
	/* sink->object is complete: size, sha256, created_ms, content_type. */
	void (*stage)(struct sink *sink);
	void (*suspend)(struct sink *sink);	/* NULL when it cannot append */
	/* Stores sink->object.details, new ones if sink->described. */
	void (*commit)(struct sink *sink);
	/* Undo what open and the later ones did, however far they came. */
	void (*abort)(struct sink *sink);
};

#define SINK_TYPE_DECLARE(name) extern const struct sink_type sink_type_##name;
SINK_TYPES(SINK_TYPE_DECLARE)
#undef SINK_TYPE_DECLARE

#define STORE_BUCKETS 256u

struct store {
	const struct sink_type *type;
	struct workers *workers;
	struct sniffer *sniffer;		/* NULL: types stay as given */
	pthread_mutex_t lock;			/* guards `sinks` */
	struct sink *sinks[STORE_BUCKETS];	/* by id: one sink an id */
};

enum sink_state {
	SINK_NEW,	/* sink_open() has not ended */
	SINK_OPEN,	/* takes bytes */
	SINK_STAGED,	/* complete, invisible */
	SINK_COMMITTED, /* visible */
	SINK_FAILED,	/* an operation failed: only abort is left */
	SINK_GONE,	/* aborted */
};

enum sink_op {
	SINK_IDLE,
	SINK_OPENING,
	SINK_WRITING,
	SINK_STAGING,
	SINK_SUSPENDING,
	SINK_COMMITTING,
	SINK_ABORTING,
};

struct sink {
	struct store *store;
	struct sink *next;	/* in its bucket */
	bool listed;		/* in the store's table: open was begun */
	enum sink_state state;
	struct object object;
	uint64_t promised;	/* its size as sink_open() was told it */
	uint64_t offset;	/* bytes of the writes that ended well */
	struct digest *digest;	/* of those bytes; the type updates it */
	bool expects_more;	/* as sink_expect_more() says */
	bool published;		/* by the type: commit made the object */
	bool described;		/* its details may differ from those staged */
	struct sniff_head head;	/* the first bytes, until it is staged */
	struct job sniff_job;
	/* the operation that runs */
	enum sink_op op;
	size_t op_bytes;
	struct loop *loop;
	sink_done_fn *done;
	void *arg;
	struct err err;
};

/* The running operation has ended, well unless sink->err is set. */
void sink_end(struct sink *sink);

/*
 * The same for the requests of a store: the argument is the store_probe,
 * store_lookup or store_list, so that they can be a job's `done` as they are.
 */
void store_probe_end(void *probe);

/* A store_lookup: find, remove. */
void store_lookup_end(void *lookup);

/* A store_list. */
void store_list_end(void *list);

/* One range that is being read; a type's own struct begins with it. */
struct source {
	struct store *store;
	struct loop *loop;
	uint64_t at, end;	/* bytes of the object: next, behind the last */
	struct span pieces[HTTP_CONTENT_PIECES];
	size_t n_pieces;
	bool busy;		/* source_next() runs */
	sink_done_fn *done;
	void *arg;
	struct err err;
};

/* source_next() has ended, well unless source->err is set. */
void source_end(struct source *source);

/* A number for tables by identifier (FNV-1a). */
uint32_t object_id_hash(const char *id);

/* Is a sink of this process at work on that object? Any thread. */
bool store_has_sink(struct store *store, const char *id);

/* Have the two the same content: size and digest? */
bool object_is_same(const struct object *a, const struct object *b);

#endif
