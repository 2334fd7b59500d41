#include "common/http1_impl.h"

#include "common/clock.h"

/* ---- entity tags (RFC 9110, 8.8.3) --------------------------------------- */

/* Take [ "W/" ] opaque-tag: the tag in its quotes, ptr NULL when malformed. */
static struct span take_tag(struct span *s, bool *is_weak)
{
	struct span tag;
	size_t n;

	*is_weak = span_starts_with(*s, SPAN_LIT("W/"));
	if (*is_weak)
		http1_take(s, 2);
	if (s->len == 0 || s->ptr[0] != '"')
		return span_make(NULL, 0);
	tag = span_make(s->ptr + 1, s->len - 1);
	n = http1_run(tag, HTTP1_ETAG);
	if (n == tag.len || tag.ptr[n] != '"')
		return span_make(NULL, 0);
	return http1_take(s, n + 2);
}

/* Take commas and blanks; false when something stands there without a comma. */
static bool take_separator(struct span *list)
{
	bool comma = false;

	http1_skip_ows(list);
	while (list->len > 0 && list->ptr[0] == ',') {
		comma = true;
		http1_take(list, 1);
		http1_skip_ows(list);
	}
	return comma || list->len == 0;
}

enum search { NOT_THERE, FOUND, MALFORMED };

/* For `etag` among tags; a weak one never equals by strong comparison. */
static enum search find_tag(struct span list, const char *etag, bool strong)
{
	bool ours_is_weak, is_weak;
	struct span ours = span_of(etag);
	struct span wanted = take_tag(&ours, &ours_is_weak);

	list = span_trim(list);
	take_separator(&list);
	while (list.len > 0) {
		struct span tag = take_tag(&list, &is_weak);

		if (!tag.ptr || !take_separator(&list))
			return MALFORMED;
		if (span_eq(tag, wanted) &&
		    !(strong && (is_weak || ours_is_weak)))
			return FOUND;
	}
	return NOT_THERE;
}

static bool has_tag(struct span list, const char *etag, bool strong)
{
	return span_eq(span_trim(list), SPAN_LIT("*")) ||
	       find_tag(list, etag, strong) == FOUND;
}

bool http1_etag_matches(struct span list, const char *etag)
{
	return has_tag(list, etag, false);
}

bool http1_etag_matches_strongly(struct span list, const char *etag)
{
	return has_tag(list, etag, true);
}

/* ---- preconditions (RFC 9110, 13) ---------------------------------------- */

static struct span line_of(const struct http1_conditions *c, const char *name,
			   unsigned int n)
{
	return c->head ? http1_field_nth(c->head, c->buf, name, n)
		       : span_make(NULL, 0);
}

/* The same for the one list that all lines of a field are. */
static bool lines_have_tag(const struct http1_conditions *c, const char *name,
			   const char *etag, bool strong)
{
	enum search search = NOT_THERE;
	struct span line = line_of(c, name, 0);

	if (!line_of(c, name, 1).ptr)
		return has_tag(line, etag, strong);
	for (unsigned int n = 1; line.ptr && search == NOT_THERE; n++) {
		search = find_tag(line, etag, strong);
		line = line_of(c, name, n);
	}
	return search == FOUND;
}

/* Was it modified after the date? `otherwise` when one of both is not known. */
static bool is_modified_since(struct span date, uint64_t modified_ms,
			      bool otherwise)
{
	uint64_t since_ms;

	if (!modified_ms || !clock_parse_http_date(date, &since_ms))
		return otherwise;
	return modified_ms / 1000 > since_ms / 1000;
}

static bool has_line(const struct http1_conditions *c, const char *name)
{
	return line_of(c, name, 0).ptr;
}

/* By If-Match or, without one, If-Unmodified-Since. */
static bool is_another(const struct http1_conditions *c, const char *etag,
		       uint64_t modified_ms)
{
	if (has_line(c, "If-Match"))
		return !lines_have_tag(c, "If-Match", etag, true);
	return is_modified_since(line_of(c, "If-Unmodified-Since", 0),
				 modified_ms, false);
}

bool http1_is_conditional_change(const struct http1_conditions *c)
{
	return has_line(c, "If-Match") || has_line(c, "If-None-Match") ||
	       has_line(c, "If-Unmodified-Since");
}

bool http1_may_change(const struct http1_conditions *c, const char *etag,
		      uint64_t modified_ms)
{
	if (!etag)
		return !has_line(c, "If-Match");
	return !is_another(c, etag, modified_ms) &&
	       !(has_line(c, "If-None-Match") &&
		 lines_have_tag(c, "If-None-Match", etag, false));
}

int http1_check_conditions(const struct http1_conditions *c, const char *etag,
			   uint64_t modified_ms)
{
	struct span date;

	if (is_another(c, etag, modified_ms))
		return 412;
	if (has_line(c, "If-None-Match"))
		return lines_have_tag(c, "If-None-Match", etag, false) ? 304
								       : 0;
	date = line_of(c, "If-Modified-Since", 0);
	return is_modified_since(date, modified_ms, true) ? 0 : 304;
}
