#include "reader/sink.h"

#include "common/clock.h"

#include "reader/settings.h"
#include "reader/sink_impl.h"

#include <stdlib.h>
#include <unistd.h>

#define SINK_TYPE_KIND(name) #name,
const char *const store_kinds[] = { SINK_TYPES(SINK_TYPE_KIND) NULL };

#define SINK_TYPE_ROW(name) &sink_type_##name,
static const struct sink_type *const types[] = { SINK_TYPES(SINK_TYPE_ROW) };

/* ---- the sequence -------------------------------------------------------- */

#define IN(state) (1u << (state))

/* In which states an operation may begin, and where its success leads. */
static const struct {
	unsigned int from;
	enum sink_state to;
	bool stays;	/* the state remains what it is */
} rules[] = {
	[SINK_OPENING] = { .from = IN(SINK_NEW), .to = SINK_OPEN },
	[SINK_WRITING] = { .from = IN(SINK_OPEN) | IN(SINK_STAGED),
			   .to = SINK_OPEN },
	[SINK_STAGING] = { .from = IN(SINK_OPEN) | IN(SINK_STAGED),
			   .to = SINK_STAGED },
	[SINK_SUSPENDING] = { .from = IN(SINK_OPEN) | IN(SINK_STAGED),
			      .stays = true },
	[SINK_COMMITTING] = { .from = IN(SINK_STAGED), .to = SINK_COMMITTED },
	[SINK_ABORTING] = { .from = IN(SINK_OPEN) | IN(SINK_STAGED) |
				    IN(SINK_COMMITTED) | IN(SINK_FAILED),
			    .to = SINK_GONE },
};

static void begin(struct sink *sink, enum sink_op op, struct loop *loop,
		  sink_done_fn *done, void *arg)
{
	CHECK(sink->op == SINK_IDLE);
	CHECK(rules[op].from & IN(sink->state));
	sink->op = op;
	sink->op_bytes = 0;
	sink->loop = loop;
	sink->done = done;
	sink->arg = arg;
	sink->err = ERR_INIT;
}

static void enter_state(struct sink *sink, enum sink_op op)
{
	if (op != SINK_ABORTING && err_is_set(&sink->err))
		sink->state = SINK_FAILED;
	else if (!rules[op].stays)
		sink->state = rules[op].to;
}

static void refuse(struct sink *sink, enum err_code code, const char *why)
{
	err_set(&sink->err, code, "%s", why);
	sink_end(sink);
}

/* ---- what all stores share ----------------------------------------------- */

uint32_t object_id_hash(const char *id)
{
	uint32_t hash = 2166136261u;

	for (; *id; id++)
		hash = (hash ^ (unsigned char)*id) * 16777619u;
	return hash;
}

bool object_is_same(const struct object *a, const struct object *b)
{
	return a->size == b->size && strcmp(a->sha256, b->sha256) == 0;
}

static struct sink **bucket_of(struct store *store, const char *id)
{
	return &store->sinks[object_id_hash(id) % STORE_BUCKETS];
}

/* Under the store's lock. */
static struct sink *find_sink(struct store *store, const char *id)
{
	struct sink *sink = *bucket_of(store, id);

	while (sink && strcmp(sink->object.id, id) != 0)
		sink = sink->next;
	return sink;
}

bool store_has_sink(struct store *store, const char *id)
{
	bool has;

	pthread_mutex_lock(&store->lock);
	has = find_sink(store, id) != NULL;
	pthread_mutex_unlock(&store->lock);
	return has;
}

/* Enter the sink under its id; false when another one has it. */
static bool enlist(struct sink *sink)
{
	struct store *store = sink->store;
	struct sink **bucket = bucket_of(store, sink->object.id);

	pthread_mutex_lock(&store->lock);
	if (!find_sink(store, sink->object.id)) {
		sink->next = *bucket;
		*bucket = sink;
		sink->listed = true;
	}
	pthread_mutex_unlock(&store->lock);
	return sink->listed;
}

static void delist(struct sink *sink)
{
	struct store *store = sink->store;
	struct sink **at = bucket_of(store, sink->object.id);

	if (!sink->listed)
		return;
	pthread_mutex_lock(&store->lock);
	while (*at != sink)
		at = &(*at)->next;
	*at = sink->next;
	pthread_mutex_unlock(&store->lock);
}

static void destroy(struct sink *sink)
{
	delist(sink);
	digest_free(&sink->digest);
	sniff_head_release(&sink->head);
	sink->store->type->sink_free(sink);
}

/* ---- ends ---------------------------------------------------------------- */

