/* The store in a directory: its places, its start, and what disks do to it. */
#include "tests/unit/reader/store_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#define ID_1 "01890000-0000-7000-8000-000000000001"
#define OBJECT_1 "root/objects/01890/" ID_1

static void make_store(void)
{
	make_loop();
	MUST(open_store("file"));
}

static void drop_all(void)
{
	drop_loop();
	free(list.rows);
	list.rows = NULL;
}

static char *path_of(const char *path)
{
	static char full[256];

	snprintf(full, sizeof(full), "%s/%s", scratch, path);
	return full;
}

static void make_file(const char *path, const char *text)
{
	FILE *file = fopen(path_of(path), "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	ck_assert_int_eq(stat(path_of(path), &st), 0);
	return st.st_mode & 0777;
}

static bool exists(const char *path)
{
	return access(path_of(path), F_OK) == 0;
}

static enum err_code list_by_size(size_t limit)
{
	free(list.rows);
	list = (struct store_list){ .sort = STORE_BY_SIZE, .limit = limit };
	ended = false;
	store_list(store, &list, loop, on_ended, &last);
	return wait_end();
}

/* ---- the start ----------------------------------------------------------- */

START_TEST(a_missing_directory_is_made)
{
	umask(0);
	store_close(&store);
	drop_scratch();
	ck_assert_int_eq(mkdir(scratch, 0700), 0);
	MUST(open_store("file"));
	ck_assert_uint_eq(mode_of("root"), 0750);
	ck_assert_uint_eq(mode_of("root/staging"), 0750);
	ck_assert_uint_eq(mode_of("root/objects"), 0750);
}
END_TEST

START_TEST(a_missing_parent_is_a_wrong_setting)
{
	store_close(&store);
	snprintf(settings.file_dir, sizeof(settings.file_dir), "%s/no/such",
		 scratch);
	ck_assert_int_eq(open_store("file"), ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(last.text, "READER_FILE_DIR"));
}
END_TEST

START_TEST(a_file_instead_of_the_directory_is_a_wrong_setting)
{
	store_close(&store);
	make_file("file", "");
	snprintf(settings.file_dir, sizeof(settings.file_dir), "%s/file",
		 scratch);
	ck_assert_int_eq(open_store("file"), ERR_CONFIG);
}
END_TEST

START_TEST(two_stores_do_not_share_a_directory)
{
	struct store *first = store;

	ck_assert_int_eq(open_store("file"), ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(last.text, "in use"));
	store = first;
}
END_TEST

START_TEST(a_foreign_staging_is_left_alone)
{
	store_close(&store);
	ck_assert_int_eq(unlink(path_of("root/lock")), 0);
	make_file("root/staging/thesis.tex", "years of work");
	ck_assert_int_eq(open_store("file"), ERR_CONFIG);
	ck_assert(exists("root/staging/thesis.tex"));
	ck_assert(!exists("root/lock"));
}
END_TEST

START_TEST(what_a_killed_process_left_is_removed)
{
	store_text(1, "content");
	ck_assert_int_eq(mkdir(path_of("root/staging/" ID_1), 0700), 0);
	make_file("root/staging/" ID_1 "/data", "half");
	make_file("root/staging/" ID_1 "/meta.json", "{");
	ck_assert_int_eq(mkdir(path_of("root/staging/x.deleted-0"), 0700), 0);
	make_file("root/staging/check-0", "");
	reopen_store();
	ck_assert_uint_eq(count_entries("root/staging"), 0);
	MUST(find(1, false));
}
END_TEST

START_TEST(what_lies_in_staging_is_not_taken_over)
{
	struct object object = make_object(1);
	struct sink *sink;

	ck_assert_int_eq(mkdir(path_of("root/staging/" ID_1), 0700), 0);
	sink = open_object(&object);
	ck_assert_int_eq(last.code, ERR_CONFLICT);
	MUST(CALL(sink_abort, sink));
	ck_assert(exists("root/staging/" ID_1));
}
END_TEST

START_TEST(objects_survive_a_restart)
{
	char text[8] = "";
	uint64_t created_ms;

	store_text(1, "content");
	MUST(find(1, false));
	created_ms = lookup.object.created_ms;
	reopen_store();
	MUST(find(1, true));
	ck_assert_int_eq(read(lookup.fd, text, sizeof(text)), 7);
	ck_assert_str_eq(text, "content");
	ck_assert_uint_eq(lookup.object.created_ms, created_ms);
	close(lookup.fd);
}
END_TEST

/* ---- places -------------------------------------------------------------- */

START_TEST(an_object_is_a_directory_of_two_files)
{
	umask(0);
	store_text(1, "content");
	ck_assert_uint_eq(count_entries(OBJECT_1), 2);
	ck_assert_uint_eq(mode_of(OBJECT_1 "/data"), 0640);
	ck_assert_uint_eq(mode_of(OBJECT_1 "/meta.json"), 0640);
	ck_assert_uint_eq(mode_of(OBJECT_1), 0750);
	ck_assert_uint_eq(count_entries("root/staging"), 0);
}
END_TEST

START_TEST(a_name_is_never_a_path)
{
	static const char *const names[] = { "../../escaped", "/tmp/escaped",
					     "..", ".", "", "a\\b", "con",
					     "\xc0\xae\xc0\xae/escaped" };
	struct object object;
	struct sink *sink;

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		object = make_object(i);
		snprintf(object.name, sizeof(object.name), "%s", names[i]);
		sink = open_object(&object);
		MUST(CALL(sink_stage, sink));
		MUST(CALL(sink_commit, sink));
		sink_close(&sink);
		MUST(find(i, false));
	}
	ck_assert_uint_eq(count_entries("root/objects/01890"), 8);
	ck_assert_uint_eq(count_entries("."), 1);
	ck_assert_uint_eq(count_entries("root"), 3);
}
END_TEST

