/*
 * http_client.h - connections to other HTTP/1.1 servers, on one loop, by libcurl
 *
 * Two ways out, both with libcurl's names, happy eyeballs, proxy and TLS:
 *
 *  link  a raw connection for a body leg: CURLOPT_CONNECT_ONLY, then our own
 *        HTTP/1.1 over link_send() and link_recv(), straight from and to the
 *        caller's memory. Idle links are kept, a few for each origin.
 *  call  an ordinary request and its answer (commit retries, look-ups, aborts;
 *        all that goes to S3) over libcurl's multi interface. A large body is
 *        sent from where it lies, through libcurl's 64 KiB.
 *
 * At most 32 links of an origin connect at a time, others wait for their turn:
 * libcurl takes 11 KiB for each, and a thread to resolve a name.
 *
 * An open link costs 0.9 KiB of heap: a plain connection is taken over from
 * libcurl, descriptor and all, once it stands. With TLS it stays libcurl's and
 * costs 43 KiB (OpenSSL's SSL and SSL_CTX most of it); and as libcurl looks each
 * of its connections up in a list, link_send() and link_recv() get slower with
 * the number of TLS links of a client, by up to 15 us for a thousand.
 *
 * The rules of libcurl 7.88.1 it keeps: forced HTTP/1.1; NOSIGNAL; QUICK_EXIT, so
 * that a dead resolver blocks nothing; no redirects, no netrc, no proxy from the
 * environment; http and https only; own timers; multi calls never from inside a
 * callback; on CURL_POLL_REMOVE the event is deleted at once; answers are capped
 * at 64 KiB unless the caller says otherwise.
 *
 * Single-threaded: one client a loop. Callbacks never come from inside the call
 * that started the operation.
 */
#ifndef COMMON_HTTP_CLIENT_H
#define COMMON_HTTP_CLIENT_H

#include "common/err.h"
#include "common/http1.h"
#include "common/loop.h"
#include "common/span.h"

#include <stdint.h>
#include <sys/types.h>

struct http_client;
struct http_origin;
struct http_link;
struct http_call;

struct http_client_settings {
	const char *ca_file;	/* PEM of trusted CAs; NULL or "" = the system's */
	const char *proxy;	/* "http://host:port"; NULL or "" = none */
	size_t send_buffer;	/* SO_SNDBUF of links in bytes; 0 = system's */
	size_t receive_buffer;	/* and SO_RCVBUF */
	size_t max_idle;	/* idle links kept for each origin */
	uint64_t idle_ms;	/* and for how long */
};

/* Once a process, before any thread starts: curl_global_init(). */
int http_client_global_init(struct err *err) MUST_CHECK;

/*
 * A client on `loop` (settings are copied), or NULL with `err`; ERR_CONFIG when
 * the proxy is to be reached by anything but plain HTTP.
 */
struct http_client *http_client_new(struct loop *loop,
				    const struct http_client_settings *settings,
				    struct err *err);

/* Free *client and null it; no call, link or origin may be left. */
void http_client_free(struct http_client **client);

/* ---- origins ------------------------------------------------------------- */

/*
 * A server: scheme, host and port of `url` ("http://host:port", path ignored),
 * with its pool of idle links. NULL with ERR_CONFIG (not http or https, no host,
 * a user named).
 */
struct http_origin *http_origin_new(struct http_client *client, const char *url,
				    struct err *err);

/* Close the idle links, free *origin and null it; no link or call may be in use. */
void http_origin_free(struct http_origin **origin);

/* "host:port" for the Host field (port left out when the scheme's default). */
const char *http_origin_host(const struct http_origin *origin);

/* ---- links --------------------------------------------------------------- */

struct http_link_ops {
	/* Connected (TLS included): err NULL; or failed: then the link is dead. */
	void (*on_open)(void *owner, const struct err *err);
	/* Bytes may be received, or room may be free to send: try both. */
	void (*on_ready)(void *owner, unsigned int ready /* LOOP_READABLE … */);
};

