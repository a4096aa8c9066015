/*
 * A scripted runtime for the PLEG: lists and answers in a few words.
 *
 * A list is text: "p1/s1=r p1/s1/c1=x -/s2=r" is pod p1 with its sandbox s1 running and container c1
 * exited, and a sandbox s2 without a pod UID. States: c created, r running, x exited, u unknown,
 * p paused, t restarting, m removing, d dead, ? one that nobody knows. An id "." is empty. An empty sandbox ("p1//c1=r") is none.
 *
 * Events come back as text too: "c1:Started s1:Died=137 p1:PodSync", "!" before what is initial,
 * "(paused)" behind what has a detail.
 */
#pragma once

#include "unit.h"

#include <stdio.h>

#include "base/mem.h"
#include "pleg/pleg.h"

#define H_ENTRIES_MAX 256
#define H_OPEN_MAX    64
#define MSEC(n)       ((n)*NSEC_PER_MSEC)
#define SEC(n)        ((n)*NSEC_PER_SEC)

struct h_entry {
	char pod[32], sandbox[32], container[32];
	char state;
	int64_t created;
};

struct h_source {
	struct list_source source;
	struct h_entry entries[H_ENTRIES_MAX];
	size_t count, at;
	bool backwards;
};

/* How inspections of one id are answered, unless as the last list says. */
struct h_rule {
	char id[32];
	char state; /* 0: as listed; also n not found, f fails, l lost, h hangs */
	int32_t exit_code;
	const char *ip;
};

struct h {
	struct pleg *pleg;
	struct now now;
	struct h_source last;
	struct h_rule rules[16];
	size_t rule_count;
	struct pleg_request open[H_OPEN_MAX]; /* that nobody has answered, ids copied */
	char ids[H_OPEN_MAX][32], pods[H_OPEN_MAX][32], sandboxes[H_OPEN_MAX][32];
	size_t open_count;
	char events[8192];
	struct event *event; /* the last one fetched */
};

#define H_UNUSED __attribute__((unused))

static enum container_state h_state(char letter)
{
	switch (letter) {
	case 'c': return CONTAINER_CREATED;
	case 'r': return CONTAINER_RUNNING;
	case 'x': return CONTAINER_EXITED;
	case 'p': return CONTAINER_RUNNING;
	case 't':
	case 'm':
	case 'd': return CONTAINER_EXITED;
	case 'u': return CONTAINER_UNKNOWN;
	default: return (enum container_state)99;
	}
}

static enum container_detail h_detail(char letter)
{
	switch (letter) {
	case 'p': return CONTAINER_PAUSED;
	case 't': return CONTAINER_RESTARTING;
	case 'm': return CONTAINER_REMOVING;
	case 'd': return CONTAINER_DEAD;
	default: return CONTAINER_PLAIN;
	}
}

static struct h_entry *h_source_entry(struct h_source *s)
{
	if (s->at == s->count)
		return NULL;
	return &s->entries[s->backwards ? s->count - 1 - s->at++ : s->at++];
}

static const char *h_id(const struct h_entry *e)
{
	const char *id = e->container[0] ? e->container : e->sandbox;

	return str_eq(id, ".") ? "" : id;
}

static bool h_next(struct list_source *source, struct list_entry *ret)
{
	struct h_entry *e = h_source_entry((struct h_source *)source);

	if (!e)
		return false;
	*ret = (struct list_entry){
		.kind = e->container[0] ? CONTAINER_KIND_CONTAINER : CONTAINER_KIND_SANDBOX,
		.state = h_state(e->state),
		.detail = h_detail(e->state),
		.id = SLICE(h_id(e)),
		.raw = { (const char *)e, sizeof(*e) },
	};
	if (e->container[0])
		ret->sandbox_id = SLICE(e->sandbox);
	return true;
}

static void h_describe(
	struct list_source *source, const struct list_entry *entry, struct container_identity *ret)
{
	const struct h_entry *e = (const struct h_entry *)(const void *)entry->raw.data;

	(void)source;
	*ret = (struct container_identity){
		.namespace = SLICE("ns"),
		.pod = SLICE("pod"),
		.created_at_ns = e->created,
	};
	if (!str_eq(e->pod, "-")) {
		ret->pod = SLICE(e->pod);
		ret->pod_uid = SLICE(e->pod);
	}
	if (e->container[0])
		ret->container = SLICE(e->container);
}

static void h_parse(struct h_source *s, const char *text)
{
	int used = 0;

	*s = (struct h_source){ .source = { h_next, h_describe } };
	for (; *(text += strspn(text, " "));) {
		struct h_entry *e = &s->entries[s->count];
		char path[96], *slash;

		assert_true(s->count < H_ENTRIES_MAX);
		assert_int_equal(sscanf(text, "%90[^=]=%c%n", path, &e->state, &used), 2);
		text += used;
		slash = strchr(path, '/');
		assert_non_null(slash);
		*slash++ = '\0';
		(void)snprintf(e->pod, sizeof(e->pod), "%s", path);
		if (strchr(slash, '/')) {
			(void)snprintf(
				e->container, sizeof(e->container), "%s", strchr(slash, '/') + 1);
			*strchr(slash, '/') = '\0';
		}
		(void)snprintf(e->sandbox, sizeof(e->sandbox), "%s", slash);
		e->created = (int64_t)++s->count;
	}
}

