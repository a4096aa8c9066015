/*
 * pleg uninstall: takes away what pleg wrote on a host and on its node's object.
 *
 * First everything that is to go is gathered as a list, then the list is shown or done; --dry-run is
 * the same list. What the installer put there stands in its manifest, so that nothing of a package
 * manager is touched; the manifest is the last file to go, and only when all else went, so that
 * a run that was cut off can be repeated. A running agent is never taken apart: its lock is asked.
 *
 * The node's object comes first, by pleg-drain and the agent's kubeconfig: both are among the files. While
 * it cannot be cleaned no file goes, unless it is to be left as it is.
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

#define MANIFEST             PLEG_LIBEXECDIR "/manifest"
#define MANIFEST_MAX         ((size_t)1 << 20)
#define STEPS_MAX            4096
#define OUT_MAX              ((size_t)4 << 20)
#define UNIT                 "pleg.service"
#define UNIT_LINK            "/etc/systemd/system/multi-user.target.wants/" UNIT
#define SYSTEMD_MARK         "/run/systemd/system" /* sd_booted(3) */
#define SYSTEMCTL_TIMEOUT_MS 60000
#define PATH_LENGTH_MAX      4096
#define NODE_TIMEOUT         "20s" /* for the API server, all in all */
#define NODE_TIMEOUT_MS      30000
#define JOURNAL_NAME         "journal.db"

struct uninstall_arguments {
	const char *root, *kubeconfig, *node;
	bool purge, dry_run, yes, no_node, uncordon;
};

static const struct cli_option uninstall_options[] = {
	{ .name = "root",
		.argument = "DIR",
		.help = "the host's root directory (default /)",
		.type = CLI_TEXT,
		.offset = offsetof(struct uninstall_arguments, root) },
	{ .name = "purge",
		.help = "the configuration and the journal, too",
		.type = CLI_FLAG,
		.offset = offsetof(struct uninstall_arguments, purge) },
	{ .name = "kubeconfig",
		.argument = "FILE",
		.help = "for the node's object (default: that of pleg.yaml, unless --root is "
			"another host's)",
		.type = CLI_TEXT,
		.offset = offsetof(struct uninstall_arguments, kubeconfig) },
	{ .name = "node",
		.argument = "NODE",
		.help = "its name (default: that of pleg.yaml, else the host's)",
		.type = CLI_TEXT,
		.offset = offsetof(struct uninstall_arguments, node) },
	{ .name = "no-node",
		.help = "leave the node's object as it is",
		.type = CLI_FLAG,
		.offset = offsetof(struct uninstall_arguments, no_node) },
	{ .name = "uncordon",
		.help = "uncordon the node, if it was pleg that cordoned it",
		.type = CLI_FLAG,
		.offset = offsetof(struct uninstall_arguments, uncordon) },
	{ .name = "dry-run",
		.help = "only show what would be removed",
		.type = CLI_FLAG,
		.offset = offsetof(struct uninstall_arguments, dry_run) },
	{ .name = "yes",
		.letter = 'y',
		.help = "do not ask",
		.type = CLI_FLAG,
		.offset = offsetof(struct uninstall_arguments, yes) },
	{ 0 },
};

enum step_kind {
	STEP_FILE,      /* a file, link or socket */
	STEP_DIRECTORY, /* only when it is empty by then */
	STEP_KEPT,      /* stays, and says why */
};

struct step {
	char *path; /* owned, as the host sees it */
	const char *why;
	enum step_kind kind;
};

struct uninstall {
	struct cli *cli;
	const struct uninstall_arguments *arguments;
	struct host host;
	struct config config;
	struct step steps[STEPS_MAX];
	size_t count;
	bool has_manifest;
	json_t *rows;
	bool failed;
	bool is_node_cleaned;
};

static struct uninstall *uninstall_free(struct uninstall *u)
{
	if (!u)
		return NULL;
	for (size_t i = 0; i < u->count; i++)
		(void)mem_free(u->steps[i].path);
	config_done(&u->config);
	host_done(&u->host);
	json_decref(u->rows);
	return mem_free(u);
}
DEFINE_FREEP(struct uninstall *, uninstall_free)

