#include "reader/recent.h"

#include "reader/list_order.h"

#include <stdlib.h>

#define NONE UINT16_MAX
#define BUCKETS RECENT_MAX

struct recent {
	pthread_mutex_t lock;
	uint16_t bucket[BUCKETS];	/* first slot of the chain, or NONE */
	uint16_t next[RECENT_MAX];	/* next slot of the chain, or NONE */
	uint16_t oldest;		/* the slot to be used next */
	struct object slots[RECENT_MAX];	/* id "" = free */
};

struct recent *recent_new(void)
{
	struct recent *recent = calloc(1, sizeof(*recent));

	if (!recent)
		return NULL;
	pthread_mutex_init(&recent->lock, NULL);
	for (size_t i = 0; i < BUCKETS; i++)
		recent->bucket[i] = NONE;
	return recent;
}

void recent_free(struct recent **recentp)
{
	struct recent *recent = *recentp;

	if (!recent)
		return;
	*recentp = NULL;
	pthread_mutex_destroy(&recent->lock);
	free(recent);
}

static uint16_t *bucket_of(struct recent *recent, const char *id)
{
	return &recent->bucket[object_id_hash(id) % BUCKETS];
}

/* The link that leads to the slot of `id`, or to NONE. */
static uint16_t *link_to(struct recent *recent, const char *id)
{
	uint16_t *at = bucket_of(recent, id);

	while (*at != NONE && strcmp(recent->slots[*at].id, id) != 0)
		at = &recent->next[*at];
	return at;
}

static void drop(struct recent *recent, const char *id)
{
	uint16_t *at = link_to(recent, id);
	uint16_t slot = *at;

	if (slot == NONE)
		return;
	*at = recent->next[slot];
	recent->slots[slot].id[0] = '\0';
}

static void put(struct recent *recent, const struct object *object)
{
	uint16_t slot = recent->oldest;
	uint16_t *bucket = bucket_of(recent, object->id);

	if (recent->slots[slot].id[0])
		drop(recent, recent->slots[slot].id);
	recent->slots[slot] = *object;
	recent->next[slot] = *bucket;
	*bucket = slot;
	recent->oldest = (uint16_t)((slot + 1u) % RECENT_MAX);
}

void recent_commit(struct recent *recent, struct sink *sink)
{
	const struct object *object = &sink->object, *known;
	uint16_t slot;

	pthread_mutex_lock(&recent->lock);
	slot = *link_to(recent, object->id);
	known = slot == NONE ? NULL : &recent->slots[slot];
	if (!known)
		put(recent, object);
	else if (!object_is_same(known, object))
		err_set(&sink->err, ERR_CONFLICT,
			"another object has this identifier");
	sink->published = !known;
	pthread_mutex_unlock(&recent->lock);
}

void recent_abort(struct recent *recent, struct sink *sink)
{
	if (sink->published)
		recent_remove(recent, sink->object.id);
}

void recent_find(struct recent *recent, struct store_lookup *lookup)
{
	uint16_t slot;

	pthread_mutex_lock(&recent->lock);
	slot = *link_to(recent, lookup->id);
	if (slot == NONE)
		err_set(&lookup->err, ERR_NOT_FOUND,
			"there is no such object");
	else if (lookup->want_bytes)
		err_set(&lookup->err, ERR_NOT_FOUND,
			"this store keeps no content");
	else
		lookup->object = recent->slots[slot];
	pthread_mutex_unlock(&recent->lock);
}

void recent_remove(struct recent *recent, const char *id)
{
	pthread_mutex_lock(&recent->lock);
	drop(recent, id);
	pthread_mutex_unlock(&recent->lock);
}

static int compare(const void *a, const void *b, void *list)
{
	const struct object *const *left = a, *const *right = b;

	return list_compare(list, *left, *right);
}

/* What is wanted, sorted, into `found`; returns how many. */
static size_t collect(const struct recent *recent, struct store_list *list,
		      const struct object **found)
{
	size_t n = 0;

	for (size_t i = 0; i < RECENT_MAX; i++) {
		const struct object *object = &recent->slots[i];

		if (object->id[0] && list_is_behind(list, object) &&
		    list_wants(list, object))
			found[n++] = object;
	}
	qsort_r(found, n, sizeof(*found), compare, list);
	return n;
}

static void fill(const struct recent *recent, struct store_list *list)
{
	const struct object *found[RECENT_MAX];
	size_t n = collect(recent, list, found);

	list->more = n > list->limit;
	n = n < list->limit ? n : list->limit;
	list->rows = calloc(n ? n : 1, sizeof(*list->rows));
	if (!list->rows) {
		err_set(&list->err, ERR_MEMORY, "out of memory for a list");
		return;
	}
	for (; list->n_rows < n; list->n_rows++)
		list->rows[list->n_rows] = *found[list->n_rows];
	list_finish(list);
}

void recent_list(struct recent *recent, struct store_list *list)
{
	pthread_mutex_lock(&recent->lock);
	fill(recent, list);
	pthread_mutex_unlock(&recent->lock);
}
