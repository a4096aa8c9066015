/* FuseServerHung, FilesystemFrozen, RuncInitFrozen, MountLeakBusy: positive, and what only looks like it. */
#include "rules-harness.h"

#define FUSE_STACK "request_wait_answer\nfuse_simple_request\nfuse_file_read_iter\nvfs_read\n"

/* ---- FUSE -------------------------------------------------------------------------------- */

struct fuse_world {
	uint32_t server, victim, thread, mount, fuse;
};

static struct fuse_world fuse_world(
	struct evidence *e, char server_state, char thread_state, bool killed)
{
	struct fuse_world w;

	w.server = a_process(e, 812, "stuckfs", server_state, EVIDENCE_FUSE_SERVER);
	w.victim = a_process(e, 4711, "prometheus", 'S', EVIDENCE_INIT);
	e->processes[w.victim].thread_count = 2;
	w.mount = a_mount(e, "fuse.stuckfs", "/data", 0, 39);
	w.fuse = a_fuse(e, w.mount, w.server, 1);
	w.thread = a_thread(e, w.victim, 4713, thread_state, "request_wait_answer", FUSE_STACK);
	e->threads[w.thread].fd = 3;
	e->threads[w.thread].mount = w.mount;
	e->threads[w.thread].pending = killed ? KILL_BIT : 0;
	e->processes[w.victim].container =
		a_container(e, "prometheus", "prometheus", "930ca3", NONE);
	return w;
}

static void fuse_killed(struct evidence *e, unsigned n)
{
	(void)n;
	(void)fuse_world(e, 'S', 'D', true);
}

static void fuse_not_killed(struct evidence *e, unsigned n)
{
	(void)n;
	(void)fuse_world(e, 'S', 'S', false);
}

static void fuse_server_stopped(struct evidence *e, unsigned n)
{
	(void)n;
	(void)fuse_world(e, 'T', 'S', false);
}

static void fuse_server_stopped_unread(struct evidence *e, unsigned n)
{
	(void)n;
	(void)a_fuse(e, a_mount(e, "fuse.stuckfs", "/data", 0, 39),
		a_process(e, 812, "stuckfs", 'T', EVIDENCE_FUSE_SERVER), 1);
}

static void fuse_moves(struct evidence *e, unsigned n)
{
	struct fuse_world w = fuse_world(e, 'S', 'S', false);

	e->threads[w.thread].switches = 100 + n;
}

static void fuse_buffered_read(struct evidence *e, unsigned n)
{
	struct fuse_world w = fuse_world(e, 'S', 'D', false);

	(void)n;
	e->threads[w.thread].wchan = "folio_wait_bit_common";
	e->threads[w.thread].stack = "folio_wait_bit_common\nfilemap_get_pages\nfilemap_read\nfuse_"
				     "file_read_iter\nvfs_read\n";
}

static void fuse_nobody_waits(struct evidence *e, unsigned n)
{
	struct fuse_world w = fuse_world(e, 'T', 'S', false);

	(void)n;
	e->fuses[w.fuse].waiting = 0;
}

static void fuse_no_fusectl(struct evidence *e, unsigned n)
{
	struct fuse_world w = fuse_world(e, 'T', 'S', false);

	(void)n;
	e->fuses[w.fuse].has_waiting = false;
	e->node.fusectl_mounted = false;
	evidence_add_gap(e, "fuse connections", "no fusectl is mounted",
		"mount -t fusectl none /sys/fs/fuse/connections");
}

/* It was mounted for the looking, in no place that a shell would find. */
static void fuse_private_fusectl(struct evidence *e, unsigned n)
{
	(void)n;
	(void)fuse_world(e, 'S', 'D', true);
	e->node.fusectl_mounted = false;
}

/* The container has its own mount of it, at another place than the host. */
static void fuse_in_a_container(struct evidence *e, unsigned n)
{
	struct fuse_world w = fuse_world(e, 'S', 'D', true);

	(void)n;
	e->mounts[w.mount].ns = 77;
	e->mounts[w.mount].seen_by_pid = 4711;
	e->mounts[w.mount].point = "/volume";
}

/* ... of whom the leader is dead: it has no namespaces any more, its thread has. */
static void fuse_in_a_zombie(struct evidence *e, unsigned n)
{
	fuse_in_a_container(e, n);
	e->processes[1].state = 'Z';
}

static void fuse_in_a_container_and_on_the_host(struct evidence *e, unsigned n)
{
	fuse_in_a_container(e, n);
	e->fuses[0].mount = a_mount(e, "fuse.stuckfs", "/var/lib/kubelet/pods/x/mount", 0, 39);
	e->mounts[e->fuses[0].mount].fuse = 0;
}

/* Nobody knows whose namespace that is. */
static void fuse_nowhere(struct evidence *e, unsigned n)
{
	fuse_in_a_container(e, n);
	e->mounts[0].seen_by_pid = 0;
}

