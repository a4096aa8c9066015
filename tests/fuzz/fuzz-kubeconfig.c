/* The kubeconfig reader: never crashes, never leaks, and names a place whenever it refuses. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "kube/kubeconfig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7.12 forgets a buffer after some errors; see fuzz-config.c. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libfyaml.so\n";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN(kubeconfig_freep) struct kubeconfig *config = NULL;
	struct err e = { 0 };

	if (size > KUBECONFIG_FILE_MAX)
		return 0;
	if (kubeconfig_parse("f", (const char *)data, size, NULL, &config, &e) < 0)
		assert(strncmp(e.text, "f:", 2) == 0);
	else
		assert(config->cluster.server && !config->user.refused);
	return 0;
}
