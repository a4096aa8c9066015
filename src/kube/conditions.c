/*
 * Invariants:
 *  - `status` is what is published; it changes in publish() only, with its transition time.
 *  - `word` is the newest that was not CONDITION_UNKNOWN; a change of it is counted, held or not.
 *  - version counts changes that are worth a write at once, topic_version those that can wait; what
 *    was put into the last patch is remembered beside them until it is written.
 */
#include "kube/conditions.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "model/json-write.h"

#define HELD_TEXT      "Held True: "
#define HELD_LAST_TEXT ", the last at "
#define HELD_WELL_TEXT "; now well; "

struct condition {
	enum condition_status status; /* published */
	int64_t transition_ns;
	bool is_first; /* the status has been so since the start: the API may know since when */
	bool is_told;  /* ... and its transition was told */
	char reason[CONDITION_REASON_MAX];
	char message[KUBE_MESSAGE_MAX + 1];
	char trouble[KUBE_MESSAGE_MAX + 1]; /* what was wrong last */
	struct condition_word word;
	/* Damping: when the word changed, monotonic; a ring of the newest. */
	uint64_t changes_ns[CONDITION_CHANGES_MAX + 1];
	uint64_t change_count;
	int64_t first_change_ns, last_change_ns; /* wall clock; of the hold */
	uint64_t held_from; /* change_count when the hold began, less those that made it */
	bool is_held;
};

struct transition {
	enum condition_type type;
	enum condition_status status;
	int64_t at_ns;
	char reason[CONDITION_REASON_MAX];
	char message[KUBE_MESSAGE_MAX + 1];
};

struct conditions {
	struct condition all[CONDITIONS];
	uint64_t random;
	bool is_adopted;
	uint64_t version, topic_version;                 /* of what is published */
	uint64_t put_version, put_topic_version;         /* in the last patch made */
	uint64_t written_version, written_topic_version; /* that the API has */
	uint64_t written_ns, heartbeat_ns;    /* monotonic: the last write, the next heartbeat */
	int64_t put_real_ns, written_real_ns; /* the heartbeat times in these; 0: none */
	struct transition *transitions[CONDITION_TRANSITIONS_MAX]; /* a ring */
	uint32_t transition_first, transition_count;
	struct transition *told; /* the one that was told last */
	uint64_t lost;
};

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

struct conditions *conditions_new(uint64_t seed)
{
	struct conditions *c = mem_zalloc(sizeof(*c));

	if (c)
		c->random = seed;
	return c;
}

struct conditions *conditions_free(struct conditions *c)
{
	if (!c)
		return NULL;
	for (unsigned i = 0; i < CONDITION_TRANSITIONS_MAX; i++)
		c->transitions[i] = mem_free(c->transitions[i]);
	c->told = mem_free(c->told);
	return mem_free(c);
}

/* ---- transitions -------------------------------------------------------------------------------- */

/* Without memory it counts as lost: the status itself is written all the same. */
static void remember(struct conditions *c, enum condition_type type)
{
	const struct condition *condition = &c->all[type];
	struct transition *t = mem_zalloc(sizeof(*t));
	uint32_t at;

	if (!t) {
		c->lost++;
		return;
	}
	t->type = type;
	t->status = condition->status;
	t->at_ns = condition->transition_ns;
	memcpy(t->reason, condition->reason, sizeof(t->reason));
	memcpy(t->message, condition->message, sizeof(t->message));
	if (c->transition_count == CONDITION_TRANSITIONS_MAX) {
		c->transitions[c->transition_first] = mem_free(c->transitions[c->transition_first]);
		c->transition_first = (c->transition_first + 1) % CONDITION_TRANSITIONS_MAX;
		c->transition_count--;
		c->lost++;
	}
	at = (c->transition_first + c->transition_count++) % CONDITION_TRANSITIONS_MAX;
	c->transitions[at] = t;
}

bool conditions_next_transition(struct conditions *c, struct condition_transition *ret)
{
	c->told = mem_free(c->told);
	if (c->transition_count == 0)
		return false;
	c->told = TAKE_PTR(c->transitions[c->transition_first]);
	c->transition_first = (c->transition_first + 1) % CONDITION_TRANSITIONS_MAX;
	c->transition_count--;
	*ret = (struct condition_transition){ c->told->type, c->told->status, c->told->at_ns,
		c->told->reason, c->told->message };
	return true;
}

uint64_t conditions_lost(const struct conditions *c)
{
	return c->lost;
}

/* ---- words -------------------------------------------------------------------------------------- */

