/*
 * Cgroups: mounts, paths and files against recorded text and trees (data/), and watches against real
 * groups of this machine, v1 and v2, as far as it has them and lets us make one; what it has not is
 * said. v2's memory.events is tried on a copy in a folder: inotify does not tell the difference.
 */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "kernel/cgroup-watch.h"
#include "kernel/cgroup.h"
#include "loop.h"

static struct cgroup_mounts mounts_from(const char *name)
{
	CLEAN(mem_freep) char *text = NULL;
	struct cgroup_mounts mounts;
	char path[512];
	size_t len;

	(void)snprintf(path, sizeof(path), UNIT_DIR "/data/%s", name);
	ASSERT_OK(fd_read_file(path, 1 << 20, &text, &len));
	ASSERT_OK(cgroup_parse_mounts(text, len, &mounts));
	return mounts;
}

static void mounts_of_every_mode(void **state)
{
	struct cgroup_mounts m = mounts_from("mountinfo-v1");

	assert_int_equal(m.mode, CGROUP_V1);
	assert_string_equal(m.at[CGROUP_MEMORY].path, "/sys/fs/cgroup/memory");
	assert_string_equal(m.at[CGROUP_CPU].path, "/sys/fs/cgroup/cpu,cpuacct");
	assert_string_equal(m.at[CGROUP_FREEZER].path, "/sys/fs/cgroup/freezer");
	assert_string_equal(m.at[CGROUP_UNIFIED].path, "");
	m = mounts_from("mountinfo-hybrid");
	assert_int_equal(m.mode, CGROUP_HYBRID);
	assert_string_equal(m.at[CGROUP_UNIFIED].path, "/sys/fs/cgroup/unified");
	m = mounts_from("mountinfo-v2");
	assert_int_equal(m.mode, CGROUP_V2);
	assert_string_equal(m.at[CGROUP_UNIFIED].path, "/sys/fs/cgroup");
	assert_string_equal(m.at[CGROUP_MEMORY].path, "");
	/* The mount that shows more of a hierarchy counts. */
	m = mounts_from("mountinfo-container");
	assert_string_equal(m.at[CGROUP_MEMORY].path, "/host/cg roup/memory");
	assert_string_equal(m.at[CGROUP_FREEZER].root, "/docker/3f2a");
	assert_string_equal(cgroup_mode_text(m.mode), "v1");
	ASSERT_OK(cgroup_parse_mounts("", 0, &m));
	assert_int_equal(m.mode, CGROUP_NONE);
	ASSERT_ERR(cgroup_parse_mounts("1 2 3\n", 6, &m), EBADMSG);
}

struct path_case {
	const char *mounts, *text;
	enum cgroup_hierarchy hierarchy;
	const char *path; /* NULL: -ENOENT */
};

static const struct path_case path_cases[] = {
	{ "mountinfo-v2", "0::/kubepods.slice/x\n", CGROUP_MEMORY,
		"/sys/fs/cgroup/kubepods.slice/x" },
	{ "mountinfo-v2", "0::/\n", CGROUP_UNIFIED, "/sys/fs/cgroup" },
	{ "mountinfo-v2", "0::/../other\n", CGROUP_UNIFIED, NULL },
	{ "mountinfo-v2", "0::/..x\n", CGROUP_UNIFIED, "/sys/fs/cgroup/..x" },
	{ "mountinfo-v2", "0::/gone (deleted)\n", CGROUP_UNIFIED, NULL },
	{ "mountinfo-v1", "4:memory:/docker/3f2a\n", CGROUP_MEMORY,
		"/sys/fs/cgroup/memory/docker/3f2a" },
	{ "mountinfo-v1", "4:memory:/docker/3f2a\n", CGROUP_FREEZER, NULL },
	{ "mountinfo-v1", "1:cpu,cpuacct:/a:b\n", CGROUP_CPU, "/sys/fs/cgroup/cpu,cpuacct/a:b" },
	{ "mountinfo-v1", "0::/x\n", CGROUP_UNIFIED, NULL },
	{ "mountinfo-hybrid", "6:freezer:/f\n0::/u\n", CGROUP_FREEZER, "/sys/fs/cgroup/freezer/f" },
	{ "mountinfo-hybrid", "6:freezer:/f\n0::/u\n", CGROUP_UNIFIED, "/sys/fs/cgroup/unified/u" },
	{ "mountinfo-container", "6:freezer:/docker/3f2a/in\n", CGROUP_FREEZER,
		"/sys/fs/cgroup/freezer/in" },
	{ "mountinfo-container", "6:freezer:/docker/3f2a\n", CGROUP_FREEZER,
		"/sys/fs/cgroup/freezer" },
	{ "mountinfo-container", "6:freezer:/docker/3f2ab\n", CGROUP_FREEZER, NULL },
	{ "mountinfo-container", "6:freezer:/\n", CGROUP_FREEZER, NULL },
};

