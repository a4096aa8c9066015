#include "runtime/hint-stream.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/dial.h"

/* Answers that prove a subscription; see the header. */
#define HINT_PROBES 2
/* sd-event may shift a timer by this much to save wakeups; its default is 250 ms. */
#define HINT_TIMER_ACCURACY_USEC 1000

enum hint_state {
	HINT_STATE_WAITING, /* nothing is sent: the timer opens it again */
	HINT_STATE_OPENING, /* sent, not proved yet */
	HINT_STATE_UP,      /* proved */
	HINT_STATE_ABSENT,  /* as WAITING, and the server said that it has no such stream */
	HINT_STATE_CLOSED,  /* by its owner */
};

struct hint_stream {
	sd_event_source *timer;
	struct grpc_client *client;
	struct hint_source source;
	struct hint_callbacks callbacks;
	void *userdata;

	enum hint_state state;
	struct grpc_call *call; /* the subscription, while OPENING or UP */
	bool has_message;       /* on this subscription */
	bool probe_is_open;
	unsigned probes_answered; /* of this subscription */
	uint64_t probe_serial;    /* the subscription that the open probe was sent behind */
	uint64_t up_since_ns;
	uint64_t backoff_ns;
	enum hint_news told; /* the last news, so that each is told once */
	bool has_told;

	struct hint_recent recent;
	struct hint_statistics statistics; /* opened is the subscription's serial, too */
	char *containerd_namespace;
	size_t request_len;
	uint8_t request[];
};

static void stream_open(struct hint_stream *s);

static const char *state_text(enum hint_state state)
{
	switch (state) {
	case HINT_STATE_WAITING: return "waiting";
	case HINT_STATE_OPENING: return "opening";
	case HINT_STATE_UP: return "up";
	case HINT_STATE_ABSENT: return "absent";
	case HINT_STATE_CLOSED: return "closed";
	}
	return "invalid";
}

static void stream_set_state(struct hint_stream *s, enum hint_state state)
{
	if (s->state == state)
		return;
	log_debug("Event stream", "method", s->source.path, "from", state_text(s->state), "to",
		state_text(state), NULL);
	s->state = state;
}

/* The last thing that a handler does: the stream may be gone after it. */
static void stream_tell(struct hint_stream *s, enum hint_news news, const char *why)
{
	if (news != HINT_STREAM_GAP && s->has_told && s->told == news)
		return;
	if (news != HINT_STREAM_GAP) {
		s->told = news;
		s->has_told = true;
	}
	s->callbacks.on_stream(s->userdata, news, why);
}

/* ---- opening, and opening again ------------------------------------------------------------- */

