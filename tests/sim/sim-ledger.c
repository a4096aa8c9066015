/*
 * The ledger's oracle: what it was told of each container, what must and may come of that, and what
 * its views must say. Written from docs/internals/ledger.md.
 *
 * Per subject (a container, or an id that only a lying stream tells of):
 *  - provisional deaths: of the init that is known, once each, dead by a pidfd, after a start was told
 *    and not after the death was; at once when all of that holds; one open at most;
 *  - the ledger's own confirmed events keep the order start, death, removal, and are no more deaths
 *    than there were inits to be heard of;
 *  - what was told and is not confirmed is open: in the view and in the sync loop; at the end only
 *    where the runtime says otherwise;
 *  - exit codes are the kernel's, else one that the stream told of this id, else none;
 *  - a difference begins and ends with the words, and PLEG is woken for it in the ledger's rhythm.
 *
 * Where a lie of the stream was about a subject, or where two inits are told apart by what only the
 * stream says, the rules that rest on the stream are left out for that subject (`lied`, `newer`):
 * nobody can tell there what is true, so only what holds in any case is judged.
 */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define CODES_KEPT 6
#define KEPT_NS    (55 * NSEC_PER_SEC) /* somewhat less than what a start without an end is kept */

struct subject {
	/* The kernel. */
	uint64_t ticks, died_ticks, provisional_ticks; /* the newest of each */
	int32_t pid, old_pid;                          /* old: of the one before */
	enum ledger_state state;
	bool has_code, provisional, closed;
	int32_t code;
	uint32_t lives; /* inits heard of, by whomever */
	bool pending;   /* the death of an init before is known and not confirmed */
	bool newer;     /* one that has no start time yet has taken its place */
	/* The stream. */
	bool lied, started, exited, deleted, too_late, forgotten;
	uint64_t started_ns, heard_ns;
	int32_t codes[CODES_KEPT];
	uint32_t code_count;
	int32_t last_pid;
	/* The runtime. */
	enum container_state word;
	bool has_word, listed, owes;
	uint32_t lists_without; /* full lists since its end that did not have it */
	/* What was told. */
	bool told_started, open, removed, restarted;
	enum event_type last;
	bool has_last;
	uint32_t told, told_by_pleg, own, own_deaths;
	int32_t open_code;
	bool open_has_code;
	/* The difference. */
	bool differing, wake_wanted;
	bool since_unclear; /* lists of the ledger's choice had said gone before one had it */
	uint64_t since_ns, woken_ns, wake_due_ns;
	uint32_t wake_step;
	bool touched;
};

struct ledger_model {
	struct subject subjects[SUBJECTS];
	uint32_t touched[SUBJECTS], touched_count, used;
	bool listed;
};

struct ledger_model *ledger_model_new(void)
{
	return mem_zalloc(sizeof(struct ledger_model));
}

struct ledger_model *ledger_model_free(struct ledger_model *model)
{
	return mem_free(model);
}

void ledger_model_begin(struct sim *sim)
{
	struct ledger_model *m = sim->ledger_model;

	memset(m->subjects, 0, m->used * sizeof(m->subjects[0]));
	memset(&m->subjects[WORLD_CONTAINERS_MAX], 0, GHOSTS * sizeof(m->subjects[0]));
	m->used = m->touched_count = 0;
	m->listed = false;
}

static struct subject *subject_of(struct sim *sim, uint32_t subject)
{
	struct ledger_model *m = sim->ledger_model;
	struct subject *s = &m->subjects[subject];

	if (subject < WORLD_CONTAINERS_MAX && subject >= m->used)
		m->used = subject + 1;
	if (!s->touched) {
		s->touched = true;
		m->touched[m->touched_count++] = subject;
	}
	return s;
}

/* The world uses the place for another container. */
void ledger_model_forget(struct sim *sim, uint32_t subject)
{
	bool touched = sim->ledger_model->subjects[subject].touched;

	sim->ledger_model->subjects[subject] = (struct subject){ .touched = touched };
}

static bool is_dead(const struct subject *s)
{
	return s->state == LEDGER_ZOMBIE || s->state == LEDGER_GONE;
}

/* ---- differences --------------------------------------------------------------------------------- */

static bool word_is_gone(const struct subject *s)
{
	return s->word == CONTAINER_GONE && (s->listed || s->removed);
}