static void paths(void **state)
{
	for (size_t i = 0; i < ELEMENTS(path_cases); i++) {
		const struct path_case *c = &path_cases[i];
		struct cgroup_mounts mounts = mounts_from(c->mounts);
		char path[CGROUP_PATH_MAX] = "";
		int r = cgroup_path(&mounts, c->text, strlen(c->text), c->hierarchy, path);

		assert_int_equal(r, c->path ? 0 : -ENOENT);
		assert_string_equal(path, c->path ? c->path : "");
	}
}

static void parsers(void **state)
{
	enum cgroup_freezer_state freezer;
	struct cgroup_events events;
	struct cgroup_oom oom;

	ASSERT_OK(cgroup_parse_events("populated 1\n", 12, &events));
	assert_true(events.populated && !events.has_frozen);
	ASSERT_ERR(cgroup_parse_events("frozen 1\n", 9, &events), EBADMSG);
	ASSERT_ERR(cgroup_parse_events("populated x\n", 12, &events), EBADMSG);
	ASSERT_ERR(cgroup_parse_events("", 0, &events), EBADMSG);
	ASSERT_ERR(cgroup_parse_memory_events("low 0\n", 6, &oom), EBADMSG);
	ASSERT_ERR(cgroup_parse_memory_events("oom -1\n", 7, &oom), EBADMSG);
	ASSERT_OK(cgroup_parse_oom_control("oom_kill_disable 0\nunder_oom 0\n", 31, &oom));
	assert_false(oom.has_oom_kill); /* before 4.13 */
	ASSERT_ERR(cgroup_parse_oom_control("oom_kill 1\n", 11, &oom), EBADMSG);
	ASSERT_OK(cgroup_parse_freezer("FREEZING\n", 9, &freezer));
	assert_int_equal(freezer, CGROUP_FREEZING);
	ASSERT_ERR(cgroup_parse_freezer("FROZE\n", 6, &freezer), EBADMSG);
}

static struct cgroup_mounts recorded(const char *unified, const char *memory, const char *freezer)
{
	struct cgroup_mounts m = { .mode = memory ? CGROUP_V1 : CGROUP_V2 };

	if (unified)
		(void)snprintf(m.at[CGROUP_UNIFIED].path, 256, UNIT_DIR "/data/%.99s", unified);
	if (memory)
		(void)snprintf(m.at[CGROUP_MEMORY].path, 256, UNIT_DIR "/data/%.99s", memory);
	if (freezer)
		(void)snprintf(m.at[CGROUP_FREEZER].path, 256, UNIT_DIR "/data/%.99s", freezer);
	for (unsigned h = 0; h < CGROUP_HIERARCHIES; h++)
		(void)snprintf(m.at[h].root, 2, "/");
	return m;
}

