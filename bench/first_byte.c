/*
 * How long until the first byte of a range of an object comes, over HTTP from a
 * reader, and how long a SELECT of one of its rows takes, over libpq: both from
 * one blocking client, on one connection, at random places.
 *
 *   first_byte http PORT ID SIZE N      GET /objects/ID, Range of 64 KiB
 *   first_byte sql KEY ROWS N           SELECT data … one row (PGHOST …)
 *
 * Prints the median and the 99th percentile in microseconds.
 */
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RANGE_BYTES 65536u

static void fail(const char *what)
{
	fprintf(stderr, "first_byte: %s\n", what);
	exit(1);
}

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* Places that repeat from run to run. */
static uint64_t random_below(uint64_t limit)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % limit;
}

static int compare(const void *a, const void *b)
{
	double x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

static void print(double *times, size_t n)
{
	qsort(times, n, sizeof(*times), compare);
	printf("%.1f %.1f\n", times[n / 2], times[n * 99 / 100]);
}

/* ---- HTTP ---------------------------------------------------------------- */

static int connect_to(uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		fail("cannot connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* The time until a byte behind the head is there; reads the whole answer. */
static double fetch(int fd, const char *id, uint64_t at)
{
	static char buf[RANGE_BYTES + 8192];
	double began = now_us(), first = 0;
	size_t used = 0, need = 0;
	char *end;
	int n = snprintf(buf, sizeof(buf),
			 "GET /objects/%s HTTP/1.1\r\nHost: x\r\n"
			 "Range: bytes=%llu-%llu\r\n\r\n", id,
			 (unsigned long long)at,
			 (unsigned long long)(at + RANGE_BYTES - 1));

	if (write(fd, buf, (size_t)n) != n)
		fail("cannot send");
	while (need == 0 || used < need) {
		ssize_t got = read(fd, buf + used, sizeof(buf) - 1 - used);

		if (got <= 0)
			fail("the answer broke off");
		used += (size_t)got;
		buf[used] = '\0';
		end = need ? NULL : strstr(buf, "\r\n\r\n");
		if (end && strncmp(buf, "HTTP/1.1 206", 12) != 0)
			fail("no 206");
		if (end && used > (size_t)(end - buf) + 4)
			need = (size_t)(end - buf) + 4 + RANGE_BYTES;
		if (need && first == 0)
			first = now_us() - began;
	}
	return first;
}

static void run_http(char **argv, double *times, size_t n)
{
	int fd = connect_to((uint16_t)strtoul(argv[2], NULL, 10));
	uint64_t size = strtoull(argv[4], NULL, 10);

	for (size_t i = 0; i < n; i++)
		times[i] = fetch(fd, argv[3], random_below(size - RANGE_BYTES));
	close(fd);
}

/* ---- SQL ----------------------------------------------------------------- */

static void run_sql(char **argv, double *times, size_t n)
{
	PGconn *conn = PQconnectdb("");
	uint64_t rows = strtoull(argv[3], NULL, 10);
	const char *params[2] = { argv[2] };
	char seq[24];
	PGresult *result;

	PQclear(PQprepare(conn, "row",
			  "SELECT data FROM stream_broadcast.chunk WHERE object "
			  "= $1::bigint AND seq = $2::integer", 2, NULL));
	params[1] = seq;
	for (size_t i = 0; i < n; i++) {
		double began = now_us();

		snprintf(seq, sizeof(seq), "%llu",
			 (unsigned long long)random_below(rows));
		result = PQexecPrepared(conn, "row", 2, params, NULL, NULL, 1);
		if (PQntuples(result) != 1)
			fail(PQerrorMessage(conn));
		times[i] = now_us() - began;
		PQclear(result);
	}
	PQfinish(conn);
}

int main(int argc, char **argv)
{
	size_t n = argc > 4 ? strtoull(argv[argc - 1], NULL, 10) : 0;
	double *times = calloc(n ? n : 1, sizeof(*times));

	if (argc == 6 && strcmp(argv[1], "http") == 0)
		run_http(argv, times, n);
	else if (argc == 5 && strcmp(argv[1], "sql") == 0)
		run_sql(argv, times, n);
	else
		fail("usage: first_byte http PORT ID SIZE N | sql KEY ROWS N");
	print(times, n);
	free(times);
	return 0;
}
