#include "common/metadata.h"

#include "common/base64.h"
#include "common/utf8.h"

#include <stdio.h>

/* An escape in JSON and its NUL: \u001f. */
#define ESCAPE_SIZE 8

#define VALUE_MAX METADATA_PAIRS_SIZE

void metadata_init(struct metadata *m)
{
	m->used = 0;
	m->json_len = 0;
	m->value_at = 0;
	m->is_dropped = false;
}

static int refuse(struct err *err, struct span key, const char *why)
{
	return err_set_status(err, 400, "the field \"%.*s\" %s",
			      (int)(key.len < METADATA_KEY_MAX ? key.len :
				    METADATA_KEY_MAX),
			      key.len ? key.ptr : "", why);
}

static int refuse_size(struct err *err)
{
	return err_set_status(err, 400,
			      "the fields of an upload are too long: as JSON at "
			      "most %u bytes are allowed",
			      METADATA_JSON_SIZE - 1);
}

/* ---- pairs --------------------------------------------------------------- */

static bool is_text_key(struct span key)
{
	return span_eq(key, SPAN_LIT("title")) ||
	       span_eq(key, SPAN_LIT("creator"));
}

static bool is_unwanted_key(struct span key)
{
	return span_eq(key, SPAN_LIT("filename")) ||
	       span_eq(key, SPAN_LIT("filetype"));
}

/* The pair at `at`: its key and its value; where the next one is. */
static size_t pair_at(const struct metadata *m, size_t at, struct span *key,
		      struct span *value)
{
	*key = span_of(m->pairs + at);
	at += key->len + 1;
	*value = span_of(m->pairs + at);
	return at + value->len + 1;
}

static bool find(const struct metadata *m, struct span wanted,
		 struct span *value)
{
	struct span key;

	for (size_t at = 0; at < m->used;) {
		at = pair_at(m, at, &key, value);
		if (span_eq(key, wanted))
			return true;
	}
	return false;
}

const char *metadata_get(const struct metadata *m, const char *key)
{
	struct span value;

	return find(m, span_of(key), &value) ? value.ptr : "";
}

/* ---- JSON, as jansson prints it ------------------------------------------ */

/* What a byte becomes within a JSON string; its length. */
static size_t escape(unsigned char c, char text[ESCAPE_SIZE])
{
	static const char letters[] = "\"\\\b\f\n\r\t", as[] = "\"\\bfnrt";
	const char *at = c ? strchr(letters, c) : NULL;

	if (at)
		return (size_t)snprintf(text, ESCAPE_SIZE, "\\%c",
					as[at - letters]);
	if (c < 0x20)
		return (size_t)snprintf(text, ESCAPE_SIZE, "\\u%04X", c);
	text[0] = (char)c;
	return 1;
}

static size_t json_string_len(struct span text)
{
	char escaped[ESCAPE_SIZE];
	size_t len = 2;

	for (size_t i = 0; i < text.len; i++)
		len += escape((unsigned char)text.ptr[i], escaped);
	return len;
}

static size_t put_string(char *json, size_t at, struct span text)
{
	char escaped[ESCAPE_SIZE];

	json[at++] = '"';
	for (size_t i = 0; i < text.len; i++) {
		size_t n = escape((unsigned char)text.ptr[i], escaped);

		memcpy(json + at, escaped, n);
		at += n;
	}
	json[at++] = '"';
	return at;
}

/* Of a pair, with what stands before it: { or a comma, and a colon. */
static size_t json_pair_len(struct span key, struct span value)
{
	return json_string_len(key) + json_string_len(value) + 2;
}

void metadata_to_json(const struct metadata *m, char *json)
{
	struct span key, value;
	size_t len = 0;

	for (size_t at = 0; at < m->used;) {
		at = pair_at(m, at, &key, &value);
		if (is_text_key(key))
			continue;
		json[len] = len ? ',' : '{';
		len = put_string(json, len + 1, key);
		json[len++] = ':';
		len = put_string(json, len, value);
	}
	if (len)
		json[len++] = '}';
	json[len] = '\0';
}

/* ---- adding -------------------------------------------------------------- */

static bool is_key(struct span key)
{
	if (key.len < 1 || key.len > METADATA_KEY_MAX)
		return false;
	for (size_t i = 0; i < key.len; i++)
		if (key.ptr[i] <= ' ' || key.ptr[i] > '~' || key.ptr[i] == ',')
			return false;
	return true;
}

