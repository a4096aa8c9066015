#include "agent/hints.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/leftovers.h"
#include "agent/parents.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/table.h"
#include "ledger/feed.h"
#include "runtime/containerd.h"
#include "runtime/cri-events.h"
#include "runtime/docker-events.h"

/* Of the list of tasks: containerd gives each shim 2 s, one after the other. */
#define HINTS_TASKS_TIMEOUT_NS (10 * NSEC_PER_SEC)

/* One init with a pidfd. The key of `watched` is its id. */
struct watched {
	struct hints *hints;
	struct pidfd_watch *watch;
	struct parent *shim; /* NULL: not known */
	uint64_t start_ticks;
	char id[HINT_ID_MAX + 1];
};

struct hints {
	struct hints_options options;
	struct ledger *ledger;
	struct pidfd_set *pidfds;
	struct table watched;
	struct timer *timer;
	/* NULL or -EBADF: is_once, or they cannot be had. */
	struct connector *connector;
	struct groups *groups;
	struct cgroup_mounts cgroups;
	struct parents *parents;
	struct leftovers *leftovers;
	struct timer *leftovers_timer;
	uint64_t leftovers_due_ns; /* NSEC_NEVER: there is none to look at */
	int proc_fd;
	/* One of them, or none. */
	struct containerd *containerd;
	struct cri_events *cri;
	struct docker_events *docker;
	char endpoint[256], runtime[160]; /* that they are of; the name and the version */
	bool cri_is_safe;
	enum hints_stream stream;
	char stream_why[200];
	struct ledger_feed feed;
	int degraded_error; /* of pidfds, last told in the log */
	char degraded_why[160];
};

const char *hints_stream_text(enum hints_stream stream)
{
	switch (stream) {
	case HINTS_STREAM_NONE: return "none";
	case HINTS_STREAM_DOWN: return "down";
	case HINTS_STREAM_UP: return "up";
	case HINTS_STREAM_ABSENT: return "absent";
	}
	return "unknown";
}

static void hints_set_stream(struct hints *h, enum hints_stream stream, const char *why)
{
	(void)snprintf(h->stream_why, sizeof(h->stream_why), "%s", str_or_empty(why));
	if (h->stream == stream)
		return;
	log_info("Event stream of the runtime", "from", hints_stream_text(h->stream), "to",
		hints_stream_text(stream), "why", h->stream_why, NULL);
	h->stream = stream;
}

/* ---- what the ledger says ---------------------------------------------------------------------- */

static bool hints_sources_are_good(const struct hints *h)
{
	/* CRI's stream gives no pids, so that nothing tells of a death that it lost. */
	return h->stream == HINTS_STREAM_UP && h->containerd && h->degraded_error == 0;
}

static void hints_feed_tell(void *userdata, struct event *event)
{
	struct hints *h = userdata;

	h->options.ops->tell(h->options.userdata, event);
}

static void hints_feed_wake(void *userdata, const char *container_id)
{
	struct hints *h = userdata;

	h->options.ops->wake(h->options.userdata, container_id);
}

static void hints_feed_flush(void *userdata)
{
	struct hints *h = userdata;

	h->options.ops->flush(h->options.userdata);
}

static const struct ledger_feed_ops feed_ops = {
	.tell = hints_feed_tell,
	.wake = hints_feed_wake,
	.flush = hints_feed_flush,
};

/* After each input of the loop's. */
static void hints_drain(struct hints *h)
{
	if (h->feed.is_draining)
		return;
	ledger_feed_drain(&h->feed, hints_sources_are_good(h));
	(void)timer_set(h->timer, ledger_next_due(h->ledger));
}

static void hints_on_due(void *userdata)
{
	struct hints *h = userdata;

	ledger_on_tick(h->ledger, clock_now());
	hints_drain(h);
}

/* ---- what belongs to an init: its group and its shim --------------------------------------------- */

static void hints_on_group(
	void *userdata, const char *container_id, const struct ledger_group *group)
{
	struct hints *h = userdata;

	ledger_on_group(h->ledger, container_id, group);
}

