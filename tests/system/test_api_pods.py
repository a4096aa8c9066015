"""The node's pods as the API server has them, beside the runtime's and the kernel's word: the agent with its api role against the
stand-in API server (tests/kube) and a real containerd. Pods are made through CRI with the labels of a kubelet, which is not there; the
stand-in has the objects, and tests change them as a kubelet or a person would.
"""

import sys
import uuid

import pytest

from conftest import ROOT, wait_for

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


def start(start_agent, containerd, api, config=""):
    kubeconfig = api.dir / "kubeconfig"
    api.kubeconfig(kubeconfig)
    agent = start_agent(containerd.endpoint, config=f"kubeconfig: {kubeconfig}\n{config}")
    agent.wait_ready()
    wait_for(lambda: agent.status()["apiPods"]["state"] == "current", "the first list")
    return agent


def pod_of(agent, name):
    return next((p for p in agent.pods() if p["pod"] == name), None)


def make(containerd, api, name, **more):
    """A pod of one container in both; its uid and the container's id."""
    uid = str(uuid.uuid4())
    sandbox = containerd.cri.sandbox(name, uid=uid)
    container = containerd.cri.container(sandbox, "main")
    api.add(pod_object(name, uid, [container], **more))
    return uid, container


def test_owners(containerd, start_agent, api):
    """A list in pages, then what changes: the owner that people know stands beside each pod."""
    make(containerd, api, "web", owner=f"ReplicaSet/web-{HASH}", labels={"pod-template-hash": HASH})
    for i in range(45):  # beyond one page
        api.add(pod_object(f"other-{i}", str(uuid.uuid4())))
    api.add({**pod_object("elsewhere", str(uuid.uuid4())), "spec": {"nodeName": "another"}})
    agent = start(start_agent, containerd, api)
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
