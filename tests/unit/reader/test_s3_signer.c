/*
 * Against what AWS publishes: the examples of "Authenticating Requests: Using
 * the Authorization Header" (S3), the "Signature Version 4 test suite", and what
 * botocore signs for paths and queries of our kind.
 */
#include "reader/s3_signer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

static const struct s3_keys docs_keys = {
	"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	"us-east-1", "s3"
};
static const struct s3_keys suite_keys = {
	"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1",
	"service"
};
static const struct s3_keys botocore_keys = {
	"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1",
	"s3"
};

static void expect(const struct s3_keys *keys, const struct s3_to_sign *request,
		   const char *names, const char *signature)
{
	char got[S3_AUTHORIZATION_SIZE], want[S3_AUTHORIZATION_SIZE];

	snprintf(want, sizeof(want),
		 "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request, "
		 "SignedHeaders=%s, Signature=%s",
		 keys->access_key, request->date, keys->region, keys->service,
		 names, signature);
	s3_sign(keys, request, got);
	ck_assert_str_eq(got, want);
}

/* ---- the examples of S3's manual ------------------------------------------ */

#define DOCS_HOST { "host", "examplebucket.s3.amazonaws.com" }
#define DOCS_DATE { "x-amz-date", "20130524T000000Z" }
#define NO_BODY { "x-amz-content-sha256", S3_EMPTY_SHA256 }

START_TEST(the_manuals_get_of_a_range)
{
	const struct s3_field fields[] = { DOCS_HOST, NO_BODY, DOCS_DATE,
					   { "range", "bytes=0-9" } };
	const struct s3_to_sign request = {
		"GET",	   "/test.txt", "", fields, N(fields), S3_EMPTY_SHA256,
		"20130524T000000Z"
	};

	expect(&docs_keys, &request,
	       "host;range;x-amz-content-sha256;x-amz-date",
	       "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb"
	       "41");
}
END_TEST

START_TEST(the_manuals_put_of_an_object)
{
	const char *sha256 = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42"
			     "034a8b803f8b072";
	const struct s3_field fields[] = {
		{ "x-amz-storage-class", "REDUCED_REDUNDANCY" },
		DOCS_HOST,
		{ "date", "Fri, 24 May 2013 00:00:00 GMT" },
		DOCS_DATE,
		{ "x-amz-content-sha256", sha256 },
	};
	const struct s3_to_sign request = { "PUT",  "/test%24file.text", "",
					    fields, N(fields),		 sha256,
					    "20130524T000000Z" };

	expect(&docs_keys, &request,
	       "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
	       "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108"
	       "bd");
}
END_TEST

START_TEST(the_manuals_query_without_a_value)
{
	const struct s3_field fields[] = { DOCS_HOST, NO_BODY, DOCS_DATE };
	const struct s3_to_sign request = {
		"GET",	   "/", "lifecycle=", fields, N(fields), S3_EMPTY_SHA256,
		"20130524T000000Z"
	};

	expect(&docs_keys, &request, "host;x-amz-content-sha256;x-amz-date",
	       "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a01367835"
	       "43");
}
END_TEST

START_TEST(the_manuals_list_of_objects)
{
	const struct s3_field fields[] = { DOCS_HOST, NO_BODY, DOCS_DATE };
	const struct s3_to_sign request = {
		"GET", "/", "max-keys=2&prefix=J", fields, N(fields),
		S3_EMPTY_SHA256, "20130524T000000Z"
	};

	expect(&docs_keys, &request, "host;x-amz-content-sha256;x-amz-date",
	       "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6"
	       "f7");
}
END_TEST

/* ---- the test suite ------------------------------------------------------- */

#define SUITE_HOST { "host", "example.amazonaws.com" }
#define SUITE_DATE { "x-amz-date", "20150830T123600Z" }

START_TEST(the_suites_get_vanilla)
{
	const struct s3_field fields[] = { SUITE_HOST, SUITE_DATE };
	const struct s3_to_sign request = {
		"GET",	   "/", "", fields, N(fields), S3_EMPTY_SHA256,
		"20150830T123600Z"
	};

	expect(&suite_keys, &request, "host;x-amz-date",
	       "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf"
	       "31");
}
END_TEST

START_TEST(the_suites_get_vanilla_query_order_key_case)
{
	const struct s3_field fields[] = { SUITE_HOST, SUITE_DATE };
	const struct s3_to_sign request = {
		"GET", "/", "Param1=value1&Param2=value2", fields, N(fields),
		S3_EMPTY_SHA256, "20150830T123600Z"
	};

	expect(&suite_keys, &request, "host;x-amz-date",
	       "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf25"
	       "00");
}
END_TEST

