#include "drain/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-event.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"
#include "kube/credential.h"
#include "kube/kubeconfig.h"
#include "kube/object.h"

#define SLOW_NS     NSEC_PER_SEC
#define TEXT_MAX    2048
#define PATH_LENGTH 4096
#define MANAGER     "fieldManager=pleg"

/* ---- words ------------------------------------------------------------------------------- */

void command_complain(const char *format, ...)
{
	char text[TEXT_MAX], clean[TEXT_MAX];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	(void)fprintf(stderr, "pleg: %s\n", str_clean(clean, sizeof(clean), text, strlen(text)));
}

void command_say(const struct command *command, const char *format, ...)
{
	char text[TEXT_MAX], clean[TEXT_MAX];
	va_list ap;

	if (command->words->json)
		return;
	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	(void)fprintf(stdout, "%s\n", str_clean(clean, sizeof(clean), text, strlen(text)));
	(void)fflush(stdout);
}

const char *command_dry_text(const struct command *command)
{
	switch (command->words->dry_run) {
	case DRY_RUN_CLIENT: return " (dry run)";
	case DRY_RUN_SERVER: return " (server dry run)";
	case DRY_RUN_NONE: break;
	}
	return "";
}

int command_print_json(json_t *document)
{
	size_t flags =
		isatty(STDOUT_FILENO) == 1 ? JSON_ENSURE_ASCII | JSON_INDENT(2) : JSON_COMPACT;
	bool ok = document && json_dumpf(document, stdout, flags) == 0 &&
		fputc('\n', stdout) != EOF && fflush(stdout) == 0;

	json_decref(document);
	return ok ? 0 : COMMAND_FAILED;
}

/* ---- kubeconfig and credential ----------------------------------------------------------- */

/* The first of several paths, separated by colons, that can be read and has the context. */
static int load_first(struct command *command, const char *paths, struct err *reterr)
{
	char path[PATH_LENGTH];
	int r = err_set(reterr, -ENOENT, "KUBECONFIG names no file");

	while (*paths) {
		size_t len = strcspn(paths, ":");

		(void)snprintf(path, sizeof(path), "%.*s", (int)len, paths);
		paths += len + (paths[len] == ':');
		if (len == 0)
			continue;
		r = kubeconfig_load(path, command->words->context, &command->config, reterr);
		if (r != -ENOENT)
			return r;
	}
	return r;
}

static int load(struct command *command, struct err *reterr)
{
	const char *named = command->words->kubeconfig, *environment = getenv("KUBECONFIG");
	const char *home = getenv("HOME");
	char path[PATH_LENGTH];

	if (named)
		return kubeconfig_load(named, command->words->context, &command->config, reterr);
	if (environment && *environment)
		return load_first(command, environment, reterr);
	(void)snprintf(path, sizeof(path), "%s/.kube/config", str_or_empty(home));
	if (home && access(path, F_OK) == 0)
		return kubeconfig_load(path, command->words->context, &command->config, reterr);
	if (kubeconfig_in_cluster(NULL, &command->config, NULL) == 0)
		return 0;
	return err_set(reterr, -ENOENT,
		"No kubeconfig: there is no ~/.kube/config, KUBECONFIG is not set, and this is no "
		"pod; say --kubeconfig FILE");
}

static void on_plugin(int r, struct kube_credential *credential, const char *text, void *userdata)
{
	struct command *command = userdata;

	command->plugin_is_done = true;
	if (r >= 0)
		r = kube_client_set_credential(command->client, credential);
	if (r < 0)
		(void)err_set(&command->error, r, "%s", text ? text : err_text(NULL, r));
}

/* Reads it again, or asks the plugin again. */
static void renew(struct command *command)
{
	CLEAN(kube_credential_done) struct kube_credential credential = { 0 };
	int r = kube_credential_read(command->config, &credential, &command->error);

	if (r >= 0)
		r = kube_client_set_credential(command->client, &credential);
	else if (r == -EAGAIN && (!command->plugin || command->plugin_is_done)) {
		command->plugin = kube_plugin_free(command->plugin);
		command->plugin_is_done = false;
		r = kube_plugin_start(command->event, command->config, 0, on_plugin, command,
			&command->plugin, &command->error);
	}
	if (r < 0 && command->error.code == 0)
		(void)err_set(&command->error, r, "Read the credential: %s", err_text(NULL, r));
}

