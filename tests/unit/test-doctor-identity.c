/* Names, cgroup paths and directories as they are, and as somebody might make them up. */
#include "unit.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include "base/mem.h"
#include "doctor/identity.h"
#include "doctor/syscall-fd.h"

#define ID  "bb6082d4086d9b80d5144da4ffdd3bee12ece296df7fb3c4a38bddd51da80844"
#define ID2 "08f03162544242cca7ab4e94f2a968a3125872bd471243cae72980d62f66e6ab"

static void names(void **state)
{
	static const struct {
		const char *comm;
		enum identity_kind kind;
		enum evidence_daemon_kind daemon;
	} cases[] = {
		{ "containerd", IDENTITY_DAEMON, DAEMON_CONTAINERD },
		{ "dockerd", IDENTITY_DAEMON, DAEMON_DOCKERD },
		{ "crio", IDENTITY_DAEMON, DAEMON_CRIO },
		{ "cri-dockerd", IDENTITY_DAEMON, DAEMON_CRI_DOCKERD },
		{ "kubelet", IDENTITY_DAEMON, DAEMON_KUBELET },
		{ "containerd-shim", IDENTITY_SHIM, DAEMON_OTHER },
		{ "conmon", IDENTITY_SHIM, DAEMON_OTHER },
		{ "runc", IDENTITY_OCI_RUNTIME, DAEMON_OTHER },
		{ "runc:[2:INIT]", IDENTITY_OCI_RUNTIME, DAEMON_OTHER },
		{ "crun", IDENTITY_OCI_RUNTIME, DAEMON_OTHER },
		{ "runchecker", IDENTITY_OTHER, DAEMON_OTHER },
		{ "containerd-x", IDENTITY_OTHER, DAEMON_OTHER },
		{ "conmonx", IDENTITY_OTHER, DAEMON_OTHER },
		{ ") Z (", IDENTITY_OTHER, DAEMON_OTHER },
		{ "", IDENTITY_OTHER, DAEMON_OTHER },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		enum evidence_daemon_kind daemon = DAEMON_OTHER;

		assert_int_equal(identity_of_comm(cases[i].comm, &daemon), cases[i].kind);
		assert_int_equal(daemon, cases[i].daemon);
	}
}

static void ids_in_paths(void **state)
{
	static const char *const with[] = { "/docker/" ID, "/system.slice/docker-" ID ".scope",
		"/kubepods/besteffort/pod0d7c-12/" ID,
		"/kubepods.slice/cri-containerd-" ID ".scope", "/docker/" ID "/docker/" ID2,
		"/kubepods/" ID "/init.scope" };
	static const char *const without[] = { "", "/", "/user.slice", "/docker/" ID "0",
		"/a" ID "/b", "/BB6082D4086D9B80D5144DA4FFDD3BEE12ECE296DF7FB3C4A38BDDD51DA80844",
		"/bb6082d4086d9b80d5144da4ffdd3bee12ece296df7fb3c4a38bddd51da8084" };
	char id[IDENTITY_ID_LEN + 1];

	(void)state;
	for (size_t i = 0; i < ELEMENTS(with); i++) {
		assert_true(identity_find_id(SLICE(with[i]), id));
		assert_string_equal(id, ID);
	}
	for (size_t i = 0; i < ELEMENTS(without); i++)
		assert_false(identity_find_id(SLICE(without[i]), id));
}

static void bundles(void **state)
{
	static const char *const others[] = { "", "/", "/run/containerd",
		"/x/io.containerd.runtime.v2.task", "/x/io.containerd.runtime.v2.task/k8s.io",
		"/x/io.containerd.runtime.v2.task/k8s.io/", "/x/io.containerd.runtime.v2.task//id",
		"/x/io.containerd.runtime.v2.task/k8s.io/id/rootfs",
		"/x/io.containerd.runtime.v2.task/k8s.io/ (deleted)" };
	struct slice space, id;

	(void)state;
	assert_true(identity_of_bundle(
		"/run/containerd/io.containerd.runtime.v2.task/k8s.io/abc", &space, &id));
	assert_true(slice_eq(space, SLICE("k8s.io")));
	assert_true(slice_eq(id, SLICE("abc")));
	assert_true(identity_of_bundle(
		"/x/io.containerd.runtime.v2.task/moby/abc (deleted)", &space, &id));
	assert_true(slice_eq(id, SLICE("abc")));
	for (size_t i = 0; i < ELEMENTS(others); i++)
		assert_false(identity_of_bundle(others[i], &space, &id));
}

