/*
 * pleg drain: cordons, evicts, waits until all are gone, and says of each that stays why.
 *
 * The loop turns, then step() looks what is due: what asks the API server and waits is called from
 * there, never from a callback. Evictions run side by side, EVICTIONS_MAX at a time; which pods are
 * still there is one list of the node's pods a second. The whole ends at --timeout or at a signal,
 * whatever is being waited for then: command_left_ns() bounds each wait.
 */
#include "drain/drain-internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/object.h"

#define TURN_NS       (100 * NSEC_PER_MSEC)
#define LIST_EVERY_NS NSEC_PER_SEC
#define TELL_FIRST_NS (15 * NSEC_PER_SEC)

uint64_t drain_now_ns(void)
{
	return clock_now().mono_ns;
}

size_t drain_count_taken(const struct drain *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->count; i++)
		n += d->pods[i].verdict.action == DRAIN_TAKE;
	return n;
}

size_t drain_count_open(const struct drain *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->count; i++)
		n += pod_is_open(&d->pods[i]);
	return n;
}

/* ---- who is still there ------------------------------------------------------------------ */

static const json_t *find_listed(const json_t *items, const struct pod *pod)
{
	for (size_t i = 0; i < json_array_size(items); i++) {
		const json_t *one = json_array_get(items, i);
		const char *uid = kube_uid(one);

		if (uid && str_eq(uid, pod->uid))
			return one;
	}
	return NULL;
}

/* A list that fails is tried again a second later: the timeout bounds it. */
static void look_who_is_there(struct drain *d)
{
	struct err err = { 0 };
	json_t *list = NULL;

	if (drain_now_ns() < d->list_due_ns)
		return;
	d->list_due_ns = drain_now_ns() + LIST_EVERY_NS;
	if (drain_list(d, false, &list, &err) < 0) {
		if (command_left_ns(d->command) > 0)
			command_complain("%s", err.text);
		return;
	}
	for (size_t i = 0; i < d->count; i++) {
		struct pod *pod = &d->pods[i];
		const json_t *one;

		if (!pod_is_open(pod))
			continue;
		one = find_listed(json_object_get(list, "items"), pod);
		if (!one) {
			pod->is_gone = true;
			if (!pod->is_forced)
				command_say(d->command, "pod/%s %s", pod->name,
					d->words->disable_eviction ? "deleted" : "evicted");
			continue;
		}
		json_decref(pod->latest);
		pod->latest = json_incref((json_t *)one); /* counted, not changed */
		pod->deadline_ns = kube_deletion_ns(one);
		(void)snprintf(pod->finalizer, sizeof(pod->finalizer), "%s",
			str_or_empty(kube_finalizer(one, 0)));
	}
	json_decref(list);
	d->list_due_ns = drain_now_ns() + LIST_EVERY_NS;
}

/* ---- all of it --------------------------------------------------------------------------- */

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct drain *d = userdata;

	(void)source;
	(void)info;
	d->command->is_interrupted = true;
	return 0;
}

static int watch_signals(struct drain *d)
{
	sigset_t set;
	int r;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	r = sd_event_add_signal(d->command->event, &d->interrupt, SIGINT, on_signal, d);
	return r < 0 ? r
		     : sd_event_add_signal(d->command->event, &d->terminate, SIGTERM, on_signal, d);
}

/* Nothing is under way or may still come by itself. */
static bool is_hopeless(const struct drain *d)
{
	for (size_t i = 0; i < d->count; i++)
		if (pod_is_open(&d->pods[i]) && !d->pods[i].has_failed)
			return false;
	return true;
}

static int turn(struct drain *d, bool *ret_late)
{
	int r = 0;

	while (r >= 0 && drain_count_open(d) > 0 && !is_hopeless(d)) {
		if (command_left_ns(d->command) == 0) {
			*ret_late = !d->command->is_interrupted;
			return 0;
		}
		r = drain_evict_due(d);
		if (r >= 0)
			r = sd_event_run(d->command->event, TURN_NS / NSEC_PER_USEC);
		if (r >= 0 && drain_count_open(d) > 0 && d->words->dry_run == DRY_RUN_NONE) {
			look_who_is_there(d);
			r = drain_force_due(d);
			if (drain_count_open(d) > 0 && command_left_ns(d->command) > 0)
				drain_tell_who_is_there(d);
		}
	}
	return r;
}

static bool stands_on(const json_t *node)
{
	const char *theirs = kube_string(node, "status.nodeInfo.bootID");
	char ours[64];
	int n = fd_read_small(-EBADF, "/proc/sys/kernel/random/boot_id", ours, sizeof(ours));

	if (n <= 0 || !theirs)
		return false;
	ours[strcspn(ours, "\n")] = '\0';
	return str_eq(ours, theirs);
}

static int prepare(struct drain *d, struct err *err)
{
	json_t *node = NULL;
	bool changed;
	int r = cordon_node(d->command, &changed, err);

	if (r < 0)
		return r;
	d->is_cordoned = true;
	command_say(d->command, "node/%s %s%s", d->words->node,
		changed ? "cordoned" : "already cordoned",
		changed ? command_dry_text(d->command) : "");
	r = command_node(d->command, &node, err);
	if (r < 0)
		return r;
	d->is_here = stands_on(node);
	json_decref(node);
	return drain_choose(d, err);
}

static int drain(struct drain *d)
{
	struct err err = { 0 };
	bool is_late = false;
	int r = watch_signals(d);

	if (r >= 0)
		r = prepare(d, &err);
	if (r >= 0 && drain_tell_of(d, DRAIN_REFUSE))
		return d->words->json ? drain_finish(d, false) : COMMAND_FAILED;
	if (r >= 0) {
		(void)drain_tell_of(d, DRAIN_SKIP);
		d->list_due_ns = drain_now_ns() + LIST_EVERY_NS;
		d->tell_due_ns = drain_now_ns() + TELL_FIRST_NS;
		r = turn(d, &is_late);
	}
	if (r < 0) {
		command_complain("%s%s%s%s", err_text(&err, r), d->is_cordoned ? "; node " : "",
			d->is_cordoned ? d->words->node : "",
			d->is_cordoned ? " stays cordoned, nothing was evicted" : "");
		return COMMAND_FAILED;
	}
	return drain_finish(d, is_late);
}

int drain_run(struct command *command)
{
	struct drain d = { .command = command, .words = command->words };
	int code = drain(&d);

	/* What is still under way must not call back into what is freed here. */
	command->client = kube_client_free(command->client);
	(void)sd_event_source_disable_unref(d.interrupt);
	(void)sd_event_source_disable_unref(d.terminate);
	for (size_t i = 0; i < d.count; i++) {
		json_decref(d.pods[i].object);
		json_decref(d.pods[i].latest);
	}
	(void)mem_free(d.pods);
	json_decref(d.findings);
	return code;
}