/* ---- what is to go ----------------------------------------------------------------------- */

static int add_step(struct uninstall *u, enum step_kind kind, const char *why, const char *path)
{
	int r = host_exists(&u->host, path);

	if (r <= 0)
		return r;
	if (u->count == STEPS_MAX)
		return -E2BIG;
	u->steps[u->count] = (struct step){ .path = mem_strdup(path), .why = why, .kind = kind };
	if (!u->steps[u->count].path)
		return -ENOMEM;
	u->count++;
	return 0;
}

/* One line: a kind, a blank, a path. */
static int add_line(struct uninstall *u, const char *line, bool directories, struct err *reterr)
{
	const char *directory = str_after(line, "dir "), *config = str_after(line, "config ");
	const char *path = directory ? directory : config ? config : str_after(line, "file ");

	if (*line == '\0' || *line == '#')
		return 0;
	if (!path || !host_path_is_sane(path))
		return err_set(reterr, -EBADMSG, "%s: line not understood: %s", MANIFEST, line);
	if (str_eq(path, MANIFEST) || directories != (directory != NULL))
		return 0;
	if (directory)
		return add_step(u, STEP_DIRECTORY, NULL, path);
	if (config && !u->arguments->purge)
		return add_step(u, STEP_KEPT, "configuration; --purge removes it", path);
	return add_step(u, STEP_FILE, NULL, path);
}

/* The files as they stand there; or the directories, the last one made first. */
static int add_lines(struct uninstall *u, const char *text, bool directories, struct err *reterr)
{
	CLEAN(mem_freep) char *copy = mem_strdup(text);
	char *end;
	int r = 0;

	if (!copy)
		return -ENOMEM;
	end = copy + strlen(copy);
	while (directories && r >= 0 && end > copy) {
		char *line;

		*end = '\0';
		line = strrchr(copy, '\n');
		r = add_line(u, line ? line + 1 : copy, true, reterr);
		end = line ? line : copy;
	}
	for (char *line = copy, *rest; !directories && line && r >= 0; line = rest) {
		rest = strchr(line, '\n');
		if (rest)
			*rest++ = '\0';
		r = add_line(u, line, false, reterr);
	}
	return r;
}

static int add_journal_file(void *userdata, const char *name)
{
	struct uninstall *u = userdata;
	char path[PATH_LENGTH_MAX];

	if (!str_after(name, JOURNAL_NAME))
		return 0;
	(void)snprintf(path, sizeof(path), "%s/%s", u->config.state_dir, name);
	return add_step(u, STEP_FILE, NULL, path);
}

static int add_state(struct uninstall *u)
{
	const char *state = u->config.state_dir;
	int r;

	if (!host_path_is_sane(state))
		return 0;
	if (!u->arguments->purge)
		return add_step(u, STEP_KEPT, "the journal; --purge removes it", state);
	r = host_list(&u->host, state, add_journal_file, u);
	if (r >= 0)
		r = add_step(u, STEP_DIRECTORY, NULL, state);
	return r == -ENOENT ? 0 : r;
}

static const char *socket_path(const struct uninstall *u)
{
	return u->cli->socket_path ? u->cli->socket_path : u->config.control_socket;
}

/* The socket's directory goes when nothing else is in it and it is the one we make. */
static int add_socket(struct uninstall *u)
{
	const char *path = socket_path(u);
	char other[PATH_LENGTH_MAX];
	int r = 0;

	if (!host_path_is_sane(path))
		return 0;
	(void)snprintf(other, sizeof(other), "%s.lock", path);
	r = add_step(u, STEP_FILE, NULL, path);
	if (r >= 0)
		r = add_step(u, STEP_FILE, NULL, other);
	if (r >= 0 && str_after(path, "/run/pleg/"))
		r = add_step(u, STEP_DIRECTORY, NULL, "/run/pleg");
	return r;
}

