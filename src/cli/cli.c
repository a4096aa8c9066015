/* The table of commands, the way from main() to one of them, and what they share. */
#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/mem.h"
#include "base/str.h"

#define COMMANDS_MAX  32
#define WIDTH_DEFAULT 80

const struct cli_command *const cli_commands[] = {
	&cmd_status,
	&cmd_pods,
	&cmd_events,
	&cmd_incidents,
#ifdef PLEG_HAS_AGENT
	&cmd_doctor,
	&cmd_trace,
	&cmd_cordon,
	&cmd_uncordon,
	&cmd_taint,
	&cmd_drain,
	&cmd_agent,
	&cmd_uninstall,
#endif
	&cmd_version,
	&cmd_completion,
	&cmd_help,
	NULL,
};

const struct cli_option cli_globals[] = {
	{ .name = "socket",
		.argument = "PATH",
		.help = "control socket of the agent (default " CONTROL_SOCKET_DEFAULT ")",
		.type = CLI_TEXT,
		.offset = offsetof(struct cli, socket_path) },
	{ .name = "output",
		.letter = 'o',
		.argument = "FORMAT",
		.help = "text or json (default text)",
		.choices = "text json",
		.type = CLI_CHOICE,
		.offset = offsetof(struct cli, output) },
	{ .name = "no-color",
		.help = "no colours; so does NO_COLOR in the environment",
		.type = CLI_FLAG,
		.offset = offsetof(struct cli, no_color) },
	{ .name = "help",
		.letter = 'h',
		.help = "show this help",
		.type = CLI_FLAG,
		.offset = offsetof(struct cli, help) },
	{ 0 },
};

const struct cli_command *cli_find(const char *name)
{
	for (size_t i = 0; cli_commands[i]; i++)
		if (str_eq(cli_commands[i]->name, name))
			return cli_commands[i];
	return NULL;
}

void cli_look_around(struct cli *cli)
{
	const char *no_color = getenv("NO_COLOR");
	struct winsize size;

	cli->json = str_eq(cli->output, "json");
	cli->terminal = isatty(STDOUT_FILENO) == 1;
	cli->color = cli->terminal && !cli->no_color && !(no_color && *no_color) &&
		!str_eq(str_or_empty(getenv("TERM")), "dumb");
	cli->width = 0;
	if (cli->terminal) {
		cli->width = WIDTH_DEFAULT;
		if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
			cli->width = size.ws_col;
	}
}

int cli_unknown_command(const char *word)
{
	const char *names[COMMANDS_MAX];
	const char *nearest;
	size_t count = 0;

	for (; cli_commands[count] && count < COMMANDS_MAX; count++)
		names[count] = cli_commands[count]->name;
	nearest = cli_nearest(word, names, count);
	if (nearest)
		return cli_usage_error(
			NULL, "Unknown command '%s'; did you mean '%s'?", word, nearest);
	return cli_usage_error(NULL, "Unknown command '%s'", word);
}

static int overview(int code)
{
	CLEAN(buf_done) struct buf help = BUF_INIT(65536);
	int r = cli_help_overview(&help);

	return cli_finish(&help, r < 0 ? CLI_FAILED : code);
}

int cli_run(int argc, char **argv)
{
	struct cli cli = { .output = "text" };
	const struct cli_command *command;
	int verb;

	if (argc > 1 && (str_eq(argv[1], "--version") || str_eq(argv[1], "-V")))
		return cmd_version.run(&cli, 1, argv);
	verb = cli_parse(&cli, NULL, argc, argv, NULL);
	if (verb < 0)
		return CLI_END(verb);
	if (verb >= argc)
		return overview(CLI_OK);
	command = cli_find(argv[verb]);
	if (!command)
		return cli_unknown_command(argv[verb]);
	return command->run(&cli, argc - verb, argv + verb);
}

/* ---- output ------------------------------------------------------------------------------ */

int cli_print(const char *text, size_t len)
{
	/* stdio would hide whether a reader is there; a line is one write. */
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int report_print(int r, int code)
{
	if (r >= 0 || r == -EPIPE)
		return code; /* Who reads has seen enough. */
	cli_complain("Cannot write: %s", strerror(-r));
	return CLI_FAILED;
}

int cli_finish(struct buf *out, int code)
{
	return report_print(cli_print((const char *)out->data, out->len), code);
}

static int append_json(const char *text, size_t len, void *out)
{
	return buf_append(out, text, len);
}

int cli_print_json(const struct cli *cli, const json_t *document, bool stream)
{
	/* 15 digits give 0.4 back as it came. A terminal gets no byte that it might obey. */
	size_t flags = JSON_REAL_PRECISION(15) | (cli->terminal ? JSON_ENSURE_ASCII : 0) |
		(cli->terminal && !stream ? JSON_INDENT(2) : JSON_COMPACT);
	CLEAN(buf_done) struct buf out = BUF_INIT((size_t)CONTROL_DOCUMENT_MAX * 8);

	if (json_dump_callback(document, append_json, &out, flags) < 0 ||
		buf_append_string(&out, "\n") < 0)
		return -ENOMEM;
	return cli_print((const char *)out.data, out.len);
}

/* ---- asking ------------------------------------------------------------------------------ */

static void on_slow(void *userdata, const char *path)
{
	(void)userdata;
	(void)fprintf(stderr, "pleg: Waiting for the agent on %s ...\n", path);
}

int cli_ask(struct cli *cli, const struct control_request *request, json_t **ret_result,
	struct control_client **ret_client, struct err *reterr)
{
	const struct control_client_options options = { .path = cli->socket_path,
		.timeout_ms = CLI_TIMEOUT_MS,
		.slow_ms = CLI_SLOW_MS,
		.on_slow = on_slow };

	return control_ask(&options, request, ret_result, ret_client, reterr);
}

static int look(const char *runtime, enum control_request_type type, json_t **ret_document,
	struct err *reterr)
{
	CLEAN(buf_done) struct buf text = BUF_INIT(CONTROL_DOCUMENT_MAX);
	int r = agent_once(
		runtime, type == CONTROL_PODS ? AGENT_PODS : AGENT_STATUS, &text, reterr);

	if (r < 0)
		return r;
	(void)fprintf(stderr, "pleg: No agent was asked: one look at %s\n", runtime);
	*ret_document = json_loadb((const char *)text.data, text.len, 0, NULL);
	return *ret_document ? 0 : -ENOMEM;
}

int cli_document(struct cli *cli, const char *runtime, enum control_request_type type,
	json_t **ret_document, struct err *reterr)
{
	const struct control_request request = CONTROL_REQUEST_INIT(type);

	if (runtime)
		return look(runtime, type, ret_document, reterr);
	return cli_ask(cli, &request, ret_document, NULL, reterr);
}

int cli_document_failed(
	const struct cli_command *command, const char *runtime, int r, const struct err *err)
{
	if (runtime && r == -EINVAL)
		return cli_usage_error(command, "%s", err_text(err, r));
	cli_complain("%s", err_text(err, r));
	if (!runtime && r == -ECONNREFUSED)
		cli_complain("Without an agent: pleg %s --runtime ENDPOINT, such as "
			     "unix:///run/containerd/containerd.sock; pleg doctor needs neither",
			command->name);
	return r == -ECONNREFUSED ? CLI_USAGE : CLI_FAILED;
}
