/* Pressure stall information, /proc/pressure (kernel 4.20 with PSI on): the share of time that
 * somebody ("some") or everybody ("full") waited for a resource. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct pressure {
	bool has_full;                 /* cpu has none before 5.13 */
	double some_avg10, full_avg10; /* percent, 0 to 100 */
};

/* 0 or -EBADMSG. Pure. */
int pressure_parse(const char *text, size_t len, struct pressure *ret);
/* `resource` is "cpu", "memory" or "io". 0, or a negative errno: -ENOENT, -EOPNOTSUPP where the
 * kernel keeps none. Never waits. */
int pressure_read(int proc_fd, const char *resource, struct pressure *ret);
