"""What pleg says of a node with an incident, held against its expect.json.

The verdict comes from `pleg doctor` if this build has it, else from pleg-verdict, which samples and judges with the same two halves.
"""

import json
import os
import pathlib
import subprocess
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


def wait_right(watch, moment, expect):
    """(seconds from the moment, text): seconds is None if it was not right within the time that expect.json gives."""
    began = moment["monotonicNanoseconds"] / 1e9
    text = "no sample came"
    for findings in watch.samples(began + expect["seconds"]):
        right, text = judge(findings, moment, expect)
        if right:
            return time.monotonic() - began, text
    return None, text


def incidents(group="incidents"):
    folders = sorted((pathlib.Path(__file__).resolve().parent / group).iterdir())
    return {f.name: (f, kit.load_expect(f)) for f in folders if (f / "expect.json").exists()}
