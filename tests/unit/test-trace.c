/*
 * pleg trace, its pure parts: which container is meant, who is to blame, and what is made of it for
 * programs and for people. Facts are written by hand.
 */
#include "unit.h"

#include <stdio.h>

#include <jansson.h>

#include "base/mem.h"
#include "cli/render.h"
#include "trace/facts.h"
#include "trace/metric.h"
#include "trace/oci-state.h"
#include "trace/subject.h"

/* ---- which container ------------------------------------------------------------------------- */

struct row {
	const char *id, *sandbox, *namespace, *pod, *container;
	uint32_t attempt;
	int64_t created_ns;
	enum container_state state;
};

#define A16 "aaaaaaaaaaaaaaaa"
static const struct row rows[] = {
	{ A16 "01", "", "default", "web", "", 0, 1, CONTAINER_RUNNING },
	{ A16 "02", "", "other", "web", "", 0, 1, CONTAINER_RUNNING },
	{ "bbbb01", A16 "01", "default", "web", "nginx", 0, 1, CONTAINER_EXITED },
	{ "bbbb02", A16 "01", "default", "web", "nginx", 1, 2, CONTAINER_RUNNING },
	{ "cccc01", A16 "01", "default", "web", "log", 0, 1, CONTAINER_RUNNING },
	{ "cccc02", A16 "02", "other", "web", "log", 0, 1, CONTAINER_RUNNING },
	{ "eeee01", A16 "03", "default", "alone", "app", 0, 1, CONTAINER_EXITED },
	{ "eeee02", A16 "03", "default", "alone", "app", 1, 2, CONTAINER_RUNNING },
	{ "cafe", A16 "02", "other", "web", "dddd", 0, 1, CONTAINER_RUNNING },
	{ "dddd01", A16 "02", "other", "web", "rare", 0, 1, CONTAINER_RUNNING },
};

struct rows_list {
	struct list_source source;
	size_t at;
};

static struct slice slice_str(const char *s)
{
	return (struct slice){ s, strlen(s) };
}

static bool rows_next(struct list_source *source, struct list_entry *ret)
{
	struct rows_list *list = (struct rows_list *)source;
	const struct row *row = &rows[list->at];

	if (list->at == ELEMENTS(rows))
		return false;
	list->at++;
	*ret = (struct list_entry){
		.kind = row->container[0] ? CONTAINER_KIND_CONTAINER : CONTAINER_KIND_SANDBOX,
		.state = row->state,
		.id = slice_str(row->id),
		.sandbox_id = slice_str(row->sandbox),
	};
	return true;
}

static void rows_describe(
	struct list_source *source, const struct list_entry *entry, struct container_identity *ret)
{
	const struct row *row = &rows[((struct rows_list *)source)->at - 1];

	*ret = (struct container_identity){
		.namespace = slice_str(row->namespace),
		.pod = slice_str(row->pod),
		.pod_uid = slice_str(row->namespace),
		.container = slice_str(row->container),
		.attempt = row->attempt,
		.created_at_ns = row->created_ns,
	};
}

