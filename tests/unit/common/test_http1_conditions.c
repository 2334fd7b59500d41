#include "common/http1.h"

#include <check.h>
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
	/* what is no date is no condition */
	{ NULL, NULL, "yesterday", NULL, 0 },
	{ NULL, NULL, "", NULL, 0 },
	{ NULL, NULL, NULL, "yesterday", 0 },
};

static struct http1_conditions conditions_of(const struct condition_case *c)
{
	const char *const texts[] = { c->match, c->none_match,
				      c->modified_since, c->unmodified_since };
	struct span spans[N(texts)];

	for (size_t i = 0; i < N(texts); i++)
		spans[i] = texts[i] ? span_of(texts[i]) : span_make(NULL, 0);
	return (struct http1_conditions){ spans[0], spans[1], spans[2],
					  spans[3] };
}

START_TEST(preconditions_are_checked_in_their_order)
{
	struct http1_conditions c = conditions_of(&condition_cases[_i]);

	ck_assert_int_eq(http1_check_conditions(&c, "\"a\"", MODIFIED_MS),
			 condition_cases[_i].status);
}
END_TEST

START_TEST(dates_do_not_count_for_what_has_none)
{
	struct http1_conditions c = {
		.modified_since = SPAN_LIT(AFTER),
		.unmodified_since = SPAN_LIT(BEFORE),
	};

	ck_assert_int_eq(http1_check_conditions(&c, "\"a\"", 0), 0);
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
	tcase_add_test(tc, dates_do_not_count_for_what_has_none);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
