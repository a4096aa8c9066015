/*
 * Each watch stands in one queue: the rotation, or, while its leader is suspected to be dead with a
 * thread alive, the suspects with a time of their own. Both are bounded per turn.
 */
#include "kernel/pidfd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/time.h"

#define SET_ROTATION_NS   (10 * NSEC_PER_SEC)
#define SET_LOOKS         128u
#define SET_CONFIRM_NS    (50 * NSEC_PER_MSEC)
#define SET_TICK_NS       NSEC_PER_SEC
#define SET_HINT_NS       (1 * NSEC_PER_MSEC) /* hints of one burst are looked at together */
#define SET_RESCAN_NS     (20 * NSEC_PER_MSEC)
#define SET_LOOK_PRIORITY 10 /* below the deaths themselves */

/* <linux/pidfd.h> of Debian 12 (6.1) has no PIDFD_GET_INFO; it came with 6.13, and the exit status
 * of a reaped process with 6.15. Ours can go when the oldest headers we build with have it. */
struct info {
	uint64_t mask;
	uint64_t cgroup_id;
	uint32_t pid, tgid, ppid;
	uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_status;
};
_Static_assert(sizeof(struct info) == 64, "PIDFD_INFO_SIZE_VER0");
#define INFO_EXIT (UINT64_C(1) << 3)
#define INFO_GET  _IOWR(0xFF, 11, struct info)

struct pidfd_watch {
	TAILQ_ENTRY(pidfd_watch) entry; /* in `rotation` or `suspects`; neither once gone */
	LIST_ENTRY(pidfd_watch) same_pid;
	struct pidfd_set *set;
	sd_event_source *source;
	int fd;
	struct proc_id id;
	enum ledger_state state;
	struct ledger_exit exit;
	uint64_t suspect_due_ns; /* in `suspects`: when to look again */
	bool suspect;
	bool seen_alive;
	bool had_threads; /* its leader was seen dead while a thread lived */
	bool stuck;       /* it was in D, or dying, at the last look */
	pidfd_on_state on_state;
	void (*on_look)(void *userdata);
	void *userdata;
};

LIST_HEAD(watch_list, pidfd_watch);
TAILQ_HEAD(watch_queue, pidfd_watch);

#define SET_BUCKETS 1024u /* by pid; a power of two */

struct pidfd_set {
	struct pidfd_set_config config;
	sd_event *event;
	sd_event_source *timer;
	int proc_fd;
	struct watch_queue rotation, suspects;
	struct watch_list by_pid[SET_BUCKETS];
	uint64_t tick_ns; /* the next turn of the rotation */
	uint32_t rescan;  /* watches still to be looked at fast */
	struct pidfd_status status;
};

/* --- descriptors --- */

static int read_stat(const struct pidfd_set *set, int32_t pid, struct proc_stat *ret)
{
	int r = proc_read_stat(set->proc_fd, pid, 0, ret);

	if (r == -EMFILE && fd_raise_limit() >= 0)
		r = proc_read_stat(set->proc_fd, pid, 0, ret);
	return r;
}

/* --- exit status --- */

struct ledger_exit pidfd_exit_from_status(int32_t status, int64_t at_ns)
{
	struct ledger_exit exit = { .known = true, .at_ns = at_ns };

	if (WIFSIGNALED(status)) {
		exit.signal = WTERMSIG(status);
		exit.code = 128 + exit.signal;
	} else if (WIFEXITED(status)) {
		exit.code = WEXITSTATUS(status);
	} else {
		exit.known = false;
	}
	return exit;
}

/* 1: reaped, with its status. 0: not reaped yet. Negative: the kernel does not say. */
static int get_info(int fd, int32_t *ret_status)
{
	struct info info = { .mask = INFO_EXIT };

	if (ioctl(fd, INFO_GET, &info) < 0)
		return -errno;
	if ((info.mask & INFO_EXIT) == 0)
		return 0;
	*ret_status = info.exit_status;
	return 1;
}

/* Whether field 52 of this zombie is the whole truth. */
static bool believe_stat(const struct pidfd_watch *w, const struct proc_stat *stat, int info)
{
	if (!stat->has_exit_status)
		return false;
	/* Before 5.17 it is the leader's own status, also where a thread ended the process later
	 * with another one. A kernel that knows the ioctl is newer. */
	if (w->had_threads && info < 0 && !WIFSIGNALED(stat->exit_status))
		return false;
	return stat->exit_status != 0 || proc_may_look(w->set->proc_fd, w->id.pid);
}

