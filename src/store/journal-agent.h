/*
 * The journal as the agent sees it: starts `pleg-journal`, hands it events in batches, and asks it
 * for old ones. Nothing here touches the disk or waits for who does.
 *
 * What waits to be written stands in the sync loop's own history (8,192 events in the agent), which
 * the journal reads as one more subscriber; only the batch under way is held here, until it is
 * acknowledged. What was not acknowledged is sent again, to the next process if need be; the journal
 * tells twice the same from two. What the history has lost meanwhile is counted as dropped, and the
 * journal is told how many are missing where.
 *
 * A role that does not answer within `answer_timeout_ns` hangs in the disk: src/role kills it,
 * or abandons it, and starts no second one beside it, since there is one writer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "role/role.h"
#include "store/batch.h" /* struct journal_incident */

struct err;
struct journal;
struct journal_query;
struct sync_loop;

#define JOURNAL_MAX_AGE_DEFAULT_NS (UINT64_C(7) * 86400 * 1000000000)
#define JOURNAL_MAX_BYTES_DEFAULT  (UINT64_C(64) << 20)
#define JOURNAL_MAX_BYTES_LEAST    (UINT64_C(4) << 20)
#define JOURNAL_QUERIES_MAX        56u /* one that nobody goes on with costs 2 KB here, nothing there */
#define JOURNAL_DIFFERENCES_MAX    512u /* that wait */
#define JOURNAL_INCIDENTS_MAX      64u  /* that wait: 2 MiB at most */

struct journal_ops {
	/* How it does has changed: `state` is a word of journal_status, `reason` may be "". May be
	 * NULL. */
	void (*on_state)(void *userdata, const char *state, const char *reason);
	/* Something that people should know once: a damaged file was set aside. May be NULL. */
	void (*on_note)(void *userdata, const char *text);
	/* Something was written or dropped. May be NULL. */
	void (*on_progress)(void *userdata);
};

struct journal_config {
	const char *state_dir; /* absolute; the role makes it if it is missing */
	uint64_t max_age_ns;   /* journalMaxAge; 0: 7 days */
	uint64_t max_bytes;    /* journalMaxBytes, of file and log; 0: 64 MiB; at least 4 MiB */
	int exe_fd; /* of pleg-journal, from role_exe_open(); borrowed, must outlive the journal */
	uint64_t answer_timeout_ns; /* 0: 30 s */
	uint64_t check_ns;          /* for who moves or cuts the files under it; 0: 5 s */
};

/* Starts the role. Strings are copied, `events` and `ops` are borrowed. 0, -EINVAL, -ENOMEM. */
int journal_new(sd_event *event, struct role_spawner *spawner, struct sync_loop *events,
	const struct journal_config *config, const struct journal_ops *ops, void *userdata,
	struct journal **ret, struct err *reterr);
/* Ends the role at once; what waits is lost (see journal_drain()). Queries end without a word. Not
 * from inside a callback. Returns NULL. */
struct journal *journal_free(struct journal *j);
DEFINE_FREEP(struct journal *, journal_free)

/* To be called after sync_loop_add(): what is new is sent within 100 ms. */
void journal_wake(struct journal *j);

/* Sends all that waits; calls back, from the loop and once, when it is written or after
 * `timeout_ns`. 0, or a negative errno and no call. */
int journal_drain(
	struct journal *j, uint64_t timeout_ns, void (*on_drained)(void *userdata), void *userdata);

/* The runtime's word and the kernel's about a container differ: told when it begins (`until_ns` 0)
 * and when it ends; the same id and `since_ns` are the same difference. Copied. -EINVAL, -ENOMEM,
 * -ENOBUFS (counted as dropped). */
int journal_difference(struct journal *j, const char *container_id, const char *runtime_word,
	const char *kernel_word, int64_t since_ns, int64_t until_ns);

/*
 * An incident as it stands now, to be told when it begins, whenever it changes and when it ends: of
 * one id the journal keeps what was told last (by changed_ns). Copied; what waits of the same id is
 * replaced. -EINVAL: not one (incident_is_valid()); -ENOMEM; -ENOBUFS while the disk hangs: tell it
 * again, on_state says when. Ended ones are kept for journalMaxAge after their last change, all of
 * them together in less than a quarter of journalMaxBytes; those that go on are the last to go.
 */
int journal_incident(struct journal *j, const struct journal_incident *incident);

struct journal_status {
	/* off is not ours to say. starting, ok, slow (an answer takes over 5 s), stuck (the disk
	 * hangs), down (the role has ended and comes back), full, read-only, denied, newer, locked,
	 * failed. */
	const char *state;
	const char *reason;        /* "" if it is ok; valid until the loop goes on */
	uint64_t waiting;          /* events not acknowledged yet */
	uint64_t dropped, written; /* events, since the agent's start */
	struct role_status role;
};
void journal_status(const struct journal *j, struct journal_status *ret);

/* ---- asking -------------------------------------------------------------------------------- */

struct journal_filter {
	int64_t since_ns, until_ns;              /* wall clock, of observedAt; 0: no limit */
	uint64_t limit;                          /* the newest so many; 0: all */
	bool kubelet;                            /* event_is_kubelets() */
	const char *namespace, *pod, *container; /* NULL: all; as in struct sync_filter */
};

/* A part of the answer: r = 0 with lines of JSON, oldest first (borrowed, possibly none); `done`:
 * there is no more. Negative: it failed, `text` says why, and there is no more either. */
typedef void (*journal_rows_fn)(
	void *userdata, int r, const char *text, const void *lines, size_t len, bool done);

/* Asks for the first part. `on_rows` is called once per part, never from inside; each part is asked
 * for by journal_query_next(), so a slow reader costs nothing. A part that takes over 5 s has
 * failed. 0, or a negative errno with a text, and then nothing is called: the journal is down, or
 * -EBUSY at JOURNAL_QUERIES_MAX. */
int journal_query(struct journal *j, const struct journal_filter *filter, journal_rows_fn on_rows,
	void *userdata, struct journal_query **ret, struct err *reterr);

struct journal_incident_filter {
	/* The beginning of an id: those, with their "document". NULL: all, without. */
	const char *id;
	int64_t since_ns; /* wall clock: that have changed since, or go on; 0: no limit */
	uint64_t limit;   /* the newest so many; 0: all */
	bool open;        /* only those that go on */
};

/* The same for incidents, in the order in which they began to be told: {"id","cause","subject",
 * "state","openedAt","changedAt","closedAt"(null: it goes on),"document"}. What waits to be written
 * is not among them. */
int journal_query_incidents(struct journal *j, const struct journal_incident_filter *filter,
	journal_rows_fn on_rows, void *userdata, struct journal_query **ret, struct err *reterr);

/* Asks for the next part; may be called from inside on_rows. After the last one: for what was written
 * since, without regard to `limit`; and the answer covers more. */
int journal_query_next(struct journal_query *q, struct err *reterr);
/* The last sequence of this run of the agent that the answer covers, once the first part is there:
 * what comes after it is in the sync loop's history. */
uint64_t journal_query_covers(const struct journal_query *q);
/* May be called at any time, also from inside on_rows and after the journal is freed. Returns NULL.
 */
struct journal_query *journal_query_free(struct journal_query *q);
