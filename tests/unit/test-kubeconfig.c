/* Kubeconfigs good and bad, credentials behind them, watch lines, and what objects say. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "kube/credential.h"
#include "kube/kubeconfig.h"
#include "kube/lines.h"
#include "kube/object.h"

#define CLUSTER "clusters:\n- name: c\n  cluster:\n    server: https://h:6443\n"
#define CONTEXT                                                                                    \
	"contexts:\n- name: x\n  context: {cluster: c, user: u, namespace: n}\ncurrent-context: "  \
	"x\n"
#define TOKEN "users:\n- name: u\n  user: {token: secret}\n"

static int parse(const char *text, const char *context, struct kubeconfig **ret, struct err *e)
{
	return kubeconfig_parse("/dir/f", text, strlen(text), context, ret, e);
}

static void whole(void **state)
{
	CLEAN(kubeconfig_freep) struct kubeconfig *c = NULL;
	struct err e = { 0 };

	assert_int_equal(
		parse("apiVersion: v1\nkind: Config\ncurrent-context: x\nwhat: {a: [1]}\n"
		      "clusters:\n- name: other\n  cluster: {server: http://o}\n- name: c\n"
		      "  cluster:\n    server: https://h:6443\n    certificate-authority: ca.crt\n"
		      "    certificate-authority-data: LS0tLS1CRUdJTiA=\n    tls-server-name: t\n"
		      "    proxy-url: http://p:1\n    insecure-skip-tls-verify: false\n"
		      "users:\n- name: u\n  user:\n    client-certificate: /a/c.pem\n"
		      "    client-key-data: S0VZ\n    tokenFile: ../tok\n    exec:\n"
		      "      command: plug\n      args: [a, 'b c']\n      apiVersion: v\n"
		      "      interactiveMode: Never\n      env:\n      - {name: N, value: v=1}\n"
		      "contexts:\n- name: x\n  context: {cluster: c, user: u, namespace: n}\n",
			NULL, &c, &e),
		0);
	assert_string_equal(c->context, "x");
	assert_string_equal(c->ns, "n");
	assert_string_equal(c->cluster.server, "https://h:6443");
	assert_string_equal(c->cluster.ca_file, "/dir/ca.crt");
	assert_string_equal(c->cluster.ca_data, "-----BEGIN ");
	assert_string_equal(c->cluster.tls_server_name, "t");
	assert_string_equal(c->cluster.proxy_url, "http://p:1");
	assert_false(c->cluster.insecure);
	assert_string_equal(c->user.cert_file, "/a/c.pem");
	assert_string_equal(c->user.key_data, "KEY");
	assert_string_equal(c->user.token_file, "/dir/../tok");
	assert_string_equal(c->user.exec.command, "plug");
	assert_int_equal(c->user.exec.args.count, 2);
	assert_string_equal(c->user.exec.args.items[1], "b c");
	assert_string_equal(c->user.exec.env.items[0], "N=v=1");
	assert_string_equal(c->warnings, "/dir/f:4:1: Unknown field 'what' is ignored");
}

static void bad(void **state)
{
	static const struct {
		const char *text, *context, *says;
		int code;
	} cases[] = {
		{ CLUSTER TOKEN CONTEXT, "y", "/dir/f:1:1: No context 'y'; there are: x", -ENOENT },
		{ CLUSTER TOKEN, NULL,
			"/dir/f:1:1: No current-context, and none was asked for; there are: none",
			-ENOENT },
		{ TOKEN CONTEXT, NULL, "/dir/f:1:1: No cluster 'c'; there are: none", -ENOENT },
		{ CLUSTER CONTEXT, NULL, "/dir/f:1:1: No user 'u'; there are: none", -ENOENT },
		{ "clusters: 5\n", NULL, "/dir/f:1:11: clusters: is not a list", -EINVAL },
		{ "clusters:\n- name: c\n  cluster: {server: [a]}\n", NULL,
			"/dir/f:3:21: server: is not a text", -EINVAL },
		{ "clusters:\n- name: c\n  cluster: {insecure-skip-tls-verify: maybe}\n", NULL,
			"/dir/f:3:39: insecure-skip-tls-verify: is neither true nor false",
			-EINVAL },
		{ "users:\n- name: u\n  user: {client-key-data: '*'}\n", NULL,
			"/dir/f:3:27: client-key-data: is not the base64 of a text", -EINVAL },
		{ "users:\n- name: u\n  user: {exec: {args: [a]}}\n", NULL,
			"/dir/f:3:16: exec: has no command", -EINVAL },
		{ CLUSTER CONTEXT "users:\n- name: u\n  user: {token: t, as: root}\n", NULL,
			"/dir/f:1:1: The user of the context has 'as', which pleg cannot do",
			-EINVAL },
		{ "clusters:\n- name: c\n  cluster: {server: ftp://x}\n" TOKEN CONTEXT, NULL,
			"/dir/f:1:1: Cluster 'c' has no server that begins with https:// or "
			"http://",
			-EINVAL },
		{ "kind: Pod\n", NULL, "/dir/f:1:7: kind: is not Config", -EINVAL },
		{ "", NULL, "/dir/f:1:1: Is empty", -EINVAL },
	};

	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		struct kubeconfig *c = NULL;
		struct err e = { 0 };

		assert_int_equal(parse(cases[i].text, cases[i].context, &c, &e), cases[i].code);
		assert_string_equal(e.text, cases[i].says);
		assert_null(c);
	}
}

static void base64(void **state)
{
	static const struct {
		const char *text, *plain;
	} cases[] = { { "", "" }, { "YQ==", "a" }, { "YWI=", "ab" }, { "YW\nJj", "abc" },
		{ "YWJj ZGU=", "abcde" }, { "YQ=", NULL }, { "YQ", NULL }, { "====", NULL },
		{ "Y===", NULL }, { "YQ==YQ==", NULL }, { "\xff", NULL } };

	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		CLEAN(mem_freep) char *plain = NULL;
		size_t len = 0;
		int r = kube_base64_decode(cases[i].text, &plain, &len);

		assert_int_equal(r, cases[i].plain ? 0 : -EINVAL);
		if (cases[i].plain)
			assert_string_equal(plain, cases[i].plain);
	}
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fputs(text, f) >= 0, 1);
	assert_int_equal(fclose(f), 0);
}

/* A token that is replaced is read anew; when it ends is known. */
static void rotating(void **state)
{
	char dir[] = "/tmp/test-kubeconfig-XXXXXX", path[64], config_text[1024];
	CLEAN(kubeconfig_freep) struct kubeconfig *c = NULL;
	struct kube_credential cred = { 0 };
	struct err e = { 0 };

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/token", dir);
	(void)snprintf(config_text, sizeof(config_text),
		CLUSTER CONTEXT "users:\n- name: u\n  user: {tokenFile: '%s', token: old}\n", path);
	ASSERT_OK(parse(config_text, NULL, &c, &e));
	assert_int_equal(kube_credential_read(c, &cred, &e), -ENOENT);
	assert_non_null(strstr(e.text, path));
	put(path, "first\n");
	ASSERT_OK(kube_credential_read(c, &cred, &e));
	assert_string_equal(cred.bearer, "first");
	assert_int_equal(cred.expiry_ns, 0);
	kube_credential_done(&cred);
	put(path, "e30.eyJleHAiOjE3MDAwMDAwMDB9.sig"); /* {"exp":1700000000} */
	ASSERT_OK(kube_credential_read(c, &cred, &e));
	assert_true(cred.expiry_ns == INT64_C(1700000000) * (int64_t)NSEC_PER_SEC);
	kube_credential_done(&cred);
	put(path, "a\nX-Evil: b\n");
	assert_int_equal(kube_credential_read(c, &cred, &e), -EINVAL);
	put(path, " \n");
	assert_int_equal(kube_credential_read(c, &cred, &e), -ENODATA);
	(void)unlink(path);
	(void)rmdir(dir);
}

