/*
 * The agent's side of the api role, with the real probe and a role that has no network (api-fake.c): nothing
 * is asked before it is known who asks, another server gets another process, and a doubt reads the files anew.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "kernel/probe-agent.h"
#include "kube/api-agent.h"
#include "kube/reporter.h"
#include "loop.h"

static const char *arg_probe, *arg_fake;

struct fixture {
	struct role_spawner *spawner;
	sd_event *event;
	struct probe *probe;
	struct api *api;
	int probe_exe, fake_exe, fds_before;
	char dir[64], path[96];
	unsigned answers, calls, opens;
	unsigned http;
	char body[300], why[300], error[32], trouble[400], watched[300];
};

static void on_call(void *userdata, const struct api_call *call)
{
	struct fixture *f = userdata;

	f->calls++;
	(void)snprintf(f->error, sizeof(f->error), "%s", call->error);
}

static void on_answer(void *userdata, uint64_t tag, unsigned http, uint64_t retry_after_ns,
	const void *body, size_t len, const char *why)
{
	struct fixture *f = userdata;

	f->answers++;
	f->http = http;
	(void)snprintf(f->body, sizeof(f->body), "%.*s", (int)len, (const char *)body);
	(void)snprintf(f->why, sizeof(f->why), "%s", str_or_empty(why));
}

static void on_trouble(void *userdata, const char *text)
{
	struct fixture *f = userdata;

	(void)snprintf(f->trouble, sizeof(f->trouble), "%s", text);
}

static void on_pods(void *userdata, enum api_pods_word word, unsigned http, const char *why)
{
	struct fixture *f = userdata;

	if (word != API_PODS_OPEN)
		return;
	f->opens++;
	(void)snprintf(f->watched, sizeof(f->watched), "%s", why);
}

static int setup(void **state)
{
	static const struct api_ops ops = { .on_call = on_call,
		.on_answer = on_answer,
		.on_trouble = on_trouble,
		.on_pods = on_pods };
	struct fixture *f = mem_zalloc(sizeof(*f));
	struct api_config config;
	struct err e = { 0 };

	f->fds_before = count_fds();
	ASSERT_OK(role_spawner_start(STDERR_FILENO, &f->spawner));
	ASSERT_OK(sd_event_new(&f->event));
	ASSERT_OK(role_spawner_attach(f->spawner, f->event));
	ASSERT_OK(role_exe_open(arg_probe, true, &f->probe_exe, &e));
	ASSERT_OK(role_exe_open(arg_fake, false, &f->fake_exe, &e));
	ASSERT_OK(probe_new(f->event, f->spawner, f->probe_exe, &f->probe));
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/test-api-agent-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/kubeconfig", f->dir);
	config = (struct api_config){
		.kubeconfig = f->path, .probe = f->probe, .exe_fd = f->fake_exe
	};
	ASSERT_OK(api_new(f->event, f->spawner, &config, &ops, f, &f->api, &e));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->api = api_free(f->api);
	f->probe = probe_free(f->probe);
	f->spawner = role_spawner_free(f->spawner);
	f->event = sd_event_unref(f->event);
	(void)fd_close(f->probe_exe);
	(void)fd_close(f->fake_exe);
	(void)unlink(f->path);
	ASSERT_OK(rmdir(f->dir));
	assert_int_equal(count_fds(), f->fds_before);
	(void)mem_free(f);
	return 0;
}

static void put(struct fixture *f, const char *server, const char *token)
{
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/new", f->dir);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fprintf(file,
			    "clusters:\n- name: c\n  cluster: {server: '%s'}\n"
			    "users:\n- name: u\n  user: {token: %s}\n"
			    "contexts:\n- name: x\n  context: {cluster: c, user: u}\n"
			    "current-context: x\n",
			    server, token) > 0);
	assert_int_equal(fclose(file), 0);
	ASSERT_OK(rename(path, f->path));
}

static int ask(struct fixture *f, const char *path)
{
	return api_send(f->api, 0, &(struct reporter_request){ .method = "GET", .path = path });
}

#define UNTIL(condition) RUN_UNTIL_TELLING(f->event, condition, f->trouble)

/* Asks as soon as it may, and waits for the answer. */
static void ask_and_wait(struct fixture *f, const char *path)
{
	unsigned n = f->answers;

	UNTIL(ask(f, path) >= 0);
	UNTIL(f->answers == n + 1);
}

