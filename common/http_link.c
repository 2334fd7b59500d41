/*
 * Links. libcurl makes the connection; then a plain one is taken over from it,
 * descriptor and all, and libcurl's memory for it is given back. A TLS one
 * stays with libcurl, inside the multi handle: taken out, it would be closed.
 */
#include "common/http_client.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/http_client_impl.h"

/* One TLS record: how much of a span SSL_write is offered at a time. */
#define TLS_RECORD ((size_t)16384)
/* Until sending is tried again when the kernel was short of memory. */
#define NO_BUFFERS_MS 10

/* Of an origin: a burst of uploads must not leave the heap full of holes. */
#define MAX_CONNECTING 32u

#define LINK_STATES(X)                                                         \
	X(LINK_WAITING, "its turn to connect is still to come")                \
	X(LINK_CONNECTING, "libcurl resolves, connects, shakes hands")         \
	X(LINK_OPENING, "connected; on_open is still to be called")            \
	X(LINK_FAILED, "not connected; on_open says or has said so")           \
	X(LINK_OPEN, "its owner's")                                            \
	X(LINK_IDLE, "in its origin's pool, without an owner")                 \
	X(LINK_CLOSED, "buried")

#define AS_ENUM(name, meaning) name,
enum link_state { LINK_STATES(AS_ENUM) };

struct http_link {
	struct grave grave;
	struct http_origin *origin;
	const struct http_link_ops *ops;
	void *owner;
	enum link_state state;
	unsigned int missed; /* facts to be told once it is open */
	bool reused;
	int fd;	    /* -1: none, or libcurl has closed it */
	CURL *easy; /* while connecting, and with TLS */
	struct http_transfer transfer; /* while connecting */
	struct watch watch;
	struct timer timer; /* to connect; then to try to send again */
	struct deferred tell;
	struct http_link *newer; /* in the pool, or waiting */
	struct http_link *older;
	uint64_t idle_since;
	uint64_t timeout_ms;
	struct err err;
	char curl_text[CURL_ERROR_SIZE];
};

#define TO(state) (1u << (state))

static const unsigned int transitions[] = {
	[LINK_WAITING] =
		TO(LINK_CONNECTING) | TO(LINK_FAILED) | TO(LINK_CLOSED),
	[LINK_CONNECTING] =
		TO(LINK_OPENING) | TO(LINK_FAILED) | TO(LINK_CLOSED),
	[LINK_OPENING] = TO(LINK_OPEN) | TO(LINK_CLOSED),
	[LINK_FAILED] = TO(LINK_CLOSED),
	[LINK_OPEN] = TO(LINK_IDLE) | TO(LINK_CLOSED),
	[LINK_IDLE] = TO(LINK_OPENING) | TO(LINK_CLOSED),
	[LINK_CLOSED] = 0,
};

static struct loop *loop_of(const struct http_link *link)
{
	return link->origin->client->loop;
}

static void waiting_add(struct http_link *link)
{
	struct http_origin *origin = link->origin;

	link->newer = NULL;
	link->older = origin->last_waiting;
	*(link->older ? &link->older->newer : &origin->first_waiting) = link;
	origin->last_waiting = link;
}

static void waiting_remove(struct http_link *link)
{
	struct http_origin *origin = link->origin;

	*(link->newer ? &link->newer->older : &origin->last_waiting) =
		link->older;
	*(link->older ? &link->older->newer : &origin->first_waiting) =
		link->newer;
}

static void connect_next(void *arg);

/* One link connects no more: another one's turn, but not from inside libcurl. */
static void on_connecting_end(struct http_origin *origin)
{
	origin->n_connecting--;
	if (origin->first_waiting)
		loop_defer(origin->client->loop, &origin->connect_next,
			   connect_next, origin);
}

