#include "broadcaster/settings.h"

#include "common/log.h"
#include "common/ring.h"

#include <string.h>

#define SETTINGS struct broadcaster_settings
#include "common/config_rows.h"

const struct config_row broadcaster_config[] = {
	CHECKED("BROADCASTER_HTTP_PORT", http_port, "7000", address_check_listen,
	     "Where to listen: port, :port or address:port."),
	CHECKED("PORT", port, "", address_check_listen_if_any,
		"The same, when BROADCASTER_HTTP_PORT is not set."),
	TEXT("BROADCASTER_HOST_LIST", host_list, "localhost:7001;localhost:7002",
	     "Targets separated by ';': host:port is a reader, "
	     "http(s)://host/path a plain endpoint (#form=FIELD for a form); "
	     "each maybe after name=."),
	TEXT("BROADCASTER_QUORUM", quorum, "all",
	     "Committed copies that make an upload succeed: all, majority or "
	     "a number."),
	TEXT("BROADCASTER_REQUIRED", required, "",
	     "Names of targets, separated by ';', without which nothing "
	     "commits."),
	NUMBER(CONFIG_SIZE, "BROADCASTER_BUFFER_SIZE", buffer_size, "262144",
	       RING_MIN_CAPACITY, RING_MAX_CAPACITY, "bytes",
	       "Memory of one upload: the ring between client and targets."),
	MS("BROADCASTER_LAG_TIMEOUT_MS", lag_timeout_ms, "10000", 0,
	   "Detach a target that was the bottleneck this long since it last "
	   "caught up, when the quorum holds without it; 0 = never."),
	MS("BROADCASTER_STALL_TIMEOUT_MS", stall_timeout_ms, "30000", 100,
	   "Fail a target that has bytes to take and takes none this long."),
	MS("BROADCASTER_CONNECT_TIMEOUT_MS", connect_timeout_ms, "5000", 10,
	   "Time for a target to be connected and to accept the object."),
	MS("BROADCASTER_STAGE_TIMEOUT_MS", stage_timeout_ms, "120000", 100,
	   "Time for a target to answer after its last byte, and a commit."),
	NUMBER(CONFIG_U64, "BROADCASTER_MAX_UPLOADS", max_uploads, "1024", 1,
	       1000000, "", "Uploads at a time; more get 503 and Retry-After."),
	NUMBER(CONFIG_SIZE, "BROADCASTER_MAX_UPLOAD_BYTES", max_upload_bytes,
	       "16T", 1, UINT64_MAX / 2, "bytes",
	       "Largest body of a request; more gets 413."),
	NUMBER(CONFIG_U64, "BROADCASTER_MAX_CONNECTIONS", max_connections,
	       "16384", 1, 1000000, "", "Client connections at a time."),
	NUMBER(CONFIG_U64, "BROADCASTER_MAX_PER_IP", max_per_ip, "0", 0,
	       1000000, "", "Of these from one address; 0 = no limit."),
	NUMBER(CONFIG_U64, "BROADCASTER_THREADS", threads, "0", 0, 256, "",
	       "Worker threads; 0 = number of CPUs."),
	NUMBER(CONFIG_SIZE, "BROADCASTER_SEND_BUFFER", send_buffer, "256K", 0,
	       67108864, "bytes",
	       "Kernel send buffer of each target; 0 = system's."),
	NUMBER(CONFIG_SIZE, "BROADCASTER_RECEIVE_BUFFER", receive_buffer,
	       "256K", 0, 67108864, "bytes",
	       "Kernel receive buffer of each client, and of each reader that "
	       "is played from; 0 = system's."),
	MS("BROADCASTER_HEAD_TIMEOUT_MS", head_timeout_ms, "10000", 100,
	   "Time for a request's head to arrive."),
	MS("BROADCASTER_IDLE_TIMEOUT_MS", idle_timeout_ms, "60000", 100,
	   "Time an idle connection is kept."),
	MS("BROADCASTER_WRITE_TIMEOUT_MS", write_timeout_ms, "30000", 100,
	   "Time for a client to take an answer."),
	NUMBER(CONFIG_SIZE, "BROADCASTER_MIN_RATE", min_rate, "500", 0,
	       1073741824, "bytes/s",
	       "Slowest client after the grace time; 0 = no limit."),
	MS("BROADCASTER_GRACE_MS", grace_ms, "20000", 100,
	   "Time before a slow client is cut off (408)."),
	MS("BROADCASTER_DRAIN_TIMEOUT_MS", drain_timeout_ms, "30000", 0,
	   "Time for running uploads to finish after SIGTERM."),
	NUMBER(CONFIG_U64, "BROADCASTER_MAX_PLAYBACKS", max_playbacks, "1024", 1,
	       1000000, "", "Playbacks at a time; more get 503 and Retry-After."),
	MS("BROADCASTER_MEDIA_ASK_MS", media_ask_ms, "1000", 10,
	   "Time for a reader to begin its answer to a player before another "
	   "one is asked as well; and to answer a list when it lately did not."),
	MS("BROADCASTER_MEDIA_STALL_MS", media_stall_ms, "5000", 100,
	   "Time without a byte from a reader after which a playback goes on "
	   "from another one."),
	FLAG("BROADCASTER_PUBLIC_MEDIA", public_media, "false",
	     "Let everybody list, search and play without the token."),
	CHECKED("BROADCASTER_CORS_ORIGINS", cors_origins, "", cors_check,
	     "Sites whose scripts may use this API: origins separated by ';', "
	     "or * for all; empty = none."),
	SECRET("BROADCASTER_TOKEN", token,
	     "Bearer token that requests must carry; empty = open."),
	SECRET("READER_TOKEN", reader_token,
	     "Bearer token sent to readers."),
	TEXT("BROADCASTER_CA_FILE", ca_file, "",
	     "PEM file of the CAs that https targets are verified with; "
	     "empty = the system's."),
	TEXT("BROADCASTER_PROXY", proxy, "",
	     "Proxy for targets, http://host:port; empty = none."),
	CHOICE("BROADCASTER_LOG_LEVEL", log_level, "info", log_level_names,
	     "Lowest level that is logged."),
	CHOICE("BROADCASTER_LOG_FORMAT", log_format, "logfmt", log_format_names,
	     "Format of log lines."),
};
const size_t broadcaster_config_rows =
	sizeof(broadcaster_config) / sizeof(broadcaster_config[0]);

