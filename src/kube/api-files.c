#include "kube/api-files.h"

#include <errno.h>
#include <string.h>

#include <systemd/sd-event.h>
#include <systemd/sd-id128.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "kernel/probe-agent.h"
#include "kube/credential.h"
#include "kube/kubeconfig.h"

#define TIMER_SLACK_US 50000
#define ENDS_NS        (60 * NSEC_PER_SEC) /* what a plugin gave is made anew so long before its end */

enum files_step {
	FILES_REST,   /* until the timer */
	FILES_CONFIG, /* the kubeconfig is read */
	FILES_TEXTS,  /* the file `file` that it names is read */
	FILES_PLUGIN, /* the plugin runs */
};

struct api_files {
	sd_event_source *timer;
	sd_event *event;
	struct probe *probe;
	const struct api_files_ops *ops;
	void *userdata;
	char *path;
	uint64_t period_ns, retry_ns, read_ns, first_doubt_ns;
	uint64_t random;

	/* What is known. */
	struct kubeconfig *config;
	char *ca;
	struct kube_credential credential;
	bool has_credential;
	char trouble[400];

	/* The look under way. */
	enum files_step step;
	bool is_for_doubt;
	struct kubeconfig *new_config;
	struct kube_texts texts;
	enum kube_file file;
	struct kube_plugin *plugin; /* freed before the next one, and at the end */

	/* When the next one is. Monotonic. */
	uint64_t look_ns;
	uint64_t wait_ns; /* the last pause after a failure; 0: none failed */
	bool hangs;       /* a read of ours did, the last time */
	bool is_doubted;
	uint64_t doubted_ns;   /* the last time */
	uint64_t doubt_due_ns; /* no look for a doubt before */
	uint64_t doubt_wait_ns;
};

/* --- when --- */

/* Up to half as much more by chance. */
static uint64_t with_chance(struct api_files *f, uint64_t wait_ns)
{
	f->random = f->random * UINT64_C(6364136223846793005) + 1;
	return wait_ns + (f->random >> 33) % (wait_ns / 2 + 1);
}

static void schedule(struct api_files *f)
{
	uint64_t due_ns = f->look_ns;

	if (f->step != FILES_REST)
		return; /* Its end schedules. */
	if (f->is_doubted)
		due_ns = time_min(due_ns, f->doubt_due_ns);
	(void)sd_event_source_set_time(f->timer, due_ns / NSEC_PER_USEC);
	(void)sd_event_source_set_enabled(f->timer, SD_EVENT_ONESHOT);
}

static void set_trouble(struct api_files *f, const char *text)
{
	char clean[sizeof(f->trouble)];

	(void)str_clean(clean, sizeof(clean), text, strlen(text));
	if (str_eq(clean, f->trouble))
		return;
	(void)str_format(f->trouble, sizeof(f->trouble), "%s", clean);
	f->ops->on_trouble(f->userdata, f->trouble);
}

/* The end of a look, good or bad. */
static void rest(struct api_files *f, const char *trouble)
{
	uint64_t wait_ns = f->period_ns;

	f->new_config = kubeconfig_free(f->new_config);
	kube_texts_done(&f->texts);
	f->step = FILES_REST;
	if (*trouble != '\0') {
		f->wait_ns = f->wait_ns > 0 ? f->wait_ns * 2 : f->retry_ns;
		f->wait_ns = time_min(f->wait_ns, f->period_ns);
		wait_ns = with_chance(f, f->wait_ns);
	} else {
		f->wait_ns = 0;
	}
	f->look_ns = time_add(clock_now().mono_ns, wait_ns);
	set_trouble(f, trouble);
	schedule(f);
}

static void fail(struct api_files *f, int r, const struct err *e)
{
	rest(f, err_text(e, r));
}

/* --- what is another --- */

static bool same(const char *a, const char *b)
{
	return !a || !b ? a == b : str_eq(a, b);
}

static bool same_list(const struct kube_list *a, const struct kube_list *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!str_eq(a->items[i], b->items[i]))
			return false;
	return true;
}

