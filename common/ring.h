/*
 * ring.h - one upload's fixed memory: one writer, one cursor for each target
 *
 *        tail                     head
 *         |<------- used -------->|<------ free ------>|   (modulo capacity)
 *         A          B          C
 *
 * Positions are 64-bit counts of bytes since the start of the object and never
 * wrap; their places in memory follow each other, modulo the capacity. The tail is
 * the slowest attached cursor. Invariant: tail <= every attached cursor <= head
 * <= tail + capacity. With no cursor attached the tail is the head: a ring that
 * nobody reads takes everything and keeps nothing.
 *
 * Calling sequence: ring_reserve(), write into the span, ring_commit(); each
 * reader: ring_peek(), send, ring_advance(). A detached cursor holds nothing
 * back. Pure; single-threaded; allocates only in ring_new().
 */
#ifndef COMMON_RING_H
#define COMMON_RING_H

#include "common/span.h"

#include <stdint.h>

#define RING_MIN_CAPACITY 1024u
#define RING_MAX_CAPACITY (1024u * 1024u * 1024u)

struct ring;

/* One reader's position. Owned by the reader; attached to at most one ring. */
struct ring_cursor {
	uint64_t position;	/* next byte to take, counted from byte 0 */
	struct ring_cursor *next;
	bool attached;
};

/*
 * A ring of `capacity` bytes (RING_MIN_CAPACITY … RING_MAX_CAPACITY, need not
 * be a power of two), positions at 0. NULL when out of memory.
 */
struct ring *ring_new(size_t capacity);

/* Free *ring and null it; no cursor may be attached. NULL inside is fine. */
void ring_free(struct ring **ring);

/* Back to position 0 for the next object; no cursor may be attached. */
void ring_reset(struct ring *ring);

/* Bytes of memory. */
size_t ring_capacity(const struct ring *ring);

/* Position of the writer: bytes committed so far. */
uint64_t ring_head(const struct ring *ring);

/* Position of the slowest attached cursor; the head when there is none. */
uint64_t ring_tail(const struct ring *ring);

/* head - tail: bytes that some cursor has not taken yet. */
size_t ring_used(const struct ring *ring);

/* capacity - used. */
size_t ring_space(const struct ring *ring);

/*
 * The contiguous free bytes that start `skip` bytes after the head; empty when
 * the ring is full (or skip >= space). Valid until the next commit.
 */
struct ring_room {
	char *ptr;
	size_t len;
} ring_reserve(const struct ring *ring, size_t skip);

/*
 * If the ring is empty, go on at the start of its memory: then all of it is one
 * room, and is sent by one call. Positions stay. No room may be in use.
 */
void ring_rewind(struct ring *ring);

/* Make the first `len` reserved bytes readable; len <= ring_space(). */
void ring_commit(struct ring *ring, size_t len);

/* Attach at the tail-most byte still held: position = ring_tail(). */
void ring_attach(struct ring *ring, struct ring_cursor *cursor);

/* Take the cursor out; a cursor that is not attached is left alone. */
void ring_detach(struct ring *ring, struct ring_cursor *cursor);

/* Bytes behind the head. From here on the cursor must be attached. */
size_t ring_lag(const struct ring *ring, const struct ring_cursor *cursor);

/*
 * The contiguous unread bytes at the cursor; empty when it has caught up.
 * Valid until the cursor advances past them.
 */
struct span ring_peek(const struct ring *ring,
		      const struct ring_cursor *cursor);

/* Move the cursor on by `len` <= ring_lag(). */
void ring_advance(struct ring *ring, struct ring_cursor *cursor, size_t len);

#endif
