/*
 * settings.h - the reader's settings, from the environment
 */
#ifndef READER_SETTINGS_H
#define READER_SETTINGS_H

#include "common/address.h"
#include "common/config.h"

#include <stdbool.h>
#include <stdint.h>

struct reader_settings {
	char http_port[272];		/* READER_HTTP_PORT or PORT, as given */
	char port[272];			/* PORT */
	struct address address;		/* of it; loopback without a token */
	uint64_t buffer_size;		/* READER_BUFFER_SIZE: of each upload */
	int store;			/* READER_STORE: index in store_kinds */
	char file_dir[4096];		/* READER_FILE_DIR */
	char exec_command[4096];	/* READER_EXEC_COMMAND: for /bin/sh -c */
	uint64_t exec_timeout_ms;	/* READER_EXEC_TIMEOUT_MS */
	char s3_bucket[256];		/* READER_S3_BUCKET */
	char s3_prefix[983];		/* READER_S3_PREFIX: of all keys */
	char s3_endpoint[512];		/* READER_S3_ENDPOINT: a URL */
	char s3_region[64];		/* READER_S3_REGION */
	int s3_path_style;		/* READER_S3_PATH_STYLE: enum s3_style */
	char s3_ca_file[4096];		/* READER_S3_CA_FILE: PEM */
	char s3_storage_class[64];	/* READER_S3_STORAGE_CLASS */
	char s3_sse[32];		/* READER_S3_SSE */
	char s3_sse_key_id[512];	/* READER_S3_SSE_KEY_ID */
	char s3_metadata[1024];		/* READER_S3_METADATA: "a=b;c=d" */
	uint64_t s3_part_bytes;		/* READER_S3_PART_BYTES */
	uint64_t s3_parallel;		/* READER_S3_PARALLEL: parts in flight */
	uint64_t s3_retries;		/* READER_S3_RETRIES of a request */
	uint64_t s3_timeout_ms;		/* READER_S3_TIMEOUT_MS: no byte moved */
	bool s3_exclusive;		/* READER_S3_EXCLUSIVE */
	char aws_access_key_id[256];	/* AWS_ACCESS_KEY_ID */
	char aws_secret_access_key[256]; /* AWS_SECRET_ACCESS_KEY */
	char aws_session_token[4096];	/* AWS_SESSION_TOKEN */
	char aws_region[64];		/* AWS_REGION */
	char aws_default_region[64];	/* AWS_DEFAULT_REGION */
	char aws_endpoint_url[512];	/* AWS_ENDPOINT_URL */
	char db_host[256];		/* DB_HOST; "" = libpq's PGHOST */
	char db_port[64];		/* DB_PORT; "" = PGPORT */
	char db_name[128];		/* DB_NAME; "" = PGDATABASE */
	char db_user[128];		/* DB_USER; "" = PGUSER */
	char db_password[512];		/* DB_PASSWORD; "" = PGPASSWORD … */
	uint64_t db_connections;	/* READER_DB_CONNECTIONS: of each thread */
	uint64_t db_connect_timeout_ms;	/* READER_DB_CONNECT_TIMEOUT_MS */
	uint64_t db_timeout_ms;		/* READER_DB_TIMEOUT_MS: of a statement */
	uint64_t db_start_timeout_ms;	/* READER_DB_START_TIMEOUT_MS */
	bool db_flush;			/* READER_DB_FLUSH: pg_flush.h */
	uint64_t db_slice_bytes;	/* READER_DB_SLICE_BYTES: a transaction */
	bool sniff;			/* READER_SNIFF */
	char token[512];		/* READER_TOKEN */
	uint64_t staged_ttl_ms;		/* READER_STAGED_TTL, seconds there */
	uint64_t max_uploads;		/* READER_MAX_UPLOADS */
	uint64_t max_staged;		/* READER_MAX_STAGED: also at rest */
	uint64_t max_upload_bytes;	/* READER_MAX_UPLOAD_BYTES */
	uint64_t threads;		/* READER_THREADS; 0 = CPUs */
	uint64_t disk_threads;		/* READER_DISK_THREADS */
	uint64_t max_connections;	/* READER_MAX_CONNECTIONS */
	uint64_t receive_buffer;	/* READER_RECEIVE_BUFFER: SO_RCVBUF */
	uint64_t drain_timeout_ms;	/* READER_DRAIN_TIMEOUT_MS */
	uint64_t head_timeout_ms;	/* READER_HEAD_TIMEOUT_MS */
	uint64_t idle_timeout_ms;	/* READER_IDLE_TIMEOUT_MS */
	uint64_t write_timeout_ms;	/* READER_WRITE_TIMEOUT_MS */
	uint64_t min_rate;		/* READER_MIN_RATE: bytes a second */
	uint64_t grace_ms;		/* READER_GRACE_MS */
	int log_level;			/* READER_LOG_LEVEL: enum log_level */
	int log_format;			/* READER_LOG_FORMAT: index */
};

/* The table, for --help. */
extern const struct config_row reader_config[];
extern const size_t reader_config_rows;

/*
 * Load from `env` and check what spans several settings; `port_flag` overrides
 * READER_HTTP_PORT when not NULL, PORT takes its place when it is not set. -1
 * with ERR_CONFIG.
 */
int reader_settings_load(struct reader_settings *settings, char *const *env,
			 const char *port_flag, struct err *err) MUST_CHECK;

#endif
