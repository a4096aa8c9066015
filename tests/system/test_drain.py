"""pleg cordon, uncordon, taint and drain against the stand-in API server (tests/kube), which ends evicted pods as a kubelet would; and
--force-stuck with a real containerd, whose threads decide.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from conftest import BUILD, PLEG, ROOT, wait_for

sys.path.insert(0, str(ROOT / "tests/kube"))
ApiServer = pytest.importorskip("apiserver", reason="no stand-in API server").ApiServer
from store import BY_NAME  # noqa: E402

BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
NODE = "testnode"
STUCK = {"standin.pleg.dev/stuck": "yes"}  # the stand-in's kubelet never ends it


@pytest.fixture
def api():
    with ApiServer() as server:
        server.kubeconfig(server.dir / "kubeconfig")
        server.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "test"}})
        server.add_node(NODE, status={"conditions": [], "nodeInfo": {"bootID": BOOT_ID}})
        yield server


def words(api, *arguments):
    return [str(PLEG), *arguments, "--kubeconfig", str(api.dir / "kubeconfig"), "--socket", str(api.dir / "none.sock")]


def run(api, *arguments, timeout=60):
    return subprocess.run(words(api, *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)


def said(api, code, *arguments):
    done = run(api, *arguments)
    assert done.returncode == code, done
    assert "AddressSanitizer" not in done.stderr
    return done.stdout + done.stderr


def node(api):
    return api.get("nodes", NODE)


def test_cordon_and_uncordon(api):
    assert said(api, 0, "cordon", NODE, "--dry-run") == "node/testnode cordoned (dry run)\n"
    assert said(api, 0, "cordon", NODE, "--dry-run=server") == "node/testnode cordoned (server dry run)\n"
    assert "unschedulable" not in node(api)["spec"]
    assert said(api, 0, "cordon", NODE) == "node/testnode cordoned\n"
    assert node(api)["spec"]["unschedulable"] is True
    assert said(api, 0, "cordon", f"node/{NODE}") == "node/testnode already cordoned\n"
    assert said(api, 0, "uncordon", NODE) == "node/testnode uncordoned\n"
    assert not node(api)["spec"].get("unschedulable") and not node(api)["metadata"].get("annotations")
    assert json.loads(said(api, 0, "uncordon", NODE, "-o", "json")) == {
        "node": NODE, "action": "uncordoned", "changed": False, "dryRun": False}


def test_what_somebody_else_cordoned_stays(api):
    api.add_node("other", spec={"unschedulable": True})
    assert "somebody else" in said(api, 1, "uncordon", "other")
    assert api.get("nodes", "other")["spec"]["unschedulable"] is True
    assert said(api, 0, "uncordon", "other", "--any") == "node/other uncordoned\n"


def kubectl(api, unschedulable):
    """What kubectl cordon and uncordon write, and under their name."""
    def change(old):
        spec = {k: v for k, v in old["spec"].items() if k != "unschedulable"}
        return {**old, "spec": {**spec, **({"unschedulable": True} if unschedulable else {})}}
    api.store.update(BY_NAME["nodes"], "", NODE, change, manager="kubectl")


def test_a_cordon_that_was_undone_and_made_anew_by_another(api):
    """The annotation is still there, and the cordon is not pleg's any more."""
    said(api, 0, "cordon", NODE)
    kubectl(api, False)
    assert said(api, 0, "uncordon", NODE) == "node/testnode already uncordoned\n"
    kubectl(api, True)
    assert "pleg.dev/cordoned-at" in node(api)["metadata"]["annotations"]
    text = said(api, 1, "uncordon", NODE)
    assert "somebody else" in text and "(kubectl)" in text
    assert node(api)["spec"]["unschedulable"] is True
    assert said(api, 0, "uncordon", NODE, "--any") == "node/testnode uncordoned\n"
    assert not node(api)["metadata"].get("annotations")
    # Undone by another, and made anew by us.
    said(api, 0, "cordon", NODE)
    kubectl(api, False)
    assert said(api, 0, "cordon", NODE) == "node/testnode cordoned\n"
    assert said(api, 0, "uncordon", NODE) == "node/testnode uncordoned\n"


def test_without_managed_fields_the_annotation_decides(api):
    said(api, 0, "cordon", NODE)
    api.store.update(BY_NAME["nodes"], "", NODE, lambda o: {**o, "metadata": {**o["metadata"], "managedFields": [{}]}})
    assert said(api, 0, "uncordon", NODE) == "node/testnode uncordoned\n"


