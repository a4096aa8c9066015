/* The init of a container with as many threads as it is told, all of them asleep; linked statically.
 * Says "ready" in a file when they are there. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *rest(void *unused)
{
	for (;;)
		(void)pause();
	return unused;
}

int main(int argc, char **argv)
{
	unsigned long count = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
	pthread_attr_t attributes;
	pthread_t thread;
	FILE *file;

	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setstacksize(&attributes, 32768);
	for (unsigned long i = 1; i < count; i++)
		if (pthread_create(&thread, &attributes, rest, NULL) != 0)
			return 1;
	file = argc == 3 ? fopen(argv[2], "w") : NULL;
	if (!file || fputs("ready\n", file) < 0 || fclose(file) != 0)
		return 1;
	(void)rest(NULL);
	return 0;
}
