/*
 * Goroutine dumps: what is read of them, who is asked for one, what it adds to findings and JSON. The dumps in
 * data/goroutines are recorded, as they came from a containerd 1.6.20, a dockerd 20.10.24 with one container's
 * lock held by a start that did not end, and a shim, whose is in the log of its containerd.
 */
#include "unit.h"

#include <jansson.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"
#include "doctor/rules/goroutines.h"
#include "model/goroutines-json.h"
#include "rules-harness.h"

static struct goroutines *parsed(const char *text, size_t len)
{
	struct goroutines *g = NULL;

	ASSERT_OK(goroutines_parse(text, len, &g));
	return g;
}

static struct goroutines *recorded(const char *name, bool is_log)
{
	CLEAN(mem_freep) char *text = NULL;
	size_t len;

	ASSERT_OK(fd_read_file(FMT(UNIT_DIR "/data/goroutines/%s", name), 1 << 20, &text, &len));
	assert_int_equal(goroutines_log_is_whole(text, len), is_log);
	return parsed(text, len);
}

/* The group whose innermost frame this is. */
static const struct goroutine_group *group_at(const struct goroutines *g, const char *frame)
{
	for (uint32_t i = 0; i < g->group_count; i++)
		if (g->groups[i].frame_count > 0 && strstr(g->groups[i].frames[0], frame))
			return &g->groups[i];
	fail_msg("no goroutine is in %s", frame);
	return NULL;
}

static void a_dump_of_containerd(void **state)
{
	CLEAN(mem_freep) struct goroutines *g = recorded("containerd-1.6.20", false);
	const struct goroutine_group *one;

	(void)state;
	assert_int_equal(g->total, 36);
	assert_int_equal(g->on_lock, 0);
	assert_int_equal(g->longest_minutes, 2);
	assert_int_equal(g->left_out, 0);
	assert_int_equal(g->groups[0].count, 3);
	/* It waits for a WaitGroup, which Go calls the same as a lock. */
	one = group_at(
		g, "github.com/containerd/containerd/pkg/cri/server.(*criService).Run.func2");
	assert_string_equal(one->reason, "semacquire");
	assert_false(one->on_lock);
	assert_int_equal(one->longest_minutes, 2);
	assert_string_equal(group_at(g, "command.dumpStacks")->reason, "running");
	/* Nothing but Go's own: the outermost. */
	assert_string_equal(group_at(g, "os/signal.loop")->reason, "syscall");
}

static void a_dump_of_dockerd_with_a_lock(void **state)
{
	CLEAN(mem_freep) struct goroutines *g = recorded("dockerd-20.10.24", false);
	const struct goroutine_group *one =
		group_at(g, "github.com/docker/docker/daemon.(*Daemon).ContainerInspectCurrent");

	(void)state;
	assert_int_equal(g->total, 45);
	assert_int_equal(g->on_lock, 3);
	assert_true(one == &g->groups[0] && one->on_lock);
	assert_int_equal(one->count, 3);
	assert_int_equal(one->longest_minutes, 0);
	assert_string_equal(
		one->frames[1], "github.com/docker/docker/daemon.(*Daemon).ContainerInspect");
}

static void a_dump_of_a_shim_in_a_log(void **state)
{
	CLEAN(mem_freep) struct goroutines *g = recorded("shim-1.6.20-in-log", true);

	(void)state;
	assert_int_equal(g->total, 19);
	assert_int_equal(g->longest_minutes, 2);
	assert_string_equal(group_at(g, "runtime/v2/runc/task.(*service).processExits")->reason,
		"chan receive");
}

static void no_argument_is_kept(void **state)
{
	static const char *const names[] = { "containerd-1.6.20", "dockerd-20.10.24",
		"shim-1.6.20-in-log" };

	(void)state;
	for (size_t i = 0; i < ELEMENTS(names); i++) {
		CLEAN(mem_freep) struct goroutines *g = recorded(names[i], i == 2);

		for (uint32_t k = 0; k < g->group_count; k++)
			for (uint32_t f = 0; f < g->groups[k].frame_count; f++) {
				assert_null(strstr(g->groups[k].frames[f], "0x"));
				assert_null(strpbrk(g->groups[k].frames[f], "{}? \t"));
			}
	}
}

