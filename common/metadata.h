/*
 * metadata.h - what people say about an upload: its title, its creator, the rest
 *
 * Pairs of a key and a text, collected from the fields of a form or from an
 * Upload-Metadata field (tus 1.0), and handed on as such a field. Both programs
 * use this, so that what one lets in the other does not refuse. Pure, and of
 * fixed size; it is allocated only for uploads that have any.
 *
 *   key        1 to METADATA_KEY_MAX visible ASCII characters, no comma
 *   value      UTF-8 without NUL
 *   title, creator     less than METADATA_TEXT_SIZE bytes each
 *   filename, filetype dropped: an upload says these in its own way
 *   all others         as a JSON object less than METADATA_JSON_SIZE bytes
 *
 * Errors are 400 and name the key. After one the set is of no further use.
 */
#ifndef COMMON_METADATA_H
#define COMMON_METADATA_H

#include "common/err.h"
#include "common/span.h"

#define METADATA_KEY_MAX 64u
#define METADATA_TEXT_SIZE 512u		/* with a NUL */
#define METADATA_JSON_SIZE 2048u	/* with a NUL */
#define METADATA_FIELD_SIZE 6144u	/* an Upload-Metadata value, with a NUL */

/* All pairs together: those in the JSON take less room than there. */
#define METADATA_PAIRS_SIZE (METADATA_JSON_SIZE + 2 * (METADATA_TEXT_SIZE + 8))

struct metadata {
	size_t used;
	size_t json_len;	/* of the JSON text so far */
	size_t value_at;	/* of the pair that is being added */
	bool is_dropped;	/* that pair is */
	char pairs[METADATA_PAIRS_SIZE];	/* key NUL value NUL … */
};

/* Make it empty. */
void metadata_init(struct metadata *m);

/*
 * Add a pair in steps: its key, its value in pieces, the end of the value. A key
 * that is there already keeps its first value: then these do nothing.
 */
int metadata_begin(struct metadata *m, struct span key,
		   struct err *err) MUST_CHECK;
int metadata_append(struct metadata *m, struct span piece,
		    struct err *err) MUST_CHECK;
int metadata_end(struct metadata *m, struct err *err) MUST_CHECK;

/*
 * Add the pairs of an Upload-Metadata value, "key BASE64,key BASE64,key". Here
 * a key that is there already is an error (tus: keys are unique).
 */
int metadata_parse(struct metadata *m, struct span field,
		   struct err *err) MUST_CHECK;

/*
 * Write the pairs as an Upload-Metadata value to `field`, of METADATA_FIELD_SIZE
 * bytes; "" when there are none.
 */
void metadata_format(const struct metadata *m, char *field);

/* The value of a key, "" when it is not there; valid while `m` is unchanged. */
const char *metadata_get(const struct metadata *m, const char *key);

/*
 * Write the pairs but title and creator as a JSON object to `json`, of
 * METADATA_JSON_SIZE bytes; "" when there are none.
 */
void metadata_to_json(const struct metadata *m, char *json);

#endif
