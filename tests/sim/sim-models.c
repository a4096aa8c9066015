/*
 * Small models of what is not PLEG's own: its health, the node's verdict and the sync loop, written
 * from docs/internals, the headers' contracts and the kubelet's runtimeState, and compared with the real
 * ones after every step. They share no code with them and are allowed to be slow.
 */
#include "sim.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define READERS_MAX 8
#define HOUR_NS     (3600 * NSEC_PER_SEC)
#define FLAPS_MAX   4096

/* What a sequence number stands for. */
struct record {
	uint64_t fingerprint;
	bool dropped, kubelets;
	char namespace[16], pod_uid[16], pod[16], id[16];
};

struct reader {
	struct sync_subscriber *subscriber;
	uint64_t next;
	uint32_t filter; /* 0: all, 1: kubelet only, 2: a namespace, 3: a pod */
	char name[16];
};

struct models {
	/* health */
	bool listed, unhealthy;
	uint64_t list_started_ns;
	/* node */
	bool ready, was_ready, calm;
	uint64_t calm_since_ns;
	uint64_t flaps[FLAPS_MAX];
	uint32_t flap_count;
	bool good_status;
	uint64_t good_status_ns;
	uint64_t transitions;
	/* sync */
	struct record *records;
	uint64_t record_count, record_cap;
	uint64_t open_deaths[SUBJECTS]; /* sequence of the open provisional one */
	struct reader readers[READERS_MAX];
};

size_t models_own_bytes(const struct sim *sim)
{
	return sim->models->record_cap * sizeof(*sim->models->records);
}

struct models *models_new(void)
{
	return mem_zalloc(sizeof(struct models));
}

struct models *models_free(struct models *models)
{
	if (models)
		(void)mem_free(models->records);
	return mem_free(models);
}

int models_begin(struct sim *sim)
{
	struct models *m = sim->models;
	struct record *records = m->records;
	uint64_t cap = m->record_cap;
	struct node_config config = NODE_CONFIG_DEFAULT;
	int r;

	*m = (struct models){ .records = records, .record_cap = cap };
	r = sync_loop_new("sim", sim->profile.history_max, &sim->sync);
	if (r < 0)
		return r;
	return node_new(&config, sim->now, &sim->node);
}

void models_end(struct sim *sim)
{
	for (uint32_t i = 0; i < READERS_MAX; i++)
		sync_unsubscribe(sim->models->readers[i].subscriber);
	sim->node = node_free(sim->node);
	sim->sync = sync_loop_free(sim->sync);
}

/* ---- PLEG's health: the kubelet's rule ---------------------------------------------------------- */

void models_on_list(struct sim *sim, const struct sim_call *call)
{
	if (call->type != PLEG_REQUEST_LIST || call->late)
		return;
	sim->models->listed = true;
	sim->models->list_started_ns = call->started_ns;
}

static void models_health(struct sim *sim, const struct pleg_health *health)
{
	struct models *m = sim->models;
	uint64_t age = sim->now.mono_ns - m->list_started_ns;
	bool healthy = m->listed && age <= sim->profile.pleg.relist_threshold_ns;
	char ago[TIME_TEXT_MAX], threshold[TIME_TEXT_MAX], message[160] = "";

	if (!m->listed) {
		(void)snprintf(message, sizeof(message), "pleg has yet to be successful");
		sim_cover(sim, COVER_UNHEALTHY_NEVER);
	} else if (!healthy) {
		(void)snprintf(message, sizeof(message),
			"pleg was last seen active %s ago; threshold is %s",
			time_format_go(ago, age),
			time_format_go(threshold, sim->profile.pleg.relist_threshold_ns));
		sim_cover(sim, COVER_UNHEALTHY_OLD);
	} else if (m->unhealthy) {
		sim_cover(sim, COVER_HEALTHY_AGAIN);
	}
	m->unhealthy = m->listed && !healthy;
	if (health->healthy != healthy || strcmp(health->message, message) != 0)
		sim_fail(sim, "health", "healthy %d '%s', but it should be %d '%s'",
			health->healthy, health->message, healthy, message);
	else if (health->has_listed != m->listed)
		sim_fail(sim, "health", "has_listed is %d", health->has_listed);
	else if (m->listed && health->last_relist_age_ns != age)
		sim_fail(sim, "health", "Age of the last list is %llu, but should be %llu",
			(unsigned long long)health->last_relist_age_ns, (unsigned long long)age);
}

