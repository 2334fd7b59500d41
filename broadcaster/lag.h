/*
 * lag.h - who is the bottleneck, for how long, and who is too far behind
 *
 * A target is the bottleneck only while reading from the client is held because
 * the ring is full, and its cursor is the tail. At most one target is it at a
 * time; when two cursors are the tail it is the first of them. Time in which we
 * wait for the client is nobody's. Pure: the time is an argument.
 *
 * Two judgements follow (see leg.h for what is done about them):
 *   behind   it was the bottleneck for `limit_ms` since it last caught up
 *   stalled  it had something to send and sent nothing for `limit_ms`
 */
#ifndef BROADCASTER_LAG_H
#define BROADCASTER_LAG_H

#include <stdbool.h>
#include <stdint.h>

#define LAG_NOBODY (-1)
#define LAG_WINDOW_SLOTS 10u	/* of one second each */

/* One target's account. */
struct lag {
	uint64_t total_ms;		/* as the bottleneck, ever */
	uint64_t since_caught_up_ms;	/* of these, since lag was last 0 */
	uint64_t progress_ms;		/* clock when a byte was last sent */
	uint64_t unsent_ms;		/* clock since when bytes are unsent */
	bool has_unsent;
	uint16_t slots[LAG_WINDOW_SLOTS];	/* ms in each second */
	uint64_t slot_second;		/* second of the newest slot */
};

/* One upload's clock over its targets' accounts. */
struct lag_clock {
	int holder;			/* index of the bottleneck, or LAG_NOBODY */
	uint64_t since_ms;
};

/* Start at `now_ms`, nobody to blame. */
void lag_clock_init(struct lag_clock *clock, uint64_t now_ms);

/*
 * From now on `holder` (an index into `lags`, or LAG_NOBODY) is the bottleneck;
 * the time since the last call is charged to the one before. Call it at each
 * change and whenever the accounts are read.
 */
void lag_charge(struct lag_clock *clock, struct lag *lags, int holder,
		uint64_t now_ms);

/* Start an account at `now_ms`. */
void lag_init(struct lag *lag, uint64_t now_ms);

/* The target sent bytes and now has `unsent` left. */
void lag_sent(struct lag *lag, uint64_t unsent, uint64_t now_ms);

/* More bytes are waiting for the target. */
void lag_queued(struct lag *lag, uint64_t now_ms);

/* This process did not run for `ms`: nobody is to blame for that time. */
void lag_forgive(struct lag *lag, uint64_t ms);

/* Milliseconds as the bottleneck within the last ten seconds. */
uint64_t lag_recent_ms(const struct lag *lag, uint64_t now_ms);

/* Was it the bottleneck for `limit_ms` (0 = never) since it last caught up? */
bool lag_is_behind(const struct lag *lag, uint64_t limit_ms);

/*
 * Has it had bytes to send, and sent none, for `limit_ms`?
 */
bool lag_is_stalled(const struct lag *lag, uint64_t limit_ms, uint64_t now_ms);

#endif
