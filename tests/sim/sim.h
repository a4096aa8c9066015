/*
 * The deterministic simulator: the real lib_pleg, lib_ledger, lib_sync and lib_node in a world that
 * is made up, judged by models that share no code with them.
 *
 *	world (sim-world.c)    pods and containers, each with its whole history of states, and the faults
 *	                       that the runtime in front of them suffers; turns operations into both
 *	kernel (sim-kernel.c)  inits with pid and start time, and the event stream that tells of them
 *	agent (sim-agent.c)    plays src/agent: pops requests, lets answers come after a latency, ticks
 *	hints (sim-hints.c)    plays src/agent/hints.c: stream, tasks and watches into the ledger
 *	oracle (sim-oracle.c)  what answers showed -> which events must be told; cache, calls, notices
 *	ledger (sim-ledger.c)  what of deaths may and must be told, and how the two words differ
 *	models (sim-models.c)  health, node verdict and sync loop, written from docs/internals
 *	driver (sim.c)         seeds, jobs, shrinking, coverage
 *
 * A history is an array of operations made from its seed beforehand. Each has an absolute time and
 * picks what it acts on by number modulo what there is, so any subset of a history is a history:
 * that is what shrinking and replaying (--only) rest on. Nothing else is random: latencies are hashes
 * of the seed, the subject and how many calls it has had.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/time.h"
#include "ledger/feed.h"
#include "model/container.h"
#include "node/node.h"
#include "pleg/pleg.h"
#include "sync/sync.h"

#define SIM_NONE UINT32_MAX

/* ---- random numbers ----------------------------------------------------------------------- */

struct rng {
	uint64_t state;
};

static inline uint64_t rng_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static inline uint64_t rng_next(struct rng *rng)
{
	return rng_mix(rng->state += UINT64_C(0x9e3779b97f4a7c15));
}

static inline uint32_t rng_below(struct rng *rng, uint32_t n)
{
	return (uint32_t)(((rng_next(rng) >> 32) * n) >> 32);
}

static inline bool rng_chance(struct rng *rng, uint32_t percent)
{
	return rng_below(rng, 100) < percent;
}

/* ---- coverage: a row that stays at zero fails the run --------------------------------------- */

