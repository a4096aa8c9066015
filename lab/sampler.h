/* What pleg-evidence and pleg-verdict stand on: a loop, a collector, and a probe if one is given. */
#pragma once

#include <systemd/sd-event.h>

#include "base/err.h"
#include "doctor/collect.h"

struct role_spawner;

struct sampler {
	sd_event *loop;
	struct collect *collect;
	/* Private. */
	struct role_spawner *spawner;
	struct probe *probe;
	int exe_fd;
};

/* `endpoint` of a runtime and the `probe`'s file may be NULL. Waits until the probe is there. 0 or a
 * negative errno; sampler_done() in any case. */
int sampler_init(struct sampler *s, const char *endpoint, const char *probe, struct err *reterr);
void sampler_done(struct sampler *s);
