/* pleg completion SHELL: prints a script for the shell to load. */
#include <errno.h>

#include "base/mem.h"
#include "cli/cli.h"

static int run(struct cli *cli, int argc, char **argv)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(1u << 20);
	int r = cli_parse(cli, &cmd_completion, argc, argv, NULL);

	if (r < 0)
		return CLI_END(r);
	if (r + 1 != argc)
		return cli_usage_error(&cmd_completion, "Say which shell: bash, zsh or fish");
	r = cli_completion(argv[r], &out);
	if (r == -EINVAL)
		return cli_usage_error(&cmd_completion,
			"No completion for '%s'; there is one for bash, zsh and fish",
			argv[argc - 1]);
	return cli_finish(&out, r < 0 ? CLI_FAILED : CLI_OK);
}

const struct cli_command cmd_completion = {
	.name = "completion",
	.summary = "completion script for bash, zsh or fish",
	.synopsis = "bash|zsh|fish",
	.description =
		"Prints a script that teaches the shell to complete pleg's commands, options "
		"and their values. Load it from the shell's start-up file.",
	.exit_codes = "0  printed\n2  usage error\n",
	.example = "source <(pleg completion bash)\nsource <(pleg completion zsh)\n"
		   "pleg completion fish > ~/.config/fish/completions/pleg.fish\n",
	.operands = "bash zsh fish",
	.run = run,
};
