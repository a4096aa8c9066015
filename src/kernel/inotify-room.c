#include "kernel/inotify-room.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>

#include "base/fd.h"

int inotify_try(void)
{
	/* It stands for any other descriptor, whose limit gives the same errno. */
	CLEAN_FD int other = open("/proc", O_PATH | O_CLOEXEC), fd = -EBADF;

	if (other < 0)
		return -errno;
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0 && errno == EMFILE) {
		other = fd_close(other);
		/* There is room for a descriptor, so it was the user's limit. */
		other = open("/proc", O_PATH | O_CLOEXEC);
		fd = other < 0 ? -EBADF : open("/proc", O_PATH | O_CLOEXEC);
		return fd < 0 ? -EMFILE : INOTIFY_NO_INSTANCES;
	}
	if (fd < 0)
		return -errno;
	if (inotify_add_watch(fd, "/proc", IN_DELETE_SELF) < 0)
		return errno == ENOSPC ? INOTIFY_NO_WATCHES : -errno;
	return INOTIFY_ENOUGH;
}

uint64_t inotify_count_watches(const char *text, size_t len)
{
	static const char word[] = "inotify wd:";
	const char *at = text, *end = text + len;
	uint64_t count = 0;

	while ((at = memmem(at, (size_t)(end - at), word, sizeof(word) - 1)) != NULL) {
		count += at == text || at[-1] == '\n';
		at++;
	}
	return count;
}
