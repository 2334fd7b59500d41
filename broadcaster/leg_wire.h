/*
 * leg_wire.h - what a leg says on its connection: heads, body framing, calls
 *
 * Private to the leg (leg.c decides, leg_wire.c speaks).
 */
#ifndef BROADCASTER_LEG_WIRE_H
#define BROADCASTER_LEG_WIRE_H

#include "broadcaster/leg.h"

enum wire_result {
	WIRE_BLOCKED,	/* socket full, or nothing to send yet */
	WIRE_HELD,	/* all sent but what a plain endpoint gets at the end */
	WIRE_SENT,	/* the body and its end are sent or queued */
	WIRE_BAD,	/* err: the connection is lost */
};

/* Forget unsent control bytes. */
void outbox_clear(struct outbox *out);

/* Send the request's head; what does not fit stays in the outbox. */
int wire_offer(struct leg *leg, struct err *err) MUST_CHECK;

/* Send what is in the outbox: 1 all, 0 blocked, -1 err. */
int wire_flush(struct leg *leg, struct err *err) MUST_CHECK;

/* Send as much of the body as the ring holds and the socket takes. */
enum wire_result wire_send_body(struct leg *leg, struct err *err);

/* Send what was held back from a plain endpoint: WIRE_SENT or WIRE_BLOCKED. */
enum wire_result wire_send_rest(struct leg *leg, struct err *err);

/* Ask for the commit on the body's own connection, with the metadata. */
int wire_commit(struct leg *leg, struct err *err) MUST_CHECK;

/*
 * Start an ordinary request about the object, "/objects/ID" + `suffix`, with the
 * digest to be committed and the metadata when `method` is POST. NULL when out of
 * memory.
 */
struct http_call *wire_call(struct leg *leg, const char *method,
			    const char *suffix, http_call_fn *fn);

/* Take size and digest from a reader's answer; checks them against the ring. */
int wire_parse_staged(struct leg *leg, struct err *err) MUST_CHECK;

#endif
