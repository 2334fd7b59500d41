#include "common/uuid.h"

#include "common/check.h"
#include "common/digest.h"

#include <openssl/rand.h>

#define UUID_BYTES 16
#define TIME_MASK ((UINT64_C(1) << 48) - 1)
#define COUNTER_MAX 0xfff
/* a wall clock set back by more than this is followed, by less waited out */
#define ROLLBACK_MS 10000

/* What one thread remembers; a forked child must not go on without exec(). */
static _Thread_local struct {
	uint64_t ms;
	unsigned int counter;
	size_t n_random;
	unsigned char random[512];
} here;

static void take_random(unsigned char *out, size_t n)
{
	if (here.n_random < n) {
		/* fails only where getrandom(2) does: there is no way on */
		CHECK(RAND_bytes(here.random, sizeof(here.random)) == 1);
		here.n_random = sizeof(here.random);
	}
	here.n_random -= n;
	memcpy(out, here.random + here.n_random, n);
}

/* A new millisecond begins at a random count that leaves room above it. */
static void start_counter(uint64_t ms)
{
	unsigned char seed[2];

	take_random(seed, sizeof(seed));
	here.ms = ms;
	here.counter = ((unsigned int)seed[0] << 8 | seed[1]) & COUNTER_MAX / 2;
}

/*
 * RFC 9562, 6.2: a fixed-length counter of 12 bits in rand_a; when it is full
 * the time runs ahead of the clock by a millisecond.
 */
static void next_count(uint64_t wall_ms)
{
	uint64_t ms = wall_ms & TIME_MASK;

	if (ms > here.ms || ms + ROLLBACK_MS < here.ms)
		start_counter(ms);
	else if (here.counter == COUNTER_MAX)
		start_counter(here.ms + 1);
	else
		here.counter++;
}

static void format(const unsigned char bytes[UUID_BYTES],
		   char text[UUID_TEXT_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	size_t i;

	for (i = 0; i < UUID_BYTES; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*text++ = '-';
		*text++ = digits[bytes[i] >> 4];
		*text++ = digits[bytes[i] & 15];
	}
	*text = '\0';
}

/* Set the version and the variant (RFC 9562, 4.1 and 4.2), and write it. */
static void finish(unsigned char bytes[UUID_BYTES], unsigned int version,
		   char text[UUID_TEXT_SIZE])
{
	bytes[6] = (unsigned char)(version << 4 | (bytes[6] & 0x0f));
	bytes[8] = (bytes[8] & 0x3f) | 0x80;
	format(bytes, text);
}

void uuid_v7(uint64_t wall_ms, char text[UUID_TEXT_SIZE])
{
	unsigned char bytes[UUID_BYTES];
	size_t i;

	next_count(wall_ms);
	for (i = 0; i < 6; i++)
		bytes[i] = (unsigned char)(here.ms >> (40 - 8 * i));
	bytes[6] = (unsigned char)(here.counter >> 8);
	bytes[7] = (unsigned char)here.counter;
	take_random(bytes + 8, 8);
	finish(bytes, 7, text);
}

void uuid_from_name(const char *space, struct span name,
		    char text[UUID_TEXT_SIZE])
{
	struct span parts[] = {
		span_make(space, strlen(space) + 1),
		name,
	};
	unsigned char bytes[DIGEST_SHA256_BYTES];

	digest_once(parts, 2, bytes);
	finish(bytes, 8, text);
}

static bool is_hex_digit(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool uuid_is_valid(struct span text)
{
	size_t i;

	if (text.len != UUID_TEXT_SIZE - 1)
		return false;
	for (i = 0; i < text.len; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text.ptr[i] != '-' : !is_hex_digit(text.ptr[i]))
			return false;
	}
	return true;
}

static unsigned int hex_value(char c)
{
	return (unsigned int)(c <= '9' ? c - '0' : c - 'a' + 10);
}

bool uuid_time_ms(struct span text, uint64_t *ms)
{
	/* version 7 of the variant 10xx (RFC 9562, 4.1) */
	if (!uuid_is_valid(text) || text.ptr[14] != '7' ||
	    (hex_value(text.ptr[19]) & 0xc) != 0x8)
		return false;
	*ms = 0;
	for (size_t i = 0; i < 13; i++)
		if (text.ptr[i] != '-')
			*ms = *ms << 4 | hex_value(text.ptr[i]);
	return true;
}
