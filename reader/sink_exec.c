/*
 * The store that is a program: each object goes to the standard input of a run
 * of READER_EXEC_COMMAND, and the exit status is the answer; a scanner's veto
 * for example. Content is not kept; descriptions are, see recent.h.
 *
 * The program is started on a worker thread (starting blocks), everything else
 * is on the loop. Only an operation that waits watches descriptors, so that
 * between operations the sink belongs to no loop:
 *
 *   write    feed; when the pipe is full wait for room, output or the end
 *   stage    end of input, then wait for output or the end
 *   abort    kill, then wait for the end (worker thread)
 *
 * Each wait on the loop is bounded: READER_EXEC_TIMEOUT_MS without a byte taken
 * (write) or after the last byte (stage), and the group is killed. Whatever
 * ended the wait, the one function that decides is pump().
 */
#include "reader/exec_program.h"
#include "reader/recent.h"
#include "reader/settings.h"
#include "reader/sink_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define N_OBJECT_VARIABLES 3
/* "OBJECT_NAME=", the longest value, a NUL. */
#define VARIABLE_SIZE (OBJECT_NAME_SIZE + 16)

struct exec_store {
	struct store base;
	struct recent *recent;
	char command[4096];
	uint64_t timeout_ms;
	size_t n_env;
	char **env;	/* ours without what no program may see */
};

struct exec_sink {
	struct sink base;
	struct job job;
	struct program program;
	struct span rest;	/* of the running write */
	bool waits;		/* the members below are in use */
	struct watch in_watch, out_watch, end_watch;
	struct timer timer;
};

static struct exec_store *store_of(struct exec_sink *sink)
{
	return (struct exec_store *)sink->base.store;
}

/* ---- the environment ----------------------------------------------------- */

