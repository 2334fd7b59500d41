#include "broadcaster/lag.h"

#include <string.h>

void lag_clock_init(struct lag_clock *clock, uint64_t now_ms)
{
	*clock = (struct lag_clock){ .holder = LAG_NOBODY, .since_ms = now_ms };
}

/* Forget the seconds that have left the window. */
static void turn_window(struct lag *lag, uint64_t second)
{
	if (second - lag->slot_second >= LAG_WINDOW_SLOTS)
		memset(lag->slots, 0, sizeof(lag->slots));
	else
		while (lag->slot_second < second)
			lag->slots[++lag->slot_second % LAG_WINDOW_SLOTS] = 0;
	lag->slot_second = second;
}

/* Charge [from, to) to the seconds it lies in; at most the window's length. */
static void charge_window(struct lag *lag, uint64_t from, uint64_t to)
{
	const uint64_t window = LAG_WINDOW_SLOTS * 1000;

	if (to - from > window)
		from = to - window;
	while (from < to) {
		uint64_t second = from / 1000;
		uint64_t end = (second + 1) * 1000;
		uint16_t *slot;

		if (end > to)
			end = to;
		turn_window(lag, second);
		slot = &lag->slots[second % LAG_WINDOW_SLOTS];
		*slot = (uint16_t)(*slot + (end - from));
		from = end;
	}
}

void lag_charge(struct lag_clock *clock, struct lag *lags, int holder,
		uint64_t now_ms)
{
	if (clock->holder != LAG_NOBODY && now_ms > clock->since_ms) {
		struct lag *lag = &lags[clock->holder];

		lag->total_ms += now_ms - clock->since_ms;
		lag->since_caught_up_ms += now_ms - clock->since_ms;
		charge_window(lag, clock->since_ms, now_ms);
	}
	clock->holder = holder;
	clock->since_ms = now_ms;
}

void lag_init(struct lag *lag, uint64_t now_ms)
{
	*lag = (struct lag){ .progress_ms = now_ms,
			     .slot_second = now_ms / 1000 };
}

void lag_sent(struct lag *lag, uint64_t unsent, uint64_t now_ms)
{
	lag->progress_ms = now_ms;
	lag->has_unsent = unsent > 0;
	if (!lag->has_unsent)
		lag->since_caught_up_ms = 0;
}

void lag_queued(struct lag *lag, uint64_t now_ms)
{
	if (lag->has_unsent)
		return;
	lag->has_unsent = true;
	lag->unsent_ms = now_ms;
}

void lag_forgive(struct lag *lag, uint64_t ms)
{
	lag->progress_ms += ms;
	lag->unsent_ms += ms;
}

uint64_t lag_recent_ms(const struct lag *lag, uint64_t now_ms)
{
	uint64_t second = now_ms / 1000, sum = 0;

	for (uint64_t i = 0; i < LAG_WINDOW_SLOTS && i <= lag->slot_second; i++)
		if (second - (lag->slot_second - i) < LAG_WINDOW_SLOTS)
			sum += lag->slots[(lag->slot_second - i) %
					  LAG_WINDOW_SLOTS];
	return sum;
}

bool lag_is_behind(const struct lag *lag, uint64_t limit_ms)
{
	return limit_ms > 0 && lag->since_caught_up_ms >= limit_ms;
}

bool lag_is_stalled(const struct lag *lag, uint64_t limit_ms, uint64_t now_ms)
{
	uint64_t since = lag->unsent_ms > lag->progress_ms ? lag->unsent_ms :
							     lag->progress_ms;

	return lag->has_unsent && now_ms >= since + limit_ms;
}