/* ---- the node's verdict ---------------------------------------------------------------------------- */

struct verdict {
	char texts[8][320];
	uint32_t count;
};

#define VERDICT(verdict, ...)                                                                      \
	(void)snprintf(                                                                            \
		(verdict)->texts[(verdict)->count++], sizeof((verdict)->texts[0]), __VA_ARGS__)

static void models_verdict(struct sim *sim, const struct node_facts *facts, struct verdict *v)
{
	struct models *m = sim->models;
	char age[TIME_TEXT_MAX];

	if (facts->status_seen && facts->runtime_ready &&
		sim->status_last_started_ns >= m->good_status_ns) {
		m->good_status = true;
		m->good_status_ns = sim->status_last_started_ns;
	}
	if (!m->good_status) {
		VERDICT(v, "container runtime status check may not have completed yet");
		sim_cover(sim, COVER_NOT_READY_NO_STATUS);
	} else if (sim->now.mono_ns >= m->good_status_ns + 30 * NSEC_PER_SEC) {
		VERDICT(v, "container runtime is down");
		sim_cover(sim, COVER_NOT_READY_RUNTIME_DOWN);
	}
	if (!facts->pleg_healthy) {
		VERDICT(v, "PLEG is not healthy: %s", facts->pleg_message);
		sim_cover(sim, COVER_NOT_READY_PLEG);
	}
	if (!facts->status_seen)
		VERDICT(v, "network state unknown");
	if (facts->status_seen && !facts->runtime_ready) {
		VERDICT(v, "container runtime not ready: RuntimeReady=false reason:R message:M");
		sim_cover(sim, COVER_NOT_READY_RUNTIME);
	}
	if (facts->status_seen && !facts->network_ready) {
		VERDICT(v,
			"container runtime network not ready: NetworkReady=false reason:N "
			"message:O");
		sim_cover(sim, COVER_NOT_READY_NETWORK);
	}
	/* More than a fifth, and three at least. */
	if (facts->quarantined >= 3 && facts->quarantined * 5 > facts->pods) {
		VERDICT(v,
			"container inspections are not healthy: %u of %u pods do not answer: them",
			facts->quarantined, facts->pods);
		sim_cover(sim, COVER_NOT_READY_QUARANTINE);
	}
	if (facts->inspections_starved) {
		VERDICT(v,
			"container inspections are not healthy: due for %s and none has succeeded",
			time_format_go(age,
				facts->inspections_starved_age_ns / NSEC_PER_SEC * NSEC_PER_SEC));
		sim_cover(sim, COVER_NOT_READY_STARVED);
	}
}

static uint64_t models_calm(struct sim *sim, uint32_t *ret_flaps)
{
	struct models *m = sim->models;
	uint32_t flaps = 0;
	uint64_t calm = 10 * NSEC_PER_SEC;

	for (uint32_t i = 0; i < m->flap_count; i++)
		flaps += m->flaps[i] + HOUR_NS > sim->now.mono_ns;
	for (uint32_t i = 1; i < flaps; i++)
		calm = calm * 2 > 300 * NSEC_PER_SEC ? 300 * NSEC_PER_SEC : calm * 2;
	*ret_flaps = flaps;
	return calm;
}

/* NotReady at once, Ready after a calm; the very first Ready asks for none. */
static void models_damp(struct sim *sim, bool good, uint64_t *ret_wanted, uint32_t *ret_flaps)
{
	struct models *m = sim->models;
	uint64_t now = sim->now.mono_ns, calm;
	bool ready = good;

	if (good && !m->calm)
		m->calm_since_ns = now;
	m->calm = good;
	calm = models_calm(sim, ret_flaps);
	*ret_wanted = 0;
	if (good && !m->ready && m->was_ready && now - m->calm_since_ns < calm) {
		ready = false;
		*ret_wanted = calm;
		sim_cover(sim, COVER_READY_HELD_BACK);
		if (*ret_flaps > 1)
			sim_cover(sim, COVER_CALM_DOUBLED);
	}
	if (m->ready && !ready) {
		assert(m->flap_count < FLAPS_MAX);
		m->flaps[m->flap_count++] = now;
		(void)models_calm(sim, ret_flaps);
	}
	if (!m->ready && ready && m->was_ready)
		sim_cover(sim, COVER_READY_AGAIN);
	m->transitions += m->ready != ready;
	m->ready = ready;
	m->was_ready |= ready;
}

