/*
 * What follows from what is known of an entry: the provisional event, the difference between the two
 * words, wakes, and the deaths that PLEG cannot have seen.
 *
 * Differing entries stand in one of WAKE_STEPS queues, each with one fixed wait until the next wake;
 * time does not go back, so each is in the order of its due times and only heads are ever looked at.
 */
#include "ledger/ledger-internal.h"

static const uint8_t wake_after_s[WAKE_STEPS] = { 2, 4, 8, 16, 32, 60 };

/* ---- wakes ------------------------------------------------------------------------------- */

void ledger_wake(struct ledger *ledger, struct entry *entry)
{
	if (entry->waking)
		return;
	entry->waking = true;
	TAILQ_INSERT_TAIL(&ledger->wakes, entry, wake_link);
}

void ledger_wake_forget(struct ledger *ledger, struct entry *entry)
{
	if (!entry->waking)
		return;
	entry->waking = false;
	TAILQ_REMOVE(&ledger->wakes, entry, wake_link);
}

const char *ledger_next_wake(struct ledger *ledger)
{
	struct entry *entry = TAILQ_FIRST(&ledger->wakes);

	if (!entry)
		return NULL;
	ledger_wake_forget(ledger, entry);
	return entry->id;
}

static void step_enter(struct ledger *ledger, struct entry *entry, uint8_t step, struct now now)
{
	entry->wake_step = step;
	entry->wake_at_ns = time_add(now.mono_ns, wake_after_s[step] * NSEC_PER_SEC);
	TAILQ_INSERT_TAIL(&ledger->steps[step], entry, step_link);
}

void ledger_on_tick(struct ledger *ledger, struct now now)
{
	if (now.mono_ns < ledger->mono_ns)
		now.mono_ns = ledger->mono_ns;
	ledger->mono_ns = now.mono_ns;
	/* From the longest wait down, so that nothing is met twice. */
	for (uint8_t step = WAKE_STEPS; step-- > 0;) {
		struct entry *entry, *last = TAILQ_LAST(&ledger->steps[step], entry_queue);
		bool again = last != NULL;

		while (again && (entry = TAILQ_FIRST(&ledger->steps[step])) &&
			entry->wake_at_ns <= now.mono_ns) {
			again = entry != last;
			TAILQ_REMOVE(&ledger->steps[step], entry, step_link);
			step_enter(ledger, entry,
				step + 1 < WAKE_STEPS ? (uint8_t)(step + 1) : step, now);
			ledger_wake(ledger, entry);
			ledger_judge(
				ledger, entry, now); /* a provisional event that had no memory */
		}
	}
}

uint64_t ledger_next_due(const struct ledger *ledger)
{
	uint64_t due = NSEC_NEVER;

	for (uint8_t step = 0; step < WAKE_STEPS; step++) {
		const struct entry *entry = TAILQ_FIRST(&ledger->steps[step]);

		if (entry)
			due = time_min(due, entry->wake_at_ns);
	}
	return due;
}

/* ---- differences ------------------------------------------------------------------------- */

/* GONE is the word of a list, not the lack of one. */
static bool word_is_gone(const struct entry *entry)
{
	return entry->word == CONTAINER_GONE &&
		(entry->listed || entry->removed || entry->lists >= LISTS_NEEDED);
}

static bool words_differ(const struct entry *entry)
{
	switch (entry->now.state) {
	case LEDGER_NONE: return false;
	case LEDGER_ALIVE: return entry->word == CONTAINER_EXITED || word_is_gone(entry);
	case LEDGER_ZOMBIE_THREADS:
		return entry->word == CONTAINER_RUNNING || entry->word == CONTAINER_EXITED ||
			word_is_gone(entry);
	case LEDGER_ZOMBIE:
	case LEDGER_GONE: return entry->word != CONTAINER_EXITED && entry->word != CONTAINER_GONE;
	}
	return false;
}

void ledger_differ_forget(struct ledger *ledger, struct entry *entry)
{
	if (!entry->differing)
		return;
	entry->differing = false;
	entry->differs_since_ns = 0;
	TAILQ_REMOVE(&ledger->differing, entry, differ_link);
	TAILQ_REMOVE(&ledger->steps[entry->wake_step], entry, step_link);
	ledger->differing_count--;
}

static void differ_enter(struct ledger *ledger, struct entry *entry, struct now now)
{
	if (entry->differing)
		return;
	entry->differing = true;
	entry->differs_since_ns = now.mono_ns;
	TAILQ_INSERT_TAIL(&ledger->differing, entry, differ_link);
	step_enter(ledger, entry, 0, now);
	ledger->differing_count++;
}

/* ---- deaths that are not PLEG's to tell ---------------------------------------------------- */

void ledger_news(struct entry *entry, struct now now)
{
	entry->news_ns = now.mono_ns;
	entry->lists = 0;
}

void ledger_wait_forget(struct ledger *ledger, struct entry *entry)
{
	if (!entry->waits)
		return;
	entry->waits = false;
	TAILQ_REMOVE(&ledger->waiting, entry, wait_link);
	ledger->waiting_count--;
}

static void wait_enter(struct ledger *ledger, struct entry *entry)
{
	if (entry->waits)
		return;
	entry->waits = true;
	TAILQ_INSERT_TAIL(&ledger->waiting, entry, wait_link);
	ledger->waiting_count++;
}

