/*
 * One trace: find the runtime, resolve the name, then ask all hops at once and wait until each has
 * answered, failed or is late. Nothing is asked twice, and nothing here waits but for the loop.
 */
#include "trace/trace.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include <systemd/sd-event.h>

#include "agent/endpoint.h"
#include "agent/kubelet-scan.h"
#include "base/clock.h"
#include "net/grpc.h"
#include "net/http1.h"
#include "runtime/containerd-decode.h"
#include "runtime/remote.h"
#include "trace/facts.h"
#include "trace/look.h"
#include "trace/metric.h"
#include "trace/resolve.h"

#define TURN_USEC       100000
#define METRICS_MAX     (4u << 20)
#define GET_REQUEST_MAX 256

/* A call that ends in `to`; what else it says is taken by `take`. */
struct asked {
	struct trace *trace;
	struct trace_call *to;
	void (*take)(struct trace *t, const void *result);
};

struct trace {
	sd_event *loop;
	struct subject_query query;
	struct resolve resolve;
	struct trace_facts facts;
	uint64_t started_ns, end_ns;
	/* finding the kubelet */
	struct kubelet_scan kubelet;
	const char *healthz_host; /* NULL: no loopback address */
	/* finding the runtime */
	struct endpoint_search *search;
	bool is_given, is_found, answers;
	struct runtime *runtime;
	/* asking */
	struct grpc_client *client;
	struct shim_client *shims;
	struct look *look;
	bool look_open, shim_started, task_started;
	struct asked asked[8];
	size_t asked_count;
	struct http1_call *healthz, *metrics;
};

/* ---- calls ----------------------------------------------------------------------------------- */

static struct asked *ask(struct trace *t, struct trace_call *to, const char *name,
	void (*take)(struct trace *t, const void *result))
{
	struct asked *a = &t->asked[t->asked_count++];

	*to = (struct trace_call){ .name = name, .is_open = true };
	*a = (struct asked){ .trace = t, .to = to, .take = take };
	return a;
}

static void ended(struct trace_call *to, enum evidence_answer answer, uint64_t elapsed_ns,
	const char *message)
{
	if (!to->is_open)
		return; /* It was late: that stands, with what it waited then. */
	to->is_open = false;
	to->answer = answer;
	to->elapsed_ns = elapsed_ns;
	(void)str_clean(to->message, sizeof(to->message), message, strlen(message));
}

static void late(struct trace_call *to)
{
	char text[TIME_TEXT_MAX];

	if (!to->is_open)
		return;
	ended(to, ANSWER_LATE, TRACE_CALL_NS,
		FMT("%s has not answered within %s", to->name,
			time_format_go(text, TRACE_CALL_NS)));
}

static void asked_late(void *userdata)
{
	late(((struct asked *)userdata)->to);
}

static void not_started(struct asked *a, int r)
{
	if (r < 0)
		ended(a->to, ANSWER_NOT_ASKED, 0,
			FMT("%s cannot be asked: %s", a->to->name, err_text(NULL, r)));
}

/* ---- CRI ------------------------------------------------------------------------------------- */

static enum evidence_answer answer_of_runtime(enum runtime_outcome outcome)
{
	switch (outcome) {
	case RUNTIME_OK: return ANSWER_OK;
	case RUNTIME_NOT_FOUND: return ANSWER_NOT_FOUND;
	case RUNTIME_ERROR:
	case RUNTIME_UNSUPPORTED:
	case RUNTIME_SILENT:
	case RUNTIME_LOST: return ANSWER_ERROR;
	case RUNTIME_NO_SOCKET: return ANSWER_NO_SOCKET;
	case RUNTIME_REFUSED: return ANSWER_REFUSED;
	case RUNTIME_MALFORMED: return ANSWER_GARBAGE;
	case RUNTIME_CANCELLED: return ANSWER_NOT_ASKED;
	}
	return ANSWER_ERROR;
}

static void take_cri_version(struct trace *t, const void *result)
{
	const struct runtime_result *r = result;
	char text[sizeof(t->facts.cri_name)];

	(void)snprintf(text, sizeof(text), "%s %s", str_or_empty(r->version_name),
		str_or_empty(r->version));
	(void)str_clean(t->facts.cri_name, sizeof(t->facts.cri_name), text, strlen(text));
}

