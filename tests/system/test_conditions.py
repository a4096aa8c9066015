"""What a real API client sees of a node with pleg on it: the agent with its api role against the stand-in API server (tests/kube),
beside a real containerd whose shim is stopped. Conditions with their times, Events of node and pod, the conditions of others, a
restart, an API server that is away meanwhile.
"""

import json
import os
import sys
import time
from datetime import datetime

import pytest

from conftest import ROOT, continued_after, wait_for
from test_groups_and_shims import parent_of

sys.path.insert(0, str(ROOT / "tests/kube"))
ApiServer = pytest.importorskip("apiserver", reason="no stand-in API server").ApiServer
OTHERS = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"},
          {"type": "KernelDeadlock", "status": "False", "reason": "KernelHasNoDeadlock", "message": "kernel has no deadlock"}]
TYPES = ("pleg.dev/PLEGUnhealthy", "pleg.dev/RuntimeUnhealthy", "pleg.dev/ContainersStuck")


@pytest.fixture
def api():
    with ApiServer() as server:
        server.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "test"}})
        server.add_node("testnode", status={"conditions": OTHERS})
        yield server


def conditions(api):
    return {c["type"]: c for c in api.get("nodes", "testnode")["status"]["conditions"]}


def status(api, name):
    return conditions(api).get(f"pleg.dev/{name}", {}).get("status")


def events(api):
    return [api.get("events", name, namespace) for namespace in ("default", "test") for name in api.names("events")
            if api.get("events", name, namespace)]


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def logged(agent, *words, within=30):
    """When the first line with these words was logged; waits for it."""
    def find():
        return next((line for line in agent.log.read_text().splitlines() if all(w in line for w in words)), None)
    line = wait_for(find, f"a line with {words}", within)
    return seconds(line.split()[0].removeprefix("time=")[:26] + "+00:00")


def arrived(api, name, status, since):
    """When the first write of this status since then got to the API server."""
    def has(body):
        return any(c["type"] == f"pleg.dev/{name}" and c["status"] == status for c in json.loads(body)["status"]["conditions"])
    return wait_for(lambda: next((at for at, body in api.arrivals("PATCH", "/status") if at >= since and has(body)), None), f"{name} {status}")


def start(start_agent, containerd, api, **more):
    kubeconfig = api.dir / "kubeconfig"
    api.kubeconfig(kubeconfig)
    return start_agent(containerd.endpoint, config=f"kubeconfig: {kubeconfig}\n", **more)


def test_a_stopped_shim_is_told_and_taken_back(own_containerd, start_agent, api):
    containerd = own_containerd
    sandbox = containerd.cri.sandbox("stuck")
    container = containerd.cri.container(sandbox, "main")
    agent = start(start_agent, containerd, api)
    agent.wait_ready()
    wait_for(lambda: all(status(api, t.partition("/")[2]) == "False" for t in TYPES), "all is well, and said")
    pid = next(k["pid"] for p in agent.pods() for c in p["containers"] if c["containerID"] == container and (k := c["kernel"]))
    with continued_after(parent_of(pid)):
        os.kill(parent_of(pid), 19)
        wait_for(lambda: status(api, "ContainersStuck") == "True", "the condition")
        first = conditions(api)["pleg.dev/ContainersStuck"]
        assert first["reason"] == "ShimStopped"
        assert "test/stuck" in first["message"]
        proven_at = logged(agent, "ShimStopped", "state=proven")
        assert -1 <= seconds(first["lastTransitionTime"]) - proven_at <= 1  # the API has whole seconds
        wait_for(lambda: any(e["reason"] == "ShimStopped" and e["involvedObject"]["kind"] == "Pod" for e in events(api)), "the pod's Event")

        # Killed and started again: the same times, and nothing said anew.
        before = conditions(api)
        agent.stop(9)
        agent = start(start_agent, containerd, api)
        agent.wait_ready()
        wait_for(lambda: "state=proven" in agent.log.read_text(), "it is found again")
        time.sleep(1)
        assert {t: conditions(api)[t]["lastTransitionTime"] for t in TYPES} == {t: before[t]["lastTransitionTime"] for t in TYPES}
        assert status(api, "ContainersStuck") == "True"
    wait_for(lambda: status(api, "ContainersStuck") == "False", "it is taken back", 60)
    # Whoever's condition it is, it is as it was.
    now = conditions(api)
    for other in OTHERS:
        assert {k: now[other["type"]].get(k) for k in other} == other
    mine = [e for e in events(api) if e["involvedObject"]["kind"] == "Node"]
    assert {e["involvedObject"]["uid"] for e in mine} == {"testnode"}
    writes = [r for r in api.requests if r[0] in ("PATCH", "POST")]
    assert len(writes) <= 14, writes  # two agents, one after the other, in less than two minutes