static void watched_look_at_shim(void *userdata)
{
	struct watched *w = userdata;
	struct hints *h = w->hints;

	if (w->shim)
		ledger_on_shim(h->ledger, w->id, w->start_ticks,
			parent_look(w->shim, clock_now().mono_ns));
}

/* Once, when it is first seen: the group of a dead one is not to be found any more, nor its shim. */
static void watched_meet(struct watched *w, int32_t pid)
{
	struct hints *h = w->hints;
	char text[PROC_TEXT_MAX];
	int n;

	if (h->parents)
		w->shim = parents_of(h->parents, pid);
	watched_look_at_shim(w);
	n = h->groups ? proc_read_text(h->proc_fd, pid, 0, PROC_CGROUP, text, sizeof(text))
		      : -ENOENT;
	if (n > 0)
		groups_watch(h->groups, w->id, text, (size_t)n);
}

static int hints_make_groups(struct hints *h)
{
	struct groups_options options = {
		.loop = h->options.loop,
		.mounts = &h->cgroups,
		.on_group = hints_on_group,
		.userdata = h,
	};
	int r;

	if (h->options.is_once)
		return 0;
	r = proc_open();
	if (r < 0)
		return r;
	h->proc_fd = r;
	r = cgroup_read_mounts(&h->cgroups);
	if (r < 0) {
		log_warning("OOM kills are told by the runtime only: no cgroups were found",
			"error", err_text(NULL, r), NULL);
		h->cgroups = (struct cgroup_mounts){ 0 };
	}
	r = groups_new(&options, &h->groups);
	return r < 0 ? r : parents_new(h->options.containers_max, &h->parents);
}

/* ---- inits ------------------------------------------------------------------------------------- */

static void watched_free(struct watched *w)
{
	(void)table_remove_string(&w->hints->watched, w->id);
	w->watch = pidfd_watch_free(w->watch);
	w->shim = parent_release(w->shim);
	(void)mem_free(w);
}

static void watched_on_state(struct pidfd_watch *watch, enum ledger_state state,
	const struct ledger_exit *exit, void *userdata)
{
	struct watched *w = userdata;
	struct hints *h = w->hints;

	(void)watch;
	ledger_on_state(h->ledger, w->id, w->start_ticks, state, exit, clock_now());
	hints_drain(h); /* Subscribers first; nothing that this calls frees a watch. */
	/* The kill was counted before the death, and the shim removes the group soon. */
	if (h->groups && ledger_state_is_dead(state))
		groups_look(h->groups, w->id);
	if (state == LEDGER_GONE) {
		ledger_on_shim(h->ledger, w->id, w->start_ticks, (struct ledger_shim){ 0 });
		watched_free(w);
	}
}

/* Of a process that has ended before it could be watched the stream and the relist tell. */
static bool is_degraded(int error)
{
	return error == -ENOSYS || error == -EPERM || error == -EMFILE || error == -ENFILE ||
		error == -ENOSPC;
}

/* Restarted under its id, as Docker does. Only now that there is another one: a late word of a pid that
 * is no more must not cost the watch of the one that lives. */
static void watched_replace(struct hints *h, const struct watched *w)
{
	struct watched *before = table_get_string(&h->watched, w->id);

	if (before)
		watched_free(before);
}

static int watched_new(struct hints *h, const char *id, int32_t pid, struct err *reterr)
{
	struct watched *w = mem_zalloc(sizeof(*w));
	struct pidfd_spec spec = {
		.pid = pid,
		.on_state = watched_on_state,
		.on_look = watched_look_at_shim,
		.userdata = w,
	};
	int r;

	if (!w)
		return -ENOMEM;
	w->hints = h;
	(void)snprintf(w->id, sizeof(w->id), "%s", id);
	spec.container = w->id;
	r = pidfd_watch_new(h->pidfds, &spec, &w->watch, reterr);
	if (r >= 0) {
		w->start_ticks = pidfd_watch_id(w->watch).start_ticks;
		watched_replace(h, w);
		r = table_put_string(&h->watched, w->id, w);
		if (r >= 0)
			r = ledger_on_init(h->ledger, id, pid, w->start_ticks, clock_now());
		if (r >= 0) {
			/* A zombie is told from the loop, with its exit. */
			if (pidfd_watch_state(w->watch) == LEDGER_ALIVE)
				ledger_on_state(h->ledger, id, w->start_ticks, LEDGER_ALIVE, NULL,
					clock_now());
			watched_meet(w, pid);
			return 0;
		}
		(void)table_remove_string(&h->watched, w->id);
		w->watch = pidfd_watch_free(w->watch);
	}
	(void)mem_free(w);
	return r;
}

