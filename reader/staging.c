#include "reader/staging.h"

#include "common/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096u

struct staging {
	pthread_mutex_t lock;
	size_t max;
	size_t n;
	size_t n_at_rest;
	size_t cursor;			/* where staging_take_old() goes on */
	struct staged *buckets[BUCKETS];
};

#define BIT(state) (1u << STAGED_##state)

/* What may follow each state. */
static const unsigned int transitions[] = {
	[STAGED_RECEIVING] = BIT(PARTIAL) | BIT(COMPLETE) | BIT(GONE),
	[STAGED_PARTIAL] = BIT(RECEIVING) | BIT(COMMITTING) | BIT(ABORTING),
	[STAGED_COMPLETE] = BIT(RECEIVING) | BIT(COMMITTING) | BIT(ABORTING),
	[STAGED_COMMITTING] = BIT(COMPLETE) | BIT(GONE),
	[STAGED_ABORTING] = BIT(GONE),
	[STAGED_GONE] = 0,
};

static const char *staged_state_name(enum staged_state state)
{
#define STAGED_STATE_TEXT(name, text, meaning) text,
	static const char *const names[] = { STAGED_STATES(STAGED_STATE_TEXT) };
#undef STAGED_STATE_TEXT

	return names[state];
}

static bool is_at_rest(enum staged_state state)
{
	return state == STAGED_PARTIAL || state == STAGED_COMPLETE;
}

/* The only place where a state is assigned; under the lock. */
static void set_state(struct staged *entry, enum staged_state state)
{
	CHECK(transitions[entry->state] & (1u << state));
	if (log_enabled(LOG_DEBUG))
		log_line(LOG_DEBUG, "object_state", LOG_STR("id", entry->id),
			 LOG_STR("from", staged_state_name(entry->state)),
			 LOG_STR("to", staged_state_name(state)));
	if (is_at_rest(entry->state))
		entry->table->n_at_rest--;
	if (is_at_rest(state))
		entry->table->n_at_rest++;
	entry->state = state;
}

static struct staged **bucket_of(struct staging *table, const char *id)
{
	uint32_t hash = 2166136261u;	/* FNV-1a */

	for (; *id; id++)
		hash = (hash ^ (unsigned char)*id) * 16777619u;
	return &table->buckets[hash % BUCKETS];
}

static struct staged *find(struct staging *table, const char *id)
{
	struct staged *entry = *bucket_of(table, id);

	while (entry && strcmp(entry->id, id) != 0)
		entry = entry->next;
	return entry;
}

struct staging *staging_new(size_t max)
{
	struct staging *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->max = max;
	pthread_mutex_init(&table->lock, NULL);
	return table;
}

