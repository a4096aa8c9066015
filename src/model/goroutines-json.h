/* Goroutine dumps as docs/json.md has them. Pure. */
#pragma once

#include "model/goroutines.h"
#include "model/json-write.h"

/* An array; NULL: null, nobody was asked. */
void goroutines_json_write(
	struct json_write *w, const char *key, const struct goroutine_dump *dumps, uint32_t count);
