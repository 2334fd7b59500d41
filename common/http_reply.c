#include "common/http_server_impl.h"
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define SLICE_BYTES (1024u * 1024u) /* of a file, in one job */

/* ---- heads --------------------------------------------------------------- */

/* A head under construction in the server's scratch memory. */
struct text {
	char *buf;
	size_t len;
	size_t size;
};

static void add(struct text *t, const char *s, size_t len)
{
	CHECK(len <= t->size - t->len);
	memcpy(t->buf + t->len, s, len);
	t->len += len;
}

static void add_string(struct text *t, const char *s)
{
	add(t, s, strlen(s));
}

static void add_field(struct text *t, const char *name, const char *value)
{
	CHECK(http1_is_token(span_of(name)));
	CHECK(http1_is_field_value(span_of(value)));
	add_string(t, name);
	add(t, ": ", 2);
	add_string(t, value);
	add(t, "\r\n", 2);
}

static void PRINTF_LIKE(2, 3) add_format(struct text *t, const char *fmt, ...)
{
	size_t room = t->size - t->len;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(t->buf + t->len, room, fmt, args);
	va_end(args);
	CHECK(n >= 0 && (size_t)n < room);
	t->len += (size_t)n;
}

/* The Date field's value, made anew once a second. */
static const char *http_date(struct http_server *server)
{
	uint64_t now = clock_wall_ms();

	if (now / 1000 != server->date_second || !server->date[0]) {
		server->date_second = now / 1000;
		clock_format_http_date(now, server->date);
	}
	return server->date;
}

/* How the end of an answer's content is told. */
enum length_kind {
	LENGTH_KNOWN,
	LENGTH_CHUNKED,
	LENGTH_UNTIL_CLOSE,
};

/* Statuses without content have no framing fields (RFC 9110, 8.6). */
static bool has_content(int status)
{
	return status != 204 && status != 304;
}

static void add_framing(struct text *t, const struct http_exchange *x,
			int status, enum length_kind kind, uint64_t length)
{
	if (has_content(status) && kind == LENGTH_KNOWN)
		add_format(t, "Content-Length: %llu\r\n",
			   (unsigned long long)length);
	if (has_content(status) && kind == LENGTH_CHUNKED)
		add_string(t, "Transfer-Encoding: chunked\r\n");
	if (x->c->close_after)
		add_string(t, "Connection: close\r\n");
	else if (x->head.minor_version == 0)
		add_string(t, "Connection: keep-alive\r\n");
	add(t, "\r\n", 2);
}

static struct text format_head(struct http_exchange *x,
			       const struct http_reply *reply,
			       enum length_kind kind, uint64_t length)
{
	struct http_server *server = x->c->server;
	struct text t = { server->scratch, 0, sizeof(server->scratch) };

	CHECK(reply->status >= 200 && reply->status <= 999);
	add_format(&t, "HTTP/1.1 %d %s\r\nDate: %s\r\n", reply->status,
		   http1_reason(reply->status), http_date(server));
	add_string(&t, "Server: stream-broadcast\r\n");
	if (reply->content_type)
		add_field(&t, "Content-Type", reply->content_type);
	for (size_t i = 0; i < reply->n_headers; i++)
		add_field(&t, reply->headers[i].name, reply->headers[i].value);
	for (size_t i = 0; i < x->n_fields; i++)
		add_field(&t, x->fields[i].name, x->fields[i].value);
	add_framing(&t, x, reply->status, kind, length);
	return t;
}

void http_exchange_fields(struct http_exchange *x,
			  const struct http_header *fields, size_t n_fields)
{
	x->fields = fields;
	x->n_fields = n_fields;
}

/* ---- the start and the end of every answer ------------------------------- */

/*
 * A request whose content was not read can only be followed by another one if
 * the rest of it is here already.
 */
static void decide_close(struct http_exchange *x,
			 const struct http_reply *reply)
{
	struct http_connection *c = x->c;

	exchange_swallow(x);
	if (reply->close || !x->understood || !x->head.keep_alive ||
	    x->body != BODY_DONE || c->server->draining)
		c->close_after = true;
}

