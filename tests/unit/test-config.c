/* The configuration file: what it takes, and every way to get it wrong with the place it names. */
#include "unit.h"

#include <stdlib.h>
#include <unistd.h>

#include "agent/config.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"

#define HEAD "apiVersion: pleg.dev/v1\n"

static void defaults(void **state)
{
	CLEAN(config_done) struct config config;
	struct err e = { 0 };

	(void)state;
	ASSERT_OK(config_init(&config));
	ASSERT_OK(config_parse(&config, "f", HEAD, strlen(HEAD), &e));
	assert_string_equal(config.container_runtime_endpoint, "");
	assert_string_equal(config.control_socket, "/run/pleg/pleg.sock");
	assert_string_equal(config.metrics_address, "127.0.0.1:10269");
	assert_string_equal(config.http_address, "127.0.0.1:10270");
	assert_int_equal(config.relist_period_ns, NSEC_PER_SEC);
	assert_int_equal(config.relist_threshold_ns, 180 * NSEC_PER_SEC);
	assert_int_equal(config.runtime_request_timeout_ns, 120 * NSEC_PER_SEC);
	assert_int_equal(config.max_quarantined_percent, 20);
	assert_true(config.node_conditions);
	assert_false(config.node_taint);
	assert_int_equal(config.log_level, LOG_LEVEL_INFO);
}

static void every_key(void **state)
{
	static const char text[] = "# a comment\n" HEAD "containerRuntimeEndpoint: /run/x.sock\n"
				   "runtimeRequestTimeout: 1m30s\n"
				   "nodeStatusUpdateFrequency:\t10s # a tab between is YAML\n"
				   "nodeName: \"5\"\n"
				   "stateDir: /s\n"
				   "controlSocket: /run/c.sock\n"
				   "metricsAddress: \"\"\n"
				   "httpAddress: '[::1]:0'\n"
				   "httpTokenFile: /t\n"
				   "tlsCertFile: /c\n"
				   "tlsPrivateKeyFile: /k\n"
				   "relistPeriod: 250ms\n"
				   "relistThreshold: 8s\n"
				   "inspectTimeout: 1.5s\n"
				   "kubeconfig: /kc\n"
				   "nodeConditions: false\n"
				   "nodeTaint: False\n"
				   "maxQuarantinedShare: 35%\n"
				   "readyCalm: 0s\n"
				   "readyCalmMax: 1h\n"
				   "journalMaxAge: 1d12h\n"
				   "journalMaxBytes: 5Mi\n"
				   "logLevel: debug\n";
	CLEAN(config_done) struct config c;
	struct err e = { 0 };

	(void)state;
	ASSERT_OK(config_init(&c));
	if (config_parse(&c, "f", text, sizeof(text) - 1, &e) < 0)
		fail_msg("%s", e.text);
	assert_string_equal(c.container_runtime_endpoint, "unix:///run/x.sock");
	assert_int_equal(c.runtime_request_timeout_ns, 90 * NSEC_PER_SEC);
	assert_int_equal(c.node_status_update_frequency_ns, 10 * NSEC_PER_SEC);
	assert_string_equal(c.node_name, "5");
	assert_string_equal(c.state_dir, "/s");
	assert_string_equal(c.control_socket, "/run/c.sock");
	assert_string_equal(c.metrics_address, "");
	assert_string_equal(c.http_address, "[::1]:0");
	assert_string_equal(c.http_token_file, "/t");
	assert_string_equal(c.tls_cert_file, "/c");
	assert_string_equal(c.tls_private_key_file, "/k");
	assert_int_equal(c.relist_period_ns, 250 * NSEC_PER_MSEC);
	assert_int_equal(c.relist_threshold_ns, 8 * NSEC_PER_SEC);
	assert_int_equal(c.inspect_timeout_ns, 1500 * NSEC_PER_MSEC);
	assert_string_equal(c.kubeconfig, "/kc");
	assert_false(c.node_conditions);
	assert_false(c.node_taint);
	assert_int_equal(c.journal_max_age_ns, UINT64_C(36) * 3600 * NSEC_PER_SEC);
	assert_int_equal(c.journal_max_bytes, 5u << 20);
	assert_int_equal(c.max_quarantined_percent, 35);
	assert_int_equal(c.ready_calm_ns, 0);
	assert_int_equal(c.ready_calm_max_ns, 3600 * NSEC_PER_SEC);
	assert_int_equal(c.log_level, LOG_LEVEL_DEBUG);
}

static void json_is_yaml_too(void **state)
{
	static const char text[] = "{\"apiVersion\": \"pleg.dev/v1\", \"nodeName\": \"n1\"}";
	CLEAN(config_done) struct config c;

	(void)state;
	ASSERT_OK(config_init(&c));
	ASSERT_OK(config_parse(&c, "f", text, sizeof(text) - 1, NULL));
	assert_string_equal(c.node_name, "n1");
}

