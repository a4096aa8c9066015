"""The benches stand on the optimised build and on one private containerd with many pods, made once for all of them.

PLEG_BENCH_PODS sets how many (250). Run them alone: sudo PLEG_RELEASE=$PWD/build-release /usr/bin/python3 -m pytest -s tests/bench
"""

import concurrent.futures
import os
import pathlib
import shutil
import sys
import tempfile
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
os.environ["PLEG_BUILD"] = os.environ.get("PLEG_RELEASE", os.environ.get("PLEG_BUILD", str(ROOT / "build")))
PODS = int(os.environ.get("PLEG_BENCH_PODS", "250"))
WITH_CONTAINER = 60  # of the pods have a container beside the sandbox; the rest of the 250 are there to be looked at

sys.path.insert(0, str(ROOT / "tests/standin"))
sys.path.insert(0, str(ROOT / "tests/system"))


def pytest_configure(config):
    config.addinivalue_line("markers", "full: takes too long for ./test; run by ./test full")


def system():
    """tests/system/conftest.py, which has the same name as this file."""
    import importlib.util
    if "pleg_system" not in sys.modules:
        spec = importlib.util.spec_from_file_location("pleg_system", ROOT / "tests/system/conftest.py")
        sys.modules["pleg_system"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["pleg_system"])
    return sys.modules["pleg_system"]


class Pods:
    def __init__(self, daemon):
        self.daemon, self.count = daemon, PODS
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.sandboxes = list(pool.map(lambda i: daemon.cri.sandbox(f"p{i}"), range(PODS)))
            self.containers = list(pool.map(lambda s: daemon.cri.container(s, "c"), self.sandboxes[:WITH_CONTAINER]))


@pytest.fixture(scope="session")
def pods():
    for daemon in system()._containerd():
        yield Pods(daemon)


@pytest.fixture(scope="module")
def agent(pods):
    folder = tempfile.mkdtemp(prefix="pleg-b-", dir="/tmp")
    agent = system().Agent(folder, pods.daemon.endpoint)
    try:
        agent.wait_ready()
        settled(agent, pods.count)
        yield agent
    finally:
        agent.stop()
        shutil.rmtree(folder, ignore_errors=True)


def metric(agent, name):
    text = urllib.request.urlopen(f"http://127.0.0.1:{agent.metrics_port}/metrics", timeout=10).read().decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def settled(agent, watched):
    """Every init is watched, and the doctor has taken its first sample, which costs what later ones cost too, but these come seldom."""
    system().wait_for(lambda: agent.status()["agent"]["hints"]["watched"] >= watched, "every init is watched", 60)
    system().wait_for(lambda: metric(agent, "pleg_doctor_samples_total") >= 1, "the first sample of evidence is taken", 60)


def p99(values):
    return sorted(values)[max(0, int(len(values) * 0.99) - 1)]
