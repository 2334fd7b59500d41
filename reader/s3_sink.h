/*
 * s3_sink.h - what the files of the s3 store share; private to reader/s3_*.c
 * and reader/sink_s3.c
 *
 *   s3_staging.c   open, write, stage, suspend
 *   s3_commit.c    commit, abort
 *   s3_strays.c    uploads that were made, but whose UploadId got lost
 *   s3_tail.c      what a suspended object leaves in the bucket
 *   s3_resume.c    going on from that, in another process
 *   s3_lookup.c    find, remove, check
 *   s3_source.c    content, range by range
 *   s3_list.c      pages of objects
 *   s3_sweep.c     multipart uploads that nobody commits any more
 *   s3_probe.c     what the server honours
 *
 * Operations of a sink are carried out on the engine's loop, and end on the loop
 * that they were begun from:
 *
 *   begun ──post──▶ s3_*_run() … s3_sink_end() ──after the turn, post──▶ sink_end()
 */
#ifndef READER_S3_SINK_H
#define READER_S3_SINK_H

#include "reader/s3_upload.h"
#include "reader/sink_impl.h"

/*
 * Objects up to this size are one PUT at their commit; until then they are held
 * in memory, by a reader that answers 404 to the commit if it died in between.
 */
#define S3_HELD_BYTES (UINT64_C(64) << 10)

struct s3_probe;
struct s3_sweep;

struct s3_store {
	struct store base;
	struct s3_engine *engine;
	struct s3_probe *probe;
	struct s3_sweep *sweep;
	struct post stop;
};

struct s3_sink;
typedef void s3_sink_fn(struct s3_sink *sink);

/* {id}.part as it is put while bytes come, and who waits for its end. */
struct s3_checkpoint {
	struct s3_request request;
	char *text;			/* NULL: none is on its way */
	char key[S3_KEY_SIZE];
	s3_sink_fn *next;
};

struct s3_sink {
	struct sink base;
	struct s3_engine *engine;
	struct post there, back;
	struct deferred end;
	struct s3_upload upload;
	s3_sink_fn *next;		/* when the upload's operation has ended */
	struct s3_request request;	/* all others, one at a time, but for: */
	struct s3_checkpoint checkpoint;
	struct span bytes;		/* of the running write */
	char *held;			/* all of a small staged object */
	char *text;			/* body of the running request */
	char key[S3_KEY_SIZE];		/* of the running request */
	struct job job;			/* the digest of a tail */
	char sha256[DIGEST_HEX_SIZE];
	char tail_etag[S3_ETAG_SIZE];	/* of {id}.part, as it is known here */
	size_t tail_head;		/* bytes before those of the tail */
	size_t tail_bytes;
	bool has_tail;			/* {id}.part may be there, of ours */
	bool is_suspended;		/* the rest is in the tail only */
	bool is_flushed;		/* the last part was sent, maybe a short one */
	bool is_described;		/* {id}.json may be there, of ours */
	bool is_put;			/* the content may be there, of ours */
	char commit[UUID_TEXT_SIZE];	/* of our own description */
	bool was_refused;		/* another description came first, once */
	bool was_there;			/* an object like it is described */
	bool is_young;			/* what is described was so just now */
};

/* The engine of a store of this kind. */
static inline struct s3_engine *s3_engine_of(struct store *store)
{
	return ((struct s3_store *)store)->engine;
}

/* Run the operation on the engine's loop. */
void s3_sink_post(struct s3_sink *sink, loop_fn *run);

/* It has ended, well unless base.err is set. */
void s3_sink_end(struct s3_sink *sink);

/* Begin its upload: its name, which is part of the key, is known. */
void s3_sink_init_upload(struct s3_sink *sink);

/* What could not be gone on with is left as it is: an abort finds nothing. */
void s3_sink_disown(struct s3_sink *sink);

/* Copy the upload's error, if it has one: true. */
bool s3_sink_failed(struct s3_sink *sink);

/* On the engine's loop; each ends with s3_sink_end(). `arg` is the sink. */
void s3_open_run(void *arg);
void s3_write_run(void *arg);
void s3_stage_run(void *arg);
void s3_suspend_run(void *arg);
void s3_commit_run(void *arg);
void s3_abort_run(void *arg);
void s3_resume_run(void *arg);

/*
 * Put the rest of the upload, and what a later process has to know, into
 * {id}.part: then next(sink), base.err set if it failed. And bring that rest back
 * into the upload.
 */
void s3_tail_put(struct s3_sink *sink, s3_sink_fn *next);
void s3_tail_get(struct s3_sink *sink, s3_sink_fn *next);

/*
 * The upload has reached its mark: put {id}.part, by which another process goes on
 * there if this one is killed. It is tried once, for there will be another mark.
 * An operation that is to touch {id}.part waits for its end: then next(sink).
 */
void s3_checkpoint(struct s3_sink *sink);
void s3_checkpoint_wait(struct s3_sink *sink, s3_sink_fn *next);

/*
 * Abort the uploads that a lost answer to a Create may have left, when the sink's
 * own is complete or aborted: then next(sink), whatever came of it.
 */
void s3_strays_abort(struct s3_sink *sink, s3_sink_fn *next);

/* The first line of {id}.part. */
struct s3_tail_head {
	char name[OBJECT_NAME_SIZE];
	char content_type[OBJECT_TYPE_SIZE];
	char upload_id[S3_UPLOAD_ID_SIZE];
	char digest_state[DIGEST_STATE_SIZE];
	uint64_t offset;	/* bytes of the object, those of the tail too */
	uint64_t tail;
	unsigned int parts;
	size_t len;		/* of the line */
};

/*
 * Read it from the beginning of the tail. -1 with ERR_STORE when damaged: what it says
 * of its own, too, has to fit.
 */
int s3_tail_read(struct span bytes, const char *id, struct s3_tail_head *head,
		 struct err *err) MUST_CHECK;

/* "bytes=0-65535": as much of a tail as has its first line. */
#define S3_TAIL_HEAD_RANGE "bytes=0-65535"

/* The store's operations of objects; as in struct sink_type. */
void s3_find_suspended(struct store_lookup *lookup, struct loop *loop);
void s3_check(struct store_probe *probe, struct loop *loop);
void s3_find(struct store_lookup *lookup, struct loop *loop);
void s3_remove(struct store_lookup *lookup, struct loop *loop);
void s3_list(struct store_list *list, struct loop *loop);
struct source *s3_source_new(struct store_lookup *found);
void s3_source_next(struct source *source);
void s3_source_free(struct source *source);

/* A number that two contents of one key hardly share. */
uint64_t s3_etag_hash(const char *etag);

#endif
