#include "broadcaster/targets.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct target_list list;

static int parse(const char *hosts, const char *required, struct err *err)
{
	return targets_parse(&list, span_of(hosts), span_of(required), err);
}

static void parse_ok(const char *hosts)
{
	struct err err = ERR_INIT;

	ck_assert_msg(parse(hosts, "", &err) == 0, "%s", err.text);
}

static void teardown(void)
{
	targets_release(&list);
}

START_TEST(host_and_port_is_a_reader_called_by_its_address)
{
	parse_ok("localhost:7001;[::1]:7002");
	ck_assert_uint_eq(list.n, 2);
	ck_assert_int_eq(list.items[0].kind, TARGET_READER);
	ck_assert_str_eq(list.items[0].name, "localhost:7001");
	ck_assert_str_eq(list.items[0].origin, "http://localhost:7001");
	ck_assert_str_eq(list.items[1].origin, "http://[::1]:7002");
}
END_TEST

START_TEST(a_name_before_the_place_is_what_people_see)
{
	parse_ok("archive=10.0.0.1:7001");
	ck_assert_str_eq(list.items[0].name, "archive");
	ck_assert_str_eq(list.items[0].address, "10.0.0.1:7001");
}
END_TEST

START_TEST(a_url_is_a_plain_endpoint_with_its_path_and_query)
{
	parse_ok("http://h/put?a=b;https://s:8443/x");
	ck_assert_int_eq(list.items[0].kind, TARGET_PUT);
	ck_assert_str_eq(list.items[0].origin, "http://h:80");
	ck_assert_str_eq(list.items[0].path, "/put?a=b");
	ck_assert_str_eq(list.items[1].origin, "https://s:8443");
}
END_TEST

START_TEST(a_form_fragment_names_the_field)
{
	parse_ok("old=http://h:7001/upload#form=file");
	ck_assert_int_eq(list.items[0].kind, TARGET_FORM);
	ck_assert_str_eq(list.items[0].field, "file");
	ck_assert_str_eq(list.items[0].path, "/upload");
	ck_assert_str_eq(list.items[0].name, "old");
}
END_TEST

START_TEST(spaces_and_empty_entries_are_passed_over)
{
	parse_ok(" a:1 ;; b:2 ;");
	ck_assert_uint_eq(list.n, 2);
}
END_TEST

static const char *const bad_lists[] = {
	"",
	";",
	"host",
	"host:0",
	"host:70000",
	":7001",
	"ftp://h/x",
	"file:///etc/passwd",
	"gopher://h:70/",
	"a:1;a:1",
	"x=a:1;x=b:1",
	"http://h/x#frag",
	"http://h/x#form=",
	"http://user:pw@h/x",
	"http:///x",
	"a b:1",
};

START_TEST(a_malformed_list_is_a_configuration_error)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(parse(bad_lists[_i], "", &err), -1);
	ck_assert_int_eq(err.code, ERR_CONFIG);
	ck_assert(*err.text);
}
END_TEST

START_TEST(required_targets_are_marked_by_name)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(parse("scan=a:1;b:2", "scan", &err), 0);
	ck_assert(list.items[0].required);
	ck_assert(!list.items[1].required);
}
END_TEST

START_TEST(an_unknown_required_name_is_an_error_that_names_it)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(parse("a:1", "nobody", &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "nobody"));
}
END_TEST

START_TEST(more_than_64_targets_are_refused)
{
	char text[65 * 12 + 1] = "";
	struct err err = ERR_INIT;

	for (int i = 0; i < 65; i++)
		sprintf(text + strlen(text), "h%d:1;", i);
	ck_assert_int_eq(parse(text, "", &err), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("targets");
	TCase *tc = tcase_create("targets");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_test(tc, host_and_port_is_a_reader_called_by_its_address);
	tcase_add_test(tc, a_name_before_the_place_is_what_people_see);
	tcase_add_test(tc, a_url_is_a_plain_endpoint_with_its_path_and_query);
	tcase_add_test(tc, a_form_fragment_names_the_field);
	tcase_add_test(tc, spaces_and_empty_entries_are_passed_over);
	tcase_add_loop_test(tc, a_malformed_list_is_a_configuration_error, 0,
			    sizeof(bad_lists) / sizeof(bad_lists[0]));
	tcase_add_test(tc, required_targets_are_marked_by_name);
	tcase_add_test(tc, an_unknown_required_name_is_an_error_that_names_it);
	tcase_add_test(tc, more_than_64_targets_are_refused);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
