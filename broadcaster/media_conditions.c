#include "broadcaster/media_conditions.h"

#include <stdio.h>
#include <stdlib.h>

static const struct {
	const char *name;
	bool is_list;	/* all lines count, otherwise the first */
} fields[] = {
	{ "Range", false },
	{ "If-Range", false },
	{ "If-Match", true },
	{ "If-None-Match", true },
	{ "If-Modified-Since", false },
	{ "If-Unmodified-Since", false },
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static bool add_line(struct media_conditions *c, const char *name,
		     struct span value)
{
	char *text = c->text + c->used;
	size_t len = strlen(name) + strlen(": ") + value.len;
	size_t cost = strlen(name) + sizeof(": \r\n");

	if (c->n == MEDIA_MAX_CONDITIONS || len > HTTP1_MAX_LINE ||
	    value.len + cost > sizeof(c->text) - c->used)
		return false;
	CHECK(span_to_string(value, text, value.len + 1));
	c->used += value.len + cost;
	c->lines[c->n++] = (struct http_call_header){ name, text };
	return true;
}

static bool add_field(struct media_conditions *c,
		      const struct http_exchange *x, size_t i)
{
	struct span value = http_request_field(x, fields[i].name);

	for (unsigned int n = 1; value.ptr; n++) {
		if (!add_line(c, fields[i].name, value))
			return false;
		if (!fields[i].is_list)
			break;
		value = http_request_field_nth(x, fields[i].name, n);
	}
	return true;
}

struct media_conditions *media_conditions_new(const struct http_exchange *x,
					      struct err *err)
{
	struct media_conditions *c = malloc(sizeof(*c));

	if (!c) {
		err_set(err, ERR_MEMORY, "out of memory for a request");
		return NULL;
	}
	c->n = c->used = 0;
	for (size_t i = 0; i < N_FIELDS; i++) {
		if (add_field(c, x, i))
			continue;
		err_set_status(err, 431,
			       "the conditions are more than %u lines or %u "
			       "bytes, or one of more than %u",
			       MEDIA_MAX_CONDITIONS, MEDIA_CONDITIONS_BYTES,
			       HTTP1_MAX_LINE);
		free(c);
		return NULL;
	}
	return c;
}

char *media_conditions_print(const struct media_conditions *c)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	for (size_t i = 0; i < c->n; i++)
		fprintf(out, "%s: %s\r\n", c->lines[i].name, c->lines[i].value);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}
