#include "common/http1_impl.h"

/* What stands between quotes; *rest is left behind the second one. */
static bool take_quoted(struct span *rest, struct span *text)
{
	size_t n;

	http1_take(rest, 1);
	for (n = 0; n < rest->len && rest->ptr[n] != '"'; n++) {
		if (rest->ptr[n] == '\\')
			n++;
		else if (!http1_is(rest->ptr[n], HTTP1_QDTEXT))
			return false;
		if (n >= rest->len || !http1_is(rest->ptr[n], HTTP1_VALUE))
			return false;
	}
	if (n == rest->len)
		return false;
	*text = http1_take(rest, n);
	http1_take(rest, 1);
	return true;
}

static bool take_value(struct span *rest, struct http1_raw *raw)
{
	raw->is_quoted = rest->len > 0 && rest->ptr[0] == '"';
	if (raw->is_quoted)
		return take_quoted(rest, &raw->text);
	raw->text = http1_take(rest, http1_run(*rest, HTTP1_TCHAR));
	return raw->text.len > 0;
}

/*
 * Take one parameter, `[ name "=" value ] OWS [ ";" ]`, off *rest; name->len
 * is 0 for an empty one. False when it is malformed.
 */
static bool take_param(struct span *rest, struct span *name,
		       struct http1_raw *raw)
{
	http1_skip_ows(rest);
	*name = http1_take(rest, http1_run(*rest, HTTP1_TCHAR));
	if (name->len > 0) {
		if (rest->len == 0 || rest->ptr[0] != '=')
			return false;
		http1_take(rest, 1);
		if (!take_value(rest, raw))
			return false;
	}
	http1_skip_ows(rest);
	if (rest->len == 0)
		return true;
	return http1_take(rest, 1).ptr[0] == ';';
}

int http1_param_raw(struct span value, const char *name, struct http1_raw *raw)
{
	struct span wanted = span_of(name);
	int found = 0;

	span_cut(&value, ';');
	while (value.len > 0) {
		struct http1_raw candidate;
		struct span its_name;

		if (!take_param(&value, &its_name, &candidate))
			return -1;
		if (its_name.len == 0 || !span_eq_nocase(its_name, wanted))
			continue;
		if (found)
			return -1;
		found = 1;
		*raw = candidate;
	}
	return found;
}

/* Take 1*tchar off *rest. */
static bool take_token(struct span *rest)
{
	return http1_take(rest, http1_run(*rest, HTTP1_TCHAR)).len > 0;
}

static bool take_char(struct span *rest, char c)
{
	return rest->len > 0 && http1_take(rest, 1).ptr[0] == c;
}

bool http1_is_media_type(struct span value)
{
	struct http1_raw raw;
	struct span name;

	if (!http1_is_utf8(value) || !take_token(&value) ||
	    !take_char(&value, '/') || !take_token(&value))
		return false;
	http1_skip_ows(&value);
	if (value.len > 0 && !take_char(&value, ';'))
		return false;
	while (value.len > 0)
		if (!take_param(&value, &name, &raw))
			return false;
	return true;
}

/* Is this backslash, which never is the last character, one of an escape? */
static bool is_escape(const char *backslash, enum http1_escapes escapes)
{
	return escapes == HTTP1_ESCAPES_ALL || backslash[1] == '"' ||
	       backslash[1] == '\\';
}

bool http1_unquote(struct http1_raw raw, enum http1_escapes escapes, char *buf,
		   size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < raw.text.len; i++) {
		const char *c = raw.text.ptr + i;

		if (raw.is_quoted && *c == '\\' && is_escape(c, escapes))
			i++;
		if (used + 1 >= size)
			return false;
		buf[used++] = raw.text.ptr[i];
	}
	buf[used] = '\0';
	return true;
}

static int param(struct span value, const char *name,
		 enum http1_escapes escapes, char *buf, size_t size)
{
	struct http1_raw raw;
	int found = http1_param_raw(value, name, &raw);

	CHECK(size > 0);
	buf[0] = '\0';
	if (found <= 0)
		return found;
	if (http1_unquote(raw, escapes, buf, size))
		return 1;
	buf[0] = '\0';
	return -1;
}

int http1_param(struct span value, const char *name, char *buf, size_t size)
{
	return param(value, name, HTTP1_ESCAPES_ALL, buf, size);
}

int http1_form_param(struct span value, const char *name, char *buf,
		     size_t size)
{
	return param(value, name, HTTP1_ESCAPES_QUOTES, buf, size);
}
