#include "common/http_client.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/http_client_impl.h"

/*
 * Of an answer's head (1xx ones and trailers included), and of its body, if the
 * caller has not said how long that may be.
 */
#define MAX_HEAD ((size_t)65536)
#define MAX_ANSWER ((size_t)65536)
#define MIN_TICK_MS 10u
#define FIRST_BODY ((size_t)1024)

#define CALL_STATES(X)                                                         \
	X(CALL_RUNNING, "libcurl is at work")                                  \
	X(CALL_DONE, "the result is known, fn still to be called")             \
	X(CALL_TELLING, "fn has been called; a cancel comes too late")         \
	X(CALL_ENDED, "buried")

#define AS_ENUM(name, meaning) name,
enum call_state { CALL_STATES(AS_ENUM) };

struct http_call {
	struct grave grave;
	struct http_origin *origin; /* until CALL_TELLING */
	struct loop *loop;
	http_call_fn *fn;
	void *owner;
	enum call_state state;
	CURL *easy;
	struct http_transfer transfer;
	struct curl_slist *headers;
	curl_off_t request_bytes; /* of the request's body */
	uint64_t timeout_ms;
	uint64_t stall_ms;
	uint64_t deadline_ms;
	uint64_t moved;		/* bytes of both directions, at the last look */
	uint64_t moved_ms;	/* and since when that many */
	struct timer timer;
	struct deferred tell;
	size_t head_bytes;
	size_t max_body;
	char *body;
	size_t body_len;
	size_t body_size;
	char *room; /* the caller's */
	size_t room_size;
	bool in_room; /* where the body is */
	bool too_long;
	bool is_sent;	/* libcurl has begun to */
	struct http_call_result result;
	char curl_text[CURL_ERROR_SIZE];
};

#define TO(state) (1u << (state))

static const unsigned int transitions[] = {
	[CALL_RUNNING] = TO(CALL_DONE) | TO(CALL_ENDED),
	[CALL_DONE] = TO(CALL_TELLING) | TO(CALL_ENDED),
	[CALL_TELLING] = TO(CALL_ENDED),
	[CALL_ENDED] = 0,
};

static void enter(struct http_call *call, enum call_state state)
{
	CHECK(transitions[call->state] & TO(state));
	call->state = state;
}

/* ---- the end ------------------------------------------------------------ */

static void call_free(void *arg)
{
	struct http_call *call = arg;

	curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	free(call->body);
	free(call);
}

/* Off the multi handle; what was received stays. */
static void stop(struct http_call *call)
{
	timer_stop(&call->timer);
	http_transfer_end(&call->transfer);
	curl_multi_remove_handle(call->origin->client->calls.curl, call->easy);
}

static void bury(struct http_call *call)
{
	enter(call, CALL_ENDED);
	loop_bury(call->loop, &call->grave, call_free, call);
}

void http_call_cancel(struct http_call **callp)
{
	struct http_call *call = *callp;

	*callp = NULL;
	if (call->state == CALL_TELLING)
		return;
	if (call->state == CALL_RUNNING)
		stop(call);
	loop_undefer(call->loop, &call->tell);
	call->origin->n_users--;
	bury(call);
}

static void tell(void *arg)
{
	struct http_call *call = arg;

	call->origin->n_users--;
	enter(call, CALL_TELLING);
	call->fn(call->owner, call, &call->result);
	bury(call);
}

/* ---- the answer --------------------------------------------------------- */

static void set_timed_out(struct http_call *call)
{
	if (call->stall_ms > 0 &&
	    loop_now_ms(call->loop) < call->deadline_ms)
		err_set(&call->result.err, ERR_TARGET,
			"no byte to or from %s for %llu ms", call->origin->host,
			(unsigned long long)call->stall_ms);
	err_set(&call->result.err, ERR_TARGET,
		"no answer from %s within %llu ms", call->origin->host,
		(unsigned long long)call->timeout_ms);
}

/* To libcurl a field line of over 100 KiB is CURLE_OUT_OF_MEMORY too. */
static const char *reason(const struct http_call *call, CURLcode code)
{
	if (code == CURLE_OUT_OF_MEMORY)
		return "an endless line, or out of memory";
	return *call->curl_text ? call->curl_text : curl_easy_strerror(code);
}

static void set_failed(struct http_call *call, CURLcode code, long status)
{
	struct err *err = &call->result.err;
	const char *text = reason(call, code);

	if (code == CURLE_OPERATION_TIMEDOUT)
		set_timed_out(call);
	else if (status != 0)
		err_set(err, ERR_TARGET, "answer %ld of %s broke off: %s",
			status, call->origin->host, text);
	else
		err_set(err, ERR_TARGET, "no answer from %s: %s",
			call->origin->host, text);
}

