/* Links, descriptors, namespaces and walks of /proc, of this process and of children that end. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "kernel/proc-link.h"
#include "kernel/unix-sockets.h"

static void fdinfo_text(void **state)
{
	static const char *const wrong[] = { "", "pos:\t0\n", "mnt_id:\t\n", "mnt_id:\t12",
		"xmnt_id:\t1\n", "mnt_id:\tx\n", "mnt_id:\t99999999999\n", "mnt_id:\t-1\n" };
	int32_t id = 0;

	(void)state;
	ASSERT_OK(proc_parse_fdinfo("pos:\t0\nflags:\t02\nmnt_id:\t24\nino:\t9\n", 35, &id));
	assert_int_equal(id, 24);
	for (size_t i = 0; i < ELEMENTS(wrong); i++)
		ASSERT_ERR(proc_parse_fdinfo(wrong[i], strlen(wrong[i]), &id), EBADMSG);
}

static void socket_links(void **state)
{
	uint64_t inode = 0;

	(void)state;
	assert_true(proc_link_is_socket("socket:[12345]", &inode));
	assert_int_equal(inode, 12345);
	assert_false(proc_link_is_socket("pipe:[12345]", &inode));
	assert_false(proc_link_is_socket("socket:[]", &inode));
	assert_false(proc_link_is_socket("socket:[12", &inode));
	assert_false(proc_link_is_socket("/socket:[12]", &inode));
}

static void our_links(void **state)
{
	CLEAN_FD int proc_fd = proc_open(), fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char text[PROC_LINK_MAX], cwd[PROC_LINK_MAX];
	uint64_t ns = 0, thread_ns = 0;
	int32_t mount = 0;
	int n;

	(void)state;
	assert_true(proc_read_link(proc_fd, getpid(), 0, PROC_LINK_EXE, text, sizeof(text)) > 0);
	assert_non_null(strstr(text, "test-proc-link"));
	assert_true(proc_read_link(proc_fd, getpid(), 0, PROC_LINK_CWD, text, sizeof(text)) > 0);
	assert_string_equal(text, getcwd(cwd, sizeof(cwd)));
	assert_int_equal(proc_read_fd_link(proc_fd, getpid(), getpid(), fd, text, sizeof(text)), 1);
	assert_string_equal(text, "/");
	ASSERT_ERR(proc_read_fd_link(proc_fd, getpid(), 0, 99999, text, sizeof(text)), ESRCH);
	n = proc_read_fdinfo(proc_fd, getpid(), 0, fd, text, sizeof(text));
	ASSERT_OK(n);
	ASSERT_OK(proc_parse_fdinfo(text, (size_t)n, &mount));
	assert_true(mount > 0);
	ASSERT_OK(proc_read_ns(proc_fd, getpid(), 0, PROC_NS_MNT, &ns));
	ASSERT_OK(proc_read_ns(proc_fd, getpid(), getpid(), PROC_NS_MNT, &thread_ns));
	assert_true(ns != 0 && ns == thread_ns);
	ASSERT_ERR(proc_read_ns(proc_fd, INT32_MAX, 0, PROC_NS_PID, &ns), ESRCH);
	ASSERT_ERR(proc_read_link(proc_fd, INT32_MAX, 0, PROC_LINK_CWD, text, sizeof(text)), ESRCH);
}

static void our_fifos(void **state)
{
	CLEAN_FD int proc_fd = proc_open(), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	uint64_t unread = 7;
	int pipes[2];

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	ASSERT_OK(proc_read_fifo_unread(proc_fd, getpid(), pipes[0], &unread));
	assert_int_equal(unread, 0);
	assert_int_equal(write(pipes[1], "abc", 3), 3);
	ASSERT_OK(proc_read_fifo_unread(proc_fd, getpid(), pipes[1], &unread));
	assert_int_equal(unread, 3);
	ASSERT_ERR(proc_read_fifo_unread(proc_fd, getpid(), null, &unread), EINVAL);
	(void)fd_close(pipes[0]);
	(void)fd_close(pipes[1]);
	ASSERT_ERR(proc_read_fifo_unread(proc_fd, getpid(), pipes[0], &unread), ESRCH);
}

static bool walk_finds(enum proc_walk_of of, int32_t pid, int32_t wanted)
{
	CLEAN_FD int proc_fd = proc_open();
	struct proc_walk walk;
	bool found = false;
	int32_t number;

	ASSERT_OK(proc_walk_init(&walk, proc_fd, of, pid, 0));
	while (proc_walk_next(&walk, &number))
		found = found || number == wanted;
	proc_walk_done(&walk);
	return found;
}

static void our_count_of_fds(void **state)
{
	CLEAN_FD int proc_fd = proc_open(), one = -EBADF;
	uint64_t before, after, limit;
	struct rlimit ours;

	(void)state;
	ASSERT_OK(proc_count_fds(proc_fd, getpid(), &before));
	one = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(one >= 0);
	ASSERT_OK(proc_count_fds(proc_fd, getpid(), &after));
	assert_int_equal(after, before + 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &ours), 0);
	ASSERT_OK(proc_read_fd_limit(getpid(), &limit));
	assert_int_equal(limit, ours.rlim_cur);
	ASSERT_ERR(proc_count_fds(proc_fd, INT32_MAX, &after), ESRCH);
	ASSERT_ERR(proc_read_fd_limit(INT32_MAX, &limit), ESRCH);
}

static void walks(void **state)
{
	CLEAN_FD int proc_fd = proc_open();
	struct proc_walk walk;
	int32_t number;

	(void)state;
	assert_true(walk_finds(PROC_WALK_PROCESSES, 0, getpid()));
	assert_false(walk_finds(PROC_WALK_PROCESSES, 0, INT32_MAX));
	assert_true(walk_finds(PROC_WALK_THREADS, getpid(), getpid()));
	assert_true(walk_finds(PROC_WALK_FDS, getpid(), proc_fd));
	ASSERT_ERR(proc_walk_init(&walk, proc_fd, PROC_WALK_THREADS, INT32_MAX, 0), ESRCH);
	assert_false(proc_walk_next(&walk, &number));
	proc_walk_done(&walk);
}

/* A child that has died is dead as a zombie, and nobody when it was reaped. */
static void death(void **state)
{
	CLEAN_FD int proc_fd = proc_open();
	struct proc_stat stat;
	struct proc_id id;
	int pipes[2];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		char c;

		(void)fd_close(pipes[1]);
		_exit(read(pipes[0], &c, 1) == 0 ? 0 : 1);
	}
	(void)fd_close(pipes[0]);
	ASSERT_OK(proc_read_stat(proc_fd, pid, 0, &stat));
	id = (struct proc_id){ pid, stat.start_ticks };
	assert_int_equal(proc_is_dead(proc_fd, id), 0);
	ASSERT_ERR(proc_is_dead(proc_fd, (struct proc_id){ pid, stat.start_ticks + 1 }), ESRCH);
	(void)fd_close(pipes[1]);
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), 0);
	assert_int_equal(proc_is_dead(proc_fd, id), 1);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	ASSERT_ERR(proc_is_dead(proc_fd, id), ESRCH);
}

