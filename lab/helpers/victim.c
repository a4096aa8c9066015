/*
 * What runs in the containers of the lab; static, since their images hold nothing.
 *	pleg-lab-victim read FILE                  one thread, in a read of FILE
 *	pleg-lab-victim thread-read FILE           a second thread in it, the leader waits
 *	pleg-lab-victim leader-exit FILE           the same, and the leader exits at SIGUSR1
 *	pleg-lab-victim mmap FILE                  opens FILE, maps a page of it at SIGUSR1
 *	pleg-lab-victim write FILE                 appends a line to it ten times a second
 *	pleg-lab-victim again FILE                 reads a page of it, drops it, and so on
 *	pleg-lab-victim foreign PID                on the host: a child of its own in PID's pid namespace,
 *	                                           that it never waits for; says its pid
 *	pleg-lab-victim zombies MILLISECONDS       children that end at once and are reaped after that time
 *	pleg-lab-victim threads COUNT              as many threads, all asleep
 * After FILE: `direct` is O_DIRECT, past the page cache; `told` begins at SIGUSR1. As the first process of a container it reaps what it gets,
 * except `foreign`. SIGTERM ends it if its handler can run.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

static int file_flags = O_RDONLY | O_CLOEXEC;
static volatile sig_atomic_t is_told;

static void on_end(int sig)
{
	(void)sig;
	_exit(0);
}

static void on_told(int sig)
{
	(void)sig;
	is_told = 1;
}

static void wait_told(void)
{
	sigset_t none;

	(void)sigemptyset(&none);
	while (!is_told)
		(void)sigsuspend(&none);
	is_told = 0;
}

static void rest(void)
{
	for (;;)
		(void)pause();
}

static void *read_page(void *path)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));
	int fd = open(path, file_flags);

	if (fd < 0 || read(fd, page, sizeof(page)) < 0) {
		(void)fprintf(stderr, "%s: %s\n", (const char *)path, strerror(errno));
		_exit(5);
	}
	return NULL;
}

static void *idle(void *nothing)
{
	rest();
	return nothing;
}

static int start_thread(void *(*function)(void *), void *argument)
{
	pthread_attr_t attributes;
	pthread_t thread;

	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setstacksize(&attributes, 64 << 10);
	return pthread_create(&thread, &attributes, function, argument);
}

static int map_page(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 5;
	wait_told();
	(void)mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	rest();
	return 0;
}

static int append(const char *path)
{
	const struct timespec pace = { .tv_nsec = 100000000 };

	for (;;) {
		int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

		if (fd < 0 || write(fd, "line\n", 5) != 5)
			return 5;
		(void)close(fd);
		(void)nanosleep(&pace, NULL);
	}
}

static int read_again(const char *path)
{
	char page[PAGE];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	for (;;) {
		if (fd < 0 || pread(fd, page, sizeof(page), 0) < 0)
			return 5;
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
}

static int keep_zombies(const char *milliseconds)
{
	long ms = strtol(milliseconds, NULL, 10);
	const struct timespec pause_time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	(void)signal(SIGCHLD, SIG_DFL);
	for (;;) {
		pid_t child = fork();

		if (child == 0)
			_exit(0);
		if (child < 0)
			return 5;
		(void)nanosleep(&pause_time, NULL);
		(void)waitpid(child, NULL, 0);
	}
}

static int foreign(const char *pid)
{
	char path[64];
	pid_t child;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%s/ns/pid", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWPID) < 0)
		return 5;
	child = fork();
	if (child < 0)
		return 5;
	if (child > 0) {
		(void)printf("%d\n", (int)child);
		(void)fflush(stdout);
	}
	(void)signal(SIGCHLD, SIG_DFL);
	rest();
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";
	char *what = argc > 2 ? argv[2] : NULL;

	(void)signal(SIGTERM, on_end);
	(void)signal(SIGUSR1, on_told);
	for (int i = 3; i < argc; i++) {
		if (strcmp(argv[i], "direct") == 0)
			file_flags |= O_DIRECT;
		else if (strcmp(argv[i], "told") == 0)
			wait_told();
	}
	if (strcmp(mode, "foreign") == 0)
		return foreign(what);
	(void)signal(SIGCHLD, SIG_IGN);
	if (strcmp(mode, "read") == 0) {
		(void)read_page(what);
		return 0;
	}
	if (strcmp(mode, "thread-read") == 0 || strcmp(mode, "leader-exit") == 0) {
		if (start_thread(read_page, what) != 0)
			return 5;
		if (strcmp(mode, "leader-exit") == 0) {
			wait_told();
			pthread_exit(NULL);
		}
		rest();
	}
	if (strcmp(mode, "mmap") == 0)
		return map_page(what);
	if (strcmp(mode, "write") == 0)
		return append(what);
	if (strcmp(mode, "again") == 0)
		return read_again(what);
	if (strcmp(mode, "zombies") == 0)
		return keep_zombies(what);
	if (strcmp(mode, "threads") == 0) {
		for (long n = strtol(what, NULL, 10); n > 0; n--)
			if (start_thread(idle, NULL) != 0)
				return 5;
		rest();
	}
	return 2;
}
