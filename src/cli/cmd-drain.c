/*
 * pleg cordon, uncordon, taint and drain: their options and help. The work is done by pleg-drain, an
 * executable of its own that this process becomes: see src/drain/main.c. What was typed is handed on
 * as words "name=value", checked there.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/config.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/host.h"
#include "drain/taint-edit.h"

#define WORDS_MAX   96
#define WORD_LENGTH 4200 /* a path */

struct drain_arguments {
	const char *kubeconfig, *context, *dry_run;
	bool any, overwrite;
	bool ignore_daemonsets, delete_emptydir_data, force, disable_eviction, force_stuck;
	const char *timeout, *grace_period, *pod_selector;
};

#define OFFSET(field) offsetof(struct drain_arguments, field)
/* Of each of the four. */
#define SHARED_OPTIONS                                                                             \
	{ .name = "kubeconfig",                                                                    \
		.argument = "FILE",                                                                \
		.help = "the operator's kubeconfig (default $KUBECONFIG, ~/.kube/config, or a "    \
			"pod's service account)",                                                  \
		.type = CLI_TEXT,                                                                  \
		.offset = OFFSET(kubeconfig) },                                                    \
		{ .name = "context",                                                               \
			.argument = "NAME",                                                        \
			.help = "a context of it (default its current-context)",                   \
			.type = CLI_TEXT,                                                          \
			.offset = OFFSET(context) },                                               \
	{                                                                                          \
		.name = "dry-run", .argument = "MODE",                                             \
		.help = "only show what would be done: client asks nobody, server has it checked " \
			"(default none)",                                                          \
		.choices = "client server none", .bare = "client", .type = CLI_CHOICE,             \
		.offset = OFFSET(dry_run)                                                          \
	}

static const struct cli_option cordon_options[] = { SHARED_OPTIONS, { 0 } };

static const struct cli_option uncordon_options[] = {
	{ .name = "any",
		.help = "also a node that somebody else has cordoned",
		.type = CLI_FLAG,
		.offset = OFFSET(any) },
	SHARED_OPTIONS,
	{ 0 },
};

static const struct cli_option taint_options[] = {
	{ .name = "overwrite",
		.help = "give a taint that is there another value",
		.type = CLI_FLAG,
		.offset = OFFSET(overwrite) },
	SHARED_OPTIONS,
	{ 0 },
};

static const struct cli_option drain_options[] = {
	{ .name = "ignore-daemonsets",
		.help = "leave the pods of DaemonSets where they are",
		.type = CLI_FLAG,
		.offset = OFFSET(ignore_daemonsets) },
	{ .name = "delete-emptydir-data",
		.help = "also pods with an emptyDir, whose data is lost",
		.type = CLI_FLAG,
		.offset = OFFSET(delete_emptydir_data) },
	{ .name = "force",
		.help = "also pods without a controller, which nobody makes again",
		.type = CLI_FLAG,
		.offset = OFFSET(force) },
	{ .name = "grace-period",
		.argument = "SECONDS",
		.help = "time for each pod to end (default -1: the pod's own)",
		.type = CLI_TEXT,
		.offset = OFFSET(grace_period) },
	{ .name = "timeout",
		.argument = "DURATION",
		.help = "end after so long, whatever is left (default 5m; 0: no limit)",
		.type = CLI_TEXT,
		.offset = OFFSET(timeout) },
	{ .name = "pod-selector",
		.argument = "SELECTOR",
		.help = "only pods with these labels",
		.type = CLI_TEXT,
		.offset = OFFSET(pod_selector) },
	{ .name = "disable-eviction",
		.help = "delete instead of evict: disruption budgets are not asked",
		.type = CLI_FLAG,
		.offset = OFFSET(disable_eviction) },
	{ .name = "force-stuck",
		.help = "delete the object of a pod that its kubelet cannot end, if no thread and "
			"no writable volume of it is left; to be run on that node",
		.type = CLI_FLAG,
		.offset = OFFSET(force_stuck) },
	SHARED_OPTIONS,
	{ 0 },
};

/* ---- words ------------------------------------------------------------------------------- */

struct words {
	char *items[WORDS_MAX + 1]; /* owned; NULL at the end */
	size_t count;
	int r;
};

