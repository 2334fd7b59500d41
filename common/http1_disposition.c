#include "common/http1_impl.h"

#include "common/utf8.h"

#include <stdio.h>

/* ---- writing ------------------------------------------------------------- */

#define FALLBACK "; filename=\""
#define EXTENDED "\"; filename*=UTF-8''"

/* One character of a name: its bytes, replaced when it must not be sent. */
static struct span next_char(struct span name)
{
	uint32_t code = 0;
	size_t len = utf8_next(name, &code);

	if (len == 0 || code < 0x20 || (code >= 0x7f && code < 0xa0))
		return SPAN_LIT(UTF8_REPLACEMENT);
	return span_make(name.ptr, len);
}

/* How many bytes of the name next_char() stands for. */
static size_t char_length(struct span name)
{
	uint32_t code;
	size_t len = utf8_next(name, &code);

	return len ? len : 1;
}

/* '%' and '\' too: some browsers unescape them (RFC 6266, appendix D). */
static char fallback_char(struct span c)
{
	bool plain = c.len == 1 && !strchr("%\\\"/", c.ptr[0]);

	return plain ? c.ptr[0] : '_';
}

static size_t escaped_length(struct span c)
{
	return c.len == 1 && http1_is(c.ptr[0], HTTP1_ATTR) ? 1 : 3 * c.len;
}

static size_t put_escaped(char *buf, struct span c)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t used = 0;

	if (escaped_length(c) == 1) {
		buf[0] = c.ptr[0];
		return 1;
	}
	for (size_t i = 0; i < c.len; i++) {
		unsigned char byte = (unsigned char)c.ptr[i];

		buf[used++] = '%';
		buf[used++] = hex[byte >> 4];
		buf[used++] = hex[byte & 0x0f];
	}
	return used;
}

/* The longest beginning of `name`, in whole characters, that takes `room`. */
static struct span that_fits(struct span name, size_t room)
{
	struct span rest = name;

	while (rest.len > 0) {
		size_t cost = 1 + escaped_length(next_char(rest));

		if (cost > room)
			break;
		room -= cost;
		http1_take(&rest, char_length(rest));
	}
	return span_make(name.ptr, name.len - rest.len);
}

void http1_content_disposition(const char *disposition, const char *name,
			       char *buf, size_t size)
{
	size_t fixed = strlen(disposition) + strlen(FALLBACK EXTENDED) + 1;
	struct span fits, rest;
	size_t used;

	CHECK(size >= fixed);
	fits = that_fits(span_of(name), size - fixed);
	used = (size_t)snprintf(buf, size, "%s" FALLBACK, disposition);
	for (rest = fits; rest.len > 0; http1_take(&rest, char_length(rest)))
		buf[used++] = fallback_char(next_char(rest));
	memcpy(buf + used, EXTENDED, strlen(EXTENDED));
	used += strlen(EXTENDED);
	for (rest = fits; rest.len > 0; http1_take(&rest, char_length(rest)))
		used += put_escaped(buf + used, next_char(rest));
	buf[used] = '\0';
}

/* ---- reading ------------------------------------------------------------- */

/* UTF-8 without control characters, C1 (U+0080 to U+009F) included. */
static bool is_name(struct span name)
{
	while (name.len > 0) {
		uint32_t code = 0;
		size_t len = utf8_next(name, &code);

		if (len == 0 || code < 0x20 || (code >= 0x7f && code < 0xa0))
			return false;
		http1_take(&name, len);
	}
	return true;
}

/* ISO-8859-1 numbers its characters like Unicode. */
static size_t put_byte(char *buf, int byte, bool is_latin1)
{
	if (!is_latin1 || byte < 0x80) {
		buf[0] = (char)byte;
		return 1;
	}
	buf[0] = (char)(0xc0 | byte >> 6);
	buf[1] = (char)(0x80 | (byte & 0x3f));
	return 2;
}

static bool decode_chars(struct span chars, bool is_latin1, char *buf,
			 size_t size)
{
	size_t used = 0;

	while (chars.len > 0) {
		char c = chars.ptr[0];
		int byte = http1_take_byte(&chars);

		if (byte <= 0 || (c != '%' && !http1_is(c, HTTP1_ATTR)))
			return false;
		if (used + (is_latin1 && byte >= 0x80 ? 2 : 1) >= size)
			return false;
		used += put_byte(buf + used, byte, is_latin1);
	}
	buf[used] = '\0';
	return true;
}

/* ext-value = charset "'" [ language ] "'" value-chars (RFC 8187, 3.2.1). */
static bool decode_extended(struct http1_raw raw, char *buf, size_t size)
{
	struct span chars = raw.text;
	struct span charset = span_cut(&chars, '\'');
	bool is_latin1 = span_eq_nocase(charset, SPAN_LIT("ISO-8859-1"));

	span_cut(&chars, '\'');
	if (raw.is_quoted || !chars.ptr)
		return false;
	if (!is_latin1 && !span_eq_nocase(charset, SPAN_LIT("UTF-8")))
		return false;
	return decode_chars(chars, is_latin1, buf, size);
}

static int filename(struct span value, enum http1_escapes escapes, char *buf,
		    size_t size)
{
	struct http1_raw plain, extended;
	int has_plain = http1_param_raw(value, "filename", &plain);
	int has_extended = http1_param_raw(value, "filename*", &extended);
	bool fits;

	CHECK(size > 0);
	buf[0] = '\0';
	if (has_plain < 0 || has_extended < 0)
		return -1;
	if (!has_plain && !has_extended)
		return 0;
	fits = has_extended ? decode_extended(extended, buf, size) :
			      http1_unquote(plain, escapes, buf, size);
	if (fits && is_name(span_of(buf)))
		return 1;
	buf[0] = '\0';
	return -1;
}

int http1_disposition_filename(struct span value, char *buf, size_t size)
{
	return filename(value, HTTP1_ESCAPES_ALL, buf, size);
}

int http1_form_filename(struct span value, char *buf, size_t size)
{
	return filename(value, HTTP1_ESCAPES_QUOTES, buf, size);
}
