/* What comes from S3 servers: XML, refusals, descriptions; and names of keys. */
#include "reader/s3_description.h"
#include "reader/s3_error.h"
#include "reader/s3_names.h"
#include "reader/s3_sink.h"
#include "reader/s3_xml.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define ID "0198f7c2-0000-7000-8000-000000000001"

static struct err err;
static char told[4096];	/* "parent/name=text;" for each element */

static void reset(void)
{
	err = ERR_INIT;
	told[0] = '\0';
}

/* ---- XML ------------------------------------------------------------------- */

static void tell(void *arg, const char *parent, const char *name,
		 const char *text)
{
	size_t used = strlen(told);

	(void)arg;
	snprintf(told + used, sizeof(told) - used, "%s/%s=%s;", parent, name,
		 text ? text : "*");
}

static int parse(const char *text)
{
	reset();
	return s3_xml_parse(span_of(text), tell, NULL, &err);
}

START_TEST(elements_are_told_with_their_text)
{
	ck_assert_int_eq(parse("<?xml version=\"1.0\"?><a xmlns=\"x:y\"><b>"
			       "1 &amp; 2</b><c/><d><b>3</b></d></a>"), 0);
	ck_assert_str_eq(told, "a/b=1 & 2;a/c=;d/b=3;a/d=*;/a=*;");
}
END_TEST

START_TEST(blanks_before_an_answer_are_skipped)
{
	ck_assert_int_eq(parse(" \n \n<?xml version=\"1.0\"?><a>1</a>\n"), 0);
	ck_assert_str_eq(told, "/a=1;");
}
END_TEST

START_TEST(what_is_no_answer_is_the_stores_fault)
{
	static const char *const bad[] = {
		"", "   ", "no XML", "<a>", "<a></b>", "<a/><b/>",
		"<!DOCTYPE a [<!ENTITY e \"x\">]><a>&e;</a>", "<a>&e;</a>",
		"<1><2><3><4><5><6><7><8><9/></8></7></6></5></4></3></2></1>",
		"<a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a>",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(parse(bad[i]) < 0, "%s", bad[i]);
		ck_assert_int_eq(err.code, ERR_STORE);
	}
}
END_TEST

START_TEST(a_text_without_an_end_is_refused)
{
	size_t size = S3_XML_TEXT_SIZE + 100;
	char *text = malloc(size);

	memset(text, 'x', size);
	memcpy(text, "<a>", 3);
	memcpy(text + size - 5, "</a>", 5);
	ck_assert_int_eq(parse(text), -1);
	text[S3_XML_TEXT_SIZE - 1 + 3] = '\0';
	memcpy(text + S3_XML_TEXT_SIZE - 1 + 3, "</a>", 5);
	ck_assert_int_eq(parse(text), 0);
	free(text);
}
END_TEST

START_TEST(an_answer_cut_anywhere_is_refused)
{
	const char whole[] = "<a><b>1</b><c>2</c></a>";

	for (size_t n = 0; n < sizeof(whole) - 1; n++) {
		reset();
		ck_assert_int_eq(s3_xml_parse(span_make(whole, n), tell, NULL,
					      &err), -1);
	}
}
END_TEST

/* ---- refusals -------------------------------------------------------------- */

static struct s3_config config = { .bucket = "bucket", .region = "us-east-1",
				   .access_key = "KEY", .retries = 6 };
static struct s3_refusal refusal;

static void refuse(int status, const char *code, const char *more)
{
	char body[400];

	reset();
	memset(&refusal, 0, sizeof(refusal));
	snprintf(body, sizeof(body),
		 "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>why"
		 "</Message>%s</Error>",
		 code, more);
	s3_refusal_read(&refusal, status, span_of(*code ? body : ""));
	ck_assert_int_eq(s3_refusal_explain(&refusal, &config, &err), -1);
}

