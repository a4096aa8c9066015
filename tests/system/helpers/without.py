#!/usr/bin/env python3
"""Runs a command in a poorer world: without.py WHAT[,WHAT...] COMMAND ...

    pidfd-enosys, pidfd-eperm   pidfd_open() fails so, as on an old kernel and under a container's filter
    net-admin                   CAP_NET_ADMIN is gone for good
    files=N                     at most so many descriptors, also for root"""

import ctypes
import errno
import os
import resource
import struct
import sys

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, CAP_NET_ADMIN = 24, 38, 22, 12
PIDFD_OPEN = 434  # the same number on every architecture
LD_NR, JEQ, RET = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
libc = ctypes.CDLL(None, use_errno=True)


def prctl(*arguments):
    words = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    if libc.prctl(*words) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {arguments[0]}")


def refuse_pidfd(code):
    rows = [(LD_NR, 0, 0, 0), (JEQ, 0, 1, PIDFD_OPEN), (RET, 0, 0, ERRNO | code), (RET, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code)))
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    prctl(PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0)


for what in sys.argv[1].split(","):
    if what == "pidfd-enosys":
        refuse_pidfd(errno.ENOSYS)
    elif what == "pidfd-eperm":
        refuse_pidfd(errno.EPERM)
    elif what == "net-admin":
        prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0)  # exec takes it out of the others
    elif what.startswith("files="):
        count = int(what.removeprefix("files="))
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
    else:
        sys.exit(f"without what? {what}")
os.execv(sys.argv[2], sys.argv[2:])
