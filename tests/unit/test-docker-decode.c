/*
 * What a Docker Engine answers: recorded from 20.10.24 (tests/fuzz/corpus/docker), and made up where it
 * would have to lie. Every truncation of a recording must be refused.
 */
#include "unit.h"

#include <stdio.h>

#include "base/fd.h"
#include "base/mem.h"
#include "runtime/docker-decode.h"

#define SANDBOX "78b0b64cf819c0ccf544c01787bcb871baecf702db1123e415fee2ae3eda18e5"

static struct slice recording(const char *name, char **ret_text)
{
	char path[512];
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/../fuzz/corpus/docker/%s", UNIT_DIR, name);
	ASSERT_OK(fd_read_file(path, 1u << 20, ret_text, &len));
	return (struct slice){ *ret_text, len };
}

static void assert_slice(struct slice s, const char *text)
{
	if (!slice_eq(s, SLICE(text)))
		fail_msg("'%.*s' is not '%s'", (int)s.len, str_or_empty(s.data), text);
}

/* ---- lists ---------------------------------------------------------------------------------- */

struct row {
	const char *id, *sandbox_id, *namespace, *pod, *pod_uid, *container;
	enum container_kind kind;
	enum container_state state;
	uint32_t attempt;
};

static void assert_list(
	struct slice answer, const char *sandbox_id, const struct row *rows, size_t count)
{
	struct container_identity who;
	struct list_entry entry;
	struct docker_list list;
	size_t entries;

	ASSERT_OK(docker_list_check(answer, &entries));
	docker_list_init(&list, answer, sandbox_id);
	for (size_t i = 0; i < count; i++) {
		assert_true(list.source.next(&list.source, &entry));
		assert_int_equal(entry.id.len < 12 ? strlen(rows[i].id) : 12, strlen(rows[i].id));
		assert_slice((struct slice){ entry.id.data, strlen(rows[i].id) }, rows[i].id);
		assert_slice(entry.sandbox_id, rows[i].sandbox_id);
		assert_int_equal(entry.kind, rows[i].kind);
		assert_int_equal(entry.state, rows[i].state);
		list.source.describe(&list.source, &entry, &who);
		assert_slice(who.namespace, rows[i].namespace);
		assert_slice(who.pod, rows[i].pod);
		assert_slice(who.pod_uid, rows[i].pod_uid);
		assert_slice(who.container, rows[i].container);
		assert_int_equal(who.attempt, rows[i].attempt);
	}
	assert_false(list.source.next(&list.source, &entry));
	docker_list_done(&list);
}

/* The sandbox comes first, wherever it stands in the answer. */
static void a_recorded_list(void **state)
{
	static const struct row rows[] = {
		{ "78b0b64cf819", "", "prod", "kp", "u-1", "", CONTAINER_KIND_SANDBOX,
			CONTAINER_RUNNING, 0 },
		{ "a97ff26e237e", "", "docker", "busy", "", "busy", CONTAINER_KIND_CONTAINER,
			CONTAINER_EXITED, 0 },
		{ "f66f6e61635b", SANDBOX, "prod", "kp", "u-1", "app", CONTAINER_KIND_CONTAINER,
			CONTAINER_RUNNING, 2 },
		{ "099eec5b5288", "", "compose", "shop", "compose/shop", "db-1",
			CONTAINER_KIND_CONTAINER, CONTAINER_RUNNING, 0 },
		{ "08f031625442", "", "compose", "shop", "compose/shop", "web-1",
			CONTAINER_KIND_CONTAINER, CONTAINER_RUNNING, 0 },
		{ "bd6f62d4db91", "", "docker", "made", "", "made", CONTAINER_KIND_CONTAINER,
			CONTAINER_CREATED, 0 },
		{ "39ac1e855642", "", "docker", "crash", "", "crash", CONTAINER_KIND_CONTAINER,
			CONTAINER_EXITED, 0 },
		{ "bb6082d4086d", "", "docker", "single", "", "single", CONTAINER_KIND_CONTAINER,
			CONTAINER_RUNNING, 0 },
	};
	static const struct row in_sandbox[] = {
		{ "78b0b64cf819", "", "prod", "kp", "u-1", "", CONTAINER_KIND_SANDBOX,
			CONTAINER_RUNNING, 0 },
		{ "f66f6e61635b", SANDBOX, "prod", "kp", "u-1", "app", CONTAINER_KIND_CONTAINER,
			CONTAINER_RUNNING, 2 },
	};
	CLEAN(mem_freep) char *text = NULL;
	struct slice answer = recording("list", &text);
	size_t entries;

	(void)state;
	assert_list(answer, "", rows, ELEMENTS(rows));
	assert_list(answer, SANDBOX, in_sandbox, ELEMENTS(in_sandbox));
	for (size_t len = 0; len < answer.len && answer.data[len] != '\n'; len++)
		if (len + 1 < answer.len)
			ASSERT_ERR(docker_list_check((struct slice){ answer.data, len }, &entries),
				EBADMSG);
}

