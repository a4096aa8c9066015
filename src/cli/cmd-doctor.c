/* pleg doctor: what is wrong with this node, why, and what helps; without an agent. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/look.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/render.h"

#define DOCUMENT_MAX ((size_t)16 << 20)
#define WHAT_MAX     60

struct doctor_arguments {
	const char *runtime;
	bool watch, goroutines;
};

static const struct cli_option doctor_options[] = {
	{ .name = "watch",
		.letter = 'w',
		.help = "go on until what is suspected is proven or gone, two minutes at most",
		.type = CLI_FLAG,
		.offset = offsetof(struct doctor_arguments, watch) },
	{ .name = "goroutines",
		.letter = 'g',
		.help = "have containerd, dockerd and shims that hang write a goroutine dump "
			"(SIGUSR1), and read it",
		.type = CLI_FLAG,
		.offset = offsetof(struct doctor_arguments, goroutines) },
	{ .name = "runtime",
		.argument = "ENDPOINT",
		.help = "the container runtime; without it, that of the agent, or of "
			"pleg.yaml, or what is found",
		.type = CLI_TEXT,
		.offset = offsetof(struct doctor_arguments, runtime) },
	{ 0 },
};

#define LINE_CLEAR "\r\033[K"

/* One line that is written over, on a terminal only. */
static void on_progress(void *userdata, unsigned percent, const char *what)
{
	(void)userdata;
	(void)fprintf(stderr, LINE_CLEAR "pleg: %3u %% %.*s", percent, WHAT_MAX, what);
}

/* The line goes with us. */
static void on_interrupt(int sig)
{
	if (write(STDERR_FILENO, LINE_CLEAR, sizeof(LINE_CLEAR) - 1) >= 0)
		(void)raise(sig); /* SA_RESETHAND: as if nobody had been asked */
	_exit(128 + sig);
}

static void show_progress(struct look_options *options)
{
	struct sigaction action = { .sa_handler = on_interrupt,
		.sa_flags = (int)SA_RESETHAND | SA_NODEFER };

	options->on_progress = on_progress;
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
}

static int print(const struct cli *cli, const struct buf *text)
{
	const struct looks looks = {
		.width = cli->width, .color = cli->color, .now_ns = clock_now().real_ns
	};
	CLEAN(buf_done) struct buf out = BUF_INIT(DOCUMENT_MAX);
	json_t *document = json_loadb((const char *)text->data, text->len, 0, NULL);
	int r = -ENOMEM;

	if (json_array_size(json_object_get(document, "findings")) > 0)
		cli_add_owners(cli, document);
	if (document && cli->json)
		r = cli_print_json(cli, document, false);
	else if (document)
		r = render_doctor(document, &looks, &out);
	if (r >= 0 && !cli->json)
		r = cli_print((const char *)out.data, out.len);
	json_decref(document);
	return r;
}

static int failed(int r, const struct err *err)
{
	if (r == -EINVAL)
		return cli_usage_error(&cmd_doctor, "%s", err_text(err, r));
	cli_complain("%s", err_text(err, r));
	return CLI_USAGE;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct doctor_arguments arguments = { 0 };
	CLEAN(buf_done) struct buf text = BUF_INIT(DOCUMENT_MAX);
	struct look_options options = { 0 };
	struct look_result result = { 0 };
	char endpoint[CLI_ENDPOINT_MAX];
	struct err err = { 0 };
	int r = cli_parse(cli, &cmd_doctor, argc, argv, &arguments);

	if (r < 0)
		return CLI_END(r);
	log_set_level(LOG_LEVEL_ERROR);
	options.endpoint = cli_runtime(cli, arguments.runtime, endpoint);
	options.watch = arguments.watch;
	options.goroutines = arguments.goroutines;
	if (isatty(STDERR_FILENO) == 1)
		show_progress(&options);
	else
		(void)fprintf(stderr, "pleg: Looking, for up to %s ...\n",
			arguments.watch ? "two minutes" : "10 seconds");
	r = look_run(&options, &text, &result, &err);
	if (options.on_progress)
		(void)fputs(LINE_CLEAR, stderr);
	if (r < 0)
		return failed(r, &err);
	r = print(cli, &text);
	if (r < 0 && r != -EPIPE) {
		cli_complain("Cannot write: %s", err_text(NULL, r));
		return CLI_USAGE;
	}
	if (geteuid() != 0) {
		cli_complain("Not run as root: most of a node cannot be looked at");
		return CLI_USAGE;
	}
	if (result.findings > 0)
		return CLI_FAILED;
	if (!result.is_whole)
		cli_complain("Nothing found, but not everything could be looked at");
	return result.is_whole ? CLI_OK : CLI_USAGE;
}

const struct cli_command cmd_doctor = {
	.name = "doctor",
	.summary = "what is wrong with this node, why, and what helps",
	.synopsis = "[--watch] [--goroutines] [--runtime ENDPOINT]",
	.description =
		"Reads what processes, threads, mounts, freezers, shims and daemons show, and "
		"names "
		"the deepest cause that explains it, with the evidence, what it explains, and what "
		"helps, mildest first. It needs no agent and ends in under 10 seconds whatever "
		"hangs. What one run cannot prove is called suspected. It changes nothing; with "
		"--goroutines, a daemon that hangs writes a dump into its log and a file.",
	.exit_codes =
		"0  nothing found\n1  there are findings\n2  nothing found, but not all was seen; "
		"not run as root; or a usage error\n",
	.example = "pleg doctor\npleg doctor --watch\npleg doctor --goroutines\n"
		   "pleg doctor -o json | jq -r '.findings[].cause'\n",
	.options = doctor_options,
	.run = run,
};