START_TEST(a_name_that_is_no_utf8_does_not_lose_the_object)
{
	struct object object = make_object(1);
	struct sink *sink;

	memset(object.name, 0xff, sizeof(object.name) - 1);
	sink = open_object(&object);
	MUST(CALL(sink_stage, sink));
	MUST(CALL(sink_commit, sink));
	sink_close(&sink);
	MUST(find(1, false));
}
END_TEST

START_TEST(no_symbolic_link_is_followed)
{
	char shard[256];

	store_text(1, "content");
	snprintf(shard, sizeof(shard), "%s", path_of("root/objects/01890"));
	ck_assert_int_eq(rename(shard, path_of("root/objects/x")), 0);
	ck_assert_int_eq(symlink("x", shard), 0);
	ck_assert_int_eq(find(1, true), ERR_STORE);
	ck_assert_int_eq(lookup.fd, -1);
	ck_assert_int_eq(delete_object(1), ERR_STORE);
	ck_assert(exists("root/objects/x/" ID_1 "/data"));
}
END_TEST

START_TEST(a_symbolic_link_for_data_is_not_followed)
{
	store_text(1, "content");
	ck_assert_int_eq(unlink(path_of(OBJECT_1 "/data")), 0);
	ck_assert_int_eq(symlink("/etc/passwd", path_of(OBJECT_1 "/data")), 0);
	ck_assert_int_eq(find(1, true), ERR_STORE);
	ck_assert_int_eq(lookup.fd, -1);
}
END_TEST

#define ID_2 "01890000-0000-7000-8000-000000000002"
#define OLD "{\"id\":\"" ID_2 "\",\"name\":\"n\",\"content_type\":\"t\"," \
	    "\"size\":0,\"sha256\":\"" ZEROES ZEROES "\","               \
	    "\"created_at\":\"2026-01-31T23:59:59.123Z\""
#define ZEROES "00000000000000000000000000000000"

START_TEST(descriptions_of_before_there_were_details_are_read)
{
	store_text(2, "");
	make_file("root/objects/01890/" ID_2 "/meta.json", OLD "}");
	MUST(find(2, true));
	close(lookup.fd);
	ck_assert_str_eq(lookup.object.name, "n");
	ck_assert_str_eq(lookup.object.details.title, "");
	ck_assert_str_eq(lookup.object.details.metadata, "");
}
END_TEST

