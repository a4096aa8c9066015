/*
 * The layer of filesystems: a frozen one, a FUSE server that does not answer.
 *
 * A thread in D proves nothing by itself: a buffered read of a page that does not come is in D and
 * dies of SIGKILL at once. What counts is a wait that no kill ends, or a server that cannot answer.
 */
#include <errno.h>
#include <stdio.h>

#include "doctor/rules/judge.h"

/* ---- FilesystemFrozen -------------------------------------------------------------------- */

/* Waits to be let write to a filesystem. Those of a cgroup's own rwsem look alike. */
static bool waits_for_thaw(const struct evidence_thread *t)
{
	static const char *const entries[] = { "mnt_want_write", "vfs_write", "vfs_iter_write",
		"do_iter_write", "file_start_write", "page_mkwrite", "xfs_trans_alloc",
		"journal_start", "do_fallocate", "vfs_fallocate", "open_last_lookups",
		"path_openat", "vfs_truncate", "do_sendfile", "ovl_", "io_write" };

	if (t->state != 'D' || stack_has(t, "cgroup_"))
		return false;
	if (stack_has(t, "sb_start_"))
		return true;
	if (!waits_in(t, "percpu_rwsem_wait"))
		return false;
	for (size_t i = 0; i < ELEMENTS(entries); i++)
		if (stack_has(t, entries[i]))
			return true;
	return *t->stack == '\0';
}

struct writers { /* of one filesystem, by the first mount of its device */
	uint32_t count, longest, names;
	uint64_t held_ns, completed; /* requests, since the last look */
	char text[NAME_MAX_BYTES];
};

static void add_writer(struct judge *j, struct writers *w, uint32_t thread)
{
	const struct evidence_process *p = process_at(j, j->e->threads[thread].process);
	size_t len = strlen(w->text);

	if (w->count++ == 0 || j->thread_held_ns[thread] > w->held_ns) {
		w->longest = thread;
		w->held_ns = j->thread_held_ns[thread];
	}
	if (p && w->names++ < NAMES_MAX)
		(void)str_format(w->text + len, sizeof(w->text) - len, "%s%.30s (%d)",
			len ? ", " : "", p->comm, p->pid);
}

/* How many requests a device has completed since the last look, which is kept in a mark; false: there
 * was none, or it is not known. */
static bool device_completed(struct judge *j, const struct evidence_device *d, uint64_t *ret)
{
	struct mark *mark;
	bool known;

	if (!d)
		return false;
	mark = memory_mark(j->memory, MARK_DEVICE, d->major, d->minor, 0, 0, d->completed);
	known = memory_held_ns(j->memory, mark) > 0;
	*ret = d->completed > mark->value ? d->completed - mark->value : 0;
	mark->value = d->completed;
	return known;
}

/* Requests that do not move are a stalled device, not a frozen filesystem, of which one can read. One
 * look does not tell them apart: another is asked for. */
static bool device_may_stall(
	struct judge *j, const struct evidence_device *d, uint64_t *ret_completed)
{
	bool known = device_completed(j, d, ret_completed);

	if (!d || d->in_flight == 0)
		return false;
	if (!known)
		memory_want(j->memory, j->rule->interval_ns);
	return !known || *ret_completed == 0;
}

/* A container need not have an fsfreeze: ours reaches its mount by the root of who is in there. */
static void advise_thaw(struct judge *j, struct finding *f, const struct evidence_mount *m)
{
	char path[FINDING_COMMAND_MAX / 2] = "", point[FINDING_COMMAND_MAX / 2];
	bool known = false;
	int32_t pid = m ? mount_entered_by(j, m, &known) : 0;
	int len = m ? snprintf(path, sizeof(path), "%s%s", pid > 0 ? FMT("/proc/%d/root", pid) : "",
			      m->point)
		    : 0;

	if (known && !str_eq(m->type, "overlay") && (size_t)len < sizeof(path) &&
		*shell_quote(point, sizeof(point), path))
		advise(j, f, RISK_NONE, "Thaw the filesystem",
			"whoever waits to write goes on at once; a snapshot that is being taken of "
			"it "
			"may be inconsistent",
			"the snapshot in progress, if there is one", "fsfreeze -u %s", point);
	advise(j, f, RISK_OBJECT, "Thaw all frozen filesystems of this machine",
		"for when the frozen one cannot be told by name", "snapshots in progress",
		"echo j > /proc/sysrq-trigger");
	avoid(j, f,
		"Do not kill the writers: they cannot die before the thaw, and die by themselves "
		"after it");
	avoid(j, f, "A reboot is not needed, and would hang in umount");
}

