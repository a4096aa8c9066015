"""The CRI client through pleg-cri: the life of a pod on a real containerd, and what each way of failing becomes, on a stand-in.

The stand-in is for what containerd cannot be made to do: one call that hangs, ten thousand containers, answers that lie.
"""

import json
import os
import socket
import subprocess

import pytest
from conftest import BUSYBOX, CRI, continued_after, wait_for
from standin import StandIn
from test_secrets import memory_of

CANARY = "canary-" + "7d21b9" * 4


class Tool:
    def __init__(self, endpoint):
        self.endpoint = endpoint

    def __call__(self, *arguments):
        return subprocess.run([str(CRI), "--runtime", self.endpoint, *map(str, arguments)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120)

    def rows(self, *arguments):
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def fails(self, *arguments):
        done = self(*arguments)
        assert done.returncode == 1, done
        assert done.stdout == ""
        return done.stderr


@pytest.fixture
def standin(folder):
    with StandIn(folder) as runtime:
        runtime.tool = Tool(runtime.endpoint)
        yield runtime
        assert runtime.process.poll() is None, "the stand-in lives"


@pytest.fixture
def one(standin):
    """A stand-in with one pod and one container."""
    standin.pod = standin.do("add-pod", name="web", namespace="demo", uid="u1")["id"]
    standin.container = standin.do("add-container", sandbox=standin.pod, name="app")["id"]
    return standin


# -- a real containerd ------------------------------------------------------------------------------------------------------


def test_life_of_a_pod(containerd):
    cri, tool = containerd.cri, Tool(containerd.endpoint)
    assert tool.rows("version")[0] == {"name": "containerd", "version": tool.rows("version")[0]["version"], "apiVersion": "v1"}
    assert {"RuntimeReady", "NetworkReady"} <= {c["type"] for c in tool.rows("status")}
    sandbox = cri.sandbox("life", attempt=2, host_network=False)
    row = tool.rows("inspect", sandbox)[0]
    assert (row["kind"], row["state"], len(row["ips"])) == ("sandbox", "running", 1)
    # 1 is the process id in a namespace of its own; in one that is shared with the pause process it is not.
    ended = cri.container(sandbox, "ended", "exit $$", attempt=4)
    wait_for(lambda: tool.rows("inspect", ended)[0]["state"] == "exited", "it ends")
    row = tool.rows("inspect", ended)[0]
    assert (row["exitCode"], row["reason"], row["image"]) == (1, "Error", BUSYBOX)
    # Not startedAt <= finishedAt: containerd takes the first after the start has returned, the second is the shim's.
    assert row["createdAt"] <= min(row["startedAt"], row["finishedAt"])
    mine = tool.rows("list", "--uid", "uid-life")
    assert [(r["kind"], r["id"], r["pod"], r["namespace"], r["podUID"], r["container"], r["attempt"], r["state"]) for r in mine] == [
        ("sandbox", sandbox, "life", "test", "uid-life", "", 2, "running"),
        ("container", ended, "life", "test", "uid-life", "ended", 4, "exited")]
    assert tool.rows("list", sandbox) == mine
    runs = cri.container(sandbox, "runs")
    cri("stop", runs, "--grace", "0")
    assert tool.rows("inspect", runs)[0]["exitCode"] == 137
    cri("rm", ended)
    assert "not found" in tool.fails("inspect", ended)
    cri("stop-sandbox", sandbox)
    assert tool.rows("inspect", sandbox)[0]["state"] == "exited"
    cri("rm-sandbox", sandbox)
    assert tool.rows("list", "--uid", "uid-life") == []
    assert tool("image", BUSYBOX).stdout.startswith("sha256:")
    assert "no image" in tool.fails("image", "pleg.local/nothing:1")


def test_inspecting_never_meets_the_environment(containerd):
    """Verbose answers hold it; they are not asked for, so it is nowhere in the process that asked."""
    sandbox = containerd.cri.sandbox("environment")
    container = containerd.cri.container(sandbox, "keeps", env=[f"PASSWORD={CANARY}"])
    for command in (["inspect", container], ["list"]):
        held = subprocess.Popen([str(CRI), "--runtime", containerd.endpoint, "--hold", *command], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)
        try:
            line = held.stdout.readline()
            assert line.startswith(b"{")
            memory = memory_of(held.pid)
            assert container.encode() in memory, "the scan sees what is there"
            assert CANARY.encode() not in memory
        finally:
            held.stdin.close()
            held.stdout.read()
            held.stdout.close()
            assert held.wait(timeout=30) == 0
    containerd.cri.remove_pod(sandbox)


# -- the stand-in -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault, says", [
    ({"kind": "error", "message": "disk on fire"}, "ContainerStatus of {id}: disk on fire"),
    ({"kind": "error", "code": "UNAVAILABLE", "message": "not yet"}, "ContainerStatus of {id}: not yet"),
    ({"kind": "not-found", "method": "ContainerStatus"}, "PodSandboxStatus of {id}: "),
    ({"kind": "error", "method": "ContainerStatus", "message": "rpc error: container does not exist"}, "PodSandboxStatus of {id}: "),
    ({"kind": "unimplemented"}, "does not speak CRI v1"),
    ({"kind": "garbage"}, "ContainerStatus of {id}: the answer cannot be decoded"),
    ({"kind": "empty"}, "ContainerStatus of {id}: the answer has no status"),
    ({"kind": "oversized", "bytes": 17 << 20}, "larger than 16777216 bytes"),
    ({"kind": "hang"}, "no answer for 1."),
])
def test_failing_inspections(one, fault, says):
    one.do("fault", **fault)
    assert says.replace("{id}", one.container[:12]) in one.tool.fails("--timeout", "1s", "inspect", one.container)
    one.do("clear")
    assert one.tool.rows("inspect", one.container)[0]["state"] == "running"
    assert one.do("stats")["verbose"] == 0


