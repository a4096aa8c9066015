/*
 * A probe that does not keep to the protocol; PROBE_FAKE says how:
 *	1 answers too short             2 answers with a code that is none
 *	3 answers without end what nobody asked        4 speaks without end, not even as an answer
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/mem.h"
#include "kernel/probe-protocol.h"
#include "role/role-child.h"

static const struct channel_type accepts[] = {
	ROLE_START_TYPE,
	{ PROBE_MSG_READ, 0, CHANNEL_PAYLOAD_MAX, 0 },
	{ PROBE_MSG_STAT, 0, CHANNEL_PAYLOAD_MAX, 0 },
	{ PROBE_MSG_STATFS, 0, CHANNEL_PAYLOAD_MAX, 0 },
	{ PROBE_MSG_FIND, 0, CHANNEL_PAYLOAD_MAX, 0 },
};

static void misbehave(struct channel *c, uint64_t id)
{
	struct probe_result result = { .code = 7 };

	if (PROBE_FAKE == 1)
		(void)channel_send(c, PROBE_MSG_ANSWER, id, "short", 5, NULL, 0);
	if (PROBE_FAKE == 2)
		(void)channel_send(c, PROBE_MSG_ANSWER, id, &result, sizeof(result), NULL, 0);
	while (PROBE_FAKE >= 3)
		if (channel_send(c, PROBE_MSG_ANSWER, PROBE_FAKE == 3 ? id + 1 : 0, &result,
			    sizeof(result), NULL, 0) == -ENOBUFS) {
			(void)poll(
				&(struct pollfd){ .fd = channel_fd(c), .events = POLLOUT }, 1, -1);
			(void)channel_flush(c);
		}
}

int main(void)
{
	struct channel_message m;
	struct channel *c;

	if (role_child_start("pleg-fake", accepts, ELEMENTS(accepts), &c, &m) < 0)
		return 9;
	channel_message_done(&m);
	if (role_child_ready(c) < 0)
		return 8;
	for (;;) {
		int r;

		(void)poll(&(struct pollfd){ .fd = channel_fd(c), .events = channel_events(c) }, 1,
			-1);
		(void)channel_flush(c);
		r = channel_receive(c, &m);
		if (r < 0)
			return 0;
		if (r == 0)
			continue;
		misbehave(c, m.id);
		channel_message_done(&m);
	}
}