void staging_free(struct staging **tablep)
{
	struct staging *table = *tablep;

	if (!table)
		return;
	*tablep = NULL;
	CHECK(table->n == 0);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

static void hold(struct staged *entry, enum staged_state state,
		 const struct staging_holder *holder)
{
	set_state(entry, state);
	entry->holder = *holder;
}

static struct staged *insert(struct staging *table, const char *id,
			     const struct staging_holder *holder)
{
	struct staged **bucket = bucket_of(table, id);
	struct staged *entry;

	if (table->n >= table->max)
		return NULL;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return NULL;
	CHECK(span_to_string(span_of(id), entry->id, sizeof(entry->id)));
	entry->table = table;
	entry->state = STAGED_RECEIVING;
	entry->holder = *holder;
	entry->next = *bucket;
	*bucket = entry;
	table->n++;
	return entry;
}

enum staging_answer staging_create(struct staging *table, const char *id,
				   const struct staging_holder *holder,
				   uint64_t stale_ms, struct staged **entryp,
				   uint64_t *touched_ms)
{
	enum staging_answer answer = STAGING_TAKEN;
	struct staged *entry;

	pthread_mutex_lock(&table->lock);
	entry = find(table, id);
	if (!entry) {
		entry = insert(table, id, holder);
		answer = entry ? STAGING_NEW : STAGING_FULL;
	} else if (!is_at_rest(entry->state)) {
		answer = STAGING_HELD;
	} else if (entry->touched_ms > stale_ms) {
		answer = STAGING_FRESH;
		*touched_ms = entry->touched_ms;
	} else {
		hold(entry, STAGED_RECEIVING, holder);
	}
	pthread_mutex_unlock(&table->lock);
	*entryp = answer <= STAGING_TAKEN ? entry : NULL;
	return answer;
}

/* Under the lock: can it be taken? */
static enum staging_answer is_free(const struct staged *entry)
{
	if (!entry)
		return STAGING_UNKNOWN;
	return is_at_rest(entry->state) ? STAGING_TAKEN : STAGING_HELD;
}

enum staging_answer staging_append(struct staging *table, const char *id,
				   uint64_t offset,
				   const struct staging_holder *holder,
				   struct staged **entryp, uint64_t *end)
{
	enum staging_answer answer;
	struct staged *entry;

	pthread_mutex_lock(&table->lock);
	entry = find(table, id);
	answer = is_free(entry);
	if (answer == STAGING_TAKEN) {
		*end = atomic_load(&entry->offset);
		if (*end == offset)
			hold(entry, STAGED_RECEIVING, holder);
		else
			answer = STAGING_ELSEWHERE;
	}
	pthread_mutex_unlock(&table->lock);
	*entryp = answer == STAGING_TAKEN ? entry : NULL;
	return answer;
}

enum staging_answer staging_take(struct staging *table, const char *id,
				 enum staged_state state,
				 const struct staging_holder *holder,
				 struct staged **entryp)
{
	enum staging_answer answer;
	struct staged *entry;

	CHECK(!is_at_rest(state));
	pthread_mutex_lock(&table->lock);
	entry = find(table, id);
	answer = is_free(entry);
	if (answer == STAGING_TAKEN)
		hold(entry, state, holder);
	pthread_mutex_unlock(&table->lock);
	*entryp = answer == STAGING_TAKEN ? entry : NULL;
	return answer;
}

static struct staged *find_old(struct staged *entry, uint64_t until_ms)
{
	while (entry && !(is_at_rest(entry->state) &&
			  entry->touched_ms <= until_ms))
		entry = entry->next;
	return entry;
}

/* Goes on where the last call found one; a full round finds nothing twice. */
struct staged *staging_take_old(struct staging *table, uint64_t until_ms,
				const struct staging_holder *holder)
{
	struct staged *entry = NULL;

	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < BUCKETS && table->n_at_rest > 0; i++) {
		entry = find_old(table->buckets[table->cursor], until_ms);
		if (entry)
			break;
		table->cursor = (table->cursor + 1) % BUCKETS;
	}
	if (entry)
		hold(entry, STAGED_ABORTING, holder);
	pthread_mutex_unlock(&table->lock);
	return entry;
}

/* Tell all who wait; each may be gone as soon as it is posted. */
static void wake_waiters(struct staged *entry)
{
	struct staging_waiter *waiter = entry->waiters, *next;

	entry->waiters = NULL;
	for (; waiter; waiter = next) {
		next = waiter->next;
		loop_post(waiter->loop, &waiter->post, waiter->fn, waiter->arg);
	}
}

bool staging_rest(struct staged *entry, enum staged_state state,
		  uint64_t now_ms)
{
	struct staging *table = entry->table;
	bool rests;

	CHECK(is_at_rest(state) && entry->sink);
	pthread_mutex_lock(&table->lock);
	rests = !entry->abort_wanted;
	if (rests) {
		set_state(entry, state);
		entry->touched_ms = now_ms;
		entry->holder = (struct staging_holder){ 0 };
		wake_waiters(entry);
	}
	pthread_mutex_unlock(&table->lock);
	return rests;
}