static struct finding *tell_frozen(
	struct judge *j, uint32_t mount, const struct writers *w, struct finding *parent)
{
	const struct evidence_mount *m = mount_at(j, mount);
	const struct evidence_device *d = m ? device_at(j, m->device) : NULL;
	const struct evidence_thread *t = thread_at(j, w->longest);
	enum finding_confidence confidence = confidence_after(j, w->held_ns, j->rule->held_ns);
	struct about about = ABOUT_NOTHING;
	struct finding *f;

	if (!m || *t->stack == '\0')
		confidence = CONFIDENCE_SUSPECTED;
	f = judge_begin(j, SEVERITY_CRITICAL, confidence, j->thread_since_ns[w->longest], parent);
	about.mount = mount;
	about.thread = w->longest;
	tell_summary(j, f,
		"The filesystem %s is frozen: %u thread%s to write and cannot go on (%s)",
		m ? m->point : "that they write to (unknown which)", w->count,
		w->count == 1 ? " waits" : "s wait", w->text);
	tell_subject(j, f, &about);
	tell_thread(j, f, w->longest);
	if (m)
		tell_mount(j, f, mount);
	else
		tell(j, f, "mount", "not looked at",
			"which filesystem the threads write to could not be told");
	if (d)
		tell(j, f, "requests in flight", FMT("/sys/block/%.60s/inflight", d->name),
			d->in_flight == 0 ? "%llu: the device has nothing to do"
					  : "%llu, and reads go on: %llu were completed since the "
					    "last look",
			(unsigned long long)d->in_flight, (unsigned long long)w->completed);
	advise_thaw(j, f, m);
	return f;
}

static uint32_t writers_place(const struct judge *j, const struct evidence_thread *t)
{
	return mount_at(j, t->mount) ? j->same_device[t->mount] : j->e->mount_count;
}

/* Filesystems first, then the overlays on top of them, which hang with them; then the writers of which
 * it is not known where they write. */
static void tell_all_frozen(struct judge *j, struct writers *all, struct finding **by_place)
{
	uint32_t places = j->e->mount_count + 1;
	struct finding *lower = NULL;

	for (int overlays = 0; overlays < 2; overlays++)
		for (uint32_t m = 0; m < places; m++) {
			const struct evidence_mount *mount = mount_at(j, m);
			bool upper = !mount || str_eq(mount->type, "overlay");

			if (all[m].count == 0 || upper != (overlays == 1))
				continue;
			if (mount &&
				device_may_stall(j, device_at(j, mount->device), &all[m].completed))
				continue;
			by_place[m] = !mount && lower
				? lower
				: tell_frozen(j, m, &all[m], upper ? lower : NULL);
			lower = first_cause(lower, by_place[m]);
		}
}

void judge_filesystem_frozen(struct judge *j)
{
	uint32_t places = j->e->mount_count + 1;
	CLEAN(mem_freep) struct writers *all = NULL;
	CLEAN(mem_freep) struct finding **by_place = NULL;
	uint32_t found = 0;

	for (uint32_t t = 0; t < j->e->thread_count; t++)
		found += waits_for_thaw(&j->e->threads[t]);
	if (found == 0)
		return;
	all = mem_array(places, sizeof(*all));
	by_place = mem_array(places, sizeof(struct finding *));
	if (!all || !by_place) {
		j->r = -ENOMEM;
		return;
	}
	for (uint32_t t = 0; t < j->e->thread_count; t++)
		if (waits_for_thaw(&j->e->threads[t]))
			add_writer(j, &all[writers_place(j, &j->e->threads[t])], t);
	tell_all_frozen(j, all, by_place);
	for (uint32_t t = 0; t < j->e->thread_count; t++)
		if (waits_for_thaw(&j->e->threads[t]) &&
			by_place[writers_place(j, &j->e->threads[t])])
			explain_thread(j, t, by_place[writers_place(j, &j->e->threads[t])]);
}

