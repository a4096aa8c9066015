"""What looks like an incident and is none: all seven at the same time, and nothing is said of any of them, nor of the containerd that they
are on: not by an agent beside it (its status, and its journal afterwards), whose facts come in its own way, and not by samples of a
pleg-verdict, which asks the runtime itself.
"""

import contextlib
import datetime
import time

import pytest
import verdict

BEFORE_ITS_END = 25  # seconds before a look-alike lets go by itself, another one of its kind takes its place


class Lookalike:
    """One of a kind, there from since until `until`."""

    def __init__(self, incident, name):
        self.name, self.one = name, incident(name, seconds=60)
        assert self.one.start() == 0, f"{name}: {self.one.error}"
        self.since, self.until = self.one.moment["monotonicNanoseconds"] / 1e9, None
        self.lasts = self.one.moment["subject"].get("letsGoAfterSeconds")

    def ends_soon(self):
        return self.until is None and self.lasts and time.monotonic() > self.since + self.lasts - BEFORE_ITS_END

    def end(self):
        """From here on what is said of it is said of something that is taken away."""
        if self.until is None:
            self.until = time.monotonic()
            self.one.end()

    def said(self, history):
        """By what was read at the time."""
        return {(self.name, f["cause"], f["confidence"], f["summary"]) for at, findings in history if self.since <= at <= self.until
                for f in findings if verdict.concerns(f, self.one.moment)}

    def kept(self, agent):
        """By the agent's journal."""
        end = time.time() - time.monotonic() + self.until
        return {(self.name, one["cause"], one["state"], one["document"]["finding"]["summary"]) for one in agent.incidents_of(self.one.moment)
                if datetime.datetime.fromisoformat(one["openedAt"]).timestamp() < end}


def look(incident, agent, watch, seconds):
    """(look-alikes, begin, end): all seven were there from begin to end."""
    for each in (agent, watch):
        each.keep_history()
    all_of_them = [Lookalike(incident, name) for name in verdict.incidents("lookalikes")]
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        for old in [one for one in all_of_them if one.ends_soon()]:
            all_of_them.append(Lookalike(incident, old.name))
            old.end()
        time.sleep(0.2)
    ended = time.monotonic()
    for one in all_of_them:
        one.until = one.until or ended
    for name in verdict.incidents("lookalikes"):
        there = sorted((one.since, one.until) for one in all_of_them if one.name == name)
        assert there[0][0] <= began and there[-1][1] >= ended and all(a[1] >= b[0] for a, b in zip(there, there[1:])), (name, there, began, ended)
        assert all(not one.lasts or one.until <= one.since + one.lasts for one in all_of_them), "one of them let go while it was watched"
    return all_of_them, began, ended


def watch_all(incident, runtimes, seconds):
    agent = runtimes.agent(runtimes.get("containerd").endpoint)
    before = agent.metrics()["pleg_doctor_samples_total"]
    with verdict.Watch(agent.endpoint) as watch, contextlib.ExitStack() as stack:
        stack.callback(agent.end_history)
        all_of_them, began, ended = look(incident, agent, watch, seconds)
        samples = agent.metrics()["pleg_doctor_samples_total"] - before
        by_agent, by_samples = agent.end_history(), watch.end_history()
    words, looks = ([one for one in history if began <= one[0] <= ended] for history in (by_agent, by_samples))
    print(f"{ended - began:.0f} s: {len(words)} words of the agent from {samples:.0f} samples of its own, {len(looks)} other samples")
    assert len(words) >= seconds and samples >= 1 and len(looks) >= seconds / 4, "it looked often enough"
    said = set().union(*({*one.said(by_agent), *one.said(by_samples), *one.kept(agent)} for one in all_of_them))
    assert not said, said


def test_for_ten_seconds(incident, runtimes):
    watch_all(incident, runtimes, 10)


@pytest.mark.full
def test_for_a_minute(incident, runtimes):
    watch_all(incident, runtimes, 60)
