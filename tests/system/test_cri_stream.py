"""The agent on CRI's GetContainerEvents, from a stand-in that behaves as CRI-O, as containerd 2 and as containerd 1.7 do. The relist
period is a minute throughout, so whatever is told sooner was hinted at. None of this was tried on the real ones."""

import pytest
from conftest import wait_for
from standin import StandIn
from test_hints import watching

SLOW = "relistPeriod: 60s\n"


def hints(agent):
    return agent.status()["agent"]["hints"]


def metric(agent, name):
    import urllib.request
    text = urllib.request.urlopen(f"http://127.0.0.1:{agent.metrics_port}/metrics", timeout=30).read().decode()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + " "))


@pytest.mark.parametrize("name, version", [("cri-o", "1.30.0"), ("containerd", "v2.0.1")])
def test_hints_like_containerds(folder, start_agent, name, version):
    with StandIn(folder, pods=2, containers=2) as runtime:
        runtime.do("runtime-is", name=name, version=version)
        agent = start_agent(runtime.endpoint, config=SLOW)
        agent.wait_ready()
        follower = agent.follow("--tail", "0")
        wait_for(lambda: hints(agent)["stream"] == "up", f"the stream is up: {agent.status()['agent']}")
        assert hints(agent)["streamSource"] == "cri" and runtime.do("stats")["listeners"] == 1
        first, second, third, _ = runtime.do("containers")["containers"]
        lists = runtime.do("stats")["calls"]["ListContainers"]
        runtime.do("kill", id=first, exitCode=7)
        died = follower.wait(containerID=first, type="ContainerDied", seconds=20)
        assert [(e["confirmed"], e["exitCode"], e["source"]) for e in died] == [(True, 7, "relist")]
        # A lie of the stream starts an inspection and is no state: law 1.
        runtime.do("tell", id=second, type=2)
        runtime.do("tell", id=second, type=9)
        runtime.do("kill", id=third, exitCode=1)
        follower.wait(containerID=third, type="ContainerDied", seconds=20)
        assert follower.of(containerID=second) == []
        assert runtime.do("stats")["calls"]["ListContainers"] - lists < 30 and runtime.do("stats")["verbose"] == 0
        assert hints(agent)["provisionalOpen"] == 0  # no pidfd, no provisional word
        assert metric(agent, "kubelet_evented_pleg_connection_success_count") == 1
        assert metric(agent, "kubelet_evented_pleg_connection_error_count") == 0
        assert agent.status()["pleg"]["relistPeriodSeconds"] == 60


def test_short_life_on_the_stream(folder, start_agent):
    """Started and ended between two lists, and still listed as exited: the start is told from the stream."""
    with StandIn(folder, pods=1) as runtime:
        runtime.do("runtime-is", name="cri-o", version="1.30.0")
        agent = start_agent(runtime.endpoint, config=SLOW)
        agent.wait_ready()
        follower = agent.follow("--tail", "0")
        wait_for(lambda: hints(agent)["stream"] == "up", "the stream is up")
        pod = agent.pods()[0]["containers"][0]["sandboxID"]
        container = runtime.do("add-container", sandbox=pod, name="short")["id"]
        runtime.do("set", id=container, state=1)
        runtime.do("set", id=container, state=2, exitCode=5)
        died = follower.wait(containerID=container, type="ContainerDied", seconds=20)[0]
        assert died["exitCode"] == 5 and died["confirmed"]
        assert [e["type"] for e in follower.of(containerID=container)] == ["ContainerStarted", "ContainerDied"]


def test_not_beside_a_kubelet_of_containerd_1_7(folder, start_agent):
    """Each event goes to one listener only there. pleg is none, so the kubelet gets all of them."""
    with StandIn(folder, pods=1, containers=20) as runtime, watching(runtime.endpoint, "cri-watch") as kubelet:
        runtime.do("events", mode="one")
        runtime.do("runtime-is", name="containerd", version="v1.7.2")
        kubelet.wait_news("up")
        agent = start_agent(runtime.endpoint)
        agent.wait_ready()
        follower = agent.follow("--tail", "0")
        state = wait_for(lambda: (h := hints(agent))["stream"] == "absent" and h, "it is said that there is no stream")
        assert "taken away from a kubelet" in state["streamMessage"], state
        assert "taken away" in agent.run("status").stdout.replace("\n", " ").replace("  ", " ")
        containers = runtime.do("containers")["containers"]
        for container in containers:
            runtime.do("kill", id=container)
        wait_for(lambda: len(kubelet.of(hint="exit")) == len(containers), "the kubelet hears of each")
        assert runtime.do("stats")["listeners"] == 1
        for container in containers:
            follower.wait(containerID=container, type="ContainerDied")  # by the relist


def test_switched_off(folder, start_agent):
    with StandIn(folder, pods=1) as runtime:
        runtime.do("events", mode="silent")
        runtime.do("runtime-is", name="cri-o", version="1.30.0")
        agent = start_agent(runtime.endpoint)
        agent.wait_ready()
        state = wait_for(lambda: (h := hints(agent))["stream"] == "absent" and h, "it is said that there is no stream")
        assert "switched off" in state["streamMessage"]
