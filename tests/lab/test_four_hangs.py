"""containerd stopped, dockerd stopped, a shim stopped and an mmap_lock held, all at once: one `pleg doctor` names all four and ends in time.

All on private daemons, each with a way out of its own that runs by itself. What is held longest is made last.
"""

import contextlib
import os
import signal
import subprocess
import time

import kit
import lab
import pytest
import verdict

RELEASE_AFTER = 45


@contextlib.contextmanager
def stopped(pid):
    """SIGSTOP, and a process that lets it go on whatever becomes of us."""
    way_out = subprocess.Popen(["sh", "-c", f"sleep {RELEASE_AFTER}; kill -CONT {pid}"], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        os.kill(pid, signal.SIGSTOP)
        kit.wait_for(lambda: kit.state_of(pid) == "T", "it is stopped")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        os.killpg(way_out.pid, signal.SIGKILL)
        way_out.wait()


def named(findings):
    """{(cause, pid): finding}, those that hang under another one included."""
    found = {}
    for finding in findings:
        found[(finding["cause"], finding["subject"]["pid"])] = finding
        found |= named(finding["symptoms"])
    return found


@pytest.mark.full
def test_all_four_at_once(incident, runtimes):
    dockerd = runtimes.get("docker").pid
    shim, lock = incident("shim-stopped", seconds=RELEASE_AFTER), incident("mmap-lock-held", seconds=30)
    folder, expect = lab.catalogue()["cri-daemon-stopped"]
    containerd = lab.Incident(folder, {**expect, "needs": "containerd"}, runtimes, RELEASE_AFTER)  # the one whose containers the others are
    assert shim.start() == 0, shim.error
    code = lock.start()
    if code == kit.UNSUPPORTED:
        pytest.skip(f"NOT POSSIBLE HERE: {lock.error}")
    assert code == 0, lock.error
    try:
        assert containerd.start() == 0, containerd.error
        with stopped(dockerd):
            began = time.monotonic()
            findings = verdict.doctor(containerd.endpoint)
            took = time.monotonic() - began
            victim = lock.moment["pids"]["victim"][0]
            assert kit.stays_stuck(victim, ["mmap_region"]), "it was let go before the end"
    finally:
        left = containerd.stop()
    expected = {("CriDaemonStopped", containerd.moment["pids"]["daemon"][0]), ("CriDaemonStopped", dockerd),
                ("ShimStopped", shim.moment["pids"]["shim"][0]), ("MmapLockHeld", victim)}
    found = named(findings)
    print(f"{took:.1f} s: " + ", ".join(f"{cause} {finding['confidence']}" for (cause, _), finding in found.items()))
    assert expected <= set(found), [f"{f['cause']}: {f['summary']}" for f in findings]
    assert {found[one]["confidence"] for one in expected} == {"proven"}
    assert took < 10
    assert not left
