"""The node's pods as the API server has them, beside the runtime's and the kernel's word: the agent with its api role against the
stand-in API server (tests/kube) and a real containerd. Pods are made through CRI with the labels of a kubelet, which is not there; the
stand-in has the objects, and tests change them as a kubelet or a person would.
"""

import os
import signal
import sys
import uuid

import pytest
import yaml

from conftest import PLEG, ROOT, continued_after, wait_for
from test_groups_and_shims import parent_of

sys.path.insert(0, str(ROOT / "tests/kube"))
ApiServer = pytest.importorskip("apiserver", reason="no stand-in API server").ApiServer
from store import BY_NAME  # noqa: E402

HASH = "5d4f8c6b9"


@pytest.fixture
def api():
    with ApiServer() as server:
        server.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "test"}})
        server.add_node("testnode")
        yield server


def pod_object(name, uid, containers=(), owner=None, grace=1, **metadata):
    """What the API server has of a pod that runs on this node."""
    meta = {"name": name, "namespace": "test", "uid": uid, **metadata}
    if owner:
        kind, _, owner_name = owner.partition("/")
        meta["ownerReferences"] = [{"apiVersion": "apps/v1", "kind": kind, "name": owner_name, "uid": f"uid-{owner_name}", "controller": True}]
    statuses = [{"name": f"c{i}", "containerID": f"containerd://{c}", "state": {"running": {}}} for i, c in enumerate(containers)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta,
            "spec": {"nodeName": "testnode", "terminationGracePeriodSeconds": grace, "containers": [{"name": "main"}]},
            "status": {"phase": "Running", "containerStatuses": statuses}}


def start(start_agent, containerd, api, token="admin-token"):
    kubeconfig = api.dir / "kubeconfig"
    api.kubeconfig(kubeconfig, token=token)
    agent = start_agent(containerd.endpoint, config=f"kubeconfig: {kubeconfig}\n")
    agent.wait_ready()
    wait_for(lambda: agent.status()["apiPods"]["state"] == "current", "the first list")
    return agent


def pod_of(agent, name):
    return next((p for p in agent.pods() if p["pod"] == name), None)


def init_of(agent, container):
    return next(c["kernel"]["pid"] for p in agent.pods() for c in p["containers"] if c["containerID"] == container)


def make(containerd, api, name, **more):
    """A pod of one container in both; its uid and the container's id."""
    uid = str(uuid.uuid4())
    sandbox = containerd.cri.sandbox(name, uid=uid)
    container = containerd.cri.container(sandbox, "main")
    api.add(pod_object(name, uid, [container], **more))
    return uid, container


def test_owners(containerd, start_agent, api):
    """A list in pages, then what changes: the owner that people know stands beside each pod. With the rights that the manifests give, and
    no other."""
    documents = list(yaml.safe_load_all((ROOT / "deploy/kustomize/access/agent.yaml").read_text()))
    rules = next(d["rules"] for d in documents if d["kind"] == "ClusterRole")
    api.add_user("system:serviceaccount:pleg-system:pleg-agent", rules=rules, token="agent-token")
    make(containerd, api, "web", owner=f"ReplicaSet/web-{HASH}", labels={"pod-template-hash": HASH})
    for i in range(45):  # beyond one page
        api.add(pod_object(f"other-{i}", str(uuid.uuid4())))
    api.add({**pod_object("elsewhere", str(uuid.uuid4())), "spec": {"nodeName": "another"}})
    agent = start(start_agent, containerd, api, "agent-token")
    assert agent.status()["apiPods"]["pods"] == 46
    assert pod_of(agent, "web")["owner"] == "Deployment/web"
    assert pod_of(agent, "web")["api"] == {"phase": "Running", "deleting": False, "deletionTimestamp": None, "deleted": False}
    assert "Deployment/web" in agent.run("pods").stdout

    make(containerd, api, "db-0", owner="StatefulSet/db")
    wait_for(lambda: (p := pod_of(agent, "db-0")) and p["owner"] == "StatefulSet/db", "told by the watch")
    # The server forgets where the watch was: a new list, and nothing is lost.
    api.store.remove(BY_NAME["pods"], "test", "other-0")
    api.store.compact()
    api.drop_all_watches()
    wait_for(lambda: agent.status()["apiPods"]["pods"] == 46, "listed anew")
    lists = [r for r in api.requests if r[0] == "GET" and "/pods?" in r[1] and "watch=true" not in r[1]]
    assert all("fieldSelector=spec.nodeName%3Dtestnode" in r[1] and "limit=" in r[1] for r in lists)
    assert len(lists) >= 6