static void fuse_path_without_mount(struct evidence *e, unsigned n)
{
	struct fuse_world w = fuse_world(e, 'S', 'D', true);

	(void)n;
	e->threads[w.thread].mount = NONE;
	e->threads[w.thread].fd = -1;
}

static void fuse_two_connections(struct evidence *e, unsigned n)
{
	fuse_path_without_mount(e, n);
	(void)a_fuse(e, a_mount(e, "fuse.sshfs", "/home", 0, 41), NONE, 3);
}

static void is_the_fuse_of_prometheus(const struct finding *f)
{
	assert_int_equal(f->subject.pid, 4711);
	assert_int_equal(f->subject.tid, 4713);
	assert_string_equal(f->subject.mount, "/data");
	assert_string_equal(f->subject.device, "0:39");
	assert_string_equal(f->subject.container, "prometheus");
	assert_string_equal(f->subject.namespace, "demo");
}

static void a_hung_fuse_server(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, fuse_killed, 0);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_SUSPECTED);
	is_the_fuse_of_prometheus(f);
	assert_true(rules_memory_wants_ns(b.memory) > 0);
	bench_judge(&b, fuse_killed, 1);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN);
	is_the_fuse_of_prometheus(f);
	assert_int_equal(f->since_ns, REAL_START);
	assert_int_equal(f->severity, SEVERITY_CRITICAL);
	assert_true(says(f, "/sys/fs/fuse/connections/39/waiting"));
	assert_true(says(f, "request_wait_answer < fuse_simple_request"));
	assert_true(has_command(f, "echo 1 > /sys/fs/fuse/connections/39/abort"));
	assert_true(has_command(f, "kill -9 812"));
	assert_true(f->avoid_count >= 3);
	assert_non_null(strstr(f->summary, "stuckfs (pid 812) does not answer on /data"));
	assert_int_equal(rules_memory_wants_ns(b.memory), 0);
	bench_done(&b);
}

/* A living server may take seconds for one request: told after the second sample, proven after 8 s. */
static void a_fuse_server_that_may_be_slow(void **state)
{
	struct bench b = { 0 };

	(void)state;
	bench_judge(&b, fuse_not_killed, 0);
	nothing(&b, "a request of this moment");
	assert_true(rules_memory_wants_ns(b.memory) > 0);
	for (unsigned n = 1; n < 4; n++) {
		bench_judge(&b, fuse_not_killed, n);
		(void)only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_SUSPECTED);
	}
	bench_judge(&b, fuse_not_killed, 4);
	is_the_fuse_of_prometheus(only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN));
	bench_done(&b);
}

static void a_stopped_fuse_server(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, fuse_server_stopped, 0);
	(void)only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_SUSPECTED);
	bench_judge(&b, fuse_server_stopped, 1);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN);
	is_the_fuse_of_prometheus(f);
	assert_string_equal(f->advice[0].command, "kill -CONT 812");
	assert_non_null(strstr(f->summary, "is stopped"));
	bench_done(&b);

	bench_judge(&b, fuse_server_stopped_unread, 0);
	(void)only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_SUSPECTED);
	bench_judge(&b, fuse_server_stopped_unread, 1);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN);
	assert_string_equal(f->subject.device, "0:39");
	assert_int_equal(f->subject.tid, 0);
	bench_done(&b);
}

/* A mount point is a path of one mount namespace: in another it may be another mount. */
static void unmounting_where_it_is_mounted(void **state)
{
	static const struct {
		make_fn *make;
		const char *commands[2];
	} rows[] = {
		{ fuse_killed, { "umount -l -- /data", NULL } },
		{ fuse_in_a_container, { "umount -N 4711 -l -- /volume", NULL } },
		{ fuse_in_a_zombie, { "umount -N 4713 -l -- /volume", NULL } },
		{ fuse_in_a_container_and_on_the_host,
			{ "umount -N 4711 -l -- /volume",
				"umount -l -- /var/lib/kubelet/pods/x/mount" } },
		{ fuse_nowhere, { NULL, NULL } },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct bench b = { 0 };
		const struct finding *f;
		uint32_t asked = 0, told = 0;

		bench_judge(&b, rows[i].make, 0);
		bench_judge(&b, rows[i].make, 1);
		f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN);
		for (uint32_t k = 0; k < ELEMENTS(rows[i].commands) && rows[i].commands[k]; k++) {
			assert_true(has_command(f, rows[i].commands[k]));
			asked++;
		}
		for (uint32_t k = 0; k < f->advice_count; k++)
			told += strstr(f->advice[k].command, "umount") != NULL;
		assert_int_equal(told, asked);
		bench_done(&b);
	}
}

