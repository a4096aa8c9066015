/*
 * Inputs and outputs of the ledger. See ledger.h for the contract and docs/internals/ledger.md for
 * the whole. Every input that changes an entry ends in ledger_judge().
 */
#include "ledger/ledger.h"

#include <errno.h>

#include "base/mem.h"
#include "ledger/ledger-internal.h"

/* ---- life ---------------------------------------------------------------------------------- */

int ledger_new(uint32_t containers_max, struct ledger **ret)
{
	struct ledger *ledger = mem_zalloc(sizeof(*ledger));

	if (!ledger)
		return -ENOMEM;
	ledger->containers_max = containers_max;
	ledger->entries = TABLE_INIT((size_t)containers_max + ENDED_MAX);
	TAILQ_INIT(&ledger->waiting);
	TAILQ_INIT(&ledger->ended);
	TAILQ_INIT(&ledger->differing);
	TAILQ_INIT(&ledger->wakes);
	for (size_t i = 0; i < WAKE_STEPS; i++)
		TAILQ_INIT(&ledger->steps[i]);
	*ret = ledger;
	return 0;
}

struct ledger *ledger_free(struct ledger *ledger)
{
	struct entry *entry;

	if (!ledger)
		return NULL;
	TABLE_FOREACH (entry, &ledger->entries)
		ledger_entry_free(entry);
	table_done(&ledger->entries);
	event_queue_done(&ledger->events);
	return mem_free(ledger);
}

static struct now input_begin(struct ledger *ledger, struct now now)
{
	if (now.mono_ns < ledger->mono_ns)
		now.mono_ns = ledger->mono_ns;
	ledger->mono_ns = now.mono_ns;
	return now;
}

/* ---- the kernel ---------------------------------------------------------------------------- */

/* Takes the init as the one that is known already, or as another; false: it is an older one. */
static bool init_place(struct ledger *ledger, struct entry *entry, int32_t pid,
	uint64_t start_ticks, struct now now)
{
	struct life *life = &entry->now;

	if (start_ticks == life->start_ticks)
		return false;
	if (start_ticks <= entry->newest_ticks) {
		ledger->stats.stale++;
		return false;
	}
	if (life->start_ticks != 0 || (life->pid > 0 && life->pid != pid))
		ledger_entry_new_life(ledger, entry, now);
	life->pid = pid;
	life->start_ticks = entry->newest_ticks = start_ticks;
	return true;
}

int ledger_on_init(struct ledger *ledger, const char *container_id, int32_t pid,
	uint64_t start_ticks, struct now now)
{
	struct entry *entry = ledger_entry(ledger, container_id);
	int r = 0;

	now = input_begin(ledger, now);
	if (pid <= 0 || start_ticks == 0)
		return -EINVAL;
	if (entry && entry->ended && start_ticks > entry->newest_ticks) {
		r = ledger_entry_revive(ledger, entry, now);
		if (r >=
			0) { /* what lives there the runtime knows no more: its death is not news */
			entry->now = (struct life){ .confirmed = true };
			entry->removed = false;
		}
	} else if (!entry) {
		r = ledger_entry_new(ledger, container_id, now, &entry);
	}
	if (r < 0)
		return r;
	if (entry->ended || !init_place(ledger, entry, pid, start_ticks, now))
		return 0;
	if (entry->word != CONTAINER_RUNNING)
		ledger_wake(ledger, entry);
	ledger_judge(ledger, entry, now);
	return 0;
}

/* False: the kernel cannot go there from where it was, so the fact is an old one. */
static bool life_set_state(struct life *life, enum ledger_state state)
{
	if (ledger_state_is_dead(life->state) &&
		(!ledger_state_is_dead(state) || life->state == LEDGER_GONE))
		return false;
	life->state = state;
	return true;
}

static void life_set_exit(struct life *life, const struct ledger_exit *exit)
{
	if (!exit || life->exit_is_kernels)
		return;
	if (exit->known) {
		life->exit = *exit;
		life->exit_is_kernels = true;
	} else if (life->exit.at_ns == 0) {
		life->exit.at_ns = exit->at_ns;
	}
}

void ledger_on_state(struct ledger *ledger, const char *container_id, uint64_t start_ticks,
	enum ledger_state state, const struct ledger_exit *exit, struct now now)
{
	struct entry *entry = ledger_entry(ledger, container_id);
	struct life *life;
	bool was_dead;

