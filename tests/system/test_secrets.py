"""A secret in a container's environment occurs nowhere: not in the agent's log, its answers, its pages, its journal, its memory or its core. Verbose
CRI status carries the environment twice; pleg must never keep it."""

import os
import pathlib
import re
import urllib.request

from conftest import wait_for

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
