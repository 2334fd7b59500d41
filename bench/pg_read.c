/*
 * The bare loop that playback from the postgres store is compared with: slices of
 * rows over some connections in turns, each slice one prepared SELECT, counted and
 * forgotten. No HTTP, no client.
 *
 *   pg_read CONNECTIONS ROWS KEY SIZE
 *
 * ROWS: of a slice; KEY and SIZE (bytes): of the object, which has to have that
 * many. The database is libpq's (PGHOST …). Memory that libpq frees is kept: given
 * back to the system and taken again, page by page, it cost this loop a quarter of its
 * rate. Prints megabytes a second.
 */
#include <libpq-fe.h>

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MAX_CONNECTIONS 8u

/* One connection: slices first, first + step, first + 2 step … until one is empty */
struct lane {
	pthread_t thread;
	const char *key;
	unsigned long long first, step, n_rows;
	unsigned long long bytes;
};

static void fail(const char *what, const PGconn *conn)
{
	fprintf(stderr, "pg_read: %s: %s\n", what,
		conn ? PQerrorMessage(conn) : "");
	exit(1);
}

static PGconn *connect_and_prepare(void)
{
	PGconn *conn = PQconnectdb("");
	PGresult *result = PQprepare(
		conn, "slice",
		"SELECT seq, data FROM stream_broadcast.chunk WHERE object = "
		"$1::bigint AND seq >= $2::integer AND seq < $3::integer", 3,
		NULL);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("cannot prepare", conn);
	PQclear(result);
	return conn;
}

static unsigned long long read_slice(PGconn *conn, const struct lane *lane,
				     unsigned long long row)
{
	char from[24], to[24];
	const char *params[] = { lane->key, from, to };
	unsigned long long bytes = 0;
	PGresult *result;

	snprintf(from, sizeof(from), "%llu", row);
	snprintf(to, sizeof(to), "%llu", row + lane->n_rows);
	result = PQexecPrepared(conn, "slice", 3, params, NULL, NULL, 1);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("cannot read", conn);
	for (int i = 0; i < PQntuples(result); i++)
		bytes += (unsigned int)PQgetlength(result, i, 1);
	PQclear(result);
	return bytes;
}

static void *run(void *arg)
{
	struct lane *lane = arg;
	PGconn *conn = connect_and_prepare();
	unsigned long long row = lane->first, n;

	while ((n = read_slice(conn, lane, row)) > 0) {
		lane->bytes += n;
		row += lane->step;
	}
	PQfinish(conn);
	return NULL;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct lane lanes[MAX_CONNECTIONS];
	unsigned long n = argc == 5 ? strtoul(argv[1], NULL, 10) : 0;
	unsigned long long size, n_rows, bytes = 0;
	double began = now();

	if (n < 1 || n > MAX_CONNECTIONS)
		fail("usage: pg_read CONNECTIONS ROWS KEY SIZE", NULL);
	mallopt(M_TRIM_THRESHOLD, 4 << 20);
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	n_rows = strtoull(argv[2], NULL, 10);
	size = strtoull(argv[4], NULL, 10);
	for (unsigned long i = 0; i < n; i++) {
		lanes[i] = (struct lane){
			.key = argv[3], .first = i * n_rows,
			.step = n * n_rows, .n_rows = n_rows };
		if (pthread_create(&lanes[i].thread, NULL, run, &lanes[i]) != 0)
			fail("no thread", NULL);
	}
	for (unsigned long i = 0; i < n; i++) {
		pthread_join(lanes[i].thread, NULL);
		bytes += lanes[i].bytes;
	}
	if (bytes != size)
		fail("the object has another size", NULL);
	printf("%.1f\n", (double)size / 1e6 / (now() - began));
	return 0;
}
