/*
 * The node's pods as the API server has them, in the agent: what the api role tells is kept, and once a
 * second it is held against the runtime's records and the kernel's ledger (kube/pods-judge.h). Where a
 * newer list would decide something, one is asked for, at most every API_PODS_AGAIN_NS.
 */
#pragma once

#include <systemd/sd-event.h>

#include "base/mem.h"
#include "base/time.h"
#include "kube/api-protocol.h"
#include "kube/pods-judge.h"

struct api_pods;
struct kubelet;
struct pleg;
struct pump;

#define API_PODS_LOOK_NS  NSEC_PER_SEC
#define API_PODS_AGAIN_NS (30 * NSEC_PER_SEC)
#define API_PODS_FRESH_NS                                                                          \
	(15 * NSEC_PER_SEC) /* a list of the runtime that is older proves no life */

struct api_pods_options {
	sd_event *loop;
	const struct pleg *pleg; /* these are borrowed */
	struct pump *pump;
	const struct kubelet *kubelet; /* NULL: its health is not known */
	void (*want_list)(void *userdata);
	/* The pods that are kept are fewer than there are. */
	void (*on_left_out)(void *userdata);
	void *userdata;
};

/* 0 or a negative errno. */
int api_pods_new(const struct api_pods_options *options, struct api_pods **ret);
struct api_pods *api_pods_free(struct api_pods *pods);
DEFINE_FREEP(struct api_pods *, api_pods_free)

/* As api_ops. */
void api_pods_hear(struct api_pods *pods, enum api_pods_word word, unsigned http, const char *why);
void api_pods_put(struct api_pods *pods, const struct kube_pod *pod);
void api_pods_remove(struct api_pods *pods, const char *uid);

/* What came of it. NULL for NULL. */
const struct pods_judge *api_pods_judge(const struct api_pods *pods);
