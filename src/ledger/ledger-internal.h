/*
 * The shared guts of the ledger: what the files of this room know of each other.
 *
 *	ledger.c   inputs and outputs
 *	entry.c    entries: made, found, over; lives within an entry
 *	judge.c    differences, wakes, and when a death is the ledger's own to confirm
 *	tell.c     what is told, as events
 *
 * An entry is one container id; a life is one init of it. `now` is the life that was heard of last,
 * `old` the one before it for as long as its death is known and not confirmed: PLEG's next
 * ContainerDied is then that one's.
 */
#pragma once

#include <sys/queue.h>

#include "base/str.h"
#include "base/table.h"
#include "ledger/ledger.h"
#include "model/event-queue.h"

#define ENDED_MAX 2048 /* ids remembered after their end, for late and doubled facts */
/* A container that no list shows, and of whose end nobody tells, is forgotten after this. */
#define UNLISTED_KEEP_NS (60 * NSEC_PER_SEC)
#define LISTS_NEEDED     2 /* full lists that must agree before the ledger confirms by itself */

struct life {
	int32_t pid;          /* 0: not known */
	uint64_t start_ticks; /* 0: not known */
	enum ledger_state state;
	struct ledger_exit exit;
	bool exit_is_kernels;
	bool started, exited;  /* says the stream */
	int64_t start_at_ns;   /* wall clock, as the stream dates it; 0 */
	int64_t start_seen_ns; /* wall clock, here */
	int64_t death_seen_ns; /* wall clock, here; 0: not dead */
	bool open;             /* its provisional death was told and is not confirmed */
	bool confirmed;        /* its death was told by PLEG, or here in its place */
};

TAILQ_HEAD(entry_queue, entry);

struct entry {
	const char *id;         /* the key; in this allocation */
	struct event *identity; /* owned; NULL: not known */
	bool listed;            /* a list has had it since it was new or came back */
	bool removed;           /* its removal was told, and no list has had it since */
	bool ended;             /* kept only to know late facts by */
	bool deleted;           /* says the stream */
	bool paused, oom_killed;
	struct ledger_shim shim; /* of the life that is there now, as the group */
	struct ledger_group group;
	/* The runtime. */
	enum container_state word;
	bool owes; /* the word turned to exited or gone and PLEG has not told that death yet */
	bool told_started; /* the last thing told of it, confirmed, was a start */
	bool died_once;
	/* The kernel. */
	struct life now, old;
	bool has_old;
	uint64_t newest_ticks;
	int32_t old_pid; /* of the life before, 0: none */
	/* Lists that began after the last news and left things as they are. */
	bool waits;
	uint8_t lists;
	uint64_t news_ns;
	/* Differences. */
	bool differing;
	uint64_t differs_since_ns;
	uint8_t wake_step;
	uint64_t wake_at_ns;
	bool waking;
	TAILQ_ENTRY(entry) wait_link; /* ledger.waiting, or once ended ledger.ended */
	TAILQ_ENTRY(entry) differ_link, step_link, wake_link;
};

#define WAKE_STEPS 6

struct ledger {
	uint32_t containers_max;
	struct table entries;
	struct entry_queue waiting, ended, differing, wakes;
	struct entry_queue steps[WAKE_STEPS]; /* differing ones, by how long until the next wake */
	uint32_t ended_count, differing_count, waiting_count;
	uint64_t list_started_ns; /* of the last full list that was answered */
	uint64_t mono_ns;         /* of the last input; never goes back */
	struct event_queue events;
	struct ledger_stats stats;
};

static inline bool life_is_over(const struct life *life)
{
	return ledger_state_is_dead(life->state) || (life->state == LEDGER_NONE && life->exited);
}

/* ---- entry.c ---- */

/* The entry of the id, ended or not; NULL: none. */
struct entry *ledger_entry(const struct ledger *ledger, const char *id);
/* A new one. 0, -ENOSPC, -ENOMEM. */
int ledger_entry_new(struct ledger *ledger, const char *id, struct now now, struct entry **ret);
/* An ended one is needed again. 0 or -ENOSPC. */
int ledger_entry_revive(struct ledger *ledger, struct entry *entry, struct now now);
/* Runtime and kernel have both done with it. */
void ledger_entry_end(struct ledger *ledger, struct entry *entry);
void ledger_entry_free(struct entry *entry);
/* Copies who it is, unless that is known. */
void ledger_entry_identify(
	struct ledger *ledger, struct entry *entry, const struct event *identity);
/* Another init has taken the place of the one that was known. */
void ledger_entry_new_life(struct ledger *ledger, struct entry *entry, struct now now);

/* ---- judge.c ---- */

/* Looks at the entry after anything of it has changed: the provisional event, the difference, what
 * waits for lists, the end. The entry may be ended after this. */
void ledger_judge(struct ledger *ledger, struct entry *entry, struct now now);
/* Something new was heard, so lists that began before it say nothing. */
void ledger_news(struct entry *entry, struct now now);
void ledger_wake(struct ledger *ledger, struct entry *entry);
void ledger_wake_forget(struct ledger *ledger, struct entry *entry);
void ledger_differ_forget(struct ledger *ledger, struct entry *entry);
void ledger_wait_forget(struct ledger *ledger, struct entry *entry);

/* ---- tell.c ---- */

/* Each queues events of the entry, all or (-ENOMEM) none. `life` is the one that is told of. */
int ledger_tell_provisional(
	struct ledger *ledger, const struct entry *entry, const struct life *life, struct now now);

enum tell {
	TELL_STARTED = 1 << 0,
	TELL_DIED = 1 << 1,
	TELL_REMOVED = 1 << 2,
	TELL_RESTARTED = 1 << 3, /* the start of the life that is there now, last */
};

/* Confirmed, in this order: what the ledger tells in PLEG's place. */
int ledger_tell(struct ledger *ledger, const struct entry *entry, const struct life *life,
	unsigned what, struct now now);
