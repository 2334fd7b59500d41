/*
 * Open addressing with linear probing; at most half full, because it is made
 * for twice the number of connections there can be. Removal moves entries
 * back, so there are no tombstones.
 */
#include "common/http_server_impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct entry {
	struct in6_addr ip;
	uint32_t count;		/* 0 = free */
};

struct per_ip {
	size_t mask;
	uint64_t seed;
	struct entry entries[];
};

struct per_ip *per_ip_new(size_t n)
{
	size_t size = 16;
	struct per_ip *table;

	while (size < 2 * n)
		size *= 2;
	table = calloc(1, sizeof(*table) + size * sizeof(struct entry));
	if (!table)
		return NULL;
	table->mask = size - 1;
	/* without entropy the order is guessable, nothing worse */
	if (getrandom(&table->seed, sizeof(table->seed), GRND_NONBLOCK) < 0)
		table->seed = (uintptr_t)table;
	return table;
}

void per_ip_free(struct per_ip **table)
{
	free(*table);
	*table = NULL;
}

static size_t home(const struct per_ip *table, const struct in6_addr *ip)
{
	uint64_t half[2], h = table->seed;

	memcpy(half, ip, sizeof(half));
	for (int i = 0; i < 2; i++) {
		h = (h ^ half[i]) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	return (size_t)h & table->mask;
}

/* The entry of `ip`, or the free one where it belongs. */
static size_t find(const struct per_ip *table, const struct in6_addr *ip)
{
	size_t i = home(table, ip);

	while (table->entries[i].count &&
	       memcmp(&table->entries[i].ip, ip, sizeof(*ip)) != 0)
		i = (i + 1) & table->mask;
	return i;
}

bool per_ip_add(struct per_ip *table, const struct in6_addr *ip, size_t limit)
{
	struct entry *entry = &table->entries[find(table, ip)];

	if (entry->count >= limit)
		return false;
	entry->ip = *ip;
	entry->count++;
	return true;
}

/* Fill the gap at `hole` with what would not be found behind it. */
static void close_gap(struct per_ip *table, size_t hole)
{
	size_t i = hole, distance;

	for (;;) {
		i = (i + 1) & table->mask;
		if (!table->entries[i].count)
			break;
		distance = (i - home(table, &table->entries[i].ip)) &
			   table->mask;
		if (distance >= ((i - hole) & table->mask)) {
			table->entries[hole] = table->entries[i];
			hole = i;
		}
	}
	table->entries[hole].count = 0;
}

void per_ip_remove(struct per_ip *table, const struct in6_addr *ip)
{
	size_t i = find(table, ip);

	CHECK(table->entries[i].count > 0);
	if (--table->entries[i].count == 0)
		close_gap(table, i);
}