static void fuse_with_gaps(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	for (unsigned n = 0; n < 5; n++)
		bench_judge(&b, fuse_no_fusectl, n);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_SUSPECTED);
	assert_true(says(f, "no fusectl is mounted"));
	assert_true(has_command(f,
		"mount -t fusectl none /sys/fs/fuse/connections && echo 1 > "
		"/sys/fs/fuse/connections/39/abort"));
	bench_done(&b);

	bench_judge(&b, fuse_private_fusectl, 0);
	bench_judge(&b, fuse_private_fusectl, 1);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN);
	assert_true(has_command(f,
		"mount -t fusectl none /sys/fs/fuse/connections && echo 1 > "
		"/sys/fs/fuse/connections/39/abort"));
	bench_done(&b);

	/* The only connection with requests is the one. */
	bench_judge(&b, fuse_path_without_mount, 0);
	bench_judge(&b, fuse_path_without_mount, 1);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN);
	assert_string_equal(f->subject.device, "0:39");
	bench_done(&b);

	/* Of two it cannot be told, and nothing is aborted by guess. */
	bench_judge(&b, fuse_two_connections, 0);
	bench_judge(&b, fuse_two_connections, 1);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_SUSPECTED);
	assert_int_equal(f->subject.tid, 4713);
	for (uint32_t i = 0; i < f->advice_count; i++)
		assert_null(strstr(f->advice[i].command, "abort"));
	bench_done(&b);
}

/* ---- frozen filesystems ------------------------------------------------------------------ */

#define WRITE_STACK                                                                                \
	"percpu_rwsem_wait\n__percpu_down_read\nmnt_want_write\nopen_last_lookups\npath_openat\n"

static uint32_t frozen_world(struct evidence *e)
{
	uint32_t mount = a_mount(e, "ext4", "/mnt/it's here", 7, 0),
		 device = evidence_add_device(e);
	uint32_t p = a_process(e, 50, "writer", 'D', EVIDENCE_INIT), t;

	e->devices[device].name = "loop0";
	e->mounts[mount].device = device;
	t = a_thread(e, p, 50, 'D', "percpu_rwsem_wait", WRITE_STACK);
	e->threads[t].mount = mount;
	return t;
}

static void frozen_filesystem(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_world(e);
}

static void frozen_elsewhere(struct evidence *e, unsigned n)
{
	(void)frozen_world(e);
	(void)n;
	e->mounts[0].ns = 77;
	e->mounts[0].seen_by_pid = 50;
}

static void frozen_under_overlay(struct evidence *e, unsigned n)
{
	uint32_t t, p;

	(void)n;
	(void)frozen_world(e);
	p = a_process(e, 60, "app", 'D', EVIDENCE_IN_CONTAINER);
	t = a_thread(e, p, 60, 'D', "percpu_rwsem_wait",
		"percpu_rwsem_wait\nmnt_want_write\novl_want_write\novl_create_object\n");
	e->threads[t].mount = a_mount(e, "overlay", "/", 0, 55);
}

static void frozen_without_stack(struct evidence *e, unsigned n)
{
	uint32_t t = frozen_world(e);

	(void)n;
	e->threads[t].stack = "";
	evidence_add_gap(e, "kernel stacks", "not permitted", "CAP_SYS_ADMIN");
}

static void cgroup_rwsem(struct evidence *e, unsigned n)
{
	uint32_t t = frozen_world(e);

	(void)n;
	e->threads[t].stack = "percpu_rwsem_wait\n__percpu_down_write\ncgroup_attach_lock\ncgroup_"
			      "procs_write\nvfs_write\n";
}

static void stalled_device(struct evidence *e, unsigned n)
{
	(void)frozen_world(e);
	(void)n;
	e->devices[0].in_flight = 3;
}

/* Reads go on while it is frozen: something is always in flight, and is completed. */
static void frozen_and_read(struct evidence *e, unsigned n)
{
	(void)frozen_world(e);
	e->devices[0].in_flight = 2;
	e->devices[0].completed = 1000 + 7 * n;
}

static void busy_disk(struct evidence *e, unsigned n)
{
	uint32_t t = frozen_world(e);

	e->threads[t].wchan = "folio_wait_bit_common";
	e->threads[t].stack = "io_schedule\nfolio_wait_bit_common\nfilemap_get_pages\nfilemap_"
			      "read\next4_file_read_iter\n";
	e->threads[t].switches = 100 + 10 * n;
	e->devices[0].in_flight = 1;
}

static void killable_read(struct evidence *e, unsigned n)
{
	uint32_t t = frozen_world(e);

	(void)n;
	e->threads[t].wchan = "folio_wait_bit_common";
	e->threads[t].stack =
		"folio_wait_bit_common\nfilemap_get_pages\nfilemap_read\next4_file_read_iter\n";
}

