/*
 * base64.h - base64 of RFC 4648, strict: one text for every sequence of bytes
 *
 * In the usual alphabet with padding (section 4), as in header fields, and in
 * the one for URLs without (section 5), as in cursors. Pure.
 */
#ifndef COMMON_BASE64_H
#define COMMON_BASE64_H

#include "common/span.h"

enum base64_kind {
	BASE64_PADDED,	/* A-Z a-z 0-9 + / and = to a multiple of four */
	BASE64_URL,	/* A-Z a-z 0-9 - _ and no padding */
};

/* Room for the text of `n` bytes with its NUL, and for the bytes of a text. */
#define BASE64_TEXT_SIZE(n) (((n) + 2) / 3 * 4 + 1)
#define BASE64_BYTES_SIZE(len) ((len) / 4 * 3 + 3)

/*
 * Write the text of `bytes` and a NUL to `text`, of BASE64_TEXT_SIZE(bytes.len);
 * its length without the NUL.
 */
size_t base64_encode(enum base64_kind kind, struct span bytes, char *text);

/*
 * Write the bytes of `text` to `bytes`, of BASE64_BYTES_SIZE(text.len), their
 * number to *len. False when it is malformed: another character, wrong padding,
 * bits set that belong to no byte.
 */
bool base64_decode(enum base64_kind kind, struct span text, char *bytes,
		   size_t *len);

#endif
