#include "trace/subject.h"

#include <errno.h>
#include <stdio.h>

int subject_parse(const char *text, struct subject_query *ret, struct err *reterr)
{
	struct subject_query q = { 0 };
	size_t len = strlen(text), count = 1;
	char *at;

	if (len == 0 || len >= sizeof(q.text) || !str_is_printable(text, len))
		return err_set(reterr, -EINVAL, "That cannot name a container");
	memcpy(q.text, text, len + 1);
	*ret = q;
	memcpy(ret->parts, text, len + 1);
	ret->container = ret->parts;
	for (at = ret->parts; (at = strchr(at, '/')) != NULL; count++) {
		*at++ = '\0';
		ret->namespace = ret->pod;
		ret->pod = ret->container;
		ret->container = at;
	}
	if (count > 3 || ret->container[0] == '\0' || (ret->pod && ret->pod[0] == '\0') ||
		(ret->namespace && ret->namespace[0] == '\0'))
		return err_set(reterr, -EINVAL,
			"'%s' is neither an id nor namespace/pod/container, pod/container or "
			"container",
			text);
	ret->may_be_id = count == 1;
	return 0;
}

static void copy(char *out, size_t size, struct slice s)
{
	(void)str_clean(out, size, s.data, s.len);
}

static bool is_text(struct slice s, const char *text)
{
	return slice_eq(s, (struct slice){ text, strlen(text) });
}

/* 0: does not fit, 1: by name, 2: the beginning of its id, 3: its id. */
static unsigned fits(const struct subject_query *query, const struct list_entry *entry,
	const struct container_identity *who)
{
	size_t len = strlen(query->container);

	if (query->may_be_id && is_text(entry->id, query->container))
		return 3;
	if (query->may_be_id && len >= SUBJECT_PREFIX_MIN && entry->id.len > len &&
		memcmp(entry->id.data, query->container, len) == 0)
		return 2;
	if (entry->kind == CONTAINER_KIND_SANDBOX || !is_text(who->container, query->container))
		return 0;
	if (query->pod && !is_text(who->pod, query->pod))
		return 0;
	return !query->namespace || is_text(who->namespace, query->namespace);
}

/* The name of its pod, alone or behind its namespace. */
static bool is_in_pod(const struct subject_query *query, const struct list_entry *entry,
	const struct container_identity *who)
{
	if (entry->kind == CONTAINER_KIND_SANDBOX || query->namespace ||
		!is_text(who->pod, query->container))
		return false;
	return !query->pod || is_text(who->namespace, query->pod);
}

static void fill(struct trace_subject *out, const struct list_entry *entry,
	const struct container_identity *who)
{
	*out = (struct trace_subject){ .kind = entry->kind,
		.state = entry->state,
		.detail = entry->detail,
		.is_listed = true };
	copy(out->id, sizeof(out->id), entry->id);
	copy(out->sandbox_id, sizeof(out->sandbox_id), entry->sandbox_id);
	copy(out->namespace, sizeof(out->namespace), who->namespace);
	copy(out->pod, sizeof(out->pod), who->pod);
	copy(out->pod_uid, sizeof(out->pod_uid), who->pod_uid);
	copy(out->container, sizeof(out->container), who->container);
}

static void add_candidate(struct subject_match *m, const struct trace_subject *s)
{
	size_t len = strlen(m->candidates.text);

	if (m->others >= SUBJECT_CANDIDATES_MAX)
		return;
	(void)snprintf(m->candidates.text + len, sizeof(m->candidates.text) - len,
		"%s%s/%s%s%s (%.12s)", len > 0 ? ", " : "", s->namespace, s->pod,
		s->container[0] ? "/" : "", s->container, s->id);
}

/* One container of a pod that was started anew is one name: the last attempt is meant. */
static bool is_same_name(const struct trace_subject *a, const struct trace_subject *b)
{
	return a->kind == b->kind && str_eq(a->namespace, b->namespace) && str_eq(a->pod, b->pod) &&
		str_eq(a->pod_uid, b->pod_uid) && str_eq(a->container, b->container);
}

static void take(struct subject_match *m, unsigned how, const struct trace_subject *s,
	const struct container_identity *who)
{
	bool is_first = m->best.id[0] == '\0';

	if (how == 3) {
		m->exact = 1;
		m->best = *s;
		return;
	}
	if (m->exact)
		return;
	if (!is_first && (how == 2 || !is_same_name(&m->best, s))) {
		if (m->others == 0)
			add_candidate(m, &m->best);
		add_candidate(m, s);
		m->others++;
		return;
	}
	if (!is_first &&
		(who->attempt < m->best_attempt ||
			(who->attempt == m->best_attempt &&
				who->created_at_ns <= m->best_created_ns)))
		return;
	m->best = *s;
	m->best_attempt = who->attempt;
	m->best_created_ns = who->created_at_ns;
}

void subject_match(
	const struct subject_query *query, struct list_source *list, struct subject_match *ret)
{
	struct subject_match in_pod = { 0 };
	struct list_entry entry;

	*ret = (struct subject_match){ 0 };
	while (list->next(list, &entry)) {
		struct container_identity who = { 0 };
		struct trace_subject subject;
		unsigned how;

		list->describe(list, &entry, &who);
		how = fits(query, &entry, &who);
		if (how == 0 && !is_in_pod(query, &entry, &who))
			continue;
		fill(&subject, &entry, &who);
		take(how ? ret : &in_pod, how ? how : 1, &subject, &who);
	}
	if (ret->best.id[0] == '\0')
		*ret = in_pod;
}

int subject_result(
	const struct subject_query *query, const struct subject_match *match, struct err *reterr)
{
	if (match->best.id[0] == '\0')
		return err_set(reterr, -ENOENT, "There is no container '%s'%s", query->text,
			query->may_be_id && strlen(query->container) < SUBJECT_PREFIX_MIN
				? "; an id takes at least 4 of its characters"
				: "");
	if (match->exact || match->others == 0)
		return 0;
	return err_set(reterr, -ENOTUNIQ, "'%.100s' fits %u containers: %.340s%s", query->text,
		match->others + 1, match->candidates.text,
		match->others >= SUBJECT_CANDIDATES_MAX ? ", and more" : "");
}