/* libcurl is content with an answer that comes before the request has ended. */
static bool is_all_sent(const struct http_call *call)
{
	curl_off_t sent = 0;

	curl_easy_getinfo(call->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
	return sent >= call->request_bytes;
}

static void set_result(struct http_call *call, CURLcode code)
{
	struct http_call_result *result = &call->result;
	long status = 0;

	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	if (call->too_long)
		err_set(&result->err, ERR_TARGET,
			"answer %ld of %s is over %zu bytes", status,
			call->origin->host,
			call->in_room ? call->room_size : call->max_body);
	else if (code != CURLE_OK)
		set_failed(call, code, status);
	else if (status / 100 == 2 && !is_all_sent(call))
		err_set(&result->err, ERR_TARGET,
			"%s answered %ld before it had the whole request",
			call->origin->host, status);
	result->is_too_long = call->too_long;
	if (!err_is_set(&result->err) || call->too_long) {
		result->status = (int)status;
		result->body = span_make(call->in_room ? call->room
						       : call->body,
					 call->body_len);
	}
}

void http_call_on_done(void *owner, CURLcode code)
{
	struct http_call *call = owner;

	stop(call);
	set_result(call, code);
	enter(call, CALL_DONE);
	loop_defer(call->loop, &call->tell, tell, call);
}

/* Bytes that have gone either way. */
static uint64_t count_moved(const struct http_call *call)
{
	curl_off_t sent = 0;

	curl_easy_getinfo(call->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
	return (uint64_t)sent + call->head_bytes + call->body_len;
}

static bool has_stalled(struct http_call *call, uint64_t now)
{
	uint64_t moved = count_moved(call);

	if (moved != call->moved) {
		call->moved = moved;
		call->moved_ms = now;
	}
	return call->stall_ms > 0 && now - call->moved_ms >= call->stall_ms;
}

/* The next look: often enough for a stall to be seen a quarter late at most. */
static void start_timer(struct http_call *call, uint64_t now)
{
	uint64_t ms = call->deadline_ms - now;

	if (call->stall_ms > 0 && call->stall_ms / 4 < ms)
		ms = call->stall_ms / 4;
	timer_start(&call->timer, ms < MIN_TICK_MS ? MIN_TICK_MS : ms);
}

static void on_timer(void *arg)
{
	struct http_call *call = arg;
	uint64_t now = loop_now_ms(call->loop);

	if (now >= call->deadline_ms || has_stalled(call, now))
		http_call_on_done(call, CURLE_OPERATION_TIMEDOUT);
	else
		start_timer(call, now);
}

/* CURLOPT_HEADERFUNCTION: nothing is kept here, http_call_header() asks curl.
 */
static size_t on_header(char *bytes, size_t size, size_t n, void *arg)
{
	struct http_call *call = arg;

	(void)bytes;
	(void)size;
	if (n > MAX_HEAD - call->head_bytes) {
		call->too_long = true;
		return CURL_WRITEFUNC_ERROR;
	}
	call->head_bytes += n;
	return n;
}

/* CURLOPT_PREREQFUNCTION: the request is about to be sent, maybe again. */
static int on_connected(void *arg, char *to, char *from, int to_port,
			int from_port)
{
	struct http_call *call = arg;

	(void)to;
	(void)from;
	(void)to_port;
	(void)from_port;
	call->result.is_repeated = call->is_sent;
	call->is_sent = true;
	return CURL_PREREQFUNC_OK;
}

static bool body_reserve(struct http_call *call, size_t len)
{
	size_t size = call->body_size ? call->body_size : FIRST_BODY;
	char *body;

	while (size < len)
		size *= 2;
	if (size == call->body_size)
		return true;
	body = realloc(call->body, size);
	if (!body)
		return false;
	call->body = body;
	call->body_size = size;
	return true;
}

static bool is_success(const struct http_call *call)
{
	long status = 0;

	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	return status / 100 == 2;
}

/* CURLOPT_WRITEFUNCTION */
static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
	struct http_call *call = arg;
	size_t room, take;

	(void)size;
	call->in_room = call->room && is_success(call);
	room = (call->in_room ? call->room_size : call->max_body) -
	       call->body_len;
	take = n < room ? n : room;
	if (!call->in_room && !body_reserve(call, call->body_len + take))
		return CURL_WRITEFUNC_ERROR;
	memcpy((call->in_room ? call->room : call->body) + call->body_len,
	       bytes, take);
	call->body_len += take;
	call->too_long = take < n;
	return call->too_long ? CURL_WRITEFUNC_ERROR : n;
}

const char *http_call_header(struct http_call *call, const char *name)
{
	struct curl_header *header;

	if (curl_easy_header(call->easy, name, 0, CURLH_HEADER, -1, &header) !=
	    CURLHE_OK)
		return NULL;
	return header->value;
}

/* ---- the request -------------------------------------------------------- */

static bool add_line(struct http_call *call, const char *line)
{
	struct curl_slist *list = curl_slist_append(call->headers, line);

	if (list)
		call->headers = list;
	return list != NULL;
}

/* "Name;" is how libcurl is told to send an empty value. */
static bool add_header(struct http_call *call,
		       const struct http_call_header *header)
{
	char *line;
	bool is_added;
	int len;

	if (strpbrk(header->name, "\r\n:") || strpbrk(header->value, "\r\n"))
		return false;
	len = *header->value
		      ? asprintf(&line, "%s: %s", header->name, header->value)
		      : asprintf(&line, "%s;", header->name);
	if (len < 0)
		return false;
	is_added = add_line(call, line);
	free(line);
	return is_added;
}

/*
 * No Expect, which costs a second where it is ignored, and no Content-Type that
 * libcurl would make up: "Name:" is how it is told so. One of the caller's is
 * sent all the same.
 */
static bool add_headers(struct http_call *call,
			const struct http_call_request *request)
{
	for (size_t i = 0; i < request->n_headers; i++)
		if (!add_header(call, &request->headers[i]))
			return false;
	return add_line(call, "Expect:") && add_line(call, "Content-Type:");
}

static bool set_body(struct http_call *call, struct span body, bool is_borrowed)
{
	CURLoption option = is_borrowed ? CURLOPT_POSTFIELDS
					: CURLOPT_COPYPOSTFIELDS;
	CURL *easy = call->easy;

	call->request_bytes = (curl_off_t)body.len;
	return is_set(curl_easy_setopt(easy, CURLOPT_POST, 1L)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
				       (curl_off_t)body.len)) &&
	       is_set(curl_easy_setopt(easy, option,
				       body.len ? body.ptr : ""));
}

