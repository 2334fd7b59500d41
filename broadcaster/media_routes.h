/*
 * media_routes.h - which request about stored objects is answered by what
 */
#ifndef BROADCASTER_MEDIA_ROUTES_H
#define BROADCASTER_MEDIA_ROUTES_H

#include "broadcaster/front.h"

/* /media, /media/{id}, /api/songs: answer and return true; else touch nothing. */
bool media_routes(struct front *front, struct http_exchange *x,
		  struct span path);

#endif