def difference(agent, name):
    """What `pleg pods` says of a pod or of its containers, by the API server."""
    pod = pod_of(agent, name)
    return next((d for d in (pod["apiDiffers"], *(c["apiDiffers"] for c in pod["containers"])) if d), None)


def finding(agent, cause, container=None):
    """At the top level, or below."""
    def walk(findings):
        for f in findings:
            yield f
            yield from walk(f["symptoms"])
    return next((f for f in walk(agent.status()["findings"]) if f["cause"] == cause and container in (None, f["subject"]["containerID"])), None)


def test_a_deleted_pod_and_a_dead_container(containerd, start_agent, api):
    """Deleted in the API by force, and the runtime goes on; dead, and nobody tells the API; dead, and not even the runtime is told, by a shim
    that is stopped; static, and none of its business. Then the API server goes away, and nothing comes of that. As a node's own user."""
    api.kubelet.stop()
    api.add_node_user("testnode")
    _, held = make(containerd, api, "held", owner="StatefulSet/held")
    _, gone = make(containerd, api, "ghost", owner=f"ReplicaSet/ghost-{HASH}", labels={"pod-template-hash": HASH})
    _, dead = make(containerd, api, "told-late", owner="DaemonSet/told-late")
    static = containerd.cri.sandbox("static", uid=uuid.uuid4().hex)
    containerd.cri.container(static, "main")
    agent = start(start_agent, containerd, api, "testnode-token")
    lists = len([r for r in api.requests if "/pods?" in r[1] and "watch=true" not in r[1]])

    init, other = init_of(agent, held), init_of(agent, dead)
    with continued_after(shim := parent_of(init)):
        os.kill(shim, signal.SIGSTOP)
        os.kill(init, signal.SIGKILL)
        os.kill(other, signal.SIGKILL)
        api.store.delete(BY_NAME["pods"], "test", "ghost", {"gracePeriodSeconds": 0})
        assert "of StatefulSet/held" in agent.run("doctor", "--runtime", containerd.endpoint, timeout=60).stdout
        wait_for(lambda: difference(agent, "ghost") == "deleted", "the difference")
        wait_for(lambda: difference(agent, "told-late") == "dead", "the other difference")
        wait_for(lambda: difference(agent, "held") == "dead", "the kernel's word, where the runtime has none")
        assert next(c["state"] for c in pod_of(agent, "held")["containers"] if c["containerID"] == held) == "running"
        # Why nobody has told it stands above.
        wait_for(lambda: finding(agent, "PodStatusStale", held), "as a finding")
        assert "PodStatusStale" not in {f["cause"] for f in agent.status()["findings"] if f["subject"]["containerID"] == held}
    assert difference(agent, "static") is None
    assert pod_of(agent, "ghost")["apiDiffersSeconds"] >= 11  # its grace of 1 s, and what is usual
    assert pod_of(agent, "ghost")["owner"] == "Deployment/ghost"

    found = wait_for(lambda: finding(agent, "DeletedPodRemains"), "as a finding")
    assert (found["subject"]["pod"], found["subject"]["containerID"], found["subject"]["owner"]) == ("ghost", gone, "Deployment/ghost")
    assert "Deployment/ghost" in found["summary"] and found["confidence"] == "proven"
    found = wait_for(lambda: finding(agent, "PodStatusStale", dead), "as a finding")
    assert (found["subject"]["pod"], found["subject"]["containerID"], found["subject"]["owner"]) == ("told-late", dead, "DaemonSet/told-late")
    assert "ghost: deleted from the API server" in agent.run("pods").stdout
    assert "between the API server's word and what runs here" in agent.run("status").stdout
    wait_for(lambda: "Deployment/ghost" in agent.run("incidents").stdout, "as an incident")
    assert "of Deployment/ghost" in agent.run("trace", "--runtime", containerd.endpoint, gone, timeout=60).stdout
    # A dead container is believed after a list or two more, not after many.
    assert len([r for r in api.requests if "/pods?" in r[1] and "watch=true" not in r[1]]) <= lists + 3

    # Away: what cannot come back stays, what may have been told meanwhile does not, and nothing is added.
    _, unseen = make(containerd, api, "meanwhile")
    wait_for(lambda: (p := pod_of(agent, "meanwhile")) and p["api"] and p["owner"] is None, "it is told of")
    api.add_fault("500", "GET .*/pods", times=10**6)
    api.drop_all_watches()
    wait_for(lambda: agent.status()["apiPods"]["state"] == "old", "the list is old")
    assert "500" in agent.status()["apiPods"]["message"]
    api.store.remove(BY_NAME["pods"], "test", "meanwhile")
    os.kill(init_of(agent, unseen), signal.SIGKILL)
    wait_for(lambda: difference(agent, "told-late") is None, "no word that may be wrong")
    assert difference(agent, "ghost") == "deleted"
    assert "is old, as of" in agent.run("status").stdout
    api.faults.clear()
    wait_for(lambda: agent.status()["apiPods"]["state"] == "current", "it is back", 90)
    wait_for(lambda: difference(agent, "told-late") == "dead", "told again")
    # The runtime lets go of it: over.
    containerd.cri.remove_pod(next(c["sandboxID"] for c in pod_of(agent, "ghost")["containers"]))
    wait_for(lambda: pod_of(agent, "ghost") is None and not finding(agent, "DeletedPodRemains", gone), "over")


