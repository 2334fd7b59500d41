/*
 * settings.h - the broadcaster's settings, from the environment
 */
#ifndef BROADCASTER_SETTINGS_H
#define BROADCASTER_SETTINGS_H

#include "broadcaster/cors.h"
#include "broadcaster/policy.h"
#include "broadcaster/targets.h"
#include "common/address.h"
#include "common/config.h"

#include <stdbool.h>
#include <stdint.h>

struct broadcaster_settings {
	char http_port[272];		/* BROADCASTER_HTTP_PORT, or PORT */
	char port[272];			/* PORT */
	struct address address;		/* parsed from it */
	char host_list[16384];		/* BROADCASTER_HOST_LIST */
	char required[4096];		/* BROADCASTER_REQUIRED */
	char quorum[16];		/* BROADCASTER_QUORUM */
	struct target_list targets;	/* parsed from the above; owned */
	struct policy policy;
	uint64_t buffer_size;		/* the ring of each upload, bytes */
	uint64_t lag_timeout_ms, stall_timeout_ms, connect_timeout_ms;
	uint64_t stage_timeout_ms, drain_timeout_ms;
	uint64_t max_uploads, max_upload_bytes;
	uint64_t max_connections, max_per_ip;
	uint64_t threads;		/* 0 = number of CPUs */
	uint64_t send_buffer, receive_buffer;	/* kernel's, bytes */
	uint64_t head_timeout_ms, idle_timeout_ms, write_timeout_ms;
	uint64_t min_rate, grace_ms;
	uint64_t max_playbacks;
	uint64_t media_ask_ms, media_stall_ms;
	bool public_media;		/* GET needs no token */
	char cors_origins[CORS_MAX_TEXT];
	struct cors cors;		/* parsed from it */
	char token[512];		/* BROADCASTER_TOKEN */
	char reader_token[512];		/* READER_TOKEN, sent to readers */
	char ca_file[4096];		/* of https targets */
	char proxy[512];
	int log_level, log_format;
};

/* The table, for --help. */
extern const struct config_row broadcaster_config[];
extern const size_t broadcaster_config_rows;

/*
 * Load from `env` and check what spans several settings; `port_flag` overrides
 * BROADCASTER_HTTP_PORT when not NULL, PORT takes its place when it is not set.
 * -1 with ERR_CONFIG. Release in any case.
 */
int broadcaster_settings_load(struct broadcaster_settings *settings,
			      char *const *env, const char *port_flag,
			      struct err *err) MUST_CHECK;

/* Free what belongs to the settings. */
void broadcaster_settings_release(struct broadcaster_settings *settings);

#endif
