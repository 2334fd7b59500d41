#include "common/http_server_impl.h"

#include "common/digest.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Room for a chunk's end and the next one's size, read along with data. */
#define NEXT_FRAMING 128u

/* ---- memory -------------------------------------------------------------- */

static void reset(struct http_exchange *x)
{
	x->ops = NULL;
	x->owner = NULL;
	x->understood = x->continued = x->bodyless = x->chunks = false;
	x->body_due = x->waiting = false;
	x->body = BODY_DONE;
	x->reply = REPLY_NONE;
	x->left = 0;
	x->budget = TURN_BYTES;
	x->waited_ms = 0;
	x->window_bytes = 0;
	x->fields = NULL;
	x->n_fields = 0;
	x->file.fd = -1;
	x->file.running = false;
	x->body_err = ERR_INIT;
	http1_head_init(&x->head);
}

struct http_exchange *exchange_acquire(struct http_connection *c)
{
	struct http_server *server = c->server;
	struct http_exchange *x = server->spare_exchanges;

	if (x) {
		server->spare_exchanges = x->next;
		server->n_spare_exchanges--;
	} else {
		x = malloc(sizeof(*x));
		if (!x)
			return NULL;
	}
	x->c = c;
	x->buf = x->first;
	x->cap = sizeof(x->first);
	x->len = x->pos = 0;
	reset(x);
	return x;
}

void exchange_release(struct http_server *server, struct http_exchange *x)
{
	if (x->buf != x->first)
		free(x->buf);
	if (server->n_spare_exchanges == SPARE_EXCHANGES) {
		free(x);
		return;
	}
	x->next = server->spare_exchanges;
	server->spare_exchanges = x;
	server->n_spare_exchanges++;
}

void exchange_reset(struct http_exchange *x)
{
	x->len -= x->pos;
	memmove(x->buf, x->buf + x->pos, x->len);
	x->pos = 0;
	reset(x);
}

bool exchange_grow(struct http_exchange *x, size_t size)
{
	char *buf;

	if (size <= x->cap)
		return true;
	buf = malloc(size);
	if (!buf)
		return false;
	memcpy(buf, x->buf, x->len);
	if (x->buf != x->first)
		free(x->buf);
	x->buf = buf;
	x->cap = size;
	return true;
}

/* ---- life ---------------------------------------------------------------- */

static bool may_have_content(enum http1_method method)
{
	return method == HTTP1_POST || method == HTTP1_PUT ||
	       method == HTTP1_PATCH;
}

static void open_body(struct http_exchange *x)
{
	x->pos = x->head.size;
	if (x->head.framing == HTTP1_CHUNKED) {
		x->body = BODY_OPEN;
		http1_chunked_init(&x->chunked);
	} else if (x->head.framing == HTTP1_IDENTITY && x->head.length > 0) {
		x->body = BODY_OPEN;
		x->left = x->head.length;
	}
}

static uint64_t max_body(const struct http_exchange *x)
{
	uint64_t max = x->c->server->settings.max_body;

	return max ? max : UINT64_MAX;
}

int exchange_begin(struct http_exchange *x, struct err *err)
{
	open_body(x);
	if (x->body == BODY_DONE)
		return 0;
	if (!may_have_content(x->head.method))
		return err_set_status(err, 400, "a %s request has no content",
				      http1_method_name(x->head.method));
	if (x->left > max_body(x))
		return err_set_status(err, 413,
				      "at most %llu bytes are accepted",
				      (unsigned long long)max_body(x));
	if (x->head.framing == HTTP1_CHUNKED &&
	    !exchange_grow(x, x->head.size + FRAMING_ROOM))
		return err_set(err, ERR_MEMORY, "out of memory");
	return 0;
}

void http_exchange_attach(struct http_exchange *x,
			  const struct http_exchange_ops *ops, void *owner)
{
	CHECK(!x->ops && ops);
	x->ops = ops;
	x->owner = owner;
	if (x->body == BODY_OPEN && x->reply == REPLY_NONE &&
	    x->c->state == CONNECTION_EXCHANGE) {
		x->body_due = true;
		connection_schedule(x->c);
	}
}