START_TEST(details_of_another_kind_are_damage)
{
	static const char *const rests[] = {
		",\"title\":1}", ",\"creator\":null}", ",\"metadata\":\"\"}",
		",\"metadata\":{\"k\":1}}", ",\"title\":\"a\\u0000\"}",
	};
	char text[1024];

	store_text(2, "");
	for (size_t i = 0; i < sizeof(rests) / sizeof(rests[0]); i++) {
		snprintf(text, sizeof(text), "%s%s", OLD, rests[i]);
		make_file("root/objects/01890/" ID_2 "/meta.json", text);
		ck_assert_int_eq(find(2, false), ERR_STORE);
	}
}
END_TEST

/* ---- damage -------------------------------------------------------------- */

START_TEST(a_damaged_description_is_an_error_of_its_object_only)
{
	static const char *const texts[] = {
		"", "{", "[]", "{\"id\":1}",
		"{\"id\":\"01890000-0000-7000-8000-000000000002\",\"name\":\"\","
		"\"content_type\":\"\",\"size\":7,\"sha256\":\"00\","
		"\"created_at\":\"\"}",
	};

	store_text(1, "content");
	store_text(2, "content");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		make_file(OBJECT_1 "/meta.json", texts[i]);
		ck_assert_int_eq(find(1, false), ERR_STORE);
		MUST(list_page("", "", 10));
		ck_assert_uint_eq(list.n_rows, 1);
		MUST(list_by_size(10));
		ck_assert_uint_eq(list.n_rows, 1);
		MUST(find(2, true));
		close(lookup.fd);
	}
}
END_TEST

START_TEST(data_of_another_size_is_damaged)
{
	store_text(1, "content");
	ck_assert_int_eq(truncate(path_of(OBJECT_1 "/data"), 6), 0);
	ck_assert_int_eq(find(1, true), ERR_STORE);
	ck_assert_int_eq(lookup.fd, -1);
	MUST(find(1, false));
}
END_TEST

START_TEST(strangers_in_the_directories_are_not_listed)
{
	store_text(1, "content");
	make_file("root/objects/README", "");
	make_file("root/objects/01890/README", "");
	ck_assert_int_eq(mkdir(path_of("root/objects/notes"), 0700), 0);
	MUST(list_page("", "", 10));
	ck_assert_uint_eq(list.n_rows, 1);
	MUST(list_by_size(10));
	ck_assert_uint_eq(list.n_rows, 1);
}
END_TEST

START_TEST(a_shard_may_be_removed_by_hand_when_empty)
{
	store_text(1, "content");
	MUST(delete_object(1));
	ck_assert_int_eq(rmdir(path_of("root/objects/01890")), 0);
	MUST(list_page("", "", 10));
	store_text(1, "content");
	MUST(find(1, false));
}
END_TEST

/* ---- limits of the system ------------------------------------------------ */

static void limit(__rlimit_resource_t what, rlim_t value)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(what, &limit), 0);
	limit.rlim_cur = value;
	ck_assert_int_eq(setrlimit(what, &limit), 0);
}

START_TEST(a_write_beyond_the_file_size_limit_fails_cleanly)
{
	char *content = make_content(100000);
	struct sink *sink = open_sink(1);

	limit(RLIMIT_FSIZE, 65536);
	ck_assert_int_eq(write_bytes(sink, content, 100000), ERR_STORE);
	ck_assert_int_eq(err_http_status(&last), 507);
	ck_assert(sink_is_failed(sink));
	ck_assert_uint_eq(sink_offset(sink), 0);
	MUST(CALL(sink_abort, sink));
	ck_assert_uint_eq(count_entries("root/staging"), 0);
	store_text(2, "small enough");
	free(content);
}
END_TEST

START_TEST(out_of_descriptors_is_a_limit_that_passes)
{
	struct object object = make_object(1);
	int lowest = dup(STDERR_FILENO);
	struct sink *sink;

	close(lowest);
	limit(RLIMIT_NOFILE, (rlim_t)lowest);
	sink = open_object(&object);
	ck_assert_int_eq(last.code, ERR_LIMIT);
	limit(RLIMIT_NOFILE, 256);
	MUST(CALL(sink_abort, sink));
	ck_assert_uint_eq(count_entries("root/staging"), 0);
	store_text(1, "content");
}
END_TEST

