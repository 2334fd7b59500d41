#include "common/utf8.h"

/* How long a character with this first byte is, or 0; its bits in *code. */
static size_t length_of(unsigned char first, uint32_t *code)
{
	if (first < 0x80) {
		*code = first;
		return 1;
	}
	if (first >= 0xc2 && first <= 0xdf) {
		*code = first & 0x1f;
		return 2;
	}
	if (first >= 0xe0 && first <= 0xef) {
		*code = first & 0x0f;
		return 3;
	}
	if (first >= 0xf0 && first <= 0xf4) {
		*code = first & 0x07;
		return 4;
	}
	return 0;
}

static bool is_shortest_scalar(uint32_t code, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

	return code >= least[len] && code <= 0x10ffff &&
	       (code < 0xd800 || code > 0xdfff);
}

size_t utf8_next(struct span text, uint32_t *code)
{
	size_t len, i;

	if (text.len == 0)
		return 0;
	len = length_of((unsigned char)text.ptr[0], code);
	if (len > text.len)
		return 0;
	for (i = 1; i < len; i++) {
		unsigned char byte = (unsigned char)text.ptr[i];

		if ((byte & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (byte & 0x3f);
	}
	return len && is_shortest_scalar(*code, len) ? len : 0;
}

bool utf8_is_valid(struct span text)
{
	uint32_t code;
	size_t i, len;

	for (i = 0; i < text.len; i += len) {
		len = utf8_next(span_make(text.ptr + i, text.len - i), &code);
		if (len == 0)
			return false;
	}
	return true;
}

size_t utf8_repair(struct span text, char *out)
{
	size_t used = 0;
	uint32_t code;
	size_t i;

	for (i = 0; i < text.len;) {
		struct span rest = span_make(text.ptr + i, text.len - i);
		size_t len = utf8_next(rest, &code);

		memcpy(out + used, len ? rest.ptr : UTF8_REPLACEMENT,
		       len ? len : 3);
		used += len ? len : 3;
		i += len ? len : 1;
	}
	return used;
}