/* False when there is nobody to answer any more. */
static bool begin_reply(struct http_exchange *x, const struct http_reply *reply)
{
	if (x->c->state != CONNECTION_EXCHANGE)
		return false;
	CHECK(x->reply == REPLY_NONE);
	x->bodyless = x->head.method == HTTP1_HEAD ||
		      !has_content(reply->status);
	decide_close(x, reply);
	return true;
}

/* All of the answer is on its way: on_end follows when the socket has it. */
static void end_reply(struct http_exchange *x)
{
	x->reply = REPLY_QUEUED;
	if (!connection_has_output(x->c))
		connection_schedule(x->c);
}

static void send_two(struct http_exchange *x, const struct text *head,
		     struct span body, bool more)
{
	struct iovec iov[2] = { { head->buf, head->len } };

	/* iovec has no const; sendmsg(2) does not write */
	memcpy(&iov[1].iov_base, &body.ptr, sizeof(body.ptr));
	iov[1].iov_len = body.len;
	connection_send(x->c, iov, body.len ? 2 : 1, more);
}

void http_reply(struct http_exchange *x, const struct http_reply *reply,
		struct span body)
{
	struct text head;

	if (!begin_reply(x, reply))
		return;
	head = format_head(x, reply, LENGTH_KNOWN, body.len);
	send_two(x, &head, x->bodyless ? span_make(NULL, 0) : body, false);
	end_reply(x);
}

void http_reply_head_only(struct http_exchange *x,
			  const struct http_reply *reply, uint64_t length)
{
	struct text head;

	CHECK(x->head.method == HTTP1_HEAD);
	if (!begin_reply(x, reply))
		return;
	head = format_head(x, reply, LENGTH_KNOWN, length);
	send_two(x, &head, span_make(NULL, 0), false);
	end_reply(x);
}

/* ---- problems (RFC 9457) ------------------------------------------------- */

/* A JSON string's inside; bytes that are no UTF-8 become question marks. */
static void add_json(struct text *t, const char *s)
{
	bool utf8 = http1_is_utf8(span_of(s));

	for (; *s; s++) {
		unsigned char byte = (unsigned char)*s;

		if (byte == '"' || byte == '\\')
			add_format(t, "\\%c", byte);
		else if (byte < 0x20 || byte == 0x7f)
			add_format(t, "\\u%04x", byte);
		else if (byte >= 0x80 && !utf8)
			add(t, "?", 1);
		else
			add(t, s, 1);
	}
}

/* The fields that some statuses must or should have. */
static const struct http_header *problem_field(int status)
{
	static const struct http_header authenticate = { "WWW-Authenticate",
							 "Bearer" };
	static const struct http_header retry = { "Retry-After", "1" };

	if (status == 401)
		return &authenticate; /* RFC 9110, 15.5.2 */
	return status == 503 ? &retry : NULL;
}

void http_reply_problem(struct http_exchange *x, const struct err *err)
{
	char buf[6 * sizeof(err->text) + 200];
	struct text t = { buf, 0, sizeof(buf) };
	struct http_reply reply = { .status = err_http_status(err),
				    .content_type =
					    "application/problem+json" };

	reply.headers = problem_field(reply.status);
	reply.n_headers = reply.headers ? 1 : 0;
	add_format(&t, "{\"type\":\"about:blank\",\"title\":\"%s\","
		       "\"status\":%d,\"detail\":\"",
		   http1_reason(reply.status), reply.status);
	add_json(&t, err->text);
	add_string(&t, "\"}\n");
	http_reply(x, &reply, span_make(t.buf, t.len));
}

/* ---- answers of unknown length ------------------------------------------- */