def test_taints_of_others_stay(api):
    theirs = {"key": "theirs", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}
    api.add_node("tainted", spec={"taints": [theirs]})

    def taints():
        return api.get("nodes", "tainted")["spec"].get("taints", [])

    assert said(api, 0, "taint", "tainted", "a=b:NoSchedule", "c:PreferNoSchedule") == "node/tainted tainted\n"
    assert taints() == [theirs, {"key": "a", "value": "b", "effect": "NoSchedule"}, {"key": "c", "effect": "PreferNoSchedule"}]
    assert "--overwrite is false" in said(api, 1, "taint", "tainted", "a=x:NoSchedule", "d:NoExecute")
    assert len(taints()) == 3  # all or nothing
    assert said(api, 0, "taint", "tainted", "a=x:NoSchedule", "c-", "--overwrite") == "node/tainted modified\n"
    assert said(api, 0, "taint", "tainted", "a:NoSchedule-") == "node/tainted untainted\n"
    assert taints() == [theirs]
    assert "not found" in said(api, 1, "taint", "tainted", "a-")
    assert "NoExecute" in said(api, 2, "taint", "tainted", "a:Never")


def test_somebody_writes_in_between(api):
    """Between our reading and our writing the node gets a label: the patch is refused, and made anew."""
    fault = api.add_fault("slow", "PATCH", times=1, seconds=1)
    taint = subprocess.Popen(words(api, "taint", NODE, "a:NoSchedule"), stdout=subprocess.PIPE, text=True)
    wait_for(lambda: fault.hits == 1, "it writes")
    api.store.update(BY_NAME["nodes"], "", NODE, lambda o: {**o, "metadata": {**o["metadata"], "labels": {"new": "yes"}}})
    assert taint.communicate(timeout=30)[0] == "node/testnode tainted\n"
    assert node(api)["metadata"]["labels"] == {"new": "yes"} and node(api)["spec"]["taints"] == [{"key": "a", "effect": "NoSchedule"}]
    assert sum(1 for r in api.requests if r[0] == "PATCH") == 2


def fill(api, count):
    owner, daemons = api.add_owner("ReplicaSet", "web"), api.add_owner("DaemonSet", "agents")
    for i in range(count):
        api.add_pod(f"web-{i}", NODE, owner=owner, labels={"app": "web"})
    return owner, daemons


def test_nothing_is_drained_that_must_be_asked_for(api):
    owner, daemons = fill(api, 1)
    api.add_pod("daemon", NODE, owner=daemons)
    api.add_pod("lost-daemon", NODE, owner=("DaemonSet", "gone"))
    api.add_pod("bare", NODE)
    api.add_pod("local", NODE, owner=owner, volumes=[{"name": "x", "emptyDir": {}}])
    api.add_pod("static", NODE, annotations={"kubernetes.io/config.mirror": "abc"})
    api.add_pod("done", NODE, phase="Succeeded")
    text = said(api, 1, "drain", NODE)
    for part in ("(use --ignore-daemonsets to ignore): default/daemon;", "(use --force to override): default/lost-daemon",
                 "(use --delete-emptydir-data to override): default/local", "(use --force to override): default/bare"):
        assert part in text
    assert len(api.names("pods")) == 7
    asked = ["drain", NODE, "--ignore-daemonsets", "--force", "--delete-emptydir-data"]
    assert "node/testnode drained (dry run)" in said(api, 0, *asked, "--dry-run")
    assert len(api.names("pods")) == 7
    assert "node/testnode drained\n" in said(api, 0, *asked)
    assert sorted(api.names("pods")) == ["daemon", "static"]
    assert node(api)["spec"]["unschedulable"] is True