/* Links, escapes, states that nobody knows, missing members, members of another type. */
static void an_odd_list(void **state)
{
	static const char text[] =
		"[{\"Id\":\"a\",\"Names\":[\"/other/a\",\"/a\\u00e9\"],\"State\":\"paused\"},"
		"{\"Id\":\"b\",\"State\":\"hibernating\",\"Labels\":null,\"Names\":null},"
		"{},{\"Id\":7,\"State\":[\"running\"],\"Labels\":[],\"Names\":{}},"
		"{\"Id\":\"c\",\"State\":\"removing\",\"Names\":[\"/c\"],\"Labels\":{"
		"\"com.docker.compose.project\":\"p\\u0026q\"}},"
		"{\"Id\":\"d\",\"State\":\"created\",\"Names\":[\"/k8s_POD_p_n_u_12_4fe1\"],"
		"\"Labels\":{\"io.kubernetes.docker.type\":\"podsandbox\","
		"\"io.kubernetes.pod.name\":\"p\"}}]";
	static const struct row rows[] = {
		{ "d", "", "", "p", "", "", CONTAINER_KIND_SANDBOX, CONTAINER_EXITED, 12 },
		{ "a", "", "docker", "a\xc3\xa9", "", "a\xc3\xa9", CONTAINER_KIND_CONTAINER,
			CONTAINER_RUNNING, 0 },
		{ "b", "", "docker", "", "", "", CONTAINER_KIND_CONTAINER, CONTAINER_UNKNOWN, 0 },
		{ "", "", "docker", "", "", "", CONTAINER_KIND_CONTAINER, CONTAINER_UNKNOWN, 0 },
		{ "", "", "docker", "", "", "", CONTAINER_KIND_CONTAINER, CONTAINER_UNKNOWN, 0 },
		{ "c", "", "compose", "p&q", "compose/p&q", "c", CONTAINER_KIND_CONTAINER,
			CONTAINER_EXITED, 0 },
	};
	static const char *const bad[] = { "", "{}", "[1]", "[{},\"x\"]", "\"list\"", "[{}",
		"{\"message\":\"no\"}" };
	size_t entries;

	(void)state;
	assert_list(SLICE(text), "", rows, ELEMENTS(rows));
	for (size_t i = 0; i < ELEMENTS(bad); i++)
		ASSERT_ERR(docker_list_check(SLICE(bad[i]), &entries), EBADMSG);
	ASSERT_OK(docker_list_check(SLICE("null\n"), &entries));
	assert_int_equal(entries, 0);
	assert_list(SLICE("null\n"), "", NULL, 0);
	assert_list(SLICE("[]"), "", NULL, 0);
}

