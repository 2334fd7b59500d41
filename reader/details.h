/*
 * details.h - an object's details from what clients send, and as JSON
 *
 * `metadata` in struct object_details is the text of a JSON object of strings,
 * or "" when there is nothing in it.
 */
#ifndef READER_DETAILS_H
#define READER_DETAILS_H

#include "common/metadata.h"

#include "reader/sink.h"

/* Write what was collected, title and creator apart from the rest. */
void details_from_metadata(struct object_details *details,
			   const struct metadata *metadata);

/*
 * The metadata as a new JSON object, empty when there are none or when a store
 * holds something else; NULL when out of memory.
 */
json_t *details_metadata_json(const struct object_details *details);

/*
 * Take a JSON object of strings, or NULL for none; the reference stays the
 * caller's. False when it is something else or too long.
 */
bool details_set_metadata(struct object_details *details, json_t *metadata);

#endif
