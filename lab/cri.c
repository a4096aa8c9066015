/*
 * pleg-cri: the calls of src/runtime one at a time, from a command line. For the demo pods, the
 * tests and the lab; not installed.
 *
 * Answers go to stdout, an id or one JSON object per line; what went wrong goes to stderr, and the
 * exit code is 1. A call that passes the timeout is reported and abandoned.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "runtime/runtime.h"

#define ITEMS_MAX 64
#define TEXT_MAX  512

static const char usage_text[] =
	"usage: pleg-cri --runtime ENDPOINT [--timeout DURATION] [--hold] COMMAND\n"
	"\n"
	"  --hold waits for the end of stdin before it exits, so that a test can look at the "
	"process\n"
	"\n"
	"  version                        name and version of the runtime\n"
	"  status                         its conditions\n"
	"  list [SANDBOX] [--uid UID]     sandboxes, then containers\n"
	"  inspect ID                     of a container, or else of a sandbox\n"
	"  image IMAGE                    the id of an image that is there\n"
	"  run-sandbox --name N --namespace NS [--uid U] [--attempt K] [--host-network]\n"
	"              [--privileged] [--cgroup-parent PATH] [--log-directory DIR]\n"
	"  create SANDBOX --name N --image I [--attempt K] [--env K=V]... [--log-path FILE]\n"
	"         [--mount HOST:CONTAINER[:ro]]... [--host-network] [--privileged] -- COMMAND...\n"
	"  run-pod --name N --namespace NS --image I [options of both] -- COMMAND...\n"
	"                                 a sandbox and one started container of the same name\n"
	"  start ID    stop ID [--grace SECONDS]    rm ID\n"
	"  stop-sandbox ID    rm-sandbox ID\n";

static const char *arg_runtime, *arg_filter_uid;
static bool arg_hold;
static uint64_t arg_timeout_ns = 120 * NSEC_PER_SEC;
static uint64_t arg_grace_seconds = 10, arg_attempt;
static struct runtime_sandbox_spec arg_sandbox = { .namespace = "default", .uid = "" };
static struct runtime_container_spec arg_container;
static const char *arg_environment[ITEMS_MAX + 1];
static struct runtime_mount arg_mounts[ITEMS_MAX];
static size_t arg_environment_count, arg_mount_count;

/* One call that is waited for. */
struct waiting {
	sd_event *loop;
	struct runtime *runtime;
	void (*on_ok)(struct waiting *w, const struct runtime_result *result); /* optional */
	bool is_quiet_if_not_found;
	enum runtime_outcome outcome;
	char message[TEXT_MAX];
	char id[TEXT_MAX];
	void *more; /* for on_ok */
};

static void waiting_on_done(void *userdata, const struct runtime_result *result)
{
	struct waiting *w = userdata;

	w->outcome = result->outcome;
	(void)snprintf(w->message, sizeof(w->message), "%s", result->message);
	(void)snprintf(w->id, sizeof(w->id), "%s", str_or_empty(result->id));
	if (result->outcome == RUNTIME_OK && w->on_ok)
		w->on_ok(w, result);
	(void)sd_event_exit(w->loop, result->outcome == RUNTIME_OK ? 0 : -EIO);
}

static void waiting_on_late(void *userdata)
{
	struct waiting *w = userdata;
	struct runtime_call_info call;
	char age[TIME_TEXT_MAX];
	size_t cursor = 0;

	if (!runtime_next_call(w->runtime, &cursor, clock_now().mono_ns, &call))
		return;
	(void)snprintf(w->message, sizeof(w->message), "%s%s%s: no answer for %s", call.method,
		call.subject[0] ? " of " : "", call.subject, time_format_short(age, call.age_ns));
	(void)sd_event_exit(w->loop, -ETIMEDOUT);
}

static const struct runtime_callbacks waiting_callbacks = {
	.on_done = waiting_on_done,
	.on_late = waiting_on_late,
};

/* Begins a connection for one call; the calls are few and a connection costs nothing. */
static int waiting_open(struct waiting *w)
{
	struct err err = { 0 };
	int r = sd_event_new(&w->loop);

	if (r >= 0)
		r = runtime_open_cri(w->loop, arg_runtime, &w->runtime, &err);
	if (r < 0)
		(void)snprintf(w->message, sizeof(w->message), "%s", err_text(&err, r));
	return r;
}

