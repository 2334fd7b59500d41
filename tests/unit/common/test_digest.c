#include "common/digest.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* FIPS 180-4's examples */
#define HEX_EMPTY                                                              \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define HEX_ABC                                                                \
	"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define FIELD_ABC "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:"

static struct digest *digest;
static char hex[DIGEST_HEX_SIZE];
static struct err err;

static void make_digest(void)
{
	digest = digest_new();
	ck_assert_ptr_nonnull(digest);
	err = ERR_INIT;
	strcpy(hex, "unchanged");
}

static void drop_digest(void)
{
	digest_free(&digest);
	ck_assert_ptr_null(digest);
}

static int parse(const char *field)
{
	err = ERR_INIT;
	return digest_parse_field(span_of(field), hex, &err);
}

START_TEST(nothing_has_the_known_digest)
{
	digest_hex(digest, hex);
	ck_assert_str_eq(hex, HEX_EMPTY);
}
END_TEST

START_TEST(abc_has_the_known_digest)
{
	digest_update(digest, "abc", 3);
	digest_hex(digest, hex);
	ck_assert_str_eq(hex, HEX_ABC);
}
END_TEST

START_TEST(bytes_may_come_in_pieces)
{
	digest_update(digest, "a", 1);
	digest_update(digest, NULL, 0);
	digest_update(digest, "bc", 2);
	digest_hex(digest, hex);
	ck_assert_str_eq(hex, HEX_ABC);
}
END_TEST

START_TEST(looking_at_a_digest_does_not_end_it)
{
	digest_update(digest, "ab", 2);
	digest_hex(digest, hex);
	ck_assert_str_ne(hex, HEX_ABC);
	digest_update(digest, "c", 1);
	digest_hex(digest, hex);
	digest_hex(digest, hex);
	ck_assert_str_eq(hex, HEX_ABC);
}
END_TEST

START_TEST(a_reset_digest_starts_again)
{
	digest_update(digest, "something else", 14);
	digest_reset(digest);
	digest_update(digest, "abc", 3);
	digest_hex(digest, hex);
	ck_assert_str_eq(hex, HEX_ABC);
}
END_TEST

START_TEST(freeing_nothing_is_harmless)
{
	struct digest *none = NULL;

	digest_free(&none);
	ck_assert_ptr_null(none);
}
END_TEST

START_TEST(parts_are_taken_one_after_the_other)
{
	struct span parts[] = {SPAN_LIT("a"), span_make(NULL, 0),
			       SPAN_LIT("bc")};
	unsigned char bytes[DIGEST_SHA256_BYTES];

	digest_once(parts, 3, bytes);
	ck_assert_int_eq(bytes[0], 0xba);
	ck_assert_int_eq(bytes[DIGEST_SHA256_BYTES - 1], 0xad);
}
END_TEST

START_TEST(a_field_is_formatted_as_in_rfc_9530)
{
	char field[DIGEST_FIELD_SIZE];

	digest_format_field(HEX_ABC, field);
	ck_assert_str_eq(field, FIELD_ABC);
	ck_assert_int_eq(parse(field), 1);
	ck_assert_str_eq(hex, HEX_ABC);
}
END_TEST

START_TEST(a_field_is_found_among_other_members)
{
	ck_assert_int_eq(parse("md5=:AAAA:, " FIELD_ABC "\t ,\tx-y.z*_0=::"),
			 1);
	ck_assert_str_eq(hex, HEX_ABC);
}
END_TEST

START_TEST(parameters_are_skipped)
{
	ck_assert_int_eq(
		parse(FIELD_ABC
		      ";a;b=1; c=-12.345;d=\"x\\\"\\\\;,\";e=?1;f=:YQ==:"
		      ";*g=tok/en:~;h=*"),
		1);
	ck_assert_str_eq(hex, HEX_ABC);
}
END_TEST

