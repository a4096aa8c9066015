/*
 * The layer of resources: a filesystem that the runtime writes to has no room left, or a daemon has no
 * descriptors left. Nothing need hang: every write fails, and even taking a container away needs one.
 */
#include "doctor/rules/judge.h"
#include "doctor/rules/thresholds.h"

#define TMPFS_TYPE 0x01021994u

enum lack {
	LACK_NONE,
	LACK_BYTES,
	LACK_INODES,
};

static bool is_short(uint64_t left, uint64_t of)
{
	return left < ROOM_BYTES && left < of / ROOM_SHARE + 1;
}

static enum lack lack_of(const struct evidence_space *s)
{
	if (s->call.answer != ANSWER_OK)
		return LACK_NONE;
	if (s->total_bytes > 0 && is_short(s->available_bytes, s->total_bytes))
		return LACK_BYTES;
	/* Filesystems that make inodes as they need them tell of none. */
	if (s->files > 0 && s->files_free < INODES_LEAST &&
		s->files_free < s->files / INODES_SHARE + 1)
		return LACK_INODES;
	return LACK_NONE;
}

static enum cause cause_of(const struct evidence_space *s, enum lack lack)
{
	if (s->of == SPACE_STATE && s->fs_type == TMPFS_TYPE)
		return CAUSE_RUN_TMPFS_FULL;
	return lack == LACK_BYTES ? CAUSE_NODE_DISK_FULL : CAUSE_INODES_EXHAUSTED;
}

/* Directories of one filesystem tell the same numbers: the first speaks for all. */
static bool is_told_already(const struct judge *j, uint32_t space)
{
	const struct evidence_space *s = &j->e->spaces[space];

	for (uint32_t i = 0; i < space; i++) {
		const struct evidence_space *o = &j->e->spaces[i];

		if (o->call.answer == ANSWER_OK && o->fs_type == s->fs_type &&
			o->total_bytes == s->total_bytes && o->free_bytes == s->free_bytes &&
			o->files == s->files && o->files_free == s->files_free &&
			cause_of(o, lack_of(o)) == j->rule->cause)
			return true;
	}
	return false;
}

static void tell_room(struct judge *j, struct finding *f, const struct evidence_space *s)
{
	if (s->total_bytes > 0)
		tell(j, f, "bytes left", s->path, "%llu of %llu, %llu of them for root alone",
			(unsigned long long)s->free_bytes, (unsigned long long)s->total_bytes,
			(unsigned long long)(s->free_bytes - s->available_bytes));
	if (s->files > 0)
		tell(j, f, "inodes left", s->path, "%llu of %llu",
			(unsigned long long)s->files_free, (unsigned long long)s->files);
}

static void advise_room(
	struct judge *j, struct finding *f, const struct evidence_space *s, enum lack lack)
{
	advise(j, f, RISK_NONE, "See what fills it", "the biggest directory is where to look",
		"nothing",
		lack == LACK_INODES ? "du --inodes -xd2 %s | sort -n | tail"
				    : "du -xd2 %s | sort -n | tail",
		QUOTED(s->path));
	if (j->rule->cause == CAUSE_RUN_TMPFS_FULL)
		advise(j, f, RISK_NONE, "Make it larger until the leak is found",
			"it is memory, and the size is a limit only", "memory",
			"mount -o remount,%s $(findmnt -no TARGET -T %s)",
			lack == LACK_INODES ? "nr_inodes=0" : "size=20%", QUOTED(s->path));
	else
		advise(j, f, RISK_OBJECT, "Remove images that no container uses",
			"they can be pulled again", "a pull when one is needed",
			"crictl rmi --prune || docker image prune -af");
	avoid(j, f,
		"Do not rm a log that is being written: its room is free only when the writer "
		"closes it; truncate it instead");
	avoid(j, f, "Do not prune volumes: they are data");
}