static void mistakes_name_their_place(void **state)
{
	static const struct {
		const char *text;
		const char *error; /* how it begins */
	} rows[] = {
		{ "", "f:1:1: apiVersion is missing; write 'apiVersion: pleg.dev/v1'" },
		{ "# only this\n", "f:1:1: apiVersion is missing" },
		{ "nodeName: n\n", "f:1:1: apiVersion is missing" },
		{ "pleg\n", "f:1:1: Must hold keys" },
		{ "- a\n", "f:1:1: Must hold keys" },
		{ "apiVersion: pleg.dev/v2\n",
			"f:1:13: apiVersion: this pleg knows only pleg.dev/v1" },
		{ "apiVersion:\n", "f:1:1: apiVersion: must be a text" },
		{ HEAD "nodeTaint: yes\n", "f:2:12: nodeTaint: must be true or false" },
		{ HEAD "nodeConditions:\n", "f:2:1: nodeConditions: must be true or false" },
		{ HEAD "nodeTaint: [true]\n", "f:2:12: nodeTaint: must be one value" },
		{ HEAD "nodeTaint: true\nnodeConditions: false\n",
			"f:2:12: nodeTaint: needs nodeConditions" },
		{ HEAD "relistperiod: 1s\n",
			"f:2:1: Unknown key 'relistperiod'; did you mean 'relistPeriod'?" },
		{ HEAD "relistTreshhold: 1s\n",
			"f:2:1: Unknown key 'relistTreshhold'; did you mean 'relistThreshold'?" },
		{ HEAD "colour: red\n",
			"f:2:1: Unknown key 'colour'; there are apiVersion, "
			"containerRuntimeEndpoint" },
		{ HEAD "a: 1\n", "f:2:1: Unknown key 'a'; there are" },
		{ HEAD "\"\": 1\n", "f:2:1: Unknown key ''; there are" },
		{ HEAD "nodeName: n\nnodeName: m\n",
			"f:3:1: nodeName: given twice, first in line 2" },
		{ HEAD "nodeName: [n]\n", "f:2:11: nodeName: must be one value, not a list" },
		{ HEAD "nodeName:\n  a: b\n", "f:3:3: nodeName: must be one value, not a list" },
		{ HEAD "nodeName: 5\n", "f:2:11: nodeName: must be a text; put it in quotes" },
		{ HEAD "nodeName: true\n", "f:2:11: nodeName: must be a text" },
		{ HEAD "nodeName: Upper\n", "f:2:11: nodeName: must be a node name" },
		{ HEAD "stateDir: var/lib\n", "f:2:11: stateDir: must be an absolute path" },
		{ HEAD "kubeconfig: in-Cluster\n",
			"f:2:13: kubeconfig: must be an absolute path, or in-cluster" },
		{ HEAD "journalMaxAge: 7\n",
			"f:2:16: journalMaxAge: must be a duration with its unit, such as 7d" },
		{ HEAD "journalMaxAge: 7 days\n",
			"f:2:16: journalMaxAge: not a duration; write it as 12h, 7d or 1d12h" },
		{ HEAD "journalMaxAge: 59m\n",
			"f:2:16: journalMaxAge: out of range; allowed is 1h0m0s to 8784h0m0s" },
		{ HEAD "relistPeriod: 1d\n", "f:2:15: relistPeriod: not a duration" },
		{ HEAD "journalMaxBytes: 64MB\n",
			"f:2:18: journalMaxBytes: not a number of bytes; write it as 64Mi" },
		{ HEAD "journalMaxBytes: 1.5Gi\n", "f:2:18: journalMaxBytes: not a number" },
		{ HEAD "journalMaxBytes: -1\n", "f:2:18: journalMaxBytes: not a number" },
		{ HEAD "journalMaxBytes: [1]\n", "f:2:18: journalMaxBytes: must be one value" },
		{ HEAD "journalMaxBytes: 4194303\n",
			"f:2:18: journalMaxBytes: out of range; allowed is 4Mi to 64Gi" },
		{ HEAD "journalMaxBytes: 99999999999Gi\n",
			"f:2:18: journalMaxBytes: out of range" },
		{ HEAD "stateDir: \"/a\\0b\"\n", "f:2:12: A NUL byte" },
		{ HEAD "relistPeriod: 5\n",
			"f:2:15: relistPeriod: must be a duration with its unit" },
		{ HEAD "relistPeriod: fast\n",
			"f:2:15: relistPeriod: not a duration; write it as" },
		{ HEAD "relistPeriod: Auto\n", "f:2:15: relistPeriod: not a duration" },
		{ HEAD "relistPeriod: auto\nrelistThreshold: 10s\n",
			"f:3:18: relistThreshold: must be longer than 10s" },
		{ HEAD "relistPeriod: 1ms\n",
			"f:2:15: relistPeriod: out of range; allowed is 100ms to 5m0s" },
		{ HEAD "relistPeriod: -5s\n", "f:2:15: relistPeriod: not a duration" },
		{ HEAD "relistPeriod: 99999999999999999999s\n",
			"f:2:15: relistPeriod: out of range" },
		{ HEAD "relistPeriod: 10s\nrelistThreshold: 10s\n",
			"f:3:18: relistThreshold: must be longer than relistPeriod" },
		{ HEAD "relistPeriod: 200s\n",
			"f:2:15: relistThreshold: must be longer than relistPeriod" },
		{ HEAD "readyCalm: 1h\n", "f:2:12: readyCalmMax: must not be below readyCalm" },
		{ HEAD "maxQuarantinedShare: 20\n",
			"f:2:22: maxQuarantinedShare: must be a percentage" },
		{ HEAD "maxQuarantinedShare: 101%\n",
			"f:2:22: maxQuarantinedShare: allowed is 0% to 100%" },
		{ HEAD "maxQuarantinedShare: \"%\"\n",
			"f:2:22: maxQuarantinedShare: allowed is 0% to 100%" },
		{ HEAD "logLevel: loud\n",
			"f:2:11: logLevel: must be error, warning, info or debug" },
		{ HEAD "containerRuntimeEndpoint: tcp://x:1\n",
			"f:2:27: containerRuntimeEndpoint: must be a unix socket" },
		{ HEAD "containerRuntimeEndpoint: unix://\n",
			"f:2:27: containerRuntimeEndpoint: must be a unix socket" },
		{ HEAD "controlSocket: run/pleg.sock\n",
			"f:2:16: controlSocket: must be an absolute path of at most 107" },
		{ HEAD "httpAddress: 127.0.0.1\n",
			"f:2:14: httpAddress: must be an address such as" },
		{ HEAD "httpAddress: 127.0.0.1:99999\n",
			"f:2:14: httpAddress: must be an address" },
		{ HEAD "httpAddress: \"::1:80\"\n", "f:2:14: httpAddress: must be an address" },
		{ HEAD "httpAddress: localhost:80\n", "f:2:14: httpAddress: must be an address" },
		{ HEAD "httpAddress: \":80\"\n", "f:2:14: httpAddress: must be an address" },
		{ HEAD "httpAddress: \"[]:80\"\n", "f:2:14: httpAddress: must be an address" },
		{ HEAD "metricsAddress: \"[127.0.0.1]:80\"\n",
			"f:2:17: metricsAddress: must be an address" },
		{ HEAD "tlsCertFile: /c\n",
			"f:2:14: tlsCertFile and tlsPrivateKeyFile: one is of" },
		{ HEAD "  nodeName: n\n", "f:1:13: Not valid YAML" },
		{ HEAD "\tnodeName: n\n", "f:2:1: A tab in the indentation" },
		{ HEAD "nodeName: n\n  \tx: 1\n", "f:3:3: A tab in the indentation" },
		{ HEAD "nodeName: \"n\n", "f:2:12: Not valid YAML" },
		{ HEAD "nodeName: [n\n", "f:2:11: nodeName: must be one value" },
		{ HEAD "nodeName: {\n", "f:2:11: nodeName: must be one value" },
		{ HEAD "nodeName: &a n\nkubeconfig: *a\n", "f:3:14: Aliases are not supported" },
		{ HEAD "nodeName: !!str n\n", "f:2:17: Tags are not supported" },
		{ HEAD "? [a]\n: b\n", "f:2:3: A key must be a plain word" },
		{ HEAD "---\n" HEAD, "f:2:1: A second document" },
		{ HEAD "nodeName: a\x01z\n", "f:2:12: Byte 0x01 is not printable UTF-8" },
		{ HEAD "nodeName: a\xffz\n", "f:2:12: Byte 0xff is not printable UTF-8" },
		{ HEAD "nodeName: a\xe2\x82\n", "f:2:12: Byte 0xe2 is not printable UTF-8" },
		{ HEAD "# \xe2\x82\xac is fine\ncolor: 1\n", "f:3:1: Unknown key 'color'" },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		CLEAN(config_done) struct config config;
		struct err e = { 0 };
		int r;

		ASSERT_OK(config_init(&config));
		r = config_parse(&config, "f", rows[i].text, strlen(rows[i].text), &e);
		if (r != -EINVAL || !str_after(e.text, rows[i].error))
			fail_msg("row %zu: %d '%s', expected '%s'", i, r, e.text, rows[i].error);
	}
}

static void files(void **state)
{
	char path[] = "/tmp/pleg-test-config-XXXXXX";
	CLEAN(config_done) struct config config;
	struct err e = { 0 };
	int fd;

	(void)state;
	ASSERT_OK(config_init(&config));
	ASSERT_OK(config_load(&config, "/nonexistent/pleg.yaml", false, &e));
	ASSERT_ERR(config_load(&config, "/nonexistent/pleg.yaml", true, &e), ENOENT);
	assert_string_equal(e.text, "Read /nonexistent/pleg.yaml: No such file or directory");

	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, HEAD "nodeName: x\n", sizeof(HEAD "nodeName: x\n") - 1),
		sizeof(HEAD "nodeName: x\n") - 1);
	if (config_load(&config, path, true, &e) < 0)
		fail_msg("%s", e.text);
	assert_string_equal(config.node_name, "x");
	assert_int_equal(ftruncate(fd, CONFIG_FILE_MAX + 1), 0);
	ASSERT_ERR(config_load(&config, path, true, &e), EFBIG);
	(void)close(fd);
	(void)unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(every_key),
		cmocka_unit_test(json_is_yaml_too),
		cmocka_unit_test(mistakes_name_their_place),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
