/*
 * span.h - borrowed bytes: a pointer and a length
 *
 * A span never owns. Whoever hands one out says until when it is valid. Not
 * NUL-terminated; may hold any byte. Pure.
 */
#ifndef COMMON_SPAN_H
#define COMMON_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
	const char *ptr;
	size_t len;
};

/* A span over a string literal, without its NUL. */
#define SPAN_LIT(s) ((struct span){ "" s, sizeof(s) - 1 })

/* For printf("%.*s"). */
#define SPAN_ARG(s) (int)(s).len, (s).ptr

/* A span over `len` bytes at `ptr`. */
static inline struct span span_make(const char *ptr, size_t len)
{
	return (struct span){ ptr, len };
}

/* A span over the NUL-terminated `s`, valid as long as it. NULL is empty. */
static inline struct span span_of(const char *s)
{
	return (struct span){ s, s ? strlen(s) : 0 };
}

/* The same bytes? */
bool span_eq(struct span a, struct span b);

/* The same bytes, ASCII letters compared without case? */
bool span_eq_nocase(struct span a, struct span b);

/* Does `s` begin with `prefix`? */
bool span_starts_with(struct span s, struct span prefix);

/* `s` without leading and trailing SP and HTAB (RFC 9110, 5.6.3 OWS). */
struct span span_trim(struct span s);

/*
 * The part of *rest before the first `sep`, taken off *rest together with the
 * separator; without one all of it, and *rest becomes empty with ptr NULL.
 */
struct span span_cut(struct span *rest, char sep);

/*
 * Copy `s` to `buf` of `size` bytes and NUL-terminate. False, and an empty
 * string, when it does not fit or holds a NUL.
 */
bool span_to_string(struct span s, char *buf, size_t size);

#endif