/* --- signals --- */

static volatile sig_atomic_t caught;

static void on_usr1(int signal)
{
	caught = signal;
}

/* A child that exits with 7 once it has caught SIGUSR1; without a handler the signal would end it. It says
 * when it is ready, and ends with the pipe that holds it. */
static pid_t start_child(bool has_handler, int ret_hold[2])
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(ret_hold, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		const struct sigaction action = { .sa_handler = on_usr1 };

		(void)fd_close(ret_hold[1]);
		if (has_handler)
			(void)sigaction(SIGUSR1, &action, NULL);
		(void)!write(ready[1], "", 1);
		while (read(ret_hold[0], &c, 1) < 0 && !caught)
			;
		_exit(caught ? 7 : 0);
	}
	(void)fd_close(ret_hold[0]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	(void)fd_close(ready[0]);
	(void)fd_close(ready[1]);
	return pid;
}

static struct proc_id id_of(int proc_fd, pid_t pid)
{
	struct proc_stat stat;

	ASSERT_OK(proc_read_stat(proc_fd, pid, 0, &stat));
	return (struct proc_id){ pid, stat.start_ticks };
}

static int end_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void signal_to_who_catches_it(void **state)
{
	CLEAN_FD int proc_fd = proc_open();
	struct proc_id id;
	int hold[2];
	pid_t pid;

	(void)state;
	pid = start_child(true, hold);
	id = id_of(proc_fd, pid);
	ASSERT_OK(proc_would_catch(proc_fd, id, SIGUSR1));
	ASSERT_ERR(proc_would_catch(proc_fd, id, SIGUSR2), EOPNOTSUPP);
	id.start_ticks++;
	ASSERT_ERR(proc_signal_caught(proc_fd, id, SIGUSR1), ESRCH);
	id.start_ticks--;
	ASSERT_OK(proc_signal_caught(proc_fd, id, SIGUSR1));
	(void)fd_close(hold[1]);
	assert_int_equal(end_of(pid), 7);
	ASSERT_ERR(proc_signal_caught(proc_fd, id, SIGUSR1), ESRCH);
}

