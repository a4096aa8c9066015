#include "doctor/collect.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "doctor/collect-internal.h"
#include "kernel/probe-agent.h"
#include "runtime/shim.h"

#define SLICE_NS      NSEC_PER_MSEC /* of one turn of the loop */
#define ACCURACY_USEC 1000u

/* --- stages --- */

static const char *stage_text(enum collect_stage stage)
{
	switch (stage) {
	case STAGE_NODE: return "the node";
	case STAGE_SWEEP: return "processes";
	case STAGE_TASKS: return "threads";
	case STAGE_CHOOSE:
	case STAGE_PROCESSES: return "processes that stand out";
	case STAGE_THREADS: return "threads that wait";
	case STAGE_RELATIVES: return "parents and tracers";
	case STAGE_SOCKETS: return "sockets";
	case STAGE_SHIMS: return "shims";
	case STAGE_MOUNTS: return "mounts";
	case STAGE_SERVERS: return "FUSE servers";
	case STAGE_PAUSES: return "frozen containers";
	case STAGE_HOLDERS: return "who holds what is busy";
	case STAGE_QUESTIONS: return "processes that may hold a lock";
	case STAGE_WAIT: return "answers";
	case STAGE_FINISH: return "the end";
	}
	return "";
}

static enum collect_step wait_for_answers(struct collect *c)
{
	return c->questions_open > 0 || c->shims_open > 0 || !collect_runtime_is_done(c)
		? COLLECT_HOLD
		: COLLECT_NEXT;
}

static enum collect_step run_stage(struct collect *c)
{
	switch (c->stage) {
	case STAGE_NODE: return collect_node(c);
	case STAGE_SWEEP: return collect_sweep(c);
	case STAGE_TASKS: return collect_tasks(c);
	case STAGE_CHOOSE: return collect_choose(c);
	case STAGE_PROCESSES: return collect_processes(c);
	case STAGE_THREADS: return collect_threads(c);
	case STAGE_RELATIVES: return collect_relatives(c);
	case STAGE_SOCKETS: return collect_sockets(c);
	case STAGE_SHIMS: return collect_shims(c);
	case STAGE_MOUNTS: return collect_mounts(c);
	case STAGE_PAUSES: return collect_pauses(c);
	case STAGE_SERVERS: return collect_servers(c);
	case STAGE_HOLDERS: return collect_holders(c);
	case STAGE_QUESTIONS: return collect_questions(c);
	case STAGE_WAIT: return wait_for_answers(c);
	case STAGE_FINISH: return COLLECT_HOLD;
	}
	return COLLECT_HOLD;
}

/* --- the end of a sample --- */

static void forget_sample(struct collect *c)
{
	collect_runtime_end(c);
	collect_questions_end(c);
	collect_shims_end(c);
	proc_walk_done(&c->walk);
	proc_walk_done(&c->tasks);
	c->walk_open = c->tasks_open = false;
	c->seen = mem_free(c->seen);
	c->candidates = mem_free(c->candidates);
	table_done(&c->ids);
	c->listeners = mem_free(c->listeners);
	c->fuse_fd = fd_close(c->fuse_fd);
	c->namespaces = mem_free(c->namespaces);
	table_done(&c->namespace_table);
	c->reference_devices = mem_free(c->reference_devices);
	collect_table_done(&c->table);
	c->tasks_told = mem_free(c->tasks_told);
	c->task_count = c->pin_count = c->told_busies = c->fuse_holders = 0;
	c->finished_ns = mem_free(c->finished_ns);
	c->has_process = mem_free(c->has_process);
	c->pause_count = c->watched_count = c->orphan_count = c->has_process_count = 0;
	c->seen_count = c->seen_room = 0;
	c->candidate_count = c->candidate_room = 0;
	c->listener_count = c->namespace_count = c->net_count = 0;
	c->reference_count = c->reference_room = 0;
	c->evidence = evidence_free(c->evidence);
	(void)sd_event_source_set_enabled(c->turn, SD_EVENT_OFF);
	(void)sd_event_source_set_enabled(c->deadline, SD_EVENT_OFF);
}

/* Calls back, once; nothing is touched after that but by a new start from inside. */
static void end_sample(struct collect *c)
{
	collect_on_done on_done = c->on_done;
	void *userdata = c->userdata;
	struct evidence *e;

	/* What is open is told as late, and what was found is brought together. */
	collect_runtime_end(c);
	collect_questions_end(c);
	collect_shims_end(c);
	collect_finish(c);
	e = TAKE_PTR(c->evidence);
	forget_sample(c);
	on_done(userdata, e);
}

static void next_stage(struct collect *c)
{
	c->stage++;
	c->cursor = c->cursor2 = 0;
}

static int on_turn(sd_event_source *source, void *userdata)
{
	struct collect *c = userdata;
	uint64_t end_ns = time_add(clock_now().mono_ns, SLICE_NS);

	while (c->stage != STAGE_FINISH) {
		enum collect_step step = run_stage(c);

		if (step == COLLECT_HOLD)
			return 0;
		if (step == COLLECT_NEXT)
			next_stage(c);
		if (clock_now().mono_ns >= end_ns && c->stage != STAGE_FINISH) {
			collect_wake(c);
			return 0;
		}
	}
	end_sample(c);
	(void)source;
	return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct collect *c = userdata;

	(void)source;
	(void)usec;
	c->evidence->cut_short = c->stage < STAGE_WAIT;
	if (c->stage < STAGE_WAIT)
		evidence_add_gap(c->evidence, stage_text(c->stage),
			"not all of it could be looked at in time", "");
	end_sample(c);
	return 0;
}

