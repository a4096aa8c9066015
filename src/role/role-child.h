/*
 * The role's own side: what its main() does first. Links libc only.
 *
 *	role_child_start(...)      reads what the agent passes at start
 *	... set up with it ...
 *	role_child_narrow(...)     gives up what is not needed any more
 *	role_child_ready(...)      now the agent calls it running
 *	loop over channel_receive() until -EPIPE: the agent is gone or wants this role to end
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "role/channel.h"
#include "role/mechanism.h"

/* The row that every role's table of accepted types begins with. */
#define ROLE_START_TYPE                                                                            \
	{                                                                                          \
		ROLE_MSG_START, 0, CHANNEL_PAYLOAD_MAX, CHANNEL_FDS_ANY                            \
	}

/* Opens the channel and waits up to 10 s for the start message. `process_name` is what ps shows.
 * `ret_start` is the caller's, to be given to channel_message_done(). */
int role_child_start(const char *process_name, const struct channel_type *types, size_t type_count,
	struct channel **ret_channel, struct channel_message *ret_start);
int role_child_ready(struct channel *c);
/* Tells the agent why there will be no role. Returns the exit status for main(). */
int role_child_fail(struct channel *c, int code, const char *what);

enum role_narrow {
	ROLE_NARROW_SERVE, /* no opening of files, no new sockets, no processes; keeps what it has */
	ROLE_NARROW_LOOK,  /* opens files, but no new sockets, no processes */
	ROLE_NARROW_STORE, /* also renames and removes them; see role_child_confine() */
};

/* Not dumpable, and a seccomp filter that answers what this role never does with EPERM. 0 also
 * where the kernel has no seccomp: it is one wall of several. */
int role_child_narrow(enum role_narrow how);

/* For a role that was started as root in order to open something first: becomes `uid` and `gid`
 * (uid 0: stays what it is) and gives up every capability. Does nothing where we are not root. */
int role_child_drop(uid_t uid, gid_t gid);

/* From here on no file can be opened, made or removed but those beneath this folder (Landlock). 0
 * also where the kernel has none. */
int role_child_confine(int dirfd);
