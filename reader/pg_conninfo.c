#include "reader/pg_conninfo.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/span.h"

#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/*
 * What every session of ours has, behind what PGOPTIONS says, whatever the role or
 * the database has; GUCs of the server's own are left alone. Scans by one process
 * from a table's beginning find rows in the same order for every page of a search,
 * and a score that is text goes back exactly.
 */
#define SESSION                                                \
	" -c search_path=stream_broadcast,public,pg_temp "     \
	"-c max_parallel_workers_per_gather=0 "                \
	"-c synchronize_seqscans=off "                         \
	"-c default_transaction_isolation=read\\ committed "   \
	"-c extra_float_digits=1 "                             \
	"-c statement_timeout=0 "                              \
	"-c client_min_messages=warning "                      \
	"-c pg_trgm.word_similarity_threshold=0.45"
#define LOCK_GRACE_MS 1000u	/* we give up first, and say so */

/* ---- addresses ----------------------------------------------------------- */

/* A list under construction: items separated by commas. */
static bool append(char *list, const char *item, bool first)
{
	size_t len = strlen(list), more = strlen(item) + (first ? 0 : 1);

	if (len + more >= PG_ADDRESSES_SIZE)
		return false;
	if (!first)
		list[len++] = ',';
	memcpy(list + len, item, strlen(item) + 1);
	return true;
}

struct resolving {
	struct pg_addresses *out;
	bool any;	/* something stands in the lists */
	struct err unknown;	/* the first name that was passed over */
	struct err *err;
};

static int add(struct resolving *r, const char *host, const char *address,
	       const char *port)
{
	bool first = !r->any;

	r->any = true;
	if (append(r->out->host, host, first) &&
	    append(r->out->hostaddr, address, first) &&
	    append(r->out->port, port, first))
		return 0;
	return err_set(r->err, ERR_CONFIG,
		       "DB_HOST: the list of hosts and addresses is too long");
}

/* All of a name's addresses; one that cannot be written down counts as unknown. */
static int add_all(struct resolving *r, const char *host, const char *port,
		   const struct addrinfo *info)
{
	char address[NI_MAXHOST];
	bool any = false;

	for (; info; info = info->ai_next) {
		if (getnameinfo(info->ai_addr, info->ai_addrlen, address,
				sizeof(address), NULL, 0,
				NI_NUMERICHOST) != 0)
			continue;
		if (add(r, host, address, port) < 0)
			return -1;
		any = true;
	}
	return any ? 0 : err_set(r->err, ERR_STORE,
				 "the database's host \"%.80s\" has no address",
				 host);
}

/* A directory or an abstract name stands for a socket (manual, 34.1.2). */
static bool is_socket(const char *host)
{
	return !*host || *host == '/' || *host == '@';
}

static int add_host(struct resolving *r, const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *info;
	int rc;

	if (is_socket(host))
		return add(r, host, "", port);
	rc = getaddrinfo(host, NULL, &hints, &info);
	if (rc != 0)
		return err_set(r->err, ERR_STORE,
			       "the database's host \"%.80s\" is not known: %s",
			       host, gai_strerror(rc));
	rc = add_all(r, host, port, info);
	freeaddrinfo(info);
	return rc;
}

/* A name that is not known is passed over, if there is another one. */
static void pass_over(struct resolving *r)
{
	log_line(LOG_WARN, "database_host_unknown",
		 LOG_STR("reason", r->err->text));
	if (!err_is_set(&r->unknown))
		r->unknown = *r->err;
	*r->err = ERR_INIT;
}

static size_t count_items(const char *list)
{
	size_t n = 1;

	for (; *list; list++)
		n += *list == ',';
	return n;
}

/* The next item of a list; the last one stays. */
static struct span next_item(struct span *rest, struct span last)
{
	return rest->ptr ? span_cut(rest, ',') : last;
}

static int add_item(struct resolving *r, struct span host_item,
		    struct span port_item)
{
	char host[NI_MAXHOST], port[32];

	if (!span_to_string(host_item, host, sizeof(host)) ||
	    !span_to_string(port_item, port, sizeof(port)))
		return err_set(r->err, ERR_CONFIG,
			       "DB_HOST or DB_PORT: an item is too long");
	return add_host(r, host, port);
}

