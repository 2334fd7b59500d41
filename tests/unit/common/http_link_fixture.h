/*
 * http_link_fixture.h - an owner of a link, for the tests of links
 *
 * Its helpers run the loop until what they wait for is there; the test's time
 * limit ends them when it never comes.
 */
#ifndef TESTS_HTTP_LINK_FIXTURE_H
#define TESTS_HTTP_LINK_FIXTURE_H

#include "http_client_fixture.h"

#include <malloc.h>

/* ---- an owner of a link ------------------------------------------------- */

struct owner {
	struct http_link *link;
	bool opened;   /* on_open has come, well or ill */
	bool is_ready; /* on_ready has come since it was set false */
	unsigned int ready;
	struct err err;
	bool close_on_open;
	bool close_on_ready;
};

static inline void on_open(void *arg, const struct err *err)
{
	struct owner *owner = arg;

	owner->opened = true;
	if (err)
		owner->err = *err;
	if (owner->close_on_open)
		link_close(&owner->link);
}

static inline void on_ready(void *arg, unsigned int ready)
{
	struct owner *owner = arg;

	ck_assert(owner->opened);
	owner->is_ready = true;
	owner->ready |= ready;
	if (owner->close_on_ready)
		link_close(&owner->link);
}

static const struct http_link_ops ops = {on_open, on_ready};

static inline void dial(struct owner *owner, struct http_origin *origin,
			uint64_t timeout_ms)
{
	owner->link = link_open(origin, timeout_ms, &ops, owner);
	ck_assert_ptr_nonnull(owner->link);
	ck_assert(!owner->opened);
}

/* Open and wait for it; the test fails when it does. */
static inline void get_link(struct owner *owner, struct http_origin *origin)
{
	*owner = (struct owner){.link = NULL};
	dial(owner, origin, 3000);
	run_until(&owner->opened);
	ck_assert_msg(!err_is_set(&owner->err), "%s", owner->err.text);
}

/* Open and wait for it to fail. */
static inline void get_failure(struct owner *owner, struct http_origin *origin,
			       uint64_t timeout_ms)
{
	*owner = (struct owner){.link = NULL};
	dial(owner, origin, timeout_ms);
	run_until(&owner->opened);
	ck_assert_int_eq(owner->err.code, ERR_TARGET);
}

static inline void send_all(struct owner *owner, const char *bytes, size_t len)
{
	struct err err = ERR_INIT;

	while (len > 0) {
		ssize_t n;

		owner->is_ready = false;
		n = link_send(owner->link, span_make(bytes, len), &err);
		ck_assert_msg(n >= 0, "%s", err.text);
		if (n == 0)
			run_until(&owner->is_ready);
		bytes += n;
		len -= (size_t)n;
	}
}

static inline void say(struct owner *owner, const char *text)
{
	send_all(owner, text, strlen(text));
}

/* What link_recv says once it does not block: bytes, -1 or LINK_EOF. */
static inline ssize_t receive(struct owner *owner, char *buf, size_t room,
			      struct err *err)
{
	ssize_t n;

	for (;;) {
		owner->is_ready = false;
		n = link_recv(owner->link, buf, room, err);
		if (n != 0)
			return n;
		run_until(&owner->is_ready);
	}
}

static inline void expect(struct owner *owner, const char *text)
{
	size_t len = 0, want = strlen(text);
	char buf[8192] = "";

	while (len < want) {
		struct err err = ERR_INIT;
		ssize_t n = receive(owner, buf + len, want - len, &err);

		ck_assert_msg(n > 0, "%s after \"%s\"", err.text, buf);
		len += (size_t)n;
	}
	ck_assert_str_eq(buf, text);
}

static inline void echo(int fd, unsigned int nth)
{
	char buf[4096];
	ssize_t n;

	(void)nth;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (write(fd, buf, (size_t)n) != n)
			return;
}

static inline void drain(int fd, unsigned int nth)
{
	(void)nth;
	peer_drain(fd);
}

/* ---- many --------------------------------------------------------------- */

#define MANY 300

static inline void open_many(struct owner *owners, struct http_origin *origin)
{
	memset(owners, 0, MANY * sizeof(*owners));
	for (int i = 0; i < MANY; i++)
		dial(&owners[i], origin, 5000);
	for (int i = 0; i < MANY; i++) {
		run_until(&owners[i].opened);
		ck_assert_msg(!err_is_set(&owners[i].err), "%s",
			      owners[i].err.text);
	}
}

static inline void close_many(struct owner *owners)
{
	for (int i = 0; i < MANY; i++)
		link_close(&owners[i].link);
}

/* Bytes of heap for each of many open links; 0 below a sanitizer's malloc. */
static inline size_t heap_per_link(struct owner *owners,
				   struct http_origin *origin)
{
	size_t before, after;

	open_many(owners, origin); /* tables grow once */
	close_many(owners);
	run_for(1);
	before = mallinfo2().uordblks;
	open_many(owners, origin);
	run_for(1);
	after = mallinfo2().uordblks;
	return after > before ? (after - before) / MANY : 0;
}

#endif
