/*
 * One pump, level-triggered: what has ended notes it and calls the pump, which
 * looks at the operation and does what is possible.
 */
#include "reader/s3_upload.h"

#include "reader/s3_xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MIB (UINT64_C(1) << 20)
#define GROWTH 1250u	/* a part is at least this fraction of what was before */
#define MAX_META 256

enum s3_part_state { PART_FREE, PART_FILLING, PART_HASHING, PART_SENDING };

struct s3_part {
	struct s3_upload *upload;
	enum s3_part_state state;
	char *memory;		/* S3_HEAD_ROOM bytes, then `room` */
	size_t room;
	size_t len;
	unsigned int number;
	struct job job;
	struct s3_request request;
	char number_text[S3_NUMBER_SIZE];
	char sha256[DIGEST_HEX_SIZE];
	char md5[DIGEST_MD5_HEX_SIZE];	/* empty: the server checks the SHA-256 */
};

static void pump(struct s3_upload *u);

void s3_upload_init(struct s3_upload *u, struct s3_engine *engine,
		    const struct object *object, struct digest *digest,
		    s3_upload_fn *done, void *owner)
{
	memset(u, 0, sizeof(*u));
	u->engine = engine;
	u->object = object;
	u->digest = digest;
	u->done = done;
	u->owner = owner;
	u->size_hint = OBJECT_SIZE_UNKNOWN;
	s3_key_of_content(engine->config.prefix, object->id, object->name,
			  u->key);
}

static unsigned int count_parts(const struct s3_upload *u)
{
	return (unsigned int)u->engine->config.parallel + 1;
}

/* The only ways an operation begins and ends. */
static void begin(struct s3_upload *u, enum s3_upload_op op)
{
	CHECK(u->op == S3_UPLOAD_IDLE);
	u->op = op;
}

static void finish(struct s3_upload *u)
{
	CHECK(u->op != S3_UPLOAD_IDLE);
	u->op = S3_UPLOAD_IDLE;
	u->done(u->owner);
}

/* ---- memory --------------------------------------------------------------- */

static void unmap(struct s3_part *part)
{
	if (part->memory)
		munmap(part->memory, S3_HEAD_ROOM + part->room);
	part->memory = NULL;
	part->room = 0;
}

