#include "broadcaster/progress.h"

#include "common/json.h"

#include <stdio.h>
#include <stdlib.h>

/*
 * One question about uploads. Members are used by the thread that has it in
 * hand: `home` (the connection's) or, between posts, the one it was posted to.
 * An event stream has two messages on their way at most: `update` with is_busy
 * set, and `last`.
 */
struct watcher {
	struct front *home;
	struct http_exchange *x;	/* home; NULL once it has ended */
	bool is_list, is_stream, is_begun, is_over, is_known;
	char id_or_key[256];
	struct post ask, answer, update, last, leave;
	unsigned int at;		/* index of the front that is asked */
	json_t *found;			/* the answer */
	/* the upload's thread, while subscribed */
	struct ingest *ingest;
	struct watcher *next;
	/* both */
	atomic_bool is_busy;		/* `update` is on its way */
	char *text, *last_text;		/* of the message on its way */
	/* home */
	char *sending;			/* state that is being written */
	size_t sent;			/* bytes of it */
	char *waiting;			/* newest state not yet begun */
};

/* ---- what is told -------------------------------------------------------- */

static json_t *size_or_null(uint64_t size)
{
	return size == OBJECT_SIZE_UNKNOWN ? json_null() :
					     json_integer((json_int_t)size);
}

/* Milliseconds until the bottleneck is detached, or null when it never is. */
static json_t *detach_in(const struct broadcast *b, unsigned int i)
{
	uint64_t limit = b->front->settings->lag_timeout_ms;
	uint64_t used = b->lags[i].since_caught_up_ms;
	uint64_t without = 0;

	for (unsigned int k = 0; k < b->front->n_outlets; k++)
		if (k != i && leg_is_alive(&b->legs[k]))
			without |= UINT64_C(1) << k;
	if (limit == 0 || broadcast_bottleneck(b) != (int)i ||
	    !policy_is_met(&b->front->settings->policy, without))
		return json_null();
	return json_integer((json_int_t)(used < limit ? limit - used : 0));
}

static json_t *target_state(struct broadcast *b, unsigned int i)
{
	const struct leg *leg = &b->legs[i];
	uint64_t now = loop_now_ms(b->front->loop);
	uint64_t sent = leg->size ? leg->size : leg->cursor.position;

	return json_pack(
		"{s:o, s:s, s:I, s:I, s:I, s:I, s:o, s:o}", "name",
		json_text(span_of(leg->outlet->target->name)), "state",
		leg_state_name(leg->state), "sent", (json_int_t)sent, "lag",
		(json_int_t)(b->bytes - (sent < b->bytes ? sent : b->bytes)),
		"bottleneck_ms", (json_int_t)b->lags[i].total_ms,
		"bottleneck_10s", (json_int_t)lag_recent_ms(&b->lags[i], now),
		"detach_in_ms", detach_in(b, i), "error",
		*leg->err.text ? json_text(span_of(leg->err.text)) :
				 json_null());
}

static json_t *policy_state(const struct broadcast *b)
{
	const struct policy *policy = &b->front->settings->policy;
	json_t *required = json_array();
	uint64_t alive = 0;

	for (unsigned int i = 0; i < b->front->n_outlets; i++) {
		const struct target *t = b->legs[i].outlet->target;

		if (leg_is_alive(&b->legs[i]))
			alive |= UINT64_C(1) << i;
		if (t->required)
			json_add(&required, json_text(span_of(t->name)));
	}
	return json_pack("{s:i, s:o, s:b}", "copies", (int)policy->copies,
			 "required", required, "met",
			 policy_is_met(policy, alive));
}

/* The object in hand, or the last one. */
static struct broadcast *shown_object(const struct ingest *in)
{
	if (in->current || in->n_objects == 0)
		return in->current;
	return in->objects[in->n_objects - 1];
}

static json_t *summary(const struct ingest *in)
{
	const struct broadcast *b = shown_object(in);
	uint64_t now = loop_now_ms(in->front->loop);

	return json_pack("{s:s, s:o, s:s, s:o, s:I, s:I, s:I}", "id", in->id,
			 "name", json_text(span_of(b ? b->info.name : "")),
			 "state", ingest_state_name(in->state), "size",
			 size_or_null(b ? b->info.size : OBJECT_SIZE_UNKNOWN),
			 "received", (json_int_t)in->intake.received, "rate",
			 (json_int_t)in->rate, "elapsed_ms",
			 (json_int_t)(now - in->started_ms));
}

