#include "role/role-child.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define CHILD_START_MS 10000

#if defined(__x86_64__)
#define CHILD_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define CHILD_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define CHILD_ARCH AUDIT_ARCH_RISCV64
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CHILD_SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define CHILD_SANITIZED 1
#endif

int role_child_start(const char *process_name, const struct channel_type *types, size_t type_count,
	struct channel **ret_channel, struct channel_message *ret_start)
{
	struct channel *c;
	int r;

	(void)prctl(PR_SET_NAME, process_name);
	r = channel_new(ROLE_CHANNEL_FD, types, type_count, &c);
	if (r < 0)
		return r;
	do
		r = poll(&(struct pollfd){ .fd = channel_fd(c), .events = POLLIN }, 1,
			CHILD_START_MS);
	while (r < 0 && errno == EINTR);
	r = r < 0 ? -errno : r == 0 ? -ETIMEDOUT : channel_receive(c, ret_start);
	if (r > 0 && ret_start->type != ROLE_MSG_START) {
		channel_message_done(ret_start);
		r = -EBADMSG;
	}
	if (r <= 0) {
		(void)channel_free(c);
		return r < 0 ? r : -EAGAIN;
	}
	*ret_channel = c;
	return 0;
}

int role_child_ready(struct channel *c)
{
	struct role_ready ready = { .protocol = ROLE_PROTOCOL };

	return channel_send(c, ROLE_MSG_READY, 0, &ready, sizeof(ready), NULL, 0);
}

int role_child_fail(struct channel *c, int code, const char *what)
{
	struct role_failure failure = { .code = code };

	(void)snprintf(failure.what, sizeof(failure.what), "%s", what);
	(void)channel_send(c, ROLE_MSG_FAILED, 0, &failure, sizeof(failure), NULL, 0);
	return 1;
}

#if defined(CHILD_ARCH) && !defined(CHILD_SANITIZED)

/* What a role that only serves never does. A list of what is forbidden and not of what is allowed:
 * libraries and libc change what they call between versions, and the ids are dropped anyway. */
static const int refused_calls[] = {
#ifdef SYS_open
	SYS_creat,
	SYS_fork,
	SYS_vfork,
	SYS_mkdir,
	SYS_link,
	SYS_symlink,
	SYS_chmod,
	SYS_chown,
	SYS_lchown,
	SYS_mknod,
	SYS_rmdir,
#endif
	SYS_open_by_handle_at,
	SYS_execve,
	SYS_execveat,
	SYS_clone,
	SYS_clone3,
	SYS_socket,
	SYS_socketpair,
	SYS_connect,
	SYS_bind,
	SYS_listen,
	SYS_ptrace,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
	SYS_pidfd_open,
	SYS_pidfd_getfd,
	SYS_mkdirat,
	SYS_linkat,
	SYS_symlinkat,
	SYS_fchmodat,
	SYS_fchownat,
	SYS_mknodat,
	SYS_truncate,
	/* Not tgkill: abort() needs it. */
	SYS_kill,
	SYS_tkill,
	SYS_rt_sigqueueinfo,
	SYS_rt_tgsigqueueinfo,
	SYS_pidfd_send_signal,
	SYS_mount,
	SYS_umount2,
	SYS_chroot,
	SYS_pivot_root,
	SYS_setns,
	SYS_unshare,
	SYS_bpf,
	SYS_perf_event_open,
	SYS_userfaultfd,
	SYS_io_uring_setup,
	SYS_keyctl,
	SYS_add_key,
	SYS_init_module,
	SYS_finit_module,
	SYS_kexec_load,
};

/* And to one that does not keep files. */
static const int renaming_calls[] = {
#ifdef SYS_open
	SYS_unlink,
	SYS_rename,
#endif
#ifdef SYS_renameat
	SYS_renameat,
#endif
	SYS_unlinkat,
	SYS_renameat2,
};

/* And to one that gets what it needs passed. */
static const int opening_calls[] = {
#ifdef SYS_open
	SYS_open,
#endif
	SYS_openat,
	SYS_openat2,
};

