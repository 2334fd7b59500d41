/*
 * exec_program.h - one program that is fed through its standard input
 *
 *   program_start() ── in_fd ──▶ [ /bin/sh -c COMMAND ] ── out_fd ──▶ tail
 *
 * The program leads a process group of its own, so that everything it starts
 * can be killed with it. What it prints on standard output and standard error
 * is read and forgotten but for the last PROGRAM_TAIL bytes. Its end is heard
 * of through a pidfd, readable once it has ended; SIGCHLD plays no part.
 *
 * A read end of the input pipe stays open here, for one question at the end:
 * did the program leave bytes in it? So a program that ends early is found out
 * even when the pipe could take all the rest. It also means that feeding never
 * meets EPIPE, and that the pidfd must be watched while it would block.
 *
 * Calling sequence: start; feed and drain as often as possible; program_eof();
 * when pidfd is readable program_reap(); program_verdict(). Or program_kill()
 * at any time, then reap, which releases everything.
 */
#ifndef READER_EXEC_PROGRAM_H
#define READER_EXEC_PROGRAM_H

#include "common/err.h"
#include "common/span.h"

#include <stdbool.h>
#include <sys/types.h>

#define PROGRAM_TAIL 1024u

struct program {
	pid_t pid;	/* also the group; 0 = not started, or reaped */
	int pidfd;
	int in_fd;	/* write end, does not block; -1 after program_eof() */
	int unread_fd;	/* read end of the same pipe */
	int out_fd;	/* read end, does not block */
	/* from program_reap() on */
	bool signalled;
	int status;		/* exit status, or the signal's number */
	bool left_bytes;	/* in the pipe */
	size_t tail_len;
	char tail[PROGRAM_TAIL];
};

/* Nothing runs, nothing is open. */
void program_init(struct program *program);

/*
 * Run `command` by /bin/sh -c with the environment `env`, default signal
 * actions and no signal blocked. May block for a moment (vfork). -1 with
 * ERR_LIMIT (processes, descriptors, memory) or ERR_STORE.
 */
int program_start(struct program *program, const char *command,
		  char *const *env, struct err *err) MUST_CHECK;

/*
 * Write what the pipe takes, advancing *bytes. False when something went wrong
 * that is in `err`; a full pipe is no error.
 */
bool program_feed(struct program *program, struct span *bytes, struct err *err);

/*
 * Read some of what the program printed, if anything; never blocks. False when
 * there will be nothing more.
 */
bool program_drain(struct program *program);

/* No more bytes will come: the program reads end of file. */
void program_eof(struct program *program);

/*
 * SIGKILL to the group. Before program_eof() the program is gone without ever
 * having seen the end of its input.
 */
void program_kill(struct program *program);

/*
 * If the program has ended: take its status, kill what is left of its group
 * unless it ended with status 0, close everything, and return true.
 */
bool program_reap(struct program *program);

/* Wait for the end, then reap; for a worker thread, after program_kill(). */
void program_wait(struct program *program);

/*
 * What a reaped program's end means: 0 when it read all and ended with status
 * 0. Else -1: ERR_REFUSED with "status N: LAST LINE" for a status of its own,
 * ERR_STORE when it was killed, could not be run (126, 127, see POSIX sh), or
 * ended well but early; `all_fed` is false when bytes were not even written.
 */
int program_verdict(const struct program *program, bool all_fed,
		    struct err *err) MUST_CHECK;

#endif
