#include "agent/signs.h"

#include <errno.h>
#include <string.h>

#include <sys/sysinfo.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "kernel/fuse.h"

/* include/linux/sched/loadavg.h: new = old * EXP_1 + active * (1 - EXP_1), rounded up as it rises. */
#define LOAD_SHIFT     11
#define LOAD_ONE       (UINT64_C(1) << LOAD_SHIFT)
#define LOAD_EXP_1     UINT64_C(1884)
#define LOAD_PERIOD_NS (5004 * NSEC_PER_MSEC)
#define LOAD_TEXT_MAX  256
#define SYSINFO_SHIFT  (16 - LOAD_SHIFT) /* sysinfo(2) gives 1/65536 */

void signs_init(struct signs *s)
{
	bool mounted;

	*s = (struct signs){ .fuse_fd = fuse_open(&mounted) };
}

void signs_done(struct signs *s)
{
	if (s->fuse_fd >= 0)
		s->fuse_fd = fd_close(s->fuse_fd);
}

uint32_t signs_active(uint64_t before, uint64_t now)
{
	uint64_t kept = before * LOAD_EXP_1, made = now << LOAD_SHIFT;
	uint64_t one = (LOAD_ONE - LOAD_EXP_1) << LOAD_SHIFT; /* what one thread adds */

	return made > kept ? (uint32_t)((made - kept + one / 2) / one) : 0;
}

/* The fourth field of /proc/loadavg is "running/all"; we ourselves run while we read it. */
static uint32_t others_running(void)
{
	CLEAN(mem_freep) char *text = NULL;
	uint64_t running = 0;
	const char *at;

	if (fd_read_file("/proc/loadavg", LOAD_TEXT_MAX, &text, NULL) < 0)
		return 0;
	at = text;
	for (unsigned i = 0; i < 3 && at; i++)
		at = (at = strchr(at, ' ')) ? at + 1 : NULL;
	for (; at && *at >= '0' && *at <= '9'; at++)
		running = running * 10 + (uint64_t)(*at - '0');
	return running > 1 ? (uint32_t)(running - 1) : 0;
}

static void look_at_load(struct signs *s, uint64_t now_ns)
{
	uint64_t load, before = s->load;
	uint32_t active, running;
	struct sysinfo info;
	bool is_next;

	if (sysinfo(&info) < 0)
		return;
	load = info.loads[0] >> SYSINFO_SHIFT;
	if (s->has_load && load == s->load)
		return; /* Not made again, or with the same count. */
	/* Of one that was made twice since, the count is not to be had. */
	is_next = s->has_load && now_ns - s->load_ns < 2 * LOAD_PERIOD_NS;
	s->has_load = true;
	s->load = load;
	s->load_ns = now_ns;
	if (!is_next)
		return;
	active = signs_active(before, load);
	running = others_running();
	s->blocked = active > running ? active - running : 0;
}

static void look_at_fuse(struct signs *s)
{
	uint32_t minors[SIGNS_FUSE_MAX];
	int n = s->fuse_fd >= 0 ? fuse_list(s->fuse_fd, minors, SIGNS_FUSE_MAX) : 0;

	s->unanswered = 0;
	for (int i = 0; i < n && i < (int)SIGNS_FUSE_MAX; i++) {
		uint64_t waiting;

		if (fuse_read_waiting(s->fuse_fd, minors[i], &waiting) >= 0)
			s->unanswered += waiting;
	}
}

bool signs_look(struct signs *s, uint64_t now_ns)
{
	uint64_t unanswered = s->unanswered;

	look_at_load(s, now_ns);
	look_at_fuse(s);
	if (s->blocked < s->known_blocked)
		s->known_blocked = s->blocked;
	if (s->unanswered < s->known_unanswered)
		s->known_unanswered = s->unanswered;
	/* A request that is answered between two looks is everyday. */
	return s->blocked > s->known_blocked ||
		(unanswered > s->known_unanswered && s->unanswered > s->known_unanswered);
}

void signs_settle(struct signs *s)
{
	s->known_blocked = s->blocked;
	s->known_unanswered = s->unanswered;
}
