/* The spawner's own process; role/role.h says what it is for. */
#pragma once

#include <sys/types.h>

/* Serves spawn requests from `agent_fd` until the agent closes it or ends. Runs right after
 * fork(); takes over the whole process. */
_Noreturn void spawner_run(int agent_fd, int log_fd, pid_t agent);