static void models_message(const struct models *m, const struct verdict *v, char text[2048],
	const struct node_status *status)
{
	size_t used = 0;

	if (v->count == 0 && m->ready) {
		(void)snprintf(text, 2048, "kubelet is posting ready status");
	} else if (v->count == 0) { /* held back: the wording is the node's own matter */
		(void)snprintf(text, 2048, "%s", status->message);
	} else if (v->count == 1) {
		(void)snprintf(text, 2048, "%s", v->texts[0]);
	} else {
		for (uint32_t i = 0; i < v->count; i++)
			used += (size_t)snprintf(
				text + used, 2048 - used, "%s%s", i ? ", " : "[", v->texts[i]);
		(void)snprintf(text + used, 2048 - used, "]");
	}
}

static void models_node(struct sim *sim, const struct node_facts *facts)
{
	struct models *m = sim->models;
	struct verdict v = { .count = 0 };
	bool stalled, degraded;
	struct node_status status;
	uint64_t wanted;
	uint32_t flaps;
	char message[2048];

	models_verdict(sim, facts, &v);
	models_damp(sim, v.count == 0, &wanted, &flaps);
	stalled = facts->oldest_call && facts->oldest_call->age_ns >= 2 * NSEC_PER_SEC;
	degraded = m->ready && (stalled || facts->quarantined > 0);
	if (stalled)
		sim_cover(sim, COVER_STALLED);
	if (degraded)
		sim_cover(sim, COVER_DEGRADED);

	(void)node_update(sim->node, facts, sim->now);
	node_status(sim->node, &status);
	models_message(m, &v, message, &status);
	if (status.ready != m->ready || status.ready_undamped != (v.count == 0))
		sim_fail(sim, "node-ready",
			"ready %d, undamped %d, but should be %d, %d (%s; held for %llu)",
			status.ready, status.ready_undamped, m->ready, v.count == 0, message,
			(unsigned long long)wanted);
	else if (strcmp(status.message, message) != 0)
		sim_fail(sim, "node-message", "'%s', but should be '%s'", status.message, message);
	else if (strcmp(status.reason, m->ready ? "KubeletReady" : "KubeletNotReady") != 0)
		sim_fail(sim, "node-message", "Reason '%s'", status.reason);
	else if (status.degraded != degraded || status.stalled != stalled)
		sim_fail(sim, "node-degraded", "degraded %d stalled %d, but should be %d %d",
			status.degraded, status.stalled, degraded, stalled);
	else if (status.calm_wanted_ns != wanted || status.flaps != (flaps < 64 ? flaps : 64))
		sim_fail(sim, "node-damping",
			"Calm wanted %llu after %u flaps, but should be %llu after %u",
			(unsigned long long)status.calm_wanted_ns, status.flaps,
			(unsigned long long)wanted, flaps);
	else if (status.transitions != m->transitions)
		sim_fail(sim, "node-damping", "%llu transitions, but should be %llu",
			(unsigned long long)status.transitions, (unsigned long long)m->transitions);
}

void models_step(struct sim *sim)
{
	struct pleg_health health;
	struct node_call call = { "List", "", 0 };
	struct node_facts facts;
	bool any = false;

	pleg_health(sim->pleg, sim->now, &health);
	models_health(sim, &health);
	oracle_check_health(sim, &health);
	if (sim->failed)
		return;
	for (uint32_t i = 0; i < sim->call_count; i++) {
		uint64_t age = sim->now.mono_ns - sim->calls[i].started_ns;

		if (!sim->calls[i].open)
			continue;
		any = true;
		call.age_ns = age > call.age_ns ? age : call.age_ns;
	}
	if (sim->status_open) {
		uint64_t age = sim->now.mono_ns - sim->status_started_ns;

		any = true;
		call.age_ns = age > call.age_ns ? age : call.age_ns;
	}
	facts = (struct node_facts){
		.pleg_healthy = health.healthy,
		.pleg_message = health.message,
		.pods = health.pods,
		.quarantined = health.quarantined,
		.inspections_starved = health.inspections_starved,
		.inspections_starved_age_ns = health.inspections_starved_age_ns,
		.quarantined_names = "them",
		.status_seen = sim->status_seen,
		.status_age_ns =
			sim->status_seen ? sim->now.mono_ns - sim->status_last_started_ns : 0,
		.runtime_condition = true,
		.runtime_ready = sim->runtime_condition_ready,
		.runtime_reason = "R",
		.runtime_message = "M",
		.network_condition = true,
		.network_ready = sim->network_condition_ready,
		.network_reason = "N",
		.network_message = "O",
		.link_failure = "",
		.oldest_call = any ? &call : NULL,
	};
	models_node(sim, &facts);
}