static json_t *state_of(struct ingest *in)
{
	struct broadcast *b = shown_object(in);
	json_t *root = summary(in), *targets = json_array();
	int holder;

	if (!b)
		return root;
	holder = broadcast_bottleneck(b);
	lag_charge(&b->lag_clock, b->lags, holder,
		   loop_now_ms(in->front->loop));
	json_put(&root, "ring",
		 json_pack("{s:I, s:I}", "size",
			   (json_int_t)ring_capacity(in->ring), "used",
			   (json_int_t)ring_used(in->ring)));
	json_put(&root, "waiting_for",
		 holder == LAG_NOBODY
			 ? json_null()
			 : json_text(span_of(
				   b->legs[holder].outlet->target->name)));
	json_put(&root, "policy", policy_state(b));
	for (unsigned int i = 0; i < in->front->n_outlets; i++)
		json_add(&targets, target_state(b, i));
	json_put(&root, "targets", targets);
	return root;
}

static char *event_of(struct ingest *in, const char *name)
{
	size_t len;
	char *json = json_print(state_of(in), &len), *event = NULL;

	if (json && asprintf(&event, "event: %s\ndata: %s\n", name, json) < 0)
		event = NULL;
	free(json);
	return event;
}

/* ---- the question's way -------------------------------------------------- */

static void free_watcher(struct watcher *w)
{
	atomic_fetch_sub(&w->home->shared->n_watchers, 1);
	json_decref(w->found);
	free(w->text);
	free(w->last_text);
	free(w->sending);
	free(w->waiting);
	free(w);
}

static struct ingest *find(struct front *front, const char *id_or_key)
{
	struct ingest *in = front->uploads;

	while (in && strcmp(in->id, id_or_key) != 0 &&
	       (!*in->key || strcmp(in->key, id_or_key) != 0))
		in = in->next;
	return in;
}

static void subscribe(struct watcher *w, struct ingest *in)
{
	w->ingest = in;
	w->next = in->watchers;
	in->watchers = w;
}

static void unsubscribe(struct watcher *w)
{
	struct watcher **at = &w->ingest->watchers;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	w->ingest = NULL;
}

/* On a front's thread: look at its uploads. True: no other need be asked. */
static bool look(struct watcher *w, struct front *front)
{
	struct ingest *in;

	if (w->is_list) {
		for (in = front->uploads; in; in = in->next)
			json_add(&w->found, summary(in));
		return false;
	}
	in = find(front, w->id_or_key);
	if (!in || in->state == INGEST_ANSWERED)
		return false;
	w->is_known = true;
	w->found = state_of(in);
	if (w->is_stream)
		subscribe(w, in);
	return true;
}

static void on_answer(void *arg);

static void on_asked(void *arg)
{
	struct watcher *w = arg;
	struct front_shared *shared = w->home->shared;

	if (!look(w, shared->fronts[w->at]) &&
	    ++w->at < shared->n_fronts) {
		loop_post(shared->fronts[w->at]->loop, &w->ask, on_asked, w);
		return;
	}
	loop_post(w->home->loop, &w->answer, on_answer, w);
}

/* ---- the connection's side ----------------------------------------------- */

static void reply_json(struct http_exchange *x, json_t *root)
{
	static const struct http_header no_store = { "Cache-Control",
						     "no-store" };
	struct http_reply reply = { .status = 200,
				    .content_type = "application/json",
				    .headers = &no_store,
				    .n_headers = 1 };
	struct err err = ERR_INIT;
	size_t len = 0;
	char *text = json_print(root, &len);

	if (text) {
		http_reply(x, &reply, span_make(text, len));
		free(text);
		return;
	}
	err_set(&err, ERR_MEMORY, "out of memory; try again later");
	http_reply_problem(x, &err);
}

static void reply_not_found(struct http_exchange *x)
{
	struct err err = ERR_INIT;

	err_set(&err, ERR_NOT_FOUND, "no such upload is running here");
	http_reply_problem(x, &err);
}

/* Write on at the state in hand; true when none is. */
static bool write_state(struct watcher *w)
{
	while (w->sending) {
		struct span rest = span_of(w->sending + w->sent);

		if (rest.len > HTTP_STREAM_WRITE_MAX)
			rest.len = HTTP_STREAM_WRITE_MAX;
		if (!http_stream_write(w->x, rest))
			return false;
		w->sent += rest.len;
		if (w->sending[w->sent] != '\0')
			continue;
		free(w->sending);
		w->sending = NULL;
	}
	return true;
}

/* Write the newest state, unless the client still has to take the last one. */
static void write_waiting(struct watcher *w)
{
	if (!w->x || !w->is_begun)
		return;
	while (write_state(w) && w->waiting) {
		w->sending = w->waiting;
		w->sent = 0;
		w->waiting = NULL;
	}
	if (w->is_over && !w->sending)
		http_stream_end(w->x);
}

