#include "role/role-child.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

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
	SYS_unlink,
	SYS_rename,
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
	SYS_unlinkat,
	SYS_renameat2,
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

/* And to one that gets what it needs passed. */
static const int opening_calls[] = {
#ifdef SYS_open
	SYS_open,
#endif
	SYS_openat,
	SYS_openat2,
};

#define REFUSED_MAX (ELEMENTS(refused_calls) + ELEMENTS(opening_calls))

static int refuse_calls(enum role_narrow how)
{
	struct sock_filter code[REFUSED_MAX + 8];
	struct sock_fprog program = { .filter = code };
	size_t refused = how == ROLE_NARROW_SERVE ? REFUSED_MAX : ELEMENTS(refused_calls), n = 0;

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
	for (size_t i = 0; i < refused; i++) {
		int call = i < ELEMENTS(refused_calls) ? refused_calls[i]
						       : opening_calls[i - ELEMENTS(refused_calls)];

		code[n++] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, (uint8_t)(refused - i), 0);
	}
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
#ifndef CHILD_SANITIZED
		if (prctl(PR_SET_DUMPABLE, 0) < 0)
			return -errno;
#endif
		r = refuse_calls(how);
		return r == -EINVAL || r == -ENOSYS ? 0 : r;
	}
	return -EINVAL;
}
