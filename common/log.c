#include "common/log.h"

#include "common/clock.h"
#include "common/utf8.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_BYTES (256 * 1024)
#define MAX_LINE 8192
/* of one value; the rest is cut, and "..." says so */
#define MAX_VALUE 1024
/* kept free in a line for what is added last */
#define MAX_TAIL 80
/* written at a time, and then free again */
#define MAX_PIECE (16 * 1024)
#define FLUSH_SECONDS 2

const char *const log_level_names[] = { "debug", "info", "warn", "error",
					NULL };
const char *const log_format_names[] = { "logfmt", "json", NULL };

/* One line while it is made; what does not fit as a whole is taken back. */
struct line {
	char text[MAX_LINE];
	size_t len;
	bool json;
	bool is_full;
};

/*
 * The queue is a ring of bytes. The writer writes straight from it and without
 * the lock: nobody else touches what is between `tail` and `head`.
 *
 *        tail            head
 *   ......[ lines, queued ]..............
 */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* for the writer */
	pthread_cond_t ended;	/* for log_exit() */
	pthread_t writer;
	enum {
		DIRECT,	  /* no writer: each line is written by its caller */
		QUEUED,	  /* a writer runs */
		STOPPING, /* a writer runs, and ends when all is written */
		BLOCKED,  /* as STOPPING, but too late: lines are dropped */
	} state;
	char bytes[QUEUE_BYTES];
	uint64_t head, tail; /* bytes ever queued, ever written */
	uint64_t n_dropped;
	uint64_t n_told; /* of n_dropped, how many a line has told of */
} queue = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
	.ended = PTHREAD_COND_INITIALIZER,
};

static atomic_int least_level = LOG_INFO;
static atomic_bool as_json;

/* Making a line. */

static void put(struct line *line, const char *text, size_t len)
{
	if (line->is_full || line->len + len > MAX_LINE - MAX_TAIL) {
		line->is_full = true;
		return;
	}
	memcpy(line->text + line->len, text, len);
	line->len += len;
}

static void put_text(struct line *line, const char *text)
{
	put(line, text, strlen(text));
}

static void put_escape(struct line *line, uint32_t code)
{
	char escape[16];

	switch (code) {
	case '"':
		put_text(line, "\\\"");
		return;
	case '\\':
		put_text(line, "\\\\");
		return;
	case '\n':
		put_text(line, "\\n");
		return;
	case '\r':
		put_text(line, "\\r");
		return;
	case '\t':
		put_text(line, "\\t");
		return;
	default:
		snprintf(escape, sizeof(escape), "\\u%04x",
			 (unsigned int)code & 0xffff);
		put_text(line, escape);
	}
}

/* C0, DEL, and C1, which a terminal obeys too; and what quoting needs. */
static bool needs_escape(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == '"' ||
	       code == '\\';
}

/* Inside quotes; the same rules for both formats, as JSON has them. */
static void put_escaped(struct line *line, struct span value)
{
	uint32_t code = 0;
	size_t len;

	for (; value.len > 0; value.ptr += len, value.len -= len) {
		len = utf8_next(value, &code);
		if (len == 0) {
			put_text(line, "\\ufffd");
			len = 1;
		} else if (needs_escape(code)) {
			put_escape(line, code);
		} else {
			put(line, value.ptr, len);
		}
	}
}

static bool is_bare(struct span value)
{
	size_t i;

	for (i = 0; i < value.len; i++) {
		char c = value.ptr[i];

		if (c <= ' ' || c > '~' || c == '=' || c == '"' || c == '\\')
			return false;
	}
	return value.len > 0;
}

/* The first MAX_VALUE bytes at most, and no character cut in two. */
static struct span shortened(struct span value)
{
	size_t len = MAX_VALUE;

	if (value.len <= MAX_VALUE)
		return value;
	while (len > MAX_VALUE - 4 && (value.ptr[len] & 0xc0) == 0x80)
		len--;
	return span_make(value.ptr, len);
}

