"""The kubelet's confirmed events on a real containerd: start, crash, restart and removal of containers and of whole pods, each step
held until it was seen and for 3 s beyond, give what a kubelet's PLEG gives, in order per container, each once.

The expected rows are the event table of the kubelet (pkg/kubelet/pleg/generic.go) and a real kubelet's own lines for the same steps."""

import os
import time

from conftest import wait_for

HOLD = 3.0  # seconds a step is held, so that a wrong second event would show


def per_container(events):
    """The confirmed events; that each provisional one has its confirmation is checked on the way."""
    rows = {}
    for event in events:
        if not event["confirmed"]:
            assert [e for e in events if e["confirms"] == event["sequence"]], event
            continue
        rows.setdefault(event["containerID"], []).append(event["type"])
    return rows


def test_lives_of_containers_and_pods(containerd, start_agent):
    cri = containerd.cri
    agent = start_agent(containerd.endpoint)
    agent.wait_ready()
    follower = agent.follow("--tail", "0")

    sandbox = cri.sandbox("plain")
    calm = cri.container(sandbox, "a")
    crashing = cri.container(sandbox, "bad", "sleep 1; exit 3")
    follower.wait(containerID=sandbox, type="ContainerStarted")
    follower.wait(containerID=calm, type="ContainerStarted")
    died = follower.wait(containerID=crashing, type="ContainerDied", confirmed=True)[0]
    assert (died["exitCode"], died["kind"], died["confirmed"], died["source"]) == (3, "container", True, "relist")
    assert (died["pod"], died["namespace"], died["podUID"], died["container"]) == ("plain", "test", "uid-plain", "bad")
    time.sleep(HOLD)

    again = cri.container(sandbox, "bad", "sleep 3600", attempt=1)
    assert follower.wait(containerID=again, type="ContainerStarted")[0]["attempt"] == 1
    cri("rm", crashing)
    follower.wait(containerID=crashing, type="ContainerRemoved")
    time.sleep(HOLD)

    # kill -9 of an init from outside: the status is 137, as the shim tells it.
    pid = int(containerd.ctr("task", "ls").stdout.split(calm)[1].split()[0])
    os.kill(pid, 9)
    assert follower.wait(containerID=calm, type="ContainerDied", confirmed=True)[0]["exitCode"] == 137
    time.sleep(HOLD)

    cri("stop-sandbox", sandbox)
    follower.wait(containerID=again, type="ContainerDied", confirmed=True)
    follower.wait(containerID=sandbox, type="ContainerDied", confirmed=True, kind="sandbox")
    time.sleep(HOLD)
    cri("rm-sandbox", sandbox)
    for one in (calm, again, sandbox):
        follower.wait(containerID=one, type="ContainerRemoved")
    time.sleep(HOLD)

    rows = per_container(follower.events)
    whole = ["ContainerStarted", "ContainerDied", "ContainerRemoved"]
    assert rows == {c: whole for c in (sandbox, calm, crashing, again)}
    assert [e["sequence"] for e in follower.events] == list(range(follower.events[0]["sequence"], follower.events[0]["sequence"] + len(follower.events)))
    assert not any(e["initial"] for e in follower.events)


def test_killed_sandbox_is_told_like_a_container(containerd, start_agent):
    cri = containerd.cri
    agent = start_agent(containerd.endpoint)
    agent.wait_ready()
    follower = agent.follow("--tail", "0")
    sandbox = cri.sandbox("boxed")
    container = cri.container(sandbox, "s")
    follower.wait(containerID=container, type="ContainerStarted")
    os.kill(int(containerd.ctr("task", "ls").stdout.split(sandbox)[1].split()[0]), 9)
    assert follower.wait(containerID=sandbox, type="ContainerDied", confirmed=True)[0]["kind"] == "sandbox"
    cri.remove_pod(sandbox)
    follower.wait(containerID=sandbox, type="ContainerRemoved")
    follower.wait(containerID=container, type="ContainerRemoved")
    assert per_container(follower.events)[sandbox] == ["ContainerStarted", "ContainerDied", "ContainerRemoved"]


def test_what_was_there_before_is_initial(containerd, start_agent):
    cri = containerd.cri
    sandbox = cri.sandbox("early")
    running = cri.container(sandbox, "r")
    done = cri.container(sandbox, "d", "exit 5")
    wait_for(lambda: any(c["id"] == done and c["state"] == "exited" for c in cri.list()), "the container has ended")
    agent = start_agent(containerd.endpoint)
    agent.wait_ready()
    follower = agent.follow("--tail", "100")
    assert follower.wait(containerID=running)[0]["type"] == "ContainerStarted"
    died = follower.wait(containerID=done)[0]
    assert (died["type"], died["exitCode"]) == ("ContainerDied", 5)
    assert all(e["initial"] for e in follower.of(podUID="uid-early"))
    cri.remove_pod(sandbox)
    follower.wait(containerID=running, type="ContainerRemoved")
    assert not follower.of(containerID=running, type="ContainerRemoved")[0]["initial"]


def test_what_changes_while_the_agent_is_away(containerd, start_agent):
    cri = containerd.cri
    sandbox = cri.sandbox("away")
    dies = cri.container(sandbox, "dies")
    first = start_agent(containerd.endpoint)
    first.wait_ready()
    epoch = first.status()["agent"]["epoch"]
    first.stop()
    vanishes = cri.container(sandbox, "vanishes")
    cri("rm", vanishes)
    cri("stop", dies, "--grace", "0")
    second = start_agent(containerd.endpoint)
    second.wait_ready()
    assert second.status()["agent"]["epoch"] != epoch
    follower = second.follow("--tail", "100")
    assert follower.wait(containerID=dies)[0]["type"] == "ContainerDied"
    assert not follower.of(containerID=vanishes)
    cri.remove_pod(sandbox)


def test_text_and_kubelet_stream(containerd, start_agent):
    cri = containerd.cri
    agent = start_agent(containerd.endpoint)
    agent.wait_ready()
    sandbox = cri.sandbox("texts")
    container = cri.container(sandbox, "t", "exit 0")
    agent.follow("--tail", "100").wait(containerID=container, type="ContainerDied", confirmed=True)
    lines = [line.split() for line in agent.run("events", "--kubelet").stdout.splitlines() if "texts" in line]
    assert ["texts", "ContainerStarted", sandbox[:12]] in [line[1:4] for line in lines]
    assert ["texts", "ContainerDied", container[:12]] in [line[1:4] for line in lines]
    for command in (["status"], ["pods"], ["events"]):
        done = agent.run(*command)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout
    assert max(map(len, agent.run("status").stdout.splitlines())) <= 80
    pods = {p["pod"]: p for p in agent.pods()}
    states = {c["container"]: c["state"] for c in pods["texts"]["containers"]}
    assert states == {"": "running", "t": "exited"}
    cri.remove_pod(sandbox)
