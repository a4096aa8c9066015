/*
 * The way out of an incident: opens all that it will need now, says "armed", and after SECONDS, or at
 * SIGTERM, lets go of what is held. Started before anything is frozen, stopped or held; independent of
 * whoever started it, resident, and in need of no file and no disk when the time comes.
 *	pleg-lab-release SECONDS [ACTION ARGUMENT...]...
 *	write FILE TEXT	thaw FOLDER	cont PID	kill PID	unlink FILE
 * Says what it did on its way, one line each, to stderr. Acts once and ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ACTIONS_MAX 16
#define SECONDS_MAX 60

enum kind {
	WRITE,
	THAW,
	CONT,
	KILL,
	UNLINK
};

static const struct {
	const char *name;
	enum kind kind;
	int arguments;
} kinds[] = {
	{ "write", WRITE, 2 },
	{ "thaw", THAW, 1 },
	{ "cont", CONT, 1 },
	{ "kill", KILL, 1 },
	{ "unlink", UNLINK, 1 },
};

static struct action {
	enum kind kind;
	int fd;
	char *const *words;
} actions[ACTIONS_MAX];
static size_t action_count;

static int open_for(enum kind kind, const char *what)
{
	switch (kind) {
	case WRITE: return open(what, O_WRONLY | O_CLOEXEC);
	case THAW: return open(what, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	case CONT:
	case KILL: return (int)syscall(SYS_pidfd_open, (pid_t)strtol(what, NULL, 10), 0);
	case UNLINK: return open(what, O_PATH | O_CLOEXEC);
	}
	return -1;
}

static int act(const struct action *a)
{
	switch (a->kind) {
	case WRITE: return (int)write(a->fd, a->words[2], strlen(a->words[2]));
	case THAW: return ioctl(a->fd, FITHAW, 0);
	case CONT: return (int)syscall(SYS_pidfd_send_signal, a->fd, SIGCONT, NULL, 0);
	case KILL: return (int)syscall(SYS_pidfd_send_signal, a->fd, SIGKILL, NULL, 0);
	case UNLINK: return unlink(a->words[1]);
	}
	return -1;
}

static int parse(char **words)
{
	while (*words) {
		size_t k = 0;

		while (k < sizeof(kinds) / sizeof(*kinds) && strcmp(kinds[k].name, *words) != 0)
			k++;
		if (k == sizeof(kinds) / sizeof(*kinds) || action_count == ACTIONS_MAX)
			return -1;
		for (int i = 1; i <= kinds[k].arguments; i++)
			if (!words[i])
				return -1;
		actions[action_count] =
			(struct action){ kinds[k].kind, open_for(kinds[k].kind, words[1]), words };
		if (actions[action_count++].fd < 0) {
			(void)fprintf(stderr, "%s %s: %s\n", *words, words[1], strerror(errno));
			return -1;
		}
		words += 1 + kinds[k].arguments;
	}
	return 0;
}

int main(int argc, char **argv)
{
	long seconds = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
	struct pollfd term = { .events = POLLIN };
	sigset_t mask;

	if (seconds < 1 || seconds > SECONDS_MAX || parse(argv + 2) < 0)
		return 2;
	(void)sigfillset(&mask);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGTERM);
	term.fd = signalfd(-1, &mask, SFD_CLOEXEC);
	(void)mlockall(MCL_CURRENT | MCL_FUTURE);
	if (term.fd < 0)
		return 1;
	(void)puts("armed");
	(void)fclose(stdout);
	(void)poll(&term, 1, (int)seconds * 1000);
	for (size_t i = 0; i < action_count; i++)
		(void)fprintf(stderr, "%s %s: %s\n", actions[i].words[0], actions[i].words[1],
			act(&actions[i]) < 0 ? strerror(errno) : "done");
	return 0;
}