/* `err` is a copy: what it lay in may be freed by `done`. */
static void call_done(sink_done_fn *done, void *arg, const struct err *where)
{
	struct err err;

	if (!err_is_set(where)) {
		done(arg, NULL);
		return;
	}
	err = *where;
	done(arg, &err);
}

static void end_abort(struct sink *sink)
{
	sink_done_fn *done = sink->done;
	void *arg = sink->arg;
	struct err err = sink->err;

	destroy(sink);
	call_done(done, arg, &err);
}

void sink_end(struct sink *sink)
{
	enum sink_op op = sink->op;

	CHECK(op != SINK_IDLE);
	sink->op = SINK_IDLE;
	enter_state(sink, op);
	if (sink->state == SINK_GONE) {
		end_abort(sink);
		return;
	}
	if (!err_is_set(&sink->err))
		sink->offset += sink->op_bytes;
	sink->object.size = sink->offset;
	call_done(sink->done, sink->arg, &sink->err);
}

void store_probe_end(void *arg)
{
	struct store_probe *probe = arg;

	call_done(probe->done, probe->arg, &probe->err);
}

void store_lookup_end(void *arg)
{
	struct store_lookup *lookup = arg;

	call_done(lookup->done, lookup->arg, &lookup->err);
}

void store_list_end(void *arg)
{
	struct store_list *list = arg;

	call_done(list->done, list->arg, &list->err);
}

/* ---- stores -------------------------------------------------------------- */

static const struct sink_type *find_type(const char *kind)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i]->kind, kind) == 0)
			return types[i];
	return NULL;
}

struct store *store_open(const char *kind,
			 const struct reader_settings *settings,
			 struct workers *workers, struct err *err)
{
	const struct sink_type *type = find_type(kind);
	struct store *store;

	if (!type) {
		err_set(err, ERR_CONFIG, "there is no kind of store \"%s\"",
			kind);
		return NULL;
	}
	store = type->store_open(settings, workers, err);
	if (!store)
		return NULL;
	store->type = type;
	store->workers = workers;
	if (settings->sniff)
		store->sniffer = sniffer_new();
	pthread_mutex_init(&store->lock, NULL);
	if (type->start && type->start(store, err) < 0)
		store_close(&store);
	return store;
}

void store_close(struct store **storep)
{
	struct store *store = *storep;

	if (!store)
		return;
	*storep = NULL;
	if (store->type->stop)
		store->type->stop(store);
	for (size_t i = 0; i < STORE_BUCKETS; i++)
		CHECK(!store->sinks[i]);
	pthread_mutex_destroy(&store->lock);
	sniffer_free(&store->sniffer);
	store->type->store_close(store);
}

void store_leave(struct store *store, struct loop *loop)
{
	if (store->type->leave)
		store->type->leave(store, loop);
}

const char *store_kind(const struct store *store)
{
	return store->type->kind;
}

bool store_can_append(const struct store *store)
{
	return store->type->can_append;
}

bool store_is_shared(const struct store *store)
{
	return store->type->is_shared;
}

void store_check(struct store *store, struct store_probe *probe,
		 struct loop *loop, sink_done_fn *done, void *arg)
{
	*probe = (struct store_probe){ .store = store,
				       .done = done,
				       .arg = arg };
	store->type->check(probe, loop);
}

/* ---- sinks --------------------------------------------------------------- */

static void fill_new(struct sink *sink, struct store *store,
		     const struct object *object)
{
	sink->store = store;
	sink->object = *object;
	sink->promised = object->size;
	sink->object.size = 0;
	sink->object.sha256[0] = '\0';
}

/* With all the memory that it will need; NULL when that is not there. */
static struct sink *new_sink(struct store *store, const struct object *object)
{
	struct digest *digest = digest_new();
	struct sink *sink = digest ? store->type->sink_new(store) : NULL;

	if (!sink) {
		digest_free(&digest);
		return NULL;
	}
	fill_new(sink, store, object);
	sink->digest = digest;
	if (!store->sniffer || !sniff_is_wanted(object->content_type) ||
	    sniff_head_init(&sink->head, object->size) == 0)
		return sink;
	digest_free(&sink->digest);
	store->type->sink_free(sink);
	return NULL;
}

struct sink *sink_open(struct store *store, const struct object *object,
		       struct loop *loop, sink_done_fn *done, void *arg)
{
	struct sink *sink = new_sink(store, object);

	if (!sink)
		return NULL;
	begin(sink, SINK_OPENING, loop, done, arg);
	if (!uuid_is_valid(span_of(object->id)))
		refuse(sink, ERR_CLIENT, "the object's identifier is no UUID");
	else if (!enlist(sink))
		refuse(sink, ERR_CONFLICT,
		       "an object of this identifier is being stored already");
	else
		store->type->open(sink);
	return sink;
}

