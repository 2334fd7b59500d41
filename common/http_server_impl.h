/*
 * http_server_impl.h - what the files of http_server share, and nobody else
 *
 *   http_server.c      listener, admission, drain, the server's life
 *   http_per_ip.c      how many connections each address has
 *   http_connection.c  one connection: states, heads, deadlines, the close
 *   http_output.c      its unsent bytes
 *   http_exchange.c    one request: questions about it, its body, the rate clock
 *   http_reply.c       its answer: full, streamed, from a file
 *
 * Lifetimes
 *
 *   connection  accepted .. connection_close(); then buried, so that whoever is
 *               further up the stack may still look at `state`. While a worker
 *               sends a file to its socket, the burial waits for the worker.
 *   exchange    from the first byte of a head until the answer is sent and no
 *               byte of another request is there; an idle connection has none.
 *               It is kept for the next request when there are bytes already.
 *   server      http_server_free() .. the last connection's burial.
 *
 * The buffer of an exchange
 *
 *   0           head.size      pos          len                 cap
 *   |<-- head -->|<--- used --->|<-- bytes -->|<---- free ------>|
 *
 * Bytes behind the head are the body's start, chunked framing, or the next
 * request; they are taken from `pos`. The head's part never moves while the
 * exchange lasts, because the application holds spans of it.
 */
#ifndef COMMON_HTTP_SERVER_IMPL_H
#define COMMON_HTTP_SERVER_IMPL_H

#include "common/clock.h"
#include "common/http_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/uio.h>

#define BUFFER_BYTES 4096u	/* of an exchange, grows for longer heads */
#define FRAMING_ROOM 1024u	/* behind the head of a chunked request */
#define SCRATCH_BYTES 16384u	/* heads of answers, drained bytes */
#define SPARE_EXCHANGES 32u	/* kept for the next request */
#define SPARE_CONNECTIONS 64u
#define TURN_BYTES (1024u * 1024u) /* of one body in one turn */
#define TURN_STEP 4096u		/* a read costs at least this much of it */

/* A connection's states; connection_set_state() knows what may follow what. */
#define CONNECTION_STATES(X)                                      \
	X(IDLE, "no byte of a request is there")                  \
	X(HEAD, "a head has begun to arrive")                     \
	X(EXCHANGE, "a request is being read, handled, answered") \
	X(LINGER, "answered; unread bytes are drained, then closed") \
	X(CLOSED, "waits for its burial")

enum connection_state {
#define X(name, meaning) CONNECTION_##name,
	CONNECTION_STATES(X)
#undef X
};

struct http_connection {
	struct watch watch;
	struct timer timer;
	struct deferred call;		/* connection_advance() */
	struct grave grave;
	struct http_server *server;
	struct http_connection *prev, *next;
	struct http_exchange *x;	/* NULL when idle, lingering */
	int fd;
	uint16_t port;			/* the peer's */
	struct in6_addr ip;		/* the peer's, IPv4 as ::ffff:… */
	char peer[56];			/* as text; "" = not asked for yet */
	enum connection_state state;
	bool readable;			/* not yet read until "would block" */
	bool writable;			/* an edge came since the last write */
	bool broken;			/* a write failed: nobody listens */
	bool close_after;		/* the answer, no further request */
	bool linger_idle;		/* linger also while nothing arrives */
	uint64_t deadline;		/* of IDLE, HEAD, LINGER; 0 = none */
	uint64_t timer_at;		/* when the timer fires; 0 = stopped */
	/* answer bytes the socket did not take yet */
	char *out;
	size_t out_len;
	size_t out_sent;
	uint64_t out_total;		/* bytes the kernel has taken, ever */
	uint64_t out_mark;		/* of them acknowledged at clock start */
	uint64_t out_deadline;		/* 0 = the client is not waited for */
	uint64_t linger_left;
};

enum body_state {
	BODY_OPEN,	/* bytes are still to come */
	BODY_DONE,	/* complete, or there was none */
	BODY_BAD,	/* body_err says why */
};

enum reply_state {
	REPLY_NONE,	/* not asked for yet */
	REPLY_STREAM,	/* http_stream_write() may come */
	REPLY_FILE,	/* the head is queued, file bytes follow */
	REPLY_CONTENT,	/* http_content_send() may come */
	REPLY_QUEUED,	/* all is given to the socket or to `out` */
};

/* A file on its way; the worker has slice, sent, … while `running`. */
struct reply_file {
	int fd;			/* -1 = none */
	int socket;
	uint64_t offset;
	uint64_t left;
	struct job job;
	bool running;
	size_t slice;
	size_t sent;
	int errnum;
	bool blocked;
};

struct http_exchange {
	struct http_connection *c;
	const struct http_exchange_ops *ops;	/* NULL = not attached */
	void *owner;
	char *buf;			/* `first`, or malloc'ed */
	size_t cap, len, pos;
	bool understood;		/* the head was complete and legal */
	bool continued;			/* 100 Continue is sent or not needed */
	bool bodyless;			/* the answer must not have a body */
	bool chunks;			/* a streamed answer is chunked */
	bool body_due;			/* call on_body from the deferred call */
	enum body_state body;
	enum reply_state reply;
	uint64_t left;			/* of an identity body */
	size_t budget;			/* body bytes left for this turn */
	/* the rate clock: runs while the application waits for the client */
	bool waiting;
	uint64_t wait_since;
	int64_t waited_ms;		/* before wait_since, in this window */
	uint64_t window_bytes;
	struct reply_file file;
	uint64_t content_left;		/* of REPLY_CONTENT */
	const struct http_header *fields;	/* of every answer, borrowed */
	size_t n_fields;
	struct err body_err;
	struct http_exchange *next;	/* spare */
	struct http1_head head;
	struct http1_chunked chunked;	/* set up only for chunked bodies */
	char first[BUFFER_BYTES];
};

