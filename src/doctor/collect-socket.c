/*
 * Daemons and shims: which listening sockets are theirs, and how long the queues before them are.
 * Found through their descriptors, so a daemon that is stopped, and a shim that containerd has
 * forgotten, are found as well as any.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/collect-internal.h"
#include "runtime/containerd.h"

static int compare_listeners(const void *a, const void *b)
{
	const struct unix_listener *x = a, *y = b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static const struct unix_listener *find_listener(const struct collect *c, uint64_t inode)
{
	const struct unix_listener key = { .inode = (uint32_t)inode };

	if (c->listener_count == 0 || inode > UINT32_MAX)
		return NULL;
	return bsearch(&key, c->listeners, c->listener_count, sizeof(key), compare_listeners);
}

/* --- daemons --- */

static const char *usual_socket(enum evidence_daemon_kind kind)
{
	switch (kind) {
	case DAEMON_CONTAINERD: return "/containerd.sock";
	case DAEMON_DOCKERD: return "/docker.sock";
	case DAEMON_CRIO: return "/crio.sock";
	case DAEMON_CRI_DOCKERD: return "/cri-dockerd.sock";
	case DAEMON_KUBELET:
	case DAEMON_OTHER: return "";
	}
	return "";
}

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), end_len = strlen(end);

	return end_len > 0 && len >= end_len && str_eq(s + len - end_len, end);
}

/* One that the facts have told of, by its socket or, if they name no process, by its kind. */
static uint32_t daemon_of(struct collect *c, const struct seen *s)
{
	struct evidence *e = c->evidence;
	uint32_t i;

	for (i = 0; i < e->daemon_count; i++)
		if (e->daemons[i].process == s->process)
			return i;
	for (i = 0; i < e->daemon_count; i++)
		if (e->daemons[i].process == EVIDENCE_NONE && !e->daemons[i].is_runtime &&
			e->daemons[i].kind == s->daemon_kind)
			break;
	if (i == e->daemon_count)
		i = evidence_add_daemon(e);
	if (i == EVIDENCE_NONE)
		return i;
	e->daemons[i].kind = s->daemon_kind;
	e->daemons[i].process = s->process;
	e->daemons[i].is_paused_by_freezer = e->processes[s->process].freezer != EVIDENCE_NONE;
	return i;
}

/* The daemon that was told of by its endpoint is this process: one entry of the two. */
static uint32_t merge_told(struct collect *c, uint32_t own, const char *name)
{
	struct evidence *e = c->evidence;

	for (uint32_t i = 0; i < e->daemon_count; i++) {
		struct evidence_daemon *told = &e->daemons[i];

		if (i == own || told->process != EVIDENCE_NONE ||
			!identity_same_socket(told->endpoint, name))
			continue;
		told->kind = e->daemons[own].kind;
		told->process = e->daemons[own].process;
		told->is_paused_by_freezer = e->daemons[own].is_paused_by_freezer;
		told->run_dir = e->daemons[own].run_dir;
		/* Nothing refers to the entry of its own yet: the last one takes its place. */
		e->daemons[own] = e->daemons[--e->daemon_count];
		return i == e->daemon_count ? own : i;
	}
	return own;
}

/* Two of dockerd's sockets lie where it keeps what does not outlive it. */
static void put_run_dir(struct collect *c, const struct seen *s, const char *name)
{
	static const char *const folders[] = { "/libnetwork/", "/metrics.sock" };
	uint32_t i = s->daemon_kind == DAEMON_DOCKERD ? daemon_of(c, s) : EVIDENCE_NONE;

	for (size_t k = 0; i != EVIDENCE_NONE && k < ELEMENTS(folders); k++) {
		const char *end = name[0] == '/' ? strstr(name, folders[k]) : NULL;

		if (end && end > name)
			c->evidence->daemons[i].run_dir =
				evidence_copy(c->evidence, name, (size_t)(end - name));
	}
}

