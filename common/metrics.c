#include "common/metrics.h"

#include "common/check.h"
#include "common/span.h"
#include "common/utf8.h"

#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum metric_type { COUNTER, GAUGE, HISTOGRAM };

static const char *const type_names[] = {"counter", "gauge", "histogram"};

struct metric {
	struct metric *next; /* in the family, in the order of registration */
	enum metric_type type;
	char *label; /* `name="value"`, escaped; "" for none */
	_Atomic int64_t value;
	/* histograms */
	double *bounds;
	size_t n_bounds;
	_Atomic uint64_t *counts; /* of each bound, and one more for +Inf */
	_Atomic uint64_t sum_ms;
};

struct family {
	struct family *next; /* in the order of registration */
	enum metric_type type;
	char *name;
	char *help;
	struct metric *first;
	struct metric **last;
};

/* Guards the lists, not the numbers, which are atomic. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct family *families;
static struct family **last_family = &families;

/* Text. */

/* `text` as UTF-8 with \ and the line feed escaped, in quotes also ". */
static void print_escaped(FILE *out, struct span text, bool in_quotes)
{
	uint32_t code = 0;
	size_t len;

	for (; text.len > 0; text.ptr += len, text.len -= len) {
		len = utf8_next(text, &code);
		if (len == 0) {
			fputs(UTF8_REPLACEMENT, out);
			len = 1;
		} else if (code == '\n') {
			fputs("\\n", out);
		} else {
			if (code == '\\' || (in_quotes && code == '"'))
				fputc('\\', out);
			fwrite(text.ptr, 1, len, out);
		}
	}
}

static void print_head(FILE *out, const char *name, const char *help,
		       enum metric_type type)
{
	fprintf(out, "# HELP %s ", name);
	print_escaped(out, span_of(help), false);
	fprintf(out, "\n# TYPE %s %s\n", name, type_names[type]);
}

/* NAME_suffix{label,le="bound"} without what is empty. */
static void print_name(FILE *out, const char *name, const char *suffix,
		       const char *label, const char *le)
{
	fprintf(out, "%s%s", name, suffix);
	if (*label || *le)
		fprintf(out, "{%s%s%s}", label, *label && *le ? "," : "", le);
	fputc(' ', out);
}

static uint64_t load(const _Atomic uint64_t *number)
{
	return atomic_load_explicit(number, memory_order_relaxed);
}

static void print_bucket(FILE *out, const struct family *family,
			 const struct metric *metric, const char *bound,
			 uint64_t count)
{
	char le[64];

	snprintf(le, sizeof(le), "le=\"%s\"", bound);
	print_name(out, family->name, "_bucket", metric->label, le);
	fprintf(out, "%" PRIu64 "\n", count);
}

/* The count is the sum of the buckets read here, so that they agree. */
static void print_histogram(FILE *out, const struct family *family,
			    const struct metric *metric)
{
	uint64_t sum_ms = load(&metric->sum_ms);
	uint64_t count = 0;
	char bound[32];
	size_t i;

	for (i = 0; i < metric->n_bounds; i++) {
		count += load(&metric->counts[i]);
		snprintf(bound, sizeof(bound), "%.15g", metric->bounds[i]);
		print_bucket(out, family, metric, bound, count);
	}
	count += load(&metric->counts[i]);
	print_bucket(out, family, metric, "+Inf", count);
	print_name(out, family->name, "_sum", metric->label, "");
	fprintf(out, "%" PRIu64 ".%03" PRIu64 "\n", sum_ms / 1000,
		sum_ms % 1000);
	print_name(out, family->name, "_count", metric->label, "");
	fprintf(out, "%" PRIu64 "\n", count);
}

static void print_family(FILE *out, const struct family *family)
{
	const struct metric *metric;

	print_head(out, family->name, family->help, family->type);
	for (metric = family->first; metric; metric = metric->next) {
		if (family->type == HISTOGRAM) {
			print_histogram(out, family, metric);
			continue;
		}
		print_name(out, family->name, "", metric->label, "");
		fprintf(out, "%" PRId64 "\n", metric_value(metric));
	}
}

/* Registration: at start, where running out of memory ends the program. */

static void *must(void *allocated)
{
	if (!allocated) {
		fputs("out of memory for metrics\n", stderr);
		exit(EXIT_FAILURE);
	}
	return allocated;
}

