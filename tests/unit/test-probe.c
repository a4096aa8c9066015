/*
 * The real probe behind the real mechanism: what it reads, and what becomes of questions when it is
 * stopped, killed, cannot be killed, or talks nonsense. Whatever is stopped here is continued by a
 * timer of its own.
 */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "kernel/probe-agent.h"
#include "loop.h"

#define ANSWERS_MAX 80
#define FAKES       4
#define SHORT_NS    (50 * NSEC_PER_MSEC)

static const char *arg_probe;
static const char *arg_fakes[FAKES];

struct got {
	int r;
	struct probe_result result;
	char bytes[256]; /* the first of them */
	size_t len;
	char secret[256]; /* what its descriptor holds, the first of it */
	size_t secret_len;
	char reason[160];
};

struct fixture {
	struct role_spawner *spawner;
	sd_event *event;
	struct probe *probe;
	int exe;
	struct proc_id self;
	unsigned answers;
	struct got got[ANSWERS_MAX];
	int fds_before;
};

static void open_probe(struct fixture *f, const char *path)
{
	struct err err = { 0 };

	ASSERT_OK(role_exe_open(path, true, &f->exe, &err));
	ASSERT_OK(probe_new(f->event, f->spawner, f->exe, &f->probe));
}

static int setup_bare(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));
	struct proc_stat stat;
	CLEAN_FD int proc = -EBADF;

	f->fds_before = count_fds();
	ASSERT_OK(role_spawner_start(STDERR_FILENO, &f->spawner));
	ASSERT_OK(sd_event_new(&f->event));
	ASSERT_OK(role_spawner_attach(f->spawner, f->event));
	proc = proc_open();
	ASSERT_OK(proc_read_stat(proc, getpid(), 0, &stat));
	f->self = (struct proc_id){ getpid(), stat.start_ticks };
	f->exe = -EBADF;
	*state = f;
	return 0;
}

static int setup(void **state)
{
	(void)setup_bare(state);
	open_probe(*state, arg_probe);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->probe = probe_free(f->probe);
	f->spawner = role_spawner_free(f->spawner);
	f->event = sd_event_unref(f->event);
	(void)fd_close(f->exe);
	assert_int_equal(count_fds(), f->fds_before);
	(void)mem_free(f);
	return 0;
}

static void on_answer(int r, const struct probe_answer *answer, const char *reason, void *userdata)
{
	struct fixture *f = userdata;
	struct got *g = &f->got[f->answers++];

	assert_true(f->answers <= ANSWERS_MAX);
	assert_int_equal(answer != NULL, r == 0);
	g->r = r;
	(void)snprintf(g->reason, sizeof(g->reason), "%s", reason);
	if (r < 0) {
		assert_true(reason[0] != '\0');
		return;
	}
	g->result = *answer->result;
	g->len = answer->len;
	memcpy(g->bytes, answer->bytes,
		answer->len < sizeof(g->bytes) ? answer->len : sizeof(g->bytes));
	if (answer->fd >= 0) {
		const void *map = NULL;

		ASSERT_OK(channel_map_sealed(answer->fd, PROBE_SECRET_MAX, &map, &g->secret_len));
		if (map)
			memcpy(g->secret, map,
				g->secret_len < sizeof(g->secret) ? g->secret_len
								  : sizeof(g->secret));
		channel_unmap(map, g->secret_len);
	}
}

static int ask(struct fixture *f, enum probe_file file, uint64_t timeout_ns)
{
	return probe_read(f->probe, f->self, file, timeout_ns, on_answer, f, NULL);
}

/* Asks and waits. The answer. */
static const struct got *read_file(struct fixture *f, enum probe_file file)
{
	unsigned n = f->answers;

	ASSERT_OK(ask(f, file, WAIT_NS));
	assert_int_equal(f->answers, n); /* Nothing calls back from inside. */
	RUN_UNTIL(f->event, f->answers == n + 1);
	return &f->got[n];
}

static struct role_status role_of(struct fixture *f)
{
	struct probe_status s;

	probe_status(f->probe, &s);
	return s.role;
}

static pid_t await_running(struct fixture *f)
{
	/* It may say that it is ready before the spawner has said who it is. */
	RUN_UNTIL(f->event, role_of(f).state == ROLE_RUNNING && role_of(f).pid > 0);
	return role_of(f).pid;
}

