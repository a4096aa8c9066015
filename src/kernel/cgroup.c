#include "kernel/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"

/* A node with very many mounts has a mountinfo of a few megabytes. */
#define MOUNTINFO_MAX (16u << 20)
#define FILE_MAX      4096

const char *cgroup_mode_text(enum cgroup_mode mode)
{
	switch (mode) {
	case CGROUP_NONE: return "none";
	case CGROUP_V1: return "v1";
	case CGROUP_V2: return "v2";
	case CGROUP_HYBRID: return "hybrid";
	}
	return "unknown";
}

const char *cgroup_freezer_text(enum cgroup_freezer_state state)
{
	switch (state) {
	case CGROUP_THAWED: return "THAWED";
	case CGROUP_FREEZING: return "FREEZING";
	case CGROUP_FROZEN: return "FROZEN";
	}
	return "unknown";
}

/* --- words --- */

/* Takes what stands before the next `separator` (or all) off the front of `s`. */
static struct slice take_word(struct slice *s, char separator)
{
	const char *at = s->len > 0 ? memchr(s->data, separator, s->len) : NULL;
	struct slice word = { s->data, at ? (size_t)(at - s->data) : s->len };

	s->data += word.len + (at ? 1 : 0);
	s->len -= word.len + (at ? 1 : 0);
	return word;
}

static bool slice_to_u64(struct slice s, uint64_t *ret)
{
	char text[24];

	if (s.len == 0 || s.len >= sizeof(text))
		return false;
	memcpy(text, s.data, s.len);
	text[s.len] = '\0';
	return str_to_u64(text, ret) == 0;
}

/* --- mounts --- */

/* mountinfo writes blanks, newlines and backslashes as \ooo. False if there is no room. */
static bool copy_unescaped(char *out, size_t size, struct slice s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.data[i];

		if (c == '\\' && i + 3 < s.len && s.data[i + 1] >= '0' && s.data[i + 1] <= '3') {
			unsigned value = 0;

			for (unsigned k = 1; k <= 3; k++)
				value = value * 8 + ((unsigned)(s.data[i + k] - '0') & 7);
			c = (unsigned char)value;
			i += 3;
		}
		if (n + 1 >= size || c == '\0')
			return false;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return true;
}

struct mount_line {
	struct slice root, path, type, super_options;
};

static bool split_mount(struct slice line, struct mount_line *ret)
{
	struct slice word;

	(void)take_word(&line, ' '); /* id */
	(void)take_word(&line, ' '); /* parent */
	(void)take_word(&line, ' '); /* device */
	ret->root = take_word(&line, ' ');
	ret->path = take_word(&line, ' ');
	(void)take_word(&line, ' '); /* options */
	do {                         /* optional fields, up to a dash */
		if (line.len == 0)
			return false;
		word = take_word(&line, ' ');
	} while (!slice_eq(word, SLICE("-")));
	ret->type = take_word(&line, ' ');
	(void)take_word(&line, ' '); /* source */
	ret->super_options = take_word(&line, ' ');
	return ret->path.len > 0 && ret->type.len > 0;
}

static const char *const controller_names[CGROUP_HIERARCHIES] = {
	[CGROUP_UNIFIED] = "",
	[CGROUP_MEMORY] = "memory",
	[CGROUP_FREEZER] = "freezer",
	[CGROUP_PIDS] = "pids",
	[CGROUP_CPU] = "cpu",
};

static bool list_has(struct slice list, const char *name)
{
	while (list.len > 0)
		if (slice_eq(take_word(&list, ','), SLICE(name)))
			return true;
	return false;
}

/* The first mount that shows a hierarchy counts, unless a later one shows more of it. */
static void keep_mount(struct cgroup_mount *m, const struct mount_line *line)
{
	struct cgroup_mount found;

	if (!copy_unescaped(found.path, sizeof(found.path), line->path) ||
		!copy_unescaped(found.root, sizeof(found.root), line->root))
		return;
	if (m->path[0] == '\0' || strlen(found.root) < strlen(m->root))
		*m = found;
}

int cgroup_parse_mounts(const char *text, size_t len, struct cgroup_mounts *ret)
{
	struct cgroup_mounts out = { 0 };
	struct slice rest = { text, len };
	bool has_v1 = false, has_v2;

	while (rest.len > 0) {
		struct slice line = take_word(&rest, '\n');
		struct mount_line m;

		if (!split_mount(line, &m))
			return -EBADMSG;
		if (slice_eq(m.type, SLICE("cgroup2"))) {
			keep_mount(&out.at[CGROUP_UNIFIED], &m);
			continue;
		}
		if (!slice_eq(m.type, SLICE("cgroup")))
			continue;
		for (unsigned h = CGROUP_MEMORY; h < CGROUP_HIERARCHIES; h++)
			if (list_has(m.super_options, controller_names[h])) {
				keep_mount(&out.at[h], &m);
				has_v1 = true;
			}
	}
	has_v2 = out.at[CGROUP_UNIFIED].path[0] != '\0';
	out.mode = has_v1 && has_v2 ? CGROUP_HYBRID
		: has_v1            ? CGROUP_V1
		: has_v2            ? CGROUP_V2
				    : CGROUP_NONE;
	*ret = out;
	return 0;
}

