"""Inspections that hang, one pod's, some pods', all of them, while the lists answer.

The runtime is the stand-in: a containerd in which exactly these calls hang cannot be had on request.
"""

import statistics
import time

import pytest
from conftest import wait_for
from standin import StandIn

# Short, so that a hang is late within the test; the rules are the same.
QUICK = "relistPeriod: 200ms\ninspectTimeout: 1s\nreadyCalm: 1s\n"


@pytest.fixture
def standin(folder):
    with StandIn(folder) as runtime:
        yield runtime
        assert runtime.process.poll() is None, "the stand-in lives"


class Pods:
    """Pods of one container each; exit() is one event to wait for."""

    def __init__(self, standin, count):
        self.standin = standin
        self.sandboxes = [standin.do("add-pod", name=f"pod-{i}", namespace="demo", uid=f"uid-{i}")["id"] for i in range(count)]
        self.containers = [standin.do("add-container", sandbox=s, name="app")["id"] for s in self.sandboxes]

    def hang(self, index):
        """The inspection of one container hangs, and its exit makes that it is inspected."""
        self.standin.do("fault", kind="hang", method="ContainerStatus", id=self.containers[index])
        self.standin.do("kill", id=self.containers[index])


def latencies(standin, follower, sandbox, prefix, count=15):
    """Seconds from the exit of a container to its event, for `count` containers, one after the other."""
    ids = [standin.do("add-container", sandbox=sandbox, name=f"{prefix}-{i}")["id"] for i in range(count)]
    for container in ids:
        follower.wait(containerID=container, type="ContainerStarted")
    seconds = []
    for container in ids:
        begun = time.monotonic()
        standin.do("kill", id=container)
        seconds.append(follower.wait(containerID=container, type="ContainerDied")[0]["readAt"] - begun)
    return seconds


def quarantined(agent, count):
    def look():
        status = agent.status()
        return len(status["pleg"]["quarantined"]) == count and status
    return wait_for(look, f"{count} pods in quarantine")


def test_one_that_hangs_delays_nobody_else(standin, start_agent):
    pods = Pods(standin, 5)
    hung, other = pods.containers[0], pods.sandboxes[1]
    agent = start_agent(standin.endpoint, config=QUICK)
    agent.wait_ready()
    follower = agent.follow("--tail", "0")
    before = latencies(standin, follower, other, "before")

    pods.hang(0)
    status = quarantined(agent, 1)
    calls_before = standin.do("stats")["calls"]["ContainerStatus"]
    during = latencies(standin, follower, other, "during")
    assert standin.do("stats")["calls"]["ContainerStatus"] > calls_before
    assert statistics.median(during) < 2 * statistics.median(before) + 0.1, (before, during)
    assert max(during) < max(before) + 1, (before, during)

    # Counted once for as long as it hangs, here and at the runtime, and never asked again.
    ages = []
    for _ in range(8):
        status = agent.status()
        assert [(c["call"], c["subject"]) for c in status["pleg"]["inFlight"] if c["subject"] == hung] == [("ContainerStatus", hung)]
        ages.append(next(c["ageSeconds"] for c in status["pleg"]["inFlight"] if c["subject"] == hung))
        assert standin.do("stats")["open"].get("ContainerStatus") == 1
    assert ages == sorted(ages) and ages[0] > 1

    assert status["node"]["ready"] and status["node"]["degraded"]
    assert status["pleg"]["healthy"] and status["runtime"]["responsive"]
    assert status["pleg"]["quarantined"] == ["demo/pod-0"]
    assert "1 of 5 pods does not answer: demo/pod-0" in status["node"]["detail"]
    text = agent.run("status")
    assert text.returncode == 0 and "Ready, degraded" in text.stdout
    assert "demo/pod-0" in text.stdout and f"ContainerStatus of {hung[:12]} for " in text.stdout

    rows = {p["pod"]: p for p in agent.pods()}
    assert {name for name, p in rows.items() if p["quarantined"]} == {"pod-0"}
    assert rows["pod-0"]["stuckID"] == hung and rows["pod-0"]["quarantinedSeconds"] > 0
    lines = agent.run("pods").stdout.splitlines()
    assert [line.split()[2] for line in lines if line.startswith("! ") and "app" in line] == ["pod-0"], lines
    assert any(line.startswith("! demo/pod-0: in quarantine for ") and hung[:12] in line for line in lines), lines
    assert not follower.of(containerID=hung)

    standin.do("clear")
    assert follower.wait(containerID=hung, type="ContainerDied")[0]["exitCode"] == 137
    status = quarantined(agent, 0)
    assert status["node"]["ready"] and not status["node"]["degraded"]
    assert status["node"]["flaps"] == 0
    assert not any(p["quarantined"] or p["error"] for p in agent.pods())
    assert len(follower.of(containerID=hung)) == 1


