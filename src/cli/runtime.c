/* Which runtime this node's agent watches, for the commands that look by themselves. */
#include <errno.h>

#include "agent/agent.h"
#include "agent/config.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/cli.h"

/* Short: it is asked before what may take nine seconds, and ten are promised. */
#define AGENT_TIMEOUT_MS 400

static const char *of_agent(struct cli *cli, char out[CLI_ENDPOINT_MAX])
{
	const struct control_client_options options = { .path = cli->socket_path,
		.timeout_ms = AGENT_TIMEOUT_MS };
	const struct control_request request = CONTROL_REQUEST_INIT(CONTROL_STATUS);
	const char *endpoint = NULL;
	json_t *status = NULL;
	int r = control_ask(&options, &request, &status, NULL, NULL);

	cli->agent_is_silent = r == -ETIMEDOUT;
	if (r >= 0)
		endpoint = json_string_value(
			json_object_get(json_object_get(status, "runtime"), "endpoint"));
	endpoint = str_format(out, CLI_ENDPOINT_MAX, "%s", str_or_empty(endpoint));
	json_decref(status);
	return *endpoint ? endpoint : NULL;
}

static const char *of_configuration(char out[CLI_ENDPOINT_MAX])
{
	struct config config;

	if (config_init(&config) < 0)
		return NULL;
	/* What is wrong with it, the agent says. */
	if (config_load(&config, AGENT_CONFIG_PATH, false, NULL) < 0)
		out[0] = '\0';
	else
		(void)str_format(out, CLI_ENDPOINT_MAX, "%s",
			str_or_empty(config.container_runtime_endpoint));
	config_done(&config);
	return *out ? out : NULL;
}

const char *cli_runtime(struct cli *cli, const char *given, char out[CLI_ENDPOINT_MAX])
{
	const char *endpoint = given ? given : of_agent(cli, out);

	return endpoint ? endpoint : of_configuration(out);
}