static char *format_label(const char *label, const char *value)
{
	char *text = NULL;
	size_t len;
	FILE *out = must(open_memstream(&text, &len));

	if (label) {
		fprintf(out, "%s=\"", label);
		print_escaped(out, span_of(value), true);
		fputc('"', out);
	}
	must(fclose(out) == 0 ? text : NULL);
	return text;
}

static bool is_name(const char *name)
{
	size_t i;

	for (i = 0; name[i]; i++) {
		bool digit = name[i] >= '0' && name[i] <= '9';

		if (!(digit && i > 0) && name[i] != '_' &&
		    !(name[i] >= 'a' && name[i] <= 'z'))
			return false;
	}
	return i > 0;
}

static bool ends_in(const char *name, const char *end)
{
	size_t len = strlen(name), n = strlen(end);

	return len > n && !strcmp(name + len - n, end);
}

static struct family *add_family(const char *name, const char *help,
				 enum metric_type type)
{
	struct family *family = must(calloc(1, sizeof(*family)));

	CHECK(is_name(name));
	CHECK(type != COUNTER || ends_in(name, "_total"));
	family->type = type;
	family->name = must(strdup(name));
	family->help = must(strdup(help));
	family->last = &family->first;
	*last_family = family;
	last_family = &family->next;
	return family;
}

static struct family *find_family(const char *name)
{
	struct family *family;

	for (family = families; family; family = family->next)
		if (!strcmp(family->name, name))
			return family;
	return NULL;
}

static struct metric *find_metric(const struct family *family,
				  const char *label)
{
	struct metric *metric;

	for (metric = family->first; metric; metric = metric->next)
		if (!strcmp(metric->label, label))
			return metric;
	return NULL;
}

/* Takes `label`, as format_label() makes it. */
static struct metric *add_metric(struct family *family, char *label,
				 const double *bounds, size_t n_bounds)
{
	struct metric *metric = must(calloc(1, sizeof(*metric)));

	metric->type = family->type;
	metric->label = label;
	if (family->type == HISTOGRAM) {
		metric->n_bounds = n_bounds;
		metric->bounds = must(calloc(n_bounds + 1, sizeof(double)));
		metric->counts =
			must(calloc(n_bounds + 1, sizeof(*metric->counts)));
		if (n_bounds > 0)
			memcpy(metric->bounds, bounds,
			       n_bounds * sizeof(double));
	}
	*family->last = metric;
	family->last = &metric->next;
	return metric;
}

static struct metric *find_or_add(enum metric_type type, const char *name,
				  const char *help, const char *label,
				  const char *value, const double *bounds,
				  size_t n_bounds)
{
	char *text = format_label(label, value);
	struct family *family;
	struct metric *metric;

	CHECK(!label || is_name(label));
	pthread_mutex_lock(&lock);
	family = find_family(name);
	if (!family)
		family = add_family(name, help, type);
	CHECK(family->type == type);
	metric = find_metric(family, text);
	if (metric)
		free(text);
	else
		metric = add_metric(family, text, bounds, n_bounds);
	pthread_mutex_unlock(&lock);
	return metric;
}

struct metric *metrics_counter(const char *name, const char *help,
			       const char *label, const char *value)
{
	return find_or_add(COUNTER, name, help, label, value, NULL, 0);
}

struct metric *metrics_gauge(const char *name, const char *help,
			     const char *label, const char *value)
{
	return find_or_add(GAUGE, name, help, label, value, NULL, 0);
}

struct metric *metrics_histogram(const char *name, const char *help,
				 const char *label, const char *value,
				 const double *bounds, size_t n_bounds)
{
	size_t i;

	for (i = 1; i < n_bounds; i++)
		CHECK(bounds[i - 1] < bounds[i]);
	return find_or_add(HISTOGRAM, name, help, label, value, bounds,
			   n_bounds);
}

static void free_metrics(struct metric *metric)
{
	while (metric) {
		struct metric *next = metric->next;

		free(metric->label);
		free(metric->bounds);
		free(metric->counts);
		free(metric);
		metric = next;
	}
}

void metrics_exit(void)
{
	pthread_mutex_lock(&lock);
	while (families) {
		struct family *family = families;

		families = family->next;
		free_metrics(family->first);
		free(family->name);
		free(family->help);
		free(family);
	}
	last_family = &families;
	pthread_mutex_unlock(&lock);
}

