#include "broadcaster/access.h"

#include "broadcaster/ticket.h"
#include "common/clock.h"

#include <stdio.h>

static void refuse(struct http_exchange *x, int status, const char *text,
		   const char *name, const char *value)
{
	struct http_header header = { name, value };
	struct http_reply reply = { .status = status,
				    .content_type = "application/problem+json",
				    .headers = &header,
				    .n_headers = 1 };
	char body[300];

	snprintf(body, sizeof(body),
		 "{\"type\":\"about:blank\",\"status\":%d,\"title\":\"%s\","
		 "\"detail\":\"%s\"}\n",
		 status, http1_reason(status), text);
	http_reply(x, &reply, span_of(body));
}

bool access_is_private(const struct broadcaster_settings *settings)
{
	return *settings->token && !settings->public_media;
}

bool access_check(struct front *front, struct http_exchange *x,
		  bool is_reading)
{
	const struct broadcaster_settings *s = front->settings;

	if (!*s->token || (is_reading && s->public_media) ||
	    http_is_authorized(x, s->token))
		return true;
	refuse(x, 401, "a Bearer token is needed", "WWW-Authenticate",
	       "Bearer");
	return false;
}

bool access_check_play(struct front *front, struct http_exchange *x,
		       struct span id)
{
	const struct broadcaster_settings *s = front->settings;
	struct span ticket = http1_query_get(http_request_query(x), "ticket");

	if (access_is_private(s) && !http_is_authorized(x, s->token) &&
	    ticket.len > 0) {
		if (ticket_is_valid(s->token, id, clock_wall_ms(), ticket))
			return true;
		refuse(x, 401, "the ticket is of another object, or has expired",
		       "WWW-Authenticate", "Bearer");
		return false;
	}
	return access_check(front, x, true);
}

void access_refuse_method(struct http_exchange *x, const char *allow)
{
	char text[80];

	snprintf(text, sizeof(text), "allowed: %s", allow);
	refuse(x, 405, text, "Allow", allow);
}
