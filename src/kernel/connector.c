#include "kernel/connector.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/time.h"

#define RATE_MAX        1000u
#define RETRY_NS        (30 * NSEC_PER_SEC)
#define RETRY_DOUBLINGS 4u
#define HELLO_NS        (2 * NSEC_PER_SEC)
#define CALM_NS         (600 * NSEC_PER_SEC) /* on for so long: the pauses start anew */
#define BATCH           64u                  /* datagrams that one turn of the loop takes */
#define RECEIVE_BYTES   (512 * 1024)         /* of the socket; some 800 events by their true size */

/* Where things stand in a datagram: the netlink header, the connector's, then the event. */
#define AT_CN    MNL_NLMSG_HDRLEN
#define AT_EVENT (AT_CN + sizeof(struct cn_msg))
#define AT_WHAT  (AT_EVENT + offsetof(struct proc_event, what))
#define AT_PID   (AT_EVENT + offsetof(struct proc_event, event_data.exit.process_pid))
#define AT_TGID  (AT_EVENT + offsetof(struct proc_event, event_data.exit.process_tgid))

struct connector {
	struct connector_config config;
	sd_event *event;
	sd_event_source *io, *timer;
	struct mnl_socket *socket;
	enum connector_state state;
	char reason[160];

	uint64_t second_ns; /* the second that `second_count` is about began here */
	uint32_t second_count;
	uint64_t on_since_ns;
	unsigned pauses; /* in a row */
	uint64_t hints, floods, losses;
};

const char *connector_state_text(enum connector_state state)
{
	switch (state) {
	case CONNECTOR_OFF: return "off";
	case CONNECTOR_STARTING: return "starting";
	case CONNECTOR_ON: return "on";
	case CONNECTOR_FLOODED: return "flooded";
	case CONNECTOR_UNAVAILABLE: return "unavailable";
	}
	return "unknown";
}

/* --- the format --- */

enum connector_word connector_parse(const void *data, size_t len, int32_t *ret_value)
{
	const uint8_t *bytes = data;
	struct nlmsghdr header;
	struct cn_msg message;
	struct proc_event event;

	if (len < AT_EVENT + offsetof(struct proc_event, event_data))
		return CONNECTOR_WORD_OTHER;
	memcpy(&header, bytes, sizeof(header));
	memcpy(&message, bytes + AT_CN, sizeof(message));
	if (header.nlmsg_type != NLMSG_DONE || header.nlmsg_len > len ||
		message.id.idx != CN_IDX_PROC || message.id.val != CN_VAL_PROC ||
		message.len > len - AT_EVENT)
		return CONNECTOR_WORD_OTHER;
	/* The union at its end is as long as the kernel's headers at hand have it. */
	memset(&event, 0, sizeof(event));
	memcpy(&event, bytes + AT_EVENT, message.len < sizeof(event) ? message.len : sizeof(event));
	if (event.what == PROC_EVENT_NONE &&
		message.len >= offsetof(struct proc_event, event_data) + 4) {
		*ret_value = (int32_t)event.event_data.ack.err;
		return CONNECTOR_WORD_ACK;
	}
	if (event.what == PROC_EVENT_EXIT &&
		message.len >= offsetof(struct proc_event, event_data.exit.exit_code) &&
		event.event_data.exit.process_pid == event.event_data.exit.process_tgid &&
		event.event_data.exit.process_pid > 0) {
		*ret_value = event.event_data.exit.process_pid;
		return CONNECTOR_WORD_EXIT;
	}
	return CONNECTOR_WORD_OTHER;
}

/* Acknowledgements and exits of leaders pass, the rest never wakes us. */
static int attach_filter(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT_WHAT), /* as big endian, hence htonl() */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(PROC_EVENT_NONE), 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(PROC_EVENT_EXIT), 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT_PID),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT_TGID),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { .len = ELEMENTS(code), .filter = code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno
											   : 0;
}

