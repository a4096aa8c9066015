/* pleg status: how the node is, and if it is not well, why. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/render.h"

#define WATCH_PERIOD_MS 1000

struct status_arguments {
	bool watch;
	const char *runtime;
};

static const struct cli_option status_options[] = {
	{ .name = "watch",
		.letter = 'w',
		.help = "show it again every second, until Ctrl-C",
		.type = CLI_FLAG,
		.offset = offsetof(struct status_arguments, watch) },
	{ .name = "runtime",
		.argument = "ENDPOINT",
		.help = "ask this container runtime itself, once, without an agent",
		.type = CLI_TEXT,
		.offset = offsetof(struct status_arguments, runtime) },
	{ 0 },
};

static int render(const struct cli *cli, const json_t *document, struct buf *out)
{
	const struct looks looks = {
		.width = cli->width, .color = cli->color, .now_ns = clock_now().real_ns
	};

	return render_status(document, &looks, out);
}

/* Asks and prints once. The exit code, or -EPIPE when stdout has lost its reader. */
static int show(struct cli *cli, const char *runtime)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(1u << 20);
	json_t *document = NULL;
	struct err err = { 0 };
	int r = cli_document(cli, runtime, CONTROL_STATUS, &document, &err);
	int code;

	if (r < 0) {
		(void)cli_document_failed(&cmd_status, runtime, r, &err);
		return CLI_USAGE; /* 1 would say that the node is not ready. */
	}
	code = json_is_true(json_object_get(json_object_get(document, "node"), "ready"))
		? CLI_OK
		: CLI_FAILED;
	if (cli->json)
		r = cli_print_json(cli, document, false);
	else
		r = render(cli, document, &out);
	json_decref(document);
	if (r >= 0)
		r = cli_print((const char *)out.data, out.len);
	if (r < 0 && r != -EPIPE)
		cli_complain("Cannot write: %s", err_text(NULL, r));
	return r == -EPIPE ? r : r < 0 ? CLI_FAILED : code;
}

/* The screen of a terminal is written over rather than cleared, so that it does not flicker. */
static int repaint(const struct buf *text)
{
	CLEAN(buf_done) struct buf screen = BUF_INIT(4u << 20);
	size_t start = 0;
	int r = buf_append_string(&screen, "\033[H");

	for (size_t i = 0; i < text->len && r >= 0; i++) {
		if (text->data[i] != '\n')
			continue;
		r = buf_append(&screen, text->data + start, i - start);
		if (r >= 0)
			r = buf_append_string(&screen, "\033[K\n");
		start = i + 1;
	}
	if (r >= 0)
		r = buf_append_string(&screen, "\033[J");
	return r < 0 ? r : cli_print((const char *)screen.data, screen.len);
}

/* One turn of --watch; an agent that is away is part of the picture, not the end of it. */
static int watch_once(struct cli *cli)
{
	const struct control_request request = CONTROL_REQUEST_INIT(CONTROL_STATUS);
	CLEAN(buf_done) struct buf out = BUF_INIT(1u << 20);
	json_t *document = NULL;
	struct err err = { 0 };
	int r = cli_ask(cli, &request, &document, NULL, &err);

	if (r < 0)
		r = cli->terminal && !cli->json ? buf_printf(&out, "%s\n", err_text(&err, r))
						: (cli_complain("%s", err_text(&err, r)), 0);
	else if (cli->json)
		r = cli_print_json(cli, document, true);
	else
		r = render(cli, document, &out);
	json_decref(document);
	if (r < 0 || out.len == 0)
		return r;
	if (cli->terminal)
		return repaint(&out);
	r = buf_append_string(&out, "\n");
	return r < 0 ? r : cli_print((const char *)out.data, out.len);
}

static int watch(struct cli *cli)
{
	int r = cli->terminal && !cli->json ? cli_print("\033[2J", 4) : 0;

	while (r >= 0) {
		struct pollfd reader = { .fd = STDOUT_FILENO };

		r = watch_once(cli);
		if (r >= 0 && poll(&reader, 1, WATCH_PERIOD_MS) > 0)
			r = -EPIPE;
	}
	if (r == -EPIPE)
		return CLI_OK;
	cli_complain("Cannot write: %s", err_text(NULL, r));
	return CLI_FAILED;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct status_arguments arguments = { 0 };
	int r = cli_parse(cli, &cmd_status, argc, argv, &arguments);

	if (r < 0)
		return CLI_END(r);
	if (arguments.watch && arguments.runtime)
		return cli_usage_error(&cmd_status, "--watch needs an agent; leave out --runtime");
	if (arguments.watch)
		return watch(cli);
	r = show(cli, arguments.runtime);
	return r == -EPIPE ? CLI_OK : r;
}

const struct cli_command cmd_status = {
	.name = "status",
	.summary = "how this node is, and what hangs",
	.synopsis = "[--watch | --runtime ENDPOINT]",
	.description =
		"Shows the verdict of the agent on this node and the reason for it, which calls to "
		"the runtime hang and since when, what the kubelet beside it says, the state of "
		"the "
		"runtime and of PLEG, and how many pods and containers there are.",
	.exit_codes = "0  the node is ready\n1  it is not\n2  no agent answers, or a usage error\n",
	.example = "pleg status\npleg status --watch\npleg status -o json | jq .node\n",
	.options = status_options,
	.run = run,
};
