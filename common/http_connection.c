#include "common/http_server_impl.h"
#include "common/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DRAINS_A_TURN 16
#define LATE_MS 1000	/* a timer as late as this: the process was stopped */

/* ---- states -------------------------------------------------------------- */

#define AFTER(name) (1u << CONNECTION_##name)

/* What may follow each state; CLOSED may follow all but itself. */
static const unsigned int allowed[] = {
	[CONNECTION_IDLE] = AFTER(HEAD) | AFTER(CLOSED),
	[CONNECTION_HEAD] = AFTER(EXCHANGE) | AFTER(CLOSED),
	[CONNECTION_EXCHANGE] = AFTER(IDLE) | AFTER(HEAD) | AFTER(LINGER) |
				AFTER(CLOSED),
	[CONNECTION_LINGER] = AFTER(CLOSED),
	[CONNECTION_CLOSED] = 0,
};

const char *connection_peer(struct http_connection *c)
{
	char ip[INET6_ADDRSTRLEN] = "";
	bool v4 = IN6_IS_ADDR_V4MAPPED(&c->ip);

	if (c->peer[0])
		return c->peer;
	if (v4)
		inet_ntop(AF_INET, &c->ip.s6_addr[12], ip, sizeof(ip));
	else
		inet_ntop(AF_INET6, &c->ip, ip, sizeof(ip));
	snprintf(c->peer, sizeof(c->peer), v4 ? "%s:%u" : "[%s]:%u", ip,
		 c->port);
	return c->peer;
}

uint64_t connection_in_ms(const struct http_connection *c, uint64_t ms)
{
	return ms ? loop_now_ms(c->server->loop) + ms : 0;
}

/* The deadline that a state brings along; 0 = none of its own. */
static uint64_t state_deadline(struct http_connection *c,
			       enum connection_state state)
{
	const struct http_server_settings *settings = &c->server->settings;

	switch (state) {
	case CONNECTION_IDLE:
		return connection_in_ms(c, settings->idle_timeout_ms);
	case CONNECTION_HEAD:
		return connection_in_ms(c, settings->head_timeout_ms);
	case CONNECTION_LINGER:
		return connection_in_ms(c, settings->linger_ms);
	case CONNECTION_EXCHANGE:
	case CONNECTION_CLOSED:
		break;
	}
	return 0;
}

/* The only place where the state changes. */
static void set_state(struct http_connection *c, enum connection_state state)
{
	CHECK(allowed[c->state] & (1u << state));
	c->state = state;
	c->deadline = state_deadline(c, state);
}

/* ---- deadlines ----------------------------------------------------------- */

/* The earlier one of two deadlines, of which 0 is none. */
static uint64_t earlier(uint64_t a, uint64_t b)
{
	if (a == 0 || b == 0)
		return a + b;
	return a < b ? a : b;
}

static uint64_t next_deadline(const struct http_connection *c)
{
	uint64_t deadline = c->deadline;

	if (c->state == CONNECTION_EXCHANGE) {
		deadline = earlier(deadline, c->out_deadline);
		deadline = earlier(deadline, exchange_body_deadline(c->x));
	}
	return deadline;
}

static void start_timer(struct http_connection *c, uint64_t at)
{
	uint64_t now = loop_now_ms(c->server->loop);

	c->timer_at = at;
	timer_start(&c->timer, at > now ? at - now : 0);
}

/*
 * A timer that fires too early only looks again, so a deadline that moves away,
 * as most do at each read, costs nothing.
 */
void connection_arm(struct http_connection *c)
{
	uint64_t at = next_deadline(c);

	if (at && (!c->timer_at || at < c->timer_at))
		start_timer(c, at);
}

/* ---- closing ------------------------------------------------------------- */

static void on_buried(void *owner)
{
	struct http_connection *c = owner;
	struct http_server *server = c->server;

	if (c->x)
		exchange_release(server, c->x);
	free(c->out);
	server_release(server, c);
}

void connection_dispose(struct http_connection *c)
{
	close(c->fd);
	if (c->x)
		reply_close_file(c->x);
	loop_bury(c->server->loop, &c->grave, on_buried, c);
}

static void log_close(struct http_connection *c, const char *why)
{
	if (log_enabled(LOG_DEBUG))
		log_line(LOG_DEBUG, "connection_closed",
			 LOG_STR("peer", connection_peer(c)),
			 LOG_STR("reason", why));
}

