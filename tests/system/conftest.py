"""What the system tests stand on: the real pleg on a private socket and state folder, a real private containerd.

`containerd` is one daemon for a whole module; `own_containerd` one for a single test that stops or kills it. Nothing here touches a
runtime that was there before. Waiting is always for a condition with a generous deadline, never for a time to pass.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("PLEG_BUILD", ROOT / "build"))
PLEG = BUILD / "src/cli/pleg"
CRI = BUILD / "lab/pleg-cri"
BUSYBOX = "pleg.local/busybox:1"

sys.path.insert(0, str(ROOT / "lab"))
sys.path.insert(0, str(ROOT / "tests/standin"))
import control  # noqa: E402
from privatecontainerd import PrivateContainerd  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "full: takes too long for ./test; run by ./test full")
    config.addinivalue_line("markers", "node: needs the namespaces of the node (processes, network); all others are run in some of their own")
    config.addinivalue_line("markers", "alone: disturbs others, or is disturbed by them; run after the rest")


def wait_for(condition, what, seconds=30):
    """The first true value of condition(); fails with `what` after a generous time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.05)


@contextlib.contextmanager
def continued_after(pid, seconds=60):
    """Arms a SIGCONT that comes by itself, whatever happens to the test."""
    timer = subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -CONT {pid}"], start_new_session=True)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        os.killpg(timer.pid, signal.SIGKILL)
        timer.wait()


class Cri:
    """pleg-cri, a command-line CRI client over the project's own runtime library."""

    def __init__(self, endpoint, cgroup_parent=None):
        self.base = [str(CRI), "--runtime", endpoint]
        self.cgroup_parent = cgroup_parent

    def __call__(self, *arguments, check=True):
        done = subprocess.run([*self.base, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180)
        if check and done.returncode != 0:
            pytest.fail(f"pleg-cri {' '.join(map(str, arguments))}: {done.stderr}")
        return done.stdout.strip()

    def sandbox(self, name, attempt=0, namespace="test", host_network=True, uid=None):
        more = ["--host-network"] if host_network else []
        if self.cgroup_parent:
            more += ["--cgroup-parent", self.cgroup_parent]
        return self("run-sandbox", "--name", name, "--namespace", namespace, "--uid", uid or f"uid-{name}", "--attempt", attempt, *more)

    def container(self, sandbox, name, script="sleep 3600", attempt=0, env=()):
        more = [word for pair in env for word in ("--env", pair)]
        container = self("create", sandbox, "--name", name, "--image", BUSYBOX, "--attempt", attempt, *more, "--", "/bin/sh", "-c", script)
        self("start", container)
        return container

    def remove_pod(self, sandbox):
        self("stop-sandbox", sandbox)
        self("rm-sandbox", sandbox)

    def list(self):
        return [json.loads(line) for line in self("list").splitlines()]


class Agent:
    """A running `pleg agent` with a private control socket, and what it tells."""

    def __init__(self, folder, endpoint, config="", arguments=(), env=None, web=True, port=None, state=None, prefix=()):
        self.dir = pathlib.Path(folder)
        self.socket = self.dir / "pleg.sock"
        self.log = self.dir / "agent.log"
        self.config = self.dir / "pleg.yaml"
        self.metrics_port, self.http_port = port or free_port(), free_port()
        text = "apiVersion: pleg.dev/v1\nnodeName: testnode\n"
        text += f"stateDir: {self.dir / 'state' if state is None else state or json.dumps('')}\ncontrolSocket: {self.socket}\n"
        if endpoint:
            text += f"containerRuntimeEndpoint: {endpoint}\n"
        text += f"metricsAddress: 127.0.0.1:{self.metrics_port}\nhttpAddress: 127.0.0.1:{self.http_port}\n"
        self.config.write_text(text + config)
        self.process = subprocess.Popen([*prefix, str(PLEG), "agent", "--config", str(self.config), *arguments], stdin=subprocess.DEVNULL,
                                        stderr=self.log.open("a"), env={**os.environ, **(env or {})}, start_new_session=True)
        self.followers = []

    def run(self, *arguments, timeout=30):
        return subprocess.run([str(PLEG), *map(str, arguments), "--socket", str(self.socket)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout)

    def status(self):
        """None while there is no answer."""
        return control.status(self.socket)

    def pods(self):
        return control.ask(self.socket, "pods")["pods"]

    def wait_up(self):
        def up():
            assert self.process.poll() is None, f"the agent ended:\n{self.log.read_text()}"
            return self.status()
        return wait_for(up, "the agent answers")

    def wait_ready(self):
        self.wait_up()
        return wait_for(lambda: (s := self.status()) and s["pleg"]["lastRelistAgeSeconds"] is not None and s, "the first relist")

    def follow(self, *arguments):
        """Returns when the agent knows the follower: nothing of what happens from then on is missed."""
        before = self.status()
        follower = Follower([str(PLEG), "events", "-f", "-o", "json", "--socket", str(self.socket), *arguments])
        self.followers.append(follower)
        if before:
            wait_for(lambda: follower.process.poll() is not None or ((now := self.status()) and now["agent"]["control"]["streams"] != before["agent"]["control"]["streams"]),
                     "the follower is known")
        return follower

    def stop(self, sig=signal.SIGTERM):
        for follower in self.followers:
            follower.stop()
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"the agent did not end within 30 s of {sig!r}:\n{self.log.read_text()[-3000:]}")


class Follower:
    """Lines of `pleg events -f -o json`, gathered as they come."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.events = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            event["readAt"] = time.monotonic()
            self.events.append(event)

    def of(self, **fields):
        return [e for e in list(self.events) if all(e.get(k) == v for k, v in fields.items())]

    def wait(self, count=1, seconds=30, **fields):
        return wait_for(lambda: len(found := self.of(**fields)) >= count and found, f"{count} event(s) with {fields}; there are {self.events}", seconds)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(timeout=10)


def free_port():
    """One that the kernel does not give to clients meanwhile: below its range for them (32768, ip_local_port_range)."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", random.randrange(20000, 32000)))
            return s.getsockname()[1]


@pytest.fixture
def folder():
    # Not pytest's own: its paths are too long for unix sockets.
    path = pathlib.Path(tempfile.mkdtemp(prefix="pleg-t-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _containerd():
    path = tempfile.mkdtemp(prefix="pleg-c-", dir="/tmp")
    daemon = PrivateContainerd(path)
    try:
        daemon.start()
        daemon.cri = Cri(daemon.endpoint, daemon.cgroup_parent)
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture(scope="module")
def containerd():
    yield from _containerd()


@pytest.fixture
def own_containerd():
    yield from _containerd()


@pytest.fixture
def start_agent(folder):
    agents = []

    def start(endpoint, **options):
        agents.append(Agent(folder if not agents else pathlib.Path(tempfile.mkdtemp(dir=folder)), endpoint, **options))
        return agents[-1]

    yield start
    for agent in agents:
        agent.stop()
        text = agent.log.read_text()
        for word in ("AddressSanitizer", "LeakSanitizer", "runtime error:", "Assertion"):
            assert word not in text, text[-6000:]
