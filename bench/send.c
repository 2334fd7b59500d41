/*
 * send.c - the client of the benchmarks: uploads from a constant buffer
 *
 *   send [-p PATH] [-s BYTES] [-n COUNT] [-c CONNECTIONS] [-C] HOST:PORT
 *
 * COUNT uploads of BYTES each with PUT, shared by CONNECTIONS threads with a
 * kept connection each; blocking sends, one upload at a time a connection.
 * {uuid} in PATH becomes a new identifier each time; -C sends chunks of 256 KiB
 * instead of a Content-Length. Ends with status 1 unless every answer was a
 * 2xx. Prints one line of JSON: what was sent, in which time, and the latency
 * of an upload (first byte sent to last byte of the answer) in microseconds.
 */
#include "bench/wire.h"

#include <pthread.h>
#include <stdatomic.h>

#include "common/clock.h"
#include "common/uuid.h"

struct plan {
	const char *peer;
	const char *path;
	uint64_t size;
	size_t count;
	size_t connections;
	bool is_chunked;
};

struct run {
	struct plan plan;
	atomic_size_t next; /* the next upload to be made */
	atomic_size_t n_bad;
	uint64_t *latency_us; /* of each upload; 0: failed */
	const char *bytes;    /* WIRE_PIECE of them */
};

struct sender {
	const struct plan *plan;
	const char *bytes;
	int fd; /* -1: not connected */
	struct wire_answer answer;
};

/* ---- one upload ------------------------------------------------------------
 */

static size_t make_head(const struct plan *plan, char *buf, size_t size)
{
	const char *place = strstr(plan->path, "{uuid}");
	size_t before =
		place ? (size_t)(place - plan->path) : strlen(plan->path);
	char id[UUID_TEXT_SIZE] = "",
	     framing[64] = "Transfer-Encoding: chunked";
	int len;

	if (place)
		uuid_v7(clock_wall_ms(), id);
	if (!plan->is_chunked)
		snprintf(framing, sizeof(framing), "Content-Length: %llu",
			 (unsigned long long)plan->size);
	len = snprintf(buf, size,
		       "PUT %.*s%s%s HTTP/1.1\r\nHost: localhost\r\n"
		       "%s\r\n\r\n",
		       (int)before, plan->path, id, place ? place + 6 : "",
		       framing);
	if (len < 0 || (size_t)len >= size)
		die("the path is too long");
	return (size_t)len;
}

/* A small object goes out together with its head, in one segment. */
static bool send_small(struct sender *sender, const char *head, size_t len)
{
	struct iovec iov[2] = {
		{(void *)(uintptr_t)head, len},
		{(void *)(uintptr_t)sender->bytes, (size_t)sender->plan->size},
	};
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t n = sendmsg(sender->fd, &message, MSG_NOSIGNAL);

	return n == (ssize_t)(len + iov[1].iov_len);
}

static bool send_piece(struct sender *sender, size_t n)
{
	char header[HTTP1_CHUNK_HEADER_SIZE];

	if (!sender->plan->is_chunked)
		return wire_send(sender->fd, sender->bytes, n);
	return wire_send(sender->fd, header, http1_chunk_header(n, header)) &&
	       wire_send(sender->fd, sender->bytes, n) &&
	       wire_send(sender->fd, "\r\n", 2);
}

static bool send_body(struct sender *sender)
{
	uint64_t left = sender->plan->size;

	while (left > 0) {
		size_t n = left < WIRE_PIECE ? (size_t)left : WIRE_PIECE;

		if (!send_piece(sender, n))
			return false;
		left -= n;
	}
	return !sender->plan->is_chunked ||
	       wire_send(sender->fd, HTTP1_LAST_CHUNK,
			 sizeof(HTTP1_LAST_CHUNK) - 1);
}

static bool send_request(struct sender *sender)
{
	char head[1024];
	size_t len = make_head(sender->plan, head, sizeof(head));

	if (sender->plan->size <= 16384 && !sender->plan->is_chunked)
		return send_small(sender, head, len);
	return wire_send(sender->fd, head, len) && send_body(sender);
}

static void disconnect(struct sender *sender)
{
	if (sender->fd >= 0)
		close(sender->fd);
	sender->fd = -1;
}