static void take_cri_status(struct trace *t, const void *result)
{
	const struct container_status *s = ((const struct runtime_result *)result)->status;

	t->facts.has_status = true;
	t->facts.status = s->state;
	t->facts.detail = s->detail;
	t->facts.has_exit_code = s->has_exit_code;
	t->facts.exit_code = s->exit_code;
}

static void runtime_done(void *userdata, const struct runtime_result *result)
{
	struct asked *a = userdata;

	if (result->outcome == RUNTIME_OK && a->to->is_open)
		a->take(a->trace, result);
	ended(a->to, answer_of_runtime(result->outcome), result->elapsed_ns,
		result->outcome == RUNTIME_OK ? "" : result->message);
}

static const struct runtime_callbacks runtime_callbacks = {
	.on_done = runtime_done,
	.on_late = asked_late,
};

static void ask_runtime(struct trace *t)
{
	struct runtime_call_options options = {
		.callbacks = &runtime_callbacks,
		.timeout_ns = TRACE_CALL_NS,
	};
	struct asked *a;

	options.userdata = a = ask(t, &t->facts.cri_version, "Version", take_cri_version);
	not_started(a, runtime_version(t->runtime, &options));
	options.userdata = a = ask(t, &t->facts.cri_status,
		t->facts.is_docker                                        ? "inspect"
			: t->facts.subject.kind == CONTAINER_KIND_SANDBOX ? "PodSandboxStatus"
									  : "ContainerStatus",
		take_cri_status);
	not_started(a,
		runtime_inspect(t->runtime, t->facts.subject.kind, t->facts.subject.id, &options));
}

/* ---- containerd itself ----------------------------------------------------------------------- */

static enum evidence_answer answer_of_grpc(const struct grpc_result *result)
{
	if (result->outcome == GRPC_STATUS && result->status == GRPC_CODE_NOT_FOUND)
		return ANSWER_NOT_FOUND;
	return answer_of_runtime(remote_outcome(result->outcome));
}

static struct slice body_of(const struct grpc_result *result)
{
	return (struct slice){ (const char *)result->body, result->body_len };
}

static void take_version(struct trace *t, const void *result)
{
	(void)containerd_decode_version(
		body_of(result), t->facts.version_text, sizeof(t->facts.version_text));
}

static void take_nothing(struct trace *t, const void *result)
{
	(void)t, (void)result;
}

static void take_task(struct trace *t, const void *result)
{
	struct slice answer = body_of(result);
	struct containerd_task task;
	size_t count;

	if (containerd_decode_validate(answer, &count) < 0 || count != 1 ||
		!containerd_decode_next(&answer, &task)) {
		ended(&t->facts.task, ANSWER_GARBAGE,
			((const struct grpc_result *)result)->elapsed_ns,
			"Tasks/Get: the answer cannot be decoded");
		return;
	}
	t->facts.has_task = true;
	t->facts.task_status = task.status;
	t->facts.task_pid = task.pid;
}

static void grpc_done(void *userdata, const struct grpc_result *result)
{
	struct asked *a = userdata;
	enum evidence_answer answer = answer_of_grpc(result);

	if (answer == ANSWER_OK && a->to->is_open)
		a->take(a->trace, result);
	ended(a->to, answer, result->elapsed_ns,
		answer == ANSWER_OK ? "" : FMT("%s: %s", a->to->name, result->message));
	/* Another daemon than containerd has none of its services. */
	if (result->outcome == GRPC_STATUS && result->status == GRPC_CODE_UNIMPLEMENTED)
		a->to->name = NULL;
}

static const struct grpc_callbacks grpc_callbacks = {
	.on_done = grpc_done,
	.on_late = asked_late,
};

static void ask_containerd(struct trace *t, struct asked *a, const char *path,
	const char *namespace, const void *body, size_t body_len)
{
	not_started(a,
		grpc_call_start(t->client,
			&(struct grpc_request){ .path = path,
				.body = body,
				.body_len = body_len,
				.callbacks = &grpc_callbacks,
				.userdata = a,
				.deadline_ns = TRACE_CALL_NS,
				.max_message_bytes = 1 << 20,
				.containerd_namespace = namespace },
			NULL));
}

