#include "broadcaster/front.h"

#include "broadcaster/ingest.h"
#include "broadcaster/media_job.h"
#include "broadcaster/routes.h"

#include <stdlib.h>

#define SHY_MS 5000u

static struct metric *target_counter(const struct target *t, const char *name,
				     const char *help)
{
	return metrics_counter(name, help, "target", t->name);
}

static int init_outlet(struct outlet *o, unsigned int index,
		       const struct target *t, struct http_client *client,
		       struct err *err)
{
	o->target = t;
	o->index = index;
	o->is_tls = span_starts_with(span_of(t->origin), SPAN_LIT("https:"));
	o->sent_bytes = target_counter(t, "broadcaster_target_sent_bytes_total",
				       "Body bytes sent to a target.");
	o->committed = target_counter(t, "broadcaster_target_committed_total",
				      "Objects a target has committed.");
	o->failed = target_counter(t, "broadcaster_target_failed_total",
				   "Objects a target has failed.");
	o->detached = target_counter(t, "broadcaster_target_detached_total",
				     "Objects a target was too slow for.");
	o->origin = http_origin_new(client, t->origin, err);
	return o->origin ? 0 : -1;
}

static int init_outlets(struct front *f, struct err *err)
{
	const struct target_list *targets = &f->settings->targets;

	f->outlets = calloc(targets->n, sizeof(*f->outlets));
	if (!f->outlets)
		return err_set(err, ERR_MEMORY, "out of memory for targets");
	for (unsigned int i = 0; i < targets->n; i++) {
		f->n_outlets = i + 1;
		if (init_outlet(&f->outlets[i], i, &targets->items[i],
				f->client, err) < 0)
			return -1;
	}
	return 0;
}

static int init_front(struct front *f, struct err *err)
{
	const struct broadcaster_settings *s = f->settings;
	struct http_client_settings client = {
		.ca_file = s->ca_file,
		.proxy = s->proxy,
		.send_buffer = s->send_buffer,
		.receive_buffer = s->receive_buffer,
		.max_idle = 64,
		.idle_ms = 15000,
	};

	f->loop = loop_new(err);
	if (!f->loop)
		return -1;
	f->client = http_client_new(f->loop, &client, err);
	if (!f->client)
		return -1;
	return init_outlets(f, err);
}

struct front *front_new(struct front_shared *shared, struct err *err)
{
	struct front *f = calloc(1, sizeof(*f));

	if (!f) {
		err_set(err, ERR_MEMORY, "out of memory for a thread");
		return NULL;
	}
	f->shared = shared;
	f->settings = shared->settings;
	if (init_front(f, err) < 0)
		front_free(&f);
	return f;
}

int front_listen(struct front *f, uint16_t port, struct err *err)
{
	const struct broadcaster_settings *s = f->settings;
	struct http_server_settings server = {
		.address = s->address,
		.max_connections = s->max_connections,
		.max_per_ip = s->max_per_ip,
		.receive_buffer = s->receive_buffer,
		.head_timeout_ms = s->head_timeout_ms,
		.idle_timeout_ms = s->idle_timeout_ms,
		.min_rate = s->min_rate,
		.grace_ms = s->grace_ms,
		.write_timeout_ms = s->write_timeout_ms,
		.linger_ms = 3000,
		.linger_bytes = 64u << 20,
		.max_body = s->max_upload_bytes,
	};

	server.address.port = port;
	f->server = http_server_new(f->loop, &server, routes_on_request, f, err);
	return f->server ? 0 : -1;
}

void front_close(struct front *f)
{
	http_server_free(&f->server);
	while (f->uploads)
		ingest_drop(f->uploads);
	media_job_drop_all(f);
}

void front_free(struct front **fp)
{
	struct front *f = *fp;

	if (!f)
		return;
	*fp = NULL;
	front_close(f);
	for (unsigned int i = 0; i < f->n_outlets; i++)
		http_origin_free(&f->outlets[i].origin);
	free(f->outlets);
	http_client_free(&f->client);
	while (f->n_rings > 0)
		ring_free(&f->rings[--f->n_rings]);
	reply_pool_release(&f->replies);
	loop_free(&f->loop);
	free(f);
}

void outlet_shun(struct outlet *outlet, uint64_t now_ms)
{
	outlet->shy_until_ms = now_ms + SHY_MS;
}

bool outlet_is_shy(const struct outlet *outlet, uint64_t now_ms)
{
	return outlet->shy_until_ms > now_ms;
}

struct ring *front_take_ring(struct front *f)
{
	struct ring *ring;

	if (f->n_rings == 0)
		return ring_new(f->settings->buffer_size);
	ring = f->rings[--f->n_rings];
	ring_reset(ring);
	return ring;
}

void front_give_ring(struct front *f, struct ring **ring)
{
	if (!*ring)
		return;
	if (f->n_rings == sizeof(f->rings) / sizeof(f->rings[0])) {
		ring_free(ring);
		return;
	}
	f->rings[f->n_rings++] = *ring;
	*ring = NULL;
}
