#include "common/span.h"

#include <strings.h>

bool span_eq(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || !memcmp(a.ptr, b.ptr, a.len));
}

bool span_eq_nocase(struct span a, struct span b)
{
	return a.len == b.len &&
	       (a.len == 0 || !strncasecmp(a.ptr, b.ptr, a.len));
}

bool span_starts_with(struct span s, struct span prefix)
{
	return s.len >= prefix.len &&
	       span_eq(span_make(s.ptr, prefix.len), prefix);
}

static bool is_ows(char c)
{
	return c == ' ' || c == '\t';
}

struct span span_trim(struct span s)
{
	while (s.len > 0 && is_ows(s.ptr[0])) {
		s.ptr++;
		s.len--;
	}
	while (s.len > 0 && is_ows(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

struct span span_cut(struct span *rest, char sep)
{
	const char *at = rest->len ? memchr(rest->ptr, sep, rest->len) : NULL;
	struct span piece = *rest;

	if (!at) {
		*rest = span_make(NULL, 0);
		return piece;
	}
	piece.len = (size_t)(at - rest->ptr);
	rest->ptr += piece.len + 1;
	rest->len -= piece.len + 1;
	return piece;
}

bool span_to_string(struct span s, char *buf, size_t size)
{
	bool fits = s.len < size && (s.len == 0 || !memchr(s.ptr, 0, s.len));

	if (fits && s.len > 0)
		memcpy(buf, s.ptr, s.len);
	buf[fits ? s.len : 0] = '\0';
	return fits;
}
