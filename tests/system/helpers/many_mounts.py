"""Runs a command in a mount namespace of its own with very many mounts in it, which are gone with its last process.

    many_mounts.py FOLDER ROUNDS COMMAND...

One mount is bound into itself with all that is below it, ROUNDS times, so that there are 2^ROUNDS: 32,768 of 15 rounds in a tenth of a
second, where as many single ones take a minute."""

import ctypes
import os
import sys

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000
libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind, flags):
    if libc.mount(source.encode(), target.encode(), kind, flags, None) < 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


folder, rounds, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
if libc.unshare(CLONE_NEWNS) < 0:
    raise OSError(ctypes.get_errno(), "unshare")
mount("none", "/", None, MS_REC | MS_PRIVATE)
os.mkdir(f"{folder}/many")
mount("none", f"{folder}/many", b"tmpfs", 0)
for i in range(rounds):
    os.mkdir(f"{folder}/many/{i}")
for i in range(rounds):
    mount(f"{folder}/many", f"{folder}/many/{i}", None, MS_BIND | MS_REC)
os.execvp(command[0], command)
