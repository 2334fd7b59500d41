/*
 * receive.h - PUT and PATCH: one object from a request's body into the store
 *
 * An object is claimed in the staging table, looked up in the store, opened,
 * and only then is the client told to go on (RFC 9110, 10.1.1); its bytes go
 * through a ring into the sink, and the answer says what the store made of
 * them. A PUT that does not end well leaves nothing; of a PATCH what arrived
 * stays under its offset.
 */
#ifndef READER_RECEIVE_H
#define READER_RECEIVE_H

#include "reader/thread.h"

/* Answer PUT /objects/{id}; `id` is a valid UUID. */
void receive_put(struct reader_thread *thread, struct http_exchange *x,
		 const char *id);

/* Answer PATCH /objects/{id}. */
void receive_patch(struct reader_thread *thread, struct http_exchange *x,
		   const char *id);

#endif
