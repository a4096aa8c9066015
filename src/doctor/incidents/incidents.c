#include "doctor/incidents/incidents.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "model/finding-json.h"

#define SUBJECT_MAX          256
#define INCIDENT_FINDING_MAX (INCIDENT_DOCUMENT_MAX - 2048) /* the rest is for the changes */

struct entry {
	struct incident public;
	char id[INCIDENT_ID_MAX];
	char *key;                           /* owned; NULL: an earlier run's, not seen yet */
	char *summary, *evidence, *document; /* owned; evidence: a FINDING */
	char namespace[64], pod[254];        /* as long as Kubernetes has them */
	char subject[SUBJECT_MAX];
	struct incident_change changes[INCIDENT_CHANGES_MAX];
	uint32_t change_count, changes_left_out;
	uint32_t missed_samples;
	uint64_t seen_mono_ns; /* in the last sample that showed it */
	uint32_t symptoms;     /* as many as it explained when it was told last */
	bool is_seen;          /* in the set at hand */
	bool is_changed;       /* to be told */
};

struct incidents {
	char epoch[64];
	struct entry *entries[INCIDENTS_MAX]; /* open ones, and closed ones not yet told; by age */
	uint32_t count;
	struct entry *told; /* the closed one that was told last: it lives until the next call */
	uint64_t opened, closed, left_out;
};

const char *incident_state_text(enum incident_state state)
{
	switch (state) {
	case INCIDENT_SUSPECTED: return "suspected";
	case INCIDENT_PROVEN: return "proven";
	case INCIDENT_CLOSED: return "closed";
	}
	return "?";
}

struct incidents *incidents_new(const char *epoch)
{
	struct incidents *incidents = mem_zalloc(sizeof(*incidents));

	if (incidents)
		(void)str_format(incidents->epoch, sizeof(incidents->epoch), "%s", epoch);
	return incidents;
}

static struct entry *entry_free(struct entry *entry)
{
	if (!entry)
		return NULL;
	entry->key = mem_free(entry->key);
	entry->summary = mem_free(entry->summary);
	entry->evidence = mem_free(entry->evidence);
	entry->document = mem_free(entry->document);
	return mem_free(entry);
}

DEFINE_FREEP(struct entry *, entry_free)

struct incidents *incidents_free(struct incidents *incidents)
{
	if (!incidents)
		return NULL;
	for (uint32_t i = 0; i < incidents->count; i++)
		incidents->entries[i] = entry_free(incidents->entries[i]);
	incidents->told = entry_free(incidents->told);
	return mem_free(incidents);
}

/* ---- making --------------------------------------------------------------------------------- */