/* True when it was answered with a 2xx. */
static bool upload(struct sender *sender)
{
	int status;

	if (sender->fd < 0)
		sender->fd = wire_connect(sender->plan->peer, 0);
	/* A refusal may come before the end of the body. */
	(void)send_request(sender);
	wire_recv_answer(sender->fd, &sender->answer);
	status = sender->answer.status;
	if (status == 0 || !sender->answer.keep_alive)
		disconnect(sender);
	if (status / 100 != 2)
		fprintf(stderr, "send: answered %d: %.2000s\n", status,
			status ? sender->answer.text : "");
	return status / 100 == 2;
}

/* ---- all of them
 * --------------------------------------------------------------- */

static void *work(void *arg)
{
	struct run *run = arg;
	struct sender *sender = calloc(1, sizeof(*sender));
	size_t i;

	if (!sender)
		die("out of memory");
	sender->plan = &run->plan;
	sender->bytes = run->bytes;
	sender->fd = -1;
	while ((i = atomic_fetch_add(&run->next, 1)) < run->plan.count) {
		uint64_t started = clock_monotonic_us();

		if (upload(sender))
			run->latency_us[i] = clock_monotonic_us() - started;
		else
			atomic_fetch_add(&run->n_bad, 1);
	}
	disconnect(sender);
	free(sender);
	return NULL;
}

static void run_all(struct run *run)
{
	size_t n = run->plan.connections;
	pthread_t *threads = calloc(n, sizeof(*threads));

	if (!threads)
		die("out of memory");
	for (size_t i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, work, run) != 0)
			die("cannot start a thread");
	for (size_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	free(threads);
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static unsigned long long percentile(const struct run *run, unsigned int part)
{
	return run->latency_us[(run->plan.count - 1) * part / 100];
}

static void print_result(struct run *run, uint64_t us)
{
	double s = (double)us / 1e6;
	size_t n = run->plan.count;

	qsort(run->latency_us, n, sizeof(*run->latency_us), compare);
	printf("{\"uploads\": %zu, \"bad\": %zu, \"bytes\": %llu, "
	       "\"seconds\": %.6f, \"uploads_a_second\": %.1f, "
	       "\"p50_us\": %llu, \"p99_us\": %llu, \"max_us\": %llu}\n",
	       n, atomic_load(&run->n_bad),
	       (unsigned long long)(run->plan.size * n), s, (double)n / s,
	       percentile(run, 50), percentile(run, 99), percentile(run, 100));
}

static uint64_t number(const char *text)
{
	uint64_t value;

	if (!http1_parse_u64(span_of(text), &value) || value == 0)
		die("send: not a number above 0: %s", text);
	return value;
}

static struct plan parse_arguments(int argc, char **argv)
{
	struct plan plan = {.path = "/broadcast/bench",
			    .size = 1 << 20,
			    .count = 1,
			    .connections = 1};
	int option;

	while ((option = getopt(argc, argv, "p:s:n:c:C")) != -1) {
		if (option == 'p')
			plan.path = optarg;
		else if (option == 's')
			plan.size = number(optarg);
		else if (option == 'n')
			plan.count = (size_t)number(optarg);
		else if (option == 'c')
			plan.connections = (size_t)number(optarg);
		else if (option == 'C')
			plan.is_chunked = true;
		else
			exit(2);
	}
	if (argc - optind != 1)
		die("usage: send [-p PATH] [-s BYTES] [-n COUNT] "
		    "[-c CONNECTIONS] [-C] HOST:PORT");
	plan.peer = argv[optind];
	return plan;
}

int main(int argc, char **argv)
{
	static char bytes[WIRE_PIECE];
	struct run run = {.plan = parse_arguments(argc, argv), .bytes = bytes};
	uint64_t started;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 2654435761u >> 13);
	run.latency_us = calloc(run.plan.count, sizeof(*run.latency_us));
	if (!run.latency_us)
		die("out of memory");
	started = clock_monotonic_us();
	run_all(&run);
	print_result(&run, clock_monotonic_us() - started);
	free(run.latency_us);
	return atomic_load(&run.n_bad) > 0;
}