/* The table of docs/internals/ledger.md, row by row. */
static bool words_differ(const struct subject *s)
{
	bool running = s->word == CONTAINER_RUNNING, exited = s->word == CONTAINER_EXITED;
	bool gone = s->word == CONTAINER_GONE;

	if (s->newer)
		return false;
	switch (s->state) {
	case LEDGER_NONE: return false;
	case LEDGER_ALIVE: return exited || word_is_gone(s);
	case LEDGER_ZOMBIE_THREADS: return running || exited || word_is_gone(s);
	case LEDGER_ZOMBIE:
	case LEDGER_GONE: return !exited && !gone;
	}
	return false;
}

static void subject_judge(struct sim *sim, struct subject *s)
{
	bool differ = words_differ(s);

	if (differ && !s->differing) {
		s->since_ns = sim->now.mono_ns;
		s->wake_step = 0;
		s->woken_ns = sim->now.mono_ns;
		s->wake_due_ns = sim->now.mono_ns + 2 * NSEC_PER_SEC;
		if (is_dead(s))
			sim_cover(sim, COVER_DIFFERS_DEAD);
		else if (s->state == LEDGER_ZOMBIE_THREADS)
			sim_cover(sim, COVER_DIFFERS_THREADS);
		else
			sim_cover(sim,
				s->word == CONTAINER_EXITED ? COVER_DIFFERS_ALIVE
							    : COVER_DIFFERS_LEAKED);
	}
	s->differing = differ;
	s->since_unclear &= differ;
}

void ledger_model_on_wake(struct sim *sim, const char *id)
{
	static const uint32_t rhythm_s[] = { 2, 4, 8, 16, 32, 60 };
	uint32_t subject = sim_subject(sim, id);
	struct subject *s;

	if (subject == SIM_NONE) {
		sim_fail(sim, "ledger-wake", "A wake for '%s', which never was", id);
		return;
	}
	s = subject_of(sim, subject);
	s->wake_wanted = false;
	if (!s->differing || sim->now.mono_ns < s->wake_due_ns)
		return;
	s->wake_step += s->wake_step < 5;
	s->woken_ns = sim->now.mono_ns;
	s->wake_due_ns = sim->now.mono_ns + rhythm_s[s->wake_step] * NSEC_PER_SEC;
}

/* ---- facts --------------------------------------------------------------------------------------- */

static void heard_pid(struct subject *s, int32_t pid)
{
	if (pid == 0 || pid == s->last_pid)
		return;
	s->last_pid = pid;
	s->lives++;
}

/* Another init takes the place of the one that is known. */
static void next_life(struct subject *s)
{
	bool over = is_dead(s) || (s->state == LEDGER_NONE && s->exited);

	/* What is not the kernel's word the ledger may let go of without one of its own. */
	s->lied |= (s->owes || over) && !s->closed && !is_dead(s);
	s->pending |= (s->owes || over) && !s->closed;
	s->state = LEDGER_NONE;
	s->provisional = s->closed = s->has_code = false;
	s->started = s->exited = false;
	s->old_pid = s->pid;
	s->pid = 0;
	s->restarted = true;
}

void ledger_model_on_init(struct sim *sim, uint32_t subject, int32_t pid, uint64_t start_ticks)
{
	struct subject *s = subject_of(sim, subject);

	if (s->removed)
		s->lied = true; /* it is back, or it was never away: late facts of what is over */
	heard_pid(s, pid);
	if (start_ticks <= s->ticks)
		return;
	/* Of the one whose death was told, or another? Nothing was known of that one. */
	if (s->closed && s->ticks == 0 && s->pid == 0)
		s->lied = true;
	if ((s->ticks > 0 && !s->newer) || (s->pid > 0 && s->pid != pid))
		next_life(s);
	s->newer = false;
	s->ticks = start_ticks;
	s->pid = pid;
	subject_judge(sim, s);
}

void ledger_model_on_state(struct sim *sim, uint32_t subject, uint64_t start_ticks,
	enum ledger_state state, const struct ledger_exit *exit)
{
	struct subject *s = subject_of(sim, subject);
	bool dies;