void sink_expect_more(struct sink *sink)
{
	CHECK(sink->offset == 0);
	sink->expects_more = true;
}

bool store_can_resume(const struct store *store)
{
	return store->type->resume != NULL;
}

struct sink *sink_resume(struct store *store, const char *id, struct loop *loop,
			 sink_done_fn *done, void *arg)
{
	struct object *object = calloc(1, sizeof(*object));
	struct sink *sink = NULL;

	CHECK(store->type->resume);
	if (object) {
		CHECK(span_to_string(span_of(id), object->id,
				     sizeof(object->id)));
		object->size = OBJECT_SIZE_UNKNOWN;
		sink = new_sink(store, object);
	}
	free(object);
	if (!sink)
		return NULL;
	begin(sink, SINK_OPENING, loop, done, arg);
	if (!uuid_is_valid(span_of(id)))
		refuse(sink, ERR_NOT_FOUND, "there is no such object");
	else if (!enlist(sink))
		refuse(sink, ERR_CONFLICT,
		       "an object of this identifier is being stored already");
	else
		store->type->resume(sink);
	return sink;
}

void sink_write(struct sink *sink, struct loop *loop, struct span bytes,
		sink_done_fn *done, void *arg)
{
	const struct sink_type *type = sink->store->type;

	CHECK(bytes.len >= 1 && bytes.len <= INT32_MAX);
	begin(sink, SINK_WRITING, loop, done, arg);
	if (sink->state == SINK_STAGED && !type->can_append) {
		refuse(sink, ERR_CONFLICT, "this store cannot append");
		return;
	}
	sink->op_bytes = bytes.len;
	sink->object.sha256[0] = '\0';
	sniff_head_take(&sink->head, sink->offset, bytes);
	type->write(sink, bytes);
}

/* On a worker thread: the operation keeps the object from everybody else. */
static void run_sniff(void *arg)
{
	struct sink *sink = arg;

	sniffer_look(sink->store->sniffer, &sink->head,
		     sink->object.content_type);
}

static void stage(void *arg)
{
	struct sink *sink = arg;

	sniff_head_release(&sink->head);
	sink->described = false;
	sink->store->type->stage(sink);
}

/* Times that an id may say; beyond them its maker had no clock worth the name. */
#define YEAR_2000_MS UINT64_C(946684800000)
#define MAX_AHEAD_MS UINT64_C(3600000)

/*
 * The id's time is the same at every reader, so that conditions with dates are
 * answered alike wherever a copy is played from; clocks would differ.
 */
static uint64_t creation_ms(const char *id)
{
	uint64_t now = clock_wall_ms(), ms;

	if (uuid_time_ms(span_of(id), &ms) && ms >= YEAR_2000_MS &&
	    ms <= now + MAX_AHEAD_MS)
		return ms;
	return now;
}

void sink_stage(struct sink *sink, struct loop *loop, sink_done_fn *done,
		void *arg)
{
	begin(sink, SINK_STAGING, loop, done, arg);
	if (sink->state == SINK_STAGED) {
		sink_end(sink);
		return;
	}
	digest_hex(sink->digest, sink->object.sha256);
	sink->object.created_ms = creation_ms(sink->object.id);
	if (sink->head.len > 0)
		workers_submit(sink->store->workers, &sink->sniff_job, loop,
			       run_sniff, stage, sink);
	else
		stage(sink);
}

void sink_suspend(struct sink *sink, struct loop *loop, sink_done_fn *done,
		  void *arg)
{
	begin(sink, SINK_SUSPENDING, loop, done, arg);
	if (sink->store->type->can_append)
		sink->store->type->suspend(sink);
	else
		refuse(sink, ERR_CONFLICT, "this store cannot append");
}

void sink_commit(struct sink *sink, struct loop *loop, sink_done_fn *done,
		 void *arg)
{
	begin(sink, SINK_COMMITTING, loop, done, arg);
	sink->store->type->commit(sink);
}

void sink_abort(struct sink *sink, struct loop *loop, sink_done_fn *done,
		void *arg)
{
	begin(sink, SINK_ABORTING, loop, done, arg);
	if (sink->listed)
		sink->store->type->abort(sink);
	else
		sink_end(sink);
}

void sink_leave(struct sink **sinkp)
{
	struct sink *sink = *sinkp;

	*sinkp = NULL;
	CHECK(sink->op == SINK_IDLE && sink->state == SINK_OPEN);
	CHECK(sink->store->type->resume);
	destroy(sink);
}

