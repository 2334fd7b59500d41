#include "reader/s3_description.h"
#include "reader/s3_sink.h"

#include <stdlib.h>

/* A request of the store on its way over the engine's loop and back. */
struct errand {
	struct post there, back;
	struct deferred end;
	struct s3_engine *engine;
	struct loop *loop;		/* where it came from */
	struct err *err;
	loop_fn *done;			/* on that loop, with `owner` */
	void *owner;
	struct store_lookup *lookup;	/* of find and remove */
	struct s3_request request;
	struct object object;
	struct s3_tail_head tail;
	char key[S3_KEY_SIZE];
};

static void on_back(void *arg)
{
	struct errand *e = arg;
	loop_fn *done = e->done;
	void *owner = e->owner;

	free(e);
	done(owner);
}

static void hand_back(void *arg)
{
	struct errand *e = arg;

	loop_post(e->loop, &e->back, on_back, e);
}

/* After the turn: libcurl's callbacks are done with the request then. */
static void end(struct errand *e)
{
	loop_defer(e->engine->loop, &e->end, hand_back, e);
}

static void fail(struct errand *e, const struct err *err)
{
	if (!err_is_set(e->err))
		*e->err = *err;
	end(e);
}

/* Send it over to `run`; without memory it ends here. */
static void start(const struct errand *what, loop_fn *run)
{
	struct errand *e = malloc(sizeof(*e));

	if (!e) {
		err_set(what->err, ERR_MEMORY, "out of memory for a request");
		what->done(what->owner);
		return;
	}
	*e = *what;
	loop_post(e->engine->loop, &e->there, run, e);
}

uint64_t s3_etag_hash(const char *etag)
{
	uint64_t hash = UINT64_C(14695981039346656037);

	for (; *etag; etag++)
		hash = (hash ^ (unsigned char)*etag) *
		       UINT64_C(1099511628211);
	return hash;
}

/* ---- the description, then the content ------------------------------------ */

static void ask(struct errand *e, const char *method, s3_done_fn *done)
{
	s3_request_init(&e->request, e->engine, method, e->key);
	s3_request_start(&e->request, done, e);
}

static void ask_description(struct errand *e, const char *method,
			    s3_done_fn *done)
{
	s3_key_of_description(e->engine->config.prefix, e->lookup->id, e->key);
	ask(e, method, done);
}

static void ask_content(struct errand *e, const char *method, s3_done_fn *done)
{
	s3_key_of_content(e->engine->config.prefix, e->lookup->id,
			  e->object.name, e->key);
	ask(e, method, done);
}

static bool read_description(struct errand *e, const struct s3_request *r)
{
	if (err_is_set(&r->err)) {
		*e->err = r->err;
		return false;
	}
	return s3_description_read(r->answer, e->lookup->id, &e->object,
				   e->err) == 0;
}

/* ---- find ----------------------------------------------------------------- */

static void on_content(void *arg, struct s3_request *r)
{
	struct errand *e = arg;

	if (err_is_set(&r->err)) {
		fail(e, &r->err);
		return;
	}
	if (r->length != e->object.size)
		err_set(e->err, ERR_STORE, "content of %s is damaged",
			e->lookup->id);
	e->lookup->object = e->object;
	e->lookup->handle = s3_etag_hash(r->etag);
	end(e);
}

static void on_description(void *arg, struct s3_request *r)
{
	struct errand *e = arg;

	if (read_description(e, r))
		ask_content(e, "HEAD", on_content);
	else
		end(e);
}

static void run_find(void *arg)
{
	ask_description(arg, "GET", on_description);
}

static struct errand errand_of(struct store_lookup *lookup, struct loop *loop)
{
	return (struct errand){ .engine = s3_engine_of(lookup->store),
				.loop = loop,
				.err = &lookup->err,
				.done = store_lookup_end,
				.owner = lookup,
				.lookup = lookup };
}

void s3_find(struct store_lookup *lookup, struct loop *loop)
{
	struct errand e = errand_of(lookup, loop);

	start(&e, run_find);
}

/* ---- remove: the content first, for it is what is seen --------------------- */

/* Without a bucket nothing is known of it. */
static bool is_gone(const struct s3_request *r)
{
	return !err_is_set(&r->err) ||
	       (r->status == 404 && r->err.code != ERR_CONFIG);
}

