#include "common/http1.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* ---- entity tags (RFC 9110, 8.8.3) --------------------------------------- */

static void expect_tags(const char *const *lists, size_t n, bool match)
{
	for (size_t i = 0; i < n; i++) {
		struct span list = span_of(lists[i]);

		ck_assert_msg(http1_etag_matches(list, "\"a\"") == match, "%s",
			      lists[i]);
		ck_assert_msg(http1_etag_matches(list, "W/\"a\"") == match,
			      "%s", lists[i]);
	}
}

START_TEST(an_entity_tag_is_found_by_weak_comparison)
{
	static const char *const lists[] = {
		"\"a\"", "W/\"a\"", " \"a\" ", "\"b\", \"a\"", "\"b\",\"a\"",
		"\"b,c\" , W/\"a\", \"d\"", ",,\"a\"", "\"a\",", "\"\",\"a\"",
	};

	expect_tags(lists, N(lists), true);
}
END_TEST

START_TEST(a_weak_entity_tag_is_never_strongly_equal)
{
	ck_assert(http1_etag_matches_strongly(SPAN_LIT("\"b\", \"a\""), "\"a\""));
	ck_assert(http1_etag_matches_strongly(SPAN_LIT("W/\"a\", \"a\""),
					      "\"a\""));
	ck_assert(http1_etag_matches_strongly(SPAN_LIT("*"), "W/\"a\""));
	ck_assert(!http1_etag_matches_strongly(SPAN_LIT("W/\"a\""), "\"a\""));
	ck_assert(!http1_etag_matches_strongly(SPAN_LIT("\"a\""), "W/\"a\""));
	ck_assert(!http1_etag_matches_strongly(SPAN_LIT("W/\"a\""), "W/\"a\""));
}
END_TEST

START_TEST(a_star_matches_any_entity_tag)
{
	static const char *const stars[] = {"*", " * "};
	static const char *const others[] = {"\"*\"", "**", "*, \"b\"",
					     "\"b\", *"};

	expect_tags(stars, N(stars), true);
	expect_tags(others, N(others), false);
}
END_TEST

START_TEST(another_entity_tag_does_not_match)
{
	static const char *const lists[] = {
		"", ",", "\"b\"", "\"A\"", "\"aa\"", "\"\"", "\"b,a\"",
		"\"b\\\"a\"", "\"b \"a\"",
	};

	expect_tags(lists, N(lists), false);
}
END_TEST

START_TEST(a_malformed_list_of_entity_tags_does_not_match)
{
	static const char *const lists[] = {
		"a", "\"a", "a\"", "w/\"a\"", "W/a", "W\"a\"", "\"b\" \"a\"",
		"\"a\"b", "b, \"a\"", "'a'",
	};

	expect_tags(lists, N(lists), false);
	ck_assert(!http1_etag_matches(span_make(NULL, 0), "\"a\""));
}
END_TEST

/* ---- preconditions (RFC 9110, 13.2.2) ------------------------------------ */

/* Of content "a", modified at 08:49:37.5 on the sixth. */
#define MODIFIED_MS UINT64_C(784111777500)
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define THEN "Sun, 06 Nov 1994 08:49:37 GMT"
#define AFTER "Sun, 06 Nov 1994 08:49:38 GMT"