static void enter(struct http_link *link, enum link_state state)
{
	CHECK(transitions[link->state] & TO(state));
	if (link->state == LINK_WAITING)
		waiting_remove(link);
	if (link->state == LINK_CONNECTING)
		on_connecting_end(link->origin);
	if (state == LINK_CONNECTING)
		link->origin->n_connecting++;
	link->state = state;
}

/* What libcurl says of a failure, in the most words it has. */
static const char *curl_reason(const struct http_link *link, CURLcode code)
{
	return *link->curl_text ? link->curl_text : curl_easy_strerror(code);
}

/* ---- the end ------------------------------------------------------------ */

/* Cut the connection and give back all that libcurl holds of it. */
static void hang_up(struct http_link *link)
{
	watch_stop(&link->watch);
	timer_stop(&link->timer);
	http_transfer_end(&link->transfer);
	if (link->easy) {
		curl_multi_remove_handle(link->origin->client->links.curl,
					 link->easy);
		curl_easy_cleanup(link->easy);
		link->easy = NULL;
	} else if (link->fd >= 0) {
		close(link->fd);
	}
	link->fd = -1;
}

static void bury(struct http_link *link)
{
	enter(link, LINK_CLOSED);
	loop_undefer(loop_of(link), &link->tell);
	hang_up(link);
	loop_bury(loop_of(link), &link->grave, free, link);
}

void link_close(struct http_link **linkp)
{
	struct http_link *link = *linkp;

	*linkp = NULL;
	link->origin->n_users--;
	bury(link);
}

/* ---- the pool ----------------------------------------------------------- */

static void pool_remove(struct http_link *link)
{
	struct http_origin *origin = link->origin;

	*(link->newer ? &link->newer->older : &origin->newest) = link->older;
	*(link->older ? &link->older->newer : &origin->oldest) = link->newer;
	origin->n_idle--;
}

static void pool_add(struct http_link *link)
{
	struct http_origin *origin = link->origin;

	link->newer = NULL;
	link->older = origin->newest;
	*(link->older ? &link->older->newer : &origin->oldest) = link;
	origin->newest = link;
	origin->n_idle++;
}

static void drop_idle(struct http_link *link)
{
	pool_remove(link);
	bury(link);
}

void http_link_close_idle(struct http_origin *origin)
{
	while (origin->oldest)
		drop_idle(origin->oldest);
}

void http_link_on_idle(void *arg)
{
	struct http_origin *origin = arg;
	uint64_t now = loop_now_ms(origin->client->loop);
	uint64_t idle_ms = origin->client->idle_ms;

	while (origin->oldest && now - origin->oldest->idle_since >= idle_ms)
		drop_idle(origin->oldest);
	if (origin->oldest)
		timer_start(&origin->idle_timer,
			    origin->oldest->idle_since + idle_ms - now);
}

