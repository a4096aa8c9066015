/*
 * Where a runtime keeps its data, and how much room is left there. The directories are found without
 * a look at anybody's arguments: a database that the daemon has open lies in its root, the bundles of
 * its shims lie in its state. A full disk may also be why it does not run: then the defaults count.
 * The room itself is asked of the probe, since statfs(2) waits for a filesystem that hangs.
 */
#include <string.h>

#include "doctor/collect-internal.h"

#define FDS_MAX 4096 /* of one daemon: its database is among the first that it opens */

/* A file that a daemon has open for as long as it runs, by what stands behind its root. */
static const struct {
	enum evidence_daemon_kind kind;
	const char *file;
} databases[] = {
	{ DAEMON_CONTAINERD, "/io.containerd.metadata.v1.bolt/meta.db" },
	{ DAEMON_DOCKERD, "/volumes/metadata.db" },
	{ DAEMON_DOCKERD, "/network/files/local-kv.db" },
};

static void add_space(
	struct collect *c, uint32_t daemon, enum evidence_space_of of, const char *path, size_t len)
{
	struct evidence *e = c->evidence;
	const char *kept;
	uint32_t i;

	if (len == 0 || path[0] != '/' || e->space_count >= COLLECT_SPACES_MAX)
		return;
	kept = evidence_copy(e, path, len);
	for (i = 0; i < e->space_count; i++)
		if (str_eq(e->spaces[i].path, kept))
			return;
	i = evidence_add_space(e);
	if (i == EVIDENCE_NONE)
		return;
	e->spaces[i].of = of;
	e->spaces[i].daemon = daemon;
	e->spaces[i].path = kept;
}

static bool add_root_of_link(
	struct collect *c, uint32_t daemon, enum evidence_daemon_kind kind, const char *link)
{
	size_t len = strlen(link);

	for (size_t i = 0; i < ELEMENTS(databases); i++) {
		size_t tail = strlen(databases[i].file);

		if (databases[i].kind != kind || len <= tail ||
			!str_eq(link + len - tail, databases[i].file))
			continue;
		add_space(c, daemon, SPACE_ROOT, link, len - tail);
		return true;
	}
	return false;
}

static void add_root(struct collect *c, uint32_t daemon)
{
	const struct evidence_daemon *d = &c->evidence->daemons[daemon];
	int32_t pid = c->evidence->processes[d->process].pid, fd;
	char link[PROC_LINK_MAX];
	struct proc_walk walk;
	unsigned seen = 0;
	bool found = false;

	if (proc_walk_init(&walk, c->proc_fd, PROC_WALK_FDS, pid, 0) >= 0)
		while (!found && seen++ < FDS_MAX && proc_walk_next(&walk, &fd))
			found = proc_read_fd_link(c->proc_fd, pid, 0, fd, link, sizeof(link)) > 0 &&
				add_root_of_link(c, daemon, d->kind, link);
	proc_walk_done(&walk);
}

static void add_default_root(struct collect *c, uint32_t daemon)
{
	const struct evidence_daemon *d = &c->evidence->daemons[daemon];
	const char *path = NULL;

	if (d->kind == DAEMON_CONTAINERD &&
		strstr(d->endpoint, "///run/containerd/containerd.sock"))
		path = "/var/lib/containerd";
	else if (d->kind == DAEMON_DOCKERD && strstr(d->endpoint, "/run/docker.sock"))
		path = "/var/lib/docker";
	if (path)
		add_space(c, daemon, SPACE_ROOT, path, strlen(path));
}

static void add_state(struct collect *c, uint32_t daemon)
{
	const char *path = str_after(c->evidence->daemons[daemon].endpoint, "unix://");
	const char *end = path ? strrchr(path, '/') : NULL;

	if (end)
		add_space(c, daemon, SPACE_STATE, path, (size_t)(end - path));
}

void collect_spaces(struct collect *c)
{
	struct evidence *e = c->evidence;

	for (uint32_t i = 0; i < e->daemon_count; i++) {
		if (e->daemons[i].kind == DAEMON_KUBELET)
			continue;
		if (e->daemons[i].process != EVIDENCE_NONE)
			add_root(c, i);
		else
			add_default_root(c, i);
		add_state(c, i);
	}
	for (uint32_t i = 0; i < e->shim_count; i++) {
		const char *end = strstr(e->shims[i].bundle, "/io.containerd.");

		if (end)
			add_space(c, EVIDENCE_NONE, SPACE_STATE, e->shims[i].bundle,
				(size_t)(end - e->shims[i].bundle));
	}
	if (e->space_count > 0)
		add_space(c, EVIDENCE_NONE, SPACE_LOG, "/var/log/pods", strlen("/var/log/pods"));
}