static void hints_watch(struct hints *h, const char *id, int32_t pid)
{
	struct watched *before = table_get_string(&h->watched, id);
	struct err e = { 0 };
	int r;

	if (pid <= 0 || !h->pidfds)
		return;
	if (before && pidfd_watch_id(before->watch).pid == pid)
		return;
	r = watched_new(h, id, pid, &e);
	if (r >= 0)
		return;
	log_debug("Init is not watched", "container", id, "pid", FMT("%d", pid), "error",
		err_text(&e, r), NULL);
	if (!is_degraded(r))
		return;
	if (h->degraded_error != r)
		log_warning("Deaths are seen later: an init cannot be watched", "error",
			err_text(&e, r), NULL);
	h->degraded_error = r;
	(void)snprintf(h->degraded_why, sizeof(h->degraded_why), "%s", err_text(&e, r));
}

/* ---- the connector ----------------------------------------------------------------------------- */

static void hints_set_leftovers(struct hints *h, uint64_t due_ns)
{
	h->leftovers_due_ns = due_ns;
	(void)timer_set(h->leftovers_timer, due_ns);
}

static void hints_on_leftovers(void *userdata)
{
	struct hints *h = userdata;

	hints_set_leftovers(h, leftovers_look(h->leftovers, clock_now().mono_ns));
}

/* A dead leader with a living thread is found at once, and not with the next rotation. */
static void hints_on_exit(int32_t pid, void *userdata)
{
	struct hints *h = userdata;

	pidfd_hint(h->pidfds, pid);
	/* Set once for many: only the first of them decides when. */
	if (h->leftovers_due_ns == NSEC_NEVER)
		hints_set_leftovers(h, leftovers_note(h->leftovers, pid, clock_now().mono_ns));
	else
		(void)leftovers_note(h->leftovers, pid, clock_now().mono_ns);
}

static void hints_on_rescan(void *userdata)
{
	struct hints *h = userdata;

	pidfd_rescan(h->pidfds);
}

static void hints_on_connector(enum connector_state state, const char *reason, void *userdata)
{
	(void)userdata;
	log_info("Process connector", "state", connector_state_text(state), "reason", reason, NULL);
}

static int hints_connect(struct hints *h)
{
	struct connector_config config = {
		.on_exit_hint = hints_on_exit,
		.on_rescan = hints_on_rescan,
		.on_state = hints_on_connector,
		.userdata = h,
	};
	struct connector_status status;
	int r;

	if (h->options.is_once)
		return 0;
	r = leftovers_new(&h->leftovers);
	if (r >= 0)
		r = timer_new(
			h->options.loop, NSEC_NEVER, hints_on_leftovers, h, &h->leftovers_timer);
	if (r < 0)
		return r;
	h->leftovers_due_ns = NSEC_NEVER;
	r = connector_new(h->options.loop, &config, &h->connector);
	if (r < 0)
		return r;
	if (connector_start(h->connector) < 0) {
		connector_status(h->connector, &status);
		hints_on_connector(status.state, status.reason, h);
	}
	return 0;
}

/* ---- the stream -------------------------------------------------------------------------------- */

static bool hint_to_fact(enum hint_type type, enum ledger_stream_event *ret)
{
	switch (type) {
	case HINT_CREATE: return false; /* Nothing runs yet that could die. */
	case HINT_START: *ret = LEDGER_STREAM_START; return true;
	case HINT_EXIT: *ret = LEDGER_STREAM_EXIT; return true;
	case HINT_DELETE: *ret = LEDGER_STREAM_DELETE; return true;
	case HINT_OOM: *ret = LEDGER_STREAM_OOM; return true;
	case HINT_PAUSED: *ret = LEDGER_STREAM_PAUSED; return true;
	case HINT_RESUMED: *ret = LEDGER_STREAM_RESUMED; return true;
	}
	return false;
}