/* An idle peer has nothing to say: a byte or an end means it has hung up. */
static bool is_silent(const struct http_link *link)
{
	char byte;

	return link->fd >= 0 &&
	       recv(link->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
	       (errno == EAGAIN || errno == EWOULDBLOCK);
}

static struct http_link *take_idle(struct http_origin *origin)
{
	struct http_link *link;

	while ((link = origin->newest)) {
		if (is_silent(link)) {
			pool_remove(link);
			return link;
		}
		drop_idle(link);
	}
	return NULL;
}

void link_release(struct http_link **linkp)
{
	struct http_link *link = *linkp;
	struct http_origin *origin = link->origin;

	if (link->state != LINK_OPEN || !is_silent(link) ||
	    origin->n_idle >= origin->client->max_idle) {
		link_close(linkp);
		return;
	}
	*linkp = NULL;
	origin->n_users--;
	timer_stop(&link->timer);
	loop_undefer(loop_of(link), &link->tell);
	enter(link, LINK_IDLE);
	link->idle_since = loop_now_ms(loop_of(link));
	pool_add(link);
	if (!timer_is_running(&origin->idle_timer))
		timer_start(&origin->idle_timer, origin->client->idle_ms);
}

/* ---- telling the owner -------------------------------------------------- */

static void tell_missed(struct http_link *link)
{
	unsigned int missed = link->missed;

	link->missed = 0;
	if (missed && link->state == LINK_OPEN)
		link->ops->on_ready(link->owner, missed);
}

/* After each callback the link may have been closed, or even reused. */
static void tell(void *arg)
{
	struct http_link *link = arg;

	switch (link->state) {
	case LINK_OPENING:
		enter(link, LINK_OPEN);
		link->ops->on_open(link->owner, NULL);
		tell_missed(link);
		break;
	case LINK_FAILED:
		link->ops->on_open(link->owner, &link->err);
		break;
	case LINK_OPEN:
		tell_missed(link);
		break;
	case LINK_IDLE:
		drop_idle(link);
		break;
	case LINK_WAITING:
	case LINK_CONNECTING:
	case LINK_CLOSED:
		CHECK(false); /* nothing is deferred in these */
	}
}

static void tell_later(struct http_link *link)
{
	loop_defer(loop_of(link), &link->tell, tell, link);
}

static void on_watch(void *arg, unsigned int ready)
{
	struct http_link *link = arg;

	if (link->state == LINK_OPEN)
		link->ops->on_ready(link->owner, ready);
	else if (link->state == LINK_OPENING)
		link->missed |= ready;
	else if (link->state == LINK_IDLE && (ready & LOOP_READABLE))
		drop_idle(link);
}

/* ---- connecting --------------------------------------------------------- */

static void fail(struct http_link *link)
{
	hang_up(link);
	enter(link, LINK_FAILED);
	tell_later(link);
}

static void set_timed_out(struct http_link *link)
{
	err_set(&link->err, ERR_TARGET, "cannot connect to %s within %llu ms",
		link->origin->host, (unsigned long long)link->timeout_ms);
}

static void set_connect_err(struct http_link *link, CURLcode code)
{
	const char *host = link->origin->host;
	long errnum = 0;

	curl_easy_getinfo(link->easy, CURLINFO_OS_ERRNO, &errnum);
	if (code == CURLE_OPERATION_TIMEDOUT)
		set_timed_out(link);
	else if (code == CURLE_COULDNT_CONNECT && errnum != 0)
		err_set_errno(&link->err, ERR_TARGET, (int)errnum,
			      "cannot connect to %s", host);
	else
		err_set(&link->err, ERR_TARGET, "cannot connect to %s: %s",
			host, curl_reason(link, code));
}

static void on_timer(void *arg)
{
	struct http_link *link = arg;

	if (link->state == LINK_WAITING || link->state == LINK_CONNECTING) {
		set_timed_out(link);
		fail(link);
	} else if (link->state == LINK_OPEN) {
		link->ops->on_ready(link->owner, LOOP_WRITABLE);
	}
}

/* Of a plain connection only the descriptor is left; see on_close_socket(). */
static void take_over(struct http_link *link)
{
	if (link->origin->tls) {
		/* The most that curl_easy_recv() gives; not allocated. */
		curl_easy_setopt(link->easy, CURLOPT_BUFFERSIZE,
				 (long)TLS_RECORD);
		return;
	}
	curl_multi_remove_handle(link->origin->client->links.curl, link->easy);
	curl_easy_cleanup(link->easy);
	link->easy = NULL;
}

void http_link_on_done(void *owner, CURLcode code)
{
	struct http_link *link = owner;
	curl_socket_t fd = CURL_SOCKET_BAD;

	timer_stop(&link->timer);
	http_transfer_end(&link->transfer);
	if (code == CURLE_OK)
		curl_easy_getinfo(link->easy, CURLINFO_ACTIVESOCKET, &fd);
	if (fd == CURL_SOCKET_BAD) {
		set_connect_err(link, code);
		fail(link);
		return;
	}
	link->fd = fd;
	take_over(link);
	if (watch_start(&link->watch, loop_of(link), fd, on_watch, link,
			&link->err) < 0) {
		fail(link);
		return;
	}
	enter(link, LINK_OPENING);
	tell_later(link);
}

/* A wish: the kernel bounds it, and a refusal changes no result. */
static void set_buffer(int fd, int option, size_t bytes)
{
	int size = bytes < INT_MAX ? (int)bytes : INT_MAX;

	if (size > 0)
		(void)setsockopt(fd, SOL_SOCKET, option, &size, sizeof(size));
}

/* CURLOPT_OPENSOCKETFUNCTION */
static curl_socket_t on_open_socket(void *arg, curlsocktype purpose,
				    struct curl_sockaddr *address)
{
	const struct http_link *link = arg;
	const struct http_client *client = link->origin->client;
	curl_socket_t fd = http_client_socket(address);

	(void)purpose;
	if (fd == CURL_SOCKET_BAD)
		return fd;
	set_buffer(fd, SO_SNDBUF, client->send_buffer);
	set_buffer(fd, SO_RCVBUF, client->receive_buffer);
	return fd;
}

/*
 * CURLOPT_CLOSESOCKETFUNCTION. A plain link's own descriptor is not closed: it
 * is being taken over. With TLS, libcurl may close on its own account what it
 * finds dead when another link connects; then the watch must end before the
 * number is used again, and the owner finds out by trying to receive.
 */
static int on_close_socket(void *arg, curl_socket_t fd)
{
	struct http_link *link = arg;

	if (fd != link->fd)
		return close(fd);
	if (!link->origin->tls)
		return 0;
	watch_stop(&link->watch);
	link->fd = -1;
	if (link->state != LINK_CLOSED && link->state != LINK_FAILED) {
		link->missed |= LOOP_READABLE;
		tell_later(link);
	}
	return close(fd);
}

/*
 * The tunnel makes a link through a proxy as raw as any. MAXAGE_CONN is what
 * libcurl goes by when it looks over the connections that are open already.
 */
static bool set_up(struct http_link *link)
{
	CURL *easy = link->easy;
	long ms =
		link->timeout_ms < LONG_MAX ? (long)link->timeout_ms : LONG_MAX;

	return http_client_set_up(easy, link->origin, "/") &&
	       is_set(curl_easy_setopt(easy, CURLOPT_PRIVATE, link)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_ERRORBUFFER,
				       link->curl_text)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_HTTPPROXYTUNNEL, 1L)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, ms)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, LONG_MAX)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 1024L)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION,
				       on_open_socket)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, link)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION,
				       on_close_socket)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, link));
}