static void no_signal_that_would_end_it(void **state)
{
	CLEAN_FD int proc_fd = proc_open();
	int hold[2];
	pid_t pid;

	(void)state;
	pid = start_child(false, hold);
	ASSERT_ERR(proc_signal_caught(proc_fd, id_of(proc_fd, pid), SIGUSR1), EOPNOTSUPP);
	(void)fd_close(hold[1]);
	assert_int_equal(end_of(pid), 0);
}

static void no_signal_to_who_is_stopped_or_dead(void **state)
{
	CLEAN_FD int proc_fd = proc_open();
	struct proc_id id;
	int hold[2];
	pid_t pid;

	(void)state;
	pid = start_child(true, hold);
	id = id_of(proc_fd, pid);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WSTOPPED | WNOWAIT), 0);
	ASSERT_ERR(proc_signal_caught(proc_fd, id, SIGUSR1), EAGAIN);
	assert_int_equal(kill(pid, SIGCONT), 0);
	(void)fd_close(hold[1]);
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), 0);
	ASSERT_ERR(proc_signal_caught(proc_fd, id, SIGUSR1), EAGAIN);
	assert_int_equal(end_of(pid), 0);
}

/* --- listening sockets --- */

static bool find_listener(const char *name, struct unix_listener *ret)
{
	static struct unix_listener all[1024];
	int n = unix_sockets_read(all, ELEMENTS(all));

	ASSERT_OK(n);
	for (int i = 0; i < n; i++)
		if (strcmp(all[i].name, name) == 0) {
			*ret = all[i];
			return true;
		}
	return false;
}

static void accept_queue(void **state)
{
	CLEAN_FD int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CLEAN_FD int a = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CLEAN_FD int b = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CLEAN_FD int proc_fd = proc_open();
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char name[64], link[64];
	struct unix_listener l;
	socklen_t len;
	uint64_t inode;
	int n;

	(void)state;
	if (unix_sockets_read(&l, 1) == -ENOENT)
		skip();
	n = snprintf(name, sizeof(name), "@pleg-test-%d", getpid());
	memcpy(address.sun_path + 1, name + 1, (size_t)n - 1);
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n);
	assert_int_equal(bind(server, (struct sockaddr *)&address, len), 0);
	assert_false(find_listener(name, &l));
	assert_int_equal(listen(server, 5), 0);
	assert_true(find_listener(name, &l));
	assert_int_equal(l.waiting, 0);
	assert_int_equal(l.backlog, 5);
	assert_int_equal(connect(a, (struct sockaddr *)&address, len), 0);
	assert_int_equal(connect(b, (struct sockaddr *)&address, len), 0);
	assert_true(find_listener(name, &l));
	assert_int_equal(l.waiting, 2);
	ASSERT_OK(proc_read_fd_link(proc_fd, getpid(), 0, server, link, sizeof(link)));
	assert_true(proc_link_is_socket(link, &inode));
	assert_int_equal(inode, l.inode);
}