/* The status stays 0: there is nobody to answer. */
static void client_gone(struct http_exchange *x, int errnum)
{
	x->body = BODY_BAD;
	if (errnum)
		err_set_errno(&x->body_err, ERR_CLIENT, errnum,
			      "the client's connection failed");
	else
		err_set(&x->body_err, ERR_CLIENT,
			"the client closed before the end of its content");
}

void exchange_end(struct http_exchange *x)
{
	const struct http_exchange_ops *ops = x->ops;

	if (x->c->state == CONNECTION_CLOSED && x->body == BODY_OPEN)
		client_gone(x, ECONNABORTED);
	x->ops = NULL;
	if (ops)
		ops->on_end(x->owner);
}

void http_abort(struct http_exchange *x)
{
	connection_close(x->c, "given up");
}

/* ---- questions ----------------------------------------------------------- */

const struct http1_head *http_request(const struct http_exchange *x)
{
	return &x->head;
}

struct span http_request_path(const struct http_exchange *x)
{
	return http1_span(x->buf, x->head.path);
}

struct span http_request_query(const struct http_exchange *x)
{
	return http1_span(x->buf, x->head.query);
}

struct span http_request_field(const struct http_exchange *x, const char *name)
{
	return http1_field(&x->head, x->buf, name);
}

struct span http_request_field_nth(const struct http_exchange *x,
				   const char *name, unsigned int n)
{
	return http1_field_nth(&x->head, x->buf, name, n);
}

struct http1_conditions http_request_conditions(const struct http_exchange *x)
{
	return (struct http1_conditions){ &x->head, x->buf };
}

const char *http_peer(const struct http_exchange *x)
{
	return connection_peer(x->c);
}

bool http_has_client_closed(const struct http_exchange *x)
{
	struct pollfd fd = { .fd = x->c->fd, .events = POLLRDHUP };

	return poll(&fd, 1, 0) > 0;
}

bool http_has_body(const struct http_exchange *x)
{
	return x->head.framing == HTTP1_CHUNKED ||
	       (x->head.framing == HTTP1_IDENTITY && x->head.length > 0);
}

const struct http1_trailers *http_trailers(const struct http_exchange *x)
{
	static const struct http1_trailers none;

	return x->head.framing == HTTP1_CHUNKED && x->body == BODY_DONE ?
		       &x->chunked.trailers : &none;
}

bool http_is_authorized(const struct http_exchange *x, const char *token)
{
	struct span value = http_request_field(x, "Authorization");
	struct span scheme = SPAN_LIT("Bearer ");
	struct span given, wanted = span_of(token);

	if (value.len <= scheme.len ||
	    !span_eq_nocase(span_make(value.ptr, scheme.len), scheme))
		return false;
	given = span_trim(span_make(value.ptr + scheme.len,
				    value.len - scheme.len));
	return wanted.len > 0 && digest_eq_secret(given, wanted);
}

/* ---- the rate clock ------------------------------------------------------ */

static uint64_t now_ms(const struct http_exchange *x)
{
	return loop_now_ms(x->c->server->loop);
}

static void start_waiting(struct http_exchange *x)
{
	if (x->waiting)
		return;
	x->waiting = true;
	x->wait_since = now_ms(x);
	connection_arm(x->c);
}

static void stop_waiting(struct http_exchange *x)
{
	if (!x->waiting)
		return;
	x->waiting = false;
	x->waited_ms += (int64_t)(now_ms(x) - x->wait_since);
}

/*
 * Two moments matter: grace_ms without any byte, and grace_ms of waiting in
 * all, at which the window's average is judged.
 */
uint64_t exchange_body_deadline(const struct http_exchange *x)
{
	uint64_t grace = x->c->server->settings.grace_ms;
	uint64_t used = x->waited_ms > 0 ? (uint64_t)x->waited_ms : 0;

	if (!x->waiting || x->body != BODY_OPEN || grace == 0)
		return 0;
	return x->wait_since + (used < grace ? grace - used : 0);
}