#define SIM_COVERAGE(X)                                                                            \
	X(GONE_RUNNING, "shown: gone -> running")                                                  \
	X(GONE_EXITED, "shown: gone -> exited")                                                    \
	X(GONE_CREATED, "shown: gone -> created")                                                  \
	X(GONE_UNKNOWN, "shown: gone -> unknown")                                                  \
	X(CREATED_RUNNING, "shown: created -> running")                                            \
	X(CREATED_EXITED, "shown: created -> exited")                                              \
	X(CREATED_GONE, "shown: created -> gone")                                                  \
	X(RUNNING_EXITED, "shown: running -> exited")                                              \
	X(RUNNING_UNKNOWN, "shown: running -> unknown")                                            \
	X(RUNNING_GONE, "shown: running -> gone")                                                  \
	X(EXITED_RUNNING, "shown: exited -> running")                                              \
	X(EXITED_GONE, "shown: exited -> gone")                                                    \
	X(UNKNOWN_RUNNING, "shown: unknown -> running")                                            \
	X(UNKNOWN_EXITED, "shown: unknown -> exited")                                              \
	X(UNKNOWN_GONE, "shown: unknown -> gone")                                                  \
	X(SANDBOX_STARTED, "told: sandbox ContainerStarted")                                       \
	X(SANDBOX_DIED, "told: sandbox ContainerDied")                                             \
	X(SANDBOX_REMOVED, "told: sandbox ContainerRemoved")                                       \
	X(CONTAINER_STARTED, "told: container ContainerStarted")                                   \
	X(CONTAINER_DIED, "told: container ContainerDied")                                         \
	X(CONTAINER_REMOVED, "told: container ContainerRemoved")                                   \
	X(POD_SYNC, "told: PodSync")                                                               \
	X(INITIAL, "told: initial")                                                                \
	X(EXIT_CODE, "told: an exit code")                                                         \
	X(FOLDED, "told: pairs folded")                                                            \
	X(SHOWN_BY_INSPECT, "shown by an inspection first")                                        \
	X(STALE_LIST, "answer: list older than a newer observation of a pod")                      \
	X(STALE_INSPECT, "answer: inspection older than a newer observation")                      \
	X(REQUEST_LIST, "request: list")                                                           \
	X(REQUEST_LIST_POD, "request: list of one pod")                                            \
	X(REQUEST_LIST_SANDBOX, "request: list of one pod by sandbox")                             \
	X(REQUEST_INSPECT_CONTAINER, "request: inspect container")                                 \
	X(REQUEST_INSPECT_SANDBOX, "request: inspect sandbox")                                     \
	X(FAULT_LATE_LIST, "fault: list late, then answered")                                      \
	X(FAULT_LATE_INSPECT, "fault: inspection late, then answered")                             \
	X(FAULT_FAILED_LIST, "fault: list failed")                                                 \
	X(FAULT_FAILED_INSPECT, "fault: inspection failed")                                        \
	X(FAULT_LATE_FAILED, "fault: late, then failed")                                           \
	X(FAULT_NOT_FOUND, "fault: NotFound of what is listed")                                    \
	X(FAULT_NOT_FOUND_GONE, "fault: NotFound of what is gone")                                 \
	X(FAULT_LIE_LIST, "fault: list of an older state")                                         \
	X(FAULT_LIE_INSPECT, "fault: inspection of an older state")                                \
	X(FAULT_DUPLICATE, "fault: id twice in a list")                                            \
	X(FAULT_MALFORMED, "fault: entry without id")                                              \
	X(FAULT_REORDERED, "fault: answers in another order than their calls")                     \
	X(FAULT_RESTART, "fault: runtime restarted with calls open")                               \
	X(FAULT_HUNG_SUBJECT, "fault: subject hung")                                               \
	X(FAULT_HUNG_ALL, "fault: runtime hung")                                                   \
	X(FAULT_OVERSLEPT, "fault: ticks that come late")                                          \
	X(FAULT_WALL_STEP, "fault: wall clock stepped")                                            \
	X(WAKE_TRUE, "wake: something happened")                                                   \
	X(WAKE_FALSE, "wake: nothing happened")                                                    \
	X(WAKE_UNKNOWN, "wake: unknown id")                                                        \
	X(RELIST_POD, "relist on demand: known pod")                                               \
	X(RELIST_POD_UNKNOWN, "relist on demand: unknown pod")                                     \
	X(RELIST_NOW, "relist now")                                                                \
	X(PERIOD_GREW, "relist period: grown")                                                     \
	X(PERIOD_BACK, "relist period: back at a doubt")                                           \
	X(NOTICE_POD, "subscription: noticed, pod there")                                          \
	X(NOTICE_NO_POD, "subscription: noticed, no such pod")                                     \
	X(UNSUBSCRIBED, "subscription: taken back")                                                \
	X(QUARANTINE_ENTER, "quarantine: entered")                                                 \
	X(QUARANTINE_LEAVE, "quarantine: left")                                                    \
	X(UNHEALTHY_NEVER, "health: yet to be successful")                                         \
	X(UNHEALTHY_OLD, "health: last seen too long ago")                                         \
	X(HEALTHY_AGAIN, "health: healthy again")                                                  \
	X(STARVED, "health: inspections starved")                                                  \
	X(NOT_READY_PLEG, "node: NotReady by PLEG")                                                \
	X(NOT_READY_RUNTIME_DOWN, "node: NotReady by the 30 s of Status")                          \
	X(NOT_READY_NO_STATUS, "node: NotReady before the first Status")                           \
	X(NOT_READY_RUNTIME, "node: NotReady by RuntimeReady")                                     \
	X(NOT_READY_NETWORK, "node: NotReady by NetworkReady")                                     \
	X(NOT_READY_QUARANTINE, "node: NotReady by quarantined share")                             \
	X(NOT_READY_STARVED, "node: NotReady by starved inspections")                              \
	X(READY_HELD_BACK, "node: Ready held back by damping")                                     \
	X(READY_AGAIN, "node: Ready again")                                                        \
	X(CALM_DOUBLED, "node: calm doubled by flaps")                                             \
	X(DEGRADED, "node: degraded")                                                              \
	X(STALLED, "node: stalled")                                                                \
	X(SYNC_MISSED, "sync: a slow reader told what it missed")                                  \
	X(SYNC_FILTERED, "sync: a reader with a filter")                                           \
	X(SYNC_CONFIRMS, "sync: a provisional event confirmed")                                    \
	X(INIT_DEAD, "kernel: a death told by a pidfd")                                            \
	X(INIT_DEAD_LATE, "kernel: a death told late")                                             \
	X(INIT_THREADS, "kernel: a zombie leader with live threads")                               \
	X(INIT_UNWATCHED, "kernel: an init that cannot be watched")                                \
	X(INIT_ZOMBIE_FIRST, "kernel: watched as a zombie from the start")                         \
	X(PID_REUSED, "kernel: a pid used again")                                                  \
	X(PID_FOREIGN, "kernel: a pid named that is another container's")                          \
	X(STREAM_LOST, "stream: a hint lost")                                                      \
	X(STREAM_LATE, "stream: a hint late")                                                      \
	X(STREAM_TWICE, "stream: a hint twice")                                                    \
	X(STREAM_WRONG_CODE, "stream: a wrong exit code")                                          \
	X(STREAM_LIE_EXIT, "stream: exit of one that lives")                                       \
	X(STREAM_LIE_PID, "stream: the pid of another")                                            \
	X(STREAM_GHOST, "stream: an id that never was")                                            \
	X(STREAM_BROKE, "stream: broke")                                                           \
	X(STREAM_BACK, "stream: came back")                                                        \
	X(STREAM_GAP, "stream: a gap")                                                             \
	X(STREAM_ABSENT, "stream: absent")                                                         \
	X(TASKS_STALE, "tasks: an answer older than an init")                                      \
	X(TOLD_PROVISIONAL, "told: provisional ContainerDied")                                     \
	X(TOLD_OTHER_CODE, "told: confirmed with another exit code")                               \
	X(TOLD_STREAM_START, "told: ContainerStarted of the stream, then PLEG's Died")             \
	X(TOLD_UNLISTED, "told: a life that no list ever showed")                                  \
	X(TOLD_RESTART, "told: a death and a start between two lists")                             \
	X(PROVISIONAL_STAYS, "told: provisional open while the runtime says running")              \
	X(DIFFERS_DEAD, "difference: dead, says running")                                          \
	X(DIFFERS_ALIVE, "difference: alive, says exited")                                         \
	X(DIFFERS_LEAKED, "difference: alive, in no list")                                         \
	X(DIFFERS_THREADS, "difference: zombie with threads")                                      \
	X(LEDGER_CALM, "ledger: calm, all sources alive")