static bool same_plugin(const struct kube_user *a, const struct kube_user *b)
{
	return same(a->exec.command, b->exec.command) &&
		same(a->exec.api_version, b->exec.api_version) &&
		same_list(&a->exec.args, &b->exec.args) && same_list(&a->exec.env, &b->exec.env);
}

static bool same_target(const struct kube_cluster *a, const struct kube_cluster *b)
{
	return same(a->server, b->server) && same(a->tls_server_name, b->tls_server_name) &&
		same(a->proxy_url, b->proxy_url) && a->insecure == b->insecure;
}

static bool same_credential(const struct kube_credential *a, const struct kube_credential *b)
{
	return same(a->bearer, b->bearer) && same(a->cert_pem, b->cert_pem) &&
		same(a->key_pem, b->key_pem) && a->expiry_ns == b->expiry_ns;
}

/* --- who we are --- */

static int check_length(const struct kube_credential *c, struct err *reterr)
{
	size_t len = strlen(str_or_empty(c->bearer)) + strlen(str_or_empty(c->cert_pem)) +
		strlen(str_or_empty(c->key_pem));

	return len <= API_FILES_TEXTS_MAX
		? 0
		: err_set(reterr, -EMSGSIZE, "Token, certificate and key have more than %u bytes",
			  API_FILES_TEXTS_MAX);
}

/* Leaves nothing of it to the caller. */
static void take_credential(struct api_files *f, struct kube_credential *credential)
{
	bool is_told = f->has_credential && !f->is_for_doubt &&
		same_credential(credential, &f->credential);

	kube_credential_done(&f->credential);
	f->credential = *credential;
	*credential = (struct kube_credential){ 0 };
	f->has_credential = true;
	if (!is_told)
		f->ops->on_credential(f->userdata, &f->credential);
}

static void on_plugin(int r, struct kube_credential *credential, const char *text, void *userdata)
{
	struct api_files *f = userdata;
	struct err e = { 0 };

	if (r < 0)
		(void)err_set(&e, r, "%s", text);
	else
		r = check_length(credential, &e);
	if (r < 0) {
		fail(f, r, &e);
		return;
	}
	take_credential(f, credential);
	rest(f, "");
}

static bool wants_plugin(const struct api_files *f, bool is_another)
{
	const struct kube_credential *c = &f->credential;

	return is_another || !f->has_credential || f->is_for_doubt ||
		(c->expiry_ns > 0 && c->expiry_ns - clock_now().real_ns < (int64_t)ENDS_NS);
}

static int start_plugin(struct api_files *f, struct err *reterr)
{
	f->plugin = kube_plugin_free(f->plugin);
	f->step = FILES_PLUGIN;
	return kube_plugin_start(f->event, f->config, 0, on_plugin, f, &f->plugin, reterr);
}

/* --- what was read --- */

static void take_target(struct api_files *f, char *ca, bool is_another)
{
	(void)kubeconfig_free(f->config);
	f->config = TAKE_PTR(f->new_config);
	(void)mem_free(f->ca);
	f->ca = ca;
	if (!is_another)
		return;
	/* Not for the eyes of the other server. */
	kube_credential_done(&f->credential);
	f->has_credential = false;
	f->ops->on_target(f->userdata, f->config, f->ca);
}

/* All that there is to read has been: 1 if the plugin runs now, else 0 or a negative errno. Nothing is taken
 * unless all of it is good, so that one server is never told the credential of another. */
