#include "reader/s3_sweep.h"

#include "common/clock.h"
#include "common/log.h"

#include "reader/s3_description.h"
#include "reader/s3_xml.h"

#include <stdlib.h>

#define PAGE_UPLOADS "100"
#define MAX_UPLOADS 100u
#define MAX_ANSWER (1u << 20)
#define ROUND_MIN_MS 1000u
#define ROUND_MAX_MS 3600000u

/* One of the list. */
struct found {
	char key[S3_KEY_SIZE];
	char upload_id[S3_UPLOAD_ID_SIZE];
	uint64_t initiated_ms;
};

struct s3_sweep {
	struct s3_store *store;
	struct s3_engine *engine;
	struct timer timer;
	struct s3_request request;
	bool is_first;
	struct err err;
	/* the page */
	struct found reading;		/* the entry that is being parsed */
	struct found found[MAX_UPLOADS];
	size_t n_found, next;
	uint64_t now_ms;		/* by the server's clock, as all times here */
	bool has_more;
	char key_marker[S3_KEY_SIZE];
	char id_marker[S3_UPLOAD_ID_SIZE];
	char asked_key[S3_KEY_SIZE];	/* the markers of the page in hand */
	char asked_id[S3_UPLOAD_ID_SIZE];
	/* the upload in hand */
	struct found *at;
	char id[UUID_TEXT_SIZE];
	char key[S3_KEY_SIZE];
	uint64_t touched_ms;
	char part_marker[S3_NUMBER_SIZE];
	char asked_part[S3_NUMBER_SIZE];
	bool has_more_parts;
	bool has_tail;			/* {id}.part is there */
	bool is_described;		/* {id}.json is */
};

static void look_at_next(struct s3_sweep *s);

static uint64_t stale_before(const struct s3_sweep *s)
{
	uint64_t ttl = s->engine->config.stale_ms;

	return s->now_ms > ttl ? s->now_ms - ttl : 0;
}

static struct s3_request *prepare(struct s3_sweep *s, const char *method,
				  const char *key)
{
	s3_request_init(&s->request, s->engine, method, key);
	s->request.max_tries = 1;	/* there will be another sweep */
	return &s->request;
}

/* ---- rounds ---------------------------------------------------------------- */

static void end_round(struct s3_sweep *s, const struct err *err)
{
	uint64_t ms = s->engine->config.stale_ms / 8;

	if (err)
		log_line(LOG_WARN, "s3_sweep", LOG_STR("result", "failed"),
			 LOG_STR("reason", err->text));
	else
		s->is_first = false;
	if (ms < ROUND_MIN_MS)
		ms = ROUND_MIN_MS;
	timer_start(&s->timer, ms < ROUND_MAX_MS ? ms : ROUND_MAX_MS);
}

/* ---- an upload that is stale ------------------------------------------------ */

/* Every removal asks again who is at work on it, maybe only since it was listed. */
static void start_removal(struct s3_sweep *s, struct s3_request *r,
			  s3_done_fn *done)
{
	if (store_has_sink(&s->store->base, s->id))
		look_at_next(s);
	else
		s3_request_start(r, done, s);
}

static void on_description_removed(void *arg, struct s3_request *r)
{
	(void)r;
	look_at_next(arg);
}

/* A description without content is of a commit that came to nothing. */
static void on_content_looked_up(void *arg, struct s3_request *r)
{
	struct s3_sweep *s = arg;

	if (r->status != 404) {
		look_at_next(s);
		return;
	}
	s3_key_of_description(s->engine->config.prefix, s->id, s->key);
	start_removal(s, prepare(s, "DELETE", s->key), on_description_removed);
}

/* When it was gone already, somebody else is about to remove the rest. */
static void on_aborted(void *arg, struct s3_request *r)
{
	struct s3_sweep *s = arg;
	bool failed = err_is_set(&r->err);

	log_line(failed ? LOG_WARN : LOG_INFO, "s3_upload_aborted",
		 LOG_STR("id", s->id), LOG_STR("key", s->at->key),
		 LOG_STR("cause", "nobody commits it any more"),
		 LOG_STR("reason", failed ? r->err.text : ""));
	if (failed || !s->is_described)
		look_at_next(s);
	else
		s3_request_start(prepare(s, "HEAD", s->at->key),
				 on_content_looked_up, s);
}

/* Last of what is never seen: as long as it is there, it is found again. */
static void abort_upload(struct s3_sweep *s)
{
	struct s3_request *r = prepare(s, "DELETE", s->at->key);

	s3_request_param(r, "uploadId", s->at->upload_id);
	start_removal(s, r, on_aborted);
}

static void on_tail_removed(void *arg, struct s3_request *r)
{
	if (err_is_set(&r->err) && r->status != 404)
		look_at_next(arg);
	else
		abort_upload(arg);
}