static void judge_one_space(struct judge *j, uint32_t space)
{
	const struct evidence_space *s = &j->e->spaces[space];
	enum lack lack = lack_of(s);
	struct about about = ABOUT_NOTHING;
	const struct mark *mark;
	bool root_too;
	struct finding *f;

	if (lack == LACK_NONE || cause_of(s, lack) != j->rule->cause || is_told_already(j, space))
		return;
	mark = memory_mark(j->memory, MARK_SPACE, mark_hash(s->path), lack, 0, 0, 0);
	root_too = lack == LACK_INODES || is_short(s->free_bytes, s->total_bytes);
	about.place = s->path;
	f = judge_begin(j, root_too ? SEVERITY_CRITICAL : SEVERITY_WARNING,
		confidence_after(j, memory_held_ns(j->memory, mark), j->rule->held_ns),
		mark->since_ns, NULL);
	tell_summary(j, f, "%s has no %s left%s: containers can neither be started nor removed",
		s->path, lack == LACK_INODES ? "inodes" : "room", root_too ? "" : " but for root");
	tell_subject(j, f, &about);
	tell_room(j, f, s);
	advise_room(j, f, s, lack);
}

void judge_space(struct judge *j)
{
	for (uint32_t i = 0; i < j->e->space_count; i++)
		judge_one_space(j, i);
}

/* ---- descriptors --------------------------------------------------------------------------- */

/* So many of a hundred, rounded up, without an overflow. */
static uint64_t share_of(uint64_t all, uint64_t percent)
{
	return all - (all / 100 * (100 - percent) + all % 100 * (100 - percent) / 100);
}

static bool is_out_of_fds(const struct evidence_process *p)
{
	return p->fd_limit > 0 &&
		(p->fd_count + FDS_LEAST > p->fd_limit ||
			p->fd_count >= share_of(p->fd_limit, FDS_PERCENT));
}

static void judge_one_process(struct judge *j, uint32_t process)
{
	const struct evidence_process *p = &j->e->processes[process];
	struct about about = ABOUT_NOTHING;
	const struct mark *mark;
	struct finding *f;

	if (!is_out_of_fds(p))
		return;
	mark = memory_mark(j->memory, MARK_LIMIT, (uint64_t)p->pid, p->start_ticks, 0, 0, 0);
	about.process = process;
	f = judge_begin(j, SEVERITY_CRITICAL,
		confidence_after(j, memory_held_ns(j->memory, mark), j->rule->held_ns),
		mark->since_ns, NULL);
	tell_summary(j, f, "%s (pid %d) has %llu of %llu descriptors open: it can accept nobody",
		p->comm, p->pid, (unsigned long long)p->fd_count, (unsigned long long)p->fd_limit);
	tell_subject(j, f, &about);
	tell(j, f, "open descriptors", FMT("/proc/%d/fd", p->pid), "%llu",
		(unsigned long long)p->fd_count);
	tell(j, f, "how many it may have", FMT("/proc/%d/limits", p->pid), "%llu",
		(unsigned long long)p->fd_limit);
	tell_process(j, f, process);
	advise(j, f, RISK_NONE, "Let it have more", "it goes on at once, and nothing is restarted",
		"nothing", "prlimit --pid %d --nofile=%llu:", p->pid,
		(unsigned long long)p->fd_limit * 4 + 1024);
	advise(j, f, RISK_NONE, "See what it has open", "many of one kind are a leak", "nothing",
		"ls -l /proc/%d/fd | awk '{print $NF}' | sed 's/[0-9]*//g' | sort | uniq -c | sort "
		"-n",
		p->pid);
	for (uint32_t d = 0; d < j->e->daemon_count; d++)
		if (j->e->daemons[d].process == process)
			explain_daemon(j, d, f);
	for (uint32_t s = 0; s < j->e->shim_count; s++)
		if (j->e->shims[s].process == process)
			explain_shim(j, s, f);
}

void judge_descriptors(struct judge *j)
{
	for (uint32_t i = 0; i < j->e->process_count; i++)
		judge_one_process(j, i);
}

/* ---- inotify ------------------------------------------------------------------------------- */

