#include "broadcaster/cors.h"

#include <check.h>
#include <stdlib.h>

static struct cors cors;

static void parse(const char *setting)
{
	struct err err = ERR_INIT;

	ck_assert_msg(cors_parse(&cors, span_of(setting), &err) == 0, "%s",
		      err.text);
}

static const char *allowed(const char *origin)
{
	const struct http_header *fields;
	size_t n = cors_fields(&cors, span_of(origin), &fields);

	for (size_t i = 0; i < n; i++)
		if (!strcmp(fields[i].name, "Access-Control-Allow-Origin"))
			return fields[i].value;
	return "nobody";
}

static bool varies(const char *origin)
{
	const struct http_header *fields;
	size_t n = cors_fields(&cors, span_of(origin), &fields);

	return n > 0 && !strcmp(fields[n - 1].name, "Vary") &&
	       !strcmp(fields[n - 1].value, "Origin");
}

START_TEST(without_a_setting_nothing_is_said)
{
	parse("");
	ck_assert_str_eq(allowed("https://a.example"), "nobody");
	ck_assert(!varies("https://a.example"));
}
END_TEST

START_TEST(a_star_is_answered_with_a_star)
{
	parse("*");
	ck_assert_str_eq(allowed("https://a.example"), "*");
	ck_assert(!varies("https://a.example"));
}
END_TEST

START_TEST(origins_are_compared_as_a_whole)
{
	parse("https://a.example;http://localhost:8080");
	ck_assert_str_eq(allowed("http://localhost:8080"),
			 "http://localhost:8080");
	ck_assert_str_eq(allowed("https://a.example"), "https://a.example");
	ck_assert_str_eq(allowed("https://a.example.evil"), "nobody");
	ck_assert_str_eq(allowed("https://a.exampl"), "nobody");
	ck_assert_str_eq(allowed("http://a.example"), "nobody");
	ck_assert_str_eq(allowed("null"), "nobody");
}
END_TEST

START_TEST(caches_are_told_that_the_answer_depends_on_the_origin)
{
	parse("https://a.example");
	ck_assert(varies("https://a.example"));
	ck_assert(varies("https://b.example"));
	ck_assert(varies(NULL));
}
END_TEST

static const char *const bad[] = {
	"a.example",	     "https://",	  "https://a.example/",
	"https://A.example", "HTTPS://a.example", "https://a.example;*",
	"://a",		     "https://a b",	  "https://a\"b",
	"null",		     "1http://a",
};

START_TEST(what_is_no_origin_is_refused)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(cors_check(bad[_i], &err), -1);
	ck_assert_int_eq(err.code, ERR_CONFIG);
}
END_TEST

START_TEST(more_origins_than_there_is_room_for_are_refused)
{
	char text[CORS_MAX_TEXT] = "";
	struct err err = ERR_INIT;

	for (unsigned int i = 0; i <= CORS_MAX_ORIGINS; i++)
		memcpy(text + 9 * i, "http://a;", 10);
	ck_assert_int_eq(cors_check(text, &err), -1);
	text[9 * CORS_MAX_ORIGINS] = '\0';
	err = ERR_INIT;
	ck_assert_int_eq(cors_check(text, &err), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cors");
	TCase *tc = tcase_create("cors");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, without_a_setting_nothing_is_said);
	tcase_add_test(tc, a_star_is_answered_with_a_star);
	tcase_add_test(tc, origins_are_compared_as_a_whole);
	tcase_add_test(tc, caches_are_told_that_the_answer_depends_on_the_origin);
	tcase_add_loop_test(tc, what_is_no_origin_is_refused, 0,
			    sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tc, more_origins_than_there_is_room_for_are_refused);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
