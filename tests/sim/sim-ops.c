/* How histories are made from a seed: a profile, and operations by the weights of a theme. */
#include "sim.h"

static const char *const op_texts[] = {
#define X(name, text) [OP_##name] = text,
	SIM_OPS(X)
#undef X
};

const char *sim_op_text(enum sim_op_kind kind)
{
	return op_texts[kind];
}

enum theme {
	THEME_LIFE,       /* much happens, the runtime is well */
	THEME_MIXED,      /* everything */
	THEME_HANGS,      /* subjects, pods, the whole */
	THEME_LIES,       /* stale, failing, reordered */
	THEME_QUARANTINE, /* many pods, many of which hang */
	THEME_HINTS,      /* wakes, relists on demand, subscriptions */
	THEME_NODE,       /* the node's verdict flaps */
	THEME_COUNT,
};

/* Weights per theme, in its order; an operation without a row has 1 everywhere. */
static const uint8_t weights[OP_COUNT][THEME_COUNT] = {
	[OP_POD_NEW] = { 6, 4, 2, 3, 5, 3, 1 },
	[OP_POD_BARE] = { 2, 2, 1, 2, 1, 1, 0 },
	[OP_CREATE] = { 12, 8, 6, 6, 6, 6, 2 },
	[OP_ORPHAN] = { 2, 1, 1, 1, 0, 1, 0 },
	[OP_START] = { 6, 4, 3, 4, 2, 4, 1 },
	[OP_EXIT] = { 12, 8, 8, 8, 6, 8, 3 },
	[OP_CRASH] = { 8, 5, 4, 4, 3, 5, 1 },
	[OP_RESTART] = { 6, 4, 3, 4, 2, 4, 1 },
	[OP_QUICK_LIFE] = { 4, 2, 1, 2, 1, 2, 0 },
	[OP_FLAP] = { 1, 1, 2, 1, 0, 1, 0 },
	[OP_REMOVE] = { 10, 6, 5, 6, 3, 6, 1 },
	[OP_VANISH] = { 4, 2, 2, 3, 1, 2, 1 },
	[OP_POD_DELETE] = { 5, 3, 2, 2, 1, 2, 1 },
	[OP_POD_VANISH] = { 2, 1, 1, 1, 0, 1, 0 },
	[OP_SANDBOX_KILL] = { 3, 2, 2, 2, 1, 2, 1 },
	[OP_SANDBOX_NEW] = { 3, 2, 1, 2, 1, 2, 0 },
	[OP_UNKNOWN] = { 4, 2, 2, 3, 1, 2, 0 },
	[OP_DUPLICATE] = { 1, 1, 0, 2, 0, 0, 0 },
	[OP_MALFORMED] = { 1, 1, 0, 2, 0, 0, 0 },
	[OP_HANG_SUBJECT] = { 0, 3, 9, 1, 6, 2, 2 },
	[OP_HANG_POD] = { 0, 2, 6, 1, 4, 1, 2 },
	[OP_HANG_MANY] = { 0, 0, 1, 0, 5, 0, 1 },
	[OP_HANG_INSPECT] = { 0, 1, 2, 0, 1, 0, 2 },
	[OP_HANG_LIST] = { 0, 1, 2, 1, 0, 1, 3 },
	[OP_HANG_ALL] = { 0, 1, 2, 1, 1, 1, 5 },
	[OP_HEAL] = { 0, 2, 5, 2, 3, 2, 8 },
	[OP_SLOW] = { 1, 2, 2, 4, 1, 2, 1 },
	[OP_FAIL_SUBJECT] = { 0, 3, 2, 8, 2, 2, 1 },
	[OP_FAIL_LIST] = { 0, 1, 1, 4, 0, 1, 2 },
	[OP_NOT_FOUND] = { 0, 2, 1, 6, 1, 2, 0 },
	[OP_LIE_INSPECT] = { 0, 2, 1, 8, 0, 2, 0 },
	[OP_LIE_LIST] = { 0, 2, 1, 6, 0, 2, 0 },
	[OP_RESTART_RUNTIME] = { 0, 1, 2, 2, 1, 1, 2 },
	[OP_CONDITION] = { 0, 0, 0, 0, 0, 0, 8 },
	[OP_OVERSLEEP] = { 0, 1, 1, 2, 0, 1, 1 },
	[OP_WALL_STEP] = { 1, 1, 1, 1, 1, 1, 1 },
	[OP_WAKE] = { 1, 6, 5, 5, 3, 18, 1 },
	[OP_WAKE_UNKNOWN] = { 0, 1, 1, 1, 0, 2, 0 },
	[OP_RELIST_POD] = { 1, 3, 3, 4, 1, 14, 0 },
	[OP_RELIST_POD_UNKNOWN] = { 0, 1, 0, 1, 0, 2, 0 },
	[OP_RELIST_NOW] = { 0, 2, 2, 2, 1, 5, 0 },
	[OP_SUBSCRIBE] = { 2, 5, 4, 4, 2, 14, 0 },
	[OP_UNSUBSCRIBE] = { 0, 1, 1, 1, 0, 3, 0 },
	[OP_TICK] = { 1, 2, 1, 2, 1, 2, 1 },
	[OP_READER_NEW] = { 1, 1, 1, 1, 1, 1, 1 },
	[OP_READER_READ] = { 3, 3, 2, 2, 2, 2, 2 },
	[OP_READER_FREE] = { 0, 1, 0, 0, 0, 0, 0 },
	[OP_HINTS] = { 1, 1, 1, 1, 1, 3, 1 },
	[OP_PROVISIONAL] = { 2, 2, 1, 1, 1, 2, 0 },
	[OP_KILL] = { 6, 4, 3, 3, 2, 8, 1 },
	[OP_THREADS] = { 3, 2, 1, 1, 1, 3, 0 },
	[OP_STREAM_BREAK] = { 1, 1, 1, 1, 0, 2, 1 },
	[OP_STREAM_GAP] = { 1, 1, 0, 1, 0, 2, 0 },
	[OP_STREAM_LIE] = { 0, 1, 0, 3, 0, 3, 0 },
	[OP_STREAM_OOM] = { 1, 1, 0, 1, 0, 1, 0 },
	[OP_WATCH_FAIL] = { 0, 1, 0, 1, 0, 1, 0 },
};

