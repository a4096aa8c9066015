/*
 * The probe in the agent: started early and kept ready for whoever has to look at what may hang (law
 * 5). Its executable is held in a sealed memfd, so that a stuck one is replaced without a disk.
 *
 * Every PROBING_PERIOD_NS it is asked for something that cannot hang, the status of this very
 * process. So one that was stopped, or hangs for a reason of its own, is replaced before somebody
 * needs it.
 */
#include "agent/agent-internal.h"

#include <errno.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#define PROBING_PERIOD_NS  (10 * NSEC_PER_SEC)
#define PROBING_TIMEOUT_NS (2 * NSEC_PER_SEC)

void probing_open(struct agent *agent)
{
	struct err e = { 0 };
	int r = agent_open_exe("kernel", "pleg-probe", true, &agent->probe_exe_fd, &e);

	if (r < 0) {
		agent->probe_exe_fd = -EBADF;
		agent_warn(agent,
			FMT("There is no probe, nothing that may hang is looked at: %.120s",
				err_text(&e, r)));
	}
}

/* ---- the sign of life -------------------------------------------------------------------------- */

static void probing_on_life(
	int r, const struct probe_answer *answer, const char *reason, void *userdata)
{
	struct agent *agent = userdata;

	(void)answer;
	/* Too many that hang, or a probe that is being replaced, is told by the status. */
	if (r == -ETIMEDOUT)
		log_warning("The probe gave no sign of life and is replaced", NULL);
	else if (r < 0)
		log_debug("No sign of life from the probe", "reason", reason, NULL);
	(void)timer_set_in(agent->probe_timer, PROBING_PERIOD_NS);
}

static void probing_on_due(void *userdata)
{
	struct agent *agent = userdata;
	struct err e = { 0 };
	int r = probe_read(agent->probe, agent->self, PROBE_STATUS, PROBING_TIMEOUT_NS,
		probing_on_life, agent, &e);

	if (r < 0) {
		log_debug("The probe is not asked", "error", err_text(&e, r), NULL);
		(void)timer_set_in(agent->probe_timer, PROBING_PERIOD_NS);
	}
}

static int probing_identify(struct agent *agent)
{
	CLEAN_FD int proc_fd = proc_open();
	struct proc_stat stat;
	int r;

	if (proc_fd < 0)
		return proc_fd;
	r = proc_read_stat(proc_fd, getpid(), 0, &stat);
	if (r < 0)
		return r;
	agent->self = (struct proc_id){ .pid = stat.pid, .start_ticks = stat.start_ticks };
	return 0;
}

/* ---- life -------------------------------------------------------------------------------------- */

void probing_start(struct agent *agent)
{
	int r;

	if (agent->probe_exe_fd < 0 || !agent->spawner)
		return; /* Warned of when that was found. */
	r = probing_identify(agent);
	if (r >= 0)
		r = probe_new(agent->loop, agent->spawner, agent->probe_exe_fd, &agent->probe);
	if (r >= 0)
		r = timer_new(
			agent->loop, PROBING_PERIOD_NS, probing_on_due, agent, &agent->probe_timer);
	if (r >= 0)
		return;
	probing_stop(agent);
	agent_warn(agent,
		FMT("There is no probe, nothing that may hang is looked at: %.120s",
			err_text(NULL, r)));
}

void probing_stop(struct agent *agent)
{
	agent->probe_timer = timer_free(agent->probe_timer);
	agent->probe = probe_free(agent->probe);
	agent->probe_exe_fd = fd_close(agent->probe_exe_fd);
}

struct probe *probing_probe(const struct agent *agent)
{
	return agent->probe;
}

bool probing_status(const struct agent *agent, struct probe_status *ret)
{
	if (!agent->probe)
		return false;
	probe_status(agent->probe, ret);
	return true;
}
