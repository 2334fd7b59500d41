/*
 * http_server.h - HTTP/1.1 connections on one loop: heads, bodies, answers
 *
 * One server a thread: a listening socket of its own (SO_REUSEPORT), its
 * connections, their deadlines. The application sees *exchanges*: one request
 * and its answer. The server frames, limits and times; the application decides
 * when body bytes are read and where to: http_body_read() receives straight
 * into memory of the caller, so that a ring needs no copy, and not calling it is
 * the back-pressure.
 *
 *   accept ─ head ─▶ on_request ─┬─ http_reply()…            (body never asked for)
 *                                └─ http_exchange_attach()
 *                                   http_continue(), http_body_read()…  on_body
 *                                   http_reply*()                       on_writable
 *                                                                       on_end
 *
 * Rules it keeps: the head within head_timeout_ms; idle keep-alive closed after
 * idle_timeout_ms; a body the application waits for arrives with at least
 * min_rate bytes a second once grace_ms have passed, else 408 (time in which the
 * application does not read is not charged); an answer the client does not take
 * is cut off after write_timeout_ms; a final answer before the body's end closes
 * with lingering (RFC 9112, 9.6); pipelined requests wait until the answer is
 * queued; at EMFILE the listener pauses. An idle connection costs one struct,
 * no buffer.
 *
 * Ownership: an exchange belongs to the server. The application may use it from
 * on_request until its on_end, which comes exactly once for an attached one.
 */
#ifndef COMMON_HTTP_SERVER_H
#define COMMON_HTTP_SERVER_H

#include "common/address.h"
#include "common/http1.h"
#include "common/loop.h"
#include "common/workers.h"

struct http_server;
struct http_exchange;

/* Of an answer, that the kernel takes while the client takes nothing. */
#define HTTP_UNSENT_BYTES (256 * 1024)

/* A time of 0 is no limit; so is a count of 0, unless it says otherwise. */
struct http_server_settings {
	struct address address;
	size_t max_connections;		/* of this server (thread) */
	size_t max_per_ip;		/* of them from one address; needs the above */
	size_t receive_buffer;		/* SO_RCVBUF in bytes; 0 = system's */
	uint64_t head_timeout_ms;
	uint64_t idle_timeout_ms;
	uint64_t min_rate;		/* bytes a second; 0 = no limit */
	uint64_t grace_ms;		/* also the longest wait for any byte */
	uint64_t write_timeout_ms;
	uint64_t linger_ms;		/* of a lingering close */
	uint64_t linger_bytes;		/* 0 = close at once */
	uint64_t max_body;		/* bytes of content a request: 413 */
	struct workers *workers;	/* for http_reply_file(); NULL if unused */
};

/* The application's entry: the head is complete; see http_exchange_attach(). */
typedef void http_request_fn(void *arg, struct http_exchange *x);

/*
 * Listen and serve on `loop`. `port` 0 picks a free one (http_server_port). With
 * SO_REUSEPORT several servers of one process share an address. NULL with
 * ERR_CONFIG: cannot bind.
 */
struct http_server *http_server_new(struct loop *loop,
				    const struct http_server_settings *settings,
				    http_request_fn *on_request, void *arg,
				    struct err *err);

/* The port listened on. */
uint16_t http_server_port(const struct http_server *server);

/*
 * Stop accepting and close idle connections; running exchanges go on and their
 * answers say `Connection: close`.
 */
void http_server_drain(struct http_server *server);

/* Connections open now, idle ones included. */
size_t http_server_connections(const struct http_server *server);

/*
 * Close everything at once (attached exchanges get on_end), free *server after
 * the turn, and null it. If a worker is sending a file at this moment, the memory
 * is freed when the loop hears of the job's end.
 */
void http_server_free(struct http_server **server);

/* ---- the request --------------------------------------------------------- */

/* The parsed head. Valid until the exchange ends. */
const struct http1_head *http_request(const struct http_exchange *x);

/*
 * Spans of the head, valid until the exchange ends; ptr NULL when absent. The
 * path as it came, …
 */
struct span http_request_path(const struct http_exchange *x);

/* … what stands behind its "?", … */
struct span http_request_query(const struct http_exchange *x);

/* … the value of the first field called `name` (any case), … */
struct span http_request_field(const struct http_exchange *x, const char *name);

/* … and that of the one behind `n` others of this name. */
struct span http_request_field_nth(const struct http_exchange *x,
				   const char *name, unsigned int n);

/* The preconditions. Valid as a field is. */
struct http1_conditions http_request_conditions(const struct http_exchange *x);

/* "203.0.113.9:51234", for logs. Valid until the exchange ends. */
const char *http_peer(const struct http_exchange *x);

/*
 * Has the client closed its side? It may still want the answer (a half-close looks
 * the same), so this is for deciding whether to wait, not whether to send.
 */
bool http_has_client_closed(const struct http_exchange *x);

/* Is there a body to come (chunked, or a length above 0)? */
bool http_has_body(const struct http_exchange *x);

/* Trailer digests of a chunked body that has ended; all empty before. */
const struct http1_trailers *http_trailers(const struct http_exchange *x);

