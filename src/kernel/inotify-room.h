/*
 * Whether the user that we run as may have one more inotify instance and one more watch: by trying, as the kernel
 * tells nobody how many are in use. The one that was made is given back at once.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum inotify_lack {
	INOTIFY_ENOUGH,
	INOTIFY_NO_INSTANCES,
	INOTIFY_NO_WATCHES,
};

/* One of these; -EMFILE: we have no descriptors left ourselves, so nothing is known; or a negative errno. */
int inotify_try(void);

/* "anon_inode:inotify", what a descriptor of one leads to. Pure. */
#define INOTIFY_LINK "anon_inode:inotify"
/* Of the text of its fdinfo: how many watches it has. Pure. */
uint64_t inotify_count_watches(const char *text, size_t len);
