#include "reader/s3_request.h"

#include "common/clock.h"
#include "common/log.h"

#include "reader/s3_xml.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define QUERY_SIZE 8192
#define PATH_SIZE (3 * S3_KEY_SIZE + 300)
/* A body may take its time at this rate, besides the time for an answer. */
#define SLOWEST_BYTES_PER_MS 32u
#define SLOW_FACTOR 10u

void s3_request_init(struct s3_request *r, struct s3_engine *engine,
		     const char *method, const char *key)
{
	memset(r, 0, sizeof(*r));
	r->engine = engine;
	r->method = method;
	r->key = key;
}

void s3_request_param(struct s3_request *r, const char *name, const char *value)
{
	CHECK(r->n_params < S3_MAX_PARAMS);
	CHECK(r->n_params == 0 ||
	      strcmp(r->params[r->n_params - 1].name, name) < 0);
	r->params[r->n_params++] = (struct s3_field){ name, value };
}

void s3_request_field(struct s3_request *r, const char *name, const char *value)
{
	CHECK(r->n_fields < S3_MAX_FIELDS);
	r->fields[r->n_fields++] = (struct s3_field){ name, value };
}

void s3_request_init_look(struct s3_request *r, struct s3_engine *engine)
{
	s3_request_init(r, engine, "GET", NULL);
	s3_request_param(r, "list-type", "2");
	s3_request_param(r, "max-keys", "1");
	s3_request_param(r, "prefix", engine->config.prefix);
	r->max_tries = 1;
}

bool s3_request_is_running(const struct s3_request *r)
{
	return r->call || timer_is_running(&r->timer);
}

bool s3_request_is_unknown(const struct s3_request *r)
{
	return err_is_set(&r->err) && r->was_unknown;
}

/* ---- the answer ---------------------------------------------------------- */

static void copy_header(const struct s3_request *r, const char *name, char *buf,
			size_t size)
{
	const char *value = http_call_header(r->call, name);

	if (!value || !span_to_string(span_of(value), buf, size))
		buf[0] = '\0';
}

static void read_headers(struct s3_request *r)
{
	char text[64];

	copy_header(r, "ETag", r->etag, sizeof(r->etag));
	copy_header(r, "Last-Modified", r->modified, sizeof(r->modified));
	copy_header(r, "Date", r->refusal.date, sizeof(r->refusal.date));
	copy_header(r, "x-amz-bucket-region", r->refusal.region,
		    sizeof(r->refusal.region));
	copy_header(r, "Content-Length", text, sizeof(text));
	if (!http1_parse_u64(span_of(text), &r->length))
		r->length = 0;
	copy_header(r, "x-amz-server-side-encryption", text, sizeof(text));
	r->etag_is_md5 = r->engine->config.etag_is_md5 &&
			 strncmp(text, "aws:kms", 7) != 0;
}

static void note_error(void *arg, const char *parent, const char *name,
		       const char *text)
{
	bool *is_error = arg;

	(void)text;
	if (!*parent && strcmp(name, "Error") == 0)
		*is_error = true;
}

/* "200 OK" was said before the server had done what it was asked to. */
static bool has_failed_late(const struct s3_request *r)
{
	struct err ignored = ERR_INIT;
	bool is_error = false;

	if (!r->may_fail_late)
		return false;
	return s3_xml_parse(r->answer, note_error, &is_error, &ignored) < 0 ||
	       is_error;
}

/* True: what went wrong may be right the next time. */
static bool read_answer(struct s3_request *r,
			const struct http_call_result *result)
{
	memset(&r->refusal, 0, sizeof(r->refusal));
	r->status = result->status;
	r->answer = result->body;
	if (err_is_set(&result->err)) {
		err_set(&r->err, ERR_STORE, "S3: %s", result->err.text);
		r->status = 0;
		return true;
	}
	read_headers(r);
	if (r->status / 100 == 2 && !has_failed_late(r))
		return false;
	s3_refusal_read(&r->refusal, r->status, result->body);
	s3_refusal_explain(&r->refusal, &r->engine->config, &r->err);
	return r->refusal.is_passing ||
	       (r->status / 100 == 2 && !r->refusal.code[0]);
}

