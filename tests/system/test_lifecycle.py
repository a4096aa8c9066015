"""The agent as a service: signals in every phase, two agents on one socket, readiness and watchdog of systemd against a notify socket
of the test's own, bad configuration, no runtime at all."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time

import pytest
from conftest import PLEG, Agent, wait_for

pytestmark = pytest.mark.node  # the process connector tells nobody in another one


def test_sigterm_in_every_phase(containerd, folder):
    """Right after the start, at some moments of it, and when it runs: exit 0, no socket left behind, within the deadline."""
    for i, delay in enumerate((0, 0.01, 0.03, 0.1, 0.3, 1.0)):
        path = folder / str(i)
        path.mkdir()
        agent = Agent(path, containerd.endpoint)
        time.sleep(delay)
        code = agent.stop()
        # Before the handler is there, the signal itself ends it; that is clean as well.
        assert code in (0, -signal.SIGTERM), (delay, code, agent.log.read_text())
        assert not agent.socket.exists() or code == -signal.SIGTERM


def test_sigterm_while_no_runtime_answers(folder):
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(folder / "silent.sock"))
    silent.listen(4)
    agent = Agent(folder, f"unix://{folder}/silent.sock")
    agent.wait_up()
    assert agent.stop() == 0
    silent.close()


def test_second_sigterm_ends_at_once(containerd, start_agent):
    agent = start_agent(containerd.endpoint)
    agent.wait_ready()
    agent.process.send_signal(signal.SIGTERM)
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(timeout=10) is not None
    left = [p for p in os.listdir("/proc") if p.isdigit() and int(p) > agent.process.pid and _is_child_of(p, agent.process.pid)]
    assert not left


def _is_child_of(pid, parent):
    try:
        return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1]) == parent
    except OSError:
        return False


def test_nothing_of_it_outlives_kill_9(containerd, folder):
    agent = Agent(folder, containerd.endpoint)
    status = agent.wait_ready()
    pids = [r["pid"] for r in status["agent"]["roles"]]
    assert pids
    agent.process.kill()
    agent.process.wait()
    wait_for(lambda: not any(os.path.exists(f"/proc/{p}") for p in pids), "the roles ended with it")
    again = Agent(folder, containerd.endpoint)
    again.wait_ready()  # The stale socket is replaced.
    assert again.stop() == 0


def test_two_agents_on_one_socket(containerd, start_agent, folder):
    first = start_agent(containerd.endpoint)
    first.wait_ready()
    second = subprocess.run([PLEG, "agent", "--config", first.config], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert str(first.socket) in second.stderr and str(first.process.pid) in second.stderr
    assert first.status(), "the first one goes on"


def test_readiness_and_watchdog(containerd, folder):
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(folder / "notify"))
    notify.settimeout(30)
    agent = Agent(folder, containerd.endpoint, env={"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "400000"})
    seen = []

    def read_until(word, count=1):
        while sum(word in line for line in seen) < count:
            seen.extend(notify.recv(65536).decode().splitlines())

    read_until("READY=1")
    assert agent.status(), "ready means that it answers"
    read_until("WATCHDOG=1", 5)
    assert agent.stop() == 0
    read_until("STOPPING=1")
    notify.close()


def test_ready_is_told_though_the_runtime_hangs(folder):
    """systemd must not wait for a sick runtime."""
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(folder / "silent.sock"))
    silent.listen(4)
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(folder / "notify"))
    notify.settimeout(30)
    agent = Agent(folder, f"unix://{folder}/silent.sock", env={"NOTIFY_SOCKET": str(folder / "notify")})
    text = ""
    while "READY=1" not in text:
        text += notify.recv(65536).decode()
    assert agent.stop() == 0
    notify.close()
    silent.close()


def test_bad_configuration_names_line_and_column(folder):
    rows = [
        ("apiVersion: pleg.dev/v1\nrelistPeriodd: 1s\n", ":2:1:", "relistPeriod"),
        ("apiVersion: pleg.dev/v1\nrelistThreshold: [1]\n", ":2:", "relistThreshold"),
        ("apiVersion: pleg.dev/v2\n", ":1:", "pleg.dev/v1"),
        ("apiVersion: pleg.dev/v1\nrelistPeriod: fast\n", ":2:", "relistPeriod"),
        ("apiVersion: {\n", ":", "pleg.yaml"),
    ]
    for text, where, what in rows:
        (folder / "pleg.yaml").write_text(text)
        done = subprocess.run([PLEG, "agent", "--config", folder / "pleg.yaml"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        assert done.returncode in (1, 2), done
        assert where in done.stderr and what in done.stderr, (text, done.stderr)
    done = subprocess.run([PLEG, "agent", "--config", folder / "absent.yaml"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and "absent.yaml" in done.stderr


def test_the_reason_is_told_before_the_end(folder):
    """systemd kills what is left of a service as soon as its main process has ended: the log pump is given a second before that, and
    no more, though nobody reads."""
    out, err = os.pipe()
    os.set_blocking(err, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(err, b"." * 4096)
    os.set_blocking(err, True)
    begin = time.monotonic()
    agent = subprocess.Popen([PLEG, "agent", "--config", folder / "absent.yaml"], stdin=subprocess.DEVNULL, stderr=err)
    os.close(err)
    assert agent.wait(timeout=30) == 1
    assert time.monotonic() - begin >= 0.9
    with os.fdopen(out) as lines:
        assert "absent.yaml" in lines.read()


def test_a_port_that_is_taken_costs_the_pages_only(folder):
    """Any user of the node can take it; an agent that is kept from starting by that could be kept from it by anybody."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        agent = Agent(folder, f"unix://{folder}/none.sock", port=taken.getsockname()[1])
        status = agent.wait_up()
        assert any("metricsAddress" in w and "in use" in w for w in status["agent"]["warnings"])
        assert not [r for r in status["agent"]["roles"] if r["role"] == "web"]
        assert agent.stop() == 0


def test_web_role_that_dies_again_and_again(containerd, start_agent):
    agent = start_agent(containerd.endpoint)
    agent.wait_ready()

    def web():
        return next(r for r in agent.status()["agent"]["roles"] if r["role"] == "web")

    for _ in range(3):
        before = wait_for(lambda: (r := web())["state"] == "running" and r["pid"] and r, "the web role runs")
        os.kill(before["pid"], signal.SIGKILL)
        after = wait_for(lambda: (r := web())["state"] == "running" and r["pid"] != before["pid"] and r, "it runs again", 60)
        assert after["restarts"] == before["restarts"] + 1
    assert agent.status()["runtime"]["responsive"]
