#include "agent/diagnosis.h"
#include "agent/clock-watch.h"

#include <errno.h>
#include <sys/resource.h>

#include "agent/signs.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "doctor/rules/rules.h"

struct diagnosis {
	struct diagnosis_options options;
	struct collect *collect; /* made anew when the endpoint is another one */
	char *endpoint;          /* that it was made for */
	struct rules_memory *memory;
	struct findings *findings; /* of the newest sample; NULL before the first */
	struct incidents *incidents;
	struct timer *timer, *glance;
	struct clock_watch clock;
	struct signs signs;
	uint64_t due_ns, started_ns, started_cpu_ns;
	uint64_t pause_ns,
		heard_ns; /* after reasons that led to nothing; when one was heard last */
	uint64_t sign_ns, sign_pause_ns; /* when a sign was followed last, and until the next */
	bool is_sampling;
	uint64_t kubelet_key; /* of the kubelets of the newest sample; 0: none */
	struct diagnosis_stats stats;
};

/* Of the whole agent, which does other things meanwhile: the cost of a sample is told too high rather
 * than too low. */
static uint64_t cpu_ns(void)
{
	struct rusage usage = { 0 };

	(void)getrusage(RUSAGE_SELF, &usage);
	return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * NSEC_PER_SEC +
		((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) *
		NSEC_PER_USEC;
}

static void set_due(struct diagnosis *d, uint64_t due_ns)
{
	d->due_ns = due_ns;
	(void)timer_set(d->timer, due_ns);
}

/* ---- what was found --------------------------------------------------------------------------- */

static void tell_incidents(struct diagnosis *d)
{
	const struct incident *incident;

	while ((incident = incidents_next_change(d->incidents))) {
		if (incident->state == INCIDENT_CLOSED)
			log_info("Incident closed", "incident", incident->id, "cause",
				cause_text(incident->cause), "subject", incident->subject, NULL);
		else
			log_warning("Incident", "incident", incident->id, "cause",
				cause_text(incident->cause), "subject", incident->subject, "state",
				incident_state_text(incident->state), "summary", incident->summary,
				NULL);
		if (d->options.on_incident)
			d->options.on_incident(d->options.userdata, incident);
	}
}

static uint64_t clamp(uint64_t value, uint64_t least, uint64_t most)
{
	if (value < least)
		return least;
	return value < most ? value : most;
}

static uint64_t next_sample_ns(struct diagnosis *d)
{
	struct incidents_stats stats;
	bool is_ill;

	incidents_stats(d->incidents, &stats);
	is_ill = findings_count(d->findings) > 0 || rules_memory_wants_ns(d->memory) > 0 ||
		stats.past > 0;
	if (is_ill)
		d->pause_ns = d->sign_pause_ns = 0;
	else if (d->heard_ns > 0)
		d->pause_ns = clamp(2 * d->pause_ns, DIAGNOSIS_SOON_NS, DIAGNOSIS_PAUSE_NS);
	if (is_ill)
		return clamp(d->stats.cost_ns * DIAGNOSIS_SHARE_ILL, DIAGNOSIS_SOON_NS,
			DIAGNOSIS_PAUSE_NS);
	return clamp(d->stats.cost_ns * DIAGNOSIS_SHARE, d->options.calm_ns, DIAGNOSIS_SELDOM_NS);
}

static int judge(struct diagnosis *d, const struct evidence *evidence, struct now now)
{
	CLEAN(findings_freep) struct findings *set = findings_new();
	int r;

	if (!set)
		return -ENOMEM;
	findings_set_node(set, d->options.node_name);
	r = doctor_judge(NULL, evidence, d->memory, set);
	if (r < 0)
		return r;
	r = incidents_update(d->incidents, set, !evidence->cut_short, now);
	d->findings = findings_free(d->findings);
	d->findings = TAKE_PTR(set);
	return r;
}

/* Which processes the kubelets are; those of nodes in containers are among them. */
static uint64_t kubelet_key(const struct evidence *e)
{
	uint64_t key = 0;

	for (uint32_t i = 0; i < e->daemon_count; i++) {
		uint32_t process = e->daemons[i].process;

		if (e->daemons[i].kind != DAEMON_KUBELET || process >= e->process_count)
			continue;
		key += e->processes[process].start_ticks << 22 |
			(uint64_t)e->processes[process].pid;
	}
	return key;
}

/* Of a sample that was cut short the kubelet may be missing. */
static void look_for_kubelet(struct diagnosis *d, const struct evidence *e)
{
	uint64_t key = kubelet_key(e);

	if (key == d->kubelet_key || e->cut_short || !d->options.on_other_kubelet)
		return;
	d->kubelet_key = key;
	d->options.on_other_kubelet(d->options.userdata);
}

static void on_sample(void *userdata, struct evidence *evidence)
{
	struct diagnosis *d = userdata;
	struct now now = clock_now();
	int r;

	d->is_sampling = false;
	signs_settle(&d->signs);
	r = judge(d, evidence, now);
	d->stats.samples++;
	d->stats.last_ns = time_since(now.mono_ns, d->started_ns);
	d->stats.cost_ns = cpu_ns() - d->started_cpu_ns;
	d->stats.gaps = evidence->gap_count;
	look_for_kubelet(d, evidence);
	evidence = evidence_free(evidence);
	if (r < 0) {
		d->stats.failed++;
		log_warning(
			"What was looked at could not be judged", "error", err_text(NULL, r), NULL);
	}
	tell_incidents(d);
	d->stats.next_ns = d->findings ? next_sample_ns(d) : DIAGNOSIS_PAUSE_NS;
	d->heard_ns = 0;
	set_due(d, d->started_ns + d->stats.last_ns + d->stats.next_ns);
}

/* ---- sampling --------------------------------------------------------------------------------- */

static void put_facts(void *userdata, struct evidence *evidence)
{
	struct diagnosis *d = userdata;

	diagnosis_facts(&d->options, evidence);
	evidence->clock.step_ns = clock_watch_step(
		&d->clock, clock_now().real_ns, clock_boot_ns(), &evidence->clock.at_ns);
}

/* The collector asks no runtime, the agent does; but it looks for the sockets of this one. */
static int make_collect(struct diagnosis *d, struct err *reterr)
{
	struct collect_options options = {
		.loop = d->options.loop, .probe = d->options.probe, .endpoint = d->options.endpoint
	};
	int r;

	if (d->collect && str_eq(d->endpoint, d->options.endpoint))
		return 0;
	d->collect = collect_free(d->collect);
	d->endpoint = mem_free(d->endpoint);
	d->endpoint = mem_strdup(d->options.endpoint);
	r = d->endpoint ? collect_new(&options, &d->collect, reterr) : -ENOMEM;
	if (r < 0)
		d->collect = NULL;
	return r;
}

static void on_due(void *userdata)
{
	struct diagnosis *d = userdata;
	struct err e = { 0 };
	int r;

	if (d->is_sampling)
		return;
	d->started_ns = clock_now().mono_ns;
	d->started_cpu_ns = cpu_ns();
	r = make_collect(d, &e);
	if (r >= 0)
		r = collect_start(d->collect, put_facts, on_sample, d);
	if (r < 0) {
		d->stats.failed++;
		log_warning("Cannot look at the node", "error", err_text(&e, r), NULL);
		set_due(d, d->started_ns + DIAGNOSIS_SELDOM_NS);
		return;
	}
	d->is_sampling = true;
}

/* Never sooner than its share of the time allows, nor before the pause after vain reasons is over. */
void diagnosis_wake(struct diagnosis *d)
{
	uint64_t now_ns = clock_now().mono_ns;
	uint64_t wait = clamp(
		d->stats.cost_ns * DIAGNOSIS_SHARE_ILL, DIAGNOSIS_SOON_NS, DIAGNOSIS_PAUSE_NS);
	uint64_t soonest = d->started_ns + (wait > d->pause_ns ? wait : d->pause_ns);

	if (d->is_sampling)
		return; /* The glance asks again. */
	if (soonest < now_ns)
		soonest = now_ns;
	if (soonest >= d->due_ns)
		return;
	d->heard_ns = now_ns;
	set_due(d, soonest);
}

/* A node at work gives signs all the time: the pause after vain ones grows, and is over only when
 * something was found or there was none for long. */
static bool follow_sign(struct diagnosis *d, uint64_t now_ns)
{
	uint64_t since_ns = time_since(now_ns, d->sign_ns);

	if (!signs_look(&d->signs, now_ns) || d->is_sampling || since_ns < d->sign_pause_ns)
		return false;
	if (since_ns > DIAGNOSIS_SELDOM_NS)
		d->sign_pause_ns = 0;
	d->sign_pause_ns = clamp(2 * d->sign_pause_ns, DIAGNOSIS_CALM_NS, DIAGNOSIS_SIGN_PAUSE_NS);
	d->sign_ns = now_ns;
	return true;
}

static void on_glance(void *userdata)
{
	struct diagnosis *d = userdata;
	bool has_sign = follow_sign(d, clock_now().mono_ns);

	clock_watch_note(&d->clock, clock_now().real_ns, clock_boot_ns());
	if (diagnosis_glance(&d->options) || d->clock.has_step)
		diagnosis_wake(d);
	else if (!d->is_sampling)
		d->pause_ns = 0; /* What there was is over. */
	if (has_sign)
		diagnosis_wake(d);
	(void)timer_set_in(d->glance, DIAGNOSIS_GLANCE_NS);
}

/* ---- life ------------------------------------------------------------------------------------- */

int diagnosis_new(
	const struct diagnosis_options *options, struct diagnosis **ret, struct err *reterr)
{
	CLEAN(diagnosis_freep) struct diagnosis *d = mem_zalloc(sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->options = *options;
	signs_init(&d->signs);
	d->memory = rules_memory_new();
	d->incidents = incidents_new(options->epoch);
	if (!d->memory || !d->incidents)
		return -ENOMEM;
	r = timer_new(options->loop, DIAGNOSIS_FIRST_NS, on_due, d, &d->timer);
	if (r >= 0)
		r = timer_new(options->loop, DIAGNOSIS_GLANCE_NS, on_glance, d, &d->glance);
	if (r < 0)
		return err_wrap(reterr, r, "Make a timer");
	d->due_ns = clock_now().mono_ns + DIAGNOSIS_FIRST_NS;
	d->stats.next_ns = DIAGNOSIS_FIRST_NS;
	timer_measure(d->timer, options->lag);
	*ret = TAKE_PTR(d);
	return 0;
}

struct diagnosis *diagnosis_free(struct diagnosis *d)
{
	if (!d)
		return NULL;
	d->timer = timer_free(d->timer);
	d->glance = timer_free(d->glance);
	signs_done(&d->signs);
	d->collect = collect_free(d->collect);
	d->endpoint = mem_free(d->endpoint);
	d->memory = rules_memory_free(d->memory);
	d->findings = findings_free(d->findings);
	d->incidents = incidents_free(d->incidents);
	return mem_free(d);
}

const struct findings *diagnosis_findings(const struct diagnosis *d)
{
	return d->findings;
}

const struct incidents *diagnosis_incidents(const struct diagnosis *d)
{
	return d->incidents;
}

int diagnosis_adopt(struct diagnosis *d, const struct incident_past *past)
{
	int r = incidents_adopt(d->incidents, past, clock_now());

	if (r >= 0)
		log_info("Incident of an earlier run", "incident", past->id, "cause",
			cause_text(past->cause), "subject", past->subject, NULL);
	return r;
}

void diagnosis_stats(const struct diagnosis *d, struct diagnosis_stats *ret)
{
	*ret = d->stats;
}
