/*
 * The file store, killed and failed at every one of its system calls.
 *
 * With arguments this program is the victim: it stores one object and says
 * each step it has taken. Without, it runs itself below strace, which kills it
 * at (or fails) the n-th call of a kind, n upward until there is no n-th; then
 * it opens the store again and looks. The victim does everything, its start
 * too, on one thread, because strace counts calls for each thread.
 */
#include "tests/unit/reader/store_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#define PIECES 3
#define LARGE_PIECE ((size_t)4 << 20)
/* More than a process closes before main(): see burn_closes(). */
#define BURNT 60

static const char *self;
static size_t piece = 5000;

/* ---- the victim ---------------------------------------------------------- */

static void say(const char *what)
{
	CHECK(write(STDOUT_FILENO, what, strlen(what)) > 0);
}

/* The other thread's count must not come first. */
static void burn_closes(void)
{
	for (int i = 0; i < BURNT; i++)
		close(-1);
}

static void start_victim(void *arg)
{
	(void)arg;
	burn_closes();
	store = store_open("file", &settings, workers, &last);
}

static void on_start_done(void *arg)
{
	(void)arg;
	ended = true;
}

static void fail_victim(struct sink *sink)
{
	say("failed\n");
	if (store && find(1, false) == ERR_NONE)
		say("visible\n");
	if (sink && CALL(sink_abort, sink) == ERR_NONE)
		say("aborted\n");
	_exit(EXIT_FAILURE);
}

/* Go on, or undo and end. */
static void step(struct sink *sink, const char *what)
{
	if (last.code != ERR_NONE)
		fail_victim(sink);
	say(what);
}

/* They make meta.json be written a second time. */
static const struct object_details details = { .title = "A title" };

static void store_object(void)
{
	char *content = make_content(piece * PIECES);
	struct object object = make_object(1);
	struct sink *sink = open_object(&object);

	step(sink, "opened\n");
	for (size_t i = 0; i < PIECES; i++) {
		write_bytes(sink, content + i * piece, piece);
		step(sink, "written\n");
	}
	CALL(sink_stage, sink);
	step(sink, "staged\n");
	sink_describe(sink, &details);
	CALL(sink_commit, sink);
	step(sink, "committed\n");
	sink_close(&sink);
	free(content);
}

static int be_victim(const char *dir, const char *mode)
{
	struct job job;

	loop = loop_new(&last);
	workers = workers_new(1, &last);
	snprintf(settings.file_dir, sizeof(settings.file_dir), "%s", dir);
	workers_submit(workers, &job, loop, start_victim, on_start_done, NULL);
	wait_end();
	if (!store)
		fail_victim(NULL);
	if (strcmp(mode, "large") == 0)
		piece = LARGE_PIECE;
	store_object();
	if (strcmp(mode, "delete") == 0) {
		delete_object(1);
		step(NULL, "deleted\n");
	}
	return EXIT_SUCCESS;
}

/* ---- one run ------------------------------------------------------------- */

static char log_path[128], said_path[128];
static char said[4096];

static void read_into(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "r");

	ck_assert_ptr_nonnull(file);
	text[fread(text, 1, size - 1, file)] = '\0';
	fclose(file);
}