enum sim_coverage {
#define X(name, text) COVER_##name,
	SIM_COVERAGE(X)
#undef X
	COVER_COUNT,
};

/* ---- operations --------------------------------------------------------------------------- */

#define SIM_OPS(X)                                                                                 \
	X(POD_NEW, "pod-new")                                                                      \
	X(POD_BARE, "pod-bare") /* no label, no UID, perhaps no names */                           \
	X(CREATE, "create")                                                                        \
	X(ORPHAN, "orphan") /* a container whose sandbox is in no list */                          \
	X(START, "start")                                                                          \
	X(EXIT, "exit")                                                                            \
	X(CRASH, "crash") /* exit, and a new attempt beside it */                                  \
	X(RESTART, "restart-same-id")                                                              \
	X(QUICK_LIFE, "quick-life") /* created, started, exited within milliseconds */             \
	X(FLAP, "flap")             /* restarts under its id for half a minute */                  \
	X(REMOVE, "remove")         /* an exited one */                                            \
	X(VANISH, "vanish")         /* whatever it is, gone at once */                             \
	X(POD_DELETE, "pod-delete") /* all exit, then all go */                                    \
	X(POD_VANISH, "pod-vanish")                                                                \
	X(SANDBOX_KILL, "sandbox-kill")                                                            \
	X(SANDBOX_NEW, "sandbox-new") /* the same pod in another sandbox */                        \
	X(UNKNOWN, "unknown")                                                                      \
	X(DUPLICATE, "duplicate")                                                                  \
	X(MALFORMED, "malformed")                                                                  \
	X(HANG_SUBJECT, "hang-subject")                                                            \
	X(HANG_POD, "hang-pod")                                                                    \
	X(HANG_MANY, "hang-many") /* a share of the pods */                                        \
	X(HANG_INSPECT, "hang-inspections")                                                        \
	X(HANG_LIST, "hang-list")                                                                  \
	X(HANG_ALL, "hang-runtime")                                                                \
	X(HEAL, "heal") /* whatever hangs answers */                                               \
	X(SLOW, "slow")                                                                            \
	X(FAIL_SUBJECT, "fail-subject")                                                            \
	X(FAIL_LIST, "fail-list")                                                                  \
	X(NOT_FOUND, "not-found")                                                                  \
	X(LIE_INSPECT, "lie-inspect")                                                              \
	X(LIE_LIST, "lie-list")                                                                    \
	X(RESTART_RUNTIME, "runtime-restart")                                                      \
	X(CONDITION, "condition") /* RuntimeReady or NetworkReady turns */                         \
	X(OVERSLEEP, "oversleep")                                                                  \
	X(WALL_STEP, "wall-step")                                                                  \
	X(WAKE, "wake")                                                                            \
	X(WAKE_UNKNOWN, "wake-unknown")                                                            \
	X(RELIST_POD, "relist-pod")                                                                \
	X(RELIST_POD_UNKNOWN, "relist-pod-unknown")                                                \
	X(RELIST_NOW, "relist-now")                                                                \
	X(SUBSCRIBE, "subscribe")                                                                  \
	X(UNSUBSCRIBE, "unsubscribe")                                                              \
	X(TICK, "tick") /* one that nobody asked for */                                            \
	X(READER_NEW, "reader-new")                                                                \
	X(READER_READ, "reader-read")                                                              \
	X(READER_FREE, "reader-free")                                                              \
	X(HINTS, "hints")             /* may they be relied on */                                  \
	X(PROVISIONAL, "provisional") /* the kernel tells of a death */                            \
	X(KILL, "kill")               /* an init dies, and the runtime is slow to notice */        \
	X(THREADS, "threads")         /* a leader dies, a thread lives on */                       \
	X(STREAM_BREAK, "stream-break")                                                            \
	X(STREAM_GAP, "stream-gap")                                                                \
	X(STREAM_LIE, "stream-lie")                                                                \
	X(STREAM_OOM, "stream-oom")                                                                \
	X(WATCH_FAIL, "watch-fail")