static int add_hosts(struct resolving *r, const char *hosts, const char *ports)
{
	struct span host_rest = span_of(hosts), port_rest = span_of(ports);
	struct span host = { "", 0 }, port = { "", 0 };

	while (host_rest.ptr) {
		host = next_item(&host_rest, host);
		port = next_item(&port_rest, port);
		if (add_item(r, host, port) == 0)
			continue;
		if (r->err->code != ERR_STORE)
			return -1;
		pass_over(r);
	}
	if (r->any)
		return 0;
	*r->err = r->unknown;
	return -1;
}

/* As libpq has it (manual, 34.1.1.3); it would say so at each connect only. */
static int check_ports(const char *hosts, const char *ports, struct err *err)
{
	size_t n_hosts = count_items(hosts), n_ports = count_items(ports);

	if (n_ports == 1 || n_ports == n_hosts)
		return 0;
	return err_set(err, ERR_CONFIG,
		       "%zu ports (DB_PORT) for the %zu hosts (DB_HOST) of the "
		       "database: give one for all, or one for each", n_ports,
		       n_hosts);
}

static const char *default_of(const PQconninfoOption *options,
			      const char *keyword)
{
	for (; options->keyword; options++)
		if (strcmp(options->keyword, keyword) == 0)
			return options->val ? options->val : "";
	return "";
}

static const char *either(const char *ours, const char *libpqs)
{
	return *ours ? ours : libpqs;
}

static int resolve(const struct reader_settings *s,
		   const PQconninfoOption *options, struct resolving *r)
{
	const char *host = either(s->db_host, default_of(options, "host"));
	const char *port = either(s->db_port, default_of(options, "port"));
	const char *hostaddr = default_of(options, "hostaddr");
	/* Addresses were given as such: libpq has nothing to look up. */
	bool are_given = !*s->db_host && *hostaddr;

	if (check_ports(are_given ? hostaddr : host, port, r->err) < 0)
		return -1;
	if (are_given)
		return add(r, either(host, hostaddr), hostaddr, port);
	r->out->hides_hostaddr = *hostaddr;
	return add_hosts(r, host, port);
}

/* A backend that waits for a lock does not notice that we have gone. */
static int add_options(const struct reader_settings *settings,
		       const PQconninfoOption *options, struct resolving *r)
{
	int n = snprintf(r->out->options, PG_ADDRESSES_SIZE,
			 "%s" SESSION " -c lock_timeout=%" PRIu64,
			 default_of(options, "options"),
			 settings->db_timeout_ms + LOCK_GRACE_MS);

	if ((size_t)n < PG_ADDRESSES_SIZE)
		return 0;
	return err_set(r->err, ERR_CONFIG, "PGOPTIONS is too long");
}

int pg_resolve(const struct reader_settings *settings,
	       struct pg_addresses *addresses, struct err *err)
{
	struct resolving r = { .out = addresses, .err = err };
	PQconninfoOption *options = PQconndefaults();
	int rc;

	if (!options)
		return err_set(err, ERR_MEMORY, "out of memory for libpq");
	*addresses = (struct pg_addresses){ .host = "" };
	rc = add_options(settings, options, &r);
	if (rc == 0)
		rc = resolve(settings, options, &r);
	PQconninfoFree(options);
	return rc;
}

/* ---- keywords ------------------------------------------------------------ */

static void set(struct pg_conninfo *info, const char *keyword,
		const char *value)
{
	if (!*value)
		return;
	CHECK(info->n + 1 < PG_CONNINFO_MAX);
	info->keywords[info->n] = keyword;
	info->values[info->n++] = value;
}

static const char *twice(char *out, size_t size, const char *item)
{
	snprintf(out, size, "%s,%s", item, item);
	return out;
}

/*
 * DB_HOST goes before PGHOSTADDR. libpq cannot be told that a socket has no address,
 * other than in a list: this one names it twice.
 */
