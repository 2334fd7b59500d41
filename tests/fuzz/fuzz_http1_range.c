/*
 * fuzz_http1_range - pieces of a head: whatever the bytes, each answer keeps
 * what its contract says, and a file name that is written is read back
 *
 * Input: one byte with the size of results, then a field value, target or name.
 */
#include "common/http1.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void check_range(struct span in, uint64_t size)
{
	uint64_t first = 0, last = 0;

	if (http1_parse_range(in, size, &first, &last) == HTTP1_RANGE_ONE)
		CHECK(first <= last && last < size);
}

static void check_etag(struct span in)
{
	if (http1_etag_matches_strongly(in, "\"a\""))
		CHECK(http1_etag_matches(in, "\"a\""));
	if (http1_etag_matches(in, "\"a\"")) {
		CHECK(http1_etag_matches(in, "W/\"a\""));
		CHECK(memchr(in.ptr, 'a', in.len) ||
		      memchr(in.ptr, '*', in.len));
	}
}

static void check_number(struct span in)
{
	char text[32];
	uint64_t n;

	if (!http1_parse_u64(in, &n))
		return;
	while (in.len > 1 && in.ptr[0] == '0')
		in = span_make(in.ptr + 1, in.len - 1);
	snprintf(text, sizeof(text), "%" PRIu64, n);
	CHECK(span_eq(in, span_of(text)));
}

/* `size` is of memory that ends there. */
static void check_param(struct span in, size_t size)
{
	char *buf = malloc(size);
	int found;

	CHECK(buf);
	found = http1_param(in, "name", buf, size);
	CHECK(found >= -1 && found <= 1 && strlen(buf) < size);
	CHECK(found == 1 || buf[0] == '\0');
	CHECK(http1_is_field_value(span_of(buf)));
	found = http1_disposition_filename(in, buf, size);
	CHECK(found >= -1 && found <= 1 && strlen(buf) < size);
	CHECK(found == 1 || buf[0] == '\0');
	CHECK(http1_is_utf8(span_of(buf)) &&
	      http1_is_field_value(span_of(buf)));
	free(buf);
}

static void check_decode(struct span in, bool plus_is_space, size_t size)
{
	char *buf = malloc(size);
	struct err err = ERR_INIT;
	int result;

	CHECK(buf);
	result = http1_decode(in, plus_is_space, buf, size, &err);
	CHECK(err_is_set(&err) == (result < 0));
	CHECK(strlen(buf) < size && strlen(buf) <= in.len);
	CHECK(http1_is_utf8(span_of(buf)));
	free(buf);
}

static void check_lists(struct span in)
{
	struct span value = http1_query_get(in, "a");

	if (value.ptr) {
		CHECK(value.ptr >= in.ptr);
		CHECK(value.ptr + value.len <= in.ptr + in.len);
	}
	if (http1_list_has(in, "close"))
		CHECK(in.len >= 5);
}

/* Is all of it characters that may stand in a name? */
static bool is_name(const char *name)
{
	char value[4096], back[1024];

	snprintf(value, sizeof(value), "a; filename=\"");
	for (const char *c = name; *c; c++)
		snprintf(value + strlen(value), 8, "%s%c",
			 *c == '"' || *c == '\\' ? "\\" : "", *c);
	strncat(value, "\"", sizeof(value) - strlen(value) - 1);
	return http1_disposition_filename(span_of(value), back,
					  sizeof(back)) == 1 &&
	       !strcmp(back, name);
}

static void check_written_name(struct span in, size_t size)
{
	char name[512], back[4 * sizeof(name)], value[8192];
	char *small = malloc(size + 64);

	CHECK(small);
	if (span_to_string(in, name, sizeof(name))) {
		http1_content_disposition("attachment", name, value,
					  sizeof(value));
		CHECK(http1_is_field_value(span_of(value)));
		CHECK(http1_disposition_filename(span_of(value), back,
						 sizeof(back)) == 1);
		CHECK(!is_name(name) || !strcmp(back, name));
		http1_content_disposition("inline", name, small, size + 64);
		CHECK(http1_disposition_filename(span_of(small), name,
						 sizeof(name)) == 1);
		CHECK(!strncmp(back, name, strlen(name)));
	}
	free(small);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct span in;

	if (size == 0)
		return 0;
	in = span_make((const char *)bytes + 1, size - 1);
	check_range(in, bytes[0]);
	check_range(in, UINT64_MAX);
	check_etag(in);
	check_number(in);
	check_param(in, bytes[0] + 1u);
	check_decode(in, true, bytes[0] + 1u);
	check_decode(in, false, size);
	check_lists(in);
	check_written_name(in, bytes[0]);
	return 0;
}
