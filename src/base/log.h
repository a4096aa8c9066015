/*
 * The structured log: one line per record, a message and key=value pairs.
 *
 *	log_info("Runtime answers again", "endpoint", e, "stalledSeconds", FMT("%.1f", s), NULL);
 *
 * The message starts with a capital, has no full stop and is constant, so that it can be searched
 * for; everything that varies is a pair. Values are cleaned (base/str.h) and quoted where needed.
 * Below src/agent and src/cli only log_debug() is used: the caller logs or returns, never both.
 *
 * Writing never blocks the caller once log_start_pump() has run: lines go through a pipe to a small
 * process that owns the real stderr; when that is stuck (a file on a frozen filesystem, a stopped
 * journald) lines are dropped and counted.
 */
#pragma once

#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG
};

/* Pairs of const char * end with NULL; a NULL value is shown as "". */
void log_write(enum log_level level, const char *message, ...) __attribute__((sentinel));

#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

void log_set_level(enum log_level level);
/* "error", "warning", "info", "debug": 0 or -EINVAL. */
int log_level_from_string(const char *name, enum log_level *ret);

/* Forks the pump. Call it once, early, while the process is small. 0 or a negative errno; after a
 * failure logging goes on directly. */
int log_start_pump(void);

/* The last thing before the end of the process: waits at most so long until the pump has written what
 * it was given. Without a pump nothing; later lines go to stderr directly. */
void log_end_pump(unsigned timeout_ms);

/* Where lines go: the pump's pipe (non-blocking) once it runs, else stderr. For processes that are
 * to write to the same place. */
int log_output_fd(void);

/* Lines that were lost because the pump could not keep up. */
uint64_t log_dropped(void);