/* Stops it, and continues it in 60 s whatever happens here. The timer's pid. */
static pid_t stop(pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	pid_t timer;

	ASSERT_OK(pidfd);
	timer = fork();
	if (timer == 0) {
		struct timespec t = { .tv_sec = 60 };

		(void)nanosleep(&t, NULL);
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, NULL, 0);
		_exit(0);
	}
	(void)close(pidfd);
	ASSERT_OK(kill(pid, SIGSTOP));
	return timer;
}

static void end_timer(pid_t timer)
{
	(void)kill(timer, SIGKILL);
	assert_int_equal(waitpid(timer, NULL, 0), timer);
}

static void reads_what_is_listed(void **state)
{
	struct fixture *f = *state;
	CLEAN(mem_freep) char *cmdline = NULL;
	const struct got *g;
	struct role_status s;
	size_t len;

	ASSERT_OK(fd_read_file("/proc/self/cmdline", 65536, &cmdline, &len));
	g = read_file(f, PROBE_CMDLINE);
	assert_int_equal(g->r, 0);
	assert_int_equal(g->len, len);
	assert_memory_equal(g->bytes, cmdline, len < sizeof(g->bytes) ? len : sizeof(g->bytes));
	assert_false(g->result.is_cut);
	for (unsigned file = 0; file < PROBE_FILES; file++) {
		g = read_file(f, (enum probe_file)file);
		assert_int_equal(g->r, 0);
		assert_true(g->len > 0);
	}
	assert_memory_equal(g->bytes, "Name:", 5);
	g = read_file(f, (enum probe_file)PROBE_FILES);
	assert_int_equal(g->r, -EINVAL);
	s = role_of(f);
	print_message("the probe has %lu KiB resident\n", (unsigned long)s.memory_bytes / 1024);
	assert_int_equal(s.restarts, 0);
}

static void only_the_very_process(void **state)
{
	struct fixture *f = *state;

	f->self.start_ticks++;
	assert_int_equal(read_file(f, PROBE_CMDLINE)->r, -ESRCH);
	f->self.pid = INT32_MAX;
	assert_int_equal(read_file(f, PROBE_CMDLINE)->r, -ESRCH);
	f->self.pid = -1;
	assert_int_equal(read_file(f, PROBE_CMDLINE)->r, -EINVAL);
}

