/*
 * front.h - one thread's half of the front door
 *
 * Every thread has its own loop, listener, client and pools; an upload lives its
 * whole life on one of them, so the data path has no locks. What the threads
 * share is in struct front_shared, and is atomic.
 */
#ifndef BROADCASTER_FRONT_H
#define BROADCASTER_FRONT_H

#include "broadcaster/reply.h"
#include "broadcaster/settings.h"
#include "common/http_server.h"
#include "common/metrics.h"
#include "common/ring.h"
#include "common/uuid.h"

#include <stdatomic.h>

struct ingest;
struct media_job;
struct front;

/* One target as a thread sees it. */
struct outlet {
	const struct target *target;
	unsigned int index;		/* its bit in a policy */
	bool is_tls;
	struct http_origin *origin;	/* owned */
	struct metric *sent_bytes, *committed, *failed, *detached;
	uint64_t shy_until_ms;		/* see outlet_shun() */
};

/* What all threads share; lives as long as the process. */
struct front_shared {
	const struct broadcaster_settings *settings;
	char instance[UUID_TEXT_SIZE];	/* of this process, for Via */
	atomic_uint n_uploads;		/* running, over all threads */
	atomic_uint n_watchers;		/* of progress, on their way or not */
	atomic_uint n_media;		/* jobs about stored objects, running */
	atomic_uint n_playbacks;	/* of them playbacks, */
	atomic_uint n_lists;		/* and lists */
	atomic_bool draining;
	struct front **fronts;		/* every thread's; fixed after start */
	unsigned int n_fronts;
	struct metric *uploads_active, *received_bytes, *upload_seconds;
	struct metric *uploads_created, *uploads_degraded, *uploads_failed,
		*uploads_rejected, *uploads_client_aborted;
	struct metric *playbacks_active, *playback_bytes, *playback_failovers;
	struct metric *playbacks_complete, *playbacks_absent, *playbacks_failed,
		*playbacks_rejected, *playbacks_client_aborted;
};

struct front {
	struct front_shared *shared;
	const struct broadcaster_settings *settings;
	struct loop *loop;
	struct http_client *client;
	struct http_server *server;
	struct outlet *outlets;
	unsigned int n_outlets;
	struct reply_pool replies;
	struct ring *rings[16];		/* idle, for the next uploads */
	unsigned int n_rings;
	struct ingest *uploads;		/* running here, linked */
	struct media_job *media;	/* running here, linked */
	unsigned int media_turn;	/* which reader is asked first next */
};

/* A thread's front with loop, client and outlets, not listening yet. */
struct front *front_new(struct front_shared *shared, struct err *err);

/* Listen, on the shared address. */
int front_listen(struct front *front, uint16_t port, struct err *err)
	MUST_CHECK;

/*
 * After its loop has stopped: end all connections and uploads that are left.
 * Watchers of progress may still have to be told on other threads' loops.
 */
void front_close(struct front *front);

/* Free *front and null it, closed or never listening. */
void front_free(struct front **front);

/*
 * It lately did not answer: for some seconds players ask it after all others,
 * and lists do not wait for it as long.
 */
void outlet_shun(struct outlet *outlet, uint64_t now_ms);

/* Is that so now? */
bool outlet_is_shy(const struct outlet *outlet, uint64_t now_ms);

/* A ring for an upload, at position 0, or NULL when out of memory. */
struct ring *front_take_ring(struct front *front);

/* Give it back; no cursor may be attached. */
void front_give_ring(struct front *front, struct ring **ring);

#endif