static void words_done(struct words *w)
{
	for (size_t i = 0; i < w->count; i++)
		(void)mem_free(w->items[i]);
}

/* "name=value"; without a name the value alone; nothing for NULL. Latches its first error. */
static void add(struct words *w, const char *name, const char *value)
{
	char word[WORD_LENGTH];

	if (!value || w->r < 0)
		return;
	if (w->count == WORDS_MAX || strlen(value) + strlen(name) + 2 > sizeof(word)) {
		w->r = -E2BIG;
		return;
	}
	(void)snprintf(word, sizeof(word), "%s%s%s", name, *name ? "=" : "", value);
	w->items[w->count] = mem_strdup(word);
	if (!w->items[w->count])
		w->r = -ENOMEM;
	else
		w->count++;
}

static void add_flag(struct words *w, const char *name, bool is_set)
{
	add(w, "", is_set ? name : NULL);
}

/* The node that we are on, by the agent's configuration or else by its host's name. */
static int own_node(char *out, size_t size)
{
	struct config config;
	int r = config_init(&config);

	if (r < 0)
		return r;
	(void)config_load(&config, AGENT_CONFIG_PATH, false, NULL);
	r = host_node_name(config.node_name, out, size);
	config_done(&config);
	return r;
}

/* NODE or node/NODE, the first operand, may be left out. Its index moves on. */
static int take_node(
	const struct cli_command *command, char **argv, int argc, int *at, struct words *w)
{
	const char *word = *at < argc ? argv[*at] : NULL;
	char own[256] = "";
	int r;

	if (word && str_after(word, "node/"))
		word = str_after(word, "node/");
	if (word && (command != &cmd_taint || !taint_edit_is_one(word))) {
		if (!taint_edit_is_node_name(word))
			return cli_usage_error(command, "'%s' is no name of a node", word);
		(*at)++;
		add(w, "node", word);
		return 0;
	}
	r = own_node(own, sizeof(own));
	if (r < 0 || !taint_edit_is_node_name(own))
		return cli_usage_error(command, "Say which node: '%s' is no name of one", own);
	add(w, "node", own);
	return 0;
}

static void add_options(struct words *w, const struct cli *cli, const struct drain_arguments *a)
{
	add(w, "kubeconfig", a->kubeconfig);
	add(w, "context", a->context);
	add(w, "dry-run", a->dry_run);
	add(w, "socket", cli->socket_path);
	add(w, "timeout", a->timeout);
	add(w, "grace-period", a->grace_period);
	add(w, "pod-selector", a->pod_selector);
	add_flag(w, "json", cli->json);
	add_flag(w, "any", a->any);
	add_flag(w, "overwrite", a->overwrite);
	add_flag(w, "ignore-daemonsets", a->ignore_daemonsets);
	add_flag(w, "delete-emptydir-data", a->delete_emptydir_data);
	add_flag(w, "force", a->force);
	add_flag(w, "disable-eviction", a->disable_eviction);
	add_flag(w, "force-stuck", a->force_stuck);
}

/* Returns only if it cannot be executed. */
static int become(struct words *w)
{
	CLEAN_FD int fd = -EBADF;
	struct err err = { 0 };
	int r = w->r;

	if (r >= 0)
		r = agent_open_exe("drain", "pleg-drain", false, &fd, &err);
	if (r >= 0) {
		(void)fexecve(fd, w->items, environ);
		r = -errno;
	}
	cli_complain("Cannot run pleg-drain: %s", err_text(&err, r));
	return CLI_FAILED;
}

static int run(const struct cli_command *command, struct cli *cli, int argc, char **argv)
{
	struct drain_arguments arguments = { .timeout = "5m" };
	CLEAN(words_done) struct words w = { 0 };
	int at = cli_parse(cli, command, argc, argv, &arguments), r;

	if (at < 0)
		return CLI_END(at);
	add(&w, "", "pleg-drain");
	add(&w, "", command->name);
	r = take_node(command, argv, argc, &at, &w);
	if (r != 0)
		return r;
	if (command == &cmd_taint && at == argc)
		return cli_usage_error(
			command, "Say at least one taint: KEY=VALUE:EFFECT, or KEY-");
	if (command != &cmd_taint && at < argc)
		return cli_usage_error(command, "One node at a time; '%s' is too much", argv[at]);
	for (; at < argc; at++) {
		struct taint_edit edit;
		struct err err = { 0 };

		if (taint_edit_parse(argv[at], &edit, &err) < 0)
			return cli_usage_error(command, "%s", err.text);
		add(&w, "taint", argv[at]);
	}
	add_options(&w, cli, &arguments);
	return become(&w);
}