static void names_and_ids(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *id; /* or what the error says */
	} cases[] = {
		{ "default/web/nginx", 0, "bbbb02" }, /* the last attempt */
		{ "web/nginx", 0, "bbbb02" }, { "nginx", 0, "bbbb02" }, { "bbbb01", 0, "bbbb01" },
		{ "other/web/log", 0, "cccc02" },
		{ "log", -ENOTUNIQ, "default/web/log (cccc01), other/web/log (cccc02)" },
		{ "web/log", -ENOTUNIQ, "fits 2 containers" },
		{ "bbbb", -ENOTUNIQ, "(bbbb01), default/web/nginx (bbbb02)" },
		{ "bbb", -ENOENT, "There is no container 'bbb'; an id takes at least 4" },
		{ A16 "01", 0, A16 "01" },
		{ A16, -ENOTUNIQ, "fits 2 containers: default/web (aaaaaaaaaaaa)" },
		{ "cafe", 0, "cafe" },
		{ "dddd", -ENOTUNIQ, "fits 2" }, /* a name here, an id there */
		/* A pod, where no container has that name. */
		{ "web", -ENOTUNIQ, "'web' fits 5 containers: default/web/" },
		{ "default/web", -ENOTUNIQ, "fits 2 containers" }, { "alone", 0, "eeee02" },
		{ "default/alone", 0, "eeee02" },
		{ "third/web", -ENOENT, "There is no container 'third/web'" },
		{ "default/web/rare", -ENOENT, "There is no" },
		{ "web/bbbb01", -ENOENT, "There is no" }, /* an id stands alone */
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		struct rows_list list = { { .next = rows_next, .describe = rows_describe }, 0 };
		struct subject_query query;
		struct subject_match match;
		struct err err = { 0 };
		int r;

		ASSERT_OK(subject_parse(cases[i].text, &query, NULL));
		subject_match(&query, &list.source, &match);
		r = subject_result(&query, &match, &err);
		if (r != cases[i].r ||
			(r == 0 ? !str_eq(match.best.id, cases[i].id)
				: !strstr(err.text, cases[i].id)))
			fail_msg("%s: %d, '%s', '%s'", cases[i].text, r, match.best.id, err.text);
	}
}

static void what_names_nothing(void **state)
{
	static const char *const bad[] = { "", "/", "a/", "/a", "a//b", "a/b/c/d", "a\nb", "\xff" };
	struct subject_query query;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(bad); i++) {
		err = (struct err){ 0 };
		ASSERT_ERR(subject_parse(bad[i], &query, &err), EINVAL);
		assert_true(err.text[0] != '\0');
	}
	ASSERT_OK(subject_parse("ns/pod/c", &query, NULL));
	assert_string_equal(query.namespace, "ns");
	assert_string_equal(query.pod, "pod");
	assert_string_equal(query.container, "c");
	assert_false(query.may_be_id);
}

static void metrics_are_summed(void **state)
{
	static const char text[] = "# HELP x_sum y\nx_sum 1.5\nx_sum{a=\"b c\"} 2\nx_summary 9\n"
				   "y_sum nan_is_not\nz 1e3";
	double value;

	(void)state;
	assert_true(trace_metric_sum(slice_str(text), "x_sum", &value));
	assert_true(value == 3.5);
	assert_true(trace_metric_sum(slice_str(text), "z", &value));
	assert_true(value == 1000);
	assert_false(trace_metric_sum(slice_str(text), "x", &value));
	assert_false(trace_metric_sum(slice_str(text), "y_sum_", &value));
	assert_false(trace_metric_sum(slice_str(""), "x", &value));
}

/* ---- who is to blame ------------------------------------------------------------------------- */

static void call(struct trace_call *to, const char *name, enum evidence_answer answer)
{
	*to = (struct trace_call){ .name = name, .answer = answer, .elapsed_ns = 400000 };
	if (answer != ANSWER_OK)
		(void)snprintf(to->message, sizeof(to->message), "%s went wrong", name);
}

static struct trace_process process(int32_t pid, int32_t ppid, const char *comm)
{
	struct trace_process p = {
		.pid = pid, .ppid = ppid, .state = 'S', .threads = 1, .age_ns = 60 * NSEC_PER_SEC
	};

	(void)snprintf(p.comm, sizeof(p.comm), "%s", comm);
	(void)snprintf(p.wchan, sizeof(p.wchan), "ep_poll");
	return p;
}