static void attempts(void **state)
{
	static const struct {
		const char *name;
		uint32_t attempt;
	} rows[] = {
		{ "/k8s_c_p_n_u_3", 3 },
		{ "/k8s_c_p_n_u_3_abc", 3 },
		{ "/k8s_c_p_n_u", 0 },
		{ "/k8s_c_p_n_u_", 0 },
		{ "/k8s_c_p_n_u_x3", 0 },
		{ "/k8s_c_p_n_u_99999999999999999999", 0 },
		{ "/c_c_p_n_u_3", 0 },
		{ "/", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		char text[300];
		const struct row row = { "a", "", "n", "p", "u", "c", CONTAINER_KIND_CONTAINER,
			CONTAINER_RUNNING, rows[i].attempt };

		(void)snprintf(text, sizeof(text),
			"[{\"Id\":\"a\",\"State\":\"running\",\"Names\":[\"%s\"],\"Labels\":{"
			"\"io.kubernetes.pod.name\":\"p\",\"io.kubernetes.pod.namespace\":\"n\","
			"\"io.kubernetes.pod.uid\":\"u\",\"io.kubernetes.container.name\":\"c\"}}]",
			rows[i].name);
		assert_list(SLICE(text), "", &row, 1);
	}
}

/* ---- inspections ---------------------------------------------------------------------------- */

static int inspect(struct slice answer, enum container_kind kind, const char *id,
	struct arena *arena, struct container_status *ret)
{
	const char *trouble = NULL;
	int r;

	arena_init(arena, DOCKER_DECODE_MAX);
	r = docker_decode_inspect(answer, kind, id, arena, ret, &trouble);
	if (r < 0)
		assert_non_null(trouble);
	return r;
}

static void recorded_inspections(void **state)
{
	CLEAN(mem_freep) char *restarting = NULL;
	CLEAN(mem_freep) char *paused = NULL;
	CLEAN(mem_freep) char *sandbox = NULL;
	struct slice answer = recording("inspect-restarting", &restarting);
	struct container_status status;
	struct arena arena;

	(void)state;
	/* It waits for its next life: the last one is over, and its exit code is known. */
	ASSERT_OK(inspect(answer, CONTAINER_KIND_CONTAINER, "a97ff26e237e", &arena, &status));
	assert_int_equal(status.state, CONTAINER_EXITED);
	assert_true(status.has_exit_code);
	assert_int_equal(status.exit_code, 7);
	assert_int_equal(status.init_pid, 0);
	assert_string_equal(status.reason, "Error");
	assert_string_equal(status.message, "");
	assert_string_equal(status.image, "pleg.local/busybox:1");
	assert_true(status.created_at_ns == INT64_C(1795472661511217603));
	assert_true(status.started_at_ns == INT64_C(1795472663126277940));
	assert_true(status.finished_at_ns == INT64_C(1795472664153044937));
	arena_done(&arena);

	ASSERT_OK(inspect(recording("inspect-paused", &paused), CONTAINER_KIND_CONTAINER,
		"bb6082d4086d", &arena, &status));
	assert_int_equal(status.state, CONTAINER_RUNNING);
	assert_int_equal(status.detail, CONTAINER_PAUSED);
	assert_false(status.has_exit_code);
	assert_true(status.init_pid > 0);
	assert_true(status.started_at_ns > 0);
	assert_true(status.finished_at_ns == 0);
	assert_string_equal(status.reason, "");
	arena_done(&arena);

	ASSERT_OK(inspect(recording("inspect-sandbox", &sandbox), CONTAINER_KIND_SANDBOX, SANDBOX,
		&arena, &status));
	assert_int_equal(status.kind, CONTAINER_KIND_SANDBOX);
	assert_int_equal(status.state, CONTAINER_RUNNING);
	assert_int_equal(status.ip_count, 0);
	assert_int_equal(status.init_pid, 23087);
	arena_done(&arena);

	ASSERT_ERR(inspect(answer, CONTAINER_KIND_CONTAINER, "b97ff26e237e", &arena, &status),
		EBADMSG);
	for (size_t len = 0; len + 1 < answer.len; len++) {
		ASSERT_ERR(inspect((struct slice){ answer.data, len }, CONTAINER_KIND_CONTAINER,
				   "a97ff26e237e", &arena, &status),
			EBADMSG);
		arena_done(&arena);
	}
}

/* Docker's word is kept beside the state that it stands for, in a list and in an inspection. */
static void details(void **state)
{
	static const struct {
		const char *word;
		enum container_state state;
		enum container_detail detail;
	} rows[] = {
		{ "running", CONTAINER_RUNNING, CONTAINER_PLAIN },
		{ "paused", CONTAINER_RUNNING, CONTAINER_PAUSED },
		{ "restarting", CONTAINER_EXITED, CONTAINER_RESTARTING },
		{ "removing", CONTAINER_EXITED, CONTAINER_REMOVING },
		{ "dead", CONTAINER_EXITED, CONTAINER_DEAD },
		{ "exited", CONTAINER_EXITED, CONTAINER_PLAIN },
		{ "created", CONTAINER_CREATED, CONTAINER_PLAIN },
		{ "undead", CONTAINER_UNKNOWN, CONTAINER_PLAIN },
	};
	struct container_status status;
	struct docker_list list;
	struct list_entry entry;
	struct arena arena;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		docker_list_init(
			&list, SLICE(FMT("[{\"Id\":\"a\",\"State\":\"%s\"}]", rows[i].word)), "");
		assert_true(list.source.next(&list.source, &entry));
		assert_int_equal(entry.state, rows[i].state);
		assert_int_equal(entry.detail, rows[i].detail);
		docker_list_done(&list);
		ASSERT_OK(inspect(
			SLICE(FMT("{\"Id\":\"a\",\"State\":{\"Status\":\"%s\"}}", rows[i].word)),
			CONTAINER_KIND_CONTAINER, "a", &arena, &status));
		assert_int_equal(status.state, rows[i].state);
		assert_int_equal(status.detail, rows[i].detail);
		arena_done(&arena);
	}
}

