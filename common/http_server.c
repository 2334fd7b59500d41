#include "common/http_server.h"

#include "common/http_server_impl.h"
#include "common/log.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_A_TURN 64
#define RETRY_MS 100	/* without free descriptors */

union socket_name {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* ---- the listening socket ------------------------------------------------ */

/*
 * Options that accepted sockets inherit on Linux, so that they cost nothing. What
 * a client does not take waits in the kernel, up to 4 MiB of it by default: the
 * limit is on what is not on its way yet, so that long ways stay fast (tcp(7) of
 * Linux 3.12; a wish like the others).
 */
static void set_options(int fd, const struct http_server_settings *settings)
{
	int on = 1, size = (int)settings->receive_buffer;
	int unsent = HTTP_UNSENT_BYTES;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	if (size > 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

/* A listening socket, or -1 with errno. */
static int listen_on(const struct addrinfo *ai,
		     const struct http_server_settings *settings)
{
	int fd, on = 1, off = 0, saved;

	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
		    0);
	if (fd < 0)
		return -1;
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	set_options(fd, settings);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0 &&
	    bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 &&
	    listen(fd, SOMAXCONN) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* The first address of `family` that `host` has and that can be bound. */
static int listen_family(const char *host, int family,
			 const struct http_server_settings *settings)
{
	struct addrinfo hints = { .ai_family = family,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	char port[8];
	int fd = -1;

	snprintf(port, sizeof(port), "%u", settings->address.port);
	errno = EADDRNOTAVAIL;
	if (getaddrinfo(host, port, &hints, &list) != 0)
		return -1;
	for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
		fd = listen_on(ai, settings);
	freeaddrinfo(list);
	return fd;
}

/*
 * Without a host: every address of both families by one socket, if there is
 * IPv6. A name's IPv4 address first, because that is what "localhost" means to
 * most clients' configuration.
 */
static int open_listener(const struct http_server_settings *settings,
			 struct err *err)
{
	const char *host = settings->address.host;
	bool any = host[0] == '\0';
	char text[300];
	int fd, first_errno;

	fd = any ? listen_family("::", AF_INET6, settings)
		 : listen_family(host, AF_INET, settings);
	first_errno = errno;
	if (fd < 0)
		fd = any ? listen_family("0.0.0.0", AF_INET, settings)
			 : listen_family(host, AF_INET6, settings);
	if (fd >= 0)
		return fd;
	if (first_errno != EADDRNOTAVAIL)
		errno = first_errno;
	address_format(&settings->address, text, sizeof(text));
	return err_set_errno(err, ERR_CONFIG, errno, "cannot listen on %s",
			     text);
}

static uint16_t bound_port(int fd)
{
	union socket_name name;
	socklen_t len = sizeof(name);

	if (getsockname(fd, &name.any, &len) < 0)
		return 0;
	return ntohs(name.any.sa_family == AF_INET ? name.v4.sin_port
						   : name.v6.sin6_port);
}

/* ---- admission ----------------------------------------------------------- */

void server_turn_away(int fd)
{
	static const char text[] = "HTTP/1.1 503 Service Unavailable\r\n"
				   "Server: stream-broadcast\r\n"
				   "Retry-After: 1\r\n"
				   "Content-Length: 0\r\n"
				   "Connection: close\r\n\r\n";

	if (send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		shutdown(fd, SHUT_WR);
}

/* The peer as an IPv6 address and a port, IPv4 mapped (RFC 4291, 2.5.5.2). */
static uint16_t peer_address(const union socket_name *name, struct in6_addr *ip)
{
	if (name->any.sa_family == AF_INET6) {
		*ip = name->v6.sin6_addr;
		return ntohs(name->v6.sin6_port);
	}
	*ip = (struct in6_addr){ 0 };
	ip->s6_addr[10] = ip->s6_addr[11] = 0xff;
	memcpy(&ip->s6_addr[12], &name->v4.sin_addr, 4);
	return ntohs(name->v4.sin_port);
}

/* Has the server room for one more connection from `ip`? Counts it then. */
static bool has_room(struct http_server *server, const struct in6_addr *ip)
{
	size_t max = server->settings.max_connections;

	if (max && server->n_connections >= max)
		return false;
	return !server->per_ip || per_ip_add(server->per_ip, ip,
					     server->settings.max_per_ip);
}

static void link_connection(struct http_server *server,
			    struct http_connection *c)
{
	c->next = server->connections;
	if (c->next)
		c->next->prev = c;
	server->connections = c;
	server->n_connections++;
	server->n_owned++;
}

static void admit(struct http_server *server, int fd,
		  const union socket_name *name)
{
	struct http_connection *c = NULL;
	struct in6_addr ip;
	uint16_t port = peer_address(name, &ip);

	if (has_room(server, &ip)) {
		c = connection_new(server, fd, &ip, port);
		if (!c && server->per_ip)
			per_ip_remove(server->per_ip, &ip);
	}
	if (c) {
		link_connection(server, c);
	} else {
		server_turn_away(fd);
		close(fd);
	}
}

static bool is_shortage(int errnum)
{
	return errnum == EMFILE || errnum == ENFILE || errnum == ENOBUFS ||
	       errnum == ENOMEM;
}

/*
 * A level-triggered listener that cannot be served would spin: leave it alone
 * for a while. One line until a connection is accepted again.
 */
static void pause_accepting(struct http_server *server, int errnum)
{
	watch_stop(&server->watch);
	timer_start(&server->retry, RETRY_MS);
	if (server->starved)
		return;
	server->starved = true;
	log_line(LOG_WARN, "accept_paused",
		 LOG_STR("reason", strerror(errnum)),
		 LOG_U64("connections", server->n_connections));
}

/* Accept at most `max` connections; false when accepting has to pause. */
static bool accept_some(struct http_server *server, int max)
{
	union socket_name name;
	socklen_t len;
	int fd;

	while (max-- > 0) {
		len = sizeof(name);
		fd = accept4(server->fd, &name.any, &len,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			server->starved = false;
			admit(server, fd, &name);
		} else if (http_would_block(errno)) {
			return true;
		} else if (is_shortage(errno)) {
			return false;
		}
		/* else it is the new connection's own error: accept(2) */
	}
	return true;
}

static void on_acceptable(void *arg, unsigned int ready)
{
	struct http_server *server = arg;

	(void)ready;
	if (!accept_some(server, ACCEPTS_A_TURN))
		pause_accepting(server, errno);
}

static void on_retry(void *arg)
{
	struct http_server *server = arg;
	struct err err = ERR_INIT;

	if (watch_start_level(&server->watch, server->loop, server->fd,
			      on_acceptable, server, &err) < 0)
		timer_start(&server->retry, RETRY_MS);
}

/* ---- the server's life --------------------------------------------------- */

static void delete_server(void *owner)
{
	struct http_server *server = owner;
	struct http_connection *c;
	struct http_exchange *x;

	while ((c = server->spare_connections)) {
		server->spare_connections = c->next;
		free(c);
	}
	while ((x = server->spare_exchanges)) {
		server->spare_exchanges = x->next;
		free(x);
	}
	per_ip_free(&server->per_ip);
	free(server);
}

static void close_listener(struct http_server *server)
{
	timer_stop(&server->retry);
	watch_stop(&server->watch);
	if (server->fd >= 0)
		close(server->fd);
	server->fd = -1;
}

static int start_listening(struct http_server *server, struct err *err)
{
	const struct http_server_settings *settings = &server->settings;

	if (settings->max_per_ip > 0) {
		CHECK(settings->max_connections > 0);
		server->per_ip = per_ip_new(settings->max_connections);
		if (!server->per_ip)
			return err_set(err, ERR_MEMORY,
				       "out of memory for %zu connections",
				       settings->max_connections);
	}
	server->fd = open_listener(settings, err);
	if (server->fd < 0)
		return -1;
	server->port = bound_port(server->fd);
	return watch_start_level(&server->watch, server->loop, server->fd,
				 on_acceptable, server, err);
}

struct http_server *http_server_new(struct loop *loop,
				    const struct http_server_settings *settings,
				    http_request_fn *on_request, void *arg,
				    struct err *err)
{
	struct http_server *server = calloc(1, sizeof(*server));

	if (!server) {
		err_set(err, ERR_MEMORY, "out of memory for a server");
		return NULL;
	}
	server->loop = loop;
	server->settings = *settings;
	server->on_request = on_request;
	server->arg = arg;
	server->fd = -1;
	timer_init(&server->retry, loop, on_retry, server);
	if (start_listening(server, err) == 0)
		return server;
	close_listener(server);
	delete_server(server);
	return NULL;
}

uint16_t http_server_port(const struct http_server *server)
{
	return server->port;
}

size_t http_server_connections(const struct http_server *server)
{
	return server->n_connections;
}

/*
 * Connections that wait in the listener's queue were accepted by the kernel:
 * take them in, closing would reset them. Idle ones look for a request that
 * has arrived already before they close.
 */
void http_server_drain(struct http_server *server)
{
	if (server->draining)
		return;
	if (server->fd >= 0)
		(void)accept_some(server, SOMAXCONN);
	close_listener(server);
	server->draining = true;
	for (struct http_connection *c = server->connections; c; c = c->next)
		if (c->state == CONNECTION_IDLE) {
			c->readable = true;
			connection_schedule(c);
		}
}

void http_server_free(struct http_server **serverp)
{
	struct http_server *server = *serverp;

	if (!server)
		return;
	*serverp = NULL;
	server->draining = true;
	close_listener(server);
	while (server->connections)
		connection_close(server->connections, "server stopped");
	server->freed = true;
	if (server->n_owned == 0)
		loop_bury(server->loop, &server->grave, delete_server, server);
}

void server_forget(struct http_connection *c)
{
	struct http_server *server = c->server;

	if (c->prev)
		c->prev->next = c->next;
	else
		server->connections = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->prev = c->next = NULL;
	server->n_connections--;
	if (server->per_ip)
		per_ip_remove(server->per_ip, &c->ip);
}

void server_release(struct http_server *server, struct http_connection *c)
{
	if (server->n_spare_connections < SPARE_CONNECTIONS) {
		c->next = server->spare_connections;
		server->spare_connections = c;
		server->n_spare_connections++;
	} else {
		free(c);
	}
	if (--server->n_owned == 0 && server->freed)
		delete_server(server);
}