static void vfork_parent(struct evidence *e, unsigned n)
{
	uint32_t t = frozen_world(e);

	(void)n;
	e->threads[t].wchan = "kernel_clone";
	e->threads[t].stack = "kernel_clone\n__do_sys_vfork\n";
}

static void a_frozen_filesystem(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, frozen_filesystem, 0);
	(void)only(&b, CAUSE_FILESYSTEM_FROZEN, CONFIDENCE_SUSPECTED);
	bench_judge(&b, frozen_filesystem, 1);
	f = only(&b, CAUSE_FILESYSTEM_FROZEN, CONFIDENCE_PROVEN);
	assert_string_equal(f->subject.mount, "/mnt/it's here");
	assert_string_equal(f->subject.device, "7:0");
	assert_int_equal(f->subject.tid, 50);
	assert_true(has_command(f, "fsfreeze -u '/mnt/it'\\''s here'"));
	assert_string_equal(f->advice[0].command, "fsfreeze -u '/mnt/it'\\''s here'");
	bench_done(&b);

	bench_judge(&b, frozen_elsewhere, 0);
	bench_judge(&b, frozen_elsewhere, 1);
	f = only(&b, CAUSE_FILESYSTEM_FROZEN, CONFIDENCE_PROVEN);
	assert_true(has_command(f, "nsenter -t 50 -m fsfreeze -u '/mnt/it'\\''s here'"));
	bench_done(&b);

	bench_judge(&b, frozen_under_overlay, 0);
	bench_judge(&b, frozen_under_overlay, 1);
	f = only(&b, CAUSE_FILESYSTEM_FROZEN, CONFIDENCE_PROVEN);
	assert_string_equal(f->subject.device, "7:0");
	assert_non_null(below(f, CAUSE_FILESYSTEM_FROZEN));
	bench_done(&b);

	/* In one look a device that is read cannot be told from one that is stalled. */
	bench_judge(&b, frozen_and_read, 0);
	nothing(&b, "a device that may be stalled");
	assert_true(rules_memory_wants_ns(b.memory) > 0);
	bench_judge(&b, frozen_and_read, 1);
	f = only(&b, CAUSE_FILESYSTEM_FROZEN, CONFIDENCE_PROVEN);
	assert_int_equal(f->since_ns, REAL_START);
	assert_true(says(f, "2, and reads go on: 7 were completed since the last look"));
	bench_done(&b);

	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, frozen_without_stack, n);
	f = only(&b, CAUSE_FILESYSTEM_FROZEN, CONFIDENCE_SUSPECTED);
	assert_true(says(f, "not permitted"));
	bench_done(&b);
}

/* ---- freezers ---------------------------------------------------------------------------- */

static uint32_t frozen_container(struct evidence *e, bool killed)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 20), c = a_container(e, "web", "app", "abc", d),
		 z = evidence_add_freezer(e);
	uint32_t p = a_process(e, 70, "app", 'D', EVIDENCE_INIT);

	e->freezers[z].path = "/kubepods/podx/abc";
	e->freezers[z].file = "/sys/fs/cgroup/freezer/kubepods/podx/abc/freezer.state";
	e->freezers[z].self = true;
	e->freezers[z].container = c;
	e->processes[p].container = c;
	e->processes[p].freezer = z;
	e->containers[c].init = p;
	e->containers[c].freezer = z;
	e->containers[c].pause = PAUSE_NO;
	(void)a_thread(e, p, 70, 'D', "hrtimer_nanosleep", "hrtimer_nanosleep\n");
	e->processes[p].pending_shared = killed ? KILL_BIT : 0;
	return z;
}

static void frozen_by_nobody(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, false);
}

static void frozen_and_killed(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, true);
}

static void frozen_on_purpose(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, false);
	e->freezers[0].on_purpose = true;
}

static void frozen_for_an_instant(struct evidence *e, unsigned n)
{
	if (n % 2 == 0)
		(void)frozen_container(e, false);
}

static void paused_on_purpose(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, false);
	e->containers[0].pause = PAUSE_YES;
}

/* Its shim is silent in the first samples, as on a busy node. */
static void paused_and_told_late(struct evidence *e, unsigned n)
{
	(void)frozen_container(e, true);
	e->containers[0].pause = n < 2 ? PAUSE_UNKNOWN : PAUSE_YES;
}

static void paused_and_then_silent(struct evidence *e, unsigned n)
{
	(void)frozen_container(e, true);
	e->containers[0].pause = n == 0 ? PAUSE_YES : PAUSE_UNKNOWN;
}

static void just_being_paused(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, false);
	e->containers[0].pause = PAUSE_UNDERWAY;
}

static void paused_for_ever(struct evidence *e, unsigned n)
{
	uint32_t z = frozen_container(e, false);

	(void)n;
	e->freezers[z].freezing = true;
	e->containers[0].pause = PAUSE_UNDERWAY;
}