void http_stream_begin(struct http_exchange *x, const struct http_reply *reply)
{
	enum length_kind kind = LENGTH_CHUNKED;
	struct text head;

	if (!begin_reply(x, reply))
		return;
	if (x->head.minor_version == 0) {
		kind = LENGTH_UNTIL_CLOSE;
		x->c->close_after = true;
	}
	x->chunks = kind == LENGTH_CHUNKED;
	head = format_head(x, reply, kind, 0);
	x->reply = REPLY_STREAM;
	send_two(x, &head, span_make(NULL, 0), false);
}

/* A chunk in one call: its size, the bytes, its end (RFC 9112, 7.1). */
static void send_chunk(struct http_exchange *x, struct span bytes)
{
	char size[HTTP1_CHUNK_HEADER_SIZE], end[] = "\r\n";
	struct iovec iov[3] = { { size, 0 }, { NULL, bytes.len }, { end, 2 } };

	iov[0].iov_len = http1_chunk_header(bytes.len, size);
	memcpy(&iov[1].iov_base, &bytes.ptr, sizeof(bytes.ptr));
	if (x->chunks)
		connection_send(x->c, iov, 3, false);
	else
		connection_send(x->c, iov + 1, 1, false);
}

bool http_stream_write(struct http_exchange *x, struct span bytes)
{
	CHECK(bytes.len <= HTTP_STREAM_WRITE_MAX);
	if (x->c->state != CONNECTION_EXCHANGE)
		return true;
	CHECK(x->reply == REPLY_STREAM);
	if (connection_has_output(x->c))
		return false;
	if (bytes.len > 0 && !x->bodyless)
		send_chunk(x, bytes);
	return true;
}

void http_stream_end(struct http_exchange *x)
{
	char last[] = HTTP1_LAST_CHUNK;
	struct iovec iov = { last, sizeof(last) - 1 };

	if (x->c->state != CONNECTION_EXCHANGE)
		return;
	CHECK(x->reply == REPLY_STREAM);
	if (x->chunks && !x->bodyless)
		connection_send(x->c, &iov, 1, false);
	end_reply(x);
}

/* ---- answers of known length from memory -------------------------------- */

void http_content_begin(struct http_exchange *x, const struct http_reply *reply,
			uint64_t length)
{
	struct text head;

	x->content_left = 0;
	if (!begin_reply(x, reply))
		return;
	head = format_head(x, reply, LENGTH_KNOWN, length);
	x->content_left = x->bodyless ? 0 : length;
	x->reply = REPLY_CONTENT;
	send_two(x, &head, span_make(NULL, 0), x->content_left > 0);
	if (x->content_left == 0)
		end_reply(x);
}

size_t http_content_send(struct http_exchange *x, const struct span *pieces,
			 size_t n_pieces)
{
	struct iovec iov[HTTP_CONTENT_PIECES];
	size_t n, offered = 0;

	if (x->c->state != CONNECTION_EXCHANGE)
		return 0;
	CHECK(x->reply == REPLY_CONTENT && n_pieces <= HTTP_CONTENT_PIECES);
	for (size_t i = 0; i < n_pieces; i++) {
		/* iovec has no const; sendmsg(2) does not write */
		memcpy(&iov[i].iov_base, &pieces[i].ptr, sizeof(pieces[i].ptr));
		iov[i].iov_len = pieces[i].len;
		offered += pieces[i].len;
	}
	CHECK(offered <= x->content_left);
	n = connection_send_some(x->c, iov, (int)n_pieces);
	x->content_left -= n;
	if (x->content_left == 0)
		end_reply(x);
	return n;
}

uint64_t http_content_left(const struct http_exchange *x)
{
	return x->content_left;
}

/* ---- answers from a file ------------------------------------------------- */

void reply_close_file(struct http_exchange *x)
{
	if (x->file.fd >= 0)
		close(x->file.fd);
	x->file.fd = -1;
}

/* On a worker: the disk may be slow, the socket does not block. */
static void run_file(void *arg)
{
	struct reply_file *file = arg;
	off_t offset = (off_t)file->offset;
	ssize_t n;

	file->sent = 0;
	file->errnum = 0;
	file->blocked = false;
	while (file->sent < file->slice && !file->blocked && !file->errnum) {
		n = sendfile(file->socket, file->fd, &offset,
			     file->slice - file->sent);
		if (n > 0)
			file->sent += (size_t)n;
		else if (n == 0)
			file->errnum = ENODATA; /* shorter than promised */
		else if (http_would_block(errno))
			file->blocked = true;
		else if (errno != EINTR)
			file->errnum = errno;
	}
}

