/*
 * The doctor in the agent: takes a sample of evidence now and then, has it judged, keeps what was
 * found for the status, and its history as incidents for the journal.
 *
 *	facts (PLEG, ledger, open calls) + collect ─▶ rules ─▶ findings ─▶ incidents ─▶ journal, log
 *
 * A sample of a node with hundreds of pods costs tenths of a second of CPU. So while all is well one
 * is taken as seldom as keeps that to half a thousandth of a core, and a glance at what the agent knows
 * anyway (words that differ, shims, inits in D, calls that are open for long) says every second
 * whether there is a reason for one now. While something is found, or a rule wants another sample,
 * the next comes after two seconds, or after twenty times what the last one cost. A reason that led to
 * nothing is heard again after a pause that doubles.
 *
 * Reading goes on in slices, after everything else of the loop; nothing here waits.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "agent/pump.h"
#include "agent/timer.h"
#include "base/err.h"
#include "base/mem.h"
#include "doctor/collect.h"
#include "doctor/incidents/incidents.h"
#include "model/finding.h"
#include "pleg/pleg.h"
#include "sync/sync.h"

#define DIAGNOSIS_SOON_NS       (2 * NSEC_PER_SEC) /* between samples while something is found */
#define DIAGNOSIS_CALM_NS       (4 * NSEC_PER_SEC) /* at least, while nothing is */
#define DIAGNOSIS_SELDOM_NS     (600 * NSEC_PER_SEC)
#define DIAGNOSIS_SHARE         2000u /* one part of so many may be spent on samples while all is well, */
#define DIAGNOSIS_SHARE_ILL     20u /* and while it is not */
#define DIAGNOSIS_GLANCE_NS     NSEC_PER_SEC
#define DIAGNOSIS_PAUSE_NS      (60 * NSEC_PER_SEC) /* the longest after reasons that led to nothing */
#define DIAGNOSIS_SIGN_PAUSE_NS (300 * NSEC_PER_SEC) /* the longest after vain signs */
#define DIAGNOSIS_FIRST_NS      NSEC_PER_SEC

struct api_health;
struct api_pods;
struct diagnosis;
struct kubelet;

struct diagnosis_options {
	sd_event *loop;
	const struct pleg *pleg; /* these are borrowed */
	struct pump *pump;
	struct sync_loop *events;
	struct probe *probe; /* NULL: what may hang is not looked at */
	struct timer_lag *lag;
	const char *
		endpoint; /* the agent's present one; read at each sample, "" while there is none */
	const char *epoch, *node_name;
	struct api_pods *const *api; /* where it will be; NULL there: the API server is not asked */
	struct api_health *const *api_health; /* in the same way */
	const struct kubelet *kubelet;        /* NULL: its health is not known */
	uint64_t relist_threshold_ns;
	uint64_t calm_ns; /* between samples while all is well, at least; DIAGNOSIS_CALM_NS */
	/* An incident was opened, has changed or is closed. May be NULL. */
	void (*on_incident)(void *userdata, const struct incident *incident);
	/* A sample has another process for the kubelet than the one before, or none. May be NULL. */
	void (*on_other_kubelet)(void *userdata);
	void *userdata;
};

/* The first sample is taken DIAGNOSIS_FIRST_NS after. 0, or a negative errno. */
int diagnosis_new(
	const struct diagnosis_options *options, struct diagnosis **ret, struct err *reterr);
struct diagnosis *diagnosis_free(struct diagnosis *diagnosis);
DEFINE_FREEP(struct diagnosis *, diagnosis_free)

/* There may be something to see: a sample is taken soon. */
void diagnosis_wake(struct diagnosis *diagnosis);

/* What the newest sample gave, NULL before the first; borrowed until the loop goes on. */
const struct findings *diagnosis_findings(const struct diagnosis *diagnosis);
const struct incidents *diagnosis_incidents(const struct diagnosis *diagnosis);

/* One that an earlier run has left open: incidents_adopt(). */
int diagnosis_adopt(struct diagnosis *diagnosis, const struct incident_past *past);

struct diagnosis_stats {
	uint64_t samples, failed;
	uint64_t last_ns, cost_ns; /* of the newest: how long it took, and of that on a processor */
	uint64_t next_ns;          /* from one sample to the next, at present */
	uint32_t gaps;             /* what the newest could not look at */
};
void diagnosis_stats(const struct diagnosis *diagnosis, struct diagnosis_stats *ret);

/* Whether what the agent knows anyway gives a reason to look: cheap, reads nothing. */
bool diagnosis_glance(const struct diagnosis_options *options);

/* What the agent knows of its node, put into a sample (collect_facts_fn's work). */
void diagnosis_facts(const struct diagnosis_options *options, struct evidence *evidence);
