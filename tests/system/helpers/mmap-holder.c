/*
 * Holds its own mmap_lock for write in uninterruptible sleep: one thread reads a page of the file that
 * never comes, and the main one maps the same file with direct I/O, which waits for that page inside
 * mmap(). The first open is buffered and the second direct (fuse_hang.py); a byte on stdin says that
 * the read is under way.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

static void *read_page(void *fd)
{
	char byte;

	(void)!pread(*(int *)fd, &byte, 1, 0);
	return NULL;
}

int main(int argc, char **argv)
{
	int buffered, direct;
	pthread_t thread;
	char byte;

	if (argc != 2)
		return 1;
	buffered = open(argv[1], O_RDONLY | O_CLOEXEC);
	direct = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (buffered < 0 || direct < 0 || pthread_create(&thread, NULL, read_page, &buffered) != 0)
		return 2;
	if (read(STDIN_FILENO, &byte, 1) != 1)
		return 3;
	(void)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, direct, 0);
	for (;;)
		(void)pause();
}
