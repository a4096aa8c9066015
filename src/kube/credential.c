#include "kube/credential.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "kube/certificate.h"
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

void kube_texts_done(struct kube_texts *t)
{
	for (size_t i = 0; i < ELEMENTS(t->of); i++)
		t->of[i] = forget(t->of[i]);
}

/* --- which files there are --- */

const char *kubeconfig_file(const struct kubeconfig *config, enum kube_file file)
{
	const struct kube_user *u = &config->user;

	if (file != KUBE_FILE_AUTHORITY && u->exec.command)
		return NULL;
	switch (file) {
	case KUBE_FILE_AUTHORITY: return config->cluster.ca_data ? NULL : config->cluster.ca_file;
	case KUBE_FILE_TOKEN: return u->token_file;
	case KUBE_FILE_CERT: return u->cert_data ? NULL : u->cert_file;
	case KUBE_FILE_KEY: return u->key_data ? NULL : u->key_file;
	}
	return NULL;
}

const char *kube_file_name(enum kube_file file)
{
	switch (file) {
	case KUBE_FILE_AUTHORITY: return "certificate-authority";
	case KUBE_FILE_TOKEN: return "tokenFile";
	case KUBE_FILE_CERT: return "client-certificate";
	case KUBE_FILE_KEY: return "client-key";
	}
	return "file";
}

size_t kube_file_max(enum kube_file file)
{
	return file == KUBE_FILE_TOKEN ? KUBE_TOKEN_MAX : KUBE_PEM_MAX;
}

/* --- out of texts --- */

static int take_pem(const struct kubeconfig *config, enum kube_file file, const char *data,
	const struct kube_texts *texts, char **ret, struct err *reterr)
{
	const char *path = kubeconfig_file(config, file);
	const char *text = path ? str_or_empty(texts->of[file]) : data;

	if (!text) {
		*ret = NULL;
		return 0;
	}
	if (path && !strstr(text, "-----BEGIN "))
		return err_set(
			reterr, -EINVAL, "Read %s '%s': It is not PEM", kube_file_name(file), path);
	*ret = mem_strdup(text);
	return *ret ? 0 : -ENOMEM;
}

int kubeconfig_authority_make(const struct kubeconfig *config, const struct kube_texts *texts,
	char **ret, struct err *reterr)
{
	return take_pem(config, KUBE_FILE_AUTHORITY, config->cluster.ca_data, texts, ret, reterr);
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

static int take_token(const struct kubeconfig *config, const struct kube_texts *texts,
	struct kube_credential *c, struct err *reterr)
{
	const char *path = config->user.token_file;
	const char *text = path ? str_or_empty(texts->of[KUBE_FILE_TOKEN]) : config->user.token;
	int r;

	if (!text)
		return 0;
	c->bearer = mem_strdup(text);
	if (!c->bearer)
		return -ENOMEM;
	r = trim_token(c->bearer);
	if (r < 0)
		return err_set(reterr, r,
			r == -ENODATA ? "The token%s%s is empty"
				      : "The token%s%s is not one line of printable ASCII",
			path ? " of " : "", str_or_empty(path));
	c->expiry_ns = jwt_expiry(c->bearer);
	return 0;
}

void kube_credential_date(struct kube_credential *c)
{
	int64_t end_ns;

	/* One that cannot be read so far is the server's to refuse. */
	if (!c->cert_pem || certificate_end(c->cert_pem, &end_ns) < 0)
		return;
	if (c->expiry_ns == 0 || end_ns < c->expiry_ns)
		c->expiry_ns = end_ns;
}

int kube_credential_make(const struct kubeconfig *config, const struct kube_texts *texts,
	struct kube_credential *ret, struct err *reterr)
{
	CLEAN(kube_credential_done) struct kube_credential c = { 0 };
	const struct kube_user *u = &config->user;
	int r;

	r = take_token(config, texts, &c, reterr);
	if (r >= 0)
		r = take_pem(config, KUBE_FILE_CERT, u->cert_data, texts, &c.cert_pem, reterr);
	if (r >= 0)
		r = take_pem(config, KUBE_FILE_KEY, u->key_data, texts, &c.key_pem, reterr);
	if (r < 0)
		return r;
	if (!c.cert_pem != !c.key_pem)
		return err_set(reterr, -EINVAL, "client-certificate and client-key go together");
	kube_credential_date(&c);
	*ret = c;
	c = (struct kube_credential){ 0 };
	return 0;
}
