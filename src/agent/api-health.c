#include "agent/api-health.h"

#include <errno.h>

#include <systemd/sd-id128.h>

#include "agent/timer.h"
#include "base/clock.h"
#include "base/str.h"

struct api_health {
	struct api *api;
	struct timer *timer;
	struct api_call last; /* its texts are ours */
	char error[16], why[256];
	bool is_asked;
	uint64_t away_since_ns, due_ns; /* monotonic; 0: it answers */
	uint64_t random;
};

/* What the server itself can do nothing about counts as an answer: it is there. */
static bool is_good(const struct api_call *call)
{
	return call->http > 0 && call->http < 500 && call->http != 401;
}

static void set_due(struct api_health *h, uint64_t wait_ns)
{
	h->due_ns = clock_now().mono_ns + wait_ns;
	(void)timer_set(h->timer, h->due_ns);
}

static uint64_t away_wait_ns(struct api_health *h)
{
	h->random = h->random * UINT64_C(6364136223846793005) + 1;
	return API_HEALTH_AWAY_NS + (h->random >> 33) % (API_HEALTH_AWAY_NS / 2);
}

static void on_due(void *userdata)
{
	struct api_health *h = userdata;

	(void)api_ping(h->api); /* Where it cannot be asked, again later. */
	set_due(h, h->away_since_ns ? away_wait_ns(h) : API_HEALTH_CALM_NS);
}

void api_health_call(struct api_health *h, const struct api_call *call)
{
	bool was_away = h->away_since_ns > 0;
	/* Two kinds of trouble, each with a time of its own: nobody there, and not believing us. */
	bool is_another = (call->http == 401) != (h->last.http == 401);

	h->is_asked = true;
	h->last = *call;
	(void)str_format(h->error, sizeof(h->error), "%s", call->error);
	(void)str_clean(h->why, sizeof(h->why), call->why, strlen(call->why));
	if (is_good(call))
		h->away_since_ns = 0;
	else if (!was_away || is_another)
		h->away_since_ns = clock_now().mono_ns;
	if (h->away_since_ns && !was_away)
		set_due(h, away_wait_ns(h));
	else if (!h->away_since_ns)
		set_due(h, API_HEALTH_CALM_NS);
}

void api_health_doubt(struct api_health *h)
{
	uint64_t now_ns = clock_now().mono_ns;

	if (!h->away_since_ns && h->due_ns > now_ns + NSEC_PER_SEC)
		set_due(h, NSEC_PER_SEC);
}

bool api_health_view(const struct api_health *h, struct now now, struct api_server *ret)
{
	*ret = (struct api_server){
		.server = api_server(h->api),
		.error = h->error,
		.why = h->why,
		.http = h->last.http,
		.away_ns = h->away_since_ns ? time_since(now.mono_ns, h->away_since_ns) + 1 : 0,
		.timings = h->last.timings,
		.expiry_ns = api_credential_ends_ns(h->api),
	};
	return h->is_asked && ret->server;
}

int api_health_new(sd_event *loop, struct api *api, struct api_health **ret)
{
	CLEAN(api_health_freep) struct api_health *h = mem_zalloc(sizeof(*h));
	sd_id128_t id;
	int r;

	if (!h)
		return -ENOMEM;
	h->api = api;
	r = sd_id128_randomize(&id);
	if (r >= 0) {
		h->random = id.qwords[0];
		r = timer_new(loop, NSEC_NEVER, on_due, h, &h->timer);
	}
	if (r < 0)
		return r;
	set_due(h, NSEC_PER_SEC);
	*ret = TAKE_PTR(h);
	return 0;
}

struct api_health *api_health_free(struct api_health *h)
{
	if (!h)
		return NULL;
	h->timer = timer_free(h->timer);
	return mem_free(h);
}
