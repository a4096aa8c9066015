/*
 * src/runtime against a gRPC client that is a table of open calls: what is asked, what each answer
 * and each failure becomes. The real client is tests/unit/test-grpc.c's and tests/system's matter.
 */
#include "unit.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "cri.pb-c.h"
#include "net/grpc.h"
#include "runtime/runtime.h"

/* ---- allocations that fail ------------------------------------------------------------------- */

static unsigned faults_in; /* fail the n-th from now and all after it; 0: none */
static bool fault_was_hit;

bool fault_hit(enum fault_point point)
{
	if (point != FAULT_ALLOC || faults_in == 0)
		return false;
	if (faults_in > 1) {
		faults_in--;
		return false;
	}
	fault_was_hit = true;
	return true;
}

/* For what the test itself allocates. */
static void *sure_alloc(size_t size)
{
	unsigned was = faults_in;
	void *p;

	faults_in = 0;
	p = mem_zalloc(size);
	faults_in = was;
	assert_non_null(p);
	return p;
}

/* ---- the stand-in for net/grpc.c ------------------------------------------------------------ */

#define CALLS_MAX 64

struct grpc_call {
	bool is_open;
	char path[64];
	uint8_t *body;
	size_t body_len;
	const struct grpc_callbacks *callbacks;
	void *userdata;
	uint64_t deadline_ns;
};

struct grpc_client {
	struct grpc_call calls[CALLS_MAX];
	size_t count;
	int start_error;
};

static struct grpc_client *the_client;

int grpc_client_new(sd_event *loop, const char *path, struct grpc_client **ret, struct err *reterr)
{
	the_client = *ret = sure_alloc(sizeof(**ret));
	return 0;
}

static void end_call(struct grpc_call *call, const struct grpc_result *result)
{
	assert_true(call->is_open);
	call->is_open = false;
	call->callbacks->on_done(call->userdata, result);
}

struct grpc_client *grpc_client_free(struct grpc_client *client)
{
	if (!client)
		return NULL;
	for (size_t i = 0; i < client->count; i++)
		if (client->calls[i].is_open)
			end_call(&client->calls[i],
				&(struct grpc_result){
					.outcome = GRPC_CANCELLED, .message = "Cancelled" });
	for (size_t i = 0; i < client->count; i++)
		client->calls[i].body = mem_free(client->calls[i].body);
	the_client = NULL;
	return mem_free(client);
}

int grpc_call_start(
	struct grpc_client *client, const struct grpc_request *request, struct grpc_call **ret_call)
{
	struct grpc_call *call = &client->calls[client->count];

	if (client->start_error)
		return client->start_error;
	assert_in_range(client->count, 0, CALLS_MAX - 1);
	client->count++;
	*call = (struct grpc_call){
		.is_open = true,
		.body = sure_alloc(request->body_len),
		.body_len = request->body_len,
		.callbacks = request->callbacks,
		.userdata = request->userdata,
		.deadline_ns = request->deadline_ns,
	};
	if (request->body_len > 0)
		memcpy(call->body, request->body, request->body_len);
	(void)snprintf(call->path, sizeof(call->path), "%s", request->path);
	if (ret_call)
		*ret_call = call;
	return 0;
}

void grpc_client_stats(const struct grpc_client *client, struct grpc_client_stats *ret)
{
	*ret = (struct grpc_client_stats){ .link = GRPC_LINK_UP,
		.last_failure = GRPC_REFUSED,
		.connects = 2,
		.losses = 1,
		.bytes_in = 10,
		.bytes_out = 20 };
}

/* The n-th call that was ever started. */
static struct grpc_call *call_at(size_t n)
{
	assert_in_range(n + 1, 1, the_client->count);
	return &the_client->calls[n];
}

/* Answers with a copy that is gone right after, as the real one. */
static void answer_bytes(size_t n, const void *body, size_t len)
{
	CLEAN(mem_freep) uint8_t *copy = sure_alloc(len);

	if (len > 0)
		memcpy(copy, body, len);
	end_call(call_at(n),
		&(struct grpc_result){
			.outcome = GRPC_OK, .message = "", .body = copy, .body_len = len });
}

static void answer(size_t n, const void *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	CLEAN(mem_freep) uint8_t *body = sure_alloc(len);

	(void)protobuf_c_message_pack(message, body);
	answer_bytes(n, body, len);
}

static void fail_call(size_t n, enum grpc_outcome outcome, int status, const char *message)
{
	end_call(call_at(n),
		&(struct grpc_result){ .outcome = outcome, .status = status, .message = message });
}

/* ---- what the runtime tells ----------------------------------------------------------------- */

