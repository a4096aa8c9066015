/*
 * A kubeconfig, read: one context of it with its cluster and its user. Pure: text in, struct out;
 * files that it names are opened by kube/credential.h.
 *
 * What kubectl does not know it ignores, and so does this; each such field is named in `warnings`.
 * A wrong type, broken base64 and a context, cluster or user that is not there are errors with
 * their place. What would change who we are (as, username, auth-provider) is refused in the user
 * that is used, never ignored.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"

struct err;

#define KUBECONFIG_FILE_MAX    (1u << 20)
#define KUBECONFIG_ENTRIES_MAX 512u /* clusters, users, contexts each */
#define KUBECONFIG_ARGS_MAX    128u /* of a plugin; of its environment too */
#define KUBECONFIG_WARNINGS    4096u

struct kube_list {
	char **items;
	size_t count;
};

struct kube_cluster {
	char *server;          /* "https://10.0.0.1:6443"; never NULL in what was parsed */
	char *ca_data;         /* PEM, decoded; goes before the file */
	char *ca_file;         /* absolute if the name of the kubeconfig is */
	char *tls_server_name; /* NULL: that of `server` */
	char *proxy_url;       /* NULL: as the environment says */
	bool insecure;
};

struct kube_user {
	char *cert_data, *key_data; /* PEM, decoded; go before the files */
	char *cert_file, *key_file;
	char *token;
	char *token_file; /* goes before `token` */
	struct {
		char *command, *api_version;
		char *interactive; /* "Never", "IfAvailable", "Always"; NULL: not told */
		struct kube_list args;
		struct kube_list env; /* "NAME=VALUE" */
	} exec;                       /* command NULL: none */
	char *refused;                /* a field that we cannot do; NULL: none */
};

struct kubeconfig {
	char *context, *ns; /* ns NULL: "default" */
	struct kube_cluster cluster;
	struct kube_user user;
	char *warnings; /* one a line; NULL: none */
};

/* `name` is the file's, for errors and for relative paths in it. `context` NULL: current-context.
 * 0, -EINVAL, -ENOENT (no such context, cluster, user), -ENOMEM. */
int kubeconfig_parse(const char *name, const char *text, size_t len, const char *context,
	struct kubeconfig **ret, struct err *reterr);
struct kubeconfig *kubeconfig_free(struct kubeconfig *config);
DEFINE_FREEP(struct kubeconfig *, kubeconfig_free)

/* Owned, with a NUL behind; blanks and newlines within are skipped. 0, -EINVAL, -ENOMEM. */
int kube_base64_decode(const char *text, char **ret, size_t *ret_len);