static bool set_method(struct http_call *call,
		       const struct http_call_request *request)
{
	CURL *easy = call->easy;
	const char *method = request->method;

	if (strcmp(method, "GET") == 0)
		return is_set(curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L));
	if (strcmp(method, "HEAD") == 0)
		return is_set(curl_easy_setopt(easy, CURLOPT_NOBODY, 1L));
	if ((strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) &&
	    !set_body(call, request->body, request->body_is_borrowed))
		return false;
	return is_set(curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method));
}

static bool set_callbacks(struct http_call *call)
{
	CURL *easy = call->easy;

	return is_set(curl_easy_setopt(easy, CURLOPT_PRIVATE, call)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_ERRORBUFFER,
				       call->curl_text)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION,
				       on_header)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_HEADERDATA, call)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION,
				       on_connected)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_PREREQDATA, call)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_WRITEDATA, call));
}

static bool set_up(struct http_call *call,
		   const struct http_call_request *request)
{
	long ms = request->timeout_ms < LONG_MAX ? (long)request->timeout_ms
						 : LONG_MAX;

	return http_client_set_up(call->easy, call->origin, request->path) &&
	       set_callbacks(call) && set_method(call, request) &&
	       add_headers(call, request) &&
	       is_set(curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER,
				       call->headers)) &&
	       is_set(curl_easy_setopt(call->easy, CURLOPT_TIMEOUT_MS, ms));
}

static bool start(struct http_call *call,
		  const struct http_call_request *request)
{
	call->easy = curl_easy_init();
	return call->easy && set_up(call, request) &&
	       http_transfer_start(&call->origin->client->calls,
				   &call->transfer, call->easy, call);
}

struct http_call *http_call_start(struct http_origin *origin,
				  const struct http_call_request *request,
				  http_call_fn *fn, void *owner)
{
	struct http_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->origin = origin;
	call->loop = origin->client->loop;
	call->fn = fn;
	call->owner = owner;
	call->timeout_ms = request->timeout_ms;
	call->stall_ms = request->stall_ms;
	call->max_body = request->max_answer ? request->max_answer : MAX_ANSWER;
	call->room = request->room;
	call->room_size = request->room_size;
	call->moved_ms = loop_now_ms(call->loop);
	call->deadline_ms = call->moved_ms + request->timeout_ms;
	timer_init(&call->timer, call->loop, on_timer, call);
	if (!start(call, request)) {
		call_free(call);
		return NULL;
	}
	start_timer(call, call->moved_ms);
	origin->n_users++;
	return call;
}
