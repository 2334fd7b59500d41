/*
 * store_fixture.h - a loop, worker threads and one store for a test
 *
 * Calls wait for their end and return its error code; the sentence is in
 * `last`. Functions of a header, for tests are one file each.
 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include "common/clock.h"
#include "reader/pg_conninfo.h"
#include "reader/settings.h"
#include "reader/sink.h"
#include "tests/unit/reader/s3_fixture.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static struct loop *loop;
static struct workers *workers;
static struct store *store;
static struct reader_settings settings;
static char scratch[64];
static struct err last;
static bool ended;
static unsigned int turns;	/* of the loop, in all */

UNUSED static int remove_path(const char *path, const struct stat *st, int kind,
			      struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

UNUSED static void make_loop(void)
{
	struct err err = ERR_INIT;

	loop = loop_new(&err);
	workers = workers_new(2, &err);
	ck_assert(loop && workers);
	snprintf(scratch, sizeof(scratch), "%s/store-test-XXXXXX",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(scratch));
	settings = (struct reader_settings){
		.exec_timeout_ms = 5000,
		.db_connections = 4,
		.db_connect_timeout_ms = 10000,
		.db_timeout_ms = 10000,
		.db_slice_bytes = 1000000,
	};
	snprintf(settings.file_dir, sizeof(settings.file_dir), "%s/root",
		 scratch);
	snprintf(settings.exec_command, sizeof(settings.exec_command),
		 "cat >/dev/null");
}

/* Now; a test that ends by a signal comes to no drop_loop(). */
UNUSED static void drop_scratch(void)
{
	nftw(scratch, remove_path, 8, FTW_DEPTH | FTW_PHYS);
}

UNUSED static void drop_loop(void)
{
	store_close(&store);
	ck_assert_ptr_null(store);
	workers_free(&workers);
	loop_free(&loop);
	drop_scratch();
}

/* ---- kinds that need a server -------------------------------------------- */

UNUSED static void copy_setting(char *setting, size_t size, const char *name)
{
	snprintf(setting, size, "%s", getenv(name) ? getenv(name) : "");
}

/* The server that scripts/unit.sh started. */
UNUSED static void use_database(void)
{
	ck_assert_msg(getenv("TEST_DB_HOST") != NULL,
		      "TEST_DB_HOST is not set: run the tests by `make unit`");
	copy_setting(settings.db_host, sizeof(settings.db_host),
		     "TEST_DB_HOST");
	copy_setting(settings.db_port, sizeof(settings.db_port),
		     "TEST_DB_PORT");
	copy_setting(settings.db_name, sizeof(settings.db_name),
		     "TEST_DB_NAME");
	copy_setting(settings.db_user, sizeof(settings.db_user),
		     "TEST_DB_USER");
	copy_setting(settings.db_password, sizeof(settings.db_password),
		     "TEST_DB_PASSWORD");
}

/* Statements in a connection of the test's own; the first value, or "". */
UNUSED static const char *query_database(const char *sql)
{
	static char value[200];
	struct pg_addresses addresses;
	struct pg_conninfo info;
	PGconn *conn;
	PGresult *result;

	use_database();
	ck_assert_int_eq(pg_resolve(&settings, &addresses, &last), 0);
	pg_conninfo_init(&info, &settings, &addresses);
	conn = PQconnectdbParams(info.keywords, info.values, 0);
	ck_assert_msg(PQstatus(conn) == CONNECTION_OK, "%s",
		      PQerrorMessage(conn));
	result = PQexec(conn, sql);
	ck_assert_msg(PQresultStatus(result) == PGRES_TUPLES_OK ||
		      PQresultStatus(result) == PGRES_COMMAND_OK, "%s",
		      PQerrorMessage(conn));
	snprintf(value, sizeof(value), "%s",
		 PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	PQfinish(conn);
	return value;
}

static bool is_database_clean;	/* of what tests before left */

/* Once a test: its store begins empty. */
UNUSED static void clean_database(void)
{
	if (!is_database_clean)
		query_database("DROP SCHEMA IF EXISTS stream_broadcast CASCADE");
	is_database_clean = true;
}

/* A kind whose server scripts/unit.sh has not started is left out. */
UNUSED static bool store_kind_is_there(const char *kind)
{
	return strcmp(kind, "s3") != 0 || getenv("TEST_S3_ENDPOINT");
}

/* Does this kind keep content that can be read back? */
UNUSED static bool store_kind_keeps(const char *kind)
{
	return strcmp(kind, "file") == 0 || strcmp(kind, "postgres") == 0 ||
	       strcmp(kind, "s3") == 0;
}

UNUSED static enum err_code open_store(const char *kind)
{
	if (strcmp(kind, "postgres") == 0)
		clean_database();
	if (strcmp(kind, "s3") == 0)
		s3_use_bucket(&settings);
	last = ERR_INIT;
	store = store_open(kind, &settings, workers, &last);
	ck_assert_int_eq(store == NULL, err_is_set(&last));
	return last.code;
}

UNUSED static void reopen_store(void)
{
	char kind[16];

	snprintf(kind, sizeof(kind), "%s", store_kind(store));
	store_close(&store);
	ck_assert_msg(open_store(kind) == ERR_NONE, "%s", last.text);
}

/* ---- every kind ---------------------------------------------------------- */

UNUSED static bool is_kept; /* does this kind keep content? */
UNUSED static const char *kinds[16];	/* that can be tested here */

/* One that needs a server which is not there is left out, and said to be. */
UNUSED static int count_kinds(void)
{
	static int n;

	if (n > 0)
		return n;
	for (int i = 0; store_kinds[i]; i++) {
		if (store_kind_is_there(store_kinds[i]))
			kinds[n++] = store_kinds[i];
		else
			printf("skipped: %s, which needs a server\n",
			       store_kinds[i]);
	}
	return n;
}

/* Open a store of the kind-th kind. */
UNUSED static void use(int kind)
{
	ck_assert_msg(open_store(kinds[kind]) == ERR_NONE, "%s", last.text);
	is_kept = store_kind_keeps(kinds[kind]);
}

/* ---- one call ------------------------------------------------------------ */

UNUSED static void on_ended(void *arg, const struct err *err)
{
	/* CHECK, for a program that is no test calls this too. */
	CHECK(arg == &last);
	CHECK(!ended);
	CHECK(!err || err_is_set(err));
	last = err ? *err : ERR_INIT;
	ended = true;
}

UNUSED static enum err_code wait_end(void)
{
	for (; !ended; turns++)
		loop_run_once(loop);
	return last.code;
}

UNUSED static void on_nap(void *arg)
{
	*(bool *)arg = true;
}

/* Turns of the loop, until its clock has gone on a little. */
UNUSED static void nap(void)
{
	struct timer timer = { .ready = false };
	bool over = false;

	timer_init(&timer, loop, on_nap, &over);
	timer_start(&timer, 5);
	while (!over)
		loop_run_once(loop);
}

/* CALL(sink_stage, sink) */
#define CALL(f, ...) (ended = false, f(__VA_ARGS__, loop, on_ended, &last), \
		      wait_end())

UNUSED static struct object make_object(unsigned int number)
{
	struct object object = { .size = OBJECT_SIZE_UNKNOWN };

	snprintf(object.id, sizeof(object.id),
		 "0189%04x-0000-7000-8000-%012x", number / 16 & 0xffff, number);
	snprintf(object.name, sizeof(object.name), "Object %u", number);
	snprintf(object.content_type, sizeof(object.content_type),
		 "text/plain");
	return object;
}

UNUSED static struct sink *open_object(const struct object *object)
{
	struct sink *sink;

	ended = false;
	sink = sink_open(store, object, loop, on_ended, &last);
	CHECK(sink);
	wait_end();
	return sink;
}

UNUSED static struct sink *open_sink(unsigned int number)
{
	struct object object = make_object(number);
	struct sink *sink = open_object(&object);

	ck_assert_msg(last.code == ERR_NONE, "%s", last.text);
	return sink;
}

UNUSED static enum err_code write_bytes(struct sink *sink, const char *bytes,
					size_t len)
{
	ended = false;
	sink_write(sink, loop, span_make(bytes, len), on_ended, &last);
	return wait_end();
}

UNUSED static enum err_code write_text(struct sink *sink, const char *text)
{
	return write_bytes(sink, text, strlen(text));
}

#define MUST(call) ck_assert_msg((call) == ERR_NONE, "%s", last.text)

/* A committed object without content. */
UNUSED static void store_empty(const struct object *object)
{
	struct sink *sink = open_object(object);

	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
}

/* A committed object of this content. */
UNUSED static void store_text(unsigned int number, const char *text)
{
	struct sink *sink = open_sink(number);

	if (text[0])
		MUST(write_text(sink, text));
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
}

static struct store_lookup lookup;
static struct store_list list;
static enum store_sort list_sort;

UNUSED static enum err_code find_id(const char *id, bool want_bytes)
{
	lookup = (struct store_lookup){ .want_bytes = want_bytes };
	snprintf(lookup.id, sizeof(lookup.id), "%s", id);
	ended = false;
	store_find(store, &lookup, loop, on_ended, &last);
	return wait_end();
}

UNUSED static enum err_code find(unsigned int number, bool want_bytes)
{
	return find_id(make_object(number).id, want_bytes);
}

UNUSED static enum err_code delete_object(unsigned int number)
{
	lookup = (struct store_lookup){ .want_bytes = false };
	snprintf(lookup.id, sizeof(lookup.id), "%s", make_object(number).id);
	ended = false;
	store_delete(store, &lookup, loop, on_ended, &last);
	return wait_end();
}

/* A page into `list`; the rows of the page before are freed. */
UNUSED static enum err_code list_page(const char *query, const char *after,
				      size_t limit)
{
	free(list.rows);
	free(list.scores);
	list = (struct store_list){ .limit = limit, .sort = list_sort };
	snprintf(list.query, sizeof(list.query), "%s", query);
	snprintf(list.after, sizeof(list.after), "%s", after);
	ended = false;
	store_list(store, &list, loop, on_ended, &last);
	return wait_end();
}

UNUSED static void free_list(void)
{
	free(list.rows);
	free(list.scores);
	list.rows = NULL;
	list.scores = NULL;
}

/* ---- content ------------------------------------------------------------- */

/* Byte `i` of a content that no shift of it equals. */
UNUSED static char content_byte(size_t i)
{
	return (char)((i * 2654435761u) >> 13);
}

UNUSED static char *make_content(size_t len)
{
	char *content = malloc(len + 1);

	for (size_t i = 0; i < len; i++)
		content[i] = content_byte(i);
	return content;
}

UNUSED static void hash(const char *bytes, size_t len,
			char hex[DIGEST_HEX_SIZE])
{
	struct digest *digest = digest_new();

	digest_update(digest, bytes, len);
	digest_hex(digest, hex);
	digest_free(&digest);
}

/* What `lookup` found has this content, from a file or from a source. */
UNUSED static void expect_bytes(const char *bytes, size_t len)
{
	char *there = malloc(len + 1);
	struct source *source;
	const struct span *pieces;
	size_t n_pieces, n = 0;

	if (lookup.fd >= 0) {
		n = (size_t)read(lookup.fd, there, len + 1);
		close(lookup.fd);
	} else {
		source = source_open(&lookup, 0, lookup.object.size, loop);
		do {
			ended = false;
			source_next(source, on_ended, &last);
			MUST(wait_end());
			pieces = source_pieces(source, &n_pieces);
			for (size_t i = 0; i < n_pieces; i++) {
				ck_assert_uint_le(n + pieces[i].len, len);
				memcpy(there + n, pieces[i].ptr, pieces[i].len);
				n += pieces[i].len;
			}
		} while (n_pieces > 0);
		source_close(&source);
	}
	ck_assert_uint_eq(n, len);
	ck_assert_mem_eq(there, bytes, len);
	free(there);
}

/* Entries of a directory below the scratch directory, without dots. */
UNUSED static size_t count_entries(const char *path)
{
	char full[256];
	struct dirent *entry;
	size_t n = 0;
	DIR *dir;

	snprintf(full, sizeof(full), "%s/%s", scratch, path);
	dir = opendir(full);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* The database removes in the background what nobody can see any more. */
UNUSED static void expect_database_tidy(void)
{
	static const char sql[] =
		"SELECT (SELECT count(*) FROM object WHERE state <> 3) || ' ' "
		"|| (SELECT count(*) FROM chunk WHERE object NOT IN (SELECT key "
		"FROM object))";
	uint64_t end = clock_monotonic_ms() + 10000;

	while (strcmp(query_database(sql), "0 0") != 0 &&
	       clock_monotonic_ms() < end)
		nap();
	ck_assert_str_eq(query_database(sql), "0 0");
}

/* No object is on its way, and none has left anything. */
UNUSED static void expect_nothing_staged(void)
{
	if (strcmp(store_kind(store), "file") == 0)
		ck_assert_uint_eq(count_entries("root/staging"), 0);
	if (strcmp(store_kind(store), "postgres") == 0)
		expect_database_tidy();
	if (strcmp(store_kind(store), "s3") == 0)
		ck_assert_str_eq(s3_leftovers(&settings, workers), "");
}

UNUSED static size_t count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

#endif
