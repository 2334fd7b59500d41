#include "broadcaster/media_play.h"

#include "broadcaster/access.h"
#include "broadcaster/media_conditions.h"
#include "broadcaster/media_job.h"
#include "broadcaster/media_order.h"
#include "broadcaster/media_quest.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TURN_BYTES (1024u * 1024u)	/* received in one turn */
#define RETRY_MS 250u	/* until readers that failed are asked once more */

struct playback {
	struct media_job job;		/* first */
	struct deferred pump;
	struct timer timer;
	uint64_t timer_at;
	struct quest *quest;
	struct quest_seat *source;	/* whose content is being received */
	char *conditions;		/* of the request to readers */
	struct media_facts facts;	/* of the first good answer */
	bool is_head, is_download;
	bool is_answered;		/* without content, or with a problem */
	bool is_begun;			/* content is promised */
	bool is_writable;
	bool is_held;			/* the ring was full, not yet half empty */
	struct ring *ring;
	struct ring_cursor cursor;
	uint64_t received, sent;	/* content bytes */
	uint64_t gained;		/* `received` when the source was found */
	uint64_t quiet_since_ms;	/* the source could send, but has not */
	uint64_t lost_ms;		/* when content last broke off */
	uint64_t retry_ms;		/* when readers are asked again; 0: not */
	bool is_last_round;		/* of asking them: the time is up */
	bool is_resumed;		/* the source has yet to bring a byte */
	uint64_t started_ms;
	unsigned int n_failovers;
	int status;
	struct metric *result;
	const char *result_name;
	char source_name[128];		/* the last one's */
	char peer[56];
	struct err why;			/* the first thing that went wrong */
};

static void pump(void *arg);

static uint64_t now_ms(const struct playback *p)
{
	return loop_now_ms(p->job.front->loop);
}

static void wake(void *owner)
{
	struct playback *p = owner;

	loop_defer(p->job.front->loop, &p->pump, pump, p);
}

/* Always -1. */
static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_MEMORY, "out of memory for a playback");
}

static void set_result(struct playback *p, struct metric *result,
		       const char *name)
{
	if (p->result)
		return;
	p->result = result;
	p->result_name = name;
}

static void set_failed(struct playback *p)
{
	set_result(p, p->job.front->shared->playbacks_failed, "failed");
}

/* ---- the end ------------------------------------------------------------- */

/* Questions without content, HEAD and conditions, are not worth a line. */
static enum log_level level_of(const struct playback *p)
{
	if (p->result == p->job.front->shared->playbacks_failed ||
	    p->n_failovers > 0)
		return LOG_WARN;
	return p->is_head || (p->is_answered && p->status != 404) ? LOG_DEBUG :
								    LOG_INFO;
}

static void log_end(const struct playback *p)
{
	log_line(level_of(p), "playback",
		 LOG_STR("id", p->quest->id), LOG_STR("result", p->result_name),
		 LOG_U64("status", (uint64_t)p->status),
		 LOG_U64("first", p->facts.first), LOG_U64("bytes", p->sent),
		 LOG_U64("ms", now_ms(p) - p->started_ms),
		 LOG_STR("reader", p->source_name),
		 LOG_U64("failovers", p->n_failovers), LOG_STR("peer", p->peer),
		 LOG_STR("reason", p->why.text));
}

static void release(struct media_job *job)
{
	struct playback *p = (struct playback *)job;
	struct front *front = job->front;

	loop_undefer(front->loop, &p->pump);
	timer_stop(&p->timer);
	if (p->ring)
		ring_detach(p->ring, &p->cursor);
	front_give_ring(front, &p->ring);
	quest_free(&p->quest);
	free(p->conditions);
	metric_add(front->shared->playbacks_active, -1);
	atomic_fetch_sub(&front->shared->n_playbacks, 1);
}

static bool is_sent(const struct playback *p)
{
	return p->is_begun && p->sent == p->facts.length;
}

static void on_end(void *owner)
{
	struct playback *p = owner;
	struct front_shared *shared = p->job.front->shared;

	p->job.x = NULL;
	if (is_sent(p) || p->is_answered)
		set_result(p, shared->playbacks_complete, "complete");
	set_result(p, shared->playbacks_client_aborted, "client_aborted");
	metric_add(p->result, 1);
	log_end(p);
	media_job_end(&p->job);
}

static void give_up(struct playback *p, const struct err *why)
{
	err_set(&p->why, why->code, "%s", why->text);
	set_failed(p);
	if (!p->is_begun && !p->is_answered) {
		p->is_answered = true;
		p->status = err_http_status(why);
		http_reply_problem(p->job.x, why);
	} else {
		http_abort(p->job.x);
	}
}

