#include "broadcaster/ticket.h"

#include <check.h>
#include <stdlib.h>

#define ID "0190a000-0000-7000-8000-000000000001"
#define OTHER "0190a000-0000-7000-8000-000000000002"
#define HOUR_MS UINT64_C(3600000)
#define NOW_MS (500000 * HOUR_MS)

static char ticket[TICKET_SIZE];

static bool is_valid(const char *token, const char *id, uint64_t wall_ms)
{
	return ticket_is_valid(token, span_of(id), wall_ms, span_of(ticket));
}

START_TEST(a_ticket_is_good_for_its_object_only)
{
	ticket_write("secret", ID, NOW_MS, ticket);
	ck_assert(is_valid("secret", ID, NOW_MS));
	ck_assert(!is_valid("secret", OTHER, NOW_MS));
	ck_assert(!is_valid("secret", "", NOW_MS));
}
END_TEST

START_TEST(another_token_knows_nothing_of_it)
{
	ticket_write("secret", ID, NOW_MS, ticket);
	ck_assert(!is_valid("Secret", ID, NOW_MS));
}
END_TEST

START_TEST(a_ticket_expires)
{
	ticket_write("secret", ID, NOW_MS + HOUR_MS - 1, ticket);
	ck_assert(is_valid("secret", ID, NOW_MS + 13 * HOUR_MS - 1));
	ck_assert(!is_valid("secret", ID, NOW_MS + 13 * HOUR_MS));
}
END_TEST

START_TEST(a_ticket_stays_the_same_for_an_hour)
{
	char later[TICKET_SIZE];

	ticket_write("secret", ID, NOW_MS, ticket);
	ticket_write("secret", ID, NOW_MS + HOUR_MS - 1, later);
	ck_assert_str_eq(ticket, later);
	ticket_write("secret", ID, NOW_MS + HOUR_MS, later);
	ck_assert_str_ne(ticket, later);
}
END_TEST

START_TEST(a_changed_ticket_is_none)
{
	size_t len;

	ticket_write("secret", ID, NOW_MS, ticket);
	len = strlen(ticket);
	for (size_t i = 0; i < len; i++) {
		char before = ticket[i];

		ticket[i] = before == '1' ? '2' : '1';
		ck_assert_msg(!is_valid("secret", ID, NOW_MS), "%s", ticket);
		ticket[i] = '\0';
		ck_assert_msg(!is_valid("secret", ID, NOW_MS), "%s", ticket);
		ticket[i] = before;
	}
	ck_assert(is_valid("secret", ID, NOW_MS));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ticket");
	TCase *tc = tcase_create("ticket");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, a_ticket_is_good_for_its_object_only);
	tcase_add_test(tc, another_token_knows_nothing_of_it);
	tcase_add_test(tc, a_ticket_expires);
	tcase_add_test(tc, a_ticket_stays_the_same_for_an_hour);
	tcase_add_test(tc, a_changed_ticket_is_none);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
