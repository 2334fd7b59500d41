#include "reader/upload_head.h"

#include <inttypes.h>
#include <stdio.h>

void object_set_type(struct object *object, struct span type)
{
	if (!http1_is_media_type(type) ||
	    !span_to_string(type, object->content_type,
			    sizeof(object->content_type)))
		snprintf(object->content_type, sizeof(object->content_type),
			 "application/octet-stream");
}

static int read_name(struct object *object, struct http_exchange *x,
		     struct err *err)
{
	struct span field = http_request_field(x, "Content-Disposition");

	if (!field.ptr)
		return 0;
	if (http1_disposition_filename(field, object->name,
				       sizeof(object->name)) < 0)
		return err_set(err, ERR_CLIENT,
			       "Content-Disposition: no legal file name of at "
			       "most %u bytes of UTF-8", OBJECT_NAME_SIZE - 1);
	return 0;
}

/* How long the body will be, if that is known. */
static int read_length(struct object *object, struct http_exchange *x,
		       struct err *err)
{
	const struct http1_head *head = http_request(x);

	object->size = head->has_length ? head->length : OBJECT_SIZE_UNKNOWN;
	if (!head->has_length && head->framing != HTTP1_CHUNKED)
		return err_set_status(err, 411,
				      "Content-Length or chunked framing is "
				      "needed");
	return 0;
}

/* Add a promised digest to those before; an absent field changes nothing. */
static int add_digest(struct upload_head *head, const char *name,
		      struct span field, struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	struct err why = ERR_INIT;
	int found = field.len > 0 ? digest_parse_field(field, hex, &why) : 0;

	if (found < 0)
		return err_set(err, ERR_CLIENT, "%s: %s", name, why.text);
	if (found == 0)
		return 0;
	if (head->sha256[0] && strcmp(head->sha256, hex) != 0)
		return err_set(err, ERR_CLIENT,
			       "%s promises another sha-256 than a field "
			       "before it", name);
	memcpy(head->sha256, hex, sizeof(hex));
	return 0;
}

static int add_digests(struct upload_head *head, struct span repr,
		       struct span content, struct err *err)
{
	if (add_digest(head, "Repr-Digest", repr, err) < 0)
		return -1;
	return add_digest(head, "Content-Digest", content, err);
}

int upload_head_add_trailers(struct upload_head *head,
			     const struct http1_trailers *trailers,
			     struct err *err)
{
	return add_digests(head, span_of(trailers->repr_digest),
			   span_of(trailers->content_digest), err);
}

static int read_common(struct upload_head *head, struct http_exchange *x,
		       const char *id, uint64_t max_bytes, struct err *err)
{
	struct object *object = &head->object;

	CHECK(span_to_string(span_of(id), object->id, sizeof(object->id)));
	if (read_name(object, x, err) < 0 || read_length(object, x, err) < 0)
		return -1;
	if (object->size == OBJECT_SIZE_UNKNOWN)
		return 0;
	if (object->size > max_bytes || head->offset > max_bytes - object->size)
		return err_set_status(err, 413,
				      "an object may have %" PRIu64 " bytes",
				      max_bytes);
	return 0;
}

int upload_head_of_put(struct upload_head *head, struct http_exchange *x,
		       const char *id, uint64_t max_bytes, struct err *err)
{
	if (http_request_field(x, "Content-Range").ptr)
		return err_set(err, ERR_CLIENT,
			       "PUT takes no Content-Range (RFC 9110, 14.4): "
			       "use PATCH with Upload-Offset");
	if (http_request_field(x, "Content-Encoding").ptr)
		return err_set_status(err, 415,
				      "Content-Encoding is not supported");
	if (read_common(head, x, id, max_bytes, err) < 0)
		return -1;
	object_set_type(&head->object, http_request_field(x, "Content-Type"));
	return add_digests(head, http_request_field(x, "Repr-Digest"),
			   http_request_field(x, "Content-Digest"), err);
}

int upload_head_of_patch(struct upload_head *head, struct http_exchange *x,
			 const char *id, uint64_t max_bytes, struct err *err)
{
	if (!span_eq_nocase(http_request_field(x, "Content-Type"),
			    SPAN_LIT("application/offset+octet-stream")))
		return err_set_status(err, 415,
				      "PATCH takes Content-Type: "
				      "application/offset+octet-stream");
	if (!http1_parse_u64(http_request_field(x, "Upload-Offset"),
			     &head->offset))
		return err_set(err, ERR_CLIENT,
			       "PATCH needs Upload-Offset, a number of bytes");
	if (read_common(head, x, id, max_bytes, err) < 0)
		return -1;
	/* The object's size is not the length of one piece of it. */
	head->object.size = OBJECT_SIZE_UNKNOWN;
	object_set_type(&head->object,
			http_request_field(x, "Upload-Content-Type"));
	return 0;
}