/* The pidfd is readable: in which of the two ways is it dead, and how did it end? */
static enum ledger_state look_at_dead(struct pidfd_watch *w)
{
	int64_t at_ns = w->seen_alive ? clock_now().real_ns : 0;
	struct proc_stat stat;
	int32_t status;
	int info = get_info(w->fd, &status), r;

	if (info > 0) {
		w->exit = pidfd_exit_from_status(status, at_ns);
		return LEDGER_GONE;
	}
	w->exit = (struct ledger_exit){ .at_ns = at_ns };
	r = read_stat(w->set, w->id.pid, &stat);
	if (r >= 0 && stat.start_ticks == w->id.start_ticks) {
		if (believe_stat(w, &stat, info))
			w->exit = pidfd_exit_from_status(stat.exit_status, at_ns);
		return LEDGER_ZOMBIE;
	}
	/* It was reaped between the two. */
	if (info == 0 && get_info(w->fd, &status) > 0)
		w->exit = pidfd_exit_from_status(status, at_ns);
	return r == -ESRCH || r >= 0 ? LEDGER_GONE : LEDGER_ZOMBIE;
}

/* --- queues and the timer --- */

static struct watch_list *bucket(struct pidfd_set *set, int32_t pid)
{
	return &set->by_pid[(uint32_t)pid & (SET_BUCKETS - 1)];
}

static bool is_followed(const struct pidfd_watch *w)
{
	return w->state != LEDGER_GONE;
}

/* The suspects are few and not sorted: a hint may put one in front of others. */
static uint64_t suspects_due(const struct pidfd_set *set)
{
	const struct pidfd_watch *w;
	uint64_t due_ns = NSEC_NEVER;

	TAILQ_FOREACH (w, &set->suspects, entry)
		due_ns = time_min(due_ns, w->suspect_due_ns);
	return due_ns;
}

static void set_schedule(struct pidfd_set *set)
{
	uint64_t due_ns = suspects_due(set);

	if (!TAILQ_EMPTY(&set->rotation))
		due_ns = time_min(due_ns, set->tick_ns);
	if (due_ns == NSEC_NEVER) {
		(void)sd_event_source_set_enabled(set->timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time(set->timer, due_ns / NSEC_PER_USEC + 1);
	(void)sd_event_source_set_enabled(set->timer, SD_EVENT_ONESHOT);
}

static void leave_queue(struct pidfd_watch *w)
{
	if (!is_followed(w))
		return;
	if (w->suspect)
		TAILQ_REMOVE(&w->set->suspects, w, entry);
	else
		TAILQ_REMOVE(&w->set->rotation, w, entry);
	w->suspect = false;
}

static void to_rotation(struct pidfd_watch *w)
{
	leave_queue(w);
	TAILQ_INSERT_TAIL(&w->set->rotation, w, entry);
}

static void to_suspects(struct pidfd_watch *w, uint64_t due_ns)
{
	leave_queue(w);
	w->suspect = true;
	w->suspect_due_ns = due_ns;
	TAILQ_INSERT_TAIL(&w->set->suspects, w, entry);
}

static void forget_process(struct pidfd_watch *w)
{
	leave_queue(w);
	LIST_REMOVE(w, same_pid);
	w->source = sd_event_source_disable_unref(w->source);
	w->fd = fd_close(w->fd);
}

/* One that dies takes no time for it, but where it waits for the others of its pid namespace. */
static bool is_stuck(const struct proc_stat *stat)
{
	return stat->state == 'D' ||
		((stat->flags & PROC_FLAG_EXITING) && stat->state != 'Z' && stat->state != 'X');
}

static void set_stuck(struct pidfd_watch *w, bool stuck)
{
	w->set->status.stuck += (uint32_t)stuck - (uint32_t)w->stuck;
	w->stuck = stuck;
}

/* The one place where a state changes and is told. `w` may be gone afterwards. */
static void set_state(struct pidfd_watch *w, enum ledger_state state)
{
	struct pidfd_set *set = w->set;

	if (state == w->state)
		return;
	set->status.zombie_threads -= w->state == LEDGER_ZOMBIE_THREADS;
	set->status.zombie_threads += state == LEDGER_ZOMBIE_THREADS;
	set->status.deaths += ledger_state_is_dead(state) && !ledger_state_is_dead(w->state);
	if (ledger_state_is_dead(state))
		set_stuck(w, false);
	if (state == LEDGER_GONE)
		forget_process(w);
	w->state = state;
	w->on_state(w, state, &w->exit, w->userdata);
	set_schedule(set);
}

/* --- looking --- */

static bool is_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLIN) != 0;
}