/*
 * A link to `origin`, from the pool (a pooled one that has become readable is
 * dead and thrown away) or by connecting within `timeout_ms`. on_open comes
 * later in any case. NULL when out of memory. End it by link_close() or
 * link_release(), whatever happens, also after a failed on_open.
 */
struct http_link *link_open(struct http_origin *origin, uint64_t timeout_ms,
			    const struct http_link_ops *ops, void *owner);

/* Did it come from the pool? A reused link may die at its first bytes. */
bool link_is_reused(const struct http_link *link);

/*
 * Send what fits of `bytes`; the memory is handed to send(2) or SSL_write as it
 * is. Bytes taken (> 0; fewer than offered does not mean that the next call
 * would block), 0 = would block (wait for on_ready, then offer at least the same
 * bytes again, at the same address: SSL_write(3) insists), -1 with ERR_TARGET.
 */
ssize_t link_send(struct http_link *link, struct span bytes, struct err *err);

/*
 * Receive up to `room` bytes. Bytes (> 0), 0 = would block, -1 with ERR_TARGET.
 * The peer's orderly close is LINK_EOF.
 */
#define LINK_EOF (-2)
ssize_t link_recv(struct http_link *link, char *buf, size_t room, struct err *err);

/* Close; *link is nulled. No callback comes after this. From any callback. */
void link_close(struct http_link **link);

/*
 * Give it back to the pool after a complete answer that allows keep-alive and
 * with nothing unread; closes it when the pool is full. *link is nulled.
 */
void link_release(struct http_link **link);

/* ---- calls --------------------------------------------------------------- */

struct http_call_request {
	const char *method;		/* "GET", "HEAD", "POST", "DELETE", "PUT" */
	const char *path;		/* "/objects/…", already encoded */
	const struct http_call_header {
		const char *name;
		const char *value;
	} *headers;			/* copied */
	size_t n_headers;
	struct span body;		/* copied; for POST and PUT, may be empty */
	uint64_t timeout_ms;		/* of the whole call, names included */
	/* What follows may be left zero. */
	bool body_is_borrowed;		/* not copied: valid until fn or cancel */
	uint64_t stall_ms;		/* ends when no byte moves this long */
	size_t max_answer;		/* cap of the answer's body; 0: 64 KiB */
	/*
	 * Where the body of a 2xx answer is put, and its cap then: borrowed until
	 * fn or cancel. Answers of another status go to the call's own memory.
	 */
	char *room;
	size_t room_size;
};

/*
 * The answer; err is set when there was none, it broke off, or it was a success
 * before the whole request was sent (status 0), or it was over the cap (status and
 * body are what there is of it, is_too_long is set).
 *
 * A kept connection may die under a request. libcurl then sends it once more over
 * another one, and this is the answer to the second; whether the server has carried
 * out the first as well, nobody knows.
 */
struct http_call_result {
	int status;
	bool is_too_long;
	bool is_repeated;		/* sent twice: see above */
	struct span body;		/* valid during the callback */
	struct err err;
};
typedef void http_call_fn(void *owner, struct http_call *call,
			  const struct http_call_result *result);

/*
 * Start a call; `fn` is called exactly once, later, unless it is cancelled; the
 * call is freed after that. NULL when out of memory, or for a header that is none
 * (CR or LF in it, or ':' in its name).
 */
struct http_call *http_call_start(struct http_origin *origin,
				  const struct http_call_request *request,
				  http_call_fn *fn, void *owner);

/* A field of the answer, during the callback only; NULL when absent. */
const char *http_call_header(struct http_call *call, const char *name);

/*
 * Stop it, `fn` will not be called; *call is nulled. No effect from within `fn`.
 * What was borrowed is the caller's again.
 */
void http_call_cancel(struct http_call **call);

#endif