static struct http_link *link_new(struct http_origin *origin,
				  uint64_t timeout_ms)
{
	struct http_link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->origin = origin;
	link->state = LINK_WAITING;
	link->fd = -1;
	link->timeout_ms = timeout_ms;
	timer_init(&link->timer, loop_of(link), on_timer, link);
	timer_start(&link->timer, timeout_ms);
	waiting_add(link);
	return link;
}

/* Let libcurl connect it. False when out of memory: it has failed. */
static bool start_connecting(struct http_link *link)
{
	CURL *easy = curl_easy_init();

	link->easy = easy;
	enter(link, LINK_CONNECTING);
	if (easy && set_up(link) &&
	    http_transfer_start(&link->origin->client->links, &link->transfer,
				easy, link))
		return true;
	err_set(&link->err, ERR_MEMORY, "out of memory for a connection");
	fail(link);
	return false;
}

static void connect_next(void *arg)
{
	struct http_origin *origin = arg;

	while (origin->first_waiting && origin->n_connecting < MAX_CONNECTING)
		start_connecting(origin->first_waiting);
}

static struct http_link *dial(struct http_origin *origin, uint64_t timeout_ms)
{
	struct http_link *link = link_new(origin, timeout_ms);

	if (!link || origin->first_waiting != link ||
	    origin->n_connecting >= MAX_CONNECTING)
		return link;
	if (!start_connecting(link)) {
		bury(link);
		return NULL;
	}
	return link;
}