struct seen {
	struct runtime *runtime;
	int done, late;
	enum runtime_outcome outcome;
	bool was_late, found;
	char message[512], id[128], texts[256];
	enum container_state state;
	int64_t times[3];
	int exit_code;
	bool has_exit_code;
	size_t ip_count, condition_count;
	char entries[256]; /* "kind:id:sandbox:state " */
	bool free_inside;
	const char *again; /* to be inspected from inside on_done */
	int again_result;
};

static void on_late(void *userdata)
{
	struct seen *seen = userdata;

	seen->late++;
}

static void on_done(void *userdata, const struct runtime_result *result);

static const struct runtime_callbacks callbacks = { .on_done = on_done, .on_late = on_late };

static struct runtime_call_options options_for(struct seen *seen)
{
	return (struct runtime_call_options){
		.callbacks = &callbacks, .userdata = seen, .timeout_ns = 10 * NSEC_PER_SEC
	};
}

static void see_status(struct seen *seen, const struct container_status *status)
{
	seen->state = status->state;
	seen->times[0] = status->created_at_ns;
	seen->times[1] = status->started_at_ns;
	seen->times[2] = status->finished_at_ns;
	seen->exit_code = status->exit_code;
	seen->has_exit_code = status->has_exit_code;
	seen->ip_count = status->ip_count;
	(void)snprintf(seen->texts, sizeof(seen->texts), "%s|%s|%s|%s|%s", status->id,
		status->reason, status->message, status->image,
		status->ip_count > 0 ? status->ips[status->ip_count - 1] : "");
}

static void see_list(struct seen *seen, struct list_source *list)
{
	struct list_entry e;
	size_t len = 0;

	while (list->next(list, &e))
		len += (size_t)snprintf(seen->entries + len, sizeof(seen->entries) - len,
			"%s:%.*s:%.*s:%s ", container_kind_text(e.kind), (int)e.id.len, e.id.data,
			(int)e.sandbox_id.len, e.sandbox_id.data, container_state_text(e.state));
}

static void on_done(void *userdata, const struct runtime_result *result)
{
	struct seen *seen = userdata;
	struct runtime_call_options options = options_for(seen);

	seen->done++;
	seen->outcome = result->outcome;
	seen->was_late = result->was_late;
	seen->found = result->found;
	seen->condition_count = result->condition_count;
	(void)snprintf(seen->message, sizeof(seen->message), "%s", result->message);
	(void)snprintf(seen->id, sizeof(seen->id), "%s", str_or_empty(result->id));
	if (result->version)
		(void)snprintf(seen->texts, sizeof(seen->texts), "%s|%s|%s", result->version_name,
			result->version, result->api_version);
	if (result->status)
		see_status(seen, result->status);
	if (result->list)
		see_list(seen, result->list);
	if (seen->again) {
		seen->again_result = runtime_inspect(
			seen->runtime, CONTAINER_KIND_CONTAINER, TAKE_PTR(seen->again), &options);
	}
	if (seen->free_inside)
		seen->runtime = runtime_free(seen->runtime);
}

static struct seen seen_new(void)
{
	struct seen seen = { .again_result = 1 };
	struct err err = { 0 };

	ASSERT_OK(runtime_open_cri(NULL, "unix:///run/x.sock", &seen.runtime, &err));
	assert_string_equal(runtime_endpoint(seen.runtime), "unix:///run/x.sock");
	return seen;
}

