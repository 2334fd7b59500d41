#include "broadcaster/cors.h"

#include <string.h>

#define EXPOSED                                                               \
	"Accept-Ranges, Content-Disposition, Content-Length, Content-Range, " \
	"ETag, Object-Id, Repr-Digest, Retry-After"

static const struct http_header vary = { "Vary", "Origin" };

/* ---- the setting --------------------------------------------------------- */

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_scheme(struct span s)
{
	if (s.len == 0 || !is_lower(s.ptr[0]))
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!is_lower(s.ptr[i]) && !is_digit(s.ptr[i]) &&
		    !strchr("+-.", s.ptr[i]))
			return false;
	return true;
}

/* Not a parser of hosts: what stands here is compared as text. */
static bool is_host(struct span s)
{
	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!is_lower(s.ptr[i]) && !is_digit(s.ptr[i]) &&
		    (s.ptr[i] == '\0' || !strchr("-._[]:", s.ptr[i])))
			return false;
	return true;
}

static bool is_origin(const char *text)
{
	const char *mark = strstr(text, "://");

	return mark && is_scheme(span_make(text, (size_t)(mark - text))) &&
	       is_host(span_of(mark + 3));
}

static void init_fields(struct cors_origin *o, const char *text)
{
	o->text = text;
	o->fields[0] = (struct http_header){ "Access-Control-Allow-Origin",
					     text };
	o->fields[1] = (struct http_header){ "Access-Control-Expose-Headers",
					     EXPOSED };
	o->fields[2] = vary;
}

static int add_origin(struct cors *cors, char *text, struct err *err)
{
	if (cors->n == CORS_MAX_ORIGINS)
		return err_set(err, ERR_CONFIG, "at most %u origins are allowed",
			       CORS_MAX_ORIGINS);
	if (!is_origin(text))
		return err_set(err, ERR_CONFIG,
			       "\"%.60s\" is no origin; allowed are *, or "
			       "origins like https://example.org or "
			       "http://localhost:8080 separated by ';'",
			       text);
	init_fields(&cors->origins[cors->n++], text);
	return 0;
}

int cors_parse(struct cors *cors, struct span setting, struct err *err)
{
	char *rest = cors->text, *text;

	memset(cors, 0, sizeof(*cors));
	if (!span_to_string(setting, cors->text, sizeof(cors->text)))
		return err_set(err, ERR_CONFIG, "at most %u bytes are allowed",
			       CORS_MAX_TEXT - 1);
	if (span_eq(setting, SPAN_LIT("*"))) {
		cors->any = true;
		cors->n = 1;
		init_fields(&cors->origins[0], cors->text);
		return 0;
	}
	while ((text = strsep(&rest, ";")))
		if (*text && add_origin(cors, text, err) < 0)
			return -1;
	return 0;
}

int cors_check(const char *setting, struct err *err)
{
	struct cors cors;

	return cors_parse(&cors, span_of(setting), err);
}

/* ---- answers ------------------------------------------------------------- */

/*
 * With "*" the answer is the same to everybody. Otherwise it depends on Origin,
 * which caches have to know, also of an answer that allows nothing.
 */
size_t cors_fields(const struct cors *cors, struct span origin,
		   const struct http_header **fields)
{
	*fields = &vary;
	if (cors->any) {
		*fields = cors->origins[0].fields;
		return CORS_FIELDS - 1;
	}
	for (unsigned int i = 0; i < cors->n; i++) {
		if (!span_eq(origin, span_of(cors->origins[i].text)))
			continue;
		*fields = cors->origins[i].fields;
		return CORS_FIELDS;
	}
	return cors->n > 0 ? 1 : 0;
}

bool cors_is_preflight(const struct cors *cors, const struct http_exchange *x)
{
	return cors->n > 0 && http_request(x)->method == HTTP1_OPTIONS &&
	       http_request_field(x, "Origin").ptr &&
	       http_request_field(x, "Access-Control-Request-Method").ptr;
}

void cors_reply_preflight(struct http_exchange *x)
{
	static const struct http_header fields[] = {
		{ "Access-Control-Allow-Methods",
		  "GET, HEAD, POST, PUT, DELETE" },
		{ "Access-Control-Allow-Headers",
		  "Accept, Authorization, Content-Disposition, Content-Digest, "
		  "Content-Type, Idempotency-Key, If-Match, "
		  "If-Modified-Since, If-None-Match, If-Range, "
		  "If-Unmodified-Since, Range, Repr-Digest, Upload-Metadata" },
		{ "Access-Control-Max-Age", "600" },
	};
	struct http_reply reply = {
		.status = 204,
		.headers = fields,
		.n_headers = sizeof(fields) / sizeof(fields[0]),
	};

	http_reply(x, &reply, span_make(NULL, 0));
}
