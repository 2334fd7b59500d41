#include "broadcaster/media_list.h"

#include "broadcaster/access.h"
#include "broadcaster/media_job.h"
#include "broadcaster/media_merge.h"
#include "broadcaster/ticket.h"
#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_LISTS 16u
#define MAX_ANSWER ((size_t)1 << 20)
#define MAX_LIMIT 1000u
#define DEFAULT_LIMIT 100u

enum seat_state { SEAT_ASKED, SEAT_OK, SEAT_UNREACHABLE };

struct listing;

/* One reader. */
struct seat {
	struct listing *listing;
	struct outlet *outlet;
	struct http_call *call;		/* NULL when it has answered */
	size_t limit;			/* rows it is asked for */
	enum seat_state state;
	bool is_hurried;		/* it did not answer lately */
	int refusal;			/* 400, 414: the request is wrong; 0 */
	struct err err;
};

struct listing {
	struct media_job job;		/* first */
	struct deferred finish;
	bool is_songs, has_after, is_answered;
	struct media_order_by by;
	size_t limit;
	char *query;			/* all but the limit: "&q=…&type=…" */
	unsigned int n_open, n;
	struct media_page *pages;	/* of each seat */
	struct seat seats[];
};

/* ---- the request ------------------------------------------------------------ */

/* Those that readers know; they check the values. */
static const char *const names[] = { "q",	 "type",     "from",
				     "until",	 "min_size", "max_size",
				     "sort",	 "order",    "after",
				     "limit" };
#define N_NAMES (sizeof(names) / sizeof(names[0]))

/* The parameter's number, or N_NAMES. */
static size_t find_name(struct span name, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq(name, span_of(names[i])))
			return i;
	return N_NAMES;
}

static int refuse_name(struct span name, bool is_songs, struct err *err)
{
	return err_set(err, ERR_CLIENT, "%.*s is no parameter; allowed %s",
		       name.len < 40 ? (int)name.len : 40, name.ptr,
		       is_songs ? "is q" :
				  "are q, type, from, until, min_size, "
				  "max_size, sort, order, limit and after");
}

/* Readers see the limit that they are given only, so it is looked at here. */
static int check_names(struct span query, bool is_songs, struct err *err)
{
	bool seen[N_NAMES] = { false };

	while (query.len > 0) {
		struct span pair = span_cut(&query, '&');
		struct span name = span_cut(&pair, '=');
		size_t i;

		if (name.len == 0 && !pair.ptr)
			continue;
		i = find_name(name, is_songs ? 1 : N_NAMES);
		if (i == N_NAMES)
			return refuse_name(name, is_songs, err);
		if (seen[i])
			return err_set(err, ERR_CLIENT, "%s stands twice",
				       names[i]);
		seen[i] = true;
	}
	return 0;
}

static int read_limit(struct listing *l, struct span query, struct err *err)
{
	struct span value = http1_query_get(query, "limit");
	uint64_t limit = DEFAULT_LIMIT;

	if (value.len > 0 && (!http1_parse_u64(value, &limit) || limit < 1 ||
			      limit > MAX_LIMIT))
		return err_set(err, ERR_CLIENT,
			       "limit has to be a number from 1 to %u",
			       MAX_LIMIT);
	l->limit = (size_t)limit;
	return 0;
}

/* In which order pages come; what is misspelt is refused by the readers. */
static struct media_order_by read_order(struct span query)
{
	struct span sort = http1_query_get(query, "sort");
	struct span order = http1_query_get(query, "order");
	bool has_q = http1_query_get(query, "q").len > 0;
	struct media_order_by by = { has_q ? MEDIA_BY_SCORE : MEDIA_BY_ID,
				     span_eq(order, SPAN_LIT("desc")) };

	if (span_eq(sort, SPAN_LIT("id")))
		by.sort = MEDIA_BY_ID;
	else if (span_eq(sort, SPAN_LIT("name")))
		by.sort = MEDIA_BY_NAME;
	else if (span_eq(sort, SPAN_LIT("size")))
		by.sort = MEDIA_BY_SIZE;
	else if (span_eq(sort, SPAN_LIT("relevance")))
		by.sort = MEDIA_BY_SCORE;
	return by;
}

