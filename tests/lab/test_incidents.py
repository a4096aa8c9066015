"""Every incident of the lab for real: its precondition, the verdict of an agent beside it within the time that its rule promises, its
end in the agent's journal, and nothing left behind.

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
    assert set(causes) <= {one.expect["cause"]} and (causes or verdict.limit(one.expect) > 5), findings


def first_right(one, history, starved):
    """(seconds from the moment, text) of the first look at which it was right; None: not in its time."""
    text, at = "no sample came", one.moment["monotonicNanoseconds"] / 1e9
    for seen_at, findings in history:
        if seen_at < at:
            continue
        right, text = verdict.judge(findings, one.moment, one.expect)
        if right:
            after = seen_at - at
            return (after, text) if after <= verdict.limit(one.expect, starved) else (None, f"right only after {after:.1f} s: {text}")
    return None, text


class Together:
    """All that may share one containerd, open at the same time, told apart by one agent beside it. Made once for all of the tests below."""

    def __init__(self, runtimes):
        self.ones, self.impossible, self.wrong, self.seconds, self.left = {}, {}, {}, {}, []
        self.starved = verdict.Starved()
        self.agent = runtimes.agent(runtimes.get("containerd").endpoint)
        try:
            self.agent.keep_history()
            for name in TOGETHER:
                self.start(name, runtimes)
            self.judge()
            for one in self.ones.values():
                one.end()
            for name, one in self.ones.items():
                if name not in self.wrong and (wrong := one.wait_closed_with_agent()):
                    self.wrong[name] = wrong
        finally:
            self.agent.end_history()
            self.left = [what for one in reversed(self.ones.values()) for what in one.stop()]

    def start(self, name, runtimes):
        folder, expect = lab.catalogue()[name]
        self.ones[name] = one = lab.Incident(folder, expect, runtimes, 60)
        code = one.start()
        if code == kit.UNSUPPORTED:
            self.impossible[name] = one.error
        elif code != 0:
            self.wrong[name] = one.error

    def judge(self):
        """The agent went on while they were made: each is counted from its own moment."""
        watched = {name: one for name, one in self.ones.items() if one.moment}
        ends = {name: one.moment["monotonicNanoseconds"] / 1e9 + verdict.limit(one.expect, True) for name, one in watched.items()}
        deadline = max(ends.values()) + verdict.LATE
        while watched and time.monotonic() < deadline:
            history = list(self.agent.history)
            for name, one in list(watched.items()):
                seconds, text = first_right(one, history, self.starved.look())
                if seconds is not None or time.monotonic() > ends[name] + verdict.LATE:
                    del watched[name]
                self.seconds[name] = seconds
                self.wrong.pop(name, None)
                if seconds is None:
                    self.wrong[name] = text
            time.sleep(0.1)
        for name, one in self.ones.items():
            if name not in self.wrong and one.moment and not self.agent.counted(one.expect["cause"], one.expect["confidence"]):
                self.wrong[name] = "/metrics does not count it"


@pytest.fixture(scope="module")
def together(runtimes):
    return Together(runtimes)


@pytest.mark.parametrize("name", TOGETHER)
def test_together(together, name):
    if name in together.impossible:
        pytest.skip(f"NOT POSSIBLE HERE: {together.impossible[name]}")
    assert name not in together.wrong, together.wrong[name]
    print(f"{name}: {together.seconds[name]:.1f} s" + (" [the node was starved]" if together.starved.was else ""))


def test_together_is_gone(together):
    """Most of them were there, which is what telling them apart means, and nothing of them is left."""
    assert len(together.ones) - len(together.impossible) >= 5 and not together.left, together.left


@pytest.mark.parametrize("name", ALONE)
def test_alone(incident, name):
    one = incident(name)
    one.watch_with_agent()
    seconds, text = started(one).wait_right_with_agent()
    print(f"{name}: {seconds and round(seconds, 1)} s: {text}")
    assert seconds is not None, text
    one_look(one)
    if name == "cri-daemon-deadlock":  # One `pleg doctor` takes both samples that its proof needs, if the node is not starved.
        said = [f["confidence"] for f in verdict.doctor(one.endpoint) if verdict.concerns(f, one.moment)]
        assert said == ["proven"] or (said in ([], ["suspected"]) and verdict.Starved().look()), said
    one.end()
    wrong = one.wait_closed_with_agent()
    assert wrong is None, wrong


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
            assert verdict.limit(expect) > 0 and expect["confidence"] in ("proven", "suspected") and expect["subject"], name


def test_one_sample_takes_less_than_five_seconds():
    """What is asserted above is the rule's own promise; this is what the promises have to be."""
    of_the_lab = {expect["cause"] for _, expect in verdict.incidents().values()}
    assert of_the_lab <= set(verdict.rules()) and len(of_the_lab) == 16
    for cause in of_the_lab:
        rule = verdict.rules()[cause]
        assert rule["verdictSeconds"] < (5 if rule["samples"] == 1 else 15), rule
