/*
 * Memory and ownership. Every allocation of the project goes through here, so that a test can make
 * the n-th one fail (base/fault.h); out of memory is an error that is returned, never an abort.
 *
 * Ownership of locals is written at the declaration: `CLEAN(mem_freep) char *s = NULL;`. Handing
 * over is written TAKE_PTR(s), which leaves NULL behind.
 */
#pragma once

#include <stddef.h>

#define CLEAN(function) __attribute__((cleanup(function)))

#define TAKE_PTR(pointer)                                                                          \
	({                                                                                         \
		__typeof__(pointer) *taken_at_ = &(pointer);                                       \
		__typeof__(pointer) taken_ = *taken_at_;                                           \
		*taken_at_ = NULL;                                                                 \
		taken_;                                                                            \
	})

/* Declares foo_freep() for CLEAN(), from foo_free() that accepts NULL. */
#define DEFINE_FREEP(type, function)                                                               \
	static inline void function##p(type *p_)                                                   \
	{                                                                                          \
		if (*p_)                                                                           \
			(void)function(*p_);                                                       \
	}

#define ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* A branch that cannot be reached unless a caller has a bug, and is defended all the same. */
#define NEVER(condition) __builtin_expect(!!(condition), 0)

/* NULL when out of memory. Size 0 gives a valid pointer. */
void *mem_alloc(size_t size) __attribute__((malloc, warn_unused_result));
void *mem_zalloc(size_t size) __attribute__((malloc, warn_unused_result));
/* Zeroed array; NULL also when count * size overflows. */
void *mem_array(size_t count, size_t size) __attribute__((malloc, warn_unused_result));
/* As realloc(3) for an array: on failure the old block is untouched. */
void *mem_resize(void *old, size_t count, size_t size) __attribute__((warn_unused_result));
char *mem_strdup(const char *s) __attribute__((malloc, warn_unused_result));
/* Copies `len` bytes and adds a NUL. */
char *mem_strndup(const char *s, size_t len) __attribute__((malloc, warn_unused_result));
/* Returns NULL, so that `p = mem_free(p)` leaves nothing dangling. */
void *mem_free(void *p);

static inline void mem_freep(void *p)
{
	(void)mem_free(*(void **)p);
}