/* A running container that is well. */
static void healthy(struct trace_facts *f)
{
	*f = (struct trace_facts){ .is_root = true, .endpoint = "unix:///run/c.sock" };
	f->subject = (struct trace_subject){ .id = "cccc01",
		.sandbox_id = "aaaa01",
		.namespace = "default",
		.pod = "web",
		.container = "log",
		.state = CONTAINER_RUNNING,
		.is_listed = true };
	call(&f->healthz, "/healthz", ANSWER_REFUSED);
	call(&f->metrics, "/metrics", ANSWER_REFUSED);
	f->kubelet_port = 10250;
	f->kubelet_read_port = 10255;
	call(&f->cri_version, "Version", ANSWER_OK);
	call(&f->cri_status, "ContainerStatus", ANSWER_OK);
	call(&f->version, "Version", ANSWER_OK);
	call(&f->namespaces, "Namespaces/List", ANSWER_OK);
	call(&f->task, "Tasks/Get", ANSWER_OK);
	call(&f->shim_state, "State", ANSWER_OK);
	f->has_status = f->has_task = f->has_shim_task = true;
	f->status = CONTAINER_RUNNING;
	f->task_status = f->shim_task.status = CONTAINERD_RUNNING;
	f->task_pid = f->shim_task.pid = 30;
	f->look.stage = TRACE_STAGE_END;
	f->look.daemon = process(10, 1, "containerd");
	f->look.shim = process(20, 1, "containerd-shim");
	f->look.init = process(30, 20, "log");
	f->look.state_file = 1;
	f->look.thread_count = f->look.group_count = 1;
	f->look.groups[0] = (struct trace_group){
		.state = 'S', .wchan = "ep_poll", .count = 1, .tids = { 30 }
	};
	f->elapsed_ns = 5 * NSEC_PER_MSEC;
}

static void late(struct trace_call *to)
{
	to->answer = ANSWER_LATE;
	to->elapsed_ns = TRACE_CALL_NS;
	(void)snprintf(to->message, sizeof(to->message), "%s is late", to->name);
}

static void nothing(struct trace_facts *f)
{
	(void)f;
}

static void shim_stopped(struct trace_facts *f)
{
	f->look.shim.state = 'T';
	late(&f->shim_state);
	late(&f->task);
	f->has_task = f->has_shim_task = false;
}

/* What containerd 1.6 answers after two seconds. */
static void shim_stopped_and_unknown(struct trace_facts *f)
{
	shim_stopped(f);
	call(&f->task, "Tasks/Get", ANSWER_OK);
	f->has_task = true;
	f->task_status = CONTAINERD_UNKNOWN;
	f->task_pid = 0;
}

static void shim_stopped_and_init_dead(struct trace_facts *f)
{
	shim_stopped(f);
	f->look.init.state = 'Z';
	f->look.groups[0].state = 'Z';
}

static void shim_hung(struct trace_facts *f)
{
	shim_stopped(f);
	f->look.shim.state = 'S';
}

static void shim_dead(struct trace_facts *f)
{
	f->look.shim = (struct trace_process){ 0 };
	f->shim_state = (struct trace_call){ 0 };
	f->has_shim_task = false;
	f->look.init.ppid = 1;
}

static void shim_garbage(struct trace_facts *f)
{
	call(&f->shim_state, "State", ANSWER_GARBAGE);
	f->has_shim_task = false;
}

static void containerd_stopped(struct trace_facts *f)
{
	f->look.daemon.state = 'T';
	late(&f->cri_version);
	late(&f->cri_status);
	late(&f->version);
	late(&f->namespaces);
	late(&f->task);
	f->has_status = f->has_task = false;
}

/* Its shims wait for it when they have told it much. */
static void containerd_stopped_and_shim_silent(struct trace_facts *f)
{
	containerd_stopped(f);
	late(&f->shim_state);
	f->has_shim_task = false;
}

static void containerd_gone(struct trace_facts *f)
{
	call(&f->cri_version, "Version", ANSWER_NO_SOCKET);
	call(&f->cri_status, "ContainerStatus", ANSWER_NO_SOCKET);
	call(&f->version, "Version", ANSWER_NO_SOCKET);
	f->look.daemon.pid = 0;
	f->has_status = f->has_task = false;
}

static void kubelet_waits_for_it(struct trace_facts *f)
{
	containerd_stopped(f);
	f->look.kubelet = process(5, 1, "kubelet");
	late(&f->healthz);
}

static void two_faults(struct trace_facts *f)
{
	shim_stopped(f);
	f->look.daemon.state = 'T';
	late(&f->version);
}

