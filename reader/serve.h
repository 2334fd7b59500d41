/*
 * serve.h - objects as they are asked for: content, description, list
 *
 * Objects never change once they are committed, so the digest is a strong
 * validator (RFC 9110, 8.8.3). Content leaves by http_reply_file().
 */
#ifndef READER_SERVE_H
#define READER_SERVE_H

#include "reader/thread.h"

/* Answer GET /objects/{id}; `id` is a valid UUID. */
void serve_object(struct reader_thread *thread, struct http_exchange *x,
		  const char *id);

/* Answer HEAD /objects/{id}, also of an object that is not committed yet. */
void serve_description(struct reader_thread *thread, struct http_exchange *x,
		       const char *id);

/* Answer GET /objects?q=&after=&limit=. */
void serve_list(struct reader_thread *thread, struct http_exchange *x);

#endif
