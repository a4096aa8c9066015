#!/usr/bin/python3
"""confined.py UNIT COMMAND...: runs COMMAND with the capabilities and system calls that UNIT leaves it, without systemd as process 1.

The list of calls is the unit's own, its groups taken apart by systemd-analyze; libseccomp makes the filter. What systemd adds by itself
(a cgroup, a device list, address families, no write to executable memory) is not there.
"""
import ctypes
import os
import re
import subprocess
import sys

ALLOW, EPERM = 0x7FFF0000, 0x00050000 | 1


def directive(unit, name):
    return [word for line in re.findall(rf"^{name}=(.*)$", unit, re.M) for word in line.split()]


def calls(word, seen):
    """The system calls that a word of SystemCallFilter= stands for."""
    if not word.startswith("@"):
        return {word}
    if word in seen:
        return set()
    seen.add(word)
    told = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter", word], check=True, capture_output=True, text=True).stdout
    inner = [line.strip() for line in told.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*(calls(one, seen) for one in inner))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        unit = file.read()
    seen = set()
    # @default stands in every list.
    allowed = set().union(*(calls(word, seen) for word in ["@default", *directive(unit, "SystemCallFilter")]))
    assert len(allowed) > 100, "systemd-analyze tells of few calls"
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(EPERM)))
    for name in allowed:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number != -1:
            # Names of other architectures are refused or have no effect.
            library.seccomp_rule_add_array(context, ctypes.c_uint32(ALLOW), number, 0, None)
    bounding = ",".join(["-all", *("+" + name[4:].lower() for name in directive(unit, "CapabilityBoundingSet"))])
    # The capabilities go first, by setpriv, which then starts this file once more for the filter.
    if "PLEG_CONFINED" not in os.environ:
        os.environ["PLEG_CONFINED"] = "1"
        os.execvp("setpriv", ["setpriv", "--no-new-privs", f"--bounding-set={bounding}", sys.executable, *sys.argv])
    del os.environ["PLEG_CONFINED"]
    if library.seccomp_load(context) != 0:
        sys.exit("confined: the filter was refused")
    os.execv(sys.argv[2], sys.argv[2:])


main()