	now = input_begin(ledger, now);
	if (!entry || entry->ended || start_ticks == 0)
		return;
	life = &entry->now;
	if (start_ticks != life->start_ticks) {
		ledger->stats.stale++;
		return;
	}
	was_dead = ledger_state_is_dead(life->state);
	if (ledger_state_is_dead(state))
		life_set_exit(life, exit);
	if (!life_set_state(life, state))
		return;
	if (!was_dead && ledger_state_is_dead(state)) {
		life->death_seen_ns = now.real_ns;
		entry->paused = false;
		ledger_news(entry, now);
		if (entry->word != CONTAINER_EXITED || entry->has_old)
			ledger_wake(ledger, entry);
	}
	ledger_judge(ledger, entry, now);
}

void ledger_on_shim(struct ledger *ledger, const char *container_id, uint64_t start_ticks,
	struct ledger_shim shim)
{
	struct entry *entry = ledger_entry(ledger, container_id);

	if (entry && !entry->ended && start_ticks != 0 && entry->now.start_ticks == start_ticks)
		entry->shim = shim;
}

void ledger_on_group(
	struct ledger *ledger, const char *container_id, const struct ledger_group *group)
{
	struct entry *entry = ledger_entry(ledger, container_id);

	if (!entry || entry->ended)
		return;
	entry->group = *group;
	if (group->has_oom_kills && group->oom_kills > 0)
		entry->oom_killed = true;
}

/* ---- the stream ---------------------------------------------------------------------------- */

enum stream_verdict {
	STREAM_TAKEN,
	STREAM_KNOWN, /* told before */
	STREAM_HINT,  /* it may be of another init: it only wakes */
	STREAM_STALE, /* of an init that is over */
};

static enum stream_verdict stream_start(struct ledger *ledger, struct entry *entry,
	const struct ledger_stream_fact *fact, struct now now)
{
	struct life *life = &entry->now;

	if (fact->pid > 0 && fact->pid == entry->old_pid && fact->pid != life->pid)
		return STREAM_STALE;
	if (fact->pid > 0 && life->pid > 0 && fact->pid != life->pid) {
		/* One at a time: while this one lives, the other is over. */
		if (life->state == LEDGER_ALIVE || life->state == LEDGER_ZOMBIE_THREADS)
			return STREAM_STALE;
		ledger_entry_new_life(ledger, entry, now);
	} else if (life->confirmed || (fact->pid == 0 && entry->died_once)) {
		return life->pid > 0 && fact->pid > 0 ? STREAM_STALE : STREAM_HINT;
	}
	if (life->started)
		return STREAM_KNOWN;
	if (fact->pid > 0)
		life->pid = fact->pid;
	life->started = true;
	life->start_at_ns = fact->at_ns;
	life->start_seen_ns = now.real_ns;
	return STREAM_TAKEN;
}

static enum stream_verdict stream_exit(
	struct entry *entry, const struct ledger_stream_fact *fact, struct now now)
{
	struct life *life = &entry->now;

	if (fact->pid > 0 && life->pid > 0 && fact->pid != life->pid)
		return STREAM_STALE;
	if (fact->pid > 0 && life->pid == 0 && fact->pid == entry->old_pid)
		return STREAM_STALE;
	if (life->confirmed || (fact->pid == 0 && entry->died_once))
		return STREAM_HINT;
	if (life->exited)
		return STREAM_KNOWN;
	if (fact->pid > 0)
		life->pid = fact->pid;
	life->exited = true;
	if (fact->exit && !life->exit.known) {
		life->exit = *fact->exit;
		if (life->exit.at_ns == 0)
			life->exit.at_ns = fact->at_ns;
	}
	if (life->death_seen_ns == 0)
		life->death_seen_ns = now.real_ns;
	return STREAM_TAKEN;
}

