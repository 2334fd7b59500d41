#include "broadcaster/app.h"

#include "broadcaster/front.h"
#include "broadcaster/ingest.h"
#include "broadcaster/media_job.h"
#include "broadcaster/page.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/port_check.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXIT_TICK_MS 20u
#define FLUSH_MS 2000u		/* for last answers to leave */
#define ABORT_MS 10000u		/* for aborted uploads to withdraw their copies */

/* One thread's part of the process. */
struct seat {
	struct app *app;
	struct front *front;
	pthread_t thread;
	struct post abort_post, exit_post;
	struct timer exit_timer;
	uint64_t exit_deadline_ms;
	struct deferred turn;
};

struct app {
	struct front_shared shared;
	struct seat *seats;
	unsigned int n_seats;
	unsigned int n_threads;		/* started, besides the first */
	struct timer drain_timer;	/* on the first seat's loop */
	uint64_t drain_deadline_ms;
	bool is_aborting, is_exiting;
};

static struct loop *main_loop(struct app *app)
{
	return app->seats[0].front->loop;
}

/* ---- leaving ------------------------------------------------------------- */

static void on_exit_tick(void *arg)
{
	struct seat *seat = arg;
	struct loop *loop = seat->front->loop;

	if (http_server_connections(seat->front->server) == 0 ||
	    loop_now_ms(loop) >= seat->exit_deadline_ms)
		loop_stop(loop);
	else
		timer_start(&seat->exit_timer, EXIT_TICK_MS);
}

/* On the seat's thread: close idle connections, let last answers leave. */
static void on_exit_seat(void *arg)
{
	struct seat *seat = arg;
	struct loop *loop = seat->front->loop;

	http_server_drain(seat->front->server);
	seat->exit_deadline_ms = loop_now_ms(loop) + FLUSH_MS;
	timer_init(&seat->exit_timer, loop, on_exit_tick, seat);
	on_exit_tick(seat);
}

static void exit_all(struct app *app)
{
	app->is_exiting = true;
	for (unsigned int i = 0; i < app->n_seats; i++)
		loop_post(app->seats[i].front->loop, &app->seats[i].exit_post,
			  on_exit_seat, &app->seats[i]);
}

/* On the seat's thread. */
static void on_abort_seat(void *arg)
{
	struct seat *seat = arg;
	struct err why = ERR_INIT;
	struct ingest *in, *next;

	err_set(&why, ERR_LIMIT, "shutting down");
	for (in = seat->front->uploads; in; in = next) {
		next = in->next;
		ingest_abort(in, &why);
	}
	media_job_abort_all(seat->front, &why);
}

static void abort_all(struct app *app, const char *why)
{
	if (app->is_aborting)
		return;
	app->is_aborting = true;
	app->drain_deadline_ms = loop_now_ms(main_loop(app)) + ABORT_MS;
	log_line(LOG_WARN, "abort", LOG_STR("reason", why),
		 LOG_U64("uploads", atomic_load(&app->shared.n_uploads)),
		 LOG_U64("media", atomic_load(&app->shared.n_media)));
	for (unsigned int i = 0; i < app->n_seats; i++)
		loop_post(app->seats[i].front->loop, &app->seats[i].abort_post,
			  on_abort_seat, &app->seats[i]);
}

/* Uploads and what is done with stored objects. */
static unsigned int n_running(struct app *app)
{
	return atomic_load(&app->shared.n_uploads) +
	       atomic_load(&app->shared.n_media);
}

static void on_drain_tick(void *arg)
{
	struct app *app = arg;
	bool is_late = loop_now_ms(main_loop(app)) >= app->drain_deadline_ms;

	if (n_running(app) == 0 ||
	    (is_late && app->is_aborting)) {
		exit_all(app);
		return;
	}
	if (is_late)
		abort_all(app, "drain deadline");
	timer_start(&app->drain_timer, EXIT_TICK_MS);
}

static void on_stop_signal(void *arg, int signum)
{
	struct app *app = arg;

	if (app->is_exiting)
		return;
	if (atomic_exchange(&app->shared.draining, true)) {
		abort_all(app, "second signal");
		return;
	}
	log_line(LOG_INFO, "drain", LOG_U64("signal", (uint64_t)signum),
		 LOG_U64("uploads", atomic_load(&app->shared.n_uploads)),
		 LOG_U64("media", atomic_load(&app->shared.n_media)));
	app->drain_deadline_ms = loop_now_ms(main_loop(app)) +
				 app->shared.settings->drain_timeout_ms;
	on_drain_tick(app);
}

/* ---- start --------------------------------------------------------------- */

static void init_metrics(struct front_shared *s)
{
	static const double bounds[] = { 0.001, 0.003, 0.01, 0.03, 0.1, 0.3,
					 1,	3,     10,   30,   100, 300 };
	const char *uploads = "broadcaster_uploads_total";
	const char *help = "Uploads that have ended, by result.";

	s->uploads_active = metrics_gauge("broadcaster_uploads_active",
					  "Uploads running now.", NULL, NULL);
	s->received_bytes = metrics_counter("broadcaster_received_bytes_total",
					    "Content bytes from clients.", NULL,
					    NULL);
	s->uploads_created = metrics_counter(uploads, help, "result", "created");
	s->uploads_degraded =
		metrics_counter(uploads, help, "result", "degraded");
	s->uploads_failed = metrics_counter(uploads, help, "result", "failed");
	s->uploads_rejected =
		metrics_counter(uploads, help, "result", "rejected");
	s->uploads_client_aborted =
		metrics_counter(uploads, help, "result", "client_aborted");
	s->upload_seconds = metrics_histogram(
		"broadcaster_upload_seconds", "Duration of uploads.", NULL,
		NULL, bounds, sizeof(bounds) / sizeof(bounds[0]));
}