static void thread_unkillable(struct trace_facts *f)
{
	f->look.groups[1] = (struct trace_group){ .state = 'D',
		.wchan = "request_wait_answer",
		.count = 2,
		.tids = { 31, 32 },
		.is_killed = true,
		.is_stuck = true,
		.has_syscall = true,
		.syscall = 262 };
	f->look.group_count = 2;
	f->look.thread_count = 3;
	f->look.oci[0] = process(40, 20, "runc");
	f->look.oci_count = 1;
	late(&f->shim_state);
	late(&f->task);
	f->has_task = f->has_shim_task = false;
}

static void leader_dead(struct trace_facts *f)
{
	thread_unkillable(f);
	f->look.init.state = 'Z';
	f->look.groups[0].state = 'Z';
	call(&f->shim_state, "State", ANSWER_OK);
	call(&f->task, "Tasks/Get", ANSWER_OK);
	f->look.oci_count = 0;
}

static void frozen(struct trace_facts *f)
{
	f->look.levels[0] = (struct trace_level){ "/sys/fs/cgroup/x", CGROUP_FROZEN, true };
	f->look.level_count = 1;
}

static void paused(struct trace_facts *f)
{
	frozen(f);
	f->task_status = f->shim_task.status = CONTAINERD_PAUSED;
}

static void exit_lost(struct trace_facts *f)
{
	f->look.init = (struct trace_process){ 0 };
	f->look.group_count = f->look.thread_count = 0;
}

static void exited(struct trace_facts *f)
{
	exit_lost(f);
	f->status = CONTAINER_EXITED;
	f->has_exit_code = true;
	f->exit_code = 3;
	call(&f->task, "Tasks/Get", ANSWER_NOT_FOUND);
	call(&f->shim_state, "State", ANSWER_NOT_FOUND);
	f->has_task = f->has_shim_task = false;
}

static void vanished(struct trace_facts *f)
{
	exited(f);
	call(&f->cri_status, "ContainerStatus", ANSWER_NOT_FOUND);
	f->has_status = false;
	f->look.shim = (struct trace_process){ 0 };
	f->shim_state = (struct trace_call){ 0 };
}

static void pid_differs(struct trace_facts *f)
{
	f->task_pid = 31;
}

static void oci_says(struct trace_facts *f)
{
	f->look.has_oci_state = true;
	f->look.oci_state = (struct trace_oci_state){ .init_pid = 30, .is_alive = true };
}

static void oci_other_pid(struct trace_facts *f)
{
	oci_says(f);
	f->look.oci_state.init_pid = 29;
	f->look.oci_state.is_alive = false;
}

static void oci_other_start(struct trace_facts *f)
{
	oci_says(f);
	f->look.init.start_ticks = 5001;
	f->look.oci_state.init_start_ticks = 5000;
	f->look.oci_state.is_alive = false;
}

static void oci_same_start(struct trace_facts *f)
{
	oci_other_start(f);
	f->look.oci_state.init_start_ticks = 5001;
	f->look.oci_state.is_alive = true;
}

static void oci_not_started(struct trace_facts *f)
{
	oci_says(f);
	f->look.oci_state.is_created = true;
}

static void oci_created(struct trace_facts *f)
{
	oci_not_started(f);
	f->status = CONTAINER_CREATED;
	f->task_status = f->shim_task.status = CONTAINERD_CREATED;
}

static void oci_of_exited(struct trace_facts *f)
{
	exited(f);
	oci_other_pid(f);
}

static void oci_stopped(struct trace_facts *f)
{
	f->look.oci[0] = process(40, 20, "runc");
	f->look.oci[0].state = 'T';
	f->look.oci_count = 1;
}

static void oci_is_old(struct trace_facts *f)
{
	f->look.oci[0] = process(40, 20, "runc");
	f->look.oci[0].age_ns = TRACE_OCI_OLD_NS;
	f->look.oci_count = 1;
}

static void oci_is_young(struct trace_facts *f)
{
	oci_is_old(f);
	f->look.oci[0].age_ns--;
}