static void on_abort(struct media_job *job, const struct err *why)
{
	struct playback *p = (struct playback *)job;

	if (!p->is_answered)
		give_up(p, why);
}

/* ---- answers -------------------------------------------------------------- */

static bool has_content(const struct playback *p)
{
	return p->facts.status == 200 || p->facts.status == 206;
}

static void reply_without_content(struct playback *p,
				  const struct http_reply *reply)
{
	p->is_answered = true;
	ask_discard(&p->source->ask, NULL, 0);
	p->source = NULL;
	if (p->is_head && has_content(p))
		http_reply_head_only(p->job.x, reply, p->facts.length);
	else
		http_reply(p->job.x, reply, span_make(NULL, 0));
}

static void begin_content(struct playback *p, const struct http_reply *reply)
{
	struct err err = ERR_INIT;

	p->ring = front_take_ring(p->job.front);
	if (!p->ring) {
		out_of_memory(&err);
		give_up(p, &err);
		return;
	}
	ring_attach(p->ring, &p->cursor);
	p->is_begun = true;
	http_content_begin(p->job.x, reply, p->facts.length);
}

/* The first good answer: tell the client. */
static void begin(struct playback *p)
{
	struct media_fields f;
	struct http_reply reply = { .status = p->facts.status,
				    .headers = f.fields };

	p->status = p->facts.status;
	media_fields_init(&f, &p->facts, p->is_download,
			  access_is_private(p->job.front->settings));
	reply.n_headers = f.n;
	if (has_content(p))
		reply.content_type = p->facts.content_type;
	if (p->is_head || !has_content(p))
		reply_without_content(p, &reply);
	else
		begin_content(p, &reply);
}

static void refuse(struct playback *p)
{
	bool may_exist = quest_may_exist(p->quest);

	p->is_answered = true;
	p->status = quest_status(p->quest);
	if (may_exist)
		set_failed(p);
	else
		set_result(p, p->job.front->shared->playbacks_absent, "absent");
	err_set(&p->why, ERR_TARGET, "%s",
		may_exist ? "not every reader could be asked"
			  : "no reader holds it");
	media_reply_problem(p->job.x, p->status,
			    may_exist ? "no reader that could be asked holds "
					"the object, but not all could"
				      : "no reader holds the object",
			    quest_to_json(p->quest));
}

/* ---- looking for a source ------------------------------------------------- */

/* The client's own conditions, passed on. */
static int format_conditions(struct playback *p, struct err *err)
{
	struct media_conditions *conditions =
		media_conditions_new(p->job.x, err);

	if (!conditions)
		return -1;
	p->conditions = media_conditions_print(conditions);
	free(conditions);
	return p->conditions ? 0 : out_of_memory(err);
}

/* The bytes that are missing, of this very content. */
static bool format_resumption(struct playback *p)
{
	const struct media_facts *facts = &p->facts;
	char *text;

	if (asprintf(&text,
		     "Range: bytes=%" PRIu64 "-%" PRIu64 "\r\n"
		     "If-Match: \"%s\"\r\n",
		     facts->first + p->received,
		     facts->first + facts->length - 1, facts->sha256) < 0)
		return false;
	free(p->conditions);
	p->conditions = text;
	return true;
}

static struct media_wish wish_of(const struct playback *p)
{
	struct http_exchange *x = p->job.x;

	return (struct media_wish){
		.is_head = p->is_head,
		.range = http_request_field(x, "Range"),
		.conditions = http_request_conditions(x),
		.is_resuming = p->is_begun,
		.known = &p->facts,
		.first = p->facts.first + p->received,
		.last = p->facts.first + p->facts.length - 1,
	};
}

static void found(struct playback *p, struct quest_seat *seat,
		  const struct media_facts *facts)
{
	p->source = seat;
	p->gained = p->received;
	p->quiet_since_ms = now_ms(p);
	snprintf(p->source_name, sizeof(p->source_name), "%s",
		 seat->ask.outlet->target->name);
	if (p->is_begun) {
		p->is_resumed = true;
		return;
	}
	p->facts = *facts;
	free(p->conditions);
	p->conditions = NULL;
	begin(p);
}

/*
 * Nobody can go on now. A reader may come back while the player has patience. It may
 * have failed when the round began which the others have spent in silence: so
 * there is one more when the time is up.
 */
static void in_vain(struct playback *p)
{
	struct err err = ERR_INIT;

	if (!p->is_begun) {
		refuse(p);
	} else if (http_has_client_closed(p->job.x)) {
		http_abort(p->job.x);
	} else if (quest_may_exist(p->quest) && !p->is_last_round) {
		p->is_last_round =
			now_ms(p) - p->lost_ms >=
			p->job.front->settings->connect_timeout_ms;
		p->retry_ms = now_ms(p) + RETRY_MS;
	} else {
		err_set(&err, ERR_TARGET, "no reader can go on");
		give_up(p, &err);
	}
}

