/*
 * pg_conninfo.h - how to reach the database, and names without blocking
 *
 * DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD go before libpq's own
 * variables; everything else (TLS, service and password files, several hosts,
 * PGOPTIONS) is libpq's (PostgreSQL manual, 34.1). libpq looks names up with a blocking call,
 * also in an asynchronous connect; so a worker does it first and the addresses
 * are handed over as `hostaddr`. TLS still verifies the name.
 */
#ifndef READER_PG_CONNINFO_H
#define READER_PG_CONNINFO_H

#include "reader/settings.h"

#include <libpq-fe.h>

#define PG_CONNINFO_MAX 64u	/* keywords, with the NULL behind them */
#define PG_ADDRESSES_SIZE 1024u

/* Where a connect goes; plain data. All strings NUL-terminated. */
struct pg_addresses {
	char host[PG_ADDRESSES_SIZE];		/* "a,a", one for each address */
	char hostaddr[PG_ADDRESSES_SIZE];	/* "10.0.0.1,::1"; "" of sockets */
	char port[PG_ADDRESSES_SIZE];
	char options[PG_ADDRESSES_SIZE];	/* PGOPTIONS, then ours */
	bool hides_hostaddr;	/* DB_HOST was given, and PGHOSTADDR too */
};

/*
 * Find out the addresses of the configured hosts: blocks as long as a name
 * look-up takes. Names that are not known are passed over, which is logged; -1 with
 * ERR_STORE when none is known, ERR_CONFIG when there are neither one port nor one for
 * each host, or the list is too long.
 */
int pg_resolve(const struct reader_settings *settings,
	       struct pg_addresses *addresses, struct err *err) MUST_CHECK;

/*
 * The address that `conn` was trying is silent, and libpq has no time limit for it when
 * it is asked not to block: leave it out, which is logged. False: there is no other.
 */
bool pg_addresses_skip(struct pg_addresses *addresses, const PGconn *conn);

/* Keywords and values for PQconnectStartParams(); they borrow from both. */
struct pg_conninfo {
	const char *keywords[PG_CONNINFO_MAX];
	const char *values[PG_CONNINFO_MAX];
	size_t n;
	char hosts[2 * PG_ADDRESSES_SIZE], ports[2 * PG_ADDRESSES_SIZE];
};

/*
 * Fill `info` for a connection to `addresses`, which has to outlive it, as do
 * the settings.
 */
void pg_conninfo_init(struct pg_conninfo *info,
		      const struct reader_settings *settings,
		      const struct pg_addresses *addresses);

/* Which one of several addresses a connection is trying; begins as zeroes. */
struct pg_place {
	char text[512];
};

/* Is it another one than before? */
bool pg_place_changes(struct pg_place *place, const PGconn *conn);

/*
 * Connect, blocking for at most `ms` for each address that libpq tries, without the
 * look-up of names: for the start and for keeping house. To be PQfinish()ed in any
 * case; NULL only when out of memory.
 */
PGconn *pg_connect(const struct pg_conninfo *info, uint64_t ms);

#endif
