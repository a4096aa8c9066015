/*
 * Takes a child's end away from its parent: makes the parent itself wait for the zombie, by a system
 * call put into it with ptrace, so that nobody in it ever hears of that exit.
 *	pleg-lab-reap PARENT CHILD
 * The parent should be stopped (SIGSTOP) before the child dies and until this is done; whoever stopped
 * it continues it. Exit 0: the child is gone. 77: not this machine's instruction set. The thread that
 * was used sees its own call interrupted (EINTR).
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __x86_64__

static int fail(const char *what)
{
	(void)fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return 1;
}

/* The next stop of the tracee. */
static int next_stop(pid_t tid)
{
	int status;

	if (waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status)) {
		errno = ESRCH;
		return -1;
	}
	return status >> 8;
}

static int inject(pid_t tid, pid_t child)
{
	struct user_regs_struct before, with;
	long code;

	if (ptrace(PTRACE_SEIZE, tid, NULL, PTRACE_O_TRACESYSGOOD) < 0 ||
		ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 || next_stop(tid) < 0 ||
		ptrace(PTRACE_GETREGS, tid, NULL, &before) < 0)
		return fail("stop the parent");
	errno = 0;
	code = ptrace(PTRACE_PEEKTEXT, tid, (void *)(before.rip - 2), NULL);
	if (errno != 0 || (code & 0xffff) != 0x050f) { /* syscall */
		errno = ENOEXEC;
		return fail("find a system call in the parent");
	}
	with = before;
	with.rip -= 2;
	with.orig_rax = (unsigned long long)-1; /* no restart of what it was in */
	with.rax = SYS_wait4;
	with.rdi = (unsigned long long)child;
	with.rsi = 0;
	with.rdx = WNOHANG;
	with.r10 = 0;
	if (ptrace(PTRACE_SETREGS, tid, NULL, &with) < 0)
		return fail("set registers");
	for (int stops = 0; stops < 8;) {
		int stop;

		if (ptrace(PTRACE_SYSCALL, tid, NULL, 0) < 0 || (stop = next_stop(tid)) < 0)
			return fail("run the call");
		if ((stop & 0xff) != (SIGTRAP | 0x80)) { /* the group stop again, or an event */
			stops++;
			continue;
		}
		if (ptrace(PTRACE_GETREGS, tid, NULL, &with) < 0)
			return fail("read registers");
		if (with.rax != (unsigned long long)-ENOSYS) /* that is its entry */
			break;
	}
	before.orig_rax = (unsigned long long)-1;
	before.rax = (unsigned long long)-EINTR;
	if (ptrace(PTRACE_SETREGS, tid, NULL, &before) < 0)
		return fail("restore registers");
	(void)ptrace(PTRACE_DETACH, tid, NULL, 0);
	if (with.rax != (unsigned long long)child) {
		(void)fprintf(stderr, "wait4 in the parent: %lld\n", (long long)with.rax);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	return inject((pid_t)strtol(argv[1], NULL, 10), (pid_t)strtol(argv[2], NULL, 10));
}

#else

int main(void)
{
	return 77;
}

#endif
