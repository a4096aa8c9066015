#include "kernel/unix-sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <libmnl/libmnl.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#define STATE_LISTEN 10u /* TCP_LISTEN, which unix sockets borrow */
#define DUMP_BYTES   16384
#define TEXT_MAX     ((size_t)8 << 20) /* of /proc/PID/net/unix */
#define ACCEPTS      "00010000"        /* its flag of a listening socket */

struct dump {
	struct unix_listener *found;
	unsigned count, max;
};

static void take_name(const struct nlattr *a, struct unix_listener *out)
{
	const char *name = mnl_attr_get_payload(a);
	size_t len = mnl_attr_get_payload_len(a);

	if (len >= sizeof(out->name))
		len = sizeof(out->name) - 1;
	memcpy(out->name, name, len);
	out->name[len] = '\0';
	if (len > 0 && out->name[0] == '\0') { /* abstract */
		out->name[0] = '@';
		for (size_t i = 1; i < len; i++)
			if (out->name[i] == '\0')
				out->name[i] = '@';
	}
}

int unix_sockets_parse(const void *data, uint32_t len, struct unix_listener *ret)
{
	const struct unix_diag_msg *m = data;
	struct unix_listener out = { 0 };
	const struct nlattr *a;
	size_t left;

	if (len < sizeof(*m))
		return -EBADMSG;
	out.inode = m->udiag_ino;
	a = (const struct nlattr *)(m + 1);
	for (left = len - sizeof(*m); left > 0 && mnl_attr_ok(a, (int)left);) {
		size_t size = MNL_ALIGN(a->nla_len);

		switch (mnl_attr_get_type(a)) {
		case UNIX_DIAG_NAME: take_name(a, &out); break;
		case UNIX_DIAG_RQLEN:
			if (mnl_attr_get_payload_len(a) < sizeof(struct unix_diag_rqlen))
				return -EBADMSG;
			out.has_queue = true;
			out.waiting = ((const struct unix_diag_rqlen *)mnl_attr_get_payload(a))
					      ->udiag_rqueue;
			out.backlog = ((const struct unix_diag_rqlen *)mnl_attr_get_payload(a))
					      ->udiag_wqueue;
			break;
		}
		left = size < left ? left - size : 0;
		a = mnl_attr_next(a);
	}
	*ret = out;
	return 0;
}

static int on_message(const struct nlmsghdr *m, void *userdata)
{
	struct dump *d = userdata;

	if (d->count < d->max &&
		unix_sockets_parse(mnl_nlmsg_get_payload(m), (uint32_t)mnl_nlmsg_get_payload_len(m),
			&d->found[d->count]) == 0)
		d->count++;
	return MNL_CB_OK;
}

static int ask(struct mnl_socket *s, uint32_t sequence)
{
	_Alignas(struct nlmsghdr) char bytes[256];
	struct nlmsghdr *m = mnl_nlmsg_put_header(bytes);
	struct unix_diag_req *q;

	m->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	m->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	m->nlmsg_seq = sequence;
	q = mnl_nlmsg_put_extra_header(m, sizeof(*q));
	q->sdiag_family = AF_UNIX;
	q->udiag_states = 1u << STATE_LISTEN;
	q->udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_RQLEN;
	return mnl_socket_sendto(s, m, m->nlmsg_len) < 0 ? -errno : 0;
}

static int receive(struct mnl_socket *s, uint32_t sequence, struct dump *d)
{
	CLEAN(mem_freep) char *bytes = mem_alloc(DUMP_BYTES);
	int r = 1;

	if (!bytes)
		return -ENOMEM;
	while (r > 0) {
		ssize_t n = mnl_socket_recvfrom(s, bytes, DUMP_BYTES);

		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		r = mnl_cb_run(bytes, (size_t)n, sequence, mnl_socket_get_portid(s), on_message, d);
	}
	return r < 0 ? -errno : 0;
}

int unix_sockets_read(struct unix_listener *ret, unsigned max)
{
	const struct timeval limit = { .tv_usec = UNIX_SOCKETS_MS * 1000 };
	struct mnl_socket *s = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	struct dump d = { .found = ret, .max = max };
	int r;

	if (!s)
		return -errno;
	(void)setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	r = mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : ask(s, 1);
	if (r >= 0)
		r = receive(s, 1, &d);
	(void)mnl_socket_close(s);
	return r < 0 ? r : (int)d.count;
}

/* --- another namespace --- */

/* The next word between blanks; empty at the end. */
static struct slice take_word(struct slice *s)
{
	struct slice word;

	while (s->len > 0 && *s->data == ' ')
		s->data++, s->len--;
	word = (struct slice){ s->data, 0 };
	while (s->len > 0 && *s->data != ' ')
		s->data++, s->len--, word.len++;
	return word;
}

int unix_sockets_parse_line(const char *line, size_t len, struct unix_listener *ret)
{
	struct slice rest = { line, len }, flags, inode;
	struct unix_listener out = { 0 };
	char digits[16];
	uint64_t value;

	(void)take_word(&rest); /* its address */
	(void)take_word(&rest); /* references */
	(void)take_word(&rest); /* protocol */
	flags = take_word(&rest);
	(void)take_word(&rest); /* type */
	(void)take_word(&rest); /* state */
	inode = take_word(&rest);
	if (!slice_eq(flags, SLICE(ACCEPTS)) || inode.len == 0 || inode.len >= sizeof(digits))
		return 0;
	memcpy(digits, inode.data, inode.len);
	digits[inode.len] = '\0';
	if (str_to_u64(digits, &value) < 0 || value > UINT32_MAX)
		return 0;
	out.inode = (uint32_t)value;
	if (rest.len > 0) { /* one blank, then the name, which may hold more of them */
		rest.data++;
		rest.len--;
	}
	if (rest.len >= sizeof(out.name))
		rest.len = sizeof(out.name) - 1;
	memcpy(out.name, rest.data, rest.len);
	*ret = out;
	return 1;
}

static int read_text(int fd, char **ret_text, size_t *ret_len)
{
	CLEAN(mem_freep) char *text = NULL;
	size_t len = 0, room = 0;

	for (;;) {
		ssize_t n;

		if (room == len) {
			char *grown;

			room = room ? room * 2 : DUMP_BYTES;
			if (room > TEXT_MAX)
				return -EFBIG;
			grown = mem_resize(text, room, 1);
			if (!grown)
				return -ENOMEM;
			text = grown;
		}
		n = read(fd, text + len, room - len);
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret_text = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

int unix_sockets_read_of(int proc_fd, int32_t pid, struct unix_listener *ret, unsigned max)
{
	CLEAN(mem_freep) char *text = NULL;
	CLEAN_FD int fd = -EBADF;
	unsigned count = 0;
	size_t len = 0;
	char path[32];
	int r;

	(void)snprintf(path, sizeof(path), "%d/net/unix", pid);
	fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	r = read_text(fd, &text, &len);
	if (r < 0)
		return r;
	for (const char *at = text, *end = text + len; at < end && count < max;) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t line = newline ? (size_t)(newline - at) : (size_t)(end - at);

		count += (unsigned)unix_sockets_parse_line(at, line, &ret[count]);
		at += line + 1;
	}
	return (int)count;
}
