/*
 * What the rules ask for besides their times, which stand in the table of rules.c: each number with its
 * reason. docs/internals/doctor.md shows both.
 */
#pragma once

#include <stdint.h>

#include "base/time.h"

/* Of all that ask somebody. Whoever asks waits for 2 s; a timer that fires early must still count. */
#define LATE_NS (1900 * NSEC_PER_MSEC)

/* Idle: a tenth of one processor, in ticks of 10 ms for each second. A Go daemon in which all that was
 * asked of it waits still runs its timers, its collector, and what others ask. */
#define CPU_IDLE_TICKS 10u

/* CriDaemonDeadlock: a hundredth, for a verdict that a restart may follow. */
#define CPU_ASLEEP_TICKS 1u

/* Starved: for so much of the last 10 s (avg10, percent) somebody waited for a processor, or everybody
 * for a disk. At half of it a node is well used and answers in time; from here being late proves little. */
#define STARVED_CPU_SOME 60.0
#define STARVED_IO_FULL  60.0

/* ContainerCrashLoop. The kubelet's back-off (10, 20, 40, 80 s) lets the fourth run end within 10
 * minutes; three are what a bad start or a dependency that comes late makes. */
#define CRASHES_FROM  4u
#define CRASHES_IN_NS (600 * NSEC_PER_SEC)

/* DeletedPodRemains: what a pod has to end, once what kept it has gone. A kubelet whose call to end it
 * had failed begins the grace anew: the usual 30 s, and 10. */
#define FREED_IN_NS (40 * NSEC_PER_SEC)

/* NodeDiskFull, RunTmpfsFull: less than a hundredth is free, and less than a layer of an image or a log
 * takes. Either alone is daily life: of big disks a hundredth is plenty, of small ones 64 MB. */
#define ROOM_SHARE 100u
#define ROOM_BYTES (UINT64_C(64) << 20)

/* InodesExhausted: the same share, and fewer than the bundle of one container takes. */
#define INODES_SHARE 100u
#define INODES_LEAST 16u

/* FdExhausted: a connection and the pipes of a process to start take 4. Behind 95 of a hundred a daemon
 * fails in turns, since it opens and closes some all the time. */
#define FDS_LEAST   4u
#define FDS_PERCENT 95u

/* DaemonOrKubeletCpuStarved: fewer periods of its quota than 5 (half a second, as the kernel has it)
 * between two looks say nothing. A quota that is tight makes it wait now and then, which hurts nobody;
 * in a quarter of all periods it meets every call that takes longer than a few. */
#define PERIODS_LEAST 5u
#define WAITS_SHARE   4u

/* ApiUnreachable, CredentialExpired: a failure that the next try mends, a second or two later, is not told. */
#define SUSPECT_NS (3 * NSEC_PER_SEC)

/* Those, in a row, that prove: a request that one bad moment cost proves nothing about the way. */
#define API_FAILURES 2u

/* TooManyContainers: of the time that a relist may take. From a quarter on it is told, while there is time
 * to act; over three quarters what is left is less than what is measured varies by. It is told until a
 * fifth less, so that it does not come and go. Exited containers are inspected as well: where they are
 * over a quarter of all, removing them is worth an advice. */
#define NOTABLE_PERCENT 25u
#define NEAR_PERCENT    75u
#define CALM_SHARE      5u
#define DEAD_SHARE      4u
