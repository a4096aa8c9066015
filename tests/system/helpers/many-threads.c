/*
 * The init of a container with as many threads as it is told, all of them asleep; linked statically.
 * Says "ready" in a file when they are there.
 *
 *	many-threads COUNT FILE [ENDING]
 *
 * ENDING more start a thread again and again that ends after some two milliseconds. It spends them in
 * D, where a thread waits for its vfork() child, so that whoever looks for threads that wait finds
 * them, and finds them gone when it looks again.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void *rest(void *unused)
{
	for (;;)
		(void)pause();
	return unused;
}

static void *wait_once(void *unused)
{
	pid_t child = vfork();

	if (child == 0) {
		(void)usleep(2000);
		_exit(0);
	}
	if (child > 0)
		(void)waitpid(child, NULL, 0);
	return unused;
}

static void *keep_ending(void *unused)
{
	pthread_t thread;

	for (;;)
		if (pthread_create(&thread, NULL, wait_once, unused) == 0)
			(void)pthread_join(thread, NULL);
	return unused;
}

int main(int argc, char **argv)
{
	unsigned long count = argc >= 3 ? strtoul(argv[1], NULL, 10) : 0;
	unsigned long ending = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	pthread_attr_t attributes;
	pthread_t thread;
	FILE *file;

	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setstacksize(&attributes, 32768);
	for (unsigned long i = 1; i < count; i++)
		if (pthread_create(&thread, &attributes, rest, NULL) != 0)
			return 1;
	for (unsigned long i = 0; i < ending; i++)
		if (pthread_create(&thread, &attributes, keep_ending, NULL) != 0)
			return 1;
	file = argc >= 3 ? fopen(argv[2], "w") : NULL;
	if (!file || fputs("ready\n", file) < 0 || fclose(file) != 0)
		return 1;
	(void)rest(NULL);
	return 0;
}
