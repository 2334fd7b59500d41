#include "reader/settings.h"

#include "common/log.h"
#include "common/ring.h"
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
	       "for the whole process keeps house."),
	MS("READER_DB_CONNECT_TIMEOUT_MS", db_connect_timeout_ms, "10000", 10,
	   "Time to get a database connection."),
	MS("READER_DB_TIMEOUT_MS", db_timeout_ms, "60000", 10,
	   "Time for the database to answer a statement, or to take the next "
	   "bytes of an object; then the connection is given up."),
	MS("READER_DB_START_TIMEOUT_MS", db_start_timeout_ms, "30000", 0,
	   "Time at the start to wait for a database that does not listen yet."),
	NUMBER(CONFIG_SIZE, "READER_DB_SLICE_BYTES", db_slice_bytes, "64M",
	       65536, UINT64_C(1) << 40, "bytes",
	       "Content of one transaction; an object takes as many as it needs "
	       "and stays invisible until the last."),
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
	return 0;
}

int reader_settings_load(struct reader_settings *s, char *const *env,
			 const char *port_flag, struct err *err)
{
	memset(s, 0, sizeof(*s));
	if (config_load(reader_config, reader_config_rows, prefixes, env, s,
			err) < 0)
		return -1;
	if (port_flag && config_set(reader_config, reader_config_rows,
				    "READER_HTTP_PORT", port_flag, s, err) < 0)
		return -1;
	s->staged_ttl_ms *= 1000;
	if (check_address(s, err) < 0)
		return -1;
	return check_store(s, err);
}