/* The runtime says exited, PLEG has told the death that it saw, and since then there was another
 * life, which is over, too. */
static bool life_was_missed(const struct entry *entry)
{
	const struct life *life = &entry->now;

	return entry->word == CONTAINER_EXITED && !entry->owes && !life->confirmed &&
		(ledger_state_is_dead(life->state) ||
			(life->started && life->exited && life->state == LEDGER_NONE));
}

static bool entry_waits(const struct entry *entry)
{
	if (!entry->listed)
		return !entry->removed;
	return entry->has_old || life_was_missed(entry);
}

/* The end of a container that no list shows. */
static void conclude_unlisted(struct ledger *ledger, struct entry *entry, struct now now)
{
	struct life *life = &entry->now;
	bool is_over = life_is_over(life) || (entry->deleted && life->state == LEDGER_NONE);

	if (life->state == LEDGER_ALIVE || life->state == LEDGER_ZOMBIE_THREADS) {
		ledger_judge(ledger, entry, now); /* a difference */
		return;
	}
	if (!is_over) {
		if (time_since(now.mono_ns, entry->news_ns) >= UNLISTED_KEEP_NS)
			ledger_entry_end(ledger, entry);
		return;
	}
	if (entry->has_old && entry->old.started &&
		ledger_tell(ledger, entry, &entry->old, TELL_STARTED | TELL_DIED, now) < 0)
		return; /* out of memory: after the next list */
	entry->has_old = false;
	if (life->started &&
		ledger_tell(ledger, entry, life, TELL_STARTED | TELL_DIED | TELL_REMOVED, now) < 0)
		return;
	ledger_entry_end(ledger, entry);
}

/* A life came after one whose death is not confirmed, and the runtime shows only the later one. */
static void conclude_old(struct ledger *ledger, struct entry *entry, struct now now)
{
	bool is_running = entry->word == CONTAINER_RUNNING;
	unsigned what = TELL_DIED;

	/* A start that PLEG is about to tell comes first. */
	if (is_running != entry->told_started || (!is_running && entry->word != CONTAINER_EXITED))
		return;
	what |= is_running ? TELL_RESTARTED : TELL_STARTED;
	/* The stream alone might lie. */
	if (ledger_state_is_dead(entry->old.state)) {
		if (ledger_tell(ledger, entry, &entry->old, what, now) < 0)
			return;
		entry->died_once = true;
	}
	entry->has_old = false;
	ledger_judge(ledger, entry, now);
}

static void conclude_missed(struct ledger *ledger, struct entry *entry, struct now now)
{
	struct life *life = &entry->now;
	unsigned what = TELL_DIED | (entry->told_started ? 0 : TELL_STARTED);

	if (ledger_tell(ledger, entry, life, what, now) < 0)
		return;
	entry->told_started = false;
	entry->died_once = true;
	life->confirmed = true;
	life->open = false;
	ledger_judge(ledger, entry, now);
}

void ledger_on_list(struct ledger *ledger, uint64_t started_ns, struct now now)
{
	struct entry *entry, *next;

	if (now.mono_ns < ledger->mono_ns)
		now.mono_ns = ledger->mono_ns;
	ledger->mono_ns = now.mono_ns;
	if (started_ns > ledger->list_started_ns)
		ledger->list_started_ns = started_ns;
	for (entry = TAILQ_FIRST(&ledger->waiting); entry; entry = next) {
		next = TAILQ_NEXT(entry, wait_link);
		if (started_ns <= entry->news_ns)
			continue;
		if (entry->lists < LISTS_NEEDED)
			entry->lists++;
		if (entry->lists < LISTS_NEEDED)
			continue;
		if (!entry->listed)
			conclude_unlisted(ledger, entry, now);
		else if (entry->owes)
			continue; /* PLEG saw a death and tells it when the pod is inspected */
		else if (entry->has_old)
			conclude_old(ledger, entry, now);
		else if (life_was_missed(entry))
			conclude_missed(ledger, entry, now);
	}
}

/* ---- all of it ----------------------------------------------------------------------------- */

static bool wants_provisional(const struct entry *entry)
{
	const struct life *life = &entry->now;

	/* Nobody dies in a story who has not been born in it: the start is told first, by PLEG or, with
	 * the confirmed death, by the ledger. While an older death is not confirmed its confirmation
	 * would name this one. */
	return entry->told_started && entry->identity && !entry->has_old &&
		ledger_state_is_dead(life->state) && !life->open && !life->confirmed;
}

void ledger_judge(struct ledger *ledger, struct entry *entry, struct now now)
{
	const struct life *life = &entry->now;

	if (wants_provisional(entry) && ledger_tell_provisional(ledger, entry, life, now) >= 0)
		entry->now.open = true;
	if (words_differ(entry))
		differ_enter(ledger, entry, now);
	else
		ledger_differ_forget(ledger, entry);
	if (entry_waits(entry))
		wait_enter(ledger, entry);
	else
		ledger_wait_forget(ledger, entry);
	if (entry->removed && (life->state == LEDGER_NONE || ledger_state_is_dead(life->state)))
		ledger_entry_end(ledger, entry);
}
