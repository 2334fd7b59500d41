#include "broadcaster/media_ask.h"

#include <stdio.h>
#include <stdlib.h>

static const unsigned int transitions[] = {
#define TO(state) (1u << (state))
	[ASK_IDLE] = TO(ASK_CONNECTING) | TO(ASK_FAILED),
	[ASK_CONNECTING] = TO(ASK_SENDING) | TO(ASK_FAILED) | TO(ASK_IDLE),
	[ASK_SENDING] = TO(ASK_WAITING) | TO(ASK_FAILED) | TO(ASK_IDLE) |
			TO(ASK_CONNECTING),
	[ASK_WAITING] = TO(ASK_ANSWERED) | TO(ASK_FAILED) | TO(ASK_IDLE) |
			TO(ASK_CONNECTING),
	[ASK_ANSWERED] = TO(ASK_IDLE),
	[ASK_FAILED] = TO(ASK_IDLE),
#undef TO
};

static void enter(struct ask *ask, enum ask_state state)
{
	CHECK(ask->state == state || (transitions[ask->state] & 1u << state));
	ask->state = state;
}

static void drop(struct ask *ask)
{
	if (ask->link)
		link_close(&ask->link);
	reply_give(&ask->front->replies, &ask->reply);
}

static void drop_request(struct ask *ask)
{
	free(ask->request);
	ask->request = NULL;
}

static void fail(struct ask *ask)
{
	drop(ask);
	drop_request(ask);
	enter(ask, ASK_FAILED);
}

static void fail_memory(struct ask *ask)
{
	err_set(&ask->err, ERR_MEMORY, "out of memory");
	fail(ask);
}

/* ---- callbacks ----------------------------------------------------------- */

static void on_open(void *owner, const struct err *err)
{
	struct ask *ask = owner;

	if (err) {
		ask->err = *err;
		fail(ask);
	} else {
		enter(ask, ASK_SENDING);
	}
	ask->wake(ask->owner);
}

static void on_ready(void *owner, unsigned int ready)
{
	struct ask *ask = owner;

	(void)ready;	/* over TLS either may be what was waited for */
	ask->is_readable = true;
	ask->wake(ask->owner);
}

static const struct http_link_ops ops = { on_open, on_ready };

/* ---- asking -------------------------------------------------------------- */

void ask_init(struct ask *ask, struct front *front, struct outlet *outlet,
	      void (*wake)(void *owner), void *owner)
{
	ask->front = front;
	ask->outlet = outlet;
	ask->wake = wake;
	ask->owner = owner;
}

static bool format_request(struct ask *ask, const struct ask_request *request)
{
	const char *token = ask->front->settings->reader_token;
	char bearer[600] = "";
	int len;

	if (*token)
		snprintf(bearer, sizeof(bearer), "Authorization: Bearer %s\r\n",
			 token);
	len = asprintf(&ask->request,
		       "%s /objects/%s HTTP/1.1\r\nHost: %s\r\n"
		       "Via: 1.1 %s\r\nUser-Agent: stream-broadcast\r\n"
		       "%s%s\r\n",
		       request->is_head ? "HEAD" : "GET", request->id,
		       http_origin_host(ask->outlet->origin),
		       ask->front->shared->instance, bearer,
		       request->conditions);
	if (len < 0)
		ask->request = NULL;
	ask->request_len = len < 0 ? 0 : (size_t)len;
	return len >= 0;
}

static void open_link(struct ask *ask, uint64_t timeout_ms)
{
	ask->request_sent = 0;
	ask->is_readable = true;
	ask->link = link_open(ask->outlet->origin, timeout_ms, &ops, ask);
	if (ask->link)
		enter(ask, ASK_CONNECTING);
	else
		fail_memory(ask);
}

