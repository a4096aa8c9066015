/*
 * pleg-probe, the probe role: reads that may hang. One thread, one request at a time, in the order
 * they come, until the agent closes the channel. Linked statically with libc only and held in a
 * sealed memfd by the agent, so that a new one starts without a disk.
 *
 * May do: read files of /proc (as root, also of others' processes) and by their path, look at paths.
 * Never: write to a file, open sockets, start processes. It keeps no state, so it can be killed or
 * abandoned at any moment; when it hangs the agent does just that.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "kernel/probe-place.h"
#include "kernel/proc.h"
#include "role/role-child.h"

/* Answers wait for room in the socket no longer than this; the agent is not reading then. */
#define PROBE_SEND_MS 10000

static const struct channel_type accepts[] = {
	ROLE_START_TYPE,
	{ PROBE_MSG_READ, sizeof(struct probe_read_request), sizeof(struct probe_read_request), 0 },
	{ PROBE_MSG_STAT, 1, PROBE_PATH_MAX - 1, 0 },
	{ PROBE_MSG_STATFS, 1, PROBE_PATH_MAX - 1, 0 },
	{ PROBE_MSG_FILE, 1, PROBE_PATH_MAX - 1, 0 },
	{ PROBE_MSG_SECRET, 1, PROBE_PATH_MAX - 1, 0 },
	{ PROBE_MSG_FIND, sizeof(struct probe_place),
		sizeof(struct probe_place) + PROBE_PATH_MAX - 1, 0 },
	{ PROBE_MSG_FILE_AT, sizeof(struct probe_place),
		sizeof(struct probe_place) + PROBE_PATH_MAX - 1, 0 },
};

struct probe {
	struct channel *channel;
	int proc_fd;
	struct {
		struct probe_result result;
		char bytes[PROBE_BYTES_MAX];
	} answer;
	size_t len;    /* of `bytes` */
	int secret_fd; /* goes with the answer; -EBADF: none */
};

static const char *const file_names[PROBE_FILES] = {
	[PROBE_CMDLINE] = "cmdline",
	[PROBE_SMAPS_ROLLUP] = "smaps_rollup",
	[PROBE_MAPS] = "maps",
	[PROBE_LIMITS] = "limits",
	[PROBE_IO] = "io",
	[PROBE_MOUNTINFO] = "mountinfo",
	[PROBE_STACK] = "stack",
	[PROBE_STATUS] = "status",
};

