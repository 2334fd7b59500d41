/*
 * s3_upload.h - one object's bytes on their way into its bucket, part by part
 *
 *   bytes ──copy, digest──▶ part being filled ──digest──▶ parts on their way ──▶
 *           (worker)                          (worker)    (PUT, READER_S3_PARALLEL)
 *
 * Each part lies whole in memory until the server has said that it has it, so
 * that it can be sent again. There are at most 1 + parallel of them; when all are
 * on their way, the next bytes wait: that is the back-pressure. Their memory is
 * mapped when the first byte comes and given back by s3_upload_release().
 *
 * A part is as large as the setting says, larger where 10,000 of them would not
 * hold the object: a ten-thousandth of a known length, otherwise 1/1250 of what
 * came before it, which begins to tell at 10 GiB (of 8 MiB parts) and ends with
 * 5 TiB in 9,100 parts. The larger they are the fewer are on their way, but one.
 *
 * The multipart upload is created when it is asked for, or when the first part
 * is full. On the engine's loop only, but for s3_upload_copy(). One operation at a
 * time: it ends with one call of `done`, maybe within the call that starts it; `err`
 * says why not. After an error only s3_upload_abort() and s3_upload_release() are
 * left.
 */
#ifndef READER_S3_UPLOAD_H
#define READER_S3_UPLOAD_H

#include "reader/s3_etag.h"
#include "reader/s3_request.h"
#include "reader/sink.h"

#include <stdatomic.h>

#define S3_MAX_PARTS 10000u
#define S3_MIN_PART (UINT64_C(5) << 20)	/* of all but the last */
#define S3_UPLOAD_ID_SIZE 512
/* For the texts of s3_object_fields(). */
#define S3_FIELDS_ROOM (3 * OBJECT_NAME_SIZE + OBJECT_TYPE_SIZE)
/* Before the bytes of a part: what s3_tail puts in front of them. */
#define S3_HEAD_ROOM (UINT64_C(64) << 10)

struct s3_upload;
struct s3_part;

typedef void s3_upload_fn(void *owner);

enum s3_upload_op {
	S3_UPLOAD_IDLE,
	S3_UPLOAD_CREATING,
	S3_UPLOAD_WRITING,
	S3_UPLOAD_FLUSHING,	/* all of it is to be with the server */
	S3_UPLOAD_SETTLING,	/* all parts that are full are */
	S3_UPLOAD_COMPLETING,
	S3_UPLOAD_ABORTING,
};

/* How far an upload has got: behind a number of parts that the server has. */
struct s3_mark {
	unsigned int parts;	/* 0: none is set */
	bool is_reached;	/* all of them are there */
	uint64_t sent;		/* their bytes, and the digest of those */
	char digest_state[DIGEST_STATE_SIZE];
};

struct s3_upload {
	struct s3_engine *engine;
	const struct object *object;	/* the owner's */
	struct digest *digest;		/* the owner's, of the whole object */
	s3_upload_fn *done;
	void *owner;
	struct err err;			/* the first one */
	char key[S3_KEY_SIZE];		/* of the content */
	char *id;			/* UploadId; NULL: none */
	uint64_t size_hint;		/* OBJECT_SIZE_UNKNOWN, or the length */
	uint64_t sent;			/* bytes of the parts counted below */
	unsigned int n_parts;		/* that are or were on their way */
	uint64_t last_part;		/* bytes of the last of them */
	char (*etags)[S3_PART_ETAG_SIZE];	/* of parts 1 … n_parts */
	unsigned int etags_size;
	bool is_unknown;		/* completed or not? Nobody said. */
	bool has_strays;		/* more may have been created than `id` */
	/*
	 * Called while bytes come, when a mark has been reached; the next one is
	 * set once the owner has cleared it. NULL: no marks.
	 */
	s3_upload_fn *on_mark;
	struct s3_mark mark;
	/* private */
	enum s3_upload_op op;
	struct s3_request request;	/* create, complete, abort */
	char *body;			/* of the complete */
	struct span bytes;		/* still to be written */
	struct job job;			/* the copy that runs */
	size_t copying;			/* its bytes; 0: none */
	s3_upload_fn *on_copied;	/* of s3_upload_copy() */
	atomic_bool has_failed;		/* a part has: see there */
	struct s3_part *parts;		/* 1 + parallel, or NULL */
	struct s3_part *filling;	/* the one that is not full yet, or NULL */
	unsigned int n_busy;
	bool pumping, again;
};

