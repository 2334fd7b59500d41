/*
 * config_rows.h - shorthand for the rows of a settings table
 *
 * For the two files that define such a table. Define SETTINGS as the struct's
 * type, then include this; the macros make one struct config_row each.
 */
#ifndef COMMON_CONFIG_ROWS_H
#define COMMON_CONFIG_ROWS_H

#include "common/config.h"

#define MEMBER_OF(m) \
	.offset = offsetof(SETTINGS, m), .size = sizeof(((SETTINGS *)NULL)->m)

/* Variable, member, default, help. */
#define TEXT(n, m, d, h) \
	{ .name = (n), .kind = CONFIG_STRING, MEMBER_OF(m), .fallback = (d), \
	  .unit = "", .help = (h) }

#define SECRET(n, m, h) \
	{ .name = (n), .kind = CONFIG_SECRET, MEMBER_OF(m), .fallback = "", \
	  .unit = "", .help = (h) }

/* Variable, member, default ("true" or "false"), help. */
#define FLAG(n, m, d, h) \
	{ .name = (n), .kind = CONFIG_BOOL, MEMBER_OF(m), .fallback = (d), \
	  .unit = "", .help = (h) }

/* Variable, member, default, NULL-terminated choices, help. */
#define CHOICE(n, m, d, c, h) \
	{ .name = (n), .kind = CONFIG_CHOICE, MEMBER_OF(m), .fallback = (d), \
	  .choices = (c), .unit = "", .help = (h) }

/* Variable, member, default, check, help. */
#define CHECKED(n, m, d, c, h) \
	{ .name = (n), .kind = CONFIG_CHECKED, MEMBER_OF(m), .fallback = (d), \
	  .check = (c), .unit = "", .help = (h) }

/* Variable, member, default, help; "true" or "false". */
#define FLAG(n, m, d, h) \
	{ .name = (n), .kind = CONFIG_BOOL, MEMBER_OF(m), .fallback = (d), \
	  .unit = "", .help = (h) }

/* Kind, variable, member, default, least, most, unit, help. */
#define NUMBER(k, n, m, d, lo, hi, u, h) \
	{ .name = (n), .kind = (k), MEMBER_OF(m), .fallback = (d), \
	  .min = (lo), .max = (hi), .unit = (u), .help = (h) }

/* Milliseconds, up to a day. */
#define MS(n, m, d, lo, h) \
	NUMBER(CONFIG_U64, n, m, d, lo, 86400000, "ms", h)

#endif
