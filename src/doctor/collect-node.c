/* What is of the node and of nobody: pressure, hung tasks, the host's mounts, FUSE connections,
 * listening sockets. All of it before the processes, since some decides what is looked at there. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "doctor/collect-internal.h"
#include "kernel/fuse.h"
#include "kernel/kmsg.h"
#include "kernel/pressure.h"

#define HUNG_LINES_MAX 64u

static void read_pressure(struct collect *c)
{
	struct evidence_node *node = &c->evidence->node;
	struct pressure cpu, memory, io;

	if (pressure_read(c->proc_fd, "cpu", &cpu) < 0 ||
		pressure_read(c->proc_fd, "memory", &memory) < 0 ||
		pressure_read(c->proc_fd, "io", &io) < 0) {
		evidence_add_small_gap(
			c->evidence, "pressure", "this kernel does not keep it", "boot with psi=1");
		return;
	}
	node->has_pressure = true;
	node->cpu_some = cpu.some_avg10;
	node->memory_full = memory.full_avg10;
	node->io_full = io.full_avg10;
}

/* The log is read only when the counter says that there is something, or there is no counter. */
static void read_hung(struct collect *c)
{
	struct evidence *e = c->evidence;
	struct kmsg_hung found[HUNG_LINES_MAX];
	bool has_count = fd_read_u64(AT_FDCWD, "/proc/sys/kernel/hung_task_detect_count",
				 &e->node.hung_tasks) == 0;
	int n;

	if (has_count && e->node.hung_tasks == 0)
		return;
	n = kmsg_read_hung(found, ELEMENTS(found));
	if (n < 0) {
		evidence_add_small_gap(e, "hung-task lines",
			n == -EPERM || n == -EACCES ? "the kernel's log may not be read"
						    : "the kernel's log cannot be read",
			"CAP_SYSLOG, and /dev/kmsg");
		return;
	}
	for (int i = 0; i < n; i++) {
		uint32_t at = evidence_add_hung(e);

		if (at == EVIDENCE_NONE)
			return;
		e->hungs[at].comm = evidence_text(e, found[i].comm);
		e->hungs[at].tid = found[i].tid;
		e->hungs[at].seconds = found[i].seconds;
		e->hungs[at].age_ns = time_since(c->boot_ns, found[i].at_boot_ns);
	}
}

static void read_listeners(struct collect *c)
{
	int n;

	c->listeners = mem_array(COLLECT_LISTENERS_MAX, sizeof(*c->listeners));
	if (!c->listeners)
		return;
	n = unix_sockets_read(c->listeners, COLLECT_LISTENERS_MAX);
	if (n < 0) {
		evidence_add_small_gap(c->evidence, "accept queues of sockets",
			"the kernel does not tell (sock_diag)", "modprobe unix_diag");
		return;
	}
	c->listener_count = (uint32_t)n;
}

/* --- mounts of the host --- */

/* Pid 1's namespace is the host's where we see the host's processes; else ours is all there is. */
static int read_host_mounts(struct collect *c, char **ret_text, size_t *ret_len)
{
	struct evidence_node *node = &c->evidence->node;

	if (proc_read_ns(c->proc_fd, 1, 0, PROC_NS_MNT, &node->mount_ns) == 0 &&
		mountinfo_read(c->proc_fd, 1, 0, ret_text, ret_len) == 0)
		return 0;
	if (proc_read_ns(c->proc_fd, c->self_pid, 0, PROC_NS_MNT, &node->mount_ns) < 0)
		node->mount_ns = 0;
	return mountinfo_read(c->proc_fd, c->self_pid, 0, ret_text, ret_len);
}

static void read_mounts(struct collect *c)
{
	CLEAN(mem_freep) char *text = NULL;
	struct mountinfo_line line;
	size_t len = 0, at = 0;
	int r = read_host_mounts(c, &text, &len);

	if (r < 0) {
		evidence_add_gap(c->evidence, "mounts", "mountinfo cannot be read", "");
		return;
	}
	while ((r = mountinfo_next(text, len, &at, &line)) != 0) {
		if (r < 0)
			continue;
		c->evidence->node.mount_count++;
		if (line.major == 0 && fuse_is_type(line.type.data, line.type.len)) {
			uint32_t i, count = c->evidence->fuse_count;

			for (i = 0; i < count && c->evidence->fuses[i].minor != line.minor; i++)
				;
			if (i == count)
				(void)collect_add_mount(c, &line, c->evidence->node.mount_ns, 1);
		}
	}
	if (cgroup_parse_mounts(text, len, &c->cgroups) < 0)
		evidence_add_gap(c->evidence, "freezers", "no cgroup hierarchy is found", "");
}

/* --- FUSE --- */

static void open_fuse(struct collect *c)
{
	c->fuse_fd = fuse_open(&c->evidence->node.fusectl_mounted);
	if (c->fuse_fd >= 0 || c->fuse_fd == -ENODEV)
		return;
	evidence_add_gap(c->evidence, "FUSE connections",
		"fusectl is not mounted, and mounting it for us alone is not permitted",
		"mount -t fusectl none /sys/fs/fuse/connections");
}

/* Connections that nobody on the host has mounted count too: a container may have made one. */
static void look_for_waiters(struct collect *c)
{
	uint32_t minors[COLLECT_FUSES_MAX];
	int n = c->fuse_fd >= 0 ? fuse_list(c->fuse_fd, minors, ELEMENTS(minors)) : 0;

	for (int i = 0; i < n; i++) {
		uint64_t waiting;

		if (fuse_read_waiting(c->fuse_fd, minors[i], &waiting) == 0 && waiting > 0)
			c->fuse_waits = true;
	}
	if (c->fuse_fd < 0 && c->fuse_fd != -ENODEV)
		c->fuse_waits = true; /* Nobody can tell: all that sleep are looked at. */
}

enum collect_step collect_node(struct collect *c)
{
	switch (c->cursor++) {
	case 0:
		read_pressure(c);
		read_hung(c);
		if (!c->is_root)
			evidence_add_gap(c->evidence, "processes of others",
				"not run as root: their stacks, descriptors and mounts are hidden",
				"sudo");
		return COLLECT_MORE;
	case 1: read_listeners(c); return COLLECT_MORE;
	case 2: open_fuse(c); return COLLECT_MORE;
	case 3: look_for_waiters(c); return COLLECT_MORE;
	case 4: read_mounts(c); return COLLECT_MORE;
	}
	return COLLECT_NEXT;
}
