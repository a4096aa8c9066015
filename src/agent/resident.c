#include "agent/resident.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14; older ones answer EINVAL. */
#endif

#define RESIDENT_MAPS_MAX   (1u << 20)
#define RESIDENT_ROOM_BYTES ((size_t)256 << 20) /* more than the agent will ever take */
#define RESIDENT_BYTES_MAX  (16u << 20)         /* of code in all */

/* Whose code the loop runs. libsystemd's own dependencies (compression, ciphers) are not, and the
 * YAML parser has done its work. */
static const char *const wanted[] = { "/ld-linux", "/libc.so", "/libsystemd.so", "/libnghttp2.so",
	"/libprotobuf-c.so", "/libjansson.so" };

static bool resident_is_wanted(const char *path, const char *executable)
{
	if (executable[0] && str_eq(path, executable))
		return true;
	for (size_t i = 0; i < ELEMENTS(wanted); i++)
		if (strstr(path, wanted[i]))
			return true;
	return false;
}

/* One line of maps: START-END PERMISSIONS OFFSET DEVICE INODE PATH. */
static size_t resident_populate(const char *line, const char *executable)
{
	unsigned long start, end;
	char permissions[5];
	const char *path = strchr(line, '/');

	if (!path || sscanf(line, "%lx-%lx %4s", &start, &end, permissions) != 3)
		return 0;
	/* Code and constants; what is written to is locked when it is touched. */
	if (permissions[0] != 'r' || permissions[1] == 'w' || !resident_is_wanted(path, executable))
		return 0;
	if (end - start > RESIDENT_BYTES_MAX)
		return 0;
	if (madvise((void *)start, end - start, MADV_POPULATE_READ) < 0)
		return 0;
	return end - start;
}

/* With MCL_FUTURE a limit on locked memory is one on all memory: what does not fit is refused to
 * malloc(). Nothing is touched, so the room costs nothing. */
static bool resident_has_room(void)
{
	void *room = mmap(NULL, RESIDENT_ROOM_BYTES, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (room == MAP_FAILED)
		return false;
	(void)munmap(room, RESIDENT_ROOM_BYTES);
	return true;
}

int resident_begin(size_t *ret_bytes, struct err *reterr)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	CLEAN(mem_freep) char *maps = NULL;
	char executable[4096] = "";
	size_t bytes = 0;
	char *line, *rest = NULL;
	int r;

	/* Needs CAP_SYS_RESOURCE; without it the limit there is decides. */
	(void)setrlimit(RLIMIT_MEMLOCK, &unlimited);
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		return err_set(reterr, -errno, "Lock memory: %s", err_text(NULL, -errno));
	if (!resident_has_room()) {
		(void)munlockall();
		return err_set(reterr, -EPERM,
			"Lock memory: RLIMIT_MEMLOCK is too low and cannot be raised");
	}

	r = fd_read_file("/proc/self/maps", RESIDENT_MAPS_MAX, &maps, NULL);
	if (r < 0)
		return err_wrap(reterr, r, "Read /proc/self/maps");
	if (readlink("/proc/self/exe", executable, sizeof(executable) - 1) < 0)
		executable[0] = '\0';
	for (line = strtok_r(maps, "\n", &rest); line && bytes < RESIDENT_BYTES_MAX;
		line = strtok_r(NULL, "\n", &rest))
		bytes += resident_populate(line, executable);
	*ret_bytes = bytes;
	return 0;
}

uint64_t resident_bytes(void)
{
	CLEAN(mem_freep) char *text = NULL;
	unsigned long size, resident;

	if (fd_read_file("/proc/self/statm", 4096, &text, NULL) < 0 ||
		sscanf(text, "%lu %lu", &size, &resident) != 2)
		return 0;
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