static enum stream_verdict stream_apply(struct ledger *ledger, struct entry *entry,
	const struct ledger_stream_fact *fact, struct now now)
{
	switch (fact->event) {
	case LEDGER_STREAM_START: return stream_start(ledger, entry, fact, now);
	case LEDGER_STREAM_EXIT: return stream_exit(entry, fact, now);
	case LEDGER_STREAM_DELETE:
		if (entry->deleted)
			return STREAM_KNOWN;
		entry->deleted = true;
		return STREAM_TAKEN;
	case LEDGER_STREAM_OOM: entry->oom_killed = true; return STREAM_KNOWN;
	case LEDGER_STREAM_PAUSED: entry->paused = !life_is_over(&entry->now); return STREAM_KNOWN;
	case LEDGER_STREAM_RESUMED: entry->paused = false; return STREAM_KNOWN;
	}
	return STREAM_KNOWN;
}

void ledger_on_stream(struct ledger *ledger, const struct ledger_stream_fact *fact, struct now now)
{
	struct entry *entry = ledger_entry(ledger, fact->container_id);

	now = input_begin(ledger, now);
	if (!entry && fact->event != LEDGER_STREAM_START && fact->event != LEDGER_STREAM_EXIT)
		return;
	if (!entry && ledger_entry_new(ledger, fact->container_id, now, &entry) < 0)
		return;
	if (entry->ended) {
		ledger->stats.stale++;
		return;
	}
	switch (stream_apply(ledger, entry, fact, now)) {
	case STREAM_TAKEN:
		ledger_news(entry, now);
		ledger_wake(ledger, entry);
		ledger_judge(ledger, entry, now);
		return;
	case STREAM_KNOWN: return;
	case STREAM_HINT: ledger_wake(ledger, entry); return;
	case STREAM_STALE: ledger->stats.stale++; return;
	}
}

void ledger_on_identity(
	struct ledger *ledger, const char *container_id, const struct event *identity)
{
	struct entry *entry = ledger_entry(ledger, container_id);

	if (entry && !entry->ended)
		ledger_entry_identify(ledger, entry, identity);
}

/* ---- the runtime --------------------------------------------------------------------------- */

/* The entry, and if there is none a new one; NULL if that cannot be. */
static struct entry *runtime_entry(struct ledger *ledger, const char *id, struct now now)
{
	struct entry *entry = ledger_entry(ledger, id);

	if (!entry && ledger_entry_new(ledger, id, now, &entry) < 0)
		return NULL;
	if (entry->ended && ledger_entry_revive(ledger, entry, now) < 0)
		return NULL;
	return entry;
}

static void runtime_word(struct entry *entry, enum container_state state, struct now now)
{
	enum container_state before = entry->word;
	struct life *life = &entry->now;

	if (state == before && entry->listed)
		return;
	if ((state == CONTAINER_EXITED && before != CONTAINER_EXITED) ||
		(state == CONTAINER_GONE && before != CONTAINER_EXITED && before != state))
		entry->owes = true;
	/* It had said exited of one that lives. */
	if (state == CONTAINER_RUNNING && !ledger_state_is_dead(life->state))
		life->confirmed = false;
	entry->word = state;
	ledger_news(entry, now);
}

void ledger_on_runtime(struct ledger *ledger, const struct event *identity,
	enum container_state state, struct now now)
{
	struct entry *entry = ledger_entry(ledger, identity->container_id);

	now = input_begin(ledger, now);
	if (entry && entry->listed && entry->word == state && entry->identity)
		return;
	if (state == CONTAINER_GONE && (!entry || !entry->listed))
		return;
	entry = runtime_entry(ledger, identity->container_id, now);
	if (!entry)
		return;
	ledger_entry_identify(ledger, entry, identity);
	runtime_word(entry, state, now);
	entry->listed = true;
	entry->removed = false;
	ledger_judge(ledger, entry, now);
}

static void confirmed_start(struct ledger *ledger, struct entry *entry, struct now now)
{
	struct life *life = &entry->now;

	entry->told_started = true;
	if (!life->confirmed)
		return;
	if (life_is_over(life))
		ledger_entry_new_life(ledger, entry, now); /* of which only PLEG knows so far */
	else
		life->confirmed = false; /* the runtime takes back that it was dead */
}

static void confirmed_death(struct ledger *ledger, struct entry *entry, struct now now)
{
	bool is_old = entry->has_old && !life_is_over(&entry->now);
	struct life *life = is_old ? &entry->old : &entry->now;
	const struct life *first = entry->has_old && entry->old.started ? &entry->old : life;

	if (!entry->told_started && first->started)
		(void)ledger_tell(ledger, entry, first, TELL_STARTED, now); /* no memory: counted */
	entry->told_started = entry->owes = false;
	entry->died_once = true;
	if (!is_old) {
		/* If there were two, PLEG saw them as one. */
		life->confirmed = true;
		life->open = life->started = false;
	}
	entry->has_old = false;
}