static const struct condition_case {
	const char *match, *none_match, *modified_since, *unmodified_since;
	int status;
} condition_cases[] = {
	{ NULL, NULL, NULL, NULL, 0 },
	{ "\"a\"", NULL, NULL, NULL, 0 },
	{ "\"b\"", NULL, NULL, NULL, 412 },
	{ "W/\"a\"", NULL, NULL, NULL, 412 },
	{ NULL, "\"a\"", NULL, NULL, 304 },
	{ NULL, "W/\"a\"", NULL, NULL, 304 },
	{ NULL, "\"b\"", NULL, NULL, 0 },
	{ "\"a\"", "\"a\"", NULL, NULL, 304 },
	{ "\"b\"", "\"a\"", NULL, NULL, 412 },
	{ NULL, NULL, BEFORE, NULL, 0 },
	{ NULL, NULL, THEN, NULL, 304 },
	{ NULL, NULL, AFTER, NULL, 304 },
	{ NULL, NULL, NULL, BEFORE, 412 },
	{ NULL, NULL, NULL, THEN, 0 },
	{ NULL, NULL, NULL, AFTER, 0 },
	/* the entity tag goes first, and its date does not count */
	{ "\"a\"", NULL, NULL, BEFORE, 0 },
	{ NULL, "\"b\"", AFTER, NULL, 0 },
	/* unmodified-since, then modified-since */
	{ NULL, NULL, AFTER, BEFORE, 412 },
	{ NULL, NULL, THEN, THEN, 304 },
	/* the obsolete forms of dates (5.6.7) */
	{ NULL, NULL, "Sunday, 06-Nov-94 08:49:37 GMT", NULL, 304 },
	{ NULL, NULL, "Sun Nov  6 08:49:37 1994", NULL, 304 },
	{ NULL, NULL, "Sun Nov  6 08:49:36 1994", NULL, 0 },
	/* long ago */
	{ NULL, NULL, "Wed, 31 Dec 1969 23:59:59 GMT", NULL, 0 },
	{ NULL, NULL, NULL, "Wed, 31 Dec 1969 23:59:59 GMT", 412 },
	/* what is no date is no condition */
	{ NULL, NULL, "yesterday", NULL, 0 },
	{ NULL, NULL, "", NULL, 0 },
	{ NULL, NULL, NULL, "yesterday", 0 },
};

/* The preconditions in these lines of a head. */
static struct http1_conditions read_conditions(const char *lines)
{
	static struct http1_head head;
	static char text[1024];
	struct err err = ERR_INIT;
	int len = snprintf(text, sizeof(text),
			   "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", lines);

	http1_head_init(&head);
	ck_assert_msg(http1_parse_request(&head, text, (size_t)len, &err) ==
			      HTTP1_DONE, "%s", err.text);
	return (struct http1_conditions){ &head, text };
}

static int check_lines(const char *lines)
{
	struct http1_conditions c = read_conditions(lines);

	return http1_check_conditions(&c, "\"a\"", MODIFIED_MS);
}

static size_t add_line(char *text, size_t size, const char *name,
		       const char *value)
{
	return value ? (size_t)snprintf(text, size, "%s: %s\r\n", name, value)
		     : 0;
}

START_TEST(preconditions_are_checked_in_their_order)
{
	const struct condition_case *c = &condition_cases[_i];
	char text[512] = "";
	size_t n = 0;

	n += add_line(text + n, sizeof(text) - n, "If-Match", c->match);
	n += add_line(text + n, sizeof(text) - n, "If-None-Match",
		      c->none_match);
	n += add_line(text + n, sizeof(text) - n, "If-Modified-Since",
		      c->modified_since);
	n += add_line(text + n, sizeof(text) - n, "If-Unmodified-Since",
		      c->unmodified_since);
	ck_assert_int_eq(check_lines(text), c->status);
}
END_TEST

#define MATCH(tags) "If-Match: " tags "\r\n"
#define NONE_MATCH(tags) "If-None-Match: " tags "\r\n"

/* RFC 9110, 5.3: as if they were one, with commas between. */
static const struct {
	const char *lines;
	int status;
} line_cases[] = {
	{ MATCH("\"b\"") MATCH("\"a\""), 0 },
	{ MATCH("\"b\"") "X: y\r\n" MATCH("") MATCH("\"c\", \"a\""), 0 },
	{ MATCH("\"b\"") MATCH("\"c\""), 412 },
	{ MATCH("\"b\"") MATCH("W/\"a\""), 412 },
	{ NONE_MATCH("\"b\"") NONE_MATCH("\"a\""), 304 },
	{ NONE_MATCH("\"b\"") "if-none-match: W/\"a\"\r\n", 304 },
	{ NONE_MATCH("\"b\"") NONE_MATCH("\"c\""), 0 },
	/* a star stands alone, and nothing counts behind what is malformed */
	{ MATCH("*") MATCH("\"b\""), 412 },
	{ MATCH("\"b\"") MATCH("*"), 412 },
	{ MATCH("b") MATCH("\"a\""), 412 },
	{ MATCH("\"a") MATCH("a\""), 412 },
	/* dates are no lists */
	{ "If-Modified-Since: " BEFORE "\r\nIf-Modified-Since: " THEN "\r\n",
	  0 },
};

