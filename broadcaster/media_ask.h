/*
 * media_ask.h - one reader asked for one object, up to the head of its answer
 *
 *   IDLE ──▶ CONNECTING ──▶ SENDING ──▶ WAITING ──▶ ANSWERED ──▶ IDLE
 *                └─────────────┴────────────┴──────▶ FAILED   (ask_close)
 *
 * Callbacks only note facts and call wake(owner); ask_step() does what is
 * possible, and may be called once too often. Once ANSWERED the head stands in
 * `reply` and the link is the owner's to read content from.
 */
#ifndef BROADCASTER_MEDIA_ASK_H
#define BROADCASTER_MEDIA_ASK_H

#include "broadcaster/front.h"

#define ASK_STATES(X) \
	X(IDLE, "not asked, or done with") \
	X(CONNECTING, "waits for a connection") \
	X(SENDING, "the request is on its way") \
	X(WAITING, "for the head of the answer") \
	X(ANSWERED, "the head is there") \
	X(FAILED, "err says why")

enum ask_state {
#define X(name, meaning) ASK_##name,
	ASK_STATES(X)
#undef X
};

struct ask {
	struct front *front;
	struct outlet *outlet;
	void (*wake)(void *owner);
	void *owner;
	enum ask_state state;
	struct http_link *link;
	struct reply *reply;		/* from WAITING on, from the front's pool */
	char *request;			/* until it is sent */
	size_t request_len, request_sent;
	bool is_head;
	bool is_retried;		/* a pooled link was dead */
	bool keep_alive;		/* the answer's head says so */
	bool is_readable;		/* not yet read until "would block" */
	uint64_t started_ms;
	struct err err;
};

/* What is asked for, in HTTP: lines of the head, each with its CRLF. */
struct ask_request {
	bool is_head;
	const char *id;
	const char *conditions;
};

/* A zeroed ask becomes IDLE. wake(owner) comes from callbacks only. */
void ask_init(struct ask *ask, struct front *front, struct outlet *outlet,
	      void (*wake)(void *owner), void *owner);

/*
 * Ask; `request` is copied. Connecting takes at most `timeout_ms`; how long the
 * answer may take is the owner's affair. Out of memory: FAILED.
 */
void ask_start(struct ask *ask, const struct ask_request *request,
	       uint64_t timeout_ms);

/* Go on as far as possible now; the state says what has come of it. */
void ask_step(struct ask *ask);

/*
 * Receive content behind the head, up to `room` bytes, straight into `buf`
 * (those that came with the head are copied). Bytes (> 0), 0 = would block, -1
 * with `err`, also for the reader's close.
 */
ssize_t ask_recv(struct ask *ask, char *buf, size_t room, struct err *err);

/*
 * All content was taken by ask_recv(), or there is none: IDLE. The link is kept
 * for others if it may be.
 */
void ask_finish(struct ask *ask);

/*
 * The answer is of no use: IDLE, and the link is kept if the rest of the answer
 * has come already. What the reader said, "answered 503: …", goes to `reason` of
 * `size` bytes unless NULL.
 */
void ask_discard(struct ask *ask, char *reason, size_t size);

/* Hang up, whatever state it is in: IDLE. */
void ask_close(struct ask *ask);

#endif
