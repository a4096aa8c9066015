#include "agent/kubelet-scan.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/yaml.h"

#define SCAN_COMM_MAX    64
#define SCAN_STATUS_MAX  16384
#define SCAN_CMDLINE_MAX (256u << 10)
#define SCAN_CONFIG_MAX  (1u << 20)

/* ---- the command line ---------------------------------------------------------------------- */

/* Value of "--NAME=value" or of "--NAME" "value", NULL if this argument is another one. */
static const char *scan_flag(const char *name, const char *argument, const char *next)
{
	const char *rest = str_after(argument, name);

	if (!rest)
		return NULL;
	if (*rest == '=')
		return rest + 1;
	return *rest == '\0' ? next : NULL;
}

static bool scan_port(const char *text, uint16_t *ret)
{
	uint64_t port;

	if (str_to_u64(text, &port) < 0 || port > UINT16_MAX)
		return false;
	*ret = (uint16_t)port;
	return true;
}

/* The socket of an endpoint; a bare path is what old kubelets also took. */
static void scan_endpoint(struct kubelet_scan *scan, const char *text)
{
	(void)snprintf(scan->endpoint, sizeof(scan->endpoint), "%s%s",
		text[0] == '/' ? "unix://" : "", text);
}

void kubelet_scan_cmdline(const char *cmdline, size_t len, struct kubelet_scan *scan,
	char *ret_config, size_t config_size)
{
	const char *end = cmdline + len, *argument = cmdline;

	while (argument < end) {
		const char *next = argument + strnlen(argument, (size_t)(end - argument)) + 1;
		const char *value, *following = next < end ? next : "";

		/* The last one given counts, as with the kubelet. */
		value = scan_flag("--container-runtime-endpoint", argument, following);
		if (value && *value) {
			scan_endpoint(scan, value);
			scan->endpoint_given = true;
		}
		value = scan_flag("--healthz-port", argument, following);
		if (value && scan_port(value, &scan->healthz_port))
			scan->port_given = true;
		value = scan_flag("--config", argument, following);
		if (value)
			(void)snprintf(ret_config, config_size, "%s", value);
		argument = next;
	}
}

/* ---- its configuration --------------------------------------------------------------------- */

int kubelet_scan_config(const char *text, size_t len, struct kubelet_scan *scan)
{
	CLEAN(yaml_freep) struct yaml *yaml = NULL;
	struct yaml_item item;
	int r;

	r = yaml_new("kubelet configuration", text, len, &yaml, NULL);
	if (r < 0)
		return r;
	r = yaml_next(yaml, &item, NULL);
	if (r < 0 || item.type != YAML_MAPPING_START)
		return r < 0 ? r : -EINVAL;
	for (;;) {
		bool is_endpoint, is_port;

		r = yaml_next(yaml, &item, NULL);
		if (r < 0)
			return r;
		if (item.type != YAML_SCALAR)
			return item.type == YAML_MAPPING_END ? 0 : -EINVAL;
		is_endpoint =
			!scan->endpoint_given && str_eq(item.text, "containerRuntimeEndpoint");
		is_port = !scan->port_given && str_eq(item.text, "healthzPort");
		r = yaml_next(yaml, &item, NULL);
		if (r >= 0 && item.type == YAML_SCALAR && is_endpoint && item.len > 0)
			scan_endpoint(scan, item.text);
		if (r >= 0 && item.type == YAML_SCALAR && is_port)
			(void)scan_port(item.text, &scan->healthz_port);
		if (r >= 0)
			r = yaml_skip(yaml, &item, NULL);
		if (r < 0)
			return r;
	}
}

/* The path as the kubelet sees it; a kubelet whose root we may not enter shares ours. */
static int scan_read_config(
	const char *proc, int pid, const char *path, char **ret, size_t *ret_len)
{
	char at[4096 + 64];
	int r;

	(void)snprintf(
		at, sizeof(at), "%s/%d/%s/%s", proc, pid, path[0] == '/' ? "root" : "cwd", path);
	r = fd_read_file(at, SCAN_CONFIG_MAX, ret, ret_len);
	if (r < 0 && path[0] == '/')
		r = fd_read_file(path, SCAN_CONFIG_MAX, ret, ret_len);
	return r;
}

/* ---- the process --------------------------------------------------------------------------- */

/* Anybody can call a process kubelet, and what it says decides where the agent connects to: only
 * root's counts, or our own user's where we are not root. */
static bool scan_is_trusted(const char *status)
{
	const char *line = strstr(status, "\nUid:\t");
	unsigned real, effective;

	if (!line || sscanf(line, "\nUid: %u %u", &real, &effective) != 2)
		return false;
	return (real == 0 || real == geteuid()) && (effective == 0 || effective == geteuid());
}

static bool scan_is_kubelet(const char *proc, const char *pid)
{
	CLEAN(mem_freep) char *comm = NULL, *status = NULL;
	char path[300];
	const char *nspid;

	(void)snprintf(path, sizeof(path), "%s/%s/comm", proc, pid);
	if (fd_read_file(path, SCAN_COMM_MAX, &comm, NULL) < 0 || !str_eq(comm, "kubelet\n"))
		return false;
	/* One in a pid namespace below ours is another node's (a cluster in containers). */
	(void)snprintf(path, sizeof(path), "%s/%s/status", proc, pid);
	if (fd_read_file(path, SCAN_STATUS_MAX, &status, NULL) < 0 || !scan_is_trusted(status))
		return false;
	nspid = strstr(status, "\nNSpid:\t");
	if (!nspid)
		return true;
	nspid += strlen("\nNSpid:\t");
	return nspid[strcspn(nspid, "\t\n")] != '\t';
}

static int scan_find(const char *proc)
{
	DIR *dir = opendir(proc);
	struct dirent *entry;
	uint64_t best = 0;

	if (!dir)
		return 0;
	while ((entry = readdir(dir)) != NULL) {
		uint64_t pid;

		if (str_to_u64(entry->d_name, &pid) < 0 || pid > INT32_MAX)
			continue;
		if ((best == 0 || pid < best) && scan_is_kubelet(proc, entry->d_name))
			best = pid;
	}
	(void)closedir(dir);
	return (int)best;
}

void kubelet_scan(const char *proc, struct kubelet_scan *ret)
{
	CLEAN(mem_freep) char *cmdline = NULL, *text = NULL;
	char path[4096], config[4096] = "";
	size_t len = 0;
	int r;

	*ret = (struct kubelet_scan){ .healthz_port = KUBELET_HEALTHZ_PORT };
	ret->pid = scan_find(proc);
	if (ret->pid == 0)
		return;
	scan_endpoint(ret, KUBELET_ENDPOINT_DEFAULT);

	(void)snprintf(path, sizeof(path), "%s/%d/cmdline", proc, ret->pid);
	r = fd_read_file(path, SCAN_CMDLINE_MAX, &cmdline, &len);
	if (r < 0) {
		(void)snprintf(ret->note, sizeof(ret->note), "Its command line cannot be read: %s",
			err_text(NULL, r));
		return;
	}
	kubelet_scan_cmdline(cmdline, len, ret, config, sizeof(config));
	if (config[0] == '\0')
		return;
	r = scan_read_config(proc, ret->pid, config, &text, &len);
	if (r >= 0)
		r = kubelet_scan_config(text, len, ret);
	if (r < 0)
		(void)snprintf(ret->note, sizeof(ret->note),
			"Its configuration %.150s cannot be read: %s", config, err_text(NULL, r));
}