/* A zombie is reaped when another process, or none, has its pid. */
static void look_at_zombie(struct pidfd_watch *w)
{
	int32_t status;
	int r;

	to_rotation(w);
	r = proc_verify(w->set->proc_fd, w->id);
	if (r != -ESRCH)
		return;
	if (!w->exit.known && get_info(w->fd, &status) > 0)
		w->exit = pidfd_exit_from_status(status, w->exit.at_ns);
	set_state(w, LEDGER_GONE);
}

/* Is its leader dead while a thread lives? Told only when it was so twice. */
static void look_at_living(struct pidfd_watch *w, uint64_t now_ns)
{
	bool suspected = w->suspect && w->had_threads;
	struct proc_stat stat;
	bool is_there, dead_leader;

	w->set->status.looks++;
	is_there = proc_read_stat(w->set->proc_fd, w->id.pid, 0, &stat) >= 0 &&
		stat.start_ticks == w->id.start_ticks;
	dead_leader = is_there && stat.state == 'Z' && stat.threads > 1;
	set_stuck(w, is_there && is_stuck(&stat));
	/* The last thread may have ended since: then the pidfd says all. */
	if (!dead_leader || is_readable(w->fd)) {
		to_rotation(w);
		return;
	}
	w->had_threads = w->seen_alive = true;
	if (!suspected) {
		to_suspects(w, time_add(now_ns, w->set->config.zombie_confirm_ns));
		return;
	}
	to_rotation(w);
	set_state(w, LEDGER_ZOMBIE_THREADS);
}

static void look(struct pidfd_watch *w, uint64_t now_ns)
{
	switch (w->state) {
	case LEDGER_ALIVE: look_at_living(w, now_ns); break;
	case LEDGER_ZOMBIE: look_at_zombie(w); break;
	case LEDGER_NONE:
	case LEDGER_ZOMBIE_THREADS: /* Only the pidfd says what comes next. */
	case LEDGER_GONE: to_rotation(w); break;
	}
}

static struct pidfd_watch *next_suspect(struct pidfd_set *set, uint64_t now_ns)
{
	struct pidfd_watch *w;

	TAILQ_FOREACH (w, &set->suspects, entry)
		if (w->suspect_due_ns <= now_ns)
			return w;
	return NULL;
}

static uint32_t rotation_share(const struct pidfd_set *set)
{
	uint64_t ticks = set->config.rotation_ns / SET_TICK_NS;
	uint64_t share = (set->status.watches + ticks - 1) / (ticks ? ticks : 1);

	if (ticks == 0 || set->rescan > 0 || share > set->config.looks_per_tick)
		return set->config.looks_per_tick;
	return (uint32_t)share;
}

static uint64_t tick_length(const struct pidfd_set *set)
{
	return set->rescan > 0 ? SET_RESCAN_NS : time_min(set->config.rotation_ns, SET_TICK_NS);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct pidfd_set *set = userdata;
	uint64_t now_ns = clock_now().mono_ns;
	uint32_t budget = set->config.looks_per_tick, share;
	struct pidfd_watch *w;

	while (budget > 0 && (w = next_suspect(set, now_ns)) != NULL) {
		look(w, now_ns);
		budget--;
	}
	if (set->tick_ns <= now_ns) {
		share = rotation_share(set);
		if (share > set->status.watches)
			share = set->status.watches;
		while (share-- > 0 && (w = TAILQ_FIRST(&set->rotation)) != NULL) {
			if (w->on_look)
				w->on_look(w->userdata);
			look(w, now_ns);
			set->rescan -= set->rescan > 0;
		}
		set->tick_ns = time_add(now_ns, tick_length(set));
	}
	set_schedule(set);
	return 0;
}

