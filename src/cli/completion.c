/*
 * Completion scripts, written from the tables of commands and options. What an option takes is
 * known by what the help calls it: FILE and PATH are completed as files, choices as words.
 */
#include "cli/cli.h"

#include <errno.h>

#include "base/str.h"

static bool takes_file(const struct cli_option *o)
{
	return o->argument && (str_eq(o->argument, "FILE") || str_eq(o->argument, "PATH"));
}

/* Calls `put` for each option of a command (NULL: none) and each global one. */
static int each_option(const struct cli_command *command, struct buf *out,
	int (*put)(const struct cli_option *o, const struct cli_command *command, struct buf *out))
{
	int r = 0;

	for (const struct cli_option *o = command ? command->options : NULL; o && o->name && r >= 0;
		o++)
		r = put(o, command, out);
	for (const struct cli_option *o = cli_globals; o->name && r >= 0; o++)
		r = put(o, NULL, out);
	return r;
}

/* `text` with a backslash before each of `special`, and ' as the shell wants it within '...'. */
static int put_quoted(struct buf *out, const char *text, const char *special)
{
	int r = 0;

	for (; *text && r >= 0; text++) {
		if (*text == '\'') {
			r = buf_append_string(out, "'\\''");
			continue;
		}
		if (strchr(special, *text))
			r = buf_append_string(out, "\\");
		if (r >= 0)
			r = buf_append(out, text, 1);
	}
	return r;
}

/* ---- bash -------------------------------------------------------------------------------- */

static int bash_word(const struct cli_option *o, const struct cli_command *command, struct buf *out)
{
	(void)command;
	return o->letter ? buf_printf(out, " -%c --%s", o->letter, o->name)
			 : buf_printf(out, " --%s", o->name);
}

/* How the word behind an option is completed. */
static int bash_value(
	const struct cli_option *o, const struct cli_command *command, struct buf *out)
{
	const char *verb = command ? command->name : "*";
	int r;

	if (!o->argument || o->bare) /* a value behind '=' is no word of its own */
		return 0;
	r = buf_printf(out, "    %s:--%s", verb, o->name);
	if (r >= 0 && o->letter)
		r = buf_printf(out, "|%s:-%c", verb, o->letter);
	if (r < 0)
		return r;
	if (o->choices)
		return buf_printf(out, ") COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n",
			o->choices);
	if (takes_file(o))
		return buf_append_string(out,
			") compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")); return "
			";;\n");
	return buf_append_string(out, ") return ;;\n");
}

static int bash_command(const struct cli_command *command, struct buf *out)
{
	int r = buf_printf(
		out, "    %s) words='%s", command->name, str_or_empty(command->operands));

	if (r >= 0)
		r = each_option(command, out, bash_word);
	return r < 0 ? r : buf_append_string(out, "' ;;\n");
}

static int bash(struct buf *out)
{
	int r = buf_append_string(out,
		"# bash completion of pleg; load it with: source <(pleg completion bash)\n"
		"_pleg() {\n"
		"    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
		"    local verb='' words='' i\n"
		"    COMPREPLY=()\n"
		"    for ((i = 1; i < COMP_CWORD; i++)); do\n"
		"        case ${COMP_WORDS[i]} in\n        ");

	for (size_t i = 0; cli_commands[i] && r >= 0; i++)
		r = buf_printf(out, "%s%s", i ? "|" : "", cli_commands[i]->name);
	if (r >= 0)
		r = buf_append_string(out,
			") verb=${COMP_WORDS[i]}; break ;;\n"
			"        esac\n    done\n"
			"    case $verb:$prev in\n");
	for (size_t i = 0; cli_commands[i] && r >= 0; i++)
		for (const struct cli_option *o = cli_commands[i]->options; o && o->name && r >= 0;
			o++)
			r = bash_value(o, cli_commands[i], out);
	if (r >= 0)
		r = each_option(NULL, out, bash_value);
	if (r >= 0)
		r = buf_append_string(out, "    esac\n    case $verb in\n    '') words='");
	for (size_t i = 0; cli_commands[i] && r >= 0; i++)
		r = buf_printf(out, "%s%s", i ? " " : "", cli_commands[i]->name);
	if (r >= 0)
		r = each_option(NULL, out, bash_word);
	if (r >= 0)
		r = buf_append_string(out, "' ;;\n");
	for (size_t i = 0; cli_commands[i] && r >= 0; i++)
		r = bash_command(cli_commands[i], out);
	if (r >= 0)
		r = buf_append_string(out,
			"    esac\n"
			"    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
			"}\ncomplete -F _pleg pleg\n");
	return r;
}

/* ---- zsh --------------------------------------------------------------------------------- */

static int zsh_spec(struct buf *out, const char *dashes, const struct cli_option *o)
{
	int r = buf_printf(out, " \\\n        '%s%s[", dashes,
		o->bare               ? "=-"
			: o->argument ? "="
				      : "");

	if (r >= 0)
		r = put_quoted(out, o->help, "[]:\\");
	if (r >= 0)
		r = buf_append_string(out, "]");
	if (r >= 0 && o->choices)
		r = buf_printf(out, "%s:%s:(%s)", o->bare ? ":" : "", o->argument, o->choices);
	else if (r >= 0 && o->argument)
		r = buf_printf(out, ":%s:%s", o->argument, takes_file(o) ? "_files" : " ");
	return r < 0 ? r : buf_append_string(out, "'");
}

