/* pleg help [COMMAND]: everything it says comes from the tables. */
#include "base/mem.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/page.h"

#define HELP_WIDTH   80
#define NAME_WIDTH   12
#define OPTION_WIDTH 26

static void put_option(struct page *p, const struct cli_option *option)
{
	char name[64];

	(void)str_format(name, sizeof(name), "  %s--%s%s%s%s",
		option->letter ? (char[]){ '-', option->letter, ',', ' ', 0 } : "    ",
		option->name,
		option->bare               ? "[="
			: option->argument ? " "
					   : "",
		str_or_empty(option->argument), option->bare ? "]" : "");
	page_put(p, name);
	if (text_width(name) + 2 > OPTION_WIDTH)
		page_printf(p, "\n%*s", OPTION_WIDTH, "");
	else
		page_printf(p, "%*s", (int)(OPTION_WIDTH - text_width(name)), "");
	page_wrap(p, OPTION_WIDTH, OPTION_WIDTH, HELP_WIDTH, option->help);
}

/* A text of several lines, each indented. */
static void put_lines(struct page *p, const char *lines)
{
	while (*lines) {
		size_t len = strcspn(lines, "\n");

		page_printf(p, "  %.*s\n", (int)len, lines);
		lines += len + (lines[len] == '\n');
	}
}

int cli_help_overview(struct buf *out)
{
	const struct looks looks = { 0 };
	struct page p = { .out = out, .looks = &looks };

	page_put(&p,
		"pleg watches the pods of a node, tells of every change in them, and says what\n"
		"hangs when the container runtime does.\n\n"
		"Usage: pleg COMMAND [OPTIONS]\n\nCommands:\n");
	for (size_t i = 0; cli_commands[i]; i++)
		page_printf(&p, "  %-*s%s\n", NAME_WIDTH, cli_commands[i]->name,
			cli_commands[i]->summary);
	page_put(&p, "\nOptions of every command:\n");
	for (const struct cli_option *o = cli_globals; o->name; o++)
		put_option(&p, o);
	page_put(&p, "\n'pleg help COMMAND' says more about one, and so does its manual page.\n");
	return p.r;
}

int cli_help_command(const struct cli_command *command, struct buf *out)
{
	const struct looks looks = { 0 };
	struct page p = { .out = out, .looks = &looks };

	page_printf(&p, "Usage: pleg %s%s%s\n\n", command->name, *command->synopsis ? " " : "",
		command->synopsis);
	page_wrap(&p, 0, 0, HELP_WIDTH, command->description);
	page_put(&p, "\nOptions:\n");
	for (const struct cli_option *o = command->options; o && o->name; o++)
		put_option(&p, o);
	for (const struct cli_option *o = cli_globals; o->name; o++)
		put_option(&p, o);
	page_put(&p, "\nExit status:\n");
	put_lines(&p, command->exit_codes);
	page_put(&p, "\nExamples:\n");
	put_lines(&p, command->example);
	return p.r;
}

static int run(struct cli *cli, int argc, char **argv)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(65536);
	const struct cli_command *about = NULL;
	int r = cli_parse(cli, &cmd_help, argc, argv, NULL);

	if (r < 0)
		return CLI_END(r);
	if (r + 1 < argc)
		return cli_usage_error(&cmd_help, "One command at a time");
	if (r < argc) {
		about = cli_find(argv[r]);
		if (!about)
			return cli_unknown_command(argv[r]);
	}
	r = about ? cli_help_command(about, &out) : cli_help_overview(&out);
	return cli_finish(&out, r < 0 ? CLI_FAILED : CLI_OK);
}

const struct cli_command cmd_help = {
	.name = "help",
	.summary = "what the commands do",
	.synopsis = "[COMMAND]",
	.description = "Prints the list of commands, or what there is to say about one of them.",
	.exit_codes = "0  printed\n2  usage error\n",
	.example = "pleg help\npleg help events\n",
	.operands = "status pods events incidents doctor trace cordon uncordon taint drain agent "
		    "uninstall version completion help",
	.run = run,
};
