#include "sampler.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "kernel/probe-agent.h"
#include "role/role.h"

#define PROBE_READY_NS (2 * NSEC_PER_SEC)

/* The probe starts in its own time; without a wait the first questions would come before it. */
static void wait_for_probe(struct sampler *s)
{
	uint64_t end_ns = clock_now().mono_ns + PROBE_READY_NS;
	struct probe_status status;

	for (probe_status(s->probe, &status);
		status.role.state != ROLE_RUNNING && clock_now().mono_ns < end_ns;
		probe_status(s->probe, &status))
		if (sd_event_run(s->loop, 10000) < 0)
			return;
}

static int start_probe(struct sampler *s)
{
	int r = role_spawner_attach(s->spawner, s->loop);

	if (r >= 0)
		r = probe_new(s->loop, s->spawner, s->exe_fd, &s->probe);
	if (r >= 0)
		wait_for_probe(s);
	return r;
}

int sampler_init(struct sampler *s, const char *endpoint, const char *probe, struct err *reterr)
{
	struct collect_options options = { .endpoint = endpoint, .ask_runtime = true };
	int r = 0;

	*s = (struct sampler){ .exe_fd = -EBADF };
	/* Forked before there is anything that a child should not have. */
	if (probe)
		r = role_spawner_start(STDERR_FILENO, &s->spawner);
	if (r >= 0 && probe) {
		r = role_exe_open(probe, true, &s->exe_fd, reterr);
		if (r < 0)
			s->exe_fd = -EBADF;
	}
	if (r >= 0)
		r = sd_event_new(&s->loop);
	if (r >= 0 && probe)
		r = start_probe(s);
	options.loop = s->loop;
	options.probe = s->probe;
	return r < 0 ? r : collect_new(&options, &s->collect, reterr);
}

void sampler_done(struct sampler *s)
{
	s->collect = collect_free(s->collect);
	s->probe = probe_free(s->probe);
	s->spawner = role_spawner_free(s->spawner);
	s->exe_fd = fd_close(s->exe_fd);
	s->loop = sd_event_unref(s->loop);
}
