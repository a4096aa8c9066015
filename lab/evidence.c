/*
 * pleg-evidence: what the doctor reads of this node, as JSON.
 *
 *	pleg-evidence [--judge] [--runtime ENDPOINT] [--probe FILE] [--busy PATH]...
 *		[--samples N [--interval SECONDS]]
 *
 * One object per line and sample; with --judge what the rules say of it stands in "verdict". Texts are
 * cleaned, references are indices into the arrays beside them (null: nothing).
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <jansson.h>
#include <systemd/sd-event.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "doctor/rules/rules.h"
#include "model/finding-json.h"
#include "sampler.h"

#define BUSY_MAX 16

struct tool {
	struct sampler on;
	const char *busy[BUSY_MAX];
	int busy_count;
	unsigned samples;
	uint64_t interval_ns;
	sd_event_source *timer;
	bool judge;
	struct rules_memory *memory;
	uint64_t began_ns;
};

/* --- values --- */

static json_t *text(const char *s)
{
	size_t len = strlen(s);
	CLEAN(mem_freep) char *clean = mem_alloc(len * 3 + 1);
	size_t at = 0;

	/* The lines of a stack are kept. */
	for (size_t i = 0; clean && i <= len;) {
		size_t line = strcspn(s + i, "\n");

		(void)str_clean(clean + at, len * 3 + 1 - at, s + i, line);
		at += strlen(clean + at);
		i += line + 1;
		if (i <= len)
			clean[at++] = '\n';
	}
	return json_string(clean ? clean : "");
}

static json_t *index_of(uint32_t index)
{
	return index == EVIDENCE_NONE ? json_null() : json_integer(index);
}

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static void put(json_t *o, const char *key, json_t *value)
{
	(void)json_object_set_new(o, key, value);
}

static void put_call(json_t *o, const char *key, const struct evidence_call *call)
{
	json_t *v = json_object();

	put(v, "method", text(call->method));
	put(v, "subject", text(call->subject));
	put(v, "answer", text(evidence_answer_text(call->answer)));
	put(v, "seconds", json_real(time_seconds(call->age_ns)));
	put(v, "message", text(call->message));
	put(o, key, v);
}

static json_t *character(char c)
{
	const char s[2] = { c, '\0' };

	return text(s);
}

/* --- arrays --- */

static json_t *roles(uint32_t bits)
{
	static const char *const names[] = { "init", "inContainer", "shim", "ociRuntime", "daemon",
		"fuseServer", "parent", "tracer", "holder", "stuck", "nsInit" };
	json_t *list = json_array();

	for (size_t i = 0; i < ELEMENTS(names); i++)
		if ((bits & 1u << i) != 0)
			(void)json_array_append_new(list, json_string(names[i]));
	return list;
}

static json_t *process(const struct evidence_process *p)
{
	json_t *o = json_object();

	put(o, "pid", json_integer(p->pid));
	put(o, "startTicks", number(p->start_ticks));
	put(o, "ageSeconds", json_real(time_seconds(p->age_ns)));
	put(o, "roles", roles(p->roles));
	put(o, "comm", text(p->comm));
	put(o, "state", character(p->state));
	put(o, "ppid", json_integer(p->ppid));
	put(o, "parent", index_of(p->parent));
	put(o, "threads", json_integer(p->thread_count));
	put(o, "tracerPid", json_integer(p->tracer_pid));
	put(o, "pendingShared", number(p->pending_shared));
	put(o, "fdSize", json_integer(p->fd_size));
	put(o, "fdCount", json_integer((json_int_t)p->fd_count));
	put(o, "fdLimit", json_integer((json_int_t)p->fd_limit));
	put(o, "pidsPath", text(p->pids_path));
	put(o, "pidsCurrent", json_integer((json_int_t)p->pids_current));
	put(o, "pidsMax", json_integer((json_int_t)p->pids_max));
	put(o, "cpuPeriods", json_integer((json_int_t)p->cpu_periods));
	put(o, "cpuThrottled", json_integer((json_int_t)p->cpu_throttled));
	put(o, "hasMemory", json_boolean(p->has_memory));
	put(o, "pidfdReadable", p->has_pidfd ? json_boolean(p->pidfd_readable) : json_null());
	put(o, "pidNamespace", number(p->pid_namespace));
	put(o, "nsLevel", json_integer(p->ns_level));
	put(o, "nsPid", json_integer(p->ns_pid));
	put(o, "cgroup", text(p->cgroup));
	put(o, "freezer", index_of(p->freezer));
	put(o, "container", index_of(p->container));
	put_call(o, "memory", &p->memory);
	put(o, "memoryWchan", text(p->memory_wchan));
	put(o, "cpuTicks", number(p->cpu_ticks));
	return o;
}