START_TEST(other_algorithms_alone_give_no_digest)
{
	ck_assert_int_eq(parse("md5=:AAAA:"), 0);
	ck_assert_int_eq(parse("sha-512=:AAAA:;q=1, id-sha-256=:AAAA:"), 0);
	ck_assert_int_eq(parse(""), 0);
	ck_assert_int_eq(parse("  "), 0);
	ck_assert(!err_is_set(&err));
	ck_assert_str_eq(hex, "unchanged");
}
END_TEST

START_TEST(of_a_member_given_twice_the_last_counts)
{
	ck_assert_int_eq(parse("sha-256=:47DEQpj8HBSa+/"
			       "TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:," FIELD_ABC),
			 1);
	ck_assert_str_eq(hex, HEX_ABC);
}
END_TEST

static const char *const malformed[] = {
	"sha-256",
	"sha-256=",
	"sha-256=abc",
	"sha-256=\"abc\"",
	"sha-256=1",
	"sha-256=:",
	"sha-256=:ungW",
	"sha-256=ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
	"SHA-256=:AAAA:",
	"mD5=:AAAA:",
	"=:AAAA:",
	"1=:AAAA:",
	",",
	"md5=:AAAA:,",
	"md5=:AAAA:, ,",
	",md5=:AAAA:",
	"md5=:AAAA: x=:AAAA:",
	"md5=:AAAA:x",
	"md5 =:AAAA:",
	"md5= :AAAA:",
	"md5=:AA AA:",
	"md5=:AA-_:",
	"md5=:AAAA:;",
	"md5=:AAAA:;=1",
	"md5=:AAAA:;A=1",
	"md5=:AAAA:;a=",
	"md5=:AAAA:;a=\"",
	"md5=:AAAA:;a=\"x",
	"md5=:AAAA:;a=\"\\",
	"md5=:AAAA:;a=\"\\x\"",
	"md5=:AAAA:;a=\"\x01\"",
	"md5=:AAAA:;a=\"\xc3\xa4\"",
	"md5=:AAAA:;a=?2",
	"md5=:AAAA:;a=-",
	"md5=:AAAA:;a=1.",
	"md5=:AAAA:;a=.1",
	"md5=:AAAA:;a=1.2.3",
	"md5=:AAAA:;a=1.2345",
	"md5=:AAAA:;a=1234567890123456",
	"md5=:AAAA:;a=1234567890123.1",
	"md5=:AAAA:;a=(1)",
	"md5=(:AAAA:)",
	/* a sha-256 of the wrong length, or not canonical */
	"sha-256=::",
	"sha-256=:YWJj:",
	"sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0:",
	"sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0==:",
	"sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa1=:",
	"sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0A:",
	"sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa==:",
	"sha-256=:ung=v48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:",
	("sha-256=:AAAA:," FIELD_ABC),
};

START_TEST(a_malformed_field_is_the_clients_fault)
{
	ck_assert_msg(parse(malformed[_i]) == -1, "%s", malformed[_i]);
	ck_assert_int_eq(err.code, ERR_CLIENT);
}
END_TEST

START_TEST(a_field_cut_anywhere_is_never_taken_for_whole)
{
	const char whole[] = FIELD_ABC;

	for (size_t n = 1; n < sizeof(whole) - 1; n++) {
		char *part = malloc(n); /* for a sanitizer: no byte more */

		memcpy(part, whole, n);
		err = ERR_INIT;
		ck_assert_int_eq(
			digest_parse_field(span_make(part, n), hex, &err), -1);
		free(part);
	}
}
END_TEST

START_TEST(only_64_lower_case_digits_are_a_hex_digest)
{
	ck_assert(digest_is_hex(SPAN_LIT(HEX_ABC)));
	ck_assert(!digest_is_hex(SPAN_LIT("")));
	ck_assert(!digest_is_hex(SPAN_LIT(HEX_ABC "0")));
	ck_assert(!digest_is_hex(span_make(HEX_ABC, 63)));
	strcpy(hex, HEX_ABC);
	hex[10] = 'A';
	ck_assert(!digest_is_hex(span_of(hex)));
	hex[10] = 'g';
	ck_assert(!digest_is_hex(span_of(hex)));
}
END_TEST

