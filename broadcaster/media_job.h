/*
 * media_job.h - one request about stored objects, while readers are asked
 *
 *   begin ──▶ (answered, or its client is gone) ──▶ end, freed after the turn
 *
 * The base of a playback, a list and a deletion; first member of each. A job
 * lives on its front's thread and in its list, so that a process that ends can
 * wait for it, abort it, or drop it when the loop has stopped.
 */
#ifndef BROADCASTER_MEDIA_JOB_H
#define BROADCASTER_MEDIA_JOB_H

#include "broadcaster/front.h"
#include "common/json.h"

struct media_job {
	struct grave grave;		/* first: freed after the turn */
	struct front *front;
	struct http_exchange *x;	/* NULL once it has ended */
	struct media_job *next, **link;	/* in front->media */
	/* Give up soon, answering if that is still possible: `why` says so. */
	void (*abort)(struct media_job *job, const struct err *why);
	/* Stop everything: links, calls, timers; the job is about to be freed. */
	void (*release)(struct media_job *job);
};

/* Put a zeroed job with its two functions set into the front's list. */
void media_job_begin(struct media_job *job, struct front *front,
		     struct http_exchange *x);

/* Release it, take it off the list, free it (by free()) after the turn. */
void media_job_end(struct media_job *job);

/* Abort all jobs of a front. */
void media_job_abort_all(struct front *front, const struct err *why);

/* End all jobs of a front whose loop has stopped. */
void media_job_drop_all(struct front *front);

/* At most this many fields in the request of a media_call(). */
#define MEDIA_MAX_CALL_FIELDS 64u

/*
 * A call to a reader, as http_call_start(), with its token besides the fields of
 * `request`. NULL when out of memory.
 */
struct http_call *media_call(struct front *front, struct outlet *outlet,
			     const struct http_call_request *request,
			     http_call_fn *fn, void *owner);

/* How many of the front's outlets are readers; only these can be asked. */
unsigned int media_count_readers(const struct front *front);

/* Answer JSON, not to be cached; steals `value`, NULL becomes a 503. */
void media_reply_json(struct http_exchange *x, int status, json_t *value);

/*
 * Answer a problem (RFC 9457) whose member "readers" says what each of them said;
 * steals `readers`, which may be NULL (out of memory).
 */
void media_reply_problem(struct http_exchange *x, int status,
			 const char *detail, json_t *readers);

#endif
