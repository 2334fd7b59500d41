#include "reader/s3_config.h"

#include "common/http1.h"
#include "common/utf8.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define META "x-amz-meta-"

const char *const s3_styles[] = { "auto", "true", "false", NULL };

/* ---- pieces -------------------------------------------------------------- */

static const char *first_of(const char *a, const char *b, const char *c)
{
	if (a[0])
		return a;
	return b[0] ? b : c;
}

/* "https://" and "host:port" of a URL that has nothing else but a "/". */
static int split_url(struct span url, struct span *scheme, struct span *host,
		     struct err *err)
{
	*host = url;
	*scheme = SPAN_LIT("http://");
	if (!span_starts_with(url, *scheme))
		*scheme = SPAN_LIT("https://");
	if (!span_starts_with(url, *scheme))
		return err_set(err, ERR_CONFIG,
			       "READER_S3_ENDPOINT=\"%.80s\": an http:// or "
			       "https:// URL is allowed",
			       url.ptr);
	*host = span_make(url.ptr + scheme->len, url.len - scheme->len);
	if (host->len > 0 && host->ptr[host->len - 1] == '/')
		host->len--;
	if (host->len > 0 && !memchr(host->ptr, '/', host->len) &&
	    !memchr(host->ptr, '@', host->len) &&
	    !memchr(host->ptr, '?', host->len))
		return 0;
	return err_set(err, ERR_CONFIG,
		       "READER_S3_ENDPOINT=\"%.80s\": only a host and a port "
		       "are allowed, no path; set READER_S3_BUCKET",
		       url.ptr);
}

static int set_url(struct s3_config *config, const char *endpoint,
		   enum s3_style style, struct err *err)
{
	struct span scheme, host;

	if (style == S3_STYLE_AUTO)
		style = *endpoint ? S3_STYLE_PATH : S3_STYLE_HOST;
	snprintf(config->url, sizeof(config->url),
		 "https://s3.%s.amazonaws.com", config->region);
	if (split_url(*endpoint ? span_of(endpoint) : span_of(config->url),
		      &scheme, &host, err) < 0)
		return -1;
	if (style == S3_STYLE_PATH) {
		snprintf(config->base, sizeof(config->base), "/%s",
			 config->bucket);
		snprintf(config->url, sizeof(config->url), "%.*s%.*s",
			 SPAN_ARG(scheme), SPAN_ARG(host));
		return 0;
	}
	config->base[0] = '\0';
	if (*endpoint)
		snprintf(config->url, sizeof(config->url), "%.*s%s.%.*s",
			 SPAN_ARG(scheme), config->bucket, SPAN_ARG(host));
	else
		snprintf(config->url, sizeof(config->url),
			 "https://%s.s3.%s.amazonaws.com", config->bucket,
			 config->region);
	return 0;
}

/* Servers differ in how they count them in what is signed. */
static bool has_blanks_in_a_row(struct span value)
{
	for (size_t i = 1; i < value.len; i++)
		if (value.ptr[i] == ' ' && value.ptr[i - 1] == ' ')
			return true;
	return false;
}

/* A field that comes twice is signed in one way here and in another there. */
static bool is_taken(const struct s3_config *config, const char *name)
{
	static const char *const ours[] = { META "id", META "name",
					    META "sha256" };

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strcmp(ours[i], name) == 0)
			return true;
	for (size_t i = 0; i < config->n_metadata; i++)
		if (strcmp(config->metadata[i].name, name) == 0)
			return true;
	return false;
}

