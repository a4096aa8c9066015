#!/usr/bin/python3
"""Asks a real kube-apiserver and the stand-in the same things, and prints where they differ: compare.py --kubeconfig FILE

Needs an administrator's kubeconfig of a cluster to experiment on (client certificate or token; no exec plugin), Kubernetes 1.30 or
later. It makes a node and a namespace, both called pleg-compare-PID, and deletes them. No controllers are needed: what they would write, the
status of a budget among it, is written here. Numbers of versions, times, UIDs and managedFields of others than nodes are not compared.

Exit status 0: the same, apart from what KNOWN says with its reason; 1: differences; 77: no kubeconfig (PLEG_KUBECONFIG is taken, too).
"""

import argparse
import base64
import contextlib
import json
import os
import pathlib
import re
import ssl
import sys
import tempfile
import urllib.error
import urllib.request

import yaml

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from apiserver import ApiServer  # noqa: E402

NAME = f"pleg-compare-{os.getpid()}"  # a namespace that is being deleted may linger
MERGE, STRATEGIC, JSON_PATCH = (f"application/{kind}+json" for kind in ("merge-patch", "strategic-merge-patch", "json-patch"))
NODE, PODS, EVENTS = f"/api/v1/nodes/{NAME}", f"/api/v1/namespaces/{NAME}/pods", f"/api/v1/namespaces/{NAME}/events"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAME}/leases"
BUDGETS = f"/apis/policy/v1/namespaces/{NAME}/poddisruptionbudgets"
TIME = "2026-01-02T03:04:05Z"
# What differs and may, by the name of the request: why. Anything else that differs is to be mended in the stand-in.
KNOWN = {
    "a pod without containers": "the stand-in validates no pods",
    "a watch that asks for initial events": "the stand-in is a server without the WatchList feature",
    "a label selector that is none": "the words of two parsers",
    "a continuation that is none": "the words of two parsers",
    "a watch from long ago": "a real server that is young, and compacts every five minutes, still knows its past",
    "an eviction that is a pod": "the real one takes any object for an Eviction",
    "a body that is no JSON": "the words of two JSON parsers",
}


class Side:
    """One of the two servers."""

    def __init__(self, config):
        text = yaml.safe_load(pathlib.Path(config).read_text())

        def named(kind, name):
            return next(o for o in text[kind + "s"] if o["name"] == name)[kind]
        where = named("context", text["current-context"])
        cluster, user = named("cluster", where["cluster"]), named("user", where["user"])
        self.url, self.token = cluster["server"].rstrip("/"), user.get("token")
        with tempfile.TemporaryDirectory() as folder:
            def file(part, key):
                if f"{key}-data" not in part:
                    return part.get(key)
                path = pathlib.Path(folder) / key
                path.write_bytes(base64.b64decode(part[f"{key}-data"]))
                return str(path)
            self.anonymous = ssl.create_default_context(cafile=file(cluster, "certificate-authority"))
            self.context = ssl.create_default_context(cafile=file(cluster, "certificate-authority"))
            if certificate := file(user, "client-certificate"):
                self.context.load_cert_chain(certificate, file(user, "client-key"))

    def ask(self, method, path, body=None, kind="application/json", user="admin"):
        """(HTTP status, object, or the list of objects of a watch)"""
        headers = {"Content-Type": kind}
        if token := {"admin": self.token, "wrong": "wrong"}.get(user):
            headers["Authorization"] = f"Bearer {token}"
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.context if user == "admin" else self.anonymous) as answer:
                code, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            code, text = error.code, error.read().decode()
        try:
            return code, [json.loads(line) for line in text.splitlines()] if "watch=1" in path and code == 200 else json.loads(text)
        except ValueError:
            return code, text


def event(name, **more):
    return {"metadata": {"name": name, "namespace": NAME}, "reason": "Compared", "message": "m", "type": "Normal", "count": 1,
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": NAME, "name": "p", "uid": "u"}, "firstTimestamp": TIME,
            "lastTimestamp": TIME, "source": {"component": "pleg", "host": NAME}, "reportingComponent": "pleg", "reportingInstance": NAME, **more}


def eviction(name, **more):
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAME}, **more}


def taints(*pairs):
    return {"spec": {"taints": [{"key": key, "effect": effect} for key, effect in pairs]}}


def pod(name, **labels):
    return {"metadata": {"name": name, "labels": labels}, "spec": {"nodeName": NAME, "containers": [{"name": "main", "image": "none.invalid/none"}]}}