enum sim_op_kind {
#define X(name, text) OP_##name,
	SIM_OPS(X)
#undef X
	OP_COUNT,
};

struct sim_op {
	uint64_t at_ns; /* since the start of the history */
	enum sim_op_kind kind;
	uint32_t a, b, c; /* random; what they mean is the operation's matter */
};

const char *sim_op_text(enum sim_op_kind kind);

/* What is fixed for a whole history. */
struct sim_profile {
	struct pleg_config pleg;
	uint32_t latency;        /* 0: below 3 ms, 1: 5-50 ms, 2: 0.1-1.5 s, 3: any of them */
	uint32_t hints_percent;  /* how many changes of the world are hinted at */
	uint64_t visible_lag_ns; /* the runtime's answers lag behind the hint by up to this */
	uint32_t pods;           /* there before the first list */
	size_t history_max;      /* of the sync loop */
	bool ledger; /* hints come by way of the ledger; else by chance, straight to PLEG */
	bool has_stream;
	/* Per cent of its hints; of deaths that a pidfd tells late; of inits that nobody can watch; of
	 * deaths whose exit code the kernel has no more. */
	uint8_t lost, late, twice, wrong, death_late, unwatched, codeless;
};

void sim_make_profile(uint64_t seed, struct sim_profile *ret);
/* Fills ops[0..count). */
void sim_make_ops(uint64_t seed, struct sim_op *ops, size_t count);

