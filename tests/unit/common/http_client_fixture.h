/*
 * http_client_fixture.h - real peers, and a loop with a client, for its tests
 *
 * A peer is a forked process that listens on a port of 127.0.0.1 the kernel
 * chose and runs one function, on a thread of its own, for each connection. It
 * dies with the test. `peer_note()` reports a byte to the test,
 * `peer_wait_note()` waits for one.
 */
#ifndef TESTS_HTTP_CLIENT_FIXTURE_H
#define TESTS_HTTP_CLIENT_FIXTURE_H

#include "common/clock.h"
#include "common/http_client.h"

#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- peers -------------------------------------------------------------- */

typedef void peer_fn(int fd, unsigned int nth);

struct peer {
	pid_t pid;
	int notes;
	char url[64];
};

static int peer_notes_fd;
static peer_fn *peer_serve;

struct peer_connection {
	int fd;
	unsigned int nth;
};

static inline void peer_note(void)
{
	ck_assert_int_eq(write(peer_notes_fd, "n", 1), 1);
}

static inline void peer_wait_note(const struct peer *peer)
{
	char byte;

	ck_assert_int_eq(read(peer->notes, &byte, 1), 1);
}

static inline void *peer_connection_run(void *arg)
{
	struct peer_connection *c = arg;

	peer_serve(c->fd, c->nth);
	close(c->fd);
	free(c);
	return NULL;
}

static inline _Noreturn void peer_run(int listener)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	for (unsigned int nth = 1;; nth++) {
		struct peer_connection *c = malloc(sizeof(*c));
		pthread_t thread;

		*c = (struct peer_connection){accept(listener, NULL, NULL),
					      nth};
		if (c->fd < 0 ||
		    pthread_create(&thread, NULL, peer_connection_run, c) != 0)
			_exit(1);
		pthread_detach(thread);
	}
}

/* A listener on a port of 127.0.0.1 that the kernel chose. */
static inline int listen_anywhere(int backlog, unsigned int *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, size), 0);
	ck_assert_int_eq(listen(fd, backlog), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size),
			 0);
	*port = ntohs(address.sin_port);
	return fd;
}

static inline struct peer peer_start(peer_fn *serve)
{
	struct peer peer;
	unsigned int port;
	int notes[2], listener = listen_anywhere(1024, &port);

	ck_assert_int_eq(pipe(notes), 0);
	peer.pid = fork();
	if (peer.pid == 0) {
		peer_serve = serve;
		peer_notes_fd = notes[1];
		peer_run(listener);
	}
	close(listener);
	close(notes[1]);
	peer.notes = notes[0];
	snprintf(peer.url, sizeof(peer.url), "http://127.0.0.1:%u", port);
	return peer;
}

static inline void peer_stop(struct peer *peer)
{
	kill(peer->pid, SIGKILL);
	waitpid(peer->pid, NULL, 0);
	close(peer->notes);
}

static inline void peer_say(int fd, const char *text)
{
	(void)!write(fd, text, strlen(text));
}

/* Read up to and including `end`; false when the client closed before. */
static inline bool peer_read_to(int fd, const char *end, char *buf, size_t size)
{
	size_t len = 0;

	while (len + 1 < size && read(fd, buf + len, 1) == 1) {
		buf[++len] = '\0';
		if (len >= strlen(end) && !strcmp(buf + len - strlen(end), end))
			return true;
	}
	return false;
}

/* Read until the client closes. */
static inline void peer_drain(int fd)
{
	char buf[65536];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

/* ---- a resolver that never answers for one name ------------------------- */

/* Takes the C library's place for libcurl's resolver thread too. */
int getaddrinfo(const char *node, const char *service,
		const struct addrinfo *hints, struct addrinfo **result)
{
	int (*libc)(const char *, const char *, const struct addrinfo *,
		    struct addrinfo **);
	void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");

	memcpy(&libc, &symbol, sizeof(symbol));
	while (node && strcmp(node, "blackhole.test") == 0)
		pause();
	return libc(node, service, hints, result);
}

/* ---- the loop and its client -------------------------------------------- */

static struct loop *loop;
static struct http_client *client;

static inline void start_client(const struct http_client_settings *settings)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(http_client_global_init(&err), 0);
	loop = loop_new(&err);
	client = http_client_new(loop, settings, &err);
	ck_assert_msg(client != NULL, "%s", err.text);
}

static inline void start_plain_client(void)
{
	start_client(&(struct http_client_settings){.max_idle = 8,
						    .idle_ms = 60000});
}

static inline void stop_client(void)
{
	http_client_free(&client);
	loop_free(&loop);
}

static inline struct http_origin *origin_of(const char *url)
{
	struct err err = ERR_INIT;
	struct http_origin *origin = http_origin_new(client, url, &err);

	ck_assert_msg(origin != NULL, "%s", err.text);
	return origin;
}

/* The test's time limit is what ends it when the fact never comes. */
static inline void run_until(const bool *fact)
{
	while (!*fact)
		loop_run_once(loop);
}

static inline void set_true(void *arg)
{
	*(bool *)arg = true;
}