/* One "name=value"; the text becomes "x-amz-meta-name" NUL "value" NUL. */
static int add_metadata(struct s3_config *config, struct span pair,
			size_t *used, struct err *err)
{
	struct span value = pair, name = span_trim(span_cut(&value, '='));
	char *at = config->metadata_text + *used;
	size_t room = sizeof(config->metadata_text) - *used;
	int n;

	if (!http1_is_token(name) || !value.ptr || !http1_is_utf8(value) ||
	    has_blanks_in_a_row(value) ||
	    config->n_metadata == S3_MAX_METADATA)
		return err_set(err, ERR_CONFIG,
			       "READER_S3_METADATA: up to %d name=value, "
			       "separated by \";\", without two blanks in a "
			       "row, are allowed",
			       S3_MAX_METADATA);
	n = snprintf(at, room, META "%.*s%c%.*s", SPAN_ARG(name), '\0',
		     SPAN_ARG(value));
	CHECK(n > 0 && (size_t)n < room);
	for (char *c = at; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	if (is_taken(config, at))
		return err_set(err, ERR_CONFIG,
			       "READER_S3_METADATA: \"%.80s\" is there already",
			       at + strlen(META));
	config->metadata[config->n_metadata].name = at;
	config->metadata[config->n_metadata++].value = at + strlen(at) + 1;
	*used += (size_t)n + 1;
	return 0;
}

static int set_metadata(struct s3_config *config, const char *text,
			struct err *err)
{
	struct span rest = span_of(text);
	size_t used = 0;

	while (rest.len > 0) {
		struct span pair = span_trim(span_cut(&rest, ';'));

		if (pair.len > 0 &&
		    add_metadata(config, pair, &used, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- checks -------------------------------------------------------------- */

static int check_needed(const struct reader_settings *s, struct err *err)
{
	const char *missing = NULL;

	if (!s->aws_secret_access_key[0])
		missing = "AWS_SECRET_ACCESS_KEY";
	if (!s->aws_access_key_id[0])
		missing = "AWS_ACCESS_KEY_ID";
	if (!s->s3_bucket[0])
		missing = "READER_S3_BUCKET";
	if (!missing)
		return 0;
	return err_set(err, ERR_CONFIG, "%s=\"\": READER_STORE=s3 needs it",
		       missing);
}

/* It becomes a part of a path, or of a host's name. */
static int check_bucket(const char *bucket, struct err *err)
{
	for (const char *c = bucket; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("-._", *c))
			return err_set(err, ERR_CONFIG,
				       "READER_S3_BUCKET=\"%.80s\": letters, "
				       "digits, \"-\", \".\" and \"_\" are "
				       "allowed",
				       bucket);
	return 0;
}

static int check_prefix(const char *prefix, struct err *err)
{
	if (prefix[0] != '/' && utf8_is_valid(span_of(prefix)))
		return 0;
	return err_set(err, ERR_CONFIG,
		       "READER_S3_PREFIX=\"%.80s\": UTF-8 that does not begin "
		       "with \"/\" is allowed",
		       prefix);
}

static int check_sse(const char *sse, struct err *err)
{
	if (!*sse || strcmp(sse, "AES256") == 0 ||
	    strcmp(sse, "aws:kms") == 0 || strcmp(sse, "aws:kms:dsse") == 0)
		return 0;
	return err_set(err, ERR_CONFIG,
		       "READER_S3_SSE=\"%s\": AES256, aws:kms or aws:kms:dsse "
		       "is allowed",
		       sse);
}

static int fill(struct s3_config *c, const struct reader_settings *s,
		struct err *err)
{
	snprintf(c->bucket, sizeof(c->bucket), "%s", s->s3_bucket);
	snprintf(c->prefix, sizeof(c->prefix), "%s", s->s3_prefix);
	snprintf(c->region, sizeof(c->region), "%s",
		 first_of(s->s3_region, s->aws_region,
			  first_of(s->aws_default_region, "us-east-1", "")));
	snprintf(c->access_key, sizeof(c->access_key), "%s",
		 s->aws_access_key_id);
	snprintf(c->secret_key, sizeof(c->secret_key), "%s",
		 s->aws_secret_access_key);
	snprintf(c->session_token, sizeof(c->session_token), "%s",
		 s->aws_session_token);
	snprintf(c->ca_file, sizeof(c->ca_file), "%s", s->s3_ca_file);
	snprintf(c->storage_class, sizeof(c->storage_class), "%s",
		 s->s3_storage_class);
	snprintf(c->sse, sizeof(c->sse), "%s", s->s3_sse);
	snprintf(c->sse_key_id, sizeof(c->sse_key_id), "%s", s->s3_sse_key_id);
	c->keys = (struct s3_keys){ c->access_key, c->secret_key, c->region,
				    "s3" };
	c->etag_is_md5 = strncmp(c->sse, "aws:kms", 7) != 0;
	c->part_bytes = s->s3_part_bytes;
	c->parallel = s->s3_parallel;
	c->retries = s->s3_retries;
	c->timeout_ms = s->s3_timeout_ms;
	c->stale_ms = s->staged_ttl_ms;
	c->exclusive = s->s3_exclusive;
	if (set_metadata(c, s->s3_metadata, err) < 0)
		return -1;
	return set_url(c, first_of(s->s3_endpoint, s->aws_endpoint_url, ""),
		       (enum s3_style)s->s3_path_style, err);
}

int s3_config_make(struct s3_config *config,
		   const struct reader_settings *settings, struct err *err)
{
	memset(config, 0, sizeof(*config));
	if (check_needed(settings, err) < 0 ||
	    check_bucket(settings->s3_bucket, err) < 0 ||
	    check_prefix(settings->s3_prefix, err) < 0 ||
	    check_sse(settings->s3_sse, err) < 0)
		return -1;
	return fill(config, settings, err);
}

int s3_config_check(const struct reader_settings *settings, struct err *err)
{
	struct s3_config *config = malloc(sizeof(*config));
	int rc;

	if (!config)
		return err_set(err, ERR_MEMORY, "out of memory at start");
	rc = s3_config_make(config, settings, err);
	free(config);
	return rc;
}
