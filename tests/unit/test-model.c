/* The structs that rooms exchange: copies are deep, names are the contract's. */
#include "unit.h"

#include <stdbool.h>

#include "base/mem.h"
#include "model/container.h"
#include "model/event.h"

static void names(void **state)
{
	assert_string_equal(container_kind_text(CONTAINER_KIND_CONTAINER), "container");
	assert_string_equal(container_kind_text(CONTAINER_KIND_SANDBOX), "sandbox");
	assert_string_equal(container_state_text(CONTAINER_GONE), "gone");
	assert_string_equal(container_state_text(CONTAINER_CREATED), "created");
	assert_string_equal(container_state_text(CONTAINER_RUNNING), "running");
	assert_string_equal(container_state_text(CONTAINER_EXITED), "exited");
	assert_string_equal(container_state_text(CONTAINER_UNKNOWN), "unknown");
	assert_string_equal(event_type_text(EVENT_CONTAINER_STARTED), "ContainerStarted");
	assert_string_equal(event_type_text(EVENT_CONTAINER_DIED), "ContainerDied");
	assert_string_equal(event_type_text(EVENT_CONTAINER_REMOVED), "ContainerRemoved");
	assert_string_equal(event_type_text(EVENT_CONTAINER_CHANGED), "ContainerChanged");
	assert_string_equal(event_type_text(EVENT_POD_SYNC), "PodSync");
	assert_string_equal(event_source_text(EVENT_SOURCE_RELIST), "relist");
	assert_string_equal(event_source_text(EVENT_SOURCE_STREAM), "stream");
	assert_string_equal(event_source_text(EVENT_SOURCE_KERNEL), "kernel");
}

static void event_is_copied(void **state)
{
	char text[] = "x";
	const struct event fields = {
		.type = EVENT_CONTAINER_DIED,
		.kind = CONTAINER_KIND_SANDBOX,
		.confirmed = true,
		.has_exit_code = true,
		.exit_code = -1,
		.attempt = 7,
		.occurred_at_ns = 5,
		.namespace = text,
		.pod = text,
		.pod_uid = text,
		.container = text,
		.container_id = "longer than the others",
		.sandbox_id = NULL,
	};
	struct event *event = event_new(&fields);

	assert_non_null(event);
	text[0] = 'y';
	assert_int_equal(event->type, EVENT_CONTAINER_DIED);
	assert_int_equal(event->kind, CONTAINER_KIND_SANDBOX);
	assert_int_equal(event->exit_code, -1);
	assert_int_equal(event->attempt, 7);
	assert_int_equal(event->occurred_at_ns, 5);
	assert_string_equal(event->namespace, "x");
	assert_string_equal(event->pod, "x");
	assert_string_equal(event->pod_uid, "x");
	assert_string_equal(event->container, "x");
	assert_string_equal(event->container_id, "longer than the others");
	assert_string_equal(event->sandbox_id, "");
	assert_null(event_free(event));
	assert_null(event_free(NULL));
}

static void kubelets_stream(void **state)
{
	static const struct {
		struct event event;
		bool kubelets;
	} rows[] = {
		{ { .confirmed = true }, true },
		{ { .confirmed = true, .initial = true }, true },
		{ { .confirmed = true, .type = EVENT_POD_SYNC }, true },
		{ { .confirmed = true, .type = EVENT_CONTAINER_REMOVED }, true },
		{ { .confirmed = true, .type = EVENT_CONTAINER_CHANGED }, false },
		{ { .confirmed = false, .source = EVENT_SOURCE_KERNEL }, false },
		{ { .confirmed = true, .source = EVENT_SOURCE_STREAM }, false },
	};

	for (size_t i = 0; i < ELEMENTS(rows); i++)
		assert_int_equal(event_is_kubelets(&rows[i].event), rows[i].kubelets);
}

static void status_is_copied(void **state)
{
	char ip[] = "10.0.0.1";
	const char *ips[CONTAINER_IPS_MAX + 4];
	struct container_status status = {
		.kind = CONTAINER_KIND_SANDBOX,
		.state = CONTAINER_EXITED,
		.id = "id",
		.exit_code = 3,
		.has_exit_code = true,
		.finished_at_ns = 9,
		.reason = "Error",
		.message = NULL,
		.image = "busybox",
		.ips = ips,
		.ip_count = 2,
	};
	struct container_status *copy;

	for (size_t i = 0; i < ELEMENTS(ips); i++)
		ips[i] = ip;
	copy = container_status_copy(&status);
	assert_non_null(copy);
	ip[0] = 'X';
	assert_int_equal(copy->state, CONTAINER_EXITED);
	assert_int_equal(copy->exit_code, 3);
	assert_int_equal(copy->finished_at_ns, 9);
	assert_string_equal(copy->id, "id");
	assert_string_equal(copy->reason, "Error");
	assert_string_equal(copy->message, "");
	assert_string_equal(copy->image, "busybox");
	assert_int_equal(copy->ip_count, 2);
	assert_string_equal(copy->ips[0], "10.0.0.1");
	assert_string_equal(copy->ips[1], "10.0.0.1");
	(void)mem_free(copy);

	/* Addresses beyond the maximum are left out; none at all is fine. */
	status.ip_count = ELEMENTS(ips);
	copy = container_status_copy(&status);
	assert_int_equal(copy->ip_count, CONTAINER_IPS_MAX);
	(void)mem_free(copy);
	status.ips = NULL;
	status.ip_count = 0;
	copy = container_status_copy(&status);
	assert_int_equal(copy->ip_count, 0);
	(void)mem_free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(event_is_copied),
		cmocka_unit_test(kubelets_stream),
		cmocka_unit_test(status_is_copied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
