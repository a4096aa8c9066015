"""The objects, their versions, and the history that watches read. One lock; every change gets the next resourceVersion."""

import copy
import dataclasses
import datetime
import re
import threading
import uuid

import managed
import status as st


def now(offset=0):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=offset)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclasses.dataclass(frozen=True)
class Resource:
    group: str
    version: str
    name: str
    kind: str
    namespaced: bool
    subresources: tuple = ()
    fields: tuple = ()  # of field selectors, besides metadata.name and metadata.namespace
    short: tuple = ()

    @property
    def qualified(self):
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def api_version(self):
        return f"{self.group}/{self.version}" if self.group else self.version

    def by_kind(self):
        """As a failed precondition of a delete names it."""
        return dataclasses.replace(self, name=self.kind)

    def details(self):
        return {"group": self.group, "kind": self.name} if self.group else {"kind": self.name}


EVENT_FIELDS = tuple("involvedObject." + f for f in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")) + (
    "reason", "type", "source", "reportingComponent")
RESOURCES = [
    Resource("", "v1", "nodes", "Node", False, ("status",), ("spec.unschedulable",), ("no",)),
    Resource("", "v1", "namespaces", "Namespace", False, ("status",), ("status.phase",), ("ns",)),
    Resource("", "v1", "pods", "Pod", True, ("status", "eviction"), ("spec.nodeName", "status.phase", "spec.schedulerName"), ("po",)),
    Resource("", "v1", "events", "Event", True, (), EVENT_FIELDS, ("ev",)),
    Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True, ("status",), (), ("pvc",)),
    Resource("", "v1", "persistentvolumes", "PersistentVolume", False, ("status",), (), ("pv",)),
    Resource("", "v1", "replicationcontrollers", "ReplicationController", True, ("status",), (), ("rc",)),
    Resource("apps", "v1", "daemonsets", "DaemonSet", True, ("status",), (), ("ds",)),
    Resource("apps", "v1", "deployments", "Deployment", True, ("status",), (), ("deploy",)),
    Resource("apps", "v1", "replicasets", "ReplicaSet", True, ("status",), (), ("rs",)),
    Resource("apps", "v1", "statefulsets", "StatefulSet", True, ("status",), (), ("sts",)),
    Resource("batch", "v1", "jobs", "Job", True, ("status",)),
    Resource("coordination.k8s.io", "v1", "leases", "Lease", True),
    Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, ("status",), (), ("pdb",)),
]
BY_PATH = {(r.group, r.version, r.name): r for r in RESOURCES}
BY_NAME = {r.name: r for r in RESOURCES}


def field(obj, path):
    for word in path.split("."):
        obj = obj.get(word) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj).lower() if isinstance(obj, bool) else str(obj)


def field_selector(resource, text):
    """A predicate, or 400 for a field that the server does not index."""
    terms = []
    for term in filter(None, text.split(",")):
        found = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", term)
        if not found:
            raise st.bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        key, operator, value = found.groups()
        if key not in ("metadata.name", "metadata.namespace", *resource.fields):
            raise st.bad_request(f'field label not supported: {key}')
        terms.append((key, operator != "!=", value))
    return lambda obj: all((field(obj, key) == value) is equal for key, equal, value in terms)


def label_selector(text):
    """Equality, existence and sets, as in a query."""
    terms = []
    for term in re.findall(r"[^,()]+(?:\([^)]*\))?", text):
        term = term.strip()
        if found := re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", term):
            key, operator, values = found.groups()
            terms.append((key, operator, {v.strip() for v in values.split(",")}))
        elif found := re.fullmatch(r"([^=!\s]+)\s*(==|=|!=)\s*(\S*)", term):
            terms.append((found[1], "notin" if found[2] == "!=" else "in", {found[3]}))
        elif found := re.fullmatch(r"(!?)([\w./-]+)", term):
            terms.append((found[2], "absent" if found[1] else "exists", set()))
        else:
            raise st.bad_request(f"unable to parse requirement: found '{term}'")

    def matches(obj):
        labels = obj["metadata"].get("labels") or {}
        for key, operator, values in terms:
            holds = {"in": labels.get(key) in values, "notin": labels.get(key) not in values,
                     "exists": key in labels, "absent": key not in labels}[operator]
            if not holds:
                return False
        return True
    return matches


