/*
 * Each shim is asked for the state of the container it was started for. One that did not answer a
 * former sample is not asked again (law 5): its call is still open, and its age is what is told.
 *
 * Of a container that is frozen its shim is asked again, for that container: runtimes pause through
 * it, so its word on whether it was paused is theirs. It is asked after the freezer was read; the
 * other way round one that is being paused would look as if nobody had done it.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "doctor/collect-internal.h"
#include "runtime/shim.h"

#define SHIM_TASK_VERSION 2u /* of the task service: all shims of containerd have it */

struct collect_call {
	struct collect_call *next;
	struct collect *c;
	uint64_t sample; /* for which it was asked, or is waited for now */
	uint32_t shim;   /* there */
	uint32_t paused; /* the container whose pause it asks for, there; NONE: the shim itself */
	uint64_t asked_ns;
	bool late;
	char address[SHIM_ADDRESS_MAX];
};

static struct evidence_shim *shim_of(struct collect_call *call)
{
	struct collect *c = call->c;

	return c->evidence && call->sample == c->sample && call->paused == EVIDENCE_NONE
		? &c->evidence->shims[call->shim]
		: NULL;
}

static struct evidence_container *paused_of(struct collect_call *call)
{
	struct collect *c = call->c;

	return c->evidence && call->sample == c->sample && call->paused != EVIDENCE_NONE
		? &c->evidence->containers[call->paused]
		: NULL;
}

static void settle(struct collect_call *call)
{
	if (!call->late && (shim_of(call) || paused_of(call)) && call->c->shims_open > 0) {
		call->c->shims_open--;
		collect_wake(call->c);
	}
}

static void unlink_call(struct collect_call *call)
{
	struct collect_call **at = &call->c->shim_calls;

	while (*at && *at != call)
		at = &(*at)->next;
	if (*at)
		*at = call->next;
}

static enum evidence_pause pause_of(const struct shim_task *task)
{
	switch (task->status) {
	case CONTAINERD_UNKNOWN: return PAUSE_UNKNOWN;
	case CONTAINERD_CREATED:
	case CONTAINERD_RUNNING:
	case CONTAINERD_STOPPED: return PAUSE_NO;
	case CONTAINERD_PAUSED: return PAUSE_YES;
	case CONTAINERD_PAUSING: return PAUSE_UNDERWAY;
	}
	return PAUSE_UNKNOWN;
}

static void ask_pauses(struct collect *c);

static void on_done(void *userdata, const struct shim_result *result)
{
	struct collect_call *call = userdata;
	struct evidence_container *k = paused_of(call);
	struct evidence_shim *s = shim_of(call);
	struct collect *c = call->c;

	if (k && result->answer == ANSWER_OK && k->pause != PAUSE_YES)
		k->pause = pause_of(result->task);
	if (s) {
		s->state.answer = result->answer;
		s->state.age_ns = time_since(clock_now().mono_ns, call->asked_ns);
		s->state.message = evidence_text(
			call->c->evidence, result->answer == ANSWER_OK ? "" : result->message);
	}
	settle(call);
	unlink_call(call);
	(void)mem_free(call);
	if (c->evidence)
		ask_pauses(c);
}

static void tell_late(struct collect_call *call)
{
	struct evidence_shim *s = shim_of(call);

	if (!s)
		return;
	s->state.answer = ANSWER_LATE;
	s->state.age_ns = time_since(clock_now().mono_ns, call->asked_ns);
}

static void on_late(void *userdata)
{
	struct collect_call *call = userdata;

	tell_late(call);
	settle(call);
	call->late = true;
}

static const struct shim_callbacks callbacks = { on_done, on_late };

static struct collect_call *open_call(struct collect *c, const char *address)
{
	struct collect_call *call = c->shim_calls;

	while (call && !str_eq(call->address, address))
		call = call->next;
	return call;
}

