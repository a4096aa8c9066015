/*
 * The daemon, `pleg agent`: one process, one loop. This is all that a command needs of it; how it
 * is wired inside is agent-internal.h.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

#define AGENT_CONFIG_PATH "/etc/pleg/pleg.yaml"

/* What the command line said. NULL: not said. Strings are read during the call only. */
struct agent_options {
	const char *config;  /* --config FILE; without it AGENT_CONFIG_PATH, which may be missing */
	const char *runtime; /* --runtime ENDPOINT, over containerRuntimeEndpoint */
	const char *socket;  /* --socket PATH, over controlSocket */
	const char *log_level; /* --log-level LEVEL, over logLevel */
};

/*
 * Runs until SIGTERM or SIGINT, a second of which exits at once. Has to be called early: before
 * anything was opened or started, since it forks the log pump and the spawner first.
 *
 * Returns the process's exit status: 0 after a clean shutdown, 1 when it could not start or go on
 * (which it has logged).
 */
int agent_run(const struct agent_options *options);

enum agent_document {
	AGENT_STATUS,
	AGENT_PODS,
};

/*
 * One look at this runtime without a daemon, appended as the document of docs/json.md that an agent
 * would answer; it waits, for some ten seconds at most. 0; -EINVAL (no endpoint), -EHOSTDOWN (pods
 * only: the runtime cannot be asked), both with a text, or a negative errno.
 */
int agent_once(
	const char *endpoint, enum agent_document document, struct buf *out, struct err *reterr);

/*
 * --find-runtime: looks for a runtime as the agent would, prints its endpoint to stdout and what
 * was tried to stderr, a line each, and ends. 0 if one answers with CRI v1, 1 if none does (nothing
 * is printed to stdout then) or the configuration is bad.
 */
int agent_find_runtime(const struct agent_options *options);

/* An executable that belongs to this one, a role's for example: beside our own, in the folder of its
 * room where this is a build tree, below the folder above where all of it was installed or copied to, or
 * where it is installed; in this order, so that the two always match. As role_exe_open(). */
int agent_open_exe(
	const char *room, const char *name, bool in_memory, int *ret_fd, struct err *reterr);
