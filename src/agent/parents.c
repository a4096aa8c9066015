#include "agent/parents.h"

#include <errno.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/table.h"
#include "base/time.h"
#include "kernel/proc.h"

#define SHIM_COMM "containerd-shim" /* the kernel cuts the rest off */

struct parent {
	struct parents *parents;
	int32_t pid; /* the key */
	uint64_t start_ticks;
	unsigned users;
	enum ledger_shim_state state;
	uint64_t looked_ns; /* 0: not since it was found */
};

struct parents {
	struct table table;
	int proc_fd;
};

static enum ledger_shim_state state_of(const struct proc_stat *stat)
{
	switch (stat->state) {
	case 'T':
	case 't': return LEDGER_SHIM_STOPPED;
	case 'Z':
	case 'X': return LEDGER_SHIM_ZOMBIE;
	default: return LEDGER_SHIM_ALIVE;
	}
}

static struct parent *parent_new(struct parents *parents, const struct proc_stat *stat)
{
	struct parent *shim = mem_zalloc(sizeof(*shim));

	if (!shim)
		return NULL;
	*shim = (struct parent){
		.parents = parents,
		.pid = stat->pid,
		.start_ticks = stat->start_ticks,
		.users = 1,
		.state = state_of(stat),
	};
	if (table_put(&parents->table, (const char *)&shim->pid, sizeof(shim->pid), shim) < 0)
		return mem_free(shim);
	return shim;
}

struct parent *parents_of(struct parents *parents, int32_t init_pid)
{
	struct proc_stat init, parent;
	struct parent *shim;

	if (proc_read_stat(parents->proc_fd, init_pid, 0, &init) < 0 || init.ppid <= 1 ||
		proc_read_stat(parents->proc_fd, init.ppid, 0, &parent) < 0)
		return NULL;
	/* A younger one has got the pid of a parent that ended meanwhile. */
	if (!str_after(parent.comm, SHIM_COMM) || parent.start_ticks > init.start_ticks)
		return NULL;
	shim = table_get(&parents->table, (const char *)&parent.pid, sizeof(parent.pid));
	if (!shim)
		return parent_new(parents, &parent);
	if (shim->start_ticks != parent.start_ticks)
		return NULL; /* The pid of one that is gone, and whose containers are still there. */
	shim->users++;
	return shim;
}

struct parent *parent_release(struct parent *shim)
{
	if (!shim || --shim->users > 0)
		return NULL;
	(void)table_remove(&shim->parents->table, (const char *)&shim->pid, sizeof(shim->pid));
	return mem_free(shim);
}

/* As often as 32 looks a second allow, but once in each rotation of the inits (10 s), or nearly. */
static uint64_t fresh_ns(const struct parents *parents)
{
	uint64_t ns = parents->table.used * (NSEC_PER_SEC / 32);

	return ns < SHIMS_FRESH_LEAST_NS ? SHIMS_FRESH_LEAST_NS : time_min(ns, SHIMS_FRESH_NS);
}

struct ledger_shim parent_look(struct parent *shim, uint64_t now_ns)
{
	struct proc_stat stat;
	int r;

	if (shim->state != LEDGER_SHIM_GONE &&
		(shim->looked_ns == 0 ||
			time_since(now_ns, shim->looked_ns) >= fresh_ns(shim->parents))) {
		shim->looked_ns = now_ns;
		r = proc_read_stat(shim->parents->proc_fd, shim->pid, 0, &stat);
		if (r >= 0 && stat.start_ticks == shim->start_ticks)
			shim->state = state_of(&stat);
		else if (r >= 0 || r == -ESRCH)
			shim->state = LEDGER_SHIM_GONE;
	}
	return (struct ledger_shim){ .pid = shim->pid, .state = shim->state };
}

int parents_new(uint32_t parents_max, struct parents **ret)
{
	CLEAN(parents_freep) struct parents *parents = mem_zalloc(sizeof(*parents));

	if (!parents)
		return -ENOMEM;
	parents->table = TABLE_INIT(parents_max);
	parents->proc_fd = proc_open();
	if (parents->proc_fd < 0)
		return parents->proc_fd;
	*ret = TAKE_PTR(parents);
	return 0;
}

struct parents *parents_free(struct parents *parents)
{
	if (!parents)
		return NULL;
	table_done(&parents->table);
	parents->proc_fd = fd_close(parents->proc_fd);
	return mem_free(parents);
}
