/*
 * The bare loop that the postgres store is compared with: one binary COPY of
 * bytes from memory into a chunk table, one transaction, nothing else.
 *
 *   pg_copy MEGABYTES ROW_BYTES STORAGE KEY MESSAGE_BYTES
 *
 * STORAGE: plain or external; KEY: pk or none; MESSAGE_BYTES: of each CopyData
 * message, which is made once and sent again and again. The database is libpq's
 * (PGHOST …). Prints one line: megabytes a second, bytes on disk for each byte of
 * content, and CPU seconds of this process, user and system.
 */
#include <libpq-fe.h>

#include <endian.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

static void fail(const char *what, PGconn *conn)
{
	fprintf(stderr, "pg_copy: %s: %s\n", what, PQerrorMessage(conn));
	exit(1);
}

static void run(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_COPY_IN)
		fail(sql, conn);
	PQclear(result);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static char *put(char *at, const void *bytes, size_t n)
{
	memcpy(at, bytes, n);
	return at + n;
}

/* One row: object 1, a number, the bytes (PostgreSQL manual, COPY, Binary). */
static char *put_row(char *at, uint32_t seq, size_t row_bytes)
{
	uint16_t n_fields = htobe16(3);
	uint32_t eight = htobe32(8), four = htobe32(4);
	uint32_t len = htobe32((uint32_t)row_bytes), number = htobe32(seq);
	uint64_t object = htobe64(1);

	at = put(at, &n_fields, sizeof(n_fields));
	at = put(at, &eight, sizeof(eight));
	at = put(at, &object, sizeof(object));
	at = put(at, &four, sizeof(four));
	at = put(at, &number, sizeof(number));
	at = put(at, &len, sizeof(len));
	if (getrandom(at, row_bytes < 256 ? row_bytes : 256, 0) < 0)
		exit(1);
	return at + row_bytes;
}

static void number_rows(char *message, size_t n_rows, size_t row_size,
			uint32_t first)
{
	for (size_t i = 0; i < n_rows; i++) {
		uint32_t seq = htobe32(first + (uint32_t)i);

		memcpy(message + i * row_size + 18, &seq, sizeof(seq));
	}
}

static void copy(PGconn *conn, size_t total, size_t row_bytes, size_t message)
{
	static const char header[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0";
	size_t row_size = row_bytes + 26;
	size_t n_rows = message / row_size > 0 ? message / row_size : 1;
	char *rows = malloc(n_rows * row_size);
	uint32_t seq = 0;

	for (size_t i = 0; i < n_rows * row_size; i++)
		rows[i] = (char)((i * 2654435761u) >> 13);
	for (size_t i = 0; i < n_rows; i++)
		put_row(rows + i * row_size, 0, row_bytes);
	run(conn, "COPY bench_chunk FROM STDIN BINARY");
	if (PQputCopyData(conn, header, 19) != 1)
		fail("header", conn);
	for (size_t done = 0; done < total; done += n_rows * row_bytes) {
		number_rows(rows, n_rows, row_size, seq);
		seq += (uint32_t)n_rows;
		if (PQputCopyData(conn, rows, (int)(n_rows * row_size)) != 1)
			fail("rows", conn);
	}
	if (PQputCopyEnd(conn, NULL) != 1)
		fail("end", conn);
	free(rows);
}

static void finish(PGconn *conn)
{
	PGresult *result;

	while ((result = PQgetResult(conn))) {
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			fail("COPY", conn);
		PQclear(result);
	}
}

static void make_table(PGconn *conn, const char *storage, const char *key)
{
	char sql[300];

	run(conn, "DROP TABLE IF EXISTS bench_chunk");
	snprintf(sql, sizeof(sql),
		 "CREATE TABLE bench_chunk (object bigint NOT NULL, seq integer "
		 "NOT NULL, data bytea NOT NULL%s)",
		 strcmp(key, "pk") == 0 ? ", PRIMARY KEY (object, seq)" : "");
	run(conn, sql);
	snprintf(sql, sizeof(sql),
		 "ALTER TABLE bench_chunk ALTER data SET STORAGE %s", storage);
	run(conn, sql);
}

/* Table, TOAST table and indices. */
static double bytes_on_disk(PGconn *conn)
{
	PGresult *result = PQexec(
		conn, "SELECT pg_total_relation_size('bench_chunk')");
	double bytes;

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("size", conn);
	bytes = strtod(PQgetvalue(result, 0, 0), NULL);
	PQclear(result);
	return bytes;
}

int main(int argc, char **argv)
{
	PGconn *conn = PQconnectdb("");
	struct rusage usage;
	size_t total;
	double began;

	if (argc != 6 || PQstatus(conn) != CONNECTION_OK)
		fail("usage: pg_copy MB ROW plain|external pk|none MESSAGE",
		     conn);
	run(conn, "SET client_min_messages = warning");
	make_table(conn, argv[3], argv[4]);
	total = (size_t)strtoull(argv[1], NULL, 10) * 1000000;
	began = now();
	copy(conn, total, (size_t)strtoull(argv[2], NULL, 10),
	     (size_t)strtoull(argv[5], NULL, 10));
	finish(conn);
	began = now() - began;
	getrusage(RUSAGE_SELF, &usage);
	printf("%.1f MB/s space %.3f user %.2f s system %.2f s\n",
	       (double)total / 1e6 / began,
	       bytes_on_disk(conn) / (double)total,
	       (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6,
	       (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6);
	run(conn, "DROP TABLE bench_chunk");
	PQfinish(conn);
	return 0;
}