static void odd_inspections(void **state)
{
	static const struct {
		const char *text;
		enum container_state state;
		bool has_exit_code;
		int32_t exit_code;
		const char *reason;
	} rows[] = {
		{ "{\"Id\":\"a\",\"State\":{\"Status\":\"exited\",\"OOMKilled\":true,\"ExitCode\":"
		  "137,"
		  "\"StartedAt\":\"2026-11-23T22:24:23Z\"}}",
			CONTAINER_EXITED, true, 137, "OOMKilled" },
		{ "{\"Id\":\"a\",\"State\":{\"Status\":\"exited\",\"ExitCode\":0,"
		  "\"StartedAt\":\"2026-11-23T22:24:23Z\"}}",
			CONTAINER_EXITED, true, 0, "Completed" },
		/* It could not be started: there was no life that could have ended. */
		{ "{\"Id\":\"a\",\"State\":{\"Status\":\"created\",\"ExitCode\":127,\"Pid\":0}}",
			CONTAINER_CREATED, false, 0, "ContainerCannotRun" },
		{ "{\"Id\":\"a\",\"State\":{\"Status\":\"dead\",\"ExitCode\":9,"
		  "\"StartedAt\":\"0001-01-01T00:00:00Z\"}}",
			CONTAINER_EXITED, false, 0, "" },
		{ "{\"Id\":\"a\",\"State\":{\"Status\":\"exited\",\"ExitCode\":99999999999,"
		  "\"Pid\":99999999999,\"StartedAt\":\"2026-11-23T22:24:23Z\"}}",
			CONTAINER_EXITED, false, 0, "" },
		{ "{\"Id\":\"a\",\"State\":{\"Status\":\"frobbed\",\"Pid\":-4}}", CONTAINER_UNKNOWN,
			false, 0, "" },
	};
	static const char *const bad[] = { "{}", "[]", "null", "{\"Id\":\"a\"}",
		"{\"Id\":\"a\",\"State\":7}", "{\"State\":{}}", "{\"Id\":\"b\",\"State\":{}}" };
	struct container_status status;
	struct arena arena;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		ASSERT_OK(inspect(
			SLICE(rows[i].text), CONTAINER_KIND_CONTAINER, "a", &arena, &status));
		assert_int_equal(status.state, rows[i].state);
		assert_int_equal(status.has_exit_code, rows[i].has_exit_code);
		assert_int_equal(status.exit_code, rows[i].exit_code);
		assert_string_equal(status.reason, rows[i].reason);
		assert_int_equal(status.init_pid, 0);
		arena_done(&arena);
	}
	for (size_t i = 0; i < ELEMENTS(bad); i++) {
		ASSERT_ERR(inspect(SLICE(bad[i]), CONTAINER_KIND_CONTAINER, "a", &arena, &status),
			EBADMSG);
		arena_done(&arena);
	}
}

