#include "common/base64.h"

#include <stdint.h>

static const char digits[][65] = {
	[BASE64_PADDED] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			  "abcdefghijklmnopqrstuvwxyz0123456789+/",
	[BASE64_URL] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		       "abcdefghijklmnopqrstuvwxyz0123456789-_",
};

/* One to three bytes as 24 bits, the first one in front. */
static uint32_t bits_of(struct span bytes)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < 3; i++)
		bits = bits << 8 |
		       (i < bytes.len ? (unsigned char)bytes.ptr[i] : 0);
	return bits;
}

size_t base64_encode(enum base64_kind kind, struct span bytes, char *text)
{
	size_t len = 0;

	for (size_t at = 0; at < bytes.len; at += 3) {
		size_t n = bytes.len - at < 3 ? bytes.len - at : 3;
		uint32_t bits = bits_of(span_make(bytes.ptr + at, n));

		for (size_t i = 0; i < 4; i++)
			if (i <= n)
				text[len++] = digits[kind][bits >> (18 - 6 * i) &
							   63];
			else if (kind == BASE64_PADDED)
				text[len++] = '=';
	}
	text[len] = '\0';
	return len;
}

/* The text without its padding; false when that is not as it has to be. */
static bool take_off_padding(enum base64_kind kind, struct span *text)
{
	if (kind == BASE64_URL)
		return text->len % 4 != 1;
	if (text->len % 4 != 0)
		return false;
	for (int i = 0; i < 2; i++)
		if (text->len > 0 && text->ptr[text->len - 1] == '=')
			text->len--;
	return text->len % 4 != 1;
}

bool base64_decode(enum base64_kind kind, struct span text, char *bytes,
		   size_t *len)
{
	uint32_t bits = 0;
	unsigned int n_bits = 0;

	*len = 0;
	if (!take_off_padding(kind, &text))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		const char *at = memchr(digits[kind], text.ptr[i], 64);

		if (!at)
			return false;
		bits = bits << 6 | (uint32_t)(at - digits[kind]);
		n_bits += 6;
		if (n_bits < 8)
			continue;
		n_bits -= 8;
		bytes[(*len)++] = (char)(bits >> n_bits & 0xff);
		bits &= (UINT32_C(1) << n_bits) - 1;
	}
	return bits == 0;
}
