/* Goroutine dumps: whoever may write where a daemon's lies writes what it likes. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "model/goroutines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_group(const struct goroutine_group *g)
{
	if (g->count == 0 || g->frame_count > GOROUTINE_FRAMES_MAX || g->reason[0] == '\0' ||
		!memchr(g->reason, '\0', sizeof(g->reason)))
		__builtin_trap();
	/* No argument, no address: both stand in what is left out. */
	for (uint32_t i = 0; i < g->frame_count; i++)
		if (!memchr(g->frames[i], '\0', GOROUTINE_NAME_MAX) ||
			strpbrk(g->frames[i], "{}\n\t \"="))
			__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN(mem_freep) struct goroutines *g = NULL;
	uint64_t count = 0, on_lock = 0;

	(void)goroutines_log_is_whole((const char *)data, size);
	if (goroutines_parse((const char *)data, size, &g) < 0)
		return 0;
	if (g->group_count == 0 || g->group_count > GOROUTINE_GROUPS_MAX)
		__builtin_trap();
	for (uint32_t i = 0; i < g->group_count; i++) {
		check_group(&g->groups[i]);
		count += g->groups[i].count;
		on_lock += g->groups[i].on_lock ? g->groups[i].count : 0;
		if (i > 0 && g->groups[i].count > g->groups[i - 1].count)
			__builtin_trap();
	}
	if (count + g->left_out != g->total || on_lock > g->on_lock || g->on_lock > g->total)
		__builtin_trap();
	return 0;
}