static uint64_t operations(const struct runtime *runtime, const char *type, uint64_t *ret_errors)
{
	struct runtime_operation operation;
	size_t cursor = 0;

	while (runtime_next_operation(runtime, &cursor, &operation)) {
		if (!str_eq(operation.type, type))
			continue;
		*ret_errors = operation.errors;
		return operation.started;
	}
	return 0;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_endpoints(void **state)
{
	struct runtime *runtime;
	struct err err = { 0 };

	ASSERT_OK(runtime_open_cri(NULL, "/run/x.sock", &runtime, &err));
	runtime = runtime_free(runtime);
	ASSERT_ERR(runtime_open_cri(NULL, "tcp://1.2.3.4", &runtime, &err), EINVAL);
	assert_non_null(strstr(err.text, "unix:///"));
	ASSERT_ERR(runtime_open_cri(NULL, "unix://relative", &runtime, &err), EINVAL);
	assert_null(runtime_free(NULL));
}

static void test_version_and_status(void **state)
{
	Runtime__V1__VersionResponse version = RUNTIME__V1__VERSION_RESPONSE__INIT;
	Runtime__V1__StatusResponse status = RUNTIME__V1__STATUS_RESPONSE__INIT;
	Runtime__V1__RuntimeStatus inner = RUNTIME__V1__RUNTIME_STATUS__INIT;
	Runtime__V1__RuntimeCondition condition = RUNTIME__V1__RUNTIME_CONDITION__INIT;
	Runtime__V1__RuntimeCondition *conditions[40];
	struct seen seen = seen_new();
	struct runtime_call_options options = options_for(&seen);
	struct runtime_link link;
	uint64_t errors;

	ASSERT_OK(runtime_version(seen.runtime, &options));
	assert_string_equal(call_at(0)->path, "/runtime.v1.RuntimeService/Version");
	assert_in_range(call_at(0)->deadline_ns, 1, 10 * NSEC_PER_SEC);
	ASSERT_ERR(runtime_version(seen.runtime, &options), EALREADY);
	ASSERT_OK(runtime_status(seen.runtime, &options));
	assert_int_equal(call_at(1)->body_len, 0); /* not verbose */
	runtime_link(seen.runtime, &link);
	assert_true(link.up);
	assert_int_equal(link.calls_open, 2);
	assert_int_equal(link.last_failure, RUNTIME_REFUSED);

	version.runtime_name = (char *)"containerd";
	version.runtime_version = (char *)"1.6.20";
	version.runtime_api_version = (char *)"v1";
	answer(0, &version);
	assert_int_equal(seen.outcome, RUNTIME_OK);
	assert_string_equal(seen.texts, "containerd|1.6.20|v1");

	for (size_t i = 0; i < ELEMENTS(conditions); i++)
		conditions[i] = &condition;
	inner.conditions = conditions;
	inner.n_conditions = ELEMENTS(conditions);
	status.status = &inner;
	answer(1, &status);
	assert_int_equal(seen.done, 2);
	assert_int_equal(seen.condition_count, 16);
	assert_int_equal(operations(seen.runtime, "version", &errors), 1);
	assert_int_equal(errors, 0);
	seen.runtime = runtime_free(seen.runtime);
}

/* One pod and one container; the second request keeps what is left of the deadline. */
static void test_list(void **state)
{
	Runtime__V1__ListPodSandboxResponse sandboxes =
		RUNTIME__V1__LIST_POD_SANDBOX_RESPONSE__INIT;
	Runtime__V1__ListContainersResponse containers =
		RUNTIME__V1__LIST_CONTAINERS_RESPONSE__INIT;
	Runtime__V1__PodSandbox sandbox = RUNTIME__V1__POD_SANDBOX__INIT;
	Runtime__V1__Container container = RUNTIME__V1__CONTAINER__INIT;
	struct seen seen = seen_new();
	struct runtime_call_options options = options_for(&seen);
	struct runtime_call_info info;
	size_t cursor = 0;
	uint64_t errors;

	ASSERT_OK(runtime_list(seen.runtime, NULL, NULL, &options));
	ASSERT_ERR(runtime_list(seen.runtime, "", "", &options), EALREADY);
	assert_string_equal(call_at(0)->path, "/runtime.v1.RuntimeService/ListPodSandbox");
	assert_int_equal(call_at(0)->body_len, 0);
	sandbox.id = (char *)"s1";
	sandboxes.items = (Runtime__V1__PodSandbox *[]){ &sandbox };
	sandboxes.n_items = 1;
	answer(0, &sandboxes);
	assert_int_equal(seen.done, 0);
	assert_string_equal(call_at(1)->path, "/runtime.v1.RuntimeService/ListContainers");
	assert_in_range(call_at(1)->deadline_ns, 1, call_at(0)->deadline_ns);
	assert_true(runtime_next_call(seen.runtime, &cursor, UINT64_MAX, &info));
	assert_string_equal(info.method, "ListContainers");
	assert_false(runtime_next_call(seen.runtime, &cursor, UINT64_MAX, &info));
	ASSERT_ERR(runtime_list(seen.runtime, NULL, NULL, &options), EALREADY);

	container.id = (char *)"c1";
	container.pod_sandbox_id = (char *)"s1";
	container.state = RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED;
	containers.containers = (Runtime__V1__Container *[]){ &container };
	containers.n_containers = 1;
	answer(1, &containers);
	assert_int_equal(seen.done, 1);
	assert_string_equal(seen.entries, "sandbox:s1::running container:c1:s1:exited ");
	assert_int_equal(operations(seen.runtime, "list_podsandbox", &errors), 1);
	assert_int_equal(operations(seen.runtime, "list_containers", &errors), 1);
	seen.runtime = runtime_free(seen.runtime);
}

static void test_list_filters(void **state)
{
	Runtime__V1__ListPodSandboxRequest *sandboxes;
	Runtime__V1__ListContainersRequest *containers;
	struct seen seen = seen_new();
	struct runtime_call_options options = options_for(&seen);

	ASSERT_OK(runtime_list(seen.runtime, "uid-1", "ignored", &options));
	ASSERT_OK(runtime_list(seen.runtime, "", "sandbox-1", &options));
	answer_bytes(0, "", 0);
	answer_bytes(1, "", 0);

	sandboxes = runtime__v1__list_pod_sandbox_request__unpack(
		NULL, call_at(0)->body_len, call_at(0)->body);
	assert_int_equal(sandboxes->filter->n_label_selector, 1);
	assert_string_equal(sandboxes->filter->label_selector[0]->key, "io.kubernetes.pod.uid");
	assert_string_equal(sandboxes->filter->label_selector[0]->value, "uid-1");
	assert_string_equal(sandboxes->filter->id, "");
	runtime__v1__list_pod_sandbox_request__free_unpacked(sandboxes, NULL);
	sandboxes = runtime__v1__list_pod_sandbox_request__unpack(
		NULL, call_at(1)->body_len, call_at(1)->body);
	assert_string_equal(sandboxes->filter->id, "sandbox-1");
	runtime__v1__list_pod_sandbox_request__free_unpacked(sandboxes, NULL);

	containers = runtime__v1__list_containers_request__unpack(
		NULL, call_at(2)->body_len, call_at(2)->body);
	assert_string_equal(containers->filter->label_selector[0]->value, "uid-1");
	runtime__v1__list_containers_request__free_unpacked(containers, NULL);
	containers = runtime__v1__list_containers_request__unpack(
		NULL, call_at(3)->body_len, call_at(3)->body);
	assert_string_equal(containers->filter->pod_sandbox_id, "sandbox-1");
	runtime__v1__list_containers_request__free_unpacked(containers, NULL);
	seen.runtime = runtime_free(seen.runtime);
	assert_int_equal(seen.done, 2);
	assert_int_equal(seen.outcome, RUNTIME_CANCELLED);
}

/* Late is told once, the call stays open and goes on, its second request without a deadline. */
static void test_late(void **state)
{
	struct seen seen = seen_new();
	struct runtime_call_options options = options_for(&seen);
	struct runtime_call_info info;
	struct runtime_link link;
	size_t cursor = 0;

	ASSERT_OK(runtime_list(seen.runtime, NULL, NULL, &options));
	call_at(0)->callbacks->on_late(call_at(0)->userdata);
	assert_int_equal(seen.late, 1);
	assert_int_equal(seen.done, 0);
	runtime_link(seen.runtime, &link);
	assert_int_equal(link.calls_late, 1);
	assert_true(runtime_next_call(seen.runtime, &cursor, UINT64_MAX, &info));
	assert_true(info.late);
	ASSERT_ERR(runtime_list(seen.runtime, NULL, NULL, &options), EALREADY);
	answer_bytes(0, "", 0);
	assert_int_equal(call_at(1)->deadline_ns, 0);
	answer_bytes(1, "", 0);
	assert_int_equal(seen.late, 1);
	assert_int_equal(seen.done, 1);
	assert_true(seen.was_late);
	runtime_link(seen.runtime, &link);
	assert_int_equal(link.calls_open, 0);
	assert_int_equal(link.calls_late, 0);
	ASSERT_OK(runtime_list(seen.runtime, NULL, NULL, &options));
	seen.runtime = runtime_free(seen.runtime);
}

static void test_outcomes(void **state)
{
	static const char id[] = "930ca3f2a1b4c5d6e7f8091a2b3c4d5e";
	static const struct {
		bool is_start; /* StartContainer, else ContainerStatus */
		enum grpc_outcome outcome;
		int status;
		const char *message;
		enum runtime_outcome expected;
		const char *says;
	} cases[] = {
		{ false, GRPC_STATUS, 5, "gone", RUNTIME_NOT_FOUND, "gone" },
		{ true, GRPC_STATUS, 5, "gone", RUNTIME_NOT_FOUND, "gone" },
		{ false, GRPC_STATUS, 2, "find container: not found", RUNTIME_NOT_FOUND, "" },
		{ false, GRPC_STATUS, 2, "container \"x\" does not exist", RUNTIME_NOT_FOUND, "" },
		{ true, GRPC_STATUS, 2, "executable file not found", RUNTIME_ERROR, "" },
		{ false, GRPC_STATUS, 2, "not found in the end", RUNTIME_ERROR, "" },
		{ false, GRPC_STATUS, 12, "unknown service", RUNTIME_UNSUPPORTED, "CRI v1" },
		{ false, GRPC_STATUS, 4, "deadline", RUNTIME_ERROR, "deadline" },
		{ false, GRPC_STATUS, 14, "not ready", RUNTIME_ERROR, "not ready" },
		{ false, GRPC_NO_SOCKET, 0, "Connect", RUNTIME_NO_SOCKET,
			"is the runtime running" },
		{ false, GRPC_REFUSED, 0, "Connect", RUNTIME_REFUSED, "nobody listens" },
		{ false, GRPC_SILENT, 0, "Silent", RUNTIME_SILENT, "never answers" },
		{ false, GRPC_UNREACHABLE, 0, "Permission denied", RUNTIME_REFUSED, "Permission" },
		{ false, GRPC_LOST, 0, "Lost", RUNTIME_LOST, "Lost" },
		{ false, GRPC_TOO_LARGE, 0, "Large", RUNTIME_MALFORMED, "Large" },
		{ false, GRPC_MALFORMED, 0, "Not gRPC", RUNTIME_MALFORMED, "Not gRPC" },
		{ false, GRPC_STATUS, 2, "\x1b[31m\xff", RUNTIME_ERROR, "?[31m?" },
	};
	struct seen seen = seen_new();
	struct runtime_call_options options = options_for(&seen);
	uint64_t errors;

	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		if (cases[i].is_start)
			ASSERT_OK(runtime_start(seen.runtime, id, &options));
		else
			ASSERT_OK(runtime_inspect(
				seen.runtime, CONTAINER_KIND_CONTAINER, id, &options));
		fail_call(i, cases[i].outcome, cases[i].status, cases[i].message);
		assert_int_equal(seen.outcome, cases[i].expected);
		if (!strstr(seen.message, cases[i].says))
			fail_msg("'%s' does not say '%s'", seen.message, cases[i].says);
		assert_non_null(strstr(seen.message, " of 930ca3f2a1b4: "));
	}
	assert_int_equal(operations(seen.runtime, "start_container", &errors), 2);
	assert_int_equal(errors, 2);
	seen.runtime = runtime_free(seen.runtime);
}