def test_fifty_pods_of_which_two_stay(api):
    """One is under a budget of zero, one is ended by nobody."""
    owner, _ = fill(api, 48)
    api.add_pod("guarded", NODE, owner=owner, labels={"guarded": "yes"})
    api.add_budget("zero", {"guarded": "yes"}, maxUnavailable=0)
    api.add_pod("stuck", NODE, owner=owner, annotations=STUCK, grace=1)
    begun = time.monotonic()
    done = run(api, "drain", NODE, "--timeout", "4s", "-o", "json")
    assert done.returncode == 1 and time.monotonic() - begun < 20
    document = json.loads(done.stdout)
    assert sorted(api.names("pods")) == ["guarded", "stuck"]
    assert (document["drained"], document["timedOut"], len(document["pods"])) == (False, True, 50)
    left = {p["pod"]: p for p in document["pods"] if not p["gone"]}
    assert {name: p["reason"] for name, p in left.items()} == {"guarded": "budget", "stuck": "kubelet"}
    assert "zero" in left["guarded"]["message"] and "poddisruptionbudgets" in left["guarded"]["advice"]
    assert "pleg doctor" in left["stuck"]["advice"]
    text = said(api, 1, "drain", NODE, "--timeout", "1s")
    assert "2 of 2 pods have not gone after 1s; node testnode stays cordoned" in text


def containers_are(api, namespace, pod, ids):
    api.store.update(BY_NAME["pods"], namespace, pod, lambda o: {**o, "status": {**o["status"], "containerStatuses": [
        {"name": f"c{n}", "containerID": i} for n, i in enumerate(ids)]}}, "status")


@contextlib.contextmanager
def incident(name, folder, containerd):
    """One of the lab's on this containerd: the moment, as its start tells it. It lets go by itself after a minute."""
    made, env = folder / "zombie", {**os.environ, "PLEG_BUILD": str(BUILD)}
    scripts = ROOT / "lab/incidents" / name
    try:
        done = subprocess.run([str(scripts / "start"), str(made), "--runtime", str(containerd.dir), "--seconds", "60"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, env=env)
        if done.returncode == 77:
            pytest.skip(f"this machine cannot have {name}: {done.stderr}")
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout)
    finally:
        subprocess.run([str(scripts / "stop"), str(made)], stdin=subprocess.DEVNULL, timeout=90, env=env, check=True)


@pytest.mark.node
def test_fifty_pods_one_with_an_unreapable_zombie(api, own_containerd, start_agent, folder):
    """One is under a budget of zero; of one a real zombie is left on this node, which nobody can reap, and whose cause this node's agent knows.
    The stand-in's kubelet does not end that one, as a real one could not."""
    owner, _ = fill(api, 48)
    api.add_pod("guarded", NODE, owner=owner, labels={"guarded": "yes"})
    api.add_budget("zero", {"guarded": "yes"}, maxUnavailable=0)
    api.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lab"}})
    agent = start_agent(own_containerd.endpoint)
    agent.wait_ready()
    with incident("unreapable-zombie-thread-stuck", folder, own_containerd) as moment:
        subject, (victim, _) = moment["subject"], moment["pids"]["victim"]
        api.add_pod(subject["pod"], NODE, namespace=subject["namespace"], uid=f"uid-{subject['pod']}", owner=owner, annotations=STUCK, grace=1)
        containers_are(api, "lab", subject["pod"], [f"containerd://{subject['containerID']}"])
        wait_for(lambda: any(f["cause"] == "UnreapableZombieThreadStuck" and f["subject"]["pod"] == subject["pod"] for f in agent.status()["findings"]),
                 "the agent knows")
        asked = ["drain", NODE, "--kubeconfig", api.dir / "kubeconfig"]
        done = agent.run(*asked, "--timeout", "4s", "-o", "json", timeout=60)
        assert done.returncode == 1, done
        document = json.loads(done.stdout)
        assert len(document["pods"]) == 50 and document["timedOut"] and sorted(api.names("pods")) == ["guarded", subject["pod"]]
        left = {p["pod"]: p for p in document["pods"] if not p["gone"]}
        assert {name: p["reason"] for name, p in left.items()} == {"guarded": "budget", subject["pod"]: "stuck"}
        assert "zero" in left["guarded"]["message"]
        stuck = left[subject["pod"]]
        assert "UnreapableZombieThreadStuck: " in stuck["message"] and "pleg doctor" in stuck["advice"]
        # Nor does force help it: the thread is alive.
        done = agent.run(*asked, "--timeout", "9s", "--force-stuck", timeout=60)
        assert done.returncode == 1 and "2 of 2 pods have not gone after 9s; node testnode stays cordoned" in done.stderr
        assert f"of process {victim} lives in its cgroup" in done.stderr and "UnreapableZombieThreadStuck: " in done.stderr
    assert "pleg doctor has the remedies" in done.stderr