static void hints_on_hint(void *userdata, const struct hint *hint)
{
	struct hints *h = userdata;
	struct ledger_exit exit = { 0 };
	struct ledger_stream_fact fact = {
		.container_id = hint->container_id,
		.pid = hint->pid,
		.at_ns = hint->sent_at_ns,
	};

	if (!hint->is_init || !hint_to_fact(hint->type, &fact.event))
		return;
	if (hint->has_exit_code) {
		exit = (struct ledger_exit){
			.known = true, .code = hint->exit_code, .at_ns = hint->exited_at_ns
		};
		fact.exit = &exit;
	}
	ledger_on_stream(h->ledger, &fact, clock_now());
	if (hint->type == HINT_START)
		hints_watch(h, hint->container_id, hint->pid);
	hints_drain(h);
}

/* What a list of tasks says of pauses, which happened before the stream was up. */
static void hints_note_pause(struct hints *h, const struct containerd_task *task)
{
	struct ledger_stream_fact fact = {
		.container_id = task->container_id,
		.pid = task->pid,
		.event = LEDGER_STREAM_PAUSED,
	};

	if (task->status == CONTAINERD_RUNNING)
		fact.event = LEDGER_STREAM_RESUMED;
	else if (task->status != CONTAINERD_PAUSED)
		return;
	ledger_on_stream(h->ledger, &fact, clock_now());
}

static void hints_on_tasks(void *userdata, const struct containerd_result *result)
{
	struct hints *h = userdata;
	struct containerd_task task;
	struct slice rest = result->tasks;

	if (result->outcome != RUNTIME_OK) {
		if (result->outcome != RUNTIME_CANCELLED)
			log_debug("Tasks not listed", "message", result->message, NULL);
		return;
	}
	while (containerd_next_task(&rest, &task))
		if (task.status != CONTAINERD_STOPPED && task.status != CONTAINERD_CREATED) {
			hints_watch(h, task.container_id, task.pid);
			hints_note_pause(h, &task);
		}
	hints_drain(h);
}

static const struct containerd_callbacks tasks_callbacks = { .on_done = hints_on_tasks };

/* What happened before the stream was up is in the tasks and in the list. */
static void hints_catch_up(struct hints *h)
{
	int r = 0;

	/* Docker's inspections tell the pids. */
	if (h->containerd)
		r = containerd_list_tasks(
			h->containerd, &tasks_callbacks, h, HINTS_TASKS_TIMEOUT_NS);
	if (r < 0 && r != -EALREADY)
		log_debug("Tasks not listed", "error", err_text(NULL, r), NULL);
	h->options.ops->relist(h->options.userdata);
}

static void hints_open_cri(struct hints *h);

static void hints_on_absent(struct hints *h, const char *why)
{
	bool is_own = h->containerd != NULL;

	if (is_own && h->cri_is_safe) {
		h->containerd = containerd_free(h->containerd);
		hints_open_cri(h);
	} else if (is_own) {
		hints_set_stream(h, HINTS_STREAM_ABSENT,
			FMT("%.60s; CRI's would be taken away from a kubelet", why));
	} else {
		hints_set_stream(h, HINTS_STREAM_ABSENT, why);
	}
}

static void hints_on_stream(void *userdata, enum hint_news news, const char *why)
{
	struct hints *h = userdata;

	switch (news) {
	case HINT_STREAM_DOWN: hints_set_stream(h, HINTS_STREAM_DOWN, why); break;
	case HINT_STREAM_ABSENT: hints_on_absent(h, why); break;
	case HINT_STREAM_UP:
		hints_set_stream(h, HINTS_STREAM_UP, "");
		hints_catch_up(h);
		break;
	case HINT_STREAM_GAP: hints_catch_up(h); break;
	}
}

static const struct hint_callbacks hint_callbacks = {
	.on_hint = hints_on_hint,
	.on_stream = hints_on_stream,
};

