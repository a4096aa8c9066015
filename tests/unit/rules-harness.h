/*
 * Evidence written by hand, judged sample after sample. A scenario is a function that fills the n-th
 * sample; samples are 2 s apart. What holds for every judgement is asserted on each of them.
 */
#pragma once

#include "unit.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "doctor/rules/rules.h"

#define REAL_START INT64_C(1795448036000000000)
#define MONO_START (1000 * NSEC_PER_SEC)
#define KILL_BIT   (UINT64_C(1) << 8)
#define NONE       EVIDENCE_NONE

#define SECONDS_NS(n) ((n)*NSEC_PER_SEC)

typedef void make_fn(struct evidence *e, unsigned n);

struct bench {
	struct rules_memory *memory;
	struct evidence *e; /* the last sample */
	struct findings *out;
};

static inline uint32_t a_process(
	struct evidence *e, int32_t pid, const char *comm, char state, uint32_t roles)
{
	uint32_t i = evidence_add_process(e);
	struct evidence_process *p = &e->processes[i];

	p->pid = pid;
	p->start_ticks = (uint64_t)pid * 10;
	p->age_ns = 600 * NSEC_PER_SEC;
	p->comm = comm;
	p->state = state;
	p->roles = roles;
	p->ppid = 1;
	p->thread_count = 1;
	p->ns_level = 1;
	p->has_memory = state != 'Z';
	p->fd_size = state == 'Z' ? 0 : 64;
	return i;
}

static inline uint32_t a_thread(struct evidence *e, uint32_t process, int32_t tid, char state,
	const char *wchan, const char *stack)
{
	uint32_t i = evidence_add_thread(e);
	struct evidence_thread *t = &e->threads[i];

	t->process = process;
	t->tid = tid;
	t->state = state;
	t->wchan = wchan;
	t->stack = stack;
	t->switches = 100;
	return i;
}

static inline uint32_t a_container(
	struct evidence *e, const char *pod, const char *name, const char *id, uint32_t daemon)
{
	uint32_t i = evidence_add_container(e);
	struct evidence_container *c = &e->containers[i];

	c->id = id;
	c->namespace = "demo";
	c->pod = pod;
	c->pod_uid = pod;
	c->container = name;
	c->runtime_state = CONTAINER_RUNNING;
	c->kernel_state = LEDGER_ALIVE;
	c->daemon = daemon;
	c->inspect.method = "ContainerStatus";
	c->inspect.answer = ANSWER_OK;
	return i;
}

static inline void an_answer(struct evidence_call *call, const char *method,
	enum evidence_answer answer, uint64_t age_ns)
{
	*call = (struct evidence_call){
		.method = method, .subject = "", .answer = answer, .age_ns = age_ns, .message = ""
	};
}

/* A daemon that is well. */
static inline uint32_t a_daemon(struct evidence *e, enum evidence_daemon_kind kind, int32_t pid)
{
	uint32_t i = evidence_add_daemon(e);
	struct evidence_daemon *d = &e->daemons[i];

	d->kind = kind;
	d->is_runtime = true;
	d->endpoint = kind == DAEMON_DOCKERD ? "unix:///run/docker.sock"
					     : "unix:///run/containerd/containerd.sock";
	an_answer(&d->version, "Version", ANSWER_OK, NSEC_PER_MSEC);
	an_answer(&d->list, "List", ANSWER_OK, NSEC_PER_MSEC);
	an_answer(&d->tasks, "Tasks", ANSWER_OK, NSEC_PER_MSEC);
	if (pid > 0)
		d->process = a_process(e, pid, evidence_daemon_text(kind), 'S', EVIDENCE_DAEMON);
	return i;
}

/* A shim that is well, of one container. */
static inline uint32_t a_shim(struct evidence *e, int32_t pid, uint32_t container)
{
	uint32_t i = evidence_add_shim(e);

	e->shims[i].address = "unix:///run/containerd/s/abc";
	e->shims[i].bundle = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/c1";
	an_answer(&e->shims[i].state, "State", ANSWER_OK, NSEC_PER_MSEC);
	if (pid > 0)
		e->shims[i].process = a_process(e, pid, "containerd-shim", 'S', EVIDENCE_SHIM);
	if (container != NONE)
		e->containers[container].shim = i;
	return i;
}

