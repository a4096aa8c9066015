/*
 * A process with threads for the tests of the kernel room, which have none themselves. The first
 * argument says what it does; it tells on stdout when it is there.
 *	pause          waits to be killed
 *	leader-exits   the leader ends with pthread_exit(), a thread waits for a byte on stdin and then
 *	               ends the process with exit code 5
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static void *wait_and_exit(void *unused)
{
	char byte;

	if (write(STDOUT_FILENO, "r", 1) < 0 || read(STDIN_FILENO, &byte, 1) < 0)
		_exit(9);
	_exit(5);
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc == 2 && strcmp(argv[1], "leader-exits") == 0) {
		if (pthread_create(&thread, NULL, wait_and_exit, NULL) != 0)
			return 8;
		pthread_exit(NULL);
	}
	if (write(STDOUT_FILENO, "r", 1) < 0)
		return 9;
	for (;;)
		(void)pause();
}