static void exec_strace(const char *calls, const char *inject, const char *mode)
{
	char trace[64], injection[128];
	int out = open(said_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	snprintf(trace, sizeof(trace), "trace=%s", calls);
	snprintf(injection, sizeof(injection), "inject=%s:%s", calls, inject);
	dup2(out, STDOUT_FILENO);
	/* LeakSanitizer would want to trace us itself; the other one waits. */
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	setenv("TSAN_OPTIONS", "atexit_sleep_ms=0", 1);
	execlp("strace", "strace", "-f", "-qq", "-o", log_path, "-e", trace,
	       "-e", injection, self, settings.file_dir, mode, (char *)NULL);
	_exit(127);
}

/* False when the victim came to its end without the injection. */
static bool run(const char *calls, const char *inject, const char *mode)
{
	char log[65536];
	int status;
	pid_t pid = fork();

	if (pid == 0)
		exec_strace(calls, inject, mode);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	read_into(said_path, said, sizeof(said));
	read_into(log_path, log, sizeof(log));
	return strstr(log, "INJECTED") || strstr(log, "killed by SIGKILL");
}

static bool has_said(const char *what)
{
	return strstr(said, what) != NULL;
}

/* The object is there with every byte, or nothing is. Returns which. */
static bool is_complete(void)
{
	char *content = make_content(piece * PIECES);
	char *there = malloc(piece * PIECES + 1), hex[DIGEST_HEX_SIZE];
	bool found = find(1, true) == ERR_NONE;

	if (found) {
		ck_assert_int_eq(read(lookup.fd, there, piece * PIECES + 1),
				 (int)(piece * PIECES));
		close(lookup.fd);
		ck_assert_mem_eq(there, content, piece * PIECES);
		hash(there, piece * PIECES, hex);
		ck_assert_str_eq(lookup.object.sha256, hex);
		ck_assert_str_eq(lookup.object.details.title, details.title);
	} else {
		ck_assert_msg(last.code == ERR_NOT_FOUND, "%s", last.text);
	}
	free(content);
	free(there);
	return found;
}

/* As the next process finds it. */
static bool look_again(void)
{
	bool found;

	ck_assert_msg(open_store("file") == ERR_NONE, "%s", last.text);
	ck_assert_uint_eq(count_entries("root/staging"), 0);
	found = is_complete();
	store_close(&store);
	return found;
}

static void start_afresh(void)
{
	drop_scratch();
	ck_assert_int_eq(mkdir(scratch, 0700), 0);
}

static unsigned int first_of(const char *call)
{
	return strcmp(call, "close") == 0 ? BURNT + 1 : 1;
}

static const char *const calls[] = { "openat2", "mkdirat",   "pwrite64",
				     "fsync",	"fdatasync", "renameat2",
				     "close",	"unlinkat",  "flock",
				     "fstatfs" };

#define N_CALLS (sizeof(calls) / sizeof(calls[0]))

/* ---- tests --------------------------------------------------------------- */

START_TEST(a_killed_store_leaves_all_or_nothing)
{
	const char *call = calls[_i];
	char inject[64];

	for (unsigned int n = first_of(call);; n++) {
		start_afresh();
		snprintf(inject, sizeof(inject), "signal=KILL:when=%u", n);
		if (!run(call, inject, "store"))
			break;
		ck_assert_msg(look_again() || !has_said("committed"),
			      "%s %s lost the object", call, inject);
	}
	ck_assert(has_said("committed"));
	ck_assert(look_again());
}
END_TEST

START_TEST(a_killed_delete_leaves_all_or_nothing)
{
	const char *call = calls[_i];
	char inject[64];
	bool found;

	for (unsigned int n = first_of(call);; n++) {
		start_afresh();
		snprintf(inject, sizeof(inject), "signal=KILL:when=%u", n);
		if (!run(call, inject, "delete"))
			break;
		found = look_again();
		ck_assert(found ? !has_said("deleted") : true);
	}
	ck_assert(has_said("deleted"));
	ck_assert(!look_again());
}
END_TEST

static bool is_forgivable(const char *call)
{
	return strcmp(call, "openat2") == 0 || strcmp(call, "close") == 0;
}

/* Once, or from then on. */
static void fail_each(const char *call, const char *fault, const char *on)
{
	char inject[64];
	bool found;

	for (unsigned int n = first_of(call);; n++) {
		start_afresh();
		snprintf(inject, sizeof(inject), "%s:when=%u%s", fault, n, on);
		if (!run(call, inject, "store"))
			break;
		found = look_again();
		ck_assert_msg(found == has_said("committed"),
			      "%s %s: %s but said:\n%s", call, inject,
			      found ? "visible" : "invisible", said);
		/* Not every open and close matters; all the others do. */
		ck_assert(has_said("failed") || is_forgivable(call));
		ck_assert(has_said("committed") || has_said("failed"));
		ck_assert(!has_said("visible"));
	}
	ck_assert(has_said("committed"));
}

START_TEST(a_failed_call_fails_the_object_cleanly)
{
	fail_each(calls[_i], "error=EIO", "");
}
END_TEST

START_TEST(a_call_that_keeps_failing_fails_the_object_cleanly)
{
	fail_each(calls[_i], "error=ENOSPC", "+");
}
END_TEST

START_TEST(an_interrupted_call_is_repeated)
{
	static const char *const interrupted[] = { "openat2", "pwrite64",
						   "fsync", "fdatasync" };
	char inject[64];

	for (size_t i = 0; i < sizeof(interrupted) / sizeof(char *); i++)
		for (unsigned int n = 1;; n++) {
			start_afresh();
			snprintf(inject, sizeof(inject), "error=EINTR:when=%u",
				 n);
			/* the probe for openat2 may think what it likes */
			if (!run(interrupted[i], inject, "store"))
				break;
			ck_assert(has_said("committed") && look_again());
		}
}
END_TEST

START_TEST(a_write_that_writes_nothing_fails_the_object)
{
	run("pwrite64", "retval=0:when=1", "store");
	ck_assert(has_said("failed") && !look_again());
}
END_TEST

START_TEST(a_failed_sync_is_never_asked_again)
{
	char log[65536];
	char *first;

	start_afresh();
	run("fdatasync", "error=EIO:when=1", "store");
	read_into(log_path, log, sizeof(log));
	first = strstr(log, "fdatasync");
	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_null(strstr(first + 1, "fdatasync"));
	ck_assert(has_said("failed") && has_said("aborted"));
}
END_TEST

START_TEST(write_back_that_fails_fails_the_object)
{
	piece = LARGE_PIECE;
	ck_assert(run("sync_file_range", "error=EIO", "large"));
	ck_assert(has_said("failed") && has_said("aborted") && !look_again());
	start_afresh();
	ck_assert(run("sync_file_range", "error=ENOSYS", "large"));
	ck_assert(has_said("committed") && look_again());
}
END_TEST

/* The order of the calls in the log, a letter each, after "opened". */
static void read_order(char *order)
{
	static const struct {
		const char *text;
		char letter;
	} events[] = { { "fdatasync(", 'd' }, { "fsync(", 'f' },
		       { "renameat2(", 'r' }, { "\"staged", 'S' },
		       { "\"committed", 'C' },
		       { "\"deleted", 'D' } };
	char log[65536], *line, *rest;

	read_into(log_path, log, sizeof(log));
	rest = strstr(log, "\"opened");
	while (rest && (line = strsep(&rest, "\n")))
		for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
			if (strstr(line, events[i].text))
				*order++ = events[i].letter;
	*order = '\0';
}

/*
 * A killed process loses no page cache, so only the order of the calls shows
 * what a power cut would leave: data, meta.json and their directory are synced
 * before "staged"; meta.json with the details, objects/ (for the new shard), then
 * the rename, then the shard before "committed"; and the shard again before
 * "deleted".
 */
START_TEST(everything_is_synced_before_it_is_told)
{
	char order[4096];

	run("fsync,fdatasync,renameat2,write", "error=EIO:when=999", "delete");
	read_order(order);
	ck_assert_str_eq(order, "dffSffrfCrfD");
}
END_TEST

START_TEST(a_kernel_without_openat2_will_do)
{
	ck_assert(run("openat2", "error=ENOSYS", "store"));
	ck_assert(has_said("committed") && look_again());
}
END_TEST

START_TEST(a_file_system_without_rename_flags_will_do)
{
	ck_assert(run("renameat2", "error=EINVAL", "store"));
	ck_assert(has_said("committed") && look_again());
	/* the same once more finds the first */
	ck_assert(run("renameat2", "error=EINVAL", "store"));
	ck_assert(has_said("committed") && look_again());
}
END_TEST

/* ---- the suite ----------------------------------------------------------- */

static void setup(void)
{
	make_loop();
	snprintf(log_path, sizeof(log_path), "%s.log", scratch);
	snprintf(said_path, sizeof(said_path), "%s.said", scratch);
}

static void teardown(void)
{
	drop_loop();
	unlink(log_path);
	unlink(said_path);
}

static Suite *make_suite(void)
{
	Suite *suite = suite_create("file store crash");
	TCase *tc = tcase_create("crash");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, a_killed_store_leaves_all_or_nothing, 0,
			    N_CALLS);
	tcase_add_loop_test(tc, a_killed_delete_leaves_all_or_nothing, 0,
			    N_CALLS);
	tcase_add_loop_test(tc, a_failed_call_fails_the_object_cleanly, 0,
			    N_CALLS);
	tcase_add_loop_test(tc,
			    a_call_that_keeps_failing_fails_the_object_cleanly,
			    0, N_CALLS);
	tcase_add_test(tc, an_interrupted_call_is_repeated);
	tcase_add_test(tc, a_write_that_writes_nothing_fails_the_object);
	tcase_add_test(tc, a_failed_sync_is_never_asked_again);
	tcase_add_test(tc, write_back_that_fails_fails_the_object);
	tcase_add_test(tc, everything_is_synced_before_it_is_told);
	tcase_add_test(tc, a_kernel_without_openat2_will_do);
	tcase_add_test(tc, a_file_system_without_rename_flags_will_do);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(int argc, char **argv)
{
	SRunner *sr;
	int failed;

	if (argc == 3)
		return be_victim(argv[1], argv[2]);
	if (system("strace -qq -o /dev/null -e trace=none true") != 0) {
		fprintf(stderr, "strace cannot run here: nothing tested\n");
		return EXIT_SUCCESS;
	}
	self = argv[0];
	sr = srunner_create(make_suite());
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
