/*
 * relay.c - the least that can be done: one upload, two readers, a bare loop
 *
 *   relay [-r BYTES] [-s BYTES] READER READER
 *
 * Prints "port N", accepts one PUT with a Content-Length, and hands its body on
 * to both readers: receive into one buffer, send all of it to the first, then
 * to the second. No ring, no event loop, no timers: what the broadcaster's CPU
 * time is compared with. -r and -s are the kernel's receive and send buffers.
 * At the end it prints what getrusage(2) says, as JSON.
 */
#include "bench/wire.h"

#include <sys/resource.h>

#include "common/clock.h"
#include "common/uuid.h"

#define N_READERS 2

struct relay {
	int client;
	int readers[N_READERS];
	uint64_t left; /* bytes of the body to come */
	char buf[WIRE_PIECE];
};

static int listen_somewhere(int receive_buffer)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0)
		die("socket: %s", strerror(errno));
	if (receive_buffer > 0) /* inherited by what is accepted */
		wire_set(fd, SOL_SOCKET, SO_RCVBUF, receive_buffer);
	if (bind(fd, (const struct sockaddr *)&in, sizeof(in)) < 0 ||
	    listen(fd, 1) < 0 ||
	    getsockname(fd, (struct sockaddr *)&in, &len) < 0)
		die("listen: %s", strerror(errno));
	printf("port %u\n", ntohs(in.sin_port));
	fflush(stdout);
	return fd;
}

/* The head of the request; returns how many bytes of the body came with it. */
static size_t recv_head(struct relay *relay)
{
	struct http1_head head;
	struct err err = ERR_INIT;
	size_t len = 0;
	enum http1_result result = HTTP1_MORE;

	http1_head_init(&head);
	while (result == HTTP1_MORE) {
		size_t n = wire_recv(relay->client, relay->buf + len,
				     sizeof(relay->buf) - len);

		if (n == 0)
			die("the client closed the connection");
		len += n;
		result = http1_parse_request(&head, relay->buf, len, &err);
	}
	if (result == HTTP1_BAD || head.framing != HTTP1_IDENTITY)
		die("not a request with a Content-Length: %s", err.text);
	relay->left = head.length;
	len -= head.size;
	memmove(relay->buf, relay->buf + head.size, len);
	return len;
}

static void send_heads(struct relay *relay)
{
	char id[UUID_TEXT_SIZE], head[256];
	int len;

	uuid_v7(clock_wall_ms(), id);
	len = snprintf(head, sizeof(head),
		       "PUT /objects/%s HTTP/1.1\r\nHost: localhost\r\n"
		       "Content-Length: %llu\r\n\r\n",
		       id, (unsigned long long)relay->left);
	for (int i = 0; i < N_READERS; i++)
		if (!wire_send(relay->readers[i], head, (size_t)len))
			die("reader %d closed the connection", i);
}

/* The loop that all this is about. */
static void relay_body(struct relay *relay, size_t n)
{
	for (;;) {
		for (int i = 0; i < N_READERS; i++)
			if (!wire_send(relay->readers[i], relay->buf, n))
				die("reader %d closed the connection", i);
		relay->left -= n;
		if (relay->left == 0)
			return;
		n = wire_recv(relay->client, relay->buf, sizeof(relay->buf));
		if (n == 0)
			die("the client closed the connection");
	}
}

static void answer_client(struct relay *relay)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
				 "Connection: close\r\n\r\n";
	struct wire_answer *answer = malloc(sizeof(*answer));

	if (!answer)
		die("out of memory");
	for (int i = 0; i < N_READERS; i++) {
		wire_recv_answer(relay->readers[i], answer);
		if (answer->status != 200)
			die("reader %d answered %d", i, answer->status);
	}
	free(answer);
	if (!wire_send(relay->client, ok, sizeof(ok) - 1))
		die("the client closed the connection");
}

static double seconds(struct timeval tv)
{
	return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

static void print_usage_of_cpu(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	printf("{\"user\": %.6f, \"system\": %.6f}\n", seconds(usage.ru_utime),
	       seconds(usage.ru_stime));
}

int main(int argc, char **argv)
{
	static struct relay relay;
	int receive_buffer = 0, send_buffer = 0, option, listener;
	size_t n;

	while ((option = getopt(argc, argv, "r:s:")) != -1) {
		if (option == 'r')
			receive_buffer = (int)strtol(optarg, NULL, 10);
		else if (option == 's')
			send_buffer = (int)strtol(optarg, NULL, 10);
		else
			return 2;
	}
	if (argc - optind != N_READERS)
		die("usage: relay [-r BYTES] [-s BYTES] READER READER");
	listener = listen_somewhere(receive_buffer);
	relay.client = accept(listener, NULL, NULL);
	if (relay.client < 0)
		die("accept: %s", strerror(errno));
	for (int i = 0; i < N_READERS; i++)
		relay.readers[i] = wire_connect(argv[optind + i], send_buffer);
	n = recv_head(&relay);
	send_heads(&relay);
	relay_body(&relay, n);
	answer_client(&relay);
	print_usage_of_cpu();
	return 0;
}
