#include "agent/clock-watch.h"

void clock_watch_note(struct clock_watch *watch, int64_t real_ns, uint64_t boot_ns)
{
	int64_t offset_ns = real_ns - (int64_t)boot_ns;
	int64_t step_ns = offset_ns - watch->offset_ns;

	if (watch->has_step && time_since(boot_ns, watch->stepped_ns) >= CLOCK_TOLD_NS) {
		watch->has_step = false;
		watch->step_ns = 0;
	}
	if (watch->has_offset &&
		(step_ns >= (int64_t)CLOCK_STEP_NS || step_ns <= -(int64_t)CLOCK_STEP_NS)) {
		watch->has_step = true;
		watch->step_ns += step_ns;
		watch->stepped_ns = boot_ns;
	}
	watch->has_offset = true;
	watch->offset_ns = offset_ns;
}

int64_t clock_watch_step(
	const struct clock_watch *watch, int64_t real_ns, uint64_t boot_ns, int64_t *ret_at_ns)
{
	uint64_t ago_ns = time_since(boot_ns, watch->stepped_ns);

	if (!watch->has_step || ago_ns >= CLOCK_TOLD_NS)
		return 0;
	*ret_at_ns = real_ns - (int64_t)ago_ns;
	return watch->step_ns;
}
