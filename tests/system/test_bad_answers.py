"""Answers that are wrong, useless, huge or slow: each is said for what it is, nothing else suffers, and it ends when it ends.

The runtime is the stand-in (a containerd does none of this on request); where it goes away in the middle of an answer, a raw socket.
"""

import json
import os
import re
import subprocess
import time

import pytest
from conftest import PLEG, wait_for
from standin import StandIn

QUICK = "relistPeriod: 200ms\ninspectTimeout: 1s\nreadyCalm: 1s\n"
LIMIT = 16 << 20  # bytes of one message


@pytest.fixture
def standin(folder):
    with StandIn(folder) as runtime:
        yield runtime
        assert runtime.process.poll() is None, "the stand-in lives"


@pytest.fixture
def one(standin):
    """A stand-in with one pod and one container."""
    standin.pod = standin.do("add-pod", name="web", namespace="demo", uid="u1")["id"]
    standin.container = standin.do("add-container", sandbox=standin.pod, name="app")["id"]
    return standin


def started(agent, container):
    agent.follow("--tail", "100").wait(containerID=container, type="ContainerStarted")


def said(agent, *words):
    """The status once the detail and the hop say all these words."""
    def look():
        status = agent.status()
        text = status["node"]["detail"]
        return all(w in text for w in words) and all(w in status["runtime"]["hops"][0]["message"] for w in words) and status
    return wait_for(look, f"{words} said; there is {agent.status()}")


def works_again(agent, standin):
    """After the trouble: good answers, Ready, events."""
    wait_for(lambda: (s := agent.status())["node"]["ready"] and not s["node"]["degraded"], "Ready again", 60)
    assert agent.status()["runtime"]["hops"][0]["ok"]
    pod = standin.do("add-pod", name="after", namespace="demo", uid=f"after-{time.monotonic_ns()}")["id"]
    container = standin.do("add-container", sandbox=pod, name="after")["id"]
    started(agent, container)


# -- lists that are of no use -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ListPodSandbox", "ListContainers"])
@pytest.mark.parametrize("fault, words", [
    ({"kind": "oversized", "bytes": LIMIT + 1}, [str(LIMIT)]),
    ({"kind": "garbage", "bytes": 100}, ["cannot be decoded"]),
    ({"kind": "error", "message": "disk on fire"}, ["disk on fire"]),
    ({"kind": "error", "code": "UNAVAILABLE", "message": "not\x1b[31m now\nplease"}, ["now", "please"]),
])
def test_list_of_no_use(one, start_agent, method, fault, words):
    agent = start_agent(one.endpoint, config=QUICK + "relistThreshold: 2s\n")
    agent.wait_ready()
    started(agent, one.container)
    one.do("fault", method=method, **fault)
    status = said(agent, f"{method}: ", *words)
    assert not status["runtime"]["hops"][0]["ok"]
    if status["node"]["ready"]:
        assert status["node"]["degraded"]
    # What was known stays, nothing is taken for gone.
    assert status["pods"] == 1 and status["containers"]["running"] == 1
    text = agent.run("status").stdout
    assert "\x1b" not in text and method in text
    status = wait_for(lambda: not (s := agent.status())["node"]["ready"] and s, "the threshold")
    assert status["node"]["message"].startswith("PLEG is not healthy: pleg was last seen active ")
    assert "The runtime fails" in agent.log.read_text()
    one.do("clear")
    works_again(agent, one)
    assert not agent.follow("--tail", "100").of(type="ContainerRemoved")


def test_oversized_inspection_hurts_its_pod_only(one, start_agent):
    agent = start_agent(one.endpoint, config=QUICK)
    agent.wait_ready()
    other = one.do("add-pod", name="other", namespace="demo", uid="u2")["id"]
    one.do("fault", kind="oversized", bytes=LIMIT + 1, method="ContainerStatus", id=one.container)
    one.do("kill", id=one.container)
    wait_for(lambda: str(LIMIT) in str(next(p for p in agent.pods() if p["pod"] == "web")["error"]), "the pod's error says so")
    fine = one.do("add-container", sandbox=other, name="fine")["id"]
    started(agent, fine)
    assert agent.status()["node"]["ready"]
    assert any("web" in line and str(LIMIT) in line for line in agent.run("pods").stdout.splitlines())
    one.do("clear")
    agent.follow("--tail", "100").wait(containerID=one.container, type="ContainerDied")


