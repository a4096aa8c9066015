/*
 * Each shim is asked for the state of the container it was started for. One that did not answer a
 * former sample is not asked again (law 5): its call is still open, and its age is what is told.
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
	uint64_t asked_ns;
	bool late;
	char address[SHIM_ADDRESS_MAX];
};

static struct evidence_shim *shim_of(struct collect_call *call)
{
	struct collect *c = call->c;

	return c->evidence && call->sample == c->sample ? &c->evidence->shims[call->shim] : NULL;
}

static void settle(struct collect_call *call)
{
	if (!call->late && shim_of(call) && call->c->shims_open > 0) {
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

static void on_done(void *userdata, const struct shim_result *result)
{
	struct collect_call *call = userdata;
	struct evidence_shim *s = shim_of(call);

	if (s) {
		s->state.answer = result->answer;
		s->state.age_ns = time_since(clock_now().mono_ns, call->asked_ns);
		s->state.message = evidence_text(
			call->c->evidence, result->answer == ANSWER_OK ? "" : result->message);
	}
	settle(call);
	unlink_call(call);
	(void)mem_free(call);
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

int collect_ask_shim(struct collect *c, uint32_t index)
{
	struct evidence_shim *s = &c->evidence->shims[index];
	struct shim_address address = { .version = SHIM_TASK_VERSION };
	struct slice namespace, id;
	struct collect_call *call;
	char space[CONTAINERD_NAMESPACE_MAX + 1], container[HINT_ID_MAX + 1];
	int r;

	if (s->address[0] == '\0' || strlen(s->address) >= sizeof(address.text) ||
		!identity_of_bundle(s->bundle, &namespace, &id) || namespace.len >= sizeof(space) ||
		id.len >= sizeof(container))
		return 0;
	s->state.method = "State";
	s->state.subject = evidence_copy(c->evidence, id.data, id.len);
	call = open_call(c, s->address);
	if (call) {
		call->sample = c->sample;
		call->shim = index;
		tell_late(call);
		return 0;
	}
	(void)str_format(space, sizeof(space), "%.*s", (int)namespace.len, namespace.data);
	(void)str_format(container, sizeof(container), "%.*s", (int)id.len, id.data);
	(void)str_format(address.text, sizeof(address.text), "%s", s->address);
	call = mem_zalloc(sizeof(*call));
	if (!call)
		return 0;
	call->c = c;
	call->sample = c->sample;
	call->shim = index;
	call->asked_ns = clock_now().mono_ns;
	(void)str_format(call->address, sizeof(call->address), "%s", s->address);
	r = shim_client_ask(c->shims, SHIM_STATE, &address, space, container, COLLECT_ANSWER_NS,
		&callbacks, call);
	if (r < 0) {
		(void)mem_free(call);
		return r == -EBUSY ? r : 0;
	}
	call->next = c->shim_calls;
	c->shim_calls = call;
	c->shims_open++;
	return 0;
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
