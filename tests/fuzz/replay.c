/*
 * Runs every file of the given folders through a fuzz target, so that a corpus is an ordinary test
 * with any compiler. Fails when a folder is missing or empty: that would test nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"

#define INPUT_MAX (16u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
	CLEAN(mem_freep) char *text = NULL;
	CLEAN(mem_freep) uint8_t *exact = NULL;
	size_t len;
	int r = fd_read_file(path, INPUT_MAX, &text, &len);

	if (r < 0)
		return r;
	/* A block of exactly this size, so that a sanitizer sees a read behind the end. */
	exact = (uint8_t *)mem_alloc(len);
	if (!exact)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++)
		exact[i] = (uint8_t)text[i];
	(void)LLVMFuzzerTestOneInput(exact, len);
	return 0;
}

static int replay_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int count = 0, r = 0;

	if (!dir)
		return -errno;
	while (r >= 0 && (entry = readdir(dir))) {
		char path[4096];

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		r = replay_file(path);
		count++;
	}
	(void)closedir(dir);
	if (r < 0)
		return r;
	return count > 0 ? count : -ENOENT;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int r = replay_folder(argv[i]);

		if (r < 0) {
			(void)fprintf(stderr, "%s: %s\n", argv[i], err_text(NULL, r));
			return 1;
		}
		(void)printf("%s: %d inputs\n", argv[i], r);
	}
	return argc > 1 ? 0 : 1;
}
