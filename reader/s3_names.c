#include "reader/s3_names.h"

#include "common/check.h"
#include "common/utf8.h"

#include <stdio.h>

#define LEAF_OF_NO_NAME "data"
/* Swift appends up to 56 bytes to the key of an object that comes in parts. */
#define ROOMY 960u
#define LEAF_MIN 32u

/* A key that is being written. */
struct writing {
	char *key;
	size_t len;
	size_t max;
};

/* All of it or nothing; false when it does not fit. */
static bool add(struct writing *w, struct span text)
{
	if (text.len > w->max - w->len)
		return false;
	memcpy(w->key + w->len, text.ptr, text.len);
	w->len += text.len;
	w->key[w->len] = '\0';
	return true;
}

static bool add_escaped(struct writing *w, char c)
{
	char escape[4];

	snprintf(escape, sizeof(escape), "%%%02X", (unsigned char)c);
	return add(w, span_of(escape));
}

/* Is the "." or "/" at `at` one that a path would lose? */
static bool gets_lost(struct span name, size_t at)
{
	size_t first = at, end = at;

	if (name.ptr[at] == '/')
		return at == 0 || at + 1 == name.len ||
		       name.ptr[at - 1] == '/';
	while (first > 0 && name.ptr[first - 1] != '/')
		first--;
	while (end < name.len && name.ptr[end] != '/')
		end++;
	return end - first <= 2 && name.ptr[first] == '.' &&
	       name.ptr[end - 1] == '.';
}

/* The character at `at`, of `len` bytes; 0: a byte of none. */
static bool add_character(struct writing *w, struct span name, size_t at,
			  size_t len)
{
	char c = name.ptr[at];

	if (len == 0 || (unsigned char)c < ' ' || c == 0x7f)
		return add_escaped(w, c);
	if ((c == '.' || c == '/') && gets_lost(name, at))
		return add_escaped(w, c);
	return add(w, span_make(name.ptr + at, len));
}

static void add_name(struct writing *w, struct span name)
{
	uint32_t code;

	for (size_t at = 0; at < name.len;) {
		struct span rest = span_make(name.ptr + at, name.len - at);
		size_t len = utf8_next(rest, &code);

		if (!add_character(w, name, at, len))
			return;
		at += len > 0 ? len : 1;
	}
}

static struct writing begin(const char *prefix, const char *id, char *key)
{
	struct writing w = { .key = key, .max = S3_KEY_SIZE - 1 };

	CHECK(add(&w, span_of(prefix)) && add(&w, span_of(id)));
	return w;
}

void s3_key_of_content(const char *prefix, const char *id, const char *name,
		       char key[S3_KEY_SIZE])
{
	struct writing w = begin(prefix, id, key);

	CHECK(add(&w, SPAN_LIT("/")));
	if (w.len + LEAF_MIN <= ROOMY)
		w.max = ROOMY;
	else if (w.len + LEAF_MIN < w.max)
		w.max = w.len + LEAF_MIN;
	add_name(&w, *name ? span_of(name) : SPAN_LIT(LEAF_OF_NO_NAME));
}

void s3_key_of_description(const char *prefix, const char *id,
			   char key[S3_KEY_SIZE])
{
	struct writing w = begin(prefix, id, key);

	CHECK(add(&w, SPAN_LIT(".json")));
}

void s3_key_of_probe(const char *prefix, const char *id, char key[S3_KEY_SIZE])
{
	struct writing w = begin(prefix, id, key);

	CHECK(add(&w, SPAN_LIT(".probe")));
}

void s3_key_of_tail(const char *prefix, const char *id, char key[S3_KEY_SIZE])
{
	struct writing w = begin(prefix, id, key);

	CHECK(add(&w, SPAN_LIT(".part")));
}

static enum s3_key_kind kind_of(struct span end)
{
	if (span_eq(end, SPAN_LIT(".json")))
		return S3_KEY_DESCRIPTION;
	if (span_eq(end, SPAN_LIT(".part")))
		return S3_KEY_TAIL;
	if (end.len >= 2 && end.ptr[0] == '/')
		return S3_KEY_CONTENT;
	return S3_KEY_FOREIGN;
}

enum s3_key_kind s3_key_read(const char *prefix, struct span key,
			     char id[UUID_TEXT_SIZE])
{
	size_t skip = strlen(prefix);
	struct span text, end;
	enum s3_key_kind kind;

	id[0] = '\0';
	if (!span_starts_with(key, span_of(prefix)) ||
	    key.len < skip + UUID_TEXT_SIZE - 1)
		return S3_KEY_FOREIGN;
	text = span_make(key.ptr + skip, UUID_TEXT_SIZE - 1);
	end = span_make(text.ptr + text.len, key.len - skip - text.len);
	kind = uuid_is_valid(text) ? kind_of(end) : S3_KEY_FOREIGN;
	if (kind != S3_KEY_FOREIGN)
		CHECK(span_to_string(text, id, UUID_TEXT_SIZE));
	return kind;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The character that the escape at the front of `text` stands for; -1: none. */
static int read_escape(struct span text)
{
	int high, low;

	if (text.len < 3)
		return -1;
	high = digit(text.ptr[1]);
	low = digit(text.ptr[2]);
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

bool s3_key_decode(struct span text, char key[S3_KEY_SIZE])
{
	size_t len = 0;

	for (size_t i = 0; i < text.len; i++) {
		int c = (unsigned char)text.ptr[i];

		if (c == '+')
			c = ' ';
		if (c == '%') {
			c = read_escape(span_make(text.ptr + i, text.len - i));
			i += 2;
		}
		if (len == S3_KEY_SIZE - 1 || c == -1 || c == '\0')
			return false;
		key[len++] = (char)c;
	}
	key[len] = '\0';
	return true;
}
