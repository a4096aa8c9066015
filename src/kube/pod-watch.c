#include "kube/pod-watch.h"

#include <errno.h>
#include <stdio.h>

#include <systemd/sd-event.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"
#include "kube/items.h"
#include "kube/object.h"
#include "kube/pod-read.h"
#include "kube/text.h"

#define PATH       "/api/v1/pods"
#define QUERY_MAX  1024u
#define CURSOR_MAX 1024u       /* of the server's own making */
#define AROUND_MAX (64u << 10) /* of a list without its items */
#define SHORT_NS   (10 * NSEC_PER_SEC)

enum watch_state {
	WATCH_WAITING,  /* for the timer: then it lists */
	WATCH_LISTING,  /* a page is on its way */
	WATCH_WATCHING, /* the stream is open, or is opened again by itself */
};

struct pod_watch {
	sd_event *event;
	sd_event_source *timer; /* WAITING: the next list; WATCHING: it was silent for too long */
	struct kube_client *client;
	struct kube_call *call;
	struct kube_watch *watch;
	const struct pod_watch_ops *ops;
	void *userdata;
	enum watch_state state;
	uint64_t random;
	unsigned failures;  /* in a row */
	uint64_t listed_ns; /* the last list ended; monotonic */
	unsigned page;      /* pods of one */
	char selector[QUERY_MAX];
	char cursor[CURSOR_MAX]; /* of the next page; "": the first */
};

