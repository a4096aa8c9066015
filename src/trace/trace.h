/*
 * Every hop of one container, timed: the kubelet, the runtime's CRI, containerd itself, the shim, the
 * OCI runtime, the init process and its threads. All are asked at the same time, each under a
 * deadline of its own, so that what hangs is told and delays nothing else; the whole ends within
 * TRACE_NS. Runs in the command's process, without an agent.
 *
 * What may hang in the kernel (the files of a bundle, a command line) is read by a child that is
 * left behind when it does. No argument and no environment is ever told.
 */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/time.h"

#define TRACE_NS      (9 * NSEC_PER_SEC) /* for all of it */
#define TRACE_CALL_NS (2 * NSEC_PER_SEC) /* for one question */

struct trace_options {
	const char *endpoint; /* NULL: look for the runtime */
	/* An id, the beginning of one, or namespace/pod/container, pod/container, container, or a pod
	 * with one container: namespace/pod, pod. */
	const char *subject;
	/* Optional: the document of `pleg pods` as an agent has it, owned by the caller of this, for
	 * a name when the runtime itself gives no list. May wait, for a second or two. 0 or a
	 * negative errno. */
	int (*pods)(void *userdata, json_t **ret);
	void *userdata;
};

enum trace_verdict {
	TRACE_FINE,
	TRACE_TROUBLE, /* a hop hangs, fails, or says something else than another */
	TRACE_BLIND,   /* nothing is wrong in what was seen, but not all could be looked at */
};

/*
 * Appends the document of docs/json.md. 0 and the verdict; -EINVAL for a subject that cannot be one
 * or a bad endpoint; -ENOENT: there is no such container; -ENOTUNIQ: several fit, the text lists
 * them; -EHOSTDOWN: a name, and nobody who could resolve it; all with a text. Else a negative errno.
 */
int trace_run(const struct trace_options *options, struct buf *out, enum trace_verdict *ret,
	struct err *reterr);