static bool is_too_slow(const struct http_exchange *x, uint64_t waited)
{
	const struct http_server_settings *settings =
		&x->c->server->settings;

	if (now_ms(x) - x->wait_since >= settings->grace_ms)
		return true;
	return (double)x->window_bytes * 1000.0 <
	       (double)settings->min_rate * (double)waited;
}

/* A new window: what was waited so far does not count any more. */
static void start_window(struct http_exchange *x)
{
	x->window_bytes = 0;
	x->waited_ms = -(int64_t)(now_ms(x) - x->wait_since);
}

void exchange_check_rate(struct http_exchange *x)
{
	struct err err = ERR_INIT;
	int64_t waited;

	if (!x->waiting || x->body != BODY_OPEN)
		return;
	waited = x->waited_ms + (int64_t)(now_ms(x) - x->wait_since);
	if (!is_too_slow(x, waited > 0 ? (uint64_t)waited : 0)) {
		start_window(x);
		return;
	}
	x->waiting = false;
	x->body = BODY_BAD;
	err_set_status(&err, 408, "the content arrives too slowly");
	x->body_err = err;
	exchange_on_body(x);
}

/* ---- the body ------------------------------------------------------------ */

void http_continue(struct http_exchange *x)
{
	struct iovec iov = { (char[]){ "HTTP/1.1 100 Continue\r\n\r\n" }, 25 };

	if (!x->head.expect_continue || x->continued ||
	    x->reply != REPLY_NONE || x->pos < x->len ||
	    x->c->state != CONNECTION_EXCHANGE)
		return;
	x->continued = true;
	connection_send(x->c, &iov, 1, false);
}

static void body_bad(struct http_exchange *x, const struct err *err)
{
	x->body = BODY_BAD;
	x->body_err = *err;
	if (x->body_err.status == 0)
		x->body_err.status = err_http_status(err);
}

/* Bytes received, 0 when there are none now or the body has become bad. */
static size_t receive(struct http_exchange *x, const struct iovec *iov,
		      int n_iov)
{
	struct http_connection *c = x->c;
	ssize_t n;

	if (!c->readable)
		return 0;
	do
		n = readv(c->fd, iov, n_iov);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return (size_t)n;
	c->readable = false;
	if (n == 0)
		client_gone(x, 0);
	else if (!http_would_block(errno))
		client_gone(x, errno);
	return 0;
}

static size_t take_buffered(struct http_exchange *x, char *buf, size_t room)
{
	size_t n = x->len - x->pos;

	if (n > room)
		n = room;
	memcpy(buf, x->buf + x->pos, n);
	x->pos += n;
	return n;
}

/* The free part of the buffer; all bytes in it must be used up. */
static struct iovec free_part(struct http_exchange *x)
{
	CHECK(x->pos == x->len);
	x->pos = x->len = x->head.size;
	return (struct iovec){ x->buf + x->len, x->cap - x->len };
}

static size_t read_identity(struct http_exchange *x, char *buf, size_t room)
{
	struct iovec iov = { buf, room };
	size_t n;

	if (iov.iov_len > x->left)
		iov.iov_len = (size_t)x->left;
	n = take_buffered(x, buf, iov.iov_len);
	if (n == 0)
		n = receive(x, &iov, 1);
	x->left -= n;
	if (x->left == 0)
		x->body = BODY_DONE;
	return n;
}

/* Feed what is buffered; false when there is nothing to feed. */
static bool decode_framing(struct http_exchange *x)
{
	struct span in = { x->buf + x->pos, x->len - x->pos };
	struct err err = ERR_INIT;

	if (in.len == 0)
		return false;
	switch (http1_chunked_framing(&x->chunked, &in, max_body(x), &err)) {
	case HTTP1_MORE:
		break;
	case HTTP1_DONE:
		x->body = BODY_DONE;
		break;
	case HTTP1_BAD:
		body_bad(x, &err);
		break;
	}
	x->pos = x->len - in.len;
	return true;
}

/*
 * Data of the current chunk straight into `buf`. If all the rest of it fits,
 * the same call brings the framing that follows: few bytes after a large
 * chunk, since what comes behind the framing has to be copied.
 */