/* ---- FuseServerHung ---------------------------------------------------------------------- */

enum fuse_wait { /* stronger ones last */
	FUSE_WAIT_NONE,
	FUSE_WAIT_PAGE,   /* for a page that a read is to bring: killable */
	FUSE_WAIT_LOCKED, /* within FUSE for another's lock, in D: not killable */
	FUSE_WAIT_ANSWER, /* for the server's answer: not killable, though in S before a signal */
	FUSE_WAIT_KILLED, /* ... and SIGKILL is pending */
};

struct waiters { /* of one connection; the last one: of which it is not known of which */
	enum fuse_wait wait;
	uint32_t thread, count;
	uint64_t held_ns;
};

static enum fuse_wait fuse_wait(const struct judge *j, const struct evidence_thread *t)
{
	bool on_fuse = mount_at(j, t->mount) && fuse_at(j, j->fuse_of[t->mount]);
	bool page = stack_has(t, "filemap_read") || stack_has(t, "filemap_get_pages") ||
		stack_has(t, "filemap_fault") || waits_in(t, "folio_wait_bit") ||
		waits_in(t, "wait_on_page");

	if (t->state != 'D' && t->state != 'S')
		return FUSE_WAIT_NONE;
	if (waits_in(t, "request_wait_answer") || waits_in(t, "fuse_wait"))
		return t->state == 'D' && kill_is_pending(j, t) ? FUSE_WAIT_KILLED
								: FUSE_WAIT_ANSWER;
	if (t->state != 'D')
		return FUSE_WAIT_NONE;
	if (stack_has(t, "fuse_") || on_fuse) {
		if (kill_is_pending(j, t))
			return FUSE_WAIT_KILLED;
		return page                     ? FUSE_WAIT_PAGE
			: stack_has(t, "fuse_") ? FUSE_WAIT_LOCKED
						: FUSE_WAIT_NONE;
	}
	return FUSE_WAIT_NONE;
}

/* The connection a thread waits on; the only one with requests if its mount is not known. */
static uint32_t fuse_place(const struct judge *j, const struct evidence_thread *t, uint32_t only)
{
	uint32_t f = mount_at(j, t->mount) ? j->fuse_of[t->mount] : EVIDENCE_NONE;

	if (fuse_at(j, f))
		return f;
	return only != EVIDENCE_NONE ? only : j->e->fuse_count;
}

static uint32_t only_waiting_fuse(const struct judge *j)
{
	uint32_t only = EVIDENCE_NONE;

	for (uint32_t f = 0; f < j->e->fuse_count; f++) {
		if (j->e->fuses[f].has_waiting && j->e->fuses[f].waiting == 0)
			continue;
		if (only != EVIDENCE_NONE)
			return EVIDENCE_NONE;
		only = f;
	}
	return only;
}

/* What is stronger speaks for a connection, then what has waited longer. */
static void add_waiter(
	const struct judge *j, struct waiters *w, uint32_t thread, enum fuse_wait wait)
{
	if (w->count++ > 0 &&
		(wait < w->wait || (wait == w->wait && j->thread_held_ns[thread] <= w->held_ns)))
		return;
	w->wait = wait;
	w->thread = thread;
	w->held_ns = j->thread_held_ns[thread];
}

static uint32_t fuse_mount(const struct judge *j, uint32_t fuse, uint32_t thread)
{
	const struct evidence_fuse *c = fuse_at(j, fuse);
	const struct evidence_thread *t = thread_at(j, thread);

	if (t && mount_at(j, t->mount) && j->fuse_of[t->mount] == fuse)
		return t->mount;
	return c ? c->mount : EVIDENCE_NONE;
}