/* Eight letters and digits: FNV-1a over what no other incident has. */
static void make_id(const struct incidents *incidents, struct entry *entry, int64_t at_ns)
{
	static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	const char *parts[] = { incidents->epoch, entry->key };

	for (size_t p = 0; p < ELEMENTS(parts); p++)
		for (const char *s = parts[p]; *s; s++)
			hash = (hash ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
	hash = (hash ^ (uint64_t)at_ns ^ incidents->opened) * UINT64_C(0x100000001b3);
	hash ^= hash >> 29;
	for (int i = 0; i < 8; i++, hash >>= 5)
		entry->id[i] = digits[hash & 31];
	entry->id[8] = '\0';
}

static void make_subject(const struct finding *finding, char *out, size_t size)
{
	const struct finding_subject *s = &finding->subject;
	const char *pod = s->pod[0] ? s->pod : s->container_id;
	char process[48] = "";

	if (s->pid > 0 && s->tid > 0 && s->tid != s->pid)
		(void)str_format(process, sizeof(process), "process %d, thread %d", s->pid, s->tid);
	else if (s->pid > 0)
		(void)str_format(process, sizeof(process), "process %d", s->pid);
	if (pod[0])
		(void)str_format(out, size, "%s%s%s%s%s%s%s", s->namespace,
			s->namespace[0] ? "/" : "", pod, s->container[0] ? ", container " : "",
			s->container, s->owner[0] ? ", of " : "", s->owner);
	else if (s->mount[0])
		(void)str_format(out, size, "%s", s->mount);
	else if (process[0])
		(void)str_format(out, size, "%s", process);
	else
		(void)str_format(out, size, "%s", s->device[0] ? s->device : s->node);
}

/* What was written takes the place of `*owned`, which stays as it was after an error (`r` is the
 * writer's). Ends `out`. */
static int keep_text(struct buf *out, int r, char **owned)
{
	char *text = r >= 0 ? mem_strndup((const char *)out->data, out->len) : NULL;

	buf_done(out);
	if (!text)
		return r < 0 ? r : -ENOMEM;
	(void)mem_free(*owned);
	*owned = text;
	return 0;
}

/* The FINDING alone. One that is too long loses its symptoms first, and then evidence from the end. */
static int take_evidence(struct entry *entry, const struct finding *finding)
{
	struct buf out = BUF_INIT(INCIDENT_FINDING_MAX);
	struct finding shorter = *finding;
	int r;

	for (;;) {
		struct json_write w = JSON_WRITE_INIT(&out);

		buf_clear(&out);
		finding_json_write(&w, NULL, &shorter);
		r = json_write_result(&w);
		if (r != -EMSGSIZE)
			break;
		if (shorter.symptom_count > 0) {
			shorter.symptoms_left_out += shorter.symptom_count;
			shorter.symptom_count = 0;
		} else if (shorter.evidence_count > 0) {
			shorter.evidence_count--;
		} else {
			break;
		}
	}
	return keep_text(&out, r, &entry->evidence);
}

/* The evidence as it was taken last, and when the state changed. */
static int make_document(struct entry *entry, const char *by, const char *because)
{
	struct buf out = BUF_INIT(INCIDENT_DOCUMENT_MAX);
	struct json_write w = JSON_WRITE_INIT(&out);
	int r = buf_printf(&out, "{\"finding\":%s,\"changes\":", entry->evidence);

	json_write_array(&w, NULL);
	for (uint32_t i = 0; i < entry->change_count; i++) {
		json_write_object(&w, NULL);
		json_write_time(&w, "at", entry->changes[i].at_ns);
		json_write_text(&w, "state", incident_state_text(entry->changes[i].state));
		json_write_object_end(&w);
	}
	json_write_array_end(&w);
	json_write_u64(&w, "changesLeftOut", entry->changes_left_out);
	json_write_text(&w, "explainedBy", by);
	json_write_text(&w, "closedBecause", because);
	if (r >= 0)
		r = json_write_result(&w);
	if (r >= 0)
		r = buf_append_string(&out, "}");
	r = keep_text(&out, r, &entry->document);
	entry->public.document = entry->document;
	return r;
}

static void note_change(struct entry *entry, enum incident_state state, int64_t at_ns)
{
	if (entry->change_count == INCIDENT_CHANGES_MAX) {
		entry->change_count--;
		entry->changes_left_out++;
	}
	entry->changes[entry->change_count++] = (struct incident_change){ at_ns, state };
	entry->public.state = state;
	entry->public.changed_ns = at_ns;
	entry->is_changed = true;
}

static int take_over(struct entry *entry, const struct finding *finding)
{
	char *summary;
	int r = take_evidence(entry, finding);

	if (r >= 0)
		r = make_document(entry, NULL, NULL);
	if (r < 0)
		return r;
	summary = mem_strdup(finding->summary);
	if (!summary)
		return -ENOMEM;
	(void)mem_free(entry->summary);
	entry->public.summary = entry->summary = summary;
	entry->public.severity = finding->severity;
	entry->symptoms = finding->symptom_count;
	return 0;
}

static enum incident_state state_of(const struct finding *finding)
{
	return finding->confidence == CONFIDENCE_PROVEN ? INCIDENT_PROVEN : INCIDENT_SUSPECTED;
}

static void init_public(struct entry *entry, enum cause cause, int64_t opened_ns)
{
	entry->public.id = entry->id;
	entry->public.cause = cause;
	entry->public.subject = entry->subject;
	entry->public.summary = "";
	entry->public.namespace = entry->namespace;
	entry->public.pod = entry->pod;
	entry->public.opened_ns = opened_ns;
}

static int name_entry(struct entry *entry, const struct finding *finding, const char *key)
{
	entry->key = mem_strdup(key);
	if (!entry->key)
		return -ENOMEM;
	(void)str_format(
		entry->namespace, sizeof(entry->namespace), "%s", finding->subject.namespace);
	(void)str_format(entry->pod, sizeof(entry->pod), "%s", finding->subject.pod);
	entry->public.is_of_container = finding->subject.pod[0] || finding->subject.container_id[0];
	return 0;
}

static int open_entry(
	struct incidents *incidents, const struct finding *finding, const char *key, struct now now)
{
	struct entry *entry;
	int r;

	if (incidents->count == INCIDENTS_MAX) {
		incidents->left_out++;
		return 0;
	}
	entry = mem_zalloc(sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	r = name_entry(entry, finding, key);
	if (r < 0) {
		(void)entry_free(entry);
		return r;
	}
	make_id(incidents, entry, now.real_ns);
	make_subject(finding, entry->subject, sizeof(entry->subject));
	init_public(entry, finding->cause, now.real_ns);
	note_change(entry, state_of(finding), now.real_ns);
	r = take_over(entry, finding);
	if (r < 0) {
		(void)entry_free(entry);
		return r;
	}
	entry->is_seen = true;
	entry->seen_mono_ns = now.mono_ns;
	incidents->entries[incidents->count++] = entry;
	incidents->opened++;
	return 0;
}

/* ---- a set ---------------------------------------------------------------------------------- */

static struct entry *find_open(const struct incidents *incidents, const char *key)
{
	for (uint32_t i = 0; i < incidents->count; i++)
		if (incidents->entries[i]->public.state != INCIDENT_CLOSED &&
			incidents->entries[i]->key && str_eq(incidents->entries[i]->key, key))
			return incidents->entries[i];
	return NULL;
}

/* The state never goes back to suspected: what was proven once is so until it ends. */
static int see(struct entry *entry, const struct finding *finding, struct now now)
{
	enum incident_state state = state_of(finding);

	entry->is_seen = true;
	entry->missed_samples = 0;
	entry->seen_mono_ns = now.mono_ns;
	if (entry->public.state == INCIDENT_PROVEN)
		state = INCIDENT_PROVEN;
	if (state == entry->public.state && finding->severity == entry->public.severity &&
		finding->symptom_count == entry->symptoms)
		return 0;
	note_change(entry, state, now.real_ns);
	return take_over(entry, finding);
}

/* The evidence stays as it was. Without memory for the document the older one stays, too. */
static int close_entry(struct incidents *incidents, struct entry *entry, const struct finding *by,
	const char *because, struct now now)
{
	note_change(entry, INCIDENT_CLOSED, now.real_ns);
	entry->public.closed_ns = now.real_ns;
	incidents->closed++;
	return make_document(entry, by ? cause_text(by->cause) : NULL, because);
}

static bool is_same_fault(const struct entry *entry, const struct finding *finding)
{
	char text[FINDING_KEY_MAX > SUBJECT_MAX ? FINDING_KEY_MAX : SUBJECT_MAX];

	if (entry->key)
		return str_eq(finding_key(finding, text, sizeof(text)), entry->key);
	if (entry->public.cause != finding->cause)
		return false;
	make_subject(finding, text, SUBJECT_MAX);
	return str_eq(text, entry->subject);
}

/* Who explains it in this set, or NULL. */
static const struct finding *explained_by(const struct findings *set, const struct entry *entry)
{
	for (uint32_t i = 0; i < findings_count(set); i++) {
		const struct finding *top = findings_get(set, i);

		for (uint32_t s = 0; s < top->symptom_count; s++)
			if (is_same_fault(entry, top->symptoms[s]))
				return top;
	}
	return NULL;
}

static bool is_missed_enough(const struct entry *entry, struct now now)
{
	uint64_t calm_ns = INCIDENT_CLOSE_NS;

	if (!entry->key)
		calm_ns = entry->public.cause == CAUSE_CONTAINER_CRASH_LOOP ? INCIDENT_PAST_LOOP_NS
									    : INCIDENT_PAST_NS;
	return entry->missed_samples >= INCIDENT_CLOSE_SAMPLES &&
		time_since(now.mono_ns, entry->seen_mono_ns) >= calm_ns;
}

static int close_missed(
	struct incidents *incidents, struct entry *entry, const struct finding *by, struct now now)
{
	if (by)
		return close_entry(incidents, entry, by, "explained by another cause", now);
	return close_entry(incidents, entry, NULL,
		entry->key ? "not seen any more" : "not seen any more after a restart of pleg",
		now);
}

/* Those that the set does not show. */
static int miss_entries(
	struct incidents *incidents, const struct findings *set, bool complete, struct now now)
{
	int result = 0;

	for (uint32_t i = 0; i < incidents->count; i++) {
		struct entry *entry = incidents->entries[i];
		const struct finding *by;

		if (entry->is_seen || entry->public.state == INCIDENT_CLOSED)
			continue;
		by = explained_by(set, entry);
		if (!by && !complete)
			continue;
		entry->missed_samples++;
		if (by || is_missed_enough(entry, now)) {
			int r = close_missed(incidents, entry, by, now);

			if (r < 0)
				result = r;
		}
	}
	return result;
}

/* ---- what earlier runs have left ------------------------------------------------------------- */

int incidents_adopt(struct incidents *incidents, const struct incident_past *past, struct now now)
{
	CLEAN(entry_freep) struct entry *entry = NULL;
	uint32_t skip = past->change_count > INCIDENT_CHANGES_MAX
		? past->change_count - INCIDENT_CHANGES_MAX
		: 0;

	if (past->state == INCIDENT_CLOSED || strlen(past->id) >= INCIDENT_ID_MAX ||
		past->id[0] == '\0')
		return -EINVAL;
	for (uint32_t i = 0; i < incidents->count; i++)
		if (str_eq(incidents->entries[i]->id, past->id))
			return -EALREADY;
	if (incidents->count == INCIDENTS_MAX)
		return -ENOSPC;
	entry = mem_zalloc(sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	(void)str_format(entry->id, sizeof(entry->id), "%s", past->id);
	(void)str_format(entry->subject, sizeof(entry->subject), "%s", past->subject);
	init_public(entry, past->cause, past->opened_ns);
	entry->public.state = past->state;
	entry->public.is_of_before = past->state == INCIDENT_PROVEN;
	for (uint32_t i = skip; i < past->change_count; i++)
		entry->changes[entry->change_count++] = past->changes[i];
	entry->changes_left_out = past->changes_left_out + skip;
	entry->summary = mem_strdup(past->summary);
	entry->evidence = mem_strdup(past->finding);
	if (!entry->summary || !entry->evidence || make_document(entry, NULL, NULL) < 0)
		return -ENOMEM;
	entry->public.summary = entry->summary;
	entry->seen_mono_ns = now.mono_ns;
	incidents->entries[incidents->count++] = TAKE_PTR(entry);
	return 0;
}

/* It goes on, or is one with `known`, which this run has opened or found again already. */
static int find_again(struct incidents *incidents, const struct finding *finding, const char *key,
	struct entry **known, struct now now)
{
	int result = 0, r;

	for (uint32_t i = 0; i < incidents->count; i++) {
		struct entry *entry = incidents->entries[i];

		if (entry->key || entry->public.state == INCIDENT_CLOSED ||
			!is_same_fault(entry, finding))
			continue;
		if (*known) {
			entry->public.is_of_before = false; /* The other one is it. */
			r = close_entry(incidents, entry, NULL,
				FMT("goes on as incident %s", (*known)->id), now);
		} else {
			r = name_entry(entry, finding, key);
			if (r >= 0) {
				*known = entry;
				note_change(entry, entry->public.state, now.real_ns);
				r = take_over(entry, finding);
			}
		}
		if (r < 0)
			result = r;
	}
	return result;
}

int incidents_update(
	struct incidents *incidents, const struct findings *set, bool complete, struct now now)
{
	char key[FINDING_KEY_MAX];
	int result = 0, r;

	incidents->told = entry_free(incidents->told);
	for (uint32_t i = 0; i < incidents->count; i++)
		incidents->entries[i]->is_seen = false;
	for (uint32_t i = 0; i < findings_count(set); i++) {
		const struct finding *finding = findings_get(set, i);
		struct entry *entry = find_open(incidents, finding_key(finding, key, sizeof(key)));

		r = find_again(incidents, finding, key, &entry, now);
		if (r < 0)
			result = r;
		r = entry ? see(entry, finding, now) : open_entry(incidents, finding, key, now);
		if (r < 0)
			result = r;
	}
	if (findings_left_out(set) > 0)
		complete = false;
	r = miss_entries(incidents, set, complete, now);
	return result < 0 ? result : r;
}

/* ---- out ------------------------------------------------------------------------------------ */

const struct incident *incidents_next_change(struct incidents *incidents)
{
	incidents->told = entry_free(incidents->told);
	for (uint32_t i = 0; i < incidents->count; i++) {
		struct entry *entry = incidents->entries[i];

		if (!entry->is_changed)
			continue;
		entry->is_changed = false;
		if (entry->public.state == INCIDENT_CLOSED) {
			incidents->told = entry;
			incidents->count--;
			memmove(&incidents->entries[i], &incidents->entries[i + 1],
				(incidents->count - i) * sizeof(incidents->entries[0]));
		}
		return &entry->public;
	}
	return NULL;
}

const struct incident *incidents_next_open(const struct incidents *incidents, size_t *cursor)
{
	while (*cursor < incidents->count) {
		const struct incident *incident = &incidents->entries[(*cursor)++]->public;

		if (incident->state != INCIDENT_CLOSED && incidents->entries[*cursor - 1]->key)
			return incident;
	}
	return NULL;
}

void incidents_stats(const struct incidents *incidents, struct incidents_stats *ret)
{
	*ret = (struct incidents_stats){ .opened = incidents->opened,
		.closed = incidents->closed,
		.left_out = incidents->left_out };
	for (uint32_t i = 0; i < incidents->count; i++)
		if (incidents->entries[i]->public.state != INCIDENT_CLOSED)
			(*(incidents->entries[i]->key ? &ret->open : &ret->past))++;
}
