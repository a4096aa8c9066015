/*
 * A child that is forked without exec, to look where a look may block: what it sheds of its parent
 * before it does anything else. It ends with its parent, whatever the parent had done with signals is
 * undone, and it holds nothing of the parent's but one pipe and what was on 0, 1 and 2.
 */
#pragma once

/* To be called first in the child, once. `name` is what ps shows, at most 15 bytes. The descriptor to
 * write to from now on: 3, everything above it closed; or `fd` as it was, and nothing closed, if it
 * could not be moved there. A parent that has ended before this is not noticed: the pipe tells. */
int child_begin(const char *name, int fd);
