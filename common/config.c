#include "common/config.h"

#include "common/span.h"

#include <stdbool.h>
#include <stdlib.h>
#include <strings.h>

/* how much of a wrong value, and of a wrong name, a message repeats */
#define SHOWN 60
/* longer names are not compared with the known ones */
#define MAX_NAME 64

static const struct config_row *find_row(const struct config_row *rows,
					 size_t n_rows, struct span name)
{
	size_t i;

	for (i = 0; i < n_rows; i++)
		if (span_eq(span_of(rows[i].name), name))
			return &rows[i];
	return NULL;
}

static void *member(const struct config_row *row, void *settings, size_t size)
{
	CHECK(row->size == size);
	return (char *)settings + row->offset;
}

/* At most SHOWN bytes of `text`, what is not printable ASCII as "?". */
static const char *shown(struct span text, char buf[SHOWN + 4])
{
	size_t n = text.len < SHOWN ? text.len : SHOWN;
	size_t i;

	for (i = 0; i < n; i++)
		buf[i] = text.ptr[i] < ' ' || text.ptr[i] > '~' ? '?'
								: text.ptr[i];
	snprintf(buf + n, 4, "%s", n < text.len ? "..." : "");
	return buf;
}

/* Why a value is refused: the variable, the value, what is allowed. */
static int refuse(const struct config_row *row, const char *value,
		  const char *allowed, struct err *err)
{
	char buf[SHOWN + 4];

	if (row->kind == CONFIG_SECRET)
		return err_set(err, ERR_CONFIG, "%s=(not shown): %s", row->name,
			       allowed);
	return err_set(err, ERR_CONFIG, "%s=\"%s\": %s", row->name,
		       shown(span_of(value), buf), allowed);
}

static int refuse_number(const struct config_row *row, const char *value,
			 const char *what, const char *unit, struct err *err)
{
	char allowed[120];

	snprintf(allowed, sizeof(allowed),
		 "a %s of %llu to %llu%s%s is allowed", what,
		 (unsigned long long)row->min, (unsigned long long)row->max,
		 *unit ? " " : "", unit);
	return refuse(row, value, allowed, err);
}

