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

/* Does the list contain `etag`? A weak tag never equals by strong comparison. */
static bool has_tag(struct span list, const char *etag, bool strong)
{
	bool ours_is_weak, is_weak;
	struct span ours = span_of(etag);
	struct span wanted = take_tag(&ours, &ours_is_weak);

	list = span_trim(list);
	if (span_eq(list, SPAN_LIT("*")))
		return true;
	take_separator(&list);
	while (list.len > 0) {
		struct span tag = take_tag(&list, &is_weak);

		if (!tag.ptr || !take_separator(&list))
			return false;
		if (span_eq(tag, wanted) &&
		    !(strong && (is_weak || ours_is_weak)))
			return true;
	}
	return false;
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

/* Was it modified after the date? `otherwise` when one of both is not known. */
static bool is_modified_since(struct span date, uint64_t modified_ms,
			      bool otherwise)
{
	uint64_t since_ms;

	if (!modified_ms || !clock_parse_http_date(date, &since_ms))
		return otherwise;
	return modified_ms / 1000 > since_ms / 1000;
}

int http1_check_conditions(const struct http1_conditions *c, const char *etag,
			   uint64_t modified_ms)
{
	if (c->match.ptr) {
		if (!http1_etag_matches_strongly(c->match, etag))
			return 412;
	} else if (c->unmodified_since.ptr &&
		   is_modified_since(c->unmodified_since, modified_ms, false)) {
		return 412;
	}
	if (c->none_match.ptr)
		return http1_etag_matches(c->none_match, etag) ? 304 : 0;
	if (c->modified_since.ptr &&
	    !is_modified_since(c->modified_since, modified_ms, true))
		return 304;
	return 0;
}