def test_server_without_cri_v1(one, start_agent):
    one.do("fault", kind="unimplemented")
    agent = start_agent(one.endpoint, config=QUICK)
    agent.wait_up()
    status = said(agent, "does not speak CRI v1", "is its cri plugin disabled, or is it too old?")
    assert not status["node"]["ready"] and not status["runtime"]["responsive"]
    assert "does not speak CRI v1" in " ".join(agent.run("status").stdout.split())
    one.do("clear")
    works_again(agent, one)


def test_server_that_answers_only_errors(one, start_agent):
    one.do("fault", kind="error", message="server is not initialized yet")
    agent = start_agent(one.endpoint, config=QUICK)
    agent.wait_up()
    status = said(agent, "server is not initialized yet")
    assert not status["node"]["ready"]
    assert "[container runtime status check may not have completed yet" in status["node"]["message"]
    one.do("clear")
    works_again(agent, one)


@pytest.mark.parametrize("method, kind", [("Version", "garbage"), ("Status", "garbage"), ("Status", "empty")])
def test_keepalives_that_fail(one, start_agent, method, kind):
    agent = start_agent(one.endpoint, config=QUICK)
    agent.wait_ready()
    one.do("fault", kind=kind, method=method)
    if kind == "empty":
        # A Status without conditions is an answer, and the kubelet's rule about it holds.
        status = wait_for(lambda: not (s := agent.status())["node"]["ready"] and s, "NotReady", 60)
        assert "container runtime not ready: <nil>" in status["node"]["message"]
    else:
        said(agent, f"{method}: ")
    one.do("clear")
    works_again(agent, one)


# -- entries that are odd -----------------------------------------------------------------------------------------------------


def documents_are_clean(agent):
    """All that a person or a program gets to see: strict JSON and UTF-8, nothing that drives a terminal."""
    for command in (["status"], ["pods"], ["pods", "--all"], ["events", "--tail", "100"]):
        for form in ([], ["-o", "json"]):
            done = subprocess.run([str(PLEG), *command, *form, "--socket", str(agent.socket)], stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=30)
            text = done.stdout.decode("utf-8", "strict")
            assert done.returncode == 0, (command, form, done)
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u0080-\u009f\u2028-\u202e\u2066-\u2069]", text), (command, form, text)
            if form:
                for line in text.splitlines() if command[0] == "events" else [text]:
                    json.loads(line)
    log = agent.log.read_bytes().decode("utf-8", "strict")
    assert "\x1b" not in log


@pytest.mark.parametrize("name", ["hex:" + b"\xff\xfe\xc3\x28".hex(), "hex:" + b"a\x1b[2Jb\nc\td\x00e".hex(), "hex:" + b"\xe2\x80\xae\xc2\x9b31m".hex(),
                                  "\\\"</script>'%s%n", "n" * 5000, ""],
                         ids=["not-utf8", "control", "bidi-and-c1", "quotes", "long", "empty"])
def test_odd_names(standin, start_agent, name):
    agent = start_agent(standin.endpoint, config=QUICK)
    agent.wait_ready()
    follower = agent.follow("--tail", "100")
    pod = standin.do("add-pod", name=name, namespace=name, uid="odd-uid")["id"]
    container = standin.do("add-container", sandbox=pod, name=name)["id"]
    follower.wait(containerID=container, type="ContainerStarted")
    documents_are_clean(agent)
    standin.do("fault", kind="error", method="ContainerStatus", id=container, message="\x1b]0;title\x07 broken")
    standin.do("set", id=container, state=2, exitCode=3, reason=name)
    wait_for(lambda: "broken" in str(agent.pods()[0]["error"]), "the pod's error")
    documents_are_clean(agent)
    standin.do("fault", kind="hang", method="ContainerStatus", id=container)
    wait_for(lambda: agent.status()["pleg"]["quarantined"], "quarantine")
    documents_are_clean(agent)
    standin.do("clear")
    assert follower.wait(containerID=container, type="ContainerDied")[0]["exitCode"] == 3
    documents_are_clean(agent)
    standin.do("remove", id=pod)
    follower.wait(containerID=pod, type="ContainerRemoved")


