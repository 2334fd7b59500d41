/*
 * Pages of objects: keys of the bucket, PAGE_KEYS at a time and in the order of
 * ids, then the descriptions of a batch of them at once, then one after the other
 * through what the list asks for.
 *
 * In another order than that of ids all descriptions are read once for each page,
 * and the best `limit` of them kept. Nothing is indexed; memory is that of one
 * page of keys, one batch of descriptions and the rows.
 */
#include "common/log.h"

#include "reader/list_order.h"
#include "reader/s3_description.h"
#include "reader/s3_sink.h"
#include "reader/s3_xml.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE_KEYS "250"
#define MAX_IDS 250u
#define BATCH 16u
/* A key may be 3 KiB when it is encoded, and has 300 bytes around it. */
#define MAX_ANSWER (1u << 20)

struct listing;

/* One description on its way. */
struct fetch {
	struct listing *listing;
	struct s3_request request;
	char key[S3_KEY_SIZE];
	bool is_there;
	struct object row;
};

struct listing {
	struct post there, back;
	struct deferred end;
	struct s3_engine *engine;
	struct loop *loop;
	struct store_list *list;
	struct s3_request request;	/* of keys */
	struct err err;			/* of what is being parsed */
	char after[S3_KEY_SIZE];	/* key behind which the next page begins */
	char before[S3_KEY_SIZE];	/* the one of the page before */
	bool has_more_keys;
	bool has_overflown;		/* more than were asked for */
	char described[UUID_TEXT_SIZE];	/* the id of the description before */
	char ids[MAX_IDS][UUID_TEXT_SIZE];	/* of whole objects */
	size_t n_ids, next_id;
	struct fetch fetches[BATCH];
	size_t n_fetches, n_running;
	struct object **order;		/* of list->rows, when not by id */
};

static void next_batch(struct listing *l);

/* ---- the end --------------------------------------------------------------- */

static void on_back(void *arg)
{
	struct listing *l = arg;
	struct store_list *list = l->list;

	free(l->order);
	free(l);
	store_list_end(list);
}

static void hand_back(void *arg)
{
	struct listing *l = arg;

	loop_post(l->loop, &l->back, on_back, l);
}

/* Rows into the order that was kept for them. */
static void arrange(struct listing *l)
{
	struct store_list *list = l->list;
	struct object *rows;

	if (!l->order || list->n_rows == 0)
		return;
	rows = calloc(list->limit, sizeof(*rows));
	if (!rows) {
		err_set(&list->err, ERR_MEMORY, "out of memory for a list");
		return;
	}
	for (size_t i = 0; i < list->n_rows; i++)
		rows[i] = *l->order[i];
	free(list->rows);
	list->rows = rows;
}

static void end(struct listing *l)
{
	arrange(l);
	if (!err_is_set(&l->list->err))
		list_finish(l->list);
	loop_defer(l->engine->loop, &l->end, hand_back, l);
}

/* ---- rows ------------------------------------------------------------------ */

