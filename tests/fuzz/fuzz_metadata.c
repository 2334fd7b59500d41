/*
 * fuzz_metadata - what is said about uploads: whatever the bytes, what is let in
 * stays within its bounds and is read back as it was written; base64 and dates
 *
 * Input: one byte with the size of pieces, then a field's value or a form's.
 */
#include "common/base64.h"
#include "common/clock.h"
#include "common/metadata.h"
#include "common/utf8.h"

#include <stdint.h>
#include <stdlib.h>

static void check_set(const struct metadata *m)
{
	static char field[METADATA_FIELD_SIZE], again[METADATA_FIELD_SIZE];
	static char json[METADATA_JSON_SIZE];
	struct metadata copy;
	struct err err = ERR_INIT;

	metadata_format(m, field);
	metadata_to_json(m, json);
	CHECK(strlen(json) < sizeof(json) && utf8_is_valid(span_of(json)));
	CHECK(strlen(metadata_get(m, "title")) < METADATA_TEXT_SIZE);
	CHECK(strlen(metadata_get(m, "creator")) < METADATA_TEXT_SIZE);
	CHECK(!*metadata_get(m, "filename"));
	metadata_init(&copy);
	CHECK(metadata_parse(&copy, span_of(field), &err) == 0);
	metadata_format(&copy, again);
	CHECK(strcmp(field, again) == 0);
}

static void check_field(struct span in)
{
	struct metadata m;
	struct err err = ERR_INIT;

	metadata_init(&m);
	if (metadata_parse(&m, in, &err) == 0)
		check_set(&m);
	else
		CHECK(err.status == 400);
}

static int add_pieces(struct metadata *m, struct span value, size_t size,
		      struct err *err)
{
	while (value.len > 0) {
		size_t n = value.len < size ? value.len : size;

		if (metadata_append(m, span_make(value.ptr, n), err) < 0)
			return -1;
		value = span_make(value.ptr + n, value.len - n);
	}
	return metadata_end(m, err);
}

/* Keys and values apart by newlines; the verdict is that of whole values. */
static void check_pairs(struct span in, size_t size)
{
	struct metadata whole, cut;
	struct err err = ERR_INIT, other = ERR_INIT;
	int rc = 0;

	metadata_init(&whole);
	metadata_init(&cut);
	while (in.ptr && rc == 0) {
		struct span key = span_cut(&in, '\n');
		struct span value = in.ptr ? span_cut(&in, '\n') : in;

		rc = metadata_begin(&whole, key, &err);
		CHECK(metadata_begin(&cut, key, &other) == rc);
		if (rc == 0) {
			rc = add_pieces(&whole, value, SIZE_MAX, &err);
			CHECK(add_pieces(&cut, value, size, &other) == rc);
		}
	}
	CHECK(err.status == other.status);
	if (rc == 0)
		check_set(&cut);
}

static void check_base64(enum base64_kind kind, struct span in)
{
	char *bytes = malloc(BASE64_BYTES_SIZE(in.len));
	char *text = malloc(in.len + 1);
	size_t len;

	CHECK(bytes && text);
	if (base64_decode(kind, in, bytes, &len)) {
		CHECK(BASE64_TEXT_SIZE(len) >= in.len + 1);
		CHECK(base64_encode(kind, span_make(bytes, len), text) ==
		      in.len);
		CHECK(in.len == 0 || memcmp(text, in.ptr, in.len) == 0);
	}
	free(bytes);
	free(text);
}

static void check_time(struct span in)
{
	char text[CLOCK_RFC3339_SIZE];
	uint64_t ms, again;

	if (!clock_parse_rfc3339(in, &ms) || ms > UINT64_C(253402300799999))
		return;
	clock_format_rfc3339(ms, text);
	CHECK(clock_parse_rfc3339(span_of(text), &again) && again == ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct span in;

	if (size == 0)
		return 0;
	in = span_make((const char *)bytes + 1, size - 1);
	check_field(in);
	check_pairs(in, bytes[0] + 1u);
	check_base64(BASE64_PADDED, in);
	check_base64(BASE64_URL, in);
	check_time(in);
	return 0;
}
