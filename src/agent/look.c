#include "agent/look.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <unistd.h>

#include <systemd/sd-event.h>

#include "agent/agent-internal.h"
#include "agent/config.h"
#include "agent/endpoint.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "doctor/collect.h"
#include "doctor/dumps.h"
#include "doctor/rules/goroutines.h"
#include "doctor/rules/rules.h"
#include "kernel/probe-agent.h"
#include "model/finding-json.h"
#include "model/goroutines-json.h"
#include "role/role.h"

#define PROGRESS_NS      (200 * NSEC_PER_MSEC)
#define ENDPOINT_MAX     256
#define PROBE_START_NS   (1 * NSEC_PER_SEC)
#define PROBE_AGAIN_NS   (10 * NSEC_PER_MSEC)
#define DUMPS_ROOM_NS    (2 * NSEC_PER_SEC)     /* left for goroutines, if they are asked for */
#define LOOK_INTERVAL_NS (2 * NSEC_PER_SEC)     /* what most rules ask for */
#define SEARCH_MAX_NS    (2500 * NSEC_PER_MSEC) /* then the samples begin without a runtime's name */

struct look {
	const struct look_options *options;
	sd_event *loop;
	struct role_spawner *spawner;
	struct probe *probe;
	int probe_exe_fd; /* as long as the probe, which may have to be replaced */
	char *given;      /* the endpoint, borrowed by the search; NULL: look for one */
	struct endpoint_search *search;
	struct collect *collect;
	struct dumps *dumps; /* once they are asked for; borrows the evidence */
	struct timer *next, *end, *progress;
	struct rules_memory *memory;
	struct evidence *evidence; /* the newest sample */
	struct findings *findings; /* of it */
	uint64_t started_ns;
	unsigned samples;
	char endpoint[ENDPOINT_MAX];
	bool is_searched; /* `endpoint` is what came of it */
	int r;
};

static void look_end(struct look *look, int r)
{
	if (r < 0)
		look->r = r;
	(void)sd_event_exit(look->loop, 0);
}

static uint64_t look_room_ns(const struct look *look)
{
	uint64_t all = look->options->watch ? LOOK_WATCH_NS : LOOK_NS;

	if (look->options->goroutines)
		all -= DUMPS_ROOM_NS;
	return all - time_min(all, time_since(clock_now().mono_ns, look->started_ns));
}

/* ---- goroutines -------------------------------------------------------------------------- */

static void look_on_dumps(void *userdata)
{
	struct look *look = userdata;
	const struct goroutine_dump *dumps;
	uint32_t count;

	dumps = dumps_get(look->dumps, &count);
	goroutines_tell(look->evidence, dumps, count, look->findings);
	look_end(look, findings_result(look->findings));
}

/* After the last sample, since who dumps is at work and would not look idle in another one. */
static void look_dump(struct look *look)
{
	uint64_t all = look->options->watch ? LOOK_WATCH_NS : LOOK_NS, now_ns = clock_now().mono_ns;
	uint64_t due_ns = time_min(time_add(now_ns, DUMPS_NS), time_add(look->started_ns, all));
	int r = dumps_new(look->loop, look->probe, &look->dumps);

	if (r >= 0)
		r = dumps_start(
			look->dumps, look->evidence, look->findings, due_ns, look_on_dumps, look);
	if (r < 0)
		look_end(look, r);
}

static void look_end_samples(struct look *look, int r)
{
	if (r >= 0 && look->options->goroutines)
		look_dump(look);
	else
		look_end(look, r);
}

/* ---- samples ----------------------------------------------------------------------------- */

/* No sample is begun that could not be ended. */
static bool look_is_over(const struct look *look, uint64_t due_ns)
{
	return time_since(due_ns, clock_now().mono_ns) + COLLECT_TIMEOUT_NS > look_room_ns(look);
}

/* Nobody has asked for another sample yet; one that is asked for is due after so long. */
static bool look_is_last(const struct look *look, uint64_t taken_ns)
{
	return look_is_over(look, time_add(taken_ns, LOOK_INTERVAL_NS));
}

/* What nobody was asked about is not known to be well. Where nothing runs there is nothing to ask. */
static void look_tell_runtime(const struct look *look, struct evidence *evidence)
{
	const char *why = look->is_searched ? "none was found: there is no known socket"
					    : "the search for it has not ended";
	void (*add)(struct evidence * e, const char *what, const char *why, const char *cure) =
		evidence->node.containers_live > 0 ? evidence_add_gap : evidence_add_small_gap;

	if (look->endpoint[0] == '\0')
		add(evidence, "the container runtime", why, "pleg doctor --runtime ENDPOINT");
}