/* ---- the sync loop ------------------------------------------------------------------------------------- */

static uint64_t event_fingerprint(const struct event *event)
{
	uint64_t h = (uint64_t)event->type * 8 + event->kind * 4 + event->confirmed * 2 +
		event->has_exit_code;

	h = rng_mix(h ^ ((uint64_t)(uint32_t)event->exit_code << 32));
	for (const char *s = event->container_id; *s; s++)
		h = rng_mix(h + (uint8_t)*s);
	return h ? h : 1;
}

static struct record *models_record(struct sim *sim)
{
	struct models *m = sim->models;

	if (m->record_count == m->record_cap) {
		uint64_t cap = m->record_cap ? m->record_cap * 2 : 1024;
		void *grown = mem_resize(m->records, cap, sizeof(*m->records));

		assert(grown);
		m->records = grown;
		m->record_cap = cap;
	}
	m->records[m->record_count] = (struct record){ .dropped = true };
	return &m->records[m->record_count++];
}

void models_on_event(struct sim *sim, const struct event *event)
{
	struct models *m = sim->models;
	struct record *record = models_record(sim);
	uint64_t sequence = m->record_count, confirms = 0;

	record->dropped = false;
	record->fingerprint = event_fingerprint(event);
	record->kubelets = event->confirmed && event->source == EVENT_SOURCE_RELIST &&
		event->type != EVENT_CONTAINER_CHANGED;
	(void)snprintf(record->namespace, sizeof(record->namespace), "%s", event->namespace);
	(void)snprintf(record->pod_uid, sizeof(record->pod_uid), "%s", event->pod_uid);
	(void)snprintf(record->pod, sizeof(record->pod), "%s", event->pod);
	if (event->type == EVENT_CONTAINER_DIED || event->type == EVENT_CONTAINER_REMOVED) {
		uint64_t *open = &m->open_deaths[sim_subject(sim, event->container_id)];

		if (event->confirmed) {
			confirms = event->type == EVENT_CONTAINER_DIED ? *open : 0;
			*open = 0;
		} else {
			*open = sequence;
		}
	}
	if (confirms)
		sim_cover(sim, COVER_SYNC_CONFIRMS);
	if (sync_loop_add(sim->sync, (struct event *)event) < 0)
		sim_fail(sim, "sync-sequence", "sync_loop_add failed");
	else if (event->sequence != sequence || sync_loop_last(sim->sync) != sequence)
		sim_fail(sim, "sync-sequence", "Sequence %llu, but should be %llu",
			(unsigned long long)event->sequence, (unsigned long long)sequence);
	else if (event->confirms != confirms)
		sim_fail(sim, "sync-confirms", "Confirms %llu, but should confirm %llu",
			(unsigned long long)event->confirms, (unsigned long long)confirms);
}

/* The kernel tells of a death before the runtime does; now and then there is no memory for it. */
void models_provisional(struct sim *sim, uint32_t container)
{
	struct event fields = { .type = EVENT_CONTAINER_DIED, .source = EVENT_SOURCE_KERNEL };
	struct event *event;

	if (container == sim->world.container_count) {
		(void)models_record(sim);
		if (sync_loop_add(sim->sync, NULL) != -12 ||
			sync_loop_last(sim->sync) != sim->models->record_count)
			sim_fail(sim, "sync-sequence",
				"A dropped event does not use up its sequence");
		return;
	}
	fields.container_id = sim->world.containers[container].id;
	fields.kind = sim->world.containers[container].kind;
	event = event_new(&fields);
	assert(event);
	models_on_event(sim, event);
}