START_TEST(a_waiting_sink_holds_no_descriptor)
{
	size_t before = count_descriptors();
	struct sink *sinks[20];

	for (unsigned int i = 0; i < 20; i++) {
		sinks[i] = open_sink(i);
		MUST(write_text(sinks[i], "content"));
		if (i % 2)
			MUST(CALL(sink_suspend, sinks[i]));
		else
			MUST(CALL(sink_stage, sinks[i]));
	}
	ck_assert_uint_eq(count_descriptors(), before);
	for (unsigned int i = 0; i < 20; i++)
		MUST(CALL(sink_abort, sinks[i]));
	ck_assert_uint_eq(count_descriptors(), before);
}
END_TEST

START_TEST(no_operation_leaks_a_descriptor)
{
	size_t before = count_descriptors();

	for (unsigned int i = 0; i < 10; i++) {
		store_text(i, "content");
		MUST(find(i, true));
		close(lookup.fd);
		MUST(list_page("", "", 3));
		MUST(list_by_size(3));
		MUST(delete_object(i));
		ck_assert_int_eq(find(i, true), ERR_NOT_FOUND);
	}
	ck_assert_uint_eq(count_descriptors(), before);
}
END_TEST

START_TEST(a_directory_that_went_away_is_not_ready)
{
	struct store_probe probe;

	ck_assert_int_eq(rmdir(path_of("root/staging")), 0);
	ended = false;
	store_check(store, &probe, loop, on_ended, &last);
	ck_assert_int_eq(wait_end(), ERR_STORE);
}
END_TEST

START_TEST(data_that_went_away_fails_the_stage)
{
	struct sink *sink = open_sink(1);

	MUST(write_text(sink, "content"));
	ck_assert_int_eq(unlink(path_of("root/staging/" ID_1 "/data")), 0);
	ck_assert_int_eq(rmdir(path_of("root/staging/" ID_1)), 0);
	ck_assert_int_eq(CALL(sink_stage, sink), ERR_STORE);
	MUST(CALL(sink_abort, sink));
	ck_assert_int_eq(find(1, false), ERR_NOT_FOUND);
}
END_TEST

/* ---- long lists ---------------------------------------------------------- */

/* As a commit leaves it, without the syncing that makes thousands slow. */
static void plant(unsigned int number)
{
	struct object object = make_object(number);
	char dir[128], meta[160], text[256];

	snprintf(dir, sizeof(dir), "root/objects/%.5s", object.id);
	mkdir(path_of(dir), 0700);
	snprintf(dir, sizeof(dir), "root/objects/%.5s/%s", object.id,
		 object.id);
	ck_assert_int_eq(mkdir(path_of(dir), 0700), 0);
	snprintf(meta, sizeof(meta), "%s/meta.json", dir);
	snprintf(text, sizeof(text),
		 "{\"id\":\"%s\",\"name\":\"Object %u\",\"content_type\":\"\","
		 "\"size\":0,\"sha256\":\"%064d\","
		 "\"created_at\":\"2026-01-31T23:59:59.123Z\"}\n",
		 object.id, number, 0);
	make_file(meta, text);
}

static enum err_code list_ordered(enum store_sort sort, bool descending,
				  const char *after, const char *after_key,
				  size_t limit)
{
	free(list.rows);
	list = (struct store_list){ .sort = sort,
				    .descending = descending,
				    .limit = limit };
	snprintf(list.after, sizeof(list.after), "%s", after);
	snprintf(list.after_key, sizeof(list.after_key), "%s", after_key);
	ended = false;
	store_list(store, &list, loop, on_ended, &last);
	return wait_end();
}

/* Objects 0, step, 2 step … (n - 1) step, from the last one on. */
static void expect_backwards(unsigned int n, unsigned int step, size_t limit)
{
	char after[UUID_TEXT_SIZE] = "";

	do {
		MUST(list_ordered(STORE_BY_ID, true, after, "", limit));
		for (size_t i = 0; i < list.n_rows; i++) {
			ck_assert_uint_gt(n, 0);
			n--;
			ck_assert_str_eq(list.rows[i].id,
					 make_object(n * step).id);
		}
		memcpy(after, list.rows[list.n_rows - 1].id, sizeof(after));
	} while (list.more);
	ck_assert_uint_eq(n, 0);
}

