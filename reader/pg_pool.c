#include "reader/pg_pool.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdlib.h>

#define BACKOFF_MIN_MS 100u
#define BACKOFF_MAX_MS 5000u
#define IDLE_MS 60000u
#define TICK_MS 10000u

/* A link, and whose turn it is. */
struct slot {
	struct pg_link *link;
	struct pg_pool *pool;
	bool taken;		/* by somebody, or by its own connect */
	bool is_long;		/* … by somebody who said so */
	uint64_t idle_since_ms;
};

struct pg_pool {
	struct loop *loop;
	struct slot *slots;
	size_t n_slots;		/* at most */
	const struct reader_settings *settings;
	struct workers *workers;
	struct pg_taker *first;
	struct pg_taker **last;
	size_t n_long;		/* links that are taken for long */
	size_t n_connecting;
	size_t n_busy;		/* pg_pool_join_busy() */
	uint64_t backoff_ms;	/* 0: the last attempt went well */
	uint64_t retry_at_ms;
	struct err why;		/* of the back-off */
	struct timer tick;
	char *scratch;
};

static void serve(struct pg_pool *pool);

/* ---- who waits ----------------------------------------------------------- */

static void enqueue(struct pg_pool *pool, struct pg_taker *taker)
{
	taker->next = NULL;
	taker->pool = pool;
	*pool->last = taker;
	pool->last = &taker->next;
}

static struct pg_taker *dequeue(struct pg_pool *pool)
{
	struct pg_taker *taker = pool->first;

	if (!taker)
		return NULL;
	pool->first = taker->next;
	if (!pool->first)
		pool->last = &pool->first;
	taker->pool = NULL;
	return taker;
}

void pg_pool_cancel(struct pg_taker *taker)
{
	struct pg_pool *pool = taker->pool;
	struct pg_taker **at;

	if (!pool)
		return;
	for (at = &pool->first; *at != taker; at = &(*at)->next)
		;
	*at = taker->next;
	if (pool->last == &taker->next)
		pool->last = at;
	taker->pool = NULL;
}

/* How many more may take a link for long. */
static size_t room_for_long(const struct pg_pool *pool)
{
	size_t most = pool->n_slots / 4 ? pool->n_slots / 4 : 1;

	return most - pool->n_long;
}

/* The first whose turn has come; NULL: there is none. */
static struct pg_taker *next_in_turn(const struct pg_pool *pool)
{
	bool has_room = room_for_long(pool) > 0;
	struct pg_taker *taker = pool->first;

	while (taker && taker->is_long && !has_room)
		taker = taker->next;
	return taker;
}

bool pg_pool_is_wanted(const struct pg_pool *pool)
{
	return next_in_turn(pool) != NULL;
}

bool pg_pool_is_connecting(const struct pg_pool *pool)
{
	return pool->n_connecting > 0;
}

/* Those who wait now; whoever comes back from within has to wait anew. */
static void fail_all(struct pg_pool *pool, const struct err *err)
{
	struct pg_taker *taker, *last = NULL;
	bool more = pool->first != NULL;

	for (taker = pool->first; taker; taker = taker->next)
		last = taker;
	while (more && (taker = dequeue(pool))) {
		more = taker != last && pool->first;
		taker->fn(taker->arg, NULL, err);
	}
}

/* ---- links --------------------------------------------------------------- */

static struct slot *find_ready(struct pg_pool *pool)
{
	for (size_t i = 0; i < pool->n_slots; i++) {
		struct slot *slot = &pool->slots[i];

		if (slot->link && !slot->taken &&
		    pg_link_is_usable(slot->link))
			return slot;
	}
	return NULL;
}

/* One that could connect, made when it is not there; NULL: none, no memory. */
static struct slot *find_unconnected(struct pg_pool *pool)
{
	for (size_t i = 0; i < pool->n_slots; i++) {
		struct slot *slot = &pool->slots[i];

		if (slot->taken)
			continue;
		if (!slot->link)
			slot->link = pg_link_new(pool->loop, pool->settings,
						 pool->workers);
		if (slot->link && slot->link->state == PG_LINK_DOWN)
			return slot;
	}
	return NULL;
}

