"""Who may do what: rules as in a ClusterRole, and for users of system:nodes an imitation of the node authorizer and of the
NodeRestriction admission plugin. It is an imitation: that a token cannot reach further is proven only on a real API server.
"""

import dataclasses

import status as st

EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
OWN_PREFIXES = ("kubernetes.io", "k8s.io")


@dataclasses.dataclass
class User:
    name: str
    groups: tuple = ()
    rules: list = dataclasses.field(default_factory=list)  # ClusterRole rules; [] and not a node: nothing

    @property
    def node(self):
        prefix = "system:node:"
        return self.name[len(prefix):] if "system:nodes" in self.groups and self.name.startswith(prefix) else None


def _has(words, word):
    return "*" in words or word in words


def by_rules(rules, verb, resource, subresource, name):
    what = f"{resource.name}/{subresource}" if subresource else resource.name
    return any(_has(r.get("apiGroups", []), resource.group) and _has(r.get("verbs", []), verb)
               and (_has(r.get("resources", []), what) or (subresource and f"*/{subresource}" in r.get("resources", [])))
               and (not r.get("resourceNames") or name in r["resourceNames"]) for r in rules)


def _node_may(node, store, verb, resource, subresource, namespace, name, query):
    if resource.name == "nodes":
        if verb in ("get", "list", "watch"):
            return name == node or f"metadata.name={node}" in query.get("fieldSelector", "")
        return verb in ("create", "update", "patch") and subresource in ("", "status")
    if resource.name == "pods":
        if verb in ("list", "watch"):
            return f"spec.nodeName={node}" in query.get("fieldSelector", "").split(",")
        if subresource == "eviction":
            return verb == "create"
        return verb in ("get", "create", "delete") or (subresource == "status" and verb in ("update", "patch"))
    if resource.name == "events":
        return verb in ("create", "update", "patch")
    if resource.name == "leases":
        return namespace == "kube-node-lease" and verb in ("get", "create", "update", "patch", "delete")
    return False


def _why(node, verb, resource, name):
    """What the node authorizer adds to a refusal."""
    if resource.name == "nodes" and verb in ("get", "list", "watch"):
        return f"node '{node}' cannot read {repr(name) if name else 'all nodes'}, only its own Node object"
    if resource.name == "pods" and verb in ("list", "watch"):
        return "can only list/watch pods with spec.nodeName field selector"
    return ""


def check(user, store, verb, resource, subresource, namespace, name, query):
    """Raises 403, else returns nothing."""
    if by_rules(user.rules, verb, resource, subresource, name):
        allowed = True
    elif user.node:
        allowed = _node_may(user.node, store, verb, resource, subresource, namespace, name, query)
    else:
        allowed = False
    if not allowed:
        why = _why(user.node, verb, resource, name) if user.node else ""
        raise st.forbidden(user.name, verb, resource if not subresource else _Sub(resource, subresource), namespace, name, why)
    if user.node:
        _restrict(user.node, store, verb, resource, subresource, namespace, name)


def _restrict(node, store, verb, resource, subresource, namespace, name):
    if resource.name == "nodes" and verb in ("update", "patch", "create", "delete") and name and name != node:
        raise st.node_restricted(resource, name, f'node "{node}" is not allowed to modify node "{name}"')
    if resource.name == "leases" and name and name != node:
        raise st.node_restricted(resource, name, "can only access node lease with the same name as the requesting node")
    if resource.name == "pods" and name and (subresource or verb == "delete" or verb == "get"):
        pod = store.get(resource, namespace, name)
        if pod.get("spec", {}).get("nodeName") != node:
            what = "evict" if subresource == "eviction" else "delete" if verb == "delete" else "access"
            if verb == "get":
                raise st.forbidden(f"system:node:{node}", verb, resource, namespace, name,
                                   f"no relationship found between node '{node}' and this object")
            who = f"node {node}" if subresource == "eviction" else f'node "{node}"'
            raise st.node_restricted(resource, name, f"{who} can only {what} pods with spec.nodeName set to itself")


def node_change(user, resource, old, new):
    """NodeRestriction on a node's own object: taints are not its own to change, nor labels of the system's."""
    node = user.node
    if not node or resource.name != "nodes":
        return
    name = old["metadata"]["name"]
    if (old.get("spec") or {}).get("taints") != (new.get("spec") or {}).get("taints"):
        raise st.node_restricted(resource, name, f'node "{node}" is not allowed to modify taints')
    before, after = old["metadata"].get("labels") or {}, new["metadata"].get("labels") or {}
    changed = sorted(k for k in {*before, *after} if before.get(k) != after.get(k) and "node-restriction.kubernetes.io/" in k)
    if changed:
        raise st.node_restricted(resource, name, f'is not allowed to modify labels: {", ".join(changed)}')


class _Sub:
    """A subresource where a message names it."""

    def __init__(self, resource, subresource):
        self.name, self.group, self.qualified = f"{resource.name}/{subresource}", resource.group, resource.qualified
        self.details = resource.details
