#include "runtime/docker-events.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/dial.h"
#include "runtime/docker-decode.h"
#include "runtime/docker-http.h"
#include "runtime/hint-stream.h"
#include "runtime/remote.h"

#define TIMER_ACCURACY_USEC 1000
#define TARGET_MAX          512
#define WHY_MAX             300

/* {"type":["container"],"event":["create","start","die","destroy","oom","pause","unpause"]} */
#define EVENTS_FILTER                                                                              \
	"%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22create%22%2C%22start%22%2C"   \
	"%22die%22%2C%22destroy%22%2C%22oom%22%2C%22pause%22%2C%22unpause%22%5D%7D"

enum events_state {
	EVENTS_WAITING, /* nothing is sent: the timer asks again */
	EVENTS_ASKING,  /* for the version */
	EVENTS_OPENING, /* subscribed, and no answer yet */
	EVENTS_UP,      /* the head of the answer has come */
	EVENTS_ABSENT,  /* as WAITING, and the server is no Docker Engine */
};

struct docker_events {
	sd_event *loop;
	sd_event_source *timer;
	struct hint_callbacks callbacks;
	void *userdata;
	char *path;

	enum events_state state;
	struct http1_call *call; /* while ASKING, OPENING or UP */
	struct buf body;         /* of the version, of an error; the line that is not complete */
	bool is_skipping;        /* the rest of a line over the limit */
	char api[DOCKER_API_MAX];
	int64_t since_ns; /* wall clock: of the last event, or when the first subscription was sent */
	uint64_t up_since_ns, backoff_ns;
	enum hint_news told; /* the last news, so that each is told once */
	bool has_told;
	bool *gone; /* set when it is freed from inside a callback */
	struct hint_recent recent;
	struct hint_statistics statistics;
};

static const char *state_text(enum events_state state)
{
	switch (state) {
	case EVENTS_WAITING: return "waiting";
	case EVENTS_ASKING: return "asking";
	case EVENTS_OPENING: return "opening";
	case EVENTS_UP: return "up";
	case EVENTS_ABSENT: return "absent";
	}
	return "invalid";
}

static void events_set_state(struct docker_events *e, enum events_state state)
{
	if (e->state == state)
		return;
	log_debug("Event stream", "method", "/events", "from", state_text(e->state), "to",
		state_text(state), NULL);
	e->state = state;
}

/* The last thing that a handler does: the object may be gone after it. */
static void events_tell(struct docker_events *e, enum hint_news news, const char *why)
{
	if (news != HINT_STREAM_GAP && e->has_told && e->told == news)
		return;
	if (news != HINT_STREAM_GAP) {
		e->told = news;
		e->has_told = true;
	}
	e->callbacks.on_stream(e->userdata, news, why);
}

/* ---- opening, and opening again ------------------------------------------------------------- */

static void events_wait(struct docker_events *e, enum events_state state, uint64_t wait_ns)
{
	uint64_t due_ns = time_add(clock_now().mono_ns, wait_ns);

	events_set_state(e, state);
	docker_body_done(&e->body);
	(void)sd_event_source_set_time(e->timer, due_ns / NSEC_PER_USEC + 1);
	(void)sd_event_source_set_enabled(e->timer, SD_EVENT_ONESHOT);
}

static void events_retry(struct docker_events *e, const char *why)
{
	if (e->state == EVENTS_UP) {
		e->statistics.broken++;
		if (time_since(clock_now().mono_ns, e->up_since_ns) >= HINT_STEADY_NS)
			e->backoff_ns = 0;
	}
	events_wait(e, EVENTS_WAITING, dial_backoff_next(&e->backoff_ns));
	events_tell(e, HINT_STREAM_DOWN, why);
}

static void events_absent(struct docker_events *e, const char *why)
{
	events_wait(e, EVENTS_ABSENT, HINT_ABSENT_RETRY_NS);
	events_tell(e, HINT_STREAM_ABSENT, why);
}

static int events_send(
	struct docker_events *e, const char *target, const struct http1_callbacks *callbacks)
{
	return http1_start(e->loop,
		&(struct http1_request){
			.unix_path = e->path,
			.target = target,
			.callbacks = callbacks,
			.userdata = e,
		},
		&e->call, NULL);
}

