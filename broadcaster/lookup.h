/*
 * lookup.h - does a target hold a committed object under this id already?
 *
 * Asks all readers at once (HEAD /objects/ID) and adopts the copies found into
 * the legs of a broadcast that has not been opened.
 */
#ifndef BROADCASTER_LOOKUP_H
#define BROADCASTER_LOOKUP_H

#include "broadcaster/broadcast.h"

struct lookup;

/*
 * Ask for b->info.id. When all have answered (or could not), legs of targets
 * that hold it are COMMITTED, and done(owner) is called once, later. NULL: out of
 * memory. `b` must live until then or until the cancel.
 */
struct lookup *lookup_start(struct broadcast *b, loop_fn *done, void *owner);

/* Stop and free; done is not called. NULL inside is fine; nulls. */
void lookup_cancel(struct lookup **lookup);

#endif
