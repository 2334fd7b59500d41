#include "reader/app.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/port_check.h"

#include "reader/expiry.h"
#include "reader/routes.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAX_THREADS 256u
#define TICK_MS 10u
#define LINGER_MS 2000u
#define LINGER_BYTES (8u * 1024u * 1024u)
/*
 * An upload is over for its broadcaster when it is committed: while objects
 * were staged this recently, connections with their commits are still let in.
 */
#define COMMIT_GRACE_MS 5000u
/*
 * What cannot be cut off in this time is left to the next start's clean-up. A
 * program that is fed has its own time before it is killed, because one whose
 * standard input ends with us would take what it got for the whole.
 */
#define CUT_MS 5000u

#define APP_PHASES(X)                                                  \
	X(SERVING, "serving", "all is well")                           \
	X(CLOSING, "closing", "no new uploads; commits may still come") \
	X(DRAINING, "draining", "no new connections")                  \
	X(CUTTING, "cutting", "all connections are closed")            \
	X(FLUSHING, "flushing", "staged objects are removed")          \
	X(STOPPED, "stopped", "the loops end")

#define APP_PHASE_NAME(name, text, meaning) PHASE_##name,
enum app_phase { APP_PHASES(APP_PHASE_NAME) };
#undef APP_PHASE_NAME

struct app_thread {
	struct reader_thread base;
	pthread_t pthread;
	struct post order;		/* one at a time */
	struct timer tick;
	atomic_bool idle;		/* nothing runs, nobody is connected */
	atomic_bool working;		/* requests are not answered yet */
};

struct app {
	struct reader reader;
	enum app_phase phase;
	int status;
	uint64_t deadline_ms;		/* of the phases after SERVING */
	struct expiry expiry;
	struct timer tick;
	unsigned int n_threads;
	struct app_thread *threads;
};

/* ---- orders to the threads ----------------------------------------------- */

static void look_if_idle(void *arg)
{
	struct app_thread *t = arg;
	bool working = t->base.n_operations > 0;
	bool connected = t->base.server &&
			 http_server_connections(t->base.server) > 0;

	atomic_store(&t->working, working);
	atomic_store(&t->idle, !working && !connected);
	timer_start(&t->tick, TICK_MS);
}

static void on_drain(void *arg)
{
	struct app_thread *t = arg;

	http_server_drain(t->base.server);
	look_if_idle(t);
}

static void on_cut(void *arg)
{
	struct app_thread *t = arg;

	http_server_free(&t->base.server);
	look_if_idle(t);
}

static void on_stop(void *arg)
{
	struct app_thread *t = arg;

	timer_stop(&t->tick);
	http_server_free(&t->base.server);
	loop_stop(t->base.loop);
}

static void order_all(struct app *app, loop_fn *fn)
{
	for (unsigned int i = 0; i < app->n_threads; i++) {
		struct app_thread *t = &app->threads[i];

		atomic_store(&t->idle, false);
		atomic_store(&t->working, true);
		loop_post(t->base.loop, &t->order, fn, t);
	}
}

static bool all_idle(const struct app *app)
{
	for (unsigned int i = 0; i < app->n_threads; i++)
		if (!atomic_load(&app->threads[i].idle))
			return false;
	return true;
}

static bool any_working(const struct app *app)
{
	for (unsigned int i = 0; i < app->n_threads; i++)
		if (atomic_load(&app->threads[i].working))
			return true;
	return false;
}

/* ---- phases -------------------------------------------------------------- */

static const char *phase_name(enum app_phase phase)
{
#define APP_PHASE_TEXT(name, text, meaning) text,
	static const char *const names[] = { APP_PHASES(APP_PHASE_TEXT) };
#undef APP_PHASE_TEXT

	return names[phase];
}

#define BIT(phase) (1u << PHASE_##phase)

/* The only place where the phase is assigned. */
static void set_phase(struct app *app, enum app_phase phase)
{
	static const unsigned int next[] = {
		[PHASE_SERVING] = BIT(CLOSING),
		[PHASE_CLOSING] = BIT(DRAINING) | BIT(CUTTING),
		[PHASE_DRAINING] = BIT(FLUSHING) | BIT(CUTTING),
		[PHASE_CUTTING] = BIT(FLUSHING),
		[PHASE_FLUSHING] = BIT(STOPPED),
		[PHASE_STOPPED] = 0,
	};

	CHECK(next[app->phase] & (1u << phase));
	app->phase = phase;
	log_line(LOG_INFO, "phase", LOG_STR("name", phase_name(phase)),
		 LOG_U64("uploads", atomic_load(&app->reader.n_uploads)));
}