static void test_container(void **state)
{
	Runtime__V1__ContainerStatusResponse response =
		RUNTIME__V1__CONTAINER_STATUS_RESPONSE__INIT;
	Runtime__V1__ContainerStatus status = RUNTIME__V1__CONTAINER_STATUS__INIT;
	Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
	struct seen seen = seen_new();
	struct runtime_call_options options = options_for(&seen);
	Runtime__V1__ContainerStatusRequest *request;

	ASSERT_OK(runtime_inspect(seen.runtime, CONTAINER_KIND_CONTAINER, "c1", &options));
	request = runtime__v1__container_status_request__unpack(
		NULL, call_at(0)->body_len, call_at(0)->body);
	assert_string_equal(request->container_id, "c1");
	assert_false(request->verbose);
	runtime__v1__container_status_request__free_unpacked(request, NULL);
	response.status = &status;
	status.id = (char *)"c1234";
	status.state = RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED;
	status.created_at = 1;
	status.started_at = 2;
	status.finished_at = 3;
	status.exit_code = -1;
	status.image = &image;
	status.image_ref = (char *)"ref";
	status.reason = (char *)"OOMKilled";
	status.message = (char *)"\xff";
	answer(0, &response);
	assert_int_equal(seen.outcome, RUNTIME_OK);
	assert_int_equal(seen.state, CONTAINER_EXITED);
	assert_true(seen.times[0] == 1 && seen.times[1] == 2 && seen.times[2] == 3);
	assert_true(seen.has_exit_code);
	assert_int_equal(seen.exit_code, -1);
	assert_string_equal(seen.texts, "c1234|OOMKilled|\xff|ref|");

	status.state = (Runtime__V1__ContainerState)77;
	ASSERT_OK(runtime_inspect(seen.runtime, CONTAINER_KIND_CONTAINER, "c1", &options));
	answer(1, &response);
	assert_int_equal(seen.state, CONTAINER_UNKNOWN);
	assert_false(seen.has_exit_code);
	seen.runtime = runtime_free(seen.runtime);
}