/* 0; -EINVAL: it cannot be asked, for it was not found where; else what shim_client_ask() says. */
static int ask(struct collect *c, uint32_t index, uint32_t paused, const char *id)
{
	const struct evidence_shim *s = &c->evidence->shims[index];
	struct shim_address address = { .version = SHIM_TASK_VERSION };
	char space[CONTAINERD_NAMESPACE_MAX + 1], container[HINT_ID_MAX + 1];
	struct slice namespace, own;
	struct collect_call *call;
	int r;

	if (s->address[0] == '\0' || strlen(s->address) >= sizeof(address.text) ||
		!identity_of_bundle(s->bundle, &namespace, &own) || namespace.len >= sizeof(space))
		return -EINVAL;
	if (id)
		own = SLICE(id);
	if (own.len >= sizeof(container))
		return -EINVAL;
	(void)str_format(space, sizeof(space), "%.*s", (int)namespace.len, namespace.data);
	(void)str_format(container, sizeof(container), "%.*s", (int)own.len, own.data);
	(void)str_format(address.text, sizeof(address.text), "%s", s->address);
	call = mem_zalloc(sizeof(*call));
	if (!call)
		return -ENOMEM;
	call->c = c;
	call->sample = c->sample;
	call->shim = index;
	call->paused = paused;
	call->asked_ns = clock_now().mono_ns;
	(void)str_format(call->address, sizeof(call->address), "%s", s->address);
	r = shim_client_ask(c->shims, SHIM_STATE, &address, space, container, COLLECT_ANSWER_NS,
		&callbacks, call);
	if (r < 0) {
		(void)mem_free(call);
		return r;
	}
	call->next = c->shim_calls;
	c->shim_calls = call;
	c->shims_open++;
	return 0;
}

int collect_ask_shim(struct collect *c, uint32_t index)
{
	struct evidence_shim *s = &c->evidence->shims[index];
	struct slice namespace, id;
	struct collect_call *call;

	if (s->address[0] == '\0' || !identity_of_bundle(s->bundle, &namespace, &id))
		return 0;
	s->state.method = "State";
	s->state.subject = evidence_copy(c->evidence, id.data, id.len);
	call = open_call(c, s->address);
	if (call) {
		call->sample = c->sample;
		call->shim = index;
		call->paused = EVIDENCE_NONE;
		tell_late(call);
		return 0;
	}
	return ask(c, index, EVIDENCE_NONE, NULL) == -EBUSY ? -EBUSY : 0;
}

/* At the limit the answers of the others are waited for; where all of those hang, no more is asked. */
enum collect_step collect_shims(struct collect *c)
{
	if (c->cursor == c->evidence->shim_count)
		return COLLECT_NEXT;
	if (collect_ask_shim(c, c->cursor) == -EBUSY) {
		if (c->shims_open > 0)
			return COLLECT_HOLD;
		evidence_add_gap(c->evidence, "shims", "too many of them do not answer", "");
		return COLLECT_NEXT;
	}
	c->cursor++;
	return COLLECT_MORE;
}

/* ---- paused on purpose? ----------------------------------------------------------------------- */

/* A shim has one call at a time: after each answer the next. One that is silent leaves it unknown. */
static void ask_pauses(struct collect *c)
{
	for (uint32_t i = 0; i < c->pause_count; i++) {
		struct collect_pause *pause = &c->pauses[i];

		if (!pause->is_asked && !open_call(c, c->evidence->shims[pause->shim].address))
			pause->is_asked =
				ask(c, pause->shim, pause->container,
					c->evidence->containers[pause->container].id) != -EBUSY;
	}
}

static uint32_t shim_of_init(const struct evidence *e, const struct evidence_process *init)
{
	for (uint32_t i = 0; init->parent != EVIDENCE_NONE && i < e->shim_count; i++)
		if (e->shims[i].process == init->parent)
			return i;
	return EVIDENCE_NONE;
}

enum collect_step collect_pauses(struct collect *c)
{
	const struct evidence *e = c->evidence;

	for (uint32_t i = 0; i < e->process_count && c->pause_count < COLLECT_PAUSES_MAX; i++) {
		const struct evidence_process *p = &e->processes[i];
		uint32_t shim;

		if (p->freezer == EVIDENCE_NONE || p->container == EVIDENCE_NONE ||
			(p->roles & EVIDENCE_INIT) == 0)
			continue;
		shim = shim_of_init(e, p);
		if (shim != EVIDENCE_NONE)
			c->pauses[c->pause_count++] =
				(struct collect_pause){ .container = p->container, .shim = shim };
	}
	ask_pauses(c);
	return COLLECT_NEXT;
}

/* Those of this sample that are open when it ends are late as far as it knows. */
void collect_shims_end(struct collect *c)
{
	for (struct collect_call *call = c->shim_calls; call; call = call->next) {
		if (c->evidence && call->sample == c->sample) {
			tell_late(call);
			call->sample = 0;
		}
		call->late = true;
	}
	c->shims_open = 0;
}

void collect_shims_free(struct collect *c)
{
	c->shims = shim_client_free(c->shims);
	while (c->shim_calls) {
		struct collect_call *call = c->shim_calls;

		c->shim_calls = call->next;
		(void)mem_free(call);
	}
}
