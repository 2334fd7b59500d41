/*
 * random.h - random numbers for tests that a seed brings back
 *
 * random_begin() prints the seed; the variable TEST_SEED repeats a run.
 */
#ifndef TESTS_UNIT_RANDOM_H
#define TESTS_UNIT_RANDOM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t random_state;

/* Seed from TEST_SEED, else from the clock, and say so. */
static inline void random_begin(const char *suite)
{
	const char *seed = getenv("TEST_SEED");

	random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	printf("%s: TEST_SEED=%llu\n", suite, (unsigned long long)random_state);
	fflush(stdout);
}

/* 0 … n - 1, by splitmix64: the same numbers everywhere for one seed. */
static inline size_t random_below(size_t n)
{
	uint64_t z = (random_state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (size_t)((z ^ (z >> 31)) % n);
}

#endif