/* One id has many lives: how many, and when the last one ended, is told of a running one as well. */
static void lives(void **state)
{
	static const struct {
		const char *count, *status;
		uint32_t restarts;
		bool ended_before;
	} rows[] = {
		{ "7", "running", 7, true },
		{ "7", "restarting", 7, false },
		{ "0", "exited", 0, false },
		{ "-1", "running", 0, true },
		{ "99999999999", "running", UINT32_MAX, true },
		{ "\"many\"", "running", 0, true },
	};
	struct container_status status;
	struct arena arena;
	char text[512];

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		(void)snprintf(text, sizeof(text),
			"{\"Id\":\"a\",\"RestartCount\":%s,\"State\":{\"Status\":\"%s\","
			"\"StartedAt\":\"2026-11-23T22:24:25Z\","
			"\"FinishedAt\":\"2026-11-23T22:24:23Z\"}}",
			rows[i].count, rows[i].status);
		ASSERT_OK(inspect(SLICE(text), CONTAINER_KIND_CONTAINER, "a", &arena, &status));
		assert_int_equal(status.restarts, rows[i].restarts);
		assert_int_equal(status.ended_before_ns > 0, rows[i].ended_before);
		assert_int_equal(status.finished_at_ns == 0, rows[i].ended_before);
		arena_done(&arena);
	}
}

static void addresses(void **state)
{
	static const char text[] =
		"{\"Id\":\"s\",\"State\":{\"Status\":\"running\"},\"NetworkSettings\":{"
		"\"IPAddress\":\"10.0.0.2\",\"GlobalIPv6Address\":\"\",\"Networks\":{"
		"\"bridge\":{\"IPAddress\":\"10.0.0.2\",\"GlobalIPv6Address\":\"fd00::2\"},"
		"\"other\":{\"IPAddress\":\"10.1.0.2\"},\"none\":null}}}";
	struct container_status status;
	struct arena arena;

	(void)state;
	ASSERT_OK(inspect(SLICE(text), CONTAINER_KIND_SANDBOX, "s", &arena, &status));
	assert_int_equal(status.ip_count, 3);
	assert_string_equal(status.ips[0], "10.0.0.2");
	assert_string_equal(status.ips[1], "fd00::2");
	assert_string_equal(status.ips[2], "10.1.0.2");
	arena_done(&arena);
}

/* ---- versions, events, errors ---------------------------------------------------------------- */

static void versions(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *says; /* the API, or a part of the trouble */
	} rows[] = {
		{ "{\"Version\":\"29.0.1\",\"ApiVersion\":\"1.52\",\"MinAPIVersion\":\"1.44\"}", 0,
			"1.44" },
		{ "{\"Version\":\"1.12.6\",\"ApiVersion\":\"1.24\"}", 0, "1.24" },
		{ "{\"Version\":\"1.11\",\"ApiVersion\":\"1.23\"}", -EPROTONOSUPPORT,
			"speaks API 1.23 to 1.23, pleg speaks 1.24 to" },
		{ "{\"Version\":\"99\",\"ApiVersion\":\"1.99\",\"MinAPIVersion\":\"1.90\"}",
			-EPROTONOSUPPORT, "speaks API 1.90 to 1.99, pleg speaks" },
		{ "{\"Version\":\"99\",\"ApiVersion\":\"2.0\"}", -EBADMSG, "is this a Docker" },
		{ "{\"version\":\"1.6.20\"}", -EBADMSG, "is this a Docker Engine" },
		{ "[]", -EBADMSG, "cannot be decoded" },
		{ "{\"ApiVersion\":\"1.41\"", -EBADMSG, "cannot be decoded" },
	};
	CLEAN(mem_freep) char *recorded = NULL;
	struct docker_version version;
	const char *trouble;
	char text[200];

	(void)state;
	ASSERT_OK(docker_decode_version(
		recording("version", &recorded), &version, text, sizeof(text), &trouble));
	assert_string_equal(version.version, "20.10.24+dfsg1");
	assert_string_equal(version.api, "1.24");
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		assert_int_equal(docker_decode_version(SLICE(rows[i].text), &version, text,
					 sizeof(text), &trouble),
			rows[i].r);
		if (!strstr(rows[i].r < 0 ? trouble : version.api, rows[i].says))
			fail_msg("%s: %s", rows[i].text, rows[i].r < 0 ? trouble : version.api);
	}
}

