/*
 * A CreateMultipartUpload whose answer was lost, or was none, may have made an
 * upload that nobody knows by its UploadId, and the try after it one more. Their
 * key is that of the object, so they are found in the list of uploads: one after
 * the other is aborted. What this does not get done the sweep does, much later.
 */
#include "reader/s3_sink.h"
#include "reader/s3_xml.h"

#include <stdlib.h>

#define MAX_ANSWER (1u << 20)
/* As many as there may have been tries. */
#define MAX_ROUNDS 24u

struct strays {
	struct s3_sink *sink;
	s3_sink_fn *next;
	unsigned int n_rounds;
	bool is_ours;		/* the key of the entry that is being read */
	char key[S3_KEY_SIZE];
	char reading[S3_UPLOAD_ID_SIZE];	/* the UploadId of that */
	char found[S3_UPLOAD_ID_SIZE];
};

static void list(struct strays *s);

static void end(struct strays *s)
{
	struct s3_sink *sink = s->sink;
	s3_sink_fn *next = s->next;

	free(s);
	next(sink);
}

static void on_element(void *arg, const char *parent, const char *name,
		       const char *text)
{
	struct strays *s = arg;

	if (!text && strcmp(name, "Upload") == 0) {
		if (s->is_ours)
			memcpy(s->found, s->reading, sizeof(s->found));
		s->is_ours = false;
		s->reading[0] = '\0';
	} else if (!text || strcmp(parent, "Upload") != 0) {
		return;
	} else if (strcmp(name, "Key") == 0) {
		s->is_ours = s3_key_decode(span_of(text), s->key) &&
			     strcmp(s->key, s->sink->upload.key) == 0;
	} else if (strcmp(name, "UploadId") == 0 &&
		   !span_to_string(span_of(text), s->reading,
				   sizeof(s->reading))) {
		s->reading[0] = '\0';
	}
}

static void on_aborted(void *arg, struct s3_request *r)
{
	if (err_is_set(&r->err) && r->status != 404)
		end(arg);
	else
		list(arg);
}

static void on_listed(void *arg, struct s3_request *r)
{
	struct strays *s = arg;
	struct err ignored = ERR_INIT;

	s->found[0] = s->reading[0] = '\0';
	s->is_ours = false;
	if (err_is_set(&r->err) ||
	    s3_xml_parse(r->answer, on_element, s, &ignored) < 0 ||
	    !s->found[0] || s->n_rounds++ == MAX_ROUNDS) {
		end(s);
		return;
	}
	s3_request_init(r, s->sink->engine, "DELETE", s->sink->upload.key);
	s3_request_param(r, "uploadId", s->found);
	r->max_tries = S3_TRIES_OF_ABORT;
	s3_request_start(r, on_aborted, s);
}

static void list(struct strays *s)
{
	struct s3_sink *sink = s->sink;
	struct s3_request *r = &sink->request;

	s3_request_init(r, sink->engine, "GET", NULL);
	s3_request_param(r, "encoding-type", "url");
	s3_request_param(r, "prefix", sink->upload.key);
	s3_request_param(r, "uploads", "");
	r->max_answer = MAX_ANSWER;
	r->max_tries = S3_TRIES_OF_ABORT;
	s3_request_start(r, on_listed, s);
}

void s3_strays_abort(struct s3_sink *sink, s3_sink_fn *next)
{
	struct strays *s = NULL;

	if (sink->upload.has_strays)
		s = calloc(1, sizeof(*s));
	sink->upload.has_strays = false;
	if (!s) {
		next(sink);
		return;
	}
	s->sink = sink;
	s->next = next;
	list(s);
}
