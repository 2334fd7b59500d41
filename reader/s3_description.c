#include "reader/s3_description.h"

#include "common/clock.h"
#include "common/json.h"

#include <stdio.h>

/* What clients said of it; an object of strings, or nothing. */
static json_t *print_metadata(const char *text)
{
	struct err ignored = ERR_INIT;
	json_t *json = *text ? json_parse_object(span_of(text), &ignored) : NULL;

	return json ? json : json_object();
}

char *s3_description_print(const struct object *object, const char *key,
			   const char *commit, size_t *len)
{
	const struct object_details *details = &object->details;
	char created_at[CLOCK_RFC3339_SIZE];
	json_t *json = json_object();

	clock_format_rfc3339(object->created_ms, created_at);
	json_put(&json, "id", json_string(object->id));
	json_put(&json, "name", json_text(span_of(object->name)));
	json_put(&json, "content_type",
		 json_text(span_of(object->content_type)));
	json_put(&json, "size", json_integer((json_int_t)object->size));
	json_put(&json, "sha256", json_string(object->sha256));
	json_put(&json, "created_at", json_string(created_at));
	json_put(&json, "title", json_text(span_of(details->title)));
	json_put(&json, "creator", json_text(span_of(details->creator)));
	json_put(&json, "metadata", print_metadata(details->metadata));
	json_put(&json, "key", json_text(span_of(key)));
	json_put(&json, "commit", json_string(commit));
	return json_print(json, len);
}

bool s3_description_is_of(struct span text, const char *commit)
{
	struct err ignored = ERR_INIT;
	json_t *json = json_parse_object(text, &ignored);
	const char *found = json_string_value(json_object_get(json, "commit"));
	bool is_of = found && strcmp(found, commit) == 0;

	json_decref(json);
	return is_of;
}

/* A member's text, cut if it grew (a byte that was no UTF-8); "" if absent. */
static void take_text(json_t *json, const char *name, char *buf, size_t size)
{
	const char *text = json_string_value(json_object_get(json, name));

	snprintf(buf, size, "%s", text ? text : "");
}

static bool take_metadata(json_t *json, struct object_details *details)
{
	json_t *metadata = json_object_get(json, "metadata");
	size_t n;

	details->metadata[0] = '\0';
	if (json_object_size(metadata) == 0)
		return true;
	n = json_dumpb(metadata, details->metadata,
		       sizeof(details->metadata) - 1, JSON_COMPACT);
	if (n == 0 || n >= sizeof(details->metadata))
		return false;
	details->metadata[n] = '\0';
	return true;
}

static bool take_numbers(json_t *json, struct object *object)
{
	json_t *size = json_object_get(json, "size");
	const char *created_at =
		json_string_value(json_object_get(json, "created_at"));

	object->size = (uint64_t)json_integer_value(size);
	return json_is_integer(size) && json_integer_value(size) >= 0 &&
	       created_at &&
	       clock_parse_rfc3339(span_of(created_at), &object->created_ms);
}

static bool take_members(json_t *json, struct object *object)
{
	struct object_details *details = &object->details;

	take_text(json, "id", object->id, sizeof(object->id));
	take_text(json, "name", object->name, sizeof(object->name));
	take_text(json, "content_type", object->content_type,
		  sizeof(object->content_type));
	take_text(json, "sha256", object->sha256, sizeof(object->sha256));
	take_text(json, "title", details->title, sizeof(details->title));
	take_text(json, "creator", details->creator, sizeof(details->creator));
	return digest_is_hex(span_of(object->sha256)) &&
	       take_numbers(json, object) && take_metadata(json, details);
}

int s3_description_read(struct span text, const char *id, struct object *object,
			struct err *err)
{
	struct err reason = ERR_INIT;
	json_t *json = json_parse_object(text, &reason);
	bool good;

	memset(object, 0, sizeof(*object));
	good = json && take_members(json, object) &&
	       strcmp(object->id, id) == 0;
	json_decref(json);
	if (good)
		return 0;
	if (reason.code == ERR_MEMORY)
		return err_set(err, ERR_MEMORY, "%s", reason.text);
	return err_set(err, ERR_STORE, "the description %s.json is damaged",
		       id);
}