START_TEST(a_digest_goes_on_in_another_process)
{
	struct digest *other = digest_new();
	char text[200], state[DIGEST_STATE_SIZE], want[DIGEST_HEX_SIZE];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7);
	digest_update(digest, text, sizeof(text));
	digest_hex(digest, want);
	for (size_t cut = 0; cut <= sizeof(text); cut++) {
		digest_reset(digest);
		digest_update(digest, text, cut);
		digest_export(digest, state);
		ck_assert(digest_import(other, span_of(state)));
		digest_update(other, text + cut, sizeof(text) - cut);
		digest_hex(other, hex);
		ck_assert_str_eq(hex, want);
	}
	digest_free(&other);
}
END_TEST

START_TEST(a_damaged_state_is_refused)
{
	char state[DIGEST_STATE_SIZE];

	digest_update(digest, "abc", 3);
	digest_export(digest, state);
	for (size_t n = 0; n < strlen(state); n++)
		ck_assert(!digest_import(digest, span_make(state, n)));
	state[strlen(state) - 1] = 'x';
	ck_assert(!digest_import(digest, span_of(state)));
	digest_update(digest, "abc", 3);
	digest_hex(digest, hex);
	ck_assert_str_eq(hex, HEX_ABC);
}
END_TEST

/* RFC 4231, test cases 2 and 6. */
START_TEST(an_hmac_is_that_of_rfc_4231)
{
	unsigned char mac[DIGEST_SHA256_BYTES];
	char key[131];

	digest_hmac(SPAN_LIT("Jefe"), SPAN_LIT("what do ya want for nothing?"),
		    mac);
	digest_to_hex(mac, sizeof(mac), hex);
	ck_assert_str_eq(hex, "5bdcc146bf60754e6a042426089575c75a003f089d273983"
			      "9dec58b964ec3843");
	memset(key, 0xaa, sizeof(key));
	digest_hmac(span_make(key, sizeof(key)),
		    SPAN_LIT("Test Using Larger Than Block-Size Key - Hash Key "
			     "First"),
		    mac);
	digest_to_hex(mac, sizeof(mac), hex);
	ck_assert_str_eq(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c514"
			      "0546040f0ee37f54");
}
END_TEST

START_TEST(an_md5_is_that_of_rfc_1321)
{
	digest_md5_hex(SPAN_LIT("abc"), hex);
	ck_assert_str_eq(hex, "900150983cd24fb0d6963f7d28e17f72");
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, a_digest_goes_on_in_another_process);
	tcase_add_test(tc, a_damaged_state_is_refused);
	tcase_add_test(tc, an_hmac_is_that_of_rfc_4231);
	tcase_add_test(tc, an_md5_is_that_of_rfc_1321);
	tcase_add_test(tc, nothing_has_the_known_digest);
	tcase_add_test(tc, abc_has_the_known_digest);
	tcase_add_test(tc, bytes_may_come_in_pieces);
	tcase_add_test(tc, looking_at_a_digest_does_not_end_it);
	tcase_add_test(tc, a_reset_digest_starts_again);
	tcase_add_test(tc, freeing_nothing_is_harmless);
	tcase_add_test(tc, parts_are_taken_one_after_the_other);
	tcase_add_test(tc, a_field_is_formatted_as_in_rfc_9530);
	tcase_add_test(tc, a_field_is_found_among_other_members);
	tcase_add_test(tc, parameters_are_skipped);
	tcase_add_test(tc, other_algorithms_alone_give_no_digest);
	tcase_add_test(tc, of_a_member_given_twice_the_last_counts);
	tcase_add_loop_test(tc, a_malformed_field_is_the_clients_fault, 0,
			    sizeof(malformed) / sizeof(*malformed));
	tcase_add_test(tc, a_field_cut_anywhere_is_never_taken_for_whole);
	tcase_add_test(tc, only_64_lower_case_digits_are_a_hex_digest);
}

int main(void)
{
	Suite *suite = suite_create("digest");
	TCase *tc = tcase_create("digest");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, make_digest, drop_digest);
	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