static void unlink_entry(struct staged *entry)
{
	struct staged **at = bucket_of(entry->table, entry->id);

	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	entry->table->n--;
}

/* Under the mutex. True when it is to be freed here, not by on_asked(). */
static bool end_entry(struct staged *entry)
{
	set_state(entry, STAGED_GONE);
	unlink_entry(entry);
	wake_waiters(entry);
	return !entry->posted;
}

void staging_drop(struct staged **entryp)
{
	struct staged *entry = *entryp;
	struct staging *table = entry->table;
	bool is_last;

	*entryp = NULL;
	pthread_mutex_lock(&table->lock);
	is_last = end_entry(entry);
	pthread_mutex_unlock(&table->lock);
	if (is_last)
		free(entry);
}

bool staging_leave(struct staged **entryp)
{
	struct staged *entry = *entryp;
	struct staging *table = entry->table;
	bool leaves, is_last = false;

	pthread_mutex_lock(&table->lock);
	leaves = !entry->abort_wanted;
	if (leaves)
		is_last = end_entry(entry);
	pthread_mutex_unlock(&table->lock);
	if (leaves)
		*entryp = NULL;
	if (is_last)
		free(entry);
	return leaves;
}

/*
 * On the holder's loop. Nobody else can hold the entry meanwhile, because one
 * that is to be aborted does not come to rest; but it may be gone.
 */
static void on_asked(void *arg)
{
	struct staged *entry = arg;
	struct staging *table = entry->table;
	bool gone;

	pthread_mutex_lock(&table->lock);
	entry->posted = false;
	gone = entry->state == STAGED_GONE;
	pthread_mutex_unlock(&table->lock);
	if (gone)
		free(entry);
	else
		entry->holder.on_abort(entry->holder.arg);
}

static void ask_to_give_up(struct staged *entry)
{
	if (entry->abort_wanted || !entry->holder.on_abort)
		return;
	entry->abort_wanted = true;
	entry->posted = true;
	loop_post(entry->holder.loop, &entry->post, on_asked, entry);
}

bool staging_wait(struct staging *table, const char *id,
		  struct staging_waiter *waiter, bool give_up)
{
	struct staged *entry;
	bool held;

	pthread_mutex_lock(&table->lock);
	entry = find(table, id);
	held = entry && !is_at_rest(entry->state);
	if (held) {
		waiter->next = entry->waiters;
		entry->waiters = waiter;
		if (give_up)
			ask_to_give_up(entry);
	}
	pthread_mutex_unlock(&table->lock);
	return held;
}

bool staging_look(struct staging *table, const char *id,
		  struct staging_view *view)
{
	struct staged *entry;

	*view = (struct staging_view){ 0 };
	pthread_mutex_lock(&table->lock);
	entry = find(table, id);
	if (entry) {
		view->state = entry->state;
		view->offset = atomic_load(&entry->offset);
		if (entry->state == STAGED_COMPLETE)
			memcpy(view->sha256, entry->sha256,
			       sizeof(view->sha256));
	}
	pthread_mutex_unlock(&table->lock);
	return entry != NULL;
}

static bool is_busy(const struct staged *entry, uint64_t since_ms)
{
	return !is_at_rest(entry->state) ||
	       (entry->state == STAGED_COMPLETE &&
		entry->touched_ms > since_ms);
}

size_t staging_busy(struct staging *table, uint64_t since_ms)
{
	size_t n = 0;

	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < BUCKETS && table->n > 0; i++)
		for (struct staged *entry = table->buckets[i]; entry;
		     entry = entry->next)
			n += is_busy(entry, since_ms);
	pthread_mutex_unlock(&table->lock);
	return n;
}

size_t staging_at_rest(struct staging *table)
{
	size_t n;

	pthread_mutex_lock(&table->lock);
	n = table->n_at_rest;
	pthread_mutex_unlock(&table->lock);
	return n;
}
