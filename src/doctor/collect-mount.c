/*
 * Mounts: those that somebody waits on, FUSE ones, and those that are left in a mount namespace
 * where nobody unmounts them. A namespace is read once, from one of its processes; a filesystem is
 * known by its device, never by looking at it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "doctor/collect-internal.h"
#include "kernel/block.h"
#include "kernel/fuse.h"

_Static_assert(MOUNT_NOTE_NONE == EVIDENCE_NONE, "a mount that is not in the sample is no note");

/* --- into the sample --- */

static uint32_t fuse_of(struct collect *c, uint32_t minor, uint32_t mount)
{
	struct evidence *e = c->evidence;
	uint64_t waiting;
	uint32_t i;

	for (i = 0; i < e->fuse_count; i++)
		if (e->fuses[i].minor == minor) {
			if (e->fuses[i].mount == EVIDENCE_NONE)
				e->fuses[i].mount = mount;
			return i;
		}
	i = evidence_add_fuse(e);
	if (i == EVIDENCE_NONE)
		return i;
	e->fuses[i].minor = minor;
	e->fuses[i].mount = mount;
	if (c->fuse_fd >= 0 && fuse_read_waiting(c->fuse_fd, minor, &waiting) == 0) {
		e->fuses[i].has_waiting = true;
		e->fuses[i].waiting = waiting;
	}
	return i;
}

static uint32_t device_of(struct collect *c, uint32_t major, uint32_t minor)
{
	struct evidence *e = c->evidence;
	struct block_device d;
	uint32_t i;

	for (i = 0; i < e->device_count; i++)
		if (e->devices[i].major == major && e->devices[i].minor == minor)
			return i;
	if (block_read(major, minor, &d) < 0)
		return EVIDENCE_NONE;
	i = evidence_add_device(e);
	if (i == EVIDENCE_NONE)
		return i;
	e->devices[i].major = major;
	e->devices[i].minor = minor;
	e->devices[i].name = evidence_text(e, d.name);
	e->devices[i].state = evidence_text(e, d.state);
	e->devices[i].in_flight = d.stat.in_flight;
	e->devices[i].completed = d.stat.completed;
	return i;
}

static const char *decoded(struct evidence *e, struct slice s)
{
	char text[MOUNTINFO_PATH_MAX];
	size_t len = mountinfo_decode(text, sizeof(text), s);

	return evidence_copy(e, text, len);
}

uint32_t collect_add_mount(
	struct collect *c, const struct mountinfo_line *line, uint64_t ns, int32_t pid)
{
	struct evidence *e = c->evidence;
	char id[IDENTITY_ID_LEN + 1];
	uint32_t i;

	for (i = 0; i < e->mount_count; i++)
		if (e->mounts[i].mount_id == line->id && e->mounts[i].ns == ns)
			return i;
	i = evidence_add_mount(e);
	if (i == EVIDENCE_NONE)
		return i;
	e->mounts[i].mount_id = line->id;
	e->mounts[i].major = line->major;
	e->mounts[i].minor = line->minor;
	e->mounts[i].type = decoded(e, line->type);
	e->mounts[i].source = decoded(e, line->source);
	e->mounts[i].point = decoded(e, line->point);
	e->mounts[i].ns = ns;
	e->mounts[i].seen_by_pid = pid;
	if (line->major == 0 && fuse_is_type(line->type.data, line->type.len))
		e->mounts[i].fuse = fuse_of(c, line->minor, i);
	if (line->major != 0)
		e->mounts[i].device = device_of(c, line->major, line->minor);
	if (identity_find_id(line->point, id))
		e->mounts[i].container = collect_find_container(c, id);
	return i;
}

/* --- one process's mounts --- */

void collect_table_done(struct collect_table *table)
{
	mount_table_done(&table->mounts);
	*table = (struct collect_table){ 0 };
}

static bool has_room_for_mounts(struct collect *c)
{
	if (c->mounts_read <= COLLECT_MOUNTS_BYTES)
		return true;
	evidence_add_gap(c->evidence, "mounts of all namespaces",
		"there are too many of them to read in one look", "");
	return false;
}