/* How many links could be given away now. */
static size_t count_waiting(const struct pg_pool *pool)
{
	size_t n = 0, n_long = 0, room = room_for_long(pool);

	for (struct pg_taker *t = pool->first; t; t = t->next) {
		if (t->is_long)
			n_long++;
		else
			n++;
	}
	return n + (n_long < room ? n_long : room);
}

/* Nothing is in use or connecting that could serve those who wait. */
static bool is_hopeless(const struct pg_pool *pool)
{
	for (size_t i = 0; i < pool->n_slots; i++)
		if (pool->slots[i].taken)
			return false;
	return true;
}

/* ---- connecting ---------------------------------------------------------- */

static void start_backoff(struct pg_pool *pool, const struct err *err)
{
	uint64_t ms = pool->backoff_ms ? 2 * pool->backoff_ms : BACKOFF_MIN_MS;

	if (!pool->backoff_ms)
		log_line(LOG_WARN, "database_down",
			 LOG_STR("reason", err->text));
	pool->backoff_ms = ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
	/* Half of it by chance, so that many do not come back together. */
	pool->retry_at_ms = loop_now_ms(pool->loop) + pool->backoff_ms / 2 +
			    clock_monotonic_us() % (pool->backoff_ms / 2 + 1);
	pool->why = *err;
	/* Nothing is lost yet: whatever it is, 503 and Retry-After say so. */
	pool->why.code = ERR_LIMIT;
}

/* Who is failed may take again, and begin another back-off. */
static void fail_for_backoff(struct pg_pool *pool)
{
	struct err why = pool->why;

	fail_all(pool, &why);
}

static void end_backoff(struct pg_pool *pool)
{
	if (pool->backoff_ms)
		log_line(LOG_INFO, "database_up", LOG_STR("reason", ""));
	pool->backoff_ms = 0;
}

static void on_connected(void *arg, PGresult *result, const struct err *err)
{
	struct slot *slot = arg;
	struct pg_pool *pool = slot->pool;
	struct err why = err ? *err : ERR_INIT;

	PQclear(result);
	slot->taken = false;
	slot->idle_since_ms = loop_now_ms(pool->loop);
	pool->n_connecting--;
	if (!err) {
		end_backoff(pool);
		serve(pool);
		return;
	}
	start_backoff(pool, &why);
	/* Those that the server does allow are for all. */
	if (is_hopeless(pool))
		fail_for_backoff(pool);
}

static void connect_slot(struct slot *slot)
{
	slot->taken = true;
	slot->pool->n_connecting++;
	pg_link_connect(slot->link, on_connected, slot);
}

static bool in_backoff(const struct pg_pool *pool)
{
	return pool->backoff_ms > 0 &&
	       loop_now_ms(pool->loop) < pool->retry_at_ms;
}

static void fail_for_memory(struct pg_pool *pool)
{
	struct err err = ERR_INIT;

	err_set(&err, ERR_MEMORY, "out of memory for a database connection");
	fail_all(pool, &err);
}

/* As many attempts as are wanted; only one while the database is down. */
static void connect_more(struct pg_pool *pool)
{
	size_t wanted = count_waiting(pool);
	struct slot *slot;

	if (in_backoff(pool))
		return;
	if (pool->backoff_ms > 0 && wanted > 1)
		wanted = 1;
	while (pool->n_connecting < wanted) {
		slot = find_unconnected(pool);
		if (!slot && is_hopeless(pool))
			fail_for_memory(pool);
		if (!slot)
			return;
		connect_slot(slot);
	}
}

static void hand_out(struct slot *slot, struct pg_taker *taker)
{
	pg_pool_cancel(taker);
	slot->taken = true;
	slot->is_long = taker->is_long;
	slot->pool->n_long += slot->is_long;
	taker->fn(taker->arg, slot->link, NULL);
}