static int send_op(struct connector *c, enum proc_cn_mcast_op op)
{
	uint8_t bytes[MNL_ALIGN(AT_EVENT + sizeof(op))] = { 0 };
	struct nlmsghdr *header = mnl_nlmsg_put_header(bytes);
	struct cn_msg message = {
		.id = { .idx = CN_IDX_PROC, .val = CN_VAL_PROC },
		.len = sizeof(op),
	};

	header->nlmsg_type = NLMSG_DONE;
	header->nlmsg_len = AT_EVENT + sizeof(op);
	header->nlmsg_pid = mnl_socket_get_portid(c->socket);
	memcpy(bytes + AT_CN, &message, sizeof(message));
	memcpy(bytes + AT_EVENT, &op, sizeof(op));
	return mnl_socket_sendto(c->socket, bytes, header->nlmsg_len) < 0 ? -errno : 0;
}

/* --- state --- */

static void set_state(struct connector *c, enum connector_state state, const char *reason)
{
	log_debug("Process connector changed state", "from", connector_state_text(c->state), "to",
		connector_state_text(state), "reason", reason, NULL);
	c->state = state;
	(void)snprintf(c->reason, sizeof(c->reason), "%s", reason);
}

static void tell_state(struct connector *c)
{
	if (c->config.on_state)
		c->config.on_state(c->state, c->reason, c->config.userdata);
}

static void arm(struct connector *c, uint64_t after_ns)
{
	uint64_t at_ns = time_add(clock_now().mono_ns, after_ns);

	(void)sd_event_source_set_time(c->timer, at_ns / NSEC_PER_USEC + 1);
	(void)sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
}

static void hang_up(struct connector *c)
{
	c->io = sd_event_source_disable_unref(c->io);
	if (!c->socket)
		return;
	/* The kernel counts its listeners by these words, not by sockets. */
	(void)send_op(c, PROC_CN_MCAST_IGNORE);
	(void)mnl_socket_close(c->socket);
	c->socket = NULL;
}

static void give_up(struct connector *c, const char *reason)
{
	hang_up(c);
	(void)sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
	set_state(c, CONNECTOR_UNAVAILABLE, reason);
}

static void pause_for_flood(struct connector *c)
{
	uint64_t now_ns = clock_now().mono_ns, pause_ns;
	char text[TIME_TEXT_MAX], reason[sizeof(c->reason)];

	if (time_since(now_ns, c->on_since_ns) >= CALM_NS)
		c->pauses = 0;
	pause_ns = c->config.retry_ns
		<< (c->pauses < RETRY_DOUBLINGS ? c->pauses : RETRY_DOUBLINGS);
	c->pauses++;
	c->floods++;
	hang_up(c);
	(void)snprintf(reason, sizeof(reason), "More than %u exits in a second; tried again in %s",
		c->config.rate_max, time_format_short(text, pause_ns));
	set_state(c, CONNECTOR_FLOODED, reason);
	arm(c, pause_ns);
	tell_state(c);
	c->config.on_rescan(c->config.userdata);
}

/* --- what comes in --- */

static void take_ack(struct connector *c, int32_t error)
{
	if (c->state != CONNECTOR_STARTING)
		return;
	if (error != 0) {
		give_up(c,
			error == EPERM ? "The kernel refuses it: CAP_NET_ADMIN is missing"
				       : "The kernel refuses it");
		tell_state(c);
		return;
	}
	(void)sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
	c->on_since_ns = c->second_ns = clock_now().mono_ns;
	c->second_count = 0;
	set_state(c, CONNECTOR_ON, "");
	tell_state(c);
	c->config.on_rescan(c->config.userdata); /* What exited before is not told. */
}

/* False when it is one too many. */
static bool within_rate(struct connector *c)
{
	uint64_t now_ns = clock_now().mono_ns;

	if (time_since(now_ns, c->second_ns) >= NSEC_PER_SEC) {
		c->second_ns = now_ns;
		c->second_count = 0;
	}
	return ++c->second_count <= c->config.rate_max;
}

