/* One watch: a stream of lines that is opened again where it ended. */
#include "kube/client-internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "kube/lines.h"
#include "kube/object.h"

#define TIMEOUT_LEAST_S 300u
#define TIMEOUT_SLACK_S 15u /* beyond what the server was asked for: the stream is stale */
#define SHORT_NS        (10 * NSEC_PER_SEC) /* a stream that ends sooner, without a change */

struct kube_watch {
	struct transfer transfer; /* first: it is what libcurl's side knows */
	struct kube_client *client;
	struct kube_watch *previous, *next;
	sd_event_source *reopen, *deliver;
	struct kube_lines lines;
	char *path, *query, *version;
	unsigned timeout_s;
	unsigned failures;  /* in a row */
	uint64_t opened_ns; /* monotonic; 0: the stream is not open */
	uint64_t heard_ns;  /* monotonic; of what is open */
	bool was_told;      /* something, since it was opened */
	bool rests;         /* 410 */
	bool is_opened;     /* and not told so yet */
	bool *gone;         /* set when it is freed inside a callback */
	const struct kube_watch_ops *ops;
	void *userdata;
};

static int open_stream(struct kube_watch *w)
{
	unsigned timeout_s = w->timeout_s;
	char url[3072], *version;
	int n;

	if (timeout_s == 0)
		timeout_s =
			TIMEOUT_LEAST_S + (unsigned)(client_random(w->client) % TIMEOUT_LEAST_S);
	version = curl_easy_escape(NULL, w->version, 0);
	if (!version)
		return -ENOMEM;
	n = snprintf(url, sizeof(url),
		"%s?%s%swatch=true&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=%s",
		w->path, str_or_empty(w->query), w->query ? "&" : "", timeout_s, version);
	curl_free(version);
	if (n >= (int)sizeof(url))
		return -ENAMETOOLONG;
	kube_lines_reset(&w->lines);
	w->is_opened = false;
	w->opened_ns = 0;
	w->client->stats.requests++;
	return transfer_start(&w->transfer,
		&(struct transfer_spec){
			.method = "GET",
			.url = url,
			.timeout_ns = (timeout_s + TIMEOUT_SLACK_S) * NSEC_PER_SEC,
		});
}

/* Whoever ends every stream at once, well or not, is asked ever less often. */
static void open_later(struct kube_watch *w)
{
	bool was_long =
		w->opened_ns > 0 && time_since(clock_now().mono_ns, w->opened_ns) >= SHORT_NS;
	uint64_t wait_ns;

	if (was_long)
		w->failures = 0;
	wait_ns = client_wait_ns(w->client, w->failures, KUBE_REOPEN_MAX_NS);
	w->failures++;
	(void)sd_event_source_set_time_relative(w->reopen, wait_ns / NSEC_PER_USEC);
	(void)sd_event_source_set_enabled(w->reopen, SD_EVENT_ONESHOT);
}

/* --- one line --- */

static bool parse_type(const char *type, enum kube_change *ret)
{
	static const char *const names[] = {
		[KUBE_ADDED] = "ADDED",
		[KUBE_MODIFIED] = "MODIFIED",
		[KUBE_DELETED] = "DELETED",
		[KUBE_BOOKMARK] = "BOOKMARK",
	};

	for (size_t i = 0; type && i < ELEMENTS(names); i++) {
		if (str_eq(type, names[i])) {
			*ret = (enum kube_change)i;
			return true;
		}
	}
	return false;
}

static void rest(struct kube_watch *w)
{
	transfer_stop(&w->transfer);
	w->rests = true;
	w->ops->on_gone(w->userdata);
}

/* Ends this stream: the next one begins behind the last object that was whole. */
static void break_off(struct kube_watch *w, enum kube_error error, unsigned http, const char *text)
{
	transfer_stop(&w->transfer);
	w->client->stats.failures++;
	open_later(w);
	if (w->ops->on_trouble)
		w->ops->on_trouble(w->userdata, error, http, text);
}

static void take_error(struct kube_watch *w, const json_t *status)
{
	json_int_t code = json_integer_value(kube_field(status, "code"));
	char text[KUBE_STATUS_TEXT] = "The server ended the watch with an error";

	if (code == 410) {
		rest(w);
		return;
	}
	(void)kube_status(status, text, NULL);
	break_off(w, KUBE_OK, code > 0 && code < 600 ? (unsigned)code : 0, text);
}

/* False: the stream is not to be read further, or the watch is gone. */
static bool take_line(struct kube_watch *w, const char *line, size_t len)
{
	json_t *event = kube_parse(line, len);
	const json_t *object = json_object_get(event, "object");
	const char *type = kube_string(event, "type");
	const char *version = kube_resource_version(object);
	enum kube_change change;
	bool gone = false, goes_on = false;
	char *copy = NULL;

	w->gone = &gone;
	if (type && str_eq(type, "ERROR")) {
		take_error(w, object);
	} else if (!event || !parse_type(type, &change) || !version) {
		break_off(w, KUBE_OTHER, 0, "A line of the watch is no object with a version");
	} else if (!(copy = mem_strdup(version))) {
		break_off(w, KUBE_OTHER, 0, "Out of memory");
	} else {
		(void)mem_free(w->version);
		w->version = copy;
		if (change != KUBE_BOOKMARK)
			w->failures = 0;
		w->ops->on_change(w->userdata, change, object);
		goes_on = !gone;
	}
	if (!gone)
		w->gone = NULL;
	json_decref(event);
	return goes_on;
}

