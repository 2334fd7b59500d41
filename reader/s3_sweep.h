/*
 * s3_sweep.h - multipart uploads that nobody commits any more
 *
 * A reader that was killed leaves its uploads in the bucket, where they cost
 * money and are seen by nobody. A sweep, at the start and on a timer, aborts
 * those that are *ours* (their key is one that s3_names makes) and *stale*: begun,
 * last given a part and last paused more than READER_STAGED_TTL ago, and in no
 * sink of this process. Several readers may share a prefix, so at the start, too,
 * only stale ones are aborted, unless READER_S3_EXCLUSIVE says that all of them
 * are left over from before.
 *
 * With an upload goes what it left besides: {id}.part, and {id}.json if there is
 * no content.
 */
#ifndef READER_S3_SWEEP_H
#define READER_S3_SWEEP_H

#include "reader/s3_sink.h"

/* The first sweep begins when the engine runs. NULL when out of memory. */
struct s3_sweep *s3_sweep_new(struct s3_store *store);

/* Free *sweep and null it; the engine must not run. */
void s3_sweep_free(struct s3_sweep **sweep);

/* On the engine's loop: stop what runs, and begin nothing more. */
void s3_sweep_stop(void *sweep);

#endif