static void frozen_runtime_silent(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, false);
	e->containers[0].pause = PAUSE_UNKNOWN;
}

static void killed_runtime_silent(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, true);
	e->containers[0].pause = PAUSE_UNKNOWN;
}

static void silent_on_a_starved_node(struct evidence *e, unsigned n)
{
	killed_runtime_silent(e, n);
	e->node.has_pressure = true;
	e->node.cpu_some = 90;
}

static void frozen_twice(struct evidence *e, unsigned n)
{
	uint32_t z;

	(void)n;
	(void)frozen_container(e, true);
	z = evidence_add_freezer(e);
	e->freezers[z].path = "/kubepods/podx/abc/inner";
	e->freezers[z].file = "/sys/fs/cgroup/freezer/kubepods/podx/abc/inner/freezer.state";
	e->freezers[z].self = true;
	e->freezers[z].container = 0;
}

static void frozen_user_slice(struct evidence *e, unsigned n)
{
	uint32_t z = evidence_add_freezer(e), p = a_process(e, 90, "job", 'D', 0);

	(void)n;
	e->freezers[z].path = "/user.slice/job";
	e->freezers[z].self = true;
	e->processes[p].freezer = z;
	(void)a_thread(e, p, 90, 'D', "refrigerator", "__refrigerator\n");
}

static void freezing_for_ever(struct evidence *e, unsigned n)
{
	uint32_t z = frozen_container(e, false);
	struct fuse_world w = fuse_world(e, 'S', 'D', true);

	(void)n;
	e->freezers[z].freezing = true;
	e->processes[w.victim].container = 0;
	e->processes[w.victim].freezer = z;
}

static void a_frozen_container(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, frozen_by_nobody, 0);
	nothing(&b, "a freeze of this moment");
	bench_judge(&b, frozen_by_nobody, 1);
	f = only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_PROVEN);
	assert_string_equal(f->subject.container_id, "abc");
	assert_string_equal(f->subject.mount, "/kubepods/podx/abc");
	assert_string_equal(f->advice[0].command,
		"echo THAWED > /sys/fs/cgroup/freezer/kubepods/podx/abc/freezer.state");
	bench_done(&b);

	bench_judge(&b, frozen_and_killed, 0);
	(void)only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_SUSPECTED);
	bench_judge(&b, frozen_and_killed, 1);
	(void)only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_PROVEN);
	bench_done(&b);

	bench_judge(&b, frozen_twice, 0);
	bench_judge(&b, frozen_twice, 1);
	f = only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_PROVEN);
	assert_true(has_command(
		f, "echo THAWED > /sys/fs/cgroup/freezer/kubepods/podx/abc/inner/freezer.state"));
	assert_true(has_command(
		f, "echo THAWED > /sys/fs/cgroup/freezer/kubepods/podx/abc/freezer.state"));
	bench_done(&b);

	/* As long as nobody has said that it was not paused, nothing is told: only when that has taken
	 * so long that it is trouble, too. */
	for (unsigned n = 0; n < 3; n++) {
		bench_judge(&b, frozen_runtime_silent, n);
		nothing(&b, "one of which nobody knows whether it was paused");
	}
	assert_true(rules_memory_wants_ns(b.memory) > 0);
	bench_judge(&b, frozen_runtime_silent, 3);
	f = only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_SUSPECTED);
	assert_true(says(f, "paused on purpose"));
	bench_done(&b);

	for (unsigned n = 0; n < 3; n++) {
		bench_judge(&b, killed_runtime_silent, n);
		nothing(&b, "a killed one of which nobody knows whether it was paused");
	}
	bench_judge(&b, killed_runtime_silent, 3);
	(void)only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_PROVEN);
	bench_done(&b);

	for (unsigned n = 0; n < 5; n++) {
		bench_judge(&b, silent_on_a_starved_node, n);
		nothing(&b, "silence on a starved node");
	}
	bench_judge(&b, silent_on_a_starved_node, 5);
	(void)only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_PROVEN);
	bench_done(&b);

	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, paused_for_ever, n);
	(void)only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_PROVEN);
	bench_done(&b);

	/* What cannot be frozen is deeper than the freezing. */
	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, freezing_for_ever, n);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN);
	assert_non_null(below(f, CAUSE_RUNC_INIT_FROZEN));
	bench_done(&b);
}

/* ---- leaked mounts ----------------------------------------------------------------------- */