static void nothing_is_asked_as_nobody(void **state)
{
	struct fixture *f = *state;
	struct role_status s;

	ASSERT_OK(api_watch_pods(f->api, "n"));
	ASSERT_ERR(ask(f, "/"), ENOTCONN);
	UNTIL(f->trouble[0] != '\0');
	assert_null(api_server(f->api));
	assert_string_equal(api_trouble(f->api), f->trouble);
	api_status(f->api, &s);
	assert_int_equal(s.state, ROLE_STOPPED); /* for which server should there be one */
	ASSERT_ERR(ask(f, "/"), ENOTCONN);
	/* Not even the small question, but why is told. */
	ASSERT_ERR(api_ping(f->api), EAGAIN);
	assert_int_equal(f->calls, 1);
	assert_string_equal(f->error, "credential");
	put(f, "https://h", "t");
	ask_and_wait(f, "/"); /* at the first moment that it may */
	assert_int_equal(f->http, 200);
	assert_string_equal(f->body, "https://h|t");
	UNTIL(f->opens == 1);
	assert_string_equal(f->watched, "https://h|t");
	assert_string_equal(api_server(f->api), "https://h");
	assert_string_equal(f->error, "ok");
	assert_string_equal(f->trouble, "");
}

static void another_server_is_another_process(void **state)
{
	struct fixture *f = *state;
	struct role_status before, after;
	unsigned calls;

	put(f, "https://h", "t");
	ASSERT_OK(api_watch_pods(f->api, "n"));
	ask_and_wait(f, "/");
	UNTIL(f->opens == 1);
	api_status(f->api, &before);
	put(f, "https://other", "u");
	ASSERT_OK(api_send(
		f->api, 1, &(struct reporter_request){ .method = "GET", .path = "/silent" }));
	calls = f->calls;
	ASSERT_OK(ask(f, "/401")); /* it looks why */
	UNTIL(f->answers == 3);    /* the 401, and the silent one at the end of its process */
	assert_int_equal(f->http, 0);
	assert_string_equal(f->why, "There is another API server now");
	assert_int_equal(f->calls, calls + 1); /* which is no trouble of the way there */
	ask_and_wait(f, "/");
	assert_string_equal(f->body, "https://other|u");
	UNTIL(f->opens == 2);
	assert_string_equal(f->watched, "https://other|u");
	api_status(f->api, &after);
	assert_int_not_equal(before.pid, after.pid);
}

static void a_doubt_reads_anew(void **state)
{
	struct fixture *f = *state;
	struct role_status before, after;

	put(f, "https://h", "old");
	ask_and_wait(f, "/");
	assert_string_equal(f->body, "https://h|old");
	api_status(f->api, &before);
	put(f, "https://h", "new");
	ask_and_wait(f, "/401");
	assert_int_equal(f->http, 401);
	do {
		ask_and_wait(f, "/");
	} while (str_eq(f->body, "https://h|old"));
	assert_string_equal(f->body, "https://h|new");
	api_status(f->api, &after);
	assert_int_equal(before.pid, after.pid); /* only the credential was another */
}

/* An authority that was rotated, or a certificate that is no good: also a reason to look. */
static void tls_that_fails_is_a_doubt(void **state)
{
	struct fixture *f = *state;

	put(f, "https://h", "old");
	ask_and_wait(f, "/");
	put(f, "https://h", "new");
	ask_and_wait(f, "/tls");
	assert_int_equal(f->http, 0);
	assert_string_equal(f->error, "tls");
	do {
		ask_and_wait(f, "/");
	} while (str_eq(f->body, "https://h|old"));
	assert_string_equal(f->body, "https://h|new");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_is_asked_as_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(another_server_is_another_process, setup, teardown),
		cmocka_unit_test_setup_teardown(a_doubt_reads_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(tls_that_fails_is_a_doubt, setup, teardown),
	};

	if (argc != 3)
		return 1;
	arg_probe = argv[1];
	arg_fake = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
