/*
 * metrics.h - counters, gauges and histograms in Prometheus text format
 *
 * Families are registered at start (or when a label value, such as a target's
 * name, is first known at start); from then on adding is one relaxed atomic
 * operation and allocates nothing. Exposition format: text/plain;
 * version=0.0.4.
 */
#ifndef COMMON_METRICS_H
#define COMMON_METRICS_H

#include <stddef.h>
#include <stdint.h>

struct metric;		/* one time series; lives until metrics_exit() */

/*
 * Register, or find, the series `name{label="value"}`; `label` NULL for none.
 * `help` is the family's. Label values are escaped. Never NULL: running out of
 * memory at start is fatal. Counters end in _total.
 */
struct metric *metrics_counter(const char *name, const char *help,
			       const char *label, const char *value);
struct metric *metrics_gauge(const char *name, const char *help,
			     const char *label, const char *value);

/*
 * A histogram of seconds with the given ascending upper bounds (copied);
 * +Inf is added.
 */
struct metric *metrics_histogram(const char *name, const char *help,
				 const char *label, const char *value,
				 const double *bounds, size_t n_bounds);

/* Counter or gauge: add (gauges also take negative amounts). Any thread. */
void metric_add(struct metric *metric, int64_t amount);

/* Gauge: set. */
void metric_set(struct metric *metric, int64_t value);

/* Counter or gauge: the value now (tests). */
int64_t metric_value(const struct metric *metric);

/* Histogram: one observation. */
void metric_observe_ms(struct metric *metric, uint64_t ms);

/*
 * All families as text, plus the process's own (process_resident_memory_bytes,
 * process_open_fds, process_cpu_seconds_total, process_start_time_seconds). A
 * malloc'ed string of *len bytes for the caller to free, or NULL.
 */
char *metrics_render(size_t *len);

/* Forget and free everything (tests, exit). */
void metrics_exit(void);

#endif
