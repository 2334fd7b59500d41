/* What ETags of S3 servers say, and what those of other forms do not. */
#include "reader/s3_etag.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define HELLO "f814893777bcc2295fff05f00e508da6"	/* of "hello " */
#define WORLD "7d793037a0760186574b0282f2f435e7"	/* of "world" */
#define WHOLE "e09e4fd6265b36115fe3db32df945d84"	/* of both MD5s */

#define N(array) ((int)(sizeof(array) / sizeof((array)[0])))

static char parts[2][S3_PART_ETAG_SIZE];

static void set_parts(const char *first, const char *second)
{
	snprintf(parts[0], sizeof(parts[0]), "%s", first);
	snprintf(parts[1], sizeof(parts[1]), "%s", second);
}

START_TEST(an_etag_of_a_part_is_short_and_text_in_xml)
{
	char long_one[S3_PART_ETAG_SIZE + 1];

	ck_assert(s3_etag_is_usable("\"" HELLO "\""));
	ck_assert(s3_etag_is_usable("x"));
	ck_assert(!s3_etag_is_usable(""));
	ck_assert(!s3_etag_is_usable("\"</ETag>\""));
	ck_assert(!s3_etag_is_usable("\"a&b\""));
	memset(long_one, 'x', S3_PART_ETAG_SIZE);
	long_one[S3_PART_ETAG_SIZE] = '\0';
	ck_assert(!s3_etag_is_usable(long_one));
	long_one[S3_PART_ETAG_SIZE - 1] = '\0';
	ck_assert(s3_etag_is_usable(long_one));
}
END_TEST

START_TEST(another_md5_contradicts)
{
	ck_assert(!s3_etag_contradicts("\"" HELLO "\"", HELLO));
	ck_assert(s3_etag_contradicts("\"" WORLD "\"", HELLO));
}
END_TEST

/* Of a KMS' key, of a completed upload, of other servers, and of none. */
static const char *const others[] = {
	"", "\"", "\"\"", WORLD, "\"" WORLD, "W/\"" WORLD "\"",
	"\"" WORLD "-2\"", "\"" WORLD "0\"",
	"\"7D793037A0760186574B0282F2F435E7\"",
	"\"7d793037a0760186574b0282f2f435e\"",
	"\"7d793037a0760186574b0282f2f435eg\"",
};

START_TEST(an_etag_of_another_form_contradicts_nothing)
{
	ck_assert(!s3_etag_contradicts(others[_i], HELLO));
	set_parts("\"" HELLO "\"", others[_i]);
	ck_assert(!s3_etag_contradicts_parts("\"" HELLO "-2\"", parts, 2));
}
END_TEST

START_TEST(the_etag_of_an_upload_is_made_of_its_parts)
{
	set_parts("\"" HELLO "\"", "\"" WORLD "\"");
	ck_assert(!s3_etag_contradicts_parts("\"" WHOLE "-2\"", parts, 2));
	ck_assert(s3_etag_contradicts_parts("\"" WHOLE "-3\"", parts, 2));
	ck_assert(s3_etag_contradicts_parts("\"" HELLO "-2\"", parts, 2));
	ck_assert(s3_etag_contradicts_parts("\"" WHOLE "-2\"", parts, 1));
	ck_assert(!s3_etag_contradicts_parts("\"" HELLO "\"", parts, 2));
	ck_assert(!s3_etag_contradicts_parts("", parts, 2));
	set_parts("\"" WORLD "\"", "\"" HELLO "\"");
	ck_assert(s3_etag_contradicts_parts("\"" WHOLE "-2\"", parts, 2));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("s3_etag");
	TCase *tc = tcase_create("s3_etag");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_test(tc, an_etag_of_a_part_is_short_and_text_in_xml);
	tcase_add_test(tc, another_md5_contradicts);
	tcase_add_loop_test(tc, an_etag_of_another_form_contradicts_nothing, 0,
			    N(others));
	tcase_add_test(tc, the_etag_of_an_upload_is_made_of_its_parts);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
