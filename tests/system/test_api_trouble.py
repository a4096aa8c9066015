"""What goes wrong on the way to the API server, and what must not come of it: the agent with its api role against the stand-in API
server (tests/kube) and a real containerd. Connections that are there and dead; a DNS server that never answers, which is a silent
socket of the test's own named in a private /etc/resolv.conf; an API server that is silent while containers die; others that write
the same node.
"""

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from conftest import ROOT, continued_after, wait_for
from test_conditions import OTHERS, TYPES, api, conditions, finding, proven, start, status  # noqa: F401
from test_groups_and_shims import parent_of

sys.path.insert(0, str(ROOT / "tests/kube"))
from store import BY_NAME  # noqa: E402
SILENT_DNS = "127.83.77.53"  # of the loopback net, and nobody else's


def up(agent, api):
    """Its first words have arrived, over a connection that is kept, and the pods are watched."""
    wait_for(lambda: all(status(api, t.partition("/")[2]) == "False" for t in TYPES), "all is well, and said", 60)
    wait_for(lambda: agent.status()["apiPods"]["state"] == "current", "the pods are watched")


def init_of(agent, container):
    return wait_for(lambda: next((k["pid"] for p in agent.pods() for c in p["containers"] if c["containerID"] == container and (k := c["kernel"])), None),
                    "the init is known")


@contextlib.contextmanager
def stuck_shim(containerd, agent, name):
    """A pod whose shim is stopped, which is continued by itself after a minute."""
    sandbox = containerd.cri.sandbox(name)
    shim = parent_of(init_of(agent, containerd.cri.container(sandbox, "main")))
    with continued_after(shim):
        os.kill(shim, signal.SIGSTOP)
        yield
    containerd.cri.remove_pod(sandbox)


# ---- connections that are there and dead ----

def evidence(f, what):
    return next(e["value"] for e in f["evidence"] if e["what"] == what)


@pytest.mark.parametrize("is_dead", [pytest.param(False, id="silent"), pytest.param(True, id="dead", marks=pytest.mark.full)])
def test_a_stale_connection(containerd, start_agent, api, is_dead):  # noqa: F811
    """The connections that are open stay so and nothing comes on them any more; new ones work. `silent`: whoever is there acknowledges, as a
    proxy that hangs; `dead`: nobody does. The next request finds it out, is told, and everything goes on over new connections."""
    agent = start(start_agent, containerd, api)
    agent.wait_ready()
    up(agent, api)
    watches = len(api.arrivals("GET", "watch=true"))
    api.freeze_connections(is_dead)
    # Something to say: a condition, and an Event.
    with stuck_shim(containerd, agent, f"stuck-{is_dead}".lower()):
        found = wait_for(lambda: proven(agent, "ApiConnectionStale"), "the finding", 50)
        # What could not be said is said.
        wait_for(lambda: status(api, "ContainersStuck") == "True", "the condition", 50)
    assert api.url in found["summary"] and found["subject"]["mount"] == api.url and found["severity"] == "warning"
    # By the first request, or by the kernel, which asks on a connection that is silent.
    assert re.fullmatch(rf"(PATCH|POST{'|WATCH' if is_dead else ''}) /api/v1/\S+, for [12]\d.*s", evidence(found, "without an answer"))
    where = next(e["where"] for e in found["evidence"] if e["what"] == "without an answer")
    assert re.fullmatch(rf"127\.0\.0\.1:\d+ to 127\.0\.0\.1:{api.port}", where)
    assert re.search(r"HTTP 200: .*connected .*, TLS .*, first byte ", evidence(found, "over a new connection"))
    unacked, retransmits = map(int, re.match(r"(\d+) segments not acknowledged, (\d+) retransmissions", evidence(found, "TCP at its end")).groups())
    acknowledged = float(re.search(r"the last acknowledgement ([\d.]+)(ms|s) ago", evidence(found, "TCP at its end")).expand(r"\1"))
    if is_dead:
        assert (unacked > 0 and retransmits > 0) or acknowledged >= 18
    else:
        assert (unacked, retransmits) == (0, 0)
    assert any(f"ss -tinp state established dst 127.0.0.1:{api.port}" in (a["command"] or "") for a in found["advice"])
    # Nobody took the server for away, and the watch was opened anew.
    assert finding(agent, "ApiUnreachable") is None and agent.status()["apiServer"]["ok"]
    assert "cause=ApiUnreachable" not in agent.log.read_text()
    wait_for(lambda: len(api.arrivals("GET", "watch=true")) > watches, "the watch is opened anew")
    assert agent.status()["apiPods"]["state"] == "current"
    # It is an Event of the node, and no condition.
    wait_for(lambda: any("ApiConnectionStale" in body for _, body in api.arrivals("POST", "/events")), "the Event", 60)
    assert not any("ApiConnectionStale" in c["reason"] for c in conditions(api).values())