/* ---- the world ---------------------------------------------------------------------------- */

struct world_version {
	uint64_t at_ns;
	uint32_t older; /* index of the one before, or SIM_NONE */
	enum container_state state;
	int32_t exit_code;
	int64_t started_at_ns, finished_at_ns;
};

struct world_container {
	char id[16], sandbox_id[16], name[16], ip[16];
	enum container_kind kind;
	uint32_t pod, attempt, version;
	uint32_t label_pod; /* whose UID and names it is labelled with, SIM_NONE: unlabelled */
	bool duplicated;
	int64_t created_at_ns;
	/* The runtime's faults with it. */
	uint64_t hung_until_ns;
	uint32_t fail_left, not_found_left, lie_left, calls;
	/* The kernel. */
	uint64_t kernel_ns;        /* of the last birth or death that was planned */
	uint64_t threads_until_ns; /* a thread outlives the leader until then */
	bool leaks;                /* what becomes of the container does not reach its init */
};

struct world_pod {
	char uid[16], name[16], namespace[16];
	uint32_t sandbox; /* the newest, or SIM_NONE */
	uint32_t sandboxes, names;
	bool labelled, deleted;
};

#define WORLD_PODS_MAX       160
#define WORLD_CONTAINERS_MAX 1024

struct world {
	struct world_pod pods[WORLD_PODS_MAX];
	struct world_container containers[WORLD_CONTAINERS_MAX];
	uint32_t pod_count, container_count;
	struct world_version *versions;
	uint32_t version_count, version_cap;
	uint32_t version_free; /* chain of those that are used no more, by `older`; SIM_NONE */
	uint64_t list_hung_until_ns, inspect_hung_until_ns, all_hung_until_ns, slow_until_ns;
	uint32_t list_fail_left, list_lie_left, malformed_left;
	bool runtime_ready, network_ready;
	uint32_t lists;
};

/* The version that a look at `at_ns` would see; NULL before it existed. */
const struct world_version *world_at(const struct world *world, uint32_t container, uint64_t at_ns);
static inline const struct world_version *world_newest(
	const struct world *world, uint32_t container)
{
	return &world->versions[world->containers[container].version];
}

/* One entry of a list as it was answered. */
struct sim_entry {
	uint32_t container; /* SIM_NONE: one without id */
	enum container_state state;
};

struct sim_list {
	struct list_source source; /* first: the callbacks cast back */
	const struct world *world;
	struct sim_entry *entries;
	uint32_t count, at;
	uint32_t *described; /* per container, how often described by this answer */
};

/* ---- the kernel and what tells of it ------------------------------------------------------- */

#define LIVES_KEPT 8
#define GHOSTS     4 /* ids that only a lying stream tells of: WORLD_CONTAINERS_MAX + n */
#define SUBJECTS   (WORLD_CONTAINERS_MAX + GHOSTS)
#define PIDS       4096

/* One init. */
struct sim_init {
	uint32_t number; /* from 1 within its container */
	int32_t pid;
	uint64_t start_ticks;
	enum ledger_state state;
	struct ledger_exit exit; /* as the kernel would tell it */
	int32_t code;
};

struct sim_kernel {
	struct sim_init inits[WORLD_CONTAINERS_MAX][LIVES_KEPT]; /* by number % LIVES_KEPT */
	uint32_t numbers[WORLD_CONTAINERS_MAX];                  /* of the newest, 0: none yet */
	uint32_t watched[WORLD_CONTAINERS_MAX];                  /* number, 0: none */
	struct {
		uint32_t container, number;
	} pids[PIDS];
	uint32_t pid_next, pid_span;
	uint64_t draws; /* random numbers used */
	/* The stream and the list of tasks. */
	bool stream_up, degraded, tasks_open;
	uint64_t stream_guard, stream_back_ns;
	uint32_t unwatchable_left;
	struct {
		uint32_t container;
		int32_t pid;
	} tasks[WORLD_CONTAINERS_MAX];
	uint32_t task_count;
};

