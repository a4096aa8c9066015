/*
 * The kubeconfig and the files behind it, read by the real probe: what comes later, what rotates, what is
 * bad, what hangs, and how often a plugin is asked. Periods are short here. Whatever is stopped is continued
 * by a timer of its own.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "kernel/probe-agent.h"
#include "kube/api-files.h"
#include "kube/credential.h"
#include "kube/kubeconfig.h"
#include "loop.h"

#define PERIOD_NS (50 * NSEC_PER_MSEC)
#define LONG_NS   (3600 * NSEC_PER_SEC)

static const char *arg_probe;

struct fixture {
	struct role_spawner *spawner;
	sd_event *event;
	struct probe *probe;
	struct api_files *files;
	int exe, fds_before;
	char dir[64], path[96];
	unsigned targets, credentials, troubles;
	char server[128], ca[64], bearer[64], trouble[400];
	bool had_credential; /* when the last target was told */
};

static void on_target(void *userdata, const struct kubeconfig *config, const char *ca)
{
	struct fixture *f = userdata;

	f->targets++;
	f->had_credential = f->files && api_files_credential(f->files);
	(void)snprintf(f->server, sizeof(f->server), "%s", config->cluster.server);
	(void)snprintf(f->ca, sizeof(f->ca), "%s", str_or_empty(ca));
}

static void on_credential(void *userdata, const struct kube_credential *c)
{
	struct fixture *f = userdata;

	f->credentials++;
	(void)snprintf(f->bearer, sizeof(f->bearer), "%s", str_or_empty(c->bearer));
}

static void on_trouble(void *userdata, const char *text)
{
	struct fixture *f = userdata;

	f->troubles++;
	(void)snprintf(f->trouble, sizeof(f->trouble), "%s", text);
}

static const struct api_files_ops ops = {
	.on_target = on_target, .on_credential = on_credential, .on_trouble = on_trouble
};

static const char *in_dir(struct fixture *f, char out[128], const char *name)
{
	return str_format(out, 128, "%s/%s", f->dir, name);
}

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));
	struct err e = { 0 };
	char runs[128];

	f->fds_before = count_fds();
	ASSERT_OK(role_spawner_start(STDERR_FILENO, &f->spawner));
	ASSERT_OK(sd_event_new(&f->event));
	ASSERT_OK(role_spawner_attach(f->spawner, f->event));
	ASSERT_OK(role_exe_open(arg_probe, true, &f->exe, &e));
	ASSERT_OK(probe_new(f->event, f->spawner, f->exe, &f->probe));
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/test-api-files-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/kubeconfig", f->dir);
	ASSERT_OK(setenv("RUNS", in_dir(f, runs, "runs"), 1)); /* for the plugins */
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { "kubeconfig", "new", "token", "1", "2", "ca.crt",
		"runs" };
	struct fixture *f = *state;
	char path[128];

	f->files = api_files_free(f->files);
	f->probe = probe_free(f->probe);
	f->spawner = role_spawner_free(f->spawner);
	f->event = sd_event_unref(f->event);
	(void)fd_close(f->exe);
	for (size_t i = 0; i < ELEMENTS(names); i++)
		(void)unlink(in_dir(f, path, names[i]));
	ASSERT_OK(rmdir(f->dir));
	assert_int_equal(count_fds(), f->fds_before);
	(void)mem_free(f);
	return 0;
}

/* --- files --- */

