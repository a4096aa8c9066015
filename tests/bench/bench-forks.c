/*
 * A storm of short processes: so many forks a second, each child ends at once and is reaped.
 *
 *	bench-forks PER_SECOND SECONDS
 *
 * Prints how many it made. What falls behind is made up for, at most 100 at a time.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

#define BATCH_MAX 100

int main(int argc, char **argv)
{
	const struct timespec tick = { .tv_nsec = 1000000 };
	uint64_t rate, seconds, begun, made = 0;

	if (argc != 3 || str_to_u64(argv[1], &rate) < 0 || str_to_u64(argv[2], &seconds) < 0) {
		(void)fprintf(stderr, "usage: bench-forks PER_SECOND SECONDS\n");
		return 2;
	}
	begun = clock_now().mono_ns;
	for (;;) {
		uint64_t elapsed = clock_now().mono_ns - begun;
		uint64_t wanted = elapsed * rate / NSEC_PER_SEC;

		if (elapsed > seconds * NSEC_PER_SEC)
			break;
		for (int i = 0; i < BATCH_MAX && made < wanted; i++, made++) {
			pid_t pid = fork();

			if (pid == 0)
				_exit(0);
			if (pid < 0 || waitpid(pid, NULL, 0) < 0) {
				perror("bench-forks");
				return 1;
			}
		}
		(void)nanosleep(&tick, NULL);
	}
	printf("%llu\n", (unsigned long long)made);
	return 0;
}