/* ---- calls, events in time, the whole -------------------------------------------------------- */

enum sim_item_kind {
	ITEM_ANSWER, /* arg: slot of the call */
	ITEM_LATE,
	ITEM_STATUS, /* the runtime's Status method answers */
	ITEM_STATUS_POLL,
	ITEM_WAKE, /* arg: container */
	ITEM_BORN, /* arg: container, also of the next three */
	ITEM_DIES,
	ITEM_REAP,
	ITEM_SHOWN,  /* what a pidfd or a look at /proc shows */
	ITEM_STREAM, /* arg: subject */
	ITEM_STREAM_UP,
	ITEM_TASKS,
};

struct sim_item {
	uint64_t at_ns, sequence, guard;
	enum sim_item_kind kind;
	uint32_t arg;
};

struct sim_call {
	bool open, late;
	enum pleg_request_type type;
	enum container_kind kind;
	uint64_t token, started_ns, answer_ns, guard;
	uint32_t container; /* of an INSPECT */
	char pod_uid[16], sandbox_id[16];
	uint64_t hash;        /* all that is random about it */
	uint64_t started_seq; /* the oracle's order of things */
	bool was_hung;
};

#define SIM_CALLS_MAX 512

struct oracle;
struct ledger_model;
struct models;

struct sim {
	uint64_t seed;
	struct sim_profile profile;
	struct now now;
	int64_t wall_offset_ns;
	uint64_t oversleep_until_ns, overslept_ns; /* the second is not taken back by quiet */
	bool stream_in_order; /* hints come once, in time, and the stream has not broken yet */
	bool quiet;           /* everything answers, nothing happens */
	bool running;

	struct pleg *pleg;
	struct sync_loop *sync;
	struct node *node;
	struct ledger *ledger; /* NULL: this history has none */
	struct ledger_feed feed;
	bool told_calm; /* the last word to pleg_on_hints() */
	struct sim_kernel kernel;
	uint64_t listed_ns; /* start of the full list that is being worked in, 0: none */

	struct world world;
	struct sim_item *heap;
	uint32_t heap_count, heap_cap;
	uint64_t sequence;
	struct sim_call calls[SIM_CALLS_MAX];
	uint32_t call_count; /* slots ever used */
	uint64_t due_ns;
	uint32_t turns_now; /* ticks at this very time, to catch one that spins */

	/* The Status poll. */
	bool status_open, status_seen;
	uint64_t status_started_ns, status_guard, status_last_started_ns;
	bool runtime_condition_ready, network_condition_ready; /* as the last Status told */

	uint64_t subscriptions[64];
	uint32_t subscription_count;

	struct sim_entry entries[2 * WORLD_CONTAINERS_MAX];
	uint32_t described[WORLD_CONTAINERS_MAX];

	struct oracle *oracle;
	struct models *models;
	struct ledger_model *ledger_model;
	uint64_t *coverage;
	/* A scenario's own look at what is told. */
	void (*on_event)(struct sim *sim, const struct event *event);
	void *userdata;

	uint64_t steps;
	bool verbose;
	bool failed;
	char rule[48];
	char why[640];
};

struct sim *sim_new(uint64_t *coverage);
struct sim *sim_free(struct sim *sim);

/* Runs one history; `keep` (count bits, or NULL for all) says which operations are in it. False if a
 * rule was broken, which rule and why are in the sim. */
bool sim_run(
	struct sim *sim, uint64_t seed, const struct sim_op *ops, size_t count, const bool *keep);

/* Scripted ones that random histories cannot afford: 24 hours and the like. */
struct sim_scenario {
	const char *name;
	bool (*run)(struct sim *sim);
};

extern const struct sim_scenario sim_scenarios[];
extern const size_t sim_scenario_count;

