/*
 * What an answer's bytes go through: straight to the socket, or kept in one
 * malloc'ed piece until the socket takes it. And the write clock.
 */
#include "common/http_server_impl.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

bool connection_has_output(const struct http_connection *c)
{
	return c->out != NULL;
}

static void drop_output(struct http_connection *c)
{
	free(c->out);
	c->out = NULL;
	c->out_len = c->out_sent = 0;
	c->out_deadline = 0;
}

static void set_broken(struct http_connection *c)
{
	drop_output(c);
	c->broken = true;
	connection_schedule(c);
}

void connection_check_peer(struct http_connection *c)
{
	int errnum = 0;
	socklen_t len = sizeof(errnum);

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &errnum, &len);
	if (errnum)
		set_broken(c);
}

/* Bytes that the client's system has confirmed. */
static uint64_t acknowledged(const struct http_connection *c)
{
	int queued = 0;

	if (ioctl(c->fd, SIOCOUTQ, &queued) < 0 || queued < 0)
		queued = 0;
	return c->out_total > (uint64_t)queued ?
		       c->out_total - (uint64_t)queued : 0;
}

void connection_await_writable(struct http_connection *c)
{
	const struct http_server_settings *settings = &c->server->settings;

	if (c->out_deadline)
		return;
	c->out_mark = acknowledged(c);
	c->out_deadline = connection_in_ms(c, settings->write_timeout_ms);
	connection_arm(c);
}

/*
 * Who does not read would keep the unsent rest in the kernel for minutes: close
 * with a reset, which throws it away.
 */
static void reset_on_close(int fd)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

/*
 * A client that takes a little now and then is as bad as one that takes
 * nothing: each period must bring min_rate, counted by what was acknowledged,
 * because the socket says "writable" only in large steps.
 */
void connection_check_output(struct http_connection *c)
{
	const struct http_server_settings *settings = &c->server->settings;
	uint64_t need = settings->min_rate * settings->write_timeout_ms / 1000;

	c->out_deadline = 0;
	if (acknowledged(c) - c->out_mark >= (need ? need : 1)) {
		connection_await_writable(c);
		return;
	}
	reset_on_close(c->fd);
	connection_close(c, "took its answer too slowly");
}

/* Take `n` bytes off the front; returns how many vectors are left. */
static int skip_bytes(struct iovec **iov, int n_iov, size_t n)
{
	while (n_iov > 0 && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		n_iov--;
	}
	if (n_iov > 0) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
	return n_iov;
}

/* Send until "would block"; returns how many vectors are left, -1 broken. */
static int send_now(struct http_connection *c, struct iovec **iov, int n_iov,
		    int flags)
{
	struct msghdr msg = { 0 };
	ssize_t n;

	n_iov = skip_bytes(iov, n_iov, 0);
	while (n_iov > 0) {
		msg.msg_iov = *iov;
		msg.msg_iovlen = (size_t)n_iov;
		n = sendmsg(c->fd, &msg, flags | MSG_NOSIGNAL);
		if (n >= 0) {
			c->out_total += (uint64_t)n;
			n_iov = skip_bytes(iov, n_iov, (size_t)n);
		} else if (http_would_block(errno)) {
			c->writable = false;
			break;
		} else if (errno != EINTR) {
			return -1;
		}
	}
	return n_iov;
}

/* Keep a copy behind what is kept already; false when out of memory. */
static bool keep_output(struct http_connection *c, const struct iovec *iov,
			int n_iov)
{
	size_t kept = c->out_len - c->out_sent, len = kept;
	char *out;

	for (int i = 0; i < n_iov; i++)
		len += iov[i].iov_len;
	out = malloc(len);
	if (!out)
		return false;
	if (kept)
		memcpy(out, c->out + c->out_sent, kept);
	len = kept;
	for (int i = 0; i < n_iov; i++) {
		memcpy(out + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	free(c->out);
	c->out = out;
	c->out_len = len;
	c->out_sent = 0;
	return true;
}

void connection_send(struct http_connection *c, struct iovec *iov, int n_iov,
		     bool more)
{
	int left = n_iov;

	if (c->broken)
		return;
	if (!connection_has_output(c))
		left = send_now(c, &iov, n_iov, more ? MSG_MORE : 0);
	if (left == 0)
		return;
	if (left < 0 || !keep_output(c, iov, left))
		set_broken(c);
	else
		connection_await_writable(c);
}

size_t connection_send_some(struct http_connection *c, struct iovec *iov,
			    int n_iov)
{
	uint64_t before = c->out_total;
	int left;

	if (c->broken || connection_has_output(c))
		return 0;
	c->out_deadline = 0;
	left = send_now(c, &iov, n_iov, 0);
	if (left < 0)
		set_broken(c);
	else if (left > 0)
		connection_await_writable(c);
	return (size_t)(c->out_total - before);
}

bool connection_flush(struct http_connection *c)
{
	struct iovec rest, *iov = &rest;
	int left;

	if (!connection_has_output(c))
		return true;
	rest.iov_base = c->out + c->out_sent;
	rest.iov_len = c->out_len - c->out_sent;
	left = send_now(c, &iov, 1, 0);
	if (left > 0) {
		c->out_sent = c->out_len - rest.iov_len;
		return false;
	}
	if (left == 0)
		drop_output(c);
	else
		set_broken(c);
	return true;
}