	if (state == LEDGER_ZOMBIE || state == LEDGER_GONE)
		s->died_ticks = start_ticks;
	if (start_ticks != s->ticks || s->newer)
		return;
	dies = (state == LEDGER_ZOMBIE || state == LEDGER_GONE) && !is_dead(s);
	if (is_dead(s) && state != LEDGER_GONE)
		return;
	s->state = state;
	if (state == LEDGER_ZOMBIE_THREADS)
		sim_cover(sim, COVER_INIT_THREADS);
	if (exit && exit->known && !s->has_code) {
		s->has_code = true;
		s->code = exit->code;
		if (s->code_count < CODES_KEPT)
			s->codes[s->code_count++] = exit->code;
		else
			s->lied = true;
	}
	if (dies)
		sim_cover(sim, COVER_INIT_DEAD);
	if (dies && !s->removed && s->word != CONTAINER_EXITED)
		s->wake_wanted = true;
	subject_judge(sim, s);
}

void ledger_model_on_stream(
	struct sim *sim, uint32_t subject, const struct ledger_stream_fact *fact, bool is_true)
{
	struct subject *s = subject_of(sim, subject);
	bool known = s->ticks > 0 || s->started || s->exited || s->listed;

	s->lied |= !is_true;
	s->heard_ns = sim->now.mono_ns;
	if (s->removed) {
		s->lied = true;
		return;
	}
	if (fact->exit && s->code_count < CODES_KEPT)
		s->codes[s->code_count++] = fact->exit->code;
	else if (fact->exit)
		s->lied = true;
	if (fact->pid > 0 && fact->pid == s->old_pid && fact->pid != s->pid)
		return; /* late, of the one before */
	switch (fact->event) {
	case LEDGER_STREAM_START:
		heard_pid(s, fact->pid);
		/* One at a time; and in which order there were two only the kernel knows. */
		if (s->pid > 0 && fact->pid != s->pid && !sim->stream_in_order) {
			s->lied = true;
			return;
		}
		if (s->pid > 0 && fact->pid != s->pid) {
			if (s->state == LEDGER_ALIVE || s->state == LEDGER_ZOMBIE_THREADS)
				return;
			next_life(s);
			s->newer = s->ticks > 0;
			subject_judge(sim, s);
		}
		if (s->started || s->closed)
			return;
		s->pid = fact->pid;
		/* An end without a start is forgotten after two lists. */
		s->too_late |= s->exited || is_dead(s);
		if (!s->has_word && !s->exited && !is_dead(s))
			s->wake_wanted = true;
		s->started = true;
		s->started_ns = sim->now.mono_ns;
		return;
	case LEDGER_STREAM_EXIT:
		heard_pid(s, fact->pid);
		if (s->pid > 0 && fact->pid != s->pid)
			return; /* of another one */
		if (!s->closed)
			s->pid = fact->pid;
		if (!s->exited && !s->closed) {
			/* After its death it may be over and forgotten. */
			if (!s->lied && s->lives <= 1 && !is_dead(s) && !s->forgotten)
				s->wake_wanted = true;
			s->exited = true;
			s->too_late |= s->started && sim->now.mono_ns > s->started_ns + KEPT_NS;
		}
		return;
	case LEDGER_STREAM_DELETE:
		s->deleted |= known;
		s->too_late |= s->started && sim->now.mono_ns > s->started_ns + KEPT_NS;
		return;
	case LEDGER_STREAM_OOM:
	case LEDGER_STREAM_PAUSED:
	case LEDGER_STREAM_RESUMED: return;
	}
}

void ledger_model_on_word(
	struct sim *sim, uint32_t subject, const struct event *identity, enum container_state word)
{
	struct subject *s;

	if (subject == SIM_NONE) {
		sim_fail(sim, "pods", "A record of '%s', which never was", identity->container_id);
		return;
	}
	s = &sim->ledger_model->subjects[subject];
	if (s->listed && s->word == word)
		return;
	if (word == CONTAINER_GONE && !s->listed)
		return;
	s = subject_of(sim, subject);
	if (s->removed || s->lists_without > 1)
		s->lied = true; /* back, after it was gone */
	s->since_unclear |= !s->listed && s->state != LEDGER_NONE;
	if (word == CONTAINER_EXITED ||
		(word == CONTAINER_GONE && s->word != CONTAINER_EXITED && s->listed))
		s->owes = true;
	if (word == CONTAINER_RUNNING && !is_dead(s))
		s->closed = false;
	s->word = word;
	s->has_word = s->listed = true;
	s->removed = false;
	subject_judge(sim, s);
}

