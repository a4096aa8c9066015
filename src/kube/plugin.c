/* Exec credential plugins: a program of others, run under a deadline. */
#include "kube/credential.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/str.h"
#include "kube/kubeconfig.h"
#include "kube/object.h"

#define EXIT_WAIT_MS 50 /* the loop stands still for so long at most, and seldom at all */
#define KILL_WAIT_MS 20

#define API_VERSION_DEFAULT "client.authentication.k8s.io/v1"

struct kube_plugin {
	sd_event_source *output, *timer;
	struct buf text;
	char *name, *api_version;
	pid_t pid; /* also its process group; 0: reaped */
	int fd, pidfd;
	struct err why; /* code 0: none yet */
	kube_plugin_fn on_done;
	void *userdata;
};

/* --- what it says --- */

static int take_string(const json_t *status, const char *key, char **ret)
{
	const char *text = kube_string(status, key);

	if (!text || text[0] == '\0')
		return 0;
	*ret = mem_strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int check_kind(const json_t *object, const char *api_version, struct err *reterr)
{
	const char *kind = kube_string(object, "kind"), *api = kube_string(object, "apiVersion");

	if (!kind || !str_eq(kind, "ExecCredential") ||
		!json_is_object(kube_field(object, "status")))
		return err_set(reterr, -EINVAL, "It printed no ExecCredential with a status");
	if (!api || (api_version && !str_eq(api, api_version)))
		return err_set(reterr, -EINVAL, "It printed another apiVersion than %s",
			str_or_empty(api_version));
	return 0;
}

static int take_status(const json_t *status, struct kube_credential *c, struct err *reterr)
{
	const char *expiry = kube_string(status, "expirationTimestamp");
	int r;

	r = take_string(status, "token", &c->bearer);
	if (r >= 0)
		r = take_string(status, "clientCertificateData", &c->cert_pem);
	if (r >= 0)
		r = take_string(status, "clientKeyData", &c->key_pem);
	if (r < 0)
		return r;
	for (const char *t = str_or_empty(c->bearer); *t != '\0'; t++)
		if (*t <= ' ' || *t > '~')
			return err_set(reterr, -EINVAL, "Its token is not printable ASCII");
	if (!c->cert_pem != !c->key_pem || (!c->bearer && !c->cert_pem))
		return err_set(reterr, -EINVAL,
			"It printed neither a token nor a certificate with its key");
	if (expiry && time_parse_rfc3339(expiry, &c->expiry_ns) < 0)
		return err_set(reterr, -EINVAL, "Its expirationTimestamp is no time");
	kube_credential_date(c);
	return 0;
}

int kube_plugin_parse(const char *text, size_t len, const char *api_version,
	struct kube_credential *ret, struct err *reterr)
{
	CLEAN(kube_credential_done) struct kube_credential c = { 0 };
	json_t *object = kube_parse(text, len);
	int r;

	if (!object)
		return err_set(reterr, -EINVAL, "It printed no JSON object");
	r = check_kind(object, api_version, reterr);
	if (r >= 0)
		r = take_status(kube_field(object, "status"), &c, reterr);
	json_decref(object);
	if (r < 0)
		return r;
	*ret = c;
	c = (struct kube_credential){ 0 };
	return 0;
}

/* --- running it --- */

/* Until the child is dead, at most so long. */
static void wait_end(const struct kube_plugin *p, int timeout_ms)
{
	struct pollfd fd = { .fd = p->pidfd, .events = POLLIN };

	(void)poll(&fd, 1, timeout_ms);
}

static void end_child(struct kube_plugin *p)
{
	int status;

	if (p->pid == 0)
		return;
	(void)kill(-p->pid, SIGKILL);
	(void)kill(p->pid, SIGKILL);
	/* Killed, so this does not last, unless it hangs in the kernel: then it stays a zombie. */
	wait_end(p, KILL_WAIT_MS);
	(void)waitpid(p->pid, &status, WNOHANG);
	p->pid = 0;
}

static void finish(struct kube_plugin *p)
{
	CLEAN(kube_credential_done) struct kube_credential c = { 0 };
	struct err e = p->why;
	int r = e.code;

	p->output = sd_event_source_disable_unref(p->output);
	p->timer = sd_event_source_disable_unref(p->timer);
	end_child(p);
	if (r == 0)
		r = kube_plugin_parse(
			(const char *)p->text.data, p->text.len, p->api_version, &c, &e);
	if (p->text.data)
		explicit_bzero(p->text.data, p->text.len);
	buf_clear(&p->text);
	if (r < 0)
		(void)err_wrap(&e, r, "Credential plugin '%s'", p->name);
	p->on_done(r, r < 0 ? NULL : &c, r < 0 ? err_text(&e, r) : "", p->userdata);
}

/* Its output has ended, so it has, or will in a moment. */
static void reap(struct kube_plugin *p)
{
	int status = 0;

	wait_end(p, EXIT_WAIT_MS);
	if (waitpid(p->pid, &status, WNOHANG) != p->pid)
		return; /* It closed its output and goes on: what it said counts, and it is ended. */
	p->pid = 0;
	if (WIFSIGNALED(status))
		(void)err_set(&p->why, -EIO, "It ended by signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		(void)err_set(&p->why, -EIO, "It ended with %d", WEXITSTATUS(status));
}

static int on_output(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct kube_plugin *p = userdata;
	char bytes[4096];
	ssize_t n = read(fd, bytes, sizeof(bytes));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n > 0 && buf_append(&p->text, bytes, (size_t)n) >= 0) {
		explicit_bzero(bytes, (size_t)n);
		return 0;
	}
	if (n > 0)
		(void)err_set(&p->why, -EMSGSIZE, "It printed more than %u bytes", KUBE_PLUGIN_MAX);
	else
		reap(p);
	finish(p);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct kube_plugin *p = userdata;

	(void)err_set(&p->why, -ETIMEDOUT, "It did not end in time");
	finish(p);
	return 0;
}

/* In the child. The agent is the last to be killed for want of memory; a program of others is not. */
static void become_ordinary(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "0", 1) < 0)
		return; /* It may not: then it stays as it is. */
}