def conditions(*types):
    return {"status": {"conditions": [{"type": t, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": TIME,
                                       "lastHeartbeatTime": TIME} for t in types]}}


BUDGET = {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1, "observedGeneration": 1}
RUNNING = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
# (name, method, path, body, content type, user)
REQUESTS = [(*row, *(None, "application/json", "admin")[len(row) - 3:]) for row in [
    ("a node that is not there", "GET", "/api/v1/nodes/none"),
    ("a pod that is not there", "GET", f"{PODS}/none"),
    ("no such path", "GET", "/api/v1/nonsense"),
    ("no such group", "GET", "/apis/nonsense/v1/nonsense"),
    ("no such subresource", "GET", f"{NODE}/nonsense"),
    ("a wrong token", "GET", NODE, None, "application/json", "wrong"),
    ("nobody", "GET", NODE, None, "application/json", "nobody"),
    ("nobody lists", "GET", "/api/v1/nodes", None, "application/json", "nobody"),
    ("nobody reads a pod", "GET", f"{PODS}/p", None, "application/json", "nobody"),
    ("nobody patches a status", "PATCH", f"{NODE}/status", {}, MERGE, "nobody"),
    ("nobody evicts", "POST", f"{PODS}/p/eviction", eviction("p"), "application/json", "nobody"),
    ("a node that is there", "POST", "/api/v1/nodes", {"metadata": {"name": NAME}}),
    ("no name", "POST", LEASES, {"metadata": {}}),
    ("no such namespace", "POST", "/api/v1/namespaces/none/events", event("e", metadata={"name": "e", "namespace": "none"})),
    ("another namespace", "POST", EVENTS, event("e", metadata={"name": "e", "namespace": "default"})),
    ("a body that is no JSON", "POST", EVENTS, "{"),
    ("a pod without containers", "POST", PODS, {"metadata": {"name": "x"}, "spec": {}}),
    ("a method that is not there", "POST", NODE, {}),
    ("a patch of no type", "PATCH", NODE, {}, "application/json"),
    ("conditions, merged by type", "PATCH", f"{NODE}/status", conditions("a", "b"), STRATEGIC),
    ("one more", "PATCH", f"{NODE}/status", conditions("c"), STRATEGIC),
    ("a condition without a type", "PATCH", f"{NODE}/status", {"status": {"conditions": [{"status": "True"}]}}, STRATEGIC),
    ("a condition is deleted", "PATCH", f"{NODE}/status", {"status": {"conditions": [{"$patch": "delete", "type": "b"}]}}, STRATEGIC),
    ("a merge patch replaces lists", "PATCH", f"{NODE}/status", conditions("only"), MERGE),
    ("a status without effect on the spec", "PATCH", f"{NODE}/status", {"spec": {"unschedulable": True}}, MERGE),
    ("a patch on an old version", "PATCH", NODE, {"metadata": {"resourceVersion": "1"}, **taints(("a", "NoSchedule"))}, MERGE),
    ("a patch with another UID", "PATCH", NODE, {"metadata": {"uid": "other"}}, MERGE),
    ("a patch with another name", "PATCH", NODE, {"metadata": {"name": "other"}}, MERGE),
    ("a taint", "PATCH", NODE, taints(("a", "NoSchedule")), STRATEGIC),
    ("taints are replaced", "PATCH", NODE, taints(("b", "NoSchedule")), STRATEGIC),
    ("a taint twice", "PATCH", NODE, taints(("b", "NoSchedule"), ("b", "NoSchedule")), MERGE),
    ("a taint of no effect", "PATCH", NODE, taints(("b", "Nonsense")), MERGE),
    ("a JSON patch", "PATCH", NODE, [{"op": "test", "path": "/spec/taints/0/key", "value": "b"}, {"op": "remove", "path": "/spec/taints"}], JSON_PATCH),
    ("a test that fails", "PATCH", NODE, [{"op": "test", "path": "/metadata/name", "value": "b"}], JSON_PATCH),
    ("a path that is not there", "PATCH", NODE, [{"op": "remove", "path": "/spec/nonsense"}], JSON_PATCH),
    ("a JSON patch that is no list", "PATCH", NODE, {}, JSON_PATCH),
    ("a cordon that is a dry run", "PATCH", f"{NODE}?dryRun=All", {"metadata": {"labels": {"dry": "run"}}}, MERGE),
    ("and had no effect", "GET", NODE),
    ("a patch of nothing that is there", "PATCH", "/api/v1/nodes/none", {}, MERGE),
    ("an Event", "POST", EVENTS, event("e")),
    ("an Event twice", "POST", EVENTS, event("e")),
    ("its count", "PATCH", f"{EVENTS}/e", {"count": 2, "lastTimestamp": TIME}, STRATEGIC),
    ("an Event of another namespace's pod", "POST", EVENTS,
     event("e2", involvedObject={"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "p"})),
    ("an Event of a node outside default", "POST", EVENTS, event("e3", involvedObject={"apiVersion": "v1", "kind": "Node", "name": "n"})),
    ("Events of a UID", "GET", f"{EVENTS}?fieldSelector=involvedObject.uid%3Du"),
    ("a field that no selector knows", "GET", f"{EVENTS}?fieldSelector=nonsense%3Du"),
    ("a field of a pod that no selector knows", "GET", "/api/v1/pods?fieldSelector=spec.nonsense%3Du"),
    ("a field selector that is none", "GET", "/api/v1/pods?fieldSelector=nonsense"),
    ("a label selector that is none", "GET", "/api/v1/pods?labelSelector=%2C%3D"),
    ("a continuation that is none", "GET", f"{EVENTS}?limit=1&continue=nonsense"),
    ("a watch from no version", "GET", f"{EVENTS}?watch=1&resourceVersion=nonsense&timeoutSeconds=1"),
    ("a watch from long ago", "GET", f"{EVENTS}?watch=1&resourceVersion=1&timeoutSeconds=1"),
    ("a watch from now on", "GET", f"{EVENTS}?watch=1&resourceVersion=0&timeoutSeconds=1"),
    ("a watch that asks for initial events", "GET", f"{EVENTS}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true"
     "&resourceVersionMatch=NotOlderThan&timeoutSeconds=1"),
    ("a Lease", "POST", LEASES, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "x"}}),
    ("a Lease on an old version", "PUT", f"{LEASES}/l", {"metadata": {"name": "l", "resourceVersion": "1"}, "spec": {"holderIdentity": "y"}}),
    ("a Lease of another name", "PUT", f"{LEASES}/l", {"metadata": {"name": "m"}, "spec": {"holderIdentity": "y"}}),
    ("a delete with a wrong UID", "DELETE", f"{LEASES}/l", {"preconditions": {"uid": "wrong"}}),
    ("a delete with an old version", "DELETE", f"{LEASES}/l", {"preconditions": {"resourceVersion": "1"}}),
    ("a delete", "DELETE", f"{LEASES}/l"),
    ("a delete of nothing", "DELETE", f"{LEASES}/l"),
    ("a pod", "POST", PODS, pod("p", app="p")),
    ("it runs", "PATCH", f"{PODS}/p/status", RUNNING, STRATEGIC),
    ("its budget", "POST", BUDGETS, {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}}),
    ("the budget's status", "PATCH", f"{BUDGETS}/b/status", {"status": BUDGET}, MERGE),
    ("the budget refuses", "POST", f"{PODS}/p/eviction", eviction("p")),
    ("the budget refuses a dry run", "POST", f"{PODS}/p/eviction", eviction("p", deleteOptions={"dryRun": ["All"]})),
    ("an eviction of another name", "POST", f"{PODS}/p/eviction", eviction("q")),
    ("an eviction of nothing", "POST", f"{PODS}/none/eviction", eviction("none")),
    ("an eviction that is a pod", "POST", f"{PODS}/p/eviction", pod("p")),
    ("a second budget", "POST", BUDGETS, {"metadata": {"name": "c"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}}),
    ("two budgets", "POST", f"{PODS}/p/eviction", eviction("p")),
    ("a pod's delete with a wrong UID", "DELETE", f"{PODS}/p", {"preconditions": {"uid": "wrong"}, "gracePeriodSeconds": 0}),
    ("a pod's delete, with grace", "DELETE", f"{PODS}/p"),
    ("an eviction of one that is going", "POST", f"{PODS}/p/eviction", eviction("p")),
    ("a pod's delete, at once", "DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0}),
    ("a pod without a budget", "POST", PODS, pod("q")),
    ("it runs, too", "PATCH", f"{PODS}/q/status", RUNNING, STRATEGIC),
    ("its eviction", "POST", f"{PODS}/q/eviction", eviction("q")),
]]


def plain(value):
    """What is compared of an answer: of an object what pleg reads or writes, of a Status all."""
    if isinstance(value, list):
        return [plain(v) for v in value]
    if not isinstance(value, dict):
        if not isinstance(value, str):
            return value
        value = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", value)
        return value if value.startswith("4") else re.sub(r"\b\d{2,}\b", "N", value)
    if value.get("kind") == "Status":
        return {k: plain(v) for k, v in value.items()}
    if "causes" in value:  # the real one says the same twice, since it validates twice
        return {**value, "causes": [plain(c) for n, c in enumerate(value["causes"]) if c not in value["causes"][:n]]}
    if "type" in value and "object" in value:
        return {"type": value["type"], "object": plain(value["object"])}
    if "items" in value:
        return {"kind": value.get("kind"), "items": [plain(v) for v in value["items"]]}
    if "metadata" in value:
        meta, spec, status = value["metadata"], value.get("spec") or {}, value.get("status") or {}
        return {"kind": value.get("kind"), "name": meta.get("name"), "namespace": meta.get("namespace"), "labels": meta.get("labels") or None,
                "deleted": "deletionTimestamp" in meta, "grace": meta.get("deletionGracePeriodSeconds"), "taints": [
                    {k: t[k] for k in ("key", "effect")} for t in spec.get("taints") or [] if "node.kubernetes.io/" not in t["key"]],
                "unschedulable": spec.get("unschedulable"), "conditions": [(c["type"], c.get("status")) for c in status.get("conditions") or []],
                "count": value.get("count"), "involvedObject": value.get("involvedObject"), "owners": owners(value)}
    return {k: plain(v) for k, v in value.items()}


def owners(value):
    """Who wrote what of a node last, of managedFields. Of other objects the real server owns its defaults, too, and takes some structs whole."""
    return sorted([e["manager"], e["operation"], e.get("subresource", ""), e["fieldsV1"]] for e in value["metadata"].get("managedFields") or []
                  if value.get("kind") == "Node" and not e["manager"].startswith("kube-"))


def clean(side):
    for path in (f"{PODS}/p", f"{PODS}/q"):
        side.ask("DELETE", path, {"gracePeriodSeconds": 0})
    for name in ("b", "c"):
        side.ask("DELETE", f"{BUDGETS}/{name}")
    for name in ("e", "e2", "e3"):
        side.ask("DELETE", f"{EVENTS}/{name}")
    side.ask("DELETE", NODE)


def prepare(side):
    clean(side)
    side.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAME}})
    side.ask("POST", f"/api/v1/namespaces/{NAME}/serviceaccounts", {"metadata": {"name": "default"}})
    code, answer = side.ask("POST", "/api/v1/nodes", {"metadata": {"name": NAME, "labels": {"made": "here"}}})  # so that it has an owner
    if code != 201:
        sys.exit(f"compare: the node cannot be made at {side.url}: {answer}")


