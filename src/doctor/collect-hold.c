/* Who serves the FUSE connections that somebody waits for, and who holds what is busy: through the
 * links of descriptors, working directories and roots of all processes. Only when there is need. */
#include <errno.h>
#include <string.h>

#include "doctor/collect-internal.h"
#include "kernel/fuse.h"

/* --- FUSE servers --- */

static void put_server(struct collect *c, struct seen *s, uint32_t minor)
{
	struct evidence *e = c->evidence;

	for (uint32_t i = 0; i < e->fuse_count; i++)
		if (e->fuses[i].minor == minor && e->fuses[i].server == EVIDENCE_NONE)
			e->fuses[i].server = collect_add_process(c, s, EVIDENCE_FUSE_SERVER);
}

static void look_at_fuse_fd(struct collect *c, struct seen *s, int32_t fd)
{
	char link[16], text[PROC_TEXT_MAX];
	uint32_t minor;
	int n = proc_read_fd_link(c->proc_fd, s->pid, 0, fd, link, sizeof(link));

	if (n <= 0 || !str_eq(link, "/dev/fuse"))
		return;
	if (c->fuse_holders == 0 || c->fuse_holder != (uint32_t)(s - c->seen))
		c->fuse_holders++;
	c->fuse_holder = (uint32_t)(s - c->seen);
	n = proc_read_fdinfo(c->proc_fd, s->pid, 0, fd, text, sizeof(text));
	if (n > 0 && fuse_parse_fdinfo(text, (size_t)n, &minor))
		put_server(c, s, minor);
}

/* Where the kernel does not tell which connection a descriptor serves, one holder is enough. */
static void infer_server(struct collect *c)
{
	struct evidence *e = c->evidence;

	if (c->fuse_holders != 1)
		return;
	for (uint32_t i = 0; i < e->fuse_count; i++)
		if (e->fuses[i].waiting > 0 && e->fuses[i].server == EVIDENCE_NONE) {
			uint32_t server = collect_add_process(
				c, &c->seen[c->fuse_holder], EVIDENCE_FUSE_SERVER);

			e->fuses[i].server = server;
			e->fuses[i].server_inferred = server != EVIDENCE_NONE;
		}
}

static bool is_server_wanted(const struct collect *c)
{
	const struct evidence *e = c->evidence;

	for (uint32_t i = 0; i < e->fuse_count; i++)
		if (!e->fuses[i].has_waiting || e->fuses[i].waiting > 0)
			return true;
	return false;
}

/* A step of the walk over the descriptors of who is at the cursor, which goes on to the next process at
 * the end. False: none in this step. */
static bool next_fd(struct collect *c, const struct seen *s, int32_t *ret)
{
	if (!c->tasks_open) {
		c->cursor2 = 0;
		c->tasks_open =
			proc_walk_init(&c->tasks, c->proc_fd, PROC_WALK_FDS, s->pid, 0) >= 0;
		if (!c->tasks_open)
			c->cursor++;
		return false;
	}
	if (proc_walk_next(&c->tasks, ret) && c->cursor2++ < COLLECT_FDS_MAX)
		return true;
	proc_walk_done(&c->tasks);
	c->tasks_open = false;
	c->cursor++;
	return false;
}

enum collect_step collect_servers(struct collect *c)
{
	struct seen *s;
	int32_t fd;

	if (c->cursor == 0 && !c->tasks_open && !is_server_wanted(c))
		return COLLECT_NEXT;
	if (c->cursor == c->seen_count) {
		infer_server(c);
		return COLLECT_NEXT;
	}
	s = &c->seen[c->cursor];
	if (next_fd(c, s, &fd))
		look_at_fuse_fd(c, s, fd);
	return COLLECT_MORE;
}

/* --- holders --- */

/* What was only watched is busy once somebody holds it. */
static void make_busy(struct collect *c, struct collect_watched *w)
{
	struct evidence *e = c->evidence;

	if (w->busy != EVIDENCE_NONE)
		return;
	w->busy = evidence_add_busy(e);
	if (w->busy == EVIDENCE_NONE)
		return;
	e->busies[w->busy].path = w->path;
	e->busies[w->busy].message = w->message;
	e->busies[w->busy].mount = w->mount;
	e->busies[w->busy].container = e->mounts[w->mount].container;
}

static void add_holder(struct collect *c, struct collect_watched *w, struct seen *s,
	enum evidence_hold hold, const char *path)
{
	struct evidence *e = c->evidence;
	uint32_t process = collect_add_process(c, s, EVIDENCE_HOLDER), i;
	uint32_t mount;

	make_busy(c, w);
	if (w->busy == EVIDENCE_NONE)
		return;
	mount = e->busies[w->busy].mount;

	for (i = 0; i < e->holder_count; i++)
		if (e->holders[i].process == process && e->holders[i].hold == hold &&
			e->holders[i].mount == mount)
			return;
	i = evidence_add_holder(e);
	if (i == EVIDENCE_NONE)
		return;
	e->holders[i].mount = mount;
	e->holders[i].hold = hold;
	e->holders[i].process = process;
	e->holders[i].ns = s->mount_ns;
	e->holders[i].path = evidence_text(e, path);
}

static void compare_path(
	struct collect *c, struct seen *s, enum evidence_hold hold, const char *path)
{
	for (uint32_t i = 0; i < c->watched_count; i++) {
		const char *rest = str_after(path, c->watched[i].path);

		if (rest && (*rest == '/' || *rest == '\0'))
			add_holder(c, &c->watched[i], s, hold, path);
	}
}

static void look_at_links(struct collect *c, struct seen *s)
{
	char path[PROC_LINK_MAX];

	if (proc_read_link(c->proc_fd, s->pid, 0, PROC_LINK_CWD, path, sizeof(path)) > 0)
		compare_path(c, s, HOLD_CWD, path);
	if (proc_read_link(c->proc_fd, s->pid, 0, PROC_LINK_ROOT, path, sizeof(path)) > 1)
		compare_path(c, s, HOLD_ROOT, path);
}

/* A namespace that lives without a process is the last that can hold it. */
static void add_pins(struct collect *c)
{
	struct evidence *e = c->evidence;

	for (uint32_t b = 0; b < c->told_busies; b++) {
		bool held = false;

		for (uint32_t i = 0; i < e->holder_count; i++)
			held = held || e->holders[i].mount == e->busies[b].mount;
		for (uint32_t k = 0; !held && k < c->pin_count; k++) {
			uint32_t i = evidence_add_holder(e);

			if (i == EVIDENCE_NONE)
				return;
			e->holders[i].mount = e->busies[b].mount;
			e->holders[i].hold = HOLD_PIN;
			e->holders[i].ns = c->pins[k].inode;
			e->holders[i].path = c->pins[k].path;
		}
	}
}

enum collect_step collect_holders(struct collect *c)
{
	char path[PROC_LINK_MAX];
	struct seen *s;
	int32_t fd;

	if (c->watched_count == 0)
		return COLLECT_NEXT;
	if (c->cursor == c->seen_count) {
		add_pins(c);
		return COLLECT_NEXT;
	}
	s = &c->seen[c->cursor];
	if (!c->tasks_open)
		look_at_links(c, s);
	if (next_fd(c, s, &fd) &&
		proc_read_fd_link(c->proc_fd, s->pid, 0, fd, path, sizeof(path)) > 0 &&
		path[0] == '/')
		compare_path(c, s, HOLD_FD, path);
	return COLLECT_MORE;
}