static enum theme sim_theme(uint64_t seed)
{
	return (enum theme)(rng_mix(seed + 11) % THEME_COUNT);
}

void sim_make_profile(uint64_t seed, struct sim_profile *ret)
{
	struct rng rng = { rng_mix(seed + 12) };
	enum theme theme = sim_theme(seed);

	*ret = (struct sim_profile){ .pleg = PLEG_CONFIG_DEFAULT };
	ret->latency = rng_chance(&rng, 45) ? 0 : rng_below(&rng, 4);
	ret->hints_percent = rng_chance(&rng, 40) ? 0 : rng_below(&rng, 101);
	ret->visible_lag_ns = rng_chance(&rng, 60) ? 0 : rng_below(&rng, 120) * NSEC_PER_MSEC;
	ret->pods = theme == THEME_QUARANTINE ? 3 + rng_below(&rng, 14) : rng_below(&rng, 5);
	ret->history_max = rng_chance(&rng, 50) ? 1 + rng_below(&rng, 12) : 256;
	if (rng_chance(&rng, 15))
		ret->pleg.inspections_max = 1 + rng_below(&rng, 3);
	if (rng_chance(&rng, 15))
		ret->pleg.late_max = 1 + rng_below(&rng, 4);
	if (rng_chance(&rng, 10))
		ret->pleg.relist_period_ns = (1 + rng_below(&rng, 50)) * 100 * NSEC_PER_MSEC;
	ret->pleg.relist_auto = rng_chance(&rng, 30);
	ret->ledger = rng_chance(&rng, 70);
	ret->has_stream = rng_chance(&rng, 90);
	if (rng_chance(&rng, 60)) {
		ret->lost = (uint8_t)(rng_chance(&rng, 50) ? rng_below(&rng, 50) : 0);
		ret->late = (uint8_t)(rng_chance(&rng, 50) ? rng_below(&rng, 60) : 0);
		ret->twice = (uint8_t)(rng_chance(&rng, 50) ? rng_below(&rng, 60) : 0);
		ret->wrong = (uint8_t)(rng_chance(&rng, 30) ? rng_below(&rng, 30) : 0);
		ret->death_late = (uint8_t)(rng_chance(&rng, 50) ? rng_below(&rng, 80) : 0);
		ret->unwatched = (uint8_t)(rng_chance(&rng, 30) ? rng_below(&rng, 40) : 0);
		ret->codeless = (uint8_t)(rng_chance(&rng, 50) ? rng_below(&rng, 60) : 0);
	}
	if (rng_chance(&rng, 15))
		ret->pleg.list_timeout_ns = (1 + rng_below(&rng, 20)) * NSEC_PER_SEC;
	if (rng_chance(&rng, 15))
		ret->pleg.inspect_timeout_ns = (1 + rng_below(&rng, 40)) * 100 * NSEC_PER_MSEC;
	if (theme == THEME_NODE && rng_chance(&rng, 40))
		ret->pleg.relist_threshold_ns = (20 + rng_below(&rng, 40)) * NSEC_PER_SEC;
}

static uint64_t sim_gap(struct rng *rng, enum theme theme)
{
	uint32_t r = rng_below(rng, 1000);

	if (theme == THEME_NODE)
		return (uint64_t)rng_below(rng, 4000) * NSEC_PER_MSEC;
	if (r < 300)
		return 0;
	if (r < 650)
		return rng_below(rng, 60 * 1000) * NSEC_PER_USEC;
	if (r < 950)
		return (uint64_t)rng_below(rng, 700) * NSEC_PER_MSEC;
	if (r < 995)
		return (uint64_t)rng_below(rng, 6000) * NSEC_PER_MSEC;
	return (uint64_t)rng_below(rng, 70) * NSEC_PER_SEC;
}

void sim_make_ops(uint64_t seed, struct sim_op *ops, size_t count)
{
	struct rng rng = { rng_mix(seed + 13) };
	enum theme theme = sim_theme(seed);
	uint32_t total = 0;
	uint64_t at = 0;

	for (int kind = 0; kind < OP_COUNT; kind++)
		total += weights[kind][theme];
	for (size_t i = 0; i < count; i++) {
		uint32_t r = rng_below(&rng, total);
		int kind = 0;

		while (r >= weights[kind][theme])
			r -= weights[kind++][theme];
		at += sim_gap(&rng, theme);
		ops[i] = (struct sim_op){ .at_ns = at,
			.kind = (enum sim_op_kind)kind,
			.a = (uint32_t)(rng_next(&rng) >> 33),
			.b = (uint32_t)(rng_next(&rng) >> 33),
			.c = (uint32_t)(rng_next(&rng) >> 33) };
	}
}
