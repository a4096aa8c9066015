#include "kube/credential.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/str.h"
#include "kube/kubeconfig.h"

#define JWT_PAYLOAD_MAX (16u << 10)

static char *forget(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	return mem_free(secret);
}

void kube_credential_done(struct kube_credential *c)
{
	c->bearer = forget(c->bearer);
	c->cert_pem = mem_free(c->cert_pem);
	c->key_pem = forget(c->key_pem);
	c->expiry_ns = 0;
}

/* --- configuration --- */

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

/* --- files --- */

static int read_pem(
	const char *what, const char *data, const char *path, char **ret, struct err *reterr)
{
	CLEAN(mem_freep) char *text = NULL;
	size_t len;
	int r;

	if (data || !path) {
		text = data ? mem_strdup(data) : NULL;
		if (data && !text)
			return -ENOMEM;
		*ret = TAKE_PTR(text);
		return 0;
	}
	r = fd_read_file(path, KUBE_PEM_MAX, &text, &len);
	if (r < 0)
		return err_set(reterr, r, "Read %s '%s': %s", what, path, err_text(NULL, r));
	if (!strstr(text, "-----BEGIN ")) {
		(void)forget(TAKE_PTR(text));
		return err_set(reterr, -EINVAL, "Read %s '%s': It is not PEM", what, path);
	}
	*ret = TAKE_PTR(text);
	return 0;
}

int kubeconfig_authority(const struct kubeconfig *config, char **ret, struct err *reterr)
{
	return read_pem("certificate-authority", config->cluster.ca_data, config->cluster.ca_file,
		ret, reterr);
}

/* Trailing blanks go; nothing that would break a header may stay. */
static int trim_token(char *token)
{
	size_t len = strlen(token);

	while (len > 0 && strchr(" \t\r\n", token[len - 1]))
		token[--len] = '\0';
	for (size_t i = 0; i < len; i++)
		if (token[i] <= ' ' || token[i] > '~')
			return -EINVAL;
	return len > 0 ? 0 : -ENODATA;
}

/* The middle part of a JWT, where `exp` stands. 0: it is none, or does not say. */
static int64_t jwt_expiry(const char *token)
{
	const char *start = strchr(token, '.'), *end = start ? strchr(start + 1, '.') : NULL;
	CLEAN(mem_freep) char *text = NULL;
	CLEAN(mem_freep) char *plain = NULL;
	size_t len, at = 0;
	json_t *claims;
	json_int_t seconds;

	if (!end || end - start > (ptrdiff_t)JWT_PAYLOAD_MAX)
		return 0;
	text = mem_alloc((size_t)(end - start) + 4);
	if (!text)
		return 0;
	for (const char *c = start + 1; c < end; c++)
		text[at++] = *c == '-' ? '+' : *c == '_' ? '/' : *c; /* base64url */
	while (at % 4 != 0)
		text[at++] = '=';
	text[at] = '\0';
	if (kube_base64_decode(text, &plain, &len) < 0)
		return 0;
	claims = json_loadb(plain, len, 0, NULL);
	seconds = json_integer_value(json_object_get(claims, "exp"));
	json_decref(claims);
	return seconds > 0 && seconds < INT64_MAX / (int64_t)NSEC_PER_SEC
		? seconds * (int64_t)NSEC_PER_SEC
		: 0;
}

static int read_token(
	const struct kubeconfig *config, struct kube_credential *c, struct err *reterr)
{
	const char *path = config->user.token_file;
	size_t len;
	int r;

	if (path) {
		r = fd_read_file(path, KUBE_TOKEN_MAX, &c->bearer, &len);
		if (r < 0)
			return err_set(
				reterr, r, "Read tokenFile '%s': %s", path, err_text(NULL, r));
	} else if (config->user.token) {
		c->bearer = mem_strdup(config->user.token);
		if (!c->bearer)
			return -ENOMEM;
	} else {
		return 0;
	}
	r = trim_token(c->bearer);
	if (r < 0)
		return err_set(reterr, r,
			r == -ENODATA ? "The token%s%s is empty"
				      : "The token%s%s is not one line of printable ASCII",
			path ? " of " : "", str_or_empty(path));
	c->expiry_ns = jwt_expiry(c->bearer);
	return 0;
}

int kube_credential_read(
	const struct kubeconfig *config, struct kube_credential *ret, struct err *reterr)
{
	CLEAN(kube_credential_done) struct kube_credential c = { 0 };
	int r;

	if (config->user.exec.command)
		return -EAGAIN;
	r = read_token(config, &c, reterr);
	if (r >= 0)
		r = read_pem("client-certificate", config->user.cert_data, config->user.cert_file,
			&c.cert_pem, reterr);
	if (r >= 0)
		r = read_pem("client-key", config->user.key_data, config->user.key_file, &c.key_pem,
			reterr);
	if (r < 0)
		return r;
	if (!c.cert_pem != !c.key_pem)
		return err_set(reterr, -EINVAL, "client-certificate and client-key go together");
	*ret = c;
	c = (struct kube_credential){ 0 };
	return 0;
}
