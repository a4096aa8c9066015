/* pleg version: of this program and of the agent that answers. */
#include <errno.h>

#include "base/mem.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/page.h"

static int print_json(struct cli *cli, json_t *agent)
{
	json_t *document = json_pack("{s:s, s:O?}", "version", PLEG_VERSION, "agent", agent);
	int r = document ? cli_print_json(cli, document, false) : -ENOMEM;

	json_decref(document);
	return r;
}

static int print_text(const json_t *agent, int code, const struct err *err)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(8192);
	int r = buf_printf(&out, "pleg %s\n", PLEG_VERSION);

	if (r >= 0 && agent)
		r = buf_printf(&out, "agent %s (pid %lld, protocol %lld)\n",
			DOC_TEXT(agent, "version"), doc_integer(agent, "pid"),
			doc_integer(agent, "protocol"));
	else if (r >= 0)
		r = buf_printf(&out, "agent: %s\n", err_text(err, code));
	return r < 0 ? r : cli_print((const char *)out.data, out.len);
}

static int run(struct cli *cli, int argc, char **argv)
{
	const struct control_request request = CONTROL_REQUEST_INIT(CONTROL_VERSION);
	json_t *agent = NULL;
	struct err err = { 0 };
	int r = cli_parse(cli, &cmd_version, argc, argv, NULL);

	if (r < 0)
		return CLI_END(r);
	r = cli_ask(cli, &request, &agent, NULL, &err);
	r = cli->json ? print_json(cli, agent) : print_text(agent, r, &err);
	json_decref(agent);
	if (r >= 0 || r == -EPIPE)
		return CLI_OK;
	cli_complain("Cannot write: %s", err_text(NULL, r));
	return CLI_FAILED;
}

const struct cli_command cmd_version = {
	.name = "version",
	.summary = "version of this program and of the agent",
	.synopsis = "",
	.description = "Prints the version of this program, and that of the agent if one answers.",
	.exit_codes = "0  printed\n2  usage error\n",
	.example = "pleg version\npleg version -o json\n",
	.run = run,
};