static void recorded_v2(void **state)
{
	static const char text[] = "0::/kubepods.slice/pod1/cri-3f2a\n";
	struct cgroup_mounts mounts = recorded("cgroup-v2", NULL, NULL);
	struct cgroup_freezer_level levels[4];
	struct cgroup_events events;
	struct cgroup_oom oom;
	char path[CGROUP_PATH_MAX];
	CLEAN_FD int dir = -EBADF;

	ASSERT_OK(cgroup_path(&mounts, text, sizeof(text) - 1, CGROUP_MEMORY, path));
	dir = cgroup_open(path);
	ASSERT_OK(dir);
	assert_int_equal(cgroup_read_events(dir, &events), 1);
	assert_true(events.populated && events.has_frozen && events.frozen);
	assert_int_equal(cgroup_read_oom(dir, &oom), 1);
	assert_true(oom.has_oom && oom.has_oom_kill);
	assert_int_equal(oom.oom, 3);
	assert_int_equal(oom.oom_kill, 2);
	assert_int_equal(cgroup_read_freezer(&mounts, path, levels, ELEMENTS(levels)), 3);
	assert_int_equal(levels[0].state, CGROUP_THAWED);
	assert_int_equal(levels[1].state, CGROUP_THAWED);
	assert_int_equal(levels[2].state, CGROUP_FROZEN);
	assert_true(levels[2].self);
	assert_string_equal(levels[2].path, path);
	assert_int_equal(cgroup_read_freezer(&mounts, path, levels, 1), 1);
	ASSERT_ERR(cgroup_read_freezer(&mounts, "/elsewhere", levels, 1), EINVAL);
	assert_int_equal(cgroup_read_freezer(&mounts,
				 strncat(path, "/gone", sizeof(path) - strlen(path) - 1), levels,
				 ELEMENTS(levels)),
		0);
}

static void recorded_v1(void **state)
{
	static const char text[] =
		"4:memory:/kubepods/pod1/3f2a\n6:freezer:/kubepods/pod1/3f2a/inner\n";
	struct cgroup_mounts mounts = recorded(NULL, "cgroup-v1/memory", "cgroup-v1/freezer");
	struct cgroup_freezer_level levels[8];
	struct cgroup_events events;
	struct cgroup_oom oom;
	char path[CGROUP_PATH_MAX];
	CLEAN_FD int dir = -EBADF;

	ASSERT_OK(cgroup_path(&mounts, text, sizeof(text) - 1, CGROUP_MEMORY, path));
	dir = cgroup_open(path);
	ASSERT_OK(dir);
	assert_int_equal(cgroup_read_oom(dir, &oom), 1);
	assert_true(oom.under_oom && oom.kill_disabled && !oom.has_oom);
	assert_int_equal(oom.oom_kill, 7);
	assert_int_equal(cgroup_read_events(dir, &events), 0);
	/* Thawed at the container, frozen below it. */
	ASSERT_OK(cgroup_path(&mounts, text, sizeof(text) - 1, CGROUP_FREEZER, path));
	assert_int_equal(cgroup_read_freezer(&mounts, path, levels, ELEMENTS(levels)), 4);
	assert_int_equal(levels[2].state, CGROUP_THAWED);
	assert_false(levels[2].self);
	assert_int_equal(levels[3].state, CGROUP_FREEZING);
	assert_true(levels[3].self);
}

/* --- watches --- */

struct fixture {
	sd_event *event;
	struct cgroup_watch *watch;
	unsigned changes;
	struct cgroup_facts facts;
	bool free_inside;
	char folder[CGROUP_PATH_MAX]; /* "": none made */
	int fds_before;
};

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	f->fds_before = count_fds();
	ASSERT_OK(sd_event_new(&f->event));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->watch = cgroup_watch_free(f->watch);
	f->event = sd_event_unref(f->event);
	if (f->folder[0])
		(void)rmdir(f->folder);
	assert_int_equal(count_fds(), f->fds_before);
	(void)mem_free(f);
	return 0;
}

static void on_change(struct cgroup_watch *watch, const struct cgroup_facts *facts, void *userdata)
{
	struct fixture *f = userdata;

	f->changes++;
	f->facts = *facts;
	if (f->free_inside)
		f->watch = cgroup_watch_free(watch);
}

