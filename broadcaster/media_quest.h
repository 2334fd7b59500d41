/*
 * media_quest.h - readers asked for an object until one gives a good answer
 *
 * In the order of media_order.h. A reader that has not begun its answer within
 * BROADCASTER_MEDIA_ASK_MS goes on being waited for, but the next one is asked
 * as well, and for some seconds it is asked after all others. Within
 * BROADCASTER_CONNECT_TIMEOUT_MS it must have answered. At the first good answer
 * the others are hung up.
 *
 * Calling sequence: quest_new(); quest_begin(), then quest_step() after each
 * wake(owner) and at each quest_deadline(), until it no longer says QUEST_MORE.
 * When the one that was found fails, quest_fail(), and quest_step() goes on with
 * those that have neither failed nor said that they do not hold it; quest_begin()
 * again to ask the failed ones as well.
 */
#ifndef BROADCASTER_MEDIA_QUEST_H
#define BROADCASTER_MEDIA_QUEST_H

#include "broadcaster/media_ask.h"
#include "broadcaster/media_facts.h"
#include "common/json.h"

enum quest_outcome {
	QUEST_NEW,	/* to be asked */
	QUEST_OPEN,	/* asked */
	QUEST_ABSENT,	/* does not hold it, or another content */
	QUEST_BAD,	/* no good answer: ask.err says why */
};

struct quest_seat {
	struct ask ask;
	enum quest_outcome outcome;
	int status;		/* that it answered, 0: none */
};

struct quest {
	struct front *front;
	bool is_head;
	char id[UUID_TEXT_SIZE];
	const char *conditions;	/* lines of the request, borrowed */
	uint64_t next_ms;	/* when the next one is asked, at the latest */
	unsigned int next;	/* in order[] */
	unsigned int n;
	unsigned char order[TARGETS_MAX];
	struct quest_seat seats[];
};

/*
 * A quest for `id` among the front's readers, or NULL when out of memory.
 * wake(owner) is called when quest_step() can do something.
 */
struct quest *quest_new(struct front *front, const char *id, bool is_head,
			void (*wake)(void *owner), void *owner);

/* Hang up on everybody, free *quest and null it; NULL inside is fine. */
void quest_free(struct quest **quest);

/*
 * Begin to ask; `conditions` (lines of a head with their CRLF) must live as long
 * as the quest goes on. Who does not hold the object is not asked again. `failed`
 * is asked last: a seat's number, or MEDIA_ORDER_NOBODY.
 */
void quest_begin(struct quest *q, const char *conditions, unsigned int failed);

enum quest_result {
	QUEST_MORE,	/* wait */
	QUEST_FOUND,	/* *found has answered, see *facts; its ask is ANSWERED */
	QUEST_VAIN,	/* all were asked: outcomes say what came of it */
};

/* Go on as far as possible now. */
enum quest_result quest_step(struct quest *q, const struct media_wish *wish,
			     struct media_facts *facts,
			     struct quest_seat **found);

/* When quest_step() has to be called at the latest, on the loop's clock. */
uint64_t quest_deadline(const struct quest *q);

/* Is there one that might hold the object and did not say so? */
bool quest_may_exist(const struct quest *q);

/*
 * For a quest in vain: 404 only if all said that they do not hold it, otherwise
 * 502, or 503 when one is merely busy.
 */
int quest_status(const struct quest *q);

/* What each reader said: [{"name","state","error"}], or NULL. */
json_t *quest_to_json(const struct quest *q);

/* The one that was found has failed later on: hang up, note `err`, shun it. */
void quest_fail(struct quest_seat *seat, const struct err *err);

#endif
