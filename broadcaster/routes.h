/*
 * routes.h - the broadcaster's URLs
 */
#ifndef BROADCASTER_ROUTES_H
#define BROADCASTER_ROUTES_H

#include "broadcaster/front.h"

/*
 * Entry of every request (an http_request_fn; `arg` is the struct front): finds
 * the route, checks method, token and framing, and hands on. Nothing of a body
 * has been read, and 100 Continue has not been sent.
 */
void routes_on_request(void *arg, struct http_exchange *x);

#endif
