"""What pleg says of a node with an incident, held against its expect.json.

The verdict comes from an agent beside the runtime (Agent: what `pleg status` tells), from one `pleg doctor`, or from pleg-verdict
(Watch), which samples and judges with the same two halves every second.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time

import kit


def pleg():
    return kit.build_folder() / "src/cli/pleg"


def has_doctor():
    done = subprocess.run([pleg(), "help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    return any(line.split()[:1] == ["doctor"] or "pleg doctor" in line for line in done.stdout.splitlines())


class Watch:
    """Sample after sample of the node: a running pleg-verdict, whose samples share a memory, so what is suspected becomes proven."""

    def __init__(self, endpoint, pause_ms=1000):
        command = [str(kit.build_folder() / "lab/pleg-verdict"), "--probe", str(kit.build_folder() / "src/kernel/pleg-probe"), "--samples",
                   "1000", "--pause", str(pause_ms)]
        self.process = subprocess.Popen(command + (["--runtime", endpoint] if endpoint else []), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.rest = b""
        os.set_blocking(self.process.stdout.fileno(), False)

    def samples(self, until):
        """Each sample's findings until that monotonic time."""
        while time.monotonic() < until and self.process.poll() is None:
            self.rest += self.process.stdout.read() or b""
            line, newline, rest = self.rest.partition(b"\n")
            if newline:
                self.rest = rest
                yield json.loads(line)["findings"]
            else:
                time.sleep(0.02)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Agent:
    """A `pleg agent` beside a private runtime, from before an incident on; its findings are read from `pleg status -o json`.

    It writes no journal and serves no web page. start() returns when it has listed and taken its first sample, so that it is as calm
    as an agent that has run for long.
    """

    POLL = 0.1

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="pleg-lab-agent-", dir="/tmp"))
        self.socket, self.log, self.process, self.history = self.dir / "pleg.sock", self.dir / "agent.log", None, []

    def start(self, listed=True, seconds=30):
        config = self.dir / "pleg.yaml"
        config.write_text(f"apiVersion: pleg.dev/v1\nnodeName: lab\nstateDir: \"\"\ncontrolSocket: {self.socket}\nmetricsAddress: \"\"\n"
                          f"httpAddress: \"\"\ncontainerRuntimeEndpoint: {self.endpoint}\n")
        with self.log.open("a") as log:
            self.process = subprocess.Popen([pleg(), "agent", "--config", config], stdin=subprocess.DEVNULL, stderr=log, start_new_session=True)
        kit.wait_for(lambda: self.is_settled(listed), "the agent has looked once", seconds)
        return self

    def is_settled(self, listed):
        if self.process.poll() is not None:
            raise RuntimeError(f"the agent ended:\n{self.log.read_text()[-2000:]}")
        status = self.status()
        return status and (not listed or status["pleg"]["lastRelistAgeSeconds"] is not None) and not status["findings"]

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def status(self):
        done = subprocess.run([pleg(), "status", "-o", "json", "--socket", str(self.socket)], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=20)
        return json.loads(done.stdout) if done.returncode in (0, 1) and done.stdout else None

    def samples(self, until):
        """What it says now, again and again until that monotonic time."""
        while time.monotonic() < until and self.is_alive():
            status = self.status()
            if status:
                yield status["findings"]
            time.sleep(self.POLL)

    def keep_history(self):
        """From here on in the background, in self.history: (monotonic time, findings)."""
        def follow():
            for findings in self.samples(float("inf")):
                self.history.append((time.monotonic(), findings))
        threading.Thread(target=follow, daemon=True).start()

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def doctor(endpoint, timeout=30):
    """The findings of one `pleg doctor`."""
    done = subprocess.run([pleg(), "doctor", "-o", "json", *(["--runtime", endpoint] if endpoint else [])], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=timeout)
    return json.loads(done.stdout)["findings"]


def _pids(moment):
    return {role: pid for role, (pid, _) in moment["pids"].items()}


def concerns(finding, moment):
    """Is this finding about that incident? Others may be open on the same machine at the same time."""
    about, ours = finding["subject"], moment["subject"]
    if about.get("pod") and about["pod"] == ours.get("pod"):
        return True
    if about.get("pid") and about["pid"] in _pids(moment).values():
        return True
    if about.get("mount") and about["mount"].removeprefix("unix://") == ours.get("mount"):
        return True
    return bool(about.get("containerID") and about["containerID"] in (ours.get("containerID"), ours.get("sandboxID")))


def _wrong_field(finding, moment, expect):
    """The first field of the subject that is not as expected, or None."""
    about, ours = finding["subject"], moment["subject"]
    for field, wanted in expect["subject"].items():
        got = about.get(field)
        if field == "pid":
            right = got in [_pids(moment)[role] for role in wanted if role in _pids(moment)]
        elif field == "mount":
            right = (got or "").removeprefix("unix://") in (ours["mount"], ours.get("mountInside"))
        else:
            right = got == ours[field]
        if not right:
            return f"{field} is {got!r}"
    return None


def judge(findings, moment, expect):
    """(right, text): is the expected cause at the top, with its subject and as sure as it must be, and nothing else of this incident?"""
    mine = [f for f in findings if concerns(f, moment)]
    if not mine:
        return False, "nothing is said of it"
    others = sorted({f["cause"] for f in mine} - {expect["cause"]})
    if others:
        return False, "at the top: " + ", ".join(others)
    wrong = [w for w in (_wrong_field(f, moment, expect) for f in mine)]
    if all(wrong):
        return False, wrong[0]
    best = next(f for f, w in zip(mine, wrong) if not w)
    if best["confidence"] != expect["confidence"]:
        return False, f"only {best['confidence']}"
    return True, best["summary"]


def wait_right(watch, moment, expect, since=None):
    """(seconds from the moment, text): seconds is None if it was not right within the time that expect.json gives.

    `since` (monotonic seconds): counted from there, where whoever watches could not have begun before.
    """
    began = since or moment["monotonicNanoseconds"] / 1e9
    text = "no sample came"
    for findings in watch.samples(began + expect["seconds"]):
        right, text = judge(findings, moment, expect)
        if right:
            return time.monotonic() - began, text
    return None, text


def incidents(group="incidents"):
    folders = sorted((pathlib.Path(__file__).resolve().parent / group).iterdir())
    return {f.name: (f, kit.load_expect(f)) for f in folders if (f / "expect.json").exists()}