def selector_of(spec):
    """A LabelSelector object as a predicate; the empty one is everything, a missing one nothing."""
    if spec is None:
        return lambda obj: False
    terms = [f"{k}={v}" for k, v in (spec.get("matchLabels") or {}).items()]
    for e in spec.get("matchExpressions") or []:
        values = ",".join(e.get("values") or [])
        terms.append({"In": f"{e['key']} in ({values})", "NotIn": f"{e['key']} notin ({values})",
                      "Exists": e["key"], "DoesNotExist": "!" + e["key"]}[e["operator"]])
    return label_selector(",".join(terms))


class Store:
    def __init__(self, history=10000):
        self.changed = threading.Condition(threading.RLock())
        self.version = 1000
        self.objects = {r.name: {} for r in RESOURCES}
        self.log = []  # (version, type, resource name, object, object before)
        self.history = history
        self.compacted = self.version  # watches from before this version get 410

    def _bump(self, kind, resource, obj, before=None):
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.log.append((self.version, kind, resource.name, copy.deepcopy(obj), copy.deepcopy(before)))
        if len(self.log) > self.history:
            self.compacted = self.log[-self.history - 1][0]
            del self.log[:-self.history]
        self.changed.notify_all()

    def compact(self):
        with self.changed:
            self.compacted = self.version
            self.log.clear()
            self.changed.notify_all()

    def get(self, resource, namespace, name):
        with self.changed:
            obj = self.objects[resource.name].get((namespace if resource.namespaced else "", name))
            if obj is None:
                raise st.not_found(resource, name)
            return copy.deepcopy(obj)

    def list(self, resource, namespace="", matches=lambda obj: True):
        """(objects sorted by key, version)"""
        with self.changed:
            return [copy.deepcopy(o) for key, o in sorted(self.objects[resource.name].items())
                    if (not namespace or key[0] == namespace) and matches(o)], self.version

    def create(self, resource, namespace, obj, dry_run=False, manager="standin"):
        obj = copy.deepcopy(obj)
        meta = obj.setdefault("metadata", {})
        with self.changed:
            if not meta.get("name"):
                if not meta.get("generateName"):
                    raise st.invalid(resource.kind, "", "metadata.name: Required value: name or generateName is required", resource.group)
                meta["name"] = meta["generateName"] + uuid.uuid4().hex[:5]
            if resource.namespaced:
                if meta.get("namespace", namespace) != namespace:
                    raise st.bad_request("the namespace of the provided object does not match the namespace sent on the request")
                meta["namespace"] = namespace
                self.check_namespace(resource, namespace, meta["name"])
            key = (namespace if resource.namespaced else "", meta["name"])
            if key in self.objects[resource.name]:
                raise st.already_exists(resource, meta["name"])
            meta.setdefault("uid", str(uuid.uuid4()))
            meta.setdefault("creationTimestamp", now())
            obj = {"apiVersion": resource.api_version, "kind": resource.kind, **{k: v for k, v in obj.items() if k not in ("apiVersion", "kind")}}
            managed.update(None, obj, manager, "", resource.api_version, now())
            if not dry_run:
                self.objects[resource.name][key] = obj
                self._bump("ADDED", resource, obj)
            return copy.deepcopy(obj)

    def check_namespace(self, resource, namespace, name):
        """Nothing is made in a namespace that is not there or is being deleted; an eviction is something made, too."""
        found = self.objects["namespaces"].get(("", namespace))
        if found is None:
            raise st.not_found(BY_NAME["namespaces"], namespace)
        if (found.get("status") or {}).get("phase") == "Terminating":
            raise st.namespace_ends(resource, namespace, name)

    def update(self, resource, namespace, name, change, subresource="", dry_run=False, manager="standin"):
        """`change(old)` gives the new object; a resourceVersion in it that is not the present one is a conflict."""
        with self.changed:
            key = (namespace if resource.namespaced else "", name)
            old = self.get(resource, namespace, name)
            new = change(copy.deepcopy(old))
            if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
                raise st.bad_request("the object provided is unrecognized: it has no metadata")
            meta = new["metadata"]
            if meta.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
                raise st.conflict(resource, name)
            if meta.get("name", name) != name:
                raise st.bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")
            if meta.get("uid") not in (None, "", old["metadata"]["uid"]):
                raise st.invalid(resource.kind, name, f'metadata.uid: Invalid value: "{meta["uid"]}": field is immutable')
            for fixed in ("name", "namespace", "uid", "creationTimestamp", "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"):
                meta.pop(fixed, None)
                if fixed in old["metadata"]:
                    meta[fixed] = old["metadata"][fixed]
            if subresource == "status":
                kept = {k: v for k, v in old.items() if k != "status"}
                kept["metadata"] = meta
                new = {**kept, **({"status": new["status"]} if "status" in new else {})}
            elif "status" in resource.subresources:
                new = {**{k: v for k, v in new.items() if k != "status"}, **({"status": old["status"]} if "status" in old else {})}
            new["apiVersion"], new["kind"] = resource.api_version, resource.kind
            if "managedFields" in old["metadata"]:  # what is written there is ignored, but for an empty list
                if meta.get("managedFields") not in ([], [{}]):
                    meta["managedFields"] = old["metadata"]["managedFields"]
            else:
                meta.pop("managedFields", None)
            if new == old:  # a write that changes nothing makes no new version
                return copy.deepcopy(new)
            if meta.get("managedFields") in ([], [{}]):
                meta.pop("managedFields")
            else:
                managed.update(old, new, manager, subresource, resource.api_version, now())
            if dry_run:
                return copy.deepcopy(new)
            self.objects[resource.name][key] = new
            self._bump("MODIFIED", resource, new, old)
            if meta.get("deletionTimestamp") and not meta.get("finalizers") and not meta.get("deletionGracePeriodSeconds"):
                self.remove(resource, namespace, name)
            return copy.deepcopy(new)

    def remove(self, resource, namespace, name):
        """Out of the store at once, if there is one of that name."""
        with self.changed:
            obj = self.objects[resource.name].pop((namespace if resource.namespaced else "", name), None)
            if obj is not None:
                self._bump("DELETED", resource, obj, obj)

    def delete(self, resource, namespace, name, options=None, dry_run=False):
        """What DELETE does: preconditions, the grace of a pod, finalizers. The object as it then is."""
        options = options or {}
        with self.changed:
            obj = self.get(resource, namespace, name)
            meta = obj["metadata"]
            want = options.get("preconditions") or {}
            if want.get("uid") and want["uid"] != meta["uid"]:
                raise st.conflict(resource.by_kind(), name, f"the UID in the precondition ({want['uid']}) does not match the UID in record "
                                                  f"({meta['uid']}). The object might have been deleted and then recreated")
            if want.get("resourceVersion") and want["resourceVersion"] != meta["resourceVersion"]:
                raise st.conflict(resource.by_kind(), name, f"the ResourceVersion in the precondition ({want['resourceVersion']}) does not match the "
                                                  f"ResourceVersion in record ({meta['resourceVersion']}). The object might have been modified")
            if dry_run:
                return obj
            grace = 0
            if resource.name == "pods":
                grace = options.get("gracePeriodSeconds")
                if grace is None:
                    grace = (obj.get("spec") or {}).get("terminationGracePeriodSeconds", 30)
                if not (obj.get("spec") or {}).get("nodeName") or (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                    grace = 0
            before = copy.deepcopy(obj)
            if "deletionTimestamp" in meta:
                grace = min(grace, meta.get("deletionGracePeriodSeconds", 0))
            if grace == 0 and not meta.get("finalizers"):
                self.remove(resource, namespace, name)
                if resource.name == "pods":
                    meta.setdefault("deletionTimestamp", now())
                    meta["deletionGracePeriodSeconds"] = 0
                return obj
            meta.setdefault("deletionTimestamp", now(grace))
            meta["deletionGracePeriodSeconds"] = grace
            if obj != before:
                self.objects[resource.name][(namespace if resource.namespaced else "", name)] = obj
                self._bump("MODIFIED", resource, obj, before)
            return copy.deepcopy(obj)

    def events_after(self, version, resource, namespace, matches):
        """The changes after a version as a watch shows them, and how far they go."""
        out = []
        for at, kind, name, obj, before in self.log:
            if at <= version or name != resource.name or (namespace and obj["metadata"].get("namespace") != namespace):
                continue
            is_in, was_in = matches(obj), before is not None and matches(before)
            if kind == "DELETED":
                kind = "DELETED" if was_in else None
            elif kind == "MODIFIED":
                kind = "MODIFIED" if is_in and was_in else "ADDED" if is_in else "DELETED" if was_in else None
            elif not is_in:
                kind = None
            if kind:
                out.append({"type": kind, "object": copy.deepcopy(obj)})
        return out, self.version
