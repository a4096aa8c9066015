"""The promises of the stand-in API server, kept by asking it as a client does. What kubectl makes of it is compared where there is one."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import patches  # noqa: E402
from apiserver import HUGE_BYTES, STUCK, ApiServer  # noqa: E402
from store import BY_NAME  # noqa: E402

MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"


@pytest.fixture
def api():
    with ApiServer() as server:
        server.add_node("n1")
        server.add_node("n2")
        yield server


def call(api, method, path, body=None, token="admin-token", kind="application/json", timeout=20):
    """(HTTP status, object, headers)"""
    context = ssl.create_default_context(cafile=str(api.certificates.ca))
    headers = {"Content-Type": kind, **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(api.url + path, json.dumps(body).encode() if body is not None else None, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
            return answer.status, json.loads(answer.read()), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), error.headers


def until(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value


class Watch:
    """The objects of a watch, as they come."""

    def __init__(self, api, path, token="admin-token"):
        self.seen, self.ended = [], False
        context = ssl.create_default_context(cafile=str(api.certificates.ca))
        request = urllib.request.Request(api.url + path, headers={"Authorization": f"Bearer {token}"})
        self.answer = urllib.request.urlopen(request, timeout=60, context=context)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            for line in self.answer:
                self.seen.append(json.loads(line))
        self.ended = True

    def types(self):
        return [(e["type"], e["object"]["metadata"].get("name")) for e in self.seen]


EVICT = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"}}
EVICTION = "/api/v1/namespaces/default/pods/p/eviction"


def test_a_write_on_an_old_version_is_a_conflict(api):
    _, node, _ = call(api, "GET", "/api/v1/nodes/n1")
    code, _, _ = call(api, "PATCH", "/api/v1/nodes/n1", {"metadata": {"labels": {"a": "1"}}}, kind=MERGE)
    assert code == 200
    code, status, _ = call(api, "PUT", "/api/v1/nodes/n1", node)
    assert (code, status["reason"]) == (409, "Conflict")
    assert status["message"] == ('Operation cannot be fulfilled on nodes "n1": the object has been modified; please apply your changes to '
                                 "the latest version and try again")


def test_a_write_that_changes_nothing_makes_no_version(api):
    before = api.get("nodes", "n1")["metadata"]["resourceVersion"]
    call(api, "PATCH", "/api/v1/nodes/n1", {"metadata": {"labels": {"kubernetes.io/hostname": "n1"}}}, kind=MERGE)
    assert api.get("nodes", "n1")["metadata"]["resourceVersion"] == before


def test_conditions_are_merged_by_type_and_taints_are_not(api):
    ours = {"status": {"conditions": [{"type": "pleg.dev/PLEGUnhealthy", "status": "False"}]}}
    code, node, _ = call(api, "PATCH", "/api/v1/nodes/n1/status", ours, kind=STRATEGIC)
    assert code == 200 and [c["type"] for c in node["status"]["conditions"]] == ["pleg.dev/PLEGUnhealthy", "Ready"]
    for name in ("a", "b"):
        patch = {"spec": {"taints": [{"key": name, "effect": "NoSchedule"}]}}
        _, node, _ = call(api, "PATCH", "/api/v1/nodes/n1", patch, kind=STRATEGIC)
        assert [t["key"] for t in node["spec"]["taints"]] == [name]
    _, node, _ = call(api, "PATCH", "/api/v1/nodes/n1/status", {"status": {"conditions": [{"type": "only"}]}}, kind=MERGE)
    assert [c["type"] for c in node["status"]["conditions"]] == ["only"], "a JSON merge patch replaces lists"


def test_what_is_patched_goes_in_front():
    have = [{"type": t} for t in ("a", "b", "c", "d")]
    rows = [(["d"], ["a", "b", "c", "d"]), (["new"], ["new", "a", "b", "c", "d"]), (["c", "a"], ["b", "c", "a", "d"]), ([], ["a", "b", "c", "d"])]
    for patch, want in rows:
        done = patches.strategic({"status": {"conditions": have}}, {"status": {"conditions": [{"type": t, "x": 1} for t in patch]}})
        assert [c["type"] for c in done["status"]["conditions"]] == want, patch


def test_errors_of_patches(api):
    rows = [
        ("/status", {"status": {"conditions": [{"status": "True"}]}}, STRATEGIC, 500, "does not contain declared merge key: type"),
        ("", [{"op": "test", "path": "/metadata/name", "value": "x"}], "application/json-patch+json", 422, "the server rejected our request"),
        ("", [{"op": "remove", "path": "/spec/x"}], "application/json-patch+json", 422, "the server rejected our request"),
        ("", {"metadata": {"uid": "x"}}, MERGE, 422, "metadata.uid: Invalid value"),
        ("", {}, "application/json", 415, "415: Unsupported Media Type"),
    ]
    for path, patch, kind, want, text in rows:
        code, status, _ = call(api, "PATCH", "/api/v1/nodes/n1" + path, patch, kind=kind)
        assert code == want == status["code"] and text in status["message"], status


def test_an_event_lives_with_what_it_is_about(api):
    for about, namespace, want in (({"kind": "Node", "name": "n1"}, "default", 201), ({"kind": "Node", "name": "n1"}, "kube-system", 422),
                                   ({"kind": "Pod", "namespace": "kube-system"}, "kube-system", 201), ({"kind": "Pod", "namespace": "x"}, "default", 422)):
        code, status, _ = call(api, "POST", f"/api/v1/namespaces/{namespace}/events", {"metadata": {"name": "e"}, "involvedObject": about})
        assert code == want, status
    _, found, _ = call(api, "GET", "/api/v1/events")
    assert len(found["items"]) == 2 and not any("kind" in e for e in found["items"]), "what is in a list does not say its kind"


def test_a_subresource_writes_only_its_part(api):
    call(api, "PATCH", "/api/v1/nodes/n1/status", {"spec": {"unschedulable": True}}, kind=MERGE)
    call(api, "PATCH", "/api/v1/nodes/n1", {"status": {"conditions": []}}, kind=MERGE)
    node = api.get("nodes", "n1")
    assert not node["spec"].get("unschedulable") and node["status"]["conditions"]


@pytest.mark.parametrize("patch, want", [
    ({"metadata": {"finalizers": ["b"]}}, ["a", "b"]),
    ({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}, []),
    ({"metadata": {"finalizers": None}}, None),
])
def test_finalizers_are_a_set(patch, want):
    assert patches.strategic({"metadata": {"finalizers": ["a"]}}, patch)["metadata"].get("finalizers") == want


def test_a_patch_deletes_one_condition():
    node = {"status": {"conditions": [{"type": "a"}, {"type": "b"}]}}
    patch = {"status": {"conditions": [{"$patch": "delete", "type": "a"}]}}
    assert patches.strategic(node, patch)["status"]["conditions"] == [{"type": "b"}]


def test_a_cordon_brings_the_system_taint_beside_others(api):
    call(api, "PATCH", "/api/v1/nodes/n1", {"spec": {"taints": [{"key": "x", "effect": "NoExecute"}]}}, kind=STRATEGIC)
    _, node, _ = call(api, "PATCH", "/api/v1/nodes/n1", {"spec": {"unschedulable": True}}, kind=STRATEGIC)
    assert [t["key"] for t in node["spec"]["taints"]] == ["x", "node.kubernetes.io/unschedulable"]


def test_a_dry_run_changes_nothing(api):
    before = api.get("nodes", "n1")
    code, node, _ = call(api, "PATCH", "/api/v1/nodes/n1?dryRun=All", {"spec": {"unschedulable": True}}, kind=MERGE)
    assert code == 200 and node["spec"]["unschedulable"] and api.get("nodes", "n1") == before


def test_an_evicted_pod_is_ended(api):
    api.add_pod("p", "n1")
    code, status, _ = call(api, "POST", EVICTION, EVICT)
    assert (code, status["status"]) == (201, "Success")
    told = [o for _, _, _, o, _ in api.store.log if o["metadata"]["name"] == "p"][-1]
    assert "DisruptionTarget" in [c["type"] for c in told["status"]["conditions"]]
    until(lambda: api.get("pods", "p") is None, "the pod is gone")


def test_a_budget_refuses(api):
    api.add_pod("p", "n1", labels={"app": "db"})
    api.add_budget("db-budget", {"app": "db"}, minAvailable=1)
    code, status, headers = call(api, "POST", EVICTION, EVICT)
    assert code == 429 and headers["Retry-After"] is None
    assert status == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "TooManyRequests", "code": 429,
        "message": "Cannot evict pod as it would violate the pod's disruption budget.",
        "details": {"causes": [{"reason": "DisruptionBudget",
                                "message": "The disruption budget db-budget needs 1 healthy pods and has 1 currently"}]}}
    assert "deletionTimestamp" not in api.get("pods", "p")["metadata"]


def test_two_budgets_are_an_error_and_a_finished_pod_needs_none(api):
    api.add_pod("p", "n1", labels={"app": "db"})
    api.add_budget("one", {"app": "db"}, minAvailable=1)
    api.add_budget("two", {"app": "db"}, minAvailable=1)
    code, status, _ = call(api, "POST", EVICTION, EVICT)
    assert code == 500 and "more than one PodDisruptionBudget" in status["message"]
    api.store.remove(api_resource("pods"), "default", "p")
    api.add_pod("p", "n1", labels={"app": "db"}, phase="Succeeded")
    assert call(api, "POST", EVICTION, EVICT)[0] == 201 and api.get("pods", "p") is None


def api_resource(name):
    from store import BY_NAME
    return BY_NAME[name]


def test_what_keeps_a_pod(api):
    api.add_pod("finalized", "n1", finalizers=["example.org/wait"])
    api.add_pod("stuck", "n1", annotations={STUCK: "yes"})
    for name in ("finalized", "stuck"):
        assert call(api, "DELETE", f"/api/v1/namespaces/default/pods/{name}")[0] == 200
    until(lambda: api.get("pods", "finalized")["metadata"]["deletionGracePeriodSeconds"] == 0, "the kubelet has ended it")
    assert api.get("pods", "stuck")["metadata"]["deletionGracePeriodSeconds"] == 30
    call(api, "PATCH", "/api/v1/namespaces/default/pods/finalized", {"metadata": {"finalizers": None}}, kind=MERGE)
    assert api.get("pods", "finalized") is None and api.get("pods", "stuck")


def test_a_delete_has_preconditions(api):
    api.add_pod("p", "n1", uid="right")
    path = "/api/v1/namespaces/default/pods/p"
    code, status, _ = call(api, "DELETE", path, {"preconditions": {"uid": "wrong"}, "gracePeriodSeconds": 0})
    assert code == 409 and "UID in the precondition (wrong)" in status["message"] and "on Pod \"p\"" in status["message"] and api.get("pods", "p")
    assert call(api, "DELETE", path, {"preconditions": {"uid": "right"}, "gracePeriodSeconds": 0})[0] == 200
    assert api.get("pods", "p") is None


def test_lists_come_in_pieces(api):
    for n in range(5):
        api.add_pod(f"p{n}", "n1" if n < 3 else "n2", labels={"n": str(n)})
    _, part, _ = call(api, "GET", "/api/v1/pods?limit=2")
    names = [p["metadata"]["name"] for p in part["items"]]
    while more := part["metadata"].get("continue"):
        _, part, _ = call(api, "GET", f"/api/v1/pods?limit=2&continue={more}")
        names += [p["metadata"]["name"] for p in part["items"]]
    assert names == [f"p{n}" for n in range(5)]
    _, found, _ = call(api, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1&labelSelector=n+notin+(0)")
    assert [p["metadata"]["name"] for p in found["items"]] == ["p1", "p2"]
    assert call(api, "GET", "/api/v1/pods?fieldSelector=spec.nonsense%3D1")[0] == 400


def test_a_watch_goes_on_from_a_version(api):
    _, pods, _ = call(api, "GET", "/api/v1/pods")
    api.add_pod("mine", "n1")
    api.add_pod("other", "n2")
    watch = Watch(api, "/api/v1/pods?watch=1&allowWatchBookmarks=true&fieldSelector=spec.nodeName%3Dn1&resourceVersion="
                  + pods["metadata"]["resourceVersion"])
    until(lambda: ("ADDED", "mine") in watch.types(), "the pod that was added")
    call(api, "DELETE", "/api/v1/namespaces/default/pods/mine")
    until(lambda: ("DELETED", "mine") in watch.types(), "its end")
    mark = until(lambda: [e for e in watch.seen if e["type"] == "BOOKMARK"], "a bookmark")[-1]
    assert int(mark["object"]["metadata"]["resourceVersion"]) > int(pods["metadata"]["resourceVersion"])
    assert "other" not in {name for _, name in watch.types()}
    api.drop_all_watches()
    until(lambda: watch.ended, "the watch ended")


def test_a_version_that_was_compacted_is_410(api):
    _, pods, _ = call(api, "GET", "/api/v1/pods")
    api.add_pod("p", "n1")
    api.store.compact()
    watch = Watch(api, f"/api/v1/pods?watch=1&resourceVersion={pods['metadata']['resourceVersion']}")
    until(lambda: watch.ended, "the watch ended")
    assert [(e["type"], e["object"]["code"], e["object"]["reason"]) for e in watch.seen] == [("ERROR", 410, "Expired")]


def test_who_may_what(api):
    api.add_node_user("n1")
    api.add_pod("p", "n1")
    api.add_pod("far", "n2")
    api.add_user("reader", rules=[{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}], token="reader-token")
    patch = {"status": {"conditions": [{"type": "x", "status": "True"}]}}
    rows = [
        ("n1-token", "PATCH", "/api/v1/nodes/n1/status", patch, 200),
        ("n1-token", "PATCH", "/api/v1/nodes/n2/status", patch, 403),
        ("n1-token", "PATCH", "/api/v1/nodes/n1", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}, 403),
        ("n1-token", "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", None, 200),
        ("n1-token", "GET", "/api/v1/pods", None, 403),
        ("n1-token", "DELETE", "/api/v1/namespaces/default/pods/far", None, 403),
        ("n1-token", "DELETE", "/api/v1/namespaces/default/pods/p", None, 200),
        ("reader-token", "GET", "/api/v1/nodes/n1", None, 200),
        ("reader-token", "GET", "/api/v1/nodes", None, 403),
        ("wrong", "GET", "/api/v1/nodes/n1", None, 401),
        (None, "GET", "/api/v1/nodes/n1", None, 403),
    ]
    for token, method, path, body, want in rows:
        code, answer, _ = call(api, method, path, body, token, STRATEGIC if method == "PATCH" else "application/json")
        assert code == want, (token, method, path, answer)
    for path, text in (("/api/v1/nodes/n2", "node 'n1' cannot read 'n2', only its own Node object"),
                       ("/api/v1/pods", "can only list/watch pods with spec.nodeName field selector")):
        assert call(api, "GET", path, token="n1-token")[1]["message"].endswith(f'at the cluster scope: {text}')
    _, status, _ = call(api, "GET", "/api/v1/nodes/n1", token=None)
    assert status["message"] == 'nodes "n1" is forbidden: User "system:anonymous" cannot get resource "nodes" in API group "" at the cluster scope'


def test_a_client_certificate_names_its_user(api):
    cert, key = api.certificates.sign("node", "/O=system:nodes/CN=system:node:n1")
    context = ssl.create_default_context(cafile=str(api.certificates.ca))
    context.load_cert_chain(cert, key)
    with urllib.request.urlopen(api.url + "/api/v1/nodes/n1", context=context, timeout=20) as answer:
        assert json.loads(answer.read())["metadata"]["name"] == "n1"


def test_a_stranger_authority_is_refused(api):
    context = ssl.create_default_context(cafile=str(api.certificates.other_authority()))
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(api.url + "/version", context=context, timeout=20)


@pytest.mark.parametrize("kind, code", [("401", 401), ("403", 403), ("429", 429), ("500", 500)])
def test_a_fault_that_is_a_status(api, kind, code):
    api.add_fault(kind, "GET /api/v1/nodes/n1", seconds=3)
    got, status, headers = call(api, "GET", "/api/v1/nodes/n1")
    assert got == code == status["code"] and headers["Retry-After"] == ("3" if code == 429 else None)
    assert call(api, "GET", "/api/v1/nodes/n1")[0] == 200, "a fault is over after its times"


def test_faults_of_the_wire(api):
    path = "/api/v1/nodes/n1"
    for kind, error in (("reset", (OSError, http.client.HTTPException)), ("reset-half", (OSError, http.client.HTTPException)),
                        ("half-utf8", UnicodeDecodeError), ("garbage", json.JSONDecodeError)):
        api.add_fault(kind, path)
        with pytest.raises(error):
            call(api, "GET", path)
    api.add_fault("silent", path)
    with pytest.raises(TimeoutError):
        call(api, "GET", path, timeout=1)
    api.add_fault("slow", path, seconds=0.5)
    begun = time.monotonic()
    assert call(api, "GET", path)[0] == 200 and time.monotonic() - begun >= 0.5
    api.add_fault("no-metadata", path)
    assert "metadata" not in call(api, "GET", path)[1]


def test_a_huge_list(api):
    api.add_fault("huge", "GET /api/v1/pods")
    context = ssl.create_default_context(cafile=str(api.certificates.ca))
    request = urllib.request.Request(api.url + "/api/v1/pods", headers={"Authorization": "Bearer admin-token"})
    with urllib.request.urlopen(request, timeout=60, context=context) as answer:
        size = 0
        while piece := answer.read(1 << 20):
            size += len(piece)
    assert size == HUGE_BYTES


def test_a_server_that_is_deaf(api):
    api.deaf.set()
    with socket.create_connection(("127.0.0.1", api.port), timeout=5) as s, pytest.raises(TimeoutError):
        s.settimeout(0.5)
        ssl.create_default_context(cafile=str(api.certificates.ca)).wrap_socket(s, server_hostname="localhost")


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl here to compare with")
def test_kubectl_drains_and_is_refused(api, tmp_path):
    config = api.kubeconfig(tmp_path / "config")

    def kubectl(*arguments):
        return subprocess.run(["kubectl", "--kubeconfig", str(config), "--cache-dir", str(tmp_path / "cache"), *arguments], timeout=60,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, "HOME": str(tmp_path)})
    owner = api.add_owner("ReplicaSet", "web")
    for n in range(3):
        api.add_pod(f"web-{n}", "n1", owner=owner)
    api.add_pod("kept", "n2", owner=owner, labels={"app": "kept"})
    api.add_budget("kept-budget", {"app": "kept"}, minAvailable=1)
    done = kubectl("drain", "n1", "--timeout=30s")
    assert done.returncode == 0 and "node/n1 drained" in done.stdout, done
    assert api.names("pods") == ["kept"]
    done = kubectl("drain", "n2", "--timeout=1s")
    assert done.returncode == 1 and "Cannot evict pod as it would violate the pod's disruption budget." in done.stderr, done


def owners(api, field):
    """Who owns a field of n1's spec."""
    return [e["manager"] for e in api.get("nodes", "n1")["metadata"]["managedFields"] if f"f:{field}" in e["fieldsV1"].get("f:spec", {})]