static const struct h_entry *h_listed(struct h *h, const char *id)
{
	for (size_t i = 0; i < h->last.count; i++)
		if (str_eq(h_id(&h->last.entries[i]), id))
			return &h->last.entries[i];
	return NULL;
}

static void h_init_config(struct h *h, const struct pleg_config *config)
{
	*h = (struct h){ .now = { .mono_ns = SEC(1000), .real_ns = (int64_t)SEC(5000) } };
	ASSERT_OK(pleg_new(config, h->now, &h->pleg));
}

static H_UNUSED void h_init(struct h *h)
{
	h_init_config(h, &PLEG_CONFIG_DEFAULT);
}

static H_UNUSED void h_done(struct h *h)
{
	h->event = event_free(h->event);
	h->pleg = pleg_free(h->pleg);
}

static H_UNUSED void h_wait(struct h *h, uint64_t ns)
{
	h->now.mono_ns += ns;
	h->now.real_ns += (int64_t)ns;
	pleg_on_tick(h->pleg, h->now);
}

/* From now on inspections of `id` are answered so. */
static H_UNUSED struct h_rule *h_rule(struct h *h, const char *id, char state, int32_t exit_code)
{
	struct h_rule *rule = NULL;

	for (size_t i = 0; i < h->rule_count; i++)
		if (str_eq(h->rules[i].id, id))
			rule = &h->rules[i];
	if (!rule) {
		assert_true(h->rule_count < ELEMENTS(h->rules));
		rule = &h->rules[h->rule_count++];
		(void)snprintf(rule->id, sizeof(rule->id), "%s", id);
	}
	rule->state = state;
	rule->exit_code = exit_code;
	return rule;
}

/* Fetches every request there is. */
static void h_fetch(struct h *h)
{
	struct pleg_request request;

	while (pleg_next_request(h->pleg, &request)) {
		size_t i = h->open_count++;

		assert_true(i < H_OPEN_MAX);
		assert_true(request.token != 0);
		(void)snprintf(h->ids[i], sizeof(h->ids[i]), "%s", request.id);
		(void)snprintf(h->pods[i], sizeof(h->pods[i]), "%s", request.pod_uid);
		(void)snprintf(h->sandboxes[i], sizeof(h->sandboxes[i]), "%s", request.sandbox_id);
		h->open[i] = request;
	}
}

static void h_forget(struct h *h, size_t i)
{
	h->open_count--;
	for (; i < h->open_count; i++) {
		h->open[i] = h->open[i + 1];
		memcpy(h->ids[i], h->ids[i + 1], sizeof(h->ids[i]));
		memcpy(h->pods[i], h->pods[i + 1], sizeof(h->pods[i]));
		memcpy(h->sandboxes[i], h->sandboxes[i + 1], sizeof(h->sandboxes[i]));
	}
}

/* The open request of this type and, if not NULL, subject (id of an inspection, pod UID or sandbox
 * of a pod's list); -1 if there is none. */
static int h_find(struct h *h, enum pleg_request_type type, const char *subject)
{
	h_fetch(h);
	for (size_t i = 0; i < h->open_count; i++) {
		if (h->open[i].type != type)
			continue;
		if (!subject || str_eq(subject, h->ids[i]) ||
			(type == PLEG_REQUEST_LIST_POD &&
				(str_eq(subject, h->pods[i]) || str_eq(subject, h->sandboxes[i]))))
			return (int)i;
	}
	return -1;
}

/* Takes the token of an open request; fails if there is none. */
static uint64_t h_take(struct h *h, enum pleg_request_type type, const char *subject)
{
	int i = h_find(h, type, subject);
	uint64_t token;

	if (i < 0)
		fail_msg("no open request of type %d for %s", type, subject ? subject : "any");
	token = h->open[i].token;
	h_forget(h, (size_t)i);
	return token;
}

static H_UNUSED size_t h_count(struct h *h, enum pleg_request_type type)
{
	size_t n = 0;

	h_fetch(h);
	for (size_t i = 0; i < h->open_count; i++)
		n += h->open[i].type == type;
	return n;
}