static void remove_tail(struct s3_sweep *s)
{
	s3_key_of_tail(s->engine->config.prefix, s->id, s->key);
	start_removal(s, prepare(s, "DELETE", s->key), on_tail_removed);
}

/* ---- is it stale? ----------------------------------------------------------- */

/* At the start of a reader that is the only one, all of it is. */
static bool is_all_stale(const struct s3_sweep *s)
{
	return s->is_first && s->engine->config.exclusive;
}

/* What a HEAD found: was it put so long ago? Not when that cannot be read. */
static bool is_old(const struct s3_sweep *s, const struct s3_request *r)
{
	uint64_t put_ms;

	return is_all_stale(s) ||
	       (clock_parse_http_date(span_of(r->modified), &put_ms) &&
		put_ms < stale_before(s));
}

/* May somebody have tried to commit it just now? */
static void on_description_looked_up(void *arg, struct s3_request *r)
{
	struct s3_sweep *s = arg;

	s->is_described = !err_is_set(&r->err);
	if (s->is_described ? !is_old(s, r) : r->status != 404)
		look_at_next(s);
	else if (s->has_tail)
		remove_tail(s);
	else
		abort_upload(s);
}

/* When was it paused? */
static void on_tail_looked_up(void *arg, struct s3_request *r)
{
	struct s3_sweep *s = arg;

	s->has_tail = !err_is_set(&r->err);
	if (s->has_tail ? !is_old(s, r) : r->status != 404) {
		look_at_next(s);
		return;
	}
	s3_key_of_description(s->engine->config.prefix, s->id, s->key);
	s3_request_start(prepare(s, "HEAD", s->key), on_description_looked_up,
			 s);
}

static void ask_tail(struct s3_sweep *s)
{
	s3_key_of_tail(s->engine->config.prefix, s->id, s->key);
	s3_request_start(prepare(s, "HEAD", s->key), on_tail_looked_up, s);
}

/* A time that cannot be read may be now. */
static void note_part(struct s3_sweep *s, const char *modified)
{
	uint64_t ms = s->now_ms;

	if (!clock_parse_rfc3339(span_of(modified), &ms))
		ms = s->now_ms;
	if (ms > s->touched_ms)
		s->touched_ms = ms;
}

static void on_part_element(void *arg, const char *parent, const char *name,
			    const char *text)
{
	struct s3_sweep *s = arg;

	if (!text)
		return;
	if (strcmp(parent, "Part") == 0 && strcmp(name, "LastModified") == 0) {
		note_part(s, text);
	} else if (strcmp(name, "NextPartNumberMarker") == 0) {
		(void)span_to_string(span_of(text), s->part_marker,
				     sizeof(s->part_marker));
	} else if (strcmp(name, "IsTruncated") == 0) {
		s->has_more_parts = strcmp(text, "true") == 0;
	}
}

static void ask_parts(struct s3_sweep *s);

static void on_parts(void *arg, struct s3_request *r)
{
	struct s3_sweep *s = arg;

	s->has_more_parts = false;
	s->err = ERR_INIT;
	if (err_is_set(&r->err) ||
	    s3_xml_parse(r->answer, on_part_element, s, &s->err) < 0 ||
	    s->touched_ms >= stale_before(s)) {
		look_at_next(s);
		return;
	}
	if (s->has_more_parts && strcmp(s->part_marker, s->asked_part) != 0) {
		ask_parts(s);
		return;
	}
	ask_tail(s);
}

static void ask_parts(struct s3_sweep *s)
{
	struct s3_request *r = prepare(s, "GET", s->at->key);

	memcpy(s->asked_part, s->part_marker, sizeof(s->asked_part));
	if (s->asked_part[0])
		s3_request_param(r, "part-number-marker", s->asked_part);
	s3_request_param(r, "uploadId", s->at->upload_id);
	r->max_answer = MAX_ANSWER;
	s3_request_start(r, on_parts, s);
}

static void look_at(struct s3_sweep *s, struct found *found)
{
	s->at = found;
	s->touched_ms = 0;
	s->part_marker[0] = '\0';
	if (is_all_stale(s))
		ask_tail(s);
	else if (found->initiated_ms < stale_before(s))
		ask_parts(s);
	else
		look_at_next(s);
}

/* ---- the list --------------------------------------------------------------- */

static void take_upload(struct s3_sweep *s)
{
	char id[UUID_TEXT_SIZE];

	if (s->n_found == MAX_UPLOADS || !s->reading.upload_id[0] ||
	    s->reading.initiated_ms == 0)
		return;
	if (s3_key_read(s->engine->config.prefix, span_of(s->reading.key),
			id) == S3_KEY_CONTENT)
		s->found[s->n_found++] = s->reading;
}

