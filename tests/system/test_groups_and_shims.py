"""What the kernel says beside an init's death, on a real containerd that is stopped, so that nobody else can have told it: an OOM kill
(the container's own v1 or v2 memory cgroup), and the shim of each container: alive, stopped, gone."""

import os
import pathlib
import signal

import pytest
from conftest import continued_after, wait_for
from test_kernel_word import kernel_of, pid_of, watched

pytestmark = pytest.mark.node  # the process connector tells nobody in another one


def parent_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def limit_memory(pid, size):
    """Of the container that this init lives in; skips where no memory cgroup can be found."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            pathlib.Path(f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes").write_text(str(size))
            return
        limit = pathlib.Path(f"/sys/fs/cgroup{path}/memory.max")
        if not controllers and limit.exists():
            limit.write_text(str(size))
            return
    pytest.skip("no memory cgroup of the container can be found")


@pytest.fixture
def started(own_containerd, start_agent):
    agent = start_agent(own_containerd.endpoint)
    agent.wait_ready()
    return own_containerd, agent


def test_oom_kill_of_an_init(started, folder):
    containerd, agent = started
    follower = agent.follow("--tail", "0")
    sandbox = containerd.cri.sandbox("oom")
    os.mkfifo(folder / "go")
    container = containerd.cri("create", sandbox, "--name", "big", "--image", "pleg.local/busybox:1", "--mount", f"{folder}:/t", "--", "/bin/sh", "-c",
                               "read x < /t/go; exec dd if=/dev/zero of=/dev/null bs=64M")
    containerd.cri("start", container)
    other = containerd.cri.container(sandbox, "small", "exec sleep 3600")
    watched(agent, container)
    watched(agent, other)
    assert agent.status()["agent"]["hints"]["cgroups"] >= 3 and agent.status()["agent"]["hints"]["cgroupFailures"] == 0
    assert kernel_of(agent, container)["kernel"]["oomKills"] == 0
    limit_memory(pid_of(containerd, container), 16 << 20)
    with continued_after(containerd.pid):
        os.kill(containerd.pid, signal.SIGSTOP)
        (folder / "go").write_text("go\n")
        died = follower.wait(containerID=container, type="ContainerDied")[0]
        assert (died["confirmed"], died["exitCode"], died["signal"]) == (False, 137, 9)
        kernel = wait_for(lambda: (k := kernel_of(agent, container)["kernel"])["oomKilled"] and k, "it is said that it was an OOM kill", 5)
        assert kernel["oomKills"] == 1 and kernel["state"] in ("zombie", "gone")
        lines = [line for line in agent.run("pods").stdout.splitlines() if " big " in line]
        assert len(lines) == 1 and ", OOM" in lines[0], lines
        assert not kernel_of(agent, other)["kernel"]["oomKilled"]
    follower.wait(containerID=container, type="ContainerDied", confirmed=True)
    assert kernel_of(agent, container)["kernel"]["oomKilled"]
    groups = agent.status()["agent"]["hints"]["cgroups"]
    containerd.cri.remove_pod(sandbox)
    wait_for(lambda: agent.status()["agent"]["hints"]["cgroups"] <= groups - 2, "its watches have gone with it")


def test_shim_stopped_and_killed(started):
    containerd, agent = started
    follower = agent.follow("--tail", "0")
    sandbox = containerd.cri.sandbox("shim")
    container = containerd.cri.container(sandbox, "c", "exec sleep 3600")
    watched(agent, container)
    pid = pid_of(containerd, container)
    shim = parent_of(pid)

    def says(state):
        def both():
            words = [kernel_of(agent, i)["kernel"]["shim"] for i in (container, sandbox)]
            return all(w == {"pid": shim, "state": state} for w in words)
        return wait_for(both, f"the shim is {state}: {kernel_of(agent, container)}")

    says("alive")
    assert "its shim" not in agent.run("pods").stdout
    with continued_after(shim), continued_after(containerd.pid):
        os.kill(containerd.pid, signal.SIGSTOP)  # or it would hang on the shim, and kill it in the end
        os.kill(shim, signal.SIGSTOP)
        says("stopped")
        assert f"test/shim: its shim (pid {shim}) is stopped" in agent.run("pods").stdout
        # A container that dies now stays a zombie: nobody reaps it.
        os.kill(pid, signal.SIGKILL)
        died = follower.wait(containerID=container, type="ContainerDied")[0]
        assert (died["confirmed"], died["exitCode"]) == (False, 137)
        kernel = kernel_of(agent, container)["kernel"]
        assert kernel["state"] == "zombie" and kernel["shim"]["state"] == "stopped"
    follower.wait(containerID=container, type="ContainerDied", confirmed=True)
    wait_for(lambda: kernel_of(agent, container)["kernel"]["shim"] is None, "an init that is gone has no shim")
    wait_for(lambda: kernel_of(agent, sandbox)["kernel"]["shim"]["state"] == "alive", "it goes on")
    with continued_after(containerd.pid):
        os.kill(containerd.pid, signal.SIGSTOP)
        os.kill(shim, signal.SIGKILL)
        wait_for(lambda: kernel_of(agent, sandbox)["kernel"]["shim"] == {"pid": shim, "state": "gone"}, "the shim is gone and its child lives")
        assert kernel_of(agent, sandbox)["kernel"]["state"] == "alive"
