#include "base/child.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

#define CHILD_FD      3
#define CHILD_SIGNALS 32 /* the real-time ones are nobody's here */

int child_begin(const char *name, int fd)
{
	struct sigaction plain = { .sa_handler = SIG_DFL };
	sigset_t none;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_NAME, name);
	for (int sig = 1; sig < CHILD_SIGNALS; sig++)
		(void)sigaction(sig, &plain, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (fd != CHILD_FD && dup3(fd, CHILD_FD, O_CLOEXEC) != CHILD_FD)
		return fd;
	(void)close_range(CHILD_FD + 1, ~0u, 0);
	return CHILD_FD;
}
