/* Kernel stacks as rules want them: the names of the functions, innermost first, one per line, and no
 * offsets or addresses, which change with every build of a kernel. Pure. */
#pragma once

#include <stddef.h>

#define STACK_TEXT_MAX 2048

/* From /proc/PID/stack, "[<0>] do_wait+0x5c/0x100 [module]". Lines that are not of that form are left
 * out, as is what does not fit. The length of what is in `out`, which ends with a NUL. */
size_t stack_functions(const char *text, size_t len, char *out, size_t size);
