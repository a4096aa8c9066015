/* pleg incidents: what was found, from the journal, each with its evidence as it was. */
#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/render.h"

#define PART_TIMEOUT_MS 10000
#define TEXT_MAX        (4u << 20)

struct incidents_arguments {
	const char *since_text, *id;
	bool open;
};

static const struct cli_option incidents_options[] = {
	{ .name = "open",
		.help = "only those that go on",
		.type = CLI_FLAG,
		.offset = offsetof(struct incidents_arguments, open) },
	{ .name = "since",
		.argument = "TIME",
		.help = "only those that changed since then: 30m, 2h, 7d or RFC 3339",
		.type = CLI_TEXT,
		.offset = offsetof(struct incidents_arguments, since_text) },
	{ 0 },
};

/* The journal has failed in the middle of it. */
static bool is_trouble(const json_t *object)
{
	const char *why = json_string_value(json_object_get(object, "journal"));

	if (why)
		cli_complain("The journal failed: %s. Incidents are missing here", why);
	return why != NULL;
}

static int print_incident(const struct cli *cli, const json_t *object, bool whole)
{
	const struct looks looks = {
		.width = cli->width, .color = cli->color, .now_ns = clock_now().real_ns
	};
	CLEAN(buf_done) struct buf out = BUF_INIT(TEXT_MAX);
	int r;

	if (cli->json)
		return cli_print_json(cli, object, true);
	r = render_incident(object, &looks, whole, &out);
	return r < 0 ? r : cli_print((const char *)out.data, out.len);
}

/* 1: they were printed, 0: there were none. */
static int print_all(const struct cli *cli, struct control_client *client,
	const struct incidents_arguments *arguments, struct err *reterr)
{
	int printed = 0;

	for (;;) {
		json_t *object = NULL;
		int r = control_client_next(
			client, PART_TIMEOUT_MS, STDOUT_FILENO, &object, reterr);

		if (r == -EPIPE)
			return 1;
		if (r <= 0)
			return r < 0 ? r : printed;
		if (is_trouble(object))
			r = -EIO;
		else
			r = print_incident(cli, object, arguments->id != NULL);
		json_decref(object);
		if (r == -EPIPE)
			return 1;
		if (r < 0)
			return err_set(reterr, r, "Not all incidents could be shown");
		printed = 1;
	}
}

static int run(struct cli *cli, int argc, char **argv)
{
	CLEAN(control_client_freep) struct control_client *client = NULL;
	struct control_request request = CONTROL_REQUEST_INIT(CONTROL_INCIDENTS);
	struct incidents_arguments arguments = { 0 };
	struct err err = { 0 };
	json_t *result = NULL;
	int r = cli_parse(cli, &cmd_incidents, argc, argv, &arguments);

	if (r < 0)
		return CLI_END(r);
	if (arguments.since_text &&
		cli_since(&cmd_incidents, arguments.since_text, &request.since_ns) != 0)
		return CLI_USAGE;
	if (argc - r > 1)
		return cli_usage_error(&cmd_incidents, "One incident at a time");
	if (r < argc)
		arguments.id = argv[r];
	request.id = arguments.id;
	request.open = arguments.open;
	r = cli_ask(cli, &request, &result, &client, &err);
	if (r < 0) {
		cli_complain("%s", err_text(&err, r));
		if (r == -ECONNREFUSED)
			cli_complain("What is wrong now: pleg doctor, which needs no agent");
		return r == -ECONNREFUSED ? CLI_USAGE : CLI_FAILED;
	}
	json_decref(result);
	r = print_all(cli, client, &arguments, &err);
	if (r < 0) {
		cli_complain("%s", err_text(&err, r));
		return CLI_FAILED;
	}
	if (r == 0 && arguments.id) {
		cli_complain("No incident begins with '%s'", arguments.id);
		return CLI_FAILED;
	}
	if (r == 0)
		cli_complain(arguments.open ? "No incident goes on" : "No incidents");
	return CLI_OK;
}

const struct cli_command cmd_incidents = {
	.name = "incidents",
	.summary = "what the doctor found, with its evidence as it was",
	.synopsis = "[--open] [--since TIME] [ID]",
	.description =
		"Lists the incidents of the journal, one a line, oldest first: when it began, how "
		"long it lasted, its id, cause and subject. An incident is what the doctor of the "
		"agent found, from the first sample that showed it to the last; it is suspected "
		"until it is proven, and closed when it is over. With an id, or the beginning of "
		"one, it is shown with the evidence and the advice as they were. What goes on now "
		"stands in pleg status as well.",
	.exit_codes = "0    they were printed, or there are none\n"
		      "1    failed: no journal, or no incident of that id\n"
		      "2    no agent answers, or a usage error\n",
	.example = "pleg incidents --since 7d\npleg incidents hxha\n"
		   "pleg incidents --open -o json | jq -r .cause\n",
	.options = incidents_options,
	.operands = "",
	.run = run,
};