struct said {
	int r, calls;
	char text[512], bearer[64];
};

static void on_plugin(int r, struct kube_credential *c, const char *text, void *userdata)
{
	struct said *said = userdata;

	said->calls++;
	said->r = r;
	(void)snprintf(said->text, sizeof(said->text), "%s", text);
	if (c)
		(void)snprintf(said->bearer, sizeof(said->bearer), "%s", str_or_empty(c->bearer));
}

static void run_plugin(const char *script, uint64_t deadline_ns, struct said *said)
{
	char *args[] = { (char *)"-c", (char *)script };
	char *env[] = { (char *)"WORD=good" };
	struct kubeconfig c = { .user.exec = {
					.command = (char *)"/bin/sh",
					.args = { args, 2 },
					.env = { env, 1 },
				} };
	struct kube_plugin *p = NULL;
	sd_event *event = NULL;
	struct err e = { 0 };

	*said = (struct said){ 0 };
	ASSERT_OK(sd_event_new(&event));
	ASSERT_OK(kube_plugin_start(event, &c, deadline_ns, on_plugin, said, &p, &e));
	for (unsigned i = 0; i < 1000 && said->calls == 0; i++)
		ASSERT_OK(sd_event_run(event, 10 * 1000 * 1000));
	p = kube_plugin_free(p);
	assert_int_equal(said->calls, 1);
	(void)sd_event_unref(event);
}

#define CRED(status)                                                                               \
	"echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\","   \
	"\"status\":" status "}'"

