#include "common/http1_impl.h"

int http1_take_byte(struct span *s)
{
	struct span three;

	if (s->ptr[0] != '%')
		return (unsigned char)http1_take(s, 1).ptr[0];
	if (s->len < 3)
		return -1;
	three = http1_take(s, 3);
	if (!http1_is(three.ptr[1], HTTP1_HEX) ||
	    !http1_is(three.ptr[2], HTTP1_HEX))
		return -1;
	return (int)(http1_hex_value(three.ptr[1]) << 4 |
		     http1_hex_value(three.ptr[2]));
}

static int decode(struct span in, bool plus_is_space, char *buf, size_t size,
		  struct err *err)
{
	size_t used = 0;

	while (in.len > 0) {
		bool is_space = plus_is_space && in.ptr[0] == '+';
		int byte = http1_take_byte(&in);

		if (byte <= 0)
			return err_set_status(err, 400,
					      "a malformed percent-encoding");
		if (used + 1 >= size)
			return err_set_status(err, 400, "longer than %zu bytes",
					      size - 1);
		buf[used++] = is_space ? ' ' : (char)byte;
	}
	buf[used] = '\0';
	if (http1_is_utf8(span_make(buf, used)))
		return 0;
	return err_set_status(err, 400, "not UTF-8 when percent-decoded");
}

int http1_decode(struct span in, bool plus_is_space, char *buf, size_t size,
		 struct err *err)
{
	CHECK(size > 0);
	if (decode(in, plus_is_space, buf, size, err) == 0)
		return 0;
	buf[0] = '\0';
	return -1;
}

struct span http1_query_get(struct span query, const char *name)
{
	struct span wanted = span_of(name);

	while (query.len > 0) {
		struct span value = span_cut(&query, '&');
		struct span its_name = span_cut(&value, '=');

		if (!span_eq(its_name, wanted))
			continue;
		if (value.ptr)
			return value;
		return span_make(its_name.ptr + its_name.len, 0);
	}
	return span_make(NULL, 0);
}
