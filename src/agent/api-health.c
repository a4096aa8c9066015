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
	uint64_t wait_ns;               /* while it is away: before the next question */
	uint32_t failures;              /* in a row */
	uint64_t random;
	/* The last stale connection */
	struct api_stale stale; /* its texts are ours */
	char stale_local[64], stale_remote[64], stale_what[160];
	uint64_t stale_at_ns; /* monotonic; 0: none of late */
	uint32_t stale_count;
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

/* Doubled each time, half of it by chance: an API server that comes back has ten thousand nodes. */
static void ask_later(struct api_health *h)
{
	h->random = h->random * UINT64_C(6364136223846793005) + 1;
	set_due(h, h->wait_ns / 2 + (h->random >> 11) % (h->wait_ns / 2));
	h->wait_ns = time_min(2 * h->wait_ns, API_HEALTH_MAX_NS);
}

static bool has_stale(const struct api_health *h, uint64_t mono_ns)
{
	return h->stale_at_ns > 0 && time_since(mono_ns, h->stale_at_ns) < API_STALE_CALM_NS;
}

/* What could not be asked again as it was: what is asked next shows whose trouble it was. */
static void judge_stale(struct api_health *h, const struct api_call *call)
{
	if (!h->stale_at_ns || h->stale.is_proven || call->is_ping || str_eq(call->error, "role"))
		return;
	if (call->http > 0 && call->http < 500)
		h->stale.is_proven = true;
	else
		h->stale_at_ns = 0;
}

void api_health_stale(struct api_health *h, const struct api_stale *stale)
{
	uint64_t mono_ns = clock_now().mono_ns;

	h->stale_count = has_stale(h, mono_ns) ? h->stale_count + 1 : 1;
	h->stale_at_ns = mono_ns;
	h->stale = *stale;
	h->stale.local = str_format(h->stale_local, sizeof(h->stale_local), "%s", stale->local);
	h->stale.remote = str_format(h->stale_remote, sizeof(h->stale_remote), "%s", stale->remote);
	(void)str_clean(h->stale_what, sizeof(h->stale_what), stale->what, strlen(stale->what));
	h->stale.what = h->stale_what;
	/* The server has answered, if over another connection. */
	api_health_call(h,
		&(struct api_call){ .error = "ok",
			.http = stale->fresh_http,
			.why = "",
			.is_ping = true,
			.timings = stale->fresh });
}

/* What is not sent has failed as well, unless one is still under way. */
static void on_due(void *userdata)
{
	struct api_health *h = userdata;
	int r = api_ping(h->api);

	if (r < 0 && r != -EBUSY && r != -EAGAIN)
		api_health_call(h,
			&(struct api_call){ .error = "role", .why = "The api role does not run" });
	if (!h->away_since_ns)
		set_due(h, API_HEALTH_CALM_NS);
	else
		ask_later(h);
}

void api_health_call(struct api_health *h, const struct api_call *call)
{
	/* Two kinds of trouble, each with a time of its own: nobody there, and not believing us. */
	bool is_another = (call->http == 401) != (h->last.http == 401);

	judge_stale(h, call);
	h->is_asked = true;
	h->last = *call;
	(void)str_format(h->error, sizeof(h->error), "%s", call->error);
	(void)str_clean(h->why, sizeof(h->why), call->why, strlen(call->why));
	if (is_good(call)) {
		h->away_since_ns = 0;
		h->failures = 0;
		set_due(h, API_HEALTH_CALM_NS);
	} else if (!h->away_since_ns || is_another) {
		h->away_since_ns = clock_now().mono_ns;
		h->failures = 1;
		h->wait_ns = API_HEALTH_FIRST_NS;
		ask_later(h);
	} else if (h->failures < UINT32_MAX) {
		h->failures++;
	}
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
		.failures = h->failures,
		.timings = h->last.timings,
		.expiry_ns = api_credential_ends_ns(h->api),
	};
	if (has_stale(h, now.mono_ns)) {
		ret->stale = h->stale;
		ret->stale_count = h->stale_count;
		ret->stale_ns = time_since(now.mono_ns, h->stale_at_ns);
	}
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