static json_t *thread(const struct evidence_thread *t)
{
	json_t *o = json_object();

	put(o, "process", index_of(t->process));
	put(o, "tid", json_integer(t->tid));
	put(o, "comm", text(t->comm));
	put(o, "state", character(t->state));
	put(o, "pending", number(t->pending));
	put(o, "wchan", text(t->wchan));
	put(o, "stack", text(t->stack));
	put(o, "syscall", t->in_syscall ? number(t->syscall) : json_null());
	put(o, "fd", json_integer(t->fd));
	put(o, "mount", index_of(t->mount));
	put(o, "mountInferred", json_boolean(t->mount_inferred));
	put(o, "switches", number(t->switches));
	return o;
}

static json_t *mount(const struct evidence_mount *m)
{
	json_t *o = json_object();

	put(o, "id", json_integer(m->mount_id));
	put(o, "device", json_sprintf("%u:%u", m->major, m->minor));
	put(o, "type", text(m->type));
	put(o, "source", text(m->source));
	put(o, "point", text(m->point));
	put(o, "namespace", number(m->ns));
	put(o, "seenByPid", json_integer(m->seen_by_pid));
	put(o, "fuse", index_of(m->fuse));
	put(o, "blockDevice", index_of(m->device));
	put(o, "container", index_of(m->container));
	return o;
}

static json_t *fuse(const struct evidence_fuse *f)
{
	json_t *o = json_object();

	put(o, "minor", json_integer(f->minor));
	put(o, "waiting", f->has_waiting ? number(f->waiting) : json_null());
	put(o, "server", index_of(f->server));
	put(o, "serverInferred", json_boolean(f->server_inferred));
	put(o, "mount", index_of(f->mount));
	return o;
}

static json_t *device(const struct evidence_device *d)
{
	json_t *o = json_object();

	put(o, "device", json_sprintf("%u:%u", d->major, d->minor));
	put(o, "name", text(d->name));
	put(o, "inFlight", number(d->in_flight));
	put(o, "completed", number(d->completed));
	put(o, "state", text(d->state));
	return o;
}

static json_t *freezer(const struct evidence_freezer *f)
{
	json_t *o = json_object();

	put(o, "path", text(f->path));
	put(o, "file", text(f->file));
	put(o, "v2", json_boolean(f->v2));
	put(o, "freezing", json_boolean(f->freezing));
	put(o, "self", json_boolean(f->self));
	put(o, "container", index_of(f->container));
	put(o, "onPurpose", json_boolean(f->on_purpose));
	return o;
}

static json_t *holder(const struct evidence_holder *h)
{
	json_t *o = json_object();

	put(o, "mount", index_of(h->mount));
	put(o, "hold", text(evidence_hold_text(h->hold)));
	put(o, "process", index_of(h->process));
	put(o, "namespace", number(h->ns));
	put(o, "path", text(h->path));
	return o;
}

static json_t *busy(const struct evidence_busy *b)
{
	json_t *o = json_object();

	put(o, "path", text(b->path));
	put(o, "message", text(b->message));
	put(o, "mount", index_of(b->mount));
	put(o, "container", index_of(b->container));
	return o;
}