/* ---- what botocore makes of requests like ours ---------------------------- */

#define OUR_DATE { "x-amz-date", "20261125T094728Z" }

START_TEST(a_path_of_unusual_characters)
{
	const struct s3_field fields[] = { { "host", "127.0.0.1:9000" },
					   OUR_DATE,
					   NO_BODY };
	const struct s3_to_sign request = {
		"GET",
		"/bucket/a%20b%2Bc%26%C3%A4/%3D%25",
		"",
		fields,
		N(fields),
		S3_EMPTY_SHA256,
		"20261125T094728Z"
	};

	expect(&botocore_keys, &request, "host;x-amz-content-sha256;x-amz-date",
	       "7c007ae5187bb59108970113b19a81394c73d8bad9c58325583c4c9bff4443"
	       "eb");
}
END_TEST

START_TEST(a_session_token_and_metadata_are_signed)
{
	const struct s3_field fields[] = {
		{ "host", "bucket.example.com" },
		{ "x-amz-security-token", "TOKEN/+==" },
		{ "x-amz-meta-name", "n" },
		{ "x-amz-storage-class", "STANDARD_IA" },
		OUR_DATE,
		NO_BODY,
	};
	const struct s3_to_sign request = {
		"POST",	   "/key", "uploads=", fields, N(fields), S3_EMPTY_SHA256,
		"20261125T094728Z"
	};

	expect(&botocore_keys, &request,
	       "host;x-amz-content-sha256;x-amz-date;x-amz-meta-name;"
	       "x-amz-security-token;x-amz-storage-class",
	       "6a19b8732749b980d7cb377943c2cca5ee99abbd2325e4014a3cfaaec90ead"
	       "f5");
}
END_TEST

START_TEST(another_region_is_another_signature)
{
	const struct s3_field fields[] = { { "host", "b.example.com" },
					   OUR_DATE,
					   NO_BODY };
	const struct s3_to_sign request = {
		"GET", "/",
		"encoding-type=url&list-type=2&prefix=a%2Fb&start-after=",
		fields, N(fields), S3_EMPTY_SHA256, "20261125T094728Z"
	};
	struct s3_keys keys = botocore_keys;

	keys.region = "eu-central-1";
	expect(&keys, &request, "host;x-amz-content-sha256;x-amz-date",
	       "5ee4f0c3eba4a70dd738bcd361f6df5875402f7974177426878883f8ba4aed"
	       "32");
}
END_TEST

/* ---- pieces --------------------------------------------------------------- */

START_TEST(only_unreserved_characters_stay_as_they_are)
{
	char out[64];

	ck_assert_uint_eq(s3_encode(SPAN_LIT("aZ09-._~/ +&=%\xc3\xa4"), true,
				    out, sizeof(out)),
			  9 + 7 * 3);
	ck_assert_str_eq(out, "aZ09-._~/%20%2B%26%3D%25%C3%A4");
	s3_encode(SPAN_LIT("a/b"), false, out, sizeof(out));
	ck_assert_str_eq(out, "a%2Fb");
}
END_TEST

START_TEST(an_encoding_that_does_not_fit_says_how_long_it_is)
{
	char out[4] = "zzz";

	ck_assert_uint_eq(s3_encode(SPAN_LIT("ab cd"), true, out, 4), 7);
	ck_assert_str_eq(out, "ab%");
}
END_TEST

START_TEST(a_date_is_that_of_the_wall_clock)
{
	char date[S3_DATE_SIZE];

	s3_format_date(UINT64_C(1369353600999), date);
	ck_assert_str_eq(date, "20130524T000000Z");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("s3 signer");
	TCase *tc = tcase_create("all");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_test(tc, the_manuals_get_of_a_range);
	tcase_add_test(tc, the_manuals_put_of_an_object);
	tcase_add_test(tc, the_manuals_query_without_a_value);
	tcase_add_test(tc, the_manuals_list_of_objects);
	tcase_add_test(tc, the_suites_get_vanilla);
	tcase_add_test(tc, the_suites_get_vanilla_query_order_key_case);
	tcase_add_test(tc, a_path_of_unusual_characters);
	tcase_add_test(tc, a_session_token_and_metadata_are_signed);
	tcase_add_test(tc, another_region_is_another_signature);
	tcase_add_test(tc, only_unreserved_characters_stay_as_they_are);
	tcase_add_test(tc, an_encoding_that_does_not_fit_says_how_long_it_is);
	tcase_add_test(tc, a_date_is_that_of_the_wall_clock);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