static void events(void **state)
{
	static const struct {
		const char *text;
		enum hint_fate fate;
		enum hint_type type;
	} rows[] = {
		{ "{\"Type\":\"container\",\"Action\":\"pause\",\"Actor\":{\"ID\":\"a\"}}",
			HINT_TOLD, HINT_PAUSED },
		{ "{\"Type\":\"container\",\"Action\":\"unpause\",\"Actor\":{\"ID\":\"a\"}}",
			HINT_TOLD, HINT_RESUMED },
		{ "{\"Type\":\"container\",\"Action\":\"oom\",\"Actor\":{\"ID\":\"a\"}}", HINT_TOLD,
			HINT_OOM },
		{ "{\"Type\":\"container\",\"Action\":\"destroy\",\"Actor\":{\"ID\":\"a\"}}",
			HINT_TOLD, HINT_DELETE },
		{ "{\"Type\":\"container\",\"Action\":\"create\",\"Actor\":{\"ID\":\"a\"}}",
			HINT_TOLD, HINT_CREATE },
		{ "{\"Type\":\"container\",\"Action\":\"exec_die\",\"Actor\":{\"ID\":\"a\"}}",
			HINT_UNKNOWN, 0 },
		{ "{\"Type\":\"container\",\"Action\":\"exec_start: sh\",\"Actor\":{\"ID\":\"a\"}}",
			HINT_UNKNOWN, 0 },
		{ "{\"Type\":\"network\",\"Action\":\"create\",\"Actor\":{\"ID\":\"a\"}}",
			HINT_FOREIGN, 0 },
		{ "{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{}}", HINT_MALFORMED, 0 },
		{ "{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{\"ID\":\"a b\"}}",
			HINT_MALFORMED, 0 },
		{ "{\"Type\":\"container\"", HINT_MALFORMED, 0 },
		{ "[]", HINT_MALFORMED, 0 },
	};
	CLEAN(mem_freep) char *start = NULL;
	CLEAN(mem_freep) char *die = NULL;
	struct hint hint;

	(void)state;
	assert_int_equal(docker_decode_event(recording("event-start", &start), &hint), HINT_TOLD);
	assert_int_equal(hint.type, HINT_START);
	assert_true(str_after(hint.container_id, "40ec437a72c8") != NULL);
	assert_true(hint.sent_at_ns == INT64_C(1795471164367240789));
	assert_true(hint.is_init);
	assert_int_equal(hint.pid, 0);
	assert_int_equal(docker_decode_event(recording("event-die", &die), &hint), HINT_TOLD);
	assert_int_equal(hint.type, HINT_EXIT);
	assert_true(hint.has_exit_code);
	assert_int_equal(hint.exit_code, 3);
	assert_true(hint.exited_at_ns == hint.sent_at_ns);
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		assert_int_equal(docker_decode_event(SLICE(rows[i].text), &hint), rows[i].fate);
		if (rows[i].fate == HINT_TOLD)
			assert_int_equal(hint.type, rows[i].type);
	}
}

static void errors(void **state)
{
	char out[24];

	(void)state;
	assert_string_equal(docker_decode_error(SLICE("{\"message\":\"No such\\ncontainer\"}"), out,
				    sizeof(out)),
		"No such?container");
	assert_string_equal(docker_decode_error(SLICE("404 page not found"), out, sizeof(out)), "");
	assert_string_equal(docker_decode_error(SLICE("{\"message\":7}"), out, sizeof(out)), "");
	assert_string_equal(
		docker_decode_error(SLICE("{\"message\":\"0123456789012345678901234567890\"}"), out,
			sizeof(out)),
		"01234567890123456789012");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_recorded_list),
		cmocka_unit_test(an_odd_list),
		cmocka_unit_test(attempts),
		cmocka_unit_test(recorded_inspections),
		cmocka_unit_test(details),
		cmocka_unit_test(odd_inspections),
		cmocka_unit_test(lives),
		cmocka_unit_test(addresses),
		cmocka_unit_test(versions),
		cmocka_unit_test(events),
		cmocka_unit_test(errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
