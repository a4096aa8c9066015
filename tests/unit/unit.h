/* What every unit test includes: cmocka in the order it wants, and ASSERT_OK() that shows errno. */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ASSERT_OK(expression)                                                                      \
	do {                                                                                       \
		int r_ = (int)(expression);                                                        \
		if (r_ < 0)                                                                        \
			fail_msg("%s: %s", #expression, strerrorname_np(-r_));                     \
	} while (0)

#define ASSERT_ERR(expression, errno_)                                                             \
	do {                                                                                       \
		int r_ = (int)(expression);                                                        \
		if (r_ != -(errno_))                                                               \
			fail_msg("%s: %d, expected -%s", #expression, r_, #errno_);                \
	} while (0)