static void keep(char *buf, size_t size, const char *text)
{
	(void)span_to_string(span_of(text), buf, size);
}

static void on_upload_element(struct s3_sweep *s, const char *name,
			      const char *text)
{
	if (strcmp(name, "Key") == 0) {
		if (!s3_key_decode(span_of(text), s->reading.key))
			s->reading.key[0] = '\0';
	} else if (strcmp(name, "UploadId") == 0) {
		keep(s->reading.upload_id, sizeof(s->reading.upload_id), text);
	} else if (strcmp(name, "Initiated") == 0) {
		if (!clock_parse_rfc3339(span_of(text),
					 &s->reading.initiated_ms))
			s->reading.initiated_ms = 0;
	}
}

static void on_element(void *arg, const char *parent, const char *name,
		       const char *text)
{
	struct s3_sweep *s = arg;

	if (!text && strcmp(name, "Upload") == 0) {
		take_upload(s);
		memset(&s->reading, 0, sizeof(s->reading));
	} else if (!text) {
		return;
	} else if (strcmp(parent, "Upload") == 0) {
		on_upload_element(s, name, text);
	} else if (strcmp(name, "NextKeyMarker") == 0) {
		if (!s3_key_decode(span_of(text), s->key_marker))
			s->key_marker[0] = '\0';
	} else if (strcmp(name, "NextUploadIdMarker") == 0) {
		keep(s->id_marker, sizeof(s->id_marker), text);
	} else if (strcmp(name, "IsTruncated") == 0) {
		s->has_more = strcmp(text, "true") == 0;
	}
}

static void ask_uploads(struct s3_sweep *s);

static void on_uploads(void *arg, struct s3_request *r)
{
	struct s3_sweep *s = arg;

	s->n_found = s->next = 0;
	s->has_more = false;
	s->err = ERR_INIT;
	memset(&s->reading, 0, sizeof(s->reading));
	if (!clock_parse_http_date(span_of(r->refusal.date), &s->now_ms))
		s->now_ms = clock_wall_ms();
	if (err_is_set(&r->err) && r->status == 501)
		end_round(s, NULL);	/* a server without such a list */
	else if (err_is_set(&r->err))
		end_round(s, &r->err);
	else if (s3_xml_parse(r->answer, on_element, s, &s->err) < 0)
		end_round(s, &s->err);
	else
		look_at_next(s);
}

static void ask_uploads(struct s3_sweep *s)
{
	struct s3_request *r = prepare(s, "GET", NULL);

	memcpy(s->asked_key, s->key_marker, sizeof(s->asked_key));
	memcpy(s->asked_id, s->id_marker, sizeof(s->asked_id));
	s3_request_param(r, "encoding-type", "url");
	if (s->key_marker[0])
		s3_request_param(r, "key-marker", s->key_marker);
	s3_request_param(r, "max-uploads", PAGE_UPLOADS);
	s3_request_param(r, "prefix", s->engine->config.prefix);
	if (s->key_marker[0])
		s3_request_param(r, "upload-id-marker", s->id_marker);
	s3_request_param(r, "uploads", "");
	r->max_answer = MAX_ANSWER;
	s3_request_start(r, on_uploads, s);
}

/* Not so when a server gives its first page for ever. */
static bool has_moved_on(const struct s3_sweep *s)
{
	return strcmp(s->key_marker, s->asked_key) != 0 ||
	       strcmp(s->id_marker, s->asked_id) != 0;
}

static void look_at_next(struct s3_sweep *s)
{
	while (s->next < s->n_found) {
		struct found *found = &s->found[s->next++];

		s3_key_read(s->engine->config.prefix, span_of(found->key),
			    s->id);
		if (!store_has_sink(&s->store->base, s->id)) {
			look_at(s, found);
			return;
		}
	}
	if (s->has_more && has_moved_on(s))
		ask_uploads(s);
	else
		end_round(s, NULL);
}

static void on_timer(void *arg)
{
	struct s3_sweep *s = arg;

	s->key_marker[0] = s->id_marker[0] = '\0';
	ask_uploads(s);
}

struct s3_sweep *s3_sweep_new(struct s3_store *store)
{
	struct s3_sweep *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->store = store;
	s->engine = store->engine;
	s->is_first = true;
	timer_init(&s->timer, s->engine->loop, on_timer, s);
	timer_start(&s->timer, 0);
	return s;
}

void s3_sweep_stop(void *arg)
{
	struct s3_sweep *s = arg;

	timer_stop(&s->timer);
	s3_request_cancel(&s->request);
}

void s3_sweep_free(struct s3_sweep **sweep)
{
	free(*sweep);
	*sweep = NULL;
}