static void advise_inotify(struct judge *j, struct finding *f, const char *limit)
{
	const struct evidence_inotify *n = &j->e->inotify;

	advise(j, f, RISK_NONE, "Let every user have more",
		"it takes effect at once, and nothing is restarted",
		"a little of the kernel's memory", "sysctl -w fs.inotify.%s=%llu", limit,
		(unsigned long long)n->max * 4);
	if (n->pid > 0)
		advise(j, f, RISK_NONE, "See who has most of them",
			"many in one process are a leak", "nothing",
			"cat /proc/%d/status && ls -l /proc/%d/fd | grep -c inotify", n->pid,
			n->pid);
	avoid(j, f,
		"Do not raise ulimit -n or LimitNOFILE for it: the error has the same text and is "
		"another limit");
}

void judge_inotify(struct judge *j)
{
	const struct evidence_inotify *n = &j->e->inotify;
	const char *limit = n->lacks_watches ? "max_user_watches" : "max_user_instances";
	const char *what = n->lacks_watches ? "watches" : "instances";
	struct about about = ABOUT_NOTHING;
	const struct mark *mark;
	struct finding *f;

	if (!n->is_out)
		return;
	mark = memory_mark(j->memory, MARK_INOTIFY, n->uid, n->lacks_watches, 0, 0, 0);
	about.place = FMT("/proc/sys/fs/inotify/%s", limit);
	f = judge_begin(j, SEVERITY_CRITICAL,
		confidence_after(j, memory_held_ns(j->memory, mark), j->rule->held_ns),
		mark->since_ns, NULL);
	tell_summary(j, f,
		"User %u has no inotify %s left: what watches files, as kubelet, containerd and "
		"their shims do, fails or does not start",
		n->uid, what);
	tell_subject(j, f, &about);
	tell(j, f, FMT("one more of its inotify %s", what),
		n->lacks_watches ? "inotify_add_watch" : "inotify_init1", "%s",
		n->lacks_watches ? "no space left on device" : "too many open files");
	tell(j, f, FMT("inotify %s that are in use", what),
		n->lacks_watches ? "/proc/*/fdinfo" : "/proc/*/fd", "%llu in %u processes%s",
		(unsigned long long)n->used, n->processes,
		n->is_whole ? "" : ", of those that could be looked at");
	if (n->max > 0)
		tell(j, f, "how many a user may have", about.place, "%llu",
			(unsigned long long)n->max);
	if (n->pid > 0)
		tell(j, f, "who has most of them", FMT("/proc/%d/fd", n->pid), "%s (pid %d): %llu",
			n->comm, n->pid, (unsigned long long)n->of_one);
	advise_inotify(j, f, limit);
}

/* ---- processes ----------------------------------------------------------------------------- */

/* Many share a group: the first of them speaks for all. */
static bool is_told_for(const struct judge *j, uint32_t process)
{
	for (uint32_t i = 0; i < process; i++)
		if (str_eq(j->e->processes[i].pids_path, j->e->processes[process].pids_path))
			return true;
	return false;
}

static void judge_one_group(struct judge *j, uint32_t process)
{
	const struct evidence_process *p = &j->e->processes[process];
	bool is_of_container = container_at(j, p->container) != NULL;
	struct about about = ABOUT_NOTHING;
	const struct mark *mark;
	struct finding *f;

	if (p->pids_max == 0 || p->pids_current < p->pids_max || is_told_for(j, process))
		return;
	mark = memory_mark(j->memory, MARK_PIDS, mark_hash(p->pids_path), 0, 0, 0, 0);
	about.container = is_of_container ? p->container : EVIDENCE_NONE;
	about.place = p->pids_path;
	f = judge_begin(j, is_of_container ? SEVERITY_WARNING : SEVERITY_CRITICAL,
		confidence_after(j, memory_held_ns(j->memory, mark), j->rule->held_ns),
		mark->since_ns, NULL);
	tell_summary(j, f,
		"%s%s has %llu of %llu processes and threads: it can start nothing, not even an "
		"exec",
		p->comm, OF_CONTAINER(j, p->container), (unsigned long long)p->pids_current,
		(unsigned long long)p->pids_max);
	tell_subject(j, f, &about);
	tell(j, f, "processes and threads", FMT("%.160s/pids.current", p->pids_path), "%llu",
		(unsigned long long)p->pids_current);
	tell(j, f, "their limit", FMT("%.160s/pids.max", p->pids_path), "%llu",
		(unsigned long long)p->pids_max);
	advise(j, f, RISK_NONE, "Let it have more for now", "it goes on at once",
		"nothing; a leak goes on, too", "echo %llu > %s/pids.max",
		(unsigned long long)p->pids_max * 2, QUOTED(p->pids_path));
	avoid(j, f, "Do not restart the runtime for it: only this group is at its limit");
}

