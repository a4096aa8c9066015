#include "agent/kubelet-scan.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/yaml.h"
#include "kernel/proc.h"

#define SCAN_COMM_MAX    64
#define SCAN_STATUS_MAX  16384
#define SCAN_CMDLINE_MAX (256u << 10)
#define SCAN_CONFIG_MAX  (1u << 20)

#define SCAN_DROP_INS_MAX 64

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

/* The last one given counts, as with the kubelet. */
static void scan_flag_port(struct kubelet_scan *scan, const char *name, const char *argument,
	const char *next, enum kubelet_given given, uint16_t *ret)
{
	const char *value = scan_flag(name, argument, next);

	if (value && scan_port(value, ret))
		scan->given |= given;
}

static void scan_argument(struct kubelet_scan *scan, const char *argument, const char *next,
	struct kubelet_paths *paths)
{
	const char *value = scan_flag("--container-runtime-endpoint", argument, next);

	if (value && *value) {
		scan_endpoint(scan, value);
		scan->given |= KUBELET_GIVEN_ENDPOINT;
	}
	value = scan_flag("--healthz-bind-address", argument, next);
	if (value) {
		(void)snprintf(scan->healthz_address, sizeof(scan->healthz_address), "%s", value);
		scan->given |= KUBELET_GIVEN_HEALTHZ_ADDRESS;
	}
	scan_flag_port(scan, "--healthz-port", argument, next, KUBELET_GIVEN_HEALTHZ_PORT,
		&scan->healthz_port);
	scan_flag_port(scan, "--port", argument, next, KUBELET_GIVEN_PORT, &scan->port);
	scan_flag_port(scan, "--read-only-port", argument, next, KUBELET_GIVEN_READ_PORT,
		&scan->read_port);
	value = scan_flag("--config", argument, next);
	if (value)
		(void)snprintf(paths->config, sizeof(paths->config), "%s", value);
	value = scan_flag("--config-dir", argument, next);
	if (value)
		(void)snprintf(paths->dir, sizeof(paths->dir), "%s", value);
}

void kubelet_scan_cmdline(
	const char *cmdline, size_t len, struct kubelet_scan *scan, struct kubelet_paths *ret)
{
	const char *end = cmdline + len, *argument = cmdline;

	ret->config[0] = ret->dir[0] = '\0';
	while (argument < end) {
		const char *next = argument + strnlen(argument, (size_t)(end - argument)) + 1;

		scan_argument(scan, argument, next < end ? next : "", ret);
		argument = next;
	}
}

/* ---- its configuration --------------------------------------------------------------------- */

static void scan_value(struct kubelet_scan *scan, unsigned key, const char *text)
{
	switch ((enum kubelet_given)key) {
	case KUBELET_GIVEN_ENDPOINT: scan_endpoint(scan, text); return;
	case KUBELET_GIVEN_HEALTHZ_PORT: (void)scan_port(text, &scan->healthz_port); return;
	case KUBELET_GIVEN_HEALTHZ_ADDRESS:
		(void)snprintf(scan->healthz_address, sizeof(scan->healthz_address), "%s", text);
		return;
	case KUBELET_GIVEN_PORT: (void)scan_port(text, &scan->port); return;
	case KUBELET_GIVEN_READ_PORT: (void)scan_port(text, &scan->read_port); return;
	}
}

/* The key of its configuration that says the same as a flag; 0: no such key. */
static unsigned scan_key(const char *key)
{
	static const struct {
		const char *key;
		enum kubelet_given given;
	} keys[] = {
		{ "containerRuntimeEndpoint", KUBELET_GIVEN_ENDPOINT },
		{ "healthzPort", KUBELET_GIVEN_HEALTHZ_PORT },
		{ "healthzBindAddress", KUBELET_GIVEN_HEALTHZ_ADDRESS },
		{ "port", KUBELET_GIVEN_PORT },
		{ "readOnlyPort", KUBELET_GIVEN_READ_PORT },
	};

	for (size_t i = 0; i < ELEMENTS(keys); i++)
		if (str_eq(key, keys[i].key))
			return keys[i].given;
	return 0;
}

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
		unsigned key;

		r = yaml_next(yaml, &item, NULL);
		if (r < 0)
			return r;
		if (item.type != YAML_SCALAR)
			return item.type == YAML_MAPPING_END ? 0 : -EINVAL;
		key = scan_key(item.text) & ~scan->given;
		r = yaml_next(yaml, &item, NULL);
		if (r >= 0 && key != 0 && item.type == YAML_SCALAR && item.len > 0)
			scan_value(scan, key, item.text);
		if (r >= 0)
			r = yaml_skip(yaml, &item, NULL);
		if (r < 0)
			return r;
	}
}

