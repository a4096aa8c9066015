/*
 * Entries and the lives within them. An entry that is over stays behind, without identity, as one of
 * the last ENDED_MAX ids: what a stream tells late or twice must not look like a new container.
 * Ending therefore allocates nothing and cannot fail.
 */
#include "ledger/ledger-internal.h"

#include <errno.h>

#include "base/mem.h"

struct entry *ledger_entry(const struct ledger *ledger, const char *id)
{
	return table_get_string(&ledger->entries, id);
}

/* Counts it in, and lets it wait for a list that shows it. */
static void entry_enter(struct ledger *ledger, struct entry *entry, struct now now)
{
	ledger->stats.entries++;
	entry->waits = true;
	TAILQ_INSERT_TAIL(&ledger->waiting, entry, wait_link);
	ledger->waiting_count++;
	ledger_news(entry, now);
}

static bool ledger_is_full(struct ledger *ledger)
{
	if (ledger->stats.entries < ledger->containers_max)
		return false;
	ledger->stats.over_limit++;
	return true;
}

int ledger_entry_new(struct ledger *ledger, const char *id, struct now now, struct entry **ret)
{
	CLEAN(mem_freep) struct entry *entry = NULL;
	char *at;
	int r;

	if (ledger_is_full(ledger))
		return -ENOSPC;
	entry = mem_zalloc(sizeof(*entry) + strlen(id) + 1);
	if (!entry) {
		ledger->stats.dropped++;
		return -ENOMEM;
	}
	at = (char *)(entry + 1);
	entry->id = str_put(&at, id);
	r = table_put_string(&ledger->entries, entry->id, entry);
	if (r < 0) {
		ledger->stats.dropped++;
		return r;
	}
	entry_enter(ledger, entry, now);
	*ret = TAKE_PTR(entry);
	return 0;
}

int ledger_entry_revive(struct ledger *ledger, struct entry *entry, struct now now)
{
	if (ledger_is_full(ledger))
		return -ENOSPC;
	TAILQ_REMOVE(&ledger->ended, entry, wait_link);
	ledger->ended_count--;
	entry->ended = false;
	entry_enter(ledger, entry, now);
	return 0;
}

void ledger_entry_free(struct entry *entry)
{
	(void)event_free(entry->identity);
	(void)mem_free(entry);
}

void ledger_entry_end(struct ledger *ledger, struct entry *entry)
{
	struct entry *oldest;

	ledger_wake_forget(ledger, entry);
	ledger_differ_forget(ledger, entry);
	ledger_wait_forget(ledger, entry);
	entry->identity = event_free(entry->identity);
	entry->word = CONTAINER_GONE;
	entry->listed = entry->owes = entry->told_started = entry->has_old = false;
	entry->paused = entry->oom_killed = false;
	entry->shim = (struct ledger_shim){ 0 };
	entry->group = (struct ledger_group){ 0 };
	entry->died_once = entry->removed = entry->ended = true;
	entry->now.confirmed = true;
	entry->now.open = false;
	ledger->stats.entries--;
	TAILQ_INSERT_TAIL(&ledger->ended, entry, wait_link);
	if (++ledger->ended_count <= ENDED_MAX)
		return;
	oldest = TAILQ_FIRST(&ledger->ended);
	TAILQ_REMOVE(&ledger->ended, oldest, wait_link);
	ledger->ended_count--;
	(void)table_remove_string(&ledger->entries, oldest->id);
	ledger_entry_free(oldest);
}

void ledger_entry_identify(struct ledger *ledger, struct entry *entry, const struct event *identity)
{
	if (entry->identity)
		return;
	entry->identity = event_new(identity);
	if (!entry->identity)
		ledger->stats.dropped++;
}

void ledger_entry_new_life(struct ledger *ledger, struct entry *entry, struct now now)
{
	struct life *life = &entry->now;

	if ((entry->owes || life_is_over(life)) && !life->confirmed) {
		if (entry->has_old) {
			ledger->stats.lives_merged++;
		} else {
			entry->old = *life;
			entry->has_old = true;
		}
	}
	if (life->pid > 0)
		entry->old_pid = life->pid;
	*life = (struct life){ 0 };
	entry->paused = entry->oom_killed = false;
	entry->shim = (struct ledger_shim){ 0 };
	entry->group = (struct ledger_group){ 0 };
	ledger_news(entry, now);
}
