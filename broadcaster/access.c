#include "broadcaster/access.h"

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

void access_refuse_method(struct http_exchange *x, const char *allow)
{
	char text[80];

	snprintf(text, sizeof(text), "allowed: %s", allow);
	refuse(x, 405, text, "Allow", allow);
}