static void search(struct playback *p)
{
	struct media_wish wish = wish_of(p);
	struct media_facts facts;
	struct quest_seat *seat;

	if (p->retry_ms) {
		if (now_ms(p) < p->retry_ms)
			return;
		p->retry_ms = 0;
		quest_begin(p->quest, p->conditions, MEDIA_ORDER_NOBODY);
	}
	switch (quest_step(p->quest, &wish, &facts, &seat)) {
	case QUEST_MORE:
		break;
	case QUEST_FOUND:
		found(p, seat, &facts);
		break;
	case QUEST_VAIN:
		in_vain(p);
		break;
	}
}

/* ---- content --------------------------------------------------------------- */

/* All readers are asked from here on, `failed` last. */
static void ask_for_rest(struct playback *p, unsigned int failed)
{
	struct err err = ERR_INIT;

	p->lost_ms = now_ms(p);
	p->is_last_round = false;
	if (format_resumption(p)) {
		quest_begin(p->quest, p->conditions, failed);
		wake(p);
		return;
	}
	out_of_memory(&err);
	give_up(p, &err);
}

/*
 * One that has brought nothing, as with a damaged copy, is not asked again before
 * all others were: the search goes on where it was, and is in vain at its end.
 */
static void lose_source(struct playback *p, const struct err *err)
{
	unsigned int failed = (unsigned int)(p->source - p->quest->seats);
	bool has_gained = p->received > p->gained || !p->lost_ms;

	err_set(&p->why, err->code, "%s: %.100s", p->source_name, err->text);
	quest_fail(p->source, err);
	p->source = NULL;
	p->is_held = false;
	if (has_gained)
		ask_for_rest(p, failed);
	else
		wake(p);
}

/* Stop at full, go on at half: the source is idle in between, not quiet. */
static bool may_receive(struct playback *p)
{
	size_t used = ring_used(p->ring), capacity = ring_capacity(p->ring);

	if (used == 0)
		ring_rewind(p->ring);
	if (used == capacity)
		p->is_held = true;
	if (!p->is_held)
		return true;
	if (used > capacity / 2)
		return false;
	p->is_held = false;
	p->quiet_since_ms = now_ms(p);
	return true;
}

/* It goes on from another source. */
static void note_failover(struct playback *p)
{
	if (!p->is_resumed)
		return;
	p->is_resumed = false;
	p->n_failovers++;
	metric_add(p->job.front->shared->playback_failovers, 1);
}

/* From the source's socket into the ring; bytes. */
static size_t receive(struct playback *p)
{
	struct err err = ERR_INIT;
	struct ring_room room;
	uint64_t left = p->facts.length - p->received;
	ssize_t n;

	if (!p->source || left == 0 || !may_receive(p))
		return 0;
	room = ring_reserve(p->ring, 0);
	if (room.len > left)
		room.len = (size_t)left;
	n = ask_recv(&p->source->ask, room.ptr, room.len, &err);
	if (n < 0)
		lose_source(p, &err);
	if (n <= 0)
		return 0;
	ring_commit(p->ring, (size_t)n);
	note_failover(p);
	p->received += (size_t)n;
	p->quiet_since_ms = now_ms(p);
	return (size_t)n;
}

/* From the ring into the client's socket; bytes. */
static size_t transmit(struct playback *p)
{
	struct span bytes = ring_peek(p->ring, &p->cursor);
	size_t n;

	if (bytes.len == 0 || !p->is_writable)
		return 0;
	n = http_content_send(p->job.x, &bytes, 1);
	p->is_writable = n == bytes.len;
	ring_advance(p->ring, &p->cursor, n);
	p->sent += n;
	metric_add(p->job.front->shared->playback_bytes, (int64_t)n);
	return n;
}

/* All content has come: the link is free for others while the client reads. */
static void finish_source(struct playback *p)
{
	if (!p->source || p->received < p->facts.length)
		return;
	ask_finish(&p->source->ask);
	p->source = NULL;
}

static void flow(struct playback *p)
{
	size_t budget = TURN_BYTES, n;

	do {
		n = receive(p);
		if (!p->job.x)
			return;
		budget -= n < budget ? n : budget;
		n += transmit(p);
	} while (n > 0 && budget > 0);
	finish_source(p);
	if (budget == 0)
		wake(p);
}

static bool is_waiting_for_source(const struct playback *p)
{
	return p->source && p->is_begun && !p->is_held;
}

