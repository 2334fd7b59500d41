#include "common/json.h"

#include "common/utf8.h"

#include <stdlib.h>

#define MAX_TEXT (64 * 1024)

json_t *json_text(struct span text)
{
	json_t *string;
	char *buf;

	if (text.len == 0)
		return json_string("");
	if (utf8_is_valid(text))
		return json_stringn_nocheck(text.ptr, text.len);
	buf = malloc(3 * text.len);
	if (!buf)
		return NULL;
	string = json_stringn_nocheck(buf, utf8_repair(text, buf));
	free(buf);
	return string;
}

/* What jansson complains of. */
static json_t *refuse(const json_error_t *error, struct err *err)
{
	/* It has no text for that, and for everything else it has one. */
	if (!error->text[0])
		err_set(err, ERR_MEMORY, "out of memory for a JSON text");
	else
		err_set(err, ERR_CLIENT,
			"malformed JSON at line %d, column %d: %.100s",
			error->line, error->column, error->text);
	return NULL;
}

json_t *json_parse_object(struct span text, struct err *err)
{
	json_error_t error;
	json_t *value;

	if (text.len > MAX_TEXT) {
		err_set_status(err, 413,
			       "a JSON text of %zu bytes is too long: at most "
			       "%d are allowed",
			       text.len, MAX_TEXT);
		return NULL;
	}
	value = json_loadb(text.len ? text.ptr : "", text.len,
			   JSON_REJECT_DUPLICATES, &error);
	if (!value)
		return refuse(&error, err);
	if (!json_is_object(value)) {
		json_decref(value);
		err_set(err, ERR_CLIENT,
			"malformed JSON at line 1: an object is expected");
		return NULL;
	}
	return value;
}

void json_put(json_t **object, const char *key, json_t *value)
{
	if (json_object_set_new(*object, key, value) == 0)
		return;
	json_decref(*object);
	*object = NULL;
}

void json_add(json_t **array, json_t *value)
{
	if (json_array_append_new(*array, value) == 0)
		return;
	json_decref(*array);
	*array = NULL;
}

/*
 * Not json_dumps(): version 2.14 overlooks that its buffer could not grow for
 * a key and leaves the key out.
 */
char *json_print(json_t *value, size_t *len)
{
	size_t flags = JSON_COMPACT | JSON_ENCODE_ANY;
	size_t size = json_dumpb(value, NULL, 0, flags);
	char *text = size ? malloc(size + 2) : NULL;

	if (text && json_dumpb(value, text, size, flags) != size) {
		free(text);
		text = NULL;
	}
	json_decref(value);
	if (!text)
		return NULL;
	memcpy(text + size, "\n", 2);
	*len = size + 1;
	return text;
}