static void plugins(void **state)
{
	struct said said;

	run_plugin("echo \"{\\\"kind\\\":\\\"ExecCredential\\\",\\\"apiVersion\\\":"
		   "\\\"client.authentication.k8s.io/"
		   "v1\\\",\\\"status\\\":{\\\"token\\\":\\\"$WORD\\\"}}\"",
		0, &said);
	assert_int_equal(said.r, 0);
	assert_string_equal(said.bearer, "good");
	/* What the service manager told the agent is not for it, nor that the agent is killed last. */
	ASSERT_OK(setenv("NOTIFY_SOCKET", "/nowhere", 1));
	ASSERT_OK(setenv("WATCHDOG_USEC", "1", 1));
	put("/proc/self/oom_score_adj", "1");
	run_plugin("read x </proc/self/oom_score_adj; "
		   "echo \"{\\\"kind\\\":\\\"ExecCredential\\\",\\\"apiVersion\\\":"
		   "\\\"client.authentication.k8s.io/v1\\\",\\\"status\\\":{\\\"token\\\":"
		   "\\\"none${NOTIFY_SOCKET}${WATCHDOG_USEC},$x\\\"}}\"",
		0, &said);
	assert_string_equal(said.bearer, "none,0");
	put("/proc/self/oom_score_adj", "0");
	run_plugin("exec sleep 1000", 50 * NSEC_PER_MSEC, &said);
	assert_int_equal(said.r, -ETIMEDOUT);
	assert_string_equal(said.text, "Credential plugin '/bin/sh': It did not end in time");
	run_plugin("echo garbage", 0, &said);
	assert_int_equal(said.r, -EINVAL);
	run_plugin("echo '{\"kind\":'; printf '\\377'", 0, &said);
	assert_int_equal(said.r, -EINVAL);
	run_plugin(CRED("{}"), 0, &said);
	assert_int_equal(said.r, -EINVAL);
	run_plugin(CRED("{\"token\":\"a b\"}"), 0, &said);
	assert_int_equal(said.r, -EINVAL);
	run_plugin("exit 3", 0, &said);
	assert_string_equal(said.text, "Credential plugin '/bin/sh': It ended with 3");
	run_plugin("exec yes", 0, &said);
	assert_int_equal(said.r, -EMSGSIZE);
}

static void lines(void **state)
{
	struct kube_lines l = KUBE_LINES_INIT(16);
	const char *line;
	size_t len;

	ASSERT_OK(kube_lines_add(&l, "{\"a\"", 4));
	assert_false(kube_lines_next(&l, &line, &len));
	ASSERT_OK(kube_lines_add(&l, ":1}\r\n\n{}\n{", 10));
	assert_true(kube_lines_next(&l, &line, &len));
	assert_int_equal(len, 7);
	assert_memory_equal(line, "{\"a\":1}", 7);
	assert_true(kube_lines_next(&l, &line, &len));
	assert_int_equal(len, 2);
	assert_false(kube_lines_next(&l, &line, &len));
	assert_int_equal(kube_lines_add(&l, "0123456789abcdef", 16), -EMSGSIZE);
	kube_lines_reset(&l);
	ASSERT_OK(kube_lines_add(&l, "0123456789abcde\n", 16));
	assert_true(kube_lines_next(&l, &line, &len));
	assert_int_equal(len, 15);
	kube_lines_done(&l);
}

static void objects(void **state)
{
	static const char text[] =
		"{\"kind\":\"Status\",\"message\":\"no\\u001b "
		"way\",\"reason\":\"Gone\",\"metadata\":{\"name\":\"n\","
		"\"deletionTimestamp\":\"1970-01-01T00:00:01Z\",\"finalizers\":[\"f\"],"
		"\"labels\":{\"a.b/c\":\"l\"},\"ownerReferences\":[{\"kind\":\"X\"},"
		"{\"kind\":\"DaemonSet\",\"controller\":true}]}}";
	json_t *o = kube_parse(text, sizeof(text) - 1);
	char status[KUBE_STATUS_TEXT];
	const char *reason;

	assert_non_null(o);
	assert_string_equal(kube_name(o), "n");
	assert_null(kube_namespace(o));
	assert_null(kube_resource_version(NULL));
	assert_true(kube_is_deleting(o));
	assert_true(kube_deletion_ns(o) == (int64_t)NSEC_PER_SEC);
	assert_int_equal(kube_finalizer_count(o), 1);
	assert_string_equal(kube_finalizer(o, 0), "f");
	assert_string_equal(kube_label(o, "a.b/c"), "l");
	assert_string_equal(kube_string(kube_controller(o), "kind"), "DaemonSet");
	assert_true(kube_status(o, status, &reason));
	assert_string_equal(status, "no? way");
	assert_string_equal(reason, "Gone");
	json_decref(o);
	assert_null(kube_parse("[]", 2));
	assert_null(kube_parse("{\"a\":\"\xc3\"}", 9));
	o = kube_parse("{\"metadata\":[]}", 15);
	assert_null(kube_name(o));
	assert_false(kube_status(o, status, &reason));
	json_decref(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole),
		cmocka_unit_test(bad),
		cmocka_unit_test(base64),
		cmocka_unit_test(rotating),
		cmocka_unit_test(plugins),
		cmocka_unit_test(lines),
		cmocka_unit_test(objects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