def test_odd_ids(standin, start_agent):
    """Ids that nobody would give, beside one that is fine; what has none, a huge one or one that is no text is left out."""
    agent = start_agent(standin.endpoint, config=QUICK)
    agent.wait_ready()
    follower = agent.follow("--tail", "0")
    fine = standin.do("add-pod", name="fine", namespace="demo", uid="u")["id"]
    for i, odd in enumerate(["", "x" * 5000, "hex:" + b"\xff\x1b[31m".hex(), "../../etc/passwd", "same"]):
        standin.do("add-pod", name=f"odd-{i}", namespace="demo", uid=f"odd-{i}", id=odd)
    standin.do("add-container", sandbox=fine, name="inner", id="same")
    wait_for(lambda: any(p["pod"] == "odd-3" for p in agent.pods()), "an odd id")
    container = standin.do("add-container", sandbox=fine, name="app")["id"]
    follower.wait(containerID=container, type="ContainerStarted")
    assert {p["pod"] for p in agent.pods()} >= {"fine", "odd-3"}
    assert {p["pod"] for p in agent.pods()}.isdisjoint({"odd-0", "odd-1", "odd-2"})
    documents_are_clean(agent)
    assert agent.status()["node"]["ready"]


def test_unknown_states(standin, start_agent):
    """An enum of tomorrow is unknown, not a crash and not an exit; the kubelet's PLEG tells ContainerChanged of it, to nobody."""
    agent = start_agent(standin.endpoint, config=QUICK)
    agent.wait_ready()
    follower = agent.follow("--tail", "0")
    pod = standin.do("add-pod", name="odd", namespace="demo", uid="u")["id"]
    container = standin.do("add-container", sandbox=pod, name="app")["id"]
    follower.wait(containerID=container, type="ContainerStarted")
    for state in (7, 2**31 - 1, 3):
        standin.do("set", id=container, state=state)
        wait_for(lambda: agent.status()["containers"]["unknown"] == 1, "unknown")
    assert not follower.of(containerID=container, type="ContainerDied")
    standin.do("set", id=pod, state=9)
    standin.do("set", id=container, state=2, exitCode=4)
    assert follower.wait(containerID=container, type="ContainerDied")[0]["exitCode"] == 4
    documents_are_clean(agent)


def test_entries_that_do_not_fit_together(standin, start_agent):
    """A container whose sandbox is gone, ids told twice, labels missing, entries and labels in another order each time: one event
    each, and no more ever."""
    standin.do("shuffle")
    agent = start_agent(standin.endpoint, config=QUICK)
    agent.wait_ready()
    follower = agent.follow("--tail", "0")
    expected = []
    for i in range(5):
        pod = standin.do("add-pod", name=f"pod-{i}", namespace="demo", uid=f"u{i}", labelled=i != 1)["id"]
        expected += [pod, standin.do("add-container", sandbox=pod, name="app", labelled=i not in (1, 2))["id"]]
    orphan = standin.do("add-pod", name="lost", namespace="demo", uid="u-lost")["id"]
    expected.append(standin.do("add-container", sandbox=orphan, name="orphan")["id"])
    standin.do("orphan", id=orphan)
    standin.do("duplicate", id=expected[0], copies=3)
    standin.do("duplicate", id=expected[1], copies=2)
    for container in expected:
        follower.wait(containerID=container, type="ContainerStarted")
    rows = {p["pod"]: p for p in agent.pods()}
    assert len(rows["pod-0"]["containers"]) == 2, "told twice is one"
    assert len(rows["pod-2"]["containers"]) == 2, "a container without labels is its sandbox's"
    relists = standin.do("stats")["calls"]["ListContainers"]
    wait_for(lambda: standin.do("stats")["calls"]["ListContainers"] > relists + 10, "ten relists")
    started_ids = [e["containerID"] for e in follower.events if e["containerID"] != orphan]
    assert sorted(started_ids) == sorted(expected)
    inspections = standin.do("stats")["calls"]["ContainerStatus"]
    relists = standin.do("stats")["calls"]["ListContainers"]
    wait_for(lambda: standin.do("stats")["calls"]["ListContainers"] > relists + 5, "five relists")
    assert standin.do("stats")["calls"]["ContainerStatus"] == inspections, "what does not change is not inspected"
    standin.do("remove", id=expected[-1])
    follower.wait(containerID=expected[-1], type="ContainerRemoved")
    documents_are_clean(agent)