#define MANY 2500u

START_TEST(a_shard_larger_than_a_batch_is_listed_in_order)
{
	char after[UUID_TEXT_SIZE] = "";
	unsigned int number = 0;

	for (unsigned int i = 0; i < MANY; i++)
		plant(i * 1009 % MANY);
	do {
		MUST(list_page("", after, STORE_LIST_MAX));
		for (size_t i = 0; i < list.n_rows; i++, number++)
			ck_assert_str_eq(list.rows[i].id,
					 make_object(number).id);
		memcpy(after, list.rows[list.n_rows - 1].id, sizeof(after));
	} while (list.more);
	ck_assert_uint_eq(number, MANY);
	MUST(list_page("object 2499", "", 1));
	ck_assert_uint_eq(list.n_rows, 1);
	ck_assert(!list.more);
	expect_backwards(MANY, 1, STORE_LIST_MAX);
	/* the last page of the three, by name: 9 stands behind 899 */
	MUST(list_ordered(STORE_BY_NAME, false, make_object(899).id,
			  "Object 899", STORE_LIST_MAX));
	ck_assert_str_eq(list.rows[0].name, "Object 9");
	ck_assert_uint_eq(list.n_rows, 111);
	ck_assert(!list.more);
}
END_TEST

START_TEST(more_shards_than_a_batch_are_listed_in_order)
{
	char after[UUID_TEXT_SIZE] = "";
	unsigned int number = 0;

	/* every 256th number has a shard of its own */
	for (unsigned int i = 0; i < 1500; i++)
		plant((i * 1009 % 1500) * 256);
	do {
		MUST(list_page("", after, 700));
		for (size_t i = 0; i < list.n_rows; i++, number++)
			ck_assert_str_eq(list.rows[i].id,
					 make_object(number * 256).id);
		memcpy(after, list.rows[list.n_rows - 1].id, sizeof(after));
	} while (list.more);
	ck_assert_uint_eq(number, 1500);
	expect_backwards(1500, 256, 700);
}
END_TEST

#define CASES(X) \
	X(a_missing_directory_is_made) \
	X(a_missing_parent_is_a_wrong_setting) \
	X(a_file_instead_of_the_directory_is_a_wrong_setting) \
	X(two_stores_do_not_share_a_directory) \
	X(a_foreign_staging_is_left_alone) \
	X(what_a_killed_process_left_is_removed) \
	X(what_lies_in_staging_is_not_taken_over) \
	X(objects_survive_a_restart) \
	X(an_object_is_a_directory_of_two_files) \
	X(a_name_is_never_a_path) \
	X(a_name_that_is_no_utf8_does_not_lose_the_object) \
	X(no_symbolic_link_is_followed) \
	X(a_symbolic_link_for_data_is_not_followed) \
	X(a_damaged_description_is_an_error_of_its_object_only) \
	X(data_of_another_size_is_damaged) \
	X(descriptions_of_before_there_were_details_are_read) \
	X(details_of_another_kind_are_damage) \
	X(strangers_in_the_directories_are_not_listed) \
	X(a_shard_may_be_removed_by_hand_when_empty) \
	X(a_write_beyond_the_file_size_limit_fails_cleanly) \
	X(out_of_descriptors_is_a_limit_that_passes) \
	X(a_waiting_sink_holds_no_descriptor) \
	X(no_operation_leaks_a_descriptor) \
	X(a_directory_that_went_away_is_not_ready) \
	X(data_that_went_away_fails_the_stage) \
	X(a_shard_larger_than_a_batch_is_listed_in_order) \
	X(more_shards_than_a_batch_are_listed_in_order)

int main(void)
{
	Suite *suite = suite_create("file store");
	SRunner *sr = srunner_create(suite);
	TCase *tc = tcase_create("file");
	int failed;

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, make_store, drop_all);
#define ADD(name) tcase_add_test(tc, name);
	CASES(ADD)
#undef ADD
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