static void confirmed_removal(struct ledger *ledger, struct entry *entry, struct now now)
{
	const struct life *life = entry->has_old ? &entry->old : &entry->now;

	/* PLEG cannot have told the death without closing it: it folded that one away. */
	if (life->open)
		(void)ledger_tell(ledger, entry, life, TELL_DIED, now);
	entry->word = CONTAINER_GONE;
	entry->removed = true;
	entry->listed = entry->owes = entry->told_started = entry->has_old = false;
	entry->now.confirmed = true;
	entry->now.open = false;
}

void ledger_on_confirmed(struct ledger *ledger, const struct event *event, struct now now)
{
	struct entry *entry;

	now = input_begin(ledger, now);
	if (!event_is_kubelets(event) || event->type == EVENT_POD_SYNC)
		return;
	entry = ledger_entry(ledger, event->container_id);
	if (!entry && event->type != EVENT_CONTAINER_REMOVED)
		entry = runtime_entry(ledger, event->container_id, now); /* it had no memory then */
	if (!entry || entry->ended)
		return;
	ledger_entry_identify(ledger, entry, event);
	entry->listed = true;
	entry->removed = false;
	switch (event->type) {
	case EVENT_CONTAINER_STARTED: confirmed_start(ledger, entry, now); break;
	case EVENT_CONTAINER_DIED: confirmed_death(ledger, entry, now); break;
	case EVENT_CONTAINER_REMOVED: confirmed_removal(ledger, entry, now); break;
	case EVENT_CONTAINER_CHANGED:
	case EVENT_POD_SYNC: break;
	}
	ledger_news(entry, now);
	ledger_judge(ledger, entry, now);
}

/* ---- views --------------------------------------------------------------------------------- */

static bool entry_differs(const struct ledger *ledger, const struct entry *entry, struct now now)
{
	return entry->differing &&
		time_since(now.mono_ns, entry->differs_since_ns) >= LEDGER_LAG_NS &&
		ledger->list_started_ns >= entry->differs_since_ns;
}

static void entry_view(const struct ledger *ledger, const struct entry *entry, struct now now,
	struct ledger_view *ret)
{
	*ret = (struct ledger_view){
		.container_id = entry->id,
		.pid = entry->now.pid,
		.start_ticks = entry->now.start_ticks,
		.state = entry->now.state,
		.exit = entry->now.exit,
		.runtime_state = entry->word,
		.paused = entry->paused,
		.oom_killed = entry->oom_killed,
		.shim = entry->shim,
		.group = entry->group,
		.provisional_open = entry->now.open || (entry->has_old && entry->old.open),
		.differs = entry_differs(ledger, entry, now),
	};
	if (entry->differing)
		ret->differs_for_ns = time_since(now.mono_ns, entry->differs_since_ns);
}

bool ledger_find(const struct ledger *ledger, const char *container_id, struct now now,
	struct ledger_view *ret)
{
	const struct entry *entry = ledger_entry(ledger, container_id);

	if (!entry || entry->ended)
		return false;
	entry_view(ledger, entry, now, ret);
	return true;
}

bool ledger_next(
	const struct ledger *ledger, size_t *cursor, struct now now, struct ledger_view *ret)
{
	const struct entry *entry;

	while ((entry = table_next(&ledger->entries, cursor)))
		if (!entry->ended) {
			entry_view(ledger, entry, now, ret);
			return true;
		}
	return false;
}

uint32_t ledger_differences(const struct ledger *ledger, struct now now)
{
	const struct entry *entry;
	uint32_t count = 0;

	TAILQ_FOREACH (entry, &ledger->differing, differ_link)
		count += entry_differs(ledger, entry, now);
	return count;
}

bool ledger_is_calm(const struct ledger *ledger)
{
	return ledger->differing_count == 0 && ledger->waiting_count == 0;
}

void ledger_stats(const struct ledger *ledger, struct ledger_stats *ret)
{
	const struct entry *entry;

	*ret = ledger->stats;
	TABLE_FOREACH (entry, &ledger->entries)
		ret->provisional_open += entry->now.open || (entry->has_old && entry->old.open);
}
