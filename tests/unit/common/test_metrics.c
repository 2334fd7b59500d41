#include "common/metrics.h"

#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char *text;

static void forget(void)
{
	free(text);
	text = NULL;
	metrics_exit();
}

static const char *render(void)
{
	size_t len;

	free(text);
	text = metrics_render(&len);
	ck_assert_ptr_nonnull(text);
	ck_assert_uint_eq(len, strlen(text));
	return text;
}

static void expect(const char *part)
{
	render();
	ck_assert_msg(strstr(text, part) != NULL, "no\n%s\nin\n%s", part, text);
}

START_TEST(a_counter_starts_at_0_and_adds)
{
	struct metric *m = metrics_counter("bytes_total", "Bytes.", NULL, NULL);

	ck_assert_int_eq(metric_value(m), 0);
	metric_add(m, 3);
	metric_add(m, INT64_C(5000000000));
	ck_assert_int_eq(metric_value(m), INT64_C(5000000003));
	expect("# HELP bytes_total Bytes.\n# TYPE bytes_total counter\n"
	       "bytes_total 5000000003\n");
}
END_TEST

START_TEST(a_gauge_goes_up_and_down)
{
	struct metric *m = metrics_gauge("uploads", "Uploads.", NULL, NULL);

	metric_add(m, 2);
	metric_add(m, -3);
	expect("# TYPE uploads gauge\nuploads -1\n");
	metric_set(m, 7);
	expect("\nuploads 7\n");
}
END_TEST

START_TEST(the_same_series_is_found_again)
{
	struct metric *a = metrics_counter("a_total", "A.", "target", "x");

	ck_assert_ptr_eq(metrics_counter("a_total", "A.", "target", "x"), a);
	ck_assert_ptr_ne(metrics_counter("a_total", "A.", "target", "y"), a);
	ck_assert_ptr_ne(metrics_counter("b_total", "B.", "target", "x"), a);
}
END_TEST

START_TEST(a_family_has_one_head_and_its_series_in_order)
{
	metric_add(metrics_counter("a_total", "A.", "target", "z"), 1);
	metrics_gauge("b", "B.", NULL, NULL);
	metrics_counter("a_total", "A.", "target", "y");
	expect("# HELP a_total A.\n"
	       "# TYPE a_total counter\n"
	       "a_total{target=\"z\"} 1\n"
	       "a_total{target=\"y\"} 0\n"
	       "# HELP b B.\n"
	       "# TYPE b gauge\n"
	       "b 0\n");
}
END_TEST

START_TEST(labels_and_help_are_escaped)
{
	metrics_gauge("a", "A \"b\" \\ c\nd", "target", "x\"\\\ny\xffz\xca");
	expect("# HELP a A \"b\" \\\\ c\\nd\n");
	expect("a{target=\"x\\\"\\\\\\ny\xef\xbf\xbdz\xef\xbf\xbd\"} 0\n");
}
END_TEST

static const double bounds[] = {0.005, 0.1, 2.5};

START_TEST(a_histogram_counts_below_each_bound)
{
	static const uint64_t ms[] = {0, 5, 6, 100, 2500, 2501, 90000};
	struct metric *m =
		metrics_histogram("t_seconds", "T.", NULL, NULL, bounds, 3);

	for (size_t i = 0; i < sizeof(ms) / sizeof(*ms); i++)
		metric_observe_ms(m, ms[i]);
	expect("# TYPE t_seconds histogram\n"
	       "t_seconds_bucket{le=\"0.005\"} 2\n"
	       "t_seconds_bucket{le=\"0.1\"} 4\n"
	       "t_seconds_bucket{le=\"2.5\"} 5\n"
	       "t_seconds_bucket{le=\"+Inf\"} 7\n"
	       "t_seconds_sum 95.112\n"
	       "t_seconds_count 7\n");
}
END_TEST

START_TEST(a_histogram_keeps_its_label_in_every_line)
{
	metric_observe_ms(
		metrics_histogram("t_seconds", "T.", "target", "x", bounds, 1),
		1050);
	expect("t_seconds_bucket{target=\"x\",le=\"0.005\"} 0\n"
	       "t_seconds_bucket{target=\"x\",le=\"+Inf\"} 1\n"
	       "t_seconds_sum{target=\"x\"} 1.050\n"
	       "t_seconds_count{target=\"x\"} 1\n");
}
END_TEST