/* Everything, in the order in which it goes. */
static int gather(struct uninstall *u, struct err *reterr)
{
	CLEAN(mem_freep) char *manifest = NULL;
	int r = host_read(&u->host, MANIFEST, MANIFEST_MAX, &manifest);

	u->has_manifest = r >= 0;
	if (r < 0 && r != -ENOENT)
		return err_wrap(reterr, r, "Read %s", MANIFEST);
	r = add_step(u, STEP_FILE, NULL, UNIT_LINK);
	if (r >= 0 && manifest)
		r = add_lines(u, manifest, false, reterr);
	if (r >= 0)
		r = add_socket(u);
	if (r >= 0)
		r = add_state(u);
	if (r >= 0 && manifest)
		r = add_step(u, STEP_FILE, NULL, MANIFEST);
	if (r >= 0 && manifest)
		r = add_lines(u, manifest, true, reterr);
	return r;
}

/* Where state and socket are. A file that cannot be read leaves the defaults, which is said. */
static int read_config(struct uninstall *u)
{
	CLEAN(mem_freep) char *text = NULL;
	struct err err = { 0 };
	int r = host_read(&u->host, AGENT_CONFIG_PATH, CONFIG_FILE_MAX, &text);

	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		r = config_parse(&u->config, AGENT_CONFIG_PATH, text, strlen(text), &err);
	if (r >= 0)
		return 0;
	cli_complain("%s; taking stateDir and controlSocket to be the defaults", err_text(&err, r));
	config_done(&u->config);
	return config_init(&u->config);
}

/* ---- doing it ---------------------------------------------------------------------------- */

static int tell(struct uninstall *u, const char *action, const char *path, const char *why)
{
	char line[PATH_LENGTH_MAX + 256];
	json_t *row;

	if (u->cli->json) {
		row = json_pack("{ss ss so}", "path", path, "action", action, "why",
			why ? json_string(why) : json_null());
		return json_array_append_new(u->rows, row) < 0 ? -ENOMEM : 0;
	}
	(void)snprintf(line, sizeof(line), "%-12s %s%s%s%s\n", action, path, why ? " (" : "",
		why ? why : "", why ? ")" : "");
	return cli_print(line, strlen(line));
}

static int do_step(struct uninstall *u, const struct step *step)
{
	int r;

	if (step->kind == STEP_KEPT)
		return tell(u, "kept", step->path, step->why);
	/* What waits for the rest stays as long as something of the rest is there. */
	if (u->failed && str_eq(step->path, MANIFEST))
		return tell(u, "kept", step->path, "needed to try again");
	if (u->arguments->dry_run)
		return tell(u, "would remove", step->path,
			step->kind == STEP_DIRECTORY ? "if it is empty" : NULL);
	r = host_remove(&u->host, step->path, step->kind == STEP_DIRECTORY);
	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		return tell(u, "removed", step->path, NULL);
	if (step->kind == STEP_DIRECTORY && (r == -ENOTEMPTY || r == -EEXIST))
		return tell(u, "kept", step->path, "not empty");
	u->failed = true;
	return tell(u, "failed", step->path, strerror(-r));
}

/* 0 to go on; systemd is told only on its own host. */
static int stop_unit(struct uninstall *u)
{
	static const char *const disable[] = { "systemctl", "disable", "--now", UNIT, NULL };
	int r;

	if (!u->host.is_own || access(SYSTEMD_MARK, F_OK) < 0) {
		cli_complain("No running systemd is told: %s",
			u->host.is_own ? "there is none" : "--root is another host's");
		return 0;
	}
	if (u->arguments->dry_run)
		return tell(u, "would stop", UNIT, NULL);
	r = host_run(disable, SYSTEMCTL_TIMEOUT_MS);
	if (r == 0)
		return tell(u, "stopped", UNIT, NULL);
	cli_complain("systemctl disable --now " UNIT ": %s",
		r < 0 ? strerror(-r) : FMT("exit code %d", r));
	return 0; /* It may not be known there; whether an agent runs is asked next. */
}

static int reload_systemd(const struct uninstall *u)
{
	static const char *const reload[] = { "systemctl", "daemon-reload", NULL };

	if (u->host.is_own && !u->arguments->dry_run && access(SYSTEMD_MARK, F_OK) == 0)
		return host_run(reload, SYSTEMCTL_TIMEOUT_MS);
	return 0;
}