static void thread_waits_on_a_mount(struct trace_facts *f)
{
	thread_unkillable(f);
	f->look.oci_count = 0;
	f->look.groups[1].syscall = 0;
	(void)snprintf(f->look.groups[1].mount, sizeof(f->look.groups[1].mount), "/volume");
	(void)snprintf(
		f->look.groups[1].mount_type, sizeof(f->look.groups[1].mount_type), "fuse.sshfs");
	(void)snprintf(f->look.groups[1].stack, sizeof(f->look.groups[1].stack),
		"request_wait_answer\nfuse_simple_request");
}

/* dockerd and its containerd are two processes. */
static void docker(struct trace_facts *f)
{
	f->is_docker = f->look.is_docker = true;
	f->look.containerd = process(11, 1, "containerd");
	f->look.daemon = process(12, 1, "dockerd");
}

static void dockerd_stopped(struct trace_facts *f)
{
	docker(f);
	f->look.daemon.state = 'T';
	late(&f->cri_version);
	late(&f->cri_status);
	f->has_status = false;
}

static void docker_shim_stopped(struct trace_facts *f)
{
	docker(f);
	shim_stopped(f);
	late(&f->cri_status);
	f->has_status = false;
}

static void cri_o(struct trace_facts *f)
{
	f->version = f->namespaces = f->task = (struct trace_call){ 0 };
	f->has_task = false;
	shim_dead(f);
}

static void unprivileged(struct trace_facts *f)
{
	f->is_root = false;
	call(&f->cri_version, "Version", ANSWER_REFUSED);
	call(&f->version, "Version", ANSWER_REFUSED);
	f->has_status = f->has_task = f->has_shim_task = false;
	f->shim_state = (struct trace_call){ 0 };
	f->look.shim_error = -EACCES;
	f->look.is_init_hidden = true;
}

static void bundle_hangs(struct trace_facts *f)
{
	f->look_late = true;
	f->look.stage = TRACE_STAGE_INIT;
	(void)snprintf(f->look.doing, sizeof(f->look.doing), "the bundle");
	f->shim_state = (struct trace_call){ 0 };
	f->has_shim_task = false;
}