static void test_sandbox(void **state)
{
	Runtime__V1__PodSandboxStatusResponse response =
		RUNTIME__V1__POD_SANDBOX_STATUS_RESPONSE__INIT;
	Runtime__V1__PodSandboxStatus status = RUNTIME__V1__POD_SANDBOX_STATUS__INIT;
	Runtime__V1__PodSandboxNetworkStatus network =
		RUNTIME__V1__POD_SANDBOX_NETWORK_STATUS__INIT;
	Runtime__V1__PodIP ip = RUNTIME__V1__POD_IP__INIT;
	Runtime__V1__PodIP *ips[CONTAINER_IPS_MAX + 4];
	struct seen seen = seen_new();
	struct runtime_call_options options = options_for(&seen);

	ip.ip = (char *)"fd00::1";
	for (size_t i = 0; i < ELEMENTS(ips); i++)
		ips[i] = &ip;
	network.ip = (char *)"10.0.0.1";
	network.additional_ips = ips;
	network.n_additional_ips = 1;
	status.id = (char *)"s1";
	status.network = &network;
	response.status = &status;
	for (size_t i = 0; i < 3; i++) {
		ASSERT_OK(runtime_inspect(seen.runtime, CONTAINER_KIND_SANDBOX, "s1", &options));
		answer(i, &response);
		assert_int_equal(seen.outcome, RUNTIME_OK);
		assert_int_equal(seen.state, CONTAINER_RUNNING);
		assert_int_equal(seen.ip_count, i == 0 ? 2 : i == 1 ? CONTAINER_IPS_MAX : 0);
		if (i == 0)
			assert_string_equal(seen.texts, "s1||||fd00::1");
		network.n_additional_ips = ELEMENTS(ips);
		if (i == 1)
			status.network = NULL; /* the host's network */
	}
	seen.runtime = runtime_free(seen.runtime);
}