static void ask_services(struct trace *t, const char *path)
{
	if (t->client || path[0] == '\0' || grpc_client_new(t->loop, path, &t->client, NULL) < 0)
		return;
	ask_containerd(t, ask(t, &t->facts.version, "Version", take_version),
		"/containerd.services.version.v1.Version/Version", NULL, NULL, 0);
	ask_containerd(t, ask(t, &t->facts.namespaces, "Namespaces/List", take_nothing),
		"/containerd.services.namespaces.v1.Namespaces/List", NULL, NULL, 0);
}

/* GetRequest: its one field is a string. */
static void ask_task(struct trace *t, const char *namespace)
{
	size_t len = strlen(t->facts.subject.id);
	uint8_t body[GET_REQUEST_MAX] = { 0x0a, (uint8_t)len };

	_Static_assert(TRACE_ID_MAX < 128, "the length is one byte");
	if (t->task_started || !t->client)
		return;
	t->task_started = true;
	memcpy(body + 2, t->facts.subject.id, len);
	ask_containerd(t, ask(t, &t->facts.task, "Tasks/Get", take_task),
		"/containerd.services.tasks.v1.Tasks/Get", namespace, body, len + 2);
}

/* ---- the shim -------------------------------------------------------------------------------- */

static void shim_done(void *userdata, const struct shim_result *result)
{
	struct asked *a = userdata;
	struct trace_facts *f = &a->trace->facts;

	if (result->task && a->to->is_open) {
		f->has_shim_task = true;
		f->shim_task = *result->task;
	}
	ended(a->to, result->answer, result->elapsed_ns, result->task ? "" : result->message);
}

static const struct shim_callbacks shim_callbacks = {
	.on_done = shim_done,
	.on_late = asked_late,
};

static void ask_shim(struct trace *t, const struct trace_look *look)
{
	struct asked *a;

	if (t->shim_started || !look->has_address)
		return;
	t->shim_started = true;
	a = ask(t, &t->facts.shim_state, "State", NULL);
	not_started(a,
		shim_client_ask(t->shims, SHIM_STATE, &look->address, look->namespace,
			t->facts.subject.id, TRACE_CALL_NS, &shim_callbacks, a));
}

/* ---- the kubelet ----------------------------------------------------------------------------- */

static enum evidence_answer answer_of_http(const struct http1_result *result)
{
	switch (result->outcome) {
	case HTTP1_ANSWERED: return result->status == 200 ? ANSWER_OK : ANSWER_ERROR;
	case HTTP1_NO_SOCKET: return ANSWER_NO_SOCKET;
	case HTTP1_REFUSED:
	case HTTP1_UNREACHABLE: return ANSWER_REFUSED;
	case HTTP1_SILENT:
	case HTTP1_LOST: return ANSWER_ERROR;
	case HTTP1_TOO_LARGE:
	case HTTP1_MALFORMED: return ANSWER_GARBAGE;
	}
	return ANSWER_ERROR;
}

static void take_metrics(struct trace *t, const struct http1_result *result)
{
	struct slice text = { (const char *)result->body, result->body_len };
	double sum = 0, count = 0;

	if (!trace_metric_sum(text, "kubelet_pleg_relist_duration_seconds_sum", &sum) ||
		!trace_metric_sum(text, "kubelet_pleg_relist_duration_seconds_count", &count) ||
		count < 1)
		return;
	(void)snprintf(t->facts.metrics.message, sizeof(t->facts.metrics.message),
		"%.0f relists, %.1f ms each", count, sum / count * 1000);
}

static void healthz_done(void *userdata, const struct http1_result *result)
{
	struct trace *t = userdata;

	t->healthz = NULL;
	ended(&t->facts.healthz, answer_of_http(result), result->elapsed_ns,
		result->outcome != HTTP1_ANSWERED ? result->message
			: result->status == 200   ? ""
						  : FMT("healthz answers %u", result->status));
}

static void metrics_done(void *userdata, const struct http1_result *result)
{
	struct trace *t = userdata;

	t->metrics = NULL;
	ended(&t->facts.metrics, answer_of_http(result), result->elapsed_ns,
		result->outcome == HTTP1_ANSWERED ? "" : result->message);
	if (t->facts.metrics.answer == ANSWER_OK)
		take_metrics(t, result);
}

