/* The words from src/cli: "name=value". The two are of one build, so what is not known is a bug there,
 * and still an error here. */
#include "drain/command.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "base/time.h"

static int take_dry_run(const char *value, enum dry_run *ret)
{
	if (str_eq(value, "client"))
		*ret = DRY_RUN_CLIENT;
	else if (str_eq(value, "server"))
		*ret = DRY_RUN_SERVER;
	else if (!str_eq(value, "none"))
		return -EINVAL;
	return 0;
}

/* 1: it was one of these. */
static int take_flag(struct command_words *w, const char *word)
{
	const struct {
		const char *name;
		bool *target;
	} flags[] = {
		{ "json", &w->json },
		{ "any", &w->any },
		{ "uncordon", &w->uncordon },
		{ "overwrite", &w->overwrite },
		{ "ignore-daemonsets", &w->ignore_daemonsets },
		{ "delete-emptydir-data", &w->delete_emptydir_data },
		{ "force", &w->force },
		{ "disable-eviction", &w->disable_eviction },
		{ "force-stuck", &w->force_stuck },
	};

	for (size_t i = 0; i < ELEMENTS(flags); i++)
		if (str_eq(word, flags[i].name)) {
			*flags[i].target = true;
			return 1;
		}
	return 0;
}

static int take_text(struct command_words *w, const char *word)
{
	const struct {
		const char *prefix;
		const char **target;
	} texts[] = {
		{ "node=", &w->node },
		{ "kubeconfig=", &w->kubeconfig },
		{ "context=", &w->context },
		{ "socket=", &w->socket },
		{ "pod-selector=", &w->pod_selector },
	};

	for (size_t i = 0; i < ELEMENTS(texts); i++)
		if (str_after(word, texts[i].prefix)) {
			*texts[i].target = str_after(word, texts[i].prefix);
			return 1;
		}
	return 0;
}

static int take_value(struct command_words *w, const char *word, struct err *reterr)
{
	const char *timeout = str_after(word, "timeout="),
		   *grace = str_after(word, "grace-period=");
	const char *dry_run = str_after(word, "dry-run="), *taint = str_after(word, "taint=");
	uint64_t seconds;

	if (timeout && time_parse_duration(timeout, &w->timeout_ns) < 0)
		return err_set(reterr, -EINVAL,
			"--timeout takes a duration such as 90s or 10m, not '%s'", timeout);
	if (grace) {
		if (!str_eq(grace, "-1") &&
			(str_to_u64(grace, &seconds) < 0 || seconds > INT32_MAX))
			return err_set(reterr, -EINVAL,
				"--grace-period takes seconds, or -1 for the pod's own, not '%s'",
				grace);
		w->grace_s = str_eq(grace, "-1") ? -1 : (int64_t)seconds;
	}
	if (dry_run && take_dry_run(dry_run, &w->dry_run) < 0)
		return err_set(reterr, -EINVAL, "--dry-run takes client, server or none");
	if (taint && w->taint_count == COMMAND_TAINTS)
		return err_set(reterr, -EINVAL, "More than %u taints", COMMAND_TAINTS);
	if (taint)
		w->taints[w->taint_count++] = taint;
	return timeout || grace || dry_run || taint
		? 0
		: err_set(reterr, -EINVAL, "Unknown word '%s'", word);
}

int command_words_parse(int argc, char **argv, struct command_words *ret, struct err *reterr)
{
	struct command_words w = { .grace_s = -1 };
	int r = 0;

	if (argc < 2)
		return err_set(
			reterr, -EINVAL, "This is run by pleg cordon, uncordon, taint, drain");
	w.verb = argv[1];
	for (int i = 2; i < argc && r >= 0; i++)
		if (!take_flag(&w, argv[i]) && !take_text(&w, argv[i]))
			r = take_value(&w, argv[i], reterr);
	if (r >= 0 && !w.node)
		r = err_set(reterr, -EINVAL, "No node was named");
	if (r >= 0)
		*ret = w;
	return r;
}
