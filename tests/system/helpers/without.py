#!/usr/bin/env python3
"""Runs a command in a poorer world: without.py WHAT[,WHAT...] COMMAND ...

    pidfd-enosys, pidfd-eperm   pidfd_open() fails so, as on an old kernel and under a container's filter
    net-admin                   CAP_NET_ADMIN is gone for good
    cap-NAME                    as above, of any capability: cap-syslog, cap-sys-ptrace, cap-sys-admin
    hung                        the kernel has counted three hung tasks, in a mount namespace of its own: so that its log is wanted
    kmsg                        /dev/kmsg cannot be opened, in another one
    special-mounts              debugfs and fusectl are not mounted there, and cannot be
    files=N                     at most so many descriptors, also for root"""

import ctypes
import errno
import os
import resource
import struct
import sys
import tempfile

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 24, 38, 22
CAPABILITIES = {"net-admin": 12, "cap-dac-override": 1, "cap-dac-read-search": 2, "cap-sys-ptrace": 19, "cap-sys-admin": 21, "cap-syslog": 34}
CLONE_NEWNS, MS_REC_PRIVATE, MS_BIND, MS_REMOUNT, MS_NODEV, MNT_DETACH, FSOPEN = 0x20000, 0x44000, 4096, 32, 4, 2, 430
PIDFD_OPEN = 434  # the same number on every architecture
LD_NR, JEQ, RET = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
libc = ctypes.CDLL(None, use_errno=True)


def prctl(*arguments):
    words = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    if libc.prctl(*words) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {arguments[0]}")


def refuse(call, code):
    rows = [(LD_NR, 0, 0, 0), (JEQ, 0, 1, call), (RET, 0, 0, ERRNO | code), (RET, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code)))
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    prctl(PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0)


def own_mounts():
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "a mount namespace of its own")


def mount_over(source, target, flags=0):
    if libc.mount(source.encode(), target.encode(), None, MS_BIND | flags, None) != 0:
        raise OSError(ctypes.get_errno(), target)


def special_mounts():
    """Whatever of these is mounted is not any more, and a file system of that kind cannot be made (fsopen), as in a container."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file if line.split(" - ")[1].split()[0] in ("debugfs", "tracefs", "fusectl")]
    for point in reversed(points):
        libc.umount2(point.encode(), MNT_DETACH)
    refuse(FSOPEN, errno.EPERM)


for what in sys.argv[1].split(","):
    if what == "pidfd-enosys":
        refuse(PIDFD_OPEN, errno.ENOSYS)
    elif what == "pidfd-eperm":
        refuse(PIDFD_OPEN, errno.EPERM)
    elif what in CAPABILITIES:
        prctl(PR_CAPBSET_DROP, CAPABILITIES[what], 0, 0, 0)  # exec takes it out of the others
    elif what == "hung":
        own_mounts()
        with tempfile.NamedTemporaryFile() as count:
            count.write(b"3\n")
            count.flush()
            mount_over(count.name, "/proc/sys/kernel/hung_task_detect_count")
    elif what == "kmsg":
        own_mounts()
        mount_over("/dev/kmsg", "/dev/kmsg")
        mount_over("/dev/kmsg", "/dev/kmsg", MS_REMOUNT | MS_NODEV)
    elif what == "special-mounts":
        own_mounts()
        special_mounts()
    elif what.startswith("files="):
        count = int(what.removeprefix("files="))
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
    else:
        sys.exit(f"without what? {what}")
os.execv(sys.argv[2], sys.argv[2:])
