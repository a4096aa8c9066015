/*
 * What the agent tells the cluster: its open incidents and its verdict go to the reporter of src/kube, whose
 * requests go to whoever speaks to the API server, and the answers back. Nothing here waits: a request
 * without an answer holds up only what comes after it, and its sender has a deadline.
 *
 *	incidents, verdict ─▶ cluster ─▶ reporter ─▶ cluster_ops.send ┄▶ API server
 *	                                    ▲──────── cluster_answer() ◀┄┘
 *
 * An incident is told as an Event of the node, and of its pod where the runtime knows that pod's uid: once
 * when it counts (proven, or suspected for CONDITION_SUSPECTED_NS), once when it is over.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/err.h"
#include "base/mem.h"
#include "doctor/incidents/incidents.h"
#include "kube/reporter.h"

#define CLUSTER_LOOK_NS NSEC_PER_SEC /* between two looks at what nobody tells */
#define CLUSTER_OVERWRITTEN                                                                        \
	"Somebody else writes this node's conditions: another pleg with the same nodeName?"

struct diagnosis;
struct node;
struct pleg;
struct cluster;

struct cluster_ops {
	/* Sends it; the strings are copied or used at once. Negative: it was not sent and there is no
	 * answer. Else exactly one cluster_answer() follows, never from inside. */
	int (*send)(void *userdata, const struct reporter_request *request);
};

struct cluster_options {
	sd_event *loop;
	const struct pleg *pleg; /* these are borrowed */
	const struct node *node;
	struct diagnosis *const *diagnosis; /* where it will be; NULL there: no doctor */
	const char *node_name;
	bool taint;
	const struct cluster_ops *ops;
	void *userdata;
};

/* 0, or a negative errno. Nothing is sent from inside. */
int cluster_new(const struct cluster_options *options, struct cluster **ret, struct err *reterr);
struct cluster *cluster_free(struct cluster *cluster);
DEFINE_FREEP(struct cluster *, cluster_free)

/* Something has changed: what follows from it is sent at once. */
void cluster_wake(struct cluster *cluster);
/* As diagnosis_options.on_incident: ends are told by this, the rest is looked at. */
void cluster_incident(struct cluster *cluster, const struct incident *incident);

/* The answer to the request of this slot; http 0: there is none, and `why` says so (or NULL). */
void cluster_answer(struct cluster *cluster, enum reporter_slot slot, unsigned http,
	uint64_t retry_after_ns, const void *body, size_t len, const char *why);

void cluster_status(const struct cluster *cluster, struct reporter_status *ret);
