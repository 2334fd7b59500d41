#include "reader/details.h"

#include "common/json.h"

#include <stdio.h>

_Static_assert(OBJECT_TITLE_SIZE == METADATA_TEXT_SIZE &&
		       OBJECT_METADATA_SIZE == METADATA_JSON_SIZE,
	       "what was collected fits");

void details_from_metadata(struct object_details *details,
			   const struct metadata *metadata)
{
	snprintf(details->title, sizeof(details->title), "%s",
		 metadata_get(metadata, "title"));
	snprintf(details->creator, sizeof(details->creator), "%s",
		 metadata_get(metadata, "creator"));
	metadata_to_json(metadata, details->metadata);
}

json_t *details_metadata_json(const struct object_details *details)
{
	struct err err = ERR_INIT;
	json_t *json;

	if (!details->metadata[0])
		return json_object();
	json = json_parse_object(span_of(details->metadata), &err);
	return json || err.code == ERR_MEMORY ? json : json_object();
}

bool details_set_metadata(struct object_details *details, json_t *metadata)
{
	const size_t size = sizeof(details->metadata);
	const char *key;
	json_t *value;
	size_t len;

	details->metadata[0] = '\0';
	if (!metadata || (json_is_object(metadata) &&
			  json_object_size(metadata) == 0))
		return true;
	if (!json_is_object(metadata))
		return false;
	json_object_foreach(metadata, key, value)
		if (!json_is_string(value))
			return false;
	len = json_dumpb(metadata, details->metadata, size, JSON_COMPACT);
	if (len == 0 || len >= size) {
		details->metadata[0] = '\0';
		return false;
	}
	details->metadata[len] = '\0';
	return true;
}