static const struct {
	int status;
	const char *code;
	enum err_code who;
	int http_status;
	bool is_passing;
	const char *says;
} refusals[] = {
	{ 403, "SignatureDoesNotMatch", ERR_CONFIG, 500, false,
	  "AWS_SECRET_ACCESS_KEY" },
	{ 403, "InvalidAccessKeyId", ERR_CONFIG, 500, false,
	  "AWS_ACCESS_KEY_ID" },
	{ 400, "ExpiredToken", ERR_CONFIG, 500, false, "AWS_SESSION_TOKEN" },
	{ 403, "RequestTimeTooSkewed", ERR_STORE, 500, false, "clock" },
	{ 404, "NoSuchBucket", ERR_CONFIG, 500, false, "READER_S3_BUCKET" },
	{ 400, "AuthorizationHeaderMalformed", ERR_CONFIG, 500, false,
	  "READER_S3_REGION" },
	{ 301, "PermanentRedirect", ERR_CONFIG, 500, false,
	  "READER_S3_REGION" },
	{ 307, "", ERR_CONFIG, 500, false, "READER_S3_REGION" },
	{ 403, "QuotaExceeded", ERR_STORE, 507, false, "quota" },
	{ 507, "", ERR_STORE, 507, false, "quota" },
	{ 403, "UserSuspended", ERR_STORE, 500, false, "suspended" },
	{ 403, "AccessDenied", ERR_STORE, 500, false, "denied" },
	{ 403, "", ERR_STORE, 500, false, "denied" },
	{ 404, "NoSuchKey", ERR_NOT_FOUND, 404, false, "no such object" },
	{ 404, "", ERR_NOT_FOUND, 404, false, "no such object" },
	{ 404, "NoSuchUpload", ERR_STORE, 500, false, "aborted" },
	{ 412, "PreconditionFailed", ERR_CONFLICT, 409, false, "another" },
	{ 503, "SlowDown", ERR_STORE, 503, true, "busy" },
	{ 503, "", ERR_STORE, 503, true, "busy" },
	{ 500, "InternalError", ERR_STORE, 500, true, "500 InternalError" },
	{ 502, "", ERR_STORE, 500, true, "502" },
	{ 200, "InternalError", ERR_STORE, 500, true, "200 InternalError" },
	{ 400, "XAmzContentSHA256Mismatch", ERR_STORE, 500, true, "why" },
	{ 400, "InvalidPart", ERR_STORE, 500, false, "InvalidPart: why" },
	{ 501, "NotImplemented", ERR_STORE, 500, false, "501" },
};

START_TEST(a_refusal_says_who_must_do_what)
{
	refuse(refusals[_i].status, refusals[_i].code, "");
	ck_assert_int_eq(err.code, refusals[_i].who);
	ck_assert_int_eq(err_http_status(&err), refusals[_i].http_status);
	ck_assert_int_eq(refusal.is_passing, refusals[_i].is_passing);
	ck_assert_msg(strstr(err.text, refusals[_i].says), "%s", err.text);
}
END_TEST

START_TEST(the_right_region_is_named)
{
	refuse(400, "AuthorizationHeaderMalformed",
	       "<Region>eu-west-1</Region>");
	ck_assert_msg(strstr(err.text, "READER_S3_REGION=eu-west-1"), "%s",
		      err.text);
}
END_TEST

START_TEST(a_refusal_that_is_no_xml_is_known_by_its_status)
{
	reset();
	memset(&refusal, 0, sizeof(refusal));
	s3_refusal_read(&refusal, 503, SPAN_LIT("<html>try later"));
	ck_assert(refusal.is_passing);
	ck_assert_str_eq(refusal.code, "");
}
END_TEST

/* Amazon sends back what was signed, a session token of 2 KB among it, in hex. */
START_TEST(a_long_refusal_is_known_by_its_code)
{
	const char end[] = "</CanonicalRequestBytes></Error>";
	size_t size = (size_t)4 * S3_XML_TEXT_SIZE;
	char *body = malloc(size);
	int n = snprintf(body, size,
			 "<Error><Code>SignatureDoesNotMatch</Code>"
			 "<Message>why</Message><CanonicalRequestBytes>");

	memset(body + n, 'a', size - (size_t)n);
	memcpy(body + size - sizeof(end), end, sizeof(end));
	reset();
	memset(&refusal, 0, sizeof(refusal));
	s3_refusal_read(&refusal, 403, span_of(body));
	ck_assert_int_eq(s3_refusal_explain(&refusal, &config, &err), -1);
	ck_assert_msg(strstr(err.text, "AWS_SECRET_ACCESS_KEY") != NULL, "%s",
		      err.text);
	free(body);
}
END_TEST

/* ---- keys ------------------------------------------------------------------ */

static char key[S3_KEY_SIZE];

static const struct {
	const char *name, *leaf;
} names[] = {
	{ "x y+z&a=b%20.bin", "x y+z&a=b%20.bin" },
	{ "\xc3\xa4/b", "\xc3\xa4/b" },
	{ "", "data" },
	{ "..", "%2E%2E" },
	{ "a/../b", "a/%2E%2E/b" },
	{ "./a", "%2E/a" },
	{ ".a/b..", ".a/b.." },
	{ "/a//b/", "%2Fa/%2Fb%2F" },
	{ "a\tb\n", "a%09b%0A" },
	{ "\xff.", "%FF." },
};