static void put_daemon_socket(struct collect *c, struct seen *s, const struct unix_listener *l)
{
	struct evidence *e = c->evidence;
	bool is_endpoint = identity_same_socket(c->endpoint, l->name);
	uint32_t i;

	put_run_dir(c, s, l->name);
	if (!is_endpoint && !ends_with(l->name, usual_socket(s->daemon_kind)))
		return;
	i = daemon_of(c, s);
	if (i == EVIDENCE_NONE)
		return;
	i = merge_told(c, i, l->name);
	if (e->daemons[i].endpoint[0] != '\0' && !is_endpoint)
		return;
	e->daemons[i].is_runtime = e->daemons[i].is_runtime || is_endpoint;
	if (e->daemons[i].endpoint[0] == '\0')
		e->daemons[i].endpoint = evidence_text(e, FMT("unix://%s", l->name));
	e->daemons[i].has_queue = l->has_queue;
	e->daemons[i].accept_queue = l->waiting;
	e->daemons[i].backlog = l->backlog;
}

/* --- shims --- */

static uint32_t shim_of(struct collect *c, const struct seen *s)
{
	struct evidence *e = c->evidence;
	char cwd[PROC_LINK_MAX];
	uint32_t i;

	for (i = 0; i < e->shim_count; i++)
		if (e->shims[i].process == s->process)
			return i;
	i = evidence_add_shim(e);
	if (i == EVIDENCE_NONE)
		return i;
	e->shims[i].process = s->process;
	if (proc_read_link(c->proc_fd, s->pid, 0, PROC_LINK_CWD, cwd, sizeof(cwd)) > 0)
		e->shims[i].bundle = evidence_text(e, cwd);
	return i;
}

/* Its debug socket lies in the bundle; the one that answers has a name made of a hash. */
static void put_shim_socket(struct collect *c, struct seen *s, const struct unix_listener *l)
{
	struct evidence *e = c->evidence;
	uint32_t i = shim_of(c, s);

	if (i == EVIDENCE_NONE || l->name[0] == '\0' || ends_with(l->name, "/debug.sock") ||
		e->shims[i].address[0] != '\0')
		return;
	e->shims[i].address = l->name[0] == '@' ? evidence_text(e, FMT("unix://@%s", l->name + 1))
						: evidence_text(e, FMT("unix://%s", l->name));
	e->shims[i].has_queue = l->has_queue;
	e->shims[i].accept_queue = l->waiting;
	e->shims[i].backlog = l->backlog;
}

/* --- the walk --- */

/* The list of descriptors is given to whom what they lead to is not. */
static void add_denied(struct collect *c)
{
	evidence_add_gap(c->evidence, "sockets of daemons and shims", "not permitted",
		"run as root, with CAP_SYS_PTRACE");
}

static void look_at_fd(struct collect *c, struct seen *s, int32_t fd)
{
	const struct unix_listener *l;
	char link[64];
	uint64_t inode;
	int n = proc_read_fd_link(c->proc_fd, s->pid, 0, fd, link, sizeof(link));

	if (n == -EACCES || n == -EPERM)
		add_denied(c);
	if (n <= 0 || !proc_link_is_socket(link, &inode))
		return;
	l = find_listener(c, inode);
	if (!l)
		return;
	if (s->kind == IDENTITY_DAEMON)
		put_daemon_socket(c, s, l);
	else
		put_shim_socket(c, s, l);
}

/* Daemons and shims in a network namespace of their own: what listens there, once for each. */
static void add_net(struct collect *c, const struct seen *s)
{
	uint64_t ours = 0, net;
	int n;

	if (proc_read_ns(c->proc_fd, s->pid, 0, PROC_NS_NET, &net) < 0 ||
		proc_read_ns(c->proc_fd, c->self_pid, 0, PROC_NS_NET, &ours) < 0 || net == ours ||
		!c->listeners || c->net_count == COLLECT_NETS_MAX)
		return;
	for (uint32_t i = 0; i < c->net_count; i++)
		if (c->net_namespaces[i] == net)
			return;
	c->net_namespaces[c->net_count++] = net;
	n = unix_sockets_read_of(c->proc_fd, s->pid, c->listeners + c->listener_count,
		COLLECT_LISTENERS_MAX - c->listener_count);
	if (n <= 0)
		return;
	c->listener_count += (uint32_t)n;
	qsort(c->listeners, c->listener_count, sizeof(*c->listeners), compare_listeners);
}

