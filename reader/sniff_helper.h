/*
 * sniff_helper.h - the process in which libmagic looks at bytes of strangers
 *
 *   sniff_helper_ask ── bytes ──▶ ┌────────┐
 *                     ◀── type ── │ helper │  libmagic; no files, no sockets
 *                                 └────────┘
 *
 * Not in the reader's own process, for libmagic parses whatever a client sends,
 * and its 5.44 frees a wild pointer when memory is short. A helper that dies or
 * does not answer in time costs the type of one object; another is started for a
 * later one. It ends with the reader, however that ends.
 *
 * One thread at a time. Blocks: for worker threads and the start.
 */
#ifndef READER_SNIFF_HELPER_H
#define READER_SNIFF_HELPER_H

#include "common/span.h"

#include <stdint.h>
#include <sys/types.h>

#define SNIFF_ASK_MAX 4096u	/* bytes of one question */

struct sniff_helper {
	int fd;			/* to the helper, or -1 */
	pid_t pid;
	uint64_t started_ms;	/* monotonic; also of the last try */
};

/*
 * Start it and wait until it has loaded libmagic's database. -1, and a log line
 * why, if it could not; then nothing is left to stop.
 */
int sniff_helper_start(struct sniff_helper *helper);

/* End it. */
void sniff_helper_stop(struct sniff_helper *helper);

/*
 * Write what libmagic says of 1 to SNIFF_ASK_MAX bytes to `type` of `size` bytes;
 * "" when it says nothing, or nobody is there to ask.
 */
void sniff_helper_ask(struct sniff_helper *helper, struct span bytes,
		      char *type, size_t size);

#endif
