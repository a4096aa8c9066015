#include "agent/groups.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/table.h"
#include "kernel/cgroup-watch.h"
#include "runtime/hint.h"

#define GROUPS_SHARE 8 /* one watch for so many descriptors of the hard limit */

struct group {
	struct groups *groups;
	struct cgroup_watch *watch;
	char id[HINT_ID_MAX + 1]; /* the key */
};

struct groups {
	struct groups_options options;
	struct table table;
	uint64_t refused;
	int error; /* last told in the log */
	char why[160];
};

/* ---- what is read ------------------------------------------------------------------------------ */

static void group_tell(struct group *group, const struct cgroup_facts *facts)
{
	struct groups *g = group->groups;
	struct ledger_group word = {
		.has_populated = facts->has_events,
		.populated = facts->events.populated && !facts->gone,
		.has_frozen = facts->has_events && facts->events.has_frozen && !facts->gone,
		.frozen = facts->events.frozen,
		.has_oom_kills = facts->has_oom && facts->oom.has_oom_kill,
		.oom_kills = facts->oom.oom_kill,
	};

	g->options.on_group(g->options.userdata, group->id, &word);
}

static struct group *group_free(struct group *group)
{
	if (!group)
		return NULL;
	(void)table_remove_string(&group->groups->table, group->id);
	group->watch = cgroup_watch_free(group->watch);
	return mem_free(group);
}
DEFINE_FREEP(struct group *, group_free)

static void group_on_change(
	struct cgroup_watch *watch, const struct cgroup_facts *facts, void *userdata)
{
	struct group *group = userdata;

	(void)watch;
	group_tell(group, facts);
	if (facts->gone)
		(void)group_free(group);
}

/* ---- where it is ------------------------------------------------------------------------------- */

/* The group that is named after the container; its init may sit in one below. */
static bool group_path(const struct cgroup_mounts *mounts, const char *text, size_t len,
	enum cgroup_hierarchy hierarchy, const char *id, char path[CGROUP_PATH_MAX])
{
	char *at, *end;

	if (cgroup_path(mounts, text, len, hierarchy, path) < 0)
		return false;
	at = strstr(path, id);
	end = at ? strchr(at, '/') : NULL;
	if (end)
		*end = '\0';
	return at != NULL;
}

/* ---- watching ---------------------------------------------------------------------------------- */

static const char *refusal_text(int r, uint32_t max)
{
	static const char limit[] = "All watches of cgroups are in use";

	switch (r) {
	case -EXFULL: return max < GROUPS_MAX ? "Descriptors are too few for more cgroups" : limit;
	case -ENOSPC: return "No inotify watches are left (fs.inotify.max_user_watches)";
	case -EMFILE:
		return "No descriptors, or no inotify instances (fs.inotify.max_user_instances), "
		       "are left";
	default: return err_text(NULL, r);
	}
}

static void groups_refuse(struct groups *g, const char *id, int r)
{
	if (r == -ENOENT || r == -ENODEV)
		return; /* It is gone already, or nothing is counted there. */
	g->refused++;
	(void)snprintf(g->why, sizeof(g->why), "%s", refusal_text(r, g->options.groups_max));
	if (g->error != r)
		log_warning("A cgroup cannot be watched: an OOM kill may be told later",
			"container", id, "error", g->why, NULL);
	g->error = r;
}

static int group_open(struct group *group, struct cgroup_watch_spec *spec)
{
	sd_event *loop = group->groups->options.loop;
	int r = cgroup_watch_new(loop, spec, &group->watch);

	if (r == -EMFILE && fd_raise_limit() >= 0)
		r = cgroup_watch_new(loop, spec, &group->watch);
	if ((r == -ENOSPC || r == -EMFILE) && spec->unified && spec->memory) {
		/* v1 tells of memory without inotify. */
		groups_refuse(group->groups, group->id, r);
		spec->unified = NULL;
		r = cgroup_watch_new(loop, spec, &group->watch);
	}
	return r;
}

static int group_new(struct groups *g, const char *id, struct cgroup_watch_spec *spec)
{
	CLEAN(group_freep) struct group *group = NULL;
	int r;

	if (g->table.used >= g->options.groups_max)
		return -EXFULL;
	group = mem_zalloc(sizeof(*group));
	if (!group)
		return -ENOMEM;
	group->groups = g;
	(void)snprintf(group->id, sizeof(group->id), "%s", id);
	spec->on_change = group_on_change;
	spec->userdata = group;
	r = group_open(group, spec);
	if (r >= 0)
		r = table_put_string(&g->table, group->id, group);
	if (r < 0)
		return r;
	group_tell(group, cgroup_watch_facts(group->watch));
	(void)TAKE_PTR(group);
	return 0;
}

void groups_watch(struct groups *g, const char *id, const char *text, size_t len)
{
	char unified[CGROUP_PATH_MAX], memory[CGROUP_PATH_MAX];
	struct cgroup_watch_spec spec = { 0 };
	int r;

	groups_forget(g, id);
	if (id[0] == '\0' || strlen(id) > HINT_ID_MAX)
		return;
	if (group_path(g->options.mounts, text, len, CGROUP_UNIFIED, id, unified))
		spec.unified = unified;
	if (group_path(g->options.mounts, text, len, CGROUP_MEMORY, id, memory))
		spec.memory = memory;
	if (!spec.unified && !spec.memory)
		return;
	r = group_new(g, id, &spec);
	if (r < 0)
		groups_refuse(g, id, r);
}

void groups_look(struct groups *g, const char *id)
{
	struct group *group = table_get_string(&g->table, id);

	if (group)
		cgroup_watch_look(group->watch);
}

void groups_forget(struct groups *g, const char *id)
{
	(void)group_free(table_get_string(&g->table, id));
}

void groups_state(const struct groups *g, struct groups_state *ret)
{
	*ret = (struct groups_state){
		.watches = (uint32_t)g->table.used,
		.refused = g->refused,
		.why = g->why,
	};
}

/* ---- life -------------------------------------------------------------------------------------- */

static uint32_t groups_most(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
		limit.rlim_max / GROUPS_SHARE > (rlim_t)GROUPS_MAX)
		return GROUPS_MAX;
	return (uint32_t)(limit.rlim_max / GROUPS_SHARE);
}

int groups_new(const struct groups_options *options, struct groups **ret)
{
	struct groups *g = mem_zalloc(sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->options = *options;
	g->options.groups_max = options->groups_max ?: groups_most();
	g->table = TABLE_INIT(g->options.groups_max);
	*ret = g;
	return 0;
}

struct groups *groups_free(struct groups *g)
{
	struct group *group;

	if (!g)
		return NULL;
	TABLE_FOREACH (group, &g->table)
		(void)group_free(group);
	table_done(&g->table);
	return mem_free(g);
}
