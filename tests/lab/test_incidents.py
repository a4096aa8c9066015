"""Every incident of the lab for real: its precondition, the verdict of an agent beside it within its time, and nothing left behind.

Those that may share a containerd are open at the same time and are watched together, which is also the harder test: causes that have
nothing to do with each other stand side by side. The others come one by one, each with a daemon of its own.
"""

import os
import pathlib
import signal
import subprocess
import time

import kit
import lab
import pytest
import verdict
from conftest import system

wait_for = system.wait_for

# mmap-lock-held: every ps of the machine hangs meanwhile. lost-exit-event: threads that wait for a disk raise the node's
# I/O pressure, and on a starved node a difference between the ledgers must last longer than this waits.
# container-crash-loop: found by itself in less than a second, and not beside all the others.
APART = ("mmap-lock-held", "lost-exit-event", "container-crash-loop")
ALONE = [name for name, (_, expect) in verdict.incidents().items()
         if (expect["needs"] != "containerd" or name in APART) and not expect.get("thenFree")]
TOGETHER = [name for name, (_, expect) in verdict.incidents().items() if expect["needs"] == "containerd" and name not in APART]


def started(one):
    code = one.start()
    if code == kit.UNSUPPORTED:
        pytest.skip(f"NOT POSSIBLE HERE: {one.error}")
    assert code == 0, one.error
    return one


def one_look(one):
    """`pleg doctor` without an agent: done in 10 s, with that cause at the top, proven or not."""
    began = time.monotonic()
    findings = verdict.doctor(one.endpoint)
    assert time.monotonic() - began < 10
    causes = [f["cause"] for f in findings if verdict.concerns(f, one.moment)]
    # What must last for a while before it is said at all is not said by one look.
    assert set(causes) <= {one.expect["cause"]} and (causes or one.expect["seconds"] > 5), findings


def at(one):
    return one.moment["monotonicNanoseconds"] / 1e9


def note(one, seen_at, findings, seen, texts):
    name, after = one.expect["name"], seen_at - at(one)
    if name in seen or after < 0:
        return
    right, texts[name] = verdict.judge(findings, one.moment, one.expect)
    if right and after <= one.expect["seconds"]:
        seen[name] = after


def test_together(incident, runtimes):
    """All that may share one containerd, open at the same time, told apart by one agent beside it."""
    open_now, seen = {}, {}
    agent = runtimes.agent(runtimes.get("containerd").endpoint)
    agent.keep_history()
    for name in TOGETHER:
        one = incident(name, seconds=60)
        code = one.start()
        assert code in (0, kit.UNSUPPORTED), f"{name}: {one.error}"
        if code == 0:
            open_now[name] = one
        else:
            print(f"{name}: not possible here: {one.error}")
    assert len(open_now) >= 5
    # The agent went on while they were made: each is counted from its own moment.
    texts, until = {}, max(at(one) + one.expect["seconds"] for one in open_now.values())
    for one in open_now.values():
        for seen_at, findings in agent.history:
            note(one, seen_at, findings, seen, texts)
    for findings in agent.samples(until):
        for one in open_now.values():
            note(one, time.monotonic(), findings, seen, texts)
        if all(name in seen for name in open_now):
            break
    failed = [f"{name}: {texts.get(name, 'no sample came')}" for name in open_now if name not in seen]
    print("\n".join(f"{name}: {seconds:.1f} s" for name, seconds in seen.items()))
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("name", ALONE)
def test_alone(incident, name):
    one = incident(name)
    one.watch_with_agent()
    seconds, text = started(one).wait_right_with_agent()
    print(f"{name}: {seconds and round(seconds, 1)} s: {text}")
    assert seconds is not None, text
    one_look(one)
    if name == "cri-daemon-deadlock":  # One `pleg doctor` takes both samples that its proof needs.
        assert [f["confidence"] for f in verdict.doctor(one.endpoint) if verdict.concerns(f, one.moment)] == ["proven"]


def test_the_way_out_runs_by_itself(incident):
    """Nobody calls stop: after its seconds the thing is released."""
    shim = started(incident("shim-stopped", seconds=2)).moment["pids"]["shim"][0]
    frozen = started(incident("filesystem-frozen", seconds=2)).moment["pids"]["victim"][0]
    assert kit.state_of(shim) == "T"
    wait_for(lambda: kit.state_of(shim) != "T", "the shim goes on", 10)
    wait_for(lambda: kit.state_of(frozen) in ("gone", "Z"), "the writer could die", 10)


@pytest.mark.parametrize("name", ["fuse-server-hung", "filesystem-frozen", "lost-exit-event"])
def test_start_killed_at_any_point(incident, runtimes, name):
    """kill -9 of `start` at some points of its way: stop() finds what there is, and again nothing the second time."""
    for milliseconds in (60, 120, 180, 240, 300):
        one = incident(name)
        process = subprocess.Popen(one.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(milliseconds / 1000)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert one.stop() == []
    one.stop()
    wait_for(lambda: not one.daemon.ctr("container", "ls", "-q").stdout.split(), "no container of it is left")


@pytest.mark.full
@pytest.mark.parametrize("name", list(verdict.incidents()))
def test_ten_times(name):
    row = lab.count([name], 10)[0]
    if row["runs"] == 0:
        pytest.skip(f"NOT POSSIBLE HERE: {row['wrong']}")
    assert row["right"] == row["runs"] == 10 and not row["wrong"], row


def test_each_folder_is_complete():
    for name, (folder, expect) in lab.catalogue().items():
        assert os.access(folder / "start", os.X_OK) and os.access(folder / "stop", os.X_OK), name
        assert pathlib.Path(folder / "stop").resolve() == kit.ROOT / "lab/stop", name
        assert expect["armedMax"] <= (30 if name == "mmap-lock-held" else 60) and expect["armed"] <= expect["armedMax"], name
        assert expect["summary"] and expect["kubelet"], name
        if expect["cause"]:
            assert expect["seconds"] > 0 and expect["confidence"] in ("proven", "suspected") and expect["subject"], name