static void init_media_metrics(struct front_shared *s)
{
	const char *total = "broadcaster_playbacks_total";
	const char *help = "Playbacks that have ended, by result.";

	s->playbacks_active = metrics_gauge("broadcaster_playbacks_active",
					    "Playbacks running now.", NULL, NULL);
	s->playback_bytes = metrics_counter("broadcaster_playback_bytes_total",
					    "Content bytes sent to players.",
					    NULL, NULL);
	s->playback_failovers = metrics_counter(
		"broadcaster_playback_failovers_total",
		"Times that a playback went on from another reader.", NULL,
		NULL);
	s->playbacks_complete =
		metrics_counter(total, help, "result", "complete");
	s->playbacks_absent = metrics_counter(total, help, "result", "absent");
	s->playbacks_failed = metrics_counter(total, help, "result", "failed");
	s->playbacks_rejected =
		metrics_counter(total, help, "result", "rejected");
	s->playbacks_client_aborted =
		metrics_counter(total, help, "result", "client_aborted");
}

static unsigned int count_threads(const struct broadcaster_settings *s)
{
	long n = s->threads ? (long)s->threads : sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : (unsigned int)n;
}

static int init_app(struct app *app, const struct broadcaster_settings *s,
		    struct err *err)
{
	app->shared.settings = s;
	uuid_v7(clock_wall_ms(), app->shared.instance);
	init_metrics(&app->shared);
	init_media_metrics(&app->shared);
	page_init();
	app->n_seats = count_threads(s);
	app->seats = calloc(app->n_seats, sizeof(*app->seats));
	app->shared.fronts = calloc(app->n_seats, sizeof(struct front *));
	if (!app->seats || !app->shared.fronts)
		return err_set(err, ERR_MEMORY, "out of memory for threads");
	return 0;
}

static int open_fronts(struct app *app, struct err *err)
{
	uint16_t port = app->shared.settings->address.port;

	if (port_check_free(&app->shared.settings->address, err) < 0)
		return -1;
	for (unsigned int i = 0; i < app->n_seats; i++) {
		struct front *front = front_new(&app->shared, err);

		if (!front)
			return -1;
		app->seats[i].app = app;
		app->seats[i].front = front;
		app->shared.fronts[i] = front;
		app->shared.n_fronts = i + 1;
		if (front_listen(front, port, err) < 0)
			return -1;
		port = http_server_port(front->server);
	}
	return 0;
}

static void *run_seat(void *arg)
{
	struct seat *seat = arg;

	loop_run(seat->front->loop);
	return NULL;
}

static int start_threads(struct app *app, struct err *err)
{
	sigset_t all, old;
	int rc = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned int i = 1; i < app->n_seats && rc == 0; i++) {
		rc = pthread_create(&app->seats[i].thread, NULL, run_seat,
				    &app->seats[i]);
		if (rc == 0)
			app->n_threads++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0)
		return err_set_errno(err, ERR_LIMIT, rc,
				     "cannot start a thread");
	return 0;
}

static int watch_signals(struct app *app, struct err *err)
{
	signal(SIGPIPE, SIG_IGN);
	timer_init(&app->drain_timer, main_loop(app), on_drain_tick, app);
	if (loop_on_signal(main_loop(app), SIGTERM, on_stop_signal, app, err) < 0)
		return -1;
	return loop_on_signal(main_loop(app), SIGINT, on_stop_signal, app, err);
}

static void log_start(const struct app *app)
{
	const struct broadcaster_settings *s = app->shared.settings;

	log_line(LOG_INFO, "start", LOG_STR("program", "broadcaster"),
		 LOG_STR("version", STREAM_BROADCAST_VERSION),
		 LOG_U64("port",
			 http_server_port(app->seats[0].front->server)),
		 LOG_U64("threads", app->n_seats),
		 LOG_U64("targets", s->targets.n),
		 LOG_U64("copies", s->policy.copies),
		 LOG_U64("buffer_bytes", s->buffer_size));
}

static void on_turn(void *arg)
{
	(void)arg;
}

/*
 * Watchers are passed from thread to thread. No thread runs any more, so what
 * was still on its way is delivered here; a deferred call keeps a turn from
 * waiting.
 */
static void let_watchers_go(struct app *app)
{
	for (unsigned int i = 0; i < app->shared.n_fronts; i++)
		front_close(app->shared.fronts[i]);
	while (atomic_load(&app->shared.n_watchers) > 0) {
		for (unsigned int i = 0; i < app->shared.n_fronts; i++) {
			struct loop *loop = app->shared.fronts[i]->loop;

			loop_defer(loop, &app->seats[i].turn, on_turn, NULL);
			loop_run_once(loop);
		}
	}
}

static void release_app(struct app *app)
{
	for (unsigned int i = 0; i < app->n_threads; i++)
		pthread_join(app->seats[i + 1].thread, NULL);
	let_watchers_go(app);
	for (unsigned int i = 0; i < app->shared.n_fronts; i++)
		front_free(&app->seats[i].front);
	free(app->seats);
	free(app->shared.fronts);
	metrics_exit();
}

int app_run(const struct broadcaster_settings *settings, struct err *err)
{
	struct app app = { .is_aborting = false };
	int status = 1;

	if (init_app(&app, settings, err) == 0 && open_fronts(&app, err) == 0 &&
	    watch_signals(&app, err) == 0 && start_threads(&app, err) == 0) {
		log_start(&app);
		loop_run(main_loop(&app));
		status = app.is_aborting ? 1 : 0;
		log_line(LOG_INFO, "stop", LOG_U64("status", (uint64_t)status));
	}
	release_app(&app);
	return status;
}