def test_five_of_ten_pods(standin, start_agent):
    pods = Pods(standin, 10)
    agent = start_agent(standin.endpoint, config=QUICK)
    agent.wait_ready()
    follower = agent.follow("--tail", "0")
    for index in range(5):
        pods.hang(index)
    status = wait_for(lambda: not (s := agent.status())["node"]["ready"] and s, "NotReady by share")
    assert status["node"]["reason"] == "KubeletNotReady"
    status = quarantined(agent, 5)
    assert "container inspections are not healthy: 5 of 10 pods do not answer: " in status["node"]["message"]
    assert status["pleg"]["healthy"] and status["runtime"]["responsive"], "the lists answer"
    assert agent.run("status").returncode == 1
    standin.do("kill", id=pods.containers[7])
    follower.wait(containerID=pods.containers[7], type="ContainerDied")
    standin.do("clear")
    for index in range(5):
        follower.wait(containerID=pods.containers[index], type="ContainerDied")
    wait_for(lambda: agent.status()["node"]["ready"], "Ready again", 60)


def test_three_of_thirty_pods(standin, start_agent):
    pods = Pods(standin, 30)
    agent = start_agent(standin.endpoint, config=QUICK)
    agent.wait_ready()
    for index in range(3):
        pods.hang(index)
    status = quarantined(agent, 3)
    assert status["node"]["ready"] and status["node"]["degraded"]
    assert status["node"]["flaps"] == 0
    assert "3 of 30 pods do not answer: " in status["node"]["detail"]


@pytest.mark.parametrize("count", [2, 4])
def test_all_inspections_hang(standin, start_agent, count):
    """From the very start; with two pods no share can be exceeded, so that only the starving tells."""
    Pods(standin, count)
    standin.do("fault", kind="hang", method="ContainerStatus")
    agent = start_agent(standin.endpoint, config=QUICK + "relistThreshold: 4s\nmaxQuarantinedShare: 100%\n")
    agent.wait_ready()
    status = wait_for(lambda: not (s := agent.status())["node"]["ready"] and "succeeded" in s["node"]["message"] and s, "NotReady, starved")
    assert status["pleg"]["healthy"], "the lists answer"
    assert "container inspections are not healthy: due for " in status["node"]["message"]
    assert status["pleg"]["lastRelistAgeSeconds"] < 4
    assert standin.do("stats")["open"]["ContainerStatus"] == count
    standin.do("clear")
    wait_for(lambda: agent.status()["node"]["ready"], "Ready again", 60)
    follower = agent.follow("--tail", "100")
    follower.wait(count=count, kind="container", type="ContainerStarted")


def test_pod_that_hangs_goes_away(standin, start_agent):
    """Removed while its inspection hangs: its removal is told, the quarantine ends, the late answer changes nothing."""
    pods = Pods(standin, 4)
    agent = start_agent(standin.endpoint, config=QUICK)
    agent.wait_ready()
    follower = agent.follow("--tail", "0")
    pods.hang(0)
    quarantined(agent, 1)
    standin.do("remove", id=pods.sandboxes[0])
    follower.wait(containerID=pods.sandboxes[0], type="ContainerRemoved")
    follower.wait(containerID=pods.containers[0], type="ContainerRemoved")
    status = quarantined(agent, 0)
    assert status["node"]["ready"] and status["pods"] == 3
    told = len(follower.events)
    standin.do("clear")
    wait_for(lambda: not standin.do("stats")["open"].get("ContainerStatus"), "it has answered")
    marker = standin.do("add-container", sandbox=pods.sandboxes[1], name="after")["id"]
    follower.wait(containerID=marker, type="ContainerStarted")
    assert [e["containerID"] for e in follower.events[told:]] == [marker]
    assert len(agent.pods()) == 3
