#include "common/http_client.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/http_client_impl.h"

/* Connections kept open between calls, those in use included. */
#define MAX_CALL_CONNECTIONS 256L

int http_client_global_init(struct err *err)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return err_set(err, ERR_MEMORY, "cannot initialise libcurl");
	return 0;
}

/* ---- a multi handle on the loop ----------------------------------------- */

static void tell_done(struct http_multi *multi)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(multi->curl, &left))) {
		CURLcode code = message->data.result;
		void *owner = NULL;

		CHECK(message->msg == CURLMSG_DONE);
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE,
				  (char **)&owner);
		multi->on_done(owner, code);
	}
}

void http_transfer_end(struct http_transfer *transfer)
{
	if (!transfer->at)
		return;
	*transfer->at = transfer->next;
	if (transfer->next)
		transfer->next->at = transfer->at;
	transfer->at = NULL;
}

static void end_all(struct http_multi *multi)
{
	while (multi->first) {
		struct http_transfer *transfer = multi->first;

		http_transfer_end(transfer);
		multi->on_done(transfer->owner, CURLE_OUT_OF_MEMORY);
	}
}

/*
 * Out of memory, libcurl 7.88 leaves the number of a socket with a destroyed
 * table of transfers (singlesocket()), and divides by its size of zero when the
 * number comes again. So this handle may start nothing any more.
 */
static void act(struct http_multi *multi, curl_socket_t fd, int facts)
{
	int running;
	CURLMcode code;

	code = curl_multi_socket_action(multi->curl, fd, facts, &running);
	CHECK(code == CURLM_OK || code == CURLM_OUT_OF_MEMORY);
	tell_done(multi);
	if (code == CURLM_OUT_OF_MEMORY) {
		multi->is_damaged = true;
		end_all(multi);
	}
}

/*
 * Some servers send head and body of an answer in two segments and leave Nagle's
 * algorithm on: the second one then waits for our acknowledgement of the first,
 * which waits 40 ms for something to go with (tcp(7), TCP_QUICKACK). So it goes at
 * once. Not for links: there our bytes flow, and the acknowledgement with them.
 */
static void acknowledge(evutil_socket_t fd)
{
	int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

static void on_socket_event(evutil_socket_t fd, short what, void *arg)
{
	struct http_multi *multi = arg;
	int facts = 0;

	if ((what & EV_READ) && multi->on_done == http_call_on_done)
		acknowledge(fd);
	if (what & EV_READ)
		facts |= CURL_CSELECT_IN;
	if (what & EV_WRITE)
		facts |= CURL_CSELECT_OUT;
	act(multi, fd, facts);
}

static void on_timeout(void *arg)
{
	act(arg, CURL_SOCKET_TIMEOUT, 0);
}

/* CURLMOPT_TIMERFUNCTION. Also 0 ms must not act here: curl would recurse. */
static int set_timer(CURLM *curl, long ms, void *arg)
{
	struct http_multi *multi = arg;

	(void)curl;
	if (ms < 0)
		timer_stop(&multi->timer);
	else
		timer_start(&multi->timer, (uint64_t)ms);
	return 0;
}

static struct event *event_for(struct http_multi *multi, curl_socket_t fd,
			       int what)
{
	short facts = EV_PERSIST;
	struct event *event;

	if (what & CURL_POLL_IN)
		facts |= EV_READ;
	if (what & CURL_POLL_OUT)
		facts |= EV_WRITE;
	event = event_new(loop_base(multi->loop), fd, facts, on_socket_event,
			  multi);
	if (event && event_add(event, NULL) < 0) {
		event_free(event);
		event = NULL;
	}
	return event;
}

/*
 * CURLMOPT_SOCKETFUNCTION. On CURL_POLL_REMOVE the event is gone before this
 * returns, because curl closes the descriptor next and the number is used
 * again. Out of memory, the transfer is left to its deadline: an error from
 * here would end all transfers of the handle for good.
 */
static int set_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
		      void *event_arg)
{
	struct http_multi *multi = arg;
	struct event *event = event_arg;

	(void)easy;
	if (event)
		event_free(event);
	event = what == CURL_POLL_REMOVE ? NULL : event_for(multi, fd, what);
	curl_multi_assign(multi->curl, fd, event);
	return 0;
}

