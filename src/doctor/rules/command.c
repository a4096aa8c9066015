/*
 * Advised commands that have to reach the runtime that a finding is about. Each tool has a place of its
 * own where it looks; where the runtime is elsewhere, it is told.
 */
#include <string.h>

#include "base/str.h"
#include "doctor/rules/judge.h"

/* Where docker looks by itself. */
static bool is_place_of_docker(const char *endpoint)
{
	return str_eq(endpoint, "unix:///run/docker.sock") ||
		str_eq(endpoint, "unix:///var/run/docker.sock");
}

static bool is_place_of_crictl(const char *endpoint)
{
	return str_eq(endpoint, "unix:///run/containerd/containerd.sock") ||
		str_eq(endpoint, "unix:///run/crio/crio.sock") ||
		str_eq(endpoint, "unix:///run/cri-dockerd.sock");
}

/* Where pleg looks by itself, and where a package puts its daemon's socket. */
static bool is_known_place(const char *endpoint)
{
	return is_place_of_docker(endpoint) || is_place_of_crictl(endpoint);
}

/* NAME, or NAME OPTION ENDPOINT. */
static const char *with_endpoint(
	char out[COMMAND_WORDS], const char *name, const char *option, const char *endpoint)
{
	char quoted[COMMAND_WORDS - 64];

	if (*endpoint == '\0' || *shell_quote(quoted, sizeof(quoted), endpoint) == '\0')
		return str_format(out, COMMAND_WORDS, "%s", name);
	return str_format(out, COMMAND_WORDS, "%s %s %s", name, option, quoted);
}

const char *docker_command(const struct evidence_daemon *d, char out[COMMAND_WORDS])
{
	bool known = !d || d->kind != DAEMON_DOCKERD || is_place_of_docker(d->endpoint);

	return with_endpoint(out, "docker", "-H", known ? "" : d->endpoint);
}

const char *crictl_command(const struct evidence_daemon *d, char out[COMMAND_WORDS])
{
	bool known = !d || d->kind == DAEMON_DOCKERD || is_place_of_crictl(d->endpoint);

	return with_endpoint(out, "crictl", "-r", known ? "" : d->endpoint);
}

const char *pleg_runtime(const struct judge *j, char out[COMMAND_WORDS])
{
	const char *endpoint = "";

	for (uint32_t i = 0; i < j->e->daemon_count; i++)
		if (j->e->daemons[i].is_runtime)
			endpoint = j->e->daemons[i].endpoint;
	if (is_known_place(endpoint))
		endpoint = "";
	return with_endpoint(out, "", "--runtime", endpoint);
}

/* It is our umount that goes there, since a container need not have one. It reads /proc/self, which in
 * there is of another pid namespace. */
const char *umount_command(
	int32_t pid, const char *option, const char *place, char out[FINDING_COMMAND_MAX])
{
	if (pid > 0)
		return str_format(out, FINDING_COMMAND_MAX, "nsenter -t %d -p umount -N %d %s-- %s",
			pid, pid, option, place);
	return str_format(out, FINDING_COMMAND_MAX, "umount %s-- %s", option, place);
}

/* The last part of a cgroup's path that names a service; "" if none does. */
static const char *unit_of(const char *path, char out[UNIT_NAME])
{
	static const char suffix[] = ".service";

	out[0] = '\0';
	for (const char *at = path; *at;) {
		size_t len = strcspn(at, "/"), end = sizeof(suffix) - 1;

		if (len > end && len - end < UNIT_NAME && memcmp(at + len - end, suffix, end) == 0)
			(void)str_format(out, UNIT_NAME, "%.*s", (int)(len - end), at);
		at += len + (at[len] == '/');
	}
	return out;
}

/* Who starts runtimes; any other unit has one beside what it is for, and is not to be restarted for it. */
static bool is_of_runtimes(const char *unit)
{
	static const char *const names[] = { "containerd", "docker", "crio", "cri-o", "cri-docker",
		"kubelet", "k3s", "k0s", "rke2", "snap.microk8s.", "snap.docker." };

	for (size_t i = 0; i < ELEMENTS(names); i++)
		if (str_after(unit, names[i]))
			return true;
	return false;
}

const char *daemon_unit(const struct judge *j, const struct evidence_daemon *d, char out[UNIT_NAME])
{
	static const char *const units[] = {
		[DAEMON_CONTAINERD] = "containerd",
		[DAEMON_DOCKERD] = "docker",
		[DAEMON_CRIO] = "crio",
		[DAEMON_CRI_DOCKERD] = "cri-docker",
		[DAEMON_KUBELET] = "kubelet",
	};
	const struct evidence_process *p = process_at(j, d->process);

	if (p && is_of_runtimes(unit_of(p->cgroup, out)))
		return out;
	if (p && is_of_runtimes(unit_of(p->pids_path, out)))
		return out;
	/* By its name only where a package puts its socket: k3s, say, has a containerd of its own. */
	if ((size_t)d->kind >= ELEMENTS(units) || !units[d->kind] ||
		(*d->endpoint && !is_known_place(d->endpoint)))
		return "";
	return units[d->kind];
}
