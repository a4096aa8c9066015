"""metadata.managedFields as an API server keeps it for writes that are no server-side apply: who wrote a field last.

A write makes its manager the owner of what it has changed or added, takes that from all others, and what it has removed from everybody. A
field that is written with the value it had keeps its owner. Where there was no owner at all, nobody becomes one (but by an apply). What is
not here: server-side apply, keys of lists other than in patches.MERGE_KEYS, structs that are owned as a whole, zeros that the real server
leaves out, its defaults.
"""

import copy
import json

from patches import MERGE_KEYS, SETS

# Nobody's: the server's own (k8s.io/apimachinery strips them).
STRIPPED = {("apiVersion",), ("kind",), *(("metadata", name) for name in (
    "name", "namespace", "uid", "creationTimestamp", "resourceVersion", "generation", "selfLink", "deletionTimestamp",
    "deletionGracePeriodSeconds", "managedFields"))}

# Fields that are maps rather than structs, and elements of lists, are owned themselves, too.
MAPS = {f"f:{name}" for name in ("labels", "annotations", "capacity", "allocatable", "matchLabels", "nodeSelector")}


def leaves(value, path=(), plain=()):
    """{path as in FieldsV1: value}; a list without keys is one leaf. `plain`: the path without elements of lists."""
    if plain in STRIPPED:
        return {}
    if isinstance(value, dict):
        found = {(*path, "."): None} if path and (path[-1].startswith("k:") or path[-1] in MAPS) else {}
        for name, one in value.items():
            found |= leaves(one, (*path, f"f:{name}"), (*plain, name))
        return found
    if isinstance(value, list) and plain in MERGE_KEYS:
        key, found = MERGE_KEYS[plain], {(*path, "."): None}
        for one in value:
            found |= leaves(one, (*path, "k:" + json.dumps({key: one.get(key)}, separators=(",", ":"))), plain)
        return found
    if isinstance(value, list) and plain in SETS:
        return {(*path, "."): None} | {(*path, "v:" + json.dumps(one)): one for one in value}
    return {path: value} if path else {}


def _tree(paths):
    tree = {}
    for path in sorted(paths):
        place = tree
        for word in path:
            place = place.setdefault(word, {})
    return tree


def _paths(tree, path=()):
    if not tree:
        return {path} if path else set()
    found = set()
    for word, below in tree.items():
        found |= _paths(below, (*path, word))
    return found


def update(old, new, manager, subresource, api_version, time):
    """Gives `new`, whose managedFields are replaced by what they are after `manager` has made it of `old` (None: created)."""
    if old is not None and not old["metadata"].get("managedFields"):  # as nobody owned anything, so it stays
        new["metadata"].pop("managedFields", None)
        return new
    before = leaves(old) if old else {}
    after = leaves(new)
    changed = {p for p, v in after.items() if p not in before or before[p] != v}
    gone = set(before) - set(after)
    entries, mine = [], None
    for entry in copy.deepcopy(((old or {}).get("metadata") or {}).get("managedFields") or []):
        is_mine = (entry["manager"], entry["operation"], entry.get("subresource", "")) == (manager, "Update", subresource)
        have = _paths(entry["fieldsV1"]) - gone
        have = have | changed if is_mine else have - changed
        if have != _paths(entry["fieldsV1"]):
            entry["fieldsV1"] = _tree(have)
            if is_mine:
                entry["time"] = time
        mine = entry if is_mine else mine
        if have:
            entries.append(entry)
    if mine is None and changed:
        entries.append({"manager": manager, "operation": "Update", "apiVersion": api_version, "time": time, "fieldsType": "FieldsV1",
                        "fieldsV1": _tree(changed), **({"subresource": subresource} if subresource else {})})
    if entries:
        new["metadata"]["managedFields"] = entries
    else:
        new["metadata"].pop("managedFields", None)
    return new
