#include "kube/events.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "kube/text.h"
#include "model/json-write.h"

#define NODE_NAMESPACE "default" /* where Events of nodes live */
#define HASH_DIGITS    16u

enum entry_state {
	ENTRY_NEW,     /* the API has none, as far as is known */
	ENTRY_FOREIGN, /* it has one of before, or should have: to be read */
	ENTRY_SENT,    /* it has this one, perhaps with an older count */
};

struct entry {
	enum entry_state state;
	bool is_of_pod, is_warning, is_critical;
	uint64_t hash; /* of all that makes it this Event */
	char name[KUBE_NAME_MAX + 1];
	uint32_t count, put_count,
		sent_count;        /* happened; in the request under way; known to the API */
	bool is_of_before;         /* `count` has none that the API does not */
	int64_t first_ns, last_ns; /* wall clock */
	uint64_t sent_ns;          /* monotonic */
	uint64_t order;            /* of the last change */
	char *message, *namespace, *pod, *pod_uid, *reason;
};

struct kube_events {
	char *node_name;
	struct entry *entries[EVENTS_MAX];
	uint32_t count;
	struct entry *under_way; /* NULL: none */
	uint64_t order, added, lost;
};

static struct entry *entry_free(struct entry *entry)
{
	if (!entry)
		return NULL;
	entry->message = mem_free(entry->message);
	entry->namespace = mem_free(entry->namespace);
	entry->pod = mem_free(entry->pod);
	entry->pod_uid = mem_free(entry->pod_uid);
	entry->reason = mem_free(entry->reason);
	return mem_free(entry);
}

struct kube_events *kube_events_new(const char *node_name)
{
	struct kube_events *events = mem_zalloc(sizeof(*events));

	if (!events)
		return NULL;
	events->node_name = mem_strdup(node_name);
	return events->node_name ? events : kube_events_free(events);
}

struct kube_events *kube_events_free(struct kube_events *events)
{
	if (!events)
		return NULL;
	for (uint32_t i = 0; i < events->count; i++)
		events->entries[i] = entry_free(events->entries[i]);
	events->node_name = mem_free(events->node_name);
	return mem_free(events);
}

/* ---- what happened ------------------------------------------------------------------------------ */

/* FNV-1a, with a stop behind each text. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
	do
		hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	while (*text++);
	return hash;
}

static uint64_t hash_of(const struct kube_events *events, const struct kube_event *event)
{
	uint64_t hash = hash_text(UINT64_C(0xcbf29ce484222325), events->node_name);

	if (event->is_of_pod) {
		hash = hash_text(hash, str_or_empty(event->namespace));
		hash = hash_text(hash, str_or_empty(event->pod));
		hash = hash_text(hash, str_or_empty(event->pod_uid));
	}
	hash = hash_text(hash, event->reason);
	return hash_text(hash, event->key);
}

static bool is_waiting(const struct entry *entry)
{
	return entry->state != ENTRY_SENT || entry->count != entry->sent_count;
}

static int urgency(const struct entry *entry)
{
	return entry->is_critical ? 2 : entry->is_warning;
}

/* Who gives way sooner: what has been sent, then what is less urgent, then what is older. */
static bool gives_way_to(const struct entry *a, const struct entry *b)
{
	if (is_waiting(a) != is_waiting(b))
		return !is_waiting(a);
	if (is_waiting(a) && urgency(a) != urgency(b))
		return urgency(a) < urgency(b);
	return a->order < b->order;
}

static void drop(struct kube_events *events, uint32_t index)
{
	if (is_waiting(events->entries[index]))
		events->lost++;
	events->entries[index] = entry_free(events->entries[index]);
	events->entries[index] = events->entries[--events->count];
}

static void make_room(struct kube_events *events)
{
	uint32_t first = EVENTS_MAX;

	if (events->count < EVENTS_MAX)
		return;
	for (uint32_t i = 0; i < events->count; i++)
		if (events->entries[i] != events->under_way &&
			(first == EVENTS_MAX ||
				gives_way_to(events->entries[i], events->entries[first])))
			first = i;
	drop(events, first);
}

/* "<object>.<hash>", as the names of Events are made. */
static void make_name(struct entry *entry, const char *object)
{
	static const char digits[] = "0123456789abcdef";
	char hash[HASH_DIGITS + 1] = "";

	for (unsigned i = 0; i < HASH_DIGITS; i++)
		hash[i] = digits[(entry->hash >> (4 * i)) & 15];
	(void)str_format(entry->name, sizeof(entry->name), "%.*s.%s",
		(int)(KUBE_NAME_MAX - 1 - HASH_DIGITS), object, hash);
}