static void put_value(struct line *line, struct span value)
{
	struct span kept = shortened(value);

	if (!line->json && kept.len == value.len && is_bare(value)) {
		put(line, value.ptr, value.len);
		return;
	}
	put_text(line, "\"");
	put_escaped(line, kept);
	put_text(line, kept.len < value.len ? "...\"" : "\"");
}

static void put_key(struct line *line, const char *key)
{
	if (line->len > 1)
		put_text(line, line->json ? "," : " ");
	put_text(line, line->json ? "\"" : "");
	put_text(line, key);
	put_text(line, line->json ? "\":" : "=");
}

static void put_u64(struct line *line, uint64_t number)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
	put_text(line, digits);
}

/* A field that does not fit is left out, and so are those after it. */
static void put_field(struct line *line, const struct log_field *field)
{
	size_t before = line->len;

	put_key(line, field->key);
	if (field->kind == LOG_IS_U64)
		put_u64(line, field->number);
	else
		put_value(line, field->text);
	if (line->is_full)
		line->len = before;
}

static void start_line(struct line *line, enum log_level level,
		       const char *event)
{
	char time[CLOCK_RFC3339_SIZE];

	line->len = 0;
	line->is_full = false;
	line->json = atomic_load_explicit(&as_json, memory_order_relaxed);
	clock_format_rfc3339(clock_wall_ms(), time);
	put_text(line, line->json ? "{" : "");
	put_field(line, &LOG_STR("time", time));
	put_field(line, &LOG_STR("level", log_level_names[level]));
	put_field(line, &LOG_STR("event", event));
}

/* The tail of a line, in the room that put() leaves: it always fits. */
static void end_line(struct line *line, uint64_t n_dropped)
{
	const char *quote = line->json ? "\"" : "";
	const char *comma = line->json ? "," : " ";
	const char *equals = line->json ? ":" : "=";
	char *at = line->text + line->len;
	int n = 0;

	if (line->is_full)
		n += snprintf(at, MAX_TAIL, "%s%scut%s%strue", comma, quote,
			      quote, equals);
	if (n_dropped > 0)
		n += snprintf(at + n, (size_t)(MAX_TAIL - n),
			      "%s%slog_dropped%s%s%llu", comma, quote, quote,
			      equals, (unsigned long long)n_dropped);
	n += snprintf(at + n, (size_t)(MAX_TAIL - n), "%s\n",
		      line->json ? "}" : "");
	line->len += (size_t)n;
}

/* Writing. */

/* A file that takes nothing more (a full disk, a closed pipe) ends it. */
static bool write_all(const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, text, len);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd fd = {STDERR_FILENO, POLLOUT, 0};

			poll(&fd, 1, -1);
		} else if (n < 0 && errno != EINTR) {
			return false;
		} else if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return true;
}

static uint64_t count_lines(struct span text)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < text.len; i++)
		n += text.ptr[i] == '\n';
	return n;
}

/* What lies in one piece at the tail, and not too much of it. */
static struct span queued_piece(void)
{
	size_t at = queue.tail % QUEUE_BYTES;
	size_t len = (size_t)(queue.head - queue.tail);

	if (len > QUEUE_BYTES - at)
		len = QUEUE_BYTES - at;
	if (len > MAX_PIECE)
		len = MAX_PIECE;
	return span_make(queue.bytes + at, len);
}

static void write_piece(struct span piece)
{
	bool written;

	pthread_mutex_unlock(&queue.lock);
	written = write_all(piece.ptr, piece.len);
	pthread_mutex_lock(&queue.lock);
	if (!written)
		queue.n_dropped += count_lines(piece);
	queue.tail += piece.len;
}

/* Gives the file back to the callers in the moment the queue is empty. */
static void *run_writer(void *arg)
{
	pthread_mutex_lock(&queue.lock);
	while (queue.head > queue.tail || queue.state == QUEUED) {
		if (queue.head > queue.tail)
			write_piece(queued_piece());
		else
			pthread_cond_wait(&queue.changed, &queue.lock);
	}
	queue.state = DIRECT;
	pthread_cond_signal(&queue.ended);
	pthread_mutex_unlock(&queue.lock);
	return arg;
}

