/*
 * The OCI runtime of a container: its processes, known by the cgroup they are in or by the id on
 * their command line, and its state, beside what the kernel says. All of it may hang: command lines
 * wait for a lock, and the state lies wherever its root is mounted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "kernel/proc-link.h"
#include "trace/look-internal.h"
#include "trace/oci-state.h"

#define CMDLINE_MAX    16384
#define STATE_PATH_MAX (TRACE_ROOT_MAX + LOOK_PATH_MAX)

/* ---- the state ------------------------------------------------------------------------------- */

/* As the shim was told, else where each puts it without being told. */
static void find_root(struct looker *l, char root[TRACE_ROOT_MAX])
{
	const struct trace_look *look = l->look;
	char path[LOOK_PATH_MAX], text[SHIM_FILE_MAX];
	int n;

	(void)look_bundle_file(path, look->shim.pid, look->id, "options.json");
	n = fd_read_small(AT_FDCWD, path, text, sizeof(text));
	if (n > 0 && oci_root_parse(text, (size_t)n, root) == 0)
		return;
	(void)str_format(root, TRACE_ROOT_MAX, "%s",
		str_eq(look->namespace, CONTAINERD_NAMESPACE_DOCKER) ? "/run/docker/runtime-runc"
								     : "/run/containerd/runc");
}

/* Pids that are written down in another pid namespace are no numbers of ours. */
static bool is_of_our_pids(struct looker *l)
{
	uint64_t ours, of_shim;

	return proc_read_ns(l->scan.proc_fd, getpid(), 0, PROC_NS_PID, &ours) == 0 &&
		proc_read_ns(l->scan.proc_fd, l->look->shim.pid, 0, PROC_NS_PID, &of_shim) == 0 &&
		ours == of_shim;
}

/* The file holds the container's whole configuration: nothing but two numbers of it is kept. */
static int read_state(int dir_fd, struct trace_oci_state *ret)
{
	char *text = mem_alloc(OCI_STATE_MAX);
	int r;

	if (!text)
		return -ENOMEM;
	r = fd_read_small(dir_fd, "state.json", text, OCI_STATE_MAX);
	if (r >= 0) {
		size_t len = (size_t)r;

		r = oci_state_parse(text, len, ret);
		explicit_bzero(text, len);
	}
	(void)mem_free(text);
	return r;
}

static void look_at_state(struct looker *l)
{
	struct trace_look *look = l->look;
	char path[STATE_PATH_MAX], root[TRACE_ROOT_MAX];
	struct trace_oci_state state;
	CLEAN_FD int dir_fd = -EBADF;
	int r;

	look->state_file = -ENOENT;
	if (look->shim.pid == 0 || look->namespace[0] == '\0')
		return;
	look_doing(l, "the state of the OCI runtime");
	find_root(l, root);
	(void)str_format(path, sizeof(path), "/proc/%d/root%s/%s/%s", look->shim.pid, root,
		look->namespace, look->id);
	dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0) {
		look->state_file = errno == ENOENT ? 0 : -errno;
		return;
	}
	r = read_state(dir_fd, &state);
	look->state_file = r >= 0 ? 1 : r == -ENOENT ? 0 : r;
	if (r < 0 || !is_of_our_pids(l))
		return;
	/* runc waits at this pipe until it is told to start, and then removes it. */
	state.is_created = faccessat(dir_fd, "exec.fifo", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	r = state.init_start_ticks > 0
		? proc_verify(l->scan.proc_fd,
			  (struct proc_id){ state.init_pid, state.init_start_ticks })
		: 0;
	state.is_alive = r == 0;
	look->oci_state = state;
	look->has_oci_state = true;
}

/* ---- its processes --------------------------------------------------------------------------- */

/* Only whether the id is in it: the words themselves are nobody's business. */
static bool names_container(struct looker *l, const struct look_entry *e)
{
	char path[32], text[CMDLINE_MAX];
	bool is_named;
	int n;

	look_doing(l, FMT("the command line of %s, pid %d", e->comm, e->pid));
	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", e->pid);
	n = fd_read_small(AT_FDCWD, path, text, sizeof(text));
	if (n < 0)
		return false;
	is_named = memmem(text, (size_t)n, l->look->id, strlen(l->look->id));
	explicit_bzero(text, sizeof(text));
	return is_named;
}

void look_at_oci(struct looker *l)
{
	struct trace_look *look = l->look;

	look_at_state(l);
	for (size_t i = 0; i < l->scan.count && look->oci_count < TRACE_OCI_MAX; i++) {
		const struct look_entry *e = &l->scan.entries[i];

		if (!look_is_oci_runtime(e) || e->state == 'Z')
			continue;
		if (proc_is_in_cgroup(l->scan.proc_fd, e->pid, look->id) != 1 &&
			!names_container(l, e))
			continue;
		if (look_process(&l->scan, e, &look->oci[look->oci_count]) == 0)
			look->oci_count++;
	}
}
