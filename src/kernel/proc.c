#include "kernel/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"

/* Threads that are asked for their cgroup when the leader does not say. */
#define PROC_CGROUP_THREADS 4

/* --- numbers --- */

/* A decimal number, with a sign if `is_signed`, at *p; moves behind it and the blanks after it. */
static bool take_number(const char **p, const char *end, bool is_signed, int64_t *ret)
{
	const char *s = *p;
	uint64_t value = 0;
	bool negative = false;

	if (is_signed && s < end && *s == '-') {
		negative = true;
		s++;
	}
	if (s == end || !isdigit((unsigned char)*s))
		return false;
	for (; s < end && isdigit((unsigned char)*s); s++)
		if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
			return false;
	if (negative && value > INT64_MAX)
		return false;
	while (s < end && (*s == ' ' || *s == '\t'))
		s++;
	*p = s;
	*ret = negative ? -(int64_t)value : (int64_t)value; /* unsigned ones keep their bits */
	return true;
}

static bool take_hex(const char **p, const char *end, uint64_t *ret)
{
	const char *s = *p;
	uint64_t value = 0;

	if (s == end || !isxdigit((unsigned char)*s))
		return false;
	for (; s < end && isxdigit((unsigned char)*s); s++) {
		int digit = isdigit((unsigned char)*s) ? *s - '0' : (*s | 32) - 'a' + 10;

		if (value > UINT64_MAX >> 4)
			return false;
		value = value << 4 | (uint64_t)digit;
	}
	while (s < end && (*s == ' ' || *s == '\t'))
		s++;
	*p = s;
	*ret = value;
	return true;
}

static bool take_i32(const char **p, const char *end, int32_t *ret)
{
	int64_t value;

	if (!take_number(p, end, true, &value) || value < INT32_MIN || value > INT32_MAX)
		return false;
	*ret = (int32_t)value;
	return true;
}

static bool take_u32(const char **p, const char *end, uint32_t *ret)
{
	int64_t value;

	if (!take_number(p, end, false, &value) || value < 0 || value > UINT32_MAX)
		return false;
	*ret = (uint32_t)value;
	return true;
}

/* --- stat --- */

/* The fields after the state, which is number 3. Reads up to 52 and ignores what newer kernels
 * append. */
static bool take_stat_fields(const char *s, const char *end, struct proc_stat *out)
{
	bool has_start = false;

	for (int field = 4; s < end && *s != '\n' && field <= 52; field++) {
		int64_t value;

		if (!take_number(&s, end, *s == '-', &value))
			return false;
		switch (field) {
		case 4:
			if (value < 0 || value > INT32_MAX)
				return false;
			out->ppid = (int32_t)value;
			break;
		case 9: out->flags = (uint32_t)value; break;
		case 14:
		case 15: out->cpu_ticks += (uint64_t)value; break;
		case 20:
			if (value < 0 || value > UINT32_MAX)
				return false;
			out->threads = (uint32_t)value;
			break;
		case 22:
			out->start_ticks = (uint64_t)value;
			has_start = true;
			break;
		case 23: out->virtual_bytes = (uint64_t)value; break;
		case 31: out->pending = (uint64_t)value; break;
		case 52:
			/* The file ends here or with a blank: a number that was cut is none. */
			if (value < 0 || value > INT32_MAX || s == end)
				return false;
			out->exit_status = (int32_t)value;
			out->has_exit_status = true;
			break;
		}
		if (field == 22 && s == end)
			return false;
	}
	return has_start;
}

int proc_parse_stat(const char *text, size_t len, struct proc_stat *ret)
{
	struct proc_stat out = { 0 };
	const char *s = text, *end = text + len, *close;
	size_t comm_len;

	if (!take_i32(&s, end, &out.pid) || out.pid <= 0 || s == end || *s != '(')
		return -EBADMSG;
	/* A name may hold anything, ") Z (" too; after it come only letters and numbers. */
	close = memrchr(s, ')', (size_t)(end - s));
	if (!close || end - close < 4 || close[1] != ' ' || !isalpha((unsigned char)close[2]) ||
		close[3] != ' ')
		return -EBADMSG;
	comm_len = (size_t)(close - s - 1);
	if (comm_len >= sizeof(out.comm))
		comm_len = sizeof(out.comm) - 1;
	memcpy(out.comm, s + 1, comm_len);
	out.state = close[2];
	if (!take_stat_fields(close + 4, end, &out))
		return -EBADMSG;
	*ret = out;
	return 0;
}