static void set_addresses(struct pg_conninfo *info, const struct pg_addresses *a)
{
	if (a->hides_hostaddr && !*a->hostaddr) {
		set(info, "host", twice(info->hosts, sizeof(info->hosts),
					a->host));
		set(info, "hostaddr", ",");
		set(info, "port", twice(info->ports, sizeof(info->ports),
					a->port));
		return;
	}
	set(info, "host", a->host);
	set(info, "hostaddr", a->hostaddr);
	set(info, "port", a->port);
}

void pg_conninfo_init(struct pg_conninfo *info,
		      const struct reader_settings *settings,
		      const struct pg_addresses *addresses)
{
	*info = (struct pg_conninfo){ .n = 0 };
	set_addresses(info, addresses);
	set(info, "dbname", settings->db_name);
	set(info, "user", settings->db_user);
	set(info, "password", settings->db_password);
	set(info, "client_encoding", "UTF8");
	set(info, "fallback_application_name", "stream-broadcast");
	set(info, "options", addresses->options);
	set(info, "keepalives_idle", "30");
	set(info, "keepalives_interval", "10");
	set(info, "keepalives_count", "3");
}

/* ---- one address after the other ------------------------------------------ */

/* Item `i` of a list; of one that has only one item, that. */
static struct span item_at(const char *list, size_t i)
{
	struct span rest = span_of(list), item = { "", 0 };

	for (size_t n = 0; n <= i; n++)
		item = next_item(&rest, item);
	return item;
}

static void remove_at(char *list, size_t i)
{
	struct span item = item_at(list, i);
	char *begin = list + (item.ptr - list), *behind = begin + item.len;

	if (count_items(list) == 1)
		return;		/* it is for all */
	if (*behind)
		memmove(begin, behind + 1, strlen(behind + 1) + 1);
	else
		begin[-1] = '\0';
}

/* Is it the one that `conn` is at? A socket has no address; no port is libpq's. */
static bool is_at(const struct pg_addresses *a, size_t i, const PGconn *conn)
{
	struct span port = item_at(a->port, i);
	struct span address = item_at(a->hostaddr, i);

	if (port.len > 0 && !span_eq(port, span_of(PQport(conn))))
		return false;
	if (address.len > 0)
		return span_eq(address, span_of(PQhostaddr(conn)));
	return span_eq(item_at(a->host, i), span_of(PQhost(conn)));
}

bool pg_addresses_skip(struct pg_addresses *addresses, const PGconn *conn)
{
	size_t i = 0, n = count_items(addresses->host);

	while (i < n && !is_at(addresses, i, conn))
		i++;
	if (i == n || n == 1)
		return false;
	log_line(LOG_WARN, "database_host_silent",
		 LOG_STR("host", PQhost(conn)), LOG_STR("port", PQport(conn)));
	remove_at(addresses->host, i);
	remove_at(addresses->hostaddr, i);
	remove_at(addresses->port, i);
	return true;
}

bool pg_place_changes(struct pg_place *place, const PGconn *conn)
{
	struct pg_place now;

	snprintf(now.text, sizeof(now.text), "%s %s %s", PQhost(conn),
		 PQhostaddr(conn), PQport(conn));
	if (strcmp(place->text, now.text) == 0)
		return false;
	*place = now;
	return true;
}

/* ---- a connection that may block ------------------------------------------ */

PGconn *pg_connect(const struct pg_conninfo *info, uint64_t ms)
{
	PGconn *conn = PQconnectStartParams(info->keywords, info->values, 0);
	PostgresPollingStatusType on = PGRES_POLLING_WRITING;
	uint64_t now = clock_monotonic_ms(), end = now + ms;
	struct pg_place place = { "" };

	if (!conn)
		return NULL;
	PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
	while (PQstatus(conn) != CONNECTION_BAD && on != PGRES_POLLING_OK &&
	       now < end) {
		struct pollfd fd = { .fd = PQsocket(conn),
				     .events = on == PGRES_POLLING_READING
						       ? POLLIN : POLLOUT };

		if (poll(&fd, 1, (int)(end - now)) > 0)
			on = PQconnectPoll(conn);
		now = clock_monotonic_ms();
		if (pg_place_changes(&place, conn))
			end = now + ms;
	}
	return conn;
}
