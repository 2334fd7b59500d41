#include "reader/settings.h"

#include "common/log.h"
#include "common/ring.h"
#include "reader/s3_config.h"
#include "reader/sink.h"

#include <stdio.h>
#include <string.h>

#define SETTINGS struct reader_settings
#include "common/config_rows.h"

const struct config_row reader_config[] = {
	CHECKED("READER_HTTP_PORT", http_port, "7001", address_check_listen,
	     "Where to listen: port, :port or address:port. Without "
	     "READER_TOKEN only loopback addresses are allowed, and "
	     "127.0.0.1 is the default."),
	CHECKED("PORT", port, "", address_check_listen_if_any,
		"The same, when READER_HTTP_PORT is not set."),
	SECRET("READER_TOKEN", token,
	     "Bearer token that all requests but the probes must carry."),
	CHOICE("READER_STORE", store, "file", store_kinds,
	     "Kind of store."),
	TEXT("READER_FILE_DIR", file_dir, "objects",
	     "Directory of a file store; made if missing."),
	TEXT("READER_EXEC_COMMAND", exec_command, "",
	     "Command of an exec store, run by /bin/sh -c: reads an object "
	     "from standard input; exit status 0 accepts it."),
	MS("READER_EXEC_TIMEOUT_MS", exec_timeout_ms, "60000", 10,
	   "Time for that command to take the next byte, and to end after the "
	   "last one; then it is killed."),
	TEXT("READER_S3_BUCKET", s3_bucket, "",
	     "Bucket of an s3 store; it has to exist."),
	TEXT("READER_S3_PREFIX", s3_prefix, "",
	     "What the keys of all objects begin with, \"uploads/\" say."),
	TEXT("READER_S3_ENDPOINT", s3_endpoint, "",
	     "URL of the S3 server, https://host:port; without one "
	     "AWS_ENDPOINT_URL, and without that Amazon's of the region."),
	TEXT("READER_S3_REGION", s3_region, "",
	     "Region; without one AWS_REGION, AWS_DEFAULT_REGION, us-east-1."),
	CHOICE("READER_S3_PATH_STYLE", s3_path_style, "auto", s3_styles,
	     "Is the bucket named in the path (true) or in the host's name "
	     "(false)? auto: in the path where an endpoint is given."),
	TEXT("READER_S3_CA_FILE", s3_ca_file, "",
	     "PEM file of the CAs that the server's certificate has to be "
	     "signed by; without one the system's."),
	TEXT("READER_S3_STORAGE_CLASS", s3_storage_class, "",
	     "Storage class of new objects; without one the bucket's."),
	TEXT("READER_S3_SSE", s3_sse, "",
	     "Encryption by the server: AES256, aws:kms or aws:kms:dsse."),
	TEXT("READER_S3_SSE_KEY_ID", s3_sse_key_id, "",
	     "Key for aws:kms; without one the account's."),
	TEXT("READER_S3_METADATA", s3_metadata, "",
	     "Further metadata of new objects: name=value;name=value."),
	NUMBER(CONFIG_SIZE, "READER_S3_PART_BYTES", s3_part_bytes, "8M",
	       5 << 20, UINT64_C(1) << 30, "bytes",
	       "Size of the parts of an upload, each held in memory until it "
	       "is stored; grows for very large objects."),
	NUMBER(CONFIG_U64, "READER_S3_PARALLEL", s3_parallel, "4", 1, 64, "",
	       "Parts of one upload on their way at a time."),
	NUMBER(CONFIG_U64, "READER_S3_RETRIES", s3_retries, "8", 0, 20, "",
	       "How often a request that failed for a moment is sent again, "
	       "after 0.2 s, 0.4 s, 0.8 s … 10 s."),
	MS("READER_S3_TIMEOUT_MS", s3_timeout_ms, "30000", 100,
	   "Time without a byte from or to the S3 server before a request is "
	   "given up; ten times that for the end of a large upload."),
	{ .name = "READER_S3_EXCLUSIVE", .kind = CONFIG_BOOL,
	  MEMBER_OF(s3_exclusive), .fallback = "false", .unit = "",
	  .help = "Does nobody else write below the prefix? Then all uploads "
		  "that are found at the start are aborted, not only old ones." },
	SECRET("AWS_ACCESS_KEY_ID", aws_access_key_id,
	     "Access key of an s3 store."),
	SECRET("AWS_SECRET_ACCESS_KEY", aws_secret_access_key,
	     "Secret key of an s3 store."),
	SECRET("AWS_SESSION_TOKEN", aws_session_token,
	     "Session token, with temporary keys."),
	TEXT("AWS_REGION", aws_region, "", "See READER_S3_REGION."),
	TEXT("AWS_DEFAULT_REGION", aws_default_region, "",
	     "See READER_S3_REGION."),
	TEXT("AWS_ENDPOINT_URL", aws_endpoint_url, "",
	     "See READER_S3_ENDPOINT."),
	TEXT("DB_HOST", db_host, "",
	     "Database server of a postgres store: name, address or directory "
	     "of its socket. DB_* go before libpq's variables (PGHOST, PGSSLMODE, "
	     "PGPASSFILE, PGSERVICE …), which all apply."),
	TEXT("DB_PORT", db_port, "", "Its port; PGPORT when empty."),
	TEXT("DB_NAME", db_name, "", "The database; PGDATABASE when empty."),
	TEXT("DB_USER", db_user, "", "The user; PGUSER when empty."),
	SECRET("DB_PASSWORD", db_password,
	     "The password; PGPASSWORD or the password file when empty."),
	NUMBER(CONFIG_U64, "READER_DB_CONNECTIONS", db_connections, "8", 1,
	       1000, "", "Database connections of each thread, at most; one more "
	       "for the whole process keeps house. See READER_DB_FLUSH, too."),
	MS("READER_DB_CONNECT_TIMEOUT_MS", db_connect_timeout_ms, "10000", 10,
	   "Time to get a database connection, of each of several hosts."),
	MS("READER_DB_TIMEOUT_MS", db_timeout_ms, "60000", 10,
	   "Time for the database to answer a statement, or to take the next "
	   "bytes of an object; then the connection is given up."),
	MS("READER_DB_START_TIMEOUT_MS", db_start_timeout_ms, "30000", 0,
	   "Time at the start to wait for a database that does not listen yet."),
	NUMBER(CONFIG_SIZE, "READER_DB_SLICE_BYTES", db_slice_bytes, "64M",
	       65536, UINT64_C(1) << 40, "bytes",
	       "Content of one transaction; an object takes as many as it needs "
	       "and stays invisible until the last."),
	FLAG("READER_DB_FLUSH", db_flush, "true",
	     "While large objects come, one more connection for each thread has "
	     "the server write its log to disk, so that storing does not wait "
	     "for it."),
	FLAG("READER_SNIFF", sniff, "true",
	     "Tell the content type from the first bytes (libmagic) when the "
	     "client gave none or application/octet-stream."),
	NUMBER(CONFIG_SIZE, "READER_BUFFER_SIZE", buffer_size, "262144",
	       RING_MIN_CAPACITY, RING_MAX_CAPACITY, "bytes",
	       "Memory of one upload: the ring between client and store."),
	NUMBER(CONFIG_U64, "READER_MAX_UPLOADS", max_uploads, "1024", 1,
	       1000000, "", "Uploads at a time; more get 503 and Retry-After."),
	NUMBER(CONFIG_U64, "READER_MAX_STAGED", max_staged, "16384", 1,
	       10000000, "",
	       "Objects that are received or wait for their commit; more get "
	       "503 and Retry-After."),
	NUMBER(CONFIG_SIZE, "READER_MAX_UPLOAD_BYTES", max_upload_bytes, "16T",
	       1, UINT64_MAX / 2, "bytes",
	       "Largest object, and largest form; more gets 413."),
	NUMBER(CONFIG_U64, "READER_STAGED_TTL", staged_ttl_ms, "86400", 1,
	       31536000, "seconds",
	       "Staged objects that nobody touched this long are removed."),
	NUMBER(CONFIG_U64, "READER_THREADS", threads, "0", 0, 256, "",
	       "Threads that serve connections; 0 = number of CPUs."),
	NUMBER(CONFIG_U64, "READER_DISK_THREADS", disk_threads, "4", 1, 64, "",
	       "Threads for work that blocks: disk, programs."),
	NUMBER(CONFIG_U64, "READER_MAX_CONNECTIONS", max_connections, "16384",
	       1, 1000000, "", "Connections at a time."),
	NUMBER(CONFIG_SIZE, "READER_RECEIVE_BUFFER", receive_buffer, "256K", 0,
	       67108864, "bytes",
	       "Kernel receive buffer of each connection; 0 = system's."),
	MS("READER_HEAD_TIMEOUT_MS", head_timeout_ms, "10000", 100,
	   "Time for a request's head to arrive."),
	MS("READER_IDLE_TIMEOUT_MS", idle_timeout_ms, "60000", 100,
	   "Time an idle connection is kept."),
	MS("READER_WRITE_TIMEOUT_MS", write_timeout_ms, "30000", 100,
	   "Time for a client to take an answer."),
	NUMBER(CONFIG_SIZE, "READER_MIN_RATE", min_rate, "500", 0, 1073741824,
	       "bytes/s", "Slowest client after the grace time; 0 = no limit."),
	MS("READER_GRACE_MS", grace_ms, "20000", 100,
	   "Time before a slow client is cut off (408)."),
	MS("READER_DRAIN_TIMEOUT_MS", drain_timeout_ms, "30000", 0,
	   "Time for running requests to finish after SIGTERM."),
	CHOICE("READER_LOG_LEVEL", log_level, "info", log_level_names,
	     "Lowest level that is logged."),
	CHOICE("READER_LOG_FORMAT", log_format, "logfmt", log_format_names,
	     "Format of log lines."),
};
const size_t reader_config_rows =
	sizeof(reader_config) / sizeof(reader_config[0]);

