/*
 * http_client_impl.h - what the files of the HTTP client share; private
 *
 *   http_client.c  the client, its two curl multi handles on the loop, origins
 *   http_link.c    links and the pool of idle ones
 *   http_call.c    calls
 *
 * Links and calls have a multi handle each: calls keep a bounded cache of
 * connections, which libcurl prunes and searches; links must be out of reach of
 * both.
 *
 * Users' code never runs below a curl function: what a transfer came to is
 * noted when curl tells it and told by a deferred call. So links and calls may
 * be ended from any callback.
 */
#ifndef COMMON_HTTP_CLIENT_IMPL_H
#define COMMON_HTTP_CLIENT_IMPL_H

#include "common/http_client.h"

#include <curl/curl.h>

/* A transfer, known by its CURLOPT_PRIVATE pointer, has ended. */
typedef void http_done_fn(void *owner, CURLcode code);

/*
 * One that libcurl is at work on; embedded in its owner. When libcurl is out of
 * memory all of them end with CURLE_OUT_OF_MEMORY, and the handle is replaced
 * before the next one starts.
 */
struct http_transfer {
	struct http_transfer *next;
	struct http_transfer **at; /* what points here; NULL: not at work */
	void *owner;
};

/* A curl multi handle, driven by the loop. */
struct http_multi {
	struct http_transfer *first;
	CURLM *curl;
	struct loop *loop;
	struct timer timer;
	http_done_fn *on_done;
	long max_connections;
	bool is_damaged; /* by a lack of memory: to be replaced */
};

struct http_client {
	struct loop *loop;
	struct http_multi links;
	struct http_multi calls;
	char *ca_file; /* NULL: libcurl's default file */
	char *proxy;   /* "": none */
	size_t send_buffer;
	size_t receive_buffer;
	size_t max_idle;
	uint64_t idle_ms;
	size_t n_origins;
};

struct http_origin {
	struct http_client *client;
	char *base; /* "https://host:port", no path */
	char *host; /* "host:port", a default port left out */
	bool tls;
	size_t n_users; /* links in use and unfinished calls */
	/* the pool: a list by age, the next one out is the newest */
	struct http_link *newest;
	struct http_link *oldest;
	size_t n_idle;
	struct timer idle_timer;
	/* links that may not connect yet, the first one first */
	struct http_link *first_waiting;
	struct http_link *last_waiting;
	size_t n_connecting;
	struct deferred connect_next;
};

/*
 * Did a curl_easy_setopt() succeed? Out of memory is all that may fail: options
 * that libcurl does not know would be a bug.
 */
static inline bool is_set(CURLcode code)
{
	CHECK(code == CURLE_OK || code == CURLE_OUT_OF_MEMORY);
	return code == CURLE_OK;
}

/*
 * Set on `easy` what holds for every transfer to this origin: its URL (with
 * `path`), the rules of the client, CA and proxy. False when out of memory.
 */
bool http_client_set_up(CURL *easy, const struct http_origin *origin,
			const char *path) MUST_CHECK;

/*
 * Hand `easy` over to libcurl: on_done(owner) will follow unless the transfer is
 * ended before. False when out of memory.
 */
bool http_transfer_start(struct http_multi *multi,
			 struct http_transfer *transfer, CURL *easy,
			 void *owner) MUST_CHECK;

/* libcurl's work on it is done or no longer wanted. Idempotent. */
void http_transfer_end(struct http_transfer *transfer);

/* A close-on-exec socket for `address`. CURL_SOCKET_BAD with errno. */
curl_socket_t http_client_socket(const struct curl_sockaddr *address);

/* on_done of links: libcurl has connected, or could not. */
http_done_fn http_link_on_done;

/* timer_fn of an origin: close the links that were idle too long. */
timer_fn http_link_on_idle;

/* Close all idle links of an origin. */
void http_link_close_idle(struct http_origin *origin);

/* on_done of calls. */
http_done_fn http_call_on_done;

#endif
