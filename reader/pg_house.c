#include "reader/pg_house.h"

#include "common/clock.h"
#include "common/log.h"

#include "reader/pg_conninfo.h"
#include "reader/pg_error.h"
#include "reader/pg_exec.h"
#include "reader/pg_schema.h"
#include "reader/pg_statements.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUND_MS 60000u		/* between two rounds */
#define RETRY_MS 2000u		/* after a round that failed */
#define START_RETRY_US 200000u
#define RETURN_TIME "3 minutes"	/* a living reader is back after a restart */
#define LOCK_TIMEOUT "5s"	/* then others have their turn first */
#define MIN_LIMIT_MS 10000u	/* more than that */
#define MAX_KEYS 1000		/* of objects to be removed, at a time */
#define LIMIT "LIMIT 1000"	/* that many */
#define PATIENCE 10u		/* times db_timeout_ms */
#define BATCH_ROWS 8192		/* 64 MiB of chunks a transaction */
#define MAX_NUMBERS 1000	/* taken ones, when a reader is given its own */
#define NUMBER_SIZE 24

struct pg_house {
	const struct reader_settings *settings;
	PGconn *conn;
	char instance_text[NUMBER_SIZE];
	atomic_int instance;
	atomic_bool is_replica;
	bool has_lock;
	/* the thread */
	pthread_t thread;
	bool started;
	int wake;			/* eventfd: work, or the end */
	pthread_mutex_t mutex;		/* guards what follows */
	bool stopping;
	int asking;			/* the connection's socket in a round; or -1 */
	struct pg_chore *chores;
	struct pg_chore **last_chore;	/* where the next one goes */
	bool untidy;			/* objects of ours wait for removal */
};

/* ---- SQL ----------------------------------------------------------------- */

/*
 * What removes many rows may take longer than what a client waits for, and the
 * server gives up a lock before that.
 */
static uint64_t limit_ms(const struct pg_house *house)
{
	uint64_t ms = PATIENCE * house->settings->db_timeout_ms;

	return ms < MIN_LIMIT_MS ? MIN_LIMIT_MS : ms;
}

/* A statement with up to two numbers; its result or NULL. */
static PGresult *ask(struct pg_house *house, const char *sql, const char *a,
		     const char *b, struct err *err)
{
	const char *params[] = { a, b };

	return pg_exec(house->conn, limit_ms(house), sql, a ? b ? 2 : 1 : 0,
		       params, err);
}