#define NEWEST_FIRST "&sort=id&order=desc"

/* As it came, still encoded: the parser has let visible ASCII through only. */
static bool format_query(struct listing *l, struct span query)
{
	char *to = malloc(query.len + sizeof("&" NEWEST_FIRST));

	l->query = to;
	if (!to)
		return false;
	while (query.len > 0) {
		struct span pair = span_cut(&query, '&');
		struct span value = pair;
		struct span name = span_cut(&value, '=');

		if (pair.len == 0 || span_eq(name, SPAN_LIT("limit")))
			continue;
		*to++ = '&';
		memcpy(to, pair.ptr, pair.len);
		to += pair.len;
	}
	*to = '\0';
	if (l->is_songs && l->by.sort == MEDIA_BY_ID)
		memcpy(to, NEWEST_FIRST, sizeof(NEWEST_FIRST));
	return true;
}

static int read_request(struct listing *l, struct span query, struct err *err)
{
	if (check_names(query, l->is_songs, err) < 0 ||
	    read_limit(l, query, err) < 0)
		return -1;
	l->by = read_order(query);
	l->has_after = http1_query_get(query, "after").len > 0;
	if (l->is_songs)
		l->limit = MAX_LIMIT;
	if (!format_query(l, query))
		return err_set(err, ERR_MEMORY, "out of memory for a list");
	/* Newest first, unless something is looked for. */
	if (l->is_songs && l->by.sort == MEDIA_BY_ID)
		l->by.descending = true;
	return 0;
}

/* ---- the answer ------------------------------------------------------------- */

static json_t *seat_to_json(const struct seat *seat)
{
	static const char *const states[] = {
		[SEAT_ASKED] = "asked",
		[SEAT_OK] = "ok",
		[SEAT_UNREACHABLE] = "unreachable",
	};

	return json_pack("{s:o, s:s, s:o}", "name",
			 json_text(span_of(seat->outlet->target->name)),
			 "state", states[seat->state], "error",
			 err_is_set(&seat->err) ?
				 json_text(span_of(seat->err.text)) :
				 json_null());
}

static json_t *readers_to_json(const struct listing *l)
{
	json_t *readers = json_array();

	for (unsigned int i = 0; i < l->n; i++)
		json_add(&readers, seat_to_json(&l->seats[i]));
	return readers;
}

static const char *text_of(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));

	return text ? text : "";
}

/* Where the object is played, also by those who have no token. */
static void add_url(const struct listing *l, json_t *row)
{
	const struct broadcaster_settings *s = l->job.front->settings;
	const char *id = text_of(row, "id");
	char url[sizeof("/media/?ticket=") + UUID_TEXT_SIZE + TICKET_SIZE];
	char ticket[TICKET_SIZE];

	snprintf(url, sizeof(url), "/media/%s", id);
	if (access_is_private(s)) {
		ticket_write(s->token, id, clock_wall_ms(), ticket);
		snprintf(url, sizeof(url), "/media/%s?ticket=%s", id, ticket);
	}
	(void)json_object_set_new(row, "url", json_string(url));
}

static json_t *song_of(const json_t *row)
{
	const char *id = text_of(row, "id"), *title = text_of(row, "title");

	return json_pack("{s:s, s:s, s:s, s:s}", "ID", id, "Hash", id, "Title",
			 *title ? title : text_of(row, "name"), "Creator",
			 text_of(row, "creator"));
}

static void reply_songs(struct listing *l, json_t *rows)
{
	json_t *songs = json_array();
	size_t i;
	json_t *row;

	json_array_foreach(rows, i, row)
		json_add(&songs, song_of(row));
	media_reply_json(l->job.x, 200,
			 rows ? json_pack("{s:i, s:o}", "count",
					  (int)json_array_size(rows), "media",
					  songs) :
				NULL);
	if (!rows)
		json_decref(songs);
	json_decref(rows);
}