/* Was there no answer, or one from which nobody can tell? */
static bool is_uncertain(const struct s3_request *r)
{
	return err_is_set(&r->err) &&
	       (r->status == 0 || r->status / 100 == 2 || r->status >= 500);
}

static bool may_try_again(const struct s3_request *r)
{
	if (r->max_tries > 0)
		return r->n_tries < r->max_tries;
	return r->n_tries <= r->engine->config.retries;
}

static void wait_and_retry(struct s3_request *r)
{
	uint64_t ms = s3_engine_backoff_ms(r->engine, r->n_tries);
	char key[120];		/* of a long one, enough to know it by its id */

	snprintf(key, sizeof(key), "%s", r->key ? r->key : "");
	metric_add(r->engine->n_retries, 1);
	log_line(LOG_INFO, "s3_retry", LOG_STR("method", r->method),
		 LOG_STR("key", key), LOG_U64("try", r->n_tries),
		 LOG_U64("wait_ms", ms),
		 LOG_STR("reason", r->err.text));
	timer_start(&r->timer, ms);
}

static void on_result(void *arg, struct http_call *call,
		      const struct http_call_result *result)
{
	struct s3_request *r = arg;
	bool again;

	CHECK(call == r->call);
	again = read_answer(r, result);
	r->was_unknown = r->was_unknown || result->is_repeated ||
			 is_uncertain(r);
	r->call = NULL;
	if (again && may_try_again(r))
		wait_and_retry(r);
	else
		r->done(r->owner, r);
}

/* ---- the request --------------------------------------------------------- */

static void print_query(const struct s3_request *r, char query[QUERY_SIZE])
{
	size_t used = 0;

	query[0] = '\0';
	for (size_t i = 0; i < r->n_params; i++) {
		used += (size_t)snprintf(query + used, QUERY_SIZE - used,
					 "%s%s=", i > 0 ? "&" : "",
					 r->params[i].name);
		CHECK(used < QUERY_SIZE);
		used += s3_encode(span_of(r->params[i].value), false,
				  query + used, QUERY_SIZE - used);
		CHECK(used < QUERY_SIZE);
	}
}

static void print_path(const struct s3_request *r, char path[PATH_SIZE])
{
	int n = snprintf(path, PATH_SIZE, "%s%s", r->engine->config.base,
			 r->key || !*r->engine->config.base ? "/" : "");

	CHECK(n > 0);
	if (r->key)
		CHECK(s3_encode(span_of(r->key), true, path + n,
				PATH_SIZE - (size_t)n) < PATH_SIZE - (size_t)n);
}

/* All that goes into one try. */
struct attempt {
	char path[PATH_SIZE];
	char query[QUERY_SIZE];
	char target[PATH_SIZE + QUERY_SIZE];
	char date[S3_DATE_SIZE];
	char authorization[S3_AUTHORIZATION_SIZE];
	struct s3_field fields[S3_MAX_FIELDS + 5];
	size_t n_fields;
	size_t n_signed;
};

static void add(struct attempt *a, const char *name, const char *value)
{
	CHECK(a->n_fields < sizeof(a->fields) / sizeof(a->fields[0]));
	a->fields[a->n_fields++] = (struct s3_field){ name, value };
}

static bool is_signed(const char *name)
{
	return strncmp(name, "x-amz-", 6) == 0 ||
	       strcmp(name, "content-type") == 0;
}

/* Those that are signed come first. */
static void add_fields(struct attempt *a, const struct s3_request *r)
{
	const struct s3_config *config = &r->engine->config;

	add(a, "host", http_origin_host(r->engine->origin));
	add(a, "x-amz-content-sha256", r->sha256 ? r->sha256 : r->body_sha256);
	add(a, "x-amz-date", a->date);
	if (config->session_token[0])
		add(a, "x-amz-security-token", config->session_token);
	for (size_t i = 0; i < r->n_fields; i++)
		if (is_signed(r->fields[i].name))
			add(a, r->fields[i].name, r->fields[i].value);
	a->n_signed = a->n_fields;
	for (size_t i = 0; i < r->n_fields; i++)
		if (!is_signed(r->fields[i].name))
			add(a, r->fields[i].name, r->fields[i].value);
}