/* As kubernetes does: a new file that takes the place of the old one. */
static void put(struct fixture *f, const char *name, const char *text)
{
	char new_path[128], path[128];
	FILE *file = fopen(in_dir(f, new_path, "new"), "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	ASSERT_OK(rename(new_path, in_dir(f, path, name)));
}

#define CONFIG(server, cluster, user)                                                              \
	"clusters:\n- name: c\n  cluster: {server: '" server "'" cluster "}\n"                     \
	"users:\n- name: u\n  user: {" user "}\n"                                                  \
	"contexts:\n- name: x\n  context: {cluster: c, user: u}\ncurrent-context: x\n"
#define SERVER "https://h:6443"
#define PEM    "-----BEGIN CERTIFICATE-----\n"

static void start_with(struct fixture *f, struct api_files_options options)
{
	options.event = f->event;
	options.probe = options.probe ? options.probe : f->probe;
	options.kubeconfig = options.kubeconfig ? options.kubeconfig : f->path;
	options.ops = &ops;
	options.userdata = f;
	ASSERT_OK(api_files_new(&options, &f->files));
	assert_int_equal(f->targets + f->credentials + f->troubles, 0); /* not from inside */
}

static void start(struct fixture *f)
{
	start_with(f, (struct api_files_options){ .period_ns = PERIOD_NS, .retry_ns = PERIOD_NS });
}

#define UNTIL(condition) RUN_UNTIL_TELLING(f->event, condition, f->trouble)

/* Looks go on, and nothing is told. */
static void assert_calm(struct fixture *f)
{
	unsigned told = f->targets + f->credentials + f->troubles;
	struct probe_status s;
	uint64_t before;

	probe_status(f->probe, &s);
	before = s.answered;
	do {
		RUN_TURNS(f->event, 1);
		probe_status(f->probe, &s);
	} while (s.answered < before + 6);
	assert_int_equal(f->targets + f->credentials + f->troubles, told);
}

/* --- tests --- */

static void one_that_comes_later(void **state)
{
	struct fixture *f = *state;

	start(f);
	UNTIL(f->troubles == 1);
	assert_non_null(strstr(f->trouble, "Read kubeconfig '/tmp/"));
	assert_non_null(strstr(f->trouble, "No such file"));
	assert_string_equal(api_files_trouble(f->files), f->trouble);
	assert_null(api_files_config(f->files));
	assert_null(api_files_credential(f->files));
	put(f, "kubeconfig", "clusters: 5\n");
	UNTIL(f->troubles == 2);
	assert_non_null(strstr(f->trouble, "clusters: is not a list"));
	put(f, "kubeconfig", CONFIG(SERVER, "", "token: t"));
	UNTIL(f->credentials == 1);
	assert_int_equal(f->targets, 1);
	assert_string_equal(f->server, SERVER);
	assert_string_equal(f->ca, "");
	assert_string_equal(f->bearer, "t");
	UNTIL(f->troubles == 3);
	assert_string_equal(f->trouble, "");
	assert_calm(f);
	/* One that breaks later leaves what was known. */
	put(f, "kubeconfig", "");
	UNTIL(f->troubles == 4);
	assert_non_null(api_files_config(f->files));
	assert_string_equal(api_files_credential(f->files)->bearer, "t");
	assert_int_equal(f->targets, 1);
	put(f, "kubeconfig", CONFIG(SERVER, "", "token: t"));
	UNTIL(f->troubles == 5);
	assert_int_equal(f->credentials, 1); /* the same */
}

static void what_rotates(void **state)
{
	struct fixture *f = *state;
	char path[128], link[128];

	/* The token is behind a link, as in a pod. */
	put(f, "1", "first\n");
	put(f, "2", "second\n");
	put(f, "ca.crt", PEM "one");
	ASSERT_OK(symlink("1", in_dir(f, path, "token")));
	put(f, "kubeconfig", CONFIG(SERVER, ", certificate-authority: ca.crt", "tokenFile: token"));
	start(f);
	UNTIL(f->credentials == 1);
	assert_string_equal(f->bearer, "first");
	assert_string_equal(f->ca, PEM "one");
	assert_calm(f);
	ASSERT_OK(symlink("2", in_dir(f, link, "new")));
	ASSERT_OK(rename(link, path));
	UNTIL(f->credentials == 2);
	assert_string_equal(f->bearer, "second");
	assert_int_equal(f->targets, 1);
	/* Another authority is another server, as far as anybody knows. */
	put(f, "ca.crt", PEM "two");
	UNTIL(f->credentials == 3);
	assert_int_equal(f->targets, 2);
	assert_string_equal(f->ca, PEM "two");
	/* A token that is gone for a moment takes nothing away. */
	ASSERT_OK(unlink(path));
	UNTIL(f->troubles == 1);
	assert_non_null(strstr(f->trouble, "Read tokenFile '"));
	assert_string_equal(api_files_credential(f->files)->bearer, "second");
}

static void another_server(void **state)
{
	struct fixture *f = *state;

	put(f, "kubeconfig", CONFIG(SERVER, "", "token: t"));
	start(f);
	UNTIL(f->credentials == 1);
	put(f, "kubeconfig", CONFIG("https://other", "", "token: t"));
	UNTIL(f->credentials == 2);
	assert_int_equal(f->targets, 2);
	assert_false(f->had_credential); /* That of the one is not shown to the other. */
	assert_string_equal(f->server, "https://other");
	put(f, "kubeconfig",
		CONFIG("https://other", ", insecure-skip-tls-verify: true", "token: t"));
	UNTIL(f->credentials == 3);
	put(f, "kubeconfig",
		CONFIG("https://other", ", insecure-skip-tls-verify: true, tls-server-name: n",
			"token: t"));
	UNTIL(f->credentials == 4);
	assert_int_equal(f->targets, 4);
	/* Nothing is taken while not all of it is good. */
	put(f, "kubeconfig", CONFIG(SERVER, "", "token: 'a b'"));
	UNTIL(f->troubles == 1);
	assert_string_equal(api_files_config(f->files)->cluster.server, "https://other");
	assert_int_equal(f->targets, 4);
}

static void too_long(void **state)
{
	struct fixture *f = *state;
	CLEAN(mem_freep) char *text = mem_zalloc(API_FILES_TEXTS_MAX + 2);

	memset(text, 'x', API_FILES_TEXTS_MAX + 1);
	put(f, "token", text);
	put(f, "kubeconfig", CONFIG(SERVER, "", "tokenFile: token"));
	start(f);
	UNTIL(f->troubles == 1);
	assert_string_equal(f->trouble, "Token, certificate and key have more than 57344 bytes");
	assert_int_equal(f->targets, 0);
	put(f, "token", "t");
	UNTIL(f->credentials == 1);
}

/* --- the plugin --- */

#define PLUGIN(print)                                                                              \
	"exec: {command: /bin/sh, args: [-c, 'echo >>\"$RUNS\"; " print "'], "                     \
	"apiVersion: client.authentication.k8s.io/v1}"
#define CREDENTIAL(status)                                                                         \
	"echo \"{\\\"kind\\\":\\\"ExecCredential\\\",\\\"apiVersion\\\":"                          \
	"\\\"client.authentication.k8s.io/v1\\\",\\\"status\\\":{" status "}}\""
#define TOKEN "\\\"token\\\":\\\"plugged\\\""

static off_t runs(struct fixture *f)
{
	char path[128];
	struct stat st;

	return stat(in_dir(f, path, "runs"), &st) < 0 ? 0 : st.st_size;
}

static void a_plugin_is_asked_seldom(void **state)
{
	struct fixture *f = *state;

	put(f, "kubeconfig", CONFIG(SERVER, "", PLUGIN(CREDENTIAL(TOKEN))));
	start_with(f,
		(struct api_files_options){
			.period_ns = PERIOD_NS, .retry_ns = PERIOD_NS, .doubt_ns = LONG_NS });
	UNTIL(f->credentials == 1);
	assert_string_equal(f->bearer, "plugged");
	assert_calm(f);
	assert_int_equal(runs(f), 1);
	/* A hundred 401s: it is asked once more at once, and not again before the pause is over. */
	for (int i = 0; i < 100; i++) {
		api_files_doubt(f->files);
		RUN_TURNS(f->event, 1);
	}
	UNTIL(f->credentials == 2); /* the same, but the requests wait for it */
	api_files_doubt(f->files);
	assert_calm(f);
	assert_int_equal(runs(f), 2);
	/* Another plugin is asked without a doubt. */
	put(f, "kubeconfig", CONFIG(SERVER, "", PLUGIN(": other; " CREDENTIAL(TOKEN))));
	UNTIL(runs(f) == 3);
}

static void doubts_have_a_pause_that_ends(void **state)
{
	struct fixture *f = *state;

	put(f, "kubeconfig", CONFIG(SERVER, "", "token: t"));
	start_with(f, (struct api_files_options){ .period_ns = LONG_NS, .doubt_ns = PERIOD_NS });
	UNTIL(f->credentials == 1);
	for (unsigned i = 2; i < 5; i++) {
		api_files_doubt(f->files);
		UNTIL(f->credentials == i);
	}
	/* What was changed meanwhile is seen by it, all of it. */
	put(f, "kubeconfig", CONFIG("https://other", "", "token: new"));
	api_files_doubt(f->files);
	UNTIL(f->credentials == 5);
	assert_string_equal(f->server, "https://other");
	assert_string_equal(f->bearer, "new");
}

static void a_plugin_that_is_no_good(void **state)
{
	struct fixture *f = *state;

	put(f, "kubeconfig", CONFIG(SERVER, "", PLUGIN("echo garbage")));
	start(f);
	UNTIL(f->troubles == 1);
	assert_string_equal(f->trouble, "Credential plugin '/bin/sh': It printed no JSON object");
	assert_int_equal(f->targets, 1);             /* The server is known ... */
	assert_null(api_files_credential(f->files)); /* ... and not who we are. */
	UNTIL(runs(f) >= 3);
	assert_int_equal(f->troubles, 1); /* said once */
	put(f, "kubeconfig", CONFIG(SERVER, "", PLUGIN(CREDENTIAL(TOKEN))));
	UNTIL(f->credentials == 1);
	assert_int_equal(f->targets, 1);
}

/* What ends soon is made anew without a 401. */
static void a_plugin_whose_word_ends(void **state)
{
	struct fixture *f = *state;

	put(f, "kubeconfig",
		CONFIG(SERVER, "",
			PLUGIN(CREDENTIAL(TOKEN
				",\\\"expirationTimestamp\\\":\\\"2020-01-01T00:00:00Z\\\""))));
	start(f);
	UNTIL(runs(f) >= 3);
	assert_int_equal(f->credentials, 1);
	assert_true(api_files_credential(f->files)->expiry_ns > 0);
}

/* --- what hangs --- */

static pid_t await_running(struct fixture *f)
{
	struct probe_status s;

	do {
		RUN_TURNS(f->event, 1);
		probe_status(f->probe, &s);
	} while (s.role.state != ROLE_RUNNING || s.role.pid == 0);
	return s.role.pid;
}

/* As a read from a disk that hangs: the probe cannot even be killed. No second one is spent on it. */
static void a_read_that_hangs(void **state)
{
	struct fixture *f = *state;
	struct probe_status s;
	pid_t held;

	put(f, "kubeconfig", CONFIG(SERVER, "", "token: t"));
	held = await_running(f);
	if (ptrace(PTRACE_SEIZE, held, NULL, PTRACE_O_TRACEEXIT) < 0) {
		assert_int_equal(errno, EPERM);
		print_message("SKIPPED: nobody may be traced here\n");
		skip();
	}
	ASSERT_OK(ptrace(PTRACE_INTERRUPT, held, NULL, NULL));
	start_with(f,
		(struct api_files_options){
			.period_ns = PERIOD_NS, .retry_ns = PERIOD_NS, .read_ns = PERIOD_NS });
	UNTIL(f->troubles == 1);
	assert_non_null(strstr(f->trouble, "The read hangs in the kernel"));
	do {
		RUN_TURNS(f->event, 1);
		probe_status(f->probe, &s);
	} while (s.role.abandoned == 0);
	(void)await_running(f); /* There is another one, ... */
	RUN_TURNS(f->event, 50);
	probe_status(f->probe, &s);
	assert_int_equal(s.late, 1); /* ... and it is not asked. */
	assert_int_equal(s.role.abandoned, 1);
	assert_int_equal(f->troubles, 1);
	ASSERT_OK(ptrace(PTRACE_DETACH, held, NULL, NULL));
	UNTIL(f->credentials == 1);
	UNTIL(f->troubles == 2);
	assert_string_equal(f->trouble, "");
}

static void nobody_to_read_it(void **state)
{
	struct fixture *f = *state;
	struct api_files_options options = {
		.event = f->event, .kubeconfig = f->path, .ops = &ops, .userdata = f
	};

	ASSERT_OK(api_files_new(&options, &f->files));
	UNTIL(f->troubles == 1);
	assert_non_null(strstr(f->trouble, "There is no probe"));
}

static void not_in_a_pod(void **state)
{
	struct fixture *f = *state;

	(void)unsetenv("KUBERNETES_SERVICE_HOST");
	start_with(f,
		(struct api_files_options){ .kubeconfig = API_FILES_IN_CLUSTER,
			.period_ns = PERIOD_NS,
			.retry_ns = PERIOD_NS });
	UNTIL(f->troubles == 1);
	assert_non_null(strstr(f->trouble, "Not in a pod"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_that_comes_later, setup, teardown),
		cmocka_unit_test_setup_teardown(what_rotates, setup, teardown),
		cmocka_unit_test_setup_teardown(another_server, setup, teardown),
		cmocka_unit_test_setup_teardown(too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(a_plugin_is_asked_seldom, setup, teardown),
		cmocka_unit_test_setup_teardown(doubts_have_a_pause_that_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(a_plugin_that_is_no_good, setup, teardown),
		cmocka_unit_test_setup_teardown(a_plugin_whose_word_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(a_read_that_hangs, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_to_read_it, setup, teardown),
		cmocka_unit_test_setup_teardown(not_in_a_pod, setup, teardown),
	};

	if (argc != 2)
		return 1;
	arg_probe = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