static void answers_are_bounded(void **state)
{
	struct fixture *f = *state;
	size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = 3000;
	const struct got *g;
	uint8_t *p = mmap(NULL, pages * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	for (size_t i = 0; i < pages; i += 2) /* each its own line of maps */
		ASSERT_OK(mprotect(p + i * page, page, PROT_NONE));
	g = read_file(f, PROBE_MAPS);
	assert_int_equal(g->r, 0);
	assert_true(g->result.is_cut);
	assert_int_equal(g->len, PROBE_BYTES_MAX);
	ASSERT_OK(munmap(p, pages * page));
	assert_false(read_file(f, PROBE_MAPS)->result.is_cut);
}

static void looks_at_paths(void **state)
{
	struct fixture *f = *state;
	char path[PROBE_PATH_MAX + 1];
	struct err err = { 0 };
	struct statfs fs;

	ASSERT_OK(probe_statfs(f->probe, "/proc", 0, on_answer, f, NULL));
	ASSERT_OK(probe_stat(f->probe, "/", 0, on_answer, f, NULL));
	ASSERT_OK(probe_stat(f->probe, "/nowhere/at/all", 0, on_answer, f, NULL));
	RUN_UNTIL(f->event, f->answers == 3);
	ASSERT_OK(statfs("/proc", &fs));
	assert_int_equal(f->got[0].result.fs_type, fs.f_type);
	assert_true((f->got[1].result.mode & S_IFMT) == S_IFDIR);
	assert_int_equal(f->got[2].r, -ENOENT);
	assert_string_equal(f->got[2].reason, "No such file or directory");
	memset(path, '/', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	ASSERT_ERR(probe_stat(f->probe, path, 0, on_answer, f, &err), EINVAL);
	ASSERT_ERR(probe_stat(f->probe, "", 0, on_answer, f, &err), EINVAL);
}

static void reads_regular_files_only(void **state)
{
	struct fixture *f = *state;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/root/proc/self/comm", getpid());
	ASSERT_OK(probe_file(f->probe, path, 0, on_answer, f, NULL));
	ASSERT_OK(probe_file(f->probe, "/dev/null", 0, on_answer, f, NULL));
	ASSERT_OK(probe_file(f->probe, "/proc", 0, on_answer, f, NULL));
	ASSERT_OK(probe_file(f->probe, "/proc/self", 0, on_answer, f, NULL));
	ASSERT_OK(probe_file(f->probe, "/nowhere/at/all", 0, on_answer, f, NULL));
	RUN_UNTIL(f->event, f->answers == 5);
	assert_int_equal(f->got[0].r, 0);
	assert_memory_equal(f->got[0].bytes, "pleg-probe\n", 11);
	assert_int_equal(f->got[1].r, -EINVAL);
	assert_int_equal(f->got[2].r, -EINVAL);
	assert_int_equal(f->got[3].r, -ELOOP);
	assert_int_equal(f->got[4].r, -ENOENT);
}

static void put_file(const char *path, size_t len)
{
	CLEAN_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(write(fd, i % 2 ? "b" : "a", 1), 1);
}

static void secrets_come_sealed(void **state)
{
	struct fixture *f = *state;
	char dir[] = "/tmp/pleg-probe-XXXXXX", file[64], link[64];

	assert_non_null(mkdtemp(dir));
	(void)snprintf(file, sizeof(file), "%s/file", dir);
	(void)snprintf(link, sizeof(link), "%s/link", dir);
	put_file(file, 5);
	ASSERT_OK(symlink("file", link));
	ASSERT_OK(probe_secret(f->probe, link, 0, on_answer, f, NULL));
	ASSERT_OK(probe_secret(f->probe, "/dev/null", 0, on_answer, f, NULL));
	ASSERT_OK(probe_secret(f->probe, dir, 0, on_answer, f, NULL));
	ASSERT_OK(probe_secret(f->probe, "/nowhere/at/all", 0, on_answer, f, NULL));
	RUN_UNTIL(f->event, f->answers == 4);
	assert_int_equal(f->got[0].r, 0);
	assert_int_equal(f->got[0].len, 0); /* nothing in the message itself */
	assert_int_equal(f->got[0].secret_len, 5);
	assert_memory_equal(f->got[0].secret, "ababa", 5);
	assert_int_equal(f->got[1].r, -EINVAL);
	assert_int_equal(f->got[2].r, -EINVAL);
	assert_int_equal(f->got[3].r, -ENOENT);
	ASSERT_OK(truncate(file, PROBE_SECRET_MAX));
	ASSERT_OK(probe_secret(f->probe, file, 0, on_answer, f, NULL));
	RUN_UNTIL(f->event, f->answers == 5);
	assert_int_equal(f->got[4].secret_len, PROBE_SECRET_MAX);
	ASSERT_OK(truncate(file, PROBE_SECRET_MAX + 1));
	ASSERT_OK(probe_secret(f->probe, file, 0, on_answer, f, NULL));
	RUN_UNTIL(f->event, f->answers == 6);
	assert_int_equal(f->got[5].r, -EFBIG);
	ASSERT_OK(truncate(file, 0));
	ASSERT_OK(probe_secret(f->probe, file, 0, on_answer, f, NULL));
	RUN_UNTIL(f->event, f->answers == 7);
	assert_int_equal(f->got[6].r, 0);
	assert_int_equal(f->got[6].secret_len, 0);
	(void)unlink(link);
	(void)unlink(file);
	(void)rmdir(dir);
}

/* ---- files as a process sees them ----------------------------------------------------------- */

static void write_at(const char *folder, const char *name, const char *text, time_t modified)
{
	const struct timespec times[2] = { { .tv_sec = modified }, { .tv_sec = modified } };
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	ASSERT_OK(fclose(file));
	ASSERT_OK(utimensat(AT_FDCWD, path, times, 0));
}

static const struct got *find(struct fixture *f, const char *path)
{
	const struct probe_place place = {
		.pid = f->self.pid, .start_ticks = f->self.start_ticks, .fd = -1
	};
	unsigned n = f->answers;

	ASSERT_OK(probe_find(f->probe, &place, path, WAIT_NS, on_answer, f, NULL));
	RUN_UNTIL(f->event, f->answers == n + 1);
	return &f->got[n];
}

static const struct got *read_at(struct fixture *f, int32_t fd, const char *path, uint64_t offset)
{
	const struct probe_place place = {
		.pid = f->self.pid, .start_ticks = f->self.start_ticks, .fd = fd, .offset = offset
	};
	unsigned n = f->answers;

	ASSERT_OK(probe_file_at(f->probe, &place, path, WAIT_NS, on_answer, f, NULL));
	RUN_UNTIL(f->event, f->answers == n + 1);
	return &f->got[n];
}

static void remove_all(const char *folder, const char *const *names)
{
	char path[128];

	for (; *names; names++) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, *names);
		ASSERT_OK(unlink(path));
	}
	ASSERT_OK(rmdir(folder));
}