static void lines_of_other_versions(void **state)
{
	static const char text[] =
		"goroutine 1 gp=0xc000002380 m=nil [sync.Mutex.Lock, 12 minutes, locked to "
		"thread]:\n"
		"internal/sync.(*Mutex).lockSlow(0xc000012345)\n\tinternal/sync/mutex.go:149 "
		"+0x15\n"
		"example.org/x/y.(*T[...]).Do(0xc000012345, {0x1, 0x2})\n\tx/y.go:4 +0x1\n"
		"...additional frames elided...\n"
		"created by example.org/x/y.New in goroutine 7\n\tx/y.go:1 +0x1\n\n"
		"goroutine 2 [sync.RWMutex.RLock, 3 minutes]:\n"
		"example.org/x/y.(*T[...]).Do(...)\n"
		"goroutine 3 [chan receive (nil chan)]:\nmain.main()\n\tmain.go:1 +0x1\n\n"
		"goroutine 4 [runnable (scan), 99999999999 minutes]:\nnot a frame\n"
		"goroutine 5 [what=\"secret\"]:\nmain.leaked(0x1)\n\n"
		"goroutine 6 []:\nmain.leaked(0x1)\n";
	CLEAN(mem_freep) struct goroutines *g = parsed(text, sizeof(text) - 1);

	(void)state;
	assert_int_equal(g->total, 4);
	assert_int_equal(g->on_lock, 2);
	assert_int_equal(group_at(g, "example.org/x/y.(*T[...]).Do")->frame_count, 1);
	assert_string_equal(group_at(g, "main.main")->reason, "chan receive (nil chan)");
	assert_int_equal(g->groups[0].count, 1);
	for (uint32_t i = 0; i < g->group_count; i++)
		if (str_eq(g->groups[i].reason, "runnable"))
			assert_int_equal(g->groups[i].frame_count, 0);
}

static void what_is_no_dump(void **state)
{
	static const char *const texts[] = { "", "\n", "goroutine", "goroutine 1 [x", "level=info",
		"=== BEGIN goroutine stack dump ===", "=== BEGIN goroutine stack dump ===\\n" };
	struct goroutines *g = NULL;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(texts); i++)
		ASSERT_ERR(goroutines_parse(texts[i], strlen(texts[i]), &g), EBADMSG);
	assert_false(goroutines_log_is_whole(texts[5], strlen(texts[5])));
}

static void of_several_in_a_log_the_last(void **state)
{
	static const char text[] =
		"=== BEGIN goroutine stack dump ===\\ngoroutine 1 [select]:\\nmain.a()\\n"
		"=== END goroutine stack dump ===\"\nother line\n"
		"=== BEGIN goroutine stack dump ===\\ngoroutine 1 [IO wait]:\\nmain.b()\\n"
		"=== END goroutine stack dump ===\" pid=1\ngoroutine 2 [select]:\nmain.c()\n";
	CLEAN(mem_freep) struct goroutines *g = parsed(text, sizeof(text) - 1);

	(void)state;
	assert_int_equal(g->total, 1);
	assert_string_equal(g->groups[0].frames[0], "main.b");
	assert_true(goroutines_log_is_whole(text, sizeof(text) - 1));
	assert_false(goroutines_log_is_whole(text, 200));
}

static void groups_have_a_limit(void **state)
{
	CLEAN(buf_done) struct buf text = BUF_INIT(1 << 20);
	CLEAN(mem_freep) struct goroutines *g = NULL;

	(void)state;
	for (unsigned i = 0; i < GOROUTINE_GROUPS_MAX + 10; i++)
		ASSERT_OK(buf_printf(&text, "goroutine %u [select]:\nmain.f%u()\n\n", i, i));
	g = parsed((const char *)text.data, text.len);
	assert_int_equal(g->total, GOROUTINE_GROUPS_MAX + 10);
	assert_int_equal(g->group_count, GOROUTINE_GROUPS_MAX);
	assert_int_equal(g->left_out, 10);
}

