#include "kernel/block.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define FIELDS_MIN 11
#define FIELDS_MAX 17

/* Numbers between blanks; how many, up to `max`, or -EBADMSG. */
static int take_fields(const char *text, size_t len, uint64_t *ret, int max)
{
	const char *s = text, *end = text + len;
	int count = 0;

	while (count < max) {
		char word[24];
		size_t n = 0;

		while (s < end && (*s == ' ' || *s == '\t'))
			s++;
		if (s == end || *s == '\n')
			break;
		while (s < end && *s != ' ' && *s != '\t' && *s != '\n' && n < sizeof(word) - 1)
			word[n++] = *s++;
		word[n] = '\0';
		if (str_to_u64(word, &ret[count]) < 0)
			return -EBADMSG;
		count++;
	}
	return count;
}

int block_parse_stat(const char *text, size_t len, struct block_stat *ret)
{
	uint64_t fields[FIELDS_MAX] = { 0 };
	int count = take_fields(text, len, fields, FIELDS_MAX);

	if (count < FIELDS_MIN)
		return -EBADMSG;
	*ret = (struct block_stat){
		.completed = fields[0] + fields[4] + fields[11] + fields[15],
		.in_flight = fields[8],
	};
	return 0;
}

/* Its folder's own name: the link ends in .../block/sda/sda1. */
static void read_name(const char *link, char name[BLOCK_NAME_MAX])
{
	char target[512];
	ssize_t n = readlink(link, target, sizeof(target) - 1);
	const char *slash;

	name[0] = '\0';
	if (n < 0)
		return;
	target[n] = '\0';
	slash = strrchr(target, '/');
	slash = slash ? slash + 1 : target;
	(void)str_clean(name, BLOCK_NAME_MAX, slash, strlen(slash));
}

int block_read(uint32_t major, uint32_t minor, struct block_device *ret)
{
	CLEAN_FD int dir = -EBADF;
	struct block_device out = { 0 };
	char path[48], text[512];
	int n, r;

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major, minor);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	read_name(path, out.name);
	n = fd_read_small(dir, "stat", text, sizeof(text));
	if (n < 0)
		return n;
	r = block_parse_stat(text, (size_t)n, &out.stat);
	if (r < 0)
		return r;
	n = fd_read_small(dir, "device/state", text, sizeof(text));
	if (n < 0) /* a partition: the disk's */
		n = fd_read_small(dir, "../device/state", text, sizeof(text));
	if (n > 0)
		(void)str_clean(out.state, sizeof(out.state), text, strcspn(text, "\n"));
	*ret = out;
	return 0;
}
