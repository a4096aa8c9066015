/* What a kubeconfig names, read at once: for commands, and for what is no file. */
#include "kube/credential.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/str.h"
#include "kube/kubeconfig.h"

int kubeconfig_load(
	const char *path, const char *context, struct kubeconfig **ret, struct err *reterr)
{
	CLEAN(mem_freep) char *text = NULL;
	size_t len;
	int r = fd_read_file(path, KUBECONFIG_FILE_MAX, &text, &len);

	if (r < 0)
		return err_set(reterr, r, "Read kubeconfig '%s': %s", path, err_text(NULL, r));
	r = kubeconfig_parse(path, text, len, context, ret, reterr);
	explicit_bzero(text, len);
	return r;
}

static char *join(const char *dir, const char *name)
{
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return mem_strdup(path);
}

int kubeconfig_in_cluster(const char *dir, struct kubeconfig **ret, struct err *reterr)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");
	CLEAN(kubeconfig_freep) struct kubeconfig *config = NULL;
	char server[512];

	if (!host || !port || host[0] == '\0' || port[0] == '\0')
		return err_set(reterr, -ENOENT,
			"Not in a pod: KUBERNETES_SERVICE_HOST and _PORT are not set");
	dir = dir ? dir : KUBE_IN_CLUSTER_DIR;
	config = mem_zalloc(sizeof(*config));
	if (!config)
		return -ENOMEM;
	(void)snprintf(server, sizeof(server),
		strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port);
	config->context = mem_strdup("in-cluster");
	config->cluster.server = mem_strdup(server);
	config->cluster.ca_file = join(dir, "ca.crt");
	config->user.token_file = join(dir, "token");
	if (!config->context || !config->cluster.server || !config->cluster.ca_file ||
		!config->user.token_file)
		return -ENOMEM;
	*ret = TAKE_PTR(config);
	return 0;
}

static int read_file(
	const struct kubeconfig *config, enum kube_file file, char **ret, struct err *reterr)
{
	const char *path = kubeconfig_file(config, file);
	size_t len;
	int r;

	if (!path)
		return 0;
	r = fd_read_file(path, kube_file_max(file), ret, &len);
	return r < 0 ? err_set(reterr, r, "Read %s '%s': %s", kube_file_name(file), path,
			       err_text(NULL, r))
		     : 0;
}

int kubeconfig_authority(const struct kubeconfig *config, char **ret, struct err *reterr)
{
	CLEAN(kube_texts_done) struct kube_texts texts = { 0 };
	int r = read_file(config, KUBE_FILE_AUTHORITY, &texts.of[KUBE_FILE_AUTHORITY], reterr);

	return r < 0 ? r : kubeconfig_authority_make(config, &texts, ret, reterr);
}

int kube_credential_read(
	const struct kubeconfig *config, struct kube_credential *ret, struct err *reterr)
{
	CLEAN(kube_texts_done) struct kube_texts texts = { 0 };
	int r = 0;

	if (config->user.exec.command)
		return -EAGAIN;
	for (int file = KUBE_FILE_TOKEN; file < KUBE_FILES && r >= 0; file++)
		r = read_file(config, (enum kube_file)file, &texts.of[file], reterr);
	return r < 0 ? r : kube_credential_make(config, &texts, ret, reterr);
}
