/*
 * pleg-drain: what `pleg cordon`, `uncordon`, `taint` and `drain` become, and what `pleg uninstall` runs
 * to clean the node's object. An executable of its own because libcurl and TLS are not to be linked into
 * `pleg`, whose agent is measured in megabytes. Options and help are in src/cli.
 */
#include <signal.h>

#include "base/str.h"
#include "drain/command.h"

static int run(struct command *command)
{
	static const struct {
		const char *verb;
		int (*run)(struct command *command);
	} verbs[] = {
		{ "cordon", cordon_run },
		{ "uncordon", uncordon_run },
		{ "taint", taint_run },
		{ "drain", drain_run },
		{ "prune", prune_run },
	};

	for (size_t i = 0; i < ELEMENTS(verbs); i++)
		if (str_eq(command->words->verb, verbs[i].verb))
			return verbs[i].run(command);
	command_complain("Unknown verb '%s'", command->words->verb);
	return COMMAND_USAGE;
}

int main(int argc, char **argv)
{
	struct command_words words;
	struct command command = { 0 };
	struct err err = { 0 };
	int r = command_words_parse(argc, argv, &words, &err);
	int code;

	(void)signal(SIGPIPE, SIG_IGN);
	if (r < 0) {
		command_complain("%s", err_text(&err, r));
		return COMMAND_USAGE;
	}
	r = command_open(&command, &words, &err);
	if (r < 0)
		command_complain("%s", err_text(&err, r));
	code = r < 0 ? COMMAND_FAILED : run(&command);
	command_done(&command);
	return code;
}