static json_t *daemon_(const struct evidence_daemon *d)
{
	json_t *o = json_object();

	put(o, "kind", text(evidence_daemon_text(d->kind)));
	put(o, "isRuntime", json_boolean(d->is_runtime));
	put(o, "endpoint", text(d->endpoint));
	put(o, "process", index_of(d->process));
	put(o, "peerPid", json_integer(d->peer_pid));
	put(o, "posture", json_boolean(d->posture.is_known));
	put(o, "threadsAsleep", json_integer(d->posture.waiting));
	put(o, "threadsElse", json_integer(d->posture.threads - d->posture.waiting));
	put(o, "where", text(d->posture.where));
	put(o, "acceptQueue", d->has_queue ? json_integer(d->accept_queue) : json_null());
	put(o, "backlog", d->has_queue ? json_integer(d->backlog) : json_null());
	put_call(o, "version", &d->version);
	put_call(o, "list", &d->list);
	put_call(o, "tasks", &d->tasks);
	put(o, "isFrozen", json_boolean(d->is_paused_by_freezer));
	return o;
}

static json_t *shim(const struct evidence_shim *s)
{
	json_t *o = json_object();

	put(o, "process", index_of(s->process));
	put(o, "address", text(s->address));
	put(o, "bundle", text(s->bundle));
	put_call(o, "state", &s->state);
	put(o, "acceptQueue", s->has_queue ? json_integer(s->accept_queue) : json_null());
	put(o, "backlog", s->has_queue ? json_integer(s->backlog) : json_null());
	return o;
}

static json_t *container(const struct evidence_container *k)
{
	json_t *o = json_object();

	put(o, "kind", text(container_kind_text(k->kind)));
	put(o, "id", text(k->id));
	put(o, "sandboxID", text(k->sandbox_id));
	put(o, "namespace", text(k->namespace));
	put(o, "pod", text(k->pod));
	put(o, "container", text(k->container));
	put(o, "attempt", json_integer(k->attempt));
	put(o, "runtimeState", text(container_state_text(k->runtime_state)));
	put(o, "pause", json_string(evidence_pause_text(k->pause)));
	put_call(o, "inspect", &k->inspect);
	put(o, "kernelState", text(ledger_state_text(k->kernel_state)));
	put(o, "init", index_of(k->init));
	put(o, "shim", index_of(k->shim));
	put(o, "daemon", index_of(k->daemon));
	put(o, "byKernelOnly", json_boolean(k->by_kernel_only));
	put(o, "freezer", index_of(k->freezer));
	return o;
}

static json_t *hung(const struct evidence_hung *h)
{
	json_t *o = json_object();

	put(o, "comm", text(h->comm));
	put(o, "tid", json_integer(h->tid));
	put(o, "seconds", number(h->seconds));
	put(o, "ageSeconds", json_real(time_seconds(h->age_ns)));
	put(o, "thread", index_of(h->thread));
	return o;
}

static json_t *gap(const struct evidence_gap *g)
{
	json_t *o = json_object();

	put(o, "what", text(g->what));
	put(o, "why", text(g->why));
	put(o, "cure", text(g->cure));
	return o;
}

static json_t *node(const struct evidence_node *n)
{
	json_t *o = json_object();

	put(o, "cpuSome", n->has_pressure ? json_real(n->cpu_some) : json_null());
	put(o, "memoryFull", n->has_pressure ? json_real(n->memory_full) : json_null());
	put(o, "ioFull", n->has_pressure ? json_real(n->io_full) : json_null());
	put(o, "mounts", number(n->mount_count));
	put(o, "threads", number(n->thread_count));
	put(o, "processes", number(n->process_count));
	put(o, "hungTasks", number(n->hung_tasks));
	put(o, "containersLive", json_integer(n->containers_live));
	put(o, "containersDead", json_integer(n->containers_dead));
	put(o, "fusectlMounted", json_boolean(n->fusectl_mounted));
	return o;
}