def test_what_goes_wrong_on_the_way(containerd, start_agent, api):
    """Lists that are nonsense, of 50 MB, half UTF-8, broken off in the middle and of objects without metadata; then the role is killed. The
    list is not there or old, with the reason, and comes by itself."""
    for i in range(3):
        api.add(pod_object(f"p{i}", str(uuid.uuid4())))
    faults = [api.add_fault(kind, "GET /api/v1/pods.*limit") for kind in ("garbage", "huge", "half-utf8", "reset-half")]
    agent = start(start_agent, containerd, api)
    assert [f.hits for f in faults] == [1, 1, 1, 1]
    assert agent.status()["apiPods"]["pods"] == 3
    told = [line for line in agent.log.read_text().splitlines() if "The node's pods" in line]
    assert "state=current" in told[-1]
    role = next(r for r in agent.status()["agent"]["roles"] if r["role"] == "api")
    assert role["restarts"] == 0
    peak = int(next(line.split()[1] for line in open(f"/proc/{role['pid']}/status") if line.startswith("VmHWM")))
    print(f"\nthe api role's peak: {peak} KiB")
    assert peak < 50 << 10 or b"__asan_init" in PLEG.read_bytes(), "50 MB were not read into memory"

    fault = api.add_fault("no-metadata", "GET /api/v1/pods.*limit")
    os.kill(role["pid"], signal.SIGKILL)
    wait_for(lambda: agent.status()["apiPods"]["state"] == "old", "old, while there is no role")
    assert agent.status()["apiPods"]["pods"] == 3
    wait_for(lambda: agent.status()["apiPods"]["state"] == "current", "back with the role", 60)
    assert fault.hits == 1
    assert next(r for r in agent.status()["agent"]["roles"] if r["role"] == "api")["restarts"] == 1


@pytest.mark.parametrize("kind", ["reset-half", "half-utf8"])
def test_a_watch_that_breaks_in_the_middle_of_a_line(containerd, start_agent, api, kind):
    """What was whole before it stays told, what was not is told by the next stream, and no list is needed for it."""
    for i in range(3):
        api.add(pod_object(f"p{i}", str(uuid.uuid4())))
    agent = start(start_agent, containerd, api)
    lists = len(api.arrivals("GET", "/pods?.*limit="))
    fault = api.add_fault(kind, "GET .*watch=true")
    api.drop_all_watches()
    wait_for(lambda: fault.hits == 1, "the stream that will break is open")
    api.add(pod_object("late", str(uuid.uuid4())))
    wait_for(lambda: agent.status()["apiPods"]["pods"] == 4, "told by the stream after it")
    wait_for(lambda: agent.status()["apiPods"]["state"] == "current", "and all is known again")
    assert len(api.arrivals("GET", "watch=true")) >= 3
    assert len(api.arrivals("GET", "/pods?.*limit=")) == lists
    broken = [line for line in agent.log.read_text().splitlines() if "The node's pods" in line and "state=old" in line]
    assert broken, "it was old meanwhile, and said so"


def test_a_server_that_forgets_at_once(containerd, start_agent, api):
    """Every watch is answered with 410, however new the list: it is listed anew, and ever less often."""
    api.add(pod_object("p0", str(uuid.uuid4())))
    fault = api.add_fault("410", "GET .*watch=true", times=10**6)
    agent = start(start_agent, containerd, api)
    wait_for(lambda: fault.hits >= 4, "asked again")
    times = [at for at, _ in api.arrivals("GET", "watch=true")]
    assert times[3] - times[0] >= 3.5, "half of 1, 2 and 4 s at least"
    assert agent.status()["apiPods"]["pods"] == 1
    fault.times = 0
    wait_for(lambda: api.watches > 0 and agent.status()["apiPods"]["state"] == "current", "watched in the end", 60)