void ledger_model_on_list(struct sim *sim, uint64_t started_ns)
{
	struct ledger_model *m = sim->ledger_model;

	(void)started_ns;
	m->listed = true;
	for (uint32_t i = 0; i < m->used; i++) {
		m->subjects[i].forgotten |= m->subjects[i].started && !m->subjects[i].listed &&
			sim->now.mono_ns > m->subjects[i].started_ns + KEPT_NS;
		m->subjects[i].lists_without += !m->subjects[i].listed &&
			(is_dead(&m->subjects[i]) || m->subjects[i].exited);
	}
}

/* ---- what is told -------------------------------------------------------------------------------- */

static void told(struct sim *sim, struct subject *s, const struct event *event)
{
	s->told++;
	s->has_last = true;
	s->last = event->type;
	switch (event->type) {
	case EVENT_CONTAINER_STARTED: s->told_started = true; return;
	case EVENT_CONTAINER_DIED:
		if (s->open && event->has_exit_code && s->open_has_code &&
			event->exit_code != s->open_code)
			sim_cover(sim, COVER_TOLD_OTHER_CODE);
		s->told_started = s->open = s->owes = false;
		return;
	case EVENT_CONTAINER_REMOVED:
		if (s->open)
			sim_fail(sim, "provisional-unconfirmed",
				"%s is removed, and its provisional death was not confirmed",
				event->container_id);
		s->told_started = s->owes = s->listed = s->pending = false;
		s->word = CONTAINER_GONE;
		s->removed = s->closed = true;
		s->has_word = false;
		return;
	case EVENT_CONTAINER_CHANGED:
	case EVENT_POD_SYNC: return;
	}
}

/* The start that only the stream saw comes right before the death that PLEG tells. */
static void check_stream_start(struct sim *sim, const struct subject *s, const struct event *event)
{
	if (s->lied || s->lives != 1 || s->told_by_pleg > 0 || !s->started)
		return;
	if (!s->told_started)
		sim_fail(sim, "stream-start",
			"%s died and its start, which the stream saw, was not told",
			event->container_id);
	else
		sim_cover(sim, COVER_TOLD_STREAM_START);
}

void ledger_model_on_pleg(struct sim *sim, const struct event *event)
{
	struct subject *s;
	uint32_t subject;

	if (event->type == EVENT_POD_SYNC || event->type == EVENT_CONTAINER_CHANGED)
		return;
	subject = sim_subject(sim, event->container_id);
	if (subject == SIM_NONE)
		return;
	s = subject_of(sim, subject);
	if (event->type == EVENT_CONTAINER_STARTED && s->closed) {
		/* Either the runtime takes it back, or there is one that only PLEG knows. */
		if (is_dead(s) || (s->state == LEDGER_NONE && s->exited))
			s->newer = s->ticks > 0;
		else
			s->closed = false;
		if (s->newer) {
			next_life(s);
			s->pending = false;
		}
	} else if (event->type == EVENT_CONTAINER_DIED) {
		check_stream_start(sim, s, event);
		/* The one before, or, where both are over, both. */
		if (!s->pending || is_dead(s) || (s->state == LEDGER_NONE && s->exited)) {
			s->closed = true;
			s->started = false;
		}
		s->pending = false;
	}
	told(sim, s, event);
	s->told_by_pleg++;
	subject_judge(sim, s);
}

static void check_own_identity(struct sim *sim, uint32_t subject, const struct event *event)
{
	const struct world_container *c;
	const struct subject *s = subject_of(sim, subject);
	bool sandbox;

	if (event->observed_at_ns <= 0 || event->sequence != 0 || event->confirms != 0)
		sim_fail(sim, "event-identity", "%s of %s observed at %lld",
			event_type_text(event->type), event->container_id,
			(long long)event->observed_at_ns);
	if (event->type != EVENT_CONTAINER_DIED && (event->has_exit_code || event->has_signal))
		sim_fail(sim, "exit-code", "%s of %s has an exit code",
			event_type_text(event->type), event->container_id);
	if (subject >= WORLD_CONTAINERS_MAX || !s->has_word)
		return; /* nobody has said who it is */
	c = &sim->world.containers[subject];
	sandbox = c->kind == CONTAINER_KIND_SANDBOX;
	if (event->kind != c->kind || event->attempt != c->attempt ||
		strcmp(event->container, c->name) != 0 ||
		strcmp(event->sandbox_id, sandbox ? c->id : c->sandbox_id) != 0)
		sim_fail(sim, "event-identity",
			"The ledger's event of %s says kind %s, attempt %u, name '%s', sandbox "
			"'%s'",
			c->id, container_kind_text(event->kind), event->attempt, event->container,
			event->sandbox_id);
}

