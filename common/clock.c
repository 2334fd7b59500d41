#include "common/clock.h"

#include "common/check.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

/* 9999-12-31T23:59:59.999Z: later years do not fit the formats */
#define LAST_MS UINT64_C(253402300799999)

static struct {
	bool on;
	uint64_t monotonic_ms;
	uint64_t wall_ms;
} fake;

static uint64_t microseconds(clockid_t which)
{
	struct timespec t;

	CHECK(clock_gettime(which, &t) == 0);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t clock_monotonic_ms(void)
{
	return clock_monotonic_us() / 1000;
}

uint64_t clock_monotonic_us(void)
{
	if (fake.on)
		return fake.monotonic_ms * 1000;
	return microseconds(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ms(void)
{
	if (fake.on)
		return fake.wall_ms;
	return microseconds(CLOCK_REALTIME) / 1000;
}

void clock_fake(uint64_t monotonic_ms, uint64_t wall_ms)
{
	fake.on = true;
	fake.monotonic_ms = monotonic_ms;
	fake.wall_ms = wall_ms;
}

void clock_fake_stop(void)
{
	fake.on = false;
}

static void calendar(uint64_t wall_ms, struct tm *tm)
{
	time_t seconds = (time_t)(wall_ms / 1000);

	CHECK(gmtime_r(&seconds, tm) != NULL);
}

/* The modulo says to the compiler what the calendar promises: two digits. */
static unsigned int two(int n)
{
	return (unsigned int)n % 100;
}

static unsigned int year_of(const struct tm *tm)
{
	return (unsigned int)(tm->tm_year + 1900) % 10000;
}

void clock_format_rfc3339(uint64_t wall_ms, char *buf)
{
	uint64_t ms = wall_ms < LAST_MS ? wall_ms : LAST_MS;
	struct tm tm;

	calendar(ms, &tm);
	snprintf(buf, CLOCK_RFC3339_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
		 year_of(&tm), two(tm.tm_mon + 1), two(tm.tm_mday),
		 two(tm.tm_hour), two(tm.tm_min), two(tm.tm_sec),
		 (unsigned int)(ms % 1000));
}

/* Not strftime(): these names do not depend on a locale (RFC 9110, 5.6.7). */
void clock_format_http_date(uint64_t wall_ms, char *buf)
{
	static const char day[7][4] = {"Sun", "Mon", "Tue", "Wed",
				       "Thu", "Fri", "Sat"};
	static const char month[12][4] = {"Jan", "Feb", "Mar", "Apr",
					  "May", "Jun", "Jul", "Aug",
					  "Sep", "Oct", "Nov", "Dec"};
	struct tm tm;

	calendar(wall_ms < LAST_MS ? wall_ms : LAST_MS, &tm);
	snprintf(buf, CLOCK_HTTP_DATE_SIZE,
		 "%s, %02u %s %04u %02u:%02u:%02u GMT", day[tm.tm_wday],
		 two(tm.tm_mday), month[tm.tm_mon], year_of(&tm),
		 two(tm.tm_hour), two(tm.tm_min), two(tm.tm_sec));
}

/* ---- reading dates ------------------------------------------------------- */

/* Take exactly `n` digits. */
static bool take_digits(struct span *rest, size_t n, unsigned int *number)
{
	*number = 0;
	if (rest->len < n)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (rest->ptr[i] < '0' || rest->ptr[i] > '9')
			return false;
		*number = *number * 10 + (unsigned int)(rest->ptr[i] - '0');
	}
	*rest = span_make(rest->ptr + n, rest->len - n);
	return true;
}

/* Take one of the characters; 0 when the next is none of them. */
static char take_one_of(struct span *rest, const char *wanted)
{
	char c;

	if (rest->len == 0 || !rest->ptr[0] || !strchr(wanted, rest->ptr[0]))
		return 0;
	c = rest->ptr[0];
	*rest = span_make(rest->ptr + 1, rest->len - 1);
	return c;
}

static unsigned int days_in(unsigned int year, unsigned int month)
{
	static const unsigned int days[] = { 31, 28, 31, 30, 31, 30,
					     31, 31, 30, 31, 30, 31 };
	bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && is_leap);
}

/* Take "YYYY-MM-DD": its days since 1970. */
static bool take_date(struct span *rest, int64_t *days)
{
	unsigned int year, month, day;

	if (!take_digits(rest, 4, &year) || !take_one_of(rest, "-") ||
	    !take_digits(rest, 2, &month) || !take_one_of(rest, "-") ||
	    !take_digits(rest, 2, &day))
		return false;
	if (year < 1970 || month < 1 || month > 12 || day < 1 ||
	    day > days_in(year, month))
		return false;
	*days = (int64_t)day - 1;
	for (unsigned int m = 1; m < month; m++)
		*days += days_in(year, m);
	for (unsigned int y = 1970; y < year; y++)
		*days += 337 + days_in(y, 2);
	return true;
}

/* Take "hh:mm:ss" and a fraction: its milliseconds. */
static bool take_time(struct span *rest, int64_t *ms)
{
	unsigned int hour, minute, second, digit, weight = 100;

	if (!take_digits(rest, 2, &hour) || !take_one_of(rest, ":") ||
	    !take_digits(rest, 2, &minute) || !take_one_of(rest, ":") ||
	    !take_digits(rest, 2, &second))
		return false;
	if (hour > 23 || minute > 59 || second > 60)
		return false;
	*ms = ((int64_t)hour * 60 + minute) * 60000 + (int64_t)second * 1000;
	if (!take_one_of(rest, "."))
		return true;
	if (!take_digits(rest, 1, &digit))
		return false;
	do {
		*ms += (int64_t)digit * weight;
		weight /= 10;
	} while (take_digits(rest, 1, &digit));
	return true;
}

/* Take "Z", "+hh:mm" or "-hh:mm": milliseconds ahead of UTC. */
static bool take_offset(struct span *rest, int64_t *ms)
{
	unsigned int hour, minute;
	char sign = take_one_of(rest, "Zz+-");

	*ms = 0;
	if (sign == 'Z' || sign == 'z')
		return true;
	if (!sign || !take_digits(rest, 2, &hour) || !take_one_of(rest, ":") ||
	    !take_digits(rest, 2, &minute) || hour > 23 || minute > 59)
		return false;
	*ms = ((int64_t)hour * 60 + minute) * (sign == '-' ? -60000 : 60000);
	return true;
}

bool clock_parse_rfc3339(struct span text, uint64_t *wall_ms)
{
	int64_t days, ms = 0, offset = 0;

	if (!take_date(&text, &days))
		return false;
	if (text.len > 0 &&
	    (!take_one_of(&text, "Tt ") || !take_time(&text, &ms) ||
	     !take_offset(&text, &offset) || text.len > 0))
		return false;
	ms += days * INT64_C(86400000) - offset;
	*wall_ms = (uint64_t)ms;
	return ms >= 0;
}

static bool read_form(const char *text, const char *form, struct tm *tm)
{
	const char *end;

	*tm = (struct tm){ .tm_sec = 0 };
	end = strptime(text, form, tm);
	return end && !*end;
}

/* No form is longer: "Wednesday, 09-Nov-94 08:49:37 GMT". */
#define MAX_HTTP_DATE 40

bool clock_parse_http_date(struct span text, uint64_t *wall_ms)
{
	char copy[MAX_HTTP_DATE];
	time_t seconds;
	struct tm tm;

	/* IMF-fixdate; those of RFC 850 and of asctime() */
	if (!span_to_string(text, copy, sizeof(copy)) ||
	    (!read_form(copy, "%a, %d %b %Y %H:%M:%S GMT", &tm) &&
	     !read_form(copy, "%a, %d-%b-%y %H:%M:%S GMT", &tm) &&
	     !read_form(copy, "%a %b %d %H:%M:%S %Y", &tm)))
		return false;
	seconds = timegm(&tm);
	*wall_ms = seconds > 0 ? (uint64_t)seconds * 1000 : 0;
	return true;
}
