#include "common/address.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct address address;
static struct err err;

static int parse_listen(const char *text)
{
	err = ERR_INIT;
	return address_parse_listen(span_of(text), &address, &err);
}

static int parse_peer(const char *text)
{
	err = ERR_INIT;
	return address_parse_peer(span_of(text), &address, &err);
}

static void expect(const char *host, unsigned int port)
{
	ck_assert_str_eq(address.host, host);
	ck_assert_uint_eq(address.port, port);
}

START_TEST(a_port_alone_is_enough_to_listen)
{
	ck_assert_int_eq(parse_listen("8080"), 0);
	expect("", 8080);
	ck_assert_int_eq(parse_listen(":8081"), 0);
	expect("", 8081);
	ck_assert_int_eq(parse_listen("0"), 0);
	expect("", 0);
}
END_TEST

START_TEST(a_host_before_the_port_is_taken)
{
	ck_assert_int_eq(parse_listen("127.0.0.1:8080"), 0);
	expect("127.0.0.1", 8080);
	ck_assert_int_eq(parse_listen("localhost:0"), 0);
	expect("localhost", 0);
	ck_assert_int_eq(parse_peer("store_1.example-2.net:65535"), 0);
	expect("store_1.example-2.net", 65535);
}
END_TEST

START_TEST(an_ipv6_host_stands_in_brackets)
{
	ck_assert_int_eq(parse_listen("[::1]:8080"), 0);
	expect("::1", 8080);
	ck_assert_int_eq(parse_peer("[2001:db8::2]:1"), 0);
	expect("2001:db8::2", 1);
}
END_TEST

START_TEST(a_peer_needs_host_and_port)
{
	ck_assert_int_eq(parse_peer("8080"), -1);
	ck_assert_int_eq(parse_peer(":8080"), -1);
	ck_assert_int_eq(parse_peer("localhost"), -1);
	ck_assert_int_eq(parse_peer("localhost:0"), -1);
	ck_assert_int_eq(parse_peer("[::1]"), -1);
}
END_TEST

static const char *const wrong[] = {
	"",
	":",
	"x",
	"localhost:",
	"localhost:http",
	"localhost:-1",
	"localhost:+1",
	"localhost: 1",
	"localhost:1 ",
	" localhost:1",
	"localhost:65536",
	"localhost:000001",
	"localhost:99999999999999999999",
	"::1:8080",
	"[::1]",
	"[::1]8080",
	"[::1]:",
	"[::1:8080",
	"[]:1",
	"[localhost]:1",
	"[127.0.0.1]:1",
	"[::1]]:1",
	"http://a:1",
	"a/b:1",
	"a..b:1",
	".a:1",
	"a.:1",
	"-a:1",
	"a-:1",
	"user@a:1",
	"127.1:1",
	"1.2.3.256:1",
	"1.2.3.4.5:1",
	"2130706433:1",
	"a.1:1",
	"\xc3\xa4:1",
	"a:1:2",
	"*:1",
};

START_TEST(what_is_no_address_is_refused)
{
	ck_assert_msg(parse_listen(wrong[_i]) == -1, "%s", wrong[_i]);
	ck_assert_int_eq(err.code, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "is allowed"));
	ck_assert_msg(parse_peer(wrong[_i]) == -1, "%s", wrong[_i]);
	ck_assert_ptr_nonnull(strstr(err.text, "is allowed"));
}
END_TEST

START_TEST(a_nul_in_a_host_is_refused)
{
	ck_assert_int_eq(address_parse_peer(SPAN_LIT("a\0b:1"), &address, &err),
			 -1);
}
END_TEST

START_TEST(a_name_has_253_bytes_at_most_and_a_label_63)
{
	char text[400];

	memset(text, 'a', sizeof(text));
	for (int i = 63; i < 253; i += 64)
		text[i] = '.';
	strcpy(text + 253, ":1");
	ck_assert_int_eq(parse_peer(text), 0);
	ck_assert_uint_eq(strlen(address.host), 253);
	strcpy(text + 253, "a:1");
	ck_assert_int_eq(parse_peer(text), -1);
	text[63] = 'a';
	strcpy(text + 64, ":1");
	ck_assert_int_eq(parse_peer(text), -1);
}
END_TEST

START_TEST(what_is_parsed_is_formatted_the_same)
{
	static const char *const texts[] = {"localhost:7001", "[::1]:7002",
					    "10.0.0.1:1", ":8080"};
	char buf[300];

	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(parse_listen(texts[i]), 0);
		address_format(&address, buf, sizeof(buf));
		ck_assert_str_eq(buf, texts[i]);
	}
}
END_TEST

START_TEST(formatting_truncates)
{
	char buf[6];

	ck_assert_int_eq(parse_peer("localhost:7001"), 0);
	address_format(&address, buf, sizeof(buf));
	ck_assert_str_eq(buf, "local");
}
END_TEST

START_TEST(loopback_is_known_by_its_literals)
{
	static const char *const yes[] = {"127.0.0.1:1", "127.255.0.9:1",
					  "[::1]:1",	 "[0:0:0:0:0:0:0:1]:1",
					  "localhost:1", "LocalHost:1"};
	static const char *const no[] = {"8080",
					 "0.0.0.0:1",
					 "128.0.0.1:1",
					 "[::]:1",
					 "[::ffff:127.0.0.1]:1",
					 "localhost.example:1",
					 "10.0.0.127:1"};

	for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++) {
		ck_assert_int_eq(parse_listen(yes[i]), 0);
		ck_assert_msg(address_is_loopback(&address), "%s", yes[i]);
	}
	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++) {
		ck_assert_int_eq(parse_listen(no[i]), 0);
		ck_assert_msg(!address_is_loopback(&address), "%s", no[i]);
	}
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, a_port_alone_is_enough_to_listen);
	tcase_add_test(tc, a_host_before_the_port_is_taken);
	tcase_add_test(tc, an_ipv6_host_stands_in_brackets);
	tcase_add_test(tc, a_peer_needs_host_and_port);
	tcase_add_loop_test(tc, what_is_no_address_is_refused, 0,
			    sizeof(wrong) / sizeof(*wrong));
	tcase_add_test(tc, a_nul_in_a_host_is_refused);
	tcase_add_test(tc, a_name_has_253_bytes_at_most_and_a_label_63);
	tcase_add_test(tc, what_is_parsed_is_formatted_the_same);
	tcase_add_test(tc, formatting_truncates);
	tcase_add_test(tc, loopback_is_known_by_its_literals);
}

int main(void)
{
	Suite *suite = suite_create("address");
	TCase *tc = tcase_create("address");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