static int run_cordon(struct cli *cli, int argc, char **argv)
{
	return run(&cmd_cordon, cli, argc, argv);
}

static int run_uncordon(struct cli *cli, int argc, char **argv)
{
	return run(&cmd_uncordon, cli, argc, argv);
}

static int run_taint(struct cli *cli, int argc, char **argv)
{
	return run(&cmd_taint, cli, argc, argv);
}

static int run_drain(struct cli *cli, int argc, char **argv)
{
	return run(&cmd_drain, cli, argc, argv);
}

#define EXIT_CODES                                                                                 \
	"0  done\n1  the API server refuses or does not answer, or no kubeconfig\n2  usage "       \
	"error\n"

const struct cli_command cmd_cordon = {
	.name = "cordon",
	.summary = "no new pods on a node",
	.synopsis = "[NODE]",
	.description = "Marks the node unschedulable through the API server, with the operator's "
		       "own kubeconfig, and notes that it was pleg that did it. Without NODE it is "
		       "the one that this is run on.",
	.exit_codes = EXIT_CODES,
	.example = "pleg cordon\npleg cordon worker-3 --context prod\n",
	.options = cordon_options,
	.operands = "",
	.run = run_cordon,
};

const struct cli_command cmd_uncordon = {
	.name = "uncordon",
	.summary = "pods may come to a node again",
	.synopsis = "[--any] [NODE]",
	.description = "Marks the node schedulable again if it was pleg that cordoned it; what "
		       "somebody else has cordoned only with --any. Without NODE it is the one "
		       "that this is run on.",
	.exit_codes = EXIT_CODES,
	.example = "pleg uncordon\npleg uncordon worker-3 --any\n",
	.options = uncordon_options,
	.operands = "",
	.run = run_uncordon,
};

const struct cli_command cmd_taint = {
	.name = "taint",
	.summary = "set and take away taints of a node",
	.synopsis = "[--overwrite] [NODE] TAINT...",
	.description = "TAINT is KEY=VALUE:EFFECT or KEY:EFFECT to set one, and KEY- or "
		       "KEY:EFFECT- to take one away. Changes the node's taints, all or none of "
		       "what is asked, and leaves those of others as they are: the list is written"
		       " only if nobody has changed it since it was read. EFFECT is NoSchedule, "
		       "PreferNoSchedule or NoExecute. Without NODE it is the one that this is run"
		       " on.",
	.exit_codes = EXIT_CODES,
	.example = "pleg taint worker-3 maintenance=disk:NoSchedule\npleg taint worker-3 "
		   "maintenance-\n",
	.options = taint_options,
	.operands = "",
	.run = run_taint,
};

const struct cli_command cmd_drain = {
	.name = "drain",
	.summary = "cordon a node and evict its pods, and say why one stays",
	.synopsis = "[OPTIONS] [NODE]",
	.description =
		"Cordons the node and evicts its pods as kubectl drain does, and asks disruption "
		"budgets; pods of DaemonSets, pods with an emptyDir and pods without a controller "
		"only if told. It ends at --timeout at the latest, and says of every pod that is "
		"left whether a budget, its grace period, a finalizer or a stuck process keeps it, "
		"with the cause that the agent of this node has found, and what to do. Without "
		"NODE it is the one that this is run on.",
	.exit_codes = "0  all pods are gone\n1  some are left, or the API server refuses or does "
		      "not answer\n2  usage error\n",
	.example = "pleg drain --ignore-daemonsets --delete-emptydir-data\npleg drain worker-3 "
		   "--ignore-daemonsets --timeout 10m -o json\n",
	.options = drain_options,
	.operands = "",
	.run = run_drain,
};
