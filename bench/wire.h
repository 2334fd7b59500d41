/*
 * wire.h - the little of sockets and HTTP that the benchmarks' peers share
 *
 * Blocking sockets and nothing clever, so that what is measured is the other
 * side. Every failure ends the program: a benchmark has nothing to save.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/check.h"
#include "common/http1.h"

#define WIRE_PIECE 262144u /* of one recv or send, bytes */

/* Say why on standard error and end with status 1. */
_Noreturn static inline void PRINTF_LIKE(1, 2) die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* A socket option of type int; the kernel refuses none that are used here. */
static inline void wire_set(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
		die("setsockopt: %s", strerror(errno));
}

/* Parse "127.0.0.1:7001"; names are not looked up. */
static inline struct sockaddr_in wire_address(const char *text)
{
	struct address address;
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct err err = ERR_INIT;

	if (address_parse_peer(span_of(text), &address, &err) < 0)
		die("%s", err.text);
	in.sin_port = htons(address.port);
	if (inet_pton(AF_INET, address.host, &in.sin_addr) != 1)
		die("%s: not an IPv4 address", address.host);
	return in;
}

/* A connection; `send_buffer` bytes in the kernel, 0 = the system's choice. */
static inline int wire_connect(const char *peer, int send_buffer)
{
	struct sockaddr_in in = wire_address(peer);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket: %s", strerror(errno));
	if (send_buffer > 0)
		wire_set(fd, SOL_SOCKET, SO_SNDBUF, send_buffer);
	if (connect(fd, (const struct sockaddr *)&in, sizeof(in)) < 0)
		die("connect to %s: %s", peer, strerror(errno));
	wire_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	return fd;
}

/* Send all of it; false when the peer has gone. */
static inline bool wire_send(int fd, const char *ptr, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, ptr, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		ptr += n;
		len -= (size_t)n;
	}
	return true;
}

/* At least one byte, at most `room`; 0 at the end of the connection. */
static inline size_t wire_recv(int fd, char *ptr, size_t room)
{
	ssize_t n;

	do
		n = recv(fd, ptr, room, 0);
	while (n < 0 && errno == EINTR);
	return n > 0 ? (size_t)n : 0;
}

/* An answer with a Content-Length, as all servers measured here give it. */
struct wire_answer {
	int status; /* 0: the connection ended before it */
	bool keep_alive;
	char text[65536]; /* head and body, NUL-terminated */
};

/* The rest of a body whose first bytes lie behind the head in text. */
static inline bool wire_recv_body(int fd, struct wire_answer *answer,
				  size_t have, size_t want)
{
	while (have < want) {
		size_t n = wire_recv(fd, answer->text + have, want - have);

		if (n == 0)
			return false;
		have += n;
	}
	answer->text[want] = '\0';
	return true;
}

/* The next final answer; interim ones (1xx) are passed over. */
static inline void wire_recv_answer(int fd, struct wire_answer *answer)
{
	struct http1_head head;
	struct err err = ERR_INIT;
	enum http1_result result = HTTP1_MORE;
	size_t len = 0;

	answer->status = 0;
	http1_head_init(&head);
	while (result == HTTP1_MORE) {
		size_t n = wire_recv(fd, answer->text + len,
				     sizeof(answer->text) - 1 - len);

		if (n == 0)
			return;
		len += n;
		result = http1_parse_response(&head, answer->text, len, false,
					      &err);
		while (result == HTTP1_DONE && head.status < 200) {
			len -= head.size;
			memmove(answer->text, answer->text + head.size, len);
			http1_head_init(&head);
			result = http1_parse_response(&head, answer->text, len,
						      false, &err);
		}
	}
	if (result == HTTP1_BAD || head.framing == HTTP1_CHUNKED ||
	    head.size + head.length >= sizeof(answer->text))
		die("an answer that is not understood: %s", err.text);
	if (!wire_recv_body(fd, answer, len, head.size + (size_t)head.length))
		return;
	answer->status = head.status;
	answer->keep_alive = head.keep_alive;
}

#endif
