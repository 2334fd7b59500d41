#include "reader/s3_probe.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/uuid.h"

#include "reader/s3_names.h"
#include "reader/s3_upload.h"

#include <stdlib.h>

#define AGAIN_MS 5000u
#define OTHER_BODY "another body"

struct s3_probe {
	struct s3_engine *engine;
	struct timer timer;
	struct s3_request request;
	bool ended;			/* the try that runs */
	bool has_told;			/* all that was asked in this try */
	struct err err;			/* of the bucket */
	struct err said;		/* what was logged of it last */
	char key[S3_KEY_SIZE];
	char sha256[DIGEST_HEX_SIZE];
};

/* ---- the end of a try ----------------------------------------------------- */

static void log_result(const struct s3_probe *p)
{
	const struct s3_engine *e = p->engine;
	bool failed = err_is_set(&p->err);

	log_line(failed ? LOG_ERROR : LOG_INFO, "s3_store",
		 LOG_STR("url", e->config.url),
		 LOG_STR("bucket", e->config.bucket),
		 LOG_STR("result", failed ? "unusable" : "ready"),
		 LOG_STR("create_once", e->has_create_once ? "yes" : "no"),
		 LOG_STR("checks_bodies", e->checks_bodies ? "yes" : "no"),
		 LOG_STR("reason", p->err.text));
}

static void end(struct s3_probe *p)
{
	p->ended = true;
	if (!err_is_set(&p->err) || strcmp(p->err.text, p->said.text) != 0)
		log_result(p);
	p->said = p->err;
	if (err_is_set(&p->err) || !p->has_told)
		timer_start(&p->timer, AGAIN_MS);
}

/* ---- one step after the other --------------------------------------------- */

static struct s3_request *ask(struct s3_probe *p, const char *method)
{
	s3_request_init(&p->request, p->engine, method, p->key);
	p->request.max_tries = 1;
	return &p->request;
}

static struct s3_request *ask_to_put(struct s3_probe *p)
{
	struct s3_request *r = ask(p, "PUT");

	s3_encryption_fields(r);
	return r;
}

/* Is it the server's own word, and not that it is busy? */
static bool is_told(const struct s3_request *r)
{
	return r->status != 0 && !r->refusal.is_passing;
}

static void on_deleted(void *arg, struct s3_request *r)
{
	(void)r;
	end(arg);
}

static void on_other_body(void *arg, struct s3_request *r)
{
	struct s3_probe *p = arg;

	/* BadDigest would be tried again, so it passes. */
	p->has_told = p->has_told && (is_told(r) || r->status == 400);
	atomic_store(&p->engine->checks_bodies, r->status == 400);
	s3_request_start(ask(p, "DELETE"), on_deleted, p);
}

/*
 * Does the server compare a body with its x-amz-content-sha256? It has to, but
 * some only sign with it. Where it does, a part's MD5 says nothing new.
 */
static void put_other_body(struct s3_probe *p)
{
	struct s3_request *r = ask_to_put(p);
	struct span other = SPAN_LIT(OTHER_BODY);
	unsigned char bytes[DIGEST_SHA256_BYTES];

	digest_once(&other, 1, bytes);
	digest_to_hex(bytes, sizeof(bytes), p->sha256);
	r->body = span_of("the body");
	r->sha256 = p->sha256;
	s3_request_start(r, on_other_body, p);
}

/*
 * Does the server refuse to put what is there already? Many take the field and
 * do not honour it, some take no such field.
 */
static void on_put_again(void *arg, struct s3_request *r)
{
	struct s3_probe *p = arg;

	p->has_told = is_told(r);
	p->engine->has_create_once = r->status == 412;
	put_other_body(p);
}

static void on_put(void *arg, struct s3_request *r)
{
	struct s3_probe *p = arg;

	p->has_told = is_told(r);
	if (err_is_set(&r->err)) {
		end(p);
		return;
	}
	r = ask_to_put(p);
	s3_request_field(r, "if-none-match", "*");
	s3_request_start(r, on_put_again, p);
}

/* Each try has its own key, for other readers try, too. */
static void on_bucket(void *arg, struct s3_request *r)
{
	struct s3_probe *p = arg;
	char id[UUID_TEXT_SIZE];

	p->err = r->err;
	if (err_is_set(&p->err)) {
		end(p);
		return;
	}
	uuid_v7(clock_wall_ms(), id);
	s3_key_of_probe(p->engine->config.prefix, id, p->key);
	s3_request_start(ask_to_put(p), on_put, p);
}

static void begin(void *arg)
{
	struct s3_probe *p = arg;

	p->ended = p->has_told = false;
	p->err = ERR_INIT;
	s3_request_init_look(&p->request, p->engine);
	s3_request_start(&p->request, on_bucket, p);
}

struct s3_probe *s3_probe_new(struct s3_engine *engine)
{
	struct s3_probe *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->engine = engine;
	timer_init(&p->timer, engine->loop, begin, p);
	begin(p);
	while (!p->ended)
		loop_run_once(engine->loop);
	return p;
}

void s3_probe_stop(void *arg)
{
	struct s3_probe *p = arg;

	timer_stop(&p->timer);
	s3_request_cancel(&p->request);
}

void s3_probe_free(struct s3_probe **probe)
{
	free(*probe);
	*probe = NULL;
}
