#include "common/config.h"

#include <check.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct settings {
	char dir[16];
	char token[16];
	uint64_t uploads;
	uint64_t buffer;
	bool verbose;
	int store;
	char even[16];
};

static int check_even(const char *value, struct err *err)
{
	if (strlen(value) % 2)
		return err_set(err, ERR_CONFIG,
			       "an even number of characters is allowed");
	return 0;
}

static const char *const stores[] = {"file", "exec", "s3", NULL};

#define MEMBER(m)                                                              \
	offsetof(struct settings, m), sizeof(((struct settings *)0)->m)

static const struct config_row rows[] = {
	{"READER_FILE_DIR", CONFIG_STRING, MEMBER(dir), "/srv", 0, 0, NULL,
	 NULL, "", "The folder for objects."},
	{"READER_TOKEN", CONFIG_SECRET, MEMBER(token), "", 0, 0, NULL, NULL, "",
	 "What clients must present."},
	{"READER_MAX_UPLOADS", CONFIG_U64, MEMBER(uploads), "64", 1, 1000, NULL,
	 NULL, "", "How many uploads run at the same time."},
	{"READER_BUFFER_SIZE", CONFIG_SIZE, MEMBER(buffer), "256K", 1024,
	 1073741824, NULL, NULL, "",
	 "Memory of each upload. A long sentence that has to be wrapped "
	 "because it is wider than the eighty columns of a terminal."},
	{"READER_VERBOSE", CONFIG_BOOL, MEMBER(verbose), "no", 0, 0, NULL, NULL,
	 "", "Say more."},
	{"READER_STORE", CONFIG_CHOICE, MEMBER(store), "exec", 0, 0, stores,
	 NULL, "", "Where objects go."},
	{"READER_EVEN", CONFIG_CHECKED, MEMBER(even), "", 0, 0, NULL,
	 check_even, "", "Something of even length."},
};
#define N_ROWS (sizeof(rows) / sizeof(*rows))

static const char *const prefixes[] = {"READER_", NULL};

static struct settings settings;
static struct err err;

/* Load one variable, or none for NULL. */
static int load(const char *variable)
{
	char text[512] = "";
	char *env[] = {text, NULL};

	if (variable)
		snprintf(text, sizeof(text), "%s", variable);
	err = ERR_INIT;
	return config_load(rows, N_ROWS, prefixes, variable ? env : env + 1,
			   &settings, &err);
}

static void expect_refused(const char *variable, const char *text)
{
	ck_assert_msg(load(variable) == -1, "%s", variable);
	ck_assert_int_eq(err.code, ERR_CONFIG);
	ck_assert_str_eq(err.text, text);
}

START_TEST(without_an_environment_all_is_at_its_default)
{
	memset(&settings, 0xff, sizeof(settings));
	ck_assert_int_eq(load(NULL), 0);
	ck_assert_str_eq(settings.dir, "/srv");
	ck_assert_str_eq(settings.token, "");
	ck_assert_uint_eq(settings.uploads, 64);
	ck_assert_uint_eq(settings.buffer, 256 * 1024);
	ck_assert(!settings.verbose);
	ck_assert_int_eq(settings.store, 1);
	ck_assert_str_eq(settings.even, "");
}
END_TEST

START_TEST(a_value_replaces_the_default)
{
	ck_assert_int_eq(load("READER_FILE_DIR=/data = x"), 0);
	ck_assert_str_eq(settings.dir, "/data = x");
	ck_assert_int_eq(load("READER_MAX_UPLOADS=1000"), 0);
	ck_assert_uint_eq(settings.uploads, 1000);
	ck_assert_int_eq(load("READER_STORE=s3"), 0);
	ck_assert_int_eq(settings.store, 2);
	ck_assert_int_eq(load("READER_EVEN=abcd"), 0);
	ck_assert_str_eq(settings.even, "abcd");
}
END_TEST