void connection_close(struct http_connection *c, const char *why)
{
	if (c->state == CONNECTION_CLOSED)
		return;
	log_close(c, why);
	set_state(c, CONNECTION_CLOSED);
	watch_stop(&c->watch);
	timer_stop(&c->timer);
	loop_undefer(c->server->loop, &c->call);
	server_forget(c);
	if (c->x)
		exchange_end(c->x);
	if (c->x && c->x->file.running)
		shutdown(c->fd, SHUT_RDWR); /* the number stays taken */
	else
		connection_dispose(c);
}

/*
 * Drop what still arrives, so that the client reads our answer before it meets
 * a reset (RFC 9112, 9.6). When nothing unread is expected, one look is enough.
 */
static void drain(struct http_connection *c)
{
	struct http_server *server = c->server;
	size_t room;
	ssize_t n;

	for (int i = 0; i < DRAINS_A_TURN; i++) {
		room = sizeof(server->scratch);
		if (room > c->linger_left)
			room = (size_t)c->linger_left;
		n = room ? recv(c->fd, server->scratch, room, 0) : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && http_would_block(errno) && c->linger_idle)
			return;
		if (n <= 0) {
			connection_close(c, "answered");
			return;
		}
		c->linger_left -= (uint64_t)n;
		c->linger_idle = true;
	}
	connection_schedule(c);
}

static void linger(struct http_connection *c)
{
	struct http_server *server = c->server;

	c->linger_idle = !c->x->understood || c->x->body != BODY_DONE ||
			 c->x->pos < c->x->len;
	c->linger_left = server->settings.linger_bytes;
	exchange_release(server, c->x);
	c->x = NULL;
	set_state(c, CONNECTION_LINGER);
	if (shutdown(c->fd, SHUT_WR) < 0) {
		connection_close(c, "lost after its answer");
		return;
	}
	drain(c);
	connection_arm(c);
}

/* ---- heads --------------------------------------------------------------- */

/* Answer what the server itself does not accept; the connection ends by it. */
static void refuse(struct http_connection *c, const struct err *err)
{
	set_state(c, CONNECTION_EXCHANGE);
	c->close_after = true;
	http_reply_problem(c->x, err);
}

static void begin_exchange(struct http_connection *c)
{
	struct http_server *server = c->server;
	struct http_exchange *x = c->x;
	struct err err = ERR_INIT;

	x->understood = true;
	if (exchange_begin(x, &err) < 0) {
		refuse(c, &err);
		return;
	}
	set_state(c, CONNECTION_EXCHANGE);
	server->on_request(server->arg, x);
	CHECK(c->state == CONNECTION_CLOSED || x->ops ||
	      x->reply != REPLY_NONE);
}

/* Look at the bytes so far; false when the head needs more of them. */
static bool parse_head(struct http_connection *c)
{
	struct http_exchange *x = c->x;
	struct err err = ERR_INIT;

	if (c->state == CONNECTION_IDLE)
		set_state(c, CONNECTION_HEAD);
	if (x->buf[0] == 0x16) {
		/* a TLS handshake; no answer of ours would be understood */
		connection_close(c, "TLS on a port without TLS");
		return true;
	}
	switch (http1_parse_request(&x->head, x->buf, x->len, &err)) {
	case HTTP1_MORE:
		if (x->len < HTTP1_MAX_HEAD)
			return false;
		err_set_status(&err, 431, "the head is longer than %u bytes",
			       HTTP1_MAX_HEAD);
		refuse(c, &err);
		return true;
	case HTTP1_DONE:
		begin_exchange(c);
		return true;
	case HTTP1_BAD:
		refuse(c, &err);
		return true;
	}
	return true;
}

/* Receive more of a head; false when there is nothing, also after closing. */
static bool fill(struct http_connection *c)
{
	struct http_exchange *x = c->x;
	ssize_t n;

	if (!c->readable)
		return false;
	if (x->len == x->cap && !exchange_grow(x, 2 * x->cap)) {
		connection_close(c, "out of memory for a head");
		return false;
	}
	do
		n = recv(c->fd, x->buf + x->len, x->cap - x->len, 0);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		x->len += (size_t)n;
		return true;
	}
	c->readable = false;
	if (n == 0)
		connection_close(c, "closed by the client");
	else if (!http_would_block(errno))
		connection_close(c, "reset by the client");
	return false;
}

/* Nothing more to read now: wait with as little memory as possible. */
static void wait_for_head(struct http_connection *c)
{
	if (c->x->len == 0) {
		exchange_release(c->server, c->x);
		c->x = NULL;
		if (c->server->draining) {
			connection_close(c, "drained");
			return;
		}
	}
	connection_arm(c);
}