static void on_flushed(void *arg)
{
	struct app *app = arg;

	set_phase(app, PHASE_STOPPED);
	timer_stop(&app->tick);
	order_all(app, on_stop);
}

static void close_door(struct app *app)
{
	set_phase(app, PHASE_CLOSING);
	atomic_store(&app->reader.draining, true);
	app->deadline_ms = clock_monotonic_ms() +
			   app->reader.settings->drain_timeout_ms;
}

static uint64_t cut_ms(const struct app *app)
{
	bool runs_programs = strcmp(store_kind(app->reader.store), "exec") == 0;

	return runs_programs ? CUT_MS + app->reader.settings->exec_timeout_ms
			     : CUT_MS;
}

/* Close all connections; those that only linger were answered. */
static void cut(struct app *app)
{
	app->status = app->phase != PHASE_DRAINING || any_working(app);
	set_phase(app, PHASE_CUTTING);
	app->deadline_ms = clock_monotonic_ms() + cut_ms(app);
	order_all(app, on_cut);
}

/* Somebody is impatient, or something stuck: nothing more can be done. */
static void leave(void)
{
	log_line(LOG_ERROR, "stuck",
		 LOG_STR("reason", "left before the store was done"));
	log_exit();
	_exit(1);
}

static bool commits_may_come(const struct app *app, uint64_t now)
{
	return staging_busy(app->reader.staging,
			    now > COMMIT_GRACE_MS ? now - COMMIT_GRACE_MS
						  : 0) > 0;
}

static void step(struct app *app, uint64_t now)
{
	bool late = now >= app->deadline_ms;

	switch (app->phase) {
	case PHASE_CLOSING:
		if (late) {
			cut(app);
		} else if (!commits_may_come(app, now)) {
			set_phase(app, PHASE_DRAINING);
			order_all(app, on_drain);
		}
		break;
	case PHASE_DRAINING:
	case PHASE_CUTTING:
		if (all_idle(app)) {
			set_phase(app, PHASE_FLUSHING);
			app->deadline_ms = now + CUT_MS;
			expiry_flush(&app->expiry, on_flushed, app);
		} else if (late && app->phase == PHASE_DRAINING) {
			cut(app);
		} else if (late) {
			leave();
		}
		break;
	case PHASE_FLUSHING:
		if (late)
			leave();
		break;
	case PHASE_SERVING:
	case PHASE_STOPPED:
		break;
	}
}

static void on_tick(void *arg)
{
	struct app *app = arg;

	timer_start(&app->tick, TICK_MS);
	step(app, clock_monotonic_ms());
}

static void on_signal(void *arg, int signum)
{
	struct app *app = arg;

	log_line(LOG_INFO, "signal", LOG_U64("number", (uint64_t)signum));
	if (app->phase == PHASE_SERVING)
		close_door(app);
	else if (app->phase < PHASE_CUTTING)
		cut(app);
	else
		leave();
	on_tick(app);
}

/* ---- start --------------------------------------------------------------- */

/* As many descriptors as we may have: connections, files, programs. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static unsigned int count_threads(const struct reader_settings *settings)
{
	long n = settings->threads > 0 ? (long)settings->threads
				       : sysconf(_SC_NPROCESSORS_ONLN);

	if (n < 1)
		return 1;
	return n > (long)MAX_THREADS ? MAX_THREADS : (unsigned int)n;
}

static struct http_server_settings server_settings(const struct app *app)
{
	const struct reader_settings *s = app->reader.settings;

	return (struct http_server_settings){
		.address = s->address,
		.max_connections = (size_t)(s->max_connections +
					    app->n_threads - 1) /
				   app->n_threads,
		.receive_buffer = s->receive_buffer,
		.head_timeout_ms = s->head_timeout_ms,
		.idle_timeout_ms = s->idle_timeout_ms,
		.min_rate = s->min_rate,
		.grace_ms = s->grace_ms,
		.write_timeout_ms = s->write_timeout_ms,
		.linger_ms = LINGER_MS,
		.linger_bytes = LINGER_BYTES,
		.max_body = s->max_upload_bytes,
		.workers = app->reader.workers,
	};
}

/* Port 0 is chosen by the first thread's socket, for all. */
static int open_servers(struct app *app, struct err *err)
{
	struct http_server_settings settings = server_settings(app);

	if (port_check_free(&settings.address, err) < 0)
		return -1;
	for (unsigned int i = 0; i < app->n_threads; i++) {
		struct app_thread *t = &app->threads[i];

		t->base.server = http_server_new(t->base.loop, &settings,
						 route_request, &t->base, err);
		if (!t->base.server)
			return -1;
		settings.address.port = http_server_port(t->base.server);
	}
	return 0;
}

