/*
 * app.h - the broadcaster as a process: threads, signals, drain, exit status
 */
#ifndef BROADCASTER_APP_H
#define BROADCASTER_APP_H

#include "broadcaster/settings.h"

/*
 * Serve until SIGTERM or SIGINT, then drain: no new uploads, running ones finish
 * within the drain timeout; a second signal or the deadline aborts them. Returns
 * the exit status: 0 drained, 1 aborted uploads or could not start (`err`).
 */
int app_run(const struct broadcaster_settings *settings, struct err *err);

#endif