def main():
    parser = argparse.ArgumentParser(description="Asks a real kube-apiserver and the stand-in the same, and prints the differences.")
    parser.add_argument("--kubeconfig", default=os.environ.get("PLEG_KUBECONFIG"))
    parser.add_argument("--all", action="store_true", help="print what both say, also where they agree")
    arguments = parser.parse_args()
    if not arguments.kubeconfig:
        print("compare: PLEG_KUBECONFIG names no administrator's kubeconfig of a real kube-apiserver to experiment on")
        return 77
    real, different = Side(arguments.kubeconfig), 0
    with ApiServer(kubelet=False) as api, contextlib.ExitStack() as stack:
        standin = Side(api.kubeconfig(api.dir / "compare.conf"))
        for side in (real, standin):
            stack.callback(side.ask, "DELETE", f"/api/v1/namespaces/{NAME}")
            stack.callback(clean, side)
            prepare(side)
        api.store.compact()
        print(f"real: {real.ask('GET', '/version')[1].get('gitVersion')}")
        for name, *request in REQUESTS:
            said = [(code, plain(answer)) for code, answer in (real.ask(*request), standin.ask(*request))]
            if arguments.all or said[0] != said[1]:
                known = KNOWN.get(name)
                different += said[0] != said[1] and not known
                print(f"\n{name}: {' '.join(request[:2])}{f'   (known: {known})' if known else ''}")
                for who, (code, answer) in zip(("real", "stand-in"), said):
                    print(f"  {who:8} {code} {json.dumps(answer, sort_keys=True)}")
    print(f"\n{len(REQUESTS)} requests, {different} differences")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
