/*
 * Cheap signs that something waits in the kernel, of things that no container's init shows: threads
 * in D anywhere, and requests that FUSE servers have not answered. Two system calls and a directory
 * of fusectl per look, whatever the size of the node.
 *
 * The kernel's load average is a sum over all processors of who runs and who is in D, made every 5 s.
 * From two values in a row the count itself comes out exactly; less those who run, which are counted
 * when we look, it is those in D. On a node at work that is an estimate, so a sign is a weak reason to
 * look, and only a rise above what the last sample has seen is one.
 *
 * Not seen here: what is stopped (T), and what the freezer holds.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SIGNS_FUSE_MAX 32u /* connections; of more, these are looked at */

struct signs {
	int fuse_fd;   /* fusectl's directory; negative: there is none */
	bool has_load; /* `load` was read at `load_ns` */
	uint64_t load; /* as the kernel keeps it, 1/2048 */
	uint64_t load_ns;
	uint32_t blocked;       /* in D when the load was last made */
	uint64_t unanswered;    /* requests, all connections */
	uint32_t known_blocked; /* what the last sample has seen, or less if it sank since */
	uint64_t known_unanswered;
};

void signs_init(struct signs *signs);
void signs_done(struct signs *signs);

/* Reads. True: there is more than the last sample has seen. */
bool signs_look(struct signs *signs, uint64_t now_ns);
/* A sample was taken: what there is now has been seen. */
void signs_settle(struct signs *signs);

/* Who was running or in D when the kernel made `now` of `before`; both in 1/2048. Pure. */
uint32_t signs_active(uint64_t before, uint64_t now);