static CURLM *new_curl(struct http_multi *multi)
{
	CURLM *curl = curl_multi_init();

	if (!curl)
		return NULL;
	curl_multi_setopt(curl, CURLMOPT_SOCKETFUNCTION, set_socket);
	curl_multi_setopt(curl, CURLMOPT_SOCKETDATA, multi);
	curl_multi_setopt(curl, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(curl, CURLMOPT_TIMERDATA, multi);
	curl_multi_setopt(curl, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
	curl_multi_setopt(curl, CURLMOPT_MAXCONNECTS, multi->max_connections);
	return curl;
}

/* `max_connections` are kept for further transfers; 0 = libcurl's choice. */
static bool multi_init(struct http_multi *multi, struct loop *loop,
		       long max_connections, http_done_fn *on_done)
{
	*multi = (struct http_multi){ .loop = loop,
				      .max_connections = max_connections,
				      .on_done = on_done };
	timer_init(&multi->timer, loop, on_timeout, multi);
	multi->curl = new_curl(multi);
	return multi->curl != NULL;
}

/* A new handle for a damaged one. The TLS links of the old one are closed. */
static bool multi_renew(struct http_multi *multi)
{
	CURLM *fresh = new_curl(multi);

	if (!fresh)
		return false;
	CHECK(curl_multi_cleanup(multi->curl) == CURLM_OK);
	timer_stop(&multi->timer);
	multi->curl = fresh;
	multi->is_damaged = false;
	return true;
}

bool http_transfer_start(struct http_multi *multi,
			 struct http_transfer *transfer, CURL *easy,
			 void *owner)
{
	if (multi->is_damaged && !multi_renew(multi))
		return false;
	if (curl_multi_add_handle(multi->curl, easy) != CURLM_OK)
		return false;
	transfer->owner = owner;
	transfer->next = multi->first;
	transfer->at = &multi->first;
	if (transfer->next)
		transfer->next->at = &transfer->next;
	multi->first = transfer;
	return true;
}

static void multi_release(struct http_multi *multi)
{
	if (!multi->curl)
		return;
	CHECK(curl_multi_cleanup(multi->curl) == CURLM_OK);
	timer_stop(&multi->timer);
}

/* ---- the client --------------------------------------------------------- */

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

/* Bytes to an HTTPS proxy would have to go through its TLS. */
static bool is_plain_proxy(const char *proxy)
{
	return !*proxy || !strstr(proxy, "://") ||
	       strncmp(proxy, "http://", 7) == 0;
}

static bool client_init(struct http_client *client,
			const struct http_client_settings *settings)
{
	const char *ca_file = or_empty(settings->ca_file);

	client->send_buffer = settings->send_buffer;
	client->receive_buffer = settings->receive_buffer;
	client->max_idle = settings->max_idle;
	client->idle_ms = settings->idle_ms;
	client->proxy = strdup(or_empty(settings->proxy));
	if (*ca_file)
		client->ca_file = strdup(ca_file);
	if (!client->proxy || (*ca_file && !client->ca_file))
		return false;
	return multi_init(&client->links, client->loop, 0, http_link_on_done) &&
	       multi_init(&client->calls, client->loop, MAX_CALL_CONNECTIONS,
			  http_call_on_done);
}

struct http_client *http_client_new(struct loop *loop,
				    const struct http_client_settings *settings,
				    struct err *err)
{
	struct http_client *client;

	if (!is_plain_proxy(or_empty(settings->proxy))) {
		err_set(err, ERR_CONFIG, "a proxy must be http://host:port");
		return NULL;
	}
	client = calloc(1, sizeof(*client));
	if (client)
		client->loop = loop;
	if (!client || !client_init(client, settings)) {
		err_set(err, ERR_MEMORY, "out of memory for an HTTP client");
		http_client_free(&client);
	}
	return client;
}

void http_client_free(struct http_client **clientp)
{
	struct http_client *client = *clientp;

	if (!client)
		return;
	CHECK(client->n_origins == 0);
	*clientp = NULL;
	multi_release(&client->links);
	multi_release(&client->calls);
	free(client->ca_file);
	free(client->proxy);
	free(client);
}

/* ---- what holds for every transfer -------------------------------------- */

curl_socket_t http_client_socket(const struct curl_sockaddr *address)
{
	return socket(address->family, address->socktype | SOCK_CLOEXEC,
		      address->protocol);
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose,
				 struct curl_sockaddr *address)
{
	(void)arg;
	(void)purpose;
	return http_client_socket(address);
}

static bool set_url(CURL *easy, const struct http_origin *origin,
		    const char *path)
{
	char *url;
	bool ok;

	if (asprintf(&url, "%s%s", origin->base, path) < 0)
		return false;
	ok = is_set(curl_easy_setopt(easy, CURLOPT_URL, url));
	free(url);
	return ok;
}

/*
 * Nothing from the environment: neither its proxies and exceptions from them
 * (an unset NOPROXY would be read from there) nor a ~/.netrc.
 */
static bool set_proxy(CURL *easy, const struct http_client *client)
{
	return is_set(curl_easy_setopt(easy, CURLOPT_PROXY, client->proxy)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_NOPROXY, "")) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_NETRC,
				       (long)CURL_NETRC_IGNORED));
}

