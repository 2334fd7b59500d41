/* The store that is a program: what its output, status and manners mean. */
#include "tests/unit/reader/store_fixture.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#define LONG_BYTES ((size_t)1 << 20) /* more than a pipe holds */

static char *content;
static const char *self;

static void make_all(void)
{
	make_loop();
	content = make_content(LONG_BYTES);
	setenv("SCRATCH", scratch, 1);
}

static void drop_all(void)
{
	drop_loop();
	free(content);
}

static void use_command(const char *command)
{
	snprintf(settings.exec_command, sizeof(settings.exec_command), "%s",
		 command);
	MUST(open_store("exec"));
}

/* The text of a file the program wrote, "" without one. */
static const char *read_file(const char *name)
{
	static char text[4096];
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", scratch, name);
	file = fopen(path, "r");
	text[file ? fread(text, 1, sizeof(text) - 1, file) : 0] = '\0';
	if (file)
		fclose(file);
	return text;
}

/* Until a file is there; the program makes it when it has come so far. */
static void await_file(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", scratch, name);
	while (access(path, F_OK) < 0)
		sched_yield();
}

/* Does it answer a signal? A zombie of somebody else's does. */
static bool is_alive(pid_t pid)
{
	char path[64], state = 'Z';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "r");
	if (!file)
		return false;
	if (fscanf(file, "%*d %*s %c", &state) != 1)
		state = 'Z';
	fclose(file);
	return state != 'Z';
}

static bool has_children(void)
{
	return waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD;
}

/* ---- the program's answer ------------------------------------------------ */

START_TEST(the_program_reads_every_byte)
{
	char hex[DIGEST_HEX_SIZE];
	struct sink *sink;

	use_command("sha256sum >$SCRATCH/sum");
	sink = open_sink(1);
	MUST(write_bytes(sink, content, LONG_BYTES));
	MUST(write_text(sink, "end"));
	MUST(CALL(sink_stage, sink));
	snprintf(hex, sizeof(hex), "%s", read_file("sum"));
	ck_assert_str_eq(sink_object(sink)->sha256, hex);
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
	ck_assert(!has_children());
}
END_TEST

START_TEST(a_status_of_its_own_refuses_the_object)
{
	struct sink *sink;

	use_command("cat >/dev/null; echo scanning; echo 'virus found: EICAR' >&2; "
	    "echo; exit 3");
	sink = open_sink(1);
	MUST(write_text(sink, "content"));
	ck_assert_int_eq(CALL(sink_stage, sink), ERR_REFUSED);
	ck_assert_str_eq(last.text, "status 3: virus found: EICAR");
	ck_assert_int_eq(err_http_status(&last), 422);
	MUST(CALL(sink_abort, sink));
	ck_assert(!has_children());
}
END_TEST

