"""From the death of an init to the line that a subscriber reads, with 50 containers on a real Docker Engine, dockerd answering and dockerd
stopped; beside a bare pidfd waiter for the same deaths in the same run (bench-death.c, which test_death.py uses as well).

Twenty deaths a round; whoever died is started again before the next one. What else goes on in a machine adds to what a death takes, so who
dies, who waits and the agent all run before it (SCHED_FIFO), and the best of a few rounds counts: the provisional median must be below 1 ms
where the bare waiter's leaves room for it, and within half a millisecond of it in any case. While dockerd is stopped each death must be told
within 10 ms of when the bare waiter knew of it, and gets one confirmation afterwards.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

import pytest
from conftest import ROOT, p99, system

sys.path.insert(0, str(ROOT / "lab"))
from privatedocker import PrivateDocker  # noqa: E402

CONTAINERS, DEATHS = 50, 20
BUDGET_MS, ROOM_MS = 1, 0.7  # of the median; up to which median of the bare waiter it must be kept
MORE_MS = 0.5                # than the bare waiter's median, however busy the machine is
STOPPED_MS = 10              # more than the bare waiter, each death
ROUNDS = 4


@pytest.fixture(scope="module")
def docker():
    daemon = PrivateDocker(tempfile.mkdtemp(prefix="pleg-d-", dir="/tmp"))
    try:
        daemon.start()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            daemon.ids = list(pool.map(lambda i: daemon.engine.run(f"c{i}"), range(CONTAINERS)))
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture(scope="module")
def agent(docker):
    folder = tempfile.mkdtemp(prefix="pleg-b-", dir="/tmp")
    agent = system().Agent(folder, docker.endpoint)
    try:
        agent.wait_ready()
        yield agent
    finally:
        agent.stop()
        shutil.rmtree(pathlib.Path(folder), ignore_errors=True)


def all_alive(agent, docker):
    """Starts who is dead, and waits until the agent agrees and watches each of them."""
    dead = [one["Id"] for one in docker.engine.list() if one["State"] != "running"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(docker.engine.start, dead))
    system().wait_for(lambda: (s := agent.status()) and s["agent"]["hints"]["watched"] >= CONTAINERS and s["differences"] == 0, "every init is watched", 60)


def run_first(pid=0):
    """Before all that is not urgent, whatever cgroup it is in. All of those whose times are compared, or it would not be fair."""
    with contextlib.suppress(PermissionError):  # where cgroups share out real time; then it is as it is
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))


def deaths(agent, docker, ids, *options):
    pids = {i: docker.engine.inspect(i)["State"]["Pid"] for i in ids}
    for pid in (*pids.values(), agent.process.pid):
        run_first(pid)
    command = [str(system().BUILD / "tests/bench/bench-death"), *options, str(agent.socket), *[f"{i}:{pid}" for i, pid in pids.items()]]
    return command


def run(command):
    """(bare, provisional, confirmed) in milliseconds, of each death."""
    out = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True, preexec_fn=run_first).stdout
    rows = [tuple(int(x) / 1e6 for x in line.split()) for line in out.splitlines()]
    assert len(rows) == DEATHS and all(x >= 0 for row in rows for x in row[:2]), rows
    return list(zip(*rows))


def say(what, bare, values):
    median, of_bare = statistics.median(values), statistics.median(bare)
    print(f"{what}: median {median:.3f} ms, p99 {p99(values):.3f} ms, slowest {max(values):.3f} ms; the bare waiter {of_bare:.3f}, {p99(bare):.3f}, "
          f"{max(bare):.3f} ms: {median / of_bare:.1f} x, {median - of_bare:.3f} ms more ({CONTAINERS} containers, {len(values)} deaths)")


def test_death_to_subscriber(agent, docker):
    medians = []
    for _ in range(ROUNDS):
        all_alive(agent, docker)
        bare, provisional, confirmed = run(deaths(agent, docker, docker.ids[:DEATHS]))
        assert min(confirmed) >= 0, confirmed
        say("provisional event, Docker", bare, provisional)
        say("confirmed event, Docker", bare, confirmed)
        medians.append((statistics.median(provisional), statistics.median(bare)))
        if medians[-1][0] < BUDGET_MS:
            break
    best, of_bare = min(medians)
    with_room = [one for one in medians if one[1] <= ROOM_MS]
    assert min(provisional - bare for provisional, bare in medians) < MORE_MS, medians
    if with_room:
        assert min(with_room)[0] < BUDGET_MS, medians
    elif best >= BUDGET_MS:
        print(f"NOT SHOWN that it is below {BUDGET_MS} ms: on this machine the bare waiter alone takes {of_bare:.3f} ms")


def one_confirmation_each(agent, ids, before):
    """Of the deaths of this round; each provisional one is confirmed once, and stays so when both ledgers agree."""
    def told(container):
        return [e for e in follower.of(containerID=container) if e["type"] == "ContainerDied" and e["sequence"] > before]

    follower = agent.follow("--since-sequence", str(before))
    s = system()
    for container in ids:
        s.wait_for(lambda c=container: [e for e in told(c) if e["confirmed"]], "the confirmation")
    s.wait_for(lambda: (status := agent.status()) and status["runtime"]["responsive"] and status["differences"] == 0, "both ledgers agree", 60)
    for container in ids:
        provisional = [e["sequence"] for e in told(container) if not e["confirmed"]]
        assert len(provisional) == 1 and [e["confirms"] for e in told(container) if e["confirmed"]] == provisional, told(container)
    follower.stop()


def last_sequence(agent):
    return json.loads(agent.run("events", "-o", "json", "--tail", "1").stdout.splitlines()[-1])["sequence"]


def test_deaths_while_dockerd_is_stopped(agent, docker):
    s, rounds = system(), []
    for _ in range(ROUNDS):
        all_alive(agent, docker)
        ids, before = docker.ids[:DEATHS], last_sequence(agent)
        command = deaths(agent, docker, ids, "--wait", "200")  # no confirmation comes
        with s.continued_after(docker.pid):
            docker.kill(signal.SIGSTOP)
            bare, provisional, confirmed = run(command)
        assert max(confirmed) < 0, "nobody else can know"
        say("provisional event, dockerd stopped", bare, provisional)
        one_confirmation_each(agent, ids, before)
        rounds.append(max(told - known for told, known in zip(provisional, bare)))
        print(f"at most {rounds[-1]:.3f} ms after the bare waiter knew of it")
        if rounds[-1] < STOPPED_MS:
            break
    assert min(rounds) < STOPPED_MS, rounds
