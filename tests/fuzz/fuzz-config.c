/* The configuration reader: never crashes, never leaks, and names a place whenever it refuses. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "agent/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7.12 forgets a buffer after some errors. It is read once, so that is all it costs. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libfyaml.so\n";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config;
	struct err e = { 0 };

	if (size > CONFIG_FILE_MAX)
		return 0;
	if (config_init(&config) >= 0 &&
		config_parse(&config, "f", (const char *)data, size, &e) < 0)
		assert(strncmp(e.text, "f:", 2) == 0);
	config_done(&config);
	return 0;
}
