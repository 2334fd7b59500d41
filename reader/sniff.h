/*
 * sniff.h - what kind of content an object has, from its first bytes
 *
 * Clients that do not know a type say application/octet-stream or nothing. Then
 * the first SNIFF_BYTES are kept while the object is open, and libmagic is asked
 * when it is complete. What it finds is a hint for people and players: readers
 * send everything as an attachment with nosniff, so that a wrong or hostile
 * type does no harm.
 *
 * libmagic works in a process of its own (sniff_helper.h), asked by one thread at
 * a time. Whoever asks may wait: so only worker threads do.
 */
#ifndef READER_SNIFF_H
#define READER_SNIFF_H

#include "reader/sink.h"

#define SNIFF_BYTES 4096u

struct sniffer;

/* Start the helper: tens of ms. NULL, and a log line why, if it cannot. */
struct sniffer *sniffer_new(void);

/* Free *sniffer and null it; NULL inside is fine. */
void sniffer_free(struct sniffer **sniffer);

/* Is this type, as the client gave it, none? */
bool sniff_is_wanted(const char *content_type);

/* The first bytes of an object; of zeroes: none are kept. */
struct sniff_head {
	char *bytes;
	size_t len, size;
};

/*
 * Make room for those of an object of `object_size` bytes, or of
 * OBJECT_SIZE_UNKNOWN. -1 when out of memory.
 */
int sniff_head_init(struct sniff_head *head, uint64_t object_size) MUST_CHECK;

/* Free it: nothing is kept any more. Idempotent. */
void sniff_head_release(struct sniff_head *head);

/* Take of `bytes`, which lie at `offset`, those that belong to the first ones. */
void sniff_head_take(struct sniff_head *head, uint64_t offset,
		     struct span bytes);

/*
 * Write the type of the content to `content_type`, or leave it when nothing is
 * known. Blocks; any thread.
 */
void sniffer_look(struct sniffer *sniffer, const struct sniff_head *head,
		  char content_type[OBJECT_TYPE_SIZE]);

#endif