static void hints_open_cri(struct hints *h)
{
	struct err e = { 0 };
	int r;

	hints_set_stream(h, HINTS_STREAM_DOWN, "not opened yet");
	r = cri_events_open(h->options.loop, h->endpoint, &hint_callbacks, h, &h->cri, &e);
	if (r < 0)
		log_warning("Event stream not opened", "error", err_text(&e, r), NULL);
}

static void hints_open_containerd(struct hints *h)
{
	struct err e = { 0 };
	int r;

	hints_set_stream(h, HINTS_STREAM_DOWN, "not opened yet");
	r = containerd_open(h->options.loop, h->endpoint, CONTAINERD_NAMESPACE_CRI, &hint_callbacks,
		h, &h->containerd, &e);
	if (r < 0)
		log_warning("Event stream not opened", "error", err_text(&e, r), NULL);
}

static void hints_open_docker(struct hints *h)
{
	struct err e = { 0 };
	int r;

	hints_set_stream(h, HINTS_STREAM_DOWN, "not opened yet");
	r = docker_events_open(h->options.loop, h->endpoint, &hint_callbacks, h, &h->docker, &e);
	if (r < 0)
		log_warning("Event stream not opened", "error", err_text(&e, r), NULL);
}

/* containerd is asked by its own stream, which tells more and is everybody's. CRI's is for the
 * others, and for a containerd without its own where it is shared; that there is no kubelet now does
 * not help, since one may come. */
void hints_set_runtime(struct hints *h, enum runtime_kind kind, const char *endpoint,
	const char *name, const char *version)
{
	char runtime[sizeof(h->runtime)] = "";

	if (endpoint && name)
		(void)snprintf(runtime, sizeof(runtime), "%s %s %s", runtime_kind_text(kind), name,
			str_or_empty(version));
	if (str_eq(h->runtime, runtime) && str_eq(h->endpoint, str_or_empty(endpoint)))
		return;
	h->containerd = containerd_free(h->containerd);
	h->cri = cri_events_free(h->cri);
	h->docker = docker_events_free(h->docker);
	(void)snprintf(h->endpoint, sizeof(h->endpoint), "%s", str_or_empty(endpoint));
	(void)snprintf(h->runtime, sizeof(h->runtime), "%s", runtime);
	if (runtime[0] == '\0') {
		hints_set_stream(h, HINTS_STREAM_NONE, "");
		return;
	}
	h->cri_is_safe = cri_events_is_safe(name, str_or_empty(version), true);
	/* cri-dockerd calls itself docker, too, and speaks CRI. */
	if (kind == RUNTIME_DOCKER)
		hints_open_docker(h);
	else if (str_eq(name, "containerd"))
		hints_open_containerd(h);
	else if (h->cri_is_safe)
		hints_open_cri(h);
	else
		hints_set_stream(h, HINTS_STREAM_NONE, "");
}

/* ---- what PLEG says ---------------------------------------------------------------------------- */

void hints_on_status(struct hints *h, const struct container_status *status)
{
	struct ledger_stream_fact paused = {
		.container_id = status->id,
		.pid = status->init_pid,
		.event = LEDGER_STREAM_PAUSED,
	};

	if (status->state == CONTAINER_RUNNING && status->init_pid > 0)
		hints_watch(h, status->id, status->init_pid);
	/* That it goes on is told by an event only: CRI knows of no pauses, and calls it running. */
	if (status->detail == CONTAINER_PAUSED)
		ledger_on_stream(h->ledger, &paused, clock_now());
}

void hints_on_records(struct hints *h, const struct pleg *pleg, struct now now)
{
	struct pleg_pod pod;
	size_t cursor = 0;

	while (pleg_next_pod(pleg, &cursor, &pod))
		for (size_t i = 0; i < pod.container_count; i++) {
			const struct pleg_container *c = &pod.containers[i];
			struct event identity = {
				.kind = c->kind,
				.namespace = pod.namespace,
				.pod = pod.name,
				.pod_uid = pod.uid,
				.container = c->name,
				.container_id = c->id,
				.sandbox_id = c->sandbox_id,
				.attempt = c->attempt,
			};

			ledger_on_runtime(h->ledger, &identity, c->state, now);
		}
}

