/*
 * The pods of one node as the API server tells them: a list in pages, then a watch from there on; a
 * new list when the server has forgotten where the watch was, when nothing came for PODS_SILENT_NS,
 * or when it is asked for. Keeps no pod itself: each is told as it comes. In the api role.
 *
 * The memory is that of one page, whatever the number of pods. A list that fails is asked for again
 * after PODS_RETRY_FIRST_NS, doubled up to PODS_RETRY_MAX_NS, half of it by chance.
 */
#pragma once

#include "base/mem.h"
#include "kube/client.h"
#include "kube/pod.h"

struct pod_watch;

#define PODS_PAGE           10u        /* pods of one request; fewer where they do not fit */
#define PODS_PAGE_MAX       (3u << 20) /* bytes of it: a pod has 10 kB as a rule, at most 1.5 MB */
#define PODS_DEADLINE_NS    (30 * NSEC_PER_SEC)
#define PODS_RETRY_FIRST_NS NSEC_PER_SEC
#define PODS_RETRY_MAX_NS   (60 * NSEC_PER_SEC)
#define PODS_SILENT_NS      (180 * NSEC_PER_SEC) /* servers send a bookmark each minute */

/* Negative: it could not be told; the list is made anew a little later. */
struct pod_watch_ops {
	int (*on_begin)(void *userdata); /* of a list; on_end or on_away follows */
	int (*on_pod)(void *userdata, const struct kube_pod *pod);
	int (*on_gone)(void *userdata, const char *uid);
	int (*on_end)(void *userdata);
	int (*on_open)(void *userdata);  /* the stream is open; what has changed may be to come */
	int (*on_heard)(void *userdata); /* all that had changed until now was told */
	/* No list, or no stream: what was told gets old. `http` 0: see the text. */
	int (*on_away)(void *userdata, unsigned http, const char *text);
};

/* Lists at once, from the loop. `ops` and `client` are borrowed. 0, -ENOMEM, -ENAMETOOLONG. */
int pod_watch_new(sd_event *event, struct kube_client *client, const char *node_name, uint64_t seed,
	const struct pod_watch_ops *ops, void *userdata, struct pod_watch **ret);
/* Not from inside a callback. Returns NULL. */
struct pod_watch *pod_watch_free(struct pod_watch *watch);
DEFINE_FREEP(struct pod_watch *, pod_watch_free)

/* The list again, now; nothing if there is no watch, if one is under way or waits for its turn after a failure. */
void pod_watch_again(struct pod_watch *watch);
