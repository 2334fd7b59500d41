/*
 * s3_request.h - one signed request to the S3 server, and its retries
 *
 * A request is embedded in its owner, filled in, and started; `done` comes once,
 * later, on the engine's loop. What failed for a moment (5xx, SlowDown, no
 * answer, a body that arrived damaged) is signed anew and sent again after a
 * jittered wait, since all it needs is still there: the body is borrowed until
 * done. So every request started here must be one that may be carried out twice.
 *
 *   s3_request_init ─▶ fill ─▶ s3_request_start … done ─▶ (start again)
 */
#ifndef READER_S3_REQUEST_H
#define READER_S3_REQUEST_H

#include "reader/s3_engine.h"
#include "reader/s3_error.h"

#define S3_MAX_PARAMS 6
#define S3_MAX_FIELDS 18
#define S3_ETAG_SIZE 160
#define S3_NUMBER_SIZE 24
/* Of what a sweep does later if it is not done now: nobody waits long for it. */
#define S3_TRIES_OF_ABORT 3u

struct s3_request;
typedef void s3_done_fn(void *owner, struct s3_request *request);

struct s3_request {
	struct s3_engine *engine;
	/* What is asked; all of it borrowed until done. */
	const char *method;
	const char *key;		/* NULL: of the bucket */
	struct s3_field params[S3_MAX_PARAMS];	/* of the query, sorted */
	size_t n_params;
	struct s3_field fields[S3_MAX_FIELDS];	/* more of the head */
	size_t n_fields;
	struct span body;
	const char *sha256;		/* of the body; NULL: found out here */
	char *room;			/* for the body of a success, or NULL */
	size_t room_size;
	size_t max_answer;		/* 0: 64 KiB */
	bool is_slow;			/* the server may take its time */
	bool may_fail_late;		/* its 200 may carry an <Error> */
	unsigned int max_tries;		/* 0: as READER_S3_RETRIES says */
	s3_done_fn *done;
	void *owner;
	/* What came of it. */
	struct err err;			/* not set: 2xx */
	struct s3_refusal refusal;	/* status 0: no answer at all */
	int status;
	bool was_unknown;		/* a try may have been carried out */
	struct span answer;		/* its body; during done only */
	uint64_t length;		/* Content-Length, 0 when unknown */
	bool etag_is_md5;		/* no key of a KMS was used */
	char etag[S3_ETAG_SIZE];	/* with its quotes, or "" */
	char modified[48];		/* Last-Modified */
	/* private */
	struct http_call *call;
	struct timer timer;
	unsigned int n_tries;
	char body_sha256[DIGEST_HEX_SIZE];
};

/* All that is asked is empty. */
void s3_request_init(struct s3_request *request, struct s3_engine *engine,
		     const char *method, const char *key);

/* One that asks for one key of ours: is the bucket there, and are we let in? Once. */
void s3_request_init_look(struct s3_request *request, struct s3_engine *engine);

/* Add to the query; names have to come in their order. */
void s3_request_param(struct s3_request *request, const char *name,
		      const char *value);

/* Add to the head; `name` in lower case. x-amz-* and content-type are signed. */
void s3_request_field(struct s3_request *request, const char *name,
		      const char *value);

/* On the engine's loop, which also calls done(owner, request), later. */
void s3_request_start(struct s3_request *request, s3_done_fn *done, void *owner);

/* The longest that a request with a short body takes, all its tries together. */
uint64_t s3_request_longest_ms(const struct s3_engine *engine, bool is_slow);

/* Stop it if it runs: done will not be called. */
void s3_request_cancel(struct s3_request *request);

/* Is it on its way? */
bool s3_request_is_running(const struct s3_request *request);

/*
 * Did it end without any certainty whether the server has carried it out? That of
 * one try is enough: a later one is refused for what has become of the first.
 */
bool s3_request_is_unknown(const struct s3_request *request);

#endif