/* Secrets, and names that only we may set. */
static bool is_withheld(const char *variable)
{
	static const char *const names[] = { "READER_TOKEN=", "DB_PASSWORD=",
					     "OBJECT_ID=", "OBJECT_NAME=",
					     "OBJECT_TYPE=" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(variable, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static int keep_environment(struct exec_store *store)
{
	size_t n = 0;

	while (environ[n])
		n++;
	store->env = calloc(n + 1, sizeof(*store->env));
	if (!store->env)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (!is_withheld(environ[i]))
			store->env[store->n_env++] = environ[i];
	return 0;
}

/* ---- store --------------------------------------------------------------- */

static void exec_store_close(struct store *base)
{
	struct exec_store *store = (struct exec_store *)base;

	recent_free(&store->recent);
	free(store->env);
	free(store);
}

static struct store *exec_store_open(const struct reader_settings *settings,
				     struct workers *workers, struct err *err)
{
	struct exec_store *store;

	(void)workers;
	if (!settings->exec_command[0]) {
		err_set(err, ERR_CONFIG,
			"READER_EXEC_COMMAND is needed by the store exec");
		return NULL;
	}
	store = calloc(1, sizeof(*store));
	if (store)
		store->recent = recent_new();
	if (!store || !store->recent || keep_environment(store) < 0) {
		err_set(err, ERR_MEMORY, "out of memory for the store");
		if (store)
			exec_store_close(&store->base);
		return NULL;
	}
	/* Ignored by whoever started us, it would lose us exit statuses. */
	signal(SIGCHLD, SIG_DFL);
	snprintf(store->command, sizeof(store->command), "%s",
		 settings->exec_command);
	store->timeout_ms = settings->exec_timeout_ms;
	return &store->base;
}

static struct recent *recent_of(struct store *store)
{
	return ((struct exec_store *)store)->recent;
}

static void exec_check(struct store_probe *probe, struct loop *loop)
{
	(void)loop;
	if (access("/bin/sh", X_OK) < 0)
		err_set_errno(&probe->err, ERR_STORE, errno,
			      "cannot run /bin/sh");
	store_probe_end(probe);
}

static void exec_find(struct store_lookup *lookup, struct loop *loop)
{
	(void)loop;
	recent_find(recent_of(lookup->store), lookup);
	store_lookup_end(lookup);
}

static void exec_remove(struct store_lookup *lookup, struct loop *loop)
{
	(void)loop;
	recent_remove(recent_of(lookup->store), lookup->id);
	store_lookup_end(lookup);
}

static void exec_list(struct store_list *list, struct loop *loop)
{
	(void)loop;
	recent_list(recent_of(list->store), list);
	store_list_end(list);
}

/* ---- waiting ------------------------------------------------------------- */

static void pump(struct exec_sink *sink);

static void finish(struct exec_sink *sink)
{
	if (sink->waits) {
		watch_stop(&sink->in_watch);
		watch_stop(&sink->out_watch);
		watch_stop(&sink->end_watch);
		timer_stop(&sink->timer);
	}
	sink->waits = false;
	sink_end(&sink->base);
}

static void on_room(void *arg, unsigned int ready)
{
	(void)ready;
	pump(arg);
}

static void on_output(void *arg, unsigned int ready)
{
	struct exec_sink *sink = arg;

	(void)ready;
	/* Its end is level-triggered too, and would be reported for ever. */
	if (!program_drain(&sink->program))
		watch_stop(&sink->out_watch);
}

static void on_end(void *arg, unsigned int ready)
{
	(void)ready;
	pump(arg);
}

static void on_timeout(void *arg)
{
	struct exec_sink *sink = arg;
	bool feeding = sink->base.op == SINK_WRITING;

	err_set(&sink->base.err, ERR_STORE, "the program %s %llu ms",
		feeding ? "read nothing for" : "did not end within",
		(unsigned long long)store_of(sink)->timeout_ms);
	program_kill(&sink->program);
	finish(sink);
}

static int start_watches(struct exec_sink *sink)
{
	struct program *program = &sink->program;
	struct loop *loop = sink->base.loop;
	struct err *err = &sink->base.err;

	if (watch_start_level(&sink->end_watch, loop, program->pidfd, on_end,
			      sink, err) < 0 ||
	    watch_start_level(&sink->out_watch, loop, program->out_fd,
			      on_output, sink, err) < 0)
		return -1;
	if (program->in_fd < 0)
		return 0;
	return watch_start(&sink->in_watch, loop, program->in_fd, on_room, sink,
			   err);
}

/* Begin to wait for the rest of the running operation. */
static void wait_on_loop(struct exec_sink *sink)
{
	sink->waits = true;
	timer_init(&sink->timer, sink->base.loop, on_timeout, sink);
	timer_start(&sink->timer, store_of(sink)->timeout_ms);
	if (start_watches(sink) == 0)
		return;
	program_kill(&sink->program);
	finish(sink);
}

/* ---- operations ---------------------------------------------------------- */

static void conclude(struct exec_sink *sink)
{
	bool all_fed = sink->base.op == SINK_STAGING;

	if (program_verdict(&sink->program, all_fed, &sink->base.err) < 0)
		CHECK(err_is_set(&sink->base.err));
	finish(sink);
}

static void feed(struct exec_sink *sink)
{
	size_t before = sink->rest.len;

	if (!program_feed(&sink->program, &sink->rest, &sink->base.err)) {
		program_kill(&sink->program);
		finish(sink);
	} else if (sink->rest.len == 0) {
		finish(sink);
	} else if (!sink->waits) {
		wait_on_loop(sink);
	} else if (sink->rest.len < before) {
		timer_start(&sink->timer, store_of(sink)->timeout_ms);
	}
}

static void pump(struct exec_sink *sink)
{
	if (program_reap(&sink->program))
		conclude(sink);
	else if (sink->base.op == SINK_WRITING)
		feed(sink);
	else if (!sink->waits)
		wait_on_loop(sink);
}

static void exec_write(struct sink *base, struct span bytes)
{
	struct exec_sink *sink = (struct exec_sink *)base;

	digest_update(base->digest, bytes.ptr, bytes.len);
	sink->rest = bytes;
	pump(sink);
}

static void exec_stage(struct sink *base)
{
	struct exec_sink *sink = (struct exec_sink *)base;

	program_eof(&sink->program);
	pump(sink);
}

static void exec_commit(struct sink *sink)
{
	recent_commit(recent_of(sink->store), sink);
	sink_end(sink);
}

static void on_job_done(void *arg)
{
	sink_end(arg);
}

/* In `env`, whose strings lie in `variables`. */
static void fill_environment(const struct exec_store *store,
			     const struct object *object, char **env,
			     char variables[N_OBJECT_VARIABLES][VARIABLE_SIZE])
{
	snprintf(variables[0], VARIABLE_SIZE, "OBJECT_ID=%s", object->id);
	snprintf(variables[1], VARIABLE_SIZE, "OBJECT_NAME=%s", object->name);
	snprintf(variables[2], VARIABLE_SIZE, "OBJECT_TYPE=%s",
		 object->content_type);
	memcpy(env, store->env, store->n_env * sizeof(*env));
	for (size_t i = 0; i < N_OBJECT_VARIABLES; i++)
		env[store->n_env + i] = variables[i];
}

static void run_start(void *arg)
{
	struct exec_sink *sink = arg;
	struct exec_store *store = store_of(sink);
	char variables[N_OBJECT_VARIABLES][VARIABLE_SIZE];
	char **env = calloc(store->n_env + N_OBJECT_VARIABLES + 1,
			    sizeof(*env));
	struct err *err = &sink->base.err;

	if (!env) {
		err_set(err, ERR_MEMORY, "out of memory for the program");
		return;
	}
	fill_environment(store, &sink->base.object, env, variables);
	if (program_start(&sink->program, store->command, env, err) < 0)
		CHECK(err_is_set(err));
	free(env);
}

static void exec_open(struct sink *base)
{
	struct exec_sink *sink = (struct exec_sink *)base;

	workers_submit(base->store->workers, &sink->job, base->loop, run_start,
		       on_job_done, sink);
}

/* A killed program ends at once, unless the kernel itself hangs in it. */
static void run_kill(void *arg)
{
	struct exec_sink *sink = arg;

	program_kill(&sink->program);
	program_wait(&sink->program);
}

static void exec_abort(struct sink *base)
{
	struct exec_sink *sink = (struct exec_sink *)base;

	recent_abort(recent_of(base->store), base);
	if (sink->program.pid > 0)
		workers_submit(base->store->workers, &sink->job, base->loop,
			       run_kill, on_job_done, sink);
	else
		sink_end(base);
}

static struct sink *exec_sink_new(struct store *store)
{
	struct exec_sink *sink = calloc(1, sizeof(*sink));

	(void)store;
	if (!sink)
		return NULL;
	program_init(&sink->program);
	return &sink->base;
}

static void exec_sink_free(struct sink *base)
{
	struct exec_sink *sink = (struct exec_sink *)base;

	CHECK(sink->program.pid == 0);
	free(sink);
}

const struct sink_type sink_type_exec = {
	.kind = "exec",
	.can_append = false,
	.store_open = exec_store_open,
	.store_close = exec_store_close,
	.check = exec_check,
	.find = exec_find,
	.remove = exec_remove,
	.list = exec_list,
	.sink_new = exec_sink_new,
	.sink_free = exec_sink_free,
	.open = exec_open,
	.write = exec_write,
	.stage = exec_stage,
	.commit = exec_commit,
	.abort = exec_abort,
};
