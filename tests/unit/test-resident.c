/* Locked memory: where the limit on it would be one on all memory, nothing is locked. */
#include "unit.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/resident.h"

#define LIMIT_BYTES (64u << 20)

/* In a process without privileges: 0, or what is wrong. */
static int under_a_limit(void)
{
	struct rlimit limit;
	struct err err = { 0 };
	size_t bytes;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return 1;
	if (limit.rlim_max > LIMIT_BYTES)
		limit.rlim_max = LIMIT_BYTES;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return 1;
	if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		return 2;
	if (resident_begin(&bytes, &err) >= 0 || err.text[0] == '\0')
		return 3;
	/* All the same there is memory. */
	if (mmap(NULL, 2 * (size_t)LIMIT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0) == MAP_FAILED)
		return 4;
	return 0;
}

static void a_limit_is_not_made_one_on_all_memory(void **state)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(under_a_limit());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_limit_is_not_made_one_on_all_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
