"""pleg doctor on a big node: 500 containers (on the stand-in runtime of tests/standin, which answers as one would and runs nothing) and
10,000 real threads. Under 5 s for the whole command, under 50 MB for it and all its processes together. Beside it, in the same run, what
the list of that runtime takes any client."""

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import time

from conftest import ROOT, quietest, system
from standin import StandIn

PODS, CONTAINERS = 250, 2  # of each: 500 containers, and the sandboxes
CROWDS, THREADS = 4, 2500
SECONDS, MEGABYTES = 5, 50


@contextlib.contextmanager
def crowds(folder):
    program = folder / "many-threads"
    subprocess.run(["gcc", "-O1", "-static", "-pthread", "-o", program, ROOT / "tests/system/helpers/many-threads.c"], check=True)
    started = [subprocess.Popen([program, str(THREADS), folder / f"ready{i}"]) for i in range(CROWDS)]
    try:
        for i in range(CROWDS):
            system().wait_for((folder / f"ready{i}").exists, "the threads are there", 60)
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def tree(pid):
    """A process and all below it, by the children that its threads have."""
    below = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            below += pathlib.Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    return [pid, *(p for child in below for p in tree(int(child)))]


def peak_kb(pid):
    with contextlib.suppress(OSError, StopIteration):
        return next(int(line.split()[1]) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 0


def watched(command):
    """Runs it: seconds, the sum of the peaks of its processes in MB, its output. Shared pages count once for each, so it is no less."""
    start, peaks = time.monotonic(), {}
    with tempfile.TemporaryFile() as out:
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL)
        while running.poll() is None:
            for pid in tree(running.pid):
                peaks[pid] = max(peaks.get(pid, 0), peak_kb(pid))
            time.sleep(0.01)
        seconds = time.monotonic() - start
        out.seek(0)
        return seconds, sum(peaks.values()) / 1024, out.read()


def listed(endpoint):
    """What the runtime's own list takes, by a client that does nothing with it."""
    start = time.monotonic()
    done = subprocess.run([system().CRI, "--runtime", endpoint, "list"], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60)
    return time.monotonic() - start, len(done.stdout.splitlines())


def test_five_hundred_containers_and_ten_thousand_threads():
    with tempfile.TemporaryDirectory(prefix="pleg-b-", dir="/tmp") as name:
        folder = pathlib.Path(name)
        with StandIn(folder, pods=PODS, containers=CONTAINERS) as runtime, crowds(folder):
            bare, entries = listed(runtime.endpoint)
            assert entries == PODS * (1 + CONTAINERS)

            def measure():
                inspected = runtime.do("stats")["calls"].get("ContainerStatus", 0)
                seconds, megabytes, out = watched([str(system().PLEG), "doctor", "-o", "json", "--runtime", runtime.endpoint])
                document = json.loads(out)
                assert document["runtime"] == runtime.endpoint and document["samples"] >= 1
                assert runtime.do("stats")["calls"]["ContainerStatus"] - inspected >= PODS * CONTAINERS, "each was looked at"
                return seconds, megabytes

            seconds, megabytes = quietest(measure, lambda got: got[0] < SECONDS and got[1] < MEGABYTES)
            bare = min(bare, listed(runtime.endpoint)[0])
            print(f"doctor: {seconds:.2f} s, {megabytes:.1f} MB with its processes ({PODS * CONTAINERS} containers, {CROWDS * THREADS} threads); "
                  f"the list alone takes a client {bare * 1000:.0f} ms")
            assert seconds < SECONDS and megabytes < MEGABYTES