/* The newest judgement counts: what it no longer shows has gone by itself. */
static int look_judge(struct look *look, struct evidence *evidence)
{
	CLEAN(findings_freep) struct findings *findings = findings_new();
	char node[HOST_NAME_MAX + 1] = "";
	int r = -ENOMEM;

	(void)gethostname(node, sizeof(node) - 1);
	look_tell_runtime(look, evidence);
	rules_memory_set_last(look->memory, look_is_last(look, evidence->mono_ns));
	if (findings) {
		findings_set_node(findings, node);
		r = doctor_judge(NULL, evidence, look->memory, findings);
	}
	if (r < 0) {
		(void)evidence_free(evidence);
		return r;
	}
	(void)evidence_free(look->evidence);
	(void)findings_free(look->findings);
	look->evidence = evidence;
	look->findings = TAKE_PTR(findings);
	look->samples++;
	return 0;
}

static void look_on_sample(void *userdata, struct evidence *evidence)
{
	struct look *look = userdata;
	uint64_t taken_ns = evidence->mono_ns, wants_ns, due_ns;
	int r = look_judge(look, evidence);

	wants_ns = r < 0 ? 0 : rules_memory_wants_ns(look->memory);
	due_ns = time_add(taken_ns, wants_ns);
	if (wants_ns == 0 || look_is_over(look, due_ns)) {
		look_end_samples(look, r);
		return;
	}
	r = timer_set(look->next, due_ns);
	if (r < 0)
		look_end(look, r);
}

/* Questions that come before the probe runs would not be asked. */
static bool look_waits_for_probe(const struct look *look)
{
	struct probe_status status;

	if (!look->probe || time_since(clock_now().mono_ns, look->started_ns) > PROBE_START_NS)
		return false;
	probe_status(look->probe, &status);
	return status.role.state != ROLE_RUNNING;
}

static void look_on_next(void *userdata)
{
	struct look *look = userdata;
	const struct collect_options options = {
		.loop = look->loop,
		.probe = look->probe,
		.endpoint = look->endpoint,
		.ask_runtime = true,
	};
	int r = 0;

	if (look_waits_for_probe(look)) {
		(void)timer_set_in(look->next, PROBE_AGAIN_NS);
		return;
	}
	if (!look->collect)
		r = collect_new(&options, &look->collect, NULL);
	if (r >= 0)
		r = collect_start(look->collect, NULL, look_on_sample, look);
	if (r < 0 && r != -EALREADY)
		look_end(look, r);
}

static void look_on_end(void *userdata)
{
	struct look *look = userdata;

	if (look->dumps)
		look_on_dumps(look);
	else
		look_end(look, 0);
}

static void look_on_progress(void *userdata)
{
	struct look *look = userdata;
	const char *what = look->collect ? "waiting for the next look" : "looking for the runtime";
	const char *stage = "";
	unsigned percent = 0;

	if (look->dumps)
		what = "goroutines of daemons";
	else if (look->collect)
		percent = collect_progress(look->collect, &stage);
	look->options->on_progress(look->options->userdata, percent, *stage ? stage : what);
	(void)timer_set_in(look->progress, PROGRESS_NS);
}

static void look_on_runtime(void *userdata, const struct endpoint_result *result)
{
	struct look *look = userdata;

	(void)str_format(look->endpoint, sizeof(look->endpoint), "%s", result->endpoint);
	look->is_searched = true;
	(void)timer_set_in(look->next, 0);
}

/* ---- life -------------------------------------------------------------------------------- */

/* Without a probe what may hang is not looked at; the evidence then says so. */
static void look_start_probe(struct look *look)
{
	if (!look->spawner || role_spawner_attach(look->spawner, look->loop) < 0)
		return;
	if (agent_open_exe("kernel", "pleg-probe", true, &look->probe_exe_fd, NULL) < 0)
		return;
	if (probe_new(look->loop, look->spawner, look->probe_exe_fd, &look->probe) < 0)
		look->probe = NULL;
}

static int look_start(struct look *look, struct err *reterr)
{
	const struct look_options *options = look->options;
	const struct endpoint_options how = {
		.given = look->given,
		.on_done = look_on_runtime,
		.userdata = look,
	};
	int r = sd_event_new(&look->loop);

	if (r < 0)
		return r;
	look->memory = rules_memory_new();
	if (!look->memory)
		return -ENOMEM;
	look_start_probe(look);
	r = timer_new(look->loop, SEARCH_MAX_NS, look_on_next, look, &look->next);
	if (r >= 0)
		r = timer_new(look->loop, options->watch ? LOOK_WATCH_NS : LOOK_NS, look_on_end,
			look, &look->end);
	if (r >= 0 && options->on_progress)
		r = timer_new(look->loop, PROGRESS_NS, look_on_progress, look, &look->progress);
	if (r >= 0)
		r = endpoint_search_new(look->loop, &how, &look->search, reterr);
	return r;
}