void collect_wake(struct collect *c)
{
	if (c->evidence)
		(void)sd_event_source_set_enabled(c->turn, SD_EVENT_ONESHOT);
}

/* --- start --- */

static uint64_t boot_clock_ns(void)
{
	struct timespec t = { 0 };

	(void)clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static int index_facts(struct collect *c)
{
	const struct evidence *e = c->evidence;

	for (uint32_t i = 0; i < e->container_count; i++) {
		int r = table_put_string(&c->ids, e->containers[i].id, (void *)(uintptr_t)(i + 1));

		if (r < 0 && r != -EEXIST)
			return r;
	}
	return 0;
}

static int prepare(struct collect *c, collect_facts_fn facts)
{
	struct now now = clock_now();

	c->evidence = evidence_new();
	c->namespaces = mem_array(COLLECT_NAMESPACES_MAX, sizeof(*c->namespaces));
	if (!c->evidence || !c->namespaces)
		return -ENOMEM;
	c->ids = TABLE_INIT(EVIDENCE_CONTAINERS_MAX);
	c->namespace_table = TABLE_INIT(COLLECT_NAMESPACES_MAX);
	c->evidence->at_ns = now.real_ns;
	c->evidence->mono_ns = now.mono_ns;
	c->started_ns = now.mono_ns;
	c->boot_ns = boot_clock_ns();
	c->sample++;
	c->stage = STAGE_NODE;
	c->cursor = c->cursor2 = 0;
	c->mounts_read = 0;
	c->fuse_waits = false;
	c->has_facts = facts != NULL;
	if (facts)
		facts(c->userdata, c->evidence);
	c->told_busies = c->evidence->busy_count < COLLECT_WATCHED_MAX ? c->evidence->busy_count
								       : COLLECT_WATCHED_MAX;
	for (uint32_t i = 0; i < c->told_busies; i++)
		c->watched[i] = (struct collect_watched){ c->evidence->busies[i].path,
			c->evidence->busies[i].message, c->evidence->busies[i].mount, i };
	c->watched_count = c->told_busies;
	c->evidence->left_out += c->evidence->busy_count - c->told_busies;
	c->evidence->busy_count = c->told_busies;
	return index_facts(c);
}

int collect_start(
	struct collect *c, collect_facts_fn facts, collect_on_done on_done, void *userdata)
{
	int r;

	if (c->evidence)
		return -EALREADY;
	c->on_done = on_done;
	c->userdata = userdata;
	r = prepare(c, facts);
	if (r >= 0 && !facts && c->options.ask_runtime)
		r = collect_runtime_start(c);
	if (r >= 0)
		r = sd_event_source_set_time(
			c->deadline, (c->started_ns + COLLECT_TIMEOUT_NS) / NSEC_PER_USEC);
	if (r >= 0)
		r = sd_event_source_set_enabled(c->deadline, SD_EVENT_ONESHOT);
	if (r < 0) {
		forget_sample(c);
		return r;
	}
	collect_wake(c);
	return 0;
}

unsigned collect_progress(const struct collect *c, const char **ret_what)
{
	*ret_what = c->evidence ? stage_text(c->stage) : "";
	return c->evidence ? (unsigned)c->stage * 100 / COLLECT_STAGES : 100;
}

/* --- life --- */

static int add_sources(struct collect *c)
{
	int r = sd_event_add_defer(c->options.loop, &c->turn, on_turn, c);

	if (r >= 0)
		r = sd_event_source_set_enabled(c->turn, SD_EVENT_OFF);
	/* After everybody else, and the deadline before that. */
	if (r >= 0)
		r = sd_event_source_set_priority(c->turn, SD_EVENT_PRIORITY_IDLE);
	if (r >= 0)
		r = sd_event_add_time(c->options.loop, &c->deadline, CLOCK_MONOTONIC, 0,
			ACCURACY_USEC, on_deadline, c);
	if (r >= 0)
		r = sd_event_source_set_enabled(c->deadline, SD_EVENT_OFF);
	return r;
}

int collect_new(const struct collect_options *options, struct collect **ret, struct err *reterr)
{
	CLEAN(collect_freep) struct collect *c = mem_zalloc(sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->options = *options;
	c->options.endpoint = NULL;
	c->fuse_fd = -EBADF;
	c->proc_fd = proc_open();
	if (c->proc_fd < 0)
		return err_set(reterr, c->proc_fd, "Cannot open /proc");
	c->endpoint = mem_strdup(str_or_empty(options->endpoint));
	if (!c->endpoint)
		return -ENOMEM;
	c->self_pid = getpid();
	c->is_root = geteuid() == 0;
	c->ticks_per_second = (uint64_t)sysconf(_SC_CLK_TCK);
	r = shim_client_new(options->loop, &c->shims);
	if (r >= 0)
		r = add_sources(c);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

struct collect *collect_free(struct collect *c)
{
	if (!c)
		return NULL;
	if (c->turn && c->deadline)
		forget_sample(c);
	collect_runtime_free(c);
	collect_shims_free(c);
	c->glance = sd_event_source_disable_unref(c->glance);
	c->turn = sd_event_source_disable_unref(c->turn);
	c->deadline = sd_event_source_disable_unref(c->deadline);
	c->proc_fd = fd_close(c->proc_fd);
	c->endpoint = mem_free(c->endpoint);
	return mem_free(c);
}