/* Days of one agent; false as sim_run(). */
bool sim_hours(struct sim *sim, uint32_t hours);
/* What the simulator itself has allocated for as long as the history grows. */
size_t sim_own_bytes(const struct sim *sim);
size_t oracle_own_bytes(const struct sim *sim);
size_t models_own_bytes(const struct sim *sim);

void sim_fail(struct sim *sim, const char *rule, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void sim_trace_line(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define sim_trace(sim, ...)                                                                        \
	do {                                                                                       \
		if (__builtin_expect((sim)->verbose, 0))                                           \
			sim_trace_line((sim), __VA_ARGS__);                                        \
	} while (0)

static inline void sim_cover(struct sim *sim, enum sim_coverage row)
{
	sim->coverage[row]++;
}

/* agent: parts that operations and scenarios use */
bool sim_begin(struct sim *sim, uint64_t seed, const struct sim_profile *profile);
void sim_end(struct sim *sim);
/* Lets time pass to `until_ns`, with all that falls into it. */
void sim_advance(struct sim *sim, uint64_t until_ns);
/* Heals everything, waits until all is told, and judges completeness. */
void sim_quiet(struct sim *sim);
void sim_schedule(
	struct sim *sim, uint64_t at_ns, enum sim_item_kind kind, uint32_t arg, uint64_t guard);
void sim_after_input(struct sim *sim);
/* After an input of the ledger's, which turns PLEG itself if there is something to say: only looks. */
void sim_after_hint(struct sim *sim);
/* PLEG's queues and the ledger's, as the agent's pump empties them; part of the above. */
void sim_turn(struct sim *sim);
/* Calls that hang in what was healed get their answers. */
void sim_reschedule(struct sim *sim);
void sim_lose_calls(struct sim *sim);
uint64_t sim_call_answer_time(const struct sim *sim, const struct sim_call *call, uint64_t from_ns);

void sim_apply(struct sim *sim, const struct sim_op *op);

/* kernel */
void kernel_begin(struct sim *sim);
/* The runtime's word is to turn: so is the kernel's, somewhat earlier. */
void kernel_on_set(struct sim *sim, uint32_t container, enum container_state before,
	enum container_state after, uint64_t at_ns, int32_t code);
void kernel_item(struct sim *sim, const struct sim_item *item);
void kernel_apply(struct sim *sim, const struct sim_op *op);
void kernel_quiet(struct sim *sim);
/* The newest init, or NULL. */
const struct sim_init *kernel_init(const struct sim *sim, uint32_t container);
/* Who has the pid now, SIM_NONE: nobody. */
uint32_t kernel_pid(const struct sim *sim, int32_t pid, uint32_t *ret_number);

/* hints: as src/agent/hints.c */
int hints_begin(struct sim *sim);
void hints_end(struct sim *sim);
void hints_on_shown(
	struct sim *sim, uint32_t container, const struct sim_init *init, enum ledger_state state);
void hints_on_hint(struct sim *sim, uint32_t subject, const struct ledger_stream_fact *fact);
void hints_on_stream(struct sim *sim, bool up);
void hints_on_gap(struct sim *sim);
void hints_on_tasks(struct sim *sim);
void hints_on_records(struct sim *sim);
void hints_on_event(struct sim *sim, const struct event *event);
void hints_on_list(struct sim *sim, uint64_t started_ns);
void hints_on_due(struct sim *sim);
void hints_settle(struct sim *sim);
/* PLEG knows when calm has ended. */
void hints_check(struct sim *sim);
const char *sim_subject_id(const struct sim *sim, uint32_t subject);
/* SIM_NONE if no subject has it. */
uint32_t sim_subject(const struct sim *sim, const char *id);

/* world */
void world_apply(struct sim *sim, const struct sim_op *op);
void world_heal(struct sim *sim);
/* The place of a container that is gone becomes another one's, which runs. */
void world_recycle(struct sim *sim, uint32_t container, uint32_t pod);
uint32_t world_pod_new(struct sim *sim, bool labelled, uint32_t names);
uint32_t world_container_new(struct sim *sim, uint32_t pod, enum container_state state);
void world_set(struct sim *sim, uint32_t container, enum container_state state, uint64_t at_ns,
	int32_t exit_code);
/* The list as a call would be answered now. */
void world_list(struct sim *sim, const struct sim_call *call, struct sim_list *ret);
/* What an inspection would see; false: NotFound. */
bool world_inspect(struct sim *sim, const struct sim_call *call, struct container_status *ret);

/* oracle */
struct oracle *oracle_new(void);
struct oracle *oracle_free(struct oracle *oracle);
void oracle_begin(struct sim *sim);
void oracle_on_request(struct sim *sim, const struct pleg_request *request, struct sim_call *call);
void oracle_on_list(struct sim *sim, struct sim_call *call, const struct sim_list *list);
/* After pleg has had it. */
void oracle_after_list(struct sim *sim);
void oracle_on_inspect(
	struct sim *sim, struct sim_call *call, const struct container_status *status);
void oracle_on_failed(struct sim *sim, struct sim_call *call, enum pleg_failure failure);
/* After pleg has had the answer: did it believe it, and was it right to? */
void oracle_after_inspect(
	struct sim *sim, const struct sim_call *call, const struct container_status *status);
void oracle_on_late(struct sim *sim, struct sim_call *call);
/* The call runs into something that hangs. */
void oracle_on_hung(struct sim *sim, struct sim_call *call);
void oracle_on_relist_pod(struct sim *sim, const char *uid, int r);
void oracle_on_subscribe(struct sim *sim, uint64_t id, const char *uid, uint64_t newer_than_ns);
void oracle_on_unsubscribe(struct sim *sim, uint64_t id);
void oracle_on_event(struct sim *sim, const struct event *event);
void oracle_on_notice(struct sim *sim, const struct pleg_notice *notice);
void oracle_on_wake(struct sim *sim);
void oracle_on_relist_now(struct sim *sim);
void oracle_on_hints(struct sim *sim, bool good);
/* Whether an inspection is on its way. */
/* Forgets one that is gone, told and forgotten by PLEG; false: it is not. */
bool oracle_recycle(struct sim *sim, uint32_t container);
bool oracle_is_busy(const struct sim *sim);
/* After all queues are empty. */
void oracle_check(struct sim *sim);
void oracle_check_health(struct sim *sim, const struct pleg_health *health);
void oracle_check_final(struct sim *sim);

/* the ledger's oracle: each before the ledger has it */
struct ledger_model *ledger_model_new(void);
struct ledger_model *ledger_model_free(struct ledger_model *model);
void ledger_model_begin(struct sim *sim);
void ledger_model_on_init(struct sim *sim, uint32_t subject, int32_t pid, uint64_t start_ticks);
void ledger_model_on_state(struct sim *sim, uint32_t subject, uint64_t start_ticks,
	enum ledger_state state, const struct ledger_exit *exit);
void ledger_model_on_stream(
	struct sim *sim, uint32_t subject, const struct ledger_stream_fact *fact, bool is_true);
void ledger_model_on_word(
	struct sim *sim, uint32_t subject, const struct event *identity, enum container_state word);
void ledger_model_on_pleg(struct sim *sim, const struct event *event);
void ledger_model_on_own(struct sim *sim, const struct event *event); /* the ledger's */
void ledger_model_on_wake(struct sim *sim, const char *id);
void ledger_model_on_list(struct sim *sim, uint64_t started_ns);
void ledger_model_forget(struct sim *sim, uint32_t subject);
void ledger_model_check(struct sim *sim);
void ledger_model_check_final(struct sim *sim);

/* models */
struct models *models_new(void);
struct models *models_free(struct models *models);
int models_begin(struct sim *sim);
void models_end(struct sim *sim);
void models_on_list(struct sim *sim, const struct sim_call *call);
void models_on_event(struct sim *sim, const struct event *event); /* before sync_loop_add() */
void models_step(struct sim *sim);                                /* health and node */
void models_reader(struct sim *sim, const struct sim_op *op);
void models_provisional(struct sim *sim, uint32_t container);
void models_check_final(struct sim *sim);
