/*
 * json.h - jansson, with the few things this project adds to it
 *
 * Everything else is jansson's own API (https://jansson.readthedocs.io/).
 */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include "common/err.h"
#include "common/span.h"

#include <jansson.h>

/*
 * A JSON string of any bytes: invalid UTF-8 is replaced by U+FFFD, so that it
 * never fails for content. NULL only when out of memory.
 */
json_t *json_text(struct span text);

/*
 * Parse an object from `text`, at most 64 KiB, duplicates rejected. NULL with
 * ERR_CLIENT saying where it is malformed (413 when too long), or ERR_MEMORY.
 * The caller decrefs.
 */
json_t *json_parse_object(struct span text, struct err *err) MUST_CHECK;

/*
 * Set a member, append an element; steal `value`. When there is no memory, for
 * `value` either, *object (*array) is freed and becomes NULL, and stays so: what
 * is built in many steps is whole or not there, and only its end need be checked.
 */
void json_put(json_t **object, const char *key, json_t *value);
void json_add(json_t **array, json_t *value);

/*
 * Compact text of `value` with a final newline, malloc'ed, *len without its
 * NUL; NULL when out of memory or `value` is NULL. Steals the reference to
 * `value`, also then.
 */
char *json_print(json_t *value, size_t *len);

#endif