/* Law 3. */
static void check_own_code(struct sim *sim, const struct subject *s, const struct event *event)
{
	bool heard = false;

	if (event->type != EVENT_CONTAINER_DIED)
		return;
	if (s->has_code && !s->restarted && !s->lied && s->lives == 1) {
		if (!event->has_exit_code || event->exit_code != s->code)
			sim_fail(sim, "exit-code", "%s died with %d by the kernel, told %d",
				event->container_id, s->code,
				event->has_exit_code ? event->exit_code : -1);
		return;
	}
	for (uint32_t i = 0; i < s->code_count; i++)
		heard |= s->codes[i] == event->exit_code;
	if (event->has_exit_code && !heard && !s->lied)
		sim_fail(sim, "exit-code", "%s died with %d, which nobody has said",
			event->container_id, event->exit_code);
	if (!event->has_exit_code && !s->lied && !s->restarted && s->lives == 1 && !s->removed &&
		s->exited && s->code_count > 0)
		sim_fail(sim, "exit-code", "%s died with %d by the stream, told without",
			event->container_id, s->codes[0]);
}

static void own_provisional(struct sim *sim, struct subject *s, const struct event *event)
{
	const char *why = NULL;
	struct ledger_view view = { 0 };

	sim_cover(sim, COVER_TOLD_PROVISIONAL);
	(void)ledger_find(sim->ledger, event->container_id, sim->now, &view);
	if (event->type != EVENT_CONTAINER_DIED || event->source != EVENT_SOURCE_KERNEL)
		why = "is no death by the kernel";
	else if (s->died_ticks == 0 || view.start_ticks != s->died_ticks)
		why = "comes, and no pidfd said so";
	else if (s->provisional_ticks == view.start_ticks)
		why = "comes again";
	else if ((!is_dead(s) || s->newer) && !s->lied)
		why = "comes, and there is another init by now";
	else if (s->open)
		why = "comes while another is open";
	else if (!s->told_started)
		why = "comes before its start";
	else if (s->closed && !s->lied)
		why = "comes after its death was told";
	if (why)
		sim_fail(sim, "provisional", "The provisional death of %s %s", event->container_id,
			why);
	s->provisional = s->open = true;
	s->provisional_ticks = view.start_ticks;
	s->open_has_code = event->has_exit_code;
	s->open_code = event->exit_code;
}

static void own_confirmed(struct sim *sim, struct subject *s, const struct event *event)
{
	const char *why = NULL;

	if (event->source == EVENT_SOURCE_RELIST)
		why = "says that it is of a list";
	else if (event->type == EVENT_CONTAINER_STARTED && s->told_started)
		why = "comes after a start";
	else if (event->type == EVENT_CONTAINER_DIED && !s->told_started)
		why = "comes without a start";
	else if (event->type == EVENT_CONTAINER_REMOVED &&
		(!s->has_last || s->last != EVENT_CONTAINER_DIED))
		why = "comes without a death";
	else if (event->type == EVENT_CONTAINER_CHANGED || event->type == EVENT_POD_SYNC)
		why = "is not the ledger's";
	if (why)
		sim_fail(sim, "own-event", "%s of %s %s", event_type_text(event->type),
			event->container_id, why);
	if (event->type == EVENT_CONTAINER_DIED && ++s->own_deaths > s->lives)
		sim_fail(sim, "own-event", "%u deaths of %s, of which %u inits were heard",
			s->own_deaths, event->container_id, s->lives);
	if (event->type == EVENT_CONTAINER_REMOVED)
		sim_cover(sim, COVER_TOLD_UNLISTED);
	if (event->type == EVENT_CONTAINER_STARTED && s->has_last &&
		s->last == EVENT_CONTAINER_DIED && s->own > 0)
		sim_cover(sim, COVER_TOLD_RESTART);
	if (event->type == EVENT_CONTAINER_DIED) {
		/* Of the one before, if there was one; else of this one. */
		if (!s->pending)
			s->closed = true;
		s->pending = false;
	}
	s->own++;
	told(sim, s, event);
}