/* Of `object`, whose id and name say the key; all of it is borrowed. */
void s3_upload_init(struct s3_upload *upload, struct s3_engine *engine,
		    const struct object *object, struct digest *digest,
		    s3_upload_fn *done, void *owner);

/* Create the multipart upload, unless there is one. */
void s3_upload_create(struct s3_upload *upload);

/* Take bytes, borrowed until done. Parts may still be on their way then. */
void s3_upload_write(struct s3_upload *upload, struct span bytes);

/*
 * Take bytes, borrowed until done, on the thread of `loop` instead of the engine's,
 * and without a word to that: while no operation runs, what becomes of the part that
 * is not full yet is the owner's alone. False, and nothing done, when there is none,
 * when the bytes would fill it, or when another part has failed: s3_upload_write()
 * is for that. done(owner) is called on `loop`.
 */
bool s3_upload_copy(struct s3_upload *upload, struct span bytes,
		    struct loop *loop, s3_upload_fn *done) MUST_CHECK;

/* All bytes are with the server, the last ones as a part of any size. */
void s3_upload_flush(struct s3_upload *upload);

/* All full parts are; the rest stays, see s3_upload_rest(). */
void s3_upload_settle(struct s3_upload *upload);

/*
 * The bytes of no part yet, and where they begin (NULL: there was never one):
 * S3_HEAD_ROOM bytes before that are the caller's.
 */
struct span s3_upload_rest(const struct s3_upload *upload);
char *s3_upload_rest_start(const struct s3_upload *upload);

/*
 * Room for at least `size` bytes of a rest, to be filled by the caller, who then
 * calls s3_upload_put_rest(); nothing may be there. NULL when out of memory.
 */
char *s3_upload_rest_room(struct s3_upload *upload, size_t size);
void s3_upload_put_rest(struct s3_upload *upload, size_t size);

/*
 * Make one object of the parts. When it is unknown what came of it, the server
 * is asked for the object before this ends.
 */
void s3_upload_complete(struct s3_upload *upload);

/* Stop what runs and make the server forget all parts. Also after an error. */
void s3_upload_abort(struct s3_upload *upload);

/* The mark has been made use of, or is out of date. */
void s3_upload_clear_mark(struct s3_upload *upload);

/* Give the parts' memory back; nothing may be on its way. */
void s3_upload_release(struct s3_upload *upload);

/* Free all that is left. */
void s3_upload_free(struct s3_upload *upload);

/*
 * Bytes of the next part: `setting`, or what it takes for 10,000 of them to hold
 * an object of `hint` bytes, or (OBJECT_SIZE_UNKNOWN, or more came than that) of any
 * size up to 5 TiB, of which `sent` came before.
 */
uint64_t s3_part_bytes(uint64_t setting, uint64_t hint, uint64_t sent);

/* Room for the ETag of part `n` (1 …); false when out of memory. */
bool s3_upload_reserve(struct s3_upload *upload, unsigned int n) MUST_CHECK;

/*
 * Add the fields with which an object is made: type, class, encryption, metadata.
 * Their texts lie in `room` until the request is done.
 */
void s3_object_fields(struct s3_request *request, const struct object *object,
		      char room[S3_FIELDS_ROOM]);

/* Add those of the encryption, which all that is put is to have. */
void s3_encryption_fields(struct s3_request *request);

#endif