/* Digits at the front of *text, taken off it; no sign, no space. */
static bool take_digits(const char **text, uint64_t *number)
{
	const char *p = *text;
	uint64_t n = 0;

	for (; *p >= '0' && *p <= '9'; p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (n > (UINT64_MAX - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*number = n;
	if (p == *text)
		return false;
	*text = p;
	return true;
}

static bool in_range(const struct config_row *row, uint64_t number)
{
	return number >= row->min && number <= row->max;
}

static int set_u64(const struct config_row *row, const char *value,
		   void *settings, struct err *err)
{
	uint64_t *out = member(row, settings, sizeof(*out));
	const char *rest = value;
	uint64_t number;

	if (!take_digits(&rest, &number) || *rest || !in_range(row, number))
		return refuse_number(row, value, "number", row->unit, err);
	*out = number;
	return 0;
}

/* "", "K", "KiB" and so on: the power of two, or -1. */
static int suffix_shift(const char *suffix)
{
	static const char letters[] = "KMGT";
	const char *at;

	if (!*suffix)
		return 0;
	at = strchr(letters, *suffix >= 'a' ? *suffix - 'a' + 'A' : *suffix);
	if (!at || (suffix[1] && strcasecmp(suffix + 1, "iB") != 0))
		return -1;
	return 10 * (int)(at - letters + 1);
}

static int set_size(const struct config_row *row, const char *value,
		    void *settings, struct err *err)
{
	uint64_t *out = member(row, settings, sizeof(*out));
	const char *rest = value;
	uint64_t number;
	int shift;

	if (!take_digits(&rest, &number) || (shift = suffix_shift(rest)) < 0 ||
	    number > UINT64_MAX >> shift || !in_range(row, number << shift))
		return refuse_number(row, value, "size", "bytes", err);
	*out = number << shift;
	return 0;
}

static int set_bool(const struct config_row *row, const char *value,
		    void *settings, struct err *err)
{
	static const char *const words[] = {"false", "true", "0",   "1",
					    "no",    "yes",  "off", "on"};
	bool *out = member(row, settings, sizeof(*out));
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (!strcasecmp(value, words[i])) {
			*out = i % 2 == 1;
			return 0;
		}
	return refuse(row, value,
		      "true, false, 1, 0, yes, no, on or off is allowed", err);
}

/* The choices as "a, b or c" into `buf`, cut when there are too many. */
static void join_choices(const struct config_row *row, const char *last,
			 char *buf, size_t size)
{
	size_t used = 0;
	size_t i;

	buf[0] = '\0';
	for (i = 0; row->choices[i] && used < size; i++) {
		const char *sep = row->choices[i + 1] ? ", " : last;

		used += (size_t)snprintf(buf + used, size - used, "%s%s",
					 i ? sep : "", row->choices[i]);
	}
}

static int set_choice(const struct config_row *row, const char *value,
		      void *settings, struct err *err)
{
	int *out = member(row, settings, sizeof(*out));
	char choices[100];
	char allowed[120];
	int i;

	for (i = 0; row->choices[i]; i++)
		if (!strcmp(value, row->choices[i])) {
			*out = i;
			return 0;
		}
	join_choices(row, " or ", choices, sizeof(choices));
	snprintf(allowed, sizeof(allowed), "%s is allowed", choices);
	return refuse(row, value, allowed, err);
}

static bool has_control(const char *value)
{
	for (; *value; value++)
		if ((unsigned char)*value < ' ' || *value == 0x7f)
			return true;
	return false;
}

static int set_string(const struct config_row *row, const char *value,
		      void *settings, struct err *err)
{
	char *out = member(row, settings, row->size);
	char allowed[80];

	CHECK(row->size > 0);
	if (has_control(value) ||
	    !span_to_string(span_of(value), out, row->size)) {
		snprintf(allowed, sizeof(allowed),
			 "at most %zu bytes, no control characters, are "
			 "allowed",
			 row->size - 1);
		return refuse(row, value, allowed, err);
	}
	return 0;
}

/* The empty text is not checked: only a default can be that, for "none". */
static int set_checked(const struct config_row *row, const char *value,
		       void *settings, struct err *err)
{
	struct err reason = ERR_INIT;

	if (*value && row->check(value, &reason) < 0)
		return refuse(row, value, reason.text, err);
	return set_string(row, value, settings, err);
}

static int set_row(const struct config_row *row, const char *value,
		   void *settings, struct err *err)
{
	switch (row->kind) {
	case CONFIG_STRING:
	case CONFIG_SECRET:
		return set_string(row, value, settings, err);
	case CONFIG_U64:
		return set_u64(row, value, settings, err);
	case CONFIG_SIZE:
		return set_size(row, value, settings, err);
	case CONFIG_BOOL:
		return set_bool(row, value, settings, err);
	case CONFIG_CHOICE:
		return set_choice(row, value, settings, err);
	case CONFIG_CHECKED:
		return set_checked(row, value, settings, err);
	}
	return refuse(row, value, "this setting is of an unknown kind", err);
}

/* A default that its own row refuses is a bug in the table. */
static int set_or_default(const struct config_row *row, const char *value,
			  void *settings, struct err *err)
{
	struct err ignored = ERR_INIT;

	if (value && *value)
		return set_row(row, value, settings, err);
	CHECK(set_row(row, row->fallback, settings, &ignored) == 0);
	return 0;
}

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t min = a < b ? a : b;

	return min < c ? min : c;
}

/* Levenshtein's distance of two names of at most MAX_NAME bytes. */
static size_t distance(struct span a, struct span b)
{
	size_t row[MAX_NAME + 1];
	size_t i, j;

	for (j = 0; j <= b.len; j++)
		row[j] = j;
	for (i = 1; i <= a.len; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (j = 1; j <= b.len; j++) {
			size_t change = a.ptr[i - 1] != b.ptr[j - 1];
			size_t above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1,
				      diagonal + change);
			diagonal = above;
		}
	}
	return row[b.len];
}

static const char *nearest(const struct config_row *rows, size_t n_rows,
			   struct span name)
{
	size_t best = SIZE_MAX;
	const char *found = NULL;
	size_t i;

	for (i = 0; name.len <= MAX_NAME && i < n_rows; i++) {
		struct span known = span_of(rows[i].name);
		size_t d = known.len <= MAX_NAME ? distance(name, known)
						 : SIZE_MAX;

		if (d < best) {
			best = d;
			found = rows[i].name;
		}
	}
	return found;
}

/* The value is not repeated: it may be that of a misspelt secret. */
static int refuse_name(const struct config_row *rows, size_t n_rows,
		       struct span name, struct err *err)
{
	const char *near = nearest(rows, n_rows, name);
	char buf[SHOWN + 4];

	return err_set(err, ERR_CONFIG,
		       "%s is not a setting%s%s%s; --help lists all",
		       shown(name, buf), near ? ", did you mean " : "",
		       near ? near : "", near ? "?" : "");
}

static bool has_prefix(struct span name, const char *const *prefixes)
{
	for (; *prefixes; prefixes++)
		if (span_starts_with(name, span_of(*prefixes)))
			return true;
	return false;
}

static int check_names(const struct config_row *rows, size_t n_rows,
		       const char *const *prefixes, char *const *env,
		       struct err *err)
{
	for (; *env; env++) {
		struct span rest = span_of(*env);
		struct span name = span_cut(&rest, '=');

		if (has_prefix(name, prefixes) && !find_row(rows, n_rows, name))
			return refuse_name(rows, n_rows, name, err);
	}
	return 0;
}

/* The first of that name counts, as for getenv(3); NULL when there is none. */
static const char *find_value(char *const *env, const char *name)
{
	size_t len = strlen(name);

	for (; *env; env++)
		if (!strncmp(*env, name, len) && (*env)[len] == '=')
			return *env + len + 1;
	return NULL;
}

int config_load(const struct config_row *rows, size_t n_rows,
		const char *const *prefixes, char *const *env, void *settings,
		struct err *err)
{
	size_t i;

	for (i = 0; i < n_rows; i++)
		if (set_or_default(&rows[i], find_value(env, rows[i].name),
				   settings, err) < 0)
			return -1;
	return check_names(rows, n_rows, prefixes, env, err);
}

int config_set(const struct config_row *rows, size_t n_rows, const char *name,
	       const char *value, void *settings, struct err *err)
{
	const struct config_row *row = find_row(rows, n_rows, span_of(name));

	if (!row)
		return refuse_name(rows, n_rows, span_of(name), err);
	return set_or_default(row, value, settings, err);
}

bool config_is_set(char *const *env, const char *name)
{
	const char *value = find_value(env, name);

	return value && *value;
}

/* What follows prints the table. */

#define COLUMNS 80
#define INDENT 6

/* "1K" for 1024: the shortest exact form that CONFIG_SIZE reads. */
static void format_size(uint64_t bytes, char *buf, size_t size)
{
	static const char *const suffixes[] = {"", "K", "M", "G", "T"};
	size_t i = 0;

	while (bytes > 0 && bytes % 1024 == 0 && i < 4) {
		bytes /= 1024;
		i++;
	}
	snprintf(buf, size, "%llu%s", (unsigned long long)bytes, suffixes[i]);
}

static void format_number(const struct config_row *row, uint64_t number,
			  char *buf, size_t size)
{
	if (row->kind == CONFIG_SIZE)
		format_size(number, buf, size);
	else
		snprintf(buf, size, "%llu", (unsigned long long)number);
}

/* "1 to 9", "at least 1", or nothing when every number is allowed. */
static void format_range(const struct config_row *row, char *buf, size_t size)
{
	char min[24], max[24];

	format_number(row, row->min, min, sizeof(min));
	format_number(row, row->max, max, sizeof(max));
	if (row->max < UINT64_MAX)
		snprintf(buf, size, "%s to %s", min, max);
	else if (row->min > 0)
		snprintf(buf, size, "at least %s", min);
	else
		buf[0] = '\0';
}

static void format_allowed(const struct config_row *row, char *buf, size_t size)
{
	switch (row->kind) {
	case CONFIG_U64:
	case CONFIG_SIZE:
		format_range(row, buf, size);
		return;
	case CONFIG_BOOL:
		snprintf(buf, size, "true or false");
		return;
	case CONFIG_CHOICE:
		join_choices(row, " or ", buf, size);
		return;
	case CONFIG_STRING:
	case CONFIG_SECRET:
	case CONFIG_CHECKED:
		return;
	}
}

/* One paragraph, wrapped at words, each line after `INDENT` spaces. */
static void print_wrapped(struct span text, FILE *out)
{
	size_t column = 0;

	while (text.len > 0) {
		struct span word = span_cut(&text, ' ');

		if (column > 0 && column + 1 + word.len > COLUMNS) {
			fputc('\n', out);
			column = 0;
		}
		if (column == 0)
			column = (size_t)fprintf(out, "%*s%.*s", INDENT, "",
						 SPAN_ARG(word));
		else
			column += (size_t)fprintf(out, " %.*s", SPAN_ARG(word));
	}
	fputc('\n', out);
}

static void print_row(const struct config_row *row, int width, FILE *out)
{
	const char *fallback = *row->fallback ? row->fallback : "(none)";
	char allowed[200] = "";
	size_t column;

	if (row->kind == CONFIG_SECRET && *row->fallback)
		fallback = "(secret)";
	column = (size_t)fprintf(out, "  %-*s  %s%s%s", width, row->name,
				 fallback, *row->unit ? " " : "", row->unit);
	format_allowed(row, allowed, sizeof(allowed));
	if (*allowed && column + strlen(allowed) + 4 > COLUMNS)
		fprintf(out, "\n%*s", INDENT - 2, "");
	if (*allowed)
		fprintf(out, "  (%s)", allowed);
	fputc('\n', out);
	print_wrapped(span_of(row->help), out);
}

void config_help(const struct config_row *rows, size_t n_rows, FILE *out)
{
	int width = 0;
	size_t i;

	for (i = 0; i < n_rows; i++)
		if ((int)strlen(rows[i].name) > width)
			width = (int)strlen(rows[i].name);
	for (i = 0; i < n_rows; i++)
		print_row(&rows[i], width, out);
}