/* Bytes that came while this process did not run count: look once more. */
static void check_stall(struct playback *p)
{
	uint64_t limit = p->job.front->settings->media_stall_ms;
	struct err err = ERR_INIT;

	if (!is_waiting_for_source(p) ||
	    now_ms(p) - p->quiet_since_ms < limit)
		return;
	p->source->ask.is_readable = true;
	if (receive(p) > 0 || !p->source)
		return;
	err_set(&err, ERR_TARGET, "sent no byte for %" PRIu64 " ms", limit);
	lose_source(p, &err);
}

/* ---- the pump --------------------------------------------------------------- */

static uint64_t next_deadline(const struct playback *p)
{
	if (is_waiting_for_source(p))
		return p->quiet_since_ms +
		       p->job.front->settings->media_stall_ms;
	if (p->source || p->received == p->facts.length)
		return p->is_begun ? UINT64_MAX : quest_deadline(p->quest);
	return p->retry_ms ? p->retry_ms : quest_deadline(p->quest);
}

/* A timer that fires too early costs less than one started for each byte. */
static void arm(struct playback *p)
{
	uint64_t at = next_deadline(p), now = now_ms(p);

	if (at == UINT64_MAX || (timer_is_running(&p->timer) && p->timer_at <= at))
		return;
	p->timer_at = at;
	timer_start(&p->timer, at > now ? at - now : 0);
}

static bool needs_source(const struct playback *p)
{
	return !p->source && !p->is_answered &&
	       (!p->is_begun || p->received < p->facts.length);
}

static void pump(void *arg)
{
	struct playback *p = arg;

	if (p->job.x && needs_source(p))
		search(p);
	if (p->job.x && p->is_begun)
		check_stall(p);
	if (p->job.x && p->is_begun)
		flow(p);
	if (p->job.x && !p->is_answered && !is_sent(p))
		arm(p);
}

static void on_body(void *owner)
{
	(void)owner;	/* GET and HEAD have none */
}

static void on_writable(void *owner)
{
	struct playback *p = owner;

	p->is_writable = true;
	wake(p);
}

static const struct http_exchange_ops ops = { on_body, on_writable, on_end };

/* ---- admission ---------------------------------------------------------------- */

/* Count it, unless there are too many, or none may begin any more. */
static int admit(struct front_shared *shared, struct err *err)
{
	if (atomic_load(&shared->draining))
		return err_set(err, ERR_LIMIT,
			       "shutting down: no new playbacks");
	if (atomic_fetch_add(&shared->n_playbacks, 1) <
	    shared->settings->max_playbacks)
		return 0;
	atomic_fetch_sub(&shared->n_playbacks, 1);
	return err_set(err, ERR_LIMIT, "too many playbacks, try later");
}

/* NULL with the reason: no memory, or 431. */
static struct playback *playback_new(struct front *front,
				     struct http_exchange *x, const char *id,
				     struct err *err)
{
	struct playback *p = calloc(1, sizeof(*p));

	if (!p) {
		out_of_memory(err);
		return NULL;
	}
	p->job.x = x;
	p->is_head = http_request(x)->method == HTTP1_HEAD;
	p->is_download = span_eq(http1_query_get(http_request_query(x),
						 "download"), SPAN_LIT("1"));
	p->is_writable = true;
	p->quest = quest_new(front, id, p->is_head, wake, p);
	if (!p->quest)
		out_of_memory(err);
	else if (format_conditions(p, err) == 0)
		return p;
	quest_free(&p->quest);
	free(p);
	return NULL;
}

static void start(struct front *front, struct playback *p)
{
	p->job.abort = on_abort;
	p->job.release = release;
	media_job_begin(&p->job, front, p->job.x);
	p->started_ms = now_ms(p);
	snprintf(p->peer, sizeof(p->peer), "%s", http_peer(p->job.x));
	timer_init(&p->timer, front->loop, pump, p);
	metric_add(front->shared->playbacks_active, 1);
	http_exchange_attach(p->job.x, &ops, p);
	quest_begin(p->quest, p->conditions, MEDIA_ORDER_NOBODY);
	wake(p);
}

static void reject(struct front *front, struct http_exchange *x,
		   const struct err *err)
{
	metric_add(front->shared->playbacks_rejected, 1);
	http_reply_problem(x, err);
}

void media_play(struct front *front, struct http_exchange *x, const char *id)
{
	struct err err = ERR_INIT;
	struct playback *p;

	if (admit(front->shared, &err) < 0) {
		reject(front, x, &err);
		return;
	}
	p = playback_new(front, x, id, &err);
	if (p) {
		start(front, p);
		return;
	}
	atomic_fetch_sub(&front->shared->n_playbacks, 1);
	reject(front, x, &err);
}