static void enqueue(struct line *line)
{
	size_t at = queue.head % QUEUE_BYTES;
	size_t first = QUEUE_BYTES - at;

	if (first > line->len)
		first = line->len;
	memcpy(queue.bytes + at, line->text, first);
	memcpy(queue.bytes, line->text + first, line->len - first);
	queue.head += line->len;
	pthread_cond_signal(&queue.changed);
}

/* With the lock: queue it, or count it. False: the caller has to write it. */
static bool hand_over(struct line *line)
{
	size_t room = (size_t)(QUEUE_BYTES - (queue.head - queue.tail));

	if (queue.state == BLOCKED ||
	    (queue.state != DIRECT && room < line->len + MAX_TAIL)) {
		queue.n_dropped++;
		return true;
	}
	end_line(line, queue.n_dropped - queue.n_told);
	queue.n_told = queue.n_dropped;
	if (queue.state == DIRECT)
		return false;
	enqueue(line);
	return true;
}

static void send_line(struct line *line)
{
	bool taken;

	pthread_mutex_lock(&queue.lock);
	taken = hand_over(line);
	pthread_mutex_unlock(&queue.lock);
	if (!taken)
		(void)write_all(line->text, line->len);
}

void log_fields(enum log_level level, const char *event,
		const struct log_field *fields, size_t n_fields)
{
	struct line line;
	size_t i;

	if (!log_enabled(level))
		return;
	start_line(&line, level, event);
	for (i = 0; i < n_fields; i++)
		put_field(&line, &fields[i]);
	send_line(&line);
}

bool log_enabled(enum log_level level)
{
	return (int)level >=
	       atomic_load_explicit(&least_level, memory_order_relaxed);
}

/* Start and end. */

/* The writer inherits a mask in which every signal is blocked. */
static int start_writer(void)
{
	sigset_t all, before;
	int status;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	status = pthread_create(&queue.writer, NULL, run_writer, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (status == 0)
		pthread_setname_np(queue.writer, "log");
	return status;
}

int log_init(enum log_level level, const char *format, struct err *err)
{
	int status = 0;

	if (strcmp(format, "logfmt") != 0 && strcmp(format, "json") != 0)
		return err_set(err, ERR_CONFIG,
			       "a log format of logfmt or json is allowed");
	pthread_mutex_lock(&queue.lock);
	CHECK(queue.state == DIRECT);
	atomic_store(&least_level, (int)level);
	atomic_store(&as_json, !strcmp(format, "json"));
	queue.state = QUEUED;
	status = start_writer();
	if (status != 0)
		queue.state = DIRECT;
	pthread_mutex_unlock(&queue.lock);
	if (status != 0)
		return err_set_errno(err, ERR_CONFIG, status,
				     "cannot start the log's thread");
	return 0;
}

/* With the lock: has the writer written all in time? */
static bool wait_for_end(void)
{
	struct timespec until;
	int status = 0;

	CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
	until.tv_sec += FLUSH_SECONDS;
	while (queue.state == STOPPING && status != ETIMEDOUT)
		status = pthread_cond_clockwait(&queue.ended, &queue.lock,
						CLOCK_MONOTONIC, &until);
	return queue.state == DIRECT;
}

/* A writer that hangs in write(2) is left there: no process waits for that. */
static void stop_writer(void)
{
	pthread_t writer = queue.writer;

	queue.state = STOPPING;
	pthread_cond_signal(&queue.changed);
	if (wait_for_end()) {
		pthread_join(writer, NULL);
	} else {
		queue.state = BLOCKED;
		pthread_detach(writer);
	}
}

void log_exit(void)
{
	pthread_mutex_lock(&queue.lock);
	if (queue.state == QUEUED)
		stop_writer();
	pthread_mutex_unlock(&queue.lock);
}

uint64_t log_dropped(void)
{
	uint64_t n;

	pthread_mutex_lock(&queue.lock);
	n = queue.n_dropped;
	pthread_mutex_unlock(&queue.lock);
	return n;
}