static void show(struct watcher *w, char *text)
{
	free(w->waiting);
	w->waiting = text;
	write_waiting(w);
}

static void begin_stream(struct watcher *w)
{
	static const struct http_header no_store = { "Cache-Control",
						     "no-store" };
	struct http_reply reply = { .status = 200,
				    .content_type = "text/event-stream",
				    .headers = &no_store,
				    .n_headers = 1 };
	size_t len;
	char *json = json_print(w->found, &len), *event = NULL;

	w->found = NULL;
	w->is_begun = true;
	http_stream_begin(w->x, &reply);
	if (json && asprintf(&event, "event: progress\ndata: %s\n", json) >= 0)
		show(w, event);
	else
		http_abort(w->x); /* rather than silence until the next event */
	free(json);
}

static void on_left(void *arg)
{
	free_watcher(arg);
}

/* On the upload's thread: the connection is gone, stop telling it. */
static void on_leave(void *arg)
{
	struct watcher *w = arg;

	if (w->ingest)
		unsubscribe(w);
	loop_post(w->home->loop, &w->leave, on_left, w);
}

static void leave(struct watcher *w)
{
	struct front_shared *shared = w->home->shared;

	if (w->is_begun)
		loop_post(shared->fronts[w->at]->loop, &w->leave, on_leave, w);
	else
		free_watcher(w);
}

static void on_answer(void *arg)
{
	struct watcher *w = arg;
	bool subscribed = w->is_stream && w->is_known;
	json_t *found = w->found;

	if (subscribed && w->x) {
		begin_stream(w);
		return;
	}
	if (subscribed) {
		w->is_begun = true;
		leave(w);
		return;
	}
	w->found = NULL;
	w->is_over = true;
	if (!w->x)
		json_decref(found);
	else if (w->is_list)
		reply_json(w->x, json_pack("{s:o}", "uploads", found));
	else if (w->is_known)
		reply_json(w->x, found);
	else
		reply_not_found(w->x);
	if (!w->x)
		free_watcher(w);
}

static void on_update(void *arg)
{
	struct watcher *w = arg;
	char *text = w->text;

	w->text = NULL;
	atomic_store(&w->is_busy, false);
	show(w, text);
}

static void on_last(void *arg)
{
	struct watcher *w = arg;
	char *text = w->last_text;

	w->last_text = NULL;
	w->is_over = true;
	show(w, text);
}

static void on_writable(void *owner)
{
	write_waiting(owner);
}

/*
 * The connection has ended. A question on its way, or an answered one, is freed
 * where it arrives; a stream must leave its upload first.
 */
static void on_end(void *owner)
{
	struct watcher *w = owner;

	w->x = NULL;
	if (w->is_begun)
		leave(w);
	else if (w->is_over)
		free_watcher(w);
}

static const struct http_exchange_ops ops = {
	.on_writable = on_writable,
	.on_end = on_end,
};

static void ask(struct front *front, struct http_exchange *x, bool is_list,
		const char *id_or_key)
{
	struct err err = ERR_INIT;
	struct watcher *w = calloc(1, sizeof(*w));
	struct span accept = http_request_field(x, "Accept");

	if (!w) {
		err_set(&err, ERR_MEMORY, "out of memory; try again later");
		http_reply_problem(x, &err);
		return;
	}
	atomic_fetch_add(&front->shared->n_watchers, 1);
	w->home = front;
	w->x = x;
	w->is_list = is_list;
	w->is_stream = !is_list && http1_list_has(accept, "text/event-stream");
	w->found = is_list ? json_array() : NULL;
	snprintf(w->id_or_key, sizeof(w->id_or_key), "%s", id_or_key);
	http_exchange_attach(x, &ops, w);
	loop_post(front->shared->fronts[0]->loop, &w->ask, on_asked, w);
}

void progress_list(struct front *front, struct http_exchange *x)
{
	ask(front, x, true, "");
}

void progress_watch(struct front *front, struct http_exchange *x,
		    const char *id_or_key)
{
	ask(front, x, false, id_or_key);
}

/* ---- the upload's side --------------------------------------------------- */

void progress_publish(struct ingest *in)
{
	for (struct watcher *w = in->watchers; w; w = w->next) {
		if (atomic_load(&w->is_busy))
			continue;
		w->text = event_of(in, "progress");
		if (!w->text)
			continue;
		atomic_store(&w->is_busy, true);
		loop_post(w->home->loop, &w->update, on_update, w);
	}
}

void progress_finish(struct ingest *in)
{
	struct watcher *w;

	while ((w = in->watchers)) {
		w->last_text = event_of(in, "end");
		unsubscribe(w);
		loop_post(w->home->loop, &w->last, on_last, w);
	}
}