/* The first value as text; false with `err`, "" when there is no row. */
static bool ask_value(struct pg_house *house, const char *sql, const char *a,
		      const char *b, char *value, struct err *err)
{
	PGresult *result = ask(house, sql, a, b, err);

	if (!result)
		return false;
	snprintf(value, NUMBER_SIZE, "%s",
		 PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	return true;
}

/* Rows that a statement changed; -1 with `err`. */
static long change(struct pg_house *house, const char *sql, const char *a,
		   const char *b, struct err *err)
{
	PGresult *result = ask(house, sql, a, b, err);
	long n = result ? strtol(PQcmdTuples(result), NULL, 10) : -1;

	PQclear(result);
	return n;
}

/* ---- removing ------------------------------------------------------------ */

static bool is_stopping(struct pg_house *house)
{
	bool stopping;

	pthread_mutex_lock(&house->mutex);
	stopping = house->stopping;
	pthread_mutex_unlock(&house->mutex);
	return stopping;
}

/* All chunks of an object that is not committed, BATCH_ROWS a transaction. */
static int remove_chunks(struct pg_house *house, const char *key,
			 struct err *err)
{
	static const char sql[] =
		"DELETE FROM chunk WHERE object = $1::bigint AND seq < "
		"(SELECT min(seq) FROM chunk WHERE object = $1::bigint) + "
		"$2::bigint AND NOT EXISTS (SELECT FROM object WHERE "
		"key = $1::bigint AND state = 3)";
	char batch[NUMBER_SIZE];
	long n = 1;

	snprintf(batch, sizeof(batch), "%d", BATCH_ROWS);
	while (n > 0 && !is_stopping(house))
		n = change(house, sql, key, batch, err);
	return n < 0 ? -1 : 0;
}

/*
 * One object, unless it is committed. Its owner may live after all and be about
 * to commit it: so it is withdrawn before its first chunk goes.
 */
static int remove_uncommitted(struct pg_house *house, const char *key,
			      struct err *err)
{
	if (change(house, "UPDATE object SET state = 4, withdrawn_at = now() "
		   "WHERE key = $1::bigint AND state IN (1, 2)", key, NULL,
		   err) < 0 ||
	    remove_chunks(house, key, err) < 0)
		return -1;
	return change(house, "DELETE FROM object WHERE key = $1::bigint AND "
		      "state = 4", key, NULL, err) < 0 ? -1 : 0;
}

/*
 * Remove the objects whose keys a query gives, one by one; how many. One that
 * cannot be removed, because somebody has locked it, does not keep the others.
 */
static long remove_objects(struct pg_house *house, PGresult *keys,
			   struct err *err)
{
	long n = 0;

	for (int i = 0; i < PQntuples(keys) && !is_stopping(house); i++)
		if (remove_uncommitted(house, PQgetvalue(keys, i, 0), err) == 0)
			n++;
	return n;
}

static int remove_listed(struct pg_house *house, const char *sql,
			 const char *param, enum log_level level,
			 const char *why, struct err *err)
{
	struct err first = ERR_INIT;
	PGresult *keys;
	long n = MAX_KEYS;

	while (n == MAX_KEYS && !err_is_set(&first)) {
		keys = ask(house, sql, param, NULL, &first);
		n = remove_objects(house, keys, &first);
		PQclear(keys);
		if (n > 0)
			log_line(level, "removed",
				 LOG_U64("objects", (uint64_t)n),
				 LOG_STR("reason", why));
	}
	if (!err_is_set(&first))
		return 0;
	return err_set(err, first.code, "%s", first.text);
}

/* ---- dead instances ------------------------------------------------------ */

static bool try_lock(struct pg_house *house, const char *instance, bool *got,
		     struct err *err)
{
	char class[NUMBER_SIZE], value[NUMBER_SIZE];

	snprintf(class, sizeof(class), "%d", PG_LOCK_CLASS);
	if (!ask_value(house,
		       "SELECT pg_try_advisory_lock($1::integer, $2::integer)",
		       class, instance, value, err))
		return false;
	*got = value[0] == 't';
	return true;
}

static bool unlock(struct pg_house *house, const char *instance,
		   struct err *err)
{
	char class[NUMBER_SIZE], value[NUMBER_SIZE];

	snprintf(class, sizeof(class), "%d", PG_LOCK_CLASS);
	return ask_value(house,
			 "SELECT pg_advisory_unlock($1::integer, $2::integer)",
			 class, instance, value, err);
}

/* Its lock is ours, so nobody works for it any more. */
static int bury_instance(struct pg_house *house, const char *instance,
			 struct err *err)
{
	if (remove_listed(house,
			  "SELECT key FROM object WHERE owner = $1::integer "
			  "AND state <> 3 " LIMIT, instance, LOG_INFO,
			  "their reader is gone", err) < 0)
		return -1;
	return change(house, "DELETE FROM instance WHERE id = $1::integer",
		      instance, NULL, err) < 0 ? -1 : 0;
}

static int look_at_instance(struct pg_house *house, const char *instance,
			    struct err *err)
{
	bool got;
	int rc;

	if (!try_lock(house, instance, &got, err))
		return -1;
	if (!got)
		return 0;
	rc = bury_instance(house, instance, err);
	return unlock(house, instance, err) ? rc : -1;
}

/*
 * Owners that are registered, and those of a restored dump that are not. A server
 * that was restarted has taken everybody's lock away: those who live have a while
 * to take theirs again.
 */
static int bury_the_dead(struct pg_house *house, struct err *err)
{
	PGresult *others = ask(house,
			       "SELECT id FROM instance WHERE id <> $1::integer "
			       "AND (started_at > pg_postmaster_start_time() OR "
			       "pg_postmaster_start_time() < now() - interval '"
			       RETURN_TIME "') "
			       "UNION SELECT owner FROM object WHERE state <> 3 "
			       "AND owner <> $1::integer AND owner NOT IN "
			       "(SELECT id FROM instance)",
			       house->instance_text, NULL, err);
	int rc = others ? 0 : -1;

	for (int i = 0; i < PQntuples(others); i++)
		if (look_at_instance(house, PQgetvalue(others, i, 0), err) < 0)
			rc = -1;
	PQclear(others);
	return rc;
}

/* ---- our own leavings ---------------------------------------------------- */

/*
 * What sinks and deletions have withdrawn. The list is the database's own, so it
 * takes no memory here and outlives a crash. Newest first: what could not be
 * removed in the round before, because it is locked, comes last.
 */
static int remove_withdrawn(struct pg_house *house, struct err *err)
{
	pthread_mutex_lock(&house->mutex);
	house->untidy = false;
	pthread_mutex_unlock(&house->mutex);
	return remove_listed(house,
			     "SELECT key FROM object WHERE owner = $1::integer "
			     "AND state = 4 ORDER BY withdrawn_at DESC " LIMIT,
			     house->instance_text, LOG_DEBUG,
			     "deleted or aborted", err);
}

/* ---- what was asked for --------------------------------------------------- */

static void wake(struct pg_house *house)
{
	CHECK(eventfd_write(house->wake, 1) == 0);
}

void pg_house_tidy(struct pg_house *house)
{
	pthread_mutex_lock(&house->mutex);
	house->untidy = true;
	pthread_mutex_unlock(&house->mutex);
	wake(house);
}

/* All of them, as a list. */
static struct pg_chore *take_chores(struct pg_house *house)
{
	struct pg_chore *chores;

	pthread_mutex_lock(&house->mutex);
	chores = house->chores;
	house->chores = NULL;
	house->last_chore = &house->chores;
	pthread_mutex_unlock(&house->mutex);
	return chores;
}

static void put_chore(struct pg_house *house, struct pg_chore *chore)
{
	pthread_mutex_lock(&house->mutex);
	chore->next = NULL;
	*house->last_chore = chore;
	house->last_chore = &chore->next;
	pthread_mutex_unlock(&house->mutex);
	wake(house);
}

void pg_house_withdraw_later(struct pg_house *house, struct pg_chore **chore,
			     int64_t key)
{
	if (!*chore)
		return;
	(*chore)->key = key;
	put_chore(house, *chore);
	*chore = NULL;
}

static int withdraw(struct pg_house *house, int64_t key, struct err *err)
{
	char text[NUMBER_SIZE];

	snprintf(text, sizeof(text), "%" PRId64, key);
	return change(house, "UPDATE object SET state = 4, owner = $1::integer, "
		      "withdrawn_at = now() WHERE key = $2::bigint",
		      house->instance_text, text, err) < 0 ? -1 : 0;
}

/* Each once; those that fail go to the end of the queue. */
static int do_chores(struct pg_house *house, struct err *err)
{
	struct pg_chore *chore, *next;
	int rc = 0;

	for (chore = take_chores(house); chore; chore = next) {
		next = chore->next;
		if (withdraw(house, chore->key, err) < 0) {
			put_chore(house, chore);
			rc = -1;
		} else {
			free(chore);
		}
	}
	return rc;
}

/* ---- instance ------------------------------------------------------------ */

static int take_own_lock(struct pg_house *house, struct err *err)
{
	bool got;

	if (!try_lock(house, house->instance_text, &got, err))
		return -1;
	if (!got)
		return err_set(err, ERR_STORE,
			       "another reader holds the lock of instance %s",
			       house->instance_text);
	house->has_lock = true;
	/* Who had buried us has removed the row, too; or a restore has. */
	return change(house, "INSERT INTO instance (id) OVERRIDING SYSTEM VALUE "
		      "VALUES ($1::integer) ON CONFLICT DO NOTHING",
		      house->instance_text, NULL, err) < 0 ? -1 : 0;
}

/*
 * The next number, and its lock: 1, or 0 when it is another one's. One statement: the
 * row is seen by others when its lock is held, never before, or one that starts at
 * the same time would take us for dead.
 */
static int try_number(struct pg_house *house, struct err *err)
{
	char class[NUMBER_SIZE];

	snprintf(class, sizeof(class), "%d", PG_LOCK_CLASS);
	if (ask_value(house,
		      "WITH new AS (INSERT INTO instance DEFAULT VALUES "
		      "RETURNING id) SELECT CASE WHEN pg_try_advisory_lock("
		      "$1::integer, id) THEN id END FROM new", class, NULL,
		      house->instance_text, err))
		return house->instance_text[0] != '\0';
	if (err->code != ERR_CONFLICT)
		return -1;
	*err = ERR_INIT;
	return 0;
}

/*
 * Once; a connection made anew only takes the lock again. A restored database gives
 * numbers again which readers have that live.
 */
static int register_instance(struct pg_house *house, struct err *err)
{
	int rc = 0;

	if (house->instance_text[0])
		return take_own_lock(house, err);
	for (int i = 0; i < MAX_NUMBERS && rc == 0; i++)
		rc = try_number(house, err);
	if (rc == 0)
		err_set(err, ERR_STORE, "no number is free for this reader");
	if (rc <= 0)
		return -1;
	house->has_lock = true;
	atomic_store(&house->instance,
		     (int)strtol(house->instance_text, NULL, 10));
	return 0;
}

/* ---- rounds -------------------------------------------------------------- */

static PGconn *open_connection(const struct pg_house *house,
			       const struct pg_addresses *addresses)
{
	struct pg_conninfo info;

	pg_conninfo_init(&info, house->settings, addresses);
	info.keywords[info.n] = "tcp_user_timeout";
	info.values[info.n] = "60000";
	return pg_connect(&info, house->settings->db_connect_timeout_ms);
}

static bool is_silent(const PGconn *conn)
{
	return conn && PQstatus(conn) != CONNECTION_OK &&
	       PQstatus(conn) != CONNECTION_BAD;
}

static PGconn *try_connect(struct pg_house *house, struct err *err)
{
	struct pg_addresses addresses;
	PGconn *conn;

	if (pg_resolve(house->settings, &addresses, err) < 0)
		return NULL;
	conn = open_connection(house, &addresses);
	while (is_silent(conn) && !is_stopping(house) &&
	       pg_addresses_skip(&addresses, conn)) {
		PQfinish(conn);
		conn = open_connection(house, &addresses);
	}
	if (PQstatus(conn) == CONNECTION_OK)
		return conn;
	if (is_silent(conn))
		err_set(err, ERR_STORE, "the database at %.80s, port %s did not "
			"answer in time", PQhost(conn), PQport(conn));
	pg_conn_err(err, conn, "cannot connect to the database");
	if (conn && pg_conn_is_hopeless(conn))
		err->code = ERR_CONFIG;
	PQfinish(conn);
	return NULL;
}

/* What the connection asks may be broken off by stop_thread() from now on. */
static void set_asking(struct pg_house *house, int fd)
{
	pthread_mutex_lock(&house->mutex);
	house->asking = fd;
	if (house->stopping && fd >= 0)
		shutdown(fd, SHUT_RDWR);
	pthread_mutex_unlock(&house->mutex);
}

/* Names and titles are any Unicode text; SQL_ASCII takes bytes as they are. */
static int check_encoding(const PGconn *conn, struct err *err)
{
	const char *encoding = PQparameterStatus(conn, "server_encoding");

	if (!encoding || strcmp(encoding, "UTF8") == 0 ||
	    strcmp(encoding, "SQL_ASCII") == 0)
		return 0;
	return err_set(err, ERR_CONFIG,
		       "the database has the encoding %.20s: UTF8 is needed, or "
		       "SQL_ASCII", encoding);
}

/*
 * An administrator's time limits are for those who forget a session; this one is
 * idle because it holds a lock. PostgreSQL 13 does not know the setting yet. The
 * number of an instance must not be given twice, so it has to survive a crash. Who
 * waits for a lock holds up everybody else, and the round.
 */
static int set_up_session(struct pg_house *house, struct err *err)
{
	static const char always[] =
		"SELECT " PG_DURABLY("false") ", "
		"set_config('lock_timeout', '" LOCK_TIMEOUT "', false)";
	static const char from_14_on[] =
		"SELECT set_config('idle_session_timeout', '0', false)";
	PGresult *result;

	if (check_encoding(house->conn, err) < 0)
		return -1;
	result = ask(house, always, NULL, NULL, err);
	PQclear(result);
	if (!result || PQserverVersion(house->conn) < 140000)
		return result ? 0 : -1;
	result = ask(house, from_14_on, NULL, NULL, err);
	PQclear(result);
	return result ? 0 : -1;
}

static void disconnect(struct pg_house *house)
{
	set_asking(house, -1);
	PQfinish(house->conn);
	house->conn = NULL;
	house->has_lock = false;
}

static int connect_house(struct pg_house *house, struct err *err)
{
	if (house->conn && PQstatus(house->conn) == CONNECTION_BAD)
		disconnect(house);
	if (house->conn) {
		set_asking(house, PQsocket(house->conn));
		return 0;
	}
	house->conn = try_connect(house, err);
	if (!house->conn)
		return -1;
	set_asking(house, PQsocket(house->conn));
	if (set_up_session(house, err) == 0)
		return 0;
	disconnect(house);
	return -1;
}

/* Connected, migrated, registered; only then it is no replica. */
static int settle(struct pg_house *house, struct err *err)
{
	bool is_replica;

	if (connect_house(house, err) < 0 ||
	    pg_schema_migrate(house->conn, limit_ms(house), &is_replica,
			      err) < 0)
		return -1;
	if (!is_replica && !house->has_lock &&
	    register_instance(house, err) < 0)
		return -1;
	atomic_store(&house->is_replica, is_replica);
	return 0;
}

/* One round. What fails does not keep the rest from being done. */
static int keep_house(struct pg_house *house, struct err *err)
{
	static int (*const duties[])(struct pg_house *, struct err *) = {
		do_chores, remove_withdrawn, bury_the_dead,
	};
	int rc = 0;

	if (settle(house, err) < 0)
		return -1;
	if (pg_house_is_replica(house))
		return 0;
	for (size_t i = 0; i < sizeof(duties) / sizeof(duties[0]); i++)
		if (duties[i](house, err) < 0)
			rc = -1;
	return rc;
}

static bool has_work(struct pg_house *house)
{
	bool has;

	pthread_mutex_lock(&house->mutex);
	has = house->chores != NULL || house->untidy;
	pthread_mutex_unlock(&house->mutex);
	return has;
}

/* Until somebody wakes us; true when the connection, and its lock, are lost. */
static bool wait_for_news(struct pg_house *house, uint64_t ms)
{
	struct pollfd fds[] = {
		{ .fd = house->wake, .events = POLLIN },
		{ .fd = house->conn ? PQsocket(house->conn) : -1,
		  .events = POLLIN },
	};
	eventfd_t ignored;

	if (poll(fds, 2, (int)ms) <= 0)
		return false;
	if (fds[0].revents)
		(void)eventfd_read(house->wake, &ignored);
	return fds[1].revents && !PQconsumeInput(house->conn);
}

/*
 * Until the time has come, the lock is lost, or something is to be done and the
 * last round did not fail; false at the end.
 */
static bool wait_for_round(struct pg_house *house, uint64_t ms, bool failed)
{
	uint64_t now = clock_monotonic_ms(), end = now + ms;
	bool lost = false;

	while (now < end && !lost && !is_stopping(house) &&
	       (failed || !has_work(house))) {
		lost = wait_for_news(house, end - now);
		now = clock_monotonic_ms();
	}
	return !is_stopping(house);
}

/* The first round, which may take long, follows the start at once. */
static void *run(void *arg)
{
	struct pg_house *house = arg;
	bool failed = false;
	uint64_t ms = 0;

	while (wait_for_round(house, ms, failed)) {
		struct err err = ERR_INIT;
		int rc = keep_house(house, &err);

		set_asking(house, -1);
		if (rc < 0 && !is_stopping(house))
			log_line(failed ? LOG_DEBUG : LOG_WARN, "housekeeping",
				 LOG_STR("result", "failed"),
				 LOG_STR("reason", err.text));
		failed = rc < 0;
		ms = failed ? RETRY_MS : ROUND_MS;
	}
	return NULL;
}

/* ---- start and end ------------------------------------------------------- */

/*
 * A server that is down may be about to start, a schema that is being migrated or
 * restored be whole soon; a wrong password stays wrong.
 */
static int start(struct pg_house *house, struct err *err)
{
	uint64_t end = clock_monotonic_ms() +
		       house->settings->db_start_timeout_ms;
	bool told = false;

	while (settle(house, err) < 0) {
		if ((house->conn && err->code != ERR_LIMIT) ||
		    err->code == ERR_CONFIG || clock_monotonic_ms() >= end)
			return -1;
		if (!told)
			log_line(LOG_WARN, "database_down",
				 LOG_STR("reason", err->text));
		told = true;
		*err = ERR_INIT;
		usleep(START_RETRY_US);
	}
	return 0;
}

static int start_thread(struct pg_house *house, struct err *err)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&house->thread, NULL, run, house);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return err_set_errno(err, ERR_LIMIT, rc,
				     "cannot start a thread");
	house->started = true;
	return 0;
}