void hints_on_event(struct hints *h, const struct event *event, struct now now)
{
	ledger_feed_event(&h->feed, event, now);
	if (h->groups && event->type == EVENT_CONTAINER_REMOVED)
		groups_forget(h->groups, event->container_id);
}

void hints_settle(struct hints *h)
{
	hints_drain(h);
}

void hints_on_list(struct hints *h, uint64_t started_ns, struct now now)
{
	ledger_on_list(h->ledger, started_ns, now);
	hints_drain(h);
}

/* ---- state ------------------------------------------------------------------------------------- */

bool hints_are_calm(const struct hints *h)
{
	return hints_sources_are_good(h) && ledger_is_calm(h->ledger);
}

const struct ledger *hints_ledger(const struct hints *h)
{
	return h->ledger;
}

void hints_state(const struct hints *h, struct now now, struct hints_state *ret)
{
	*ret = (struct hints_state){
		.stream = h->stream,
		.stream_why = h->stream_why,
		.stream_source = h->docker ? "docker"
			: h->containerd    ? "containerd"
			: h->cri           ? "cri"
					   : NULL,
		.stream_is_cri = h->cri != NULL,
		.connector = { .state = CONNECTOR_OFF, .reason = "" },
		.groups.why = "",
		.watch_why = h->degraded_why,
	};
	if (h->connector)
		connector_status(h->connector, &ret->connector);
	if (h->leftovers)
		ret->leftovers = leftovers_kept(h->leftovers);
	if (h->groups)
		groups_state(h->groups, &ret->groups);
	if (h->pidfds)
		pidfd_status(h->pidfds, &ret->pidfds);
	if (h->containerd)
		containerd_statistics(h->containerd, &ret->hints);
	if (h->cri)
		cri_events_statistics(h->cri, &ret->hints);
	if (h->docker)
		docker_events_statistics(h->docker, &ret->hints);
	ledger_stats(h->ledger, &ret->ledger);
	ret->differences = ledger_differences(h->ledger, now);
}

/* ---- lifetime ---------------------------------------------------------------------------------- */

int hints_new(const struct hints_options *options, struct hints **ret)
{
	/* Deaths before everything else that the same turn of the loop brings. */
	struct pidfd_set_config pidfds = { .priority = SD_EVENT_PRIORITY_NORMAL - 10 };
	CLEAN(hints_freep) struct hints *h = mem_zalloc(sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	h->options = *options;
	h->proc_fd = -EBADF;
	h->watched = TABLE_INIT(options->containers_max);
	r = ledger_new(options->containers_max, &h->ledger);
	if (r < 0)
		return r;
	h->feed = (struct ledger_feed){ .ledger = h->ledger, .ops = &feed_ops, .userdata = h };
	r = timer_new(options->loop, NSEC_NEVER, hints_on_due, h, &h->timer);
	if (r < 0)
		return r;
	r = pidfd_set_new(options->loop, &pidfds, &h->pidfds);
	if (r >= 0)
		r = hints_make_groups(h);
	if (r >= 0)
		r = hints_connect(h);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(h);
	return 0;
}

struct hints *hints_free(struct hints *h)
{
	struct watched *w;
	size_t cursor = 0;

	if (!h)
		return NULL;
	h->connector = connector_free(h->connector);
	h->containerd = containerd_free(h->containerd);
	h->cri = cri_events_free(h->cri);
	h->docker = docker_events_free(h->docker);
	while ((w = table_next(&h->watched, &cursor)) != NULL)
		watched_free(w);
	table_done(&h->watched);
	h->pidfds = pidfd_set_free(h->pidfds);
	h->groups = groups_free(h->groups);
	h->parents = parents_free(h->parents);
	h->leftovers_timer = timer_free(h->leftovers_timer);
	h->leftovers = leftovers_free(h->leftovers);
	h->proc_fd = fd_close(h->proc_fd);
	h->timer = timer_free(h->timer);
	h->ledger = ledger_free(h->ledger);
	return mem_free(h);
}
