"""A secret in a container's environment occurs nowhere: not in the agent's log, its answers, its pages, its journal, its memory or its core. Verbose
CRI status carries the environment twice; pleg must never keep it."""

import os
import pathlib
import re
import tempfile
import urllib.request

from conftest import wait_for
from privatedocker import PrivateDocker

CANARY = "canary-" + "5e0f7c" * 4


def memory_of(pid):
    """What a core of it would hold: every readable private or file mapping."""
    found = bytearray()
    with open(f"/proc/{pid}/mem", "rb") as memory:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, permissions = line.split()[:2]
            if "r" not in permissions or "[v" in line:
                continue
            start, end = (int(x, 16) for x in span.split("-"))
            if end - start > 1 << 30:
                continue  # The sanitizer's shadow.
            try:
                memory.seek(start)
                found += memory.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue
    return bytes(found)


def children_of(pid):
    return [int(p) for p in os.listdir("/proc") if p.isdigit() and pathlib.Path(f"/proc/{p}/stat").exists()
            and re.search(r"\) \S (\d+)", pathlib.Path(f"/proc/{p}/stat").read_text()).group(1) == str(pid)]


def test_a_secret_occurs_nowhere(containerd, start_agent):
    agent = start_agent(containerd.endpoint, arguments=["--log-level", "debug"])
    agent.wait_ready()
    follower = agent.follow("--tail", "100")
    sandbox = containerd.cri.sandbox("secret")
    container = containerd.cri.container(sandbox, "keeps", "sleep 3600", env=[f"PASSWORD={CANARY}"])
    dies = containerd.cri.container(sandbox, "dies", "exit 1", env=[f"PASSWORD={CANARY}"])
    follower.wait(containerID=dies, type="ContainerDied")
    follower.wait(containerID=container, type="ContainerStarted")
    texts = [agent.log.read_text(), str(agent.status()), str(agent.pods()), str(follower.events), agent.run("pods").stdout]
    for url in (f"http://127.0.0.1:{agent.metrics_port}/metrics", f"http://127.0.0.1:{agent.http_port}/api/v1/pods"):
        texts.append(wait_for(lambda u=url: urllib.request.urlopen(u, timeout=10).read().decode(), url))
    assert all(CANARY not in text for text in texts)
    assert "keeps" in texts[2], "the container itself is known"
    wait_for(lambda: agent.status()["agent"]["journal"]["waiting"] == 0, "the journal is written")
    journal = b"".join(path.read_bytes() for path in (agent.dir / "state").iterdir())
    assert container.encode() in journal and CANARY.encode() not in journal
    for pid in (agent.process.pid, *children_of(agent.process.pid)):
        memory = memory_of(pid)
        assert CANARY.encode() not in memory
        if pid == agent.process.pid:
            assert container.encode() in memory, "the scan sees what is there"
    containerd.cri.remove_pod(sandbox)


def test_a_secret_of_docker_occurs_nowhere(start_agent):
    """Docker's inspections carry the environment, its lists the command, its events of exec'd processes their command."""
    docker = PrivateDocker(tempfile.mkdtemp(prefix="pleg-d-", dir="/tmp"))
    try:
        engine = docker.start().engine
        agent = start_agent(docker.endpoint, arguments=["--log-level", "debug"])
        agent.wait_ready()
        follower = agent.follow("--tail", "100")
        wait_for(lambda: agent.status()["agent"]["hints"]["stream"] == "up", "the event stream is up")
        keeps = engine.run("keeps", f"sleep 3600 # {CANARY}", env=[f"PASSWORD={CANARY}", *(f"E{i}={CANARY}" * 20 for i in range(200))])
        dies = engine.run("dies", "exit 1", env=[f"PASSWORD={CANARY}"])
        follower.wait(containerID=dies, type="ContainerDied")
        follower.wait(containerID=keeps, type="ContainerStarted")
        run = engine.call("POST", f"/containers/{keeps}/exec", {"Cmd": ["/bin/echo", CANARY], "AttachStdout": False})
        engine.call("POST", f"/exec/{run['Id']}/start", {"Detach": True})
        engine.kill(keeps)
        follower.wait(containerID=keeps, type="ContainerDied", confirmed=True)
        texts = [agent.log.read_text(), str(agent.status()), str(agent.pods()), str(follower.events)]
        assert all(CANARY not in text for text in texts) and "keeps" in texts[2]
        # A list or an inspection may be under way at any moment; what stays is in every look.
        for pid in (agent.process.pid, *children_of(agent.process.pid)):
            wait_for(lambda p=pid: CANARY.encode() not in memory_of(p), f"nothing of it stays in {pid}", 10)
    finally:
        docker.stop()
