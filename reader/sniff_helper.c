#include "reader/sniff_helper.h"

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <magic.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Only what looks at the bytes in hand: nothing is unpacked, and the parsers of
 * containers that need the whole file, or take a text for a program's because of
 * a word in it, are left out.
 */
#define FLAGS (MAGIC_MIME_TYPE | MAGIC_NO_CHECK_COMPRESS | \
	       MAGIC_NO_CHECK_TAR | MAGIC_NO_CHECK_CDF | \
	       MAGIC_NO_CHECK_ELF | MAGIC_NO_CHECK_TOKENS)

#define LOAD_MS 10000
#define ANSWER_MS 2000
#define RESTART_MS 1000u	/* not more often */
#define HELPER_FD 3
#define ANSWER_SIZE 256

/* First character of an answer; the rest is a type, or a reason. */
#define FINE '+'
#define FAILED '-'

/* ---- in the helper ------------------------------------------------------- */

static void say(char what, const char *text)
{
	char answer[ANSWER_SIZE];
	int len = snprintf(answer, sizeof(answer), "%c%s", what,
			   text ? text : "");

	if (len >= (int)sizeof(answer))
		len = sizeof(answer) - 1;
	if (send(HELPER_FD, answer, (size_t)len, MSG_NOSIGNAL) < 0)
		_exit(EXIT_FAILURE);
}

/* Keep the socket only: no lock, no connection and no log of the reader's. */
static void close_others(int fd)
{
	int null = open("/dev/null", O_RDWR);

	for (int i = 0; i < HELPER_FD; i++)
		if (null < 0 || dup2(null, i) < 0)
			close(i);
	if (fd != HELPER_FD && dup2(fd, HELPER_FD) < 0)
		_exit(EXIT_FAILURE);
	if (close_range(HELPER_FD + 1, ~0u, 0) == 0)
		return;
	for (long i = sysconf(_SC_OPEN_MAX) - 1; i > HELPER_FD; i--)
		close((int)i);
}

/* From here on it can open nothing, and so reach nobody but the reader. */
static void give_up_rights(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_NOFILE, &none);
	setrlimit(RLIMIT_FSIZE, &none);
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static magic_t load(void)
{
	magic_t magic = magic_open(FLAGS);
	const char *error;

	if (!magic || magic_load(magic, NULL) < 0) {
		error = magic ? magic_error(magic) : NULL;
		say(FAILED, error ? error : "libmagic has no database");
		_exit(EXIT_FAILURE);
	}
	return magic;
}

/*
 * libmagic compiles its expressions when it first needs them, and keeps them:
 * most of them now, and no client waits for it.
 */
static void warm_up(magic_t magic)
{
	static const char text[] = "words and\nlines\n";
	char bytes[SNIFF_ASK_MAX];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 2654435761u >> 13);
	magic_buffer(magic, bytes, sizeof(bytes));
	magic_buffer(magic, text, sizeof(text) - 1);
}

static void answer_all(magic_t magic)
{
	char bytes[SNIFF_ASK_MAX];

	for (;;) {
		ssize_t n = recv(HELPER_FD, bytes, sizeof(bytes), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(EXIT_SUCCESS);
		say(FINE, magic_buffer(magic, bytes, (size_t)n));
	}
}

/*
 * The signals that end the reader are for the reader: it may still want to know
 * types while it drains.
 */
static void run(int fd, pid_t parent)
{
	magic_t magic;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
	prctl(PR_SET_NAME, "reader-sniff");
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	close_others(fd);
	magic = load();
	give_up_rights();
	warm_up(magic);
	say(FINE, "");
	answer_all(magic);
}

/* ---- in the reader ------------------------------------------------------- */

static void warn(const char *reason)
{
	log_line(LOG_WARN, "sniff",
		 LOG_STR("result", "content types stay as clients give them"),
		 LOG_STR("reason", reason));
}

/* Wait for an answer: its text, or false when there is none in time. */
static bool receive(const struct sniff_helper *helper, int timeout_ms,
		    char answer[ANSWER_SIZE])
{
	struct pollfd poll_fd = { .fd = helper->fd, .events = POLLIN };
	ssize_t n;
	int rc;

	do
		rc = poll(&poll_fd, 1, timeout_ms);
	while (rc < 0 && errno == EINTR);
	if (rc <= 0)
		return false;
	n = recv(helper->fd, answer, ANSWER_SIZE - 1, MSG_DONTWAIT);
	if (n <= 0)
		return false;
	answer[n] = '\0';
	return true;
}

/*
 * Threads may run already. The child uses what the C library keeps usable after
 * a fork (its allocator) and nothing of ours that has a lock.
 */
static int fork_helper(struct sniff_helper *helper)
{
	pid_t parent = getpid();
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	helper->pid = fork();
	if (helper->pid == 0)
		run(fds[1], parent);
	close(fds[1]);
	helper->fd = fds[0];
	if (helper->pid > 0)
		return 0;
	close(fds[0]);
	helper->fd = -1;
	return -1;
}

int sniff_helper_start(struct sniff_helper *helper)
{
	char answer[ANSWER_SIZE];

	helper->fd = -1;
	helper->started_ms = clock_monotonic_ms();
	if (fork_helper(helper) < 0) {
		warn("cannot start a process");
		return -1;
	}
	if (!receive(helper, LOAD_MS, answer))
		warn("the helper did not start");
	else if (answer[0] != FINE)
		warn(answer + 1);
	else
		return 0;
	sniff_helper_stop(helper);
	return -1;
}

void sniff_helper_stop(struct sniff_helper *helper)
{
	if (helper->fd < 0)
		return;
	close(helper->fd);
	helper->fd = -1;
	kill(helper->pid, SIGKILL);
	while (waitpid(helper->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static bool is_there(struct sniff_helper *helper)
{
	if (helper->fd >= 0)
		return true;
	return clock_monotonic_ms() - helper->started_ms >= RESTART_MS &&
	       sniff_helper_start(helper) == 0;
}

void sniff_helper_ask(struct sniff_helper *helper, struct span bytes,
		      char *type, size_t size)
{
	char answer[ANSWER_SIZE];

	CHECK(bytes.len >= 1 && bytes.len <= SNIFF_ASK_MAX);
	type[0] = '\0';
	if (!is_there(helper))
		return;
	if (send(helper->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL) < 0 ||
	    !receive(helper, ANSWER_MS, answer)) {
		log_line(LOG_WARN, "sniff",
			 LOG_STR("result", "one type stays unknown"),
			 LOG_STR("reason", "the helper died or hung"));
		sniff_helper_stop(helper);
		return;
	}
	snprintf(type, size, "%s", answer + 1);
}
