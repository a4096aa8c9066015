#include "kernel/cgroup-watch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/time.h"

#define WATCH_MASK (IN_MODIFY | IN_DELETE_SELF)

/* v1 gives its notice before it kills, and none after it: look again after 10, 20, 40 ... ms. */
#define AFTER_OOM_NS    (10 * NSEC_PER_MSEC)
#define AFTER_OOM_TRIES 9u

struct cgroup_watch {
	struct cgroup_watch_spec spec; /* its paths are not kept */
	sd_event_source *events, *memory, *oom, *parent, *again;
	int unified_fd, memory_fd, oom_fd; /* directories; the eventfd */
	char name[NAME_MAX + 1];           /* of the group, in its parent directory */
	struct cgroup_facts facts;
	uint64_t kills_before; /* when the last v1 notice came */
	unsigned tries;
};

/* --- facts --- */

/* 1: read, 0: a group is gone, negative: an error. */
static int read_facts(const struct cgroup_watch *w, struct cgroup_facts *facts)
{
	int r = 1;

	if (facts->has_events)
		r = cgroup_read_events(w->unified_fd, &facts->events);
	if (r > 0 && facts->has_oom)
		r = cgroup_read_oom(w->memory_fd, &facts->oom);
	return r;
}

static bool facts_differ(const struct cgroup_facts *a, const struct cgroup_facts *b)
{
	return a->events.populated != b->events.populated || a->events.frozen != b->events.frozen ||
		a->oom.oom != b->oom.oom || a->oom.oom_kill != b->oom.oom_kill ||
		a->oom.under_oom != b->oom.under_oom ||
		a->oom.kill_disabled != b->oom.kill_disabled || a->gone != b->gone;
}

static void drop_sources(struct cgroup_watch *w)
{
	w->events = sd_event_source_disable_unref(w->events);
	w->memory = sd_event_source_disable_unref(w->memory);
	w->oom = sd_event_source_disable_unref(w->oom);
	w->parent = sd_event_source_disable_unref(w->parent);
	w->again = sd_event_source_disable_unref(w->again);
	w->oom_fd = fd_close(w->oom_fd);
}

/* After a notice. `w` may be gone afterwards. */
static void look(struct cgroup_watch *w, bool deleted)
{
	struct cgroup_facts now = w->facts;

	if (deleted || read_facts(w, &now) == 0)
		now.gone = true;
	if (now.gone)
		drop_sources(w);
	if (!facts_differ(&now, &w->facts))
		return;
	w->facts = now;
	w->spec.on_change(w, &w->facts, w->spec.userdata);
}

static int on_inotify(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
	look(userdata, (event->mask & (IN_DELETE_SELF | IN_IGNORED)) != 0);
	return 0;
}

/* The kernel tells of removed cgroups only here: their files' inodes never hear of it. */
static int on_parent(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
	struct cgroup_watch *w = userdata;

	if (event->len > 0 && str_eq(event->name, w->name))
		look(w, true);
	return 0;
}

static void look_again_later(struct cgroup_watch *w)
{
	uint64_t at_ns = time_add(clock_now().mono_ns, AFTER_OOM_NS << w->tries);

	w->tries++;
	(void)sd_event_source_set_time(w->again, at_ns / NSEC_PER_USEC + 1);
	(void)sd_event_source_set_enabled(w->again, SD_EVENT_ONESHOT);
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct cgroup_watch *w = userdata;
	struct cgroup_oom oom;

	if (cgroup_read_oom(w->memory_fd, &oom) > 0 && oom.oom_kill == w->kills_before &&
		w->tries < AFTER_OOM_TRIES)
		look_again_later(w);
	look(w, false);
	return 0;
}

static int on_eventfd(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct cgroup_watch *w = userdata;
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0 && errno == EAGAIN)
		return 0;
	w->kills_before = w->facts.oom.oom_kill;
	w->tries = 0;
	look_again_later(w);
	look(w, false);
	return 0;
}

/* --- start --- */

static int watch_file(struct cgroup_watch *w, sd_event *event, const char *folder, const char *file,
	sd_event_source **ret)
{
	char path[CGROUP_PATH_MAX + 32];
	int r;

	if (fault_is_due(FAULT_OPEN))
		return -EMFILE;
	(void)snprintf(path, sizeof(path), "%s/%s", folder, file);
	r = sd_event_add_inotify(event, ret, path, WATCH_MASK, on_inotify, w);
	return r < 0 ? r : sd_event_source_set_priority(*ret, w->spec.priority);
}