def test_a_finalizer_and_a_grace_period(api):
    owner, _ = fill(api, 0)
    api.add_pod("kept", NODE, owner=owner, finalizers=("example.com/keep",), grace=1)
    api.add_pod("slow", NODE, owner=owner, annotations=STUCK, grace=300)
    text = said(api, 1, "drain", NODE, "--timeout", "3s")
    assert "example.com/keep" in text and "grace period" in text
    # Force helps neither: one has ended, the other still has its time.
    text = said(api, 1, "drain", NODE, "--timeout", "3s", "--force-stuck")
    assert "by force" not in text and sorted(api.names("pods")) == ["kept", "slow"]


def test_only_pods_with_these_labels(api):
    fill(api, 2)
    api.add_pod("other", NODE, owner=api.add_owner("ReplicaSet", "other"), labels={"app": "other"})
    said(api, 0, "drain", NODE, "--pod-selector", "app in (web)")
    assert api.names("pods") == ["other"]


def test_disable_eviction_asks_no_budget(api):
    fill(api, 2)
    api.add_budget("zero", {"app": "web"}, maxUnavailable=0)
    text = said(api, 0, "drain", NODE, "--disable-eviction", "--grace-period", "0")
    assert api.names("pods") == []
    assert "pod/web-0 deleted\n" in text and "evict" not in text


def test_a_namespace_that_is_being_deleted(api):
    """Evictions are refused there, and the pods go with the namespace: none of them is given up."""
    owner, _ = fill(api, 0)
    api.add_pod("marked", NODE, namespace="test", owner=owner, finalizers=("test/keep",), grace=1)
    api.add_pod("unmarked", NODE, namespace="test", owner=owner)
    api.store.delete(BY_NAME["pods"], "test", "marked", {})
    api.store.update(BY_NAME["namespaces"], "", "test", lambda o: {**o, "status": {"phase": "Terminating"}}, "status")
    document = json.loads(run(api, "drain", NODE, "--timeout", "3s", "-o", "json").stdout)
    left = {p["pod"]: p for p in document["pods"]}
    assert {name: p["reason"] for name, p in left.items()} == {"marked": "finalizer", "unmarked": "refused"}
    assert document["timedOut"] and "being deleted" in left["unmarked"]["advice"]
    drain = subprocess.Popen(words(api, "drain", NODE), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: sum(1 for r in api.requests if "unmarked/eviction" in r[1]) > 2, "it is asked again, 5 s later")
    for name in ("unmarked", "marked"):  # as the namespace controller does
        api.store.update(BY_NAME["pods"], "test", name, lambda o: {**o, "metadata": {**o["metadata"], "finalizers": []}})
        if api.get("pods", name, "test"):
            api.store.delete(BY_NAME["pods"], "test", name, {"gracePeriodSeconds": 0})
    text, complaint = drain.communicate(timeout=60)
    assert drain.returncode == 0 and "node/testnode drained" in text, complaint
    assert "Cannot evict test/unmarked yet" in complaint