static uint32_t leaked_mount(struct evidence *e, enum evidence_hold hold)
{
	uint32_t m = a_mount(e, "overlay", "/run/containerd/abc/rootfs", 0, 60),
		 busy = evidence_add_busy(e), h = evidence_add_holder(e);
	uint32_t c = a_container(e, "web", "app", "abc", NONE);

	e->containers[c].runtime_state = CONTAINER_EXITED;
	e->containers[c].kernel_state = LEDGER_GONE;
	e->busies[busy].path = "/run/containerd/abc/rootfs";
	e->busies[busy].message = "device or resource busy";
	e->busies[busy].mount = m;
	e->busies[busy].container = c;
	e->holders[h].mount = m;
	e->holders[h].hold = hold;
	e->holders[h].path = "/host/run/con tainerd/abc/rootfs";
	if (hold != HOLD_PIN)
		e->holders[h].process = a_process(e, 300, "nginx", 'S', EVIDENCE_HOLDER);
	return h;
}

static void leaked_namespace(struct evidence *e, unsigned n)
{
	(void)n;
	(void)leaked_mount(e, HOLD_NAMESPACE);
}

static void leaked_pin(struct evidence *e, unsigned n)
{
	(void)n;
	(void)leaked_mount(e, HOLD_PIN);
	e->holders[0].path = "/run/netns/pinned";
}

static void busy_without_holder(struct evidence *e, unsigned n)
{
	(void)n;
	(void)leaked_mount(e, HOLD_FD);
	e->holders[0].mount = NONE;
}

static void busy_by_its_own(struct evidence *e, unsigned n)
{
	uint32_t h = leaked_mount(e, HOLD_FD);

	(void)n;
	e->containers[0].kernel_state = LEDGER_ALIVE;
	e->processes[e->holders[h].process].container = 0;
}

static void a_leaked_mount(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, leaked_namespace, 0);
	(void)only(&b, CAUSE_MOUNT_LEAK_BUSY, CONFIDENCE_SUSPECTED);
	bench_judge(&b, leaked_namespace, 1);
	f = only(&b, CAUSE_MOUNT_LEAK_BUSY, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.pid, 300);
	assert_string_equal(f->subject.mount, "/run/containerd/abc/rootfs");
	assert_string_equal(f->subject.container_id, "abc");
	assert_string_equal(f->advice[0].command,
		"nsenter -t 300 -m umount -- '/host/run/con tainerd/abc/rootfs'");
	bench_done(&b);

	bench_judge(&b, leaked_pin, 0);
	bench_judge(&b, leaked_pin, 1);
	f = only(&b, CAUSE_MOUNT_LEAK_BUSY, CONFIDENCE_PROVEN);
	assert_true(has_command(
		f, "nsenter --mount=/run/netns/pinned umount -- /run/containerd/abc/rootfs"));
	bench_done(&b);

	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, busy_without_holder, n);
	f = only(&b, CAUSE_MOUNT_LEAK_BUSY, CONFIDENCE_SUSPECTED);
	assert_true(says(f, "not looked at"));
	bench_done(&b);
}

/* ---- room -------------------------------------------------------------------------------- */

static struct evidence_space *a_space(
	struct evidence *e, enum evidence_space_of of, const char *path, uint64_t free_bytes)
{
	uint32_t i = evidence_add_space(e);
	struct evidence_space *s = &e->spaces[i];

	*s = (struct evidence_space){ .of = of,
		.path = path,
		.daemon = EVIDENCE_NONE,
		.fs_type = 0xef53,
		.total_bytes = UINT64_C(10) << 30,
		.free_bytes = free_bytes,
		.available_bytes = free_bytes,
		.files = 1000000,
		.files_free = 500000 };
	an_answer(&s->call, "statfs", ANSWER_OK, 1000);
	return s;
}

static void disk_full(struct evidence *e, unsigned n)
{
	(void)n;
	(void)a_space(e, SPACE_ROOT, "/var/lib/containerd", 4096);
	/* On the same filesystem: one finding. */
	(void)a_space(e, SPACE_LOG, "/var/log/pods", 4096);
}

static void disk_full_but_for_root(struct evidence *e, unsigned n)
{
	(void)n;
	a_space(e, SPACE_ROOT, "/var/lib/containerd", UINT64_C(500) << 20)->available_bytes = 0;
}

static void inodes_out(struct evidence *e, unsigned n)
{
	(void)n;
	a_space(e, SPACE_ROOT, "/var/lib/docker", UINT64_C(5) << 30)->files_free = 3;
}

static void run_full(struct evidence *e, unsigned n)
{
	(void)n;
	a_space(e, SPACE_STATE, "/run/containerd", 0)->fs_type = 0x01021994;
}

static void nearly_full(struct evidence *e, unsigned n)
{
	(void)n;
	/* Under a hundredth, but room for much; and a filesystem that counts no inodes. */
	a_space(e, SPACE_ROOT, "/var/lib/containerd", UINT64_C(80) << 20)->files = 0;
	e->spaces[0].files_free = 0;
}

