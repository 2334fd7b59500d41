/*
 * store_fixture.h - a loop, worker threads and one store for a test
 *
 * Calls wait for their end and return its error code; the sentence is in
 * `last`. Functions of a header, for tests are one file each.
 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include "reader/settings.h"
#include "reader/sink.h"

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
	snprintf(scratch, sizeof(scratch), "/tmp/store-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(scratch));
	settings = (struct reader_settings){ .exec_timeout_ms = 5000 };
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

UNUSED static enum err_code open_store(const char *kind)
{
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

/* Open a store of the kind-th kind. */
UNUSED static void use(int kind)
{
	ck_assert_msg(open_store(store_kinds[kind]) == ERR_NONE, "%s",
		      last.text);
	is_kept = strcmp(store_kinds[kind], "file") == 0;
}

UNUSED static int count_kinds(void)
{
	int n = 0;

	while (store_kinds[n])
		n++;
	return n;
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
	list = (struct store_list){ .limit = limit };
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