void judge_pids(struct judge *j)
{
	for (uint32_t i = 0; i < j->e->process_count; i++)
		judge_one_group(j, i);
}

/* ---- processor time ------------------------------------------------------------------------ */

/* By how much a counter has grown since the last sample, which is kept in a mark; 0 in the first. */
static uint64_t grown(
	struct judge *j, enum mark_kind kind, const struct evidence_process *p, uint64_t value)
{
	struct mark *mark = memory_mark(j->memory, kind, (uint64_t)p->pid, p->start_ticks,
		mark_hash(p->cpu_path), 0, value);
	uint64_t by = value > mark->value ? value - mark->value : 0;

	mark->value = value;
	return by;
}

static void tell_throttled(struct judge *j, uint32_t process, uint64_t periods, uint64_t waits,
	const struct mark *mark)
{
	const struct evidence_process *p = &j->e->processes[process];
	struct about about = ABOUT_NOTHING;
	struct finding *f;

	about.process = process;
	about.place = p->cpu_path;
	f = judge_begin(j, SEVERITY_CRITICAL,
		confidence_after(j, memory_held_ns(j->memory, mark), j->rule->held_ns),
		mark->since_ns, NULL);
	tell_summary(j, f,
		"%s (pid %d) has used up its quota of processor time and waits in %llu of %llu "
		"periods: every call takes long",
		p->comm, p->pid, (unsigned long long)waits, (unsigned long long)periods);
	tell_subject(j, f, &about);
	tell(j, f, "periods in which it had to wait, since the last look",
		FMT("%.160s/cpu.stat", p->cpu_path), "%llu of %llu", (unsigned long long)waits,
		(unsigned long long)periods);
	tell(j, f, "waited in all", FMT("%.160s/cpu.stat", p->cpu_path), "%s",
		SECONDS(p->cpu_throttled_ns));
	tell_process(j, f, process);
	advise(j, f, RISK_NONE, "Look at its quota",
		"it is for all processes of the group together", "nothing",
		"cat %s/cpu.max %s/cpu.cfs_quota_us", QUOTED(p->cpu_path), QUOTED(p->cpu_path));
	advise(j, f, RISK_NONE, "Take the quota away", "it goes on at once", "nothing",
		"echo max > %s/cpu.max || echo -1 > %s/cpu.cfs_quota_us", QUOTED(p->cpu_path),
		QUOTED(p->cpu_path));
	avoid(j, f,
		"Do not restart it: it then starts with the same quota, and starting takes most.");
	for (uint32_t d = 0; d < j->e->daemon_count; d++)
		if (j->e->daemons[d].process == process)
			explain_daemon(j, d, f);
}

static void judge_quota(struct judge *j, uint32_t process)
{
	const struct evidence_process *p = &j->e->processes[process];
	uint64_t periods, waits;
	const struct mark *mark;

	if (p->cpu_periods == 0)
		return;
	periods = grown(j, MARK_PERIODS, p, p->cpu_periods);
	waits = grown(j, MARK_WAITS, p, p->cpu_throttled);
	if (periods < PERIODS_LEAST) {
		memory_want(j->memory, j->rule->interval_ns);
		return;
	}
	if (waits < periods / WAITS_SHARE + (periods % WAITS_SHARE > 0))
		return;
	mark = memory_mark(j->memory, MARK_STARVED, (uint64_t)p->pid, p->start_ticks, 0, 0, 0);
	tell_throttled(j, process, periods, waits, mark);
}

void judge_throttled(struct judge *j)
{
	for (uint32_t i = 0; i < j->e->process_count; i++)
		if (j->e->processes[i].roles & EVIDENCE_DAEMON)
			judge_quota(j, i);
}
