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
