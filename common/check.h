/*
 * check.h - assertions that stay on in release builds
 *
 * CHECK() guards what only a bug can break. What the world can break (a peer,
 * a disk, an operator) is an error, see err.h, never a CHECK.
 */
#ifndef COMMON_CHECK_H
#define COMMON_CHECK_H

/* Print `what` with its place to standard error and abort(). Never returns. */
_Noreturn void check_failed(const char *what, const char *file, int line);

/* Abort with a message when `cond` is false; evaluates `cond` once. */
#define CHECK(cond) \
	((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

#endif