/* 0: none runs, or it does not matter. */
static int refuse_running(struct uninstall *u)
{
	char path[PATH_LENGTH_MAX];
	int32_t pid = 0;

	(void)snprintf(path, sizeof(path), "%s.lock", socket_path(u));
	if (u->arguments->dry_run || host_is_locked(&u->host, path, &pid) <= 0)
		return 0;
	cli_complain("An agent is running (pid %d, %s); end it first", (int)pid, path);
	return -EBUSY;
}

/* ---- the node's object ------------------------------------------------------------------- */

/* NULL: nobody is to be asked. */
static const char *kubeconfig_of(const struct uninstall *u)
{
	if (u->arguments->no_node)
		return NULL;
	if (u->arguments->kubeconfig)
		return u->arguments->kubeconfig;
	/* The paths in one of another host are that host's. One that went with the rest, in an earlier
	 * run, is not missed. */
	if (!u->host.is_own || !host_path_is_sane(u->config.kubeconfig) ||
		(!u->has_manifest && host_exists(&u->host, u->config.kubeconfig) == 0))
		return NULL;
	return u->config.kubeconfig;
}

static int name_node(const struct uninstall *u, char *out, size_t size)
{
	const char *name = u->arguments->node ? u->arguments->node : u->config.node_name;

	if (name[0] == '\0' && !u->host.is_own) {
		cli_complain("Say --node: pleg.yaml names none, and --root is another host's");
		return -EINVAL;
	}
	if (host_node_name(name, out, size) >= 0 && taint_edit_is_node_name(out))
		return 0;
	cli_complain("'%s' is no name of a node; say --node", out);
	return -EINVAL;
}

/* Its exit code or negative errno. */
static int run_prune(const struct uninstall *u, const char *node, const char *kubeconfig)
{
	char exe[64], node_word[300], kubeconfig_word[PATH_LENGTH_MAX + 16];
	const char *words[8] = { exe, "prune", node_word, kubeconfig_word,
		"timeout=" NODE_TIMEOUT };
	CLEAN_FD int fd = -EBADF;
	struct err err = { 0 };
	size_t count = 5;
	int r = agent_open_exe("drain", "pleg-drain", false, &fd, &err);

	if (r < 0) {
		cli_complain("Cannot run pleg-drain: %s", err_text(&err, r));
		return r;
	}
	if (u->arguments->uncordon)
		words[count++] = "uncordon";
	if (u->arguments->dry_run)
		words[count++] = "dry-run=client";
	(void)snprintf(exe, sizeof(exe), "/proc/self/fd/%d", fd);
	(void)snprintf(node_word, sizeof(node_word), "node=%s", node);
	(void)snprintf(kubeconfig_word, sizeof(kubeconfig_word), "kubeconfig=%s", kubeconfig);
	return host_run(words, NODE_TIMEOUT_MS);
}

/* 0 to go on. What it did in detail is told by pleg-drain. */
static int clean_node(struct uninstall *u)
{
	const char *kubeconfig = kubeconfig_of(u);
	char node[256] = "", row[300];
	int r;

	if (!kubeconfig)
		return 0;
	r = name_node(u, node, sizeof(node));
	if (r >= 0)
		r = run_prune(u, node, kubeconfig);
	(void)snprintf(row, sizeof(row), "node/%s", node);
	u->is_node_cleaned = r == 0;
	if (r == 0)
		return tell(u, u->arguments->dry_run ? "would clean" : "cleaned", row, NULL);
	u->failed = true;
	(void)tell(u, "failed", row,
		r < 0 ? strerror(-r) : "what pleg wrote there could not be removed");
	if (u->arguments->dry_run)
		return 0;
	cli_complain(
		"No file was removed, so that this can be done again, perhaps with the "
		"--kubeconfig of somebody who may; --no-node leaves the node's object as it is");
	return -EREMOTEIO;
}