/* --- status --- */

enum {
	HAS_STATE = 1,
	HAS_THREADS = 2,
	HAS_PENDING = 4,
	HAS_SHARED = 8,
};

static bool take_ns_pids(const char *s, const char *end, struct proc_status *out)
{
	out->ns_levels = 0;
	while (s < end) {
		if (out->ns_levels == PROC_NS_LEVELS ||
			!take_i32(&s, end, &out->ns_pids[out->ns_levels]))
			return false;
		out->ns_levels++;
	}
	return out->ns_levels > 0;
}

static bool take_state(const char *s, const char *end, struct proc_status *out)
{
	if (s == end || !isalpha((unsigned char)*s))
		return false;
	out->state = *s;
	return true;
}

/* One line, without its newline: false when a line that matters is not as it should be. */
static bool take_status_line(struct slice line, struct proc_status *out, unsigned *has)
{
	const char *end = line.data + line.len, *s;
	const char *colon = memchr(line.data, ':', line.len);
	struct slice key;
	int64_t flag;

	if (!colon)
		return true;
	key = (struct slice){ line.data, (size_t)(colon - line.data) };
	for (s = colon + 1; s < end && (*s == ' ' || *s == '\t');)
		s++;
	if (slice_eq(key, SLICE("State"))) {
		*has |= HAS_STATE;
		return take_state(s, end, out);
	}
	if (slice_eq(key, SLICE("Threads"))) {
		*has |= HAS_THREADS;
		return take_u32(&s, end, &out->threads);
	}
	if (slice_eq(key, SLICE("SigPnd"))) {
		*has |= HAS_PENDING;
		return take_hex(&s, end, &out->pending_thread);
	}
	if (slice_eq(key, SLICE("ShdPnd"))) {
		*has |= HAS_SHARED;
		return take_hex(&s, end, &out->pending_shared);
	}
	if (slice_eq(key, SLICE("SigIgn")))
		return take_hex(&s, end, &out->ignored);
	if (slice_eq(key, SLICE("SigCgt")))
		return take_hex(&s, end, &out->caught);
	if (slice_eq(key, SLICE("voluntary_ctxt_switches")) ||
		slice_eq(key, SLICE("nonvoluntary_ctxt_switches"))) {
		if (!take_number(&s, end, false, &flag))
			return false;
		out->switches += (uint64_t)flag;
	}
	if (slice_eq(key, SLICE("TracerPid")))
		return take_i32(&s, end, &out->tracer_pid);
	if (slice_eq(key, SLICE("FDSize")))
		return take_u32(&s, end, &out->fd_size);
	if (slice_eq(key, SLICE("NSpid")))
		return take_ns_pids(s, end, out);
	if (slice_eq(key, SLICE("VmSize")))
		out->has_memory = true;
	if (slice_eq(key, SLICE("CoreDumping"))) {
		if (!take_number(&s, end, false, &flag))
			return false;
		out->dumping_core = flag != 0;
	}
	return true;
}

int proc_parse_status(const char *text, size_t len, struct proc_status *ret)
{
	struct proc_status out = { 0 };
	const char *s = text, *end = text + len;
	unsigned has = 0;

	while (s < end) {
		const char *newline = memchr(s, '\n', (size_t)(end - s));

		if (!newline) /* A line that was cut is none. */
			break;
		if (!take_status_line((struct slice){ s, (size_t)(newline - s) }, &out, &has))
			return -EBADMSG;
		s = newline + 1;
	}
	if (has != (HAS_STATE | HAS_THREADS | HAS_PENDING | HAS_SHARED))
		return -EBADMSG;
	*ret = out;
	return 0;
}

/* --- syscall --- */

int proc_parse_syscall(const char *text, size_t len, struct proc_syscall *ret)
{
	struct proc_syscall out = { .kind = PROC_SYSCALL_IN };
	const char *s = text, *end = text + len;
	int64_t number;

	if (len >= 7 && memcmp(text, "running", 7) == 0) {
		ret->kind = PROC_SYSCALL_RUNNING;
		return 0;
	}
	if (!take_number(&s, end, true, &number))
		return -EBADMSG;
	if (number < 0) {
		ret->kind = PROC_SYSCALL_NONE;
		return 0;
	}
	out.number = (uint64_t)number;
	for (unsigned i = 0; i < 6; i++) {
		if (end - s < 2 || s[0] != '0' || s[1] != 'x')
			return -EBADMSG;
		s += 2;
		if (!take_hex(&s, end, &out.args[i]))
			return -EBADMSG;
	}
	*ret = out;
	return 0;
}

