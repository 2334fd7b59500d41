#include "reader/settings.h"

#include "common/log.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct reader_settings settings;
static struct err err;

/* Load with up to three variables. */
static int load(const char *a, const char *b, const char *c)
{
	static char text[3][300];
	char *env[4] = { NULL };
	const char *given[] = { a, b, c };
	int n = 0;

	for (int i = 0; i < 3; i++)
		if (given[i]) {
			snprintf(text[n], sizeof(text[n]), "%s", given[i]);
			env[n] = text[n];
			n++;
		}
	err = ERR_INIT;
	return reader_settings_load(&settings, env, NULL, &err);
}

static void expect_refusal(const char *part)
{
	ck_assert_int_eq(err.code, ERR_CONFIG);
	ck_assert_msg(strstr(err.text, part), "%s", err.text);
}

START_TEST(everything_has_a_default)
{
	ck_assert_msg(load(NULL, NULL, NULL) == 0, "%s", err.text);
	ck_assert_uint_eq(settings.address.port, 7001);
	ck_assert_uint_eq(settings.buffer_size, 262144);
	ck_assert_str_eq(settings.file_dir, "objects");
	ck_assert_str_eq(log_format_names[settings.log_format], "logfmt");
}
END_TEST

START_TEST(without_a_token_only_this_machine_is_served)
{
	ck_assert_int_eq(load("READER_HTTP_PORT=:7100", NULL, NULL), 0);
	ck_assert_str_eq(settings.address.host, "127.0.0.1");
	ck_assert_uint_eq(settings.address.port, 7100);
}
END_TEST

START_TEST(with_a_token_every_address_is_served)
{
	ck_assert_int_eq(load("READER_TOKEN=secret", NULL, NULL), 0);
	ck_assert_str_eq(settings.address.host, "");
}
END_TEST

START_TEST(an_open_address_without_a_token_is_refused_with_the_remedy)
{
	ck_assert_int_lt(load("READER_HTTP_PORT=0.0.0.0:80", NULL, NULL), 0);
	expect_refusal("0.0.0.0:80");
	expect_refusal("set READER_TOKEN");
}
END_TEST

START_TEST(an_open_address_with_a_token_is_fine)
{
	ck_assert_int_eq(load("READER_HTTP_PORT=0.0.0.0:80", "READER_TOKEN=x",
			      NULL), 0);
	ck_assert_str_eq(settings.address.host, "0.0.0.0");
}
END_TEST

START_TEST(a_loopback_address_needs_no_token)
{
	ck_assert_int_eq(load("READER_HTTP_PORT=[::1]:80", NULL, NULL), 0);
	ck_assert_int_eq(load("READER_HTTP_PORT=localhost:80", NULL, NULL), 0);
}
END_TEST

START_TEST(the_flag_goes_before_the_environment)
{
	char port[] = "READER_HTTP_PORT=7100", *env[] = { port, NULL };

	err = ERR_INIT;
	ck_assert_int_eq(reader_settings_load(&settings, env, "7200", &err), 0);
	ck_assert_uint_eq(settings.address.port, 7200);
}
END_TEST

START_TEST(the_flag_is_checked_like_the_variable)
{
	char *env[] = { NULL };

	err = ERR_INIT;
	ck_assert_int_lt(reader_settings_load(&settings, env, "70000", &err),
			 0);
	expect_refusal("READER_HTTP_PORT=\"70000\"");
}
END_TEST

START_TEST(the_time_to_live_is_in_seconds)
{
	ck_assert_int_eq(load("READER_STAGED_TTL=90", NULL, NULL), 0);
	ck_assert_uint_eq(settings.staged_ttl_ms, 90000);
}
END_TEST

START_TEST(a_ring_of_less_than_1024_bytes_is_refused)
{
	ck_assert_int_lt(load("READER_BUFFER_SIZE=1023", NULL, NULL), 0);
	expect_refusal("READER_BUFFER_SIZE=\"1023\"");
	ck_assert_int_eq(load("READER_BUFFER_SIZE=1024", NULL, NULL), 0);
}
END_TEST

