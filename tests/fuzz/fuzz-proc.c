/*
 * The parsers of what the kernel room reads: stat, status, syscall, cgroup, mountinfo, cgroup files.
 * All of them get every input; what they believe must be whole and inside of it.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernel/cgroup.h"
#include "kernel/connector.h"
#include "kernel/proc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk_cgroup(const char *text, size_t size)
{
	struct proc_cgroup line;
	size_t at = 0, before = 0;

	while (proc_cgroup_next(text, size, &at, &line) > 0) {
		if (at <= before || at > size || line.path.len == 0 || line.path.data[0] != '/' ||
			line.path.data + line.path.len > text + size)
			__builtin_trap();
		before = at;
	}
	(void)proc_cgroup_contains(text, size, "3f2a");
	(void)proc_cgroup_left_v1(text, size);
}

static void walk_mounts(const char *text, size_t size)
{
	static const char where[] = "4:memory:/docker/3f2a\n0::/x\n";
	struct cgroup_mounts mounts;
	char path[CGROUP_PATH_MAX];

	if (cgroup_parse_mounts(text, size, &mounts) < 0)
		return;
	for (unsigned h = 0; h < CGROUP_HIERARCHIES; h++) {
		(void)cgroup_path(&mounts, text, size, (enum cgroup_hierarchy)h, path);
		if (cgroup_path(&mounts, where, sizeof(where) - 1, (enum cgroup_hierarchy)h,
			    path) == 0 &&
			!memchr(path, '\0', sizeof(path)))
			__builtin_trap();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	enum cgroup_freezer_state freezer;
	struct cgroup_events events;
	struct proc_syscall call;
	struct proc_status status;
	struct cgroup_oom oom;
	struct proc_stat stat;
	int32_t value;

	if (proc_parse_stat(text, size, &stat) == 0 &&
		(stat.pid <= 0 || !memchr(stat.comm, '\0', sizeof(stat.comm))))
		__builtin_trap();
	if (proc_parse_status(text, size, &status) == 0 && status.ns_levels > PROC_NS_LEVELS)
		__builtin_trap();
	(void)proc_parse_syscall(text, size, &call);
	walk_cgroup(text, size);
	walk_mounts(text, size);
	(void)cgroup_parse_events(text, size, &events);
	(void)cgroup_parse_memory_events(text, size, &oom);
	(void)cgroup_parse_oom_control(text, size, &oom);
	(void)cgroup_parse_freezer(text, size, &freezer);
	if (connector_parse(data, size, &value) == CONNECTOR_WORD_EXIT && value <= 0)
		__builtin_trap();
	return 0;
}
