/*
 * s3_config.h - what the settings of an s3 store come to
 */
#ifndef READER_S3_CONFIG_H
#define READER_S3_CONFIG_H

#include "reader/s3_names.h"
#include "reader/s3_signer.h"
#include "reader/settings.h"

#define S3_MAX_METADATA 10

/* READER_S3_PATH_STYLE; s3_styles are their names. */
enum s3_style { S3_STYLE_AUTO, S3_STYLE_PATH, S3_STYLE_HOST };
extern const char *const s3_styles[];

/* Never changed after s3_config_make(); read by any thread. */
struct s3_config {
	char url[1024];		/* of the server, or the bucket's own host */
	char base[260];		/* of all paths: "/bucket", or "" */
	char bucket[256];
	char prefix[S3_PREFIX_SIZE];
	char region[64];
	char access_key[256];
	char secret_key[256];
	char session_token[4096];
	char ca_file[4096];
	struct s3_keys keys;	/* of the members above */
	/* fields of the requests that make an object */
	char storage_class[64];
	char sse[32];
	char sse_key_id[512];
	char metadata_text[1024 + S3_MAX_METADATA * 12];
	struct s3_field metadata[S3_MAX_METADATA];	/* x-amz-meta-… */
	size_t n_metadata;
	bool etag_is_md5;	/* of a part: not with aws:kms */
	uint64_t part_bytes;
	uint64_t parallel;
	uint64_t retries;
	uint64_t timeout_ms;
	uint64_t stale_ms;	/* older uploads of ours are nobody's */
	bool exclusive;
};

/* Are the settings complete and well-formed? -1 with ERR_CONFIG. */
int s3_config_check(const struct reader_settings *settings,
		    struct err *err) MUST_CHECK;

/* Fill `config`, which must not move after it. -1 with ERR_CONFIG. */
int s3_config_make(struct s3_config *config,
		   const struct reader_settings *settings,
		   struct err *err) MUST_CHECK;

#endif