static void reply_list(struct listing *l, json_t *rows,
		       const struct media_end *end)
{
	size_t i;
	json_t *row;

	json_array_foreach(rows, i, row)
		add_url(l, row);
	media_reply_json(l->job.x, 200,
			 json_pack("{s:o, s:o, s:o}", "media", rows, "next",
				   end->more ? json_string(end->cursor) :
					       json_null(),
				   "readers", readers_to_json(l)));
}

static void reply_merged(struct listing *l)
{
	struct media_end end;
	json_t *rows = media_merge(l->pages, l->n, l->by, l->limit, &end);

	if (l->is_songs)
		reply_songs(l, rows);
	else
		reply_list(l, rows, &end);
}

/* ---- what the readers said ---------------------------------------------------- */

static unsigned int count_ok(const struct listing *l)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < l->n; i++)
		if (l->seats[i].state == SEAT_OK)
			n++;
	return n;
}

static const struct seat *refused_seat(const struct listing *l)
{
	for (unsigned int i = 0; i < l->n; i++)
		if (l->seats[i].refusal)
			return &l->seats[i];
	return NULL;
}

/*
 * A cursor may be another reader's: the refusal of one that reads them in another
 * way counts only when nobody takes the request.
 */
static void finish(void *arg)
{
	struct listing *l = arg;
	const struct seat *refused = refused_seat(l);
	struct err err = ERR_INIT;

	if (l->is_answered)
		return;
	l->is_answered = true;
	if (refused && (!l->has_after || count_ok(l) == 0)) {
		err_set_status(&err, refused->refusal, "%s", refused->err.text);
		http_reply_problem(l->job.x, &err);
	} else if (count_ok(l) == 0) {
		media_reply_problem(l->job.x, 502, "no reader could be asked",
				    readers_to_json(l));
	} else {
		reply_merged(l);
	}
}

static void ask(struct listing *l, struct seat *seat);

static void refuse(struct seat *seat, const struct http_call_result *result)
{
	char text[sizeof(seat->err.text)];

	seat->state = SEAT_UNREACHABLE;
	if (result->status == 400 || result->status == 414)
		seat->refusal = result->status;
	if (err_is_set(&result->err))
		snprintf(text, sizeof(text), "%s", result->err.text);
	else if (!seat->refusal ||
		 !reply_sentence(result->body, text, sizeof(text)))
		reply_reason_of(result->status, result->body, text,
				sizeof(text));
	err_set(&seat->err, ERR_TARGET, "%s", text);
}

static void read_answer(struct listing *l, struct seat *seat,
			const struct http_call_result *result)
{
	struct media_page *page = &l->pages[seat - l->seats];

	page->reader = seat->outlet->target->name;
	if (result->status == 0 && !seat->is_hurried)
		outlet_shun(seat->outlet, loop_now_ms(l->job.front->loop));
	if (err_is_set(&result->err) || result->status != 200)
		refuse(seat, result);
	else if (media_page_read(page, result->body, l->by, &seat->err) < 0)
		seat->state = SEAT_UNREACHABLE;
	else
		seat->state = SEAT_OK;
}

static void on_answer(void *owner, struct http_call *call,
		      const struct http_call_result *result)
{
	struct seat *seat = owner;
	struct listing *l = seat->listing;

	(void)call;
	seat->call = NULL;
	l->n_open--;
	if (result->is_too_long && result->status == 200 && seat->limit > 1) {
		seat->limit /= 2;
		ask(l, seat);
	} else {
		read_answer(l, seat, result);
	}
	if (l->n_open == 0)
		loop_defer(l->job.front->loop, &l->finish, finish, l);
}

/*
 * Not all lists wait for a reader that hangs. Having failed to answer in a hurry
 * is not held against one that is merely slow.
 */
static uint64_t time_for(struct listing *l, struct seat *seat)
{
	struct front *front = l->job.front;
	const struct broadcaster_settings *s = front->settings;

	seat->is_hurried = s->media_ask_ms < s->connect_timeout_ms &&
			   outlet_is_shy(seat->outlet,
					 loop_now_ms(front->loop));
	return seat->is_hurried ? s->media_ask_ms : s->connect_timeout_ms;
}

