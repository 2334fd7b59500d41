/*
 * clock.h - the two clocks, and a way to fake them in tests
 *
 * Every timeout is on the monotonic clock; the wall clock is only for what
 * people and other machines read (identifiers, dates).
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include "common/span.h"

#include <stdint.h>

/* Milliseconds on CLOCK_MONOTONIC; never goes back. */
uint64_t clock_monotonic_ms(void);

/* Microseconds on CLOCK_MONOTONIC. */
uint64_t clock_monotonic_us(void);

/* Milliseconds since 1970-01-01 00:00 UTC on CLOCK_REALTIME. */
uint64_t clock_wall_ms(void);

/*
 * From now on both clocks stand still at these milliseconds until the next
 * call; for tests, single-threaded.
 */
void clock_fake(uint64_t monotonic_ms, uint64_t wall_ms);

/* Both show real time again. */
void clock_fake_stop(void);

#define CLOCK_RFC3339_SIZE 25
#define CLOCK_HTTP_DATE_SIZE 30

/*
 * RFC 3339 in UTC with milliseconds, "2026-01-31T23:59:59.123Z"; `buf` holds
 * CLOCK_RFC3339_SIZE bytes.
 */
void clock_format_rfc3339(uint64_t wall_ms, char *buf);

/*
 * Read a time of RFC 3339 ("2026-01-31T23:59:59.123Z", any offset, digits behind
 * the third of a fraction dropped), or a date, which is its first moment in UTC;
 * from 1970 on. False when it is neither. A leap second is the next second.
 */
bool clock_parse_rfc3339(struct span text, uint64_t *wall_ms);

/*
 * IMF-fixdate (RFC 9110, 5.6.7), "Sun, 06 Nov 1994 08:49:37 GMT"; `buf` holds
 * CLOCK_HTTP_DATE_SIZE bytes.
 */
void clock_format_http_date(uint64_t wall_ms, char *buf);

/*
 * Read an HTTP-date, also of the obsolete forms (RFC 9110, 5.6.7): milliseconds
 * since 1970, 0 for what was before. False when it is none.
 */
bool clock_parse_http_date(struct span text, uint64_t *wall_ms);

#endif