void ask_start(struct ask *ask, const struct ask_request *request,
	       uint64_t timeout_ms)
{
	CHECK(ask->state == ASK_IDLE);
	ask->err = ERR_INIT;
	ask->is_head = request->is_head;
	ask->is_retried = false;
	ask->started_ms = loop_now_ms(ask->front->loop);
	if (format_request(ask, request))
		open_link(ask, timeout_ms);
	else
		fail_memory(ask);
}

/*
 * A link from the pool may have died unnoticed: the first bytes on it tell.
 * Nothing of an answer has come, so asking again on a new one is safe.
 */
static void fail_or_retry(struct ask *ask)
{
	bool is_stale = link_is_reused(ask->link) && !ask->is_retried &&
			(!ask->reply || reply_is_empty(ask->reply));

	if (!is_stale) {
		fail(ask);
		return;
	}
	ask->is_retried = true;
	ask->err = ERR_INIT;
	drop(ask);
	open_link(ask, ask->front->settings->connect_timeout_ms);
}

static void send_request(struct ask *ask)
{
	while (ask->request_sent < ask->request_len) {
		struct span rest =
			span_make(ask->request + ask->request_sent,
				  ask->request_len - ask->request_sent);
		ssize_t n = link_send(ask->link, rest, &ask->err);

		if (n == 0)
			return;
		if (n < 0) {
			fail_or_retry(ask);
			return;
		}
		ask->request_sent += (size_t)n;
	}
	ask->reply = reply_take(&ask->front->replies);
	if (ask->reply)
		enter(ask, ASK_WAITING);
	else
		fail_memory(ask);
}

static void read_head(struct ask *ask)
{
	if (!ask->is_readable)
		return;
	switch (reply_read_head(ask->reply, ask->link, ask->is_head,
				&ask->err)) {
	case REPLY_MORE:
		ask->is_readable = false;
		break;
	case REPLY_DONE:
		drop_request(ask);
		ask->keep_alive = ask->reply->head.keep_alive;
		enter(ask, ASK_ANSWERED);
		break;
	case REPLY_CONTINUE:
	case REPLY_BAD:
		fail_or_retry(ask);
		break;
	}
}

void ask_step(struct ask *ask)
{
	if (ask->state == ASK_SENDING)
		send_request(ask);
	if (ask->state == ASK_WAITING)
		read_head(ask);
}

/* ---- content ------------------------------------------------------------- */

static size_t take_early(struct ask *ask, char *buf, size_t room)
{
	struct span early = reply_body(ask->reply);

	if (early.len > room)
		early.len = room;
	memcpy(buf, early.ptr, early.len);
	ask->reply->used += early.len;
	return early.len;
}

ssize_t ask_recv(struct ask *ask, char *buf, size_t room, struct err *err)
{
	ssize_t n = 0;

	if (ask->reply) {
		n = (ssize_t)take_early(ask, buf, room);
		if (reply_body(ask->reply).len == 0)
			reply_give(&ask->front->replies, &ask->reply);
	}
	if (n > 0 || !ask->is_readable)
		return n;
	n = link_recv(ask->link, buf, room, err);
	if (n == LINK_EOF)
		return err_set(err, ERR_TARGET,
			       "closed the connection in the middle");
	if (n == 0)
		ask->is_readable = false;
	return n;
}

void ask_finish(struct ask *ask)
{
	bool is_clean = !ask->reply || reply_body(ask->reply).len == 0;

	if (ask->keep_alive && is_clean)
		link_release(&ask->link);
	ask_close(ask);
}

void ask_discard(struct ask *ask, char *reason, size_t size)
{
	struct err ignored = ERR_INIT;
	enum reply_result result =
		reply_read(ask->reply, ask->link, &ignored);

	if (reason)
		reply_reason(ask->reply, reason, size);
	if (result == REPLY_DONE && ask->reply->keep_alive)
		link_release(&ask->link);
	ask_close(ask);
}

void ask_close(struct ask *ask)
{
	drop(ask);
	drop_request(ask);
	enter(ask, ASK_IDLE);
}