static void finds_the_newest_of_a_pattern(void **state)
{
	static const char *const names[] = { "a-1.log", "a-2.log", "a-3.txt", "a-link.log", NULL };
	struct fixture *f = *state;
	char folder[] = "/tmp/pleg-probe-XXXXXX", path[128];
	const struct got *g;

	assert_non_null(mkdtemp(folder));
	write_at(folder, "a-1.log", "newer", 2000);
	write_at(folder, "a-2.log", "old", 1000);
	write_at(folder, "a-3.txt", "another", 3000);
	(void)snprintf(path, sizeof(path), "%s/a-link.log", folder);
	ASSERT_OK(symlink("/etc/passwd", path));
	g = find(f, FMT("%s/a-*.log", folder));
	assert_int_equal(g->r, 0);
	assert_int_equal(g->len, 7);
	assert_memory_equal(g->bytes, "a-1.log", 7);
	assert_int_equal(g->result.size_bytes, 5);
	assert_int_equal(g->result.modified_ns, INT64_C(2000000000000));
	assert_int_equal(g->result.uid, getuid());
	assert_true(S_ISREG(g->result.mode) && g->result.inode > 0);
	/* Exact names, and what is not there or no regular file. */
	assert_int_equal(find(f, FMT("%s/a-2.log", folder))->result.size_bytes, 3);
	assert_int_equal(find(f, FMT("%s/b-*", folder))->r, -ENOENT);
	assert_int_equal(find(f, FMT("%s/b", folder))->r, -ENOENT);
	assert_int_equal(find(f, FMT("%s/a-link.log", folder))->r, -EINVAL);
	assert_int_equal(find(f, "/dev/null")->r, -EINVAL);
	assert_int_equal(find(f, "tmp/a")->r, -EINVAL);
	assert_int_equal(find(f, "/tmp/")->r, -EINVAL);
	f->self.start_ticks++;
	assert_int_equal(find(f, FMT("%s/a-2.log", folder))->r, -ESRCH);
	remove_all(folder, names);
}

static void reads_from_an_offset(void **state)
{
	static const char *const names[] = { "log", NULL };
	struct fixture *f = *state;
	char folder[] = "/tmp/pleg-probe-XXXXXX", path[128];
	const struct got *g;
	int fd, fifo[2];

	assert_non_null(mkdtemp(folder));
	write_at(folder, "log", "before after", 1000);
	(void)snprintf(path, sizeof(path), "%s/log", folder);
	g = read_at(f, -1, path, 7);
	assert_int_equal(g->r, 0);
	assert_int_equal(g->len, 5);
	assert_memory_equal(g->bytes, "after", 5);
	assert_int_equal(g->result.size_bytes, 12);
	assert_int_equal(read_at(f, -1, path, 100)->len, 0);
	assert_int_equal(read_at(f, -1, path, UINT64_MAX)->r, -EINVAL);
	/* By descriptor, whatever its name is by now; nothing but a regular file. */
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	ASSERT_OK(fd);
	remove_all(folder, names);
	g = read_at(f, fd, NULL, 7);
	assert_int_equal(g->r, 0);
	assert_memory_equal(g->bytes, "after", 5);
	ASSERT_OK(close(fd));
	assert_int_equal(read_at(f, fd, NULL, 0)->r, -ENOENT);
	ASSERT_OK(pipe(fifo));
	assert_int_equal(read_at(f, fifo[0], NULL, 0)->r, -EINVAL);
	ASSERT_OK(close(fifo[0]));
	ASSERT_OK(close(fifo[1]));
}