static int take_all(struct api_files *f, struct err *reterr)
{
	CLEAN(kube_credential_done) struct kube_credential c = { 0 };
	CLEAN(mem_freep) char *ca = NULL;
	const struct kube_user *user = &f->new_config->user;
	bool has_plugin = user->exec.command != NULL;
	bool is_other_target, is_other_plugin;
	int r;

	r = kubeconfig_authority_make(f->new_config, &f->texts, &ca, reterr);
	if (r >= 0 && ca && strlen(ca) > API_FILES_TEXTS_MAX)
		r = err_set(reterr, -EMSGSIZE, "The certificate-authority has more than %u bytes",
			API_FILES_TEXTS_MAX);
	if (r >= 0 && !has_plugin)
		r = kube_credential_make(f->new_config, &f->texts, &c, reterr);
	if (r >= 0)
		r = check_length(&c, reterr);
	if (r < 0)
		return r;
	is_other_target = !f->config || !same(ca, f->ca) ||
		!same_target(&f->new_config->cluster, &f->config->cluster);
	is_other_plugin = !f->config || !same_plugin(user, &f->config->user);
	take_target(f, TAKE_PTR(ca), is_other_target);
	if (!has_plugin)
		take_credential(f, &c);
	if (!has_plugin || !wants_plugin(f, is_other_plugin))
		return 0;
	r = start_plugin(f, reterr);
	return r < 0 ? r : 1;
}

/* --- reading --- */

static void next_file(struct api_files *f);

static void on_secret(int r, const struct probe_answer *answer, const char *reason, void *userdata);

static int ask(struct api_files *f, const char *what, const char *path, struct err *reterr)
{
	int r;

	if (!f->probe)
		return err_set(reterr, -ENOTSUP, "Read %s '%s': There is no probe", what, path);
	r = probe_secret(f->probe, path, f->read_ns, on_secret, f, reterr);
	return r < 0 ? err_wrap(reterr, r, "Read %s '%s'", what, path) : 0;
}

static int take_config(struct api_files *f, const char *text, size_t len, struct err *reterr)
{
	int r = kubeconfig_parse(f->path, text, len, NULL, &f->new_config, reterr);

	if (r >= 0)
		f->file = KUBE_FILE_AUTHORITY;
	return r;
}

static int take_file(struct api_files *f, const char *text, size_t len, struct err *reterr)
{
	if (len > kube_file_max(f->file))
		return err_set(reterr, -EFBIG, "Read %s '%s': More than %zu bytes",
			kube_file_name(f->file), kubeconfig_file(f->new_config, f->file),
			kube_file_max(f->file));
	f->texts.of[f->file] = mem_strndup(len > 0 ? text : "", len);
	if (!f->texts.of[f->file])
		return -ENOMEM;
	f->file++;
	return 0;
}

static void on_secret(int r, const struct probe_answer *answer, const char *reason, void *userdata)
{
	struct api_files *f = userdata;
	const void *map = NULL;
	struct err e = { 0 };
	size_t len = 0;

	f->hangs = r == -ETIMEDOUT;
	if (r >= 0)
		r = channel_map_sealed(answer->fd, PROBE_SECRET_MAX, &map, &len);
	else
		(void)err_set(&e, r, "Read %s '%s': %s",
			f->step == FILES_CONFIG ? "kubeconfig" : kube_file_name(f->file),
			f->step == FILES_CONFIG ? f->path : kubeconfig_file(f->new_config, f->file),
			reason);
	if (r >= 0 && f->step == FILES_CONFIG)
		r = take_config(f, map ? map : "", len, &e);
	else if (r >= 0)
		r = take_file(f, map, len, &e);
	channel_unmap(map, len);
	if (r < 0)
		fail(f, r, &e);
	else
		next_file(f);
}

/* Asks for the next file that there is, or takes what was read. */
static void next_file(struct api_files *f)
{
	struct err e = { 0 };
	int r;

	f->step = FILES_TEXTS;
	while (f->file < KUBE_FILES && !kubeconfig_file(f->new_config, f->file))
		f->file++;
	if (f->file < KUBE_FILES)
		r = ask(f, kube_file_name(f->file), kubeconfig_file(f->new_config, f->file), &e);
	else
		r = take_all(f, &e);
	if (r < 0)
		fail(f, r, &e);
	else if (f->file == KUBE_FILES && r == 0)
		rest(f, "");
}

/* --- a look --- */