START_TEST(an_empty_value_counts_as_not_set)
{
	ck_assert_int_eq(load("READER_MAX_UPLOADS="), 0);
	ck_assert_uint_eq(settings.uploads, 64);
	ck_assert_int_eq(load("READER_STORE="), 0);
	ck_assert_int_eq(settings.store, 1);
}
END_TEST

START_TEST(the_first_of_two_counts)
{
	char first[] = "READER_STORE=s3", second[] = "READER_STORE=file";
	char *env[] = {first, second, NULL};

	ck_assert_int_eq(
		config_load(rows, N_ROWS, prefixes, env, &settings, &err), 0);
	ck_assert_int_eq(settings.store, 2);
}
END_TEST

static const struct {
	const char *text;
	uint64_t bytes;
} sizes[] = {
	{"1024", 1024},	    {"1K", 1024},      {"1k", 1024},
	{"3KiB", 3 * 1024}, {"2M", 2 << 20},   {"2mib", 2 << 20},
	{"1G", 1 << 30},    {"1GiB", 1 << 30}, {"1073741824", 1 << 30},
	{"01024", 1024},
};

START_TEST(a_size_is_in_powers_of_1024)
{
	char variable[64];

	snprintf(variable, sizeof(variable), "READER_BUFFER_SIZE=%s",
		 sizes[_i].text);
	ck_assert_msg(load(variable) == 0, "%s", err.text);
	ck_assert_uint_eq(settings.buffer, sizes[_i].bytes);
}
END_TEST

static const char *const bad_sizes[] = {
	"12x",
	"1023",
	"1025M",
	"2G",
	"1T",
	"K",
	"1KB",
	"1 K",
	" 1K",
	"1K ",
	"-1K",
	"+1K",
	"1.5K",
	"0x10",
	"1e6",
	"1Ki",
	"1KiBs",
	"1BK",
	"18446744073709551616",
	"18014398509481985K",
	"16777217T",
};

START_TEST(a_size_that_is_none_is_refused)
{
	char variable[64], text[200];

	snprintf(variable, sizeof(variable), "READER_BUFFER_SIZE=%s",
		 bad_sizes[_i]);
	snprintf(text, sizeof(text),
		 "READER_BUFFER_SIZE=\"%s\": a size of 1024 to 1073741824 "
		 "bytes is allowed",
		 bad_sizes[_i]);
	expect_refused(variable, text);
}
END_TEST

static const char *const bad_numbers[] = {
	"0",
	"1001",
	"-1",
	"+1",
	"1 ",
	" 1",
	"1K",
	"ten",
	"0x1",
	"18446744073709551617",
	"99999999999999999999999999",
};

START_TEST(a_number_out_of_range_is_refused)
{
	char variable[64], text[200];

	snprintf(variable, sizeof(variable), "READER_MAX_UPLOADS=%s",
		 bad_numbers[_i]);
	snprintf(text, sizeof(text),
		 "READER_MAX_UPLOADS=\"%s\": a number of 1 to 1000 is allowed",
		 bad_numbers[_i]);
	expect_refused(variable, text);
}
END_TEST

START_TEST(all_words_for_yes_and_no_are_known)
{
	static const char *const yes[] = {"true", "1", "yes", "on", "TRUE"};
	static const char *const no[] = {"false", "0", "no", "off", "Off"};
	char variable[64];

	for (int i = 0; i < 5; i++) {
		snprintf(variable, 64, "READER_VERBOSE=%s", yes[i]);
		ck_assert_int_eq(load(variable), 0);
		ck_assert(settings.verbose);
		snprintf(variable, 64, "READER_VERBOSE=%s", no[i]);
		ck_assert_int_eq(load(variable), 0);
		ck_assert(!settings.verbose);
	}
	expect_refused("READER_VERBOSE=2",
		       "READER_VERBOSE=\"2\": true, false, 1, 0, yes, no, on "
		       "or off is allowed");
}
END_TEST

START_TEST(a_wrong_choice_names_the_right_ones)
{
	expect_refused("READER_STORE=S3", "READER_STORE=\"S3\": file, exec or "
					  "s3 is allowed");
}
END_TEST