struct http_link *link_open(struct http_origin *origin, uint64_t timeout_ms,
			    const struct http_link_ops *ops, void *owner)
{
	struct http_link *link = take_idle(origin);

	if (link) {
		link->reused = true;
		link->missed = 0;
		enter(link, LINK_OPENING);
		tell_later(link);
	} else {
		link = dial(origin, timeout_ms);
	}
	if (!link)
		return NULL;
	link->ops = ops;
	link->owner = owner;
	origin->n_users++;
	return link;
}

bool link_is_reused(const struct http_link *link)
{
	return link->reused;
}

/* ---- bytes -------------------------------------------------------------- */

static int set_no_link(const struct http_link *link, struct err *err)
{
	if (err_is_set(&link->err))
		return err_set(err, link->err.code, "%s", link->err.text);
	return err_set(err, ERR_TARGET, "the connection to %s is closed",
		       link->origin->host);
}

static int set_tls_err(const struct http_link *link, const char *doing,
		       CURLcode code, struct err *err)
{
	return err_set(err, ERR_TARGET, "cannot %s %s: %s", doing,
		       link->origin->host, curl_reason(link, code));
}

static ssize_t send_plain(struct http_link *link, struct span bytes,
			  struct err *err)
{
	ssize_t n;

	do
		n = send(link->fd, bytes.ptr, bytes.len,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return 0;
	if (errno == ENOBUFS || errno == ENOMEM) {
		/* No edge will tell when there is memory again. */
		timer_start(&link->timer, NO_BUFFERS_MS);
		return 0;
	}
	return err_set_errno(err, ERR_TARGET, errno, "cannot send to %s",
			     link->origin->host);
}

/*
 * By records, so that what is taken is counted as it goes: SSL_write of more
 * says "would block" until the last byte is out. The first failure after some
 * bytes is left for the next call to find again.
 */
static ssize_t send_tls(struct http_link *link, struct span bytes,
			struct err *err)
{
	size_t sent = 0, n;
	CURLcode code = CURLE_OK;

	while (sent < bytes.len && code == CURLE_OK) {
		size_t len = bytes.len - sent;

		n = 0;
		code = curl_easy_send(link->easy, bytes.ptr + sent,
				      len < TLS_RECORD ? len : TLS_RECORD, &n);
		if (code == CURLE_OK)
			sent += n;
	}
	if (sent > 0 || code == CURLE_OK || code == CURLE_AGAIN)
		return (ssize_t)sent;
	return set_tls_err(link, "send to", code, err);
}

ssize_t link_send(struct http_link *link, struct span bytes, struct err *err)
{
	if (link->state != LINK_OPEN || link->fd < 0)
		return set_no_link(link, err);
	if (link->easy)
		return send_tls(link, bytes, err);
	return send_plain(link, bytes, err);
}

static ssize_t recv_plain(struct http_link *link, char *buf, size_t room,
			  struct err *err)
{
	ssize_t n;

	do
		n = recv(link->fd, buf, room, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return n;
	if (n == 0)
		return LINK_EOF;
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return 0;
	return err_set_errno(err, ERR_TARGET, errno, "cannot receive from %s",
			     link->origin->host);
}

static ssize_t recv_tls(struct http_link *link, char *buf, size_t room,
			struct err *err)
{
	size_t n = 0;
	CURLcode code = curl_easy_recv(link->easy, buf, room, &n);

	if (code == CURLE_AGAIN)
		return 0;
	if (code == CURLE_OK)
		return n > 0 ? (ssize_t)n : LINK_EOF;
	return set_tls_err(link, "receive from", code, err);
}

ssize_t link_recv(struct http_link *link, char *buf, size_t room,
		  struct err *err)
{
	CHECK(room > 0);
	if (link->state != LINK_OPEN || link->fd < 0)
		return set_no_link(link, err);
	if (link->easy)
		return recv_tls(link, buf, room, err);
	return recv_plain(link, buf, room, err);
}