int cgroup_read_mounts(struct cgroup_mounts *ret)
{
	CLEAN(mem_freep) char *text = NULL;
	size_t len;
	int r = fd_read_file("/proc/self/mountinfo", MOUNTINFO_MAX, &text, &len);

	return r < 0 ? r : cgroup_parse_mounts(text, len, ret);
}

/* --- paths --- */

/* The group's path in the line of /proc/PID/cgroup that is about this hierarchy. */
static bool find_line(struct slice text, enum cgroup_hierarchy hierarchy, struct slice *ret)
{
	while (text.len > 0) {
		struct slice line = take_word(&text, '\n');
		struct slice id = take_word(&line, ':'), controllers = take_word(&line, ':');

		if (line.len == 0 || line.data[0] != '/')
			continue;
		if (hierarchy == CGROUP_UNIFIED
				? slice_eq(id, SLICE("0")) && controllers.len == 0
				: list_has(controllers, controller_names[hierarchy])) {
			*ret = line;
			return true;
		}
	}
	return false;
}

int cgroup_path(const struct cgroup_mounts *mounts, const char *text, size_t len,
	enum cgroup_hierarchy hierarchy, char path[CGROUP_PATH_MAX])
{
	static const char deleted[] = " (deleted)";
	const struct cgroup_mount *m;
	size_t root_len;
	struct slice p;
	int n;

	if (mounts->at[hierarchy].path[0] == '\0')
		hierarchy = CGROUP_UNIFIED;
	m = &mounts->at[hierarchy];
	if (m->path[0] == '\0' || !find_line((struct slice){ text, len }, hierarchy, &p))
		return -ENOENT;
	if (p.len > sizeof(deleted) - 1 &&
		memcmp(p.data + p.len - (sizeof(deleted) - 1), deleted, sizeof(deleted) - 1) == 0)
		return -ENOENT;
	/* "/.." in front: above what our namespace may see. */
	if (p.len >= 3 && memcmp(p.data, "/..", 3) == 0 && (p.len == 3 || p.data[3] == '/'))
		return -ENOENT;
	root_len = str_eq(m->root, "/") ? 0 : strlen(m->root);
	if (p.len < root_len || memcmp(p.data, m->root, root_len) != 0 ||
		(p.len > root_len && p.data[root_len] != '/'))
		return -ENOENT;
	p.data += root_len;
	p.len -= root_len;
	if (slice_eq(p, SLICE("/")))
		p.len = 0;
	n = snprintf(path, CGROUP_PATH_MAX, "%s%.*s", m->path, (int)p.len, p.data);
	return n < 0 || n >= CGROUP_PATH_MAX ? -ENAMETOOLONG : 0;
}

/* --- parsers --- */

/* The next "key value" line: 1, 0 at the end, -EBADMSG. */
static int next_pair(struct slice *text, struct slice *ret_key, uint64_t *ret_value)
{
	struct slice line;

	if (text->len == 0)
		return 0;
	line = take_word(text, '\n');
	*ret_key = take_word(&line, ' ');
	return slice_to_u64(line, ret_value) ? 1 : -EBADMSG;
}

int cgroup_parse_events(const char *text, size_t len, struct cgroup_events *ret)
{
	struct slice rest = { text, len }, key;
	struct cgroup_events out = { 0 };
	bool has_populated = false;
	uint64_t value;
	int r;

	while ((r = next_pair(&rest, &key, &value)) > 0) {
		if (slice_eq(key, SLICE("populated"))) {
			out.populated = value != 0;
			has_populated = true;
		} else if (slice_eq(key, SLICE("frozen"))) {
			out.frozen = value != 0;
			out.has_frozen = true;
		}
	}
	if (r < 0 || !has_populated)
		return -EBADMSG;
	*ret = out;
	return 0;
}

int cgroup_parse_memory_events(const char *text, size_t len, struct cgroup_oom *ret)
{
	struct slice rest = { text, len }, key;
	struct cgroup_oom out = { 0 };
	uint64_t value;
	int r;

	while ((r = next_pair(&rest, &key, &value)) > 0) {
		if (slice_eq(key, SLICE("oom"))) {
			out.oom = value;
			out.has_oom = true;
		} else if (slice_eq(key, SLICE("oom_kill"))) {
			out.oom_kill = value;
			out.has_oom_kill = true;
		}
	}
	if (r < 0 || !out.has_oom)
		return -EBADMSG;
	*ret = out;
	return 0;
}