START_TEST(all_lines_of_a_list_count)
{
	ck_assert_int_eq(check_lines(line_cases[_i].lines),
			 line_cases[_i].status);
}
END_TEST

static const struct {
	const char *lines;
	bool is_there, is_allowed;
} change_cases[] = {
	{ "", true, true },
	{ "", false, true },
	{ MATCH("\"a\""), true, true },
	{ MATCH("\"b\"") MATCH("\"a\""), true, true },
	{ MATCH("\"b\""), true, false },
	{ MATCH("W/\"a\""), true, false },
	{ MATCH("\"a\""), false, false },
	{ MATCH("*"), true, true },
	{ MATCH("*"), false, false },
	{ NONE_MATCH("\"b\""), true, true },
	{ NONE_MATCH("\"a\""), true, false },
	{ NONE_MATCH("*"), true, false },
	{ NONE_MATCH("*"), false, true },
	{ "If-Unmodified-Since: " THEN "\r\n", true, true },
	{ "If-Unmodified-Since: " BEFORE "\r\n", true, false },
	{ "If-Unmodified-Since: " BEFORE "\r\n", false, true },
	{ MATCH("\"a\"") "If-Unmodified-Since: " BEFORE "\r\n", true, true },
	{ "If-Modified-Since: " AFTER "\r\n", true, true },
};

START_TEST(a_change_is_let_pass_by_its_preconditions)
{
	struct http1_conditions c = read_conditions(change_cases[_i].lines);
	const char *etag = change_cases[_i].is_there ? "\"a\"" : NULL;

	ck_assert_int_eq(http1_may_change(&c, etag, MODIFIED_MS),
			 change_cases[_i].is_allowed);
}
END_TEST

START_TEST(a_change_is_conditional_by_three_fields)
{
	struct http1_conditions c = read_conditions(MATCH("*"));

	ck_assert(http1_is_conditional_change(&c));
	c = read_conditions(NONE_MATCH("*"));
	ck_assert(http1_is_conditional_change(&c));
	c = read_conditions("If-Unmodified-Since: " THEN "\r\n");
	ck_assert(http1_is_conditional_change(&c));
	c = read_conditions("If-Modified-Since: " THEN "\r\n"
			    "If-Range: \"a\"\r\n");
	ck_assert(!http1_is_conditional_change(&c));
}
END_TEST

START_TEST(dates_do_not_count_for_what_has_none)
{
	struct http1_conditions c = read_conditions(
		"If-Modified-Since: " AFTER "\r\n"
		"If-Unmodified-Since: " BEFORE "\r\n");

	ck_assert_int_eq(http1_check_conditions(&c, "\"a\"", 0), 0);
}
END_TEST

START_TEST(without_a_head_there_are_no_preconditions)
{
	struct http1_conditions none = { .head = NULL };

	ck_assert_int_eq(http1_check_conditions(&none, "\"a\"", MODIFIED_MS),
			 0);
}
END_TEST

/* ---- the suite ----------------------------------------------------------- */

int main(void)
{
	Suite *suite = suite_create("http1 conditions");
	TCase *tc = tcase_create("conditions");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_test(tc, an_entity_tag_is_found_by_weak_comparison);
	tcase_add_test(tc, a_weak_entity_tag_is_never_strongly_equal);
	tcase_add_test(tc, a_star_matches_any_entity_tag);
	tcase_add_test(tc, another_entity_tag_does_not_match);
	tcase_add_test(tc, a_malformed_list_of_entity_tags_does_not_match);
	tcase_add_loop_test(tc, preconditions_are_checked_in_their_order, 0,
			    (int)N(condition_cases));
	tcase_add_loop_test(tc, all_lines_of_a_list_count, 0,
			    (int)N(line_cases));
	tcase_add_loop_test(tc, a_change_is_let_pass_by_its_preconditions, 0,
			    (int)N(change_cases));
	tcase_add_test(tc, a_change_is_conditional_by_three_fields);
	tcase_add_test(tc, dates_do_not_count_for_what_has_none);
	tcase_add_test(tc, without_a_head_there_are_no_preconditions);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