@pytest.mark.parametrize("method", ["ListPodSandbox", "ListContainers"])
@pytest.mark.parametrize("kind", ["hang", "error", "garbage", "oversized", "unimplemented"])
def test_failing_lists(one, method, kind):
    one.do("fault", kind=kind, method=method, bytes=17 << 20)
    assert f"{method}: " in one.tool.fails("--timeout", "1s", "list")
    one.do("clear")
    assert len(one.tool.rows("list")) == 2


def test_one_that_hangs_leaves_the_others(one):
    other = one.do("add-container", sandbox=one.pod, name="other")["id"]
    one.do("fault", kind="hang", method="ContainerStatus", id=one.container)
    held = subprocess.Popen([str(CRI), "--runtime", one.endpoint, "inspect", one.container], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: one.do("stats")["open"].get("ContainerStatus") == 1, "the call hangs")
    assert one.tool.rows("inspect", other)[0]["id"] == other
    one.do("clear")
    assert json.loads(held.communicate(timeout=30)[0])["id"] == one.container


def test_odd_entries(standin):
    pod = standin.do("add-pod", name="hex:fffe00", namespace="", labelled=False, state=9)["id"]
    named = standin.do("add-container", sandbox=pod, name="plain", labelled=False, state=77)["id"]
    standin.do("add-container", sandbox=pod, name="", id="", state=0)
    standin.do("duplicate", id=named)
    rows = standin.tool.rows("list")
    assert [r["state"] for r in rows] == ["unknown", "unknown", "unknown", "created"]
    assert rows[0]["pod"] == "???"
    assert [r["container"] for r in rows] == ["", "plain", "plain", ""]
    assert rows[1]["id"] == rows[2]["id"] == named
    assert rows[1]["pod"] == "" and rows[1]["sandboxID"] == pod
    assert rows[3]["id"] == ""


def test_ten_thousand_containers(standin):
    standin.do("add-many", pods=5000, containers=2)
    rows = standin.tool.rows("list")
    assert len(rows) == 15000
    assert len({r["id"] for r in rows}) == 15000
    assert [r["kind"] for r in rows] == ["sandbox"] * 5000 + ["container"] * 10000


def test_acting_on_the_standin(standin):
    """The stand-in keeps the order of things that a runtime keeps, so that node mode can be tried on it."""
    pod = json.loads(standin.tool("run-pod", "--name", "p", "--namespace", "n", "--image", "standin:1", "--", "true").stdout)
    assert [r["state"] for r in standin.tool.rows("list")] == ["running", "running"]
    assert standin.tool("stop", pod["containerID"]).returncode == 0
    assert standin.tool.rows("inspect", pod["containerID"])[0]["exitCode"] == 143
    assert standin.tool("rm", pod["containerID"]).returncode == 0
    assert standin.tool("stop-sandbox", pod["sandboxID"]).returncode == 0
    assert standin.tool("rm-sandbox", pod["sandboxID"]).returncode == 0
    assert standin.tool.rows("list") == []
    assert "no sandbox" in standin.tool.fails("create", pod["sandboxID"], "--name", "x", "--image", "standin:1")


# -- nobody there -----------------------------------------------------------------------------------------------------------


def test_no_socket_and_a_stale_one(folder):
    path = folder / "nobody.sock"
    assert f"Connect to {path}: No such file or directory; is the runtime running" in Tool(f"unix://{path}").fails("version")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.close()
    assert "nobody listens" in Tool(str(path)).fails("version")
    assert "is not of the form unix:///path" in Tool("tcp://127.0.0.1:1").fails("version")


def test_stopped(one):
    with continued_after(one.pid):
        os.kill(one.pid, 19)
        assert "Version: no answer for 1." in one.tool.fails("--timeout", "1s", "version")
    assert one.tool.rows("version")[0]["name"] == "standin"