static bool changes_too_often(const struct condition *condition, struct now now)
{
	const uint64_t most = CONDITION_CHANGES_MAX + 1;

	return condition->change_count >= most &&
		time_since(now.mono_ns, condition->changes_ns[condition->change_count % most]) <
		CONDITION_FLAP_NS;
}

static uint64_t last_change(const struct condition *condition)
{
	const uint64_t most = CONDITION_CHANGES_MAX + 1;

	return condition->changes_ns[(condition->change_count + most - 1) % most];
}

static uint32_t held_changes(const struct condition *condition)
{
	uint64_t changes = condition->change_count - condition->held_from;

	return changes < UINT32_MAX ? (uint32_t)changes : UINT32_MAX;
}

static void count_change(struct condition *condition, struct now now)
{
	const uint64_t most = CONDITION_CHANGES_MAX + 1;

	condition->changes_ns[condition->change_count++ % most] = now.mono_ns;
	condition->last_change_ns = now.real_ns;
	if (condition->is_held || !changes_too_often(condition, now))
		return;
	condition->is_held = true;
	condition->held_from = condition->change_count - most;
}

/* Says why it is True though the word may be False. read_held() understands it. */
static void held_text(const struct condition *condition, char *out, size_t size)
{
	char last[TIME_TEXT_MAX];

	(void)str_format(out, size,
		HELD_TEXT "%u changes" HELD_LAST_TEXT "%s, until 10 minutes pass without one%s%s",
		held_changes(condition), kube_time(last, condition->last_change_ns),
		condition->word.status == CONDITION_TRUE ? "; now in trouble; " : HELD_WELL_TEXT,
		condition->trouble[0] ? condition->trouble
				      : "in trouble before pleg was restarted");
}

/* Publishes `status` with these words; tells what is worth a write. */
static void publish(struct conditions *c, enum condition_type type, enum condition_status status,
	const char *reason, const char *message, struct now now)
{
	struct condition *condition = &c->all[type];
	bool is_new = condition->status != status,
	     was_unknown = condition->status == CONDITION_UNKNOWN;

	if (is_new || !str_eq(condition->reason, reason))
		c->version++;
	if (reason != condition->reason)
		(void)str_format(condition->reason, sizeof(condition->reason), "%s", reason);
	(void)kube_message(condition->message, message);
	if (!is_new)
		return;
	condition->status = status;
	condition->transition_ns = now.real_ns;
	condition->is_first = was_unknown;
	condition->is_told = !was_unknown;
	if (!was_unknown)
		remember(c, type); /* The first is told once it is known not to be an old one. */
}

static void publish_word(struct conditions *c, enum condition_type type, struct now now)
{
	struct condition *condition = &c->all[type];
	const struct condition_word *word = &condition->word;
	char text[2 * KUBE_MESSAGE_MAX];

	if (!condition->is_held) {
		publish(c, type, word->status, word->reason, word->message, now);
		return;
	}
	held_text(condition, text, sizeof(text));
	publish(c, type, CONDITION_TRUE,
		word->status == CONDITION_TRUE ? word->reason : condition->reason, text, now);
}

static void update_one(struct conditions *c, enum condition_type type,
	const struct condition_word *word, struct now now)
{
	struct condition *condition = &c->all[type];
	bool ends = condition->is_held &&
		time_since(now.mono_ns, last_change(condition)) >= CONDITION_FLAP_NS;
	bool is_topic;

	if (ends) {
		condition->is_held = false;
		condition->change_count = 0;
		c->topic_version++;
		if (condition->word.status != CONDITION_UNKNOWN)
			publish_word(c, type, now);
	}
	if (word->status == CONDITION_UNKNOWN)
		return;
	/* No topic is one of a status that was adopted: its text may be ours. */
	is_topic = condition->word.topic != 0 && word->topic != condition->word.topic;
	if (word->status != condition->word.status) {
		if (condition->word.status != CONDITION_UNKNOWN)
			count_change(condition, now);
		is_topic = true;
	}
	condition->word = *word;
	if (word->status == CONDITION_TRUE)
		memcpy(condition->trouble, word->message, sizeof(condition->trouble));
	if (is_topic)
		c->topic_version++;
	publish_word(c, type, now);
}

void conditions_update(
	struct conditions *c, const struct condition_word words[CONDITIONS], struct now now)
{
	for (unsigned i = 0; i < CONDITIONS; i++)
		update_one(c, (enum condition_type)i, &words[i], now);
}

uint64_t conditions_due(const struct conditions *c)
{
	uint64_t due_ns = NSEC_NEVER;

	for (unsigned i = 0; i < CONDITIONS; i++)
		if (c->all[i].is_held)
			due_ns = time_min(
				due_ns, time_add(last_change(&c->all[i]), CONDITION_FLAP_NS));
	return due_ns;
}