/* A link in the other's root stays in it: as this process's root is ours, "up" ends at "/". */
static void links_stay_in_the_root(void **state)
{
	static const char *const names[] = { "up", "magic", NULL };
	struct fixture *f = *state;
	char folder[] = "/tmp/pleg-probe-XXXXXX", path[128];

	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/up", folder);
	ASSERT_OK(symlink("/../../etc", path));
	(void)snprintf(path, sizeof(path), "%s/magic", folder);
	ASSERT_OK(symlink("/proc/self/root/etc", path));
	assert_int_equal(find(f, FMT("%s/up/passwd", folder))->r, 0);
	assert_int_equal(find(f, FMT("%s/magic/passwd", folder))->r, -ELOOP);
	remove_all(folder, names);
}

static void a_stuck_one_delays_nobody_else(void **state)
{
	struct fixture *f = *state;
	pid_t timer = stop(await_running(f));
	struct probe_status s;

	ASSERT_OK(ask(f, PROBE_CMDLINE, SHORT_NS));
	ASSERT_OK(ask(f, PROBE_CMDLINE, WAIT_NS)); /* waits behind it, and is served by the next */
	RUN_UNTIL(f->event, f->answers == 2);
	assert_int_equal(f->got[0].r, -ETIMEDOUT);
	assert_int_equal(f->got[1].r, 0);
	probe_status(f->probe, &s);
	assert_int_equal(s.role.stuck, 1);
	assert_int_equal(s.role.restarts, 1);
	assert_int_equal(s.role.abandoned, 0); /* A stopped one can be killed. */
	assert_int_equal(s.late, 1);
	assert_int_equal(s.answered, 1);
	end_timer(timer);
}

static void a_killed_one_comes_back(void **state)
{
	struct fixture *f = *state;
	pid_t pid = await_running(f), timer = stop(pid);

	ASSERT_OK(ask(f, PROBE_CMDLINE, WAIT_NS));
	RUN_UNTIL(f->event, role_of(f).requests == 1);
	ASSERT_OK(kill(pid, SIGKILL));
	RUN_UNTIL(f->event, f->answers == 1);
	assert_int_equal(f->got[0].r, -EPIPE);
	assert_int_equal(read_file(f, PROBE_CMDLINE)->r, 0);
	assert_int_not_equal(role_of(f).pid, pid);
	end_timer(timer);
}

static void waiting_has_a_limit(void **state)
{
	struct fixture *f = *state;
	struct probe_status s;
	struct err err = { 0 };

	for (unsigned i = 0; i < PROBE_WAITING_MAX; i++)
		ASSERT_OK(ask(f, PROBE_STATUS, WAIT_NS));
	ASSERT_ERR(probe_read(f->probe, f->self, PROBE_STATUS, 0, on_answer, f, &err), EBUSY);
	assert_string_equal(err.text, "64 questions wait for the probe already");
	RUN_UNTIL(f->event, f->answers == PROBE_WAITING_MAX);
	for (unsigned i = 0; i < f->answers; i++)
		assert_int_equal(f->got[i].r, 0);
	probe_status(f->probe, &s);
	assert_int_equal(s.refused, 1);
	assert_int_equal(s.waiting, 0);
}

static void forgotten_ones_are_not_told(void **state)
{
	struct fixture *f = *state;

	ASSERT_OK(ask(f, PROBE_STATUS, WAIT_NS));
	ASSERT_OK(probe_read(f->probe, f->self, PROBE_STATUS, 0, on_answer, NULL, NULL));
	probe_forget(f->probe, NULL); /* its callback would write to NULL */
	ASSERT_OK(ask(f, PROBE_STATUS, WAIT_NS));
	RUN_UNTIL(f->event, f->answers == 2);
	assert_int_equal(f->answers, 2);
	ASSERT_OK(ask(f, PROBE_STATUS, WAIT_NS)); /* one asked, one waiting, when it is freed */
	RUN_UNTIL(f->event, role_of(f).requests == 1);
	ASSERT_OK(ask(f, PROBE_STATUS, WAIT_NS));
}