static void inspect_malformed(const void *body, size_t len, const char *says)
{
	struct seen seen = seen_new();
	struct runtime_call_options options = options_for(&seen);
	uint64_t errors;

	ASSERT_OK(runtime_inspect(seen.runtime, CONTAINER_KIND_CONTAINER, "c1", &options));
	answer_bytes(0, body, len);
	assert_int_equal(seen.done, 1);
	assert_int_equal(seen.outcome, RUNTIME_MALFORMED);
	if (!strstr(seen.message, says))
		fail_msg("'%s' does not say '%s'", seen.message, says);
	assert_int_equal(operations(seen.runtime, "container_status", &errors), 1);
	assert_int_equal(errors, 1);
	seen.runtime = runtime_free(seen.runtime);
}

static void test_malformed(void **state)
{
	struct runtime_call_options options;
	struct seen seen;
	CLEAN(mem_freep) uint8_t *flood = mem_alloc(400000);

	inspect_malformed("", 0, "no status");
	inspect_malformed("\x0a\x00", 2, "no id");
	inspect_malformed("\x0a\x04\x0a\x02xx", 6, "another id");
	inspect_malformed("\x0a\x7f", 2, "cannot be decoded");
	/* Fields that nobody knows, each of which protobuf-c would keep. */
	assert_non_null(flood);
	for (size_t i = 0; i < 400000; i += 2) {
		flood[i] = 15 << 3;
		flood[i + 1] = 1;
	}
	inspect_malformed(flood, 400000, "too much memory");

	seen = seen_new();
	options = options_for(&seen);
	ASSERT_OK(runtime_list(seen.runtime, NULL, NULL, &options));
	answer_bytes(0, "\x0a", 1);
	assert_int_equal(seen.outcome, RUNTIME_MALFORMED);
	ASSERT_OK(runtime_list(seen.runtime, NULL, NULL, &options));
	answer_bytes(1, "", 0);
	answer_bytes(2, "\x0a", 1);
	assert_int_equal(seen.outcome, RUNTIME_MALFORMED);
	assert_int_equal(seen.done, 2);
	ASSERT_OK(runtime_list(seen.runtime, NULL, NULL, &options));
	the_client->start_error = -EBUSY;
	answer_bytes(3, "", 0);
	assert_int_equal(seen.outcome, RUNTIME_CANCELLED);
	assert_int_equal(seen.done, 3);
	seen.runtime = runtime_free(seen.runtime);
}

static void test_run_sandbox(void **state)
{
	Runtime__V1__RunPodSandboxResponse response = RUNTIME__V1__RUN_POD_SANDBOX_RESPONSE__INIT;
	struct runtime_sandbox_spec spec = { .name = "web",
		.namespace = "demo",
		.uid = "u1",
		.attempt = 2,
		.cgroup_parent = "/pleg" };
	struct seen seen = seen_new();
	struct runtime_call_options options = options_for(&seen);
	const Runtime__V1__NamespaceOption *namespaces;
	Runtime__V1__RunPodSandboxRequest *request;

	for (size_t i = 0; i < 2; i++) {
		spec.host_network = i == 1;
		ASSERT_OK(runtime_run_sandbox(seen.runtime, &spec, &options));
		ASSERT_ERR(runtime_run_sandbox(seen.runtime, &spec, &options), EALREADY);
		request = runtime__v1__run_pod_sandbox_request__unpack(
			NULL, call_at(i)->body_len, call_at(i)->body);
		assert_non_null(request);
		assert_string_equal(request->config->metadata->uid, "u1");
		assert_int_equal(request->config->metadata->attempt, 2);
		assert_int_equal(request->config->n_labels, 3);
		assert_string_equal(request->config->linux->cgroup_parent, "/pleg");
		namespaces = request->config->linux->security_context->namespace_options;
		assert_int_equal(namespaces->pid, RUNTIME__V1__NAMESPACE_MODE__CONTAINER);
		assert_int_equal(namespaces->ipc, RUNTIME__V1__NAMESPACE_MODE__POD);
		assert_int_equal(namespaces->network,
			i == 1 ? RUNTIME__V1__NAMESPACE_MODE__NODE
			       : RUNTIME__V1__NAMESPACE_MODE__POD);
		assert_string_equal(request->config->hostname, i == 1 ? "" : "web");
		runtime__v1__run_pod_sandbox_request__free_unpacked(request, NULL);
		response.pod_sandbox_id = (char *)(i == 0 ? "s1" : "");
		answer(i, &response);
		assert_int_equal(seen.outcome, i == 0 ? RUNTIME_OK : RUNTIME_MALFORMED);
	}
	seen.runtime = runtime_free(seen.runtime);
}

