/*
 * log.h - one line a decision: logfmt or JSON on standard error, never blocking
 *
 * A line has a time, a level, an event name and fields. Values are escaped, so
 * that no peer can forge a line. Lines go through a bounded queue to a writer
 * thread; when the queue is full a line is dropped and counted, and the next
 * one that fits says how many (`log_dropped`). Before log_init() and after
 * log_exit() lines are written directly. Bounds: a value of 1 KiB (cut, with
 * "..."), a line of 8 KiB (fields left out, with `cut`), a queue of 256 KiB.
 *
 *   log_line(LOG_INFO, "upload",
 *            LOG_STR("id", id), LOG_U64("bytes", n), LOG_STR("reason", text));
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "common/err.h"
#include "common/span.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Names of levels and formats, NULL-terminated, for configuration tables. */
extern const char *const log_level_names[];
extern const char *const log_format_names[];

struct log_field {
	const char *key;
	enum { LOG_IS_SPAN, LOG_IS_U64 } kind;
	struct span text;
	uint64_t number;
};

#define LOG_STR(k, s) \
	((struct log_field){ .key = (k), .kind = LOG_IS_SPAN, .text = span_of(s) })
#define LOG_SPAN(k, sp) \
	((struct log_field){ .key = (k), .kind = LOG_IS_SPAN, .text = (sp) })
#define LOG_U64(k, n) \
	((struct log_field){ .key = (k), .kind = LOG_IS_U64, .number = (n) })

/* Write a line when `level` is enabled. Any thread; copies all it needs. */
#define log_line(level, event, ...) \
	log_fields((level), (event), (struct log_field[]){ __VA_ARGS__ }, \
		   sizeof((struct log_field[]){ __VA_ARGS__ }) / \
			   sizeof(struct log_field))

/* log_line() with the fields counted; for its macro. */
void log_fields(enum log_level level, const char *event,
		const struct log_field *fields, size_t n_fields);

/* Is this level written? To skip work that only a debug line needs. */
bool log_enabled(enum log_level level);

/*
 * Start the writer thread. `format` is "logfmt" or "json"; lines below `level`
 * are not written. -1 with ERR_CONFIG.
 */
int log_init(enum log_level level, const char *format, struct err *err)
	MUST_CHECK;

/*
 * Write what is queued, stop the thread. Waits two seconds at most; when
 * standard error is stuck for longer, what is queued or comes later is lost.
 */
void log_exit(void);

/* Lines dropped since the start: standard error was too slow, or failed. */
uint64_t log_dropped(void);

#endif