@pytest.mark.full  # what the kernel waits until it gives up
def test_a_watch_that_is_dead(containerd, start_agent, api):  # noqa: F811
    """Nothing is asked, and the watch's connection dies: the kernel finds it out within 20 s, and it is the same finding."""
    agent = start(start_agent, containerd, api)
    agent.wait_ready()
    up(agent, api)
    watches = len(api.arrivals("GET", "watch=true"))
    api.freeze_connections(is_dead=True)
    found = wait_for(lambda: proven(agent, "ApiConnectionStale"), "the finding", 90)
    assert evidence(found, "without an answer").startswith("WATCH /api/v1/pods, for ")
    wait_for(lambda: len(api.arrivals("GET", "watch=true")) > watches, "the watch is opened anew")
    wait_for(lambda: agent.status()["apiPods"]["state"] == "current", "and heard")


# ---- names ----

@pytest.fixture
def silent_dns(folder):
    """A resolver that takes every question and answers none; the prefix of a command that has no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((SILENT_DNS, 53))
        s.settimeout(0.2)
        asked, ended = [], threading.Event()

        def take():
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    asked.append(s.recv(512))
        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        (folder / "resolv.conf").write_text(f"nameserver {SILENT_DNS}\n")
        mount = f'mount --bind {folder}/resolv.conf /etc/resolv.conf && exec "$0" "$@"'
        yield asked, ("unshare", "-m", "--propagation", "private", "sh", "-c", mount)
        ended.set()
        thread.join()


def test_a_dns_server_that_never_answers(containerd, start_agent, api, silent_dns):  # noqa: F811
    """Said as such, with its time; containers die and are told meanwhile, the node is ready, and the end waits for no name."""
    asked, prefix = silent_dns
    kubeconfig = api.dir / "kubeconfig"
    api.kubeconfig(kubeconfig, server=f"https://api.pleg-test.invalid:{api.port}")
    agent = start_agent(containerd.endpoint, config=f"kubeconfig: {kubeconfig}\n", prefix=prefix)
    agent.wait_ready()
    follower = agent.follow("--tail", "0")
    found = wait_for(lambda: proven(agent, "ApiUnreachable"), "it is said", 90)
    assert "has a name that cannot be resolved" in found["summary"]
    assert evidence(found, "last request").startswith("dns: ") and evidence(found, "end").startswith("after ")
    assert asked, "it asked, and was not answered"
    now = agent.status()
    assert now["node"]["ready"] and now["runtime"]["responsive"]
    assert now["apiServer"]["error"] == "dns" and now["apiServer"]["latencySeconds"] >= 4
    sandbox = containerd.cri.sandbox("nameless")
    container = containerd.cri.container(sandbox, "main")
    os.kill(init_of(agent, container), signal.SIGKILL)
    killed = time.monotonic()
    died = follower.wait(containerID=container, type="ContainerDied", confirmed=False)[0]
    assert died["readAt"] - killed < 3
    role = next(r["pid"] for r in agent.status()["agent"]["roles"] if r["role"] == "api")
    asked_before = len(asked)
    wait_for(lambda: len(asked) > asked_before, "a name is being asked for", 90)
    begin = time.monotonic()
    agent.stop()
    assert time.monotonic() - begin < 4, "a question takes 5 s"
    assert not os.path.exists(f"/proc/{role}")
    containerd.cri.remove_pod(sandbox)


# ---- nothing else is delayed ----

def deaths(agent, follower, containers):
    """Milliseconds from each kill to the line of a subscriber."""
    taken = []
    for container in containers:
        pid = init_of(agent, container)
        begin = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        taken.append((follower.wait(containerID=container, type="ContainerDied", confirmed=False)[0]["readAt"] - begin) * 1000)
    return taken


def test_a_silent_api_server_delays_no_event(containerd, start_agent, api):  # noqa: F811
    agent = start(start_agent, containerd, api)
    agent.wait_ready()
    up(agent, api)
    follower = agent.follow("--tail", "0")
    sandbox = containerd.cri.sandbox("many")
    made = [containerd.cri.container(sandbox, f"c{i}") for i in range(16)]
    calm = deaths(agent, follower, made[:8])
    api.freeze_connections()
    api.deaf.set()
    api.drop_all_watches()
    # Three tries and more of requests and of the watch are under way, or wait.
    wait_for(lambda: finding(agent, "ApiUnreachable"), "it is noticed", 60)
    silent = deaths(agent, follower, made[8:])
    assert agent.status()["apiServer"]["ok"] is False
    print(f"\nevent latency: API answers {statistics.median(calm):.2f} ms (worst {max(calm):.2f}), "
          f"is silent {statistics.median(silent):.2f} ms (worst {max(silent):.2f})")
    # A wait for the network would take seconds; what a busy machine takes is the same in both.
    assert statistics.median(silent) < 5 * statistics.median(calm) + 100
    assert max(silent) < 2000
    containerd.cri.remove_pod(sandbox)


# ---- others that write ----

def patch_status(api, body):  # noqa: F811
    """As node-problem-detector does, over TLS."""
    request = urllib.request.Request(f"{api.url}/api/v1/nodes/testnode/status?fieldManager=npd", method="PATCH", data=json.dumps(body).encode(),
                                     headers={"Authorization": "Bearer admin-token", "Content-Type": "application/strategic-merge-patch+json"})
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=api.certificates.ca), timeout=30) as answer:
        return json.load(answer)


def test_node_problem_detector_at_the_same_time(own_containerd, start_agent, api):  # noqa: F811
    """Four writers, each with a condition of its own, as fast as they can, while conditions of pleg come and go: in no version of the node
    is one of anybody's lost or set back."""
    ended = threading.Event()
    written = dict.fromkeys((f"Npd{i}" for i in range(4)), 0)

    def write(name):
        while not ended.is_set():
            patch_status(api, {"status": {"conditions": [{"type": name, "status": "False", "reason": "Fine", "message": str(written[name] + 1)}]}})
            written[name] += 1
            time.sleep(0.02)
    writers = [threading.Thread(target=write, args=(name,), daemon=True) for name in written]
    for writer in writers:
        writer.start()
    agent = start(start_agent, own_containerd, api)
    agent.wait_ready()
    up(agent, api)
    with stuck_shim(own_containerd, agent, "stuck"):
        wait_for(lambda: status(api, "ContainersStuck") == "True", "a condition comes", 50)
    wait_for(lambda: status(api, "ContainersStuck") == "False", "and goes", 120)
    ended.set()
    for writer in writers:
        writer.join(30)
    assert min(written.values()) > 50, written
    now = conditions(api)
    assert {n: int(now[n]["message"]) for n in written} == written
    seen, last = set(), dict.fromkeys(written, 0)
    for _, _, name, node, _ in api.store.log:
        if name != "nodes":
            continue
        have = {c["type"]: c for c in node["status"]["conditions"]}
        assert len(have) == len(node["status"]["conditions"]) and seen <= set(have), "nobody's is lost"
        seen |= set(have)
        for n in last:
            if n in have:
                assert int(have[n]["message"]) >= last[n]
                last[n] = int(have[n]["message"])
    assert seen == set(written) | set(TYPES) | {o["type"] for o in OTHERS}
    for other in OTHERS:
        assert {k: now[other["type"]].get(k) for k in other} == other
    ours = [body for _, body in api.arrivals("PATCH", "/nodes/testnode/status.*fieldManager=pleg")]
    assert 2 <= len(ours) <= 12
    assert all(c["type"] in TYPES for body in ours for c in json.loads(body)["status"]["conditions"])