static struct entry *make_entry(
	const struct kube_events *events, const struct kube_event *event, uint64_t hash)
{
	struct entry *entry = mem_zalloc(sizeof(*entry));

	if (!entry)
		return NULL;
	entry->is_of_pod = event->is_of_pod;
	entry->is_warning = event->is_warning;
	entry->is_critical = event->is_critical;
	entry->hash = hash;
	entry->first_ns = event->at_ns;
	entry->is_of_before = event->is_of_before;
	if (event->is_of_before)
		entry->state = ENTRY_FOREIGN;
	make_name(entry, event->is_of_pod ? str_or_empty(event->pod) : events->node_name);
	entry->reason = mem_strdup(event->reason);
	entry->namespace =
		mem_strdup(event->is_of_pod ? str_or_empty(event->namespace) : NODE_NAMESPACE);
	entry->pod = mem_strdup(event->is_of_pod ? str_or_empty(event->pod) : "");
	entry->pod_uid = mem_strdup(event->is_of_pod ? str_or_empty(event->pod_uid) : "");
	if (!entry->reason || !entry->namespace || !entry->pod || !entry->pod_uid)
		return entry_free(entry);
	return entry;
}

static struct entry *find(const struct kube_events *events, uint64_t hash)
{
	for (uint32_t i = 0; i < events->count; i++)
		if (events->entries[i]->hash == hash)
			return events->entries[i];
	return NULL;
}

int kube_events_add(struct kube_events *events, const struct kube_event *event)
{
	uint64_t hash = hash_of(events, event);
	struct entry *entry = find(events, hash);
	char text[KUBE_MESSAGE_MAX + 1];
	char *message = mem_strdup(kube_message(text, event->message));

	if (entry && event->is_of_before) {
		(void)mem_free(message);
		return 0; /* It is known from this run. */
	}
	events->added++;
	if (message && !entry) {
		make_room(events);
		entry = make_entry(events, event, hash);
		if (entry)
			events->entries[events->count++] = entry;
	}
	if (!message || !entry) {
		(void)mem_free(message);
		events->lost++;
		return -ENOMEM;
	}
	(void)mem_free(entry->message);
	entry->message = message;
	if (entry->count < INT32_MAX && !event->is_of_before) /* the API's count is an int32 */
		entry->count++;
	if (event->at_ns < entry->first_ns)
		entry->first_ns = event->at_ns;
	if (event->at_ns > entry->last_ns)
		entry->last_ns = event->at_ns;
	entry->order = ++events->order;
	return 0;
}

/* ---- sending ------------------------------------------------------------------------------------ */

static uint64_t entry_due(const struct entry *entry)
{
	if (!is_waiting(entry))
		return NSEC_NEVER;
	return entry->state == ENTRY_SENT ? time_add(entry->sent_ns, EVENT_AGAIN_NS) : 0;
}

uint64_t kube_events_due(const struct kube_events *events)
{
	uint64_t due_ns = NSEC_NEVER;

	if (events->under_way)
		return NSEC_NEVER;
	for (uint32_t i = 0; i < events->count; i++)
		due_ns = time_min(due_ns, entry_due(events->entries[i]));
	return due_ns;
}

/* What is new, then counts; each by its urgency, and then in the order of its coming. */
static bool goes_before(const struct entry *a, const struct entry *b)
{
	bool a_is_new = a->state != ENTRY_SENT, b_is_new = b->state != ENTRY_SENT;

	if (a_is_new != b_is_new)
		return a_is_new;
	if (urgency(a) != urgency(b))
		return urgency(a) > urgency(b);
	return a->order < b->order;
}

static void put_object(
	struct json_write *w, const struct kube_events *events, const struct entry *entry)
{
	json_write_object(w, "involvedObject");
	json_write_text(w, "apiVersion", "v1");
	json_write_text(w, "kind", entry->is_of_pod ? "Pod" : "Node");
	if (entry->is_of_pod)
		json_write_text(w, "namespace", entry->namespace);
	json_write_text(w, "name", entry->is_of_pod ? entry->pod : events->node_name);
	/* The kubelet's way, and where kubectl describe node looks: a node's name is its uid. */
	json_write_text(w, "uid", entry->is_of_pod ? entry->pod_uid : events->node_name);
	json_write_object_end(w);
}