def test_told_within_a_second(containerd, start_agent, api):
    """From the line in the agent's log that opens or closes a finding to the request, as the API server reads it."""
    agent = start(start_agent, containerd, api)
    agent.wait_ready()
    wait_for(lambda: all(status(api, t.partition("/")[2]) == "False" for t in TYPES), "all is well, and said", 60)
    sandbox = containerd.cri.sandbox("brief")
    container = containerd.cri.container(sandbox, "main")
    pid = wait_for(lambda: next((k["pid"] for p in agent.pods() for c in p["containers"] if c["containerID"] == container and (k := c["kernel"])), None),
                   "the init is known")
    with continued_after(shim := parent_of(pid)):
        os.kill(shim, 19)
        opened = logged(agent, "ShimStopped", "test/brief", "state=proven")
        opening = arrived(api, "ContainersStuck", "True", opened) - opened
    closed = logged(agent, "Incident closed", "ShimStopped", "test/brief", within=120)
    closing = arrived(api, "ContainersStuck", "False", closed) - closed
    print(f"\nfrom the finding to the API server: opened {opening * 1000:.1f} ms, closed {closing * 1000:.1f} ms")
    containerd.cri.remove_pod(sandbox)
    assert opening < 1 and closing < 1


@pytest.mark.full  # pleg believes no silence for 15 s after its start
def test_an_api_server_that_is_away(containerd, start_agent, api):
    fault = api.add_fault("500", "PATCH", times=2)
    agent = start(start_agent, containerd, api)
    agent.wait_ready()
    wait_for(lambda: status(api, "PLEGUnhealthy") == "False", "told after two failures", 60)
    assert fault.hits == 2
    assert agent.status()["node"]["ready"] is True


def test_a_kubeconfig_that_is_not_there(containerd, start_agent):
    agent = start_agent(containerd.endpoint, config="kubeconfig: /nonexistent/kubeconfig\n")
    agent.wait_ready()
    wait_for(lambda: "The API server is told nothing" in agent.log.read_text(), "it is said")


def finding(agent, cause):
    return next((f for f in agent.status()["findings"] if f["cause"] == cause), None)


def proven(agent, cause):
    return (f := finding(agent, cause)) and f["confidence"] == "proven" and f


@pytest.mark.full  # a minute and more: requests that are silent, and the pauses behind them
def test_the_way_to_the_api_server(containerd, start_agent, api):
    """Silent, then refusing who we are: said as such, with times, and the runtime's word and the node's stay as they are."""
    agent = start(start_agent, containerd, api)
    agent.wait_ready()
    up = wait_for(lambda: (s := agent.status()["apiServer"]) and s["ok"] and s, "it answers")
    assert up["server"] == api.url and up["latencySeconds"] > 0
    text = agent.run("status").stdout
    assert "API server   answers on" in text
    silence = api.add_fault("silent", times=1000, seconds=30)
    api.drop_all_watches()
    away = wait_for(lambda: proven(agent, "ApiUnreachable"), "it is said to be away", 60)
    assert api.url in away["summary"] and away["subject"]["mount"] == api.url
    assert {"last request", "without a good answer"} <= {e["what"] for e in away["evidence"]}
    now = agent.status()
    assert now["node"]["ready"] and now["runtime"]["responsive"] and now["apiServer"]["awaySeconds"] > 3
    assert "DOES NOT ANSWER" in agent.run("status").stdout
    fault = api.add_fault("401", times=1000)
    silence.times = 0
    refused = wait_for(lambda: proven(agent, "CredentialExpired"), "it does not accept us", 60)
    assert refused["since"] > away["since"]  # each trouble has its own time
    assert finding(agent, "ApiUnreachable") is None
    fault.times = 0
    wait_for(lambda: agent.status()["apiServer"]["ok"] and not agent.status()["findings"], "all is well", 60)
    wait_for(lambda: all(status(api, t.partition("/")[2]) == "False" for t in TYPES), "none of it became a condition", 60)