def test_a_pod_whose_labels_change_is_not_gone(api):
    owner, _ = fill(api, 0)
    api.add_pod("stuck", NODE, owner=owner, annotations=STUCK, labels={"app": "web"})
    drain = subprocess.Popen(words(api, "drain", NODE, "--pod-selector", "app=web", "--timeout", "6s"), stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
    wait_for(lambda: api.get("pods", "stuck")["metadata"].get("deletionTimestamp"), "it is to go")
    api.store.update(BY_NAME["pods"], "default", "stuck", lambda o: {**o, "metadata": {**o["metadata"], "labels": {"app": "other"}}})
    text, complaint = drain.communicate(timeout=60)
    assert drain.returncode == 1 and "pod/stuck evicted" not in text and "1 of 1 pods have not gone" in complaint


def test_interrupted(api):
    owner, _ = fill(api, 0)
    api.add_pod("stuck", NODE, owner=owner, annotations=STUCK)
    drain = subprocess.Popen(words(api, "drain", NODE), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert drain.stdout.readline() == "node/testnode cordoned\n"
    assert drain.stdout.readline() == "evicting pod default/stuck\n"
    drain.send_signal(signal.SIGINT)
    _, complaint = drain.communicate(timeout=30)
    assert drain.returncode == 1 and "1 of 1 pods have not gone, interrupted" in complaint


def timed(api, *arguments):
    """(seconds, what it said) of a command that fails."""
    begun = time.monotonic()
    text = said(api, 1, *arguments)
    return time.monotonic() - begun, text


@pytest.mark.parametrize("match", ["GET .*nodes/", "PATCH .*nodes/", "GET .*/pods[?]", "GET .*daemonsets/", "POST .*eviction"])
def test_the_timeout_bounds_the_whole(api, match):
    """The API server is silent at each step that a drain waits for."""
    owner, daemons = fill(api, 1)
    api.add_pod("daemon", NODE, owner=daemons)
    api.add_fault("silent", match, times=100)
    seconds, text = timed(api, "drain", NODE, "--ignore-daemonsets", "--timeout", "2s")
    assert 2 <= seconds < 9, text  # a request alone may take 30 s
    assert "before the timeout was over" in text or "have not gone after 2s" in text
    assert ("stays cordoned" in text) is bool(node(api)["spec"].get("unschedulable"))


def test_the_timeout_bounds_what_force_asks(api):
    owner, _ = fill(api, 0)
    api.add_pod("stuck", NODE, owner=owner, annotations=STUCK, grace=0)
    api.store.update(BY_NAME["pods"], "default", "stuck", lambda o: {
        **o, "metadata": {**o["metadata"], "finalizers": []}})
    drain = subprocess.Popen(words(api, "drain", NODE, "--timeout", "12s", "--force-stuck", "--grace-period", "1"),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begun = time.monotonic()
    wait_for(lambda: (api.get("pods", "stuck")["metadata"].get("deletionTimestamp")), "it is to go")
    api.add_fault("silent", f"GET .*nodes/{NODE}", times=100)  # the volumes in use
    _, complaint = drain.communicate(timeout=60)
    assert drain.returncode == 1 and time.monotonic() - begun < 19, complaint
    assert "have not gone after 12s" in complaint and api.names("pods") == ["stuck"]


@pytest.mark.parametrize("match", ["GET .*nodes/", "GET .*/pods[?]", "GET .*daemonsets/", "POST .*eviction"])
@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_the_api_server_is_silent(api, match, sig):
    owner, daemons = fill(api, 1)
    api.add_pod("daemon", NODE, owner=daemons)
    fault = api.add_fault("silent", match, times=100)
    drain = subprocess.Popen(words(api, "drain", NODE, "--ignore-daemonsets"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: fault.hits > 0, "it asks")
    drain.send_signal(sig)
    begun = time.monotonic()
    _, complaint = drain.communicate(timeout=60)
    assert drain.returncode == 1 and time.monotonic() - begun < 8
    assert "nterrupted" in complaint


def test_who_may_not(api):
    fill(api, 1)
    api.add_user("reader", rules=[{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["get", "list"]}], token="reader-token")
    api.kubeconfig(api.dir / "kubeconfig", token="reader-token")
    assert "forbidden" in said(api, 1, "cordon", NODE)
    api.kubeconfig(api.dir / "kubeconfig", token="stranger")
    assert "(401)" in said(api, 1, "cordon", NODE)
    assert "no-such" in said(api, 1, "cordon", NODE, "--context", "no-such")
    assert "--timeout takes a duration" in said(api, 2, "drain", NODE, "--timeout", "soon")


def test_a_server_that_is_not_there(api):
    api.kubeconfig(api.dir / "kubeconfig", server="https://127.0.0.1:1")
    assert "does not answer (connect)" in said(api, 1, "cordon", NODE)


@pytest.mark.full  # a request's deadline is 30 s
def test_a_server_that_never_answers(api):
    api.deaf.set()
    begun = time.monotonic()
    assert "does not answer" in said(api, 1, "cordon", NODE)
    assert time.monotonic() - begun < 50


@pytest.mark.node
def test_force_only_where_nothing_lives(api, containerd):
    """The stand-in's kubelet ends neither. Of one, a real container runs: its threads forbid it, until it is dead."""
    owner, _ = fill(api, 0)
    made = api.add_pod("alive", NODE, namespace="test", owner=owner, annotations=STUCK, grace=1)
    sandbox = containerd.cri.sandbox("alive", uid=made["metadata"]["uid"])
    container = containerd.cri.container(sandbox, "main")
    containers_are(api, "test", "alive", [f"containerd://{container}"])
    try:
        text = said(api, 1, "drain", NODE, "--timeout", "9s", "--force-stuck")
        assert "It was not deleted by force: thread" in text and "out-of-service" in text
        assert api.names("pods") == ["alive"]
    finally:
        containerd.cri.remove_pod(sandbox)
    text = said(api, 0, "drain", NODE, "--timeout", "30s", "--force-stuck")
    assert "pod/alive deleted by force" in text and "pod/alive evicted" not in text
    wait_for(lambda: api.names("pods") == [], "it is gone")


def stuck_pod(api, **more):
    owner, _ = fill(api, 0)
    return api.add_pod("stuck", NODE, owner=owner, annotations=STUCK, grace=1, **more)


def forced(api):
    return said(api, 1, "drain", NODE, "--timeout", "9s", "--force-stuck")


@pytest.mark.node
@pytest.mark.parametrize("how", ["bound", "other-path"])
def test_no_force_while_a_volume_is_mounted_writable(api, folder, how):
    """In a mount namespace of its own, which ends with the process that holds it, by itself after a minute: under the path that a kubelet
    gives a volume, or bound from there to somewhere else. Only read, it is in nobody's way."""
    uid = stuck_pod(api)["metadata"]["uid"]
    volume = folder / "pods" / uid / "volumes/kubernetes.io~csi/data/mount"
    elsewhere = folder / "elsewhere"
    source = folder / "source"
    for path in (volume, elsewhere, source):
        path.mkdir(parents=True)
    mounts = f"mount --bind {source} {volume}" if how == "bound" else f"mount --bind {volume} {elsewhere}"
    point = volume if how == "bound" else elsewhere
    script = f"{mounts} && echo up && read x && mount -o remount,bind,ro {point} && echo up && exec sleep 60"
    holder = subprocess.Popen(["timeout", "60", "unshare", "-m", "--propagation", "private", "sh", "-c", script], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "up\n"
        text = forced(api)
        assert f"its volume is mounted writable on {point}" in text and "out-of-service" in text
        assert api.names("pods") == ["stuck"]
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "up\n"
        assert "pod/stuck deleted by force" in said(api, 0, "drain", NODE, "--timeout", "30s", "--force-stuck")
    finally:
        holder.terminate()
        holder.wait(10)


@pytest.mark.node
def test_no_force_while_a_claim_is_in_use(api):
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "default"}, "spec": {"volumeName": "pv-1"}}
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-1"},
              "spec": {"csi": {"driver": "disk.example.com", "volumeHandle": "d-1"}}}
    stuck_pod(api, volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}])

    def in_use(*names):
        api.store.update(BY_NAME["nodes"], "", NODE, lambda o: {**o, "status": {**o["status"], "volumesInUse": list(names)}}, "status")
    in_use("kubernetes.io/csi/disk.example.com^d-1")
    assert "what is behind its claim data cannot be known" in forced(api)
    api.add(claim)
    api.add(volume)
    assert "volume pv-1 of its claim data is in use on the node" in forced(api)
    assert api.names("pods") == ["stuck"]
    in_use("kubernetes.io/csi/disk.example.com^d-2")
    assert "pod/stuck deleted by force" in said(api, 0, "drain", NODE, "--timeout", "30s", "--force-stuck")


@pytest.mark.node
def test_no_force_for_containers_that_cannot_be_looked_for(api):
    stuck_pod(api)
    containers_are(api, "default", "stuck", [f"containerd://{n:064x}" for n in range(65)])
    assert "containers whose threads cannot be looked for" in forced(api)
    containers_are(api, "default", "stuck", ["containerd://abc"])
    assert "containers whose threads cannot be looked for" in forced(api)
    assert api.names("pods") == ["stuck"]
    containers_are(api, "default", "stuck", ["", f"containerd://{1:064x}"])  # the first was never made
    assert "pod/stuck deleted by force" in said(api, 0, "drain", NODE, "--timeout", "30s", "--force-stuck")


def test_elsewhere_there_is_no_force(api):
    owner, _ = fill(api, 0)
    api.add_node("far", status={"conditions": [], "nodeInfo": {"bootID": "another"}})
    api.add_pod("stuck", "far", owner=owner, annotations=STUCK, grace=1)
    text = said(api, 1, "drain", "far", "--timeout", "8s", "--force-stuck")
    assert "on its own node only" in text and api.names("pods") == ["stuck"]
