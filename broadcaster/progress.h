/*
 * progress.h - watching uploads from outside, without disturbing them
 *
 * An upload lives on one thread, a watcher's connection maybe on another. They
 * only exchange messages: the question travels from thread to thread until the
 * upload is found; an event stream subscribes there, and gets the upload's state
 * with its 250 ms tick, at most one message at a time on its way. A watcher who
 * is slow gets the newest state, never a queue; the upload never waits.
 */
#ifndef BROADCASTER_PROGRESS_H
#define BROADCASTER_PROGRESS_H

#include "broadcaster/ingest.h"

/* GET /broadcast: the uploads running in this process, as JSON. */
void progress_list(struct front *front, struct http_exchange *x);

/*
 * GET /broadcast/{id or Idempotency-Key}/progress: JSON, or server-sent events
 * with Accept: text/event-stream. 404 when no such upload is running here.
 */
void progress_watch(struct front *front, struct http_exchange *x,
		    const char *id_or_key);

/* The upload's tick: tell its watchers. Costs nothing without them. */
void progress_publish(struct ingest *ingest);

/* The upload is decided: a last event, and the streams end. */
void progress_finish(struct ingest *ingest);

#endif