static void serve(struct pg_pool *pool)
{
	struct slot *slot;
	struct pg_taker *taker;

	while ((taker = next_in_turn(pool)) && (slot = find_ready(pool)))
		hand_out(slot, taker);
	if (in_backoff(pool) && is_hopeless(pool))
		fail_for_backoff(pool);
	else
		connect_more(pool);
}

void pg_pool_take(struct pg_pool *pool, struct pg_taker *taker,
		  pg_taken_fn *fn, void *arg)
{
	CHECK(!taker->pool);
	taker->fn = fn;
	taker->arg = arg;
	enqueue(pool, taker);
	serve(pool);
}

static struct slot *slot_of(struct pg_pool *pool, const struct pg_link *link)
{
	size_t i = 0;

	while (pool->slots[i].link != link)
		i++;
	return &pool->slots[i];
}

void pg_pool_give(struct pg_pool *pool, struct pg_link **linkp)
{
	struct slot *slot = slot_of(pool, *linkp);

	*linkp = NULL;
	CHECK(slot->taken);
	if (!pg_link_is_usable(slot->link))
		pg_link_reset(slot->link);
	slot->taken = false;
	pool->n_long -= slot->is_long;
	slot->is_long = false;
	slot->idle_since_ms = loop_now_ms(pool->loop);
	serve(pool);
}

bool pg_pool_join_busy(struct pg_pool *pool)
{
	if (pool->n_busy == pool->n_slots)
		return false;
	pool->n_busy++;
	return true;
}

void pg_pool_leave_busy(struct pg_pool *pool)
{
	CHECK(pool->n_busy > 0);
	pool->n_busy--;
}

char *pg_pool_scratch(struct pg_pool *pool)
{
	return pool->scratch;
}

/* ---- life ---------------------------------------------------------------- */

static void on_tick(void *arg)
{
	struct pg_pool *pool = arg;
	uint64_t now = loop_now_ms(pool->loop);

	for (size_t i = 0; i < pool->n_slots; i++) {
		struct slot *slot = &pool->slots[i];

		if (slot->link && !slot->taken &&
		    pg_link_is_usable(slot->link) &&
		    now - slot->idle_since_ms >= IDLE_MS)
			pg_link_reset(slot->link);
	}
	timer_start(&pool->tick, TICK_MS);
}

static bool allocate(struct pg_pool *pool)
{
	pool->n_slots = (size_t)pool->settings->db_connections;
	pool->slots = calloc(pool->n_slots, sizeof(*pool->slots));
	pool->scratch = malloc(PG_SCRATCH_BYTES);
	if (!pool->slots || !pool->scratch)
		return false;
	for (size_t i = 0; i < pool->n_slots; i++)
		pool->slots[i].pool = pool;
	return true;
}

struct pg_pool *pg_pool_new(struct loop *loop,
			    const struct reader_settings *settings,
			    struct workers *workers)
{
	struct pg_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->loop = loop;
	pool->settings = settings;
	pool->workers = workers;
	pool->last = &pool->first;
	timer_init(&pool->tick, loop, on_tick, pool);
	if (!allocate(pool)) {
		pg_pool_free(&pool);
		return NULL;
	}
	timer_start(&pool->tick, TICK_MS);
	return pool;
}

void pg_pool_free(struct pg_pool **poolp)
{
	struct pg_pool *pool = *poolp;

	if (!pool)
		return;
	*poolp = NULL;
	CHECK(!pool->first);
	timer_stop(&pool->tick);
	for (size_t i = 0; pool->slots && i < pool->n_slots; i++)
		pg_link_free(&pool->slots[i].link);
	free(pool->slots);
	free(pool->scratch);
	free(pool);
}

struct loop *pg_pool_loop(const struct pg_pool *pool)
{
	return pool->loop;
}