static void on_unauthorized(struct kube_client *client, void *userdata)
{
	(void)client;
	renew(userdata);
}

uint64_t command_left_ns(const struct command *command)
{
	if (command->is_interrupted)
		return 0;
	if (command->deadline_ns == 0)
		return UINT64_MAX;
	return time_since(command->deadline_ns, clock_now().mono_ns);
}

bool command_is_over(struct command *command)
{
	while (sd_event_run(command->event, 0) > 0 && command_left_ns(command) > 0)
		;
	return command_left_ns(command) == 0;
}

/* Runs the loop until *done, and says whom it waits for if that takes long. */
static int wait_until(struct command *command, const bool *done)
{
	uint64_t begun_ns = clock_now().mono_ns;
	bool said = false;

	while (!*done) {
		uint64_t left_ns = command_left_ns(command);
		int r;

		if (left_ns == 0)
			return command->is_interrupted ? -EINTR : -ETIMEDOUT;
		r = sd_event_run(command->event, time_min(left_ns, SLOW_NS) / NSEC_PER_USEC + 1);
		if (r < 0)
			return r;
		if (!said && !*done && time_since(clock_now().mono_ns, begun_ns) >= SLOW_NS) {
			said = true;
			command_complain("Waiting for %s ...", command->config->cluster.server);
		}
	}
	return 0;
}

int command_open(struct command *command, const struct command_words *words, struct err *reterr)
{
	CLEAN(mem_freep) char *ca_pem = NULL;
	struct kube_client_options options = { .user_agent = "pleg/" PLEG_VERSION,
		.on_unauthorized = on_unauthorized,
		.userdata = command };
	int r;

	command->words = words;
	if (words->timeout_ns > 0)
		command->deadline_ns = clock_now().mono_ns + words->timeout_ns;
	r = load(command, reterr);
	if (r >= 0)
		r = kubeconfig_authority(command->config, &ca_pem, reterr);
	if (r < 0)
		return r;
	options.seed = clock_now().mono_ns ^ ((uint64_t)getpid() << 32);
	options.target = (struct kube_target){ command->config->cluster.server, ca_pem,
		command->config->cluster.tls_server_name, command->config->cluster.proxy_url,
		command->config->cluster.insecure };
	r = sd_event_new(&command->event);
	if (r < 0)
		return err_set(reterr, r, "Make the loop: %s", err_text(NULL, r));
	r = kube_client_new(command->event, &options, &command->client, reterr);
	if (r < 0)
		return r;
	renew(command);
	if (command->plugin)
		r = wait_until(command, &command->plugin_is_done);
	if (r < 0)
		return err_set(reterr, r, "Wait for the credential plugin: %s", err_text(NULL, r));
	if (r >= 0 && command->error.code < 0) {
		*reterr = command->error;
		return command->error.code;
	}
	return r;
}

void command_done(struct command *command)
{
	command->plugin = kube_plugin_free(command->plugin);
	command->client = kube_client_free(command->client);
	command->config = kubeconfig_free(command->config);
	command->event = sd_event_unref(command->event);
}

/* ---- asking ------------------------------------------------------------------------------ */

static int refusal_code(unsigned http)
{
	switch (http) {
	case 401:
	case 403: return -EACCES;
	case 404: return -ENOENT;
	case 409: return -EEXIST;
	case 429: return -EBUSY;
	default: return -EREMOTEIO;
	}
}

