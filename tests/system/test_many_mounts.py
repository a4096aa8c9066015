"""Mount tables as nobody likes them, real ones in private namespaces: more than 30,000 lines of which somebody waits on the last, and a mount
point whose name has blanks, a newline and what looks like an escape. The doctor names the mount, and ends in time."""

import json
import pathlib
import re
import subprocess
import sys
import time

import pytest
from conftest import PLEG
from standin import StandIn
from test_collect import HELPERS, Hang
from test_trace import killed_in_vain

ROUNDS, MOUNTS = 15, 30000  # 2^15 and those of the machine
ODD = "a b\n\\040c"


@pytest.fixture
def standin(folder):
    """A runtime that is well, so that nothing but the mount is told. One that is stopped is others' business."""
    with StandIn(folder, pods=1) as runtime:
        yield runtime


def doctor(standin, *arguments):
    start = time.monotonic()
    done = subprocess.run([str(PLEG), "doctor", "--runtime", standin.endpoint, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)
    for word in ("AddressSanitizer", "LeakSanitizer", "runtime error:", "Assertion"):
        assert word not in done.stderr, done.stderr
    return done, time.monotonic() - start


def about(document, pid):
    """The finding, or the symptom, that speaks of this process."""
    found = [f for top in document["findings"] for f in [top, *top["symptoms"]]]
    return [f for f in found if f["subject"]["pid"] == pid or str(pid) in json.dumps(f["evidence"])]


def test_thirty_thousand_mounts(standin, folder):
    hang = Hang(folder, sys.executable, HELPERS / "fuse_reader.py",
                before=["/usr/bin/python3", HELPERS / "many_mounts.py", folder, str(ROUNDS)])
    try:
        lines = sum(1 for _ in open(f"/proc/{hang.server.pid}/mountinfo", encoding="utf-8"))
        assert lines > MOUNTS
        killed_in_vain(hang)
        done, seconds = doctor(standin, "-o", "json")
        print(f"{lines} lines, {seconds:.1f} s")
        assert seconds < 10, "whatever is mounted"
        document = json.loads(done.stdout)
        found = [f for f in document["findings"] if f["cause"] == "FuseServerHung" and f["subject"]["mount"] == f"{folder}/mnt"]
        assert done.returncode == 1 and len(found) == 1, done.stdout
        assert about({"findings": found}, hang.victim), found
    finally:
        hang.end()


def test_a_mount_with_an_odd_name(standin, folder):
    place = folder / ODD
    place.mkdir()
    hang = Hang(place, sys.executable, HELPERS / "fuse_reader.py")
    try:
        killed_in_vain(hang)
        done, _ = doctor(standin, "-o", "json")
        found = [f for f in json.loads(done.stdout)["findings"] if f["cause"] == "FuseServerHung" and str(folder) in f["subject"]["mount"]]
        assert done.returncode == 1 and len(found) == 1, done.stdout
        # To be shown, it is clean: one line, and nothing that a terminal would take for more than text.
        assert found[0]["subject"]["mount"] == f"{folder}/a b?\\040c/mnt", found[0]["subject"]
        # To be run, it is the mount itself, whatever its name.
        commands = [a["command"] for a in found[0]["advice"] if "umount" in a["command"]]
        assert commands, found[0]["advice"]
        words = re.search(r"umount .*?-- (.*?)(?: *[;&|].*)?$", commands[0], re.DOTALL).group(1)
        said = subprocess.run(["bash", "-c", f"printf %s {words}"], capture_output=True, text=True, check=True).stdout
        assert said == f"{place}/mnt", commands
        text, _ = doctor(standin)
        assert f"{folder}/a b?\\040c/mnt" in text.stdout.replace("\n", " ").replace("  ", ""), text.stdout
    finally:
        hang.end()
        assert pathlib.Path(place).exists()
