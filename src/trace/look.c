#include "trace/look.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/fd.h"
#include "trace/look-internal.h"

#define TIMER_ACCURACY_USEC 1000

struct look {
	sd_event *loop;
	sd_event_source *pipe, *timer;
	int pidfd;
	struct trace_look *shared;
	struct look_callbacks callbacks;
	void *userdata;
	bool is_over;
};

/* ---- the child ------------------------------------------------------------------------------- */

static void child_tell(void *userdata)
{
	(void)fd_write_all(*(int *)userdata, "s", 1, 1000);
}

static _Noreturn void child_run(struct trace_look *shared, int fd)
{
	fd = child_begin("pleg-look", fd);
	/* Only the pipe stays open: a child that is left behind holds nothing of ours. */
	if (fd == 3)
		(void)close_range(0, 2, 0);
	look_at(shared, child_tell, &fd);
	_exit(0);
}

/* ---- the parent ------------------------------------------------------------------------------ */

static void look_end(struct look *look, bool is_late)
{
	look->is_over = true;
	look->pipe = sd_event_source_disable_unref(look->pipe);
	look->timer = sd_event_source_disable_unref(look->timer);
	if (is_late)
		(void)pidfd_send_signal(look->pidfd, SIGKILL, NULL, 0);
	look->shared->doing[sizeof(look->shared->doing) - 1] = '\0';
	look->callbacks.on_end(look->userdata, look->shared, is_late);
}

static int on_pipe(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct look *look = userdata;
	char stages[16];
	ssize_t n = read(fd, stages, sizeof(stages));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n > 0)
		look->callbacks.on_stage(look->userdata, look->shared);
	else
		look_end(look, look->shared->stage != TRACE_STAGE_END);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	look_end(userdata, true);
	return 0;
}

static int look_watch(struct look *look, int *fd)
{
	int r = sd_event_add_io(look->loop, &look->pipe, *fd, EPOLLIN, on_pipe, look);

	if (r < 0)
		return r;
	(void)sd_event_source_set_io_fd_own(look->pipe, true);
	(void)TAKE_FD(*fd);
	return sd_event_add_time_relative(look->loop, &look->timer, CLOCK_MONOTONIC,
		TRACE_LOOK_NS / NSEC_PER_USEC, TIMER_ACCURACY_USEC, on_timer, look);
}

static int look_fork(struct look *look, int *fd)
{
	CLEAN_FD int to = -EBADF;
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	*fd = ends[0];
	to = ends[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		child_run(look->shared, to);
	look->pidfd = pidfd_open(pid, 0);
	if (look->pidfd >= 0)
		return 0;
	(void)kill(pid, SIGKILL); /* Our child, not reaped yet: the pid is still its own. */
	(void)waitpid(pid, NULL, WNOHANG);
	return -errno;
}

int look_new(sd_event *loop, const char *id, const char *socket, bool is_docker,
	const struct look_callbacks *callbacks, void *userdata, struct look **ret)
{
	CLEAN(look_freep) struct look *look = mem_zalloc(sizeof(*look));
	CLEAN_FD int fd = -EBADF;
	void *shared;
	int r;

	if (!look)
		return -ENOMEM;
	look->pidfd = -EBADF;
	look->callbacks = *callbacks;
	look->userdata = userdata;
	look->loop = sd_event_ref(loop);
	shared = mmap(NULL, sizeof(*look->shared), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return -ENOMEM;
	look->shared = shared;
	(void)snprintf(look->shared->id, sizeof(look->shared->id), "%s", id);
	(void)snprintf(look->shared->socket, sizeof(look->shared->socket), "%s", socket);
	look->shared->is_docker = is_docker;
	r = look_fork(look, &fd);
	if (r >= 0)
		r = look_watch(look, &fd);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(look);
	return 0;
}

struct look *look_free(struct look *look)
{
	siginfo_t info;

	if (!look)
		return NULL;
	look->pipe = sd_event_source_disable_unref(look->pipe);
	look->timer = sd_event_source_disable_unref(look->timer);
	if (look->pidfd >= 0) {
		(void)pidfd_send_signal(look->pidfd, SIGKILL, NULL, 0);
		/* One that hangs in the kernel becomes pid 1's when we end. */
		(void)waitid(P_PIDFD, (id_t)look->pidfd, &info, WEXITED | WNOHANG);
	}
	look->pidfd = fd_close(look->pidfd);
	if (look->shared)
		(void)munmap(look->shared, sizeof(*look->shared));
	look->loop = sd_event_unref(look->loop);
	return mem_free(look);
}