static int on_pidfd(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct pidfd_watch *w = userdata;
	enum ledger_state state;
	int32_t status;

	if (w->state == LEDGER_ZOMBIE) {
		/* Reaped: told by kernel 6.9, before that the rotation finds out. */
		if ((revents & EPOLLHUP) == 0)
			return 0;
		if (!w->exit.known && get_info(w->fd, &status) > 0)
			w->exit = pidfd_exit_from_status(status, w->exit.at_ns);
		set_state(w, LEDGER_GONE);
		return 0;
	}
	state = look_at_dead(w);
	if (state == LEDGER_ZOMBIE)
		to_rotation(w);
	set_state(w, state);
	return 0;
}

void pidfd_hint(struct pidfd_set *set, int32_t pid)
{
	struct pidfd_watch *w;

	LIST_FOREACH (w, bucket(set, pid), same_pid) {
		if (w->id.pid != pid || w->state != LEDGER_ALIVE || w->suspect)
			continue;
		to_suspects(w, time_add(clock_now().mono_ns, SET_HINT_NS));
		set_schedule(set);
	}
}

void pidfd_rescan(struct pidfd_set *set)
{
	set->rescan = set->status.watches;
	set->tick_ns = time_min(set->tick_ns, time_add(clock_now().mono_ns, SET_RESCAN_NS));
	set_schedule(set);
}

/* --- opening --- */

static int open_pidfd(int32_t pid, struct err *reterr)
{
	int fd;

	if (fault_is_due(FAULT_OPEN))
		return err_set(reterr, -EMFILE, "Open a pidfd: no descriptors left");
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENOSYS:
		return err_set(reterr, -ENOSYS, "This kernel has no pidfds (they came with 5.3)");
	case EPERM:
	case EACCES:
		return err_set(
			reterr, -EPERM, "Something (a seccomp filter?) forbids pidfd_open()");
	case EMFILE: return err_set(reterr, -EMFILE, "All descriptors of this process are in use");
	case ENFILE: return err_set(reterr, -ENFILE, "All descriptors of this machine are in use");
	case EINVAL: /* a thread's id */
	case ESRCH: return err_set(reterr, -ESRCH, "There is no process %d", pid);
	default: return err_wrap(reterr, -errno, "Open a pidfd of process %d", pid);
	}
}

/* Who is behind the pidfd? What is read in between holds, since the pidfd has its process still when
 * it is asked last: the pid cannot have been given to another one meanwhile. */
static int identify(struct pidfd_watch *w, const struct pidfd_spec *spec, struct err *reterr)
{
	struct proc_stat stat;
	int r, inside = 1;

	r = proc_read_stat(w->set->proc_fd, spec->pid, 0, &stat);
	if (r >= 0 && spec->container)
		inside = proc_is_in_cgroup(w->set->proc_fd, spec->pid, spec->container);
	/* EPERM says that it is there, too. */
	if (syscall(SYS_pidfd_send_signal, w->fd, 0, NULL, 0) < 0 && errno == ESRCH)
		r = -ESRCH;
	if (r == -ESRCH || inside == -ESRCH)
		return err_set(reterr, -ESRCH, "Process %d has ended", spec->pid);
	if (r < 0)
		return err_wrap(reterr, r, "Read stat of process %d", spec->pid);
	if (spec->start_ticks != 0 && stat.start_ticks != spec->start_ticks)
		return err_set(reterr, -ESRCH, "Process %d is another one by now", spec->pid);
	if (inside == 0)
		return err_set(reterr, -EXDEV, "Process %d is not in the cgroup of %s", spec->pid,
			spec->container);
	if (inside == -EAGAIN && spec->start_ticks == 0)
		return err_set(reterr, -EAGAIN,
			"Process %d is a zombie and shows no cgroup any more", spec->pid);
	if (inside < 0 && inside != -EAGAIN)
		return err_wrap(reterr, inside, "Read the cgroup of process %d", spec->pid);
	w->id = (struct proc_id){ .pid = spec->pid, .start_ticks = stat.start_ticks };
	w->seen_alive = stat.state != 'Z';
	return 0;
}

static int open_and_identify(
	struct pidfd_watch *w, const struct pidfd_spec *spec, struct err *reterr)
{
	w->fd = fd_close(w->fd);
	if (reterr)
		reterr->text[0] = '\0';
	w->fd = open_pidfd(spec->pid, reterr);
	return w->fd < 0 ? w->fd : identify(w, spec, reterr);
}

