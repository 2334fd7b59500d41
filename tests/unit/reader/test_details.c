#include "reader/details.h"
#include "reader/sniff.h"

#include "common/json.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct object_details details;
static struct err err;

static bool set_metadata(const char *json)
{
	json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
	bool fine;

	ck_assert_ptr_nonnull(value);
	fine = details_set_metadata(&details, value);
	json_decref(value);
	return fine;
}

START_TEST(title_and_creator_come_apart_from_the_rest)
{
	struct metadata metadata;

	metadata_init(&metadata);
	ck_assert_int_eq(metadata_parse(&metadata,
					SPAN_LIT("k dg==,title VA==,creator Qw=="),
					&err), 0);
	details_from_metadata(&details, &metadata);
	ck_assert_str_eq(details.title, "T");
	ck_assert_str_eq(details.creator, "C");
	ck_assert_str_eq(details.metadata, "{\"k\":\"v\"}");
}
END_TEST

START_TEST(metadata_is_an_object_of_texts)
{
	ck_assert(set_metadata("{ \"k\" : \"\\u00f6\\n\" }"));
	ck_assert_str_eq(details.metadata, "{\"k\":\"ö\\n\"}");
	ck_assert(details_set_metadata(&details, NULL));
	ck_assert_str_eq(details.metadata, "");
	ck_assert(set_metadata("{}"));
	ck_assert_str_eq(details.metadata, "");
	ck_assert(!set_metadata("{\"k\":1}"));
	ck_assert(!set_metadata("[\"k\"]"));
	ck_assert(!set_metadata("\"k\""));
	ck_assert_str_eq(details.metadata, "");
}
END_TEST

START_TEST(metadata_that_is_too_long_is_refused)
{
	char json[OBJECT_METADATA_SIZE + 16];

	for (int over = 0; over < 2; over++) {
		/* {"k":""} are eight */
		snprintf(json, sizeof(json), "{\"k\":\"%0*d\"}",
			 OBJECT_METADATA_SIZE - 1 - 8 + over, 0);
		ck_assert_int_eq(set_metadata(json), !over);
	}
}
END_TEST

START_TEST(json_of_anything_is_an_object)
{
	static const char *const texts[] = { "", "{\"k\":\"v\"}", "{", "[]" };

	for (size_t i = 0; i < 4; i++) {
		json_t *json;

		snprintf(details.metadata, sizeof(details.metadata), "%s",
			 texts[i]);
		json = details_metadata_json(&details);
		ck_assert(json_is_object(json));
		ck_assert_uint_eq(json_object_size(json), i == 1);
		json_decref(json);
	}
}
END_TEST

/* ---- the first bytes ----------------------------------------------------- */

START_TEST(only_the_first_bytes_are_kept)
{
	char bytes[3000];
	struct sniff_head head;

	memset(bytes, 'x', sizeof(bytes));
	ck_assert_int_eq(sniff_head_init(&head, OBJECT_SIZE_UNKNOWN), 0);
	for (uint64_t at = 0; at < 9000; at += sizeof(bytes))
		sniff_head_take(&head, at, span_make(bytes, sizeof(bytes)));
	ck_assert_uint_eq(head.len, SNIFF_BYTES);
	sniff_head_release(&head);
	sniff_head_take(&head, 9000, span_make(bytes, sizeof(bytes)));
	ck_assert_uint_eq(head.len, 0);
	ck_assert_int_eq(sniff_head_init(&head, 10), 0);
	sniff_head_take(&head, 0, span_make(bytes, sizeof(bytes)));
	ck_assert_uint_eq(head.len, 10);
	sniff_head_release(&head);
}
END_TEST

START_TEST(a_type_is_wanted_when_none_was_given)
{
	ck_assert(sniff_is_wanted("application/octet-stream"));
	ck_assert(sniff_is_wanted("APPLICATION/Octet-Stream ; a=b"));
	ck_assert(!sniff_is_wanted("application/octet-stream2"));
	ck_assert(!sniff_is_wanted("text/plain"));
}
END_TEST

static const char *look(struct sniffer *sniffer, struct span bytes)
{
	static char type[OBJECT_TYPE_SIZE];
	struct sniff_head head;

	snprintf(type, sizeof(type), "as before");
	ck_assert_int_eq(sniff_head_init(&head, bytes.len), 0);
	sniff_head_take(&head, 0, bytes);
	sniffer_look(sniffer, &head, type);
	sniff_head_release(&head);
	return type;
}

START_TEST(contents_have_types)
{
	struct sniffer *sniffer = sniffer_new();

	ck_assert_ptr_nonnull(sniffer);
	ck_assert_str_eq(look(sniffer, SPAN_LIT("%PDF-1.4\n")),
			 "application/pdf");
	ck_assert_str_eq(look(sniffer, SPAN_LIT("plain words\n")),
			 "text/plain");
	ck_assert_str_eq(look(sniffer, SPAN_LIT("ID3\4\0\0\0\0\x7f\x7f\0")),
			 "audio/mpeg");
	ck_assert_str_eq(look(sniffer, SPAN_LIT("\x01\x02\xfe")), "as before");
	sniffer_free(&sniffer);
	ck_assert_ptr_null(sniffer);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, title_and_creator_come_apart_from_the_rest);
	tcase_add_test(tc, metadata_is_an_object_of_texts);
	tcase_add_test(tc, metadata_that_is_too_long_is_refused);
	tcase_add_test(tc, json_of_anything_is_an_object);
	tcase_add_test(tc, only_the_first_bytes_are_kept);
	tcase_add_test(tc, a_type_is_wanted_when_none_was_given);
	tcase_add_test(tc, contents_have_types);
}

int main(void)
{
	Suite *suite = suite_create("details");
	TCase *tc = tcase_create("details");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