#define PUT_ARRAY(o, key, items, count, function)                                                  \
	do {                                                                                       \
		json_t *list_ = json_array();                                                      \
		for (uint32_t i_ = 0; i_ < (count); i_++)                                          \
			(void)json_array_append_new(list_, function(&(items)[i_]));                \
		put((o), (key), list_);                                                            \
	} while (0)

static json_t *space(const struct evidence_space *s)
{
	json_t *o = json_object();

	put(o, "of", text(s->of == SPACE_ROOT ? "root" : s->of == SPACE_STATE ? "state" : "log"));
	put(o, "path", text(s->path));
	put(o, "answer", text(evidence_answer_text(s->call.answer)));
	put(o, "totalBytes", json_integer((json_int_t)s->total_bytes));
	put(o, "freeBytes", json_integer((json_int_t)s->free_bytes));
	put(o, "availableBytes", json_integer((json_int_t)s->available_bytes));
	put(o, "files", json_integer((json_int_t)s->files));
	put(o, "filesFree", json_integer((json_int_t)s->files_free));
	return o;
}

static json_t *sample(const struct evidence *e)
{
	json_t *o = json_object();
	char at[TIME_TEXT_MAX];

	put(o, "at", text(time_format_rfc3339(at, e->at_ns)));
	put(o, "node", node(&e->node));
	PUT_ARRAY(o, "processes", e->processes, e->process_count, process);
	PUT_ARRAY(o, "threads", e->threads, e->thread_count, thread);
	PUT_ARRAY(o, "mounts", e->mounts, e->mount_count, mount);
	PUT_ARRAY(o, "fuses", e->fuses, e->fuse_count, fuse);
	PUT_ARRAY(o, "devices", e->devices, e->device_count, device);
	PUT_ARRAY(o, "freezers", e->freezers, e->freezer_count, freezer);
	PUT_ARRAY(o, "holders", e->holders, e->holder_count, holder);
	PUT_ARRAY(o, "busies", e->busies, e->busy_count, busy);
	PUT_ARRAY(o, "daemons", e->daemons, e->daemon_count, daemon_);
	PUT_ARRAY(o, "shims", e->shims, e->shim_count, shim);
	PUT_ARRAY(o, "containers", e->containers, e->container_count, container);
	PUT_ARRAY(o, "spaces", e->spaces, e->space_count, space);
	PUT_ARRAY(o, "hungs", e->hungs, e->hung_count, hung);
	PUT_ARRAY(o, "gaps", e->gaps, e->gap_count, gap);
	put(o, "leftOut", json_integer(e->left_out));
	return o;
}

/* --- the tool --- */

static void put_busies(void *userdata, struct evidence *e)
{
	struct tool *t = userdata;

	for (int i = 0; i < t->busy_count; i++) {
		uint32_t at = evidence_add_busy(e);

		if (at == EVIDENCE_NONE)
			return;
		e->busies[at].path = evidence_text(e, t->busy[i]);
		e->busies[at].message = "Device or resource busy";
	}
}

/* The most memory that this program had at once; getrusage() counts who started it, too. */
static uint64_t resident_kb(void)
{
	CLEAN(mem_freep) char *status = NULL;
	uint64_t kb = 0;
	const char *at;
	size_t len;

	if (fd_read_file("/proc/self/status", 65536, &status, &len) < 0)
		return 0;
	at = strstr(status, "VmHWM:");
	if (at)
		for (at += strcspn(at, "0123456789"); *at >= '0' && *at <= '9'; at++)
			kb = kb * 10 + (uint64_t)(*at - '0');
	return kb;
}

/* What the rules make of it, after the samples before. */
static void put_findings(struct tool *t, json_t *o, const struct evidence *e)
{
	CLEAN(buf_done) struct buf text = BUF_INIT(4u << 20);
	CLEAN(findings_freep) struct findings *found = findings_new();
	struct json_write w = JSON_WRITE_INIT(&text);
	const char *s;

	if (!found || doctor_judge(NULL, e, t->memory, found) < 0)
		return;
	json_write_object(&w, NULL);
	findings_json_write(&w, "findings", found);
	json_write_object_end(&w);
	s = buf_string(&text);
	if (s)
		put(o, "verdict", json_loads(s, 0, NULL));
}