static int watch_parent(struct cgroup_watch *w, sd_event *event, const char *path)
{
	const char *slash = strrchr(path, '/');
	char parent[CGROUP_PATH_MAX];
	int r;

	if (!slash || slash == path || strlen(slash + 1) >= sizeof(w->name) ||
		(size_t)(slash - path) >= sizeof(parent))
		return -EINVAL;
	(void)snprintf(w->name, sizeof(w->name), "%s", slash + 1);
	(void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
	r = sd_event_add_inotify(event, &w->parent, parent, IN_DELETE | IN_ONLYDIR, on_parent, w);
	return r < 0 ? r : sd_event_source_set_priority(w->parent, w->spec.priority);
}

/* v1: the eventfd counts each time the group runs out of memory, and once when it is removed. */
static int watch_oom_control(struct cgroup_watch *w, sd_event *event)
{
	CLEAN_FD int control = -EBADF, file = -EBADF;
	char line[48];
	int r;

	file = openat(w->memory_fd, "memory.oom_control", O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return -errno;
	control = openat(w->memory_fd, "cgroup.event_control", O_WRONLY | O_CLOEXEC);
	if (control < 0)
		return -errno;
	w->oom_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->oom_fd < 0)
		return -errno;
	(void)snprintf(line, sizeof(line), "%d %d", w->oom_fd, file);
	if (write(control, line, strlen(line)) < 0)
		return -errno;
	r = sd_event_add_time(event, &w->again, CLOCK_MONOTONIC, 0, 1000, on_again, w);
	if (r < 0)
		return r;
	(void)sd_event_source_set_enabled(w->again, SD_EVENT_OFF);
	r = sd_event_add_io(event, &w->oom, w->oom_fd, EPOLLIN, on_eventfd, w);
	return r < 0 ? r : sd_event_source_set_priority(w->oom, w->spec.priority);
}

static int start_unified(struct cgroup_watch *w, sd_event *event, const char *path)
{
	int r;

	w->unified_fd = cgroup_open(path);
	if (w->unified_fd < 0)
		return w->unified_fd;
	w->facts.has_events = true;
	r = watch_file(w, event, path, "cgroup.events", &w->events);
	return r < 0 ? r : watch_parent(w, event, path);
}

static int start_memory(struct cgroup_watch *w, sd_event *event, const char *path)
{
	struct cgroup_oom oom;
	int r;

	w->memory_fd = cgroup_open(path);
	if (w->memory_fd < 0)
		return w->memory_fd;
	r = cgroup_read_oom(w->memory_fd, &oom);
	if (r <= 0)
		return r; /* No memory controller here: nothing to watch. */
	w->facts.has_oom = true;
	if (oom.has_oom)
		return watch_file(w, event, path, "memory.events", &w->memory);
	return watch_oom_control(w, event);
}

int cgroup_watch_new(
	sd_event *event, const struct cgroup_watch_spec *spec, struct cgroup_watch **ret)
{
	CLEAN(cgroup_watch_freep) struct cgroup_watch *w = mem_zalloc(sizeof(*w));
	int r = 0;

	if (!w)
		return -ENOMEM;
	w->spec = *spec;
	w->spec.unified = w->spec.memory = NULL;
	w->unified_fd = w->memory_fd = w->oom_fd = -EBADF;
	if (spec->unified)
		r = start_unified(w, event, spec->unified);
	if (r >= 0 && spec->memory)
		r = start_memory(w, event, spec->memory);
	if (r < 0)
		return r;
	if (!w->facts.has_events && !w->facts.has_oom)
		return -ENOENT;
	/* Only now, or a change between reading and watching would not be told. */
	r = read_facts(w, &w->facts);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	*ret = TAKE_PTR(w);
	return 0;
}

struct cgroup_watch *cgroup_watch_free(struct cgroup_watch *w)
{
	if (!w)
		return NULL;
	drop_sources(w);
	w->unified_fd = fd_close(w->unified_fd);
	w->memory_fd = fd_close(w->memory_fd);
	return mem_free(w);
}

void cgroup_watch_look(struct cgroup_watch *w)
{
	if (!w->facts.gone)
		look(w, false);
}

const struct cgroup_facts *cgroup_watch_facts(const struct cgroup_watch *w)
{
	return &w->facts;
}