/* Waits for the call that `started` is the result of, and closes. Says what went wrong. */
static int waiting_end(struct waiting *w, int started)
{
	int r = started;

	if (r < 0 && w->message[0] == '\0')
		(void)snprintf(
			w->message, sizeof(w->message), "Call not started: %s", err_text(NULL, r));
	if (r >= 0)
		r = sd_event_loop(w->loop);
	if (r < 0 && !(w->is_quiet_if_not_found && w->outcome == RUNTIME_NOT_FOUND))
		(void)fprintf(stderr, "pleg-cri: %s\n", w->message);
	w->runtime = runtime_free(w->runtime);
	w->loop = sd_event_unref(w->loop);
	return r;
}

static struct runtime_call_options options_of(struct waiting *w)
{
	return (struct runtime_call_options){
		.callbacks = &waiting_callbacks,
		.userdata = w,
		.timeout_ns = arg_timeout_ns,
	};
}

/* Opens, makes one call as an expression of `w` and `options`, and waits for it. */
#define CALL(w, call)                                                                              \
	({                                                                                         \
		struct runtime_call_options options = options_of(w);                               \
		int opened_ = waiting_open(w);                                                     \
                                                                                                   \
		waiting_end((w), opened_ < 0 ? opened_ : (call));                                  \
	})

/* ---- output --------------------------------------------------------------------------------- */

static json_t *json_text(const char *s, size_t len)
{
	char clean[TEXT_MAX];

	return json_string(str_clean(clean, sizeof(clean), s ? s : "", s ? len : 0));
}

static json_t *json_words(const char *s)
{
	return json_text(s, strlen(str_or_empty(s)));
}

static json_t *json_slice(struct slice s)
{
	return json_text(s.data, s.len);
}

static json_t *json_time(int64_t ns)
{
	char text[TIME_TEXT_MAX];

	return ns == 0 ? json_null() : json_string(time_format_rfc3339(text, ns));
}