static void put_count(struct json_write *w, struct entry *entry)
{
	char text[TIME_TEXT_MAX];

	json_write_text(w, "message", entry->message);
	json_write_u64(w, "count", entry->count);
	json_write_text(w, "lastTimestamp", kube_time(text, entry->last_ns));
	entry->put_count = entry->count;
}

static int put_event(const struct kube_events *events, struct entry *entry, struct buf *out)
{
	struct json_write w = JSON_WRITE_INIT(out);
	char text[TIME_TEXT_MAX];

	json_write_object(&w, NULL);
	if (entry->state == ENTRY_NEW) {
		json_write_text(&w, "apiVersion", "v1");
		json_write_text(&w, "kind", "Event");
		json_write_object(&w, "metadata");
		json_write_text(&w, "name", entry->name);
		json_write_text(&w, "namespace", entry->namespace);
		json_write_object_end(&w);
		put_object(&w, events, entry);
		json_write_text(&w, "type", entry->is_warning ? "Warning" : "Normal");
		json_write_text(&w, "reason", entry->reason);
		json_write_text(&w, "firstTimestamp", kube_time(text, entry->first_ns));
		json_write_object(&w, "source");
		json_write_text(&w, "component", "pleg");
		json_write_text(&w, "host", events->node_name);
		json_write_object_end(&w);
		json_write_text(&w, "reportingComponent", "pleg");
		json_write_text(&w, "reportingInstance", events->node_name);
	}
	put_count(&w, entry);
	json_write_object_end(&w);
	return json_write_result(&w);
}

bool kube_events_next(struct kube_events *events, struct now now, struct kube_events_request *ret,
	struct buf *out)
{
	struct entry *next = NULL;

	if (events->under_way)
		return false;
	for (uint32_t i = 0; i < events->count; i++) {
		struct entry *entry = events->entries[i];

		if (entry_due(entry) <= now.mono_ns && (!next || goes_before(entry, next)))
			next = entry;
	}
	if (!next)
		return false;
	*ret = (struct kube_events_request){ EVENT_READ, next->namespace, next->name };
	if (next->state != ENTRY_FOREIGN) {
		ret->step = next->state == ENTRY_NEW ? EVENT_CREATE : EVENT_PATCH;
		if (put_event(events, next, out) < 0)
			return false;
	}
	events->under_way = next;
	return true;
}

static void forget_entry(struct kube_events *events, const struct entry *entry)
{
	for (uint32_t i = 0; i < events->count; i++)
		if (events->entries[i] == entry) {
			drop(events, i);
			return;
		}
}

/* What the API had from before counts, too. */
static void add_counts(struct entry *entry, uint32_t count, int64_t first_ns)
{
	entry->count = count < INT32_MAX - entry->count ? entry->count + count : INT32_MAX;
	if (first_ns > 0 && first_ns < entry->first_ns)
		entry->first_ns = first_ns;
}

void kube_events_answer(struct kube_events *events, enum kube_events_answer answer, uint32_t count,
	int64_t first_ns, struct now now)
{
	struct entry *entry = TAKE_PTR(events->under_way);

	if (!entry)
		return;
	switch (answer) {
	case EVENT_TAKEN:
		if (entry->state == ENTRY_FOREIGN) {
			add_counts(entry, count, first_ns);
			entry->sent_count = entry->is_of_before ? count : 0;
			entry->sent_ns = 0; /* A patch goes at once. */
		} else {
			entry->sent_count = entry->put_count;
			entry->sent_ns = now.mono_ns;
		}
		entry->state = ENTRY_SENT;
		return;
	case EVENT_EXISTS: entry->state = ENTRY_FOREIGN; return;
	case EVENT_GONE:
		entry->state = ENTRY_NEW;
		if (entry->count == 0)
			entry->count = 1;
		return;
	case EVENT_REFUSED: forget_entry(events, entry); return;
	case EVENT_FAILED: return;
	}
}

void kube_events_stats(const struct kube_events *events, struct kube_events_stats *ret)
{
	*ret = (struct kube_events_stats){
		.kept = events->count, .added = events->added, .lost = events->lost
	};
	for (uint32_t i = 0; i < events->count; i++)
		ret->waiting += is_waiting(events->entries[i]);
}