/* Where it is mounted: the same path may be another mount elsewhere. */
static void advise_unmount(struct judge *j, struct finding *f, const struct evidence_mount *m)
{
	char point[FINDING_COMMAND_MAX / 2];
	bool known;
	int32_t pid = mount_entered_by(j, m, &known);

	if (known && *shell_quote(point, sizeof(point), m->point))
		advise(j, f, RISK_OBJECT,
			pid > 0 ? "Unmount what is left, in that mount namespace"
				: "Unmount what is left, then mount it anew",
			"after an abort the mount stays in the table and answers ENOTCONN",
			"open files on it", "%s", UMOUNT(pid, "-l ", point));
}

static void advise_fuse(struct judge *j, struct finding *f, const struct evidence_fuse *c,
	const struct evidence_process *server, const struct evidence_mount *m)
{
	const struct evidence_mount *first = c ? mount_at(j, c->mount) : NULL;

	if (server)
		advise_waking(j, f, c->server, "the FUSE server");
	if (c)
		advise(j, f, RISK_OBJECT, "Abort the FUSE connection",
			"every waiter gets an error at once, and killed ones die; the mount is "
			"dead "
			"after it",
			"what was written to this mount and has not reached its server",
			j->e->node.fusectl_mounted
				? "echo 1 > /sys/fs/fuse/connections/%u/abort"
				: "mountpoint -q /sys/fs/fuse/connections || "
				  "mount -t fusectl none /sys/fs/fuse/connections; "
				  "echo 1 > /sys/fs/fuse/connections/%u/abort",
			c->minor);
	if (server && !c->server_inferred)
		advise(j, f, RISK_OBJECT, "Kill the FUSE server, and start it again",
			"when its last descriptor of /dev/fuse closes, every waiter gets an error; "
			"SIGTERM is not enough while one of its threads is in a handler",
			"what was written and has not left it, on every mount that it serves",
			"kill -9 %d", server->pid);
	if (m)
		advise_unmount(j, f, m);
	if (first && first != m && first->ns != 0 && first->ns == j->e->node.mount_ns)
		advise_unmount(j, f, first);
	avoid(j, f,
		"Do not kill -9 the waiters again: the signal is pending already, and they die by "
		"themselves once the server answers or the connection is aborted");
	avoid(j, f,
		"Do not kill the shim of a container that hangs here: it does not help, and loses "
		"the container's exit");
	avoid(j, f, "A reboot is not needed");
}

static void tell_fuse_server(struct judge *j, struct finding *f, const struct evidence_fuse *c)
{
	const struct evidence_process *server = c ? process_at(j, c->server) : NULL;

	if (!c) {
		tell_gap(j, f, "FUSE connection", "fuse", "which connection the thread waits on");
		return;
	}
	if (c->has_waiting)
		tell(j, f, "requests without an answer",
			FMT("/sys/fs/fuse/connections/%u/waiting", c->minor), "%llu",
			(unsigned long long)c->waiting);
	else
		tell_gap(j, f, "requests without an answer", "fuse",
			"no fusectl is mounted; mount -t fusectl none /sys/fs/fuse/connections");
	if (!server) {
		tell_gap(j, f, "FUSE server", "fuse", "no holder of its /dev/fuse was found");
		return;
	}
	tell_process(j, f, c->server);
	if (c->server_inferred)
		tell(j, f, "FUSE server", "/proc/*/fd",
			"%s (%d) is the only holder of a /dev/fuse; the kernel does not tell which "
			"connection it serves",
			server->comm, server->pid);
}

static struct finding *tell_fuse(
	struct judge *j, uint32_t fuse, const struct waiters *w, enum finding_confidence confidence)
{
	const struct evidence_fuse *c = fuse_at(j, fuse);
	const struct evidence_process *server = c ? process_at(j, c->server) : NULL;
	const struct evidence_thread *t = w->count ? thread_at(j, w->thread) : NULL;
	const struct evidence_process *p = t ? process_at(j, t->process) : NULL;
	struct about about = ABOUT_NOTHING;
	const struct evidence_mount *m;
	struct finding *f;
	char device[32];