static int watch_start(struct pidfd_watch *w, const struct pidfd_spec *spec, struct err *reterr)
{
	struct pidfd_set *set = w->set;
	int r;

	if (set->status.watches > set->config.watches_max)
		return err_set(reterr, -ENOSPC, "All %u watches of processes are in use",
			set->config.watches_max);
	r = open_and_identify(w, spec, reterr);
	if (r == -EMFILE && fd_raise_limit() >= 0)
		r = open_and_identify(w, spec, reterr);
	if (r < 0)
		return r;
	/* By edge: of a thousand that are dead at once the loop hears once, not with every turn. */
	r = sd_event_add_io(set->event, &w->source, w->fd, EPOLLIN | EPOLLET, on_pidfd, w);
	if (r >= 0)
		r = sd_event_source_set_priority(w->source, set->config.priority);
	return r < 0 ? err_wrap(reterr, r, "Watch process %d", spec->pid) : 0;
}

int pidfd_watch_new(struct pidfd_set *set, const struct pidfd_spec *spec, struct pidfd_watch **ret,
	struct err *reterr)
{
	struct pidfd_watch *w = mem_zalloc(sizeof(*w));
	int r;

	if (!w)
		return err_set(reterr, -ENOMEM, "Out of memory");
	w->set = set;
	w->fd = -EBADF;
	w->state = LEDGER_ALIVE;
	w->on_state = spec->on_state;
	w->on_look = spec->on_look;
	w->userdata = spec->userdata;
	TAILQ_INSERT_TAIL(&set->rotation, w, entry);
	LIST_INSERT_HEAD(bucket(set, spec->pid), w, same_pid);
	set->status.watches++;
	r = watch_start(w, spec, reterr);
	if (r < 0) {
		set->status.refused++;
		set->status.refused_error = r;
		(void)pidfd_watch_free(w);
		return r;
	}
	/* A leader that is dead already would else be found with the rotation only. */
	if (!w->seen_alive)
		to_suspects(w, time_add(clock_now().mono_ns, SET_HINT_NS));
	set_schedule(set);
	*ret = w;
	return 0;
}

struct pidfd_watch *pidfd_watch_free(struct pidfd_watch *w)
{
	if (!w)
		return NULL;
	if (is_followed(w))
		forget_process(w);
	w->set->status.watches--;
	w->set->status.zombie_threads -= w->state == LEDGER_ZOMBIE_THREADS;
	set_stuck(w, false);
	set_schedule(w->set);
	return mem_free(w);
}

struct proc_id pidfd_watch_id(const struct pidfd_watch *w)
{
	return w->id;
}

enum ledger_state pidfd_watch_state(const struct pidfd_watch *w)
{
	return w->state;
}

int pidfd_watch_fd(const struct pidfd_watch *w)
{
	return w->fd;
}

/* --- the set --- */

int pidfd_set_new(sd_event *event, const struct pidfd_set_config *config, struct pidfd_set **ret)
{
	CLEAN(pidfd_set_freep) struct pidfd_set *set = mem_zalloc(sizeof(*set));
	int r;

	if (!set)
		return -ENOMEM;
	set->proc_fd = -EBADF;
	TAILQ_INIT(&set->rotation);
	TAILQ_INIT(&set->suspects);
	set->config = config ? *config : (struct pidfd_set_config){ 0 };
	set->config.watches_max = set->config.watches_max ?: PIDFD_WATCHES_MAX;
	set->config.rotation_ns = set->config.rotation_ns ?: SET_ROTATION_NS;
	set->config.looks_per_tick = set->config.looks_per_tick ?: SET_LOOKS;
	set->config.zombie_confirm_ns = set->config.zombie_confirm_ns ?: SET_CONFIRM_NS;
	set->event = sd_event_ref(event);
	r = proc_open();
	if (r < 0)
		return r;
	set->proc_fd = r;
	r = sd_event_add_time(event, &set->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, set);
	if (r < 0)
		return r;
	(void)sd_event_source_set_priority(set->timer, set->config.priority + SET_LOOK_PRIORITY);
	(void)sd_event_source_set_enabled(set->timer, SD_EVENT_OFF);
	*ret = TAKE_PTR(set);
	return 0;
}

struct pidfd_set *pidfd_set_free(struct pidfd_set *set)
{
	if (!set)
		return NULL;
	set->timer = sd_event_source_disable_unref(set->timer);
	set->proc_fd = fd_close(set->proc_fd);
	set->event = sd_event_unref(set->event);
	return mem_free(set);
}

void pidfd_status(const struct pidfd_set *set, struct pidfd_status *ret)
{
	*ret = set->status;
}
