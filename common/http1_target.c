#include "common/http1_impl.h"

/* ---- host ---------------------------------------------------------------- */

/*
 * "[" IPv6address "]": how long it is, 0 when it is none. Only its alphabet is
 * checked; a zone or a future version is not in it.
 */
static size_t literal_length(struct span s)
{
	size_t n = 1;

	while (n < s.len && (http1_is(s.ptr[n], HTTP1_HEX) ||
			     s.ptr[n] == ':' || s.ptr[n] == '.'))
		n++;
	return n > 1 && n < s.len && s.ptr[n] == ']' ? n + 1 : 0;
}

/* How much of the beginning is reg-name or IPv4address (RFC 3986, 3.2.2). */
static size_t name_length(struct span s)
{
	struct span rest = s;

	while (rest.len > 0) {
		if (!http1_is(rest.ptr[0], HTTP1_REG_NAME) &&
		    rest.ptr[0] != '%')
			break;
		if (http1_take_byte(&rest) < 0)
			return 0;
	}
	return s.len - rest.len;
}

bool http1_is_authority(struct span host)
{
	uint64_t port = 0;
	size_t n;

	if (host.len == 0)
		return false;
	n = host.ptr[0] == '[' ? literal_length(host) : name_length(host);
	if (n == 0)
		return false;
	http1_take(&host, n);
	if (host.len == 0)
		return true;
	if (http1_take(&host, 1).ptr[0] != ':')
		return false;
	return host.len == 0 ||
	       (http1_parse_u64(host, &port) && port <= UINT16_MAX);
}

/* ---- request target (RFC 9112, 3.2) -------------------------------------- */

static int refuse_target(struct http1_parse *p)
{
	return http1_refuse(p, 400, "the request target is malformed");
}

static int read_origin_form(struct http1_parse *p, struct span target)
{
	struct span query = target;
	struct span path = span_cut(&query, '?');

	p->head->path = http1_slice_of(p, path);
	if (!query.ptr)
		query = span_make(path.ptr + path.len, 0);
	p->head->query = http1_slice_of(p, query);
	return 0;
}

/* The bytes before the authority: "http://"; 0 when it is no such URI. */
static size_t scheme_length(struct span target)
{
	static const char *const schemes[] = {"http://", "https://"};

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		struct span scheme = span_of(schemes[i]);

		if (target.len > scheme.len &&
		    span_eq_nocase(span_make(target.ptr, scheme.len), scheme))
			return scheme.len;
	}
	return 0;
}

static size_t authority_length(struct span s)
{
	size_t n = 0;

	while (n < s.len && s.ptr[n] != '/' && s.ptr[n] != '?')
		n++;
	return n;
}

/* An empty path is "/" (RFC 9110, 4.2.3): the slice is the scheme's slash. */
static int read_absolute_form(struct http1_parse *p, struct span target)
{
	size_t scheme = scheme_length(target);
	struct span slash, host;

	if (scheme == 0)
		return refuse_target(p);
	slash = span_make(http1_take(&target, scheme).ptr + scheme - 1, 1);
	host = http1_take(&target, authority_length(target));
	if (!http1_is_authority(host))
		return refuse_target(p);
	p->head->host = http1_slice_of(p, host);
	if (target.len > 0 && target.ptr[0] == '/')
		return read_origin_form(p, target);
	p->head->path = http1_slice_of(p, slash);
	if (target.len > 0)
		http1_take(&target, 1);
	p->head->query = http1_slice_of(p, target);
	return 0;
}

int http1_read_target(struct http1_parse *p, struct span target)
{
	if (target.ptr[0] == '/')
		return read_origin_form(p, target);
	if (!span_eq(target, SPAN_LIT("*")))
		return read_absolute_form(p, target);
	if (p->head->method != HTTP1_OPTIONS)
		return refuse_target(p);
	return read_origin_form(p, target);
}
