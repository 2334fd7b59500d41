#include "common/http1_impl.h"

struct span http1_field_nth(const struct http1_head *head, const char *buf,
			    const char *name, unsigned int n)
{
	struct span wanted = span_of(name);

	for (unsigned int i = 0; i < head->n_fields; i++) {
		const struct http1_field *field = &head->fields[i];

		if (!span_eq_nocase(http1_span(buf, field->name), wanted))
			continue;
		if (n-- == 0)
			return http1_span(buf, field->value);
	}
	return span_make(NULL, 0);
}

struct span http1_field(const struct http1_head *head, const char *buf,
			const char *name)
{
	return http1_field_nth(head, buf, name, 0);
}

/* Where the element at the beginning ends: a comma that is not in quotes. */
static size_t element_length(struct span list)
{
	bool quoted = false;
	size_t n;

	for (n = 0; n < list.len; n++) {
		if (list.ptr[n] == '"')
			quoted = !quoted;
		else if (quoted && list.ptr[n] == '\\')
			n++;
		else if (!quoted && list.ptr[n] == ',')
			return n;
	}
	return list.len;
}

bool http1_list_has(struct span list, const char *token)
{
	struct span wanted = span_of(token);

	while (list.len > 0) {
		struct span element = http1_take(&list, element_length(list));
		struct span bare = span_trim(span_cut(&element, ';'));

		if (list.len > 0)
			http1_take(&list, 1);
		if (bare.len > 0 && span_eq_nocase(bare, wanted))
			return true;
	}
	return false;
}