static const struct {
	const char *name;
	void (*set)(struct trace_facts *f);
	enum trace_verdict verdict;
	const char *culprits; /* keys, a blank behind each */
	const char *statuses; /* of cri containerd shim oci init: o h f d a u */
	const char *summary;  /* is in it */
} judgements[] = {
	{ "healthy", nothing, TRACE_FINE, "", "ooooo", "Nothing hangs" },
	{ "shim stopped", shim_stopped, TRACE_TROUBLE, "shim ", "ohhoo",
		"pid 20 containerd-shim is stopped (T)" },
	{ "shim stopped, unknown", shim_stopped_and_unknown, TRACE_TROUBLE, "shim ", "ofhoo",
		"The shim hangs" },
	{ "shim stopped, init dead", shim_stopped_and_init_dead, TRACE_TROUBLE, "shim ", "ohhod",
		"The shim hangs" },
	{ "shim hung", shim_hung, TRACE_TROUBLE, "shim ", "ohhoo", "State is late" },
	{ "shim dead", shim_dead, TRACE_TROUBLE, "shim ", "oofoo",
		"there is none; the parent of the init is pid 1" },
	{ "shim garbage", shim_garbage, TRACE_TROUBLE, "shim ", "oofoo", "State went wrong" },
	{ "containerd stopped", containerd_stopped, TRACE_TROUBLE, "containerd ", "hhooo",
		"pid 10 containerd is stopped (T)" },
	{ "containerd stopped, shim silent", containerd_stopped_and_shim_silent, TRACE_TROUBLE,
		"containerd ", "hhhoo", "containerd hangs: pid 10 containerd is stopped" },
	{ "containerd gone", containerd_gone, TRACE_TROUBLE, "containerd ", "ffooo",
		"Version went wrong" },
	{ "kubelet waits", kubelet_waits_for_it, TRACE_TROUBLE, "containerd ", "hhooo",
		"containerd hangs" },
	{ "two faults", two_faults, TRACE_TROUBLE, "containerd shim ", "ohhoo", "The shim hangs" },
	{ "thread unkillable", thread_unkillable, TRACE_TROUBLE, "init ", "ohhhh",
		"2 threads do not die of SIGKILL, D in request_wait_answer: tid 31" },
	{ "leader dead", leader_dead, TRACE_TROUBLE, "init ", "ooooh",
		"its main thread has ended and 2 live on" },
	{ "frozen", frozen, TRACE_TROUBLE, "init ", "ooooh", "frozen by cgroup /sys/fs/cgroup/x" },
	{ "paused", paused, TRACE_FINE, "", "ooooo", "Nothing hangs" },
	{ "exit lost", exit_lost, TRACE_TROUBLE, "init ", "ooood",
		"no process of it lives, and the runtime says running" },
	{ "exited", exited, TRACE_FINE, "", "ooooa", "Nothing hangs" },
	{ "vanished", vanished, TRACE_FINE, "", "ooaoa", "Nothing hangs" },
	{ "pid differs", pid_differs, TRACE_TROUBLE, "containerd ", "odooo",
		"the kernel says pid 30" },
	{ "Docker", docker, TRACE_FINE, "", "ooooo", "Nothing hangs" },
	{ "dockerd stopped", dockerd_stopped, TRACE_TROUBLE, "dockerd ", "hoooo",
		"dockerd hangs: pid 12 dockerd is stopped (T)" },
	{ "Docker, shim stopped", docker_shim_stopped, TRACE_TROUBLE, "shim ", "hhhoo",
		"pid 20 containerd-shim is stopped (T)" },
	{ "CRI-O", cri_o, TRACE_FINE, "", "oaaoo", "Nothing hangs" },
	{ "unprivileged", unprivileged, TRACE_BLIND, "", "uuuoo", "which is not all" },
	{ "runc agrees", oci_says, TRACE_FINE, "", "ooooo", "Nothing hangs" },
	{ "runc agrees, with a start", oci_same_start, TRACE_FINE, "", "ooooo", "Nothing hangs" },
	{ "runc has another pid", oci_other_pid, TRACE_TROUBLE, "oci ", "ooodo",
		"its state: stopped, pid 29; the kernel says pid 30" },
	{ "runc has another start", oci_other_start, TRACE_TROUBLE, "oci ", "ooodo",
		"of another start than the pid 30 there is" },
	{ "runc did not start it", oci_not_started, TRACE_TROUBLE, "oci ", "ooodo",
		"its state: created, pid 30; it was never started" },
	{ "created only", oci_created, TRACE_FINE, "", "ooooo", "Nothing hangs" },
	{ "runc's word of an exited one", oci_of_exited, TRACE_FINE, "", "ooooa", "Nothing hangs" },
	{ "runc stopped", oci_stopped, TRACE_TROUBLE, "oci ", "oooho",
		"pid 40 runc is stopped (T)" },
	{ "runc old", oci_is_old, TRACE_TROUBLE, "oci ", "oooho",
		"pid 40 runc, S in ep_poll; for" },
	{ "runc young", oci_is_young, TRACE_FINE, "", "ooooo", "Nothing hangs" },
	{ "thread on a mount", thread_waits_on_a_mount, TRACE_TROUBLE, "init ", "ohhoh",
		"D in request_wait_answer, on the mount /volume: tid 31" },
	{ "bundle hangs", bundle_hangs, TRACE_TROUBLE, "shim ", "oohuo",
		"reading the bundle hangs" },
};

