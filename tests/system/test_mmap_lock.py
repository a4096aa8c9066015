"""A process whose mmap_lock is held for write by a thread that no signal wakes (a FUSE server that does not answer): ps hangs on it,
pleg does not. The safe files of /proc answer at once, a read of cmdline hangs in the probe and is given up, the next probe answers
for others; a statfs of the hung mount cannot even be killed: that probe is abandoned, counted, and gone after the release.

Every ps, pgrep and top of the machine hangs meanwhile, so all this takes a few seconds, works by known pids, and a timer aborts the
FUSE connection after 30 s whatever happens."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest
from conftest import BUILD, ROOT, wait_for

pytestmark = pytest.mark.alone

HELPERS = ROOT / "tests/system/helpers"


class Hang:
    """The server, its victim and the timer. Nothing of it outlives end()."""

    def __init__(self, folder):
        self.server = subprocess.Popen(["/usr/bin/python3", HELPERS / "fuse_hang.py", folder, "30", BUILD / "tests/system/mmap-holder"],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        line = self.server.stdout.readline()
        if not line:
            reason = self.server.stderr.read().strip().splitlines()[-1:]
            self.server.wait()
            pytest.skip(f"no FUSE server can be had here: {reason}")
        got = json.loads(line)
        self.victim, self.timer, self.abort, self.mount = got["victim"], got["timer"], got["abort"], got["mount"]

    def release(self):
        with contextlib.suppress(OSError):
            pathlib.Path(self.abort).write_text("1")

    def end(self):
        self.release()
        try:
            self.server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.server.kill()  # the last holder of the connection: that aborts it, too
            self.server.wait()
        for pid in (self.timer, self.victim):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self.server.stdout.close()
        self.server.stderr.close()


class Client:
    def __init__(self):
        probe = BUILD / "src/kernel/pleg-probe"
        self.process = subprocess.Popen([BUILD / "tests/system/probe-client", probe], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()


@pytest.fixture
def client():
    one = Client()
    yield one
    one.end()


@pytest.fixture
def hang(folder):
    one = Hang(folder)
    yield one
    one.end()


def in_mmap(pid):
    """Its leader waits in mmap(). stack is one of the safe files."""
    with open(f"/proc/{pid}/stack", encoding="utf-8") as f:
        stack = f.read()
    return "fuse_file_mmap" in stack and "invalidate_inode_pages2" in stack and stack


def test_a_held_mmap_lock(client, hang):
    wait_for(lambda: client("status")["state"] == "running", "the probe")
    stack = wait_for(lambda: in_mmap(hang.victim), "the victim holds its mmap_lock", 10)
    begun = time.monotonic()
    # This is what every other tool does. It is alone on the machine with it for these seconds.
    ps = subprocess.Popen(["timeout", "-s", "KILL", "3", "ps", "-o", "pid,stat,comm", "-p", str(hang.victim)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    safe = client("safe", hang.victim)
    assert safe["r"] == 0 and safe["len"] > 1000, safe
    assert safe["ms"] < 250, safe  # 24 files; less than 2 ms on a calm machine

    cmdline = client("cmdline", hang.victim)
    assert cmdline["r"] == -110 and "hangs in the kernel" in cmdline["reason"], cmdline
    other = client("cmdline", os.getpid())
    assert other["r"] == 0 and other["len"] > 0, other
    rollup = client("smaps_rollup", hang.victim)
    assert rollup["r"] == -110, rollup
    assert client("status")["stuck"] == 2

    # Not even SIGKILL ends a statfs that the server has taken.
    statfs = client("statfs", hang.mount)
    assert statfs["r"] == -110, statfs
    other = client("cmdline", os.getpid())
    assert other["r"] == 0, other
    assert client("status")["abandoned"] == 1

    ps_output, _ = ps.communicate(timeout=10)
    assert ps.returncode in (137, -9), f"ps did not hang: {ps_output}"
    assert in_mmap(hang.victim), "it was held all the time"
    hang.release()
    print(f"held for {time.monotonic() - begun:.1f} s; safe {safe['ms']} ms; {stack}")

    wait_for(lambda: client("status")["abandoned"] == 0, "the abandoned probe is gone")
    assert client("cmdline", hang.victim)["r"] in (0, -3)
    hang.server.wait(timeout=20)