START_TEST(bounds_are_copied)
{
	double mine[] = {1, 2};
	struct metric *m =
		metrics_histogram("t_seconds", "T.", NULL, NULL, mine, 2);

	mine[0] = 99;
	metric_observe_ms(m, 500);
	expect("t_seconds_bucket{le=\"1\"} 1\n");
}
END_TEST

static double value_of(const char *name)
{
	char key[80];
	const char *at;

	snprintf(key, sizeof(key), "\n%s ", name);
	at = strstr(render(), key);
	ck_assert_msg(at != NULL, "no %s in\n%s", name, text);
	return strtod(at + strlen(key), NULL);
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

START_TEST(open_file_descriptors_are_counted)
{
	int fd;

	ck_assert_double_eq(value_of("process_open_fds"), count_fds());
	fd = dup(0);
	ck_assert_double_eq(value_of("process_open_fds"), count_fds());
	close(fd);
}
END_TEST

START_TEST(the_process_tells_of_itself)
{
	double now = (double)time(NULL);
	ck_assert_double_gt(value_of("process_resident_memory_bytes"), 100e3);
	ck_assert_double_ge(value_of("process_cpu_seconds_total"), 0);
	ck_assert_double_lt(value_of("process_start_time_seconds"), now + 3);
	ck_assert_double_gt(value_of("process_start_time_seconds"), now - 600);
}
END_TEST

START_TEST(after_exit_nothing_is_left)
{
	metrics_gauge("gone", "Gone.", NULL, NULL);
	metrics_exit();
	ck_assert_ptr_null(strstr(render(), "gone"));
	metric_add(metrics_gauge("gone", "Back.", NULL, NULL), 1);
	expect("# HELP gone Back.\n# TYPE gone gauge\ngone 1\n");
}
END_TEST

#define ADDS 20000

static void *add_many(void *arg)
{
	for (int i = 0; i < ADDS; i++) {
		metric_add(arg, 1);
		metric_observe_ms(metrics_histogram("t_seconds", "T.", NULL,
						    NULL, bounds, 3),
				  50);
	}
	return NULL;
}

START_TEST(threads_add_while_another_renders)
{
	struct metric *m = metrics_counter("a_total", "A.", NULL, NULL);
	pthread_t threads[3];

	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, add_many, m);
	for (int i = 0; i < 50; i++)
		render();
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(metric_value(m), 3 * ADDS);
	expect("t_seconds_count 60000\n");
}
END_TEST

START_TEST(a_counter_never_goes_down)
{
	metric_add(metrics_counter("a_total", "A.", NULL, NULL), -1);
}
END_TEST

START_TEST(a_counter_ends_in_total)
{
	metrics_counter("a", "A.", NULL, NULL);
}
END_TEST

START_TEST(a_family_has_one_type)
{
	metrics_counter("a_total", "A.", NULL, NULL);
	metrics_gauge("a_total", "A.", NULL, NULL);
}
END_TEST

START_TEST(a_name_is_lower_case_without_spaces)
{
	metrics_gauge("a b", "A.", NULL, NULL);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, a_counter_starts_at_0_and_adds);
	tcase_add_test(tc, a_gauge_goes_up_and_down);
	tcase_add_test(tc, the_same_series_is_found_again);
	tcase_add_test(tc, a_family_has_one_head_and_its_series_in_order);
	tcase_add_test(tc, labels_and_help_are_escaped);
	tcase_add_test(tc, a_histogram_counts_below_each_bound);
	tcase_add_test(tc, a_histogram_keeps_its_label_in_every_line);
	tcase_add_test(tc, bounds_are_copied);
	tcase_add_test(tc, open_file_descriptors_are_counted);
	tcase_add_test(tc, the_process_tells_of_itself);
	tcase_add_test(tc, after_exit_nothing_is_left);
	tcase_add_test(tc, threads_add_while_another_renders);
	tcase_add_test_raise_signal(tc, a_counter_never_goes_down, SIGABRT);
	tcase_add_test_raise_signal(tc, a_counter_ends_in_total, SIGABRT);
	tcase_add_test_raise_signal(tc, a_family_has_one_type, SIGABRT);
	tcase_add_test_raise_signal(tc, a_name_is_lower_case_without_spaces,
				    SIGABRT);
}

int main(void)
{
	Suite *suite = suite_create("metrics");
	TCase *tc = tcase_create("metrics");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, NULL, forget);
	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