/* Where the row belongs among those that are kept. */
static size_t place_of(const struct listing *l, const struct object *row)
{
	size_t low = 0, high = l->list->n_rows;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (list_compare(l->list, l->order[mid], row) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Keep it, unless `limit` better ones are there. */
static void offer(struct listing *l, const struct object *row)
{
	struct store_list *list = l->list;
	size_t at = place_of(l, row);
	struct object *slot;

	if (list->n_rows == list->limit) {
		list->more = true;
		if (at == list->limit)
			return;
		slot = l->order[--list->n_rows];
	} else {
		slot = &list->rows[list->n_rows];
	}
	memmove(l->order + at + 1, l->order + at,
		(list->n_rows - at) * sizeof(*l->order));
	l->order[at] = slot;
	*slot = *row;
	list->n_rows++;
}

static void take_row(struct listing *l, const struct object *row)
{
	struct store_list *list = l->list;

	if (!list_wants(list, row) || !list_is_behind(list, row))
		return;
	if (l->order)
		offer(l, row);
	else if (list->n_rows < list->limit)
		list->rows[list->n_rows++] = *row;
	else
		list->more = true;
}

/* Is the page full? Only in the order of ids can that be known early. */
static bool is_full(const struct listing *l)
{
	return !l->order && l->list->more;
}

/* ---- descriptions ---------------------------------------------------------- */

static void on_fetched(void *arg, struct s3_request *r)
{
	struct fetch *f = arg;
	struct listing *l = f->listing;
	struct err err = ERR_INIT;
	char id[UUID_TEXT_SIZE];

	s3_key_read(l->engine->config.prefix, span_of(f->key), id);
	f->is_there = !err_is_set(&r->err) &&
		      s3_description_read(r->answer, id, &f->row, &err) == 0;
	/* Deleted meanwhile is no news; one that is damaged hides no other. */
	if (err_is_set(&r->err) && r->status != 404)
		err_set(&l->list->err, r->err.code, "%s", r->err.text);
	else if (err_is_set(&err))
		log_line(LOG_WARN, "object_unreadable", LOG_STR("id", id),
			 LOG_STR("reason", err.text));
	if (--l->n_running > 0)
		return;
	for (size_t i = 0; i < l->n_fetches && !is_full(l); i++)
		if (l->fetches[i].is_there)
			take_row(l, &l->fetches[i].row);
	next_batch(l);
}

static void fetch(struct listing *l, const char *id)
{
	struct fetch *f = &l->fetches[l->n_fetches++];

	f->listing = l;
	s3_key_of_description(l->engine->config.prefix, id, f->key);
	s3_request_init(&f->request, l->engine, "GET", f->key);
	l->n_running++;
	s3_request_start(&f->request, on_fetched, f);
}

/* ---- keys ------------------------------------------------------------------ */

/* An object is there when its description and its content are. */
static void take_key(struct listing *l, const char *text)
{
	char key[S3_KEY_SIZE], id[UUID_TEXT_SIZE];

	if (!s3_key_decode(span_of(text), key)) {
		err_set(&l->err, ERR_STORE,
			"the S3 server lists a malformed key");
		return;
	}
	if (l->n_ids == MAX_IDS) {
		l->has_overflown = true;
		return;
	}
	memcpy(l->after, key, sizeof(key));
	switch (s3_key_read(l->engine->config.prefix, span_of(key), id)) {
	case S3_KEY_DESCRIPTION:
		memcpy(l->described, id, sizeof(id));
		break;
	case S3_KEY_CONTENT:
		if (strcmp(l->described, id) == 0)
			memcpy(l->ids[l->n_ids++], id, sizeof(id));
		l->described[0] = '\0';
		break;
	case S3_KEY_TAIL:
	case S3_KEY_FOREIGN:
		break;
	}
}

static void on_element(void *arg, const char *parent, const char *name,
		       const char *text)
{
	struct listing *l = arg;

	if (!text)
		return;
	if (strcmp(parent, "Contents") == 0 && strcmp(name, "Key") == 0)
		take_key(l, text);
	else if (strcmp(name, "IsTruncated") == 0)
		l->has_more_keys = strcmp(text, "true") == 0;
}

/* False with an error when the page is no step forward. */
static bool read_page(struct listing *l, struct span answer)
{
	memcpy(l->before, l->after, sizeof(l->before));
	if (s3_xml_parse(answer, on_element, l, &l->err) < 0 ||
	    err_is_set(&l->err))
		return false;
	l->has_more_keys = l->has_more_keys || l->has_overflown;
	if (!l->has_more_keys || strcmp(l->after, l->before) > 0)
		return true;
	err_set(&l->err, ERR_STORE,
		"the S3 server lists the same keys again and again");
	return false;
}

static void on_keys(void *arg, struct s3_request *r)
{
	struct listing *l = arg;

	l->n_ids = l->next_id = 0;
	l->has_more_keys = l->has_overflown = false;
	if (err_is_set(&r->err))
		l->list->err = r->err;
	else if (!read_page(l, r->answer))
		l->list->err = l->err;
	next_batch(l);
}

static void ask_keys(struct listing *l)
{
	struct s3_request *r = &l->request;

	s3_request_init(r, l->engine, "GET", NULL);
	s3_request_param(r, "encoding-type", "url");
	s3_request_param(r, "list-type", "2");
	s3_request_param(r, "max-keys", PAGE_KEYS);
	s3_request_param(r, "prefix", l->engine->config.prefix);
	if (l->after[0])
		s3_request_param(r, "start-after", l->after);
	r->max_answer = MAX_ANSWER;
	s3_request_start(r, on_keys, l);
}

static void next_batch(struct listing *l)
{
	l->n_fetches = 0;
	if (err_is_set(&l->list->err) || is_full(l)) {
		end(l);
		return;
	}
	while (l->n_fetches < BATCH && l->next_id < l->n_ids)
		fetch(l, l->ids[l->next_id++]);
	if (l->n_fetches > 0)
		return;
	if (l->has_more_keys)
		ask_keys(l);
	else
		end(l);
}

static void run_list(void *arg)
{
	struct listing *l = arg;

	if (list_is_over(l->list))
		end(l);
	else
		ask_keys(l);
}

/* ---- begin ----------------------------------------------------------------- */

/* Behind all keys of the object `after`: "0" follows "/" and ".". */
static void begin_after(struct listing *l)
{
	const struct store_list *list = l->list;

	if (list->after[0] && list_is_by_id(list) && !list->descending)
		snprintf(l->after, sizeof(l->after), "%s%s0",
			 l->engine->config.prefix, list->after);
}

static bool prepare(struct listing *l)
{
	struct store_list *list = l->list;

	list->rows = calloc(list->limit, sizeof(*list->rows));
	if (!list_is_by_id(list) || list->descending)
		l->order = calloc(list->limit + 1, sizeof(struct object *));
	return list->rows &&
	       (l->order || (list_is_by_id(list) && !list->descending));
}

void s3_list(struct store_list *list, struct loop *loop)
{
	struct listing *l = calloc(1, sizeof(*l));

	if (l) {
		l->engine = s3_engine_of(list->store);
		l->loop = loop;
		l->list = list;
		begin_after(l);
	}
	if (l && prepare(l)) {
		loop_post(l->engine->loop, &l->there, run_list, l);
		return;
	}
	if (l)
		free(l->order);
	free(l);
	err_set(&list->err, ERR_MEMORY, "out of memory for a list");
	store_list_end(list);
}