struct http_exchange_ops {
	/*
	 * Body bytes may have arrived (or the client is gone, or too slow): read
	 * until AGAIN. Not called any more once the last byte was read.
	 */
	void (*on_body)(void *owner);
	/*
	 * A streamed answer's buffer is empty again, or the socket takes content
	 * again. NULL if neither is ever used.
	 */
	void (*on_writable)(void *owner);
	/*
	 * The exchange is over: answer sent, or connection lost. `x` must not be
	 * used any more after this returns.
	 */
	void (*on_end)(void *owner);
};

/*
 * Take the exchange: `ops` (static) are called with `owner` from now on. Call it
 * within on_request unless the answer is given there at once.
 */
void http_exchange_attach(struct http_exchange *x,
			  const struct http_exchange_ops *ops, void *owner);

/* ---- the request's body -------------------------------------------------- */

/*
 * Tell a client that waits for it to go on (RFC 9110, 10.1.1). Sends nothing
 * when it does not expect it or body bytes have arrived already.
 */
void http_continue(struct http_exchange *x);

enum http_body {
	HTTP_BODY_DATA,		/* *n > 0 content bytes are in buf */
	HTTP_BODY_AGAIN,	/* none now: wait for on_body */
	HTTP_BODY_END,		/* the body is complete */
	HTTP_BODY_BAD,		/* err: framing, limit, too slow, client gone */
};

/*
 * Receive content (framing removed) into `buf` of `room` > 0 bytes. Bytes go from
 * the socket straight to `buf`, except the few that shared a read with framing.
 * After HTTP_BODY_BAD with status 0 in err->status the client is gone; else
 * answer with it. Never blocks.
 */
enum http_body http_body_read(struct http_exchange *x, char *buf, size_t room,
			      size_t *n, struct err *err);

/* ---- the answer ---------------------------------------------------------- */

struct http_header {
	const char *name;
	const char *value;	/* refused (CHECK) unless a legal field value */
};

/*
 * Head of an answer. Date and the framing fields are added. `close` asks for
 * Connection: close; the server also closes when it must.
 */
struct http_reply {
	int status;
	const char *content_type;	/* NULL = none */
	const struct http_header *headers;
	size_t n_headers;
	bool close;
};

/*
 * Fields that every answer to this exchange has besides its own: they belong to
 * the request rather than to what is answered (CORS). Borrowed until it ends.
 */
void http_exchange_fields(struct http_exchange *x,
			  const struct http_header *fields, size_t n_fields);

/*
 * A complete answer; head and `body` are copied or sent before this returns. May
 * be called from on_request (attached or not) or any callback, once. If the
 * request's body has not been read to its end, the connection lingers and closes.
 */
void http_reply(struct http_exchange *x, const struct http_reply *reply,
		struct span body);

/* http_reply() with application/problem+json (RFC 9457) made from `err`. */
void http_reply_problem(struct http_exchange *x, const struct err *err);

/*
 * Begin an answer of unknown length (chunked, or until close for HTTP/1.0), for
 * event streams. Then http_stream_write() … http_stream_end().
 */
void http_stream_begin(struct http_exchange *x, const struct http_reply *reply);

#define HTTP_STREAM_WRITE_MAX 16384u

/*
 * Send at most HTTP_STREAM_WRITE_MAX bytes of a streamed answer; true when all
 * were taken (what the socket does not take is copied), false when an earlier
 * write is still unsent: nothing was taken, wait for on_writable. A slow client
 * never queues more than one write.
 */
bool http_stream_write(struct http_exchange *x, struct span bytes);

/* The streamed answer is complete; on_end follows. */
void http_stream_end(struct http_exchange *x);

/*
 * Begin an answer of `length` bytes that come piece by piece from memory of the
 * caller: http_content_send() until all were taken, which completes the answer
 * (on_end follows). It is complete at once when it has no content (HEAD, length
 * 0): http_content_left() tells.
 */
void http_content_begin(struct http_exchange *x, const struct http_reply *reply,
			uint64_t length);

#define HTTP_CONTENT_PIECES 64u

/*
 * Send straight from `pieces` (HTTP_CONTENT_PIECES at most), together at most
 * what is left. Bytes that the socket took; fewer than offered: wait for
 * on_writable, then offer the rest. Nothing is copied or kept. To give up in the
 * middle: http_abort(), which tells the client that the content is not complete.
 */
size_t http_content_send(struct http_exchange *x, const struct span *pieces,
			 size_t n_pieces);

/* Bytes of the content that were not sent yet. */
uint64_t http_content_left(const struct http_exchange *x);

/*
 * Answer with `length` bytes of `fd` from `offset`, by sendfile(2) on a worker
 * thread (a disk that is slow does not stop the loop). Takes over `fd`: closed by
 * the server. A HEAD request gets the head only. A file that cannot be read to
 * the end, or is shorter, is logged as a delivery that failed, and the connection
 * is closed before the promised length.
 */
void http_reply_file(struct http_exchange *x, const struct http_reply *reply,
		     int fd, uint64_t offset, uint64_t length);

/*
 * Answer a HEAD request as if there were a body of `length` bytes (or for GET:
 * http_reply() does it itself).
 */
void http_reply_head_only(struct http_exchange *x, const struct http_reply *reply,
			  uint64_t length);

/*
 * Give the exchange up: close the connection at once, without an answer. on_end
 * is called before this returns, if attached.
 */
void http_abort(struct http_exchange *x);

/* The Bearer token of Authorization equals `token`, compared in constant time. */
bool http_is_authorized(const struct http_exchange *x, const char *token);

#endif