static void healthz_late(void *userdata)
{
	late(&((struct trace *)userdata)->facts.healthz);
}

static void metrics_late(void *userdata)
{
	late(&((struct trace *)userdata)->facts.metrics);
}

static const struct http1_callbacks healthz_callbacks = {
	.on_done = healthz_done,
	.on_late = healthz_late,
};
static const struct http1_callbacks metrics_callbacks = {
	.on_done = metrics_done,
	.on_late = metrics_late,
};

struct place {
	const char *host, *target;
	uint16_t port;
};

static void ask_http(struct trace *t, struct trace_call *to, struct place place,
	const struct http1_callbacks *callbacks, struct http1_call **ret)
{
	const struct http1_request request = {
		.host = place.host,
		.port = place.port,
		.target = place.target,
		.max_body_bytes = METRICS_MAX,
		.deadline_ns = TRACE_CALL_NS,
		.callbacks = callbacks,
		.userdata = t,
	};
	int r;

	*to = (struct trace_call){ .name = place.target, .is_open = true };
	r = http1_start(t->loop, &request, ret, NULL);
	if (r < 0)
		ended(to, ANSWER_NOT_ASKED, 0, err_text(NULL, r));
}

static void ask_kubelet(struct trace *t)
{
	const struct kubelet_scan *k = &t->kubelet;

	t->facts.kubelet_port = k->port;
	t->facts.kubelet_read_port = k->read_port;
	if (k->healthz_port != 0 && t->healthz_host)
		ask_http(t, &t->facts.healthz,
			(struct place){ t->healthz_host, "/healthz", k->healthz_port },
			&healthz_callbacks, &t->healthz);
	/* The port without credentials, where it is on; the other one asks for them. */
	if (k->read_port != 0)
		ask_http(t, &t->facts.metrics,
			(struct place){ "127.0.0.1", "/metrics", k->read_port }, &metrics_callbacks,
			&t->metrics);
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static void on_stage(void *userdata, const struct trace_look *look)
{
	struct trace *t = userdata;

	if (look->stage < TRACE_STAGE_SHIM)
		return;
	ask_shim(t, look);
	ask_services(t, look->containerd_socket);
	ask_task(t, look->namespace[0] ? look->namespace : CONTAINERD_NAMESPACE_CRI);
}

static void on_look_end(void *userdata, const struct trace_look *look, bool is_late)
{
	struct trace *t = userdata;

	on_stage(t, look);
	t->facts.look = *look;
	t->facts.look_late = is_late;
	t->look_open = false;
	ask_task(t, CONTAINERD_NAMESPACE_CRI);
}

static const struct look_callbacks look_callbacks = {
	.on_stage = on_stage,
	.on_end = on_look_end,
};

/* ---- the loop -------------------------------------------------------------------------------- */

static int run_until(struct trace *t, bool (*is_done)(const struct trace *t))
{
	while (!is_done(t) && clock_now().mono_ns < t->end_ns) {
		int r = sd_event_run(t->loop, TURN_USEC);

		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- finding and resolving ------------------------------------------------------------------- */

static void on_found(void *userdata, const struct endpoint_result *result)
{
	struct trace *t = userdata;

	t->is_found = true;
	if (result->kubelet) {
		t->kubelet = *result->kubelet;
		t->healthz_host = kubelet_scan_healthz_host(&t->kubelet);
	}
	if (t->is_given)
		return;
	t->answers = result->answers;
	(void)snprintf(t->facts.endpoint, sizeof(t->facts.endpoint), "%s", result->endpoint);
}

static bool is_found(const struct trace *t)
{
	return t->is_found;
}

static int find_runtime(struct trace *t, const char *endpoint, struct err *reterr)
{
	const struct endpoint_options options = {
		.only_kubelet = endpoint != NULL, .on_done = on_found, .userdata = t
	};
	int r;

	if (endpoint) {
		const char *path = remote_path(endpoint);

		if (!path)
			return err_set(reterr, -EINVAL,
				"--runtime %s: must be a unix socket such as "
				"unix:///run/containerd/containerd.sock",
				endpoint);
		(void)snprintf(t->facts.endpoint, sizeof(t->facts.endpoint), "unix://%s", path);
		t->is_given = t->answers = true;
	}
	r = endpoint_search_new(t->loop, &options, &t->search, reterr);
	return r < 0 ? r : run_until(t, is_found);
}

static int resolve(struct trace *t, const struct trace_options *options, struct err *reterr)
{
	enum runtime_kind kind = runtime_guess(t->facts.endpoint);
	int r = 0;

	if (t->facts.endpoint[0] != '\0')
		r = runtime_open(t->loop, kind, t->facts.endpoint, &t->runtime, reterr);
	if (r < 0)
		return r;
	t->facts.is_docker = t->runtime && kind == RUNTIME_DOCKER;
	t->resolve = (struct resolve){
		.loop = t->loop,
		.query = &t->query,
		.options = options,
		.end_ns = t->end_ns,
	};
	return trace_resolve(
		&t->resolve, t->answers ? t->runtime : NULL, &t->facts.subject, reterr);
}

/* ---- all hops -------------------------------------------------------------------------------- */

static bool is_settled(const struct trace *t)
{
	if (t->look_open || t->facts.healthz.is_open || t->facts.metrics.is_open)
		return false;
	for (size_t i = 0; i < t->asked_count; i++)
		if (t->asked[i].to->is_open)
			return false;
	return true;
}

static int ask_all(struct trace *t, struct err *reterr)
{
	const char *path = remote_path(t->facts.endpoint);
	int r = shim_client_new(t->loop, &t->shims);

	if (r >= 0)
		r = look_new(t->loop, t->facts.subject.id, path ?: "", t->facts.is_docker,
			&look_callbacks, t, &t->look);
	if (r < 0)
		return r;
	t->look_open = true;
	ask_kubelet(t);
	if (t->runtime) {
		ask_runtime(t);
		if (!t->facts.is_docker)
			ask_services(t, path);
		if (t->facts.subject.is_listed)
			ask_task(t, CONTAINERD_NAMESPACE_CRI);
	}
	return run_until(t, is_settled);
}

/* What is still open when all time is used up. */
static void give_up(struct trace *t)
{
	late(&t->facts.healthz);
	late(&t->facts.metrics);
	for (size_t i = 0; i < t->asked_count; i++)
		late(t->asked[i].to);
	if (t->look_open)
		t->facts.look_late = true;
}

static void trace_done(struct trace *t)
{
	t->healthz = http1_cancel(t->healthz);
	t->metrics = http1_cancel(t->metrics);
	t->shims = shim_client_free(t->shims);
	t->look = look_free(t->look);
	t->client = grpc_client_free(t->client);
	t->runtime = runtime_free(t->runtime);
	t->search = endpoint_search_free(t->search);
	t->loop = sd_event_unref(t->loop);
}

static int trace_make(struct trace *t, const struct trace_options *options, struct err *reterr)
{
	int r = subject_parse(options->subject, &t->query, reterr);

	if (r >= 0)
		r = sd_event_new(&t->loop);
	if (r >= 0)
		r = find_runtime(t, options->endpoint, reterr);
	if (r >= 0)
		r = resolve(t, options, reterr);
	if (r >= 0)
		r = ask_all(t, reterr);
	return r;
}

int trace_run(const struct trace_options *options, struct buf *out, enum trace_verdict *ret,
	struct err *reterr)
{
	CLEAN(mem_freep) struct trace_judgement *judgement = mem_zalloc(sizeof(*judgement));
	CLEAN(mem_freep) struct trace *t = mem_zalloc(sizeof(*t));
	int r;

	if (!t || !judgement)
		return -ENOMEM;
	t->started_ns = clock_now().mono_ns;
	t->end_ns = time_add(t->started_ns, TRACE_NS);
	t->kubelet = KUBELET_SCAN_DEFAULT;
	t->healthz_host = "127.0.0.1";
	t->facts.is_root = geteuid() == 0;
	r = trace_make(t, options, reterr);
	if (r >= 0) {
		give_up(t);
		t->facts.elapsed_ns = time_since(clock_now().mono_ns, t->started_ns);
		trace_judge(&t->facts, judgement);
		r = trace_document(&t->facts, judgement, out);
		*ret = judgement->verdict;
	}
	trace_done(t);
	return r;
}