int command_refusal(
	const struct command *command, const struct kube_answer *answer, struct err *reterr)
{
	const char *server = command->config->cluster.server;
	char text[KUBE_STATUS_TEXT];
	const char *reason;
	json_t *status;
	bool has_text;

	if (answer->error != KUBE_OK)
		return err_set(reterr, -ECOMM, "%s does not answer (%s): %s", server,
			kube_error_name(answer->error), str_or_empty(answer->text));
	status = kube_parse(answer->body, answer->body_len);
	has_text = kube_status(status, text, &reason);
	json_decref(status);
	if (answer->http == 401)
		return err_set(reterr, -EACCES,
			"%s does not accept the credential of context '%s' (401): log in again, or "
			"say another --context",
			server, str_or_empty(command->config->context));
	if (has_text)
		return err_set(reterr, refusal_code(answer->http), "%s", text);
	return err_set(reterr, refusal_code(answer->http), "%s answers with HTTP %u", server,
		answer->http);
}

struct asking {
	struct command *command;
	json_t *object;
	struct err error;
	int r;
	bool done;
};

static void on_answer(const struct kube_answer *answer, void *userdata)
{
	struct asking *asking = userdata;

	asking->done = true;
	if (answer->error != KUBE_OK || answer->http < 200 || answer->http > 299) {
		asking->r = command_refusal(asking->command, answer, &asking->error);
		return;
	}
	asking->object = kube_parse(answer->body, answer->body_len);
	if (!asking->object)
		asking->r = err_set(&asking->error, -EREMOTEIO,
			"%s answers with something that is no JSON object",
			asking->command->config->cluster.server);
}

int command_ask(struct command *command, const struct kube_request *request, json_t **ret_object,
	struct err *reterr)
{
	struct asking asking = { .command = command };
	struct kube_call *call = NULL;
	int r = kube_request(command->client, request, on_answer, &asking, &call);

	if (r >= 0)
		r = wait_until(command, &asking.done);
	if (r < 0) {
		(void)kube_call_cancel(asking.done ? NULL : call);
		json_decref(asking.object);
	}
	if (r == -ETIMEDOUT)
		return err_set(reterr, r, "%s has not answered before the timeout was over",
			command->config->cluster.server);
	if (r < 0)
		return err_set(reterr, r, "Ask the API server: %s", err_text(NULL, r));
	if (asking.r < 0) {
		if (reterr)
			*reterr = asking.error;
		return asking.r;
	}
	if (ret_object)
		*ret_object = asking.object;
	else
		json_decref(asking.object);
	return 0;
}

#define NODE_PATH(command)                                                                         \
	str_format((char[320]){ 0 }, 320, "/api/v1/nodes/%s", (command)->words->node)

int command_node(struct command *command, json_t **ret, struct err *reterr)
{
	json_t *node = NULL;
	int r = command_ask(
		command, &(struct kube_request){ .path = NODE_PATH(command) }, &node, reterr);

	if (r >= 0 && (!kube_name(node) || !kube_resource_version(node))) {
		json_decref(node);
		return err_set(reterr, -EREMOTEIO, "The answer for node '%s' is no Node",
			command->words->node);
	}
	if (r >= 0)
		*ret = node;
	return r;
}

int command_write_node(struct command *command, const char *subresource, const char *content_type,
	const char *body, struct err *reterr)
{
	char path[384];

	(void)snprintf(path, sizeof(path), "/api/v1/nodes/%s%s", command->words->node, subresource);
	return command_ask(command,
		&(struct kube_request){ .method = "PATCH",
			.path = path,
			.query = command->words->dry_run == DRY_RUN_SERVER ? MANAGER "&dryRun=All"
									   : MANAGER,
			.content_type = content_type,
			.body = body,
			.body_len = strlen(body) },
		NULL, reterr);
}

int command_patch_node(
	struct command *command, const json_t *node, json_t *patch, struct err *reterr)
{
	const char *version = kube_resource_version(node);
	json_t *metadata = json_object_get(patch, "metadata");
	char *body;
	int r;

	if (!metadata) {
		metadata = json_object();
		(void)json_object_set_new(patch, "metadata", metadata);
	}
	if (!version || json_object_set_new(metadata, "resourceVersion", json_string(version)) < 0)
		return err_set(reterr, -ENOMEM, "Out of memory");
	body = json_dumps(patch, JSON_COMPACT);
	if (!body)
		return err_set(reterr, -ENOMEM, "Out of memory");
	r = command_write_node(command, "", COMMAND_MERGE, body, reterr);
	free(body); /* allowed: jansson's own */
	return r;
}
