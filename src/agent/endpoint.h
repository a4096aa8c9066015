/*
 * Which container runtime to talk to, when nobody said: the one the kubelet beside us uses, else the
 * first of the known sockets that answers with CRI v1, else Docker, else one that is there but sick,
 * since a sick runtime is what pleg is for. Where nobody uses the CRI that answers (Debian's containerd
 * brings it along) and Docker runs something, it is Docker.
 *
 * What can hang happens elsewhere: a forked child looks at /proc and the paths and is abandoned after
 * ENDPOINT_SCAN_NS; the probes are Version calls with a deadline of ENDPOINT_PROBE_NS. A search is
 * over after about five seconds, whatever hangs.
 *
 * The table of what was tried is for people: the agent's log, --find-runtime, the doctor.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/time.h"
#include "runtime/runtime.h"

#define ENDPOINT_SCAN_NS  (1 * NSEC_PER_SEC)
#define ENDPOINT_PROBE_NS (2 * NSEC_PER_SEC)
#define ENDPOINT_ROWS_MAX 16
/* Children of searches that hang at once; beyond it a search is -EBUSY. */
#define ENDPOINT_CHILDREN_MAX 4

enum endpoint_source {
	ENDPOINT_NONE,    /* nothing was found */
	ENDPOINT_GIVEN,   /* by option or configuration */
	ENDPOINT_KUBELET, /* the kubelet beside us uses it */
	ENDPOINT_KNOWN,   /* a known socket */
};

const char *endpoint_source_text(enum endpoint_source source);

struct kubelet_scan; /* agent/kubelet-scan.h */

struct endpoint_row {
	char name[24];          /* "containerd", "CRI-O", "k3s"; "kubelet's", "given" */
	char endpoint[256];     /* "unix:///..." */
	enum runtime_kind kind; /* as its name says, or as it answered */
	bool is_empty;          /* it was listed, and runs nothing */
	bool is_asked;          /* `outcome` is a Version call's, or the missing socket */
	enum runtime_outcome outcome;
	char message[200]; /* for people: "answers with CRI v1 (containerd 1.6.20)" */
};

struct endpoint_result {
	enum endpoint_source source;
	const char *endpoint;               /* "" with ENDPOINT_NONE */
	bool answers;                       /* ... with CRI v1, or as a Docker Engine */
	const struct kubelet_scan *kubelet; /* NULL: there is none */
	const struct endpoint_row *rows;
	size_t row_count;
	const char *note;     /* what else there is to say (kubelet, Docker); "" if nothing */
	bool child_abandoned; /* it did not end within its second and was left behind */
};

struct endpoint_search;

struct endpoint_socket {
	const char *name, *path;
};

struct endpoint_options {
	const char *given; /* "unix:///..."; NULL: look */
	bool only_kubelet; /* no runtime is looked for, and none is asked */
	const char *proc;  /* NULL: "/proc" */
	/* NULL: the known sockets, ending with a NULL name. For tests. */
	const struct endpoint_socket *known;
	/* Counts the children that are not reaped yet, over all searches; has to outlive the loop.
	 * NULL: not counted, for who searches once. */
	unsigned *children;
	/* Exactly once unless the start failed, never from inside it. What `result` points to lives
	 * as long as the search; the search may be freed inside. */
	void (*on_done)(void *userdata, const struct endpoint_result *result);
	void *userdata;
};

/* -EBUSY: ENDPOINT_CHILDREN_MAX children hang already. */
int endpoint_search_new(sd_event *loop, const struct endpoint_options *options,
	struct endpoint_search **ret, struct err *reterr);
/* Cancels it if it is still going on; accepts NULL, returns NULL. */
struct endpoint_search *endpoint_search_free(struct endpoint_search *search);
DEFINE_FREEP(struct endpoint_search *, endpoint_search_free)
