/*
 * A FUSE server that does not answer, for the lab and its tests.
 *	pleg-lab-fuse MOUNTPOINT [workers]
 * Files, all readable:
 *	hung   opened for direct I/O; a read is taken and never answered
 *	page   opened through the page cache; a read is taken and never answered
 *	slow   through the page cache, nothing kept; each read is answered after 1.5 s
 *	ok     answers at once
 * A read that gets no answer is put aside and the server goes on serving, as one does whose own
 * backend is silent. With `workers` there are threads, and the one that took it waits in its handler.
 * Mounts by itself, as root, in the mount namespace it is started in; says "mounted MINOR", the name of
 * the connection. Ends when the connection is aborted or by a signal, its last breath
 * being the end of the connection.
 */
#define FUSE_USE_VERSION 34
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_SIZE   (1 << 20)
#define SLOW_NS     1500000000L
#define ATTRIBUTE_S 3600.0 /* so that only reads come here */

static const char *const names[] = { "hung", "page", "slow", "ok" };

enum {
	INODE_HUNG = 2,
	INODE_PAGE,
	INODE_SLOW,
	INODE_OK,
	INODE_END
};

static bool with_workers;

static bool attributes(fuse_ino_t inode, struct stat *ret)
{
	bool is_root = inode == FUSE_ROOT_ID;

	*ret = (struct stat){
		.st_ino = inode,
		.st_mode = is_root ? S_IFDIR | 0755 : S_IFREG | 0644,
		.st_nlink = 1,
		.st_size = is_root ? 0 : FILE_SIZE,
	};
	return is_root || (inode >= INODE_HUNG && inode < INODE_END);
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = { .attr_timeout = ATTRIBUTE_S,
		.entry_timeout = ATTRIBUTE_S };

	for (fuse_ino_t i = INODE_HUNG; i < INODE_END; i++)
		if (parent == FUSE_ROOT_ID && strcmp(name, names[i - INODE_HUNG]) == 0)
			entry.ino = i;
	if (entry.ino == 0) {
		(void)fuse_reply_err(request, ENOENT);
		return;
	}
	(void)attributes(entry.ino, &entry.attr);
	(void)fuse_reply_entry(request, &entry);
}

static void on_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
	struct stat st;

	(void)file;
	if (attributes(inode, &st))
		(void)fuse_reply_attr(request, &st, ATTRIBUTE_S);
	else
		(void)fuse_reply_err(request, ENOENT);
}

static void on_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
	file->direct_io = inode == INODE_HUNG;
	file->keep_cache = inode == INODE_PAGE;
	(void)fuse_reply_open(request, file);
}

static void wait_ns(long ns)
{
	struct timespec t = { .tv_sec = ns / 1000000000L, .tv_nsec = ns % 1000000000L };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

static void on_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
	struct fuse_file_info *file)
{
	static const char zeros[4096];

	(void)offset;
	(void)file;
	if (inode == INODE_HUNG || inode == INODE_PAGE) {
		while (with_workers)
			wait_ns(1000000000L);
		return; /* the request stays open */
	}
	if (inode == INODE_SLOW)
		wait_ns(SLOW_NS);
	(void)fuse_reply_buf(request, zeros, size < sizeof(zeros) ? size : sizeof(zeros));
}

static void on_readdir(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
	struct fuse_file_info *file)
{
	char list[1024];
	size_t used = 0;
	struct stat st;

	(void)inode;
	(void)file;
	for (off_t i = offset; i < INODE_END - INODE_HUNG; i++) {
		(void)attributes((fuse_ino_t)(i + INODE_HUNG), &st);
		used += fuse_add_direntry(
			request, list + used, sizeof(list) - used, names[i], &st, i + 1);
	}
	(void)fuse_reply_buf(request, list, used < size ? used : 0);
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = on_lookup,
	.getattr = on_getattr,
	.open = on_open,
	.read = on_read,
	.readdir = on_readdir,
};

/* From the table: a stat() would ask us, and we do not serve yet. */
static bool minor_of(const char *point, unsigned *ret)
{
	FILE *table = fopen("/proc/self/mountinfo", "re");
	char line[4096], path[4096];
	bool is_found = false;

	while (table && fgets(line, sizeof(line), table))
		if (sscanf(line, "%*d %*d 0:%u %*s %4095s", ret, path) == 2 &&
			strcmp(path, point) == 0) {
			is_found = true;
			break;
		}
	if (table)
		(void)fclose(table);
	return is_found;
}

int main(int argc, char **argv)
{
	char *words[] = { argv[0],
		(char *)"-oallow_other,default_permissions,fsname=pleg-lab,subtype=lab", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, words);
	struct fuse_loop_config config = { .clone_fd = 0, .max_idle_threads = 4 };
	struct fuse_session *session;
	unsigned device;
	int r;

	if (argc < 2)
		return 2;
	with_workers = argc > 2;
	session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!session || fuse_session_mount(session, argv[1]) != 0)
		return 1;
	if (!minor_of(argv[1], &device))
		return 1;
	(void)printf("mounted %u\n", device);
	(void)fflush(stdout);
	r = with_workers ? fuse_session_loop_mt(session, &config) : fuse_session_loop(session);
	/* No unmount: a server that goes leaves a dead mount behind, as they do. */
	_exit(r == 0 ? 0 : 1);
}
