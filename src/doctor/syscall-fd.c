#include "doctor/syscall-fd.h"

#include <sys/syscall.h>

enum shape {
	SHAPE_OTHER,
	SHAPE_FD,        /* the first argument is a descriptor */
	SHAPE_MMAP,      /* the fifth is */
	SHAPE_DIRECTORY, /* the first is a directory, and a path follows */
	SHAPE_PATH,      /* a path, from the working directory */
};

static enum shape shape_of(uint64_t number)
{
	switch (number) {
	case SYS_read:
	case SYS_write:
	case SYS_pread64:
	case SYS_pwrite64:
	case SYS_readv:
	case SYS_writev:
	case SYS_preadv:
	case SYS_pwritev:
	case SYS_preadv2:
	case SYS_pwritev2:
	case SYS_close:
	case SYS_fstat:
	case SYS_lseek:
	case SYS_ioctl:
	case SYS_fcntl:
	case SYS_flock:
	case SYS_fsync:
	case SYS_fdatasync:
	case SYS_syncfs:
	case SYS_sync_file_range:
	case SYS_ftruncate:
	case SYS_fallocate:
	case SYS_getdents64:
	case SYS_fchdir:
	case SYS_fchmod:
	case SYS_fchown:
	case SYS_fstatfs:
	case SYS_sendfile:
	case SYS_splice:
	case SYS_copy_file_range:
	case SYS_fsetxattr:
	case SYS_fgetxattr:
	case SYS_readahead:
	case SYS_fadvise64:
#ifdef SYS_getdents
	case SYS_getdents:
#endif
		return SHAPE_FD;
	case SYS_mmap: return SHAPE_MMAP;
	case SYS_openat:
	case SYS_mkdirat:
	case SYS_unlinkat:
	case SYS_renameat2:
	case SYS_linkat:
	case SYS_symlinkat:
	case SYS_newfstatat:
	case SYS_statx:
	case SYS_readlinkat:
	case SYS_faccessat:
	case SYS_fchmodat:
	case SYS_fchownat:
	case SYS_utimensat:
#ifdef SYS_renameat
	case SYS_renameat:
#endif
#ifdef SYS_openat2
	case SYS_openat2:
#endif
		return SHAPE_DIRECTORY;
	case SYS_truncate:
	case SYS_chdir:
	case SYS_statfs:
	case SYS_execve:
#ifdef SYS_open
	case SYS_open:
	case SYS_creat:
	case SYS_mkdir:
	case SYS_rmdir:
	case SYS_unlink:
	case SYS_rename:
	case SYS_stat:
	case SYS_lstat:
	case SYS_access:
	case SYS_readlink:
	case SYS_chmod:
	case SYS_chown:
#endif
		return SHAPE_PATH;
	default: return SHAPE_OTHER;
	}
}

static int32_t to_fd(uint64_t argument)
{
	int32_t fd = (int32_t)(uint32_t)argument; /* AT_FDCWD is negative */

	return fd >= 0 ? fd : SYSCALL_FD_NONE;
}

int32_t syscall_fd(uint64_t number, const uint64_t args[6], bool *ret_is_path)
{
	*ret_is_path = false;
	switch (shape_of(number)) {
	case SHAPE_OTHER: return SYSCALL_FD_NONE;
	case SHAPE_FD: return to_fd(args[0]);
	case SHAPE_MMAP: return to_fd(args[4]);
	case SHAPE_DIRECTORY: *ret_is_path = true; return to_fd(args[0]);
	case SHAPE_PATH: *ret_is_path = true; return SYSCALL_FD_NONE;
	}
	return SYSCALL_FD_NONE;
}