static void ask(struct listing *l, struct seat *seat)
{
	struct front *front = l->job.front;
	char *path = NULL;

	if (asprintf(&path, "/objects?limit=%zu%s", seat->limit, l->query) < 0)
		path = NULL;
	if (path)
		seat->call = media_call(front, seat->outlet,
					&(struct http_call_request){
						.method = "GET",
						.path = path,
						.timeout_ms = time_for(l, seat),
						.max_answer = MAX_ANSWER },
					on_answer, seat);
	free(path);
	if (seat->call) {
		l->n_open++;
		return;
	}
	err_set(&seat->err, ERR_MEMORY, "out of memory for a request");
	seat->state = SEAT_UNREACHABLE;
}

/* ---- life --------------------------------------------------------------------- */

static void release(struct media_job *job)
{
	struct listing *l = (struct listing *)job;

	loop_undefer(job->front->loop, &l->finish);
	for (unsigned int i = 0; i < l->n; i++) {
		if (l->seats[i].call)
			http_call_cancel(&l->seats[i].call);
		media_page_release(&l->pages[i]);
	}
	free(l->pages);
	free(l->query);
	atomic_fetch_sub(&job->front->shared->n_lists, 1);
}

static void on_abort(struct media_job *job, const struct err *why)
{
	struct listing *l = (struct listing *)job;

	if (l->is_answered)
		return;
	l->is_answered = true;
	http_reply_problem(job->x, why);
}

static void on_body(void *owner)
{
	(void)owner;	/* a GET has none */
}

static void on_end(void *owner)
{
	struct listing *l = owner;

	l->job.x = NULL;
	media_job_end(&l->job);
}

static const struct http_exchange_ops ops = { on_body, NULL, on_end };

static struct listing *listing_new(struct front *front)
{
	unsigned int n = media_count_readers(front);
	struct listing *l = calloc(1, sizeof(*l) + n * sizeof(l->seats[0]));

	if (!l)
		return NULL;
	l->pages = calloc(n ? n : 1, sizeof(*l->pages));
	if (!l->pages) {
		free(l);
		return NULL;
	}
	for (unsigned int i = 0; i < front->n_outlets; i++)
		if (front->outlets[i].target->kind == TARGET_READER)
			l->seats[l->n++] =
				(struct seat){ .listing = l,
					       .outlet = &front->outlets[i] };
	return l;
}

static void start(struct listing *l, struct front *front,
		  struct http_exchange *x)
{
	l->job.abort = on_abort;
	l->job.release = release;
	media_job_begin(&l->job, front, x);
	http_exchange_attach(x, &ops, l);
	for (unsigned int i = 0; i < l->n; i++) {
		l->seats[i].limit = l->limit;
		ask(l, &l->seats[i]);
	}
	if (l->n_open == 0)
		loop_defer(front->loop, &l->finish, finish, l);
}

/* Counted in n_lists already. */
static void list(struct front *front, struct http_exchange *x, bool is_songs)
{
	struct listing *l = listing_new(front);
	struct err err = ERR_INIT;

	if (!l) {
		err_set(&err, ERR_MEMORY, "out of memory for a list");
	} else {
		l->is_songs = is_songs;
		if (read_request(l, http_request_query(x), &err) == 0) {
			start(l, front, x);
			return;
		}
		free(l->pages);
		free(l->query);
		free(l);
	}
	atomic_fetch_sub(&front->shared->n_lists, 1);
	http_reply_problem(x, &err);
}

static void admit(struct front *front, struct http_exchange *x, bool is_songs)
{
	struct err err = ERR_INIT;

	if (atomic_fetch_add(&front->shared->n_lists, 1) < MAX_LISTS) {
		list(front, x, is_songs);
		return;
	}
	atomic_fetch_sub(&front->shared->n_lists, 1);
	err_set(&err, ERR_LIMIT, "too many lists at a time, try later");
	http_reply_problem(x, &err);
}

void media_list(struct front *front, struct http_exchange *x)
{
	admit(front, x, false);
}

void media_songs(struct front *front, struct http_exchange *x)
{
	admit(front, x, true);
}