	about.mount = fuse_mount(j, fuse, t ? w->thread : EVIDENCE_NONE);
	m = mount_at(j, about.mount);
	if (t)
		about.thread = w->thread;
	if (c && !m)
		about.device = str_format(device, sizeof(device), "0:%u", c->minor);
	if (m)
		about.container = m->container;
	if (p && p->container != EVIDENCE_NONE)
		about.container = p->container;
	f = judge_begin(j, SEVERITY_CRITICAL, confidence,
		t ? j->thread_since_ns[w->thread] : j->e->at_ns,
		server ? j->process_cause[c->server] : NULL);
	tell_summary(j, f, "The FUSE server%s %s on %s%s",
		server ? FMT(" %.40s (pid %d)", server->comm, server->pid) : "",
		server && is_stopped(server) ? "is stopped and does not answer" : "does not answer",
		m ? m->point : "a mount that could not be told",
		p ? FMT(": thread %d of %.30s (pid %d)%.80s waits for it%s", t->tid, p->comm,
			    p->pid, OF_CONTAINER(j, p->container),
			    w->wait == FUSE_WAIT_KILLED ? " and cannot be killed" : "")
		  : "");
	tell_subject(j, f, &about);
	if (t)
		tell_thread(j, f, w->thread);
	if (w->count > 1)
		tell(j, f, "threads that wait", "/proc/*/task/*/", "%u", w->count);
	tell_mount(j, f, about.mount);
	tell_fuse_server(j, f, c);
	advise_fuse(j, f, c, server, m);
	return f;
}

/* NULL: nothing that would prove it. */
static struct finding *judge_one_fuse(struct judge *j, uint32_t fuse, const struct waiters *w)
{
	const struct evidence_fuse *c = fuse_at(j, fuse);
	const struct evidence_process *server = c ? process_at(j, c->server) : NULL;
	bool stopped = server &&
		(is_stopped(server) || freezer_at(j, server->freezer) ||
			j->process_cause[c->server]);
	bool strong = w->wait == FUSE_WAIT_KILLED || stopped;
	enum finding_confidence confidence;
	uint64_t held_ns = w->held_ns;

	if (c && c->has_waiting && c->waiting == 0)
		return NULL;
	if (w->count == 0 && !(stopped && c->has_waiting))
		return NULL;
	if (w->wait == FUSE_WAIT_PAGE && !stopped)
		return NULL;
	if (w->count == 0) /* No thread of interest was read, and yet something waits for it. */
		held_ns = memory_held_ns(
			j->memory, memory_mark(j->memory, MARK_FUSE, c->minor, 0, 0, 0, 0));
	confidence = confidence_after(j, held_ns, strong ? j->rule->held_ns : j->rule->weak_ns);
	if (!strong && held_ns == 0)
		return NULL; /* every request of a busy mount looks like this for a moment */
	if (!c || (!c->has_waiting && w->wait != FUSE_WAIT_KILLED))
		confidence = CONFIDENCE_SUSPECTED;
	return tell_fuse(j, fuse, w, confidence);
}

void judge_fuse(struct judge *j)
{
	uint32_t only = only_waiting_fuse(j), places = j->e->fuse_count + 1;
	CLEAN(mem_freep) struct waiters *all = mem_array(places, sizeof(*all));
	CLEAN(mem_freep) struct finding **by_place = mem_array(places, sizeof(struct finding *));

	if (!all || !by_place) {
		j->r = -ENOMEM;
		return;
	}
	for (uint32_t t = 0; t < j->e->thread_count; t++) {
		enum fuse_wait wait = fuse_wait(j, &j->e->threads[t]);

		if (wait != FUSE_WAIT_NONE && !j->thread_cause[t])
			add_waiter(j, &all[fuse_place(j, &j->e->threads[t], only)], t, wait);
	}
	for (uint32_t f = 0; f < places; f++)
		by_place[f] = judge_one_fuse(j, f, &all[f]);
	for (uint32_t t = 0; t < j->e->thread_count; t++) {
		enum fuse_wait wait = fuse_wait(j, &j->e->threads[t]);
		uint32_t f = fuse_place(j, &j->e->threads[t], only);

		if (wait != FUSE_WAIT_NONE && by_place[f])
			explain_thread(j, t, by_place[f]);
	}
}