static int begin(struct tool *t);

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct tool *t = userdata;

	(void)source;
	(void)usec;
	return begin(t) < 0 ? sd_event_exit(t->on.loop, 1) : 0;
}

/* From the start of one sample to the start of the next. */
static int wait_for_next(struct tool *t)
{
	uint64_t due_ns = time_add(t->began_ns, t->interval_ns), now_ns = clock_now().mono_ns;
	int r;

	if (due_ns <= now_ns)
		return begin(t);
	t->timer = sd_event_source_disable_unref(t->timer);
	r = sd_event_add_time_relative(t->on.loop, &t->timer, CLOCK_MONOTONIC,
		(due_ns - now_ns) / NSEC_PER_USEC, 1000, on_timer, t);
	return r;
}

static void on_done(void *userdata, struct evidence *e)
{
	struct tool *t = userdata;
	struct rusage usage = { 0 };
	json_t *o = sample(e);
	CLEAN(mem_freep) char *line = NULL;

	put(o, "tookSeconds", json_real(time_seconds(clock_now().mono_ns - t->began_ns)));
	(void)getrusage(RUSAGE_SELF, &usage);
	put(o, "cpuSeconds",
		json_real((double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
			(double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6));
	put(o, "maxResidentKB", number(resident_kb()));
	if (t->judge)
		put_findings(t, o, e);
	line = json_dumps(o, JSON_COMPACT);
	(void)puts(line ? line : "{}");
	(void)fflush(stdout);
	json_decref(o);
	(void)evidence_free(e);
	if (--t->samples == 0 || wait_for_next(t) < 0)
		(void)sd_event_exit(t->on.loop, 0);
}

static int begin(struct tool *t)
{
	t->began_ns = clock_now().mono_ns;
	return collect_start(t->on.collect, t->busy_count > 0 ? put_busies : NULL, on_done, t);
}

static int usage(void)
{
	(void)fputs("usage: pleg-evidence [--judge] [--runtime ENDPOINT] [--probe FILE] [--busy "
		    "PATH]... "
		    "[--samples N] [--interval SECONDS]\n",
		stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "runtime", required_argument, NULL, 'r' },
		{ "probe", required_argument, NULL, 'p' }, { "busy", required_argument, NULL, 'b' },
		{ "samples", required_argument, NULL, 'n' },
		{ "interval", required_argument, NULL, 'i' }, { "judge", no_argument, NULL, 'j' },
		{ 0 } };
	struct tool t = { .samples = 1 };
	const char *endpoint = NULL, *probe = NULL;
	struct err err = { 0 };
	uint64_t value;
	int r, c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (c == 'r')
			endpoint = optarg;
		else if (c == 'p')
			probe = optarg;
		else if (c == 'b' && t.busy_count < BUSY_MAX)
			t.busy[t.busy_count++] = optarg;
		else if (c == 'n' && str_to_u64(optarg, &value) == 0 && value > 0 && value < 1000)
			t.samples = (unsigned)value;
		else if (c == 'i' && str_to_u64(optarg, &value) == 0 && value < 3600)
			t.interval_ns = value * NSEC_PER_SEC;
		else if (c == 'j')
			t.judge = true;
		else
			return usage();
	t.memory = rules_memory_new();
	r = sampler_init(&t.on, endpoint, probe, &err);
	if (r >= 0)
		r = begin(&t);
	if (r >= 0)
		r = sd_event_loop(t.on.loop);
	if (r < 0)
		(void)fprintf(stderr, "pleg-evidence: %s\n", err_text(&err, r));
	t.timer = sd_event_source_disable_unref(t.timer);
	sampler_done(&t.on);
	t.memory = rules_memory_free(t.memory);
	return r < 0 ? 1 : 0;
}
