#include "agent/kubelet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/kubelet-scan.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "base/str.h"
#include "net/http1.h"

#define KUBELET_BODY_MAX 65536

struct kubelet {
	sd_event *loop;
	struct timer *timer;
	struct http1_call *call; /* NULL: none is open */
	char host[64];
	uint16_t port;
	bool has_process, has_answered;
	int pid; /* of what the search found last */
	uint64_t start_ticks, since_ns;
	enum node_kubelet state;
	char message[200];
	void (*on_change)(void *userdata);
	void *userdata;
};

static void kubelet_tell(struct kubelet *kubelet, enum node_kubelet state, const char *message)
{
	char clean[sizeof(kubelet->message)];

	/* Whoever listens there, it is no kubelet that we know of. */
	if (!kubelet->has_process && !kubelet->has_answered) {
		state = NODE_KUBELET_NONE;
		message = "";
	}
	(void)str_clean(clean, sizeof(clean), message, strlen(message));
	if (kubelet->state == state && str_eq(kubelet->message, clean))
		return;
	if (state == NODE_KUBELET_OK && kubelet->state != NODE_KUBELET_NONE)
		kubelet->since_ns = clock_now().mono_ns;
	kubelet->state = state;
	memcpy(kubelet->message, clean, sizeof(clean));
	kubelet->on_change(kubelet->userdata);
}

static void kubelet_on_done(void *userdata, const struct http1_result *result)
{
	struct kubelet *kubelet = userdata;

	kubelet->call = NULL;
	(void)timer_set_in(kubelet->timer, KUBELET_PERIOD_NS);
	switch (result->outcome) {
	case HTTP1_ANSWERED:
		if (result->status == 200) {
			kubelet->has_answered = true;
			kubelet_tell(kubelet, NODE_KUBELET_OK, "");
			return;
		}
		kubelet_tell(kubelet, NODE_KUBELET_FAILING,
			FMT("healthz answers %u: %.*s", result->status,
				(int)(result->body_len < 120 ? result->body_len : 120),
				result->body ? (const char *)result->body : ""));
		return;
	case HTTP1_REFUSED:
	case HTTP1_NO_SOCKET:
	case HTTP1_UNREACHABLE:
		kubelet_tell(kubelet, NODE_KUBELET_GONE, FMT("healthz: %s", result->message));
		return;
	case HTTP1_SILENT:
	case HTTP1_LOST:
	case HTTP1_TOO_LARGE:
	case HTTP1_MALFORMED:
		kubelet_tell(kubelet, NODE_KUBELET_FAILING, FMT("healthz: %s", result->message));
		return;
	}
}

static void kubelet_on_late(void *userdata)
{
	char text[TIME_TEXT_MAX];

	kubelet_tell(userdata, NODE_KUBELET_SLOW,
		FMT("healthz has not answered within %s",
			time_format_go(text, KUBELET_TIMEOUT_NS)));
}

static const struct http1_callbacks kubelet_callbacks = {
	.on_done = kubelet_on_done,
	.on_late = kubelet_on_late,
};

static void kubelet_on_due(void *userdata)
{
	struct kubelet *kubelet = userdata;
	struct http1_request request = {
		.host = kubelet->host,
		.port = kubelet->port,
		.target = "/healthz",
		.max_body_bytes = KUBELET_BODY_MAX,
		.deadline_ns = KUBELET_TIMEOUT_NS,
		.callbacks = &kubelet_callbacks,
		.userdata = kubelet,
	};

	if (kubelet->call || kubelet->port == 0)
		return;
	/* Out of memory or descriptors says nothing about the kubelet: asked again next time. */
	if (http1_start(kubelet->loop, &request, &kubelet->call, NULL) < 0) {
		kubelet->call = NULL;
		(void)timer_set_in(kubelet->timer, KUBELET_PERIOD_NS);
	}
}

int kubelet_new(
	sd_event *loop, void (*on_change)(void *userdata), void *userdata, struct kubelet **ret)
{
	CLEAN(kubelet_freep) struct kubelet *kubelet = mem_zalloc(sizeof(*kubelet));
	int r;

	if (!kubelet)
		return -ENOMEM;
	kubelet->loop = sd_event_ref(loop);
	(void)str_format(kubelet->host, sizeof(kubelet->host), "127.0.0.1");
	kubelet->port = KUBELET_HEALTHZ_PORT;
	kubelet->state = NODE_KUBELET_NONE;
	kubelet->on_change = on_change;
	kubelet->userdata = userdata;
	r = timer_new(loop, 0, kubelet_on_due, kubelet, &kubelet->timer);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(kubelet);
	return 0;
}

struct kubelet *kubelet_free(struct kubelet *kubelet)
{
	if (!kubelet)
		return NULL;
	kubelet->call = http1_cancel(kubelet->call);
	kubelet->timer = timer_free(kubelet->timer);
	sd_event_unref(kubelet->loop);
	return mem_free(kubelet);
}

static uint64_t kubelet_started_ns(uint64_t start_ticks)
{
	uint64_t ticks = (uint64_t)sysconf(_SC_CLK_TCK);
	uint64_t age_ns = time_since(clock_boot_ns(), start_ticks * (NSEC_PER_SEC / ticks));

	return time_since(clock_now().mono_ns, age_ns);
}

static void kubelet_switch_off(struct kubelet *kubelet)
{
	(void)timer_set_in(kubelet->timer, NSEC_NEVER);
	kubelet->has_process = kubelet->has_answered = false;
	kubelet_tell(kubelet, NODE_KUBELET_NONE, "");
}

void kubelet_set(struct kubelet *kubelet, const struct kubelet_scan *found)
{
	const char *host = found ? kubelet_scan_healthz_host(found) : kubelet->host;
	uint16_t port = !found ? kubelet->port : host ? found->healthz_port : 0;
	bool has_process = found && found->pid != 0;
	bool is_same = kubelet->has_process == has_process && kubelet->port == port &&
		(!host || str_eq(kubelet->host, host)) &&
		(!found ||
			(kubelet->pid == found->pid && kubelet->start_ticks == found->start_ticks));

	if (is_same)
		return;
	kubelet->has_process = has_process;
	kubelet->port = port;
	if (host != kubelet->host && host)
		(void)str_format(kubelet->host, sizeof(kubelet->host), "%s", host);
	if (found) {
		kubelet->pid = found->pid;
		kubelet->start_ticks = found->start_ticks;
	}
	if (found && found->start_ticks > 0)
		kubelet->since_ns =
			time_max(kubelet->since_ns, kubelet_started_ns(found->start_ticks));
	kubelet->call = http1_cancel(kubelet->call);
	if (port == 0)
		kubelet_switch_off(kubelet);
	else
		(void)timer_set_in(kubelet->timer, 0);
}

enum node_kubelet kubelet_state(const struct kubelet *kubelet, const char **ret_message)
{
	*ret_message = kubelet->message;
	return kubelet->state;
}

uint16_t kubelet_port(const struct kubelet *kubelet)
{
	return kubelet->port;
}

uint64_t kubelet_since(const struct kubelet *kubelet)
{
	return kubelet->since_ns;
}

bool kubelet_is_asking(const struct kubelet *kubelet)
{
	return kubelet->call;
}
