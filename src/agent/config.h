/*
 * The agent's configuration file. Reading is strict: whatever is not understood is an error that
 * names file, line and column and says what is allowed, since a typo in a key would otherwise be
 * found on the night it matters.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"

#define CONFIG_FILE_MAX    (256u << 10)
#define CONFIG_API_VERSION "pleg.dev/v1"

/* Strings are owned and never NULL: "" is not set, or for an address: off. */
struct config {
	char *container_runtime_endpoint; /* "unix:///path"; "": look for one */
	char *node_name;                  /* "": the host name */
	char *state_dir;                  /* "": off, nothing is to last */
	char *control_socket;
	char *metrics_address, *http_address;
	char *http_token_file, *tls_cert_file, *tls_private_key_file;
	char *kubeconfig;     /* or "in-cluster" */
	bool node_conditions; /* conditions and Events are written */
	bool node_taint;      /* the taint, too */
	uint64_t runtime_request_timeout_ns;
	uint64_t node_status_update_frequency_ns;
	uint64_t relist_period_ns, relist_threshold_ns, inspect_timeout_ns;
	bool relist_auto; /* relistPeriod: auto; the period is then the shortest one */
	uint64_t ready_calm_ns, ready_calm_max_ns;
	uint64_t doctor_calm_ns; /* between samples of evidence while all is well, at least */
	uint64_t max_quarantined_percent;
	uint64_t journal_max_age_ns, journal_max_bytes;
	enum log_level log_level;
};

/* Everything at its default. 0 or -ENOMEM; config_done() afterwards either way. */
int config_init(struct config *config);
void config_done(struct config *config);

/*
 * Reads `path` over what `config` holds. `must_exist`: else a missing file changes nothing. On
 * failure (-EINVAL, -ENOENT, -EFBIG ...) the content of `config` is undefined, but fit for
 * config_done().
 */
int config_load(struct config *config, const char *path, bool must_exist, struct err *reterr);

/* The same from memory; `name` stands for the file in errors. */
int config_parse(
	struct config *config, const char *name, const char *text, size_t len, struct err *reterr);

/* "unix:///path" or an absolute path becomes "unix:///path", owned. -EINVAL for anything else
 * (other schemes, too long for a socket). */
int config_endpoint(const char *text, char **ret_endpoint);
