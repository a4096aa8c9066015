#include "kernel/kmsg.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/time.h"

#define RECORD_MAX 8192

static const char before[] = "INFO: task ";
static const char blocked[] = " blocked for more than ";
static const char after[] = " seconds";

/* Decimal digits at *s, behind which it moves. */
static bool take_digits(const char **s, const char *end, uint64_t *ret)
{
	char text[24];
	size_t n = 0;

	while (*s < end && **s >= '0' && **s <= '9' && n < sizeof(text) - 1)
		text[n++] = *(*s)++;
	text[n] = '\0';
	return str_to_u64(text, ret) == 0;
}

/* Priority, sequence and time: 6,1234,5678901,-;text */
static const char *take_head(const char *s, const char *end, uint64_t *ret_us)
{
	const char *semicolon = memchr(s, ';', (size_t)(end - s));
	uint64_t ignored;

	if (!semicolon || !take_digits(&s, semicolon, &ignored) || *s++ != ',' ||
		!take_digits(&s, semicolon, &ignored) || *s++ != ',' ||
		!take_digits(&s, semicolon, ret_us))
		return NULL;
	return semicolon + 1;
}

bool kmsg_parse_hung(const char *record, size_t len, struct kmsg_hung *ret)
{
	const char *end = record + len, *s, *name, *mark, *colon;
	struct kmsg_hung out = { 0 };
	uint64_t us, tid;
	size_t comm;

	s = take_head(record, end, &us);
	if (!s || (size_t)(end - s) < sizeof(before) || memcmp(s, before, sizeof(before) - 1) != 0)
		return false;
	name = s + sizeof(before) - 1;
	/* A name may hold anything, also a colon and this text: the last ones count. */
	mark = NULL;
	for (s = name; (s = memmem(s, (size_t)(end - s), blocked, sizeof(blocked) - 1)); s++)
		mark = s;
	colon = mark ? memrchr(name, ':', (size_t)(mark - name)) : NULL;
	if (!colon)
		return false;
	s = colon + 1;
	if (!take_digits(&s, mark, &tid) || s != mark || tid == 0 || tid > INT32_MAX)
		return false;
	s = mark + sizeof(blocked) - 1;
	if (!take_digits(&s, end, &out.seconds) || (size_t)(end - s) < sizeof(after) - 1 ||
		memcmp(s, after, sizeof(after) - 1) != 0)
		return false;
	comm = (size_t)(colon - name);
	if (comm >= sizeof(out.comm))
		comm = sizeof(out.comm) - 1;
	memcpy(out.comm, name, comm);
	out.tid = (int32_t)tid;
	out.at_boot_ns = us > UINT64_MAX / NSEC_PER_USEC ? UINT64_MAX : us * NSEC_PER_USEC;
	*ret = out;
	return true;
}

int kmsg_read_hung(struct kmsg_hung *ret, unsigned max)
{
	CLEAN_FD int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	char record[RECORD_MAX];
	unsigned count = 0;

	if (fd < 0)
		return -errno;
	for (unsigned i = 0; i < KMSG_RECORDS_MAX; i++) {
		ssize_t n = read(fd, record, sizeof(record));

		if (n < 0 && (errno == EPIPE || errno == EINTR))
			continue; /* Some were overwritten meanwhile; the next is the oldest. */
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n <= 0)
			break;
		if (max == 0 || !memmem(record, (size_t)n, before, sizeof(before) - 1))
			continue;
		if (count == max) {
			memmove(ret, ret + 1, (max - 1) * sizeof(*ret));
			count--;
		}
		if (kmsg_parse_hung(record, (size_t)n, &ret[count]))
			count++;
	}
	return (int)count;
}
