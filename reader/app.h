/*
 * app.h - the reader as a running program: its threads, its life, its end
 *
 *   SERVING ──SIGTERM──▶ CLOSING ──▶ DRAINING ──▶ FLUSHING ──▶ STOPPED
 *                           └──deadline, second signal──▶ CUTTING ──▶ …
 *
 * One loop and one listening socket a thread; the first thread is the calling
 * one, and also has the signals, the phases above and the expiry of staged
 * objects.
 */
#ifndef READER_APP_H
#define READER_APP_H

#include "reader/settings.h"

/*
 * Serve until SIGTERM or SIGINT. Returns the exit status: 0 when all that ran
 * could finish, 1 when some had to be cut off. -1 with `err` when it could not
 * start. Once in a process.
 */
int reader_run(const struct reader_settings *settings, struct err *err);

#endif
