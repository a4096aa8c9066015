#include "kube/budget.h"

static uint64_t later(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns > b_ns ? a_ns : b_ns;
}

/* The n-th newest write, n = 1 is the last one; 0 where there were not so many. */
static uint64_t newest(const struct budget *budget, uint64_t n)
{
	return budget->count < n ? 0 : budget->at_ns[(budget->count - n) % WRITES_MAX];
}

uint64_t budget_when(const struct budget *budget, enum write_class class, uint64_t now_ns)
{
	uint64_t most = class == WRITE_EVENT ? WRITES_MAX - WRITES_KEPT : WRITES_MAX;
	uint64_t when_ns = now_ns;

	if (budget->count >= most)
		when_ns = later(when_ns, time_add(newest(budget, most), WRITES_NS));
	if (class == WRITE_EVENT && budget->count > 0)
		when_ns = later(when_ns, time_add(newest(budget, 1), WRITES_APART_NS));
	return when_ns;
}

void budget_spend(struct budget *budget, uint64_t now_ns)
{
	budget->at_ns[budget->count++ % WRITES_MAX] = now_ns;
}
