#include "model/goroutines-json.h"

#define GROUPS_WRITTEN 16u /* of one process; the largest, and all that wait for a lock */

static void write_group(struct json_write *w, const struct goroutine_group *g)
{
	json_write_object(w, NULL);
	json_write_text(w, "reason", g->reason);
	json_write_u64(w, "count", g->count);
	json_write_u64(w, "longestMinutes", g->longest_minutes);
	json_write_bool(w, "onLock", g->on_lock);
	json_write_array(w, "frames");
	for (uint32_t i = 0; i < g->frame_count; i++)
		json_write_text(w, NULL, g->frames[i]);
	json_write_array_end(w);
	json_write_object_end(w);
}

static void write_groups(struct json_write *w, const struct goroutines *g)
{
	uint64_t left_out = g->left_out;

	json_write_array(w, "groups");
	for (uint32_t i = 0; i < g->group_count; i++) {
		if (i < GROUPS_WRITTEN || g->groups[i].on_lock)
			write_group(w, &g->groups[i]);
		else
			left_out += g->groups[i].count;
	}
	json_write_array_end(w);
	json_write_u64(w, "leftOut", left_out);
}

static void write_dump(struct json_write *w, const struct goroutine_dump *dump)
{
	const struct goroutines *g = dump->goroutines;

	json_write_object(w, NULL);
	json_write_text(w, "process", dump->process);
	json_write_i64(w, "pid", dump->pid);
	json_write_bool(w, "asked", dump->signalled);
	json_write_time(w, "askedAt", dump->at_ns);
	json_write_text_or_null(w, "message", dump->why);
	json_write_text_or_null(w, "source", dump->source);
	if (g) {
		json_write_u64(w, "total", g->total);
		json_write_u64(w, "onLock", g->on_lock);
		json_write_u64(w, "longestMinutes", g->longest_minutes);
		json_write_bool(w, "cut", dump->is_cut);
		write_groups(w, g);
	} else {
		json_write_null(w, "total");
		json_write_null(w, "onLock");
		json_write_null(w, "longestMinutes");
		json_write_null(w, "cut");
		json_write_array(w, "groups");
		json_write_array_end(w);
		json_write_null(w, "leftOut");
	}
	json_write_object_end(w);
}

void goroutines_json_write(
	struct json_write *w, const char *key, const struct goroutine_dump *dumps, uint32_t count)
{
	if (!dumps) {
		json_write_null(w, key);
		return;
	}
	json_write_array(w, key);
	for (uint32_t i = 0; i < count; i++)
		write_dump(w, &dumps[i]);
	json_write_array_end(w);
}
