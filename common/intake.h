/*
 * intake.h - a request's body as a sequence of objects, read into a ring
 *
 * A raw body is one object; a multipart/form-data body is one object for each
 * file part, in order. Either way the caller sees the same sequence:
 *
 *   (OBJECT  DATA*  OBJECT_END)*  END          AGAIN and FULL in between
 *
 * Bytes are received into the ring's free space where they will stay; only
 * part borders move bytes. Input that follows an object's end stays in the
 * ring's free space until the next intake_next(), so between objects the ring
 * may be drained and reset but must not be written by others.
 *
 * A form's fields that are no files are passed over, unless intake_keep_fields()
 * asked for them: then they gather in `metadata`, bounded as metadata.h says, and
 * one that is malformed or too long is INTAKE_BAD.
 *
 * Calling sequence: intake_init(), then intake_next() until AGAIN (wait for
 * on_body) or FULL (wait until the ring has space).
 */
#ifndef COMMON_INTAKE_H
#define COMMON_INTAKE_H

#include "common/http_server.h"
#include "common/metadata.h"
#include "common/multipart.h"
#include "common/ring.h"

enum intake_event {
	INTAKE_AGAIN,		/* nothing more has arrived */
	INTAKE_FULL,		/* the ring has no room for what is to come */
	INTAKE_OBJECT,		/* an object begins: see name, content_type */
	INTAKE_DATA,		/* bytes were committed to the ring */
	INTAKE_OBJECT_END,	/* the object is complete */
	INTAKE_END,		/* the body is complete */
	INTAKE_BAD,		/* err; status 0 in it: the client is gone */
};

struct intake {
	struct http_exchange *x;
	/* of the current object; valid from INTAKE_OBJECT to its end */
	const char *name;		/* a part's file name; "" if raw */
	const char *content_type;	/* of the part; "" when not given */
	uint64_t received;		/* bytes of all objects so far */
	/* fields so far, malloc'ed with the first one; NULL: there are none */
	struct metadata *metadata;
	/* own */
	bool keeps_fields;
	struct multipart *form;		/* NULL for a raw body */
	struct span pending;		/* received, not yet parsed */
	bool begun;			/* a raw body's object was told */
	bool body_ended;
	bool done;
};

/*
 * Begin, for a raw body or a form by the request's Content-Type. A form's
 * parser is allocated here. -1: 400 (no boundary) or ERR_MEMORY.
 */
int intake_init(struct intake *intake, struct http_exchange *x, bool as_form,
		struct err *err) MUST_CHECK;

/*
 * Keep the fields of a form, before and after its files; call it before
 * intake_next(). For a raw body it has no effect.
 */
void intake_keep_fields(struct intake *intake);

/*
 * Add what an Upload-Metadata field of the request says, if there is one. -1:
 * 400 (malformed, too long) or ERR_MEMORY.
 */
int intake_take_metadata(struct intake *intake, struct err *err) MUST_CHECK;

/* Free everything, `metadata` too; idempotent. */
void intake_release(struct intake *intake);

/* The next event; see the picture above. */
enum intake_event intake_next(struct intake *intake, struct ring *ring,
			      struct err *err);

#endif
