/*
 * s3_probe.h - what this server honours, found out by trying
 *
 *   is the bucket there? ─▶ put a probe ─▶ put it again, if there is none ─▶
 *   put another body than its SHA-256 says ─▶ delete it
 *
 * At the start, and again every 5 s until the server has said it: one that is away
 * or busy has not. Until then the engine takes the server for one that honours
 * nothing. Each result is logged as "s3_store", but the same error only once.
 */
#ifndef READER_S3_PROBE_H
#define READER_S3_PROBE_H

#include "reader/s3_request.h"

struct s3_probe;

/*
 * Try for the first time, running the engine's loop, which nobody else may run
 * yet. What is wrong with the bucket is only logged: it is put right without us.
 * NULL when out of memory.
 */
struct s3_probe *s3_probe_new(struct s3_engine *engine);

/* Free *probe and null it; the engine must not run. */
void s3_probe_free(struct s3_probe **probe);

/* On the engine's loop: stop what runs, and begin nothing more. */
void s3_probe_stop(void *probe);

#endif
