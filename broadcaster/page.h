/*
 * page.h - the page at /: upload, search, play
 *
 * broadcaster/page.html, put into the program when it is built. It uses the API
 * like anybody else, needs nothing from elsewhere, and its Content-Security-Policy
 * allows only its own script and style, by their digests.
 */
#ifndef BROADCASTER_PAGE_H
#define BROADCASTER_PAGE_H

#include "common/http_server.h"

/* Take the digests; once, before page_serve(). */
void page_init(void);

/* "/": answer GET and HEAD and return true; else touch nothing. */
bool page_serve(struct http_exchange *x, struct span path);

#endif