START_TEST(a_string_has_its_bound)
{
	ck_assert_int_eq(load("READER_FILE_DIR=123456789012345"), 0);
	expect_refused("READER_FILE_DIR=1234567890123456",
		       "READER_FILE_DIR=\"1234567890123456\": at most 15 "
		       "bytes, no control characters, are allowed");
}
END_TEST

START_TEST(control_characters_are_neither_taken_nor_repeated)
{
	expect_refused("READER_FILE_DIR=a\nb\x7f",
		       "READER_FILE_DIR=\"a?b?\": at most 15 bytes, no "
		       "control characters, are allowed");
	ck_assert_int_eq(load("READER_FILE_DIR=\xc3\xa4"), 0);
}
END_TEST

START_TEST(a_check_says_what_is_allowed)
{
	expect_refused("READER_EVEN=abc",
		       "READER_EVEN=\"abc\": an even number of characters is "
		       "allowed");
}
END_TEST

START_TEST(a_secret_is_never_repeated)
{
	ck_assert_int_eq(load("READER_TOKEN=hunter2"), 0);
	ck_assert_str_eq(settings.token, "hunter2");
	ck_assert_int_eq(load("READER_TOKEN=hunter2hunter2hunter2"), -1);
	ck_assert_ptr_null(strstr(err.text, "hunter2"));
	ck_assert_ptr_nonnull(strstr(err.text, "READER_TOKEN"));
	ck_assert_int_eq(load("READER_TOKN=hunter2"), -1);
	ck_assert_ptr_null(strstr(err.text, "hunter2"));
}
END_TEST

#define X10 "xxxxxxxxxx"
#define X60 X10 X10 X10 X10 X10 X10

START_TEST(a_long_value_is_cut_in_the_message)
{
	char variable[300] = "READER_STORE=";

	memset(variable + 13, 'x', 200);
	variable[213] = '\0';
	ck_assert_int_eq(load(variable), -1);
	ck_assert_ptr_nonnull(strstr(err.text,
				     "=\"" X60 "...\": file, exec or s3 is "
				     "allowed"));
}
END_TEST

START_TEST(an_unknown_name_suggests_the_nearest)
{
	expect_refused("READER_BUFER_SIZE=1K",
		       "READER_BUFER_SIZE is not a setting, did you mean "
		       "READER_BUFFER_SIZE?; --help lists all");
	ck_assert_int_eq(load("READER_STROE=s3"), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "mean READER_STORE?"));
	ck_assert_int_eq(load("READER_MAX_UPLOAD=3"), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "mean READER_MAX_UPLOADS?"));
	ck_assert_int_eq(load("READER_FILES_DIR"), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "mean READER_FILE_DIR?"));
}
END_TEST

START_TEST(a_very_long_unknown_name_is_cut)
{
	char variable[300] = "READER_";

	memset(variable + 7, 'X', 200);
	ck_assert_int_eq(load(variable), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "XXX... is not a setting;"));
}
END_TEST

START_TEST(names_under_other_prefixes_are_not_ours)
{
	ck_assert_int_eq(load("BROADCASTER_NONSENSE=1"), 0);
	ck_assert_int_eq(load("READE_R=1"), 0);
	ck_assert_int_eq(load("=READER_X"), 0);
}
END_TEST

START_TEST(a_flag_sets_one_variable)
{
	ck_assert_int_eq(load(NULL), 0);
	ck_assert_int_eq(config_set(rows, N_ROWS, "READER_STORE", "file",
				    &settings, &err),
			 0);
	ck_assert_int_eq(settings.store, 0);
	ck_assert_uint_eq(settings.uploads, 64);
	ck_assert_int_eq(config_set(rows, N_ROWS, "READER_STOR", "file",
				    &settings, &err),
			 -1);
	ck_assert_ptr_nonnull(strstr(err.text, "mean READER_STORE?"));
}
END_TEST