static void set_timer(struct pod_watch *w, uint64_t wait_ns)
{
	(void)sd_event_source_set_time_relative(w->timer, wait_ns / NSEC_PER_USEC);
	(void)sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

/* splitmix64 */
static uint64_t draw(struct pod_watch *w)
{
	uint64_t z = w->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void stop_all(struct pod_watch *w)
{
	w->call = kube_call_cancel(w->call);
	w->watch = kube_watch_free(w->watch);
	w->cursor[0] = '\0';
}

static void wait_for_list(struct pod_watch *w, uint64_t wait_ns)
{
	stop_all(w);
	w->state = WATCH_WAITING;
	set_timer(w, wait_ns);
}

static void list_later(struct pod_watch *w)
{
	uint64_t wait_ns = PODS_RETRY_FIRST_NS;

	for (unsigned i = 0; i < w->failures && wait_ns < PODS_RETRY_MAX_NS; i++)
		wait_ns *= 2;
	wait_ns = time_min(wait_ns, PODS_RETRY_MAX_NS);
	w->failures++;
	wait_for_list(w, wait_ns / 2 + draw(w) % (wait_ns / 2));
}

static void fail(struct pod_watch *w, unsigned http, const char *text)
{
	(void)w->ops->on_away(w->userdata, http, text);
	list_later(w);
}

/* ---- the watch ---------------------------------------------------------------------------------- */

/* What is no pod is left out: the next list would hold it as well. */
static int tell_pod(struct pod_watch *w, const json_t *object)
{
	struct pod_read pod;

	return pod_read(&pod, object) < 0 ? 0 : w->ops->on_pod(w->userdata, &pod.pod);
}

static void on_change(void *userdata, enum kube_change change, const json_t *object)
{
	struct pod_watch *w = userdata;
	const char *uid = kube_uid(object);
	int r = 0;

	w->failures = 0;
	set_timer(w, PODS_SILENT_NS);
	switch (change) {
	case KUBE_ADDED:
	case KUBE_MODIFIED: r = tell_pod(w, object); break;
	case KUBE_DELETED: r = uid ? w->ops->on_gone(w->userdata, uid) : 0; break;
	case KUBE_BOOKMARK: r = w->ops->on_heard(w->userdata); break;
	}
	if (r < 0)
		fail(w, 0, "The agent could not be told");
}

static void on_open(void *userdata)
{
	struct pod_watch *w = userdata;

	set_timer(w, PODS_SILENT_NS);
	if (w->ops->on_open(w->userdata) < 0)
		fail(w, 0, "The agent could not be told");
}

/* One that forgets what it has listed just now will do so again. */
static void on_forgotten(void *userdata)
{
	struct pod_watch *w = userdata;

	if (time_since(clock_now().mono_ns, w->listed_ns) < SHORT_NS)
		list_later(w);
	else
		wait_for_list(w, 0);
}

/* It is opened again by itself, for as long as the timer lets it. */
static void on_trouble(void *userdata, enum kube_error error, unsigned http, const char *text)
{
	struct pod_watch *w = userdata;

	(void)error;
	(void)w->ops->on_away(w->userdata, http, text);
}

static const struct kube_watch_ops watch_ops = { .on_change = on_change,
	.on_gone = on_forgotten,
	.on_trouble = on_trouble,
	.on_open = on_open };

static int open_watch(struct pod_watch *w, const char *version)
{
	int r = kube_watch(w->client,
		&(struct kube_watch_request){
			.path = PATH, .query = w->selector, .resource_version = version },
		&watch_ops, w, &w->watch);

	if (r < 0)
		return r;
	w->state = WATCH_WATCHING;
	set_timer(w, PODS_SILENT_NS);
	return 0;
}

/* ---- the list ----------------------------------------------------------------------------------- */

static void list(struct pod_watch *w);

/* What is no JSON spoils the page; what is no pod does not. */
static int take_items(struct pod_watch *w, struct slice items)
{
	struct slice text;
	int r = 0;

	while (r >= 0 && kube_items_next(&items, &text)) {
		json_t *item = kube_parse(text.data, text.len);

		r = item ? tell_pod(w, item) : -EBADMSG;
		json_decref(item);
	}
	return r < 0 ? r : items.len > 0 ? -EBADMSG : 0;
}

/* The list without its items. NULL: it is none. */
static json_t *parse_around(struct slice page, struct slice items)
{
	CLEAN(buf_done) struct buf text = BUF_INIT(AROUND_MAX);
	const char *behind = items.data + items.len;
	int r = buf_append(&text, page.data, (size_t)(items.data - page.data));

	if (r >= 0)
		r = buf_append(&text, behind, (size_t)(page.data + page.len - behind));
	return r < 0 ? NULL : kube_parse((const char *)text.data, text.len);
}

/* 0, or negative with a text. */
static int take_page(
	struct pod_watch *w, struct slice page, json_t **ret_around, const char **ret_why)
{
	struct slice items;
	json_t *around;
	int r = kube_items_find(page, &items);

	*ret_why = "The answer is no list of pods";
	if (r < 0)
		return r;
	around = items.len > 0 ? parse_around(page, items) : kube_parse(page.data, page.len);
	*ret_around = around;
	if (!kube_resource_version(around) ||
		strlen(str_or_empty(kube_string(around, "metadata.continue"))) >= sizeof(w->cursor))
		return -EBADMSG;
	r = take_items(w, items);
	if (r < 0 && r != -EBADMSG)
		*ret_why = "The agent could not be told";
	return r;
}

/* Then the next one, or the watch. */
static void go_on(struct pod_watch *w, const json_t *around)
{
	const char *next = str_or_empty(kube_string(around, "metadata.continue"));
	int r;

	(void)str_format(w->cursor, sizeof(w->cursor), "%s", next);
	if (*next) {
		list(w);
		return;
	}
	w->listed_ns = clock_now().mono_ns;
	r = w->ops->on_end(w->userdata);
	if (r >= 0)
		r = open_watch(w, kube_resource_version(around));
	if (r < 0)
		fail(w, 0, "The agent could not be told");
}

static void refused(struct pod_watch *w, const struct kube_answer *answer)
{
	json_t *body = kube_parse(answer->body, answer->body_len);
	char text[KUBE_STATUS_TEXT] = "";

	if (answer->error == KUBE_TOO_LARGE && w->page > 1)
		w->page = w->page > 4 ? w->page / 4 : 1;
	/* With a cursor that is too old the pages before it are of no use either. */
	if (answer->error != KUBE_OK)
		(void)str_format(text, sizeof(text), "%s", str_or_empty(answer->text));
	else
		(void)kube_status(body, text, NULL);
	json_decref(body);
	fail(w, answer->http, text);
}

static void on_page(const struct kube_answer *answer, void *userdata)
{
	struct pod_watch *w = userdata;
	json_t *around = NULL;
	const char *why;

	w->call = NULL;
	if (answer->error != KUBE_OK || answer->http != 200)
		refused(w, answer);
	else if (take_page(w, (struct slice){ answer->body, answer->body_len }, &around, &why) < 0)
		fail(w, 0, why);
	else
		go_on(w, around);
	json_decref(around);
}

/* The next page, or the first of a new list. */
static void list(struct pod_watch *w)
{
	char query[QUERY_MAX + 3 * CURSOR_MAX], cursor[3 * CURSOR_MAX];
	int r = 0;

	if (!w->cursor[0])
		r = w->ops->on_begin(w->userdata);
	(void)str_format(query, sizeof(query), "%s&limit=%u%s%s", w->selector, w->page,
		w->cursor[0] ? "&continue=" : "",
		w->cursor[0] ? kube_path_part(cursor, sizeof(cursor), w->cursor) : "");
	w->state = WATCH_LISTING;
	if (r >= 0)
		r = kube_request(w->client,
			&(struct kube_request){ .path = PATH,
				.query = query,
				.deadline_ns = PODS_DEADLINE_NS,
				.size_max = PODS_PAGE_MAX,
				.tries = 1 },
			on_page, w, &w->call);
	if (r < 0)
		fail(w, 0, "The list could not be asked for");
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct pod_watch *w = userdata;

	(void)source;
	(void)usec;
	if (w->state != WATCH_LISTING) {
		if (w->state == WATCH_WATCHING)
			kube_watch_doubt(w->watch);
		stop_all(w);
		list(w);
	}
	return 0;
}

void pod_watch_again(struct pod_watch *w)
{
	if (w && w->state == WATCH_WATCHING)
		wait_for_list(w, 0);
}

/* ---- life --------------------------------------------------------------------------------------- */

int pod_watch_new(sd_event *event, struct kube_client *client, const char *node_name, uint64_t seed,
	const struct pod_watch_ops *ops, void *userdata, struct pod_watch **ret)
{
	CLEAN(pod_watch_freep) struct pod_watch *w = mem_zalloc(sizeof(*w));
	char name[QUERY_MAX - 64];
	int r;

	if (!w)
		return -ENOMEM;
	w->event = sd_event_ref(event);
	w->client = client;
	w->random = seed;
	w->page = PODS_PAGE;
	w->ops = ops;
	w->userdata = userdata;
	if (strlen(node_name) > KUBE_POD_TEXT_MAX)
		return -ENAMETOOLONG;
	(void)str_format(w->selector, sizeof(w->selector), "fieldSelector=spec.nodeName%%3D%s",
		kube_path_part(name, sizeof(name), node_name));
	r = sd_event_add_time_relative(event, &w->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, w);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(w);
	return 0;
}

struct pod_watch *pod_watch_free(struct pod_watch *w)
{
	if (!w)
		return NULL;
	stop_all(w);
	w->timer = sd_event_source_disable_unref(w->timer);
	w->event = sd_event_unref(w->event);
	return mem_free(w);
}