#define REFUSED_MAX (ELEMENTS(refused_calls) + ELEMENTS(renaming_calls) + ELEMENTS(opening_calls))

/* The calls refused to `how`: 0 and up, -1 behind the last. */
static int refused_call(enum role_narrow how, size_t i)
{
	if (i < ELEMENTS(refused_calls))
		return refused_calls[i];
	i -= ELEMENTS(refused_calls);
	if (how != ROLE_NARROW_STORE && i < ELEMENTS(renaming_calls))
		return renaming_calls[i];
	i -= ELEMENTS(renaming_calls);
	return how == ROLE_NARROW_SERVE && i < ELEMENTS(opening_calls) ? opening_calls[i] : -1;
}

static int refuse_calls(enum role_narrow how)
{
	struct sock_filter code[REFUSED_MAX + 8];
	struct sock_fprog program = { .filter = code };
	size_t refused = 0, n = 0;

	while (refused_call(how, refused) >= 0)
		refused++;

	code[n++] = (struct sock_filter)BPF_STMT(
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CHILD_ARCH, 1, 0);
	/* A foreign architecture's numbers (32 bit on 64) mean other calls. */
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	code[n++] = (struct sock_filter)BPF_STMT(
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
#ifdef __x86_64__
	/* x32 has the architecture of 64 bit, and each call once more beyond this number. */
	code[n++] =
		(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, __X32_SYSCALL_BIT, 0, 1);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
#endif
	for (size_t i = 0; i < refused; i++)
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
			(uint32_t)refused_call(how, i), (uint8_t)(refused - i), 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[n++] = (struct sock_filter)BPF_STMT(
		BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (EPERM & SECCOMP_RET_DATA));
	program.len = (unsigned short)n;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		return -errno;
	return 0;
}

#else

/* The sanitizers read /proc and start processes of their own at the end. */
static int refuse_calls(enum role_narrow how)
{
	return 0;
}

#endif

int role_child_narrow(enum role_narrow how)
{
	int r;

	switch (how) {
	case ROLE_NARROW_SERVE:
	case ROLE_NARROW_LOOK:
	case ROLE_NARROW_STORE:
#ifndef CHILD_SANITIZED
		if (prctl(PR_SET_DUMPABLE, 0) < 0)
			return -errno;
#endif
		r = refuse_calls(how);
		return r == -EINVAL || r == -ENOSYS ? 0 : r;
	}
	return -EINVAL;
}

/* --- ids and capabilities --- */

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -errno;
	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

int role_child_drop(uid_t uid, gid_t gid)
{
	if (geteuid() != 0)
		return 0;
	if (uid != 0 &&
		(setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
			setresuid(uid, uid, uid) < 0))
		return -errno;
	/* A change of ids clears it, and the agent's death is to be ours. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return drop_capabilities();
}

/* --- one folder --- */

#ifndef LANDLOCK_ACCESS_FS_REFER /* 5.19 */
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE /* 6.2 */
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

#define CONFINE_ALLOWED                                                                            \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |                            \
		LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                     \
		LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_TRUNCATE)
#define CONFINE_FIRST_ABI ((1ULL << 13) - 1) /* all that the first version knows */

int role_child_confine(int dirfd)
{
#ifdef CHILD_SANITIZED
	return 0;
#else
	struct landlock_ruleset_attr ruleset = { .handled_access_fs = CONFINE_FIRST_ABI };
	struct landlock_path_beneath_attr folder = { .parent_fd = dirfd };
	CLEAN_FD int fd = -EBADF;
	long abi;

	abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 0)
		return 0; /* Before 5.13, or switched off. */
	if (abi >= 2)
		ruleset.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		ruleset.handled_access_fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
	folder.allowed_access = CONFINE_ALLOWED & ruleset.handled_access_fs;
	fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &folder, 0) < 0 ||
		syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return -errno;
	return 0;
#endif
}