static int open_loops(struct app *app, struct err *err)
{
	app->threads = calloc(app->n_threads, sizeof(*app->threads));
	if (!app->threads)
		return err_set(err, ERR_MEMORY, "out of memory for threads");
	for (unsigned int i = 0; i < app->n_threads; i++) {
		struct app_thread *t = &app->threads[i];

		t->base.reader = &app->reader;
		t->base.loop = loop_new(err);
		if (!t->base.loop)
			return -1;
		timer_init(&t->tick, t->base.loop, look_if_idle, t);
	}
	return 0;
}

static int open_store(struct app *app, struct err *err)
{
	const struct reader_settings *settings = app->reader.settings;

	app->reader.workers = workers_new((unsigned int)settings->disk_threads,
					  err);
	if (!app->reader.workers)
		return -1;
	app->reader.staging = staging_new((size_t)settings->max_staged);
	if (!app->reader.staging)
		return err_set(err, ERR_MEMORY, "out of memory at start");
	app->reader.store = store_open(store_kinds[settings->store], settings,
				       app->reader.workers, err);
	return app->reader.store ? 0 : -1;
}

static int watch_signals(struct app *app, struct err *err)
{
	struct loop *loop = app->threads[0].base.loop;

	timer_init(&app->tick, loop, on_tick, app);
	signal(SIGPIPE, SIG_IGN);
	if (loop_on_signal(loop, SIGTERM, on_signal, app, err) < 0)
		return -1;
	return loop_on_signal(loop, SIGINT, on_signal, app, err);
}

static int open_all(struct app *app, struct err *err)
{
	reader_metrics_init(&app->reader.metrics);
	if (open_store(app, err) < 0 || open_loops(app, err) < 0 ||
	    open_servers(app, err) < 0)
		return -1;
	return watch_signals(app, err);
}

static void log_start(const struct app *app)
{
	struct address address = app->reader.settings->address;
	char text[300];

	address.port = http_server_port(app->threads[0].base.server);
	address_format(&address, text, sizeof(text));
	log_line(LOG_INFO, "listening", LOG_STR("address", text),
		 LOG_STR("store", store_kind(app->reader.store)),
		 LOG_U64("threads", app->n_threads),
		 LOG_STR("version", STREAM_BROADCAST_VERSION));
}

/* ---- run and end --------------------------------------------------------- */

static void *run_thread(void *arg)
{
	struct app_thread *t = arg;

	loop_run(t->base.loop);
	return NULL;
}

/* The other threads leave the signals to the first one. */
static unsigned int start_threads(struct app *app)
{
	unsigned int n = 1;
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (n < app->n_threads &&
	       pthread_create(&app->threads[n].pthread, NULL, run_thread,
			      &app->threads[n]) == 0)
		n++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return n;
}

static void serve(struct app *app)
{
	unsigned int n = start_threads(app);

	if (n < app->n_threads) {
		/* its listening socket would take connections for nobody */
		log_line(LOG_ERROR, "stuck",
			 LOG_STR("reason", "cannot start a thread"));
		log_exit();
		_exit(1);
	}
	log_start(app);
	expiry_start(&app->expiry, &app->threads[0].base,
		     app->reader.settings->staged_ttl_ms);
	loop_run(app->threads[0].base.loop);
	for (unsigned int i = 1; i < n; i++)
		pthread_join(app->threads[i].pthread, NULL);
}

static void do_nothing(void *arg)
{
	(void)arg;
}

/* What workers posted while the loop ended, and burials. */
static void close_thread(struct app *app, struct app_thread *t)
{
	if (!t->base.loop)
		return;
	http_server_free(&t->base.server);
	if (app->reader.store)
		store_leave(app->reader.store, t->base.loop);
	loop_post(t->base.loop, &t->order, do_nothing, NULL);
	loop_run_once(t->base.loop);
	thread_release(&t->base);
	loop_free(&t->base.loop);
}

static void close_all(struct app *app)
{
	workers_free(&app->reader.workers);
	for (unsigned int i = 0; app->threads && i < app->n_threads; i++)
		close_thread(app, &app->threads[i]);
	free(app->threads);
	store_close(&app->reader.store);
	staging_free(&app->reader.staging);
	metrics_exit();
}

int reader_run(const struct reader_settings *settings, struct err *err)
{
	struct app app = { .reader.settings = settings };
	int status = -1;

	if (log_init((enum log_level)settings->log_level,
		     log_format_names[settings->log_format], err) < 0)
		return -1;
	raise_descriptor_limit();
	app.n_threads = count_threads(settings);
	if (open_all(&app, err) == 0) {
		serve(&app);
		status = app.status;
	}
	close_all(&app);
	log_exit();
	return status;
}