START_TEST(a_name_is_found_in_its_key)
{
	char want[200];

	s3_key_of_content("up/", ID, names[_i].name, key);
	snprintf(want, sizeof(want), "up/" ID "/%s", names[_i].leaf);
	ck_assert_str_eq(key, want);
}
END_TEST

START_TEST(a_long_name_is_cut_between_characters)
{
	char name[OBJECT_NAME_SIZE];

	for (size_t i = 0; i + 1 < sizeof(name); i++)
		name[i] = i % 2 ? '\xa4' : '\xc3';
	name[sizeof(name) - 1] = '\0';
	s3_key_of_content("", ID, name, key);
	ck_assert_uint_ge(strlen(key), 959);
	ck_assert_uint_le(strlen(key), 960);
	ck_assert(http1_is_utf8(span_of(key)));
}
END_TEST

START_TEST(a_key_with_the_longest_prefix_fits)
{
	char prefix[S3_PREFIX_SIZE], name[OBJECT_NAME_SIZE];

	memset(prefix, 'p', sizeof(prefix) - 1);
	prefix[sizeof(prefix) - 1] = '\0';
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	s3_key_of_content(prefix, ID, name, key);
	ck_assert_uint_eq(strlen(key), 1024);
	s3_key_of_description(prefix, ID, key);
	s3_key_of_tail(prefix, ID, key);
}
END_TEST

static const struct {
	const char *key;
	enum s3_key_kind kind;
} kinds[] = {
	{ "up/" ID "/data", S3_KEY_CONTENT },
	{ "up/" ID ".json", S3_KEY_DESCRIPTION },
	{ "up/" ID ".part", S3_KEY_TAIL },
	{ "up/" ID "/", S3_KEY_FOREIGN },
	{ "up/" ID, S3_KEY_FOREIGN },
	{ "up/" ID "x/data", S3_KEY_FOREIGN },
	{ "up/", S3_KEY_FOREIGN },
	{ "", S3_KEY_FOREIGN },
	{ "down/" ID "/data", S3_KEY_FOREIGN },
	{ "up/by hand/0198f7c2-0000-7000-8000-000000000001", S3_KEY_FOREIGN },
	{ "up/0198F7C2-0000-7000-8000-000000000001/data", S3_KEY_FOREIGN },
};

START_TEST(only_our_keys_are_ours)
{
	char id[UUID_TEXT_SIZE];

	ck_assert_int_eq(s3_key_read("up/", span_of(kinds[_i].key), id),
			 kinds[_i].kind);
	ck_assert_str_eq(id, kinds[_i].kind == S3_KEY_FOREIGN ? "" : ID);
}
END_TEST

START_TEST(a_key_of_a_list_is_decoded)
{
	char long_key[1100];

	ck_assert(s3_key_decode(SPAN_LIT("a+b%2Bc%C3%a4%25"), key));
	ck_assert_str_eq(key, "a b+c\xc3\xa4%");
	ck_assert(!s3_key_decode(SPAN_LIT("a%2"), key));
	ck_assert(!s3_key_decode(SPAN_LIT("a%"), key));
	ck_assert(!s3_key_decode(SPAN_LIT("a%zz"), key));
	ck_assert(!s3_key_decode(SPAN_LIT("a%00"), key));
	memset(long_key, 'x', sizeof(long_key));
	ck_assert(s3_key_decode(span_make(long_key, 1024), key));
	ck_assert(!s3_key_decode(span_make(long_key, 1025), key));
}
END_TEST

/* ---- descriptions ---------------------------------------------------------- */

static struct object make_object(void)
{
	struct object object = { .id = ID,
				 .name = "../\"\\\x01 \xc3\xa4\n",
				 .content_type = "text/plain",
				 .size = 12,
				 .created_ms = UINT64_C(1769903999123) };

	memset(object.sha256, 'a', sizeof(object.sha256) - 1);
	snprintf(object.details.title, OBJECT_TITLE_SIZE, "T");
	snprintf(object.details.creator, OBJECT_TITLE_SIZE, "C");
	snprintf(object.details.metadata, OBJECT_METADATA_SIZE,
		 "{\"a\":\"b\"}");
	return object;
}

