/*
 * pg_house.h - keeping house: one thread, one blocking connection
 *
 * At the start it migrates the schema and registers this reader as an
 * *instance*: a row, and an advisory lock of its number that lasts as long as the
 * connection. Whoever can take the lock of an instance knows that it is dead, on
 * whatever machine, without clocks; what it left uncommitted is removed, in
 * batches, right after the start and once a minute: out of sight first, so that an
 * owner who lives after all cannot commit what is being removed. So several
 * readers may share a database. Removed too: objects of our own that were deleted
 * or aborted, as soon as they are out of sight. A chunk whose object has no row is
 * left alone: nothing of ours makes such ones (a slice holds the row's lock), but a
 * restore does, before it comes to the rows. Who waits for a lock of somebody else's
 * gives up after 5 s, does the rest, and tries again 2 s later. A statement that is not
 * answered in ten times db_timeout_ms ends the connection.
 *
 * A connection that breaks is made anew at once and the lock taken again; after a
 * restart of the server others wait for that. Objects that another reader may have
 * removed meanwhile fail at their stage or commit, never silently. On a replica
 * (pg_is_in_recovery()) nothing is written, and it is asked once a minute whether
 * it was promoted.
 */
#ifndef READER_PG_HOUSE_H
#define READER_PG_HOUSE_H

#include "reader/settings.h"

#include <stdint.h>

struct pg_house;

/*
 * Connect (waiting up to db_start_timeout_ms for a server that does not listen
 * yet, or a schema that is being restored or migrated), migrate, register, start the
 * thread. Blocks. NULL with ERR_CONFIG, ERR_LIMIT or ERR_STORE.
 */
struct pg_house *pg_house_new(const struct reader_settings *settings,
			      struct err *err);

/*
 * Stop the thread, whatever it is asking, give up the lock, free *house and null
 * it. Blocks briefly.
 */
void pg_house_free(struct pg_house **house);

/* Our number as an instance, for `object.owner`. Any thread. */
int32_t pg_house_instance(const struct pg_house *house);

/*
 * Objects of this instance were withdrawn: remove their chunks and rows, soon and
 * in batches. What a failure or an end leaves is done in a later round, or by the
 * next start. Any thread.
 */
void pg_house_tidy(struct pg_house *house);

/* A withdrawal that will be asked for, maybe: malloc'ed beforehand. */
struct pg_chore {
	struct pg_chore *next;
	int64_t key;
};

/*
 * Withdraw the object of this key, whatever its state, as soon as the database can
 * be asked, and remove it: for those whose own statement failed. Takes *chore and
 * nulls it; asked for already when that is NULL. Any thread.
 */
void pg_house_withdraw_later(struct pg_house *house, struct pg_chore **chore,
			     int64_t key);

/* Is the database a replica, which takes no uploads? Any thread. */
bool pg_house_is_replica(const struct pg_house *house);

#endif