static void receive_head(struct http_connection *c)
{
	if (!c->x)
		c->x = exchange_acquire(c);
	if (!c->x) {
		server_turn_away(c->fd);
		connection_close(c, "out of memory for a request");
		return;
	}
	if (c->x->len > 0 && parse_head(c))
		return;
	while (fill(c))
		if (parse_head(c))
			return;
	if (c->state != CONNECTION_CLOSED)
		wait_for_head(c);
}

/* ---- the next request ---------------------------------------------------- */

static void next_request(struct http_connection *c)
{
	exchange_reset(c->x);
	set_state(c, c->x->len > 0 ? CONNECTION_HEAD : CONNECTION_IDLE);
	receive_head(c);
}

static void finish_exchange(struct http_connection *c)
{
	exchange_end(c->x);
	if (c->state == CONNECTION_CLOSED)
		return;
	if (c->close_after)
		linger(c);
	else
		next_request(c);
}

static void advance_exchange(struct http_connection *c)
{
	struct http_exchange *x = c->x;

	if (c->broken && !x->file.running)
		connection_close(c, "lost while it was answered");
	else if (x->reply == REPLY_QUEUED && !connection_has_output(c))
		finish_exchange(c);
	else if (x->body_due)
		exchange_on_body(x);
}

/* ---- events -------------------------------------------------------------- */

static void advance(void *arg)
{
	struct http_connection *c = arg;

	switch (c->state) {
	case CONNECTION_IDLE:
	case CONNECTION_HEAD:
		receive_head(c);
		break;
	case CONNECTION_EXCHANGE:
		advance_exchange(c);
		break;
	case CONNECTION_LINGER:
		drain(c);
		break;
	case CONNECTION_CLOSED:
		break;
	}
}

void connection_schedule(struct http_connection *c)
{
	if (c->state != CONNECTION_CLOSED)
		loop_defer(c->server->loop, &c->call, advance, c);
}

static void on_ready(void *arg, unsigned int ready)
{
	struct http_connection *c = arg;

	c->readable |= (ready & LOOP_READABLE) != 0;
	c->writable |= (ready & LOOP_WRITABLE) != 0;
	if (c->state != CONNECTION_EXCHANGE) {
		if (ready & LOOP_READABLE)
			advance(c);
		return;
	}
	if (ready & LOOP_WRITABLE)
		reply_on_writable(c->x);
	if (ready & LOOP_READABLE && c->state == CONNECTION_EXCHANGE)
		exchange_on_readable(c->x);
}

static void on_deadline(struct http_connection *c, uint64_t now)
{
	struct err err = ERR_INIT;

	switch (c->state) {
	case CONNECTION_IDLE:
		connection_close(c, "idle for too long");
		break;
	case CONNECTION_HEAD:
		err_set_status(&err, 408, "the head did not arrive in time");
		refuse(c, &err);
		break;
	case CONNECTION_EXCHANGE:
		if (c->out_deadline && c->out_deadline <= now)
			connection_check_output(c);
		else
			exchange_check_rate(c->x);
		break;
	case CONNECTION_LINGER:
		connection_close(c, "lingered for too long");
		break;
	case CONNECTION_CLOSED:
		break;
	}
}

/*
 * After a stop of the whole process (SIGSTOP, a suspended machine) the clients
 * are not to blame: what they sent meanwhile is read before they are judged.
 */
static void on_timer(void *arg)
{
	struct http_connection *c = arg;
	uint64_t now = loop_now_ms(c->server->loop);
	uint64_t at = next_deadline(c);
	bool late = now > c->timer_at + LATE_MS;

	c->timer_at = 0;
	if (at > now) {
		start_timer(c, at);
	} else if (at && late) {
		start_timer(c, now + LATE_MS);
	} else if (at) {
		on_deadline(c, now);
		if (c->state != CONNECTION_CLOSED)
			connection_arm(c);
	}
}

static struct http_connection *allocate(struct http_server *server)
{
	struct http_connection *c = server->spare_connections;

	if (!c)
		return calloc(1, sizeof(*c));
	server->spare_connections = c->next;
	server->n_spare_connections--;
	memset(c, 0, sizeof(*c));
	return c;
}

struct http_connection *connection_new(struct http_server *server, int fd,
				       const struct in6_addr *ip, uint16_t port)
{
	struct http_connection *c = allocate(server);
	struct err err = ERR_INIT;

	if (!c)
		return NULL;
	c->server = server;
	c->fd = fd;
	c->ip = *ip;
	c->port = port;
	timer_init(&c->timer, server->loop, on_timer, c);
	if (watch_start(&c->watch, server->loop, fd, on_ready, c, &err) < 0) {
		free(c);
		return NULL;
	}
	c->state = CONNECTION_IDLE;
	c->deadline = state_deadline(c, CONNECTION_IDLE);
	connection_arm(c);
	return c;
}
