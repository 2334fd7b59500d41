#include "common/intake.h"

#include <stdlib.h>

int intake_init(struct intake *intake, struct http_exchange *x, bool as_form,
		struct err *err)
{
	*intake = (struct intake){ .x = x, .name = "", .content_type = "" };
	if (!as_form)
		return 0;
	intake->form = malloc(sizeof(*intake->form));
	if (!intake->form)
		return err_set(err, ERR_MEMORY, "no memory for a form");
	if (multipart_init(intake->form, http_request_field(x, "content-type"),
			   err) == 0)
		return 0;
	intake_release(intake);
	return -1;
}

void intake_release(struct intake *intake)
{
	free(intake->form);
	free(intake->metadata);
	intake->form = NULL;
	intake->metadata = NULL;
	intake->pending = span_make(NULL, 0);
	intake->name = intake->content_type = "";
}

void intake_keep_fields(struct intake *intake)
{
	intake->keeps_fields = true;
}

static int need_metadata(struct intake *intake, struct err *err)
{
	if (intake->metadata)
		return 0;
	intake->metadata = malloc(sizeof(*intake->metadata));
	if (!intake->metadata)
		return err_set(err, ERR_MEMORY, "no memory for a form's fields");
	metadata_init(intake->metadata);
	return 0;
}

int intake_take_metadata(struct intake *intake, struct err *err)
{
	struct span field = http_request_field(intake->x, "upload-metadata");

	if (field.len == 0)
		return 0;
	if (need_metadata(intake, err) < 0)
		return -1;
	return metadata_parse(intake->metadata, field, err);
}

static enum intake_event end(struct intake *intake)
{
	intake->done = true;
	return INTAKE_END;
}

/* ---- a raw body ------------------------------------------------------- */

static enum intake_event receive_raw(struct intake *intake, struct ring *ring,
				     struct err *err)
{
	struct ring_room room;
	size_t n = 0;

	ring_rewind(ring);
	room = ring_reserve(ring, 0);
	if (room.len == 0)
		return INTAKE_FULL;
	switch (http_body_read(intake->x, room.ptr, room.len, &n, err)) {
	case HTTP_BODY_DATA:
		ring_commit(ring, n);
		intake->received += n;
		return INTAKE_DATA;
	case HTTP_BODY_AGAIN:
		return INTAKE_AGAIN;
	case HTTP_BODY_END:
		intake->body_ended = true;
		return INTAKE_OBJECT_END;
	case HTTP_BODY_BAD:
		break;
	}
	return INTAKE_BAD;
}

static enum intake_event next_raw(struct intake *intake, struct ring *ring,
				  struct err *err)
{
	if (!intake->begun) {
		intake->begun = true;
		return INTAKE_OBJECT;
	}
	if (intake->body_ended)
		return end(intake);
	return receive_raw(intake, ring, err);
}

/* ---- a form ----------------------------------------------------------- */

/*
 * Copy to the ring's head, around the end of its memory if need be. The data
 * comes from further on in the ring's free space or from outside of the ring,
 * so in ascending order no byte is overwritten before it was copied.
 */
static void copy_to_head(struct ring *ring, struct span data)
{
	while (data.len > 0) {
		struct ring_room room = ring_reserve(ring, 0);
		size_t n = data.len < room.len ? data.len : room.len;

		CHECK(n > 0);
		memmove(room.ptr, data.ptr, n);
		ring_commit(ring, n);
		data.ptr += n;
		data.len -= n;
	}
}

/* The usual case is that the bytes were received where they are to stay. */
static enum intake_event place(struct intake *intake, struct ring *ring,
			       struct span data)
{
	if (data.ptr == ring_reserve(ring, 0).ptr)
		ring_commit(ring, data.len);
	else
		copy_to_head(ring, data);
	intake->received += data.len;
	return INTAKE_DATA;
}

static enum intake_event begin_object(struct intake *intake)
{
	intake->name = intake->form->part_filename;
	intake->content_type = intake->form->part_content_type;
	return INTAKE_OBJECT;
}