/* True: all were taken. */
static bool take_lines(struct kube_watch *w)
{
	const char *line;
	size_t len;

	while (kube_lines_next(&w->lines, &line, &len))
		if (!take_line(w, line, len))
			return false;
	return true;
}

/* Lines come in the next turn, for the watch may be gone after the call. */
static int on_deliver(sd_event_source *source, void *userdata)
{
	struct kube_watch *w = userdata;

	if (w->is_opened && w->ops->on_open) {
		w->is_opened = false;
		(void)sd_event_source_set_enabled(w->deliver, SD_EVENT_ONESHOT);
		w->ops->on_open(w->userdata);
	} else {
		(void)take_lines(w);
	}
	return 0;
}

/* --- the stream --- */

static void on_headers(struct transfer *t, unsigned http)
{
	struct kube_watch *w = (struct kube_watch *)t;

	w->is_opened = http == 200;
	if (!w->is_opened)
		return;
	w->opened_ns = w->heard_ns = clock_now().mono_ns;
	w->was_told = false;
	(void)sd_event_source_set_enabled(w->deliver, SD_EVENT_ONESHOT);
}

static int on_bytes(struct transfer *t, unsigned http, const void *data, size_t len)
{
	struct kube_watch *w = (struct kube_watch *)t;

	if (http != 200)
		return 0;
	w->heard_ns = clock_now().mono_ns;
	w->was_told = true;
	(void)sd_event_source_set_enabled(w->deliver, SD_EVENT_ONESHOT);
	return kube_lines_add(&w->lines, data, len);
}

/* The stream is over. */
static void doubt(struct kube_watch *w)
{
	if (w->opened_ns > 0)
		stale_look_at_watch(&w->transfer, w->path, w->heard_ns, w->was_told);
}

void kube_watch_doubt(struct kube_watch *w)
{
	if (!w->transfer.easy)
		return;
	transfer_stop(&w->transfer);
	doubt(w);
}

void watches_reopen_silent(struct kube_client *client, uint64_t since_ns)
{
	for (struct kube_watch *w = client->watches; w; w = w->next) {
		if (!w->transfer.easy || w->opened_ns == 0 || w->heard_ns > since_ns)
			continue;
		transfer_stop(&w->transfer);
		if (open_stream(w) < 0)
			open_later(w);
	}
}

static void on_stream_done(struct transfer *t, const struct transfer_result *result)
{
	struct kube_watch *w = (struct kube_watch *)t;
	struct kube_client *c = w->client;
	bool refused = result->error == KUBE_OK && result->http != 200;
	char text[KUBE_TEXT];

	(void)sd_event_source_set_enabled(w->deliver, SD_EVENT_OFF);
	if (!refused && !take_lines(w))
		return;
	if (refused && result->http == 410) {
		rest(w);
	} else if (refused) {
		(void)snprintf(
			text, sizeof(text), "The server refused the watch with %u", result->http);
		if (result->http == 401) {
			c->stats.unauthorized++;
			if (c->on_unauthorized)
				c->on_unauthorized(c, c->userdata);
		}
		break_off(w, KUBE_OK, result->http, text);
	} else if (result->error != KUBE_OK) {
		doubt(w);
		break_off(w, result->error, 0, result->text);
	} else {
		open_later(w); /* as it was asked to end */
	}
}

static int on_reopen(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct kube_watch *w = userdata;

	if (open_stream(w) < 0)
		open_later(w);
	return 0;
}

/* --- life --- */

static int set_up(struct kube_watch *w, const struct kube_watch_request *request)
{
	sd_event *event = w->client->event;
	int r;

	w->path = mem_strdup(request->path);
	w->query = request->query ? mem_strdup(request->query) : NULL;
	w->version = mem_strdup(str_or_empty(request->resource_version));
	if (!w->path || !w->version || (request->query && !w->query))
		return -ENOMEM;
	r = sd_event_add_time_relative(event, &w->reopen, CLOCK_MONOTONIC, 0, 1000, on_reopen, w);
	if (r >= 0)
		r = sd_event_source_set_enabled(w->reopen, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_defer(event, &w->deliver, on_deliver, w);
	if (r >= 0)
		r = sd_event_source_set_enabled(w->deliver, SD_EVENT_OFF);
	return r < 0 ? r : open_stream(w);
}

int kube_watch(struct kube_client *client, const struct kube_watch_request *request,
	const struct kube_watch_ops *ops, void *userdata, struct kube_watch **ret)
{
	CLEAN(kube_watch_freep) struct kube_watch *w = mem_zalloc(sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->client = w->transfer.client = client;
	w->transfer.on_bytes = on_bytes;
	w->transfer.on_headers = on_headers;
	w->transfer.on_done = on_stream_done;
	w->lines = KUBE_LINES_INIT(KUBE_LINE_MAX);
	w->timeout_s = request->timeout_s;
	w->ops = ops;
	w->userdata = userdata;
	w->next = client->watches;
	if (w->next)
		w->next->previous = w;
	client->watches = w;
	r = set_up(w, request);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(w);
	return 0;
}

struct kube_watch *kube_watch_free(struct kube_watch *w)
{
	if (!w)
		return NULL;
	if (w->gone)
		*w->gone = true;
	transfer_stop(&w->transfer);
	w->reopen = sd_event_source_disable_unref(w->reopen);
	w->deliver = sd_event_source_disable_unref(w->deliver);
	kube_lines_done(&w->lines);
	if (w->previous)
		w->previous->next = w->next;
	else
		w->client->watches = w->next;
	if (w->next)
		w->next->previous = w->previous;
	(void)mem_free(w->path);
	(void)mem_free(w->query);
	(void)mem_free(w->version);
	return mem_free(w);
}
