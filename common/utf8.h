/*
 * utf8.h - which bytes are UTF-8 (RFC 3629)
 *
 * For texts of peers and operators on their way into a log line, a metric or
 * JSON, which all want UTF-8 and nothing else. Pure.
 */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include "common/span.h"

#include <stdint.h>

/* U+FFFD, what stands for a byte that belongs to no character. */
#define UTF8_REPLACEMENT "\xef\xbf\xbd"

/*
 * The length of the character that `text` begins with, 1 to 4, its number in
 * *code; 0 when it begins with none or is empty. Surrogates, overlong forms and
 * numbers above U+10FFFF are none.
 */
size_t utf8_next(struct span text, uint32_t *code);

/* Is all of it UTF-8? */
bool utf8_is_valid(struct span text);

/*
 * Copy `text` to `out` with U+FFFD for every byte that is not UTF-8; `out`
 * holds 3 * text.len bytes. The number of bytes written; no NUL is added.
 */
size_t utf8_repair(struct span text, char *out);

#endif