static void look_done(struct look *look)
{
	look->dumps = dumps_free(look->dumps);
	look->collect = collect_free(look->collect);
	look->search = endpoint_search_free(look->search);
	look->given = mem_free(look->given);
	look->next = timer_free(look->next);
	look->end = timer_free(look->end);
	look->progress = timer_free(look->progress);
	look->probe = probe_free(look->probe);
	look->probe_exe_fd = fd_close(look->probe_exe_fd);
	look->spawner = role_spawner_free(look->spawner);
	look->memory = rules_memory_free(look->memory);
	look->evidence = evidence_free(look->evidence);
	look->findings = findings_free(look->findings);
	look->loop = sd_event_unref(look->loop);
}

static void look_write_node(struct json_write *w, const struct evidence_node *node)
{
	json_write_object(w, "node");
	json_write_u64(w, "containersLive", node->containers_live);
	json_write_u64(w, "containersDead", node->containers_dead);
	json_write_u64(w, "processes", node->process_count);
	json_write_u64(w, "threads", node->thread_count);
	json_write_u64(w, "mounts", node->mount_count);
	json_write_u64(w, "hungTasks", node->hung_tasks);
	if (node->has_pressure) {
		json_write_object(w, "pressure");
		json_write_u64(w, "cpuSomePercent", (uint64_t)(node->cpu_some + 0.5));
		json_write_u64(w, "memoryFullPercent", (uint64_t)(node->memory_full + 0.5));
		json_write_u64(w, "ioFullPercent", (uint64_t)(node->io_full + 0.5));
		json_write_object_end(w);
	} else {
		json_write_null(w, "pressure");
	}
	json_write_object_end(w);
}

static int look_write(const struct look *look, struct buf *out)
{
	struct json_write w = JSON_WRITE_INIT(out);
	const struct goroutine_dump *dumps = NULL;
	uint32_t dump_count = 0;

	if (look->dumps)
		dumps = dumps_get(look->dumps, &dump_count);
	json_write_object(&w, NULL);
	findings_json_write(&w, "findings", look->findings);
	json_write_u64(&w, "findingsLeftOut", findings_left_out(look->findings));
	json_write_array(&w, "gaps");
	for (uint32_t i = 0; i < look->evidence->gap_count; i++) {
		const struct evidence_gap *gap = &look->evidence->gaps[i];

		json_write_object(&w, NULL);
		json_write_text(&w, "what", gap->what);
		json_write_text(&w, "why", gap->why);
		json_write_text_or_null(&w, "cure", gap->cure);
		json_write_object_end(&w);
	}
	json_write_array_end(&w);
	goroutines_json_write(&w, "goroutines", dumps, dump_count);
	json_write_bool(&w, "complete", evidence_is_whole(look->evidence));
	look_write_node(&w, &look->evidence->node);
	json_write_text_or_null(&w, "runtime", look->endpoint);
	json_write_u64(&w, "samples", look->samples);
	json_write_seconds(&w, "tookSeconds", time_since(clock_now().mono_ns, look->started_ns));
	json_write_object_end(&w);
	return json_write_result(&w);
}

int look_run(const struct look_options *options, struct buf *out, struct look_result *ret,
	struct err *reterr)
{
	CLEAN(look_done) struct look look = { .options = options, .probe_exe_fd = -EBADF };
	const struct sigaction ignored = { .sa_handler = SIG_IGN };
	sigset_t child;
	int r;

	(void)sigaction(SIGPIPE, &ignored, NULL);
	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &child, NULL);
	look.started_ns = clock_now().mono_ns;
	r = options->endpoint ? config_endpoint(options->endpoint, &look.given) : 0;
	if (r < 0)
		return err_set(reterr, r,
			"--runtime %s: must be a unix socket such as "
			"unix:///run/containerd/containerd.sock",
			options->endpoint);
	if (role_spawner_start(log_output_fd(), &look.spawner) < 0)
		look.spawner = NULL;
	r = look_start(&look, reterr);
	if (r >= 0)
		r = sd_event_loop(look.loop);
	if (r >= 0)
		r = look.r;
	if (r >= 0 && look.samples == 0)
		return err_set(reterr, -ENODATA, "Nothing could be read in time");
	if (r < 0)
		return r;
	ret->samples = look.samples;
	ret->findings = findings_count(look.findings);
	ret->is_whole = evidence_is_whole(look.evidence);
	return look_write(&look, out);
}
