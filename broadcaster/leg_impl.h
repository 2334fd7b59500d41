/*
 * leg_impl.h - what the files of the leg share: leg.c up to STAGED, leg_end.c
 * from there on
 */
#ifndef BROADCASTER_LEG_IMPL_H
#define BROADCASTER_LEG_IMPL_H

#include "broadcaster/leg.h"

#define LEG_NO_DEADLINE UINT64_MAX

/*
 * The one place where the state changes: checks the transition, sets the
 * deadline (`timeout_ms` from now, or LEG_NO_DEADLINE), lets go of the ring at
 * the end.
 */
void leg_enter(struct leg *leg, enum leg_state state, uint64_t timeout_ms);

/* Let go of the connection: kept for others when it is clean. */
void leg_drop_link(struct leg *leg, bool clean);

/* Enter FAILED for this reason; the first reason stays. */
void leg_fail_with(struct leg *leg, const struct err *why);

/* Fail by the answer just read: status and words of the target, then `when`. */
void leg_refuse(struct leg *leg, const char *when);

/* The next fact of the answer, when there may be one; REPLY_MORE otherwise. */
enum reply_result leg_read_reply(struct leg *leg, struct err *err);

/* Is the target a plain endpoint? */
bool leg_is_plain(const struct leg *leg);

/* The broadcaster's settings; they outlive every leg. */
const struct broadcaster_settings *leg_settings(const struct leg *leg);

/* The pump's part for COMMITTING. */
void leg_pump_committing(struct leg *leg);

/* The withdrawal is over, done or not. */
void leg_end_withdrawal(struct leg *leg);

#endif
