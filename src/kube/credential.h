/*
 * Who we are to the API server: the bytes behind a kubeconfig's user, read anew each time, since
 * tokens and certificates rotate. For the agent's root side and for commands.
 *
 * What is made of texts is pure (credential.c), whoever has read them: a command reads its files at once,
 * as the disk does (credential-files.c); the agent has them read (kube/api-files.h). An exec plugin runs
 * under a deadline, with a bounded output, and is killed with its whole group when it does not end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/time.h"

typedef struct sd_event sd_event;
struct err;
struct kube_plugin;
struct kubeconfig;

#define KUBE_TOKEN_MAX      (64u << 10)
#define KUBE_PEM_MAX        (256u << 10)
#define KUBE_PLUGIN_NS      (30 * NSEC_PER_SEC)
#define KUBE_PLUGIN_MAX     (256u << 10) /* of output */
#define KUBE_IN_CLUSTER_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

struct kube_credential {
	char *bearer, *cert_pem, *key_pem; /* owned; NULL: none */
	int64_t expiry_ns;                 /* since the epoch; 0: not told */
};

void kube_credential_done(struct kube_credential *c); /* wipes */

/* The files that a kubeconfig may name. */
enum kube_file {
	KUBE_FILE_AUTHORITY, /* the first: it is no part of who we are */
	KUBE_FILE_TOKEN,
	KUBE_FILE_CERT,
	KUBE_FILE_KEY,
};
#define KUBE_FILES (KUBE_FILE_KEY + 1)

/* Where one is to be read; NULL: it is not named, or not needed. Borrowed. */
const char *kubeconfig_file(const struct kubeconfig *config, enum kube_file file);
const char *kube_file_name(enum kube_file file); /* "tokenFile" */
size_t kube_file_max(enum kube_file file);       /* bytes */

/* What stands in them, owned; NULL where there was nothing to read. */
struct kube_texts {
	char *of[KUBE_FILES];
};
void kube_texts_done(struct kube_texts *texts); /* wipes */

/* Where no plugin is to be asked. Where a token (a JWT) or a certificate says when it ends, `expiry_ns`
 * is that, the earlier of both. */
int kube_credential_make(const struct kubeconfig *config, const struct kube_texts *texts,
	struct kube_credential *ret, struct err *reterr);
/* The authority's PEM, owned; NULL in *ret: the system's. */
int kubeconfig_authority_make(const struct kubeconfig *config, const struct kube_texts *texts,
	char **ret, struct err *reterr);
/* Lets `expiry_ns` know of the end of the certificate. */
void kube_credential_date(struct kube_credential *c);

/* A kubeconfig from its file. */
int kubeconfig_load(
	const char *path, const char *context, struct kubeconfig **ret, struct err *reterr);
/* What a pod is given: a kubeconfig made of KUBERNETES_SERVICE_HOST and _PORT and the files in
 * `dir` (NULL: KUBE_IN_CLUSTER_DIR). -ENOENT: we are not in a pod. */
int kubeconfig_in_cluster(const char *dir, struct kubeconfig **ret, struct err *reterr);
/* Reads the authority; as kubeconfig_authority_make(). */
int kubeconfig_authority(const struct kubeconfig *config, char **ret, struct err *reterr);

/* Reads all but the plugin: -EAGAIN if one is to be asked. Else as kube_credential_make(). */
int kube_credential_read(
	const struct kubeconfig *config, struct kube_credential *ret, struct err *reterr);

/* r = 0 with the credential (may be taken from it), or a negative errno with the text. */
typedef void (*kube_plugin_fn)(
	int r, struct kube_credential *credential, const char *text, void *userdata);

/* Runs the plugin of `config`; calls back exactly once, from the loop. `deadline_ns` 0:
 * KUBE_PLUGIN_NS. */
int kube_plugin_start(sd_event *event, const struct kubeconfig *config, uint64_t deadline_ns,
	kube_plugin_fn on_done, void *userdata, struct kube_plugin **ret, struct err *reterr);
/* Kills it if it runs. Also to be called after on_done, not from inside it. Returns NULL. */
struct kube_plugin *kube_plugin_free(struct kube_plugin *plugin);
DEFINE_FREEP(struct kube_plugin *, kube_plugin_free)

/* What a plugin printed. 0 or -EINVAL. `api_version` is what the kubeconfig asks for. */
int kube_plugin_parse(const char *text, size_t len, const char *api_version,
	struct kube_credential *ret, struct err *reterr);
