"""What pleg costs under load, and what it costs the runtime: CPU of the agent and of a private containerd with a list every second and
with `relistPeriod: auto`; CPU under 2,000 forks a second; CPU of a start of many pods at once.

What the containerd spends on us is what one call costs it, measured in the same run over many, times how often the agent asks.
"""

import concurrent.futures
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request

import grpc
import pytest
from conftest import SAMPLES, Reference, between_samples, metric, quietest, settled, system
from test_agent import cpu_ns

FORKS = 2000
STARTS = 100


class Cost:
    """Shares of a core, of several processes over the same seconds."""

    def __init__(self, **pids):
        self.pids = pids

    def over(self, seconds):
        before, at = {k: cpu_ns(p) for k, p in self.pids.items()}, time.monotonic()
        time.sleep(seconds)
        passed = (time.monotonic() - at) * 1e9
        return {k: (cpu_ns(p) - before[k]) / passed for k, p in self.pids.items()}


def run_agent(daemon, watched, config=""):
    folder = tempfile.mkdtemp(prefix="pleg-b-", dir="/tmp")
    agent = system().Agent(folder, daemon.endpoint, config=config)
    agent.folder = folder
    agent.wait_ready()
    settled(agent, watched)
    return agent


def end(agent):
    agent.stop()
    shutil.rmtree(agent.folder, ignore_errors=True)


# What the agent asks again and again, by the operation_type of its own metric.
CALLS = {"list_podsandbox": "ListPodSandbox", "list_containers": "ListContainers", "version": "Version", "status": "Status"}


def cost_of_calls(daemon, count=200):
    """Milliseconds of the containerd's CPU for one call of each kind, over many of them: so few a second would drown in its own noise."""
    costs = {}
    with grpc.insecure_channel(f"unix:{daemon.socket}") as channel:
        for kind, method in CALLS.items():
            call = channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")
            before = cpu_ns(daemon.process.pid)
            for _ in range(count):
                call(b"", timeout=30)
            costs[kind] = (cpu_ns(daemon.process.pid) - before) / 1e6 / count
    return costs


def operations(agent):
    text = urllib.request.urlopen(f"http://127.0.0.1:{agent.metrics_port}/metrics", timeout=10).read().decode()
    return {m[1]: float(m[2]) for m in re.finditer(r'^kubelet_runtime_operations_total\{operation_type="(\w+)"\} (\S+)$', text, re.MULTILINE)}


def share_and_calls(agent, seconds):
    before = operations(agent)
    share = Cost(agent=agent.process.pid).over(seconds)["agent"]
    return share, {k: v - before.get(k, 0) for k, v in operations(agent).items() if v > before.get(k, 0)}


def compare(daemon, pods, seconds):
    """With a list a second, and with auto at its longest: the agent's share of a core, and of the containerd's CPU what it asks for a second."""
    costs = cost_of_calls(daemon)
    print(f"{pods} pods, CPU of the containerd: " + ", ".join(f"{CALLS[k]} {v:.2f} ms" for k, v in costs.items()))
    agents, on_us = {}, {}
    for name, config in (("1 s", "relistPeriod: 1s\n"), ("auto", "relistPeriod: auto\n")):
        agent = run_agent(daemon, pods, config)
        try:
            longest = 10 if name == "auto" else 1
            system().wait_for(lambda: agent.status()["pleg"]["relistPeriodSeconds"] >= longest, f"the period is {longest} s", 120)
            agents[name], asked = quietest(lambda: between_samples(agent, lambda: share_and_calls(agent, seconds)), lambda r: r[0] < 0.003)
        finally:
            end(agent)
            assert set(asked) <= set(costs), f"asked for what was not measured: {asked}"
        on_us[name] = sum(costs[k] * asked.get(k, 0) for k in costs) / seconds
        print(f"{pods} pods, relistPeriod {name}: agent {agents[name]:.3%} of a core; in {seconds} s it asked "
              + ", ".join(f"{v:.0f} {CALLS[k]}" for k, v in asked.items()) + f": {on_us[name]:.2f} ms of the containerd's CPU a second")
    return agents, on_us


def test_auto_costs_the_runtime_less(pods):
    with Reference() as reference:
        agents, on_us = compare(pods.daemon, pods.count, 20)
    print(f"with auto the containerd spends {on_us['auto'] / on_us['1 s']:.2f} of what a list a second costs (budget 0.2)")
    assert on_us["auto"] < on_us["1 s"] / 5
    assert max(agents.values()) < 0.003 * reference.slowness


@pytest.mark.full
@pytest.mark.parametrize("count", [0, 50])
def test_fewer_pods(count):
    for daemon in system()._containerd():
        for i in range(count):
            daemon.cri.sandbox(f"p{i}")
        compare(daemon, count, 30)


def test_forks(agent, pods):
    """The agent's share while somebody else forks 2,000 times a second."""
    def storm():
        made = subprocess.Popen([str(system().BUILD / "tests/bench/bench-forks"), str(FORKS), "10"], stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        return Cost(agent=agent.process.pid).over(8)["agent"], int(made.communicate(timeout=60)[0])

    with Reference() as reference:
        share, made = quietest(lambda: between_samples(agent, storm), lambda r: r[0] < 0.02)
    print(f"{made / 10:.0f} forks a second, {pods.count} pods: agent {share:.3%} of a core (budget 2 %)")
    assert made > FORKS * 10 * 0.8, "the machine could not make the storm"
    assert share < 0.02 * reference.slowness


def test_starts_at_once(agent, pods):
    """Pods that start and go as fast as the runtime can: every one is told, and what that costs stands beside the runtime's own cost."""
    follower = agent.follow("--tail", "0")
    cost = {"agent": agent.process.pid, "runtime": pods.daemon.process.pid}
    before, samples = {k: cpu_ns(p) for k, p in cost.items()}, metric(agent, SAMPLES)
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sandboxes = list(pool.map(lambda i: pods.daemon.cri.sandbox(f"burst{i}"), range(STARTS)))
        started = time.monotonic()
        system().wait_for(lambda: len(follower.of(type="ContainerStarted", confirmed=True)) >= STARTS, "all starts are told", 60)
        told = time.monotonic()
        spent = {k: (cpu_ns(p) - before[k]) / 1e6 for k, p in cost.items()}
        samples = metric(agent, SAMPLES) - samples
        list(pool.map(pods.daemon.cri.remove_pod, sandboxes))
    system().wait_for(lambda: len(follower.of(type="ContainerRemoved")) >= STARTS, "all removals are told", 60)
    follower.stop()
    if samples:
        looked = samples * metric(agent, "pleg_doctor_sample_cpu_seconds") * 1e3
        print(f"{samples:.0f} samples of evidence fell into it, {looked:.0f} ms of CPU, which are left out")
        spent["agent"] -= looked
    print(f"{STARTS} pods started in {started - begun:.1f} s, the last one told {max(0, told - started) * 1e3:.0f} ms after: "
          f"agent {spent['agent']:.0f} ms of CPU, containerd {spent['runtime']:.0f} ms, {spent['agent'] / spent['runtime']:.2f} of it")
    assert spent["agent"] < spent["runtime"] / 4
    assert sorted(e["containerID"] for e in follower.of(type="ContainerStarted", confirmed=True)) == sorted(sandboxes)
