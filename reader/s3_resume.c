/*
 * Going on where a reader that is no more has left off: {id}.part says how far it
 * came, the list of parts has their ETags. Parts beyond those, of a reader that
 * was killed, are replaced when their numbers come again.
 */
#include "reader/s3_sink.h"
#include "reader/s3_xml.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_ANSWER (1u << 20)

/* While the parts are listed. */
struct listing {
	struct s3_sink *sink;
	unsigned int number;	/* of the part that is being read */
	unsigned int after;	/* the last one of the page before */
	uint64_t size;
	char etag[S3_PART_ETAG_SIZE];
	uint64_t bytes;		/* of the parts that were found */
	unsigned int n_found;
	bool has_more;
};

static void end(struct s3_sink *sink)
{
	if (err_is_set(&sink->base.err))
		s3_sink_disown(sink);
	s3_sink_end(sink);
}

/* ---- the parts ------------------------------------------------------------- */

static void take_part(struct listing *l)
{
	struct s3_upload *u = &l->sink->upload;

	if (l->number < 1 || l->number > u->n_parts ||
	    !s3_etag_is_usable(l->etag))
		return;
	if (!u->etags[l->number - 1][0]) {
		l->n_found++;
		l->bytes += l->size;
	}
	memcpy(u->etags[l->number - 1], l->etag, sizeof(l->etag));
	if (l->number == u->n_parts)
		u->last_part = l->size;
}

static void on_element(void *arg, const char *parent, const char *name,
		       const char *text)
{
	struct listing *l = arg;
	uint64_t number = 0;

	if (!text) {
		if (strcmp(name, "Part") == 0)
			take_part(l);
		return;
	}
	if (strcmp(name, "IsTruncated") == 0)
		l->has_more = strcmp(text, "true") == 0;
	if (strcmp(parent, "Part") != 0)
		return;
	(void)http1_parse_u64(span_of(text), &number);
	if (strcmp(name, "PartNumber") == 0)
		l->number = number <= S3_MAX_PARTS ? (unsigned int)number : 0;
	else if (strcmp(name, "Size") == 0)
		l->size = number;
	else if (strcmp(name, "ETag") == 0 &&
		 !span_to_string(span_of(text), l->etag, sizeof(l->etag)))
		l->etag[0] = '\0';
}

static void ask_parts(struct listing *l);

/* All that {id}.part counts on have to be there. */
static void end_parts(struct listing *l)
{
	struct s3_sink *sink = l->sink;

	if (!err_is_set(&sink->base.err) &&
	    (l->n_found != sink->upload.n_parts ||
	     l->bytes != sink->upload.sent))
		err_set(&sink->base.err, ERR_STORE,
			"the S3 server has %u of %u parts of %s", l->n_found,
			sink->upload.n_parts, sink->base.object.id);
	free(l);
	end(sink);
}

static void on_parts(void *arg, struct s3_request *r)
{
	struct listing *l = arg;
	struct err *err = &l->sink->base.err;

	l->has_more = false;
	if (err_is_set(&r->err))
		*err = r->err;
	else if (s3_xml_parse(r->answer, on_element, l, err) == 0 &&
		 l->has_more && l->number > l->after &&
		 l->number < l->sink->upload.n_parts) {
		ask_parts(l);
		return;
	}
	if (r->status == 404) {
		/* aborted by somebody: there is nothing to go on with */
		*err = ERR_INIT;
		err_set(err, ERR_NOT_FOUND, "there is no such object");
	}
	end_parts(l);
}

static void ask_parts(struct listing *l)
{
	struct s3_sink *sink = l->sink;
	struct s3_request *r = &sink->request;

	s3_request_init(r, sink->engine, "GET", sink->upload.key);
	l->after = l->number;
	/* the parameter is borrowed: the sink's key has room for a number */
	snprintf(sink->key, sizeof(sink->key), "%u", l->number);
	if (l->number > 0)
		s3_request_param(r, "part-number-marker", sink->key);
	s3_request_param(r, "uploadId", sink->upload.id);
	r->max_answer = MAX_ANSWER;
	s3_request_start(r, on_parts, l);
}

static void list_parts(struct s3_sink *sink)
{
	struct s3_upload *u = &sink->upload;
	struct listing *l = calloc(1, sizeof(*l));

	if (!l || !s3_upload_reserve(u, u->n_parts)) {
		free(l);
		err_set(&sink->base.err, ERR_MEMORY,
			"out of memory for an upload");
		end(sink);
		return;
	}
	for (unsigned int i = 0; i < u->n_parts; i++)
		u->etags[i][0] = '\0';
	l->sink = sink;
	ask_parts(l);
}

/* ---- {id}.part ------------------------------------------------------------- */

/* False with an error when it does not fit. */
static bool take_head(struct s3_sink *sink, const struct s3_tail_head *head)
{
	struct s3_upload *u = &sink->upload;
	struct object *object = &sink->base.object;

	memcpy(object->name, head->name, sizeof(object->name));
	memcpy(object->content_type, head->content_type,
	       sizeof(object->content_type));
	s3_sink_init_upload(sink);
	sink->has_tail = true;
	if (head->upload_id[0])
		u->id = strdup(head->upload_id);
	if (!u->id && head->upload_id[0]) {
		err_set(&sink->base.err, ERR_MEMORY,
			"out of memory for an upload");
		return false;
	}
	if (!digest_import(sink->base.digest, span_of(head->digest_state))) {
		err_set(&sink->base.err, ERR_STORE, "%s.part is damaged",
			object->id);
		return false;
	}
	u->n_parts = head->parts;
	u->sent = head->offset - head->tail;
	sink->base.offset = head->offset;
	memcpy(sink->tail_etag, sink->request.etag, sizeof(sink->tail_etag));
	sink->tail_head = head->len;
	sink->tail_bytes = (size_t)head->tail;
	sink->is_suspended = true;
	return true;
}

static void on_tail(void *arg, struct s3_request *r)
{
	struct s3_sink *sink = arg;
	struct s3_tail_head *head = malloc(sizeof(*head));
	bool good = false;

	if (!head)
		err_set(&sink->base.err, ERR_MEMORY,
			"out of memory for an upload");
	else if (err_is_set(&r->err))
		sink->base.err = r->err;
	else if (s3_tail_read(r->answer, sink->base.object.id, head,
			      &sink->base.err) == 0)
		good = take_head(sink, head);
	free(head);
	if (good && sink->upload.id)
		list_parts(sink);	/* which also says whether it lives */
	else
		end(sink);
}

void s3_resume_run(void *arg)
{
	struct s3_sink *sink = arg;
	struct s3_request *r = &sink->request;

	s3_sink_init_upload(sink);
	s3_key_of_tail(sink->engine->config.prefix, sink->base.object.id,
		       sink->key);
	s3_request_init(r, sink->engine, "GET", sink->key);
	s3_request_field(r, "range", S3_TAIL_HEAD_RANGE);
	s3_request_start(r, on_tail, sink);
}
