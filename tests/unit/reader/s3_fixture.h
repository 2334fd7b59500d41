/*
 * s3_fixture.h - the bucket of a test, and what is in it
 *
 * TEST_S3_ENDPOINT, _BUCKET, _KEY and _SECRET name a server with an empty bucket;
 * each test uses a prefix of its own. Looks into it go over an engine of the
 * test's own, which has no thread.
 */
#ifndef TESTS_S3_FIXTURE_H
#define TESTS_S3_FIXTURE_H

#include "common/clock.h"
#include "reader/s3_request.h"
#include "reader/s3_xml.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

UNUSED static void s3_copy(char *setting, size_t size, const char *name)
{
	ck_assert_msg(getenv(name) != NULL, "%s is not set", name);
	snprintf(setting, size, "%s", getenv(name));
}

/* The server that scripts/unit.sh started, and a prefix that nobody else has. */
UNUSED static void s3_use_bucket(struct reader_settings *settings)
{
	static char prefix[80];

	if (!prefix[0])
		snprintf(prefix, sizeof(prefix), "test +&=%%/%d-%llu/",
			 (int)getpid(),
			 (unsigned long long)clock_monotonic_us());
	snprintf(settings->s3_prefix, sizeof(settings->s3_prefix), "%s",
		 prefix);
	s3_copy(settings->s3_endpoint, sizeof(settings->s3_endpoint),
		"TEST_S3_ENDPOINT");
	s3_copy(settings->s3_bucket, sizeof(settings->s3_bucket),
		"TEST_S3_BUCKET");
	s3_copy(settings->aws_access_key_id,
		sizeof(settings->aws_access_key_id), "TEST_S3_KEY");
	s3_copy(settings->aws_secret_access_key,
		sizeof(settings->aws_secret_access_key), "TEST_S3_SECRET");
	if (settings->s3_part_bytes == 0)
		settings->s3_part_bytes = 5 << 20;
	settings->s3_parallel = 2;
	settings->s3_retries = 2;
	settings->s3_timeout_ms = 10000;
	if (settings->staged_ttl_ms == 0)
		settings->staged_ttl_ms = 86400000;
}

struct s3_look {
	bool ended;
	char *text;	/* the keys, one after the other, each behind a blank */
	size_t size;
	size_t n;
	struct err err;
};

UNUSED static void s3_on_element(void *arg, const char *parent,
				 const char *name, const char *text)
{
	struct s3_look *look = arg;
	size_t used = strlen(look->text);

	if (!text || strcmp(name, "Key") != 0 ||
	    (strcmp(parent, "Upload") != 0 && strcmp(parent, "Contents") != 0))
		return;
	look->n++;
	snprintf(look->text + used, look->size - used, " %s", text);
}

UNUSED static void s3_on_looked(void *arg, struct s3_request *r)
{
	struct s3_look *look = arg;

	look->err = r->err;
	if (!err_is_set(&r->err))
		ck_assert_int_eq(s3_xml_parse(r->answer, s3_on_element, look,
					      &look->err), 0);
	look->ended = true;
}

/* Keys of the prefix, of uploads or of objects; how many. */
UNUSED static size_t s3_keys(const struct reader_settings *settings,
			     struct workers *workers, bool uploads, char *text,
			     size_t size)
{
	struct s3_look look = { .text = text, .size = size };
	struct err err = ERR_INIT;
	struct s3_engine *e = s3_engine_new(settings, workers, &err);
	struct s3_request r;

	ck_assert_msg(e != NULL, "%s", err.text);
	text[0] = '\0';
	s3_request_init(&r, e, "GET", NULL);
	s3_request_param(&r, "prefix", settings->s3_prefix);
	if (uploads)
		s3_request_param(&r, "uploads", "");
	s3_request_start(&r, s3_on_looked, &look);
	while (!look.ended)
		loop_run_once(e->loop);
	ck_assert_msg(!err_is_set(&look.err), "%s", look.err.text);
	s3_engine_free(&e);
	return look.n;
}

/* What belongs to no object: uploads, tails, halves; "" if there is none. */
UNUSED static const char *s3_leftovers(const struct reader_settings *settings,
				       struct workers *workers)
{
	static char text[8192];
	size_t skip, n;

	if (s3_keys(settings, workers, true, text, sizeof(text)) > 0)
		return text;
	n = s3_keys(settings, workers, false, text, sizeof(text));
	if (n % 2 != 0 || strstr(text, ".part"))
		return text;
	skip = 0;
	for (char *at = text; (at = strstr(at, ".json")); at++)
		skip++;
	return skip * 2 == n ? "" : text;
}

#endif