/* A tracer holds each of them in its exit: not even SIGKILL ends it. */
static void unkillable_ones_have_a_cap(void **state)
{
	struct fixture *f = *state;
	pid_t held[PROBE_STUCK_MAX];
	struct err err = { 0 };

	for (unsigned i = 0; i < PROBE_STUCK_MAX; i++) {
		held[i] = await_running(f);
		if (ptrace(PTRACE_SEIZE, held[i], NULL, PTRACE_O_TRACEEXIT) < 0) {
			assert_int_equal(errno, EPERM);
			print_message("SKIPPED: nobody may be traced here\n");
			skip();
		}
		ASSERT_OK(ptrace(PTRACE_INTERRUPT, held[i], NULL, NULL));
		ASSERT_OK(ask(f, PROBE_STATUS, SHORT_NS));
		RUN_UNTIL(f->event, role_of(f).abandoned == i + 1);
		assert_int_equal(f->got[i].r, -ETIMEDOUT);
	}
	ASSERT_OK(ask(f, PROBE_STATUS, WAIT_NS)); /* before the last one's place was to be taken */
	RUN_UNTIL(f->event, f->answers == PROBE_STUCK_MAX + 1);
	assert_int_equal(f->got[PROBE_STUCK_MAX].r, -EBUSY);
	ASSERT_ERR(probe_read(f->probe, f->self, PROBE_STATUS, 0, on_answer, f, &err), EBUSY);
	assert_string_equal(
		err.text, "4 probes hang in the kernel; no more are started until one is freed");
	assert_int_equal(role_of(f).state, ROLE_FAILED);

	ASSERT_OK(ptrace(PTRACE_DETACH, held[2], NULL, NULL));
	RUN_UNTIL(f->event, role_of(f).abandoned == PROBE_STUCK_MAX - 1);
	assert_int_not_equal(await_running(f), held[2]); /* at once, not in five minutes */
	assert_int_equal(read_file(f, PROBE_STATUS)->r, 0);
	for (unsigned i = 0; i < PROBE_STUCK_MAX; i++)
		if (i != 2)
			ASSERT_OK(ptrace(PTRACE_DETACH, held[i], NULL, NULL));
	RUN_UNTIL(f->event, role_of(f).abandoned == 0);
}

static void nonsense_is_an_error(void **state)
{
	static const int expected[FAKES] = { -EPIPE, -EBADMSG, -ETIMEDOUT, -EPIPE };
	struct fixture *f = *state;

	for (unsigned i = 0; i < FAKES; i++) {
		open_probe(f, arg_fakes[i]);
		ASSERT_OK(
			ask(f, PROBE_CMDLINE, expected[i] == -ETIMEDOUT ? 4 * SHORT_NS : WAIT_NS));
		RUN_UNTIL(f->event, f->answers == i + 1);
		assert_int_equal(f->got[i].r, expected[i]);
		f->probe = probe_free(f->probe);
		f->exe = fd_close(f->exe);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_what_is_listed, setup, teardown),
		cmocka_unit_test_setup_teardown(only_the_very_process, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(looks_at_paths, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_regular_files_only, setup, teardown),
		cmocka_unit_test_setup_teardown(secrets_come_sealed, setup, teardown),
		cmocka_unit_test_setup_teardown(finds_the_newest_of_a_pattern, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_from_an_offset, setup, teardown),
		cmocka_unit_test_setup_teardown(links_stay_in_the_root, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stuck_one_delays_nobody_else, setup, teardown),
		cmocka_unit_test_setup_teardown(a_killed_one_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(waiting_has_a_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(forgotten_ones_are_not_told, setup, teardown),
		cmocka_unit_test_setup_teardown(unkillable_ones_have_a_cap, setup, teardown),
		cmocka_unit_test_setup_teardown(nonsense_is_an_error, setup_bare, teardown),
	};

	if (argc != 2 + FAKES)
		return 1;
	arg_probe = argv[1];
	for (int i = 0; i < FAKES; i++)
		arg_fakes[i] = argv[2 + i];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
