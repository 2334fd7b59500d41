#include "reader/s3_config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct reader_settings settings;
static struct s3_config *config;
static struct err err;

/* Load with these variables ("NAME=value", NULL-terminated), and make it. */
static int make(const char *const *more)
{
	const char *env[16] = { "READER_STORE=s3", "READER_S3_BUCKET=bucket",
				"AWS_ACCESS_KEY_ID=KEY",
				"AWS_SECRET_ACCESS_KEY=SECRET" };
	char *copies[16] = { NULL };
	size_t n = 4;
	int rc;

	for (; more && *more; more++)
		env[n++] = *more;
	for (size_t i = 0; i < n; i++)
		copies[i] = strdup(env[i]);
	err = ERR_INIT;
	/* the first of a name counts: later ones of a test come before */
	for (size_t i = 0; i < n / 2; i++) {
		char *copy = copies[i];

		copies[i] = copies[n - 1 - i];
		copies[n - 1 - i] = copy;
	}
	rc = reader_settings_load(&settings, copies, NULL, &err);
	for (size_t i = 0; i < n; i++)
		free(copies[i]);
	return rc < 0 ? -1 : s3_config_make(config, &settings, &err);
}

#define MAKE(...) make((const char *const[]){ __VA_ARGS__, NULL })

static void expect_refusal(const char *part)
{
	ck_assert_int_eq(err.code, ERR_CONFIG);
	ck_assert_msg(strstr(err.text, part), "%s", err.text);
}

static void allocate(void)
{
	config = malloc(sizeof(*config));
}

static void release(void)
{
	free(config);
}

START_TEST(amazons_server_is_that_of_the_region)
{
	ck_assert_msg(make(NULL) == 0, "%s", err.text);
	ck_assert_str_eq(config->url,
			 "https://bucket.s3.us-east-1.amazonaws.com");
	ck_assert_str_eq(config->base, "");
	ck_assert_int_eq(MAKE("AWS_REGION=eu-west-1",
			      "READER_S3_PATH_STYLE=true"), 0);
	ck_assert_str_eq(config->url, "https://s3.eu-west-1.amazonaws.com");
	ck_assert_str_eq(config->base, "/bucket");
}
END_TEST

START_TEST(an_endpoint_of_ours_names_the_bucket_in_the_path)
{
	ck_assert_int_eq(MAKE("READER_S3_ENDPOINT=http://h:9000/"), 0);
	ck_assert_str_eq(config->url, "http://h:9000");
	ck_assert_str_eq(config->base, "/bucket");
	ck_assert_int_eq(MAKE("AWS_ENDPOINT_URL=https://h",
			      "READER_S3_PATH_STYLE=false"), 0);
	ck_assert_str_eq(config->url, "https://bucket.h");
	ck_assert_str_eq(config->base, "");
}
END_TEST

START_TEST(our_own_variables_go_first)
{
	ck_assert_int_eq(MAKE("READER_S3_ENDPOINT=http://ours",
			      "AWS_ENDPOINT_URL=http://theirs",
			      "READER_S3_REGION=r1", "AWS_REGION=r2",
			      "AWS_DEFAULT_REGION=r3"), 0);
	ck_assert_str_eq(config->url, "http://ours");
	ck_assert_str_eq(config->region, "r1");
	ck_assert_int_eq(MAKE("AWS_DEFAULT_REGION=r3"), 0);
	ck_assert_str_eq(config->region, "r3");
}
END_TEST

START_TEST(what_is_needed_is_asked_for)
{
	ck_assert_int_eq(MAKE("READER_S3_BUCKET="), -1);
	expect_refusal("READER_S3_BUCKET");
	ck_assert_int_eq(MAKE("AWS_ACCESS_KEY_ID="), -1);
	expect_refusal("AWS_ACCESS_KEY_ID");
	ck_assert_int_eq(MAKE("AWS_SECRET_ACCESS_KEY="), -1);
	expect_refusal("AWS_SECRET_ACCESS_KEY");
}
END_TEST

START_TEST(what_is_malformed_is_refused)
{
	static const struct {
		const char *variable, *part;
	} bad[] = {
		{ "READER_S3_ENDPOINT=h:9000", "READER_S3_ENDPOINT" },
		{ "READER_S3_ENDPOINT=ftp://h", "READER_S3_ENDPOINT" },
		{ "READER_S3_ENDPOINT=http://", "READER_S3_ENDPOINT" },
		{ "READER_S3_ENDPOINT=http://h/s3/", "no path" },
		{ "READER_S3_ENDPOINT=http://u:p@h", "READER_S3_ENDPOINT" },
		{ "READER_S3_BUCKET=a/b", "READER_S3_BUCKET" },
		{ "READER_S3_PREFIX=/a", "READER_S3_PREFIX" },
		{ "READER_S3_SSE=DES", "READER_S3_SSE" },
		{ "READER_S3_METADATA=a", "READER_S3_METADATA" },
		{ "READER_S3_METADATA=a b=c", "READER_S3_METADATA" },
		{ "READER_S3_METADATA=a=b;A=c", "\"a\" is there already" },
		{ "READER_S3_METADATA=Name=b", "\"name\" is there already" },
		{ "READER_S3_METADATA=a=b  c", "READER_S3_METADATA" },
		{ "READER_S3_STORAGE_CLASS=A\nx: y", "READER_S3_STORAGE_CLASS" },
		{ "AWS_ACCESS_KEY_ID=A\nx: y", "AWS_ACCESS_KEY_ID" },
		{ "READER_S3_PART_BYTES=1M", "READER_S3_PART_BYTES" },
		{ "READER_S3_PATH_STYLE=perhaps", "READER_S3_PATH_STYLE" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(MAKE(bad[i].variable) < 0, "%s",
			      bad[i].variable);
		expect_refusal(bad[i].part);
	}
}
END_TEST

START_TEST(metadata_become_fields)
{
	ck_assert_int_eq(MAKE("READER_S3_METADATA= Team=a b ; x=1=2;"), 0);
	ck_assert_uint_eq(config->n_metadata, 2);
	ck_assert_str_eq(config->metadata[0].name, "x-amz-meta-team");
	ck_assert_str_eq(config->metadata[0].value, "a b");
	ck_assert_str_eq(config->metadata[1].name, "x-amz-meta-x");
	ck_assert_str_eq(config->metadata[1].value, "1=2");
}
END_TEST

START_TEST(with_keys_of_a_kms_an_etag_says_nothing)
{
	ck_assert_int_eq(MAKE("READER_S3_SSE=AES256"), 0);
	ck_assert(config->etag_is_md5);
	ck_assert_int_eq(MAKE("READER_S3_SSE=aws:kms"), 0);
	ck_assert(!config->etag_is_md5);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("s3 config");
	TCase *tc = tcase_create("all");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, allocate, release);
	tcase_add_test(tc, amazons_server_is_that_of_the_region);
	tcase_add_test(tc, an_endpoint_of_ours_names_the_bucket_in_the_path);
	tcase_add_test(tc, our_own_variables_go_first);
	tcase_add_test(tc, what_is_needed_is_asked_for);
	tcase_add_test(tc, what_is_malformed_is_refused);
	tcase_add_test(tc, metadata_become_fields);
	tcase_add_test(tc, with_keys_of_a_kms_an_etag_says_nothing);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
