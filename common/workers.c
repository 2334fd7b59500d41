#include "common/workers.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define MAX_THREADS 64

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *first;
	struct job **last;
	bool closing;
	unsigned int n_threads;
	pthread_t threads[MAX_THREADS];
};

/* The next job, or NULL when closing and none is left. */
static struct job *take(struct workers *w)
{
	struct job *job;

	pthread_mutex_lock(&w->lock);
	while (!w->first && !w->closing)
		pthread_cond_wait(&w->wake, &w->lock);
	job = w->first;
	if (job) {
		w->first = job->next;
		if (!w->first)
			w->last = &w->first;
	}
	pthread_mutex_unlock(&w->lock);
	return job;
}

static void *work(void *arg)
{
	struct job *job;

	while ((job = take(arg))) {
		job->run(job->arg);
		loop_post(job->loop, &job->post, job->done, job->arg);
	}
	return NULL;
}

static int start_threads(struct workers *w, unsigned int n, struct err *err)
{
	sigset_t all, old;
	int rc = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (w->n_threads < n && rc == 0) {
		rc = pthread_create(&w->threads[w->n_threads], NULL, work, w);
		if (rc == 0)
			w->n_threads++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0)
		return err_set_errno(err, ERR_LIMIT, rc,
				     "cannot start a worker thread");
	return 0;
}

struct workers *workers_new(unsigned int n_threads, struct err *err)
{
	struct workers *w = calloc(1, sizeof(*w));

	CHECK(n_threads >= 1 && n_threads <= MAX_THREADS);
	if (!w) {
		err_set(err, ERR_MEMORY, "out of memory for worker threads");
		return NULL;
	}
	w->last = &w->first;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wake, NULL);
	if (start_threads(w, n_threads, err) < 0)
		workers_free(&w);
	return w;
}

void workers_free(struct workers **wp)
{
	struct workers *w = *wp;

	if (!w)
		return;
	*wp = NULL;
	pthread_mutex_lock(&w->lock);
	w->closing = true;
	pthread_cond_broadcast(&w->wake);
	pthread_mutex_unlock(&w->lock);
	for (unsigned int i = 0; i < w->n_threads; i++)
		pthread_join(w->threads[i], NULL);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

void workers_submit(struct workers *w, struct job *job, struct loop *loop,
		    job_fn *run, job_fn *done, void *arg)
{
	job->next = NULL;
	job->loop = loop;
	job->run = run;
	job->done = done;
	job->arg = arg;
	pthread_mutex_lock(&w->lock);
	*w->last = job;
	w->last = &job->next;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}