static void test_create(void **state)
{
	static const char *const command[] = { "/bin/sh", "-c", "true", NULL };
	static const char *const environment[] = { "A=b=c", "EMPTY=", NULL };
	static const char *const bad[] = { "NOTHING", NULL };
	static const struct runtime_mount mount = { "/host", "/inside", true };
	const struct runtime_sandbox_spec sandbox = {
		.name = "web", .namespace = "demo", .uid = "u1"
	};
	struct runtime_container_spec spec = { .name = "app",
		.image = "i:1",
		.attempt = 3,
		.command = command,
		.environment = environment,
		.mounts = &mount,
		.mount_count = 1 };
	Runtime__V1__CreateContainerResponse response =
		RUNTIME__V1__CREATE_CONTAINER_RESPONSE__INIT;
	struct seen seen = seen_new();
	struct runtime_call_options options = options_for(&seen);
	Runtime__V1__CreateContainerRequest *request;

	ASSERT_OK(runtime_create(seen.runtime, "s1", &sandbox, &spec, &options));
	request = runtime__v1__create_container_request__unpack(
		NULL, call_at(0)->body_len, call_at(0)->body);
	assert_non_null(request);
	assert_string_equal(request->pod_sandbox_id, "s1");
	assert_string_equal(request->config->metadata->name, "app");
	assert_int_equal(request->config->metadata->attempt, 3);
	assert_string_equal(request->config->image->image, "i:1");
	assert_int_equal(request->config->n_command, 3);
	assert_int_equal(request->config->n_envs, 2);
	assert_string_equal(request->config->envs[0]->key, "A");
	assert_string_equal(request->config->envs[0]->value, "b=c");
	assert_string_equal(request->config->envs[1]->value, "");
	assert_string_equal(request->config->mounts[0]->host_path, "/host");
	assert_true(request->config->mounts[0]->readonly);
	assert_int_equal(request->config->n_labels, 4);
	assert_string_equal(request->config->labels[3]->value, "app");
	assert_string_equal(request->sandbox_config->metadata->name, "web");
	assert_int_equal(request->config->linux->security_context->namespace_options->pid,
		RUNTIME__V1__NAMESPACE_MODE__CONTAINER);
	runtime__v1__create_container_request__free_unpacked(request, NULL);
	response.container_id = (char *)"c1";
	answer(0, &response);
	assert_string_equal(seen.id, "c1");

	spec.environment = bad;
	ASSERT_ERR(runtime_create(seen.runtime, "s1", &sandbox, &spec, &options), EINVAL);
	spec.environment = environment;
	ASSERT_OK(runtime_create(seen.runtime, "s1", &sandbox, &spec, &options));
	seen.runtime = runtime_free(seen.runtime);
}

static void test_acting(void **state)
{
	struct seen seen = seen_new();
	struct runtime_call_options options = options_for(&seen);
	Runtime__V1__StopContainerRequest *stop;

	ASSERT_OK(runtime_stop(seen.runtime, "c1", 30, &options));
	assert_in_range(call_at(0)->deadline_ns, 39 * NSEC_PER_SEC, 40 * NSEC_PER_SEC);
	stop = runtime__v1__stop_container_request__unpack(
		NULL, call_at(0)->body_len, call_at(0)->body);
	assert_int_equal(stop->timeout, 30);
	runtime__v1__stop_container_request__free_unpacked(stop, NULL);
	ASSERT_OK(runtime_remove(seen.runtime, "c1", &options));
	ASSERT_OK(runtime_start(seen.runtime, "c1", &options));
	ASSERT_OK(runtime_stop_sandbox(seen.runtime, "s1", &options));
	ASSERT_OK(runtime_remove_sandbox(seen.runtime, "s1", &options));
	ASSERT_OK(runtime_image_status(seen.runtime, "i:1", &options));
	for (size_t i = 0; i < 6; i++) {
		answer_bytes(i, "", 0);
		assert_int_equal(seen.outcome, RUNTIME_OK);
	}
	assert_false(seen.found);
	ASSERT_OK(runtime_image_status(seen.runtime, "i:1", &options));
	answer_bytes(6, "\x0a\x05\x0a\x03img", 7);
	assert_true(seen.found);
	assert_string_equal(seen.id, "img");
	ASSERT_ERR(runtime_start(seen.runtime, "", &options), EINVAL);
	options.timeout_ns = 0;
	ASSERT_ERR(runtime_start(seen.runtime, "c1", &options), EINVAL);
	seen.runtime = runtime_free(seen.runtime);
}