static void fds_out(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 300);

	(void)n;
	e->processes[e->daemons[d].process].fd_count = 1022;
	e->processes[e->daemons[d].process].fd_limit = 1024;
	/* It is why the daemon does not answer. */
	an_answer(&e->daemons[d].version, "Version", ANSWER_LATE, 60 * NSEC_PER_SEC);
}

static void inotify_out(struct evidence *e, unsigned n)
{
	(void)n;
	e->inotify = (struct evidence_inotify){ .is_out = true,
		.uid = 0,
		.used = 128,
		.max = 128,
		.processes = 9,
		.pid = 4711,
		.comm = "promtail",
		.of_one = 90,
		.is_whole = true };
}

static void watches_out(struct evidence *e, unsigned n)
{
	inotify_out(e, n);
	e->inotify.lacks_watches = true;
	e->inotify.max = 8192;
	e->inotify.is_whole = false;
}

/* A quota of a tenth of a second; `waits` of the 20 periods between two samples are spent waiting. */
static void quota(struct evidence *e, unsigned n, unsigned waits)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 300);
	struct evidence_process *p = &e->processes[e->daemons[d].process];

	p->roles |= EVIDENCE_DAEMON;
	p->cpu_path = "/sys/fs/cgroup/cpu/system.slice";
	p->cpu_periods = 1000 + 20 * n;
	p->cpu_throttled = 900 + waits;
	p->cpu_throttled_ns = 80 * NSEC_PER_SEC;
}

static void waits_always(struct evidence *e, unsigned n)
{
	quota(e, n, 20 * n);
}

/* Of the 5 periods that there have been one was spent waiting: a fifth. */
static void waits_in_few_periods(struct evidence *e, unsigned n)
{
	quota(e, n, n);
	e->processes[0].cpu_periods = 1000 + 5 * n;
}

static void waits_seldom(struct evidence *e, unsigned n)
{
	quota(e, n, 4 * n);
}

static void starved(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, waits_always, 0);
	nothing(&b, "one look says nothing of now");
	for (unsigned n = 1; n < 4; n++) {
		bench_judge(&b, waits_always, n);
		(void)only(&b, CAUSE_DAEMON_OR_KUBELET_CPU_STARVED, CONFIDENCE_SUSPECTED);
	}
	bench_judge(&b, waits_always, 4);
	f = only(&b, CAUSE_DAEMON_OR_KUBELET_CPU_STARVED, CONFIDENCE_PROVEN);
	assert_non_null(strstr(f->summary, "waits in 20 of 20 periods"));
	assert_string_equal(f->subject.mount, "/sys/fs/cgroup/cpu/system.slice");
	bench_done(&b);
}

static void fds_are_many(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 300);

	(void)n;
	e->processes[e->daemons[d].process].fd_count = 900;
	e->processes[e->daemons[d].process].fd_limit = 1024;
}

/* 95 of a hundred, of a limit that is no round number: 973 of 1024. */
static void fds_nearly_out(struct evidence *e, unsigned n)
{
	fds_are_many(e, n);
	e->processes[0].fd_count = 973;
}

static void fds_just_below(struct evidence *e, unsigned n)
{
	fds_are_many(e, n);
	e->processes[0].fd_count = 972;
}

static void fds_of_no_limit(struct evidence *e, unsigned n)
{
	fds_are_many(e, n);
	e->processes[0].fd_limit = UINT64_MAX;
}

static void pids_out(struct evidence *e, unsigned n)
{
	uint32_t p = a_process(e, 900, "app", 'S', EVIDENCE_INIT),
		 other = a_process(e, 901, "app2", 'S', EVIDENCE_INIT);

	(void)n;
	e->processes[p].container = a_container(e, "shop", "app", "930ca3", NONE);
	e->processes[p].pids_path = e->processes[other].pids_path = "/sys/fs/cgroup/pids/pod";
	e->processes[p].pids_current = e->processes[other].pids_current = 64;
	e->processes[p].pids_max = e->processes[other].pids_max = 64;
}

static void full_for_an_instant(struct evidence *e, unsigned n)
{
	(void)a_space(e, SPACE_ROOT, "/var/lib/containerd", n % 2 ? 4096 : UINT64_C(5) << 30);
}

static void hangs_when_asked(struct evidence *e, unsigned n)
{
	(void)n;
	a_space(e, SPACE_ROOT, "/var/lib/containerd", 0)->call.answer = ANSWER_LATE;
}