static inline uint32_t a_mount(
	struct evidence *e, const char *type, const char *point, uint32_t major, uint32_t minor)
{
	uint32_t i = evidence_add_mount(e);

	e->mounts[i].type = type;
	e->mounts[i].source = "source";
	e->mounts[i].point = point;
	e->mounts[i].major = major;
	e->mounts[i].minor = minor;
	e->mounts[i].seen_by_pid = 1;
	e->mounts[i].ns = 1;
	return i;
}

static inline uint32_t a_fuse(struct evidence *e, uint32_t mount, uint32_t server, uint64_t waiting)
{
	uint32_t i = evidence_add_fuse(e);

	e->fuses[i].minor = e->mounts[mount].minor;
	e->fuses[i].has_waiting = true;
	e->fuses[i].waiting = waiting;
	e->fuses[i].server = server;
	e->fuses[i].mount = mount;
	e->mounts[mount].fuse = i;
	return i;
}

#define FUSE_STACK "request_wait_answer\nfuse_simple_request\nfuse_file_read_iter\nvfs_read\n"

/* A thread of prometheus waits for its FUSE server, stuckfs, on /data. */
struct fuse_world {
	uint32_t server, victim, thread, mount, fuse;
};

static inline struct fuse_world fuse_world(
	struct evidence *e, char server_state, char thread_state, bool killed)
{
	struct fuse_world w;

	w.server = a_process(e, 812, "stuckfs", server_state, EVIDENCE_FUSE_SERVER);
	w.victim = a_process(e, 4711, "prometheus", 'S', EVIDENCE_INIT);
	e->processes[w.victim].thread_count = 2;
	w.mount = a_mount(e, "fuse.stuckfs", "/data", 0, 39);
	w.fuse = a_fuse(e, w.mount, w.server, 1);
	w.thread = a_thread(e, w.victim, 4713, thread_state, "request_wait_answer", FUSE_STACK);
	e->threads[w.thread].fd = 3;
	e->threads[w.thread].mount = w.mount;
	e->threads[w.thread].pending = killed ? KILL_BIT : 0;
	e->processes[w.victim].container =
		a_container(e, "prometheus", "prometheus", "930ca3", NONE);
	return w;
}

static inline void an_api_server(
	struct evidence *e, const char *error, unsigned http, unsigned seconds)
{
	e->api_server = (struct api_server){ .server = "https://10.0.0.1:6443",
		.error = error,
		.why = "why",
		.http = http,
		.away_ns = SECONDS_NS(seconds),
		.failures = seconds >= 9 ? 2 : seconds > 0,
		.timings = { .connect_ns = NSEC_PER_MSEC, .total_ns = SECONDS_NS(10) } };
}

/* A connection to it: gone stale, proven in the second sample, none from the third on. */
static inline void a_stale_connection(struct evidence *e, unsigned n)
{
	an_api_server(e, "ok", 200, 0);
	e->api_server.stale_count = n < 2 ? 1 : 0;
	e->api_server.stale_ns = SECONDS_NS(3);
	e->api_server.stale = (struct api_stale){ .local = "10.0.0.7:41234",
		.remote = "10.0.0.1:6443",
		.what = "PATCH /api/v1/nodes/a/status",
		.age_ns = SECONDS_NS(300),
		.silent_ns = SECONDS_NS(10),
		.has_tcp = true,
		.unacked = 2,
		.retransmits = 5,
		.is_proven = n == 1,
		.fresh_http = 200,
		.fresh = { .connect_ns = NSEC_PER_MSEC } };
}

/* ---- what always holds ------------------------------------------------------------------- */

static inline void check_finding(const struct finding *f, unsigned depth)
{
	assert_true(depth < 24);
	assert_true(f->evidence_count > 0);
	assert_true(*f->summary != '\0');
	for (uint32_t i = 0; i < f->evidence_count; i++) {
		assert_true(*f->evidence[i].what && *f->evidence[i].where && *f->evidence[i].value);
		assert_true(f->evidence[i].at_ns > 0);
	}
	for (uint32_t i = 0; i < f->advice_count; i++) {
		assert_true(i == 0 || f->advice[i].risk >= f->advice[i - 1].risk);
		assert_true(*f->advice[i].action != '\0' && *f->advice[i].why != '\0');
		if (f->cause == CAUSE_UNKNOWN_BUT_HUNG)
			assert_int_equal(f->advice[i].risk, RISK_NONE);
	}
	for (uint32_t i = 0; i < f->symptom_count; i++)
		check_finding(f->symptoms[i], depth + 1);
}