/* ---- what the API has --------------------------------------------------------------------------- */

/* "Held True: 7 changes, the last at 2026-...Z, ...; now well; ...": a hold outlives pleg in its own
 * message, with its age and with what the word was. False: there is none, or it is over. */
static bool read_held(struct condition *condition, const char *message, struct now now,
	enum condition_status *ret_word)
{
	const char *text = str_after(message, HELD_TEXT), *last = strstr(message, HELD_LAST_TEXT);
	char time[sizeof("2026-11-23T15:33:52Z")];
	uint32_t changes = 0;
	int64_t last_ns;
	uint64_t age_ns;

	if (!text || !last)
		return false;
	for (; *text >= '0' && *text <= '9' && changes < UINT32_MAX / 10 - 1; text++)
		changes = changes * 10 + (uint32_t)(*text - '0');
	(void)str_format(time, sizeof(time), "%s", last + strlen(HELD_LAST_TEXT));
	if (time_parse_rfc3339(time, &last_ns) < 0 || last_ns > now.real_ns)
		last_ns = now.real_ns;
	age_ns = (uint64_t)(now.real_ns - last_ns);
	if (age_ns >= CONDITION_FLAP_NS)
		return false;
	condition->last_change_ns = last_ns;
	for (unsigned i = 0; i < ELEMENTS(condition->changes_ns); i++)
		condition->changes_ns[i] = time_since(now.mono_ns, age_ns);
	condition->change_count = changes;
	condition->held_from = 0;
	condition->is_held = true;
	*ret_word = strstr(last, HELD_WELL_TEXT) ? CONDITION_FALSE : CONDITION_TRUE;
	return true;
}

/* Its word stands where there is none of ours yet. */
static void take_over(struct condition *condition, const struct condition_seen *seen, bool is_past,
	struct now now)
{
	condition->status = condition->word.status = seen->status;
	condition->transition_ns = is_past ? seen->transition_ns : now.real_ns;
	condition->is_told = true;
	(void)str_format(
		condition->reason, sizeof(condition->reason), "%s", str_or_empty(seen->reason));
	(void)str_format(
		condition->word.reason, sizeof(condition->word.reason), "%s", condition->reason);
	(void)kube_message(condition->message, str_or_empty(seen->message));
	if (seen->status == CONDITION_TRUE)
		(void)read_held(condition, condition->message, now, &condition->word.status);
}

/* A hold of before goes on though there is a word already: it is True, since when the API says so. */
static void hold_on(struct conditions *c, enum condition_type type,
	const struct condition_seen *seen, bool is_past, struct now now)
{
	struct condition *condition = &c->all[type];
	enum condition_status word;

	if (condition->is_held || seen->status != CONDITION_TRUE ||
		!read_held(condition, str_or_empty(seen->message), now, &word))
		return;
	if (word != condition->word.status)
		count_change(condition, now);
	condition->status = CONDITION_TRUE;
	condition->transition_ns = is_past ? seen->transition_ns : now.real_ns;
	condition->is_first = condition->is_told = true;
	publish_word(c, type, now);
}

/* Its time stands where ours is the same from the start; one that lies in the future (a clock that
 * was set back) does not. Returns whether the API has what is published. */
static bool adopt_one(struct conditions *c, enum condition_type type,
	const struct condition_seen *seen, struct now now)
{
	struct condition *condition = &c->all[type];
	bool is_past = seen->transition_ns > 0 && seen->transition_ns <= now.real_ns;

	if (condition->status == CONDITION_UNKNOWN) {
		if (seen->status != CONDITION_UNKNOWN)
			take_over(condition, seen, is_past, now);
		return true;
	}
	hold_on(c, type, seen, is_past, now);
	if (condition->status == seen->status && condition->is_first && is_past)
		condition->transition_ns = seen->transition_ns;
	/* A first False where there was nothing is no news. */
	if (!condition->is_told && condition->status != seen->status &&
		(condition->status == CONDITION_TRUE || seen->status == CONDITION_TRUE))
		remember(c, type);
	condition->is_told = true;
	return condition->status == seen->status &&
		str_eq(condition->reason, str_or_empty(seen->reason)) &&
		condition->transition_ns / (int64_t)NSEC_PER_SEC ==
		seen->transition_ns / (int64_t)NSEC_PER_SEC;
}

void conditions_adopt(
	struct conditions *c, const struct condition_seen seen[CONDITIONS], struct now now)
{
	uint64_t oldest_ns = 0;
	bool is_same = true;

