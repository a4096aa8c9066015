#include "agent/shims.h"

#include <errno.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/table.h"
#include "base/time.h"
#include "kernel/proc.h"

#define SHIM_COMM "containerd-shim" /* the kernel cuts the rest off */

struct shim {
	struct shims *shims;
	int32_t pid; /* the key */
	uint64_t start_ticks;
	unsigned users;
	enum ledger_shim_state state;
	uint64_t looked_ns; /* 0: not since it was found */
};

struct shims {
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

static struct shim *shim_new(struct shims *shims, const struct proc_stat *stat)
{
	struct shim *shim = mem_zalloc(sizeof(*shim));

	if (!shim)
		return NULL;
	*shim = (struct shim){
		.shims = shims,
		.pid = stat->pid,
		.start_ticks = stat->start_ticks,
		.users = 1,
		.state = state_of(stat),
	};
	if (table_put(&shims->table, (const char *)&shim->pid, sizeof(shim->pid), shim) < 0)
		return mem_free(shim);
	return shim;
}

struct shim *shims_of(struct shims *shims, int32_t init_pid)
{
	struct proc_stat init, parent;
	struct shim *shim;

	if (proc_read_stat(shims->proc_fd, init_pid, 0, &init) < 0 || init.ppid <= 1 ||
		proc_read_stat(shims->proc_fd, init.ppid, 0, &parent) < 0)
		return NULL;
	/* A younger one has got the pid of a parent that ended meanwhile. */
	if (!str_after(parent.comm, SHIM_COMM) || parent.start_ticks > init.start_ticks)
		return NULL;
	shim = table_get(&shims->table, (const char *)&parent.pid, sizeof(parent.pid));
	if (!shim)
		return shim_new(shims, &parent);
	if (shim->start_ticks != parent.start_ticks)
		return NULL; /* The pid of one that is gone, and whose containers are still there. */
	shim->users++;
	return shim;
}

struct shim *shim_release(struct shim *shim)
{
	if (!shim || --shim->users > 0)
		return NULL;
	(void)table_remove(&shim->shims->table, (const char *)&shim->pid, sizeof(shim->pid));
	return mem_free(shim);
}

struct ledger_shim shim_look(struct shim *shim, uint64_t now_ns)
{
	struct proc_stat stat;
	int r;

	if (shim->state != LEDGER_SHIM_GONE &&
		(shim->looked_ns == 0 || time_since(now_ns, shim->looked_ns) >= SHIMS_FRESH_NS)) {
		shim->looked_ns = now_ns;
		r = proc_read_stat(shim->shims->proc_fd, shim->pid, 0, &stat);
		if (r >= 0 && stat.start_ticks == shim->start_ticks)
			shim->state = state_of(&stat);
		else if (r >= 0 || r == -ESRCH)
			shim->state = LEDGER_SHIM_GONE;
	}
	return (struct ledger_shim){ .pid = shim->pid, .state = shim->state };
}

int shims_new(uint32_t shims_max, struct shims **ret)
{
	CLEAN(shims_freep) struct shims *shims = mem_zalloc(sizeof(*shims));

	if (!shims)
		return -ENOMEM;
	shims->table = TABLE_INIT(shims_max);
	shims->proc_fd = proc_open();
	if (shims->proc_fd < 0)
		return shims->proc_fd;
	*ret = TAKE_PTR(shims);
	return 0;
}

struct shims *shims_free(struct shims *shims)
{
	if (!shims)
		return NULL;
	table_done(&shims->table);
	shims->proc_fd = fd_close(shims->proc_fd);
	return mem_free(shims);
}
