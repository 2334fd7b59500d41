/*
 * receipt.h - what the client is told: the truth, target by target
 *
 * {"status":201,"message":"…","data":{"id","name","size","sha256","duration",
 *  "degraded","targets":[{"name","state","bytes","sha256","duration","error"}],
 *  "host:port":{the same entry}}}
 *
 * title and creator stand behind the name when they were given. A form with
 * several files has data.objects, one such data each. The envelope is that of Go
 * Stream Broadcast, so that its clients find what they know; POST /api/upload
 * gets the (first) object's "id" beside the status as well.
 */
#ifndef BROADCASTER_RECEIPT_H
#define BROADCASTER_RECEIPT_H

#include "broadcaster/ingest.h"

/* Answer the upload's exchange with its receipt; the state is ANSWERED then. */
void receipt_send(struct ingest *ingest);

/*
 * Answer a request that never became an upload, in the same envelope; `err`
 * gives status and message.
 */
void receipt_refuse(struct http_exchange *x, const struct err *err);

/* The HTTP status that the receipt of a finished upload has. */
int receipt_status(const struct ingest *ingest);

/* Did the policy hold while some target is without its copy? */
bool receipt_is_degraded(const struct broadcast *b);

#endif