/* Let the loop run for so long; only where time itself is tested. */
static inline void run_for(uint64_t ms)
{
	struct timer timer = {.ready = false};
	bool over = false;

	timer_init(&timer, loop, set_true, &over);
	timer_start(&timer, ms);
	run_until(&over);
}

/* Open sockets of this process, and what `look` says of them, added up. */
static inline int count_sockets(int (*look)(int fd))
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int n = 0;

	while ((entry = readdir(dir))) {
		struct stat st;
		int fd = atoi(entry->d_name);

		if (*entry->d_name != '.' && fstat(fd, &st) == 0 &&
		    S_ISSOCK(st.st_mode))
			n += look ? look(fd) : 1;
	}
	closedir(dir);
	return n;
}

/* ---- nginx and certificates in a folder of their own -------------------- */

static char scratch[64];
static pid_t nginx_pid;
static unsigned int plain_port, tls_port;

static inline void write_file(const char *name, const char *fmt, ...)
	PRINTF_LIKE(2, 3);
static inline void write_file(const char *name, const char *fmt, ...)
{
	char path[128];
	va_list args;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", scratch, name);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	va_start(args, fmt);
	vfprintf(file, fmt, args);
	va_end(args);
	fclose(file);
}

/* Valid until the next call. */
static inline const char *scratch_path(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", scratch, name);
	return path;
}

static inline void shell(const char *command)
{
	char line[1024];

	snprintf(line, sizeof(line), "cd %s && { %s; } >>log 2>&1", scratch,
		 command);
	ck_assert_msg(system(line) == 0, "%s", command);
}

#define NEW_KEY "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "

/* ca.pem signs server.pem, for 127.0.0.1 only; other.pem is another CA. */
static inline void make_certificates(void)
{
	shell("openssl req -x509 " NEW_KEY "-keyout ca.key -out ca.pem "
	      "-subj /CN=good -days 2");
	shell("openssl req -x509 " NEW_KEY "-keyout other.key -out other.pem "
	      "-subj /CN=other -days 2");
	shell("openssl req " NEW_KEY "-keyout server.key -out server.csr "
	      "-subj /CN=server");
	write_file("san", "subjectAltName=IP:127.0.0.1\n");
	shell("openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key "
	      "-CAcreateserial -out server.pem -days 2 -extfile san");
}

static inline unsigned int free_port(void)
{
	unsigned int port;

	close(listen_anywhere(1, &port));
	return port;
}

static const char nginx_conf[] =
	"daemon off; master_process off; pid pid; error_log error.log;\n"
	"events { worker_connections 2048; }\n"
	"http {\n"
	"access_log off; keepalive_requests 100000;\n"
	"client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;\n"
	"uwsgi_temp_path t4; scgi_temp_path t5; client_max_body_size 0;\n"
	"ssl_certificate server.pem; ssl_certificate_key server.key;\n"
	"server { listen 127.0.0.1:%u; listen 127.0.0.1:%u ssl;\n"
	" root %s/www;\n"
	" location /put/ { dav_methods PUT DELETE; }\n"
	" location = /hello { add_header X-Test a-value; return 200 hello; }\n"
	" location = /moved { return 302 /hello; }\n"
	" location = /bye { keepalive_timeout 0; return 200 bye; }\n"
	"}\n"
	"}\n";

static inline bool is_listening(unsigned int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int rc;

	address.sin_port = htons((uint16_t)port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	rc = connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	return rc == 0;
}

/* Both at once, so that they differ. */
static inline void choose_ports(void)
{
	int fds[] = {listen_anywhere(1, &plain_port),
		     listen_anywhere(1, &tls_port)};

	for (int i = 0; i < 2; i++)
		close(fds[i]);
}

static inline void run_nginx(void)
{
	choose_ports();
	write_file("nginx.conf", nginx_conf, plain_port, tls_port, scratch);
	nginx_pid = fork();
	if (nginx_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("nginx", "nginx", "-p", scratch, "-c", "nginx.conf",
		       "-e", "error.log", (char *)NULL);
		_exit(127);
	}
}

/* Unchecked fixture: once for all tests. A port may be taken: try others. */
static inline void start_nginx(void)
{
	int status, tries = 1;

	strcpy(scratch, "/tmp/http_client_test_XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(scratch));
	shell("chmod 755 . && mkdir -m 777 www www/put");
	make_certificates();
	run_nginx();
	while (!is_listening(tls_port)) {
		if (waitpid(nginx_pid, &status, WNOHANG) == nginx_pid) {
			ck_assert_int_lt(tries++, 10);
			run_nginx();
		}
		usleep(1000);
	}
}

static inline void stop_nginx(void)
{
	kill(nginx_pid, SIGKILL);
	waitpid(nginx_pid, NULL, 0);
	shell("rm -rf \"$PWD\"");
}

static inline const char *local_url(const char *scheme, const char *host,
				    unsigned int port)
{
	static char url[64];

	snprintf(url, sizeof(url), "%s://%s:%u", scheme, host, port);
	return url;
}

#endif
