"""What pleg says of a node with an incident, held against its expect.json.

The verdict comes from an agent beside the runtime (Agent: what `pleg status` tells), from one `pleg doctor`, or from pleg-verdict
(Watch), which samples and judges with the same two halves every second.
"""

import contextlib
import functools
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

import control
import kit


STARVED = "[the node was starved] "  # before the text of a verdict that might take longer for that
LATE = 5  # seconds beyond its time for which a verdict is waited for: wrong as well, but it is said how late


def pleg():
    return kit.build_folder() / "src/cli/pleg"


def has_doctor():
    done = subprocess.run([pleg(), "help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    return any(line.split()[:1] == ["doctor"] or "pleg doctor" in line for line in done.stdout.splitlines())


@functools.cache
def rules():
    """{cause: its row of the rule table}, as the program has it."""
    done = subprocess.run([kit.build_folder() / "lab/pleg-verdict", "--rules"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
                          check=True)
    return {rule["cause"]: rule for rule in map(json.loads, done.stdout.splitlines())}


def limit(expect, starved=False):
    """Seconds from the moment to the verdict: what the rule promises, by strong facts if expect.json does not say otherwise. It may say that
    they are weak, or that they are somebody's silence: on a starved node that proves little, and the rule waits longer for it."""
    rule = rules()[expect["cause"]]
    more = {"weak": rule["weakSeconds"] - rule["heldSeconds"], "silence": rule["weakSeconds"] if starved else 0}
    return rule["verdictSeconds"] + more.get(expect.get("facts"), 0)


class Starved:
    """Was the node starved at some time, as the doctor's rules judge it (src/doctor/rules)? look() again and again."""

    CPU_SOME, IO_FULL = 60.0, 60.0

    def __init__(self):
        self.was = False

    def look(self):
        for name, row, least in ("cpu", "some", self.CPU_SOME), ("io", "full", self.IO_FULL):
            for line in kit.read(f"/proc/pressure/{name}").splitlines():
                if line.startswith(row) and float(line.split("avg10=")[1].split()[0]) >= least:
                    self.was = True
        return self.was


class Looking:
    """What looks again and again: samples(until) yields the findings of each look."""

    def __init__(self):
        self.history, self.ends_at = [], None

    def keep_history(self):
        """From here on in the background, in self.history: (monotonic time, findings)."""
        def follow():
            for findings in self.samples(float("inf")):
                self.history.append((time.monotonic(), findings))
                if self.ends_at:
                    return
        self.ends_at = None
        self.follower = threading.Thread(target=follow, daemon=True)
        self.follower.start()

    def end_history(self):
        """All of it."""
        self.ends_at = time.monotonic()
        self.follower.join()
        self.ends_at = None  # others go on to look with this one
        taken, self.history = self.history, []
        return taken


class Watch(Looking):
    """Sample after sample of the node: a running pleg-verdict, whose samples share a memory, so what is suspected becomes proven."""

    def __init__(self, endpoint, pause_ms=1000):
        super().__init__()
        command = [str(kit.build_folder() / "lab/pleg-verdict"), "--probe", str(kit.build_folder() / "src/kernel/pleg-probe"), "--samples",
                   "1000", "--pause", str(pause_ms)]
        self.process = subprocess.Popen(command + (["--runtime", endpoint] if endpoint else []), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.rest = b""
        os.set_blocking(self.process.stdout.fileno(), False)

    def samples(self, until):
        """Each sample's findings until that monotonic time."""
        while time.monotonic() < until and not self.ends_at and self.process.poll() is None:
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


class Agent(Looking):
    """A `pleg agent` beside a private runtime, from before an incident on; its findings are read from its status.

    It keeps a journal, and its metrics are served. start() returns when it has listed and taken its first sample, and finds nothing, so that
    it is as calm as an agent that has run for long; what goes on elsewhere on the machine is waited for, but not for ever.
    """

    POLL, CALM = 0.1, 20

    def __init__(self, endpoint):
        super().__init__()
        self.endpoint = endpoint
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="pleg-lab-agent-", dir="/tmp"))
        self.socket, self.log, self.process = self.dir / "pleg.sock", self.dir / "agent.log", None
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.metrics_port = listener.getsockname()[1]

    def start(self, listed=True, seconds=30):
        config = self.dir / "pleg.yaml"
        config.write_text(f"apiVersion: pleg.dev/v1\nnodeName: lab\nstateDir: {self.dir / 'state'}\ncontrolSocket: {self.socket}\n"
                          f"metricsAddress: 127.0.0.1:{self.metrics_port}\nhttpAddress: \"\"\ncontainerRuntimeEndpoint: {self.endpoint}\n")
        with self.log.open("a") as log:
            self.process = subprocess.Popen([pleg(), "agent", "--config", config], stdin=subprocess.DEVNULL, stderr=log, start_new_session=True)
        kit.wait_for(lambda: self.has_looked(listed), "the agent has looked once", seconds)
        deadline = time.monotonic() + (self.CALM if listed else 0)
        while time.monotonic() < deadline and self.status()["findings"]:
            time.sleep(self.POLL)
        return self

    def has_looked(self, listed):
        if self.process.poll() is not None:
            raise RuntimeError(f"the agent ended:\n{self.log.read_text()[-2000:]}")
        status = self.status()
        return status and (not listed or (status["pleg"]["lastRelistAgeSeconds"] is not None
                                          and self.metrics().get("pleg_doctor_samples_total", 0) >= 1))

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def _ask(self, *words):
        return subprocess.run([pleg(), *words, "-o", "json", "--socket", str(self.socket)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=20)

    def status(self):
        return control.status(self.socket, 20)

    def incidents(self, *words):
        """What `pleg incidents` lists; with an id, that one with its document."""
        done = self._ask("incidents", *words)
        if done.returncode != 0:
            raise RuntimeError(f"pleg incidents: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def incidents_of(self, moment, cause=None):
        """Those of the journal that concern that incident of the lab, each with its document; of one cause, or of any."""
        whole = [self.incidents(one["id"])[0] for one in self.incidents() if cause in (None, one["cause"])]
        return [one for one in whole if concerns(one["document"]["finding"], moment)]

    def metrics(self):
        """{series: value} of /metrics; {} while nothing answers there."""
        with contextlib.suppress(OSError):
            text = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).read().decode()
            return {name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#")}
        return {}

    def counted(self, cause, confidence):
        """How many findings of that kind /metrics counts."""
        return sum(int(value) for name, value in self.metrics().items()
                   if name.startswith("pleg_findings{") and f'cause="{cause}"' in name and f'confidence="{confidence}"' in name)

    def samples(self, until):
        """What it says now, again and again until that monotonic time."""
        while time.monotonic() < until and not self.ends_at and self.is_alive():
            status = self.status()
            if status:
                yield status["findings"]
            time.sleep(self.POLL)

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
    """Is this finding about that incident, or about the daemon that it is made on? Others may be open on the same machine at the same time."""
    about, ours, runtime = finding["subject"], moment["subject"], moment["runtime"]
    place = (about.get("mount") or "").removeprefix("unix://")
    if about.get("pod") and about["pod"] == ours.get("pod"):
        return True
    if about.get("pid") and about["pid"] in (*_pids(moment).values(), *runtime["pids"]):
        return True
    if place and place in (ours.get("mount"), *runtime["sockets"]):
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
    """(seconds from the moment, text): seconds is None if it was not right within the time that its rule promises.

    `since` (monotonic seconds): counted from there, where whoever watches could not have begun before.
    """
    began, starved = since or moment["monotonicNanoseconds"] / 1e9, Starved()
    text = "no sample came"
    for findings in watch.samples(began + limit(expect, True) + LATE):
        right, text = judge(findings, moment, expect)
        seconds, most = time.monotonic() - began, limit(expect, starved.look())
        if right and seconds <= most:
            return seconds, (STARVED if starved.was and most > limit(expect) else "") + text
        if right:
            return None, f"right only after {seconds:.1f} s, not within {most:.1f}: {text}"
    return None, text


def wait_closed(agent, moment, cause, every=True, seconds=40):
    """After stop: what the journal has of it is closed and said no more. The text of what is not so, or None. `every`: whatever was said of it,
    not only what was right."""
    deadline = time.monotonic() + seconds
    while True:
        said = agent.incidents_of(moment)
        right = [one for one in said if one["cause"] == cause]
        left = [f"{one['cause']} ({one['state']})" for one in (said if every else right) if one["state"] != "closed"]
        now = [f["cause"] for f in agent.status()["findings"] if concerns(f, moment) and (every or f["cause"] == cause)]
        if right and not left and not now:
            break
        if time.monotonic() > deadline:
            return f"not closed within {seconds} s of its end: {left}, said: {now}" if right else f"no incident {cause} in the journal"
        time.sleep(0.2)
    if not all(one["openedAt"] < one["closedAt"] and one["document"]["closedBecause"] for one in right):
        return f"closed without a time or a reason: {right}"
    if not any(change["state"] == "proven" for one in right for change in one["document"]["changes"]):
        return "the journal does not say that it was proven"
    return None


def incidents(group="incidents"):
    folders = sorted((pathlib.Path(__file__).resolve().parent / group).iterdir())
    return {f.name: (f, kit.load_expect(f)) for f in folders if (f / "expect.json").exists()}