static void storage(void **state)
{
	static const char *const yes[] = {
		"/run/containerd/io.containerd.runtime.v2.task/k8s.io/x/rootfs",
		"/host/var/lib/docker/overlay2/abc/merged",
		"/var/lib/kubelet/pods/0d7c/volumes/kubernetes.io~csi/pvc/mount",
		"/var/lib/kubelet/pods/0d7c/volumes/x", "/var/lib/docker/volumes/v/_data"
	};
	static const char *const no[] = { "", "/", "/mnt/data", "/home/me/pods", "/srv/volumes/x",
		"/proc", "/var/lib/kubelet" };

	(void)state;
	for (size_t i = 0; i < ELEMENTS(yes); i++)
		assert_true(identity_is_storage_path(yes[i]));
	for (size_t i = 0; i < ELEMENTS(no); i++)
		assert_false(identity_is_storage_path(no[i]));
}

static void sockets(void **state)
{
	(void)state;
	assert_true(identity_same_socket("unix:///run/a.sock", "/run/a.sock"));
	assert_true(identity_same_socket("unix:///var/run/a.sock", "/run/a.sock"));
	assert_false(identity_same_socket("unix:///run/a.sock", "/run/b.sock"));
	assert_false(identity_same_socket("/var/runs/a.sock", "/runs/a.sock"));
	assert_false(identity_same_socket("", ""));
}

static void idle_waits(void **state)
{
	static const char *const yes[] = { "futex_wait_queue_me", "futex_do_wait", "ep_poll",
		"do_epoll_wait", "poll_schedule_timeout.constprop.0", "do_select",
		"hrtimer_nanosleep", "do_wait", "do_sigtimedwait", "inet_csk_accept",
		"__skb_wait_for_more_packets" };
	static const char *const no[] = { "", "request_wait_answer", "pipe_read",
		"unix_stream_read_generic", "folio_wait_bit_common", "rwsem_down_read_slowpath",
		"io_schedule", "wait_woken" };

	(void)state;
	for (size_t i = 0; i < ELEMENTS(yes); i++)
		assert_true(identity_wait_is_idle(yes[i]));
	for (size_t i = 0; i < ELEMENTS(no); i++)
		assert_false(identity_wait_is_idle(no[i]));
}

static void descriptors_of_calls(void **state)
{
	const uint64_t args[6] = { 3, 7, 8, 9, 5, 0 };
	const uint64_t here[6] = { (uint64_t)(int64_t)AT_FDCWD, 7, 8, 9, UINT64_MAX, 0 };
	bool is_path = true;

	(void)state;
	assert_int_equal(syscall_fd(SYS_read, args, &is_path), 3);
	assert_false(is_path);
	assert_int_equal(syscall_fd(SYS_fsync, args, &is_path), 3);
	assert_int_equal(syscall_fd(SYS_mmap, args, &is_path), 5);
	assert_int_equal(syscall_fd(SYS_mmap, here, &is_path), SYSCALL_FD_NONE);
	assert_int_equal(syscall_fd(SYS_openat, args, &is_path), 3);
	assert_true(is_path);
	assert_int_equal(syscall_fd(SYS_statx, here, &is_path), SYSCALL_FD_NONE);
	assert_true(is_path);
	assert_int_equal(syscall_fd(SYS_chdir, args, &is_path), SYSCALL_FD_NONE);
	assert_true(is_path);
	assert_int_equal(syscall_fd(SYS_futex, args, &is_path), SYSCALL_FD_NONE);
	assert_false(is_path);
	assert_int_equal(syscall_fd(UINT64_MAX, args, &is_path), SYSCALL_FD_NONE);
	assert_false(is_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(ids_in_paths),
		cmocka_unit_test(bundles),
		cmocka_unit_test(storage),
		cmocka_unit_test(sockets),
		cmocka_unit_test(idle_waits),
		cmocka_unit_test(descriptors_of_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
