/*
 * A connection that is there and on which nothing comes, while a new one works: after a failover of a load
 * balancer, for example, that forgot the connections of before, or behind a proxy that hangs. What is
 * suspected so is not used again, nor is any connection that is as old, and the same question is asked over
 * a new one: only where that is answered was it the connection.
 *
 * A request that is no GET cannot be asked again; what is asked then proves only that the server is there.
 * So it is proven if the question was the same, or if the peer's kernel acknowledged nothing any more.
 */
#include "kube/client-internal.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

#define CHECK_NS (5 * NSEC_PER_SEC)
/* Keepalive asks after 15 s of silence: acknowledgements that are older do not come any more. */
#define DEAD_NS (18 * NSEC_PER_SEC)

struct stale_check {
	struct transfer transfer; /* first: it is what libcurl's side knows */
	struct api_stale stale;   /* what is told if it works */
	uint64_t since_ns;        /* nothing has come on the old one since; monotonic */
	char local[TRANSFER_END_MAX], remote[TRANSFER_END_MAX], what[160];
};

/* What comes is not looked at. */
static int on_bytes(struct transfer *t, unsigned http, const void *data, size_t len)
{
	(void)t;
	(void)http;
	(void)data;
	(void)len;
	return 0;
}

static void on_check_done(struct transfer *t, const struct transfer_result *result)
{
	struct stale_check *check = (struct stale_check *)t;
	struct kube_client *client = t->client;

	/* Neither answers: it was not the connection. */
	if (result->error != KUBE_OK || result->http >= 500)
		return;
	check->stale.fresh = result->timings;
	check->stale.fresh_http = result->http;
	client->stats.stale++;
	watches_reopen_silent(client, check->since_ns);
	if (client->on_stale)
		client->on_stale(client, &check->stale, client->userdata);
}

int stale_new(struct kube_client *client)
{
	struct stale_check *check = mem_zalloc(sizeof(*check));

	if (!check)
		return -ENOMEM;
	check->transfer.client = client;
	check->transfer.on_bytes = on_bytes;
	check->transfer.on_done = on_check_done;
	client->check = check;
	return 0;
}

void stale_free(struct kube_client *client)
{
	if (client->check)
		transfer_stop(&client->check->transfer);
	client->check = mem_free(client->check);
}

static bool is_dead(const struct connection_end *end)
{
	return end && end->has_tcp &&
		((end->unacked > 0 && end->retransmits > 0) || end->ack_ns >= DEAD_NS);
}

static void fill(struct stale_check *check, const struct transfer *t, const char *method,
	const char *url, const struct connection_end *end)
{
	struct api_stale *stale = &check->stale;

	(void)str_format(check->local, sizeof(check->local), "%s", t->local);
	(void)str_format(check->remote, sizeof(check->remote), "%s", t->remote);
	(void)str_format(
		check->what, sizeof(check->what), "%s %.*s", method, (int)strcspn(url, "?"), url);
	*stale = (struct api_stale){ .local = check->local,
		.remote = check->remote,
		.what = check->what,
		.silent_ns = time_since(clock_now().mono_ns, check->since_ns) };
	if (!end)
		return;
	stale->age_ns = end->age_ns;
	stale->has_tcp = end->has_tcp;
	stale->unacked = end->unacked;
	stale->retransmits = end->retransmits;
	stale->backoff = end->backoff;
	stale->ack_ns = end->ack_ns;
}

static void suspect(const struct transfer *t, const char *method, const char *url,
	uint64_t since_ns, bool is_same)
{
	struct kube_client *client = t->client;
	struct stale_check *check = client->check;
	const struct connection_end *end = connection_find_end(client, t->local_port);

	client->suspect_ns = clock_now().mono_ns;
	if (check->transfer.easy)
		return; /* one at a time: what it finds holds for all */
	check->since_ns = since_ns;
	fill(check, t, method, url, end);
	check->stale.is_proven = is_same || is_dead(end);
	/* Where it cannot be started nothing is told. */
	(void)transfer_start(&check->transfer,
		&(struct transfer_spec){ .method = "GET",
			.url = is_same ? url : "/livez",
			.timeout_ns = CHECK_NS,
			.is_fresh = true });
}

void stale_look_at_call(const struct transfer *t, const char *method, const char *url,
	const struct transfer_result *result)
{
	uint64_t silent_ns = time_since(clock_now().mono_ns, t->began_ns);

	if (!result->is_reused || result->has_answered)
		return;
	/* One that is broken off at once was only closed while it was idle. */
	if (result->error == KUBE_TIMEOUT || (result->error == KUBE_RESET && silent_ns >= DEAD_NS))
		suspect(t, method, url, t->began_ns, str_eq(method, "GET"));
}

void stale_look_at_watch(
	const struct transfer *t, const char *url, uint64_t heard_ns, bool was_told)
{
	bool dead = is_dead(connection_find_end(t->client, t->local_port));

	/* A server that sends bookmarks sends one each minute. */
	if (dead || (was_told && time_since(clock_now().mono_ns, heard_ns) >= STALE_WATCH_NS))
		suspect(t, "WATCH", url, heard_ns, false);
}