/* The path as the kubelet sees it; a kubelet whose root we may not enter shares ours. */
static void scan_path(const char *proc, int pid, const char *path, char out[2 * KUBELET_PATH_MAX])
{
	(void)snprintf(out, 2 * KUBELET_PATH_MAX, "%s/%d/%s/%s", proc, pid,
		path[0] == '/' ? "root" : "cwd", path);
	if (path[0] == '/' && access(out, F_OK) < 0)
		(void)snprintf(out, 2 * KUBELET_PATH_MAX, "%s", path);
}

static int scan_file(struct kubelet_scan *scan, const char *path)
{
	CLEAN(mem_freep) char *text = NULL;
	size_t len = 0;
	int r = fd_read_file(path, SCAN_CONFIG_MAX, &text, &len);

	return r < 0 ? r : kubelet_scan_config(text, len, scan);
}

static int is_drop_in(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > strlen(".conf") && str_eq(entry->d_name + len - strlen(".conf"), ".conf");
}

/* In the order of their names, each over those before it. */
static int scan_drop_ins(struct kubelet_scan *scan, const char *dir)
{
	struct dirent **entries = NULL;
	int n = scandir(dir, &entries, is_drop_in, alphasort), r = n < 0 ? -errno : 0;
	char path[2 * KUBELET_PATH_MAX + 256];

	for (int i = 0; i < n; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
		if (r >= 0 && i < SCAN_DROP_INS_MAX)
			r = scan_file(scan, path);
		free(entries[i]); /* allowed: scandir's */
	}
	free(entries); /* allowed: scandir's */
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

static uint64_t scan_start(const char *proc, int pid)
{
	CLEAN(mem_freep) char *text = NULL;
	struct proc_stat stat;
	char path[300];
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "%s/%d/stat", proc, pid);
	if (fd_read_file(path, SCAN_STATUS_MAX, &text, &len) < 0)
		return 0;
	return proc_parse_stat(text, len, &stat) < 0 ? 0 : stat.start_ticks;
}

const char *kubelet_scan_healthz_host(const struct kubelet_scan *scan)
{
	const char *address = scan->healthz_address;

	if (str_eq(address, "::1"))
		return "::1";
	if (address[0] == '\0' || str_eq(address, "0.0.0.0") || str_eq(address, "::") ||
		str_after(address, "127."))
		return str_after(address, "127.") ? address : "127.0.0.1";
	return NULL;
}

static void scan_note(struct kubelet_scan *scan, const char *what, const char *path, int r)
{
	(void)snprintf(scan->note, sizeof(scan->note), "Its %s %.150s cannot be read: %s", what,
		path, err_text(NULL, r));
}

void kubelet_scan(const char *proc, struct kubelet_scan *ret)
{
	CLEAN(mem_freep) struct kubelet_paths *paths = mem_zalloc(sizeof(*paths));
	CLEAN(mem_freep) char *cmdline = NULL;
	char path[2 * KUBELET_PATH_MAX];
	size_t len = 0;
	int r;

	*ret = KUBELET_SCAN_DEFAULT;
	ret->pid = scan_find(proc);
	if (ret->pid == 0 || !paths)
		return;
	ret->start_ticks = scan_start(proc, ret->pid);
	scan_endpoint(ret, KUBELET_ENDPOINT_DEFAULT);

	(void)snprintf(path, sizeof(path), "%s/%d/cmdline", proc, ret->pid);
	r = fd_read_file(path, SCAN_CMDLINE_MAX, &cmdline, &len);
	if (r < 0) {
		(void)snprintf(ret->note, sizeof(ret->note), "Its command line cannot be read: %s",
			err_text(NULL, r));
		return;
	}
	kubelet_scan_cmdline(cmdline, len, ret, paths);
	/* With a file the port without credentials is off unless it is asked for. */
	if ((paths->config[0] || paths->dir[0]) && !(ret->given & KUBELET_GIVEN_READ_PORT))
		ret->read_port = 0;
	if (paths->config[0] != '\0') {
		scan_path(proc, ret->pid, paths->config, path);
		r = scan_file(ret, path);
		if (r < 0)
			scan_note(ret, "configuration", paths->config, r);
	}
	if (paths->dir[0] != '\0') {
		scan_path(proc, ret->pid, paths->dir, path);
		r = scan_drop_ins(ret, path);
		if (r < 0)
			scan_note(ret, "configuration in", paths->dir, r);
	}
}