static void sign(struct attempt *a, const struct s3_request *r)
{
	struct s3_to_sign to_sign;

	a->n_fields = 0;
	s3_format_date(clock_wall_ms(), a->date);
	print_path(r, a->path);
	print_query(r, a->query);
	add_fields(a, r);
	to_sign = (struct s3_to_sign){ r->method,
				       a->path,
				       a->query,
				       a->fields,
				       a->n_signed,
				       r->sha256 ? r->sha256 : r->body_sha256,
				       a->date };
	s3_sign(&r->engine->config.keys, &to_sign, a->authorization);
	add(a, "authorization", a->authorization);
	snprintf(a->target, sizeof(a->target), "%s%s%s", a->path,
		 a->query[0] ? "?" : "", a->query);
}

/* For an answer, and at the most for one without which it stalls. */
static uint64_t stall_ms_of(const struct s3_engine *e, bool is_slow)
{
	return e->config.timeout_ms * (is_slow ? SLOW_FACTOR : 1);
}

uint64_t s3_request_longest_ms(const struct s3_engine *e, bool is_slow)
{
	return (e->config.retries + 1) *
	       (2 * stall_ms_of(e, is_slow) + S3_BACKOFF_MAX_MS);
}

static struct http_call *call(struct s3_request *r, const struct attempt *a)
{
	struct http_call_header headers[S3_MAX_FIELDS + 5];
	uint64_t stall_ms = stall_ms_of(r->engine, r->is_slow);
	struct http_call_request request = {
		.method = r->method,
		.path = a->target,
		.headers = headers,
		.body = r->body,
		.body_is_borrowed = true,
		.timeout_ms = 2 * stall_ms + (r->body.len + r->room_size) /
						     SLOWEST_BYTES_PER_MS,
		.stall_ms = stall_ms,
		.max_answer = r->max_answer,
		.room = r->room,
		.room_size = r->room_size,
	};

	/* the host is libcurl's to say */
	for (size_t i = 1; i < a->n_fields; i++)
		headers[request.n_headers++] = (struct http_call_header){
			a->fields[i].name, a->fields[i].value
		};
	return http_call_start(r->engine->origin, &request, on_result, r);
}

static void try(void *arg)
{
	struct s3_request *r = arg;
	struct attempt *a = malloc(sizeof(*a));

	r->n_tries++;
	r->err = ERR_INIT;
	if (a) {
		sign(a, r);
		r->call = call(r, a);
		free(a);
	}
	metric_add(r->engine->n_requests, 1);
	metric_add(r->engine->n_bytes, (int64_t)r->body.len);
	if (r->call)
		return;
	err_set(&r->err, ERR_MEMORY, "out of memory for a request to S3");
	if (may_try_again(r))
		wait_and_retry(r);
	else
		r->done(r->owner, r);
}

static void digest_body(struct s3_request *r)
{
	unsigned char bytes[DIGEST_SHA256_BYTES];

	digest_once(&r->body, 1, bytes);
	digest_to_hex(bytes, sizeof(bytes), r->body_sha256);
}

void s3_request_start(struct s3_request *r, s3_done_fn *done, void *owner)
{
	CHECK(!s3_request_is_running(r));
	r->done = done;
	r->owner = owner;
	r->n_tries = 0;
	r->was_unknown = false;
	r->status = 0;
	if (!r->sha256)
		digest_body(r);
	timer_init(&r->timer, r->engine->loop, try, r);
	timer_start(&r->timer, 0);
}

void s3_request_cancel(struct s3_request *r)
{
	timer_stop(&r->timer);
	if (r->call)
		http_call_cancel(&r->call);
}