void ledger_model_on_own(struct sim *sim, const struct event *event)
{
	uint32_t subject = sim_subject(sim, event->container_id);
	struct subject *s;

	if (subject == SIM_NONE) {
		sim_fail(sim, "own-event", "%s of '%s', which never was",
			event_type_text(event->type), event->container_id);
		return;
	}
	s = subject_of(sim, subject);
	check_own_identity(sim, subject, event);
	check_own_code(sim, s, event);
	if (event->confirmed)
		own_confirmed(sim, s, event);
	else
		own_provisional(sim, s, event);
	subject_judge(sim, s);
}

/* ---- after every step ------------------------------------------------------------------------------ */

/* The init dead, its start told, nothing else in the way: then its death was told as well. */
static void check_provisional(struct sim *sim, const struct subject *s, const char *id)
{
	if (s->ticks > 0 && is_dead(s) && !s->newer && s->told_started && s->has_word &&
		!s->provisional && !s->closed && !s->pending && !s->lied)
		sim_fail(sim, "provisional-missing",
			"%s is dead, its start was told, its death was not", id);
}

static void check_view(struct sim *sim, uint32_t subject, const struct subject *s)
{
	const char *id = sim_subject_id(sim, subject);
	struct ledger_view view;
	uint64_t differs_ns = 0;

	if (!ledger_find(sim->ledger, id, sim->now, &view)) {
		if (s->word != CONTAINER_GONE)
			sim_fail(sim, "ledger-view",
				"%s is %s by the runtime, and not in the ledger", id,
				container_state_text(s->word));
		else if (!s->lied && !s->newer && s->ticks > 0 &&
			(s->state == LEDGER_ALIVE || s->state == LEDGER_ZOMBIE_THREADS))
			sim_fail(sim, "ledger-view", "%s is %s, and not in the ledger", id,
				ledger_state_text(s->state));
		else if (s->open)
			sim_fail(sim, "provisional-open", "%s is open, and not in the ledger", id);
		return;
	}
	if (view.provisional_open != s->open)
		sim_fail(sim, "provisional-open", "%s: open %d, but should be %d", id,
			view.provisional_open, s->open);
	if (view.runtime_state != s->word)
		sim_fail(sim, "ledger-view", "%s is %s by the runtime, and %s in the ledger", id,
			container_state_text(s->word), container_state_text(view.runtime_state));
	if (s->lied)
		return;
	if (s->ticks > 0 && !s->newer &&
		(view.start_ticks != s->ticks || view.state != s->state || view.pid != s->pid))
		sim_fail(sim, "ledger-view",
			"%s: pid %d start %llu %s, but should be pid %d start %llu %s", id,
			view.pid, (unsigned long long)view.start_ticks,
			ledger_state_text(view.state), s->pid, (unsigned long long)s->ticks,
			ledger_state_text(s->state));
	if (s->differing)
		differs_ns = sim->now.mono_ns - s->since_ns;
	/* Where no list ever had it, lists of their own number say that it is gone. */
	if (s->since_unclear || (!s->listed && !s->removed && s->state != LEDGER_NONE))
		return;
	if (view.differs_for_ns != differs_ns)
		sim_fail(sim, "difference", "%s (%s, %s) differs for %.6f s, but should for %.6f s",
			id, ledger_state_text(s->state), container_state_text(s->word),
			time_seconds(view.differs_for_ns), time_seconds(differs_ns));
	if (view.differs && differs_ns < LEDGER_LAG_NS)
		sim_fail(
			sim, "difference", "%s differs after %.6f s", id, time_seconds(differs_ns));
	if (s->differing && ledger_is_calm(sim->ledger))
		sim_fail(sim, "ledger-calm", "%s differs, and the ledger is calm", id);
}

static void check_wakes(struct sim *sim, uint32_t subject, struct subject *s)
{
	if (s->wake_wanted && !s->lied)
		sim_fail(sim, "ledger-wake", "%s: something happened, and nobody is woken",
			sim_subject_id(sim, subject));
	s->wake_wanted = false;
	/* One that was woken for another reason while ticks came late has another rhythm. */
	if (s->differing && !s->lied && s->listed && !s->since_unclear &&
		s->woken_ns > sim->overslept_ns && sim->now.mono_ns > s->wake_due_ns)
		sim_fail(sim, "ledger-wake", "%s differs, and nobody was woken since %.3f s",
			sim_subject_id(sim, subject),
			time_seconds(sim->now.mono_ns - s->wake_due_ns));
}