START_TEST(a_refusal_without_words_is_one)
{
	struct sink *sink;

	use_command("cat >/dev/null; exit 1");
	sink = open_sink(1);
	ck_assert_int_eq(CALL(sink_stage, sink), ERR_REFUSED);
	ck_assert_str_eq(last.text, "status 1");
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(an_early_refusal_is_a_refusal)
{
	struct sink *sink;

	use_command("head -c 4 >/dev/null; echo bad magic; exit 2");
	sink = open_sink(1);
	ck_assert_int_eq(write_bytes(sink, content, LONG_BYTES), ERR_REFUSED);
	ck_assert_str_eq(last.text, "status 2: bad magic");
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(a_program_that_is_not_there_is_the_operators_fault)
{
	struct sink *sink;

	use_command("exec /no/such/program");
	sink = open_sink(1);
	ck_assert_int_eq(CALL(sink_stage, sink), ERR_STORE);
	ck_assert_ptr_nonnull(strstr(last.text, "status 127: "));
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(a_program_that_crashes_is_the_operators_fault)
{
	struct sink *sink;

	use_command("cat >/dev/null; kill -SEGV $$");
	sink = open_sink(1);
	ck_assert_int_eq(CALL(sink_stage, sink), ERR_STORE);
	ck_assert_str_eq(last.text,
			 "the program was ended by signal 11 "
			 "(Segmentation fault)");
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(no_command_is_a_wrong_setting)
{
	settings.exec_command[0] = '\0';
	ck_assert_int_eq(open_store("exec"), ERR_CONFIG);
}
END_TEST

/* ---- programs that do not read ------------------------------------------- */

START_TEST(success_before_a_long_object_ends_is_a_failure)
{
	struct sink *sink;

	use_command("exit 0");
	sink = open_sink(1);
	ck_assert_int_eq(write_bytes(sink, content, LONG_BYTES), ERR_STORE);
	ck_assert_str_eq(last.text,
			 "the program ended before reading everything");
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(success_that_leaves_bytes_in_the_pipe_is_a_failure)
{
	struct sink *sink;

	use_command("read line; exit 0");
	sink = open_sink(1);
	MUST(write_text(sink, "first line\nsecond line\n"));
	ck_assert_int_eq(CALL(sink_stage, sink), ERR_STORE);
	ck_assert_str_eq(last.text,
			 "the program ended before reading everything");
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(success_after_the_last_byte_needs_no_end_of_file)
{
	struct sink *sink;

	use_command("head -c 7 >$SCRATCH/head");
	sink = open_sink(1);
	MUST(write_text(sink, "content"));
	MUST(CALL(sink_stage, sink));
	ck_assert_str_eq(read_file("head"), "content");
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(bytes_after_the_program_ended_are_a_failure)
{
	struct sink *sink;

	use_command("echo $$ >$SCRATCH/tmp; mv $SCRATCH/tmp $SCRATCH/pid; "
	    "head -c 7 >/dev/null");
	sink = open_sink(1);
	MUST(write_text(sink, "content"));
	await_file("pid");
	while (is_alive(atoi(read_file("pid"))))
		sched_yield();
	ck_assert_int_eq(write_text(sink, "more"), ERR_STORE);
	ck_assert_str_eq(last.text,
			 "the program ended before reading everything");
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(a_program_that_stops_reading_is_killed)
{
	struct sink *sink;

	settings.exec_timeout_ms = 50;
	use_command("echo $$ >$SCRATCH/pid; kill -STOP $$");
	sink = open_sink(1);
	ck_assert_int_eq(write_bytes(sink, content, LONG_BYTES), ERR_STORE);
	ck_assert_str_eq(last.text, "the program read nothing for 50 ms");
	MUST(CALL(sink_abort, sink));
	ck_assert(!is_alive(atoi(read_file("pid"))));
	ck_assert(!has_children());
}
END_TEST

START_TEST(a_slow_reader_is_waited_for)
{
	struct sink *sink;

	/* longer in all than the time-out, but never without a byte as long */
	settings.exec_timeout_ms = 500;
	use_command("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do "
	    "head -c 65536 >/dev/null; sleep 0.08; done; cat >/dev/null");
	sink = open_sink(1);
	MUST(write_bytes(sink, content, LONG_BYTES));
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(a_program_that_does_not_end_is_killed_with_its_group)
{
	struct sink *sink;

	settings.exec_timeout_ms = 50;
	use_command("sleep 1000 & echo $! >$SCRATCH/pid; cat >/dev/null; wait");
	sink = open_sink(1);
	MUST(write_text(sink, "content"));
	await_file("pid");
	ck_assert_int_eq(CALL(sink_stage, sink), ERR_STORE);
	ck_assert_str_eq(last.text, "the program did not end within 50 ms");
	MUST(CALL(sink_abort, sink));
	while (is_alive(atoi(read_file("pid"))))
		sched_yield();
	ck_assert(!has_children());
}
END_TEST

/* ---- output -------------------------------------------------------------- */

START_TEST(a_chatterer_is_heard_out)
{
	struct sink *sink;

	use_command("head -c 3000000 /dev/zero | tr '\\0' x; cat >/dev/null; "
	    "head -c 3000000 /dev/zero | tr '\\0' y >&2; echo; echo last; "
	    "exit 9");
	sink = open_sink(1);
	MUST(write_bytes(sink, content, LONG_BYTES));
	ck_assert_int_eq(CALL(sink_stage, sink), ERR_REFUSED);
	ck_assert_str_eq(last.text, "status 9: last");
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(an_endless_line_is_cut)
{
	struct sink *sink;

	use_command("cat >/dev/null; head -c 5000 /dev/zero | tr '\\0' x; exit 9");
	sink = open_sink(1);
	ck_assert_int_eq(CALL(sink_stage, sink), ERR_REFUSED);
	ck_assert_uint_eq(strlen(last.text), sizeof(last.text) - 1);
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(control_characters_do_not_reach_the_error)
{
	struct sink *sink;

	use_command("cat >/dev/null; printf 'a\\033[31mb\\001c\\0d\\n'; exit 9");
	sink = open_sink(1);
	ck_assert_int_eq(CALL(sink_stage, sink), ERR_REFUSED);
	ck_assert_str_eq(last.text, "status 9: a [31mb c d");
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(a_program_may_close_its_output)
{
	struct sink *sink;

	use_command("exec >&- 2>&-; cat >/dev/null 2>&1; sleep 0.1");
	sink = open_sink(1);
	MUST(CALL(sink_stage, sink));
	/* and we do not spin meanwhile */
	ck_assert_uint_lt(turns, 20);
	MUST(CALL(sink_abort, sink));
}
END_TEST

/* ---- abort --------------------------------------------------------------- */

START_TEST(an_aborted_program_never_sees_the_end_of_its_input)
{
	struct sink *sink;

	use_command("echo $$ >$SCRATCH/pid; cat >/dev/null; touch $SCRATCH/complete");
	for (unsigned int i = 0; i < 20; i++) {
		sink = open_sink(i);
		MUST(write_text(sink, "half"));
		if (i % 2)
			await_file("pid");
		MUST(CALL(sink_abort, sink));
		ck_assert(!is_alive(atoi(read_file("pid"))));
	}
	ck_assert_str_eq(read_file("complete"), "");
	ck_assert_uint_eq(count_entries("."), 1);
	ck_assert(!has_children());
}
END_TEST

/*
 * The interval between the two is short: so this program runs itself below
 * strace, which makes every kill(2) wait.
 */
static int be_victim(const char *dir)
{
	struct object object = make_object(1);
	struct sink *sink;

	loop = loop_new(&last);
	workers = workers_new(1, &last);
	settings.exec_timeout_ms = 5000;
	snprintf(settings.exec_command, sizeof(settings.exec_command),
		 "cat >/dev/null; touch %.64s/complete", dir);
	store = store_open("exec", &settings, workers, &last);
	sink = open_object(&object);
	CHECK(last.code == ERR_NONE);
	CHECK(write_text(sink, "half") == ERR_NONE);
	CHECK(CALL(sink_abort, sink) == ERR_NONE);
	return EXIT_SUCCESS;
}

START_TEST(an_abort_kills_before_it_closes)
{
	char command[4096];

	if (system("strace -qq -o /dev/null -e trace=none true") != 0)
		return;
	snprintf(command, sizeof(command),
		 "ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o /dev/null "
		 "-e trace=kill -e inject=kill:delay_enter=50000 %.3000s %s",
		 self, scratch);
	ck_assert_int_eq(system(command), 0);
	ck_assert_str_eq(read_file("complete"), "");
	ck_assert_uint_eq(count_entries("."), 0);
}
END_TEST

START_TEST(an_abort_ends_what_the_program_started)
{
	struct sink *sink;

	use_command("sleep 1000 & echo $! >$SCRATCH/tmp; mv $SCRATCH/tmp $SCRATCH/pid; "
	    "cat >/dev/null");
	sink = open_sink(1);
	MUST(write_text(sink, "half"));
	await_file("pid");
	MUST(CALL(sink_abort, sink));
	while (is_alive(atoi(read_file("pid"))))
		sched_yield();
}
END_TEST

/* ---- surroundings -------------------------------------------------------- */

START_TEST(the_environment_names_the_object)
{
	struct object object = make_object(1);
	struct sink *sink;

	setenv("READER_TOKEN", "secret", 1);
	setenv("OBJECT_NAME", "stale", 1);
	use_command("cat >/dev/null; env >$SCRATCH/env");
	snprintf(object.name, sizeof(object.name), "$(touch x); it's \"it\"");
	sink = open_object(&object);
	MUST(CALL(sink_stage, sink));
	ck_assert_ptr_nonnull(strstr(read_file("env"), "OBJECT_ID="));
	ck_assert_ptr_nonnull(strstr(read_file("env"), object.id));
	ck_assert_ptr_nonnull(strstr(read_file("env"),
				     "OBJECT_TYPE=text/plain"));
	ck_assert_ptr_nonnull(strstr(read_file("env"),
				     "OBJECT_NAME=$(touch x); it's \"it\"\n"));
	ck_assert_ptr_null(strstr(read_file("env"), "stale"));
	ck_assert_ptr_null(strstr(read_file("env"), "secret"));
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(signals_are_as_a_shell_would_have_them)
{
	unsigned long long blocked, ignored;
	struct sink *sink;

	signal(SIGPIPE, SIG_IGN);
	use_command("cat >/dev/null; grep -E 'Sig(Blk|Ign)' /proc/self/status "
	    ">$SCRATCH/signals");
	sink = open_sink(1);
	MUST(CALL(sink_stage, sink));
	ck_assert_int_eq(sscanf(read_file("signals"),
				"SigBlk: %llx SigIgn: %llx", &blocked, &ignored),
			 2);
	ck_assert_uint_eq(blocked, 0);
	/* glibc keeps two real-time signals to itself */
	ck_assert_uint_eq(ignored & 0x7fffffff, 0);
	MUST(CALL(sink_abort, sink));
}
END_TEST

START_TEST(no_descriptor_of_ours_is_inherited)
{
	struct sink *sinks[5];
	int alone;

	use_command("cat >/dev/null; ls /proc/self/fd | wc -l >$SCRATCH/fds");
	store_text(1, "content");
	alone = atoi(read_file("fds"));
	for (unsigned int i = 0; i < 5; i++)
		sinks[i] = open_sink(i + 2);
	store_text(1, "content");
	ck_assert_int_eq(atoi(read_file("fds")), alone);
	for (unsigned int i = 0; i < 5; i++)
		MUST(CALL(sink_abort, sinks[i]));
}
END_TEST

START_TEST(no_descriptor_is_left)
{
	size_t before;
	struct sink *sink;

	use_command("cat >/dev/null");
	store_text(0, "content");
	before = count_descriptors();
	for (unsigned int i = 1; i < 10; i++) {
		store_text(i, "content");
		sink = open_sink(i + 100);
		MUST(CALL(sink_abort, sink));
	}
	ck_assert_uint_eq(count_descriptors(), before);
	ck_assert(!has_children());
}
END_TEST

START_TEST(an_ignored_sigchld_loses_no_status)
{
	struct sink *sink;

	signal(SIGCHLD, SIG_IGN);
	use_command("cat >/dev/null; exit 5");
	sink = open_sink(1);
	ck_assert_int_eq(CALL(sink_stage, sink), ERR_REFUSED);
	MUST(CALL(sink_abort, sink));
}
END_TEST

/* ---- what is remembered -------------------------------------------------- */

START_TEST(content_is_not_kept)
{
	use_command("cat >/dev/null");
	store_text(1, "content");
	ck_assert_int_eq(find(1, true), ERR_NOT_FOUND);
	ck_assert_str_eq(last.text, "this store keeps no content");
}
END_TEST

START_TEST(the_oldest_descriptions_are_forgotten)
{
	const unsigned int n = 5000, oldest = n - 1024;

	MUST(open_store("discard"));
	for (unsigned int i = 0; i < n; i++)
		store_text(i, "x");
	for (unsigned int i = 0; i < oldest; i++)
		ck_assert_int_eq(find(i, false), ERR_NOT_FOUND);
	for (unsigned int i = oldest; i < n; i++)
		MUST(find(i, false));
	MUST(list_page("", "", STORE_LIST_MAX));
	ck_assert_uint_eq(list.n_rows, 1000);
	ck_assert(list.more);
	ck_assert_str_eq(list.rows[0].id, make_object(oldest).id);
	free(list.rows);
}
END_TEST

#define CASES(X) \
	X(the_program_reads_every_byte) \
	X(a_status_of_its_own_refuses_the_object) \
	X(a_refusal_without_words_is_one) \
	X(an_early_refusal_is_a_refusal) \
	X(a_program_that_is_not_there_is_the_operators_fault) \
	X(a_program_that_crashes_is_the_operators_fault) \
	X(no_command_is_a_wrong_setting) \
	X(success_before_a_long_object_ends_is_a_failure) \
	X(success_that_leaves_bytes_in_the_pipe_is_a_failure) \
	X(success_after_the_last_byte_needs_no_end_of_file) \
	X(bytes_after_the_program_ended_are_a_failure) \
	X(a_program_that_stops_reading_is_killed) \
	X(a_slow_reader_is_waited_for) \
	X(a_program_that_does_not_end_is_killed_with_its_group) \
	X(a_chatterer_is_heard_out) \
	X(an_endless_line_is_cut) \
	X(control_characters_do_not_reach_the_error) \
	X(a_program_may_close_its_output) \
	X(an_aborted_program_never_sees_the_end_of_its_input) \
	X(an_abort_kills_before_it_closes) \
	X(an_abort_ends_what_the_program_started) \
	X(the_environment_names_the_object) \
	X(signals_are_as_a_shell_would_have_them) \
	X(no_descriptor_of_ours_is_inherited) \
	X(no_descriptor_is_left) \
	X(an_ignored_sigchld_loses_no_status) \
	X(content_is_not_kept) \
	X(the_oldest_descriptions_are_forgotten)

int main(int argc, char **argv)
{
	Suite *suite;
	SRunner *sr;
	TCase *tc;
	int failed;

	if (argc == 2)
		return be_victim(argv[1]);
	self = argv[0];
	suite = suite_create("exec store");
	sr = srunner_create(suite);
	tc = tcase_create("exec");
	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, make_all, drop_all);
#define ADD(name) tcase_add_test(tc, name);
	CASES(ADD)
#undef ADD
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