def test_who_wrote_a_field_last_owns_it(api):
    def patch(manager, spec, path="/api/v1/nodes/n1"):
        assert call(api, "PATCH", f"{path}?fieldManager={manager}", {"spec": spec}, kind=MERGE)[0] == 200
    patch("one", {"unschedulable": True})
    assert owners(api, "unschedulable") == ["one"] and owners(api, "taints") == ["one"]
    patch("two", {"unschedulable": True, "podCIDR": "10.0.0.0/24"})
    assert owners(api, "unschedulable") == ["one"] and owners(api, "podCIDR") == ["two"]
    patch("two", {"unschedulable": None})
    assert owners(api, "unschedulable") == []
    patch("two", {"unschedulable": True})
    assert owners(api, "unschedulable") == ["two"]
    condition = {"status": {"conditions": [{"type": "a", "status": "True"}]}}
    assert call(api, "PATCH", "/api/v1/nodes/n1/status?fieldManager=x", condition, kind=STRATEGIC)[0] == 200
    entry = api.get("nodes", "n1")["metadata"]["managedFields"][-1]
    assert (entry["manager"], entry["operation"], entry["subresource"], entry["fieldsType"]) == ("x", "Update", "status", "FieldsV1")
    assert entry["fieldsV1"]["f:status"]["f:conditions"]['k:{"type":"a"}'] == {".": {}, "f:status": {}, "f:type": {}}
    # What somebody writes there is not believed; an empty list takes all of it away.
    call(api, "PATCH", "/api/v1/nodes/n1", {"metadata": {"managedFields": [{"manager": "me"}]}}, kind=MERGE)
    assert owners(api, "unschedulable") == ["two"]
    call(api, "PATCH", "/api/v1/nodes/n1", {"metadata": {"managedFields": [{}]}}, kind=MERGE)
    assert "managedFields" not in api.get("nodes", "n1")["metadata"]
    patch("two", {"unschedulable": None, "podCIDR": "10.0.1.0/24"})
    assert "managedFields" not in api.get("nodes", "n1")["metadata"]  # nobody owns anything from then on


def test_nothing_is_made_in_a_namespace_that_ends(api):
    api.add_pod("p", "n1")
    api.store.update(BY_NAME["namespaces"], "", "default", lambda o: {**o, "status": {"phase": "Terminating"}}, "status")
    code, answer, _ = call(api, "POST", EVICTION, EVICT)
    assert (code, answer["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    assert call(api, "DELETE", "/api/v1/namespaces/default/pods/p")[0] == 200