/* ---- who is asked ------------------------------------------------------------------------ */

static uint32_t choose(const struct evidence *e, const struct findings *findings, int32_t *ret_pids)
{
	uint32_t processes[4], count = goroutines_choose(e, findings, processes, 4);

	for (uint32_t i = 0; i < count; i++)
		ret_pids[i] = e->processes[processes[i]].pid;
	return count;
}

static struct finding *a_finding(
	struct findings *set, enum cause cause, int32_t pid, const char *id)
{
	struct finding *f = findings_add(set, cause, SEVERITY_CRITICAL, CONFIDENCE_PROVEN, 1);

	finding_set_subject(set, f,
		&(struct finding_subject){ .pid = pid,
			.container_id = id,
			.start_ticks = pid ? (uint64_t)pid * 10 : 0 });
	return f;
}

static void who_is_asked(void **state)
{
	CLEAN(evidence_freep) struct evidence *e = evidence_new();
	CLEAN(findings_freep) struct findings *none = findings_new(), *some = findings_new();
	uint32_t docker = a_daemon(e, DAEMON_DOCKERD, 100), other, container;
	struct finding *f;
	int32_t pids[4];

	(void)state;
	other = a_daemon(e, DAEMON_CONTAINERD, 200);
	e->daemons[other].is_runtime = false;
	e->daemons[other].tasks.answer = ANSWER_NOT_ASKED;
	(void)a_daemon(e, DAEMON_CRIO, 250);
	container = a_container(e, "web", "app", "abc", docker);
	(void)a_shim(e, 300, container);
	/* Nothing found: the daemon of the runtime, and the one behind it, if it was asked. */
	assert_int_equal(choose(e, none, pids), 1);
	assert_int_equal(pids[0], 100);
	e->daemons[other].tasks.answer = ANSWER_OK;
	assert_int_equal(choose(e, none, pids), 2);
	/* One that does not answer, alone. */
	e->daemons[other].list.answer = ANSWER_LATE;
	assert_int_equal(choose(e, none, pids), 1);
	assert_int_equal(pids[0], 200);
	e->daemons[other].list.answer = ANSWER_OK;
	e->shims[0].state.answer = ANSWER_LATE;
	assert_int_equal(choose(e, none, pids), 1);
	assert_int_equal(pids[0], 300);
	e->shims[0].state.answer = ANSWER_OK;
	/* Who is in a finding, also below one, if it is that very process. */
	f = a_finding(some, CAUSE_NODE_DISK_FULL, 0, "");
	findings_attach(some, f, a_finding(some, CAUSE_CRI_DAEMON_DEADLOCK, 200, ""));
	assert_int_equal(choose(e, some, pids), 1);
	assert_int_equal(pids[0], 200);
	e->processes[e->daemons[other].process].start_ticks++;
	assert_int_equal(choose(e, some, pids), 2); /* as with nothing found */
	/* Whose container nobody can explain. */
	(void)a_finding(some, CAUSE_UNKNOWN_BUT_HUNG, 0, "abc");
	assert_int_equal(choose(e, some, pids), 2);
	assert_int_equal(pids[0], 100);
	assert_int_equal(pids[1], 300);
	/* conmon is not written in Go. */
	e->processes[e->shims[0].process].comm = "conmon";
	assert_int_equal(choose(e, some, pids), 1);
}

/* ---- what is told ------------------------------------------------------------------------ */

static const char *told(const struct finding *f, const char *what)
{
	for (uint32_t i = 0; i < f->evidence_count; i++)
		if (str_eq(f->evidence[i].what, what))
			return f->evidence[i].value;
	return "";
}