/* Fills the answer's bytes; one more is asked for to see whether it was all. */
static int read_all(struct probe *p, int fd)
{
	char more;

	while (p->len < PROBE_BYTES_MAX) {
		ssize_t n = read(fd, p->answer.bytes + p->len, PROBE_BYTES_MAX - p->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		p->len += (size_t)n;
	}
	p->answer.result.is_cut = read(fd, &more, 1) > 0;
	return 0;
}

static int read_file(struct probe *p, const struct probe_read_request *q)
{
	CLEAN_FD int dir = -EBADF, fd = -EBADF;
	char name[16];
	int r;

	if (q->file >= PROBE_FILES || q->pid <= 0)
		return -EINVAL;
	(void)str_format(name, sizeof(name), "%d", q->pid);
	/* The directory stays that of this process, whoever gets the pid afterwards. */
	dir = openat(p->proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	r = proc_verify(p->proc_fd, (struct proc_id){ q->pid, q->start_ticks });
	if (r < 0)
		return r;
	fd = openat(dir, file_names[q->file], O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	return read_all(p, fd);
}

/* Not of a device, a pipe or a socket: opening one may do something. */
static int read_regular(struct probe *p, const char *path)
{
	CLEAN_FD int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? read_all(p, fd) : -EINVAL;
}

/* From the file to the memfd, through the answer's bytes, which are wiped. */
static int copy_secret(struct probe *p, int fd, int memfd)
{
	size_t whole = 0;
	int r;

	for (;;) {
		ssize_t n = read(fd, p->answer.bytes, PROBE_BYTES_MAX);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = n < 0 ? -errno : 0;
			break;
		}
		whole += (size_t)n;
		r = whole > PROBE_SECRET_MAX
			? -EFBIG
			: fd_write_all(memfd, p->answer.bytes, (size_t)n, PROBE_SEND_MS);
		if (r < 0)
			break;
	}
	explicit_bzero(p->answer.bytes, whole < PROBE_BYTES_MAX ? whole : PROBE_BYTES_MAX);
	return r;
}

/* Links are followed: those of a pod's mounted secrets and of a kubelet's certificate are such. */
static int read_secret(struct probe *p, const char *path)
{
	CLEAN_FD int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	CLEAN_FD int memfd = -EBADF;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	memfd = memfd_create("pleg-secret", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memfd < 0)
		return -errno;
	r = copy_secret(p, fd, memfd);
	if (r < 0)
		return r;
	if (fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	p->secret_fd = TAKE_FD(memfd);
	return 0;
}

static int find_place(struct probe *p, const struct probe_place *place, const char *path)
{
	struct stat st;
	int r = probe_place_find(
		p->proc_fd, place, path, p->answer.bytes, sizeof(p->answer.bytes), &st);

	if (r < 0)
		return r;
	p->len = strlen(p->answer.bytes);
	probe_place_put(&p->answer.result, &st);
	return 0;
}

static int read_place(struct probe *p, const struct probe_place *place, const char *path)
{
	CLEAN_FD int fd = -EBADF;
	struct stat st;
	int r = probe_place_open(p->proc_fd, place, path, &fd, &st);

	if (r < 0)
		return r;
	probe_place_put(&p->answer.result, &st);
	return read_all(p, fd);
}

static int look_at_path(struct probe *p, const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	probe_place_put(&p->answer.result, &st);
	return 0;
}

static int look_at_filesystem(struct probe *p, const char *path)
{
	struct probe_result *out = &p->answer.result;
	struct statfs fs;

	if (statfs(path, &fs) < 0)
		return -errno;
	out->fs_type = (uint64_t)fs.f_type;
	out->block_bytes = (uint64_t)fs.f_bsize;
	out->blocks = fs.f_blocks;
	out->blocks_free = fs.f_bfree;
	out->blocks_available = fs.f_bavail;
	out->files = fs.f_files;
	out->files_free = fs.f_ffree;
	return 0;
}

static int serve_one(struct probe *p, const struct channel_message *m)
{
	bool has_place = m->type == PROBE_MSG_FIND || m->type == PROBE_MSG_FILE_AT;
	size_t before = has_place ? sizeof(struct probe_place) : 0;
	const char *text = (const char *)m->payload + before;
	struct probe_read_request q;
	struct probe_place place = { 0 };
	char path[PROBE_PATH_MAX];

	if (m->type == PROBE_MSG_READ) {
		memcpy(&q, m->payload, sizeof(q));
		return read_file(p, &q);
	}
	if (memchr(text, '\0', m->len - before))
		return -EINVAL;
	memcpy(&place, m->payload, before);
	memcpy(path, text, m->len - before);
	path[m->len - before] = '\0';
	switch (m->type) {
	case PROBE_MSG_FIND: return find_place(p, &place, path);
	case PROBE_MSG_FILE_AT: return read_place(p, &place, path);
	case PROBE_MSG_FILE: return read_regular(p, path);
	case PROBE_MSG_SECRET: return read_secret(p, path);
	case PROBE_MSG_STAT: return look_at_path(p, path);
	default: return look_at_filesystem(p, path);
	}
}

static int answer(struct probe *p, const struct channel_message *m)
{
	int r;

	p->len = 0;
	memset(&p->answer.result, 0, sizeof(p->answer.result));
	r = serve_one(p, m);
	if (r < 0) {
		p->len = 0;
		p->answer.result = (struct probe_result){ .code = r };
	}
	r = channel_send(p->channel, PROBE_MSG_ANSWER, m->id, &p->answer,
		sizeof(p->answer.result) + p->len, &p->secret_fd, p->secret_fd >= 0 ? 1 : 0);
	p->secret_fd = fd_close(p->secret_fd);
	return r;
}

static int serve(struct probe *p)
{
	for (;;) {
		short events = channel_events(p->channel);
		struct channel_message m;
		int r;

		r = poll(&(struct pollfd){ .fd = channel_fd(p->channel), .events = events }, 1,
			(events & POLLOUT) != 0 ? PROBE_SEND_MS : -1);
		if (r == 0)
			return 1;
		if (channel_flush(p->channel) < 0)
			return 0;
		r = channel_receive(p->channel, &m);
		if (r < 0)
			return r == -EPIPE ? 0 : 1;
		if (r == 0)
			continue;
		r = answer(p, &m);
		channel_message_done(&m);
		if (r < 0)
			return 1;
	}
}

int main(void)
{
	static struct probe probe = { .secret_fd = -EBADF }; /* 64 KiB: not for the stack */
	struct channel_message start;
	int r;

	if (role_child_start("pleg-probe", accepts, ELEMENTS(accepts), &probe.channel, &start) < 0)
		return 1;
	channel_message_done(&start);
	probe.proc_fd = proc_open();
	if (probe.proc_fd < 0)
		return role_child_fail(probe.channel, probe.proc_fd, "Open /proc");
	r = role_child_narrow(ROLE_NARROW_LOOK);
	if (r < 0)
		return role_child_fail(probe.channel, r, "Narrow");
	if (role_child_ready(probe.channel) < 0)
		return 1;
	return serve(&probe);
}