static void print_json(json_t *line)
{
	(void)json_dumpf(line, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	(void)fputc('\n', stdout);
	json_decref(line);
}

static void print_version(struct waiting *w, const struct runtime_result *result)
{
	print_json(json_pack("{s:o, s:o, s:o}", "name", json_words(result->version_name), "version",
		json_words(result->version), "apiVersion", json_words(result->api_version)));
}

static void print_status(struct waiting *w, const struct runtime_result *result)
{
	for (size_t i = 0; i < result->condition_count; i++) {
		const struct runtime_condition *c = &result->conditions[i];

		print_json(json_pack("{s:o, s:b, s:o, s:o}", "type", json_words(c->type), "status",
			c->status, "reason", json_words(c->reason), "message",
			json_words(c->message)));
	}
}

static void print_list(struct waiting *w, const struct runtime_result *result)
{
	struct container_identity who;
	struct list_entry entry;

	while (result->list->next(result->list, &entry)) {
		result->list->describe(result->list, &entry, &who);
		print_json(json_pack("{s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:i, s:o}", "kind",
			container_kind_text(entry.kind), "id", json_slice(entry.id), "sandboxID",
			json_slice(entry.sandbox_id), "state", container_state_text(entry.state),
			"namespace", json_slice(who.namespace), "pod", json_slice(who.pod),
			"podUID", json_slice(who.pod_uid), "container", json_slice(who.container),
			"attempt", (int)who.attempt, "createdAt", json_time(who.created_at_ns)));
	}
}

static void print_inspection(struct waiting *w, const struct runtime_result *result)
{
	const struct container_status *s = result->status;
	json_t *ips = json_array();

	for (size_t i = 0; i < s->ip_count; i++)
		(void)json_array_append_new(ips, json_words(s->ips[i]));
	print_json(json_pack("{s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "kind",
		container_kind_text(s->kind), "id", json_words(s->id), "state",
		container_state_text(s->state), "createdAt", json_time(s->created_at_ns),
		"startedAt", json_time(s->started_at_ns), "finishedAt",
		json_time(s->finished_at_ns), "exitCode",
		s->has_exit_code ? json_integer(s->exit_code) : json_null(), "reason",
		json_words(s->reason), "message", json_words(s->message), "image",
		json_words(s->image), "ips", ips));
}

/* ---- commands ------------------------------------------------------------------------------- */

static int command_version(const char *id, char *const *words)
{
	struct waiting w = { .on_ok = print_version };

	return CALL(&w, runtime_version(w.runtime, &options));
}

static int command_status(const char *id, char *const *words)
{
	struct waiting w = { .on_ok = print_status };

	return CALL(&w, runtime_status(w.runtime, &options));
}

static int command_list(const char *id, char *const *words)
{
	struct waiting w = { .on_ok = print_list };

	return CALL(&w, runtime_list(w.runtime, arg_filter_uid, id, &options));
}

static int command_image(const char *id, char *const *words)
{
	struct waiting w = { 0 };
	int r = CALL(&w, runtime_image_status(w.runtime, id, &options));

	if (r >= 0 && w.id[0] == '\0') {
		(void)fprintf(stderr, "pleg-cri: no image '%s'\n", id);
		return -ENOENT;
	}
	if (r >= 0)
		(void)puts(w.id);
	return r;
}

static int command_inspect(const char *id, char *const *words)
{
	struct waiting container = { .on_ok = print_inspection, .is_quiet_if_not_found = true };
	struct waiting sandbox = { .on_ok = print_inspection };
	int r = CALL(&container,
		runtime_inspect(container.runtime, CONTAINER_KIND_CONTAINER, id, &options));

	if (r >= 0 || container.outcome != RUNTIME_NOT_FOUND)
		return r;
	return CALL(
		&sandbox, runtime_inspect(sandbox.runtime, CONTAINER_KIND_SANDBOX, id, &options));
}

static int command_start(const char *id, char *const *words)
{
	struct waiting w = { 0 };

	return CALL(&w, runtime_start(w.runtime, id, &options));
}

static int command_stop(const char *id, char *const *words)
{
	struct waiting w = { 0 };

	return CALL(&w, runtime_stop(w.runtime, id, (uint32_t)arg_grace_seconds, &options));
}

static int command_rm(const char *id, char *const *words)
{
	struct waiting w = { 0 };

	return CALL(&w, runtime_remove(w.runtime, id, &options));
}

static int command_stop_sandbox(const char *id, char *const *words)
{
	struct waiting w = { 0 };

	return CALL(&w, runtime_stop_sandbox(w.runtime, id, &options));
}

static int command_rm_sandbox(const char *id, char *const *words)
{
	struct waiting w = { 0 };

	return CALL(&w, runtime_remove_sandbox(w.runtime, id, &options));
}

static int run_sandbox(struct waiting *w)
{
	char uid[TEXT_MAX];
	uint8_t random[16];

	if (!arg_sandbox.name) {
		(void)fprintf(stderr, "pleg-cri: --name is missing\n");
		return -EINVAL;
	}
	if (arg_sandbox.uid[0] == '\0') {
		if (getrandom(random, sizeof(random), 0) != sizeof(random))
			return -EIO;
		for (size_t i = 0; i < sizeof(random); i++)
			(void)snprintf(uid + 2 * i, 3, "%02x", random[i]);
		arg_sandbox.uid = uid;
	}
	arg_sandbox.attempt = (uint32_t)arg_attempt;
	return CALL(w, runtime_run_sandbox(w->runtime, &arg_sandbox, &options));
}

static int command_run_sandbox(const char *id, char *const *words)
{
	struct waiting w = { 0 };
	int r = run_sandbox(&w);

	if (r >= 0)
		(void)puts(w.id);
	return r;
}

/* Who the pod of a sandbox is, for the labels of its containers. */
struct pod {
	char name[TEXT_MAX], namespace[TEXT_MAX], uid[TEXT_MAX];
	bool is_known;
};

static void copy_pod(struct waiting *w, const struct runtime_result *result)
{
	struct pod *pod = w->more;
	struct container_identity who;
	struct list_entry entry;

	if (!result->list->next(result->list, &entry) || entry.kind != CONTAINER_KIND_SANDBOX)
		return;
	result->list->describe(result->list, &entry, &who);
	(void)str_clean(pod->name, sizeof(pod->name), who.pod.data, who.pod.len);
	(void)str_clean(
		pod->namespace, sizeof(pod->namespace), who.namespace.data, who.namespace.len);
	(void)str_clean(pod->uid, sizeof(pod->uid), who.pod_uid.data, who.pod_uid.len);
	pod->is_known = true;
}

static int create(struct waiting *w, const char *sandbox_id, char *const *words)
{
	struct pod pod = { 0 };
	struct waiting list = { .on_ok = copy_pod, .more = &pod };
	struct runtime_sandbox_spec sandbox = arg_sandbox;
	struct runtime_container_spec spec = arg_container;
	int r;

	if (!spec.image || !arg_sandbox.name) {
		(void)fprintf(stderr, "pleg-cri: --name or --image is missing\n");
		return -EINVAL;
	}
	r = CALL(&list, runtime_list(list.runtime, NULL, sandbox_id, &options));
	if (r < 0)
		return r;
	if (!pod.is_known) {
		(void)fprintf(stderr, "pleg-cri: no sandbox '%s'\n", sandbox_id);
		return -ENOENT;
	}
	spec.name = arg_sandbox.name;
	sandbox.name = pod.name;
	sandbox.namespace = pod.namespace;
	sandbox.uid = pod.uid;
	spec.attempt = (uint32_t)arg_attempt;
	spec.command = (const char *const *)words;
	spec.environment = arg_environment;
	spec.mounts = arg_mounts;
	spec.mount_count = arg_mount_count;
	return CALL(w, runtime_create(w->runtime, sandbox_id, &sandbox, &spec, &options));
}

static int command_create(const char *id, char *const *words)
{
	struct waiting w = { 0 };
	int r = create(&w, id, words);

	if (r >= 0)
		(void)puts(w.id);
	return r;
}

static int command_run_pod(const char *id, char *const *words)
{
	struct waiting sandbox = { 0 }, container = { 0 }, start = { 0 };
	int r = run_sandbox(&sandbox);

	if (r >= 0)
		r = create(&container, sandbox.id, words);
	if (r >= 0)
		r = CALL(&start, runtime_start(start.runtime, container.id, &options));
	if (r >= 0)
		print_json(json_pack(
			"{s:s, s:s}", "sandboxID", sandbox.id, "containerID", container.id));
	return r;
}

/* ---- arguments ------------------------------------------------------------------------------ */

static const struct command {
	const char *name;
	int (*run)(const char *id, char *const *words);
	enum {
		ID_NONE,
		ID_OPTIONAL,
		ID_NEEDED
	} id;
	bool has_words;
} commands[] = {
	{ "version", command_version, ID_NONE, false },
	{ "status", command_status, ID_NONE, false },
	{ "list", command_list, ID_OPTIONAL, false },
	{ "inspect", command_inspect, ID_NEEDED, false },
	{ "image", command_image, ID_NEEDED, false },
	{ "run-sandbox", command_run_sandbox, ID_NONE, false },
	{ "create", command_create, ID_NEEDED, true },
	{ "run-pod", command_run_pod, ID_NONE, true },
	{ "start", command_start, ID_NEEDED, false },
	{ "stop", command_stop, ID_NEEDED, false },
	{ "rm", command_rm, ID_NEEDED, false },
	{ "stop-sandbox", command_stop_sandbox, ID_NEEDED, false },
	{ "rm-sandbox", command_rm_sandbox, ID_NEEDED, false },
};

enum option_key {
	OPTION_RUNTIME = 256,
	OPTION_TIMEOUT,
	OPTION_HOLD,
	OPTION_NAME,
	OPTION_NAMESPACE,
	OPTION_UID,
	OPTION_ATTEMPT,
	OPTION_HOST_NETWORK,
	OPTION_PRIVILEGED,
	OPTION_CGROUP_PARENT,
	OPTION_LOG_DIRECTORY,
	OPTION_LOG_PATH,
	OPTION_IMAGE,
	OPTION_ENV,
	OPTION_MOUNT,
	OPTION_GRACE,
	OPTION_HELP,
};

static const struct option option_table[] = {
	{ "runtime", required_argument, NULL, OPTION_RUNTIME },
	{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
	{ "hold", no_argument, NULL, OPTION_HOLD },
	{ "name", required_argument, NULL, OPTION_NAME },
	{ "namespace", required_argument, NULL, OPTION_NAMESPACE },
	{ "uid", required_argument, NULL, OPTION_UID },
	{ "attempt", required_argument, NULL, OPTION_ATTEMPT },
	{ "host-network", no_argument, NULL, OPTION_HOST_NETWORK },
	{ "privileged", no_argument, NULL, OPTION_PRIVILEGED },
	{ "cgroup-parent", required_argument, NULL, OPTION_CGROUP_PARENT },
	{ "log-directory", required_argument, NULL, OPTION_LOG_DIRECTORY },
	{ "log-path", required_argument, NULL, OPTION_LOG_PATH },
	{ "image", required_argument, NULL, OPTION_IMAGE },
	{ "env", required_argument, NULL, OPTION_ENV },
	{ "mount", required_argument, NULL, OPTION_MOUNT },
	{ "grace", required_argument, NULL, OPTION_GRACE },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

static int add_mount(char *text)
{
	struct runtime_mount *mount = &arg_mounts[arg_mount_count];
	char *colon = strchr(text, ':'), *second;

	if (!colon || arg_mount_count >= ITEMS_MAX)
		return -EINVAL;
	*colon = '\0';
	second = strchr(colon + 1, ':');
	if (second) {
		if (!str_eq(second, ":ro"))
			return -EINVAL;
		*second = '\0';
		mount->readonly = true;
	}
	mount->host_path = text;
	mount->container_path = colon + 1;
	arg_mount_count++;
	return 0;
}

static int add_environment(const char *text)
{
	if (!strchr(text, '=') || arg_environment_count >= ITEMS_MAX)
		return -EINVAL;
	arg_environment[arg_environment_count++] = text;
	return 0;
}

static int number(const char *text, uint64_t *ret)
{
	uint64_t n;
	int r = str_to_u64(text, &n);

	if (r < 0 || n > INT32_MAX)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int option_set(enum option_key key, char *value)
{
	switch (key) {
	case OPTION_RUNTIME: arg_runtime = value; return 0;
	case OPTION_TIMEOUT: return time_parse_duration(value, &arg_timeout_ns);
	case OPTION_HOLD: arg_hold = true; return 0;
	case OPTION_NAME: arg_sandbox.name = value; return 0;
	case OPTION_NAMESPACE: arg_sandbox.namespace = value; return 0;
	case OPTION_UID: arg_sandbox.uid = arg_filter_uid = value; return 0;
	case OPTION_ATTEMPT: return number(value, &arg_attempt);
	case OPTION_HOST_NETWORK: arg_sandbox.host_network = true; return 0;
	case OPTION_PRIVILEGED: arg_sandbox.privileged = arg_container.privileged = true; return 0;
	case OPTION_CGROUP_PARENT: arg_sandbox.cgroup_parent = value; return 0;
	case OPTION_LOG_DIRECTORY: arg_sandbox.log_directory = value; return 0;
	case OPTION_LOG_PATH: arg_container.log_path = value; return 0;
	case OPTION_IMAGE: arg_container.image = value; return 0;
	case OPTION_ENV: return add_environment(value);
	case OPTION_MOUNT: return add_mount(value);
	case OPTION_GRACE: return number(value, &arg_grace_seconds);
	case OPTION_HELP: return -ECANCELED;
	}
	return -EINVAL;
}

static int parse_options(int argc, char **argv)
{
	int key, index = 0, r;

	while ((key = getopt_long(argc, argv, "", option_table, &index)) != -1) {
		if (key == '?')
			return -EINVAL;
		r = option_set((enum option_key)key, optarg);
		if (r < 0 && r != -ECANCELED)
			(void)fprintf(stderr, "pleg-cri: bad value for --%s: '%s'\n",
				option_table[index].name, optarg);
		if (r < 0)
			return r;
	}
	return 0;
}

static int run(char *const *words)
{
	for (size_t i = 0; words[0] && i < ELEMENTS(commands); i++) {
		const struct command *c = &commands[i];
		const char *id = c->id != ID_NONE ? words[1] : NULL;
		char *const *rest = words + (id ? 2 : 1);

		if (!str_eq(words[0], c->name))
			continue;
		if ((c->id == ID_NEEDED && !id) || (rest[0] && !c->has_words))
			break;
		return c->run(id, rest);
	}
	(void)fputs(usage_text, stderr);
	return -EINVAL;
}

int main(int argc, char **argv)
{
	int r = parse_options(argc, argv);

	if (r == -ECANCELED) {
		(void)fputs(usage_text, stdout);
		return EXIT_SUCCESS;
	}
	if (r < 0)
		return EXIT_FAILURE;
	if (!arg_runtime) {
		(void)fputs(usage_text, stderr);
		return EXIT_FAILURE;
	}
	r = run(argv + optind);
	(void)fflush(stdout);
	while (arg_hold && getchar() != EOF)
		;
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