void sink_close(struct sink **sinkp)
{
	struct sink *sink = *sinkp;

	if (!sink)
		return;
	*sinkp = NULL;
	CHECK(sink->op == SINK_IDLE && sink->state == SINK_COMMITTED);
	destroy(sink);
}

const struct object *sink_object(const struct sink *sink)
{
	return &sink->object;
}

uint64_t sink_offset(const struct sink *sink)
{
	return sink->offset;
}

bool sink_is_staged(const struct sink *sink)
{
	return sink->state == SINK_STAGED;
}

bool sink_is_failed(const struct sink *sink)
{
	return sink->state == SINK_FAILED;
}

void sink_describe(struct sink *sink, const struct object_details *details)
{
	CHECK(sink->op == SINK_IDLE);
	CHECK(sink->state == SINK_OPEN || sink->state == SINK_STAGED);
	sink->object.details = *details;
	sink->described = true;
}

/* ---- content in no file -------------------------------------------------- */

struct source *source_open(struct store_lookup *found, uint64_t first,
			   uint64_t length, struct loop *loop)
{
	struct store *store = found->store;
	struct source *source;

	CHECK(store->type->source_new && found->fd < 0);
	CHECK(first <= found->object.size &&
	      length <= found->object.size - first);
	source = store->type->source_new(found);
	if (!source)
		return NULL;
	source->store = store;
	source->loop = loop;
	source->at = first;
	source->end = first + length;
	return source;
}

void source_next(struct source *source, sink_done_fn *done, void *arg)
{
	CHECK(!source->busy);
	source->busy = true;
	source->done = done;
	source->arg = arg;
	source->err = ERR_INIT;
	source->n_pieces = 0;
	if (source->at == source->end)
		source_end(source);
	else
		source->store->type->source_next(source);
}

void source_end(struct source *source)
{
	CHECK(source->busy && source->at <= source->end);
	source->busy = false;
	call_done(source->done, source->arg, &source->err);
}

const struct span *source_pieces(const struct source *source, size_t *n)
{
	*n = source->n_pieces;
	return source->pieces;
}

void source_close(struct source **sourcep)
{
	struct source *source = *sourcep;

	*sourcep = NULL;
	if (source)
		source->store->type->source_free(source);
}

/* ---- committed objects --------------------------------------------------- */

static void begin_lookup(struct store *store, struct store_lookup *lookup,
			 sink_done_fn *done, void *arg)
{
	lookup->store = store;
	lookup->fd = -1;
	lookup->content = NULL;
	lookup->done = done;
	lookup->arg = arg;
	lookup->err = ERR_INIT;
}

void store_find(struct store *store, struct store_lookup *lookup,
		struct loop *loop, sink_done_fn *done, void *arg)
{
	begin_lookup(store, lookup, done, arg);
	if (uuid_is_valid(span_of(lookup->id))) {
		store->type->find(lookup, loop);
		return;
	}
	err_set(&lookup->err, ERR_NOT_FOUND, "there is no such object");
	store_lookup_end(lookup);
}

void store_find_suspended(struct store *store, struct store_lookup *lookup,
			  struct loop *loop, sink_done_fn *done, void *arg)
{
	begin_lookup(store, lookup, done, arg);
	if (store->type->find_suspended &&
	    uuid_is_valid(span_of(lookup->id))) {
		store->type->find_suspended(lookup, loop);
		return;
	}
	err_set(&lookup->err, ERR_NOT_FOUND, "there is no such object");
	store_lookup_end(lookup);
}

void store_release(struct store_lookup *lookup)
{
	if (lookup->fd >= 0)
		close(lookup->fd);
	lookup->fd = -1;
	if (lookup->content)
		lookup->store->type->release(lookup);
}

void store_delete(struct store *store, struct store_lookup *lookup,
		  struct loop *loop, sink_done_fn *done, void *arg)
{
	begin_lookup(store, lookup, done, arg);
	if (uuid_is_valid(span_of(lookup->id)))
		store->type->remove(lookup, loop);
	else
		store_lookup_end(lookup);
}

void store_list(struct store *store, struct store_list *list, struct loop *loop,
		sink_done_fn *done, void *arg)
{
	CHECK(list->limit >= 1 && list->limit <= STORE_LIST_MAX);
	list->store = store;
	list->rows = NULL;
	list->scores = NULL;
	list->n_rows = 0;
	list->more = list->ranked = false;
	list->last_key[0] = '\0';
	list->done = done;
	list->arg = arg;
	list->err = ERR_INIT;
	store->type->list(list, loop);
}