/*
 * CAPATH off: with one, libcurl 7.88 parses the CAs again for each connection,
 * and the system's take a tenth of a second; from CAINFO alone they are parsed
 * once. No session is resumed, so none is kept.
 */
static bool set_tls(CURL *easy, const struct http_client *client)
{
	if (client->ca_file &&
	    !is_set(curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file)))
		return false;
	return is_set(curl_easy_setopt(easy, CURLOPT_CAPATH, NULL)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_SSLVERSION,
				       (long)CURL_SSLVERSION_TLSv1_2)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L));
}

bool http_client_set_up(CURL *easy, const struct http_origin *origin,
			const char *path)
{
	const struct http_client *client = origin->client;

	return set_url(easy, origin, path) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR,
				       "http,https")) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
				       (long)CURL_HTTP_VERSION_1_1)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L)) &&
	       is_set(curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION,
				       open_socket)) &&
	       set_proxy(easy, client) && set_tls(easy, client);
}

/* ---- origins ------------------------------------------------------------ */

/* A part of a URL, to be freed by curl_free(); NULL when it has none. */
static char *url_part(CURLU *url, CURLUPart part, unsigned int flags)
{
	char *text = NULL;

	return curl_url_get(url, part, &text, flags) == CURLUE_OK ? text : NULL;
}

static bool has_user(CURLU *url)
{
	char *user = url_part(url, CURLUPART_USER, 0);
	bool has = user != NULL;

	curl_free(user);
	return has;
}

static bool is_http(const char *scheme)
{
	return scheme &&
	       (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
}

static int set_names(struct http_origin *origin, const char *scheme,
		     const char *host, const char *port)
{
	const char *colon = port ? ":" : "";

	port = or_empty(port);
	if (asprintf(&origin->host, "%s%s%s", host, colon, port) < 0) {
		origin->host = NULL;
		return -1;
	}
	if (asprintf(&origin->base, "%s://%s", scheme, origin->host) < 0) {
		origin->base = NULL;
		return -1;
	}
	origin->tls = strcmp(scheme, "https") == 0;
	return 0;
}

static int read_parts(struct http_origin *origin, CURLU *url, const char *text,
		      struct err *err)
{
	char *scheme = url_part(url, CURLUPART_SCHEME, 0);
	char *host = url_part(url, CURLUPART_HOST, CURLU_PUNYCODE);
	char *port = url_part(url, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
	int rc = 0;

	if (!is_http(scheme))
		rc = err_set(err, ERR_CONFIG,
			     "\"%s\" is neither http:// nor https://", text);
	else if (!host)
		rc = err_set(err, ERR_CONFIG, "\"%s\" names no host", text);
	else if (has_user(url))
		rc = err_set(err, ERR_CONFIG,
			     "a URL of a server must not name a user");
	else if (set_names(origin, scheme, host, port) < 0)
		rc = err_set(err, ERR_MEMORY, "out of memory for an origin");
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	return rc;
}

static int read_url(struct http_origin *origin, const char *text,
		    struct err *err)
{
	CURLU *url = curl_url();
	CURLUcode code;
	int rc;

	if (!url)
		return err_set(err, ERR_MEMORY, "out of memory for an origin");
	/* Other schemes parse, so that they are refused by their name. */
	code = curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME);
	if (code == CURLUE_OK)
		rc = read_parts(origin, url, text, err);
	else
		rc = err_set(err, ERR_CONFIG, "\"%s\" is no URL: %s", text,
			     curl_url_strerror(code));
	curl_url_cleanup(url);
	return rc;
}

static void origin_release(struct http_origin *origin)
{
	free(origin->base);
	free(origin->host);
	free(origin);
}

struct http_origin *http_origin_new(struct http_client *client, const char *url,
				    struct err *err)
{
	struct http_origin *origin = calloc(1, sizeof(*origin));

	if (!origin) {
		err_set(err, ERR_MEMORY, "out of memory for an origin");
		return NULL;
	}
	if (read_url(origin, url, err) < 0) {
		origin_release(origin);
		return NULL;
	}
	origin->client = client;
	client->n_origins++;
	timer_init(&origin->idle_timer, client->loop, http_link_on_idle,
		   origin);
	return origin;
}

void http_origin_free(struct http_origin **originp)
{
	struct http_origin *origin = *originp;

	if (!origin)
		return;
	CHECK(origin->n_users == 0);
	*originp = NULL;
	http_link_close_idle(origin);
	timer_stop(&origin->idle_timer);
	loop_undefer(origin->client->loop, &origin->connect_next);
	origin->client->n_origins--;
	origin_release(origin);
}

const char *http_origin_host(const struct http_origin *origin)
{
	return origin->host;
}