# ---- kubectl ----

def test_kubectl_describe_reads_well(containerd, start_agent, api):  # noqa: F811
    """The conditions and Events of a node that has a problem and of the pod that has it, as the people who look at them see them."""
    if not os.access("/usr/bin/kubectl", os.X_OK):
        pytest.skip("NO KUBECTL HERE: how `kubectl describe node` reads is not tested")
    kubeconfig = api.dir / "kubectl.kubeconfig"
    api.kubeconfig(kubeconfig)
    agent = start(start_agent, containerd, api)
    agent.wait_ready()
    up(agent, api)
    api.add_pod("stuck", "testnode", namespace="test", uid="uid-stuck")

    def describe(*what):
        return subprocess.run(["/usr/bin/kubectl", "--kubeconfig", str(kubeconfig), "describe", *what], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)

    with stuck_shim(containerd, agent, "stuck"):
        wait_for(lambda: status(api, "ContainersStuck") == "True", "the condition", 50)
        for namespace in ("default", "test"):  # the node's Events and the pod's
            wait_for(lambda where=namespace: any('"ShimStopped"' in body for _, body in api.arrivals("POST", f"/{where}/events")), "the Event", 50)
        node, pod = describe("node", "testnode"), describe("pod", "-n", "test", "stuck")
    assert node.returncode == 0, node.stderr
    print("\n" + node.stdout)
    rows = node.stdout.splitlines()
    begin = rows.index("Conditions:")
    table = {r.split()[0]: r for r in rows[begin + 3:begin + 3 + len(OTHERS) + len(TYPES)]}
    assert set(table) == {o["type"] for o in OTHERS} | set(TYPES)
    assert "<unknown>" not in "".join(table[t] for t in TYPES), "each has its times"
    assert re.search(r"True .*\S+ \S+", table["pleg.dev/ContainersStuck"])
    assert "PLEGIsHealthy" in table["pleg.dev/PLEGUnhealthy"] and "RuntimeIsHealthy" in table["pleg.dev/RuntimeUnhealthy"]
    told = [r for r in rows[rows.index("Events:"):] if "ShimStopped" in r and "test/stuck" in r]
    assert told and told[0].split()[0] == "Warning" and " pleg" in told[0]
    assert pod.returncode == 0 and "ShimStopped" in pod.stdout[pod.stdout.index("Events:"):], pod