# -- slow, large, gone --------------------------------------------------------------------------------------------------------


def test_slow_answers(one, start_agent):
    """A second for every answer is slow, not a fault: Ready all the time, and the events come."""
    one.do("fault", kind="slow", seconds=1)
    agent = start_agent(one.endpoint, config="relistPeriod: 200ms\ninspectTimeout: 10s\n")
    agent.wait_ready()
    follower = agent.follow("--tail", "100")
    follower.wait(containerID=one.container, type="ContainerStarted")
    wait_for(lambda: agent.status()["node"]["ready"], "Ready")
    one.do("kill", id=one.container)
    seen = []
    while not follower.of(containerID=one.container, type="ContainerDied"):
        seen.append(agent.status())
        assert len(seen) < 1000
        time.sleep(0.1)
    seen += [agent.status() for _ in range(30) if not time.sleep(0.1)]
    assert all(s["node"]["ready"] and not s["node"]["degraded"] and s["runtime"]["responsive"] for s in seen), [
        s["node"] for s in seen if s["node"]["degraded"]][:1]
    assert any(s["pleg"]["inFlight"] for s in seen)
    assert max(len(s["pleg"]["inFlight"]) for s in seen) <= 6
    assert one.do("stats")["open"].get("ListPodSandbox", 0) <= 1


def test_ten_thousand_containers(folder, start_agent):
    with StandIn(folder, pods=2500, containers=3) as standin:
        agent = start_agent(standin.endpoint)
        agent.wait_ready()
        follower = agent.follow("--tail", "0")
        wait_for(lambda: (s := agent.status())["containers"]["running"] == 7500 and s["node"]["ready"], "all are known", 120)
        wait_for(lambda: standin.do("stats")["calls"].get("ContainerStatus", 0) >= 7500, "all are inspected", 300)
        pod = standin.do("add-pod", name="late", namespace="demo", uid="late")["id"]
        container = standin.do("add-container", sandbox=pod, name="late")["id"]
        follower.wait(containerID=container, type="ContainerStarted", seconds=120)
        assert len(agent.pods()) == 2501
        assert len(agent.run("pods").stdout.splitlines()) >= 7501
        assert agent.status()["node"]["ready"]


def test_gone_in_the_middle_of_a_list(folder, start_agent):
    """Killed while it sends: the half is not taken for the whole."""
    with StandIn(folder, pods=300) as standin:
        agent = start_agent(standin.endpoint, config="relistPeriod: 100ms\n")
        agent.wait_ready()
        follower = agent.follow("--tail", "1000")
        follower.wait(count=600, type="ContainerStarted")
        for round in range(3):
            standin.do("fault", kind="hang", method="ListContainers")
            wait_for(lambda: standin.do("stats")["open"].get("ListContainers"), "the second half is awaited")
            standin.stop()
            status = wait_for(lambda: not (s := agent.status())["runtime"]["responsive"] and s, "said that it is gone")
            assert "connection" in status["node"]["detail"]
            assert status["pods"] == 300 and status["containers"]["running"] == 300
            standin.start()
            wait_for(lambda: agent.status()["runtime"]["responsive"], "it is back", 60)
        # Back with the same ids: nothing was told as gone or new.
        relists = standin.do("stats")["calls"].get("ListContainers", 0)
        wait_for(lambda: standin.do("stats")["calls"].get("ListContainers", 0) > relists + 2, "relists")
        assert agent.status()["containers"]["running"] == 300
        assert len(follower.events) == 600