static void on_file_done(void *arg);

/*
 * The `writable` bit is cleared before the worker starts, so an edge that comes
 * after the worker met "would block" is not missed.
 */
static void send_slice(struct http_exchange *x)
{
	struct http_connection *c = x->c;
	struct reply_file *file = &x->file;

	if (file->left == 0) {
		reply_close_file(x);
		end_reply(x);
		return;
	}
	c->writable = false;
	c->out_deadline = 0;
	file->running = true;
	file->slice = file->left < SLICE_BYTES ? (size_t)file->left
					       : SLICE_BYTES;
	workers_submit(c->server->settings.workers, &file->job,
		       c->server->loop, run_file, on_file_done, file);
}

static struct http_exchange *exchange_of(struct reply_file *file)
{
	return (struct http_exchange *)(void *)((char *)file -
		offsetof(struct http_exchange, file));
}

/* Is it the client's end of sendfile(2) that failed, not the file's? */
static bool is_lost(int errnum)
{
	return errnum == EPIPE || errnum == ECONNRESET || errnum == ENOTCONN ||
	       errnum == ETIMEDOUT || errnum == EHOSTUNREACH ||
	       errnum == ENETUNREACH;
}

static void fail_file(struct http_connection *c, int errnum)
{
	const char *reason = errnum == ENODATA ? "the file ends too early" :
						 strerror(errnum);

	if (!is_lost(errnum))
		log_line(LOG_WARN, "delivery", LOG_STR("result", "failed"),
			 LOG_STR("peer", connection_peer(c)),
			 LOG_STR("reason", reason));
	connection_close(c, reason);
}

static void on_file_done(void *arg)
{
	struct reply_file *file = arg;
	struct http_exchange *x = exchange_of(file);
	struct http_connection *c = x->c;

	file->running = false;
	file->offset += file->sent;
	file->left -= file->sent;
	c->out_total += file->sent;
	if (c->state == CONNECTION_CLOSED)
		connection_dispose(c);
	else if (file->errnum)
		fail_file(c, file->errnum);
	else if (file->blocked && !c->writable)
		connection_await_writable(c);
	else
		send_slice(x);
}

void http_reply_file(struct http_exchange *x, const struct http_reply *reply,
		     int fd, uint64_t offset, uint64_t length)
{
	struct text head;

	if (!begin_reply(x, reply)) {
		close(fd);
		return;
	}
	CHECK(x->c->server->settings.workers);
	x->file.fd = fd;
	x->file.socket = x->c->fd;
	x->file.offset = offset;
	x->file.left = x->bodyless ? 0 : length;
	x->reply = REPLY_FILE;
	head = format_head(x, reply, LENGTH_KNOWN, length);
	send_two(x, &head, span_make(NULL, 0), x->file.left > 0);
	/* Without its head the content would be taken for an answer. */
	if (!connection_has_output(x->c) && !x->c->broken)
		send_slice(x);
}

/* ---- events -------------------------------------------------------------- */

void reply_on_writable(struct http_exchange *x)
{
	struct http_connection *c = x->c;
	bool had_output = connection_has_output(c);

	if (!connection_flush(c) || c->broken)
		return;
	switch (x->reply) {
	case REPLY_STREAM:
		if (had_output && x->ops && x->ops->on_writable)
			x->ops->on_writable(x->owner);
		break;
	case REPLY_CONTENT:
		if (x->ops && x->ops->on_writable)
			x->ops->on_writable(x->owner);
		break;
	case REPLY_FILE:
		if (!x->file.running)
			send_slice(x);
		break;
	case REPLY_QUEUED:
		connection_schedule(c);
		break;
	case REPLY_NONE:
		break;
	}
}