static void what_a_dump_tells(void **state)
{
	CLEAN(evidence_freep) struct evidence *e = evidence_new();
	CLEAN(findings_freep) struct findings *set = findings_new();
	CLEAN(mem_freep) struct goroutines *g = recorded("dockerd-20.10.24", false);
	const struct goroutine_dump dump = { .pid = 100,
		.process = "dockerd",
		.why = "",
		.source = "/run/docker/goroutine-stacks-x.log",
		.signalled = true,
		.at_ns = 5,
		.goroutines = g };
	struct finding *lock, *full;
	uint32_t count;

	(void)state;
	(void)a_daemon(e, DAEMON_DOCKERD, 100);
	lock = a_finding(set, CAUSE_DOCKER_CONTAINER_LOCK_HELD, 100, "abc");
	full = a_finding(set, CAUSE_FD_EXHAUSTED, 100, "");
	goroutines_tell(e, &dump, 1, set);
	ASSERT_OK(findings_result(set));
	assert_string_equal(told(lock, "goroutines of dockerd"),
		"45, 3 of them wait for a lock; the longest wait for up to 2 minutes");
	assert_non_null(strstr(told(lock, "goroutines that wait for a lock"),
		"3 in semacquire for less than a minute: "
		"github.com/docker/docker/daemon.(*Daemon).ContainerInspectCurrent < "));
	assert_non_null(
		strstr(told(lock, "goroutines that have waited longest"), "for up to 2 minutes: "));
	count = lock->evidence_count;
	assert_true(count >= 6 && count <= 12);
	for (uint32_t i = 0; i < count; i++) {
		assert_string_equal(lock->evidence[i].where, dump.source);
		assert_int_equal(lock->evidence[i].at_ns, 5);
	}
	assert_int_equal(full->evidence_count, 0);
	assert_int_equal(lock->advice_count, 0);
}

static void as_json(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(1 << 20);
	CLEAN(mem_freep) struct goroutines *g = recorded("dockerd-20.10.24", false);
	const struct goroutine_dump dumps[] = {
		{ .pid = 100,
			.process = "dockerd",
			.why = "",
			.source = "/x",
			.signalled = true,
			.at_ns = 5,
			.goroutines = g },
		{ .pid = 200,
			.process = "containerd",
			.why = "not asked: it is stopped",
			.source = "" },
	};
	struct json_write w = JSON_WRITE_INIT(&out);
	json_t *document, *one, *group;
	long long count = 0;
	size_t i;

	(void)state;
	json_write_object(&w, NULL);
	goroutines_json_write(&w, "none", NULL, 0);
	goroutines_json_write(&w, "goroutines", dumps, 2);
	json_write_object_end(&w);
	ASSERT_OK(json_write_result(&w));
	document = json_loads(buf_string(&out), 0, NULL);
	assert_non_null(document);
	assert_true(json_is_null(json_object_get(document, "none")));
	one = json_array_get(json_object_get(document, "goroutines"), 0);
	assert_int_equal(json_integer_value(json_object_get(one, "total")), 45);
	assert_int_equal(json_integer_value(json_object_get(one, "onLock")), 3);
	json_array_foreach (json_object_get(one, "groups"), i, group)
		count += json_integer_value(json_object_get(group, "count"));
	assert_int_equal(i, 16);
	assert_int_equal(count + json_integer_value(json_object_get(one, "leftOut")), 45);
	one = json_array_get(json_object_get(document, "goroutines"), 1);
	assert_string_equal(
		json_string_value(json_object_get(one, "message")), "not asked: it is stopped");
	assert_true(json_is_false(json_object_get(one, "asked")));
	assert_true(json_is_null(json_object_get(one, "askedAt")));
	assert_true(json_is_null(json_object_get(one, "total")));
	assert_int_equal(json_array_size(json_object_get(one, "groups")), 0);
	json_decref(document);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dump_of_containerd),
		cmocka_unit_test(a_dump_of_dockerd_with_a_lock),
		cmocka_unit_test(a_dump_of_a_shim_in_a_log),
		cmocka_unit_test(no_argument_is_kept),
		cmocka_unit_test(lines_of_other_versions),
		cmocka_unit_test(what_is_no_dump),
		cmocka_unit_test(of_several_in_a_log_the_last),
		cmocka_unit_test(groups_have_a_limit),
		cmocka_unit_test(who_is_asked),
		cmocka_unit_test(what_a_dump_tells),
		cmocka_unit_test(as_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