/* Answers an inspection call by the rules; false if it hangs. */
static H_UNUSED bool h_inspect(struct h *h, uint64_t token, const char *id)
{
	const struct h_entry *e = h_listed(h, id);
	struct container_status status = { .id = id, .created_at_ns = 1, .image = "image:1" };
	struct h_rule *rule = NULL;
	char state = e ? e->state : 'n';

	for (size_t i = 0; i < h->rule_count; i++)
		if (str_eq(h->rules[i].id, id))
			rule = &h->rules[i];
	if (rule && rule->state)
		state = rule->state;
	switch (state) {
	case 'h': return false;
	case 'n':
		pleg_on_failed(h->pleg, token, PLEG_FAILURE_NOT_FOUND, "not found", h->now);
		return true;
	case 'f':
		pleg_on_failed(h->pleg, token, PLEG_FAILURE_ERROR, "it hurts", h->now);
		return true;
	case 'l': pleg_on_failed(h->pleg, token, PLEG_FAILURE_LOST, "lost", h->now); return true;
	default: break;
	}
	status.kind = e && !e->container[0] ? CONTAINER_KIND_SANDBOX : CONTAINER_KIND_CONTAINER;
	status.state = h_state(state);
	status.detail = h_detail(state);
	status.started_at_ns = state == 'c' ? 0 : 100;
	if (status.state == CONTAINER_EXITED) {
		status.finished_at_ns = 200;
		status.has_exit_code = status.kind == CONTAINER_KIND_CONTAINER;
		status.exit_code = rule ? rule->exit_code : 0;
	}
	if (rule && rule->ip) {
		status.ips = &rule->ip;
		status.ip_count = 1;
	}
	pleg_on_inspect(h->pleg, token, &status, h->now);
	return true;
}

/* Answers every inspection by the rules, until there are none but such that hang. */
static H_UNUSED void h_inspect_all(struct h *h)
{
	for (size_t i = 0; h_fetch(h), i < h->open_count;) {
		char id[32];

		memcpy(id, h->ids[i], sizeof(id));
		if (h->open[i].type == PLEG_REQUEST_INSPECT && h_inspect(h, h->open[i].token, id)) {
			h_forget(h, i);
			i = 0;
		} else {
			i++;
		}
	}
}

/* What was told since the last call. */
static H_UNUSED const char *h_events(struct h *h)
{
	size_t len = 0;
	struct event *event;

	h->events[0] = '\0';
	while ((event = pleg_next_event(h->pleg))) {
		const char *type = event_type_text(event->type);
		const char *what =
			event->type == EVENT_POD_SYNC ? event->pod_uid : event->container_id;

		assert_int_equal(event_is_kubelets(event), event->type != EVENT_CONTAINER_CHANGED);
		assert_true(event->observed_at_ns > 0);
		len += (size_t)snprintf(h->events + len, sizeof(h->events) - len, "%s%s%s:%s",
			len ? " " : "", event->initial ? "!" : "", what,
			str_after(type, "Container") ? str_after(type, "Container") : type);
		if (event->has_exit_code)
			len += (size_t)snprintf(
				h->events + len, sizeof(h->events) - len, "=%d", event->exit_code);
		if (event->detail != CONTAINER_PLAIN)
			len += (size_t)snprintf(h->events + len, sizeof(h->events) - len, "(%s)",
				container_detail_text(event->detail));
		(void)event_free(h->event);
		h->event = event;
	}
	return h->events;
}

#define H_EVENTS(h, text) assert_string_equal(h_events(h), text)

/* Lets the LIST begin that is due within the next period; its token. */
static H_UNUSED uint64_t h_begin_list(struct h *h)
{
	uint64_t due = pleg_next_due(h->pleg);

	while (h_find(h, PLEG_REQUEST_LIST, NULL) < 0) {
		assert_true(due != NSEC_NEVER);
		h_wait(h, due > h->now.mono_ns ? due - h->now.mono_ns : 0);
		due = pleg_next_due(h->pleg);
	}
	return h_take(h, PLEG_REQUEST_LIST, NULL);
}

static H_UNUSED void h_end_list(struct h *h, uint64_t token, const char *list)
{
	h_parse(&h->last, list);
	pleg_on_list(h->pleg, token, &h->last.source, h->now);
}

/* One relist with all inspections answered; what it told. */
static H_UNUSED const char *h_relist(struct h *h, const char *list)
{
	h_end_list(h, h_begin_list(h), list);
	h_inspect_all(h);
	return h_events(h);
}

#define H_RELIST(h, list, text) assert_string_equal(h_relist(h, list), text)

static H_UNUSED struct pleg_pod h_pod(struct h *h, const char *uid)
{
	struct pleg_pod pod;

	if (!pleg_find_pod(h->pleg, uid, &pod))
		fail_msg("no pod %s", uid);
	return pod;
}

static H_UNUSED const struct container_status *h_status(
	struct h *h, const char *uid, const char *id)
{
	struct pleg_pod pod = h_pod(h, uid);

	for (size_t i = 0; i < pod.container_count; i++)
		if (str_eq(pod.containers[i].id, id))
			return pod.containers[i].status;
	fail_msg("no container %s", id);
	return NULL;
}