/* Counting. */

void metric_add(struct metric *metric, int64_t amount)
{
	CHECK(metric->type == GAUGE ||
	      (metric->type == COUNTER && amount >= 0));
	atomic_fetch_add_explicit(&metric->value, amount, memory_order_relaxed);
}

void metric_set(struct metric *metric, int64_t value)
{
	CHECK(metric->type == GAUGE);
	atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

int64_t metric_value(const struct metric *metric)
{
	CHECK(metric->type != HISTOGRAM);
	return atomic_load_explicit(&metric->value, memory_order_relaxed);
}

void metric_observe_ms(struct metric *metric, uint64_t ms)
{
	double seconds = (double)ms / 1000;
	size_t i = 0;

	CHECK(metric->type == HISTOGRAM);
	while (i < metric->n_bounds && seconds > metric->bounds[i])
		i++;
	atomic_fetch_add_explicit(&metric->counts[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&metric->sum_ms, ms, memory_order_relaxed);
}

/*
 * The process's own, by the names that Prometheus clients agree on. What
 * cannot be read (no file descriptor is free, no /proc) is left out.
 */

static void print_process_value(FILE *out, const char *name, const char *help,
				enum metric_type type, double value)
{
	print_head(out, name, help, type);
	fprintf(out, "%s %.15g\n", name, value);
}

/* proc(5): /proc/self/statm, the second number, in pages. */
static void print_resident_memory(FILE *out)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long pages;

	if (!file)
		return;
	if (fscanf(file, "%*u %lu", &pages) == 1)
		print_process_value(out, "process_resident_memory_bytes",
				    "Resident memory size in bytes.", GAUGE,
				    (double)pages *
					    (double)sysconf(_SC_PAGESIZE));
	fclose(file);
}

static void print_open_fds(FILE *out)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	int n = -1; /* less the one that reads the folder */

	if (!dir)
		return;
	while ((entry = readdir(dir)) != NULL)
		n += entry->d_name[0] != '.';
	closedir(dir);
	print_process_value(out, "process_open_fds",
			    "Number of open file descriptors.", GAUGE, n);
}

static void print_cpu_seconds(FILE *out)
{
	struct timespec t;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0)
		print_process_value(
			out, "process_cpu_seconds_total",
			"Total user and system CPU time spent in seconds.",
			COUNTER, (double)t.tv_sec + (double)t.tv_nsec / 1e9);
}

/* proc(5): field 22 of /proc/self/stat, in clock ticks since boot. */
static bool read_start_ticks(unsigned long long *ticks)
{
	FILE *file = fopen("/proc/self/stat", "re");
	char text[1024];
	const char *at;
	size_t n;

	if (!file)
		return false;
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	/* the second field, the name in brackets, may hold anything */
	at = strrchr(text, ')');
	return at && sscanf(at + 1,
			    " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
			    " %*s %*s %*s %*s %*s %*s %*s %llu",
			    ticks) == 1;
}

static bool read_boot_time(unsigned long long *seconds)
{
	FILE *file = fopen("/proc/stat", "re");
	bool found = false;
	char line[256];

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file))
		found = sscanf(line, "btime %llu", seconds) == 1;
	fclose(file);
	return found;
}

/* With the lock: it is read once, so that it never changes. */
static void print_start_time(FILE *out)
{
	static double start;
	unsigned long long boot, ticks;

	if (start == 0 && read_boot_time(&boot) && read_start_ticks(&ticks))
		start = (double)boot +
			(double)ticks / (double)sysconf(_SC_CLK_TCK);
	if (start > 0)
		print_process_value(out, "process_start_time_seconds",
				    "Start time of the process since unix "
				    "epoch in seconds.",
				    GAUGE, start);
}

static void print_all(FILE *out)
{
	const struct family *family;

	pthread_mutex_lock(&lock);
	for (family = families; family; family = family->next)
		print_family(out, family);
	print_resident_memory(out);
	print_open_fds(out);
	print_cpu_seconds(out);
	print_start_time(out);
	pthread_mutex_unlock(&lock);
}

char *metrics_render(size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);
	bool failed;

	if (!out)
		return NULL;
	print_all(out);
	failed = ferror(out) != 0;
	if (fclose(out) != 0 || failed) {
		free(text);
		return NULL;
	}
	return text;
}
