/*
 * Whom the agent speaks to and who it is there, kept true while the agent runs: the kubeconfig and the files
 * that it names, read by the probe since they may lie on a disk that hangs, or the credential plugin, run
 * under its deadline.
 *
 * All is read at the start, every API_FILES_PERIOD_NS, and when the server does not believe us, then with
 * pauses that double. What cannot be read leaves what was known before and is tried again, after a pause
 * that doubles up to the period. A read that hangs holds up nobody; while the probe that hangs over it cannot
 * be ended, no second one is spent on it. A plugin is run when nothing is known yet, when what it gave is
 * about to end, when the kubeconfig names another, and when the server does not believe us.
 */
#pragma once

#include <stdint.h>

#include "base/mem.h"
#include "base/time.h"

typedef struct sd_event sd_event;
struct api_files;
struct kube_credential;
struct kubeconfig;
struct probe;

#define API_FILES_PERIOD_NS (60 * NSEC_PER_SEC)
#define API_FILES_RETRY_NS  (2 * NSEC_PER_SEC) /* the first pause after a failure */
#define API_FILES_READ_NS   (3 * NSEC_PER_SEC) /* of one file; others wait for the probe meanwhile */
#define API_FILES_DOUBT_NS  (5 * NSEC_PER_SEC) /* the first pause between two looks for a 401 */
#define API_FILES_DOUBTS_NS                                                                        \
	(300 * NSEC_PER_SEC) /* the last; after twice as long without one, anew */
#define API_FILES_TEXTS_MAX                                                                        \
	(56u << 10) /* the authority; who we are: each has to fit into a message */

#define API_FILES_IN_CLUSTER "in-cluster" /* instead of a path: what a pod is given */

struct api_files_ops {
	/* Another server, authority or way there than before, also the first one. Who we were is
	 * forgotten; who we are there follows by on_credential. */
	void (*on_target)(void *userdata, const struct kubeconfig *config, const char *ca);
	/* Another credential, or one that was read again since the server did not believe it. */
	void (*on_credential)(void *userdata, const struct kube_credential *credential);
	/* Something else is wrong than before, for people; "": nothing any more. */
	void (*on_trouble)(void *userdata, const char *text);
};

struct api_files_options {
	sd_event *event;
	struct probe *probe;    /* borrowed; NULL: there is none, and nothing can be read */
	const char *kubeconfig; /* a path, or API_FILES_IN_CLUSTER; copied */
	uint64_t period_ns;     /* 0: API_FILES_PERIOD_NS */
	uint64_t retry_ns;      /* 0: API_FILES_RETRY_NS */
	uint64_t read_ns;       /* 0: API_FILES_READ_NS */
	uint64_t doubt_ns;      /* 0: API_FILES_DOUBT_NS */
	const struct api_files_ops *ops; /* borrowed; called from the loop only */
	void *userdata;
};

/* 0 or a negative errno: no memory. Whatever is wrong with the files is on_trouble's. */
int api_files_new(const struct api_files_options *options, struct api_files **ret);
/* Before the probe is freed, and not from inside a callback. Returns NULL. */
struct api_files *api_files_free(struct api_files *files);
DEFINE_FREEP(struct api_files *, api_files_free)

/* The server does not believe us, or we do not believe it. */
void api_files_doubt(struct api_files *files);

/* All borrowed until the next callback. NULL: not known yet. */
const struct kubeconfig *api_files_config(const struct api_files *files);
const struct kube_credential *api_files_credential(const struct api_files *files);
/* "" if there is none. */
const char *api_files_trouble(const struct api_files *files);
