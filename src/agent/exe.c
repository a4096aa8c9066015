/* Where the executables of the roles are: opened early, while the disk answers. */
#include "agent/agent-internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

int agent_open_exe(
	const char *room, const char *name, bool in_memory, int *ret_fd, struct err *reterr)
{
	char self[3072], path[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;
	int r = -ENOENT;

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash) {
		*slash = '\0';
		(void)snprintf(path, sizeof(path), "%s/%s", self, name);
		r = role_exe_open(path, in_memory, ret_fd, reterr);
	}
	if (slash && r == -ENOENT) {
		(void)snprintf(path, sizeof(path), "%s/../%s/%s", self, room, name);
		r = role_exe_open(path, in_memory, ret_fd, reterr);
	}
	if (slash && r == -ENOENT) { /* installed, and moved as a whole */
		(void)snprintf(path, sizeof(path), "%s/../libexec/pleg/%s", self, name);
		r = role_exe_open(path, in_memory, ret_fd, reterr);
	}
	if (r == -ENOENT) {
		(void)snprintf(path, sizeof(path), "%s/%s", PLEG_LIBEXECDIR, name);
		r = role_exe_open(path, in_memory, ret_fd, reterr);
	}
	return r;
}