static int zsh_option(
	const struct cli_option *o, const struct cli_command *command, struct buf *out)
{
	int r = 0;

	(void)command;
	if (o->letter) {
		char letter[] = { '-', o->letter, o->argument ? '+' : '\0', '\0' };

		/* "-o+[...]": the value follows at once or as the next word. */
		r = buf_printf(out, " \\\n        '%s[", letter);
		if (r >= 0)
			r = put_quoted(out, o->help, "[]:\\");
		if (r >= 0)
			r = o->argument
				? buf_printf(out, "]:%s:%s%s%s'", o->argument,
					  o->choices ? "(" : "", o->choices ? o->choices : " ",
					  o->choices ? ")" : "")
				: buf_append_string(out, "]'");
	}
	return r < 0 ? r : zsh_spec(out, FMT("--%s", o->name), o);
}

static int zsh(struct buf *out)
{
	int r = buf_append_string(out,
		"#compdef pleg\n"
		"# zsh completion of pleg; load it with: source <(pleg completion zsh)\n"
		"_pleg() {\n"
		"    local curcontext=\"$curcontext\" state\n"
		"    local -a commands line\n"
		"    commands=(\n");

	for (size_t i = 0; cli_commands[i] && r >= 0; i++) {
		r = buf_printf(out, "        '%s:", cli_commands[i]->name);
		if (r >= 0)
			r = put_quoted(out, cli_commands[i]->summary, ":\\");
		if (r >= 0)
			r = buf_append_string(out, "'\n");
	}
	if (r >= 0)
		r = buf_append_string(out, "    )\n    _arguments -C");
	if (r >= 0)
		r = each_option(NULL, out, zsh_option);
	if (r >= 0)
		r = buf_append_string(out,
			" \\\n        '1:command:->command' '*::argument:->argument'\n"
			"    case $state in\n"
			"    command) _describe command commands ;;\n"
			"    argument)\n        case $line[1] in\n");
	for (size_t i = 0; cli_commands[i] && r >= 0; i++) {
		r = buf_printf(out, "        %s) _arguments", cli_commands[i]->name);
		if (r >= 0)
			r = each_option(cli_commands[i], out, zsh_option);
		if (r >= 0 && cli_commands[i]->operands)
			r = buf_printf(
				out, " \\\n        '1:operand:(%s)'", cli_commands[i]->operands);
		if (r >= 0)
			r = buf_append_string(out, " ;;\n");
	}
	if (r >= 0)
		r = buf_append_string(out,
			"        esac ;;\n    esac\n}\n"
			"if [ \"$funcstack[1]\" = _pleg ]; then\n"
			"    _pleg \"$@\"\nelse\n    compdef _pleg pleg\nfi\n");
	return r;
}

/* ---- fish -------------------------------------------------------------------------------- */

static int fish_option(
	const struct cli_option *o, const struct cli_command *command, struct buf *out)
{
	int r = buf_append_string(out, "complete -c pleg");

	if (r >= 0 && command)
		r = buf_printf(out, " -n '__fish_seen_subcommand_from %s'", command->name);
	if (r >= 0 && o->letter)
		r = buf_printf(out, " -s %c", o->letter);
	if (r >= 0)
		r = buf_printf(out, " -l %s", o->name);
	if (r >= 0 && o->choices)
		r = buf_printf(out, " %s -a '%s'", o->bare ? "-f" : "-x", o->choices);
	else if (r >= 0 && o->argument)
		r = buf_append_string(out, takes_file(o) ? " -r -F" : " -x");
	if (r >= 0)
		r = buf_append_string(out, " -d '");
	if (r >= 0)
		r = put_quoted(out, o->help, "\\");
	return r < 0 ? r : buf_append_string(out, "'\n");
}

static int fish_command(const struct cli_command *command, struct buf *out)
{
	int r = buf_printf(
		out, "complete -c pleg -n __fish_use_subcommand -a %s -d '", command->name);

	if (r >= 0)
		r = put_quoted(out, command->summary, "\\");
	if (r >= 0)
		r = buf_append_string(out, "'\n");
	if (r >= 0 && command->operands)
		r = buf_printf(out,
			"complete -c pleg -n '__fish_seen_subcommand_from %s' -a '%s'\n",
			command->name, command->operands);
	for (const struct cli_option *o = command->options; o && o->name && r >= 0; o++)
		r = fish_option(o, command, out);
	return r;
}

static int fish(struct buf *out)
{
	int r = buf_append_string(out,
		"# fish completion of pleg; load it with: pleg completion fish | source\n"
		"complete -c pleg -f\n");

	for (size_t i = 0; cli_commands[i] && r >= 0; i++)
		r = fish_command(cli_commands[i], out);
	return r < 0 ? r : each_option(NULL, out, fish_option);
}

int cli_completion(const char *shell, struct buf *out)
{
	if (str_eq(shell, "bash"))
		return bash(out);
	if (str_eq(shell, "zsh"))
		return zsh(out);
	if (str_eq(shell, "fish"))
		return fish(out);
	return -EINVAL;
}