static inline void bench_judge(struct bench *b, make_fn *make, unsigned n)
{
	if (!b->memory)
		b->memory = rules_memory_new();
	(void)findings_free(b->out);
	(void)evidence_free(b->e);
	b->out = findings_new();
	b->e = evidence_new();
	assert_true(b->memory && b->out && b->e);
	b->e->mono_ns = MONO_START + n * 2 * NSEC_PER_SEC;
	b->e->at_ns = REAL_START + (int64_t)(n * 2 * NSEC_PER_SEC);
	b->e->node.mount_ns = 1;
	b->e->node.fusectl_mounted = true;
	make(b->e, n);
	assert_int_equal(b->e->left_out, 0);
	ASSERT_OK(doctor_judge(NULL, b->e, b->memory, b->out));
	for (uint32_t i = 0; i < findings_count(b->out); i++)
		check_finding(findings_get(b->out, i), 0);
}

static inline void bench_done(struct bench *b)
{
	(void)findings_free(b->out);
	(void)evidence_free(b->e);
	(void)rules_memory_free(b->memory);
	*b = (struct bench){ 0 };
}

static inline void print_finding(const struct finding *f, int depth)
{
	print_message("%*s%s (%s): %s\n", depth * 2, "", cause_text(f->cause),
		finding_confidence_text(f->confidence), f->summary);
	for (uint32_t i = 0; i < f->symptom_count; i++)
		print_finding(f->symptoms[i], depth + 1);
}

static inline void print_all(const struct bench *b)
{
	for (uint32_t i = 0; i < findings_count(b->out); i++)
		print_finding(findings_get(b->out, i), 0);
}

/* Exactly one at the top level, of this cause; it is returned. */
static inline const struct finding *only(
	const struct bench *b, enum cause cause, enum finding_confidence confidence)
{
	const struct finding *f = findings_get(b->out, 0);

	if (findings_count(b->out) != 1 || f->cause != cause || f->confidence != confidence) {
		print_all(b);
		fail_msg("expected only %s, %s", cause_text(cause),
			finding_confidence_text(confidence));
	}
	return f;
}

static inline void nothing(const struct bench *b, const char *where)
{
	if (findings_count(b->out) > 0) {
		print_all(b);
		fail_msg("expected no finding of %s", where);
	}
}

static inline const struct finding *below(const struct finding *f, enum cause cause)
{
	for (uint32_t i = 0; i < f->symptom_count; i++) {
		const struct finding *found = f->symptoms[i]->cause == cause
			? f->symptoms[i]
			: below(f->symptoms[i], cause);

		if (found)
			return found;
	}
	return NULL;
}

static inline const struct finding *top(const struct bench *b, enum cause cause)
{
	for (uint32_t i = 0; i < findings_count(b->out); i++)
		if (findings_get(b->out, i)->cause == cause)
			return findings_get(b->out, i);
	return NULL;
}

static inline bool has_command(const struct finding *f, const char *command)
{
	for (uint32_t i = 0; i < f->advice_count; i++)
		if (str_eq(f->advice[i].command, command))
			return true;
	for (uint32_t i = 0; i < f->advice_count; i++)
		print_message("command: %s\n", f->advice[i].command);
	return false;
}

static inline bool says(const struct finding *f, const char *text)
{
	for (uint32_t i = 0; i < f->evidence_count; i++)
		if (strstr(f->evidence[i].value, text) || strstr(f->evidence[i].what, text) ||
			strstr(f->evidence[i].where, text))
			return true;
	return false;
}

/* A scenario and what it must come to in its first two samples; NONE of `cause`: nothing. */
struct scenario {
	const char *name;
	make_fn *make;
};

/* Nothing is found in any of five samples. */
static inline void look_alikes(const struct scenario *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct bench b = { 0 };

		for (unsigned n = 0; n < 5; n++) {
			bench_judge(&b, rows[i].make, n);
			nothing(&b, rows[i].name);
		}
		bench_done(&b);
	}
}