/* --- cgroup --- */

int proc_cgroup_next(const char *text, size_t len, size_t *at, struct proc_cgroup *ret)
{
	static const char deleted[] = " (deleted)";
	const char *s = text + *at, *end, *first, *second;
	struct proc_cgroup out = { 0 };

	if (*at >= len)
		return 0;
	end = memchr(s, '\n', len - *at);
	if (!end)
		return -EBADMSG;
	first = memchr(s, ':', (size_t)(end - s));
	second = first ? memchr(first + 1, ':', (size_t)(end - first - 1)) : NULL;
	if (!second || second + 1 == end || second[1] != '/')
		return -EBADMSG;
	out.controllers = (struct slice){ first + 1, (size_t)(second - first - 1) };
	out.path = (struct slice){ second + 1, (size_t)(end - second - 1) };
	if (out.path.len > sizeof(deleted) - 1 &&
		memcmp(end - (sizeof(deleted) - 1), deleted, sizeof(deleted) - 1) == 0) {
		out.deleted = true;
		out.path.len -= sizeof(deleted) - 1;
	}
	*at = (size_t)(end + 1 - text);
	*ret = out;
	return 1;
}

bool proc_cgroup_contains(const char *text, size_t len, const char *fragment)
{
	size_t at = 0, fragment_len = strlen(fragment);
	struct proc_cgroup line;

	if (fragment_len == 0)
		return false;
	while (proc_cgroup_next(text, len, &at, &line) > 0)
		if (memmem(line.path.data, line.path.len, fragment, fragment_len))
			return true;
	return false;
}

bool proc_cgroup_left_v1(const char *text, size_t len)
{
	struct proc_cgroup line;
	bool has_v1 = false;
	size_t at = 0;

	while (proc_cgroup_next(text, len, &at, &line) > 0) {
		if (line.controllers.len == 0)
			continue;
		if (line.path.len != 1)
			return false;
		has_v1 = true;
	}
	return has_v1;
}

/* --- readers --- */

static const char *file_name(enum proc_file file)
{
	switch (file) {
	case PROC_COMM: return "comm";
	case PROC_STAT: return "stat";
	case PROC_STATUS: return "status";
	case PROC_WCHAN: return "wchan";
	case PROC_STACK: return "stack";
	case PROC_SYSCALL: return "syscall";
	case PROC_CGROUP: return "cgroup";
	case PROC_MOUNTINFO: return "mountinfo";
	}
	return "stat";
}

