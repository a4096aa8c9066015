/*
 * A drain under way, shared by its files: drain.c turns, drain-choose.c says which pods go,
 * drain-evict.c asks for it, drain-force.c deletes what is surely dead, drain-tell.c says who is left
 * and why.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "base/time.h"
#include "drain/command.h"
#include "drain/plan.h"

#define DRAIN_NAMES_MAX 20u /* in one message */
#define DRAIN_TEXT_MAX  512u

typedef struct sd_event_source sd_event_source;

struct pod {
	json_t *object; /* as it was when the drain began */
	json_t *latest; /* as it was listed last; NULL: not since */
	const char *ns, *name, *uid;
	struct drain_verdict verdict;
	bool is_asking, is_accepted, has_failed, is_gone;
	bool is_namespace_ending; /* for which the last eviction was refused */
	uint64_t due_ns;          /* of its next eviction */
	unsigned http;
	char answer[DRAIN_TEXT_MAX];
	/* Of the last list: */
	bool is_listed;
	int64_t deadline_ns;
	char finalizer[128];
	uint64_t force_due_ns;
	bool is_forced; /* deleted by force, which has been said */
	char force_refused[DRAIN_TEXT_MAX];
	struct drain *drain;
};

struct drain {
	struct command *command;
	const struct command_words *words;
	struct pod *pods;
	size_t count, asking;
	uint64_t list_due_ns, tell_due_ns;
	bool is_here, is_cordoned;
	json_t *findings; /* of this node's agent; NULL: none answered */
	sd_event_source *interrupt, *terminate;
};

/* To be evicted, and not gone yet. */
static inline bool pod_is_open(const struct pod *pod)
{
	return pod->verdict.action == DRAIN_TAKE && !pod->is_gone;
}

uint64_t drain_now_ns(void);
size_t drain_count_open(const struct drain *d);
size_t drain_count_taken(const struct drain *d);

/* ---- drain-choose.c ---------------------------------------------------------------------- */

/* The node's pods, as a list object, owned; `is_chosen`: only those of --pod-selector. Labels may change
 * under a drain, so whether one is still there is looked up among all. */
int drain_list(struct drain *d, bool is_chosen, json_t **ret, struct err *err);
/* All of them with a verdict each. */
int drain_choose(struct drain *d, struct err *err);
/* Says which are refused (DRAIN_REFUSE), or taken and skipped with a warning; true: there were some. */
bool drain_tell_of(const struct drain *d, enum drain_action action);

/* ---- drain-evict.c ----------------------------------------------------------------------- */

/* Starts the evictions that are due, as many as may run side by side. */
int drain_evict_due(struct drain *d);
/* DeleteOptions that hold for this very pod. `grace_s` -1: its own. NULL: out of memory. */
json_t *drain_delete_options(const struct drain *d, const struct pod *pod, int64_t grace_s);

/* ---- drain-force.c ----------------------------------------------------------------------- */

int drain_force_due(struct drain *d);

/* ---- drain-tell.c ------------------------------------------------------------------------ */

/* Once in a while, to stderr. */
void drain_tell_who_is_there(struct drain *d);
/* The last word, and the exit code. */
int drain_finish(struct drain *d, bool is_late);
