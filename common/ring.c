#include "common/ring.h"

#include "common/check.h"

#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_BYTES ((size_t)4096)
/* From here on the kernel gives the pages, and only once they are touched. */
#define MMAP_MIN ((size_t)128 * 1024)

struct ring {
	char *memory;
	size_t capacity;
	uint64_t head;
	uint64_t origin;		/* the position at memory[0] */
	struct ring_cursor *cursors;	/* attached ones, in no order */
};

static size_t whole_pages(size_t bytes)
{
	return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static char *memory_new(size_t capacity)
{
	void *memory;

	if (capacity < MMAP_MIN)
		return aligned_alloc(PAGE_BYTES, whole_pages(capacity));
	memory = mmap(NULL, capacity, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

static void memory_free(char *memory, size_t capacity)
{
	if (capacity < MMAP_MIN)
		free(memory);
	else
		CHECK(munmap(memory, capacity) == 0);
}

struct ring *ring_new(size_t capacity)
{
	struct ring *ring;

	CHECK(capacity >= RING_MIN_CAPACITY && capacity <= RING_MAX_CAPACITY);
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return NULL;
	ring->capacity = capacity;
	ring->memory = memory_new(capacity);
	if (!ring->memory) {
		free(ring);
		return NULL;
	}
	return ring;
}

void ring_free(struct ring **ring)
{
	if (!*ring)
		return;
	CHECK(!(*ring)->cursors);
	memory_free((*ring)->memory, (*ring)->capacity);
	free(*ring);
	*ring = NULL;
}

void ring_reset(struct ring *ring)
{
	CHECK(!ring->cursors);
	ring->head = 0;
	ring->origin = 0;
}

size_t ring_capacity(const struct ring *ring)
{
	return ring->capacity;
}

uint64_t ring_head(const struct ring *ring)
{
	return ring->head;
}

/* A scan: a ring has a few dozen cursors at most, and they all move. */
uint64_t ring_tail(const struct ring *ring)
{
	const struct ring_cursor *cursor;
	uint64_t tail = ring->head;

	for (cursor = ring->cursors; cursor; cursor = cursor->next)
		if (cursor->position < tail)
			tail = cursor->position;
	return tail;
}

size_t ring_used(const struct ring *ring)
{
	return (size_t)(ring->head - ring_tail(ring));
}

size_t ring_space(const struct ring *ring)
{
	return ring->capacity - ring_used(ring);
}

/* Where in memory a position lies, and how far it goes on without wrapping. */
static struct ring_room room_at(const struct ring *ring, uint64_t position,
				size_t len)
{
	size_t at = (size_t)((position - ring->origin) % ring->capacity);
	size_t straight = ring->capacity - at;

	return (struct ring_room){ .ptr = ring->memory + at,
				   .len = len < straight ? len : straight };
}

struct ring_room ring_reserve(const struct ring *ring, size_t skip)
{
	size_t space = ring_space(ring);

	if (skip > space)
		skip = space;
	return room_at(ring, ring->head + skip, space - skip);
}

void ring_rewind(struct ring *ring)
{
	if (ring_used(ring) == 0)
		ring->origin = ring->head;
}

void ring_commit(struct ring *ring, size_t len)
{
	CHECK(len <= ring_space(ring));
	ring->head += len;
}

void ring_attach(struct ring *ring, struct ring_cursor *cursor)
{
	CHECK(!cursor->attached);
	cursor->position = ring_tail(ring);
	cursor->next = ring->cursors;
	cursor->attached = true;
	ring->cursors = cursor;
}

void ring_detach(struct ring *ring, struct ring_cursor *cursor)
{
	struct ring_cursor **link = &ring->cursors;

	if (!cursor->attached)
		return;
	while (*link && *link != cursor)
		link = &(*link)->next;
	CHECK(*link == cursor);
	*link = cursor->next;
	cursor->next = NULL;
	cursor->attached = false;
}

size_t ring_lag(const struct ring *ring, const struct ring_cursor *cursor)
{
	CHECK(cursor->attached && cursor->position <= ring->head);
	return (size_t)(ring->head - cursor->position);
}

struct span ring_peek(const struct ring *ring, const struct ring_cursor *cursor)
{
	struct ring_room unread =
		room_at(ring, cursor->position, ring_lag(ring, cursor));

	return span_make(unread.ptr, unread.len);
}

void ring_advance(struct ring *ring, struct ring_cursor *cursor, size_t len)
{
	CHECK(len <= ring_lag(ring, cursor));
	cursor->position += len;
}