START_TEST(a_description_comes_back)
{
	struct object object = make_object(), there;
	size_t len;
	char *text = s3_description_print(&object, "the key", "1-2", &len);

	reset();
	ck_assert_msg(s3_description_read(span_make(text, len), ID, &there,
					  &err) == 0, "%s", err.text);
	ck_assert_str_eq(there.name, object.name);
	ck_assert_str_eq(there.content_type, object.content_type);
	ck_assert_uint_eq(there.size, 12);
	ck_assert_uint_eq(there.created_ms, object.created_ms);
	ck_assert_str_eq(there.sha256, object.sha256);
	ck_assert_str_eq(there.details.title, "T");
	ck_assert_str_eq(there.details.creator, "C");
	ck_assert_str_eq(there.details.metadata, "{\"a\":\"b\"}");
	ck_assert_ptr_nonnull(strstr(text, "\"key\":\"the key\""));
	ck_assert(s3_description_is_of(span_make(text, len), "1-2"));
	ck_assert(!s3_description_is_of(span_make(text, len), "1-3"));
	ck_assert(!s3_description_is_of(span_make(text, len - 2), "1-2"));
	ck_assert(!s3_description_is_of(SPAN_LIT("{}"), ""));
	for (size_t n = 0; n < len - 1; n++) {
		reset();
		ck_assert_int_eq(s3_description_read(span_make(text, n), ID,
						     &there, &err), -1);
		ck_assert_int_eq(err.code, ERR_STORE);
	}
	free(text);
}
END_TEST

START_TEST(the_description_of_another_object_is_damaged)
{
	struct object object = make_object(), there;
	size_t len;
	char *text = s3_description_print(&object, "k", "1-2", &len);

	reset();
	ck_assert_int_eq(s3_description_read(
		span_make(text, len), "0198f7c2-0000-7000-8000-000000000002",
		&there, &err), -1);
	free(text);
}
END_TEST

/* ---- tails ----------------------------------------------------------------- */

static int read_tail(const char *text)
{
	static struct s3_tail_head head;

	reset();
	return s3_tail_read(span_of(text), ID, &head, &err);
}

#define TAIL(offset, parts, tail, id) \
	"{\"id\":\"" id "\",\"name\":\"n\",\"content_type\":\"t\"," \
	"\"upload_id\":\"u\",\"offset\":" offset ",\"parts\":" parts \
	",\"tail\":" tail ",\"sha256_state\":\"s\"}\nxx"

START_TEST(the_head_of_a_tail_is_checked)
{
	ck_assert_int_eq(read_tail(TAIL("12", "1", "2", ID)), 0);
	ck_assert_int_eq(read_tail(TAIL("1", "1", "2", ID)), -1);
	ck_assert_int_eq(read_tail(TAIL("-1", "1", "0", ID)), -1);
	ck_assert_int_eq(read_tail(TAIL("12", "10001", "2", ID)), -1);
	ck_assert_int_eq(read_tail(TAIL("12", "\"1\"", "2", ID)), -1);
	ck_assert_int_eq(read_tail(TAIL("12", "1", "2", "other")), -1);
	ck_assert_int_eq(read_tail(TAIL("2", "0", "2", ID)), 0);
	ck_assert_int_eq(read_tail(TAIL("12", "0", "2", ID)), -1);
	ck_assert_int_eq(read_tail(TAIL("5368709121", "1", "5368709120", ID)), 0);
	ck_assert_int_eq(read_tail(TAIL("5368709121", "1", "5368709121", ID)), -1);
	ck_assert_int_eq(read_tail(""), -1);
	ck_assert_int_eq(read_tail("{}\n"), -1);
}
END_TEST

#define N(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
	Suite *suite = suite_create("s3 answers");
	TCase *tc = tcase_create("all");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_test(tc, elements_are_told_with_their_text);
	tcase_add_test(tc, blanks_before_an_answer_are_skipped);
	tcase_add_test(tc, what_is_no_answer_is_the_stores_fault);
	tcase_add_test(tc, a_text_without_an_end_is_refused);
	tcase_add_test(tc, an_answer_cut_anywhere_is_refused);
	tcase_add_loop_test(tc, a_refusal_says_who_must_do_what, 0,
			    N(refusals));
	tcase_add_test(tc, the_right_region_is_named);
	tcase_add_test(tc, a_refusal_that_is_no_xml_is_known_by_its_status);
	tcase_add_test(tc, a_long_refusal_is_known_by_its_code);
	tcase_add_loop_test(tc, a_name_is_found_in_its_key, 0, N(names));
	tcase_add_test(tc, a_long_name_is_cut_between_characters);
	tcase_add_test(tc, a_key_with_the_longest_prefix_fits);
	tcase_add_loop_test(tc, only_our_keys_are_ours, 0, N(kinds));
	tcase_add_test(tc, a_key_of_a_list_is_decoded);
	tcase_add_test(tc, a_description_comes_back);
	tcase_add_test(tc, the_description_of_another_object_is_damaged);
	tcase_add_test(tc, the_head_of_a_tail_is_checked);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
