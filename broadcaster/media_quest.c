#include "broadcaster/media_quest.h"

#include "broadcaster/media_job.h"
#include "broadcaster/media_order.h"

#include <stdlib.h>

static uint64_t now_ms(const struct quest *q)
{
	return loop_now_ms(q->front->loop);
}

struct quest *quest_new(struct front *front, const char *id, bool is_head,
			void (*wake)(void *owner), void *owner)
{
	unsigned int n = media_count_readers(front);
	struct quest *q = calloc(1, sizeof(*q) + n * sizeof(q->seats[0]));

	if (!q)
		return NULL;
	q->front = front;
	q->is_head = is_head;
	CHECK(span_to_string(span_of(id), q->id, sizeof(q->id)));
	for (unsigned int i = 0; i < front->n_outlets; i++)
		if (front->outlets[i].target->kind == TARGET_READER)
			ask_init(&q->seats[q->n++].ask, front,
				 &front->outlets[i], wake, owner);
	return q;
}

void quest_free(struct quest **qp)
{
	struct quest *q = *qp;

	if (!q)
		return;
	*qp = NULL;
	for (unsigned int i = 0; i < q->n; i++)
		ask_close(&q->seats[i].ask);
	free(q);
}

/* It is not asked first for some seconds. */
static void shun(struct quest_seat *seat)
{
	outlet_shun(seat->ask.outlet, loop_now_ms(seat->ask.front->loop));
}

void quest_begin(struct quest *q, const char *conditions, unsigned int failed)
{
	bool is_shy[TARGETS_MAX];

	q->conditions = conditions;
	q->next = 0;
	q->next_ms = now_ms(q);
	for (unsigned int i = 0; i < q->n; i++) {
		struct quest_seat *seat = &q->seats[i];

		is_shy[i] = outlet_is_shy(seat->ask.outlet, now_ms(q));
		if (seat->outcome != QUEST_ABSENT)
			seat->outcome = QUEST_NEW;
		ask_close(&seat->ask);
	}
	media_order(q->n, q->front->media_turn++, is_shy, failed, q->order);
}

/* ---- answers ------------------------------------------------------------- */

static void set_bad(struct quest_seat *seat, const struct err *err)
{
	seat->outcome = QUEST_BAD;
	seat->ask.err = *err;
}

void quest_fail(struct quest_seat *seat, const struct err *err)
{
	struct err why = *err;	/* may be the ask's own, which is cleared */

	ask_close(&seat->ask);
	seat->outcome = QUEST_BAD;
	seat->ask.err = why;
	shun(seat);
}

static uint64_t deadline_of(const struct quest *q, const struct quest_seat *seat)
{
	return seat->ask.started_ms + q->front->settings->connect_timeout_ms;
}

static void check_time(struct quest *q, struct quest_seat *seat)
{
	struct err err = ERR_INIT;

	if (now_ms(q) < deadline_of(q, seat))
		return;
	err_set(&err, ERR_TARGET, "no answer within %llu ms",
		(unsigned long long)q->front->settings->connect_timeout_ms);
	quest_fail(seat, &err);
}

/* An error of the reader's own: what it says is worth more than the number. */
static void refuse(struct quest_seat *seat, struct err *err)
{
	char text[sizeof(err->text)];

	if (seat->status >= 400 && seat->status != 412 && seat->status != 416) {
		ask_discard(&seat->ask, text, sizeof(text));
		*err = ERR_INIT;
		err_set(err, ERR_TARGET, "%s", text);
	} else {
		ask_close(&seat->ask);
	}
	set_bad(seat, err);
}

/* True when the answer is good. */
static bool judge(struct quest_seat *seat, const struct media_wish *wish,
		  struct media_facts *facts)
{
	struct err err = ERR_INIT;

	seat->status = seat->ask.reply->status;
	switch (media_facts_read(seat->ask.reply, wish, facts, &err)) {
	case MEDIA_GOOD:
		return true;
	case MEDIA_ABSENT:
		seat->outcome = QUEST_ABSENT;
		ask_discard(&seat->ask, NULL, 0);
		break;
	case MEDIA_BAD:
		refuse(seat, &err);
		break;
	}
	return false;
}

/* Look at one that was asked; true when it has a good answer. */
static bool look(struct quest *q, struct quest_seat *seat,
		 const struct media_wish *wish, struct media_facts *facts)
{
	if (seat->outcome != QUEST_OPEN)
		return false;
	ask_step(&seat->ask);
	if (seat->ask.state == ASK_ANSWERED && judge(seat, wish, facts))
		return true;
	if (seat->ask.state == ASK_FAILED)
		quest_fail(seat, &seat->ask.err);
	else if (seat->outcome == QUEST_OPEN)
		check_time(q, seat);
	if (seat->outcome != QUEST_OPEN)
		q->next_ms = now_ms(q);
	return false;
}

