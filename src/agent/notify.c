#include "agent/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "agent/timer.h"
#include "base/fd.h"
#include "base/time.h"

struct notify {
	int fd; /* -EBADF: nobody to tell */
	struct sockaddr_un address;
	socklen_t address_len;
	struct timer *watchdog;
	uint64_t watchdog_ns; /* between two signs of life */
};

static void notify_on_watchdog(void *userdata)
{
	struct notify *notify = userdata;

	notify_send(notify, "WATCHDOG=1");
	(void)timer_set_in(notify->watchdog, notify->watchdog_ns);
}

static int notify_open(struct notify *notify, const char *path)
{
	size_t len = strlen(path);

	if ((path[0] != '/' && path[0] != '@') || len >= sizeof(notify->address.sun_path))
		return -EINVAL;
	notify->address.sun_family = AF_UNIX;
	memcpy(notify->address.sun_path, path, len);
	if (path[0] == '@') /* The abstract namespace. */
		notify->address.sun_path[0] = '\0';
	notify->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return notify->fd < 0 ? -errno : 0;
}

int notify_new(sd_event *loop, struct notify **ret)
{
	CLEAN(notify_freep) struct notify *notify = mem_zalloc(sizeof(*notify));
	const char *path = getenv("NOTIFY_SOCKET");
	uint64_t usec = 0;
	int r;

	if (!notify)
		return -ENOMEM;
	notify->fd = -EBADF;
	if (path) {
		r = notify_open(notify, path);
		if (r < 0)
			return r;
	}
	if (notify->fd >= 0 && sd_watchdog_enabled(0, &usec) > 0) {
		notify->watchdog_ns = usec / 2 * NSEC_PER_USEC;
		r = timer_new(loop, 0, notify_on_watchdog, notify, &notify->watchdog);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(notify);
	return 0;
}

struct notify *notify_free(struct notify *notify)
{
	if (!notify)
		return NULL;
	notify->watchdog = timer_free(notify->watchdog);
	notify->fd = fd_close(notify->fd);
	return mem_free(notify);
}

void notify_send(struct notify *notify, const char *text)
{
	if (notify->fd < 0)
		return;
	/* Lost when systemd does not read: the next one says the same or more. */
	(void)sendto(notify->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
		(const struct sockaddr *)&notify->address, notify->address_len);
}