int proc_open(void)
{
	int fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* No process behind it: the directory is not there (ENOENT) or no longer (ESRCH). */
static int gone_or(int error)
{
	return error == ENOENT ? -ESRCH : -error;
}

int proc_read_text(
	int proc_fd, int32_t pid, int32_t tid, enum proc_file file, char *text, size_t size)
{
	CLEAN_FD int fd = -EBADF;
	char path[64];
	int n;

	if (tid != 0)
		(void)snprintf(path, sizeof(path), "%d/task/%d/%s", pid, tid, file_name(file));
	else
		(void)snprintf(path, sizeof(path), "%d/%s", pid, file_name(file));
	if (fault_is_due(FAULT_OPEN))
		return -EMFILE;
	fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return gone_or(errno);
	if (file != PROC_STAT) {
		n = fd_read_text(fd, text, size);
		return n < 0 ? gone_or(-n) : n;
	}
	/* It comes in one piece, and a second read() would only tell so. */
	n = (int)fd_read_some(fd, text, size - 1);
	if (n < 0)
		return gone_or(-n);
	text[n] = '\0';
	return n;
}

int proc_read_stat(int proc_fd, int32_t pid, int32_t tid, struct proc_stat *ret)
{
	char text[PROC_TEXT_MAX];
	int n = proc_read_text(proc_fd, pid, tid, PROC_STAT, text, sizeof(text));

	return n < 0 ? n : proc_parse_stat(text, (size_t)n, ret);
}

int proc_read_status(int proc_fd, int32_t pid, int32_t tid, struct proc_status *ret)
{
	char text[PROC_TEXT_MAX];
	int n = proc_read_text(proc_fd, pid, tid, PROC_STATUS, text, sizeof(text));

	return n < 0 ? n : proc_parse_status(text, (size_t)n, ret);
}

int proc_read_syscall(int proc_fd, int32_t pid, int32_t tid, struct proc_syscall *ret)
{
	char text[256];
	int n = proc_read_text(proc_fd, pid, tid, PROC_SYSCALL, text, sizeof(text));

	return n < 0 ? n : proc_parse_syscall(text, (size_t)n, ret);
}

int proc_read_wchan(int proc_fd, int32_t pid, int32_t tid, char wchan[PROC_WCHAN_MAX])
{
	char text[PROC_WCHAN_MAX];
	int n = proc_read_text(proc_fd, pid, tid, PROC_WCHAN, text, sizeof(text));

	if (n < 0)
		return n;
	if (str_eq(text, "0"))
		n = 0;
	(void)str_clean(wchan, PROC_WCHAN_MAX, text, (size_t)n);
	return 0;
}

static bool is_tid(const char *name, int32_t *ret)
{
	uint64_t value;

	if (str_to_u64(name, &value) < 0 || value == 0 || value > INT32_MAX)
		return false;
	*ret = (int32_t)value;
	return true;
}

int proc_list_tasks(int proc_fd, int32_t pid, struct proc_task *ret_tasks, unsigned max)
{
	struct dirent *entry;
	unsigned count = 0;
	char path[32];
	int r = 0, fd;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "%d/task", pid);
	fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return gone_or(errno);
	dir = fdopendir(fd);
	if (!dir) {
		(void)fd_close(fd);
		return -ENOMEM;
	}
	while (r == 0 && count < max && (errno = 0, entry = readdir(dir))) {
		struct proc_stat stat;
		int32_t tid;

		if (!is_tid(entry->d_name, &tid))
			continue;
		r = proc_read_stat(proc_fd, pid, tid, &stat);
		if (r == 0)
			ret_tasks[count++] = (struct proc_task){ .tid = tid, .state = stat.state };
		else if (r == -ESRCH)
			r = 0;
	}
	if (r == 0 && count < max && errno != 0)
		r = gone_or(errno);
	(void)closedir(dir);
	return r < 0 ? r : (int)count;
}

int proc_verify(int proc_fd, struct proc_id id)
{
	struct proc_stat stat;
	int r = proc_read_stat(proc_fd, id.pid, 0, &stat);

	if (r < 0)
		return r;
	return stat.start_ticks == id.start_ticks ? 0 : -ESRCH;
}

/* A dead leader has left its v1 cgroups, its living threads have not. */
static int ask_threads(int proc_fd, int32_t pid, const char *fragment, char text[PROC_TEXT_MAX])
{
	struct proc_task tasks[PROC_CGROUP_THREADS];
	bool leader_dead = false;
	int count = proc_list_tasks(proc_fd, pid, tasks, ELEMENTS(tasks));

	if (count < 0)
		return count;
	for (int i = 0; i < count; i++)
		leader_dead = leader_dead || (tasks[i].tid == pid && tasks[i].state == 'Z');
	if (!leader_dead)
		return 0;
	for (int i = 0; i < count; i++) {
		int n;

		if (tasks[i].tid == pid)
			continue;
		n = proc_read_text(proc_fd, pid, tasks[i].tid, PROC_CGROUP, text, PROC_TEXT_MAX);
		if (n >= 0 && !proc_cgroup_left_v1(text, (size_t)n))
			return proc_cgroup_contains(text, (size_t)n, fragment) ? 1 : 0;
	}
	return -EAGAIN;
}

int proc_is_in_cgroup(int proc_fd, int32_t pid, const char *fragment)
{
	char text[PROC_TEXT_MAX];
	int n;

	n = proc_read_text(proc_fd, pid, 0, PROC_CGROUP, text, sizeof(text));
	if (n < 0)
		return n;
	if (proc_cgroup_contains(text, (size_t)n, fragment))
		return 1;
	if (!proc_cgroup_left_v1(text, (size_t)n))
		return 0;
	return ask_threads(proc_fd, pid, fragment, text);
}

bool proc_may_look(int proc_fd, int32_t pid)
{
	char path[32], target[64];

	(void)snprintf(path, sizeof(path), "%d/ns/pid", pid);
	return readlinkat(proc_fd, path, target, sizeof(target)) > 0;
}
