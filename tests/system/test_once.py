"""`--runtime ENDPOINT`: status and pods without an agent, by one look at the runtime itself: a healthy one, one that hangs in one
container, one that is stopped, and none. Whatever hangs, the look ends by itself."""

import json
import os
import signal
import subprocess
import time

import pytest
from conftest import PLEG, continued_after
from standin import StandIn


def look(*arguments, timeout=30):
    return subprocess.run([str(PLEG), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture
def standin(folder):
    with StandIn(folder, pods=3, containers=2) as runtime:
        yield runtime


def test_the_documents_of_an_agent(standin, start_agent):
    agent = start_agent(standin.endpoint)
    agent.wait_ready()
    done = look("status", "--runtime", standin.endpoint, "-o", "json")
    assert done.returncode == 0, done
    status = json.loads(done.stdout)
    assert status["agent"] is None
    assert set(status) == set(agent.status())
    assert (status["pods"], status["containers"]["running"]) == (3, 6)
    assert "No agent was asked" in done.stderr and standin.endpoint in done.stderr
    assert look("status", "--runtime", standin.endpoint).stdout.startswith("Ready  node ")

    done = look("pods", "--runtime", standin.endpoint, "-o", "json")
    assert done.returncode == 0, done
    pods = json.loads(done.stdout)["pods"]
    assert [p["podUID"] for p in pods] == [p["podUID"] for p in agent.pods()]
    assert all(c["state"] == "running" and c["startedAt"] for p in pods for c in p["containers"] if c["kind"] == "container")


def test_a_container_that_hangs(standin):
    pods = json.loads(look("pods", "--runtime", standin.endpoint, "-o", "json").stdout)["pods"]
    victim = next(c["containerID"] for c in pods[1]["containers"] if c["kind"] == "container")
    standin.do("fault", kind="hang", method="ContainerStatus", id=victim)
    done = look("status", "--runtime", standin.endpoint, "-o", "json")
    status = json.loads(done.stdout)
    assert done.returncode == 0 and status["node"]["degraded"]
    assert status["pleg"]["quarantined"] == [f"{pods[1]['namespace']}/{pods[1]['pod']}"]
    done = look("pods", "--runtime", standin.endpoint)
    assert done.returncode == 0 and "in quarantine" in done.stdout


def test_a_stopped_runtime(standin):
    with continued_after(standin.pid):
        os.kill(standin.pid, signal.SIGSTOP)
        begin = time.monotonic()
        done = look("status", "--runtime", standin.endpoint)
        assert time.monotonic() - begin < 20
        assert done.returncode == 1, done
        assert done.stdout.startswith("NOT READY") and "DOES NOT ANSWER" in done.stdout
        done = look("pods", "--runtime", standin.endpoint)
        assert done.returncode == 1 and done.stdout == "" and "cannot be listed" in done.stderr


def test_none(folder):
    done = look("status", "--runtime", folder / "none.sock")
    assert done.returncode == 1 and "no such socket" in done.stdout
    done = look("pods", "--runtime", folder / "none.sock")
    assert done.returncode == 1 and "no such socket" in done.stderr
    for command in ("status", "pods"):
        assert look(command, "--runtime", "tcp://127.0.0.1:1").returncode == 2
    assert look("status", "--runtime", folder / "none.sock", "--watch").returncode == 2
    done = look("status", "--socket", folder / "none.sock")
    assert done.returncode == 2 and "pleg status --runtime" in done.stderr


def test_not_let_in(containerd):
    """Who may not connect does not say that nobody listens."""
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    done = subprocess.run([*nobody, str(PLEG), "status", "-o", "json", "--runtime", containerd.endpoint], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    hop = json.loads(done.stdout)["runtime"]["hops"][0]
    assert done.returncode == 1 and not hop["ok"] and "no permission" in hop["message"] and "root" in hop["message"], hop