static size_t receive_data(struct http_exchange *x, char *buf, size_t want)
{
	struct iovec iov[2] = { { buf, want }, { NULL, 0 } };
	uint64_t left = x->chunked.left;
	size_t n;

	if (want == left) {
		iov[1] = free_part(x);
		if (left >= FRAMING_ROOM)
			iov[1].iov_len = NEXT_FRAMING;
	}
	n = receive(x, iov, want == left ? 2 : 1);
	if (n > want) {
		x->len += n - want;
		n = want;
	}
	return n;
}

static size_t chunk_data(struct http_exchange *x, char *buf, size_t room,
			 bool may_receive)
{
	size_t n;

	if (room > x->chunked.left)
		room = (size_t)x->chunked.left;
	n = take_buffered(x, buf, room);
	if (n == 0 && may_receive)
		n = receive_data(x, buf, room);
	http1_chunked_took(&x->chunked, n);
	return n;
}

static bool receive_framing(struct http_exchange *x)
{
	struct iovec iov = free_part(x);
	size_t n = receive(x, &iov, 1);

	x->len += n;
	return n > 0;
}

/*
 * One read from the socket that brings data, and everything that is buffered
 * then. Reads that bring framing only are bounded by the decoder's limits.
 */
static size_t read_chunked(struct http_exchange *x, char *buf, size_t room)
{
	size_t n, got = 0;

	while (x->body == BODY_OPEN && got < room) {
		if (x->chunked.left > 0) {
			n = chunk_data(x, buf + got, room - got, got == 0);
			if (n == 0)
				break;
			got += n;
		} else if (!decode_framing(x) &&
			   (got > 0 || !receive_framing(x))) {
			break;
		}
	}
	return got;
}

static size_t read_some(struct http_exchange *x, char *buf, size_t room)
{
	size_t n, cost;

	n = x->head.framing == HTTP1_CHUNKED ? read_chunked(x, buf, room)
					     : read_identity(x, buf, room);
	cost = n > TURN_STEP ? n : TURN_STEP;
	x->budget = cost < x->budget ? x->budget - cost : 0;
	x->window_bytes += n;
	return n;
}

enum http_body http_body_read(struct http_exchange *x, char *buf, size_t room,
			      size_t *n, struct err *err)
{
	CHECK(room > 0);
	*n = 0;
	if (x->body == BODY_OPEN && x->budget == 0) {
		/* the others' turn; nobody waits for the client */
		x->body_due = true;
		connection_schedule(x->c);
		return HTTP_BODY_AGAIN;
	}
	if (x->body == BODY_OPEN)
		*n = read_some(x, buf, room);
	if (*n > 0)
		return HTTP_BODY_DATA;
	switch (x->body) {
	case BODY_OPEN:
		start_waiting(x);
		return HTTP_BODY_AGAIN;
	case BODY_DONE:
		return HTTP_BODY_END;
	case BODY_BAD:
		break;
	}
	if (!err_is_set(err))
		*err = x->body_err;
	return HTTP_BODY_BAD;
}

void exchange_swallow(struct http_exchange *x)
{
	bool readable = x->c->readable;
	char drop[512];

	if (x->body != BODY_OPEN)
		return;
	if (x->head.framing == HTTP1_CHUNKED) {
		x->c->readable = false; /* only what is here already */
		while (read_chunked(x, drop, sizeof(drop)) > 0)
			;
		x->c->readable = readable;
	} else if (x->left <= x->len - x->pos) {
		x->pos += (size_t)x->left;
		x->left = 0;
		x->body = BODY_DONE;
	}
}

/* ---- events -------------------------------------------------------------- */

void exchange_on_body(struct http_exchange *x)
{
	x->body_due = false;
	x->budget = TURN_BYTES;
	if (x->ops && x->reply == REPLY_NONE && x->body != BODY_DONE)
		x->ops->on_body(x->owner);
}

void exchange_on_readable(struct http_exchange *x)
{
	stop_waiting(x);
	if (x->body == BODY_OPEN)
		exchange_on_body(x);
	else if (x->reply == REPLY_STREAM || x->reply == REPLY_CONTENT)
		connection_check_peer(x->c);
}