static void stream_wait(struct hint_stream *s, uint64_t wait_ns)
{
	uint64_t due_ns = time_add(clock_now().mono_ns, wait_ns);

	(void)sd_event_source_set_time(s->timer, due_ns / NSEC_PER_USEC + 1);
	(void)sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static void stream_retry(struct hint_stream *s)
{
	stream_set_state(s, HINT_STATE_WAITING);
	stream_wait(s, dial_backoff_next(&s->backoff_ns));
}

static bool link_is_up(const struct hint_stream *s)
{
	struct grpc_client_stats stats;

	grpc_client_stats(s->client, &stats);
	return stats.link == GRPC_LINK_UP;
}

/* What the end of a subscription means: the server has none to give. */
static bool is_absent(const struct hint_stream *s, const struct grpc_result *result)
{
	if (result->outcome == GRPC_STATUS && result->status == GRPC_CODE_UNIMPLEMENTED)
		return true;
	return result->outcome == GRPC_OK && s->source.silent_end_is_absent && !s->has_message;
}

static void on_stream_done(void *userdata, const struct grpc_result *result)
{
	struct hint_stream *s = userdata;
	bool was_up = s->state == HINT_STATE_UP;

	s->call = NULL;
	if (s->state == HINT_STATE_CLOSED)
		return;
	if (was_up)
		s->statistics.broken++;
	if (result->outcome == GRPC_TOO_LARGE)
		s->statistics.oversize++;
	if (is_absent(s, result)) {
		stream_set_state(s, HINT_STATE_ABSENT);
		stream_wait(s, HINT_ABSENT_RETRY_NS);
		stream_tell(s, HINT_STREAM_ABSENT, s->source.absent_text);
		return;
	}
	if (was_up && time_since(clock_now().mono_ns, s->up_since_ns) >= HINT_STEADY_NS)
		s->backoff_ns = 0;
	if (link_is_up(s))
		stream_retry(s);
	else
		stream_open(s); /* it waits for the client's dial */
	stream_tell(s, HINT_STREAM_DOWN,
		result->outcome == GRPC_OK ? "the server ended the stream" : result->message);
}

/* ---- the proof ------------------------------------------------------------------------------ */

static int stream_probe(struct hint_stream *s);

/* A subscription that cannot be proved is given up. */
static void stream_abandon(struct hint_stream *s)
{
	if (s->call)
		grpc_call_cancel(TAKE_PTR(s->call));
	stream_retry(s);
}

/* An error is an answer as well. UNIMPLEMENTED is none: the subscription will say the same. */
static bool probe_proves(const struct grpc_result *result)
{
	return result->outcome == GRPC_OK ||
		(result->outcome == GRPC_STATUS && result->status != GRPC_CODE_UNIMPLEMENTED);
}

static void on_probe_failed(struct hint_stream *s, const struct grpc_result *result)
{
	/* Without a link, and without such a service, the subscription ends by itself. */
	if (result->outcome == GRPC_STATUS || !link_is_up(s))
		return;
	stream_abandon(s);
	stream_tell(s, HINT_STREAM_DOWN, result->message);
}

static void on_probe_done(void *userdata, const struct grpc_result *result)
{
	struct hint_stream *s = userdata;

	s->probe_is_open = false;
	if (s->state != HINT_STATE_OPENING)
		return;
	if (s->probe_serial == s->statistics.opened) {
		if (!probe_proves(result)) {
			on_probe_failed(s, result);
			return;
		}
		if (result->outcome == GRPC_OK && s->source.on_probe)
			s->source.on_probe(s->source.owner,
				(struct slice){ (const char *)result->body, result->body_len });
		s->probes_answered++;
	} /* else it was about an older subscription */
	if (s->probes_answered < HINT_PROBES) {
		if (stream_probe(s) < 0)
			stream_abandon(s);
		return;
	}
	s->up_since_ns = clock_now().mono_ns;
	stream_set_state(s, HINT_STATE_UP);
	stream_tell(s, HINT_STREAM_UP, "subscribed");
}

static const struct grpc_callbacks probe_callbacks = {
	.on_done = on_probe_done,
};

/* At most one at a time, also over subscriptions: a server that hangs collects no probes. */
static int stream_probe(struct hint_stream *s)
{
	int r;

	if (s->probe_is_open)
		return 0;
	r = grpc_call_start(s->client,
		&(struct grpc_request){
			.path = s->source.probe_path,
			.callbacks = &probe_callbacks,
			.userdata = s,
			.containerd_namespace = s->containerd_namespace,
		},
		NULL);
	if (r < 0)
		return r;
	s->probe_serial = s->statistics.opened;
	s->probe_is_open = true;
	return 0;
}

/* ---- what comes ----------------------------------------------------------------------------- */

static void on_stream_message(void *userdata, const uint8_t *body, size_t len)
{
	struct hint_stream *s = userdata;
	struct hint hint;

	s->has_message = true;
	s->statistics.last_ns = clock_now().mono_ns;
	switch (s->source.decode(
		s->source.owner, (struct slice){ (const char *)body, len }, &hint)) {
	case HINT_FOREIGN: s->statistics.foreign++; return;
	case HINT_UNKNOWN: s->statistics.unknown++; return;
	case HINT_MALFORMED:
		s->statistics.malformed++;
		stream_tell(s, HINT_STREAM_GAP, "an event could not be read");
		return;
	case HINT_TOLD: break;
	}
	if (hint_is_known(&s->recent, &hint)) {
		s->statistics.duplicates++;
		return;
	}
	s->statistics.told++;
	s->callbacks.on_hint(s->userdata, &hint);
}

static const struct grpc_callbacks stream_callbacks = {
	.on_done = on_stream_done,
	.on_message = on_stream_message,
};

static void stream_open(struct hint_stream *s)
{
	int r = grpc_call_start(s->client,
		&(struct grpc_request){
			.path = s->source.path,
			.body = s->request,
			.body_len = s->request_len,
			.callbacks = &stream_callbacks,
			.userdata = s,
			.max_message_bytes = HINT_MESSAGE_MAX,
			.is_stream = true,
			.containerd_namespace = s->containerd_namespace,
		},
		&s->call);

	if (r < 0) {
		stream_retry(s);
		return;
	}
	s->has_message = false;
	s->probes_answered = 0;
	s->statistics.opened++;
	stream_set_state(s, HINT_STATE_OPENING);
	if (stream_probe(s) < 0)
		stream_abandon(s);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	stream_open(userdata);
	return 0;
}

/* ---- the object ----------------------------------------------------------------------------- */

DEFINE_FREEP(struct hint_stream *, hint_stream_free)

int hint_stream_new(sd_event *loop, struct grpc_client *client, const struct hint_source *source,
	const struct hint_callbacks *callbacks, void *userdata, struct hint_stream **ret)
{
	CLEAN(hint_stream_freep)
	struct hint_stream *s = mem_zalloc(sizeof(*s) + source->request_len);
	int r;

	if (!s)
		return -ENOMEM;
	s->client = client;
	s->source = *source;
	s->callbacks = *callbacks;
	s->userdata = userdata;
	s->request_len = source->request_len;
	if (source->request_len > 0)
		memcpy(s->request, source->request, source->request_len);
	if (source->containerd_namespace) {
		s->containerd_namespace = mem_strdup(source->containerd_namespace);
		if (!s->containerd_namespace)
			return -ENOMEM;
	}
	r = sd_event_add_time(
		loop, &s->timer, CLOCK_MONOTONIC, 0, HINT_TIMER_ACCURACY_USEC, on_timer, s);
	if (r < 0)
		return r;
	(void)sd_event_source_set_description(s->timer, "hint-stream");
	*ret = TAKE_PTR(s);
	return 0;
}

void hint_stream_close(struct hint_stream *s)
{
	stream_set_state(s, HINT_STATE_CLOSED);
	s->timer = sd_event_source_disable_unref(s->timer);
}

struct hint_stream *hint_stream_free(struct hint_stream *s)
{
	if (!s)
		return NULL;
	s->timer = sd_event_source_disable_unref(s->timer);
	s->containerd_namespace = mem_free(s->containerd_namespace);
	return mem_free(s);
}

void hint_stream_statistics(const struct hint_stream *s, struct hint_statistics *ret)
{
	*ret = s->statistics;
	ret->is_up = s->state == HINT_STATE_UP;
	ret->is_absent = s->state == HINT_STATE_ABSENT;
}
