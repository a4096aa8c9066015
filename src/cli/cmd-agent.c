/* pleg agent: the daemon itself. */
#include "agent/agent.h"

#include "base/mem.h"
#include "cli/cli.h"

struct agent_arguments {
	const char *config, *runtime, *log_level;
	bool find_runtime;
};

static const struct cli_option agent_command_options[] = {
	{ .name = "config",
		.argument = "FILE",
		.help = "configuration (default " AGENT_CONFIG_PATH ", which may be missing)",
		.type = CLI_TEXT,
		.offset = offsetof(struct agent_arguments, config) },
	{ .name = "runtime",
		.argument = "ENDPOINT",
		.help = "container runtime, as unix:///run/containerd/containerd.sock (default: "
			"what the kubelet beside us uses, else the first known socket that "
			"answers)",
		.type = CLI_TEXT,
		.offset = offsetof(struct agent_arguments, runtime) },
	{ .name = "log-level",
		.argument = "LEVEL",
		.help = "error, warning, info or debug (default info)",
		.choices = "error warning info debug",
		.type = CLI_CHOICE,
		.offset = offsetof(struct agent_arguments, log_level) },
	{ .name = "find-runtime",
		.help = "only look for a runtime, print its endpoint and end",
		.type = CLI_FLAG,
		.offset = offsetof(struct agent_arguments, find_runtime) },
	{ 0 },
};

static int run(struct cli *cli, int argc, char **argv)
{
	struct agent_arguments arguments = { 0 };
	int r = cli_parse(cli, &cmd_agent, argc, argv, &arguments);
	struct agent_options options;

	if (r < 0)
		return CLI_END(r);
	options = (struct agent_options){ .config = arguments.config,
		.runtime = arguments.runtime,
		.socket = cli->socket_path,
		.log_level = arguments.log_level };
	return arguments.find_runtime ? agent_find_runtime(&options) : agent_run(&options);
}

const struct cli_command cmd_agent = {
	.name = "agent",
	.summary = "run the daemon",
	.synopsis = "[--config FILE] [--runtime ENDPOINT] [--log-level LEVEL]\n"
		    "                  [--find-runtime]",
	.description =
		"Watches the container runtime of this node, in the foreground, until SIGTERM or "
		"SIGINT; a second one ends it at once. It logs to stderr. What is given here wins "
		"over the configuration file; --socket stands for its controlSocket.",
	.exit_codes = "0  ended cleanly\n1  could not start or go on; the log says why\n"
		      "2  usage error\n",
	.example =
		"pleg agent\npleg agent --runtime unix:///run/crio/crio.sock --log-level debug\n",
	.options = agent_command_options,
	.run = run,
};
