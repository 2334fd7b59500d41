#include "common/err.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct err err;

static void make_err(void)
{
	err = ERR_INIT;
}

START_TEST(a_new_error_is_not_set)
{
	ck_assert(!err_is_set(&err));
	ck_assert_int_eq(err_http_status(&err), 200);
	ck_assert_str_eq(err.text, "");
}
END_TEST

START_TEST(setting_an_error_returns_minus_1)
{
	ck_assert_int_eq(err_set(&err, ERR_STORE, "disk %d is full", 3), -1);
	ck_assert(err_is_set(&err));
	ck_assert_int_eq(err.code, ERR_STORE);
	ck_assert_str_eq(err.text, "disk 3 is full");
}
END_TEST

START_TEST(the_first_error_wins)
{
	err_set(&err, ERR_TARGET, "first");
	ck_assert_int_eq(err_set(&err, ERR_STORE, "second"), -1);
	ck_assert_int_eq(err_set_status(&err, 413, "third"), -1);
	ck_assert_int_eq(err_set_errno(&err, ERR_STORE, EIO, "fourth"), -1);
	ck_assert_str_eq(err.text, "first");
	ck_assert_int_eq(err_http_status(&err), 502);
}
END_TEST

START_TEST(a_finer_status_is_the_answers_status)
{
	ck_assert_int_eq(err_set_status(&err, 413, "too long"), -1);
	ck_assert_int_eq(err.code, ERR_CLIENT);
	ck_assert_int_eq(err_http_status(&err), 413);
}
END_TEST

START_TEST(an_errno_is_named)
{
	ck_assert_int_eq(err_set_errno(&err, ERR_STORE, ENOSPC, "fsync"), -1);
	ck_assert_str_eq(err.text, "fsync: No space left on device");
}
END_TEST

START_TEST(a_long_text_is_cut)
{
	char text[400];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	err_set_errno(&err, ERR_STORE, EIO, "%s", text);
	ck_assert_uint_eq(strlen(err.text), sizeof(err.text) - 1);
}
END_TEST

static const struct {
	enum err_code code;
	int status;
} codes[] = {
	{ERR_CONFIG, 500},  {ERR_CLIENT, 400},	  {ERR_TARGET, 502},
	{ERR_STORE, 500},   {ERR_REFUSED, 422},	  {ERR_CONFLICT, 409},
	{ERR_NOT_FOUND, 404}, {ERR_LIMIT, 503},	  {ERR_MEMORY, 503},
};

START_TEST(every_code_has_a_status)
{
	err_set(&err, codes[_i].code, "reason");
	ck_assert_int_eq(err_http_status(&err), codes[_i].status);
}
END_TEST

START_TEST(setting_no_error_is_a_bug)
{
	err_set(&err, ERR_NONE, "nothing");
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, a_new_error_is_not_set);
	tcase_add_test(tc, setting_an_error_returns_minus_1);
	tcase_add_test(tc, the_first_error_wins);
	tcase_add_test(tc, a_finer_status_is_the_answers_status);
	tcase_add_test(tc, an_errno_is_named);
	tcase_add_test(tc, a_long_text_is_cut);
	tcase_add_loop_test(tc, every_code_has_a_status, 0,
			    sizeof(codes) / sizeof(*codes));
	tcase_add_test_raise_signal(tc, setting_no_error_is_a_bug, SIGABRT);
}

int main(void)
{
	Suite *suite = suite_create("err");
	TCase *tc = tcase_create("err");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, make_err, NULL);
	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
