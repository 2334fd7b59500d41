#include "reader/deliver.h"

#include "common/log.h"

static void pump(struct delivery *d);

static void end(struct delivery *d)
{
	source_close(&d->source);
	operation_finish(d->op);
}

static void give_up(struct delivery *d, const struct err *err)
{
	struct operation *op = d->op;

	log_line(LOG_WARN, "delivery", LOG_STR("result", "failed"),
		 LOG_STR("peer", op->peer), LOG_STR("reason", err->text));
	op->on_gone = NULL;	/* it is ended here */
	http_abort(op->x);
	end(d);
}

/* ---- pieces -------------------------------------------------------------- */

static void take_pieces(struct delivery *d)
{
	const struct span *pieces = source_pieces(d->source, &d->n_pieces);

	CHECK(d->n_pieces > 0 && d->n_pieces <= HTTP_CONTENT_PIECES);
	memcpy(d->pieces, pieces, d->n_pieces * sizeof(*pieces));
	d->next = 0;
}

static void on_read(void *arg, const struct err *err)
{
	struct delivery *d = arg;

	d->reading = false;
	if (err) {
		give_up(d, err);
		return;
	}
	take_pieces(d);
	pump(d);
}

/* Take `n` bytes off the front. */
static void skip(struct delivery *d, size_t n)
{
	while (d->next < d->n_pieces && n >= d->pieces[d->next].len)
		n -= d->pieces[d->next++].len;
	if (n > 0) {
		d->pieces[d->next].ptr += n;
		d->pieces[d->next].len -= n;
	}
}

/* True when all were taken; else the socket has to be waited for. */
static bool send_pieces(struct delivery *d)
{
	if (d->next < d->n_pieces)
		skip(d, http_content_send(d->op->x, d->pieces + d->next,
					  d->n_pieces - d->next));
	return d->next == d->n_pieces;
}

/* ---- the pump ------------------------------------------------------------ */

static void step(struct delivery *d)
{
	if (d->reading || !send_pieces(d))
		return;
	if (http_content_left(d->op->x) == 0) {
		end(d);
		return;
	}
	d->reading = true;
	source_next(d->source, on_read, d);
}

/* A store that answers within the call comes back as `again`. */
static void pump(struct delivery *d)
{
	d->again = true;
	if (d->pumping)
		return;
	d->pumping = true;
	while (d->again && d->source && d->op->x) {
		d->again = false;
		step(d);
	}
	d->pumping = false;
}

void delivery_on_writable(struct delivery *d)
{
	if (d->source)
		pump(d);
}

void delivery_on_gone(struct delivery *d)
{
	if (d->source)
		end(d);
}

void delivery_start(struct delivery *d, struct operation *op,
		    const struct http_reply *reply,
		    struct store_lookup *found, uint64_t first,
		    uint64_t length)
{
	struct err err = ERR_INIT;

	d->op = op;
	d->source = source_open(found, first, length, op->thread->loop);
	if (d->source) {
		http_content_begin(op->x, reply, length);
		pump(d);
		return;
	}
	err_set(&err, ERR_MEMORY, "out of memory for a delivery");
	http_reply_problem(op->x, &err);
	operation_finish(op);
}
