/*
 * config.h - settings from the environment, by one table
 *
 * One row says a variable's name, kind, range, unit, default and help; the same
 * table parses, checks, prints --help and knows which names exist. A bad value
 * or an unknown name under the program's own prefixes is an error that names
 * the variable, the value and what is allowed. Pure: the environment is an
 * argument; nothing is printed except by config_help().
 */
#ifndef COMMON_CONFIG_H
#define COMMON_CONFIG_H

#include "common/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum config_kind {
	CONFIG_STRING,	/* char[size]: at most size - 1 bytes, no control characters */
	CONFIG_SECRET,	/* as CONFIG_STRING; its value never appears in messages */
	CONFIG_U64,	/* uint64_t: decimal digits, range min … max */
	CONFIG_SIZE,	/* uint64_t bytes: digits and optional K, M, G, T (or KiB …): 1024s */
	CONFIG_BOOL,	/* bool: true, false, 1, 0, yes, no, on, off */
	CONFIG_CHOICE,	/* int: the index of one of `choices` */
	CONFIG_CHECKED,	/* char[size], and check() must accept it */
};

struct config_row {
	const char *name;		/* "READER_HTTP_PORT" */
	enum config_kind kind;
	size_t offset;			/* of the member in the settings struct */
	size_t size;			/* of that member */
	const char *fallback;		/* the default, as text; never NULL */
	uint64_t min, max;		/* CONFIG_U64, CONFIG_SIZE */
	const char *const *choices;	/* CONFIG_CHOICE: NULL-terminated */
	/* CONFIG_CHECKED: 0, or -1 with what is allowed in `err` */
	int (*check)(const char *value, struct err *err);
	const char *unit;		/* "bytes", "ms", "" */
	const char *help;		/* one sentence */
};

/*
 * Fill `settings` from `env` ("NAME=value" strings, NULL-terminated, as
 * environ). Every row gets its value or its default; an empty value counts as
 * not set. Names in `env` that begin with one of `prefixes` (NULL-terminated)
 * but are in no row are errors that suggest the nearest name. -1 with
 * ERR_CONFIG on the first fault, like:
 *   READER_BUFFER_SIZE="12x": a size of 1024 to 1073741824 bytes is allowed
 */
int config_load(const struct config_row *rows, size_t n_rows,
		const char *const *prefixes, char *const *env, void *settings,
		struct err *err) MUST_CHECK;

/* Set one variable from text, as config_load() would (for flags). */
int config_set(const struct config_row *rows, size_t n_rows, const char *name,
	       const char *value, void *settings, struct err *err) MUST_CHECK;

/* Is it in `env`, and not empty? */
bool config_is_set(char *const *env, const char *name);

/* Print every row: name, default, unit, range or choices, help; aligned. */
void config_help(const struct config_row *rows, size_t n_rows, FILE *out);

#endif