static bool begin(struct collect *c, struct seen *s)
{
	int r;

	if ((s->kind != IDENTITY_DAEMON && s->kind != IDENTITY_SHIM) || s->process == EVIDENCE_NONE)
		return false;
	add_net(c, s);
	(void)(s->kind == IDENTITY_DAEMON ? daemon_of(c, s) : shim_of(c, s));
	r = proc_walk_init(&c->tasks, c->proc_fd, PROC_WALK_FDS, s->pid, 0);
	if (r == -EACCES || r == -EPERM)
		add_denied(c);
	return r >= 0;
}

static bool same_folder(const char *a, const char *b)
{
	const char *a_end = strrchr(a, '/'), *b_end = strrchr(b, '/');

	return a_end && b_end && a_end - a == b_end - b && memcmp(a, b, (size_t)(a_end - a)) == 0;
}

/* How surely this containerd is the one behind that dockerd; 0: nothing says so. */
static unsigned is_behind(const struct collect *c, const struct evidence_daemon *docker,
	const struct evidence_daemon *d)
{
	const struct evidence *e = c->evidence;

	if (d->kind != DAEMON_CONTAINERD || d->endpoint[0] == '\0')
		return 0;
	if (docker->process != EVIDENCE_NONE && d->process != EVIDENCE_NONE &&
		e->processes[d->process].ppid == e->processes[docker->process].pid)
		return 3; /* it has started it */
	if (same_folder(d->endpoint, docker->endpoint))
		return 2;
	return identity_same_socket(d->endpoint, "/run/containerd/containerd.sock") ? 1 : 0;
}

/* Behind dockerd stands a containerd, whose word on its tasks is a second one. */
static void ask_docker_containerd(struct collect *c)
{
	const struct evidence *e = c->evidence;
	const struct evidence_daemon *docker = NULL;
	uint32_t best = EVIDENCE_NONE;
	unsigned best_score = 0;

	for (uint32_t i = 0; i < e->daemon_count; i++)
		if (e->daemons[i].is_runtime && e->daemons[i].kind == DAEMON_DOCKERD)
			docker = &e->daemons[i];
	for (uint32_t i = 0; docker && i < e->daemon_count; i++) {
		unsigned score = is_behind(c, docker, &e->daemons[i]);

		if (score > best_score) {
			best = i;
			best_score = score;
		}
	}
	if (best != EVIDENCE_NONE)
		collect_runtime_tasks(c, e->daemons[best].endpoint, CONTAINERD_NAMESPACE_DOCKER);
}

/* A descriptor per step: a busy containerd has thousands. */
enum collect_step collect_sockets(struct collect *c)
{
	struct seen *s;
	int32_t fd;

	if (c->cursor == c->seen_count) {
		ask_docker_containerd(c);
		return COLLECT_NEXT;
	}
	if (c->cursor == 0 && c->cursor2 == 0 && c->listener_count > 0)
		qsort(c->listeners, c->listener_count, sizeof(*c->listeners), compare_listeners);
	s = &c->seen[c->cursor];
	if (!c->tasks_open) {
		c->cursor2 = 1;
		c->tasks_open = begin(c, s);
		if (!c->tasks_open)
			c->cursor++;
		return COLLECT_MORE;
	}
	if (proc_walk_next(&c->tasks, &fd) && c->cursor2++ < COLLECT_FDS_MAX) {
		look_at_fd(c, s, fd);
		return COLLECT_MORE;
	}
	proc_walk_done(&c->tasks);
	c->tasks_open = false;
	c->cursor2 = 1;
	c->cursor++;
	return COLLECT_MORE;
}
