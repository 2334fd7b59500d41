/*
 * The store that keeps nothing: it counts and digests, and remembers the last
 * objects' descriptions. Every operation ends before its call returns, on the
 * calling thread, so that a benchmark measures everything but a store.
 */
#include "reader/recent.h"
#include "reader/sink_impl.h"

#include <stdlib.h>

struct discard_store {
	struct store base;
	struct recent *recent;
};

static struct recent *recent_of(struct store *store)
{
	return ((struct discard_store *)store)->recent;
}

static struct store *discard_store_open(const struct reader_settings *settings,
					struct workers *workers,
					struct err *err)
{
	struct discard_store *store = calloc(1, sizeof(*store));

	(void)settings;
	(void)workers;
	if (store)
		store->recent = recent_new();
	if (store && store->recent)
		return &store->base;
	free(store);
	err_set(err, ERR_MEMORY, "out of memory for the store");
	return NULL;
}

static void discard_store_close(struct store *base)
{
	struct discard_store *store = (struct discard_store *)base;

	recent_free(&store->recent);
	free(store);
}

static void discard_check(struct store_probe *probe, struct loop *loop)
{
	(void)loop;
	store_probe_end(probe);
}

static void discard_find(struct store_lookup *lookup, struct loop *loop)
{
	(void)loop;
	recent_find(recent_of(lookup->store), lookup);
	store_lookup_end(lookup);
}

static void discard_remove(struct store_lookup *lookup, struct loop *loop)
{
	(void)loop;
	recent_remove(recent_of(lookup->store), lookup->id);
	store_lookup_end(lookup);
}

static void discard_list(struct store_list *list, struct loop *loop)
{
	(void)loop;
	recent_list(recent_of(list->store), list);
	store_list_end(list);
}

static struct sink *discard_sink_new(struct store *store)
{
	(void)store;
	return calloc(1, sizeof(struct sink));
}

static void discard_sink_free(struct sink *sink)
{
	free(sink);
}

static void discard_write(struct sink *sink, struct span bytes)
{
	digest_update(sink->digest, bytes.ptr, bytes.len);
	sink_end(sink);
}

static void discard_commit(struct sink *sink)
{
	recent_commit(recent_of(sink->store), sink);
	sink_end(sink);
}

static void discard_abort(struct sink *sink)
{
	recent_abort(recent_of(sink->store), sink);
	sink_end(sink);
}

const struct sink_type sink_type_discard = {
	.kind = "discard",
	.can_append = true,
	.store_open = discard_store_open,
	.store_close = discard_store_close,
	.check = discard_check,
	.find = discard_find,
	.remove = discard_remove,
	.list = discard_list,
	.sink_new = discard_sink_new,
	.sink_free = discard_sink_free,
	.open = sink_end,
	.write = discard_write,
	.stage = sink_end,
	.suspend = sink_end,
	.commit = discard_commit,
	.abort = discard_abort,
};
