#include "broadcaster/targets.h"

#include "common/address.h"
#include "common/http1.h"

#include <stdio.h>
#include <stdlib.h>

static int bad_entry(struct span entry, const char *why, struct err *err)
{
	return err_set(err, ERR_CONFIG,
		       "target \"%.*s\": %s; allowed are host:port and "
		       "http(s)://host[:port]/path[#form=field], "
		       "each maybe after name=",
		       entry.len > 60 ? 60 : (int)entry.len, entry.ptr, why);
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

static bool is_name(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_name_char(s.ptr[i]))
			return false;
	return s.len > 0;
}

static bool is_printable(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] > '~')
			return false;
	return true;
}

/* Take "name=" off *entry; a "=" that follows anything else is part of a URL. */
static struct span cut_name(struct span *entry)
{
	struct span rest = *entry;
	struct span name = span_cut(&rest, '=');

	if (!rest.ptr || !is_name(name))
		return span_make(NULL, 0);
	*entry = rest;
	return name;
}

static int parse_authority(struct target *t, struct span authority,
			   const char *scheme, const char *default_port,
			   struct err *err)
{
	struct address address;
	char text[300];
	bool has_port = authority.len > 0 &&
			memchr(authority.ptr, ':', authority.len) &&
			authority.ptr[authority.len - 1] != ']';

	if (snprintf(text, sizeof(text), "%.*s%s", SPAN_ARG(authority),
		     has_port ? "" : default_port) >= (int)sizeof(text))
		return err_set(err, ERR_CONFIG, "the host is too long");
	if (address_parse_peer(span_of(text), &address, err) < 0)
		return -1;
	address_format(&address, t->address, sizeof(t->address));
	snprintf(t->origin, sizeof(t->origin), "%s://%s", scheme, t->address);
	return 0;
}

static int parse_fragment(struct target *t, struct span fragment,
			  struct err *err)
{
	struct span key = span_cut(&fragment, '=');

	if (!span_eq(key, SPAN_LIT("form")) || !is_name(fragment) ||
	    !span_to_string(fragment, t->field, sizeof(t->field)))
		return err_set(err, ERR_CONFIG,
			       "after # only form=FIELD is allowed");
	t->kind = TARGET_FORM;
	return 0;
}

static int parse_url(struct target *t, struct span url, const char *scheme,
		     const char *default_port, struct err *err)
{
	struct span rest = url, before = span_cut(&rest, '#');
	struct span authority = before;
	const char *slash = memchr(before.ptr, '/', before.len);
	struct span path = SPAN_LIT("/");

	t->kind = TARGET_PUT;
	if (slash) {
		authority.len = (size_t)(slash - before.ptr);
		path = span_make(slash, before.len - authority.len);
	}
	if (memchr(authority.ptr, '@', authority.len))
		return err_set(err, ERR_CONFIG,
			       "a user name in a URL is not supported");
	if (rest.ptr && parse_fragment(t, rest, err) < 0)
		return -1;
	if (!span_to_string(path, t->path, sizeof(t->path)))
		return err_set(err, ERR_CONFIG, "the path is too long");
	return parse_authority(t, authority, scheme, default_port, err);
}

static int parse_place(struct target *t, struct span place, struct err *err)
{
	struct span http = SPAN_LIT("http://"), https = SPAN_LIT("https://");

	if (span_starts_with(place, http))
		return parse_url(t,
				 span_make(place.ptr + http.len,
					   place.len - http.len),
				 "http", ":80", err);
	if (span_starts_with(place, https))
		return parse_url(t,
				 span_make(place.ptr + https.len,
					   place.len - https.len),
				 "https", ":443", err);
	if (memmem(place.ptr, place.len, "://", 3))
		return err_set(err, ERR_CONFIG,
			       "its scheme is neither http nor https");
	t->kind = TARGET_READER;
	return parse_authority(t, place, "http", "", err);
}

static int parse_entry(struct target *t, struct span entry, struct err *err)
{
	struct err why = ERR_INIT;
	struct span place = entry;
	struct span name = cut_name(&place);

	if (place.len == 0 || !is_printable(place))
		return bad_entry(entry, "it names no place", err);
	if (parse_place(t, place, &why) < 0)
		return bad_entry(entry, why.text, err);
	if (!span_to_string(name.ptr ? name : span_of(t->address), t->name,
			    sizeof(t->name)))
		return bad_entry(entry, "its name is too long", err);
	return 0;
}

static int check_unique(const struct target_list *list, const struct target *t,
			struct err *err)
{
	for (unsigned int i = 0; i < list->n; i++) {
		const struct target *other = &list->items[i];

		if (!strcmp(other->name, t->name))
			return err_set(err, ERR_CONFIG,
				       "two targets are called \"%s\"; give "
				       "one another name: name=place",
				       t->name);
		if (!strcmp(other->origin, t->origin) &&
		    !strcmp(other->path, t->path))
			return err_set(err, ERR_CONFIG,
				       "target \"%s\" stands twice", t->name);
	}
	return 0;
}

static int mark_required(struct target_list *list, struct span names,
			 struct err *err)
{
	while (names.len > 0) {
		struct span name = span_trim(span_cut(&names, ';'));
		bool found = name.len == 0;

		for (unsigned int i = 0; i < list->n; i++) {
			if (span_eq(name, span_of(list->items[i].name))) {
				list->items[i].required = true;
				found = true;
			}
		}
		if (!found)
			return err_set(err, ERR_CONFIG,
				       "no target is called \"%.*s\"",
				       name.len > 60 ? 60 : (int)name.len,
				       name.ptr);
	}
	return 0;
}

int targets_parse(struct target_list *list, struct span hosts,
		  struct span required, struct err *err)
{
	*list = (struct target_list){ 0 };
	list->items = calloc(TARGETS_MAX, sizeof(*list->items));
	if (!list->items)
		return err_set(err, ERR_MEMORY, "out of memory for targets");
	while (hosts.len > 0) {
		struct span entry = span_trim(span_cut(&hosts, ';'));
		struct target t = { 0 };

		if (entry.len == 0)
			continue;
		if (list->n == TARGETS_MAX)
			return err_set(err, ERR_CONFIG,
				       "more than %u targets", TARGETS_MAX);
		if (parse_entry(&t, entry, err) < 0 ||
		    check_unique(list, &t, err) < 0)
			return -1;
		list->items[list->n++] = t;
	}
	if (list->n == 0)
		return err_set(err, ERR_CONFIG, "no target is named");
	return mark_required(list, required, err);
}

void targets_release(struct target_list *list)
{
	free(list->items);
	*list = (struct target_list){ 0 };
}
