#include "common/http1_impl.h"

/* ---- Range (RFC 9110, 14) ------------------------------------------------ */

/* 1*DIGIT; what is too large for any representation becomes UINT64_MAX. */
static bool take_position(struct span *s, uint64_t *position)
{
	size_t n = 0;

	while (n < s->len && http1_is_digit(s->ptr[n]))
		n++;
	if (n > 0 && !http1_parse_u64(span_make(s->ptr, n), position))
		*position = UINT64_MAX;
	http1_take(s, n);
	return n > 0;
}

/* The only element of a list, in which empty ones do not count (5.6.1). */
static bool only_element(struct span list, struct span *element)
{
	unsigned int n = 0;

	while (list.len > 0) {
		struct span next = span_trim(span_cut(&list, ','));

		if (next.len == 0)
			continue;
		*element = next;
		if (++n > 1)
			return false;
	}
	return n == 1;
}

static enum http1_range last_bytes(uint64_t n, uint64_t size, uint64_t *first,
				   uint64_t *last)
{
	if (n == 0)
		return HTTP1_RANGE_BAD;
	if (size == 0)
		return HTTP1_RANGE_NONE;
	*first = n < size ? size - n : 0;
	*last = size - 1;
	return HTTP1_RANGE_ONE;
}

/* int-range or suffix-range (14.1.1). */
static enum http1_range read_spec(struct span spec, uint64_t size,
				  uint64_t *first, uint64_t *last)
{
	uint64_t from = 0, to = UINT64_MAX;
	bool has_from = take_position(&spec, &from);
	bool has_to;

	if (spec.len == 0 || http1_take(&spec, 1).ptr[0] != '-')
		return HTTP1_RANGE_NONE;
	has_to = take_position(&spec, &to);
	if (spec.len > 0 || (!has_from && !has_to) || (has_from && to < from))
		return HTTP1_RANGE_NONE;
	if (!has_from)
		return last_bytes(to, size, first, last);
	if (from >= size)
		return HTTP1_RANGE_BAD;
	*first = from;
	*last = to < size ? to : size - 1;
	return HTTP1_RANGE_ONE;
}

enum http1_range http1_parse_range(struct span value, uint64_t size,
				   uint64_t *first, uint64_t *last)
{
	struct span set = value, spec;
	struct span unit = span_cut(&set, '=');

	if (!span_eq_nocase(unit, SPAN_LIT("bytes")) ||
	    !only_element(set, &spec))
		return HTTP1_RANGE_NONE;
	return read_spec(spec, size, first, last);
}
