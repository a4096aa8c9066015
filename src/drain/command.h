/*
 * What the commands that change the cluster share: the words they were given, the operator's own
 * kubeconfig, and one way to ask the API server and wait for its answer.
 *
 * The kubeconfig is that of --kubeconfig, else the first of $KUBECONFIG's that has the context, else
 * ~/.kube/config, else what a pod is given. Every wait has a deadline of its own, and ends with that of
 * the whole command and when that is interrupted; one of over a second is said.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "base/mem.h"
#include "kube/client.h"

typedef struct sd_event sd_event;

#define COMMAND_FAILED 1
#define COMMAND_USAGE  2
#define COMMAND_TAINTS 64u

enum dry_run {
	DRY_RUN_NONE,
	DRY_RUN_CLIENT, /* nothing is sent that changes anything */
	DRY_RUN_SERVER, /* sent, checked, and not kept */
};

/* As src/cli writes them: "name=value", and the taints as they were typed. Borrowed from argv. */
struct command_words {
	const char *verb, *node, *kubeconfig, *context, *socket;
	bool json;
	enum dry_run dry_run;
	bool any;       /* uncordon */
	bool uncordon;  /* prune */
	bool overwrite; /* taint */
	const char *taints[COMMAND_TAINTS];
	size_t taint_count;
	bool ignore_daemonsets, delete_emptydir_data, force, disable_eviction, force_stuck;
	uint64_t timeout_ns; /* of the whole; 0: none */
	int64_t grace_s;     /* -1: the pod's own */
	const char *pod_selector;
};

/* 0, or -EINVAL with a text. */
int command_words_parse(int argc, char **argv, struct command_words *ret, struct err *reterr);

struct command {
	const struct command_words *words;
	sd_event *event;
	struct kubeconfig *config;
	struct kube_client *client;
	struct kube_plugin *plugin;
	bool plugin_is_done;
	struct err error;     /* of the credential */
	uint64_t deadline_ns; /* of the whole, monotonic; 0: none */
	bool is_interrupted;  /* set by who watches for signals; what waits then gives up */
};

/* `command` is all zero. Ends with command_done() whatever it returns. */
int command_open(struct command *command, const struct command_words *words, struct err *reterr);
void command_done(struct command *command);

/* The answer's object, owned (NULL if it has none), and its code, with 0 for 2xx. Else a negative
 * errno with a text that says whom it is from: -ENOENT for 404, -EEXIST for 409, -EACCES for 401 and
 * 403, -EBUSY for 429, -EREMOTEIO for other refusals, -ECOMM for no answer, -ETIMEDOUT at the deadline of
 * the whole, -EINTR when interrupted. The last two of these may be NULL. */
int command_ask(struct command *command, const struct kube_request *request, json_t **ret_object,
	struct err *reterr);

/* How long it may still take; UINT64_MAX: there is no deadline. 0 too when it was interrupted. */
uint64_t command_left_ns(const struct command *command);
/* Dispatches what has come, without waiting; true: it is to end. For those who wait beside the loop. */
bool command_is_over(struct command *command);

/* The node's object, owned. */
int command_node(struct command *command, json_t **ret, struct err *reterr);
#define COMMAND_MERGE     "application/merge-patch+json"
#define COMMAND_STRATEGIC "application/strategic-merge-patch+json"
/* Patches the node, or a subresource of it ("/status"; "" for none), as pleg's field manager. */
int command_write_node(struct command *command, const char *subresource, const char *content_type,
	const char *body, struct err *reterr);
/* Changes the node by a merge patch that holds only for the resourceVersion of `node`. */
int command_patch_node(
	struct command *command, const json_t *node, json_t *patch, struct err *reterr);

/* A refusal or a lack of an answer as text and errno, for calls made without command_ask(). */
int command_refusal(
	const struct command *command, const struct kube_answer *answer, struct err *reterr);

/* "pleg: text" to stderr, cleaned. */
void command_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line to stdout, cleaned, unless JSON is wanted. */
void command_say(const struct command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Behind a line: "", " (dry run)" or " (server dry run)", as kubectl has it. */
const char *command_dry_text(const struct command *command);
/* One line of JSON to stdout; takes the reference. 0 or COMMAND_FAILED. */
int command_print_json(json_t *document);

/* The verbs. Each returns an exit code. */
int cordon_run(struct command *command);
int uncordon_run(struct command *command);
int taint_run(struct command *command);
int drain_run(struct command *command);
int prune_run(struct command *command);

/* On a node that pleg cordoned, with when. */
#define CORDON_ANNOTATION "pleg.dev/cordoned-at"
/* Whether a node that is cordoned was so by pleg: our annotation is there, and since then nobody else has
 * written spec.unschedulable, as far as the API server keeps who did. If not, *ret_other is who, borrowed
 * from `node`, or NULL. */
bool cordon_is_ours(const json_t *node, const char **ret_other);

/* Cordons; *ret_changed: it was not before. 0 or a negative errno. */
int cordon_node(struct command *command, bool *ret_changed, struct err *reterr);