/* No value may begin that has no room for its NUL. */
static int put_key(struct metadata *m, struct span key, struct err *err)
{
	if (m->used + key.len + 2 > sizeof(m->pairs))
		return refuse_size(err);
	memcpy(m->pairs + m->used, key.ptr, key.len);
	m->pairs[m->used + key.len] = '\0';
	m->value_at = m->used + key.len + 1;
	m->pairs[m->value_at] = '\0';
	return 0;
}

int metadata_begin(struct metadata *m, struct span key, struct err *err)
{
	struct span value;

	if (!is_key(key))
		return err_set_status(err, 400,
				      "the name of a field has to be 1 to %u "
				      "visible ASCII characters but commas",
				      METADATA_KEY_MAX);
	m->is_dropped = is_unwanted_key(key) || find(m, key, &value);
	return m->is_dropped ? 0 : put_key(m, key, err);
}

/* The value in hand, as far as it came. */
static struct span value_of(const struct metadata *m)
{
	return span_of(m->pairs + m->value_at);
}

static struct span key_of(const struct metadata *m)
{
	return span_of(m->pairs + m->used);
}

int metadata_append(struct metadata *m, struct span piece, struct err *err)
{
	size_t len;

	if (m->is_dropped || piece.len == 0)
		return 0;
	if (memchr(piece.ptr, '\0', piece.len))
		return refuse(err, key_of(m), "is not UTF-8 text");
	len = value_of(m).len;
	if (is_text_key(key_of(m)) && len + piece.len >= METADATA_TEXT_SIZE)
		return refuse(err, key_of(m), "has more than 511 bytes");
	if (m->value_at + len + piece.len >= sizeof(m->pairs))
		return refuse_size(err);
	memcpy(m->pairs + m->value_at + len, piece.ptr, piece.len);
	m->pairs[m->value_at + len + piece.len] = '\0';
	return 0;
}

int metadata_end(struct metadata *m, struct err *err)
{
	size_t json_len = m->json_len;
	struct span key, value;

	if (m->is_dropped)
		return 0;
	key = key_of(m);
	value = value_of(m);
	if (!utf8_is_valid(value))
		return refuse(err, key, "is not UTF-8 text");
	if (!is_text_key(key))
		json_len += json_pair_len(key, value);
	/* The closing brace, and a NUL. */
	if (json_len + 2 > METADATA_JSON_SIZE)
		return refuse_size(err);
	m->json_len = json_len;
	m->used = m->value_at + value.len + 1;
	return 0;
}

/* ---- the field ----------------------------------------------------------- */

static int decode_value(struct metadata *m, struct span key, struct span text,
			struct err *err)
{
	char bytes[BASE64_BYTES_SIZE(BASE64_TEXT_SIZE(VALUE_MAX))];
	size_t len;

	if (text.len >= BASE64_TEXT_SIZE(VALUE_MAX))
		return refuse_size(err);
	if (!base64_decode(BASE64_PADDED, text, bytes, &len))
		return refuse(err, key, "is not base64 in Upload-Metadata");
	return metadata_append(m, span_make(bytes, len), err);
}

/* "key" or "key BASE64". */
static int parse_pair(struct metadata *m, struct span pair, struct err *err)
{
	struct span rest = span_trim(pair), value;
	struct span key = span_cut(&rest, ' ');

	if (is_key(key) && find(m, key, &value))
		return refuse(err, key, "stands twice");
	if (metadata_begin(m, key, err) < 0 ||
	    decode_value(m, key, span_trim(rest), err) < 0)
		return -1;
	return metadata_end(m, err);
}

int metadata_parse(struct metadata *m, struct span field, struct err *err)
{
	struct span rest = field;

	if (span_trim(field).len == 0)
		return 0;
	do {
		if (parse_pair(m, span_cut(&rest, ','), err) < 0)
			return -1;
	} while (rest.ptr);
	return 0;
}

void metadata_format(const struct metadata *m, char *field)
{
	struct span key, value;
	size_t len = 0;

	for (size_t at = 0; at < m->used;) {
		at = pair_at(m, at, &key, &value);
		if (len)
			field[len++] = ',';
		memcpy(field + len, key.ptr, key.len);
		len += key.len;
		if (value.len == 0)
			continue;
		field[len++] = ' ';
		len += base64_encode(BASE64_PADDED, value, field + len);
		CHECK(len < METADATA_FIELD_SIZE);
	}
	field[len] = '\0';
}