/* From inside on_done: the same call again, and the end of everything. */
static void test_inside(void **state)
{
	struct seen seen = seen_new();
	struct runtime_call_options options = options_for(&seen);

	seen.again = "c1";
	ASSERT_OK(runtime_inspect(seen.runtime, CONTAINER_KIND_CONTAINER, "c1", &options));
	fail_call(0, GRPC_STATUS, 2, "no");
	ASSERT_OK(seen.again_result);
	ASSERT_ERR(
		runtime_inspect(seen.runtime, CONTAINER_KIND_CONTAINER, "c1", &options), EALREADY);
	ASSERT_OK(runtime_inspect(seen.runtime, CONTAINER_KIND_SANDBOX, "c1", &options));

	seen.again = "c2";
	seen.runtime = runtime_free(seen.runtime);
	assert_int_equal(seen.done, 3);
	assert_int_equal(seen.outcome, RUNTIME_CANCELLED);
	ASSERT_ERR(seen.again_result, ESHUTDOWN);

	seen = seen_new();
	options = options_for(&seen);
	ASSERT_OK(runtime_inspect(seen.runtime, CONTAINER_KIND_CONTAINER, "c1", &options));
	seen.free_inside = true;
	fail_call(0, GRPC_STATUS, 2, "no");
	assert_null(seen.runtime);
	assert_int_equal(seen.done, 1);
}

/* Whatever allocation fails: a call that was begun ends once, one that was not ends never, and
 * nothing leaks (the sanitizer says so). */
static void try_all(bool *ret_failed)
{
	static const char *const environment[] = { "A=b", NULL };
	static const char status[] = "\x0a\x04\x0a\x02"
				     "c1";
	const struct runtime_sandbox_spec sandbox = { .name = "web", .namespace = "demo" };
	const struct runtime_container_spec spec = {
		.name = "app", .image = "i:1", .environment = environment
	};
	uint8_t large[16384] = { 0 };
	struct seen seen = { 0 };
	struct runtime_call_options options = options_for(&seen);
	int begun = 0;

	*ret_failed = true;
	if (runtime_open_cri(NULL, "/run/x.sock", &seen.runtime, NULL) < 0)
		return;
	if (runtime_inspect(seen.runtime, CONTAINER_KIND_CONTAINER, "c1", &options) >= 0) {
		begun++;
		/* Unknown fields after the status, so that the arena must grow. */
		memcpy(large, status, sizeof(status) - 1);
		for (size_t i = sizeof(status) - 1; i + 1 < sizeof(large); i += 2)
			large[i] = 15 << 3;
		answer_bytes(the_client->count - 1, large, sizeof(large));
		assert_int_equal(seen.done, begun);
		*ret_failed = seen.outcome != RUNTIME_OK;
		assert_true(!*ret_failed || seen.outcome == RUNTIME_CANCELLED);
	}
	if (runtime_create(seen.runtime, "s1", &sandbox, &spec, &options) >= 0)
		begun++;
	if (runtime_list(seen.runtime, NULL, NULL, &options) >= 0) {
		size_t before = the_client->count;

		begun++;
		answer_bytes(before - 1, "\x0a\x00", 2);
		if (the_client->count > before)
			answer_bytes(before, "", 0);
		assert_true(seen.outcome == RUNTIME_OK || seen.outcome == RUNTIME_CANCELLED);
	} else {
		*ret_failed = true;
	}
	seen.runtime = runtime_free(seen.runtime);
	assert_int_equal(seen.done, begun);
}

static void test_out_of_memory(void **state)
{
	unsigned n = 0;
	bool failed;

	do {
		faults_in = ++n;
		fault_was_hit = false;
		try_all(&failed);
	} while (fault_was_hit && n < 1000);
	faults_in = 0;
	assert_in_range(n, 10, 999);
	assert_false(failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_endpoints),
		cmocka_unit_test(test_version_and_status),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_list_filters),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_outcomes),
		cmocka_unit_test(test_container),
		cmocka_unit_test(test_sandbox),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_run_sandbox),
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_acting),
		cmocka_unit_test(test_inside),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