static void blame(void **state)
{
	CLEAN(mem_freep) struct trace_judgement *j = mem_zalloc(sizeof(*j));
	CLEAN(mem_freep) struct trace_facts *f = mem_zalloc(sizeof(*f));

	(void)state;
	for (size_t i = 0; i < ELEMENTS(judgements); i++) {
		char culprits[64] = "", statuses[8] = "";

		healthy(f);
		judgements[i].set(f);
		trace_judge(f, j);
		for (int h = 0; h < TRACE_HOPS; h++) {
			const struct trace_hop *hop = &j->hops[h];
			size_t len = strlen(culprits);

			if (h > 0)
				statuses[h - 1] = trace_hop_status_text(hop->status)[0];
			if (trace_is_trouble(hop->status) && hop->explained_by < 0)
				(void)snprintf(culprits + len, sizeof(culprits) - len, "%s ",
					trace_hop_key(h, f->is_docker));
			assert_true(hop->message[0] != '\0');
		}
		if (j->verdict != judgements[i].verdict ||
			!str_eq(culprits, judgements[i].culprits) ||
			!str_eq(statuses, judgements[i].statuses) ||
			!strstr(j->summary, judgements[i].summary))
			fail_msg("%s: verdict %d, culprits '%s', statuses '%s', '%s'",
				judgements[i].name, j->verdict, culprits, statuses, j->summary);
	}
}

/* ---- what runc keeps ------------------------------------------------------------------------- */