	for (unsigned i = 0; i < CONDITIONS; i++) {
		int64_t age_ns = now.real_ns - seen[i].heartbeat_ns;

		if (!adopt_one(c, (enum condition_type)i, &seen[i], now))
			is_same = false;
		if (seen[i].status == CONDITION_UNKNOWN || age_ns < 0)
			age_ns = (int64_t)CONDITION_HEARTBEAT_NS;
		if ((uint64_t)age_ns > oldest_ns)
			oldest_ns = (uint64_t)age_ns;
	}
	if (is_same) {
		c->written_version = c->put_version = c->version;
		c->written_topic_version = c->put_topic_version = c->topic_version;
	} else {
		c->version++;
	}
	c->is_adopted = true;
	c->heartbeat_ns = time_add(now.mono_ns,
		oldest_ns < CONDITION_HEARTBEAT_NS ? CONDITION_HEARTBEAT_NS - oldest_ns : 0);
}

/* A patch without an answer may have been taken: that is ours too. */
bool conditions_is_overwritten(
	const struct conditions *c, const struct condition_seen seen[CONDITIONS])
{
	const int64_t second = (int64_t)NSEC_PER_SEC;

	if (c->written_real_ns == 0 || c->version != c->written_version)
		return false;
	for (unsigned i = 0; i < CONDITIONS; i++) {
		int64_t at = seen[i].heartbeat_ns / second;

		if (c->all[i].status == CONDITION_UNKNOWN || seen[i].status == CONDITION_UNKNOWN)
			continue;
		if (seen[i].status != c->all[i].status ||
			(at != c->written_real_ns / second && at != c->put_real_ns / second))
			return true;
	}
	return false;
}

void conditions_forget(struct conditions *c)
{
	c->is_adopted = false;
}

bool conditions_is_adopted(const struct conditions *c)
{
	return c->is_adopted;
}

void conditions_view(
	const struct conditions *c, enum condition_type type, struct condition_view *ret)
{
	const struct condition *condition = &c->all[type];

	*ret = (struct condition_view){ condition->status, condition->transition_ns,
		condition->is_held, condition->is_held ? held_changes(condition) : 0,
		condition->reason, condition->message };
}

/* ---- writing ------------------------------------------------------------------------------------ */

static bool is_known(const struct conditions *c)
{
	for (unsigned i = 0; i < CONDITIONS; i++)
		if (c->all[i].status != CONDITION_UNKNOWN)
			return true;
	return false;
}

bool conditions_is_urgent(const struct conditions *c)
{
	return c->is_adopted && is_known(c) && c->version != c->written_version;
}

uint64_t conditions_write_due(const struct conditions *c)
{
	uint64_t due_ns;

	if (!c->is_adopted || !is_known(c))
		return NSEC_NEVER;
	if (c->version != c->written_version)
		return 0;
	due_ns = c->heartbeat_ns;
	if (c->topic_version != c->written_topic_version)
		due_ns = time_min(due_ns, time_add(c->written_ns, CONDITION_REWORD_NS));
	return due_ns;
}

int conditions_patch(struct conditions *c, struct now now, struct buf *out)
{
	struct json_write w = JSON_WRITE_INIT(out);
	char text[TIME_TEXT_MAX];

	json_write_object(&w, NULL);
	json_write_object(&w, "status");
	json_write_array(&w, "conditions");
	for (unsigned i = 0; i < CONDITIONS; i++) {
		const struct condition *condition = &c->all[i];

		if (condition->status == CONDITION_UNKNOWN)
			continue;
		json_write_object(&w, NULL);
		json_write_text(&w, "type", condition_type_text((enum condition_type)i));
		json_write_text(&w, "status", condition_status_text(condition->status));
		json_write_text(&w, "lastHeartbeatTime", kube_time(text, now.real_ns));
		json_write_text(
			&w, "lastTransitionTime", kube_time(text, condition->transition_ns));
		json_write_text(&w, "reason", condition->reason);
		json_write_text(&w, "message", condition->message);
		json_write_object_end(&w);
	}
	json_write_array_end(&w);
	json_write_object_end(&w);
	json_write_object_end(&w);
	c->put_version = c->version;
	c->put_topic_version = c->topic_version;
	c->put_real_ns = now.real_ns;
	return json_write_result(&w);
}

/* The next heartbeat up to a tenth earlier: what went out of step stays so. */
void conditions_written(struct conditions *c, struct now now)
{
	uint64_t early_ns = next_random(&c->random) % (CONDITION_HEARTBEAT_NS / 10);

	c->written_version = c->put_version;
	c->written_topic_version = c->put_topic_version;
	c->written_real_ns = c->put_real_ns;
	c->written_ns = now.mono_ns;
	c->heartbeat_ns = time_add(now.mono_ns, CONDITION_HEARTBEAT_NS - early_ns);
}