void ledger_model_check(struct sim *sim)
{
	struct ledger_model *m = sim->ledger_model;

	if (!sim->ledger)
		return;
	for (uint32_t i = 0; i < m->touched_count && !sim->failed; i++) {
		struct subject *s = &m->subjects[m->touched[i]];

		s->touched = false;
		check_provisional(sim, s, sim_subject_id(sim, m->touched[i]));
		check_view(sim, m->touched[i], s);
		check_wakes(sim, m->touched[i], s);
	}
	m->touched_count = 0;
	/* All of them, now and then: what nothing touches must stay as it is. */
	if (!m->listed)
		return;
	m->listed = false;
	for (uint32_t i = 0; i < m->used && !sim->failed; i++) {
		check_view(sim, i, &m->subjects[i]);
		check_wakes(sim, i, &m->subjects[i]);
	}
}

/* ---- at the end -------------------------------------------------------------------------------------- */

static void final_open(struct sim *sim, uint32_t subject, const struct subject *s)
{
	if (!s->open)
		return;
	if (s->word == CONTAINER_EXITED || s->word == CONTAINER_GONE)
		sim_fail(sim, "provisional-unconfirmed",
			"%s is %s by the runtime, and its death is still provisional",
			sim_subject_id(sim, subject), container_state_text(s->word));
	else if (s->word == CONTAINER_RUNNING && s->state == LEDGER_ALIVE && !s->newer && !s->lied)
		sim_fail(sim, "provisional-unconfirmed",
			"%s runs again, and the death before is still provisional",
			sim_subject_id(sim, subject));
	else
		sim_cover(sim, COVER_PROVISIONAL_STAYS);
}

/* A life that no list ever showed, and of which the stream told the start and somebody the end. */
static void final_unlisted(struct sim *sim, uint32_t subject, const struct subject *s)
{
	bool over = s->exited || is_dead(s) || (s->deleted && s->state == LEDGER_NONE);

	if (s->has_word || s->lied || s->lives != 1 || s->told_by_pleg > 0 || s->too_late ||
		s->heard_ns + 10 * NSEC_PER_SEC > sim->now.mono_ns)
		return;
	if (s->started && over && s->own != 3)
		sim_fail(sim, "short-life", "%s lived and died unseen by lists: %u events told",
			sim_subject_id(sim, subject), s->own);
	else if (!over && s->own > 0)
		sim_fail(sim, "short-life", "%s was told %u events without an end",
			sim_subject_id(sim, subject), s->own);
}

void ledger_model_check_final(struct sim *sim)
{
	struct ledger_model *m = sim->ledger_model;
	struct ledger_stats stats;
	struct sync_stats sync;
	uint32_t open = 0, differing = 0, unclear = 0;

	if (!sim->ledger)
		return;
	for (uint32_t i = 0; i < SUBJECTS && !sim->failed; i++) {
		const struct subject *s;

		if (i == m->used)
			i = WORLD_CONTAINERS_MAX;
		s = &m->subjects[i];
		final_open(sim, i, s);
		final_unlisted(sim, i, s);
		open += s->open;
		differing += s->differing && sim->now.mono_ns > s->since_ns + LEDGER_LAG_NS;
		unclear += s->lied || s->lives > 1 || s->restarted ||
			(!s->listed && s->heard_ns + 70 * NSEC_PER_SEC > sim->now.mono_ns) ||
			(!s->listed && !s->removed && s->state != LEDGER_NONE) ||
			(s->differing && sim->now.mono_ns <= s->since_ns + LEDGER_LAG_NS);
	}
	if (sim->failed)
		return;
	ledger_stats(sim->ledger, &stats);
	sync_stats(sim->sync, &sync);
	if (stats.provisional_open != open || sync.provisional_open != open)
		sim_fail(sim, "provisional-open",
			"Open: %u in the ledger, %zu in the sync loop, but should be %u",
			stats.provisional_open, sync.provisional_open, open);
	else if (stats.dropped > 0 || stats.over_limit > 0)
		sim_fail(sim, "ledger-stats", "%llu dropped, %llu over the limit",
			(unsigned long long)stats.dropped, (unsigned long long)stats.over_limit);
	else if (unclear == 0 && ledger_differences(sim->ledger, sim->now) != differing)
		sim_fail(sim, "difference", "%u differ, but should be %u",
			ledger_differences(sim->ledger, sim->now), differing);
	else if (unclear == 0 && ledger_is_calm(sim->ledger) != (differing == 0))
		sim_fail(sim, "ledger-calm", "Calm %d, with %u differences",
			ledger_is_calm(sim->ledger), differing);
}
