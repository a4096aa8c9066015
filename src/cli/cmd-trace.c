/* pleg trace: every hop of one container, timed. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/render.h"
#include "trace/trace.h"

#define DOCUMENT_MAX     (1u << 20)
#define SCREEN_MAX       (1u << 20)
#define AGENT_TIMEOUT_MS 1500

struct trace_arguments {
	const char *runtime;
};

static const struct cli_option trace_options[] = {
	{ .name = "runtime",
		.argument = "ENDPOINT",
		.help = "the container runtime; without it, that of the agent, or of "
			"pleg.yaml, or what is found",
		.type = CLI_TEXT,
		.offset = offsetof(struct trace_arguments, runtime) },
	{ 0 },
};

/* An agent has known the names since before the runtime fell silent. */
static int pods_of_agent(void *userdata, json_t **ret)
{
	const struct cli *cli = userdata;
	const struct control_client_options options = { .path = cli->socket_path,
		.timeout_ms = AGENT_TIMEOUT_MS };
	const struct control_request request = CONTROL_REQUEST_INIT(CONTROL_PODS);

	if (cli->agent_is_silent)
		return -ETIMEDOUT;
	return control_ask(&options, &request, ret, NULL, NULL);
}

static int print(const struct cli *cli, const struct buf *text, bool is_trouble)
{
	const struct looks looks = {
		.width = cli->width, .color = cli->color, .now_ns = clock_now().real_ns
	};
	CLEAN(buf_done) struct buf out = BUF_INIT(SCREEN_MAX);
	json_t *document = json_loadb((const char *)text->data, text->len, 0, NULL);
	int r = -ENOMEM;

	if (document)
		cli_add_owners(cli, document);
	if (document && cli->json)
		r = cli_print_json(cli, document, false);
	else if (document)
		r = render_trace(document, &looks, &out);
	if (r >= 0 && !cli->json && is_trouble)
		r = buf_append_string(&out, "pleg doctor says why, and what helps\n");
	if (r >= 0 && !cli->json)
		r = cli_print((const char *)out.data, out.len);
	json_decref(document);
	return r;
}

static int exit_code(enum trace_verdict verdict)
{
	switch (verdict) {
	case TRACE_FINE: return CLI_OK;
	case TRACE_TROUBLE: return CLI_FAILED;
	case TRACE_BLIND: return CLI_USAGE;
	}
	return CLI_USAGE;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct trace_arguments arguments = { 0 };
	CLEAN(buf_done) struct buf text = BUF_INIT(DOCUMENT_MAX);
	struct trace_options options;
	char endpoint[CLI_ENDPOINT_MAX];
	enum trace_verdict verdict;
	struct err err = { 0 };
	int r = cli_parse(cli, &cmd_trace, argc, argv, &arguments);

	if (r < 0)
		return CLI_END(r);
	if (argc - r != 1)
		return cli_usage_error(
			&cmd_trace, r == argc ? "Which container?" : "One container at a time");
	options = (struct trace_options){
		.endpoint = cli_runtime(cli, arguments.runtime, endpoint),
		.subject = argv[r],
		.pods = pods_of_agent,
		.userdata = cli,
	};
	log_set_level(LOG_LEVEL_ERROR);
	r = trace_run(&options, &text, &verdict, &err);
	if (r < 0) {
		cli_complain("%s", err_text(&err, r));
		if (geteuid() != 0)
			cli_complain("Not run as root: most of a node cannot be looked at");
		return CLI_USAGE;
	}
	r = print(cli, &text, verdict == TRACE_TROUBLE);
	if (r >= 0 || r == -EPIPE)
		return exit_code(verdict);
	cli_complain("Cannot write: %s", err_text(NULL, r));
	return CLI_USAGE;
}

const struct cli_command cmd_trace = {
	.name = "trace",
	.summary = "every hop of one container, timed",
	.synopsis = "[--runtime ENDPOINT] CONTAINER",
	.description =
		"Asks everybody that a container hangs on, all at once and each under a deadline: "
		"the kubelet, the runtime's CRI, containerd itself, the shim on its own socket, "
		"the OCI runtime, the init process and its threads. Shows how long each took, or "
		"what it hangs in, and names the hop that is to blame. Needs no agent and ends "
		"within ten seconds whatever hangs. CONTAINER is an id or the beginning of one, "
		"namespace/pod/container, pod/container or container, or a pod with one container. "
		"With a runtime that hangs, "
		"names are resolved by an agent, if one runs, and ids of running containers by "
		"the kernel.",
	.exit_codes = "0  nothing hangs\n1  a hop hangs, fails, or says something else than "
		      "another\n2  not all could be looked at, there is no such container, or a "
		      "usage error\n",
	.example = "pleg trace default/web-0/nginx\npleg trace 3f2a9c1b7d4e\n"
		   "pleg trace -o json 3f2a9c1b7d4e | jq .culprits\n",
	.options = trace_options,
	.operands = "",
	.run = run,
};