/* Why a request that did not bring what it was for has ended. */
static const char *failure_text(
	struct docker_events *e, const struct http1_result *result, char out[WHY_MAX])
{
	struct slice answer = { (const char *)e->body.data, e->body.len };
	char said[WHY_MAX - 40];

	if (result->outcome != HTTP1_ANSWERED)
		return str_format(
			out, WHY_MAX, "%s%s", result->message, docker_advice(result->outcome));
	(void)docker_decode_error(answer, said, sizeof(said));
	return str_format(
		out, WHY_MAX, "HTTP status %u%s%s", result->status, said[0] ? ": " : "", said);
}

/* ---- what comes ----------------------------------------------------------------------------- */

/* False: the object is gone. */
static bool events_take_line(struct docker_events *e, struct slice line)
{
	struct hint hint;
	bool gone = false;

	if (line.len == 0 || (line.len == 1 && line.data[0] == '\r'))
		return true;
	e->statistics.last_ns = clock_now().mono_ns;
	e->gone = &gone;
	switch (docker_decode_event(line, &hint)) {
	case HINT_FOREIGN: e->statistics.foreign++; break;
	case HINT_UNKNOWN: e->statistics.unknown++; break;
	case HINT_MALFORMED:
		e->statistics.malformed++;
		events_tell(e, HINT_STREAM_GAP, "an event could not be read");
		break;
	case HINT_TOLD:
		if (hint.sent_at_ns > e->since_ns)
			e->since_ns = hint.sent_at_ns;
		if (hint_is_known(&e->recent, &hint)) {
			e->statistics.duplicates++;
			break;
		}
		e->statistics.told++;
		e->callbacks.on_hint(e->userdata, &hint);
		break;
	}
	if (gone)
		return false;
	e->gone = NULL;
	return true;
}

/* Keeps a piece of a line; one over the limit is left out up to its end. */
static void events_keep(struct docker_events *e, const char *data, size_t len)
{
	if (e->is_skipping || docker_body_append(&e->body, data, len) >= 0)
		return;
	e->is_skipping = true;
	docker_body_done(&e->body);
}

/* The end of a line that came in pieces or was too long. False: the object is gone. */
static bool events_end_line(struct docker_events *e)
{
	struct buf line = e->body;
	bool was_skipped = e->is_skipping, is_there = true, gone = false;

	e->body = BUF_INIT(HINT_MESSAGE_MAX);
	e->is_skipping = false;
	if (was_skipped) {
		e->statistics.oversize++;
		e->gone = &gone;
		events_tell(e, HINT_STREAM_GAP, "an event was too large");
		is_there = !gone;
		if (is_there)
			e->gone = NULL;
	} else {
		is_there = events_take_line(e, (struct slice){ (const char *)line.data, line.len });
	}
	docker_body_done(&line);
	return is_there;
}

static void on_events_body(void *userdata, unsigned status, const uint8_t *data, size_t len)
{
	struct docker_events *e = userdata;
	const char *at = (const char *)data, *end = at + len;

	if (status != 200) { /* What the error says. */
		events_keep(e, at, len);
		return;
	}
	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));

		if (!newline) {
			events_keep(e, at, (size_t)(end - at));
			return;
		}
		if (e->body.len == 0 && !e->is_skipping) {
			if (!events_take_line(e, (struct slice){ at, (size_t)(newline - at) }))
				return;
		} else {
			events_keep(e, at, (size_t)(newline - at));
			if (!events_end_line(e))
				return;
		}
		at = newline + 1;
	}
}

/* The Engine sends it before it subscribes us; what happens between the two it sends afterwards,
 * since it is asked for everything from an earlier time on. */
static void on_events_head(void *userdata, unsigned status)
{
	struct docker_events *e = userdata;

	if (status != 200)
		return;
	events_set_state(e, EVENTS_UP);
	e->up_since_ns = clock_now().mono_ns;
	events_tell(e, HINT_STREAM_UP, "");
}

static void on_events_done(void *userdata, const struct http1_result *result)
{
	struct docker_events *e = userdata;
	char why[WHY_MAX];
	bool was_stream = result->status == 200;

	e->call = NULL;
	if (was_stream && result->outcome == HTTP1_ANSWERED)
		events_retry(e, "the server ended the stream");
	else
		events_retry(e, failure_text(e, result, why));
}

static const struct http1_callbacks events_callbacks = {
	.on_done = on_events_done,
	.on_head = on_events_head,
	.on_body = on_events_body,
};