struct pg_house *pg_house_new(const struct reader_settings *settings,
			      struct err *err)
{
	struct pg_house *house = calloc(1, sizeof(*house));

	if (!house) {
		err_set(err, ERR_MEMORY, "out of memory for the store");
		return NULL;
	}
	house->settings = settings;
	house->asking = -1;
	house->last_chore = &house->chores;
	pthread_mutex_init(&house->mutex, NULL);
	house->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (house->wake < 0)
		err_set_errno(err, ERR_LIMIT, errno, "cannot make an eventfd");
	if (house->wake < 0 || start(house, err) < 0 ||
	    start_thread(house, err) < 0)
		pg_house_free(&house);
	return house;
}

/* A server that does not answer any more must not keep the process. */
static void stop_thread(struct pg_house *house)
{
	pthread_mutex_lock(&house->mutex);
	house->stopping = true;
	if (house->asking >= 0)
		shutdown(house->asking, SHUT_RDWR);
	pthread_mutex_unlock(&house->mutex);
	wake(house);
	pthread_join(house->thread, NULL);
}

/* What is ours and uncommitted is left to the next start, as after a crash. */
void pg_house_free(struct pg_house **housep)
{
	struct pg_house *house = *housep;
	struct pg_chore *chore, *next;

	*housep = NULL;
	if (!house)
		return;
	if (house->started)
		stop_thread(house);
	PQfinish(house->conn);
	for (chore = take_chores(house); chore; chore = next) {
		next = chore->next;
		free(chore);
	}
	if (house->wake >= 0)
		close(house->wake);
	pthread_mutex_destroy(&house->mutex);
	free(house);
}

int32_t pg_house_instance(const struct pg_house *house)
{
	return atomic_load(&house->instance);
}

bool pg_house_is_replica(const struct pg_house *house)
{
	return atomic_load(&house->is_replica);
}
