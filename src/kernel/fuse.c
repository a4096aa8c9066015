#include "kernel/fuse.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/str.h"

#define FUSE_DIRECTORY    "/sys/fs/fuse/connections"
#define FUSE_CTL_MAGIC    0x65735543
#define FDINFO_FIELD      "fuse_connection:"
#define FUSE_MINOR_DIGITS 10

/* A mount of our own, attached nowhere. */
static int mount_private(void)
{
	CLEAN_FD int context = -EBADF;
	long fd;

	context = (int)syscall(SYS_fsopen, "fusectl", FSOPEN_CLOEXEC);
	if (context < 0)
		return -errno;
	if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC,
		MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	return fd < 0 ? -errno : (int)fd;
}

int fuse_open(bool *ret_mounted)
{
	CLEAN_FD int fd = -EBADF;
	struct statfs fs;

	*ret_mounted = false;
	if (fault_is_due(FAULT_OPEN))
		return -EMFILE;
	/* Of sysfs or of fusectl: neither asks anybody. */
	fd = open(FUSE_DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	if (fstatfs(fd, &fs) == 0 && fs.f_type == FUSE_CTL_MAGIC) {
		*ret_mounted = true;
		return TAKE_FD(fd);
	}
	return mount_private();
}

int fuse_read_waiting(int dir_fd, uint32_t minor, uint64_t *ret)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "%u/waiting", minor);
	return fd_read_u64(dir_fd, path, ret);
}

int fuse_list(int dir_fd, uint32_t *ret, unsigned max)
{
	struct dirent *entry;
	unsigned count = 0;
	DIR *dir;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		(void)fd_close(fd);
		return -ENOMEM;
	}
	while (count < max && (entry = readdir(dir))) {
		uint64_t minor;

		if (str_to_u64(entry->d_name, &minor) == 0 && minor <= UINT32_MAX)
			ret[count++] = (uint32_t)minor;
	}
	(void)closedir(dir);
	return (int)count;
}

bool fuse_is_type(const char *type, size_t len)
{
	return (len == 4 && memcmp(type, "fuse", 4) == 0) ||
		(len > 5 && memcmp(type, "fuse.", 5) == 0);
}

bool fuse_parse_fdinfo(const char *text, size_t len, uint32_t *ret)
{
	const char *at = memmem(text, len, FDINFO_FIELD, sizeof(FDINFO_FIELD) - 1);
	char digits[FUSE_MINOR_DIGITS + 1];
	size_t n = 0;
	uint64_t minor;

	if (!at || (at > text && at[-1] != '\n'))
		return false;
	for (at += sizeof(FDINFO_FIELD) - 1; at < text + len && (*at == ' ' || *at == '\t');)
		at++;
	while (at + n < text + len && n < FUSE_MINOR_DIGITS && at[n] >= '0' && at[n] <= '9') {
		digits[n] = at[n];
		n++;
	}
	digits[n] = '\0';
	if (str_to_u64(digits, &minor) < 0 || minor > UINT32_MAX)
		return false;
	*ret = (uint32_t)minor;
	return true;
}