static void what_only_looks_like_it(void **state)
{
	static const struct scenario rows[] = {
		{ "FUSE requests that are answered", fuse_moves },
		{ "a buffered read of FUSE", fuse_buffered_read },
		{ "a stopped server that nobody waits for", fuse_nobody_waits },
		{ "the rwsem of cgroups", cgroup_rwsem },
		{ "a stalled device", stalled_device },
		{ "a busy disk", busy_disk },
		{ "a killable read", killable_read },
		{ "the parent of a vfork", vfork_parent },
		{ "docker pause", frozen_on_purpose },
		{ "ctr task pause", paused_on_purpose },
		{ "a pause that is told late", paused_and_told_late },
		{ "a pause that is told once", paused_and_then_silent },
		{ "a pause that is just being made", just_being_paused },
		{ "runc update", frozen_for_an_instant },
		{ "a frozen job of a user", frozen_user_slice },
		{ "a container's own file", busy_by_its_own },
		{ "many descriptors", fds_are_many },
		{ "a little less than 95 of a hundred", fds_just_below },
		{ "descriptors without a limit", fds_of_no_limit },
		{ "a quota that is nearly used up", waits_seldom },
		{ "a quota that is used up in a fifth of few periods", waits_in_few_periods },
		{ "a disk that is nearly full", nearly_full },
		{ "a disk that does not answer", hangs_when_asked },
	};

	(void)state;
	look_alikes(rows, ELEMENTS(rows));
}

static void no_room(void **state)
{
	static const struct {
		make_fn *make;
		enum cause cause;
		enum finding_severity severity;
		const char *path, *says;
	} rows[] = {
		{ disk_full, CAUSE_NODE_DISK_FULL, SEVERITY_CRITICAL, "/var/lib/containerd",
			"no room left:" },
		{ disk_full_but_for_root, CAUSE_NODE_DISK_FULL, SEVERITY_WARNING,
			"/var/lib/containerd", "no room left but for root:" },
		{ inodes_out, CAUSE_INODES_EXHAUSTED, SEVERITY_CRITICAL, "/var/lib/docker",
			"no inodes left:" },
		{ run_full, CAUSE_RUN_TMPFS_FULL, SEVERITY_CRITICAL, "/run/containerd",
			"no room left:" },
		{ fds_out, CAUSE_FD_EXHAUSTED, SEVERITY_CRITICAL, "", "1022 of 1024 descriptors" },
		{ inotify_out, CAUSE_INOTIFY_EXHAUSTED, SEVERITY_CRITICAL,
			"/proc/sys/fs/inotify/max_user_instances", "no inotify instances left" },
		{ watches_out, CAUSE_INOTIFY_EXHAUSTED, SEVERITY_CRITICAL,
			"/proc/sys/fs/inotify/max_user_watches", "no inotify watches left" },
		{ fds_nearly_out, CAUSE_FD_EXHAUSTED, SEVERITY_CRITICAL, "",
			"973 of 1024 descriptors" },
		{ pids_out, CAUSE_PIDS_EXHAUSTED, SEVERITY_WARNING, "/sys/fs/cgroup/pids/pod",
			"64 of 64 processes" },
	};
	struct bench b = { 0 };

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		const struct finding *f;

		bench_judge(&b, rows[i].make, 0);
		(void)only(&b, rows[i].cause, CONFIDENCE_SUSPECTED);
		bench_judge(&b, rows[i].make, 1);
		f = only(&b, rows[i].cause, CONFIDENCE_PROVEN);
		assert_int_equal(f->severity, rows[i].severity);
		assert_string_equal(f->subject.mount, rows[i].path);
		assert_non_null(strstr(f->summary, rows[i].says));
		bench_done(&b);
	}
	for (unsigned n = 0; n < 4; n++) {
		bench_judge(&b, full_for_an_instant, n);
		for (uint32_t i = 0; i < findings_count(b.out); i++)
			assert_int_equal(findings_get(b.out, i)->confidence, CONFIDENCE_SUSPECTED);
	}
	bench_done(&b);
}

static void inotify_tells_who(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;
	bool has_eater = false;

	(void)state;
	bench_judge(&b, inotify_out, 0);
	bench_judge(&b, inotify_out, 1);
	f = only(&b, CAUSE_INOTIFY_EXHAUSTED, CONFIDENCE_PROVEN);
	for (uint32_t i = 0; i < f->evidence_count; i++)
		has_eater = has_eater || str_eq(f->evidence[i].value, "promtail (pid 4711): 90");
	assert_true(has_eater);
	assert_string_equal(f->advice[0].command, "sysctl -w fs.inotify.max_user_instances=512");
	assert_int_equal(f->advice[0].risk, RISK_NONE);
	bench_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inotify_tells_who),
		cmocka_unit_test(a_hung_fuse_server),
		cmocka_unit_test(a_fuse_server_that_may_be_slow),
		cmocka_unit_test(a_stopped_fuse_server),
		cmocka_unit_test(unmounting_where_it_is_mounted),
		cmocka_unit_test(fuse_with_gaps),
		cmocka_unit_test(a_frozen_filesystem),
		cmocka_unit_test(a_frozen_container),
		cmocka_unit_test(a_leaked_mount),
		cmocka_unit_test(no_room),
		cmocka_unit_test(starved),
		cmocka_unit_test(what_only_looks_like_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
