"""What else lives in a cluster and matters to a drain: the disruption controller, the node lifecycle controller, and a kubelet that
ends the pods that were told to go. None of them is more than the part that a client can see.
"""

import heapq
import itertools
import math
import threading
import time

import status as st
from store import BY_NAME, now, selector_of

PODS, NODES, BUDGETS = BY_NAME["pods"], BY_NAME["nodes"], BY_NAME["poddisruptionbudgets"]
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
STUCK = "standin.pleg.dev/stuck"  # annotation of a pod: its kubelet never gets it ended


def ready(pod):
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in (pod.get("status") or {}).get("conditions") or [])


def _count(value, of):
    return math.ceil(int(value[:-1]) * of / 100) if isinstance(value, str) and value.endswith("%") else int(value)


def budget_status(store, budget):
    """The status of a PodDisruptionBudget as its controller would have it now; the lock is held."""
    spec, namespace = budget["spec"], budget["metadata"]["namespace"]
    matches = selector_of(spec.get("selector"))
    pods = [p for p in store.list(PODS, namespace, matches)[0] if (p.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
    healthy = sum(1 for p in pods if ready(p) and "deletionTimestamp" not in p["metadata"])
    expected = (budget.get("status") or {}).get("expectedPods") or len(pods)
    expected = max(expected, len(pods))
    if "maxUnavailable" in spec:
        desired = max(0, expected - _count(spec["maxUnavailable"], expected))
    else:
        desired = _count(spec.get("minAvailable", 1), expected)
    allowed = max(0, healthy - desired)
    return {"currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected, "disruptionsAllowed": allowed,
            "observedGeneration": budget["metadata"].get("generation", 1)}


def refresh_budgets(store):
    with store.changed:
        for (namespace, name), budget in list(store.objects[BUDGETS.name].items()):
            fresh = budget_status(store, budget)
            if budget.get("status") != fresh:
                store.update(BUDGETS, namespace, name, lambda o, s=fresh: {**o, "status": s}, "status")


def disrupted(pod):
    """The condition by which a pod tells that it was evicted."""
    status = pod.setdefault("status", {})
    status["conditions"] = [c for c in status.get("conditions") or [] if c.get("type") != "DisruptionTarget"] + [
        {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
         "lastTransitionTime": now()}]
    return pod


def evict(store, namespace, name, eviction, dry_run):
    """POST pods/NAME/eviction: the object that is answered."""
    with store.changed:
        store.check_namespace(PODS, namespace, name)
        pod = store.get(PODS, namespace, name)
        options = eviction.get("deleteOptions") or {}
        phase = (pod.get("status") or {}).get("phase")
        if phase not in ("Succeeded", "Failed", "Pending") and "deletionTimestamp" not in pod["metadata"]:
            budgets = [b for b in store.list(BUDGETS, namespace)[0] if selector_of(b["spec"].get("selector"))(pod)]
            if len(budgets) > 1:
                raise st.ApiError(500, None, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
            if budgets:
                budget = budgets[0]
                s = budget_status(store, budget)
                guarded = ready(pod) or s["currentHealthy"] < s["desiredHealthy"]
                if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow" and not ready(pod):
                    guarded = False
                if guarded and s["disruptionsAllowed"] == 0:
                    raise st.budget(f"The disruption budget {budget['metadata']['name']} needs {s['desiredHealthy']} healthy pods and has "
                                    f"{s['currentHealthy']} currently")
        if not dry_run:
            store.update(PODS, namespace, name, disrupted, "status")
        store.delete(PODS, namespace, name, options, dry_run)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def node_taints(obj):
    """What TaintNodesByCondition and the node lifecycle controller make of spec.unschedulable; changes `obj`."""
    spec = obj.setdefault("spec", {})
    taints = [t for t in spec.get("taints") or [] if t.get("key") != UNSCHEDULABLE]
    if spec.get("unschedulable"):
        old = [t for t in spec.get("taints") or [] if t.get("key") == UNSCHEDULABLE]
        taints += old or [{"key": UNSCHEDULABLE, "effect": "NoSchedule"}]
    if taints:
        spec["taints"] = taints
    else:
        spec.pop("taints", None)
    return obj


class Kubelet(threading.Thread):
    """Ends pods with a deletionTimestamp: after their grace period, but at most `delay_max` seconds, since nothing runs in them."""

    def __init__(self, store, delay_max=0.2):
        super().__init__(daemon=True, name="kubelet")
        self.store, self.delay_max = store, delay_max
        self.due, self.known, self.order, self.ended = [], set(), itertools.count(), False

    def run(self):
        while not self.ended:
            with self.store.changed:
                self._look()
                wait = min(1.0, self.due[0][0] - time.monotonic()) if self.due else 1.0
                if wait > 0:
                    self.store.changed.wait(wait)
                self._end_due()
                refresh_budgets(self.store)

    def _look(self):
        for (namespace, name), pod in self.store.objects["pods"].items():
            meta = pod["metadata"]
            if "deletionTimestamp" not in meta or meta["uid"] in self.known or STUCK in (meta.get("annotations") or {}):
                continue
            if not (pod.get("spec") or {}).get("nodeName"):
                continue
            self.known.add(meta["uid"])
            delay = min(self.delay_max, meta.get("deletionGracePeriodSeconds", 0))
            heapq.heappush(self.due, (time.monotonic() + delay, next(self.order), namespace, name, meta["uid"]))

    def _end_due(self):
        while self.due and self.due[0][0] <= time.monotonic():
            _, _, namespace, name, uid = heapq.heappop(self.due)
            pod = self.store.objects["pods"].get((namespace, name))
            if pod is not None and pod["metadata"]["uid"] == uid:
                self.store.delete(PODS, namespace, name, {"gracePeriodSeconds": 0})

    def stop(self):
        self.ended = True
        with self.store.changed:
            self.store.changed.notify_all()
        self.join(10)