struct per_ip;

struct http_server {
	struct loop *loop;
	struct http_server_settings settings;
	http_request_fn *on_request;
	void *arg;
	int fd;				/* the listener; -1 when draining */
	uint16_t port;
	struct watch watch;
	struct timer retry;
	bool starved;			/* accept() lacked descriptors, memory */
	bool draining;
	bool freed;
	size_t n_connections;		/* open */
	size_t n_owned;			/* not yet buried */
	struct http_connection *connections;
	struct per_ip *per_ip;		/* NULL when there is no limit */
	struct http_connection *spare_connections;
	size_t n_spare_connections;
	struct http_exchange *spare_exchanges;
	size_t n_spare_exchanges;
	struct grave grave;
	uint64_t date_second;
	char date[CLOCK_HTTP_DATE_SIZE];
	char scratch[SCRATCH_BYTES];
};

/* Has a call on a socket failed only because it would block? */
static inline bool http_would_block(int errnum)
{
	return errnum == EAGAIN || errnum == EWOULDBLOCK;
}

/* ---- http_server.c ------------------------------------------------------- */

/* One open connection less. */
void server_forget(struct http_connection *c);

/* A connection's memory is gone; frees the server when it was the last one. */
void server_release(struct http_server *server, struct http_connection *c);

/* Best effort: a short 503, whatever the socket takes at once. */
void server_turn_away(int fd);

/* ---- http_per_ip.c ------------------------------------------------------- */

/* A table for at most `n` connections, or NULL when out of memory. */
struct per_ip *per_ip_new(size_t n);

/* Free *table and null it. */
void per_ip_free(struct per_ip **table);

/* Count one more; false, and nothing counted, when it has `limit` already. */
bool per_ip_add(struct per_ip *table, const struct in6_addr *ip, size_t limit);

/* Count one less; it must have been added. */
void per_ip_remove(struct per_ip *table, const struct in6_addr *ip);

/* ---- http_connection.c --------------------------------------------------- */

/* Begin with an accepted socket, which it owns then; NULL when out of memory. */
struct http_connection *connection_new(struct http_server *server, int fd,
				       const struct in6_addr *ip, uint16_t port);

/* Close now; an attached exchange gets on_end. Idempotent; `why` for the log. */
void connection_close(struct http_connection *c, const char *why);

/* Look at the state and do what is possible, after this turn's callbacks. */
void connection_schedule(struct http_connection *c);

/* "203.0.113.9:51234", valid as long as the connection. */
const char *connection_peer(struct http_connection *c);

/* The time in `ms` milliseconds; 0, no deadline, when `ms` is 0. */
uint64_t connection_in_ms(const struct http_connection *c, uint64_t ms);

/* Let the timer fire at the next deadline, if it would fire too late. */
void connection_arm(struct http_connection *c);

/* A worker has let go of a socket that is closed: bury the connection. */
void connection_dispose(struct http_connection *c);

/* ---- http_output.c ------------------------------------------------------- */

/*
 * Send, keeping a copy of what the socket does not take. Failures are noted in
 * `broken` and end the exchange after this turn. `more`: MSG_MORE.
 */
void connection_send(struct http_connection *c, struct iovec *iov, int n_iov,
		     bool more);

/*
 * Send what the socket takes now and keep nothing; bytes taken. A client that
 * does not take all of it has to take more within write_timeout_ms.
 */
size_t connection_send_some(struct http_connection *c, struct iovec *iov,
			    int n_iov);

/* Is there answer data that the socket did not take yet? */
bool connection_has_output(const struct http_connection *c);

/* Send what is kept; true when nothing is left. */
bool connection_flush(struct http_connection *c);

/* The client has to take bytes from now on, within write_timeout_ms. */
void connection_await_writable(struct http_connection *c);

/* The write clock has run out: once more, or close. */
void connection_check_output(struct http_connection *c);

/* An event without data: note a reset, which nobody would read. */
void connection_check_peer(struct http_connection *c);

/* ---- http_exchange.c ----------------------------------------------------- */

/* An exchange at its start for `c`, or NULL when out of memory. */
struct http_exchange *exchange_acquire(struct http_connection *c);

/* Its memory back to the server. */
void exchange_release(struct http_server *server, struct http_exchange *x);

/* Make ready for the next head, keeping the bytes behind `pos`. */
void exchange_reset(struct http_exchange *x);

/* Make the buffer at least `size` bytes; only before on_request. */
bool exchange_grow(struct http_exchange *x, size_t size);

/*
 * The head is complete: prepare the body. -1 when the server refuses it itself
 * (a method without content has some, too large).
 */
int exchange_begin(struct http_exchange *x, struct err *err) MUST_CHECK;

/* Tell the owner that it is over, once. */
void exchange_end(struct http_exchange *x);

/* A readable edge: let the application read. */
void exchange_on_readable(struct http_exchange *x);

/* The deferred call: on_body when one is due. */
void exchange_on_body(struct http_exchange *x);

/* When the client will have been too slow; 0 = it is not waited for. */
uint64_t exchange_body_deadline(const struct http_exchange *x);

/* That deadline has come: a new window, or 408. */
void exchange_check_rate(struct http_exchange *x);

/* The rest of the body, if it is in the buffer already, is dropped. */
void exchange_swallow(struct http_exchange *x);

/* ---- http_reply.c -------------------------------------------------------- */

/* A writable edge: go on with the answer. */
void reply_on_writable(struct http_exchange *x);

/* Close the file of an answer, if there is one. */
void reply_close_file(struct http_exchange *x);

#endif