/* READER_* of readers that run beside us is theirs: only our own is checked. */
static const char *const prefixes[] = { "BROADCASTER_", NULL };

static int parse_parts(struct broadcaster_settings *s, struct err *err)
{
	struct err why = ERR_INIT;

	if (address_parse_listen(span_of(s->http_port), &s->address, err) < 0)
		return -1;
	if (targets_parse(&s->targets, span_of(s->host_list),
			  span_of(s->required), &why) < 0)
		return err_set(err, why.code,
			       "BROADCASTER_HOST_LIST, BROADCASTER_REQUIRED: "
			       "%.150s",
			       why.text);
	if (cors_parse(&s->cors, span_of(s->cors_origins), err) < 0)
		return -1;
	return policy_parse(&s->policy, span_of(s->quorum), &s->targets, err);
}

int broadcaster_settings_load(struct broadcaster_settings *s, char *const *env,
			      const char *port_flag, struct err *err)
{
	memset(s, 0, sizeof(*s));
	if (config_load(broadcaster_config, broadcaster_config_rows, prefixes,
			env, s, err) < 0)
		return -1;
	if (!port_flag && *s->port &&
	    !config_is_set(env, "BROADCASTER_HTTP_PORT"))
		port_flag = s->port;
	if (port_flag &&
	    config_set(broadcaster_config, broadcaster_config_rows,
		       "BROADCASTER_HTTP_PORT", port_flag, s, err) < 0)
		return -1;
	return parse_parts(s, err);
}

void broadcaster_settings_release(struct broadcaster_settings *s)
{
	targets_release(&s->targets);
}
