/* The sandbox process of the demo pods and the lab: waits, reaps, ends on SIGTERM. Linked statically,
 * since its image holds nothing else. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_end(int sig)
{
	(void)sig;
	_exit(0);
}

static void on_child(int sig)
{
	(void)sig;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

int main(void)
{
	(void)signal(SIGTERM, on_end);
	(void)signal(SIGINT, on_end);
	(void)signal(SIGCHLD, on_child);
	for (;;)
		(void)pause();
}