/* 1: taken. 0: nothing there. Negative: as recvfrom(2). */
static int receive_one(struct connector *c)
{
	uint8_t bytes[512];
	enum connector_word word;
	int32_t value;
	ssize_t n = mnl_socket_recvfrom(c->socket, bytes, sizeof(bytes)); /* refuses cut ones */

	if (n < 0)
		return errno == EAGAIN ? 0 : errno == EINTR || errno == ENOSPC ? 1 : -errno;
	if (fault_is_due(FAULT_READ))
		return -ENOBUFS;
	word = connector_parse(bytes, (size_t)n, &value);
	if (word == CONNECTOR_WORD_ACK) {
		take_ack(c, value);
	} else if (word == CONNECTOR_WORD_EXIT && c->state == CONNECTOR_ON) {
		c->hints++;
		c->config.on_exit_hint(value, c->config.userdata);
		if (!within_rate(c))
			pause_for_flood(c);
	}
	return 1;
}

static int on_socket(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct connector *c = userdata;
	int r = 1;

	for (unsigned i = 0; i < BATCH && r > 0 && c->socket; i++)
		r = receive_one(c);
	if (r == -ENOBUFS) {
		c->losses++;
		c->config.on_rescan(c->config.userdata);
	} else if (r < 0) {
		give_up(c, FMT("Receive: %s", strerrordesc_np(-r)));
		tell_state(c);
	}
	return 0;
}

/* --- start --- */

static int fail(struct connector *c, const char *what, int r)
{
	bool no_kernel = r == -EPROTONOSUPPORT || r == -ECONNREFUSED;

	give_up(c,
		no_kernel ? "This kernel, or this network namespace, has none"
			  : FMT("%s: %s", what, strerrordesc_np(-r)));
	return r;
}

static int open_socket(struct connector *c)
{
	int r, fd, size = RECEIVE_BYTES;

	c->socket = fault_is_due(FAULT_OPEN)
		? (errno = EMFILE, NULL)
		: mnl_socket_open2(NETLINK_CONNECTOR, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!c->socket)
		return fail(c, "Open", -errno);
	fd = mnl_socket_get_fd(c->socket);
	/* Before it hears anything, or the first events would pass. */
	r = attach_filter(fd);
	if (r < 0)
		return fail(c, "Attach a filter", r);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (mnl_socket_bind(c->socket, CN_IDX_PROC, MNL_SOCKET_AUTOPID) < 0)
		return fail(c, "Bind", -errno);
	r = send_op(c, PROC_CN_MCAST_LISTEN);
	if (r < 0)
		return fail(c, "Listen", r);
	r = sd_event_add_io(c->event, &c->io, fd, EPOLLIN, on_socket, c);
	if (r < 0)
		return fail(c, "Watch", r);
	(void)sd_event_source_set_priority(c->io, c->config.priority);
	return 0;
}

int connector_start(struct connector *c)
{
	int r;

	if (c->state == CONNECTOR_STARTING || c->state == CONNECTOR_ON)
		return 0;
	r = open_socket(c);
	if (r < 0)
		return r;
	set_state(c, CONNECTOR_STARTING, "");
	arm(c, c->config.hello_ns);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct connector *c = userdata;

	if (c->state == CONNECTOR_STARTING)
		give_up(c, "The kernel does not answer, as it is in a pid or user namespace");
	else if (connector_start(c) >= 0)
		return 0;
	tell_state(c);
	return 0;
}

int connector_new(sd_event *event, const struct connector_config *config, struct connector **ret)
{
	CLEAN(connector_freep) struct connector *c = mem_zalloc(sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->config = *config;
	c->config.rate_max = config->rate_max ?: RATE_MAX;
	c->config.retry_ns = config->retry_ns ?: RETRY_NS;
	c->config.hello_ns = config->hello_ns ?: HELLO_NS;
	c->event = sd_event_ref(event);
	r = sd_event_add_time(event, &c->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, c);
	if (r < 0)
		return r;
	(void)sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
	*ret = TAKE_PTR(c);
	return 0;
}

struct connector *connector_free(struct connector *c)
{
	if (!c)
		return NULL;
	hang_up(c);
	c->timer = sd_event_source_disable_unref(c->timer);
	c->event = sd_event_unref(c->event);
	return mem_free(c);
}

void connector_status(const struct connector *c, struct connector_status *ret)
{
	*ret = (struct connector_status){
		.state = c->state,
		.reason = c->reason,
		.hints = c->hints,
		.floods = c->floods,
		.losses = c->losses,
	};
}