bool collect_load_mounts(struct collect *c, const struct seen *s, int32_t tid, uint64_t *ret_ns)
{
	struct collect_table *table = &c->table;
	char *text;
	size_t len;
	uint64_t ns;
	int r = proc_read_ns(c->proc_fd, s->pid, tid, PROC_NS_MNT, &ns);

	if (r == -EACCES || r == -EPERM)
		evidence_add_gap(c->evidence, "mounts of other processes", "not permitted",
			"run as root, with CAP_SYS_PTRACE");
	if (r < 0)
		return false;
	*ret_ns = ns;
	if (table->mounts.text && table->ns == ns)
		return true;
	collect_table_done(table);
	if (!has_room_for_mounts(c) || mountinfo_read(c->proc_fd, s->pid, tid, &text, &len) < 0)
		return false;
	c->mounts_read += len;
	if (mount_table_take(&table->mounts, text, len) < 0) {
		c->evidence->left_out++;
		return false;
	}
	table->ns = ns;
	return true;
}

uint32_t collect_mount_by_id(struct collect *c, uint64_t ns, int32_t pid, int32_t mount_id)
{
	const struct mount_table *mounts = &c->table.mounts;
	struct mount_row *row = mount_table_find(mounts, mount_id);
	struct mountinfo_line line;

	if (!row)
		return EVIDENCE_NONE;
	if (row->note == MOUNT_NOTE_NONE) {
		line = mount_table_line(mounts, row);
		row->note = collect_add_mount(c, &line, ns, pid);
	}
	return row->note;
}

static uint32_t find_by_path(struct collect *c, uint64_t ns, int32_t pid, const char *path)
{
	struct mountinfo_line line, best = { 0 };
	char point[MOUNTINFO_PATH_MAX];
	size_t at = 0, best_len = 0;
	int r;

	while ((r = mountinfo_next(c->table.mounts.text, c->table.mounts.len, &at, &line)) != 0) {
		size_t len;
		const char *rest;

		if (r < 0)
			continue;
		len = mountinfo_decode(point, sizeof(point), line.point);
		rest = str_after(path, point);
		/* The later of two at the same place is on top. */
		if (rest && len >= best_len && (len == 1 || *rest == '/' || *rest == '\0')) {
			best = line;
			best_len = len;
		}
	}
	return best_len > 0 ? collect_add_mount(c, &best, ns, pid) : EVIDENCE_NONE;
}

uint32_t collect_mount_by_path(struct collect *c, uint64_t ns, int32_t pid, const char *path)
{
	const char *kept = evidence_text(c->evidence, path);
	struct collect_table *table = &c->table;
	uint32_t mount;

	for (uint32_t i = 0; i < table->path_count; i++)
		if (table->paths[i].path == kept)
			return table->paths[i].mount;
	mount = find_by_path(c, ns, pid, path);
	if (table->path_count < COLLECT_PATHS_MAX && *kept != '\0') {
		table->paths[table->path_count].path = kept;
		table->paths[table->path_count++].mount = mount;
	}
	return mount;
}

static uint32_t find_waiting(struct collect *c, uint64_t ns, int32_t pid)
{
	struct mountinfo_line line, found = { 0 };
	bool any = false;
	size_t at = 0;
	int r;

	while ((r = mountinfo_next(c->table.mounts.text, c->table.mounts.len, &at, &line)) != 0) {
		uint64_t waiting;

		if (r < 0 || line.major != 0 || !fuse_is_type(line.type.data, line.type.len))
			continue;
		if (c->fuse_fd >= 0 &&
			(fuse_read_waiting(c->fuse_fd, line.minor, &waiting) < 0 || waiting == 0))
			continue;
		if (any && line.minor != found.minor)
			return EVIDENCE_NONE; /* Two, and nothing tells which. */
		found = any ? found : line;
		any = true;
	}
	return any ? collect_add_mount(c, &found, ns, pid) : EVIDENCE_NONE;
}

uint32_t collect_mount_waiting(struct collect *c, uint64_t ns, int32_t pid)
{
	if (!c->table.waiting_known) {
		c->table.waiting = find_waiting(c, ns, pid);
		c->table.waiting_known = true;
	}
	return c->table.waiting;
}

