/*
 * What a list costs per entry: validation and iteration, what comes every second; describing, what
 * comes once per id. Beside it the full decode that it replaces.
 *
 *	bench-cri-scan SANDBOXES CONTAINERS [BUDGET_NS]
 *
 * The arguments are files with the answers of ListPodSandbox and ListContainers. Prints one JSON
 * object; exit 1 if the scan allocates, or takes longer per entry than the budget.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "cri.pb-c.h"
#include "runtime/cri-scan.h"

#define ANSWER_MAX ((size_t)64 << 20)
#define RUNS       200

static size_t allocations;

bool fault_hit(enum fault_point point)
{
	allocations += point == FAULT_ALLOC;
	return false;
}

struct answers {
	struct slice sandboxes, containers;
	size_t entries;
};

/* Keeps the compiler from leaving the reading out. */
static size_t running;

static int scan(struct answers *a, bool describe)
{
	struct container_identity who;
	struct list_entry e;
	struct cri_list list;
	size_t sandboxes, containers;

	if (cri_scan_validate(a->sandboxes, CONTAINER_KIND_SANDBOX, &sandboxes) < 0 ||
		cri_scan_validate(a->containers, CONTAINER_KIND_CONTAINER, &containers) < 0)
		return -EBADMSG;
	cri_list_init(&list, a->sandboxes, a->containers);
	while (list.source.next(&list.source, &e)) {
		running += e.state == CONTAINER_RUNNING && e.id.len > 0;
		if (describe) {
			list.source.describe(&list.source, &e, &who);
			running += who.pod_uid.len > 0;
		}
	}
	a->entries = sandboxes + containers;
	return 0;
}

static void decode(const struct answers *a)
{
	Runtime__V1__ListPodSandboxResponse *sandboxes;
	Runtime__V1__ListContainersResponse *containers;

	sandboxes = runtime__v1__list_pod_sandbox_response__unpack(
		NULL, a->sandboxes.len, (const uint8_t *)a->sandboxes.data);
	containers = runtime__v1__list_containers_response__unpack(
		NULL, a->containers.len, (const uint8_t *)a->containers.data);
	running += sandboxes ? sandboxes->n_items : 0;
	running += containers ? containers->n_containers : 0;
	runtime__v1__list_pod_sandbox_response__free_unpacked(sandboxes, NULL);
	runtime__v1__list_containers_response__free_unpacked(containers, NULL);
}

enum what {
	SCAN,
	SCAN_AND_DESCRIBE,
	DECODE
};

/* The best of many runs, per entry. */
static double measure(struct answers *a, enum what what)
{
	uint64_t best_ns = UINT64_MAX;

	for (size_t i = 0; i < RUNS; i++) {
		uint64_t start_ns = clock_now().mono_ns;

		if (what == DECODE)
			decode(a);
		else
			(void)scan(a, what == SCAN_AND_DESCRIBE);
		best_ns = time_min(best_ns, clock_now().mono_ns - start_ns);
	}
	return (double)best_ns / (double)(a->entries ? a->entries : 1);
}

static int read_answer(const char *path, char **ret_text, struct slice *ret)
{
	int r = fd_read_file(path, ANSWER_MAX, ret_text, &ret->len);

	ret->data = *ret_text;
	if (r < 0)
		(void)fprintf(stderr, "%s: %s\n", path, err_text(NULL, r));
	return r;
}

int main(int argc, char **argv)
{
	CLEAN(mem_freep) char *sandboxes = NULL, *containers = NULL;
	double scan_ns, describe_ns, decode_ns, budget_ns;
	struct answers a = { 0 };
	size_t in_use;

	if (argc < 3 || read_answer(argv[1], &sandboxes, &a.sandboxes) < 0 ||
		read_answer(argv[2], &containers, &a.containers) < 0 || scan(&a, false) < 0)
		return EXIT_FAILURE;
	allocations = 0;
	in_use = mallinfo2().uordblks;
	scan_ns = measure(&a, SCAN);
	describe_ns = measure(&a, SCAN_AND_DESCRIBE);
	if (mallinfo2().uordblks != in_use)
		allocations++;
	decode_ns = measure(&a, DECODE);
	budget_ns = argc > 3 ? strtod(argv[3], NULL) : 1e9;
	(void)printf("{\"entries\":%zu,\"bytes\":%zu,\"scanNsPerEntry\":%.1f,"
		     "\"scanAndDescribeNsPerEntry\":%.1f,\"decodeNsPerEntry\":%.1f,"
		     "\"allocations\":%zu,\"running\":%s}\n",
		a.entries, a.sandboxes.len + a.containers.len, scan_ns, describe_ns, decode_ns,
		allocations, running > 0 ? "true" : "false");
	return allocations > 0 || scan_ns > budget_ns ? EXIT_FAILURE : EXIT_SUCCESS;
}
