/*
 * The cgroups of containers against a tree of a v2 machine, recorded and then changed as the kernel
 * would: what is told, what is bounded, what is refused and why. Real groups of v1 are for
 * test-cgroup.c and the system tests.
 */
#include "unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/groups.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "loop.h"

#define ID   "3f2a"
#define TEXT "0::/kubepods.slice/pod1/cri-3f2a\n"
#define DEEP "0::/kubepods.slice/pod1/cri-3f2a/init.scope/x\n"

static bool opens_fail;

bool fault_hit(enum fault_point point)
{
	return opens_fail && point == FAULT_OPEN;
}

struct fixture {
	sd_event *event;
	struct cgroup_mounts mounts;
	struct groups *groups;
	char folder[32], group[CGROUP_PATH_MAX];
	unsigned told;
	char id[80];
	struct ledger_group word;
	int fds_before;
};

static void on_group(void *userdata, const char *container_id, const struct ledger_group *group)
{
	struct fixture *f = userdata;

	f->told++;
	(void)snprintf(f->id, sizeof(f->id), "%s", container_id);
	f->word = *group;
}

static void put(const char *folder, const char *name, const char *text)
{
	char path[CGROUP_PATH_MAX + 64];
	CLEAN_FD int fd = -EBADF;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ASSERT_OK(fd < 0 ? -errno : 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* The recorded files of one group into a folder that may be written. */
static void copy_recorded(const struct fixture *f, const char *to)
{
	static const char *const files[] = { "cgroup.events", "memory.events" };

	(void)f;
	for (size_t i = 0; i < ELEMENTS(files); i++) {
		CLEAN(mem_freep) char *text = NULL;
		char path[512];

		(void)snprintf(path, sizeof(path),
			UNIT_DIR "/data/cgroup-v2/kubepods.slice/pod1/cri-3f2a/%s", files[i]);
		ASSERT_OK(fd_read_file(path, 4096, &text, NULL));
		put(to, files[i], text);
	}
}

static void make(struct fixture *f, uint32_t groups_max)
{
	struct groups_options options = {
		.loop = f->event,
		.groups_max = groups_max,
		.mounts = &f->mounts,
		.on_group = on_group,
		.userdata = f,
	};

	ASSERT_OK(groups_new(&options, &f->groups));
}

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));
	char path[CGROUP_PATH_MAX];

	f->fds_before = count_fds();
	ASSERT_OK(sd_event_new(&f->event));
	(void)snprintf(f->folder, sizeof(f->folder), "/tmp/pleg-groups-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	(void)snprintf(path, sizeof(path), "%s/kubepods.slice", f->folder);
	ASSERT_OK(mkdir(path, 0755) < 0 ? -errno : 0);
	(void)snprintf(path, sizeof(path), "%s/kubepods.slice/pod1", f->folder);
	ASSERT_OK(mkdir(path, 0755) < 0 ? -errno : 0);
	(void)snprintf(f->group, sizeof(f->group), "%s/cri-3f2a", path);
	ASSERT_OK(mkdir(f->group, 0755) < 0 ? -errno : 0);
	copy_recorded(f, f->group);
	f->mounts.mode = CGROUP_V2;
	(void)snprintf(
		f->mounts.at[CGROUP_UNIFIED].path, sizeof(f->mounts.at[0].path), "%s", f->folder);
	(void)snprintf(f->mounts.at[CGROUP_UNIFIED].root, sizeof(f->mounts.at[0].root), "/");
	*state = f;
	return 0;
}

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *where)
{
	(void)stat;
	(void)flag;
	(void)where;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	opens_fail = false;
	f->groups = groups_free(f->groups);
	f->event = sd_event_unref(f->event);
	(void)nftw(f->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(count_fds(), f->fds_before);
	(void)mem_free(f);
	return 0;
}

static struct groups_state state_of(const struct fixture *f)
{
	struct groups_state s;

	groups_state(f->groups, &s);
	return s;
}

static void tells_what_changes(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	make(f, 0);
	groups_watch(f->groups, ID, TEXT, strlen(TEXT));
	assert_int_equal(f->told, 1); /* what is so at the start */
	assert_string_equal(f->id, ID);
	assert_true(f->word.has_oom_kills && f->word.has_populated && f->word.has_frozen);
	assert_true(f->word.populated);
	before = f->word.oom_kills;
	put(f->group, "memory.events", "low 0\nhigh 0\nmax 9\noom 5\noom_kill 77\n");
	RUN_UNTIL(f->event, f->told == 2);
	assert_int_equal(f->word.oom_kills, 77);
	assert_true(before < 77);
	assert_true(f->word.frozen);
	put(f->group, "cgroup.events", "populated 1\nfrozen 0\n");
	RUN_UNTIL(f->event, f->told == 3);
	assert_false(f->word.frozen);
	assert_true(f->word.populated);
	put(f->group, "cgroup.events", "populated 0\nfrozen 0\n");
	RUN_UNTIL(f->event, f->told == 4);
	assert_false(f->word.populated);
	assert_int_equal(state_of(f).watches, 1);
	assert_int_equal(state_of(f).refused, 0);
}

/* A notice may come later than a look: the look finds the kill, the notice nothing new. */
static void looked_at_when_asked(void **state)
{
	struct fixture *f = *state;

	make(f, 0);
	groups_watch(f->groups, ID, TEXT, strlen(TEXT));
	put(f->group, "memory.events", "low 0\nhigh 0\nmax 9\noom 5\noom_kill 78\n");
	groups_look(f->groups, ID);
	assert_int_equal(f->told, 2);
	assert_int_equal(f->word.oom_kills, 78);
	groups_look(f->groups, "another");
	RUN_TURNS(f->event, 3);
	assert_int_equal(f->told, 2);
}

static void goes_with_its_group(void **state)
{
	struct fixture *f = *state;

	make(f, 0);
	groups_watch(f->groups, ID, TEXT, strlen(TEXT));
	(void)nftw(f->group, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	RUN_UNTIL(f->event, state_of(f).watches == 0);
	assert_false(f->word.populated || f->word.has_frozen);
	assert_true(f->word.has_oom_kills); /* what was known last */
	/* One that was never there is no failure. */
	groups_watch(f->groups, ID, TEXT, strlen(TEXT));
	assert_int_equal(state_of(f).refused, 0);
	assert_int_equal(state_of(f).watches, 0);
}

/* An init that moved itself below its container's group, and a path that is another's. */
static void finds_the_containers_own(void **state)
{
	struct fixture *f = *state;
	static const char other[] = "0::/kubepods.slice/pod1\n";

	make(f, 0);
	groups_watch(f->groups, ID, other, strlen(other));
	groups_watch(f->groups, ID, "", 0);
	groups_watch(f->groups, "", TEXT, strlen(TEXT));
	assert_int_equal(f->told, 0);
	groups_watch(f->groups, ID, DEEP, strlen(DEEP));
	assert_int_equal(f->told, 1);
	groups_watch(f->groups, ID, TEXT, strlen(TEXT)); /* anew, in its place */
	assert_int_equal(f->told, 2);
	assert_int_equal(state_of(f).watches, 1);
	groups_forget(f->groups, ID);
	assert_int_equal(state_of(f).watches, 0);
	assert_int_equal(state_of(f).refused, 0);
}

static void says_what_ran_out(void **state)
{
	struct fixture *f = *state;
	static const char second[] = "0::/kubepods.slice/pod1/cri-4444\n";
	char path[CGROUP_PATH_MAX];

	make(f, 1);
	opens_fail = true;
	groups_watch(f->groups, ID, TEXT, strlen(TEXT));
	opens_fail = false;
	assert_int_equal(f->told, 0);
	assert_int_equal(state_of(f).watches, 0);
	assert_true(state_of(f).refused > 0);
	assert_non_null(strstr(state_of(f).why, "max_user_instances"));
	groups_watch(f->groups, ID, TEXT, strlen(TEXT));
	assert_int_equal(state_of(f).watches, 1);
	(void)snprintf(path, sizeof(path), "%s/kubepods.slice/pod1/cri-4444", f->folder);
	ASSERT_OK(mkdir(path, 0755) < 0 ? -errno : 0);
	copy_recorded(f, path);
	groups_watch(f->groups, "4444", second, strlen(second));
	assert_int_equal(state_of(f).watches, 1);
	assert_non_null(strstr(state_of(f).why, "too few"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tells_what_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(looked_at_when_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(goes_with_its_group, setup, teardown),
		cmocka_unit_test_setup_teardown(finds_the_containers_own, setup, teardown),
		cmocka_unit_test_setup_teardown(says_what_ran_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
