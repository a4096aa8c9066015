"""A FUSE server that never answers READ and STATFS, in a mount namespace of its own, and a victim that uses it.

    fuse_hang.py FOLDER SECONDS COMMAND...

Speaks the raw protocol of /dev/fuse: one file, FOLDER/mnt/file. Its first open is buffered, its second direct; READ and STATFS are
taken and never answered. COMMAND gets the file's path as its last argument, and a byte on its stdin when the first READ is here.
Before that a timer is armed, a process of its own, that aborts the connection after SECONDS whatever becomes of this one. Prints one
line of JSON: the pids and the path of the connection's abort file. Ends when the connection is aborted.
"""

import ctypes
import errno
import json
import os
import struct
import subprocess
import sys

CLONE_NEWNS, MS_REC_PRIVATE = 0x20000, 0x4000 | 0x40000
FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE = 1, 2
LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT, INTERRUPT, BATCH_FORGET = 1, 2, 3, 14, 15, 17, 18, 25, 26, 36, 42
ROOT, FILE = 1, 2
libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), what)


def mount(source, target, kind, flags, data):
    check(libc.mount(source.encode(), str(target).encode(), kind and kind.encode(), flags, data and data.encode()), f"mount {target}")


def attributes(node):
    mode, size = (0o40755, 0) if node == ROOT else (0o100644, 1 << 20)
    return struct.pack("<6Q10I", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


class Server:
    def __init__(self, fd, on_read):
        self.fd, self.on_read, self.opens = fd, on_read, 0

    def answer(self, opcode, node, body):
        """The bytes of an answer, a negative errno, or None for none at all."""
        if opcode == INIT:
            return struct.pack("<4I2H2I2HI7I", 7, 31, 65536, 0, 16, 12, 65536, 1, 16, 0, 0, *[0] * 7)
        if opcode == LOOKUP:
            return struct.pack("<4Q2I", FILE, 0, 60, 60, 0, 0) + attributes(FILE) if body == b"file\0" else -errno.ENOENT
        if opcode == GETATTR:
            return struct.pack("<Q2I", 60, 0, 0) + attributes(node)
        if opcode == OPEN:
            self.opens += 1
            return struct.pack("<Q2I", self.opens, FOPEN_KEEP_CACHE | (FOPEN_DIRECT_IO if self.opens == 2 else 0), 0)
        if opcode in (RELEASE, FLUSH):
            return b""
        if opcode == READ:
            self.on_read()
        return None if opcode in (READ, STATFS, FORGET, BATCH_FORGET, INTERRUPT) else -errno.ENOSYS

    def serve(self):
        while True:
            try:
                request = os.read(self.fd, 1 << 17)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                raise
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            got = self.answer(opcode, node, request[40:])
            if got is not None:
                body = got if isinstance(got, bytes) else b""
                os.write(self.fd, struct.pack("<IiQ", 16 + len(body), 0 if isinstance(got, bytes) else got, unique) + body)


def main(folder, seconds, *command):
    check(libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", None, MS_REC_PRIVATE, None)
    for name in ("mnt", "ctl"):
        os.mkdir(f"{folder}/{name}")
    mount("none", f"{folder}/ctl", "fusectl", 0, None)
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    mount("pleg-hang", f"{folder}/mnt", "fuse", 6, f"fd={fd},rootmode=40000,user_id=0,group_id=0")
    written = "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in folder)  # as the kernel writes it
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        number = next(line.split()[2].split(":")[1] for line in f if f" {written}/mnt " in line)
    abort = f"{folder}/ctl/{number}/abort"
    timer = subprocess.Popen(["sh", "-c", 'sleep "$1"; echo 1 > "$2"', "sh", seconds, abort], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True)
    victim = subprocess.Popen([*command, f"{folder}/mnt/file"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    print(json.dumps({"victim": victim.pid, "timer": timer.pid, "abort": f"/proc/{os.getpid()}/root{abort}",
                      "mount": f"/proc/{os.getpid()}/root{folder}/mnt"}), flush=True)

    def on_read():
        os.write(victim.stdin.fileno(), b"r")

    Server(fd, on_read).serve()
    victim.kill()
    victim.wait()


main(*sys.argv[1:])
