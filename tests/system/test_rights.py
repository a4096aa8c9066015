"""Each of pleg's accounts with exactly the rights that the manifests grant it, against the stand-in API server (tests/kube): everything
is done that is to be done, and nothing is refused. RBAC is the stand-in's imitation; admission policies are not here.
"""

import os
import shutil
import signal
import subprocess

import pytest

from conftest import continued_after, wait_for
from test_deploy import COMPONENTS, KUSTOMIZE, documents
from test_drain import BOOT_ID, BY_NAME, NODE, STUCK, api, said  # noqa: F401


def rules(*roles):
    docs = [d for folder in ("access", "remove", *(f"components/{c}" for c in COMPONENTS)) for d in documents(KUSTOMIZE / folder)]
    return [rule for d in docs if d["kind"] == "ClusterRole" and d["metadata"]["name"] in roles for rule in d["rules"]]


def granted(*roles):
    return {(resource, verb) for rule in rules(*roles) for resource in rule["resources"] for verb in rule["verbs"]}


def account(api, *roles):
    api.add_user("account", rules=rules(*roles), token="account-token")
    api.kubeconfig(api.dir / "kubeconfig", token="account-token")


@pytest.mark.node
def test_the_role_for_drains(api):
    """Cordon, uncordon, taint and each way of a drain, and between them they ask for all that is granted."""
    account(api, "pleg-drain")
    said(api, 0, "cordon", NODE)
    assert api.get("nodes", NODE)["spec"]["unschedulable"] is True
    said(api, 0, "uncordon", NODE)
    said(api, 0, "taint", NODE, "a=b:NoSchedule")
    assert [t["key"] for t in api.get("nodes", NODE)["spec"]["taints"]] == ["a"]
    said(api, 0, "taint", NODE, "a-")

    owner, daemons = api.add_owner("ReplicaSet", "web"), api.add_owner("DaemonSet", "agents")
    api.add_pod("web", NODE, owner=owner)
    api.add_pod("guarded", NODE, owner=owner, labels={"guarded": "yes"})
    api.add_budget("zero", {"guarded": "yes"}, maxUnavailable=0)
    api.add_pod("daemon", NODE, owner=daemons)
    text = said(api, 1, "drain", NODE, "--ignore-daemonsets", "--timeout", "3s")
    assert "budget zero" in text and sorted(api.names("pods")) == ["daemon", "guarded"]
    said(api, 0, "drain", NODE, "--ignore-daemonsets", "--disable-eviction", "--pod-selector", "guarded=yes")
    assert api.names("pods") == ["daemon"]

    api.add({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "default"}, "spec": {"volumeName": "pv-1"}})
    api.add({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-1"}, "spec": {"csi": {"driver": "d", "volumeHandle": "1"}}})
    api.add_pod("stuck", NODE, owner=owner, annotations=STUCK, grace=1, volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}])
    api.store.update(BY_NAME["nodes"], "", NODE, lambda o: {**o, "status": {**o["status"], "volumesInUse": ["kubernetes.io/csi/other^1"],
                                                                      "nodeInfo": {"bootID": BOOT_ID}}}, "status")
    assert "pod/stuck deleted by force" in said(api, 0, "drain", NODE, "--ignore-daemonsets", "--timeout", "30s", "--force-stuck")
    assert api.refused == []
    assert api.used["account"] == granted("pleg-drain")


def test_the_agent_that_may_taint(own_containerd, start_agent, api):
    """Its runtime is stopped, and goes on: conditions, Events and the taint come, and the taint goes."""
    account(api, "pleg-agent", "pleg-taint")
    agent = start_agent(own_containerd.endpoint, config=f"kubeconfig: {api.dir / 'kubeconfig'}\nnodeTaint: true\n")
    agent.wait_ready()

    def condition():
        return next((c["status"] for c in api.get("nodes", NODE)["status"]["conditions"] if c["type"] == "pleg.dev/RuntimeUnhealthy"), None)

    def taints():
        return [t for t in api.get("nodes", NODE)["spec"].get("taints") or [] if t["key"] == "pleg.dev/unhealthy"]
    wait_for(lambda: condition() == "False" and taints() == [], "all is well, and said", 120)
    with continued_after(own_containerd.pid):
        os.kill(own_containerd.pid, signal.SIGSTOP)
        wait_for(lambda: condition() == "True", "the condition", 60)
        wait_for(lambda: taints() == [{"key": "pleg.dev/unhealthy", "value": "pleg", "effect": "NoSchedule"}], "the taint", 60)
    wait_for(lambda: condition() == "False" and taints() == [], "it is taken back", 120)
    wait_for(lambda: api.names("events"), "an Event, for which some writes of each minute are not to be had", 120)
    assert api.refused == []
    used = api.used["account"]
    assert used <= granted("pleg-agent", "pleg-taint")
    assert {("nodes", "patch"), ("nodes/status", "patch"), ("events", "create"), ("pods", "list"), ("pods", "watch")} <= used


def test_the_agent_that_may_not_taint(own_containerd, start_agent, api):
    """With the taint asked for and not granted the rest is written all the same, and the refusal is said."""
    account(api, "pleg-agent")
    agent = start_agent(own_containerd.endpoint, config=f"kubeconfig: {api.dir / 'kubeconfig'}\nnodeTaint: true\n")
    agent.wait_ready()

    def condition():
        return next((c["status"] for c in api.get("nodes", NODE)["status"]["conditions"] if c["type"] == "pleg.dev/RuntimeUnhealthy"), None)
    wait_for(lambda: condition() == "False", "all is well, and said", 120)
    with continued_after(own_containerd.pid):
        os.kill(own_containerd.pid, signal.SIGSTOP)
        wait_for(lambda: condition() == "True", "the condition", 60)
        wait_for(lambda: api.refused, "it tries to taint", 60)
        assert {r[1:3] for r in api.refused} == {("nodes", "patch")}


def test_kubectl_of_somebody_with_that_role(api):
    """What kubectl itself needs for the same: our role has less than it, and enough of what it writes."""
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl here: what it makes of the role stays unproven")
    account(api, "pleg-drain")
    done = subprocess.run(["kubectl", "--kubeconfig", str(api.dir / "kubeconfig"), "cordon", NODE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    # Whose cordon it is then: kubectl's own name for itself is not pleg.
    assert "somebody else" in said(api, 1, "uncordon", NODE)