static const char *const prefixes[] = { "READER_", NULL };

/* Whoever can reach an open reader can fill its disk: not by accident. */
static int check_address(struct reader_settings *s, struct err *err)
{
	if (address_parse_listen(span_of(s->http_port), &s->address, err) < 0)
		return -1;
	if (s->token[0])
		return 0;
	if (!s->address.host[0])
		snprintf(s->address.host, sizeof(s->address.host), "127.0.0.1");
	if (address_is_loopback(&s->address))
		return 0;
	return err_set(err, ERR_CONFIG,
		       "READER_HTTP_PORT=\"%.80s\": without READER_TOKEN only "
		       "loopback addresses are allowed; set READER_TOKEN",
		       s->http_port);
}

static int check_store(const struct reader_settings *s, struct err *err)
{
	if (strcmp(store_kinds[s->store], "exec") == 0 && !s->exec_command[0])
		return err_set(err, ERR_CONFIG,
			       "READER_EXEC_COMMAND=\"\": READER_STORE=exec "
			       "needs a command");
	if (strcmp(store_kinds[s->store], "s3") == 0)
		return s3_config_check(s, err);
	return 0;
}

int reader_settings_load(struct reader_settings *s, char *const *env,
			 const char *port_flag, struct err *err)
{
	memset(s, 0, sizeof(*s));
	if (config_load(reader_config, reader_config_rows, prefixes, env, s,
			err) < 0)
		return -1;
	if (!port_flag && s->port[0] && !config_is_set(env, "READER_HTTP_PORT"))
		port_flag = s->port;
	if (port_flag && config_set(reader_config, reader_config_rows,
				    "READER_HTTP_PORT", port_flag, s, err) < 0)
		return -1;
	s->staged_ttl_ms *= 1000;
	if (check_address(s, err) < 0)
		return -1;
	return check_store(s, err);
}
