/*
 * The `pleg` command: one table of commands, one cmd-<verb>.c each.
 *
 * A command declares its options once, in a table; parsing, --help, suggestions for what was
 * mistyped and the completion scripts all come from there, so that they cannot disagree. Text is
 * made from the same JSON that `-o json` prints, by the pure functions of render.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "control/control.h"

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1, /* of `status`: not ready */
	CLI_USAGE = 2,  /* mistyped; also: no agent answers */
};

enum cli_value {
	CLI_FLAG,   /* bool */
	CLI_TEXT,   /* const char * */
	CLI_NUMBER, /* uint64_t */
	CLI_CHOICE, /* const char *, one of `choices` */
};

struct cli_option {
	const char *name;     /* without the dashes; NULL ends a table */
	const char *argument; /* what the help calls the value; NULL for a flag */
	const char *help;     /* with the default, if it has one */
	const char *choices;  /* of a CLI_CHOICE, separated by blanks */
	const char *bare;     /* the value where none is given; it is then only taken behind '=' */
	size_t offset;        /* where the value goes, in the arguments' struct */
	enum cli_value type;
	char letter; /* 0: none */
};

/* What all commands share. */
struct cli {
	const char *socket_path;
	const char *output; /* "text" or "json" */
	bool no_color;
	bool help;
	/* Found out, not asked for: */
	bool json;
	bool color;
	bool terminal;        /* stdout is one */
	unsigned width;       /* columns to keep to; 0: as many as it takes */
	bool agent_is_silent; /* it was asked, and is not worth another wait */
};

struct cli_command {
	const char *name;
	const char *summary;     /* one line of `pleg help` */
	const char *synopsis;    /* behind "pleg NAME " */
	const char *description; /* what it is for; paragraphs, without line breaks of their own */
	const char *exit_codes;  /* one a line */
	const char *example;     /* one a line */
	const struct cli_option *options;
	const char *operands; /* words to complete, separated by blanks; NULL: takes no operands */
	/* `argv[0]` is the verb. Returns an exit code. */
	int (*run)(struct cli *cli, int argc, char **argv);
};

extern const struct cli_command cmd_status, cmd_pods, cmd_events, cmd_agent, cmd_version, cmd_help,
	cmd_completion, cmd_trace, cmd_doctor, cmd_incidents, cmd_uninstall, cmd_cordon,
	cmd_uncordon, cmd_taint, cmd_drain;

/* All commands, NULL at the end. */
extern const struct cli_command *const cli_commands[];

const struct cli_command *cli_find(const char *name);

/* What main() does. Returns the exit code. */
int cli_run(int argc, char **argv);

/*
 * Parses the options of a command, the global ones included, into `arguments` (NULL if it has none).
 * Returns the index of the first operand, or CLI_END(code) when the command is to end at once with
 * that exit code: after --help, or after a usage error, which has been reported. Operands are an
 * error for a command that takes none.
 */
#define CLI_END(code) (-1 - (code))
int cli_parse(
	struct cli *cli, const struct cli_command *command, int argc, char **argv, void *arguments);

/* Fills in what `cli` finds out by itself: terminal, colour, width, json. */
void cli_look_around(struct cli *cli);

/* The global options, for help and completion. */
extern const struct cli_option cli_globals[];

/* ---- suggestions and help ---------------------------------------------------------------- */

/* The candidate that was most likely meant, or NULL if none is near; `count` of them. */
const char *cli_nearest(const char *word, const char *const *candidates, size_t count);

/* "pleg: text", to stderr, cleaned; with "try 'pleg help'" behind it for usage errors. */
void cli_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
int cli_usage_error(const struct cli_command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* What was given to --since, an age or a time: 0, or CLI_USAGE after it has been reported. The time is
 * of the real clock, above 0, and may lie in the future. */
int cli_since(const struct cli_command *command, const char *text, int64_t *ret_ns);

/* The usage error for a verb that does not exist. Returns CLI_USAGE. */
int cli_unknown_command(const char *word);

int cli_help_overview(struct buf *out);
int cli_help_command(const struct cli_command *command, struct buf *out);

/* "bash", "zsh" or "fish"; -EINVAL for another shell. */
int cli_completion(const char *shell, struct buf *out);

/* ---- talking ----------------------------------------------------------------------------- */

#define CLI_TIMEOUT_MS 15000 /* an agent that has not answered by then is silent */
#define CLI_SLOW_MS    1000  /* then the person is told what we wait for */

/* control_ask() with the socket of `cli` and a word on stderr when it takes long. */
int cli_ask(struct cli *cli, const struct control_request *request, json_t **ret_result,
	struct control_client **ret_client, struct err *reterr);

/* The document from the agent or, with an endpoint in `runtime`, from one look at that runtime without
 * an agent, which is said on stderr. Errors as cli_ask() and agent_once(). */
int cli_document(struct cli *cli, const char *runtime, enum control_request_type type,
	json_t **ret_document, struct err *reterr);
/* After a failure of it: says what went wrong and what else there is. The exit code. */
int cli_document_failed(
	const struct cli_command *command, const char *runtime, int r, const struct err *err);

/* Writes to stdout at once. 0, -EPIPE when the reader has gone (say nothing), or another errno. */
int cli_print(const char *text, size_t len);
/* Ends a command: prints `out`, reports what went wrong, turns `code` into CLI_FAILED then. */
int cli_finish(struct buf *out, int code);
/* A document as JSON: one compact line, or indented for a terminal. */
int cli_print_json(const struct cli *cli, const json_t *document, bool stream);

#define CLI_ENDPOINT_MAX 256
/* The runtime to look at: `given` by --runtime, else that of the agent, else that of the configuration;
 * NULL: none of them says, it is to be looked for. Waits for an agent that hangs for 0.4 s. */
const char *cli_runtime(struct cli *cli, const char *given, char out[CLI_ENDPOINT_MAX]);

/* Puts the owners of pods that an agent knows into whatever of the document names a container or a pod
 * and has no owner; nothing without an agent that answers. Waits for one that hangs for 1.5 s. */
void cli_add_owners(const struct cli *cli, json_t *document);
