#include "reader/exec_program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define SH_CANNOT_EXECUTE 126
#define SH_NOT_FOUND 127
#define STATUS_LOST (-1)

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void program_init(struct program *program)
{
	*program = (struct program){
		.pidfd = -1,
		.in_fd = -1,
		.unread_fd = -1,
		.out_fd = -1,
	};
}

static void close_all(struct program *program)
{
	close_fd(&program->pidfd);
	close_fd(&program->in_fd);
	close_fd(&program->unread_fd);
	close_fd(&program->out_fd);
}

/* ---- start --------------------------------------------------------------- */

static int start_err(struct err *err, int errnum, const char *what)
{
	bool is_limit = errnum == EMFILE || errnum == ENFILE ||
			errnum == EAGAIN || errnum == ENOMEM;

	return err_set_errno(err, is_limit ? ERR_LIMIT : ERR_STORE, errnum,
			     "%s", what);
}

/*
 * Only the two ends that are ours do not block: O_NONBLOCK belongs to the open
 * file, which the program's own end is none of.
 */
static int open_pipes(struct program *program, int *child_out, struct err *err)
{
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) < 0)
		return start_err(err, errno, "cannot make a pipe");
	program->unread_fd = in[0];
	program->in_fd = in[1];
	if (pipe2(out, O_CLOEXEC) < 0)
		return start_err(err, errno, "cannot make a pipe");
	program->out_fd = out[0];
	*child_out = out[1];
	if (fcntl(program->in_fd, F_SETFL, O_NONBLOCK) < 0 ||
	    fcntl(program->out_fd, F_SETFL, O_NONBLOCK) < 0)
		return start_err(err, errno, "cannot set up a pipe");
	return 0;
}

static int set_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	short flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
		      POSIX_SPAWN_SETSIGDEF;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	rc = posix_spawnattr_setflags(attr, flags);
	if (rc == 0)
		rc = posix_spawnattr_setpgroup(attr, 0);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(attr, &none);
	return rc ? rc : posix_spawnattr_setsigdefault(attr, &all);
}

static int set_actions(posix_spawn_file_actions_t *actions, int in, int out)
{
	int rc = posix_spawn_file_actions_adddup2(actions, in, STDIN_FILENO);

	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(actions, out,
						      STDOUT_FILENO);
	return rc ? rc :
		    posix_spawn_file_actions_adddup2(actions, out,
						     STDERR_FILENO);
}

