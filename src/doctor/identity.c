#include "doctor/identity.h"

#include "base/mem.h"

enum identity_kind identity_of_comm(const char *comm, enum evidence_daemon_kind *ret_daemon)
{
	static const struct {
		const char *name;
		enum evidence_daemon_kind kind;
	} daemons[] = {
		{ "containerd", DAEMON_CONTAINERD },
		{ "dockerd", DAEMON_DOCKERD },
		{ "crio", DAEMON_CRIO },
		{ "cri-dockerd", DAEMON_CRI_DOCKERD },
		{ "kubelet", DAEMON_KUBELET },
	};
	static const char *const runtimes[] = { "runc", "crun", "youki", "runsc" };
	const char *rest;

	for (size_t i = 0; i < ELEMENTS(daemons); i++)
		if (str_eq(comm, daemons[i].name)) {
			*ret_daemon = daemons[i].kind;
			return IDENTITY_DAEMON;
		}
	if (str_after(comm, "containerd-shim") || str_eq(comm, "conmon"))
		return IDENTITY_SHIM;
	for (size_t i = 0; i < ELEMENTS(runtimes); i++) {
		rest = str_after(comm, runtimes[i]);
		if (rest && (*rest == '\0' || *rest == ':')) /* "runc:[2:INIT]" */
			return IDENTITY_OCI_RUNTIME;
	}
	return IDENTITY_OTHER;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool identity_find_id(struct slice path, char ret[IDENTITY_ID_LEN + 1])
{
	size_t run = 0;

	for (size_t i = 0; i <= path.len; i++) {
		if (i < path.len && is_hex(path.data[i])) {
			run++;
			continue;
		}
		if (run == IDENTITY_ID_LEN) {
			memcpy(ret, path.data + i - IDENTITY_ID_LEN, IDENTITY_ID_LEN);
			ret[IDENTITY_ID_LEN] = '\0';
			return true;
		}
		run = 0;
	}
	return false;
}

bool identity_of_bundle(const char *cwd, struct slice *ret_namespace, struct slice *ret_id)
{
	static const char folder[] = "/io.containerd.runtime.v";
	const char *at = strstr(cwd, folder), *space, *id;

	if (!at)
		return false;
	space = strchr(at + 1, '/');
	id = space ? strchr(space + 1, '/') : NULL;
	if (!id || id == space + 1 || id[1] == '\0' || strchr(id + 1, '/'))
		return false;
	*ret_namespace = (struct slice){ space + 1, (size_t)(id - space - 1) };
	*ret_id = SLICE(id + 1);
	/* " (deleted)" stands behind the directory of a shim that outlived it. */
	at = strstr(id + 1, " (deleted)");
	if (at)
		ret_id->len = (size_t)(at - id - 1);
	return ret_id->len > 0;
}

bool identity_is_storage_path(const char *path)
{
	static const char *const marks[] = {
		"/io.containerd.runtime.v", /* root filesystems, and what is under them */
		"/io.containerd.grpc.v1.cri/sandboxes/",
		"/docker/overlay2/",
		"/docker/volumes/",
		"/docker/containers/",
		"/docker/plugins/",
		"/overlay-containers/",
		"/volumes/kubernetes.io~",
		"/volume-subpaths/",
		"/kubelet/plugins/kubernetes.io/",
	};
	const char *pods;

	for (size_t i = 0; i < ELEMENTS(marks); i++)
		if (strstr(path, marks[i]))
			return true;
	pods = strstr(path, "/pods/");
	return pods && strstr(pods, "/volumes/");
}

bool identity_wait_is_idle(const char *wchan)
{
	static const char *const parts[] = {
		"futex",   /* futex_wait_queue, futex_do_wait: a lock or a condition */
		"poll",    /* ep_poll, do_epoll_wait, poll_schedule_timeout, do_poll */
		"_select", /* do_select */
		"nanosleep",
		"do_wait", /* for a child; a daemon that has started another sits there for ever */
		"sigtimedwait", "sigsuspend", "sys_pause", "_accept",
		"wait_for_more_packets", /* accept() of a unix socket */
		"cqring_wait",           /* io_uring */
	};

	for (size_t i = 0; i < ELEMENTS(parts); i++)
		if (strstr(wchan, parts[i]))
			return true;
	return false;
}

static const char *socket_path(const char *s)
{
	const char *rest = str_after(s, "unix://");

	s = rest ? rest : s;
	return str_after(s, "/var/run/") ? s + 4 : s;
}

bool identity_same_socket(const char *a, const char *b)
{
	a = socket_path(a);
	b = socket_path(b);
	return a[0] != '\0' && str_eq(a, b);
}