/* In the child. Only what is safe after fork(). */
static void run_child(const struct kubeconfig *config, char **argv, char **envp, int out)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	(void)setpgid(0, 0);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	become_ordinary();
	if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(null, 2) < 0)
		_exit(126);
	(void)execvpe(config->user.exec.command, argv, envp);
	_exit(127);
}

/* What the service manager told the agent, and nobody else. */
static bool is_for_us(const char *variable)
{
	static const char *const names[] = { "NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID=",
		"LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES=" };

	for (size_t i = 0; i < ELEMENTS(names); i++)
		if (str_after(variable, names[i]))
			return true;
	return false;
}

/* The environment of ours, the plugin's own, and what the protocol says. Pointers are borrowed. */
static char **make_env(const struct kubeconfig *config, char *info)
{
	size_t count = 0, at = 0;
	char **env;

	while (environ && environ[count])
		count++;
	env = mem_array(count + config->user.exec.env.count + 2, sizeof(*env));
	if (!env)
		return NULL;
	/* The first of two with one name counts for most programs. */
	for (size_t i = 0; i < config->user.exec.env.count; i++)
		env[at++] = config->user.exec.env.items[i];
	env[at++] = info;
	for (size_t i = 0; i < count; i++)
		if (!is_for_us(environ[i]))
			env[at++] = environ[i];
	return env;
}

static int spawn(struct kube_plugin *p, const struct kubeconfig *config)
{
	CLEAN(mem_freep) char **argv = mem_array(config->user.exec.args.count + 2, sizeof(*argv));
	CLEAN(mem_freep) char **env = NULL;
	char info[512];
	int fds[2];

	(void)snprintf(info, sizeof(info),
		"KUBERNETES_EXEC_INFO={\"apiVersion\":\"%.128s\",\"kind\":\"ExecCredential\","
		"\"spec\":{\"interactive\":false}}",
		p->api_version);
	env = make_env(config, info);
	if (!argv || !env)
		return -ENOMEM;
	argv[0] = config->user.exec.command;
	for (size_t i = 0; i < config->user.exec.args.count; i++)
		argv[i + 1] = config->user.exec.args.items[i];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	p->fd = fds[0];
	p->pid = fork();
	if (p->pid == 0)
		run_child(config, argv, env, fds[1]);
	(void)fd_close(fds[1]);
	if (p->pid < 0) {
		p->pid = 0;
		return -errno;
	}
	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0); /* without one, the waits are whole */
	return fd_set_nonblocking(p->fd);
}

int kube_plugin_start(sd_event *event, const struct kubeconfig *config, uint64_t deadline_ns,
	kube_plugin_fn on_done, void *userdata, struct kube_plugin **ret, struct err *reterr)
{
	CLEAN(kube_plugin_freep) struct kube_plugin *p = mem_zalloc(sizeof(*p));
	const char *mode = config->user.exec.interactive;
	int r;

	if (!p)
		return -ENOMEM;
	p->fd = p->pidfd = -EBADF;
	if (mode && str_eq(mode, "Always"))
		return err_set(reterr, -EINVAL,
			"Credential plugin '%s' wants a terminal (interactiveMode: Always)",
			config->user.exec.command);
	p->text = BUF_INIT(KUBE_PLUGIN_MAX);
	p->name = mem_strdup(config->user.exec.command);
	p->api_version = mem_strdup(config->user.exec.api_version ? config->user.exec.api_version
								  : API_VERSION_DEFAULT);
	p->on_done = on_done;
	p->userdata = userdata;
	if (!p->name || !p->api_version)
		return -ENOMEM;
	deadline_ns = deadline_ns > 0 ? deadline_ns : KUBE_PLUGIN_NS;
	r = spawn(p, config);
	if (r >= 0)
		r = sd_event_add_io(event, &p->output, p->fd, EPOLLIN, on_output, p);
	if (r >= 0)
		r = sd_event_add_time_relative(event, &p->timer, CLOCK_MONOTONIC,
			deadline_ns / NSEC_PER_USEC, 10000, on_timer, p);
	if (r < 0)
		return err_set(reterr, r, "Start the credential plugin '%s': %s", p->name,
			err_text(NULL, r));
	*ret = TAKE_PTR(p);
	return 0;
}

struct kube_plugin *kube_plugin_free(struct kube_plugin *p)
{
	if (!p)
		return NULL;
	p->output = sd_event_source_disable_unref(p->output);
	p->timer = sd_event_source_disable_unref(p->timer);
	end_child(p);
	p->fd = fd_close(p->fd);
	p->pidfd = fd_close(p->pidfd);
	buf_done(&p->text);
	p->name = mem_free(p->name);
	p->api_version = mem_free(p->api_version);
	return mem_free(p);
}