static void short_messages(void **state)
{
	_Alignas(8) char bytes[64] = { 0 };
	struct unix_listener l;

	(void)state;
	ASSERT_ERR(unix_sockets_parse(bytes, 8, &l), EBADMSG);
	ASSERT_OK(unix_sockets_parse(bytes, 16, &l));
	assert_string_equal(l.name, "");
	/* An attribute that says it is longer than the message. */
	bytes[16] = 100;
	ASSERT_OK(unix_sockets_parse(bytes, 24, &l));
	assert_string_equal(l.name, "");
	/* A queue of two bytes. */
	bytes[16] = 6;
	bytes[18] = 4;
	ASSERT_ERR(unix_sockets_parse(bytes, 24, &l), EBADMSG);
}

static void lines_of_another_namespace(void **state)
{
	static const char listens[] =
		"0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/a b.sock";
	static const char *const others[] = { "",
		"Num       RefCount Protocol Flags    Type St Inode Path",
		"0000000000000000: 00000003 00000000 00000000 0001 03 12346",
		"0: 2 0 00010000 0001 01", "0: 2 0 00010000 0001 01 x /a",
		"0: 2 0 00010000 0001 01 99999999999 /a" };
	struct unix_listener l;

	(void)state;
	assert_int_equal(unix_sockets_parse_line(listens, strlen(listens), &l), 1);
	assert_int_equal(l.inode, 12345);
	assert_string_equal(l.name, "/run/a b.sock");
	assert_false(l.has_queue);
	for (size_t i = 0; i < ELEMENTS(others); i++)
		assert_int_equal(unix_sockets_parse_line(others[i], strlen(others[i]), &l), 0);
}

/* Read by way of a process in it, ours here: the same sockets, without their queues. */
static void listeners_by_process(void **state)
{
	static struct unix_listener all[4096];
	CLEAN_FD int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CLEAN_FD int proc_fd = proc_open();
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	bool found = false;
	int n;

	(void)state;
	n = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "pleg-net-%d", getpid());
	assert_int_equal(bind(server, (struct sockaddr *)&address,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)),
		0);
	assert_int_equal(listen(server, 1), 0);
	n = unix_sockets_read_of(proc_fd, getpid(), all, ELEMENTS(all));
	ASSERT_OK(n);
	for (int i = 0; i < n; i++)
		found = found ||
			(all[i].name[0] == '@' &&
				strcmp(all[i].name + 1, address.sun_path + 1) == 0);
	assert_true(found);
	ASSERT_ERR(unix_sockets_read_of(proc_fd, INT32_MAX, all, 1), ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fdinfo_text),
		cmocka_unit_test(socket_links),
		cmocka_unit_test(our_links),
		cmocka_unit_test(our_fifos),
		cmocka_unit_test(our_count_of_fds),
		cmocka_unit_test(walks),
		cmocka_unit_test(death),
		cmocka_unit_test(signal_to_who_catches_it),
		cmocka_unit_test(no_signal_that_would_end_it),
		cmocka_unit_test(no_signal_to_who_is_stopped_or_dead),
		cmocka_unit_test(accept_queue),
		cmocka_unit_test(short_messages),
		cmocka_unit_test(lines_of_another_namespace),
		cmocka_unit_test(listeners_by_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