static void write_file(const char *folder, const char *name, const char *text)
{
	char path[CGROUP_PATH_MAX + 64];
	CLEAN_FD int fd = -EBADF;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	ASSERT_OK(fd < 0 ? -errno : 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* A group of our own in this hierarchy; skips where none can be made. */
static void make_group(struct fixture *f, enum cgroup_hierarchy hierarchy)
{
	struct cgroup_mounts mounts;

	ASSERT_OK(cgroup_read_mounts(&mounts));
	(void)snprintf(f->folder, sizeof(f->folder), "%s/pleg-unit-%d", mounts.at[hierarchy].path,
		getpid());
	if (mounts.at[hierarchy].path[0] == '\0' || mkdir(f->folder, 0755) < 0) {
		print_message("SKIPPED: hierarchy %d is not mounted or not writable\n", hierarchy);
		f->folder[0] = '\0';
		skip();
	}
}

static pid_t start_child(void)
{
	pid_t pid = fork();

	ASSERT_OK(pid);
	if (pid == 0)
		for (;;)
			(void)pause();
	return pid;
}

static void copied_v2(void **state)
{
	struct fixture *f = *state;
	char folder[] = "/tmp/pleg-cgroup-XXXXXX", path[96];
	struct cgroup_watch_spec spec = { .on_change = on_change, .userdata = f };

	assert_non_null(mkdtemp(folder));
	write_file(folder, "cgroup.events", "populated 1\nfrozen 0\n");
	write_file(folder, "memory.events", "oom 0\noom_kill 0\n");
	spec.unified = spec.memory = folder;
	ASSERT_OK(cgroup_watch_new(f->event, &spec, &f->watch));
	assert_true(cgroup_watch_facts(f->watch)->events.populated);
	assert_true(cgroup_watch_facts(f->watch)->has_oom);
	write_file(folder, "memory.events", "oom 1\noom_kill 1\n");
	RUN_UNTIL(f->event, f->changes == 1);
	assert_int_equal(f->facts.oom.oom_kill, 1);
	write_file(folder, "memory.events", "oom 1\noom_kill 1\n"); /* the same again: no news */
	RUN_TURNS(f->event, 3);
	assert_int_equal(f->changes, 1);
	(void)snprintf(path, sizeof(path), "%s/memory.events", folder);
	ASSERT_OK(unlink(path));
	RUN_UNTIL(f->event, f->facts.gone);
	assert_int_equal(f->facts.oom.oom_kill, 1); /* what was known last */
	RUN_TURNS(f->event, 3);
	assert_int_equal(f->changes, 2);
	(void)snprintf(path, sizeof(path), "%s/cgroup.events", folder);
	ASSERT_OK(unlink(path));
	ASSERT_OK(rmdir(folder));
}

static void real_v2(void **state)
{
	struct fixture *f = *state;
	struct cgroup_watch_spec spec = { .on_change = on_change, .userdata = f };
	char line[16];
	pid_t pid;

	make_group(f, CGROUP_UNIFIED);
	spec.unified = f->folder;
	ASSERT_OK(cgroup_watch_new(f->event, &spec, &f->watch));
	assert_false(cgroup_watch_facts(f->watch)->events.populated);
	pid = start_child();
	(void)snprintf(line, sizeof(line), "%d\n", pid);
	write_file(f->folder, "cgroup.procs", line);
	RUN_UNTIL(f->event, f->facts.events.populated);
	write_file(f->folder, "cgroup.freeze", "1"); /* v2: SIGKILL works in a frozen group */
	RUN_UNTIL(f->event, f->facts.events.frozen);
	ASSERT_OK(kill(pid, SIGKILL));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	RUN_UNTIL(f->event, !f->facts.events.populated);
	f->free_inside = true;
	ASSERT_OK(rmdir(f->folder));
	RUN_UNTIL(f->event, f->facts.gone);
	assert_null(f->watch);
}

/* A child that wants more memory than its group may have: the kernel kills it. */
static pid_t start_eater(const char *folder)
{
	pid_t pid = fork();

	ASSERT_OK(pid);
	if (pid == 0) {
		char line[16];
		uint8_t *p;

		(void)snprintf(line, sizeof(line), "%d\n", getpid());
		write_file(folder, "cgroup.procs", line);
		p = mmap(NULL, 256u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			0);
		for (size_t i = 0; p != MAP_FAILED && i < 256u << 20; i += 4096)
			p[i] = 1;
		_exit(0);
	}
	return pid;
}

static void real_v1_oom(void **state)
{
	struct fixture *f = *state;
	struct cgroup_watch_spec spec = { .on_change = on_change, .userdata = f };
	int status;
	pid_t pid;

	make_group(f, CGROUP_MEMORY);
	write_file(f->folder, "memory.limit_in_bytes", "33554432");
	spec.memory = f->folder;
	ASSERT_OK(cgroup_watch_new(f->event, &spec, &f->watch));
	assert_int_equal(cgroup_watch_facts(f->watch)->oom.oom_kill, 0);
	pid = start_eater(f->folder);
	RUN_UNTIL(f->event, f->facts.oom.oom_kill > 0 || waitpid(pid, &status, WNOHANG) == pid);
	if (f->facts.oom.oom_kill > 0)
		assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	RUN_UNTIL(f->event, f->facts.oom.oom_kill > 0);
	ASSERT_OK(rmdir(f->folder));
	RUN_UNTIL(f->event, f->facts.gone);
}

static void real_v1_freezer(void **state)
{
	struct fixture *f = *state;
	struct cgroup_freezer_level levels[CGROUP_LEVELS];
	struct cgroup_mounts mounts;
	char inner[CGROUP_PATH_MAX + 8];

	make_group(f, CGROUP_FREEZER);
	ASSERT_OK(cgroup_read_mounts(&mounts));
	(void)snprintf(inner, sizeof(inner), "%s/inner", f->folder);
	ASSERT_OK(mkdir(inner, 0755));
	write_file(f->folder, "freezer.state", "FROZEN"); /* nobody is in there */
	assert_int_equal(cgroup_read_freezer(&mounts, inner, levels, ELEMENTS(levels)), 2);
	assert_int_equal(levels[0].state, CGROUP_FROZEN);
	assert_true(levels[0].self);
	assert_int_equal(levels[1].state, CGROUP_FROZEN);
	assert_false(levels[1].self);
	write_file(f->folder, "freezer.state", "THAWED");
	assert_int_equal(cgroup_read_freezer(&mounts, inner, levels, ELEMENTS(levels)), 2);
	assert_int_equal(levels[1].state, CGROUP_THAWED);
	ASSERT_OK(rmdir(inner));
	assert_int_equal(cgroup_read_freezer(&mounts, inner, levels, ELEMENTS(levels)), 0);
}

static void gone_between_open_and_read(void **state)
{
	struct fixture *f = *state;
	struct cgroup_events events;
	CLEAN_FD int dir = -EBADF;

	make_group(f, CGROUP_UNIFIED);
	dir = cgroup_open(f->folder);
	ASSERT_OK(dir);
	assert_int_equal(cgroup_read_events(dir, &events), 1);
	ASSERT_OK(rmdir(f->folder));
	assert_int_equal(cgroup_read_events(dir, &events), 0);
	ASSERT_ERR(cgroup_open(f->folder), ENOENT);
	ASSERT_ERR(cgroup_watch_new(f->event, &(struct cgroup_watch_spec){ .unified = f->folder },
			   &f->watch),
		ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mounts_of_every_mode),
		cmocka_unit_test(paths),
		cmocka_unit_test(parsers),
		cmocka_unit_test(recorded_v2),
		cmocka_unit_test(recorded_v1),
		cmocka_unit_test_setup_teardown(copied_v2, setup, teardown),
		cmocka_unit_test_setup_teardown(real_v2, setup, teardown),
		cmocka_unit_test_setup_teardown(real_v1_oom, setup, teardown),
		cmocka_unit_test_setup_teardown(real_v1_freezer, setup, teardown),
		cmocka_unit_test_setup_teardown(gone_between_open_and_read, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
