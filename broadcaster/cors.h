/*
 * cors.h - which other sites' scripts may read what this server answers
 *
 *   BROADCASTER_CORS_ORIGINS = "" | "*" | origin *( ";" origin )
 *   origin = scheme "://" host [ ":" port ], as browsers send it: lower case, no
 *            path, no default port
 *
 * By Fetch, 3.2. Without a setting nothing is said and browsers keep scripts of
 * other sites out. Tokens are sent by scripts in Authorization, never by the
 * browser on its own: there is no Access-Control-Allow-Credentials.
 */
#ifndef BROADCASTER_CORS_H
#define BROADCASTER_CORS_H

#include "common/err.h"
#include "common/http_server.h"

#define CORS_MAX_ORIGINS 32u
#define CORS_MAX_TEXT 4096u
#define CORS_FIELDS 3u

/* One origin, and the fields that answers to it have. */
struct cors_origin {
	const char *text;
	struct http_header fields[CORS_FIELDS];
};

/* Points into itself: must not be moved once it is parsed. */
struct cors {
	bool any;
	unsigned int n;		/* 0: nothing is allowed */
	struct cors_origin origins[CORS_MAX_ORIGINS];
	char text[CORS_MAX_TEXT];
};

/* Read the setting into *cors. -1 with ERR_CONFIG saying what is allowed. */
int cors_parse(struct cors *cors, struct span setting, struct err *err)
	MUST_CHECK;

/* For the table of settings: is it one that cors_parse() takes? */
int cors_check(const char *setting, struct err *err);

/*
 * The fields of an answer to a request whose Origin field is `origin` (ptr NULL:
 * it has none); as many as are returned. They live as long as `cors`.
 */
size_t cors_fields(const struct cors *cors, struct span origin,
		   const struct http_header **fields);

/* Does a browser ask whether it may send what a script wants (Fetch, 3.2.2)? */
bool cors_is_preflight(const struct cors *cors, const struct http_exchange *x);

/* Answer that: every method and field of the API; cors_fields() says to whom. */
void cors_reply_preflight(struct http_exchange *x);

#endif