int cgroup_parse_oom_control(const char *text, size_t len, struct cgroup_oom *ret)
{
	struct slice rest = { text, len }, key;
	struct cgroup_oom out = { 0 };
	bool has_under = false;
	uint64_t value;
	int r;

	while ((r = next_pair(&rest, &key, &value)) > 0) {
		if (slice_eq(key, SLICE("oom_kill_disable"))) {
			out.kill_disabled = value != 0;
		} else if (slice_eq(key, SLICE("under_oom"))) {
			out.under_oom = value != 0;
			has_under = true;
		} else if (slice_eq(key, SLICE("oom_kill"))) {
			out.oom_kill = value;
			out.has_oom_kill = true;
		}
	}
	if (r < 0 || !has_under)
		return -EBADMSG;
	*ret = out;
	return 0;
}

int cgroup_parse_freezer(const char *text, size_t len, enum cgroup_freezer_state *ret)
{
	struct slice rest = { text, len }, word = take_word(&rest, '\n');

	for (unsigned s = CGROUP_THAWED; s <= CGROUP_FROZEN; s++)
		if (slice_eq(word, SLICE(cgroup_freezer_text((enum cgroup_freezer_state)s)))) {
			*ret = (enum cgroup_freezer_state)s;
			return 0;
		}
	return -EBADMSG;
}

/* --- readers --- */

int cgroup_open(const char *path)
{
	int fd;

	if (fault_is_due(FAULT_OPEN))
		return -EMFILE;
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static bool is_gone(int error)
{
	return error == ENOENT || error == ENODEV;
}

int cgroup_read_text(int dir_fd, const char *file, char *text, size_t size, size_t *ret_len)
{
	CLEAN_FD int fd = -EBADF;
	int n;

	fd = fault_is_due(FAULT_OPEN) ? (errno = EMFILE, -1)
				      : openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return is_gone(errno) ? 0 : -errno;
	n = fd_read_text(fd, text, size);
	if (n < 0)
		return is_gone(-n) ? 0 : n;
	*ret_len = (size_t)n;
	return 1;
}

int cgroup_read_events(int dir_fd, struct cgroup_events *ret)
{
	char text[FILE_MAX];
	size_t len = 0;
	int r = cgroup_read_text(dir_fd, "cgroup.events", text, sizeof(text), &len);

	if (r <= 0)
		return r;
	r = cgroup_parse_events(text, len, ret);
	return r < 0 ? r : 1;
}

int cgroup_read_oom(int dir_fd, struct cgroup_oom *ret)
{
	char text[FILE_MAX];
	size_t len = 0;
	int r = cgroup_read_text(dir_fd, "memory.events", text, sizeof(text), &len);

	if (r > 0)
		r = cgroup_parse_memory_events(text, len, ret);
	else if (r == 0) {
		r = cgroup_read_text(dir_fd, "memory.oom_control", text, sizeof(text), &len);
		if (r <= 0)
			return r;
		r = cgroup_parse_oom_control(text, len, ret);
	}
	return r < 0 ? r : 1;
}

/* --- the freezer --- */

/* 1: read into `state` and `self`; 0: this level cannot be frozen, or is gone. */
static int read_level(int dir_fd, bool v2, enum cgroup_freezer_state *state, bool *self)
{
	struct cgroup_events events;
	char text[FILE_MAX];
	size_t len = 0;
	int r;

	r = cgroup_read_text(
		dir_fd, v2 ? "cgroup.freeze" : "freezer.self_freezing", text, sizeof(text), &len);
	if (r <= 0)
		return r;
	*self = text[0] == '1';
	if (v2) {
		r = cgroup_read_events(dir_fd, &events);
		if (r <= 0)
			return r;
		*state = events.frozen ? CGROUP_FROZEN : *self ? CGROUP_FREEZING : CGROUP_THAWED;
		return 1;
	}
	r = cgroup_read_text(dir_fd, "freezer.state", text, sizeof(text), &len);
	if (r <= 0)
		return r;
	r = cgroup_parse_freezer(text, len, state);
	return r < 0 ? r : 1;
}

int cgroup_read_freezer(const struct cgroup_mounts *mounts, const char *path,
	struct cgroup_freezer_level *ret_levels, unsigned max)
{
	bool v2 = mounts->at[CGROUP_FREEZER].path[0] == '\0';
	const struct cgroup_mount *m = &mounts->at[v2 ? CGROUP_UNIFIED : CGROUP_FREEZER];
	size_t at = strlen(m->path), len = strlen(path);
	unsigned count = 0;

	if (at == 0 || len < at || len >= CGROUP_PATH_MAX || memcmp(path, m->path, at) != 0 ||
		(path[at] != '/' && path[at] != '\0'))
		return -EINVAL;
	while (at < len && count < max) {
		struct cgroup_freezer_level *level = &ret_levels[count];
		CLEAN_FD int fd = -EBADF;
		int r;

		at += 1 + strcspn(path + at + 1, "/");
		(void)snprintf(level->path, sizeof(level->path), "%.*s", (int)at, path);
		fd = cgroup_open(level->path);
		r = fd < 0 ? (fd == -ENOENT ? 0 : fd)
			   : read_level(fd, v2, &level->state, &level->self);
		if (r < 0)
			return r;
		if (r == 0)
			return 0;
		count++;
	}
	return (int)count;
}
