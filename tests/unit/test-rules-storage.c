/* FuseServerHung and FilesystemFrozen: positive, and what only looks like it. */
#include "rules-harness.h"

/* ---- FUSE -------------------------------------------------------------------------------- */

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
		{ fuse_in_a_container,
			{ "nsenter -t 4711 -p umount -N 4711 -l -- /volume", NULL } },
		{ fuse_in_a_zombie, { "nsenter -t 4713 -p umount -N 4713 -l -- /volume", NULL } },
		{ fuse_in_a_container_and_on_the_host,
			{ "nsenter -t 4711 -p umount -N 4711 -l -- /volume",
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
		"mountpoint -q /sys/fs/fuse/connections || "
		"mount -t fusectl none /sys/fs/fuse/connections; echo 1 > "
		"/sys/fs/fuse/connections/39/abort"));
	bench_done(&b);

	bench_judge(&b, fuse_private_fusectl, 0);
	bench_judge(&b, fuse_private_fusectl, 1);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN);
	assert_true(has_command(f,
		"mountpoint -q /sys/fs/fuse/connections || "
		"mount -t fusectl none /sys/fs/fuse/connections; echo 1 > "
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
	assert_true(has_command(f, "fsfreeze -u '/proc/50/root/mnt/it'\\''s here'"));
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
	};

	(void)state;
	look_alikes(rows, ELEMENTS(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hung_fuse_server),
		cmocka_unit_test(a_fuse_server_that_may_be_slow),
		cmocka_unit_test(a_stopped_fuse_server),
		cmocka_unit_test(unmounting_where_it_is_mounted),
		cmocka_unit_test(fuse_with_gaps),
		cmocka_unit_test(a_frozen_filesystem),
		cmocka_unit_test(what_only_looks_like_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