START_TEST(a_program_as_store_needs_its_command)
{
	ck_assert_int_lt(load("READER_STORE=exec", NULL, NULL), 0);
	expect_refusal("READER_EXEC_COMMAND");
	ck_assert_int_eq(load("READER_STORE=exec", "READER_EXEC_COMMAND=cat",
			      NULL), 0);
}
END_TEST

START_TEST(an_unknown_store_names_the_known_ones)
{
	ck_assert_int_lt(load("READER_STORE=floppy", NULL, NULL), 0);
	expect_refusal("READER_STORE=\"floppy\"");
	expect_refusal("discard");
}
END_TEST

START_TEST(a_misspelt_name_is_refused)
{
	ck_assert_int_lt(load("READER_TOKENN=x", NULL, NULL), 0);
	expect_refusal("READER_TOKEN");
}
END_TEST

START_TEST(names_of_the_broadcaster_are_not_ours)
{
	ck_assert_int_eq(load("BROADCASTER_NONSENSE=1", "PATH=/bin", NULL), 0);
}
END_TEST

START_TEST(port_counts_when_our_own_variable_is_not_set)
{
	ck_assert_int_eq(load("PORT=:8081", NULL, NULL), 0);
	ck_assert_uint_eq(settings.address.port, 8081);
	ck_assert_str_eq(settings.address.host, "127.0.0.1");
	ck_assert_int_eq(load("PORT=8081", "READER_HTTP_PORT=", NULL), 0);
	ck_assert_uint_eq(settings.address.port, 8081);
	ck_assert_int_eq(load("PORT=8081", "READER_HTTP_PORT=8082", NULL), 0);
	ck_assert_uint_eq(settings.address.port, 8082);
	ck_assert_int_eq(load("PORT=x", NULL, NULL), -1);
	expect_refusal("PORT=\"x\"");
}
END_TEST

START_TEST(the_database_is_named_by_variables)
{
	ck_assert_int_eq(load("DB_HOST=h", "DB_USER=u", "DB_PASSWORD=p"), 0);
	ck_assert_str_eq(settings.db_host, "h");
	ck_assert_str_eq(settings.db_user, "u");
	ck_assert_str_eq(settings.db_password, "p");
	ck_assert_str_eq(settings.db_port, "");
	ck_assert_str_eq(settings.db_name, "");
}
END_TEST

START_TEST(types_are_sniffed_unless_told_otherwise)
{
	ck_assert_int_eq(load(NULL, NULL, NULL), 0);
	ck_assert(settings.sniff);
	ck_assert_int_eq(load("READER_SNIFF=false", NULL, NULL), 0);
	ck_assert(!settings.sniff);
}
END_TEST

START_TEST(the_token_never_stands_in_a_message)
{
	ck_assert_int_lt(load("READER_TOKEN=se\ncret", NULL, NULL), 0);
	ck_assert_ptr_null(strstr(err.text, "cret"));
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, everything_has_a_default);
	tcase_add_test(tc, without_a_token_only_this_machine_is_served);
	tcase_add_test(tc, with_a_token_every_address_is_served);
	tcase_add_test(
		tc, an_open_address_without_a_token_is_refused_with_the_remedy);
	tcase_add_test(tc, an_open_address_with_a_token_is_fine);
	tcase_add_test(tc, a_loopback_address_needs_no_token);
	tcase_add_test(tc, the_flag_goes_before_the_environment);
	tcase_add_test(tc, the_flag_is_checked_like_the_variable);
	tcase_add_test(tc, the_time_to_live_is_in_seconds);
	tcase_add_test(tc, a_ring_of_less_than_1024_bytes_is_refused);
	tcase_add_test(tc, a_program_as_store_needs_its_command);
	tcase_add_test(tc, an_unknown_store_names_the_known_ones);
	tcase_add_test(tc, a_misspelt_name_is_refused);
	tcase_add_test(tc, names_of_the_broadcaster_are_not_ours);
	tcase_add_test(tc, port_counts_when_our_own_variable_is_not_set);
	tcase_add_test(tc, the_database_is_named_by_variables);
	tcase_add_test(tc, types_are_sniffed_unless_told_otherwise);
	tcase_add_test(tc, the_token_never_stands_in_a_message);
}

int main(void)
{
	Suite *suite = suite_create("reader_settings");
	TCase *tc = tcase_create("reader_settings");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
