#include "kernel/probe-place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/time.h"
#include "kernel/proc.h"

void probe_place_put(struct probe_result *result, const struct stat *st)
{
	result->device = st->st_dev;
	result->inode = st->st_ino;
	result->size_bytes = (uint64_t)st->st_size;
	result->modified_ns =
		(int64_t)st->st_mtim.tv_sec * (int64_t)NSEC_PER_SEC + st->st_mtim.tv_nsec;
	result->mode = st->st_mode;
	result->uid = st->st_uid;
}

/* The directory of /proc that stays this process's, whoever gets the pid afterwards. */
static int open_process(int proc_fd, const struct probe_place *place)
{
	CLEAN_FD int dir = -EBADF;
	int r;

	if (place->pid <= 0)
		return -EINVAL;
	dir = openat(proc_fd, FMT("%d", place->pid), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	r = proc_verify(proc_fd, (struct proc_id){ place->pid, place->start_ticks });
	return r < 0 ? r : TAKE_FD(dir);
}

/* Before 5.6, and under a filter that does not know the call, a link on the way may lead to our own
 * root instead; the directory itself is none, then. */
static int open_beneath(int root, const char *path)
{
	const struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = openat(root, path[1] ? path + 1 : ".", (int)how.flags | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

/* The directory of a path, and what stands behind it. */
static int open_directory(
	int proc_fd, const struct probe_place *place, const char *path, const char **ret_name)
{
	CLEAN_FD int dir = -EBADF, root = -EBADF;
	const char *end = strrchr(path, '/');
	char folder[PROBE_PATH_MAX];
	int fd;

	if (path[0] != '/' || end[1] == '\0' || strlen(path) >= sizeof(folder))
		return -EINVAL;
	(void)str_format(folder, sizeof(folder), "%.*s", end == path ? 1 : (int)(end - path), path);
	dir = open_process(proc_fd, place);
	if (dir < 0)
		return dir;
	root = openat(dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	fd = open_beneath(root, folder);
	if (fd >= 0)
		*ret_name = end + 1;
	return fd;
}

static int regular_or(const struct stat *st)
{
	return S_ISREG(st->st_mode) ? 0 : -EINVAL;
}

static bool fits(const char *name, const char *pattern)
{
	const char *star = strchr(pattern, '*');
	size_t head = (size_t)(star - pattern), tail = strlen(star + 1), len = strlen(name);

	return len >= head + tail && strncmp(name, pattern, head) == 0 &&
		strcmp(name + len - tail, star + 1) == 0;
}

static bool is_newer(const struct stat *a, const struct stat *b)
{
	return a->st_mtim.tv_sec != b->st_mtim.tv_sec ? a->st_mtim.tv_sec > b->st_mtim.tv_sec
						      : a->st_mtim.tv_nsec > b->st_mtim.tv_nsec;
}

/* Owns `dir`. */
static int find_newest(int dir, const char *pattern, char *ret_name, size_t size, struct stat *ret)
{
	DIR *walk = fdopendir(dir);
	const struct dirent *entry;
	unsigned seen = 0;
	int r = -ENOENT;

	if (!walk) {
		(void)fd_close(dir);
		return -ENOMEM;
	}
	while (seen++ < PROBE_ENTRIES_MAX && (entry = readdir(walk)) != NULL) {
		struct stat st;

		if (!fits(entry->d_name, pattern) ||
			fstatat(dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			!S_ISREG(st.st_mode) || (r == 0 && !is_newer(&st, ret)))
			continue;
		(void)str_format(ret_name, size, "%s", entry->d_name);
		*ret = st;
		r = 0;
	}
	(void)closedir(walk);
	return r;
}

static int stat_descriptor(int proc_fd, const struct probe_place *place, struct stat *ret)
{
	CLEAN_FD int dir = open_process(proc_fd, place);

	if (dir < 0)
		return dir;
	if (fstatat(dir, FMT("fd/%d", place->fd), ret, 0) < 0)
		return -errno;
	return regular_or(ret);
}

int probe_place_find(int proc_fd, const struct probe_place *place, const char *path, char *ret_name,
	size_t size, struct stat *ret)
{
	CLEAN_FD int dir = -EBADF;
	const char *name = NULL;

	if (place->fd >= 0) {
		ret_name[0] = '\0';
		return stat_descriptor(proc_fd, place, ret);
	}
	dir = open_directory(proc_fd, place, path, &name);
	if (dir < 0)
		return dir;
	if (strchr(name, '*'))
		return find_newest(TAKE_FD(dir), name, ret_name, size, ret);
	if (fstatat(dir, name, ret, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	(void)str_format(ret_name, size, "%s", name);
	return regular_or(ret);
}

int probe_place_open(int proc_fd, const struct probe_place *place, const char *path, int *ret_fd,
	struct stat *ret)
{
	const int flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
	CLEAN_FD int dir = -EBADF, fd = -EBADF;
	const char *name = NULL;
	int r;

	if (place->offset > INT64_MAX)
		return -EINVAL;
	if (place->fd >= 0) {
		r = stat_descriptor(proc_fd, place, ret);
		dir = r < 0 ? r : open_process(proc_fd, place);
	} else {
		dir = open_directory(proc_fd, place, path, &name);
	}
	if (dir < 0)
		return dir;
	fd = name ? openat(dir, name, flags | O_NOFOLLOW)
		  : openat(dir, FMT("fd/%d", place->fd), flags);
	if (fd < 0 || fstat(fd, ret) < 0)
		return -errno;
	r = regular_or(ret);
	if (r >= 0 && lseek(fd, (off_t)place->offset, SEEK_SET) < 0)
		r = -errno;
	if (r >= 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}
