/*
 * uuid.h - object identifiers (RFC 9562)
 */
#ifndef COMMON_UUID_H
#define COMMON_UUID_H

#include "common/span.h"

#include <stdint.h>

#define UUID_TEXT_SIZE 37	/* 36 characters and a NUL */

/*
 * A new version 7 identifier for `wall_ms`, lower case, into `text`: its order
 * is the order of time, also within a millisecond of one thread (RFC 9562, 6.2
 * method 1). Randomness from getrandom(2) by OpenSSL's RAND_bytes.
 */
void uuid_v7(uint64_t wall_ms, char text[UUID_TEXT_SIZE]);

/*
 * The identifier of a name: version 8 over SHA-256 of `space`, a NUL and
 * `name`. The same everywhere, so that any instance derives the same one.
 */
void uuid_from_name(const char *space, struct span name,
		    char text[UUID_TEXT_SIZE]);

/*
 * When a version 7 identifier was made, in ms since 1970 (RFC 9562, 5.7), to *ms.
 * False: it is none. Whoever made it says so: any 48 bits are possible.
 */
bool uuid_time_ms(struct span text, uint64_t *ms);

/* Is it a UUID in its canonical lower-case form, of any version? */
bool uuid_is_valid(struct span text);

#endif
