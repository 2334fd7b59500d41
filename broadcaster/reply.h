/*
 * reply.h - reading a target's answer from a link, in bounded memory
 *
 * Informational answers are reported or skipped, the final one is read to its
 * end. The head must fit in REPLY_BUFFER, the body may be 64 KiB (an endless
 * answer is an error) of which the first REPLY_KEPT bytes are kept for the
 * receipt. reply_read_head() stops behind the head, for those who want the body
 * for themselves. Replies come from a free list of their thread, so that reading one
 * allocates nothing once the list is warm.
 */
#ifndef BROADCASTER_REPLY_H
#define BROADCASTER_REPLY_H

#include "common/http1.h"
#include "common/http_client.h"

#define REPLY_BUFFER 8192u
#define REPLY_KEPT 4096u
#define REPLY_MAX_BODY 65536u
#define REPLY_MAX_INTERIM 16u

enum reply_result {
	REPLY_MORE,	/* would block */
	REPLY_CONTINUE,	/* 100: the target accepts the body */
	REPLY_DONE,	/* the final answer is complete: see the members */
	REPLY_BAD,	/* err: closed, malformed or over a limit */
};

struct reply {
	/* of the final answer, after REPLY_DONE */
	int status;
	bool keep_alive;	/* the link may be used again */
	size_t kept_len;
	char kept[REPLY_KEPT];	/* beginning of the body */
	/* own */
	struct reply *next_free;
	bool to_head;		/* it answers HEAD: no body whatever it says */
	bool in_body;
	uint64_t body_bytes;
	unsigned int n_interim;
	struct http1_head head;
	struct http1_chunked chunked;
	size_t used;		/* bytes of buf that were parsed */
	size_t len;		/* bytes in buf */
	char buf[REPLY_BUFFER];
};

/* A thread's free list; zero it to begin. */
struct reply_pool {
	struct reply *first;
};

/* A reply, ready for the first byte of an answer; NULL when out of memory. */
struct reply *reply_take(struct reply_pool *pool);

/* Give *reply back and null it; NULL inside is fine. */
void reply_give(struct reply_pool *pool, struct reply **reply);

/* Free the list. */
void reply_pool_release(struct reply_pool *pool);

/* Is no byte of an answer in it? Then it may be given back between answers. */
bool reply_is_empty(const struct reply *reply);

/* Read on from `link` until something is complete or it would block. */
enum reply_result reply_read(struct reply *reply, struct http_link *link,
			     struct err *err);

/*
 * Read on from `link` until the head of the final answer is there (REPLY_DONE:
 * reply->head and reply_field() may be asked, reply->status is set) and no
 * further. `to_head`: HEAD was asked. After that reply_body() has what came of
 * the body along with it; or reply_read() goes on to the answer's end.
 */
enum reply_result reply_read_head(struct reply *reply, struct http_link *link,
				  bool to_head, struct err *err);

/* A field of the head that reply_read_head() found; ptr NULL when absent. */
struct span reply_field(const struct reply *reply, const char *name);

/* The bytes behind that head which were received already. Borrowed. */
struct span reply_body(const struct reply *reply);

/*
 * The sentence in the body of an error: of a problem, an envelope, or its first
 * line of text. False, and "", when there is none.
 */
bool reply_sentence(struct span body, char *buf, size_t size);

/* "answered 503: the sentence"; for error texts. */
void reply_reason_of(int status, struct span body, char *buf, size_t size);

/* What the target said went wrong, in its own words; for error texts. */
void reply_reason(const struct reply *reply, char *buf, size_t size);

#endif
