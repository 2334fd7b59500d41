/*
 * Content by ranges of READ_BYTES, one read ahead: while a piece is sent the next
 * one is fetched, and while the consumer takes its time no connection is held.
 *
 *   source_next ──▶ is a piece here? ─yes─▶ source_end
 *                        │ no                  ▲
 *                        ▼                     │
 *   engine: GET Range ──────post back──────────┘
 *
 * A reading belongs to the source's thread, but while it is asked for something:
 * then the engine works on it. A source that is closed meanwhile leaves it to the
 * engine, which stops the request and frees it.
 */
#include "reader/s3_sink.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define READ_BYTES (UINT64_C(2) << 20)
#define FIRST_BYTES (UINT64_C(256) << 10)	/* of what may be a short look */

enum reading_state {
	READING_IDLE,	/* the source's */
	READING_ASKED,	/* the engine's */
	READING_LEFT,	/* the engine's, and nobody waits for it */
};

struct reading {
	struct s3_engine *engine;
	struct loop *loop;
	struct post there, back, stop;
	struct deferred end;
	atomic_int state;
	struct s3_source *source;	/* who waits for on_back(), or NULL */
	struct s3_request request;
	struct err err;
	uint64_t etag_hash;
	char key[S3_KEY_SIZE];
	char range[64];
	char *room;			/* two of READ_BYTES */
	unsigned int slot;		/* of the one that is being read */
	uint64_t first, len;		/* what is being read */
};

struct s3_source {
	struct source base;
	struct reading *reading;
	uint64_t asked;		/* behind the last byte that was asked for */
	uint64_t ready;		/* bytes of the piece that is here, not taken */
	unsigned int ready_slot;
	bool has_begun;
	struct err err;		/* of the piece that could not be read */
};

static void free_reading(struct reading *reading)
{
	if (reading->room)
		munmap(reading->room, 2 * READ_BYTES);
	free(reading);
}

/* ---- on the engine's loop -------------------------------------------------- */

static void on_back(void *arg);

static void hand_back(void *arg)
{
	struct reading *reading = arg;
	int asked = READING_ASKED;

	/* Closed: then on_stop() is on its way, and frees it. */
	if (atomic_compare_exchange_strong(&reading->state, &asked,
					   READING_IDLE))
		loop_post(reading->loop, &reading->back, on_back, reading);
}

static void on_range(void *arg, struct s3_request *r)
{
	struct reading *reading = arg;

	if (err_is_set(&r->err))
		reading->err = r->err;
	else if (s3_etag_hash(r->etag) != reading->etag_hash)
		err_set(&reading->err, ERR_STORE,
			"the object was replaced while it was read");
	else if (r->status != 206 || r->answer.len != reading->len)
		err_set(&reading->err, ERR_STORE,
			"the S3 server answered %d with %zu bytes instead of "
			"%" PRIu64,
			r->status, r->answer.len, reading->len);
	loop_defer(reading->engine->loop, &reading->end, hand_back, reading);
}

static void run_range(void *arg)
{
	struct reading *reading = arg;
	struct s3_request *r = &reading->request;

	s3_request_init(r, reading->engine, "GET", reading->key);
	snprintf(reading->range, sizeof(reading->range),
		 "bytes=%" PRIu64 "-%" PRIu64, reading->first,
		 reading->first + reading->len - 1);
	s3_request_field(r, "range", reading->range);
	r->room = reading->room + reading->slot * READ_BYTES;
	r->room_size = reading->len;
	s3_request_start(r, on_range, reading);
}

static void on_stop(void *arg)
{
	struct reading *reading = arg;

	s3_request_cancel(&reading->request);
	loop_undefer(reading->engine->loop, &reading->end);
	free_reading(reading);
}

/* ---- on the source's loop -------------------------------------------------- */

/* Fetch the next range into the slot that is not in use. */
static void ask(struct s3_source *source)
{
	struct reading *reading = source->reading;
	uint64_t most = source->has_begun ? READ_BYTES : FIRST_BYTES;
	uint64_t left = source->base.end - source->asked;

	if (left == 0)
		return;
	source->has_begun = true;
	reading->first = source->asked;
	reading->len = left < most ? left : most;
	source->asked += reading->len;
	reading->source = source;
	atomic_store(&reading->state, READING_ASKED);
	loop_post(reading->engine->loop, &reading->there, run_range, reading);
}

/* Hand the piece that is here to the consumer, and fetch the one behind it. */
static void give(struct s3_source *source)
{
	struct reading *reading = source->reading;

	if (err_is_set(&source->err)) {
		source->base.err = source->err;
	} else {
		source->base.pieces[0] = span_make(
			reading->room + source->ready_slot * READ_BYTES,
			source->ready);
		source->base.n_pieces = 1;
		source->base.at += source->ready;
		source->ready = 0;
		reading->slot = !source->ready_slot;
		ask(source);
	}
	source_end(&source->base);
}

static void on_back(void *arg)
{
	struct reading *reading = arg;
	struct s3_source *source = reading->source;

	if (!source) {
		free_reading(reading);
		return;
	}
	source->ready = reading->len;
	source->ready_slot = reading->slot;
	source->err = reading->err;
	reading->source = NULL;		/* nothing comes back any more */
	if (source->base.busy)
		give(source);
}

struct source *s3_source_new(struct store_lookup *found)
{
	struct s3_source *source = calloc(1, sizeof(*source));
	struct reading *reading = calloc(1, sizeof(*reading));

	if (reading)
		reading->room = mmap(NULL, 2 * READ_BYTES,
				     PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!source || !reading || reading->room == MAP_FAILED) {
		free(reading);
		free(source);
		return NULL;
	}
	reading->engine = s3_engine_of(found->store);
	reading->etag_hash = found->handle;
	s3_key_of_content(reading->engine->config.prefix, found->object.id,
			  found->object.name, reading->key);
	source->reading = reading;
	return &source->base;
}

void s3_source_next(struct source *base)
{
	struct s3_source *source = (struct s3_source *)base;

	if (source->ready > 0 || err_is_set(&source->err)) {
		give(source);
		return;
	}
	if (!source->has_begun) {
		source->reading->loop = base->loop;
		source->asked = base->at;
		ask(source);
	}
}

void s3_source_free(struct source *base)
{
	struct s3_source *source = (struct s3_source *)base;
	struct reading *reading = source->reading;
	int asked = READING_ASKED;

	if (atomic_compare_exchange_strong(&reading->state, &asked,
					   READING_LEFT))
		loop_post(reading->engine->loop, &reading->stop, on_stop,
			  reading);
	else if (reading->source)
		reading->source = NULL;	/* on_back() is on its way */
	else
		free_reading(reading);
	free(source);
}
