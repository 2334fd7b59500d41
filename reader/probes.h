/*
 * probes.h - what orchestration and monitoring ask; without a token
 */
#ifndef READER_PROBES_H
#define READER_PROBES_H

#include "reader/thread.h"

/* Answer GET /healthz: the loop runs. */
void probe_health(struct reader_thread *thread, struct http_exchange *x);

/* Answer GET /readyz: 200, or 503 with the store's reason or when draining. */
void probe_ready(struct reader_thread *thread, struct http_exchange *x);

/* Answer GET /metrics, Prometheus text format 0.0.4. */
void probe_metrics(struct reader_thread *thread, struct http_exchange *x);

#endif