/* The others were only slow: they are asked if what was found fails. */
static void keep_only(struct quest *q, const struct quest_seat *found)
{
	for (unsigned int i = 0; i < q->n; i++) {
		struct quest_seat *seat = &q->seats[i];

		if (seat == found || seat->outcome != QUEST_OPEN)
			continue;
		seat->outcome = QUEST_NEW;
		ask_close(&seat->ask);
	}
	q->next = 0;
}

/* ---- asking -------------------------------------------------------------- */

static unsigned int count_open(const struct quest *q)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < q->n; i++)
		if (q->seats[i].outcome == QUEST_OPEN)
			n++;
	return n;
}

/* Who has not begun to answer in time is slow. */
static void shun_slow(struct quest *q)
{
	uint64_t limit = q->front->settings->media_ask_ms;

	for (unsigned int i = 0; i < q->n; i++)
		if (q->seats[i].outcome == QUEST_OPEN &&
		    now_ms(q) - q->seats[i].ask.started_ms >= limit)
			shun(&q->seats[i]);
}

static void ask(struct quest *q, struct quest_seat *seat)
{
	const struct broadcaster_settings *s = q->front->settings;
	struct ask_request request = { q->is_head, q->id, q->conditions };

	seat->outcome = QUEST_OPEN;
	seat->status = 0;
	q->next_ms = now_ms(q) + s->media_ask_ms;
	ask_start(&seat->ask, &request, s->connect_timeout_ms);
}

/* Ask the next one if it is time; false when there is none. */
static bool ask_next(struct quest *q)
{
	unsigned int n_open = count_open(q);

	while (q->next < q->n &&
	       q->seats[q->order[q->next]].outcome != QUEST_NEW)
		q->next++;
	if (q->next == q->n)
		return n_open > 0;
	if (n_open > 0 && now_ms(q) < q->next_ms)
		return true;
	shun_slow(q);
	ask(q, &q->seats[q->order[q->next++]]);
	return true;
}

/* Has one that was just asked failed at once, for want of memory? */
static bool has_failed(const struct quest *q)
{
	for (unsigned int i = 0; i < q->n; i++)
		if (q->seats[i].ask.state == ASK_FAILED)
			return true;
	return false;
}

enum quest_result quest_step(struct quest *q, const struct media_wish *wish,
			     struct media_facts *facts,
			     struct quest_seat **found)
{
	do {
		for (unsigned int i = 0; i < q->n; i++) {
			struct quest_seat *seat = &q->seats[i];

			if (!look(q, seat, wish, facts))
				continue;
			keep_only(q, seat);
			*found = seat;
			return QUEST_FOUND;
		}
		if (!ask_next(q))
			return QUEST_VAIN;
	} while (has_failed(q));
	return QUEST_MORE;
}

uint64_t quest_deadline(const struct quest *q)
{
	uint64_t at = q->next < q->n ? q->next_ms : UINT64_MAX;

	for (unsigned int i = 0; i < q->n; i++) {
		const struct quest_seat *seat = &q->seats[i];

		if (seat->outcome == QUEST_OPEN && deadline_of(q, seat) < at)
			at = deadline_of(q, seat);
	}
	return at;
}

/* ---- what came of it ------------------------------------------------------ */

bool quest_may_exist(const struct quest *q)
{
	for (unsigned int i = 0; i < q->n; i++)
		if (q->seats[i].outcome != QUEST_ABSENT)
			return true;
	return false;
}

int quest_status(const struct quest *q)
{
	if (!quest_may_exist(q))
		return 404;
	for (unsigned int i = 0; i < q->n; i++)
		if (q->seats[i].outcome == QUEST_BAD &&
		    (q->seats[i].status == 503 ||
		     q->seats[i].ask.err.code == ERR_MEMORY))
			return 503;
	return 502;
}

static json_t *seat_to_json(const struct quest_seat *seat)
{
	bool is_absent = seat->outcome == QUEST_ABSENT;

	return json_pack("{s:o, s:s, s:o}", "name",
			 json_text(span_of(seat->ask.outlet->target->name)),
			 "state", is_absent ? "absent" : "failed", "error",
			 is_absent ? json_null() :
				     json_text(span_of(seat->ask.err.text)));
}

json_t *quest_to_json(const struct quest *q)
{
	json_t *readers = json_array();

	for (unsigned int i = 0; i < q->n; i++)
		json_add(&readers, seat_to_json(&q->seats[i]));
	return readers;
}
