/*
 * routes.h - which part of the reader answers a request
 *
 *   /objects               GET                             list, search
 *   /objects/{id}          GET HEAD PUT PATCH DELETE       one object
 *   /objects/{id}/commit   POST                            make it visible
 *   /upload                POST                            a form
 *   /healthz /readyz /metrics   GET                        without a token
 *
 * Authorisation comes before anything else is told, and before the client is
 * told to send its body. Methods a resource does not have: 405 with Allow.
 */
#ifndef READER_ROUTES_H
#define READER_ROUTES_H

#include "reader/thread.h"

/* An http_request_fn; `thread` is the struct reader_thread it came in on. */
void route_request(void *thread, struct http_exchange *x);

#endif
