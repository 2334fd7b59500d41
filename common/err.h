/*
 * err.h - one error: who must act, which HTTP status, and a sentence
 *
 * Lives on the caller's stack. The first error wins: err_set() on an error
 * that is already set changes nothing, so the deepest and earliest reason is
 * the one people read. Pure: no library, no log.
 *
 * Calling sequence: struct err err = ERR_INIT; if (f(…, &err) < 0) use err.
 */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

#include "common/check.h"

#include <stdbool.h>

/* Who must act. */
enum err_code {
	ERR_NONE = 0,
	ERR_CONFIG,	/* the operator: a setting is wrong; stops the start */
	ERR_CLIENT,	/* whoever sent the request: 400 unless set finer */
	ERR_TARGET,	/* the operator of a target: 502 */
	ERR_STORE,	/* the operator of a store: 500 */
	ERR_REFUSED,	/* a store looked at the content and refuses it: 422 */
	ERR_CONFLICT,	/* the object is in another state: 409 */
	ERR_NOT_FOUND,	/* no such object: 404 */
	ERR_LIMIT,	/* a limit was reached, try later: 503 */
	ERR_MEMORY,	/* out of memory at admission: 503 */
};

struct err {
	enum err_code code;
	int status;	/* HTTP status when finer than the code's; or 0 */
	char text[200];	/* one sentence, no final full stop, NUL-terminated */
};

#define ERR_INIT ((struct err){ .code = ERR_NONE })

/* Set `err` unless it is set already. Always returns -1, for `return err_set(…)`. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

/* As err_set() with ERR_CLIENT and an explicit HTTP status (RFC 9110, 15.5). */
int err_set_status(struct err *err, int status, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

/* As err_set(), appending strerror(errnum): "TEXT: No space left on device". */
int err_set_errno(struct err *err, enum err_code code, int errnum,
		  const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Is an error set? */
bool err_is_set(const struct err *err);

/* The HTTP status this error is answered with: err->status, else the code's. */
int err_http_status(const struct err *err);

#endif