static void events_subscribe(struct docker_events *e)
{
	char target[TARGET_MAX];
	int r;

	if (e->since_ns == 0)
		e->since_ns = clock_now().real_ns;
	(void)snprintf(target, sizeof(target), "/v%s/events?since=%lld.%09lld&filters=%s", e->api,
		(long long)(e->since_ns / (int64_t)NSEC_PER_SEC),
		(long long)(e->since_ns % (int64_t)NSEC_PER_SEC), EVENTS_FILTER);
	docker_body_done(&e->body);
	e->body = BUF_INIT(HINT_MESSAGE_MAX);
	e->is_skipping = false;
	r = events_send(e, target, &events_callbacks);
	if (r < 0) {
		events_retry(e, err_text(NULL, r));
		return;
	}
	e->statistics.opened++;
	events_set_state(e, EVENTS_OPENING);
}

/* ---- the version ---------------------------------------------------------------------------- */

static void on_version_body(void *userdata, unsigned status, const uint8_t *data, size_t len)
{
	struct docker_events *e = userdata;

	(void)status;
	events_keep(e, (const char *)data, len);
}

static void on_version_done(void *userdata, const struct http1_result *result)
{
	struct docker_events *e = userdata;
	struct slice answer = { (const char *)e->body.data, e->body.len };
	struct docker_version version;
	char text[WHY_MAX];
	const char *trouble;

	e->call = NULL;
	if (result->outcome == HTTP1_MALFORMED ||
		(result->outcome == HTTP1_ANSWERED && result->status == 404)) {
		events_absent(e, "the server is no Docker Engine");
		return;
	}
	if (result->outcome != HTTP1_ANSWERED || result->status != 200) {
		events_retry(e, failure_text(e, result, text));
		return;
	}
	if (docker_decode_version(answer, &version, text, sizeof(text), &trouble) < 0) {
		events_absent(e, trouble);
		return;
	}
	(void)snprintf(e->api, sizeof(e->api), "%s", version.api);
	events_subscribe(e);
}

static const struct http1_callbacks version_callbacks = {
	.on_done = on_version_done,
	.on_body = on_version_body,
};

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct docker_events *e = userdata;
	int r;

	(void)source, (void)usec;
	e->body = BUF_INIT(DOCKER_VERSION_BYTES_MAX);
	e->is_skipping = false;
	r = events_send(e, "/version", &version_callbacks);
	if (r < 0)
		events_retry(e, err_text(NULL, r));
	else
		events_set_state(e, EVENTS_ASKING);
	return 0;
}

/* ---- the object ----------------------------------------------------------------------------- */

DEFINE_FREEP(struct docker_events *, docker_events_free)

int docker_events_open(sd_event *loop, const char *endpoint, const struct hint_callbacks *callbacks,
	void *userdata, struct docker_events **ret, struct err *reterr)
{
	CLEAN(docker_events_freep) struct docker_events *e = NULL;
	const char *path = remote_path(endpoint);
	int r = -ENOMEM;

	if (!path)
		return err_set(reterr, -EINVAL,
			"Runtime endpoint '%s' is not of the form unix:///path/of.sock", endpoint);
	e = mem_zalloc(sizeof(*e));
	if (e) {
		e->loop = sd_event_ref(loop);
		e->callbacks = *callbacks;
		e->userdata = userdata;
		e->path = mem_strdup(path);
	}
	if (e && e->path)
		r = sd_event_add_time(
			loop, &e->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_USEC, on_timer, e);
	if (r < 0)
		return err_set(reterr, r, "Out of memory for a runtime's events");
	(void)sd_event_source_set_description(e->timer, "docker-events");
	*ret = TAKE_PTR(e);
	return 0;
}

struct docker_events *docker_events_free(struct docker_events *e)
{
	if (!e)
		return NULL;
	if (e->gone)
		*e->gone = true;
	e->call = http1_cancel(e->call);
	e->timer = sd_event_source_disable_unref(e->timer);
	e->loop = sd_event_unref(e->loop);
	docker_body_done(&e->body);
	e->path = mem_free(e->path);
	return mem_free(e);
}

void docker_events_statistics(const struct docker_events *e, struct hint_statistics *ret)
{
	*ret = e->statistics;
	ret->is_up = e->state == EVENTS_UP;
	ret->is_absent = e->state == EVENTS_ABSENT;
}