static bool is_held_up(const struct api_files *f)
{
	struct probe_status s;

	if (!f->hangs || !f->probe)
		return false;
	probe_status(f->probe, &s);
	return s.role.abandoned > 0 || s.role.state == ROLE_STUCK;
}

/* The next look for a doubt is later, each time. */
static void begin_doubt(struct api_files *f)
{
	uint64_t now_ns = clock_now().mono_ns;

	f->is_for_doubt = f->is_doubted && now_ns >= f->doubt_due_ns;
	if (!f->is_for_doubt)
		return;
	f->is_doubted = false;
	f->doubt_wait_ns = f->doubt_wait_ns > 0 ? f->doubt_wait_ns * 2 : f->first_doubt_ns;
	f->doubt_wait_ns = time_min(f->doubt_wait_ns, API_FILES_DOUBTS_NS);
	f->doubt_due_ns = time_add(now_ns, with_chance(f, f->doubt_wait_ns));
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct api_files *f = userdata;
	struct err e = { 0 };
	int r;

	if (is_held_up(f)) {
		rest(f, f->trouble);
		return 0;
	}
	begin_doubt(f);
	f->step = FILES_CONFIG;
	if (!str_eq(f->path, API_FILES_IN_CLUSTER)) {
		r = ask(f, "kubeconfig", f->path, &e);
	} else {
		r = kubeconfig_in_cluster(NULL, &f->new_config, &e);
		f->file = KUBE_FILE_AUTHORITY;
		if (r >= 0)
			next_file(f);
	}
	if (r < 0)
		fail(f, r, &e);
	return 0;
}

void api_files_doubt(struct api_files *f)
{
	uint64_t now_ns = clock_now().mono_ns;

	if (time_since(now_ns, f->doubted_ns) > 2 * API_FILES_DOUBTS_NS)
		f->doubt_wait_ns = f->doubt_due_ns = 0;
	f->doubted_ns = now_ns;
	f->is_doubted = true;
	schedule(f);
}

/* --- life --- */

int api_files_new(const struct api_files_options *options, struct api_files **ret)
{
	CLEAN(api_files_freep) struct api_files *f = mem_zalloc(sizeof(*f));
	sd_id128_t id;
	int r;

	if (!f)
		return -ENOMEM;
	f->event = sd_event_ref(options->event);
	f->probe = options->probe;
	f->ops = options->ops;
	f->userdata = options->userdata;
	f->period_ns = options->period_ns ?: API_FILES_PERIOD_NS;
	f->retry_ns = options->retry_ns ?: API_FILES_RETRY_NS;
	f->read_ns = options->read_ns ?: API_FILES_READ_NS;
	f->first_doubt_ns = options->doubt_ns ?: API_FILES_DOUBT_NS;
	f->path = mem_strdup(options->kubeconfig);
	if (!f->path)
		return -ENOMEM;
	r = sd_id128_randomize(&id);
	if (r < 0)
		return r;
	f->random = id.qwords[0];
	r = sd_event_add_time(f->event, &f->timer, CLOCK_MONOTONIC, 0, TIMER_SLACK_US, on_timer, f);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(f);
	return 0;
}

struct api_files *api_files_free(struct api_files *f)
{
	if (!f)
		return NULL;
	if (f->probe)
		probe_forget(f->probe, f);
	f->plugin = kube_plugin_free(f->plugin);
	f->timer = sd_event_source_disable_unref(f->timer);
	f->new_config = kubeconfig_free(f->new_config);
	kube_texts_done(&f->texts);
	kube_credential_done(&f->credential);
	f->config = kubeconfig_free(f->config);
	f->ca = mem_free(f->ca);
	f->path = mem_free(f->path);
	f->event = sd_event_unref(f->event);
	return mem_free(f);
}

const struct kubeconfig *api_files_config(const struct api_files *f)
{
	return f->config;
}

const struct kube_credential *api_files_credential(const struct api_files *f)
{
	return f->has_credential ? &f->credential : NULL;
}

const char *api_files_trouble(const struct api_files *f)
{
	return f->trouble;
}
