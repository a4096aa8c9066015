#include "kernel/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"

static struct slice take_word(struct slice *s)
{
	const char *at = s->len > 0 ? memchr(s->data, ' ', s->len) : NULL;
	struct slice word = { s->data, at ? (size_t)(at - s->data) : s->len };

	s->data += word.len + (at ? 1 : 0);
	s->len -= word.len + (at ? 1 : 0);
	return word;
}

static bool to_u32(struct slice s, uint32_t max, uint32_t *ret)
{
	char text[16];
	uint64_t value;

	if (s.len == 0 || s.len >= sizeof(text))
		return false;
	memcpy(text, s.data, s.len);
	text[s.len] = '\0';
	if (str_to_u64(text, &value) < 0 || value > max)
		return false;
	*ret = (uint32_t)value;
	return true;
}

static bool take_device(struct slice word, struct mountinfo_line *out)
{
	const char *colon = word.len > 0 ? memchr(word.data, ':', word.len) : NULL;
	struct slice major, minor;

	if (!colon)
		return false;
	major = (struct slice){ word.data, (size_t)(colon - word.data) };
	minor = (struct slice){ colon + 1, word.len - major.len - 1 };
	return to_u32(major, UINT32_MAX, &out->major) && to_u32(minor, UINT32_MAX, &out->minor);
}

static bool take_line(struct slice line, struct mountinfo_line *out)
{
	struct slice word;
	uint32_t id, parent;

	if (!to_u32(take_word(&line), INT32_MAX, &id) ||
		!to_u32(take_word(&line), INT32_MAX, &parent) ||
		!take_device(take_word(&line), out))
		return false;
	out->id = (int32_t)id;
	out->parent = (int32_t)parent;
	out->root = take_word(&line);
	out->point = take_word(&line);
	out->options = take_word(&line);
	do { /* optional fields, up to a dash */
		if (line.len == 0)
			return false;
		word = take_word(&line);
	} while (!slice_eq(word, SLICE("-")));
	out->type = take_word(&line);
	out->source = take_word(&line);
	return out->point.len > 0 && out->type.len > 0;
}

int mountinfo_next(const char *text, size_t len, size_t *at, struct mountinfo_line *ret)
{
	struct mountinfo_line out = { 0 };
	struct slice line;
	const char *end;

	if (*at >= len)
		return 0;
	line.data = text + *at;
	end = memchr(line.data, '\n', len - *at);
	line.len = end ? (size_t)(end - line.data) : len - *at;
	*at += line.len + (end ? 1 : 0);
	if (!end || !take_line(line, &out)) /* A line that was cut is none. */
		return -EBADMSG;
	*ret = out;
	return 1;
}

static bool is_octal(char c, char max)
{
	return c >= '0' && c <= max;
}

size_t mountinfo_decode(char *out, size_t size, struct slice s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len && n + 1 < size; i++) {
		const char *p = s.data + i;

		if (s.len - i > 3 && p[0] == '\\' && is_octal(p[1], '3') && is_octal(p[2], '7') &&
			is_octal(p[3], '7') && (p[1] | p[2] | p[3]) != '0') {
			out[n++] = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			i += 3;
		} else if (p[0] != '\0') {
			out[n++] = p[0];
		}
	}
	out[n] = '\0';
	return n;
}

bool mountinfo_is_mount_namespace(struct slice root, uint64_t *ret_inode)
{
	static const char prefix[] = "mnt:[";
	size_t prefix_len = sizeof(prefix) - 1, len;
	char digits[24];

	if (root.len <= prefix_len + 1 || memcmp(root.data, prefix, prefix_len) != 0 ||
		root.data[root.len - 1] != ']')
		return false;
	len = root.len - prefix_len - 1;
	if (len >= sizeof(digits))
		return false;
	memcpy(digits, root.data + prefix_len, len);
	digits[len] = '\0';
	return str_to_u64(digits, ret_inode) == 0;
}

int mountinfo_read(int proc_fd, int32_t pid, int32_t tid, char **ret_text, size_t *ret_len)
{
	CLEAN_FD int fd = -EBADF;
	char path[64];
	int r;

	if (tid > 0)
		(void)snprintf(path, sizeof(path), "%d/task/%d/mountinfo", pid, tid);
	else
		(void)snprintf(path, sizeof(path), "%d/mountinfo", pid);
	fd = fault_is_due(FAULT_OPEN) ? (errno = EMFILE, -1)
				      : openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	r = fd_read_whole(fd, MOUNTINFO_MAX, ret_text, ret_len);
	return r == -ENOENT ? -ESRCH : r;
}