static const char expected_help[] =
	"  READER_FILE_DIR     /srv\n"
	"      The folder for objects.\n"
	"  READER_TOKEN        (none)\n"
	"      What clients must present.\n"
	"  READER_MAX_UPLOADS  64  (1 to 1000)\n"
	"      How many uploads run at the same time.\n"
	"  READER_BUFFER_SIZE  256K  (1K to 1G)\n"
	"      Memory of each upload. A long sentence that has to be wrapped "
	"because it\n"
	"      is wider than the eighty columns of a terminal.\n"
	"  READER_VERBOSE      no  (true or false)\n"
	"      Say more.\n"
	"  READER_STORE        exec  (file, exec or s3)\n"
	"      Where objects go.\n"
	"  READER_EVEN         (none)\n"
	"      Something of even length.\n";

static char *print_help(const struct config_row *table, size_t n)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	config_help(table, n, out);
	fclose(out);
	return text;
}

START_TEST(help_is_aligned_and_wrapped)
{
	char *text = print_help(rows, N_ROWS);

	ck_assert_str_eq(text, expected_help);
	free(text);
}
END_TEST

START_TEST(help_never_shows_a_secret)
{
	struct config_row row = rows[1];
	char *text;

	row.fallback = "hunter2";
	text = print_help(&row, 1);
	ck_assert_str_eq(text, "  READER_TOKEN  (secret)\n"
			       "      What clients must present.\n");
	free(text);
}
END_TEST

START_TEST(help_puts_what_is_too_wide_on_its_own_line)
{
	static const char *const many[] = {
		"alpha",   "bravo", "charlie", "delta", "echo",
		"foxtrot", "golf",  "hotel",   "india", NULL};
	struct config_row row = rows[5];
	char *text;

	row.choices = many;
	text = print_help(&row, 1);
	ck_assert_ptr_nonnull(strstr(text, "exec\n      (alpha, bravo, "));
	free(text);
}
END_TEST

START_TEST(a_default_that_is_refused_is_a_bug)
{
	struct config_row row = rows[2];
	char *none = NULL;
	int status;

	row.fallback = "0";
	status = config_load(&row, 1, prefixes, &none, &settings, &err);
	ck_abort_msg("returned %d", status);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, without_an_environment_all_is_at_its_default);
	tcase_add_test(tc, a_value_replaces_the_default);
	tcase_add_test(tc, an_empty_value_counts_as_not_set);
	tcase_add_test(tc, the_first_of_two_counts);
	tcase_add_loop_test(tc, a_size_is_in_powers_of_1024, 0,
			    sizeof(sizes) / sizeof(*sizes));
	tcase_add_loop_test(tc, a_size_that_is_none_is_refused, 0,
			    sizeof(bad_sizes) / sizeof(*bad_sizes));
	tcase_add_loop_test(tc, a_number_out_of_range_is_refused, 0,
			    sizeof(bad_numbers) / sizeof(*bad_numbers));
	tcase_add_test(tc, all_words_for_yes_and_no_are_known);
	tcase_add_test(tc, a_wrong_choice_names_the_right_ones);
	tcase_add_test(tc, a_string_has_its_bound);
	tcase_add_test(tc, control_characters_are_neither_taken_nor_repeated);
	tcase_add_test(tc, a_check_says_what_is_allowed);
	tcase_add_test(tc, a_secret_is_never_repeated);
	tcase_add_test(tc, a_long_value_is_cut_in_the_message);
	tcase_add_test(tc, an_unknown_name_suggests_the_nearest);
	tcase_add_test(tc, a_very_long_unknown_name_is_cut);
	tcase_add_test(tc, names_under_other_prefixes_are_not_ours);
	tcase_add_test(tc, a_flag_sets_one_variable);
	tcase_add_test(tc, help_is_aligned_and_wrapped);
	tcase_add_test(tc, help_never_shows_a_secret);
	tcase_add_test(tc, help_puts_what_is_too_wide_on_its_own_line);
	tcase_add_test_raise_signal(tc, a_default_that_is_refused_is_a_bug,
				    SIGABRT);
}

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tc = tcase_create("config");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
