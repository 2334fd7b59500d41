#include "reader/file_meta.h"

#include "common/clock.h"
#include "common/json.h"

#include "reader/details.h"
#include "reader/file_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_MODE 0640
/* Every byte of a text as \u00xx, the metadata as it is, and the rest. */
#define META_MAX                                                        \
	(6 * (OBJECT_NAME_SIZE + OBJECT_TYPE_SIZE + 2 * OBJECT_TITLE_SIZE) + \
	 OBJECT_METADATA_SIZE + 512)

/* ---- writing ------------------------------------------------------------- */

/* What is "" is left out. */
static void put_details(json_t **json, const struct object_details *details)
{
	if (details->title[0])
		json_put(json, "title", json_text(span_of(details->title)));
	if (details->creator[0])
		json_put(json, "creator", json_text(span_of(details->creator)));
	if (details->metadata[0])
		json_put(json, "metadata", details_metadata_json(details));
}

/* Its text, malloc'ed; NULL when out of memory. */
static char *print_object(const struct object *object, size_t *len)
{
	char created_at[CLOCK_RFC3339_SIZE];
	json_t *json;

	clock_format_rfc3339(object->created_ms, created_at);
	json = json_pack("{s:s, s:o, s:o, s:I, s:s, s:s}", "id", object->id,
			 "name", json_text(span_of(object->name)),
			 "content_type",
			 json_text(span_of(object->content_type)), "size",
			 (json_int_t)object->size, "sha256", object->sha256,
			 "created_at", created_at);
	if (json)
		put_details(&json, &object->details);
	return json ? json_print(json, len) : NULL;
}

static int write_text(int dir_fd, const char *path, struct span text,
		      struct err *err)
{
	int fd = file_open(dir_fd, path, O_WRONLY | O_CREAT | O_TRUNC,
			   FILE_MODE);

	if (fd < 0)
		return file_err(err, errno, "cannot make meta.json");
	if (file_write(fd, text, 0) < 0)
		file_err(err, errno, "cannot write meta.json");
	else if (file_sync(fd) < 0)
		file_err(err, errno, "cannot sync meta.json");
	close(fd);
	return err_is_set(err) ? -1 : 0;
}

int file_meta_write(int dir_fd, const char *path, const struct object *object,
		    struct err *err)
{
	size_t len;
	char *text = print_object(object, &len);
	int rc;

	if (!text)
		return err_set(err, ERR_MEMORY, "out of memory for meta.json");
	rc = write_text(dir_fd, path, span_make(text, len), err);
	free(text);
	return rc;
}

/* ---- reading ------------------------------------------------------------- */

/* Bytes read into `buf`, at most `size`; -1 with errno. */
static ssize_t read_all(int fd, char *buf, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used < size) {
		n = pread(fd, buf + used, size - used, (off_t)used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	return (ssize_t)used;
}

/* A member that may be missing, but may not be anything else than a text. */
static bool take_text(json_t *json, const char *member, char *buf, size_t size)
{
	json_t *value = json_object_get(json, member);

	buf[0] = '\0';
	return !value || (json_is_string(value) &&
			  span_to_string(span_of(json_string_value(value)), buf,
					 size));
}

/* Objects of before there were details have none. */
static bool take_details(json_t *json, struct object_details *details)
{
	json_t *metadata = json_object_get(json, "metadata");

	return take_text(json, "title", details->title,
			 sizeof(details->title)) &&
	       take_text(json, "creator", details->creator,
			 sizeof(details->creator)) &&
	       details_set_metadata(details, metadata);
}

/* Copy the members, if all are there and fit. */
static bool take_members(json_t *json, struct object *object)
{
	const char *id, *name, *type, *sha256, *created_at;
	json_int_t size;

	id = json_string_value(json_object_get(json, "id"));
	name = json_string_value(json_object_get(json, "name"));
	type = json_string_value(json_object_get(json, "content_type"));
	sha256 = json_string_value(json_object_get(json, "sha256"));
	created_at = json_string_value(json_object_get(json, "created_at"));
	if (!id || !name || !type || !sha256 || !created_at ||
	    !json_is_integer(json_object_get(json, "size")))
		return false;
	size = json_integer_value(json_object_get(json, "size"));
	object->size = (uint64_t)size;
	/* A name that was no UTF-8 may have grown: see json_text(). Cut it. */
	snprintf(object->name, sizeof(object->name), "%s", name);
	snprintf(object->content_type, sizeof(object->content_type), "%s",
		 type);
	return size >= 0 && digest_is_hex(span_of(sha256)) &&
	       span_to_string(span_of(sha256), object->sha256,
			      sizeof(object->sha256)) &&
	       span_to_string(span_of(id), object->id, sizeof(object->id)) &&
	       clock_parse_rfc3339(span_of(created_at), &object->created_ms) &&
	       take_details(json, &object->details);
}

static int parse_object(struct span text, const char *id, struct object *object,
			struct err *err)
{
	struct err reason = ERR_INIT;
	json_t *json = json_parse_object(text, &reason);
	bool good = json && take_members(json, object) &&
		    strcmp(object->id, id) == 0;

	json_decref(json);
	if (good)
		return 0;
	if (reason.code == ERR_MEMORY)
		return err_set(err, ERR_MEMORY, "%s", reason.text);
	return err_set(err, ERR_STORE, "meta.json of %s is damaged", id);
}

int file_meta_read(int dir_fd, const char *path, const char *id,
		   struct object *object, struct err *err)
{
	char text[META_MAX + 1];
	int fd = file_open(dir_fd, path, O_RDONLY, 0);
	ssize_t n;

	if (fd < 0 && errno == ENOENT)
		return err_set(err, ERR_NOT_FOUND, "there is no such object");
	if (fd < 0)
		return file_err(err, errno, "cannot open meta.json");
	n = read_all(fd, text, sizeof(text));
	if (n < 0)
		file_err(err, errno, "cannot read meta.json");
	close(fd);
	if (n < 0)
		return -1;
	return parse_object(span_make(text, (size_t)n), id, object, err);
}