static bool reader_wants(const struct reader *reader, const struct record *record)
{
	switch (reader->filter) {
	case 1: return record->kubelets;
	case 2: return strcmp(reader->name, record->namespace) == 0;
	case 3:
		return strcmp(reader->name, record->pod) == 0 ||
			strcmp(reader->name, record->pod_uid) == 0;
	default: return true;
	}
}

/* One sync_next() against what the history holds. Returns false when there was nothing. */
static bool reader_read(struct sim *sim, struct reader *reader)
{
	struct models *m = sim->models;
	uint64_t keep = sim->profile.history_max, missed = 0, s = reader->next, got_missed = 0;
	const struct event *event = NULL;
	enum sync_next next = sync_next(reader->subscriber, &event, &got_missed);

	for (; s <= m->record_count; s++) {
		const struct record *record = &m->records[s - 1];

		if (s + keep <= m->record_count || record->dropped)
			missed++;
		else if (reader_wants(reader, record))
			break;
	}
	reader->next = s;
	if (missed > 0) {
		sim_cover(sim, COVER_SYNC_MISSED);
		if (next != SYNC_MISSED || got_missed != missed)
			sim_fail(sim, "sync-missed",
				"Reader was told %d, missed %llu, but missed %llu", next,
				(unsigned long long)got_missed, (unsigned long long)missed);
		return true;
	}
	if (s > m->record_count) {
		if (next != SYNC_NONE)
			sim_fail(sim, "sync-order", "Reader got %d where nothing is left", next);
		return false;
	}
	reader->next = s + 1;
	if (next != SYNC_EVENT || event->sequence != s ||
		event_fingerprint(event) != m->records[s - 1].fingerprint)
		sim_fail(sim, "sync-order", "Reader got %d, sequence %llu, but %llu is next", next,
			next == SYNC_EVENT ? (unsigned long long)event->sequence : 0,
			(unsigned long long)s);
	return true;
}

static void reader_new(struct sim *sim, struct reader *reader, const struct sim_op *op)
{
	struct sync_filter filter = { 0 };
	uint64_t last = sim->models->record_count, from = op->b % 3 ? op->b % (last + 2) : 0;

	reader->filter = op->c % 4;
	if (reader->filter == 1)
		filter.kubelet_only = true;
	if (reader->filter == 2) {
		(void)snprintf(reader->name, sizeof(reader->name), "ns%u", op->c / 4 % 3);
		filter.namespace = reader->name;
	}
	if (reader->filter == 3) {
		(void)snprintf(reader->name, sizeof(reader->name), "%c%u", op->b % 2 ? 'u' : 'p',
			op->c / 4 % (sim->world.pod_count + 1));
		filter.pod = reader->name;
	}
	if (reader->filter)
		sim_cover(sim, COVER_SYNC_FILTERED);
	if (sync_subscribe(sim->sync, &filter, from, &reader->subscriber) < 0)
		sim_fail(sim, "sync-order", "sync_subscribe failed");
	reader->next = from == 0 ? last + 1 : from;
}

void models_reader(struct sim *sim, const struct sim_op *op)
{
	struct reader *reader = &sim->models->readers[op->a % READERS_MAX];

	if (op->kind == OP_READER_FREE) {
		reader->subscriber = sync_unsubscribe(reader->subscriber);
	} else if (!reader->subscriber) {
		reader_new(sim, reader, op);
	} else {
		for (uint32_t n = op->b % 40 + 1; n > 0 && !sim->failed; n--)
			if (!reader_read(sim, reader))
				break;
	}
}

void models_check_final(struct sim *sim)
{
	struct sync_stats stats;

	for (uint32_t i = 0; i < READERS_MAX; i++)
		while (sim->models->readers[i].subscriber && !sim->failed &&
			reader_read(sim, &sim->models->readers[i]))
			;
	sync_stats(sim->sync, &stats);
	if (!sim->failed && stats.events != sim->models->record_count)
		sim_fail(sim, "sync-sequence", "%llu events counted of %llu",
			(unsigned long long)stats.events,
			(unsigned long long)sim->models->record_count);
}