static int confirm(struct uninstall *u)
{
	char answer[8] = "";
	size_t removals = 0;

	for (size_t i = 0; i < u->count; i++)
		removals += u->steps[i].kind != STEP_KEPT;
	if (u->arguments->dry_run || u->arguments->yes || (removals == 0 && !kubeconfig_of(u)))
		return 0;
	if (isatty(STDIN_FILENO) != 1)
		return cli_usage_error(&cmd_uninstall,
			"Nobody to ask: say --yes, or --dry-run to see what would be removed");
	(void)fprintf(stderr, "Remove %zu files and directories of pleg below %s%s? [y/N] ",
		removals, u->arguments->root,
		kubeconfig_of(u) ? ", and what it wrote on the node's object" : "");
	if (fgets(answer, sizeof(answer), stdin) &&
		(str_eq(answer, "y\n") || str_eq(answer, "yes\n")))
		return 0;
	cli_complain("Nothing was removed");
	return CLI_FAILED;
}

static void say_what_stays(const struct uninstall *u)
{
	if (!u->has_manifest)
		cli_complain("No " MANIFEST
			     ": pleg's programs, unit and manual pages were not put there by "
			     "its installer; remove them with what did, such as apt");
	if (!u->is_node_cleaned)
		cli_complain("The node object is not touched; pleg-uninstall(8) has the kubectl "
			     "commands for its pleg.dev/ conditions, taint and annotation");
}

static int finish(struct uninstall *u)
{
	json_t *document;
	int r;

	if (!u->cli->json)
		return 0;
	document = json_pack("{sb sO}", "dryRun", u->arguments->dry_run, "paths", u->rows);
	if (!document)
		return -ENOMEM;
	r = cli_print_json(u->cli, document, false);
	json_decref(document);
	return r;
}

static int uninstall(struct uninstall *u)
{
	struct err err = { 0 };
	int r = read_config(u);

	if (r >= 0)
		r = gather(u, &err);
	if (r < 0) {
		cli_complain("%s", err_text(&err, r));
		return CLI_FAILED;
	}
	r = confirm(u);
	if (r != 0)
		return r;
	r = stop_unit(u);
	if (r >= 0 && refuse_running(u) < 0)
		return CLI_FAILED;
	if (r >= 0 && clean_node(u) < 0) {
		(void)finish(u);
		return CLI_FAILED;
	}
	for (size_t i = 0; i < u->count && r >= 0; i++)
		r = do_step(u, &u->steps[i]);
	(void)reload_systemd(u);
	say_what_stays(u);
	if (r >= 0)
		r = finish(u);
	return r < 0 || u->failed ? CLI_FAILED : CLI_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct uninstall_arguments arguments = { .root = "/" };
	CLEAN(uninstall_freep) struct uninstall *u = NULL;
	struct err err = { 0 };
	int r = cli_parse(cli, &cmd_uninstall, argc, argv, &arguments);

	if (r < 0)
		return CLI_END(r);
	u = mem_zalloc(sizeof(*u));
	if (!u)
		return CLI_FAILED;
	u->cli = cli;
	u->arguments = &arguments;
	u->host.root_fd = -EBADF;
	u->rows = json_array();
	r = u->rows ? config_init(&u->config) : -ENOMEM;
	if (r >= 0)
		r = host_open(&u->host, arguments.root, &err);
	if (r < 0) {
		cli_complain("%s", err_text(&err, r));
		return CLI_FAILED;
	}
	return uninstall(u);
}

const struct cli_command cmd_uninstall = {
	.name = "uninstall",
	.summary = "remove what pleg wrote on this host and its node",
	.synopsis = "[OPTIONS]",
	.description =
		"Stops and disables the unit, takes pleg's conditions, its taint and the note of "
		"a cordon from the node's object, if there is a kubeconfig, and removes what the "
		"installer put on the host, credentials included, the control socket, and with "
		"--purge the configuration and the journal. Asks first. If the node's object "
		"cannot be cleaned, no file is removed, unless --no-node leaves it as it is.",
	.exit_codes = "0  done\n1  something could not be removed, or an agent is running\n"
		      "2  usage error\n",
	.example = "pleg uninstall --dry-run\npleg uninstall --purge --yes\n",
	.options = uninstall_options,
	.run = run,
};