static void ask_tail(struct errand *e, s3_done_fn *done)
{
	s3_key_of_tail(e->engine->config.prefix, e->lookup->id, e->key);
	s3_request_init(&e->request, e->engine, "GET", e->key);
	s3_request_field(&e->request, "range", S3_TAIL_HEAD_RANGE);
	s3_request_start(&e->request, done, e);
}

static void on_removed(void *arg, struct s3_request *r)
{
	struct errand *e = arg;

	if (!is_gone(r))
		*e->err = r->err;
	end(e);
}

/* Last, so that what is left of a deletion that fails can be found again. */
static void remove_tail(struct errand *e)
{
	s3_key_of_tail(e->engine->config.prefix, e->lookup->id, e->key);
	ask(e, "DELETE", on_removed);
}

static void on_upload_removed(void *arg, struct s3_request *r)
{
	if (is_gone(r))
		remove_tail(arg);
	else
		fail(arg, &r->err);
}

/* Of one that is damaged nothing more is known, and the sweep takes the upload. */
static void on_tail_to_remove(void *arg, struct s3_request *r)
{
	struct errand *e = arg;
	struct err ignored = ERR_INIT;

	if (err_is_set(&r->err)) {
		on_removed(e, r);
		return;
	}
	if (s3_tail_read(r->answer, e->lookup->id, &e->tail, &ignored) < 0 ||
	    !e->tail.upload_id[0]) {
		remove_tail(e);
		return;
	}
	s3_key_of_content(e->engine->config.prefix, e->lookup->id, e->tail.name,
			  e->key);
	s3_request_init(&e->request, e->engine, "DELETE", e->key);
	s3_request_param(&e->request, "uploadId", e->tail.upload_id);
	s3_request_start(&e->request, on_upload_removed, e);
}

/* It may have been paused, here or by another process. */
static void on_object_removed(void *arg, struct s3_request *r)
{
	if (is_gone(r))
		ask_tail(arg, on_tail_to_remove);
	else
		fail(arg, &r->err);
}

static void on_content_removed(void *arg, struct s3_request *r)
{
	if (is_gone(r))
		ask_description(arg, "DELETE", on_object_removed);
	else
		fail(arg, &r->err);
}

static void on_description_to_remove(void *arg, struct s3_request *r)
{
	struct errand *e = arg;

	if (r->err.code == ERR_NOT_FOUND)
		on_object_removed(e, r);
	else if (read_description(e, r))
		ask_content(e, "DELETE", on_content_removed);
	else
		end(e);
}

static void run_remove(void *arg)
{
	ask_description(arg, "GET", on_description_to_remove);
}

void s3_remove(struct store_lookup *lookup, struct loop *loop)
{
	struct errand e = errand_of(lookup, loop);

	start(&e, run_remove);
}

/* ---- suspended objects ---------------------------------------------------- */

static void on_tail(void *arg, struct s3_request *r)
{
	struct errand *e = arg;

	if (err_is_set(&r->err))
		*e->err = r->err;
	else if (s3_tail_read(r->answer, e->lookup->id, &e->tail, e->err) == 0)
		e->lookup->object.size = e->tail.offset;
	end(e);
}

static void run_find_suspended(void *arg)
{
	ask_tail(arg, on_tail);
}

void s3_find_suspended(struct store_lookup *lookup, struct loop *loop)
{
	struct errand e = errand_of(lookup, loop);

	start(&e, run_find_suspended);
}

/* ---- check ---------------------------------------------------------------- */

static void on_checked(void *arg, struct s3_request *r)
{
	struct errand *e = arg;

	if (err_is_set(&r->err))
		*e->err = r->err;
	end(e);
}

static void run_check(void *arg)
{
	struct errand *e = arg;

	s3_request_init_look(&e->request, e->engine);
	s3_request_start(&e->request, on_checked, e);
}

void s3_check(struct store_probe *probe, struct loop *loop)
{
	struct errand e = { .engine = s3_engine_of(probe->store),
			    .loop = loop,
			    .err = &probe->err,
			    .done = store_probe_end,
			    .owner = probe };

	start(&e, run_check);
}
