"""containerd stopped with SIGSTOP, killed and restarted: said within seconds, with the call that hangs; everything that happened
meanwhile is told afterwards, nothing twice. The daemon is this test's own, and a SIGCONT is armed before each stop."""

import os
import signal
import time

import pytest
from conftest import continued_after, wait_for
from test_events import per_container

pytestmark = pytest.mark.node  # the process connector tells nobody in another one


def test_stop_is_said_within_seconds_and_all_is_told_after(own_containerd, start_agent):
    cri = own_containerd.cri
    agent = start_agent(own_containerd.endpoint, config="relistThreshold: 8s\n")
    agent.wait_ready()
    follower = agent.follow("--tail", "0")
    sandbox = cri.sandbox("p")
    killed = cri.container(sandbox, "killed")
    stays = cri.container(sandbox, "stays")
    follower.wait(containerID=stays, type="ContainerStarted")
    wait_for(lambda: agent.status()["node"]["ready"], "Ready")
    init = int(own_containerd.ctr("task", "ls").stdout.split(killed)[1].split()[0])

    with continued_after(own_containerd.pid):
        os.kill(own_containerd.pid, signal.SIGSTOP)
        stopped_at = time.monotonic()
        status = wait_for(lambda: not (s := agent.status())["runtime"]["responsive"] and s, "said that it does not respond")
        assert time.monotonic() - stopped_at < 5 + 2, "within 5 s (2 s for starting the commands on a busy machine)"
        hanging = status["pleg"]["inFlight"]
        assert hanging and hanging[0]["call"] in ("ListPodSandbox", "ListContainers", "Status", "Version"), hanging
        assert hanging[0]["ageSeconds"] >= 2
        text = agent.run("status").stdout
        assert hanging[0]["call"] in text
        os.kill(init, signal.SIGKILL)

        status = wait_for(lambda: (s := agent.status())["node"]["message"].startswith("PLEG is not healthy") and s, "the threshold")
        assert not status["node"]["ready"] and status["node"]["reason"] == "KubeletNotReady"
        assert "PLEG is not healthy: pleg was last seen active " in status["node"]["message"]
        assert status["node"]["message"].endswith(" ago; threshold is 8s")
        assert agent.run("status").returncode == 1

    died = follower.wait(containerID=killed, type="ContainerDied", confirmed=True)
    assert died[0]["exitCode"] == 137 and died[0]["confirms"], "the kernel had told it while containerd was stopped"
    wait_for(lambda: agent.status()["runtime"]["responsive"], "it responds again")
    status = wait_for(lambda: (s := agent.status())["node"]["ready"] and s, "Ready again after the calm asked for", 60)
    assert status["node"]["flaps"] == 1
    cri.remove_pod(sandbox)
    for gone in (sandbox, killed, stays):
        follower.wait(containerID=gone, type="ContainerRemoved")
    whole = ["ContainerStarted", "ContainerDied", "ContainerRemoved"]
    assert per_container(follower.events) == {sandbox: whole, killed: whole, stays: whole}


def test_killed_and_restarted_daemon(own_containerd, start_agent):
    cri = own_containerd.cri
    agent = start_agent(own_containerd.endpoint)
    agent.wait_ready()
    follower = agent.follow("--tail", "0")
    sandbox = cri.sandbox("p")
    dies = cri.container(sandbox, "dies")
    stays = cri.container(sandbox, "stays")
    follower.wait(containerID=stays, type="ContainerStarted")
    init = int(own_containerd.ctr("task", "ls").stdout.split(dies)[1].split()[0])

    own_containerd.kill()
    wait_for(lambda: not agent.status()["runtime"]["responsive"], "said that it is gone")
    # First the connection is lost, then the next dial is refused.
    wait_for(lambda: "refused" in str((s := agent.status())["runtime"]["hops"]).lower() + s["node"]["detail"].lower(), "why it is gone")
    os.kill(init, signal.SIGKILL)
    own_containerd.spawn()

    assert follower.wait(containerID=dies, type="ContainerDied", confirmed=True)[0]["exitCode"] == 137
    wait_for(lambda: agent.status()["node"]["ready"], "Ready", 60)
    cri.remove_pod(sandbox)
    for gone in (sandbox, dies, stays):
        follower.wait(containerID=gone, type="ContainerRemoved")
    whole = ["ContainerStarted", "ContainerDied", "ContainerRemoved"]
    assert per_container(follower.events) == {sandbox: whole, dies: whole, stays: whole}


def test_restarts_in_the_middle_of_relists(own_containerd, start_agent):
    """Five kills at moments that differ; a container that lives through all of them is told once."""
    cri = own_containerd.cri
    agent = start_agent(own_containerd.endpoint)
    agent.wait_ready()
    follower = agent.follow("--tail", "0")
    sandbox = cri.sandbox("p")
    lives = cri.container(sandbox, "lives")
    follower.wait(containerID=lives, type="ContainerStarted")
    for i in range(5):
        time.sleep(0.23 * i)
        own_containerd.kill()
        own_containerd.spawn()
    wait_for(lambda: agent.status()["runtime"]["responsive"], "it responds")
    late = cri.container(sandbox, "late", "exit 4")
    follower.wait(containerID=late, type="ContainerDied", confirmed=True)
    assert per_container(follower.events)[lives] == ["ContainerStarted"]
    assert per_container(follower.events)[late] in (["ContainerStarted", "ContainerDied"], ["ContainerDied"])