/* A file input in which nothing was chosen sends filename="" (HTML, 4.10.21). */
static bool is_file(const struct multipart *form)
{
	return form->part_is_file && *form->part_filename;
}

/* A part of the form that is no file begins, goes on or ends. */
static int take_field(struct intake *intake, enum multipart_event event,
		      struct span data, struct err *err)
{
	const struct multipart *form = intake->form;

	if (!intake->keeps_fields || form->part_is_file)
		return 0;
	if (need_metadata(intake, err) < 0)
		return -1;
	if (event == MULTIPART_PART)
		return metadata_begin(intake->metadata,
				      span_of(form->part_name), err);
	if (event == MULTIPART_DATA)
		return metadata_append(intake->metadata, data, err);
	return metadata_end(intake->metadata, err);
}

/* A part that is a file begins, goes on or ends. */
static enum intake_event take_file(struct intake *intake, struct ring *ring,
				   enum multipart_event event,
				   struct span data)
{
	if (event == MULTIPART_PART)
		return begin_object(intake);
	return event == MULTIPART_DATA ? place(intake, ring, data)
				       : INTAKE_OBJECT_END;
}

/*
 * What the bytes received so far hold for the caller; INTAKE_AGAIN when they
 * hold nothing (more).
 */
static enum intake_event parse(struct intake *intake, struct ring *ring,
			       struct err *err)
{
	struct multipart *form = intake->form;
	struct span data = span_make(NULL, 0);
	enum multipart_event event;

	for (;;) {
		event = multipart_next(form, &intake->pending, &data, err);
		switch (event) {
		case MULTIPART_MORE:
			return INTAKE_AGAIN;
		case MULTIPART_PART:
		case MULTIPART_DATA:
		case MULTIPART_PART_END:
			if (is_file(form))
				return take_file(intake, ring, event, data);
			if (take_field(intake, event, data, err) < 0)
				return INTAKE_BAD;
			break;
		case MULTIPART_END:
			break;
		case MULTIPART_BAD:
			return INTAKE_BAD;
		}
	}
}

/*
 * Receive behind the place of the withheld bytes. INTAKE_DATA says that there
 * is something to parse, or that the body has ended.
 */
static enum intake_event receive_form(struct intake *intake, struct ring *ring,
				      struct err *err)
{
	size_t skip = multipart_withheld(intake->form);
	struct ring_room room;
	size_t n = 0;

	ring_rewind(ring);
	room = ring_reserve(ring, skip);
	if (room.len == 0)
		return INTAKE_FULL;
	switch (http_body_read(intake->x, room.ptr, room.len, &n, err)) {
	case HTTP_BODY_DATA:
		intake->pending = span_make(room.ptr, n);
		return INTAKE_DATA;
	case HTTP_BODY_AGAIN:
		return INTAKE_AGAIN;
	case HTTP_BODY_END:
		intake->body_ended = true;
		return INTAKE_DATA;
	case HTTP_BODY_BAD:
		break;
	}
	return INTAKE_BAD;
}

static enum intake_event end_form(struct intake *intake, struct err *err)
{
	if (multipart_finish(intake->form, err) < 0)
		return INTAKE_BAD;
	return end(intake);
}

/* Ends: a form holds only so much that is not an object's, see multipart.h. */
static enum intake_event next_form(struct intake *intake, struct ring *ring,
				   struct err *err)
{
	enum intake_event event;

	for (;;) {
		event = parse(intake, ring, err);
		if (event != INTAKE_AGAIN)
			return event;
		if (intake->body_ended)
			return end_form(intake, err);
		event = receive_form(intake, ring, err);
		if (event != INTAKE_DATA)
			return event;
	}
}

enum intake_event intake_next(struct intake *intake, struct ring *ring,
			      struct err *err)
{
	if (intake->done)
		return INTAKE_END;
	if (intake->form)
		return next_form(intake, ring, err);
	return next_raw(intake, ring, err);
}