static bool map(struct s3_part *part, size_t room)
{
	void *memory;

	if (part->room == room)
		return true;
	unmap(part);
	memory = mmap(NULL, S3_HEAD_ROOM + room, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	part->memory = memory;
	part->room = room;
	return true;
}

static char *bytes_of(const struct s3_part *part)
{
	return part->memory + S3_HEAD_ROOM;
}

uint64_t s3_part_bytes(uint64_t setting, uint64_t hint, uint64_t sent)
{
	bool is_known = hint != OBJECT_SIZE_UNKNOWN && sent <= hint;
	uint64_t least = is_known ? hint / S3_MAX_PARTS + 1 : sent / GROWTH;

	if (least <= setting)
		return setting;
	return (least + MIB - 1) / MIB * MIB;
}

static uint64_t part_bytes(const struct s3_upload *u)
{
	return s3_part_bytes(u->engine->config.part_bytes, u->size_hint,
			     u->sent);
}

/* May one more part of this size be filled while others are on their way? */
static bool has_budget(const struct s3_upload *u, uint64_t bytes)
{
	uint64_t budget = u->engine->config.part_bytes * count_parts(u);

	return u->n_busy < 2 || (u->n_busy + 1) * bytes <= budget;
}

/*
 * In turns: so a large upload soon has touched all of its memory, however fast the
 * server is, and it takes no more the longer it lasts.
 */
static struct s3_part *find_free(struct s3_upload *u)
{
	unsigned int n = count_parts(u);

	for (unsigned int i = 0; i < n; i++) {
		struct s3_part *part = &u->parts[(u->n_parts + i) % n];

		if (part->state == PART_FREE)
			return part;
	}
	return NULL;
}

static bool have_parts(struct s3_upload *u)
{
	if (!u->parts)
		u->parts = calloc(count_parts(u), sizeof(*u->parts));
	return u->parts != NULL;
}

/* A part to be filled; NULL: all are on their way, or u->err is set. */
static struct s3_part *take_part(struct s3_upload *u, uint64_t bytes)
{
	struct s3_part *part = have_parts(u) ? find_free(u) : NULL;

	if (u->parts && (!part || !has_budget(u, bytes)))
		return NULL;
	if (!part || !map(part, bytes)) {
		err_set(&u->err, ERR_MEMORY, "out of memory for a part");
		return NULL;
	}
	part->upload = u;
	part->state = PART_FILLING;
	part->len = 0;
	return part;
}

bool s3_upload_reserve(struct s3_upload *u, unsigned int n)
{
	unsigned int size = u->etags_size ? u->etags_size : 16;
	char(*etags)[S3_PART_ETAG_SIZE];

	while (size < n)
		size *= 2;
	if (size == u->etags_size)
		return true;
	etags = realloc(u->etags, size * sizeof(*etags));
	if (!etags)
		return false;
	u->etags = etags;
	u->etags_size = size;
	return true;
}

void s3_upload_release(struct s3_upload *u)
{
	CHECK(u->n_busy == 0 && u->copying == 0);
	for (unsigned int i = 0; u->parts && i < count_parts(u); i++)
		unmap(&u->parts[i]);
	free(u->parts);
	u->parts = NULL;
	u->filling = NULL;
}

void s3_upload_free(struct s3_upload *u)
{
	s3_upload_release(u);
	CHECK(!s3_request_is_running(&u->request));
	free(u->etags);
	free(u->id);
	u->etags = NULL;
	u->id = NULL;
}

/* ---- creating ------------------------------------------------------------- */

/*
 * Such a field may have 256 bytes (Swift; S3: 2 KiB in all), and the description
 * has the name whole. No escape is cut in two.
 */
static void cut_name(char *name)
{
	char *end;

	if (strlen(name) <= MAX_META)
		return;
	end = name + MAX_META;
	for (int i = 1; i <= 2; i++)
		if (end[-i] == '%') {
			end -= i;
			break;
		}
	*end = '\0';
}

/*
 * The type as a field of a signed request: blanks in a row are one, since servers
 * differ in how they count them. The description has it as it came.
 */
static const char *print_type(const char *type, char out[OBJECT_TYPE_SIZE])
{
	size_t len = 0;

	if (!http1_is_media_type(span_of(type)))
		return "application/octet-stream";
	for (; *type; type++) {
		char c = *type == '\t' ? ' ' : *type;

		if (c != ' ' || (len > 0 && out[len - 1] != ' '))
			out[len++] = c;
	}
	out[len] = '\0';
	return out;
}

void s3_encryption_fields(struct s3_request *r)
{
	const struct s3_config *c = &r->engine->config;

	if (c->sse[0])
		s3_request_field(r, "x-amz-server-side-encryption", c->sse);
	if (c->sse_key_id[0])
		s3_request_field(
			r, "x-amz-server-side-encryption-aws-kms-key-id",
			c->sse_key_id);
}

void s3_object_fields(struct s3_request *r, const struct object *object,
		      char room[S3_FIELDS_ROOM])
{
	const struct s3_config *c = &r->engine->config;
	char *name = room, *type = room + 3 * OBJECT_NAME_SIZE;

	s3_encode(span_of(object->name), false, name, 3 * OBJECT_NAME_SIZE);
	cut_name(name);
	s3_request_field(r, "content-type",
			 print_type(object->content_type, type));
	s3_request_field(r, "x-amz-meta-id", object->id);
	if (*name)
		s3_request_field(r, "x-amz-meta-name", name);
	for (size_t i = 0; i < c->n_metadata; i++)
		s3_request_field(r, c->metadata[i].name, c->metadata[i].value);
	if (c->storage_class[0])
		s3_request_field(r, "x-amz-storage-class", c->storage_class);
	s3_encryption_fields(r);
}

static void on_create_element(void *arg, const char *parent, const char *name,
			      const char *text)
{
	struct s3_upload *u = arg;

	(void)parent;
	if (text && *text && strlen(text) < S3_UPLOAD_ID_SIZE &&
	    strcmp(name, "UploadId") == 0 && !u->id)
		u->id = strdup(text);
}

static void on_created(void *arg, struct s3_request *r)
{
	struct s3_upload *u = arg;

	free(u->body);
	u->body = NULL;
	if (err_is_set(&r->err))
		u->err = r->err;
	else if (s3_xml_parse(r->answer, on_create_element, u, &u->err) == 0 &&
		 !u->id)
		err_set(&u->err, ERR_STORE,
			"the S3 server named no usable UploadId for a new "
			"upload");
	u->has_strays = r->was_unknown || (r->status / 100 == 2 && !u->id);
	pump(u);
}

static void start_create(struct s3_upload *u)
{
	if (s3_request_is_running(&u->request))
		return;
	u->body = malloc(S3_FIELDS_ROOM);
	if (!u->body) {
		err_set(&u->err, ERR_MEMORY, "out of memory for an upload");
		u->again = true;
		return;
	}
	s3_request_init(&u->request, u->engine, "POST", u->key);
	s3_request_param(&u->request, "uploads", "");
	s3_object_fields(&u->request, u->object, u->body);
	u->request.may_fail_late = true;	/* what is no answer of S3's */
	s3_request_start(&u->request, on_created, u);
}

/* ---- marks ---------------------------------------------------------------- */

/* Behind the part that was filled: no byte of the next one is digested yet. */
static void set_mark(struct s3_upload *u)
{
	struct s3_mark *mark = &u->mark;

	if (!u->on_mark || mark->parts > 0)
		return;
	mark->parts = u->n_parts;
	mark->sent = u->sent;
	digest_export(u->digest, mark->digest_state);
}

static bool has_all_until(const struct s3_upload *u, unsigned int number)
{
	for (unsigned int i = 0; i < count_parts(u); i++) {
		const struct s3_part *part = &u->parts[i];

		if ((part->state == PART_HASHING ||
		     part->state == PART_SENDING) && part->number <= number)
			return false;
	}
	return true;
}

static void look_at_mark(struct s3_upload *u)
{
	struct s3_mark *mark = &u->mark;

	if (mark->parts == 0 || mark->is_reached || err_is_set(&u->err) ||
	    (u->op != S3_UPLOAD_WRITING && u->op != S3_UPLOAD_IDLE) ||
	    !has_all_until(u, mark->parts))
		return;
	mark->is_reached = true;
	u->on_mark(u->owner);
}

void s3_upload_clear_mark(struct s3_upload *u)
{
	u->mark.parts = 0;
	u->mark.is_reached = false;
}

/* ---- parts on their way --------------------------------------------------- */

static void end_part(struct s3_part *part)
{
	struct s3_upload *u = part->upload;

	part->state = PART_FREE;
	/* Of larger ones fewer are at work: the others are not to keep theirs. */
	if (part->room > u->engine->config.part_bytes)
		unmap(part);
	u->n_busy--;
	if (err_is_set(&u->err))
		atomic_store(&u->has_failed, true);
	look_at_mark(u);
	pump(u);
}

static void check_etag(struct s3_part *part)
{
	struct s3_upload *u = part->upload;
	const char *etag = part->request.etag;

	if (!s3_etag_is_usable(etag))
		err_set(&u->err, ERR_STORE,
			"the S3 server gave no usable ETag for part %u",
			part->number);
	else if (part->md5[0] && part->request.etag_is_md5 &&
		 s3_etag_contradicts(etag, part->md5))
		err_set(&u->err, ERR_STORE,
			"part %u is damaged on the S3 server: its ETag is %s, "
			"not \"%s\"",
			part->number, etag, part->md5);
	else
		memcpy(u->etags[part->number - 1], etag, strlen(etag) + 1);
}

static void on_part_sent(void *arg, struct s3_request *r)
{
	struct s3_part *part = arg;

	if (err_is_set(&r->err) && !err_is_set(&part->upload->err))
		part->upload->err = r->err;
	else if (!err_is_set(&r->err))
		check_etag(part);
	end_part(part);
}

static void run_hash(void *arg)
{
	struct s3_part *part = arg;
	struct span bytes = span_make(bytes_of(part), part->len);
	unsigned char sha256[DIGEST_SHA256_BYTES];

	digest_once(&bytes, 1, sha256);
	digest_to_hex(sha256, sizeof(sha256), part->sha256);
	if (!part->upload->engine->checks_bodies)
		digest_md5_hex(bytes, part->md5);
}

static void on_hashed(void *arg)
{
	struct s3_part *part = arg;
	struct s3_upload *u = part->upload;

	if (err_is_set(&u->err) || u->op == S3_UPLOAD_ABORTING) {
		end_part(part);
		return;
	}
	part->state = PART_SENDING;
	s3_request_init(&part->request, u->engine, "PUT", u->key);
	snprintf(part->number_text, sizeof(part->number_text), "%u",
		 part->number);
	s3_request_param(&part->request, "partNumber", part->number_text);
	s3_request_param(&part->request, "uploadId", u->id);
	part->request.body = span_make(bytes_of(part), part->len);
	part->request.sha256 = part->sha256;
	s3_request_start(&part->request, on_part_sent, part);
}

/* The part that was filled goes on its way. */
static void dispatch(struct s3_upload *u)
{
	struct s3_part *part = u->filling;

	if (u->n_parts == S3_MAX_PARTS) {
		err_set_status(&u->err, 413,
			       "the object is too large for %u parts; raise "
			       "READER_S3_PART_BYTES",
			       S3_MAX_PARTS);
		return;
	}
	if (!s3_upload_reserve(u, u->n_parts + 1)) {
		err_set(&u->err, ERR_MEMORY, "out of memory for a part");
		return;
	}
	u->filling = NULL;
	part->number = ++u->n_parts;
	u->sent += part->len;
	u->last_part = part->len;
	set_mark(u);
	u->n_busy++;
	part->state = PART_HASHING;
	workers_submit(u->engine->workers, &part->job, u->engine->loop,
		       run_hash, on_hashed, part);
}

/* True when there was something to be done: it has been begun. */
static bool send_filled(struct s3_upload *u, bool also_the_rest)
{
	struct s3_part *part = u->filling;

	if (!part || part->len == 0 || (part->len < part->room &&
					!also_the_rest))
		return false;
	if (u->id)
		dispatch(u);
	else
		start_create(u);
	return true;
}

/* ---- bytes come in -------------------------------------------------------- */

static void run_copy(void *arg)
{
	struct s3_upload *u = arg;
	struct s3_part *part = u->filling;

	memcpy(bytes_of(part) + part->len, u->bytes.ptr, u->copying);
	digest_update(u->digest, u->bytes.ptr, u->copying);
}

static void end_copy(struct s3_upload *u)
{
	u->filling->len += u->copying;
	u->bytes.ptr += u->copying;
	u->bytes.len -= u->copying;
	u->copying = 0;
}

static void on_copied(void *arg)
{
	struct s3_upload *u = arg;

	end_copy(u);
	pump(u);
}

static void on_copied_here(void *arg)
{
	struct s3_upload *u = arg;

	end_copy(u);
	u->on_copied(u->owner);
}

static void copy(struct s3_upload *u, size_t len, struct loop *loop,
		 loop_fn *done)
{
	u->copying = len;
	workers_submit(u->engine->workers, &u->job, loop, run_copy, done, u);
}

bool s3_upload_copy(struct s3_upload *u, struct span bytes, struct loop *loop,
		    s3_upload_fn *done)
{
	struct s3_part *part = u->filling;

	if (!part || bytes.len == 0 || bytes.len >= part->room - part->len ||
	    atomic_load(&u->has_failed))
		return false;
	u->bytes = bytes;
	u->on_copied = done;
	copy(u, bytes.len, loop, on_copied_here);
	return true;
}

static void step_write(struct s3_upload *u)
{
	size_t room;

	if (send_filled(u, false)) {
		u->again = u->filling == NULL || err_is_set(&u->err);
		return;
	}
	if (u->bytes.len == 0) {
		finish(u);
		return;
	}
	if (!u->filling)
		u->filling = take_part(u, part_bytes(u));
	if (!u->filling) {
		u->again = err_is_set(&u->err);
		return;
	}
	room = u->filling->room - u->filling->len;
	copy(u, u->bytes.len < room ? u->bytes.len : room, u->engine->loop,
	     on_copied);
}

/* ---- operations ----------------------------------------------------------- */

static void cancel_parts(struct s3_upload *u)
{
	for (unsigned int i = 0; u->parts && i < count_parts(u); i++) {
		struct s3_part *part = &u->parts[i];

		if (part->state != PART_SENDING)
			continue;
		s3_request_cancel(&part->request);
		part->state = PART_FREE;
		u->n_busy--;
	}
}

static void step_flush(struct s3_upload *u)
{
	if (send_filled(u, u->op == S3_UPLOAD_FLUSHING))
		u->again = u->filling == NULL || err_is_set(&u->err);
	else if (u->n_busy == 0)
		finish(u);
}

static void on_aborted(void *arg, struct s3_request *r)
{
	struct s3_upload *u = arg;

	/* It is gone already when nobody knows it. */
	if (err_is_set(&r->err) && r->status != 404)
		u->err = r->err;
	free(u->id);
	u->id = NULL;
	finish(u);
}

static void step_abort(struct s3_upload *u)
{
	cancel_parts(u);
	s3_request_cancel(&u->request);
	free(u->body);
	u->body = NULL;
	if (u->n_busy > 0)
		return;
	u->err = ERR_INIT;
	if (!u->id) {
		finish(u);
		return;
	}
	s3_request_init(&u->request, u->engine, "DELETE", u->key);
	s3_request_param(&u->request, "uploadId", u->id);
	u->request.max_tries = S3_TRIES_OF_ABORT;
	s3_request_start(&u->request, on_aborted, u);
}

static void step(struct s3_upload *u)
{
	if (u->copying > 0)
		return;
	if (err_is_set(&u->err) && u->op != S3_UPLOAD_ABORTING) {
		cancel_parts(u);
		if (u->n_busy == 0 && !s3_request_is_running(&u->request))
			finish(u);
		return;
	}
	switch (u->op) {
	case S3_UPLOAD_CREATING:
		if (u->id)
			finish(u);
		else
			start_create(u);
		break;
	case S3_UPLOAD_WRITING:
		step_write(u);
		break;
	case S3_UPLOAD_FLUSHING:
	case S3_UPLOAD_SETTLING:
		step_flush(u);
		break;
	case S3_UPLOAD_ABORTING:
		step_abort(u);
		break;
	case S3_UPLOAD_COMPLETING:	/* its own callbacks go on */
	case S3_UPLOAD_IDLE:
		break;
	}
}

static void pump(struct s3_upload *u)
{
	u->again = true;
	if (u->pumping)
		return;
	u->pumping = true;
	while (u->again && u->op != S3_UPLOAD_IDLE) {
		u->again = false;
		step(u);
	}
	u->pumping = false;
}

void s3_upload_create(struct s3_upload *u)
{
	begin(u, S3_UPLOAD_CREATING);
	pump(u);
}

void s3_upload_write(struct s3_upload *u, struct span bytes)
{
	begin(u, S3_UPLOAD_WRITING);
	u->bytes = bytes;
	pump(u);
}

void s3_upload_flush(struct s3_upload *u)
{
	begin(u, S3_UPLOAD_FLUSHING);
	pump(u);
}

void s3_upload_settle(struct s3_upload *u)
{
	begin(u, S3_UPLOAD_SETTLING);
	pump(u);
}

void s3_upload_abort(struct s3_upload *u)
{
	begin(u, S3_UPLOAD_ABORTING);
	pump(u);
}

struct span s3_upload_rest(const struct s3_upload *u)
{
	return u->filling ? span_make(bytes_of(u->filling), u->filling->len)
			  : span_make(NULL, 0);
}

char *s3_upload_rest_start(const struct s3_upload *u)
{
	return u->filling ? bytes_of(u->filling) : NULL;
}

char *s3_upload_rest_room(struct s3_upload *u, size_t size)
{
	uint64_t bytes = part_bytes(u);

	/* it may be of a reader whose parts were larger */
	if (!u->filling)
		u->filling = take_part(u, size > bytes ? size : bytes);
	if (!u->filling || u->filling->len > 0 || size > u->filling->room)
		return NULL;
	return bytes_of(u->filling);
}

void s3_upload_put_rest(struct s3_upload *u, size_t size)
{
	CHECK(u->filling && size <= u->filling->room);
	u->filling->len = size;
}

/* ---- completing ----------------------------------------------------------- */

/* "<Part>" lines; malloc'ed. */
static char *print_parts(const struct s3_upload *u, size_t *len)
{
	const size_t line = S3_PART_ETAG_SIZE + 80;
	size_t size = 200 + u->n_parts * line, used;
	char *text = malloc(size);

	if (!text)
		return NULL;
	used = (size_t)snprintf(text, size,
				"<CompleteMultipartUpload xmlns=\"http://"
				"s3.amazonaws.com/doc/2006-03-01/\">");
	for (unsigned int i = 0; i < u->n_parts; i++)
		used += (size_t)snprintf(text + used, size - used,
					 "<Part><PartNumber>%u</PartNumber>"
					 "<ETag>%s</ETag></Part>",
					 i + 1, u->etags[i]);
	used += (size_t)snprintf(text + used, size - used,
				 "</CompleteMultipartUpload>");
	CHECK(used < size);
	*len = used;
	return text;
}

static void end_complete(struct s3_upload *u)
{
	free(u->body);
	u->body = NULL;
	finish(u);
}

/* Another object of this key may be as long; its ETag says whose it is. */
static bool is_ours(const struct s3_upload *u, const struct s3_request *r)
{
	return r->length == u->sent &&
	       !(r->etag_is_md5 &&
		 s3_etag_contradicts_parts(r->etag, u->etags, u->n_parts));
}

/* Is it there after all? */
static void on_looked_up(void *arg, struct s3_request *r)
{
	struct s3_upload *u = arg;

	if (!err_is_set(&r->err))
		u->is_unknown = false;
	else if (r->status != 404)
		u->is_unknown = true;
	if (!err_is_set(&r->err) && is_ours(u, r)) {
		u->err = ERR_INIT;
		free(u->id);
		u->id = NULL;
	}
	end_complete(u);
}

static void on_completed(void *arg, struct s3_request *r)
{
	struct s3_upload *u = arg;

	if (!err_is_set(&r->err)) {
		free(u->id);
		u->id = NULL;
		end_complete(u);
		return;
	}
	u->err = r->err;
	if (!s3_request_is_unknown(r) && r->status != 404) {
		end_complete(u);
		return;
	}
	/* What was asked for may still come about when the look finds nothing. */
	u->is_unknown = s3_request_is_unknown(r);
	s3_request_init(r, u->engine, "HEAD", u->key);
	s3_request_start(r, on_looked_up, u);
}

void s3_upload_complete(struct s3_upload *u)
{
	struct s3_request *r = &u->request;
	size_t len = 0;

	CHECK(u->id && u->n_busy == 0 && u->n_parts > 0);
	begin(u, S3_UPLOAD_COMPLETING);
	s3_request_init(r, u->engine, "POST", u->key);
	s3_request_param(r, "uploadId", u->id);
	s3_request_field(r, "content-type", "application/xml");
	u->body = print_parts(u, &len);
	if (!u->body) {
		err_set(&u->err, ERR_MEMORY, "out of memory for a commit");
		finish(u);
		return;
	}
	r->body = span_make(u->body, len);
	r->is_slow = r->may_fail_late = true;
	s3_request_start(r, on_completed, u);
}