/* --- all namespaces --- */

static bool is_reference(const struct collect *c, const struct seen *s, uint64_t ns)
{
	return ns == c->evidence->node.mount_ns || s->kind == IDENTITY_DAEMON ||
		s->kind == IDENTITY_SHIM || s->pid == c->self_pid;
}

static void note_namespace(struct collect *c, struct seen *s)
{
	int32_t tid = s->state == 'Z' ? s->live_tid : 0;
	struct collect_ns *n;
	uint64_t ns;

	if ((s->state == 'Z' && tid == 0) ||
		proc_read_ns(c->proc_fd, s->pid, tid, PROC_NS_MNT, &ns) < 0)
		return;
	s->mount_ns = ns;
	n = table_get(&c->namespace_table, (const char *)&ns, sizeof(ns));
	if (n) {
		n->is_reference = n->is_reference || is_reference(c, s, ns);
		return;
	}
	if (c->namespace_count == COLLECT_NAMESPACES_MAX) {
		c->evidence->left_out++;
		return;
	}
	n = &c->namespaces[c->namespace_count];
	*n = (struct collect_ns){
		.inode = ns,
		.pid = s->pid,
		.tid = tid,
		.seen = (uint32_t)(s - c->seen),
		.is_reference = is_reference(c, s, ns),
	};
	if (table_put(&c->namespace_table, (const char *)&n->inode, sizeof(n->inode), n) >= 0)
		c->namespace_count++;
}

