/* pleg pods: pods and their containers, as the runtime last told of them. */
#include <errno.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/render.h"

struct pods_arguments {
	const char *namespace, *pod, *runtime;
	bool all;
};

static const struct cli_option pods_options[] = {
	{ .name = "namespace",
		.letter = 'n',
		.argument = "NS",
		.help = "only pods of this namespace",
		.type = CLI_TEXT,
		.offset = offsetof(struct pods_arguments, namespace) },
	{ .name = "pod",
		.argument = "POD",
		.help = "only this pod, by name or UID",
		.type = CLI_TEXT,
		.offset = offsetof(struct pods_arguments, pod) },
	{ .name = "all",
		.letter = 'a',
		.help = "show the sandboxes too",
		.type = CLI_FLAG,
		.offset = offsetof(struct pods_arguments, all) },
	{ .name = "runtime",
		.argument = "ENDPOINT",
		.help = "ask this container runtime itself, once, without an agent",
		.type = CLI_TEXT,
		.offset = offsetof(struct pods_arguments, runtime) },
	{ 0 },
};

static bool has_text(const json_t *object, const char *key, const char *wanted)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && str_eq(text, wanted);
}

static bool is_wanted(const json_t *pod, const struct pods_arguments *arguments)
{
	if (arguments->namespace && !has_text(pod, "namespace", arguments->namespace))
		return false;
	return !arguments->pod || has_text(pod, "pod", arguments->pod) ||
		has_text(pod, "podUID", arguments->pod);
}

/* Text and JSON show the same pods, so the document itself is thinned out. */
static void keep_wanted(json_t *document, const struct pods_arguments *arguments)
{
	json_t *pods = json_object_get(document, "pods");

	for (size_t i = json_array_size(pods); i-- > 0;)
		if (!is_wanted(json_array_get(pods, i), arguments))
			(void)json_array_remove(pods, i);
}

static int print_pods(
	const struct cli *cli, const json_t *document, const struct pods_arguments *arguments)
{
	const struct looks looks = {
		.width = cli->width, .color = cli->color, .now_ns = clock_now().real_ns
	};
	CLEAN(buf_done) struct buf out = BUF_INIT((size_t)CONTROL_DOCUMENT_MAX * 4);
	int r;

	if (cli->json)
		return cli_print_json(cli, document, false);
	if (json_array_size(json_object_get(document, "pods")) == 0) {
		cli_complain(arguments->namespace || arguments->pod ? "No pods of that name here"
								    : "No pods");
		return 0;
	}
	r = render_pods(document, &looks, arguments->all, &out);
	return r < 0 ? r : cli_print((const char *)out.data, out.len);
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct pods_arguments arguments = { 0 };
	json_t *document = NULL;
	struct err err = { 0 };
	int r = cli_parse(cli, &cmd_pods, argc, argv, &arguments);

	if (r < 0)
		return CLI_END(r);
	r = cli_document(cli, arguments.runtime, CONTROL_PODS, &document, &err);
	if (r < 0)
		return cli_document_failed(&cmd_pods, arguments.runtime, r, &err);
	keep_wanted(document, &arguments);
	r = print_pods(cli, document, &arguments);
	json_decref(document);
	if (r >= 0 || r == -EPIPE)
		return CLI_OK;
	cli_complain("Cannot write: %s", err_text(NULL, r));
	return CLI_FAILED;
}

const struct cli_command cmd_pods = {
	.name = "pods",
	.summary = "pods and containers on this node",
	.synopsis = "[-n NS] [--pod POD] [--all] [--runtime ENDPOINT]",
	.description =
		"Lists the containers of every pod with the state that the runtime last told of. A "
		"pod marked with ! is in quarantine, or its last inspection failed; a line below "
		"the table says why. On a terminal long names are cut in the middle; through a "
		"pipe "
		"they are whole.",
	.exit_codes = "0  shown\n1  the agent, or the runtime, did not give an answer\n2  no agent "
		      "answers, or a "
		      "usage error\n",
	.example = "pleg pods -n kube-system\npleg pods --all --pod web-0\n"
		   "pleg pods -o json | jq '.pods[] | select(.quarantined)'\n",
	.options = pods_options,
	.run = run,
};
