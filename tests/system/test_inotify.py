"""A user that has no inotify instances left, for real: one of the test's own, so that nobody else of this machine lacks any. pleg doctor runs as
that user with the rights to look at others, as the limit is the user's that it runs as."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from conftest import PLEG

LIMIT = int(pathlib.Path("/proc/sys/fs/inotify/max_user_instances").read_text())

CAPABILITIES = "+dac_override,+dac_read_search,+sys_ptrace"

EATER = """import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
count = 0
while libc.inotify_init1(0) >= 0:
    count += 1
print(count, ctypes.get_errno(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def as_user():
    """A command in front of others; a user whom nobody else here is."""
    uid = str(400000 + os.getpid() % 100000)
    return ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES]


def doctor(as_user):
    done = subprocess.run([*as_user, str(PLEG), "doctor", "-o", "json"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert "AddressSanitizer" not in done.stderr and "runtime error:" not in done.stderr, done.stderr
    return [f for f in json.loads(done.stdout)["findings"] if f["cause"] == "InotifyExhausted"]


def test_no_instances(as_user):
    if LIMIT > 4096:
        pytest.skip(f"a user may have {LIMIT} instances here: too many to use up")
    assert doctor(as_user) == []
    eater = subprocess.Popen([*as_user, sys.executable, "-c", EATER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        count, error = map(int, eater.stdout.readline().split())
        assert (count, error) == (LIMIT, 24), "EMFILE at the limit"
        found = doctor(as_user)
    finally:
        eater.communicate(timeout=30)
    assert len(found) == 1 and found[0]["confidence"] == "proven" and found[0]["severity"] == "critical", found
    told = {e["what"]: e["value"] for e in found[0]["evidence"]}
    assert told["inotify instances that are in use"].startswith(f"{LIMIT} in 1 processes"), told
    assert told["how many a user may have"] == str(LIMIT)
    assert told["who has most of them"].endswith(f"(pid {eater.pid}): {LIMIT}")
    assert found[0]["advice"][0]["command"] == f"sysctl -w fs.inotify.max_user_instances={LIMIT * 4}"
    assert doctor(as_user) == []
