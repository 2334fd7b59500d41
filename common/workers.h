/*
 * workers.h - a small thread pool for work that blocks: disk, name look-ups
 *
 * A job is embedded in its owner. run(arg) is called on a worker thread, then
 * done(arg) on the loop that submitted it. Jobs of one owner run in the order
 * of submission only if the owner submits the next after the last one's done.
 * The queue is a linked list of embedded jobs, so submitting never fails and
 * never allocates; its length is bounded by the number of owners.
 */
#ifndef COMMON_WORKERS_H
#define COMMON_WORKERS_H

#include "common/loop.h"

struct workers;

typedef void job_fn(void *arg);

struct job {
	struct job *next;
	struct loop *loop;
	job_fn *run;
	job_fn *done;
	void *arg;
	struct post post;
};

/* Start `n_threads` (1 … 64) threads with all signals blocked, or NULL with `err`. */
struct workers *workers_new(unsigned int n_threads, struct err *err);

/* Finish what was submitted, join the threads, free *workers and null it. */
void workers_free(struct workers **workers);

/*
 * Queue a job; `job` must live until `done` has been entered. run() may block;
 * done() runs on `loop`'s thread. Any thread.
 */
void workers_submit(struct workers *workers, struct job *job, struct loop *loop,
		    job_fn *run, job_fn *done, void *arg);

#endif