static void note_reference_device(struct collect *c, uint32_t major, uint32_t minor)
{
	uint64_t device = (uint64_t)major << 32 | minor;

	/* Neighbours are often the same: bind mounts. */
	if (c->reference_count > 0 && c->reference_devices[c->reference_count - 1] == device)
		return;
	if (c->reference_count == c->reference_room) {
		uint32_t room = c->reference_room ? c->reference_room * 2 : 256;
		void *grown = mem_resize(c->reference_devices, room, sizeof(uint64_t));

		if (!grown) {
			c->evidence->left_out++;
			return;
		}
		c->reference_devices = grown;
		c->reference_room = room;
	}
	c->reference_devices[c->reference_count++] = device;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool is_reference_device(const struct collect *c, uint32_t major, uint32_t minor)
{
	uint64_t device = (uint64_t)major << 32 | minor;

	return c->reference_count > 0 &&
		bsearch(&device, c->reference_devices, c->reference_count, sizeof(device),
			compare_u64);
}

/* A mount namespace that keeps this mount; false: there is no room for more. */
static bool add_holder(
	struct collect *c, const struct collect_ns *n, uint32_t mount, const char *point)
{
	struct evidence *e = c->evidence;
	uint32_t process = collect_add_process(c, &c->seen[n->seen], EVIDENCE_HOLDER);
	uint32_t i = evidence_add_holder(e);

	if (i == EVIDENCE_NONE)
		return false;
	e->holders[i].mount = mount;
	e->holders[i].hold = HOLD_NAMESPACE;
	e->holders[i].process = process;
	e->holders[i].ns = n->inode;
	e->holders[i].path = evidence_text(e, point);
	return true;
}

/* A device that cannot be detached or formatted. The copy of a filesystem without one keeps nobody from
 * anything, and goes when the folder is removed that it is mounted on. btrfs has a number of its own. */
static bool is_on_device(const struct mountinfo_line *line)
{
	static const char dev[] = "/dev/";

	return line->major != 0 ||
		(line->source.len > sizeof(dev) - 1 &&
			memcmp(line->source.data, dev, sizeof(dev) - 1) == 0);
}

/* Where mounts are made and unmade this filesystem is not mounted any more, and here it is. */
static void note_leak(
	struct collect *c, const struct collect_ns *n, const struct mountinfo_line *line)
{
	struct evidence *e = c->evidence;
	struct seen *s = &c->seen[n->seen];
	char point[MOUNTINFO_PATH_MAX], id[IDENTITY_ID_LEN + 1];
	uint32_t mount, i;

	if (!is_on_device(line))
		return;
	(void)mountinfo_decode(point, sizeof(point), line->point);
	if (!identity_is_storage_path(point))
		return;
	/* A container has its own under other names; under its own id it is at home. */
	if (identity_find_id(SLICE(point), id) && str_eq(id, s->container_id))
		return;
	mount = collect_add_mount(c, line, n->inode, n->pid);
	if (!add_holder(c, n, mount, point))
		return;
	i = evidence_add_busy(e);
	if (i == EVIDENCE_NONE)
		return;
	e->busies[i].path = evidence_text(e, point);
	e->busies[i].mount = mount;
	e->busies[i].message = evidence_text(
		e, "mounted in another mount namespace only, where nobody will unmount it");
}

/* Told of as busy: by its place, or, once the host has it no more, by its device. */
static void note_told(
	struct collect *c, const struct collect_ns *n, const struct mountinfo_line *line)
{
	struct evidence *e = c->evidence;

	for (uint32_t b = 0; b < c->told_busies; b++) {
		char point[MOUNTINFO_PATH_MAX];
		uint32_t mount = e->busies[b].mount;
		bool same_device = mount != EVIDENCE_NONE &&
			e->mounts[mount].major == line->major &&
			e->mounts[mount].minor == line->minor;

		(void)mountinfo_decode(point, sizeof(point), line->point);
		if (!same_device && !str_eq(point, e->busies[b].path))
			continue;
		if (mount == EVIDENCE_NONE)
			mount = e->busies[b].mount = collect_add_mount(c, line, n->inode, n->pid);
		if (n->is_reference)
			continue;
		if (!add_holder(c, n, mount, point))
			return;
	}
}

/* A namespace of which this mount is the handle, and that no process is in. */
static void note_pin(struct collect *c, const struct mountinfo_line *line)
{
	struct collect_pin *pin = &c->pins[c->pin_count];
	char point[MOUNTINFO_PATH_MAX];
	uint64_t inode;
	size_t len;

	if (c->pin_count == COLLECT_PINS_MAX || !slice_eq(line->type, SLICE("nsfs")) ||
		!mountinfo_is_mount_namespace(line->root, &inode) ||
		table_get(&c->namespace_table, (const char *)&inode, sizeof(inode)))
		return;
	len = mountinfo_decode(point, sizeof(point), line->point);
	*pin = (struct collect_pin){ inode, evidence_copy(c->evidence, point, len) };
	c->pin_count++;
}

/* --- bundles --- */

/* Who has a process, and whose init has lost its shim. */
static void note_containers(struct collect *c)
{
	struct evidence *e = c->evidence;

	collect_link_inits(c);
	c->has_process_count = e->container_count;
	c->has_process = mem_array(e->container_count, sizeof(*c->has_process));
	if (!c->has_process) {
		c->has_process_count = 0;
		e->left_out++;
		return;
	}
	for (uint32_t i = 0; i < e->process_count; i++) {
		const struct evidence_process *p = &e->processes[i];
		uint32_t shim;

		if (p->container == EVIDENCE_NONE || p->container >= c->has_process_count)
			continue;
		if (p->state != 'Z' || p->thread_count > 1)
			c->has_process[p->container] = true;
		if ((p->roles & EVIDENCE_INIT) == 0 || p->parent == EVIDENCE_NONE ||
			c->orphan_count == COLLECT_ORPHANS_MAX ||
			e->containers[p->container].shim != EVIDENCE_NONE ||
			(e->processes[p->parent].roles &
				(EVIDENCE_SHIM | EVIDENCE_OCI_RUNTIME | EVIDENCE_DAEMON)) != 0)
			continue;
		shim = evidence_add_shim(e);
		if (shim == EVIDENCE_NONE)
			return;
		e->containers[p->container].shim = shim;
		c->orphans[c->orphan_count++] = (struct collect_orphan){ shim, 0 };
	}
}

static void watch(struct collect *c, const struct collect_ns *n, const struct mountinfo_line *line,
	const char *point)
{
	struct collect_watched *w = &c->watched[c->watched_count];

	for (uint32_t i = 0; i < c->watched_count; i++)
		if (str_eq(c->watched[i].path, point))
			return;
	if (c->watched_count == COLLECT_WATCHED_MAX) {
		c->evidence->left_out++;
		return;
	}
	*w = (struct collect_watched){ evidence_text(c->evidence, point),
		"its container has no process any more, and it is mounted", EVIDENCE_NONE,
		EVIDENCE_NONE };
	w->mount = collect_add_mount(c, line, n->inode, n->pid);
	if (w->mount != EVIDENCE_NONE)
		c->watched_count++;
}

/* The root filesystem of a container lies in its bundle: of one that has lost its shim that is where
 * the shim's address stands; of one without a process somebody may hold it. */
static void note_root(
	struct collect *c, const struct collect_ns *n, const struct mountinfo_line *line)
{
	struct evidence *e = c->evidence;
	char point[MOUNTINFO_PATH_MAX], id[IDENTITY_ID_LEN + 1];
	struct slice namespace, bundle_id;
	uint32_t container;
	size_t len;

	len = mountinfo_decode(point, sizeof(point), line->point);
	if (len <= 7 || !str_eq(point + len - 7, "/rootfs") || !identity_find_id(SLICE(point), id))
		return;
	container = collect_find_container(c, id);
	if (container == EVIDENCE_NONE || container >= c->has_process_count ||
		!c->has_process[container])
		watch(c, n, line, point);
	point[len - 7] = '\0';
	if (container == EVIDENCE_NONE || !identity_of_bundle(point, &namespace, &bundle_id))
		return;
	for (uint32_t i = 0; i < c->orphan_count; i++)
		if (c->orphans[i].shim == e->containers[container].shim &&
			c->orphans[i].ns_pid == 0) {
			c->orphans[i].ns_pid = n->pid;
			e->shims[c->orphans[i].shim].bundle = evidence_text(e, point);
		}
}

static void read_namespace(struct collect *c, const struct collect_ns *n)
{
	CLEAN(mem_freep) char *text = NULL;
	struct mountinfo_line line;
	size_t len = 0, at = 0;
	int r;

	if (!has_room_for_mounts(c))
		return;
	if (mountinfo_read(c->proc_fd, n->pid, n->tid, &text, &len) < 0)
		return;
	c->mounts_read += len;
	while ((r = mountinfo_next(text, len, &at, &line)) != 0) {
		if (r < 0)
			continue;
		if (n->is_reference)
			note_reference_device(c, line.major, line.minor);
		else if (!is_reference_device(c, line.major, line.minor))
			note_leak(c, n, &line);
		if (n->is_reference) {
			note_pin(c, &line);
			note_root(c, n, &line);
		}
		note_told(c, n, &line);
		/* One mount for each connection, whoever has it mounted. */
		if (line.major == 0 && fuse_is_type(line.type.data, line.type.len)) {
			uint32_t fuse = fuse_of(c, line.minor, EVIDENCE_NONE);

			if (fuse != EVIDENCE_NONE &&
				c->evidence->fuses[fuse].mount == EVIDENCE_NONE)
				(void)collect_add_mount(c, &line, n->inode, n->pid);
		}
	}
}

/* Once through all processes for their namespaces, then the reference ones, then the others. */
enum collect_step collect_mounts(struct collect *c)
{
	uint32_t at;

	if (c->cursor2 == 0 && c->cursor < c->seen_count) {
		note_namespace(c, &c->seen[c->cursor++]);
		return COLLECT_MORE;
	}
	if (c->cursor2 == 0) {
		note_containers(c);
		c->cursor = 0;
		c->cursor2 = 1;
	}
	if (c->cursor == c->namespace_count) {
		if (c->cursor2 == 2)
			return COLLECT_NEXT;
		if (c->reference_count > 0)
			qsort(c->reference_devices, c->reference_count, sizeof(uint64_t),
				compare_u64);
		c->cursor = 0;
		c->cursor2 = 2;
		return COLLECT_MORE;
	}
	at = c->cursor++;
	if (c->namespaces[at].is_reference == (c->cursor2 == 1))
		read_namespace(c, &c->namespaces[at]);
	return COLLECT_MORE;
}