/* 0 or an error number. */
static int spawn(struct program *program, const char *command,
		 char *const *env, int out)
{
	char sh[] = "sh", dash_c[] = "-c", *text = strdup(command);
	char *argv[] = { sh, dash_c, text, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int rc;

	if (!text)
		return ENOMEM;
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	rc = set_actions(&actions, program->unread_fd, out);
	if (rc == 0)
		rc = set_attributes(&attr);
	if (rc == 0)
		rc = posix_spawn(&program->pid, "/bin/sh", &actions, &attr,
				 argv, env);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	free(text);
	return rc;
}

/* Without a pidfd its end could not be heard of: end it here. */
static int undo_spawn(struct program *program, struct err *err)
{
	int errnum = errno;

	program_kill(program);
	while (waitpid(program->pid, NULL, 0) < 0 && errno == EINTR)
		;
	program->pid = 0;
	return start_err(err, errnum, "cannot watch the program");
}

static int start(struct program *program, const char *command,
		 char *const *env, int *out, struct err *err)
{
	int rc;

	if (open_pipes(program, out, err) < 0)
		return -1;
	rc = spawn(program, command, env, *out);
	if (rc != 0) {
		program->pid = 0;
		return start_err(err, rc, "cannot start the program");
	}
	/* Its number cannot be reused yet: it is our child, and not reaped. */
	program->pidfd = pidfd_open(program->pid, 0);
	return program->pidfd < 0 ? undo_spawn(program, err) : 0;
}

int program_start(struct program *program, const char *command,
		  char *const *env, struct err *err)
{
	int out = -1;
	int rc = start(program, command, env, &out, err);

	close_fd(&out);
	if (rc < 0)
		close_all(program);
	return rc;
}

/* ---- while it runs ------------------------------------------------------- */

bool program_feed(struct program *program, struct span *bytes, struct err *err)
{
	while (bytes->len > 0) {
		ssize_t n = write(program->in_fd, bytes->ptr, bytes->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0) {
			err_set_errno(err, ERR_STORE, errno,
				      "cannot write to the program");
			return false;
		}
		bytes->ptr += n;
		bytes->len -= (size_t)n;
	}
	return true;
}

/* Keep the last PROGRAM_TAIL bytes of what is there and `len` new ones. */
static void keep_tail(struct program *program, const char *buf, size_t len)
{
	size_t keep = program->tail_len;

	if (len >= PROGRAM_TAIL) {
		buf += len - PROGRAM_TAIL;
		len = PROGRAM_TAIL;
	}
	if (keep > PROGRAM_TAIL - len)
		keep = PROGRAM_TAIL - len;
	memmove(program->tail, program->tail + program->tail_len - keep, keep);
	memcpy(program->tail + keep, buf, len);
	program->tail_len = keep + len;
}

bool program_drain(struct program *program)
{
	char buf[65536];
	ssize_t n;

	/* One pipeful at most, so that a chatterer cannot hold the thread. */
	do
		n = read(program->out_fd, buf, sizeof(buf));
	while (n < 0 && errno == EINTR);
	if (n > 0)
		keep_tail(program, buf, (size_t)n);
	return n > 0 || (n < 0 && errno == EAGAIN);
}

void program_eof(struct program *program)
{
	close_fd(&program->in_fd);
}

void program_kill(struct program *program)
{
	if (program->pid > 0)
		kill(-program->pid, SIGKILL);
}

/* ---- the end ------------------------------------------------------------- */

/* False while it runs. Leaves a zombie, so that the group keeps its number. */
static bool has_ended(struct program *program)
{
	siginfo_t info = { .si_pid = 0 };

	if (waitid(P_PID, (id_t)program->pid, &info,
		   WEXITED | WNOHANG | WNOWAIT) < 0) {
		program->status = STATUS_LOST;
		return true;
	}
	program->signalled = info.si_code != CLD_EXITED;
	program->status = info.si_status;
	return info.si_pid != 0;
}

bool program_reap(struct program *program)
{
	int unread = 0;

	CHECK(program->pid > 0);
	if (!has_ended(program))
		return false;
	program_drain(program);
	if (ioctl(program->unread_fd, FIONREAD, &unread) == 0)
		program->left_bytes = unread > 0;
	if (program->signalled || program->status != 0)
		program_kill(program);
	while (waitpid(program->pid, NULL, 0) < 0 && errno == EINTR)
		;
	program->pid = 0;
	close_all(program);
	return true;
}

void program_wait(struct program *program)
{
	siginfo_t info;

	while (waitid(P_PID, (id_t)program->pid, &info, WEXITED | WNOWAIT) <
		       0 &&
	       errno == EINTR)
		;
	CHECK(program_reap(program));
}

/* The last line that was printed, into `line`, printable. */
static void last_line(const struct program *program,
		      char line[PROGRAM_TAIL + 1])
{
	struct span rest = span_make(program->tail, program->tail_len);
	size_t len = 0;

	while (rest.len > 0 && strchr("\r\n\t ", rest.ptr[rest.len - 1]))
		rest.len--;
	for (size_t i = 0; i < rest.len; i++) {
		if (rest.ptr[i] == '\n')
			len = 0;
		else if ((unsigned char)rest.ptr[i] < ' ')
			line[len++] = ' ';
		else
			line[len++] = rest.ptr[i];
	}
	line[len] = '\0';
}

static int bad_status(const struct program *program, struct err *err)
{
	bool could_not_run = program->status == SH_CANNOT_EXECUTE ||
			     program->status == SH_NOT_FOUND;
	char line[PROGRAM_TAIL + 1];

	last_line(program, line);
	return err_set(err, could_not_run ? ERR_STORE : ERR_REFUSED,
		       "status %d%s%s", program->status, line[0] ? ": " : "",
		       line);
}

int program_verdict(const struct program *program, bool all_fed,
		    struct err *err)
{
	const char *name;

	if (program->signalled) {
		name = sigdescr_np(program->status);
		return err_set(err, ERR_STORE,
			       "the program was ended by signal %d (%s)",
			       program->status, name ? name : "unknown");
	}
	if (program->status == STATUS_LOST)
		return err_set(err, ERR_STORE,
			       "the program's exit status was lost");
	if (program->status != 0)
		return bad_status(program, err);
	if (!all_fed || program->left_bytes)
		return err_set(err, ERR_STORE,
			       "the program ended before reading everything");
	return 0;
}