static void states_of_runc(void **state)
{
	static const struct {
		const char *text;
		int r;
		int32_t pid;
		uint64_t start;
	} cases[] = {
		{ "{\"id\":\"c\",\"init_process_pid\":812,\"init_process_start\":90411,"
		  "\"config\":{\"init_process_pid\":1,\"rootfs\":\"/x\"}}\n",
			0, 812, 90411 },
		{ "{\"init_process_pid\":812,\"init_process_start\":0}", 0, 812, 0 },
		{ "{\"init_process_pid\":0,\"init_process_start\":1}", -EBADMSG, 0, 0 },
		{ "{\"init_process_pid\":4294967298,\"init_process_start\":1}", -EBADMSG, 0, 0 },
		{ "{\"init_process_pid\":-1,\"init_process_start\":1}", -EBADMSG, 0, 0 },
		{ "{\"init_process_pid\":\"1\",\"init_process_start\":1}", -EBADMSG, 0, 0 },
		{ "{\"init_process_pid\":1}", -EBADMSG, 0, 0 },
		{ "{\"init_process_pid\":1,", -EBADMSG, 0, 0 },
		{ "[]", -EBADMSG, 0, 0 },
		{ "", -EBADMSG, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		struct trace_oci_state got = { 0 };
		int r = oci_state_parse(cases[i].text, strlen(cases[i].text), &got);

		if (r != cases[i].r || got.init_pid != cases[i].pid ||
			got.init_start_ticks != cases[i].start)
			fail_msg("%s: %d, pid %d", cases[i].text, r, got.init_pid);
	}
}

static void roots_of_runc(void **state)
{
	char root[TRACE_ROOT_MAX] = "before", text[2 * TRACE_ROOT_MAX];

	(void)state;
#define PARSE(string) oci_root_parse((string), strlen(string), root)
	ASSERT_ERR(PARSE("{\"binary_name\":\"runc\"}"), ENOENT);
	ASSERT_ERR(PARSE("{\"root\":\"\"}"), ENOENT);
	ASSERT_ERR(PARSE("{\"root\":\"relative\"}"), EBADMSG);
	ASSERT_ERR(PARSE("{\"root\":"), EBADMSG);
	(void)snprintf(text, sizeof(text), "{\"root\":\"/%0300d\"}", 1);
	ASSERT_ERR(PARSE(text), ENAMETOOLONG);
	assert_string_equal(root, "before");
	ASSERT_OK(
		PARSE("{\"binary_name\":\"runc\",\"root\":\"\\/var\\/run/docker/runtime-runc\"}"));
	assert_string_equal(root, "/var/run/docker/runtime-runc");
#undef PARSE
}

/* ---- what is made of it ---------------------------------------------------------------------- */

static const char *screen(struct buf *out, void (*set)(struct trace_facts *f), unsigned width)
{
	CLEAN(mem_freep) struct trace_judgement *j = mem_zalloc(sizeof(*j));
	CLEAN(mem_freep) struct trace_facts *f = mem_zalloc(sizeof(*f));
	CLEAN(buf_done) struct buf text = BUF_INIT(1 << 20);
	const struct looks looks = { .width = width };
	json_t *document;

	healthy(f);
	set(f);
	trace_judge(f, j);
	ASSERT_OK(trace_document(f, j, &text));
	document = json_loadb((const char *)text.data, text.len, 0, NULL);
	assert_non_null(document);
	ASSERT_OK(render_trace(document, &looks, out));
	json_decref(document);
	return buf_string(out);
}

static void screens(void **state)
{
	struct buf out = BUF_INIT(1 << 20);

	(void)state;
	assert_string_equal(screen(&out, thread_unkillable, 0),
		"default/web/log  cccc01  running\n"
		"kubelet              absent   0.4ms   there is no kubelet\n"
		"`- CRI               ok       0.4ms   ContainerStatus: running\n"
		"  `- containerd      hangs    2s      (explained by the shim) pid 10 containerd, "
		"S "
		"in ep_poll; Tasks/Get is late\n"
		"    `- shim          hangs    2s      (explained by the OCI runtime) pid 20 "
		"containerd-shim, S in ep_poll; State is late\n"
		"      `- OCI runtime hangs            (explained by the init) pid 40 runc, S in "
		"ep_poll; for 1m00s; its state is there\n"
		"      `- init        hangs            pid 30 log, S in ep_poll; 2 threads do "
		"not "
		"die of SIGKILL, D in request_wait_answer: tid 31; 3 threads\n"
		"            1 thread S ep_poll, tid 30\n"
		"            2 threads D request_wait_answer, SIGKILL pending, system call 262, "
		"tids "
		"31, 32\n"
		"\n"
		"Trouble: The init hangs: pid 30 log, S in ep_poll; 2 threads do not die of "
		"SIGKILL, D in request_wait_answer: tid 31; 3 threads\n"
		"Looked for 5ms\n");
	buf_clear(&out);
	assert_non_null(strstr(screen(&out, thread_waits_on_a_mount, 0),
		"            2 threads D request_wait_answer, SIGKILL pending, system call 0, on "
		"/volume (fuse.sshfs), stack request_wait_answer < fuse_simple_request, tids 31, "
		"32\n"));
	buf_clear(&out);
	/* No line is longer than the terminal. */
	for (const char *at = screen(&out, thread_unkillable, 80); *at;) {
		size_t len = strcspn(at, "\n");

		if (len > 80)
			fail_msg("%zu columns: %.*s", len, (int)len, at);
		at += len + (at[len] == '\n');
	}
	buf_done(&out);
}

static void foreign_texts_are_cleaned(void **state)
{
	CLEAN(mem_freep) struct trace_judgement *j = mem_zalloc(sizeof(*j));
	CLEAN(mem_freep) struct trace_facts *f = mem_zalloc(sizeof(*f));
	struct buf text = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
	const struct looks looks = { 0 };
	json_t *document;

	(void)state;
	healthy(f);
	(void)snprintf(f->look.init.comm, sizeof(f->look.init.comm), "\033[2Jx\"\xff");
	(void)snprintf(f->subject.pod, sizeof(f->subject.pod), "\033]0;x\007\n");
	trace_judge(f, j);
	ASSERT_OK(trace_document(f, j, &text));
	document = json_loadb((const char *)text.data, text.len, 0, NULL);
	assert_non_null(document);
	ASSERT_OK(render_trace(document, &looks, &out));
	json_decref(document);
	assert_null(strchr(buf_string(&out), '\033'));
	assert_null(strchr(buf_string(&out), '\007'));
	buf_done(&text);
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_ids),
		cmocka_unit_test(what_names_nothing),
		cmocka_unit_test(metrics_are_summed),
		cmocka_unit_test(blame),
		cmocka_unit_test(states_of_runc),
		cmocka_unit_test(roots_of_runc),
		cmocka_unit_test(screens),
		cmocka_unit_test(foreign_texts_are_cleaned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
